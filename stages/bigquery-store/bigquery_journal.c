/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <zlib.h>

#define MAX_NAMES (16u << 20) /* bytes of the names of a part, inflated */
#define MAX_JOB_PARTS 20000u

static const char *const table_words[TABLES] = {"dicom", "instances"};
static const char *const part_words[] = {"", "queued", "loaded", "failed", "dropped", NULL};
static const char *const job_words[] = {"", "prepared", "sent", "loaded", "split", NULL};

/* ---- records ---- */

void journal_hash(const void *data, size_t length, char ret_hex[JOURNAL_SHA])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;

    if (!EVP_Digest(data, length, digest, &n, EVP_sha256(), NULL))
        n = 0;
    ret_hex[0] = '\0';
    for (unsigned int i = 0; i < n && 2 * i + 2 < JOURNAL_SHA; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
}

static int word_of(const char *const *words, const char *word)
{
    for (int i = 1; word && words[i]; i++)
        if (!strcmp(words[i], word))
            return i;
    return 0;
}

static const char *text_in(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text ? text : "";
}

static uint64_t number_in(const json_t *json, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(json, key));

    return n > 0 ? (uint64_t)n : 0;
}

static bool take_text(char *to, size_t size, const json_t *json, const char *key)
{
    int n = snprintf(to, size, "%s", text_in(json, key));

    return n > 0 && (size_t)n < size;
}

sendit_result journal_get(const struct sendit_stage_state *self, const char *key, json_t **ret_json,
                          uint64_t *ret_revision)
{
    const void *value;
    size_t length;
    sendit_result r = self->store->get(self->host, key, &value, &length, ret_revision);

    if (r != SENDIT_OK)
        return r;
    *ret_json = json_loadb(value, length, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(*ret_json))
        return SENDIT_OK;
    json_decref(*ret_json);
    return SENDIT_ECORRUPT;
}

sendit_result journal_put(const struct sendit_stage_state *self, const char *key, json_t *json,
                          uint64_t expected)
{
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    sendit_result r = SENDIT_ENOMEM;

    if (text)
        r = self->store->put(self->host, key, text, strlen(text), expected);
    json_decref(json);
    free(text);
    return r;
}

sendit_result journal_delete(const struct sendit_stage_state *self, const char *key)
{
    const void *value;
    uint64_t revision;
    size_t length;
    sendit_result r = self->store->get(self->host, key, &value, &length, &revision);

    if (r == SENDIT_OK)
        r = self->store->put(self->host, key, NULL, 0, revision);
    return r == SENDIT_EABSENT ? SENDIT_OK : r;
}

sendit_result journal_next(const struct sendit_stage_state *self, const char *prefix,
                           char key[JOURNAL_KEY])
{
    const char *next;
    sendit_result r = self->store->next(self->host, *key ? key : prefix, &next);

    if (r != SENDIT_OK)
        return r;
    if (strncmp(next, prefix, strlen(prefix)) || strlen(next) >= JOURNAL_KEY)
        return SENDIT_EABSENT;
    snprintf(key, JOURNAL_KEY, "%s", next);
    return SENDIT_OK;
}

void journal_key(char key[JOURNAL_KEY], const char *what, const char *batch)
{
    snprintf(key, JOURNAL_KEY, "%s/%s", what, batch);
}

sendit_result journal_waits(const struct sendit_stage_state *self, const char *batch)
{
    char prefix[JOURNAL_KEY], key[JOURNAL_KEY] = "";

    snprintf(prefix, sizeof(prefix), "wait/%s/", batch);
    return journal_next(self, prefix, key);
}

static sendit_result delete_all(const struct sendit_stage_state *self, const char *prefix)
{
    char key[JOURNAL_KEY] = "";
    sendit_result r;

    while ((r = journal_next(self, prefix, key)) == SENDIT_OK)
        if ((r = journal_delete(self, key)) != SENDIT_OK)
            return r;
    return r == SENDIT_EABSENT ? SENDIT_OK : r;
}

/* ---- rounds ---- */

static void round_key(char key[JOURNAL_KEY], const char *what, const char *batch, uint32_t number)
{
    snprintf(key, JOURNAL_KEY, "%s/%s/%08" PRIu32, what, batch, number);
}

