/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_load.h"
#include "bigquery_answer.h"
#include "bigquery_job.h"
#include "bigquery_journal.h"
#include "bigquery_tables.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_STEPS 100000 /* of one call */
#define STAY_MS 60000    /* that a last call waits for jobs before it lets others see it live */
#define SLEEP_MS 50      /* between two looks whether the host stops */
#define HOUR_MS 3600000
#define DAY_HOURS 24
#define QUOTA_PAUSE_S 1800
#define TELL_AT_ONCE 256  /* batches, before it is looked whether to come to an end */
#define RECORD_BYTES 400u /* of a round or job in the store, and of each part in it */
#define MAX_TRIES 20      /* of a job that fails for reasons of Google's, before somebody is told */

/* What a step came to. */
enum step { STEP_NONE, STEP_DONE, STEP_WAITS, STEP_STOP };

struct load {
    struct sendit_stage_state *self;
    const struct sendit_settle *settle;
    struct sendit_why *why;
    sendit_verdict verdict; /* with STEP_STOP */
    struct round *rounds;
    size_t n_rounds;
    struct job *jobs;
    size_t n_jobs;
    int64_t wake_ms; /* with STEP_WAITS */
    uint64_t held;   /* bytes out of the store, which the host holds until this call returns */
};

/* ---- ends ---- */

static enum step stop(struct load *load, sendit_verdict verdict)
{
    load->verdict = verdict;
    return STEP_STOP;
}

static enum step no_ledger(struct load *load, sendit_result r)
{
    if (r == SENDIT_ECONFLICT) /* another worker changed it: look anew */
        return STEP_DONE;
    if (r == SENDIT_ECORRUPT)
        return stop(load, sendit_because(load->why, SENDIT_FAIL, "bigquery.journal",
                                         "What this stage keeps in the ledger cannot be read: it "
                                         "is another version's, or damaged."));
    return stop(
        load, sendit_because(load->why,
                             r == SENDIT_EINVAL || r == SENDIT_EDENIED ? SENDIT_FAIL : SENDIT_RETRY,
                             "bigquery.ledger", "The ledger cannot be read or written."));
}

static int64_t now_of(const struct load *load)
{
    return load->self->host->now_ms(load->self->host);
}

static enum step wait_until(struct load *load, int64_t ms)
{
    if (!load->wake_ms || ms < load->wake_ms)
        load->wake_ms = ms;
    return STEP_WAITS;
}

/* A service that is away, or busy: looked at again later.  Of the last call the host waits. */
static enum step away(struct load *load, sendit_verdict verdict)
{
    struct sendit_stage_state *self = load->self;
    uint32_t seconds = load->why->retry_after_s;

    if (verdict == SENDIT_RETRY) {
        self->not_before_ms = now_of(load) + (seconds ? seconds : 5) * (int64_t)1000;
        if (!load->settle->last)
            self->host->log(self->host, SENDIT_WARN, load->why->code, load->why->text);
    }
    return stop(load, verdict);
}

static void note(const struct load *load, const char *event, const struct job *job)
{
    char json[512];

    snprintf(json, sizeof(json),
             "{\"table\":\"%s\",\"job\":\"sendit-%s-%" PRIu32 "\",\"rows\":%" PRIu64 "}",
             schema_table(job->table), job->id, job->attempt, job->rows);
    (void)load->self->store->append(load->self->host, event, json);
}

/* ---- rounds ---- */

static struct round *find_round(const struct load *load, const struct job_part *part)
{
    for (size_t i = 0; i < load->n_rounds; i++)
        if (load->rounds[i].number == part->round && !strcmp(load->rounds[i].batch, part->batch))
            return part->number < load->rounds[i].n_parts ? &load->rounds[i] : NULL;
    return NULL;
}

