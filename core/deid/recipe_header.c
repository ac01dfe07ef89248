/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of %header, %labels, %fields and %values. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deid/recipe_parse.h"

static const char *const verbs[] = {"ADD", "BLANK", "JITTER", "KEEP", "REMOVE", "REPLACE", NULL};

const char *recipe_verb_name(enum recipe_verb verb)
{
    return verbs[verb - 1];
}

static bool starts_with(struct word word, const char *prefix)
{
    size_t n = strlen(prefix);

    return word.len >= n && !strncasecmp(word.at, prefix, n);
}

static struct word behind(struct word word, const char *prefix)
{
    size_t n = strlen(prefix);

    return (struct word){word.at + n, word.len - n};
}

static bool read_number(struct word word, long min, long max, int32_t *ret_number)
{
    char text[16], *end;
    long number;

    if (!word.len || word.len >= sizeof(text) ||
        !strchr("+-0123456789", word.at[0])) /* strtol() would skip blanks */
        return false;
    memcpy(text, word.at, word.len);
    text[word.len] = '\0';
    errno = 0;
    number = strtol(text, &end, 10);
    if (errno || *end || end == text || number < min || number > max)
        return false;
    *ret_number = (int32_t)number;
    return true;
}

/* ---- values ---- */

static int parse_var(struct parser *p, struct word name, struct recipe_action *action)
{
    struct recipe *recipe = p->recipe;
    const char **vars;

    if (!parse_is_name(name))
        return parse_error(p, name.at, "var: is followed by the name of a variable, one word");
    action->gives = GIVES_VAR;
    action->text = recipe_text(recipe, name.at, name.len);
    if (!action->text)
        return parse_no_memory(p);
    for (size_t i = 0; i < recipe->n_vars; i++)
        if (!strcmp(recipe->vars[i], action->text))
            return 0;
    vars = recipe_grow(recipe, recipe->vars, recipe->n_vars, sizeof(*vars));
    if (!vars)
        return parse_no_memory(p);
    recipe->vars = vars;
    recipe->vars[recipe->n_vars++] = action->text;
    return 0;
}

/* k=v of a deid_func: */
static int parse_parameter(struct parser *p, struct word word, struct recipe_action *action)
{
    const char *equals = memchr(word.at, '=', word.len);
    struct word key = {word.at, equals ? (size_t)(equals - word.at) : 0};
    struct word value = {equals ? equals + 1 : word.at, word.len - key.len - 1};
    int32_t number;

    if (!equals)
        return parse_error(p, word.at, "a function takes NAME=VALUE, separated by blanks");
    if (action->func == FUNC_JITTER && (parse_is(key, "days") || parse_is(key, "years"))) {
        bool years = parse_is(key, "years");

        if (!read_number(value, -RECIPE_MAX_DAYS / (years ? 366 : 1),
                         RECIPE_MAX_DAYS / (years ? 366 : 1), &number))
            return parse_error(p, value.at, "%s= takes a whole number, of up to a thousand years",
                               years ? "years" : "days");
        action->days += years ? number * 365 : number;
        action->has_days = true;
        return 0;
    }
    if ((action->func == FUNC_DICOM_UUID && parse_is(key, "org_root")) ||
        (action->func == FUNC_PYDICOM_UUID && parse_is(key, "prefix"))) {
        if (!value.len || value.len > 40 || strspn(value.at, "0123456789.") < value.len ||
            value.at[0] == '.')
            return parse_error(p, value.at,
                               "%.*s= takes the root of UIDs, up to 40 digits and "
                               "dots",
                               (int)key.len, key.at);
        action->root = recipe_text(p->recipe, value.at, value.len);
        return action->root ? 0 : parse_no_memory(p);
    }
    if (action->func == FUNC_PYDICOM_UUID && parse_is(key, "stable_remapping")) {
        if (!parse_is(value, "true") && !parse_is(value, "false"))
            return parse_error(p, value.at, "stable_remapping= takes true or false");
        return 0; /* every value is keyed: it is stable in any case */
    }
    return parse_error(p, key.at, "this function has no parameter %.*s", (int)key.len, key.at);
}

