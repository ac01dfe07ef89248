/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_doc.h - JSON in which every value and every key knows its line and column.
 *
 * jansson reads the values, but keeps no positions; one pass of our own over the text goes before
 * it, keeps them, and refuses what jansson would let through or we never want: a BOM, NUL bytes,
 * keys that stand twice, nesting deeper than the caller allows, numbers that do not fit.  Columns
 * count characters, both counts begin at 1.
 */
#ifndef SENDIT_PLAN_JSON_DOC_H
#define SENDIT_PLAN_JSON_DOC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define JSON_DOC_MAX_MEMBERS 1000 /* of one object: each is compared with those before it */

struct json_node {
    json_t *value; /* borrowed from the document */
    char *key;     /* of a member of an object, else NULL */
    size_t index;  /* of an element of an array */
    unsigned line, col, key_line, key_col;
    bool used; /* for callers that look for what nobody asked for */
    struct json_node *parent, *first, *last, *next;
};

struct json_doc {
    const char *file; /* for messages; borrowed */
    json_t *json;
    struct json_node *root;
};

/* Strict JSON of one value.  -1 with "FILE:LINE:COL: PATH: sentence", code ERR_REFUSED; the
 * document is then empty.  `max_nest` counts arrays and objects inside one another. */
int json_doc_parse(struct json_doc *doc, const char *file, const char *text, size_t len,
                   unsigned max_nest, struct err *err);
void json_doc_fini(struct json_doc *doc);

/* The member `key` of an object, marked as used; NULL if it is no object or has none. */
struct json_node *json_doc_get(struct json_node *object, const char *key);
/* "stages[2].config.bucket"; "" for the root. */
void json_doc_path(const struct json_node *node, char *path, size_t size);
/* Sets ERR_REFUSED at the place of the value, or of its key; returns -1. */
__attribute__((format(printf, 4, 5))) int json_doc_error(const struct json_doc *doc,
                                                         const struct json_node *node,
                                                         struct err *err, const char *text, ...);
__attribute__((format(printf, 4, 5))) int json_doc_key_error(const struct json_doc *doc,
                                                             const struct json_node *node,
                                                             struct err *err, const char *text,
                                                             ...);
/* "an object", "text": what a value is, for messages. */
const char *json_doc_kind(const json_t *value);

#endif