static void part_key(char key[JOURNAL_KEY], const char *what, const char *batch, uint32_t round,
                     uint32_t number)
{
    snprintf(key, JOURNAL_KEY, "%s/%s/%08" PRIu32 "/%08" PRIu32, what, batch, round, number);
}

static bool part_of_json(const json_t *json, struct part *part)
{
    int table;

    for (table = 0; table < TABLES; table++)
        if (!strcmp(text_in(json, "table"), table_words[table]))
            break;
    part->table = (enum table)table;
    part->state = (enum part_state)word_of(part_words, text_in(json, "state"));
    part->rows = (uint32_t)number_in(json, "rows");
    part->values = (uint32_t)number_in(json, "values");
    part->sum.crc = (uint32_t)number_in(json, "crc");
    part->sum.raw = number_in(json, "raw");
    part->sum.bytes = number_in(json, "bytes");
    return table < TABLES && part->state && part->rows &&
           part->sum.bytes <= part->values * JOURNAL_VALUE &&
           take_text(part->sha, sizeof(part->sha), json, "sha") &&
           take_text(part->text, sizeof(part->text), json, "text") &&
           take_text(part->keys, sizeof(part->keys), json, "keys");
}

static sendit_result round_of_json(const json_t *json, struct round *round)
{
    const json_t *parts = json_object_get(json, "parts"), *part;
    size_t i, n = json_array_size(parts);

    if (!take_text(round->batch, sizeof(round->batch), json, "batch") || n > JOURNAL_MAX_PARTS)
        return SENDIT_ECORRUPT;
    round->number = (uint32_t)number_in(json, "round");
    round->at_ms = (int64_t)number_in(json, "at_ms");
    snprintf(round->fault, sizeof(round->fault), "%s", text_in(json, "fault"));
    round->told = json_is_true(json_object_get(json, "told"));
    round->parts = calloc(n ? n : 1, sizeof(*round->parts));
    if (!round->parts)
        return SENDIT_ENOMEM;
    round->n_parts = n;
    json_array_foreach(parts, i, part) if (!part_of_json(part, &round->parts[i]))
    {
        free(round->parts);
        return SENDIT_ECORRUPT;
    }
    return SENDIT_OK;
}

static json_t *json_of_round(const struct round *round)
{
    json_t *parts = json_array();

    for (size_t i = 0; parts && i < round->n_parts; i++) {
        const struct part *part = &round->parts[i];

        if (json_array_append_new(
                parts, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "table",
                                 table_words[part->table], "state", part_words[part->state], "rows",
                                 (json_int_t)part->rows, "values", (json_int_t)part->values, "crc",
                                 (json_int_t)part->sum.crc, "raw", (json_int_t)part->sum.raw,
                                 "bytes", (json_int_t)part->sum.bytes, "sha", part->sha, "text",
                                 part->text, "keys", part->keys))) {
            json_decref(parts);
            return NULL;
        }
    }
    return json_pack("{s:s, s:I, s:I, s:b, s:s, s:o}", "batch", round->batch, "round",
                     (json_int_t)round->number, "at_ms", (json_int_t)round->at_ms, "told",
                     round->told, "fault", round->fault, "parts", parts);
}

static sendit_result read_round(const struct sendit_stage_state *self, const char *key,
                                struct round *ret_round)
{
    json_t *json;
    sendit_result r;

    memset(ret_round, 0, sizeof(*ret_round));
    r = journal_get(self, key, &json, &ret_round->revision);
    if (r != SENDIT_OK)
        return r;
    r = round_of_json(json, ret_round);
    json_decref(json);
    return r;
}

void journal_free_rounds(struct round *rounds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(rounds[i].parts);
    free(rounds);
}

static void *grown(void *array, size_t n, size_t size)
{
    return n & (n - 1) ? array : realloc(array, (n ? 2 * n : 1) * size);
}

sendit_result journal_rounds(const struct sendit_stage_state *self, const char *batch, bool done,
                             struct round **ret_rounds, size_t *ret_n)
{
    char prefix[JOURNAL_KEY], key[JOURNAL_KEY] = "";
    struct round *rounds = NULL, *more;
    size_t n = 0;
    sendit_result r;

