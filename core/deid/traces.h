/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traces.h - what names the patient, the study or the place in one object, to find it again where
 * it does not belong: a name in the maker's field, an accession number in a label.
 *
 * Collected before the first edit: each part of a name, identifiers, addresses, dates, the UIDs of
 * the image; those of the top level first.  Case, accents and what stands between letters do not
 * hide them.
 * A second line behind the rules, and no proof: what an object says nowhere else is not found.
 */
#ifndef SENDIT_DEID_TRACES_H
#define SENDIT_DEID_TRACES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "sendit/stage.h"

#define TRACES_MAX 512  /* more are not kept: the first ones are those of the top level */
#define TRACE_LENGTH 64 /* bytes of one; longer ones are cut */

struct trace {
    char text[TRACE_LENGTH]; /* small letters without accents; not NUL-terminated */
    unsigned char len;
    bool anywhere; /* counts inside a word, too */
};
struct traces {
    struct trace *items; /* owned */
    size_t n;
    struct buf folded; /* scratch */
};

/* Is it one of those: a name, an identifier, an address, a date, a UID of the image? */
bool traces_names(const struct sendit_element *element);
/* 0, or -1 without memory; traces_fini() in both cases. */
sendit_result traces_collect(struct traces *traces, struct sendit_dataset *ds);
void traces_fini(struct traces *traces);

/* Does text, as UTF-8, name anybody?  Of traces shorter than `shortest` nothing is said. */
bool traces_in_text(struct traces *traces, const char *text, size_t len, size_t shortest);
/* For a number: is it one of them as a whole, or has it a long one in it, such as a date? */
bool traces_in_number(const struct traces *traces, const char *text, size_t len);
/* traces_in_text() for bytes that should be numbers. */
bool traces_in_bytes(struct traces *traces, const void *bytes, size_t len);
/* "DOE^JANE", "jane.doe@example.org": a name or an address, whoever it may be. */
bool traces_look_like_a_name(const char *text, size_t len);

#endif
