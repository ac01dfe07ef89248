/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

#define MAX_TEXT 4096 /* bytes that are shown as they are */
#define CONTEXT 3
#define MAX_LINES 4000 /* of one side; beyond, both are shown whole */

static bool is_text(const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)data[i] < ' ' && !strchr("\t\r\n", data[i]))
            return false;
    return length <= MAX_TEXT && !memchr(data, '\0', length);
}

json_t *text_sum(const void *data, size_t length)
{
    char hex[DIGEST_HEX];

    if (digest_of(data, length, hex))
        return NULL;
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)length, "sha256", hex);
}

json_t *text_bytes(const void *data, size_t length)
{
    json_t *text = NULL;

    if (!length)
        return json_string("");
    if (is_text(data, length))
        text = json_stringn(data, length);
    return text ? text : text_sum(data, length);
}

json_t *text_json(const char *text)
{
    return text ? text_bytes(text, strlen(text)) : json_null();
}

/* ---- in one order ---- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_ordered(const char *key, const char *const *order)
{
    while (*order && strcmp(*order, key))
        order++;
    return *order != NULL;
}

static json_t *arrange(const json_t *json, const char *const *order);

static json_t *arrange_object(const json_t *json, const char *const *order)
{
    const char **rest = calloc(json_object_size(json) + 1, sizeof(*rest)), *key;
    json_t *object = json_object(), *value;
    size_t n = 0;
    int bad = !rest || !object;

    for (const char *const *at = order; !bad && *at; at++) {
        value = json_object_get(json, *at);
        bad = value && json_object_set_new(object, *at, arrange(value, order));
    }
    json_object_foreach((json_t *)(uintptr_t)json, key, value) if (!bad && !is_ordered(key, order))
        rest[n++] = key;
    if (n)
        qsort(rest, n, sizeof(*rest), by_bytes);
    for (size_t i = 0; !bad && i < n; i++)
        bad = json_object_set_new(object, rest[i], arrange(json_object_get(json, rest[i]), order));
    free(rest);
    if (bad) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

static json_t *arrange(const json_t *json, const char *const *order)
{
    json_t *array, *value;
    size_t i;

    if (json_is_object(json))
        return arrange_object(json, order);
    if (!json_is_array(json))
        return json_incref((json_t *)(uintptr_t)json);
    array = json_array();
    json_array_foreach(json, i,
                       value) if (array && json_array_append_new(array, arrange(value, order)))
    {
        json_decref(array);
        array = NULL;
    }
    return array;
}

char *text_dump(const json_t *json, const char *const *order)
{
    json_t *arranged = arrange(json, order);
    char *text = arranged ? json_dumps(arranged, JSON_INDENT(2)) : NULL;

    json_decref(arranged);
    return text;
}

/* ---- what differs ---- */

struct lines {
    const char **at;
    size_t *length;
    size_t n;
};

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; *text; n++) {
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return n;
}

static bool split(const char *text, struct lines *lines)
{
    size_t n = count_lines(text);

    lines->at = calloc(n + 1, sizeof(*lines->at));
    lines->length = calloc(n + 1, sizeof(*lines->length));
    if (!lines->at || !lines->length)
        return false;
    for (lines->n = 0; lines->n < n; lines->n++) {
        size_t length = strcspn(text, "\n");

        lines->at[lines->n] = text;
        lines->length[lines->n] = length;
        text += length + (text[length] == '\n');
    }
    return true;
}

static bool equal(const struct lines *a, size_t i, const struct lines *b, size_t j)
{
    return a->length[i] == b->length[j] && !memcmp(a->at[i], b->at[j], a->length[i]);
}

/* The longest common subsequence of what is left of both, by which the shortest diff goes. */
static void measure(const struct lines *a, const struct lines *b, unsigned short *common)
{
    size_t width = b->n + 1;

    for (size_t i = a->n; i-- > 0;)
        for (size_t j = b->n; j-- > 0;) {
            unsigned short down = common[(i + 1) * width + j], right = common[i * width + j + 1];

            common[i * width + j] = equal(a, i, b, j)
                                        ? (unsigned short)(common[(i + 1) * width + j + 1] + 1)
                                        : (down > right ? down : right);
        }
}

/* One line of the diff. */
struct change {
    char sign; /* ' ', '-' or '+' */
    const char *at;
    size_t length;
};

static size_t list_changes(const struct lines *a, const struct lines *b,
                           const unsigned short *common, struct change *changes)
{
    size_t i = 0, j = 0, n = 0, width = b->n + 1;

    while (i < a->n || j < b->n) {
        if (i < a->n && j < b->n && equal(a, i, b, j)) {
            changes[n++] = (struct change){' ', a->at[i], a->length[i]};
            i++, j++;
        } else if (i < a->n &&
                   (j == b->n || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
            changes[n++] = (struct change){'-', a->at[i], a->length[i]};
            i++;
        } else {
            changes[n++] = (struct change){'+', b->at[j], b->length[j]};
            j++;
        }
    }
    return n;
}

static bool is_near(const struct change *changes, size_t n, size_t i)
{
    size_t from = i > CONTEXT ? i - CONTEXT : 0, to = i + CONTEXT < n ? i + CONTEXT : n - 1;

    for (size_t k = from; k <= to; k++)
        if (changes[k].sign != ' ')
            return true;
    return false;
}

static void print(const struct change *changes, size_t n, struct buf *ret_diff)
{
    bool gap = false;

    for (size_t i = 0; i < n; i++) {
        if (!is_near(changes, n, i)) {
            gap = true;
            continue;
        }
        if (gap)
            buf_str(ret_diff, "  ...\n");
        gap = false;
        buf_add(ret_diff, &changes[i].sign, 1);
        buf_str(ret_diff, " ");
        buf_add(ret_diff, changes[i].at, changes[i].length);
        buf_str(ret_diff, "\n");
    }
}

void text_diff(const char *expected, const char *found, struct buf *ret_diff)
{
    struct lines a = {0}, b = {0};
    unsigned short *common = NULL;
    struct change *changes = NULL;

    if (!strcmp(expected, found))
        return;
    if (!split(expected, &a) || !split(found, &b))
        goto out;
    if (a.n > MAX_LINES || b.n > MAX_LINES) {
        buf_printf(ret_diff, "expected:\n%s\nfound:\n%s\n", expected, found);
        goto out;
    }
    common = calloc((a.n + 1) * (b.n + 1), sizeof(*common));
    changes = calloc(a.n + b.n + 1, sizeof(*changes));
    if (common && changes) {
        measure(&a, &b, common);
        print(changes, list_changes(&a, &b, common, changes), ret_diff);
    }
out:
    if (!ret_diff->len)
        buf_str(ret_diff, "they differ, and there is no memory to say where\n");
    free(common);
    free(changes);
    free(a.at);
    free(a.length);
    free(b.at);
    free(b.length);
}
