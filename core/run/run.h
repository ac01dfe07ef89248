/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - what the commands ask of run/: build loader and plan, check the stages, run.
 *
 * The supervisor is the process of `sendit run`: it alone has the ledger.  Workers are the same
 * program, started anew by fork and exec as run_worker(), which talk to it over a socket pair
 * (wire.h).  They build the plan again from the bytes that the supervisor read, and load the
 * same bytes of each stage, or stop the run.
 */
#ifndef SENDIT_RUN_RUN_H
#define SENDIT_RUN_RUN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "deid/identity.h"
#include "ledger/ledger.h"
#include "load/load.h"
#include "plan/plan.h"

/* What a plan is made of; all borrowed. */
struct run_request {
    struct plan_request plan;
    const char *const *plugins; /* --plugins, as the user wrote them */
    size_t n_plugins;
};

/* A loader of the site's folders, in order: --plugins, then plugins.d beside pipeline.json, if
 * there is one (`plan.path`).  The caller frees it; NULL with `err` filled. */
struct loader *run_loader(const struct run_request *request, struct err *err);
/* Loader and plan; both are the caller's to free, the plan first. */
int run_build(const struct run_request *request, struct loader **ret_loader, struct plan **ret_plan,
              struct err *err);

/* Call check() of each enabled stage; the first that does not pass is the error: ERR_REFUSED, or
 * ERR_PLACE by run_is_place(). */
int run_check(const struct plan *plan, int online, struct err *err);

/* Does a stage's reason code say that a place is full or cannot be used?  Those that end in .place,
 * .no_room, .missing and .unreadable: then the run ends with ERR_PLACE and the batch waits. */
bool run_is_place(const char *code);
/* Did the core itself hold an image that has this stage and code, and not the stage?  The codes
 * host.* are the core's at any stage. */
bool run_is_cores(const char *stage, const char *code);
/* Does it say that a place is full?  Those that end in .no_room: the batch waits for room. */
bool run_is_room(const char *code);

/* The digest of what a stage will compile from its options `profile` and `recipes`; "" if it has
 * neither, or they are no profile and recipes of ours: what is refused, its check() says. `filters`
 * is run_filters_folder(). */
void run_rules(const struct plan *plan, const struct plan_stage *stage, const char *filters,
               char ret_digest[DIGEST_HEX]);

/* The LABELs of whitelists by which a stage lets images pass, in order; each until `each` returns
 * false.  None for a stage that edits: it takes header rules of recipes and asks no filter. */
typedef bool run_label_fn(void *ctx, const struct sendit_match *label);
void run_whitelist(const struct plan *plan, const struct plan_stage *stage, const char *filters,
                   run_label_fn *each, void *ctx);

/* Before files of a batch are taken again: a folder that got ".err" behind its name by when_done
 * gets its name back. */
int run_unmark(const struct ledger_batch *batch, struct err *err);

/* The labels that no person can vouch for. */
#define RUN_FROM_STAGES "ids.replaced deid.header deid.verified"

/* ---- the site key ---- */

/* The file of the site key: `key` of a stage that makes identities, else site.key in the state
 * folder.  *ret_path is the caller's; NULL if no enabled stage needs a key.  *ret_default says
 * that nobody named it, so that it may be made. */
int run_key_path(const struct plan *plan, char **ret_path, bool *ret_default, struct err *err);

/* The folder NAME of what comes with the program: of the sources for one that runs where it was
 * built (*ret_built, which may be NULL), else below share/sendit of its prefix.  The caller frees
 * it; NULL without memory or /proc. */
char *run_data_folder(const char *name, bool *ret_built);
/* The folder of the tables and recipes that ship; the caller frees it. */
char *run_filters_folder(void);

/* ---- running ---- */

enum run_event_type {
    RUN_LOOKING,  /* the source is at work: `n` files so far */
    RUN_BATCH,    /* a batch ended: `batch` */
    RUN_PROGRESS, /* a few times a second: n of total images */
    RUN_KEY_MADE, /* `text` is the fingerprint, `path` where it is */
    RUN_WAITING,  /* no batch is claimed: `text` says why, and what ends it */
    RUN_GOES_ON,  /* and on again */
    RUN_ENDED     /* no event comes after */
};
struct run_event {
    enum run_event_type type;
    unsigned long long n, total;
    const struct ledger_batch *batch;
    const char *text, *path;
};

struct run_options {
    const struct run_request *request; /* as it was for run_build() */
    const struct plan *plan;
    int workers; /* 0: as the plan says */
    void (*event)(void *ctx, const struct run_event *event);
    void *ctx;
};

struct run_summary {
    struct ledger_counts counts; /* of what this run touched */
    unsigned long long batches, known_batches;
    unsigned long long later;   /* batches that are DONEPROCESSING now */
    unsigned long long settled; /* of `batches`: those that were so when it began */
    unsigned long long resting; /* of the images that wait, in batches that are HELD */
    double seconds;
    int signal; /* that stopped it, or 0 */
};

/* What batches wait for: a service that a stage of this id asked, and that did not answer. */
struct run_away {
    char stage[SENDIT_ID_SIZE], code[32], text[220];
    int64_t since_ms, until_ms; /* wall clock; until: nothing is tried before */
};
/* 1 if nothing is away. */
int run_away(struct ledger *ledger, struct run_away *ret_away, struct err *err);

/* Feed, work, close.  The exit status of house.md; `err` has a sentence for 3, 4 and 75, and for 1
 * if there is more to say than "a batch is in ERROR". */
int run_pipeline(const struct run_options *options, struct ledger *ledger,
                 struct run_summary *ret_summary, struct err *err);

/* What compare() of the stages finds; strings live until the call returns. */
struct run_compare {
    const struct run_request *request; /* as it was for run_build() */
    const struct plan *plan;
    void (*differs)(void *ctx, const char *stage, const char *code, const char *subject,
                    const char *text);
    void (*counted)(void *ctx, const char *stage, const char *what, unsigned long long n);
    void *ctx;
};
/* Compare what the ledger keeps with what is there.  0 nothing differs, 1 something does; else not
 * all was compared, and `err` says why: 3, 4, 75, 128 and a signal.  Nothing is written. */
int run_reconcile(const struct run_compare *compare, struct ledger *ledger, struct err *err);

/* The life of a worker: the supervisor's descriptors are WORKER_SOCKET and WORKER_PAGE. */
#define RUN_WORKER_ARGUMENT "--worker"
int run_worker(void);

#endif
