/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_all(int fd, size_t max, char **ret_data, size_t *ret_len)
{
    struct stat st;
    size_t len = 0;
    char *data;

    if (fstat(fd, &st))
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return -1;
    }
    if (st.st_size < 0 || (size_t)st.st_size > max) {
        errno = EFBIG;
        return -1;
    }
    data = malloc((size_t)st.st_size + 1);
    if (!data)
        return -1;
    while (len < (size_t)st.st_size) {
        ssize_t n = read(fd, data + len, (size_t)st.st_size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(data);
            return -1;
        }
        if (!n)
            break;
        len += (size_t)n;
    }
    data[len] = '\0';
    *ret_data = data;
    *ret_len = len;
    return 0;
}

int file_read(const char *path, size_t max, char **ret_data, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int r, saved;

    if (fd < 0)
        return -1;
    r = read_all(fd, max, ret_data, ret_len);
    saved = errno;
    close(fd);
    errno = saved;
    return r;
}

int file_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r, saved;

    if (fd < 0)
        return -1;
    r = fsync(fd);
    saved = errno;
    close(fd);
    errno = saved;
    return r;
}

static int sync_parent(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (!slash)
        return file_sync_folder(".");
    if (slash == path)
        return file_sync_folder("/");
    snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    return file_sync_folder(folder);
}

int file_replace(const char *path, const void *data, size_t len, mode_t mode)
{
    char temp[PATH_MAX];
    int fd, saved;

    if (snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= (int)sizeof(temp)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fchmod(fd, mode) || file_write_all(fd, data, len) || fsync(fd) || rename(temp, path)) {
        saved = errno;
        close(fd);
        unlink(temp);
        errno = saved;
        return -1;
    }
    close(fd);
    return sync_parent(path);
}

int file_mkdirs(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    if (!len || len >= sizeof(part)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(part, path, len + 1);
    for (char *p = part + 1;; p++) {
        char c = *p;

        if (c && c != '/')
            continue;
        *p = '\0';
        if (!mkdir(part, mode))
            (void)sync_parent(part); /* one that may be written and not read cannot be synced */
        else if (errno != EEXIST)
            return -1;
        if (!c)
            return 0;
        *p = c;
    }
}

/* Append one component of a path to a clean absolute one, ".." taking the last away. */
static size_t push(char *path, size_t len, const char *part, size_t n)
{
    if (!n || (n == 1 && part[0] == '.'))
        return len;
    if (n == 2 && part[0] == '.' && part[1] == '.') {
        while (len && path[--len] != '/')
            ;
        return len;
    }
    path[len++] = '/';
    memcpy(path + len, part, n);
    return len + n;
}

char *file_join(const char *folder, const char *name)
{
    const char *both[2] = {name[0] == '/' ? "" : folder, name};
    char *path = malloc(strlen(folder) + strlen(name) + 4);
    size_t len = 0;

    if (!path)
        return NULL;
    for (int i = 0; i < 2; i++)
        for (const char *p = both[i]; *p;) {
            size_t n = strcspn(p, "/");

            len = push(path, len, p, n);
            p += n + (p[n] == '/');
        }
    if (!len)
        path[len++] = '/';
    path[len] = '\0';
    return path;
}

bool file_is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    if (n == 1 && folder[0] == '/')
        return true;
    return !strncmp(path, folder, n) && (path[n] == '\0' || path[n] == '/');
}
