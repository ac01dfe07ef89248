/* SPDX-License-Identifier: Apache-2.0 */
/* google_error.c - what Google means by a status and the words beside it. */
#include "google_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define QUOTA_PAUSE_S 1800 /* a quota comes back with the hour or the day */

/* ---- reading ---- */

/* A word of Google's, or nothing. */
static void take_word(char ret_word[MAX_REASON], const json_t *value)
{
    const char *text = json_string_value(value);
    size_t n = 0;

    while (text && n < MAX_REASON && (isalnum((unsigned char)text[n]) || text[n] == '_'))
        n++;
    if (text && n && n < MAX_REASON && !text[n])
        memcpy(ret_word, text, n + 1);
}

static void take_message(char ret_message[MAX_MESSAGE], const json_t *value)
{
    const char *text = json_string_value(value);

    snprintf(ret_message, MAX_MESSAGE, "%s", text ? text : "");
}

/* google.rpc.ErrorInfo among the details says more than "forbidden". */
static void take_detail(char ret_word[MAX_REASON], const json_t *details)
{
    const json_t *detail;
    size_t i;

    json_array_foreach(details, i, detail)
    {
        char word[MAX_REASON] = "";

        take_word(word, json_object_get(detail, "reason"));
        if (!strcmp(word, "SERVICE_DISABLED") || !strncmp(word, "ACCESS_TOKEN_SCOPE", 18) ||
            !strcmp(word, "SECURITY_POLICY_VIOLATED"))
            memcpy(ret_word, word, sizeof(word));
    }
}

void error_read(struct google_error *ret, const char *body, size_t length)
{
    json_t *json = length && length <= MAX_ERROR ? json_loadb(body, length, 0, NULL) : NULL;
    const json_t *error = json_object_get(json, "error");
    const json_t *first = json_array_get(json_object_get(error, "errors"), 0);

    memset(ret, 0, sizeof(*ret));
    if (json_is_object(error)) {
        take_word(ret->reason, json_object_get(error, "status"));
        take_word(ret->reason, json_object_get(first, "reason"));
        take_detail(ret->reason, json_object_get(error, "details"));
        take_message(ret->message, json_object_get(error, "message"));
    } else if (json_is_string(error)) { /* as OAuth has it */
        take_word(ret->reason, error);
        take_message(ret->message, json_object_get(json, "error_description"));
    } else if (!json && length && !error_is_html(body, length)) {
        snprintf(ret->message, sizeof(ret->message), "%.*s",
                 (int)(length < sizeof(ret->message) ? length : sizeof(ret->message)), body);
    }
    json_decref(json);
}

bool error_is_html(const char *body, size_t length)
{
    size_t at = 0;

    while (at < length && strchr(" \t\r\n\xef\xbb\xbf", body[at]) && body[at])
        at++;
    return (length - at >= 5 && !strncasecmp(body + at, "<html", 5)) ||
           (length - at >= 9 && !strncasecmp(body + at, "<!doctype", 9)) ||
           (length - at >= 5 && !strncasecmp(body + at, "<head", 5));
}

bool error_is_rate(const char *reason)
{
    return !strcmp(reason, "rateLimitExceeded") || !strcmp(reason, "userRateLimitExceeded") ||
           !strcmp(reason, "jobRateLimitExceeded");
}

/* ---- meaning ---- */

struct meaning {
    int status;         /* 0: any */
    const char *reason; /* NULL: any; two with a "|" between them */
    const char *words;  /* somewhere in the message; NULL: any */
    sendit_verdict verdict;
    const char *code, *text;
};

