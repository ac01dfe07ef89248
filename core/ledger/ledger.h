/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.h - what sendit remembers: batches, images, verdicts, facts, identities, the audit.
 *
 * The supervisor alone opens it to write; `status`, `log` and `quarantine` open it to read, also
 * while a run goes on.  One writer per state folder (flock).  Writes are gathered in one
 * transaction: nothing is durable before ledger_commit() has returned 0.  Functions return 0 or
 * -1 with `err` filled (ERR_REFUSED for a newer schema or a second writer, ERR_PLACE for a disk);
 * a "found nothing" is 1 where the comment says so.  A caller's mistake (an id that is none, an
 * item of another batch, a state that cannot follow) is -1 with ERR_BATCH, and changes nothing.
 * When a write itself fails, all since the last commit is rolled back and nothing can be written
 * through this handle any more: the caller's picture of it is wrong.
 *
 * Values of images are in the crosswalk alone.  Paths of originals are in batch and item, and may
 * be PHI: the folder is 0700, files are 0600.  One thread.  A callback may call the ledger, but
 * not the function that it is called from.  Strings that a callback gets are never NULL and live
 * until it returns.
 */
#ifndef SENDIT_LEDGER_LEDGER_H
#define SENDIT_LEDGER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "sendit/stage.h"

struct ledger;

/* The state of a batch, and of an item in it.  Stored as the words of ledger_batch_word() and
 * ledger_item_word(): QUEUE, PROCESSING, DONEPROCESSING, HELD, DONE, EMPTY, ERROR; waiting, ... */
enum ledger_batch_state {
    BATCH_QUEUE = 1,
    BATCH_PROCESSING,
    BATCH_DONEPROCESSING, /* through every stage, of which some have something to settle */
    BATCH_HELD,           /* it rests at a hold entry */
    BATCH_DONE,           /* every item ended, none failed */
    BATCH_EMPTY,          /* the same, and none was stored or checked */
    BATCH_ERROR           /* an item failed, or a stage stopped the batch */
};
enum ledger_item_state {
    ITEM_WAITING = 1,
    ITEM_STORED,
    ITEM_CHECKED, /* in place of stored, in a dry pipeline */
    ITEM_QUARANTINED,
    ITEM_FAILED,
    ITEM_IGNORED
};
const char *ledger_batch_word(enum ledger_batch_state state);
const char *ledger_item_word(enum ledger_item_state state);

struct ledger_counts { /* found = the sum of the rest */
    uint64_t found, stored, checked, quarantined, failed, ignored, waiting;
};

/* ---- opening ---- */

/* Make the folder (0700) and the database if they are not there; take the lock.  A folder that is
 * not ours, or that others can enter, is refused.  The second writer is told who holds it. */
int ledger_open(const char *state, struct ledger **ret_ledger, struct err *err);
/* To read; 1 if there is no ledger yet.  All that is read is of one moment, that of the opening. */
int ledger_open_read(const char *state, struct ledger **ret_ledger, struct err *err);
void ledger_close(struct ledger *ledger); /* what was not committed is rolled back */
/* Make everything so far durable.  Nothing to do is 0. */
int ledger_commit(struct ledger *ledger, struct err *err);
/* The same without a sync: others can read it and it outlives this process, but no loss of power.
 */
int ledger_flush(struct ledger *ledger, struct err *err);
/* Rows changed since the last commit or flush; those of a feed count when it is closed. */
size_t ledger_pending(const struct ledger *ledger);
/* The version of SQLite, for `sendit --version`. */
const char *ledger_library(void);
/* 32 hex digits made with the state: part of every once_key. */
const char *ledger_uuid(const struct ledger *ledger);

/* The fingerprint of the site key: the first one is kept; another is ERR_REFUSED, with both. */
int ledger_key(struct ledger *ledger, const char *fingerprint, struct err *err);
/* "" if none is known. */
const char *ledger_known_key(struct ledger *ledger);

/* ---- a run ---- */

