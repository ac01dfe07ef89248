/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "deid/value.h"

struct pair {
    uint32_t tag, selector;
};

/* Selectors that mean a tag, whatever stands around it. */
struct key {
    uint32_t tag;
    uint32_t start, n; /* in selection.listed */
    bool known;        /* the dictionary has it: patterns are among them */
};

/* Patterns that what stands above an element has met, for all that is below. */
struct level {
    uint32_t tag;
    const char *creator;
    uint32_t *list; /* owned, of selectors */
    size_t n;
    uint8_t *has; /* owned, by selector */
};

struct selection {
    struct selector *selectors;
    size_t n;
    const struct names *names;
    struct key *keys; /* sorted by tag */
    size_t n_keys;
    uint32_t *listed;
    uint32_t *broad; /* ALL, select:, values: */
    size_t n_broad;
    uint32_t *patterns;
    size_t n_patterns;
    uint32_t *spanning; /* of the patterns, those that may match over "__" */
    size_t n_spanning;
    uint32_t *privates;
    size_t n_privates;
    struct level levels[SELECT_MAX_LEVELS];
    size_t n_levels; /* that are still right */
    uint32_t *hits;  /* scratch: as many as there are selectors, twice */
    size_t n_hits;
    struct buf name;    /* scratch */
    struct pair *pairs; /* while it is being made */
    size_t n_pairs, room;
};

bool spot_enter(struct spot *spot, struct sendit_dataset *parent, const struct sendit_element *e)
{
    if (e->depth >= SELECT_MAX_LEVELS)
        return false;
    if (e->depth)
        spot->above[e->depth - 1].item = dicom_index(parent);
    spot->tag = e->tag;
    spot->depth = e->depth;
    spot->vr = value_vr(e->vr);
    if (spot->vr == VALUE_VR('U', 'N') && dicom_vr(e->tag))
        spot->vr = value_vr(dicom_vr(e->tag));
    spot->creator = e->creator;
    spot->is_sequence = !e->value && e->tag >> 16 != 0x7fe0;
    if (spot->is_sequence)
        spot->above[e->depth] = (struct spot_level){.tag = e->tag, .creator = e->creator};
    return true;
}

static bool is_pattern(const struct field *field)
{
    return field->kind == FIELD_CONTAINS || field->kind == FIELD_STARTS ||
           field->kind == FIELD_ENDS;
}

/* ---- making it ---- */

static int add_pair(struct selection *s, uint32_t tag, size_t selector)
{
    if (s->n_pairs == s->room) {
        size_t room = s->room ? 2 * s->room : 1024;
        struct pair *more =
            room > SELECT_MAX_PAIRS ? NULL : realloc(s->pairs, room * sizeof(*more));

        if (!more)
            return -1;
        s->pairs = more;
        s->room = room;
    }
    s->pairs[s->n_pairs++] = (struct pair){tag, (uint32_t)selector};
    return 0;
}

/* A keyword or tag against a pattern: PATTERN_YES, _NO or _LIMIT, `except` not yet counted. */
static int match_forms(const struct field *field, const char *const *forms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = pattern_match(field->pattern, forms[i], strlen(forms[i]));

        if (r)
            return r;
    }
    return PATTERN_NO;
}

/* All patterns against one name of the dictionary. */
static int meet_name(struct selection *s, const struct name *name)
{
    char tag[16], stripped[16];
    const char *const forms[] = {name->keyword, tag, stripped};

    snprintf(tag, sizeof(tag), "(%04x,%04x)", name->tag >> 16, name->tag & 0xffff);
    snprintf(stripped, sizeof(stripped), "%08x", name->tag);
    for (size_t i = 0; i < s->n_patterns; i++) {
        const struct field *field = s->selectors[s->patterns[i]].field;
        int r = match_forms(field, forms, 3);

        if (r < 0)
            return -2;
        if ((r == PATTERN_YES) != field->except && add_pair(s, name->tag, s->patterns[i]))
            return -1;
    }
    return 0;
}