/* Every part of the job gets this state, a round at a time. */
static sendit_result mark_parts(struct load *load, const struct job *job, enum part_state state,
                                const char *fault)
{
    for (size_t i = 0; i < job->n_parts;) {
        struct round *round = find_round(load, &job->parts[i]);
        size_t from = i;
        bool changed = false;

        for (; i < job->n_parts && job->parts[i].round == job->parts[from].round &&
               !strcmp(job->parts[i].batch, job->parts[from].batch);
             i++) {
            struct part *part = round && job->parts[i].number < round->n_parts
                                    ? &round->parts[job->parts[i].number]
                                    : NULL;

            changed |= part && part->state == PART_QUEUED;
            if (part && part->state == PART_QUEUED)
                part->state = state;
        }
        if (changed) {
            sendit_result r;

            if (*fault)
                snprintf(round->fault, sizeof(round->fault), "%s", fault);
            r = journal_write_round(load->self, round);
            if (r != SENDIT_OK)
                return r;
        }
    }
    return SENDIT_OK;
}

static bool has_parts(const struct round *round, enum part_state state)
{
    for (size_t i = 0; i < round->n_parts; i++)
        if (round->parts[i].state == state)
            return true;
    return false;
}

/* Those of one batch stand side by side: *ret_end is the first of another. */
static bool batch_is(const struct load *load, size_t from, size_t *ret_end, bool *ret_failed)
{
    const char *batch = load->rounds[from].batch;
    bool waits = false;

    *ret_failed = false;
    for (*ret_end = from; *ret_end < load->n_rounds && !strcmp(load->rounds[*ret_end].batch, batch);
         ++*ret_end) {
        const struct round *round = &load->rounds[*ret_end];

        waits |= has_parts(round, PART_QUEUED);
        *ret_failed |= has_parts(round, PART_FAILED) && !round->told;
        waits |= has_parts(round, PART_FAILED);
    }
    return !waits;
}

/* A batch that has come again is told of when its new rounds stand, too. */
static bool is_open(struct load *load, const char *batch, sendit_result *ret_result)
{
    char key[JOURNAL_KEY];
    const void *value;
    uint64_t revision;
    size_t length;

    *ret_result = SENDIT_OK;
    if (load->settle->last) /* no batch is open now */
        return false;
    journal_key(key, "open", batch);
    *ret_result = load->self->store->get(load->self->host, key, &value, &length, &revision);
    if (*ret_result == SENDIT_OK)
        return true;
    if (*ret_result == SENDIT_EABSENT)
        *ret_result = SENDIT_OK;
    return false;
}

static sendit_result tell_loaded(struct load *load, size_t from, size_t end)
{
    sendit_result r =
        load->settle->batch(load->settle, load->rounds[from].batch, SENDIT_PASS, "", "");

    for (size_t i = from; r == SENDIT_OK && i < end; i++)
        r = journal_close_round(load->self, &load->rounds[i]);
    return r;
}

static sendit_result tell_failed(struct load *load, size_t from, size_t end)
{
    const char *fault = "";
    char text[220];
    sendit_result r;

    for (size_t i = from; i < end; i++)
        if (has_parts(&load->rounds[i], PART_FAILED))
            fault = load->rounds[i].fault;
    snprintf(text, sizeof(text),
             "BigQuery refuses rows of this batch for table %s; they are kept. See to the table, "
             "then `sendit retry`.",
             fault);
    r = load->settle->batch(load->settle, load->rounds[from].batch, SENDIT_FAIL, "bigquery.rows",
                            text);
    for (size_t i = from; r == SENDIT_OK && i < end; i++)
        if (has_parts(&load->rounds[i], PART_FAILED)) {
            load->rounds[i].told = true;
            r = journal_write_round(load->self, &load->rounds[i]);
        }
    return r;
}

/* Tell of each batch that is through. */
static enum step announce(struct load *load)
{
    enum step step = STEP_NONE;
    size_t told = 0;

    for (size_t i = 0, end; i < load->n_rounds && told < TELL_AT_ONCE; i = end) {
        bool failed, loaded = batch_is(load, i, &end, &failed);
        sendit_result r;

        if (!loaded && !failed)
            continue;
        if (is_open(load, load->rounds[i].batch, &r))
            continue;
        if (r == SENDIT_OK)
            r = loaded ? tell_loaded(load, i, end) : tell_failed(load, i, end);
        if (r != SENDIT_OK)
            return no_ledger(load, r);
        step = STEP_DONE;
        told++;
    }
    return step;
}