struct ledger_run {
    const char *version, *pipeline_digest, *key_fingerprint;
    const char *because; /* of a lowered policy, or NULL */
};
struct ledger_stage {
    const char *id, *name, *version, *digest, *path, *grants;
    bool ships;
    const char *rules; /* digest of the profile and recipes that it compiles, or "" */
};
int ledger_run_begin(struct ledger *ledger, const struct ledger_run *run,
                     const struct ledger_stage *stages, size_t n_stages, struct err *err);
int ledger_run_end(struct ledger *ledger, int exit_status, struct err *err);

/* ---- feeding: one batch at a time ---- */

struct ledger_file {
    const char *path;
    uint64_t dev, ino, size;
    int64_t mtime_ns;
    const char *ignored; /* reason code, or NULL: to be processed */
    bool failed;         /* could not even be looked at: `ignored` has the reason code */
};
int ledger_feed_open(struct ledger *ledger, const char *key, struct err *err);
int ledger_feed_add(struct ledger *ledger, const struct ledger_file *file, struct err *err);
int ledger_feed_when_done(struct ledger *ledger, int how, const char *folder, struct err *err);
/*
 * Close it.  Of a key that is known, only files are taken whose path, size or mtime is new, or
 * that failed before; 1 if nothing is left (no batch is made; ignored files alone make none for a
 * known key).  A batch of that key that is still QUEUE stands: 1.  A feed without files makes no
 * batch: 1.  Files are numbered in byte order of their paths; a path that was added twice is one
 * file, as it was first.  0: *ret_batch is its id.
 */
int ledger_feed_close(struct ledger *ledger, char ret_batch[SENDIT_ID_SIZE], struct err *err);
void ledger_feed_forget(struct ledger *ledger);

/* ---- working ---- */

struct ledger_batch {
    char id[SENDIT_ID_SIZE];
    char *key;       /* PHI */
    char *continues; /* id of the first batch of that key, or NULL */
    int state;       /* enum ledger_batch_state */
    uint32_t attempt;
    int when_done; /* SENDIT_LEAVE, ... */
    char *done_folder;
    int64_t queued_ms, started_ms, finished_ms; /* wall clock, 0 for not yet */
    uint64_t bytes;                             /* of its files */
    char *rests; /* id of the hold entry at which it rests or, in any other state, behind which it
                  * goes on; "" for one that begins at the source */
    struct ledger_counts counts;
};
void ledger_batch_fini(struct ledger_batch *batch);

/* At the start of a run: batches that a dead run left in PROCESSING are put back, as by
 * ledger_release(). */
int ledger_recover(struct ledger *ledger, struct err *err);
/* The next batch in QUEUE, in byte order of keys; it is PROCESSING now, attempt counted up.  1 if
 * there is none. */
int ledger_claim(struct ledger *ledger, struct ledger_batch *ret_batch, struct err *err);
/* Put it back to QUEUE (a stop, a retry); what passed in it has not.  If all that is left of it
 * rests at another hold entry it is HELD: nobody said that those should go on. */
int ledger_release(struct ledger *ledger, const char *batch, struct err *err);
/* One batch by id; 1 if there is none. */
int ledger_batch_get(struct ledger *ledger, const char *id, struct ledger_batch *ret_batch,
                     struct err *err);

struct ledger_item {
    const char *id, *batch, *path;
    uint64_t dev, ino, size;
    int64_t mtime_ns;
    int state;         /* enum ledger_item_state */
    uint32_t attempt;  /* tries so far */
    const char *stage; /* that decided, or "" */
    const char *code, *text;
    const char *labels;        /* earned, as "label@stage" words separated by blanks */
    const char *header_digest; /* of the output */
    uint64_t pixel_length;
    const char *uid; /* new SOP Instance UID */
    int64_t decided_ms;
    bool dropped;      /* quarantined for good: somebody said so */
    const char *rests; /* id of the hold entry that its held file is of, or "" */
};
typedef int ledger_item_fn(void *ctx, const struct ledger_item *item); /* nonzero stops */
/* The items of a batch in order; `state` 0 for all. */
int ledger_items(struct ledger *ledger, const char *batch, int state, ledger_item_fn *each,
                 void *ctx, struct err *err);
