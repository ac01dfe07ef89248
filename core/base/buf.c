/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool buf_reserve(struct buf *buf, size_t extra)
{
    size_t cap = buf->cap ? buf->cap : 256;
    char *data;

    if (buf->failed || extra >= SIZE_MAX / 2 - buf->len) {
        buf->failed = true;
        return false;
    }
    if (buf->cap > buf->len + extra)
        return true;
    while (cap <= buf->len + extra)
        cap *= 2;
    data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
    if (!buf_reserve(buf, len))
        return;
    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_str(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *text, ...)
{
    va_list ap;
    int n;

    va_start(ap, text);
    n = vsnprintf(NULL, 0, text, ap);
    va_end(ap);
    if (n < 0 || !buf_reserve(buf, (size_t)n)) {
        buf->failed = true;
        return;
    }
    va_start(ap, text);
    vsnprintf(buf->data + buf->len, (size_t)n + 1, text, ap);
    va_end(ap);
    buf->len += (size_t)n;
}

char *buf_take(struct buf *buf)
{
    char *data = NULL;

    if (!buf->failed && buf_reserve(buf, 0)) {
        data = buf->data;
        data[buf->len] = '\0';
        buf->data = NULL;
    }
    buf_fini(buf);
    return data;
}

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}
