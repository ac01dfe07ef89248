/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal and the load jobs of bigquery-store, before a store and a BigQuery in shared memory:
 * a worker is a process, which ends at once before or after any effect, and another goes on.
 */
#include "bigquery_compare.h"
#include "bigquery_gather.h"
#include "bigquery_job.h"
#include "bigquery_load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <zlib.h>

#define MAX_KEYS 512
#define MAX_VALUE 4096
#define MAX_ROWS 512
#define MAX_JOBS 128
#define BATCHES 3
#define IMAGES 4
#define KILLED 9

struct entry {
    char key[JOURNAL_KEY], value[MAX_VALUE];
    size_t length;
    uint64_t revision;
};
enum { BATCH_NEW, BATCH_WAITS, BATCH_DONE, BATCH_FAILED };

/* What outlives a process. */
static struct world {
    struct entry entries[MAX_KEYS];
    size_t n_entries;
    uint64_t revision;
    int64_t now_ms;
    /* BigQuery */
    char rows[TABLES][MAX_ROWS][128];
    size_t n_rows[TABLES];
    char jobs[MAX_JOBS][JOB_NAME_SIZE];
    char results[MAX_JOBS][32]; /* reason of errorResult, "" for success */
    size_t wrote[MAX_JOBS];     /* rows, as it says */
    size_t n_jobs, n_posts;
    int tables[TABLES + 2], dataset;
    /* the ledger */
    int batches[BATCHES];
    int shown[BATCHES]; /* images of the batch */
    char code[32], text[220];
    /* what goes wrong */
    int effects, kill_at;   /* effects so far; at which to die, 0: none */
    const char *bad;        /* a SOP instance that is refused */
    const char *fail_first; /* reason with which each new job fails once */
    int posts_status;       /* status of jobs.insert, until posts_left is 0 */
    int posts_left, runs;   /* a job is RUNNING for so many looks */
    size_t max_rows;        /* of a job; 0: any */
    size_t lost_rows;       /* that a job says less than it got */
    bool always_fails;      /* with fail_first, at each attempt */
    const char *posts_reason;
    int truncate_left; /* answers of jobs.insert that break off */
} * world;

/* Somebody pulls the plug. */
static void effect(void)
{
    world->effects++;
    if (world->effects == world->kill_at)
        _exit(KILLED);
}

/* ---- the store ---- */

static struct entry *find_entry(const char *key, size_t *ret_at)
{
    size_t i = 0;

    while (i < world->n_entries && strcmp(world->entries[i].key, key) < 0)
        i++;
    *ret_at = i;
    return i < world->n_entries && !strcmp(world->entries[i].key, key) ? &world->entries[i] : NULL;
}

static sendit_result store_get(const struct sendit_host *host, const char *key,
                               const void **ret_value, size_t *ret_length, uint64_t *ret_revision)
{
    static char copies[8][MAX_VALUE];
    static int next;
    const struct entry *entry;
    size_t at;

    (void)host;
    entry = find_entry(key, &at);
    if (!entry)
        return SENDIT_EABSENT;
    next = (next + 1) % 8;
    memcpy(copies[next], entry->value, entry->length);
    *ret_value = copies[next];
    *ret_length = entry->length;
    *ret_revision = entry->revision;
    return SENDIT_OK;
}

static sendit_result store_put(const struct sendit_host *host, const char *key, const void *value,
                               size_t length, uint64_t expected)
{
    struct entry *entry;
    size_t at;

    (void)host;
    effect();
    entry = find_entry(key, &at);
    if ((entry ? entry->revision : 0) != expected)
        return SENDIT_ECONFLICT;
    if (!value) {
        assert_non_null(entry);
        memmove(entry, entry + 1, (world->n_entries - at - 1) * sizeof(*entry));
        world->n_entries--;
        effect();
        return SENDIT_OK;
    }
    assert_true(length <= MAX_VALUE);
    if (!entry) {
        assert_true(world->n_entries < MAX_KEYS);
        entry = &world->entries[at];
        memmove(entry + 1, entry, (world->n_entries - at) * sizeof(*entry));
        world->n_entries++;
        snprintf(entry->key, sizeof(entry->key), "%s", key);
    }
    memcpy(entry->value, value, length);
    entry->length = length;
    entry->revision = ++world->revision;
    effect();
    return SENDIT_OK;
}

static sendit_result store_next(const struct sendit_host *host, const char *key,
                                const char **ret_key)
{
    static char copy[JOURNAL_KEY];
    size_t at;

    (void)host;
    if (find_entry(key, &at))
        at++;
    if (at == world->n_entries)
        return SENDIT_EABSENT;
    snprintf(copy, sizeof(copy), "%s", world->entries[at].key);
    *ret_key = copy;
    return SENDIT_OK;
}

static sendit_result store_append(const struct sendit_host *host, const char *event,
                                  const char *json)
{
    json_t *value = json_loads(json, JSON_REJECT_DUPLICATES, NULL);

    (void)host, (void)event;
    assert_non_null(value);
    json_decref(value);
    return SENDIT_OK;
}

