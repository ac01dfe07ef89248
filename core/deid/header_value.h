/* SPDX-License-Identifier: Apache-2.0 */
/*
 * header_value.h - the values that a header rule makes of others: dates some days later, and what
 * deid_func: gives.  For the files of this folder only.
 */
#ifndef SENDIT_DEID_HEADER_VALUE_H
#define SENDIT_DEID_HEADER_VALUE_H

#include "base/buf.h"
#include "deid/deid.h"
#include "deid/recipe.h"

/* Append the values of `text`, moved.  DA, DT, a TM with a date in it, and texts that are a date
 * from their first character to the last; as precise as they were, times and zones as they are.  A
 * time of day stays.  False for anything else. */
bool header_jitter(uint16_t vr, const char *text, int32_t days, struct buf *out);

/* Append what the function makes of `text`.  `seed` is what a UUID comes from where there is no
 * text, `keyword` what suffix_uuid begins with; `days` are those of the patient. */
struct header_call {
    const struct recipe_action *action;
    const struct deid_keyed *keyed;
    const char *text, *seed, *keyword;
    uint16_t vr;
    int32_t days;
};
/* ECORRUPT if the value cannot be made. */
sendit_result header_func(const struct header_call *call, struct buf *out);

#endif
