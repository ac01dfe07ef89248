/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.h - the regular expressions of recipes: PCRE2 without regard to case, in UTF-8, with
 * limits, so that no pattern and no value can take for ever.
 *
 * One thread: a pattern has the memory that its matching needs.
 */
#ifndef SENDIT_DEID_PATTERN_H
#define SENDIT_DEID_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define PATTERN_MAX 65536          /* bytes of one */
#define PATTERN_MATCH_LIMIT 100000 /* steps of PCRE2 at one place of the text */
#define PATTERN_HEAP_KIB 4096

enum pattern_how { PATTERN_ANYWHERE, PATTERN_AT_START, PATTERN_AT_END, PATTERN_WHOLE };
enum {
    PATTERN_NO = 0,
    PATTERN_YES = 1,
    PATTERN_LIMIT = -1 /* a limit was reached, or the text is no UTF-8: nothing is known */
};

struct pattern;
/* NULL without memory (`why` is then "") or with a reason in `why` and its place in *ret_at. */
struct pattern *pattern_new(const char *text, size_t len, enum pattern_how how, char *why,
                            size_t size, size_t *ret_at);
void pattern_free(struct pattern *pattern);
int pattern_match(const struct pattern *pattern, const char *text, size_t len);
/* Append what matches this text and nothing else. */
void pattern_escape(const char *text, size_t len, struct buf *out);
/* Only letters, digits and "|": whatever it finds in several words that are joined by "__", it
 * finds in one of them. */
bool pattern_is_plain(const struct pattern *pattern);

#endif
