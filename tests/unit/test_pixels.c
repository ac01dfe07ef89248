/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table pixels: who has it, what is refused, and that edits of pixels come and go as others do.
 * What frames look like is judged in tests/system/test_pixels.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "dicom/dicom.h"
#include "fake_link.h"
#include "make_dicom.h"
#include "services/host.h"

#define RLE_UID "1.2.840.10008.1.2.5"
#define JPEG_2000_UID "1.2.840.10008.1.2.4.90"
#define SIDE 4
#define BYTES (SIDE * SIDE)
#define ALL SENDIT_ALL_FRAMES

struct fixture {
    char folder[64];
    struct dicom *dicom;
    struct dicom_object *object;
    struct sendit_dataset *ds;
    const struct sendit_pixels *pixels;
    struct sendit_plugin plugin;
    struct plan_stage stage;
    struct host_env env;
    struct host host; /* of a stage that is in a callback, on this thread */
};

static int setup(void **state)
{
    const struct dicom_limits limits = {.max_inflate = 1 << 20};
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = {0};

    assert_non_null(f);
    log_init(LOG_OFF);
    strcpy(f->folder, "/tmp/test_pixels.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->dicom = dicom_new(&limits, f->folder, &err);
    assert_non_null(f->dicom);
    f->pixels = &host_pixels;
    f->plugin = (struct sendit_plugin){.name = "mine", .flags = SENDIT_PIXELS | SENDIT_MUTATES};
    f->stage = (struct plan_stage){.id = (char *)"mine", .plugin = &f->plugin};
    host_init(&f->host, &f->env, &f->stage);
    host_enter(&f->host);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    host_leave(&f->host);
    host_fini(&f->host);
    dicom_close(f->object);
    dicom_drop_all(f->dicom);
    dicom_free(f->dicom);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

/* ---- images ---- */

/* What says how the pixels are; a test changes what it is about. */
struct image {
    const char *syntax, *photometric, *frames;
    unsigned rows, columns, samples, allocated, stored, high, sign, planar;
    bool without_photometric;
};
static const struct image plain = {EXPLICIT, "MONOCHROME2", NULL, SIDE, SIDE, 1, 8, 8, 7, 0,
                                   0,        false};

static void make_image(struct maker *m, const struct image *image)
{
    make_meta(m, image->syntax);
    make_identity(m);
    make_us(m, 0x00280002, image->samples);
    if (!image->without_photometric)
        make_text(m, 0x00280004, "CS", image->photometric);
    if (image->samples > 1)
        make_us(m, 0x00280006, image->planar);
    if (image->frames)
        make_text(m, 0x00280008, "IS", image->frames);
    make_us(m, 0x00280010, image->rows);
    make_us(m, 0x00280011, image->columns);
    make_us(m, 0x00280100, image->allocated);
    make_us(m, 0x00280101, image->stored);
    make_us(m, 0x00280102, image->high);
    make_us(m, 0x00280103, image->sign);
}

static void open_made(struct fixture *f, struct maker *m, bool may_edit)
{
    struct dicom_refusal refusal = {0};
    char path[128];
    struct stat st;

    dicom_close(f->object);
    f->object = NULL;
    snprintf(path, sizeof(path), "%s/image", f->folder);
    assert_false(m->buf.failed);
    assert_int_equal(file_replace(path, m->buf.data, m->buf.len, 0600), 0);
    buf_fini(&m->buf);
    if (dicom_open(f->dicom, path, &f->object, &st, &refusal))
        fail_msg("%s: %s", refusal.code, refusal.text);
    unlink(path);
    dicom_begin(f->object, may_edit);
    f->ds = dicom_dataset(f->object);
}

/* Native, `length` bytes of 0x55. */
static void open_native(struct fixture *f, const struct image *image, size_t length)
{
    struct maker m = {0};

    make_image(&m, image);
    make_header(&m, 0x7fe00010, image->allocated > 8 ? "OW" : "OB", (uint32_t)length);
    for (size_t i = 0; i < length; i++)
        buf_add(&m.buf, "U", 1);
    open_made(f, &m, true);
}

/* Encapsulated: an offset table and fragments. */
struct piece {
    const void *data;
    size_t length;
};

static void open_fragments(struct fixture *f, const struct image *image, const struct piece *pieces,
                           size_t n)
{
    struct maker m = {0};

    make_image(&m, image);
    make_header(&m, 0x7fe00010, "OB", UNDEFINED_LENGTH);
    for (size_t i = 0; i < n; i++)
        make_element(&m, ITEM_TAG, "", pieces[i].data, pieces[i].length);
    make_header(&m, SEQUENCE_END_TAG, "", 0);
    open_made(f, &m, true);
}

/* An RLE frame of SIDE x SIDE bytes, all of them `value`. */
static struct piece rle_frame(unsigned char value)
{
    static unsigned char frames[256][66];
    unsigned char *frame = frames[value];

    memset(frame, 0, 66);
    frame[0] = 1;
    frame[4] = 64;
    frame[64] = (unsigned char)(257 - BYTES); /* a run */
    frame[65] = value;
    return (struct piece){frame, 66};
}

static void assert_frame(struct fixture *f, uint32_t index, const char *expected)
{
    const struct sendit_frame *frame = NULL;

    assert_int_equal(f->pixels->frame(f->ds, index, &frame), SENDIT_OK);
    assert_int_equal(frame->rows, SIDE);
    assert_int_equal(frame->columns, SIDE);
    assert_int_equal(frame->samples, 1);
    assert_int_equal(frame->bits, 8);
    assert_memory_equal(frame->data, expected, BYTES);
}

static sendit_result blank(struct fixture *f, uint32_t index, uint32_t x, uint32_t y,
                           uint32_t width, uint32_t height)
{
    const struct sendit_box box = {x, y, width, height};

    return f->pixels->blank(f->ds, index, &box);
}

/* The pixel data of the file that a store would get. */
static void read_view(const struct sendit_file *file, char ret_pixels[BYTES])
{
    bool found = false;

    for (uint32_t i = 0; i < file->n_parts; i++)
        if (!file->parts[i].data) {
            assert_int_equal(file->parts[i].length, BYTES);
            assert_int_equal(
                pread(file->parts[i].fd, ret_pixels, BYTES, (off_t)file->parts[i].offset), BYTES);
            found = true;
        }
    assert_true(found);
}

static void assert_written(struct fixture *f, const char *expected)
{
    const struct sendit_file *file = NULL;
    char pixels[BYTES];

    assert_int_equal(dicom_view(f->ds, &file), SENDIT_OK);
    read_view(file, pixels);
    assert_memory_equal(pixels, expected, BYTES);
}

#define WHOLE "UUUUUUUUUUUUUUUU"
#define CORNER "\0\0UU\0\0UUUUUUUUUU"  /* a box of 2 x 2 in the upper left corner */
#define TWO "\0\0UU\0\0UUUU\0\0UU\0\0" /* and one in the lower right */

/* ---- who may ---- */

static void test_gating(void **state)
{
    static const struct {
        uint32_t flags;
        bool has;
    } cases[] = {{SENDIT_PIXELS, true},
                 {SENDIT_PIXELS | SENDIT_MUTATES, true},
                 {SENDIT_READS | SENDIT_MUTATES, false},
                 {0, false}};
    struct sendit_plugin plugin = {.name = "mine"};
    struct plan_stage stage = {.id = (char *)"mine", .plugin = &plugin};
    struct host_env env = {0};
    struct host host;

    (void)state;
    host_init(&host, &env, &stage);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        plugin.flags = cases[i].flags;
        assert_true((SENDIT_SERVICE(&host.host, pixels) != NULL) == cases[i].has);
    }
    host_fini(&host);
}

static void test_no_edit_without_mutates(void **state)
{
    struct fixture *f = *state;

    open_native(f, &plain, BYTES);
    dicom_begin(f->object, false);
    assert_int_equal(blank(f, 0, 0, 0, 2, 2), SENDIT_EDENIED);
    assert_true(dicom_tampered(f->object));
    assert_frame(f, 0, WHOLE);
    assert_written(f, WHOLE);
    assert_int_equal(dicom_end(f->object, true), 0);
}

static void test_missing_arguments(void **state)
{
    struct fixture *f = *state;
    const struct sendit_frame *frame = NULL;
    const struct sendit_box box = {0, 0, 1, 1};
    uint32_t n = 7;

    open_native(f, &plain, BYTES);
    assert_int_equal(f->pixels->count(NULL, &n), SENDIT_EINVAL);
    assert_int_equal(f->pixels->count(f->ds, NULL), SENDIT_EINVAL);
    assert_int_equal(f->pixels->frame(NULL, 0, &frame), SENDIT_EINVAL);
    assert_int_equal(f->pixels->frame(f->ds, 0, NULL), SENDIT_EINVAL);
    assert_int_equal(f->pixels->blank(NULL, 0, &box), SENDIT_EINVAL);
    assert_int_equal(f->pixels->blank(f->ds, 0, NULL), SENDIT_EINVAL);
    assert_int_equal(n, 7);
    assert_null(frame);
}

static void test_frames_that_are_not_there(void **state)
{
    struct fixture *f = *state;
    const struct sendit_frame *frame = NULL;
    struct image image = plain;
    uint32_t n = 7;

    image.frames = "2";
    open_native(f, &image, 2 * BYTES);
    assert_int_equal(f->pixels->count(f->ds, &n), SENDIT_OK);
    assert_int_equal(n, 2);
    assert_frame(f, 1, WHOLE);
    assert_int_equal(f->pixels->frame(f->ds, 2, &frame), SENDIT_EABSENT);
    assert_int_equal(f->pixels->frame(f->ds, ALL, &frame), SENDIT_EABSENT);
    assert_int_equal(blank(f, 2, 0, 0, 1, 1), SENDIT_EABSENT);
    assert_null(frame);
}

static void test_without_pixel_data(void **state)
{
    struct fixture *f = *state;
    const struct sendit_frame *frame = NULL;
    struct maker m = {0};
    uint32_t n = 7;

    make_meta(&m, EXPLICIT);
    make_identity(&m);
    open_made(f, &m, true);
    assert_int_equal(f->pixels->count(f->ds, &n), SENDIT_OK);
    assert_int_equal(n, 0);
    assert_int_equal(f->pixels->frame(f->ds, 0, &frame), SENDIT_EABSENT);
    assert_int_equal(blank(f, ALL, 0, 0, 1, 1), SENDIT_EABSENT);
    open_native(f, &plain, BYTES); /* taken away by the stage itself */
    assert_int_equal(dicom_erase(f->ds, 0x7fe00010), SENDIT_OK);
    assert_int_equal(f->pixels->count(f->ds, &n), SENDIT_OK);
    assert_int_equal(n, 0);
    assert_int_equal(blank(f, ALL, 0, 0, 1, 1), SENDIT_EABSENT);
}

/* ---- edits ---- */

static void test_boxes(void **state)
{
    struct fixture *f = *state;

    open_native(f, &plain, BYTES);
    assert_int_equal(blank(f, 0, 0, 0, 2, 2), SENDIT_OK);
    assert_frame(f, 0, CORNER);
    assert_int_equal(blank(f, ALL, 2, 2, UINT32_MAX, UINT32_MAX), SENDIT_OK);
    assert_frame(f, 0, TWO);
    assert_written(f, TWO);
    assert_true(dicom_edited(f->object));
}

static void test_rollback(void **state)
{
    struct fixture *f = *state;

    open_native(f, &plain, BYTES);
    assert_int_equal(blank(f, 0, 0, 0, 2, 2), SENDIT_OK);
    assert_int_equal(dicom_end(f->object, false), 0);
    assert_frame(f, 0, WHOLE);
    assert_written(f, WHOLE);
    dicom_begin(f->object, true); /* the next stage's stay */
    assert_int_equal(blank(f, 0, 0, 0, 2, 2), SENDIT_OK);
    assert_int_equal(dicom_end(f->object, true), 0);
    assert_written(f, CORNER);
    dicom_begin(f->object, true); /* one's after it do not */
    assert_int_equal(blank(f, 0, 2, 2, 2, 2), SENDIT_OK);
    assert_written(f, TWO);
    assert_int_equal(dicom_end(f->object, false), 0);
    assert_written(f, CORNER);
    assert_frame(f, 0, CORNER);
}

/* What was kept stays as it was, whatever is blanked later. */
static void test_kept_files(void **state)
{
    struct fixture *f = *state;
    const struct sendit_file *first = NULL, *second = NULL;
    char pixels[BYTES];

    open_native(f, &plain, BYTES);
    assert_int_equal(blank(f, 0, 0, 0, 2, 2), SENDIT_OK);
    assert_int_equal(dicom_keep(f->ds, &first), SENDIT_OK);
    assert_int_equal(blank(f, 0, 2, 2, 2, 2), SENDIT_OK);
    assert_int_equal(dicom_keep(f->ds, &second), SENDIT_OK);
    assert_int_equal(dicom_end(f->object, true), 0);
    dicom_begin(f->object, true);
    assert_int_equal(blank(f, 0, 0, 0, 4, 4), SENDIT_OK);
    assert_int_equal(dicom_end(f->object, true), 0);
    dicom_close(f->object);
    f->object = NULL;
    read_view(first, pixels);
    assert_memory_equal(pixels, CORNER, BYTES);
    read_view(second, pixels);
    assert_memory_equal(pixels, TWO, BYTES);
}

static void test_decompressed(void **state)
{
    struct fixture *f = *state;
    const struct piece pieces[] = {{"", 0}, rle_frame('U'), rle_frame('V')};
    struct image image = plain;
    const struct sendit_file *file = NULL;
    const char *said = NULL;

    image.syntax = RLE_UID;
    image.frames = "2";
    open_fragments(f, &image, pieces, 3);
    assert_frame(f, 0, WHOLE);
    assert_frame(f, 1, "VVVVVVVVVVVVVVVV");
    assert_int_equal(blank(f, 0, 0, 0, 2, 2), SENDIT_OK);
    assert_frame(f, 0, CORNER);
    assert_frame(f, 1, "VVVVVVVVVVVVVVVV");
    assert_string_equal(dicom_transfer_syntax(f->object), EXPLICIT);
    assert_int_equal(dicom_get(f->ds, 0x00020010, &said), SENDIT_OK);
    assert_string_equal(said, EXPLICIT);
    assert_int_equal(dicom_view(f->ds, &file), SENDIT_OK);
    assert_int_equal(file->parts[1].length, 2 * BYTES);
    assert_int_equal(dicom_end(f->object, false), 0); /* and it is compressed again */
    assert_string_equal(dicom_transfer_syntax(f->object), RLE_UID);
    assert_int_equal(dicom_get(f->ds, 0x00020010, &said), SENDIT_OK);
    assert_string_equal(said, RLE_UID);
    assert_frame(f, 0, WHOLE);
    dicom_begin(f->object, true);
    assert_int_equal(blank(f, ALL, 0, 0, 2, 2), SENDIT_OK);
    assert_int_equal(dicom_end(f->object, true), 0);
    assert_string_equal(dicom_transfer_syntax(f->object), EXPLICIT);
    assert_frame(f, 1, "\0\0VV\0\0VVVVVVVVVV");
}

/* ---- what cannot be ---- */

static void assert_corrupt(struct fixture *f)
{
    const struct sendit_frame *frame = NULL;

    assert_int_equal(f->pixels->frame(f->ds, 0, &frame), SENDIT_ECORRUPT);
    assert_null(frame);
    assert_int_equal(blank(f, ALL, 0, 0, 1, 1), SENDIT_ECORRUPT);
    assert_int_equal(dicom_end(f->object, true), 0);
}

static void test_attributes_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    struct image bad[] = {plain, plain, plain, plain, plain, plain, plain, plain, plain,
                          plain, plain, plain, plain, plain, plain, plain, plain, plain};
    size_t n = 0;

    bad[n++].rows = 0;
    bad[n++].columns = 0;
    bad[n++].columns = SIDE + 1; /* more pixels than there are */
    bad[n++].columns = SIDE - 1;
    bad[n++].samples = 2;
    bad[n++].samples = 3; /* and grey */
    bad[n++].allocated = 12;
    bad[n++].allocated = 0;
    bad[n++].stored = 9;
    bad[n++].stored = 0;
    bad[n++].high = 8;
    bad[n++].high = 6;
    bad[n++].sign = 2;
    bad[n++].photometric = "CMYK";
    bad[n++].photometric = "";
    bad[n++].photometric = "PALETTE COLOR"; /* without a palette */
    bad[n++].frames = "0";
    bad[n++].without_photometric = true;
    assert_int_equal(n, sizeof(bad) / sizeof(bad[0]));
    for (size_t i = 0; i < n; i++) {
        open_native(f, &bad[i], BYTES);
        assert_corrupt(f);
    }
}

