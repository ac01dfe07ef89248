/* SPDX-License-Identifier: Apache-2.0 */
/* BigQuery: datasets and tables. */
#include "google_bigquery.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ORIGIN "https://bigquery.googleapis.com/bigquery/v2/projects/"

static json_t *datasets, *tables;

const char *bigquery_key(char to[BIGQUERY_KEY], const char *project, const char *dataset,
                         const char *table)
{
    snprintf(to, BIGQUERY_KEY, "%s:%s%s%s", project ? project : "", dataset ? dataset : "",
             table ? "." : "", table ? table : "");
    return to;
}

static void put(json_t **map, const char *key, json_t *value)
{
    if (!*map)
        *map = json_object();
    json_object_set_new(*map, key, value);
}

json_t *bigquery_find_table(const char *key)
{
    return json_object_get(tables, key);
}

json_t *bigquery_find_dataset(const char *project, const char *dataset)
{
    char key[BIGQUERY_KEY];

    return json_object_get(datasets, bigquery_key(key, project, dataset, NULL));
}

static const char *text_of(const json_t *value, const char *name)
{
    return json_string_value(json_object_get(value, name));
}

/* ---- what is asked ---- */

int bigquery_only(struct call *call, const json_t *value, const char *where, const char *names)
{
    const char *key;
    json_t *member;
    char word[80];

    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        snprintf(word, sizeof(word), " %s ", key);
        if (strstr(names, word))
            continue;
        refuse(call, 400, "badRequest",
               "Invalid JSON payload received. Unknown name \"%s\" at '%s': Cannot find field.",
               key, where);
        return 0;
    }
    return 1;
}

int bigquery_is_id(const char *text, size_t most, int dashes)
{
    size_t length = text ? strlen(text) : 0;

    return length && length <= most &&
           !text[strspn(text, dashes
                                  ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01234567"
                                    "89_-"
                                  : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01234567"
                                    "89_")];
}

void bigquery_page(struct call *call, int64_t *ret_from, int64_t *ret_most)
{
    const char *token = call_query(call, "pageToken"), *most = call_query(call, "maxResults");
    const char *from = call_query(call, "startIndex");

    *ret_from = token ? strtoll(token, NULL, 10) : from ? strtoll(from, NULL, 10) : 0;
    *ret_most = script_number("page_size", 1000);
    if (most && strtoll(most, NULL, 10) < *ret_most)
        *ret_most = strtoll(most, NULL, 10);
    if (*ret_from < 0)
        *ret_from = 0;
    if (*ret_most < 0)
        *ret_most = 0;
}

/* The project of the path is one, and its caller may do that. */
static int may(struct call *call, const char *permission)
{
    jobs_settle();
    if (!auth_scope(call, BIGQUERY_SCOPES))
        return 0;
    if (script_get("projects") && !script_lists("projects", call->args[0])) {
        refuse(call, 400, "invalid", "The project %s has not enabled BigQuery.", call->args[0]);
        return 0;
    }
    return auth_may(call, permission, call->args[0]);
}

/* ---- datasets ---- */

static void no_dataset(struct call *call)
{
    refuse(call, 404, "notFound", "Not found: Dataset %s:%s", call->args[0], call->args[1]);
}

void dataset_get(struct call *call)
{
    json_t *dataset;

    if (!may(call, "bigquery.datasets.get"))
        return;
    dataset = bigquery_find_dataset(call->args[0], call->args[1]);
    if (dataset)
        answer_json(call, 200, json_deep_copy(dataset));
    else
        no_dataset(call);
}

static int wrong_dataset(struct call *call, const json_t *body)
{
    static const char names[] =
        " kind id etag datasetReference location labels description friendlyName access "
        "defaultTableExpirationMs defaultPartitionExpirationMs defaultEncryptionConfiguration "
        "defaultCollation storageBillingModel maxTimeTravelHours isCaseInsensitive ";
    const json_t *reference = json_object_get(body, "datasetReference");
    const char *project = text_of(reference, "projectId"), *id = text_of(reference, "datasetId");

    if (!bigquery_only(call, body, "dataset", names) ||
        !bigquery_only(call, reference, "dataset.dataset_reference", " projectId datasetId "))
        return 1;
    if (project && strcmp(project, call->args[0]))
        refuse(call, 400, "invalid", "The project of the dataset is not that of the path.");
    else if (!bigquery_is_id(id, 1024, 0))
        refuse(
            call, 400, "invalid",
            "Invalid dataset ID. Dataset IDs must be alphanumeric (plus underscores) and must be "
            "at most 1024 characters long.");
    else if (bigquery_find_dataset(call->args[0], id))
        refuse(call, 409, "duplicate", "Already Exists: Dataset %s:%s", call->args[0], id);
    return call->answer.status != 0;
}

