/* SPDX-License-Identifier: Apache-2.0 */
/* Lines, words and sections. */
#include "deid/recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/near.h"
#include "deid/recipe_parse.h"

struct recipe_block {
    struct recipe_block *next;
    max_align_t data[];
};

/* ---- memory ---- */

void *recipe_alloc(struct recipe *recipe, size_t size)
{
    struct recipe_block *block = calloc(1, sizeof(*block) + size);

    if (!block)
        return NULL;
    block->next = recipe->memory;
    recipe->memory = block;
    return block->data;
}

const char *recipe_text(struct recipe *recipe, const char *text, size_t len)
{
    char *copy = recipe_alloc(recipe, len + 1);

    if (copy)
        memcpy(copy, text, len);
    return copy;
}

/* An array has room for a power of two, four at least; those that it grew out of stay until the
 * end, which is at most as much again. */
void *recipe_grow(struct recipe *recipe, void *array, size_t n, size_t size)
{
    void *more;

    if (n && (n < 4 || n & (n - 1)))
        return array;
    more = recipe_alloc(recipe, (n ? 2 * n : 4) * size);
    if (more && n)
        memcpy(more, array, n * size);
    return more;
}

struct recipe *recipe_new(void)
{
    return calloc(1, sizeof(struct recipe));
}

void recipe_free(struct recipe *recipe)
{
    if (!recipe)
        return;
    for (size_t i = 0; i < recipe->n_patterns; i++)
        pattern_free(recipe->patterns[i]);
    while (recipe->memory) {
        struct recipe_block *block = recipe->memory;

        recipe->memory = block->next;
        free(block);
    }
    free(recipe);
}

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct recipe_place parse_place(const struct parser *p, const char *at)
{
    struct recipe_place place = {.file = p->file, .line = p->number, .col = 1};

    for (const char *c = p->line; c < at; c++)
        place.col += ((unsigned char)*c & 0xc0) != 0x80;
    return place;
}

int parse_error(struct parser *p, const char *at, const char *text, ...)
{
    char sentence[700];
    va_list ap;

    va_start(ap, text);
    vsnprintf(sentence, sizeof(sentence), text, ap);
    va_end(ap);
    return err_set(p->err, ERR_REFUSED, "%s:%u:%u: %s", p->file, p->number, parse_place(p, at).col,
                   sentence);
}

int parse_no_memory(struct parser *p)
{
    return err_set(p->err, ERR_PLACE, "no memory for the recipe \"%s\"", p->file);
}

static bool begins_comment(const struct parser *p, const char *at)
{
    return *at == '#' && (at == p->line || is_blank(at[-1]));
}

static void skip_blanks(struct parser *p)
{
    while (p->at < p->end && is_blank(*p->at))
        p->at++;
}

/* Over one character, or over a quoted part with its quotes. */
static int skip_character(struct parser *p)
{
    const char *quote = p->at;

    if (*p->at == '\\' && p->at + 1 < p->end && p->at[1] == '"') {
        p->at += 2;
        return 0;
    }
    if (*p->at++ != '"')
        return 0;
    while (p->at < p->end && *p->at != '"')
        p->at += *p->at == '\\' && p->at + 1 < p->end && p->at[1] == '"' ? 2 : 1;
    if (p->at == p->end)
        return parse_error(p, quote, "this quote has no match; write \\\" for a quote itself");
    p->at++;
    return 0;
}

int parse_word(struct parser *p, struct word *ret_word)
{
    const char *from;

    skip_blanks(p);
    from = p->at;
    if (p->at < p->end && !begins_comment(p, p->at))
        while (p->at < p->end && !is_blank(*p->at))
            if (skip_character(p))
                return -1;
    *ret_word = (struct word){from, (size_t)(p->at - from)};
    return 0;
}

int parse_rest(struct parser *p, struct word *ret_rest)
{
    const char *from, *to;

    skip_blanks(p);
    from = to = p->at;
    while (p->at < p->end && !begins_comment(p, p->at)) {
        bool blank = is_blank(*p->at);

        if (skip_character(p))
            return -1;
        if (!blank)
            to = p->at;
    }
    *ret_rest = (struct word){from, (size_t)(to - from)};
    return 0;
}

