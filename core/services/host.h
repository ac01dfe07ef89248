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

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/map.h"
#include "deid/identity.h"
#include "dicom/dicom.h"
#include "plan/plan.h"
#include "sendit/stage.h"

/* Bounds of what a stage may ask for, beside those that services.h names. */
#define HOST_MAX_ORIGINAL 1024 /* bytes of an original identifier */
#define HOST_MAX_VALUES 65536  /* identifying ones of one item, for originals */
#define HOST_MAX_WORD 64       /* of a domain, a key of a fact, a name of metric, event or file */
#define HOST_MAX_FACT 1024     /* of the value of a fact */
#define HOST_MAX_FACTS 32      /* of one item by one stage */
#define HOST_MAX_KEY 255       /* of a key of the store */
#define HOST_MAX_VALUE (1u << 20)
#define HOST_MAX_AUDIT 65536 /* of one line of the audit ledger */
#define HOST_MAX_SECRET 65536
#define HOST_MAX_SPOOL 64     /* files of one stage in a batch */
#define HOST_MAX_LINES 1000   /* of the log, of one stage in a batch; what is more is counted */
#define HOST_MAX_CACHED 16384 /* identities that one process remembers */

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
    /* The same for what is keyed: told, not asked, durable with the batch. */
    sendit_result (*crosswalk_note)(void *ctx, const char *domain, const char *original,
                                    const char *pseudonym);
    void (*metric)(void *ctx, const char *stage, const char *name, int64_t delta);
    /* A line of the batch in hand, for `sendit log`; from any thread.  `item` is "" for none. */
    void (*message)(void *ctx, const char *item, const char *stage, int32_t level,
                    const char *event, const char *text);
    sendit_result (*hold)(void *ctx, const char *item, sendit_verdict verdict, const char *stage,
                          const char *code, const char *text);
    /* Of settle() and compare(); `code` "" with PASS. */
    sendit_result (*settled)(void *ctx, const char *stage, const char *batch,
                             sendit_verdict verdict, const char *code, const char *text);
    sendit_result (*differs)(void *ctx, const char *stage, const char *code, const char *subject,
                             const char *text);
    sendit_result (*counted)(void *ctx, const char *stage, const char *what, uint64_t n);
    int (*canceled)(void *ctx);
    void (*goes_on)(void *ctx); /* the callback in hand waits, and does not hang; may be NULL */
    int64_t (*now_ms)(void *ctx);
};

struct deid_watch; /* deid/deid.h */

/* What the stages of one worker share. */
struct host_env {
    const struct plan *plan;
    const struct host_link *link;   /* NULL where nothing is kept: what needs it answers EIO */
    const struct identity_key *key; /* NULL if no enabled stage declares IDENTIFIERS */
    const char *filters;            /* folder with tables and recipes */
    const char *scratch;            /* folder for spool files, 0700 */
    const char *batch, *item;       /* ids in hand, NULL outside */
    bool has_children;              /* that a stage left behind: noticed once */
    bool batch_open;                /* between begin() and the return of finish() or abandon() */
    bool abandoning;                /* in abandon(): what is in flight is not waited for */
    bool comparing;                 /* in compare(): nothing is changed */
    struct http_pool *http;         /* connections; made by the first request */
    uint32_t http_stall_s;          /* 0: HTTP_STALL_S; tests do not wait that long */
    struct dicom *dicom;            /* that has the kept files; NULL in check() */
    struct dicom_object *object;    /* of the item in hand */
    const struct deid_watch *watch; /* told what deid.apply does; NULL but in `sendit diff` */
    /* What identified it before its first stage. */
    struct host_original *originals;
    size_t n_originals;
    struct map facts;   /* of the batch in hand: "ITEM\nKEY" */
    struct map pending; /* of the item in hand, until its PASS: "KEY" */
    struct map items;   /* ids that came in this attempt, and whether their facts are "held" */
    struct map uids, pseudonyms; /* made in this batch, and in the crosswalk already */
};

struct host_memory;
struct host_original;
struct host_spool;
struct host_http;
struct http_pool;

