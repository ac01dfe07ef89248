/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervisor.h - inside `sendit run`: the workers, and the loop that answers them.
 *
 * One thread.  Whatever cannot be written into the ledger stops the run: `fatal` is then set.
 */
#ifndef SENDIT_RUN_SUPERVISOR_H
#define SENDIT_RUN_SUPERVISOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/digest.h"
#include "run/page.h"
#include "run/run.h"
#include "run/wire.h"

/* Workers beyond the number asked for, which may wait until earlier batches have finished. */
#define SUPERVISOR_MAX_PARKED 32
/* How often in a row an image may be there when its worker is killed from outside. */
#define SUPERVISOR_MAX_KILLS 5
/* How many workers in a row one stage may take down before the run stops with its name. */
#define SUPERVISOR_MAX_FAULTS 10
/* Between two calls of settle() of one stage, while there is other work. */
#define SUPERVISOR_SETTLE_MS 3000
/* Time for close() of the stages of one worker. */
#define SUPERVISOR_CLOSE_MS 10000

enum slot_state { SLOT_STARTING, SLOT_IDLE, SLOT_BUSY, SLOT_PARKED, SLOT_SETTLING, SLOT_CLOSING };

/* Is an image the first with its new UID?  Kept while an earlier batch has the answer in hand. */
struct question {
    bool waits;
    char item[SENDIT_ID_SIZE], uid[65], header_digest[DIGEST_HEX];
    uint64_t pixel_length;
};

struct slot {
    struct slot *next;
    pid_t pid;
    int pidfd; /* readable when it has ended; -1 on a kernel without */
    struct wire wire;
    struct run_page *page;
    char *page_path; /* its file in the scratch folder */
    enum slot_state state;
    bool source;
    bool timed_out;  /* we killed it: stage_timeout */
    bool hung_up;    /* we killed it: it closed its socket and went on */
    int64_t heard;   /* CLOCK_BOOTTIME ms: the last word from it, or to it */
    bool leaving;    /* it ends after its batch: worker_memory */
    bool stolen;     /* another batch has an image of its batch: do it again */
    bool asks;       /* its worker waits for an answer before it hands out an image */
    bool probes;     /* the one that may try whether a service is back */
    bool compares;   /* it is `sendit reconcile`'s */
    bool last_call;  /* SLOT_SETTLING: the stage was told to settle all */
    int64_t settles; /* SLOT_SETTLING: whose settle() it is in, by index in the plan */
    bool has_batch;
    unsigned long long passed; /* images of its batch, counted in `done` */
    uint64_t finishing;        /* stages whose finish() of its batch began, by index in the plan */
    struct ledger_batch batch;
    char last[SENDIT_ID_SIZE]; /* the last item that was sent */
    char lock[320];            /* "STAGE\nKEY" that it holds, or "" */
    char waits_for[320];       /* the same that it waits for, or "" */
    struct question question;
};

/* What an image or a batch (item "") has cost in this run. */
struct trouble {
    struct trouble *next;
    char batch[SENDIT_ID_SIZE], item[SENDIT_ID_SIZE];
    unsigned crashes, kills; /* kills of an image are counted in the ledger */
    bool has_doubles;        /* of a batch: the next try asks first */
};

/* A place that is full: no batch is claimed until there is room again. */
struct room {
    bool full;        /* since `since`, and said so */
    int64_t since;    /* monotonic ms */
    int64_t check_at; /* when to look again */
    int64_t pause;    /* until then, after a stage said that there is none; it grows */
};

/* A service that a stage needs is away: at most one batch is begun, and not before `until`. */
struct away {
    bool on;
    int64_t since, until; /* monotonic ms; since: in this run */
    unsigned tries;
    struct run_away what;
};

/* A stage for which batches may wait. */
struct later {
    bool waits, waited;      /* they do, and did when that was looked at before */
    bool said;               /* that its service is away */
    int64_t since;           /* monotonic ms of the first RETRY in a row, 0: none */
    int64_t until;           /* settle() is not called before */
    unsigned tries;          /* since `since` */
    unsigned crashes, kills; /* of its worker in settle(), in a row */
};

struct supervisor {
    const struct run_options *options;
    struct ledger *ledger;
    struct err *err; /* the caller's */
    bool fatal;      /* `err` is set: come to an end */
    int signal;      /* that stopped us, or 0 */
    bool hurry;      /* the second signal */
    int signals;     /* signalfd */
    struct slot *slots;
    struct trouble *troubles;
    char **again; /* keys of batches that were put back, PHI */
    size_t n_again;
    int n_workers;
    bool always_asks; /* a stage hands images out before its finish() */
    bool queue_empty; /* the last claim found nothing */
    bool fed;         /* the source is through */
    bool source_lost; /* it was killed from outside: start it again */
    unsigned source_kills;
    unsigned early_deaths;
    int32_t fault_stage; /* index in the plan of the stage that took down the last workers */
    unsigned faults;     /* how many in a row */
    struct room room;
    struct away away;
    const struct run_compare *compare; /* NULL but in `sendit reconcile` */
    unsigned long long differences;
    struct later later[PLAN_MAX_STAGES]; /* by index in the plan */
    uint64_t left_later;                 /* batches in DONEPROCESSING when the run began */
    char *key_path;                      /* of the site key, or NULL */
    struct identity_key key;
    char *scratch, *filters;
    unsigned long long found, done, total, batches, known, errors;
    int64_t pending_since, progress_at;
    int64_t looked, woke; /* CLOCK_BOOTTIME ms: last look at the workers, and after a long pause */
};

