/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/header.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deid/header_value.h"
#include "deid/select.h"
#include "deid/value.h"
#include "dicom/dicom.h"

#define PATIENT_ID 0x00100020u
#define SOP_INSTANCE_UID 0x00080018u
#define NO_STRIP UINT32_MAX

/* The values that an image gives a group of %values. */
struct found {
    struct buf alternatives; /* escaped, for a pattern */
    size_t n;
    struct pattern *pattern; /* owned; NULL without values */
};

struct header {
    const struct recipe *recipe;
    const struct names *names;
    struct selection *actions, *sources;
    const struct recipe_entry **entries; /* of %values, by owner in `sources` */
    size_t *source_of;
    uint32_t *hits; /* of the element in hand */
    size_t n_hits;
    bool wants_values, has_paths; /* has KEEPs of something in items */
    bool leaves_private;          /* what may leave a private element where its creator goes */
    bool guards;                  /* nothing that a KEEP means may name somebody */
    enum recipe_verb on_failure;  /* BLANK or REMOVE the element; 0: stop the image */

    /* one run */
    const struct header_env *env;
    struct spot spot;
    struct found *found; /* by source */
    bool *added;         /* by action: an ADD whose element was there, or was made */
    bool gave_id;
    struct creator *creators; /* owned */
    size_t n_creators, creators_room;
    uint32_t strip;                /* depth of a sequence that stays for what is kept in it alone */
    char seed[65];                 /* SOP Instance UID of the image */
    struct sendit_dataset *parent; /* of the element in hand; NULL: it was not there */
    const struct sendit_element *shown;
    struct buf text, spare;
    sendit_result result;
};

/* A private creator that would go, unless something in its block stays. */
struct creator {
    struct sendit_dataset *parent;
    uint32_t tag, depth;
    int32_t answer; /* what would become of it */
    bool counted;
};

/* An element on its way through its actions. */
enum state {
    IS_ABSENT = 0,
    IS_EMPTY,
    IS_OLD, /* as it stands in the data set */
    IS_NEW  /* header.text */
};
struct cell {
    struct sendit_dataset *parent;
    uint32_t tag;
    uint16_t vr;
    char vr_name[3];
    const char *creator;
    bool is_sequence, is_date;
    bool failed; /* a rule could not be done: `state` is then what the site wants */
    enum state state;
};

static int32_t stop(struct header *h, sendit_result result, const char *code,
                    const struct recipe_place *place, const char *text)
{
    const char *file = place ? strrchr(place->file, '/') : NULL;

    h->result = result;
    if (place)
        sendit_because(h->env->why, SENDIT_QUARANTINE, code, "%.60s:%u: %s",
                       file ? file + 1 : place->file, place->line, text);
    else
        sendit_because(h->env->why, SENDIT_QUARANTINE, code, "%s", text);
    return SENDIT_STOP;
}

static void tell(const struct header *h, const struct recipe_place *place, const char *rule,
                 const char *note)
{
    const struct deid_watch *watch = h->env->keyed->watch;
    const struct deid_step step = {.file = place ? place->file : NULL,
                                   .line = place ? place->line : 0,
                                   .rule = rule,
                                   .note = note};

    if (watch)
        watch->told(watch->ctx, h->parent, h->shown, &step);
}

static void tell_action(const struct header *h, const struct recipe_action *action,
                        const char *note)
{
    char rule[120];

    if (!h->env->keyed->watch)
        return;
    snprintf(rule, sizeof(rule), "%s %.100s", recipe_verb_name(action->verb), action->field.text);
    tell(h, &action->place, rule, note);
}

static int32_t no_memory(struct header *h)
{
    return stop(h, SENDIT_ENOMEM, "deid.memory", NULL, "there was no memory for an edit");
}

static int32_t limit(struct header *h)
{
    return stop(h, SENDIT_ECORRUPT, "deid.pattern", NULL,
                "a pattern of a recipe takes too long on it");
}

/* ---- making it ---- */

static bool may_be_private(const struct field *field)
{
    switch (field->kind) {
    case FIELD_PATH: /* or something in one */
        for (size_t i = 0; i < field->n_steps; i++)
            if (field->steps[i].tag >> 16 & 1)
                return true;
        return false;
    case FIELD_GROUP:
        return field->group & 1;
    case FIELD_NOTHING:
        return false;
    default:
        return true;
    }
}

static bool may_leave_private(const struct recipe_action *action, const struct field *field)
{
    return action->verb != VERB_REMOVE && action->verb != VERB_BLANK && may_be_private(field);
}

