/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google-try: what stages/google does with requests as a pipeline names them, for tests.
 * `sendit check --online` sends them and logs each answer: "try.answer", and its verdict.
 */
#include "google.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SCOPE "https://www.googleapis.com/auth/devstorage.read_write"
#define MAX_FIELDS 16

static const struct sendit_option options[] = {
    {"ask", SENDIT_OPT_JSON, 0, "[]", NULL,
     "Requests: method, path, body, headers, idempotent, no_retry, times."},
    GOOGLE_OPTIONS("https://storage.googleapis.com", "STORAGE_EMULATOR_HOST"),
};

struct
try {
    const struct sendit_host *host;
    struct google *google;
};

static void tell(const struct try *try, const struct google_answer *answer)
{
    static const char *const verdicts[] = {"FAIL", "PASS", "SKIP", "QUARANTINE", "RETRY"};
    static const char *const ends[] = {"", "ANSWERED", "AWAY", "REFUSED", "CANCELED"};
    struct sendit_why why = {0};
    sendit_verdict verdict =
        google_verdict(answer, "the bucket \"radiology\"", "roles/storage.objectUser", &why);
    char text[600];

    snprintf(text, sizeof(text), "%s %d %s %s %s %u %s", ends[answer->end], answer->status,
             answer->again ? "again" : "once", verdicts[verdict], why.code, why.retry_after_s,
             why.text);
    try->host->log(try->host, SENDIT_WARN, "try.answer", text);
}

static void done(void *ctx, const struct google_answer *answer)
{
    tell(ctx, answer);
}

/* Of the service, or an address of its own. */
static void make_url(const struct try *try, const char *path, char *to, size_t size)
{
    snprintf(to, size, "%s%s", *path == '/' ? google_endpoint(try->google) : "", path);
}

static sendit_result ask(struct try *try, const json_t *one)
{
    const char *body = json_string_value(json_object_get(one, "body"));
    const struct sendit_part part = {.data = body, .length = body ? strlen(body) : 0};
    json_int_t times = json_integer_value(json_object_get(one, "times"));
    const json_t *fields = json_object_get(one, "headers");
    const char *headers[MAX_FIELDS + 1] = {NULL};
    struct google_answer answer;
    char url[2048];
    const struct google_request request = {
        .method = json_string_value(json_object_get(one, "method")),
        .url = url,
        .headers = headers,
        .body = body ? &part : NULL,
        .n_body = body != NULL,
        .idempotent = json_is_true(json_object_get(one, "idempotent")),
        .no_retry = json_is_true(json_object_get(one, "no_retry"))};
    sendit_result r = SENDIT_OK;

    for (size_t i = 0; i < json_array_size(fields) && i < MAX_FIELDS; i++)
        headers[i] = json_string_value(json_array_get(fields, i));
    make_url(try, json_string_value(json_object_get(one, "path")), url, sizeof(url));
    if (!times) {
        r = google_send(try->google, &request, &answer);
        if (r == SENDIT_OK)
            tell(try, &answer);
        return r;
    }
    while (r == SENDIT_OK && times-- > 0)
        r = google_start(try->google, &request, done, try);
    return r == SENDIT_OK ? SENDIT_SERVICE(try->host, http)->drain(try->host, 0) : r;
}

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    json_t *list = json_loads(config->json(host, "ask"), 0, NULL);
    struct try try = {.host = host};
    sendit_verdict verdict = google_check(host, online && !json_array_size(list), SCOPE, why);
    sendit_result r = SENDIT_OK;

    if (verdict == SENDIT_PASS && json_array_size(list) && online)
        verdict = google_open(host, SCOPE, &try.google, why);
    for (size_t i = 0;
         verdict == SENDIT_PASS && r == SENDIT_OK && try.google && i < json_array_size(list); i++)
        r = ask(&try, json_array_get(list, i));
    google_close(try.google);
    json_decref(list);
    if (r != SENDIT_OK)
        return sendit_because(why, SENDIT_FAIL, "try.failed", "A request was not taken (%d).", r);
    return verdict;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    (void)host, (void)ret_self;
    return sendit_because(why, SENDIT_FAIL, "try.run", "It is for sendit check --online alone.");
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return SENDIT_FAIL;
}

static void stop(struct sendit_stage_state *self)
{
    (void)self;
}

SENDIT_PLUGIN(.flags = SENDIT_NETWORK | SENDIT_SECRETS, SENDIT_OPTIONS(options),
              .name = "google-try", .version = "1.0.0",
              .summary = "Sends requests by stages/google, for tests.", .check = check,
              .open = start, .process = process, .close = stop);
