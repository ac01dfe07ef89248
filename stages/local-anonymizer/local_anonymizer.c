/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local-anonymizer: gives each image the identity that the site key derives, and edits it by a
 * profile of PS3.15.
 */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#define TAG_SOP_INSTANCE 0x00080018u
#define TAG_STUDY 0x0020000Du
#define TAG_SERIES 0x0020000Eu

#define PSEUDONYM_SIZE 65
#define FACT_SIZE (PSEUDONYM_SIZE + 16)

enum count { REMOVED, EMPTIED, REPLACED, UIDS, DATES, LOST_DATES, N_COUNTS };

static const char *const count_names[N_COUNTS] = {
    [REMOVED] = "removed", [EMPTIED] = "emptied", [REPLACED] = "replaced",
    [UIDS] = "uids",       [DATES] = "dates",     [LOST_DATES] = "lost_dates",
};

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_ids *ids;
    const struct sendit_deid *deid;
    const struct sendit_facts *facts;
    const struct sendit_metrics *metrics;
    const struct sendit_deid_plan *plan;
    int by_study;              /* a patient without an id is the study */
    int64_t counts[N_COUNTS];  /* of the batch in hand */
    char item[PSEUDONYM_SIZE]; /* the study that came last, and whose it is */
    char entity[PSEUDONYM_SIZE];
};

/* Who an image is of; the texts live until process() returns. */
struct identity {
    const char *patient; /* original: for the host alone */
    char own[80];        /* room for it, where it is the study */
    char entity[PSEUDONYM_SIZE], item[PSEUDONYM_SIZE];
    char days[16];
};

static const struct sendit_option options[] = {
    {"profile", SENDIT_OPT_STRING, SENDIT_OPT_MANY,
     "basic retain-patient-characteristics retain-modified-dates", NULL,
     "The profile of PS3.15 and its options."},
    {"recipes", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL,
     "Recipes that say more than the profile: \"NAME\" is filters/deid.NAME, or a path."},
    {"key", SENDIT_OPT_SECRET, 0, NULL, NULL,
     "The site key, \"file:PATH\"; else one is made in the state folder."},
    {"no_patient", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|study",
     "What becomes of an image without PatientID: \"study\" takes its study for the patient."},
};

/* ---- who it is ---- */

/* What a result about one image costs: that image, unless a retry may help. */
static sendit_verdict of_image(sendit_result r)
{
    sendit_verdict verdict = sendit_verdict_of(r);

    return verdict == SENDIT_FAIL ? SENDIT_QUARANTINE : verdict;
}

static int has_uid(const struct sendit_stage_state *self, struct sendit_dataset *ds, uint32_t tag)
{
    const char *uid;

    return self->dicom->get(ds, tag, &uid) == SENDIT_OK && *uid;
}

static sendit_verdict check_uids(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                                 struct sendit_why *why)
{
    if (!has_uid(self, ds, TAG_STUDY))
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

static sendit_verdict find_patient(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                                   struct identity *who, struct sendit_why *why)
{
    sendit_result r = self->ids->patient(ds, &who->patient);
    const char *study;

    if (r == SENDIT_OK)
        return SENDIT_PASS;
    if (r != SENDIT_EABSENT)
        return sendit_because(why, of_image(r), "ids.bad_patient", "Its PatientID cannot be read.");
    if (!self->by_study)
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_patient",
                              "It has no PatientID; no_patient says what else may become of it.");
    r = self->dicom->get(ds, TAG_STUDY, &study);
    if (r != SENDIT_OK)
        return sendit_because(why, of_image(r), "ids.no_study",
                              "Its Study Instance UID cannot be read.");
    /* No PatientID has a line end in it, so this is never one of them. */
    if ((size_t)snprintf(who->own, sizeof(who->own), "study\n%s", study) >= sizeof(who->own))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.no_study",
                              "Its Study Instance UID is longer than a UID may be.");
    who->patient = who->own;
    return SENDIT_PASS;
}

static sendit_result keep(char ret_text[PSEUDONYM_SIZE], const char *text)
{
    size_t n = strlen(text);

    if (n >= PSEUDONYM_SIZE)
        return SENDIT_ECORRUPT;
    memcpy(ret_text, text, n + 1);
    return SENDIT_OK;
}

/* The new values that stand for patient and study. */
static sendit_result derive(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                            struct identity *who)
{
    const struct sendit_host *host = self->host;
    const char *study, *pseudonym;
    int32_t days;
    sendit_result r = self->ids->pseudonym(host, "patient", who->patient, &pseudonym);

    if (r == SENDIT_OK)
        r = keep(who->entity, pseudonym);
    if (r == SENDIT_OK)
        r = self->ids->days(host, who->patient, &days);
    if (r == SENDIT_OK) {
        snprintf(who->days, sizeof(who->days), "%d", (int)days);
        r = self->dicom->get(ds, TAG_STUDY, &study);
    }
    if (r == SENDIT_OK)
        r = self->ids->pseudonym(host, "study", study, &pseudonym);
    if (r == SENDIT_OK)
        r = keep(who->item, pseudonym);
    return r;
}