static int select_actions(struct header *h, struct err *err)
{
    const struct recipe *recipe = h->recipe;

    for (size_t i = 0; i < recipe->n_actions; i++) {
        const struct recipe_action *action = &recipe->actions[i];
        const struct field *field;

        h->wants_values =
            h->wants_values || action->field.kind == FIELD_VALUES || action->when == IF_VALUES;
        for (size_t k = 0; (field = select_field(recipe, action, k)) != NULL; k++) {
            h->leaves_private = h->leaves_private || may_leave_private(action, field);
            h->has_paths = h->has_paths || (action->verb == VERB_KEEP && field->n_steps > 1);
        }
    }
    return selection_of_actions(recipe, h->names, &h->actions, err);
}

static int select_sources(struct header *h, struct err *err)
{
    const struct recipe *recipe = h->recipe;
    struct selector *all;
    size_t n = 0;
    int r;

    for (size_t i = 0; i < recipe->n_sources; i++)
        n += recipe->sources[i].n_entries;
    all = calloc(n + 1, sizeof(*all));
    h->entries = calloc(n + 1, sizeof(*h->entries));
    h->source_of = calloc(n + 1, sizeof(*h->source_of));
    if (!all || !h->entries || !h->source_of) {
        free(all);
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    }
    n = 0;
    for (size_t i = 0; i < recipe->n_sources; i++)
        for (size_t k = 0; recipe->sources[i].is_values && k < recipe->sources[i].n_entries; k++) {
            const struct recipe_entry *entry = &recipe->sources[i].entries[k];

            all[n] = (struct selector){.field = &entry->field, .owner = (uint32_t)n};
            h->entries[n] = entry;
            h->source_of[n++] = i;
        }
    r = selection_new(all, n, h->names, &h->sources, err);
    free(all);
    return r;
}

int header_new(const struct recipe *recipe, const struct names *names, struct header **ret_header,
               struct err *err)
{
    struct header *h = calloc(1, sizeof(*h));

    if (!h)
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    h->recipe = recipe;
    h->names = names;
    h->hits = calloc(recipe->n_actions + 1, sizeof(*h->hits));
    h->added = calloc(recipe->n_actions + 1, sizeof(*h->added));
    h->found = calloc(recipe->n_sources + 1, sizeof(*h->found));
    if (!h->hits || !h->added || !h->found) {
        err_set(err, ERR_PLACE, "no memory for the recipes");
        goto fail;
    }
    if (select_actions(h, err) || select_sources(h, err))
        goto fail;
    *ret_header = h;
    return 0;
fail:
    header_free(h);
    return -1;
}

static void forget(struct header *h)
{
    for (size_t i = 0; h->found && i < h->recipe->n_sources; i++) {
        pattern_free(h->found[i].pattern);
        buf_fini(&h->found[i].alternatives);
        h->found[i] = (struct found){0};
    }
}

void header_free(struct header *h)
{
    if (!h)
        return;
    forget(h);
    selection_free(h->actions);
    selection_free(h->sources);
    free(h->entries);
    free(h->source_of);
    free(h->hits);
    free(h->added);
    free(h->found);
    free(h->creators);
    buf_fini(&h->text);
    buf_fini(&h->spare);
    free(h);
}

sendit_result header_result(const struct header *h)
{
    return h->result;
}

bool header_gave_id(const struct header *h)
{
    return h->gave_id;
}

/* Does a KEEP mean the attribute, wherever its path leads? */
static bool keeps_path(const struct field *field, const struct name *name)
{
    return field->kind == FIELD_PATH &&
           names_canonical(field->steps[field->n_steps - 1].tag) == name->tag;
}

static bool keeps_name(struct header *h, const struct name *name)
{
    const struct recipe *recipe = h->recipe;
    struct spot spot = {
        .tag = name->tag, .vr = value_vr(name->vr), .is_sequence = !strcmp(name->vr, "SQ")};
    const uint32_t *owners;
    size_t n;

    selection_start(h->actions);
    if (selection_find(h->actions, &spot, &owners, &n))
        return true; /* nobody knows */
    for (size_t i = 0; i < n; i++)
        if (recipe->actions[owners[i]].verb == VERB_KEEP)
            return true;
    for (size_t i = 0; i < recipe->n_actions; i++) {
        const struct field *field = &recipe->actions[i].field;

        if (recipe->actions[i].verb != VERB_KEEP)
            continue;
        if (keeps_path(field, name))
            return true;
        for (size_t k = 0;
             field->kind == FIELD_FIELDS && k < recipe->sources[field->source].n_entries; k++)
            if (keeps_path(&recipe->sources[field->source].entries[k].field, name))
                return true;
    }
    return false;
}

void header_on_failure(struct header *h, enum recipe_verb verb)
{
    h->on_failure = verb;
}

void header_guard(struct header *h, bool guards)
{
    h->guards = guards;
}

