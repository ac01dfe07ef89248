/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - table store of services.h: keys and values of one entry in pipeline.json, in the
 * ledger.
 */
#include "services/table.h"

#include <string.h>

#include <jansson.h>

static bool is_key(const char *key)
{
    return key && *key && strlen(key) <= HOST_MAX_KEY;
}

static sendit_result bad_call(struct host *host, const char *name)
{
    return table_misuse(host, "The stage called a function of the store with what it does not take",
                        name);
}

static sendit_result get(const struct sendit_host *handle, const char *key, const void **ret_value,
                         size_t *ret_length, uint64_t *ret_revision)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;
    const void *value, *copy;
    uint64_t revision;
    size_t length;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!is_key(key) || !ret_value || !ret_length || !ret_revision)
        return bad_call(host, "get");
    link = host->env->link;
    if (!link || !link->store_get)
        return SENDIT_EIO;
    r = link->store_get(link->ctx, handle->stage, key, &value, &length, &revision);
    if (r != SENDIT_OK)
        return r;
    copy = table_copy(host, value, length, false);
    if (!copy)
        return SENDIT_ENOMEM;
    *ret_value = copy;
    *ret_length = length;
    *ret_revision = revision;
    return SENDIT_OK;
}

static sendit_result put(const struct sendit_host *handle, const char *key, const void *value,
                         size_t length, uint64_t expected)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;

    if (!host)
        return SENDIT_EINVAL;
    if (!is_key(key) || (value && length > HOST_MAX_VALUE))
        return bad_call(host, "put");
    if (host->env->comparing)
        return SENDIT_EDENIED;
    link = host->env->link;
    if (!link || !link->store_put)
        return SENDIT_EIO;
    return link->store_put(link->ctx, handle->stage, key, value, value ? length : 0, expected);
}

static sendit_result next(const struct sendit_host *handle, const char *key, const char **ret_key)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;
    const char *found;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!key || strlen(key) > HOST_MAX_KEY || !ret_key)
        return bad_call(host, "next");
    link = host->env->link;
    if (!link || !link->store_next)
        return SENDIT_EIO;
    r = link->store_next(link->ctx, handle->stage, key, &found);
    return r == SENDIT_OK ? table_text(host, found, ret_key) : r;
}

static sendit_result lock(const struct sendit_host *handle, const char *key)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!is_key(key) || host->locked)
        return bad_call(host, "lock");
    link = host->env->link;
    if (!link || !link->store_lock)
        return SENDIT_EIO;
    r = link->store_lock(link->ctx, handle->stage, key);
    host->locked = r == SENDIT_OK;
    host_begin_time(host); /* it waited for another */
    return r;
}

static bool is_json(const char *text)
{
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    bool is = value != NULL;

    json_decref(value);
    return is;
}

static sendit_result append(const struct sendit_host *handle, const char *event, const char *json)
{
    struct host *host = table_enter(handle);
    const struct host_link *link;

    if (!host)
        return SENDIT_EINVAL;
    if (!event || !table_is_word(event) || !json || strlen(json) > HOST_MAX_AUDIT || !is_json(json))
        return bad_call(host, "append");
    if (host->env->comparing)
        return SENDIT_EDENIED;
    link = host->env->link;
    if (!link || !link->audit)
        return SENDIT_EIO;
    return link->audit(link->ctx, handle->stage, event, json);
}

const struct sendit_store host_store = {
    .get = get, .put = put, .next = next, .lock = lock, .append = append};
