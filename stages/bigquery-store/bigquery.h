/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery.h - what the files of bigquery-store share: the instance.
 */
#ifndef SENDIT_BIGQUERY_H
#define SENDIT_BIGQUERY_H

#include <sendit/stage.h>

#include "bigquery_schema.h"

#define LOOKS 16 /* jobs whose next look is remembered; others are looked at at once */

struct look { /* when to ask for a job again, in this process alone */
    char id[96];
    int64_t at_ms;
    uint32_t pause_ms;
    int sent; /* by this process */
};

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_spool *spool;
    const struct sendit_facts *facts;
    const struct sendit_store *store;
    const struct sendit_metrics *metrics;
    struct google *google;
    struct schema_place place;
    int64_t load_every_ms, load_size, max_loads;
    uint32_t poll_ms;
    /* Tables. */
    int tables_stand;  /* looked at, or made, by this process */
    char location[64]; /* of the dataset, once it is known */
    /* The batch in hand. */
    FILE *rows; /* its spool file */
    off_t last_at;
    char last_item[SENDIT_ID_SIZE];
    uint64_t n_rows;
    /* Jobs. */
    struct look looks[LOOKS];
    int forgiven;          /* jobs of others that were denied, and were tried again */
    int64_t not_before_ms; /* Google asked us to wait until then */
};

#endif