bool header_keeps(struct header *h, bool (*identifies)(const void *ctx, const struct name *name),
                  const void *ctx)
{
    for (size_t i = 0; i < names_count(h->names); i++)
        if (identifies(ctx, names_at(h->names, i)) && keeps_name(h, names_at(h->names, i)))
            return true;
    return false;
}

/* ---- values of %values ---- */

static void add_value(struct found *found, const char *text, size_t len)
{
    if (found->n++)
        buf_add(&found->alternatives, "|", 1);
    pattern_escape(text, len, &found->alternatives);
}

/* Each value of an element, or each piece of one. */
static void collect_text(const struct recipe_entry *entry, struct found *found, const char *text)
{
    struct value_span rest = value_trim(text, strlen(text)), one;
    size_t by = strlen(entry->by);

    while (value_next(&rest, &one)) {
        const char *at = one.text, *end = one.text + one.len;

        while (at <= end) {
            const char *next = entry->split ? memmem(at, (size_t)(end - at), entry->by, by) : NULL;
            struct value_span piece = value_trim(at, (size_t)((next ? next : end) - at));

            if (piece.len >= entry->min_length)
                add_value(found, piece.text, piece.len);
            at = next ? next + by : end + 1;
        }
    }
}

/* Text of an element; *ret_text is NULL if it has none, being bytes or a sequence. */
static int read_text(struct header *h, struct sendit_dataset *parent, uint32_t tag,
                     const char **ret_text)
{
    sendit_result r = dicom_get(parent, tag, ret_text);

    if (r == SENDIT_EINVAL || r == SENDIT_EABSENT)
        *ret_text = NULL;
    else if (r == SENDIT_ENOMEM)
        return no_memory(h), -1;
    else if (r)
        return stop(h, r, "deid.text", NULL,
                    "a value that a recipe asks for cannot be read in its character set"),
               -1;
    return 0;
}

/* Is it kept, so that nobody sees its value?  What values: keeps is not known yet. */
static int is_kept_before(struct header *h, bool *ret_kept)
{
    const uint32_t *owners;
    size_t n;

    *ret_kept = false;
    if (selection_find(h->actions, &h->spot, &owners, &n))
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct recipe_action *action = &h->recipe->actions[owners[i]];

        if (action->verb == VERB_KEEP && action->field.kind != FIELD_VALUES)
            *ret_kept = true;
    }
    return 0;
}

static int32_t collect(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct header *h = ctx;
    const uint32_t *owners;
    const char *text;
    bool kept;
    size_t n;

    if (!spot_enter(&h->spot, parent, e))
        return stop(h, SENDIT_ECORRUPT, "deid.deep", NULL, "its sequences are nested too deep");
    if (recipe_is_image(e->tag))
        return SENDIT_KEEP_WHOLE;
    if (selection_find(h->sources, &h->spot, &owners, &n) || is_kept_before(h, &kept))
        return limit(h);
    if (kept)
        return SENDIT_KEEP_WHOLE;
    if (!n)
        return SENDIT_KEEP;
    if (read_text(h, parent, e->tag, &text))
        return SENDIT_STOP;
    for (size_t i = 0; text && i < n; i++) {
        struct found *found = &h->found[h->source_of[owners[i]]];

        collect_text(h->entries[owners[i]], found, text);
        if (found->n > HEADER_MAX_VALUES || found->alternatives.len > PATTERN_MAX)
            return stop(h, SENDIT_ECORRUPT, "deid.values", NULL,
                        "it has more values than a group of %values may have");
    }
    return SENDIT_KEEP;
}

static sendit_result collect_values(struct header *h)
{
    sendit_result r;

    selection_start(h->sources);
    r = dicom_walk(h->env->ds, collect, h);
    if (h->result)
        return h->result;
    if (r)
        return r;
    for (size_t i = 0; i < h->recipe->n_sources; i++) {
        struct found *found = &h->found[i];
        char why[120];
        size_t at;

        if (!found->n)
            continue;
        if (found->alternatives.failed)
            return SENDIT_ENOMEM;
        found->pattern = pattern_new(found->alternatives.data, found->alternatives.len,
                                     PATTERN_ANYWHERE, why, sizeof(why), &at);
        if (!found->pattern)
            return why[0] ? SENDIT_ECORRUPT : SENDIT_ENOMEM;
    }
    return SENDIT_OK;
}

sendit_result header_begin(struct header *h, const struct header_env *env)
{
    const char *uid;
    sendit_result r;

    forget(h);
    h->env = env;
    h->result = SENDIT_OK;
    h->gave_id = false;
    h->strip = NO_STRIP;
    h->n_creators = 0;
    memset(h->added, 0, (h->recipe->n_actions + 1) * sizeof(*h->added));
    h->text.len = h->spare.len = 0;
    h->text.failed = h->spare.failed = false;
    h->seed[0] = '\0';
    r = dicom_get(env->ds, SOP_INSTANCE_UID, &uid);
    if (r == SENDIT_ENOMEM)
        return r;
    if (!r)
        snprintf(h->seed, sizeof(h->seed), "%.64s", uid);
    selection_start(h->actions);
    if (!h->wants_values)
        return SENDIT_OK;
    r = collect_values(h);
    selection_start(h->actions);
    return r;
}

