/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header.h - the header rules of recipes, beside those of the profile in one walk.
 *
 * What an element meets: KEEP beats all but ADD; else the profile, if there is one, and then the
 * actions that mean it in the order of the recipe, each on what the one before left.  ADD makes
 * what is not there, after the walk.  A REMOVE gives way to a REPLACE or JITTER of the same
 * element.  Pixel data, palettes and what pydicom/deid never shows a rule meet none.
 *
 * What cannot be done (a variable that nobody gave, a value that does not fit) stops the image, or
 * costs the element, if the site says so.
 * For the files of this folder only; one thread, one data set at a time.
 */
#ifndef SENDIT_DEID_HEADER_H
#define SENDIT_DEID_HEADER_H

#include "base/err.h"
#include "deid/deid.h"
#include "deid/recipe.h"

#define HEADER_MAX_VALUES 1000 /* of a group of %values in one image */

struct header;
/* Recipe and names must live as long. */
int header_new(const struct recipe *recipe, const struct names *names, struct header **ret_header,
               struct err *err);
void header_free(struct header *header);

/* An element whose rule cannot be done: VERB_BLANK, VERB_REMOVE, or 0, which stops the image. */
void header_on_failure(struct header *header, enum recipe_verb verb);
/* Nothing that may name somebody is kept: images are to earn the labels. */
void header_guard(struct header *header, bool guards);

/* Is there an attribute that `identifies` and that a KEEP may mean, at whatever place? */
bool header_keeps(struct header *header,
                  bool (*identifies)(const void *ctx, const struct name *name), const void *ctx);

/* One run over a data set. */
struct header_env {
    struct sendit_dataset *ds;
    const struct sendit_var *vars;
    size_t n_vars;
    const struct deid_keyed *keyed;
    struct sendit_report *report;
    struct sendit_why *why;
    sendit_visit_fn *profile; /* what an element meets first; NULL without a profile */
    void *ctx;
};
/* Looks for the values of %values.  `env` must live until header_end(). */
sendit_result header_begin(struct header *header, const struct header_env *env);
/* For each element that the walk shows; SENDIT_STOP with header_result() not SENDIT_OK. */
int32_t header_visit(struct header *header, struct sendit_dataset *parent,
                     const struct sendit_element *e);
/* ADD what was not there. */
sendit_result header_end(struct header *header);
sendit_result header_result(const struct header *header);
/* Did an action mean the PatientID of the top level?  Then it is the recipe's. */
bool header_gave_id(const struct header *header);

#endif
