/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deid-filter: holds images that a LABEL of a recipe names, by what their headers say.
 */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#define BOXES_SIZE                                                                                 \
    960 /* of the fact; the host keeps 1,024 bytes of one, and 1,000 of a message                  \
         */
#define LABEL_SHOWN 60
#define BOXES_SHOWN 80 /* in the sentence */
#define MAX_TOLD 20    /* LABELs of whitelists that are listed at start */

enum count { PASSED, WHITELISTED, HELD, HANDED_ON, N_COUNTS };

static const char *const count_names[N_COUNTS] = {
    [PASSED] = "passed",
    [WHITELISTED] = "whitelisted",
    [HELD] = "held",
    [HANDED_ON] = "handed_on",
};

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_deid *deid;
    const struct sendit_facts *facts;
    const struct sendit_metrics *metrics;
    const struct sendit_deid_plan *plan;
    int hands_on;             /* what a greylist names, without the label */
    int64_t counts[N_COUNTS]; /* of the batch in hand */
};

static const struct sendit_option options[] = {
    {"recipes", SENDIT_OPT_STRING, SENDIT_OPT_MANY, "dicom", NULL,
     "Recipes: \"dicom\" is filters/deid.dicom, what has a \"/\" is a path."},
    {"on_greylist", SENDIT_OPT_CHOICE, 0, "quarantine", "quarantine|pass",
     "What becomes of an image that a greylist names: \"pass\" hands it on without "
     "filters.passed."},
};

/* ---- recipes ---- */

static sendit_verdict compile(const struct sendit_host *host,
                              const struct sendit_deid_plan **ret_plan, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const struct sendit_deid *deid = SENDIT_SERVICE(host, deid);
    static const char *const no_profile[] = {NULL};
    const char *const *recipes = config->list(host, "recipes");
    sendit_result r;

    if (!recipes[0])
        return sendit_because(why, SENDIT_FAIL, "filter.none",
                              "It has no recipe; name one, or take the stage out.");
    r = deid->compile(host, no_profile, recipes, ret_plan, why);
    if (r == SENDIT_EIO || r == SENDIT_ENOMEM)
        return sendit_because(why, SENDIT_RETRY, "filter.memory", "There is no memory.");
    if (r != SENDIT_OK)
        return why->text[0] ? SENDIT_FAIL
                            : sendit_because(why, SENDIT_FAIL, "filter.recipe",
                                             "Its recipes cannot be compiled.");
    if (!deid->label(*ret_plan, 0))
        return sendit_because(why, SENDIT_FAIL, "filter.none",
                              "Its recipes have no %%filter: nothing would be held.");
    return SENDIT_PASS;
}

/* A whitelist lets pass what nobody looks at: the site shall see what it vouches for. */
static void tell_whitelists(const struct sendit_host *host, const struct sendit_deid_plan *plan)
{
    const struct sendit_deid *deid = SENDIT_SERVICE(host, deid);
    const struct sendit_match *label;
    size_t told = 0;
    char text[160];

    for (size_t i = 0; (label = deid->label(plan, i)); i++) {
        if (label->flagged || told++ >= MAX_TOLD)
            continue;
        snprintf(text, sizeof(text), "The whitelist LABEL \"%.*s\" lets pass what it names.",
                 LABEL_SHOWN, label->label);
        host->log(host, SENDIT_WARN, "filter.whitelist", text);
    }
}

/* ---- one image ---- */

/* "x,y,w,h x,y,w,h"; 0 if they do not fit. */
static int write_boxes(const struct sendit_match *match, char *text, size_t size)
{
    size_t n = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < match->n_boxes; i++) {
        const struct sendit_box *box = &match->boxes[i];
        int wrote = snprintf(text + n, size - n, "%s%u,%u,%u,%u", i ? " " : "", box->x, box->y,
                             box->width, box->height);

        if (wrote < 0 || (size_t)wrote >= size - n)
            return 0;
        n += (size_t)wrote;
    }
    return 1;
}