static size_t count_keys(const char *prefix)
{
    size_t n = 0;

    for (size_t i = 0; i < world->n_entries; i++)
        n += !strncmp(world->entries[i].key, prefix, strlen(prefix));
    return n;
}

/* ---- the rest of the host ---- */

struct sendit_dataset {
    int batch, image;
};

static sendit_result fake_get(struct sendit_dataset *ds, uint32_t tag, const char **ret_value)
{
    static char text[32];

    if (tag == 0x00080018)
        snprintf(text, sizeof(text), "2.25.%d%d", ds->batch + 1, ds->image + 1);
    else if (tag == 0x0020000d)
        snprintf(text, sizeof(text), "2.25.%d", ds->batch + 1);
    else
        return SENDIT_EABSENT;
    *ret_value = text;
    return SENDIT_OK;
}

static sendit_result fake_json(struct sendit_dataset *ds, const char **ret_json)
{
    (void)ds;
    *ret_json = "{\"00080060\":{\"vr\":\"CS\",\"Value\":[\"CT\"]}}";
    return SENDIT_OK;
}

static sendit_result fake_keyword(uint32_t tag, const char **ret_keyword)
{
    (void)tag;
    *ret_keyword = "Modality";
    return SENDIT_OK;
}

static sendit_result fact_get(const struct sendit_host *host, const char *item, const char *key,
                              const char **ret_value)
{
    static char text[8][64];
    static int next;
    int batch, image;

    (void)host;
    if (sscanf(item, "item-%d-%d", &batch, &image) != 2 || image == IMAGES) /* the last is held */
        return SENDIT_EABSENT;
    next = (next + 1) % 8;
    if (!strcmp(key, "store.object"))
        snprintf(text[next], sizeof(text[0]), "gs://bucket/C/%d.tar.gz", batch);
    else if (!strcmp(key, "store.generation"))
        snprintf(text[next], sizeof(text[0]), "%d", 100 + batch);
    else if (!strcmp(key, "store.crc32c"))
        snprintf(text[next], sizeof(text[0]), "AAAAAA==");
    else
        return SENDIT_EABSENT;
    *ret_value = text[next];
    return SENDIT_OK;
}

static FILE *spool_file;

static sendit_result spool_open(const struct sendit_host *host, const char *name, int *ret_fd)
{
    (void)host, (void)name;
    if (spool_file)
        fclose(spool_file);
    spool_file = tmpfile();
    *ret_fd = fileno(spool_file);
    return SENDIT_OK;
}

static int64_t now(const struct sendit_host *host)
{
    (void)host;
    return world->now_ms += 1000;
}

static int never(const struct sendit_host *host)
{
    (void)host;
    return 0;
}

static void no_log(const struct sendit_host *host, int32_t level, const char *event,
                   const char *text)
{
    (void)host, (void)level, (void)event, (void)text;
}

static void no_metric(const struct sendit_host *host, const char *name, int64_t delta)
{
    (void)host, (void)name, (void)delta;
}

static const struct sendit_dicom fake_dicom = {
    .get = fake_get, .json = fake_json, .keyword = fake_keyword};
static const struct sendit_facts fake_facts = {.get = fact_get};
static const struct sendit_spool fake_spool = {.open = spool_open};
static const struct sendit_metrics fake_metrics = {.add = no_metric};
static const struct sendit_store fake_store = {
    .get = store_get, .put = store_put, .next = store_next, .append = store_append};
static const struct sendit_host fake_host = {.log = no_log, .canceled = never, .now_ms = now};

/* ---- BigQuery, by way of google.h ---- */

static char answer_body[65536];

static void respond(struct google_answer *answer, int status, const char *reason)
{
    memset(answer, 0, sizeof(*answer));
    answer->end = GOOGLE_ANSWERED;
    answer->status = status;
    answer->body = answer_body;
    answer->length = strlen(answer_body);
    answer->reason = reason;
    answer->message = "";
}

static size_t find_job(const char *name)
{
    size_t i = 0;

    while (i < world->n_jobs && strcmp(world->jobs[i], name) != 0)
        i++;
    return i;
}

static void job_answer(size_t i, bool runs, struct google_answer *answer)
{
    const char *reason = world->results[i];

    snprintf(
        answer_body, sizeof(answer_body),
        "{\"jobReference\":{\"jobId\":\"%s\",\"location\":\"US\"},\"status\":{\"state\":\"%s\"%s"
        "%s%s},\"statistics\":{\"load\":{\"outputRows\":\"%zu\"}}}",
        world->jobs[i], runs ? "RUNNING" : "DONE",
        *reason && !runs ? ",\"errorResult\":{\"reason\":\"" : "", runs ? "" : reason,
        *reason && !runs ? "\",\"message\":\"Field: StudyDate; Value: 5\"}" : "", world->wrote[i]);
    respond(answer, 200, "");
}

