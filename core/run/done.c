/* SPDX-License-Identifier: Apache-2.0 */
/*
 * done.c - what becomes of originals when their batch is closed: `when_done` of its source.
 *
 * It happens after the batch is durable, and only to files that are still those that were read.
 * A file that is quarantined or failed stays where it is.
 */
#include "run/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

struct doing {
    const struct ledger_batch *batch;
    char *target; /* folder that files move to; NULL: they are deleted */
    unsigned left;
};

static bool unchanged(const struct ledger_item *item)
{
    struct stat st;

    return !lstat(item->path, &st) && S_ISREG(st.st_mode) && st.st_dev == item->dev &&
           st.st_ino == item->ino && (uint64_t)st.st_size == item->size &&
           (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec == item->mtime_ns;
}

/* All of `in`; where the kernel cannot copy from one file system to the other, sendfile can. */
static int copy_bytes(int in, int out, off_t left)
{
    bool by_range = true;

    while (left > 0) {
        ssize_t n = by_range ? copy_file_range(in, NULL, out, NULL, (size_t)left, 0)
                             : sendfile(out, in, NULL, (size_t)left);

        if (n <= 0 && !by_range)
            return -1;
        if (n <= 0)
            by_range = false;
        else
            left -= n;
    }
    return fsync(out);
}

/* Copy to `to` on another file system: under another name first, so that a kill leaves no part of
 * a file that looks whole. */
static int copy_over(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out = -1, result = -1;
    size_t n = strlen(to) + sizeof(".part");
    char *part = malloc(n);
    struct stat st;

    if (!part || in < 0 || fstat(in, &st))
        goto out;
    snprintf(part, n, "%s.part", to);
    if (unlink(part) && errno != ENOENT)
        goto out;
    out = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st.st_mode & 0777);
    if (out < 0)
        goto out;
    result = copy_bytes(in, out, st.st_size);
    if (close(out) || result || renameat2(AT_FDCWD, part, AT_FDCWD, to, RENAME_NOREPLACE)) {
        unlink(part);
        result = -1;
    }
out:
    if (in >= 0)
        close(in);
    free(part);
    return result;
}

static int move_file(const char *from, const char *folder)
{
    const char *slash = strrchr(from, '/');
    char *to = file_join(folder, slash ? slash + 1 : from);
    struct stat st;
    int result = -1;

    if (!to || !lstat(to, &st)) /* never over another file */
        goto out;
    result = rename(from, to);
    if (result && errno == EXDEV && !(result = copy_over(from, to)) &&
        !(result = file_sync_folder(folder))) /* the copy is found after a power cut */
        result = unlink(from);
out:
    free(to);
    return result;
}

static int one_file(void *ctx, const struct ledger_item *item)
{
    struct doing *doing = ctx;
    bool ours = item->state == ITEM_STORED || item->state == ITEM_CHECKED ||
                (item->state == ITEM_IGNORED && !strcmp(item->code, "import.duplicate"));

    if (!ours)
        return 0;
    if (!unchanged(item)) {
        if (access(item->path, F_OK) == 0)
            doing->left++;
        return 0;
    }
    if (doing->target ? move_file(item->path, doing->target) : unlink(item->path))
        doing->left++;
    return 0;
}

/* The last component of the batch's folder below the folder of `when_done`. */
static char *target_folder(const struct ledger_batch *batch)
{
    const char *slash = strrchr(batch->key, '/');

    return batch->done_folder ? file_join(batch->done_folder, slash ? slash + 1 : batch->key)
                              : NULL;
}

/* Did the site name this folder itself?  Then it stays, under its name, for the next run. */
static bool is_named(const struct plan *plan, const char *folder)
{
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];
        const struct plan_value *folders;

        if (!stage->enabled || !(stage->plugin->flags & SENDIT_SOURCE))
            continue;
        folders = plan_value(stage, "folders");
        for (char **at = folders ? folders->list : NULL; at && *at; at++)
            if (!strcmp(*at, folder))
                return true;
    }
    return false;
}

