/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery-store: rows in BigQuery about images that gcs-store has put into a bucket.
 *
 * Rows are made while images pass, put down durably when their batch finishes and the objects are
 * known, and loaded when enough of them wait: see bigquery_journal.h for what a crash finds.
 */
#include "bigquery.h"
#include "bigquery_compare.h"
#include "bigquery_gather.h"
#include "bigquery_load.h"
#include "bigquery_tables.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DATASET 1024u
#define MAX_PROJECT 100u
#define MAX_PLACE 60u
#define MAX_KEY 400u

static const struct sendit_option options[] = {
    {"dataset", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED, NULL, NULL,
     "The dataset, which is the collection; it is made if it is missing."},
    {"project", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED, NULL, NULL,
     "The project that has the dataset and runs the load jobs."},
    {"location", SENDIT_OPT_STRING, 0, NULL, NULL,
     "Where a dataset is made, such as \"EU\"; left out, Google's default, US."},
    {"load_every", SENDIT_OPT_DURATION, 0, "5m", "1m..1d",
     "How long rows may wait for others before they are loaded."},
    {"load_size", SENDIT_OPT_SIZE, 0, "64MiB", "1KiB..1GiB",
     "As many bytes of rows as are loaded without waiting for more."},
    {"max_loads", SENDIT_OPT_INTEGER, 0, "1500", "1..1500",
     "Load jobs of a table in 24 hours; BigQuery takes 1,500, of whoever."},
    {"poll", SENDIT_OPT_DURATION, 0, "1s", "1ms..30s",
     "The first pause between two looks at a job; each next one is twice as long, up to 30 s."},
    {"kms_key", SENDIT_OPT_STRING, 0, NULL, NULL,
     "The key of Cloud KMS by which what is made is encrypted."},
    GOOGLE_OPTIONS("https://bigquery.googleapis.com", "BIGQUERY_EMULATOR_HOST"),
};

/* ---- options ---- */

static int is_made_of(const char *text, size_t max, const char *letters)
{
    size_t n = strlen(text);

    return n && n <= max && strspn(text, letters) == n;
}

#define SMALL "abcdefghijklmnopqrstuvwxyz"
#define LARGE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static sendit_verdict read_place(struct schema_place *place, const struct sendit_host *host,
                                 struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);

    place->dataset = config->text(host, "dataset");
    place->project = config->text(host, "project");
    place->location = config->text(host, "location");
    place->kms_key = config->text(host, "kms_key");
    if (!is_made_of(place->dataset, MAX_DATASET, SMALL LARGE DIGITS "_"))
        return sendit_because(why, SENDIT_FAIL, "bigquery.options",
                              "dataset: letters, digits and \"_\" were expected, up to 1,024.");
    if (!is_made_of(place->project, MAX_PROJECT, SMALL DIGITS "-.:"))
        return sendit_because(why, SENDIT_FAIL, "bigquery.options",
                              "project: the id of a project was expected, such as \"my-project\".");
    if (place->location && !is_made_of(place->location, MAX_PLACE, SMALL LARGE DIGITS "-"))
        return sendit_because(why, SENDIT_FAIL, "bigquery.options",
                              "location: a region such as \"europe-west3\", \"EU\" or \"US\" was "
                              "expected.");
    if (place->kms_key &&
        (strncmp(place->kms_key, "projects/", 9) || !strstr(place->kms_key, "/cryptoKeys/") ||
         !is_made_of(place->kms_key, MAX_KEY, SMALL LARGE DIGITS "-_./:")))
        return sendit_because(why, SENDIT_FAIL, "bigquery.options",
                              "kms_key: \"projects/P/locations/L/keyRings/R/cryptoKeys/K\" was "
                              "expected.");
    return SENDIT_PASS;
}

static sendit_verdict init(struct sendit_stage_state *self, const struct sendit_host *host,
                           struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);

    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->spool = SENDIT_SERVICE(host, spool);
    self->facts = SENDIT_SERVICE(host, facts);
    self->store = SENDIT_SERVICE(host, store);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->load_every_ms = config->number(host, "load_every");
    self->load_size = config->number(host, "load_size");
    self->max_loads = config->number(host, "max_loads");
    self->poll_ms = (uint32_t)config->number(host, "poll");
    return read_place(&self->place, host, why);
}

/* ---- callbacks ---- */

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    struct sendit_stage_state self = {0};
    sendit_verdict verdict = init(&self, host, why);

    if (verdict == SENDIT_PASS)
        verdict = google_check(host, 0, TABLES_SCOPE, why); /* a token is got below */
    if (verdict != SENDIT_PASS || !online)
        return verdict;
    verdict = google_open(host, TABLES_SCOPE, &self.google, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    google_hurry(self.google);
    verdict = tables_check(&self, why);
    google_close(self.google);
    return verdict == SENDIT_PASS ? SENDIT_PASS : SENDIT_FAIL;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "bigquery.memory", "There is no memory.");
    verdict = init(self, host, why);
    if (verdict == SENDIT_PASS)
        verdict = google_open(host, TABLES_SCOPE, &self->google, why);
    if (verdict != SENDIT_PASS) {
        free(self);
        return verdict;
    }
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    return gather_begin(self, batch, why);
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    return gather_add(self, item, why);
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    sendit_verdict verdict = gather_finish(self, batch, why);

    if (verdict != SENDIT_RETRY)
        gather_end(self);
    return verdict;
}

static sendit_verdict abandon(struct sendit_stage_state *self, const struct sendit_batch *batch,
                              struct sendit_why *why)
{
    (void)batch, (void)why;
    gather_end(self);
    return SENDIT_PASS;
}

static sendit_verdict settle(struct sendit_stage_state *self, const struct sendit_settle *settle_,
                             struct sendit_why *why)
{
    return load_settle(self, settle_, why);
}

static sendit_verdict compare(struct sendit_stage_state *self,
                              const struct sendit_compare *compare_, struct sendit_why *why)
{
    return compare_all(self, compare_, why);
}

static void stop(struct sendit_stage_state *self)
{
    gather_end(self);
    google_close(self->google);
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_EGRESS | SENDIT_NETWORK | SENDIT_SECRETS,
              SENDIT_OPTIONS(options), .name = "bigquery-store", .version = "1.0.0",
              .summary = "Loads rows about stored images into BigQuery.", .needs = "store.stored",
              .check = check, .open = start, .begin = begin, .process = process, .finish = finish,
              .abandon = abandon, .settle = settle, .compare = compare, .close = stop);
