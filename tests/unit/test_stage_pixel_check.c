/* SPDX-License-Identifier: Apache-2.0 */
#define SENDIT_ENTRY pixel_check_entry
#include "../../stages/pixel-check/pixel_check.c"
#include "../../stages/pixel-check/pixel_stream.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "fake_host.h"

#define CT UID_STORAGE "2"
#define US UID_STORAGE "6.1"
#define SR UID_STORAGE "88.33"
#define PHOTO UID_STORAGE "77.1.4"
/* Four pixels of a byte; their element is fake_length long. */
#define PIXELS_OF(tag)                                                                             \
    {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"}, {TAG_BITS, "8"},                                          \
    {                                                                                              \
        tag, NULL                                                                                  \
    }
#define PIXELS PIXELS_OF(TAG_PIXELS)

#define SHOW(...) show((const struct fake_attribute[]){__VA_ARGS__, {0, NULL}})

static struct sendit_why why;
static sendit_result walk_result;

static sendit_verdict show(const struct fake_attribute *attributes)
{
    struct sendit_dataset ds = {.attributes = attributes, .walk = walk_result};
    const struct sendit_item item = {.id = "i", .ds = &ds};
    const struct sendit_batch batch = {.id = "b", .once_key = "k"};
    struct sendit_stage_state *self;
    sendit_verdict verdict;

    memset(&why, 0, sizeof(why));
    assert_int_equal(start(&fake_host, &self, &why), SENDIT_PASS);
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    verdict = process(self, &item, &why);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(fake_n_logs, verdict == SENDIT_SKIP);
    fake_n_logs = 0;
    stop(self);
    return verdict;
}

#define assert_held(code_, ...)                                                                    \
    do {                                                                                           \
        assert_int_equal(SHOW(__VA_ARGS__), SENDIT_QUARANTINE);                                    \
        assert_string_equal(why.code, code_);                                                      \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    fake_reset();
    fake_length = 4;
    walk_result = SENDIT_OK;
    return 0;
}

static void test_burned_in(void **state)
{
    static const char *const other[] = {"YES",  "",    "N",       "NO\\NO", "NO\\YES", "YES\\NO",
                                        "NONE", "NOT", "UNKNOWN", "no no",  NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        assert_held("pixel.burned_in", {TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, other[i]});
    assert_string_equal(fake_last_metric, "burned_in");
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, "NO"}), SENDIT_PASS);
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, "no"}), SENDIT_PASS);
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, " No "}), SENDIT_PASS);
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS), SENDIT_PASS);
    /* Read of an object without pixels, too. */
    assert_held("pixel.burned_in", {TAG_SOP_CLASS, SR}, {TAG_BURNED_IN, "YES"});
}

static void test_strict(void **state)
{
    (void)state;
    fake_option("strict")->number = 1;
    assert_held("pixel.burned_in", {TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, "NO"});
    assert_held("pixel.burned_in", {TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, ""});
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS), SENDIT_PASS);
}

static void test_kinds_that_show_names(void **state)
{
    static const char *const modalities[] = {"US", "ES", "XC", "GM", "us", "CT\\US", " ES "};
    static const char *const classes[] = {US,
                                          PHOTO,
                                          UID_STORAGE "3.1",
                                          UID_STORAGE "6.2",
                                          UID_STORAGE "77.1.5.1",
                                          UID_STORAGE "77.1.1.1"};

    (void)state;
    for (size_t i = 0; i < sizeof(modalities) / sizeof(modalities[0]); i++)
        assert_held("pixel.unknown", {TAG_SOP_CLASS, CT}, {TAG_MODALITY, modalities[i]}, PIXELS);
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        assert_held("pixel.unknown", {TAG_SOP_CLASS, classes[i]}, PIXELS);
        assert_int_equal(SHOW({TAG_SOP_CLASS, classes[i]}, PIXELS, {TAG_BURNED_IN, "NO"}),
                         SENDIT_PASS);
    }
    assert_held("pixel.unknown", {TAG_SOP_CLASS, CT}, {TAG_MODALITY, NULL}, PIXELS);
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, {TAG_MODALITY, "USA\\GMX"}, PIXELS), SENDIT_PASS);
    assert_int_equal(SHOW({TAG_SOP_CLASS, UID_STORAGE "67"}, PIXELS), SENDIT_PASS);
    /* Without pixels nothing shows. */
    assert_int_equal(SHOW({TAG_SOP_CLASS, SR}, {TAG_MODALITY, "US"}), SENDIT_PASS);
}