int parse_end(struct parser *p, const char *after)
{
    struct word word;

    if (parse_word(p, &word))
        return -1;
    if (word.len)
        return parse_error(p, word.at, "%s takes nothing behind it; \"#\" begins a comment", after);
    return 0;
}

const char *parse_unquote(struct parser *p, struct word word, bool squeeze)
{
    char *text = recipe_alloc(p->recipe, word.len + 1);
    bool quoted = false;
    size_t n = 0;

    if (!text)
        return NULL;
    for (size_t i = 0; i < word.len; i++) {
        char c = word.at[i];

        if (c == '\\' && i + 1 < word.len && word.at[i + 1] == '"') {
            text[n++] = '"';
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && squeeze && is_blank(c)) {
            if (i && !is_blank(word.at[i - 1]))
                text[n++] = ' ';
        } else {
            text[n++] = c;
        }
    }
    return text;
}

bool parse_is(struct word word, const char *text)
{
    return strlen(text) == word.len && !strncasecmp(word.at, text, word.len);
}

bool parse_is_name(struct word word)
{
    for (size_t i = 0; i < word.len; i++) {
        char c = word.at[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.'))
            return false;
    }
    return word.len > 0;
}

/* What there is, where nothing is close. */
static void list(const char *const *words, char *text, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; words[i] && n < size; i++) {
        int wrote = snprintf(text + n, size - n, "%s%s", i ? ", " : "; write one of ", words[i]);

        n += wrote > 0 ? (size_t)wrote : 0;
    }
}

const char *parse_hint(struct word word, const char *const *words, char *text, size_t size)
{
    char copy[64];
    struct near near;

    snprintf(copy, sizeof(copy), "%.*s", word.len < 63 ? (int)word.len : 63, word.at);
    for (char *c = copy; *c; c++) /* words of the language are in one case */
        if (words[0][0] >= 'A' && words[0][0] <= 'Z' ? *c >= 'a' && *c <= 'z'
                                                     : *c >= 'A' && *c <= 'Z')
            *c = (char)(*c ^ 0x20);
    near_start(&near, copy);
    for (size_t i = 0; words[i]; i++)
        near_try(&near, words[i]);
    if (!*near_hint(&near, text, size))
        list(words, text, size);
    return text;
}

static int add_pattern(struct parser *p, struct word word, const char *text, enum pattern_how how,
                       const struct pattern **ret_pattern)
{
    struct recipe *recipe = p->recipe;
    char why[160];
    size_t at;
    struct pattern *pattern;
    struct pattern **more =
        recipe_grow(recipe, recipe->patterns, recipe->n_patterns, sizeof(*more));

    if (!more)
        return parse_no_memory(p);
    recipe->patterns = more;
    pattern = pattern_new(text, strlen(text), how, why, sizeof(why), &at);
    if (!pattern && !why[0])
        return parse_no_memory(p);
    if (!pattern)
        return parse_error(p, word.at, "this pattern is none: %s, at character %zu of \"%.80s\"",
                           why, at + 1, text);
    recipe->patterns[recipe->n_patterns++] = pattern;
    *ret_pattern = pattern;
    return 0;
}

int parse_pattern(struct parser *p, struct word word, const char *text, enum pattern_how how,
                  const struct pattern **ret_pattern)
{
    if (!*text)
        return parse_error(p, word.at, "a pattern is missing; an empty one would match everything");
    return add_pattern(p, word, text, how, ret_pattern);
}

int parse_literal(struct parser *p, struct word word, const char *text,
                  const struct pattern **ret_pattern)
{
    struct buf escaped = {0};
    int r;

    pattern_escape(text, strlen(text), &escaped);
    buf_str(&escaped, "");
    r = escaped.failed ? parse_no_memory(p)
                       : add_pattern(p, word, escaped.data, PATTERN_WHOLE, ret_pattern);
    buf_fini(&escaped);
    return r;
}

/* ---- sections ---- */

static int parse_format(struct parser *p)
{
    struct word word;

    if (p->has_format)
        return parse_error(p, p->line, "FORMAT stands here a second time");
    if (parse_word(p, &word))
        return -1;
    if (!parse_is(word, "dicom"))
        return parse_error(p, word.at, "the only format is dicom: write \"FORMAT dicom\"");
    p->has_format = true;
    return parse_end(p, "FORMAT dicom");
}

