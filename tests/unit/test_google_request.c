/* SPDX-License-Identifier: Apache-2.0 */
/* test_google_request.c - tokens and requests of stages/google, against a clock that stands still
 * and a service that says what each test wants. */
#include "fake_google.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SCOPE "https://www.googleapis.com/auth/devstorage.read_write"
#define SECRET_TOKEN "ya29.secret"
#define USER                                                                                       \
    "{\"type\":\"authorized_user\",\"client_id\":\"me\",\"client_secret\":\"hush\","               \
    "\"refresh_token\":\"1//refresh\"}"

/* What the scripted service does: `script` for requests, `tokens` for the token endpoint; the last
 * one holds for ever. */
static struct fake_reply script[64], tokens[16];
static size_t n_script, n_tokens, at_script, at_token;

static struct fake_reply next_of(const struct fake_reply *list, size_t n, size_t *at)
{
    if (!n)
        abort();
    return list[*at < n ? (*at)++ : n - 1];
}

static struct fake_reply answer(const struct fake_ask *ask)
{
    return ask->token ? next_of(tokens, n_tokens, &at_token)
                      : next_of(script, n_script, &at_script);
}

static void says(int status, const char *body)
{
    script[n_script++] = (struct fake_reply){.status = status, .body = body};
}

static void cuts(void)
{
    script[n_script++] = (struct fake_reply){.result = SENDIT_EIO};
}

static void token_says(int status, const char *body)
{
    tokens[n_tokens++] = (struct fake_reply){
        .status = status, .body = body, .headers = {"Metadata-Flavor", "Google"}};
}

static int setup(void **state)
{
    (void)state;
    assert_null(strstr(fake_log_text, SECRET_TOKEN)); /* of the test before */
    assert_null(strstr(fake_log_text, "hush"));
    fake_reset();
    n_script = n_tokens = at_script = at_token = 0;
    fake_answer = answer;
    fake_credentials = USER;
    fake_secret_result = SENDIT_OK;
    return 0;
}

static struct google *opened(void)
{
    struct google *google = NULL;
    struct sendit_why why = {0};

    assert_int_equal(google_open(&fake_host, SCOPE, &google, &why), SENDIT_PASS);
    return google;
}

static void usual_token(void)
{
    token_says(200, "{\"access_token\":\"" SECRET_TOKEN
                    "\",\"expires_in\":3599,\"token_type\":\"Bearer\"}");
}

static const struct google_request get = {
    .method = "GET", .url = "https://storage.googleapis.com/storage/v1/b/x", .idempotent = true};
static const struct google_request post = {
    .method = "POST", .url = "https://storage.googleapis.com/upload/storage/v1/b/x/o"};

/* ---- the tests ---- */

static void test_one(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    usual_token();
    says(200, "{}");
    assert_int_equal(google_send(google, &get, &got), SENDIT_OK);
    assert_int_equal(got.end, GOOGLE_ANSWERED);
    assert_int_equal(got.status, 200);
    assert_string_equal(got.body, "{}");
    assert_false(got.again);
    assert_non_null(strstr(fake_last.headers, "Authorization: Bearer " SECRET_TOKEN "\n"));
    assert_int_equal(google_send(google, &get, &got), SENDIT_OK);
    assert_int_equal(fake_n_tokens, 1);
    google_close(google);
}

/* ---- when a request is sent again ---- */

static struct google_answer ask(const struct google_request *request)
{
    struct google *google = opened();
    struct google_answer got;

    if (!n_tokens)
        usual_token();
    assert_int_equal(google_send(google, request, &got), SENDIT_OK);
    got.body = got.reason = got.message = NULL; /* they go with it */
    google_close(google);
    return got;
}

static void test_transient(void **state)
{
    static const int statuses[] = {408, 429, 500, 502, 503, 504, 599};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        setup(NULL);
        says(statuses[i], "");
        cuts();
        says(200, "{}");
        assert_int_equal(ask(&get).status, 200);
        assert_int_equal(fake_n_sent, 3);
    }
}

static void test_permanent(void **state)
{
    static const int statuses[] = {301, 308, 400, 403, 404, 405, 409, 410, 412, 413, 499, 600};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        setup(NULL);
        says(statuses[i], "");
        assert_int_equal(ask(&get).status, statuses[i]);
        assert_int_equal(fake_n_sent, 1);
    }
}

static void test_not_idempotent(void **state)
{
    struct google_request upload = get;

    (void)state;
    says(503, "");
    assert_int_equal(ask(&post).status, 503);
    setup(NULL);
    cuts();
    assert_int_equal(ask(&post).end, GOOGLE_AWAY);
    assert_int_equal(fake_n_sent, 1);
    setup(NULL);
    cuts();
    upload.no_retry = true;
    assert_int_equal(ask(&upload).end, GOOGLE_AWAY);
    assert_int_equal(fake_n_sent, 1);
}

