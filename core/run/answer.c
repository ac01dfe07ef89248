/* SPDX-License-Identifier: Apache-2.0 */
#include "run/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "run/held.h"

/* ---- answers ---- */

static void begin_answer(struct slot *slot, int64_t result)
{
    wire_begin(&slot->wire, WIRE_ANSWER);
    wire_put_i64(&slot->wire, result);
}

static void send_answer(struct slot *slot)
{
    slot->heard = supervisor_boottime();
    if (wire_send(&slot->wire)) /* its death is noticed when its socket ends */
        log_event(LOG_DEBUG, NULL, "worker.lost", "A worker ended before it was answered.");
}

void answer_result(struct slot *slot, int64_t result)
{
    begin_answer(slot, result);
    send_answer(slot);
}

/* What a ledger function of the services returned, as a result of services.h. */
static int64_t service_result(struct supervisor *sv, int result, int64_t absent)
{
    if (result < 0)
        supervisor_broke(sv);
    return result < 0 ? SENDIT_EIO : result ? absent : SENDIT_OK;
}

/* ---- items ---- */

static int count_fact(void *ctx, const char *key, const char *value)
{
    (void)key, (void)value;
    (*(uint64_t *)ctx)++;
    return 0;
}

static int put_fact(void *ctx, const char *key, const char *value)
{
    struct slot *slot = ctx;

    wire_put_str(&slot->wire, key);
    wire_put_str(&slot->wire, value);
    return 0;
}

void answer_facts(struct supervisor *sv, struct slot *slot, const char *item)
{
    const char *batch = slot->batch.id;
    uint64_t n = 0;

    /* At the first attempt there are none, and nobody need look. */
    if (slot->batch.attempt > 1 && ledger_facts(sv->ledger, batch, item, count_fact, &n, sv->err))
        supervisor_broke(sv);
    wire_put_u64(&slot->wire, n);
    if (n && ledger_facts(sv->ledger, batch, item, put_fact, slot, sv->err))
        supervisor_broke(sv);
}

/* What the core held gets one more try, which says nothing to the worker. */
static bool is_release(const struct ledger_decision *decision)
{
    return !decision->dropped && decision->applies &&
           (!run_is_cores(decision->stage, decision->code) || *decision->vouched);
}

static int count_release(void *ctx, const struct ledger_decision *decision)
{
    *(uint64_t *)ctx += is_release(decision);
    return 0;
}

static int put_release(void *ctx, const struct ledger_decision *decision)
{
    struct slot *slot = ctx;

    if (!is_release(decision))
        return 0;
    wire_put_str(&slot->wire, decision->stage);
    wire_put_u64(&slot->wire, !run_is_cores(decision->stage, decision->code));
    wire_put_str(&slot->wire, decision->vouched);
    return 0;
}

/* Put what people decided about an item into the frame that is being made. */
static void put_releases(struct supervisor *sv, struct slot *slot, const char *item)
{
    uint64_t n = 0;

    /* At the first attempt nothing was held yet. */
    if (slot->batch.attempt > 1 && ledger_decisions(sv->ledger, item, count_release, &n, sv->err))
        supervisor_broke(sv);
    wire_put_u64(&slot->wire, n);
    if (n && ledger_decisions(sv->ledger, item, put_release, slot, sv->err))
        supervisor_broke(sv);
}

struct giving {
    struct supervisor *sv;
    struct slot *slot;
};

static int put_item(void *ctx, const struct ledger_item *item)
{
    const struct giving *giving = ctx;
    struct slot *slot = giving->slot;

    wire_put_str(&slot->wire, item->id);
    wire_put_str(&slot->wire, item->path);
    wire_put_u64(&slot->wire, item->dev);
    wire_put_u64(&slot->wire, item->ino);
    wire_put_u64(&slot->wire, item->size);
    wire_put_i64(&slot->wire, item->mtime_ns);
    wire_put_u64(&slot->wire, item->attempt + 1);
    answer_facts(giving->sv, slot, item->id);
    put_releases(giving->sv, slot, item->id);
    snprintf(slot->last, sizeof(slot->last), "%s", item->id);
    return 0;
}

