/* SPDX-License-Identifier: Apache-2.0 */
/* Header rules of recipes on whole data sets, alone and on top of a profile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "deid/deid.h"
#include "deid/identity.h"
#include "dicom/dicom.h"
#include "make_dicom.h"

#define FILTERS SENDIT_SOURCE_DIR "/filters"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define H "FORMAT dicom\n%header\n"
#define NEW_ID "9f1c2d3e4b5a6978"
#define ABSENT NULL /* of assert_value() */

enum {
    SOP_CLASS = 0x00080016,
    SOP_UID = 0x00080018,
    STUDY_DATE = 0x00080020,
    STUDY_TIME = 0x00080030,
    ACCESSION = 0x00080050,
    MODALITY = 0x00080060,
    STUDY_DESCRIPTION = 0x00081030,
    REFERENCED_STUDY = 0x00081110,
    REFERENCED_UID = 0x00081155,
    PATIENT_NAME = 0x00100010,
    PATIENT_ID = 0x00100020,
    STUDY_UID = 0x0020000d,
    STUDY_ID = 0x00200010,
    ROWS = 0x00280010,
    REQUEST = 0x00400275,
    STEP_DESCRIPTION = 0x00400007,
    STEP_ID = 0x00400009
};

static char folder[] = "/tmp/sendit-header-XXXXXX";
static struct dicom *dicom;
static struct identity_key key = {.len = IDENTITY_KEY_MIN};
static const char *const basic[] = {"basic", NULL};
static const char *on_failure; /* of the next plan */

struct trip {
    struct dicom_object *object;
    struct sendit_dataset *ds;
    struct deid_plan *plan;
    struct sendit_report report;
    struct sendit_why why;
    sendit_result result;
};

static sendit_result map_uid(void *ctx, const char *original, const char **ret_uid)
{
    static char uid[IDENTITY_UID];

    (void)ctx;
    if (identity_uid(&key, original, uid))
        return SENDIT_EINVAL;
    *ret_uid = uid;
    return SENDIT_OK;
}

static sendit_result make_uuid(void *ctx, const char *original, uint8_t ret_uuid[16])
{
    (void)ctx;
    return identity_uuid(&key, original, ret_uuid) ? SENDIT_EINVAL : SENDIT_OK;
}

static struct deid_keyed keyed = {.uid = map_uid, .uuid = make_uuid};

static void open_item(struct maker *m, uint32_t tag)
{
    make_header(m, tag, "SQ", UNDEFINED_LENGTH);
    make_header(m, ITEM_TAG, "", UNDEFINED_LENGTH);
}

static void next_item(struct maker *m)
{
    make_header(m, ITEM_END_TAG, "", 0);
    make_header(m, ITEM_TAG, "", UNDEFINED_LENGTH);
}

static void close_item(struct maker *m)
{
    make_header(m, ITEM_END_TAG, "", 0);
    make_header(m, SEQUENCE_END_TAG, "", 0);
}

/* The data set of most tests. */
static void make_usual(struct maker *m)
{
    make_text(m, SOP_CLASS, "UI", CT_CLASS);
    make_text(m, SOP_UID, "UI", "1.2.3.4");
    make_text(m, STUDY_DATE, "DA", "20200101");
    make_text(m, STUDY_TIME, "TM", "101010");
    make_text(m, ACCESSION, "SH", "ACC12345");
    make_text(m, MODALITY, "CS", "CT");
    make_text(m, STUDY_DESCRIPTION, "LO", "Doe chest 7654321");
    open_item(m, REFERENCED_STUDY);
    make_text(m, REFERENCED_UID, "UI", "1.2.3.5");
    make_text(m, PATIENT_ID, "LO", "7654321");
    next_item(m);
    make_text(m, PATIENT_ID, "LO", "second");
    close_item(m);
    make_text(m, PATIENT_NAME, "PN", "Doe^Jane");
    make_text(m, PATIENT_ID, "LO", "7654321");
    make_text(m, STUDY_UID, "UI", "1.2.3.6");
    make_text(m, STUDY_ID, "SH", "");
    make_us(m, ROWS, 512);
    make_text(m, 0x00330010, "LO", "MITRA X: 1.0");
    make_text(m, 0x00330011, "LO", "OTHER");
    make_text(m, 0x0033101e, "LO", "private one");
    make_text(m, 0x0033111e, "LO", "private two");
    open_item(m, REQUEST);
    make_text(m, STEP_DESCRIPTION, "LO", "a step");
    make_text(m, STEP_ID, "SH", "step 1");
    close_item(m);
}

static struct deid_plan *compile(const char *const *profiles, const char *text)
{
    char path[64];
    const char *const recipes[] = {path, NULL};
    struct deid_plan *plan = NULL;
    struct err err = {0};

    snprintf(path, sizeof(path), "%s/deid.recipe", folder);
    assert_int_equal(file_replace(path, text, strlen(text), 0600), 0);
    if (deid_compile(profiles, recipes, FILTERS, &plan, &err))
        fail_msg("%s\n-> %s", text, err.text);
    assert_true(!on_failure || deid_on_failure(plan, on_failure));
    return plan;
}

static void open_file(struct trip *t, struct maker *m)
{
    struct dicom_refusal refusal = {0};
    struct stat st;
    char path[64];

    assert_false(m->buf.failed);
    snprintf(path, sizeof(path), "%s/in.dcm", folder);
    assert_int_equal(file_replace(path, m->buf.data, m->buf.len, 0600), 0);
    if (dicom_open(dicom, path, &t->object, &st, &refusal))
        fail_msg("%s: %s", refusal.code, refusal.text);
    t->ds = dicom_dataset(t->object);
    buf_fini(&m->buf);
}

static void apply(struct trip *t)
{
    static const struct sendit_var vars[] = {
        {"entity_id", NEW_ID}, {"jitter", "-1"}, {"other_id", "item 7"}, {"bad_days", "many"}};

    dicom_begin(t->object, true);
    t->report = (struct sendit_report){0};
    t->why = (struct sendit_why){0};
    t->result = deid_apply(t->plan, t->ds, vars, COUNT(vars), &keyed, &t->report, &t->why);
}

