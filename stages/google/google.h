/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google.h - what gcs-store and bigquery-store do alike: credentials, tokens, requests with
 * Google's rules for trying again, and one sentence for whatever Google says.
 *
 * A stage that includes it has the flags NETWORK and SECRETS, and GOOGLE_OPTIONS() in its table.
 * One thread; every function is called inside a callback.  Requests go through the table http and
 * through this alone, so that it knows what is in flight; http->drain() waits for them.
 *
 * Tokens are in memory only.  The credentials are read for each token anew, so that a key that was
 * changed is found, and no key lies about.  Secrets, assertions and the URIs of upload sessions are
 * in no line of a log and in no reason.
 */
#ifndef SENDIT_GOOGLE_H
#define SENDIT_GOOGLE_H

#include <stdbool.h>

#include <sendit/stage.h>

#define GOOGLE_TOKEN_URL "https://oauth2.googleapis.com/token"
#define GOOGLE_METADATA_URL "http://169.254.169.254"
/* A CLOUDSDK_CONFIG without the file does not hide that of HOME. */
#define GOOGLE_CREDENTIALS                                                                         \
    "file:$GOOGLE_APPLICATION_CREDENTIALS "                                                        \
    "file:$CLOUDSDK_CONFIG/application_default_credentials.json "                                  \
    "file:$HOME/.config/gcloud/application_default_credentials.json"

/* Rows for the table of options; endpoint is "https://storage.googleapis.com", env the variable by
 * which emulators of it are named, "STORAGE_EMULATOR_HOST". */
/* clang-format off */
#define GOOGLE_OPTIONS(endpoint, env) \
    {"endpoint", SENDIT_OPT_URL, SENDIT_OPT_TEST, endpoint, env, \
     "The service; another one for tests."}, \
    {"credentials", SENDIT_OPT_SECRET, 0, GOOGLE_CREDENTIALS, NULL, \
     "The key of a service account or gcloud's file; without any, the machine's own account."}, \
    {"token_url", SENDIT_OPT_URL, SENDIT_OPT_TEST, GOOGLE_TOKEN_URL, NULL, \
     "Where tokens are made; the token_uri of the credentials has to be the same."}, \
    {"metadata_url", SENDIT_OPT_URL, SENDIT_OPT_TEST, GOOGLE_METADATA_URL, "GCE_METADATA_HOST", \
     "The metadata server, which knows the account of a machine at Google."}, \
    {"request_header", SENDIT_OPT_STRING, SENDIT_OPT_MANY | SENDIT_OPT_TEST, NULL, NULL, \
     "More headers of each request, \"Name: value\", for test servers."}, \
    {"ca_file", SENDIT_OPT_PATH, SENDIT_OPT_TEST, NULL, NULL, \
     "Certificates that are trusted in place of the system's."}, \
    {"user_project", SENDIT_OPT_STRING, 0, NULL, NULL, \
     "The project that pays for the requests, if it is not the account's."}, \
    {"retry_delay", SENDIT_OPT_DURATION, 0, "1s", "1ms..64s", \
     "The first pause before a request is tried again; each next one is twice as long."}, \
    {"retry_deadline", SENDIT_OPT_DURATION, 0, "10m", "0s..1h", \
     "How long a request is tried again before its batch waits."}
/* clang-format on */

struct google; /* one for an instance */

enum google_end {
    GOOGLE_ANSWERED = 1, /* with a status, whatever it is */
    GOOGLE_AWAY,         /* no answer, or no token since nobody answered */
    GOOGLE_REFUSED,      /* it could not be asked, and cannot be the next time */
    GOOGLE_CANCELED      /* the host stops, or the callback has lasted long enough */
};

struct google_request {
    const char *method, *url;   /* absolute, under google_endpoint(); a session URI, too */
    const char *const *headers; /* then NULL; authorization and the like are added; may be NULL */
    const struct sendit_part *body;
    uint32_t n_body;
    uint32_t max_body;   /* of the answer; 0: 1 MiB */
    uint32_t timeout_ms; /* of one try; 0: the host's hour */
    uint32_t delay_ms;   /* before the first one */
    /* By itself or by a precondition: it is tried again on 408, 429, 5xx, a rate limit, a
     * connection that was cut, and silence. */
    bool idempotent;
    /* The caller recovers itself, as a resumable PUT does: one try.  A token that has expired is
     * renewed all the same, since nothing of such a request was done. */
    bool no_retry;
};

struct google_answer {
    enum google_end end;
    int status; /* of the last answer, if ANSWERED */
    const char *body;
    size_t length;
    const char *location, *range; /* headers, or NULL */
    const char *reason;           /* error.errors[0].reason, else error.status: a word, or "" */
    const char *message;          /* for matching; it may have names in it and is never logged */
    uint32_t retry_after_s;       /* 0 if Google named no time */
    bool again;                   /* sent more than once: a 409 or 412 may answer ourselves */
    struct sendit_why why;        /* unless ANSWERED */
};

typedef void google_done_fn(void *ctx, const struct google_answer *);

/* Judge the options; with `online` get a token as well.  For check() of the stage, which then may
 * google_open() for the least call of its own. */
sendit_verdict google_check(const struct sendit_host *, int online, const char *scope,
                            struct sendit_why *);
/* `scope`: one, or several separated by blanks; it is kept, not copied.  Reads the credentials, and
 * asks nobody. */
sendit_verdict google_open(const struct sendit_host *, const char *scope, struct google **ret,
                           struct sendit_why *);
void google_close(struct google *); /* NULL is fine; what is in flight yet is not told of its end */
/* For `sendit check --online`: tries end after some seconds, not after retry_deadline. */
void google_hurry(struct google *);

const char *google_endpoint(const struct google *); /* without a slash at its end */
/* Of GOOGLE_CLOUD_PROJECT, the credentials or the metadata server, which is asked once; NULL if
 * none of them says.  Not inside `done`. */
const char *google_project(struct google *);

/* Wait for the answer, not inside `done`; it lives until the callback returns, or the next call
 * with it.  EINVAL and ENOMEM say that nothing was asked; all else is an answer. */
sendit_result google_send(struct google *, const struct google_request *,
                          struct google_answer *ret);
/* URL and headers are copied, the bytes of the body stay as they are until `done`.  After
 * SENDIT_OK `done` is called once, perhaps in here; else never.  Inside `done` it serves as
 * http->start() does. */
sendit_result google_start(struct google *, const struct google_request *, google_done_fn *,
                           void *ctx);

/* The verdict for an answer that the caller does not expect, with one sentence that says which role
 * or setting is missing.  `what`: "the bucket \"x\"", `role`: "roles/storage.objectCreator". */
sendit_verdict google_verdict(const struct google_answer *, const char *what, const char *role,
                              struct sendit_why *);

/* How many bytes a session has, by the Range of its 308: 0 without one, UINT64_MAX for what is no
 * such header. */
uint64_t google_stored(const char *range);
/* For a part of a path or query: all but letters, digits and "-._~" as %XX.  What does not fit is
 * left out whole: then it is "". */
void google_url_escape(char *to, size_t size, const char *text);

#endif
