/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int there_already(const char *path, struct err *err)
{
    return err_set(err, ERR_PLACE, "%s: it is there already; name another file, or remove it",
                   path);
}

/* A file without a name, of which nothing is left however this ends; where there are none, one
 * beside its place. */
static int open_part(struct out_file *out, const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600) : -1;

    free(copy);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    if (asprintf(&out->part, "%s.part-XXXXXX", path) < 0) {
        out->part = NULL;
        return -1;
    }
    fd = mkostemp(out->part, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        free(out->part);
        out->part = NULL;
    }
    return fd;
}

int out_file_open(struct out_file *out, const char *path, struct err *err)
{
    struct stat st;
    int fd;

    *out = (struct out_file){.file = stdout, .path = path};
    if (!path)
        return 0;
    if (!lstat(path, &st)) {
        out->file = NULL;
        return there_already(path, err);
    }
    fd = open_part(out, path);
    out->file = fd < 0 ? NULL : fdopen(fd, "w");
    if (out->file && !fchmod(fd, 0600)) /* whatever the umask took away */
        return 0;
    err_set(err, ERR_PLACE, "%s: %s", path, strerror(errno));
    if (fd >= 0 && !out->file)
        close(fd);
    out_file_close(out);
    return -1;
}

int out_file_commit(struct out_file *out, struct err *err)
{
    char unnamed[40];

    if (!out->path)
        return 0;
    if (fflush(out->file) || ferror(out->file) || fsync(fileno(out->file)))
        return err_set(err, ERR_PLACE, "%s: %s", out->path, strerror(errno));
    snprintf(unnamed, sizeof(unnamed), "/proc/self/fd/%d", fileno(out->file));
    if (!linkat(AT_FDCWD, out->part ? out->part : unnamed, AT_FDCWD, out->path,
                out->part ? 0 : AT_SYMLINK_FOLLOW))
        return 0;
    return errno == EEXIST ? there_already(out->path, err)
                           : err_set(err, ERR_PLACE, "%s: %s", out->path, strerror(errno));
}

void out_file_close(struct out_file *out)
{
    if (out->path && out->file)
        fclose(out->file);
    if (out->part)
        unlink(out->part);
    free(out->part);
    *out = (struct out_file){0};
}