static int parse_function(struct parser *p, struct word call, struct recipe_action *action)
{
    static const char *const functions[] = {"jitter",     "basic_uuid",   "suffix_uuid",
                                            "dicom_uuid", "pydicom_uuid", NULL};
    const char *end = call.at + call.len;
    char hint[PARSE_HINT];
    struct word word;
    int i = 0;

    p->at = call.at;
    if (parse_word(p, &word))
        return -1;
    while (functions[i] && !parse_is(word, functions[i]))
        i++;
    if (!functions[i])
        return parse_error(p, word.at, "there is no deid_func:%.*s%s", (int)word.len, word.at,
                           parse_hint(word, functions, hint, sizeof(hint)));
    action->gives = GIVES_FUNC;
    action->func = (enum recipe_func)(i + 1);
    for (;;) {
        if (parse_word(p, &word))
            return -1;
        if (!word.len || word.at >= end)
            break;
        if (parse_parameter(p, word, action))
            return -1;
    }
    if (action->func == FUNC_DICOM_UUID && !action->root)
        return parse_error(p, call.at, "dicom_uuid needs org_root=, the root of your UIDs");
    return 0;
}

/* "var:", "func:" and "deid_func:", in small letters. */
static int parse_prefix(struct parser *p, struct word value, struct recipe_action *action,
                        bool *ret_done)
{
    static const char *const prefixes[] = {"var:", "deid_func:", "func:"};

    *ret_done = false;
    for (int i = 0; i < 3; i++) {
        if (!starts_with(value, prefixes[i]))
            continue;
        if (strncmp(value.at, prefixes[i], strlen(prefixes[i])) != 0)
            return parse_error(p, value.at, "write %s in small letters, or quotes around a text",
                               prefixes[i]);
        *ret_done = true;
        if (i == 0)
            return parse_var(p, behind(value, prefixes[i]), action);
        if (i == 1)
            return parse_function(p, behind(value, prefixes[i]), action);
        return parse_error(p, value.at,
                           "func: names a function of Python, which there is none here; write "
                           "var: with a variable, or deid_func: with jitter, basic_uuid, "
                           "suffix_uuid, dicom_uuid or pydicom_uuid");
    }
    return 0;
}

static int parse_value(struct parser *p, struct recipe_action *action)
{
    const char *verb = recipe_verb_name(action->verb);
    struct word value;
    bool done;

    if (parse_rest(p, &value))
        return -1;
    if (!value.len)
        return parse_error(p, value.at, "%s needs a value; write \"\" for an empty one", verb);
    if (parse_prefix(p, value, action, &done))
        return -1;
    if (done)
        return 0;
    action->gives = GIVES_TEXT;
    action->text = parse_unquote(p, value, true);
    return action->text ? 0 : parse_no_memory(p);
}

static int parse_days(struct parser *p, struct recipe_action *action)
{
    struct word value;

    if (parse_rest(p, &value))
        return -1;
    if (starts_with(value, "var:"))
        return parse_var(p, behind(value, "var:"), action);
    if (!read_number(value, -RECIPE_MAX_DAYS, RECIPE_MAX_DAYS, &action->days))
        return parse_error(p, value.at, "JITTER takes whole days, such as -30, or var:jitter");
    return 0;
}

/* REMOVE and BLANK may ask for the value first. */
static int parse_condition(struct parser *p, struct recipe_action *action)
{
    const char *verb = recipe_verb_name(action->verb);
    struct word rest, value;

    if (parse_rest(p, &rest))
        return -1;
    if (!rest.len)
        return 0;
    if (starts_with(rest, "contains:")) {
        value = behind(rest, "contains:");
        action->when = IF_CONTAINS;
        action->text = parse_unquote(p, value, false);
        if (!action->text)
            return parse_no_memory(p);
        return parse_pattern(p, value, action->text, PATTERN_ANYWHERE, &action->pattern);
    }
    if (starts_with(rest, "equals:")) {
        action->when = IF_EQUALS;
        value = behind(rest, "equals:");
        action->text = parse_unquote(p, value, true);
        if (!action->text)
            return parse_no_memory(p);
        return parse_literal(p, value, action->text, &action->pattern);
    }
    if (starts_with(rest, "values:")) {
        value = behind(rest, "values:");
        if (!parse_is_name(value))
            return parse_error(p, value.at, "values: is followed by the name of a group");
        action->when = IF_VALUES;
        action->source_name = recipe_text(p->recipe, value.at, value.len);
        return action->source_name ? 0 : parse_no_memory(p);
    }
    if (starts_with(rest, "func:"))
        return parse_error(p, rest.at,
                           "func: names a function of Python; write a condition: "
                           "contains:PATTERN, equals:TEXT or values:NAME");
    return parse_error(p, rest.at,
                       "%s takes nothing behind the field, or a condition: "
                       "contains:PATTERN, equals:TEXT or values:NAME",
                       verb);
}