static void test_numbers_of_frames_that_are_none(void **state)
{
    static const char *const frames[] = {"-1", "1.5", "2",  "4294967295", "99999999999999999999",
                                         "x",  "1e1", "0x1"};
    struct fixture *f = *state;
    struct image image = plain;

    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        image.frames = frames[i];
        open_native(f, &image, BYTES);
        assert_corrupt(f);
    }
    image.frames = " 1 ";
    open_native(f, &image, BYTES);
    assert_frame(f, 0, WHOLE);
    image.frames = "";
    open_native(f, &image, BYTES);
    assert_frame(f, 0, WHOLE);
}

static void test_lengths_that_do_not_fit(void **state)
{
    static const size_t lengths[] = {0, 2, BYTES - 2, BYTES + 2, 2 * BYTES};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        open_native(f, &plain, lengths[i]);
        assert_corrupt(f);
    }
}

/* An image that would need 8 GiB is refused before memory is asked for it. */
static void test_a_huge_frame(void **state)
{
    struct fixture *f = *state;
    const struct piece pieces[] = {{"", 0}, rle_frame('U')};
    struct image image = plain;

    image.syntax = RLE_UID;
    image.rows = image.columns = 65535;
    image.allocated = image.stored = 16;
    image.high = 15;
    open_fragments(f, &image, pieces, 2);
    assert_corrupt(f);
}

