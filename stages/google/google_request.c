/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google_request.c - requests, and when they are sent again.
 *
 * Google's rules: 408, 429 and 5xx, a cut, silence and a rate limit are tried again, but only what
 * may be done twice; after min(2^n + a random part, 64 s), and not before Retry-After has passed.
 * Where that would be too late, the answer is the caller's, whose batch waits.
 */
#include "google_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "http_date.h"

/* ---- when ---- */

bool status_is_transient(int status)
{
    return status == 408 || status == 429 || (status >= 500 && status < 600);
}

uint32_t retry_after(const struct google *google, const struct sendit_http_response *response)
{
    const char *text = google->http->header(response, "Retry-After");
    uint32_t seconds = 0;

    if (text)
        (void)http_date_pause(text, google_now_ms(google), MAX_RETRY_AFTER, &seconds);
    return seconds;
}

/* 0 to `below`, both included. */
static int64_t at_random(int64_t below)
{
    uint64_t value = 0;

    if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
        value = (uint64_t)below / 2;
    return (int64_t)(value % ((uint64_t)below + 1));
}

bool backoff_next(struct backoff *backoff, const struct google *google, uint32_t retry_after_s)
{
    int64_t now = google_now_ms(google), pause = google->retry_delay_ms, passed;

    for (uint32_t i = 0; i < backoff->tries && pause < LONGEST_PAUSE_MS; i++)
        pause *= 2;
    pause += at_random(google->retry_delay_ms);
    if (pause > LONGEST_PAUSE_MS)
        pause = LONGEST_PAUSE_MS;
    if ((int64_t)retry_after_s * 1000 > LONGEST_PAUSE_MS)
        return false;
    if ((int64_t)retry_after_s * 1000 > pause)
        pause = (int64_t)retry_after_s * 1000;
    passed = now - backoff->began_ms; /* a clock that was set back does not prolong it */
    if (passed < backoff->waited_ms)
        passed = backoff->waited_ms;
    if (passed + pause > google->retry_deadline_ms)
        return false;
    backoff->tries++;
    backoff->waited_ms += pause;
    backoff->in_ms = pause;
    return true;
}

/* ---- a call ---- */

static void call_free(struct call *call)
{
    if (!call)
        return;
    if (call->url)
        explicit_bzero(call->url, strlen(call->url)); /* it may be that of a session */
    free(call->url);
    for (size_t i = 0; i <= MAX_HEADERS; i++)
        free(call->headers[i]);
    free(call->parts);
    free(call);
}

static void take_out(struct call *call)
{
    struct call **at = &call->google->calls;

    while (*at && *at != call)
        at = &(*at)->next;
    if (*at)
        *at = call->next;
    call->next = NULL;
}

static void put_in(struct call *call)
{
    struct call **at = &call->google->calls;

    while (*at)
        at = &(*at)->next;
    *at = call;
}

static sendit_result copy_headers(struct call *call, const char *const *headers)
{
    size_t n = 0;

    for (; headers && headers[n]; n++) {
        if (n == MAX_HEADERS)
            return SENDIT_EINVAL;
        call->headers[n] = strdup(headers[n]);
        if (!call->headers[n])
            return SENDIT_ENOMEM;
    }
    return SENDIT_OK;
}

static sendit_result call_new(struct google *google, const struct google_request *request,
                              struct call **ret_call)
{
    struct call *call = NULL;
    sendit_result r;

    if (!request->method || !request->url || request->n_body > MAX_PARTS ||
        (request->n_body && !request->body))
        return SENDIT_EINVAL;
    call = calloc(1, sizeof(*call));
    if (!call)
        return SENDIT_ENOMEM;
    call->google = google;
    call->request = *request;
    call->url = strdup(request->url);
    call->parts = calloc(request->n_body + 1u, sizeof(*call->parts));
    r = call->url && call->parts ? copy_headers(call, request->headers) : SENDIT_ENOMEM;
    if (r != SENDIT_OK) {
        call_free(call);
        return r;
    }
    if (request->n_body)
        memcpy(call->parts, request->body, request->n_body * sizeof(*request->body));
    call->request.url = call->url;
    call->request.headers = (const char *const *)call->headers;
    call->request.body = call->parts;
    call->backoff.began_ms = google_now_ms(google);
    call->backoff.in_ms = request->delay_ms;
    call->answer.body = call->answer.reason = call->answer.message = "";
    *ret_call = call;
    return SENDIT_OK;
}

static void end(struct call *call, enum google_end how, const struct sendit_why *why)
{
    call->answer.end = how;
    call->answer.status = 0;
    call->answer.why = *why;
}

