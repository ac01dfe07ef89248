/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of %filter: LABELs, their criteria and boxes. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deid/recipe_parse.h"

static const char *const ops[] = {"contains", "notcontains", "equals", "notequals", "matches",
                                  "missing",  "present",     "empty",  NULL};

/* 0 for a word that is none. */
static enum recipe_op op_of(struct word word)
{
    for (int i = 0; ops[i]; i++)
        if (parse_is(word, ops[i]))
            return (enum recipe_op)(i + 1);
    return (enum recipe_op)0;
}

static bool takes_value(enum recipe_op op)
{
    return op <= OP_MATCHES;
}

static struct recipe_label *current_label(struct parser *p)
{
    struct recipe_group *group = &p->recipe->groups[p->current];

    return &group->labels[group->n_labels - 1];
}

int parse_label_end(struct parser *p)
{
    const struct recipe_label *label;

    if (!p->in_label)
        return 0;
    p->in_label = false;
    label = current_label(p);
    if (label->n_tests || label->n_boxes)
        return 0;
    return err_set(p->err, ERR_REFUSED,
                   "%s:%u:%u: LABEL %.80s has neither criterion nor coordinates", label->place.file,
                   label->place.line, label->place.col, label->name);
}

static int parse_label(struct parser *p, const char *at)
{
    struct recipe_group *group = &p->recipe->groups[p->current];
    struct recipe_label *label;
    struct word name;

    if (parse_label_end(p) || parse_rest(p, &name))
        return -1;
    if (!name.len)
        return parse_error(p, name.at, "LABEL needs a name, by which people know the reason");
    if (group->n_labels == RECIPE_MAX_LABELS)
        return parse_error(p, at, "a group has up to %d LABELs", RECIPE_MAX_LABELS);
    label = recipe_grow(p->recipe, group->labels, group->n_labels, sizeof(*label));
    if (!label)
        return parse_no_memory(p);
    group->labels = label;
    label += group->n_labels++;
    label->place = parse_place(p, at);
    label->name = parse_unquote(p, name, true);
    p->in_label = true;
    p->has_rules = true;
    return label->name ? 0 : parse_no_memory(p);
}

/* ---- coordinates ---- */

static bool read_coordinate(const char **at, const char *end, uint32_t *ret_number)
{
    uint32_t number = 0;
    const char *from;

    while (*at < end && (**at == ' ' || **at == '\t'))
        ++*at;
    for (from = *at; *at < end && **at >= '0' && **at <= '9'; ++*at)
        if ((number = number * 10 + (uint32_t)(**at - '0')) > RECIPE_MAX_COORDINATE)
            return false;
    if (*at == from)
        return false;
    while (*at < end && (**at == ' ' || **at == '\t'))
        ++*at;
    *ret_number = number;
    return true;
}

static int parse_rect(struct parser *p, struct word rest, bool ctp, struct recipe_box *box)
{
    const char *at = rest.at, *end = rest.at + rest.len;
    uint32_t n[4];

    for (int i = 0; i < 4; i++) {
        if (!read_coordinate(&at, end, &n[i]) || (i < 3 ? at == end || *at != ',' : at != end))
            return parse_error(p, rest.at,
                               "coordinates are four whole numbers %s, not negative, or "
                               "all, or from:SEQUENCE",
                               ctp ? "X,Y,WIDTH,HEIGHT" : "X1,Y1,X2,Y2");
        at += i < 3;
    }
    if (ctp) {
        n[2] += n[0];
        n[3] += n[1];
    }
    if (n[2] <= n[0] || n[3] <= n[1])
        return parse_error(p, rest.at,
                           ctp ? "this box is empty"
                               : "this box is empty: X2 must be above X1, and Y2 above "
                                 "Y1; ctpcoordinates take X,Y,WIDTH,HEIGHT");
    *box = (struct recipe_box){.kind = BOX_RECT, .x1 = n[0], .y1 = n[1], .x2 = n[2], .y2 = n[3]};
    return 0;
}

