/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/canned.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/buf.h"
#include "harness/spy.h"
#include "harness/text.h"
#include "services/http_request.h"
#include "services/table.h"

#define MAX_FLYING 8        /* more wait, as they do in the host */
#define MAX_BODY (8u << 20) /* of a request that is written down */

struct canned_flight {
    struct canned_flight *next;
    sendit_done_fn *done;
    void *ctx;
    sendit_result result;
    struct canned_response *response; /* with SENDIT_OK */
};

struct canned_response {
    struct sendit_http_response response;
    struct canned_response *next;
    const json_t *headers; /* of the answer; borrowed, or NULL */
    char *body;
};

int canned_init(struct canned *canned, struct host *host, const json_t *http,
                const json_t *originals)
{
    memset(canned, 0, sizeof(*canned));
    canned->host = host;
    canned->http = http;
    canned->originals = originals;
    canned->n = json_array_size(http);
    canned->taken = calloc(canned->n + 1, sizeof(*canned->taken));
    canned->requests = json_array();
    return canned->taken && canned->requests ? 0 : -1;
}

static void free_response(struct canned_response *response)
{
    if (response)
        free(response->body);
    free(response);
}

void canned_leave(struct canned *canned)
{
    while (canned->told) {
        struct canned_response *response = canned->told;

        canned->told = response->next;
        free_response(response);
    }
}

void canned_fini(struct canned *canned)
{
    canned_leave(canned);
    while (canned->first) {
        struct canned_flight *flight = canned->first;

        canned->first = flight->next;
        free_response(flight->response);
        free(flight);
    }
    free(canned->taken);
    json_decref(canned->requests);
    memset(canned, 0, sizeof(*canned));
}

/* ---- what is sent ---- */

/* The secrets and files that a request names have to be there, as they have for one that is sent.
 */
static sendit_result check_options(struct host *host, const struct sendit_http_request *request)
{
    const char *const secrets[] = {request->auth, request->client_cert};
    const char *path;
    sendit_result r = SENDIT_OK;

    for (size_t i = 0; r == SENDIT_OK && i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        struct buf value = {0};

        if (!secrets[i])
            continue;
        r = http_request_auth(host, secrets[i], &value);
        if (value.data)
            explicit_bzero(value.data, value.cap);
        buf_fini(&value);
    }
    return r == SENDIT_OK && request->ca_file ? http_request_path(host, request->ca_file, &path)
                                              : r;
}

static bool read_part(const struct sendit_part *part, struct buf *body)
{
    size_t length = (size_t)part->length, at = 0;

    if (part->length > MAX_BODY || body->len + length > MAX_BODY || !buf_reserve(body, length))
        return false;
    if (part->data) {
        buf_add(body, part->data, length);
        return !body->failed;
    }
    while (at < length) {
        ssize_t n =
            pread(part->fd, body->data + body->len, length - at, (off_t)(part->offset + at));

        if (n <= 0)
            return false;
        body->len += (size_t)n;
        at += (size_t)n;
    }
    body->data[body->len] = '\0';
    return true;
}

static int add_headers(json_t *object, const char *const *headers)
{
    json_t *list = headers && *headers ? json_array() : NULL;

    for (; headers && *headers; headers++)
        if (json_array_append_new(list, text_json(*headers))) {
            json_decref(list);
            return -1;
        }
    return list ? json_object_set_new(object, "headers", list) : 0;
}

static int add_words(json_t *object, const struct sendit_http_request *request)
{
    const struct {
        const char *key, *text;
    } words[] = {{"method", request->method},
                 {"url", request->url},
                 {"auth", request->auth},
                 {"client_cert", request->client_cert},
                 {"ca_file", request->ca_file}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].text && json_object_set_new(object, words[i].key, text_json(words[i].text)))
            return -1;
    return add_headers(object, request->headers);
}

