/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of BigQuery: tabledata.insertAll and tabledata.list. */
#include "google_bigquery.h"

#include <stdlib.h>
#include <string.h>

#define MAX_REQUEST (10u << 20)
#define MAX_ROWS 50000

/* "table key/insertId": until when (us) it is remembered */
static json_t *seen;

static const char *text_of(const json_t *value, const char *name)
{
    return json_string_value(json_object_get(value, name));
}

/* ---- writing ---- */

static int wrong_request(struct call *call, const json_t *body)
{
    json_t *rows = json_object_get(body, "rows"), *row;
    const char *trace = text_of(body, "traceId");
    size_t i;

    if (!bigquery_only(call, body, "insert_all_data",
                       " kind rows skipInvalidRows ignoreUnknownValues templateSuffix traceId "))
        return 1;
    if (!json_array_size(rows))
        refuse(call, 400, "invalid", "No rows present in the request.");
    else if (json_array_size(rows) > MAX_ROWS)
        refuse(call, 400, "invalid", "too many rows present in the request, limit: 50000");
    else if (trace && strlen(trace) > 36)
        refuse(call, 400, "invalid", "Invalid traceId.");
    json_array_foreach(rows, i, row)
    {
        const char *id = text_of(row, "insertId");

        if (call->answer.status ||
            !bigquery_only(call, row, "insert_all_data.rows", " insertId json "))
            return 1;
        if (id && strlen(id) > 128)
            refuse(call, 400, "invalid", "insertId is over 128 bytes.");
        else if (!json_is_object(json_object_get(row, "json")))
            refuse(call, 400, "invalid", "A row has no json.");
    }
    return call->answer.status != 0;
}

static json_t *row_error(size_t i, json_t *errors)
{
    return json_pack("{s:I, s:o}", "index", (json_int_t)i, "errors", errors);
}

/* Each row's errors by its index; as Google does it, one bad row stops the others. */
static json_t *judge(struct call *call, const json_t *body, const json_t *schema)
{
    json_t *rows = json_object_get(body, "rows"), *row, *errors = json_array(),
           *bad = json_object();
    int ignore = json_is_true(json_object_get(body, "ignoreUnknownValues"));
    int skip = json_is_true(json_object_get(body, "skipInvalidRows"));
    json_t *told = json_object_get(call->fault, "rows");
    size_t i, k;
    char name[24];

    json_array_foreach(rows, i, row)
    {
        json_t *wrong = schema_row_errors(schema, json_object_get(row, "json"), 1, ignore), *one;

        json_array_foreach(told, k, one)
        {
            if (fault_is(call, "insert_errors") && json_integer_value(one) == (json_int_t)i &&
                !wrong)
                wrong = json_pack("[{s:s, s:s, s:s}]", "reason", "invalid", "location", "",
                                  "message", "as it was told");
        }
        snprintf(name, sizeof(name), "%zu", i);
        if (wrong)
            json_object_set_new(bad, name, wrong);
    }
    json_array_foreach(rows, i, row)
    {
        json_t *wrong;

        snprintf(name, sizeof(name), "%zu", i);
        wrong = json_object_get(bad, name);
        if (wrong)
            json_array_append_new(errors, row_error(i, json_incref(wrong)));
        else if (json_object_size(bad) && !skip)
            json_array_append_new(errors,
                                  row_error(i, json_pack("[{s:s, s:s, s:s}]", "reason", "stopped",
                                                         "location", "", "message", "")));
    }
    json_decref(bad);
    return errors;
}

static int is_error(const json_t *errors, size_t i)
{
    json_t *one;
    size_t k;

    json_array_foreach((json_t *)(uintptr_t)errors, k, one)
    {
        if (json_integer_value(json_object_get(one, "index")) == (json_int_t)i)
            return 1;
    }
    return 0;
}

/* Google remembers an insertId for about a minute, and promises nothing. */
static int was_seen(const char *key, const char *id)
{
    char name[BIGQUERY_KEY + 160];
    int64_t now = now_us();

    if (!id)
        return 0;
    if (!seen)
        seen = json_object();
    snprintf(name, sizeof(name), "%s/%s", key, id);
    if (json_integer_value(json_object_get(seen, name)) > now)
        return 1;
    json_object_set_new(
        seen, name, json_integer(now + script_number("insert_id_seconds", 60) * (int64_t)1000000));
    return 0;
}

