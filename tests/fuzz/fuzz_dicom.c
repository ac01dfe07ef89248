/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole DICOM face: any bytes as a file.  What opens must be written as a file that opens too,
 * shows the same elements and is written as the same bytes; edits that are taken back leave no
 * trace; no walk goes deeper than the limit.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "dicom/dicom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dicom *dicom;
static bool odd; /* values of odd length were seen, which are padded when they are written */
static char folder[64] = "/dev/shm/fuzz_dicom.XXXXXX", path[96];

static void set_up(void)
{
    const struct dicom_limits limits = {.max_inflate = 1u << 20};
    struct err err = {0};

    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof(path), "%s/file", folder);
    dicom = dicom_new(&limits, folder, &err);
    if (!dicom)
        abort();
}

static void write_file(const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || file_write_all(fd, data, size) || close(fd))
        abort();
}

/* Notes all that a visitor sees, and asks for the element in the other ways, too. */
static int32_t note(void *ctx, struct sendit_dataset *parent, const struct sendit_element *element)
{
    struct buf *seen = ctx;
    const char *text;
    const void *bytes;
    size_t length;
    sendit_result got = dicom_get(parent, element->tag, &text);

    if (element->depth > DICOM_MAX_DEPTH)
        abort();
    odd = odd || (element->value && element->length & 1);
    buf_printf(seen, "%u %08x %s %s %llu %d ", element->depth, element->tag, element->vr,
               element->creator ? element->creator : "-", (unsigned long long)element->length, got);
    if (!got)
        buf_str(seen, text);
    if (element->value)
        buf_add(seen, element->value, (size_t)element->length);
    if (!dicom_bytes(parent, element->tag, &bytes, &length))
        buf_add(seen, bytes, length);
    buf_str(seen, "\n");
    return SENDIT_KEEP;
}

static int32_t ruin(void *ctx, struct sendit_dataset *parent, const struct sendit_element *element)
{
    unsigned *n = ctx;

    switch ((*n)++ % 5) {
    case 0:
        return SENDIT_ERASE;
    case 1:
        return SENDIT_EMPTY;
    case 2:
        dicom_put(parent, element->tag, "1");
        return SENDIT_KEEP;
    case 3:
        dicom_put(parent, 0x00100010, "Edited^Name");
        dicom_put_as(parent, 0x00090001, "SENDIT", "LO", "x", 1);
        return SENDIT_KEEP;
    default:
        return SENDIT_KEEP;
    }
}

static void take_view(struct dicom_object *object, struct buf *out)
{
    const struct sendit_file *file;

    if (dicom_view(dicom_dataset(object), &file))
        abort();
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (part->data) {
            buf_add(out, part->data, (size_t)part->length);
            continue;
        }
        if (!buf_reserve(out, (size_t)part->length) ||
            pread(part->fd, out->data + out->len, (size_t)part->length, (off_t)part->offset) !=
                (ssize_t)part->length)
            abort();
        out->len += (size_t)part->length;
    }
    if (out->failed || out->len != file->total)
        abort();
}

static int look(struct buf *seen, struct buf *bytes)
{
    struct dicom_object *object;
    struct dicom_refusal refusal;
    struct buf again = {0};
    struct stat st;
    const char *json;
    unsigned n = 0;

    if (dicom_open(dicom, path, &object, &st, &refusal)) {
        if (!refusal.code[0] || !refusal.text[0] || !refusal.what)
            abort();
        return -1;
    }
    dicom_begin(object, false);
    if (dicom_walk(dicom_dataset(object), note, seen))
        abort();
    dicom_json(dicom_dataset(object), &json);
    take_view(object, bytes);
    if (dicom_end(object, true))
        abort();
    dicom_begin(object, true);
    dicom_walk(dicom_dataset(object), ruin, &n);
    if (dicom_end(object, false))
        abort();
    dicom_begin(object, false);
    take_view(object, &again);
    if (again.len != bytes->len || memcmp(again.data, bytes->data, again.len))
        abort();
    dicom_end(object, true);
    dicom_close(object);
    buf_fini(&again);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf seen[2] = {{0}, {0}}, bytes[2] = {{0}, {0}};

    if (!dicom)
        set_up();
    odd = false;
    write_file(data, size);
    if (!look(&seen[0], &bytes[0])) {
        write_file(bytes[0].data, bytes[0].len);
        if (look(&seen[1], &bytes[1]))
            abort();
        if (!odd && (seen[0].len != seen[1].len || memcmp(seen[0].data, seen[1].data, seen[0].len)))
            abort();
        if (bytes[0].len != bytes[1].len || memcmp(bytes[0].data, bytes[1].data, bytes[0].len))
            abort();
    }
    for (int i = 0; i < 2; i++) {
        buf_fini(&seen[i]);
        buf_fini(&bytes[i]);
    }
    return 0;
}
