/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name_template.h - names of what a store writes, made of a template and new values.
 *
 * A template has letters, digits, ".", "_", "-", "/" and words in braces.  Nothing but UIDs and
 * pseudonyms takes the place of a word: letters, digits, ".", "_" and "-", no "." in front.
 */
#ifndef SENDIT_STAGES_NAME_TEMPLATE_H
#define SENDIT_STAGES_NAME_TEMPLATE_H

#include <sendit/stage.h>

#define NAME_TEMPLATE_MAX 256 /* bytes of a template */
#define NAME_TEMPLATE_MAX_WORDS 16
#define NAME_TEMPLATE_MAX_VALUE 64
#define NAME_TEMPLATE_SIZE                                                                         \
    (NAME_TEMPLATE_MAX + NAME_TEMPLATE_MAX_WORDS * NAME_TEMPLATE_MAX_VALUE + 1)

struct name_words {
    const char *const *words; /* what may stand in braces; NULL after them */
    const char *unknown;      /* what to say of another */
    size_t max_words;         /* in one template, up to NAME_TEMPLATE_MAX_WORDS */
    size_t max_part;          /* bytes between two slashes */
};

/* The value of word number `which`, or why not. */
typedef sendit_verdict name_value_fn(void *ctx, size_t which, const char **ret_value,
                                     struct sendit_why *why);

/* What is wrong with a template, in a few words, or NULL. */
const char *name_template_judge(const struct name_words *words, const char *template);
/* Does a template that is sound name that word? */
int name_template_has(const char *template, const char *word);
/* Is it a UID, a pseudonym, or such? */
int name_template_is_value(const char *value);
/* The name; with anything but PASS `value` said why. */
sendit_verdict name_template_fill(const struct name_words *words, const char *template,
                                  name_value_fn *value, void *ctx,
                                  char ret_name[NAME_TEMPLATE_SIZE], struct sendit_why *why);

#endif
