/* SPDX-License-Identifier: Apache-2.0 */
/*
 * play.h - one stage, its host and its instance: the callbacks as a worker makes them, without a
 * pipeline.
 *
 * The tables are those of core/services over a memory (memory.h), with a spy in front (spy.h).
 * http and originals are canned.  The site key is the same for ever, so that pseudonyms can stand
 * in an expectation.
 */
#ifndef SENDIT_HARNESS_PLAY_H
#define SENDIT_HARNESS_PLAY_H

#include "harness/canned.h"
#include "harness/memory.h"
#include "harness/spy.h"
#include "harness/work.h"

#define PLAY_BATCH "batch" /* the id of each batch */

struct play_setup {
    const struct stage_file *file;
    const char *folder;               /* to work in, absolute */
    const char *filters;              /* of tables and recipes */
    const char *config_path, *config; /* NULL: no option is given */
    size_t config_len;
    const json_t *http, *originals; /* of host.json, or NULL */
    int64_t clock_ms;
};

struct play {
    struct plan *plan;
    const struct plan_stage *stage;
    struct dicom *dicom;
    struct identity_key key;
    struct memory memory;
    struct canned canned;
    struct spy spy;
    struct host_env env;
    struct host host;
    void (*log)(const struct sendit_host *, int32_t, const char *, const char *); /* the host's */
    struct sendit_stage_state *self;
    bool has_host, open, in_batch;
    char batch_once[SENDIT_ID_SIZE];
    struct sendit_batch batch;
};

/* -1 with a sentence; play_fini() in both cases.  An error in the options has the code
 * ERR_REFUSED. */
int play_init(struct play *play, const struct play_setup *setup, struct err *err);
void play_fini(struct play *play);

/* The key of all trials. */
void play_key(struct identity_key *ret_key);

/* The callbacks.  One that the stage left out passes.  `why` is zeroed before. */
sendit_verdict play_check(struct play *play, struct sendit_why *why);
sendit_verdict play_open(struct play *play, struct sendit_why *why);
sendit_verdict play_produce(struct play *play, const struct sendit_feed *feed,
                            struct sendit_why *why);
sendit_verdict play_begin(struct play *play, uint32_t attempt, uint64_t n_items,
                          struct sendit_why *why);
sendit_verdict play_finish(struct play *play, struct sendit_why *why);
sendit_verdict play_abandon(struct play *play, struct sendit_why *why);
/* Between batches. */
sendit_verdict play_settle(struct play *play, bool last, struct sendit_why *why);
sendit_verdict play_compare(struct play *play, struct sendit_why *why);
void play_close(struct play *play);

/* An item is shown. */
struct play_item {
    const char *id, *path, *labels; /* labels NULL: those that the stage needs */
    const json_t *facts;            /* what earlier stages said; NULL: nothing */
    uint32_t attempt, tries;        /* 0: once; RETRY is tried again so often */
    bool drop; /* its PASS does not count: the data set is then as it was before */
    bool look; /* fill `tags` */
};
struct play_answer {
    sendit_verdict verdict;
    struct sendit_why why;
    bool shown; /* else the file was refused, or lacks a label */
    bool edited, tampered;
    uint32_t tries;
    uint64_t labels;
    char digest[DIGEST_HEX]; /* of the file that a store would get after PASS, "" without */
    json_t *tags;            /* what changed; owned, or NULL */
};
/* -1 without memory.  The caller frees answer->tags. */
int play_item(struct play *play, const struct play_item *item, struct play_answer *ret_answer);

#endif