static int count_item(void *ctx, const struct ledger_item *item)
{
    (void)item;
    (*(int64_t *)ctx)++;
    return 0;
}

static void give_items(struct supervisor *sv, struct slot *slot)
{
    enum { MANY = 64 };
    struct giving giving = {sv, slot};
    /* With facts of an earlier attempt a frame has room for one. */
    size_t many = slot->batch.attempt > 1 ? 1 : MANY;
    char after[SENDIT_ID_SIZE];
    int64_t n = 0;

    if (slot->stolen) { /* no use to go on */
        answer_result(slot, 0);
        return;
    }
    memcpy(after, slot->last, sizeof(after));
    if (ledger_items_after(sv->ledger, slot->batch.id, after, many, count_item, &n, sv->err)) {
        supervisor_broke(sv);
        n = 0;
    }
    begin_answer(slot, n);
    if (n &&
        ledger_items_after(sv->ledger, slot->batch.id, after, many, put_item, &giving, sv->err))
        supervisor_broke(sv);
    send_answer(slot);
}

/* The stage that took down the last workers, or one behind it, has answered: it works. */
static void forgive(struct supervisor *sv, const char *stage)
{
    const struct plan *plan = sv->options->plan;

    for (size_t i = sv->faults ? (size_t)sv->fault_stage : plan->n_stages; i < plan->n_stages; i++)
        if (!strcmp(plan->stages[i].id, stage))
            sv->faults = 0;
}

static void decided(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    struct ledger_item item = {.batch = slot->batch.id};

    item.id = wire_str(msg);
    item.state = (int)wire_i64(msg);
    item.stage = wire_str(msg);
    item.code = wire_str(msg);
    item.text = wire_str(msg);
    item.labels = wire_str(msg);
    if (msg->bad || slot->stolen) /* that batch is done again, and decided then */
        return;
    sv->done++;
    forgive(sv, item.stage);
    if (item.state == ITEM_WAITING) {
        sv->done--;
        if (ledger_items_unpass(sv->ledger, slot->batch.id, item.id, sv->err))
            supervisor_broke(sv);
    } else if (ledger_item_decide(sv->ledger, &item, sv->err)) {
        supervisor_broke(sv);
    }
}

static void passed(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    struct ledger_item item = {.batch = slot->batch.id};

    item.id = wire_str(msg);
    item.labels = wire_str(msg);
    item.header_digest = wire_str(msg);
    item.pixel_length = wire_u64(msg);
    item.uid = wire_str(msg);
    sv->done++;
    slot->passed++;
    sv->faults = 0;
    away_item_passed(sv, slot);
    if (!msg->bad && ledger_item_passed(sv->ledger, &item, sv->err))
        supervisor_broke(sv);
}

/* The file is not what was queued: what it is now counts. */
static void changed(struct supervisor *sv, struct wire_msg *msg)
{
    struct ledger_item item = {0};

    item.id = wire_str(msg);
    item.dev = wire_u64(msg);
    item.ino = wire_u64(msg);
    item.size = wire_u64(msg);
    item.mtime_ns = wire_i64(msg);
    if (!msg->bad && ledger_item_changed(sv->ledger, &item, sv->err))
        supervisor_broke(sv);
}

/* ---- who was first ---- */

/* The item that has the UID already. */
struct holder {
    char batch[SENDIT_ID_SIZE], digest[DIGEST_HEX];
    char *path;
    uint64_t pixel_length, dev, ino, size; /* of the original as it was read */
    int64_t mtime_ns;
};

static int note_holder(void *ctx, const struct ledger_item *item)
{
    struct holder *holder = ctx;

    snprintf(holder->batch, sizeof(holder->batch), "%s", item->batch);
    snprintf(holder->digest, sizeof(holder->digest), "%s",
             item->header_digest ? item->header_digest : "");
    free(holder->path);
    holder->path = strdup(item->path);
    holder->pixel_length = item->pixel_length;
    holder->dev = item->dev;
    holder->ino = item->ino;
    holder->size = item->size;
    holder->mtime_ns = item->mtime_ns;
    return 0;
}