/* The usual data set through a recipe. */
static void begin(struct trip *t, const char *const *profiles, const char *text)
{
    struct maker m = {0};

    *t = (struct trip){.plan = compile(profiles, text)};
    make_meta(&m, EXPLICIT);
    make_usual(&m);
    open_file(t, &m);
    apply(t);
}

static void end(struct trip *t)
{
    dicom_end(t->object, true);
    dicom_close(t->object);
    deid_free(t->plan);
}

static void run(struct trip *t, const char *const *profiles, const char *text)
{
    begin(t, profiles, text);
    if (t->result)
        fail_msg("%s\n-> %d %s: %s", text, (int)t->result, t->why.code, t->why.text);
}

static const char *value(struct sendit_dataset *ds, uint32_t tag)
{
    const char *text = NULL;

    return ds && !dicom_get(ds, tag, &text) ? text : NULL;
}

static void assert_value(struct sendit_dataset *ds, uint32_t tag, const char *wanted)
{
    const char *is = value(ds, tag);

    if (!is != !wanted || (is && strcmp(is, wanted) != 0))
        fail_msg("(%08X) is %s, not %s", tag, is ? is : "absent", wanted ? wanted : "absent");
}

static struct sendit_dataset *item(struct trip *t, uint32_t tag, size_t n)
{
    return dicom_nested(t->ds, tag, n);
}

/* ---- the grid ---- */

/* Section 6 of the notes on pydicom/deid: StudyDate 20200101, one action after the other.  What
 * both do is what runs there; only KEEP is stricter here, which beats all but ADD: in each of its
 * cells that comes to the same. */
static void test_grid(void **state)
{
    static const char *const first[] = {"ADD StudyDate 20210101",     "BLANK StudyDate",
                                        "JITTER StudyDate 1",         "KEEP StudyDate",
                                        "REPLACE StudyDate 20220202", "REMOVE StudyDate"};
    static const char *const second[] = {"ADD StudyDate 20230303",     "BLANK StudyDate",
                                         "JITTER StudyDate 2",         "KEEP StudyDate",
                                         "REPLACE StudyDate 20240404", "REMOVE StudyDate"};
    static const char *const is[6][6] = {
        /* ADD */ {"20230303", "", "20210103", "20210101", "20240404", ABSENT},
        /* BLANK */ {"20230303", "", "", "20200101", "20240404", ABSENT},
        /* JITTER */ {"20230303", "", "20200104", "20200101", "20240404", "20200102"},
        /* KEEP */ {"20230303", "20200101", "20200101", "20200101", "20200101", "20200101"},
        /* REPLACE */ {"20230303", "", "20220204", "20200101", "20240404", "20220202"},
        /* REMOVE */ {"20230303", ABSENT, "20200103", "20200101", "20240404", ABSENT}};

    (void)state;
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < 6; k++) {
            char text[200];
            struct trip t;
            const char *found;

            snprintf(text, sizeof(text), "%s%s\n%s\n", H, first[i], second[k]);
            run(&t, NULL, text);
            found = value(t.ds, STUDY_DATE);
            if (!found != !is[i][k] || (found && strcmp(found, is[i][k]) != 0))
                fail_msg("%s, %s: %s, not %s", first[i], second[k], found ? found : "absent",
                         is[i][k] ? is[i][k] : "absent");
            assert_value(t.ds, MODALITY, "CT"); /* nothing else is touched */
            end(&t);
        }
}

/* ---- fields ---- */

/* Which attributes a field means, by what REMOVE leaves. */
static void test_fields(void **state)
{
    enum {
        ID = 1,
        ID_0 = 2,
        ID_1 = 4,
        NAME = 8,
        DATE = 16,
        TIME = 32,
        ONE = 64,
        TWO = 128,
        STEP = 256,
        SEQUENCE = 512 /* with what is in it */
    };
    static const struct {
        const char *field;
        unsigned gone;
    } rows[] = {
        {"PatientID", ID | ID_0 | ID_1},
        {"patientid", ID | ID_0 | ID_1},
        {"(0010,0020)", ID | ID_0 | ID_1},
        {"00100020", ID | ID_0 | ID_1},
        {"0x00100020", ID | ID_0 | ID_1},
        {"ReferencedStudySequence__PatientID", ID_0 | ID_1},
        {"ReferencedStudySequence__0__PatientID", ID_0},
        {"(0008,1110)__1__(0010,0020)", ID_1},
        {"ReferencedStudySequence__2__PatientID", 0},
        {"RequestAttributesSequence__PatientID", 0},
        {"RequestAttributesSequence__0__ScheduledProcedureStepID", STEP},
        {"ReferencedStudySequence", ID_0 | ID_1 | SEQUENCE},
        {"startswith:Patient", ID | ID_0 | ID_1 | NAME},
        {"endswith:Name", NAME},
        {"endswith:Date", DATE},
        {"contains:0010,0020", ID | ID_0 | ID_1},
        {"contains:^00100020$", ID | ID_0 | ID_1},
        {"contains:patientID|StudyDate", ID | ID_0 | ID_1 | DATE},
        {"contains:Study.*PatientID", ID_0 | ID_1}, /* over "__" */
        {"startswith:ReferencedStudySequence__", ID_0 | ID_1},
        {"startswith:ReferencedStudy", ID_0 | ID_1 | SEQUENCE},
        {"endswith:StudySequence__PatientID", ID_0 | ID_1},
        {"select:VR:PN", NAME},
        {"SELECT:vr:tm", TIME},
        {"select:group:0033", ONE | TWO},
        {"(0033,\"MITRA X: 1.0\",1E)", ONE},
        {"0033,\"mitra x: 1.0\",1e", ONE},
        {"(0033,\"OTHER\",1E)", TWO},
        {"(0033,\"MITRA\",1E)", 0},
        {"(0033,111E)", TWO},
        {"contains:mitra", ONE},
        {"endswith:111e", TWO},
        {"jitter", 0},
        {"PatientComments", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];
        struct trip t;
        unsigned gone = 0;

        snprintf(text, sizeof(text), "%sREMOVE %s\n", H, rows[i].field);
        run(&t, NULL, text);
        gone |= value(t.ds, PATIENT_ID) ? 0 : ID;
        gone |= value(item(&t, REFERENCED_STUDY, 0), PATIENT_ID) ? 0 : ID_0;
        gone |= value(item(&t, REFERENCED_STUDY, 1), PATIENT_ID) ? 0 : ID_1;
        gone |= value(t.ds, PATIENT_NAME) ? 0 : NAME;
        gone |= value(t.ds, STUDY_DATE) ? 0 : DATE;
        gone |= value(t.ds, STUDY_TIME) ? 0 : TIME;
        gone |= value(t.ds, 0x0033101e) ? 0 : ONE;
        gone |= value(t.ds, 0x0033111e) ? 0 : TWO;
        gone |= value(item(&t, REQUEST, 0), STEP_ID) ? 0 : STEP;
        gone |= item(&t, REFERENCED_STUDY, 0) ? 0 : SEQUENCE;
        if (gone != rows[i].gone)
            fail_msg("%s took %x, not %x", rows[i].field, gone, rows[i].gone);
        end(&t);
    }
}