/* ---- actions ---- */

bool recipe_is_image(uint32_t tag)
{
    switch (tag) {
    case 0x7fe00008:
    case 0x7fe00009:
    case 0x7fe00010:
    case 0x00281201: /* palettes */
    case 0x00281202:
    case 0x00281203:
    case 0x00283010: /* VOILUTSequence */
        return true;
    default:
        return false;
    }
}

/* What the verb cannot do to the field. */
static int check_target(struct parser *p, const char *at, const struct recipe_action *action)
{
    const struct field *field = &action->field;
    const char *verb = recipe_verb_name(action->verb);
    uint32_t tag = field->kind == FIELD_PATH ? field->steps[field->n_steps - 1].tag : field->tag;
    const struct name *name = field->kind == FIELD_PATH ? names_of(p->names, tag) : NULL;
    bool writes =
        action->verb == VERB_ADD || action->verb == VERB_REPLACE || action->verb == VERB_JITTER;

    if (action->verb == VERB_ADD && field->kind != FIELD_PATH && field->kind != FIELD_PRIVATE &&
        field->kind != FIELD_NOTHING)
        return parse_error(p, at, "ADD takes one attribute: its keyword or tag");
    if (field->kind != FIELD_PATH)
        return 0;
    if (action->verb == VERB_ADD && field->n_steps > 1)
        return parse_error(p, at, "ADD works at the top level; REPLACE works in items");
    if (writes && name && !strcmp(name->vr, "SQ"))
        return parse_error(p, at, "%s is a sequence: it has no value that %s could give",
                           name->keyword, verb);
    if (action->verb == VERB_ADD && !name)
        return parse_error(p, at,
                           "ADD cannot make this attribute; write a private one as "
                           "(0033,\"CREATOR\",1E)");
    if (action->verb != VERB_KEEP && recipe_is_image(tag))
        return parse_error(p, at,
                           "pixels and what shows them are no header: %s has no effect; "
                           "write coordinates in a %%filter",
                           verb);
    if (tag >> 16 == 0x0002)
        return parse_error(p, at, "group 0002 is written anew for each file: %s has no effect",
                           verb);
    return 0;
}

static int parse_default(struct parser *p)
{
    struct recipe *recipe = p->recipe;
    struct word word;

    if (parse_word(p, &word))
        return -1;
    if (recipe->otherwise)
        return parse_error(p, p->line, "DEFAULT stands a second time");
    if (parse_is(word, "KEEP"))
        recipe->otherwise = VERB_KEEP;
    else if (parse_is(word, "REMOVE"))
        recipe->otherwise = VERB_REMOVE;
    else if (parse_is(word, "BLANK"))
        recipe->otherwise = VERB_BLANK;
    else
        return parse_error(p, word.at, "DEFAULT is KEEP, REMOVE or BLANK");
    recipe->otherwise_place = parse_place(p, p->line);
    p->has_rules = true;
    return parse_end(p, "DEFAULT");
}

static int parse_verb(struct parser *p, struct word word, enum recipe_verb *ret_verb)
{
    char hint[PARSE_HINT];
    int i = 0;

    while (verbs[i] && !parse_is(word, verbs[i]))
        i++;
    *ret_verb = (enum recipe_verb)(i + 1);
    if (verbs[i])
        return 0;
    if (parse_is(word, "LABEL"))
        return parse_error(p, word.at, "LABEL stands in %%filter only");
    return parse_error(p, word.at, "there is no action %.*s%s", word.len < 40 ? (int)word.len : 40,
                       word.at, parse_hint(word, verbs, hint, sizeof(hint)));
}

static int parse_action(struct parser *p, struct word word, struct recipe_action *action)
{
    struct word field;

    action->place = parse_place(p, word.at);
    if (parse_verb(p, word, &action->verb) || parse_word(p, &field))
        return -1;
    if (!field.len)
        return parse_error(p, field.at, "%s needs a field", recipe_verb_name(action->verb));
    if (parse_field(p, field, &action->field) || check_target(p, field.at, action))
        return -1;
    switch (action->verb) {
    case VERB_ADD:
    case VERB_REPLACE:
        return parse_value(p, action);
    case VERB_JITTER:
        return parse_days(p, action);
    case VERB_KEEP:
        return parse_end(p, "KEEP");
    default:
        return parse_condition(p, action);
    }
}

