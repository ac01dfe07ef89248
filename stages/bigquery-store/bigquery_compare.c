/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_compare.h"
#include "bigquery_answer.h"
#include "bigquery_journal.h"
#include "bigquery_row.h"
#include "bigquery_tables.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 10000
#define PAGE_MAX (64u << 20) /* bytes of a page */
#define DIGEST 32            /* digits of the digest of a name */

/* Of what the name of a row in the journal is made; see bigquery_gather.c and bigquery_study.c. */
#define MAX_COLUMNS 3
static const char *const columns[TABLES][MAX_COLUMNS] = {
    {"storage_metadataLink", "storage_download"}, {"SOPInstanceUID", "generation", "object"}};
static const char *const selected[TABLES] = {"storage_metadataLink,storage_download",
                                             "SOPInstanceUID,generation,object"};
static const size_t n_columns[TABLES] = {2, 3};

/* A row by its name: how often it should be there, and how often it is. */
struct known {
    char digest[DIGEST];
    uint32_t wanted, may, found; /* may: a job that writes it is under way */
};
struct comparison {
    struct sendit_stage_state *self;
    const struct sendit_compare *compare;
    struct sendit_why *why;
    enum table table;
    struct known *known;
    size_t n, room;
    uint64_t rows;              /* in the table */
    size_t places[MAX_COLUMNS]; /* of the columns, in a row */
    sendit_result r;
};

static sendit_verdict end_of(const struct comparison *comparison)
{
    sendit_verdict verdict = sendit_verdict_of(comparison->r);

    if (verdict == SENDIT_PASS)
        return verdict;
    return sendit_because(comparison->why, verdict == SENDIT_RETRY ? SENDIT_RETRY : SENDIT_FAIL,
                          "bigquery.ledger", "What the ledger keeps of rows cannot be read.");
}

/* ---- what should be there ---- */

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST);
}

static void digest_of(const char *name, size_t length, char ret_digest[DIGEST])
{
    char hex[JOURNAL_SHA];

    journal_hash(name, length, hex);
    memcpy(ret_digest, hex, DIGEST);
}

static sendit_result expect(struct comparison *comparison, const char *name, size_t length,
                            bool loaded)
{
    struct known *known;

    if (comparison->n == comparison->room) {
        size_t room = comparison->room ? 2 * comparison->room : 1024;

        known = realloc(comparison->known, room * sizeof(*known));
        if (!known)
            return SENDIT_ENOMEM;
        comparison->known = known;
        comparison->room = room;
    }
    known = memset(&comparison->known[comparison->n++], 0, sizeof(*known));
    digest_of(name, length, known->digest);
    known->wanted = loaded;
    known->may = !loaded;
    return SENDIT_OK;
}

typedef sendit_result name_fn(struct comparison *comparison, const char *name, size_t length,
                              bool loaded);

static sendit_result each_name(struct comparison *comparison, const struct round *round,
                               name_fn *take)
{
    for (uint32_t i = 0; i < round->n_parts; i++) {
        const struct part *part = &round->parts[i];
        char *names, *name;
        sendit_result r;

        if (part->table != comparison->table ||
            (part->state != PART_LOADED && part->state != PART_QUEUED))
            continue;
        r = journal_read_names(comparison->self, round, i, &names);
        if (r != SENDIT_OK)
            return r;
        name = names;
        while (r == SENDIT_OK && *name) {
            size_t n = strcspn(name, "\n");

            r = take(comparison, name, n, part->state == PART_LOADED);
            name += n + (name[n] == '\n');
        }
        free(names);
        if (r != SENDIT_OK)
            return r;
    }
    return SENDIT_OK;
}

static sendit_result all_names(struct comparison *comparison, name_fn *take)
{
    sendit_result r = SENDIT_OK;

    for (int done = 0; done < 2 && r == SENDIT_OK; done++) {
        struct round *rounds = NULL;
        size_t n = 0;

        r = journal_rounds(comparison->self, NULL, done, &rounds, &n);
        for (size_t i = 0; i < n && r == SENDIT_OK; i++)
            r = each_name(comparison, &rounds[i], take);
        journal_free_rounds(rounds, n);
    }
    return r;
}

