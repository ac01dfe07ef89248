/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of filters/, and what deid_compile() refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "deid/code_table.h"
#include "deid/deid.h"
#include "deid/rules.h"

#define FILTERS SENDIT_SOURCE_DIR "/filters"

static char folder[] = "/tmp/sendit-tables-XXXXXX";
static const char *const columns[] = {
    "tag",     "basic",      "safe_private",   "uids",        "device",     "institution",
    "patient", "full_dates", "modified_dates", "descriptors", "structured", "graphics",
    NULL};
static const char *const two_columns[] = {"tag", "action", NULL};
static const char *const default_profiles[] = {"basic", "retain-patient-characteristics",
                                               "retain-modified-dates", NULL};
static const char *const only_basic[] = {"basic", NULL};

static struct deid_plan *compile(const char *const *profiles)
{
    struct deid_plan *plan = NULL;
    struct err err = {0};

    if (deid_compile(profiles, NULL, FILTERS, &plan, &err))
        print_message("%s\n", err.text);
    assert_non_null(plan);
    return plan;
}

/* The histogram of the edition: a row that was lost or misread shows here. */
static void test_histogram(void **state)
{
    static const struct {
        uint8_t codes;
        size_t n;
    } counts[] = {{CODE_X, 416},
                  {CODE_D, 93},
                  {CODE_U, 55},
                  {CODE_Z, 42},
                  {CODE_X | CODE_D, 23},
                  {CODE_X | CODE_Z, 11},
                  {CODE_X | CODE_Z | CODE_D, 8},
                  {CODE_Z | CODE_D, 6},
                  {CODE_X | CODE_Z | CODE_U, 2}};
    struct code_table table = {0};
    struct err err = {0};
    size_t total = 0, patient = 0, dates = 0;

    (void)state;
    assert_int_equal(code_table_load(FILTERS "/ps3.15-2026c.tsv", columns, &table, &err), 0);
    assert_int_equal(table.n_rows, 656);
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        size_t n = 0;

        for (size_t i = 0; i < table.n_rows; i++)
            n += table.rows[i].codes[0] == counts[c].codes;
        assert_int_equal(n, counts[c].n);
        total += n;
    }
    assert_int_equal(total, 656);
    for (size_t i = 0; i < table.n_rows; i++) {
        patient += table.rows[i].codes[5] != 0;
        dates += table.rows[i].codes[7] == CODE_C;
    }
    assert_int_equal(patient, 19);
    assert_int_equal(dates, 169);
    code_table_free(&table);
}

