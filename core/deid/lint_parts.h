/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lint_parts.h - what the files that look at recipes share; nobody else includes it.
 *
 * lint.c keeps findings and lines; lint_header.c looks at header rules and patterns, lint_label.c
 * at LABELs; lint_logic.c says when a LABEL holds; lint_theirs.c and lint_theirs_label.c read lines
 * as pydicom/deid 0.4.12 does; lint_cover.c knows what no rule means; lint_merge.c makes one recipe
 * of several.
 */
#ifndef SENDIT_DEID_LINT_PARTS_H
#define SENDIT_DEID_LINT_PARTS_H

#include "base/buf.h"
#include "deid/lint.h"
#include "deid/recipe_parse.h"
#include "deid/select.h"

struct lint_lines {
    size_t *starts; /* owned; of each line, from 0 */
    size_t n;
};
struct lint_text {
    struct lint_text *next;
    char text[];
};
struct lint_tag {
    uint32_t tag;
    size_t files;
    size_t last; /* number of the file that counted */
};
struct lint {
    const struct lint_source *sources;
    size_t n_sources;
    struct lint_lines *lines; /* owned, by source */
    struct recipe *recipe;
    struct names *names;
    struct selection *actions; /* fields of the actions; owner is the action */
    uint8_t *meant;            /* owned, by action: VRs of the attributes that it means, MEANS_ */
    struct lint_finding *findings;
    size_t n, room;
    struct lint_text *texts;
    bool cut, failed; /* failed: no memory */
    struct lint_tag *tags;
    size_t n_tags, files;
    struct spot spot;
    bool many_tags;
};

enum { MEANS_DA = 1 << 0, MEANS_DT = 1 << 1, MEANS_TM = 1 << 2, MEANS_OTHER = 1 << 3 };

/* A finding; what lacks memory sets lint.failed. */
__attribute__((format(printf, 5, 6))) void lint_say(struct lint *lint, enum lint_code code,
                                                    struct recipe_place place, const char *instead,
                                                    const char *text, ...);
/* A text that lives as long as the linter; "" without memory, which sets lint.failed. */
__attribute__((format(printf, 2, 3))) const char *lint_text(struct lint *lint, const char *text,
                                                            ...);
/* The line of a place; len 0 without. */
struct word lint_word(const struct lint *lint, const struct recipe_place *place);
/* A place in the same line. */
struct recipe_place lint_place(struct recipe_place place, struct word line, const char *at);
/* The byte of the line where the place is. */
const char *lint_at_place(struct word line, const struct recipe_place *place);
/* Blank-separated word number `index` of a line, quotes holding blanks together; len 0 without. */
struct word lint_token(struct word line, size_t index);
/* From that word to the end of the line or its comment, without the blanks around it. */
struct word lint_rest(struct word line, size_t index);
/* Where the line's comment begins: at "#" behind a blank; NULL without. */
const char *lint_comment(struct word line);

void lint_header(struct lint *lint);
void lint_labels(struct lint *lint);
void lint_theirs(struct lint *lint);
void lint_their_label(struct lint *lint, const struct recipe_label *label);

/* Actions that mean the place to which the field leads, ascending; NULL if nobody knows.  Only for
 * paths and private attributes. */
const uint32_t *lint_owners(struct lint *lint, const struct field *field, size_t depth,
                            size_t *ret_n);
/* Do they mean the same? */
bool lint_same_field(const struct field *a, const struct field *b);
/* The attribute that a path ends at, NULL for others and unknown ones. */
const struct name *lint_name(const struct lint *lint, const struct field *field);

/* ---- when LABELs hold ---- */

enum logic_base { LOGIC_CONTAINS, LOGIC_EQUALS, LOGIC_MATCHES, LOGIC_PRESENT, LOGIC_EMPTY };
struct logic_var {
    const struct recipe_test *test;
    enum logic_base base;
    uint32_t implies, excludes; /* other variables, if it holds */
};
struct logic {
    struct logic_var vars[LINT_MAX_VARS];
    size_t n;
};
/* A LABEL in these variables. */
struct logic_view {
    const struct recipe_label *label;
    uint32_t bits; /* of the variables that it asks */
    struct {
        uint8_t var;
        bool is_not;
    } tests[LINT_MAX_TESTS];
};
/* Make variables of its tests; false if there is no room for them. */
bool logic_take(struct logic *logic, const struct recipe_label *label, struct logic_view *ret_view);
/* What follows from what, after the last logic_take(). */
void logic_relate(struct logic *logic);
bool logic_is_possible(const struct logic *logic, uint32_t bits);
/* Does the LABEL hold where these variables do? */
bool logic_holds(const struct logic_view *view, uint32_t bits);
static inline bool logic_is(const struct logic_view *view, size_t test, uint32_t bits)
{
    return (bits >> view->tests[test].var & 1) != view->tests[test].is_not;
}

#endif