    snprintf(prefix, sizeof(prefix), "%s/%s%s", done ? "done" : "wait", batch ? batch : "",
             batch ? "/" : "");
    while ((r = journal_next(self, prefix, key)) == SENDIT_OK) {
        more = grown(rounds, n, sizeof(*rounds));
        r = SENDIT_ENOMEM;
        if (!more)
            break;
        rounds = more;
        r = read_round(self, key, &rounds[n]);
        if (r == SENDIT_EABSENT)
            continue; /* another worker was faster */
        if (r != SENDIT_OK)
            break;
        n++;
    }
    if (r != SENDIT_EABSENT) {
        journal_free_rounds(rounds, n);
        return r;
    }
    *ret_rounds = rounds;
    *ret_n = n;
    return SENDIT_OK;
}

sendit_result journal_read_round(const struct sendit_stage_state *self, const char *batch,
                                 uint32_t number, struct round *ret_round)
{
    char key[JOURNAL_KEY];

    round_key(key, "wait", batch, number);
    return read_round(self, key, ret_round);
}

sendit_result journal_write_round(const struct sendit_stage_state *self, const struct round *round)
{
    char key[JOURNAL_KEY];

    round_key(key, "wait", round->batch, round->number);
    return journal_put(self, key, json_of_round(round), round->revision);
}

static sendit_result delete_data(const struct sendit_stage_state *self, const char *batch,
                                 uint32_t number)
{
    char prefix[JOURNAL_KEY];

    snprintf(prefix, sizeof(prefix), "data/%s/%08" PRIu32 "/", batch, number);
    return delete_all(self, prefix);
}

sendit_result journal_close_round(const struct sendit_stage_state *self, const struct round *round)
{
    char key[JOURNAL_KEY];
    sendit_result r;

    round_key(key, "done", round->batch, round->number);
    r = journal_put(self, key, json_of_round(round), 0);
    if (r == SENDIT_OK || r == SENDIT_ECONFLICT) /* it was cut short here */
        r = delete_data(self, round->batch, round->number);
    round_key(key, "wait", round->batch, round->number);
    return r == SENDIT_OK ? journal_delete(self, key) : r;
}

sendit_result journal_clear_round(const struct sendit_stage_state *self, const char *batch,
                                  uint32_t number)
{
    char prefix[JOURNAL_KEY];
    sendit_result r = delete_data(self, batch, number);

    snprintf(prefix, sizeof(prefix), "name/%s/%08" PRIu32 "/", batch, number);
    return r == SENDIT_OK ? delete_all(self, prefix) : r;
}

/* ---- parts ---- */

static sendit_result put_names(const struct sendit_stage_state *self, const struct round *round,
                               uint32_t number, const char *names, size_t length)
{
    uLongf packed = compressBound((uLong)length);
    unsigned char *value = malloc(packed + 4);
    char key[JOURNAL_KEY];
    sendit_result r = SENDIT_ENOMEM;

    if (value && compress2(value + 4, &packed, (const Bytef *)names, (uLong)length, 1) == Z_OK) {
        for (int i = 0; i < 4; i++)
            value[i] = (unsigned char)(length >> (8 * i));
        part_key(key, "name", round->batch, round->number, number);
        r = self->store->put(self->host, key, value, packed + 4, 0);
    }
    free(value);
    return r;
}

sendit_result journal_put_part(const struct sendit_stage_state *self, const struct round *round,
                               uint32_t number, const unsigned char *data, const char *names,
                               size_t names_length)
{
    const struct part *part = &round->parts[number];
    char prefix[JOURNAL_KEY / 2], key[JOURNAL_KEY];
    sendit_result r = SENDIT_OK;

    snprintf(prefix, sizeof(prefix), "data/%s/%08" PRIu32 "/%08" PRIu32, round->batch,
             round->number, number);
    for (uint32_t i = 0; r == SENDIT_OK && i < part->values; i++) {
        size_t at = i * JOURNAL_VALUE, left = (size_t)part->sum.bytes - at;

        snprintf(key, sizeof(key), "%s/%04" PRIu32, prefix, i);
        r = self->store->put(self->host, key, data + at,
                             left < JOURNAL_VALUE ? left : JOURNAL_VALUE, 0);
    }
    return r == SENDIT_OK ? put_names(self, round, number, names, names_length) : r;
}