static int open_source(struct parser *p, struct word name, bool is_values)
{
    struct recipe *recipe = p->recipe;
    struct recipe_source *source;

    if (!parse_is_name(name))
        return parse_error(p, name.at,
                           "%%%s needs a name: one word of letters, digits, \"_\", "
                           "\"-\" and \".\"",
                           is_values ? "values" : "fields");
    for (size_t i = 0; i < recipe->n_sources; i++) {
        source = &recipe->sources[i];
        if (strlen(source->name) != name.len || strncmp(source->name, name.at, name.len) != 0)
            continue;
        if (source->is_values != is_values)
            return parse_error(p, name.at, "%.64s is a name of %%%s already", source->name,
                               source->is_values ? "values" : "fields");
        p->current = i;
        return 0;
    }
    if (recipe->n_sources == RECIPE_MAX_SOURCES)
        return parse_error(p, name.at, "there are more than %d groups of fields and values",
                           RECIPE_MAX_SOURCES);
    source = recipe_grow(recipe, recipe->sources, recipe->n_sources, sizeof(*source));
    if (!source)
        return parse_no_memory(p);
    recipe->sources = source;
    p->current = recipe->n_sources++;
    source += p->current;
    source->is_values = is_values;
    source->place = parse_place(p, name.at);
    source->name = recipe_text(recipe, name.at, name.len);
    return source->name ? 0 : parse_no_memory(p);
}

/* "graylist" is "greylist"; what is neither of the three is taken for one. */
static int open_group(struct parser *p, struct word name)
{
    struct recipe *recipe = p->recipe;
    struct recipe_group *group;
    const char *text;

    if (!name.len)
        return parse_error(p, name.at, "%%filter needs a name: whitelist, greylist, blacklist");
    text = parse_is(name, "graylist") ? "greylist" : parse_unquote(p, name, true);
    if (!text)
        return parse_no_memory(p);
    for (size_t i = 0; i < recipe->n_groups; i++)
        if (!strcasecmp(recipe->groups[i].name, text)) {
            p->current = i;
            return 0;
        }
    if (recipe->n_groups == RECIPE_MAX_GROUPS)
        return parse_error(p, name.at, "there are more than %d groups of filters",
                           RECIPE_MAX_GROUPS);
    group = recipe_grow(recipe, recipe->groups, recipe->n_groups, sizeof(*group));
    if (!group)
        return parse_no_memory(p);
    recipe->groups = group;
    p->current = recipe->n_groups++;
    group += p->current;
    group->name = text;
    group->kind = !strcasecmp(text, "whitelist")   ? GROUP_WHITE
                  : !strcasecmp(text, "blacklist") ? GROUP_BLACK
                                                   : GROUP_GREY;
    return 0;
}

static int parse_section(struct parser *p, struct word word)
{
    static const char *const sections[] = {"%header", "%labels", "%fields",
                                           "%values", "%filter", NULL};
    struct word name;
    char hint[PARSE_HINT];
    int i = 0;

    if (parse_label_end(p))
        return -1;
    while (sections[i] && !parse_is(word, sections[i]))
        i++;
    if (!sections[i])
        return parse_error(p, word.at, "there is no section %.*s%s", (int)word.len, word.at,
                           parse_hint(word, sections, hint, sizeof(hint)));
    p->section = (enum section)(i + 1);
    if (parse_rest(p, &name))
        return -1;
    switch (p->section) {
    case SECTION_FIELDS:
    case SECTION_VALUES:
        return open_source(p, name, p->section == SECTION_VALUES);
    case SECTION_FILTER:
        return open_group(p, name);
    default:
        if (name.len)
            return parse_error(p, name.at, "%s has no name; \"#\" begins a comment", sections[i]);
        return 0;
    }
}

static int parse_line(struct parser *p)
{
    struct word word;

    if (parse_word(p, &word))
        return -1;
    if (!word.len)
        return 0;
    if (parse_is(word, "FORMAT"))
        return parse_format(p);
    if (!p->has_format)
        return parse_error(p, word.at, "a recipe begins with \"FORMAT dicom\"");
    if (*word.at == '%')
        return parse_section(p, word);
    p->at = word.at;
    switch (p->section) {
    case SECTION_HEADER:
    case SECTION_LABELS:
        return parse_action_line(p);
    case SECTION_FIELDS:
    case SECTION_VALUES:
        return parse_source_line(p);
    case SECTION_FILTER:
        return parse_filter_line(p);
    default:
        return parse_error(p, word.at, "this line stands before any section, such as %%header");
    }
}

