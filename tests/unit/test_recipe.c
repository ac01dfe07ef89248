/* SPDX-License-Identifier: Apache-2.0 */
/* Reading recipes: what is refused, where, and what is proposed instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "deid/recipe.h"
#include "dicom/dicom.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define F "FORMAT dicom\n"
#define H F "%header\n"
#define L F "%filter greylist\nLABEL A\n"
#define REAL SENDIT_SOURCE_DIR "/../shared/recipes/"

static struct names *names;

static struct recipe *load_bytes(const char *text, size_t len, struct err *err)
{
    struct recipe *recipe = recipe_new();

    assert_non_null(recipe);
    *err = (struct err){0};
    if (!recipe_add(recipe, names, "r", text, len, err) && !recipe_finish(recipe, err))
        return recipe;
    recipe_free(recipe);
    return NULL;
}

static struct recipe *load(const char *text)
{
    struct err err;
    struct recipe *recipe = load_bytes(text, strlen(text), &err);

    if (!recipe)
        fail_msg("%s\n-> %s", text, err.text);
    return recipe;
}

static void refuse_bytes(const char *text, size_t len, const char *where, const char *says)
{
    struct err err;
    struct recipe *recipe = load_bytes(text, len, &err);

    if (recipe)
        fail_msg("taken:\n%s", text);
    assert_int_equal(err.code, ERR_REFUSED);
    if (strncmp(err.text, where, strlen(where)) != 0 || !strstr(err.text, says))
        fail_msg("%s\n-> %s\nand not %s ... %s", text, err.text, where, says);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *where, *says;
    } bad[] = {
        /* FORMAT and sections */
        {"", "r:1:1: ", "begins with \"FORMAT dicom\""},
        {"# a comment\n", "r:1:1: ", "begins with \"FORMAT dicom\""},
        {"%header\nREMOVE PatientID\n", "r:1:1: ", "begins with \"FORMAT dicom\""},
        {F, "r:1:1: ", "has no rule"},
        {F "%header\n", "r:2:1: ", "has no rule"},
        {"FORMAT\n", "r:1:7: ", "the only format is dicom"},
        {"FORMAT nifti\n", "r:1:8: ", "the only format is dicom"},
        {"FORMAT dicom nifti\n", "r:1:14: ", "takes nothing behind it"},
        {F F H, "r:2:1: ", "a second time"},
        {H "FORMAT dicom\n", "r:3:1: ", "a second time"},
        {F "%haeder\n", "r:2:1: ", "no section %haeder; did you mean \"%header\"?"},
        {F "%\n", "r:2:1: ", "no section %"},
        {F "%header mine\n", "r:2:9: ", "%header has no name"},
        {F "%filter\n", "r:2:8: ", "%filter needs a name"},
        {F "%fields\n", "r:2:8: ", "%fields needs a name"},
        {F "%values a b\n", "r:2:9: ", "%values needs a name"},
        {F "%values a\nFIELD PatientID\n%fields a\n", "r:4:9: ", "a is a name of %values already"},
        {F "REMOVE PatientID\n", "r:2:1: ", "before any section"},
        /* verbs */
        {H "REMVOE PatientID\n", "r:3:1: ", "no action REMVOE; did you mean \"REMOVE\"?"},
        {H "remvoe PatientID\n", "r:3:1: ", "did you mean \"REMOVE\"?"},
        {H "REMOVEPatientID\n", "r:3:1: ", "no action"},
        {H "DELETE PatientID\n",
         "r:3:1: ", "DELETE; write one of ADD, BLANK, JITTER, KEEP, REMOVE, REPLACE"},
        {H "REPLACE PatientID deid_func:simple_uuid\n",
         "r:3:29: ", "write one of jitter, basic_uuid, suffix_uuid, dicom_uuid, pydicom_uuid"},
        {L "includes Modality CT\n", "r:4:1: ", "write one of contains, "},
        {H "LABEL A\n", "r:3:1: ", "LABEL stands in %filter only"},
        {H "REMOVE\n", "r:3:7: ", "REMOVE needs a field"},
        {H "REMOVE # all\n", "r:3:8: ", "REMOVE needs a field"},
        {H "KEEP PatientID always\n", "r:3:16: ", "KEEP takes nothing behind it"},
        {H "DEFAULT REPLACE\n", "r:3:9: ", "KEEP, REMOVE or BLANK"},
        {H "DEFAULT KEEP\nDEFAULT KEEP\n", "r:4:1: ", "a second time"},
        {F "%labels\nREMVOE PatientID\n", "r:3:1: ", "no action"},
        /* fields */
        {H "REMOVE PatientNmae\n",
         "r:3:8: ", "no attribute is called PatientNmae; did you mean \"PatientName\"?"},
        {H "  REMOVE   PatientNmae\n", "r:3:12: ", "PatientNmae"},
        {H "REMOVE (0010, 0020)\n", "r:3:8: ", "without a blank"},
        {H "REMOVE (0010,9999)\n", "r:3:8: ", "no attribute has the tag"},
        {H "REMOVE 00109999\n", "r:3:8: ", "no attribute has the tag"},
        {H "REMOVE StudyID__PatientID\n", "r:3:8: ", "StudyID is no sequence"},
        {H "REMOVE ReferencedStudySequence__0\n", "r:3:33: ", "an item is no attribute"},
        {H "REMOVE ReferencedStudySequence__\n", "r:3:33: ", "no attribute"},
        {H "REMOVE ReferencedStudySequence__0__1__PatientID\n", "r:3:36: ", "no attribute"},
        {H "REMOVE (0033,\"MITRA\n", "r:3:14: ", "quote has no match"},
        {H "REMOVE (0033,\"MITRA\")\n", "r:3:8: ", "(0033,\"CREATOR\",1E)"},
        {H "REMOVE (0033,\"MITRA\",1E0)\n", "r:3:8: ", "(0033,\"CREATOR\",1E)"},
        {H "REMOVE (0033,\"\",1E)\n", "r:3:8: ", "(0033,\"CREATOR\",1E)"},
        {H "REMOVE (0033,\"MITRA\",1E\n", "r:3:8: ", "(0033,\"CREATOR\",1E)"},
        {H "REMOVE (0032,\"MITRA\",1E)\n", "r:3:8: ", "not private"},
        {H "REMOVE allfields:x\n", "r:3:8: ", "allfields:; write one of contains, except"},
        {H "REMOVE contain:x\n", "r:3:8: ", "did you mean \"contains\"?"},
        {H "REMOVE contains:\n", "r:3:17: ", "a pattern is missing"},
        {H "REMOVE contains:(\n", "r:3:17: ", "this pattern is none: missing closing"},
        {H "REMOVE select:VR:XX\n", "r:3:18: ", "no VR XX"},
        {H "REMOVE select:PN\n", "r:3:15: ", "VR: and two letters"},
        {H "REMOVE select:group:1\n", "r:3:15: ", "four hexadecimal digits"},
        {H "REMOVE values:x\n", "r:3:8: ", "there is no %values x"},
        {H "REMOVE fields:one\n%fields ones\nFIELD PatientID\n",
         "r:3:8: ", "no %fields one; did you mean \"ones\"?"},
        {H "REMOVE values:ones\n%fields ones\nFIELD PatientID\n", "r:3:8: ", "no %values ones"},
        {H "KEEP PatientID values:x\n", "r:3:16: ", "KEEP takes nothing"},
        /* values */
        {H "ADD PatientID\n", "r:3:14: ", "ADD needs a value"},
        {H "REPLACE PatientID # x\n", "r:3:19: ", "REPLACE needs a value"},
        {H "REPLACE PatientID \"x\n", "r:3:19: ", "quote has no match"},
        {H "REPLACE PatientID func:mine\n", "r:3:19: ", "deid_func: with jitter"},
        {H "REPLACE PatientID VAR:id\n", "r:3:19: ", "write var: in small letters"},
        {H "REPLACE PatientID var:\n", "r:3:23: ", "the name of a variable"},
        {H "REPLACE PatientID var:a b\n", "r:3:23: ", "one word"},
        {H "REPLACE PatientID deid_func:simple_uuid\n", "r:3:29: ", "no deid_func:simple_uuid"},
        {H "REPLACE PatientID deid_func:basic_uid\n", "r:3:29: ", "did you mean \"basic_uuid\"?"},
        {H "REPLACE StudyDate deid_func:jitter days=1.5\n", "r:3:41: ", "a whole number"},
        {H "REPLACE StudyDate deid_func:jitter 1\n", "r:3:36: ", "NAME=VALUE"},
        {H "REPLACE StudyDate deid_func:jitter months=1\n", "r:3:36: ", "no parameter months"},
        {H "REPLACE StudyDate deid_func:basic_uuid days=1\n", "r:3:40: ", "no parameter days"},
        {H "REPLACE PatientID deid_func:dicom_uuid\n", "r:3:29: ", "needs org_root="},
        {H "REPLACE PatientID deid_func:dicom_uuid org_root=me\n", "r:3:49: ", "root of UIDs"},
        {H "JITTER StudyDate\n", "r:3:17: ", "whole days"},
        {H "JITTER StudyDate 1.5\n", "r:3:18: ", "whole days"},
        {H "JITTER StudyDate abc\n", "r:3:18: ", "whole days"},
        {H "JITTER StudyDate 9999999\n", "r:3:18: ", "whole days"},
        {H "REMOVE PatientID anything\n", "r:3:18: ", "a condition"},
        {H "REMOVE PatientID func:f\n", "r:3:18: ", "Python"},
        {H "REMOVE PatientID contains:[\n", "r:3:27: ", "this pattern is none"},
        {H "REMOVE PatientID values:x y\n", "r:3:25: ", "the name of a group"},
        {H "REMOVE PatientID values:x\n", "r:3:1: ", "no %values x"},
        /* targets */
        {H "ADD ALL x\n", "r:3:5: ", "ADD takes one attribute"},
        {H "ADD contains:x y\n", "r:3:5: ", "ADD takes one attribute"},
        {H "ADD ReferencedStudySequence__PatientID x\n", "r:3:5: ", "top level"},
        {H "ADD ReferencedStudySequence x\n", "r:3:5: ", "is a sequence"},
        {H "REPLACE ReferencedStudySequence x\n", "r:3:9: ", "is a sequence"},
        {H "JITTER ReferencedStudySequence 1\n", "r:3:8: ", "is a sequence"},
        {H "ADD PixelData x\n", "r:3:5: ", "are no header"},
        {H "REMOVE PixelData\n", "r:3:8: ", "are no header"},
        {H "BLANK RedPaletteColorLookupTableData\n", "r:3:7: ", "are no header"},
        {H "REMOVE IconImageSequence__PixelData\n", "r:3:8: ", "are no header"},
        {H "REMOVE MediaStorageSOPInstanceUID\n", "r:3:8: ", "written anew"},
        {H "BLANK ImplementationVersionName\n", "r:3:7: ", "written anew"},
        {H "ADD (0033,101E) x\n", "r:3:5: ", "(0033,\"CREATOR\",1E)"},
        {H "ADD MediaStorageSOPInstanceUID 1.2\n", "r:3:5: ", "written anew"},
        {H "KEEP MediaStorageSOPInstanceUID\n", "r:3:6: ", "written anew"},
        /* groups of fields and values */
        {F "%fields a\nREMOVE PatientID\n", "r:3:1: ", "begins with FIELD, not REMOVE"},
        {F "%values a\nFEILD PatientID\n", "r:3:1: ", "begins with FIELD or SPLIT, not FEILD"},
        {F "%fields a\nSPLIT PatientID\n", "r:3:1: ", "in %values only"},
        {F "%fields a\nFIELD\n", "r:3:6: ", "FIELD needs a field"},
        {F "%fields a\nFIELD PatientID x\n", "r:3:17: ", "takes nothing behind it"},
        {F "%fields a\nFIELD fields:a\n", "r:3:7: ", "cannot be made of another one"},
        {F "%values a\nSPLIT PatientName id\n", "r:3:19: ", "by=TEXT"},
        {F "%values a\nSPLIT PatientName splitval=x\n", "r:3:19: ", "by=TEXT"},
        {F "%values a\nSPLIT PatientName by=\n", "r:3:19: ", "by=TEXT"},
        {F "%values a\nSPLIT PatientName minlength=0\n", "r:3:19: ", "by=TEXT"},
        /* filters */
        {F "%filter greylist\ncontains Modality CT\n", "r:3:1: ", "under a LABEL"},
        {F "%filter greylist\ncoordinates all\n", "r:3:1: ", "under a LABEL"},
        {F "%filter greylist\nLABEL\n", "r:3:6: ", "LABEL needs a name"},
        {F "%filter greylist\nLABEL # x\n", "r:3:7: ", "LABEL needs a name"},
        {L, "r:3:1: ", "LABEL A has neither criterion nor coordinates"},
        {L "LABEL B\ncontains Modality CT\n", "r:3:1: ", "LABEL A has neither"},
        {L "%header\nREMOVE PatientID\n", "r:3:1: ", "LABEL A has neither"},
        {L "contians Modality CT\n", "r:4:1: ", "no test contians; did you mean \"contains\"?"},
        {L "+\n", "r:4:2: ", "a test is missing"},
        {L "contains Modality CT +\n", "r:4:23: ", "a test is missing"},
        {L "contains Modality CT + contian Modality MR\n", "r:4:24: ", "no test contian"},
        {L "contains\n", "r:4:9: ", "contains needs a field"},
        {L "contains Modlaity CT\n", "r:4:10: ", "did you mean \"Modality\"?"},
        {L "contains Modality\n", "r:4:18: ", "contains needs a value"},
        {L "contains Modality # CT\n", "r:4:19: ", "contains needs a value"},
        {L "missing Modality CT\n", "r:4:18: ", "missing takes a field and nothing more"},
        {L "contains Modality CT contains Rows 5\n", "r:4:22: ", "put \"+\" or \"||\" before"},
        {L "contains Modality CT||MR\n", "r:4:21: ", "blanks around \"||\""},
        {L "contains Modality [\n", "r:4:19: ", "this pattern is none"},
        {L "contains ReferencedStudySequence x\n", "r:4:10: ", "is a sequence"},
        {L "contains contains:x y\n", "r:4:10: ", "a filter asks one attribute"},
        {L "contains ALL y\n", "r:4:10: ", "no attribute is called ALL"},
        {L "coordinates\n", "r:4:12: ", "four whole numbers"},
        {L "coordinates 0,0,1\n", "r:4:13: ", "four whole numbers"},
        {L "coordinates 0,0,1,1,1\n", "r:4:13: ", "four whole numbers"},
        {L "coordinates -1,0,1,1\n", "r:4:13: ", "four whole numbers"},
        {L "coordinates 0,0,1.5,1\n", "r:4:13: ", "four whole numbers"},
        {L "coordinates 5,0,1,9\n", "r:4:13: ", "X2 must be above X1"},
        {L "coordinates 0,5,9,5\n", "r:4:13: ", "X2 must be above X1"},
        {L "ctpcoordinates 0,0,0,5\n", "r:4:16: ", "this box is empty"},
        {L "coordinates 0,0,1,99999999999\n", "r:4:13: ", "four whole numbers"},
        {L "coordinates from:\n", "r:4:13: ", "four whole numbers"},
        {L "coordinates from:Modality\n", "r:4:18: ", "from: takes a sequence"},
        {L "coordinates from:Sequence\n", "r:4:18: ", "no attribute"},
        {L "coordinates everything\n", "r:4:13: ", "or all"},
        /* bytes */
        {"\xef\xbb\xbf" H "REMOVE PatientID\n", "r:1:1: ", "byte order mark"},
        {H "ADD PatientName M\xfcller\n", "r:3:18: ", "no UTF-8"},
        {H "# \xc3\xbc \xe4\n", "r:3:5: ", "no UTF-8"},
        {H "REMOVE PatientID\x01\n", "r:3:17: ", "control character"},
        {H "REMOVE Patient\rID\n", "r:3:15: ", "control character"},
        {H "ADD PatientName \xc3\xbc\xc3\xbc\xed\xa0\x80\n", "r:3:19: ", "no UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        refuse_bytes(bad[i].text, strlen(bad[i].text), bad[i].where, bad[i].says);
    refuse_bytes(H "REMOVE\0PatientID\n", sizeof(H "REMOVE\0PatientID\n") - 1,
                 "r:3:7: ", "control character");
}

