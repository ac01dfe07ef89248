/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may: the token endpoint (service accounts by a signed JWT, users by a refresh token), the
 * metadata server, and what each request's token is good for.
 */
#include "google.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define SKEW_S 10
#define HOUR_S 3600
#define MAX_ASSERTION 16384
#define SCOPE "https://www.googleapis.com/auth/"
#define CLOUD SCOPE "cloud-platform"

/* token: {"token", "scope", "expires" (s), "uses"} */
static json_t *tokens;

static int64_t now_s(void)
{
    return now_us() / 1000000 + script_number("clock_offset", 0);
}

/* ---- the tokens ---- */

void token_replay(const json_t *value)
{
    if (!tokens)
        tokens = json_object();
    json_object_set_new(tokens, json_string_value(json_object_get(value, "token")),
                        json_deep_copy(value));
}

void token_expire_all(void)
{
    const char *name;
    json_t *value;

    json_object_foreach(tokens, name, value)
    {
        json_object_set_new(value, "expires", json_integer(0));
        journal_write("token", json_deep_copy(value));
    }
}

static void give_token(struct call *call, const char *scope)
{
    int64_t seconds = script_number("token_seconds", HOUR_S);
    int64_t real = script_number("token_real_seconds", seconds);
    unsigned char bytes[24];
    char text[64] = "ya29.";
    json_t *value;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        abort();
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(text + 5 + 2 * i, 3, "%02x", bytes[i]);
    value = json_pack("{s:s, s:s, s:I, s:I}", "token", text, "scope", scope, "expires",
                      (json_int_t)(now_us() / 1000000 + real), "uses",
                      (json_int_t)script_number("token_uses", 0));
    token_replay(value);
    journal_write("token", value);
    answer_json(call, 200,
                json_pack("{s:s, s:I, s:s}", "access_token", text, "expires_in",
                          (json_int_t)seconds, "token_type", "Bearer"));
}

/* A word of `list` is the scope. */
static int has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ' ') && (!at[length] || at[length] == ' '))
            return 1;
    return 0;
}

static int are_scopes(const char *text)
{
    static const char known[] = CLOUD " " SCOPE "cloud-platform.read-only " SCOPE "iam " SCOPE
                                      "devstorage.read_write " SCOPE "devstorage.read_only " SCOPE
                                      "devstorage.full_control " SCOPE "bigquery " SCOPE
                                      "bigquery.insertdata " SCOPE "bigquery.readonly";
    char word[128];
    int n = 0;

    while (*text) {
        size_t length = strcspn(text, " ");

        if (!length || length >= sizeof(word))
            return 0;
        memcpy(word, text, length);
        word[length] = '\0';
        if (!has_word(known, word))
            return 0;
        n++;
        text += length + (text[length] == ' ');
    }
    return n > 0;
}

/* ---- what a request may ---- */

static void no_token(struct call *call, const char *why)
{
    refuse(call, 401, why ? "authError" : "required", "%s",
           why ? why : "Anonymous caller does not have the access that this needs.");
}

int auth_scope(struct call *call, const char *scopes)
{
    const char *header = call_header(call, "Authorization");
    const char *given;
    json_t *token;
    int64_t uses;
    char word[128];

    if (call->admin || (google.anonymous && !header))
        return 1;
    if (!header || strncmp(header, "Bearer ", 7)) {
        no_token(call, NULL);
        return 0;
    }
    token = json_object_get(tokens, header + 7);
    uses = json_integer_value(json_object_get(token, "uses"));
    if (!token || uses < 0 ||
        json_integer_value(json_object_get(token, "expires")) <= now_us() / 1000000) {
        no_token(call, "Invalid Credentials");
        return 0;
    }
    if (uses)
        json_object_set_new(token, "uses", json_integer(uses > 1 ? uses - 1 : -1));
    given = json_string_value(json_object_get(token, "scope"));
    if (has_word(given, CLOUD))
        return 1;
    while (*scopes) {
        int n = 0;

        if (sscanf(scopes, "%63s%n", word, &n) != 1)
            break;
        char whole[256];

        snprintf(whole, sizeof(whole), SCOPE "%s", word);
        if (has_word(given, whole))
            return 1;
        scopes += n;
    }
    refuse(call, 403, "insufficientPermissions", "Request had insufficient authentication scopes.");
    return 0;
}

