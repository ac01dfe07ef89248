/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/diff_json.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

enum fate { KEPT, CHANGED, REMOVED, ADDED, N_FATES };
static const char *const fates[] = {"kept", "changed", "removed", "added"};

struct making {
    const struct diff_shown *shown;
    int (*each)(void *ctx, const json_t *element);
    void *ctx;
    struct buf path; /* of the item in hand, with a "." behind it */
    bool failed;     /* no memory */
    int result;      /* of `each` */
};

static void set(struct making *m, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        m->failed = true;
}

static bool is_same_value(const struct diff_value *a, const struct diff_value *b)
{
    return a->there && b->there && a->is_sequence == b->is_sequence &&
           (a->digest[0] ? !strcmp(a->digest, b->digest) : !b->digest[0] && a->length == b->length);
}

static enum fate fate_of(const struct diff_node *node)
{
    const struct diff_value *before = &node->before, *after = &node->after;

    if (!before->there)
        return ADDED;
    if (!after->there)
        return REMOVED;
    return is_same_value(before, after) && !strcmp(before->vr, after->vr) ? KEPT : CHANGED;
}

static bool is_pixels(const struct diff_node *node)
{
    return node->tag == 0x7fe00010 || node->tag == 0x7fe00008 || node->tag == 0x7fe00009;
}

/* Of pixel data the digest is no secret: nobody finds an image by it who has not got it. */
static json_t *value_json(struct making *m, const struct diff_node *node,
                          const struct diff_value *value, const char *text, bool may_show)
{
    json_t *object, *shown;

    if (!value->there)
        return json_null();
    object = json_pack("{s:s, s:I}", "vr", value->vr, value->is_sequence ? "items" : "length",
                       (json_int_t)value->length);
    if (!object || value->is_sequence)
        return object;
    if (is_pixels(node)) {
        if (value->digest[0])
            set(m, object, "sha256", json_string(value->digest));
        return object;
    }
    if (!may_show && value->length) {
        set(m, object, "masked", json_true());
        return object;
    }
    shown = text ? json_string(text) : NULL; /* NULL for what is no UTF-8, too */
    if (shown)
        set(m, object, "value", shown);
    else if (value->length)
        set(m, object, "sha256", json_string(value->digest));
    if (value->cut)
        set(m, object, "cut", json_true());
    return object;
}

static json_t *before_json(struct making *m, const struct diff_node *node)
{
    return value_json(m, node, &node->before, node->before.text, m->shown->originals);
}

/* What is as it was is a value of the original, too. */
static json_t *after_json(struct making *m, const struct diff_node *node)
{
    const struct diff_shown *shown = m->shown;
    bool same = is_same_value(&node->before, &node->after);
    const char *text = node->after.text ? node->after.text : same ? node->before.text : NULL;

    return value_json(m, node, &node->after, text, shown->originals || (shown->made && !same));
}

static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);

    return json ? json : json_string("?"); /* a file whose name is no UTF-8 */
}

static json_t *by_json(struct making *m, const struct diff_by *by, const char *of)
{
    const char *stage = by->stage == DIFF_BY_CORE ? "core" : m->shown->plan->stages[by->stage].id;
    json_t *object = json_pack("{s:s}", "stage", stage);

    if (by->file) {
        set(m, object, "file", text_json(by->file));
        set(m, object, "line", json_integer(by->line));
    }
    if (by->rule)
        set(m, object, "rule", text_json(by->rule));
    if (by->note)
        set(m, object, "note", json_string(by->note));
    if (of)
        set(m, object, "of", json_string(of));
    return object;
}

/* What decided about the sequences around an element. */
struct around {
    const struct diff_node *node; /* the nearest that something decided about, or NULL */
    const char *path;
};

static json_t *all_by_json(struct making *m, const struct diff_node *node,
                           const struct around *around)
{
    const struct diff_node *from = node->n_by || !around->node ? node : around->node;
    json_t *array = json_array();

    for (size_t i = 0; i < from->n_by; i++)
        if (json_array_append_new(array,
                                  by_json(m, &from->by[i], from == node ? NULL : around->path)))
            m->failed = true;
    return array;
}