/* The slot that has `batch` in hand, if it comes later in the order than that of `slot`, or, with
 * `order` -1, earlier. */
static struct slot *other_slot(struct supervisor *sv, const struct slot *slot, const char *batch,
                               int order)
{
    for (struct slot *other = sv->slots; other; other = other->next)
        if (other != slot && other->has_batch && !strcmp(other->batch.id, batch) &&
            order * strcmp(other->batch.key, slot->batch.key) > 0)
            return other;
    return NULL;
}

/* A batch with an image that another has is done again, and asks about each then. */
static void steal(struct supervisor *sv, struct slot *slot)
{
    struct trouble *trouble = pool_trouble(sv, slot->batch.id, "");

    slot->stolen = true;
    if (trouble)
        trouble->has_doubles = true;
}

/* Its worker has gone on already. */
static void told_of_instance(struct supervisor *sv, struct slot *slot, int result)
{
    if (result < 0)
        supervisor_broke(sv);
    else if (result == 1)
        steal(sv, slot);
}

/*
 * Order decides who is first, not time.  An image of a later batch that is still being worked on
 * makes room, and that batch is done again; one of an earlier batch may yet be held, and then makes
 * room itself: the question waits until that batch has ended.
 */
static void try_question(struct supervisor *sv, struct slot *slot)
{
    struct question *question = &slot->question;
    struct ledger_item item = {.id = question->item,
                               .batch = slot->batch.id,
                               .header_digest = question->header_digest,
                               .pixel_length = question->pixel_length};
    struct holder holder = {0};
    struct slot *later;
    int result = ledger_instance(sv->ledger, question->uid, &item, note_holder, &holder, sv->err);

    question->waits = slot->asks && result == 1 && other_slot(sv, slot, holder.batch, -1);
    if (question->waits)
        goto out;
    later = result == 1 ? other_slot(sv, slot, holder.batch, 1) : NULL;
    if (later) {
        steal(sv, later);
        result = ledger_instance_take(sv->ledger, question->uid, &item, sv->err);
    }
    if (!slot->asks) {
        told_of_instance(sv, slot, result);
        goto out;
    }
    if (result < 0)
        supervisor_broke(sv);
    begin_answer(slot, result);
    if (result == 1) {
        wire_put_str(&slot->wire, holder.path);
        wire_put_str(&slot->wire, holder.digest);
        wire_put_u64(&slot->wire, holder.pixel_length);
        wire_put_u64(&slot->wire, holder.dev);
        wire_put_u64(&slot->wire, holder.ino);
        wire_put_u64(&slot->wire, holder.size);
        wire_put_i64(&slot->wire, holder.mtime_ns);
    }
    send_answer(slot);
out:
    free(holder.path);
}

static void instance(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    struct question *question = &slot->question;
    const char *item = wire_str(msg), *uid = wire_str(msg), *digest = wire_str(msg);

    question->pixel_length = wire_u64(msg);
    if (msg->bad || strlen(item) >= sizeof(question->item) ||
        strlen(uid) >= sizeof(question->uid) || strlen(digest) >= sizeof(question->header_digest)) {
        if (slot->asks)
            answer_result(slot, -1);
        else
            steal(sv, slot);
        return;
    }
    if (slot->stolen && !slot->asks)
        return;
    memcpy(question->item, item, strlen(item) + 1);
    memcpy(question->uid, uid, strlen(uid) + 1);
    memcpy(question->header_digest, digest, strlen(digest) + 1);
    try_question(sv, slot);
}

/* ---- the end of a batch ---- */

/* What follows when a batch has ended in `state`. */
static void has_closed(struct supervisor *sv, const char *batch, int state)
{
    struct ledger_batch closed;
    struct run_event event = {.type = RUN_BATCH, .batch = &closed};

    supervisor_commit(sv);
    if (sv->fatal || ledger_batch_get(sv->ledger, batch, &closed, sv->err))
        return;
    sv->batches++;
    sv->errors += state == BATCH_ERROR;
    done_carry_out(sv, batch);
    if (held_clean(sv->ledger, sv->options->plan->state, batch, sv->err))
        supervisor_broke(sv);
    supervisor_event(sv, &event);
    ledger_batch_fini(&closed);
}

