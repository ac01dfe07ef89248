/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - small helpers for files and paths.  They return 0 or -1 with errno set, unless said.
 */
#ifndef SENDIT_BASE_FILE_H
#define SENDIT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* The whole of a regular file of up to `max` bytes, NUL-terminated; EFBIG above that.  The caller
 * frees *ret_data. */
int file_read(const char *path, size_t max, char **ret_data, size_t *ret_len);
/* All of `data`, or -1. */
int file_write_all(int fd, const void *data, size_t len);
/* Write through a temporary file beside `path`, sync, rename, sync the folder.  Mode as given. */
int file_replace(const char *path, const void *data, size_t len, mode_t mode);
/* mkdir -p; folders that are made get `mode`, and those above them are synced. */
int file_mkdirs(const char *path, mode_t mode);
/* fsync of a folder by its path. */
int file_sync_folder(const char *path);
/* "folder/name", or `name` when it is absolute; lexically cleaned of "." and "//" and "..".  The
 * caller frees it; NULL without memory. */
char *file_join(const char *folder, const char *name);
/* Is `path` the folder itself or below it?  Both absolute and clean. */
bool file_is_below(const char *path, const char *folder);

#endif
