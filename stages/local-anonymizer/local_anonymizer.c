/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local-anonymizer: gives each image the identity that the site key derives, and edits it by a
 * profile of PS3.15.
 */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#include "anonymizer.h"

struct sendit_stage_state {
    struct anonymizer common;
    const struct sendit_ids *ids;
    int by_study; /* a patient without an id is the study */
};

/* Who an image is of; the texts live until process() returns. */
struct identity {
    const char *patient; /* original: for the host alone */
    char own[80];        /* room for it, where it is the study */
    char entity[ANONYMIZER_ID], item[ANONYMIZER_ID];
    char days[16];
};

static const struct sendit_option options[] = {
    {"profile", SENDIT_OPT_STRING, SENDIT_OPT_MANY,
     "basic retain-patient-characteristics retain-modified-dates", NULL,
     "The profile of PS3.15 and its options."},
    {"recipes", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL,
     "Recipes that say more than the profile: \"NAME\" is filters/deid.NAME, or a path."},
    {"on_failure", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|blank|remove",
     "What becomes of an element whose rule of a recipe cannot be done; quarantine is of the "
     "image."},
    {"key", SENDIT_OPT_SECRET, 0, NULL, NULL,
     "The site key, \"file:PATH\"; else one is made in the state folder."},
    {"no_patient", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|study",
     "What becomes of an image without PatientID: \"study\" takes its study for the patient."},
};

static const char *const gives[] = {"entity_id", "item_id", "jitter", NULL};

/* ---- who it is ---- */

static sendit_verdict find_patient(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                                   struct identity *who, struct sendit_why *why)
{
    sendit_result r = self->ids->patient(ds, &who->patient);
    const char *study;

    if (r == SENDIT_OK)
        return SENDIT_PASS;
    if (r != SENDIT_EABSENT)
        return sendit_because(why, anonymizer_of_image(r), "ids.bad_patient",
                              "Its PatientID cannot be read.");
    if (!self->by_study)
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_patient",
                              "It has no PatientID; no_patient says what else may become of it.");
    r = self->common.dicom->get(ds, ANONYMIZER_TAG_STUDY, &study);
    if (r != SENDIT_OK)
        return sendit_because(why, anonymizer_of_image(r), "ids.no_study",
                              "Its Study Instance UID cannot be read.");
    /* No PatientID has a line end in it, so this is never one of them. */
    if ((size_t)snprintf(who->own, sizeof(who->own), "study\n%s", study) >= sizeof(who->own))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_study",
                              "Its Study Instance UID is longer than a UID may be.");
    who->patient = who->own;
    return SENDIT_PASS;
}

/* The new values that stand for patient and study. */
static sendit_result derive(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                            struct identity *who)
{
    const struct sendit_host *host = self->common.host;
    const char *study, *pseudonym;
    int32_t days;
    sendit_result r = self->ids->pseudonym(host, "patient", who->patient, &pseudonym);

    if (r == SENDIT_OK)
        r = anonymizer_keep(who->entity, pseudonym);
    if (r == SENDIT_OK)
        r = self->ids->days(host, who->patient, &days);
    if (r == SENDIT_OK) {
        snprintf(who->days, sizeof(who->days), "%d", (int)days);
        r = self->common.dicom->get(ds, ANONYMIZER_TAG_STUDY, &study);
    }
    if (r == SENDIT_OK)
        r = self->ids->pseudonym(host, "study", study, &pseudonym);
    if (r == SENDIT_OK)
        r = anonymizer_keep(who->item, pseudonym);
    return r;
}

/* ---- callbacks ---- */

/* A profile that is not there stops the run before it begins; the table is the host's own file. */
static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    const struct sendit_deid_plan *plan;

    (void)online;
    return anonymizer_compile(host, gives, &plan, why);
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "ids.memory", "There is no memory.");
    self->ids = SENDIT_SERVICE(host, ids);
    self->by_study = config->number(host, "no_patient") == 1;
    verdict = anonymizer_init(&self->common, host, gives, why);
    if (verdict != SENDIT_PASS) {
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
    return anonymizer_begin(&self->common, why);
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    struct identity who;
    sendit_verdict verdict = anonymizer_check_uids(&self->common, item->ds, why);
    sendit_result r;

    if (verdict == SENDIT_PASS)
        verdict = find_patient(self, item->ds, &who, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    r = derive(self, item->ds, &who);
    if (r != SENDIT_OK)
        return sendit_because(why, anonymizer_of_image(r), "ids.derive",
                              "No pseudonym could be derived for it.");
    const struct anonymizer_identity now = {who.entity, who.item, who.item};
    const struct sendit_var vars[] = {
        {"entity_id", who.entity}, {"item_id", who.item}, {"jitter", who.days}};

    return anonymizer_apply(&self->common, item, &now, vars, 3, why);
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    (void)batch, (void)why;
    anonymizer_finish(&self->common);
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_MUTATES | SENDIT_IDENTIFIERS, SENDIT_OPTIONS(options),
              .name = "local-anonymizer", .version = "1.0.0",
              .summary = "Derives identities from a site key and applies a profile of PS3.15.",
              .grants = "ids.replaced deid.header", .after = "pixels.checked filters.passed",
              .check = check, .open = start, .begin = begin, .process = process, .finish = finish,
              .close = stop);