void answer_close_batch(struct supervisor *sv, const char *batch, bool stopped)
{
    int state;

    if (ledger_batch_close(sv->ledger, batch, stopped, &state, sv->err))
        supervisor_broke(sv);
    else
        has_closed(sv, batch, state);
}

void answer_settle_batch(struct supervisor *sv, const char *batch)
{
    int state, result = ledger_batch_settle(sv->ledger, batch, &state, sv->err);

    if (result < 0)
        supervisor_broke(sv);
    else if (!result && state == BATCH_QUEUE)
        sv->queue_empty = false; /* one of its images was released meanwhile */
    else if (!result)
        has_closed(sv, batch, state);
}

static void forget_batch(struct slot *slot)
{
    ledger_batch_fini(&slot->batch);
    slot->has_batch = false;
    slot->stolen = false;
    slot->state = SLOT_IDLE;
}

/* Some stages have something to settle later.  With an image that waits for another attempt all of
 * it is done again: what is settled then is of that attempt. */
static void finished_for_now(struct supervisor *sv, struct slot *slot)
{
    int64_t left = 0;

    if (ledger_items_after(sv->ledger, slot->batch.id, "", 1, count_item, &left, sv->err)) {
        supervisor_broke(sv);
    } else if (left) {
        pool_release(sv, slot);
    } else if (ledger_batch_processed(sv->ledger, slot->batch.id, sv->err)) {
        supervisor_broke(sv);
    } else {
        answer_settle_batch(sv, slot->batch.id); /* it may have been told of already */
        forget_batch(slot);
        later_waits(sv);
    }
}

/* Note who said LATER; *ret_later: somebody did. */
static int take_later(struct supervisor *sv, struct slot *slot, struct wire_msg *msg,
                      bool *ret_later)
{
    uint64_t n = wire_u64(msg);

    *ret_later = n > 0;
    for (uint64_t i = 0; i < n && !msg->bad; i++)
        if (ledger_later(sv->ledger, slot->batch.id, wire_str(msg), sv->err))
            return -1;
    return msg->bad ? err_set(sv->err, ERR_BATCH, "a worker sent a message that is unknown here")
                    : 0;
}

/* It is through as far as it goes now: what passed is stored, or rests. */
static void finished_whole(struct supervisor *sv, struct slot *slot)
{
    const struct plan_stage *hold = rest_ahead(sv, slot);
    int state = sv->options->plan->dry ? ITEM_CHECKED : ITEM_STORED;
    struct ledger_batch now;
    uint64_t begins = 0;
    int64_t left = 0;

    if ((!hold && ledger_items_settle(sv->ledger, slot->batch.id, state, sv->err)) ||
        (hold && ledger_items_rest(sv->ledger, slot->batch.id, hold->id, sv->err)) ||
        ledger_items_after(sv->ledger, slot->batch.id, "", 1, count_item, &left, sv->err) ||
        ledger_resting(sv->ledger, slot->batch.id, "", &begins, sv->err) ||
        ledger_batch_get(sv->ledger, slot->batch.id, &now, sv->err)) {
        supervisor_broke(sv);
        return;
    }
    if (!now.counts.waiting)
        answer_close_batch(sv, slot->batch.id, false);
    else if (left || begins)
        pool_release(sv, slot);
    else
        rest_batch(sv, slot);
    ledger_batch_fini(&now);
}

static void finished(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    bool later;

    away_is_over(sv, slot);
    if (take_later(sv, slot, msg, &later))
        supervisor_broke(sv);
    else if (later)
        finished_for_now(sv, slot);
    else
        finished_whole(sv, slot);
    if (sv->fatal)
        return; /* no answer: what is not in the ledger has not happened */
    room_was_enough(sv);
    supervisor_commit(sv);
    if (sv->fatal)
        return;
    if (slot->has_batch)
        forget_batch(slot);
    slot->state = SLOT_IDLE;
    answer_result(slot, 0);
}

