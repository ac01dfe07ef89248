/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load jobs of BigQuery.  What a job will come to is known when it is sent; its rows are there when
 * it is DONE: after so many looks at it, or so many milliseconds.
 */
#include "google_bigquery.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_DATA (1u << 30)
#define DAY_US (24 * 3600 * (int64_t)1000000)

/* "project:id": {"r": the resource, "key": of the table, "file", "rows", "polls", "due", "instead"}
 */
static json_t *jobs;

static const char *text_of(const json_t *value, const char *name)
{
    return json_string_value(json_object_get(value, name));
}

static void set_ms(json_t *statistics, const char *name)
{
    json_object_set_new(statistics, name, json_sprintf("%lld", (long long)now_us() / 1000));
}

/* ---- its end ---- */

static int is_waiting(const json_t *job)
{
    const char *state = text_of(json_object_get(json_object_get(job, "r"), "status"), "state");

    return strcmp(state, "DONE") != 0;
}

static void end_job(json_t *job)
{
    json_t *r = json_object_get(job, "r"), *status = json_object_get(r, "status");
    const char *file = text_of(job, "file");

    json_object_set_new(status, "state", json_string("DONE"));
    json_object_update(status, json_object_get(job, "end"));
    set_ms(json_object_get(r, "statistics"), "endTime");
    if (!json_object_get(status, "errorResult") && file)
        bigquery_add_rows(text_of(job, "key"), file,
                          json_integer_value(json_object_get(job, "rows")),
                          json_is_true(json_object_get(job, "instead")));
}

static void finish_job(const char *key, json_t *job)
{
    end_job(job);
    journal_write("bq_job_done", json_pack("{s:s}", "key", key));
}

void jobs_settle(void)
{
    const char *key;
    json_t *job;

    json_object_foreach(jobs, key, job)
    {
        if (is_waiting(job) && json_integer_value(json_object_get(job, "due")) <= now_us())
            finish_job(key, job);
    }
}

void jobs_replay(const char *what, json_t *value)
{
    const char *key = text_of(value, "key");

    if (!jobs)
        jobs = json_object();
    if (!strcmp(what, "bq_job"))
        json_object_set_new(jobs, key, json_deep_copy(json_object_get(value, "job")));
    else if (!strcmp(what, "bq_job_done") && json_object_get(jobs, key))
        end_job(json_object_get(jobs, key));
}

/* ---- its rows ---- */

struct load {
    const json_t *config, *schema;
    FILE *to;
    int64_t n, bad;
    uint64_t bytes;
    json_t *errors;
};

static void load_error(struct load *load, const char *message)
{
    load->bad++;
    if (json_array_size(load->errors) < 5)
        json_array_append_new(
            load->errors,
            json_pack("{s:s, s:s, s:o}", "reason", "invalid", "location", "row", "message",
                      json_sprintf("Error while reading data, error message: JSON "
                                   "processing encountered too many errors, row %lld: "
                                   "%s",
                                   (long long)(load->n + load->bad), message)));
}

static void load_row(struct load *load, const char *line, size_t length)
{
    int ignore = json_is_true(json_object_get(load->config, "ignoreUnknownValues"));
    json_error_t error;
    json_t *row, *wrong = NULL;

    while (length && strchr(" \t\r", line[length - 1]))
        length--;
    if (!length)
        return;
    if (length > BIGQUERY_MAX_ROW) {
        load_error(load, "Row size is larger than: 10485760.");
        return;
    }
    row = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (row)
        wrong = schema_row_errors(load->schema, row, 0, ignore);
    if (!row) {
        load_error(load, error.text);
    } else if (wrong) {
        load_error(load, text_of(json_array_get(wrong, 0), "message"));
    } else {
        load->n++;
        load->bytes += length;
        fwrite(line, 1, length, load->to);
        fputc('\n', load->to);
    }
    json_decref(wrong);
    json_decref(row);
}

