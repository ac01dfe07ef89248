/* SPDX-License-Identifier: Apache-2.0 */
/* test_google_error.c - what errors of Google become: a verdict, a code, one sentence. */
#include "google_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BUCKET "the bucket \"b\""
#define ROLE "roles/storage.objectCreator"

static void means(int status, const char *body, sendit_verdict verdict, const char *code,
                  const char *words)
{
    struct google_error error;
    struct sendit_why why = {0};
    struct google_answer answer = {.end = GOOGLE_ANSWERED, .status = status, .body = body};

    answer.length = strlen(body);
    error_read(&error, body, answer.length);
    answer.reason = error.reason;
    answer.message = error.message;
    answer.retry_after_s = 7;
    assert_int_equal(google_verdict(&answer, BUCKET, ROLE, &why), verdict);
    assert_string_equal(why.code, code);
    if (!strstr(why.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, why.text);
    assert_true(strlen(why.text) < sizeof(why.text) - 1);
    assert_null(strchr(why.text, '{'));
    assert_null(strstr(why.text, "PATIENT")); /* a message may have anything in it */
    assert_int_equal(why.retry_after_s != 0, verdict == SENDIT_RETRY);
}

static void with_reason(int status, const char *reason, const char *message, sendit_verdict verdict,
                        const char *code, const char *words)
{
    char body[1024];

    snprintf(
        body, sizeof(body),
        "{\"error\":{\"code\":%d,\"message\":\"PATIENT %s\",\"errors\":[{\"domain\":\"global\","
        "\"reason\":\"%s\",\"message\":\"PATIENT\"}]}}",
        status, message, reason);
    means(status, body, verdict, code, words);
}

static void test_denied(void **state)
{
    (void)state;
    with_reason(401, "authError", "Invalid Credentials", SENDIT_FAIL, "google.denied", "401");
    with_reason(403, "forbidden", "x does not have storage.objects.create access", SENDIT_FAIL,
                "google.denied", "give it " ROLE);
    with_reason(403, "insufficientPermissions", "", SENDIT_FAIL, "google.denied", ROLE);
    with_reason(403, "accessNotConfigured", "", SENDIT_FAIL, "google.denied", "not enabled");
    with_reason(403, "billingNotEnabled", "", SENDIT_FAIL, "google.denied", "billing");
    with_reason(403, "accountDisabled", "", SENDIT_FAIL, "google.denied", "billing");
    with_reason(403, "userProjectAccessDenied", "", SENDIT_FAIL, "google.denied",
                "serviceUsageConsumer");
    with_reason(403, "forbidden", "serviceusage.services.use", SENDIT_FAIL, "google.denied",
                "serviceUsageConsumer");
    with_reason(403, "forbidden", "insufficient authentication scopes.", SENDIT_FAIL,
                "google.denied", "too few scopes");
    with_reason(403, "vpcServiceControls", "", SENDIT_FAIL, "google.denied", "perimeter");
    with_reason(403, "retentionPolicyNotMet", "", SENDIT_FAIL, "google.retention",
                "The bucket \"b\" is under retention");
    with_reason(403, "forbidden", "Permission denied on Cloud KMS key: cloudkms.x", SENDIT_FAIL,
                "google.key", "cryptoKeyEncrypterDecrypter");
    means(403,
          "{\"error\":{\"code\":403,\"status\":\"PERMISSION_DENIED\",\"message\":\"PATIENT\","
          "\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":"
          "\"SERVICE_DISABLED\"}]}}",
          SENDIT_FAIL, "google.denied", "not enabled");
    means(403, "", SENDIT_FAIL, "google.denied", ROLE);
    means(407, "", SENDIT_FAIL, "google.denied", "proxy");
}

static void test_wrong(void **state)
{
    (void)state;
    with_reason(404, "notFound", "The specified bucket does not exist.", SENDIT_FAIL,
                "google.not_found", "The bucket \"b\" is not there");
    with_reason(400, "invalid",
                "Cannot insert legacy ACL for an object when uniform bucket-level access is "
                "enabled.",
                SENDIT_FAIL, "google.acl", "predefined_acl");
    with_reason(400, "required", "Bucket is a requester pays bucket but no user project provided.",
                SENDIT_FAIL, "google.denied", "user_project");
    with_reason(400, "invalid", "Cloud KMS key is disabled", SENDIT_FAIL, "google.key", "enabled");
    with_reason(400, "invalid", "", SENDIT_FAIL, "google.request", "(status 400 invalid)");
    with_reason(409, "conflict", "", SENDIT_FAIL, "google.conflict", "409");
    with_reason(412, "conditionNotMet", "", SENDIT_FAIL, "google.conflict", "412");
    with_reason(413, "uploadTooLarge", "", SENDIT_FAIL, "google.request", "413");
    with_reason(418, "teapot", "", SENDIT_FAIL, "google.request", "418 teapot");
    with_reason(418, "a b\\nPATIENT", "", SENDIT_FAIL, "google.request", "418");
    means(301, "", SENDIT_FAIL, "google.redirect", "301");
    means(308, "", SENDIT_FAIL, "google.redirect", "308");
}

static void test_waits(void **state)
{
    (void)state;
    with_reason(403, "quotaExceeded", "", SENDIT_RETRY, "google.quota", "quotaExceeded");
    with_reason(403, "rateLimitExceeded", "", SENDIT_RETRY, "google.busy", "fewer");
    with_reason(403, "jobRateLimitExceeded", "", SENDIT_RETRY, "google.busy", "fewer");
    with_reason(400, "invalid", "Provided CRC32C \\\"x\\\" doesn't match calculated CRC32C",
                SENDIT_RETRY, "google.damaged", "damaged");
    means(410, "", SENDIT_RETRY, "google.gone", "410");
    means(408, "", SENDIT_RETRY, "google.busy", "408");
    means(429, "", SENDIT_RETRY, "google.busy", "429");
    means(500, "<html>", SENDIT_RETRY, "google.busy", "500");
    means(503, "{", SENDIT_RETRY, "google.busy", "503");
    means(200, "<html>", SENDIT_RETRY, "google.html", "200");
    means(200, " \r\n<!DOCTYPE html>", SENDIT_RETRY, "google.html", "200");
    means(403, "<HTML><body>blocked by your proxy", SENDIT_RETRY, "google.html", "403");
    means(404, "\xef\xbb\xbf<html>", SENDIT_RETRY, "google.html", "404");
    means(200, "{\"name\":\"PATIENT", SENDIT_RETRY, "google.json", "cut off");
    means(200, "", SENDIT_RETRY, "google.json", "cut off");
}

static void test_quota_parks(void **state)
{
    struct google_answer answer = {.end = GOOGLE_ANSWERED,
                                   .status = 403,
                                   .body = "",
                                   .reason = "quotaExceeded",
                                   .message = ""};
    struct sendit_why why = {0};

    (void)state;
    assert_int_equal(google_verdict(&answer, BUCKET, ROLE, &why), SENDIT_RETRY);
    assert_int_equal(why.retry_after_s, 1800);
    answer.retry_after_s = 7200;
    google_verdict(&answer, BUCKET, ROLE, &why);
    assert_int_equal(why.retry_after_s, 7200);
}

static void test_long_names(void **state)
{
    struct google_answer answer = {
        .end = GOOGLE_ANSWERED, .status = 404, .body = "", .reason = "", .message = ""};
    struct sendit_why why = {0};
    char what[600];

    (void)state;
    memset(what, 'x', sizeof(what) - 1);
    what[sizeof(what) - 1] = '\0';
    google_verdict(&answer, what, ROLE, &why);
    assert_int_equal(strlen(why.text), sizeof(why.text) - 1);
    google_verdict(&answer, "{role} {what} {x", ROLE, &why); /* not taken for a place itself */
    assert_non_null(strstr(why.text, "{role} {what} {x is not there"));
}

static void reads(const char *body, const char *reason, const char *message)
{
    struct google_error error;

    error_read(&error, body, strlen(body));
    assert_string_equal(error.reason, reason);
    assert_string_equal(error.message, message);
}

static void test_bodies(void **state)
{
    static char deep[200000], large[MAX_ERROR + 64];

    (void)state;
    reads("", "", "");
    reads("null", "", "null"); /* only matched with */
    reads("[]", "", "");
    reads("{}", "", "");
    reads("{\"error\":null}", "", "");
    reads("{\"error\":[]}", "", "");
    reads("{\"error\":{\"errors\":{},\"message\":7}}", "", "");
    reads("{\"error\":{\"errors\":[],\"message\":\"m\"}}", "", "m");
    reads("{\"error\":{\"errors\":[7],\"status\":\"ABORTED\"}}", "ABORTED", "");
    reads("{\"error\":{\"errors\":[{\"reason\":\"a\"},{\"reason\":\"b\"}]}}", "a", "");
    reads("{\"error\":{\"errors\":[{\"reason\":\"no word\"}],\"status\":\"X\"}}", "X", "");
    reads("{\"error\":{\"errors\":[{\"reason\":"
          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}]}}",
          "", "");
    reads("{\"error\":\"invalid_grant\",\"error_description\":\"why\"}", "invalid_grant", "why");
    reads("Not Found", "", "Not Found");
    reads("<html>Not Found</html>", "", "");
    memset(deep, '[', sizeof(deep) - 1);
    reads(deep, "", deep + sizeof(deep) - MAX_MESSAGE);
    memset(large, ' ', sizeof(large) - 1);
    memcpy(large, "{\"error\":\"x\"", 12);
    large[sizeof(large) - 2] = '}';
    {
        struct google_error error;

        error_read(&error, large, sizeof(large) - 1); /* larger than an error is: not read */
        assert_string_equal(error.reason, "");
        error_read(&error, large, 0);
        assert_string_equal(error.reason, "");
    }
}

static void test_range(void **state)
{
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes=0-",
                                      "bytes=0--1",
                                      "bytes=0-x",
                                      "bytes=1-9",
                                      "bytes=0-9 ",
                                      "bytes 0-9/10",
                                      "bytes=0-9,",
                                      "bytes=0-9/10",
                                      "bytes=-9",
                                      "BYTES=0-9",
                                      "bytes=0- 9",
                                      "bytes=0-18446744073709551615",
                                      "bytes=0-18446744073709551616"};

    (void)state;
    assert_int_equal(google_stored(NULL), 0);
    assert_int_equal(google_stored("bytes=0-0"), 1);
    assert_int_equal(google_stored("bytes=0-262143"), 262144);
    assert_true(google_stored("bytes=0-18446744073709551614") == UINT64_MAX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(google_stored(bad[i]) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_denied),     cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_waits),      cmocka_unit_test(test_quota_parks),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
