/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/filter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "deid/filter_box.h"
#include "deid/value.h"
#include "dicom/dicom.h"

#define ROWS 0x00280010u
#define COLUMNS 0x00280011u
#define MAX_SEEN 65536 /* bytes of an attribute that are kept until the next image */

/* What a test can come to.  One that cannot be made joins as what it may be. */
enum truth { IS_FALSE = 0, IS_UNKNOWN = 1, IS_TRUE = 2 };

/* An attribute that tests ask for; of a path, wherever it leads in an image. */
struct slot {
    const struct field *field;
    uint64_t image;      /* that the rest is of */
    const char **values; /* owned array; texts of the data set */
    size_t n_values, room;
    size_t n_there, n_empty; /* elements */
    bool unreadable;         /* one of them has no text that could be read */
    uint64_t version;        /* counts what came: the images of a series have the same maker */
    struct buf seen;         /* the values of this version, each with its NUL */
    size_t n_seen, there_seen, empty_seen;
    bool unreadable_seen;
};
struct test {
    const struct recipe_test *test;
    size_t slot;
    uint64_t version; /* of the slot when it was made */
    enum truth is;
};

struct filter {
    const struct recipe *recipe;
    struct slot *slots;
    size_t n_slots;
    struct test *tests; /* each once */
    size_t n_tests;
    size_t **numbers;            /* by label, over all groups: of its tests */
    struct sendit_match *labels; /* owned */
    size_t n_labels;
    uint64_t image; /* counts data sets */
    sendit_result failed;
    struct box_list boxes;
    struct sendit_box *blank; /* owned: as they are shown */
    struct sendit_match match;
};

/* ---- making it ---- */

static void name_field(const struct field *field, struct buf *key)
{
    for (size_t i = 0; i < field->n_steps; i++)
        buf_printf(key, "%08" PRIx32 "/%08" PRIx32 "/%" PRId64 " ", field->steps[i].tag,
                   field->steps[i].mask, field->steps[i].item);
    if (field->kind == FIELD_PRIVATE)
        buf_printf(key, "%08" PRIx32 " %s", field->tag, field->creator);
}

/* The number of a key, in the order in which they came; -1 without memory. */
static int number_of(struct map *map, const char *key, size_t *ret_number, bool *ret_new)
{
    const char *known = map_get(map, key);
    char text[24];

    *ret_new = !known;
    if (known) {
        *ret_number = (size_t)strtoull(known, NULL, 10);
        return 0;
    }
    *ret_number = map->n;
    snprintf(text, sizeof(text), "%zu", map->n);
    return map_put(map, key, text);
}

struct maker {
    struct filter *filter;
    struct map slots, tests;
    struct buf key;
};

static int intern(struct maker *m, const struct recipe_test *test, size_t *ret_number)
{
    struct filter *f = m->filter;
    size_t slot;
    bool is_new;

    m->key.len = 0;
    name_field(&test->field, &m->key);
    if (m->key.failed || number_of(&m->slots, m->key.data, &slot, &is_new))
        return -1;
    if (is_new)
        f->slots[f->n_slots++] = (struct slot){.field = &test->field};
    m->key.len = 0;
    buf_printf(&m->key, "%d %zu %s", (int)test->op, slot, test->text ? test->text : "");
    if (m->key.failed || number_of(&m->tests, m->key.data, ret_number, &is_new))
        return -1;
    if (is_new)
        f->tests[f->n_tests++] = (struct test){.test = test, .slot = slot};
    return 0;
}

static int intern_all(struct maker *m)
{
    struct filter *f = m->filter;
    const struct recipe *recipe = f->recipe;

    for (size_t g = 0, at = 0; g < recipe->n_groups; g++)
        for (size_t l = 0; l < recipe->groups[g].n_labels; l++, at++) {
            const struct recipe_label *label = &recipe->groups[g].labels[l];

            f->labels[at] = (struct sendit_match){.group = recipe->groups[g].name,
                                                  .label = label->name,
                                                  .flagged = recipe->groups[g].kind != GROUP_WHITE};
            f->numbers[at] = calloc(label->n_tests + 1, sizeof(**f->numbers));
            if (!f->numbers[at])
                return -1;
            for (size_t i = 0; i < label->n_tests; i++)
                if (intern(m, &label->tests[i], &f->numbers[at][i]))
                    return -1;
        }
    return 0;
}