/* A creator is a word that somebody wrote into the file; it is shown where values are. */
static void add_names(struct making *m, json_t *object, const struct diff_node *node)
{
    const char *keyword = node->tag >> 16 & 1 ? NULL : dicom_keyword(node->tag);

    set(m, object, "keyword", keyword ? json_string(keyword) : json_null());
    if (node->creator && m->shown->originals)
        set(m, object, "creator", text_json(node->creator));
}

static void add_item(struct making *m, const struct diff_item *item, uint32_t depth,
                     const struct around *around);

static void add_items(struct making *m, const struct diff_node *node, uint32_t depth,
                      const struct around *around)
{
    size_t len = m->path.len;

    for (size_t i = 0; i < node->n_items; i++) {
        buf_printf(&m->path, "(%04X,%04X)[%zu].", node->tag >> 16, node->tag & 0xffff, i);
        if (m->path.failed)
            m->failed = true;
        else
            add_item(m, &node->items[i], depth + 1, around);
        m->path.len = len;
        if (m->path.data)
            m->path.data[len] = '\0';
    }
}

static void add_node(struct making *m, const struct diff_node *node, uint32_t depth,
                     const struct around *around)
{
    struct buf path = {0};
    enum fate fate = fate_of(node);
    struct around inner = *around;
    json_t *object;

    buf_printf(&path, "%s(%04X,%04X)", m->path.data ? m->path.data : "", node->tag >> 16,
               node->tag & 0xffff);
    object = json_pack("{s:s?, s:o, s:i, s:s}", "path", path.data, "tag",
                       json_sprintf("%08X", node->tag), "depth", (int)depth, "fate", fates[fate]);
    if (!object || path.failed)
        m->failed = true;
    add_names(m, object, node);
    set(m, object, "before", before_json(m, node));
    set(m, object, "after", after_json(m, node));
    set(m, object, "by", all_by_json(m, node, around));
    if (!m->failed && !m->result)
        m->result = m->each(m->ctx, object);
    json_decref(object);
    if (node->n_by)
        inner = (struct around){node, path.data};
    add_items(m, node, depth, &inner);
    buf_fini(&path);
}

static void add_item(struct making *m, const struct diff_item *item, uint32_t depth,
                     const struct around *around)
{
    for (size_t i = 0; i < item->n && !m->failed && !m->result; i++) {
        const struct diff_node *node = item->nodes[i];

        if (node->before.there || node->after.there) /* else a rule found nothing to do */
            add_node(m, node, depth, around);
    }
}

static void count(const struct diff_item *item, json_int_t counts[N_FATES])
{
    for (size_t i = 0; i < item->n; i++) {
        const struct diff_node *node = item->nodes[i];

        if (!node->before.there && !node->after.there)
            continue;
        counts[fate_of(node)]++;
        for (size_t k = 0; k < node->n_items; k++)
            count(&node->items[k], counts);
    }
}

json_t *diff_json_counts(const struct diff_tree *tree)
{
    json_int_t counts[N_FATES] = {0};

    count(&tree->meta, counts);
    count(&tree->top, counts);
    return json_pack("{s:I, s:I, s:I, s:I}", fates[KEPT], counts[KEPT], fates[CHANGED],
                     counts[CHANGED], fates[REMOVED], counts[REMOVED], fates[ADDED], counts[ADDED]);
}

int diff_json_each(const struct diff_tree *tree, const struct diff_shown *shown,
                   int (*each)(void *ctx, const json_t *element), void *ctx)
{
    struct making m = {.shown = shown, .each = each, .ctx = ctx};
    const struct around nothing = {0};

    add_item(&m, &tree->meta, 0, &nothing);
    add_item(&m, &tree->top, 0, &nothing);
    buf_fini(&m.path);
    return m.failed ? -1 : m.result;
}
