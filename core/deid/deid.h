/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deid.h - what a PS3.15 profile and recipes do to a data set, compiled once per run.
 *
 * The table of PS3.15 E.1-1 comes from filters/ps3.15-2026c.tsv.  deid_compile() makes of it and
 * of the chosen options one array sorted by tag; deid_apply() walks a data set once, at any depth,
 * and looks nothing up by name.  What no rule names is judged by VR, and what no dictionary knows
 * is removed.
 */
#ifndef SENDIT_DEID_DEID_H
#define SENDIT_DEID_DEID_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "sendit/stage.h"

struct deid_plan; /* immutable; deid_free() */

/* `profiles` and `recipes` end with NULL; one of them may be empty.  A recipe is a path, if it has
 * a "/", or a word: "dicom" is deid.dicom in `filters`, the absolute path of the folder that has
 * the tables, too.  Several recipes are one, in the order of their names.  -1 with ERR_REFUSED for
 * a name that is not there, or for a recipe with a mistake in it. */
int deid_compile(const char *const *profiles, const char *const *recipes, const char *filters,
                 struct deid_plan **ret_plan, struct err *err);
void deid_free(struct deid_plan *plan);
/* Names of the variables that the recipes ask for, by index; NULL past the end. */
const char *deid_variable(const struct deid_plan *plan, size_t index);
/* The LABELs of the filters, by index; NULL past the end. */
const struct sendit_match *deid_label(const struct deid_plan *plan, size_t index);
/* Does a recipe bring back what the profile would take?  `where` is then the place of the first
 * KEEP, "deid.site:12".  Without a profile nothing is taken. */
bool deid_brings_back(const struct deid_plan *plan, char *where, size_t size);
/* May it be a PatientID, a name, the UID of an instance, or a sequence with any of these? */
bool deid_lets_identity_through(const struct deid_plan *plan);
/* What becomes of an element whose rule of a recipe cannot be done, as a variable that is not given
 * or a date that is none: "quarantine" (the image is held, which is so without this call), "blank",
 * "remove".  false: no such word. */
bool deid_on_failure(struct deid_plan *plan, const char *word);
/* SHA-256 in hex of all that went into it. */
const char *deid_digest(const struct deid_plan *plan);

/* A rule that met an element, for who asks why it came out as it did. */
struct deid_step {
    const char *file; /* of a table of filters/, or the path of a recipe; NULL: no line says it */
    unsigned line;    /* from 1; 0 without a file */
    const char *rule; /* "empties it", "REPLACE PatientName" */
    const char *note; /* why it came out otherwise: "it names somebody"; or NULL */
};
/* Told of each element that deid_apply() is shown, in the order of the walk, once for each rule
 * that meets it.  `parent` is NULL for what was not there before and was put at the top level; of
 * `e` tag, VR and creator are then given.  The value of `e` is not to be looked at: it may be gone.
 * All of it lives until told() returns. */
struct deid_watch {
    void (*told)(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e,
                 const struct deid_step *step);
    void *ctx;
};

/* What is made with the site key, and who watches. */
struct deid_keyed {
    /* The new UID of an instance, for any original; lives until the next call. */
    sendit_result (*uid)(void *ctx, const char *original, const char **ret_uid);
    /* A UUID for any other text. */
    sendit_result (*uuid)(void *ctx, const char *original, uint8_t ret_uuid[16]);
    void *ctx;
    const struct deid_watch *watch; /* NULL: nobody, and nothing is paid for it */
};

/* Edit `ds`, the top level of an object.  On anything but SENDIT_OK `why` says what is wrong, and
 * the caller takes the edits back. */
sendit_result deid_apply(const struct deid_plan *plan, struct sendit_dataset *ds,
                         const struct sendit_var *vars, size_t n_vars,
                         const struct deid_keyed *keyed, struct sendit_report *ret_report,
                         struct sendit_why *why);

/* The LABEL that decides, a whitelist's before others; it lives until the next call.  EABSENT if
 * none holds; anything else with `why`. */
sendit_result deid_filter(const struct deid_plan *plan, struct sendit_dataset *ds,
                          const struct sendit_match **ret_match, struct sendit_why *why);

#endif
