/* SPDX-License-Identifier: Apache-2.0 */
/* What the linter finds, where, and that each of its codes has a recipe here and a line in
 * filters/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "deid/lint.h"
#include "dicom/dicom.h"
#include "make_dicom.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define FILTERS SENDIT_SOURCE_DIR "/filters"
#define REAL SENDIT_SOURCE_DIR "/../shared/recipes/"
#define F "FORMAT dicom\n"
#define H F "%header\n"
#define L F "%filter greylist\nLABEL A\n"
#define W F "%filter whitelist\nLABEL A\n"

static char folder[] = "/tmp/sendit-lint-XXXXXX";
static struct dicom *dicom;

static struct lint *start(const struct lint_source *sources, size_t n)
{
    struct lint *lint;
    struct err err = {0};

    if (lint_new(sources, n, &lint, &err) || lint_rules(lint, &err))
        fail_msg("%s\n-> %s", sources[0].text, err.text);
    return lint;
}

static struct lint_source source_of(const char *file, const char *text)
{
    return (struct lint_source){.file = file, .text = text, .len = strlen(text)};
}

static void end(struct lint *lint)
{
    struct err err = {0};

    assert_int_equal(lint_end(lint, &err), 0);
}

static void show(const struct lint *lint)
{
    for (size_t i = 0; i < lint_count(lint); i++) {
        const struct lint_finding *one = lint_at(lint, i);

        print_message("%s:%u:%u: %s: %s\n", one->place.file, one->place.line, one->place.col,
                      lint_code_name(one->code), one->text);
    }
}

static bool has(const struct lint *lint, enum lint_code code, unsigned line, unsigned col)
{
    for (size_t i = 0; i < lint_count(lint); i++) {
        const struct lint_finding *one = lint_at(lint, i);

        if (one->code == code && one->place.line == line && one->place.col == col)
            return true;
    }
    return false;
}

static void is_well_written(const struct lint *lint)
{
    for (size_t i = 0; i < lint_count(lint); i++) {
        const struct lint_finding *one = lint_at(lint, i);

        assert_true(strlen(one->text) > 3);
        if (strcmp(one->text + strlen(one->text) - 3, "...") != 0)
            assert_true(one->text[strlen(one->text) - 1] != '.');
        assert_true(*one->instead && one->instead[strlen(one->instead) - 1] != '.');
        assert_null(strchr(one->text, '\n'));
    }
}

/* ---- each code ---- */

/* The shortest recipe that has it, and where.  Those of a profile, a corpus and of two recipes
 * have tests of their own. */
static const struct {
    enum lint_code code;
    const char *text;
    unsigned line, col;
} cases[] = {
    {LINT_ALWAYS_LABEL, L "coordinates all", 3, 1},
    {LINT_ANY_PATTERN, L "contains Modality a*", 4, 1},
    {LINT_DEAD_LABEL, L "equals Modality CT + equals Modality MR", 3, 1},
    {LINT_DEAD_RULE, H "KEEP PatientID\nREMOVE PatientID", 4, 1},
    {LINT_DEID_ADD, H "ADD patientid X", 3, 5},
    {LINT_DEID_BOX, L "COORDINATES 0,0,1,1\npresent Rows", 4, 1},
    {LINT_DEID_COMMENT, H "REMOVE PatientID #", 3, 18},
    {LINT_DEID_CONDITION, H "REMOVE PatientID equals:X", 3, 18},
    {LINT_DEID_DATE, H "JITTER AcquisitionDateTime 1", 3, 8},
    {LINT_DEID_FIELD, H "REMOVE 0x00100020", 3, 8},
    {LINT_DEID_KEEP, H "KEEP RequestAttributesSequence__StudyDate", 3, 6},
    {LINT_DEID_LABEL, L "contains Modality CT\n|| contains StudyID X", 3, 1},
    {LINT_DEID_MERGE, NULL, 0, 0},
    {LINT_DEID_PATTERN, L "contains StudyID \\D", 4, 1},
    {LINT_DEID_QUOTE, H "ADD PatientID \"X\"", 3, 15},
    {LINT_DEID_TEST, L "equals ImageType AXIAL", 4, 1},
    {LINT_DEID_UID, H "REPLACE StudyInstanceUID deid_func:pydicom_uuid", 3, 1},
    {LINT_DEID_VALUES, H "REMOVE values:a\n%values a\nFIELD PatientID", 3, 8},
    {LINT_DEID_VERB, H "remove PatientID", 3, 1},
    {LINT_INSIDE_REMOVED,
     H "REMOVE RequestAttributesSequence\nBLANK RequestAttributesSequence__StudyDate", 4, 1},
    {LINT_KEEPS, NULL, 0, 0},
    {LINT_LEAVES, NULL, 0, 0},
    {LINT_NO_ATTRIBUTE, H "REMOVE contains:nobody", 3, 8},
    {LINT_NO_DATE, H "JITTER Rows 1", 3, 8},
    {LINT_SEVERAL_CRITERIA, L "contains Modality CT\ncontains StudyID X", 5, 1},
    {LINT_SHADOWED_LABEL, L "present Rows\nLABEL B\npresent Rows", 5, 1},
    {LINT_SLOW_PATTERN, L "contains StudyID (a+)+[bc]", 4, 1},
    {LINT_UNFIT_VALUE, H "REPLACE StudyDate X", 3, 19},
    {LINT_UNKNOWN_VARIABLE, H "REPLACE StudyID var:x", 3, 17},
    {LINT_UNREAD_LABELS, F "%labels\nREMOVE StudyID", 3, 1},
    {LINT_UNTOUCHED, NULL, 0, 0},
    {LINT_UNUSED_GROUP, F "%fields a\nFIELD StudyID", 2, 9},
    {LINT_VARIABLE_FIELD, H "REMOVE jitter", 3, 8},
    {LINT_WIDE_WHITELIST, W "contains BurnedInAnnotation NO", 3, 1},
};

