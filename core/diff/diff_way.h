/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_way.h - the way of a file through the stages, as run/chain.c has it, where nothing is kept.
 *
 * Stages that hand images out or talk to the network are not called; what they would grant is taken
 * for granted, so that later ones are seen.  For the files of this folder only; one process has
 * one.
 */
#ifndef SENDIT_DIFF_DIFF_WAY_H
#define SENDIT_DIFF_DIFF_WAY_H

#include <stdatomic.h>
#include <stdio.h>

#include <jansson.h>

#include "diff/diff.h"
#include "harness/memory.h"
#include "services/host.h"

/* What the process that waits can see of the one that works. */
struct diff_page {
    atomic_bool taking; /* it has a file in hand */
    atomic_int stage;   /* whose callback runs: its index in the plan, or -1 */
    atomic_llong since; /* CLOCK_MONOTONIC ms, when that began */
};

struct diff_way_stage {
    const struct plan_stage *plan;
    int index;
    const char *left_out; /* why it is not called, or NULL */
    struct memory memory; /* its store; facts and crosswalk are those of all */
    struct host host;
    struct sendit_stage_state *self;
    bool has_memory, has_host, open, in_batch;
};

struct diff_way {
    const struct diff_request *request;
    struct diff_page *page;
    struct dicom *dicom;
    struct host_env env;
    struct diff_way_stage *stages; /* the enabled ones */
    size_t n_stages;
    struct map instances; /* new SOP Instance UID -> digests of header and pixels */
    struct sendit_batch batch;
    char once[SENDIT_ID_SIZE];
};

/* `scratch` is a folder for files without a name.  -1 with `err`: a stage that cannot be opened;
 * diff_way_fini() in both cases. */
int diff_way_init(struct diff_way *way, const struct diff_request *request, struct diff_page *page,
                  const char *scratch, struct err *err);
void diff_way_fini(struct diff_way *way);
/* A batch of `n` files begins. */
int diff_way_begin(struct diff_way *way, size_t n, struct err *err);
void diff_way_end(struct diff_way *way);
/* Take a file through, and write what came of it: a line for the file, one for each element, and
 * one for its end, each with its letter before it.  -1 without memory, or if nobody reads. */
#define DIFF_LINE_FILE 'F'
#define DIFF_LINE_ELEMENT 'E'
#define DIFF_LINE_END '.'
#define DIFF_LINE_BROKEN 'X'
int diff_way_take(struct diff_way *way, const char *path, size_t number, FILE *out);
/* The JSON is taken; NULL is {}. */
int diff_way_tell(FILE *out, char letter, json_t *json);

#endif