static void test_rle_that_does_not_fit(void **state)
{
    static const unsigned char tails[][8] = {
        {4, 0xf2, 'U', 0x80, 0xff}, /* a run without its byte */
        {2, 0xf0, 'U'},             /* one byte too many */
        {2, 0xf2, 'U'},             /* one too few */
        {3, 15, 'U', 'U'},          /* bytes that are not there */
        {6, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}};
    struct fixture *f = *state;
    unsigned char frame[74];
    struct piece pieces[] = {{"", 0}, {frame, 72}};
    struct image image = plain;

    image.syntax = RLE_UID;
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        memset(frame, 0, sizeof(frame));
        frame[0] = 1;
        frame[4] = 64;
        memcpy(frame + 64, tails[i] + 1, tails[i][0]);
        pieces[1].length = 64 + ((size_t)tails[i][0] + 1) / 2 * 2;
        frame[64 + tails[i][0]] = 0x80;
        open_fragments(f, &image, pieces, 2);
        assert_corrupt(f);
    }
    memcpy(frame, rle_frame('U').data, 66);
    pieces[1].length = 66;
    for (int i = 0; i < 4; i++) {
        static const unsigned char changes[][3] = {
            {0, 2, 1}, {0, 0, 1}, {4, 63, 64}, {7, 1, 0}}; /* number, two offsets */

        frame[changes[i][0]] = changes[i][1];
        open_fragments(f, &image, pieces, 2);
        assert_corrupt(f);
        frame[changes[i][0]] = changes[i][2];
    }
    open_fragments(f, &image, pieces, 2);
    assert_frame(f, 0, WHOLE);
}

