/* SPDX-License-Identifier: Apache-2.0 */
/* LABELs as pydicom/deid 0.4.12 reads them: by its own way through the lines, not ours. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deid/lint_parts.h"
#include "dicom/dicom.h"

#define DEID "deid 0.4.12"

static const char *const their_ops[] = {"contains", "notcontains", "equals", "notequals",
                                        "missing",  "present",     "empty"};
#define N_OPS (sizeof(their_ops) / sizeof(their_ops[0]))

/* A test as it stands in one of their lines. */
struct theirs {
    const struct recipe_test *ours; /* at the same place, NULL if there is none */
    size_t index;                   /* of it in its LABEL */
    bool is_first;                  /* of its line */
    enum recipe_join join;          /* to what stands before it in the line */
};
struct reader {
    struct lint *lint;
    const struct recipe_label *label;
    struct recipe_place place; /* of the line in hand */
    struct word line;
    struct theirs tests[LINT_MAX_TESTS];
    size_t n;
};
/* One line of tests, cut as they cut it. */
struct cut {
    struct word action, field, value;
    enum recipe_join join;
};

static struct word trim(struct word word)
{
    while (word.len && (*word.at == ' ' || *word.at == '\t'))
        word.at++, word.len--;
    while (word.len && (word.at[word.len - 1] == ' ' || word.at[word.len - 1] == '\t'))
        word.len--;
    return word;
}

static const char *find(struct word word, const char *what)
{
    return memmem(word.at, word.len, what, strlen(what));
}

static bool begins_with_op(struct word word)
{
    for (size_t i = 0; i < N_OPS; i++)
        if (word.len >= strlen(their_ops[i]) &&
            !strncasecmp(word.at, their_ops[i], strlen(their_ops[i])))
            return true;
    return false;
}

static bool has_op(struct word word)
{
    for (size_t i = 0; i < N_OPS; i++)
        if (find(word, their_ops[i]))
            return true;
    return false;
}

static bool is_op(struct word word, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (parse_is(word, their_ops[i]))
            return true;
    return false;
}

/* Up to the first blank, and what is behind it; false without a blank. */
static bool split(struct word word, struct word *ret_first, struct word *ret_rest)
{
    const char *blank = memchr(word.at, ' ', word.len);
    size_t n = blank ? (size_t)(blank - word.at) : word.len;

    *ret_first = (struct word){word.at, n};
    *ret_rest = blank ? (struct word){blank + 1, word.len - n - 1} : (struct word){0};
    return blank;
}

/* The next test of a line; `rest` is what is left.  False where they stop with an error. */
static bool cut_test(struct word *rest, struct cut *cut)
{
    const char *bars = find(*rest, "||"), *plus = find(*rest, "+");
    const char *at = bars && (!plus || bars < plus) ? bars : plus;
    struct word member = *rest, behind;

    cut->join = JOIN_NEW;
    if (at) {
        const char *next = at + (at == bars ? 2 : 1);

        behind = (struct word){next, (size_t)(rest->at + rest->len - next)};
        if (has_op(behind)) {
            cut->join = at == bars ? JOIN_OR : JOIN_AND; /* of the one behind */
            member.len = (size_t)(at - rest->at);
            *rest = trim(behind);
        }
    }
    if (!split(member, &cut->action, &member))
        return false;
    cut->value = (struct word){0};
    if (is_op(cut->action, 4, N_OPS)) {
        cut->field = trim(member);
        return true;
    }
    if (!is_op(cut->action, 0, 4) || !split(member, &cut->field, &cut->value))
        return false;
    cut->value = trim(cut->value);
    return true;
}

/* ---- a test of theirs beside ours ---- */

static void say(struct reader *r, enum lint_code code, const char *at, const char *instead,
                const char *text)
{
    lint_say(r->lint, code, lint_place(r->place, r->line, at), instead, "%s", text);
}

static bool same_text(struct word theirs, const char *ours)
{
    struct word own = trim((struct word){ours, strlen(ours)});

    return own.len == theirs.len && !strncasecmp(own.at, theirs.at, own.len);
}