/* min(2^n + a random part, 64 s), for ten minutes. */
static void test_schedule(void **state)
{
    int64_t began = fake_now, low = 1000;
    struct google_answer got;

    (void)state;
    says(503, "");
    got = ask(&get);
    assert_int_equal(got.status, 503);
    assert_true(got.again);
    assert_int_equal(fake_delays[0], 0); /* token */
    assert_int_equal(fake_delays[1], 0); /* the first try */
    for (size_t i = 2; i < fake_n_delays; i++) {
        assert_in_range(fake_delays[i], low, low + 1000 > 64000 ? 64000 : low + 1000);
        low = low * 2 > 64000 ? 64000 : low * 2;
    }
    assert_in_range(fake_now - began, 600000 - 64000, 600000);
    assert_in_range(fake_n_sent, 14, 16);
}

static void pauses(int status, const char *retry_after_text)
{
    script[n_script++] =
        (struct fake_reply){.status = status, .headers = {"retry-after", retry_after_text}};
}

static void test_retry_after(void **state)
{
    struct google_answer got;

    (void)state;
    pauses(503, "30");
    pauses(429, "Thu, 01 Jan 2026 00:01:10 GMT"); /* 40 s later */
    pauses(503, "0");
    pauses(503, "soon");
    says(200, "{}");
    assert_int_equal(ask(&get).status, 200);
    assert_int_equal(fake_delays[2], 30000);
    assert_in_range(fake_delays[3], 39000, 40000);
    assert_in_range(fake_delays[4], 4000, 5000);
    assert_in_range(fake_delays[5], 8000, 9000);
    setup(NULL);
    pauses(503, "120"); /* its batch waits, not its worker */
    got = ask(&get);
    assert_int_equal(got.status, 503);
    assert_int_equal(got.retry_after_s, 120);
    assert_int_equal(fake_n_sent, 1);
}

/* ---- tokens ---- */

static void test_unauthorized(void **state)
{
    (void)state;
    token_says(200, "{\"access_token\":\"old\",\"expires_in\":3599}");
    token_says(200, "{\"access_token\":\"new\",\"expires_in\":3599}");
    says(401, "");
    says(200, "{}");
    assert_int_equal(ask(&post).status, 200);
    assert_non_null(strstr(fake_last.headers, "Bearer new\n"));
    assert_int_equal(fake_n_tokens, 2);
    setup(NULL);
    says(401, "");
    assert_int_equal(ask(&get).status, 401); /* once again, and no more */
    assert_int_equal(fake_n_sent, 2);
    setup(NULL);
    says(401, "");
    fake_secret_result = SENDIT_EABSENT;
    snprintf(fake_endpoint, sizeof(fake_endpoint), "http://127.0.0.1:9000");
    {
        const struct google_request plain = {
            .method = "GET", .url = "http://127.0.0.1:9000/x", .idempotent = true};

        assert_int_equal(ask(&plain).status, 401); /* no token was sent */
    }
    assert_int_equal(fake_n_sent, 1);
    assert_int_equal(fake_n_tokens, 0);
    assert_null(strstr(fake_last.headers, "Authorization"));
}

static void count(void *ctx, const struct google_answer *got)
{
    int *counts = ctx;

    counts[got->end == GOOGLE_ANSWERED && got->status == 200]++;
}

static void test_many(void **state)
{
    struct google *google = opened();
    int counts[2] = {0};

    (void)state;
    usual_token();
    says(200, "{}");
    for (int i = 0; i < 50; i++)
        assert_int_equal(google_start(google, &get, count, counts), SENDIT_OK);
    assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
    assert_int_equal(counts[1], 50);
    assert_int_equal(fake_n_tokens, 1);
    google_close(google);
}

static void test_early(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    usual_token();
    says(200, "{}");
    google_send(google, &get, &got);
    fake_now += 3298000; /* 301 s are left */
    google_send(google, &get, &got);
    assert_int_equal(fake_n_tokens, 1);
    fake_now += 2000;
    google_send(google, &get, &got); /* goes with the old one */
    assert_int_equal(fake_n_tokens, 2);
    assert_int_equal(fake_n_asks, 1);
    assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
    google_send(google, &get, &got);
    assert_int_equal(fake_n_tokens, 2);
    google_close(google);
}

/* All of them are told that their token is none any more: one new one is for all. */
static struct fake_reply by_token(const struct fake_ask *asked)
{
    static char body[64];

    if (asked->token) {
        snprintf(body, sizeof(body), "{\"access_token\":\"t%zu\",\"expires_in\":3599}",
                 fake_n_tokens);
        return (struct fake_reply){.status = 200, .body = body};
    }
    return (struct fake_reply){.status = strstr(asked->headers, "Bearer t1\n") ? 401 : 200,
                               .body = "{}"};
}