/* Folders inside are batches of their own, which are known by their path. */
static bool has_folders(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool found = !dir;
    struct stat st;

    while (!found && (entry = readdir(dir)))
        found = strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
                !fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
                S_ISDIR(st.st_mode);
    if (dir)
        closedir(dir);
    return found;
}

/* A batch in ERROR is marked by its folder's name, `NAME.err`, its files as they are. */
static void mark_error(const struct plan *plan, const struct ledger_batch *batch,
                       struct doing *doing)
{
    size_t n = strlen(batch->key) + sizeof(".err");
    char *to = malloc(n);
    struct stat st;

    if (to) {
        snprintf(to, n, "%s.err", batch->key);
        if (is_named(plan, batch->key) || has_folders(batch->key) || !lstat(to, &st) ||
            rename(batch->key, to))
            doing->left++;
    }
    free(to);
}

int run_unmark(const struct ledger_batch *batch, struct err *err)
{
    size_t n = strlen(batch->key) + sizeof(".err");
    char *from;
    struct stat st;
    int result = 0;

    if (batch->state != BATCH_ERROR || batch->when_done != SENDIT_MOVE)
        return 0;
    from = malloc(n);
    if (!from)
        return err_set(err, ERR_PLACE, "no memory");
    snprintf(from, n, "%s.err", batch->key);
    if (lstat(batch->key, &st) && errno == ENOENT && !lstat(from, &st) && S_ISDIR(st.st_mode) &&
        renameat2(AT_FDCWD, from, AT_FDCWD, batch->key, RENAME_NOREPLACE))
        result = err_set(err, ERR_PLACE,
                         "the folder of batch %s is called .err and its name cannot be put back: "
                         "%s",
                         batch->id, strerror(errno));
    free(from);
    return result;
}

static void move_or_delete(struct supervisor *sv, const struct ledger_batch *batch,
                           struct doing *doing)
{
    if (batch->when_done == SENDIT_MOVE) {
        doing->target = target_folder(batch);
        if (!doing->target || file_mkdirs(doing->target, 0700)) {
            doing->left++;
            return;
        }
    }
    if (ledger_items(sv->ledger, batch->id, 0, one_file, doing, sv->err))
        supervisor_broke(sv);
    if (doing->target && file_sync_folder(doing->target))
        doing->left++;
    if (!is_named(sv->options->plan, batch->key))
        (void)rmdir(batch->key); /* only if nothing is left in it */
}

void done_carry_out(struct supervisor *sv, const char *id)
{
    struct ledger_batch batch;
    struct doing doing = {.batch = &batch};
    struct log_who who = {NULL, id, NULL};

    if (ledger_batch_get(sv->ledger, id, &batch, sv->err))
        return;
    if (batch.when_done == SENDIT_LEAVE)
        goto out;
    if (batch.state != BATCH_ERROR)
        move_or_delete(sv, &batch, &doing);
    else if (batch.when_done == SENDIT_MOVE)
        mark_error(sv->options->plan, &batch, &doing);
    if (doing.left) {
        log_event(LOG_WARN, &who, "batch.left", "%u originals could not be moved or deleted.",
                  doing.left);
        if (ledger_message(sv->ledger, id, "", LOG_WARN, "core", "done.left",
                           "Originals could not be moved or deleted: they are where they were.",
                           sv->err))
            supervisor_broke(sv);
    }
    if (ledger_done_settled(sv->ledger, id, sv->err))
        supervisor_broke(sv);
    supervisor_commit(sv);
out:
    free(doing.target);
    ledger_batch_fini(&batch);
}

static int again(void *ctx, const char *batch)
{
    done_carry_out(ctx, batch);
    return 0;
}

void done_left_over(struct supervisor *sv)
{
    if (ledger_done_pending(sv->ledger, again, sv, sv->err))
        supervisor_broke(sv);
}
