/* SPDX-License-Identifier: Apache-2.0 */
/* rest.c - batches that come to rest at a hold entry, and those that go on from there. */
#include "run/supervisor.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "run/held.h"

const struct plan_stage *rest_ahead(const struct supervisor *sv, const struct slot *slot)
{
    const struct plan *plan = sv->options->plan;

    return plan_next_hold(plan, *slot->batch.rests ? plan_hold(plan, slot->batch.rests) : NULL);
}

void rest_tell(struct supervisor *sv, const char *batch)
{
    struct ledger_batch held;
    struct run_event event = {.type = RUN_BATCH, .batch = &held};

    supervisor_commit(sv);
    if (sv->fatal)
        return;
    if (held_clean(sv->ledger, sv->options->plan->state, batch, sv->err) ||
        ledger_batch_get(sv->ledger, batch, &held, sv->err)) {
        supervisor_broke(sv);
        return;
    }
    sv->batches++;
    supervisor_event(sv, &event);
    ledger_batch_fini(&held);
}

/* Where the batch rests: at the first entry at which one of its images does. */
static int find_rest(struct supervisor *sv, const char *batch, const char **ret_hold)
{
    const struct plan *plan = sv->options->plan;

    for (size_t i = 0; i < plan->n_stages; i++) {
        uint64_t n = 0;

        if (!plan->stages[i].hold)
            continue;
        if (ledger_resting(sv->ledger, batch, plan->stages[i].id, &n, sv->err))
            return -1;
        if (n) {
            *ret_hold = plan->stages[i].id;
            return 0;
        }
    }
    return 0;
}

void rest_batch(struct supervisor *sv, struct slot *slot)
{
    const char *id = NULL, *batch = slot->batch.id;

    if (find_rest(sv, batch, &id))
        supervisor_broke(sv);
    else if (!id) /* at entries that are not in the pipeline any more */
        pool_release(sv, slot);
    else if (ledger_batch_rest(sv->ledger, batch, id, sv->err))
        supervisor_broke(sv);
    else
        rest_tell(sv, batch);
}

bool rest_is_over(struct supervisor *sv, struct slot *slot)
{
    const char *rests = slot->batch.rests;
    struct log_who who = {"core", slot->batch.id, NULL};
    char said[300];

    if (!*rests || plan_hold(sv->options->plan, rests))
        return true;
    snprintf(said, sizeof(said),
             "It rests at the hold entry \"%.63s\", which the pipeline does not have any more: put "
             "the entry back and resume it, or take it again from the originals with sendit retry.",
             rests);
    log_event(LOG_ERROR, &who, "hold.gone", "%s", said);
    if (ledger_message(sv->ledger, slot->batch.id, "", LOG_ERROR, "core", "hold.gone", said,
                       sv->err) ||
        ledger_batch_rest(sv->ledger, slot->batch.id, rests, sv->err))
        supervisor_broke(sv);
    else
        rest_tell(sv, slot->batch.id);
    sv->errors++;
    return false;
}