static void stopped(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *code = wire_str(msg), *text = wire_str(msg);
    const char *said = *text ? text : "The stage did not say why.";
    struct log_who who = {stage, slot->batch.id, NULL};

    away_is_over(sv, slot);
    /* A place ends the run, whose last word it is: it is not said twice. */
    if (!run_is_place(code))
        log_event(LOG_ERROR, &who, code, "%s", said);
    if (ledger_message(sv->ledger, slot->batch.id, "", LOG_ERROR, stage, code, said, sv->err)) {
        supervisor_broke(sv);
        return;
    }
    if (run_is_room(code)) {
        pool_release(sv, slot);
        room_was_missing(sv, stage);
    } else if (run_is_place(code)) {
        pool_release(sv, slot);
        supervisor_fatal(sv, ERR_PLACE, "stage \"%s\": %s", stage, said);
    } else if (pool_unpass(sv, slot) || ledger_items_fail(sv->ledger, slot->batch.id,
                                                          "batch.stopped", stage, said, sv->err)) {
        supervisor_broke(sv);
        return;
    } else {
        answer_close_batch(sv, slot->batch.id, true);
        forget_batch(slot);
    }
    supervisor_commit(sv);
    slot->state = SLOT_IDLE;
    answer_result(slot, 0);
}

/* retry_for has passed: the batch is in ERROR, and the run ends, since others would wait as long.
 */
static void timed_out(struct supervisor *sv, struct slot *slot, const char *stage, const char *code,
                      const char *text)
{
    const char *said = *text ? text : code;

    if (ledger_message(sv->ledger, slot->batch.id, "", LOG_ERROR, stage, code, said, sv->err) ||
        pool_unpass(sv, slot) ||
        ledger_items_fail(sv->ledger, slot->batch.id, "batch.retry", stage,
                          "The stage asked to try again for longer than retry_for.", sv->err)) {
        supervisor_broke(sv);
        return;
    }
    answer_close_batch(sv, slot->batch.id, true);
    forget_batch(slot);
    supervisor_fatal(sv, ERR_AWAY, "stage \"%s\" asked to try again for longer than retry_for: %s",
                     stage, said);
}

static void gave_up(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *code = wire_str(msg), *text = wire_str(msg);
    bool is_over = wire_u64(msg) != 0, is_away = wire_u64(msg) != 0;
    struct sendit_why why = {.retry_after_s = (uint32_t)wire_u64(msg)};

    snprintf(why.code, sizeof(why.code), "%s", code);
    snprintf(why.text, sizeof(why.text), "%s", *text ? text : code);
    if (is_away && ledger_message(sv->ledger, slot->batch.id, "", LOG_WARN, stage, why.code,
                                  why.text, sv->err))
        supervisor_broke(sv);
    if (is_over || (is_away && !away_may_wait(sv, slot, &why, stage)))
        timed_out(sv, slot, stage, code, text);
    else
        pool_release(sv, slot);
    supervisor_commit(sv);
    slot->stolen = false;
    slot->state = SLOT_IDLE;
    answer_result(slot, 0);
}

/* Is a batch before this one still to be done? */
static bool has_earlier(const struct supervisor *sv, const struct slot *slot)
{
    for (const struct slot *other = sv->slots; other; other = other->next)
        if (other != slot && other->has_batch && strcmp(other->batch.key, slot->batch.key) < 0)
            return true;
    for (size_t i = 0; i < sv->n_again; i++)
        if (strcmp(sv->again[i], slot->batch.key) < 0)
            return true;
    return false;
}

/* All that the worker said becomes durable before a stage finishes what it began. */
static void let_finish(struct supervisor *sv, struct slot *slot, bool go)
{
    supervisor_commit(sv);
    slot->state = SLOT_BUSY;
    answer_result(slot, go && !sv->fatal);
}

void answer_parked(struct supervisor *sv)
{
    for (struct slot *slot = sv->slots; slot; slot = slot->next) {
        if (slot->state != SLOT_PARKED)
            continue;
        if (slot->stolen || sv->fatal)
            let_finish(sv, slot, false);
        else if (!has_earlier(sv, slot))
            let_finish(sv, slot, true);
        else if (sv->signal)
            let_finish(sv, slot, false);
    }
}