static void test_many_unauthorized(void **state)
{
    struct google *google = opened();
    int counts[2] = {0};

    (void)state;
    fake_answer = by_token;
    for (int i = 0; i < 100; i++)
        assert_int_equal(google_start(google, &get, count, counts), SENDIT_OK);
    assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 100);
    assert_int_equal(fake_n_tokens, 2);
    assert_false(fake_misuse);
    assert_null(google->calls);
    google_close(google);
}

/* One that is told so after the new token came does not cost another. */
static void test_late_unauthorized(void **state)
{
    struct google *google = opened();
    int counts[2] = {0};

    (void)state;
    fake_answer = by_token;
    assert_int_equal(google_start(google, &get, count, counts), SENDIT_OK);
    assert_int_equal(google_start(google, &get, count, counts), SENDIT_OK);
    fake_last_first = true;
    assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
    assert_int_equal(counts[1], 2);
    assert_int_equal(fake_n_tokens, 2);
    google_close(google);
}

/* What has no token yet is not piled up without end. */
static void test_bounded(void **state)
{
    struct google *google = opened();
    int counts[2] = {0};

    (void)state;
    usual_token();
    says(200, "{}");
    for (int i = 0; i < MAX_WAITING; i++)
        google_start(google, &get, count, counts);
    assert_int_equal(google->n_waiting, MAX_WAITING);
    assert_int_equal(fake_n_asks, 1); /* the token */
    google_start(google, &get, count, counts);
    assert_int_equal(google->n_waiting, 0);
    assert_int_equal(counts[1], MAX_WAITING);
    assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
    assert_int_equal(counts[1], MAX_WAITING + 1);
    google_close(google);
}

static void test_ended(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    usual_token();
    says(200, "{}");
    google_send(google, &get, &got);
    fake_now += 4000000; /* it is over, and waited for */
    google_send(google, &get, &got);
    assert_int_equal(got.status, 200);
    assert_int_equal(fake_n_tokens, 2);
    assert_int_equal(fake_n_sent, 2);
    google_close(google);
}

/* A short life is not renewed at each request. */
static void test_short_life(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    token_says(200, "{\"access_token\":\"x\",\"expires_in\":60}");
    says(200, "{}");
    for (int i = 0; i < 20; i++) {
        google_send(google, &get, &got);
        assert_int_equal(got.status, 200);
        fake_now += 1000;
    }
    assert_int_equal(fake_n_tokens, 1);
    google_close(google);
}

static void test_token_kept(void **state)
{
    static const int statuses[] = {500, 503, 429, 408};
    struct google_answer got;

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct google *google;

        setup(NULL);
        google = opened();
        usual_token();
        token_says(statuses[i], "");
        says(200, "{}");
        google_send(google, &get, &got);
        fake_now += 3400000;
        for (int j = 0; j < 5; j++) {
            google_send(google, &get, &got);
            assert_int_equal(got.status, 200);
            assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
        }
        assert_int_equal(fake_n_tokens, 2);
        assert_int_equal(fake_n_warned, 1);
        fake_now += 31000;
        google_send(google, &get, &got);
        assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
        assert_int_equal(fake_n_tokens, 3);
        google_close(google);
    }
}

/* The file went bad while a token holds: that serves to its end, then it is said. */
static void test_file_changes(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    usual_token();
    says(200, "{}");
    google_send(google, &get, &got);
    fake_credentials = "{\"type\":\"authorized_user\"}";
    fake_now += 3400000;
    google_send(google, &get, &got);
    assert_int_equal(got.status, 200);
    fake_now += 400000;
    google_send(google, &get, &got);
    assert_int_equal(got.end, GOOGLE_REFUSED);
    assert_string_equal(got.why.code, "google.credentials");
    fake_secret_result = SENDIT_EABSENT; /* not passed over now either */
    google_send(google, &get, &got);
    assert_int_equal(got.end, GOOGLE_REFUSED);
    assert_non_null(strstr(got.why.text, "is gone"));
    google_close(google);
}

/* ---- tokens that are none ---- */

static struct google_answer without_token(void)
{
    struct google *google = opened();
    struct google_answer got;

    assert_int_equal(google_send(google, &get, &got), SENDIT_OK);
    assert_int_equal(fake_n_sent, 0);
    assert_int_not_equal(got.end, GOOGLE_ANSWERED);
    assert_true(strlen(got.why.text) < sizeof(got.why.text) - 1);
    assert_null(strstr(got.why.text, "hush"));
    google_close(google);
    return got;
}

