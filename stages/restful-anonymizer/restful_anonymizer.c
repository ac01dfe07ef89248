/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restful-anonymizer: gives each image the identity that the site's own service assigns, and edits
 * it by a profile of PS3.15.
 */
#include "restful.h"

#include <stdlib.h>
#include <string.h>

#define LOCK "ask" /* one asker at a time, of all workers */

/* DASHER, as its own clients talk to it. */
#define DASHER_REQUEST                                                                             \
    "{\"identifiers\":[{\"id\":\"{entity_id}\",\"id_source\":\"{entity_source}\","                 \
    "\"id_timestamp\":\"{entity_timestamp}\",\"custom_fields\":\"{custom_fields}\","               \
    "\"items\":[{\"id\":\"{item_id}\",\"id_source\":\"{item_source}\","                            \
    "\"id_timestamp\":\"{item_timestamp}\"}]}]}"
#define DASHER_ANSWER                                                                              \
    "{\"results\":\"/results\",\"items\":\"/results/0/items\","                                    \
    "\"entity_id\":\"/results/0/suid\",\"item_id\":\"/results/0/items/0/suid\","                   \
    "\"jitter\":\"/results/0/jitter\",\"item_jitter\":\"/results/0/items/0/jitter\","              \
    "\"entity_timestamp\":\"/results/0/jittered_timestamp\","                                      \
    "\"item_timestamp\":\"/results/0/items/0/jittered_timestamp\","                                \
    "\"asked_entity_id\":\"/results/0/id\",\"asked_entity_source\":\"/results/0/id_source\","      \
    "\"asked_item_id\":\"/results/0/items/0/id\","                                                 \
    "\"asked_item_source\":\"/results/0/items/0/id_source\"}"

static const struct sendit_option options[] = {
    {"url", SENDIT_OPT_URL, SENDIT_OPT_REQUIRED, NULL, NULL, "The service."},
    {"path", SENDIT_OPT_STRING, 0, "/uid/{study}", NULL,
     "What is put behind url; {study} stands for the option."},
    {"study", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED, NULL, NULL,
     "The study or protocol for which the service gives ids, in small letters."},
    {"method", SENDIT_OPT_CHOICE, 0, "POST", "POST|GET|PUT", "How it is asked."},
    {"credentials", SENDIT_OPT_SECRET, 0, "file:$STANFORD_CLIENT_SECRETS", NULL,
     "The file with accessToken, refreshToken and token_uri; renewed tokens are written back."},
    {"token_url", SENDIT_OPT_URL, 0, NULL, NULL,
     "Where tokens are renewed, if it is not the token_uri of the file at the host of url."},
    {"token", SENDIT_OPT_SECRET, 0, NULL, NULL,
     "In place of credentials: a token, or user:password."},
    {"client_cert", SENDIT_OPT_SECRET, 0, NULL, NULL,
     "Certificate and key as PEM, by which the service knows us."},
    {"ca_file", SENDIT_OPT_PATH, 0, NULL, NULL,
     "Certificates that are trusted in place of the system's."},
    {"header", SENDIT_OPT_STRING, 0, NULL, NULL, "The name of a header from a secret."},
    {"header_value", SENDIT_OPT_SECRET, 0, NULL, NULL, "What it says."},
    {"timeout", SENDIT_OPT_DURATION, 0, "60s", "1s..4m", "How long an answer may take."},
    {"max_age", SENDIT_OPT_DURATION, 0, NULL, "1s..36500d",
     "When to ask again for what is kept; left out, never."},
    {"entity_id", SENDIT_OPT_STRING, 0, "PatientID", NULL,
     "The attribute by which a patient is asked for."},
    {"entity_source", SENDIT_OPT_STRING, 0, "Stanford MRN", NULL, "What its value is one of."},
    {"entity_strip", SENDIT_OPT_STRING, 0, "-", NULL,
     "Characters that are taken out of the id of a patient."},
    {"entity_timestamp", SENDIT_OPT_STRING, SENDIT_OPT_MANY, "PatientBirthDate", NULL,
     "The first of these that has a date is the time of the patient."},
    {"item_id", SENDIT_OPT_STRING, 0, "AccessionNumber", NULL,
     "The attribute by which an examination is asked for."},
    {"item_source", SENDIT_OPT_STRING, 0, "DCM Accession #", NULL, "What its value is one of."},
    {"item_timestamp", SENDIT_OPT_STRING, SENDIT_OPT_MANY,
     "StudyDate SeriesDate ContentDate AcquisitionDate", NULL,
     "The first of these that has a date is the time of the examination."},
    {"custom_fields", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL,
     "Attributes that the service is told besides."},
    {"id_pattern", SENDIT_OPT_STRING, 0, "^[A-Za-z0-9_-]+$", NULL,
     "What an id must look like to be asked; any other image is held."},
    {"max_jitter", SENDIT_OPT_INTEGER, 0, "3650", "0..36500",
     "Days by which the service may move dates, either way."},
    {"request", SENDIT_OPT_JSON, 0, DASHER_REQUEST, NULL,
     "The body of a request, with {entity_id} and the like; null for none."},
    {"headers", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL,
     "Headers of a request, \"Name: {entity_id}\"."},
    {"answer", SENDIT_OPT_JSON, 0, DASHER_ANSWER, NULL,
     "JSON Pointers to what the service answers."},
    {"probe", SENDIT_OPT_JSON, 0, "{\"identifiers\":[]}", NULL,
     "The body with which sendit check --online asks."},
    {"profile", SENDIT_OPT_STRING, SENDIT_OPT_MANY,
     "basic retain-patient-characteristics retain-modified-dates", NULL,
     "The profile of PS3.15 and its options."},
    {"recipes", SENDIT_OPT_STRING, SENDIT_OPT_MANY, "dicom.starr", NULL,
     "Recipes that say more than the profile: \"NAME\" is filters/deid.NAME, or a path."},
    {"key", SENDIT_OPT_SECRET, 0, NULL, NULL,
     "The site key for UIDs, \"file:PATH\"; else one is made in the state folder."},
};

