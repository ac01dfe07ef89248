/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - inside a worker process: its stages, and the way of one image through them.
 */
#ifndef SENDIT_RUN_WORKER_H
#define SENDIT_RUN_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "run/link.h"
#include "run/run.h"

struct worker_stage {
    const struct plan_stage *plan;
    int32_t index; /* in the plan, for the page */
    struct host host;
    struct sendit_stage_state *self;
    bool open;     /* close() is due */
    bool in_batch; /* begin() passed: finish() or abandon() is due */
    bool later;    /* finish() said LATER of the batch in hand */
};

struct worker {
    struct wire wire;
    struct run_page *page;
    struct link link;
    struct loader *loader;
    struct plan *plan;
    struct identity_key key;
    bool has_key;
    struct dicom *dicom;
    struct host_env env;
    struct worker_stage *stages; /* the enabled ones, in order */
    size_t n_stages, n_hosts;    /* n_hosts: those that host_init() made */
    char uuid[SENDIT_ID_SIZE];   /* of the state: part of every once_key */
    int64_t retry_since;         /* BOOTTIME ms of the first RETRY in a row, 0: none */
    uint32_t retry_times;
    /* Of the batch in hand: the hold entry behind which it goes on (NULL: it begins at the source),
     * and the one at which it comes to rest (NULL: it goes through). */
    const struct plan_stage *behind;
    struct worker_stage *rest;
    int held;         /* folder of its files that rest there, or -1 before the first */
    bool asks;        /* of each image, before it is handed out, whether it is a double */
    dev_t socket_dev; /* of the wire, which a stage could close */
    ino_t socket_ino;
    int statm;    /* /proc/self/statm, or -1 */
    bool is_full; /* over worker_memory, or a stage forked: end after this batch, as far as it is */
};

/* What became of a callback's answer. */
enum worker_answer {
    WORKER_WENT = 1, /* on with the next */
    WORKER_STOP,     /* a stage stopped the batch: `end` says why */
    WORKER_GIVE_UP,  /* a signal, a service that is away, or retry_for has passed */
    WORKER_LOST      /* the supervisor is gone */
};

/* Why a batch ends before its time. */
struct worker_end {
    const char *stage;
    struct sendit_why why;
    bool timed_out; /* retry_for has passed */
    bool away;      /* back into the queue, until what the stage talks to answers again */
};

/* What a person decided about an image that stage `stage` held. */
struct work_release {
    char *stage;
    bool passes_over; /* the stage does not see it again; else it was the core that held it */
    char *vouched;    /* labels that it has from there on */
};

struct work_item {
    char id[SENDIT_ID_SIZE];
    char *path;
    uint64_t dev, ino, size;
    int64_t mtime_ns;
    uint32_t attempt;
    char *rested; /* what is known of its held file, where the batch goes on; NULL for nothing */
    struct work_release *releases;
    size_t n_releases;
};

/* Which file the socket is, so that worker_leave() sees if a stage closed it; -1 if it is none. */
int worker_note_socket(struct worker *worker);
/* Around a callback of `stage` (NULL: the host's own code). */
void worker_enter(struct worker *worker, struct worker_stage *stage, enum page_phase phase);
void worker_leave(struct worker *worker, struct worker_stage *stage);
/* The once_key of a stage for a batch or an item: 32 hex digits. */
void worker_once(const struct worker *worker, const char *stage, const char *id,
                 char ret_key[SENDIT_ID_SIZE]);
/* After RETRY: wait a little.  WORKER_WENT: try again. */
enum worker_answer worker_pause(struct worker *worker, const char *stage,
                                const struct sendit_why *why, struct worker_end *ret_end);
/* A held file cannot be written, as errno says: the batch stops with that reason. */
enum worker_answer worker_no_room(struct worker_end *ret_end);
int64_t worker_clock(void); /* CLOCK_BOOTTIME in ms */

/* open() once, if there is no instance yet. */
sendit_verdict worker_try_open(struct worker *worker, struct worker_stage *stage,
                               struct sendit_why *ret_why);
/* Make the stage's instance if there is none yet. */
enum worker_answer worker_open(struct worker *worker, struct worker_stage *stage,
                               struct worker_end *ret_end);

/* chain.c: one image through every stage; its end is told over the wire. */
enum worker_answer chain_take(struct worker *worker, const struct work_item *item,
                              struct worker_end *ret_end);

/* What the fact of an item is called that says how it came to rest at a hold entry: this, then the
 * id of the entry.  No stage can ask for it. */
#define WORKER_RESTED "hold:"

/* source.c: let the source produce until it has no more. */
int source_run(struct worker *worker);

/* between.c: call settle() of the stage that the message names; -1 if the supervisor is gone. */
int between_settle(struct worker *worker, struct wire_msg *msg);
/* compare() of each stage that has one. */
int between_compare(struct worker *worker);

#endif
