/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - how a function of the core says what went wrong.
 *
 * A function returns 0 or -1 and fills the caller's `struct err`.  The sentence is set where the
 * error happens and prefixed on the way up ("pipeline.json:14:7: stages[2]: ...").  `code` is the
 * exit status that it asks for.  No text ever has a value of an image or a path found below one
 * that the user wrote.
 */
#ifndef SENDIT_BASE_ERR_H
#define SENDIT_BASE_ERR_H

#include <stdarg.h>

enum err_code {
    ERR_NONE = 0,
    ERR_BATCH = 1,   /* a batch is in ERROR, a finding, a red case */
    ERR_USAGE = 2,   /* the command line */
    ERR_REFUSED = 3, /* pipeline, plugin, recipe, key or state: before any file was touched */
    ERR_PLACE = 4,   /* no room, or a place that cannot be read or written */
    ERR_AWAY = 75    /* a service is away */
};

struct err {
    int code;        /* enum err_code */
    char text[1000]; /* one sentence, without a newline at its end */
};

/* Set code and text; always returns -1, so that `return err_set(...)` reads well. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *err, int code, const char *text, ...);
/* Put "PREFIX: " before the text; returns -1. */
__attribute__((format(printf, 2, 3))) int err_prefix(struct err *err, const char *prefix, ...);

#endif
