/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_transfer.h - one request of a stage and its answer, as curl wants it.
 */
#ifndef SENDIT_SERVICES_HTTP_TRANSFER_H
#define SENDIT_SERVICES_HTTP_TRANSFER_H

#include <curl/curl.h>

#include "services/http_request.h"

#define HTTP_MAX_SHOWN 300 /* of method, host and what went wrong */

enum http_state {
    HTTP_WAITING, /* until it is due */
    HTTP_FLYING,
    HTTP_ENDED
};

/* One request, from start() or send() until its answer was shown. */
struct http_transfer {
    struct sendit_http_response response; /* first: header() finds the rest from it */
    struct http_transfer *next;
    struct host *host;
    CURL *easy;
    CURLU *url;
    struct curl_slist *headers; /* one may have a secret in it */
    char *cert;                 /* a secret: certificate and key, or NULL */
    struct http_body body;
    struct buf head; /* "Name\0value\0" ... of the answer */
    struct buf answer;
    size_t max_body;
    bool too_large, no_body; /* the answer's, the request's */
    bool once;               /* never sent a second time */
    bool out;                /* curl began to send it */
    bool anew;               /* sent a second time, on a connection of its own */
    bool moved;              /* bytes of the body went since somebody looked */
    sendit_done_fn *done;    /* NULL for send() */
    void *ctx;
    int64_t due_ms;
    enum http_state state;
    sendit_result result;
    char name[HTTP_MAX_SHOWN]; /* "PUT host.example" */
};

/* What it asks is checked, bodies and secrets are its own; it is not sent yet. */
sendit_result http_transfer_new(struct host *host, const struct sendit_http_request *given,
                                struct http_transfer **ret_transfer);
void http_transfer_free(struct http_transfer *transfer);
/* A kept connection turned out to be dead while the body went, where curl does not begin again by
 * itself: true, and it waits to set out on a new one. */
bool http_transfer_again(struct http_transfer *transfer, CURLcode code);
/* curl is through with it: what came of it is noted, and logged without anything of the request
 * but method and host. */
void http_transfer_end(struct http_transfer *transfer, CURLcode code);
int64_t http_clock_ms(void); /* CLOCK_BOOTTIME */

#endif
