/* SPDX-License-Identifier: Apache-2.0 */
#include "anonymizer.h"

#include <string.h>

#define TAG_SOP_INSTANCE 0x00080018u
#define TAG_SERIES 0x0020000Eu
#define FACT_SIZE (ANONYMIZER_ID + 16)

enum count { REMOVED, EMPTIED, REPLACED, UIDS, DATES, LOST_DATES };

static const char *const count_names[ANONYMIZER_N_COUNTS] = {
    [REMOVED] = "removed", [EMPTIED] = "emptied", [REPLACED] = "replaced",
    [UIDS] = "uids",       [DATES] = "dates",     [LOST_DATES] = "lost_dates",
};

sendit_verdict anonymizer_of_image(sendit_result r)
{
    sendit_verdict verdict = sendit_verdict_of(r);

    return verdict == SENDIT_FAIL ? SENDIT_QUARANTINE : verdict;
}

sendit_result anonymizer_keep(char ret_text[ANONYMIZER_ID], const char *text)
{
    size_t n = strlen(text);

    if (n >= ANONYMIZER_ID)
        return SENDIT_ECORRUPT;
    memcpy(ret_text, text, n + 1);
    return SENDIT_OK;
}

static int has_uid(const struct anonymizer *self, struct sendit_dataset *ds, uint32_t tag)
{
    const char *uid;

    return self->dicom->get(ds, tag, &uid) == SENDIT_OK && *uid;
}

sendit_verdict anonymizer_check_uids(const struct anonymizer *self, struct sendit_dataset *ds,
                                     struct sendit_why *why)
{
    if (!has_uid(self, ds, ANONYMIZER_TAG_STUDY))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_study",
                              "It has no Study Instance UID.");
    if (!has_uid(self, ds, TAG_SERIES))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_series",
                              "It has no Series Instance UID.");
    if (!has_uid(self, ds, TAG_SOP_INSTANCE))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_instance",
                              "It has no SOP Instance UID.");
    return SENDIT_PASS;
}

/* ---- the profile ---- */

static sendit_verdict check_variables(const struct sendit_deid *deid,
                                      const struct sendit_deid_plan *plan, const char *const *gives,
                                      struct sendit_why *why)
{
    const char *name;

    for (size_t i = 0; (name = deid->variable(plan, i)); i++) {
        size_t k = 0;

        while (gives[k] && strcmp(gives[k], name))
            k++;
        if (!gives[k])
            return sendit_because(why, SENDIT_FAIL, "ids.recipes",
                                  "A recipe asks for var:%.60s, which this stage does not give; "
                                  "its README lists those that it gives.",
                                  name);
    }
    return SENDIT_PASS;
}

sendit_verdict anonymizer_compile(const struct sendit_host *host, const char *const *gives,
                                  const struct sendit_deid_plan **ret_plan, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const struct sendit_deid *deid = SENDIT_SERVICE(host, deid);
    const char *const *profile = config->list(host, "profile");
    sendit_result r;

    if (!profile[0])
        return sendit_because(why, SENDIT_FAIL, "ids.profile",
                              "It has no profile; \"basic\" must be among them.");
    r = deid->compile(host, profile, config->list(host, "recipes"), ret_plan, why);
    if (r == SENDIT_OK)
        return check_variables(deid, *ret_plan, gives, why);
    if (!why->text[0])
        return sendit_because(why, SENDIT_FAIL, "ids.profile", "Its profile cannot be compiled.");
    return SENDIT_FAIL;
}

sendit_verdict anonymizer_init(struct anonymizer *self, const struct sendit_host *host,
                               const char *const *gives, struct sendit_why *why)
{
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->deid = SENDIT_SERVICE(host, deid);
    self->facts = SENDIT_SERVICE(host, facts);
    self->metrics = SENDIT_SERVICE(host, metrics);
    return anonymizer_compile(host, gives, &self->plan, why);
}

/* ---- a batch ---- */

sendit_verdict anonymizer_begin(struct anonymizer *self, struct sendit_why *why)
{
    sendit_result r;

    memset(self->counts, 0, sizeof(self->counts));
    self->study[0] = '\0';
    r = self->facts->put(self->host, NULL, "deid.profile", self->deid->digest(self->plan));
    if (r != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "ids.fact", "The profile could not be noted.");
    return SENDIT_PASS;
}

void anonymizer_finish(struct anonymizer *self)
{
    for (int i = 0; i < ANONYMIZER_N_COUNTS; i++)
        if (self->counts[i])
            self->metrics->add(self->host, count_names[i], self->counts[i]);
    memset(self->counts, 0, sizeof(self->counts));
}

static void count(struct anonymizer *self, const struct sendit_report *report)
{
    self->counts[REMOVED] += report->removed;
    self->counts[EMPTIED] += report->emptied;
    self->counts[REPLACED] += report->replaced;
    self->counts[UIDS] += report->uids;
    self->counts[DATES] += report->dates;
    self->counts[LOST_DATES] += report->lost_dates;
}

/* ---- an image ---- */

/*
 * Whose is the study?  The first image of the batch says so, and it stays so after a crash, when
 * that image may be decided and not come again: hence a fact, made of new values alone.
 */
static sendit_verdict check_study(struct anonymizer *self, const struct anonymizer_identity *who,
                                  struct sendit_why *why)
{
    const struct sendit_host *host = self->host;
    char fact[FACT_SIZE];
    const char *owner;
    sendit_result r;

    if (strcmp(self->study, who->study)) {
        snprintf(fact, sizeof(fact), "ids.study.%s", who->study);
        r = self->facts->get(host, NULL, fact, &owner);
        if (r == SENDIT_EABSENT) {
            owner = who->entity;
            r = self->facts->put(host, NULL, fact, owner);
        }
        if (r == SENDIT_OK)
            r = anonymizer_keep(self->entity, owner);
        if (r == SENDIT_OK)
            r = anonymizer_keep(self->study, who->study);
        if (r != SENDIT_OK) {
            self->study[0] = '\0';
            return sendit_because(why, sendit_verdict_of(r), "ids.fact",
                                  "The patient of the study could not be noted.");
        }
    }
    if (strcmp(self->entity, who->entity))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.two_patients",
                              "The first image of its study is of another patient.");
    return SENDIT_PASS;
}

sendit_verdict anonymizer_apply(struct anonymizer *self, const struct sendit_item *item,
                                const struct anonymizer_identity *who,
                                const struct sendit_var *vars, size_t n_vars,
                                struct sendit_why *why)
{
    const struct sendit_report *report;
    sendit_verdict verdict = check_study(self, who, why);
    sendit_result r;

    if (verdict != SENDIT_PASS)
        return verdict;
    r = self->deid->apply(self->plan, item->ds, vars, n_vars, &report, why);
    if (r != SENDIT_OK)
        return why->code[0] ? anonymizer_of_image(r)
                            : sendit_because(why, anonymizer_of_image(r), "ids.apply",
                                             "The profile could not be applied to it.");
    r = self->facts->put(self->host, item->id, "ids.entity", who->entity);
    if (r == SENDIT_OK)
        r = self->facts->put(self->host, item->id, "ids.item", who->item);
    if (r != SENDIT_OK)
        return sendit_because(why, sendit_verdict_of(r), "ids.fact",
                              "Its pseudonyms could not be noted.");
    count(self, report);
    return SENDIT_PASS;
}
