/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *text, ...)
{
    va_list ap;

    err->code = code;
    va_start(ap, text);
    vsnprintf(err->text, sizeof(err->text), text, ap);
    va_end(ap);
    return -1;
}

int err_prefix(struct err *err, const char *prefix, ...)
{
    char text[sizeof(err->text)];
    va_list ap;
    size_t n, rest;

    va_start(ap, prefix);
    vsnprintf(text, sizeof(text) - 2, prefix, ap);
    va_end(ap);
    n = strlen(text);
    memcpy(text + n, ": ", 2);
    n += 2;
    rest = strnlen(err->text, sizeof(text) - 1 - n);
    memcpy(text + n, err->text, rest);
    text[n + rest] = '\0';
    memcpy(err->text, text, n + rest + 1);
    return -1;
}