/* ---- conditions and values ---- */

/* The text as it is now, NULL if there is none. */
static int current(struct header *h, const struct cell *cell, const char **ret_text)
{
    *ret_text = "";
    if (cell->state == IS_NEW)
        *ret_text = h->text.data ? h->text.data : "";
    if (cell->state != IS_OLD)
        return 0;
    return read_text(h, cell->parent, cell->tag, ret_text);
}

static int matches(struct header *h, const struct pattern *pattern, const char *text, bool *ret_yes)
{
    struct value_span rest, one;

    *ret_yes = false;
    if (!pattern || !text)
        return 0;
    rest = (struct value_span){text, strlen(text)};
    if (!rest.len) { /* value_next() shows no value of nothing */
        int r = pattern_match(pattern, "", 0);

        *ret_yes = r == PATTERN_YES;
        return r < 0 ? limit(h), -1 : 0;
    }
    while (!*ret_yes && value_next(&rest, &one)) {
        int r = pattern_match(pattern, one.text, one.len);

        if (r < 0)
            return limit(h), -1;
        *ret_yes = r == PATTERN_YES;
    }
    return 0;
}

/* Does the action mean the element, now that its value is this? */
static int applies(struct header *h, const struct recipe_action *action, const struct cell *cell,
                   bool *ret_yes)
{
    const char *text;

    *ret_yes = true;
    if (action->field.kind != FIELD_VALUES && action->when == IF_ALWAYS)
        return 0;
    if (current(h, cell, &text))
        return -1;
    if (action->field.kind == FIELD_VALUES &&
        (matches(h, h->found[action->field.source].pattern, text, ret_yes) || !*ret_yes))
        return h->result ? -1 : 0;
    if (action->when == IF_VALUES)
        return matches(h, h->found[action->source].pattern, text, ret_yes);
    return action->when ? matches(h, action->pattern, text, ret_yes) : 0;
}

static const char *variable(const struct header *h, const char *name)
{
    for (size_t i = 0; i < h->env->n_vars; i++)
        if (h->env->vars[i].name && !strcmp(h->env->vars[i].name, name))
            return h->env->vars[i].value;
    return NULL;
}

/* Does it cost the element alone? */
static bool gives_up(const struct header *h, const struct recipe_action *action, struct cell *cell)
{
    if (!h->on_failure)
        return false;
    tell_action(h, action, "cannot be done, which costs the element");
    cell->failed = true;
    cell->state = h->on_failure == VERB_BLANK ? IS_EMPTY : IS_ABSENT;
    return true;
}

static int lacks_variable(struct header *h, const struct recipe_action *action, struct cell *cell,
                          const char *what)
{
    char text[120];

    if (gives_up(h, action, cell))
        return 0;
    snprintf(text, sizeof(text), "there is no var:%.60s%s", action->text ? action->text : "jitter",
             what);
    stop(h, SENDIT_ECORRUPT, "deid.vars", &action->place, text);
    return -1;
}

static bool read_days(const char *text, int32_t *ret_days)
{
    char *end;
    long days;

    if (!text || !*text || !strchr("+-0123456789", *text))
        return false;
    errno = 0;
    days = strtol(text, &end, 10);
    if (errno || *end || end == text || days < -RECIPE_MAX_DAYS || days > RECIPE_MAX_DAYS)
        return false;
    *ret_days = (int32_t)days;
    return true;
}

static const char *keyword(const struct header *h, uint32_t tag, char room[16])
{
    const struct name *name = names_of(h->names, tag);

    if (name)
        return name->keyword;
    snprintf(room, 16, "%08x", tag);
    return room;
}

static int cannot(struct header *h, const struct recipe_action *action, struct cell *cell,
                  const char *why)
{
    char text[160], room[16];

    if (gives_up(h, action, cell))
        return 0;
    snprintf(text, sizeof(text), "%s cannot give %.50s its value: %s",
             recipe_verb_name(action->verb), keyword(h, cell->tag, room), why);
    stop(h, SENDIT_ECORRUPT, "deid.recipe", &action->place, text);
    return -1;
}

/* A new value stands in `spare`. */
static void take_value(struct header *h, struct cell *cell)
{
    struct buf old = h->text;

    h->text = h->spare;
    h->spare = old;
    cell->state = h->text.len ? IS_NEW : IS_EMPTY;
}