static void refused(int status, const char *body, const char *code, const char *words)
{
    struct google_answer got;

    n_tokens = at_token = fake_n_tokens = 0;
    token_says(status, body);
    got = without_token();
    assert_int_equal(got.end, GOOGLE_REFUSED);
    assert_string_equal(got.why.code, code);
    if (!strstr(got.why.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, got.why.text);
    assert_int_equal(fake_n_tokens, 1); /* what is refused is not asked again */
}

static void test_token_refused(void **state)
{
    static const char expired[] = "{\"error\":\"invalid_grant\",\"error_description\":\"Token has "
                                  "been expired or revoked.\"}";

    (void)state;
    refused(400, expired, "google.token", "expired or was revoked");
    refused(400, "{\"error\":\"invalid_grant\"}", "google.token", "expired or was revoked");
    refused(401, "{\"error\":\"invalid_client\"}", "google.token", "application");
    refused(401, "{\"error\":\"deleted_client\"}", "google.token", "application");
    refused(400, "{\"error\":\"invalid_scope\"}", "google.token", "400, invalid_scope");
    refused(403, "{\"error\":{\"status\":\"PERMISSION_DENIED\"}}", "google.token",
            "403, PERMISSION_DENIED");
    refused(404, "", "google.token", "404");
    refused(302, "", "google.token", "302");
    refused(200, "{}", "google.token", "no access_token");
    refused(200, "[]", "google.token", "no access_token");
    refused(200, "{\"access_token\":\"x\"}", "google.token", "no access_token");
    refused(200, "{\"access_token\":\"\",\"expires_in\":3599}", "google.token", "no access_token");
    refused(200, "{\"access_token\":\"a\\r\\nX-Evil: 1\",\"expires_in\":3599}", "google.token",
            "no access_token");
    refused(200, "{\"access_token\":\"x\",\"expires_in\":0}", "google.token", "no access_token");
    refused(200, "{\"access_token\":\"x\",\"expires_in\":\"3599\"}", "google.token",
            "no access_token");
    refused(200, "{\"access_token\":\"x\",\"expires_in\":3599,\"token_type\":\"MAC\"}",
            "google.token", "no access_token");
    refused(200, "{\"id_token\":\"x\",\"expires_in\":3599}", "google.token", "no access_token");
}

static void away(int status, const char *body, const char *code)
{
    struct google_answer got;

    setup(NULL);
    token_says(status, body);
    if (!status)
        tokens[0] = (struct fake_reply){.result = SENDIT_EIO};
    got = without_token();
    assert_int_equal(got.end, GOOGLE_AWAY);
    assert_string_equal(got.why.code, code);
    assert_in_range(fake_n_tokens, 14, 16);
    setup(NULL);
    token_says(status, body);
    if (!status)
        tokens[0] = (struct fake_reply){.result = SENDIT_EIO};
    usual_token();
    says(200, "{}");
    assert_int_equal(ask(&get).status, 200);
    assert_int_equal(fake_n_tokens, 2);
}

static void test_token_away(void **state)
{
    (void)state;
    away(503, "", "google.busy");
    away(500, "<html>", "google.busy");
    away(429, "{\"error\":\"rate_limit_exceeded\"}", "google.busy");
    away(200, "<!DOCTYPE html><html>log in</html>", "google.html");
    away(200, "", "google.json");
    away(200, "{\"access_token\":\"x", "google.json");
    away(403, "<html>blocked</html>", "google.html");
    away(0, NULL, "google.away");
}

/* ---- a service account ---- */

static char *pem, *account;

static int with_account(void **state)
{
    json_t *json;

    setup(state);
    if (!pem)
        pem = fake_pem("RSA", 2048, NULL);
    json =
        json_pack("{s:s, s:s, s:s, s:s}", "type", "service_account", "client_email",
                  "a@b.iam.gserviceaccount.com", "private_key", pem, "token_uri", GOOGLE_TOKEN_URL);
    account = json_dumps(json, 0);
    json_decref(json);
    fake_credentials = account;
    return 0;
}

static int drop_account(void **state)
{
    (void)state;
    free(account);
    account = NULL;
    return 0;
}

#define IAT                                                                                        \
    "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT: Token must be a "           \
    "short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values " \
    "in the JWT claim.\"}"

static void test_clock(void **state)
{
    static const struct {
        const char *date, *words;
    } cases[] = {{"Wed, 31 Dec 2025 23:00:00 GMT", "60 minutes ahead of Google's"},
                 {"Thu, 01 Jan 2026 01:00:10 GMT", "60 minutes behind Google's"},
                 {"Thu, 01 Jan 2026 00:00:10 GMT", "takes the clock of this machine for wrong"},
                 {"today", "takes the clock of this machine for wrong"},
                 {NULL, "takes the clock of this machine for wrong"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct google_answer got;

        n_tokens = at_token = 0;
        token_says(400, IAT);
        tokens[0].headers[0] = cases[i].date ? "Date" : NULL;
        tokens[0].headers[1] = cases[i].date;
        got = without_token();
        assert_int_equal(got.end, GOOGLE_REFUSED);
        assert_string_equal(got.why.code, "google.clock");
        if (!strstr(got.why.text, cases[i].words))
            fail_msg("%s", got.why.text);
    }
}

static void test_account_refused(void **state)
{
    (void)state;
    refused(400, "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}",
            "google.token", "does not know the key");
    refused(400,
            "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid grant: account not "
            "found\"}",
            "google.token", "does not know the service account");
    refused(400, "{\"error\":\"invalid_grant\"}", "google.token", "deleted or disabled");
}

static void test_account_body(void **state)
{
    (void)state;
    usual_token();
    says(200, "{}");
    fake_answer = answer;
    {
        struct google *google = opened();
        struct google_answer got;

        assert_int_equal(google_start(google, &get, NULL, NULL), SENDIT_EINVAL);
        assert_false(token_ready(google));
        assert_int_equal(fake_n_asks, 1);
        assert_string_equal(fake_asks[0]->method, "POST");
        assert_string_equal(fake_asks[0]->url, GOOGLE_TOKEN_URL);
        assert_non_null(
            strstr(fake_asks[0]->headers, "Content-Type: application/x-www-form-urlencoded\n"));
        assert_null(strstr(fake_asks[0]->headers, "Authorization"));
        assert_ptr_equal(strstr(fake_asks[0]->body,
                                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
                                "&assertion=eyJ"),
                         fake_asks[0]->body);
        assert_int_equal(google_send(google, &get, &got), SENDIT_OK);
        assert_int_equal(got.status, 200);
        assert_int_equal(fake_n_tokens, 1);
        google_close(google);
    }
}

static void test_user_body(void **state)
{
    struct google *google;

    (void)state;
    fake_credentials = "{\"type\":\"authorized_user\",\"client_id\":\"a&b\",\"client_secret\":"
                       "\"c=d\",\"refresh_token\":\"1//x+y%\"}";
    google = opened();
    token_ready(google);
    assert_string_equal(fake_asks[0]->body,
                        "grant_type=refresh_token&client_id=a%26b&client_secret=c%3Dd"
                        "&refresh_token=1%2F%2Fx%2By%25");
    google_close(google);
}

/* ---- the metadata server ---- */

static int with_metadata(void **state)
{
    setup(state);
    fake_credentials = NULL;
    fake_secret_result = SENDIT_EABSENT;
    return 0;
}

static void test_metadata(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    usual_token();
    says(200, "{}");
    token_ready(google);
    assert_string_equal(fake_asks[0]->method, "GET");
    assert_string_equal(fake_asks[0]->url,
                        "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/"
                        "default/token?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2F"
                        "devstorage.read_write");
    assert_string_equal(fake_asks[0]->headers, "Metadata-Flavor: Google\n");
    assert_int_equal(fake_asks[0]->timeout_ms, 3000);
    google_send(google, &get, &got);
    fake_now += 3599000 - 226000;
    google_send(google, &get, &got);
    assert_int_equal(fake_n_tokens, 1);
    fake_now += 2000;
    google_send(google, &get, &got);
    assert_int_equal(fake_n_tokens, 2);
    google_close(google);
}

static void test_no_metadata(void **state)
{
    struct google_answer got;

    (void)state;
    tokens[n_tokens++] = (struct fake_reply){.result = SENDIT_EIO};
    got = without_token();
    assert_int_equal(got.end, GOOGLE_REFUSED);
    assert_string_equal(got.why.code, "google.credentials");
    assert_non_null(strstr(got.why.text, "There are no credentials"));
    assert_int_equal(fake_n_tokens, 3);
    with_metadata(NULL);
    tokens[n_tokens++] = (struct fake_reply){.result = SENDIT_EIO};
    token_says(503, "");
    usual_token();
    says(200, "{}");
    assert_int_equal(ask(&get).status, 200);
    with_metadata(NULL);
    refused(404, "", "google.credentials", "no service account");
    refused(403, "", "google.metadata", "403");
    n_tokens = at_token = 0;
    usual_token();
    tokens[0].headers[0] = NULL; /* any web server answers something */
    assert_string_equal(without_token().why.code, "google.metadata");
    tokens[0].headers[0] = "Metadata-Flavor";
    tokens[0].headers[1] = "Other";
    at_token = 0;
    assert_string_equal(without_token().why.code, "google.metadata");
}

static void test_metadata_project(void **state)
{
    struct google *google = opened();

    (void)state;
    script[n_script++] = (struct fake_reply){
        .status = 200, .body = "my-project", .headers = {"Metadata-Flavor", "Google"}};
    assert_string_equal(google_project(google), "my-project");
    assert_string_equal(google_project(google), "my-project");
    assert_int_equal(fake_n_sent, 1);
    google_close(google);
    google = opened();
    n_script = at_script = 0;
    says(200, "my-project"); /* no flavor */
    assert_null(google_project(google));
    assert_null(google_project(google));
    assert_int_equal(fake_n_sent, 2); /* one of the first, one of this one */
    google_close(google);
    google = opened();
    n_script = at_script = 0;
    script[n_script++] = (struct fake_reply){
        .status = 200, .body = "<html>", .headers = {"Metadata-Flavor", "Google"}};
    assert_null(google_project(google));
    google_close(google);
}

/* ---- ends ---- */

static void note_end(void *ctx, const struct google_answer *got)
{
    int *ends = ctx;

    ends[got->end]++;
}

static void test_stopping(void **state)
{
    struct google *google = opened();
    struct google_answer got;
    int ends[5] = {0};

    (void)state;
    usual_token();
    says(503, "");
    for (int i = 0; i < 10; i++)
        google_start(google, &get, note_end, ends);
    fake_stopping = true; /* while they wait for the token */
    fake_http.drain(&fake_host, 0);
    assert_int_equal(ends[GOOGLE_CANCELED], 10);
    google_start(google, &get, note_end, ends);
    assert_int_equal(ends[GOOGLE_CANCELED], 11);
    google_send(google, &get, &got);
    assert_int_equal(got.end, GOOGLE_CANCELED);
    assert_string_equal(got.why.code, "google.canceled");
    fake_stopping = false;
    google_start(google, &get, note_end, ends);
    fake_http.drain(&fake_host, 1); /* the token came */
    fake_stopping = true;           /* while it waits for another try */
    fake_http.drain(&fake_host, 0);
    assert_null(google->calls);
    google_start(google, &get, note_end, ends);
    assert_null(google->calls);
    google_close(google);
}

static void test_left_behind(void **state)
{
    struct google *google = opened();
    int ends[5] = {0};

    (void)state;
    google_start(google, &get, note_end, ends);
    google_start(google, &get, note_end, ends);
    google_close(google); /* nothing leaks, and nobody is told */
    assert_int_equal(ends[GOOGLE_CANCELED] + ends[GOOGLE_AWAY] + ends[GOOGLE_REFUSED], 0);
}

static void test_no_answer(void **state)
{
    static const struct {
        sendit_result result;
        enum google_end end;
        const char *code;
        size_t sent;
    } cases[] = {{SENDIT_ECORRUPT, GOOGLE_REFUSED, "google.too_large", 1},
                 {SENDIT_EDENIED, GOOGLE_REFUSED, "google.options", 1},
                 {SENDIT_EINVAL, GOOGLE_REFUSED, "google.options", 1},
                 {SENDIT_ENOMEM, GOOGLE_AWAY, "google.memory", 1},
                 {SENDIT_ECANCELED, GOOGLE_CANCELED, "google.canceled", 1},
                 {SENDIT_EIO, GOOGLE_AWAY, "google.away", 15}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct google_answer got;
        struct sendit_why why = {0};

        setup(NULL);
        script[n_script++] = (struct fake_reply){.result = cases[i].result};
        got = ask(&get);
        assert_int_equal(got.end, cases[i].end);
        assert_string_equal(got.why.code, cases[i].code);
        assert_in_range(fake_n_sent, cases[i].sent - (cases[i].sent > 1), cases[i].sent + 1);
        assert_int_equal(google_verdict(&got, "it", "a role", &why),
                         cases[i].end == GOOGLE_REFUSED ? SENDIT_FAIL : SENDIT_RETRY);
        assert_string_equal(why.text, got.why.text);
    }
}

/* A token goes to the endpoint alone. */
static void test_elsewhere(void **state)
{
    static const char *const urls[] = {"https://elsewhere.example/x",
                                       "https://storage.googleapis.com.example/x",
                                       "https://storage.googleapis.com@example/x",
                                       "https://storage.googleapis.com:444/x",
                                       "http://storage.googleapis.com/x",
                                       "/x",
                                       ""};
    int ends[5] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        const struct google_request other = {.method = "GET", .url = urls[i]};
        struct google *google = opened();
        struct google_answer got;

        assert_int_equal(google_send(google, &other, &got), SENDIT_OK);
        assert_int_equal(got.end, GOOGLE_REFUSED);
        assert_string_equal(got.why.code, "google.elsewhere");
        assert_int_equal(google_start(google, &other, note_end, ends), SENDIT_OK);
        assert_int_equal(ends[GOOGLE_REFUSED], i + 1);
        google_close(google);
    }
    assert_int_equal(fake_n_sent + fake_n_tokens, 0);
}

static void test_misuse(void **state)
{
    static const struct google_request bad[] = {
        {.url = "https://storage.googleapis.com/x"},
        {.method = "GET"},
        {.method = "POST", .url = "https://storage.googleapis.com/x", .n_body = 1}};
    const char *many[MAX_HEADERS + 2];
    struct google_request crowded = get;
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    for (size_t i = 0; i <= MAX_HEADERS; i++)
        many[i] = "X-A: b";
    many[MAX_HEADERS + 1] = NULL;
    crowded.headers = many;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(google_send(google, &bad[i], &got), SENDIT_EINVAL);
        assert_int_equal(google_start(google, &bad[i], note_end, NULL), SENDIT_EINVAL);
    }
    assert_int_equal(google_send(google, &crowded, &got), SENDIT_EINVAL);
    google_close(google);
}

