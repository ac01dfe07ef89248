/* SPDX-License-Identifier: Apache-2.0 */
/* Header rules that have no effect, and patterns. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deid/lint_parts.h"
#include "deid/value.h"

#define MAX_MEETING 256 /* rules that mean one place and are held beside each other */

/* ---- which rule makes another one idle ---- */

static bool is_certain(const struct recipe_action *action)
{
    return action->when == IF_ALWAYS && action->field.kind != FIELD_VALUES;
}

/* Does it give a value that has nothing of what stood there? */
static bool gives_anew(const struct recipe_action *action)
{
    return action->gives == GIVES_TEXT || action->gives == GIVES_VAR;
}

static bool is_direct(const struct recipe_action *action)
{
    return action->field.kind != FIELD_FIELDS && action->field.kind != FIELD_VALUES;
}

/* The actions that mean one place, as they come. */
struct meeting {
    const struct recipe *recipe;
    const uint32_t *owners;
    size_t n;
    bool gives_way; /* REMOVE does, to a REPLACE or JITTER */
    bool by_words;  /* others may mean a part of it, too */
};

static bool removes(const struct meeting *m, const struct recipe_action *action)
{
    return action->verb == VERB_REMOVE && is_certain(action) && !m->gives_way;
}

/* An earlier one after which this changes nothing. */
static const char *idle_after(const struct meeting *m, const struct recipe_action *one,
                              const struct recipe_action *before)
{
    if (one->verb == VERB_ADD || one->verb == VERB_REPLACE)
        return NULL;
    if (one->verb == VERB_KEEP) /* one in items also keeps what leads to them */
        return before->verb == VERB_KEEP && is_direct(before) &&
                       (one->field.n_steps < 2 || lint_same_field(&one->field, &before->field))
                   ? "keeps it already"
                   : NULL;
    if (removes(m, before))
        return "removes it before";
    if (one->verb != VERB_REMOVE && before->verb == VERB_BLANK && is_certain(before))
        return "empties it before";
    return NULL;
}

/* A later one that leaves nothing of what this does.  What ADD makes is there for a REPLACE. */
static const char *undone_by(const struct meeting *m, const struct recipe_action *one,
                             const struct recipe_action *after)
{
    if (one->verb == VERB_KEEP || one->verb == VERB_REMOVE)
        return NULL;
    if (removes(m, after))
        return "removes it again";
    if (one->verb == VERB_ADD)
        return after->verb == VERB_ADD && gives_anew(after) ? "gives it another value" : NULL;
    if (after->verb == VERB_REPLACE && gives_anew(after) && is_certain(after))
        return "gives it another value";
    return one->verb != VERB_BLANK && after->verb == VERB_BLANK && is_certain(after)
               ? "empties it again"
               : NULL;
}

/* Does it keep a REMOVE of the same from acting? */
static bool protects(const struct meeting *m, const struct recipe_action *one)
{
    bool removed = false;

    for (size_t i = 0; i < m->n; i++)
        removed = removed || m->recipe->actions[m->owners[i]].verb == VERB_REMOVE;
    return removed && is_direct(one) && (one->verb == VERB_REPLACE || one->verb == VERB_JITTER);
}

/* Between two of the meeting, from numbers of it. */
static bool gives_in_between(const struct meeting *m, size_t from, size_t to)
{
    const struct recipe_action *actions = m->recipe->actions;
    bool gives = false;

    for (size_t i = from + 1; !m->by_words && i < to; i++)
        gives = gives || actions[m->owners[i]].verb == VERB_ADD ||
                actions[m->owners[i]].verb == VERB_REPLACE;
    for (size_t i = m->owners[from]; m->by_words && i < m->owners[to]; i++)
        gives = gives || actions[i].verb == VERB_ADD || actions[i].verb == VERB_REPLACE;
    return gives;
}