/* ---- how many loads there were ---- */

static void budget_key(char key[JOURNAL_KEY], enum table table)
{
    snprintf(key, JOURNAL_KEY, "budget/%s", schema_table(table));
}

/* Loads of the last 24 hours, by hour; *ret_free_ms is when the oldest of them are over. */
static int64_t count_loads(json_t *hours, int64_t now_ms, int64_t *ret_free_ms)
{
    int64_t this_hour = now_ms / HOUR_MS, oldest = this_hour, total = 0;
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(hours, next, key, value)
    {
        int64_t hour = strtoll(key, NULL, 10);

        if (hour < this_hour - DAY_HOURS) { /* its last load, too, is a day old */
            json_object_del(hours, key);
            continue;
        }
        total += json_integer_value(value);
        if (hour < oldest)
            oldest = hour;
    }
    *ret_free_ms = (oldest + DAY_HOURS + 1) * HOUR_MS;
    return total;
}

/* One more load of the table, before there is an id for it. */
static enum step take_budget(struct load *load, enum table table)
{
    struct sendit_stage_state *self = load->self;
    int64_t now_ms = now_of(load), free_ms, n;
    char key[JOURNAL_KEY], hour[32];
    uint64_t revision = 0;
    json_t *json = NULL;
    sendit_result r;

    budget_key(key, table);
    r = journal_get(self, key, &json, &revision);
    if (r == SENDIT_EABSENT)
        json = json_object();
    else if (r != SENDIT_OK)
        return no_ledger(load, r);
    n = count_loads(json, now_ms, &free_ms);
    if (n >= self->max_loads) {
        json_decref(json);
        load->why->retry_after_s = (uint32_t)((free_ms - now_ms) / 1000 + 1);
        return away(load,
                    sendit_because(load->why, SENDIT_RETRY, "bigquery.loads",
                                   "%" PRId64 " load jobs of table %s in 24 hours are as many "
                                   "as BigQuery takes; rows wait until the first is a day "
                                   "old.",
                                   n, schema_table(table)));
    }
    snprintf(hour, sizeof(hour), "%" PRId64, now_ms / HOUR_MS);
    n = json_integer_value(json_object_get(json, hour));
    r = json_object_set_new(json, hour, json_integer(n + 1)) ? SENDIT_ENOMEM : SENDIT_OK;
    r = r == SENDIT_OK ? journal_put(self, key, json, revision) : r;
    return r == SENDIT_OK ? STEP_DONE : no_ledger(load, r);
}

/* ---- a job in hand ---- */

static struct look *look_of(struct sendit_stage_state *self, const struct job *job)
{
    struct look *oldest = &self->looks[0];
    char id[sizeof(oldest->id)];

    snprintf(id, sizeof(id), "%s-%" PRIu32, job->id, job->attempt);
    for (size_t i = 0; i < LOOKS; i++) {
        if (!strcmp(self->looks[i].id, id))
            return &self->looks[i];
        if (self->looks[i].at_ms < oldest->at_ms)
            oldest = &self->looks[i];
    }
    memcpy(oldest->id, id, sizeof(id));
    oldest->at_ms = 0;
    oldest->pause_ms = self->poll_ms;
    oldest->sent = 0;
    return oldest;
}

static enum step look_later(struct load *load, const struct job *job)
{
    struct look *look = look_of(load->self, job);

    look->at_ms = now_of(load) + look->pause_ms;
    look->pause_ms =
        look->pause_ms < JOB_LONGEST_LOOK_MS / 2 ? 2 * look->pause_ms : JOB_LONGEST_LOOK_MS;
    return wait_until(load, look->at_ms);
}

static enum step write_job(struct load *load, struct job *job, enum job_state state)
{
    sendit_result r;

    job->state = state;
    r = journal_write_job(load->self, job);
    return r == SENDIT_OK ? STEP_DONE : no_ledger(load, r);
}

/* Nothing of it was written: under another id. */
static enum step try_again(struct load *load, struct job *job, const char *reason)
{
    enum step step = take_budget(load, job->table);
    char text[200];

