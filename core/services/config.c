/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - table config of services.h: the values of the plan.  It is [any]: nothing here writes
 * but the mark of misuse.
 */
#include "services/table.h"

/* The value, if its option has one of the types in `types` (0: any) and is a MANY or not. */
static const struct plan_value *find(const struct sendit_host *handle, const char *name,
                                     uint32_t types, bool many)
{
    struct host *host = table_host(handle);
    const struct plan_value *value = host && name ? plan_value(host->stage, name) : NULL;
    const struct sendit_option *option = value ? value->option : NULL;

    if (!host)
        return NULL;
    if (!option) {
        table_misuse(host, "The stage asked for an option that its table lacks", name);
        return NULL;
    }
    if ((types && !(types & 1u << option->type)) || many != !!(option->flags & SENDIT_OPT_MANY)) {
        table_misuse(host, "The stage asked for an option in a form that it does not have", name);
        return NULL;
    }
    return option->type == SENDIT_OPT_SECRET ? NULL : value;
}

static const char *text(const struct sendit_host *handle, const char *name)
{
    const struct plan_value *value = find(handle, name, 0, false);

    return value ? value->text : NULL;
}

static int64_t number(const struct sendit_host *handle, const char *name)
{
    const uint32_t types = 1u << SENDIT_OPT_INTEGER | 1u << SENDIT_OPT_BOOLEAN |
                           1u << SENDIT_OPT_CHOICE | 1u << SENDIT_OPT_DURATION |
                           1u << SENDIT_OPT_SIZE;
    const struct plan_value *value = find(handle, name, types, false);

    return value ? value->number : 0;
}

static const char *const *list(const struct sendit_host *handle, const char *name)
{
    static const char *const none[] = {NULL};
    const struct plan_value *value = find(handle, name, 0, true);

    return value && value->list ? (const char *const *)value->list : none;
}

static const char *json(const struct sendit_host *handle, const char *name)
{
    struct host *host = table_host(handle);
    const struct plan_value *any = host && name ? plan_value(host->stage, name) : NULL;
    bool many = any && (any->option->flags & SENDIT_OPT_MANY);
    const struct plan_value *value = find(handle, name, 0, many);

    return value ? value->json : NULL;
}

const struct sendit_config host_config = {
    .text = text, .number = number, .list = list, .json = json};