/* ---- what is sent, and what is read ---- */

static void test_letter(void **state)
{
    static const char *const more[] = {"X-Retry-Test-Id: 7", NULL};
    static const char *const own[] = {"Content-Type: application/json", NULL};
    const struct sendit_part parts[] = {{.data = "{\"a\":", .length = 5},
                                        {.data = "1}", .length = 2}};
    struct google_request upload = post;

    (void)state;
    fake_headers = more;
    fake_user_project = "payer";
    upload.headers = own;
    upload.body = parts;
    upload.n_body = 2;
    upload.timeout_ms = 5000;
    says(200, "{}");
    assert_int_equal(ask(&upload).status, 200);
    assert_string_equal(fake_last.headers,
                        "Content-Type: application/json\nX-Retry-Test-Id: 7\n"
                        "x-goog-user-project: payer\nAuthorization: Bearer " SECRET_TOKEN "\n");
    assert_string_equal(fake_last.body, "{\"a\":1}");
    assert_int_equal(fake_last.timeout_ms, 5000);
    assert_int_equal(fake_last.once, 1);
    setup(NULL);
    says(200, "{}");
    ask(&get);
    assert_int_equal(fake_last.once, 0); /* what only looks may go out anew */
}

static void test_headers(void **state)
{
    struct google *google = opened();
    struct google_answer got;

    (void)state;
    usual_token();
    script[n_script++] = (struct fake_reply){
        .status = 308, .headers = {"Location", "https://x/y", "Range", "bytes=0-262143"}};
    google_send(google, &get, &got);
    assert_int_equal(got.status, 308);
    assert_string_equal(got.location, "https://x/y");
    assert_string_equal(got.range, "bytes=0-262143");
    google_close(google);
}