static void add_pattern(struct selection *s, uint32_t selector)
{
    s->patterns[s->n_patterns++] = selector;
    if (!pattern_is_plain(s->selectors[selector].field->pattern))
        s->spanning[s->n_spanning++] = selector;
}

static int sort_out(struct selection *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct selector *selector = &s->selectors[i];
        const struct field *field = selector->field;

        if (is_pattern(field))
            add_pattern(s, (uint32_t)i);
        else if (field->kind == FIELD_PRIVATE)
            s->privates[s->n_privates++] = (uint32_t)i;
        else if (field->kind == FIELD_PATH &&
                 add_pair(s, names_canonical(field->steps[field->n_steps - 1].tag), i))
            return -1;
        else if (field->kind == FIELD_ALL || field->kind == FIELD_VR ||
                 field->kind == FIELD_GROUP || field->kind == FIELD_VALUES)
            s->broad[s->n_broad++] = (uint32_t)i;
    }
    return 0;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;

    if (left->tag != right->tag)
        return left->tag < right->tag ? -1 : 1;
    return left->selector < right->selector ? -1 : left->selector > right->selector;
}

/* Pairs become keys and lists.  With patterns, each name of the dictionary has a key. */
static int index_pairs(struct selection *s)
{
    size_t n_names = s->n_patterns ? names_count(s->names) : 0, at = 0, name = 0, n = 0;

    if (s->n_pairs)
        qsort(s->pairs, s->n_pairs, sizeof(*s->pairs), compare_pairs);
    s->keys = calloc(s->n_pairs + n_names + 1, sizeof(*s->keys));
    s->listed = calloc(s->n_pairs + 1, sizeof(*s->listed));
    if (!s->keys || !s->listed)
        return -1;
    while (at < s->n_pairs || name < n_names) {
        uint32_t of_name = name < n_names ? names_at(s->names, name)->tag : UINT32_MAX;
        uint32_t of_pair = at < s->n_pairs ? s->pairs[at].tag : UINT32_MAX;
        uint32_t tag = of_name < of_pair ? of_name : of_pair;
        struct key *key = &s->keys[s->n_keys++];

        *key = (struct key){.tag = tag, .start = (uint32_t)n, .known = of_name == tag};
        while (name < n_names && names_at(s->names, name)->tag == tag)
            name++;
        for (; at < s->n_pairs && s->pairs[at].tag == tag; at++)
            if (n == key->start || s->listed[n - 1] != s->pairs[at].selector)
                s->listed[n++] = s->pairs[at].selector;
        key->n = (uint32_t)n - key->start;
    }
    free(s->pairs);
    s->pairs = NULL;
    return 0;
}

int selection_new(const struct selector *selectors, size_t n, const struct names *names,
                  struct selection **ret_selection, struct err *err)
{
    struct selection *s = calloc(1, sizeof(*s));
    int r = -1;

    if (!s)
        goto fail;
    s->n = n;
    s->names = names;
    s->selectors = calloc(n + 1, sizeof(*s->selectors));
    s->broad = calloc(n + 1, sizeof(*s->broad));
    s->patterns = calloc(n + 1, sizeof(*s->patterns));
    s->spanning = calloc(n + 1, sizeof(*s->spanning));
    s->privates = calloc(n + 1, sizeof(*s->privates));
    s->hits = calloc(2 * n + 1, sizeof(*s->hits));
    if (!s->selectors || !s->broad || !s->patterns || !s->spanning || !s->privates || !s->hits)
        goto fail;
    if (n)
        memcpy(s->selectors, selectors, n * sizeof(*selectors));
    r = sort_out(s);
    for (size_t i = 0; !r && s->n_patterns && i < names_count(names); i++)
        r = meet_name(s, names_at(names, i));
    if (r || index_pairs(s))
        goto fail;
    *ret_selection = s;
    return 0;
fail:
    if (r == -2)
        err_set(err, ERR_REFUSED, "a pattern of the recipes takes too long on the names of DICOM");
    else
        err_set(err, ERR_PLACE, "no memory for the recipes: they have too many fields");
    selection_free(s);
    return -1;
}