void dataset_insert(struct call *call)
{
    json_t *body, *reference;
    char key[BIGQUERY_KEY];
    const char *id;

    if (!may(call, "bigquery.datasets.create"))
        return;
    body = call_json(call);
    if (!body || wrong_dataset(call, body))
        return;
    body = json_deep_copy(body);
    reference = json_object_get(body, "datasetReference");
    id = text_of(reference, "datasetId");
    json_object_set_new(reference, "projectId", json_string(call->args[0]));
    bigquery_key(key, call->args[0], id, NULL);
    if (!json_object_get(body, "location"))
        json_object_set_new(body, "location", json_string("US"));
    json_object_update_new(
        body,
        json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "kind", "bigquery#dataset", "id", key, "etag",
                  "CAE=", "selfLink", json_sprintf(ORIGIN "%s/datasets/%s", call->args[0], id),
                  "creationTime", json_sprintf("%lld", (long long)now_us() / 1000),
                  "lastModifiedTime", json_sprintf("%lld", (long long)now_us() / 1000)));
    put(&datasets, key, json_deep_copy(body));
    journal_write("bq_dataset", json_pack("{s:s, s:O}", "key", key, "r", body));
    answer_json(call, 200, body);
}

/* ---- tables ---- */

void bigquery_add_rows(const char *key, const char *file, int64_t rows, int instead)
{
    json_t *table = bigquery_find_table(key), *parts = json_object_get(table, "parts");

    if (!table)
        return;
    if (instead)
        json_array_clear(parts);
    json_array_append_new(parts, json_pack("{s:s, s:I}", "file", file, "rows", (json_int_t)rows));
}

int64_t bigquery_count_rows(const json_t *table)
{
    json_t *part;
    size_t i;
    int64_t n = 0;

    json_array_foreach(json_object_get(table, "parts"), i, part) n +=
        json_integer_value(json_object_get(part, "rows"));
    return n;
}

json_t *bigquery_open_table(struct call *call)
{
    char key[BIGQUERY_KEY];
    json_t *table =
        bigquery_find_table(bigquery_key(key, call->args[0], call->args[1], call->args[2]));

    if (!table && !bigquery_find_dataset(call->args[0], call->args[1]))
        no_dataset(call);
    else if (!table)
        refuse(call, 404, "notFound", "Not found: Table %s", key);
    return table;
}

/* The resource as Google tells it, with what it counts. */
static json_t *show(const json_t *table)
{
    json_t *r = json_deep_copy(json_object_get(table, "r"));

    if (!json_object_get(r, "view"))
        json_object_update_new(
            r, json_pack("{s:o, s:s, s:s}", "numRows",
                         json_sprintf("%lld", (long long)bigquery_count_rows(table)), "numBytes",
                         "0", "numLongTermBytes", "0"));
    return r;
}

void table_get(struct call *call)
{
    json_t *table;

    if (!may(call, "bigquery.tables.get"))
        return;
    table = bigquery_open_table(call);
    if (table)
        answer_json(call, 200, show(table));
}

static int is_column(struct call *call, const json_t *body, const char *name, const char *types,
                     const char *what)
{
    const json_t *field = schema_find(json_object_get(body, "schema"), name);
    const char *type = text_of(field, "type"), *mode = text_of(field, "mode");
    char word[80];

    snprintf(word, sizeof(word), " %s ", type ? type : "");
    if (field && strstr(types, word) && (!mode || strcmp(mode, "REPEATED")))
        return 1;
    refuse(call, 400, "invalid",
           "The field specified for %s can not be found in the schema, or is of "
           "a type that it may not have: %s",
           what, name ? name : "");
    return 0;
}

static int wrong_layout(struct call *call, const json_t *body)
{
    const json_t *by = json_object_get(body, "timePartitioning");
    const char *type = text_of(by, "type");
    json_t *fields = json_object_get(json_object_get(body, "clustering"), "fields"), *one;
    size_t i;

    if (by && (!type || (strcmp(type, "DAY") && strcmp(type, "HOUR") && strcmp(type, "MONTH") &&
                         strcmp(type, "YEAR")))) {
        refuse(call, 400, "invalid", "Invalid value for timePartitioning.type");
        return 1;
    }
    if (by && !bigquery_only(call, by, "table.time_partitioning", " type field expirationMs "))
        return 1;
    if (text_of(by, "field") && !is_column(call, body, text_of(by, "field"),
                                           " DATE TIMESTAMP DATETIME ", "time partitioning"))
        return 1;
    if (json_object_get(body, "clustering") &&
        (!json_array_size(fields) || json_array_size(fields) > 4)) {
        refuse(call, 400, "invalid", "Clustering takes one to four fields.");
        return 1;
    }
    json_array_foreach(fields, i, one)
    {
        if (!is_column(call, body, json_string_value(one),
                       " STRING INTEGER BOOLEAN DATE TIMESTAMP DATETIME NUMERIC BIGNUMERIC "
                       "GEOGRAPHY ",
                       "clustering"))
            return 1;
    }
    return 0;
}

