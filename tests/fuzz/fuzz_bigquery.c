/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_bigquery.c - what BigQuery answers.  Whatever it is: a job counts as loaded only if it says
 * DONE and no errorResult under the id that was asked for, a patch of a table has all that the
 * table had, no sentence of ours has a word of theirs that is none, and JSON with shorter fractions
 * reads the same.
 */
#include "bigquery_answer.h"
#include "bigquery_row.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || (unsigned char)*text > 126)
            abort();
}

static void try_job(const char *text, size_t size)
{
    struct answer_job says;
    json_t *job, *status;

    answer_read_job(text, size, TABLE_INSTANCES, "sendit-1-1", 7, &says);
    is_plain(says.reason);
    is_plain(says.location);
    if (says.what != ANSWER_LOADED)
        return;
    job = json_loadb(text, size, 0, NULL);
    status = json_object_get(job, "status");
    if (strcmp(json_string_value(json_object_get(status, "state")), "DONE") ||
        (json_object_get(status, "errorResult") &&
         !json_is_null(json_object_get(status, "errorResult"))) ||
        strcmp(json_string_value(json_object_get(json_object_get(job, "jobReference"), "jobId")),
               "sendit-1-1"))
        abort();
    json_decref(job);
}

static void try_table(const char *text, size_t size, enum table table)
{
    json_t *answer = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL), *patch = NULL;
    const json_t *before = json_object_get(json_object_get(answer, "schema"), "fields"), *after;
    struct sendit_why why = {0};
    sendit_verdict verdict;

    if (json_is_object(answer)) {
        verdict = schema_compare(table, answer, &patch, &why);
        is_plain(why.text);
        if (verdict != SENDIT_PASS && verdict != SENDIT_SKIP && !why.code[0])
            abort();
        after = json_object_get(json_object_get(patch, "schema"), "fields");
        if ((verdict == SENDIT_SKIP) != (patch != NULL))
            abort();
        for (size_t i = 0; patch && i < json_array_size(before); i++)
            if (!json_equal(json_array_get(before, i), json_array_get(after, i)))
                abort();
        json_decref(patch);
    }
    json_decref(answer);
}

static int any(void *ctx, const char *const *values)
{
    (void)ctx;
    return values[0] && strlen(values[0]) > 1000 ? -1 : 0;
}

static void try_fractions(const char *text, size_t size)
{
    json_t *before = json_loadb(text, size, 0, NULL), *after;
    char *words = before ? json_dumps(before, JSON_COMPACT) : NULL;
    size_t n = words ? strlen(words) : 0;

    if (words) {
        row_shorten(words);
        after = json_loads(words, JSON_DECODE_INT_AS_REAL, NULL);
        json_decref(before);
        before = json_loadb(text, size, JSON_DECODE_INT_AS_REAL, NULL);
        if (strlen(words) > n || !json_equal(before, after))
            abort();
        json_decref(after);
    }
    free(words);
    json_decref(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char token[1024], *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    try_job(text, size);
    try_table(text, size, TABLE_DICOM);
    try_table(text, size, TABLE_INSTANCES);
    (void)answer_read_page(text, size, 2, any, NULL, token);
    try_fractions(text, size);
    (void)schema_column_in(TABLE_INSTANCES, text);
    free(text);
    return 0;
}