static int jitter(struct header *h, const struct recipe_action *action, struct cell *cell)
{
    int32_t days = action->days;
    const char *text;

    if (cell->state == IS_ABSENT || cell->state == IS_EMPTY || cell->is_sequence)
        return 0;
    if (action->gives == GIVES_VAR && !variable(h, action->text))
        return lacks_variable(h, action, cell, "");
    if (action->gives == GIVES_VAR && !read_days(variable(h, action->text), &days))
        return lacks_variable(h, action, cell, " of whole days");
    if (current(h, cell, &text))
        return -1;
    if (text && !value_trim(text, strlen(text)).len)
        return 0;
    h->spare.len = 0;
    if (!text || !header_jitter(cell->vr, text, days, &h->spare))
        return cannot(h, action, cell, "it is no date, or leaves the years 1 to 9999");
    if (h->spare.failed)
        return no_memory(h), -1;
    cell->is_date = true;
    take_value(h, cell);
    return 0;
}

static int call(struct header *h, const struct recipe_action *action, struct cell *cell)
{
    struct header_call call = {
        .action = action, .keyed = h->env->keyed, .seed = h->seed, .vr = cell->vr};
    char room[16];
    sendit_result r;

    if (current(h, cell, &call.text))
        return -1;
    if (!call.text)
        return cannot(h, action, cell, "it has bytes, not text");
    if (action->func == FUNC_JITTER && !action->has_days &&
        !read_days(variable(h, "jitter"), &call.days))
        return lacks_variable(h, action, cell, " of whole days");
    call.keyword = keyword(h, cell->tag, room);
    r = header_func(&call, &h->spare);
    if (r == SENDIT_ENOMEM)
        return no_memory(h), -1;
    if (r == SENDIT_ECORRUPT)
        return cannot(h, action, cell, "the function has no answer for it");
    if (r)
        return stop(h, r, "deid.recipe", &action->place, "a value could not be made"), -1;
    return 0;
}

/* What ADD and REPLACE give. */
static int give(struct header *h, const struct recipe_action *action, struct cell *cell)
{
    const char *text = action->text;

    if (cell->is_sequence)
        return cannot(h, action, cell, "it is a sequence; REMOVE takes it away");
    h->spare.len = 0;
    cell->failed = false;
    if (action->gives == GIVES_FUNC) {
        if (call(h, action, cell) || cell->failed)
            return h->result ? -1 : 0;
    } else {
        if (action->gives == GIVES_VAR)
            text = variable(h, action->text);
        if (!text)
            return lacks_variable(h, action, cell, "");
        buf_str(&h->spare, text);
    }
    if (h->spare.failed)
        return no_memory(h), -1;
    take_value(h, cell);
    return 0;
}

/* ---- one element ---- */

static bool is_direct(const struct recipe_action *action)
{
    return action->field.kind != FIELD_FIELDS && action->field.kind != FIELD_VALUES;
}

static int act(struct header *h, const struct recipe_action *action, struct cell *cell,
               bool is_protected)
{
    bool yes;

    if (action->verb != VERB_ADD && cell->state == IS_ABSENT)
        return 0;
    if (applies(h, action, cell, &yes))
        return -1;
    if (!yes)
        return 0;
    if (action->verb != VERB_KEEP)
        tell_action(h, action,
                    action->verb == VERB_REMOVE && is_protected
                        ? "gives way to the REPLACE or JITTER of it"
                        : NULL);
    switch (action->verb) {
    case VERB_ADD:
    case VERB_REPLACE:
        return give(h, action, cell);
    case VERB_JITTER:
        return jitter(h, action, cell);
    case VERB_BLANK:
        cell->state = IS_EMPTY;
        return 0;
    case VERB_REMOVE:
        if (!is_protected)
            cell->state = IS_ABSENT;
        return 0;
    default:
        return 0;
    }
}

/* Take the element through the actions that mean it. */
static int fold(struct header *h, struct cell *cell, bool at_top, bool kept)
{
    bool is_protected = false;

    for (size_t i = 0; i < h->n_hits; i++) {
        const struct recipe_action *action = &h->recipe->actions[h->hits[i]];

        is_protected =
            is_protected ||
            (is_direct(action) && (action->verb == VERB_REPLACE || action->verb == VERB_JITTER));
    }
    for (size_t i = 0; i < h->n_hits; i++) {
        const struct recipe_action *action = &h->recipe->actions[h->hits[i]];

        if (action->verb == VERB_ADD ? !at_top : kept)
            continue;
        if (action->verb == VERB_ADD)
            h->added[h->hits[i]] = true;
        if (act(h, action, cell, is_protected))
            return -1;
    }
    return 0;
}

static bool fits(const struct cell *cell, const struct buf *text)
{
    return value_class(cell->vr) != VALUE_STRING || value_fits(cell->vr, text->data, text->len);
}

