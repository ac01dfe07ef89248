/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe.h - what recipes say, read strictly: the language of pydicom/deid with one meaning.
 *
 * recipe_add() reads a file after the other into one recipe, in which groups of one name go on;
 * recipe_finish() then looks whether everything that is named is there.  Every mistake is refused
 * with "FILE:LINE:COLUMN: sentence": nothing is ignored.  Columns count characters.  Then the
 * recipe is immutable; all in it lives until recipe_free().
 */
#ifndef SENDIT_DEID_RECIPE_H
#define SENDIT_DEID_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "deid/names.h"
#include "deid/pattern.h"

#define RECIPE_MAX_BYTES (4u << 20) /* of one file */
#define RECIPE_MAX_LINE 8192        /* bytes */
#define RECIPE_MAX_ACTIONS 20000    /* in %header; in %labels as many */
#define RECIPE_MAX_SOURCES 256      /* groups of %fields and %values */
#define RECIPE_MAX_ENTRIES 1000     /* of one of them */
#define RECIPE_MAX_GROUPS 256       /* of %filter */
#define RECIPE_MAX_LABELS 10000     /* of one group */
#define RECIPE_MAX_TESTS 1000       /* of one LABEL */
#define RECIPE_MAX_BOXES 256        /* of one LABEL */
#define RECIPE_MAX_STEPS 16         /* of a nested path */
#define RECIPE_MAX_DAYS 366000      /* of a jitter, either way: a thousand years */
#define RECIPE_MAX_COORDINATE 1000000
#define RECIPE_MIN_LENGTH 3 /* of a value of %values that is looked for */

struct recipe_place {
    const char *file;
    unsigned line, col; /* from 1 */
};

enum field_kind {
    FIELD_ALL = 1,  /* ALL */
    FIELD_PATH,     /* a keyword, a tag, Parent__Child, (0008,1110)__0__(0010,0020) */
    FIELD_PRIVATE,  /* (0033,"MITRA",1E) */
    FIELD_CONTAINS, /* contains:, and with `except` except: */
    FIELD_STARTS,   /* startswith: */
    FIELD_ENDS,     /* endswith: */
    FIELD_VR,       /* select:VR:PN */
    FIELD_GROUP,    /* select:group:0010 */
    FIELD_FIELDS,   /* fields:NAME */
    FIELD_VALUES,   /* values:NAME */
    FIELD_NOTHING   /* the name of a variable: pydicom/deid's own recipe has "REMOVE jitter" */
};
struct field_step {
    uint32_t tag;  /* canonical, if it was a keyword */
    uint32_t mask; /* of the bits that count */
    int64_t item;  /* of the sequence `tag`: the item that is meant, -1 for any */
};
struct field {
    enum field_kind kind;
    bool except;
    struct recipe_place place;
    const char *text;         /* as it was written */
    struct field_step *steps; /* PATH: one stands for every level, several are from the top */
    size_t n_steps;
    uint32_t tag;        /* PRIVATE: 0xGGGG00EE */
    const char *creator; /* PRIVATE */
    char vr[3];
    uint16_t group;
    size_t source; /* FIELDS, VALUES: index in recipe.sources, after recipe_finish() */
    const char *source_name;
    const struct pattern *pattern;
};