static const char *const gives[] = {
    "entity_id",      "entity_timestamp", "entity_id_source", "item_id",
    "item_timestamp", "item_id_source",   "jitter",           NULL};

/* ---- an identity ---- */

/* Under the lock: another worker may have asked meanwhile. */
static sendit_verdict ask(struct sendit_stage_state *self, const struct asked *asked,
                          struct given *ret_given, struct sendit_why *why)
{
    sendit_result r = self->store->lock(self->host, LOCK);
    json_t *answer = NULL;
    sendit_verdict verdict;

    if (r != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "restful.ledger",
                              "The turn to ask the service cannot be had.");
    verdict = kept_find(self, asked, ret_given, why);
    if (verdict != SENDIT_SKIP)
        return verdict;
    verdict = ask_service(self, asked, &answer, why);
    if (verdict == SENDIT_PASS)
        verdict = answer_read(&self->service, asked, answer, ret_given, why);
    if (verdict == SENDIT_PASS)
        verdict = kept_put(self, asked, ret_given, why);
    json_decref(answer);
    return verdict;
}

static int is_same(const struct asked *a, const struct asked *b)
{
    return !strcmp(a->entity_id, b->entity_id) && !strcmp(a->item_id, b->item_id);
}

static void forget(struct sendit_stage_state *self)
{
    asked_fini(&self->asked);
    memset(&self->given, 0, sizeof(self->given));
}

/* Of this batch, of an earlier one, or from the service. */
static sendit_verdict identify(struct sendit_stage_state *self, struct asked *asked,
                               struct sendit_why *why)
{
    struct given given;
    sendit_verdict verdict;