/* Why number `at` of the meeting does nothing; NULL if it does something. */
static const char *idle(const struct meeting *m, size_t at, const struct recipe_action **ret_other,
                        bool *ret_lost)
{
    const struct recipe_action *actions = m->recipe->actions, *one = &actions[m->owners[at]];

    for (size_t i = 0; i < m->n; i++) {
        const struct recipe_action *other = *ret_other = &actions[m->owners[i]];
        const char *why = NULL;

        if (i == at || other->field.except)
            continue;
        if (other->verb == VERB_KEEP && is_direct(other) && one->verb != VERB_KEEP &&
            one->verb != VERB_ADD)
            return "keeps it, and KEEP comes before all but ADD";
        if (one->verb == VERB_REMOVE && is_direct(other) &&
            (other->verb == VERB_REPLACE || other->verb == VERB_JITTER))
            return "gives it a value, and REMOVE gives way to that";
        if (protects(m, one))
            continue;
        if (i < at && !gives_in_between(m, i, at))
            why = idle_after(m, one, other);
        else if (i > at)
            why = undone_by(m, one, other);
        *ret_lost = i > at;
        if (why)
            return why;
    }
    return NULL;
}

static const char *where(struct lint *lint, const struct recipe_place *from,
                         const struct recipe_place *to)
{
    if (!strcmp(from->file, to->file))
        return lint_text(lint, "line %u", to->line);
    return lint_text(lint, "line %u of %.200s", to->line, to->file);
}

static void meet(struct lint *lint, const struct recipe_action *action, struct meeting *m)
{
    size_t index = (size_t)(action - lint->recipe->actions), at = m->n;
    const struct recipe_action *other;
    const char *why;
    bool lost = false;

    if (m->n > MAX_MEETING) {
        m->n = at = MAX_MEETING;
        lint->cut = true;
    }
    for (size_t i = 0; i < m->n; i++) {
        const struct recipe_action *one = &lint->recipe->actions[m->owners[i]];

        if (m->owners[i] == index)
            at = i;
        m->gives_way = m->gives_way ||
                       (is_direct(one) && (one->verb == VERB_REPLACE || one->verb == VERB_JITTER));
    }
    why = at < m->n ? idle(m, at, &other, &lost) : NULL;
    if (why)
        lint_say(lint, LINT_DEAD_RULE, action->place, "one of the two",
                 lost ? "what this %s of %.80s gives is lost: %s %s"
                      : "this %s of %.80s does nothing: %s %s",
                 recipe_verb_name(action->verb), action->field.text,
                 where(lint, &action->place, &other->place), why);
}

/* Rules with the same words, or ALL, where it cannot be said what else a field means. */
static void meet_by_words(struct lint *lint, const struct recipe_action *action)
{
    const struct recipe *recipe = lint->recipe;
    uint32_t owners[MAX_MEETING];
    struct meeting m = {.recipe = recipe, .owners = owners, .by_words = true};

    /* what it means may be given a value by a rule with other words */
    for (size_t i = 0; i < recipe->n_actions; i++)
        m.gives_way = m.gives_way || recipe->actions[i].verb == VERB_REPLACE ||
                      recipe->actions[i].verb == VERB_JITTER;
    if (action->field.kind == FIELD_NOTHING || action->field.kind == FIELD_VALUES)
        return;
    for (size_t i = 0; i < recipe->n_actions && m.n < MAX_MEETING; i++) {
        const struct recipe_action *other = &recipe->actions[i];

        if (other == action || other->field.kind == FIELD_ALL ||
            lint_same_field(&other->field, &action->field))
            owners[m.n++] = (uint32_t)i;
    }
    if (m.n > 1)
        meet(lint, action, &m);
}

/* ---- in what is removed ---- */

