/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_bytes.h - the bytes of a virtual file into a real one, and are two files the same?
 *
 * `buffer` has STORE_BYTES_BUFFER bytes, for what the kernel does not copy by itself.
 */
#ifndef SENDIT_STORE_BYTES_H
#define SENDIT_STORE_BYTES_H

#include <sendit/stage.h>

#define STORE_BYTES_BUFFER (1u << 20)

/* Into a file that is empty.  -1 with errno if it cannot be written, 1 if the original cannot be
 * read, or not to its end. */
int store_bytes_copy(int fd, const struct sendit_file *file, void *buffer);
/* 1 if both are files with the same bytes; 0 if not, or if one cannot be read. */
int store_bytes_equal(int a, int b, void *buffer);

#endif
