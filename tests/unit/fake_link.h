/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_link.h - a host_link in memory, for tests of services: what a stage wants kept is looked at
 * here.  Include it after cmocka.h; one test at a time uses it.
 */
#ifndef SENDIT_TESTS_FAKE_LINK_H
#define SENDIT_TESTS_FAKE_LINK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "services/host.h"

struct fake_link {
    struct host_link table;
    struct map facts;    /* "ITEM/KEY" */
    struct map store;    /* "STAGE/KEY" -> "REVISION VALUE" */
    struct map walk;     /* "DOMAIN/ORIGINAL" -> pseudonym */
    struct map taken;    /* "DOMAIN/PSEUDONYM" -> original */
    struct map counters; /* "STAGE/NAME" -> sum */
    char last_message[400], last_hold[400], last_told[1400], last_audit[400], lock[1200];
    char answer[2048], next[300];
    unsigned asked, noted, locks, unlocks, messages;
    sendit_result fail; /* what every function answers, if not SENDIT_OK */
    int stop;
    int64_t clock;
};

static inline const char *fake_key(const char *a, const char *b)
{
    static char key[1200];

    snprintf(key, sizeof(key), "%s/%s", a, b);
    return key;
}

static inline sendit_result fake_fact_put(void *ctx, const char *item, const char *key,
                                          const char *value)
{
    struct fake_link *fake = ctx;

    if (fake->fail)
        return fake->fail;
    return map_put(&fake->facts, fake_key(item, key), value) ? SENDIT_ENOMEM : SENDIT_OK;
}

static inline sendit_result fake_store_get(void *ctx, const char *stage, const char *key,
                                           const void **ret_value, size_t *ret_length,
                                           uint64_t *ret_revision)
{
    struct fake_link *fake = ctx;
    const char *kept = map_get(&fake->store, fake_key(stage, key));
    int at = 0;

    if (fake->fail)
        return fake->fail;
    if (!kept)
        return SENDIT_EABSENT;
    *ret_revision = strtoull(kept, NULL, 10);
    at = (int)strcspn(kept, " ") + 1;
    snprintf(fake->answer, sizeof(fake->answer), "%s", kept + at);
    *ret_value = fake->answer;
    *ret_length = strlen(fake->answer);
    return SENDIT_OK;
}

static inline sendit_result fake_store_put(void *ctx, const char *stage, const char *key,
                                           const void *value, size_t length, uint64_t expected)
{
    struct fake_link *fake = ctx;
    const char *kept = map_get(&fake->store, fake_key(stage, key));
    char text[2100];

    if (fake->fail)
        return fake->fail;
    if (expected != (kept ? strtoull(kept, NULL, 10) : 0))
        return SENDIT_ECONFLICT;
    snprintf(text, sizeof(text), "%llu %.*s", (unsigned long long)expected + 1,
             value ? (int)length : 0, value ? (const char *)value : "");
    return map_put(&fake->store, fake_key(stage, key), text) ? SENDIT_ENOMEM : SENDIT_OK;
}

/* It knows of one key. */
static inline sendit_result fake_store_next(void *ctx, const char *stage, const char *key,
                                            const char **ret_key)
{
    struct fake_link *fake = ctx;

    (void)stage;
    if (fake->fail)
        return fake->fail;
    if (strcmp(key, "only") >= 0)
        return SENDIT_EABSENT;
    strcpy(fake->next, "only");
    *ret_key = fake->next;
    return SENDIT_OK;
}

static inline sendit_result fake_store_lock(void *ctx, const char *stage, const char *key)
{
    struct fake_link *fake = ctx;

    if (fake->fail)
        return fake->fail;
    fake->locks += key != NULL;
    fake->unlocks += key == NULL;
    snprintf(fake->lock, sizeof(fake->lock), "%s", key ? fake_key(stage, key) : "");
    return SENDIT_OK;
}

static inline sendit_result fake_audit(void *ctx, const char *stage, const char *event,
                                       const char *json)
{
    struct fake_link *fake = ctx;

    snprintf(fake->last_audit, sizeof(fake->last_audit), "%s %s %s", stage, event, json);
    return fake->fail;
}

static inline sendit_result fake_walk_get(void *ctx, const char *domain, const char *original,
                                          const char **ret_pseudonym, int64_t *ret_since_ms)
{
    struct fake_link *fake = ctx;
    const char *stands = map_get(&fake->walk, fake_key(domain, original));

    if (fake->fail)
        return fake->fail;
    if (!stands)
        return SENDIT_EABSENT;
    snprintf(fake->answer, sizeof(fake->answer), "%s", stands);
    *ret_pseudonym = fake->answer;
    *ret_since_ms = 1234;
    return SENDIT_OK;
}

