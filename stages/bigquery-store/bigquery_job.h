/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_job.h - a load job on the wire: made of its parts, sent, asked for.
 */
#ifndef SENDIT_BIGQUERY_JOB_H
#define SENDIT_BIGQUERY_JOB_H

#include "bigquery_answer.h"
#include "bigquery_journal.h"

#include <google.h>

#define JOB_MAX_BYTES ((uint64_t)16 << 20) /* of compressed rows, but for a part that is larger */
#define JOB_MAX_PARTS 4000u
#define JOB_LONGEST_LOOK_MS 30000u
#define JOB_NAME_SIZE 96u

/* "sendit-ID-ATTEMPT": the same for the same rows, for ever. */
void job_name(const struct job *job, char ret_name[JOB_NAME_SIZE]);
/* The multipart body of jobs.insert, the same bytes each time; the caller's to free. */
sendit_result job_body(const struct sendit_stage_state *self, const struct job *job,
                       const struct round *rounds, size_t n_rounds, unsigned char **ret_body,
                       size_t *ret_length);
/* PASS: there is an answer.  `hurry`: one try. */
sendit_verdict job_insert(struct sendit_stage_state *self, const struct job *job,
                          const unsigned char *body, size_t length, bool hurry,
                          struct google_answer *answer, struct sendit_why *why);
sendit_verdict job_get(struct sendit_stage_state *self, const struct job *job, bool hurry,
                       struct google_answer *answer, struct sendit_why *why);
void job_read(const struct job *job, const struct google_answer *answer, struct answer_job *ret);

#endif