/* `value` is what they look for; `own` stands behind the test. */
static void look_at_value(struct reader *r, const struct recipe_test *test, struct word own,
                          struct word value)
{
    const char *text;

    if (same_text(value, test->text))
        return;
    if (value.at == own.at && lint_comment(own)) {
        say(r, LINT_DEID_COMMENT, lint_comment(own), "the comment on a line of its own",
            DEID " takes a comment behind a test for a part of its value");
        return;
    }
    if (value.at == own.at && memchr(own.at, '"', own.len)) {
        say(r, LINT_DEID_QUOTE, own.at, "the value without quotes",
            DEID " takes quotes for a part of the value");
        return;
    }
    text = value.len ? lint_text(r->lint, DEID " looks for \"%.*s\" here",
                                 value.len < 80 ? (int)value.len : 80, value.at)
                     : DEID " looks for the word \"none\" here: missing, present and empty shift "
                            "the values of a line";
    say(r, LINT_DEID_TEST, own.at, "each test on a line of its own, with \"+\" before it", text);
}

static void look_at_field(struct reader *r, const struct recipe_test *test, struct word field)
{
    const struct name *name = lint_name(r->lint, &test->field);
    bool plain = test->field.kind == FIELD_PATH && test->field.n_steps == 1 && name &&
                 strlen(name->keyword) == field.len && !strncmp(name->keyword, field.at, field.len);
    bool never = test->op == OP_NOTCONTAINS || test->op == OP_NOTEQUALS || test->op == OP_MISSING;

    if (plain)
        return;
    if (lint_comment(field)) {
        say(r, LINT_DEID_COMMENT, lint_comment(field), "the comment on a line of its own",
            DEID " takes a comment behind a test for a part of its field");
        return;
    }
    if (field.len == 10 && !strncmp(field.at, "0x", 2)) {
        if (test->op <= OP_NOTEQUALS)
            say(r, LINT_DEID_TEST, field.at, "the keyword",
                DEID " compares all that it prints of an element whose tag is written so");
        return;
    }
    say(r, LINT_DEID_FIELD, field.at,
        name && test->field.n_steps == 1 ? lint_text(r->lint, "%s", name->keyword)
                                         : "a keyword of the top level",
        never ? DEID " finds no attribute that is written so: the test always holds"
              : DEID " finds no attribute that is written so: the test never holds");
}

static bool is_numeric(const struct name *name)
{
    static const char vrs[] = "DS IS US UL UV SS SL SV FL FD ";

    return name && strstr(vrs, name->vr);
}

/* How a test means something else, though both read the same. */
static void look_at_test(struct reader *r, const struct recipe_test *test, struct word action)
{
    const struct name *name = lint_name(r->lint, &test->field);
    bool several = name && !dicom_is_single(name->tag);
    const char *text = test->text;

    if (several && (test->op == OP_EQUALS || test->op == OP_NOTEQUALS))
        say(r, LINT_DEID_TEST, action.at,
            lint_text(r->lint, "%s %s %.80s", test->op == OP_EQUALS ? "contains" : "notcontains",
                      name->keyword, text),
            DEID " compares several values as the text of a list: only a single one is equal");
    else if (several && text && (*text == '^' || (*text && text[strlen(text) - 1] == '$')))
        say(r, LINT_DEID_TEST, action.at, "the pattern without \"^\" and \"$\"",
            DEID " compares several values as the text of a list, which begins with a bracket");
    else if (is_numeric(name) && test->op == OP_EMPTY)
        say(r, LINT_DEID_TEST, action.at, lint_text(r->lint, "missing %s", name->keyword),
            DEID " takes the number 0 for empty, and an empty number for missing");
    else if (is_numeric(name) && (test->op == OP_MISSING || test->op == OP_PRESENT))
        say(r, LINT_DEID_TEST, action.at,
            lint_text(r->lint, "missing %s || empty %s", name->keyword, name->keyword),
            DEID " takes an empty number for missing");
}