/* Rows of a gzip file, into `table` if none is refused. */
static void load_rows(int table, const unsigned char *data, size_t length, char reason[32])
{
    static char raw[1 << 20];
    z_stream stream = {0};
    size_t n = 0, before = world->n_rows[table];
    char *line, *rest = raw;

    assert_int_equal(inflateInit2(&stream, 31), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)length;
    stream.next_out = (Bytef *)raw;
    stream.avail_out = sizeof(raw) - 1;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    raw[stream.total_out] = '\0';
    inflateEnd(&stream);
    while ((line = strsep(&rest, "\n")) && *line) {
        json_t *row = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        const char *key = table ? "SOPInstanceUID" : "storage_metadataLink";
        const char *name = json_string_value(json_object_get(row, key));

        assert_non_null(name);
        if (world->bad && !strcmp(name, world->bad))
            snprintf(reason, 32, "invalid");
        assert_true(before + n < MAX_ROWS);
        snprintf(world->rows[table][before + n++], 128, "%s", name);
        json_decref(row);
    }
    if (world->max_rows && n > world->max_rows)
        snprintf(reason, 32, "tooLarge");
    else if (!*reason)
        world->n_rows[table] += n; /* all of them at once */
}

static void insert_job(const struct google_request *request, struct google_answer *answer)
{
    const char *body = request->body->data, *json = strstr(body, "\r\n\r\n") + 4;
    const unsigned char *rows;
    char name[JOB_NAME_SIZE], reason[32] = "";
    size_t length, i;
    int table = strstr(json, "\"tableId\":\"dicom\"") ? TABLE_DICOM : TABLE_INSTANCES;

    assert_int_equal(sscanf(strstr(json, "\"jobId\":\"") + 9, "%95[^\"]", name), 1);
    rows = (const unsigned char *)strstr(strstr(json, "octet-stream"), "\r\n\r\n") + 4;
    length = request->body->length - (size_t)((const char *)rows - body) - strlen(name) - 8;
    world->n_posts++;
    if (world->posts_left) {
        world->posts_left--;
        snprintf(answer_body, sizeof(answer_body), "{}");
        respond(answer, world->posts_status, world->posts_reason ? world->posts_reason : "");
        return;
    }
    assert_true(world->dataset && world->tables[table]);
    i = find_job(name);
    if (i < world->n_jobs) {
        snprintf(answer_body, sizeof(answer_body), "{}");
        respond(answer, 409, "duplicate");
        return;
    }
    assert_true(i < MAX_JOBS);
    if (world->fail_first && (world->always_fails || !strcmp(name + strlen(name) - 2, "-1")))
        snprintf(reason, sizeof(reason), "%s", world->fail_first);
    effect();
    world->wrote[i] = world->n_rows[table];
    load_rows(table, rows, length, reason);
    world->wrote[i] = world->n_rows[table] - world->wrote[i] - world->lost_rows;
    snprintf(world->jobs[i], JOB_NAME_SIZE, "%s", name);
    snprintf(world->results[i], sizeof(world->results[i]), "%s", reason);
    world->n_jobs++;
    effect(); /* and its reply is lost */
    job_answer(i, world->runs > 0, answer);
    if (world->truncate_left) {
        world->truncate_left--;
        answer->length /= 2;
    }
}

static void get_job(const char *url, struct google_answer *answer)
{
    char name[JOB_NAME_SIZE];
    size_t i;

    assert_int_equal(sscanf(strstr(url, "/jobs/") + 6, "%95[^?]", name), 1);
    assert_non_null(strstr(url, "?location=US"));
    i = find_job(name);
    if (i == world->n_jobs) {
        snprintf(answer_body, sizeof(answer_body), "{}");
        respond(answer, 404, "notFound");
        return;
    }
    world->runs -= world->runs > 0;
    job_answer(i, world->runs > 0, answer);
}

/* Datasets and tables: there, or not. */
static void places(const struct google_request *request, struct google_answer *answer)
{
    static const char *const names[] = {"dicom", "instances", "dicom_once", "instances_once"};
    const char *tables = strstr(request->url, "/tables"), *table = tables ? tables + 7 : NULL;
    int *there = &world->dataset;
    const struct schema_place place = {.project = "p", .dataset = "D"};
    bool makes = !strcmp(request->method, "POST");
    json_t *json;
    char *text;

    for (int i = 0; table && i < 4; i++) {
        char word[64];

        snprintf(word, sizeof(word), "\"tableId\":\"%s\"", names[i]);
        if (makes ? strstr(request->body->data, word) != NULL : !strcmp(table + 1, names[i])) {
            there = &world->tables[i];
            json = schema_table_body(&place, (enum table)(i & 1));
            text = json_dumps(json, 0);
            snprintf(answer_body, sizeof(answer_body), "%s", text);
            free(text);
            json_decref(json);
        }
    }
    if (!table)
        snprintf(answer_body, sizeof(answer_body), "{\"location\":\"US\"}");
    if (makes) {
        effect();
        respond(answer, *there ? 409 : 200, "");
        *there = 1;
        effect();
    } else {
        respond(answer, *there ? 200 : 404, "");
    }
}

