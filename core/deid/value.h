/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.h - single values: is it what its VR says, and what is a date some days later?
 *
 * Pure functions on the bytes of an element, which need not end with a NUL.
 */
#ifndef SENDIT_DEID_VALUE_H
#define SENDIT_DEID_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* What a VR is made of. */
enum value_class {
    VALUE_UNKNOWN = 0, /* no VR, or UN */
    VALUE_TEXT,        /* words: AE LO LT PN SH ST UC UR UT */
    VALUE_STRING,      /* characters with a form: AS CS DA DS DT IS TM UI */
    VALUE_NUMBER,      /* AT FD FL SL SS SV UL US UV */
    VALUE_BYTES,       /* OB OW */
    VALUE_ARRAY,       /* OD OF OL OV */
    VALUE_SEQUENCE
};

#define VALUE_VR(a, b) ((uint16_t)((unsigned)(a) << 8 | (unsigned)(b)))
static inline uint16_t value_vr(const char *vr)
{
    return VALUE_VR((unsigned char)vr[0], (unsigned char)vr[1]);
}
enum value_class value_class(uint16_t vr);
size_t value_width(uint16_t vr); /* of one number of VALUE_NUMBER and VALUE_ARRAY, else 1 */

/* A value without the blanks and NULs around it. */
struct value_span {
    const char *text;
    size_t len;
};
struct value_span value_trim(const void *bytes, size_t len);
/* The next value of several; false at the end.  `rest` begins as the whole. */
bool value_next(struct value_span *rest, struct value_span *ret_one);

/* Does each value have the form of the VR?  What is empty does.  Text only has its length and its
 * control characters checked here. */
bool value_fits(uint16_t vr, const void *bytes, size_t len);
/* 1 to 64 digits and dots. */
bool value_is_uid(struct value_span uid);

/* The age that may be shown, "089Y" for any over 89 years, in four characters; false if it is no
 * age.  "45Y" is taken for "045Y". */
bool value_age(struct value_span age, char ret_age[5]);

/* Append a DA or DT, or several of them, moved by `days`, times of day as they are; false if one
 * of them is no date, or leaves the years 1 to 9999. */
bool value_move(uint16_t vr, const void *bytes, size_t len, int32_t days, struct buf *out);

/* What stands for a value that may not be empty: text, or NULL where it is zeros. */
const char *value_dummy(uint16_t vr);

#endif
