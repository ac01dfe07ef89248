/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lint.h - what is odd about recipes that load: rules without effect, LABELs that are wider or
 * narrower than they look, and what pydicom/deid 0.4.12 would make of the same lines.
 *
 * lint_new() reads the recipes as deid_compile() does, lint_rules() looks at the rules, the others
 * at what the rules leave out; lint_end() puts the findings in order.  Each finding has a place, a
 * code, one sentence, and what to write instead.  No value of an image is in one.  One thread.
 */
#ifndef SENDIT_DEID_LINT_H
#define SENDIT_DEID_LINT_H

#include "base/buf.h"
#include "deid/recipe.h"
#include "sendit/stage.h"

#define LINT_MAX_FINDINGS 10000
#define LINT_MAX_TAGS 10000 /* of a corpus, that no rule means */
#define LINT_LETTERS 4096   /* of one kind, for a pattern to be slow on */
#define LINT_MAX_VARS 14    /* different tests of LABELs that are compared */
#define LINT_MAX_TESTS 64   /* of a LABEL that is looked at so */

enum lint_code {
    LINT_ALWAYS_LABEL,
    LINT_ANY_PATTERN,
    LINT_DEAD_LABEL,
    LINT_DEAD_RULE,
    LINT_DEID_ADD,
    LINT_DEID_BOX,
    LINT_DEID_COMMENT,
    LINT_DEID_CONDITION,
    LINT_DEID_DATE,
    LINT_DEID_FIELD,
    LINT_DEID_KEEP,
    LINT_DEID_LABEL,
    LINT_DEID_MERGE,
    LINT_DEID_PATTERN,
    LINT_DEID_QUOTE,
    LINT_DEID_TEST,
    LINT_DEID_UID,
    LINT_DEID_VALUES,
    LINT_DEID_VERB,
    LINT_INSIDE_REMOVED,
    LINT_KEEPS,
    LINT_LEAVES,
    LINT_NO_ATTRIBUTE,
    LINT_NO_DATE,
    LINT_SEVERAL_CRITERIA,
    LINT_SHADOWED_LABEL,
    LINT_SLOW_PATTERN,
    LINT_UNFIT_VALUE,
    LINT_UNKNOWN_VARIABLE,
    LINT_UNREAD_LABELS,
    LINT_UNTOUCHED,
    LINT_UNUSED_GROUP,
    LINT_VARIABLE_FIELD,
    LINT_WIDE_WHITELIST,
    LINT_CODES /* how many there are */
};
const char *lint_code_name(enum lint_code code); /* "always-label" */

struct lint_source {
    const char *file; /* for messages */
    const char *text;
    size_t len;
};
struct lint_finding {
    enum lint_code code;
    struct recipe_place place; /* line 0: all of the recipe */
    const char *text;          /* one sentence, without its full stop */
    const char *instead;       /* what to write */
};

struct lint;
/* The sources must live as long.  -1 with ERR_REFUSED for a mistake in one of them. */
int lint_new(const struct lint_source *sources, size_t n, struct lint **ret_lint, struct err *err);
void lint_free(struct lint *lint);
int lint_rules(struct lint *lint, struct err *err);
/* Which attributes that the profile takes, empties or replaces do the header rules leave alone?
 * NULL is the Basic Profile, and all of them are one finding.  `filters` is the folder with the
 * table of PS3.15. */
int lint_profile(struct lint *lint, const char *const *profiles, const char *filters,
                 struct err *err);
/* One object of a corpus; then lint_end() tells the tags that no header rule means. */
int lint_object(struct lint *lint, struct sendit_dataset *ds, struct err *err);
int lint_end(struct lint *lint, struct err *err);

size_t lint_count(const struct lint *lint);
const struct lint_finding *lint_at(const struct lint *lint, size_t index);
bool lint_is_cut(const struct lint *lint); /* there were more than LINT_MAX_FINDINGS */
/* The line at a place without its end, NULL if it is none. */
const char *lint_line(const struct lint *lint, const struct recipe_place *place, size_t *ret_len);
/* The recipes as one, without comments: append what reads the same as all of them together. */
int lint_merged(const struct lint *lint, struct buf *ret_text);

#endif