static void test_all(void **state)
{
    struct trip t;

    (void)state;
    run(&t, NULL, H "REMOVE ALL\nKEEP startswith:SOP\nKEEP (0033,\"OTHER\",1E)\n");
    assert_value(t.ds, PATIENT_ID, ABSENT);
    assert_value(t.ds, ROWS, ABSENT);
    assert_value(t.ds, SOP_UID, "1.2.3.4");
    assert_value(t.ds, 0x0033111e, "private two"); /* and its creator */
    assert_value(t.ds, 0x00330011, "OTHER");
    assert_value(t.ds, 0x00330010, ABSENT);
    end(&t);
    /* what contains it and what is below, is not meant */
    run(&t, NULL, H "REMOVE except:sop|referenced\n");
    assert_value(t.ds, SOP_UID, "1.2.3.4");
    assert_value(t.ds, PATIENT_ID, ABSENT);
    assert_value(item(&t, REFERENCED_STUDY, 0), PATIENT_ID, "7654321");
    assert_null(item(&t, REQUEST, 0));
    end(&t);
    run(&t, NULL,
        H "REMOVE fields:mine\n%fields mine\nFIELD ReferencedStudySequence__PatientID\n"
          "FIELD endswith:Date\n");
    assert_value(t.ds, PATIENT_ID, ABSENT); /* by its tag, at every level */
    assert_value(item(&t, REFERENCED_STUDY, 1), PATIENT_ID, ABSENT);
    assert_value(t.ds, STUDY_DATE, ABSENT);
    assert_value(t.ds, PATIENT_NAME, "Doe^Jane");
    end(&t);
}

/* ---- KEEP ---- */

static void test_keep(void **state)
{
    struct trip t;

    (void)state;
    /* a path is kept where all around it goes */
    run(&t, NULL,
        H "REMOVE ReferencedStudySequence\nREMOVE PatientID\n"
          "KEEP ReferencedStudySequence__1__PatientID\n");
    assert_value(t.ds, PATIENT_ID, ABSENT);
    assert_non_null(item(&t, REFERENCED_STUDY, 0));
    assert_value(item(&t, REFERENCED_STUDY, 0), PATIENT_ID, ABSENT);
    assert_value(item(&t, REFERENCED_STUDY, 0), REFERENCED_UID, ABSENT);
    assert_value(item(&t, REFERENCED_STUDY, 1), PATIENT_ID, "second");
    end(&t);
    /* through fields: its path holds */
    run(&t, NULL,
        H "REMOVE PatientID\nKEEP fields:f\n%fields f\n"
          "FIELD ReferencedStudySequence__0__PatientID\n");
    assert_value(t.ds, PATIENT_ID, ABSENT);
    assert_value(item(&t, REFERENCED_STUDY, 0), PATIENT_ID, "7654321");
    assert_value(item(&t, REFERENCED_STUDY, 1), PATIENT_ID, ABSENT);
    end(&t);
    /* a sequence with all that is in it */
    run(&t, NULL, H "REMOVE PatientID\nKEEP ReferencedStudySequence\n");
    assert_value(item(&t, REFERENCED_STUDY, 1), PATIENT_ID, "second");
    end(&t);
    /* by value */
    run(&t, NULL,
        H "REMOVE contains:Description\nKEEP values:v\n%values v\n"
          "SPLIT PatientName by=^\n");
    assert_value(t.ds, STUDY_DESCRIPTION, "Doe chest 7654321");
    assert_value(item(&t, REQUEST, 0), STEP_DESCRIPTION, ABSENT);
    end(&t);
}

/* ---- private creators ---- */

/* What stays in a block keeps its creator; what nothing is left of does not; nothing that a rule
 * gave a value keeps its old one beside it. */
static void test_creators(void **state)
{
    static const struct {
        bool profile;
        const char *text, *value, *creator; /* of OTHER's 1E */
    } rows[] = {
        {true, "ADD (0033,\"OTHER\",1E) new\n", "new", "OTHER"},
        {true, "ADD (0033,\"OTHER\",1E) new\nBLANK (0033,\"OTHER\",1E)\n", "", "OTHER"},
        {true, "ADD (0033,\"OTHER\",1E) new\nREMOVE select:group:0033\n", ABSENT, ABSENT},
        {true, "REPLACE (0033,\"OTHER\",1E) new\n", ABSENT, ABSENT},
        {true, "KEEP (0033,\"OTHER\",1E)\n", "private two", "OTHER"},
        {true, "KEEP (0033,\"OTHER\",22)\n", ABSENT, ABSENT},
        {true, "KEEP (0033,111E)\n", "private two", "OTHER"},
        {true, "KEEP contains:other.,1e\n", "private two", "OTHER"},
        {true, "KEEP fields:f\n%fields f\nFIELD (0033,\"OTHER\",1E)\n", "private two", "OTHER"},
        {true, "KEEP values:v\n%values v\nFIELD (0033,\"OTHER\",1E)\n", "private two", "OTHER"},
        {false, "REMOVE ALL\nREPLACE (0033,\"OTHER\",1E) new\n", "new", "OTHER"},
        {false, "REMOVE (0033,0011)\nREPLACE (0033,\"OTHER\",1E) new\n", "new", "OTHER"},
        {false, "DEFAULT REMOVE\nREPLACE (0033,\"OTHER\",1E) new\n", "new", "OTHER"},
        {false, "DEFAULT BLANK\nREPLACE (0033,\"OTHER\",1E) new\n", "new", "OTHER"},
        {false, "DEFAULT REMOVE\nREPLACE contains:,1e new\nKEEP PatientID\n", "new", "OTHER"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];
        struct trip t;

        snprintf(text, sizeof(text), "%s%s", H, rows[i].text);
        run(&t, rows[i].profile ? basic : NULL, text);
        assert_value(t.ds, 0x0033111e, rows[i].value);
        assert_value(t.ds, 0x00330011, rows[i].creator);
        assert_value(t.ds, 0x00330012, ABSENT);
        assert_value(t.ds, 0x0033121e, ABSENT);
        if (rows[i].profile)
            assert_value(t.ds, 0x00330010, ABSENT);
        end(&t);
    }
}