static void test_words(void **state)
{
    static const struct {
        const char *line, *text; /* of an ADD */
    } good[] = {
        {"ADD PatientID foo # note", "foo"},
        {"ADD PatientID foo#note", "foo#note"},
        {"ADD PatientID \"a # b\"", "a # b"},
        {"ADD PatientID \"a#b\" # c", "a#b"},
        {"ADD PatientID \"\"", ""},
        {"ADD PatientID \\\"quoted\\\"", "\"quoted\""},
        {"ADD PatientID \"with \\\" in it\"", "with \" in it"},
        {"ADD PatientName O'Brien Smith", "O'Brien Smith"},
        {"  add\tpatientid   two   words  ", "two words"},
        {"ADD PatientID \"two   words\"", "two   words"},
        {"ADD PatientID a\\b", "a\\b"},
        {"ADD PatientID \"var:id\"", "var:id"},
        {"ADD PatientID \xc3\xbc", "\xc3\xbc"},
        {"ADD PatientID x\r", "x"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct buf text = {0};
        struct recipe *recipe;

        buf_printf(&text, "%s%s\n", H, good[i].line);
        recipe = load(text.data);
        assert_int_equal(recipe->n_actions, 1);
        assert_int_equal(recipe->actions[0].verb, VERB_ADD);
        assert_int_equal(recipe->actions[0].gives, GIVES_TEXT);
        assert_string_equal(recipe->actions[0].text, good[i].text);
        recipe_free(recipe);
        buf_fini(&text);
    }
}

static void test_header(void **state)
{
    struct recipe *recipe =
        load("format DICOM # as ever\r\n"
             "%HEADER\r\n"
             "REMOVE PatientID # note\n"
             "replace (0010,0010) var:entity_id # c\n"
             "Jitter endswith:Date var:jitter\n"
             "JITTER StudyDate -31\n"
             "Keep 0x00080060\n"
             "BLANK select:vr:pn contains:\\D+ # digits\n"
             "REMOVE (0033,\"MITRA X: 1.0\",1E)\n"
             "REMOVE 0033,\"MITRA \\\"\",1\n"
             "REPLACE ReferencedStudySequence__2__PatientID deid_func:jitter days=2 years=1\n"
             "REPLACE StudyInstanceUID deid_func:pydicom_uuid prefix=1.2. stable_remapping=TRUE\n"
             "REMOVE jitter\n"
             "default blank\n"
             "REPLACE PatientID var:entity_id\n");
    const struct recipe_action *a = recipe->actions;

    (void)state;
    assert_int_equal(recipe->n_actions, 12);
    assert_int_equal(recipe->otherwise, VERB_BLANK);
    assert_int_equal(recipe->n_vars, 2);
    assert_string_equal(recipe->vars[0], "entity_id");
    assert_int_equal(a[0].when, IF_ALWAYS);
    assert_int_equal(a[1].gives, GIVES_VAR);
    assert_string_equal(a[1].text, "entity_id");
    assert_int_equal(a[2].field.kind, FIELD_ENDS);
    assert_int_equal(a[3].days, -31);
    assert_int_equal(a[4].field.steps[0].tag, 0x00080060);
    assert_int_equal(a[5].field.kind, FIELD_VR);
    assert_string_equal(a[5].field.vr, "PN");
    assert_int_equal(a[5].when, IF_CONTAINS);
    assert_int_equal(pattern_match(a[5].pattern, "123", 3), PATTERN_NO);
    assert_int_equal(pattern_match(a[5].pattern, "1a", 2), PATTERN_YES);
    assert_int_equal(a[6].field.kind, FIELD_PRIVATE);
    assert_int_equal(a[6].field.tag, 0x0033001e);
    assert_string_equal(a[6].field.creator, "MITRA X: 1.0");
    assert_string_equal(a[7].field.creator, "MITRA \"");
    assert_int_equal(a[8].field.n_steps, 2);
    assert_int_equal(a[8].field.steps[0].item, 2);
    assert_int_equal(a[8].days, 367);
    assert_string_equal(a[9].root, "1.2.");
    assert_int_equal(a[10].field.kind, FIELD_NOTHING);
    recipe_free(recipe);
}

static void test_filter(void **state)
{
    struct recipe *recipe = load(F "%filter graylist\n"
                                   "LABEL Philips  Affiniti # (AMB)\n"
                                   "  + CONTAINS Modality CT|MR # modality\n"
                                   "  || contains ManufacturerModelName AS+ + Equals Rows 600|768\n"
                                   "  missing ImageType || empty ImageType\n"
                                   "  contains Manufacturer \"A + contains || B\"\n"
                                   "  contains 0x00080070 A+B\n"
                                   "  Coordinates 450,0,672, 85 # c\n"
                                   "  ctpcoordinates 1,2,3,4\n"
                                   "  keepcoordinates FROM:SequenceOfUltrasoundRegions\n"
                                   "%filter GREYLIST\n"
                                   "LABEL next\ncoordinates ALL\n"
                                   "%filter my own\nLABEL x\npresent OverlayDescription\n"
                                   "%filter BlackList\nLABEL y\nmatches Modality O.\n");
    const struct recipe_group *g = recipe->groups;
    const struct recipe_label *label = g[0].labels;
    const struct recipe_test *t = label->tests;

    (void)state;
    assert_int_equal(recipe->n_groups, 3);
    assert_string_equal(g[0].name, "greylist");
    assert_int_equal(g[0].kind, GROUP_GREY);
    assert_int_equal(g[0].n_labels, 2);
    assert_string_equal(g[1].name, "my own");
    assert_int_equal(g[1].kind, GROUP_GREY);
    assert_int_equal(g[2].kind, GROUP_BLACK);
    assert_string_equal(label->name, "Philips Affiniti");
    assert_int_equal(label->n_tests, 7);
    assert_int_equal(t[0].line, JOIN_NEW); /* nothing stands above it */
    assert_string_equal(t[0].text, "CT|MR");
    assert_int_equal(t[1].line, JOIN_OR);
    assert_string_equal(t[1].text, "AS+");
    assert_int_equal(t[2].join, JOIN_AND);
    assert_string_equal(t[2].text, "600|768");
    assert_int_equal(t[3].line, JOIN_NEW);
    assert_int_equal(t[4].join, JOIN_OR);
    assert_string_equal(t[5].text, "A + contains || B");
    assert_string_equal(t[6].text, "A+B");
    assert_int_equal(t[6].field.steps[0].tag, 0x00080070);
    assert_int_equal(label->n_boxes, 3);
    assert_int_equal(label->boxes[0].x2, 672);
    assert_int_equal(label->boxes[0].y2, 85);
    assert_int_equal(label->boxes[1].x2, 4);
    assert_int_equal(label->boxes[1].y2, 6);
    assert_int_equal(label->boxes[2].kind, BOX_FROM);
    assert_true(label->boxes[2].keep);
    assert_int_equal(label->boxes[2].from, 0x00186011);
    assert_int_equal(g[0].labels[1].boxes[0].kind, BOX_ALL);
    assert_int_equal(g[1].labels[0].tests[0].field.steps[0].mask, 0xff00ffff);
    recipe_free(recipe);
}

static void test_sources(void **state)
{
    struct recipe *recipe = load(F "%values ids\nFIELD PatientID\nfield endswith:ID\n"
                                   "SPLIT PatientName by='^';minlength=4\n"
                                   "SPLIT StudyDescription # blanks\n"
                                   "%fields dates\nFIELD StudyDate\n"
                                   "%header\nREMOVE values:ids\nKEEP fields:dates\n"
                                   "REMOVE ALL values:ids\n"
                                   "%values ids\nFIELD AccessionNumber\n");
    const struct recipe_source *ids = &recipe->sources[0];

    (void)state;
    assert_int_equal(recipe->n_sources, 2);
    assert_int_equal(ids->n_entries, 5);
    assert_true(ids->is_values);
    assert_string_equal(ids->entries[2].by, "^");
    assert_int_equal(ids->entries[2].min_length, 4);
    assert_string_equal(ids->entries[3].by, " ");
    assert_int_equal(ids->entries[3].min_length, RECIPE_MIN_LENGTH);
    assert_int_equal(recipe->actions[0].field.source, 0);
    assert_int_equal(recipe->actions[1].field.source, 1);
    assert_int_equal(recipe->actions[2].when, IF_VALUES);
    recipe_free(recipe);
}

/* Groups of one name go on in the next file; what one names may stand in another. */
static void test_merged(void **state)
{
    static const char *const files[] = {
        F "%header\nREMOVE values:ids\n%filter greylist\nLABEL a\npresent PatientID\n",
        F "%values ids\nFIELD PatientID\n%labels\nADD PatientID x\n%filter blacklist\nLABEL b\n"
          "present PatientID\n",
        F "%values ids\nFIELD StudyID\n%header\nKEEP StudyDate\n%filter graylist\nLABEL c\n"
          "present PatientID\n%labels\nADD StudyID x\n"};
    struct recipe *recipe = recipe_new();
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(files); i++)
        assert_int_equal(recipe_add(recipe, names, "r", files[i], strlen(files[i]), &err), 0);
    assert_int_equal(recipe_finish(recipe, &err), 0);
    assert_int_equal(recipe->n_actions, 2);
    assert_int_equal(recipe->actions[1].verb, VERB_KEEP);
    assert_int_equal(recipe->n_sources, 1);
    assert_int_equal(recipe->sources[0].n_entries, 2);
    assert_int_equal(recipe->n_labels, 2);
    assert_int_equal(recipe->n_groups, 2);
    assert_int_equal(recipe->groups[0].n_labels, 2);
    assert_string_equal(recipe->groups[0].labels[1].name, "c");
    recipe_free(recipe);
}