int filter_new(const struct recipe *recipe, struct filter **ret_filter, struct err *err)
{
    struct filter *f = calloc(1, sizeof(*f));
    struct maker m = {.filter = f};
    size_t n = 0;
    int r = -1;

    if (!f)
        goto out;
    f->recipe = recipe;
    for (size_t g = 0; g < recipe->n_groups; g++) {
        f->n_labels += recipe->groups[g].n_labels;
        for (size_t l = 0; l < recipe->groups[g].n_labels; l++)
            n += recipe->groups[g].labels[l].n_tests;
    }
    f->slots = calloc(n + 1, sizeof(*f->slots));
    f->tests = calloc(n + 1, sizeof(*f->tests));
    f->numbers = calloc(f->n_labels + 1, sizeof(*f->numbers));
    f->labels = calloc(f->n_labels + 1, sizeof(*f->labels));
    if (f->slots && f->tests && f->numbers && f->labels)
        r = intern_all(&m);
out:
    map_clear(&m.slots);
    map_clear(&m.tests);
    buf_fini(&m.key);
    if (r) {
        filter_free(f);
        return err_set(err, ERR_PLACE, "no memory for the filters of the recipes");
    }
    *ret_filter = f;
    return 0;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_slots; i++) {
        free(f->slots[i].values);
        buf_fini(&f->slots[i].seen);
    }
    for (size_t i = 0; f->numbers && i < f->n_labels; i++)
        free(f->numbers[i]);
    free(f->slots);
    free(f->tests);
    free(f->numbers);
    free(f->labels);
    free(f->blank);
    box_list_fini(&f->boxes);
    free(f);
}

const struct sendit_match *filter_label(const struct filter *f, size_t index)
{
    return index < f->n_labels ? &f->labels[index] : NULL;
}

/* ---- attributes ---- */

static int add_value(struct slot *slot, const char *text)
{
    if (slot->n_values == slot->room) {
        size_t room = slot->room ? 2 * slot->room : 2;
        const char **more =
            room > FILTER_MAX_ITEMS ? NULL : realloc(slot->values, room * sizeof(const char *));

        if (!more)
            return -1;
        slot->values = more;
        slot->room = room;
    }
    slot->values[slot->n_values++] = text;
    return 0;
}

/* Is there nothing in an element that has no text? */
static bool is_hollow(struct sendit_dataset *ds, uint32_t tag)
{
    const void *bytes;
    size_t len;

    if (tag == 0x7fe00010 || tag == 0x7fe00008 || tag == 0x7fe00009)
        return false;
    if (!dicom_bytes(ds, tag, &bytes, &len))
        return !len;
    return !dicom_nested(ds, tag, 0);
}

/* One element of the slot; 0, or -1 with filter.failed. */
static int look_at(struct filter *f, struct slot *slot, struct sendit_dataset *ds, uint32_t tag)
{
    const char *text;
    sendit_result r = dicom_get(ds, tag, &text);

    if (r == SENDIT_EABSENT)
        return 0;
    slot->n_there++;
    if (r == SENDIT_EINVAL || r == SENDIT_ECORRUPT) {
        slot->unreadable = true;
        slot->n_empty += r == SENDIT_EINVAL && is_hollow(ds, tag);
        return 0;
    }
    if (r) {
        f->failed = r;
        return -1;
    }
    slot->n_empty += !value_trim(text, strlen(text)).len;
    if (!add_value(slot, text))
        return 0;
    f->failed = SENDIT_ENOMEM;
    return -1;
}

