/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.h - which fields of a recipe mean an element: compiled into a table by tag.
 *
 * Patterns meet the dictionary once, when the table is made.  For an element that the dictionary
 * knows, at the top level, no name is looked up and no pattern runs.  Patterns run on private and
 * unknown ones, and in items those that could match across "Parent__Child".  For the files of this
 * folder only; one thread, one walk at a time.
 */
#ifndef SENDIT_DEID_SELECT_H
#define SENDIT_DEID_SELECT_H

#include "base/err.h"
#include "deid/recipe.h"
#include "dicom/dicom.h"

#define SELECT_MAX_LEVELS (2 * DICOM_MAX_DEPTH + 2)
#define SELECT_MAX_PAIRS (4u << 20) /* of a tag and a field that means it */

/* Where a walk stands. */
struct spot {
    uint32_t tag, depth;
    uint16_t vr;
    const char *creator; /* of a private element, or NULL */
    bool is_sequence;
    struct spot_level { /* sequences that it stands in, from the top */
        uint32_t tag;
        const char *creator;
        size_t item;
    } above[SELECT_MAX_LEVELS];
};
/* What a visitor was shown; false if it stands too deep. */
bool spot_enter(struct spot *spot, struct sendit_dataset *parent, const struct sendit_element *e);

struct selector {
    const struct field *field; /* borrowed */
    uint32_t owner;            /* ascending */
    bool loose;                /* of a path its last step counts, at every level */
};

struct selection;
/* `names` and the fields must live as long.  Selectors are copied. */
int selection_new(const struct selector *selectors, size_t n, const struct names *names,
                  struct selection **ret_selection, struct err *err);
/* Of all header rules of a recipe, owned by their number.  fields:NAME means what the lines of the
 * group name, at every level; a KEEP means the very place. */
int selection_of_actions(const struct recipe *recipe, const struct names *names,
                         struct selection **ret_selection, struct err *err);
/* The k-th field that a rule means, from 0: its own, or those of its group; NULL past the end. */
const struct field *select_field(const struct recipe *recipe, const struct recipe_action *action,
                                 size_t k);
void selection_free(struct selection *selection);
/* A walk over another data set begins. */
void selection_start(struct selection *selection);
/* Owners whose fields mean the element, ascending, each once; they live until the next call.
 * values: means every element that is no sequence, and the caller looks at its value.  -1 if a
 * pattern reached its limit, or without memory. */
int selection_find(struct selection *selection, const struct spot *spot,
                   const uint32_t **ret_owners, size_t *ret_n);

/* Does the field, a path, mean something inside this sequence? */
bool select_leads_into(const struct field *field, const struct spot *spot);

#endif