/* One by id; 1 if there is none.  Calls `each` once. */
int ledger_item_get(struct ledger *ledger, const char *id, ledger_item_fn *each, void *ctx,
                    struct err *err);
/* A try begins and did not end well: count it. */
int ledger_item_tried(struct ledger *ledger, const char *id, uint32_t *ret_attempt,
                      struct err *err);
/* Its worker was killed from outside: how often in a row, until it passes. */
int ledger_item_killed(struct ledger *ledger, const char *id, uint32_t *ret_kills, struct err *err);
/* The file of one that waits is another than was queued: dev, ino, size, mtime_ns are kept, and
 * what people decided about it does not apply any more. */
int ledger_item_changed(struct ledger *ledger, const struct ledger_item *item, struct err *err);
/* What became of it: state, stage, code, text, labels, header_digest, pixel_length, uid of `item`
 * are kept; an item that ended already is left as it is. */
int ledger_item_decide(struct ledger *ledger, const struct ledger_item *item, struct err *err);
/* Those of a batch that wait and go on where the batch does (`rests`), in order, behind item
 * `after`
 * ("" from the first), up to `max`. */
int ledger_items_after(struct ledger *ledger, const char *batch, const char *after, size_t max,
                       ledger_item_fn *each, void *ctx, struct err *err);
/* An item went through every stage: labels, header_digest, pixel_length and uid are kept, but it
 * waits until the batch has finished. */
int ledger_item_passed(struct ledger *ledger, const struct ledger_item *item, struct err *err);
/* The batch has finished: those that passed are `state`, ITEM_STORED or ITEM_CHECKED. */
int ledger_items_settle(struct ledger *ledger, const char *batch, int state, struct err *err);
/* It has not: those that passed have not; `item` NULL for all of the batch. */
int ledger_items_unpass(struct ledger *ledger, const char *batch, const char *item,
                        struct err *err);
/* All that still wait in a batch. */
int ledger_items_fail(struct ledger *ledger, const char *batch, const char *code, const char *stage,
                      const char *text, struct err *err);
/* End a batch: DONE, EMPTY or ERROR from its counts, ERROR in any case if `stopped`.  An item that
 * waits is an error of the caller.  *ret_state is the state. */
int ledger_batch_close(struct ledger *ledger, const char *batch, bool stopped, int *ret_state,
                       struct err *err);

/* ---- what rests ---- */

/* The stages before a hold entry have finished: those that passed rest there, and keep their
 * labels. */
int ledger_items_rest(struct ledger *ledger, const char *batch, const char *hold, struct err *err);
/* How many of a batch wait behind a hold entry, "" for the source; `hold` NULL: at any. */
int ledger_resting(struct ledger *ledger, const char *batch, const char *hold, uint64_t *ret_n,
                   struct err *err);
/* A batch at work is HELD: it rests at `hold`. */
int ledger_batch_rest(struct ledger *ledger, const char *batch, const char *hold, struct err *err);
/* One that is HELD is in QUEUE, to go on behind the entry at which it rests. */
int ledger_resume(struct ledger *ledger, const char *batch, struct err *err);

/* ---- what is settled later ---- */

/* The finish() of a stage, by the id of its entry, said LATER of a batch in PROCESSING. */
int ledger_later(struct ledger *ledger, const char *batch, const char *stage, struct err *err);
/* The stages have finished: DONEPROCESSING.  An item that waits and did not pass is an error of the
 * caller. */
int ledger_batch_processed(struct ledger *ledger, const char *batch, struct err *err);
/* What settle() of a stage told of a batch.  Kept, too, for one whose finish() is still under way;
 * 1: it does not wait for that stage. */
int ledger_settled(struct ledger *ledger, const char *batch, const char *stage, bool pass,
                   const char *code, const char *text, struct err *err);
/* Close a batch in DONEPROCESSING if all have settled it: those that passed are stored, or checked
 * in a dry pipeline, or failed if a stage said so, and *ret_state is as ledger_batch_close() has
 * it.  An image that was released meanwhile makes it QUEUE, the others being stored.  1: some have
 * not. */