/* Write header.text as the value. */
static sendit_result put(struct header *h, const struct cell *cell)
{
    const char *known = dicom_vr(cell->tag);

    if (!fits(cell, &h->text))
        return SENDIT_EINVAL;
    if (cell->creator)
        return dicom_put_as(cell->parent, cell->tag & 0xffff00ff, cell->creator, cell->vr_name,
                            h->text.data, h->text.len);
    if (value_class(cell->vr) == VALUE_BYTES || value_class(cell->vr) == VALUE_UNKNOWN || !known)
        return dicom_put_as(cell->parent, cell->tag, NULL, cell->vr_name, h->text.data,
                            h->text.len);
    return dicom_put(cell->parent, cell->tag, h->text.data);
}

/* Write it; a value that does not fit may cost the element alone, which cell->state says. */
static int finish(struct header *h, struct cell *cell)
{
    sendit_result r = put(h, cell);
    const struct recipe_action *last = &h->recipe->actions[h->hits[h->n_hits - 1]];

    if (r == SENDIT_ENOMEM)
        return no_memory(h), -1;
    if (r == SENDIT_EDENIED)
        return stop(h, r, "deid.edit", &last->place, "an edit was not allowed"), -1;
    if (r)
        return cannot(h, last, cell, "it does not fit its VR or its character set");
    if (cell->is_date)
        h->env->report->dates++;
    else
        h->env->report->replaced++;
    return 0;
}

static void set_vr(struct cell *cell, const char *vr)
{
    snprintf(cell->vr_name, sizeof(cell->vr_name), "%.2s", vr);
    cell->vr = value_vr(vr);
}

/* Of an element that is there: by the dictionary where it knows it. */
static struct cell cell_of(const struct header *h, struct sendit_dataset *parent,
                           const struct sendit_element *e)
{
    struct cell cell = {.parent = parent,
                        .tag = e->tag,
                        .creator = e->creator,
                        .is_sequence = h->spot.is_sequence,
                        .state = IS_OLD};
    const struct name *name = names_of(h->names, e->tag);

    set_vr(&cell, name ? name->vr : e->vr);
    return cell;
}

/* A new value goes where its creator is found: into the first of two blocks that have the same. */
static bool went_elsewhere(const struct cell *cell)
{
    uint32_t tag;

    return cell->creator &&
           (dicom_locate(cell->parent, cell->tag & 0xffff00ff, cell->creator, &tag) ||
            tag != cell->tag);
}

static int32_t answer_of(struct header *h, struct cell *cell, int32_t answer)
{
    if (cell->state == IS_NEW) {
        cell->failed = false;
        if (finish(h, cell))
            return SENDIT_STOP;
        if (!cell->failed)
            return went_elsewhere(cell) ? SENDIT_ERASE : SENDIT_KEEP_WHOLE;
    }
    switch (cell->state) {
    case IS_ABSENT:
        h->env->report->removed += answer != SENDIT_ERASE;
        return SENDIT_ERASE;
    case IS_EMPTY:
        h->env->report->emptied += answer != SENDIT_EMPTY;
        return SENDIT_EMPTY;
    default:
        return answer;
    }
}

static bool begins_item(const struct sendit_element *e)
{
    static const char little[] = "\xfe\xff\x00\xe0", big[] = "\xff\xfe\xe0\x00";

    return e->value && e->length >= 8 &&
           (!memcmp(e->value, little, 4) || !memcmp(e->value, big, 4));
}

/* What no table told beforehand: private sequences, names and UIDs, and attributes that are one
 * of these in this file alone. */
static bool may_identify(const struct header *h, const struct sendit_element *e)
{
    if (h->spot.is_sequence || !strcmp(e->vr, "PN") || begins_item(e))
        return true;
    return !strcmp(e->vr, "UI") && !names_of(h->names, e->tag);
}

/* KEEP holds the image there, or does not hold, as the site wants. */
static int guard(struct header *h, const struct recipe_action *action, bool *ret_kept)
{
    if (!h->guards || !may_identify(h, h->shown))
        return 0;
    *ret_kept = false;
    if (h->on_failure) {
        tell_action(h, action, "does not hold: it may name somebody");
        return 0;
    }
    stop(h, SENDIT_ECORRUPT, "deid.named", &action->place,
         "KEEP means a sequence, a name or a UID here, which may name somebody");
    return -1;
}

