/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/lint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deid/lint_parts.h"
#include "deid/value.h"

static const char *const code_names[LINT_CODES] = {
    [LINT_ALWAYS_LABEL] = "always-label",
    [LINT_ANY_PATTERN] = "any-pattern",
    [LINT_DEAD_LABEL] = "dead-label",
    [LINT_DEAD_RULE] = "dead-rule",
    [LINT_DEID_ADD] = "deid-add",
    [LINT_DEID_BOX] = "deid-box",
    [LINT_DEID_COMMENT] = "deid-comment",
    [LINT_DEID_CONDITION] = "deid-condition",
    [LINT_DEID_DATE] = "deid-date",
    [LINT_DEID_FIELD] = "deid-field",
    [LINT_DEID_KEEP] = "deid-keep",
    [LINT_DEID_LABEL] = "deid-label",
    [LINT_DEID_MERGE] = "deid-merge",
    [LINT_DEID_PATTERN] = "deid-pattern",
    [LINT_DEID_QUOTE] = "deid-quote",
    [LINT_DEID_TEST] = "deid-test",
    [LINT_DEID_UID] = "deid-uid",
    [LINT_DEID_VALUES] = "deid-values",
    [LINT_DEID_VERB] = "deid-verb",
    [LINT_INSIDE_REMOVED] = "inside-removed",
    [LINT_KEEPS] = "keeps",
    [LINT_LEAVES] = "leaves",
    [LINT_NO_ATTRIBUTE] = "no-attribute",
    [LINT_NO_DATE] = "no-date",
    [LINT_SEVERAL_CRITERIA] = "several-criteria",
    [LINT_SHADOWED_LABEL] = "shadowed-label",
    [LINT_SLOW_PATTERN] = "slow-pattern",
    [LINT_UNFIT_VALUE] = "unfit-value",
    [LINT_UNKNOWN_VARIABLE] = "unknown-variable",
    [LINT_UNREAD_LABELS] = "unread-labels",
    [LINT_UNTOUCHED] = "untouched",
    [LINT_UNUSED_GROUP] = "unused-group",
    [LINT_VARIABLE_FIELD] = "variable-field",
    [LINT_WIDE_WHITELIST] = "wide-whitelist",
};

const char *lint_code_name(enum lint_code code)
{
    return code < LINT_CODES ? code_names[code] : NULL;
}

/* ---- findings ---- */

__attribute__((format(printf, 2, 0))) static const char *keep_text(struct lint *lint,
                                                                   const char *text, va_list ap)
{
    char sentence[1000];
    struct lint_text *one;
    int n = vsnprintf(sentence, sizeof(sentence), text, ap);

    one = malloc(sizeof(*one) + (size_t)(n > 0 ? n : 0) + 1);
    if (!one) {
        lint->failed = true;
        return "";
    }
    snprintf(one->text, (size_t)(n > 0 ? n : 0) + 1, "%s", sentence);
    one->next = lint->texts;
    lint->texts = one;
    return one->text;
}

const char *lint_text(struct lint *lint, const char *text, ...)
{
    const char *kept;
    va_list ap;

    va_start(ap, text);
    kept = keep_text(lint, text, ap);
    va_end(ap);
    return kept;
}

void lint_say(struct lint *lint, enum lint_code code, struct recipe_place place,
              const char *instead, const char *text, ...)
{
    va_list ap;

    if (lint->n == LINT_MAX_FINDINGS) {
        lint->cut = true;
        return;
    }
    if (lint->n == lint->room) {
        size_t room = lint->room ? 2 * lint->room : 64;
        struct lint_finding *more = realloc(lint->findings, room * sizeof(*more));

        if (!more) {
            lint->failed = true;
            return;
        }
        lint->findings = more;
        lint->room = room;
    }
    va_start(ap, text);
    lint->findings[lint->n++] = (struct lint_finding){
        .code = code, .place = place, .instead = instead, .text = keep_text(lint, text, ap)};
    va_end(ap);
}

/* ---- lines ---- */

static int index_lines(struct lint_lines *lines, const struct lint_source *source)
{
    size_t n = 1;

    for (size_t i = 0; i < source->len; i++)
        n += source->text[i] == '\n';
    lines->starts = calloc(n, sizeof(*lines->starts));
    if (!lines->starts)
        return -1;
    lines->n = 1;
    for (size_t i = 0; i + 1 < source->len; i++)
        if (source->text[i] == '\n')
            lines->starts[lines->n++] = i + 1;
    return 0;
}

const char *lint_line(const struct lint *lint, const struct recipe_place *place, size_t *ret_len)
{
    for (size_t i = 0; place->line && i < lint->n_sources; i++) {
        const struct lint_source *source = &lint->sources[i];
        const char *from, *end;

        if (strcmp(source->file, place->file) != 0 || place->line > lint->lines[i].n)
            continue;
        from = source->text + lint->lines[i].starts[place->line - 1];
        end = memchr(from, '\n', source->len - (size_t)(from - source->text));
        end = end ? end : source->text + source->len;
        if (end > from && end[-1] == '\r')
            end--;
        *ret_len = (size_t)(end - from);
        return from;
    }
    return NULL;
}

