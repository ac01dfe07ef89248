/* SPDX-License-Identifier: Apache-2.0 */
/* LABELs that never or always hold, that others come before, and whitelists that are too wide. */
#include <string.h>

#include "deid/lint_parts.h"

#define MAX_PAIRS 1000000 /* of LABELs that are compared, of a recipe */

/* What an image may be of those LABELs: tried one by one. */
struct trial {
    struct logic logic;
    struct logic_view view, other;
};

static const char *of_kind(const struct recipe_group *group)
{
    return group->kind == GROUP_WHITE   ? "passes"
           : group->kind == GROUP_BLACK ? "holds back"
                                        : "holds back, or blanks,";
}

/* ---- never and always ---- */

static void look_at_truth(struct lint *lint, const struct recipe_group *group,
                          const struct recipe_label *label, const struct trial *trial)
{
    bool ever = false, always = true;

    for (uint32_t bits = 0; bits < 1u << trial->logic.n; bits++) {
        if (!logic_is_possible(&trial->logic, bits))
            continue;
        if (logic_holds(&trial->view, bits))
            ever = true;
        else
            always = false;
    }
    if (!ever)
        lint_say(lint, LINT_DEAD_LABEL, label->place,
                 "\"||\" where one test is enough, or take the LABEL out",
                 "no image can meet all that LABEL %.80s asks at once", label->name);
    else if (always)
        lint_say(lint, LINT_ALWAYS_LABEL, label->place,
                 label->n_tests ? "\"+\" where both tests must hold"
                                : "the tests that say which images these boxes are for",
                 "LABEL %.80s holds for every image: it %s all of them", label->name,
                 of_kind(group));
}

/* ---- whitelists ---- */

static bool is_one_of(const struct field *field, const uint32_t *tags)
{
    for (; field->kind == FIELD_PATH && field->n_steps == 1 && *tags; tags++)
        if (field->steps->tag == *tags)
            return true;
    return false;
}

/* Can it hold of an image of which no test has found one of these? */
static bool holds_without(const struct trial *trial, const uint32_t *tags)
{
    uint32_t mask = 0;

    for (size_t i = 0; i < trial->logic.n; i++) {
        const struct logic_var *var = &trial->logic.vars[i];

        if (var->base <= LOGIC_MATCHES && is_one_of(&var->test->field, tags) &&
            pattern_match(var->test->pattern, "", 0) == PATTERN_NO)
            mask |= 1u << i;
    }
    for (uint32_t bits = 0; bits < 1u << trial->logic.n; bits++)
        if (!(bits & mask) && logic_is_possible(&trial->logic, bits) &&
            logic_holds(&trial->view, bits))
            return true;
    return false;
}

static void look_at_whitelist(struct lint *lint, const struct recipe_label *label,
                              const struct trial *trial)
{
    static const uint32_t device[] = {0x00080070, 0x00081090, 0x00081010, 0x00181000,
                                      0x00181002, 0x00181020, 0};
    static const uint32_t kind[] = {0x00080008, 0x00080016, 0};

    if (holds_without(trial, device))
        lint_say(lint, LINT_WIDE_WHITELIST, label->place,
                 "\"+ contains ManufacturerModelName ...\", or Manufacturer, in each criterion",
                 "LABEL %.80s passes images of any device, before any other group is asked",
                 label->name);
    else if (holds_without(trial, kind))
        lint_say(
            lint, LINT_WIDE_WHITELIST, label->place,
            "\"+ contains ImageType ...\", or SOPClassUID, in each criterion",
            "LABEL %.80s passes any kind of image of its device, screen saves and reports, too",
            label->name);
}

static void look_at_boxes(struct lint *lint, const struct recipe_label *label)
{
    if (label->n_boxes)
        lint_say(lint, LINT_DEAD_RULE, label->boxes[0].place, "the boxes in a greylist",
                 "coordinates in a whitelist do nothing: what LABEL %.80s passes is not blanked",
                 label->name);
}

/* ---- several criteria ---- */

static void look_at_criteria(struct lint *lint, const struct recipe_label *label)
{
    const struct recipe_test *second = NULL;
    size_t n = 1;

    for (size_t i = 1; i < label->n_tests; i++) {
        if (label->tests[i].join != JOIN_NEW || label->tests[i].line != JOIN_NEW)
            continue;
        if (!second)
            second = &label->tests[i];
        n++;
    }
    if (second)
        lint_say(lint, LINT_SEVERAL_CRITERIA, second->place,
                 "\"+\" before it for AND, \"||\" for OR, or a LABEL of its own",
                 "this begins another criterion: LABEL %.80s has %zu, and one of them is enough",
                 label->name, n);
}