static void test_fragments_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    static const char odd_table[] = "\0\0\0\0\2\0\0\0", past_table[] = "\0\0\0\0\0\1\0\0";
    const struct piece none[] = {{"", 0}};
    const struct piece one[] = {{"", 0}, rle_frame('U')};
    const struct piece three[] = {{"", 0}, rle_frame('U'), rle_frame('V'), rle_frame('W')};
    const struct piece odd[] = {{odd_table, 8}, rle_frame('U'), rle_frame('V'), rle_frame('W')};
    const struct piece past[] = {{past_table, 8}, rle_frame('U'), rle_frame('V'), rle_frame('W')};
    const struct piece cut[] = {{"", 0}, {rle_frame('U').data, 64}};
    const struct piece empty[] = {{"", 0}, {"", 0}};
    struct image image = plain;

    image.syntax = RLE_UID;
    open_fragments(f, &image, none, 1);
    assert_corrupt(f);
    open_fragments(f, &image, cut, 2);
    assert_corrupt(f);
    open_fragments(f, &image, empty, 2);
    assert_corrupt(f);
    image.frames = "2";
    open_fragments(f, &image, one, 2);
    assert_corrupt(f);
    open_fragments(f, &image, three, 4); /* which of them belong together? */
    assert_corrupt(f);
    open_fragments(f, &image, odd, 4);
    assert_corrupt(f);
    open_fragments(f, &image, past, 4);
    assert_corrupt(f);
}