struct word lint_word(const struct lint *lint, const struct recipe_place *place)
{
    size_t len = 0;
    const char *at = lint_line(lint, place, &len);

    return (struct word){at ? at : "", len};
}

struct recipe_place lint_place(struct recipe_place place, struct word line, const char *at)
{
    place.col = 1;
    for (const char *c = line.at; c < at; c++)
        place.col += ((unsigned char)*c & 0xc0) != 0x80;
    return place;
}

const char *lint_at_place(struct word line, const struct recipe_place *place)
{
    const char *at = line.at, *end = line.at + line.len;

    for (unsigned col = 1; at < end && col < place->col; col++)
        for (at++; at < end && ((unsigned char)*at & 0xc0) == 0x80;)
            at++;
    return at;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

const char *lint_comment(struct word line)
{
    bool quoted = false;

    for (size_t i = 0; i < line.len; i++) {
        char c = line.at[i];

        if (c == '"' && !(i && line.at[i - 1] == '\\'))
            quoted = !quoted;
        if (c == '#' && !quoted && (!i || is_blank(line.at[i - 1])))
            return line.at + i;
    }
    return NULL;
}

struct word lint_token(struct word line, size_t index)
{
    const char *comment = lint_comment(line), *at = line.at;
    const char *end = comment ? comment : line.at + line.len;

    for (size_t i = 0;; i++) {
        const char *from;
        bool quoted = false;

        while (at < end && is_blank(*at))
            at++;
        for (from = at; at < end && (quoted || !is_blank(*at)); at++)
            if (*at == '"' && !(at > from && at[-1] == '\\'))
                quoted = !quoted;
        if (at == from || i == index)
            return (struct word){from, (size_t)(at - from)};
    }
}

struct word lint_rest(struct word line, size_t index)
{
    const char *comment = lint_comment(line), *end = comment ? comment : line.at + line.len;
    struct word from = lint_token(line, index);

    while (end > from.at && is_blank(end[-1]))
        end--;
    return (struct word){from.at, from.len ? (size_t)(end - from.at) : 0};
}

/* ---- fields ---- */

const struct name *lint_name(const struct lint *lint, const struct field *field)
{
    return field->kind == FIELD_PATH ? names_of(lint->names, field->steps[field->n_steps - 1].tag)
                                     : NULL;
}

bool lint_same_field(const struct field *a, const struct field *b)
{
    if (a->kind != b->kind || a->n_steps != b->n_steps)
        return false;
    if (a->kind == FIELD_PRIVATE)
        return a->tag == b->tag && !strcasecmp(a->creator, b->creator);
    if (a->kind != FIELD_PATH)
        return !strcasecmp(a->text, b->text);
    for (size_t i = 0; i < a->n_steps; i++)
        if (a->steps[i].tag != b->steps[i].tag || a->steps[i].mask != b->steps[i].mask ||
            a->steps[i].item != b->steps[i].item)
            return false;
    return true;
}

const uint32_t *lint_owners(struct lint *lint, const struct field *field, size_t depth,
                            size_t *ret_n)
{
    struct spot *spot = &lint->spot;
    const uint32_t *owners;
    const struct name *name;

    *spot = (struct spot){.depth = (uint32_t)depth};
    for (size_t i = 0; field->kind == FIELD_PATH && i < depth; i++)
        spot->above[i] = (struct spot_level){
            .tag = field->steps[i].tag,
            .item = field->steps[i].item < 0 ? 0 : (size_t)field->steps[i].item};
    spot->tag = field->kind == FIELD_PATH ? field->steps[depth].tag : field->tag;
    spot->creator = field->kind == FIELD_PRIVATE ? field->creator : NULL;
    name = names_of(lint->names, spot->tag);
    spot->vr = name ? VALUE_VR(name->vr[0], name->vr[1]) : VALUE_VR('U', 'N');
    spot->is_sequence = name && !strcmp(name->vr, "SQ");
    selection_start(lint->actions);
    return selection_find(lint->actions, spot, &owners, ret_n) ? NULL : owners;
}

/* The dictionary once through all actions: for each, of which VRs are the attributes of the top
 * level that it means? */
static int meet_names(struct lint *lint, struct err *err)
{
    lint->meant = calloc(lint->recipe->n_actions + 1, 1);
    if (!lint->meant)
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    for (size_t i = 0; i < names_count(lint->names); i++) {
        const struct name *name = names_at(lint->names, i);
        struct field_step step = {.tag = name->tag, .mask = UINT32_MAX, .item = -1};
        const struct field field = {.kind = FIELD_PATH, .steps = &step, .n_steps = 1};
        uint8_t vr = !strcmp(name->vr, "DA")   ? MEANS_DA
                     : !strcmp(name->vr, "DT") ? MEANS_DT
                     : !strcmp(name->vr, "TM") ? MEANS_TM
                                               : MEANS_OTHER;
        size_t n = 0;
        const uint32_t *owners = lint_owners(lint, &field, 0, &n);

        for (size_t k = 0; owners && k < n; k++)
            lint->meant[owners[k]] |= vr;
    }
    return 0;
}

/* ---- the whole ---- */

static int load(struct lint *lint, struct err *err)
{
    lint->names = names_new();
    lint->recipe = recipe_new();
    lint->lines = calloc(lint->n_sources + 1, sizeof(*lint->lines));
    if (!lint->names || !lint->recipe || !lint->lines)
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    for (size_t i = 0; i < lint->n_sources; i++) {
        const struct lint_source *source = &lint->sources[i];

        if (recipe_add(lint->recipe, lint->names, source->file, source->text, source->len, err))
            return -1;
        if (index_lines(&lint->lines[i], source))
            return err_set(err, ERR_PLACE, "no memory for the recipes");
    }
    return recipe_finish(lint->recipe, err) ||
                   selection_of_actions(lint->recipe, lint->names, &lint->actions, err) ||
                   meet_names(lint, err)
               ? -1
               : 0;
}

int lint_new(const struct lint_source *sources, size_t n, struct lint **ret_lint, struct err *err)
{
    struct lint *lint = calloc(1, sizeof(*lint));

    if (!lint)
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    lint->sources = sources;
    lint->n_sources = n;
    if (load(lint, err)) {
        lint_free(lint);
        return -1;
    }
    *ret_lint = lint;
    return 0;
}

void lint_free(struct lint *lint)
{
    if (!lint)
        return;
    for (size_t i = 0; lint->lines && i < lint->n_sources; i++)
        free(lint->lines[i].starts);
    while (lint->texts) {
        struct lint_text *text = lint->texts;

        lint->texts = text->next;
        free(text);
    }
    selection_free(lint->actions);
    recipe_free(lint->recipe);
    names_free(lint->names);
    free(lint->lines);
    free(lint->meant);
    free(lint->findings);
    free(lint->tags);
    free(lint);
}

static int done(const struct lint *lint, struct err *err)
{
    return lint->failed ? err_set(err, ERR_PLACE, "no memory for what there is to say") : 0;
}

int lint_rules(struct lint *lint, struct err *err)
{
    lint_header(lint);
    lint_labels(lint);
    lint_theirs(lint);
    return done(lint, err);
}

/* By file as they were given, then by place, then by code. */
static int compare(const void *a, const void *b, void *ctx)
{
    const struct lint_finding *left = a, *right = b;
    const struct lint *lint = ctx;

    for (size_t i = 0; i < lint->n_sources && strcmp(left->place.file, right->place.file); i++) {
        if (!strcmp(lint->sources[i].file, left->place.file))
            return -1;
        if (!strcmp(lint->sources[i].file, right->place.file))
            return 1;
    }
    if (left->place.line != right->place.line)
        return left->place.line < right->place.line ? -1 : 1;
    if (left->place.col != right->place.col)
        return left->place.col < right->place.col ? -1 : 1;
    if (left->code != right->code)
        return left->code < right->code ? -1 : 1;
    return strcmp(left->text, right->text);
}

int lint_end(struct lint *lint, struct err *err)
{
    for (size_t i = 0; i < lint->n_tags; i++) {
        const struct lint_tag *tag = &lint->tags[i];
        const struct name *name = names_of(lint->names, tag->tag);
        bool is_private = tag->tag >> 16 & 1;

        lint_say(lint, LINT_UNTOUCHED, (struct recipe_place){.file = lint->sources[0].file},
                 "a rule for it, or DEFAULT REMOVE for all that no rule means",
                 is_private ? "no header rule means the private (%04X,xx%02X)%s, which is in %zu "
                              "of the files"
                            : "no header rule means (%04X,%04X)%s, which is in %zu of the files",
                 tag->tag >> 16, tag->tag & (is_private ? 0xff : 0xffff),
                 name ? lint_text(lint, " %s", name->keyword) : "", tag->files);
    }
    if (lint->many_tags)
        lint->cut = true;
    if (lint->n)
        qsort_r(lint->findings, lint->n, sizeof(*lint->findings), compare, lint);
    return done(lint, err);
}

size_t lint_count(const struct lint *lint)
{
    return lint->n;
}

const struct lint_finding *lint_at(const struct lint *lint, size_t index)
{
    return index < lint->n ? &lint->findings[index] : NULL;
}

bool lint_is_cut(const struct lint *lint)
{
    return lint->cut;
}