/* ---- LABELs that others come before ---- */

struct ranked {
    const struct recipe_group *group;
    const struct recipe_label *label;
    uint64_t fields; /* that it asks, as bits of a hash */
};

static uint64_t hash_fields(const struct recipe_label *label)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < label->n_tests; i++) {
        const struct field *field = &label->tests[i].field;
        uint32_t tag =
            field->kind == FIELD_PATH ? field->steps[field->n_steps - 1].tag : field->tag;

        bits |= UINT64_C(1) << (tag * UINT32_C(2654435761) >> 26);
    }
    return bits;
}

/* Whitelists are asked first, then blacklists, then all others. */
static size_t rank(const struct recipe *recipe, struct ranked *labels)
{
    static const enum recipe_group_kind order[] = {GROUP_WHITE, GROUP_BLACK, GROUP_GREY};
    size_t n = 0;

    for (size_t k = 0; k < 3; k++)
        for (size_t g = 0; g < recipe->n_groups; g++)
            for (size_t l = 0; recipe->groups[g].kind == order[k] && l < recipe->groups[g].n_labels;
                 l++) {
                const struct recipe_label *label = &recipe->groups[g].labels[l];

                labels[n++] = (struct ranked){&recipe->groups[g], label, hash_fields(label)};
            }
    return n;
}

/* Does `first` hold wherever `label` does? */
static bool covers(struct trial *trial, const struct recipe_label *first,
                   const struct recipe_label *label)
{
    bool ever = false;

    trial->logic.n = 0;
    if (!logic_take(&trial->logic, first, &trial->other) ||
        !logic_take(&trial->logic, label, &trial->view))
        return false;
    logic_relate(&trial->logic);
    for (uint32_t bits = 0; bits < 1u << trial->logic.n; bits++) {
        if (!logic_holds(&trial->view, bits) || !logic_is_possible(&trial->logic, bits))
            continue;
        ever = true;
        if (!logic_holds(&trial->other, bits))
            return false;
    }
    return ever;
}

static void look_for_shadows(struct lint *lint, struct trial *trial, const struct ranked *labels,
                             size_t n)
{
    size_t pairs = 0;

    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++) {
            const struct ranked *one = &labels[i], *first = &labels[k];

            /* boxes of all that hold are blanked, whoever decides; but of what a whitelist passes
             */
            if (first->fields & ~one->fields ||
                (one->label->n_boxes && first->group->kind != GROUP_WHITE))
                continue;
            if (++pairs > MAX_PAIRS) {
                lint->cut = true;
                return;
            }
            if (!covers(trial, first->label, one->label))
                continue;
            lint_say(lint, LINT_SHADOWED_LABEL, one->label->place,
                     "the narrower LABEL first, or take it out",
                     "LABEL %.80s never decides: LABEL %.80s of %s, %s line %u, holds before it",
                     one->label->name, first->label->name, first->group->name,
                     strcmp(first->label->place.file, one->label->place.file) ? "another recipe,"
                                                                              : "at",
                     first->label->place.line);
            break;
        }
}

void lint_labels(struct lint *lint)
{
    const struct recipe *recipe = lint->recipe;
    struct trial trial = {0};
    struct ranked *labels;
    size_t n = 0;

    for (size_t g = 0; g < recipe->n_groups; g++)
        n += recipe->groups[g].n_labels;
    labels = recipe_alloc(lint->recipe, (n + 1) * sizeof(*labels));
    if (!labels) {
        lint->failed = true;
        return;
    }
    n = rank(recipe, labels);
    for (size_t i = 0; i < n; i++) {
        const struct recipe_label *label = labels[i].label;

        look_at_criteria(lint, label);
        if (labels[i].group->kind == GROUP_WHITE)
            look_at_boxes(lint, label);
        lint_their_label(lint, label);
        trial.logic.n = 0;
        if (!logic_take(&trial.logic, label, &trial.view))
            continue;
        logic_relate(&trial.logic);
        look_at_truth(lint, labels[i].group, label, &trial);
        if (labels[i].group->kind == GROUP_WHITE)
            look_at_whitelist(lint, label, &trial);
    }
    look_for_shadows(lint, &trial, labels, n);
}