static inline sendit_result fake_walk_put(void *ctx, const char *domain, const char *original,
                                          const char *proposed, const char **ret_pseudonym)
{
    struct fake_link *fake = ctx;
    const char *stands = map_get(&fake->walk, fake_key(domain, original));

    fake->asked++;
    if (fake->fail)
        return fake->fail;
    if (!stands && map_get(&fake->taken, fake_key(domain, proposed)))
        return SENDIT_ECONFLICT;
    if (!stands && (map_put(&fake->walk, fake_key(domain, original), proposed) ||
                    map_put(&fake->taken, fake_key(domain, proposed), original)))
        return SENDIT_ENOMEM;
    snprintf(fake->answer, sizeof(fake->answer), "%s", stands ? stands : proposed);
    *ret_pseudonym = fake->answer;
    return SENDIT_OK;
}

static inline sendit_result fake_walk_note(void *ctx, const char *domain, const char *original,
                                           const char *pseudonym)
{
    struct fake_link *fake = ctx;

    fake->noted++;
    if (fake->fail)
        return fake->fail;
    return map_put(&fake->walk, fake_key(domain, original), pseudonym) ? SENDIT_ENOMEM : SENDIT_OK;
}

static inline void fake_metric(void *ctx, const char *stage, const char *name, int64_t delta)
{
    struct fake_link *fake = ctx;
    const char *sum = map_get(&fake->counters, fake_key(stage, name));
    char text[32];

    snprintf(text, sizeof(text), "%lld", (sum ? atoll(sum) : 0) + (long long)delta);
    map_put(&fake->counters, fake_key(stage, name), text);
}

static inline void fake_message(void *ctx, const char *item, const char *stage, int32_t level,
                                const char *event, const char *text)
{
    struct fake_link *fake = ctx;

    fake->messages++;
    snprintf(fake->last_message, sizeof(fake->last_message), "%s|%s|%d|%s|%s", item, stage, level,
             event, text);
}

static inline sendit_result fake_hold(void *ctx, const char *item, sendit_verdict verdict,
                                      const char *stage, const char *code, const char *text)
{
    struct fake_link *fake = ctx;

    snprintf(fake->last_hold, sizeof(fake->last_hold), "%s|%d|%s|%s|%s", item, verdict, stage, code,
             text);
    return fake->fail;
}

static inline sendit_result fake_settled(void *ctx, const char *stage, const char *batch,
                                         sendit_verdict verdict, const char *code, const char *text)
{
    struct fake_link *fake = ctx;

    snprintf(fake->last_told, sizeof(fake->last_told), "%s|%s|%d|%s|%s", stage, batch, verdict,
             code, text);
    return fake->fail;
}

static inline sendit_result fake_differs(void *ctx, const char *stage, const char *code,
                                         const char *subject, const char *text)
{
    struct fake_link *fake = ctx;

    snprintf(fake->last_told, sizeof(fake->last_told), "%s|%s|%s|%s", stage, code, subject, text);
    return fake->fail;
}

static inline sendit_result fake_counted(void *ctx, const char *stage, const char *what, uint64_t n)
{
    struct fake_link *fake = ctx;

    snprintf(fake->last_told, sizeof(fake->last_told), "%s|%s|%llu", stage, what,
             (unsigned long long)n);
    return fake->fail;
}

static inline int fake_canceled(void *ctx)
{
    return ((struct fake_link *)ctx)->stop;
}

static inline int64_t fake_now_ms(void *ctx)
{
    return ((struct fake_link *)ctx)->clock;
}

static inline void fake_link_init(struct fake_link *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->table = (struct host_link){.ctx = fake,
                                     .fact_put = fake_fact_put,
                                     .store_get = fake_store_get,
                                     .store_put = fake_store_put,
                                     .store_next = fake_store_next,
                                     .store_lock = fake_store_lock,
                                     .audit = fake_audit,
                                     .crosswalk_get = fake_walk_get,
                                     .crosswalk_put = fake_walk_put,
                                     .crosswalk_note = fake_walk_note,
                                     .metric = fake_metric,
                                     .message = fake_message,
                                     .hold = fake_hold,
                                     .settled = fake_settled,
                                     .differs = fake_differs,
                                     .counted = fake_counted,
                                     .canceled = fake_canceled,
                                     .now_ms = fake_now_ms};
}

static inline void fake_link_fini(struct fake_link *fake)
{
    map_clear(&fake->facts);
    map_clear(&fake->store);
    map_clear(&fake->walk);
    map_clear(&fake->taken);
    map_clear(&fake->counters);
}

#endif
