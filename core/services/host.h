/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - the host side of one stage instance: what `struct sendit_host` of stage.h points to.
 *
 * Each file in services/ fills one table.  What needs a memory beyond the process (facts, store,
 * crosswalk, audit) goes through `struct host_link`: the worker's leads to the supervisor's ledger
 * over a socket pair, a test's to tables in memory.  One thread, but for what stage.h marks [any].
 */
#ifndef SENDIT_SERVICES_HOST_H
#define SENDIT_SERVICES_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "deid/identity.h"
#include "dicom/dicom.h"
#include "plan/plan.h"
#include "sendit/stage.h"

struct sendit_deid_plan;
struct host;

/* Where durable things go.  Results are sendit_result; strings that come back live until the next
 * call of the same function.  `item` "" or NULL is the batch in hand. */
struct host_link {
    void *ctx;
    sendit_result (*fact_put)(void *ctx, const char *item, const char *key, const char *value);
    sendit_result (*store_get)(void *ctx, const char *stage, const char *key,
                               const void **ret_value, size_t *ret_length, uint64_t *ret_revision);
    sendit_result (*store_put)(void *ctx, const char *stage, const char *key, const void *value,
                               size_t length, uint64_t expected);
    sendit_result (*store_next)(void *ctx, const char *stage, const char *key,
                                const char **ret_key);
    sendit_result (*store_lock)(void *ctx, const char *stage, const char *key);
    sendit_result (*audit)(void *ctx, const char *stage, const char *event, const char *json);
    sendit_result (*crosswalk_get)(void *ctx, const char *domain, const char *original,
                                   const char **ret_pseudonym, int64_t *ret_since_ms);
    sendit_result (*crosswalk_put)(void *ctx, const char *domain, const char *original,
                                   const char *proposed, const char **ret_pseudonym);
    void (*metric)(void *ctx, const char *stage, const char *name, int64_t delta);
    /* A line of the batch in hand, for `sendit log`; from any thread. */
    void (*message)(void *ctx, const char *stage, int32_t level, const char *event,
                    const char *text);
    sendit_result (*hold)(void *ctx, const char *item, sendit_verdict verdict, const char *stage,
                          const char *code, const char *text);
    int (*canceled)(void *ctx);
    int64_t (*now_ms)(void *ctx);
};

/* What the stages of one worker share. */
struct host_env {
    const struct plan *plan;
    const struct host_link *link;
    const struct identity_key *key;  /* NULL if no enabled stage declares IDENTIFIERS */
    const char *filters;             /* folder with tables and recipes */
    const char *scratch;             /* folder for spool files, 0700 */
    struct host_fact *facts;         /* of the batch in hand */
    const char *batch, *item;        /* ids in hand, NULL outside */
    bool batch_open;                 /* between begin() and the return of finish() or abandon() */
    struct dicom_object *object;     /* of the item in hand */
};

/* One instance. */
struct host {
    struct sendit_host host; /* its priv is this struct */
    struct host_env *env;
    const struct plan_stage *stage;
    bool in_callback; /* tables that are not [any] refuse outside */
    bool bug;         /* the stage misused a table: its answer counts as FAIL */
    struct host_spool *spool;
    struct host_kept *kept;
    struct host_secret *secrets;
    struct host_deid *deid; /* compiled plans */
    struct host_ids *ids;
    char lock[SENDIT_ID_SIZE];
};

int host_init(struct host *host, struct host_env *env, const struct plan_stage *stage,
              struct err *err);
void host_fini(struct host *host);

/* Around each callback: what lives that long is freed in host_leave(). */
void host_enter(struct host *host);
void host_leave(struct host *host);
/* When finish() or abandon() has returned: spool files and kept files go. */
void host_end_batch(struct host *host);

/* Facts of the item in hand wait for its PASS. */
sendit_result host_facts_settle(struct host_env *env, bool keep);
/* A fact that the ledger knows from an earlier attempt, and forgetting all of them. */
sendit_result host_facts_load(struct host_env *env, const char *item, const char *key,
                              const char *value);
void host_facts_clear(struct host_env *env);
/* The new value of ids for deid.apply and the duplicates check. */
sendit_result host_uid(void *ctx_host, const char *original, const char **ret_uid);

/* The tables; each NULL if the flags of `host` do not declare it. */
extern const struct sendit_config host_config;
extern const struct sendit_dicom host_dicom;
extern const struct sendit_deid host_deid;
extern const struct sendit_ids host_ids;
extern const struct sendit_files host_files;
extern const struct sendit_spool host_spool;
extern const struct sendit_facts host_facts;
extern const struct sendit_store host_store;
extern const struct sendit_secrets host_secrets;
extern const struct sendit_metrics host_metrics;

#endif
