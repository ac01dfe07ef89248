/* SPDX-License-Identifier: Apache-2.0 */
#include "services/http_transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "services/http_url.h"

int64_t http_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what curl asks and brings ---- */

static size_t give_body(char *to, size_t size, size_t n, void *ctx)
{
    struct http_transfer *transfer = ctx;
    ssize_t given = http_body_read(&transfer->body, to, size * n);

    transfer->moved = transfer->moved || given > 0;
    return given < 0 ? CURL_READFUNC_ABORT : (size_t)given;
}

/* curl has a connection and is about to send.  Where one that was kept turns out to be dead it
 * comes here again: what went out might have arrived, and may not be allowed to come twice. */
static int before_request(void *ctx, char *their_ip, char *our_ip, int their_port, int our_port)
{
    struct http_transfer *transfer = ctx;

    (void)their_ip, (void)our_ip, (void)their_port, (void)our_port;
    if (transfer->once && transfer->out)
        return CURL_PREREQFUNC_ABORT;
    transfer->out = true;
    return CURL_PREREQFUNC_OK;
}

/* The body begins again, on another connection. */
static int seek_body(void *ctx, curl_off_t offset, int origin)
{
    struct http_transfer *transfer = ctx;

    if (offset || origin != SEEK_SET)
        return CURL_SEEKFUNC_FAIL;
    http_body_rewind(&transfer->body);
    return CURL_SEEKFUNC_OK;
}

static size_t take_answer(char *data, size_t size, size_t n, void *ctx)
{
    struct http_transfer *transfer = ctx;

    if (size * n > transfer->max_body - transfer->answer.len) {
        transfer->too_large = true;
        return 0;
    }
    buf_add(&transfer->answer, data, size * n);
    return transfer->answer.failed ? 0 : size * n;
}

/* A line of the head.  What is no "Name: value" is left out, as is a status line, which begins the
 * head anew: only the last one of an answer counts. */
static size_t take_header(char *data, size_t size, size_t n, void *ctx)
{
    struct http_transfer *transfer = ctx;
    struct buf *head = &transfer->head;
    size_t length = size * n, name = 0, from, to = length;

    if (length > HTTP_MAX_HEAD - head->len) {
        transfer->too_large = true;
        return 0;
    }
    if (length >= 5 && !memcmp(data, "HTTP/", 5))
        head->len = 0;
    while (name < length && (unsigned char)data[name] > ' ' && data[name] != ':')
        name++;
    if (!name || name == length || data[name] != ':' || memchr(data, '\0', length))
        return length;
    while (to > name + 1 && strchr(" \t\r\n", data[to - 1]))
        to--;
    for (from = name + 1; from < to && strchr(" \t", data[from]);)
        from++;
    buf_add(head, data, name);
    buf_add(head, "", 1);
    buf_add(head, data + from, to - from);
    buf_add(head, "", 1);
    return head->failed ? 0 : length;
}

/* ---- making one ---- */

static void free_headers(struct curl_slist *headers)
{
    for (struct curl_slist *at = headers; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(headers);
}

void http_transfer_free(struct http_transfer *transfer)
{
    if (!transfer)
        return;
    curl_easy_cleanup(transfer->easy);
    curl_url_cleanup(transfer->url);
    free_headers(transfer->headers);
    if (transfer->cert)
        explicit_bzero(transfer->cert, strlen(transfer->cert));
    free(transfer->cert);
    http_body_fini(&transfer->body);
    buf_fini(&transfer->head);
    buf_fini(&transfer->answer);
    free(transfer);
}

static sendit_result add_header(struct http_transfer *transfer, const char *header)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, header);

    if (!longer)
        return SENDIT_ENOMEM;
    transfer->headers = longer;
    return SENDIT_OK;
}

/* To curl "Name:" alone means without that header; an empty one is written "Name;". */
static sendit_result add_headers(struct http_transfer *transfer, const char *const *headers)
{
    sendit_result r = add_header(transfer, "Expect:"); /* no waiting for a 100 */

    for (size_t i = 0; r == SENDIT_OK && headers && headers[i]; i++) {
        size_t name = strcspn(headers[i], ":");

        if (headers[i][name + 1 + strspn(headers[i] + name + 1, " \t")]) {
            r = add_header(transfer, headers[i]);
        } else {
            char empty[HTTP_MAX_HEADER + 2];

            snprintf(empty, sizeof(empty), "%.*s;", (int)name, headers[i]);
            r = add_header(transfer, empty);
        }
    }
    return r;
}