static void keep_rows(const char *key, const json_t *body, const json_t *errors)
{
    json_t *rows = json_object_get(body, "rows"), *row;
    char path[4096], file[64];
    int64_t n = 0;
    FILE *to;
    size_t i;

    snprintf(file, sizeof(file), "rows-%lld", (long long)next_generation());
    snprintf(path, sizeof(path), "%s/data/%s", google.folder, file);
    to = fopen(path, "w");
    if (!to)
        abort();
    json_array_foreach(rows, i, row)
    {
        char *text;

        if (is_error(errors, i) || was_seen(key, text_of(row, "insertId")))
            continue;
        text = json_dumps(json_object_get(row, "json"), JSON_COMPACT);
        fprintf(to, "%s\n", text);
        free(text);
        n++;
    }
    if (fclose(to))
        abort();
    bigquery_add_rows(key, file, n, 0);
    journal_write("bq_rows",
                  json_pack("{s:s, s:s, s:I}", "key", key, "file", file, "rows", (json_int_t)n));
}

void rows_insert(struct call *call)
{
    json_t *table, *body, *errors, *answer;
    char key[BIGQUERY_KEY];

    jobs_settle();
    if (!auth_scope(call, BIGQUERY_SCOPES " bigquery.insertdata") ||
        !auth_may(call, "bigquery.tables.updateData", "the table"))
        return;
    if (call->length > MAX_REQUEST) {
        refuse(call, 413, "requestTooLarge",
               "Request payload size exceeds the limit: 10485760 bytes.");
        return;
    }
    table = bigquery_open_table(call);
    body = table ? call_json(call) : NULL;
    if (!body || wrong_request(call, body))
        return;
    if (json_object_get(json_object_get(table, "r"), "view")) {
        refuse(call, 400, "invalid", "Cannot add rows to a table of type VIEW.");
        return;
    }
    bigquery_key(key, call->args[0], call->args[1], call->args[2]);
    errors = judge(call, body, json_object_get(json_object_get(table, "r"), "schema"));
    keep_rows(key, body, errors);
    answer = json_pack("{s:s}", "kind", "bigquery#tableDataInsertAllResponse");
    if (json_array_size(errors))
        json_object_set(answer, "insertErrors", errors);
    json_decref(errors);
    answer_json(call, 200, answer);
}

/* ---- reading ---- */

/* Whether "a.b" is among "x,a.b", or all of "a" is, or something below it. */
static int is_selected(const char *list, const char *name)
{
    size_t n = strlen(name);

    if (!list || !*list)
        return 1;
    for (const char *at = list; *at; at += *at == ',') {
        size_t length = strcspn(at, ",");

        if ((length == n && !strncmp(at, name, n)) ||
            (length > n && !strncmp(at, name, n) && at[n] == '.') ||
            (length < n && !strncmp(at, name, length) && name[length] == '.'))
            return 1;
        at += length;
    }
    return 0;
}

static json_t *show_row(const json_t *fields, const json_t *row, const char *list,
                        const char *prefix, int micros);

/* Microseconds of "2020-01-02T03:04:05.678Z". */
static int64_t micros_of(const char *text)
{
    int y, mo, d, h, mi, s, n = 0, zone_h = 0, zone_m = 0;
    int64_t days, us = 0;
    char sign[2];

    if (sscanf(text, "%d-%d-%d%*1[T ]%d:%d:%d%n", &y, &mo, &d, &h, &mi, &s, &n) != 6)
        return 0;
    text += n;
    if (*text == '.') {
        int64_t unit = 100000;

        for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10)
            us += (*text - '0') * unit;
    }
    if (sscanf(text, "%1[+-]%d:%d", sign, &zone_h, &zone_m) != 3)
        zone_h = zone_m = 0;
    else if (sign[0] == '-')
        zone_h = -zone_h, zone_m = -zone_m;
    y -= mo <= 2;
    days = 365 * (int64_t)y + y / 4 - y / 100 + y / 400 + (153 * (mo + (mo > 2 ? -3 : 9)) + 2) / 5 +
           d - 1 - 719468;
    return (((days * 24 + h - zone_h) * 60 + mi - zone_m) * 60 + s) * 1000000 + us;
}

