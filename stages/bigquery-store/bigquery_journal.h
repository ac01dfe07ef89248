/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_journal.h - what the stage keeps in its store, so that a crash at any instant neither
 * loses a row nor loads it twice.
 *
 *   wait/BATCH/ROUND        a round: the rows that one finish() put down, as parts, not all loaded
 *   done/BATCH/ROUND        the same once all are loaded: what is kept for ever
 *   name/BATCH/ROUND/PART   the names of the rows of a part, for `reconcile` and against doubles
 *   data/BATCH/ROUND/PART/N the compressed rows of a part, until they are loaded
 *   job/TABLE/ID            a load job: which parts it has, and how far it is
 *   open/BATCH              the batch came again while rounds of it wait: it is not told to be done
 *   budget/TABLE            loads of the last 24 hours
 *
 * A round counts once its record stands, which is put last; a job, once its record stands, which is
 * put before the job is sent.  From the parts that it names the same bytes come each time, and the
 * same id, by which Google knows a job that it has seen.
 */
#ifndef SENDIT_BIGQUERY_JOURNAL_H
#define SENDIT_BIGQUERY_JOURNAL_H

#include "bigquery.h"
#include "bigquery_pack.h"

#include <stdbool.h>

#include <jansson.h>

#define JOURNAL_MAX_PARTS 3000u         /* of a round, whose record is a value of the store */
#define JOURNAL_VALUE ((size_t)1000000) /* bytes of a value of data */
#define JOURNAL_KEY 256
#define JOURNAL_SHA 65

enum part_state { PART_NONE, PART_QUEUED, PART_LOADED, PART_FAILED, PART_DROPPED };

struct part {
    enum table table;
    enum part_state state;
    uint32_t rows, values;
    struct pack_sum sum;
    char sha[JOURNAL_SHA];  /* of its compressed bytes, which differ between processors */
    char text[JOURNAL_SHA]; /* of its rows as they are */
    char keys[JOURNAL_SHA]; /* of its names, in order */
};
struct round {
    char batch[SENDIT_ID_SIZE];
    uint32_t number;
    int64_t at_ms;  /* when it was put down */
    bool told;      /* the ledger was told */
    char fault[80]; /* table and column that refused rows, or "" */
    struct part *parts;
    size_t n_parts;
    uint64_t revision; /* of its record; 0 for a new one */
};

enum job_state { JOB_NONE, JOB_PREPARED, JOB_SENT, JOB_LOADED, JOB_SPLIT };

struct job_part {
    char batch[SENDIT_ID_SIZE];
    uint32_t round, number;
};
struct job {
    enum table table;
    enum job_state state;
    char id[JOURNAL_SHA]; /* without its attempt */
    uint32_t attempt;
    uint64_t rows;
    char location[64];
    struct job_part *parts;
    size_t n_parts;
    uint64_t revision;
};

/* All answer as the store does; ECORRUPT is a record that this version cannot read. */

/* Rounds of one batch, or of all for NULL, that wait or, with `done`, are done.  The caller's. */
sendit_result journal_rounds(const struct sendit_stage_state *self, const char *batch, bool done,
                             struct round **ret_rounds, size_t *ret_n);
void journal_free_rounds(struct round *rounds, size_t n);
sendit_result journal_read_round(const struct sendit_stage_state *self, const char *batch,
                                 uint32_t number, struct round *ret_round);
sendit_result journal_write_round(const struct sendit_stage_state *self, const struct round *round);
/* Every part is loaded or dropped: keep the record as done, and let the rows go. */
sendit_result journal_close_round(const struct sendit_stage_state *self, const struct round *round);
/* What a finish() left that was cut short. */
sendit_result journal_clear_round(const struct sendit_stage_state *self, const char *batch,
                                  uint32_t number);

sendit_result journal_put_part(const struct sendit_stage_state *self, const struct round *round,
                               uint32_t number, const unsigned char *data, const char *names,
                               size_t names_length);
/* Appends its `part->sum.bytes` bytes to `to`.  ECORRUPT if they are not those that were put. */
sendit_result journal_read_part(const struct sendit_stage_state *self, const struct round *round,
                                uint32_t number, unsigned char *to);
/* Its names, one a line; the caller's. */
sendit_result journal_read_names(const struct sendit_stage_state *self, const struct round *round,
                                 uint32_t number, char **ret_names);

sendit_result journal_jobs(const struct sendit_stage_state *self, struct job **ret_jobs,
                           size_t *ret_n);
void journal_free_jobs(struct job *jobs, size_t n);
sendit_result journal_write_job(const struct sendit_stage_state *self, const struct job *job);
sendit_result journal_delete_job(const struct sendit_stage_state *self, const struct job *job);
/* Its id, from the table in its project and dataset, the sorted names of its rows, the rows
 * themselves, and when those were put down; `rounds` have them.  False if one is not there.  A job
 * of the same rows for another table, or by an earlier ledger, is another job: what Google knows of
 * that says nothing of this one. */
bool journal_name_job(const struct sendit_stage_state *self, struct job *job,
                      const struct round *rounds, size_t n_rounds);

/* Small records. */
sendit_result journal_get(const struct sendit_stage_state *self, const char *key, json_t **ret_json,
                          uint64_t *ret_revision);
/* `json` is taken. */
sendit_result journal_put(const struct sendit_stage_state *self, const char *key, json_t *json,
                          uint64_t expected);
/* EABSENT is fine. */
sendit_result journal_delete(const struct sendit_stage_state *self, const char *key);
/* A key of a batch: "open". */
void journal_key(char key[JOURNAL_KEY], const char *what, const char *batch);
/* Do rounds of the batch wait?  EABSENT if not. */
sendit_result journal_waits(const struct sendit_stage_state *self, const char *batch);
/* The next key that begins with `prefix`, after `key`, which it replaces; EABSENT at the end. */
sendit_result journal_next(const struct sendit_stage_state *self, const char *prefix,
                           char key[JOURNAL_KEY]);

void journal_hash(const void *data, size_t length, char ret_hex[JOURNAL_SHA]);

#endif