static void fill(struct buf *text, const char *start, const char *line, size_t n)
{
    buf_str(text, start);
    for (size_t i = 0; i < n; i++)
        buf_str(text, line);
    assert_false(text->failed);
}

static void test_limits(void **state)
{
    static const struct {
        const char *start, *line;
        size_t n;
        const char *says;
    } many[] = {
        {H, "REMOVE PatientID\n", 100000, "more than 20000 actions"},
        {F "%labels\n", "ADD PatientID x\n", 100000, "more than 20000 actions"},
        {F "%values a\n", "FIELD PatientID\n", 1001, "up to 1000 lines"},
        {F "%filter a\n", "LABEL a\npresent PatientID\n", 10001, "up to 10000 LABELs"},
        {L, "+ present PatientID\n", 1001, "up to 1000 tests"},
        {L, "coordinates 0,0,1,1\n", 257, "up to 256 boxes"},
        {H "ADD PatientID ", "x", 8192, "up to 8192 bytes"},
        {H, "# a comment to be read and forgotten\n", 150000, "up to 4194304 bytes"},
        {H "REMOVE ", "ReferencedStudySequence__", 17, "up to 16 steps"},
    };
    struct timespec from, to;
    struct recipe *recipe;
    struct buf text = {0};
    struct err err;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (size_t i = 0; i < COUNT(many); i++) {
        text.len = 0;
        fill(&text, many[i].start, many[i].line, many[i].n);
        recipe = load_bytes(text.data, text.len, &err);
        assert_null(recipe);
        if (!strstr(err.text, many[i].says))
            fail_msg("%s, not %s", err.text, many[i].says);
    }
    for (unsigned i = 0; i < 2; i++) { /* groups */
        text.len = 0;
        buf_str(&text, F);
        for (unsigned k = 0; k < 257; k++)
            buf_printf(&text, i ? "%%filter a%u\n" : "%%values a%u\n", k);
        assert_null(load_bytes(text.data, text.len, &err));
        assert_non_null(strstr(err.text, "more than 256 groups"));
    }
    text.len = 0;
    fill(&text, H "REMOVE PatientID\n", "# nothing\n", 100000);
    recipe = load_bytes(text.data, text.len, &err);
    assert_non_null(recipe);
    recipe_free(recipe);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_true(to.tv_sec - from.tv_sec < 60);
    buf_fini(&text);
}

