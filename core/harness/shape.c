/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/shape.h"

#include <string.h>

#include "base/near.h"

/* Is the first word of `text` among those of `words`, "PASS|FAIL"? */
static bool is_among(const char *text, const char *words)
{
    size_t n = strcspn(text, " ");

    for (const char *at = words; *at;) {
        size_t length = strcspn(at, "|");

        if (length == n && !strncmp(at, text, n))
            return true;
        at += length + (at[length] == '|');
    }
    return false;
}

static int expected(const struct json_doc *doc, const struct json_node *node, const char *what,
                    struct err *err)
{
    return json_doc_error(doc, node, err, "%s was expected, this is %s", what,
                          json_doc_kind(node->value));
}

static int check_each(const struct json_doc *doc, struct json_node *node, bool number,
                      struct err *err)
{
    for (struct json_node *child = node->first; child; child = child->next) {
        if (number && !json_is_integer(child->value))
            return expected(doc, child, "a whole number", err);
        if (!number && !json_is_string(child->value))
            return expected(doc, child, "text", err);
    }
    return 0;
}

static int check_maps(const struct json_doc *doc, struct json_node *node, struct err *err)
{
    if (!json_is_object(node->value))
        return expected(doc, node, "an object", err);
    for (struct json_node *child = node->first; child; child = child->next) {
        if (!json_is_object(child->value))
            return expected(doc, child, "an object", err);
        if (check_each(doc, child, false, err))
            return -1;
    }
    return 0;
}

static int check_inner(const struct json_doc *doc, struct json_node *node,
                       const struct shape *shape, struct err *err)
{
    for (struct json_node *child = node->first; child; child = child->next)
        if (shape_check(doc, child, shape->inner, err))
            return -1;
    return 0;
}

static int check_value(const struct json_doc *doc, struct json_node *node,
                       const struct shape *shape, struct err *err)
{
    const json_t *value = node->value;

    switch (shape->kind) {
    case SHAPE_ANY:
        return 0;
    case SHAPE_TEXT:
        if (!json_is_string(value))
            return expected(doc, node, "text", err);
        if (shape->words && !is_among(json_string_value(value), shape->words))
            return json_doc_error(doc, node, err, "one of %s was expected", shape->words);
        return 0;
    case SHAPE_NUMBER:
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return expected(doc, node, "a whole number", err);
        return 0;
    case SHAPE_BOOLEAN:
        return json_is_boolean(value) ? 0 : expected(doc, node, "true or false", err);
    case SHAPE_TEXTS:
        return json_is_array(value) ? check_each(doc, node, false, err)
                                    : expected(doc, node, "an array of text", err);
    case SHAPE_MAP:
    case SHAPE_NUMBERS:
        return json_is_object(value) ? check_each(doc, node, shape->kind == SHAPE_NUMBERS, err)
                                     : expected(doc, node, "an object", err);
    case SHAPE_MAPS:
        return check_maps(doc, node, err);
    case SHAPE_OBJECT:
        return shape_check(doc, node, shape->inner, err);
    case SHAPE_OBJECTS:
        return json_is_object(value) ? check_inner(doc, node, shape, err)
                                     : expected(doc, node, "an object", err);
    case SHAPE_ARRAY:
        return json_is_array(value) ? check_inner(doc, node, shape, err)
                                    : expected(doc, node, "an array", err);
    }
    return 0;
}

int shape_check(const struct json_doc *doc, struct json_node *object, const struct shape *shapes,
                struct err *err)
{
    if (!json_is_object(object->value))
        return expected(doc, object, "an object", err);
    for (struct json_node *child = object->first; child; child = child->next) {
        const struct shape *shape = shapes;
        struct near near;
        char hint[128];

        near_start(&near, child->key);
        while (shape->key && strcmp(shape->key, child->key))
            near_try(&near, shape++->key);
        if (!shape->key)
            return json_doc_key_error(doc, child, err, "there is no such key%s",
                                      near_hint(&near, hint, sizeof(hint)));
        if (check_value(doc, child, shape, err))
            return -1;
    }
    for (const struct shape *shape = shapes; shape->key; shape++)
        if (shape->required && !json_object_get(object->value, shape->key))
            return json_doc_error(doc, object, err, "\"%s\" is missing here", shape->key);
    return 0;
}
