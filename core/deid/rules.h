/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - what deid_compile() makes and deid_apply() goes by; for the files of this folder only.
 */
#ifndef SENDIT_DEID_RULES_H
#define SENDIT_DEID_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "deid/deid.h"
#include "deid/filter.h"
#include "deid/header.h"

/* What becomes of an attribute; zero is no action and stops the image. */
enum action {
    ACT_NONE = 0,
    ACT_REMOVE,
    ACT_EMPTY,
    ACT_DUMMY,
    ACT_UID,        /* a new UID for each that is no UID of the standard */
    ACT_MOVE,       /* a date, by the days of the patient */
    ACT_PATIENT_ID, /* the pseudonym */
    ACT_KEEP,       /* a value that fits its VR; the items of a sequence by their own rules */
    ACT_TREE,       /* a sequence whose items lose all text */
    ACT_ONE_CODE,   /* a sequence that gets one item, a code that says nothing */
    ACT_JUDGE       /* by its VR: no table names it */
};

/* The options of PS3.15 that can be chosen beside the Basic Profile. */
enum {
    OPTION_PATIENT = 1 << 0,       /* Retain Patient Characteristics */
    OPTION_MODIFIED_DATES = 1 << 1 /* Retain Longitudinal Temporal Information, modified dates */
};

/* The files that rules come from. */
#define PS315_TABLE "ps3.15-2026c.tsv"
#define BEYOND_TABLE "beyond-ps3.15.tsv"
#define RULES_PATTERNS 4 /* rows of PS315_TABLE that stand for many tags */

struct rule {
    uint32_t tag;
    uint8_t action; /* enum action */
    bool beyond;    /* of BEYOND_TABLE, else of PS315_TABLE */
    uint16_t line;  /* in there, from 1; 0 if it has more digits than these bits */
};

struct deid_plan {
    bool has_profile;
    struct rule *rules; /* sorted by tag */
    size_t n_rules;
    struct rule patterns[RULES_PATTERNS]; /* CODE_TABLE_CURVES and the like */
    unsigned options;
    struct names *names;   /* what follows is NULL without recipes */
    struct recipe *recipe; /* all of them, merged */
    struct header *header; /* NULL without header rules */
    struct filter *filter;
    char digest[DIGEST_HEX];
};

/* The rules of PS3.15; what they are made of is added to `digest`. */
int profile_build(struct deid_plan *plan, const char *const *profiles, const char *filters,
                  struct digest *digest, struct err *err);

/* NULL for a tag that no rule names, groups that go whole among them. */
const struct rule *plan_rule(const struct deid_plan *plan, uint32_t tag);
/* ACT_JUDGE without a rule. */
enum action plan_action(const struct deid_plan *plan, uint32_t tag);

#endif