static const struct {
    const char *role, *permissions;
} roles[] = {
    {"roles/storage.objectCreator", "storage.objects.create"},
    {"roles/storage.objectViewer", "storage.objects.get storage.objects.list"},
    {"roles/storage.objectUser", "storage.objects.create storage.objects.get storage.objects.list "
                                 "storage.objects.delete storage.objects.update"},
    {"roles/storage.objectAdmin", "storage.objects.create storage.objects.get storage.objects.list "
                                  "storage.objects.delete storage.objects.update "
                                  "storage.objects.setIamPolicy"},
    {"roles/storage.legacyBucketReader", "storage.buckets.get storage.objects.list"},
    {"roles/storage.bucketViewer", "storage.buckets.get storage.buckets.list"},
    {"roles/storage.admin", "storage.buckets.get storage.objects.create storage.objects.get "
                            "storage.objects.list storage.objects.delete storage.objects.update"},
    {"roles/bigquery.jobUser", "bigquery.jobs.create"},
    {"roles/bigquery.dataEditor",
     "bigquery.datasets.create bigquery.datasets.get bigquery.tables.create bigquery.tables.get "
     "bigquery.tables.getData bigquery.tables.list bigquery.tables.update "
     "bigquery.tables.updateData"},
    {"roles/bigquery.dataViewer", "bigquery.datasets.get bigquery.tables.get "
                                  "bigquery.tables.getData bigquery.tables.list"},
    {"roles/bigquery.user", "bigquery.jobs.create bigquery.datasets.create bigquery.datasets.get "
                            "bigquery.tables.list"},
    {"roles/serviceusage.serviceUsageConsumer", "serviceusage.services.use"},
};

/* "roles" are all that the account has, and "denied" permissions are taken from it. */
static int has_permission(const char *permission)
{
    if (script_lists("denied", permission))
        return 0;
    if (!script_get("roles"))
        return 1;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
        if (script_lists("roles", roles[i].role) && has_word(roles[i].permissions, permission))
            return 1;
    return 0;
}

int auth_has(const struct call *call, const char *permission)
{
    return call->admin || has_permission(permission);
}

int auth_may(struct call *call, const char *permission, const char *resource)
{
    if (auth_has(call, permission))
        return 1;
    refuse(
        call, 403, strstr(permission, "bigquery") ? "accessDenied" : "forbidden",
        "The caller does not have %s access to %s. Permission '%s' denied on resource (or it may "
        "not exist).",
        permission, resource, permission);
    return 0;
}

/* ---- the token endpoint ---- */

static void no_grant(struct call *call, unsigned status, const char *error, const char *text)
{
    call->what = text;
    answer_json(call, status, json_pack("{s:s, s:s}", "error", error, "error_description", text));
}

static unsigned char *base64url(const char *text, size_t length, size_t *ret_length)
{
    unsigned char *to = malloc(length + 4);
    unsigned bits = 0;
    int n_bits = 0;
    size_t n = 0;

    for (size_t i = 0; to && i < length; i++) {
        static const char digits[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const char *at = text[i] ? strchr(digits, text[i]) : NULL;

        if (!at) {
            free(to);
            return NULL;
        }
        bits = (bits << 6 | (unsigned)(at - digits)) & 0xffffff;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            to[n++] = (unsigned char)(bits >> n_bits);
        }
    }
    *ret_length = n;
    return to;
}

static json_t *jwt_part(const char *text, size_t length)
{
    size_t n = 0;
    unsigned char *bytes = base64url(text, length, &n);
    json_t *value = bytes ? json_loadb((char *)bytes, n, JSON_REJECT_DUPLICATES, NULL) : NULL;

    free(bytes);
    return value;
}

