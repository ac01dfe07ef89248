/* SPDX-License-Identifier: Apache-2.0 */
/* Single values: their form, dates moved, ages capped, codes, and what names somebody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "deid/codes.h"
#include "deid/terms.h"
#include "deid/traces.h"
#include "deid/value.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool move(const char *vr, const char *text, int32_t days, char ret_text[128])
{
    struct buf out = {0};
    bool moved = value_move(value_vr(vr), text, strlen(text), days, &out);

    ret_text[0] = '\0';
    if (moved && out.len)
        memcpy(ret_text, out.data, out.len + 1);
    buf_fini(&out);
    return moved;
}

static void test_moved(void **state)
{
    static const struct {
        const char *vr, *text;
        int32_t days;
        const char *moved;
    } rows[] = {
        {"DA", "20040119", -1, "20040118"},
        {"DA", "20040301", -1, "20040229"},
        {"DA", "20030301", -1, "20030228"},
        {"DA", "19000301", -1, "19000228"},
        {"DA", "20000301", -1, "20000229"},
        {"DA", "20040101", -1, "20031231"},
        {"DA", "20040119", -3650, "19940121"},
        {"DA", "20040119", 366, "20050119"},
        {"DA", "20040119", 0, "20040119"},
        {"DA", "00010102", -1, "00010101"},
        {"DA", "99991230", 1, "99991231"},
        {"DA", "2004.01.19", -1, "20040118"},
        {"DA", "2004-01-19", -1, "20040118"},
        {"DA", " 20040119 ", -1, "20040118"},
        {"DA", "20040119\\20040301", -1, "20040118\\20040229"},
        {"DA", "20040119\\", -1, "20040118\\"},
        {"DA", "20040119-20040301", -1, "20040118-20040229"},
        {"DA", "20040119-", -1, "20040118-"},
        {"DA", "-20040119", -1, "-20040118"},
        {"DA", "", -1, ""},
        {"DT", "2004", -100, "2003"},
        {"DT", "200401", -1, "200312"},
        {"DT", "20040119", -1, "20040118"},
        {"DT", "2004011907", -1, "2004011807"},
        {"DT", "200401190727", -1, "200401180727"},
        {"DT", "20040119072730", -1, "20040118072730"},
        {"DT", "20040119072730.123456", -1, "20040118072730.123456"},
        {"DT", "20040119072730.1+0100", -1, "20040118072730.1+0100"},
        {"DT", "20040119-0500", -1, "20040118-0500"},
        {"DT", "2004-0500", -1, "2003-0500"},
        {"DT", "20040301072730\\20040119", -1, "20040229072730\\20040118"},
    };
    char moved[128];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_true(move(rows[i].vr, rows[i].text, rows[i].days, moved));
        assert_string_equal(moved, rows[i].moved);
    }
}

static void test_not_moved(void **state)
{
    static const struct {
        const char *vr, *text;
        int32_t days;
    } rows[] = {
        {"DA", "00010101", -1},
        {"DA", "99991231", 1},
        {"DA", "00000101", 0},
        {"DA", "20040230", -1},
        {"DA", "20030229", -1},
        {"DA", "20041301", -1},
        {"DA", "20040001", -1},
        {"DA", "20040100", -1},
        {"DA", "2004", -1},
        {"DA", "200401", -1},
        {"DA", "2004011", -1},
        {"DA", "200401199", -1},
        {"DA", "DOE^JANE", -1},
        {"DA", "19 Jan 2004", -1},
        {"DA", "2004/01/19", -1},
        {"DA", "2004.01-19", -1},
        {"DA", "20040119\\DOE", -1},
        {"DA", "20040119-20041399", -1},
        {"DA", "-", -1},
        {"DA", "20040119-20040119-20040119", -1},
        {"DA", "20040119072730", -1},
        {"DT", "DOE^JANE", -1},
        {"DT", "200", -1},
        {"DT", "20040", -1},
        {"DT", "2004011", -1},
        {"DT", "20040119247", -1},
        {"DT", "2004011924", -1},
        {"DT", "200401190760", -1},
        {"DT", "20040119072761", -1},
        {"DT", "20040119072730.1234567", -1},
        {"DT", "20040119072730+1", -1},
        {"DT", "20040119072730+1500", -1},
        {"DT", "20040119072730+0060", -1},
        {"DT", "20040119072730 DOE", -1},
        {"DT", "2004011907.5", -1},
        {"DT", "0001", -1},
    };
    char moved[128];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (move(rows[i].vr, rows[i].text, rows[i].days, moved))
            print_message("%s\n", rows[i].text);
        assert_false(move(rows[i].vr, rows[i].text, rows[i].days, moved));
    }
}

/* Each day of 400 years, there and back. */
static void test_every_day(void **state)
{
    char text[128] = "16000101", back[128];

    (void)state;
    for (int i = 0; i < 146097; i++) {
        char next[128];

        assert_true(move("DA", text, 1, next));
        assert_true(strcmp(text, next) < 0);
        assert_true(move("DA", next, -1, back));
        assert_string_equal(text, back);
        memcpy(text, next, sizeof(text));
    }
    assert_string_equal(text, "20000101");
}

