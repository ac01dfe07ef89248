/* SPDX-License-Identifier: Apache-2.0 */
#define SENDIT_ENTRY pixel_check_entry
#include "../../stages/pixel-check/pixel_check.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

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
        assert_int_equal(
            SHOW({TAG_TRANSFER_SYNTAX, other[i]}, {TAG_SOP_CLASS, CT}, PIXELS_OF(TAG_PIXELS)),
            SENDIT_PASS);
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
        cmocka_unit_test_setup(test_pass_is_skip, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