/* What gzip has packed, all members of it.  Of the heap; NULL: it is not whole. */
static char *unpack(unsigned char *raw, size_t length, size_t *ret)
{
    size_t room = 4 * length + 64, n = 0;
    char *text = malloc(room);
    z_stream z = {0};
    int code = Z_OK;

    if (!text || inflateInit2(&z, 15 + 16) != Z_OK)
        abort();
    z.next_in = raw;
    z.avail_in = (unsigned)length;
    while (code == Z_OK && room < MAX_DATA) {
        if (n == room) {
            room *= 2;
            text = realloc(text, room);
            if (!text)
                abort();
        }
        z.next_out = (unsigned char *)text + n;
        z.avail_out = (unsigned)(room - n);
        code = inflate(&z, Z_NO_FLUSH);
        n = room - z.avail_out;
        if (code == Z_STREAM_END && z.avail_in)
            code = inflateReset(&z);
    }
    inflateEnd(&z);
    *ret = n;
    if (code == Z_STREAM_END)
        return text;
    free(text);
    return NULL;
}

/* The bytes as they are, or as gzip has them. */
static char *read_data(const struct media *media, size_t *ret)
{
    FILE *file = fopen(media->path, "r");
    size_t length = (size_t)media->length;
    unsigned char *raw = malloc(length + 1);
    char *text;

    if (!file || !raw || fseeko(file, (off_t)media->offset, SEEK_SET) ||
        fread(raw, 1, length, file) != length)
        abort();
    fclose(file);
    *ret = length;
    if (length < 2 || raw[0] != 0x1f || raw[1] != 0x8b)
        return (char *)raw;
    text = unpack(raw, length, ret);
    free(raw);
    return text;
}

static void load_rows(struct load *load, const struct media *media)
{
    size_t length;
    char *text = read_data(media, &length);

    if (!text) {
        load_error(load, "The gzip data are not whole.");
        return;
    }
    for (char *at = text, *end = text + length; at < end;) {
        char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t n = eol ? (size_t)(eol - at) : (size_t)(end - at);

        load_row(load, at, n);
        at += n + 1;
    }
    free(text);
}

/* ---- what a job may be ---- */

static const char *job_key(char to[BIGQUERY_KEY], const char *project, const json_t *job)
{
    const char *id = text_of(json_object_get(job, "jobReference"), "jobId");

    return id ? bigquery_key(to, project, id, NULL) : NULL;
}

static int is_one_of(const char *text, const char *words)
{
    char word[64];

    snprintf(word, sizeof(word), " %s ", text ? text : "");
    return strstr(words, word) != NULL;
}

static int wrong_load(struct call *call, const char *project, json_t *load)
{
    const json_t *table = json_object_get(load, "destinationTable");
    const char *to = text_of(table, "projectId"), *write = text_of(load, "writeDisposition");
    const char *create = text_of(load, "createDisposition");
    const json_t *bad = json_object_get(load, "maxBadRecords");
    json_t *schema = json_object_get(load, "schema");
    char text[512];

    if (!bigquery_only(call, load, "job.configuration.load",
                       " destinationTable sourceFormat schema writeDisposition createDisposition "
                       "maxBadRecords ignoreUnknownValues timePartitioning clustering encoding "
                       "schemaUpdateOptions autodetect destinationEncryptionConfiguration ") ||
        !bigquery_only(call, table, "job.configuration.load.destination_table",
                       " projectId datasetId tableId "))
        return 1;
    if (!to || strcmp(to, project) || !bigquery_is_id(text_of(table, "datasetId"), 1024, 0) ||
        !bigquery_is_id(text_of(table, "tableId"), 1024, 1))
        refuse(call, 400, "invalid", "The destination is no table of this project.");
    else if (!is_one_of(text_of(load, "sourceFormat"), " NEWLINE_DELIMITED_JSON "))
        refuse(call, 400, "invalid",
               "This fake loads NEWLINE_DELIMITED_JSON only; the default is "
               "CSV.");
    else if (write && !is_one_of(write, " WRITE_APPEND WRITE_EMPTY WRITE_TRUNCATE "))
        refuse(call, 400, "invalid", "Invalid value for writeDisposition: %s", write);
    else if (create && !is_one_of(create, " CREATE_NEVER CREATE_IF_NEEDED "))
        refuse(call, 400, "invalid", "Invalid value for createDisposition: %s", create);
    else if (bad && (!json_is_integer(bad) || json_integer_value(bad) < 0))
        refuse(call, 400, "invalid", "Invalid value for maxBadRecords");
    else if (schema && schema_is_wrong(schema, text))
        refuse(call, 400, "invalid", "%s", text);
    else if (!bigquery_find_dataset(project, text_of(table, "datasetId")))
        refuse(call, 404, "notFound", "Not found: Dataset %s:%s", project,
               text_of(table, "datasetId"));
    return call->answer.status != 0;
}

