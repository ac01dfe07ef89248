/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/diff_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "diff/diff.h"

#define NO_DIGEST ""

/* ---- nodes ---- */

static void value_fini(struct diff_value *value)
{
    free(value->text);
    *value = (struct diff_value){0};
}

static void drop_by(struct diff_by *by)
{
    free(by->file);
    free(by->rule);
    free(by->note);
}

static void item_fini(struct diff_item *item);

static void node_free(struct diff_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->n_items; i++)
        item_fini(&node->items[i]);
    for (size_t i = 0; i < node->n_by; i++)
        drop_by(&node->by[i]);
    value_fini(&node->before);
    value_fini(&node->after);
    free(node->items);
    free(node->by);
    free(node->creator);
    free(node);
}

static void item_fini(struct diff_item *item)
{
    for (size_t i = 0; i < item->n; i++)
        node_free(item->nodes[i]);
    free(item->nodes);
    *item = (struct diff_item){0};
}

static void forget_born(struct diff_tree *tree)
{
    for (size_t i = 0; i < tree->n_born; i++)
        node_free(tree->born[i]);
    free(tree->born);
    tree->born = NULL;
    tree->n_born = 0;
}

void diff_tree_fini(struct diff_tree *tree)
{
    forget_born(tree);
    item_fini(&tree->meta);
    item_fini(&tree->top);
    *tree = (struct diff_tree){0};
}

