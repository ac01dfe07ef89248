/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_pixels.c - pixel data whose attributes, offset table and fragments are whatever they are:
 * what of them is ours to judge, which is all but the codecs of others.  The first bytes choose the
 * attributes; what is blanked must be black when it is shown.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/make_dicom.h"
#include "dicom/dicom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RLE_UID "1.2.840.10008.1.2.5"
#define CHOICES 12

static void describe(struct maker *m, const uint8_t *choice)
{
    static const char *const kinds[] = {"MONOCHROME1", "MONOCHROME2",  "PALETTE COLOR", "RGB",
                                        "YBR_FULL",    "YBR_FULL_422", "YBR_RCT",       "CMYK"};
    static const unsigned bits[] = {1, 8, 16, 32};
    unsigned allocated = bits[choice[2] % 4];
    char frames[8];

    snprintf(frames, sizeof(frames), "%d", choice[7] % 5);
    make_us(m, 0x00280002, choice[1] % 5);
    make_text(m, 0x00280004, "CS", kinds[choice[3] % 8]);
    make_us(m, 0x00280006, choice[4] % 3);
    make_text(m, 0x00280008, "IS", frames);
    make_us(m, 0x00280010, choice[5] % 40);
    make_us(m, 0x00280011, choice[6] % 40);
    make_us(m, 0x00280100, allocated);
    make_us(m, 0x00280101, choice[8] % 4 ? allocated : choice[8] / 4);
    make_us(m, 0x00280102, choice[9] % 4 ? allocated - 1 : choice[9] / 4);
    make_us(m, 0x00280103, choice[10] % 3);
}

static void add_palette(struct maker *m, const uint8_t *data, size_t size)
{
    for (uint32_t i = 0; i < 3; i++) {
        make_header(m, 0x00281101 + i, "US", 6);
        make_u16(m, (unsigned)size / 2);
        make_u16(m, data[0]);
        make_u16(m, data[1] % 2 ? 8 : 16);
    }
    for (uint32_t i = 0; i < 3; i++)
        make_element(m, 0x00281201 + i, "OW", data, size / 2 * 2);
}

/* Fragments: a byte of length before each. */
static void add_fragments(struct maker *m, const uint8_t *data, size_t size)
{
    make_header(m, 0x7fe00010, "OB", UNDEFINED_LENGTH);
    while (size) {
        size_t n = (size_t)data[0] * 2 < size - 1 ? (size_t)data[0] * 2 : (size - 1) / 2 * 2;

        make_element(m, ITEM_TAG, "", data + 1, n);
        data += n + 1;
        size -= n + 1;
    }
    make_header(m, SEQUENCE_END_TAG, "", 0);
}

static void look(struct sendit_dataset *ds)
{
    const struct sendit_box box = {0, 0, 2, 2};
    const struct sendit_frame *frame = NULL;
    const struct sendit_file *file = NULL;
    uint32_t n = 0;

    if (dicom_frames(ds, &n) != SENDIT_OK)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (dicom_frame(ds, i, &frame) == SENDIT_OK && frame->samples == 3 && frame->bits == 8)
            (void)((volatile const uint8_t *)frame->data)[frame->rows * frame->columns * 3 - 1];
    if (dicom_blank(ds, SENDIT_ALL_FRAMES, &box) != SENDIT_OK)
        return;
    if (dicom_view(ds, &file) != SENDIT_OK)
        abort();
    for (uint32_t i = 0; i < n; i++)
        if (dicom_frame(ds, i, &frame) != SENDIT_OK)
            abort(); /* what was blanked is native, and can be shown */
}

static char path[64];

static void clean(void)
{
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const syntaxes[] = {EXPLICIT, RLE_UID, BIG_ENDIAN_UID, RLE_UID};
    static const struct dicom_limits limits = {.max_inflate = 1 << 20};
    static struct dicom *dicom;
    struct dicom_object *object = NULL;
    struct dicom_refusal refusal;
    struct maker m = {0};
    struct err err = {0};
    struct stat st;
    int fd;

    if (!dicom) {
        dicom = dicom_new(&limits, "/dev/shm", &err);
        snprintf(path, sizeof(path), "/dev/shm/fuzz_pixels.%d", (int)getpid());
        atexit(clean);
    }
    if (!dicom || size < CHOICES + 2)
        return 0;
    make_meta(&m, syntaxes[data[0] % 4]);
    make_identity(&m);
    describe(&m, data);
    if (data[3] % 8 == 2)
        add_palette(&m, data + CHOICES, size - CHOICES);
    if (data[0] % 2)
        add_fragments(&m, data + CHOICES, size - CHOICES);
    else
        make_element(&m, 0x7fe00010, "OW", data + CHOICES, (size - CHOICES) / 2 * 2);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (m.buf.failed || fd < 0 || write(fd, m.buf.data, m.buf.len) != (ssize_t)m.buf.len)
        abort();
    close(fd);
    if (!dicom_open(dicom, path, &object, &st, &refusal)) {
        dicom_begin(object, true);
        look(dicom_dataset(object));
        if (dicom_end(object, data[11] & 1))
            abort();
        look(dicom_dataset(object));
        dicom_close(object);
    }
    buf_fini(&m.buf);
    return 0;
}
