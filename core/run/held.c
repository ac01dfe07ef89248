/* SPDX-License-Identifier: Apache-2.0 */
#include "run/held.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define HELD_FOLDER "held"
#define ENDING ".dcm"
#define PART ".part"

/* Room for the name of a file: an id and an ending. */
enum { NAME_SIZE = SENDIT_ID_SIZE + 8 };

/* ---- folders ---- */

/* Takes `at`; a link is none of ours. */
static int down(int at, const char *name, bool make)
{
    int fd = -1, error;

    if (at < 0)
        return -1;
    if (!make || !mkdirat(at, name, 0700) || errno == EEXIST)
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    error = errno;
    close(at);
    errno = error;
    return fd;
}

static int open_state(const char *state)
{
    return open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_batch(const char *state, const char *batch, bool make)
{
    return down(down(open_state(state), HELD_FOLDER, make), batch, make);
}

int held_folder(const char *state, const char *batch, const char *hold)
{
    return down(open_batch(state, batch, true), hold, true);
}

char *held_path(const char *state, const char *batch, const char *hold, const char *item)
{
    char *path;

    if (asprintf(&path, "%s/" HELD_FOLDER "/%s/%s/%s" ENDING, state, batch, hold, item) < 0)
        return NULL;
    return path;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);

    return n > m && !strcmp(name + n - m, ending);
}

/* ---- writing ---- */

/* By the kernel where it can: a clone, or at least no way through our memory. */
static int copy_range(int to, const struct sendit_part *part)
{
    uint64_t done = 0;
    char buffer[65536];

    while (done < part->length) {
        loff_t at = (loff_t)(part->offset + done);
        uint64_t left = part->length - done;
        ssize_t n =
            copy_file_range(part->fd, &at, to, NULL, left < SSIZE_MAX ? left : SSIZE_MAX, 0);

        if (n <= 0) {
            n = pread(part->fd, buffer, left < sizeof(buffer) ? left : sizeof(buffer),
                      (off_t)(part->offset + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) {
                errno = EBADMSG;
                return -1;
            }
            if (file_write_all(to, buffer, (size_t)n))
                return -1;
        }
        done += (uint64_t)n;
    }
    return 0;
}

static int write_parts(int fd, const struct sendit_file *file)
{
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (part->data ? file_write_all(fd, part->data, (size_t)part->length)
                       : copy_range(fd, part))
            return -1;
    }
    return 0;
}

int held_write(int folder, const char *item, const struct sendit_file *file,
               char ret_digest[DIGEST_HEX])
{
    char name[NAME_SIZE], part[NAME_SIZE];
    int fd, result, error;

    snprintf(name, sizeof(name), "%s" ENDING, item);
    snprintf(part, sizeof(part), "%s" PART, item);
    if (unlinkat(folder, part, 0) && errno != ENOENT)
        return -1;
    fd = openat(folder, part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    result = fchmod(fd, 0600) || write_parts(fd, file) || digest_of_fd(fd, ret_digest) ? -1 : 0;
    error = errno;
    if (close(fd) && !result) {
        result = -1;
        error = errno;
    }
    if (!result && renameat(folder, part, folder, name)) {
        result = -1;
        error = errno;
    }
    if (result)
        unlinkat(folder, part, 0);
    errno = error;
    return result;
}

static int sync_file(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), result, error;

    if (fd < 0)
        return -1;
    result = fdatasync(fd);
    error = errno;
    close(fd);
    errno = error;
    return result;
}

/* Takes `fd`. */
static int sync_folder(int fd)
{
    int result = fd < 0 ? -1 : fsync(fd), error = errno;

    if (fd >= 0)
        close(fd);
    errno = error;
    return result;
}

int held_sync(const char *state, const char *batch, const char *hold, void (*alive)(void *ctx),
              void *ctx)
{
    int fd = held_folder(state, batch, hold), result = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    while (!result && (entry = readdir(dir))) {
        if (ends_with(entry->d_name, ENDING))
            result = sync_file(dirfd(dir), entry->d_name);
        alive(ctx);
    }
    if (!result)
        result = fsync(dirfd(dir));
    closedir(dir);
    if (!result)
        result = sync_folder(open_batch(state, batch, false));
    if (!result)
        result = sync_folder(down(open_state(state), HELD_FOLDER, false));
    return result ? result : sync_folder(open_state(state));
}

int held_digest(const char *path, char ret_digest[DIGEST_HEX], struct stat *ret_st)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), result = -1;

    if (fd < 0)
        return -1;
    if (!fstat(fd, ret_st) && S_ISREG(ret_st->st_mode))
        result = digest_of_fd(fd, ret_digest);
    close(fd);
    return result;
}

/* ---- taking away ---- */

struct cleaning {
    struct ledger *ledger;
    const char *hold;
    bool needed;
};

static int is_needed(void *ctx, const struct ledger_item *item)
{
    struct cleaning *cleaning = ctx;

    cleaning->needed = !strcmp(item->rests, cleaning->hold) &&
                       (item->state == ITEM_WAITING || item->state == ITEM_FAILED ||
                        (item->state == ITEM_QUARANTINED && !item->dropped));
    return 0;
}

/* Of one hold entry; takes `fd`. */
static int clean_folder(struct cleaning *cleaning, int fd, struct err *err)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int result = 0;

    if (!dir) {
        close(fd);
        return 0;
    }
    while (!result && (entry = readdir(dir))) {
        char item[NAME_SIZE] = "";
        size_t n = strlen(entry->d_name);

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        cleaning->needed = false;
        if (ends_with(entry->d_name, ENDING) && n - strlen(ENDING) < sizeof(item)) {
            memcpy(item, entry->d_name, n - strlen(ENDING));
            if (ledger_item_get(cleaning->ledger, item, is_needed, cleaning, err) < 0)
                result = -1;
        }
        if (!result && !cleaning->needed && unlinkat(dirfd(dir), entry->d_name, 0))
            unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
    return result;
}

int held_clean(struct ledger *ledger, const char *state, const char *batch, struct err *err)
{
    struct cleaning cleaning = {.ledger = ledger};
    int fd = open_batch(state, batch, false), held, result = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return 0; /* nothing of it ever rested */
    }
    while (!result && (entry = readdir(dir))) {
        int folder;

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        folder = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (folder < 0)
            continue;
        cleaning.hold = entry->d_name;
        result = clean_folder(&cleaning, folder, err);
        unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR); /* only if nothing is left in it */
    }
    closedir(dir);
    held = down(open_state(state), HELD_FOLDER, false);
    if (held >= 0) {
        unlinkat(held, batch, AT_REMOVEDIR);
        close(held);
    }
    return result;
}

int held_sweep(struct ledger *ledger, const char *state, struct err *err)
{
    int fd = down(open_state(state), HELD_FOLDER, false), result = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    while (!result && (entry = readdir(dir)))
        if (entry->d_name[0] == 'b')
            result = held_clean(ledger, state, entry->d_name, err);
    closedir(dir);
    return result;
}
