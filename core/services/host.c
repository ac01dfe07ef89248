/* SPDX-License-Identifier: Apache-2.0 */
#include "services/host.h"

#include <string.h>
#include <time.h>

#include "base/log.h"
#include "services/hooks.h"
#include "services/services.h"

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
    {"sendit.deid/1", SENDIT_READS | SENDIT_MUTATES, &host_deid, sizeof(host_deid)},
    {"sendit.ids/1", SENDIT_IDENTIFIERS, &host_ids, sizeof(host_ids)},
    {"sendit.files/1", SENDIT_READS | SENDIT_MUTATES, &host_files, sizeof(host_files)},
    {"sendit.spool/1", 0, &host_spool, sizeof(host_spool)},
    {"sendit.facts/1", 0, &host_facts, sizeof(host_facts)},
    {"sendit.store/1", 0, &host_store, sizeof(host_store)},
    {"sendit.secrets/1", SENDIT_SECRETS, &host_secrets, sizeof(host_secrets)},
    {"sendit.metrics/1", 0, &host_metrics, sizeof(host_metrics)},
};

static struct host *of(const struct sendit_host *host)
{
    return host->priv;
}

static void say(const struct sendit_host *handle, int32_t level, const char *event,
                const char *text)
{
    const struct host *host = of(handle);
    const struct host_env *env = host->env;
    struct log_who who = {.stage = handle->stage, .batch = env->batch, .image = env->item};

    if (level < SENDIT_DEBUG || level > SENDIT_ERROR)
        level = SENDIT_ERROR;
    log_event((enum log_level)level, &who, event ? event : "stage.said", "%s", text ? text : "");
    if (env->link && env->link->message && level >= SENDIT_WARN)
        env->link->message(env->link->ctx, handle->stage, level, event ? event : "stage.said",
                           text ? text : "");
}

static int canceled(const struct sendit_host *handle)
{
    const struct host_link *link = of(handle)->env->link;

    return link && link->canceled ? link->canceled(link->ctx) : 0;
}

static int64_t now_ms(const struct sendit_host *handle)
{
    const struct host_link *link = of(handle)->env->link;
    struct timespec now;

    if (link && link->now_ms)
        return link->now_ms(link->ctx);
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const void *service(const struct sendit_host *handle, const char *id, size_t size)
{
    uint32_t flags = of(handle)->stage->plugin->flags;

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        const struct table *table = &tables[i];

        if (id && !strcmp(table->id, id) && size <= table->size &&
            (!table->flags || (flags & table->flags)))
            return table->table;
    }
    return NULL;
}

static sendit_result hold(const struct sendit_host *handle, const char *item_id,
                          sendit_verdict verdict, const char *code, const char *text)
{
    struct host *host = of(handle);
    const struct host_link *link = host->env->link;

    if (!host->in_callback || !host->env->batch_open || !item_id || !*item_id ||
        (verdict != SENDIT_QUARANTINE && verdict != SENDIT_RETRY)) {
        host->bug = true;
        return SENDIT_EINVAL;
    }
    if (!link || !link->hold)
        return SENDIT_EIO;
    return link->hold(link->ctx, item_id, verdict, handle->stage,
                      code && *code ? code : "stage.held", text ? text : "");
}

int host_init(struct host *host, struct host_env *env, const struct plan_stage *stage,
              struct err *err)
{
    (void)err;
    memset(host, 0, sizeof(*host));
    host->env = env;
    host->stage = stage;
    host->host = (struct sendit_host){.priv = host,
                                      .stage = stage->id,
                                      .abi = SENDIT_ABI,
                                      .log = say,
                                      .canceled = canceled,
                                      .now_ms = now_ms,
                                      .service = service,
                                      .hold = hold};
    return 0;
}