enum recipe_verb { VERB_ADD = 1, VERB_BLANK, VERB_JITTER, VERB_KEEP, VERB_REMOVE, VERB_REPLACE };
enum recipe_value_kind {
    GIVES_NOTHING = 0,
    GIVES_TEXT,
    GIVES_VAR,  /* text is its name */
    GIVES_FUNC, /* deid_func: */
};
enum recipe_func {
    FUNC_JITTER = 1,
    FUNC_BASIC_UUID,
    FUNC_SUFFIX_UUID,
    FUNC_DICOM_UUID,
    FUNC_PYDICOM_UUID
};
enum recipe_if { IF_ALWAYS = 0, IF_CONTAINS, IF_EQUALS, IF_VALUES };
struct recipe_action {
    enum recipe_verb verb;
    struct recipe_place place;
    struct field field;
    enum recipe_value_kind gives;
    const char *text; /* the text, or the name of the variable */
    enum recipe_func func;
    const char *root; /* of FUNC_DICOM_UUID and FUNC_PYDICOM_UUID */
    bool has_days;    /* FUNC_JITTER: else those of the patient */
    int32_t days;     /* FUNC_JITTER, VERB_JITTER with GIVES_NOTHING */
    enum recipe_if when;
    const struct pattern *pattern; /* IF_CONTAINS, IF_EQUALS */
    size_t source;                 /* IF_VALUES */
    const char *source_name;
};

/* A group of %fields or %values. */
struct recipe_entry {
    struct field field;
    bool split;
    const char *by;
    size_t min_length;
};
struct recipe_source {
    const char *name;
    struct recipe_place place; /* where it begins */
    bool is_values;
    struct recipe_entry *entries;
    size_t n_entries;
};

enum recipe_op {
    OP_CONTAINS = 1,
    OP_NOTCONTAINS,
    OP_EQUALS,
    OP_NOTEQUALS,
    OP_MATCHES,
    OP_MISSING,
    OP_PRESENT,
    OP_EMPTY
};
enum recipe_join {
    JOIN_NEW = 0, /* begins a criterion */
    JOIN_AND,
    JOIN_OR
};
struct recipe_test {
    enum recipe_join join; /* to what stands before it in its line; JOIN_NEW for the first */
    enum recipe_join line; /* of the first of a line: to the lines above */
    enum recipe_op op;
    struct recipe_place place;
    struct field field; /* PATH or PRIVATE */
    const char *text;
    const struct pattern *pattern; /* of what takes a value */
};
enum recipe_box_kind {
    BOX_RECT = 1,
    BOX_ALL,
    BOX_FROM /* the regions of a sequence */
};
struct recipe_box {
    enum recipe_box_kind kind;
    struct recipe_place place;
    bool keep;
    uint32_t x1, y1, x2, y2; /* half open */
    uint32_t from;
};
struct recipe_label {
    const char *name;
    struct recipe_place place;
    struct recipe_test *tests;
    size_t n_tests;
    struct recipe_box *boxes;
    size_t n_boxes;
};
enum recipe_group_kind { GROUP_WHITE = 1, GROUP_BLACK, GROUP_GREY };
struct recipe_group {
    const char *name;
    enum recipe_group_kind kind;
    struct recipe_label *labels;
    size_t n_labels;
};

struct recipe_block;
struct recipe {
    struct recipe_action *actions, *labels;
    size_t n_actions, n_labels;
    enum recipe_verb otherwise; /* DEFAULT: KEEP, REMOVE, BLANK, or 0 */
    struct recipe_place otherwise_place;
    struct recipe_source *sources;
    size_t n_sources;
    struct recipe_group *groups;
    size_t n_groups;
    const char **vars; /* names that var: asks for, each once */
    size_t n_vars;

    struct recipe_block *memory; /* all of the above */
    struct pattern **patterns;   /* owned */
    size_t n_patterns;
};

struct recipe *recipe_new(void); /* NULL without memory; recipe_free() */
void recipe_free(struct recipe *recipe);
/* `file` is for messages.  -1 with ERR_REFUSED; the recipe is then fit for recipe_free() alone. */
int recipe_add(struct recipe *recipe, const struct names *names, const char *file, const char *text,
               size_t len, struct err *err);
int recipe_finish(struct recipe *recipe, struct err *err);

/* Is it one of the variables that stages give? */
bool recipe_is_variable(const char *word, size_t len);
const char *recipe_verb_name(enum recipe_verb verb);

/* Pixel data, palettes, VOILUTSequence: header rules leave them alone. */
bool recipe_is_image(uint32_t tag);

#endif
