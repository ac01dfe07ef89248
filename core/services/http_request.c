/* SPDX-License-Identifier: Apache-2.0 */
#include "services/http_request.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- the body ---- */

sendit_result http_body_init(struct http_body *body, const struct sendit_part *parts, uint32_t n)
{
    *body = (struct http_body){0};
    if (n > HTTP_MAX_PARTS || (n && !parts))
        return SENDIT_EINVAL;
    for (uint32_t i = 0; i < n; i++) {
        const struct sendit_part *part = &parts[i];

        if (part->length > (uint64_t)INT64_MAX - body->total)
            return SENDIT_EINVAL;
        if (!part->data && part->length &&
            (part->fd < 0 || part->offset > (uint64_t)INT64_MAX - part->length))
            return SENDIT_EINVAL;
        body->total += part->length;
    }
    if (!n)
        return SENDIT_OK;
    body->parts = calloc(n, sizeof(*body->parts));
    if (!body->parts)
        return SENDIT_ENOMEM;
    memcpy(body->parts, parts, n * sizeof(*body->parts));
    body->n = n;
    return SENDIT_OK;
}

/* From one part; -1 if it has less than it says. */
static ssize_t read_part(const struct sendit_part *part, uint64_t from, void *to, size_t size)
{
    ssize_t n;

    if (part->data) {
        memcpy(to, (const char *)part->data + from, size);
        return (ssize_t)size;
    }
    do
        n = pread(part->fd, to, size, (off_t)(part->offset + from));
    while (n < 0 && errno == EINTR);
    return n > 0 ? n : -1;
}

ssize_t http_body_read(struct http_body *body, void *to, size_t size)
{
    size_t done = 0;

    while (body->part < body->n && done < size) {
        const struct sendit_part *part = &body->parts[body->part];
        uint64_t left = part->length - body->within;
        size_t want = left < size - done ? (size_t)left : size - done;
        ssize_t n = want ? read_part(part, body->within, (char *)to + done, want) : 0;

        if (n < 0)
            return -1;
        body->within += (uint64_t)n;
        done += (size_t)n;
        if (body->within == part->length) {
            body->part++;
            body->within = 0;
        }
    }
    return (ssize_t)done;
}

void http_body_rewind(struct http_body *body)
{
    body->part = 0;
    body->within = 0;
}

void http_body_fini(struct http_body *body)
{
    free(body->parts);
    *body = (struct http_body){0};
}

/* ---- method and headers ---- */

/* Letters alone; what makes a tunnel or shows a secret back is none of a stage's business. */
static bool is_method(const char *method)
{
    size_t n = method ? strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") : 0;

    return n && n <= HTTP_MAX_METHOD && !method[n] && strcmp(method, "CONNECT") != 0 &&
           strcmp(method, "TRACE") != 0;
}

/* Those that the host sets itself, or that would change what the peer takes for the message. */
static bool is_ours(const char *header, size_t name)
{
    static const char *const ours[] = {"Host",    "Content-Length", "Transfer-Encoding",
                                       "Expect",  "Connection",     "Keep-Alive",
                                       "Upgrade", "Trailer",        "TE"};

    if (name >= 6 && !strncasecmp(header, "Proxy-", 6))
        return true;
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strlen(ours[i]) == name && !strncasecmp(ours[i], header, name))
            return true;
    return false;
}

/* "Name: value" without a character that could end the line. */
static bool is_header(const char *header)
{
    size_t name = 0, n = strnlen(header, HTTP_MAX_HEADER + 1);

    while (isalnum((unsigned char)header[name]) ||
           (header[name] && strchr("!#$%&'*+-.^_`|~", header[name])))
        name++;
    if (!name || header[name] != ':' || n > HTTP_MAX_HEADER || is_ours(header, name))
        return false;
    for (size_t i = name; i < n; i++)
        if ((unsigned char)header[i] < ' ' ? header[i] != '\t' : header[i] == 127)
            return false;
    return true;
}

static bool are_headers(const char *const *headers, bool auth)
{
    size_t n = 0;

    for (; headers && headers[n]; n++)
        if (n == HTTP_MAX_HEADERS || !is_header(headers[n]) ||
            (auth && !strncasecmp(headers[n], "Authorization:", 14)))
            return false;
    return true;
}

sendit_result http_request_copy(struct host *host, const struct sendit_http_request *given,
                                struct sendit_http_request *ret_request)
{
    struct sendit_http_request request = {0};

    if (!given || given->size < offsetof(struct sendit_http_request, headers))
        return table_misuse(host, "The stage made an http request without its size", NULL);
    memcpy(&request, given, given->size < sizeof(request) ? given->size : sizeof(request));
    if (!is_method(request.method))
        return table_misuse(host, "The stage made an http request with no method that there is",
                            NULL);
    if (!request.url)
        return table_misuse(host, "The stage made an http request without a URL", NULL);
    if (request.n_body && (!strcmp(request.method, "GET") || !strcmp(request.method, "HEAD")))
        return table_misuse(host, "The stage made an http request whose method has no body",
                            request.method);
    if (!are_headers(request.headers, request.auth != NULL))
        return table_misuse(host,
                            "The stage made an http request with a header that it must not "
                            "set, or that is no header",
                            NULL);
    *ret_request = request;
    return SENDIT_OK;
}

/* ---- what stands in options ---- */

static void add_base64(struct buf *out, const char *text)
{
    size_t n = strlen(text);

    if (!buf_reserve(out, 4 * ((n + 2) / 3) + 1))
        return;
    out->len += (size_t)EVP_EncodeBlock((unsigned char *)out->data + out->len,
                                        (const unsigned char *)text, (int)n);
}

sendit_result http_request_auth(struct host *host, const char *option, struct buf *out)
{
    const char *secret = NULL;
    sendit_result r = secrets_value(host, option, &secret);

    if (r != SENDIT_OK || !secret)
        return r;
    for (const char *at = secret; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            return SENDIT_ECORRUPT; /* it would end the header */
    /* room at once, so that no copy of it is left behind by a buffer that grows */
    if (!buf_reserve(out, 2 * strlen(secret) + 64))
        return SENDIT_ENOMEM;
    if (strchr(secret, ':')) {
        buf_str(out, "Authorization: Basic ");
        add_base64(out, secret);
    } else {
        buf_str(out, "Authorization: Bearer ");
        buf_str(out, secret);
    }
    return out->failed ? SENDIT_ENOMEM : SENDIT_OK;
}

sendit_result http_request_path(struct host *host, const char *option, const char **ret_path)
{
    const struct plan_value *value = plan_value(host->stage, option);

    if (!value || value->option->type != SENDIT_OPT_PATH ||
        (value->option->flags & SENDIT_OPT_MANY))
        return table_misuse(host, "The stage named a PATH that its table lacks", option);
    *ret_path = value->text;
    return SENDIT_OK;
}
