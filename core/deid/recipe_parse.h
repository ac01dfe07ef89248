/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_parse.h - what the files that read recipes share; nobody else includes it.
 *
 * recipe.c knows lines and sections, recipe_header.c the lines of %header, %labels, %fields and
 * %values, recipe_filter.c those of %filter, recipe_field.c what a field may be.
 */
#ifndef SENDIT_DEID_RECIPE_PARSE_H
#define SENDIT_DEID_RECIPE_PARSE_H

#include "deid/recipe.h"

enum section {
    SECTION_NONE = 0,
    SECTION_HEADER,
    SECTION_LABELS,
    SECTION_FIELDS,
    SECTION_VALUES,
    SECTION_FILTER
};

struct parser {
    struct recipe *recipe;
    const struct names *names;
    const char *file; /* lives as long as the recipe */
    struct err *err;
    const char *line, *at, *end; /* the line in hand and where in it the reader is */
    unsigned number;
    bool has_format, has_rules;
    enum section section;
    size_t current; /* the source or group of the section */
    bool in_label;  /* the last one of the group */
};

/* Part of a line, as it was written. */
struct word {
    const char *at;
    size_t len;
};

/* "FILE:LINE:COL: ..." at a place of the line in hand; returns -1. */
__attribute__((format(printf, 3, 4))) int parse_error(struct parser *p, const char *at,
                                                      const char *text, ...);
int parse_no_memory(struct parser *p);
struct recipe_place parse_place(const struct parser *p, const char *at);

/* The next word of the line, quotes and all; 0 with len 0 at its end or a comment, -1 for a quote
 * without its match. */
int parse_word(struct parser *p, struct word *ret_word);
/* All that is left, without comment and blanks around it. */
int parse_rest(struct parser *p, struct word *ret_rest);
/* Nothing may be left. */
int parse_end(struct parser *p, const char *after);
/* Without its quotes, in the memory of the recipe; runs of blanks become one if `squeeze`.  NULL
 * without memory. */
const char *parse_unquote(struct parser *p, struct word word, bool squeeze);
bool parse_is(struct word word, const char *text); /* whatever its case */
bool parse_is_name(struct word word);              /* [A-Za-z0-9_.-]+ */
#define PARSE_HINT 128                             /* holds all words of one kind */
/* `; did you mean "..."?` of NULL-terminated words, or all of them. */
const char *parse_hint(struct word word, const char *const *words, char *text, size_t size);

/* Memory of the recipe. */
void *recipe_alloc(struct recipe *recipe, size_t size);
const char *recipe_text(struct recipe *recipe, const char *text, size_t len);
/* Room for one more behind `n` of an array, zeroed; the array moves, NULL without memory. */
void *recipe_grow(struct recipe *recipe, void *array, size_t n, size_t size);
/* A pattern of the recipe.  -1 with an error at the place of `word`. */
int parse_pattern(struct parser *p, struct word word, const char *text, enum pattern_how how,
                  const struct pattern **ret_pattern);

/* One that matches this text as a whole and nothing else; an empty text is one, too. */
int parse_literal(struct parser *p, struct word word, const char *text,
                  const struct pattern **ret_pattern);

int parse_field(struct parser *p, struct word word, struct field *ret_field);
/* One that a filter can look at: a path or a private attribute. */
int parse_plain_field(struct parser *p, struct word word, struct field *ret_field);

int parse_action_line(struct parser *p);
int parse_source_line(struct parser *p);
int parse_filter_line(struct parser *p);
int parse_label_end(struct parser *p); /* a LABEL must have said something */

#endif
