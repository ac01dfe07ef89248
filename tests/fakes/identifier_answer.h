/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identifier_answer.h - what an identifier service makes of a request: it looks at its shape
 * strictly, and gives the same id the same answer for ever.
 */
#ifndef SENDIT_TESTS_IDENTIFIER_ANSWER_H
#define SENDIT_TESTS_IDENTIFIER_ANSWER_H

#include <jansson.h>

#define ANSWER_MAX_ITEMS 1000

/* The answer to a body of DASHER for a study.  NULL for one that is not as the service wants it:
 * *ret_wrong says why.  `salt` makes another service of it. */
json_t *answer_dasher(const char *study, const char *salt, const json_t *body,
                      const char **ret_wrong);
/* The made-up one, which is told by headers. */
json_t *answer_flat(const char *study, const char *salt, const char *patient, const char *exam,
                    const char **ret_wrong);

#endif