static void look_above(struct lint *lint, const struct recipe_action *action)
{
    const struct field *field = &action->field;

    for (size_t depth = 0; action->verb != VERB_KEEP && depth + 1 < field->n_steps; depth++) {
        struct meeting m = {.recipe = lint->recipe};
        const struct recipe_action *remover = NULL;

        m.owners = lint_owners(lint, field, depth, &m.n);
        for (size_t i = 0; m.owners && i < m.n; i++) {
            const struct recipe_action *one = &lint->recipe->actions[m.owners[i]];

            if (one->verb == VERB_KEEP && is_direct(one)) {
                lint_say(lint, LINT_DEAD_RULE, action->place, "one of the two",
                         "this %s of %.80s does nothing: %s keeps the sequence that it stands in, "
                         "with all that is in it",
                         recipe_verb_name(action->verb), field->text,
                         where(lint, &action->place, &one->place));
                return;
            }
            if ((one->verb == VERB_REMOVE || one->verb == VERB_BLANK) && is_certain(one) &&
                one != action && !remover)
                remover = one;
        }
        if (!remover)
            continue;
        lint_say(lint, LINT_INSIDE_REMOVED, action->place,
                 "KEEP of the sequence, or one of the two",
                 "this %s of %.80s finds nothing: %s takes away the sequence that it stands in",
                 recipe_verb_name(action->verb), field->text,
                 where(lint, &action->place, &remover->place));
        return;
    }
}

/* ---- single rules ---- */

static bool can_be_date(const char *vr)
{
    return value_class(value_vr(vr)) == VALUE_TEXT
               ? strcmp(vr, "PN") && strcmp(vr, "AE")
               : !strcmp(vr, "DA") || !strcmp(vr, "DT") || !strcmp(vr, "TM");
}

static void look_at_dates(struct lint *lint, const struct recipe_action *action)
{
    const struct name *name = lint_name(lint, &action->field);
    uint8_t meant = lint->meant[action - lint->recipe->actions];
    bool function = action->gives == GIVES_FUNC && action->func == FUNC_JITTER;

    if (action->verb != VERB_JITTER && !function)
        return;
    if (name && !can_be_date(name->vr))
        lint_say(lint, LINT_NO_DATE, action->field.place, "an attribute of VR DA or DT",
                 "%s has VR %s: it is no date, and each image that has it is held", name->keyword,
                 name->vr);
    else if ((name && !strcmp(name->vr, "TM")) || meant == MEANS_TM)
        lint_say(lint, LINT_NO_DATE, action->field.place, "REMOVE or BLANK, if it should go",
                 "%.60s is a time of day, which days do not move",
                 name ? name->keyword : action->field.text);
    else if (!name && action->field.kind != FIELD_VALUES && meant & MEANS_OTHER)
        lint_say(lint, LINT_NO_DATE, action->field.place,
                 "a field that means dates alone, such as select:VR:DA",
                 "%.60s means attributes that are no dates, too: an image in which one of them is "
                 "none is held",
                 action->field.text);
    else if ((action->verb == VERB_JITTER && action->gives == GIVES_NOTHING && !action->days) ||
             (function && action->has_days && !action->days))
        lint_say(lint, LINT_NO_DATE, action->place, "var:jitter, or a number of days",
                 "a JITTER of 0 days moves nothing");
}

/* Is each of its values a number? */
static bool are_numbers(const char *text)
{
    while (*text) {
        char *end;

        strtod(text, &end);
        if (end == text || (*end && *end != '\\'))
            return false;
        text = end + (*end == '\\');
    }
    return true;
}

static bool fits(const struct name *name, const char *text)
{
    switch (value_class(value_vr(name->vr))) {
    case VALUE_STRING:
        return value_fits(value_vr(name->vr), text, strlen(text));
    case VALUE_NUMBER:
        return !strcmp(name->vr, "AT") || are_numbers(text);
    default:
        return true;
    }
}

