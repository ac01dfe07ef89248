/* SPDX-License-Identifier: Apache-2.0 */
/*
 * between.c - what a worker does while no batch is open: settle() and compare() of its stages.
 */
#include "run/worker.h"

#include <string.h>

static struct worker_stage *find_stage(struct worker *worker, int64_t index)
{
    for (size_t i = 0; i < worker->n_stages; i++)
        if (worker->stages[i].index == index)
            return &worker->stages[i];
    return NULL;
}

static int tell_end(struct worker *worker, enum wire_type type, int64_t index,
                    sendit_verdict verdict, const struct sendit_why *why)
{
    struct wire_msg answer;
    int64_t result;

    wire_begin(&worker->wire, type);
    wire_put_i64(&worker->wire, index);
    wire_put_i64(&worker->wire, verdict);
    wire_put_str(&worker->wire, why->code);
    wire_put_str(&worker->wire, why->text);
    wire_put_u64(&worker->wire, why->retry_after_s);
    return link_ask(&worker->wire, &answer, &result);
}

/* A callback without a batch is over: what it has in flight is cancelled. */
static sendit_verdict leave(struct worker *worker, struct worker_stage *stage,
                            sendit_verdict verdict, struct sendit_why *why)
{
    host_cancel(&stage->host);
    worker_leave(worker, stage);
    verdict = host_judge_settle(&stage->host, verdict, why);
    host_end_batch(&stage->host);
    return verdict;
}

static sendit_verdict settle(struct worker *worker, struct worker_stage *stage, bool last,
                             struct sendit_why *why)
{
    sendit_verdict verdict = worker_try_open(worker, stage, why);
    struct sendit_settle table;

    if (verdict != SENDIT_PASS)
        return verdict == SENDIT_RETRY ? SENDIT_RETRY : SENDIT_FAIL;
    worker_enter(worker, stage, PAGE_SETTLE);
    table = host_settle_table(&stage->host, last);
    verdict = stage->plan->plugin->settle(stage->self, &table, why);
    return leave(worker, stage, verdict, why);
}

int between_settle(struct worker *worker, struct wire_msg *msg)
{
    int64_t index = wire_i64(msg);
    bool last = wire_u64(msg) != 0;
    struct worker_stage *stage = find_stage(worker, index);
    struct sendit_why why = {0};
    sendit_verdict verdict;

    if (msg->bad || !stage || !stage->plan->plugin->settle)
        return -1;
    verdict = settle(worker, stage, last, &why);
    if (worker->is_full) {
        wire_begin(&worker->wire, WIRE_LEAVING);
        if (wire_send(&worker->wire))
            return -1;
    }
    return tell_end(worker, WIRE_SETTLE_END, index, verdict, &why);
}

static sendit_verdict compare(struct worker *worker, struct worker_stage *stage,
                              struct sendit_why *why)
{
    sendit_verdict verdict = worker_try_open(worker, stage, why);
    struct sendit_compare table;

    if (verdict != SENDIT_PASS)
        return verdict == SENDIT_RETRY ? SENDIT_RETRY : SENDIT_FAIL;
    worker_enter(worker, stage, PAGE_COMPARE);
    table = host_compare_table(&stage->host);
    verdict = stage->plan->plugin->compare(stage->self, &table, why);
    return leave(worker, stage, verdict, why);
}

int between_compare(struct worker *worker)
{
    const struct sendit_why none = {0};

    worker->env.comparing = true; /* in open(), too */
    for (size_t i = 0; i < worker->n_stages; i++) {
        struct worker_stage *stage = &worker->stages[i];
        struct sendit_why why = {0};
        sendit_verdict verdict;

        if (!stage->plan->plugin->compare || atomic_load(&worker->page->stop))
            continue;
        verdict = compare(worker, stage, &why);
        if (tell_end(worker, WIRE_COMPARED, stage->index, verdict, &why))
            return -1;
    }
    return tell_end(worker, WIRE_COMPARED, -1, SENDIT_PASS, &none);
}