static void test_actions(void **state)
{
    static const struct {
        uint32_t tag;
        enum action basic, all;
    } rows[] = {
        {0x00100010, ACT_EMPTY, ACT_EMPTY},           /* PatientName */
        {0x00100020, ACT_PATIENT_ID, ACT_PATIENT_ID}, /* PatientID */
        {0x00100030, ACT_EMPTY, ACT_EMPTY},           /* PatientBirthDate */
        {0x00100040, ACT_EMPTY, ACT_KEEP},            /* PatientSex */
        {0x00101010, ACT_REMOVE, ACT_KEEP},           /* PatientAge */
        {0x00102110, ACT_REMOVE, ACT_REMOVE},         /* Allergies: C has no cleaner */
        {0x00080020, ACT_EMPTY, ACT_MOVE},            /* StudyDate */
        {0x00080023, ACT_DUMMY, ACT_MOVE},            /* ContentDate: D before Z */
        {0x00080030, ACT_EMPTY, ACT_KEEP},            /* StudyTime */
        {0x0008002a, ACT_DUMMY, ACT_MOVE},            /* AcquisitionDateTime */
        {0x00080201, ACT_REMOVE, ACT_REMOVE},         /* TimezoneOffsetFromUTC is no date */
        {0x00080018, ACT_UID, ACT_UID},               /* SOPInstanceUID */
        {0x00080017, ACT_UID, ACT_UID},               /* not in DCMTK's dictionary */
        {0x006a0003, ACT_UID, ACT_UID},               /* D of a UID */
        {0x00080080, ACT_DUMMY, ACT_DUMMY},           /* InstitutionName: X/Z/D */
        {0x00080082, ACT_REMOVE, ACT_REMOVE},         /* InstitutionCodeSequence */
        {0x00081072, ACT_REMOVE, ACT_REMOVE},         /* OperatorIdentificationSequence */
        {0x00081110, ACT_REMOVE, ACT_REMOVE},         /* ReferencedStudySequence */
        {0x00081111, ACT_KEEP, ACT_KEEP},             /* ReferencedPerformedProcedureStep */
        {0x00081140, ACT_KEEP, ACT_KEEP},             /* ReferencedImageSequence */
        {0x00082112, ACT_KEEP, ACT_KEEP},             /* SourceImageSequence */
        {0x00400555, ACT_EMPTY, ACT_EMPTY},           /* AcquisitionContextSequence */
        {0x00401101, ACT_ONE_CODE, ACT_ONE_CODE},     /* PersonIdentificationCodeSequence */
        {0x0040a730, ACT_TREE, ACT_TREE},             /* ContentSequence */
        {0x0040a073, ACT_TREE, ACT_TREE},             /* VerifyingObserverSequence */
        {0x00700001, ACT_TREE, ACT_TREE},             /* GraphicAnnotationSequence */
        {0x0040b020, ACT_TREE, ACT_TREE},             /* WaveformAnnotationSequence */
        {0x00340001, ACT_TREE, ACT_TREE},             /* FlowIdentifierSequence */
        {0x00420011, ACT_DUMMY, ACT_DUMMY},           /* EncapsulatedDocument */
        {0x00880200, ACT_REMOVE, ACT_REMOVE},         /* IconImageSequence */
        {0x4ffe0001, ACT_REMOVE, ACT_REMOVE},         /* MACParametersSequence */
        {0xfffafffa, ACT_REMOVE, ACT_REMOVE},         /* DigitalSignaturesSequence */
        {0xfffcfffc, ACT_REMOVE, ACT_REMOVE},         /* DataSetTrailingPadding */
        {0x00080016, ACT_KEEP, ACT_KEEP},             /* SOPClassUID */
        {0x00281052, ACT_JUDGE, ACT_JUDGE},           /* RescaleIntercept */
    };
    struct deid_plan *basic = compile(only_basic), *all = compile(default_profiles);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (plan_action(basic, rows[i].tag) != rows[i].basic ||
            plan_action(all, rows[i].tag) != rows[i].all)
            print_message("(%08X)\n", rows[i].tag);
        assert_int_equal(plan_action(basic, rows[i].tag), rows[i].basic);
        assert_int_equal(plan_action(all, rows[i].tag), rows[i].all);
    }
    for (size_t i = 0; i < all->n_rules; i++)
        assert_true(all->rules[i].action != ACT_NONE && all->rules[i].action != ACT_JUDGE);
    assert_int_equal(strlen(deid_digest(all)), 64);
    assert_string_not_equal(deid_digest(all), deid_digest(basic));
    deid_free(basic);
    deid_free(all);
    deid_free(NULL);
}

static void refuse(const char *const *profiles, const char *const *recipes, const char *filters,
                   const char *says)
{
    struct deid_plan *plan = NULL;
    struct err err = {0};

    assert_int_equal(deid_compile(profiles, recipes, filters, &plan, &err), -1);
    assert_int_equal(err.code, ERR_REFUSED);
    if (!strstr(err.text, says))
        print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, says));
    assert_null(plan);
}

static void test_refused_names(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const without[] = {"retain-modified-dates", NULL};
    static const char *const unknown[] = {"basic", "retain-uids", NULL};
    static const char *const cased[] = {"Basic", NULL};
    static const char *const absent[] = {"none-such", NULL};
    static const char *const no_word[] = {"../dicom", NULL};
    static const char *const dotted[] = {".", NULL};
    static const char *const empty[] = {"", NULL};

    (void)state;
    refuse(NULL, NULL, FILTERS, "\"basic\" must be among");
    refuse(none, none, FILTERS, "\"basic\" must be among");
    refuse(without, NULL, FILTERS, "\"basic\" must be among");
    refuse(unknown, NULL, FILTERS, "\"retain-uids\" is not there yet");
    refuse(cased, NULL, FILTERS, "\"Basic\" is not there yet");
    refuse(without, absent, FILTERS, "\"basic\" must be among");
    refuse(only_basic, absent, FILTERS, "deid.none-such\" cannot be read");
    refuse(none, absent, FILTERS, "deid.none-such\" cannot be read");
    refuse(none, no_word, FILTERS, "\"../dicom\" cannot be read");
    refuse(none, dotted, FILTERS, "\".\" is no recipe");
    refuse(none, empty, FILTERS, "\"\" is no recipe");
    refuse(only_basic, NULL, "/nowhere", "cannot be read");
}