/* Find the actions that mean the element: header.hits.  Is it kept? */
static int look_up(struct header *h, struct sendit_dataset *parent, const struct sendit_element *e,
                   bool *ret_kept)
{
    struct cell cell = {.parent = parent, .tag = e->tag, .state = IS_OLD};
    const uint32_t *owners;

    *ret_kept = false;
    if (selection_find(h->actions, &h->spot, &owners, &h->n_hits))
        return limit(h), -1;
    if (h->n_hits)
        memcpy(h->hits, owners, h->n_hits * sizeof(*owners));
    for (size_t i = 0; !*ret_kept && i < h->n_hits; i++) {
        const struct recipe_action *action = &h->recipe->actions[h->hits[i]];

        if (action->verb != VERB_KEEP)
            continue;
        if (applies(h, action, &cell, ret_kept) || (*ret_kept && guard(h, action, ret_kept)))
            return -1;
        if (*ret_kept)
            tell_action(h, action, NULL);
    }
    return 0;
}

static bool leads_to_kept(const struct header *h)
{
    const struct recipe *recipe = h->recipe;

    if (!h->has_paths || !h->spot.is_sequence)
        return false;
    for (size_t i = 0; i < recipe->n_actions; i++) {
        const struct field *field = &recipe->actions[i].field;

        if (recipe->actions[i].verb != VERB_KEEP)
            continue;
        if (select_leads_into(field, &h->spot))
            return true;
        for (size_t k = 0;
             field->kind == FIELD_FIELDS && k < recipe->sources[field->source].n_entries; k++)
            if (select_leads_into(&recipe->sources[field->source].entries[k].field, &h->spot))
                return true;
    }
    return false;
}

/* Of what no action means. */
static int32_t otherwise(struct header *h, int32_t answer)
{
    if (h->recipe->otherwise)
        tell(h, &h->recipe->otherwise_place, "DEFAULT", NULL);
    if (h->recipe->otherwise == VERB_REMOVE) {
        h->env->report->removed += answer != SENDIT_ERASE;
        return SENDIT_ERASE;
    }
    if (h->recipe->otherwise == VERB_BLANK && answer != SENDIT_ERASE) {
        h->env->report->emptied += answer != SENDIT_EMPTY;
        return SENDIT_EMPTY;
    }
    return answer;
}

/* A sequence that goes, but for something in it that is kept, stays with that alone. */
static int32_t spare_what_is_kept(struct header *h, int32_t answer)
{
    if ((answer != SENDIT_ERASE && answer != SENDIT_EMPTY) || !leads_to_kept(h))
        return answer;
    tell(h, NULL, "stays for what a KEEP means in it", NULL);
    if (h->strip == NO_STRIP)
        h->strip = h->spot.depth;
    return SENDIT_KEEP;
}

static int32_t by_profile(const struct header *h, struct sendit_dataset *parent,
                          const struct sendit_element *e)
{
    return h->env->profile ? h->env->profile(h->env->ctx, parent, e) : SENDIT_KEEP;
}

static int32_t judge(struct header *h, struct sendit_dataset *parent,
                     const struct sendit_element *e)
{
    struct cell cell;
    int32_t answer;
    bool kept;

    h->parent = parent;
    h->shown = e;
    if (!spot_enter(&h->spot, parent, e))
        return stop(h, SENDIT_ECORRUPT, "deid.deep", NULL, "its sequences are nested too deep");
    if (h->strip != NO_STRIP && e->depth <= h->strip)
        h->strip = NO_STRIP;
    if (recipe_is_image(e->tag))
        return by_profile(h, parent, e);
    if (look_up(h, parent, e, &kept))
        return SENDIT_STOP;
    if (h->n_hits && e->tag == PATIENT_ID && !e->depth)
        h->gave_id = true;
    cell = cell_of(h, parent, e);
    if (kept) {
        if (fold(h, &cell, !e->depth, true))
            return SENDIT_STOP;
        return answer_of(h, &cell, SENDIT_KEEP_WHOLE);
    }
    if (h->strip == NO_STRIP) {
        answer = by_profile(h, parent, e);
    } else {
        answer = SENDIT_ERASE;
        tell(h, NULL, "goes with the sequence around it, but for what a KEEP means", NULL);
    }
    if (answer == SENDIT_STOP)
        return answer;
    if (!h->n_hits)
        return spare_what_is_kept(h, otherwise(h, answer));
    if (answer == SENDIT_ERASE)
        cell.state = IS_ABSENT;
    else if (answer == SENDIT_EMPTY)
        cell.state = IS_EMPTY;
    if (h->strip == NO_STRIP && fold(h, &cell, !e->depth, false))
        return SENDIT_STOP;
    return spare_what_is_kept(h, answer_of(h, &cell, answer));
}