/* Two blocks of one creator: the value of the second is not left beside the new one. */
static void test_creator_twice(void **state)
{
    struct maker m = {0};
    struct trip t = {.plan = compile(NULL, H "REPLACE (0033,\"OTHER\",1E) new\n")};

    (void)state;
    make_meta(&m, EXPLICIT);
    make_text(&m, SOP_CLASS, "UI", CT_CLASS);
    make_text(&m, SOP_UID, "UI", "1.2.3.4");
    make_text(&m, 0x00330010, "LO", "OTHER");
    make_text(&m, 0x00330011, "LO", "OTHER");
    make_text(&m, 0x0033101e, "LO", "private one");
    make_text(&m, 0x0033111e, "LO", "private two");
    open_file(&t, &m);
    apply(&t);
    assert_int_equal(t.result, SENDIT_OK);
    assert_value(t.ds, 0x0033101e, "new");
    assert_value(t.ds, 0x0033111e, ABSENT);
    end(&t);
}

/* ---- values and conditions ---- */

static void test_values(void **state)
{
    struct trip t;

    (void)state;
    run(&t, NULL,
        H "REPLACE values:ids GONE\n%values ids\nFIELD PatientID\n"
          "SPLIT PatientName by=^;minlength=3\n");
    assert_value(t.ds, PATIENT_NAME, "GONE");
    assert_value(t.ds, PATIENT_ID, "GONE");
    assert_value(t.ds, STUDY_DESCRIPTION, "GONE"); /* has both in it */
    assert_value(item(&t, REFERENCED_STUDY, 0), PATIENT_ID, "GONE");
    assert_value(t.ds, ACCESSION, "ACC12345");
    end(&t);
    /* values are literal, and too short ones are none */
    run(&t, NULL,
        H "REMOVE values:v\n%values v\nFIELD Modality\nFIELD StudyID\nFIELD SOPInstanceUID\n");
    assert_value(t.ds, MODALITY, "CT");
    assert_value(t.ds, SOP_CLASS, CT_CLASS);
    assert_value(t.ds, SOP_UID, ABSENT);
    assert_value(t.ds, STUDY_UID, "1.2.3.6");
    end(&t);
    /* what is kept is not looked at */
    run(&t, NULL, H "KEEP PatientName\nREMOVE values:v\n%values v\nSPLIT PatientName by=^\n");
    assert_value(t.ds, STUDY_DESCRIPTION, "Doe chest 7654321");
    end(&t);
    run(&t, NULL, H "REMOVE ALL values:v\n%values v\nFIELD PatientID\n");
    assert_value(t.ds, PATIENT_ID, ABSENT);
    assert_value(t.ds, STUDY_DESCRIPTION, ABSENT);
    assert_value(t.ds, MODALITY, "CT");
    end(&t);
    run(&t, NULL,
        H "REMOVE contains:Study contains:^doe\nBLANK ALL equals:ct\n"
          "REMOVE PatientName equals:Doe\n");
    assert_value(t.ds, STUDY_DESCRIPTION, ABSENT);
    assert_value(t.ds, STUDY_DATE, "20200101");
    assert_value(t.ds, MODALITY, "");
    assert_value(t.ds, PATIENT_NAME, "Doe^Jane");
    end(&t);
}

/* Each action sees what the one before left. */
static void test_order(void **state)
{
    struct trip t;

    (void)state;
    run(&t, NULL,
        H "REPLACE PatientID first\nBLANK PatientID contains:first\n"
          "REPLACE AccessionNumber x\nREMOVE values:v\n%values v\nFIELD AccessionNumber\n");
    assert_value(t.ds, PATIENT_ID, "");
    assert_value(t.ds, ACCESSION, "x");
    assert_int_equal(t.report.replaced, 1);
    assert_int_equal(t.report.emptied, 3); /* two in items */
    end(&t);
}

static void test_given(void **state)
{
    struct trip t;

    (void)state;
    run(&t, NULL,
        H "ADD PatientID var:entity_id # the new one\nREPLACE AccessionNumber var:other_id\n"
          "ADD IssuerOfPatientID STARR\nADD PatientComments \"\"\n"
          "ADD (0035,\"ME\",01) mine\nREPLACE Rows 256\nREPLACE PatientComments y\n"
          "REPLACE EthnicGroup none\nADD ImageType A\\B\nADD DisplayURI http://x\n");
    assert_value(t.ds, PATIENT_ID, NEW_ID);
    assert_value(item(&t, REFERENCED_STUDY, 0), PATIENT_ID, "7654321");
    assert_value(t.ds, ACCESSION, "item 7");
    assert_value(t.ds, 0x00100021, "STARR");
    assert_value(t.ds, 0x00104000, "y"); /* it was added before */
    assert_value(t.ds, 0x00350010, "ME");
    assert_value(t.ds, 0x00351001, "mine");
    assert_value(t.ds, ROWS, "256");
    assert_value(t.ds, 0x00102160, ABSENT);
    assert_value(t.ds, 0x00080008, "A\\B");
    assert_value(t.ds, 0x0040e012, "http://x");
    end(&t);
}

