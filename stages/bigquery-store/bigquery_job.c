/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_job.h"
#include "bigquery_tables.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEAD                                                                                       \
    "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n--%s\r\n"                  \
    "Content-Type: application/octet-stream\r\n\r\n"
#define TAIL "\r\n--%s--\r\n"
#define SEND_TIMEOUT_MS 240000u /* 16 MiB over a slow line, within a callback */

void job_name(const struct job *job, char ret_name[JOB_NAME_SIZE])
{
    snprintf(ret_name, JOB_NAME_SIZE, "sendit-%s-%" PRIu32, job->id, job->attempt);
}

static const char *location_of(const struct sendit_stage_state *self, const struct job *job)
{
    if (job->location[0])
        return job->location;
    return self->location[0] ? self->location : self->place.location;
}

/* What the job does: append, all rows or none, to a table that is there. */
static char *configuration(const struct sendit_stage_state *self, const struct job *job,
                           const char *name)
{
    json_t *json = json_pack(
        "{s:{s:s, s:s, s:s*}, s:{s:{s:{s:s, s:s, s:s}, s:s, s:s, s:s, s:i, s:b}}}", "jobReference",
        "projectId", self->place.project, "jobId", name, "location", location_of(self, job),
        "configuration", "load", "destinationTable", "projectId", self->place.project, "datasetId",
        self->place.dataset, "tableId", schema_table(job->table), "sourceFormat",
        "NEWLINE_DELIMITED_JSON", "writeDisposition", "WRITE_APPEND", "createDisposition",
        "CREATE_NEVER", "maxBadRecords", 0, "ignoreUnknownValues", 0);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

static const struct round *find_round(const struct round *rounds, size_t n,
                                      const struct job_part *part)
{
    for (size_t i = 0; i < n; i++)
        if (rounds[i].number == part->round && !strcmp(rounds[i].batch, part->batch))
            return part->number < rounds[i].n_parts ? &rounds[i] : NULL;
    return NULL;
}

static bool add_up(const struct job *job, const struct round *rounds, size_t n_rounds,
                   struct pack_sum *ret_sum)
{
    memset(ret_sum, 0, sizeof(*ret_sum));
    for (size_t i = 0; i < job->n_parts; i++) {
        const struct round *round = find_round(rounds, n_rounds, &job->parts[i]);

        if (!round)
            return false;
        pack_sum_add(ret_sum, &round->parts[job->parts[i].number].sum);
    }
    return true;
}

/* One gzip file of all parts, in their order. */
static sendit_result add_rows(const struct sendit_stage_state *self, const struct job *job,
                              const struct round *rounds, size_t n_rounds,
                              const struct pack_sum *sum, unsigned char *to)
{
    pack_head(to);
    to += PACK_HEAD;
    for (size_t i = 0; i < job->n_parts; i++) {
        const struct round *round = find_round(rounds, n_rounds, &job->parts[i]);
        uint32_t number = job->parts[i].number;
        sendit_result r = journal_read_part(self, round, number, to);

        if (r != SENDIT_OK)
            return r;
        to += round->parts[number].sum.bytes;
    }
    pack_tail(sum, to);
    return SENDIT_OK;
}

sendit_result job_body(const struct sendit_stage_state *self, const struct job *job,
                       const struct round *rounds, size_t n_rounds, unsigned char **ret_body,
                       size_t *ret_length)
{
    char name[JOB_NAME_SIZE], *text;
    struct pack_sum sum;
    unsigned char *body;
    size_t head, room, rows;
    sendit_result r;

    if (!add_up(job, rounds, n_rounds, &sum))
        return SENDIT_ECORRUPT;
    job_name(job, name);
    text = configuration(self, job, name);
    if (!text)
        return SENDIT_ENOMEM;
    rows = PACK_HEAD + (size_t)sum.bytes + PACK_TAIL;
    room = strlen(text) + 3 * JOB_NAME_SIZE + sizeof(HEAD) + sizeof(TAIL) + rows;
    body = malloc(room);
    if (!body) {
        free(text);
        return SENDIT_ENOMEM;
    }
    head = (size_t)snprintf((char *)body, room, HEAD, name, text, name);
    free(text);
    r = add_rows(self, job, rounds, n_rounds, &sum, body + head);
    if (r != SENDIT_OK) {
        free(body);
        return r;
    }
    *ret_body = body;
    *ret_length =
        head + rows + (size_t)snprintf((char *)body + head + rows, room - head - rows, TAIL, name);
    return SENDIT_OK;
}

sendit_verdict job_insert(struct sendit_stage_state *self, const struct job *job,
                          const unsigned char *body, size_t length, bool hurry,
                          struct google_answer *answer, struct sendit_why *why)
{
    char url[TABLES_URL_SIZE], type[JOB_NAME_SIZE + 64], name[JOB_NAME_SIZE];
    const char *headers[] = {type, "Accept: application/json", NULL};
    const struct sendit_part part = {.data = body, .length = length};
    const struct google_request request = {.method = "POST",
                                           .url = url,
                                           .headers = headers,
                                           .body = &part,
                                           .n_body = 1,
                                           .timeout_ms = SEND_TIMEOUT_MS,
                                           .idempotent = true, /* by its id */
                                           .no_retry = hurry};

    job_name(job, name);
    snprintf(type, sizeof(type), "Content-Type: multipart/related; boundary=%s", name);
    snprintf(url, sizeof(url), "%s/upload/bigquery/v2/projects/%s/jobs?uploadType=multipart",
             google_endpoint(self->google), self->place.project);
    return tables_send(self, &request, answer, why);
}

sendit_verdict job_get(struct sendit_stage_state *self, const struct job *job, bool hurry,
                       struct google_answer *answer, struct sendit_why *why)
{
    static const char *const headers[] = {"Accept: application/json", NULL};
    char url[TABLES_URL_SIZE], path[JOB_NAME_SIZE + 128], name[JOB_NAME_SIZE];
    const char *location = location_of(self, job);
    const struct google_request request = {.method = "GET",
                                           .url = url,
                                           .headers = headers,
                                           .timeout_ms = TABLES_TIMEOUT_MS,
                                           .idempotent = true,
                                           .no_retry = hurry};

    job_name(job, name);
    snprintf(path, sizeof(path), "/jobs/%s%s%.63s", name, location ? "?location=" : "",
             location ? location : "");
    tables_url(self, path, url);
    return tables_send(self, &request, answer, why);
}

void job_read(const struct job *job, const struct google_answer *answer, struct answer_job *ret)
{
    char name[JOB_NAME_SIZE];

    job_name(job, name);
    answer_read_job(answer->body, answer->length, job->table, name, job->rows, ret);
}