sendit_result google_send(struct google *google, const struct google_request *request,
                          struct google_answer *ret)
{
    (void)google;
    if (!strncmp(request->url, "https://g/upload/", 17))
        insert_job(request, ret);
    else if (strstr(request->url, "/jobs/"))
        get_job(request->url, ret);
    else
        places(request, ret);
    return SENDIT_OK;
}

const char *google_endpoint(const struct google *google)
{
    (void)google;
    return "https://g";
}

void google_url_escape(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

sendit_verdict google_verdict(const struct google_answer *answer, const char *what,
                              const char *role, struct sendit_why *why)
{
    bool later = answer->status >= 500 || answer->status == 200 || answer->status == 429 ||
                 !strcmp(answer->reason, "quotaExceeded");

    why->retry_after_s = 1;
    return sendit_because(why, later ? SENDIT_RETRY : SENDIT_FAIL, "google.test", "%d %s %s",
                          answer->status, what, role);
}

/* ---- a worker ---- */

static struct sendit_stage_state state(void)
{
    struct sendit_stage_state self = {.host = &fake_host,
                                      .dicom = &fake_dicom,
                                      .spool = &fake_spool,
                                      .facts = &fake_facts,
                                      .store = &fake_store,
                                      .metrics = &fake_metrics,
                                      .place = {.project = "p", .dataset = "D"},
                                      .load_every_ms = 60000,
                                      .load_size = 1 << 20,
                                      .max_loads = 1500,
                                      .poll_ms = 1};

    return self;
}

static sendit_result told(const struct sendit_settle *settle, const char *batch,
                          sendit_verdict verdict, const char *code, const char *text)
{
    int *is;

    (void)settle;
    effect();
    is = &world->batches[batch[strlen(batch) - 1] - '0'];
    if (*is != BATCH_WAITS)
        return SENDIT_OK;
    *is = verdict == SENDIT_PASS ? BATCH_DONE : BATCH_FAILED;
    if (verdict != SENDIT_PASS) {
        snprintf(world->code, sizeof(world->code), "%s", code);
        snprintf(world->text, sizeof(world->text), "%s", text);
    }
    effect();
    return SENDIT_OK;
}

static void take_batch(struct sendit_stage_state *self, int number)
{
    char id[32], item[32];
    struct sendit_batch batch = {.id = id};
    struct sendit_why why = {0};
    sendit_verdict verdict;

    snprintf(id, sizeof(id), "batch-%d", number);
    assert_int_equal(gather_begin(self, &batch, &why), SENDIT_PASS);
    for (int i = 0; i <= world->shown[number]; i++) {
        struct sendit_dataset ds = {number, i};
        struct sendit_item one = {.id = item, .ds = &ds};

        snprintf(item, sizeof(item), "item-%d-%d", number, i == world->shown[number] ? IMAGES : i);
        assert_int_equal(gather_add(self, &one, &why), SENDIT_PASS);
        if (i == 1) /* once more, as after a later stage's RETRY */
            assert_int_equal(gather_add(self, &one, &why), SENDIT_PASS);
    }
    verdict = gather_finish(self, &batch, &why);
    gather_end(self);
    effect();
    assert_true(verdict == SENDIT_PASS || verdict == SENDIT_LATER);
    world->batches[number] = verdict == SENDIT_PASS ? BATCH_DONE : BATCH_WAITS;
    effect();
}

/* All batches, then all that waits; SENDIT_PASS at the end. */
static sendit_verdict work(struct sendit_why *why)
{
    struct sendit_stage_state self = state();
    const struct sendit_settle settle = {.last = 1, .batch = told}, now_and_then = {.batch = told};
    sendit_verdict verdict = SENDIT_RETRY;

    for (int i = 0; i < BATCHES; i++)
        if (world->batches[i] == BATCH_NEW) {
            take_batch(&self, i);
            verdict = load_settle(&self, &now_and_then, why);
            if (verdict != SENDIT_PASS)
                return verdict;
        }
    verdict = SENDIT_RETRY;
    for (int i = 0; i < 200 && verdict == SENDIT_RETRY; i++) {
        memset(why, 0, sizeof(*why));
        verdict = load_settle(&self, &settle, why);
    }
    return verdict;
}

/* 0: it went through. */
static int in_a_process(void)
{
    pid_t pid = fork();
    int status;

    if (!pid) {
        struct sendit_why why = {0};

        _exit(work(&why) == SENDIT_PASS ? 0 : 1);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int set_up(void **ctx)
{
    (void)ctx;
    if (!world)
        world =
            mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(world != MAP_FAILED);
    memset(world, 0, sizeof(*world));
    world->now_ms = 1609459200000;
    for (int i = 0; i < BATCHES; i++)
        world->shown[i] = IMAGES - 1;
    return 0;
}

static size_t count_row(int table, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < world->n_rows[table]; i++)
        n += !strcmp(world->rows[table][i], name);
    return n;
}

/* One row for each study and instance, and nothing left in hand. */
static void is_exactly_once(void)
{
    char name[128];
    size_t all = 0;

    for (int i = 0; i < BATCHES; i++) {
        assert_int_equal(world->batches[i], BATCH_DONE);
        for (int j = 0; j < world->shown[i]; j++, all++) {
            snprintf(name, sizeof(name), "2.25.%d%d", i + 1, j + 1);
            assert_int_equal(count_row(TABLE_INSTANCES, name), 1);
        }
        snprintf(name, sizeof(name),
                 "https://www.googleapis.com/storage/v1/b/bucket/o/C%%2F%d.tar.gz", i);
        assert_int_equal(count_row(TABLE_DICOM, name), 1);
    }
    assert_int_equal(world->n_rows[TABLE_INSTANCES], all);
    assert_int_equal(count_keys("wait/"), 0);
    assert_int_equal(count_keys("data/"), 0);
    assert_int_equal(count_keys("job/"), 0);
    assert_int_equal(count_keys("open/"), 0);
}

/* ---- tests ---- */

static void all_is_loaded_once(void **ctx)
{
    (void)ctx;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    assert_int_equal(world->n_rows[TABLE_DICOM], BATCHES);
    assert_int_equal(world->n_jobs, 2); /* one a table, for all batches */
    assert_int_equal(count_keys("done/"), BATCHES);
    assert_int_equal(count_keys("name/"), 2 * BATCHES);
}

/* Killed before and after each effect, once, and then twice. */
static void a_kill_at_any_effect_changes_nothing(void **ctx)
{
    int effects;

    assert_int_equal(in_a_process(), 0);
    effects = world->effects;
    assert_true(effects > 80);
    for (int at = 1; at <= effects; at++)
        for (int again = 0; again < 2; again++) {
            set_up(ctx);
            world->kill_at = at;
            assert_int_equal(in_a_process(), KILLED);
            if (again) {
                world->kill_at = world->effects + 1 + at * 7 % 40;
                if (in_a_process() != KILLED)
                    world->kill_at = 0;
            }
            world->kill_at = 0;
            assert_int_equal(in_a_process(), 0);
            is_exactly_once();
            assert_int_equal(world->n_rows[TABLE_DICOM], BATCHES);
        }
}

/* Another worker loads what an attempt put down whose end nobody was told. */
static void an_attempt_that_was_loaded_is_not_loaded_again(void **ctx)
{
    (void)ctx;
    assert_int_equal(in_a_process(), 0);
    world->batches[1] = BATCH_NEW; /* LATER was lost, the load was not */
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    assert_int_equal(world->n_rows[TABLE_DICOM], BATCHES);
}

/* The state folder and the dataset were thrown away, and Google remembers the jobs. */
static void a_job_of_before_says_nothing_of_a_new_table(void **ctx)
{
    (void)ctx;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    world->n_entries = 0;
    world->dataset = 0;
    memset(world->tables, 0, sizeof(world->tables));
    memset(world->n_rows, 0, sizeof(world->n_rows));
    memset(world->batches, 0, sizeof(world->batches));
    world->now_ms += 60000;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    assert_int_equal(world->n_rows[TABLE_DICOM], BATCHES);
}

/* Two entries of a pipeline, for one project, at the same instant. */
static void a_job_for_another_dataset_is_another_job(void **ctx)
{
    struct part part = {.table = TABLE_DICOM, .rows = 1, .keys = "keys", .sha = "sha"};
    struct round round = {.batch = "b1", .number = 1, .parts = &part, .n_parts = 1};
    struct job_part of = {.batch = "b1", .round = 1};
    struct job jobs[3] = {
        {.parts = &of, .n_parts = 1}, {.parts = &of, .n_parts = 1}, {.parts = &of, .n_parts = 1}};
    struct sendit_stage_state self = state();

    (void)ctx;
    for (int i = 0; i < 3; i++) {
        jobs[i].table = TABLE_DICOM;
        self.place.dataset = i == 1 ? "E" : "D";
        assert_true(journal_name_job(&self, &jobs[i], &round, 1));
    }
    assert_string_not_equal(jobs[0].id, jobs[1].id);
    assert_string_equal(jobs[0].id, jobs[2].id);
    self.place.project = "q";
    assert_true(journal_name_job(&self, &jobs[1], &round, 1));
    assert_string_not_equal(jobs[0].id, jobs[1].id);
    round.at_ms = 1;
    assert_true(journal_name_job(&self, &jobs[2], &round, 1));
    assert_string_not_equal(jobs[1].id, jobs[2].id);
    of.number = 1; /* which is not there */
    assert_false(journal_name_job(&self, &jobs[2], &round, 1));
}

static void more_images_are_added(void **ctx)
{
    (void)ctx;
    world->shown[1] = 1;
    assert_int_equal(in_a_process(), 0);
    world->shown[1] = IMAGES - 1; /* shown again, with two that are new */
    world->batches[1] = BATCH_NEW;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
}

static void a_batch_without_images_has_no_row(void **ctx)
{
    (void)ctx;
    for (int i = 0; i < BATCHES; i++)
        world->shown[i] = 0; /* but one that is held */
    assert_int_equal(in_a_process(), 0);
    for (int i = 0; i < BATCHES; i++)
        assert_int_equal(world->batches[i], BATCH_DONE);
    assert_int_equal(world->n_rows[TABLE_DICOM] + world->n_rows[TABLE_INSTANCES], 0);
    assert_int_equal(world->n_posts, 0);
    assert_int_equal(world->n_entries, 0);
}

static void jobs_that_run_are_waited_for(void **ctx)
{
    (void)ctx;
    world->runs = 5;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    assert_int_equal(world->n_posts, 2);
}

static void a_clock_that_is_set_back_hides_no_job(void **ctx)
{
    struct sendit_stage_state self = state();
    const struct sendit_settle settle = {.last = 1, .batch = told}, now_and_then = {.batch = told};
    struct sendit_why why = {0};

    (void)ctx;
    world->runs = 2;
    self.poll_ms = 30000;
    self.load_every_ms = 0;
    take_batch(&self, 0);
    assert_int_equal(load_settle(&self, &now_and_then, &why), SENDIT_PASS);
    assert_int_equal(world->batches[0], BATCH_WAITS);
    world->now_ms -= 3600 * 1000;
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_PASS);
    assert_int_equal(world->batches[0], BATCH_DONE);
}

/* All or nothing is what Google promises: what says otherwise is not taken for done. */
static void a_job_that_lost_rows_is_told(void **ctx)
{
    struct sendit_why why = {0};

    (void)ctx;
    world->lost_rows = 1;
    for (int i = 0; i < 2; i++) { /* nor later */
        assert_int_equal(work(&why), SENDIT_FAIL);
        assert_string_equal(why.code, "bigquery.short");
        assert_int_equal(count_keys("done/"), 0);
        for (int j = 0; j < BATCHES; j++)
            assert_int_equal(world->batches[j], BATCH_WAITS);
    }
    assert_int_equal(world->n_jobs, 1);
}

static void a_job_that_always_fails_is_told(void **ctx)
{
    struct sendit_why why = {0};

    (void)ctx;
    world->fail_first = "backendError";
    world->always_fails = true;
    assert_int_equal(work(&why), SENDIT_FAIL);
    assert_string_equal(why.code, "bigquery.job_failed");
    assert_int_equal(world->n_posts, 19);
    assert_int_equal(world->n_rows[TABLE_DICOM], 0);
    assert_int_equal(world->batches[0], BATCH_WAITS);
    world->always_fails = false;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
}

/* The right was missing when a run sent both jobs, which told of one; the next run has it. */
static void what_was_denied_before_is_tried_again(void **ctx)
{
    struct sendit_stage_state self = state(), next = state();
    const struct sendit_settle settle = {.last = 1, .batch = told}, now_and_then = {.batch = told};
    struct sendit_why why = {0};

    (void)ctx;
    self.load_every_ms = 0;
    self.poll_ms = 30000;
    world->fail_first = "accessDenied";
    world->runs = 1;
    take_batch(&self, 0);
    assert_int_equal(load_settle(&self, &now_and_then, &why), SENDIT_PASS);
    assert_int_equal(world->n_jobs, 2);
    world->runs = 0;
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "bigquery.denied");
    assert_int_equal(load_settle(&next, &settle, &why), SENDIT_PASS);
    assert_int_equal(world->batches[0], BATCH_DONE);
    assert_int_equal(world->n_jobs, 4);
}