/* Where the tag stands, or would. */
static size_t place_of(const struct diff_item *item, uint32_t tag)
{
    size_t from = 0, to = item->n;

    if (to && item->nodes[to - 1]->tag < tag)
        return to; /* as in the first walk */
    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (item->nodes[middle]->tag < tag)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static struct diff_node *new_node(struct diff_tree *tree, uint32_t tag, const char *creator)
{
    struct diff_node *node = calloc(1, sizeof(*node));

    if (node) {
        node->tag = tag;
        node->creator = creator ? strdup(creator) : NULL;
    }
    if (node && creator && !node->creator) {
        free(node);
        node = NULL;
    }
    tree->failed = tree->failed || !node;
    return node;
}

/* The node of a tag, made if there is none; NULL without memory or room. */
static struct diff_node *node_in(struct diff_tree *tree, struct diff_item *item, uint32_t tag,
                                 const char *creator)
{
    size_t at = place_of(item, tag);
    struct diff_node *node;

    if (at < item->n && item->nodes[at]->tag == tag)
        return item->nodes[at];
    if (tree->n == DIFF_MAX_ELEMENTS) {
        tree->too_many = true;
        return NULL;
    }
    if (item->n == item->cap) {
        size_t cap = item->cap ? 2 * item->cap : 16;
        struct diff_node **nodes = realloc(item->nodes, cap * sizeof(*nodes));

        if (!nodes) {
            tree->failed = true;
            return NULL;
        }
        item->nodes = nodes;
        item->cap = cap;
    }
    node = new_node(tree, tag, creator);
    if (!node)
        return NULL;
    memmove(&item->nodes[at + 1], &item->nodes[at], (item->n - at) * sizeof(struct diff_node *));
    item->nodes[at] = node;
    item->n++;
    tree->n++;
    return node;
}

static struct diff_item *item_of(struct diff_tree *tree, struct diff_node *sequence, size_t index)
{
    struct diff_item *items;

    if (index < sequence->n_items)
        return &sequence->items[index];
    items = realloc(sequence->items, (index + 1) * sizeof(*items));
    if (!items) {
        tree->failed = true;
        return NULL;
    }
    memset(&items[sequence->n_items], 0, (index + 1 - sequence->n_items) * sizeof(*items));
    sequence->items = items;
    sequence->n_items = index + 1;
    return &items[index];
}

/* The node of what a visitor is shown.  An item belongs to the sequence that was shown last, a
 * level above. */
static struct diff_node *node_of(struct diff_tree *tree, struct sendit_dataset *parent,
                                 const struct sendit_element *e)
{
    struct diff_item *item = &tree->top;
    struct diff_node *node;

    if (e->depth >= DIFF_TREE_LEVELS || (e->depth && !tree->last[e->depth - 1]))
        return NULL;
    if (e->depth)
        item = item_of(tree, tree->last[e->depth - 1], dicom_index(parent));
    node = item ? node_in(tree, item, e->tag, e->creator) : NULL;
    tree->last[e->depth] = node;
    return node;
}

/* ---- values ---- */

static bool is_string(const char *vr)
{
    static const char others[] = "AT FD FL OB OD OF OL OV OW SL SQ SS SV UL UN US UV";

    return strlen(vr) == 2 && !strstr(others, vr);
}

static bool is_number(const char *vr)
{
    static const char numbers[] = "AT FD FL SL SS SV UL US UV";

    return strlen(vr) == 2 && strstr(numbers, vr);
}

static bool is_pixels(uint32_t tag)
{
    return tag == 0x7fe00010 || tag == 0x7fe00008 || tag == 0x7fe00009;
}

/* Up to DIFF_MAX_TEXT bytes of it, no character cut in two. */
static char *cut_text(const char *text, bool *ret_cut)
{
    size_t n = strlen(text);

    *ret_cut = n > DIFF_MAX_TEXT;
    if (*ret_cut) {
        n = DIFF_MAX_TEXT;
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    return strndup(text, n);
}

static void read_value(struct diff_tree *tree, struct sendit_dataset *parent,
                       const struct sendit_element *e, struct diff_value *ret_value)
{
    const char *bytes = e->value, *text;
    size_t n = (size_t)e->length;

    *ret_value = (struct diff_value){.there = true, .length = e->length};
    memcpy(ret_value->vr, e->vr, 2);
    if (!bytes) {
        ret_value->is_sequence = !is_pixels(e->tag);
        if (ret_value->is_sequence)
            ret_value->length = dicom_items(parent, e->tag);
        return;
    }
    /* padding is no part of a value */
    while (is_string(ret_value->vr) && n && (bytes[n - 1] == ' ' || bytes[n - 1] == '\0'))
        n--;
    if (digest_of(bytes, n, ret_value->digest))
        tree->failed = true;
    if ((is_string(ret_value->vr) || is_number(ret_value->vr)) &&
        dicom_get(parent, e->tag, &text) == SENDIT_OK) {
        ret_value->text = cut_text(text, &ret_value->cut);
        tree->failed = tree->failed || !ret_value->text;
    }
}

static bool is_same(const struct diff_value *a, const struct diff_value *b)
{
    if (!a->there || !b->there)
        return a->there == b->there;
    return !strcmp(a->vr, b->vr) && a->is_sequence == b->is_sequence &&
           (a->is_sequence ? a->length == b->length : !strcmp(a->digest, b->digest)) &&
           (a->digest[0] || a->length == b->length);
}

/* ---- whose work it is ---- */

static bool has_by(const struct diff_node *node, size_t stage)
{
    for (size_t i = 0; i < node->n_by; i++)
        if (node->by[i].stage == stage)
            return true;
    return false;
}

static char *dup_or_fail(struct diff_tree *tree, const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    tree->failed = tree->failed || (text && !copy);
    return copy;
}

static void add_by(struct diff_tree *tree, struct diff_node *node, size_t stage,
                   const struct deid_step *step)
{
    struct diff_by *by = realloc(node->by, (node->n_by + 1) * sizeof(*by));

    if (!by) {
        tree->failed = true;
        return;
    }
    node->by = by;
    by[node->n_by++] = (struct diff_by){.stage = stage,
                                        .line = step->file ? step->line : 0,
                                        .file = dup_or_fail(tree, step->file),
                                        .rule = dup_or_fail(tree, step->rule),
                                        .note = dup_or_fail(tree, step->note)};
}

/* A private element that was not there has no block yet. */
static void note_born(struct diff_tree *tree, const struct sendit_element *e,
                      const struct deid_step *step)
{
    struct diff_node **born = realloc(tree->born, (tree->n_born + 1) * sizeof(*born)), *node;

    if (!born) {
        tree->failed = true;
        return;
    }
    tree->born = born;
    node = new_node(tree, e->tag, e->creator ? e->creator : "");
    if (!node)
        return;
    add_by(tree, node, tree->stage, step);
    born[tree->n_born++] = node;
}

static void told(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e,
                 const struct deid_step *step)
{
    struct diff_tree *tree = ctx;
    struct diff_node *node;

    if (!parent && (e->tag >> 16 & 1)) {
        note_born(tree, e, step);
        return;
    }
    node = parent ? node_of(tree, parent, e) : node_in(tree, &tree->top, e->tag, NULL);
    if (node)
        add_by(tree, node, tree->stage, step);
}

struct deid_watch diff_tree_watch(struct diff_tree *tree, size_t stage)
{
    tree->stage = stage;
    return (struct deid_watch){.told = told, .ctx = tree};
}

static void forget_in(struct diff_item *item, size_t stage)
{
    for (size_t i = 0; i < item->n; i++) {
        struct diff_node *node = item->nodes[i];

        while (node->n_by && node->by[node->n_by - 1].stage == stage)
            drop_by(&node->by[--node->n_by]);
        for (size_t k = 0; k < node->n_items; k++)
            forget_in(&node->items[k], stage);
    }
}

void diff_tree_forget(struct diff_tree *tree, size_t stage)
{
    forget_born(tree);
    forget_in(&tree->top, stage);
}

/* The rules of an ADD that made this element. */
static void take_born(struct diff_tree *tree, struct diff_node *node)
{
    for (size_t i = 0; i < tree->n_born; i++) {
        const struct diff_node *born = tree->born[i];

        if (born->tag != (node->tag & 0xffff00ff) || !node->creator ||
            strcmp(born->creator, node->creator) != 0)
            continue;
        for (size_t k = 0; k < born->n_by; k++) {
            const struct deid_step step = {.file = born->by[k].file,
                                           .line = born->by[k].line,
                                           .rule = born->by[k].rule,
                                           .note = born->by[k].note};

            add_by(tree, node, born->by[k].stage, &step);
        }
    }
}

/* The stage did it, and no rule says so. */
static void blame(struct diff_tree *tree, struct diff_node *node)
{
    const struct deid_step step = {0};

    if (!has_by(node, tree->stage))
        add_by(tree, node, tree->stage, &step);
}

/* Is it inside of something that a rule of this stage decided about? */
static bool is_covered(const struct diff_tree *tree, uint32_t depth)
{
    for (uint32_t i = 0; i < depth; i++)
        if (tree->last[i] && has_by(tree->last[i], tree->stage))
            return true;
    return false;
}

/* ---- walks ---- */

static int32_t look(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct diff_tree *tree = ctx;
    struct diff_node *node = node_of(tree, parent, e);
    struct diff_value now;

    if (!node)
        return tree->failed ? SENDIT_STOP : SENDIT_KEEP_WHOLE;
    read_value(tree, parent, e, &now);
    node->seen = true;
    if (tree->first) {
        value_fini(&node->before);
        node->before = now;
        node->after = now;
        node->after.text = NULL;
        return tree->failed ? SENDIT_STOP : SENDIT_KEEP;
    }
    if (!is_same(&node->after, &now) && !is_pixels(e->tag)) {
        if (!node->after.there && e->creator)
            take_born(tree, node);
        if (!is_covered(tree, e->depth))
            blame(tree, node);
    }
    if (is_pixels(e->tag)) /* read otherwise */
        memcpy(now.digest, node->after.digest, sizeof(now.digest));
    value_fini(&node->after);
    node->after = now;
    return tree->failed ? SENDIT_STOP : SENDIT_KEEP;
}

static void unsee(struct diff_item *item)
{
    for (size_t i = 0; i < item->n; i++) {
        item->nodes[i]->seen = false;
        for (size_t k = 0; k < item->nodes[i]->n_items; k++)
            unsee(&item->nodes[i]->items[k]);
    }
}

/* What was not seen any more is gone. */
static void sweep(struct diff_tree *tree, struct diff_item *item, bool covered)
{
    for (size_t i = 0; i < item->n; i++) {
        struct diff_node *node = item->nodes[i];
        bool inside = covered || has_by(node, tree->stage);

        if (!node->seen && node->after.there) {
            value_fini(&node->after);
            if (!covered)
                blame(tree, node);
            inside = true;
        }
        for (size_t k = 0; k < node->n_items; k++)
            sweep(tree, &node->items[k], inside);
    }
}

int diff_tree_digest(const struct sendit_part *part, char ret_digest[DIGEST_HEX])
{
    enum { BLOCK = 1 << 18 };
    struct digest *digest = digest_new();
    char *block = malloc(BLOCK);
    int result = digest && block ? 0 : -1;
    uint64_t at = 0;

    while (!result && at < part->length) {
        size_t want = part->length - at < BLOCK ? (size_t)(part->length - at) : BLOCK;
        ssize_t n = pread(part->fd, block, want, (off_t)(part->offset + at));

        if (n < 0 && errno == EINTR)
            continue;
        result = n <= 0 ? -1 : digest_add(digest, block, (size_t)n);
        at += n > 0 ? (uint64_t)n : 0;
    }
    if (!result)
        result = digest_hex(digest, ret_digest);
    digest_free(digest);
    free(block);
    return result;
}

static struct diff_node *pixels_of(const struct diff_tree *tree)
{
    for (size_t i = tree->top.n; i-- > 0;)
        if (is_pixels(tree->top.nodes[i]->tag) && tree->top.nodes[i]->after.there)
            return tree->top.nodes[i];
    return NULL;
}

const char *diff_tree_pixels(const struct diff_tree *tree)
{
    const struct diff_node *node = pixels_of(tree);

    return node ? node->after.digest : "";
}

/* Pixel data is a range of a file, but for a deflated data set, where it has no digest. */
static void look_at_pixels(struct diff_tree *tree, struct sendit_dataset *ds)
{
    struct diff_node *node = pixels_of(tree);
    const struct sendit_part *range = NULL;
    const struct sendit_file *file;
    char digest[DIGEST_HEX] = NO_DIGEST;

    if (!node || dicom_view(ds, &file) != SENDIT_OK)
        return;
    for (uint32_t i = 0; i < file->n_parts; i++)
        if (!file->parts[i].data)
            range = &file->parts[i];
    if (!range || range->length != node->after.length)
        return;
    if (!tree->first && range->fd == tree->pixel_fd && range->offset == tree->pixel_at)
        return; /* where it was */
    if (diff_tree_digest(range, digest))
        return;
    tree->pixel_fd = range->fd;
    tree->pixel_at = range->offset;
    if (!tree->first && strcmp(digest, node->after.digest) != 0)
        blame(tree, node);
    memcpy(node->after.digest, digest, sizeof(digest));
    if (tree->first)
        memcpy(node->before.digest, digest, sizeof(digest));
}

/* Group lengths and padding are not read, so that no stage sees them, and never written. */
static void drop_what_is_not_read(struct diff_tree *tree, struct diff_item *item)
{
    static const struct deid_step step = {.rule = "sendit never writes it"};

    for (size_t i = 0; i < item->n; i++) {
        struct diff_node *node = item->nodes[i];

        for (size_t k = 0; k < node->n_items; k++)
            drop_what_is_not_read(tree, &node->items[k]);
        if (node->tag & 0xffff && node->tag != 0xfffcfffc)
            continue;
        value_fini(&node->after);
        add_by(tree, node, DIFF_BY_CORE, &step);
    }
}

static sendit_result walk(struct diff_tree *tree, struct sendit_dataset *ds)
{
    sendit_result result;

    memset(tree->last, 0, sizeof(tree->last));
    result = tree->first ? dicom_walk_file(ds, look, tree) : dicom_walk(ds, look, tree);
    if (!result && tree->first)
        drop_what_is_not_read(tree, &tree->top);
    if (tree->failed)
        return SENDIT_ENOMEM;
    if (!result)
        look_at_pixels(tree, ds);
    memset(tree->last, 0, sizeof(tree->last));
    return tree->failed ? SENDIT_ENOMEM : result;
}

static int32_t look_at_meta(void *ctx, struct sendit_dataset *ds, const struct sendit_element *e)
{
    struct diff_tree *tree = ctx;
    struct diff_node *node = node_in(tree, &tree->meta, e->tag, NULL);

    if (!node)
        return SENDIT_STOP;
    value_fini(&node->before);
    read_value(tree, ds, e, &node->before);
    node->after = node->before;
    node->after.text = NULL;
    return SENDIT_KEEP;
}

sendit_result diff_tree_begin(struct diff_tree *tree, struct sendit_dataset *ds)
{
    sendit_result result;

    *tree = (struct diff_tree){.first = true, .pixel_fd = -1};
    result = dicom_walk_meta(ds, look_at_meta, tree);
    if (!result)
        result = walk(tree, ds);
    tree->first = false;
    return result;
}

sendit_result diff_tree_look(struct diff_tree *tree, struct sendit_dataset *ds, size_t stage)
{
    sendit_result result;

    tree->stage = stage;
    unsee(&tree->top);
    result = walk(tree, ds);
    if (!result)
        sweep(tree, &tree->top, false);
    forget_born(tree);
    return tree->failed ? SENDIT_ENOMEM : result;
}

/* ---- the meta group that is written ---- */

static uint32_t number(const unsigned char *bytes, size_t n)
{
    uint32_t value = 0;

    while (n-- > 0)
        value = value << 8 | bytes[n];
    return value;
}

static void read_meta(struct diff_tree *tree, uint32_t tag, const char *vr, const void *bytes,
                      uint32_t length)
{
    static const struct deid_step step = {.rule = "sendit writes the meta group anew"};
    struct diff_node *node = node_in(tree, &tree->meta, tag, NULL);
    struct diff_value now = {.there = true, .length = length};
    const char *text = bytes;
    size_t n = length;

    if (!node)
        return;
    memcpy(now.vr, vr, 2);
    while (is_string(now.vr) && n && (text[n - 1] == ' ' || text[n - 1] == '\0'))
        n--;
    if (digest_of(text, n, now.digest))
        tree->failed = true;
    if (is_string(now.vr))
        now.text = strndup(text, n);
    else if (is_number(now.vr) && length == 4 && asprintf(&now.text, "%u", number(bytes, 4)) < 0)
        now.text = NULL;
    tree->failed = tree->failed || (!now.text && strcmp(now.vr, "OB") != 0);
    value_fini(&node->after);
    node->after = now;
    node->seen = true;
    add_by(tree, node, DIFF_BY_CORE, &step);
}

void diff_tree_meta(struct diff_tree *tree, const void *bytes, size_t len)
{
    enum { PREAMBLE = 132, SHORT = 8, LONG = 12 };
    static const struct deid_step gone = {.rule = "sendit writes the meta group anew"};
    const unsigned char *at = bytes, *end = at + len;

    unsee(&tree->meta);
    for (at += len < PREAMBLE ? len : PREAMBLE; end - at >= LONG && number(at, 2) == 0x0002;) {
        uint32_t tag = number(at, 2) << 16 | number(at + 2, 2);
        const char vr[3] = {(char)at[4], (char)at[5], '\0'};
        bool is_long = !strcmp(vr, "OB");
        uint32_t n = is_long ? number(at + 8, 4) : number(at + 6, 2);

        at += is_long ? LONG : SHORT;
        if (n > (size_t)(end - at))
            break;
        read_meta(tree, tag, vr, at, n);
        at += n;
    }
    for (size_t i = 0; i < tree->meta.n; i++) {
        struct diff_node *node = tree->meta.nodes[i];

        if (node->seen)
            continue;
        value_fini(&node->after);
        add_by(tree, node, DIFF_BY_CORE, &gone);
    }
}
