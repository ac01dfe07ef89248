/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_dry.c - requests as files, in place of sending them: NAME is what the object would have in
 * it, NAME.json the request.
 */
#include "gcs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK (256u << 10)

static sendit_verdict refuse(const struct sendit_stage_state *self, struct sendit_why *why)
{
    int error = errno;

    if (error == ENOSPC || error == EDQUOT)
        return sendit_because(why, SENDIT_FAIL, "gcs.no_room",
                              "There is no room in \"%.120s\": make some and run again.",
                              self->dry_run);
    return sendit_because(why, SENDIT_FAIL, "gcs.place", "\"%.120s\" cannot be written: %s.",
                          self->dry_run, strerror(error));
}

static int make_folders(int root, char *path)
{
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        int failed;

        *slash = '\0';
        failed = mkdirat(root, path, 0750) && errno != EEXIST;
        *slash = '/';
        if (failed)
            return -1;
    }
    return 0;
}

static int write_all(int fd, const void *data, size_t length)
{
    const char *at = data;

    while (length) {
        ssize_t n = write(fd, at, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

static int write_part(int fd, const struct sendit_part *part, char *buffer)
{
    if (part->data)
        return write_all(fd, part->data, (size_t)part->length);
    for (uint64_t done = 0; done < part->length;) {
        uint64_t left = part->length - done;
        ssize_t n = pread(part->fd, buffer, left < BLOCK ? (size_t)left : BLOCK,
                          (off_t)(part->offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        if (write_all(fd, buffer, (size_t)n))
            return -1;
        done += (uint64_t)n;
    }
    return 0;
}

static int write_file(int root, const char *path, const struct sendit_part *parts, uint32_t n)
{
    int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    char *buffer = malloc(BLOCK);
    int result = fd < 0 || !buffer ? -1 : 0, error;

    for (uint32_t i = 0; !result && i < n; i++)
        result = write_part(fd, &parts[i], buffer);
    error = errno;
    if (fd >= 0 && close(fd) && !result) {
        result = -1;
        error = errno;
    }
    free(buffer);
    errno = error;
    return result;
}

/* What would be sent, but for the bytes. */
static char *describe(const struct upload *upload)
{
    char url[GCS_MAX_URL], *metadata = upload_metadata(upload), *text = NULL;
    json_t *object = metadata ? json_loads(metadata, 0, NULL) : NULL, *request = NULL;
    const char *kind = upload->total <= GCS_MAX_MULTIPART ? "multipart" : "resumable";

    if (object && upload_url(upload, kind, url))
        request = json_pack("{s:s, s:s, s:O, s:I}", "method", "POST", "url", url, "object", object,
                            "size", (json_int_t)upload->total);
    if (request)
        text = json_dumps(request, JSON_INDENT(2));
    json_decref(request);
    json_decref(object);
    free(metadata);
    return text;
}

sendit_verdict dry_write(const struct upload *upload, struct sendit_why *why)
{
    const struct sendit_stage_state *self = upload->self;
    char path[NAME_TEMPLATE_SIZE + 8], *text = describe(upload);
    struct sendit_part part = {.data = text, .fd = -1};
    sendit_verdict verdict = SENDIT_PASS;
    int root;

    if (!text)
        return sendit_because(why, SENDIT_RETRY, "gcs.busy", "There is no memory for a request.");
    part.length = strlen(text);
    if (mkdir(self->dry_run, 0750) && errno != EEXIST)
        verdict = refuse(self, why);
    root = open(self->dry_run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s", upload->name);
    if (verdict == SENDIT_PASS && (root < 0 || make_folders(root, path) ||
                                   write_file(root, path, upload->parts, upload->n_parts)))
        verdict = refuse(self, why);
    snprintf(path, sizeof(path), "%s.json", upload->name);
    if (verdict == SENDIT_PASS && write_file(root, path, &part, 1))
        verdict = refuse(self, why);
    if (root >= 0)
        close(root);
    free(text);
    return verdict;
}
