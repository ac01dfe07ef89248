/* SPDX-License-Identifier: Apache-2.0 */
/* What a field may be. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "deid/recipe_parse.h"

#define ANY_ITEM (-1)
#define MAX_ITEM 100000

static const char *const variables[] = {
    "entity_id",      "entity_id_source", "entity_timestamp", "item_id",
    "item_id_source", "item_timestamp",   "jitter",           NULL};

bool recipe_is_variable(const char *word, size_t len)
{
    for (size_t i = 0; variables[i]; i++)
        if (strlen(variables[i]) == len && !memcmp(variables[i], word, len))
            return true;
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *text, size_t n, uint32_t *ret_value)
{
    uint32_t value = 0;

    for (size_t i = 0; i < n; i++) {
        int digit = hex_digit(text[i]);

        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *ret_value = value;
    return true;
}

/* (0010,0020), 00100020 or 0x00100020. */
static bool read_tag(struct word word, uint32_t *ret_tag)
{
    uint32_t group = 0, element = 0;

    if (word.len == 11 && word.at[0] == '(' && word.at[5] == ',' && word.at[10] == ')' &&
        read_hex(word.at + 1, 4, &group) && read_hex(word.at + 6, 4, &element)) {
        *ret_tag = group << 16 | element;
        return true;
    }
    if (word.len == 10 && word.at[0] == '0' && (word.at[1] | 0x20) == 'x')
        return read_hex(word.at + 2, 8, ret_tag);
    return word.len == 8 && read_hex(word.at, 8, ret_tag);
}

/* ---- (0033,"MITRA",1E) ---- */

static bool is_private_syntax(struct word word)
{
    size_t paren = word.len && word.at[0] == '(';
    uint32_t group;

    return word.len > paren + 6 && read_hex(word.at + paren, 4, &group) &&
           word.at[paren + 4] == ',' && word.at[paren + 5] == '"';
}

static int parse_private(struct parser *p, struct word word, struct field *field)
{
    static const char form[] = "a private attribute is written (0033,\"CREATOR\",1E), its element "
                               "as the last two digits";
    size_t paren = word.at[0] == '(';
    const char *from = word.at + paren + 5, *end = word.at + word.len, *quote = from + 1;
    uint32_t group = 0, element = 0;
    size_t digits;

    read_hex(word.at + paren, 4, &group);
    while (quote < end && *quote != '"')
        quote += *quote == '\\' && quote + 1 < end && quote[1] == '"' ? 2 : 1;
    if (paren && end[-1] != ')')
        return parse_error(p, word.at, "%s", form);
    end -= paren;
    digits = end > quote + 2 ? (size_t)(end - quote - 2) : 0;
    if (quote + 1 >= end || quote[1] != ',' || digits < 1 || digits > 2 || quote == from + 1 ||
        !read_hex(quote + 2, digits, &element))
        return parse_error(p, word.at, "%s", form);
    if (!(group & 1))
        return parse_error(p, word.at, "group %04X is not private: its last digit is even", group);
    field->kind = FIELD_PRIVATE;
    field->tag = group << 16 | element;
    field->creator = parse_unquote(p, (struct word){from, (size_t)(quote + 1 - from)}, false);
    return field->creator ? 0 : parse_no_memory(p);
}

/* ---- paths ---- */

static int unknown_field(struct parser *p, struct word word)
{
    char text[64], hint[128];

    snprintf(text, sizeof(text), "%.*s", word.len < 63 ? (int)word.len : 63, word.at);
    if (word.len == 6 && word.at[0] == '(' && word.at[5] == ',')
        return parse_error(p, word.at, "write a tag without a blank, as (0010,0020)");
    return parse_error(p, word.at, "no attribute is called %s%s", text,
                       names_hint(p->names, text, hint, sizeof(hint)));
}

static int parse_step(struct parser *p, struct word word, struct field_step *ret_step)
{
    const struct name *name;
    uint32_t tag;

    ret_step->item = ANY_ITEM;
    ret_step->mask = UINT32_MAX;
    if (read_tag(word, &tag)) {
        if (!(tag >> 16 & 1) && !names_of(p->names, tag))
            return parse_error(p, word.at, "no attribute has the tag %.*s", (int)word.len, word.at);
        ret_step->tag = tag;
        return 0;
    }
    name = names_find(p->names, word.at, word.len);
    if (!name)
        return unknown_field(p, word);
    ret_step->tag = name->tag;
    if (name->tag >> 24 == 0x50 || name->tag >> 24 == 0x60)
        ret_step->mask = 0xff00ffff;
    return 0;
}

/* The number of an item. */
static bool read_item(struct word word, int64_t *ret_item)
{
    int64_t item = 0;

    for (size_t i = 0; i < word.len; i++) {
        if (word.at[i] < '0' || word.at[i] > '9' || i > 5)
            return false;
        item = item * 10 + (word.at[i] - '0');
    }
    *ret_item = item;
    return word.len > 0 && item <= MAX_ITEM;
}

/* What has something behind it is a sequence. */
static int check_parent(struct parser *p, struct word word, const struct field_step *step)
{
    const struct name *name = names_of(p->names, step->tag);

    if (name && strcmp(name->vr, "SQ") != 0)
        return parse_error(p, word.at, "%s is no sequence, and nothing stands in it",
                           name->keyword);
    return 0;
}