void selection_free(struct selection *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < SELECT_MAX_LEVELS; i++) {
        free(s->levels[i].list);
        free(s->levels[i].has);
    }
    free(s->selectors);
    free(s->keys);
    free(s->listed);
    free(s->broad);
    free(s->patterns);
    free(s->spanning);
    free(s->privates);
    free(s->hits);
    free(s->pairs);
    buf_fini(&s->name);
    free(s);
}

const struct field *select_field(const struct recipe *recipe, const struct recipe_action *action,
                                 size_t k)
{
    const struct recipe_source *source;

    if (action->field.kind != FIELD_FIELDS)
        return k ? NULL : &action->field;
    source = &recipe->sources[action->field.source];
    return k < source->n_entries ? &source->entries[k].field : NULL;
}

int selection_of_actions(const struct recipe *recipe, const struct names *names,
                         struct selection **ret_selection, struct err *err)
{
    const struct field *field;
    struct selector *all;
    size_t n = 0;
    int r;

    for (size_t i = 0; i < recipe->n_actions; i++)
        for (size_t k = 0; select_field(recipe, &recipe->actions[i], k); k++)
            n++;
    all = calloc(n + 1, sizeof(*all));
    if (!all)
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    n = 0;
    for (size_t i = 0; i < recipe->n_actions; i++) {
        const struct recipe_action *action = &recipe->actions[i];
        bool loose = action->field.kind == FIELD_FIELDS && action->verb != VERB_KEEP;

        for (size_t k = 0; (field = select_field(recipe, action, k)) != NULL; k++)
            all[n++] = (struct selector){.field = field, .owner = (uint32_t)i, .loose = loose};
    }
    r = selection_new(all, n, names, ret_selection, err);
    free(all);
    return r;
}

void selection_start(struct selection *s)
{
    s->n_levels = 0;
}

/* ---- one element ---- */

static const struct key *find_key(const struct selection *s, uint32_t tag)
{
    size_t from = 0, to = s->n_keys;

    tag = names_canonical(tag);
    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (s->keys[middle].tag == tag)
            return &s->keys[middle];
        if (s->keys[middle].tag < tag)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

static bool has_selector(const struct selection *s, const struct key *key, uint32_t selector)
{
    size_t from = key->start, to = from + key->n;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (s->listed[middle] == selector)
            return true;
        if (s->listed[middle] < selector)
            from = middle + 1;
        else
            to = middle;
    }
    return false;
}

/* An element that the dictionary does not know has its tag and, if it is private, its creator. */
static int match_unknown(const struct field *field, uint32_t tag, const char *creator)
{
    char text[16], stripped[16], full[128], bare[128];
    const char *const forms[] = {text, stripped, full, bare};

    snprintf(text, sizeof(text), "(%04x,%04x)", tag >> 16, tag & 0xffff);
    snprintf(stripped, sizeof(stripped), "%08x", tag);
    if (!creator)
        return match_forms(field, forms, 2);
    snprintf(full, sizeof(full), "(%04X,\"%.64s\",%02X)", tag >> 16, creator, tag & 0xff);
    snprintf(bare, sizeof(bare), "%04X,\"%.64s\",%02X", tag >> 16, creator, tag & 0xff);
    return match_forms(field, forms, 4);
}

/* Does the pattern, `except` not counted, match the element itself? */
static int match_itself(const struct selection *s, uint32_t selector, const struct key *key,
                        uint32_t tag, const char *creator)
{
    const struct field *field = s->selectors[selector].field;

    if (key && key->known)
        return has_selector(s, key, selector) != field->except;
    return match_unknown(field, tag, creator);
}

static bool fits_path(const struct selector *selector, const struct spot *spot)
{
    const struct field *field = selector->field;
    const struct field_step *last = &field->steps[field->n_steps - 1];

    if ((spot->tag & last->mask) != last->tag)
        return false;
    if (field->n_steps == 1 || selector->loose)
        return true;
    if (spot->depth != field->n_steps - 1)
        return false;
    for (size_t i = 0; i + 1 < field->n_steps; i++) {
        const struct field_step *step = &field->steps[i];

        if ((spot->above[i].tag & step->mask) != step->tag ||
            (step->item >= 0 && (size_t)step->item != spot->above[i].item))
            return false;
    }
    return true;
}

