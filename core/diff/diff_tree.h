/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_tree.h - the elements of one object, as they came and as they are now, each with the rules
 * that met it.
 *
 * Elements are told apart by where they stand: tags and numbers of items.  Of a value is kept what
 * tells it from another, and text to be shown.  For the files of this folder only.
 */
#ifndef SENDIT_DIFF_DIFF_TREE_H
#define SENDIT_DIFF_DIFF_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "deid/deid.h"
#include "dicom/dicom.h"

#define DIFF_TREE_LEVELS (2 * DICOM_MAX_DEPTH + 2)
#define DIFF_BY_CORE SIZE_MAX /* the stage of what sendit itself did */

/* A value at one time. */
struct diff_value {
    bool there, is_sequence, cut;
    char vr[4];
    uint64_t length;         /* of a sequence: its items */
    char digest[DIGEST_HEX]; /* "" if there is none to be had */
    char *text;              /* owned, UTF-8, cut at DIFF_MAX_TEXT; NULL for bytes and sequences */
};

struct diff_by {
    size_t stage;             /* index in the plan, or DIFF_BY_CORE */
    char *file, *rule, *note; /* owned; `file` and `note` may be NULL, `rule`, too */
    unsigned line;
};

struct diff_node {
    uint32_t tag;
    char *creator; /* owned; NULL for what is not private */
    struct diff_value before, after;
    struct diff_by *by; /* owned */
    size_t n_by;
    bool seen; /* in the walk that goes on */
    struct diff_item {
        struct diff_node **nodes; /* owned, by tag */
        size_t n, cap;
    } * items; /* owned; of a sequence */
    size_t n_items;
};

struct diff_tree {
    struct diff_item meta, top;
    size_t n;      /* nodes */
    bool failed;   /* no memory */
    bool too_many; /* more than DIFF_MAX_ELEMENTS: the rest is not there */
    /* a walk that goes on */
    struct diff_node *last[DIFF_TREE_LEVELS];
    bool first;   /* it is the first one: what is seen is the original */
    size_t stage; /* whose work is looked at */
    int pixel_fd; /* where pixel data was when its digest was made */
    uint64_t pixel_at;
    /* rules for private elements that were not there: their block is not known yet */
    struct diff_node **born; /* owned, nodes with a tag 0xGGGG00EE */
    size_t n_born;
};

/* What the object is before the first stage.  SENDIT_OK, or why it cannot be looked at. */
sendit_result diff_tree_begin(struct diff_tree *tree, struct sendit_dataset *ds);
/* What it is now that stage number `stage` has edited it. */
sendit_result diff_tree_look(struct diff_tree *tree, struct sendit_dataset *ds, size_t stage);
/* The meta group that is written: `bytes` begin with the preamble. */
void diff_tree_meta(struct diff_tree *tree, const void *bytes, size_t len);
/* Before a stage runs: what it has deid.apply do is noted. */
struct deid_watch diff_tree_watch(struct diff_tree *tree, size_t stage);
/* The stage's edits were taken back. */
void diff_tree_forget(struct diff_tree *tree, size_t stage);
/* The digest of its pixel data as it is now, "" without. */
const char *diff_tree_pixels(const struct diff_tree *tree);
/* Of a part that is a range of a file; 0 or -1. */
int diff_tree_digest(const struct sendit_part *part, char ret_digest[DIGEST_HEX]);
void diff_tree_fini(struct diff_tree *tree);

#endif