sendit_result journal_read_part(const struct sendit_stage_state *self, const struct round *round,
                                uint32_t number, unsigned char *to)
{
    const struct part *part = &round->parts[number];
    char prefix[JOURNAL_KEY / 2], key[JOURNAL_KEY], sha[JOURNAL_SHA];
    size_t at = 0;

    snprintf(prefix, sizeof(prefix), "data/%s/%08" PRIu32 "/%08" PRIu32, round->batch,
             round->number, number);
    for (uint32_t i = 0; i < part->values; i++) {
        const void *value;
        uint64_t revision;
        size_t length;
        sendit_result r;

        snprintf(key, sizeof(key), "%s/%04" PRIu32, prefix, i);
        r = self->store->get(self->host, key, &value, &length, &revision);
        if (r != SENDIT_OK)
            return r == SENDIT_EABSENT ? SENDIT_ECORRUPT : r;
        if (length > part->sum.bytes - at)
            return SENDIT_ECORRUPT;
        memcpy(to + at, value, length);
        at += length;
    }
    journal_hash(to, at, sha);
    return at == part->sum.bytes && !strcmp(sha, part->sha) ? SENDIT_OK : SENDIT_ECORRUPT;
}

sendit_result journal_read_names(const struct sendit_stage_state *self, const struct round *round,
                                 uint32_t number, char **ret_names)
{
    const unsigned char *value;
    const void *found;
    char key[JOURNAL_KEY], *names;
    uint64_t revision;
    uLongf length = 0;
    size_t n;
    sendit_result r;

    part_key(key, "name", round->batch, round->number, number);
    r = self->store->get(self->host, key, &found, &n, &revision);
    if (r != SENDIT_OK)
        return r == SENDIT_EABSENT ? SENDIT_ECORRUPT : r;
    value = found;
    for (size_t i = 0; i < 4 && n >= 4; i++)
        length |= (uLongf)value[i] << (8 * i);
    if (n < 4 || length > MAX_NAMES)
        return SENDIT_ECORRUPT;
    names = malloc(length + 1);
    if (!names)
        return SENDIT_ENOMEM;
    if (uncompress((Bytef *)names, &length, value + 4, (uLong)(n - 4)) != Z_OK) {
        free(names);
        return SENDIT_ECORRUPT;
    }
    names[length] = '\0';
    *ret_names = names;
    return SENDIT_OK;
}

/* ---- jobs ---- */

static void job_key(char key[JOURNAL_KEY], const struct job *job)
{
    snprintf(key, JOURNAL_KEY, "job/%s/%s", table_words[job->table], job->id);
}

static json_t *json_of_job(const struct job *job)
{
    json_t *parts = json_array();

    for (size_t i = 0; parts && i < job->n_parts; i++)
        if (json_array_append_new(parts, json_pack("[s, I, I]", job->parts[i].batch,
                                                   (json_int_t)job->parts[i].round,
                                                   (json_int_t)job->parts[i].number))) {
            json_decref(parts);
            return NULL;
        }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:o}", "table", table_words[job->table], "id",
                     job->id, "state", job_words[job->state], "attempt", (json_int_t)job->attempt,
                     "rows", (json_int_t)job->rows, "location", job->location, "parts", parts);
}

static bool job_part_of_json(const json_t *json, struct job_part *part)
{
    const char *batch = json_string_value(json_array_get(json, 0));

    part->round = (uint32_t)json_integer_value(json_array_get(json, 1));
    part->number = (uint32_t)json_integer_value(json_array_get(json, 2));
    return batch && *batch &&
           snprintf(part->batch, sizeof(part->batch), "%s", batch) < SENDIT_ID_SIZE;
}

static sendit_result job_of_json(const json_t *json, struct job *job)
{
    const json_t *parts = json_object_get(json, "parts"), *part;
    size_t i, n = json_array_size(parts);
    int table;

    for (table = 0; table < TABLES; table++)
        if (!strcmp(text_in(json, "table"), table_words[table]))
            break;
    job->table = (enum table)table;
    job->state = (enum job_state)word_of(job_words, text_in(json, "state"));
    job->attempt = (uint32_t)number_in(json, "attempt");
    job->rows = number_in(json, "rows");
    snprintf(job->location, sizeof(job->location), "%s", text_in(json, "location"));
    if (table == TABLES || !job->state || !take_text(job->id, sizeof(job->id), json, "id") || !n ||
        n > MAX_JOB_PARTS)
        return SENDIT_ECORRUPT;
    job->parts = calloc(n, sizeof(*job->parts));
    if (!job->parts)
        return SENDIT_ENOMEM;
    job->n_parts = n;
    json_array_foreach(parts, i, part) if (!job_part_of_json(part, &job->parts[i]))
    {
        free(job->parts);
        return SENDIT_ECORRUPT;
    }
    return SENDIT_OK;
}

