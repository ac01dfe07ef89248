/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_load.h - load jobs: made of what waits, sent, looked at, and what became of them told.
 *
 * Each step is taken in the journal first.  A job whose answer was lost, with the process or on the
 * wire, is sent again under the same id; that it was there already (409) says that it was sent, and
 * it is looked at.  So no row is lost, and none is loaded twice.
 */
#ifndef SENDIT_BIGQUERY_LOAD_H
#define SENDIT_BIGQUERY_LOAD_H

#include "bigquery.h"

sendit_verdict load_settle(struct sendit_stage_state *self, const struct sendit_settle *settle,
                           struct sendit_why *why);

#endif
