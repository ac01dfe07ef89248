/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - table http of services.h.  The files http*.c are the only ones with curl.
 *
 * A worker has one pool of connections for all its stages; each stage has its requests in flight.
 * They move on while their stage waits in here, and a little whenever a callback of it returns;
 * `done` is called only inside a call of the stage itself.
 */
#include "services/http_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SLICE_MS 50     /* between two looks at whether the host is stopping */
#define MARGIN_MS 10000 /* before stage_timeout, for the stage to come to an end */

struct http_pool {
    CURLM *multi;
    unsigned users; /* hosts that stand on it */
};

struct host_http {
    struct http_transfer *first; /* in flight, and those whose end was not told yet */
    struct http_transfer *shown; /* of send(), until the callback returns */
    uint32_t n;                  /* in `first` */
    bool in_done, ending;
};

/* ---- their way ---- */

/* Those that are due set out; -1 if curl has no memory for it. */
static void set_out(struct host *host)
{
    int64_t now = http_clock_ms();

    for (struct http_transfer *at = host->http->first; at; at = at->next) {
        if (at->state != HTTP_WAITING || at->due_ms > now)
            continue;
        at->state = HTTP_FLYING;
        if (curl_multi_add_handle(host->env->http->multi, at->easy))
            http_transfer_end(at, CURLE_OUT_OF_MEMORY);
    }
}

/* A stage that waits for an upload which goes on does not hang, however large that is: a request
 * has bounds of its own. */
static void note_progress(struct host *host)
{
    const struct host_link *link = host->env->link;
    bool moved = false;

    for (struct http_transfer *at = host->http->first; at; at = at->next) {
        moved = moved || at->moved;
        at->moved = false;
    }
    if (!moved)
        return;
    host_begin_time(host);
    if (link && link->goes_on)
        link->goes_on(link->ctx);
}

/* What can be done without waiting is done, for all stages. */
static void move(struct host *host)
{
    CURLM *multi = host->env->http->multi;
    CURLMsg *msg;
    int n;

    set_out(host);
    (void)curl_multi_perform(multi, &n);
    while ((msg = curl_multi_info_read(multi, &n))) {
        struct http_transfer *transfer = NULL;
        CURLcode code = msg->data.result;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        curl_multi_remove_handle(multi, msg->easy_handle);
        if (!http_transfer_again(transfer, code))
            http_transfer_end(transfer, code);
    }
    note_progress(host);
}

/* Until something can be done, but not long. */
static void wait_a_little(struct host *host)
{
    int64_t now = http_clock_ms(), wait = SLICE_MS;

    for (const struct http_transfer *at = host->http->first; at; at = at->next)
        if (at->state == HTTP_WAITING && at->due_ms - now < wait)
            wait = at->due_ms > now ? at->due_ms - now : 0;
    (void)curl_multi_poll(host->env->http->multi, NULL, 0, (int)wait, NULL);
}

static void take_out(struct host_http *http, struct http_transfer *transfer)
{
    struct http_transfer **at = &http->first;

    while (*at != transfer)
        at = &(*at)->next;
    *at = transfer->next;
    transfer->next = NULL;
    http->n--;
}

static void put_in(struct host_http *http, struct http_transfer *transfer)
{
    struct http_transfer **at = &http->first;

    while (*at)
        at = &(*at)->next;
    *at = transfer;
    http->n++;
}

/* Tell the stage of one that has ended; false if there is none. */
static bool deliver_one(struct host_http *http)
{
    struct http_transfer *transfer = http->first;

    while (transfer && (transfer->state != HTTP_ENDED || !transfer->done))
        transfer = transfer->next;
    if (!transfer)
        return false;
    take_out(http, transfer);
    http->in_done = true;
    transfer->done(transfer->ctx, transfer->result,
                   transfer->result == SENDIT_OK ? &transfer->response : NULL);
    http->in_done = false;
    http_transfer_free(transfer);
    return true;
}

static void deliver(struct host_http *http)
{
    while (deliver_one(http))
        ;
}

static void cancel(struct http_transfer *transfer)
{
    if (transfer->state == HTTP_FLYING)
        curl_multi_remove_handle(transfer->host->env->http->multi, transfer->easy);
    if (transfer->state != HTTP_ENDED)
        transfer->result = SENDIT_ECANCELED;
    transfer->state = HTTP_ENDED;
}

void host_cancel(struct host *host)
{
    struct host_http *http = host->http;

    if (!http)
        return;
    http->ending = true;
    for (struct http_transfer *at = http->first; at; at = at->next)
        cancel(at);
    deliver(http);
    http->ending = false;
}

/* ---- the table ---- */

static bool is_stopping(const struct host *host)
{
    return host->host.canceled(&host->host) != 0;
}

/* So late in the callback that the host would take the stage for hung before long. */
static bool is_late(const struct host *host)
{
    const struct plan *plan = host->env->plan;
    int64_t bound = plan ? plan->run[PLAN_STAGE_TIMEOUT].number : 0;

    if (bound <= 0)
        return false;
    return http_clock_ms() - host->since_ms >=
           bound - (bound / 10 < MARGIN_MS ? bound / 10 : MARGIN_MS);
}

static sendit_result make_pool(struct host_env *env)
{
    struct http_pool *pool;

    if (env->http)
        return SENDIT_OK;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return SENDIT_ENOMEM;
    if (!curl_global_init(CURL_GLOBAL_DEFAULT))
        pool->multi = curl_multi_init();
    if (!pool->multi ||
        curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) ||
        curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          (long)HTTP_MAX_CONNECTIONS) ||
        curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_MAX_CONNECTIONS)) {
        curl_multi_cleanup(pool->multi);
        free(pool);
        return SENDIT_ENOMEM;
    }
    env->http = pool;
    return SENDIT_OK;
}