static void what_fails_for_googles_reasons_is_tried_again(void **ctx)
{
    static const char *const reasons[] = {"backendError",  "internalError", "rateLimitExceeded",
                                          "quotaExceeded", "notFound",      "stopped",
                                          "whatever"};

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        set_up(ctx);
        world->fail_first = reasons[i];
        assert_int_equal(in_a_process(), 0);
        is_exactly_once();
        assert_int_equal(world->n_jobs, 4); /* each under another id */
    }
}

static void an_answer_that_breaks_off_is_asked_for_again(void **ctx)
{
    (void)ctx;
    world->truncate_left = 2;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    assert_int_equal(world->n_jobs, 2);
    assert_int_equal(world->n_posts, 4); /* 409, and looked at */
}

static void a_busy_service_is_asked_again(void **ctx)
{
    (void)ctx;
    world->posts_left = 5;
    world->posts_status = 503;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    assert_int_equal(world->n_jobs, 2);
}

static void a_service_that_refuses_ends_the_run(void **ctx)
{
    struct sendit_why why = {0};

    (void)ctx;
    world->posts_left = 1;
    world->posts_status = 403;
    assert_int_equal(work(&why), SENDIT_FAIL);
    assert_int_equal(count_keys("wait/"), BATCHES); /* nothing is lost */
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
}

