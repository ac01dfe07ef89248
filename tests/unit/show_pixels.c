/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_pixels FILE frames OUT             - every frame, one behind the other, to OUT
 * show_pixels FILE blank OUT [I X Y W H]...  - boxes made black (I: a frame, or "all"), then the
 *                                           file as a store would write it to OUT
 *
 * For judges that are written in another language.  One line of JSON says what it is, or
 * {"error": N}; "rss" is the most memory that the process had, in KiB.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "dicom/dicom.h"

static long most_memory(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static sendit_result write_frames(struct sendit_dataset *ds, int out)
{
    const struct sendit_frame *frame = NULL;
    uint32_t n = 0;
    sendit_result r = dicom_frames(ds, &n);

    for (uint32_t i = 0; r == SENDIT_OK && i < n; i++) {
        r = dicom_frame(ds, i, &frame);
        if (r == SENDIT_OK &&
            file_write_all(out, frame->data,
                           (size_t)frame->rows * frame->columns * frame->samples * frame->bits / 8))
            r = SENDIT_EIO;
    }
    if (r == SENDIT_OK && frame)
        printf(
            "{\"frames\":%u,\"rows\":%u,\"columns\":%u,\"samples\":%u,\"bits\":%u,\"rss\":%ld}\n",
            n, frame->rows, frame->columns, frame->samples, frame->bits, most_memory());
    return r;
}

static sendit_result write_part(int out, const struct sendit_part *part)
{
    static char block[1 << 16];
    uint64_t done = 0;

    if (part->data)
        return file_write_all(out, part->data, (size_t)part->length) ? SENDIT_EIO : SENDIT_OK;
    while (done < part->length) {
        uint64_t left = part->length - done;
        size_t want = left < sizeof(block) ? (size_t)left : sizeof(block);
        ssize_t n = pread(part->fd, block, want, (off_t)(part->offset + done));

        if (n <= 0 || file_write_all(out, block, (size_t)n))
            return SENDIT_EIO;
        done += (uint64_t)n;
    }
    return SENDIT_OK;
}

static sendit_result blank(struct sendit_dataset *ds, int out, char **words)
{
    const struct sendit_file *file = NULL;
    sendit_result r = SENDIT_OK;

    for (; r == SENDIT_OK && words[0]; words += 5) {
        uint32_t index =
            !strcmp(words[0], "all") ? SENDIT_ALL_FRAMES : (uint32_t)strtoul(words[0], NULL, 10);
        struct sendit_box box = {
            (uint32_t)strtoul(words[1], NULL, 10), (uint32_t)strtoul(words[2], NULL, 10),
            (uint32_t)strtoul(words[3], NULL, 10), (uint32_t)strtoul(words[4], NULL, 10)};

        r = dicom_blank(ds, index, &box);
    }
    if (r == SENDIT_OK)
        r = dicom_view(ds, &file);
    for (uint32_t i = 0; r == SENDIT_OK && i < file->n_parts; i++)
        r = write_part(out, &file->parts[i]);
    if (r == SENDIT_OK)
        printf("{\"rss\":%ld}\n", most_memory());
    return r;
}

int main(int argc, char **argv)
{
    const struct dicom_limits limits = {.max_inflate = 256u << 20};
    struct dicom_refusal refusal;
    struct dicom_object *object;
    struct err err = {0};
    struct dicom *dicom;
    struct stat st;
    sendit_result r = SENDIT_OK;
    int out;

    if (argc < 4 || (argc - 4) % 5)
        return 2;
    dicom = dicom_new(&limits, "/tmp", &err);
    out = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!dicom || out < 0)
        return 1;
    if (dicom_open(dicom, argv[1], &object, &st, &refusal)) {
        printf("{\"refused\":\"%s\"}\n", refusal.code);
    } else {
        dicom_begin(object, true);
        r = !strcmp(argv[2], "frames") ? write_frames(dicom_dataset(object), out)
                                       : blank(dicom_dataset(object), out, argv + 4);
        if (r != SENDIT_OK)
            printf("{\"error\":%d}\n", r);
        dicom_end(object, true);
        dicom_close(object);
    }
    close(out);
    dicom_free(dicom);
    return 0;
}
