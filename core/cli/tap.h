/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.h - what trials came to, in TAP version 13 or as JSON, for test-stage and test-recipe.
 */
#ifndef SENDIT_CLI_TAP_H
#define SENDIT_CLI_TAP_H

#include "cli/cli.h"
#include "harness/harness.h"

struct tap {
    const struct cli *cli;
    size_t number;
    json_t *results, *stage; /* owned; with --json */
    bool failed;             /* no memory */
};

void tap_init(struct tap *tap, const struct cli *cli);
void tap_fini(struct tap *tap);
/* For harness_run(), with the struct tap as its ctx. */
void tap_planned(void *ctx, const char *stage, const char *version, size_t n);
void tap_told(void *ctx, const struct harness_result *result);
/* The sum; returns the exit status. */
int tap_finish(struct tap *tap, const struct harness_summary *summary);

#endif