/* ---- what stages keep ---- */

static void fact(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *item = wire_str(msg), *key = wire_str(msg), *value = wire_str(msg);

    if (!msg->bad && ledger_fact_put(sv->ledger, slot->batch.id, item, key, value, sv->err))
        supervisor_broke(sv);
}

static void store_get(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *key = wire_str(msg);
    uint64_t revision = 0;
    void *value = NULL;
    size_t length = 0;
    int64_t result = service_result(
        sv, ledger_store_get(sv->ledger, stage, key, &value, &length, &revision, sv->err),
        SENDIT_EABSENT);

    begin_answer(slot, result);
    if (result == SENDIT_OK) {
        wire_put_u64(&slot->wire, revision);
        wire_put_bytes(&slot->wire, value, length);
    }
    send_answer(slot);
    free(value);
}

static void store_put(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *key = wire_str(msg);
    uint64_t expected = wire_u64(msg);
    bool present = wire_u64(msg) != 0;
    size_t length;
    const void *value = wire_bytes(msg, &length);
    int64_t result =
        msg->bad ? SENDIT_EINVAL
                 : service_result(sv,
                                  ledger_store_put(sv->ledger, stage, key, present ? value : NULL,
                                                   length, expected, sv->err),
                                  SENDIT_ECONFLICT);

    supervisor_commit(sv);
    answer_result(slot, sv->fatal ? SENDIT_EIO : result);
}

static void store_next(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *key = wire_str(msg);
    char *next = NULL;
    int64_t result = service_result(sv, ledger_store_next(sv->ledger, stage, key, &next, sv->err),
                                    SENDIT_EABSENT);

    begin_answer(slot, result);
    if (result == SENDIT_OK)
        wire_put_str(&slot->wire, next);
    send_answer(slot);
    free(next);
}

static void give_locks(struct supervisor *sv)
{
    for (struct slot *slot = sv->slots; slot; slot = slot->next) {
        bool taken = false;

        if (!slot->waits_for[0])
            continue;
        for (const struct slot *other = sv->slots; other; other = other->next)
            taken |= other != slot && !strcmp(other->lock, slot->waits_for);
        if (taken)
            continue;
        memcpy(slot->lock, slot->waits_for, sizeof(slot->lock));
        slot->waits_for[0] = '\0';
        /* it waited for another: no stage hung */
        atomic_store(&slot->page->since_ms, supervisor_boottime());
        answer_result(slot, SENDIT_OK);
    }
}

static void store_lock(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *key = wire_str(msg);

    if (slot->lock[0]) {
        answer_result(slot, SENDIT_EINVAL);
        return;
    }
    snprintf(slot->waits_for, sizeof(slot->waits_for), "%s\n%s", stage, key);
    give_locks(sv);
}

static void audit(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *event = wire_str(msg), *json = wire_str(msg);
    int64_t result =
        service_result(sv, ledger_audit(sv->ledger, stage, event, json, sv->err), SENDIT_EIO);

    supervisor_commit(sv);
    answer_result(slot, sv->fatal ? SENDIT_EIO : result);
}

static void crosswalk_get(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *domain = wire_str(msg), *original = wire_str(msg);
    char *pseudonym = NULL;
    int64_t since = 0, result;

    result = service_result(
        sv, ledger_crosswalk_get(sv->ledger, domain, original, &pseudonym, &since, sv->err),
        SENDIT_EABSENT);
    begin_answer(slot, result);
    if (result == SENDIT_OK) {
        wire_put_i64(&slot->wire, since);
        wire_put_str(&slot->wire, pseudonym);
    }
    send_answer(slot);
    free(pseudonym);
}

/* Durable with the SYNC of its batch at the latest: before anything is handed out by finish(). */
static void crosswalk_put(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *domain = wire_str(msg), *original = wire_str(msg), *proposed = wire_str(msg);
    char *pseudonym = NULL;
    int64_t result = service_result(
        sv, ledger_crosswalk_put(sv->ledger, domain, original, proposed, &pseudonym, sv->err),
        SENDIT_ECONFLICT);

    begin_answer(slot, result);
    if (result == SENDIT_OK)
        wire_put_str(&slot->wire, pseudonym);
    send_answer(slot);
    free(pseudonym);
}