    if (step != STEP_DONE)
        return step;
    snprintf(text, sizeof(text), "Load job sendit-%s-%" PRIu32 " failed (%s) and is tried again.",
             job->id, job->attempt, *reason ? reason : "no reason");
    load->self->host->log(load->self->host, SENDIT_WARN, "bigquery.job_failed", text);
    job->attempt++;
    job->location[0] = '\0';
    return write_job(load, job, JOB_PREPARED);
}

static enum step later(struct load *load, struct job *job, const char *reason, uint32_t seconds,
                       const char *code)
{
    enum step step = try_again(load, job, reason);

    if (step != STEP_DONE)
        return step;
    if (job->attempt % MAX_TRIES == 0)
        return stop(load, sendit_because(load->why, SENDIT_FAIL, "bigquery.job_failed",
                                         "A load job into table %s failed %d times (%s): see the "
                                         "job in BigQuery's console, then run again.",
                                         schema_table(job->table), MAX_TRIES,
                                         *reason ? reason : "no reason"));
    load->why->retry_after_s = seconds;
    return away(load, sendit_because(load->why, SENDIT_RETRY, code,
                                     "BigQuery could not load rows into %s (%s); they wait.",
                                     schema_table(job->table), *reason ? reason : "no reason"));
}

/* Two jobs in place of one; what comes back from here is looked at anew. */
static enum step split(struct load *load, struct job *job)
{
    return write_job(load, job, JOB_SPLIT);
}

static enum step split_now(struct load *load, const struct job *job)
{
    size_t half = job->n_parts / 2;
    sendit_result r;

    for (int i = 0; i < 2; i++) {
        enum step step = take_budget(load, job->table);
        struct job child = {.table = job->table, .state = JOB_PREPARED, .attempt = 1};

        if (step != STEP_DONE)
            return step;
        child.parts = i ? job->parts + half : job->parts;
        child.n_parts = i ? job->n_parts - half : half;
        if (!journal_name_job(load->self, &child, load->rounds, load->n_rounds))
            return no_ledger(load, SENDIT_ECORRUPT);
        r = journal_write_job(load->self, &child);
        if (r != SENDIT_OK && r != SENDIT_ECONFLICT) /* it was cut short here */
            return no_ledger(load, r);
    }
    r = journal_delete_job(load->self, job);
    return r == SENDIT_OK ? STEP_DONE : no_ledger(load, r);
}

/* Rows of one part are at fault: its batch is, the others go on. */
static enum step fail_part(struct load *load, const struct job *job,
                           const struct answer_job *answer)
{
    char fault[sizeof(load->rounds->fault)];
    sendit_result r;

    snprintf(fault, sizeof(fault), "%s%s%s", schema_table(job->table),
             answer->column ? ", column " : "", answer->column ? answer->column : "");
    r = mark_parts(load, job, PART_FAILED, fault);
    if (r == SENDIT_OK) {
        note(load, "job.refused", job);
        r = journal_delete_job(load->self, job);
    }
    return r == SENDIT_OK ? STEP_DONE : no_ledger(load, r);
}

static enum step too_large(struct load *load, struct job *job)
{
    if (job->n_parts > 1)
        return split(load, job);
    return stop(load, sendit_because(load->why, SENDIT_FAIL, "bigquery.too_large",
                                     "BigQuery finds a load of %" PRIu64 " rows of table %s too "
                                     "large: is there a proxy on the way that bounds requests?",
                                     job->rows, schema_table(job->table)));
}

/* What was sent before this process may have been denied before somebody gave the right: it is
 * tried again at once.  What was sent by us is not, before the next run. */
static enum step denied(struct load *load, struct job *job, const char *reason)
{
    bool is_old = !look_of(load->self, job)->sent && load->self->forgiven < LOOKS;
    char table[128];
    enum step step = try_again(load, job, reason);

    if (step != STEP_DONE)
        return step;
    if (is_old) {
        load->self->forgiven++;
        return STEP_DONE;
    }
    return stop(load, sendit_because(
                          load->why, SENDIT_FAIL, "bigquery.denied",
                          "The account may not load into %s (%s): give it %s.",
                          tables_words(load->self, schema_table(job->table), table, sizeof(table)),
                          *reason ? reason : "denied", TABLES_EDITOR));
}

