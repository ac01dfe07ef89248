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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