static void test_dates(void **state)
{
    static const struct {
        uint32_t tag;
        const char *vr, *text, *days, *moved; /* NULL: the image is stopped */
    } rows[] = {
        {STUDY_DATE, "DA", "20200228", "1", "20200229"},
        {STUDY_DATE, "DA", "20200101", "-1", "20191231"},
        {STUDY_DATE, "DA", "20200101", "var:jitter", "20191231"},
        {STUDY_DATE, "DA", "20200101\\20200201", "1", "20200102\\20200202"},
        {STUDY_DATE, "DA", "", "1", ""},
        {STUDY_DATE, "DA", "20200230", "1", NULL},
        {STUDY_DATE, "DA", "1999", "1", NULL},
        {STUDY_DATE, "DA", "20200101", "var:bad_days", NULL},
        {STUDY_DATE, "DA", "20200101", "var:none_such", NULL},
        {STUDY_DATE, "DA", "99991231", "1", NULL},
        {0x0008002a, "DT", "20200101101010.5+0100", "1", "20200102101010.5+0100"},
        {0x0008002a, "DT", "20200101", "1", "20200102"},
        {0x0008002a, "DT", "202001", "40", "202002"},
        {0x0008002a, "DT", "2020", "1", "2020"},
        {0x0008002a, "DT", "20200230", "1", NULL},
        {STUDY_TIME, "TM", "101010", "1", "101010"},
        {STUDY_DESCRIPTION, "LO", "20200101", "1", "20200102"},
        {STUDY_DESCRIPTION, "LO", "20200101120000", "1", "20200102120000"},
        {STUDY_DESCRIPTION, "LO", "123", "1", NULL},
        {STUDY_DESCRIPTION, "LO", "1999", "1", NULL},
        {STUDY_DESCRIPTION, "LO", "on 20200101", "1", NULL},
        {0x00189074, "DT", "20200101", "1", "20200102"},
        {0x00101010, "AS", "045Y", "1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct maker m = {0};
        struct trip t = {0};
        char text[120];

        snprintf(text, sizeof(text), "%sJITTER %08x %s\n", H, rows[i].tag, rows[i].days);
        t.plan = compile(NULL, text);
        make_meta(&m, EXPLICIT);
        make_text(&m, SOP_CLASS, "UI", CT_CLASS);
        make_text(&m, SOP_UID, "UI", "1.2.3.4");
        make_text(&m, rows[i].tag, rows[i].vr, rows[i].text);
        open_file(&t, &m);
        apply(&t);
        if (!rows[i].moved) {
            if (t.result != SENDIT_ECORRUPT || !t.why.code[0])
                fail_msg("%s by %s was taken", rows[i].text, rows[i].days);
            assert_non_null(strstr(t.why.text, "deid.recipe:3: "));
            assert_null(strstr(t.why.text, "2020")); /* no value */
        } else if (t.result) {
            fail_msg("%s by %s: %s", rows[i].text, rows[i].days, t.why.text);
        } else {
            assert_value(t.ds, rows[i].tag, rows[i].moved);
        }
        end(&t);
    }
}

static bool is_uuid(const char *text)
{
    return text && strlen(text) == 36 && text[8] == '-' && text[14] == '8' && text[23] == '-';
}

/* Made with the key: the same input gives the same again. */
static void test_functions(void **state)
{
    static const char text[] =
        H "REPLACE contains:UID deid_func:pydicom_uuid\n"
          "REPLACE StudyDescription deid_func:suffix_uuid\n"
          "REPLACE ScheduledProcedureStepDescription deid_func:basic_uuid\n"
          "ADD PatientComments deid_func:basic_uuid\n"
          "REPLACE PatientID deid_func:dicom_uuid org_root=1.2.99\n"
          "REPLACE StudyDate deid_func:jitter days=1 years=1\n"
          "REPLACE PatientName deid_func:pydicom_uuid\n"
          "ADD ContentDate 20200101\nREPLACE ContentDate deid_func:jitter\n"
          "ADD DeviceUID 1.2.3.9\nREPLACE DeviceUID deid_func:pydicom_uuid prefix=1.2.77.\n";
    char uid[IDENTITY_UID], comment[40], wanted[80];
    uint8_t uuid[16];
    struct trip t;

    (void)state;
    run(&t, NULL, text);
    assert_int_equal(identity_uid(&key, "1.2.3.4", uid), 0);
    assert_value(t.ds, SOP_UID, uid);
    assert_value(t.ds, SOP_CLASS, CT_CLASS); /* of the standard */
    assert_int_equal(identity_uid(&key, "1.2.3.5", uid), 0);
    assert_value(item(&t, REFERENCED_STUDY, 0), REFERENCED_UID, uid);
    assert_memory_equal(value(t.ds, STUDY_DESCRIPTION), "studydescription-", 17);
    assert_true(is_uuid(value(t.ds, STUDY_DESCRIPTION) + 17));
    assert_true(is_uuid(value(item(&t, REQUEST, 0), STEP_DESCRIPTION)));
    assert_true(is_uuid(value(t.ds, 0x00104000)));
    snprintf(comment, sizeof(comment), "%s", value(t.ds, 0x00104000));
    assert_string_not_equal(comment, value(item(&t, REQUEST, 0), STEP_DESCRIPTION));
    assert_int_equal(identity_uuid(&key, "7654321", uuid), 0);
    memcpy(wanted, "1.2.99.", 7);
    identity_decimal(uuid, wanted + 7);
    assert_value(t.ds, PATIENT_ID, wanted);
    assert_value(t.ds, STUDY_DATE, "20210101"); /* a year has 365 days */
    assert_memory_equal(value(t.ds, PATIENT_NAME), "2.25.", 5);
    assert_value(t.ds, 0x00080023, "20191231"); /* the days of the patient */
    assert_memory_equal(value(t.ds, 0x00181002), "1.2.77.", 7);
    assert_true(strlen(value(t.ds, 0x00181002)) > 40);
    end(&t);
    run(&t, NULL, text);
    assert_value(t.ds, 0x00104000, comment);
    end(&t);
}

static void test_failures(void **state)
{
    static const struct {
        const char *text, *code, *says;
    } rows[] = {
        {"REPLACE PatientID var:none_such\n", "deid.vars", "recipe:3: there is no var:none_such"},
        {"ADD PatientID var:none_such\n", "deid.vars", "there is no var:none_such"},
        {"REPLACE Rows many\n", "deid.recipe", "REPLACE cannot give Rows its value"},
        {"REPLACE StudyDate tomorrow\n", "deid.recipe", "REPLACE cannot give StudyDate"},
        {"ADD StudyTime noon\n", "deid.recipe", "ADD cannot give StudyTime"},
        {"ADD PatientWeight heavy\n", "deid.recipe", "ADD cannot give PatientWeight"},
        {"ADD DeviceUID x.y\n", "deid.recipe", "ADD cannot give DeviceUID"},
        {"ADD InstanceNumber one\n", "deid.recipe", "ADD cannot give InstanceNumber"},
        {"ADD PatientAge old\n", "deid.recipe", "ADD cannot give PatientAge"},
        {"ADD StudyDate tomorrow\n", "deid.recipe", "ADD cannot give StudyDate"},
        {"REPLACE contains:ReferencedStudySeq x\n", "deid.recipe", "it is a sequence"},
        {"REPLACE AccessionNumber 12345678901234567\n", "deid.recipe", "AccessionNumber"},
        {"REMOVE StudyDescription contains:(.+)+[xyz]$\n", "deid.pattern", "takes too long"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200];
        struct trip t;

        snprintf(text, sizeof(text), "%s%s", H, rows[i].text);
        begin(&t, NULL, text);
        if (t.result == SENDIT_OK)
            fail_msg("%s was done", rows[i].text);
        if (strcmp(t.why.code, rows[i].code) != 0 || !strstr(t.why.text, rows[i].says))
            fail_msg("%s: %s %s", rows[i].text, t.why.code, t.why.text);
        end(&t);
    }
}

/* What cannot be done costs the element, where the site wants that. */
static void test_on_failure(void **state)
{
    static const struct {
        const char *text;
        uint32_t tag;
        const char *blank, *removed;
    } rows[] = {
        {"REPLACE PatientID var:none_such\n", PATIENT_ID, "", ABSENT},
        {"ADD AccessionNumber var:none_such\n", ACCESSION, "", ABSENT},
        {"ADD PatientBirthName var:none_such\n", 0x00101005, "", ABSENT},
        {"ADD PatientWeight heavy\n", 0x00101030, "", ABSENT},
        {"REPLACE Modality much-too-long-a-modality\n", MODALITY, "", ABSENT},
        {"JITTER StudyDescription 3\n", STUDY_DESCRIPTION, "", ABSENT},
        {"JITTER StudyDate var:none_such\n", STUDY_DATE, "", ABSENT},
        {"JITTER StudyDate var:bad_days\n", STUDY_DATE, "", ABSENT},
        {"REPLACE StudyDescription deid_func:jitter days=1\n", STUDY_DESCRIPTION, "", ABSENT},
        {"REPLACE StudyDate tomorrow\n", STUDY_DATE, "", ABSENT},
        {"REPLACE contains:ReferencedStudySeq x\n", 0x00081110, "", ABSENT},
        /* a later rule has its turn */
        {"REPLACE StudyDate var:none_such\nADD StudyDate 20200202\n", STUDY_DATE, "20200202",
         "20200202"},
        {"KEEP PatientID\nREPLACE PatientID var:none_such\n", PATIENT_ID, "7654321", "7654321"},
    };

    (void)state;
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        const char *wanted = i % 2 ? rows[i / 2].removed : rows[i / 2].blank;
        char text[200];
        struct trip t;

        snprintf(text, sizeof(text), "%s%s", H, rows[i / 2].text);
        on_failure = i % 2 ? "remove" : "blank";
        begin(&t, NULL, text);
        on_failure = NULL;
        if (t.result)
            fail_msg("%s: %s", text, t.why.text);
        if (rows[i / 2].tag == 0x00081110)
            assert_null(item(&t, rows[i / 2].tag, 0));
        else
            assert_value(t.ds, rows[i / 2].tag, wanted);
        end(&t);
    }
}

