/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_tables.h - dataset, tables and views: looked at, and made if they are not there.
 */
#ifndef SENDIT_BIGQUERY_TABLES_H
#define SENDIT_BIGQUERY_TABLES_H

#include "bigquery.h"

#include <stdbool.h>

#include <google.h>

#define TABLES_URL_SIZE 2048u
#define TABLES_SCOPE "https://www.googleapis.com/auth/bigquery"
#define TABLES_EDITOR "roles/bigquery.dataEditor"
#define TABLES_VIEWER "roles/bigquery.dataViewer"
#define TABLES_USER "roles/bigquery.jobUser"
#define TABLES_TIMEOUT_MS 60000u

/* PASS: there is an answer, whatever its status. */
sendit_verdict tables_send(struct sendit_stage_state *self, const struct google_request *request,
                           struct google_answer *answer, struct sendit_why *why);
/* The same of JSON; `body` may be NULL and is borrowed.  `hurry`: one try. */
sendit_verdict tables_ask(struct sendit_stage_state *self, const char *method, const char *url,
                          const json_t *body, bool hurry, struct google_answer *answer,
                          struct sendit_why *why);
/* Below .../projects/PROJECT; `path` with its slash. */
void tables_url(const struct sendit_stage_state *self, const char *path,
                char ret_url[TABLES_URL_SIZE]);
/* The dataset, or a table in it, in quotes, for a sentence. */
const char *tables_words(const struct sendit_stage_state *self, const char *table, char *to,
                         size_t size);

/* What tables.get says of a table or view, the caller's.  SKIP: it is not there. */
sendit_verdict tables_look(struct sendit_stage_state *self, const char *table, bool hurry,
                           json_t **ret_json, struct sendit_why *why);
/* Dataset, tables and views stand as they should, or are made so. */
sendit_verdict tables_make(struct sendit_stage_state *self, bool hurry, struct sendit_why *why);
/* For `sendit check --online`: what is there is right, and jobs may be run. */
sendit_verdict tables_check(struct sendit_stage_state *self, struct sendit_why *why);

#endif