/* How much of the boxes is shown: whole ones. */
static int shown(const char *boxes)
{
    int n = BOXES_SHOWN;

    if (strlen(boxes) <= BOXES_SHOWN)
        return (int)strlen(boxes);
    while (n && boxes[n] != ' ')
        n--;
    return n;
}

/* The ledger keeps the sentence, and with it the boxes; what it has no room for, as a message of
 * the image. */
static sendit_verdict hold(struct sendit_stage_state *self, const struct sendit_match *match,
                           const char *boxes, struct sendit_why *why)
{
    int n = shown(boxes);
    char text[BOXES_SIZE + 20];

    if (boxes[n]) {
        snprintf(text, sizeof(text), "All to blank: %s.", boxes);
        self->host->log(self->host, SENDIT_WARN, "filter.boxes", text);
    }
    self->counts[HELD]++;
    return sendit_because(
        why, SENDIT_QUARANTINE,
        strcmp(match->group, "blacklist") ? "filter.greylist" : "filter.blacklist",
        "LABEL \"%.*s\" of the %.30s names it%s%.*s%s.", LABEL_SHOWN, match->label, match->group,
        *boxes ? "; to blank: " : "", n, boxes, boxes[n] ? " and more" : "");
}

/* Without filters.passed, which whoever blanks the boxes may grant; without a box, nobody. */
static sendit_verdict hand_on(struct sendit_stage_state *self, const struct sendit_item *item,
                              const char *boxes, struct sendit_why *why)
{
    if (self->facts->put(self->host, item->id, "deid.boxes", boxes) != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "filter.fact", "Its boxes could not be noted.");
    self->counts[HANDED_ON]++;
    return SENDIT_SKIP;
}

/* ---- callbacks ---- */

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    const struct sendit_deid_plan *plan;
    sendit_verdict verdict = compile(host, &plan, why);

    (void)online;
    if (verdict == SENDIT_PASS)
        tell_whitelists(host, plan);
    return verdict == SENDIT_PASS ? verdict : SENDIT_FAIL;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "filter.memory", "There is no memory.");
    self->host = host;
    self->deid = SENDIT_SERVICE(host, deid);
    self->facts = SENDIT_SERVICE(host, facts);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->hands_on = config->number(host, "on_greylist") == 1;
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
    (void)batch, (void)why;
    memset(self->counts, 0, sizeof(self->counts));
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const struct sendit_match *match;
    char boxes[BOXES_SIZE];
    sendit_verdict verdict;
    sendit_result r = self->deid->filter(self->plan, item->ds, &match, why);

    if (r == SENDIT_EABSENT) {
        self->counts[PASSED]++;
        return SENDIT_PASS;
    }
    if (r != SENDIT_OK) {
        verdict = sendit_verdict_of(r);
        if (verdict == SENDIT_FAIL)
            verdict = SENDIT_QUARANTINE;
        return why->code[0]
                   ? verdict
                   : sendit_because(why, verdict, "filter.unknown", "No filter could judge it.");
    }
    if (!match->flagged) {
        self->counts[WHITELISTED]++;
        return SENDIT_PASS;
    }
    if (!write_boxes(match, boxes, sizeof(boxes)))
        return sendit_because(why, SENDIT_QUARANTINE, "filter.boxes",
                              "LABEL \"%.*s\" has more boxes for it than can be noted.",
                              LABEL_SHOWN, match->label);
    if (self->hands_on && strcmp(match->group, "blacklist"))
        return hand_on(self, item, match->flagged == 2 ? "" : boxes, why);
    return hold(self, match, boxes, why);
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

SENDIT_PLUGIN(.flags = SENDIT_READS, SENDIT_OPTIONS(options), .name = "deid-filter",
              .version = "1.0.0", .summary = "Holds images that the filters of recipes name.",
              .grants = "filters.passed", .before = "ids.replaced deid.header filters.passed",
              .check = check, .open = start, .begin = begin, .process = process, .finish = finish,
              .close = stop);