    if (self->given.entity_id[0] && is_same(asked, &self->asked))
        return SENDIT_PASS;
    forget(self);
    verdict = kept_find(self, asked, &given, why);
    if (verdict == SENDIT_SKIP)
        verdict = ask(self, asked, &given, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    self->asked = *asked;
    asked->custom = NULL; /* taken */
    self->given = given;
    return SENDIT_PASS;
}

static sendit_verdict apply(struct sendit_stage_state *self, const struct sendit_item *item,
                            const char *study, struct sendit_why *why)
{
    const struct given *given = &self->given;
    const struct anonymizer_identity who = {given->entity_id, given->item_id, study};
    char days[16];
    struct sendit_var vars[7] = {{"entity_id", given->entity_id},
                                 {"item_id", given->item_id},
                                 {"jitter", days},
                                 {"entity_id_source", self->service.entity_source},
                                 {"item_id_source", self->service.item_source}};
    size_t n = 5;

    snprintf(days, sizeof(days), "%d", (int)given->jitter);
    if (given->entity_date[0])
        vars[n++] = (struct sendit_var){"entity_timestamp", given->entity_date};
    if (given->item_date[0])
        vars[n++] = (struct sendit_var){"item_timestamp", given->item_date};
    return anonymizer_apply(&self->common, item, &who, vars, n, why);
}

/* ---- callbacks ---- */

static sendit_verdict init(struct sendit_stage_state *self, const struct sendit_host *host,
                           struct sendit_why *why)
{
    sendit_verdict verdict;

    self->host = host;
    self->ids = SENDIT_SERVICE(host, ids);
    self->store = SENDIT_SERVICE(host, store);
    self->secrets = SENDIT_SERVICE(host, secrets);
    self->http = SENDIT_SERVICE(host, http);
    verdict = anonymizer_init(&self->common, host, gives, why);
    return verdict == SENDIT_PASS ? service_init(&self->service, host, why) : verdict;
}

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    struct sendit_stage_state self = {0};
    sendit_verdict verdict = init(&self, host, why);

    if (verdict == SENDIT_PASS && online)
        verdict = ask_nothing(&self, why);
    service_fini(&self.service);
    return verdict;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "restful.memory", "There is no memory.");
    verdict = init(self, host, why);
    if (verdict != SENDIT_PASS) {
        service_fini(&self->service);
        free(self);
        return verdict;
    }
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    (void)batch;
    forget(self);
    return anonymizer_begin(&self->common, why);
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const char *uid, *study;
    struct asked asked = {0};
    sendit_verdict verdict = anonymizer_check_uids(&self->common, item->ds, why);
    sendit_result r;

    if (verdict == SENDIT_PASS)
        verdict = asked_init(&asked, self, item->ds, why);
    if (verdict == SENDIT_PASS)
        verdict = identify(self, &asked, why);
    asked_fini(&asked);
    if (verdict != SENDIT_PASS)
        return verdict;
    r = self->common.dicom->get(item->ds, ANONYMIZER_TAG_STUDY, &uid);
    if (r == SENDIT_OK)
        r = self->ids->pseudonym(self->host, "study", uid, &study);
    if (r != SENDIT_OK)
        return sendit_because(why, anonymizer_of_image(r), "ids.derive",
                              "No pseudonym could be derived for its study.");
    return apply(self, item, study, why);
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    (void)batch, (void)why;
    forget(self);
    anonymizer_finish(&self->common);
    return SENDIT_PASS;
}

static sendit_verdict abandon(struct sendit_stage_state *self, const struct sendit_batch *batch,
                              struct sendit_why *why)
{
    (void)batch, (void)why;
    forget(self);
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    forget(self);
    service_fini(&self->service);
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_MUTATES | SENDIT_IDENTIFIERS | SENDIT_NETWORK |
                       SENDIT_SENDS_PHI | SENDIT_SECRETS,
              SENDIT_OPTIONS(options), .name = "restful-anonymizer", .version = "1.0.0",
              .summary = "Asks the site's service for identities and applies a profile of PS3.15.",
              .grants = "ids.replaced deid.header", .after = "pixels.checked filters.passed",
              .check = check, .open = start, .begin = begin, .process = process, .finish = finish,
              .abandon = abandon, .close = stop);