/* A code stream of another size than the data set says is not given to a library. */
static void test_code_streams_that_lie(void **state)
{
    static const unsigned char jpeg[] = {0xff, 0xd8, 0xff, 0xc0, 0, 11,   8,    0xff, 0xff, 0xff,
                                         0xff, 1,    1,    0x11, 0, 0xff, 0xda, 0,    8,    1,
                                         1,    0,    0,    63,   0, 0xff, 0xd9, 0};
    static const unsigned char siz[] = {0xff, 0x4f, 0xff, 0x51, 0, 41, 0,    0,    0, 0, 0xff, 0xff,
                                        0,    0,    0xff, 0xff, 0, 0,  0,    0,    0, 0, 0,    0,
                                        0,    0,    0xff, 0xff, 0, 0,  0xff, 0xff, 0, 0, 0,    0,
                                        0,    0,    0,    0,    0, 1,  7,    1,    1, 0};
    static const char *const junk[] = {"",
                                       "\xff\xd8",
                                       "\xff\xd8\xff\xd9",
                                       "\xff\x4f\xff\x51",
                                       "\xff\xd8\xff\xff\xff\xff",
                                       "not an image at all."};
    struct fixture *f = *state;
    struct image image = plain;
    struct piece pieces[] = {{"", 0}, {jpeg, sizeof(jpeg)}};

    image.syntax = JPEG_BASELINE;
    open_fragments(f, &image, pieces, 2);
    assert_corrupt(f);
    image.syntax = JPEG_2000_UID;
    pieces[1] = (struct piece){siz, sizeof(siz)};
    open_fragments(f, &image, pieces, 2);
    assert_corrupt(f);
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++)
        for (int j = 0; j < 3; j++) {
            static const char *const syntaxes[] = {JPEG_BASELINE, JPEG_2000_UID,
                                                   "1.2.840.10008.1.2.4.80"};

            image.syntax = syntaxes[j];
            pieces[1] = (struct piece){junk[i], strlen(junk[i])};
            open_fragments(f, &image, pieces, 2);
            assert_corrupt(f);
        }
}

