/* SPDX-License-Identifier: Apache-2.0 */
/*
 * later.c - batches in DONEPROCESSING: whose settle() is called when, and what it tells.
 *
 * A stage is asked while batches wait for it, in one worker at a time: every few seconds in a
 * worker that has nothing else in hand and, when nothing else is left to do, for the last time. The
 * ledger has who waits for whom; what a stage has in hand is in its own store.
 */
#include "run/supervisor.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static struct later *later_of(struct supervisor *sv, int64_t index)
{
    return &sv->later[index];
}

static const char *id_of(const struct supervisor *sv, int64_t index)
{
    return sv->options->plan->stages[index].id;
}

/* ---- who is waited for ---- */

/* The stage that can settle what waits for `id`; -1 if none can. */
static int64_t find_stage(const struct plan *plan, const char *id)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && plan->stages[i].plugin->settle &&
            !strcmp(plan->stages[i].id, id))
            return (int64_t)i;
    return -1;
}

static int note_wait(void *ctx, const char *stage, const char *batch, uint64_t n)
{
    struct supervisor *sv = ctx;
    int64_t index = find_stage(sv->options->plan, stage);

    (void)batch, (void)n;
    if (index >= 0 && !later_of(sv, index)->waited) /* what comes together is settled together */
        later_of(sv, index)->until = supervisor_clock() + SUPERVISOR_SETTLE_MS;
    if (index >= 0)
        later_of(sv, index)->waits = later_of(sv, index)->waited = true;
    return 0;
}

static void look(struct supervisor *sv)
{
    for (size_t i = 0; i < PLAN_MAX_STAGES; i++) {
        sv->later[i].waited = sv->later[i].waits;
        sv->later[i].waits = false;
    }
    if (ledger_waits(sv->ledger, note_wait, sv, sv->err))
        supervisor_broke(sv);
}

static int warn_of_wait(void *ctx, const char *stage, const char *batch, uint64_t n)
{
    const struct supervisor *sv = ctx;
    const struct log_who who = {stage, batch, NULL};

    if (find_stage(sv->options->plan, stage) < 0)
        log_event(LOG_WARN, &who, "settle.stage",
                  "%llu %s for stage \"%s\", which is not in the pipeline, not enabled, or settles "
                  "nothing: enable it as it was and run again; until then they stay "
                  "DONEPROCESSING.",
                  (unsigned long long)n, n == 1 ? "batch waits" : "batches wait", stage);
    return 0;
}

void later_load(struct supervisor *sv)
{
    if (ledger_waits(sv->ledger, warn_of_wait, sv, sv->err) ||
        ledger_waiting(sv->ledger, false, &sv->left_later, sv->err))
        supervisor_broke(sv);
    else
        look(sv);
}

void later_waits(struct supervisor *sv)
{
    look(sv);
}

/* ---- giving it to a worker ---- */

static bool is_asked(const struct supervisor *sv, int64_t index)
{
    for (const struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->state == SLOT_SETTLING && slot->settles == index)
            return true;
    return false;
}

/* After a RETRY its time is waited for, the last time, too. */
static bool is_due(struct supervisor *sv, int64_t index, bool last)
{
    const struct later *later = later_of(sv, index);

    return later->waits && !is_asked(sv, index) &&
           ((last && !later->since) || supervisor_clock() >= later->until);
}

static void give(struct slot *slot, int64_t index, bool last)
{
    slot->state = SLOT_SETTLING;
    slot->settles = index;
    slot->last_call = last;
    slot->heard = supervisor_boottime();
    wire_begin(&slot->wire, WIRE_SETTLE);
    wire_put_i64(&slot->wire, index);
    wire_put_u64(&slot->wire, last);
    if (wire_send(&slot->wire))
        log_event(LOG_DEBUG, NULL, "worker.lost", "A worker ended before it could settle.");
}

static struct slot *find_idle(struct supervisor *sv)
{
    for (struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->state == SLOT_IDLE && !slot->leaving && !slot->source)
            return slot;
    return NULL;
}

void later_step(struct supervisor *sv, bool last)
{
    struct slot *slot;

    for (size_t i = 0; i < sv->options->plan->n_stages && !sv->fatal && !sv->signal; i++)
        if (is_due(sv, (int64_t)i, last) && (slot = find_idle(sv)))
            give(slot, (int64_t)i, last);
}

bool later_is_left(const struct supervisor *sv)
{
    for (const struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->state == SLOT_SETTLING)
            return true;
    for (size_t i = 0; i < PLAN_MAX_STAGES && !sv->fatal && !sv->signal; i++)
        if (sv->later[i].waits)
            return true;
    return false;
}

/* ---- what it tells ---- */

/* Is it still on its way through the stages?  *ret_counts: what is told of it is of this attempt.
 */
static bool is_at_work(const struct supervisor *sv, const char *batch, int64_t index,
                       bool *ret_counts)
{
    for (const struct slot *slot = sv->slots; slot; slot = slot->next) {
        if (!slot->has_batch || strcmp(slot->batch.id, batch) != 0)
            continue;
        *ret_counts = slot->finishing >> index & 1;
        return true;
    }
    return false;
}

