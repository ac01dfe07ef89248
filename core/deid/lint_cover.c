/* SPDX-License-Identifier: Apache-2.0 */
/* What no header rule means: of the table of PS3.15, and of the files of a corpus. */
#include <stdlib.h>
#include <string.h>

#include "deid/lint_parts.h"
#include "deid/rules.h"

#define SHOWN 12           /* attributes of the table that are named */
#define PRIVATE UINT32_MAX /* one of them that no rule can mean by its name */
#define N_PATTERNS 4

/* ---- PS3.15 ---- */

/* What the rules of a recipe, without a profile, do to an attribute of the top level. */
enum fate { FATE_NONE, FATE_CHANGED, FATE_KEPT };

static enum fate fate_of(struct lint *lint, uint32_t tag, const struct recipe_action **ret_keep)
{
    struct field_step step = {.tag = tag, .mask = UINT32_MAX, .item = -1};
    struct field field = {.kind = FIELD_PATH, .steps = &step, .n_steps = 1};
    const struct field unknown = {.kind = FIELD_PRIVATE, .tag = 0x7fdd10fe, .creator = "?"};
    enum fate fate = lint->recipe->otherwise == VERB_REMOVE || lint->recipe->otherwise == VERB_BLANK
                         ? FATE_CHANGED
                         : FATE_NONE;
    size_t n = 0;
    const uint32_t *owners = lint_owners(lint, tag == PRIVATE ? &unknown : &field, 0, &n);

    for (size_t i = 0; owners && i < n; i++) {
        const struct recipe_action *action = &lint->recipe->actions[owners[i]];

        if (action->field.kind == FIELD_VALUES)
            continue;
        if (action->verb == VERB_KEEP) {
            *ret_keep = action;
            return FATE_KEPT;
        }
        if (action->when == IF_ALWAYS)
            fate = FATE_CHANGED;
    }
    return fate;
}

static bool takes(enum action action)
{
    return action != ACT_KEEP && action != ACT_JUDGE;
}

static const char *call(struct lint *lint, uint32_t tag, bool with_tag)
{
    const struct name *name = names_of(lint->names, tag);
    unsigned group = tag >> 16, element = tag & 0xffff;

    if (tag == PRIVATE)
        return "private attributes";
    if (name && !with_tag)
        return name->keyword;
    return lint_text(lint, "(%04X,%04X)%s%s", group, element, name ? " " : "",
                     name ? name->keyword : "");
}

/* What becomes of the attributes that the profile does not leave. */
struct table {
    struct lint *lint;
    uint32_t *tags; /* owned, as are the others */
    enum fate *fates;
    const struct recipe_action **keeps;
    size_t n;
};

static bool is_asked(const struct rule *rule)
{
    uint32_t group = rule->tag >> 16;

    return takes((enum action)rule->action) && group != 0x0000 && group != 0x0002 &&
           group != 0x0004;
}

static void list(const struct table *table, enum fate fate, const struct recipe_action *keep,
                 struct buf *ret_names, size_t *ret_n)
{
    *ret_n = 0;
    for (size_t i = 0; i < table->n; i++) {
        if (table->fates[i] != fate || table->keeps[i] != keep)
            continue;
        if (*ret_n < SHOWN)
            buf_printf(ret_names, "%s%s", *ret_n ? ", " : "",
                       call(table->lint, table->tags[i], false));
        ++*ret_n;
    }
    buf_str(ret_names, *ret_n > SHOWN ? " ..." : "");
    if (ret_names->failed)
        table->lint->failed = true;
}

static void look_at_keeps(const struct table *table)
{
    const struct recipe *recipe = table->lint->recipe;

    for (size_t i = 0; i < recipe->n_actions; i++) {
        struct buf names = {0};
        size_t n = 0;

        if (recipe->actions[i].verb == VERB_KEEP)
            list(table, FATE_KEPT, &recipe->actions[i], &names, &n);
        if (n && !names.failed)
            lint_say(table->lint, LINT_KEEPS, recipe->actions[i].place,
                     "nothing, if it must stay; give the reason",
                     "this keeps what the profile does not: %s", names.data);
        buf_fini(&names);
    }
}

/* One finding for all that is left alone, or one for each. */
static void look_at_rest(const struct table *table, bool each)
{
    static const char instead[] =
        "a profile before it (local-anonymizer has one), or DEFAULT REMOVE";
    struct lint *lint = table->lint;
    const struct recipe *recipe = lint->recipe;
    struct recipe_place place =
        recipe->n_actions ? recipe->actions[0].place : recipe->otherwise_place;
    struct buf names = {0};
    size_t n;

    for (size_t i = 0; each && i < table->n; i++)
        if (table->fates[i] == FATE_NONE)
            lint_say(lint, LINT_LEAVES, place, instead,
                     "no rule means %s, which the profile does not leave as it is",
                     call(lint, table->tags[i], true));
    if (each)
        return;
    list(table, FATE_NONE, NULL, &names, &n);
    if (n && !names.failed)
        lint_say(lint, LINT_LEAVES, place, instead,
                 "no rule means %zu attributes that the profile does not leave as they are: %s", n,
                 names.data);
    buf_fini(&names);
}

