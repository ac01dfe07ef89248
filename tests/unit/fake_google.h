/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_google.h - a host for stages/google that a test includes as a file: a clock that the test
 * sets, credentials as text, and a table http whose answers a function of the test gives.  What is
 * started is answered in order, in drain() and send(); a pause moves the clock.
 */
#ifndef SENDIT_TESTS_FAKE_GOOGLE_H
#define SENDIT_TESTS_FAKE_GOOGLE_H

#include "google_parts.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FAKE_MAX 1024

/* What was asked, and what is answered. */
struct fake_ask {
    char method[16], url[MAX_URL + 1], headers[2 * MAX_TOKEN], body[16384];
    uint32_t delay_ms, timeout_ms, once;
    sendit_done_fn *done;
    void *ctx;
    bool token, metadata;
};
struct fake_reply {
    sendit_result result; /* SENDIT_OK with a status */
    int status;
    const char *body;
    const char *headers[9]; /* name, value, ..., NULL */
};
struct fake_response {
    struct sendit_http_response response; /* first: header() gets it */
    struct fake_reply reply;
};

static struct fake_ask *fake_asks[FAKE_MAX]; /* in flight */
static size_t fake_n_asks, fake_n_tokens, fake_n_sent, fake_n_warned;
static struct fake_ask fake_last; /* that was answered */
static uint32_t fake_delays[FAKE_MAX];
static size_t fake_n_delays, fake_deepest; /* most in flight */
static int64_t fake_now;
static const char *fake_credentials;
static sendit_result fake_secret_result;
static char fake_endpoint[128], fake_token_url[128], fake_metadata_url[128];
static const char *fake_user_project;
static const char *const *fake_headers;
static int64_t fake_delay, fake_deadline;
static struct fake_reply (*fake_answer)(const struct fake_ask *);
static char fake_log_text[8192];
static bool fake_in_done, fake_misuse, fake_stopping, fake_last_first;

static const char *fake_text(const struct sendit_host *host, const char *name)
{
    (void)host;
    return !strcmp(name, "endpoint")       ? fake_endpoint
           : !strcmp(name, "token_url")    ? fake_token_url
           : !strcmp(name, "metadata_url") ? fake_metadata_url
           : !strcmp(name, "user_project") ? fake_user_project
                                           : NULL;
}

static int64_t fake_number(const struct sendit_host *host, const char *name)
{
    (void)host;
    return !strcmp(name, "retry_delay") ? fake_delay : fake_deadline;
}

static const char *const *fake_list(const struct sendit_host *host, const char *name)
{
    (void)host, (void)name;
    return fake_headers;
}

static sendit_result fake_secret(const struct sendit_host *host, const char *option,
                                 const char **ret)
{
    (void)host;
    if (strcmp(option, "credentials") != 0)
        fake_misuse = true;
    *ret = fake_credentials;
    return fake_secret_result;
}

static void fake_add(const struct sendit_host *host, const char *name, int64_t delta)
{
    (void)host, (void)name, (void)delta;
}

static void fake_log(const struct sendit_host *host, int32_t level, const char *event,
                     const char *text)
{
    size_t n = strlen(fake_log_text);

    (void)host;
    fake_n_warned += level >= SENDIT_WARN;
    snprintf(fake_log_text + n, sizeof(fake_log_text) - n, "%s %s\n", event, text);
}

static int64_t fake_now_ms(const struct sendit_host *host)
{
    (void)host;
    return fake_now;
}

static int fake_canceled(const struct sendit_host *host)
{
    (void)host;
    return fake_stopping;
}

static struct fake_ask *fake_take(const struct sendit_http_request *request)
{
    struct fake_ask *ask = calloc(1, sizeof(*ask));
    size_t used = 0;

    if (!ask)
        abort();
    snprintf(ask->method, sizeof(ask->method), "%s", request->method);
    snprintf(ask->url, sizeof(ask->url), "%s", request->url);
    for (size_t i = 0; request->headers && request->headers[i]; i++)
        used += (size_t)snprintf(ask->headers + used, sizeof(ask->headers) - used, "%s\n",
                                 request->headers[i]);
    used = 0;
    for (uint32_t i = 0; i < request->n_body; i++) {
        size_t n = (size_t)request->body[i].length;

        if (used + n >= sizeof(ask->body))
            abort();
        memcpy(ask->body + used, request->body[i].data, n);
        used += n;
    }
    ask->delay_ms = request->delay_ms;
    ask->timeout_ms = request->timeout_ms;
    ask->once = request->once;
    ask->metadata = strstr(ask->url, "/computeMetadata/") != NULL;
    ask->token = !strcmp(ask->url, fake_token_url) || strstr(ask->url, "/token?scopes=");
    fake_n_tokens += ask->token;
    fake_n_sent += !ask->token;
    if (fake_n_delays < FAKE_MAX)
        fake_delays[fake_n_delays++] = ask->delay_ms;
    return ask;
}

static const char *fake_header(const struct sendit_http_response *response, const char *name)
{
    const struct fake_response *full = (const struct fake_response *)(const void *)response;

    for (size_t i = 0; full->reply.headers[i]; i += 2)
        if (!strcasecmp(full->reply.headers[i], name))
            return full->reply.headers[i + 1];
    return NULL;
}

static struct fake_response *fake_ask_test(const struct fake_ask *ask)
{
    struct fake_response *response = calloc(1, sizeof(*response));

    if (!response)
        abort();
    fake_now += ask->delay_ms;
    fake_last = *ask;
    response->reply = fake_answer(ask);
    response->response.status = response->reply.status;
    response->response.body = response->reply.body ? response->reply.body : "";
    response->response.length = strlen(response->response.body);
    return response;
}