/* Made from the key and the original alone: what stands there already is the same. */
static void crosswalk_note(struct supervisor *sv, struct wire_msg *msg)
{
    const char *domain = wire_str(msg), *original = wire_str(msg), *pseudonym = wire_str(msg);

    if (!msg->bad && ledger_crosswalk_note(sv->ledger, domain, original, pseudonym, sv->err))
        supervisor_broke(sv);
}

static void metric(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *stage = wire_str(msg), *name = wire_str(msg);
    int64_t delta = wire_i64(msg);

    if (!msg->bad && (slot->has_batch || slot->state == SLOT_SETTLING) &&
        ledger_metric(sv->ledger, slot->has_batch ? slot->batch.id : "", stage, name, delta,
                      sv->err))
        supervisor_broke(sv);
}

static void message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *item = wire_str(msg);
    int level = (int)wire_i64(msg);
    const char *stage = wire_str(msg), *event = wire_str(msg), *text = wire_str(msg);

    if (!msg->bad && slot->has_batch &&
        ledger_message(sv->ledger, slot->batch.id, item, level, stage, event, text, sv->err))
        supervisor_broke(sv);
}

/* ---- the feed ---- */

static void feed_add(struct supervisor *sv, struct wire_msg *msg)
{
    struct ledger_file file = {0};
    struct run_event event = {.type = RUN_LOOKING};
    const char *code;

    file.path = wire_str(msg);
    file.dev = wire_u64(msg);
    file.ino = wire_u64(msg);
    file.size = wire_u64(msg);
    file.mtime_ns = wire_i64(msg);
    code = wire_str(msg);
    file.ignored = *code ? code : NULL;
    file.failed = wire_u64(msg) != 0;
    if (!msg->bad && ledger_feed_add(sv->ledger, &file, sv->err))
        supervisor_broke(sv);
    event.n = ++sv->found;
    supervisor_event(sv, &event);
}

static void feed_done(struct supervisor *sv, struct wire_msg *msg)
{
    int how = (int)wire_i64(msg);
    const char *folder = wire_str(msg);

    if (ledger_feed_when_done(sv->ledger, how, *folder ? folder : NULL, sv->err))
        supervisor_broke(sv);
}

static void feed_close(struct supervisor *sv, struct slot *slot)
{
    char batch[SENDIT_ID_SIZE];
    int result = ledger_feed_close(sv->ledger, batch, sv->err);

    if (result < 0)
        supervisor_broke(sv);
    else
        supervisor_commit(sv);
    sv->known += result == 1;
    answer_result(slot, sv->fatal ? SENDIT_EIO : SENDIT_OK);
}

static void fed(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    int64_t verdict = wire_i64(msg);
    const char *stage = wire_str(msg), *code = wire_str(msg), *text = wire_str(msg);

    sv->fed = true;
    if (verdict == SENDIT_FAIL)
        supervisor_fatal(sv, run_is_place(code) ? ERR_PLACE : ERR_BATCH, "stage \"%s\": %s", stage,
                         *text ? text : "the source failed and did not say why");
    else if (verdict == SENDIT_RETRY && !sv->signal)
        supervisor_fatal(sv, ERR_AWAY, "stage \"%s\": %s", stage,
                         *text ? text : "the origin is away");
    slot->state = SLOT_CLOSING;
    supervisor_commit(sv);
    answer_result(slot, 0);
}

static void feed_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    switch (msg->type) {
    case WIRE_FEED_OPEN:
        if (ledger_feed_open(sv->ledger, wire_str(msg), sv->err))
            supervisor_broke(sv);
        break;
    case WIRE_FEED_ADD:
        feed_add(sv, msg);
        break;
    case WIRE_FEED_DONE:
        feed_done(sv, msg);
        break;
    case WIRE_FEED_CLOSE:
        feed_close(sv, slot);
        break;
    case WIRE_FEED_FORGET:
        ledger_feed_forget(sv->ledger);
        break;
    default:
        fed(sv, slot, msg);
        break;
    }
}

