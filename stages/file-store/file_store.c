/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file-store: writes each image as a file below one folder, under a name made of new values.
 *
 * Images are written into a staging folder of their batch, on the same file system; finish() syncs
 * them, renames each to its place, syncs the folders that changed and passes.  Whatever dies before
 * that leaves nothing under a final name that is not whole, and its staging folder is emptied by
 * the next attempt at the batch, or by the next stage that finds it unlocked.
 */
#include <sendit/stage.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Its presence also tells the importer that sendit writes here. */
#define STAGING ".sendit"
#define LIST "list" /* of what is staged, one line each: item, name, path */
#define FOLDER_MODE 0750
#define FILE_MODE 0640

#define MAX_TEMPLATE 256
#define MAX_PLACEHOLDERS 8
#define MAX_VALUE 64
#define PATH_SIZE (MAX_TEMPLATE + MAX_PLACEHOLDERS * MAX_VALUE)
#define NAME_SIZE 24 /* of a staged file: a number */
#define LINE_SIZE (SENDIT_ID_SIZE + NAME_SIZE + PATH_SIZE + 4)
#define BUFFER_SIZE (1u << 20)
#define CLONE_BLOCK 4096u /* file systems clone whole blocks only */
#define MAX_SWEPT 16
#define MAX_CHANGED 1024 /* folders noted; then they are synced, and noted anew */

enum conflict { CONFLICT_QUARANTINE, CONFLICT_REPLACE, CONFLICT_KEEP };

/* What a template may name: an attribute, or a fact that a stage left. */
static const struct {
    const char *name, *fact;
    uint32_t tag;
} placeholders[] = {
    {"patient", NULL, 0x00100020u},  {"study", NULL, 0x0020000Du}, {"series", NULL, 0x0020000Eu},
    {"instance", NULL, 0x00080018u}, {"entity", "ids.entity", 0},  {"item", "ids.item", 0},
};
#define N_PLACEHOLDERS (sizeof(placeholders) / sizeof(placeholders[0]))

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_files *files;
    const struct sendit_facts *facts;
    const struct sendit_metrics *metrics;
    const char *folder, *template;
    enum conflict on_conflict;
    int root, staging; /* descriptors of the folder and of STAGING in it */
    char *root_path;   /* as the kernel calls it */
    void *buffer;      /* BUFFER_SIZE */
    /* The batch in hand. */
    int batch; /* descriptor of its staging folder, locked, or -1 */
    char batch_name[SENDIT_ID_SIZE];
    FILE *list;
    uint64_t n_staged, n_settled;
    off_t last_at, list_at; /* where the last line begins, and where it ends */
    char last_item[SENDIT_ID_SIZE];
    int looked; /* the originals are known to lie elsewhere */
    uint64_t n_kept, n_replaced, n_bytes, last_bytes;
    char *changed[MAX_CHANGED]; /* folders below root to sync, in order */
    size_t n_changed;
    char parent[PATH_SIZE]; /* the folder of the last image, made and noted */
    size_t parent_length;
};

static const struct sendit_option options[] = {
    {"folder", SENDIT_OPT_PATH, SENDIT_OPT_REQUIRED, NULL, NULL,
     "Where files go; it is made if it is missing."},
    {"template", SENDIT_OPT_STRING, 0, "{patient}/{study}/{series}/{instance}.dcm", NULL,
     "The name of a file: {patient}, {study}, {series}, {instance}, {entity}, {item}."},
    {"on_conflict", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|replace|keep",
     "What becomes of an image when another content has its name already."},
};

/* ---- answers ---- */

/* What errno asks for, when the folder cannot be written. */
static sendit_verdict refuse(const struct sendit_stage_state *self, struct sendit_why *why)
{
    int error = errno;

    if (error == ENOSPC || error == EDQUOT)
        return sendit_because(why, SENDIT_FAIL, "file.no_room",
                              "There is no room in \"%.120s\": make some and run again.",
                              self->folder);
    if (error == ENOMEM || error == EMFILE || error == ENFILE || error == EINTR)
        return sendit_because(why, SENDIT_RETRY, "file.busy", "The system is short of %s.",
                              error == ENOMEM ? "memory" : "descriptors");
    if (error == EFBIG)
        return sendit_because(why, SENDIT_QUARANTINE, "file.too_large",
                              "It is larger than a file may be where it should go.");
    return sendit_because(why, SENDIT_FAIL, "file.place", "\"%.120s\" cannot be written: %s.",
                          self->folder, strerror(error));
}

