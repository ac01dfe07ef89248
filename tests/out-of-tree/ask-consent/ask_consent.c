/* SPDX-License-Identifier: Apache-2.0 */
/* ask-consent: asks a service of the site whether a patient's images may be used.  It stands behind
 * the anonymizer and asks by pseudonym: nothing identified is sent, so it does not declare
 * SENDS_PHI, and the host lets no image come here that has not been cleaned. */
#include <sendit/stage.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENT_ID 0x00100020u
#define MAX_PSEUDONYM 64
#define MAX_WAIT_S 3600 /* of what a busy service asks for */

/* What the service knows, as an HTTP status. */
enum { GRANTED = 204, REFUSED = 403, UNKNOWN = 404 };

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_http *http;
    const char *url;
    uint32_t timeout_ms;
    char asked[MAX_PSEUDONYM + 1]; /* the last patient: a batch is mostly of one */
    int32_t answer;
};

static const struct sendit_option options[] = {
    {"url", SENDIT_OPT_URL, SENDIT_OPT_REQUIRED, NULL, NULL,
     "The service; the pseudonym is put behind it as \"/PSEUDONYM\"."},
    {"token", SENDIT_OPT_SECRET, 0, NULL, NULL, "What the service knows us by, if it asks."},
    {"timeout", SENDIT_OPT_DURATION, 0, "10s", "1s..5m", "How long to wait for an answer."},
};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "consent.memory", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->http = SENDIT_SERVICE(host, http);
    self->url = config->text(host, "url");
    self->timeout_ms = (uint32_t)config->number(host, "timeout");
    *ret_self = self;
    return SENDIT_PASS;
}

/* Consent may be withdrawn: no answer outlives its batch. */
static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    (void)batch, (void)why;
    self->asked[0] = '\0';
    return SENDIT_PASS;
}

/* A URL is made of what needs no escape; a pseudonym is. */
static int is_plain(const char *text)
{
    size_t n = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-");

    return n && n <= MAX_PSEUDONYM && !text[n] && text[0] != '.';
}

/* The seconds of "Retry-After: 120"; 0 for none, and for a date. */
static uint32_t pause_of(const struct sendit_stage_state *self,
                         const struct sendit_http_response *response)
{
    const char *text = self->http->header(response, "Retry-After");
    unsigned long seconds = text ? strtoul(text, NULL, 10) : 0;

    return (uint32_t)(seconds < MAX_WAIT_S ? seconds : MAX_WAIT_S);
}

static sendit_verdict ask(struct sendit_stage_state *self, const char *pseudonym,
                          struct sendit_why *why)
{
    const struct sendit_http_response *response;
    char url[2048];
    struct sendit_http_request request = {.size = sizeof(request),
                                          .timeout_ms = self->timeout_ms,
                                          .method = "GET",
                                          .url = url,
                                          .auth = "token"};
    int n = snprintf(url, sizeof(url), "%s/%s", self->url, pseudonym);
    sendit_result r;

    if (n < 0 || (size_t)n >= sizeof(url))
        return sendit_because(why, SENDIT_FAIL, "consent.url", "The option url is too long.");
    r = self->http->send(self->host, &request, &response);
    if (r != SENDIT_OK)
        return sendit_because(why, sendit_verdict_of(r), "consent.away",
                              "The consent service gave no answer.");
    self->answer = response->status;
    if (self->answer == GRANTED || self->answer == REFUSED || self->answer == UNKNOWN) {
        snprintf(self->asked, sizeof(self->asked), "%s", pseudonym);
        return SENDIT_PASS;
    }
    why->retry_after_s = pause_of(self, response);
    if (self->answer == 429 || self->answer >= 500)
        return sendit_because(why, SENDIT_RETRY, "consent.busy",
                              "The consent service answered with status %d.", self->answer);
    return sendit_because(why, SENDIT_FAIL, "consent.status",
                          "The consent service answered with status %d; check url and token.",
                          self->answer);
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const char *pseudonym;
    sendit_verdict verdict;
    sendit_result r = self->dicom->get(item->ds, PATIENT_ID, &pseudonym);

    if (r != SENDIT_OK && r != SENDIT_EABSENT && r != SENDIT_ECORRUPT)
        return sendit_verdict_of(r);
    if (r != SENDIT_OK || !is_plain(pseudonym))
        return sendit_because(why, SENDIT_QUARANTINE, "consent.no_pseudonym",
                              "It has no PatientID that could be asked for.");
    if (strcmp(self->asked, pseudonym) != 0) {
        verdict = ask(self, pseudonym, why);
        if (verdict != SENDIT_PASS)
            return verdict;
    }
    if (self->answer == GRANTED)
        return SENDIT_PASS;
    if (self->answer == REFUSED)
        return sendit_because(why, SENDIT_QUARANTINE, "consent.refused",
                              "The patient does not want it.");
    return sendit_because(why, SENDIT_QUARANTINE, "consent.unknown",
                          "The consent service does not know the patient.");
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_NETWORK, SENDIT_OPTIONS(options),
              .name = "ask-consent", .version = "1.0.0",
              .summary = "Asks a service whether a patient's images may be used.",
              .needs = "ids.replaced", .grants = "site.consent", .open = start, .begin = begin,
              .process = process, .close = stop);