void answer_waiting(struct supervisor *sv)
{
    give_locks(sv);
    for (struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->question.waits)
            try_question(sv, slot);
}

/* ---- one message ---- */

static void batch_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    switch (msg->type) {
    case WIRE_ITEMS:
        give_items(sv, slot);
        break;
    case WIRE_INSTANCE:
        instance(sv, slot, msg);
        break;
    case WIRE_PASSED:
        passed(sv, slot, msg);
        break;
    case WIRE_DECIDED:
        decided(sv, slot, msg);
        break;
    case WIRE_CHANGED:
        changed(sv, msg);
        break;
    case WIRE_LEAVING:
        slot->leaving = true;
        break;
    case WIRE_SYNC:
        slot->state = SLOT_PARKED;
        break;
    case WIRE_FINISHING:
        slot->finishing |= UINT64_C(1) << (wire_u64(msg) & 63);
        break;
    case WIRE_FINISHED:
        finished(sv, slot, msg);
        break;
    case WIRE_STOPPED:
        stopped(sv, slot, msg);
        break;
    case WIRE_GAVE_UP:
        gave_up(sv, slot, msg);
        break;
    case WIRE_FACT:
        fact(sv, slot, msg);
        break;
    default: /* no worker of ours says that: what it says is not believed */
        supervisor_fatal(sv, ERR_BATCH, "a worker sent a message that is unknown here");
        break;
    }
}

/* Whoever compares changes nothing, whatever its worker may say.  Was it a try to? */
static bool deny_change(struct slot *slot, enum wire_type type)
{
    bool asks = type == WIRE_STORE_PUT || type == WIRE_AUDIT || type == WIRE_WALK_PUT;

    if (!slot->compares)
        return false;
    if (asks)
        answer_result(slot, SENDIT_EDENIED);
    return asks || type == WIRE_WALK_NOTE || type == WIRE_METRIC || type == WIRE_MESSAGE;
}

static void service_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    if (deny_change(slot, msg->type))
        return;
    switch (msg->type) {
    case WIRE_STORE_GET:
        store_get(sv, slot, msg);
        break;
    case WIRE_STORE_PUT:
        store_put(sv, slot, msg);
        break;
    case WIRE_STORE_NEXT:
        store_next(sv, slot, msg);
        break;
    case WIRE_STORE_LOCK:
        store_lock(sv, slot, msg);
        break;
    case WIRE_STORE_UNLOCK:
        slot->lock[0] = '\0';
        give_locks(sv);
        break;
    case WIRE_AUDIT:
        audit(sv, slot, msg);
        break;
    case WIRE_WALK_GET:
        crosswalk_get(sv, slot, msg);
        break;
    case WIRE_WALK_PUT:
        crosswalk_put(sv, slot, msg);
        break;
    case WIRE_WALK_NOTE:
        crosswalk_note(sv, msg);
        break;
    case WIRE_METRIC:
        metric(sv, slot, msg);
        break;
    default:
        message(sv, slot, msg);
        break;
    }
}

void answer_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    slot->heard = supervisor_boottime();
    if (msg->type == WIRE_READY) {
        slot->state = slot->source || slot->compares ? SLOT_BUSY : SLOT_IDLE;
        sv->early_deaths = 0;
    } else if (msg->type == WIRE_BROKEN) {
        int code = (int)wire_i64(msg);

        supervisor_fatal(sv, code, "%s", wire_str(msg));
        slot->state = SLOT_CLOSING;
    } else if (msg->type >= WIRE_STORE_GET && msg->type <= WIRE_MESSAGE) {
        service_message(sv, slot, msg);
    } else if (slot->source && msg->type >= WIRE_FEED_OPEN && msg->type <= WIRE_FED) {
        feed_message(sv, slot, msg);
    } else if (slot->compares) {
        reconcile_message(sv, slot, msg);
    } else if (slot->state == SLOT_SETTLING) {
        later_message(sv, slot, msg);
    } else if (slot->has_batch) {
        batch_message(sv, slot, msg);
    } else {
        supervisor_fatal(sv, ERR_BATCH, "a worker sent a message that does not belong here");
    }
}