static void test_each_code(void **state)
{
    bool seen[LINT_CODES] = {false};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct lint_source source;
        struct lint *lint;

        seen[cases[i].code] = true;
        if (!cases[i].text)
            continue;
        source = source_of("r", cases[i].text);
        lint = start(&source, 1);
        end(lint);
        if (!has(lint, cases[i].code, cases[i].line, cases[i].col)) {
            show(lint);
            fail_msg("%s\n-> no %s at %u:%u", cases[i].text, lint_code_name(cases[i].code),
                     cases[i].line, cases[i].col);
        }
        is_well_written(lint);
        lint_free(lint);
    }
    for (size_t i = 0; i < LINT_CODES; i++)
        if (!seen[i])
            fail_msg("no recipe for %s", lint_code_name((enum lint_code)i));
}

static void test_codes_are_in_the_readme(void **state)
{
    static const char begin[] = "<!-- lint -->", finish[] = "<!-- end -->";
    bool seen[LINT_CODES] = {false};
    char *text, *at, *stop;
    size_t len;

    (void)state;
    assert_int_equal(file_read(FILTERS "/README.md", 1 << 20, &text, &len), 0);
    at = strstr(text, begin);
    assert_non_null(at);
    stop = strstr(at, finish);
    assert_non_null(stop);
    while ((at = strstr(at, "\n| `")) && at < stop) {
        size_t n = strcspn(at + 4, "`"), code = 0;

        while (code < LINT_CODES && (strlen(lint_code_name((enum lint_code)code)) != n ||
                                     strncmp(lint_code_name((enum lint_code)code), at + 4, n) != 0))
            code++;
        if (code == LINT_CODES)
            fail_msg("the page has %.*s, and the linter has not", (int)n, at + 4);
        seen[code] = true;
        at += 4;
    }
    for (size_t i = 0; i < LINT_CODES; i++)
        if (!seen[i])
            fail_msg("the page lacks %s", lint_code_name((enum lint_code)i));
    free(text);
}

/* ---- nothing to say ---- */

static void test_no_finding(void **state)
{
    static const char *const recipes[] = {
        L "contains Modality CT\n+ contains StudyID X || contains StudyID Y",
        L "contains Modality CT + contains StudyID X",
        L "missing StudyID + missing PatientID",
        L "contains Modality ct|mr\nLABEL B\ncontains Modality mr|us",
        L "contains Manufacturer GE MEDICAL\nLABEL B\ncontains Manufacturer GE",
        L "equals Modality CT\nLABEL B\nnotequals Modality CT",
        L "contains ImageType AXIAL + contains ImageType PRIMARY",
        L "equals Rows 512\ncoordinates 0,0,10,10",
        W "contains ManufacturerModelName X\n+ contains ImageType ORIGINAL",
        H "REMOVE PatientID\nADD PatientID var:entity_id",
        H "REPLACE StudyDate deid_func:jitter days=1\nJITTER StudyDate 1",
        H "BLANK StudyID\nADD StudyID X\nBLANK StudyID",
        H "KEEP StudyID\nADD StudyID X",
        H "REMOVE fields:d\n%fields d\nFIELD endswith:Date",
        H "JITTER StudyDate var:jitter",
        H "JITTER select:VR:DA var:jitter",
        H "REMOVE select:group:0011",
        H "REPLACE Rows 512",
        H "REMOVE (0033,\"MITRA\",1E)\nREMOVE (0033,\"MITRA\",1F)",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(recipes); i++) {
        struct lint_source source = source_of("r", recipes[i]);
        struct lint *lint = start(&source, 1);

        end(lint);
        if (lint_count(lint)) {
            show(lint);
            fail_msg("said something of:\n%s", recipes[i]);
        }
        lint_free(lint);
    }
}

/* ---- header rules that do nothing ---- */