static int parse_path(struct parser *p, struct word word, struct field *field)
{
    struct field_step steps[RECIPE_MAX_STEPS];
    const char *at = word.at, *end = word.at + word.len;
    size_t n = 0;

    while (at <= end) {
        const char *next = at;
        struct word part;

        while (next < end && !(next + 1 < end && next[0] == '_' && next[1] == '_'))
            next++;
        part = (struct word){at, (size_t)(next - at)};
        at = next < end ? next + 2 : end + 1;
        if (n && steps[n - 1].item == ANY_ITEM && read_item(part, &steps[n - 1].item)) {
            if (at > end)
                return parse_error(p, part.at, "an item is no attribute; name one in it");
            continue;
        }
        if (n == RECIPE_MAX_STEPS)
            return parse_error(p, part.at, "a path has up to %d steps", RECIPE_MAX_STEPS);
        if (parse_step(p, part, &steps[n]))
            return -1;
        if (at <= end && check_parent(p, part, &steps[n]))
            return -1;
        n++;
    }
    field->kind = FIELD_PATH;
    field->n_steps = n;
    field->steps = recipe_alloc(p->recipe, n * sizeof(*steps));
    if (!field->steps)
        return parse_no_memory(p);
    memcpy(field->steps, steps, n * sizeof(*steps));
    return 0;
}

/* ---- contains:, select:, values: ---- */

static int parse_select(struct parser *p, struct word rest, struct field *field)
{
    uint32_t group;

    if (rest.len == 5 && !strncasecmp(rest.at, "VR:", 3)) {
        static const char vrs[] = "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL "
                                  "SQ SS ST SV TM UC UI UL "
                                  "UN UR US UT UV";
        char vr[3] = {(char)(rest.at[3] & ~0x20), (char)(rest.at[4] & ~0x20), '\0'};

        if (!strstr(vrs, vr) || vr[0] < 'A' || vr[1] < 'A')
            return parse_error(p, rest.at + 3, "there is no VR %.2s", rest.at + 3);
        field->kind = FIELD_VR;
        memcpy(field->vr, vr, sizeof(vr));
        return 0;
    }
    if (rest.len > 6 && rest.len <= 12 && !strncasecmp(rest.at, "group:", 6)) {
        struct word hex = {rest.at + 6, rest.len - 6};

        if (hex.len == 6 && hex.at[0] == '0' && (hex.at[1] | 0x20) == 'x')
            hex = (struct word){hex.at + 2, 4};
        if (hex.len == 4 && read_hex(hex.at, 4, &group)) {
            field->kind = FIELD_GROUP;
            field->group = (uint16_t)group;
            return 0;
        }
    }
    return parse_error(p, rest.at,
                       "select: is followed by VR: and two letters, or by group: and "
                       "four hexadecimal digits");
}

static int parse_reference(struct parser *p, struct word rest, struct field *field, bool is_values)
{
    if (!parse_is_name(rest))
        return parse_error(p, rest.at, "%s: is followed by the name of a group",
                           is_values ? "values" : "fields");
    field->kind = is_values ? FIELD_VALUES : FIELD_FIELDS;
    field->source_name = recipe_text(p->recipe, rest.at, rest.len);
    return field->source_name ? 0 : parse_no_memory(p);
}

static int parse_expander(struct parser *p, struct word word, size_t colon, struct field *field)
{
    static const char *const expanders[] = {"contains", "except", "startswith", "endswith",
                                            "select",   "fields", "values",     NULL};
    static const enum pattern_how hows[] = {PATTERN_ANYWHERE, PATTERN_ANYWHERE, PATTERN_AT_START,
                                            PATTERN_AT_END};
    static const enum field_kind kinds[] = {FIELD_CONTAINS, FIELD_CONTAINS, FIELD_STARTS,
                                            FIELD_ENDS};
    struct word head = {word.at, colon};
    struct word rest = {word.at + colon + 1, word.len - colon - 1};
    const char *text;
    char hint[PARSE_HINT];
    size_t i = 0;

    while (expanders[i] && !parse_is(head, expanders[i]))
        i++;
    if (!expanders[i])
        return parse_error(p, word.at, "there is no expander %.*s:%s", (int)head.len, head.at,
                           parse_hint(head, expanders, hint, sizeof(hint)));
    if (i == 4)
        return parse_select(p, rest, field);
    if (i > 4)
        return parse_reference(p, rest, field, i == 6);
    text = parse_unquote(p, rest, false);
    if (!text)
        return parse_no_memory(p);
    field->kind = kinds[i];
    field->except = i == 1;
    return parse_pattern(p, rest, text, hows[i], &field->pattern);
}

static int parse_any(struct parser *p, struct word word, struct field *field, bool plain)
{
    const char *colon = memchr(word.at, ':', word.len);

    *field = (struct field){.place = parse_place(p, word.at)};
    field->text = recipe_text(p->recipe, word.at, word.len);
    if (!field->text)
        return parse_no_memory(p);
    if (is_private_syntax(word))
        return parse_private(p, word, field);
    if (colon && !memchr(word.at, '"', (size_t)(colon - word.at))) {
        if (plain)
            return parse_error(p, word.at, "a filter asks one attribute: its keyword or tag");
        return parse_expander(p, word, (size_t)(colon - word.at), field);
    }
    if (!plain && parse_is(word, "ALL")) {
        field->kind = FIELD_ALL;
        return 0;
    }
    if (!plain && recipe_is_variable(word.at, word.len)) {
        field->kind = FIELD_NOTHING;
        return 0;
    }
    return parse_path(p, word, field);
}

int parse_field(struct parser *p, struct word word, struct field *ret_field)
{
    return parse_any(p, word, ret_field, false);
}

int parse_plain_field(struct parser *p, struct word word, struct field *ret_field)
{
    return parse_any(p, word, ret_field, true);
}