bool select_leads_into(const struct field *field, const struct spot *spot)
{
    if (field->kind != FIELD_PATH || field->n_steps < 2 || spot->depth + 1 >= field->n_steps ||
        (spot->tag & field->steps[spot->depth].mask) != field->steps[spot->depth].tag)
        return false;
    for (size_t i = 0; i < spot->depth; i++) {
        const struct field_step *step = &field->steps[i];

        if ((spot->above[i].tag & step->mask) != step->tag ||
            (step->item >= 0 && (size_t)step->item != spot->above[i].item))
            return false;
    }
    return true;
}

static bool fits_broad(const struct field *field, const struct spot *spot)
{
    switch (field->kind) {
    case FIELD_ALL:
        return true;
    case FIELD_VR:
        return spot->vr == value_vr(field->vr);
    case FIELD_GROUP:
        return spot->tag >> 16 == field->group;
    default:
        return !spot->is_sequence;
    }
}

static bool fits_private(const struct field *field, const struct spot *spot)
{
    return spot->creator && spot->tag >> 16 == field->tag >> 16 &&
           (spot->tag & 0xff) == (field->tag & 0xff) && !strcasecmp(spot->creator, field->creator);
}

/* What the pattern finds in a name it finds in all names below it, if that name comes first or it
 * may stand anywhere. */
static bool goes_down(const struct field *field, size_t depth)
{
    return pattern_is_plain(field->pattern) &&
           (field->kind == FIELD_CONTAINS || (field->kind == FIELD_STARTS && depth == 0));
}

/* The patterns that levels up to `depth` have met. */
static int fill_level(struct selection *s, const struct spot *spot, size_t depth)
{
    struct level *level = &s->levels[depth];
    const struct spot_level *above = &spot->above[depth];
    const struct key *key = find_key(s, above->tag);

    if (!level->list)
        level->list = calloc(s->n_patterns + 1, sizeof(*level->list));
    if (!level->has)
        level->has = calloc(s->n + 1, 1);
    if (!level->list || !level->has)
        return -1;
    level->tag = above->tag;
    level->creator = above->creator;
    level->n = 0;
    for (size_t i = 0; i < s->n_patterns; i++) {
        uint32_t selector = s->patterns[i];
        int r = depth && s->levels[depth - 1].has[selector] ? PATTERN_YES : PATTERN_NO;

        if (!r && goes_down(s->selectors[selector].field, depth))
            r = match_itself(s, selector, key, above->tag, above->creator);
        if (r < 0)
            return -1;
        level->has[selector] = r == PATTERN_YES;
        if (r)
            level->list[level->n++] = selector;
    }
    return 0;
}

static int fill_levels(struct selection *s, const struct spot *spot)
{
    size_t right = 0;

    while (right < s->n_levels && right < spot->depth &&
           s->levels[right].tag == spot->above[right].tag &&
           s->levels[right].creator == spot->above[right].creator)
        right++;
    for (s->n_levels = right; s->n_levels < spot->depth; s->n_levels++)
        if (fill_level(s, spot, s->n_levels))
            return -1;
    return 0;
}

static void add_name(struct selection *s, uint32_t tag)
{
    const struct name *name = names_of(s->names, tag);

    if (s->name.len)
        buf_str(&s->name, "__");
    if (name)
        buf_str(&s->name, name->keyword);
    else
        buf_printf(&s->name, "(%04x,%04x)", tag >> 16, tag & 0xffff);
}

static void hit(struct selection *s, uint32_t selector)
{
    s->hits[s->n_hits++] = selector;
}

/* "Parent__Child" of the element, made once. */
static bool make_name(struct selection *s, const struct spot *spot)
{
    if (s->name.len)
        return true;
    for (size_t d = 0; d < spot->depth; d++)
        add_name(s, spot->above[d].tag);
    add_name(s, spot->tag);
    return !s->name.failed;
}