static void assert_keyword(const char *keyword, uint32_t tag, const char *vr)
{
    const struct name *name = names_find(names, keyword, strlen(keyword));

    if (!name)
        fail_msg("%s is not there", keyword);
    assert_int_equal(name->tag, tag);
    assert_string_equal(name->vr, vr);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(names_count(names) > 4000);
    assert_keyword("PatientName", 0x00100010, "PN");
    assert_keyword("patientname", 0x00100010, "PN");
    assert_keyword("OtherPatientIDs", 0x00101000, "LO"); /* retired */
    assert_keyword("PatientsName", 0x00100010, "PN");
    assert_keyword("Manfacturer", 0x00080070, "LO");
    assert_keyword("Manufacture", 0x00080070, "LO");
    assert_keyword("DisplayURI", 0x0040e012, "UR"); /* newer than DCMTK */
    assert_keyword("OverlayDescription", 0x60000022, "LO");
    assert_null(names_find(names, "PatientNam", 10));
    assert_null(names_find(names, "PatientNameX", 12));
    assert_null(names_find(names, "", 0));
    assert_int_equal(names_canonical(0x60020022), 0x60000022);
    assert_int_equal(names_canonical(0x60030022), 0x60030022);
    assert_int_equal(names_canonical(0x00100010), 0x00100010);
    assert_string_equal(names_of(names, 0x60120022)->keyword, "OverlayDescription");
    assert_null(names_of(names, 0x00109999));
    for (size_t i = 1; i < names_count(names); i++)
        assert_true(names_at(names, i - 1)->tag <= names_at(names, i)->tag);
}