static void end_because(struct call *call, enum google_end how, const char *code, const char *text)
{
    struct sendit_why why = {0};

    sendit_because(&why, SENDIT_FAIL, code, "%s", text);
    end(call, how, &why);
}

/* The caller hears of it, and it is gone. */
static void deliver(struct call *call)
{
    google_done_fn *done = call->done;

    take_out(call);
    done(call->ctx, &call->answer);
    call_free(call);
}

/* ---- what came ---- */

static void no_answer(struct call *call, sendit_result r)
{
    switch (r) {
    case SENDIT_EIO:
        end_because(call, GOOGLE_AWAY, "google.away",
                    "Google gave no answer: are the network, a proxy and the certificates in "
                    "order?  The line of the log before this one says more.");
        break;
    case SENDIT_ENOMEM:
        end_because(call, GOOGLE_AWAY, "google.memory", "There is no memory.");
        break;
    case SENDIT_ECANCELED:
        end_because(call, GOOGLE_CANCELED, "google.canceled",
                    "The request was ended before its answer: the host is stopping, or "
                    "run.stage_timeout is near.");
        break;
    case SENDIT_ECORRUPT:
        end_because(call, GOOGLE_REFUSED, "google.too_large",
                    "The answer is larger than Google's are: see endpoint.");
        break;
    default:
        end_because(call, GOOGLE_REFUSED, "google.options",
                    "Google cannot be asked so: see endpoint, request_header and ca_file.");
    }
}

static void take_answer(struct call *call, const struct sendit_http_response *response)
{
    const struct sendit_http *http = call->google->http;
    struct google_answer *answer = &call->answer;
    struct google_error error = {0};

    if (response->status >= 300)
        error_read(&error, response->body, response->length);
    memcpy(call->reason, error.reason, sizeof(call->reason));
    memcpy(call->message, error.message, sizeof(call->message));
    answer->end = GOOGLE_ANSWERED;
    answer->status = response->status;
    answer->body = response->body;
    answer->length = response->length;
    answer->location = http->header(response, "Location");
    answer->range = http->header(response, "Range");
    answer->reason = call->reason;
    answer->message = call->message;
    answer->retry_after_s = retry_after(call->google, response);
}

static bool is_transient(const struct call *call)
{
    const struct google_answer *answer = &call->answer;

    if (answer->end == GOOGLE_AWAY)
        return strcmp(answer->why.code, "google.memory") != 0;
    return answer->end == GOOGLE_ANSWERED &&
           (status_is_transient(answer->status) ||
            (answer->status == 403 && error_is_rate(answer->reason)));
}

/* Is it to be sent once more?  `in_ms` of the backoff says when. */
static bool judge(struct call *call, sendit_result r, const struct sendit_http_response *response)
{
    struct google *google = call->google;

    if (r == SENDIT_OK)
        take_answer(call, response);
    else
        no_answer(call, r);
    call->backoff.in_ms = 0;
    if (call->answer.end == GOOGLE_ANSWERED && call->answer.status == 401 && call->sent_token) {
        token_drop(google, call->serial);
        if (call->renewed)
            return false;
        call->renewed = true;
        return true;
    }
    if (!call->request.idempotent || call->request.no_retry || !is_transient(call) ||
        !backoff_next(&call->backoff, google, call->answer.retry_after_s))
        return false;
    google->metrics->add(google->host, "retries", 1);
    call->answer.again = true;
    return true;
}

/* ---- sending ---- */

/* What it looks like now, with today's token. */
struct letter {
    const char *headers[2 * MAX_HEADERS + 4];
    char user_project[MAX_PROJECT + 32];
    struct sendit_http_request request;
};

static void letter_write(struct letter *letter, struct call *call)
{
    const struct google *google = call->google;
    const struct google_request *asked = &call->request;
    size_t n = 0;

    for (size_t i = 0; call->headers[i]; i++)
        letter->headers[n++] = call->headers[i];
    for (size_t i = 0; google->more_headers[i] && i < MAX_HEADERS; i++)
        letter->headers[n++] = google->more_headers[i];
    if (google->user_project[0]) {
        snprintf(letter->user_project, sizeof(letter->user_project), "x-goog-user-project: %s",
                 google->user_project);
        letter->headers[n++] = letter->user_project;
    }
    call->sent_token = google->token.header != NULL;
    call->serial = google->token.serial;
    if (call->sent_token)
        letter->headers[n++] = google->token.header;
    letter->headers[n] = NULL;
    letter->request = (struct sendit_http_request){.size = sizeof(letter->request),
                                                   .timeout_ms = asked->timeout_ms,
                                                   .delay_ms = (uint32_t)call->backoff.in_ms,
                                                   .max_body = asked->max_body,
                                                   .method = asked->method,
                                                   .url = asked->url,
                                                   .headers = letter->headers,
                                                   .ca_file = "ca_file",
                                                   .body = asked->n_body ? asked->body : NULL,
                                                   .n_body = asked->n_body,
                                                   .once = strcmp(asked->method, "GET") != 0};
}

