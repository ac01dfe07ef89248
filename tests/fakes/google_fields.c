/* SPDX-License-Identifier: Apache-2.0 */
/* Partial answers: "kind,items(name,size),nextPageToken", "items/name". */
#include "google.h"

#include <string.h>

#define MAX_DEPTH 8

static int select_into(const json_t *value, const char **text, json_t *to, int depth);

/* The selection of one name's value. */
static json_t *select_below(const json_t *value, const char **text, int depth)
{
    json_t *to, *one, *picked;
    const char *start = *text;
    size_t i;

    if (!json_is_array(value)) {
        to = json_object();
        if (!select_into(value, text, to, depth))
            return to;
        json_decref(to);
        return NULL;
    }
    to = json_array();
    json_array_foreach(value, i, one)
    {
        *text = start;
        picked = select_below(one, text, depth);
        if (!picked) {
            json_decref(to);
            return NULL;
        }
        json_array_append_new(to, picked);
    }
    if (!json_array_size(value)) {
        one = json_object();
        picked = select_below(one, text, depth); /* only to read on */
        json_decref(one);
        if (!picked) {
            json_decref(to);
            return NULL;
        }
        json_decref(picked);
    }
    return to;
}

static int select_one(const json_t *value, const char **text, json_t *to, int depth)
{
    size_t length = strcspn(*text, ",()/");
    char name[128];
    json_t *member, *picked;
    int paren;

    if (!length || length >= sizeof(name) || depth > MAX_DEPTH)
        return -1;
    memcpy(name, *text, length);
    name[length] = '\0';
    *text += length;
    if (!strcmp(name, "*")) {
        json_object_update(to, (json_t *)(uintptr_t)value);
        return 0;
    }
    member = json_object_get(value, name);
    if (**text != '(' && **text != '/') {
        if (member)
            json_object_set(to, name, member);
        return 0;
    }
    paren = *(*text)++ == '(';
    if (paren) {
        picked = select_below(member, text, depth + 1);
        if (!picked || *(*text)++ != ')') {
            json_decref(picked);
            return -1;
        }
    } else {
        json_t *sub = json_object();

        if (json_is_array(member)) {
            /* items/name is items(name) */
            const char *end = *text + strcspn(*text, ",)");
            char list[256];
            const char *at = list;

            json_decref(sub);
            if ((size_t)(end - *text) >= sizeof(list))
                return -1;
            memcpy(list, *text, (size_t)(end - *text));
            list[end - *text] = '\0';
            *text = end;
            picked = select_below(member, &at, depth + 1);
        } else {
            picked = select_one(member, text, sub, depth + 1) ? (json_decref(sub), NULL) : sub;
        }
        if (!picked)
            return -1;
    }
    if (member)
        json_object_set(to, name, picked);
    json_decref(picked);
    return 0;
}

static int select_into(const json_t *value, const char **text, json_t *to, int depth)
{
    for (;;) {
        if (select_one(value, text, to, depth))
            return -1;
        if (**text != ',')
            return 0;
        ++*text;
    }
}

json_t *fields_select(const json_t *value, const char *fields)
{
    json_t *to = json_object();

    if (!select_into(value, &fields, to, 0) && !*fields)
        return to;
    json_decref(to);
    return NULL;
}
