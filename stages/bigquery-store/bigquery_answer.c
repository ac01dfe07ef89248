/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 8

static const struct {
    const char *reason;
    enum answer_of_job what;
} reasons[] = {
    {"backendError", ANSWER_TRANSIENT},
    {"internalError", ANSWER_TRANSIENT},
    {"jobBackendError", ANSWER_TRANSIENT},
    {"jobInternalError", ANSWER_TRANSIENT},
    {"jobRateLimitExceeded", ANSWER_TRANSIENT},
    {"rateLimitExceeded", ANSWER_TRANSIENT},
    {"tableUnavailable", ANSWER_TRANSIENT},
    {"timeout", ANSWER_TRANSIENT},
    {"stopped", ANSWER_TRANSIENT}, /* somebody cancelled it */
    {"quotaExceeded", ANSWER_QUOTA},
    {"notFound", ANSWER_NO_TABLE},
    {"uploadTooLarge", ANSWER_TOO_LARGE},
    {"tooLarge", ANSWER_TOO_LARGE},
    {"accessDenied", ANSWER_DENIED},
    {"forbidden", ANSWER_DENIED},
    {"billingNotEnabled", ANSWER_DENIED},
    {"invalid", ANSWER_ROWS},
    {"parseError", ANSWER_ROWS},
    {"invalidValue", ANSWER_ROWS},
};

enum answer_of_job answer_of_reason(const char *reason)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (!strcmp(reasons[i].reason, reason))
            return reasons[i].what;
    return ANSWER_OTHER;
}

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static void take_word(char *to, size_t size, const char *word)
{
    size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

    *to = '\0';
    if (!word[n] && n < size)
        snprintf(to, size, "%s", word);
}

/* Which column the sentences are about, if they name one. */
static const char *find_column(enum table table, const json_t *status)
{
    const json_t *errors = json_object_get(status, "errors"), *error;
    const char *column =
        schema_column_in(table, text_in(json_object_get(status, "errorResult"), "message"));
    size_t i;

    json_array_foreach(errors, i, error) if (!column) column =
        schema_column_in(table, text_in(error, "message"));
    return column;
}

/* Numbers of 64 bits come as text. */
static bool is_number(const json_t *value, uint64_t wanted)
{
    const char *text = json_string_value(value);
    char *end;

    if (json_is_integer(value))
        return json_integer_value(value) >= 0 && (uint64_t)json_integer_value(value) == wanted;
    return text && *text && strtoull(text, &end, 10) == wanted && !*end;
}

static enum answer_of_job of_done(const json_t *job, enum table table, uint64_t rows,
                                  struct answer_job *ret)
{
    const json_t *status = json_object_get(job, "status");
    const json_t *error = json_object_get(status, "errorResult");
    const json_t *written =
        json_object_get(json_object_get(json_object_get(job, "statistics"), "load"), "outputRows");

    if (error && !json_is_null(error)) {
        take_word(ret->reason, sizeof(ret->reason), text_in(error, "reason"));
        ret->column = find_column(table, status);
        return answer_of_reason(ret->reason);
    }
    return written && !is_number(written, rows) ? ANSWER_SHORT : ANSWER_LOADED;
}

void answer_read_job(const char *body, size_t length, enum table table, const char *id,
                     uint64_t rows, struct answer_job *ret)
{
    json_t *job = json_loadb(body, length, JSON_REJECT_DUPLICATES, NULL);
    const json_t *reference = json_object_get(job, "jobReference");
    const char *state = text_in(json_object_get(job, "status"), "state");

    memset(ret, 0, sizeof(*ret));
    if (json_is_object(job) && !strcmp(text_in(reference, "jobId"), id)) {
        take_word(ret->location, sizeof(ret->location), text_in(reference, "location"));
        if (!strcmp(state, "DONE"))
            ret->what = of_done(job, table, rows, ret);
        else if (!strcmp(state, "PENDING") || !strcmp(state, "RUNNING"))
            ret->what = ANSWER_RUNS;
    }
    json_decref(job);
}

/* The fields of a row: {"f":[{"v":"text"},{"v":null}]}. */
static int read_row(const json_t *row, size_t columns, const char *values[MAX_COLUMNS])
{
    const json_t *fields = json_object_get(row, "f");

    if (json_array_size(fields) != columns)
        return -1;
    for (size_t i = 0; i < columns; i++) {
        const json_t *value = json_object_get(json_array_get(fields, i), "v");

        if (!json_is_string(value) && !json_is_null(value))
            return -1;
        values[i] = json_string_value(value);
    }
    return 0;
}

int answer_read_page(const char *body, size_t length, size_t columns,
                     int (*each)(void *ctx, const char *const *values), void *ctx,
                     char ret_token[1024])
{
    json_t *page = json_loadb(body, length, JSON_REJECT_DUPLICATES, NULL);
    const json_t *rows = json_object_get(page, "rows"), *row;
    const char *values[MAX_COLUMNS], *token = text_in(page, "pageToken");
    int result = json_is_object(page) && columns <= MAX_COLUMNS && strlen(token) < 1024 &&
                         (!rows || json_is_array(rows))
                     ? 0
                     : -1;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (!result)
            result = read_row(row, columns, values);
        if (!result)
            result = each(ctx, values);
    }
    if (!result)
        snprintf(ret_token, 1024, "%s", token);
    json_decref(page);
    return result;
}