/* Write it down: SENDIT_OK, or what the request is answered with. */
static sendit_result note(struct canned *canned, const struct sendit_http_request *request)
{
    json_t *object = json_object();
    struct buf body = {0};
    sendit_result result = SENDIT_ENOMEM;
    bool read = true;

    for (uint32_t i = 0; read && i < request->n_body; i++)
        read = read_part(&request->body[i], &body);
    if (!read)
        result = SENDIT_EIO;
    else if (object && !add_words(object, request) &&
             (!request->n_body ||
              !json_object_set_new(object, "body", text_bytes(body.data, body.len))) &&
             !json_array_append(canned->requests, object))
        result = SENDIT_OK;
    json_decref(object);
    buf_fini(&body);
    return result;
}

/* ---- what is answered ---- */

static bool is_asked(const json_t *entry, const struct sendit_http_request *request)
{
    const json_t *asked = json_object_get(entry, "request");
    const char *method = json_string_value(json_object_get(asked, "method"));
    const char *url = json_string_value(json_object_get(asked, "url"));

    return method && url && !strcmp(method, request->method) && !strcmp(url, request->url);
}

static const json_t *take(struct canned *canned, const struct sendit_http_request *request)
{
    size_t found = canned->n;

    for (size_t i = 0; i < canned->n; i++) {
        if (!is_asked(json_array_get(canned->http, i), request))
            continue;
        if (!canned->taken[i]) {
            found = i;
            break;
        }
        if (canned->reuse)
            found = i;
    }
    if (found < canned->n) {
        canned->taken[found] = true;
        return json_object_get(json_array_get(canned->http, found), "answer");
    }
    if (!canned->missing[0])
        snprintf(canned->missing, sizeof(canned->missing), "%.16s %.250s", request->method,
                 request->url);
    return NULL;
}

static struct canned_response *make_response(const json_t *answer)
{
    struct canned_response *response = calloc(1, sizeof(*response));
    const json_t *body = json_object_get(answer, "body");

    if (!response)
        return NULL;
    response->body = body && !json_is_string(body)
                         ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY)
                         : strdup(body ? json_string_value(body) : "");
    if (!response->body) {
        free(response);
        return NULL;
    }
    response->headers = json_object_get(answer, "headers");
    response->response = (struct sendit_http_response){
        .status = (int32_t)json_integer_value(json_object_get(answer, "status")),
        .body = response->body,
        .length = strlen(response->body)};
    return response;
}

static sendit_result result_of(const json_t *answer, const struct sendit_http_request *request,
                               struct canned_response **ret_response)
{
    const char *error = json_string_value(json_object_get(answer, "error"));
    size_t max = request->max_body ? request->max_body : 1u << 20;
    struct spy_fault fault;
    struct err err;
    char text[64];

    if (!answer)
        return SENDIT_EIO;
    if (error) {
        snprintf(text, sizeof(text), "http: %.40s", error);
        return spy_parse(text, &fault, &err) ? SENDIT_EIO : fault.answer;
    }
    *ret_response = make_response(answer);
    if (!*ret_response)
        return SENDIT_ENOMEM;
    if ((*ret_response)->response.length <= max)
        return SENDIT_OK;
    free_response(*ret_response);
    *ret_response = NULL;
    return SENDIT_ECORRUPT;
}

/* SENDIT_OK: it was sent, and *ret_result is what became of it. */
static sendit_result send_one(struct canned *canned, const struct sendit_http_request *given,
                              sendit_result *ret_result, struct canned_response **ret_response)
{
    struct host *host = canned->host;
    struct sendit_http_request request;
    sendit_result r = http_request_copy(host, given, &request);

    *ret_response = NULL;
    if (r == SENDIT_OK)
        r = http_request_allowed(host->stage, request.url);
    if (r == SENDIT_OK)
        r = check_options(host, &request);
    if (r == SENDIT_OK && host->host.canceled(&host->host))
        r = SENDIT_ECANCELED;
    if (r == SENDIT_OK)
        r = note(canned, &request);
    if (r == SENDIT_OK)
        *ret_result = result_of(take(canned, &request), &request, ret_response);
    return r;
}

/* ---- what is in flight ---- */

static void keep_told(struct canned *canned, struct canned_response *response)
{
    response->next = canned->told;
    canned->told = response;
}

