/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - a host_link (services/host.h) that keeps everything in memory, as JSON, so that what a
 * stage had kept can be shown and compared.
 *
 * It answers as the ledger does: revisions of the store, first writer of the crosswalk, one lock.
 * The clock stands where it was set, and goes on by a millisecond with each look.
 */
#ifndef SENDIT_HARNESS_MEMORY_H
#define SENDIT_HARNESS_MEMORY_H

#include <pthread.h>

#include <jansson.h>

#include "services/host.h"

struct memory_value; /* of the store */

struct memory {
    struct host_link table;
    json_t *facts;       /* item, "" for the batch -> { key: value }: what the stage put */
    json_t *crosswalk;   /* domain -> { original: pseudonym } */
    json_t *audit;       /* "EVENT JSON" */
    json_t *metrics;     /* name -> sum */
    json_t *holds;       /* item -> "VERDICT CODE" */
    json_t *log;         /* "LEVEL EVENT", of info and above */
    json_t *settled;     /* batch -> "PASS", "FAIL CODE" */
    json_t *differences; /* "CODE SUBJECT" */
    json_t *compared;    /* word -> sum */
    struct memory_value *values;
    char *answer; /* what came back last, of store and crosswalk */
    bool locked, failed;
    bool canceled;
    int64_t clock;
    pthread_mutex_t mutex; /* of what is [any]: log, metrics, clock */
};

/* -1 without memory; memory_fini() in both cases. */
int memory_init(struct memory *memory, int64_t clock_ms);
void memory_fini(struct memory *memory);

/* What was there before: the value of a key of the store.  -1 without memory. */
int memory_preset(struct memory *memory, const char *key, const char *value);
/* The store as an object of texts; NULL without memory. */
json_t *memory_store(const struct memory *memory);
/* A line of the log, from any thread. */
void memory_log(struct memory *memory, int32_t level, const char *event);
/* "PASS"; of a number that is no verdict "7". */
const char *memory_verdict(sendit_verdict verdict, char text[16]);

#endif
