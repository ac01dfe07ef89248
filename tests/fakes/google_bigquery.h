/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google_bigquery.h - what the files of the fake BigQuery share: tables and what they hold
 * (google_bigquery.c), schemas and rows (google_schema.c), load jobs (google_jobs.c), rows that are
 * streamed in and read (google_rows.c).
 */
#ifndef SENDIT_TESTS_GOOGLE_BIGQUERY_H
#define SENDIT_TESTS_GOOGLE_BIGQUERY_H

#include "google.h"

#define BIGQUERY_MAX_ROW (10u << 20)
#define BIGQUERY_KEY 4096
#define BIGQUERY_SCOPES "bigquery"

/* "project:dataset.table"; table NULL: of the dataset. */
const char *bigquery_key(char to[BIGQUERY_KEY], const char *project, const char *dataset,
                         const char *table);
/* {"r": the resource, "parts": [{"file", "rows"}...]}; NULL: there is none. */
json_t *bigquery_find_table(const char *key);
/* The same, refused if there is none. */
json_t *bigquery_open_table(struct call *);
/* NULL, or the resource of the dataset. */
json_t *bigquery_find_dataset(const char *project, const char *dataset);
/* Rows that are in a file of the folder from now on; `instead`: and no others. */
void bigquery_add_rows(const char *key, const char *file, int64_t rows, int instead);
int64_t bigquery_count_rows(const json_t *table);
/* A table from a resource that was checked. */
json_t *bigquery_make_table(const char *key, json_t *resource);
/* Refuses a member that is none of `names` (blanks around each); a member's place in `where`. */
int bigquery_only(struct call *, const json_t *value, const char *where, const char *names);
int bigquery_is_id(const char *text, size_t most, int dashes);
void bigquery_page(struct call *, int64_t *ret_from, int64_t *ret_most);

/* google_schema.c */
/* What is wrong with {"fields": [...]}, in *ret_text; its types get one spelling each. */
int schema_is_wrong(json_t *schema, char ret_text[512]);
/* What a table may not become; additions only. */
int schema_change_is_wrong(const json_t *from, const json_t *to, char ret_text[512]);
int schema_equal(const json_t *a, const json_t *b);
const json_t *schema_find(const json_t *schema, const char *name);
/* What is wrong with a row, as [{"reason", "location", "message"}]; NULL: nothing.  `streamed`:
 * JSON columns are texts. */
json_t *schema_row_errors(const json_t *schema, const json_t *row, int streamed,
                          int ignore_unknown);

/* google_jobs.c */
void job_query(struct call *);
void job_get(struct call *);
void job_insert(struct call *); /* without bytes: refused */
void jobs_settle(void);         /* those whose time has come */
void jobs_replay(const char *what, json_t *);

/* google_rows.c */
void rows_list(struct call *);
void rows_insert(struct call *);

#endif