static void tell_first(struct canned *canned, bool cancel)
{
    struct canned_flight *flight = canned->first;
    sendit_result result = cancel ? SENDIT_ECANCELED : flight->result;

    canned->first = flight->next;
    canned->n_flying--;
    if (!canned->first)
        canned->last = NULL;
    canned->in_done = true;
    flight->done(flight->ctx, result, result == SENDIT_OK ? &flight->response->response : NULL);
    canned->in_done = false;
    if (flight->response)
        keep_told(canned, flight->response);
    free(flight);
}

static bool is_stopping(const struct canned *canned)
{
    return canned->host->host.canceled(&canned->host->host) != 0;
}

static void tell_down_to(struct canned *canned, size_t max_left)
{
    while (canned->n_flying > max_left)
        tell_first(canned, false);
}

void canned_cancel(struct canned *canned)
{
    while (canned->n_flying)
        tell_first(canned, true);
}

sendit_result canned_send(struct canned *canned, const struct sendit_http_request *request,
                          const struct sendit_http_response **ret_response)
{
    struct canned_response *response;
    sendit_result result = SENDIT_OK, r;

    if (canned->in_done || !ret_response)
        return table_misuse(canned->host,
                            "The stage called http->send() inside done(), or without "
                            "a place for the answer",
                            NULL);
    r = send_one(canned, request, &result, &response);
    if (r == SENDIT_OK)
        tell_down_to(canned, 0); /* what was sent before has come back by now */
    if (r == SENDIT_OK)
        r = result;
    if (r != SENDIT_OK)
        return r;
    keep_told(canned, response);
    *ret_response = &response->response;
    return SENDIT_OK;
}

sendit_result canned_start(struct canned *canned, const struct sendit_http_request *request,
                           sendit_done_fn *done, void *ctx)
{
    struct canned_flight *flight;
    sendit_result r;

    if (!done)
        return table_misuse(canned->host, "The stage called http->start() without a done()", NULL);
    flight = calloc(1, sizeof(*flight));
    if (!flight)
        return SENDIT_ENOMEM;
    r = send_one(canned, request, &flight->result, &flight->response);
    if (r != SENDIT_OK) {
        free(flight);
        return r;
    }
    flight->done = done;
    flight->ctx = ctx;
    if (canned->last)
        canned->last->next = flight;
    else
        canned->first = flight;
    canned->last = flight;
    canned->n_flying++;
    if (!canned->in_done)
        tell_down_to(canned, MAX_FLYING);
    return SENDIT_OK;
}

sendit_result canned_drain(struct canned *canned, uint32_t max_left)
{
    if (canned->in_done)
        return table_misuse(canned->host, "The stage called http->drain() inside done()", NULL);
    if (canned->host->env->abandoning || is_stopping(canned)) {
        canned_cancel(canned);
        return canned->host->env->abandoning ? SENDIT_OK : SENDIT_ECANCELED;
    }
    tell_down_to(canned, max_left);
    return SENDIT_OK;
}

const char *canned_header(const struct sendit_http_response *response, const char *name)
{
    const struct canned_response *own = (const void *)response; /* its first member */
    const char *key;
    json_t *value;

    if (!response || !name)
        return NULL;
    json_object_foreach((json_t *)(uintptr_t)own->headers, key,
                        value) if (!strcasecmp(key, name)) return json_string_value(value);
    return NULL;
}

/* ---- originals ---- */

/* "PatientName", "(0010,0010)" or "00100010". */
static uint32_t tag_of(const char *name)
{
    unsigned group, element;
    uint32_t tag;

    if (dicom_tag(name, &tag) == SENDIT_OK)
        return tag;
    return sscanf(name, "(%4x,%4x)", &group, &element) == 2 ||
                   sscanf(name, "%4x%4x", &group, &element) == 2
               ? group << 16 | element
               : 0;
}

sendit_result canned_original(struct canned *canned, size_t index, uint32_t *ret_tag,
                              const char **ret_value)
{
    const char *key;
    size_t i = 0;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)canned->originals, key, value) if (i++ == index)
    {
        *ret_tag = tag_of(key);
        *ret_value = json_string_value(value);
        return SENDIT_OK;
    }
    return SENDIT_EABSENT;
}
