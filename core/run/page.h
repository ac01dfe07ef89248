/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - a page of memory that the supervisor shares with one worker.
 *
 * The worker writes what it does before it calls a stage, so that the supervisor knows where it
 * died or hangs; the supervisor writes `stop`.  Only that: what is decided goes over the wire.
 */
#ifndef SENDIT_RUN_PAGE_H
#define SENDIT_RUN_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "sendit/stage.h"

#define WORKER_SOCKET 3
#define WORKER_PAGE 4

/* The exit status of a worker whose socket a stage closed: it can say no more than that. */
#define WORKER_CUT_OFF 113

enum page_phase {
    PAGE_IDLE,
    PAGE_OPEN,
    PAGE_BEGIN,
    PAGE_ITEM,
    PAGE_FINISH,
    PAGE_FEED,
    PAGE_SETTLE,
    PAGE_COMPARE
};

struct run_page {
    _Atomic uint32_t stop;     /* nonzero: come to an end */
    _Atomic uint32_t phase;    /* enum page_phase */
    _Atomic int32_t stage;     /* index in the plan, -1: the host's own code */
    _Atomic int64_t since_ms;  /* CLOCK_BOOTTIME at which that began or, with PAGE_IDLE, ended */
    char item[SENDIT_ID_SIZE]; /* in hand; "" for none */
};

#endif