/* One entry for each name. */
static void gather(struct comparison *comparison)
{
    struct known *known = comparison->known;
    size_t n = 0;

    if (!comparison->n)
        return;
    qsort(known, comparison->n, sizeof(*known), by_digest);
    for (size_t i = 1; i < comparison->n; i++) {
        if (by_digest(&known[n], &known[i])) {
            known[++n] = known[i];
            continue;
        }
        known[n].wanted += known[i].wanted;
        known[n].may += known[i].may;
    }
    comparison->n = n + 1;
}

static struct known *find(const struct comparison *comparison, const char *name, size_t length)
{
    struct known wanted;

    if (!comparison->n)
        return NULL;
    digest_of(name, length, wanted.digest);
    return bsearch(&wanted, comparison->known, comparison->n, sizeof(wanted), by_digest);
}

/* ---- what is there ---- */

static sendit_result differs(const struct comparison *comparison, const char *code,
                             const char *subject, const char *text)
{
    return comparison->compare->differs(comparison->compare, code, subject, text);
}

/* A row that is not ours may have anything in it: only a UID is shown. */
static sendit_result tell_unknown(const struct comparison *comparison, const char *name)
{
    char subject[80];

    if (comparison->table == TABLE_INSTANCES && name && *name && strlen(name) < ROW_UID_SIZE &&
        !name[strspn(name, "0123456789.")])
        snprintf(subject, sizeof(subject), "%s", name);
    else
        snprintf(subject, sizeof(subject), "row %llu of table %s",
                 (unsigned long long)comparison->rows, schema_table(comparison->table));
    return differs(comparison, "bigquery.unknown", subject,
                   "A row is in the table that sendit did not load.");
}

static int take_row(void *ctx, const char *const *row)
{
    struct comparison *comparison = ctx;
    const char *values[MAX_COLUMNS], *link;
    char name[ROW_URL_SIZE + 1400];
    struct known *known = NULL;

    for (size_t i = 0; i < n_columns[comparison->table]; i++)
        values[i] = row[comparison->places[i]];
    comparison->rows++;
    if (comparison->table == TABLE_INSTANCES) {
        if (values[0] && values[1] && values[2])
            snprintf(name, sizeof(name), "%s %s %s", values[0], values[1], values[2]);
        else
            name[0] = '\0';
    } else {
        link = values[1] ? strstr(values[1], "?generation=") : NULL;
        snprintf(name, sizeof(name), "%s %.*s", values[0] ? values[0] : "",
                 link ? (int)strcspn(link + 12, "&") : 1, link ? link + 12 : "-");
    }
    if (*name)
        known = find(comparison, name, strlen(name));
    if (known)
        known->found++;
    else
        comparison->r = tell_unknown(comparison, values[0]);
    return comparison->r == SENDIT_OK ? 0 : -1;
}

/* SKIP: the table is not there. */
static sendit_verdict read_page(struct comparison *comparison, char token[1024])
{
    struct sendit_stage_state *self = comparison->self;
    char escaped[3 * 1024 + 1], url[sizeof(escaped) + TABLES_URL_SIZE], words[128];
    const struct google_request request = {.method = "GET",
                                           .url = url,
                                           .max_body = PAGE_MAX,
                                           .timeout_ms = TABLES_TIMEOUT_MS,
                                           .idempotent = true};
    struct google_answer answer;
    sendit_result r;

    google_url_escape(escaped, sizeof(escaped), token);
    snprintf(url, sizeof(url),
             "%s/bigquery/v2/projects/%s/datasets/%s/tables/%s/data?maxResults=%d&selectedFields=%s"
             "%s%s",
             google_endpoint(self->google), self->place.project, self->place.dataset,
             schema_table(comparison->table), PAGE_ROWS, selected[comparison->table],
             *token ? "&pageToken=" : "", escaped);
    r = google_send(self->google, &request, &answer);
    if (r != SENDIT_OK)
        return sendit_because(comparison->why, sendit_verdict_of(r), "bigquery.request",
                              "BigQuery cannot be asked.");
    tables_words(self, schema_table(comparison->table), words, sizeof(words));
    if (answer.end != GOOGLE_ANSWERED || answer.status != 200)
        return google_verdict(&answer, words, TABLES_VIEWER, comparison->why);
    if (!answer_read_page(answer.body, answer.length, n_columns[comparison->table], take_row,
                          comparison, token))
        return SENDIT_PASS;
    return comparison->r == SENDIT_OK
               ? google_verdict(&answer, words, TABLES_VIEWER, comparison->why)
               : end_of(comparison);
}