static sendit_result add_auth(struct http_transfer *transfer, const char *option)
{
    struct buf header = {0};
    sendit_result r = http_request_auth(transfer->host, option, &header);

    if (r == SENDIT_OK && header.len)
        r = add_header(transfer, header.data);
    if (header.data)
        explicit_bzero(header.data, header.cap);
    buf_fini(&header);
    return r;
}

static sendit_result add_cert(struct http_transfer *transfer, const char *option)
{
    const char *secret = NULL;
    sendit_result r = secrets_value(transfer->host, option, &secret);
    struct curl_blob blob = {.flags = CURL_BLOB_NOCOPY};

    if (r != SENDIT_OK || !secret)
        return r;
    transfer->cert = strdup(secret); /* curl looks at it when it connects */
    if (!transfer->cert)
        return SENDIT_ENOMEM;
    blob.data = transfer->cert;
    blob.len = strlen(transfer->cert);
    return curl_easy_setopt(transfer->easy, CURLOPT_SSLCERT_BLOB, &blob) ||
                   curl_easy_setopt(transfer->easy, CURLOPT_SSLKEY_BLOB, &blob)
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

static sendit_result add_ca(struct http_transfer *transfer, const char *option)
{
    const char *path = NULL;
    sendit_result r = http_request_path(transfer->host, option, &path);

    if (r != SENDIT_OK || !path)
        return r;
    return curl_easy_setopt(transfer->easy, CURLOPT_CAINFO, path) ||
                   curl_easy_setopt(transfer->easy, CURLOPT_CAPATH, NULL)
               ? SENDIT_ENOMEM
               : SENDIT_OK;
}

/* What holds for every request.  A CURLcode of any but memory would be a curl that we do not know,
 * and the request is not made. */
static bool set_always(struct http_transfer *transfer)
{
    CURL *easy = transfer->easy;
    uint32_t stall = transfer->host->env->http_stall_s;

    return !curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") &&
           !curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) &&
           !curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) &&
           !curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) &&
           !curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           !curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L) &&
           !curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L) &&
           /* one stream that stalls must not hold up the others of its connection */
           !curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           !curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
           !curl_easy_setopt(easy, CURLOPT_USERAGENT, "sendit/" SENDIT_VERSION) &&
           !curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) &&
           !curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_CONNECT_MS) &&
           !curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)HTTP_STALL_RATE) &&
           !curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)(stall ? stall : HTTP_STALL_S)) &&
           /* a name server that is away does not hold up the end of the worker */
           !curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

static bool set_callbacks(struct http_transfer *transfer)
{
    CURL *easy = transfer->easy;

    return !curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) &&
           !curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, before_request) &&
           !curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer) &&
           !curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body) &&
           !curl_easy_setopt(easy, CURLOPT_READDATA, transfer) &&
           !curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body) &&
           !curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer) &&
           !curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer) &&
           !curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer) &&
           !curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header) &&
           !curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer) &&
           !curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) &&
           !curl_easy_setopt(easy, CURLOPT_CURLU, transfer->url);
}

/* A method that has a body says its length, also if that is 0. */
static bool set_method(struct http_transfer *transfer, const char *method)
{
    CURL *easy = transfer->easy;
    bool body = transfer->body.total || !strcmp(method, "POST") || !strcmp(method, "PUT") ||
                !strcmp(method, "PATCH");

    if (!strcmp(method, "HEAD"))
        return !curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (body)
        return !curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L) &&
               !curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024) &&
               !curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
                                 (curl_off_t)transfer->body.total) &&
               !curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    return !curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L) &&
           !curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static sendit_result fill(struct http_transfer *transfer, const struct sendit_http_request *request,
                          const struct http_origin *origin)
{
    uint32_t timeout = request->timeout_ms;
    sendit_result r = http_body_init(&transfer->body, request->body, request->n_body);

    if (r == SENDIT_EINVAL)
        return table_misuse(transfer->host,
                            "The stage made an http request with a body that "
                            "cannot be",
                            NULL);
    if (r == SENDIT_OK)
        r = add_headers(transfer, request->headers);
    if (r == SENDIT_OK && request->auth)
        r = add_auth(transfer, request->auth);
    if (r == SENDIT_OK && request->client_cert)
        r = add_cert(transfer, request->client_cert);
    if (r == SENDIT_OK && request->ca_file)
        r = add_ca(transfer, request->ca_file);
    if (r != SENDIT_OK)
        return r;
    if (!timeout || timeout > HTTP_TIMEOUT_MS)
        timeout = HTTP_TIMEOUT_MS;
    transfer->max_body = request->max_body ? request->max_body : HTTP_MAX_BODY;
    transfer->due_ms = http_clock_ms() + request->delay_ms;
    transfer->once = request->once != 0;
    snprintf(transfer->name, sizeof(transfer->name), "%s %.*s", request->method, 253, origin->host);
    if (!set_always(transfer) || !set_callbacks(transfer) ||
        !set_method(transfer, request->method) ||
        curl_easy_setopt(transfer->easy, CURLOPT_TIMEOUT_MS, (long)timeout) ||
        (http_is_direct(origin->host) && curl_easy_setopt(transfer->easy, CURLOPT_NOPROXY, "*")))
        return SENDIT_ENOMEM;
    return SENDIT_OK;
}

