/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_dicom FILE [OUT] - what the DICOM face sees, for judges that are written in another
 * language: one JSON array for each element, and the file as a store would write it to OUT.
 *
 *   [[tag, item, ..., tag], "VR", length, "creator" or null, "text" or null, "hex" or null]
 *
 * A file that does not open gives one line: {"refused": code}.
 */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "dicom/dicom.h"

#define MAX_HEX 4096 /* bytes of a value that are shown */

struct show {
    struct sendit_dataset *parents[DICOM_MAX_DEPTH + 2];
    uint32_t tags[DICOM_MAX_DEPTH + 2];
    size_t items[DICOM_MAX_DEPTH + 2];
};

static json_t *hex_of(const void *value, size_t length)
{
    char text[2 * MAX_HEX + 1];

    if (!value || length > MAX_HEX)
        return json_null();
    for (size_t i = 0; i < length; i++)
        snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)value)[i]);
    text[2 * length] = '\0';
    return json_string(text);
}

static int32_t show(void *ctx, struct sendit_dataset *parent, const struct sendit_element *element)
{
    struct show *at = ctx;
    uint32_t depth = element->depth;
    json_t *line = json_array(), *path = json_array();
    const char *text = NULL;

    if (at->parents[depth] != parent) { /* the next item of the sequence above */
        if (depth)
            at->items[depth] = at->parents[depth] ? at->items[depth] + 1 : 0;
        at->parents[depth] = parent;
    }
    at->tags[depth] = element->tag;
    at->parents[depth + 1] = NULL;
    for (uint32_t i = 0; i <= depth; i++) {
        if (i)
            json_array_append_new(path, json_integer((json_int_t)at->items[i]));
        json_array_append_new(path, json_integer(at->tags[i]));
    }
    json_array_append_new(line, path);
    json_array_append_new(line, json_string(element->vr));
    json_array_append_new(line, json_integer((json_int_t)element->length));
    json_array_append_new(line, element->creator ? json_string(element->creator) : json_null());
    if (dicom_get(parent, element->tag, &text))
        text = NULL;
    json_array_append_new(line, text ? json_string(text) : json_null());
    json_array_append_new(line, hex_of(element->value, (size_t)element->length));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
    return SENDIT_KEEP;
}

static int write_part(int out, const struct sendit_part *part)
{
    static char block[1 << 16];
    uint64_t done = 0;

    if (part->data)
        return file_write_all(out, part->data, (size_t)part->length);
    while (done < part->length) {
        size_t want =
            part->length - done < sizeof(block) ? (size_t)(part->length - done) : sizeof(block);
        ssize_t n = pread(part->fd, block, want, (off_t)(part->offset + done));

        if (n <= 0 || file_write_all(out, block, (size_t)n))
            return -1;
        done += (uint64_t)n;
    }
    return 0;
}

static int write_view(struct sendit_dataset *ds, const char *path)
{
    const struct sendit_file *file;
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), bad;

    bad = out < 0 || dicom_view(ds, &file);
    for (uint32_t i = 0; !bad && i < file->n_parts; i++)
        bad = write_part(out, &file->parts[i]);
    if (out >= 0)
        close(out);
    return bad ? -1 : 0;
}

int main(int argc, char **argv)
{
    const struct dicom_limits limits = {.max_inflate = 256u << 20};
    struct dicom_refusal refusal;
    struct dicom_object *object;
    struct show at = {0};
    struct err err = {0};
    struct dicom *dicom;
    struct stat st;
    int bad = 0;

    if (argc < 2)
        return 2;
    dicom = dicom_new(&limits, "/tmp", &err);
    if (!dicom) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (dicom_open(dicom, argv[1], &object, &st, &refusal)) {
        printf("{\"refused\":\"%s\"}\n", refusal.code);
    } else {
        dicom_begin(object, false);
        bad = dicom_walk(dicom_dataset(object), show, &at) ||
              (argc > 2 && write_view(dicom_dataset(object), argv[2]));
        dicom_end(object, true);
        dicom_close(object);
    }
    dicom_free(dicom);
    return bad ? 1 : 0;
}