static void test_delay(void **state)
{
    struct google_request later = get;

    (void)state;
    later.delay_ms = 700;
    says(401, "");
    says(503, "");
    says(200, "{}");
    assert_int_equal(ask(&later).status, 200);
    assert_int_equal(fake_delays[1], 700);
    assert_int_equal(fake_delays[3], 0); /* with another token, at once */
    assert_in_range(fake_delays[4], 1000, 2000);
}

/* A rate is waited for; a quota, or any other 403, is not. */
static void test_rate(void **state)
{
    static const char *const rates[] = {"rateLimitExceeded", "userRateLimitExceeded",
                                        "jobRateLimitExceeded"};
    char body[128];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        setup(NULL);
        snprintf(body, sizeof(body), "{\"error\":{\"errors\":[{\"reason\":\"%s\"}]}}", rates[i]);
        says(403, body);
        says(200, "{}");
        assert_int_equal(ask(&get).status, 200);
        assert_int_equal(fake_n_sent, 2);
    }
    setup(NULL);
    says(403, "{\"error\":{\"errors\":[{\"reason\":\"quotaExceeded\"}]}}");
    assert_int_equal(ask(&get).status, 403);
    assert_int_equal(fake_n_sent, 1);
}

/* Set back by an hour while it waits: the time that it waited counts all the same. */
static struct fake_reply set_back(const struct fake_ask *asked)
{
    if (!asked->token)
        fake_now -= 3600000;
    return answer(asked);
}

