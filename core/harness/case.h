/* SPDX-License-Identifier: Apache-2.0 */
/*
 * case.h - one case of a stage: a folder, read and checked.
 *
 *   in.dcm, in.dump or in/   what the stage is shown; without one its produce() is called, or a
 *                            batch of nothing comes
 *   config.json              its options, as under "config" of pipeline.json
 *   host.json                what it finds: labels, facts, answers, faults
 *   expect.json              what must come of it
 *
 * stages/README.md is the reference of the keys.  All but expect.json may be left out.
 */
#ifndef SENDIT_HARNESS_CASE_H
#define SENDIT_HARNESS_CASE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "harness/spy.h"
#include "plan/json_doc.h"

#define CASE_MAX_FILE (4u << 20) /* bytes of one of its JSON files */
#define CASE_MAX_ITEMS 1000
#define CASE_MAX_ATTEMPTS 100

enum case_input { CASE_NO_INPUT, CASE_DCM, CASE_DUMP, CASE_FOLDER };

struct case_file {
    char *path, *text; /* text NULL: there is none */
    size_t len;
    struct json_doc doc;
};

struct test_case {
    char *folder, *name; /* name: the last part of the folder's */
    enum case_input input;
    struct case_file config, host, expect;
    struct spy_fault faults[SPY_MAX_FAULTS];
    size_t n_faults;
    int64_t clock_ms;
    uint32_t attempt;  /* of the batch, 1 without */
    uint32_t attempts; /* tries of what answers RETRY, 1 without */
    uint32_t cancel;   /* the item during which the host begins to stop, from 1; 0: none */
    bool abandon;      /* abandon() comes in place of finish() */
    uint32_t settle;   /* so many calls of settle() follow, of which the last one is told so */
    bool compare;      /* compare() comes then */
};

/* -1 with "FILE:LINE:COL: sentence"; case_fini() in both cases. */
int case_read(struct test_case *tc, const char *folder, struct err *err);
void case_fini(struct test_case *tc);
/* The member of host.json or expect.json, NULL without. */
const json_t *case_host(const struct test_case *tc, const char *key);
const json_t *case_expect(const struct test_case *tc, const char *key);
/* Of one item in host.json's "items", else of host.json itself. */
const json_t *case_of_item(const struct test_case *tc, const char *item, const char *key);

/* Is the folder a case, or one that holds cases? */
bool case_is_one(const char *folder);

#endif