static void add_tag(struct table *table, uint32_t tag)
{
    table->tags[table->n] = tag;
    table->fates[table->n] = fate_of(table->lint, tag, &table->keeps[table->n]);
    table->n++;
}

static void look_at_table(struct lint *lint, const struct deid_plan *plan, bool each)
{
    /* curves, overlays and what is private go whole, and stand in no rule of the plan */
    static const uint32_t patterns[N_PATTERNS] = {0x50003000, 0x60003000, 0x60004000, PRIVATE};
    size_t room = plan->n_rules + N_PATTERNS;
    struct table table = {.lint = lint,
                          .tags = calloc(room, sizeof(*table.tags)),
                          .fates = calloc(room, sizeof(*table.fates)),
                          .keeps = calloc(room, sizeof(*table.keeps))};

    if (!table.tags || !table.fates || !table.keeps) {
        lint->failed = true;
    } else {
        for (size_t i = 0; i < N_PATTERNS; i++)
            add_tag(&table, patterns[N_PATTERNS - 1 - i]);
        for (size_t i = 0; i < plan->n_rules; i++)
            if (is_asked(&plan->rules[i]))
                add_tag(&table, plan->rules[i].tag);
        look_at_keeps(&table);
        look_at_rest(&table, each);
    }
    free(table.tags);
    free(table.fates);
    free(table.keeps);
}

int lint_profile(struct lint *lint, const char *const *profiles, const char *filters,
                 struct err *err)
{
    static const char *const basic[] = {"basic", NULL};
    struct deid_plan *plan;

    if (deid_compile(profiles ? profiles : basic, NULL, filters, &plan, err))
        return -1;
    if (lint->recipe->n_actions || lint->recipe->otherwise)
        look_at_table(lint, plan, profiles);
    deid_free(plan);
    return lint->failed ? err_set(err, ERR_PLACE, "no memory for what there is to say") : 0;
}

/* ---- a corpus ---- */

static int compare_tags(const void *a, const void *b)
{
    uint32_t left = ((const struct lint_tag *)a)->tag, right = ((const struct lint_tag *)b)->tag;

    return left < right ? -1 : left > right;
}

static int count_tag(struct lint *lint, uint32_t tag)
{
    struct lint_tag key = {.tag = tag, .files = 1, .last = lint->files}, *known, *more;

    known =
        lint->n_tags ? bsearch(&key, lint->tags, lint->n_tags, sizeof(key), compare_tags) : NULL;
    if (known) {
        known->files += known->last != lint->files;
        known->last = lint->files;
        return 0;
    }
    if (lint->n_tags == LINT_MAX_TAGS) {
        lint->many_tags = true;
        return 0;
    }
    more = realloc(lint->tags, (lint->n_tags + 1) * sizeof(*more));
    if (!more)
        return -1;
    lint->tags = more;
    lint->tags[lint->n_tags++] = key;
    qsort(lint->tags, lint->n_tags, sizeof(*lint->tags), compare_tags);
    return 0;
}

/* Of a private element the block is a matter of the file. */
static int32_t visit(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct lint *lint = ctx;
    bool is_private = e->tag >> 16 & 1;
    const uint32_t *owners;
    size_t n;

    if (!spot_enter(&lint->spot, parent, e) ||
        selection_find(lint->actions, &lint->spot, &owners, &n)) {
        lint->cut = true;
        return SENDIT_KEEP;
    }
    for (size_t i = 0; i < n; i++)
        if (lint->recipe->actions[owners[i]].field.kind != FIELD_VALUES)
            return SENDIT_KEEP;
    if (lint->recipe->otherwise || e->tag >> 16 == 0x7fe0)
        return SENDIT_KEEP;
    if (is_private && (e->tag & 0xffff) < 0x100) /* a creator goes with its elements */
        return SENDIT_KEEP;
    if (count_tag(lint, is_private ? e->tag & 0xffff00ff : e->tag)) {
        lint->failed = true;
        return SENDIT_STOP;
    }
    return SENDIT_KEEP;
}

int lint_object(struct lint *lint, struct sendit_dataset *ds, struct err *err)
{
    lint->files++;
    selection_start(lint->actions);
    dicom_walk(ds, visit, lint);
    return lint->failed ? err_set(err, ERR_PLACE, "no memory for what there is to say") : 0;
}