/* Of the query no more is read than that it is standard SQL, and which tables are in backticks. */
static int wrong_view(struct call *call, const json_t *view)
{
    const char *query = text_of(view, "query");
    const json_t *legacy = json_object_get(view, "useLegacySql");
    char project[128], dataset[1025], table[1025], key[BIGQUERY_KEY];

    if (!bigquery_only(call, view, "table.view", " query useLegacySql useExplicitColumnNames "))
        return 1;
    if (!query || !*query) {
        refuse(call, 400, "required", "Required parameter is missing: query");
        return 1;
    }
    if (!json_is_false(legacy)) {
        refuse(call, 400, "invalidQuery",
               "Encountered \" \"`\" in legacy SQL: useLegacySql is true "
               "where it is not said otherwise.");
        return 1;
    }
    for (const char *at = strchr(query, '`'); at; at = strchr(at + 1, '`')) {
        if (sscanf(at, "`%127[^.`].%1024[^.`].%1024[^.`]`", project, dataset, table) != 3)
            continue;
        if (!bigquery_find_table(bigquery_key(key, project, dataset, table))) {
            refuse(call, 404, "notFound", "Not found: Table %s", key);
            return 1;
        }
        at = strchr(at + 1, '`');
        if (!at)
            break;
    }
    return 0;
}

static int wrong_table(struct call *call, json_t *body)
{
    static const char names[] =
        " kind tableReference schema timePartitioning clustering view description friendlyName "
        "labels encryptionConfiguration requirePartitionFilter expirationTime ";
    const json_t *reference = json_object_get(body, "tableReference");
    const char *project = text_of(reference, "projectId"), *id = text_of(reference, "tableId");
    const char *dataset = text_of(reference, "datasetId");
    char key[BIGQUERY_KEY], text[512];

    if (!bigquery_only(call, body, "table", names))
        return 1;
    if (!project || strcmp(project, call->args[0]) || !dataset || strcmp(dataset, call->args[1]))
        refuse(call, 400, "invalid", "The reference of the table is not that of the path.");
    else if (!bigquery_is_id(id, 1024, 1))
        refuse(call, 400, "invalid", "Invalid table ID.");
    else if (bigquery_find_table(bigquery_key(key, project, dataset, id)))
        refuse(call, 409, "duplicate", "Already Exists: Table %s", key);
    else if (json_object_get(body, "view"))
        return wrong_view(call, json_object_get(body, "view"));
    else if (json_object_get(body, "schema") &&
             schema_is_wrong(json_object_get(body, "schema"), text))
        refuse(call, 400, "invalid", "%s", text);
    else
        return wrong_layout(call, body);
    return call->answer.status != 0;
}

json_t *bigquery_make_table(const char *key, json_t *resource)
{
    const json_t *reference = json_object_get(resource, "tableReference");
    const char *project = text_of(reference, "projectId");
    const char *dataset = text_of(reference, "datasetId");
    json_t *home = bigquery_find_dataset(project, dataset), *table;
    char etag[32];

    snprintf(etag, sizeof(etag), "%lld==", (long long)next_generation());
    json_object_update_new(
        resource, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:O, s:s}", "kind", "bigquery#table",
                            "id", key, "etag", etag, "selfLink",
                            json_sprintf(ORIGIN "%s/datasets/%s/tables/%s", project, dataset,
                                         text_of(reference, "tableId")),
                            "creationTime", json_sprintf("%lld", (long long)now_us() / 1000),
                            "lastModifiedTime", json_sprintf("%lld", (long long)now_us() / 1000),
                            "location", json_object_get(home, "location"), "type",
                            json_object_get(resource, "view") ? "VIEW" : "TABLE"));
    table = json_pack("{s:O, s:[]}", "r", resource, "parts");
    put(&tables, key, table);
    journal_write("bq_table", json_pack("{s:s, s:O}", "key", key, "r", resource));
    return table;
}

void table_insert(struct call *call)
{
    char key[BIGQUERY_KEY];
    json_t *body, *r;

    if (!may(call, "bigquery.tables.create"))
        return;
    if (!bigquery_find_dataset(call->args[0], call->args[1])) {
        no_dataset(call);
        return;
    }
    body = call_json(call);
    r = json_deep_copy(body);
    if (body && !wrong_table(call, r)) {
        bigquery_key(key, call->args[0], call->args[1],
                     text_of(json_object_get(r, "tableReference"), "tableId"));
        answer_json(call, 200, show(bigquery_make_table(key, r)));
    }
    json_decref(r);
}

