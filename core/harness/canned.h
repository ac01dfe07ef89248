/* SPDX-License-Identifier: Apache-2.0 */
/*
 * canned.h - http and originals of services.h without a network and a history: answers stand in
 * the case, requests are written down.
 *
 * A request takes the first answer that no other took and that has its method and URL; without one
 * it is answered with EIO, and the case fails.  `done` of start() comes as services.h says, in the
 * order of the requests.
 */
#ifndef SENDIT_HARNESS_CANNED_H
#define SENDIT_HARNESS_CANNED_H

#include <jansson.h>
#include <stdbool.h>

#include "services/host.h"

struct canned_flight;   /* a request whose answer was not told yet */
struct canned_response; /* what was told */

struct canned {
    struct host *host;
    const json_t *http;      /* [{ "request": {...}, "answer": {...} }]; borrowed, or NULL */
    const json_t *originals; /* { "PatientName": "..." }; borrowed, or NULL */
    bool *taken;             /* of each of `http` */
    size_t n;
    bool reuse;        /* an answer serves again when there is no other */
    json_t *requests;  /* what was sent; owned */
    char missing[300]; /* a request without an answer, "" for none */
    struct canned_flight *first, *last;
    size_t n_flying;
    struct canned_response *told; /* until the callback returns */
    bool in_done;
};

/* -1 without memory; canned_fini() in both cases. */
int canned_init(struct canned *canned, struct host *host, const json_t *http,
                const json_t *originals);
void canned_fini(struct canned *canned);
/* A callback is about to return: what was handed out is gone. */
void canned_leave(struct canned *canned);
/* finish(), abandon(), settle() or compare() has returned: what is in flight is cancelled. */
void canned_cancel(struct canned *canned);

sendit_result canned_send(struct canned *canned, const struct sendit_http_request *request,
                          const struct sendit_http_response **ret_response);
sendit_result canned_start(struct canned *canned, const struct sendit_http_request *request,
                           sendit_done_fn *done, void *ctx);
sendit_result canned_drain(struct canned *canned, uint32_t max_left);
const char *canned_header(const struct sendit_http_response *response, const char *name);
sendit_result canned_original(struct canned *canned, size_t index, uint32_t *ret_tag,
                              const char **ret_value);

#endif