static const struct recipe_test *ours_at(const struct reader *r, const char *at, size_t *ret_index)
{
    for (size_t i = 0; i < r->label->n_tests; i++)
        if (r->label->tests[i].place.line == r->place.line &&
            lint_at_place(r->line, &r->label->tests[i].place) == at) {
            *ret_index = i;
            return &r->label->tests[i];
        }
    return NULL;
}

static bool stops(struct reader *r, const char *at)
{
    say(r, LINT_DEID_TEST, at,
        "one blank between the words, and \"+\" or \"||\" between tests only",
        DEID " stops with an error at this line");
    return false;
}

static bool read_tests(struct reader *r, struct word line)
{
    struct cut cuts[LINT_MAX_TESTS];
    struct word values[LINT_MAX_TESTS], rest = line;
    enum recipe_join join = JOIN_NEW;
    size_t n = 0, n_values = 0;

    do {
        const char *from = rest.at;

        if (n == LINT_MAX_TESTS || r->n + n == LINT_MAX_TESTS)
            return false;
        if (!cut_test(&rest, &cuts[n]))
            return stops(r, from);
        if (cuts[n].value.at)
            values[n_values++] = cuts[n].value;
        r->tests[r->n + n] = (struct theirs){.is_first = !n, .join = join};
        join = cuts[n++].join;
    } while (join);
    for (size_t i = 0; i < n; i++) {
        struct theirs *one = &r->tests[r->n++];

        one->ours = ours_at(r, cuts[i].action.at, &one->index);
        if (!one->ours)
            return stops(r, cuts[i].action.at);
        look_at_field(r, one->ours, cuts[i].field);
        if (one->ours->op <= OP_NOTEQUALS)
            look_at_value(r, one->ours, cuts[i].value,
                          i < n_values ? values[i] : (struct word){"", 0});
        look_at_test(r, one->ours, cuts[i].action);
    }
    return true;
}

/* ---- a LABEL ---- */

/* The next line that has something in it, of this LABEL; false at its end. */
static bool next_line(struct reader *r)
{
    for (;;) {
        struct word line;
        size_t len;

        r->place.line++;
        r->place.col = 1;
        if (!lint_line(r->lint, &r->place, &len))
            return false;
        r->line = lint_word(r->lint, &r->place);
        line = trim(r->line);
        if (!line.len || *line.at == '#')
            continue;
        return *line.at != '%' && !(line.len >= 5 && !strncasecmp(line.at, "LABEL", 5));
    }
}

static bool is_box(struct word line)
{
    static const char *const words[] = {"coordinates", "keepcoordinates", "ctpcoordinates",
                                        "ctpkeepcoordinates"};

    for (size_t i = 0; i < 4; i++)
        if (line.len >= strlen(words[i]) && !strncasecmp(line.at, words[i], strlen(words[i])))
            return true;
    return false;
}

static bool read_line(struct reader *r)
{
    struct word line = trim(r->line);

    if (is_box(line))
        return true;
    if (line.len > 1 && *line.at == '+')
        line = trim((struct word){line.at + 1, line.len - 1});
    else if (line.len > 2 && !strncmp(line.at, "||", 2))
        line = trim((struct word){line.at + 2, line.len - 2});
    if (begins_with_op(line))
        return read_tests(r, line);
    say(r, LINT_DEID_TEST, line.at, "contains, its pattern between \"^\" and \"$\"",
        DEID " knows no matches, and drops the line");
    return false;
}

/* All lines must hold; in a line from left to right. */
static bool they_hold(const struct reader *r, const struct logic_view *view, uint32_t bits)
{
    bool all = true, line = false;

    for (size_t i = 0; i < r->n; i++) {
        bool is = logic_is(view, r->tests[i].index, bits);

        if (r->tests[i].is_first) {
            all = all && (line || !i);
            line = is;
        } else {
            line = r->tests[i].join == JOIN_AND ? line && is : line || is;
        }
    }
    return all && line;
}

static void show_tests(const struct logic *logic, uint32_t bits, const char *joined,
                       struct buf *text)
{
    static const char *const words[] = {"contains", "equals", "matches", "present", "empty"};
    size_t n = 0;

