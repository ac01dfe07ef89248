/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google_parts.h - inside stages/google: the instance, what its files ask of each other.
 *
 * A call is a request with what is needed to send it again.  It is in one list from its start to
 * its end; it waits for a token, or is in flight in the table http.
 */
#ifndef SENDIT_GOOGLE_PARTS_H
#define SENDIT_GOOGLE_PARTS_H

#include "google.h"

#include <jansson.h>
#include <openssl/evp.h>

#define MAX_HEADERS 32           /* of a caller, and of request_header */
#define MAX_PARTS 100000         /* of a body */
#define MAX_WAITING 64           /* calls that wait for a token, before start() waits, too */
#define MAX_ORIGIN 512           /* bytes of scheme, host and port */
#define MAX_URL 4096             /* of a request */
#define MAX_TOKEN 7168           /* the host takes headers of 8 KiB */
#define MAX_ERROR (256u << 10)   /* of a body that is read as an error */
#define MAX_PROJECT 128          /* "example.com:project" */
#define MAX_REASON 64            /* of Google's word for an error */
#define MAX_MESSAGE 512          /* of its sentence that is kept */
#define MAX_RETRY_AFTER 86400u   /* seconds */
#define LONGEST_PAUSE_MS 64000   /* between two tries */
#define HURRY_MS 15000           /* retry_deadline of check --online */
#define EARLY_MS 300000          /* a token is renewed so long before its end, ... */
#define EARLY_METADATA_MS 225000 /* the metadata server has no new one before */
#define SPARE_MS 10000           /* a token with less left is not sent */
#define RENEW_PAUSE_MS 30000     /* after a renewal that failed while the old token holds */
#define METADATA_TIMEOUT_MS 3000u
#define METADATA_TRIES 3
#define ASSERTION_S 3600 /* life of a JWT, the longest that Google takes */
#define MAX_LIFE_S 86400 /* of a token; longer ones are looked at again after that */

enum kind {
    KIND_METADATA = 1, /* none are configured: the account of the machine */
    KIND_ANONYMOUS,    /* nor is there a machine to ask: an emulator */
    KIND_SERVICE_ACCOUNT,
    KIND_AUTHORIZED_USER
};

/* A file of credentials, looked at.  credentials_fini() wipes it. */
struct credentials {
    enum kind kind;
    json_t *json;        /* owns the texts */
    EVP_PKEY *key;       /* of a service account */
    const char *email;   /* likewise */
    const char *key_id;  /* or NULL */
    const char *project; /* or NULL */
    const char *quota_project;
    const char *refresh_token, *client_id, *client_secret; /* of a user */
};

/* When to try again; all zero before the first try. */
struct backoff {
    uint32_t tries;                     /* that have ended */
    int64_t began_ms, waited_ms, in_ms; /* in_ms: the next pause */
};

struct token {
    char *header; /* "Authorization: Bearer ...", owned, wiped; NULL for none */
    int64_t until_ms, early_ms, next_ms; /* next_ms: no renewal before */
    uint32_t serial;                     /* counts up with each */
};

struct renewal { /* of the token; one at a time */
    bool running;
    struct backoff backoff;
    char *body; /* owned, wiped */
    struct sendit_part part;
    enum google_end end; /* how the last one failed, and why; 0 if it did not */
    struct sendit_why why;
};

struct call {
    struct google *google;
    struct call *next; /* in google->calls */
    enum {
        CALL_FLYING,
        CALL_WAITING,
        CALL_RELEASED
    } state;                  /* waiting for a token, and let go on */
    bool renewed, sent_token; /* a 401 was answered by a new token; one was sent */
    uint32_t serial;          /* of it */
    struct backoff backoff;
    struct google_request request; /* url, headers and parts are copies that the call owns */
    char *url;
    char *headers[MAX_HEADERS + 1];
    struct sendit_part *parts;
    google_done_fn *done; /* NULL for google_send() */
    void *ctx;
    char reason[MAX_REASON], message[MAX_MESSAGE];
    struct google_answer answer;
};

struct google {
    const struct sendit_host *host;
    const struct sendit_config *config;
    const struct sendit_http *http;
    const struct sendit_secrets *secrets;
    const struct sendit_metrics *metrics;
    const char *scope, *token_url, *metadata_url;
    const char *const *more_headers;
    char endpoint[MAX_ORIGIN], metadata[MAX_ORIGIN];
    char project[MAX_PROJECT], user_project[MAX_PROJECT];
    bool asked_project;
    enum kind kind;
    int64_t retry_delay_ms, retry_deadline_ms;
    struct token token;
    struct renewal renewal;
    struct call *calls;
    struct call *sent;  /* of google_send(), whose texts live until the next one */
    uint32_t in_flight; /* requests of http->start() that have not ended */
    uint32_t n_waiting, in_done;
};

/* What an error says, of a body that Google or a token endpoint sent. */
struct google_error {
    char reason[MAX_REASON], message[MAX_MESSAGE];
};

/* ---- google.c ---- */

/* "https://host:port" of a URL; 0 if it has none or is too long. */
int google_origin(const char *url, char ret_origin[MAX_ORIGIN]);
bool google_is_loopback(const char *url);
bool google_is_ours(const struct google *, const char *url);
int64_t google_now_ms(const struct google *);

/* ---- google_credentials.c ---- */

/* FAIL with a sentence about what is wrong with them; credentials_fini() in any case. */
sendit_verdict credentials_read(struct credentials *, const struct google *, struct sendit_why *);
/* The same of a text; for tests, too. */
sendit_verdict credentials_parse(struct credentials *, const char *text, const char *token_url,
                                 struct sendit_why *);
void credentials_fini(struct credentials *);

/* ---- google_jwt.c ---- */

/* "header.claims.signature" for the token endpoint; the caller wipes and frees it.  NULL without
 * memory, or if OpenSSL cannot sign. */
char *jwt_make(const struct credentials *, const char *scope, const char *audience, int64_t now_ms);

/* ---- google_error.c ---- */

/* Takes anything; leaves "" what it does not find. */
void error_read(struct google_error *ret, const char *body, size_t length);
bool error_is_html(const char *body, size_t length);
/* A rate, not a quota: worth another try soon. */
bool error_is_rate(const char *reason);

/* ---- google_request.c ---- */

/* The pause before the next try, or false if there is none: too late, or Google wants more than a
 * request can wait. */
bool backoff_next(struct backoff *, const struct google *, uint32_t retry_after_s);
bool status_is_transient(int status);
uint32_t retry_after(const struct google *, const struct sendit_http_response *);
/* The token is there, or never will be: calls that wait go on. */
void calls_go_on(struct google *);
void google_request_fini(struct google *);

/* ---- google_token.c ---- */

/* Is there a token, or no need of one? */
bool token_is_there(const struct google *);
/* The same, and begins a renewal if it is time. */
bool token_ready(struct google *);
/* Google did not take it. */
void token_drop(struct google *, uint32_t serial);
void token_fini(struct google *);
/* What a token endpoint answered: PASS with the fields, else a sentence.  RETRY for what is worth
 * another try.  For tests, too. */
struct token_answer {
    char *token; /* owned, wiped by the caller */
    int64_t life_s;
};
sendit_verdict token_read(struct token_answer *ret, const struct google *,
                          const struct sendit_http_response *, struct sendit_why *);

#endif