static void a_load_that_is_too_large_is_halved(void **ctx)
{
    (void)ctx;
    world->max_rows = IMAGES - 1; /* as many as a batch has */
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
    set_up(ctx);
    world->posts_left = 1;
    world->posts_status = 413;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
}

static void a_part_that_is_too_large_is_told(void **ctx)
{
    struct sendit_why why = {0};

    (void)ctx;
    world->max_rows = 1;
    assert_int_equal(work(&why), SENDIT_FAIL);
    assert_string_equal(why.code, "bigquery.too_large");
}

/* The batch whose row it is, and no other. */
static void rows_at_fault_cost_their_batch(void **ctx)
{
    (void)ctx;
    world->bad = "2.25.22";
    assert_int_equal(in_a_process(), 0);
    assert_int_equal(world->batches[0], BATCH_DONE);
    assert_int_equal(world->batches[1], BATCH_FAILED);
    assert_int_equal(world->batches[2], BATCH_DONE);
    assert_string_equal(world->code, "bigquery.rows");
    assert_non_null(strstr(world->text, "StudyDate"));
    assert_null(strstr(world->text, "Value"));
    assert_true(count_keys("data/") > 0); /* its rows are kept */
    assert_int_equal(count_row(TABLE_INSTANCES, "2.25.21"), 0);
    world->bad = NULL; /* the table is mended; sendit retry */
    world->batches[1] = BATCH_NEW;
    assert_int_equal(in_a_process(), 0);
    is_exactly_once();
}

