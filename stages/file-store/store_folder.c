/* SPDX-License-Identifier: Apache-2.0 */
#include "store_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int store_folder_sync(int at, const char *path)
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

int store_folder_make(const char *folder)
{
    char *path = strdup(folder), *slash;
    int result = path ? 0 : -1;

    for (slash = path; !result && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (!mkdir(path, STORE_FOLDER_MODE)) {
            char *last = strrchr(path, '/');

            *last = '\0';
            result = store_folder_sync(AT_FDCWD, last == path ? "/" : path);
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

int store_folder_empty(int fd)
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

int store_folder_lock(int staging, const char *name, int ours)
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

void store_folder_sweep(int staging)
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
        if (entry->d_name[0] == '.' || (fd = store_folder_lock(staging, entry->d_name, 0)) < 0)
            continue;
        if (!store_folder_empty(fd))
            unlinkat(staging, entry->d_name, AT_REMOVEDIR);
        close(fd);
    }
    closedir(dir);
}