static sendit_result fake_start(const struct sendit_host *host,
                                const struct sendit_http_request *request, sendit_done_fn *done,
                                void *ctx)
{
    struct fake_ask *ask;

    (void)host;
    if (fake_stopping)
        return SENDIT_ECANCELED;
    if (fake_n_asks == FAKE_MAX)
        return SENDIT_ENOMEM;
    ask = fake_take(request);
    ask->done = done;
    ask->ctx = ctx;
    fake_asks[fake_n_asks++] = ask;
    if (fake_n_asks > fake_deepest)
        fake_deepest = fake_n_asks;
    return SENDIT_OK;
}

static void fake_deliver(struct fake_ask *ask, struct fake_response *response)
{
    fake_in_done = true;
    ask->done(ask->ctx, response ? response->reply.result : SENDIT_ECANCELED,
              response && response->reply.result == SENDIT_OK ? &response->response : NULL);
    fake_in_done = false;
    free(response);
    free(ask);
}

static struct fake_ask *fake_first(void)
{
    size_t at = fake_last_first ? fake_n_asks - 1 : 0;
    struct fake_ask *ask = fake_asks[at];

    fake_n_asks--;
    memmove(fake_asks + at, fake_asks + at + 1, (fake_n_asks - at) * sizeof(fake_asks[0]));
    return ask;
}

static sendit_result fake_drain(const struct sendit_host *host, uint32_t max_left)
{
    (void)host;
    if (fake_in_done) {
        fake_misuse = true;
        return SENDIT_EINVAL;
    }
    while (fake_n_asks > max_left || (fake_stopping && fake_n_asks)) {
        struct fake_ask *ask = fake_first();

        fake_deliver(ask, fake_stopping ? NULL : fake_ask_test(ask));
    }
    return fake_stopping ? SENDIT_ECANCELED : SENDIT_OK;
}

static struct fake_response *fake_shown[FAKE_MAX];
static size_t fake_n_shown;

static sendit_result fake_send(const struct sendit_host *host,
                               const struct sendit_http_request *request,
                               const struct sendit_http_response **ret)
{
    struct fake_ask *ask;
    struct fake_response *response;

    (void)host;
    if (fake_in_done) {
        fake_misuse = true;
        return SENDIT_EINVAL;
    }
    if (fake_stopping)
        return SENDIT_ECANCELED;
    ask = fake_take(request);
    response = fake_ask_test(ask);
    free(ask);
    if (fake_n_shown == FAKE_MAX)
        abort();
    fake_shown[fake_n_shown++] = response;
    if (response->reply.result == SENDIT_OK)
        *ret = &response->response;
    return response->reply.result;
}

static const struct sendit_config fake_config = {
    .text = fake_text, .number = fake_number, .list = fake_list};
static const struct sendit_http fake_http = {
    .send = fake_send, .start = fake_start, .drain = fake_drain, .header = fake_header};
static const struct sendit_secrets fake_secrets = {.get = fake_secret};
static const struct sendit_metrics fake_metrics = {.add = fake_add};

static const void *fake_service(const struct sendit_host *host, const char *id, size_t size)
{
    (void)host, (void)size;
    return !strcmp(id, "sendit.config/1")    ? (const void *)&fake_config
           : !strcmp(id, "sendit.http/1")    ? (const void *)&fake_http
           : !strcmp(id, "sendit.secrets/1") ? (const void *)&fake_secrets
           : !strcmp(id, "sendit.metrics/1") ? (const void *)&fake_metrics
                                             : NULL;
}

static const struct sendit_host fake_host = {.stage = "fake",
                                             .abi = SENDIT_ABI,
                                             .log = fake_log,
                                             .canceled = fake_canceled,
                                             .now_ms = fake_now_ms,
                                             .service = fake_service};

/* As a site has it that sets nothing but its credentials. */
static void fake_reset(void)
{
    static const char *const none[] = {NULL};

    while (fake_n_asks)
        free(fake_first());
    while (fake_n_shown)
        free(fake_shown[--fake_n_shown]);
    fake_n_tokens = fake_n_sent = fake_n_warned = fake_n_delays = fake_deepest = 0;
    fake_now = 1767225600000; /* 2026-01-01 */
    fake_credentials = NULL;
    fake_secret_result = SENDIT_EABSENT;
    snprintf(fake_endpoint, sizeof(fake_endpoint), "https://storage.googleapis.com");
    snprintf(fake_token_url, sizeof(fake_token_url), "%s", GOOGLE_TOKEN_URL);
    snprintf(fake_metadata_url, sizeof(fake_metadata_url), "%s", GOOGLE_METADATA_URL);
    fake_user_project = NULL;
    fake_headers = none;
    fake_delay = 1000;
    fake_deadline = 600000;
    fake_log_text[0] = '\0';
    fake_in_done = fake_misuse = fake_stopping = fake_last_first = false;
    unsetenv("GOOGLE_CLOUD_PROJECT");
    unsetenv("GCLOUD_PROJECT");
    unsetenv("GOOGLE_CLOUD_QUOTA_PROJECT");
}

/* A new key as PEM; the caller frees it. */
static inline char *fake_pem(const char *type, unsigned bits, const char *password)
{
    EVP_PKEY *key = !strcmp(type, "RSA")  ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits)
                    : !strcmp(type, "EC") ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
                                          : EVP_PKEY_Q_keygen(NULL, NULL, type);
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *pem;
    long n;

    if (!key || !bio ||
        PEM_write_bio_PrivateKey(bio, key, password ? EVP_aes_128_cbc() : NULL,
                                 (const unsigned char *)password,
                                 password ? (int)strlen(password) : 0, NULL, NULL) != 1)
        abort();
    n = BIO_get_mem_data(bio, &data);
    pem = strndup(data, (size_t)n);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return pem;
}

#endif
