/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_answer.h - what BigQuery answers about a job and about rows, judged.  Outside bytes: no
 * member is taken for granted, and no sentence of theirs is shown, since it may have values in it.
 */
#ifndef SENDIT_BIGQUERY_ANSWER_H
#define SENDIT_BIGQUERY_ANSWER_H

#include "bigquery_schema.h"

#include <stdbool.h>

#define ANSWER_PLACE 64 /* bytes of a location, with its NUL */

enum answer_of_job {
    ANSWER_ODD = 0,   /* no job at all: HTML, JSON that breaks off */
    ANSWER_RUNS,      /* look again */
    ANSWER_LOADED,    /* all rows are in the table */
    ANSWER_SHORT,     /* DONE, and it says that it wrote another number of rows */
    ANSWER_TRANSIENT, /* nothing was written; try again, under another id */
    ANSWER_QUOTA,     /* the same, much later */
    ANSWER_NO_TABLE,  /* the same, once the table is there */
    ANSWER_TOO_LARGE, /* the same, in halves */
    ANSWER_DENIED,    /* nothing was written; an account lacks a right */
    ANSWER_ROWS,      /* nothing was written; a row is at fault */
    ANSWER_OTHER      /* nothing was written, for a reason that is not known here */
};
struct answer_job {
    enum answer_of_job what;
    char location[ANSWER_PLACE]; /* "" if it was not said */
    const char *column;          /* of ours, that the fault is in, or NULL */
    char reason[32];             /* Google's word, safe to print */
};

/* A job resource, of jobs.insert or jobs.get, that is to have `id` and write `rows` rows. */
void answer_read_job(const char *body, size_t length, enum table table, const char *id,
                     uint64_t rows, struct answer_job *ret);
/* The word of an error, of errorResult or of an HTTP answer. */
enum answer_of_job answer_of_reason(const char *reason);

/* A page of tabledata.list of `columns` columns: `each` gets the texts of a row, NULL for null.
 * *ret_token is the next page's, "" at the end.  -1 if it is none, or if `each` answers so. */
int answer_read_page(const char *body, size_t length, size_t columns,
                     int (*each)(void *ctx, const char *const *values), void *ctx,
                     char ret_token[1024]);

#endif
