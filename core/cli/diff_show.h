/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_show.h - the answer of `sendit diff`, in one of three shapes, as it comes.
 *
 * begin() comes first; file(), element() and file_end() for each file (objects of diff/diff.h);
 * end() last, with the sentence of what ended it before its time, or NULL.
 */
#ifndef SENDIT_CLI_DIFF_SHOW_H
#define SENDIT_CLI_DIFF_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "base/err.h"
#include "cli/cli.h"

struct diff_about {
    const char *pipeline, *version;
    const char *fingerprint; /* of the site key; NULL if there is none */
    bool makeshift;          /* values are made with a key for this answer alone */
    bool originals;
};

/* What was told so far. */
struct diff_sum {
    size_t files, passed, quarantined, failed, ignored, retry;
    json_int_t kept, changed, removed, added;
};

struct diff_shape {
    void (*begin)(const struct diff_about *about, FILE *out);
    void (*file)(const json_t *file, size_t nth, FILE *out);
    void (*element)(const json_t *element, size_t nth, FILE *out);
    void (*file_end)(size_t elements, FILE *out);
    void (*end)(const struct diff_sum *sum, const struct err *err, FILE *out);
};
extern const struct diff_shape diff_text, diff_html, diff_json;

/* ---- words that text and HTML share; the caller frees them, NULL without memory ---- */

/* "scan.dcm", "export, file 3", with its path where that may be shown. */
char *diff_name(const json_t *file);
/* "would be stored", "would be stored if restful-anonymizer passes it; ...",
 * "would be quarantined: local-anonymizer ids.no_patient: ..." */
char *diff_fate(const json_t *file);
/* "\"CT\"", "12 bytes, masked", "3 items", "-". */
char *diff_value(const json_t *value);
/* "ps3.15-2026c.tsv:33 empties it (...)", one for each rule, "; " between. */
char *diff_rules(const json_t *element);
/* "PASS", "QUARANTINE pixel.burned_in", "not called: it hands images out". */
char *diff_verdict(const json_t *stage);
/* Is it shown as it was when it ended, and does nothing of it leave? */
bool diff_ended(const json_t *file);
/* Labels with blanks between. */
char *diff_labels(const json_t *labels);
/* What may deceive who looks, such as marks that turn the direction of writing, as \u202E. */
char *diff_plain(const char *text);
/* The notes above the answer, number `index` from 0; NULL past the last. */
const char *diff_note(const struct diff_about *about, size_t index);
const char *diff_word(const json_t *object, const char *key); /* borrowed, "" without */

#endif
