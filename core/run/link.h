/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - the worker's side of host_link (services/host.h): what a stage wants kept goes over the
 * wire to the supervisor's ledger.
 */
#ifndef SENDIT_RUN_LINK_H
#define SENDIT_RUN_LINK_H

#include "base/buf.h"
#include "ledger/ledger.h"
#include "run/page.h"
#include "run/wire.h"
#include "services/host.h"

struct link {
    struct wire *wire;
    struct run_page *page;
    const char *batch;                                     /* in hand, or NULL */
    struct buf store_value, store_key, walk_got, walk_put; /* what came back, until the next call */
    struct host_link table;
};

void link_init(struct link *link, struct wire *wire, struct run_page *page);
void link_fini(struct link *link);

/* Send the question that was put on the wire and wait for its answer, whose first number is
 * *ret_result.  -1: the supervisor is gone. */
int link_ask(struct wire *wire, struct wire_msg *ret_answer, int64_t *ret_result);

#endif
