/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_google.c - what stages/google reads from outside: the first byte chooses a file of
 * credentials, the answer of a token endpoint, an error or a header.  Nothing that is taken can end
 * a header, and whatever is refused has a code and a sentence.
 */
#include "google_parts.h"

#include <stdlib.h>
#include <string.h>

#include "http_date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    struct sendit_http_response response;
    const char *date;
} shown;

static const char *header(const struct sendit_http_response *response, const char *name)
{
    (void)response;
    return !strcmp(name, "Metadata-Flavor") ? "Google" : shown.date;
}

static int64_t now_ms(const struct sendit_host *host)
{
    (void)host;
    return 1767225600000;
}

/* Can it stand in a header? */
static void is_plain(const char *text)
{
    for (; text && *text; text++)
        if ((unsigned char)*text <= ' ' || (unsigned char)*text > 126)
            abort();
}

static void is_said(const struct sendit_why *why)
{
    if (!why->code[0] || !why->text[0])
        abort();
}

static void credentials(const char *text)
{
    struct credentials read = {0};
    struct sendit_why why = {0};

    if (credentials_parse(&read, text, GOOGLE_TOKEN_URL, &why) != SENDIT_PASS) {
        is_said(&why);
    } else {
        if (read.kind == KIND_SERVICE_ACCOUNT ? !read.key || !read.email : !read.refresh_token)
            abort();
        is_plain(read.email);
        is_plain(read.key_id);
        is_plain(read.refresh_token);
        is_plain(read.client_id);
        is_plain(read.client_secret);
    }
    credentials_fini(&read);
}

static void token(enum kind kind, int status, const char *text, size_t size)
{
    static const struct sendit_http http = {.header = header};
    static const struct sendit_host host = {.now_ms = now_ms};
    struct google google = {.host = &host, .http = &http, .kind = kind};
    struct token_answer answer = {0};
    struct sendit_why why = {0};

    shown.response.status = status;
    shown.response.body = text;
    shown.response.length = size;
    shown.date = text;
    if (token_read(&answer, &google, &shown.response, &why) == SENDIT_PASS) {
        is_plain(answer.token);
        if (!answer.token[0] || strlen(answer.token) > MAX_TOKEN || answer.life_s < 1 ||
            answer.life_s > MAX_LIFE_S)
            abort();
    } else {
        is_said(&why);
        if (answer.token || why.retry_after_s > MAX_RETRY_AFTER)
            abort();
    }
    free(answer.token);
}

static void error(int status, const char *text, size_t size)
{
    struct google_error read;
    struct google_answer answer = {.end = GOOGLE_ANSWERED, .status = status, .body = text};
    struct sendit_why why = {0};
    char to[64];

    error_read(&read, text, size);
    if (strlen(read.reason) >= MAX_REASON || strlen(read.message) >= MAX_MESSAGE)
        abort();
    answer.length = size;
    answer.reason = read.reason;
    answer.message = read.message;
    if (google_verdict(&answer, "the bucket", "a role", &why) == SENDIT_PASS)
        abort();
    is_said(&why);
    google_url_escape(to, sizeof(to), text);
    if (strlen(to) >= sizeof(to) || strpbrk(to, "/?&#= \r\n"))
        abort();
}

/* What stands in Location and Range. */
static void headers(const char *text)
{
    const struct google google = {.endpoint = "https://storage.googleapis.com"};
    uint64_t stored = google_stored(text);
    char origin[MAX_ORIGIN], said[64];

    if (google_is_ours(&google, text) &&
        (!google_origin(text, origin) || strcmp(origin, google.endpoint) != 0))
        abort();
    if (!stored)
        abort(); /* there is a header */
    snprintf(said, sizeof(said), "bytes=0-%llu", (unsigned long long)(stored - 1));
    if (stored != UINT64_MAX && strcmp(said, text) != 0 && text[8] != '0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 400, 401, 403, 404, 412, 503, 308};
    char *text, origin[MAX_ORIGIN];
    int64_t at;

    if (size < 2)
        return 0;
    text = malloc(size - 1);
    if (!text)
        return 0;
    memcpy(text, data + 2, size - 2);
    text[size - 2] = '\0';
    if (data[0] % 4 == 0)
        credentials(text);
    else if (data[0] % 4 == 3)
        headers(text);
    else if (data[0] % 4 == 1)
        token(KIND_METADATA + data[1] % 4, statuses[data[1] / 4 % 8], text, size - 2);
    else
        error(statuses[data[1] % 8], text, size - 2);
    if (google_origin(text, origin) && strlen(origin) >= MAX_ORIGIN)
        abort();
    (void)google_is_loopback(text);
    (void)http_date_read(text, &at);
    free(text);
    return 0;
}
