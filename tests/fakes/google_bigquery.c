/* SPDX-License-Identifier: Apache-2.0 */
/* BigQuery. */
#include "google.h"

int bigquery_starts(struct call *call, const char *project, json_t *job)
{
    (void)project, (void)job;
    refuse(call, 404, "notFound", "Not Found");
    return -1;
}

void bigquery_commit(struct call *call, const char *project, const json_t *job,
                     const struct media *media)
{
    (void)call, (void)project, (void)job, (void)media;
}
