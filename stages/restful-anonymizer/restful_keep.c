/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restful_keep.c - answers that are kept.  What stands for an original is in the crosswalk, in the
 * domains entity.STUDY and item.STUDY, where the first writer wins and no pseudonym is given twice.
 * What belongs to a pseudonym (days, moved dates, when it was asked for) is in the store under that
 * pseudonym, without any original.
 *
 * Each put into the store makes durable what came before it: an answer is kept when the last has
 * returned, and only then used.
 */
#include "restful.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY 128

struct record {
    json_t *value; /* owned; NULL for none */
    uint64_t revision;
};

static void domain(const struct service *service, const char *kind, char ret_domain[MAX_KEY])
{
    snprintf(ret_domain, MAX_KEY, "%s.%s", kind, service->study);
}

static void key(const struct service *service, const char *kind, const char *id,
                char ret_key[MAX_KEY])
{
    snprintf(ret_key, MAX_KEY, "%s.%s.%s", kind, service->study, id);
}

/* The examination of that patient: two may have an accession number alike. */
static void item_original(const struct asked *asked, char ret_original[2 * MAX_ID])
{
    snprintf(ret_original, (size_t)2 * MAX_ID, "%s\n%s", asked->entity_id, asked->item_id);
}

static sendit_verdict no_ledger(sendit_result r, struct sendit_why *why)
{
    sendit_verdict verdict = sendit_verdict_of(r);

    return sendit_because(why, verdict == SENDIT_PASS ? SENDIT_FAIL : verdict, "restful.ledger",
                          "What the service answered cannot be looked up or kept.");
}

/* ---- records ---- */