/* SKIP: it is not there. */
static sendit_verdict find_table(struct comparison *comparison)
{
    json_t *there = NULL;
    sendit_verdict verdict = tables_look(comparison->self, schema_table(comparison->table), false,
                                         &there, comparison->why);

    if (verdict == SENDIT_PASS)
        verdict = schema_places(comparison->table, there, columns[comparison->table],
                                n_columns[comparison->table], comparison->places, comparison->why);
    json_decref(there);
    return verdict;
}

static sendit_verdict read_table(struct comparison *comparison)
{
    char token[1024] = "";
    sendit_verdict verdict = find_table(comparison);

    if (verdict == SENDIT_SKIP) /* all that should be there is missing */
        return SENDIT_PASS;
    if (verdict != SENDIT_PASS)
        return verdict;
    do {
        if (comparison->self->host->canceled(comparison->self->host))
            return sendit_because(comparison->why, SENDIT_RETRY, "bigquery.stopped",
                                  "The host stops.");
        verdict = read_page(comparison, token);
    } while (verdict == SENDIT_PASS && *token);
    return verdict;
}

/* ---- what differs ---- */

/* Names again, in words now: the digests do not have them. */
static sendit_result judge_name(struct comparison *comparison, const char *name, size_t length,
                                bool loaded)
{
    struct known *known = find(comparison, name, length);
    char subject[ROW_URL_SIZE];

    if (!known || !loaded)
        return SENDIT_OK;
    snprintf(subject, sizeof(subject), "%.*s", (int)strcspn(name, " \n"), name);
    if (known->found < known->wanted) {
        known->found = known->wanted; /* told once */
        return differs(comparison, "bigquery.missing", subject,
                       comparison->table == TABLE_INSTANCES
                           ? "A row that was loaded is not in table instances."
                           : "A row that was loaded is not in table dicom.");
    }
    if (known->found > known->wanted + known->may) {
        known->found = known->wanted;
        return differs(comparison, "bigquery.twice", subject,
                       comparison->table == TABLE_INSTANCES
                           ? "A row is in table instances more than once."
                           : "A row is in table dicom more than once.");
    }
    return SENDIT_OK;
}

static sendit_verdict compare_table(struct comparison *comparison)
{
    sendit_verdict verdict;

    comparison->r = all_names(comparison, expect);
    if (comparison->r != SENDIT_OK)
        return end_of(comparison);
    gather(comparison);
    verdict = read_table(comparison);
    if (verdict != SENDIT_PASS)
        return verdict;
    comparison->r = all_names(comparison, judge_name);
    if (comparison->r == SENDIT_OK)
        comparison->r = comparison->compare->counted(comparison->compare, "rows", comparison->rows);
    return end_of(comparison);
}

sendit_verdict compare_all(struct sendit_stage_state *self, const struct sendit_compare *compare,
                           struct sendit_why *why)
{
    sendit_verdict verdict = SENDIT_PASS;

    for (int i = 0; i < TABLES && verdict == SENDIT_PASS; i++) {
        struct comparison comparison = {
            .self = self, .compare = compare, .why = why, .table = (enum table)i};

        verdict = compare_table(&comparison);
        free(comparison.known);
    }
    return verdict;
}
