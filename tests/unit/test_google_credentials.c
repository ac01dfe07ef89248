/* SPDX-License-Identifier: Apache-2.0 */
/* test_google_credentials.c - files of credentials that are right and many that are not, options,
 * and the assertion of a service account, checked with its public key. */
#include "fake_google.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SCOPE "https://www.googleapis.com/auth/devstorage.read_write"

static char *good_pem, *made; /* a key; the text of a file */

static struct fake_reply nobody(const struct fake_ask *ask)
{
    (void)ask;
    abort(); /* opening asks nobody */
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fake_answer = nobody;
    return 0;
}

static int once(void **state)
{
    (void)state;
    good_pem = fake_pem("RSA", 2048, NULL);
    return 0;
}

static int after_all(void **state)
{
    (void)state;
    free(good_pem);
    free(made);
    fake_reset();
    return 0;
}

/* A file of a service account with `pem`; `more` are further members, which end with a comma. */
static const char *service_account(const char *pem, const char *more)
{
    json_t *key = json_string(pem);
    char *text = json_dumps(key, JSON_ENCODE_ANY);
    size_t size = strlen(text) + strlen(more) + 512;

    free(made);
    made = malloc(size);
    snprintf(made, size,
             "{%s\"type\":\"service_account\",\"project_id\":\"my-project\",\"private_key_id\":"
             "\"k1\",\"private_key\":%s,\"client_email\":\"sendit@my-project.iam.gserviceaccount"
             ".com\",\"token_uri\":\"" GOOGLE_TOKEN_URL "\"}",
             more, text);
    free(text);
    json_decref(key);
    return made;
}