/* The first that fits holds. */
static const struct meaning meanings[] = {
    {401, NULL, NULL, SENDIT_FAIL, "google.denied",
     "Google does not let us in to {what} (401): is the account disabled or deleted, or its key?"},
    {403, "quotaExceeded|dailyLimitExceeded", NULL, SENDIT_RETRY, "google.quota",
     "A quota of the project is used up ({reason}) for {what}; the batch waits. See Quotas in "
     "Google's console."},
    {403, "rateLimitExceeded|userRateLimitExceeded", NULL, SENDIT_RETRY, "google.busy",
     "Google wants fewer requests for {what} ({reason})."},
    {403, "jobRateLimitExceeded", NULL, SENDIT_RETRY, "google.busy",
     "Google wants fewer requests for {what} ({reason})."},
    {403, "accessNotConfigured|SERVICE_DISABLED", NULL, SENDIT_FAIL, "google.denied",
     "The API that has {what} is not enabled in the project: enable it in Google's console."},
    {403, "accountDisabled|billingNotEnabled", NULL, SENDIT_FAIL, "google.denied",
     "The project that has {what} has no billing account that is in order ({reason})."},
    {403, "userProjectAccessDenied|userProjectAccountProblem", NULL, SENDIT_FAIL, "google.denied",
     "The account may not use the project of user_project: give it "
     "roles/serviceusage.serviceUsageConsumer there."},
    {403, NULL, "serviceusage.services.use", SENDIT_FAIL, "google.denied",
     "The account may not use the project of user_project: give it "
     "roles/serviceusage.serviceUsageConsumer there."},
    {403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", NULL, SENDIT_FAIL, "google.denied",
     "The token has too few scopes for {what}: give the machine the scope cloud-platform, or use "
     "the key of a service account."},
    {403, NULL, "authentication scopes", SENDIT_FAIL, "google.denied",
     "The token has too few scopes for {what}: give the machine the scope cloud-platform, or use "
     "the key of a service account."},
    {403, "retentionPolicyNotMet|objectUnderActiveHold", NULL, SENDIT_FAIL, "google.retention",
     "{what} is under retention or a hold ({reason}): what is there cannot be replaced or removed "
     "yet."},
    {403, "vpcServiceControls|SECURITY_POLICY_VIOLATED", NULL, SENDIT_FAIL, "google.denied",
     "A perimeter of VPC Service Controls keeps this machine from {what}: let it in there."},
    {403, NULL, "VPC Service Controls", SENDIT_FAIL, "google.denied",
     "A perimeter of VPC Service Controls keeps this machine from {what}: let it in there."},
    {403, NULL, "loudkms", SENDIT_FAIL, "google.key",
     "Google may not use the key for {what}: give roles/cloudkms.cryptoKeyEncrypterDecrypter to "
     "the service's own agent in the project."},
    {403, NULL, NULL, SENDIT_FAIL, "google.denied",
     "The account may not use {what}: give it {role}, and see whether the name is that of your own "
     "project."},
    {404, NULL, NULL, SENDIT_FAIL, "google.not_found",
     "{what} is not there, or the account may not know of it: see its name and project, or give "
     "it {role}."},
    {400, NULL, "niform bucket-level access", SENDIT_FAIL, "google.acl",
     "{what} has uniform access and takes no ACL: leave predefined_acl out."},
    {400, NULL, "equester pays", SENDIT_FAIL, "google.denied",
     "{what} lets the one who asks pay: name your project by user_project."},
    {400, "UserProjectMissing", NULL, SENDIT_FAIL, "google.denied",
     "{what} lets the one who asks pay: name your project by user_project."},
    {400, NULL, "doesn't match calculated", SENDIT_RETRY, "google.damaged",
     "Bytes for {what} were damaged on their way; Google stored none of them."},
    {400, NULL, "loudkms", SENDIT_FAIL, "google.key",
     "Google cannot use the key for {what}: is it enabled, and in the same location?"},
    {400, NULL, "KMS", SENDIT_FAIL, "google.key",
     "Google cannot use the key for {what}: is it enabled, and in the same location?"},
    {407, NULL, NULL, SENDIT_FAIL, "google.denied",
     "A proxy on the way to {what} wants a password (407): see https_proxy."},
    {409, NULL, NULL, SENDIT_FAIL, "google.conflict",
     "{what} is there already, or was changed meanwhile (409)."},
    {412, NULL, NULL, SENDIT_FAIL, "google.conflict",
     "{what} is there already, or was changed meanwhile (412)."},
    {410, NULL, NULL, SENDIT_RETRY, "google.gone", "What was begun for {what} is gone (410)."},
    {413, NULL, NULL, SENDIT_FAIL, "google.request", "The request for {what} is too large (413)."},
};