static void settled(struct supervisor *sv, int64_t index, const char *batch, bool pass,
                    const char *code, const char *text)
{
    const char *stage = id_of(sv, index);
    const char *said = *text ? text : "The stage did not say why.";
    struct log_who who = {stage, batch, NULL};
    bool counts = false, at_work = is_at_work(sv, batch, index, &counts);
    int result;

    if (at_work && !counts)
        return;
    result = ledger_settled(sv->ledger, batch, stage, pass, code, said, sv->err);
    if (!result && !pass) {
        log_event(LOG_ERROR, &who, code, "%s", said);
        result = ledger_message(sv->ledger, batch, "", LOG_ERROR, stage, code, said, sv->err);
    }
    if (!result)
        later_of(sv, index)->since = 0; /* retry_for is the time in which nothing comes of it */
    if (result < 0)
        supervisor_broke(sv);
    else if (!result && !at_work)
        answer_settle_batch(sv, batch);
}

/* It passed when it was asked for the last time: what it forgot it will not remember. */
static void fail_forgotten(struct supervisor *sv, int64_t index)
{
    char batch[SENDIT_ID_SIZE];
    int have = 0;

    while (!sv->fatal &&
           !(have = ledger_waits_next(sv->ledger, id_of(sv, index), "", batch, sv->err)))
        settled(sv, index, batch, false, "host.settle",
                "The stage said that all is settled and told nothing of this batch.");
    if (have < 0)
        supervisor_broke(sv);
}

static void passed(struct supervisor *sv, const struct slot *slot)
{
    struct later *later = later_of(sv, slot->settles);

    if (later->said)
        supervisor_event(sv, &(const struct run_event){.type = RUN_GOES_ON});
    *later =
        (struct later){.waits = later->waits, .until = supervisor_clock() + SUPERVISOR_SETTLE_MS};
    if (slot->last_call && !sv->signal)
        fail_forgotten(sv, slot->settles);
}

static void say_that_it_waits(struct supervisor *sv, int64_t index, const struct sendit_why *why)
{
    const struct run_event event = {.type = RUN_WAITING, .text = why->text};
    const struct log_who who = {id_of(sv, index), NULL, NULL};

    supervisor_event(sv, &event);
    log_event(LOG_WARN, &who, "settle.away",
              "Batches wait until what the stage asks for answers again: %s", why->text);
}

static void asked_to_retry(struct supervisor *sv, const struct slot *slot,
                           const struct sendit_why *why)
{
    struct later *later = later_of(sv, slot->settles);
    int64_t now = supervisor_clock(), end;

    if (sv->signal) /* it was told to come to an end */
        return;
    if (!later->since)
        later->since = now;
    end = later->since + sv->options->plan->run[PLAN_RETRY_FOR].number;
    if (slot->last_call && now >= end) {
        supervisor_fatal(sv, ERR_AWAY,
                         "stage \"%s\" asked to try again for longer than retry_for: %s; what "
                         "waits for it is settled by the next run",
                         id_of(sv, slot->settles), why->text);
        return;
    }
    later->until = now + (why->retry_after_s ? (int64_t)why->retry_after_s * 1000
                                             : away_pause(++later->tries));
    if (later->until > end && end > now)
        later->until = end; /* one more try then, which ends it */
    if (!later->said)
        say_that_it_waits(sv, slot->settles, why);
    later->said = true;
}

static void ended(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    struct sendit_why why = {0};
    sendit_verdict verdict;

    (void)wire_i64(msg); /* the stage: we know whom we asked */
    verdict = (sendit_verdict)wire_i64(msg);
    snprintf(why.code, sizeof(why.code), "%s", wire_str(msg));
    snprintf(why.text, sizeof(why.text), "%s", wire_str(msg));
    why.retry_after_s = (uint32_t)wire_u64(msg);
    if (!why.text[0])
        snprintf(why.text, sizeof(why.text), "%s", "it did not say why");
    if (verdict == SENDIT_PASS)
        passed(sv, slot);
    else if (verdict == SENDIT_RETRY)
        asked_to_retry(sv, slot, &why);
    else
        supervisor_fatal(sv, run_is_place(why.code) ? ERR_PLACE : ERR_BATCH,
                         "stage \"%s\": %s (%s); what waits for it stays DONEPROCESSING, and the "
                         "next run tries again",
                         id_of(sv, slot->settles), why.text, why.code);
    look(sv);
    supervisor_commit(sv);
    slot->state = SLOT_IDLE;
    answer_result(slot, 0);
}

void later_message(struct supervisor *sv, struct slot *slot, struct wire_msg *msg)
{
    const char *batch, *code, *text;
    int64_t verdict;

    switch (msg->type) {
    case WIRE_SETTLED:
        batch = wire_str(msg);
        verdict = wire_i64(msg);
        code = wire_str(msg);
        text = wire_str(msg);
        if (!msg->bad)
            settled(sv, slot->settles, batch, verdict == SENDIT_PASS, code, text);
        break;
    case WIRE_SETTLE_END:
        ended(sv, slot, msg);
        break;
    case WIRE_LEAVING:
        slot->leaving = true;
        break;
    default:
        supervisor_fatal(sv, ERR_BATCH, "a worker sent a message that is unknown here");
        break;
    }
}

void later_died(struct supervisor *sv, const struct slot *slot, bool outside, const char *how)
{
    struct later *later = later_of(sv, slot->settles);
    unsigned *times = outside ? &later->kills : &later->crashes;

    if (++*times >= (outside ? SUPERVISOR_MAX_KILLS : 2u))
        supervisor_fatal(sv, ERR_BATCH,
                         "stage \"%s\" %s in settle(), %u times in a row; what waits for it stays "
                         "DONEPROCESSING, and the next run tries again",
                         id_of(sv, slot->settles), outside ? "was killed from outside" : how,
                         *times);
}