static void test_clock_set_back(void **state)
{
    (void)state;
    says(503, "");
    fake_answer = set_back;
    assert_int_equal(ask(&get).status, 503);
    assert_in_range(fake_n_sent, 14, 16);
}

static void test_jitter(void **state)
{
    size_t low = 0, high = 0;

    (void)state;
    for (int i = 0; i < 64; i++) {
        setup(NULL);
        says(503, "");
        says(200, "{}");
        ask(&get);
        low += fake_delays[2] < 1500;
        high += fake_delays[2] >= 1500;
    }
    assert_true(low > 8 && high > 8);
    setup(NULL);
    fake_delay = 10;
    fake_deadline = 100;
    says(503, "");
    ask(&get);
    assert_in_range(fake_delays[2], 10, 20);
    assert_in_range(fake_delays[3], 20, 30);
    assert_in_range(fake_n_sent, 3, 5);
}

static void test_check(void **state)
{
    struct sendit_why why = {0};

    (void)state;
    assert_int_equal(google_check(&fake_host, 0, SCOPE, &why), SENDIT_PASS);
    assert_int_equal(fake_n_tokens, 0);
    usual_token();
    assert_int_equal(google_check(&fake_host, 1, SCOPE, &why), SENDIT_PASS);
    assert_int_equal(fake_n_tokens, 1);
    setup(NULL);
    token_says(503, "");
    assert_int_equal(google_check(&fake_host, 1, SCOPE, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "google.busy");
    assert_in_range(fake_n_tokens, 3, 5); /* nobody sits there for ten minutes */
    setup(NULL);
    fake_credentials = "{}";
    assert_int_equal(google_check(&fake_host, 0, SCOPE, &why), SENDIT_PASS); /* no I/O */
    assert_int_equal(google_check(&fake_host, 1, SCOPE, &why), SENDIT_FAIL);
    setup(NULL);
    fake_user_project = "no project";
    assert_int_equal(google_check(&fake_host, 0, SCOPE, &why), SENDIT_FAIL);
    setup(NULL);
    usual_token();
    fake_stopping = true;
    assert_int_equal(google_check(&fake_host, 1, SCOPE, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "google.canceled");
}

/* Begun inside `done`, as a retry of a stage's own is. */
struct chain {
    struct google *google;
    int left;
};

static void go_on(void *ctx, const struct google_answer *got)
{
    struct chain *chain = ctx;

    assert_int_equal(got->status, 200);
    if (chain->left-- > 0)
        assert_int_equal(google_start(chain->google, &get, go_on, chain), SENDIT_OK);
}

static void test_chain(void **state)
{
    struct chain chain = {.google = opened(), .left = 200};

    (void)state;
    usual_token();
    says(200, "{}");
    assert_int_equal(google_start(chain.google, &get, go_on, &chain), SENDIT_OK);
    assert_int_equal(fake_http.drain(&fake_host, 0), SENDIT_OK);
    assert_int_equal(fake_n_sent, 201);
    assert_false(fake_misuse);
    google_close(chain.google);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one, setup),
        cmocka_unit_test_setup(test_transient, setup),
        cmocka_unit_test_setup(test_permanent, setup),
        cmocka_unit_test_setup(test_not_idempotent, setup),
        cmocka_unit_test_setup(test_schedule, setup),
        cmocka_unit_test_setup(test_retry_after, setup),
        cmocka_unit_test_setup(test_unauthorized, setup),
        cmocka_unit_test_setup(test_many, setup),
        cmocka_unit_test_setup(test_early, setup),
        cmocka_unit_test_setup(test_many_unauthorized, setup),
        cmocka_unit_test_setup(test_late_unauthorized, setup),
        cmocka_unit_test_setup(test_bounded, setup),
        cmocka_unit_test_setup(test_ended, setup),
        cmocka_unit_test_setup(test_short_life, setup),
        cmocka_unit_test_setup(test_token_kept, setup),
        cmocka_unit_test_setup(test_file_changes, setup),
        cmocka_unit_test_setup(test_token_refused, setup),
        cmocka_unit_test_setup(test_token_away, setup),
        cmocka_unit_test_setup_teardown(test_clock, with_account, drop_account),
        cmocka_unit_test_setup_teardown(test_account_refused, with_account, drop_account),
        cmocka_unit_test_setup_teardown(test_account_body, with_account, drop_account),
        cmocka_unit_test_setup(test_user_body, setup),
        cmocka_unit_test_setup(test_metadata, with_metadata),
        cmocka_unit_test_setup(test_no_metadata, with_metadata),
        cmocka_unit_test_setup(test_metadata_project, with_metadata),
        cmocka_unit_test_setup(test_stopping, setup),
        cmocka_unit_test_setup(test_left_behind, setup),
        cmocka_unit_test_setup(test_no_answer, setup),
        cmocka_unit_test_setup(test_elsewhere, setup),
        cmocka_unit_test_setup(test_misuse, setup),
        cmocka_unit_test_setup(test_letter, setup),
        cmocka_unit_test_setup(test_headers, setup),
        cmocka_unit_test_setup(test_delay, setup),
        cmocka_unit_test_setup(test_rate, setup),
        cmocka_unit_test_setup(test_clock_set_back, setup),
        cmocka_unit_test_setup(test_jitter, setup),
        cmocka_unit_test_setup(test_check, setup),
        cmocka_unit_test_setup(test_chain, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    fake_reset();
    free(pem);
    return failed;
}