/* The host, if it may ask now, with a place for requests in flight. */
static sendit_result enter(const struct sendit_host *handle, struct host **ret_host)
{
    struct host *host = table_enter(handle);
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!host->http) {
        r = make_pool(host->env);
        if (r != SENDIT_OK)
            return r;
        host->http = calloc(1, sizeof(*host->http));
        if (!host->http)
            return SENDIT_ENOMEM;
        host->env->http->users++;
    }
    *ret_host = host;
    return SENDIT_OK;
}

static sendit_result start(const struct sendit_host *handle,
                           const struct sendit_http_request *request, sendit_done_fn *done,
                           void *ctx)
{
    struct http_transfer *transfer = NULL;
    struct host *host = NULL;
    struct host_http *http;
    sendit_result r = enter(handle, &host);

    if (r != SENDIT_OK)
        return r;
    http = host->http;
    if (!done)
        return table_misuse(host, "The stage called http->start() without a done()", NULL);
    if (is_stopping(host) || http->ending)
        return SENDIT_ECANCELED;
    r = http_transfer_new(host, request, &transfer);
    if (r != SENDIT_OK)
        return r;
    if (http->in_done && http->n >= 2 * HTTP_MAX_IN_FLIGHT)
        r = SENDIT_ENOMEM;
    while (r == SENDIT_OK && !http->in_done && http->n >= HTTP_MAX_IN_FLIGHT) {
        move(host);
        deliver(http);
        if (is_stopping(host) || is_late(host))
            r = SENDIT_ECANCELED;
        else if (http->n >= HTTP_MAX_IN_FLIGHT)
            wait_a_little(host);
    }
    if (r != SENDIT_OK) {
        http_transfer_free(transfer);
        return r;
    }
    transfer->done = done;
    transfer->ctx = ctx;
    put_in(http, transfer);
    if (!http->in_done) {
        move(host);
        deliver(http);
    }
    return SENDIT_OK;
}

static sendit_result send_one(const struct sendit_host *handle,
                              const struct sendit_http_request *request,
                              const struct sendit_http_response **ret_response)
{
    struct http_transfer *transfer = NULL;
    struct host *host = NULL;
    sendit_result r = enter(handle, &host);

    if (r != SENDIT_OK)
        return r;
    if (!ret_response || host->http->in_done)
        return table_misuse(host,
                            "The stage called http->send() without a place for the answer, "
                            "or inside done()",
                            NULL);
    if (is_stopping(host))
        return SENDIT_ECANCELED;
    r = http_transfer_new(host, request, &transfer);
    if (r != SENDIT_OK)
        return r;
    put_in(host->http, transfer);
    for (;;) {
        move(host);
        deliver(host->http);
        if (transfer->state != HTTP_ENDED && (is_stopping(host) || is_late(host)))
            cancel(transfer);
        if (transfer->state == HTTP_ENDED)
            break;
        wait_a_little(host);
    }
    take_out(host->http, transfer);
    r = transfer->result;
    if (r != SENDIT_OK) {
        http_transfer_free(transfer);
        return r;
    }
    transfer->next = host->http->shown;
    host->http->shown = transfer;
    *ret_response = &transfer->response;
    return SENDIT_OK;
}

static sendit_result drain(const struct sendit_host *handle, uint32_t max_left)
{
    struct host *host = NULL;
    sendit_result r = enter(handle, &host);
    struct host_http *http;

    if (r != SENDIT_OK)
        return r;
    http = host->http;
    if (http->in_done)
        return table_misuse(host, "The stage called http->drain() inside done()", NULL);
    for (;;) {
        if (host->env->abandoning || is_stopping(host)) {
            host_cancel(host);
            return host->env->abandoning ? SENDIT_OK : SENDIT_ECANCELED;
        }
        if (http->n)
            move(host);
        deliver(http);
        if (http->n <= max_left)
            return SENDIT_OK;
        if (is_late(host)) /* they go on; there is another call */
            return SENDIT_ECANCELED;
        wait_a_little(host);
    }
}

static const char *header(const struct sendit_http_response *response, const char *name)
{
    const struct http_transfer *transfer = (const struct http_transfer *)(const void *)response;
    const char *at, *past;

    if (!response || !name || !transfer->head.len)
        return NULL;
    at = transfer->head.data;
    past = at + transfer->head.len;
    while (at < past) {
        const char *value = at + strlen(at) + 1;

        if (!strcasecmp(at, name))
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

const struct sendit_http host_http = {
    .send = send_one, .start = start, .drain = drain, .header = header};

/* ---- around callbacks ---- */

static void free_all(struct http_transfer **first)
{
    while (*first) {
        struct http_transfer *transfer = *first;

        *first = transfer->next;
        http_transfer_free(transfer);
    }
}

uint32_t http_in_flight(const struct host *host)
{
    return host->http ? host->http->n : 0;
}

void http_leave(struct host *host)
{
    if (!host->http)
        return;
    free_all(&host->http->shown);
    if (host->http->n)
        move(host);
}

void http_fini(struct host *host)
{
    struct http_pool *pool = host->env->http;

    if (!host->http)
        return;
    for (struct http_transfer *at = host->http->first; at; at = at->next)
        cancel(at);
    free_all(&host->http->first);
    free_all(&host->http->shown);
    free(host->http);
    host->http = NULL;
    if (--pool->users)
        return;
    curl_multi_cleanup(pool->multi);
    curl_global_cleanup();
    free(pool);
    host->env->http = NULL;
}