static int wrong_reference(struct call *call, const char *project, const json_t *job,
                           const char *location)
{
    const json_t *reference = json_object_get(job, "jobReference");
    const char *to = text_of(reference, "projectId"), *id = text_of(reference, "jobId");
    const char *place = text_of(reference, "location");
    char key[BIGQUERY_KEY];

    if (!reference)
        return 0;
    if (!bigquery_only(call, reference, "job.job_reference", " projectId jobId location "))
        return 1;
    if (to && strcmp(to, project))
        refuse(call, 400, "invalid", "The project of the job is not that of the path.");
    else if (id && !bigquery_is_id(id, 1024, 1))
        refuse(call, 400, "invalid",
               "Invalid job ID \"%.200s\". Must be alphanumeric (plus underscores and dashes) and "
               "must be at most 1024 characters long.",
               id);
    else if (id && json_object_get(jobs, job_key(key, project, job)))
        refuse(call, 409, "duplicate", "Already Exists: Job %s:%s.%s", project, location, id);
    else if (place && strcasecmp(place, location))
        refuse(call, 404, "notFound", "Not found: the dataset was not found in location %s", place);
    return call->answer.status != 0;
}

/* Of all jobs to that table in the last day, failed ones as well. */
static int is_over_quota(const char *key)
{
    int64_t since = now_us() - DAY_US, n = 0;
    const char *id;
    json_t *job;

    json_object_foreach(jobs, id, job) n +=
        !strcmp(text_of(job, "key"), key) &&
        json_integer_value(json_object_get(job, "sent")) > since;
    return n >= script_number("loads_a_day", 1500);
}

static const char *table_of(char to[BIGQUERY_KEY], const json_t *job)
{
    const json_t *load = json_object_get(json_object_get(job, "configuration"), "load");
    const json_t *table = json_object_get(load, "destinationTable");

    return bigquery_key(to, text_of(table, "projectId"), text_of(table, "datasetId"),
                        text_of(table, "tableId"));
}

static const char *location_of(const char *project, const json_t *job)
{
    const json_t *load = json_object_get(json_object_get(job, "configuration"), "load");

    return text_of(bigquery_find_dataset(
                       project, text_of(json_object_get(load, "destinationTable"), "datasetId")),
                   "location");
}

int bigquery_starts(struct call *call, const char *project, json_t *job)
{
    json_t *configuration = json_object_get(job, "configuration");
    char key[BIGQUERY_KEY];

    jobs_settle();
    if (!auth_scope(call, BIGQUERY_SCOPES))
        return -1;
    if (script_get("projects") && !script_lists("projects", project)) {
        refuse(call, 400, "invalid", "The project %s has not enabled BigQuery.", project);
        return -1;
    }
    if (!auth_may(call, "bigquery.jobs.create", project) ||
        !bigquery_only(call, job, "job", " kind configuration jobReference ") ||
        !bigquery_only(call, configuration, "job.configuration",
                       " load labels jobType dryRun jobTimeoutMs "))
        return -1;
    if (!json_is_object(json_object_get(configuration, "load"))) {
        refuse(call, 400, "required", "Required parameter is missing: configuration.load");
        return -1;
    }
    if (wrong_load(call, project, json_object_get(configuration, "load")) ||
        wrong_reference(call, project, job, location_of(project, job)))
        return -1;
    if (!call->admin && is_over_quota(table_of(key, job))) {
        refuse(call, 403, "quotaExceeded",
               "Quota exceeded: Your table exceeded quota for imports or "
               "query appends per table. For more information, see "
               "https://cloud.google.com/bigquery/docs/troubleshoot-quotas");
        return -1;
    }
    return 0;
}

/* ---- a job ---- */

/* {"errorResult", "errors"}; takes the errors. */
static json_t *failure(const char *reason, const char *message, json_t *errors)
{
    json_t *result = json_pack("{s:s, s:s}", "reason", reason, "message", message);

    if (!errors)
        errors = json_pack("[O]", result);
    return json_pack("{s:o, s:o}", "errorResult", result, "errors", errors);
}