    for (size_t i = 0; i < logic->n; i++) {
        const struct logic_var *var = &logic->vars[i];
        bool asks = var->base <= LOGIC_MATCHES;

        if (!(bits >> i & 1))
            continue;
        if (n++ == 3) {
            buf_str(text, " ...");
            return;
        }
        buf_printf(text, "%s\"%s %.40s%s%.40s\"", n > 1 ? joined : "", words[var->base],
                   var->test->field.text, asks ? " " : "", asks ? var->test->text : "");
    }
}

static void tell(struct reader *r, const struct logic *logic, uint32_t bits, bool here)
{
    uint32_t all = (1u << logic->n) - 1;
    struct buf text = {0};

    if (bits) {
        buf_str(&text, "of which ");
        show_tests(logic, bits, " and ", &text);
        buf_str(&text, " holds");
    }
    if (~bits & all) {
        buf_str(&text, bits ? ", but not " : "of which neither ");
        show_tests(logic, ~bits & all, " nor ", &text);
        buf_str(&text, bits ? "" : " holds");
    }
    buf_str(&text, "");
    if (text.failed)
        r->lint->failed = true;
    else
        lint_say(r->lint, LINT_DEID_LABEL, r->label->place,
                 "a LABEL for each criterion, its lines joined by \"+\"",
                 "LABEL %.80s holds %s, and not %s, for an image %s", r->label->name,
                 here ? "here" : "in " DEID, here ? "in " DEID : "here", text.data);
    buf_fini(&text);
}

static unsigned count_bits(uint32_t bits)
{
    unsigned n = 0;

    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

static bool has_choice(const struct recipe_label *label)
{
    for (size_t i = 1; i < label->n_tests; i++)
        if (label->tests[i].join == JOIN_NEW && label->tests[i].line != JOIN_AND)
            return true;
    return false;
}

/* The image with the fewest tests that hold of which they and we say something else. */
static void compare(struct reader *r)
{
    struct logic logic = {0};
    struct logic_view view;
    uint32_t best = 0;
    bool found = false;

    if (!logic_take(&logic, r->label, &view)) {
        if (has_choice(r->label))
            lint_say(r->lint, LINT_DEID_LABEL, r->label->place,
                     "a LABEL for each criterion, its lines joined by \"+\"",
                     "LABEL %.80s holds in " DEID " only where all its lines do", r->label->name);
        return;
    }
    logic_relate(&logic);
    for (uint32_t bits = 0; bits < 1u << logic.n; bits++) {
        if (logic_holds(&view, bits) == they_hold(r, &view, bits) ||
            !logic_is_possible(&logic, bits) || (found && count_bits(best) <= count_bits(bits)))
            continue;
        found = true;
        best = bits;
    }
    if (found)
        tell(r, &logic, best, logic_holds(&view, best));
}

static void look_at_boxes(struct reader *r)
{
    for (size_t i = 0; i < r->label->n_boxes; i++) {
        const struct recipe_box *box = &r->label->boxes[i];
        struct word word;

        r->place = box->place;
        r->line = lint_word(r->lint, &r->place);
        word = lint_token(r->line, 0);
        for (size_t c = 0; c < word.len; c++)
            if (word.at[c] >= 'A' && word.at[c] <= 'Z') {
                say(r, LINT_DEID_BOX, word.at, "the word in small letters",
                    DEID " reads coordinates in small letters only, and fails on an image");
                break;
            }
        if (lint_comment(r->line))
            say(r, LINT_DEID_BOX, lint_comment(r->line), "the comment on a line of its own",
                DEID " takes the comment for coordinates, and fails on an image");
        if (box->kind == BOX_FROM)
            say(r, LINT_DEID_BOX, lint_at_place(r->line, &box->place),
                "one run of it for each image there",
                DEID " uses the regions of the first image for all that come after it");
    }
}

void lint_their_label(struct lint *lint, const struct recipe_label *label)
{
    struct reader r = {.lint = lint, .label = label, .place = label->place};
    bool read = true;

    while (read && next_line(&r))
        read = read_line(&r);
    if ((read && r.n == label->n_tests && r.n) || label->n_tests > LINT_MAX_TESTS)
        compare(&r);
    look_at_boxes(&r);
}