int ledger_batch_settle(struct ledger *ledger, const char *batch, int *ret_state, struct err *err);
typedef int ledger_waits_fn(void *ctx, const char *stage, const char *batch, uint64_t n);
/* For whom batches in DONEPROCESSING wait: each stage, its first batch and their number. */
int ledger_waits(struct ledger *ledger, ledger_waits_fn *each, void *ctx, struct err *err);
/* How many batches are in DONEPROCESSING: all, or those that this run touched last. */
int ledger_waiting(struct ledger *ledger, bool run_only, uint64_t *ret_n, struct err *err);
/* The first batch behind `after` ("" the first) that waits for `stage`; 1 if there is none. */
int ledger_waits_next(struct ledger *ledger, const char *stage, const char *after,
                      char ret_batch[SENDIT_ID_SIZE], struct err *err);

/* Instances by their new UID.  0: `item` is the first and now has it, with its header_digest and
 * pixel_length; 1: another item has it, and `each` is called with that one and with what it had
 * then.  One that is `item` itself from an earlier try, or that was quarantined, failed or ignored
 * since, does not stand in the way; nor does one that waits, if its batch is back in the queue or
 * was claimed anew since. */
int ledger_instance(struct ledger *ledger, const char *uid, const struct ledger_item *item,
                    ledger_item_fn *each, void *ctx, struct err *err);

/* `item` is the one of that UID from now on. */
int ledger_instance_take(struct ledger *ledger, const char *uid, const struct ledger_item *item,
                         struct err *err);

/* Closed batches of which files are still to be moved or deleted; the callback may call
 * ledger_done_settled(), which says that a batch is not one of them any more. */
int ledger_done_pending(struct ledger *ledger, int (*each)(void *ctx, const char *batch), void *ctx,
                        struct err *err);
int ledger_done_settled(struct ledger *ledger, const char *batch, struct err *err);

/* A message of a batch, shown by `sendit log`: `level` as in log.h; safe to print.  Equal messages
 * of a batch are counted, not repeated. */
int ledger_message(struct ledger *ledger, const char *batch, const char *item, int level,
                   const char *stage, const char *code, const char *text, struct err *err);

/* ---- second visits ---- */

/* What a person decided about an item in quarantine. */
struct ledger_decision {
    const char *item;
    bool dropped;             /* it stays there for good; else it was released */
    bool applies;             /* the file is still the one that was decided about */
    const char *stage, *code; /* who held it, and why */
    const char *vouched;      /* labels, separated by blanks, or "" */
    const char *because, *user;
    int64_t at_ms;
};
/* Keep it, with `item`, `dropped`, `vouched`, `because` and `user` of `decision`.  An item that is
 * released waits again, and its batch, if it was closed or HELD, is in QUEUE, to go on where that
 * item does.  So is one in QUEUE that was resumed: it rests again, all of it.  One that is not in
 * quarantine, or was dropped, is a mistake of the caller. */
int ledger_decide(struct ledger *ledger, const struct ledger_decision *decision, struct err *err);
/* Of a batch or of one item, in the order of items, then of time. */
typedef int ledger_decision_fn(void *ctx, const struct ledger_decision *decision);
int ledger_decisions(struct ledger *ledger, const char *id, ledger_decision_fn *each, void *ctx,
                     struct err *err);
/* How many of a batch were dropped; batch NULL: of all. */
int ledger_dropped(struct ledger *ledger, const char *batch, uint64_t *ret_n, struct err *err);

/*
 * Take a closed batch again: what failed or, with `all`, what was stored, checked, quarantined or
 * failed, too, but nothing that was dropped and nothing for which `stays` (NULL: none) returns
 * nonzero.  Those wait again and the batch is in QUEUE; if there are none, nothing changes.  What
 * failed behind a hold goes on there, unless its held file was lost; all else begins at the source.
 * One that is HELD is taken, too: what rests there begins at the source.
 */