static int wrong_patch(struct call *call, json_t *body, const json_t *r)
{
    const char *match = call_header(call, "If-Match");
    json_t *schema = json_object_get(body, "schema");
    char text[512];

    if (!bigquery_only(call, body, "table",
                       " kind etag id tableReference schema description friendlyName labels "
                       "expirationTime view requirePartitionFilter "))
        return 1;
    if (match && strcmp(match, text_of(r, "etag")))
        refuse(call, 412, "conditionNotMet", "Precondition Failed");
    else if (json_object_get(body, "view"))
        return wrong_view(call, json_object_get(body, "view"));
    else if (schema && schema_is_wrong(schema, text))
        refuse(call, 400, "invalid", "%s", text);
    else if (schema && schema_change_is_wrong(json_object_get(r, "schema"), schema, text))
        refuse(call, 400, "invalid", "Provided Schema does not match Table %s. %s",
               text_of(r, "id"), text);
    return call->answer.status != 0;
}

void table_patch(struct call *call)
{
    json_t *table, *body, *r;
    char key[BIGQUERY_KEY];

    if (!may(call, "bigquery.tables.update"))
        return;
    table = bigquery_open_table(call);
    body = table ? call_json(call) : NULL;
    if (!body)
        return;
    r = json_object_get(table, "r");
    body = json_deep_copy(body);
    if (!wrong_patch(call, body, r)) {
        json_object_del(body, "etag");
        json_object_del(body, "tableReference");
        json_object_update(r, body);
        json_object_set_new(r, "etag", json_sprintf("%lld==", (long long)next_generation()));
        journal_write("bq_patch",
                      json_pack("{s:s, s:O}", "key",
                                bigquery_key(key, call->args[0], call->args[1], call->args[2]), "r",
                                r));
        answer_json(call, 200, show(table));
    }
    json_decref(body);
}

void table_delete(struct call *call)
{
    char key[BIGQUERY_KEY];

    if (!may(call, "bigquery.tables.delete") || !bigquery_open_table(call))
        return;
    bigquery_key(key, call->args[0], call->args[1], call->args[2]);
    json_object_del(tables, key);
    journal_write("bq_table_gone", json_pack("{s:s}", "key", key));
    answer_json(call, 204, NULL);
    call->answer.type[0] = '\0';
}

void table_list(struct call *call)
{
    char prefix[BIGQUERY_KEY];
    json_t *list = json_array(), *table, *answer;
    int64_t from, most, n = 0;
    const char *key;

    if (!may(call, "bigquery.tables.list"))
        goto out;
    if (!bigquery_find_dataset(call->args[0], call->args[1])) {
        no_dataset(call);
        goto out;
    }
    bigquery_key(prefix, call->args[0], call->args[1], "");
    bigquery_page(call, &from, &most);
    json_object_foreach(tables, key, table)
    {
        json_t *r = json_object_get(table, "r");

        if (strncmp(key, prefix, strlen(prefix)))
            continue;
        if (n++ >= from && (int64_t)json_array_size(list) < most)
            json_array_append_new(list, json_pack("{s:s, s:s, s:O, s:O, s:O}", "kind",
                                                  "bigquery#table", "id", key, "tableReference",
                                                  json_object_get(r, "tableReference"), "type",
                                                  json_object_get(r, "type"), "creationTime",
                                                  json_object_get(r, "creationTime")));
    }
    answer = json_pack("{s:s, s:s, s:I}", "kind", "bigquery#tableList", "etag",
                       "CAE=", "totalItems", (json_int_t)n);
    if (json_array_size(list))
        json_object_set(answer, "tables", list);
    if (from + most < n)
        json_object_set_new(answer, "nextPageToken",
                            json_sprintf("%lld", (long long)(from + most)));
    answer_json(call, 200, answer);
out:
    json_decref(list);
}

/* ---- after a kill ---- */

void bigquery_replay(const char *what, json_t *value)
{
    const char *key = text_of(value, "key");
    json_t *r = json_object_get(value, "r");

    if (!strcmp(what, "bq_dataset"))
        put(&datasets, key, json_deep_copy(r));
    else if (!strcmp(what, "bq_table"))
        put(&tables, key, json_pack("{s:o, s:[]}", "r", json_deep_copy(r), "parts"));
    else if (!strcmp(what, "bq_patch") && bigquery_find_table(key))
        json_object_set_new(bigquery_find_table(key), "r", json_deep_copy(r));
    else if (!strcmp(what, "bq_table_gone"))
        json_object_del(tables, key);
    else if (!strcmp(what, "bq_rows"))
        bigquery_add_rows(key, text_of(value, "file"),
                          json_integer_value(json_object_get(value, "rows")),
                          json_is_true(json_object_get(value, "instead")));
    else
        jobs_replay(what, value);
}