static sendit_result read_record(const struct sendit_stage_state *self, const char *kind,
                                 const char *id, struct record *record)
{
    char name[MAX_KEY];
    const void *value;
    size_t length;
    sendit_result r;

    key(&self->service, kind, id, name);
    *record = (struct record){0};
    r = self->store->get(self->host, name, &value, &length, &record->revision);
    if (r != SENDIT_OK)
        return r;
    record->value = json_loadb(value, length, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(record->value) ? SENDIT_OK : SENDIT_ECORRUPT;
}

/* `value` is taken. */
static sendit_result write_record(const struct sendit_stage_state *self, const char *kind,
                                  const char *id, json_t *value, uint64_t expected)
{
    char name[MAX_KEY], *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    sendit_result r = SENDIT_ENOMEM;

    key(&self->service, kind, id, name);
    if (text)
        r = self->store->put(self->host, name, text, strlen(text), expected);
    json_decref(value);
    free(text);
    return r == SENDIT_ECONFLICT ? SENDIT_EIO : r;
}

static void take_date(const json_t *record, const char *name, char ret_date[DATE_SIZE])
{
    const char *text = json_string_value(json_object_get(record, name));

    snprintf(ret_date, DATE_SIZE, "%s", text ? text : "");
}

/* ---- looking ---- */

static sendit_result find_ids(const struct sendit_stage_state *self, const struct asked *asked,
                              struct given *given)
{
    char name[MAX_KEY], original[2 * MAX_ID];
    const char *stands;
    int64_t since;
    sendit_result r;

    domain(&self->service, "entity", name);
    r = self->ids->lookup(self->host, name, asked->entity_id, &stands, &since);
    if (r == SENDIT_OK)
        r = anonymizer_keep(given->entity_id, stands);
    if (r != SENDIT_OK)
        return r;
    domain(&self->service, "item", name);
    item_original(asked, original);
    r = self->ids->lookup(self->host, name, original, &stands, &since);
    return r == SENDIT_OK ? anonymizer_keep(given->item_id, stands) : r;
}

static int is_fresh(const struct sendit_stage_state *self, const json_t *record)
{
    int64_t asked = json_integer_value(json_object_get(record, "asked_ms"));
    int64_t max_age = self->service.max_age_ms;

    return !max_age || self->host->now_ms(self->host) - asked < max_age;
}

sendit_verdict kept_find(const struct sendit_stage_state *self, const struct asked *asked,
                         struct given *ret_given, struct sendit_why *why)
{
    struct record record = {0};
    struct given given = {0};
    sendit_result r = find_ids(self, asked, &given);
    sendit_verdict verdict = SENDIT_SKIP;
    const json_t *jitter;

    if (r == SENDIT_OK)
        r = read_record(self, "item", given.item_id, &record);
    if (r == SENDIT_OK && is_fresh(self, record.value)) {
        jitter = json_object_get(record.value, "jitter");
        if (!json_is_integer(jitter)) {
            r = SENDIT_ECORRUPT;
        } else {
            given.jitter = (int32_t)json_integer_value(jitter);
            take_date(record.value, "entity_date", given.entity_date);
            take_date(record.value, "item_date", given.item_date);
            *ret_given = given;
            verdict = SENDIT_PASS;
        }
    }
    json_decref(record.value);
    return r == SENDIT_OK || r == SENDIT_EABSENT ? verdict : no_ledger(r, why);
}

/* ---- keeping ---- */

static sendit_verdict changed(struct sendit_why *why)
{
    return sendit_because(why, SENDIT_FAIL, "restful.changed",
                          "The service now says something else than it said before about the same "
                          "patient or examination; what it said first stands.");
}

static sendit_verdict assign(const struct sendit_stage_state *self, const char *kind,
                             const char *original, const char *id, struct sendit_why *why)
{
    char name[MAX_KEY];
    const char *stands;
    sendit_result r;

    domain(&self->service, kind, name);
    r = self->ids->assign(self->host, name, original, id, &stands);
    if (r == SENDIT_ECONFLICT)
        return sendit_because(why, SENDIT_FAIL, "restful.twice",
                              "The service gave two patients or examinations the same id.");
    if (r != SENDIT_OK)
        return no_ledger(r, why);
    return strcmp(stands, id) ? changed(why) : SENDIT_PASS;
}

/* One number of days for a patient for ever. */
static sendit_verdict put_entity(const struct sendit_stage_state *self, const struct asked *asked,
                                 const struct given *given, struct sendit_why *why)
{
    struct record record;
    sendit_verdict verdict = assign(self, "entity", asked->entity_id, given->entity_id, why);
    sendit_result r;

    if (verdict != SENDIT_PASS)
        return verdict;
    r = read_record(self, "entity", given->entity_id, &record);
    if (r == SENDIT_EABSENT)
        r = write_record(self, "entity", given->entity_id,
                         json_pack("{s:i}", "jitter", (int)given->jitter), 0);
    else if (r == SENDIT_OK && json_integer_value(json_object_get(record.value, "jitter")) !=
                                   (json_int_t)given->jitter)
        verdict = changed(why);
    json_decref(record.value);
    return r == SENDIT_OK ? verdict : no_ledger(r, why);
}

static sendit_verdict put_item(const struct sendit_stage_state *self, const struct asked *asked,
                               const struct given *given, struct sendit_why *why)
{
    char original[2 * MAX_ID];
    struct record record;
    sendit_verdict verdict;
    sendit_result r;

    item_original(asked, original);
    verdict = assign(self, "item", original, given->item_id, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    r = read_record(self, "item", given->item_id, &record);
    json_decref(record.value);
    if (r == SENDIT_OK || r == SENDIT_EABSENT)
        r = write_record(self, "item", given->item_id,
                         json_pack("{s:i, s:s, s:s, s:I}", "jitter", (int)given->jitter,
                                   "entity_date", given->entity_date, "item_date", given->item_date,
                                   "asked_ms", (json_int_t)self->host->now_ms(self->host)),
                         r == SENDIT_OK ? record.revision : 0);
    return r == SENDIT_OK ? SENDIT_PASS : no_ledger(r, why);
}

sendit_verdict kept_put(const struct sendit_stage_state *self, const struct asked *asked,
                        const struct given *given, struct sendit_why *why)
{
    sendit_verdict verdict = put_entity(self, asked, given, why);

    return verdict == SENDIT_PASS ? put_item(self, asked, given, why) : verdict;
}
