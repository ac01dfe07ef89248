/* SPDX-License-Identifier: Apache-2.0 */
/* plan_hold.c - the core's own entry, "use": "hold", at which images rest until resumed. */
#include "plan/builder.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* It has no file: what it does is in run/.  To all who look at stages it is one that only looks. */

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    (void)host, (void)why;
    *ret_self = NULL;
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    (void)self;
}

static const struct sendit_plugin hold_plugin = {
    .magic = SENDIT_MAGIC,
    .abi = SENDIT_ABI,
    .size = sizeof(struct sendit_plugin),
    .option_size = sizeof(struct sendit_option),
    .name = PLAN_HOLD,
    .version = SENDIT_VERSION,
    .summary = "Images rest here, in the state folder, until sendit resume.",
    .open = start,
    .close = stop,
};
static char hold_path[] = "";
const struct stage_file plan_hold_file = {
    .plugin = &hold_plugin, .path = hold_path, .digest = "", .ships = true};

const struct plan_stage *plan_hold(const struct plan *plan, const char *id)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].hold && !strcmp(plan->stages[i].id, id))
            return &plan->stages[i];
    return NULL;
}

const struct plan_stage *plan_next_hold(const struct plan *plan, const struct plan_stage *after)
{
    for (const struct plan_stage *at = after ? after + 1 : plan->stages;
         at < plan->stages + plan->n_stages; at++)
        if (at->hold && at->enabled)
            return at;
    return NULL;
}

__attribute__((format(printf, 3, 4))) static int
refuse(struct builder *b, const struct plan_stage *stage, const char *text, ...)
{
    char sentence[400];
    va_list ap;

    va_start(ap, text);
    vsnprintf(sentence, sizeof(sentence), text, ap);
    va_end(ap);
    return err_set(b->err, ERR_REFUSED, "%s:%u:%u: stage \"%s\" %s", b->plan->path, stage->line,
                   stage->col, stage->id, sentence);
}

/* Is there a stage that does something behind it? */
static bool is_followed(const struct plan *plan, const struct plan_stage *hold)
{
    for (const struct plan_stage *at = hold + 1; at < plan->stages + plan->n_stages; at++)
        if (at->enabled && !at->hold)
            return true;
    return false;
}

int builder_holds(struct builder *b)
{
    const struct plan *plan = b->plan;
    const struct plan_stage *first = plan_next_hold(plan, NULL), *next;

    for (next = first; next; next = plan_next_hold(plan, next)) {
        if (plan->dry)
            return refuse(b, next,
                          "lets images rest until they go on, but \"dry\" is true and none does; "
                          "disable it or drop \"dry\"");
        if (!is_followed(plan, next))
            return refuse(b, next,
                          "has no enabled stage behind it that could go on; move it before the one "
                          "that is to wait, or disable it");
    }
    for (size_t i = 0; first && i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        if (!stage->enabled || stage->hold)
            continue;
        next = plan_next_hold(plan, stage);
        if (stage->plugin->settle && next)
            return refuse(b, stage,
                          "settles batches when they are through, and behind it they rest; move it "
                          "behind \"%s\"",
                          next->id);
        if (stage > first && (stage->plugin->flags & SENDIT_ORIGINALS))
            return refuse(b, stage,
                          "sees identifying values from before any edit, which no image has any "
                          "more that rested; move it before \"%s\"",
                          first->id);
    }
    return 0;
}