/* What it cannot do before a row is read; NULL: nothing. */
static json_t *cannot(struct call *call, const char *key, const json_t *load, json_t *table)
{
    const json_t *r = json_object_get(table, "r"), *schema = json_object_get(load, "schema");
    const char *write = text_of(load, "writeDisposition");
    char text[BIGQUERY_KEY + 80];

    if (fault_is(call, "job_error"))
        return failure(fault_text(call, "reason") ? fault_text(call, "reason") : "backendError",
                       fault_text(call, "message") ? fault_text(call, "message") : "as it was told",
                       NULL);
    snprintf(text, sizeof(text), "Not found: Table %s", key);
    if (!table)
        return failure("notFound", text, NULL);
    if (json_object_get(r, "view"))
        return failure("invalid", "Cannot load into a view.", NULL);
    if (!call->admin && script_lists("denied", "bigquery.tables.updateData"))
        return failure("accessDenied",
                       "Access Denied: Permission bigquery.tables.updateData denied", NULL);
    if (schema && !schema_equal(schema, json_object_get(r, "schema")))
        return failure("invalid", "Provided Schema does not match the table.", NULL);
    if (write && !strcmp(write, "WRITE_EMPTY") && bigquery_count_rows(table))
        return failure("duplicate", "Already Exists: the table has rows.", NULL);
    return NULL;
}

static json_t *run_load(struct call *call, const char *key, const json_t *config,
                        const struct media *media, json_t *job)
{
    json_t *table = bigquery_find_table(key), *end = cannot(call, key, config, table);
    const json_t *r = json_object_get(table, "r");
    struct load load = {.config = config, .schema = json_object_get(r, "schema")};
    char path[4096], file[64];

    if (end)
        return end;
    snprintf(file, sizeof(file), "rows-%lld", (long long)next_generation());
    snprintf(path, sizeof(path), "%s/data/%s", google.folder, file);
    load.to = fopen(path, "w");
    load.errors = json_array();
    if (!load.to)
        abort();
    load_rows(&load, media);
    if (fclose(load.to))
        abort();
    json_object_update_new(job, json_pack("{s:s, s:I, s:I}", "file", file, "rows",
                                          (json_int_t)load.n, "bytes", (json_int_t)load.bytes));
    if (load.bad > json_integer_value(json_object_get(config, "maxBadRecords"))) {
        unlink(path);
        json_object_del(job, "file");
        return failure("invalid",
                       "Error while reading data, error message: JSON table encountered too many "
                       "errors, giving up. Please look into the errors[] collection for more "
                       "details.",
                       load.errors);
    }
    json_decref(load.errors);
    return json_object();
}

static json_t *make_resource(const char *project, const json_t *asked, const char *id,
                             const char *location, const struct media *media, const json_t *job)
{
    json_t *r = json_deep_copy(asked), *load, *statistics = json_object();

    load = json_pack(
        "{s:s, s:o, s:s, s:o, s:o}", "inputFiles", "1", "inputFileBytes",
        json_sprintf("%llu", (unsigned long long)media->length), "badRecords", "0", "outputRows",
        json_sprintf("%lld", (long long)json_integer_value(json_object_get(job, "rows"))),
        "outputBytes",
        json_sprintf("%lld", (long long)json_integer_value(json_object_get(job, "bytes"))));
    json_object_set_new(statistics, "load", load);
    set_ms(statistics, "creationTime");
    set_ms(statistics, "startTime");
    json_object_set_new(json_object_get(r, "configuration"), "jobType", json_string("LOAD"));
    json_object_update_new(
        r, json_pack("{s:s, s:s, s:o, s:o, s:s, s:{s:s, s:s, s:s}, s:o, s:{s:s}}", "kind",
                     "bigquery#job", "etag", "CAE=", "id",
                     json_sprintf("%s:%s.%s", project, location, id), "selfLink",
                     json_sprintf("https://bigquery.googleapis.com/bigquery/v2/projects/%s/jobs/%s"
                                  "?location=%s",
                                  project, id, location),
                     "user_email", "sendit@my-project.iam.gserviceaccount.com", "jobReference",
                     "projectId", project, "jobId", id, "location", location, "statistics",
                     statistics, "status", "state", "RUNNING"));
    return r;
}