static void test_ages(void **state)
{
    static const struct {
        const char *text, *age; /* NULL: none */
    } rows[] = {
        {"045Y", "045Y"},  {"089Y", "089Y"},   {"090Y", "089Y"},  {"120Y", "089Y"},
        {"999Y", "089Y"},  {"45Y", "045Y"},    {"045y", "045Y"},  {"1100M", "089Y"},
        {"999M", "999M"},  {"1079M", NULL},    {"1080M", "089Y"}, {"018M", "018M"},
        {"4697W", "089Y"}, {"999W", "999W"},   {"003D", "003D"},  {"32873D", "089Y"},
        {"000Y", "000Y"},  {"", NULL},         {"Y", NULL},       {"45", NULL},
        {"045", NULL},     {"45YY", NULL},     {"DOE", NULL},     {"4 Y", NULL},
        {"-45Y", NULL},    {"1234567Y", NULL}, {"045X", NULL},    {"4\\5Y", NULL},
        {"045\x99", NULL},
    };
    char age[5];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct value_span span = {rows[i].text, strlen(rows[i].text)};

        assert_int_equal(value_age(span, age), rows[i].age != NULL);
        if (rows[i].age)
            assert_string_equal(age, rows[i].age);
    }
}

static void test_forms(void **state)
{
    static const struct {
        const char *vr, *text;
        bool fits;
    } rows[] = {
        {"IS", "12", true},
        {"IS", " -12 ", true},
        {"IS", "1\\\\3", true},
        {"IS", "1.0", true},
        {"IS", "", true},
        {"IS", "DOE", false},
        {"IS", "12 DOE", false},
        {"IS", "1\\DOE", false},
        {"IS", "0x12", false},
        {"IS", "1 2", false},
        {"DS", "1.5E+3", true},
        {"DS", ".5", true},
        {"DS", "5.", true},
        {"DS", "+1e-7", true},
        {"DS", "nan", false},
        {"DS", ".", false},
        {"DS", "E5", false},
        {"DS", "1E", false},
        {"DS", "1-2", false},
        {"DS", "123456789012345678901234567890123", false},
        {"DS", "0.12345678901234567890", true},
        {"DS", "123456789012345.5", true},
        {"DS", "1234567890123456", false},
        {"IS", "1234567890123456", false},
        {"CS", "ORIGINAL\\PRIMARY", true},
        {"CS", "ISO_IR 100", true},
        {"CS", "DOE^JANE", false},
        {"CS", "JANE@HOME", false},
        {"CS", "SEVENTEENCHARSLNG", false},
        {"CS", "M\xc3\x9cLLER", false},
        {"UI", "1.2.3\\1.2.4", true},
        {"UI", "1.2.x", false},
        {"UI", "DOE", false},
        {"UI", "1.2.3456789012345678901234567890123456789012345678901234567890123", false},
        {"TM", "07", true},
        {"TM", "0727", true},
        {"TM", "072730.123456", true},
        {"TM", "07:27:30", true},
        {"TM", "24", false},
        {"TM", "0760", false},
        {"TM", "072730.1234567", false},
        {"TM", "DOE", false},
        {"TM", "07DOE", false},
        {"TM", "7", false},
        {"AS", "045Y", true},
        {"AS", "DOE", false},
        {"DA", "20040119", true},
        {"DA", "DOE", false},
        {"LO", "any text", true},
        {"LO", "two\nlines", false},
        {"LT", "two\r\nlines", true},
        {"LT", "bell\a", false},
        {"US", "ab", true},
        {"US", "abc", false},
        {"FD", "12345678", true},
        {"FD", "1234567", false},
        {"AT", "1234", true},
        {"AT", "12345", false},
        {"OB", "abc", true},
        {"OF", "abc", false},
        {"ZZ", "abc", false},
        {"PN", "Doe^Jane", true},
    };
    char longest[1000];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool fits = value_fits(value_vr(rows[i].vr), rows[i].text, strlen(rows[i].text));

        if (fits != rows[i].fits)
            print_message("%s %s\n", rows[i].vr, rows[i].text);
        assert_int_equal(fits, rows[i].fits);
    }
    assert_false(value_fits(value_vr("LO"), "a\0b", 3));
    assert_false(value_fits(value_vr("IS"), "1\0JANE", 6));
    /* words in numbers, of which a few may look so */
    assert_false(value_fits(value_vr("FD"), "DOE^JANE", 8));
    assert_false(value_fits(value_vr("US"), "DOE^JANE", 8));
    assert_false(value_fits(value_vr("UL"), "DOE^JANE    ", 12));
    assert_false(value_fits(value_vr("FL"), "MILLER, JANE", 12));
    assert_true(value_fits(value_vr("FL"), "DOE^JANE", 8));
    assert_true(value_fits(value_vr("US"), "JANE", 4));
    assert_true(value_fits(value_vr("FD"), "\x9a\x99\x99\x99\x99\x99\xf1\x3f", 8));
    assert_true(value_fits(value_vr("US"), "A\0B\0C\0D\0", 8));
    memset(longest, 'a', sizeof(longest));
    assert_false(value_fits(value_vr("LO"), longest, sizeof(longest)));
    assert_true(value_fits(value_vr("UC"), longest, sizeof(longest)));
}