static int parse_from(struct parser *p, struct word name, struct recipe_box *box)
{
    struct field field;
    const struct name *known;

    if (!name.len)
        return parse_error(p, name.at, "from: is followed by SequenceOfUltrasoundRegions");
    if (parse_plain_field(p, name, &field))
        return -1;
    known = field.kind == FIELD_PATH && field.n_steps == 1 ? names_of(p->names, field.steps->tag)
                                                           : NULL;
    if (!known || strcmp(known->vr, "SQ") != 0)
        return parse_error(p, name.at,
                           "from: takes a sequence of the top level, such as "
                           "SequenceOfUltrasoundRegions");
    box->kind = BOX_FROM;
    box->from = field.steps->tag;
    return 0;
}

static int parse_box(struct parser *p, bool keep, bool ctp)
{
    struct recipe_label *label;
    struct recipe_box box = {0}, *more;
    struct word rest;

    if (parse_rest(p, &rest))
        return -1;
    if (!p->in_label)
        return parse_error(p, p->line, "coordinates stand under a LABEL");
    if (parse_is(rest, "all"))
        box.kind = BOX_ALL;
    else if (rest.len > 5 && !strncasecmp(rest.at, "from:", 5)) {
        if (parse_from(p, (struct word){rest.at + 5, rest.len - 5}, &box))
            return -1;
    } else if (parse_rect(p, rest, ctp, &box))
        return -1;
    box.keep = keep;
    box.place = parse_place(p, rest.at);
    label = current_label(p);
    if (label->n_boxes == RECIPE_MAX_BOXES)
        return parse_error(p, rest.at, "a LABEL has up to %d boxes", RECIPE_MAX_BOXES);
    more = recipe_grow(p->recipe, label->boxes, label->n_boxes, sizeof(*more));
    if (!more)
        return parse_no_memory(p);
    label->boxes = more;
    more[label->n_boxes++] = box;
    return 0;
}

/* ---- criteria ---- */

static enum recipe_join join_of(struct word word)
{
    return parse_is(word, "+") ? JOIN_AND : parse_is(word, "||") ? JOIN_OR : JOIN_NEW;
}

/* The value runs up to the next joining sign or the end; quotes make anything part of it. */
static int parse_test_value(struct parser *p, struct word *ret_value)
{
    const char *from = NULL, *to = NULL;
    struct word word, next;

    for (;;) {
        if (parse_word(p, &word))
            return -1;
        if (!word.len)
            break;
        if (join_of(word)) {
            p->at = word.at;
            break;
        }
        next = *ret_value;
        if (from && op_of(word)) { /* "A + contains B" without its sign would be one long value */
            const char *back = p->at;

            if (parse_word(p, &next))
                return -1;
            p->at = back;
            if (names_find(p->names, next.at, next.len))
                return parse_error(p, word.at,
                                   "put \"+\" or \"||\" before %.*s, with blanks around it, or "
                                   "quotes around the value",
                                   (int)word.len, word.at);
        }
        from = from ? from : word.at;
        to = word.at + word.len;
    }
    *ret_value = (struct word){from ? from : p->at, from ? (size_t)(to - from) : 0};
    return 0;
}

/* "||" in the midst of a word is a criterion that was glued to it, or an alternative that matches
 * everything. */
static int check_bars(struct parser *p, struct word value)
{
    bool quoted = false;

    for (size_t i = 0; i < value.len; i++) {
        quoted ^= value.at[i] == '"' && !(i && value.at[i - 1] == '\\');
        if (!quoted && value.at[i] == '|' && i + 1 < value.len && value.at[i + 1] == '|')
            return parse_error(p, value.at + i,
                               "write blanks around \"||\", or quotes around the "
                               "value if it is part of it");
    }
    return 0;
}