static void test_no_such_policy(void **state)
{
    struct deid_plan *plan = compile(NULL, H "REPLACE PatientID var:none_such\n");
    static const char *const words[] = {"", "keep", "Blank", "blank ", "remov"};

    (void)state;
    for (size_t i = 0; i < COUNT(words); i++)
        assert_false(deid_on_failure(plan, words[i]));
    assert_true(deid_on_failure(plan, "quarantine"));
    deid_free(plan);
}

static void test_default(void **state)
{
    struct trip t;

    (void)state;
    run(&t, NULL,
        H "DEFAULT REMOVE\nKEEP startswith:SOP\nREPLACE PatientID x\n"
          "KEEP RequestAttributesSequence__ScheduledProcedureStepID\n");
    assert_value(t.ds, SOP_UID, "1.2.3.4");
    assert_value(t.ds, PATIENT_ID, "x");
    assert_value(t.ds, PATIENT_NAME, ABSENT);
    assert_value(t.ds, 0x0033101e, ABSENT);
    assert_value(item(&t, REQUEST, 0), STEP_ID, "step 1");
    assert_value(item(&t, REQUEST, 0), STEP_DESCRIPTION, ABSENT);
    end(&t);
    run(&t, NULL, H "DEFAULT BLANK\nKEEP startswith:SOP\n");
    assert_value(t.ds, PATIENT_NAME, "");
    assert_null(item(&t, REQUEST, 0));
    end(&t);
}

/* ---- on top of a profile ---- */