static void launch(struct call *call);

static void done(void *ctx, sendit_result r, const struct sendit_http_response *response)
{
    struct call *call = ctx;

    struct google *google = call->google;

    google->in_flight--;
    google->in_done++;
    if (judge(call, r, response))
        launch(call);
    else
        deliver(call);
    google->in_done--;
}

/* With a token at once, without one when it is there.  `call` may be gone on return. */
static void launch(struct call *call)
{
    struct google *google = call->google;
    struct letter letter;
    sendit_result r;

    if (!token_ready(google)) {
        call->state = CALL_WAITING;
        google->n_waiting++;
        if (!google->renewal.running)
            calls_go_on(google);
        return;
    }
    letter_write(&letter, call);
    google->in_flight++;
    r = google->http->start(google->host, &letter.request, done, call);
    if (r == SENDIT_OK)
        return;
    google->in_flight--;
    no_answer(call, r);
    deliver(call);
}

/* One that was let go, if there is one left. */
static struct call *next_released(const struct google *google)
{
    struct call *at = google->calls;

    while (at && at->state != CALL_RELEASED)
        at = at->next;
    return at;
}

/* Each of those that wait now goes on once; its `done` may begin others. */
void calls_go_on(struct google *google)
{
    struct call *call;

    for (call = google->calls; call; call = call->next)
        if (call->state == CALL_WAITING) {
            call->state = CALL_RELEASED;
            google->n_waiting--;
        }
    while ((call = next_released(google))) {
        call->state = CALL_FLYING;
        if (token_is_there(google) || !google->renewal.end) {
            launch(call);
        } else {
            end(call, google->renewal.end, &google->renewal.why);
            deliver(call);
        }
    }
}

/* ---- the calls of a stage ---- */

static const char elsewhere[] = "Google names an address at another host than endpoint, and no "
                                "token is sent there: see endpoint.";

sendit_result google_start(struct google *google, const struct google_request *request,
                           google_done_fn *fn, void *ctx)
{
    struct call *call = NULL;
    sendit_result r = fn ? call_new(google, request, &call) : SENDIT_EINVAL;

    if (r != SENDIT_OK)
        return r;
    call->done = fn;
    call->ctx = ctx;
    put_in(call);
    if (!google_is_ours(google, call->url)) {
        end_because(call, GOOGLE_REFUSED, "google.elsewhere", elsewhere);
        deliver(call);
        return SENDIT_OK;
    }
    if (google->n_waiting >= MAX_WAITING && !google->in_done)
        (void)google->http->drain(google->host, 0);
    launch(call);
    return SENDIT_OK;
}

/* Until there is a token, or none to be had. */
static bool wait_for_token(struct call *call)
{
    struct google *google = call->google;

    while (!token_ready(google)) {
        while (google->renewal.running) {
            sendit_result r =
                google->http->drain(google->host, google->in_flight ? google->in_flight - 1 : 0);

            if (r != SENDIT_OK) {
                no_answer(call, r);
                return false;
            }
        }
        if (!token_is_there(google) && google->renewal.end) {
            end(call, google->renewal.end, &google->renewal.why);
            return false;
        }
    }
    return true;
}

sendit_result google_send(struct google *google, const struct google_request *request,
                          struct google_answer *ret)
{
    const struct sendit_http_response *response;
    struct letter letter;
    struct call *call = NULL;
    sendit_result r = call_new(google, request, &call);

    if (r != SENDIT_OK)
        return r;
    call_free(google->sent);
    google->sent = call;
    if (!google_is_ours(google, call->url)) {
        end_because(call, GOOGLE_REFUSED, "google.elsewhere", elsewhere);
    } else {
        do {
            if (!wait_for_token(call))
                break;
            letter_write(&letter, call);
            r = google->http->send(google->host, &letter.request, &response);
        } while (judge(call, r, r == SENDIT_OK ? response : NULL));
    }
    *ret = call->answer;
    return SENDIT_OK;
}

void google_request_fini(struct google *google)
{
    while (google->calls) {
        struct call *call = google->calls;

        take_out(call);
        call_free(call);
    }
    call_free(google->sent);
}
