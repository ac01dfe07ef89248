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

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_bytes.h"
#include "store_folder.h"
#include "store_name.h"

/* Its presence also tells the importer that sendit writes here. */
#define STAGING ".sendit"
#define LIST "list" /* of what is staged, one line each: item, name, path */
#define FILE_MODE 0640

#define NAME_SIZE 24 /* of a staged file: a number */
#define LINE_SIZE (SENDIT_ID_SIZE + NAME_SIZE + STORE_NAME_SIZE + 4)
#define MAX_SWEPT 16
#define MAX_CHANGED 1024 /* folders noted; then they are synced, and noted anew */

enum conflict { CONFLICT_QUARANTINE, CONFLICT_REPLACE, CONFLICT_KEEP };

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_files *files;
    const struct sendit_metrics *metrics;
    struct store_names names;
    const char *folder;
    enum conflict on_conflict;
    int root, staging; /* descriptors of the folder and of STAGING in it */
    char *root_path;   /* as the kernel calls it */
    void *buffer;      /* of STORE_BYTES_BUFFER bytes */
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
    char parent[STORE_NAME_SIZE]; /* the folder of the last image, made and noted */
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

/* ---- folders ---- */

static int sync_changed(struct sendit_stage_state *self)
{
    while (self->n_changed) {
        char *path = self->changed[self->n_changed - 1];

        if (store_folder_sync(self->root, path))
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
        if (mkdirat(self->root, path, STORE_FOLDER_MODE) && errno != EEXIST)
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

/* ---- staging ---- */

static int open_batch(struct sendit_stage_state *self)
{
    int list, tries = 0;

    do { /* a sweep may take it for left over until it is locked */
        if (mkdirat(self->staging, self->batch_name, 0700) && errno != EEXIST)
            return -1;
        self->batch = store_folder_lock(self->staging, self->batch_name, 1);
    } while (self->batch < 0 && (errno == ENOENT || errno == ESTALE) && ++tries < MAX_SWEPT);
    if (self->batch < 0 || store_folder_empty(self->batch))
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
        if (!store_folder_empty(self->batch))
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
    result = store_bytes_copy(fd, file, self->buffer);
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
    same = theirs >= 0 && store_bytes_equal(ours, theirs, self->buffer);
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
    const char *wrong = store_name_judge(config->text(host, "template"));
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

    if (store_folder_make(self->folder))
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
    self->buffer = malloc(STORE_BYTES_BUFFER);
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
    self->files = SENDIT_SERVICE(host, files);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->folder = config->text(host, "folder");
    self->names = (struct store_names){.host = host,
                                       .dicom = SENDIT_SERVICE(host, dicom),
                                       .facts = SENDIT_SERVICE(host, facts),
                                       .template = config->text(host, "template")};
    self->on_conflict = (enum conflict)config->number(host, "on_conflict");
    self->root = self->staging = self->batch = -1;
    if (open_folders(self)) {
        verdict = refuse(self, why);
        stop(self);
        return verdict;
    }
    store_folder_sweep(self->staging);
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
    char path[STORE_NAME_SIZE], name[NAME_SIZE];
    sendit_verdict verdict = store_name_make(&self->names, item, path, why);
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
