/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of header rules and groups, as pydicom/deid 0.4.12 reads them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deid/lint_parts.h"
#include "dicom/dicom.h"

#define DEID "deid 0.4.12"
#define SAFE_HERE "no change; do not take the recipe there"

static void say_at(struct lint *lint, enum lint_code code, struct recipe_place place,
                   const char *at, const char *instead, const char *text)
{
    struct word line = lint_word(lint, &place);

    lint_say(lint, code, lint_place(place, line, at), instead, "%s", text);
}

/* ---- patterns ---- */

/* What PCRE2 has and Python's re has not. */
static const char *unknown_to_python(const char *text)
{
    static const char *const words[] = {"\\Q", "\\h", "\\H", "\\R", "\\K", "\\X", "\\N",
                                        "\\G", "\\p", "\\P", "\\z", "[[:", "(?|", "(?R",
                                        "(?&", "(?0", "(?1", "(?C", "(*",  NULL};

    for (size_t i = 0; words[i]; i++)
        if (strstr(text, words[i]))
            return words[i];
    return NULL;
}

/* Both in small letters: "\D" is "\d" there. */
static char lowered_escape(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c == '\\' && c[1]) {
            c++;
            if (*c >= 'A' && *c <= 'Z')
                return *c;
        }
    return '\0';
}

static void look_at_pattern(struct lint *lint, struct recipe_place place, const char *text)
{
    const char *word = unknown_to_python(text);
    char letter = lowered_escape(text);

    if (word)
        lint_say(lint, LINT_DEID_PATTERN, place, "the same with characters that both know",
                 DEID " has Python's patterns, which do not know %s", word);
    else if (letter)
        lint_say(lint, LINT_DEID_PATTERN, place, "characters in brackets, such as [^0-9] for \\D",
                 DEID " takes patterns in small letters: there \\%c means \\%c", letter,
                 letter | 0x20);
}

/* ---- fields ---- */

static bool has_form(const char *text, const char *form)
{
    for (; *form; form++, text++)
        if (*form == 'x' ? !strchr("0123456789abcdefABCDEF", *text) || !*text : *text != *form)
            return false;
    return true;
}

/* Parent__Child, or (gggg,eeee)__0__(gggg,eeee): no mixture. */
static bool is_their_path(const struct field *field)
{
    bool words = true, tags = true;

    for (const char *at = field->text; *at; at += strncmp(at, "__", 2) ? 1 : 2) {
        bool begins = at == field->text || (at - field->text >= 2 && !strncmp(at - 2, "__", 2));

        if (!begins)
            continue;
        if (has_form(at, "(xxxx,xxxx)"))
            words = false;
        else if (*at < '0' || *at > '9')
            tags = false;
        else
            words = false;
    }
    for (size_t i = 0; tags && i + 1 < field->n_steps; i++)
        tags = field->steps[i].item >= 0;
    return words || tags;
}

static void look_at_field(struct lint *lint, const struct field *field)
{
    const struct name *name = lint_name(lint, field);
    const char *text = field->text;

    if (field->pattern) {
        const char *colon = strchr(text, ':');

        look_at_pattern(lint, field->place, colon ? colon + 1 : text);
        if (colon && strchr(colon, '"'))
            lint_say(lint, LINT_DEID_QUOTE, field->place, "the pattern without quotes",
                     DEID " takes quotes for a part of the pattern");
        return;
    }
    if (field->kind != FIELD_PATH)
        return;
    if (field->n_steps > 1 ? !is_their_path(field) : has_form(text, "0x"))
        lint_say(lint, LINT_DEID_FIELD, field->place,
                 field->n_steps > 1 ? "Parent__Child, or (0008,1110)__0__(0010,0020)"
                                    : "the keyword, or the tag as (0010,0020)",
                 DEID " finds nothing that is written so, and the rule does nothing");
    else if (field->n_steps == 1 && name && *text != '(' && !has_form(text, "xxxxxxxx") &&
             strcasecmp(text, name->keyword) != 0)
        lint_say(lint, LINT_DEID_FIELD, field->place, name->keyword,
                 DEID " knows no %.60s, and the rule does nothing", text);
}

/* ---- actions ---- */

static bool writes(const struct recipe_action *action)
{
    return action->verb == VERB_ADD || action->verb == VERB_REPLACE;
}

