/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_gather.h - rows of the batch in hand: put into a spool file while images pass, and into
 * the store when it finishes and their objects are known.
 */
#ifndef SENDIT_BIGQUERY_GATHER_H
#define SENDIT_BIGQUERY_GATHER_H

#include "bigquery.h"

/* Open the spool file of the batch. */
sendit_verdict gather_begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why);
sendit_verdict gather_add(struct sendit_stage_state *self, const struct sendit_item *item,
                          struct sendit_why *why);
/* PASS: no row of the batch waits.  LATER: some do. */
sendit_verdict gather_finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why);
void gather_end(struct sendit_stage_state *self);

#endif
