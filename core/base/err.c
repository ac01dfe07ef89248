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
    size_t n;

    va_start(ap, prefix);
    vsnprintf(text, sizeof(text), prefix, ap);
    va_end(ap);
    n = strlen(text);
    snprintf(text + n, sizeof(text) - n, ": %s", err->text);
    memcpy(err->text, text, sizeof(text));
    return -1;
}
