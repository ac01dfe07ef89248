/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/text.h"

struct memory_value {
    struct memory_value *next;
    uint64_t revision;
    bool there; /* else it was deleted, and keeps its revision */
    size_t length;
    void *data; /* owned */
    char key[];
};

static const char *const verdicts[] = {"FAIL", "PASS", "SKIP", "QUARANTINE", "RETRY", "LATER"};
static const char *const levels[] = {"debug", "info", "warn", "error"};

const char *memory_verdict(sendit_verdict verdict, char text[16])
{
    if (verdict >= SENDIT_FAIL && verdict <= SENDIT_LATER)
        return verdicts[verdict];
    snprintf(text, 16, "%d", (int)verdict);
    return text;
}

/* The object under `key`, made if there is none. */
static json_t *inner(json_t *object, const char *key)
{
    json_t *found = json_object_get(object, key);

    if (!found && !json_object_set_new(object, key, json_object()))
        found = json_object_get(object, key);
    return found;
}

static sendit_result fact_put(void *ctx, const char *item, const char *key, const char *value)
{
    struct memory *memory = ctx;

    return json_object_set_new(inner(memory->facts, item ? item : ""), key, text_json(value))
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

/* ---- store ---- */

static struct memory_value *find(const struct memory *memory, const char *key)
{
    struct memory_value *value = memory->values;

    while (value && strcmp(value->key, key))
        value = value->next;
    return value;
}

/* What is handed out lives until the next call. */
static sendit_result answer(struct memory *memory, const void *data, size_t length)
{
    char *copy = malloc(length + 1);

    if (!copy)
        return SENDIT_ENOMEM;
    if (length)
        memcpy(copy, data, length);
    copy[length] = '\0';
    free(memory->answer);
    memory->answer = copy;
    return SENDIT_OK;
}

static sendit_result store_get(void *ctx, const char *stage, const char *key,
                               const void **ret_value, size_t *ret_length, uint64_t *ret_revision)
{
    struct memory *memory = ctx;
    const struct memory_value *value = find(memory, key);

    (void)stage;
    if (!value || !value->there)
        return SENDIT_EABSENT;
    if (answer(memory, value->data, value->length) != SENDIT_OK)
        return SENDIT_ENOMEM;
    *ret_value = memory->answer;
    *ret_length = value->length;
    *ret_revision = value->revision;
    return SENDIT_OK;
}

static struct memory_value *add_value(struct memory *memory, const char *key)
{
    size_t n = strlen(key) + 1;
    struct memory_value *value = calloc(1, sizeof(*value) + n);

    if (value) {
        memcpy(value->key, key, n);
        value->next = memory->values;
        memory->values = value;
    }
    return value;
}

static sendit_result store_put(void *ctx, const char *stage, const char *key, const void *data,
                               size_t length, uint64_t expected)
{
    struct memory *memory = ctx;
    struct memory_value *value = find(memory, key);
    void *copy;

    (void)stage;
    if (expected != (value && value->there ? value->revision : 0))
        return SENDIT_ECONFLICT;
    copy = malloc(length + 1);
    if (copy && !value)
        value = add_value(memory, key);
    if (!copy || !value) {
        free(copy);
        return SENDIT_ENOMEM;
    }
    if (length)
        memcpy(copy, data, length);
    free(value->data);
    value->data = copy;
    value->length = length;
    value->there = data != NULL;
    value->revision++;
    return SENDIT_OK;
}

static sendit_result store_next(void *ctx, const char *stage, const char *key, const char **ret_key)
{
    struct memory *memory = ctx;
    const struct memory_value *next = NULL;

    (void)stage;
    for (const struct memory_value *value = memory->values; value; value = value->next)
        if (value->there && strcmp(value->key, key) > 0 &&
            (!next || strcmp(value->key, next->key) < 0))
            next = value;
    if (!next)
        return SENDIT_EABSENT;
    *ret_key = next->key;
    return SENDIT_OK;
}

static sendit_result store_lock(void *ctx, const char *stage, const char *key)
{
    struct memory *memory = ctx;

    (void)stage;
    memory->locked = key != NULL;
    return SENDIT_OK;
}

static sendit_result audit(void *ctx, const char *stage, const char *event, const char *json)
{
    struct memory *memory = ctx;

    (void)stage;
    return json_array_append_new(memory->audit, json_sprintf("%s %s", event, json)) ? SENDIT_ENOMEM
                                                                                    : SENDIT_OK;
}

int memory_preset(struct memory *memory, const char *key, const char *value)
{
    return store_put(memory, "", key, value, strlen(value), 0) == SENDIT_OK ? 0 : -1;
}

json_t *memory_store(const struct memory *memory)
{
    json_t *object = json_object();

    for (const struct memory_value *value = memory->values; object && value; value = value->next)
        if (value->there &&
            json_object_set_new(object, value->key, text_bytes(value->data, value->length))) {
            json_decref(object);
            return NULL;
        }
    return object;
}

/* ---- crosswalk ---- */

static sendit_result crosswalk_get(void *ctx, const char *domain, const char *original,
                                   const char **ret_pseudonym, int64_t *ret_since_ms)
{
    struct memory *memory = ctx;
    const char *stands =
        json_string_value(json_object_get(json_object_get(memory->crosswalk, domain), original));

    if (!stands)
        return SENDIT_EABSENT;
    if (answer(memory, stands, strlen(stands)) != SENDIT_OK)
        return SENDIT_ENOMEM;
    *ret_pseudonym = memory->answer;
    if (ret_since_ms)
        *ret_since_ms = memory->clock;
    return SENDIT_OK;
}

static sendit_result crosswalk_put(void *ctx, const char *domain, const char *original,
                                   const char *proposed, const char **ret_pseudonym)
{
    struct memory *memory = ctx;
    json_t *known = inner(memory->crosswalk, domain), *value;
    const char *key;

    if (crosswalk_get(ctx, domain, original, ret_pseudonym, NULL) == SENDIT_OK)
        return SENDIT_OK;
    json_object_foreach(
        known, key, value) if (!strcmp(json_string_value(value), proposed)) return SENDIT_ECONFLICT;
    if (json_object_set_new(known, original, text_json(proposed)))
        return SENDIT_ENOMEM;
    return crosswalk_get(ctx, domain, original, ret_pseudonym, NULL);
}

static sendit_result crosswalk_note(void *ctx, const char *domain, const char *original,
                                    const char *pseudonym)
{
    struct memory *memory = ctx;

    return json_object_set_new(inner(memory->crosswalk, domain), original, text_json(pseudonym))
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

/* ---- what is told ---- */

static void metric(void *ctx, const char *stage, const char *name, int64_t delta)
{
    struct memory *memory = ctx;
    json_int_t sum;

    (void)stage;
    pthread_mutex_lock(&memory->mutex);
    sum = json_integer_value(json_object_get(memory->metrics, name));
    if (json_object_set_new(memory->metrics, name, json_integer(sum + delta)))
        memory->failed = true;
    pthread_mutex_unlock(&memory->mutex);
}

void memory_log(struct memory *memory, int32_t level, const char *event)
{
    if (level < SENDIT_INFO)
        return;
    pthread_mutex_lock(&memory->mutex);
    if (json_array_append_new(memory->log,
                              json_sprintf("%s %s", levels[level > SENDIT_ERROR ? 3 : level],
                                           event && *event ? event : "stage.said")))
        memory->failed = true;
    pthread_mutex_unlock(&memory->mutex);
}

static sendit_result hold(void *ctx, const char *item, sendit_verdict verdict, const char *stage,
                          const char *code, const char *text)
{
    struct memory *memory = ctx;
    char room[16];

    (void)stage, (void)text;
    return json_object_set_new(memory->holds, item,
                               json_sprintf("%s %s", memory_verdict(verdict, room), code))
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

/* What was told first stands. */
static sendit_result settled(void *ctx, const char *stage, const char *batch,
                             sendit_verdict verdict, const char *code, const char *text)
{
    struct memory *memory = ctx;
    char room[16];

    (void)stage, (void)text;
    if (json_object_get(memory->settled, batch))
        return SENDIT_OK;
    return json_object_set_new(
               memory->settled, batch,
               json_sprintf("%s%s%s", memory_verdict(verdict, room), *code ? " " : "", code))
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

static sendit_result differs(void *ctx, const char *stage, const char *code, const char *subject,
                             const char *text)
{
    struct memory *memory = ctx;

    (void)stage, (void)text;
    return json_array_append_new(memory->differences, json_sprintf("%s %s", code, subject))
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

static sendit_result counted(void *ctx, const char *stage, const char *what, uint64_t n)
{
    struct memory *memory = ctx;
    json_int_t sum = json_integer_value(json_object_get(memory->compared, what));

    (void)stage;
    sum = n > (uint64_t)(INT64_MAX - sum) ? INT64_MAX : sum + (json_int_t)n;
    return json_object_set_new(memory->compared, what, json_integer(sum)) ? SENDIT_ENOMEM
                                                                          : SENDIT_OK;
}

static int canceled(void *ctx)
{
    return ((struct memory *)ctx)->canceled;
}

static int64_t now_ms(void *ctx)
{
    struct memory *memory = ctx;
    int64_t now;

    pthread_mutex_lock(&memory->mutex);
    now = memory->clock++;
    pthread_mutex_unlock(&memory->mutex);
    return now;
}

int memory_init(struct memory *memory, int64_t clock_ms)
{
    memset(memory, 0, sizeof(*memory));
    memory->clock = clock_ms;
    pthread_mutex_init(&memory->mutex, NULL);
    memory->facts = json_object();
    memory->crosswalk = json_object();
    memory->audit = json_array();
    memory->metrics = json_object();
    memory->holds = json_object();
    memory->log = json_array();
    memory->settled = json_object();
    memory->differences = json_array();
    memory->compared = json_object();
    memory->table = (struct host_link){.ctx = memory,
                                       .fact_put = fact_put,
                                       .store_get = store_get,
                                       .store_put = store_put,
                                       .store_next = store_next,
                                       .store_lock = store_lock,
                                       .audit = audit,
                                       .crosswalk_get = crosswalk_get,
                                       .crosswalk_put = crosswalk_put,
                                       .crosswalk_note = crosswalk_note,
                                       .metric = metric,
                                       .hold = hold,
                                       .settled = settled,
                                       .differs = differs,
                                       .counted = counted,
                                       .canceled = canceled,
                                       .now_ms = now_ms};
    return memory->facts && memory->crosswalk && memory->audit && memory->metrics &&
                   memory->holds && memory->log && memory->settled && memory->differences &&
                   memory->compared
               ? 0
               : -1;
}

void memory_fini(struct memory *memory)
{
    while (memory->values) {
        struct memory_value *value = memory->values;

        memory->values = value->next;
        free(value->data);
        free(value);
    }
    json_decref(memory->facts);
    json_decref(memory->crosswalk);
    json_decref(memory->audit);
    json_decref(memory->metrics);
    json_decref(memory->holds);
    json_decref(memory->log);
    json_decref(memory->settled);
    json_decref(memory->differences);
    json_decref(memory->compared);
    free(memory->answer);
    pthread_mutex_destroy(&memory->mutex);
    memset(memory, 0, sizeof(*memory));
}