void journal_free_jobs(struct job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(jobs[i].parts);
    free(jobs);
}

static sendit_result read_job(const struct sendit_stage_state *self, const char *key,
                              struct job *job)
{
    json_t *json;
    sendit_result r;

    memset(job, 0, sizeof(*job));
    r = journal_get(self, key, &json, &job->revision);
    if (r != SENDIT_OK)
        return r;
    r = job_of_json(json, job);
    json_decref(json);
    return r;
}

sendit_result journal_jobs(const struct sendit_stage_state *self, struct job **ret_jobs,
                           size_t *ret_n)
{
    struct job *jobs = NULL, *more;
    char key[JOURNAL_KEY] = "";
    size_t n = 0;
    sendit_result r;

    while ((r = journal_next(self, "job/", key)) == SENDIT_OK) {
        more = grown(jobs, n, sizeof(*jobs));
        r = SENDIT_ENOMEM;
        if (!more)
            break;
        jobs = more;
        r = read_job(self, key, &jobs[n]);
        if (r == SENDIT_EABSENT)
            continue;
        if (r != SENDIT_OK)
            break;
        n++;
    }
    if (r != SENDIT_EABSENT) {
        journal_free_jobs(jobs, n);
        return r;
    }
    *ret_jobs = jobs;
    *ret_n = n;
    return SENDIT_OK;
}

sendit_result journal_write_job(const struct sendit_stage_state *self, const struct job *job)
{
    char key[JOURNAL_KEY];

    job_key(key, job);
    return journal_put(self, key, json_of_job(job), job->revision);
}

sendit_result journal_delete_job(const struct sendit_stage_state *self, const struct job *job)
{
    char key[JOURNAL_KEY];

    job_key(key, job);
    return journal_delete(self, key);
}

static const struct round *find_round(const struct round *rounds, size_t n,
                                      const struct job_part *wanted)
{
    for (size_t i = 0; i < n; i++)
        if (rounds[i].number == wanted->round && !strcmp(rounds[i].batch, wanted->batch))
            return wanted->number < rounds[i].n_parts ? &rounds[i] : NULL;
    return NULL;
}

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, JOURNAL_SHA);
}

/* Where the rows go. */
static void name_table(const struct sendit_stage_state *self, enum table table,
                       char ret_hex[JOURNAL_SHA])
{
    char text[1400]; /* names of projects and datasets are bounded by check() */

    snprintf(text, sizeof(text), "%s %s %s", self->place.project, self->place.dataset,
             table_words[table]);
    journal_hash(text, strlen(text), ret_hex);
}

/* What makes a part different from one of the same rows that was put down another time. */
static void name_part(const struct round *round, uint32_t number, char ret_hex[JOURNAL_SHA])
{
    char text[SENDIT_ID_SIZE + 64];

    snprintf(text, sizeof(text), "%s %" PRIu32 " %" PRIu32 " %" PRId64, round->batch, round->number,
             number, round->at_ms);
    journal_hash(text, strlen(text), ret_hex);
}

bool journal_name_job(const struct sendit_stage_state *self, struct job *job,
                      const struct round *rounds, size_t n_rounds)
{
    char(*words)[JOURNAL_SHA] = calloc(3 * job->n_parts + 1, sizeof(*words));
    size_t n = job->n_parts;

    if (!words)
        return false;
    job->rows = 0;
    name_table(self, job->table, words[0]);
    for (size_t i = 0; i < n; i++) {
        uint32_t number = job->parts[i].number;
        const struct round *round = find_round(rounds, n_rounds, &job->parts[i]);

        if (!round || round->parts[number].table != job->table) {
            free(words);
            return false;
        }
        memcpy(words[1 + i], round->parts[number].keys, JOURNAL_SHA);
        memcpy(words[1 + n + i], round->parts[number].text, JOURNAL_SHA); /* in their order */
        name_part(round, number, words[1 + 2 * n + i]);
        job->rows += round->parts[number].rows;
    }
    qsort(words[1], n, sizeof(*words), by_text);
    journal_hash(words, (3 * n + 1) * sizeof(*words), job->id);
    job->id[40] = '\0';
    free(words);
    return true;
}