static void test_syntaxes_that_are_not_decoded(void **state)
{
    static const char *const syntaxes[] = {"1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102",
                                           "1.2.840.10008.1.2.4.92",  "1.2.840.10008.1.2.4.110",
                                           "1.2.840.10008.1.2.8.1",   "1.2.840.10008.1.2.1.98"};
    struct fixture *f = *state;
    const struct piece pieces[] = {{"", 0}, rle_frame('U')};
    struct image image = plain;

    for (size_t i = 0; i < sizeof(syntaxes) / sizeof(syntaxes[0]); i++) {
        image.syntax = syntaxes[i];
        open_fragments(f, &image, pieces, 2);
        assert_corrupt(f);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gating),
        TEST(test_no_edit_without_mutates),
        TEST(test_missing_arguments),
        TEST(test_frames_that_are_not_there),
        TEST(test_without_pixel_data),
        TEST(test_boxes),
        TEST(test_rollback),
        TEST(test_kept_files),
        TEST(test_decompressed),
        TEST(test_attributes_that_do_not_fit),
        TEST(test_numbers_of_frames_that_are_none),
        TEST(test_lengths_that_do_not_fit),
        TEST(test_a_huge_frame),
        TEST(test_rle_that_does_not_fit),
        TEST(test_fragments_that_do_not_fit),
        TEST(test_code_streams_that_lie),
        TEST(test_syntaxes_that_are_not_decoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
