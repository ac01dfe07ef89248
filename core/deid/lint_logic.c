/* SPDX-License-Identifier: Apache-2.0 */
/* When LABELs hold: each different test is a variable, and some follow from others. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deid/lint_parts.h"
#include "dicom/dicom.h"

static enum logic_base base_of(enum recipe_op op, bool *ret_not)
{
    *ret_not = op == OP_NOTCONTAINS || op == OP_NOTEQUALS || op == OP_MISSING;
    switch (op) {
    case OP_CONTAINS:
    case OP_NOTCONTAINS:
        return LOGIC_CONTAINS;
    case OP_EQUALS:
    case OP_NOTEQUALS:
        return LOGIC_EQUALS;
    case OP_MATCHES:
        return LOGIC_MATCHES;
    case OP_EMPTY:
        return LOGIC_EMPTY;
    default:
        return LOGIC_PRESENT;
    }
}

static bool asks_value(const struct logic_var *var)
{
    return var->base <= LOGIC_MATCHES;
}

static bool is_same_test(const struct logic_var *var, enum logic_base base,
                         const struct recipe_test *test)
{
    return var->base == base && lint_same_field(&var->test->field, &test->field) &&
           (!asks_value(var) || !strcasecmp(var->test->text, test->text));
}

bool logic_take(struct logic *logic, const struct recipe_label *label, struct logic_view *ret_view)
{
    *ret_view = (struct logic_view){.label = label};
    if (label->n_tests > LINT_MAX_TESTS)
        return false;
    for (size_t i = 0; i < label->n_tests; i++) {
        const struct recipe_test *test = &label->tests[i];
        bool is_not;
        enum logic_base base = base_of(test->op, &is_not);
        size_t var = 0;

        while (var < logic->n && !is_same_test(&logic->vars[var], base, test))
            var++;
        if (var == LINT_MAX_VARS)
            return false;
        if (var == logic->n)
            logic->vars[logic->n++] = (struct logic_var){.test = test, .base = base};
        ret_view->tests[i].var = (uint8_t)var;
        ret_view->tests[i].is_not = is_not;
        ret_view->bits |= 1u << var;
    }
    return true;
}

static bool is_top(const struct field *field)
{
    return field->kind == FIELD_PRIVATE ||
           (field->kind == FIELD_PATH && field->n_steps == 1 && field->steps->mask == UINT32_MAX);
}

static bool is_single(const struct field *field)
{
    return field->kind == FIELD_PATH && is_top(field) && dicom_is_single(field->steps->tag);
}

/* Does each text that has one of the words a|b|c in it have the pattern, too?  Both are plain. */
static bool each_word_has(const char *words, const struct pattern *pattern)
{
    while (*words) {
        size_t n = strcspn(words, "|");

        if (pattern_match(pattern, words, n) != PATTERN_YES)
            return false;
        words += n + (words[n] == '|');
    }
    return true;
}

/* What equals a number may be written otherwise, so that nothing follows for its text. */
static bool is_number(const char *text)
{
    return *text && strspn(text, "0123456789+-.eE") == strlen(text);
}

static bool follows(const struct logic_var *a, const struct logic_var *b)
{
    if (b->base == LOGIC_PRESENT)
        return true;
    if (b->base == LOGIC_EMPTY || !asks_value(a) || strchr(a->test->text, '\\'))
        return false;
    if (a->base == LOGIC_EQUALS && b->base != LOGIC_EQUALS)
        return !is_number(a->test->text) &&
               pattern_match(b->test->pattern, a->test->text, strlen(a->test->text)) == PATTERN_YES;
    return a->base == LOGIC_CONTAINS && b->base == LOGIC_CONTAINS &&
           pattern_is_plain(a->test->pattern) && pattern_is_plain(b->test->pattern) &&
           each_word_has(a->test->text, b->test->pattern);
}

/* Can they not hold at once? */
static bool contradicts(const struct logic_var *a, const struct logic_var *b)
{
    const struct recipe_test *left = a->test, *right = b->test;

    if (b->base == LOGIC_EMPTY)
        return asks_value(a) && is_top(&left->field) &&
               pattern_match(left->pattern, "", 0) == PATTERN_NO;
    if (a->base != LOGIC_EQUALS || !asks_value(b) || !is_single(&left->field) ||
        strchr(left->text, '\\'))
        return false;
    if (is_number(left->text))
        return b->base == LOGIC_EQUALS && is_number(right->text) &&
               (strtod(left->text, NULL) < strtod(right->text, NULL) ||
                strtod(left->text, NULL) > strtod(right->text, NULL));
    return pattern_match(right->pattern, left->text, strlen(left->text)) == PATTERN_NO;
}

void logic_relate(struct logic *logic)
{
    for (size_t i = 0; i < logic->n; i++)
        logic->vars[i].implies = logic->vars[i].excludes = 0;
    for (size_t i = 0; i < logic->n; i++)
        for (size_t k = 0; k < logic->n; k++) {
            struct logic_var *a = &logic->vars[i];
            const struct logic_var *b = &logic->vars[k];

            if (i == k || !lint_same_field(&a->test->field, &b->test->field))
                continue;
            if (follows(a, b))
                a->implies |= 1u << k;
            else if (contradicts(a, b))
                a->excludes |= 1u << k;
        }
}

bool logic_is_possible(const struct logic *logic, uint32_t bits)
{
    for (size_t i = 0; i < logic->n; i++)
        if (bits >> i & 1 && ((bits & logic->vars[i].implies) != logic->vars[i].implies ||
                              bits & logic->vars[i].excludes))
            return false;
    return true;
}

static bool join(enum recipe_join how, bool a, bool b)
{
    return how == JOIN_AND ? a && b : how == JOIN_OR ? a || b : b;
}

bool logic_holds(const struct logic_view *view, uint32_t bits)
{
    const struct recipe_label *label = view->label;
    bool any = !label->n_tests, criterion = false, line = false;
    enum recipe_join how = JOIN_NEW;

    for (size_t i = 0; i < label->n_tests; i++) {
        const struct recipe_test *test = &label->tests[i];
        bool is = logic_is(view, i, bits);

        if (test->join != JOIN_NEW) {
            line = join(test->join, line, is);
            continue;
        }
        if (i)
            criterion = join(how, criterion, line);
        how = test->line;
        if (how == JOIN_NEW)
            any = any || criterion;
        line = is;
    }
    return any || (label->n_tests && join(how, criterion, line));
}