static enum step loaded(struct load *load, struct job *job)
{
    load->self->metrics->add(load->self->host, "rows", (int64_t)job->rows);
    return write_job(load, job, JOB_LOADED);
}

/* What BigQuery says of a job that is there. */
static enum step take_answer(struct load *load, struct job *job, const struct answer_job *answer)
{
    enum step step;

    if (answer->location[0])
        memcpy(job->location, answer->location, sizeof(answer->location));
    switch (answer->what) {
    case ANSWER_RUNS:
        step = job->state == JOB_SENT ? STEP_DONE : write_job(load, job, JOB_SENT);
        return step == STEP_DONE ? look_later(load, job) : step;
    case ANSWER_LOADED:
        return loaded(load, job);
    case ANSWER_SHORT:
        return stop(load, sendit_because(load->why, SENDIT_FAIL, "bigquery.short",
                                         "BigQuery says that a job of %" PRIu64 " rows wrote "
                                         "another number into table %s: see `sendit reconcile`.",
                                         job->rows, schema_table(job->table)));
    case ANSWER_NO_TABLE:
        load->self->tables_stand = 0;
        return try_again(load, job, answer->reason);
    case ANSWER_TOO_LARGE:
        return too_large(load, job);
    case ANSWER_DENIED:
        return denied(load, job, answer->reason);
    case ANSWER_ROWS:
        return job->n_parts > 1 ? split(load, job) : fail_part(load, job, answer);
    case ANSWER_QUOTA:
        return later(load, job, answer->reason, QUOTA_PAUSE_S, "bigquery.quota");
    case ANSWER_TRANSIENT:
        return later(load, job, answer->reason, job->attempt < 6 ? 1u << (job->attempt - 1) : 30,
                     "bigquery.job_failed");
    default:
        return later(load, job, answer->reason, 30, "bigquery.job_failed");
    }
}

/* ---- steps of a job ---- */

static enum step look(struct load *load, struct job *job)
{
    struct google_answer answer;
    struct answer_job says;
    sendit_verdict verdict = job_get(load->self, job, !load->settle->last, &answer, load->why);

    if (verdict != SENDIT_PASS)
        return away(load, verdict);
    if (answer.status == 404) {
        /* It was never made, or was forgotten, as after half a year: the same id is safe. */
        job->location[0] = '\0';
        if (job->state == JOB_SENT)
            return write_job(load, job, JOB_PREPARED);
        return look_later(load, job);
    }
    if (answer.status != 200)
        return away(load, google_verdict(&answer, "the load job", TABLES_USER, load->why));
    job_read(job, &answer, &says);
    if (says.what == ANSWER_ODD)
        return away(load, google_verdict(&answer, "the load job", TABLES_USER, load->why));
    return take_answer(load, job, &says);
}

static enum step send(struct load *load, struct job *job)
{
    struct google_answer answer;
    struct answer_job says;
    unsigned char *body = NULL;
    size_t length = 0;
    sendit_verdict verdict;
    sendit_result r;

    verdict = tables_make(load->self, !load->settle->last, load->why);
    if (verdict != SENDIT_PASS)
        return away(load, verdict);
    r = job_body(load->self, job, load->rounds, load->n_rounds, &body, &length);
    if (r != SENDIT_OK)
        return no_ledger(load, r);
    load->held += length;
    note(load, "job.sent", job);
    verdict = job_insert(load->self, job, body, length, !load->settle->last, &answer, load->why);
    free(body);
    if (verdict != SENDIT_PASS)
        return away(load, verdict);
    look_of(load->self, job)->sent = answer.status == 200;
    if (answer.status == 409)
        return look(load, job);
    if (answer.status == 413 || answer_of_reason(answer.reason) == ANSWER_TOO_LARGE)
        return too_large(load, job);
    if (answer.status == 404) {
        load->self->tables_stand = 0;
        return away(load, google_verdict(&answer, "the project", TABLES_USER, load->why));
    }
    if (answer.status != 200)
        return away(load, google_verdict(&answer, "the project, to run load jobs in", TABLES_USER,
                                         load->why));
    job_read(job, &answer, &says);
    if (says.what == ANSWER_ODD) /* it may stand all the same */
        return away(load, google_verdict(&answer, "the load job", TABLES_USER, load->why));
    return take_answer(load, job, &says);
}