static int is_signed(const char *text, size_t length, const char *signature, const char *pem)
{
    BIO *bio = pem ? BIO_new_mem_buf(pem, -1) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = 0;
    unsigned char *bytes = base64url(signature, strlen(signature), &n);
    int good = key && ctx && bytes && n &&
               EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestVerify(ctx, bytes, n, (const unsigned char *)text, length) == 1;

    free(bytes);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return good;
}

static const json_t *find_account(const char *member, const char *value, const char *list)
{
    json_t *one;
    size_t i;

    json_array_foreach(script_get(list), i, one)
    {
        const char *text = json_string_value(json_object_get(one, member));

        if (value && text && !strcmp(text, value))
            return one;
    }
    return NULL;
}

/* NULL if the claims are right; else what Google says. */
static const char *wrong_claims(struct call *call, const json_t *claims)
{
    const char *aud = json_string_value(json_object_get(claims, "aud"));
    const json_t *iat = json_object_get(claims, "iat"), *exp = json_object_get(claims, "exp");
    const char *scope = json_string_value(json_object_get(claims, "scope"));
    int64_t from = json_integer_value(iat), to = json_integer_value(exp), now = now_s();
    char *origin = call_origin(call), own[512];

    snprintf(own, sizeof(own), "%s/token", origin ? origin : "");
    free(origin);
    if (!aud || (strcmp(aud, own) && !script_lists("audiences", aud)))
        return "Invalid JWT: Failed audience check. The right audience is this endpoint.";
    if (!json_is_integer(iat) || !json_is_integer(exp) || from > now + SKEW_S || to <= now ||
        to <= from || to - from > HOUR_S)
        return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
               "timeframe. Check your iat and exp values in the JWT claim.";
    if (!scope || !*scope)
        return "Invalid OAuth scope or ID token audience provided.";
    return NULL;
}

