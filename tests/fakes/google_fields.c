/* SPDX-License-Identifier: Apache-2.0 */
/* Partial answers: "kind,items(name,size),nextPageToken", "items/name". */
#include "google.h"

#include <string.h>

#define MAX_DEPTH 8

/* Reads on in *text, and adds to `to` what it says of the value; -1: it is no selection. */
typedef int select_fn(const json_t *value, const char **text, json_t *to, int depth);
static select_fn select_list;

static json_t *select_object(const json_t *value, const char **text, select_fn *read, int depth)
{
    json_t *to = json_object();

    if (!read(value, text, to, depth))
        return to;
    json_decref(to);
    return NULL;
}

/* The selection of one name's value; of an array, of each element.  NULL: it is none. */
static json_t *select_below(const json_t *value, const char **text, select_fn *read, int depth)
{
    const char *start = *text;
    json_t *to, *one, *picked;
    size_t i;

    /* Of what is not there it is only read, to see where it ends. */
    if (!json_array_size(value))
        return select_object(json_is_array(value) ? NULL : value, text, read, depth);
    to = json_array();
    json_array_foreach((json_t *)(uintptr_t)value, i, one)
    {
        *text = start;
        picked = select_object(one, text, read, depth);
        if (!picked) {
            json_decref(to);
            return NULL;
        }
        json_array_append_new(to, picked);
    }
    return to;
}

static int select_one(const json_t *value, const char **text, json_t *to, int depth)
{
    size_t length = strcspn(*text, ",()/");
    char name[128];
    json_t *member, *picked;
    int whole;

    if (!length || length >= sizeof(name) || depth > MAX_DEPTH)
        return -1;
    memcpy(name, *text, length);
    name[length] = '\0';
    *text += length;
    if (!strcmp(name, "*")) {
        if (json_is_object(value))
            json_object_update(to, (json_t *)(uintptr_t)value);
        return 0;
    }
    member = json_object_get(value, name);
    if (**text != '(' && **text != '/') {
        if (member)
            json_object_set(to, name, member);
        return 0;
    }
    if (*(*text)++ == '/') {
        picked = select_below(member, text, select_one, depth + 1);
        whole = picked != NULL;
    } else {
        picked = select_below(member, text, select_list, depth + 1);
        whole = picked && *(*text)++ == ')';
    }
    if (whole && member)
        json_object_set(to, name, picked);
    json_decref(picked);
    return whole ? 0 : -1;
}

static int select_list(const json_t *value, const char **text, json_t *to, int depth)
{
    while (!select_one(value, text, to, depth)) {
        if (**text != ',')
            return 0;
        ++*text;
    }
    return -1;
}

json_t *fields_select(const json_t *value, const char *fields)
{
    json_t *to = json_object();

    if (!select_list(value, &fields, to, 0) && !*fields)
        return to;
    json_decref(to);
    return NULL;
}
