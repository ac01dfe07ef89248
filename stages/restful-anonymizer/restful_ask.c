/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restful_ask.c - the conversation with the service: one request, and what its status means.
 *
 * Of the file of tokens the access token is sent; when the service does not take it any more, both
 * are renewed once, under the lock that the caller has, and written back.  A renewal that was
 * refused is not tried again before somebody has put other tokens into the file.
 */
#include "restful.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_date.h"

#define REFUSED "refused" /* key of the store: the mark of tokens that were */
#define MARK_SIZE 17

/* What a request is made of, beyond the template. */
struct letter {
    char headers[MAX_HEADERS + 4][MAX_HEADER];
    const char *list[MAX_HEADERS + 5];
    size_t n;
    char *body;     /* owned */
    json_t *tokens; /* the file, parsed; NULL for none */
    char mark[MARK_SIZE];
    const char *auth; /* the option with a token or a password */
};

static sendit_verdict refuse(struct sendit_why *why, const char *code, const char *text)
{
    return sendit_because(why, SENDIT_FAIL, code, "%s", text);
}

/* ---- making a letter ---- */

static void letter_fini(struct letter *letter)
{
    if (letter)
        free(letter->body);
    if (letter) {
        json_decref(letter->tokens);
        explicit_bzero(letter, sizeof(*letter));
    }
    free(letter);
}

static char *next_header(struct letter *letter)
{
    letter->list[letter->n] = letter->headers[letter->n];
    letter->list[letter->n + 1] = NULL;
    return letter->headers[letter->n++];
}

/* Tells one file of tokens from another, and nothing of what is in it (FNV-1a). */
static void mark_of(const char *text, char ret_mark[MARK_SIZE])
{
    uint64_t hash = 14695981039346656037u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    snprintf(ret_mark, MARK_SIZE, "%016llx", (unsigned long long)hash);
}

static sendit_verdict bad_secret(sendit_result r, const char *option, struct sendit_why *why)
{
    sendit_verdict verdict =
        r == SENDIT_ENOMEM || r == SENDIT_ECANCELED ? SENDIT_RETRY : SENDIT_FAIL;

    return sendit_because(why, verdict, "restful.secret",
                          "%s cannot be read; the line of the log before this one says why.",
                          option);
}

/* A token is sent in a header: what would end it is none. */
static const char *token_of(const json_t *tokens, const char *name)
{
    const char *text = json_string_value(json_object_get(tokens, name));

    for (const char *at = text; at && *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at > 126)
            return NULL;
    return text && *text && strlen(text) < MAX_HEADER - 64 ? text : NULL;
}

static sendit_verdict add_tokens(const struct sendit_stage_state *self, struct letter *letter,
                                 struct sendit_why *why)
{
    const char *text;
    sendit_result r = self->secrets->get(self->host, "credentials", &text);

    if (r == SENDIT_EABSENT)
        return SENDIT_PASS; /* a service may know us by a certificate or a header alone */
    if (r != SENDIT_OK)
        return bad_secret(r, "credentials", why);
    letter->tokens = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    mark_of(text, letter->mark);
    if (!token_of(letter->tokens, "accessToken") || !token_of(letter->tokens, "refreshToken"))
        return refuse(why, "restful.tokens",
                      "The file of credentials is no JSON object with accessToken and "
                      "refreshToken.");
    snprintf(next_header(letter), MAX_HEADER, "Authorization: Bearer %s",
             token_of(letter->tokens, "accessToken"));
    return SENDIT_PASS;
}

static sendit_verdict add_secrets(const struct sendit_stage_state *self, struct letter *letter,
                                  struct sendit_why *why)
{
    const char *text;
    sendit_result r;

    if (self->service.header) {
        r = self->secrets->get(self->host, "header_value", &text);
        if (r == SENDIT_EABSENT)
            return refuse(why, "restful.secret",
                          "header names a header, and header_value nothing.");
        if (r != SENDIT_OK)
            return bad_secret(r, "header_value", why);
        for (const char *at = text; *at; at++)
            if ((unsigned char)*at < ' ' || (unsigned char)*at > 126)
                return refuse(why, "restful.secret", "header_value cannot be sent in a header.");
        if ((size_t)snprintf(next_header(letter), MAX_HEADER, "%s: %s", self->service.header,
                             text) >= MAX_HEADER)
            return refuse(why, "restful.secret", "header_value is too long for a header.");
    }
    r = self->secrets->get(self->host, "token", &text);
    if (r == SENDIT_EABSENT)
        return add_tokens(self, letter, why);
    if (r != SENDIT_OK)
        return bad_secret(r, "token", why);
    letter->auth = "token";
    return SENDIT_PASS;
}

