/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff.h - what would become of files: the stages of a plan over tables in memory, and each element
 * before and after, with the rule that made it so.
 *
 * Nothing is written: no ledger, no state, no key; no store and nothing that talks to the network
 * is called.  Stages run in a process of their own, so that one that crashes or hangs costs the
 * file in hand and no more.
 */
#ifndef SENDIT_DIFF_DIFF_H
#define SENDIT_DIFF_DIFF_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "base/err.h"
#include "deid/identity.h"
#include "plan/plan.h"

#define DIFF_MAX_FILES 100000
#define DIFF_MAX_ELEMENTS 500000 /* of one file */
#define DIFF_MAX_TEXT 4096       /* bytes of a value that is shown */

struct diff_request {
    struct plan *plan;
    const char *const *names; /* files and folders */
    size_t n_names;
    const struct identity_key *key; /* NULL if no enabled stage needs one */
    const char *filters;            /* folder of tables and recipes */
    bool originals;                 /* show values of the original */
    bool paths;                     /* show names of files that were found in a folder */
};

/*
 * One file, as a JSON object, and then its elements:
 *
 *   file, number   what the user wrote; which file of that folder it is, from 1
 *   path           with `paths`, and for what the user wrote
 *   fate           stored, checked, quarantined, failed, ignored, retry
 *   stage, code, text  who said so, and why, unless it is stored or checked
 *   labels         those that it has in the end
 *   stages         [{ stage, verdict, code, text, labels, edited } or { stage, not_called }]
 *   counts         of its elements: { kept, changed, removed, added }
 *   elements_left_out  there are more than DIFF_MAX_ELEMENTS
 *
 * An element: { path, tag, keyword, depth, fate, before, after, by }
 *   fate           kept, changed, removed, added
 *   before, after  null if it is not there, else { vr, length or items, value or masked or sha256 }
 *   by             [{ stage, file, line, rule, note, of }]
 *
 * A value of the original stands in it with `originals` alone.  What does not return 0 ends the
 * run.
 */
struct diff_told {
    int (*file)(void *ctx, const json_t *file);
    int (*element)(void *ctx, const json_t *element);
    int (*end)(void *ctx); /* of the file */
    void *ctx;
};

/* Files come in the byte order of folders and of names.  What ended the run is returned: 0, what
 * `told` returned, or -1 with `err` if a name is not there (ERR_PLACE), or a stage cannot be
 * opened. */
int diff_run(const struct diff_request *request, const struct diff_told *told, struct err *err);

#endif
