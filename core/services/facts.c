/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.c - table facts of services.h.  The facts of the batch in hand are here, and told to the
 * ledger; those of the item in hand wait in `pending` until its stage has passed it.
 */
#include "services/table.h"

#include <stdio.h>
#include <string.h>

#define KEY_SIZE (SENDIT_ID_SIZE + HOST_MAX_WORD + 2)
#define HELD "held"

/* "ITEM\nKEY", which no other pair gives: a key has no newline. */
static void full_key(char ret_key[KEY_SIZE], const char *item, const char *key)
{
    snprintf(ret_key, KEY_SIZE, "%s\n%s", item, key);
}

static sendit_result tell(struct host_env *env, const char *item, const char *key,
                          const char *value)
{
    if (!env->link || !env->link->fact_put)
        return SENDIT_EIO;
    if (host_facts_load(env, item, key, value) != SENDIT_OK)
        return SENDIT_ENOMEM;
    return env->link->fact_put(env->link->ctx, item, key, value);
}

static sendit_result wait_for_pass(struct host_env *env, const char *key, const char *value)
{
    if (env->pending.n >= HOST_MAX_FACTS && !map_get(&env->pending, key))
        return SENDIT_ENOMEM;
    return map_put(&env->pending, key, value) ? SENDIT_ENOMEM : SENDIT_OK;
}

/* Is there a batch, and can `key` name a fact of it? */
static bool can_be(const struct host_env *env, const char *key)
{
    return env->batch_open && key && table_is_word(key);
}

static bool is_shown(const struct host_env *env, const char *item_id)
{
    const char *known = map_get(&env->items, item_id);

    return known && strcmp(known, HELD) != 0;
}

static bool is_in_hand(const struct host_env *env, const char *item_id)
{
    return item_id && env->item && !strcmp(item_id, env->item);
}

static sendit_result put(const struct sendit_host *handle, const char *item_id, const char *key,
                         const char *value)
{
    struct host *host = table_enter(handle);

    if (!host)
        return SENDIT_EINVAL;
    if (!can_be(host->env, key) || !value || strlen(value) > HOST_MAX_FACT ||
        (item_id && !map_get(&host->env->items, item_id)))
        return table_misuse(host, "The stage called facts->put() with what it does not take", NULL);
    if (is_in_hand(host->env, item_id))
        return wait_for_pass(host->env, key, value);
    return tell(host->env, item_id ? item_id : "", key, value);
}

static sendit_result get(const struct sendit_host *handle, const char *item_id, const char *key,
                         const char **ret_value)
{
    struct host *host = table_enter(handle);
    const char *value = NULL;
    char full[KEY_SIZE];

    if (!host)
        return SENDIT_EINVAL;
    if (!can_be(host->env, key) || !ret_value)
        return table_misuse(host, "The stage called facts->get() with what it does not take", NULL);
    if (item_id && !is_shown(host->env, item_id))
        return SENDIT_EABSENT;
    if (is_in_hand(host->env, item_id))
        value = map_get(&host->env->pending, key);
    if (!value) {
        full_key(full, item_id ? item_id : "", key);
        value = map_get(&host->env->facts, full);
    }
    return value ? table_text(host, value, ret_value) : SENDIT_EABSENT;
}

/* ---- for core/run ---- */

sendit_result host_item(struct host_env *env, const char *item)
{
    if (item && map_put(&env->items, item, ""))
        return SENDIT_ENOMEM;
    env->item = item;
    return SENDIT_OK;
}

static int tell_pending(void *ctx, const char *key, const char *value)
{
    struct host_env *env = ctx;

    return tell(env, env->item, key, value);
}

sendit_result host_facts_settle(struct host_env *env, bool keep)
{
    sendit_result r = SENDIT_OK;

    if (!env->pending.n)
        return SENDIT_OK;
    if (keep)
        r = map_each(&env->pending, tell_pending, env);
    map_clear(&env->pending);
    return r;
}

sendit_result host_facts_hold(struct host_env *env, const char *item)
{
    return map_put(&env->items, item, HELD) ? SENDIT_ENOMEM : SENDIT_OK;
}

sendit_result host_facts_load(struct host_env *env, const char *item, const char *key,
                              const char *value)
{
    char full[KEY_SIZE];

    full_key(full, item, key);
    return map_put(&env->facts, full, value) ? SENDIT_ENOMEM : SENDIT_OK;
}

void host_facts_clear(struct host_env *env)
{
    map_clear(&env->facts);
    map_clear(&env->pending);
    map_clear(&env->items);
}

const struct sendit_facts host_facts = {.put = put, .get = get};