/* The lines, from 3, that do; "x" does nothing. */
static void test_dead_rules(void **state)
{
    static const struct {
        const char *text, *idle;
    } grid[] = {
        /* in the order of the grid of recipes.md: first verb, then second */
        {"ADD StudyDate X\nADD StudyDate Y", "x."},
        {"ADD StudyID X\nBLANK StudyID", ".."},
        {"ADD StudyDate 20200101\nJITTER StudyDate 1", ".."},
        {"ADD StudyID X\nREPLACE StudyID Y", ".."},
        {"ADD StudyID X\nREMOVE StudyID", "x."},
        {"ADD StudyID X\nKEEP StudyID", ".."},
        {"BLANK StudyID\nADD StudyID X", ".."},
        {"BLANK StudyID\nBLANK StudyID", ".x"},
        {"BLANK StudyDate\nJITTER StudyDate 1", ".x"},
        {"BLANK StudyID\nKEEP StudyID", "x."},
        {"BLANK StudyID\nREPLACE StudyID X", "x."},
        {"BLANK StudyID\nREMOVE StudyID", "x."},
        {"JITTER StudyDate 1\nBLANK StudyDate", "x."},
        {"JITTER StudyDate 1\nJITTER StudyDate 1", ".."},
        {"JITTER StudyDate 1\nREPLACE StudyDate 20200101", "x."},
        {"JITTER StudyDate 1\nREMOVE StudyDate", ".x"},
        {"KEEP StudyID\nKEEP StudyID", ".x"},
        {"KEEP StudyID\nREPLACE StudyID X", ".x"},
        {"REPLACE StudyID X\nBLANK StudyID", "x."},
        {"REPLACE StudyDate 20200101\nJITTER StudyDate 1", ".."},
        {"REPLACE StudyID X\nREPLACE StudyID Y", "x."},
        {"REPLACE StudyID X\nREMOVE StudyID", ".x"},
        {"REMOVE StudyID\nADD StudyID X", ".."},
        {"REMOVE StudyID\nBLANK StudyID", ".x"},
        {"REMOVE StudyDate\nJITTER StudyDate 1", "x."},
        {"REMOVE StudyID\nREPLACE StudyID X", "x."},
        {"REMOVE StudyID\nREMOVE StudyID", ".x"},
        /* and beyond it */
        {"REMOVE StudyID equals:X\nREMOVE StudyID", ".."},
        {"REMOVE StudyID\nREMOVE StudyID equals:X", ".x"},
        {"REMOVE endswith:ID\nREMOVE StudyID", ".x"},
        {"KEEP contains:Study\nREMOVE StudyID", ".x"},
        {"KEEP except:Study\nREMOVE Modality", ".."},
        {"REMOVE ALL\nREMOVE contains:Study", ".x"},
        {"REMOVE contains:Study\nREMOVE contains:study", ".x"},
        {"REMOVE contains:Stu\nREMOVE contains:Study", ".."},
        {"REPLACE StudyInstanceUID deid_func:pydicom_uuid\nREPLACE StudyInstanceUID "
         "deid_func:pydicom_uuid",
         ".."},
        {"REMOVE RequestAttributesSequence__StudyDate\nREMOVE StudyDate", ".."},
        {"REMOVE StudyDate\nREMOVE RequestAttributesSequence__StudyDate", ".x"},
        {"KEEP RequestAttributesSequence\nBLANK RequestAttributesSequence__StudyDate", ".x"},
        {"KEEP StudyDate\nBLANK RequestAttributesSequence__StudyDate", ".x"},
        {"KEEP RequestAttributesSequence__StudyDate\nREMOVE StudyDate", ".."},
        {"REMOVE StudyDate\nJITTER fields:d 1\n%fields d\nFIELD StudyDate", ".."},
        {"BLANK ALL\nREPLACE StudyDate 20200101\nBLANK ALL", ".x."},
        {"BLANK fields:d\nREPLACE StudyDate 20200101\nBLANK fields:d\n%fields d\nFIELD StudyDate",
         ".x."},
        {"REMOVE StudyDate\nBLANK StudyDate\nJITTER StudyDate 1", "x.."},
        {"REMOVE fields:d\nJITTER endswith:Date 1\nJITTER fields:d 1\n%fields d\nFIELD StudyDate",
         "..."},
        {"KEEP StudyID\nKEEP RequestAttributesSequence__StudyID", ".."},
        {"KEEP RequestAttributesSequence__StudyID\nKEEP RequestAttributesSequence__StudyID", ".x"},
        {"REMOVE (0033,\"A\",1E)\nBLANK (0033,\"A\",1E)", ".x"},
        {"REMOVE (0033,\"A\",1E)\nBLANK (0033,\"B\",1E)", ".."},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(grid); i++) {
        char text[300];
        struct lint_source source;
        struct lint *lint;

        snprintf(text, sizeof(text), "%s%s", H, grid[i].text);
        source = source_of("r", text);
        lint = start(&source, 1);
        for (unsigned k = 0; grid[i].idle[k]; k++)
            if (has(lint, LINT_DEAD_RULE, 3 + k, 1) != (grid[i].idle[k] == 'x')) {
                show(lint);
                fail_msg("%s\n-> line %u", text, 3 + k);
            }
        lint_free(lint);
    }
}

/* ---- LABELs ---- */