sendit_result http_transfer_new(struct host *host, const struct sendit_http_request *given,
                                struct http_transfer **ret_transfer)
{
    struct sendit_http_request request;
    struct http_transfer *transfer = NULL;
    struct http_origin origin = {0};
    CURLU *url = NULL;
    sendit_result r = http_request_copy(host, given, &request);

    if (r == SENDIT_OK)
        r = http_url_check(host->stage, request.url, &url, &origin);
    if (r == SENDIT_EDENIED)
        host->host.log(&host->host, SENDIT_ERROR, "http.denied",
                       "The stage asked for a host that none of its URL options names, or for "
                       "one without TLS.");
    if (r != SENDIT_OK)
        return r;
    transfer = calloc(1, sizeof(*transfer));
    r = SENDIT_ENOMEM;
    if (!transfer) {
        curl_url_cleanup(url);
        goto out;
    }
    transfer->url = url;
    transfer->host = host;
    transfer->easy = curl_easy_init();
    if (transfer->easy)
        r = fill(transfer, &request, &origin);
out:
    http_origin_fini(&origin);
    if (r != SENDIT_OK) {
        http_transfer_free(transfer);
        return r;
    }
    *ret_transfer = transfer;
    return SENDIT_OK;
}

/* ---- its end ---- */

static sendit_result result_of(const struct http_transfer *transfer, CURLcode code)
{
    if (transfer->too_large)
        return SENDIT_ECORRUPT;
    if (code == CURLE_OUT_OF_MEMORY || transfer->answer.failed || transfer->head.failed)
        return SENDIT_ENOMEM;
    return code || transfer->response.status < 200 ? SENDIT_EIO : SENDIT_OK;
}

static bool is_about_trust(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
           code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_ISSUER_ERROR ||
           code == CURLE_SSL_INVALIDCERTSTATUS;
}

/* What curl says of a code is its own text, with nothing of the request in it. */
static void tell(const struct http_transfer *transfer, CURLcode code)
{
    const struct sendit_host *handle = &transfer->host->host;
    char text[2 * HTTP_MAX_SHOWN];

    if (transfer->result == SENDIT_OK) {
        snprintf(text, sizeof(text), "%s %d", transfer->name, (int)transfer->response.status);
        handle->log(handle, SENDIT_DEBUG, "http.answer", text);
        return;
    }
    snprintf(text, sizeof(text), "%s: %s", transfer->name,
             transfer->too_large                 ? "the answer is larger than the stage takes"
             : transfer->result == SENDIT_ENOMEM ? "no memory"
             : code                              ? curl_easy_strerror(code)
                                                 : "no answer that http knows");
    handle->log(handle, is_about_trust(code) ? SENDIT_ERROR : SENDIT_WARN, "http.failed", text);
}

bool http_transfer_again(struct http_transfer *transfer, CURLcode code)
{
    long made = 1;

    curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &made);
    if (code != CURLE_SEND_ERROR || made || transfer->once || transfer->anew ||
        transfer->head.len || transfer->answer.len ||
        curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L))
        return false;
    http_body_rewind(&transfer->body);
    transfer->anew = true;
    transfer->state = HTTP_WAITING;
    return true;
}

void http_transfer_end(struct http_transfer *transfer, CURLcode code)
{
    long status = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    transfer->state = HTTP_ENDED;
    transfer->response.status = (int32_t)status;
    transfer->result = result_of(transfer, code);
    if (transfer->result == SENDIT_OK && !buf_reserve(&transfer->answer, 0))
        transfer->result = SENDIT_ENOMEM;
    if (transfer->result == SENDIT_OK) {
        transfer->answer.data[transfer->answer.len] = '\0';
        transfer->response.body = transfer->answer.data;
        transfer->response.length = transfer->answer.len;
    }
    tell(transfer, code);
}