static void test_profile(void **state)
{
    struct trip t;

    (void)state;
    run(&t, basic,
        H "KEEP StudyDescription\nREPLACE PatientName ANON\nADD StudyID s1\n"
          "KEEP (0033,\"OTHER\",1E)\nREPLACE AccessionNumber var:other_id\n"
          "KEEP RequestAttributesSequence__ScheduledProcedureStepID\n"
          "REMOVE Modality\nREPLACE PatientComments x\n");
    assert_value(t.ds, STUDY_DESCRIPTION, "Doe chest 7654321"); /* as it came */
    assert_value(t.ds, PATIENT_NAME, "ANON");
    assert_value(t.ds, PATIENT_ID, NEW_ID); /* the profile's */
    assert_value(t.ds, STUDY_ID, "s1");
    assert_value(t.ds, ACCESSION, "item 7");
    assert_value(t.ds, STUDY_DATE, ""); /* the profile's */
    assert_value(t.ds, MODALITY, ABSENT);
    assert_value(t.ds, 0x0033101e, ABSENT);
    assert_value(t.ds, 0x0033111e, "private two");
    assert_value(t.ds, 0x00330011, "OTHER");
    assert_value(t.ds, 0x00330010, ABSENT);
    assert_value(item(&t, REQUEST, 0), STEP_ID, "step 1");
    assert_value(item(&t, REQUEST, 0), STEP_DESCRIPTION, ABSENT);
    assert_value(t.ds, 0x00120062, "YES");
    end(&t);
    run(&t, basic, H "ADD PatientID mine\n");
    assert_value(t.ds, PATIENT_ID, "mine");
    end(&t);
    run(&t, basic, H "REMOVE PatientID\n");
    assert_value(t.ds, PATIENT_ID, ABSENT);
    end(&t);
    run(&t, basic, H "KEEP PatientID\n");
    assert_value(t.ds, PATIENT_ID, "7654321");
    end(&t);
}

/* What a file cannot do without: a recipe that takes it costs the image, not the run. */
static void test_no_uid(void **state)
{
    static const char *const texts[] = {"BLANK SOPInstanceUID\n", "REMOVE SOPInstanceUID\n",
                                        "BLANK SOPClassUID\n",    "REMOVE SOPClassUID\n",
                                        "REMOVE ALL\n",           "ADD SOPInstanceUID \"\"\n",
                                        "DEFAULT BLANK\n"};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        char text[100];
        struct trip t;

        snprintf(text, sizeof(text), "%s%s", H, texts[i]);
        begin(&t, basic, text);
        if (t.result != SENDIT_ECORRUPT || strcmp(t.why.code, "deid.recipe") != 0)
            fail_msg("%s was done: %s", texts[i], t.why.code);
        end(&t);
    }
}

/* What a KEEP on top of a profile may let through. */
static void test_brings_back(void **state)
{
    static const struct {
        const char *text;
        bool keeps, identity;
    } rows[] = {
        {"REMOVE PatientID\nADD PatientName x\nREPLACE PatientID var:entity_id\n", false, false},
        {"JITTER StudyDate 3\nDEFAULT KEEP\n", false, false},
        {"KEEP StudyDescription\n", true, false},
        {"KEEP SOPClassUID\n", true, false},
        {"KEEP (0033,\"MINE\",01)\n", true, false},
        {"KEEP RequestAttributesSequence__ScheduledProcedureStepID\n", true, false},
        {"KEEP fields:f\n%fields f\nFIELD StudyDate\n", true, false},
        {"KEEP PatientID\n", true, true},
        {"KEEP ReferencedStudySequence__PatientID\n", true, true},
        {"KEEP ReferencedStudySequence\n", true, true},
        {"KEEP OperatorsName\n", true, true},
        {"KEEP select:VR:PN\n", true, true},
        {"KEEP endswith:Name\n", true, true},
        {"KEEP StudyInstanceUID\n", true, true},
        {"KEEP contains:UID\n", true, true},
        {"KEEP select:group:0010\n", true, true},
        {"KEEP except:Patient\n", true, true},
        {"KEEP ALL\n", true, true},
        {"KEEP values:v\n%values v\nFIELD Modality\n", true, true},
        {"KEEP fields:f\n%fields f\nFIELD ReferencedStudySequence__PatientName\n", true, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[200], where[80] = "";
        struct deid_plan *plan;

        snprintf(text, sizeof(text), "%s%s", H, rows[i].text);
        plan = compile(basic, text);
        if (deid_brings_back(plan, where, sizeof(where)) != rows[i].keeps ||
            deid_lets_identity_through(plan) != rows[i].identity)
            fail_msg("%s", rows[i].text);
        assert_string_equal(where, rows[i].keeps ? "deid.recipe:3" : "");
        deid_free(plan);
    }
}

/* Of what no table knows the file alone tells that it may name somebody. */
static void make_named(struct maker *m)
{
    make_meta(m, EXPLICIT);
    make_text(m, SOP_CLASS, "UI", CT_CLASS);
    make_text(m, SOP_UID, "UI", "1.2.3.4");
    open_item(m, STUDY_DESCRIPTION); /* LO elsewhere */
    make_text(m, PATIENT_NAME, "PN", "Doe^Jane");
    close_item(m);
    make_text(m, PATIENT_NAME, "PN", "Doe^Jane");
    make_text(m, PATIENT_ID, "LO", "7654321");
    make_text(m, STUDY_UID, "UI", "1.2.3.6");
    make_text(m, 0x00330010, "LO", "OTHER");
    make_text(m, 0x00331001, "LO", "text");
    open_item(m, 0x00331002);
    make_text(m, PATIENT_NAME, "PN", "Doe^Jane");
    close_item(m);
    make_text(m, 0x00331003, "PN", "Doe^Jane");
    make_text(m, 0x00331004, "UI", "1.2.3.4");
    make_header(m, 0x00331005, "UN", 16);
    buf_add(&m->buf, "\xfe\xff\x00\xe0\x08\x00\x00\x00\x10\x00\x10\x00\x00\x00\x00\x00", 16);
}

static void test_guard(void **state)
{
    static const struct {
        const char *text;
        const char *const *profiles;
        bool held;
    } rows[] = {
        {"KEEP (0033,\"OTHER\",01)\n", basic, false},
        {"KEEP (0033,\"OTHER\",02)\n", basic, true},
        {"KEEP (0033,\"OTHER\",03)\n", basic, true},
        {"KEEP (0033,\"OTHER\",04)\n", basic, true},
        {"KEEP (0033,\"OTHER\",05)\n", basic, true},
        {"KEEP select:group:0033\n", basic, true},
        {"KEEP startswith:0033\n", basic, true},
        {"KEEP fields:f\n%fields f\nFIELD (0033,\"OTHER\",03)\n", basic, true},
        {"KEEP StudyDescription\n", basic, true},
        {"KEEP ALL\n", basic, false},                            /* which costs the labels */
        {"KEEP (0033,\"OTHER\",02)\nREMOVE ALL\n", NULL, false}, /* no profile, no labels */
    };

    (void)state;
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        struct maker m = {0};
        struct trip t = {0};
        char text[200];

        snprintf(text, sizeof(text), "%s%s", H, rows[i / 2].text);
        on_failure = i % 2 ? "remove" : NULL;
        t.plan = compile(rows[i / 2].profiles, text);
        on_failure = NULL;
        make_named(&m);
        open_file(&t, &m);
        apply(&t);
        if ((t.result != SENDIT_OK) != (rows[i / 2].held && i % 2 == 0))
            fail_msg("%s: %d %s", text, (int)t.result, t.why.text);
        if (t.result) {
            assert_string_equal(t.why.code, "deid.named");
            assert_non_null(strstr(t.why.text, "deid.recipe:3: KEEP means"));
        } else if (rows[i / 2].held) {
            assert_null(item(&t, 0x00331002, 0));
            assert_null(item(&t, STUDY_DESCRIPTION, 0));
            assert_value(t.ds, 0x00331003, ABSENT);
            assert_value(t.ds, 0x00331004, ABSENT);
        }
        end(&t);
    }
}