/* What stands behind the field: comments, quotes. */
static void look_at_rest(struct lint *lint, const struct recipe_action *action, struct word line)
{
    const char *comment = lint_comment(line), *hash;
    struct word rest = lint_rest(line, 2);
    bool variable = action->gives == GIVES_VAR;

    if (action->verb == VERB_KEEP || action->verb == VERB_BLANK)
        return;
    hash = memchr(rest.at, '#', rest.len);
    if (hash)
        say_at(lint, LINT_DEID_COMMENT, action->place, hash, "a value without \"#\"",
               DEID " cuts the value at any \"#\"");
    else if (comment && action->verb == VERB_REMOVE && !rest.len)
        say_at(lint, LINT_DEID_COMMENT, action->place, comment, "the comment on a line of its own",
               DEID " removes nothing where a comment stands behind REMOVE");
    else if (comment && variable)
        say_at(lint, LINT_DEID_COMMENT, action->place, comment, "the comment on a line of its own",
               DEID " takes the blank before a comment for a part of the variable's name, and "
                    "leaves the original");
    else if (comment && writes(action))
        say_at(lint, LINT_DEID_COMMENT, action->place, comment, "the comment on a line of its own",
               DEID " keeps the blank before a comment as a part of the value");
    if (writes(action) && action->gives == GIVES_TEXT && memchr(rest.at, '"', rest.len))
        say_at(lint, LINT_DEID_QUOTE, action->place, memchr(rest.at, '"', rest.len),
               "the value without quotes", DEID " writes the quotes, too");
}

static void look_at_verb(struct lint *lint, struct recipe_place place, const char *verb)
{
    struct word line = lint_word(lint, &place), word = lint_token(line, 0);

    if (word.len != strlen(verb) || strncmp(word.at, verb, word.len) != 0)
        lint_say(lint, LINT_DEID_VERB, place, verb,
                 DEID " drops the line: it knows %s in capitals only", verb);
}

static void look_at_jitter(struct lint *lint, const struct recipe_action *action)
{
    const struct name *name = lint_name(lint, &action->field);
    uint8_t meant = lint->meant[action - lint->recipe->actions];
    bool jitters =
        action->verb == VERB_JITTER || (action->gives == GIVES_FUNC && action->func == FUNC_JITTER);

    if (name)
        meant = !strcmp(name->vr, "DA")   ? MEANS_DA
                : !strcmp(name->vr, "DT") ? MEANS_DT
                                          : MEANS_OTHER;
    if (!jitters || !(meant & ~MEANS_DA) || action->field.kind == FIELD_VALUES)
        return;
    lint_say(lint, LINT_DEID_DATE, action->field.place, "JITTER for attributes of VR DA",
             meant & (MEANS_TM | MEANS_OTHER)
                 ? DEID " makes a date of whatever stands there, a time of day, too"
                 : DEID " adds six digits of fractions to it, and completes what is not whole "
                        "with today's date");
}

static void look_at_function(struct lint *lint, const struct recipe_action *action)
{
    const struct name *name = lint_name(lint, &action->field);

    if (writes(action) && name && name->tag == 0x00080018 && action->field.n_steps == 1)
        lint_say(lint, LINT_DEID_UID, action->field.place, SAFE_HERE,
                 DEID " leaves the old UID in the meta group, (0002,0003)");
    if (action->gives != GIVES_FUNC || action->func == FUNC_JITTER)
        return;
    if (action->func == FUNC_PYDICOM_UUID)
        lint_say(lint, LINT_DEID_UID, action->place, SAFE_HERE,
                 DEID " makes the new UID of the old one without a key: who knows the one finds "
                      "the other");
    else
        lint_say(lint, LINT_DEID_UID, action->place, SAFE_HERE,
                 DEID " draws another value in each run, and references do not lead to it");
}

static void look_at_add(struct lint *lint, const struct recipe_action *action)
{
    const struct name *name = lint_name(lint, &action->field);
    const char *text = action->field.text;

    if (action->verb != VERB_ADD || has_form(text, "xxxxxxxx") ||
        action->field.kind == FIELD_NOTHING || (name && !strcmp(text, name->keyword)))
        return;
    lint_say(lint, LINT_DEID_ADD, action->field.place,
             name ? name->keyword : "a keyword, or eight digits",
             DEID " stops at the image: ADD takes a keyword in its own letters, or eight digits");
}

static void look_at_condition(struct lint *lint, const struct recipe_action *action,
                              struct word line)
{
    if (action->when == IF_ALWAYS)
        return;
    say_at(lint, LINT_DEID_CONDITION, action->place, lint_token(line, 2).at,
           "the rule without a condition, if it may hold of all values",
           action->verb == VERB_REMOVE
               ? DEID " knows no conditions: it removes whatever stands there"
               : DEID " knows no conditions: it blanks whatever stands there");
    if (action->when == IF_CONTAINS)
        look_at_pattern(lint, lint_place(action->place, line, lint_token(line, 2).at),
                        action->text);
}

static void look_at_keep(struct lint *lint, const struct recipe_action *action)
{
    const struct field *field = &action->field;

    if (action->verb != VERB_KEEP)
        return;
    if (field->kind == FIELD_FIELDS || field->kind == FIELD_VALUES)
        lint_say(lint, LINT_DEID_KEEP, field->place, "a KEEP for each of the fields",
                 DEID " keeps nothing by the name of a group");
    else if (field->kind == FIELD_PATH && field->n_steps > 1)
        lint_say(lint, LINT_DEID_KEEP, field->place, "KEEP of the sequence, which keeps all of it",
                 DEID " keeps nothing by its place in a sequence");
}