/* ---- names ---- */

static int is_name_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* UIDs and pseudonyms: nothing else becomes part of a path. */
static int is_value(const char *value)
{
    size_t n = 0;

    while (is_name_character(value[n]))
        n++;
    return n && n <= MAX_VALUE && !value[n] && value[0] != '.';
}

/* The placeholder that `at` begins with, N_PLACEHOLDERS for none; *ret_length with its braces. */
static size_t find_placeholder(const char *at, size_t *ret_length)
{
    for (size_t i = 0; i < N_PLACEHOLDERS; i++) {
        size_t n = strlen(placeholders[i].name);

        if (!strncmp(at + 1, placeholders[i].name, n) && at[n + 1] == '}') {
            *ret_length = n + 2;
            return i;
        }
    }
    return N_PLACEHOLDERS;
}

/* What is wrong with a template, or NULL. */
static const char *judge_template(const char *template)
{
    size_t part = 0, longest = 0, n_placeholders = 0, length, which;
    int has_instance = 0;

    if (strlen(template) > MAX_TEMPLATE)
        return "it is too long";
    for (const char *at = template; *at; at += length) {
        length = 1;
        if (*at == '/') {
            if (!part || !at[1])
                return "a part of it is empty";
            part = 0;
            continue;
        }
        if (*at == '{') {
            which = find_placeholder(at, &length);
            if (which == N_PLACEHOLDERS)
                return "between { and } may stand patient, study, series, instance, entity, item";
            has_instance |= !strcmp(placeholders[which].name, "instance");
            n_placeholders++;
            part += MAX_VALUE;
        } else if (!is_name_character(*at)) {
            return "it may have letters, digits, \".\", \"_\", \"-\" and \"/\"";
        } else if (!part && *at == '.') {
            return "a part of it begins with \".\"";
        } else {
            part++;
        }
        longest = part > longest ? part : longest;
    }
    if (!has_instance)
        return "without {instance} images would have one name";
    if (n_placeholders > MAX_PLACEHOLDERS || longest > NAME_MAX)
        return "it names too much";
    return NULL;
}

static sendit_verdict make_path(const struct sendit_stage_state *self,
                                const struct sendit_item *item, char ret_path[PATH_SIZE],
                                struct sendit_why *why)
{
    size_t n = 0, length;

    for (const char *at = self->template; *at; at += length) {
        const char *value;
        size_t which;
        sendit_result r;

        length = 1;
        if (*at != '{') {
            ret_path[n++] = *at;
            continue;
        }
        which = find_placeholder(at, &length);
        if (which == N_PLACEHOLDERS)
            return sendit_because(why, SENDIT_FAIL, "file.template",
                                  "Its template is no template.");
        r = placeholders[which].fact
                ? self->facts->get(self->host, item->id, placeholders[which].fact, &value)
                : self->dicom->get(item->ds, placeholders[which].tag, &value);
        if (r == SENDIT_ENOMEM || r == SENDIT_EIO || r == SENDIT_ECANCELED)
            return sendit_because(why, SENDIT_RETRY, "file.busy", "Its name could not be made.");
        if (r != SENDIT_OK || !is_value(value))
            return sendit_because(why, SENDIT_QUARANTINE, "file.name",
                                  "Its {%s} is missing, or is no UID and no pseudonym.",
                                  placeholders[which].name);
        n += (size_t)snprintf(ret_path + n, PATH_SIZE - n, "%s", value);
    }
    ret_path[n] = '\0';
    return SENDIT_PASS;
}

/* ---- bytes ---- */