/* Of one table: what the other has of the batch stands, and is not loaded again. */
static void a_study_row_at_fault_is_made_anew(void **ctx)
{
    (void)ctx;
    world->bad = "https://www.googleapis.com/storage/v1/b/bucket/o/C%2F1.tar.gz";
    assert_int_equal(in_a_process(), 0);
    assert_int_equal(world->batches[0], BATCH_DONE);
    assert_int_equal(world->batches[1], BATCH_FAILED);
    assert_int_equal(count_row(TABLE_DICOM, world->bad), 0);
    assert_int_equal(count_row(TABLE_INSTANCES, "2.25.21"), 1);
    world->bad = NULL;
    for (int i = 0; i < 2; i++) { /* and once more, its end not told */
        world->batches[1] = BATCH_NEW;
        world->now_ms += 60000;
        assert_int_equal(in_a_process(), 0);
        is_exactly_once();
    }
}

static void kills_while_rows_are_at_fault(void **ctx)
{
    int effects;

    world->bad = "2.25.22";
    assert_int_equal(in_a_process(), 0);
    effects = world->effects;
    for (int at = 1; at <= effects; at += 3) {
        set_up(ctx);
        world->bad = "2.25.22";
        world->kill_at = at;
        assert_int_equal(in_a_process(), KILLED);
        world->kill_at = 0;
        assert_int_equal(in_a_process(), 0);
        assert_int_equal(world->batches[0], BATCH_DONE);
        assert_int_equal(world->batches[1], BATCH_FAILED);
        assert_int_equal(world->batches[2], BATCH_DONE);
        world->bad = NULL;
        world->batches[1] = BATCH_NEW;
        assert_int_equal(in_a_process(), 0);
        is_exactly_once();
    }
}

static void no_more_loads_than_a_day_takes(void **ctx)
{
    struct sendit_stage_state self = state();
    const struct sendit_settle settle = {.last = 1, .batch = told};
    struct sendit_why why = {0};

    (void)ctx;
    self.max_loads = 2;
    world->now_ms += 50 * 60 * 1000; /* late in an hour */
    for (int i = 0; i < 2; i++) {
        take_batch(&self, i);
        assert_int_equal(load_settle(&self, &settle, &why), SENDIT_PASS);
    }
    take_batch(&self, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(load_settle(&self, &settle, &why), SENDIT_RETRY);
        assert_string_equal(why.code, "bigquery.loads");
        assert_true(why.retry_after_s > 23 * 3600 && why.retry_after_s <= 25 * 3600);
    }
    world->now_ms += (23 * 60 + 40) * INT64_C(60000); /* almost a day later */
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_RETRY);
    assert_int_equal(world->n_jobs, 4);
    assert_int_equal(world->batches[2], BATCH_WAITS);
    world->now_ms += 2 * 3600 * INT64_C(1000);
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_PASS);
    is_exactly_once();
}