static void test_kinds_that_are_held(void **state)
{
    (void)state;
    assert_held("pixel.secondary", {TAG_SOP_CLASS, UID_SECONDARY}, PIXELS, {TAG_BURNED_IN, "NO"});
    assert_held("pixel.secondary", {TAG_SOP_CLASS, UID_SECONDARY ".4"}, PIXELS);
    assert_held("pixel.secondary", {TAG_SOP_CLASS, CT}, PIXELS, {TAG_CONVERSION_TYPE, "DF"});
    assert_held("pixel.secondary", {TAG_SOP_CLASS, CT}, PIXELS, {0x00181012u, "20200101"});
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS, {TAG_CONVERSION_TYPE, ""}), SENDIT_PASS);
    assert_held("pixel.screen_save", {TAG_SOP_CLASS, CT}, PIXELS,
                {TAG_IMAGE_TYPE, "DERIVED\\SECONDARY\\SCREEN SAVE"});
    assert_held("pixel.screen_save", {TAG_SOP_CLASS, CT}, PIXELS, {TAG_IMAGE_TYPE, NULL});
    assert_held("pixel.screen_save", {TAG_SOP_CLASS, CT}, PIXELS,
                {TAG_SERIES_DESCRIPTION, "Screen Save"});
    assert_held("pixel.document", {TAG_SOP_CLASS, UID_DOCUMENT ".1"}, {TAG_DOCUMENT, NULL});
    assert_held("pixel.document", {TAG_SOP_CLASS, CT}, PIXELS, {TAG_DOCUMENT, NULL});
    assert_held("pixel.document", {TAG_SOP_CLASS, UID_DOCUMENT ".77"});
    assert_held("pixel.private_sop_class", {TAG_SOP_CLASS, "1.2.840.113619.4.2"});
    assert_held("pixel.private_sop_class", {TAG_SOP_CLASS, "1.2.840.100080"}, PIXELS);
    assert_held("pixel.no_sop_class", {TAG_SOP_CLASS, ""}, PIXELS);
    assert_held("pixel.no_sop_class", {TAG_SOP_CLASS, NULL}, PIXELS);
    assert_held("pixel.no_sop_class", {TAG_MODALITY, "CT"});
}

static void test_pixels(void **state)
{
    (void)state;
    assert_int_equal(SHOW({TAG_SOP_CLASS, SR}), SENDIT_PASS);
    assert_held("pixel.unknown", {TAG_SOP_CLASS, US}, PIXELS_OF(TAG_FLOAT_PIXELS));
    assert_held("pixel.unknown", {TAG_SOP_CLASS, US}, PIXELS_OF(TAG_DOUBLE_PIXELS));
    walk_result = SENDIT_ESTOPPED;
    assert_held("pixel.nested", {TAG_SOP_CLASS, SR});
    walk_result = SENDIT_ECORRUPT;
    assert_held("pixel.walk", {TAG_SOP_CLASS, SR});
    assert_int_equal(find_pixels(NULL, NULL, &(struct sendit_element){.tag = TAG_ICON}),
                     SENDIT_KEEP_WHOLE);
    assert_int_equal(find_pixels(NULL, NULL, &(struct sendit_element){.tag = TAG_PIXELS}),
                     SENDIT_STOP);
    assert_int_equal(find_pixels(NULL, NULL, &(struct sendit_element){.tag = TAG_MODALITY}),
                     SENDIT_KEEP);
}

/* Rows, columns and bits, and what the pixel data has. */
static sendit_verdict show_length(const char *rows, const char *columns, const char *bits,
                                  const struct fake_attribute *more, uint64_t length)
{
    const struct fake_attribute none = {TAG_MODALITY, "MR"};

    fake_length = length;
    return SHOW({TAG_SOP_CLASS, CT}, {TAG_ROWS, rows}, {TAG_COLUMNS, columns}, {TAG_BITS, bits},
                more ? *more : none, {TAG_PIXELS, NULL});
}

