/* SPDX-License-Identifier: Apache-2.0 */
/*
 * originals.c - table originals of services.h: what an item was called before its first stage, in
 * memory as long as the item is in hand, and only if a stage of the plan declares ORIGINALS.
 */
#include "services/table.h"

#include <stdlib.h>
#include <string.h>

#include "deid/traces.h"
#include "deid/value.h"

struct host_original {
    uint32_t tag;
    char *value; /* NULL: it cannot be converted, or there are too many */
};

struct gathering {
    struct host_env *env;
    sendit_result result;
};

static sendit_result add(struct host_env *env, uint32_t tag, const char *text, size_t length)
{
    struct host_original *items;
    char *copy = NULL;

    if (env->n_originals > HOST_MAX_VALUES)
        return SENDIT_OK; /* the last one says that there are too many */
    if (env->n_originals == HOST_MAX_VALUES)
        text = NULL;
    if (env->n_originals % 64 == 0) {
        items = realloc(env->originals, (env->n_originals + 64) * sizeof(*items));
        if (!items)
            return SENDIT_ENOMEM;
        env->originals = items;
    }
    if (text && !(copy = strndup(text, length)))
        return SENDIT_ENOMEM;
    env->originals[env->n_originals++] = (struct host_original){tag, copy};
    return SENDIT_OK;
}

static bool has_one_value(const char *vr)
{
    return !strcmp(vr, "ST") || !strcmp(vr, "LT") || !strcmp(vr, "UT");
}

static sendit_result add_values(struct host_env *env, const struct sendit_element *e,
                                const char *text)
{
    struct value_span rest = {text, strlen(text)}, one;
    sendit_result r = SENDIT_OK;

    if (has_one_value(e->vr))
        return *text ? add(env, e->tag, text, rest.len) : SENDIT_OK;
    while (r == SENDIT_OK && value_next(&rest, &one))
        if (one.len)
            r = add(env, e->tag, one.text, one.len);
    return r;
}

static int32_t gather(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct gathering *gathering = ctx;
    const char *text;
    sendit_result r;

    if (!traces_names(e))
        return SENDIT_KEEP;
    r = dicom_get(parent, e->tag, &text);
    if (r == SENDIT_OK)
        r = add_values(gathering->env, e, text);
    else if (r != SENDIT_ENOMEM)
        r = add(gathering->env, e->tag, NULL, 0);
    gathering->result = r;
    return r == SENDIT_OK ? SENDIT_KEEP : SENDIT_STOP;
}

static bool is_wanted(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && plan->stages[i].plugin->flags & SENDIT_ORIGINALS)
            return true;
    return false;
}

sendit_result host_originals_take(struct host_env *env, struct dicom_object *object)
{
    struct gathering gathering = {.env = env};
    sendit_result r;

    if (!is_wanted(env->plan))
        return SENDIT_OK;
    dicom_begin(object, false);
    r = dicom_walk(dicom_dataset(object), gather, &gathering);
    if (r == SENDIT_ESTOPPED)
        r = gathering.result;
    else if (r != SENDIT_OK && r != SENDIT_ENOMEM)
        r = add(env, 0, NULL, 0);
    if (dicom_end(object, false))
        r = SENDIT_ENOMEM;
    return r;
}

void host_originals_clear(struct host_env *env)
{
    for (size_t i = 0; i < env->n_originals; i++) {
        char *value = env->originals[i].value;

        if (value)
            explicit_bzero(value, strlen(value));
        free(value);
    }
    free(env->originals);
    env->originals = NULL;
    env->n_originals = 0;
}

static sendit_result value(struct sendit_dataset *ds, size_t index, uint32_t *ret_tag,
                           const char **ret_value)
{
    const struct host *host = table_here(ds);
    const struct host_original *original;

    if (!host || !ret_tag || !ret_value || !host->env->object)
        return SENDIT_EINVAL;
    if (index >= host->env->n_originals)
        return SENDIT_EABSENT;
    original = &host->env->originals[index];
    if (!original->value)
        return SENDIT_ECORRUPT;
    *ret_tag = original->tag;
    *ret_value = original->value;
    return SENDIT_OK;
}

const struct sendit_originals host_originals = {.value = value};