static int set_up(void **state)
{
    const struct dicom_limits limits = {.max_inflate = 1u << 20};
    struct err err = {0};

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    dicom = dicom_new(&limits, folder, &err);
    return dicom ? 0 : -1;
}

static int tear_down(void **state)
{
    char path[64];

    (void)state;
    dicom_free(dicom);
    snprintf(path, sizeof(path), "%s/in.dcm", folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/deid.recipe", folder);
    unlink(path);
    return rmdir(folder);
}

/* ---- who is told ---- */

/* "00100010.0 deid.recipe:3 REPLACE PatientName\n" */
static void write_down(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e,
                       const struct deid_step *step)
{
    const char *slash = step->file ? strrchr(step->file, '/') : NULL;

    buf_printf(ctx, "%08x.%u%s ", e->tag, e->depth, parent ? "" : "+");
    if (step->file)
        buf_printf(ctx, "%s:%u ", slash ? slash + 1 : step->file, step->line);
    buf_printf(ctx, "%s%s%s\n", step->rule, step->note ? " / " : "", step->note ? step->note : "");
}

static void assert_told(const struct buf *told, const char *line)
{
    char wanted[200];

    snprintf(wanted, sizeof(wanted), "%s\n", line);
    if (!strstr(told->data, wanted))
        fail_msg("nobody was told \"%s\", but\n%s", line, told->data);
}

static void watch(struct buf *told, const char *const *profiles, const char *text)
{
    const struct deid_watch who = {.told = write_down, .ctx = told};
    struct trip t;

    keyed.watch = &who;
    run(&t, profiles, text);
    keyed.watch = NULL;
    end(&t);
}

/* Each rule that meets an element, and where it stands. */
static void test_watch(void **state)
{
    struct buf told = {0};

    (void)state;
    watch(&told, NULL,
          H "REPLACE PatientName NEW\nKEEP PatientID\nREMOVE StudyDate\nJITTER StudyDate 1\n"
            "BLANK Modality\nADD InstitutionName X\nKEEP (0033,\"MITRA X: 1.0\",1E)\n"
            "REMOVE RequestAttributesSequence\n"
            "KEEP RequestAttributesSequence__ScheduledProcedureStepID\nDEFAULT REMOVE\n");
    assert_told(&told, "00100010.0 deid.recipe:3 REPLACE PatientName");
    assert_told(&told, "00100020.0 deid.recipe:4 KEEP PatientID");
    assert_told(&told, "00080020.0 deid.recipe:5 REMOVE StudyDate / gives way to the REPLACE or "
                       "JITTER of it");
    assert_told(&told, "00080020.0 deid.recipe:6 JITTER StudyDate");
    assert_told(&told, "00080060.0 deid.recipe:7 BLANK Modality");
    assert_told(&told, "00080080.0+ deid.recipe:8 ADD InstitutionName");
    assert_told(&told, "0033101e.0 deid.recipe:9 KEEP (0033,\"MITRA X: 1.0\",1E)");
    assert_told(&told, "00330010.0 creator of what stays in its block");
    assert_told(&told, "00400275.0 deid.recipe:10 REMOVE RequestAttributesSequence");
    assert_told(&told, "00400275.0 stays for what a KEEP means in it");
    assert_told(&told, "00400007.1 goes with the sequence around it, but for what a KEEP means");
    assert_told(&told, "00400009.1 deid.recipe:11 KEEP RequestAttributesSequence__"
                       "ScheduledProcedureStepID");
    assert_told(&told, "00080030.0 deid.recipe:12 DEFAULT");
    told.len = 0;
    watch(&told, basic, H "REPLACE PatientName NEW\n");
    assert_told(&told, "00100010.0 ps3.15-2026c.tsv:75 empties it");
    assert_told(&told, "00100010.0 deid.recipe:3 REPLACE PatientName");
    assert_told(&told, "00330010.0 ps3.15-2026c.tsv:659 removes it");
    assert_told(&told, "00280010.0 no table names it: by its VR");
    assert_told(&told, "00120062.0+ the profile says what was done");
    buf_fini(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_all),         cmocka_unit_test(test_keep),
        cmocka_unit_test(test_creators),    cmocka_unit_test(test_creator_twice),
        cmocka_unit_test(test_values),      cmocka_unit_test(test_order),
        cmocka_unit_test(test_given),       cmocka_unit_test(test_dates),
        cmocka_unit_test(test_functions),   cmocka_unit_test(test_failures),
        cmocka_unit_test(test_on_failure),  cmocka_unit_test(test_no_such_policy),
        cmocka_unit_test(test_default),     cmocka_unit_test(test_profile),
        cmocka_unit_test(test_brings_back), cmocka_unit_test(test_guard),
        cmocka_unit_test(test_no_uid),      cmocka_unit_test(test_watch),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