/* One pattern and all that an element in an item is called. */
static int meet_below(struct selection *s, const struct spot *spot, const struct key *key,
                      uint32_t selector)
{
    const struct field *field = s->selectors[selector].field;
    int r = s->levels[spot->depth - 1].has[selector]
                ? PATTERN_YES
                : match_itself(s, selector, key, spot->tag, spot->creator);

    if (!r && !pattern_is_plain(field->pattern)) {
        if (!make_name(s, spot))
            return -1;
        r = pattern_match(field->pattern, s->name.data, s->name.len);
    }
    if (r < 0)
        return -1;
    if ((r == PATTERN_YES) != field->except)
        hit(s, selector);
    return 0;
}

/* In an item a pattern may also be met by what stands above, or by both together. */
static int find_below(struct selection *s, const struct spot *spot, const struct key *key)
{
    const struct level *level = &s->levels[spot->depth - 1];
    bool known = key && key->known;

    if (fill_levels(s, spot))
        return -1;
    s->name.len = 0;
    for (size_t i = 0; !known && i < s->n_patterns; i++)
        if (meet_below(s, spot, key, s->patterns[i]))
            return -1;
    if (!known)
        return 0;
    for (size_t i = 0; i < key->n; i++) {
        uint32_t selector = s->listed[key->start + i];
        const struct field *field = s->selectors[selector].field;

        if (is_pattern(field) && pattern_is_plain(field->pattern) &&
            !(field->except && level->has[selector]))
            hit(s, selector);
    }
    for (size_t i = 0; i < level->n; i++) {
        const struct field *field = s->selectors[level->list[i]].field;

        if (!field->except && pattern_is_plain(field->pattern) &&
            !has_selector(s, key, level->list[i]))
            hit(s, level->list[i]);
    }
    for (size_t i = 0; i < s->n_spanning; i++)
        if (meet_below(s, spot, key, s->spanning[i]))
            return -1;
    return 0;
}

static int find_patterns(struct selection *s, const struct spot *spot, const struct key *key)
{
    if (spot->depth)
        return find_below(s, spot, key);
    if (key && key->known)
        return 0; /* they are in its list */
    for (size_t i = 0; i < s->n_patterns; i++) {
        const struct field *field = s->selectors[s->patterns[i]].field;
        int r = match_unknown(field, spot->tag, spot->creator);

        if (r < 0)
            return -1;
        if ((r == PATTERN_YES) != field->except)
            hit(s, s->patterns[i]);
    }
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return left < right ? -1 : left > right;
}

int selection_find(struct selection *s, const struct spot *spot, const uint32_t **ret_owners,
                   size_t *ret_n)
{
    const struct key *key = find_key(s, spot->tag);
    bool sorted = true;
    size_t n = 0;

    s->n_hits = 0;
    for (size_t i = 0; key && i < key->n; i++) {
        uint32_t selector = s->listed[key->start + i];
        const struct selector *one = &s->selectors[selector];

        if (one->field->kind == FIELD_PATH ? fits_path(one, spot) : !spot->depth)
            hit(s, selector);
    }
    for (size_t i = 0; i < s->n_broad; i++)
        if (fits_broad(s->selectors[s->broad[i]].field, spot))
            hit(s, s->broad[i]);
    for (size_t i = 0; spot->tag >> 16 & 1 && i < s->n_privates; i++)
        if (fits_private(s->selectors[s->privates[i]].field, spot))
            hit(s, s->privates[i]);
    if (s->n_patterns && find_patterns(s, spot, key))
        return -1;
    for (size_t i = 1; i < s->n_hits; i++)
        sorted = sorted && s->hits[i - 1] < s->hits[i];
    if (!sorted)
        qsort(s->hits, s->n_hits, sizeof(*s->hits), compare_numbers);
    for (size_t i = 0; i < s->n_hits; i++) {
        uint32_t owner = s->selectors[s->hits[i]].owner;

        if (!n || s->hits[n - 1] != owner)
            s->hits[n++] = owner;
    }
    *ret_owners = s->hits;
    *ret_n = n;
    return 0;
}
