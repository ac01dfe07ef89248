/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - the %filter groups of recipes: which LABEL holds for an image, and what to blank.
 *
 * Groups are judged by kind, not by place: a whitelist's LABEL that holds decides, else the first
 * of a blacklist, else the first of any other.  Each attribute is read once for an image and each
 * test made once, however many LABELs ask.  One thread.
 */
#ifndef SENDIT_DEID_FILTER_H
#define SENDIT_DEID_FILTER_H

#include "base/err.h"
#include "deid/recipe.h"
#include "sendit/stage.h"

#define FILTER_MAX_BOXES 4096 /* of one image */
#define FILTER_MAX_ITEMS 4096 /* of a sequence, and values that a path finds */

struct filter;
/* The recipe must live as long. */
int filter_new(const struct recipe *recipe, struct filter **ret_filter, struct err *err);
void filter_free(struct filter *filter);
/* All of them, without boxes; NULL past the end. */
const struct sendit_match *filter_label(const struct filter *filter, size_t index);
/* EABSENT if no LABEL holds; what it points to lives until the next call.  ECORRUPT, with `why`,
 * if that cannot be known: a value that cannot be read, a pattern that takes too long, regions
 * that are not there. */
sendit_result filter_run(struct filter *filter, struct sendit_dataset *ds,
                         const struct sendit_match **ret_match, struct sendit_why *why);

#endif