static void refused_with(const char *text, const char *code, const char *words)
{
    struct google *google = NULL;
    struct sendit_why why = {0};

    fake_credentials = text;
    if (text)
        fake_secret_result = SENDIT_OK;
    assert_int_equal(google_open(&fake_host, SCOPE, &google, &why), SENDIT_FAIL);
    assert_null(google);
    assert_string_equal(why.code, code);
    if (!strstr(why.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, why.text);
    assert_true(strlen(why.text) < sizeof(why.text) - 1); /* the sentence was not cut */
    assert_int_equal(why.text[strlen(why.text) - 1] == '.' || why.text[strlen(why.text) - 1] == '?',
                     1);
}

static void refused(const char *text, const char *words)
{
    refused_with(text, "google.credentials", words);
}

static struct google *opened(const char *text)
{
    struct google *google = NULL;
    struct sendit_why why = {0};

    fake_credentials = text;
    fake_secret_result = text ? SENDIT_OK : SENDIT_EABSENT;
    if (google_open(&fake_host, SCOPE, &google, &why) != SENDIT_PASS)
        fail_msg("%s", why.text);
    return google;
}

/* ---- files ---- */

static void test_good(void **state)
{
    struct google *google = opened(service_account(good_pem, ""));

    (void)state;
    assert_int_equal(google->kind, KIND_SERVICE_ACCOUNT);
    assert_string_equal(google_project(google), "my-project");
    assert_string_equal(google_endpoint(google), "https://storage.googleapis.com");
    google_close(google);
    google = opened("{\"type\":\"authorized_user\",\"client_id\":\"a\",\"client_secret\":\"b\","
                    "\"refresh_token\":\"c\",\"quota_project_id\":\"payer\",\"account\":\"\","
                    "\"universe_domain\":\"googleapis.com\"}");
    assert_int_equal(google->kind, KIND_AUTHORIZED_USER);
    assert_null(google_project(google));
    assert_string_equal(google->user_project, "payer");
    google_close(google);
}

static void test_no_json(void **state)
{
    (void)state;
    refused("", "is empty");
    refused(" \n\t\r\n", "is empty");
    refused("{", "no JSON object");
    refused("{\"type\":\"service_account\",\"private_key\":\"-----BEGIN", "no JSON object");
    refused("[]", "no JSON object");
    refused("\"service_account\"", "no JSON object");
    refused("-----BEGIN PRIVATE KEY-----", "no JSON object");
    refused("<html></html>", "no JSON object");
    refused("{\"type\":\"service_account\",\"type\":\"authorized_user\"}", "no JSON object");
    refused("{\"type\":\"\xff\"}", "no JSON object");
}

static void test_types(void **state)
{
    (void)state;
    refused("{}", "have no type");
    refused("{\"type\":7}", "have no type");
    refused("{\"type\":\"\"}", "have no type");
    refused("{\"type\":\"robot\"}", "a type that is not known");
    refused("{\"type\":\"Service_Account\"}", "a type that is not known");
    refused("{\"type\":\"external_account\",\"audience\":\"x\"}", "type external_account (");
    refused("{\"type\":\"external_account_authorized_user\"}", "external_account_authorized_user");
    refused("{\"type\":\"impersonated_service_account\"}", "impersonation is not");
    refused("{\"type\":\"gdch_service_account\"}", "gdch_service_account");
    refused("{\"installed\":{\"client_id\":\"x\"}}", "name an application");
    refused("{\"web\":{\"client_id\":\"x\"}}", "name an application");
}

static void test_user(void **state)
{
    (void)state;
    refused("{\"type\":\"authorized_user\"}", "lack refresh_token");
    refused("{\"type\":\"authorized_user\",\"client_id\":\"a\",\"client_secret\":\"b\"}",
            "lack refresh_token");
    refused("{\"type\":\"authorized_user\",\"client_id\":\"a\",\"client_secret\":\"b\","
            "\"refresh_token\":\"\"}",
            "lack refresh_token");
    refused("{\"type\":\"authorized_user\",\"client_id\":\"a\",\"client_secret\":\"b\","
            "\"refresh_token\":\"c\\nd\"}",
            "lack refresh_token");
    refused("{\"type\":\"authorized_user\",\"client_id\":\"a\",\"client_secret\":[\"b\"],"
            "\"refresh_token\":\"c\"}",
            "lack refresh_token");
    refused("{\"type\":\"authorized_user\",\"client_id\":\"a\",\"client_secret\":\"b\","
            "\"refresh_token\":\"c\",\"token_uri\":\"https://elsewhere.example/token\"}",
            "not the option token_url");
}

static void test_keys(void **state)
{
    char *weak = fake_pem("RSA", 1024, NULL), *ec = fake_pem("EC", 0, NULL);
    char *edwards = fake_pem("ED25519", 0, NULL), *locked = fake_pem("RSA", 2048, "hush");
    char *cut = strndup(good_pem, strlen(good_pem) / 2), *bent = strdup(good_pem);

    (void)state;
    bent[strlen(bent) / 2] = '!';
    refused(service_account("", ""), "no PEM key");
    refused(service_account("MIIE", ""), "no PEM key");
    refused(service_account(cut, ""), "no PEM key");
    refused(service_account(bent, ""), "no PEM key");
    refused(service_account(locked, ""), "no PEM key"); /* and nobody is asked for a password */
    refused(service_account(weak, ""), "less than 2048 bits");
    refused(service_account(ec, ""), "no RSA key");
    refused(service_account(edwards, ""), "no RSA key");
    refused("{\"type\":\"service_account\",\"client_email\":\"a@b\"}", "no private_key");
    refused("{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key\":null}",
            "no private_key");
    refused("{\"type\":\"service_account\",\"private_key\":\"x\"}", "no client_email");
    refused("{\"type\":\"service_account\",\"client_email\":\"a b\",\"private_key\":\"x\"}",
            "no client_email");
    free(weak);
    free(ec);
    free(edwards);
    free(locked);
    free(cut);
    free(bent);
}

static void test_elsewhere(void **state)
{
    (void)state;
    snprintf(fake_token_url, sizeof(fake_token_url), "https://oauth2.example/token");
    refused(service_account(good_pem, ""), "not the option token_url");
    snprintf(fake_token_url, sizeof(fake_token_url), GOOGLE_TOKEN_URL "/");
    refused(service_account(good_pem, ""), "not the option token_url");
    snprintf(fake_token_url, sizeof(fake_token_url), GOOGLE_TOKEN_URL);
    refused(service_account(good_pem, "\"universe_domain\":\"cloud.example\","), "universe_domain");
    refused(service_account(good_pem, "\"universe_domain\":null,"), "universe_domain");
}

static void test_places(void **state)
{
    struct google *google;

    (void)state;
    fake_secret_result = SENDIT_EDENIED;
    refused(NULL, "chmod 600");
    fake_secret_result = SENDIT_EIO;
    refused(NULL, "cannot be read");
    fake_secret_result = SENDIT_ECORRUPT;
    refused(NULL, "64 KiB");
    setup(NULL);
    google = opened(NULL);
    assert_int_equal(google->kind, KIND_METADATA);
    google_close(google);
    snprintf(fake_endpoint, sizeof(fake_endpoint), "http://localhost:9000");
    google = opened(NULL);
    assert_int_equal(google->kind, KIND_ANONYMOUS);
    google_close(google);
    snprintf(fake_metadata_url, sizeof(fake_metadata_url), "http://127.0.0.1:9001");
    google = opened(NULL);
    assert_int_equal(google->kind, KIND_METADATA);
    google_close(google);
    setup(NULL);
    snprintf(fake_endpoint, sizeof(fake_endpoint), "https://127.0.0.1.example");
    google = opened(NULL);
    assert_int_equal(google->kind, KIND_METADATA); /* no loopback, and not anonymous */
    google_close(google);
}

/* ---- options ---- */

static void test_options(void **state)
{
    static const char *const headers[][2] = {{"x", NULL},
                                             {": x", NULL},
                                             {"x y: z", NULL},
                                             {"X-A: a\nX-B: b", NULL},
                                             {"Authorization: Bearer x", NULL},
                                             {"authorization: Bearer x", NULL},
                                             {"Host: elsewhere", NULL}};
    struct google *google;

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        fake_headers = headers[i];
        refused_with(NULL, "google.options", "request_header");
    }
    setup(NULL);
    fake_user_project = "no project";
    refused_with(NULL, "google.options", "user_project");
    fake_user_project = "a\r\nX-Evil: 1";
    refused_with(NULL, "google.options", "user_project");
    setup(NULL);
    snprintf(fake_endpoint, sizeof(fake_endpoint), "storage.googleapis.com");
    refused_with(NULL, "google.options", "endpoint");
    setup(NULL);
    snprintf(fake_metadata_url, sizeof(fake_metadata_url), "http:///x");
    refused_with(NULL, "google.options", "metadata_url");
    setup(NULL);
    snprintf(fake_endpoint, sizeof(fake_endpoint), "http://[::1]:9000/storage/v1/");
    google = opened(NULL);
    assert_string_equal(google_endpoint(google), "http://[::1]:9000");
    assert_int_equal(google->kind, KIND_ANONYMOUS);
    google_close(google);
}

