/* SPDX-License-Identifier: Apache-2.0 */
/*
 * away.c - a service that a stage needs does not answer: which batch may be begun meanwhile?
 *
 * None, before the time that the service named or that backoff with full jitter gives; then one
 * alone, the probe.  What it tells decides for all.  The ledger keeps it, so that `sendit status`
 * can say what is waited for, and a next run does not come back before its time.
 */
#include "run/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <jansson.h>

#include "base/log.h"

#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 60000
#define CORE "" /* no entry of pipeline.json has this id: the store's own */
#define KEY "away"

static int64_t wall_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what the ledger keeps ---- */

static void take_text(char *to, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    snprintf(to, size, "%s", text ? text : "");
}

int run_away(struct ledger *ledger, struct run_away *ret_away, struct err *err)
{
    uint64_t revision;
    size_t length = 0;
    void *value = NULL;
    int result = ledger_store_get(ledger, CORE, KEY, &value, &length, &revision, err);
    json_t *object;

    if (result)
        return result;
    object = json_loadb(value, length, 0, NULL);
    free(value);
    take_text(ret_away->stage, sizeof(ret_away->stage), object, "stage");
    take_text(ret_away->code, sizeof(ret_away->code), object, "code");
    take_text(ret_away->text, sizeof(ret_away->text), object, "text");
    ret_away->since_ms = json_integer_value(json_object_get(object, "since_ms"));
    ret_away->until_ms = json_integer_value(json_object_get(object, "until_ms"));
    json_decref(object);
    return 0;
}

/* NULL: it is back. */
static void keep(struct supervisor *sv, const struct run_away *away)
{
    uint64_t revision = 0;
    size_t length;
    void *old = NULL;
    int found = ledger_store_get(sv->ledger, CORE, KEY, &old, &length, &revision, sv->err);
    json_t *object =
        away ? json_pack("{s:s, s:s, s:s, s:I, s:I}", "stage", away->stage, "code", away->code,
                         "text", away->text, "since_ms", (json_int_t)away->since_ms, "until_ms",
                         (json_int_t)away->until_ms)
             : NULL;
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    free(old);
    if (found < 0)
        supervisor_broke(sv);
    else if (away && !text)
        supervisor_fatal(sv, ERR_PLACE, "no memory");
    else if ((away || !found) &&
             ledger_store_put(sv->ledger, CORE, KEY, text, text ? strlen(text) : 0,
                              found ? 0 : revision, sv->err))
        supervisor_broke(sv);
    json_decref(object);
    free(text);
}

/* ---- how long ---- */

int64_t away_pause(unsigned tries)
{
    int64_t bound = FIRST_PAUSE_MS;
    uint32_t random = 0;

    for (unsigned i = 1; i < tries && bound < LONGEST_PAUSE_MS; i++)
        bound *= 2;
    if (bound > LONGEST_PAUSE_MS)
        bound = LONGEST_PAUSE_MS;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return bound;
    return (int64_t)(random % (uint32_t)bound) + 1;
}

static bool probes(const struct supervisor *sv)
{
    for (const struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->has_batch && slot->probes)
            return true;
    return false;
}

static void set_until(struct supervisor *sv, int64_t until)
{
    struct away *away = &sv->away;
    int64_t end = away->since + sv->options->plan->run[PLAN_RETRY_FOR].number;

    away->until = until < end ? until : end; /* one more try then, which ends it */
    away->what.until_ms = wall_clock() + away->until - supervisor_clock();
}

static void say_that_it_waits(struct supervisor *sv)
{
    const struct run_away *what = &sv->away.what;
    const struct run_event event = {.type = RUN_WAITING, .text = what->text};
    const struct log_who who = {what->stage, NULL, NULL};

    supervisor_event(sv, &event);
    log_event(LOG_WARN, &who, "service.away",
              "No batch is begun until what it asks for answers again: %s", what->text);
}

/* ---- the way of it ---- */

void away_load(struct supervisor *sv)
{
    struct away *away = &sv->away;
    int result = run_away(sv->ledger, &away->what, sv->err);

    if (result < 0)
        supervisor_broke(sv);
    if (result)
        return;
    away->on = true;
    away->since = supervisor_clock();
    set_until(sv, away->since + away->what.until_ms - wall_clock());
    if (away->until > away->since)
        say_that_it_waits(sv);
}

bool away_lets_one_begin(const struct supervisor *sv)
{
    return !sv->away.on || (supervisor_clock() >= sv->away.until && !probes(sv));
}

bool away_may_wait(struct supervisor *sv, const struct slot *slot, const struct sendit_why *why,
                   const char *stage)
{
    struct away *away = &sv->away;
    int64_t now = supervisor_clock(), asked = now + (int64_t)why->retry_after_s * 1000;
    bool first = !away->on;

    if (first) {
        *away = (struct away){.on = true, .since = now, .until = now};
        away->what.since_ms = wall_clock();
    } else if (now - away->since >= sv->options->plan->run[PLAN_RETRY_FOR].number) {
        keep(sv, NULL);
        return false;
    }
    snprintf(away->what.stage, sizeof(away->what.stage), "%s", stage);
    snprintf(away->what.code, sizeof(away->what.code), "%s", why->code);
    snprintf(away->what.text, sizeof(away->what.text), "%s", why->text);
    if (first || slot->probes)
        set_until(sv, why->retry_after_s ? asked : now + away_pause(++away->tries));
    else if (why->retry_after_s && asked > away->until)
        set_until(sv, asked);
    keep(sv, &away->what);
    if (first)
        say_that_it_waits(sv);
    return true;
}

void away_item_passed(struct supervisor *sv, struct slot *slot)
{
    const struct plan *plan = sv->options->plan;

    if (!slot->probes)
        return;
    for (size_t i = 0; i < plan->n_stages; i++)
        if (!strcmp(plan->stages[i].id, sv->away.what.stage) && plan->stages[i].egress &&
            plan->stages[i].plugin->finish)
            return;
    away_is_over(sv, slot);
}

void away_is_over(struct supervisor *sv, struct slot *slot)
{
    const struct run_event event = {.type = RUN_GOES_ON};
    const struct log_who who = {sv->away.what.stage, NULL, NULL};

    if (!slot->probes)
        return;
    slot->probes = false;
    sv->away.on = false;
    keep(sv, NULL);
    supervisor_event(sv, &event);
    log_event(LOG_WARN, &who, "service.back", "It goes on: batches are begun again.");
}