static void test_length(void **state)
{
    static const struct fake_attribute rgb = {TAG_SAMPLES, "3"}, ten = {TAG_FRAMES, "10"},
                                       half = {TAG_PHOTOMETRIC, "YBR_FULL_422"};
    static const struct {
        const char *rows, *columns, *bits;
        const struct fake_attribute *more;
        uint64_t length;
    } sound[] = {{"4", "5", "16", NULL, 40},
                 {"3", "3", "8", NULL, 9}, /* odd, with and without its padding */
                 {"3", "3", "8", NULL, 10},
                 {"3", "3", "8", &rgb, 28},
                 {"3", "3", "1", NULL, 2},
                 {"3", "3", "1", &ten, 12}, /* 90 bits: frames are not padded */
                 {"4", "5", "12", NULL, 30},
                 {"2", "4", "8", &half, 16},
                 {"65535", "65535", "8", NULL, 65535ull * 65535 + 1}},
      wrong[] = {{"4", "5", "16", NULL, 39},
                 {"4", "5", "16", NULL, 41},
                 {"4", "5", "16", NULL, 42},
                 {"3", "3", "8", NULL, 11},
                 {"3", "3", "8", NULL, 8},
                 {"4", "5", "16", NULL, 0},
                 {"4", "5", "16", &rgb, 40},
                 {"4", "5", "16", &ten, 40},
                 {"2", "4", "8", &half, 24},
                 {"3", "3", "1", NULL, 4},
                 {"0", "5", "16", NULL, 0},
                 {"4", "", "16", NULL, 40},
                 {"-4", "5", "16", NULL, 40},
                 {"4\\4", "5", "16", NULL, 40},
                 {"4", "5", NULL, NULL, 40},
                 {"99999999999999999999", "5", "16", NULL, 40},
                 /* a product that wraps round to 40 */
                 {"4294967295", "4294967295", "4294967295", NULL, 40}};

    (void)state;
    for (size_t i = 0; i < sizeof(sound) / sizeof(sound[0]); i++)
        assert_int_equal(show_length(sound[i].rows, sound[i].columns, sound[i].bits, sound[i].more,
                                     sound[i].length),
                         SENDIT_PASS);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(show_length(wrong[i].rows, wrong[i].columns, wrong[i].bits, wrong[i].more,
                                     wrong[i].length),
                         SENDIT_QUARANTINE);
        assert_string_equal(why.code, "pixel.length");
    }
}

/* A file of one part, `length` bytes at the end of a descriptor that has others before them. */
static void set_stream(const void *bytes, size_t length)
{
    static struct sendit_part parts[2];
    static struct sendit_file file;
    int fd = memfd_create("stream", 0);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, length, 5), length);
    parts[0] = (struct sendit_part){.data = "head", .length = 4, .fd = -1};
    parts[1] = (struct sendit_part){.offset = 5, .length = length, .fd = fd};
    file = (struct sendit_file){.parts = parts, .n_parts = 2, .total = length + 4};
    fake_file = &file;
}

static sendit_verdict show_stream(const char *syntax, const char *bytes, size_t length)
{
    sendit_verdict verdict;

    set_stream(bytes, length);
    verdict = SHOW({TAG_TRANSFER_SYNTAX, syntax}, {TAG_SOP_CLASS, CT}, PIXELS_OF(TAG_PIXELS));
    close(fake_file->parts[1].fd);
    fake_file = NULL;
    return verdict;
}

#define ITEM "\xfe\xff\x00\xe0"
#define END "\xfe\xff\xdd\xe0\0\0\0\0"
#define NO_TABLE ITEM "\0\0\0\0"
#define ZEROS "\0\0\0\0\0\0\0\0"
#define JPEG_SYNTAX UID_STANDARD "1.2.4.50"
#define JLS_SYNTAX UID_STANDARD "1.2.4.80"
#define J2K_SYNTAX UID_STANDARD "1.2.4.90"
#define SCAN "\xff\xda\0\3\1\x12\xff\0\xff\xd0"

struct stream_case {
    const char *syntax, *bytes;
    size_t length;
};
#define CASE(syntax, bytes)                                                                        \
    {                                                                                              \
        syntax, bytes, sizeof(bytes) - 1                                                           \
    }
/* A fragment of up to 127 bytes between an empty table and the end. */
#define ONE(syntax, n, bytes) CASE(syntax, NO_TABLE ITEM n "\0\0\0" bytes END)