static sendit_verdict add_headers(const struct service *service, const struct asked *asked,
                                  struct letter *letter, struct sendit_why *why)
{
    snprintf(next_header(letter), MAX_HEADER, "Accept: application/json");
    if (letter->body)
        snprintf(next_header(letter), MAX_HEADER, "Content-Type: application/json");
    for (size_t i = 0; service->headers[i]; i++) {
        int made = service_header(service, service->headers[i], asked, letter->headers[letter->n]);

        if (made < 0)
            return refuse(why, "restful.options", "headers: one of them is too long.");
        if (made)
            next_header(letter);
    }
    return SENDIT_PASS;
}

/* `body` is taken; NULL for a request without one. */
static sendit_verdict make_letter(const struct sendit_stage_state *self, const struct asked *asked,
                                  json_t *body, struct letter **ret_letter, struct sendit_why *why)
{
    struct letter *letter = calloc(1, sizeof(*letter));
    sendit_verdict verdict;

    *ret_letter = letter;
    if (letter && body)
        letter->body = json_dumps(body, JSON_COMPACT);
    if (!letter || (body && !letter->body)) {
        json_decref(body);
        return sendit_because(why, SENDIT_RETRY, "restful.memory", "There is no memory.");
    }
    json_decref(body);
    verdict = add_headers(&self->service, asked, letter, why);
    return verdict == SENDIT_PASS ? add_secrets(self, letter, why) : verdict;
}

/* ---- sending it ---- */

static sendit_verdict no_answer(sendit_result r, struct sendit_why *why)
{
    switch (r) {
    case SENDIT_ECORRUPT:
        return refuse(why, "restful.too_large", "The answer of the service is too large.");
    case SENDIT_EDENIED:
    case SENDIT_EINVAL:
        return refuse(why, "restful.request",
                      "The service cannot be asked so: see url, token_url and the secrets.");
    case SENDIT_ENOMEM:
        return sendit_because(why, SENDIT_RETRY, "restful.memory", "There is no memory.");
    default:
        return sendit_because(why, SENDIT_RETRY, "restful.away", "The service gave no answer.");
    }
}

static sendit_result post(const struct sendit_stage_state *self, const char *method,
                          const char *url, const struct letter *letter,
                          const struct sendit_http_response **ret_response)
{
    const struct sendit_part part = {.data = letter->body,
                                     .length = letter->body ? strlen(letter->body) : 0};
    const struct sendit_http_request request = {.size = sizeof(request),
                                                .timeout_ms = self->service.timeout_ms,
                                                .method = method,
                                                .url = url,
                                                .headers = letter->list,
                                                .auth = letter->auth,
                                                .client_cert = "client_cert",
                                                .ca_file = "ca_file",
                                                .body = letter->body ? &part : NULL,
                                                .n_body = letter->body != NULL};

    return self->http->send(self->host, &request, ret_response);
}

static int is_json(const struct sendit_stage_state *self,
                   const struct sendit_http_response *response)
{
    const char *type = self->http->header(response, "Content-Type");
    size_t n = type ? strcspn(type, "; \t") : 0;

    return (n == 16 && !strncasecmp(type, "application/json", n)) ||
           (n > 17 && !strncasecmp(type, "application/", 12) &&
            !strncasecmp(type + n - 5, "+json", 5));
}

/* What a status costs that is no answer. */
static sendit_verdict of_status(const struct sendit_stage_state *self,
                                const struct sendit_http_response *response, struct sendit_why *why)
{
    const char *pause = self->http->header(response, "Retry-After");
    int status = (int)response->status;

    if (status == 401 || status == 403)
        return sendit_because(why, SENDIT_FAIL, "restful.denied",
                              "The service does not let us in (status %d): see credentials, token "
                              "and client_cert.",
                              status);
    if (status >= 300 && status < 400)
        return sendit_because(why, SENDIT_FAIL, "restful.redirect",
                              "The service sends us elsewhere (status %d), which is not followed: "
                              "see url.",
                              status);
    if (status < 500 && status != 408 && status != 429)
        return sendit_because(why, SENDIT_FAIL, "restful.status",
                              "The service answered with status %d; see url, path and study.",
                              status);
    if (pause)
        (void)http_date_pause(pause, self->host->now_ms(self->host), MAX_RETRY_AFTER,
                              &why->retry_after_s);
    return sendit_because(why, SENDIT_RETRY, "restful.busy", "The service answered with status %d.",
                          status);
}