static struct pattern *pattern(const char *text, enum pattern_how how)
{
    char why[120];
    size_t at;
    struct pattern *made = pattern_new(text, strlen(text), how, why, sizeof(why), &at);

    if (!made)
        fail_msg("%s: %s", text, why);
    return made;
}

static void test_patterns(void **state)
{
    static const struct {
        const char *pattern;
        enum pattern_how how;
        const char *text;
        int is;
    } rows[] = {
        {"patient", PATTERN_ANYWHERE, "ThePATIENTName", PATTERN_YES},
        {"patient", PATTERN_AT_START, "PatientName", PATTERN_YES},
        {"name", PATTERN_AT_START, "PatientName", PATTERN_NO},
        {"name", PATTERN_AT_END, "PatientName", PATTERN_YES},
        {"patient", PATTERN_AT_END, "PatientName", PATTERN_NO},
        {"patient", PATTERN_WHOLE, "PATIENT", PATTERN_YES},
        {"patient", PATTERN_WHOLE, "PatientName", PATTERN_NO},
        {"patient", PATTERN_ANYWHERE, "pat", PATTERN_NO},
        {"a|b", PATTERN_WHOLE, "b", PATTERN_YES},
        {"a|b", PATTERN_WHOLE, "bc", PATTERN_NO},
        {"a|ab", PATTERN_AT_END, "xab", PATTERN_YES},
        {"\\D", PATTERN_ANYWHERE, "123", PATTERN_NO},
        {"\xc3\xbc", PATTERN_ANYWHERE, "M\xc3\x9cLLER", PATTERN_YES}, /* u umlaut, both cases */
        {"k", PATTERN_ANYWHERE, "\xe2\x84\xaa", PATTERN_YES},         /* the kelvin sign */
        {"x", PATTERN_ANYWHERE, "\xff", PATTERN_LIMIT},
        {"(a+)+$", PATTERN_ANYWHERE, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", PATTERN_LIMIT},
    };
    struct buf text = {0};
    struct pattern *made;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        made = pattern(rows[i].pattern, rows[i].how);
        if (pattern_match(made, rows[i].text, strlen(rows[i].text)) != rows[i].is)
            fail_msg("%s on %s", rows[i].pattern, rows[i].text);
        pattern_free(made);
    }
    pattern_escape("a.*(b)|[c]\\^${1}+?#-", 20, &text);
    made = pattern(text.data, PATTERN_WHOLE);
    assert_int_equal(pattern_match(made, "A.*(B)|[C]\\^${1}+?#-", 20), PATTERN_YES);
    assert_int_equal(pattern_match(made, "A.*(B)", 6), PATTERN_NO);
    pattern_free(made);
    buf_fini(&text);
}