/* It stays until the end, when it is known what is left in its block. */
static int32_t put_off(struct header *h, struct sendit_dataset *parent,
                       const struct sendit_element *e, int32_t answer)
{
    if (h->n_creators == h->creators_room) {
        size_t room = h->creators_room ? 2 * h->creators_room : 16;
        struct creator *more = realloc(h->creators, room * sizeof(*more));

        if (!more)
            return no_memory(h);
        h->creators = more;
        h->creators_room = room;
    }
    h->creators[h->n_creators++] = (struct creator){.parent = parent,
                                                    .tag = e->tag,
                                                    .depth = e->depth,
                                                    .answer = answer,
                                                    .counted = h->strip == NO_STRIP};
    return SENDIT_KEEP_WHOLE;
}

static bool is_creator(const struct sendit_element *e)
{
    return e->tag >> 16 & 1 && (e->tag & 0xffff) >= 0x10 && (e->tag & 0xffff) <= 0xff;
}

int32_t header_visit(struct header *h, struct sendit_dataset *parent,
                     const struct sendit_element *e)
{
    int32_t answer = judge(h, parent, e);

    if ((answer != SENDIT_ERASE && answer != SENDIT_EMPTY) || !h->leaves_private || !is_creator(e))
        return answer;
    return put_off(h, parent, e, answer);
}

/* ---- creators ---- */

struct block {
    uint32_t first; /* of its tags */
    bool is_used;
};

static int32_t look_for_use(void *ctx, struct sendit_dataset *parent,
                            const struct sendit_element *e)
{
    struct block *block = ctx;

    (void)parent;
    if (e->tag < block->first)
        return SENDIT_KEEP_WHOLE;
    block->is_used = e->tag <= (block->first | 0xff);
    return SENDIT_STOP;
}

/* A creator stays with what is left of its block: what has none means nothing. */
static void settle_creator(struct header *h, const struct creator *creator)
{
    struct block block = {.first = (creator->tag & 0xffff0000) | (creator->tag & 0xff) << 8};
    const struct sendit_element shown = {.tag = creator->tag, .vr = "LO", .depth = creator->depth};
    sendit_result r = dicom_walk(creator->parent, look_for_use, &block);

    if (r && r != SENDIT_ESTOPPED) {
        h->result = r;
    } else if (block.is_used) {
        h->parent = creator->parent;
        h->shown = &shown;
        tell(h, NULL, "creator of what stays in its block", NULL);
        h->shown = NULL;
        if (creator->counted && creator->answer == SENDIT_ERASE)
            h->env->report->removed--;
        else if (creator->counted)
            h->env->report->emptied--;
    } else if (creator->answer == SENDIT_ERASE) {
        h->result = dicom_erase(creator->parent, creator->tag);
    } else {
        h->result = dicom_put(creator->parent, creator->tag, "");
    }
    if (h->result)
        stop(h, h->result, "deid.edit", NULL, "a private creator could not be taken away");
}

/* ---- what was not there ---- */

static int add(struct header *h, const struct recipe_action *action)
{
    const struct field *field = &action->field;
    bool is_private = field->kind == FIELD_PRIVATE, kept = false;
    struct cell cell = {.parent = h->env->ds,
                        .tag = is_private ? field->tag : field->steps->tag,
                        .creator = field->creator};
    const struct name *name = names_of(h->names, cell.tag);
    struct sendit_element made = {.tag = cell.tag, .creator = cell.creator};
    const uint32_t *owners;
    int failed;

    set_vr(&cell, name ? name->vr : "ST");
    memcpy(made.vr, cell.vr_name, sizeof(cell.vr_name));
    h->spot = (struct spot){.tag = cell.tag, .vr = cell.vr, .creator = cell.creator};
    if (selection_find(h->actions, &h->spot, &owners, &h->n_hits))
        return limit(h), -1;
    memcpy(h->hits, owners, h->n_hits * sizeof(*owners));
    for (size_t i = 0; i < h->n_hits; i++)
        kept = kept || h->recipe->actions[h->hits[i]].verb == VERB_KEEP;
    if (cell.tag == PATIENT_ID)
        h->gave_id = true;
    h->parent = NULL;
    h->shown = &made;
    failed = fold(h, &cell, true, kept);
    h->shown = NULL;
    if (failed)
        return -1;
    cell.failed = false;
    if (cell.state == IS_NEW && (finish(h, &cell) || !cell.failed))
        return h->result ? -1 : 0;
    if (cell.state == IS_ABSENT)
        return 0;
    h->text.len = 0;
    buf_str(&h->text, "");
    return finish(h, &cell);
}

sendit_result header_end(struct header *h)
{
    for (size_t i = 0; i < h->recipe->n_actions; i++) {
        const struct recipe_action *action = &h->recipe->actions[i];

        if (action->verb != VERB_ADD || h->added[i] || action->field.kind == FIELD_NOTHING)
            continue;
        if (add(h, action))
            break;
    }
    for (size_t i = 0; !h->result && i < h->n_creators; i++)
        settle_creator(h, &h->creators[i]);
    forget(h);
    return h->result;
}