static sendit_verdict read_json(const struct sendit_stage_state *self,
                                const struct sendit_http_response *response, json_t **ret_json,
                                struct sendit_why *why)
{
    if (!is_json(self, response))
        return refuse(why, "restful.html",
                      "The service answered with what is no JSON: is this machine in its network "
                      "(VPN)?");
    *ret_json = json_loadb(response->body, response->length, JSON_REJECT_DUPLICATES, NULL);
    if (!*ret_json)
        return refuse(why, "restful.json",
                      "The service answered with JSON that is broken, or has a key twice.");
    return SENDIT_PASS;
}

/* ---- the tokens ---- */

static int was_refused(const struct sendit_stage_state *self, const struct letter *letter)
{
    uint64_t revision;
    const void *value;
    size_t length;

    return letter->tokens &&
           self->store->get(self->host, REFUSED, &value, &length, &revision) == SENDIT_OK &&
           length == strlen(letter->mark) && !memcmp(value, letter->mark, length);
}

static sendit_verdict wait_for_tokens(struct sendit_why *why)
{
    return sendit_because(why, SENDIT_RETRY, "restful.refresh",
                          "The service refuses to renew the tokens: put new ones into the file of "
                          "credentials.");
}

/* Said once, and waited for: nobody asks again with these. */
static sendit_verdict note_refusal(const struct sendit_stage_state *self,
                                   const struct letter *letter, struct sendit_why *why)
{
    uint64_t revision = 0;
    const void *value;
    size_t length;
    sendit_result r = self->store->get(self->host, REFUSED, &value, &length, &revision);

    if (r == SENDIT_OK || r == SENDIT_EABSENT)
        (void)self->store->put(self->host, REFUSED, letter->mark, strlen(letter->mark),
                               r == SENDIT_OK ? revision : 0);
    self->host->log(self->host, SENDIT_ERROR, "restful.refresh",
                    "The service refuses to renew the tokens; put new ones into the file of "
                    "credentials, batches wait for that.");
    return wait_for_tokens(why);
}

/* The new tokens into the file, with all else that stands there. */
static sendit_verdict write_tokens(const struct sendit_stage_state *self, json_t *tokens,
                                   const json_t *answer, struct sendit_why *why)
{
    static const char *const names[] = {"accessToken", "refreshToken"};
    char *text;
    sendit_result r;

    for (int i = 0; i < 2; i++)
        if (!token_of(answer, names[i]) ||
            json_object_set(tokens, names[i], json_object_get(answer, names[i])))
            return refuse(why, "restful.tokens",
                          "The service renewed the tokens and did not say both.");
    text = json_dumps(tokens, JSON_INDENT(2));
    r = text ? self->secrets->put(self->host, "credentials", text) : SENDIT_ENOMEM;
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
    if (r != SENDIT_OK)
        return refuse(why, "restful.tokens",
                      "The renewed tokens cannot be written into the file of credentials.");
    return SENDIT_PASS;
}

/* Where tokens are renewed: the option, else what the file says. */
static const char *token_url(const struct sendit_stage_state *self, const json_t *tokens)
{
    const struct sendit_config *config = SENDIT_SERVICE(self->host, config);
    const char *url = config->text(self->host, "token_url");

    return url ? url : json_string_value(json_object_get(tokens, "token_uri"));
}

static sendit_verdict take_renewed(struct sendit_stage_state *self, const struct letter *old,
                                   const struct sendit_http_response *response,
                                   struct sendit_why *why)
{
    json_t *answer = NULL;
    sendit_verdict verdict;

    if (response->status == 400 || response->status == 401 || response->status == 403)
        return note_refusal(self, old, why);
    if (response->status != 200)
        return of_status(self, response, why);
    verdict = read_json(self, response, &answer, why);
    if (verdict == SENDIT_PASS)
        verdict = write_tokens(self, old->tokens, answer, why);
    json_decref(answer);
    return verdict;
}

static sendit_verdict renew(struct sendit_stage_state *self, const struct letter *old,
                            struct sendit_why *why)
{
    const char *url = token_url(self, old->tokens);
    const struct sendit_http_response *response;
    struct letter *letter = calloc(1, sizeof(*letter));
    json_t *body = json_pack("{s:O}", "refreshToken", json_object_get(old->tokens, "refreshToken"));
    sendit_verdict verdict;
    sendit_result r;