/* pydicom/deid's own. */
static void test_real(void **state)
{
    static const char *const files[] = {"deid.dicom", "deid.dicom.ultrasound",
                                        "deid.dicom.xray.chest"};
    static const size_t actions[] = {73, 73, 0}, groups[] = {3, 2, 2};

    (void)state;
    for (size_t i = 0; i < COUNT(files); i++) {
        char path[4096], *text;
        struct recipe *recipe;
        struct err err;
        size_t len;

        snprintf(path, sizeof(path), "%s%s", REAL, files[i]);
        if (file_read(path, RECIPE_MAX_BYTES, &text, &len)) {
            print_message("skipped: ../shared/recipes is not there\n");
            skip();
        }
        recipe = load_bytes(text, len, &err);
        if (!recipe)
            fail_msg("%s", err.text);
        assert_int_equal(recipe->n_actions, actions[i]);
        assert_int_equal(recipe->n_groups, groups[i]);
        recipe_free(recipe);
        free(text);
    }
}

static int set_up(void **state)
{
    (void)state;
    names = names_new();
    return names ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    names_free(names);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_words),
        cmocka_unit_test(test_header),   cmocka_unit_test(test_filter),
        cmocka_unit_test(test_sources),  cmocka_unit_test(test_merged),
        cmocka_unit_test(test_limits),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_real),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