static void grant_jwt(struct call *call, const char *assertion)
{
    const char *dot = assertion ? strchr(assertion, '.') : NULL;
    const char *last = dot ? strchr(dot + 1, '.') : NULL, *wrong = NULL;
    json_t *head = last ? jwt_part(assertion, (size_t)(dot - assertion)) : NULL;
    json_t *claims = last ? jwt_part(dot + 1, (size_t)(last - dot - 1)) : NULL;
    const char *alg = json_string_value(json_object_get(head, "alg"));
    const char *type = json_string_value(json_object_get(head, "typ"));
    const char *id = json_string_value(json_object_get(head, "kid"));
    const json_t *account = find_account("email", json_string_value(json_object_get(claims, "iss")),
                                         "service_accounts");
    const char *key_id = json_string_value(json_object_get(account, "key_id"));
    const char *scope = json_string_value(json_object_get(claims, "scope"));

    if (!head || !claims || !alg || strcmp(alg, "RS256") || (type && strcmp(type, "JWT")))
        wrong = "Bad Request";
    else if (!account || !key_id)
        wrong = "Invalid grant: account not found";
    else if ((id && strcmp(id, key_id)) ||
             !is_signed(assertion, (size_t)(last - assertion), last + 1,
                        json_string_value(json_object_get(account, "public_key"))))
        wrong = "Invalid JWT Signature.";
    else
        wrong = wrong_claims(call, claims);
    if (wrong)
        no_grant(call, 400, "invalid_grant", wrong);
    else if (!are_scopes(scope))
        no_grant(call, 400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    else
        give_token(call, scope);
    json_decref(head);
    json_decref(claims);
}

static void grant_refresh(struct call *call, json_t *form)
{
    const char *token = json_string_value(json_object_get(form, "refresh_token"));
    const char *secret = json_string_value(json_object_get(form, "client_secret"));
    const json_t *user =
        find_account("client_id", json_string_value(json_object_get(form, "client_id")), "users");
    const char *own = json_string_value(json_object_get(user, "client_secret"));
    const char *good = json_string_value(json_object_get(user, "refresh_token"));
    const char *scope = json_string_value(json_object_get(user, "scope"));

    if (!user || !own || !secret || strcmp(own, secret))
        no_grant(call, 401, "invalid_client", "The OAuth client was not found.");
    else if (!token || !good || strcmp(token, good))
        no_grant(call, 400, "invalid_grant", "Token has been expired or revoked.");
    else
        give_token(call, scope ? scope : CLOUD);
}

/* The form, into call->asked; 0 if it is none. */
static int read_form(struct call *call)
{
    const char *type = call_header(call, "Content-Type");
    const char *at = call->body;
    size_t left = call->length;
    json_t *form;

    if (!type || strncasecmp(type, "application/x-www-form-urlencoded", 33) || !left ||
        left > MAX_ASSERTION || call_header(call, "Authorization"))
        return 0;
    form = call->asked = json_object();
    while (left) {
        const char *end = memchr(at, '&', left);
        size_t length = end ? (size_t)(end - at) : left;
        const char *equals = memchr(at, '=', length);
        size_t name = equals ? (size_t)(equals - at) : length;
        char *key = percent_decode(at, name, 1);
        char *value = equals ? percent_decode(equals + 1, length - name - 1, 1) : NULL;
        int bad = !key || !value || json_object_get(form, key) ||
                  json_object_set_new(form, key, json_string(value));

        free(key);
        free(value);
        if (bad)
            return 0;
        at += length + (end != NULL);
        left -= length + (end != NULL);
    }
    return 1;
}

void token_post(struct call *call)
{
    const char *grant;

    if (!read_form(call)) {
        no_grant(call, 400, "invalid_request", "The form is not one.");
        return;
    }
    grant = json_string_value(json_object_get(call->asked, "grant_type"));
    if (grant && !strcmp(grant, "urn:ietf:params:oauth:grant-type:jwt-bearer"))
        grant_jwt(call, json_string_value(json_object_get(call->asked, "assertion")));
    else if (grant && !strcmp(grant, "refresh_token"))
        grant_refresh(call, call->asked);
    else
        no_grant(call, 400, "unsupported_grant_type", "Invalid grant_type");
}

/* ---- the metadata server ---- */

static void say(struct call *call, const char *text)
{
    call->answer.status = 200;
    call->answer.text = strdup(text);
    call->answer.length = strlen(text);
    snprintf(call->answer.type, sizeof(call->answer.type), "application/text");
}

static void metadata_token(struct call *call, const json_t *own)
{
    const char *scopes = call_query(call, "scopes");
    const char *usual = json_string_value(json_object_get(own, "scope"));
    char *words = strdup(scopes ? scopes : usual ? usual : CLOUD);

    for (char *at = words; at && *at; at++)
        if (*at == ',')
            *at = ' ';
    if (words && are_scopes(words))
        give_token(call, words);
    else
        refuse(call, 400, "invalid", "The scopes are not known.");
    free(words);
}

void metadata_get(struct call *call)
{
    const char *flavor = call_header(call, "Metadata-Flavor");
    json_t *own = script_get("metadata"), *email = json_object_get(own, "email");
    const char *path = call->path;

    if (!own) {
        refuse(call, 404, "notFound", "There is no metadata server.");
        return;
    }
    if (!fault_is(call, "no_flavor"))
        answer_header(call, "Metadata-Flavor", "Google");
    if (call_header(call, "X-Forwarded-For") ||
        (strcmp(path, "/") && (!flavor || strcmp(flavor, "Google"))))
        refuse(call, 403, "forbidden", "Missing Metadata-Flavor:Google header.");
    else if (!strcmp(path, "/"))
        say(call, "computeMetadata/\n");
    else if (!strcmp(path, "/computeMetadata/v1/project/project-id"))
        say(call, json_string_value(json_object_get(own, "project")));
    else if (!strcmp(path, "/computeMetadata/v1/instance"))
        say(call, "service-accounts/\n");
    else if (!strcmp(path, "/computeMetadata/v1/instance/service-accounts/default/email") && email)
        say(call, json_string_value(email));
    else if (!strcmp(path, "/computeMetadata/v1/instance/service-accounts/default/token") && email)
        metadata_token(call, own);
    else
        refuse(call, 404, "notFound", "Not Found");
}
