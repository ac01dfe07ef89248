/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/diff_show.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define DIGITS 12 /* of a digest, that people compare by eye */

const char *diff_word(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* A mark of Unicode that is not seen and that turns or hides what is: U+061C, U+200B to U+200F,
 * U+202A to U+202E, U+2060 to U+2069, U+FEFF.  0 if there is none here; each has two or three
 * bytes. */
static unsigned unseen(const unsigned char *at)
{
    unsigned code;

    if (at[0] == 0xd8 && at[1] == 0x9c)
        return 0x061c;
    if ((at[0] & 0xf0) != 0xe0 || (at[1] & 0xc0) != 0x80 || (at[2] & 0xc0) != 0x80)
        return 0;
    code = (at[0] & 0x0fu) << 12 | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu);
    return (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) ||
                   (code >= 0x2060 && code <= 0x2069) || code == 0xfeff
               ? code
               : 0;
}

static void add_plain(struct buf *buf, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        unsigned code = unseen(at);

        if (code) {
            buf_printf(buf, "\\u%04X", code);
            at += code < 0x800 ? 2 : 3;
        } else if (*at < ' ' || *at == 127) {
            buf_printf(buf, "\\x%02x", *at++);
        } else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) {
            buf_printf(buf, "\\x%02x", at[1]);
            at += 2;
        } else {
            buf_add(buf, at++, 1);
        }
    }
}

static char *take(struct buf *buf)
{
    buf_str(buf, "");
    return buf_take(buf);
}

char *diff_plain(const char *text)
{
    struct buf buf = {0};

    add_plain(&buf, text);
    return take(&buf);
}

char *diff_name(const json_t *file)
{
    const char *path = diff_word(file, "path");
    struct buf buf = {0};

    if (!json_is_true(json_object_get(file, "found"))) {
        add_plain(&buf, diff_word(file, "file"));
        return take(&buf);
    }
    if (*path) {
        add_plain(&buf, path);
        return take(&buf);
    }
    add_plain(&buf, diff_word(file, "file"));
    buf_printf(&buf, ", file %lld", (long long)json_integer_value(json_object_get(file, "number")));
    return take(&buf);
}

char *diff_fate(const json_t *file)
{
    static const char *const words[][2] = {
        {"stored", "would be stored"},           {"checked", "would be checked"},
        {"quarantined", "would be quarantined"}, {"failed", "would fail"},
        {"ignored", "would be ignored"},         {"retry", "would be tried again"}};
    const char *fate = diff_word(file, "fate"), *stage = diff_word(file, "stage");
    const char *unseen = diff_word(file, "unseen");
    struct buf buf = {0};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strcmp(fate, words[i][0]))
            buf_str(&buf, words[i][1]);
    if (*stage) {
        buf_printf(&buf, ": %s ", stage);
        add_plain(&buf, diff_word(file, "code"));
        buf_str(&buf, ": ");
        add_plain(&buf, diff_word(file, "text"));
    } else if (*unseen) {
        buf_printf(&buf, " if %s passes it; it was not called, and its edits are not shown",
                   unseen);
    }
    return take(&buf);
}

char *diff_value(const json_t *value)
{
    const char *text = json_string_value(json_object_get(value, "value"));
    const char *digest = json_string_value(json_object_get(value, "sha256"));
    const json_t *items = json_object_get(value, "items");
    long long length = (long long)json_integer_value(json_object_get(value, "length"));
    struct buf buf = {0};

    if (!json_is_object(value)) {
        buf_str(&buf, "-");
    } else if (items) {
        buf_printf(&buf, "%lld %s", (long long)json_integer_value(items),
                   json_integer_value(items) == 1 ? "item" : "items");
    } else if (text) {
        buf_str(&buf, "\"");
        add_plain(&buf, text);
        buf_str(&buf, json_is_true(json_object_get(value, "cut")) ? "...\"" : "\"");
    } else {
        buf_printf(&buf, "%lld bytes", length);
        if (json_is_true(json_object_get(value, "masked")))
            buf_str(&buf, ", masked");
        if (digest)
            buf_printf(&buf, ", sha256 %.*s", DIGITS, digest);
    }
    return take(&buf);
}

static void add_rule(struct buf *buf, const json_t *by)
{
    const char *path = diff_word(by, "file"), *slash = strrchr(path, '/');
    const char *rule = diff_word(by, "rule"), *note = diff_word(by, "note");
    const char *of = diff_word(by, "of");

    if (*of)
        buf_printf(buf, "with %s: ", of);
    if (*path) {
        add_plain(buf, slash ? slash + 1 : path);
        buf_printf(buf, ":%lld ", (long long)json_integer_value(json_object_get(by, "line")));
    }
    if (*rule)
        add_plain(buf, rule);
    else
        buf_printf(buf, "%s edited it", diff_word(by, "stage"));
    if (*note)
        buf_printf(buf, " (%s)", note);
}

char *diff_rules(const json_t *element)
{
    struct buf buf = {0};
    size_t i;
    json_t *by;

    json_array_foreach(json_object_get(element, "by"), i, by)
    {
        if (i)
            buf_str(&buf, "; ");
        add_rule(&buf, by);
    }
    return take(&buf);
}

char *diff_verdict(const json_t *stage)
{
    const char *not_called = diff_word(stage, "not_called"), *code = diff_word(stage, "code");
    struct buf buf = {0};

    if (*not_called)
        buf_printf(&buf, "not called: %s", not_called);
    else
        buf_str(&buf, diff_word(stage, "verdict"));
    if (*code) {
        buf_str(&buf, " ");
        add_plain(&buf, code);
    }
    return take(&buf);
}

bool diff_ended(const json_t *file)
{
    const char *fate = diff_word(file, "fate");
    const json_t *counts = json_object_get(file, "counts");

    return strcmp(fate, "stored") != 0 && strcmp(fate, "checked") != 0 &&
           json_integer_value(json_object_get(counts, "kept"));
}

char *diff_labels(const json_t *labels)
{
    struct buf buf = {0};
    size_t i;
    json_t *label;

    json_array_foreach(labels, i, label)
        buf_printf(&buf, "%s%s", i ? " " : "", json_string_value(label));
    return take(&buf);
}

const char *diff_note(const struct diff_about *about, size_t index)
{
    const char *notes[3] = {0};
    size_t n = 0;

    if (about->makeshift)
        notes[n++] = "There is no site key yet, and none was made: new values come from a key for "
                     "this answer alone, and those of a run will be others.";
    if (about->originals)
        notes[n++] = "VALUES OF PATIENTS ARE SHOWN: keep this as you keep the images.";
    else
        notes[n++] = "Values of the original are masked; --show-originals shows them.";
    return index < n ? notes[index] : NULL;
}