/* Groups 50xx and 60xx, if a keyword of theirs is asked for. */
static int look_at_range(struct filter *f, struct slot *slot, struct sendit_dataset *ds,
                         const struct field_step *step)
{
    uint32_t end = step->mask == UINT32_MAX ? 1 : 0x100;

    for (uint32_t i = 0; i < end; i += 2)
        if (look_at(f, slot, ds, step->tag | i << 16))
            return -1;
    return 0;
}

static int follow(struct filter *f, struct slot *slot, struct sendit_dataset *ds, size_t n)
{
    const struct field_step *step = &slot->field->steps[n];
    size_t from = step->item < 0 ? 0 : (size_t)step->item;
    struct sendit_dataset *item;

    if (n + 1 == slot->field->n_steps)
        return look_at_range(f, slot, ds, step);
    for (size_t i = from; (item = dicom_nested(ds, step->tag, i)); i++) {
        if (i >= FILTER_MAX_ITEMS) {
            slot->unreadable = true;
            break;
        }
        if (follow(f, slot, item, n + 1))
            return -1;
        if (step->item >= 0)
            break;
    }
    return 0;
}

static int look(struct filter *f, struct slot *slot, struct sendit_dataset *ds)
{
    const struct field *field = slot->field;
    uint32_t tag;

    slot->n_values = slot->n_there = slot->n_empty = 0;
    slot->unreadable = false;
    if (field->kind == FIELD_PATH)
        return follow(f, slot, ds, 0);
    if (dicom_locate(ds, field->tag, field->creator, &tag))
        return 0;
    return look_at(f, slot, ds, tag);
}

static bool is_as_seen(const struct slot *slot)
{
    const char *seen = slot->seen.data;

    if (!slot->version || slot->n_values != slot->n_seen || slot->n_there != slot->there_seen ||
        slot->n_empty != slot->empty_seen || slot->unreadable != slot->unreadable_seen)
        return false;
    for (size_t i = 0; i < slot->n_values; i++) {
        if (strcmp(slot->values[i], seen) != 0)
            return false;
        seen += strlen(seen) + 1;
    }
    return true;
}

/* Tests of what an image has like the one before are not made again. */
static void remember(struct slot *slot)
{
    slot->version++;
    slot->seen.len = 0;
    for (size_t i = 0; i < slot->n_values && slot->seen.len <= MAX_SEEN; i++)
        buf_add(&slot->seen, slot->values[i], strlen(slot->values[i]) + 1);
    slot->n_seen = slot->n_values;
    slot->there_seen = slot->n_there;
    slot->empty_seen = slot->n_empty;
    slot->unreadable_seen = slot->unreadable;
    if (slot->seen.failed || slot->seen.len > MAX_SEEN) {
        buf_fini(&slot->seen);
        slot->n_seen = SIZE_MAX;
    }
}

static int read_slot(struct filter *f, struct slot *slot, struct sendit_dataset *ds)
{
    if (slot->image == f->image)
        return 0;
    slot->image = f->image;
    if (look(f, slot, ds))
        return -1;
    if (!is_as_seen(slot))
        remember(slot);
    return 0;
}

/* ---- tests ---- */