void bigquery_commit(struct call *call, const char *project, const json_t *asked,
                     const struct media *media)
{
    const char *location = location_of(project, asked), *id, *write;
    const json_t *config = json_object_get(json_object_get(asked, "configuration"), "load");
    int64_t polls = fault_number(call, "polls", script_number("job_polls", 1));
    char key[BIGQUERY_KEY], own[BIGQUERY_KEY], made[48];
    json_t *job, *r;

    /* Somebody may have been faster since the upload began. */
    if (wrong_reference(call, project, asked, location))
        return;
    id = text_of(json_object_get(asked, "jobReference"), "jobId");
    snprintf(made, sizeof(made), "job_%lld", (long long)next_generation());
    if (!id)
        id = made;
    write = text_of(config, "writeDisposition");
    job = json_pack("{s:s, s:I, s:I, s:I, s:b}", "key", table_of(key, asked), "sent",
                    (json_int_t)now_us(), "polls", (json_int_t)polls, "due",
                    (json_int_t)(now_us() + script_number("job_ms", 2000) * 1000), "instead",
                    write && !strcmp(write, "WRITE_TRUNCATE"));
    json_object_set_new(job, "end", run_load(call, key, config, media, job));
    r = make_resource(project, asked, id, location, media, job);
    json_object_set_new(job, "r", r);
    if (polls > 1)
        json_object_set_new(json_object_get(r, "status"), "state", json_string("PENDING"));
    bigquery_key(own, project, id, NULL);
    if (!jobs)
        jobs = json_object();
    json_object_set(jobs, own, job);
    journal_write("bq_job", json_pack("{s:s, s:o}", "key", own, "job", json_deep_copy(job)));
    if (!polls)
        finish_job(own, job);
    answer_json(call, 200, json_deep_copy(r));
    json_decref(job);
}

void job_insert(struct call *call)
{
    json_t *body = call_json(call);

    if (body && !bigquery_starts(call, call->args[0], body))
        refuse(call, 400, "required", "This fake loads what is uploaded, nothing else.");
}

/* A query that is only judged, by which a client finds out whether it may run jobs. */
void job_query(struct call *call)
{
    json_t *body = call_json(call);

    if (!body || !auth_scope(call, BIGQUERY_SCOPES))
        return;
    if (script_get("projects") && !script_lists("projects", call->args[0]))
        refuse(call, 400, "invalid", "The project %s has not enabled BigQuery.", call->args[0]);
    else if (!auth_may(call, "bigquery.jobs.create", call->args[0]))
        return;
    else if (!text_of(body, "query") || !json_is_true(json_object_get(body, "dryRun")))
        refuse(call, 400, "invalid", "This fake judges queries, with dryRun, and runs none.");
    else
        answer_json(call, 200,
                    json_pack("{s:s, s:b, s:s, s:b}", "kind", "bigquery#queryResponse",
                              "jobComplete", 1, "totalBytesProcessed", "0", "cacheHit", 0));
}

void job_get(struct call *call)
{
    const char *where = call_query(call, "location"), *is;
    char key[BIGQUERY_KEY];
    json_t *job, *r;
    int64_t polls;

    jobs_settle();
    if (!auth_scope(call, BIGQUERY_SCOPES))
        return;
    job = json_object_get(jobs, bigquery_key(key, call->args[0], call->args[1], NULL));
    r = json_object_get(job, "r");
    is = text_of(json_object_get(r, "jobReference"), "location");
    /* Elsewhere than in US and EU a job is not found without its place. */
    if (!job ||
        (where ? strcasecmp(where, is) != 0 : strcasecmp(is, "US") && strcasecmp(is, "EU"))) {
        refuse(call, 404, "notFound", "Not found: Job %s", key);
        return;
    }
    polls = json_integer_value(json_object_get(job, "polls")) - 1;
    if (is_waiting(job)) {
        json_object_set_new(job, "polls", json_integer(polls));
        if (polls <= 0)
            finish_job(key, job);
        else
            json_object_set_new(json_object_get(r, "status"), "state", json_string("RUNNING"));
    }
    answer_json(call, 200, json_deep_copy(r));
}