/* Set `fatal`; the first sentence stands. */
__attribute__((format(printf, 3, 4))) void supervisor_fatal(struct supervisor *sv, int code,
                                                            const char *text, ...);
/* A ledger function failed: `err` is filled already. */
void supervisor_broke(struct supervisor *sv);
void supervisor_commit(struct supervisor *sv); /* all so far is durable */
void supervisor_flush(struct supervisor *sv);  /* all so far outlives the supervisor */
void supervisor_event(struct supervisor *sv, const struct run_event *event);
/* Take signals from here on; the mask before is *ret_old. */
int supervisor_signals(struct supervisor *sv, sigset_t *ret_old);
/* Wait up to `timeout` ms for workers and signals, and answer them. */
void supervisor_turn(struct supervisor *sv, int timeout);
int64_t supervisor_clock(void);    /* CLOCK_MONOTONIC in ms */
int64_t supervisor_boottime(void); /* CLOCK_BOOTTIME in ms, the clock of the page */

/* pool.c */
struct slot *pool_spawn(struct supervisor *sv, enum wire_role role);
/* The worker is gone: what its death means for image and batch; frees the slot. */
void pool_bury(struct supervisor *sv, struct slot *slot);
void pool_check_timeouts(struct supervisor *sv);
void pool_stop(struct supervisor *sv); /* ask all to come to an end */
void pool_kill(struct supervisor *sv); /* now */
/* The pages that a supervisor left that died: each image in hand then counts a try. */
void pool_count_left(struct supervisor *sv);
/* The trouble of a batch, item "", or of an item; NULL without memory. */
struct trouble *pool_trouble(struct supervisor *sv, const char *batch, const char *item);
/* Those of its batch that passed have not: the batch is done again. */
int pool_unpass(struct supervisor *sv, struct slot *slot);
/* Put its batch back into the queue. */
void pool_release(struct supervisor *sv, struct slot *slot);

/* answer.c: what a worker said. */
void answer_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg);
/* Put the facts of an item, or of the batch (""), into the frame that is being made. */
void answer_facts(struct supervisor *sv, struct slot *slot, const char *item);
/* Let those that are parked finish, if nothing earlier is left. */
void answer_parked(struct supervisor *sv);
/* Give locks that are free, and answers that are known, to those that wait. */
void answer_waiting(struct supervisor *sv);
/* Answer a question with a number. */
void answer_result(struct slot *slot, int64_t result);
/* The end of a batch in the ledger, its event, what becomes of its files. */
void answer_close_batch(struct supervisor *sv, const char *batch, bool stopped);
/* The same of one in DONEPROCESSING, if everybody has settled it. */
void answer_settle_batch(struct supervisor *sv, const char *batch);

/* rest.c: a batch at work of which all that waits rests is HELD. */
void rest_batch(struct supervisor *sv, struct slot *slot);
/* The hold entry as far as which its batch goes now; NULL: to the end. */
const struct plan_stage *rest_ahead(const struct supervisor *sv, const struct slot *slot);
/* A batch that was resumed and whose hold entry is not in the pipeline any more is HELD again; does
 * it go on? */
bool rest_is_over(struct supervisor *sv, struct slot *slot);
/* It is HELD: say so, and take away files that it does not need any more. */
void rest_tell(struct supervisor *sv, const char *batch);

/* room.c: may another batch be claimed?  Waits, without blocking, up to retry_for. */
bool room_is_there(struct supervisor *sv);
/* A stage found none, and its batch is in QUEUE again. */
void room_was_missing(struct supervisor *sv, const char *stage);
/* A batch went through: what was missing is there. */
void room_was_enough(struct supervisor *sv);

/* away.c: what an earlier run waited for. */
void away_load(struct supervisor *sv);
/* May a batch be begun now?  While a service is away it is the probe. */
bool away_lets_one_begin(const struct supervisor *sv);
/* A stage asked to try again later, and its batch goes back into the queue; false: for longer than
 * retry_for. */
bool away_may_wait(struct supervisor *sv, const struct slot *slot, const struct sendit_why *why,
                   const char *stage);
/* The batch got past the stage, if it was the probe. */
void away_is_over(struct supervisor *sv, struct slot *slot);
/* The same of one image.  One that a store has taken says nothing: only its finish() does. */
void away_item_passed(struct supervisor *sv, struct slot *slot);

/* The pause before try number `tries`, from 1: full jitter up to a bound that doubles. */
int64_t away_pause(unsigned tries);

/* later.c: say for which stages batches wait that cannot settle them. */
void later_load(struct supervisor *sv);
/* A batch came to wait. */
void later_waits(struct supervisor *sv);
/* Have idle workers settle what is due; `last`: nothing else is left to do. */
void later_step(struct supervisor *sv, bool last);
/* Is a worker in settle(), or could one be? */
bool later_is_left(const struct supervisor *sv);
/* What a worker said that is in settle(). */
void later_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg);
/* The worker that was in settle() is gone; `how` in words. */
void later_died(struct supervisor *sv, const struct slot *slot, bool outside, const char *how);

/* reconcile.c: what a worker said that compares. */
void reconcile_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg);

/* done.c: carry out `when_done` of a closed batch. */
void done_carry_out(struct supervisor *sv, const char *batch);
/* Those that a run before this one could not carry out any more. */
void done_left_over(struct supervisor *sv);

#endif