    if (letter && body)
        letter->body = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!letter || !letter->body) {
        letter_fini(letter);
        return sendit_because(why, SENDIT_RETRY, "restful.memory", "There is no memory.");
    }
    snprintf(next_header(letter), MAX_HEADER, "Accept: application/json");
    snprintf(next_header(letter), MAX_HEADER, "Content-Type: application/json");
    if (!url) {
        verdict = refuse(why, "restful.tokens",
                         "The file of credentials has no token_uri, and there is no token_url.");
    } else {
        r = post(self, "POST", url, letter, &response);
        verdict = r == SENDIT_OK ? take_renewed(self, old, response, why) : no_answer(r, why);
    }
    if (letter->body)
        explicit_bzero(letter->body, strlen(letter->body));
    letter_fini(letter);
    return verdict;
}

/* ---- asking ---- */

/* SKIP: the tokens have expired. */
static sendit_verdict ask_once(struct sendit_stage_state *self, const struct letter *letter,
                               json_t **ret_answer, struct sendit_why *why)
{
    const struct sendit_http_response *response;
    sendit_result r = post(self, self->service.method, self->service.url, letter, &response);

    if (r != SENDIT_OK)
        return no_answer(r, why);
    if (response->status == 401 && letter->tokens)
        return SENDIT_SKIP;
    if (response->status != 200)
        return of_status(self, response, why);
    return read_json(self, response, ret_answer, why);
}

static sendit_verdict make_question(struct sendit_stage_state *self, const struct asked *asked,
                                    struct letter **ret_letter, struct sendit_why *why)
{
    json_t *body = NULL;

    *ret_letter = NULL;
    if (self->service.request && !(body = service_body(&self->service, asked)))
        return sendit_because(why, SENDIT_RETRY, "restful.memory", "There is no memory.");
    return make_letter(self, asked, body, ret_letter, why);
}

sendit_verdict ask_service(struct sendit_stage_state *self, const struct asked *asked,
                           json_t **ret_answer, struct sendit_why *why)
{
    struct letter *letter;
    sendit_verdict verdict = make_question(self, asked, &letter, why);

    if (verdict == SENDIT_PASS)
        verdict = was_refused(self, letter) ? wait_for_tokens(why)
                                            : ask_once(self, letter, ret_answer, why);
    if (verdict == SENDIT_SKIP) {
        verdict = renew(self, letter, why);
        letter_fini(letter);
        letter = NULL;
        if (verdict == SENDIT_PASS)
            verdict = make_question(self, asked, &letter, why);
        if (verdict == SENDIT_PASS)
            verdict = ask_once(self, letter, ret_answer, why);
        if (verdict == SENDIT_SKIP)
            verdict = refuse(why, "restful.denied",
                             "The service does not take the tokens that it has just renewed.");
    }
    letter_fini(letter);
    return verdict;
}

/* A service that answers what is no question has let us in. */
static sendit_verdict of_nothing(struct sendit_stage_state *self, const struct letter *letter,
                                 const struct sendit_http_response *response,
                                 struct sendit_why *why)
{
    json_t *answer = NULL;
    sendit_verdict verdict;

    if (response->status == 401 && letter->tokens) {
        self->host->log(self->host, SENDIT_WARN, "restful.expired",
                        "The access token has expired; the next run renews it.");
        return SENDIT_PASS;
    }
    if (response->status == 400 || response->status == 422)
        return SENDIT_PASS;
    if (response->status != 200) {
        verdict = of_status(self, response, why);
        return verdict == SENDIT_RETRY ? SENDIT_FAIL : verdict;
    }
    verdict = read_json(self, response, &answer, why);
    json_decref(answer);
    return verdict;
}

sendit_verdict ask_nothing(struct sendit_stage_state *self, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(self->host, config);
    const char *text = self->service.request ? config->json(self->host, "probe") : NULL;
    const struct sendit_http_response *response;
    json_t *body = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    struct letter *letter = NULL;
    sendit_verdict verdict;
    sendit_result r;

    if (self->service.request && !json_is_object(body)) {
        json_decref(body);
        return refuse(why, "restful.options", "probe: an object was expected.");
    }
    verdict = make_letter(self, NULL, body, &letter, why);
    if (verdict == SENDIT_PASS) {
        r = post(self, self->service.method, self->service.url, letter, &response);
        if (r == SENDIT_OK) {
            verdict = of_nothing(self, letter, response, why);
        } else {
            (void)no_answer(r, why);
            verdict = SENDIT_FAIL; /* the line of the log before this one says why */
        }
    }
    letter_fini(letter);
    return verdict;
}
