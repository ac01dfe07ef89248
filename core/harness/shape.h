/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.h - which keys a JSON file of a case may have, and of what kind their values are.  What is
 * not known is an error with file, line and column.
 */
#ifndef SENDIT_HARNESS_SHAPE_H
#define SENDIT_HARNESS_SHAPE_H

#include "plan/json_doc.h"

enum shape_kind {
    SHAPE_ANY,
    SHAPE_TEXT,
    SHAPE_NUMBER, /* whole, not negative */
    SHAPE_BOOLEAN,
    SHAPE_TEXTS,   /* an array of text */
    SHAPE_MAP,     /* an object of text */
    SHAPE_MAPS,    /* an object of objects of text */
    SHAPE_NUMBERS, /* an object of whole numbers */
    SHAPE_OBJECT,  /* with the keys of `inner` */
    SHAPE_OBJECTS, /* any keys, each an object with those of `inner` */
    SHAPE_ARRAY    /* of objects with the keys of `inner` */
};
struct shape {
    const char *key; /* NULL ends the list */
    enum shape_kind kind;
    const struct shape *inner;
    const char *words; /* of a TEXT: the words that it may begin with, between "|" */
    bool required;
};

/* 0, or -1 with a sentence. */
int shape_check(const struct json_doc *doc, struct json_node *object, const struct shape *shapes,
                struct err *err);

#endif
