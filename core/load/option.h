/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option.h - one option of a stage: is its entry in the table sound, and what does a text mean?
 *
 * Text is the common form: defaults stand as text in the table, values of pipeline.json and of
 * --set are brought to it, and one function judges them all.
 */
#ifndef SENDIT_LOAD_OPTION_H
#define SENDIT_LOAD_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sendit/stage.h"

#define OPTION_MAX_TEXT 8192 /* bytes of one value; a JSON may be as long as its file */

struct option_result {
    char *text;     /* canonical; a PATH absolute; the caller frees it */
    int64_t number; /* as config->number() has it */
};

/* What `text` means.  Relative paths are taken from `folder`; NULL leaves them as they are, for
 * checks.  -1 with a sentence that never has a SECRET in it. */
int option_parse(const struct sendit_option *option, const char *text, const char *folder,
                 struct option_result *ret, struct err *err);
/* The same for a default: a SECRET may name several places, separated by blanks. */
int option_parse_default(const struct sendit_option *option, const char *text, const char *folder,
                         struct option_result *ret, struct err *err);
/* Is the host of this URL this machine, written plainly: localhost, 127.0.0.0/8 or [::1]? */
bool option_is_loopback(const char *url);
/* "http://HOST:PORT" as variables for emulators name it: "HOST:PORT", "http://HOST:PORT", or that
 * with any path, which is cut off.  It must be loopback.  The caller frees it. */
int option_emulator(const char *text, char **ret_url, struct err *err);
/* Is the entry sound: name, type, flags, limit, default?  A sentence about `option`, else 0. */
int option_check(const struct sendit_option *option, struct err *err);
/* "duration", as `sendit stages` shows a type. */
const char *option_type_name(int32_t type);
/* The next word of a list separated by blanks; NULL at the end.  *at moves on. */
const char *option_word(const char **at, size_t *ret_len);

#endif