static json_t *show_value(const json_t *field, const json_t *value, const char *list,
                          const char *where, int micros)
{
    const char *type = text_of(field, "type");
    json_t *shown;
    char *text;

    if (!strcmp(type, "RECORD"))
        return show_row(json_object_get(field, "fields"), value, list, where, micros);
    if (!strcmp(type, "JSON") && !json_is_string(value)) {
        text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        shown = json_string(text);
        free(text);
        return shown;
    }
    if (!strcmp(type, "JSON")) {
        json_t *inner = json_loads(json_string_value(value), JSON_DECODE_ANY, NULL);

        /* Streamed as a text it is that value, loaded as a text it is a text. */
        text = json_dumps(inner ? inner : value, JSON_COMPACT | JSON_ENCODE_ANY);
        shown = json_string(text);
        json_decref(inner);
        free(text);
        return shown;
    }
    if (!strcmp(type, "TIMESTAMP") && json_is_string(value)) {
        int64_t us = micros_of(json_string_value(value));

        return micros ? json_sprintf("%lld", (long long)us)
                      : json_sprintf("%lld.%06lld", (long long)(us / 1000000),
                                     (long long)(us % 1000000));
    }
    if (json_is_string(value))
        return json_incref((json_t *)(uintptr_t)value);
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    shown = json_string(text);
    free(text);
    return shown;
}

static json_t *show_row(const json_t *fields, const json_t *row, const char *list,
                        const char *prefix, int micros)
{
    json_t *cells = json_array(), *field;
    char where[512];
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)fields, i, field)
    {
        const json_t *value = json_object_get(row, text_of(field, "name"));
        const char *mode = text_of(field, "mode");
        json_t *shown = json_null(), *one;
        size_t k;

        snprintf(where, sizeof(where), "%s%s%s", prefix, *prefix ? "." : "",
                 text_of(field, "name"));
        if (!is_selected(list, where))
            continue;
        if (mode && !strcmp(mode, "REPEATED")) {
            shown = json_array();
            json_array_foreach((json_t *)(uintptr_t)value, k, one) json_array_append_new(
                shown, json_pack("{s:o}", "v", show_value(field, one, list, where, micros)));
        } else if (value && !json_is_null(value)) {
            shown = show_value(field, value, list, where, micros);
        }
        json_array_append_new(cells, json_pack("{s:o}", "v", shown));
    }
    return json_pack("{s:o}", "f", cells);
}

static void read_rows(json_t *to, const json_t *table, int64_t from, int64_t most, const char *list,
                      int micros)
{
    const json_t *fields =
        json_object_get(json_object_get(json_object_get(table, "r"), "schema"), "fields");
    json_t *part;
    char path[4096], *line = NULL;
    size_t i, size = 0;
    int64_t n = 0;

    json_array_foreach(json_object_get(table, "parts"), i, part)
    {
        int64_t rows = json_integer_value(json_object_get(part, "rows"));
        FILE *file;

        if (n + rows <= from || n >= from + most) {
            n += rows;
            continue;
        }
        snprintf(path, sizeof(path), "%s/data/%s", google.folder, text_of(part, "file"));
        file = fopen(path, "r");
        for (int64_t k = 0; file && k < rows && getline(&line, &size, file) > 0; k++, n++) {
            json_t *row = n >= from && n < from + most ? json_loads(line, 0, NULL) : NULL;

            if (row)
                json_array_append_new(to, show_row(fields, row, list, "", micros));
            json_decref(row);
        }
        if (file)
            fclose(file);
    }
    free(line);
}

void rows_list(struct call *call)
{
    const char *list = call_query(call, "selectedFields");
    const char *format = call_query(call, "formatOptions.useInt64Timestamp");
    json_t *table, *rows, *answer;
    int64_t from, most, total;

    jobs_settle();
    if (!auth_scope(call, BIGQUERY_SCOPES " bigquery.readonly") ||
        !auth_may(call, "bigquery.tables.getData", "the table"))
        return;
    table = bigquery_open_table(call);
    if (!table)
        return;
    if (json_object_get(json_object_get(table, "r"), "view")) {
        refuse(call, 400, "invalid", "Cannot list a table of type VIEW.");
        return;
    }
    bigquery_page(call, &from, &most);
    total = bigquery_count_rows(table);
    rows = json_array();
    read_rows(rows, table, from, most, list, format && !strcmp(format, "true"));
    answer = json_pack("{s:s, s:s, s:o}", "kind", "bigquery#tableDataList", "etag",
                       "CAE=", "totalRows", json_sprintf("%lld", (long long)total));
    if (json_array_size(rows))
        json_object_set(answer, "rows", rows);
    json_decref(rows);
    if (from + most < total && most)
        json_object_set_new(answer, "pageToken", json_sprintf("%lld", (long long)(from + most)));
    answer_json(call, 200, answer);
}