static void look_at_text(struct lint *lint, const struct recipe_action *action)
{
    const struct name *name = lint_name(lint, &action->field);
    struct word line = lint_word(lint, &action->place);

    if ((action->verb != VERB_REPLACE && action->verb != VERB_ADD) || action->gives != GIVES_TEXT ||
        !name || fits(name, action->text))
        return;
    lint_say(lint, LINT_UNFIT_VALUE, lint_place(action->place, line, lint_token(line, 2).at),
             lint_text(lint, "a value in the form of VR %s", name->vr),
             "%s has VR %s, which this value does not fit: each image is held", name->keyword,
             name->vr);
}

/* What local-anonymizer gives; the other names of pydicom/deid nobody does. */
static bool is_given(const char *name)
{
    return !strcmp(name, "entity_id") || !strcmp(name, "item_id") || !strcmp(name, "jitter");
}

static void look_at_variable(struct lint *lint, const struct recipe_action *action)
{
    struct word line = lint_word(lint, &action->place);

    if (action->field.kind == FIELD_NOTHING)
        lint_say(lint, LINT_VARIABLE_FIELD, action->field.place, "the keyword of an attribute",
                 "%.60s is the name of a variable, no attribute: the rule does nothing",
                 action->field.text);
    if (action->gives == GIVES_VAR && !is_given(action->text))
        lint_say(lint, LINT_UNKNOWN_VARIABLE,
                 lint_place(action->place, line, lint_token(line, 2).at),
                 "var: with entity_id, item_id or jitter",
                 "no stage gives the variable %.60s, and sendit run will refuse the recipe",
                 action->text);
}

/* Does a pattern for names find none?  Private attributes have none to find. */
static void say_nobody(struct lint *lint, const struct field *field)
{
    lint_say(lint, LINT_NO_ATTRIBUTE, field->place, "a part of a keyword",
             "no attribute has a keyword or tag that %.80s means", field->text);
}

static bool is_pattern(const struct field *field)
{
    return (field->kind == FIELD_CONTAINS || field->kind == FIELD_STARTS ||
            field->kind == FIELD_ENDS) &&
           !field->except && !strpbrk(field->text, ",\"(");
}

static void look_at_field(struct lint *lint, const struct recipe_action *action)
{
    const struct field *field = &action->field;

    if (!lint->meant[action - lint->recipe->actions] &&
        (is_pattern(field) || field->kind == FIELD_VR ||
         (field->kind == FIELD_GROUP && !(field->group & 1) && field->group != 0x0002)))
        say_nobody(lint, field);
}

static void look_at_names(struct lint *lint, const struct field *field)
{
    for (size_t i = 0; is_pattern(field) && i < names_count(lint->names); i++) {
        const struct name *name = names_at(lint->names, i);
        char tag[16];

        snprintf(tag, sizeof(tag), "%08x", name->tag);
        if (pattern_match(field->pattern, name->keyword, strlen(name->keyword)) ||
            pattern_match(field->pattern, tag, 8))
            return;
    }
    if (is_pattern(field))
        say_nobody(lint, field);
}

/* ---- patterns ---- */

/* On many of one letter, and on those with another character behind them. */
static char slow_letter(const struct pattern *pattern)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789 ._^";
    char text[LINT_LETTERS + 1];

    for (const char *c = letters; *c; c++) {
        memset(text, *c, LINT_LETTERS);
        text[LINT_LETTERS] = '!';
        if (pattern_match(pattern, text, LINT_LETTERS) < 0 ||
            pattern_match(pattern, text, LINT_LETTERS + 1) < 0)
            return *c;
    }
    return '\0';
}

static void look_at_pattern(struct lint *lint, const struct pattern *pattern,
                            struct recipe_place place)
{
    char letter = pattern_is_plain(pattern) ? '\0' : slow_letter(pattern);