static int write_all(int fd, const void *data, size_t length, uint64_t at)
{
    const char *bytes = data;

    while (length) {
        ssize_t n = pwrite(fd, bytes, length, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        bytes += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

/* Up to `length` bytes; fewer only where the file ends.  -1 if it cannot be read. */
static ssize_t read_some(int fd, void *data, size_t length, uint64_t at)
{
    size_t have = 0;

    while (have < length) {
        ssize_t n = pread(fd, (char *)data + have, length - have, (off_t)(at + have));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (!n)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

/* How much of a range went over by itself, for the kernel knows how: a clone, or a copy that does
 * not come through here. */
static uint64_t copy_in_kernel(int fd, const struct sendit_part *part, uint64_t at)
{
    uint64_t whole = part->length - part->length % CLONE_BLOCK, done = 0;
    struct file_clone_range range = {
        .src_fd = part->fd, .src_offset = part->offset, .src_length = whole, .dest_offset = at};

    if (whole && !(part->offset % CLONE_BLOCK) && !(at % CLONE_BLOCK) &&
        !ioctl(fd, FICLONERANGE, &range))
        done = whole;
    while (done < part->length) {
        off_t from = (off_t)(part->offset + done), to = (off_t)(at + done);
        uint64_t left = part->length - done;
        ssize_t n = copy_file_range(part->fd, &from, fd, &to,
                                    (size_t)(left < SSIZE_MAX ? left : SSIZE_MAX), 0);

        if (n <= 0)
            break; /* the buffer finds out why, and on which side */
        done += (uint64_t)n;
    }
    return done;
}

/* 1: the original cannot be read any more. */
static int copy_range(const struct sendit_stage_state *self, int fd, const struct sendit_part *part,
                      uint64_t at)
{
    uint64_t done = copy_in_kernel(fd, part, at);

    while (done < part->length) {
        uint64_t left = part->length - done;
        size_t length = left < BUFFER_SIZE ? (size_t)left : BUFFER_SIZE;

        if (read_some(part->fd, self->buffer, length, part->offset + done) != (ssize_t)length)
            return 1;
        if (write_all(fd, self->buffer, length, at + done))
            return -1;
        done += length;
    }
    return 0;
}

static int copy_parts(const struct sendit_stage_state *self, int fd, const struct sendit_file *file)
{
    uint64_t at = 0;
    int result = 0;

    for (uint32_t i = 0; !result && i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        result = part->data ? write_all(fd, part->data, (size_t)part->length, at)
                            : copy_range(self, fd, part, at);
        at += part->length;
    }
    return result;
}

/* 1: both have the same bytes; 0: not, also if one cannot be read. */
static int equal_bytes(const struct sendit_stage_state *self, int a, int b)
{
    const size_t half = BUFFER_SIZE / 2;
    char *x = self->buffer, *y = x + half;
    struct stat of_a, of_b;
    uint64_t at = 0;

    if (fstat(a, &of_a) || fstat(b, &of_b) || !S_ISREG(of_b.st_mode) ||
        of_a.st_size != of_b.st_size)
        return 0;
    for (;;) {
        ssize_t n = read_some(a, x, half, at), m = read_some(b, y, half, at);

        if (n < 0 || n != m || memcmp(x, y, (size_t)n))
            return 0;
        if ((size_t)n < half)
            return 1;
        at += (uint64_t)n;
    }
}

/* ---- folders ---- */

static int sync_folder(int at, const char *path)
{
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

    if (fd < 0)
        return -1;
    result = fsync(fd);
    if (result && errno == EINVAL) /* a file system that has no such sync */
        result = 0;
    close(fd);
    return result;
}

/* The folder itself with all above it, each durable in the one that it stands in. */
static int make_root(const char *folder)
{
    char *path = strdup(folder), *slash;
    int result = path ? 0 : -1;

    for (slash = path; !result && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (!mkdir(path, FOLDER_MODE)) {
            char *last = strrchr(path, '/');

            *last = '\0';
            result = sync_folder(AT_FDCWD, last == path ? "/" : path);
            *last = '/';
        } else if (errno != EEXIST && access(path, F_OK)) {
            result = -1;
        }
        if (slash)
            *slash = '/';
    }
    free(path);
    return result;
}

static int sync_changed(struct sendit_stage_state *self)
{
    while (self->n_changed) {
        char *path = self->changed[self->n_changed - 1];

        if (sync_folder(self->root, path))
            return -1;
        free(path);
        self->n_changed--;
    }
    return 0;
}

static void forget_changed(struct sendit_stage_state *self)
{
    while (self->n_changed)
        free(self->changed[--self->n_changed]);
    self->parent_length = 0;
}

static int note_folder(struct sendit_stage_state *self, const char *path)
{
    size_t low = 0, high = self->n_changed;
    char *copy;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(path, self->changed[middle]);

        if (!order)
            return 0;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    if (self->n_changed == MAX_CHANGED) {
        if (sync_changed(self))
            return -1;
        low = 0;
    }
    copy = strdup(path);
    if (!copy)
        return -1;
    memmove(&self->changed[low + 1], &self->changed[low],
            (self->n_changed - low) * sizeof(self->changed[0]));
    self->changed[low] = copy;
    self->n_changed++;
    return 0;
}

/* Make the folders that `path` goes through.  All are noted, also those that were there: a crash
 * may have come between their making and their sync. */
static int make_folders(struct sendit_stage_state *self, char *path)
{
    char *last = strrchr(path, '/'), *slash = strchr(path, '/');
    size_t length = last ? (size_t)(last - path) : 0;
    int result;

    if (length && length == self->parent_length && !memcmp(path, self->parent, length))
        return 0; /* as the image before it */
    self->parent_length = 0;
    result = note_folder(self, ".");
    for (; !result && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdirat(self->root, path, FOLDER_MODE) && errno != EEXIST)
            result = -1;
        else
            result = note_folder(self, path);
        *slash = '/';
    }
    if (!result) {
        memcpy(self->parent, path, length);
        self->parent_length = length;
    }
    return result;
}

/* All files of a staging folder; there is nothing else in it. */
static int empty_folder(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    int result = 0;

    if (!dir) {
        if (copy >= 0)
            close(copy);
        return -1;
    }
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            result |= unlinkat(fd, entry->d_name, 0);
    closedir(dir);
    return result ? -1 : 0;
}

/* A staging folder, locked as long as it is open; -1 with EWOULDBLOCK if another process has it,
 * with ESTALE if one removed it meanwhile.  Where there are no such locks it is ours if its name
 * is. */
static int open_staging(int staging, const char *name, int ours)
{
    int fd = openat(staging, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), error = ESTALE;
    struct stat held, named;

    if (fd < 0)
        return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) && (!ours || errno == EWOULDBLOCK))
        error = errno;
    else if (!fstat(fd, &held) && !fstatat(staging, name, &named, AT_SYMLINK_NOFOLLOW) &&
             held.st_ino == named.st_ino)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

/* What a process left that died and whose batch will not come again. */
static void sweep(int staging)
{
    int copy = openat(staging, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;

    if (!dir) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.' || (fd = open_staging(staging, entry->d_name, 0)) < 0)
            continue;
        if (!empty_folder(fd))
            unlinkat(staging, entry->d_name, AT_REMOVEDIR);
        close(fd);
    }
    closedir(dir);
}

/* ---- staging ---- */

static int open_batch(struct sendit_stage_state *self)
{
    int list, tries = 0;

    do { /* a sweep may take it for left over until it is locked */
        if (mkdirat(self->staging, self->batch_name, 0700) && errno != EEXIST)
            return -1;
        self->batch = open_staging(self->staging, self->batch_name, 1);
    } while (self->batch < 0 && (errno == ENOENT || errno == ESTALE) && ++tries < MAX_SWEPT);
    if (self->batch < 0 || empty_folder(self->batch))
        return -1;
    list = openat(self->batch, LIST, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (list < 0)
        return -1;
    self->list = fdopen(list, "w+");
    if (!self->list)
        close(list);
    return self->list ? 0 : -1;
}

static void close_batch(struct sendit_stage_state *self)
{
    if (self->list)
        fclose(self->list);
    self->list = NULL;
    if (self->batch >= 0) {
        if (!empty_folder(self->batch))
            unlinkat(self->staging, self->batch_name, AT_REMOVEDIR);
        close(self->batch);
    }
    self->batch = -1;
    forget_changed(self);
}

/* An image that comes again, after another stage asked for a retry, takes its line anew. */
static int note_staged(struct sendit_stage_state *self, const char *item, const char *name,
                       const char *path)
{
    int n;

    if (strcmp(self->last_item, item))
        self->last_at = self->list_at;
    else if (fseeko(self->list, self->last_at, SEEK_SET) ||
             ftruncate(fileno(self->list), self->last_at))
        return -1;
    snprintf(self->last_item, sizeof(self->last_item), "%s", item);
    n = fprintf(self->list, "%s %s %s\n", item, name, path);
    self->list_at = self->last_at + (n > 0 ? n : 0);
    return n > 0 ? 0 : -1;
}

/* The image under `name` in the staging folder; 1: the original cannot be read any more. */
static int stage_file(const struct sendit_stage_state *self, const char *name,
                      const struct sendit_file *file)
{
    int fd =
        openat(self->batch, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    int result, error;

    if (fd < 0)
        return -1;
    result = copy_parts(self, fd, file);
    error = errno;
    if (close(fd) && !result) {
        result = -1;
        error = errno;
    }
    if (result)
        unlinkat(self->batch, name, 0);
    errno = error;
    return result;
}

/* Do the originals lie where images are written to?  One that can be told answers for all. */
static sendit_verdict look_for_originals(struct sendit_stage_state *self,
                                         const struct sendit_file *file, struct sendit_why *why)
{
    char link[64], path[PATH_MAX];
    size_t root = strlen(self->root_path);

    for (uint32_t i = 0; !self->looked && i < file->n_parts; i++) {
        const char *deleted;
        ssize_t n;

        if (file->parts[i].data)
            continue;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", file->parts[i].fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < 0)
            continue;
        path[n] = '\0';
        deleted = strstr(path, " (deleted)"); /* a scratch file of the host */
        if (deleted && !deleted[10])
            continue;
        if (!strncmp(path, self->root_path, root) && (path[root] == '/' || root == 1))
            return sendit_because(why, SENDIT_FAIL, "file.place",
                                  "The originals lie in \"%.120s\": let images go to another.",
                                  self->folder);
        self->looked = 1;
    }
    return SENDIT_PASS;
}

/* ---- publishing ---- */

/* Under the final name, unless something is there; EEXIST then. */
static int put_in_place(const struct sendit_stage_state *self, const char *name, const char *path)
{
    if (!renameat2(self->batch, name, self->root, path, RENAME_NOREPLACE))
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* A file system that cannot rename so can link so. */
    if (linkat(self->batch, name, self->root, path, 0))
        return -1;
    return unlinkat(self->batch, name, 0);
}

static int is_same(const struct sendit_stage_state *self, const char *name, const char *path)
{
    int ours = openat(self->batch, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), theirs, same;

    if (ours < 0)
        return 0;
    theirs = openat(self->root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    same = theirs >= 0 && equal_bytes(self, ours, theirs);
    if (theirs >= 0)
        close(theirs);
    close(ours);
    return same;
}

/* Another content has the name. */
static int settle_conflict(struct sendit_stage_state *self, const char *item, const char *name,
                           const char *path)
{
    switch (self->on_conflict) {
    case CONFLICT_REPLACE:
        self->n_replaced++;
        return renameat(self->batch, name, self->root, path);
    case CONFLICT_KEEP:
        self->n_kept++;
        return 0;
    default:
        errno = EIO;
        return self->host->hold(self->host, item, SENDIT_QUARANTINE, "file.conflict",
                                "Another content has its name already; on_conflict says what else "
                                "may become of it.") == SENDIT_OK
                   ? 0
                   : -1;
    }
}

static int publish(struct sendit_stage_state *self, char *line)
{
    char *rest = line, *item = strsep(&rest, " "), *name = strsep(&rest, " ");
    char *path = strsep(&rest, "\n");

    if (!path) {
        errno = EIO;
        return -1;
    }
    if (make_folders(self, path))
        return -1;
    if (!put_in_place(self, name, path))
        return 0;
    if (errno != EEXIST)
        return -1;
    if (is_same(self, name, path))
        return 0;
    return settle_conflict(self, item, name, path);
}

/* All that is staged and not yet settled: after RETRY it goes on where it was. */
static int publish_all(struct sendit_stage_state *self)
{
    char line[LINE_SIZE];

    if (fseeko(self->list, 0, SEEK_SET))
        return -1;
    for (uint64_t i = 0; fgets(line, sizeof(line), self->list); i++) {
        if (i < self->n_settled)
            continue;
        if (publish(self, line))
            return -1;
        self->n_settled++;
    }
    if (ferror(self->list))
        return -1;
    return sync_changed(self);
}

static void tell_conflicts(struct sendit_stage_state *self)
{
    char text[128];

    if (self->n_replaced) {
        snprintf(text, sizeof(text), "%" PRIu64 " files were replaced by another content.",
                 self->n_replaced);
        self->host->log(self->host, SENDIT_WARN, "file.replaced", text);
    }
    if (self->n_kept) {
        snprintf(text, sizeof(text),
                 "%" PRIu64 " images were not written: another content has their name.",
                 self->n_kept);
        self->host->log(self->host, SENDIT_WARN, "file.kept", text);
    }
    self->n_replaced = self->n_kept = 0;
}

/* ---- callbacks ---- */

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const char *wrong = judge_template(config->text(host, "template"));
    const char *folder = config->text(host, "folder");
    struct stat st;

    if (wrong)
        return sendit_because(why, SENDIT_FAIL, "file.template", "The template is wrong: %s.",
                              wrong);
    if (online && !stat(folder, &st) && (!S_ISDIR(st.st_mode) || access(folder, W_OK | X_OK)))
        return sendit_because(why, SENDIT_FAIL, "file.place",
                              "\"%.120s\" is no folder that can be written.", folder);
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    if (self->staging >= 0)
        close(self->staging);
    if (self->root >= 0)
        close(self->root);
    free(self->root_path);
    free(self->buffer);
    free(self);
}

static int open_folders(struct sendit_stage_state *self)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    if (make_root(self->folder))
        return -1;
    self->root = open(self->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->root < 0 || (mkdirat(self->root, STAGING, 0700) && errno != EEXIST))
        return -1;
    self->staging = openat(self->root, STAGING, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (self->staging < 0)
        return -1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", self->root);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -1;
    path[n] = '\0';
    self->root_path = strdup(path);
    self->buffer = malloc(BUFFER_SIZE);
    return self->root_path && self->buffer ? 0 : -1;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "file.busy", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->files = SENDIT_SERVICE(host, files);
    self->facts = SENDIT_SERVICE(host, facts);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->folder = config->text(host, "folder");
    self->template = config->text(host, "template");
    self->on_conflict = (enum conflict)config->number(host, "on_conflict");
    self->root = self->staging = self->batch = -1;
    if (open_folders(self)) {
        verdict = refuse(self, why);
        stop(self);
        return verdict;
    }
    sweep(self->staging);
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    sendit_verdict verdict;

    snprintf(self->batch_name, sizeof(self->batch_name), "%s", batch->once_key);
    self->list_at = 0;
    self->n_staged = self->n_settled = self->n_kept = self->n_replaced = self->n_bytes =
        self->last_bytes = 0;
    self->last_item[0] = '\0';
    self->looked = 0;
    if (!open_batch(self))
        return SENDIT_PASS;
    if (errno == EWOULDBLOCK)
        return sendit_because(why, SENDIT_RETRY, "file.busy",
                              "Another process still has this batch in hand.");
    verdict = refuse(self, why);
    close_batch(self);
    return verdict;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const struct sendit_file *file;
    char path[PATH_SIZE + 1], name[NAME_SIZE];
    sendit_verdict verdict = make_path(self, item, path, why);
    sendit_result r;
    int result;

    if (verdict != SENDIT_PASS)
        return verdict;
    r = self->files->view(item->ds, &file);
    if (r != SENDIT_OK)
        return sendit_because(
            why, r == SENDIT_ENOMEM || r == SENDIT_EIO ? SENDIT_RETRY : SENDIT_QUARANTINE,
            "file.view", "It cannot be written as a DICOM file.");
    verdict = look_for_originals(self, file, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (strcmp(self->last_item, item->id))
        self->n_staged++;
    snprintf(name, sizeof(name), "%" PRIu64, self->n_staged);
    result = stage_file(self, name, file);
    if (result > 0)
        return sendit_because(why, SENDIT_QUARANTINE, "file.source",
                              "The original changed or went away while it was copied.");
    if (!strcmp(self->last_item, item->id))
        self->n_bytes -= self->last_bytes;
    if (result || note_staged(self, item->id, name, path))
        return refuse(self, why);
    self->last_bytes = file->total;
    self->n_bytes += file->total;
    return SENDIT_PASS;
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    (void)batch;
    /* One call for all files: it tells of errors in writing any of them (Linux 5.8), and takes a
     * third of the time that a sync for each file does. */
    if (self->n_staged && (syncfs(self->batch) || publish_all(self)))
        return refuse(self, why);
    tell_conflicts(self);
    if (self->n_bytes)
        self->metrics->add(self->host, "bytes", (int64_t)self->n_bytes);
    close_batch(self);
    return SENDIT_PASS;
}

static sendit_verdict abandon(struct sendit_stage_state *self, const struct sendit_batch *batch,
                              struct sendit_why *why)
{
    (void)batch, (void)why;
    close_batch(self);
    return SENDIT_PASS;
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_EGRESS, SENDIT_OPTIONS(options), .name = "file-store",
              .version = "1.0.0", .summary = "Writes images as files, under new names.",
              .check = check, .open = start, .begin = begin, .process = process, .finish = finish,
              .abandon = abandon, .close = stop);