static bool has_word(const char *list, const char *word)
{
    size_t n = strcspn(list, "|");

    return (strlen(word) == n && !strncmp(list, word, n)) ||
           (list[n] && !strcmp(list + n + 1, word));
}

static bool fits(const struct meaning *meaning, const struct google_answer *answer)
{
    return meaning->status == answer->status &&
           (!meaning->reason || has_word(meaning->reason, answer->reason)) &&
           (!meaning->words || strstr(answer->message, meaning->words));
}

/* Those of which there are many. */
static struct meaning meaning_of_status(const struct google_answer *answer)
{
    int status = answer->status;

    if (status_is_transient(status))
        return (struct meaning){0,
                                NULL,
                                NULL,
                                SENDIT_RETRY,
                                "google.busy",
                                "Google is busy: it answered for {what} with status {status}."};
    if (answer->length && error_is_html(answer->body, answer->length))
        return (struct meaning){0,
                                NULL,
                                NULL,
                                SENDIT_RETRY,
                                "google.html",
                                "What answered for {what} with a web page (status {status}) is not "
                                "Google: a proxy or a portal on the way?"};
    if (status >= 200 && status < 300)
        return (struct meaning){0,
                                NULL,
                                NULL,
                                SENDIT_RETRY,
                                "google.json",
                                "Google's answer about {what} is cut off, or not what it "
                                "should be (status {status})."};
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (fits(&meanings[i], answer))
            return meanings[i];
    if (status >= 300 && status < 400)
        return (struct meaning){0,
                                NULL,
                                NULL,
                                SENDIT_FAIL,
                                "google.redirect",
                                "Google sends us elsewhere for {what} (status {status}), which is "
                                "not followed: see endpoint."};
    return (struct meaning){0,
                            NULL,
                            NULL,
                            SENDIT_FAIL,
                            "google.request",
                            "Google does not take the request for {what} (status {status} "
                            "{reason}): see the options of the stage."};
}

/* Behind what `to` has, as much as fits. */
static void add(char *to, size_t size, size_t *used, const char *text, size_t length)
{
    size_t room = size - 1 - *used;

    if (length > room)
        length = room;
    memcpy(to + *used, text, length);
    *used += length;
    to[*used] = '\0';
}

/* The first letter of a sentence is a capital, also if it is that of {what}. */
static void expand(char *to, size_t size, const char *text, const char *const values[4])
{
    static const char *const names[4] = {"{what}", "{role}", "{reason}", "{status}"};
    size_t used = 0;

    while (*text) {
        size_t plain = strcspn(text, "{"), i = 0;

        add(to, size, &used, text, plain);
        text += plain;
        while (*text && i < 4 && strncmp(text, names[i], strlen(names[i])) != 0)
            i++;
        if (*text && i < 4) {
            add(to, size, &used, values[i], strlen(values[i]));
            text += strlen(names[i]);
        } else if (*text) {
            add(to, size, &used, text++, 1);
        }
    }
    to[0] = (char)toupper((unsigned char)to[0]);
}

sendit_verdict google_verdict(const struct google_answer *answer, const char *what,
                              const char *role, struct sendit_why *why)
{
    char status[16];
    const char *values[4] = {what, role, answer->reason, status};
    struct meaning meaning;

    if (answer->end != GOOGLE_ANSWERED) {
        *why = answer->why;
        return answer->end == GOOGLE_AWAY || answer->end == GOOGLE_CANCELED ? SENDIT_RETRY
                                                                            : SENDIT_FAIL;
    }
    meaning = meaning_of_status(answer);
    snprintf(status, sizeof(status), "%d", answer->status);
    sendit_because(why, meaning.verdict, meaning.code, "%s", "");
    expand(why->text, sizeof(why->text), meaning.text, values);
    if (meaning.verdict == SENDIT_RETRY)
        why->retry_after_s = answer->retry_after_s;
    if (!strcmp(meaning.code, "google.quota") && why->retry_after_s < QUOTA_PAUSE_S)
        why->retry_after_s = QUOTA_PAUSE_S;
    return meaning.verdict;
}