static bool is_number(const char *text, size_t len, double *ret_number)
{
    char copy[32], *end;

    if (!len || len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (strspn(copy, "0123456789+-.eE") < len)
        return false;
    *ret_number = strtod(copy, &end);
    return !*end && end != copy;
}

/* "1" is "1.0". */
static bool is_same_number(const char *wanted, struct value_span one)
{
    double a, b;

    return is_number(wanted, strlen(wanted), &a) && is_number(one.text, one.len, &b) && !(a < b) &&
           !(a > b);
}

static enum truth larger(enum truth a, enum truth b)
{
    return a > b ? a : b;
}

static enum truth meets(const struct recipe_test *test, struct value_span one)
{
    int r = pattern_match(test->pattern, one.text, one.len);

    if (r)
        return r < 0 ? IS_UNKNOWN : IS_TRUE;
    if (test->op == OP_EQUALS || test->op == OP_NOTEQUALS)
        return is_same_number(test->text, one) ? IS_TRUE : IS_FALSE;
    return IS_FALSE;
}

/* Does one of the values do?  Several are asked one by one, and equals also all of them at once. */
static enum truth any_value(const struct slot *slot, const struct recipe_test *test)
{
    enum truth is = slot->unreadable ? IS_UNKNOWN : IS_FALSE;

    for (size_t i = 0; i < slot->n_values && is != IS_TRUE; i++) {
        struct value_span whole = value_trim(slot->values[i], strlen(slot->values[i]));
        struct value_span rest = whole, one;
        bool at_once = test->op == OP_EQUALS || test->op == OP_NOTEQUALS;

        if (at_once || !whole.len || !memchr(whole.text, '\\', whole.len))
            is = larger(is, meets(test, whole));
        while (is != IS_TRUE && value_next(&rest, &one))
            is = larger(is, meets(test, value_trim(one.text, one.len)));
    }
    return is;
}

static enum truth not(enum truth is) { return (enum truth)(IS_TRUE - is); }

static enum truth truth_of(const struct slot *slot, const struct recipe_test *test)
{
    switch (test->op) {
    case OP_CONTAINS:
    case OP_EQUALS:
    case OP_MATCHES:
        return any_value(slot, test);
    case OP_NOTCONTAINS:
    case OP_NOTEQUALS:
        return not(any_value(slot, test));
    case OP_MISSING:
        return slot->n_there ? IS_FALSE : IS_TRUE;
    case OP_PRESENT:
        return slot->n_there ? IS_TRUE : IS_FALSE;
    case OP_EMPTY:
        return slot->n_empty ? IS_TRUE : IS_FALSE;
    default:
        return IS_UNKNOWN;
    }
}

static enum truth join(enum recipe_join how, enum truth a, enum truth b)
{
    if (how == JOIN_AND)
        return a < b ? a : b;
    return larger(a, b);
}

/* Does what comes next still count? */
static bool is_open(enum recipe_join how, enum truth so_far)
{
    return !(how == JOIN_AND && so_far == IS_FALSE) && !(how == JOIN_OR && so_far == IS_TRUE);
}

static enum truth make(struct filter *f, struct sendit_dataset *ds, size_t number)
{
    struct test *test = &f->tests[number];
    struct slot *slot = &f->slots[test->slot];

    if (read_slot(f, slot, ds))
        return IS_UNKNOWN;
    if (test->version == slot->version)
        return test->is;
    test->is = truth_of(slot, test->test);
    test->version = slot->version;
    return test->is;
}

/* Tests are joined to a line, lines to a criterion, and one criterion is enough.  A LABEL of
 * coordinates alone always holds. */
static enum truth holds(struct filter *f, struct sendit_dataset *ds,
                        const struct recipe_label *label, const size_t *numbers)
{
    enum truth any = IS_FALSE, criterion = IS_FALSE, line = IS_FALSE;
    enum recipe_join how = JOIN_NEW;
    bool counts = true;

    if (!label->n_tests)
        return IS_TRUE;
    for (size_t i = 0; i < label->n_tests; i++) {
        const struct recipe_test *test = &label->tests[i];

        if (test->join != JOIN_NEW) {
            if (counts && is_open(test->join, line))
                line = join(test->join, line, make(f, ds, numbers[i]));
            continue;
        }
        if (i)
            criterion = how == JOIN_NEW ? line : join(how, criterion, line);
        how = test->line;
        if (how == JOIN_NEW)
            any = join(JOIN_OR, any, criterion);
        if (any == IS_TRUE)
            return IS_TRUE;
        counts = is_open(how, criterion);
        if (counts)
            line = make(f, ds, numbers[i]);
    }
    criterion = how == JOIN_NEW ? line : join(how, criterion, line);
    return join(JOIN_OR, any, criterion);
}

/* ---- boxes ---- */

static sendit_result because(struct sendit_why *why, sendit_result r, const char *code,
                             const char *text)
{
    sendit_because(why, SENDIT_QUARANTINE, code, "%s", text);
    return r;
}

static bool read_count(struct sendit_dataset *ds, uint32_t tag, uint32_t *ret_count)
{
    const char *text;
    char *end;
    unsigned long count;

    if (dicom_get(ds, tag, &text) || *text < '0' || *text > '9')
        return false;
    count = strtoul(text, &end, 10);
    *ret_count = (uint32_t)count;
    return !*end && count <= RECIPE_MAX_COORDINATE;
}

/* Regions of an ultrasound (PS3.3 C.8.5.5): their corners belong to them. */
static sendit_result add_regions(struct filter *f, struct sendit_dataset *ds,
                                 const struct recipe_box *from, struct sendit_why *why)
{
    struct sendit_dataset *item;
    size_t n = 0;

    for (; (item = dicom_nested(ds, from->from, n)); n++) {
        struct box box;

        if (n >= FILTER_MAX_ITEMS || !read_count(item, 0x00186018, &box.x1) ||
            !read_count(item, 0x0018601a, &box.y1) || !read_count(item, 0x0018601c, &box.x2) ||
            !read_count(item, 0x0018601e, &box.y2) || box.x2 < box.x1 || box.y2 < box.y1)
            return because(why, SENDIT_ECORRUPT, "deid.regions",
                           "a region of its ultrasound has no place that could be read");
        box.x2++;
        box.y2++;
        if ((from->keep ? box_keep : box_blank)(&f->boxes, box))
            return because(why, SENDIT_ECORRUPT, "deid.boxes", "it would have too many boxes");
    }
    if (!n)
        return because(why, SENDIT_ECORRUPT, "deid.regions",
                       "a recipe asks for regions of its ultrasound, and it has none");
    return SENDIT_OK;
}

static sendit_result add_boxes(struct filter *f, struct sendit_dataset *ds,
                               const struct recipe_label *label, struct sendit_why *why)
{
    struct box_list *list = &f->boxes;

    if (label->n_boxes &&
        (!read_count(ds, COLUMNS, &list->columns) || !read_count(ds, ROWS, &list->rows)))
        return because(why, SENDIT_ECORRUPT, "deid.boxes",
                       "a recipe has boxes for it, and it has no Rows and Columns");
    for (size_t i = 0; i < label->n_boxes; i++) {
        const struct recipe_box *box = &label->boxes[i];
        struct box where = {box->x1, box->y1, box->x2, box->y2};
        sendit_result r;

        if (box->kind == BOX_FROM) {
            r = add_regions(f, ds, box, why);
            if (r)
                return r;
            continue;
        }
        if (box->kind == BOX_ALL)
            where = (struct box){0, 0, list->columns, list->rows};
        if ((box->keep ? box_keep : box_blank)(list, where))
            return because(why, SENDIT_ECORRUPT, "deid.boxes", "it would have too many boxes");
    }
    return SENDIT_OK;
}

static sendit_result show_boxes(struct filter *f)
{
    struct sendit_box *blank = realloc(f->blank, (f->boxes.n + 1) * sizeof(*blank));

    if (!blank)
        return SENDIT_ENOMEM;
    f->blank = blank;
    for (size_t i = 0; i < f->boxes.n; i++) {
        const struct box *box = &f->boxes.boxes[i];

        blank[i] = (struct sendit_box){box->x1, box->y1, box->x2 - box->x1, box->y2 - box->y1};
    }
    f->match.n_boxes = (uint32_t)f->boxes.n;
    f->match.boxes = blank;
    return SENDIT_OK;
}

/* ---- the one that decides ---- */

/* The first LABEL of a kind that holds. */
static const struct recipe_label *first(struct filter *f, struct sendit_dataset *ds,
                                        enum recipe_group_kind kind, const char **ret_group,
                                        bool *ret_unknown)
{
    const struct recipe *recipe = f->recipe;

    for (size_t g = 0, at = 0; g < recipe->n_groups; at += recipe->groups[g++].n_labels)
        for (size_t l = 0; recipe->groups[g].kind == kind && l < recipe->groups[g].n_labels; l++) {
            const struct recipe_label *label = &recipe->groups[g].labels[l];
            enum truth is = holds(f, ds, label, f->numbers[at + l]);

            if (f->failed)
                return NULL;
            *ret_group = recipe->groups[g].name;
            if (is == IS_TRUE)
                return label;
            *ret_unknown = *ret_unknown || is == IS_UNKNOWN;
        }
    return NULL;
}

/* All that is flagged is blanked, in the order of the recipe: a LABEL may blank all, and a later
 * one keep a part. */
static sendit_result all_boxes(struct filter *f, struct sendit_dataset *ds, struct sendit_why *why)
{
    const struct recipe *recipe = f->recipe;
    sendit_result r = SENDIT_OK;

    box_list_fini(&f->boxes);
    for (size_t g = 0, at = 0; !r && g < recipe->n_groups; at += recipe->groups[g++].n_labels)
        for (size_t l = 0;
             !r && recipe->groups[g].kind != GROUP_WHITE && l < recipe->groups[g].n_labels; l++) {
            const struct recipe_label *label = &recipe->groups[g].labels[l];

            if (!label->n_boxes)
                continue;
            switch (holds(f, ds, label, f->numbers[at + l])) {
            case IS_TRUE:
                r = add_boxes(f, ds, label, why);
                break;
            case IS_UNKNOWN:
                r = f->failed ? f->failed
                              : because(why, SENDIT_ECORRUPT, "deid.text",
                                        "a value that a recipe asks for cannot be read");
                break;
            default:
                break;
            }
        }
    return r ? r : show_boxes(f);
}

/* Does a LABEL without boxes name it, too, or may it?  The boxes are not all then. */
static bool is_more_than_boxes(struct filter *f, struct sendit_dataset *ds)
{
    const struct recipe *recipe = f->recipe;

    for (size_t g = 0, at = 0; g < recipe->n_groups; at += recipe->groups[g++].n_labels)
        for (size_t l = 0; recipe->groups[g].kind != GROUP_WHITE && l < recipe->groups[g].n_labels;
             l++) {
            const struct recipe_label *label = &recipe->groups[g].labels[l];

            if (!label->n_boxes && holds(f, ds, label, f->numbers[at + l]) != IS_FALSE)
                return true;
        }
    return false;
}

sendit_result filter_run(struct filter *f, struct sendit_dataset *ds,
                         const struct sendit_match **ret_match, struct sendit_why *why)
{
    const struct recipe_label *label;
    const char *group = NULL;
    bool vouch = false, unknown = false; /* what cannot be known: of a whitelist, of others */
    sendit_result r;

    f->image++;
    f->failed = SENDIT_OK;
    f->match = (struct sendit_match){0};
    label = first(f, ds, GROUP_WHITE, &group, &vouch);
    if (!label && !f->failed) {
        f->match.flagged = 1;
        label = first(f, ds, GROUP_BLACK, &group, &unknown);
    }
    if (!label && !f->failed && !unknown) /* a greylist may let it pass, a blacklist never */
        label = first(f, ds, GROUP_GREY, &group, &unknown);
    if (f->failed)
        return because(why, f->failed, "deid.memory", "there was no memory to judge it");
    if (!label && (unknown || vouch))
        return because(why, SENDIT_ECORRUPT, "deid.text",
                       "a value that a recipe asks for cannot be read, or a pattern takes too "
                       "long on it");
    if (!label)
        return SENDIT_EABSENT;
    f->match.group = group;
    f->match.label = label->name;
    if (f->match.flagged) {
        r = all_boxes(f, ds, why);
        if (r)
            return r;
        if (f->match.n_boxes && is_more_than_boxes(f, ds))
            f->match.flagged = 2;
        if (f->failed)
            return because(why, f->failed, "deid.memory", "there was no memory to judge it");
    }
    *ret_match = &f->match;
    return SENDIT_OK;
}
