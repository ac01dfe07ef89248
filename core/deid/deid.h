/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deid.h - what a PS3.15 profile (and later a recipe) does to a data set, compiled once per run.
 *
 * The table of PS3.15 E.1-1 comes from filters/ps3.15-2026c.tsv.  deid_compile() makes of it and
 * of the chosen options one array sorted by tag; deid_apply() walks a data set once, at any depth,
 * and looks nothing up by name.  What no rule names is judged by VR, and what no dictionary knows
 * is removed.
 */
#ifndef SENDIT_DEID_DEID_H
#define SENDIT_DEID_DEID_H

#include "base/err.h"
#include "sendit/stage.h"

struct deid_plan; /* immutable; deid_free() */

/* `profiles` and `recipes` end with NULL; `filters` is the absolute path of the folder with the
 * tables.  -1 with ERR_REFUSED for a name that is not there (yet). */
int deid_compile(const char *const *profiles, const char *const *recipes, const char *filters,
                 struct deid_plan **ret_plan, struct err *err);
void deid_free(struct deid_plan *plan);
/* SHA-256 in hex of all that went into it. */
const char *deid_digest(const struct deid_plan *plan);

/* The new UID of an instance, for any original; lives until the next call. */
typedef sendit_result deid_uid_fn(void *ctx, const char *original, const char **ret_uid);

/* Edit `ds`, the top level of an object.  On anything but SENDIT_OK `why` says what is wrong, and
 * the caller takes the edits back. */
sendit_result deid_apply(const struct deid_plan *plan, struct sendit_dataset *ds,
                         const struct sendit_var *vars, size_t n_vars, deid_uid_fn *uid, void *ctx,
                         struct sendit_report *ret_report, struct sendit_why *why);

#endif
