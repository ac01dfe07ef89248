/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_host.h - a host for one stage that a test includes as a file: options, attributes and facts
 * are words in arrays, what the stage says is kept.
 */
#ifndef SENDIT_TESTS_FAKE_HOST_H
#define SENDIT_TESTS_FAKE_HOST_H

#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#define FAKE_MAX 64

struct fake_option {
    const char *name, *text;
    int64_t number;
    const char *const *list;
};
struct fake_attribute {
    uint32_t tag;
    const char *value; /* NULL: there, and no text */
};
struct fake_fact {
    char key[160], value[1024];
};

/* A data set is an array that ends with tag 0; `walk` is how a walk ends that nobody stops. */
struct sendit_dataset {
    const struct fake_attribute *attributes;
    sendit_result walk;
};

static struct fake_option fake_options[FAKE_MAX];
static struct fake_fact fake_facts[FAKE_MAX];
static size_t fake_n_facts, fake_n_holds, fake_n_logs, fake_n_metrics;
static char fake_last_metric[64], fake_last_log[64], fake_last_hold[64], fake_held[SENDIT_ID_SIZE];
static const struct sendit_file *fake_file;
static uint64_t fake_length; /* of what is there, and no text */

static inline void fake_reset(void)
{
    memset(fake_options, 0, sizeof(fake_options));
    fake_n_facts = fake_n_holds = fake_n_logs = fake_n_metrics = 0;
    fake_length = 0;
    fake_last_metric[0] = fake_last_log[0] = fake_last_hold[0] = fake_held[0] = '\0';
}

static inline struct fake_option *fake_option(const char *name)
{
    size_t i = 0;

    while (fake_options[i].name && strcmp(fake_options[i].name, name))
        i++;
    if (i + 1 >= FAKE_MAX)
        abort();
    fake_options[i].name = name;
    return &fake_options[i];
}

static const char *fake_text(const struct sendit_host *host, const char *name)
{
    (void)host;
    return fake_option(name)->text;
}

static int64_t fake_number(const struct sendit_host *host, const char *name)
{
    (void)host;
    return fake_option(name)->number;
}

static const char *const *fake_list(const struct sendit_host *host, const char *name)
{
    static const char *const none[] = {NULL};

    (void)host;
    return fake_option(name)->list ? fake_option(name)->list : none;
}

static const struct fake_attribute *fake_find(struct sendit_dataset *ds, uint32_t tag)
{
    for (const struct fake_attribute *at = ds->attributes; at->tag; at++)
        if (at->tag == tag)
            return at;
    return NULL;
}

static sendit_result fake_get(struct sendit_dataset *ds, uint32_t tag, const char **ret_value)
{
    const struct fake_attribute *found = fake_find(ds, tag);

    if (!found)
        return SENDIT_EABSENT;
    if (!found->value)
        return SENDIT_EINVAL;
    *ret_value = found->value;
    return SENDIT_OK;
}

static sendit_result fake_bytes(struct sendit_dataset *ds, uint32_t tag, const void **ret_value,
                                size_t *ret_length)
{
    (void)ret_value, (void)ret_length;
    return fake_find(ds, tag) ? SENDIT_EINVAL : SENDIT_EABSENT;
}

static sendit_result fake_walk(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx)
{
    for (const struct fake_attribute *at = ds->attributes; at->tag; at++) {
        const struct sendit_element element = {.tag = at->tag,
                                               .value = at->value,
                                               .length =
                                                   at->value ? strlen(at->value) : fake_length};

        if (visit(ctx, ds, &element) == SENDIT_STOP)
            return SENDIT_ESTOPPED;
    }
    return ds->walk;
}

static void fake_key(char ret_key[160], const char *item, const char *key)
{
    snprintf(ret_key, 160, "%s %s", item ? item : "", key);
}

static sendit_result fake_fact_put(const struct sendit_host *host, const char *item,
                                   const char *key, const char *value)
{
    char full[160];
    size_t i = 0;

    (void)host;
    fake_key(full, item, key);
    while (i < fake_n_facts && strcmp(fake_facts[i].key, full))
        i++;
    if (i == FAKE_MAX)
        return SENDIT_ENOMEM;
    fake_n_facts += i == fake_n_facts;
    memcpy(fake_facts[i].key, full, sizeof(full));
    snprintf(fake_facts[i].value, sizeof(fake_facts[i].value), "%s", value);
    return SENDIT_OK;
}

static sendit_result fake_fact_get(const struct sendit_host *host, const char *item,
                                   const char *key, const char **ret_value)
{
    char full[160];

    (void)host;
    fake_key(full, item, key);
    for (size_t i = 0; i < fake_n_facts; i++)
        if (!strcmp(fake_facts[i].key, full)) {
            *ret_value = fake_facts[i].value;
            return SENDIT_OK;
        }
    return SENDIT_EABSENT;
}

static sendit_result fake_view(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    (void)ds;
    *ret_file = fake_file;
    return fake_file ? SENDIT_OK : SENDIT_ECORRUPT;
}

static void fake_metric(const struct sendit_host *host, const char *name, int64_t delta)
{
    (void)host, (void)delta;
    fake_n_metrics++;
    snprintf(fake_last_metric, sizeof(fake_last_metric), "%s", name);
}

static void fake_log(const struct sendit_host *host, int32_t level, const char *event,
                     const char *text)
{
    (void)host, (void)level, (void)text;
    fake_n_logs++;
    snprintf(fake_last_log, sizeof(fake_last_log), "%s", event);
}

static sendit_result fake_hold(const struct sendit_host *host, const char *item,
                               sendit_verdict verdict, const char *code, const char *text)
{
    (void)host, (void)text;
    if (verdict != SENDIT_QUARANTINE)
        return SENDIT_EINVAL;
    fake_n_holds++;
    snprintf(fake_held, sizeof(fake_held), "%s", item);
    snprintf(fake_last_hold, sizeof(fake_last_hold), "%s", code);
    return SENDIT_OK;
}

static const struct sendit_config fake_config = {
    .text = fake_text, .number = fake_number, .list = fake_list};
static const struct sendit_dicom fake_dicom = {
    .get = fake_get, .bytes = fake_bytes, .walk = fake_walk};
static const struct sendit_facts fake_fact_table = {.put = fake_fact_put, .get = fake_fact_get};
static const struct sendit_files fake_files = {.view = fake_view};
static const struct sendit_metrics fake_metrics = {.add = fake_metric};
/* Tables of a test's own, by id. */
static const void *fake_ids, *fake_deid;

static const void *fake_service(const struct sendit_host *host, const char *id, size_t size)
{
    const struct {
        const char *id;
        const void *table;
    } tables[] = {{"sendit.config/1", &fake_config},    {"sendit.dicom/1", &fake_dicom},
                  {"sendit.facts/1", &fake_fact_table}, {"sendit.files/1", &fake_files},
                  {"sendit.metrics/1", &fake_metrics},  {"sendit.ids/1", fake_ids},
                  {"sendit.deid/1", fake_deid}};

    (void)host, (void)size;
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        if (!strcmp(tables[i].id, id))
            return tables[i].table;
    return NULL;
}

static const struct sendit_host fake_host = {.stage = "fake",
                                             .abi = SENDIT_ABI,
                                             .log = fake_log,
                                             .service = fake_service,
                                             .hold = fake_hold};

#endif
