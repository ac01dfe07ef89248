/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growing array of bytes.
 *
 * Zero-initialized it is empty.  `data` is always NUL-terminated once anything was added, the NUL
 * not counted in `len`.  A failed allocation sets `failed`, after which nothing is added any more:
 * check it once, at the end.
 */
#ifndef SENDIT_BASE_BUF_H
#define SENDIT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* owned */
    size_t len, cap;
    bool failed;
};

/* Room for `extra` more bytes and a NUL; false without memory. */
bool buf_reserve(struct buf *buf, size_t extra);
void buf_add(struct buf *buf, const void *data, size_t len);
void buf_str(struct buf *buf, const char *text);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *buf, const char *text, ...);
/* Hand the bytes to the caller, who frees them; NULL if anything failed. */
char *buf_take(struct buf *buf);
void buf_fini(struct buf *buf);

#endif