static void refuse_table(const char *text, size_t len, const char *says)
{
    struct code_table table = {0};
    struct err err = {0};
    char path[64];

    snprintf(path, sizeof(path), "%s/bad.tsv", folder);
    assert_int_equal(file_replace(path, text, len, 0600), 0);
    assert_int_equal(code_table_load(path, two_columns, &table, &err), -1);
    assert_int_equal(err.code, ERR_REFUSED);
    if (!strstr(err.text, says))
        print_message("%s\n", err.text);
    assert_non_null(strstr(err.text, says));
    assert_null(table.rows);
}

static void test_refused_tables(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "no rows"},
        {"# nothing\n", "no rows"},
        {"tag\taction\n", "no rows"},
        {"tag action\n(0010,0010)\tX\n", ":1: the first line must name"},
        {"tag\tcode\n(0010,0010)\tX\n", ":1: the columns are not"},
        {"(0010,0010)\tX\n", ":1: the columns are not"},
        {"tag\taction\n(0010,0010)\tX", ":2: the last line has no end"},
        {"tag\taction\n\n", ":2: a row has"},
        {"tag\taction\n(0010,0010) X\n", ":2: a row has"},
        {"tag\taction\n(0010,0010)\tX\tX\n", ":2: a row has"},
        {"tag\taction\n(0010,0010)\tX\r\n", ":2: an action is"},
        {"tag\taction\n(0010,0010)\tX\n(0010,0020)\tQ\n", ":3: an action is"},
        {"tag\taction\n(0010,0010)\tx\n", ":2: an action is"},
        {"tag\taction\n(0010,0010)\tX/\n", ":2: an action is"},
        {"tag\taction\n(0010,0010)\tX/X\n", ":2: an action is"},
        {"tag\taction\n(0010,0010)\tXZ\n", ":2: an action is"},
        {"tag\taction\n(0010,0010)\t\n", ":2: an action is"},
        {"tag\taction\n(0010,0010)\t-\n", ":2: a row needs an action"},
        {"tag\taction\n0010,0010\tX\n", ":2: this is not a tag"},
        {"tag\taction\n(0010,001g)\tX\n", ":2: this is not a tag"},
        {"tag\taction\n(0010,001a)\tX\n", ":2: this is not a tag"},
        {"tag\taction\n(0011,0010)\tX\n", ":2: this is not a tag"},
        {"tag\taction\n (0010,0010)\tX\n", ":2: this is not a tag"},
        {"tag\taction\n(0010,0020)\tX\n(0010,0010)\tX\n", ":3: rows must be sorted"},
        {"tag\taction\n(0010,0010)\tX\n(0010,0010)\tZ\n", ":3: rows must be sorted"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse_table(bad[i].text, strlen(bad[i].text), bad[i].says);
    refuse_table("tag\taction\n(0010,0010)\tX\0\n", 26, "NUL");
}

static void copy_table(const char *name, const char *from, const char *to)
{
    char path[128], *text, *at;
    size_t len;

    snprintf(path, sizeof(path), FILTERS "/%s", name);
    assert_int_equal(file_read(path, CODE_TABLE_MAX_BYTES, &text, &len), 0);
    at = from ? strstr(text, from) : NULL;
    assert_true(!from || at);
    if (at) {
        assert_int_equal(strlen(from), strlen(to));
        memcpy(at, to, strlen(to));
    }
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(file_replace(path, text, len, 0600), 0);
    free(text);
}

/* Whole tables with one thing wrong. */
static void test_refused_pairs(void **state)
{
    (void)state;
    copy_table("ps3.15-2026c.tsv", NULL, NULL);
    copy_table("beyond-ps3.15.tsv", "(0008,0016)\tK", "(0008,0014)\tK");
    refuse(only_basic, NULL, folder, "(0008,0014) is in ps3.15-2026c.tsv already");
    copy_table("beyond-ps3.15.tsv", "(0008,0016)\tK", "(0008,0016)\tC");
    refuse(only_basic, NULL, folder, "one of X Z D U K");
    copy_table("beyond-ps3.15.tsv", NULL, NULL);
    copy_table("ps3.15-2026c.tsv", "(60xx,3000)\tX", "(60xx,3000)\tZ");
    refuse(only_basic, NULL, folder, "can only be removed");
    copy_table("ps3.15-2026c.tsv", "(odd,xxxx)\t", "#odd,xxxx)\t");
    refuse(only_basic, NULL, folder, "a pattern is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram),     cmocka_unit_test(test_actions),
        cmocka_unit_test(test_refused_names), cmocka_unit_test(test_refused_tables),
        cmocka_unit_test(test_refused_pairs),
    };
    char command[128];
    int r;

    if (!mkdtemp(folder))
        return 1;
    r = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) ? 1 : r;
}