/* One instance. */
struct host {
    struct sendit_host host; /* its priv is this struct */
    struct host_env *env;
    const struct plan_stage *stage;
    atomic_bool in_callback;       /* tables that are not [any] refuse outside */
    atomic_bool bug;               /* the stage misused a table: its answer counts as FAIL */
    atomic_bool bug_outside;       /* the same, between two callbacks: the next answer does */
    atomic_uint said;              /* lines of the log since the batch began */
    bool forked;                   /* a callback left a process behind: its answer does not count */
    pid_t pid;                     /* the process that may go on after a callback */
    pthread_t thread;              /* of the callback */
    struct host_memory *memory;    /* what lives until the callback returns */
    struct host_spool *spool;      /* open files of the batch */
    struct host_http *http;        /* requests in flight; NULL before the first */
    int64_t since_ms;              /* CLOCK_BOOTTIME at which the callback began */
    struct sendit_deid_plan *deid; /* what the stage compiled */
    uint64_t lost;                 /* labels that it does not grant with these recipes */
    bool locked;                   /* the lock of the store is its */
    bool settles, compares;        /* it is in settle(), or compare() */
    char uid[IDENTITY_UID];        /* what host_uid() returned, if it is not in env->uids */
};

void host_init(struct host *host, struct host_env *env, const struct plan_stage *stage);
void host_fini(struct host *host);

/* Around each callback: what lives that long is freed in host_leave().  A process that a stage
 * forked, and that comes back here, ends: a callback returns once. */
void host_enter(struct host *host);
void host_leave(struct host *host);
/* What the answer of a callback costs if the stage broke the rules of stage.h meanwhile: misuse, a
 * process left behind and an unknown verdict are FAIL; where an item is in hand, the latter two,
 * and edits that were not declared, are QUARANTINE.  Whatever is not PASS has a code then. */
sendit_verdict host_judge(const struct host *host, sendit_verdict verdict, struct sendit_why *why);
/* The same of finish(), which may be LATER if the stage has settle(), and of settle() and
 * compare(), where SKIP does not fit. */
sendit_verdict host_judge_finish(const struct host *host, sendit_verdict verdict,
                                 struct sendit_why *why);
sendit_verdict host_judge_settle(const struct host *host, sendit_verdict verdict,
                                 struct sendit_why *why);
sendit_verdict host_judge_item(const struct host *host, const struct dicom_object *object,
                               sendit_verdict verdict, struct sendit_why *why);
/* What settle() and compare() are handed, made behind host_enter(); good until host_leave(). */
struct sendit_settle host_settle_table(struct host *host, bool last);
struct sendit_compare host_compare_table(struct host *host);
/* Before the host_leave() of finish(), abandon(), settle() and compare(), and before close():
 * requests in flight are cancelled, their `done` called. */
void host_cancel(struct host *host);
/* When finish() or abandon() has returned: spool files go, and what the batch has cached.  Kept
 * files are core/dicom's: dicom_drop_all(). */
void host_end_batch(struct host *host);

/* An item comes into hand; with NULL none is.  No other id than one that came so is a stage's to
 * name. */
sendit_result host_item(struct host_env *env, const char *item);
/* Before its first stage: what identifies the item, if a stage of the plan declares ORIGINALS.
 * ENOMEM is the only failure; what cannot be read is ECORRUPT to whoever asks. */
sendit_result host_originals_take(struct host_env *env, struct dicom_object *object);
void host_originals_clear(struct host_env *env);
/* Facts of the item in hand wait for its PASS. */
sendit_result host_facts_settle(struct host_env *env, bool keep);
/* An item was quarantined, failed or ignored: its facts are not shown any more. */
sendit_result host_facts_hold(struct host_env *env, const char *item);
/* A fact that the ledger knows from an earlier attempt, and forgetting all of them. */
sendit_result host_facts_load(struct host_env *env, const char *item, const char *key,
                              const char *value);
void host_facts_clear(struct host_env *env);
/* The new UID of any original, for deid.apply; lives until the next call.  It goes into the
 * crosswalk, once in a batch.  ECORRUPT if `original` is no UID. */
sendit_result host_uid(void *ctx_host, const char *original, const char **ret_uid);
sendit_result host_uuid(void *ctx_host, const char *original, uint8_t ret_uuid[16]);

/* The tables; each NULL if the flags of `host` do not declare it. */
extern const struct sendit_config host_config;
extern const struct sendit_dicom host_dicom;
extern const struct sendit_pixels host_pixels;
extern const struct sendit_deid host_deid;
extern const struct sendit_ids host_ids;
extern const struct sendit_originals host_originals;
extern const struct sendit_files host_files;
extern const struct sendit_spool host_spool;
extern const struct sendit_facts host_facts;
extern const struct sendit_store host_store;
extern const struct sendit_secrets host_secrets;
extern const struct sendit_http host_http;
extern const struct sendit_metrics host_metrics;

#endif