int parse_action_line(struct parser *p)
{
    struct recipe *recipe = p->recipe;
    bool header = p->section == SECTION_HEADER;
    struct recipe_action **array = header ? &recipe->actions : &recipe->labels, *more;
    size_t *n = header ? &recipe->n_actions : &recipe->n_labels;
    struct word word;

    if (parse_word(p, &word))
        return -1;
    if (header && parse_is(word, "DEFAULT"))
        return parse_default(p);
    if (*n == RECIPE_MAX_ACTIONS)
        return parse_error(p, word.at, "there are more than %d actions", RECIPE_MAX_ACTIONS);
    more = recipe_grow(recipe, *array, *n, sizeof(*more));
    if (!more)
        return parse_no_memory(p);
    *array = more;
    if (parse_action(p, word, &more[*n]))
        return -1;
    ++*n;
    p->has_rules = true;
    return 0;
}

/* ---- %fields and %values ---- */

/* [by=" ";minlength=3] */
static int parse_split(struct parser *p, struct recipe_entry *entry)
{
    struct word rest;
    const char *at, *end;

    if (parse_rest(p, &rest))
        return -1;
    for (at = rest.at, end = rest.at + rest.len; at < end;) {
        const char *next = memchr(at, ';', (size_t)(end - at));
        struct word pair = {at, (size_t)((next ? next : end) - at)}, value = {"", 0};
        int32_t number;

        at = next ? next + 1 : end;
        if (starts_with(pair, "by="))
            value = behind(pair, "by=");
        else if (starts_with(pair, "minlength="))
            value = behind(pair, "minlength=");
        if (value.len > 1 && (value.at[0] == '\'' || value.at[0] == '"') &&
            value.at[value.len - 1] == value.at[0])
            value = (struct word){value.at + 1, value.len - 2};
        if (starts_with(pair, "by=") && value.len) {
            entry->by = recipe_text(p->recipe, value.at, value.len);
            if (!entry->by)
                return parse_no_memory(p);
        } else if (starts_with(pair, "minlength=") && read_number(value, 1, 64, &number)) {
            entry->min_length = (size_t)number;
        } else {
            return parse_error(p, pair.at,
                               "SPLIT takes by=TEXT and minlength=NUMBER, with \";\" "
                               "between them");
        }
    }
    return 0;
}

int parse_source_line(struct parser *p)
{
    struct recipe_source *source = &p->recipe->sources[p->current];
    struct recipe_entry *entry;
    struct word word, field;

    if (parse_word(p, &word) || parse_word(p, &field))
        return -1;
    if (!parse_is(word, "FIELD") && !parse_is(word, "SPLIT"))
        return parse_error(p, word.at, "a line of %%%s begins with FIELD%s, not %.*s",
                           source->is_values ? "values" : "fields",
                           source->is_values ? " or SPLIT" : "", word.len < 40 ? (int)word.len : 40,
                           word.at);
    if (parse_is(word, "SPLIT") && !source->is_values)
        return parse_error(p, word.at, "SPLIT stands in %%values only");
    if (!field.len)
        return parse_error(p, field.at, "%s needs a field",
                           parse_is(word, "SPLIT") ? "SPLIT" : "FIELD");
    if (source->n_entries == RECIPE_MAX_ENTRIES)
        return parse_error(p, word.at, "a group has up to %d lines", RECIPE_MAX_ENTRIES);
    entry = recipe_grow(p->recipe, source->entries, source->n_entries, sizeof(*entry));
    if (!entry)
        return parse_no_memory(p);
    source->entries = entry;
    entry += source->n_entries;
    entry->split = parse_is(word, "SPLIT");
    entry->by = " ";
    entry->min_length = RECIPE_MIN_LENGTH;
    if (parse_field(p, field, &entry->field))
        return -1;
    if (entry->field.kind == FIELD_FIELDS || entry->field.kind == FIELD_VALUES)
        return parse_error(p, field.at, "a group cannot be made of another one");
    if (entry->split ? parse_split(p, entry) : parse_end(p, "FIELD"))
        return -1;
    source->n_entries++;
    p->has_rules = true;
    return 0;
}