int ledger_again(struct ledger *ledger, const char *batch, bool all, ledger_item_fn *stays,
                 void *ctx, uint64_t *ret_n, struct err *err);

/* The run that had a batch last, and the stages of it in order, `stage` NULL for none; 1 if no run
 * had it. */
typedef int ledger_run_fn(void *ctx, const struct ledger_run *run);
typedef int ledger_stage_fn(void *ctx, const struct ledger_stage *stage);
int ledger_run_of(struct ledger *ledger, const char *batch, ledger_run_fn *run,
                  ledger_stage_fn *stage, void *ctx, struct err *err);

/* ---- what services keep; `stage` is the id of the entry ---- */

int ledger_fact_put(struct ledger *ledger, const char *batch, const char *item, const char *key,
                    const char *value, struct err *err); /* item "" for the batch */
/* The facts of one item, or of the batch itself ("") without those of its items. */
typedef int ledger_fact_fn(void *ctx, const char *key, const char *value);
int ledger_facts(struct ledger *ledger, const char *batch, const char *item, ledger_fact_fn *each,
                 void *ctx, struct err *err);
/* 1 if absent; *ret_value is the caller's to free. */
int ledger_store_get(struct ledger *ledger, const char *stage, const char *key, void **ret_value,
                     size_t *ret_length, uint64_t *ret_revision, struct err *err);
/* 1 for a conflict. `value` NULL deletes. */
int ledger_store_put(struct ledger *ledger, const char *stage, const char *key, const void *value,
                     size_t length, uint64_t expected, struct err *err);
/* 1 at the end; the caller frees *ret_key. */
int ledger_store_next(struct ledger *ledger, const char *stage, const char *key, char **ret_key,
                      struct err *err);
int ledger_audit(struct ledger *ledger, const char *stage, const char *event, const char *json,
                 struct err *err);
/* 1 if nothing stands for `original`; the caller frees *ret_pseudonym. */
int ledger_crosswalk_get(struct ledger *ledger, const char *domain, const char *original,
                         char **ret_pseudonym, int64_t *ret_since_ms, struct err *err);
/* First writer wins: *ret_pseudonym is what stands.  1: `proposed` stands for another original. */
int ledger_crosswalk_put(struct ledger *ledger, const char *domain, const char *original,
                         const char *proposed, char **ret_pseudonym, struct err *err);
/* The same, and nobody waits to hear what stands.  In the domain "uid" a pseudonym that stands for
 * two originals is not looked for. */
int ledger_crosswalk_note(struct ledger *ledger, const char *domain, const char *original,
                          const char *pseudonym, struct err *err);
/* Add to a counter: the labels of a metric are stage and name; `batch` "" for none. */
int ledger_metric(struct ledger *ledger, const char *batch, const char *stage, const char *name,
                  int64_t delta, struct err *err);

/* ---- reading ---- */

typedef int ledger_batch_fn(void *ctx, const struct ledger_batch *batch); /* nonzero stops */
/* All batches in order of their ids; `run_only`: those that this run touched. */
int ledger_batches(struct ledger *ledger, bool run_only, ledger_batch_fn *each, void *ctx,
                   struct err *err);
/* The sum over all batches, or over those that this run touched. */
int ledger_totals(struct ledger *ledger, bool run_only, struct ledger_counts *ret_counts,
                  struct err *err);
struct ledger_message {
    const char *batch, *item, *stage, *code, *text;
    int level;
    uint64_t times;
    int64_t at_ms;
};
typedef int ledger_message_fn(void *ctx, const struct ledger_message *message);
int ledger_messages(struct ledger *ledger, const char *batch, ledger_message_fn *each, void *ctx,
                    struct err *err); /* batch NULL: of all batches in ERROR */
typedef int ledger_reason_fn(void *ctx, int state, const char *stage, const char *code, uint64_t n);
/* How many items of which state were held, failed or ignored by whom and why; batch NULL: all. */
int ledger_reasons(struct ledger *ledger, const char *batch, bool run_only, ledger_reason_fn *each,
                   void *ctx, struct err *err);

#endif
