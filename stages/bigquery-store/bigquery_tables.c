/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_tables.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_TABLE (16u << 20) /* bytes of tables.get: 10,000 columns with descriptions */

static const char *const json_headers[] = {"Content-Type: application/json; charset=UTF-8",
                                           "Accept: application/json", NULL};

/* ---- asking ---- */

void tables_url(const struct sendit_stage_state *self, const char *path,
                char ret_url[TABLES_URL_SIZE])
{
    snprintf(ret_url, TABLES_URL_SIZE, "%s/bigquery/v2/projects/%s%s",
             google_endpoint(self->google), self->place.project, path);
}

static void dataset_url(const struct sendit_stage_state *self, const char *path,
                        char ret_url[TABLES_URL_SIZE])
{
    snprintf(ret_url, TABLES_URL_SIZE, "%s/bigquery/v2/projects/%s/datasets/%s%s",
             google_endpoint(self->google), self->place.project, self->place.dataset, path);
}

const char *tables_words(const struct sendit_stage_state *self, const char *table, char *to,
                         size_t size)
{
    if (table)
        snprintf(to, size, "the table \"%.60s.%s\"", self->place.dataset, table);
    else
        snprintf(to, size, "the dataset \"%.60s\"", self->place.dataset);
    return to;
}

sendit_verdict tables_send(struct sendit_stage_state *self, const struct google_request *request,
                           struct google_answer *answer, struct sendit_why *why)
{
    sendit_result r = google_send(self->google, request, answer);

    if (r != SENDIT_OK)
        return sendit_because(why, r == SENDIT_ENOMEM ? SENDIT_RETRY : SENDIT_FAIL,
                              "bigquery.request", "BigQuery cannot be asked.");
    if (answer->end == GOOGLE_ANSWERED)
        return SENDIT_PASS;
    *why = answer->why;
    return answer->end == GOOGLE_REFUSED ? SENDIT_FAIL : SENDIT_RETRY;
}

sendit_verdict tables_ask(struct sendit_stage_state *self, const char *method, const char *url,
                          const json_t *body, bool hurry, struct google_answer *answer,
                          struct sendit_why *why)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct sendit_part part = {.data = text, .length = text ? strlen(text) : 0};
    const struct google_request request = {.method = method,
                                           .url = url,
                                           .headers = json_headers + (body ? 0 : 1),
                                           .body = text ? &part : NULL,
                                           .n_body = text != NULL,
                                           .max_body = MAX_TABLE,
                                           .timeout_ms = TABLES_TIMEOUT_MS,
                                           .idempotent = true,
                                           .no_retry = hurry};
    sendit_verdict verdict;

    if (body && !text)
        return sendit_because(why, SENDIT_RETRY, "bigquery.request", "There is no memory.");
    verdict = tables_send(self, &request, answer, why);
    free(text);
    return verdict;
}

/* JSON of an answer of status 200. */
static sendit_verdict read_json(const struct google_answer *answer, const char *what,
                                json_t **ret_json, struct sendit_why *why)
{
    *ret_json = json_loadb(answer->body, answer->length, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(*ret_json))
        return SENDIT_PASS;
    json_decref(*ret_json);
    *ret_json = NULL;
    return google_verdict(answer, what, TABLES_EDITOR, why);
}

/* ---- the dataset ---- */