/* Its rows are in the table. */
static enum step take_out(struct load *load, const struct job *job)
{
    sendit_result r = mark_parts(load, job, PART_LOADED, "");

    if (r == SENDIT_OK) {
        note(load, "job.loaded", job);
        r = journal_delete_job(load->self, job);
    }
    return r == SENDIT_OK ? STEP_DONE : no_ledger(load, r);
}

static enum step advance(struct load *load, struct job *job)
{
    struct look *next;
    int64_t now_ms;

    if (job->state == JOB_SPLIT)
        return split_now(load, job);
    if (job->state == JOB_LOADED)
        return take_out(load, job);
    next = look_of(load->self, job);
    now_ms = now_of(load); /* a clock that was set back does not hide a job */
    if (next->at_ms > now_ms && next->at_ms - now_ms <= JOB_LONGEST_LOOK_MS)
        return wait_until(load, next->at_ms);
    return job->state == JOB_SENT ? look(load, job) : send(load, job);
}

/* ---- a new job ---- */

static bool is_in_job(const struct load *load, const struct round *round, size_t number)
{
    for (size_t i = 0; i < load->n_jobs; i++)
        for (size_t j = 0; j < load->jobs[i].n_parts; j++) {
            const struct job_part *part = &load->jobs[i].parts[j];

            if (part->round == round->number && part->number == number &&
                !strcmp(part->batch, round->batch))
                return true;
        }
    return false;
}

static bool has_job(const struct load *load, enum table table)
{
    for (size_t i = 0; i < load->n_jobs; i++)
        if (load->jobs[i].table == table)
            return true;
    return false;
}

/* What waits of a table, as far as a job goes; *ret_due: it need not wait any longer. */
static int pick(const struct load *load, struct job *job, bool *ret_due)
{
    const struct sendit_stage_state *self = load->self;
    int64_t oldest = INT64_MAX;
    uint64_t bytes = 0, raw = 0;
    bool full = false;

    for (size_t i = 0; i < load->n_rounds && !full; i++) {
        const struct round *round = &load->rounds[i];

        for (size_t j = 0; j < round->n_parts && !full; j++) {
            const struct part *part = &round->parts[j];
            struct job_part *parts;

            if (part->table != job->table || part->state != PART_QUEUED ||
                is_in_job(load, round, j))
                continue;
            full = job->n_parts == JOB_MAX_PARTS ||
                   (job->n_parts && bytes + part->sum.bytes > JOB_MAX_BYTES);
            if (full)
                break;
            parts = realloc(job->parts, (job->n_parts + 1) * sizeof(*parts));
            if (!parts)
                return -1;
            job->parts = parts;
            parts += job->n_parts++;
            memcpy(parts->batch, round->batch, sizeof(parts->batch));
            parts->round = round->number;
            parts->number = (uint32_t)j;
            bytes += part->sum.bytes;
            raw += part->sum.raw;
            if (round->at_ms < oldest)
                oldest = round->at_ms;
        }
    }
    *ret_due = job->n_parts && (full || load->settle->last || raw >= (uint64_t)self->load_size ||
                                now_of(load) - oldest >= self->load_every_ms);
    return 0;
}

static enum step prepare(struct load *load, enum table table)
{
    struct job job = {.table = table, .state = JOB_PREPARED, .attempt = 1};
    enum step step = STEP_NONE;
    sendit_result r;
    bool due;

    if (has_job(load, table))
        return STEP_NONE;
    if (pick(load, &job, &due)) {
        step = no_ledger(load, SENDIT_ENOMEM);
    } else if (due) {
        step = take_budget(load, table);
        r = journal_name_job(load->self, &job, load->rounds, load->n_rounds) ? SENDIT_OK
                                                                             : SENDIT_ENOMEM;
        if (step == STEP_DONE && r == SENDIT_OK)
            r = journal_write_job(load->self, &job);
        if (step == STEP_DONE && r == SENDIT_OK)
            note(load, "job.prepared", &job);
        else if (step == STEP_DONE)
            step = no_ledger(load, r);
    }
    free(job.parts);
    return step;
}