/* Pictures, and what programs that compress are used to write beside them. */
static void test_streams_that_pass(void **state)
{
    static const struct stream_case cases[] = {
        ONE(JPEG_SYNTAX, "\x0e", "\xff\xd8" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x12", "\xff\xd8" SCAN "\xff\xd9\0\0\xff\xff"),
        ONE(JPEG_SYNTAX, "\x22",
            "\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xff" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x26", "\xff\xd8\xff\xfe\0\x16MITRA_DICOM_STANDARD" SCAN "\xff\xd9"),
        /* cut short; the next one begins with its fragment */
        CASE(JPEG_SYNTAX,
             NO_TABLE ITEM "\x0c\0\0\0\xff\xd8" SCAN ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" END),
        /* cut in a marker, and in the length of a segment */
        CASE(JPEG_SYNTAX, NO_TABLE ITEM "\3\0\0\0\xff\xd8\xff" ITEM "\2\0\0\0\xda\0" ITEM
                                        "\4\0\0\0\3\1\x55\xff" ITEM "\1\0\0\0\xd9" END),
        CASE(JPEG_SYNTAX, ITEM "\x8\0\0\0\0\0\0\0\x16\0\0\0" ITEM "\x0e\0\0\0\xff\xd8" SCAN
                               "\xff\xd9" ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" END),
        ONE(JLS_SYNTAX, "\x10",
            "\xff\xd8\xff\xda\0\3\1\xff\x7f\xff\x41"
            "ABC\xff\xd9"),
        ONE(J2K_SYNTAX, "\x2b",
            "\xff\x4f\xff\x51\0\4\1\1\xff\x64\0\x11\0\1Kakadu-v7.3.3\xff\x90\0\4\0\0"
            "\xff\x93\xff\x64"
            "ABCD\xff\xd9"),
        CASE(UID_STANDARD "1.2.5",
             NO_TABLE ITEM "\x42\0\0\0\1\0\0\0\x40\0\0\0" ZEROS ZEROS ZEROS ZEROS ZEROS ZEROS ZEROS
                           "\x11\x22" END),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(show_stream(cases[i].syntax, cases[i].bytes, cases[i].length),
                         SENDIT_PASS);
}

/* What stands beside them otherwise, and what cannot be told. */
static void test_streams_that_are_held(void **state)
{
    static const struct stream_case cases[] = {
        ONE(JPEG_SYNTAX, "\x1a",
            "\xff\xd8\xff\xfe\0\xa"
            "DOE^JANE" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x20",
            "\xff\xd8\xff\xe1\0\x10"
            "Exif\0\0\0DOEJANE" SCAN "\xff\xd9"),
        /* behind a signature; of two bytes each; an unknown segment; between two scans */
        ONE(JPEG_SYNTAX, "\x1e",
            "\xff\xd8\xff\xee\0\xe"
            "AdobeJane Doe" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x1a",
            "\xff\xd8\xff\xfe\0\xa"
            "D\0O\0E\0J\0" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x16",
            "\xff\xd8\xff\xf2\0\6"
            "JANE" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x20",
            "\xff\xd8" SCAN "\xff\xfe\0\6"
            "JANE" SCAN "\xff\xd9"),
        /* a patient's number as the version of a program */
        ONE(J2K_SYNTAX, "\x1e", "\xff\x4f\xff\x64\0\x13\0\1Kakadu-19610703\xff\x93\1\2\3\xff\xd9"),
        /* behind the end, in the same fragment and in the next one; before the beginning */
        ONE(JPEG_SYNTAX, "\x12", "\xff\xd8" SCAN "\xff\xd9JANE"),
        CASE(JPEG_SYNTAX,
             NO_TABLE ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" ITEM "\4\0\0\0JANE" END),
        ONE(JPEG_SYNTAX, "\x12", "JANE\xff\xd8" SCAN "\xff\xd9"),
        ONE(JPEG_SYNTAX, "\x12",
            "\xff\xd8"
            "JANE" SCAN "\xff\xd9"),
        /* a length that is none */
        ONE(JPEG_SYNTAX, "\x14",
            "\xff\xd8\xff\xfe\0\1"
            "AB" SCAN "\xff\xd9"),
        /* the second of two pictures */
        CASE(JPEG_SYNTAX, NO_TABLE ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" ITEM
                                        "\x16\0\0\0\xff\xd8\xff\xfe\0\6JANE" SCAN "\xff\xd9" END),
        /* a JPEG 2000 picture without an end hides no comment of the next one */
        CASE(J2K_SYNTAX, NO_TABLE ITEM "\6\0\0\0\xff\x4f\xff\x93\1\2" ITEM
                                       "\x0c\0\0\0\xff\x4f\xff\x64\0\xaJANEDO" END),
        ONE(J2K_SYNTAX, "\x0c", "\0\0\0\x0cjP  \r\n\x87\n"),
        /* tables of text, out of order, of no whole number of entries, beyond the end */
        CASE(JPEG_SYNTAX, ITEM "\4\0\0\0JANE" ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" END),
        CASE(JPEG_SYNTAX,
             ITEM "\x8\0\0\0\0\0\0\0\0\0\0\0" ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" END),
        CASE(JPEG_SYNTAX, ITEM "\2\0\0\0\0\0" ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" END),
        CASE(JPEG_SYNTAX,
             ITEM "\x8\0\0\0\0\0\0\0JANE" ITEM "\x0e\0\0\0\xff\xd8" SCAN "\xff\xd9" END),
        ONE(UID_STANDARD "1.2.5", "\4", "JANE"),
    };
    static const char *const opaque[] = {UID_STANDARD "1.2.4.100", UID_STANDARD "1.2.4.110",
                                         UID_STANDARD "1.2.1.98", UID_STANDARD "1.2.8.1"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(show_stream(cases[i].syntax, cases[i].bytes, cases[i].length),
                         SENDIT_QUARANTINE);
        assert_string_equal(why.code, "pixel.comment");
    }
    for (size_t i = 0; i < sizeof(opaque) / sizeof(opaque[0]); i++) {
        assert_int_equal(show_stream(opaque[i], NO_TABLE END, sizeof(NO_TABLE END) - 1),
                         SENDIT_QUARANTINE);
        assert_string_equal(why.code, "pixel.opaque");
    }
    assert_int_equal(show_stream(JPEG_SYNTAX, ITEM, 4), SENDIT_QUARANTINE);
    assert_string_equal(why.code, "pixel.opaque");
    fake_option("on_comment")->number = 1;
    assert_int_equal(show_stream(cases[0].syntax, cases[0].bytes, cases[0].length), SENDIT_SKIP);
}

static void test_overlays(void **state)
{
    (void)state;
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"}, {TAG_BITS, "8"},
                          {0x60000010, "2"}, {0x60000100, "1"}, {0x60000102, "0"},
                          {0x60003000, NULL}, {TAG_PIXELS, NULL}),
                     SENDIT_PASS);
    assert_held("pixel.overlay", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"},
                {TAG_BITS, "8"}, {0x60000010, "2"}, {0x60000100, "1"}, {0x60000102, "0"},
                {0x60020010, "2"}, {0x60023000, NULL}, {TAG_PIXELS, NULL});
    assert_held("pixel.overlay", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"},
                {TAG_BITS, "8"}, {0x601E0010, "2"}, {TAG_PIXELS, NULL});
    assert_held("pixel.overlay", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"},
                {TAG_BITS, "8"}, {0x60000010, "2"}, {0x60000102, "12"}, {0x60003000, NULL},
                {TAG_PIXELS, NULL});
    assert_held("pixel.overlay", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"},
                {TAG_BITS, "8"}, {0x60000010, "2"}, {0x60000100, "16"}, {0x60003000, NULL},
                {TAG_PIXELS, NULL});
}

static void test_sound(void **state)
{
    (void)state;
    assert_held("pixel.audio", {TAG_SOP_CLASS, UID_AUDIO ".1"});
    assert_held("pixel.audio", {TAG_SOP_CLASS, UID_AUDIO ".2"});
    assert_int_equal(SHOW({TAG_SOP_CLASS, UID_STORAGE "9.1.1"}), SENDIT_PASS); /* ECG */
}

/* Offsets of 64 bits lie inside the pixel data, which is four bytes long. */
static void test_extended_offsets(void **state)
{
    (void)state;
    assert_held("pixel.comment", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"},
                {TAG_BITS, "8"}, {TAG_OFFSETS, "JANE^DOE"}, {TAG_PIXELS, NULL});
    assert_held("pixel.comment", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"},
                {TAG_BITS, "8"}, {TAG_OFFSETS + 1, "DOE"}, {TAG_PIXELS, NULL});
}

/* Compressed pixels have no length of their own, and no pixels is too short. */
static void test_length_of_others(void **state)
{
    static const char *const native[] = {UID_STANDARD "1.2", UID_STANDARD "1.2.1",
                                         UID_STANDARD "1.2.1.99", UID_STANDARD "1.2.2"},
                             *const other[] = {UID_STANDARD "1.2.4.50", UID_STANDARD "1.2.5",
                                               UID_STANDARD "1.2.1.98", UID_STANDARD "1.2.8.1"};

    (void)state;
    assert_held("pixel.length", {TAG_SOP_CLASS, CT}, {TAG_PIXELS, NULL});
    assert_held("pixel.length", {TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_COLUMNS, "2"});
    assert_string_equal(fake_last_metric, "length");
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, {TAG_ROWS, "2"}, {TAG_SPECTRA, NULL}), SENDIT_PASS);
    fake_length = 6;
    for (size_t i = 0; i < sizeof(native) / sizeof(native[0]); i++)
        assert_held("pixel.length", {TAG_TRANSFER_SYNTAX, native[i]}, {TAG_SOP_CLASS, CT},
                    PIXELS_OF(TAG_PIXELS));
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        /* there is no file to look into */
        assert_held("pixel.opaque", {TAG_TRANSFER_SYNTAX, other[i]}, {TAG_SOP_CLASS, CT},
                    PIXELS_OF(TAG_PIXELS));
        assert_held("pixel.length", {TAG_TRANSFER_SYNTAX, other[i]}, {TAG_SOP_CLASS, CT},
                    PIXELS_OF(TAG_FLOAT_PIXELS));
    }
    assert_held("pixel.length", {TAG_SOP_CLASS, CT}, PIXELS_OF(TAG_DOUBLE_PIXELS));
    fake_option("on_length")->number = 1;
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS_OF(TAG_PIXELS)), SENDIT_SKIP);
}

/* `pass` lets an image go on, and never earns it the label. */
static void test_pass_is_skip(void **state)
{
    (void)state;
    fake_option("on_burned_in")->number = 1;
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, "YES"}), SENDIT_SKIP);
    assert_held("pixel.secondary", {TAG_SOP_CLASS, UID_SECONDARY}, PIXELS, {TAG_BURNED_IN, "YES"});
    fake_option("on_secondary")->number = 1;
    assert_int_equal(SHOW({TAG_SOP_CLASS, UID_SECONDARY}, PIXELS, {TAG_BURNED_IN, "YES"}),
                     SENDIT_SKIP);
    assert_int_equal(SHOW({TAG_SOP_CLASS, CT}, PIXELS, {TAG_BURNED_IN, "NO"}), SENDIT_PASS);
    fake_option("on_unknown")->number = 1;
    assert_int_equal(SHOW({TAG_SOP_CLASS, US}, PIXELS), SENDIT_SKIP);
    fake_option("on_document")->number = 1;
    assert_int_equal(SHOW({TAG_SOP_CLASS, UID_DOCUMENT ".1"}), SENDIT_SKIP);
    fake_option("on_private_sop_class")->number = 1;
    assert_int_equal(SHOW({TAG_SOP_CLASS, "1.3.12"}), SENDIT_SKIP);
    assert_held("pixel.no_sop_class", {TAG_MODALITY, "CT"});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_burned_in, set_up),
        cmocka_unit_test_setup(test_strict, set_up),
        cmocka_unit_test_setup(test_kinds_that_show_names, set_up),
        cmocka_unit_test_setup(test_kinds_that_are_held, set_up),
        cmocka_unit_test_setup(test_pixels, set_up),
        cmocka_unit_test_setup(test_length, set_up),
        cmocka_unit_test_setup(test_length_of_others, set_up),
        cmocka_unit_test_setup(test_streams_that_pass, set_up),
        cmocka_unit_test_setup(test_streams_that_are_held, set_up),
        cmocka_unit_test_setup(test_overlays, set_up),
        cmocka_unit_test_setup(test_sound, set_up),
        cmocka_unit_test_setup(test_extended_offsets, set_up),
        cmocka_unit_test_setup(test_pass_is_skip, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
