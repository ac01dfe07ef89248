/* SPDX-License-Identifier: Apache-2.0 */
#include "services/host.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "services/table.h"

#define MAX_SAID 1000 /* bytes of what a stage says at once */

static _Thread_local struct host *here; /* whose callback is under way on this thread */

bool table_may_use(const struct sendit_dataset *ds)
{
    return here && ds;
}

struct host *table_here(const struct sendit_dataset *ds)
{
    return ds ? here : NULL;
}

/* A table, and the flags of which a stage must declare one to have it (0: none). */
struct table {
    const char *id;
    uint32_t flags;
    const void *table;
    size_t size;
};
static const struct table tables[] = {
    {"sendit.config/1", 0, &host_config, sizeof(host_config)},
    {"sendit.dicom/1", SENDIT_READS | SENDIT_MUTATES, &host_dicom, sizeof(host_dicom)},
    {"sendit.pixels/1", SENDIT_PIXELS, &host_pixels, sizeof(host_pixels)},
    {"sendit.deid/1", SENDIT_READS | SENDIT_MUTATES, &host_deid, sizeof(host_deid)},
    {"sendit.ids/1", SENDIT_IDENTIFIERS, &host_ids, sizeof(host_ids)},
    {"sendit.originals/1", SENDIT_ORIGINALS, &host_originals, sizeof(host_originals)},
    {"sendit.files/1", SENDIT_READS | SENDIT_MUTATES, &host_files, sizeof(host_files)},
    {"sendit.spool/1", 0, &host_spool, sizeof(host_spool)},
    {"sendit.facts/1", 0, &host_facts, sizeof(host_facts)},
    {"sendit.store/1", 0, &host_store, sizeof(host_store)},
    {"sendit.secrets/1", SENDIT_SECRETS, &host_secrets, sizeof(host_secrets)},
    {"sendit.http/1", SENDIT_NETWORK, &host_http, sizeof(host_http)},
    {"sendit.metrics/1", 0, &host_metrics, sizeof(host_metrics)},
};

/* Ids in hand, for a line of the log: other threads must not look at them. */
static const char *in_hand(const struct host *host, const char *id)
{
    return atomic_load(&host->in_callback) && pthread_equal(host->thread, pthread_self()) ? id
                                                                                          : NULL;
}

static void say(const struct sendit_host *handle, int32_t level, const char *event,
                const char *text)
{
    struct host *host = table_host(handle);
    struct log_who who = {0};
    char said[MAX_SAID], slug[HOST_MAX_WORD + 1];

    if (level < SENDIT_DEBUG || level > SENDIT_ERROR)
        level = SENDIT_ERROR;
    if (!host || (level < SENDIT_WARN && level < (int32_t)log_threshold()) ||
        atomic_fetch_add(&host->said, 1) >= HOST_MAX_LINES)
        return;
    who.stage = handle->stage;
    who.image = in_hand(host, host->env->item);
    who.batch = in_hand(host, host->env->batch);
    snprintf(slug, sizeof(slug), "%s", event && *event ? event : "stage.said");
    snprintf(said, sizeof(said), "%s", text ? text : "");
    log_event((enum log_level)level, &who, slug, "%s", said);
    if (host->env->link && host->env->link->message && level >= SENDIT_WARN)
        host->env->link->message(host->env->link->ctx, who.image ? who.image : "", handle->stage,
                                 level, slug, said);
}

/* What was cut is counted, and room made for the next batch. */
static void say_cut(struct host *host)
{
    unsigned said = atomic_exchange(&host->said, 0);
    char text[100];

    if (said <= HOST_MAX_LINES)
        return;
    snprintf(text, sizeof(text), "%u more lines of this stage were cut.", said - HOST_MAX_LINES);
    say(&host->host, SENDIT_WARN, "log.cut", text);
    atomic_store(&host->said, 0);
}

static int canceled(const struct sendit_host *handle)
{
    const struct host *host = table_host(handle);
    const struct host_link *link = host ? host->env->link : NULL;

    return link && link->canceled ? link->canceled(link->ctx) : 0;
}

