/* SPDX-License-Identifier: Apache-2.0 */
/*
 * charset.h - text of a data set to UTF-8 and back, by iconv.
 *
 * A character set is what (0008,0005) says (PS3.3 C.12.1.1.2).  ISO 2022 escapes are split here
 * (PS3.5 6.1.2.5): glibc has no converter for them that follows DICOM's rules.  What cannot be
 * converted is an error, never a question mark.
 */
#ifndef SENDIT_DICOM_CHARSET_H
#define SENDIT_DICOM_CHARSET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

struct charset;       /* one value of (0008,0005), understood */
struct charset_table; /* those that a process has met, and their converters */

/* At which characters ISO 2022 goes back to its initial state, beside control characters. */
enum charset_text {
    CHARSET_TEXT,   /* ST, LT, UT: none */
    CHARSET_VALUES, /* LO, SH, UC: the backslash */
    CHARSET_NAME    /* PN: the backslash, "^" and "=" */
};

struct charset_table *charset_table_new(void); /* NULL without memory */
void charset_table_free(struct charset_table *table);

/*
 * By the text of (0008,0005), "" for the default repertoire.  Lives as long as the table.  One that
 * has an unknown term converts ASCII only.  NULL without memory.
 */
const struct charset *charset_get(struct charset_table *table, const char *specific, size_t length);

/* Is each term of (0008,0005) one that is understood here, and may they stand together? */
bool charset_is_known(const char *specific, size_t length);

/* Append `text` as UTF-8, or as it is encoded in the set; -1 if it cannot be converted.  `out` may
 * then have a part of it. */
int charset_decode(const struct charset *set, const char *text, size_t length,
                   enum charset_text kind, struct buf *out);
int charset_encode(const struct charset *set, const char *utf8, size_t length,
                   enum charset_text kind, struct buf *out);

/* Is it well-formed UTF-8 (no surrogates, no overlong forms)? */
bool charset_is_utf8(const char *text, size_t length);

#ifdef __cplusplus
}
#endif
#endif
