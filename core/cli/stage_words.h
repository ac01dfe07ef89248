/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage_words.h - what a stage declares, in words, for `plan` and `stages`.
 */
#ifndef SENDIT_CLI_STAGE_WORDS_H
#define SENDIT_CLI_STAGE_WORDS_H

#include <jansson.h>
#include <stdint.h>

#include "sendit/stage.h"

#define WORDS_DIGEST 12 /* hex digits of a digest that people compare by eye */

struct flag_word {
    uint32_t flag;
    const char *word; /* "sends-phi" */
    const char *does; /* "sends identified values" */
};
extern const struct flag_word flag_words[]; /* ended by a flag of 0 */

/* What the flags say, a line each; the caller frees it, NULL without memory. */
char *words_of_flags(uint32_t flags);
/* Their words as a JSON array. */
json_t *words_flags_json(uint32_t flags);
/* The words by which the site has to allow them. */
json_t *words_consent_json(uint32_t flags);
/* Words separated by blanks as a JSON array; NULL is an empty one. */
json_t *words_json(const char *words);

#endif