/* Between batches, what is young waits for others. */
static void rows_wait_for_others(void **ctx)
{
    struct sendit_stage_state self = state();
    const struct sendit_settle settle = {.batch = told};
    struct sendit_why why = {0};

    (void)ctx;
    take_batch(&self, 0);
    self.load_every_ms = 600000;
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_PASS);
    assert_int_equal(world->n_posts, 0);
    take_batch(&self, 1);
    world->now_ms += 600000;
    for (int i = 0; i < 4; i++)
        assert_int_equal(load_settle(&self, &settle, &why), SENDIT_PASS);
    assert_int_equal(world->n_posts, 2);
    assert_int_equal(world->batches[0], BATCH_DONE);
    assert_int_equal(world->batches[1], BATCH_DONE);
    take_batch(&self, 2);
    self.load_size = 1;
    for (int i = 0; i < 4; i++)
        assert_int_equal(load_settle(&self, &settle, &why), SENDIT_PASS);
    assert_int_equal(world->n_posts, 4);
    is_exactly_once();
}

/* A batch that has come again is told to be done when its new rows are loaded, too. */
static void a_batch_that_is_open_is_not_told(void **ctx)
{
    struct sendit_stage_state self = state(), other = state();
    const struct sendit_settle settle = {.batch = told}, last = {.last = 1, .batch = told};
    const struct sendit_batch batch = {.id = "batch-0"};
    struct sendit_why why = {0};

    (void)ctx;
    self.load_size = other.load_size = 1;
    world->shown[1] = world->shown[2] = 0;
    world->shown[0] = 2;
    take_batch(&self, 0);
    assert_int_equal(gather_begin(&self, &batch, &why), SENDIT_PASS); /* it comes again */
    for (int i = 0; i < 4; i++)
        assert_int_equal(load_settle(&other, &settle, &why), SENDIT_PASS);
    assert_int_equal(world->n_rows[TABLE_INSTANCES], 2);
    assert_int_equal(world->batches[0], BATCH_WAITS);
    gather_end(&self);
    world->shown[0] = 3;
    take_batch(&self, 0);
    assert_int_equal(world->batches[0], BATCH_WAITS);
    assert_int_equal(load_settle(&other, &last, &why), SENDIT_PASS);
    world->batches[1] = world->batches[2] = BATCH_DONE;
    world->shown[1] = world->shown[2] = 0;
    assert_int_equal(world->batches[0], BATCH_DONE);
    assert_int_equal(world->n_rows[TABLE_INSTANCES], 3);
}

static void a_damaged_journal_is_told(void **ctx)
{
    struct sendit_stage_state self = state();
    const struct sendit_settle settle = {.last = 1, .batch = told};
    struct sendit_why why = {0};
    size_t at;

    (void)ctx;
    take_batch(&self, 0);
    for (size_t i = 0; i < world->n_entries; i++)
        if (!strncmp(world->entries[i].key, "data/", 5))
            world->entries[i].value[3] ^= 1;
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "bigquery.journal");
    assert_int_equal(world->n_posts, 0);
    assert_non_null(find_entry("wait/batch-0/00000001", &at));
    snprintf(world->entries[at].value, MAX_VALUE, "{}");
    world->entries[at].length = 2;
    assert_int_equal(load_settle(&self, &settle, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "bigquery.journal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(all_is_loaded_once, set_up),
        cmocka_unit_test_setup(a_kill_at_any_effect_changes_nothing, set_up),
        cmocka_unit_test_setup(an_attempt_that_was_loaded_is_not_loaded_again, set_up),
        cmocka_unit_test_setup(a_job_of_before_says_nothing_of_a_new_table, set_up),
        cmocka_unit_test_setup(a_job_for_another_dataset_is_another_job, set_up),
        cmocka_unit_test_setup(more_images_are_added, set_up),
        cmocka_unit_test_setup(a_batch_without_images_has_no_row, set_up),
        cmocka_unit_test_setup(jobs_that_run_are_waited_for, set_up),
        cmocka_unit_test_setup(a_clock_that_is_set_back_hides_no_job, set_up),
        cmocka_unit_test_setup(a_job_that_lost_rows_is_told, set_up),
        cmocka_unit_test_setup(a_job_that_always_fails_is_told, set_up),
        cmocka_unit_test_setup(what_was_denied_before_is_tried_again, set_up),
        cmocka_unit_test_setup(what_fails_for_googles_reasons_is_tried_again, set_up),
        cmocka_unit_test_setup(an_answer_that_breaks_off_is_asked_for_again, set_up),
        cmocka_unit_test_setup(a_busy_service_is_asked_again, set_up),
        cmocka_unit_test_setup(a_service_that_refuses_ends_the_run, set_up),
        cmocka_unit_test_setup(a_load_that_is_too_large_is_halved, set_up),
        cmocka_unit_test_setup(a_part_that_is_too_large_is_told, set_up),
        cmocka_unit_test_setup(rows_at_fault_cost_their_batch, set_up),
        cmocka_unit_test_setup(a_study_row_at_fault_is_made_anew, set_up),
        cmocka_unit_test_setup(kills_while_rows_are_at_fault, set_up),
        cmocka_unit_test_setup(no_more_loads_than_a_day_takes, set_up),
        cmocka_unit_test_setup(rows_wait_for_others, set_up),
        cmocka_unit_test_setup(a_batch_that_is_open_is_not_told, set_up),
        cmocka_unit_test_setup(a_damaged_journal_is_told, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