/*
 * Whose is the study?  The first image of the batch says so, and it stays so after a crash, when
 * that image may be decided and not come again: hence a fact, made of new values alone.
 */
static sendit_verdict check_study(struct sendit_stage_state *self, const struct identity *who,
                                  struct sendit_why *why)
{
    const struct sendit_host *host = self->host;
    char fact[FACT_SIZE];
    const char *owner;
    sendit_result r;

    if (strcmp(self->item, who->item)) {
        snprintf(fact, sizeof(fact), "ids.study.%s", who->item);
        r = self->facts->get(host, NULL, fact, &owner);
        if (r == SENDIT_EABSENT) {
            owner = who->entity;
            r = self->facts->put(host, NULL, fact, owner);
        }
        if (r == SENDIT_OK)
            r = keep(self->entity, owner);
        if (r != SENDIT_OK) {
            self->item[0] = '\0';
            return sendit_because(why, sendit_verdict_of(r), "ids.fact",
                                  "The patient of the study could not be noted.");
        }
        memcpy(self->item, who->item, sizeof(self->item));
    }
    if (strcmp(self->entity, who->entity))
        return sendit_because(why, SENDIT_QUARANTINE, "ids.two_patients",
                              "The first image of its study is of another patient.");
    return SENDIT_PASS;
}

static void count(struct sendit_stage_state *self, const struct sendit_report *report)
{
    self->counts[REMOVED] += report->removed;
    self->counts[EMPTIED] += report->emptied;
    self->counts[REPLACED] += report->replaced;
    self->counts[UIDS] += report->uids;
    self->counts[DATES] += report->dates;
    self->counts[LOST_DATES] += report->lost_dates;
}

/* ---- callbacks ---- */

/* A recipe may ask for what this stage gives, and for nothing else. */
static sendit_verdict check_variables(const struct sendit_deid *deid,
                                      const struct sendit_deid_plan *plan, struct sendit_why *why)
{
    const char *name;

    for (size_t i = 0; (name = deid->variable(plan, i)); i++)
        if (strcmp(name, "entity_id") && strcmp(name, "item_id") && strcmp(name, "jitter"))
            return sendit_because(
                why, SENDIT_FAIL, "ids.recipes",
                "A recipe asks for var:%.60s; this stage gives entity_id, item_id "
                "and jitter.",
                name);
    return SENDIT_PASS;
}

static sendit_verdict compile(const struct sendit_host *host,
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
        return check_variables(deid, *ret_plan, why);
    if (!why->text[0])
        return sendit_because(why, SENDIT_FAIL, "ids.profile", "Its profile cannot be compiled.");
    return SENDIT_FAIL;
}

/* A profile that is not there stops the run before it begins; the table is the host's own file. */
static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    const struct sendit_deid_plan *plan;

    (void)online;
    return compile(host, &plan, why);
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "ids.memory", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->ids = SENDIT_SERVICE(host, ids);
    self->deid = SENDIT_SERVICE(host, deid);
    self->facts = SENDIT_SERVICE(host, facts);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->by_study = config->number(host, "no_patient") == 1;
    verdict = compile(host, &self->plan, why);
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
    sendit_result r;

    (void)batch;
    memset(self->counts, 0, sizeof(self->counts));
    self->item[0] = '\0';
    r = self->facts->put(self->host, NULL, "deid.profile", self->deid->digest(self->plan));
    if (r != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "ids.fact", "The profile could not be noted.");
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const struct sendit_report *report;
    struct identity who;
    sendit_verdict verdict = check_uids(self, item->ds, why);
    sendit_result r;

    if (verdict == SENDIT_PASS)
        verdict = find_patient(self, item->ds, &who, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    r = derive(self, item->ds, &who);
    if (r != SENDIT_OK)
        return sendit_because(why, of_image(r), "ids.derive",
                              "No pseudonym could be derived for it.");
    verdict = check_study(self, &who, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    const struct sendit_var vars[] = {
        {"entity_id", who.entity}, {"item_id", who.item}, {"jitter", who.days}};
    r = self->deid->apply(self->plan, item->ds, vars, 3, &report, why);
    if (r != SENDIT_OK)
        return why->code[0] ? of_image(r)
                            : sendit_because(why, of_image(r), "ids.apply",
                                             "The profile could not be applied to it.");
    r = self->facts->put(self->host, item->id, "ids.entity", who.entity);
    if (r == SENDIT_OK)
        r = self->facts->put(self->host, item->id, "ids.item", who.item);
    if (r != SENDIT_OK)
        return sendit_because(why, sendit_verdict_of(r), "ids.fact",
                              "Its pseudonyms could not be noted.");
    count(self, report);
    return SENDIT_PASS;
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    (void)batch, (void)why;
    for (int i = 0; i < N_COUNTS; i++)
        if (self->counts[i])
            self->metrics->add(self->host, count_names[i], self->counts[i]);
    memset(self->counts, 0, sizeof(self->counts));
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
