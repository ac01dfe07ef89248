/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - one case tried in this process, and what came of it.
 */
#ifndef SENDIT_HARNESS_TRIAL_H
#define SENDIT_HARNESS_TRIAL_H

#include "base/buf.h"
#include "harness/case.h"
#include "load/load.h"

#define TRIAL_PROGRESS 300

struct trial {
    const struct stage_file *file;
    const char *filters; /* of tables and recipes */
    const char *folder;  /* to work in: empty, absolute */
    const char *config;  /* the text under "config" for cases without config.json, or NULL */
    size_t config_len;
    const char *sample; /* a case that passes, for what is tried without one; or NULL */
    char *progress;     /* TRIAL_PROGRESS bytes that a parent sees, or NULL */
    bool update;        /* write what was found into expect.json */
};

/* How it ended: 0, or -1 with text for a person (a sentence, or what differs). */
int trial_case(const struct trial *trial, const char *case_folder, bool *ret_updated,
               struct buf *ret_text);

/* Compare what came, with the keys of expect.json, with what that says, or write it there.  `out`
 * is changed to read as the expectation does. */
int trial_compare(const struct test_case *tc, json_t *out, bool update, bool *ret_updated,
                  struct buf *ret_text);

#endif