static void test_project(void **state)
{
    struct google *google;

    (void)state;
    setenv("GCLOUD_PROJECT", "second", 1);
    google = opened(service_account(good_pem, ""));
    assert_string_equal(google_project(google), "second");
    google_close(google);
    setenv("GOOGLE_CLOUD_PROJECT", "first", 1);
    google = opened(service_account(good_pem, ""));
    assert_string_equal(google_project(google), "first");
    google_close(google);
    setenv("GOOGLE_CLOUD_PROJECT", "not/a project", 1);
    setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer", 1);
    google = opened(service_account(good_pem, ""));
    assert_string_equal(google_project(google), "second");
    assert_string_equal(google->user_project, "payer");
    google_close(google);
    fake_user_project = "option";
    google = opened(service_account(good_pem, ""));
    assert_string_equal(google->user_project, "option");
    google_close(google);
}

/* ---- the assertion ---- */

/* Base64 of URLs; the bytes, and their number. */
static size_t unpack(const char *text, size_t n, unsigned char *to)
{
    char plain[4096];
    size_t padded = (n + 3) / 4 * 4;

    assert_true(padded < sizeof(plain));
    for (size_t i = 0; i < n; i++) {
        assert_non_null(
            strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", text[i]));
        plain[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    }
    memset(plain + n, '=', padded - n);
    assert_true(EVP_DecodeBlock(to, (unsigned char *)plain, (int)padded) >= 0);
    return n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
}

static json_t *part_of(const char *text, size_t n)
{
    unsigned char bytes[4096];
    size_t length = unpack(text, n, bytes);
    json_t *json = json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES, NULL);

    assert_non_null(json);
    return json;
}

static void test_assertion(void **state)
{
    struct credentials credentials = {0};
    struct sendit_why why = {0};
    unsigned char signature[512];
    json_t *header, *claims;
    size_t first, second, n;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    char *jwt;

    (void)state;
    assert_int_equal(
        credentials_parse(&credentials, service_account(good_pem, ""), GOOGLE_TOKEN_URL, &why),
        SENDIT_PASS);
    jwt = jwt_make(&credentials, SCOPE, GOOGLE_TOKEN_URL, 1767225600999);
    assert_non_null(jwt);
    first = strcspn(jwt, ".");
    second = first + 1 + strcspn(jwt + first + 1, ".");
    header = part_of(jwt, first);
    claims = part_of(jwt + first + 1, second - first - 1);
    assert_int_equal(json_object_size(header), 3);
    assert_string_equal(json_string_value(json_object_get(header, "alg")), "RS256");
    assert_string_equal(json_string_value(json_object_get(header, "typ")), "JWT");
    assert_string_equal(json_string_value(json_object_get(header, "kid")), "k1");
    assert_int_equal(json_object_size(claims), 5);
    assert_string_equal(json_string_value(json_object_get(claims, "iss")),
                        "sendit@my-project.iam.gserviceaccount.com");
    assert_string_equal(json_string_value(json_object_get(claims, "scope")), SCOPE);
    assert_string_equal(json_string_value(json_object_get(claims, "aud")), GOOGLE_TOKEN_URL);
    assert_int_equal(json_integer_value(json_object_get(claims, "iat")), 1767225600);
    assert_int_equal(json_integer_value(json_object_get(claims, "exp")), 1767229200);
    n = unpack(jwt + second + 1, strlen(jwt + second + 1), signature);
    assert_int_equal(n, 256);
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, credentials.key), 1);
    assert_int_equal(EVP_DigestVerify(ctx, signature, n, (const unsigned char *)jwt, second), 1);
    EVP_MD_CTX_free(ctx);
    json_decref(header);
    json_decref(claims);
    free(jwt);
    credentials_fini(&credentials);
}

static void test_escape(void **state)
{
    char to[32];

    (void)state;
    google_url_escape(to, sizeof(to), "a/b c+%~._-\xc3\xa9");
    assert_string_equal(to, "a%2Fb%20c%2B%25~._-%C3%A9");
    google_url_escape(to, 4, "abc");
    assert_string_equal(to, "abc");
    google_url_escape(to, 4, "abcd");
    assert_string_equal(to, "");
    google_url_escape(to, 4, "//");
    assert_string_equal(to, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_good, setup),    cmocka_unit_test_setup(test_no_json, setup),
        cmocka_unit_test_setup(test_types, setup),   cmocka_unit_test_setup(test_user, setup),
        cmocka_unit_test_setup(test_keys, setup),    cmocka_unit_test_setup(test_elsewhere, setup),
        cmocka_unit_test_setup(test_places, setup),  cmocka_unit_test_setup(test_options, setup),
        cmocka_unit_test_setup(test_project, setup), cmocka_unit_test_setup(test_assertion, setup),
        cmocka_unit_test_setup(test_escape, setup),
    };

    return cmocka_run_group_tests(tests, once, after_all);
}
