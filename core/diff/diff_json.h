/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_json.h - a tree of elements as JSON, values of the original masked.  For the files of this
 * folder only.
 */
#ifndef SENDIT_DIFF_DIFF_JSON_H
#define SENDIT_DIFF_DIFF_JSON_H

#include <jansson.h>

#include "diff/diff_tree.h"
#include "plan/plan.h"

struct diff_shown {
    const struct plan *plan;
    bool originals; /* values of the original */
    bool made;      /* values that stages made, which may have something of the original in them */
};

/* "counts" of diff.h; NULL without memory. */
json_t *diff_json_counts(const struct diff_tree *tree);
/* Each of "elements"; -1 without memory, or what `each` returned if not 0. */
int diff_json_each(const struct diff_tree *tree, const struct diff_shown *shown,
                   int (*each)(void *ctx, const json_t *element), void *ctx);

#endif
