/* SPDX-License-Identifier: Apache-2.0 */
#include "identifier_answer.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

static uint64_t hash_of(const char *salt, const char *study, const char *kind, const char *id)
{
    const char *const words[] = {salt, "\n", study, "\n", kind, "\n", id};
    uint64_t hash = 14695981039346656037u;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        for (const char *at = words[i]; *at; at++)
            hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    return hash ^ (hash >> 29);
}

static json_t *suid_of(const char *salt, const char *study, const char *kind, const char *id)
{
    return json_sprintf("GL%012llx",
                        (unsigned long long)(hash_of(salt, study, kind, id) & 0xffffffffffffu));
}

static int jitter_of(const char *salt, const char *study, const char *patient)
{
    return -1 - (int)(hash_of(salt, study, "days", patient) % 365);
}

static int is_id(const json_t *value)
{
    const char *text = json_string_value(value);

    return text && *text && !text[strspn(text, LETTERS)];
}

/* "1999-01-01T00:00:00Z", a moment that there is. */
static int read_time(const char *text, struct tm *ret_time)
{
    struct tm again;
    time_t at;
    int n = 0;

    memset(ret_time, 0, sizeof(*ret_time));
    if (strlen(text) != 20 ||
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &ret_time->tm_year, &ret_time->tm_mon,
               &ret_time->tm_mday, &ret_time->tm_hour, &ret_time->tm_min, &ret_time->tm_sec,
               &n) != 6 ||
        n != 20)
        return 0;
    ret_time->tm_year -= 1900;
    ret_time->tm_mon -= 1;
    again = *ret_time;
    at = timegm(&again);
    return gmtime_r(&at, &again) && again.tm_mday == ret_time->tm_mday &&
           again.tm_mon == ret_time->tm_mon;
}

/* Moved by days, as a local time with an offset: what the real one does. */
static json_t *moved(const char *text, int days)
{
    struct tm moment;
    char out[40];

    if (!read_time(text, &moment))
        return NULL;
    moment.tm_mday += days;
    (void)timegm(&moment);
    strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%S-0800", &moment);
    return json_string(out);
}

static int is_among(const json_t *value, const char *const *words)
{
    const char *text = json_string_value(value);

    for (; text && *words; words++)
        if (!strcmp(text, *words))
            return 1;
    return 0;
}

static const char *wrong_fields(const json_t *fields)
{
    if (!json_is_array(fields) || !json_array_size(fields))
        return "custom_fields is no array with something in it";
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);

        if (json_object_size(field) != 2 || !json_is_string(json_object_get(field, "key")) ||
            !json_is_string(json_object_get(field, "value")))
            return "a custom field has more or less than key and value";
    }
    return NULL;
}

/* What patients and examinations have alike. */
static const char *wrong_entry(const json_t *entry, const char *const *sources,
                               const char *const *keys)
{
    const json_t *time = json_object_get(entry, "id_timestamp");
    const json_t *fields = json_object_get(entry, "custom_fields");
    struct tm moment;
    const char *key;
    json_t *value;

    if (!json_is_object(entry))
        return "an entry is no object";
    json_object_foreach((json_t *)(uintptr_t)entry, key, value)
    {
        size_t i = 0;

        while (keys[i] && strcmp(keys[i], key))
            i++;
        if (!keys[i])
            return "an entry has a key that nobody knows";
    }
    if (!is_id(json_object_get(entry, "id")))
        return "an id is none";
    if (!is_among(json_object_get(entry, "id_source"), sources))
        return "a source is not in the list";
    if (time && (!json_is_string(time) || !read_time(json_string_value(time), &moment)))
        return "a timestamp is none";
    return fields ? wrong_fields(fields) : NULL;
}

static json_t *answer_entry(const json_t *entry, const char *salt, const char *study,
                            const char *kind, const char *of, int jitter)
{
    const char *id = json_string_value(json_object_get(entry, "id"));
    const char *time = json_string_value(json_object_get(entry, "id_timestamp"));
    char original[600];
    json_t *answer;

    snprintf(original, sizeof(original), "%s/%s", of, id);
    answer = json_pack("{s:s, s:O, s:o, s:i}", "id", id, "id_source",
                       json_object_get(entry, "id_source"), "suid",
                       suid_of(salt, study, kind, original), "jitter", jitter);
    if (time)
        json_object_set_new(answer, "jittered_timestamp", moved(time, jitter));
    return answer;
}

static const char *wrong_entity(const json_t *entity)
{
    static const char *const sources[] = {"stanford", "Stanford MRN", "StanfordMRN", NULL};
    static const char *const item_sources[] = {
        "pacs",       "Stanford PACS",   "GE PACS", "GE PACS Accession Number",
        "Lab Result", "DCM Accession #", NULL};
    static const char *const keys[] = {"id",    "id_source",     "id_timestamp",
                                       "items", "custom_fields", NULL};
    static const char *const item_keys[] = {"id", "id_source", "id_timestamp", "custom_fields",
                                            NULL};
    const json_t *items = json_object_get(entity, "items");
    const char *wrong = wrong_entry(entity, sources, keys);

    if (!wrong && (!json_is_array(items) || !json_array_size(items)))
        wrong = "a patient has no items";
    if (!wrong && json_array_size(items) > ANSWER_MAX_ITEMS)
        wrong = "there are more than 1000 items";
    for (size_t i = 0; !wrong && i < json_array_size(items); i++)
        wrong = wrong_entry(json_array_get(items, i), item_sources, item_keys);
    return wrong;
}

static json_t *answer_entity(const json_t *entity, const char *salt, const char *study)
{
    const char *id = json_string_value(json_object_get(entity, "id"));
    const json_t *items = json_object_get(entity, "items");
    int jitter = jitter_of(salt, study, id);
    json_t *answer = answer_entry(entity, salt, study, "patient", "", jitter);
    json_t *list = json_array();

    for (size_t i = 0; i < json_array_size(items); i++)
        json_array_append_new(
            list, answer_entry(json_array_get(items, i), salt, study, "item", id, jitter));
    json_object_set_new(answer, "custom_fields", json_array());
    json_object_set_new(answer, "items", list);
    return answer;
}

json_t *answer_dasher(const char *study, const char *salt, const json_t *body,
                      const char **ret_wrong)
{
    const json_t *identifiers = json_object_get(body, "identifiers");
    json_t *results;

    *ret_wrong = NULL;
    if (json_object_size(body) != 1 || !json_is_array(identifiers))
        *ret_wrong = "the body is not {\"identifiers\": [...]}";
    for (size_t i = 0; !*ret_wrong && i < json_array_size(identifiers); i++)
        *ret_wrong = wrong_entity(json_array_get(identifiers, i));
    if (*ret_wrong)
        return NULL;
    results = json_array();
    for (size_t i = 0; i < json_array_size(identifiers); i++)
        json_array_append_new(results, answer_entity(json_array_get(identifiers, i), salt, study));
    return json_pack("{s:o}", "results", results);
}

json_t *answer_flat(const char *study, const char *salt, const char *patient, const char *exam,
                    const char **ret_wrong)
{
    char original[600];

    *ret_wrong = !patient || !exam ? "X-Patient or X-Exam is missing" : NULL;
    if (*ret_wrong)
        return NULL;
    snprintf(original, sizeof(original), "%s/%s", patient, exam);
    return json_pack("{s:s, s:s, s:o, s:o, s:i}", "patient", patient, "exam", exam, "pseudonym",
                     suid_of(salt, study, "patient", patient), "code",
                     suid_of(salt, study, "item", original), "days",
                     jitter_of(salt, study, patient));
}
