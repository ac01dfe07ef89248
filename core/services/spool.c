/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.c - table spool of services.h.  A scratch file has no name on disk, so that nothing is left
 * of it however the worker ends, and another attempt finds none.
 */
#include "services/table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct host_spool {
    struct host_spool *next;
    int fd;
    char name[HOST_MAX_WORD + 1];
};

static int unnamed_file(const char *folder)
{
    char path[PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd;
    if (snprintf(path, sizeof(path), "%s/spool.XXXXXX", folder) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static sendit_result open_new(struct host *host, const char *name, int *ret_fd)
{
    struct host_spool *file = calloc(1, sizeof(*file));

    if (!file)
        return SENDIT_ENOMEM;
    file->fd = unnamed_file(host->env->scratch);
    if (file->fd < 0) {
        free(file);
        return SENDIT_EIO;
    }
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->next = host->spool;
    host->spool = file;
    *ret_fd = file->fd;
    return SENDIT_OK;
}

static sendit_result open_spool(const struct sendit_host *handle, const char *name, int *ret_fd)
{
    struct host *host = table_enter(handle);
    size_t n = 0;

    if (!host)
        return SENDIT_EINVAL;
    if (!host->env->batch_open || !name || !table_is_word(name) || !ret_fd)
        return table_misuse(host, "The stage called spool->open() with what it does not take",
                            NULL);
    if (!host->env->scratch)
        return SENDIT_EIO;
    for (const struct host_spool *file = host->spool; file; file = file->next, n++)
        if (!strcmp(file->name, name)) {
            *ret_fd = file->fd;
            return SENDIT_OK;
        }
    return n < HOST_MAX_SPOOL ? open_new(host, name, ret_fd) : SENDIT_ENOMEM;
}

void spool_close(struct host *host)
{
    while (host->spool) {
        struct host_spool *file = host->spool;

        host->spool = file->next;
        close(file->fd);
        free(file);
    }
}

const struct sendit_spool host_spool = {.open = open_spool};