/* Length of a character of UTF-8; 0 if it is none, or a control character. */
static size_t character(const char *at, const char *end)
{
    const unsigned char *c = (const unsigned char *)at;
    size_t n = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;

    if (!n || (size_t)(end - at) < n || (n == 1 && ((*c < 0x20 && *c != '\t') || *c == 0x7f)))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] >= 0xa0) ||
        (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] >= 0x90))
        return 0;
    return n;
}

static int check_characters(struct parser *p)
{
    if (p->end - p->line > RECIPE_MAX_LINE)
        return parse_error(p, p->line, "a line has up to %d bytes", RECIPE_MAX_LINE);
    for (const char *at = p->line; at < p->end;) {
        size_t n = character(at, p->end);

        if (!n && (unsigned char)*at >= 0x80)
            return parse_error(p, at, "this is no UTF-8; save the file as UTF-8");
        if (!n)
            return parse_error(p, at, "a control character stands here; take it out");
        at += n;
    }
    return 0;
}

int recipe_add(struct recipe *recipe, const struct names *names, const char *file, const char *text,
               size_t len, struct err *err)
{
    struct parser p = {.recipe = recipe, .names = names, .err = err};
    const char *end = text + len;

    p.file = recipe_text(recipe, file, strlen(file));
    if (!p.file)
        return err_set(err, ERR_PLACE, "no memory for a recipe");
    p.number = 1;
    p.line = text;
    if (len > RECIPE_MAX_BYTES)
        return parse_error(&p, text, "a recipe has up to %u bytes", RECIPE_MAX_BYTES);
    if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        return parse_error(&p, text,
                           "a byte order mark stands here; save the file as UTF-8 "
                           "without one");
    for (p.number = 0; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));

        p.number++;
        p.line = p.at = text;
        p.end = newline ? newline : end;
        text = newline ? newline + 1 : end;
        if (p.end > p.line && p.end[-1] == '\r') /* as Windows writes lines */
            p.end--;
        if (check_characters(&p) || parse_line(&p))
            return -1;
    }
    p.line = p.at = p.end = end;
    p.number += !p.number;
    if (parse_label_end(&p))
        return -1;
    if (!p.has_format)
        return parse_error(&p, end, "a recipe begins with \"FORMAT dicom\"");
    return p.has_rules ? 0 : parse_error(&p, end, "the recipe has no rule");
}

/* ---- what is named must be there ---- */

static int missing(const struct recipe *recipe, struct recipe_place place, const char *name,
                   bool is_values, struct err *err)
{
    struct near near;
    char hint[128];

    near_start(&near, name);
    for (size_t i = 0; i < recipe->n_sources; i++)
        if (recipe->sources[i].is_values == is_values)
            near_try(&near, recipe->sources[i].name);
    return err_set(err, ERR_REFUSED, "%s:%u:%u: there is no %%%s %.64s%s", place.file, place.line,
                   place.col, is_values ? "values" : "fields", name,
                   near_hint(&near, hint, sizeof(hint)));
}

static int find_source(const struct recipe *recipe, const char *name, bool is_values,
                       struct recipe_place place, size_t *ret_source, struct err *err)
{
    for (size_t i = 0; i < recipe->n_sources; i++)
        if (recipe->sources[i].is_values == is_values && !strcmp(recipe->sources[i].name, name)) {
            *ret_source = i;
            return 0;
        }
    return missing(recipe, place, name, is_values, err);
}

static int resolve(const struct recipe *recipe, struct recipe_action *actions, size_t n,
                   struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct recipe_action *action = &actions[i];
        struct field *field = &action->field;

        if ((field->kind == FIELD_FIELDS || field->kind == FIELD_VALUES) &&
            find_source(recipe, field->source_name, field->kind == FIELD_VALUES, field->place,
                        &field->source, err))
            return -1;
        if (action->when == IF_VALUES &&
            find_source(recipe, action->source_name, true, action->place, &action->source, err))
            return -1;
    }
    return 0;
}

int recipe_finish(struct recipe *recipe, struct err *err)
{
    if (resolve(recipe, recipe->actions, recipe->n_actions, err))
        return -1;
    return resolve(recipe, recipe->labels, recipe->n_labels, err);
}
