/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "harness/text.h"

#define MAX_SHOWN 32 /* bytes of a binary value that are shown */

/* The elements of one level, in order. */
struct level {
    uint32_t *tags;
    bool *sequence, *on_disk;
    size_t n, room;
    bool failed;
};

static int32_t note(void *ctx, struct sendit_dataset *parent, const struct sendit_element *element)
{
    struct level *level = ctx;

    (void)parent;
    if (level->n == level->room) {
        size_t room = level->room ? 2 * level->room : 64;
        void *tags = realloc(level->tags, room * sizeof(*level->tags)), *sequence, *on_disk;

        if (tags)
            level->tags = tags;
        sequence = realloc(level->sequence, room * sizeof(*level->sequence));
        if (sequence)
            level->sequence = sequence;
        on_disk = realloc(level->on_disk, room * sizeof(*level->on_disk));
        if (on_disk)
            level->on_disk = on_disk;
        if (!tags || !sequence || !on_disk) {
            level->failed = true;
            return SENDIT_STOP;
        }
        level->room = room;
    }
    level->tags[level->n] = element->tag;
    level->sequence[level->n] = !strcmp(element->vr, "SQ");
    level->on_disk[level->n++] = !element->value && element->length;
    return SENDIT_KEEP_WHOLE;
}

static void level_fini(struct level *level)
{
    free(level->tags);
    free(level->sequence);
    free(level->on_disk);
}

static void add_name(struct buf *path, uint32_t tag)
{
    const char *keyword = dicom_keyword(tag);

    if (path->len)
        buf_str(path, ".");
    if (keyword)
        buf_str(path, keyword);
    else
        buf_printf(path, "(%04x,%04x)", (unsigned)(tag >> 16), (unsigned)(tag & 0xffff));
}

/* Text where the face has text, else bytes; what lies on disk is told by the caller. */
static json_t *value_of(struct sendit_dataset *ds, uint32_t tag)
{
    const char *text;
    const void *bytes;
    size_t length;
    char hex[2 * MAX_SHOWN + 1];

    if (dicom_get(ds, tag, &text) == SENDIT_OK)
        return text_json(text);
    if (dicom_bytes(ds, tag, &bytes, &length) != SENDIT_OK)
        return json_string("cannot be read");
    if (length > MAX_SHOWN || !length)
        return text_sum(bytes, length);
    digest_to_hex(bytes, length, hex);
    return json_pack("{s:s}", "hex", hex);
}

/* SHA-256 of the parts; without `memory` of those alone that are ranges of a descriptor. */
static int digest_parts(const struct sendit_file *file, bool memory, char ret_hex[DIGEST_HEX],
                        uint64_t *ret_total)
{
    struct digest *digest = digest_new();
    uint64_t total = 0;
    int bad = !digest;

    for (uint32_t i = 0; !bad && i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];
        uint64_t at = 0;

        if (part->data && !memory)
            continue;
        if (part->data)
            bad = digest_add(digest, part->data, (size_t)part->length);
        while (!bad && !part->data && at < part->length) {
            char block[65536];
            uint64_t left = part->length - at;
            ssize_t n = pread(part->fd, block, left < sizeof(block) ? (size_t)left : sizeof(block),
                              (off_t)(part->offset + at));

            bad = n <= 0 || digest_add(digest, block, (size_t)n);
            at += bad ? 0 : (uint64_t)n;
        }
        total += part->length;
    }
    bad = bad || digest_hex(digest, ret_hex);
    digest_free(digest);
    *ret_total = total;
    return bad ? -1 : 0;
}

/* Pixel data that lies on disk. */
static json_t *pixels_of(struct sendit_dataset *ds)
{
    const struct sendit_file *file;
    char hex[DIGEST_HEX];
    uint64_t total;

    if (dicom_view(ds, &file) != SENDIT_OK || digest_parts(file, false, hex, &total))
        return json_string("cannot be read");
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)total, "sha256", hex);
}

static int look_level(struct sendit_dataset *ds, struct buf *path, unsigned depth, json_t *out);

static int look_items(struct sendit_dataset *ds, uint32_t tag, struct buf *path, unsigned depth,
                      json_t *out)
{
    size_t length = path->len, index = 0;
    struct sendit_dataset *item;
    int result = 0;

    if (!dicom_nested(ds, tag, 0))
        return json_object_set_new(out, path->data, json_string("no items"));
    while (!result && (item = dicom_nested(ds, tag, index))) {
        path->len = length;
        buf_printf(path, "[%zu]", index++);
        result =
            path->failed || depth >= DICOM_MAX_DEPTH ? -1 : look_level(item, path, depth + 1, out);
    }
    return result;
}

static int look_level(struct sendit_dataset *ds, struct buf *path, unsigned depth, json_t *out)
{
    struct level level = {0};
    size_t length = path->len;
    int result = dicom_walk(ds, note, &level) == SENDIT_OK && !level.failed ? 0 : -1;

    for (size_t i = 0; !result && i < level.n; i++) {
        path->len = length;
        add_name(path, level.tags[i]);
        if (path->failed)
            result = -1;
        else if (level.sequence[i])
            result = look_items(ds, level.tags[i], path, depth, out);
        else
            result = json_object_set_new(
                out, path->data, level.on_disk[i] ? pixels_of(ds) : value_of(ds, level.tags[i]));
    }
    path->len = length;
    level_fini(&level);
    return result;
}

json_t *look_at(struct dicom_object *object)
{
    json_t *out = json_object();
    struct buf path = {0};

    if (out && look_level(dicom_dataset(object), &path, 0, out)) {
        json_decref(out);
        out = NULL;
    }
    buf_fini(&path);
    return out;
}

json_t *look_difference(const json_t *before, const json_t *after)
{
    json_t *out = json_object(), *value;
    const char *key;
    int bad = !out;

    json_object_foreach((json_t *)(uintptr_t)after, key,
                        value) if (!bad && !json_equal(json_object_get(before, key), value)) bad =
        json_object_set(out, key, value);
    json_object_foreach((json_t *)(uintptr_t)before, key,
                        value) if (!bad && !json_object_get(after, key)) bad =
        json_object_set_new(out, key, json_null());
    if (bad) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

int look_digest(struct dicom_object *object, char ret_hex[DIGEST_HEX])
{
    const struct sendit_file *file;
    uint64_t total;

    return dicom_view(dicom_dataset(object), &file) == SENDIT_OK
               ? digest_parts(file, true, ret_hex, &total)
               : -1;
}