static int parse_wanted(struct parser *p, struct word op, struct recipe_test *test)
{
    struct word value = {0};

    if (parse_test_value(p, &value))
        return -1;
    if (!takes_value(test->op)) {
        if (value.len)
            return parse_error(p, value.at,
                               "%.*s takes a field and nothing more; \"+\" and \"||\" "
                               "join, \"#\" begins a comment",
                               (int)op.len, op.at);
        return 0;
    }
    if (!value.len)
        return parse_error(p, value.at, "%.*s needs a value", (int)op.len, op.at);
    if (check_bars(p, value))
        return -1;
    test->text = parse_unquote(p, value, false);
    if (!test->text)
        return parse_no_memory(p);
    if (test->op == OP_EQUALS || test->op == OP_NOTEQUALS)
        return parse_literal(p, value, test->text, &test->pattern);
    return parse_pattern(p, value, test->text,
                         test->op == OP_MATCHES ? PATTERN_WHOLE : PATTERN_ANYWHERE, &test->pattern);
}

/* Of a sequence there is no text to look into. */
static int check_kind(struct parser *p, struct word field, const struct recipe_test *test)
{
    const struct name *name =
        test->field.kind == FIELD_PATH
            ? names_of(p->names, test->field.steps[test->field.n_steps - 1].tag)
            : NULL;

    if (takes_value(test->op) && name && !strcmp(name->vr, "SQ"))
        return parse_error(p, field.at,
                           "%s is a sequence; ask whether it is missing, present or "
                           "empty, or name an attribute in it with \"__\"",
                           name->keyword);
    return 0;
}

static int parse_test(struct parser *p, enum recipe_join line, enum recipe_join join)
{
    struct recipe_label *label = current_label(p);
    struct recipe_test *test;
    struct word op, field;
    char hint[PARSE_HINT];

    if (parse_word(p, &op))
        return -1;
    if (!op_of(op))
        return parse_error(p, op.at, "%s%.*s%s", op.len ? "there is no test " : "a test is missing",
                           op.len < 40 ? (int)op.len : 40, op.at,
                           op.len ? parse_hint(op, ops, hint, sizeof(hint)) : "");
    if (label->n_tests == RECIPE_MAX_TESTS)
        return parse_error(p, op.at, "a LABEL has up to %d tests", RECIPE_MAX_TESTS);
    test = recipe_grow(p->recipe, label->tests, label->n_tests, sizeof(*test));
    if (!test)
        return parse_no_memory(p);
    label->tests = test;
    test += label->n_tests;
    *test = (struct recipe_test){
        .op = op_of(op), .join = join, .line = line, .place = parse_place(p, op.at)};
    if (parse_word(p, &field))
        return -1;
    if (!field.len || join_of(field))
        return parse_error(p, field.at, "%.*s needs a field", (int)op.len, op.at);
    if (parse_plain_field(p, field, &test->field) || check_kind(p, field, test) ||
        parse_wanted(p, op, test))
        return -1;
    label->n_tests++;
    return 0;
}

/* A line of tests.  The first of a LABEL begins a criterion, whatever stands before it. */
static int parse_tests(struct parser *p)
{
    enum recipe_join line, join = JOIN_NEW;
    struct word word;

    if (!p->in_label)
        return parse_error(p, p->at, "a test stands under a LABEL");
    if (parse_word(p, &word))
        return -1;
    line = join_of(word);
    if (!line)
        p->at = word.at;
    if (!current_label(p)->n_tests)
        line = JOIN_NEW;
    for (;;) {
        if (parse_test(p, line, join) || parse_word(p, &word))
            return -1;
        if (!word.len)
            return 0;
        join = join_of(word);
    }
}

int parse_filter_line(struct parser *p)
{
    static const struct {
        const char *word;
        bool keep, ctp;
    } boxes[] = {{"coordinates", false, false},
                 {"keepcoordinates", true, false},
                 {"ctpcoordinates", false, true},
                 {"ctpkeepcoordinates", true, true}};
    const char *from = p->at;
    struct word word;

    if (parse_word(p, &word))
        return -1;
    if (parse_is(word, "LABEL"))
        return parse_label(p, word.at);
    for (size_t i = 0; i < sizeof(boxes) / sizeof(boxes[0]); i++)
        if (parse_is(word, boxes[i].word))
            return parse_box(p, boxes[i].keep, boxes[i].ctp);
    p->at = from;
    return parse_tests(p);
}