static void test_dummies(void **state)
{
    static const char *const vrs[] = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO",
                                      "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"};
    static const char *const zeros[] = {"US", "FD", "OB", "OW", "AT", "UN"};

    (void)state;
    for (size_t i = 0; i < COUNT(vrs); i++) {
        const char *dummy = value_dummy(value_vr(vrs[i]));

        assert_non_null(dummy);
        assert_true(strlen(dummy) > 0 && strlen(dummy) <= 16);
        assert_true(value_fits(value_vr(vrs[i]), dummy, strlen(dummy)));
    }
    for (size_t i = 0; i < COUNT(zeros); i++)
        assert_null(value_dummy(value_vr(zeros[i])));
}

static void test_codes(void **state)
{
    static const char *const public[][2] = {
        {"DCM", "121071"},     {"SCT", "39607008"}, {"SRT", "T-28000"},
        {"LN", "18782-3"},     {"UCUM", "mm"},      {"UCUM", "10*-6"},
        {"RADLEX", "RID1301"}, {"NCIt", "C12345"},  {"UCUM", "{ratio}"},
    };
    static const char *const other[][2] = {
        {"99SITE", "121071"},
        {"DCM", "JANE"},
        {"DCM", ""},
        {"", "121071"},
        {"DCM", "1234567"},
        {"dcm", "121071"},
        {"SCT", "DOE^JANE"},
        {"SRT", "T28000"},
        {"LN", "187823"},
        {"LN", "1-2-3"},
        {"RADLEX", "RIDJANE"},
        {"RADLEX", "RID"},
        {"UCUM", "Jane Doe"},
        {"UCUM", "DOE^JANE"},
        {"DCM ", "121071"},
        {"SRT", "DOE-JANE1"},
        {"UCUM", "aaaaaaaaaaaaaaaaa"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(public); i++)
        assert_true(codes_is_public(public[i][0], public[i][1]));
    for (size_t i = 0; i < COUNT(other); i++)
        assert_false(codes_is_public(other[i][0], other[i][1]));
}

static void test_names(void **state)
{
    static const char *const names[] = {"DOE^JANE", "x doe^jane", "jane@example.org",
                                        "M\xc3\xbcller^\xc3\x84"};
    static const char *const none[] = {"10^3", "^", "a^", "^b", "a ^ b", "2@3", "syngo MR E11", ""};

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        assert_true(traces_look_like_a_name(names[i], strlen(names[i])));
    for (size_t i = 0; i < COUNT(none); i++)
        assert_false(traces_look_like_a_name(none[i], strlen(none[i])));
}

static void test_terms(void **state)
{
    static const char *const types[] = {"ORIGINAL",  "AXIAL", "PROJECTION IMAGE", "M_FFE",
                                        "ECHO_00",   "0011",  "CT_SOM5 SPI",      "T2_STAR",
                                        "ABDOM/RAD", "DIS2D", "EFGRE3D",          "T1",
                                        "",          "axial", "WHOLE BODY",       "ECHO2",
                                        "RCBF"};
    static const char *const no_types[] = {"Textcanary99", "JANE",      "DOE_JANE", "JANE 4",
                                           "98765",        "AXIALJANE", "M_JANE",   "1234 98765",
                                           "AXIAL12345",   "DOE12345",  "PRIMARYX"};
    static const char *const modalities[] = {"CT", "MR", "ANN", "XC", "RTRECORD", "OT", "AS"};
    static const char *const no_modalities[] = {"",     " ",  "CT MR", "TEXT", "C",   "CTX",
                                                "ANN ", "JR", "R RES", "ZZ",   "CT_", " CT"};

    (void)state;
    for (size_t i = 0; i < COUNT(types); i++)
        if (!terms_is_image_type(types[i], strlen(types[i])))
            fail_msg("%s", types[i]);
    for (size_t i = 0; i < COUNT(no_types); i++)
        if (terms_is_image_type(no_types[i], strlen(no_types[i])))
            fail_msg("%s", no_types[i]);
    for (size_t i = 0; i < COUNT(modalities); i++)
        assert_true(terms_is_modality(modalities[i], strlen(modalities[i])));
    for (size_t i = 0; i < COUNT(no_modalities); i++)
        if (terms_is_modality(no_modalities[i], strlen(no_modalities[i])))
            fail_msg("%s", no_modalities[i]);
    assert_true(terms_is_modality("CTX", 2));
    assert_true(terms_is_image_type("AXIALJANE", 5));
    assert_true(terms_is_photometric("PALETTE COLOR", 13));
    assert_true(terms_is_photometric("RGB", 3));
    assert_true(terms_is_sex("F", 1));
    assert_true(terms_is_sex("o", 1));
    assert_false(terms_is_sex("X", 1));
    assert_false(terms_is_sex("M F", 3));
    assert_false(terms_is_photometric("RGB", 2));
    assert_false(terms_is_photometric("JANE", 4));
    assert_false(terms_is_image_type("M^SE", 4));
    assert_true(terms_is_common("NONE", 4));
    assert_false(terms_is_common("NONE", 3));
    assert_false(terms_is_common("JANE", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moved),     cmocka_unit_test(test_not_moved),
        cmocka_unit_test(test_every_day), cmocka_unit_test(test_ages),
        cmocka_unit_test(test_forms),     cmocka_unit_test(test_dummies),
        cmocka_unit_test(test_codes),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_terms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
