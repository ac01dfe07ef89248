/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - values as JSON that a person can read, and what differs between two texts.
 */
#ifndef SENDIT_HARNESS_TEXT_H
#define SENDIT_HARNESS_TEXT_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

/* `text` as JSON; bytes that are no UTF-8 as text_bytes() has them.  NULL is null.  NULL without
 * memory. */
json_t *text_json(const char *text);
/* { "bytes": N, "sha256": "..." } */
json_t *text_sum(const void *data, size_t length);
/* Short text as it is; anything else by its sum. */
json_t *text_bytes(const void *data, size_t length);

/* As text with two blanks of indent; in each object the keys of `order` (ended by NULL) come first,
 * the others behind them in byte order.  The caller frees it; NULL without memory. */
char *text_dump(const json_t *json, const char *const *order);

/* What differs, line by line, "-" being what was expected and "+" what came, with three lines
 * around it; nothing if they are equal. */
void text_diff(const char *expected, const char *found, struct buf *ret_diff);

#endif
