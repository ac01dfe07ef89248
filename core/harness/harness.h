/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - sendit test-stage and test-recipe: one stage, or recipes, tried without a pipeline, a
 * ledger or a network.
 *
 * Each trial runs in a process of its own, with a folder of its own, so that a stage that crashes,
 * hangs or exits costs one trial.
 */
#ifndef SENDIT_HARNESS_HARNESS_H
#define SENDIT_HARNESS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define HARNESS_TIMEOUT_S 120 /* of one trial */

struct harness_request {
    const char *stage;        /* path of STAGE.so; NULL: the cases are of recipes */
    const char *const *cases; /* folders: a case each, or holding cases */
    size_t n_cases;
    const char *config;  /* file with the options for trials that have no config.json, or NULL */
    const char *filters; /* folder of tables and recipes */
    bool update;         /* write what was found into expect.json */
    bool in_process;     /* no process of its own, for a debugger: one case only */
};

struct harness_result {
    const char *name; /* of the case or check; all borrowed, until the call returns */
    bool passed, updated;
    const char *skipped; /* why it could not be tried, or NULL */
    const char *text;    /* what differs, "" without */
    const char *output;  /* what was said on stdout and stderr, "" without */
};
typedef void harness_told_fn(void *ctx, const struct harness_result *result);

struct harness_summary {
    size_t passed, failed, skipped, updated;
};

/* How many trials there will be is told first, then each result.  -1 with ERR_REFUSED if the stage
 * or the list of cases is not sound. */
typedef void harness_planned_fn(void *ctx, const char *stage, const char *version, size_t n);
int harness_run(const struct harness_request *request, harness_planned_fn *planned,
                harness_told_fn *told, void *ctx, struct harness_summary *ret_summary,
                struct err *err);

#endif