static int64_t now_ms(const struct sendit_host *handle)
{
    const struct host *host = table_host(handle);
    const struct host_link *link = host ? host->env->link : NULL;
    struct timespec now;

    if (link && link->now_ms)
        return link->now_ms(link->ctx);
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const void *service(const struct sendit_host *handle, const char *id, size_t size)
{
    const struct host *host = table_host(handle);
    uint32_t flags = host ? host->stage->plugin->flags : 0;

    for (size_t i = 0; host && id && i < sizeof(tables) / sizeof(tables[0]); i++) {
        const struct table *table = &tables[i];

        if (!strcmp(table->id, id) && size <= table->size &&
            (!table->flags || (flags & table->flags)))
            return table->table;
    }
    return NULL;
}

static sendit_result hold(const struct sendit_host *handle, const char *item_id,
                          sendit_verdict verdict, const char *code, const char *text)
{
    struct host *host = table_enter(handle);
    struct sendit_why why = {0};
    const struct host_link *link;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    link = host->env->link;
    if (!host->env->batch_open || !item_id || !map_get(&host->env->items, item_id) ||
        (verdict != SENDIT_QUARANTINE && verdict != SENDIT_RETRY))
        return table_misuse(host, "The stage called host->hold() with what it does not take", NULL);
    if (host->env->item && !strcmp(item_id, host->env->item))
        return table_misuse(host, "The stage held the item that it still has in hand", NULL);
    if (!link || !link->hold)
        return SENDIT_EIO;
    if (code && *code && strncmp(code, "host.", 5))
        snprintf(why.code, sizeof(why.code), "%s", code);
    else
        snprintf(why.code, sizeof(why.code), "%.22s.unknown", host->stage->plugin->name);
    snprintf(why.text, sizeof(why.text), "%s", text ? text : "");
    log_event(LOG_DEBUG, &(struct log_who){handle->stage, host->env->batch, item_id}, why.code,
              "held: %s", why.text);
    r = link->hold(link->ctx, item_id, verdict, handle->stage, why.code, why.text);
    return r == SENDIT_OK ? host_facts_hold(host->env, item_id) : r;
}

void host_init(struct host *host, struct host_env *env, const struct plan_stage *stage)
{
    *host = (struct host){.env = env, .stage = stage, .pid = getpid()};
    host->host = (struct sendit_host){.priv = host,
                                      .stage = stage->id,
                                      .abi = SENDIT_ABI,
                                      .log = say,
                                      .canceled = canceled,
                                      .now_ms = now_ms,
                                      .service = service,
                                      .hold = hold};
}

void host_fini(struct host *host)
{
    say_cut(host);
    http_fini(host);
    table_free_memory(host);
    spool_close(host);
    deid_plans_free(host);
    ids_trim(host->env, 0);
}

/* Is there a process that a stage started, running or not waited for? */
static bool has_children(void)
{
    siginfo_t info;

    return !waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
}

void host_begin_time(struct host *host)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    host->since_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void host_enter(struct host *host)
{
    here = host;
    host->forked = false;
    host_begin_time(host);
    host->thread = pthread_self();
    atomic_store(&host->bug, atomic_exchange(&host->bug_outside, false));
    atomic_store(&host->in_callback, true);
}

void host_leave(struct host *host)
{
    const struct host_link *link = host->env->link;

    if (getpid() != host->pid)
        _exit(1);
    here = NULL;
    host->forked = !host->env->has_children && has_children();
    host->env->has_children = host->env->has_children || host->forked;
    atomic_store(&host->in_callback, false);
    if (host->locked && link && link->store_lock)
        (void)link->store_lock(link->ctx, host->stage->id, NULL); /* a dead peer holds no lock */
    host->locked = host->settles = host->compares = false;
    http_leave(host);
    table_free_memory(host);
    ids_trim(host->env, HOST_MAX_CACHED / 2);
}

void host_end_batch(struct host *host)
{
    say_cut(host);
    if (http_in_flight(host)) { /* of a stage without finish() */
        host_enter(host);
        host_cancel(host);
        host_leave(host);
        if (atomic_load(&host->bug))
            atomic_store(&host->bug_outside, true);
    }
    spool_close(host);
    ids_trim(host->env, 0);
}