/* BigQuery says where it is; jobs are asked for there. */
static sendit_verdict take_dataset(struct sendit_stage_state *self,
                                   const struct google_answer *answer, struct sendit_why *why)
{
    char words[128];
    json_t *json;
    sendit_verdict verdict =
        read_json(answer, tables_words(self, NULL, words, sizeof(words)), &json, why);
    const char *location = json_string_value(json_object_get(json, "location"));
    const char *wanted = self->place.location;

    if (verdict == SENDIT_PASS && location) {
        snprintf(self->location, sizeof(self->location), "%s", location);
        if (self->location[strspn(self->location, "abcdefghijklmnopqrstuvwxyz"
                                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")])
            self->location[0] = '\0';
        if (wanted && self->location[0] && strcasecmp(wanted, self->location) != 0)
            verdict = sendit_because(why, SENDIT_FAIL, "bigquery.location",
                                     "The dataset \"%.60s\" is in %.40s, not in %.40s: datasets do "
                                     "not move, so set location to that, or name another dataset.",
                                     self->place.dataset, self->location, wanted);
    }
    json_decref(json);
    return verdict;
}

static sendit_verdict get_dataset(struct sendit_stage_state *self, bool hurry,
                                  struct google_answer *answer, struct sendit_why *why)
{
    char url[TABLES_URL_SIZE];

    dataset_url(self, "", url);
    return tables_ask(self, "GET", url, NULL, hurry, answer, why);
}

/* ---- making what is not there ---- */

sendit_verdict tables_look(struct sendit_stage_state *self, const char *table, bool hurry,
                           json_t **ret_json, struct sendit_why *why)
{
    char url[TABLES_URL_SIZE], path[128], words[128];
    struct google_answer answer;
    sendit_verdict verdict;

    snprintf(path, sizeof(path), "/tables/%s", table);
    dataset_url(self, path, url);
    verdict = tables_ask(self, "GET", url, NULL, hurry, &answer, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (answer.status == 404)
        return SENDIT_SKIP;
    tables_words(self, table, words, sizeof(words));
    if (answer.status != 200)
        return google_verdict(&answer, words, TABLES_EDITOR, why);
    return read_json(&answer, words, ret_json, why);
}

/* PASS, too, if somebody else was faster. */
static sendit_verdict insert(struct sendit_stage_state *self, const char *url, json_t *body,
                             const char *words, bool hurry, struct sendit_why *why)
{
    struct google_answer answer;
    sendit_verdict verdict =
        body ? tables_ask(self, "POST", url, body, hurry, &answer, why)
             : sendit_because(why, SENDIT_RETRY, "bigquery.memory", "There is no memory.");

    json_decref(body);
    if (verdict == SENDIT_PASS && answer.status != 200 && answer.status != 409)
        return google_verdict(&answer, words, TABLES_EDITOR, why);
    return verdict;
}

static void tell(const struct sendit_stage_state *self, const char *event, const char *words)
{
    char text[200];

    snprintf(text, sizeof(text), "%c%s.", words[0] - 'a' + 'A', words + 1);
    self->host->log(self->host, SENDIT_INFO, event, text);
}

static sendit_verdict make_dataset(struct sendit_stage_state *self, bool hurry,
                                   struct sendit_why *why)
{
    char url[TABLES_URL_SIZE], words[128];
    struct google_answer answer;
    sendit_verdict verdict = get_dataset(self, hurry, &answer, why);

    tables_words(self, NULL, words, sizeof(words));
    if (verdict != SENDIT_PASS)
        return verdict;
    if (answer.status == 404) {
        tables_url(self, "/datasets", url);
        verdict = insert(self, url, schema_dataset_body(&self->place), words, hurry, why);
        if (verdict != SENDIT_PASS)
            return verdict;
        tell(self, "bigquery.made", words);
        verdict = get_dataset(self, hurry, &answer, why);
    }
    if (verdict == SENDIT_PASS && answer.status != 200)
        return google_verdict(&answer, words, TABLES_EDITOR, why);
    return verdict == SENDIT_PASS ? take_dataset(self, &answer, why) : verdict;
}

static sendit_verdict patch(struct sendit_stage_state *self, enum table table, json_t *body,
                            bool hurry, struct sendit_why *why)
{
    char url[TABLES_URL_SIZE], path[128], words[128];
    struct google_answer answer;
    sendit_verdict verdict;

    snprintf(path, sizeof(path), "/tables/%s", schema_table(table));
    dataset_url(self, path, url);
    tables_words(self, schema_table(table), words, sizeof(words));
    verdict = tables_ask(self, "PATCH", url, body, hurry, &answer, why);
    json_decref(body);
    if (verdict == SENDIT_PASS && answer.status != 200)
        return google_verdict(&answer, words, TABLES_EDITOR, why);
    if (verdict == SENDIT_PASS)
        tell(self, "bigquery.column_added", words);
    return verdict;
}

static sendit_verdict make_table(struct sendit_stage_state *self, enum table table, bool hurry,
                                 struct sendit_why *why)
{
    char url[TABLES_URL_SIZE], words[128];
    json_t *there = NULL, *body = NULL;
    sendit_verdict verdict = tables_look(self, schema_table(table), hurry, &there, why);

    tables_words(self, schema_table(table), words, sizeof(words));
    if (verdict == SENDIT_SKIP) {
        dataset_url(self, "/tables", url);
        verdict = insert(self, url, schema_table_body(&self->place, table), words, hurry, why);
        if (verdict != SENDIT_PASS)
            return verdict;
        tell(self, "bigquery.made", words);
        /* Another may have made it, otherwise. */
        verdict = tables_look(self, schema_table(table), hurry, &there, why);
        if (verdict == SENDIT_SKIP)
            return sendit_because(why, SENDIT_RETRY, "bigquery.table",
                                  "The table %s was made and is not there yet.",
                                  schema_table(table));
    }
    if (verdict == SENDIT_PASS)
        verdict = schema_compare(table, there, &body, why);
    json_decref(there);
    return verdict == SENDIT_SKIP ? patch(self, table, body, hurry, why) : verdict;
}

/* One that is there is the site's own. */
static sendit_verdict make_view(struct sendit_stage_state *self, enum table table, bool hurry,
                                struct sendit_why *why)
{
    char url[TABLES_URL_SIZE], words[128];
    json_t *there = NULL;
    sendit_verdict verdict = tables_look(self, schema_view(table), hurry, &there, why);

    json_decref(there);
    if (verdict != SENDIT_SKIP)
        return verdict;
    tables_words(self, schema_view(table), words, sizeof(words));
    dataset_url(self, "/tables", url);
    return insert(self, url, schema_view_body(&self->place, table), words, hurry, why);
}

sendit_verdict tables_make(struct sendit_stage_state *self, bool hurry, struct sendit_why *why)
{
    sendit_verdict verdict = self->tables_stand ? SENDIT_PASS : make_dataset(self, hurry, why);

    if (self->tables_stand)
        return SENDIT_PASS;
    for (int i = 0; verdict == SENDIT_PASS && i < TABLES; i++)
        verdict = make_table(self, (enum table)i, hurry, why);
    for (int i = 0; verdict == SENDIT_PASS && i < TABLES; i++)
        verdict = make_view(self, (enum table)i, hurry, why);
    self->tables_stand = verdict == SENDIT_PASS;
    return verdict;
}

/* ---- sendit check --online ---- */

/* The least that needs the right to run jobs: a query that is not run. */
static sendit_verdict try_job(struct sendit_stage_state *self, struct sendit_why *why)
{
    json_t *body =
        json_pack("{s:s, s:b, s:b}", "query", "SELECT 1", "dryRun", 1, "useLegacySql", 0);
    struct google_answer answer;
    char url[TABLES_URL_SIZE];
    sendit_verdict verdict;

    tables_url(self, "/queries", url);
    verdict = body ? tables_ask(self, "POST", url, body, false, &answer, why)
                   : sendit_because(why, SENDIT_FAIL, "bigquery.memory", "There is no memory.");
    json_decref(body);
    if (verdict == SENDIT_PASS && answer.status != 200)
        return google_verdict(&answer, "the project, to run load jobs in", TABLES_USER, why);
    return verdict;
}

sendit_verdict tables_check(struct sendit_stage_state *self, struct sendit_why *why)
{
    struct google_answer answer;
    char words[128];
    sendit_verdict verdict = get_dataset(self, false, &answer, why);

    if (verdict != SENDIT_PASS)
        return verdict;
    tables_words(self, NULL, words, sizeof(words));
    if (answer.status == 404) {
        self->host->log(self->host, SENDIT_INFO, "bigquery.missing",
                        "The dataset is not there; the first run makes it.");
        return try_job(self, why);
    }
    verdict = answer.status == 200 ? take_dataset(self, &answer, why)
                                   : google_verdict(&answer, words, TABLES_EDITOR, why);
    for (int i = 0; verdict == SENDIT_PASS && i < TABLES; i++) {
        json_t *there = NULL, *body = NULL;

        verdict = tables_look(self, schema_table((enum table)i), false, &there, why);
        if (verdict == SENDIT_PASS)
            verdict = schema_compare((enum table)i, there, &body, why);
        json_decref(there);
        json_decref(body);
        if (verdict == SENDIT_SKIP) /* it, or a column, will be made */
            verdict = SENDIT_PASS;
    }
    return verdict == SENDIT_PASS ? try_job(self, why) : verdict;
}