/* ---- all of it ---- */

static void forget(struct load *load)
{
    journal_free_rounds(load->rounds, load->n_rounds);
    journal_free_jobs(load->jobs, load->n_jobs);
    load->rounds = NULL;
    load->jobs = NULL;
    load->n_rounds = load->n_jobs = 0;
}

static enum step look_around(struct load *load)
{
    sendit_result r;

    forget(load);
    r = journal_rounds(load->self, NULL, false, &load->rounds, &load->n_rounds);
    if (r == SENDIT_OK)
        r = journal_jobs(load->self, &load->jobs, &load->n_jobs);
    for (size_t i = 0; i < load->n_rounds; i++)
        load->held += RECORD_BYTES * (1 + load->rounds[i].n_parts);
    for (size_t i = 0; i < load->n_jobs; i++)
        load->held += RECORD_BYTES * (1 + load->jobs[i].n_parts);
    return r == SENDIT_OK ? STEP_NONE : no_ledger(load, r);
}

/* The next thing that can be done. */
static enum step step_on(struct load *load)
{
    enum step step = look_around(load), all = STEP_NONE;

    if (step == STEP_NONE)
        step = announce(load);
    if (step != STEP_NONE)
        return step;
    for (int state = JOB_SPLIT; state >= JOB_PREPARED; state--) /* what is through comes first */
        for (size_t i = 0; i < load->n_jobs; i++) {
            if (load->jobs[i].state != (enum job_state)state)
                continue;
            step = advance(load, &load->jobs[i]);
            if (step == STEP_DONE || step == STEP_STOP)
                return step;
            all = step;
        }
    for (int i = 0; i < TABLES; i++) {
        step = prepare(load, (enum table)i);
        if (step == STEP_DONE || step == STEP_STOP)
            return step;
    }
    return all;
}

/* Until `ms`, or the host stops. */
static void sleep_until(const struct load *load, int64_t ms)
{
    const struct timespec pause = {0, SLEEP_MS * 1000000};

    while (now_of(load) < ms && !load->self->host->canceled(load->self->host))
        nanosleep(&pause, NULL);
}

static sendit_verdict come_again(struct load *load, uint32_t seconds)
{
    load->why->retry_after_s = seconds;
    return sendit_because(load->why, SENDIT_RETRY, "bigquery.waits",
                          "Load jobs of BigQuery are under way.");
}

static int64_t clock_ms(void)
{
    struct timespec now_;

    clock_gettime(CLOCK_MONOTONIC, &now_);
    return (int64_t)now_.tv_sec * 1000 + now_.tv_nsec / 1000000;
}

static sendit_verdict go_on(struct load *load)
{
    int64_t end_ms = clock_ms() + STAY_MS;

    for (int i = 0; i < MAX_STEPS; i++) {
        enum step step;

        load->wake_ms = 0;
        step = step_on(load);
        if (step == STEP_STOP)
            return load->verdict;
        if (load->self->host->canceled(load->self->host))
            return come_again(load, 1);
        if (step == STEP_NONE || (step == STEP_WAITS && !load->settle->last))
            return SENDIT_PASS;
        if (clock_ms() > end_ms || (step == STEP_DONE && load->held >= JOB_MAX_BYTES))
            return come_again(load, 1);
        if (step == STEP_WAITS)
            sleep_until(load, load->wake_ms);
    }
    return come_again(load, 1);
}

sendit_verdict load_settle(struct sendit_stage_state *self, const struct sendit_settle *settle,
                           struct sendit_why *why)
{
    struct load load = {.self = self, .settle = settle, .why = why};
    sendit_verdict verdict;

    if (!settle->last && now_of(&load) < self->not_before_ms)
        return SENDIT_PASS;
    verdict = go_on(&load);
    forget(&load);
    /* While other batches go on, what is away is looked at again; nobody waits for it. */
    return verdict == SENDIT_RETRY && !settle->last ? SENDIT_PASS : verdict;
}
