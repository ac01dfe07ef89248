/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - keywords of attributes: DCMTK's dictionary, the newer ones of PS3.15 E.1-1 that it
 * lacks, and three misspellings that pydicom/deid's own recipes have.
 *
 * Made once per compilation of recipes; immutable.  Private attributes have no keyword.
 */
#ifndef SENDIT_DEID_NAMES_H
#define SENDIT_DEID_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name {
    const char *keyword; /* borrowed from the dictionary */
    uint32_t tag;        /* of a range the first one, see names_canonical() */
    char vr[3];
};

struct names;
struct names *names_new(void); /* NULL without memory or dictionary; names_free() */
void names_free(struct names *names);

/* By keyword, whatever its case; NULL if no table has it. */
const struct name *names_find(const struct names *names, const char *keyword, size_t len);
/* By canonical tag; NULL if no table has it. */
const struct name *names_of(const struct names *names, uint32_t tag);
/* `; did you mean "PatientName"?`, or "". */
const char *names_hint(const struct names *names, const char *word, char *text, size_t size);
/* All of them, by tag. */
size_t names_count(const struct names *names);
const struct name *names_at(const struct names *names, size_t index);

/* Groups 50xx and 60xx stand sixteen times for one: the tag in group 5000 or 6000. */
uint32_t names_canonical(uint32_t tag);

#endif