    if (letter)
        lint_say(
            lint, LINT_SLOW_PATTERN, place, "the pattern without a repetition in a repetition",
            "this pattern takes too long on %d times \"%c\": an image with such a value is held",
            LINT_LETTERS, letter);
    else if (pattern_match(pattern, "", 0) == PATTERN_YES)
        lint_say(lint, LINT_ANY_PATTERN, place, "present, or the pattern without its empty part",
                 "this pattern finds nothing, too, and so it is in every value");
}

static void look_at_patterns(struct lint *lint)
{
    const struct recipe *recipe = lint->recipe;

    for (size_t i = 0; i < recipe->n_actions; i++) {
        const struct recipe_action *action = &recipe->actions[i];

        if (action->field.pattern)
            look_at_pattern(lint, action->field.pattern, action->field.place);
        if (action->when == IF_CONTAINS) {
            struct word line = lint_word(lint, &action->place);

            look_at_pattern(lint, action->pattern,
                            lint_place(action->place, line, lint_token(line, 2).at));
        }
    }
    for (size_t i = 0; i < recipe->n_sources; i++)
        for (size_t k = 0; k < recipe->sources[i].n_entries; k++)
            if (recipe->sources[i].entries[k].field.pattern)
                look_at_pattern(lint, recipe->sources[i].entries[k].field.pattern,
                                recipe->sources[i].entries[k].field.place);
    for (size_t g = 0; g < recipe->n_groups; g++)
        for (size_t l = 0; l < recipe->groups[g].n_labels; l++)
            for (size_t t = 0; t < recipe->groups[g].labels[l].n_tests; t++) {
                const struct recipe_test *test = &recipe->groups[g].labels[l].tests[t];

                if (test->op == OP_CONTAINS || test->op == OP_NOTCONTAINS || test->op == OP_MATCHES)
                    look_at_pattern(lint, test->pattern, test->place);
            }
}

/* ---- groups ---- */

static void look_at_groups(struct lint *lint)
{
    const struct recipe *recipe = lint->recipe;

    for (size_t i = 0; i < recipe->n_sources; i++) {
        const struct recipe_source *source = &recipe->sources[i];
        bool used = false;

        for (size_t k = 0; k < recipe->n_actions; k++) {
            const struct recipe_action *action = &recipe->actions[k];
            enum field_kind kind = source->is_values ? FIELD_VALUES : FIELD_FIELDS;

            used = used || (action->field.kind == kind && action->field.source == i) ||
                   (action->when == IF_VALUES && action->source == i);
        }
        if (!used || !source->n_entries)
            lint_say(lint, LINT_UNUSED_GROUP, source->place,
                     used ? "a line that begins with FIELD" : "a rule that names it, or nothing",
                     used ? "%%%s %.60s has no line: what names it does nothing"
                          : "no rule names %%%s %.60s",
                     source->is_values ? "values" : "fields", source->name);
        for (size_t k = 0; k < source->n_entries; k++)
            look_at_names(lint, &source->entries[k].field);
    }
}

void lint_header(struct lint *lint)
{
    const struct recipe *recipe = lint->recipe;

    for (size_t i = 0; i < recipe->n_actions; i++) {
        const struct recipe_action *action = &recipe->actions[i];
        const struct field *field = &action->field;
        struct meeting m = {.recipe = recipe};

        look_at_variable(lint, action);
        look_at_dates(lint, action);
        look_at_text(lint, action);
        look_at_field(lint, action);
        look_above(lint, action);
        if (field->kind != FIELD_PATH && field->kind != FIELD_PRIVATE) {
            meet_by_words(lint, action);
            continue;
        }
        m.owners =
            lint_owners(lint, field, field->kind == FIELD_PATH ? field->n_steps - 1 : 0, &m.n);
        if (m.owners && m.n > 1)
            meet(lint, action, &m);
    }
    look_at_patterns(lint);
    look_at_groups(lint);
    if (recipe->n_labels)
        lint_say(lint, LINT_UNREAD_LABELS, recipe->labels[0].place, "the rule under %header",
                 "rules under %%labels are read and then never used");
}
