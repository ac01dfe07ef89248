/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google_token.c - the token: in memory, renewed before it ends, by one request for all that wait.
 *
 * While the old one holds, everybody goes on with it; a renewal that fails for now is tried again a
 * little later.  Without one, calls wait for the renewal, and fail as it fails.
 */
#include "google_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_date.h"

#define TOKEN_TIMEOUT_MS 30000u
#define TOKEN_MAX_BODY 65536u
#define CLOCK_OFF_S 120 /* what Google lets pass is about five minutes */

static void wipe_free(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

/* ---- what a token endpoint says ---- */

static sendit_verdict refuse(struct sendit_why *why, const char *code, const char *text)
{
    return sendit_because(why, SENDIT_FAIL, code, "%s", text);
}

static bool says(const struct google_error *error, const char *words)
{
    return strstr(error->message, words) != NULL;
}

/* An assertion is refused that is from another time; the answer says what time it is there. */
static sendit_verdict wrong_clock(const struct google *google,
                                  const struct sendit_http_response *response,
                                  struct sendit_why *why)
{
    const char *date = google->http->header(response, "Date");
    int64_t there, off = 0;

    if (date && http_date_read(date, &there))
        off = google_now_ms(google) / 1000 - there;
    if (off > -CLOCK_OFF_S && off < CLOCK_OFF_S)
        return refuse(why, "google.clock",
                      "Google takes the clock of this machine for wrong, and gives no token: set "
                      "the clock right.");
    return sendit_because(why, SENDIT_FAIL, "google.clock",
                          "The clock of this machine is %lld minutes %s Google's, which gives no "
                          "token therefore: set the clock right.",
                          (long long)((off < 0 ? -off : off) + 30) / 60,
                          off < 0 ? "behind" : "ahead of");
}

static sendit_verdict bad_grant(const struct google *google,
                                const struct sendit_http_response *response,
                                const struct google_error *error, struct sendit_why *why)
{
    if (google->kind == KIND_AUTHORIZED_USER)
        return refuse(why, "google.token",
                      "The login of the user has expired or was revoked: run gcloud auth "
                      "application-default login, or use the key of a service account.");
    if (says(error, "iat") || says(error, "timeframe") || says(error, "short-lived") ||
        says(error, "expired"))
        return wrong_clock(google, response, why);
    if (says(error, "ignature"))
        return refuse(why, "google.token",
                      "Google does not know the key of the service account any more: it was "
                      "deleted or has expired; make a new one.");
    if (says(error, "ccount") || says(error, "mail"))
        return refuse(why, "google.token",
                      "Google does not know the service account: it was deleted or disabled, or "
                      "its client_email is wrong.");
    return refuse(why, "google.token",
                  "Google gives no token for the key of the service account: the key or the "
                  "account was deleted or disabled.");
}

static sendit_verdict of_metadata(int status, struct sendit_why *why)
{
    if (status == 404)
        return refuse(why, "google.credentials",
                      "This machine has no service account: attach one to it, or name a file by "
                      "GOOGLE_APPLICATION_CREDENTIALS.");
    return sendit_because(why, SENDIT_FAIL, "google.metadata",
                          "The metadata server gives no token (status %d): see the service account "
                          "of this machine.",
                          status);
}

/* Any status but 200. */
static sendit_verdict of_status(const struct google *google,
                                const struct sendit_http_response *response, struct sendit_why *why)
{
    struct google_error error;
    int status = response->status;

    error_read(&error, response->body, response->length);
    if (status_is_transient(status)) {
        why->retry_after_s = retry_after(google, response);
        return sendit_because(why, SENDIT_RETRY, "google.busy",
                              "Google gives no token for now (status %d).", status);
    }
    if (google->kind == KIND_METADATA)
        return of_metadata(status, why);
    if (!strcmp(error.reason, "invalid_grant"))
        return bad_grant(google, response, &error, why);
    if (strstr(error.reason, "_client"))
        return sendit_because(
            why, SENDIT_FAIL, "google.token",
            "Google does not know the application of the credentials (%s): log in "
            "again, or use the key of a service account.",
            error.reason);
    if (error_is_html(response->body, response->length))
        return sendit_because(
            why, SENDIT_RETRY, "google.html",
            "A web page came in place of a token (status %d): a proxy or a portal "
            "on the way?",
            status);
    return sendit_because(why, SENDIT_FAIL, "google.token",
                          "Google gives no token (status %d%s%s): see the credentials.", status,
                          error.reason[0] ? ", " : "", error.reason);
}

/* It goes into a header, and nothing may end that. */
static bool is_token(const char *text)
{
    for (const char *at = text; at && *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at > 126)
            return false;
    return text && *text && strlen(text) <= MAX_TOKEN;
}

static sendit_verdict read_fields(struct token_answer *ret, json_t *json, struct sendit_why *why)
{
    const char *token = json_string_value(json_object_get(json, "access_token"));
    const char *type = json_string_value(json_object_get(json, "token_type"));
    const json_t *life = json_object_get(json, "expires_in");
    size_t length = token ? strlen(token) : 0;

    if (!is_token(token) || !json_is_integer(life) || json_integer_value(life) < 1 ||
        (type && strcasecmp(type, "Bearer") != 0))
        return refuse(why, "google.token",
                      "What should be a token has no access_token, expires_in or token_type that "
                      "can be used: see token_url.");
    ret->token = malloc(length + 1);
    if (!ret->token)
        return sendit_because(why, SENDIT_RETRY, "google.memory", "There is no memory.");
    memcpy(ret->token, token, length + 1);
    explicit_bzero((char *)(uintptr_t)token, length);
    ret->life_s = json_integer_value(life) < MAX_LIFE_S ? json_integer_value(life) : MAX_LIFE_S;
    return SENDIT_PASS;
}

sendit_verdict token_read(struct token_answer *ret, const struct google *google,
                          const struct sendit_http_response *response, struct sendit_why *why)
{
    const char *flavor = google->http->header(response, "Metadata-Flavor");
    sendit_verdict verdict;
    json_t *json;

    if (google->kind == KIND_METADATA && !status_is_transient(response->status) &&
        (!flavor || strcmp(flavor, "Google") != 0))
        return refuse(why, "google.metadata",
                      "What answers at metadata_url is not Google's metadata server: name a file "
                      "by GOOGLE_APPLICATION_CREDENTIALS.");
    if (response->status != 200)
        return of_status(google, response, why);
    if (error_is_html(response->body, response->length))
        return sendit_because(why, SENDIT_RETRY, "google.html",
                              "A web page came in place of a token: a proxy or a portal on the "
                              "way?");
    json = json_loadb(response->body, response->length, JSON_REJECT_DUPLICATES, NULL);
    if (!json)
        return sendit_because(why, SENDIT_RETRY, "google.json",
                              "What should be a token is cut off, or no JSON.");
    verdict = read_fields(ret, json, why);
    json_decref(json);
    return verdict;
}

/* ---- asking for one ---- */

static void add_field(char **text, size_t *left, const char *name, const char *value)
{
    int n = snprintf(*text, *left, "&%s=", name);

    google_url_escape(*text + n, *left - (size_t)n, value);
    n += (int)strlen(*text + n);
    *text += n;
    *left -= (size_t)n;
}

static char *user_body(const struct credentials *credentials)
{
    static const char grant[] = "grant_type=refresh_token";
    size_t left = 128 + 3 * (strlen(credentials->refresh_token) + strlen(credentials->client_id) +
                             strlen(credentials->client_secret));
    char *body = malloc(left), *at = body;

    if (!body)
        return NULL;
    memcpy(at, grant, sizeof(grant));
    at += sizeof(grant) - 1;
    left -= sizeof(grant) - 1;
    add_field(&at, &left, "client_id", credentials->client_id);
    add_field(&at, &left, "client_secret", credentials->client_secret);
    add_field(&at, &left, "refresh_token", credentials->refresh_token);
    return body;
}

static char *service_body(const struct google *google, const struct credentials *credentials)
{
    static const char grant[] =
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    char *jwt = jwt_make(credentials, google->scope, google->token_url, google_now_ms(google));
    size_t n = jwt ? strlen(jwt) : 0;
    char *body = jwt ? malloc(sizeof(grant) + n) : NULL;

    if (body) {
        memcpy(body, grant, sizeof(grant) - 1);
        memcpy(body + sizeof(grant) - 1, jwt, n + 1);
    }
    wipe_free(jwt);
    return body;
}

/* From the credentials as they are today. */
static sendit_verdict make_body(struct google *google, struct sendit_why *why)
{
    struct credentials credentials = {0};
    sendit_verdict verdict = credentials_read(&credentials, google, why);
    char *body = NULL;

    if (verdict == SENDIT_PASS && credentials.kind == KIND_SERVICE_ACCOUNT)
        body = service_body(google, &credentials);
    else if (verdict == SENDIT_PASS && credentials.kind == KIND_AUTHORIZED_USER)
        body = user_body(&credentials);
    else if (verdict == SENDIT_PASS)
        verdict = refuse(why, "google.credentials",
                         "The file of credentials was there at the start, and is gone.");
    if (verdict == SENDIT_PASS && !body)
        verdict = sendit_because(why, SENDIT_RETRY, "google.memory",
                                 "There is no memory to ask for a token.");
    if (verdict == SENDIT_PASS)
        google->kind = credentials.kind;
    credentials_fini(&credentials);
    wipe_free(google->renewal.body);
    google->renewal.body = body;
    return verdict;
}

static void metadata_address(const struct google *google, char *to, size_t size)
{
    size_t n;

    snprintf(to, size, "%s/computeMetadata/v1/instance/service-accounts/default/token?scopes=",
             google->metadata);
    n = strlen(to);
    google_url_escape(to + n, size - n, google->scope);
    while ((to = strstr(to, "%20"))) { /* they are separated by commas there */
        memcpy(to, "%2C", 3);
        to += 3;
    }
}

/* ---- renewing ---- */

static void renewed(struct google *google, const struct token_answer *answer)
{
    static const char name[] = "Authorization: Bearer ";
    struct token *token = &google->token;
    int64_t now = google_now_ms(google), life = answer->life_s * 1000, early;
    size_t n = strlen(answer->token);
    char *header = malloc(sizeof(name) + n);

    if (!header) {
        google->renewal.end = GOOGLE_AWAY;
        sendit_because(&google->renewal.why, SENDIT_RETRY, "google.memory", "There is no memory.");
        return;
    }
    memcpy(header, name, sizeof(name) - 1);
    memcpy(header + sizeof(name) - 1, answer->token, n + 1);
    wipe_free(token->header);
    early = google->kind == KIND_METADATA ? EARLY_METADATA_MS : EARLY_MS;
    if (early > life / 2) /* a short one is not renewed all the time */
        early = life / 2;
    *token = (struct token){.header = header,
                            .until_ms = now + life - (life / 10 < SPARE_MS ? life / 10 : SPARE_MS),
                            .early_ms = now + life - early,
                            .serial = token->serial + 1};
}

/* Those that wait go on with what there is. */
static void finish(struct google *google)
{
    struct renewal *renewal = &google->renewal;
    int64_t pause = (int64_t)renewal->why.retry_after_s * 1000;

    wipe_free(renewal->body);
    renewal->body = NULL;
    renewal->running = false;
    if (renewal->end) {
        google->token.next_ms =
            google_now_ms(google) + (pause > RENEW_PAUSE_MS ? pause : RENEW_PAUSE_MS);
        if (token_is_there(google) && renewal->end != GOOGLE_CANCELED)
            google->host->log(google->host, SENDIT_WARN, renewal->why.code, renewal->why.text);
    }
    calls_go_on(google);
}

static void fail(struct google *google, enum google_end end)
{
    google->renewal.end = end;
    finish(google);
}

static void fail_because(struct google *google, enum google_end end, const char *code,
                         const char *text)
{
    sendit_because(&google->renewal.why, SENDIT_FAIL, code, "%s", text);
    fail(google, end);
}

static void ask(struct google *google);

/* Again, if there is time for that and calls wait for it. */
static void try_again(struct google *google)
{
    struct renewal *renewal = &google->renewal;
    bool metadata = google->kind == KIND_METADATA;

    if (!token_is_there(google) && (!metadata || renewal->backoff.tries + 1 < METADATA_TRIES) &&
        backoff_next(&renewal->backoff, google, renewal->why.retry_after_s)) {
        google->metrics->add(google->host, "retries", 1);
        ask(google);
    } else if (metadata && !google->token.serial && !strcmp(renewal->why.code, "google.away")) {
        fail_because(google, GOOGLE_REFUSED, "google.credentials",
                     "There are no credentials: name a file by GOOGLE_APPLICATION_CREDENTIALS or "
                     "the option credentials; no metadata server answers either.");
    } else {
        fail(google, GOOGLE_AWAY);
    }
}

static void take_token(struct google *google, const struct sendit_http_response *response)
{
    struct token_answer answer = {0};
    sendit_verdict verdict = token_read(&answer, google, response, &google->renewal.why);

    if (verdict == SENDIT_PASS)
        renewed(google, &answer);
    wipe_free(answer.token);
    if (verdict == SENDIT_PASS)
        finish(google);
    else if (verdict == SENDIT_RETRY)
        try_again(google);
    else
        fail(google, GOOGLE_REFUSED);
}

static void no_token(struct google *google, sendit_result r)
{
    switch (r) {
    case SENDIT_EIO:
        sendit_because(&google->renewal.why, SENDIT_RETRY, "google.away",
                       "Google's token endpoint gave no answer: are the network, a proxy and the "
                       "certificates in order?  The line of the log before this one says more.");
        try_again(google);
        break;
    case SENDIT_ENOMEM:
        fail_because(google, GOOGLE_AWAY, "google.memory", "There is no memory.");
        break;
    case SENDIT_ECANCELED:
        fail_because(google, GOOGLE_CANCELED, "google.canceled",
                     "The host is stopping, or run.stage_timeout is near.");
        break;
    case SENDIT_ECORRUPT:
        fail_because(google, GOOGLE_REFUSED, "google.too_large",
                     "The answer of the token endpoint is larger than a token: see token_url.");
        break;
    default:
        fail_because(google, GOOGLE_REFUSED, "google.options",
                     "The token endpoint cannot be asked so: see token_url, metadata_url and "
                     "ca_file.");
    }
}

static void done(void *ctx, sendit_result r, const struct sendit_http_response *response)
{
    struct google *google = ctx;

    google->in_flight--;
    google->in_done++;
    memset(&google->renewal.why, 0, sizeof(google->renewal.why));
    if (r == SENDIT_OK)
        take_token(google, response);
    else
        no_token(google, r);
    google->in_done--;
}

static void ask(struct google *google)
{
    static const char *const form[] = {"Content-Type: application/x-www-form-urlencoded",
                                       "Accept: application/json", NULL};
    static const char *const flavor[] = {"Metadata-Flavor: Google", NULL};
    struct renewal *renewal = &google->renewal;
    bool metadata = google->kind == KIND_METADATA;
    char address[MAX_ORIGIN + 512];
    struct sendit_http_request request = {.size = sizeof(request),
                                          .delay_ms = (uint32_t)renewal->backoff.in_ms,
                                          .max_body = TOKEN_MAX_BODY};
    sendit_verdict verdict = metadata ? SENDIT_PASS : make_body(google, &renewal->why);
    sendit_result r;

    if (verdict != SENDIT_PASS) {
        fail(google, verdict == SENDIT_RETRY ? GOOGLE_AWAY : GOOGLE_REFUSED);
        return;
    }
    if (metadata)
        metadata_address(google, address, sizeof(address));
    else
        renewal->part =
            (struct sendit_part){.data = renewal->body, .length = strlen(renewal->body)};
    request.timeout_ms = metadata ? METADATA_TIMEOUT_MS : TOKEN_TIMEOUT_MS;
    request.method = metadata ? "GET" : "POST";
    request.url = metadata ? address : google->token_url;
    request.headers = metadata ? flavor : form;
    request.ca_file = metadata ? NULL : "ca_file";
    request.body = metadata ? NULL : &renewal->part;
    request.n_body = !metadata;
    google->in_flight++;
    r = google->http->start(google->host, &request, done, google);
    if (r == SENDIT_OK)
        return;
    google->in_flight--;
    no_token(google, r == SENDIT_EIO ? SENDIT_EINVAL : r);
}

/* ---- what calls ask ---- */

bool token_is_there(const struct google *google)
{
    return google->kind == KIND_ANONYMOUS ||
           (google->token.header && google_now_ms(google) < google->token.until_ms);
}

bool token_ready(struct google *google)
{
    int64_t now = google_now_ms(google);
    bool there = token_is_there(google);

    if (google->kind == KIND_ANONYMOUS || google->renewal.running)
        return there;
    if (there && (now < google->token.early_ms || now < google->token.next_ms))
        return true;
    google->renewal = (struct renewal){.running = true, .backoff = {.began_ms = now}};
    ask(google);
    return token_is_there(google);
}

void token_drop(struct google *google, uint32_t serial)
{
    if (google->token.serial == serial)
        google->token.until_ms = 0;
}

void token_fini(struct google *google)
{
    wipe_free(google->token.header);
    wipe_free(google->renewal.body);
    google->token.header = google->renewal.body = NULL;
}
