/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_schema.h - the tables and views that this stage writes, and what a table that is there
 * already lacks.
 *
 * A missing column is added.  One that was renamed, retyped or made REQUIRED is refused, with its
 * name: rows would be refused, or land where nobody looks.  Columns of others do not matter as long
 * as they may be null.
 */
#ifndef SENDIT_BIGQUERY_SCHEMA_H
#define SENDIT_BIGQUERY_SCHEMA_H

#include <sendit/stage.h>

#include <jansson.h>

enum table { TABLE_DICOM, TABLE_INSTANCES };
#define TABLES 2

struct schema_place { /* where tables are: words of pipeline.json */
    const char *project, *dataset, *location, *kms_key; /* the last two may be NULL */
};

const char *schema_table(enum table table); /* "dicom" */
const char *schema_view(enum table table);  /* "dicom_once" */

/* Bodies of datasets.insert and tables.insert; NULL without memory. */
json_t *schema_dataset_body(const struct schema_place *place);
json_t *schema_table_body(const struct schema_place *place, enum table table);
json_t *schema_view_body(const struct schema_place *place, enum table table);

/* What tables.get answered.  PASS: as it should be.  SKIP: *ret_patch is the body of a
 * tables.patch that adds what is missing, the caller's.  FAIL: why not. */
sendit_verdict schema_compare(enum table table, const json_t *answer, json_t **ret_patch,
                              struct sendit_why *why);

/* Where among the `n` columns called `names` each comes in a page of rows, which are in the order
 * of the table: ret_places[i] is that of names[i].  FAIL: one is not there. */
sendit_verdict schema_places(enum table table, const json_t *answer, const char *const *names,
                             size_t n, size_t *ret_places, struct sendit_why *why);

/* The column of a table that a sentence of BigQuery's names, or NULL: the sentence itself may have
 * values in it, and is not shown. */
const char *schema_column_in(enum table table, const char *sentence);

#endif
