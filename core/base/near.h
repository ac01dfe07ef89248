/* SPDX-License-Identifier: Apache-2.0 */
/*
 * near.h - "did you mean": the closest of some known words to one that is not known.
 */
#ifndef SENDIT_BASE_NEAR_H
#define SENDIT_BASE_NEAR_H

#include <stddef.h>

/* Feed candidates one by one; the best is kept. */
struct near {
    const char *word, *best; /* both borrowed */
    size_t distance;
};
void near_start(struct near *near, const char *word);
void near_try(struct near *near, const char *candidate);
/* `; did you mean "WORD"?`, or "" if nothing is close: two edits, or one begins the other. */
const char *near_hint(const struct near *near, char *text, size_t size);

#endif