static void test_labels(void **state)
{
    static const struct {
        const char *text;
        enum lint_code code;
        bool found;
    } grid[] = {
        {"equals Modality CT\n+ contains Modality M", LINT_DEAD_LABEL, true},
        {"equals ImageType A\n+ equals ImageType B", LINT_DEAD_LABEL, false},
        {"missing StudyID\n+ contains StudyID X", LINT_DEAD_LABEL, true},
        {"missing StudyID\n+ empty StudyID", LINT_DEAD_LABEL, true},
        {"empty StudyID\n+ contains StudyID X", LINT_DEAD_LABEL, true},
        {"equals Rows 512\n+ equals Rows 512.0", LINT_DEAD_LABEL, false},
        {"equals Rows 512\n+ equals Rows 256", LINT_DEAD_LABEL, true},
        {"equals Rows 512.0\n+ notcontains Rows 512.0", LINT_DEAD_LABEL, false},
        {"contains StudyID X\n+ notcontains StudyID x", LINT_DEAD_LABEL, true},
        {"present StudyID\n|| missing StudyID", LINT_ALWAYS_LABEL, true},
        {"notequals Modality CT\n|| notequals Modality MR", LINT_ALWAYS_LABEL, true},
        {"present StudyID\n|| missing PatientID", LINT_ALWAYS_LABEL, false},
        {"equals Modality CT + present Rows\nLABEL B\nequals Modality CT", LINT_SHADOWED_LABEL,
         false},
        {"equals Modality CT\nLABEL B\nequals Modality CT + present Rows", LINT_SHADOWED_LABEL,
         true},
        {"contains Manufacturer GE\nLABEL B\ncontains Manufacturer GE MEDICAL", LINT_SHADOWED_LABEL,
         true},
        {"contains ImageType DERIVED|SAVE\nLABEL B\ncontains ImageType SAVE", LINT_SHADOWED_LABEL,
         true},
        {"contains ImageType SAVE\nLABEL B\ncontains ImageType DERIVED|SAVE", LINT_SHADOWED_LABEL,
         false},
        {"contains Modality CT\nLABEL B\nequals Modality CT", LINT_SHADOWED_LABEL, true},
        {"present Rows\n%filter blacklist\nLABEL B\npresent Rows", LINT_SHADOWED_LABEL, true},
        /* the blacklist is asked first, though it stands behind */
        {"equals Modality CT + present Rows\n%filter blacklist\nLABEL B\nequals Modality CT",
         LINT_SHADOWED_LABEL, true},
        /* what is flagged is blanked, too, whoever decides */
        {"present StudyID\nLABEL B\npresent StudyID\ncoordinates all", LINT_SHADOWED_LABEL, false},
        {"present StudyID\ncoordinates all\nLABEL B\npresent StudyID", LINT_SHADOWED_LABEL, true},
        {"present StudyID\ncoordinates all\n%filter whitelist\nLABEL B\npresent StudyID",
         LINT_SHADOWED_LABEL, true},
        {"present StudyID\n%filter whitelist\nLABEL B\npresent StudyID\ncoordinates all",
         LINT_DEAD_RULE, true},
        {"equals Modality CT\nLABEL B\nequals Modality CT + equals Modality MR",
         LINT_SHADOWED_LABEL, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(grid); i++) {
        char text[300];
        struct lint_source source;
        struct lint *lint;
        bool found = false;

        snprintf(text, sizeof(text), "%s%s", L, grid[i].text);
        source = source_of("r", text);
        lint = start(&source, 1);
        for (size_t k = 0; k < lint_count(lint); k++)
            found = found || lint_at(lint, k)->code == grid[i].code;
        if (found != grid[i].found) {
            show(lint);
            fail_msg("%s\n-> %s", text, lint_code_name(grid[i].code));
        }
        lint_free(lint);
    }
}

static void test_whitelists(void **state)
{
    static const struct {
        const char *text;
        bool wide;
    } grid[] = {
        {"contains BurnedInAnnotation NO", true},
        {"contains ManufacturerModelName Sensation 64\n+ contains Modality CT", true},
        {"contains ImageType ORIGINAL\n+ equals Modality CT", true},
        {"contains ManufacturerModelName X\n+ contains ImageType ORIGINAL", false},
        {"contains Manufacturer X\n+ equals SOPClassUID 1.2.840.10008.5.1.4.1.1.2", false},
        {"contains Manufacturer X\n|| contains ImageType ORIGINAL", true},
        {"contains Manufacturer X + contains ImageType A\nequals Modality CT", true},
        {"contains Manufacturer .*\n+ contains ImageType ORIGINAL", true},
        {"notcontains Manufacturer X\n+ contains ImageType ORIGINAL", true},
        {"coordinates all", true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(grid); i++) {
        char text[300];
        struct lint_source source;
        struct lint *lint;

        snprintf(text, sizeof(text), "%s%s", W, grid[i].text);
        source = source_of("r", text);
        lint = start(&source, 1);
        if (has(lint, LINT_WIDE_WHITELIST, 3, 1) != grid[i].wide)
            fail_msg("%s", text);
        lint_free(lint);
    }
}

/* ---- pydicom/deid 0.4.12 ---- */

/* What recipes.md says of it: lines are joined by AND, whatever stands before them; in a line from
 * left to right; values are shifted by tests without one; a split at any "+" or "||". */
static void test_labels_there(void **state)
{
    static const struct {
        const char *text, *says; /* NULL: judged alike */
    } grid[] = {
        {"contains Modality CT\n+ contains StudyID X", NULL},
        {"contains Modality CT || contains Modality MR\n+ contains StudyID X", NULL},
        {"contains Modality CT\n+ contains StudyID X || contains StudyID Y", NULL},
        {"contains Modality CT\ncontains StudyID X", "holds here, and not in deid"},
        {"contains Modality CT\n|| contains StudyID X",
         "of which \"contains Modality CT\" holds, but not \"contains StudyID X\""},
        {"notequals Modality CT\n|| contains StudyID X",
         "of which neither \"equals Modality CT\" nor \"contains StudyID X\" holds"},
        {"contains Modality CT\ncontains Modality CT", NULL},
        {"equals Modality CT\nequals Modality MR", "and not in deid"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(grid); i++) {
        char text[300];
        struct lint_source source;
        struct lint *lint;
        const char *found = NULL;

        snprintf(text, sizeof(text), "%s%s", L, grid[i].text);
        source = source_of("r", text);
        lint = start(&source, 1);
        for (size_t k = 0; k < lint_count(lint); k++)
            if (lint_at(lint, k)->code == LINT_DEID_LABEL)
                found = lint_at(lint, k)->text;
        if (!found != !grid[i].says || (found && !strstr(found, grid[i].says))) {
            show(lint);
            fail_msg("%s", text);
        }
        lint_free(lint);
    }
}

static void test_lines_there(void **state)
{
    static const struct {
        const char *text;
        enum lint_code code;
        unsigned line, col;
        const char *says;
    } grid[] = {
        {L "contains StudyID x # note", LINT_DEID_COMMENT, 4, 20, "a part of its value"},
        {L "missing StudyID # note", LINT_DEID_COMMENT, 4, 17, "a part of its field"},
        {L "contains StudyID \"a b\"", LINT_DEID_QUOTE, 4, 18, "quotes"},
        {L "matches Modality CT|MR", LINT_DEID_TEST, 4, 1, "drops the line"},
        {L "contains StudyID a || matches Modality CT", LINT_DEID_TEST, 4, 18,
         "looks for \"a || matches Modality CT\""},
        {L "missing StudyID + contains Modality CT", LINT_DEID_TEST, 4, 37, "\"none\""},
        {L "missing StudyID + contains Modality CT + contains PatientID X", LINT_DEID_TEST, 4, 37,
         "looks for \"X\""},
        {L "contains  Modality CT", LINT_DEID_TEST, 4, 11, "looks for \"Modality CT\""},
        {L "contains\tModality CT", LINT_DEID_TEST, 4, 1, "stops"},
        {L "contains StudyID a+ b + contains Modality CT", LINT_DEID_TEST, 4, 21, "stops"},
        {L "contains (0008,0060) CT", LINT_DEID_FIELD, 4, 10, "never holds"},
        {L "notcontains 00080060 CT", LINT_DEID_FIELD, 4, 13, "always holds"},
        {L "contains modality CT", LINT_DEID_FIELD, 4, 10, "never holds"},
        {L "equals 0x00080060 CT", LINT_DEID_TEST, 4, 8, "all that it prints"},
        {L "contains ImageType ^DERIVED", LINT_DEID_TEST, 4, 1, "list"},
        {L "empty Rows", LINT_DEID_TEST, 4, 1, "number 0"},
        {L "missing Rows", LINT_DEID_TEST, 4, 1, "empty number"},
        {L "contains StudyID [[:digit:]]", LINT_DEID_PATTERN, 4, 1, "Python"},
        {L "present Rows\ncoordinates 0,0,1,1 # top", LINT_DEID_BOX, 5, 21, "comment"},
        {L "present Rows\ncoordinates from:SequenceOfUltrasoundRegions", LINT_DEID_BOX, 5, 13,
         "first image"},
        {H "ADD PatientID var:entity_id # note", LINT_DEID_COMMENT, 3, 29, "original"},
        {H "ADD PatientID X # note", LINT_DEID_COMMENT, 3, 17, "blank"},
        {H "ADD PatientID a#b", LINT_DEID_COMMENT, 3, 16, "cuts"},
        {H "BLANK PatientID contains:X", LINT_DEID_CONDITION, 3, 17, "blanks whatever"},
        {H "ADD (0010,0020) X", LINT_DEID_ADD, 3, 5, "stops"},
        {H "ADD (0033,\"A\",1E) X", LINT_DEID_ADD, 3, 5, "stops"},
        {H "REMOVE PatientsName", LINT_DEID_FIELD, 3, 8, "knows no PatientsName"},
        {H "REMOVE (0040,0275)__(0008,0020)", LINT_DEID_FIELD, 3, 8, "does nothing"},
        {H "REMOVE RequestAttributesSequence__0__StudyDate", LINT_DEID_FIELD, 3, 8, "nothing"},
        {H "REMOVE contains:\\Date|Study", LINT_DEID_PATTERN, 3, 8, "\\d"},
        {H "KEEP fields:a\n%fields a\nFIELD StudyID", LINT_DEID_KEEP, 3, 6, "group"},
        {H "REPLACE SOPInstanceUID deid_func:pydicom_uuid", LINT_DEID_UID, 3, 9, "(0002,0003)"},
        {H "REPLACE StudyID deid_func:basic_uuid", LINT_DEID_UID, 3, 1, "another value"},
        {H "JITTER StudyTime 1", LINT_DEID_DATE, 3, 8, "makes a date"},
        {H "JITTER StudyTime 1", LINT_NO_DATE, 3, 8, "time of day"},
        {H "DEFAULT REMOVE", LINT_DEID_VERB, 3, 1, "no DEFAULT"},
        {"format dicom\n%header\nREMOVE StudyID", LINT_DEID_VERB, 1, 1, "FORMAT in capitals"},
        {"FORMAT dicom # x\n%header\nREMOVE StudyID", LINT_DEID_COMMENT, 1, 14, "the format"},
        {H "JITTER endswith:Time 1", LINT_DEID_DATE, 3, 8, "makes a date"},
        {H "JITTER contains:Patient 1", LINT_NO_DATE, 3, 8, "no dates, too"},
        {H "JITTER fields:a 1\n%fields a\nFIELD endswith:Name", LINT_NO_DATE, 3, 8, "no dates"},
        {H "JITTER StudyDate 0", LINT_NO_DATE, 3, 1, "0 days"},
        {H "REPLACE Rows many", LINT_UNFIT_VALUE, 3, 14, "US"},
        {H "REMOVE fields:a\n%fields a\nFIELD contains:nobody", LINT_NO_ATTRIBUTE, 5, 7, "nobody"},
        {H "REMOVE select:group:1234", LINT_NO_ATTRIBUTE, 3, 8, "1234"},
        {H "REMOVE fields:a\n%fields a\nfield StudyID", LINT_DEID_VERB, 5, 1, "FIELD"},
        {H "REMOVE values:jitter\n%values jitter\nFIELD StudyID", LINT_DEID_VALUES, 4, 9,
         "in place of the variable"},
        {H "ADD StudyDate var:item_timestamp", LINT_UNKNOWN_VARIABLE, 3, 15, "item_timestamp"},
        {H "REMOVE fields:a\n%fields a", LINT_UNUSED_GROUP, 4, 9, "no line"},
        {H "REMOVE contains:a*", LINT_ANY_PATTERN, 3, 8, "every value"},
        {H "REMOVE StudyID contains:(x+)+$", LINT_SLOW_PATTERN, 3, 16, "4096 times \"x\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(grid); i++) {
        struct lint_source source = source_of("r", grid[i].text);
        struct lint *lint = start(&source, 1);
        bool said = false;

        for (size_t k = 0; k < lint_count(lint); k++)
            said = said || (lint_at(lint, k)->code == grid[i].code &&
                            strstr(lint_at(lint, k)->text, grid[i].says));
        if (!said || !has(lint, grid[i].code, grid[i].line, grid[i].col)) {
            show(lint);
            fail_msg("%s\n-> no %s: %s", grid[i].text, lint_code_name(grid[i].code), grid[i].says);
        }
        lint_free(lint);
    }
}

/* ---- several recipes ---- */

static void test_merge(void **state)
{
    static const char merged[] = "FORMAT dicom\n"
                                 "\n%filter greylist\nLABEL A\n  present Rows\n"
                                 "LABEL B # 1\n  present Columns\n"
                                 "\n%header\nREMOVE StudyID\nKEEP PatientID\n"
                                 "\n%fields a\nFIELD StudyDate\n";
    const struct lint_source sources[] = {
        source_of("one", F "# about\n%filter graylist\nLABEL A\npresent Rows\n%header\n"
                           "REMOVE StudyID # why\n"),
        source_of("two", F "%HEADER\nKEEP PatientID\n%fields a\nFIELD StudyDate\n"
                           "%filter greylist\r\nLABEL \"B # 1\"\r\n\tpresent Columns # all\r\n")};
    struct lint_source again = {.file = "again"};
    struct lint *lint = start(sources, 2);
    struct buf text = {0}, twice = {0};

    (void)state;
    assert_int_equal(lint_merged(lint, &text), 0);
    if (!strstr(text.data, "LABEL \"B # 1\""))
        fail_msg("%s", text.data);
    assert_int_equal(strncmp(text.data, merged, 60), 0);
    assert_true(has(lint, LINT_DEID_MERGE, 6, 1)); /* %filter greylist of the second */
    assert_true(has(lint, LINT_DEID_MERGE, 4, 1)); /* its %fields */
    lint_free(lint);
    again.text = text.data;
    again.len = text.len;
    lint = start(&again, 1);
    assert_int_equal(lint_merged(lint, &twice), 0);
    assert_string_equal(text.data, twice.data);
    lint_free(lint);
    buf_fini(&text);
    buf_fini(&twice);
}

/* A place is in the right file. */
static void test_rules_of_two_recipes(void **state)
{
    const struct lint_source sources[] = {source_of("one", H "KEEP StudyID\n"),
                                          source_of("two", H "\nREMOVE StudyID\n")};
    struct lint *lint = start(sources, 2);
    const struct lint_finding *one;
    size_t len;

    (void)state;
    end(lint);
    assert_int_equal(lint_count(lint), 1);
    one = lint_at(lint, 0);
    assert_string_equal(one->place.file, "two");
    assert_int_equal(one->place.line, 4);
    assert_non_null(strstr(one->text, "line 3 of one"));
    assert_memory_equal(lint_line(lint, &one->place, &len), "REMOVE StudyID", 14);
    assert_int_equal(len, 14);
    lint_free(lint);
}

/* ---- a profile, a corpus ---- */

static size_t count(const struct lint *lint, enum lint_code code)
{
    size_t n = 0;

    for (size_t i = 0; i < lint_count(lint); i++)
        n += lint_at(lint, i)->code == code;
    return n;
}

static void test_profile(void **state)
{
    static const char *const patient[] = {"basic", "retain-patient-characteristics", NULL};
    struct lint_source source = source_of("r", H "KEEP PatientSex\nREMOVE PatientName\n");
    struct lint *lint = start(&source, 1);
    struct err err = {0};
    bool id = false;

    (void)state;
    assert_int_equal(lint_profile(lint, NULL, FILTERS, &err), 0);
    end(lint);
    assert_true(has(lint, LINT_KEEPS, 3, 1));
    assert_true(has(lint, LINT_LEAVES, 3, 1));
    assert_int_equal(count(lint, LINT_LEAVES), 1);
    assert_null(strstr(lint_at(lint, 0)->text, "PatientName"));
    assert_non_null(strstr(lint_at(lint, 1)->text, ": private attributes, "));
    lint_free(lint);

    lint = start(&source, 1);
    assert_int_equal(lint_profile(lint, patient, FILTERS, &err), 0);
    assert_int_equal(count(lint, LINT_KEEPS), 0); /* the profile keeps it, too */
    assert_true(count(lint, LINT_LEAVES) > 500);
    for (size_t i = 0; i < lint_count(lint); i++)
        assert_null(strstr(lint_at(lint, i)->text, " PatientName"));
    lint_free(lint);

    source = source_of("r", H "REMOVE (0010,0020) equals:X\nREMOVE PatientName\n");
    lint = start(&source, 1); /* a rule with a condition is none of what it lets through */
    assert_int_equal(lint_profile(lint, patient, FILTERS, &err), 0);
    end(lint);
    for (size_t i = 0; i < lint_count(lint); i++)
        id = id || strstr(lint_at(lint, i)->text, "(0010,0020) PatientID, which");
    assert_true(id);
    lint_free(lint);

    source = source_of("r", H "DEFAULT REMOVE\nKEEP Rows\n");
    lint = start(&source, 1);
    assert_int_equal(lint_profile(lint, NULL, FILTERS, &err), 0);
    assert_int_equal(count(lint, LINT_LEAVES) + count(lint, LINT_KEEPS), 0);
    lint_free(lint);

    source = source_of("r", L "present StudyID\n"); /* no header rules, nothing to leave */
    lint = start(&source, 1);
    assert_int_equal(lint_profile(lint, NULL, FILTERS, &err), 0);
    assert_int_equal(lint_count(lint), 0);
    lint_free(lint);

    source = source_of("r", H "KEEP ALL\n");
    lint = start(&source, 1);
    assert_int_equal(lint_profile(lint, (const char *const[]){"nonsense", NULL}, FILTERS, &err),
                     -1);
    lint_free(lint);
}

static void open_and_look(struct lint *lint, const char *name, uint32_t block)
{
    char path[300];
    struct maker m = {0};
    struct dicom_object *object;
    struct dicom_refusal refusal;
    struct stat st;
    struct err err = {0};

    make_meta(&m, EXPLICIT);
    make_text(&m, 0x00080016, "UI", CT_CLASS);
    make_text(&m, 0x00080018, "UI", "1.2.3");
    make_text(&m, 0x00090000 | block, "LO", "SECRETMAKER");
    make_text(&m, 0x00090001 | block << 8, "LO", "SECRETVALUE");
    make_text(&m, 0x00100010, "PN", "SECRET^NAME");
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(file_replace(path, m.buf.data, m.buf.len, 0600), 0);
    buf_fini(&m.buf);
    if (dicom_open(dicom, path, &object, &st, &refusal))
        fail_msg("%s", refusal.text);
    assert_int_equal(lint_object(lint, dicom_dataset(object), &err), 0);
    dicom_close(object);
    unlink(path);
}

static void test_corpus(void **state)
{
    struct lint_source source = source_of("r", H "REMOVE endswith:UID\n");
    struct lint *lint = start(&source, 1);
    bool name = false, private = false;

    (void)state;
    open_and_look(lint, "1", 0x10);
    open_and_look(lint, "2", 0x11);
    end(lint);
    assert_int_equal(count(lint, LINT_UNTOUCHED), 2);
    for (size_t i = 0; i < lint_count(lint); i++) {
        const char *text = lint_at(lint, i)->text;

        assert_null(strstr(text, "SECRET"));
        assert_int_equal(lint_at(lint, i)->place.line, 0);
        name = name || strstr(text, "(0010,0010) PatientName, which is in 2 of");
        private = private || strstr(text, "(0009,xx01), which is in 2 of");
    }
    assert_true(name);
    assert_true(private);
    lint_free(lint);
}

/* ---- what is large, and what is real ---- */

static void test_large(void **state)
{
    struct buf text = {0};
    struct lint_source source;
    struct lint *lint;
    time_t begin = time(NULL);

    (void)state;
    buf_str(&text, H);
    for (int i = 0; i < RECIPE_MAX_ACTIONS; i++)
        buf_str(&text, i % 3 ? "REMOVE contains:Study\n" : "REMOVE PatientID\n");
    buf_str(&text, "%filter greylist\n");
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, "LABEL %d\ncontains Manufacturer m%d + equals Rows %d\n", i, i, i);
    assert_false(text.failed);
    source = source_of("r", text.data);
    lint = start(&source, 1);
    end(lint);
    assert_true(lint_is_cut(lint));
    lint_free(lint);
    buf_fini(&text);
    assert_true(time(NULL) - begin < 60);
}

static void test_refused(void **state)
{
    struct lint_source source = source_of("r", H "REMOVE PatientNmae\n");
    struct lint *lint;
    struct err err = {0};

    (void)state;
    assert_int_equal(lint_new(&source, 1, &lint, &err), -1);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_non_null(strstr(err.text, "r:3:8: "));
}

/* pydicom/deid's own, and ours: what is said of them, in numbers. */
static void look_at_file(const char *path, const enum lint_code *codes, size_t n, bool others)
{
    struct lint_source source = {.file = path};
    struct lint *lint;
    char *text;

    if (file_read(path, RECIPE_MAX_BYTES, &text, &source.len)) {
        print_message("[  SKIPPED ] %s is not beside the tree\n", path);
        return;
    }
    source.text = text;
    lint = start(&source, 1);
    end(lint);
    is_well_written(lint);
    for (size_t i = 0; i < n; i++)
        if (!count(lint, codes[i]))
            fail_msg("%s has no %s", path, lint_code_name(codes[i]));
    for (size_t k = 0; !others && k < lint_count(lint); k++) {
        bool known = false;

        for (size_t i = 0; i < n; i++)
            known = known || lint_at(lint, k)->code == codes[i];
        if (!known) {
            show(lint);
            fail_msg("%s: %s", path, lint_at(lint, k)->text);
        }
    }
    lint_free(lint);
    free(text);
}

static void test_recipes_that_are_there(void **state)
{
    static const enum lint_code theirs[] = {LINT_DEID_LABEL, LINT_WIDE_WHITELIST,
                                            LINT_VARIABLE_FIELD, LINT_DEAD_RULE,
                                            LINT_UNKNOWN_VARIABLE};
    static const enum lint_code chest[] = {LINT_DEID_LABEL, LINT_WIDE_WHITELIST,
                                           LINT_SHADOWED_LABEL};
    static const enum lint_code ultrasound[] = {LINT_ALWAYS_LABEL, LINT_DEID_BOX,
                                                LINT_WIDE_WHITELIST};
    static const enum lint_code generic[] = {LINT_DEID_LABEL, LINT_SEVERAL_CRITERIA,
                                             LINT_SHADOWED_LABEL, LINT_DEID_FIELD, LINT_DEID_TEST};
    static const enum lint_code own_chest[] = {LINT_DEID_LABEL, LINT_SEVERAL_CRITERIA};
    static const enum lint_code axial[] = {LINT_DEID_TEST};
    static const enum lint_code trial[] = {LINT_DEID_LABEL, LINT_DEID_QUOTE};

    (void)state;
    look_at_file(REAL "deid.dicom", theirs, COUNT(theirs), true);
    look_at_file(REAL "deid.dicom.xray.chest", chest, COUNT(chest), false);
    look_at_file(REAL "deid.dicom.ultrasound", ultrasound, COUNT(ultrasound), true);
    look_at_file(FILTERS "/deid.dicom", generic, COUNT(generic), false);
    look_at_file(FILTERS "/deid.dicom.xray.chest", own_chest, COUNT(own_chest), false);
    look_at_file(FILTERS "/deid.dicom.ct-mr-axial", axial, COUNT(axial), false);
    look_at_file(FILTERS "/deid.dicom.clinical-trial-example", trial, COUNT(trial), false);
}

static int set_up(void **state)
{
    struct dicom_limits limits = {.max_inflate = 1 << 20};
    struct err err;

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    dicom = dicom_new(&limits, "/tmp", &err);
    return dicom ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    dicom_free(dicom);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_code),
        cmocka_unit_test(test_codes_are_in_the_readme),
        cmocka_unit_test(test_no_finding),
        cmocka_unit_test(test_dead_rules),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_whitelists),
        cmocka_unit_test(test_labels_there),
        cmocka_unit_test(test_lines_there),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_rules_of_two_recipes),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_recipes_that_are_there),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
