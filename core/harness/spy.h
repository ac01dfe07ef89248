/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spy.h - stands between a stage and the tables of its host: counts the calls, writes down those
 * that have an effect, and lets one fail where a case says so.
 *
 * Functions of the dicom table are handed a data set alone, so that nothing in their arguments
 * leads to the spy: a process has one, from spy_attach() to spy_detach().
 */
#ifndef SENDIT_HARNESS_SPY_H
#define SENDIT_HARNESS_SPY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "harness/canned.h"
#include "sendit/stage.h"
#include "services/host.h"

enum spy_call {
    SPY_HOLD,
    SPY_TAG,
    SPY_KEYWORD,
    SPY_LOCATE,
    SPY_GET,
    SPY_BYTES,
    SPY_PUT,
    SPY_PUT_AS,
    SPY_ERASE,
    SPY_NESTED,
    SPY_APPEND,
    SPY_WALK,
    SPY_JSON,
    SPY_COUNT,
    SPY_FRAME,
    SPY_BLANK,
    SPY_COMPILE,
    SPY_FILTER,
    SPY_APPLY,
    SPY_PATIENT,
    SPY_PSEUDONYM,
    SPY_UID,
    SPY_DAYS,
    SPY_LOOKUP,
    SPY_ASSIGN,
    SPY_ORIGINAL,
    SPY_VIEW,
    SPY_KEEP,
    SPY_DROP,
    SPY_SPOOL,
    SPY_FACT_PUT,
    SPY_FACT_GET,
    SPY_STORE_GET,
    SPY_STORE_PUT,
    SPY_STORE_NEXT,
    SPY_STORE_LOCK,
    SPY_STORE_APPEND,
    SPY_SECRET_GET,
    SPY_SECRET_PUT,
    SPY_HTTP_SEND,
    SPY_HTTP_START,
    SPY_HTTP_DRAIN,
    SPY_SETTLED,
    SPY_DIFFERS,
    SPY_COUNTED,
    SPY_FEED_OPEN,
    SPY_FEED_ADD,
    SPY_FEED_IGNORE,
    SPY_FEED_WHEN_DONE,
    SPY_FEED_CLOSE,
    SPY_N
};

#define SPY_MAX_ERRORS 6
struct spy_about {
    const char *name;                     /* "facts.put" */
    bool effect;                          /* it changes something: shown under "calls" */
    sendit_result errors[SPY_MAX_ERRORS]; /* what services.h lets it answer; ended by 0 */
};
extern const struct spy_about spy_about[SPY_N];

/* "facts.put: EIO on the 2nd call", "http: ENOMEM". */
struct spy_fault {
    uint64_t calls; /* one bit for each that is meant */
    unsigned nth;   /* from 1; 0: each */
    sendit_result answer;
};
int spy_parse(const char *text, struct spy_fault *ret_fault, struct err *err);
/* "EIO"; of a number that is none "-77". */
const char *spy_result(sendit_result result, char text[16]);

#define SPY_MAX_FAULTS 16
#define SPY_KEY 200
struct spy {
    struct spy_fault faults[SPY_MAX_FAULTS];
    unsigned seen[SPY_MAX_FAULTS]; /* calls that each fault was meant for so far */
    size_t n_faults;
    unsigned counts[SPY_N];
    json_t *calls; /* "dicom.put PatientID", of those with an effect; owned */
    /* The last call that was made to fail, until the same call is really answered. */
    char failed[SPY_KEY];
    enum spy_call failed_call;
    sendit_result answer;
    bool memory; /* there was none for `calls` */
    pthread_mutex_t mutex;
    struct host *host;
    struct canned *canned;
    const void *(*service)(const struct sendit_host *, const char *, size_t); /* the host's own */
    sendit_result (*hold)(const struct sendit_host *, const char *, sendit_verdict, const char *,
                          const char *);
    const struct sendit_feed *feed; /* the host's own, as are: */
    const struct sendit_settle *settle;
    const struct sendit_compare *compare;
    struct sendit_settle settles; /* in front of it */
};

/* From now on what `host` hands its stage goes through the spy.  -1 without memory. */
int spy_attach(struct spy *spy, struct host *host, struct canned *canned);
void spy_detach(struct spy *spy);
/* A line of "calls": a callback begins. */
void spy_callback(struct spy *spy, const char *name, const char *item);
/* The table for produce(), in front of `feed`. */
const struct sendit_feed *spy_feed(struct spy *spy, const struct sendit_feed *feed);
/* The tables for settle() and compare(), likewise. */
const struct sendit_settle *spy_settle(struct spy *spy, const struct sendit_settle *settle);
const struct sendit_compare *spy_compare(struct spy *spy, const struct sendit_compare *compare);

#endif
