/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_compare.h - for `sendit reconcile`: the rows that the journal has as loaded, and those
 * that are in the tables.
 */
#ifndef SENDIT_BIGQUERY_COMPARE_H
#define SENDIT_BIGQUERY_COMPARE_H

#include "bigquery.h"

sendit_verdict compare_all(struct sendit_stage_state *self, const struct sendit_compare *compare,
                           struct sendit_why *why);

#endif