static void look_at_action(struct lint *lint, const struct recipe_action *action)
{
    struct word line = lint_word(lint, &action->place);

    look_at_verb(lint, action->place, recipe_verb_name(action->verb));
    look_at_field(lint, &action->field);
    look_at_rest(lint, action, line);
    look_at_jitter(lint, action);
    look_at_function(lint, action);
    look_at_add(lint, action);
    look_at_condition(lint, action, line);
    look_at_keep(lint, action);
    if (action->field.kind == FIELD_VALUES)
        lint_say(lint, LINT_DEID_VALUES, action->field.place, SAFE_HERE,
                 DEID " takes the values for patterns, and short ones, too: more is changed there");
}

/* ---- groups ---- */

static void look_at_source(struct lint *lint, const struct recipe_source *source)
{
    if (recipe_is_variable(source->name, strlen(source->name)))
        lint_say(lint, LINT_DEID_VALUES, source->place, "another name",
                 DEID " gives the group in place of the variable %s", source->name);
    for (size_t i = 0; i < source->n_entries; i++) {
        const struct recipe_entry *entry = &source->entries[i];
        struct recipe_place place = entry->field.place;

        place.col = 1;
        place.col =
            lint_place(place, lint_word(lint, &place), lint_token(lint_word(lint, &place), 0).at)
                .col;
        look_at_verb(lint, place, entry->split ? "SPLIT" : "FIELD");
        look_at_field(lint, &entry->field);
    }
}

/* ---- filters ---- */

/* Where the test's value begins. */
static void look_at_label(struct lint *lint, const struct recipe_label *label)
{
    for (size_t i = 0; i < label->n_tests; i++) {
        const struct recipe_test *test = &label->tests[i];

        if (test->op == OP_CONTAINS || test->op == OP_NOTCONTAINS)
            look_at_pattern(lint, test->place, test->text);
    }
}

/* ---- FORMAT ---- */

/* The first line that is no comment; it is there, and says dicom. */
static void look_at_format(struct lint *lint, size_t source)
{
    for (unsigned n = 1; n <= lint->lines[source].n; n++) {
        struct recipe_place place = {.file = lint->sources[source].file, .line = n, .col = 1};
        struct word line = lint_word(lint, &place), word = lint_token(line, 0);

        if (!word.len)
            continue;
        if (strncmp(word.at, "FORMAT", 6) != 0)
            lint_say(lint, LINT_DEID_VERB, lint_place(place, line, word.at), "FORMAT dicom",
                     DEID " stops: it knows FORMAT in capitals only");
        if (lint_comment(line))
            lint_say(lint, LINT_DEID_COMMENT, lint_place(place, line, lint_comment(line)),
                     "the comment on a line of its own",
                     DEID " stops: it takes the comment for a part of the format");
        return;
    }
}

/* ---- several recipes ---- */

/* A section begins here: did an earlier file have one that this replaces, or drops? */
static void look_at_section(struct lint *lint, struct recipe_place place, struct word line)
{
    struct word word = lint_token(line, 0), name = lint_rest(line, 1);

    if (parse_is(word, "%filter")) {
        for (size_t g = 0; g < lint->recipe->n_groups; g++) {
            const struct recipe_group *group = &lint->recipe->groups[g];
            bool same = parse_is(name, group->name) ||
                        (parse_is(name, "graylist") && !strcasecmp(group->name, "greylist"));

            if (same && group->n_labels && strcmp(group->labels[0].place.file, place.file) != 0)
                lint_say(lint, LINT_DEID_MERGE, place, "another name for the group",
                         DEID " takes this group in place of the one in an earlier recipe");
        }
        return;
    }
    if (strcmp(place.file, lint->sources[0].file) != 0 && !parse_is(word, "%header"))
        lint_say(lint, LINT_DEID_MERGE, place, "the group in the first recipe",
                 DEID " drops groups of fields, values and labels of all recipes but the first");
}

static void look_at_files(struct lint *lint)
{
    for (size_t i = 0; i < lint->n_sources; i++)
        look_at_format(lint, i);
    for (size_t i = 1; i < lint->n_sources; i++)
        for (unsigned n = 1; n <= lint->lines[i].n; n++) {
            struct recipe_place place = {.file = lint->sources[i].file, .line = n, .col = 1};
            struct word line = lint_word(lint, &place), word = lint_token(line, 0);

            if (word.len && *word.at == '%')
                look_at_section(lint, lint_place(place, line, word.at), line);
        }
}

void lint_theirs(struct lint *lint)
{
    const struct recipe *recipe = lint->recipe;

    for (size_t i = 0; i < recipe->n_actions; i++)
        look_at_action(lint, &recipe->actions[i]);
    for (size_t i = 0; i < recipe->n_sources; i++)
        look_at_source(lint, &recipe->sources[i]);
    for (size_t g = 0; g < recipe->n_groups; g++)
        for (size_t l = 0; l < recipe->groups[g].n_labels; l++)
            look_at_label(lint, &recipe->groups[g].labels[l]);
    if (recipe->otherwise)
        lint_say(lint, LINT_DEID_VERB, recipe->otherwise_place, "a rule for each field",
                 DEID " drops the line: it knows no DEFAULT");
    look_at_files(lint);
}
