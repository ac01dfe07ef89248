/* SPDX-License-Identifier: Apache-2.0 */
/* Whole data sets through deid_apply(): what must go is not in the written bytes, what must stay
 * is. */
#include <ctype.h>
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
#include "deid/deid.h"
#include "deid/value.h"
#include "dicom/dicom.h"
#include "make_dicom.h"

#define FILTERS SENDIT_SOURCE_DIR "/filters"
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NEW_ID "9f1c2d3e4b5a6978"
#define TOKEN "ZZYZXMARY" /* fits AE, CS, SH and the rest */

static char folder[] = "/tmp/sendit-deid-XXXXXX";
static struct dicom *dicom;
static struct deid_plan *plan, *basic_plan;

/* One data set on its way. */
struct trip {
    struct maker m;
    struct dicom_object *object;
    struct sendit_dataset *ds;
    struct sendit_report report;
    struct sendit_why why;
    char *out; /* as it would be written */
    size_t out_len;
};

/* "1.2.3" becomes "2.25.99123", so that a test can say what it expects. */
static sendit_result map_uid(void *ctx, const char *original, const char **ret_uid)
{
    static char mapped[80];
    size_t n = 8;

    if (ctx)
        return *(sendit_result *)ctx;
    if (!strncmp(original, "1.2.840.10008.", 14)) {
        *ret_uid = original;
        return SENDIT_OK;
    }
    memcpy(mapped, "2.25.99", 7);
    n = 7;
    for (const char *p = original; *p && n < 64; p++)
        if (*p != '.')
            mapped[n++] = *p;
    mapped[n] = '\0';
    *ret_uid = mapped;
    return SENDIT_OK;
}

static sendit_result make_uuid(void *ctx, const char *original, uint8_t ret_uuid[16])
{
    (void)ctx, (void)original;
    memset(ret_uuid, 0, 16);
    return SENDIT_OK;
}

static const struct deid_keyed keyed = {.uid = map_uid, .uuid = make_uuid};

/* Elements follow in the order of their tags: an object that does not keep to it is refused. */
static void make_uids(struct maker *m)
{
    make_text(m, 0x00080016, "UI", CT_CLASS);
    make_text(m, 0x00080018, "UI", "1.2.3.4");
}

static void begin_as(struct trip *t, const char *syntax)
{
    *t = (struct trip){0};
    make_meta(&t->m, syntax);
    make_uids(&t->m);
}

static void begin(struct trip *t)
{
    begin_as(t, EXPLICIT);
}

static void open_item(struct trip *t, uint32_t tag)
{
    make_header(&t->m, tag, "SQ", UNDEFINED_LENGTH);
    make_header(&t->m, ITEM_TAG, "", UNDEFINED_LENGTH);
}

static void close_item(struct trip *t)
{
    make_header(&t->m, ITEM_END_TAG, "", 0);
    make_header(&t->m, SEQUENCE_END_TAG, "", 0);
}

static void open_file(struct trip *t)
{
    struct dicom_refusal refusal = {0};
    struct stat st;
    char path[64];

    assert_false(t->m.buf.failed);
    snprintf(path, sizeof(path), "%s/in.dcm", folder);
    assert_int_equal(file_replace(path, t->m.buf.data, t->m.buf.len, 0600), 0);
    if (dicom_open(dicom, path, &t->object, &st, &refusal))
        fail_msg("%s: %s", refusal.code, refusal.text);
    t->ds = dicom_dataset(t->object);
}

static void write_out(struct trip *t)
{
    const struct sendit_file *file;
    size_t at = 0;

    assert_int_equal(dicom_view(t->ds, &file), SENDIT_OK);
    t->out = malloc(file->total + 1);
    assert_non_null(t->out);
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (part->data)
            memcpy(t->out + at, part->data, part->length);
        else
            assert_int_equal(pread(part->fd, t->out + at, part->length, (off_t)part->offset),
                             part->length);
        at += part->length;
    }
    t->out_len = at;
}

static sendit_result apply_with(struct trip *t, const struct deid_plan *with, const char *jitter)
{
    const struct sendit_var vars[] = {{"entity_id", NEW_ID}, {"jitter", jitter}};

    dicom_begin(t->object, true);
    return deid_apply(with, t->ds, vars, COUNT(vars), &keyed, &t->report, &t->why);
}

static void run_with(struct trip *t, const struct deid_plan *with)
{
    sendit_result result;

    open_file(t);
    result = apply_with(t, with, "-1");
    if (result)
        print_message("%s: %s\n", t->why.code, t->why.text);
    assert_int_equal(result, SENDIT_OK);
    write_out(t);
}

static void run(struct trip *t)
{
    run_with(t, plan);
}

static void end(struct trip *t)
{
    if (t->object)
        dicom_end(t->object, true);
    dicom_close(t->object);
    buf_fini(&t->m.buf);
    free(t->out);
}

/* Where a text without regard to case is in the output; -1 if nowhere. */
static long place_of(const struct trip *t, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= t->out_len; i++) {
        size_t k = 0;

        while (k < n && tolower((unsigned char)t->out[i + k]) == tolower((unsigned char)text[k]))
            k++;
        if (k == n)
            return (long)i;
    }
    return -1;
}

static void assert_gone(const struct trip *t, const char *text)
{
    long at = place_of(t, text);

    if (at >= 0)
        print_message("\"%s\" is at %ld, after %02x%02x,%02x%02x\n", text, at,
                      (unsigned char)t->out[at - 7], (unsigned char)t->out[at - 8],
                      (unsigned char)t->out[at - 5], (unsigned char)t->out[at - 6]);
    assert_int_equal(at, -1);
}

static void assert_value(struct sendit_dataset *ds, uint32_t tag, const char *wanted)
{
    const char *value = NULL;

    assert_non_null(ds);
    if (!wanted) {
        if (dicom_get(ds, tag, &value) != SENDIT_EABSENT)
            fail_msg("(%08X) is still there", tag);
        return;
    }
    if (dicom_get(ds, tag, &value))
        fail_msg("(%08X) has no value", tag);
    if (strcmp(value, wanted) != 0)
        fail_msg("(%08X) is \"%s\", not \"%s\"", tag, value, wanted);
}

static void test_what_every_object_gets(void **state)
{
    struct trip t;

    (void)state;
    begin(&t);
    make_text(&t.m, 0x00100010, "PN", "Doe^Jane");
    make_text(&t.m, 0x00100020, "LO", "MRN-4711");
    make_text(&t.m, 0x00120062, "CS", "NO");
    make_text(&t.m, 0x00120063, "LO", "by hand, J. Doe");
    open_item(&t, 0x00120064);
    make_text(&t.m, 0x00080100, "SH", "113111");
    close_item(&t);
    make_text(&t.m, 0x00280303, "CS", "UNMODIFIED");
    run(&t);
    assert_value(t.ds, 0x00100010, "");
    assert_value(t.ds, 0x00100020, NEW_ID);
    assert_value(t.ds, 0x00080018, "2.25.991234");
    assert_value(t.ds, 0x00080016, CT_CLASS);
    assert_value(t.ds, 0x00120062, "YES");
    assert_value(t.ds, 0x00120063,
                 "PS3.15 2026c\\Basic Application Confidentiality Profile\\Retain Longitudinal "
                 "Temporal Information Modified Dates Option\\Retain Patient Characteristics "
                 "Option");
    assert_value(dicom_nested(t.ds, 0x00120064, 0), 0x00080100, "113100");
    assert_value(dicom_nested(t.ds, 0x00120064, 0), 0x00080102, "DCM");
    assert_value(dicom_nested(t.ds, 0x00120064, 1), 0x00080100, "113107");
    assert_value(dicom_nested(t.ds, 0x00120064, 2), 0x00080100, "113108");
    assert_null(dicom_nested(t.ds, 0x00120064, 3));
    assert_value(t.ds, 0x00280303, "MODIFIED");
    assert_gone(&t, "4711");
    assert_gone(&t, "113111");
    /* and once more, as if it came back */
    assert_int_equal(dicom_end(t.object, true), 0);
    t.ds = dicom_dataset(t.object);
    assert_int_equal(apply_with(&t, basic_plan, "-1"), SENDIT_OK);
    assert_value(dicom_nested(t.ds, 0x00120064, 0), 0x00080100, "113100");
    assert_null(dicom_nested(t.ds, 0x00120064, 1));
    assert_value(t.ds, 0x00280303, "REMOVED");
    end(&t);
}

/* Private, unknown and misplaced elements, at the top and in an item that stays. */
static void make_strangers(struct trip *t)
{
    make_text(&t->m, 0x00090001, "LO", TOKEN);
    make_text(&t->m, 0x00090010, "LO", "SITE " TOKEN);
    make_text(&t->m, 0x000900ff, "LO", TOKEN);
    make_text(&t->m, 0x00091001, "PN", TOKEN "^Jane");
    make_element(&t->m, 0x00091002, "OB", TOKEN " ", 10);
    make_text(&t->m, 0x00091003, "UT", TOKEN);
    open_item(t, 0x00091004);
    make_text(&t->m, 0x00100010, "PN", TOKEN "^Nested");
    close_item(t);
    make_element(&t->m, 0x00091005, "UN", TOKEN " ", 10);
    make_text(&t->m, 0x00187777, "LO", TOKEN); /* no such attribute */
    make_element(&t->m, 0x00187778, "UN", TOKEN " ", 10);
    open_item(t, 0x00187779);
    make_text(&t->m, 0x00080070, "LO", TOKEN);
    close_item(t);
    make_text(&t->m, 0x00203101, "CS", TOKEN);
    make_text(&t->m, 0x40101051, "LO", TOKEN);
    open_item(t, 0x4ffe0001);
    make_text(&t->m, 0x04000015, "CS", TOKEN);
    close_item(t);
    make_text(&t->m, 0x50002500, "LO", TOKEN);
    make_text(&t->m, 0x50fe2600, "SH", TOKEN);
    make_us(&t->m, 0x60000010, 4);
    make_element(&t->m, 0x60003000, "OW", TOKEN " ", 10);
    make_text(&t->m, 0x60004000, "LT", TOKEN);
    make_text(&t->m, 0x60221500, "LO", TOKEN);
    make_text(&t->m, 0x60fe0022, "LO", TOKEN);
    make_element(&t->m, 0x7f000010, "OW", TOKEN " ", 10);
}

static void test_strangers(void **state)
{
    static const uint32_t gone[] = {0x00090010, 0x00091001, 0x00091004, 0x00090001, 0x00187777,
                                    0x00187778, 0x00187779, 0x40101051, 0x4ffe0001, 0x50002500,
                                    0x60000010, 0x60003000, 0x60fe0022, 0x7f000010, 0x00040010,
                                    0x00080000, 0xfffafffa, 0xfffcfffc};
    struct trip t;

    (void)state;
    begin(&t);
    t.m.buf.len = 0; /* group 0004 and lengths of groups come first */
    make_meta(&t.m, EXPLICIT);
    make_text(&t.m, 0x00041500, "CS", TOKEN);
    make_element(&t.m, 0x00080000, "UL", "ZZYZ", 4);
    make_uids(&t.m);
    make_strangers(&t);
    make_element(&t.m, 0x7fe00010, "OW", "\1\2\3\4", 4);
    open_item(&t, 0xfffafffa);
    make_text(&t.m, 0x04000110, "LO", TOKEN);
    close_item(&t);
    make_element(&t.m, 0xfffcfffc, "OB", TOKEN " ", 10);
    run(&t);
    assert_gone(&t, TOKEN);
    for (size_t i = 0; i < COUNT(gone); i++)
        assert_value(t.ds, gone[i], NULL);
    assert_true(t.report.removed >= 20);
    assert_true(place_of(&t, "\1\2\3\4") > 0);
    end(&t);

    begin(&t);
    open_item(&t, 0x00081140);
    make_text(&t.m, 0x00041500, "CS", TOKEN);
    make_text(&t.m, 0x00081155, "UI", "1.2.3.5");
    make_strangers(&t);
    make_element(&t.m, 0x7fe00010, "OB", TOKEN " ", 10);
    close_item(&t);
    run(&t);
    assert_gone(&t, TOKEN);
    assert_value(dicom_nested(t.ds, 0x00081140, 0), 0x00081155, "2.25.991235");
    end(&t);
}

/* A report: text at any depth, in codes and names, none of it in the table. */
static void test_report(void **state)
{
    struct sendit_dataset *item, *name;
    struct trip t;

    (void)state;
    begin(&t);
    open_item(&t, 0x0040a730);
    make_text(&t.m, 0x00082112, "SQ", "");
    make_text(&t.m, 0x0040a010, "CS", "CONTAINS");
    make_text(&t.m, 0x0040a040, "CS", "NUM");
    open_item(&t, 0x0040a043);
    make_text(&t.m, 0x00080100, "SH", "121071");
    make_text(&t.m, 0x00080102, "SH", "DCM");
    make_text(&t.m, 0x00080103, "SH", "01");
    make_text(&t.m, 0x00080104, "LO", "Finding of Qwertz");
    close_item(&t);
    make_text(&t.m, 0x0040a123, "PN", "Qwertz^Mary");
    make_text(&t.m, 0x0040a124, "UI", "1.2.3.7");
    make_text(&t.m, 0x0040a13a, "DT", "20040119072730");
    make_text(&t.m, 0x0040a160, "UT", "seen by Qwertz");
    open_item(&t, 0x0040a168);
    make_text(&t.m, 0x00080100, "SH", "QWERTZ-1");
    make_text(&t.m, 0x00080102, "SH", "99QWERTZ");
    make_text(&t.m, 0x00080104, "LO", "Qwertz");
    make_text(&t.m, 0x0008010c, "UI", "1.2.3.8");
    close_item(&t);
    make_text(&t.m, 0x0040a30a, "DS", "17.25");
    open_item(&t, 0x0040a730);
    make_text(&t.m, 0x00080070, "LO", "Qwertz Ltd"); /* an attribute that stays elsewhere */
    make_text(&t.m, 0x00080120, "UR", "urn:qwertz");
    make_text(&t.m, 0x00100040, "CS", "F");
    make_text(&t.m, 0x0040a160, "UT", "Qwertz again");
    close_item(&t);
    close_item(&t);
    run(&t);
    assert_gone(&t, "qwertz");
    item = dicom_nested(t.ds, 0x0040a730, 0);
    assert_value(item, 0x0040a040, "NUM");
    assert_value(item, 0x0040a30a, "17.25");
    assert_value(item, 0x0040a123, "ANONYMIZED");
    assert_value(item, 0x0040a124, "2.25.991237");
    assert_value(item, 0x0040a13a, "20040118072730");
    assert_value(item, 0x0040a160, "ANONYMIZED");
    name = dicom_nested(item, 0x0040a043, 0);
    assert_value(name, 0x00080100, "121071");
    assert_value(name, 0x00080102, "DCM");
    assert_value(name, 0x00080103, "01");
    assert_value(name, 0x00080104, "121071");
    name = dicom_nested(item, 0x0040a168, 0);
    assert_value(name, 0x00080100, "ANONYMIZED");
    assert_value(name, 0x00080102, "99SENDIT");
    assert_value(name, 0x00080104, "ANONYMIZED");
    assert_value(name, 0x0008010c, "2.25.991238");
    assert_value(dicom_nested(item, 0x0040a730, 0), 0x00080070, "ANONYMIZED");
    assert_value(dicom_nested(item, 0x0040a730, 0), 0x00100040, "F");
    end(&t);
}

/* What comes after a tree, at its level and above, goes by the ordinary rules again. */
static void test_after_a_tree(void **state)
{
    struct trip t;

    (void)state;
    begin(&t);
    open_item(&t, 0x00081140);
    open_item(&t, 0x0040a730);
    make_text(&t.m, 0x00080070, "LO", "Inside");
    close_item(&t);
    make_text(&t.m, 0x00540400, "SH", "Beside");
    close_item(&t);
    make_text(&t.m, 0x00181020, "LO", "Behind");
    run(&t);
    assert_gone(&t, "Inside");
    assert_value(dicom_nested(t.ds, 0x00081140, 0), 0x00540400, "Beside");
    assert_value(t.ds, 0x00181020, "Behind");
    end(&t);
}

static void test_sequences(void **state)
{
    struct sendit_dataset *item;
    struct trip t;

    (void)state;
    begin(&t);
    open_item(&t, 0x00080082);
    make_text(&t.m, 0x00080104, "LO", "Goner");
    close_item(&t);
    open_item(&t, 0x00081110);
    make_text(&t.m, 0x00081155, "UI", "1.2.3.1");
    close_item(&t);
    open_item(&t, 0x00081111);
    make_text(&t.m, 0x00081155, "UI", "1.2.3.1");
    make_text(&t.m, 0x00100010, "PN", "Goner^A");
    close_item(&t);
    open_item(&t, 0x00081140);
    make_text(&t.m, 0x00081030, "LO", "Goner");
    make_text(&t.m, 0x00081150, "UI", CT_CLASS);
    make_text(&t.m, 0x00081155, "UI", "1.2.3.4");
    close_item(&t);
    open_item(&t, 0x00400555);
    make_text(&t.m, 0x0040a160, "UT", "Goner");
    close_item(&t);
    open_item(&t, 0x00401101);
    make_text(&t.m, 0x00080100, "SH", "Goner");
    close_item(&t);
    open_item(&t, 0x00880200);
    make_us(&t.m, 0x00280010, 1);
    close_item(&t);
    run(&t);
    assert_gone(&t, "goner");
    assert_null(dicom_nested(t.ds, 0x00080082, 0));
    assert_null(dicom_nested(t.ds, 0x00081110, 0));
    item = dicom_nested(t.ds, 0x00081111, 0);
    assert_value(item, 0x00081155, "2.25.991231");
    item = dicom_nested(t.ds, 0x00081140, 0);
    assert_value(item, 0x00081155, "2.25.991234"); /* as SOPInstanceUID became */
    assert_value(item, 0x00081150, CT_CLASS);
    assert_null(dicom_nested(t.ds, 0x00400555, 0));
    item = dicom_nested(t.ds, 0x00401101, 0);
    assert_value(item, 0x00080100, "ANONYMIZED");
    assert_null(dicom_nested(t.ds, 0x00401101, 1));
    assert_null(dicom_nested(t.ds, 0x00880200, 0));
    assert_true(place_of(&t, "\x40\x00\x55\x05SQ") > 0); /* empty, not absent */
    end(&t);
}

/* Values that are not what their VR says. */
static void test_misfits(void **state)
{
    struct trip t;

    (void)state;
    begin(&t);
    make_text(&t.m, 0x00080023, "DA", "GONER");
    make_text(&t.m, 0x00080070, "OB", "GONER ");         /* Manufacturer as bytes */
    make_element(&t.m, 0x00081090, "UN", "GONER^A ", 8); /* ManufacturerModelName */
    make_element(&t.m, 0x00082112, "OB", "GONER ", 6);   /* a sequence as a blob */
    make_text(&t.m, 0x00100010, "OB", "GONER ");
    make_text(&t.m, 0x00101010, "AS", "GONE");
    make_text(&t.m, 0x00180015, "CS", "GONER^A");
    make_text(&t.m, 0x00180050, "DS", "GONER");
    make_text(&t.m, 0x00180060, "DS", "120\\GONER");
    make_text(&t.m, 0x00181020, "UT", "GONER^A");
    make_text(&t.m, 0x00181151, "LO", "GONER"); /* IS, by the dictionary */
    open_item(&t, 0x00181250);                  /* ReceiveCoilName as a sequence */
    make_text(&t.m, 0x00080070, "LO", "GONER");
    close_item(&t);
    make_text(&t.m, 0x0020000d, "UI", "1.2.3.2");
    make_text(&t.m, 0x00200013, "IS", "GONER");
    make_text(&t.m, 0x00200052, "UI", "GONER");
    make_text(&t.m, 0x00209165, "AT", "GONERGON");
    make_text(&t.m, 0x00280009, "AT", "GONE");
    make_text(&t.m, 0x00281052, "US", "GONERS"); /* DS, by the dictionary */
    make_element(&t.m, 0x00282000, "SQ", "", 0);
    make_text(&t.m, 0x00283002, "US", "GONER ");
    make_text(&t.m, 0x54000110, "LO", "GONER");
    run(&t);
    assert_value(t.ds, 0x00080023, "");
    assert_value(t.ds, 0x00101010, "");
    assert_value(t.ds, 0x00180050, "");
    assert_value(t.ds, 0x00180060, "");
    assert_value(t.ds, 0x00200013, "");
    assert_value(t.ds, 0x00200052, "");
    assert_value(t.ds, 0x00280009, "");
    assert_value(t.ds, 0x00281052, NULL);
    assert_value(t.ds, 0x0020000d, "2.25.991232");
    assert_int_equal(t.report.lost_dates, 1);
    /* numbers can be anything: three of them spell a word that nobody is called here */
    assert_int_equal(dicom_erase(t.ds, 0x00283002), SENDIT_OK);
    free(t.out);
    write_out(&t);
    assert_gone(&t, "GONE");
    end(&t);
}

/* What becomes of a model name in an object of that patient. */
static void assert_model(const char *name, const char *id, const char *model, const char *wanted)
{
    struct trip t = {0};

    make_meta(&t.m, EXPLICIT);
    make_text(&t.m, 0x00080005, "CS", "ISO_IR 192");
    make_uids(&t.m);
    make_text(&t.m, 0x00081090, "LO", model);
    make_text(&t.m, 0x00100010, "PN", name);
    make_text(&t.m, 0x00100020, "LO", id);
    make_text(&t.m, 0x00100030, "DA", "19610703");
    make_text(&t.m, 0x0020000d, "UI", "1.2.3.4.55.666");
    run(&t);
    assert_value(t.ds, 0x00081090, wanted);
    end(&t);
}

/* Case, accents and what stands between letters hide nobody. */
static void test_traces_in_other_letters(void **state)
{
    static const struct {
        const char *name, *id, *model;
    } gone[] = {
        {"M\xc3\xbcller^Eva", "1", "M\xc3\x9cLLER"},
        {"M\xc3\xbcller^Eva", "1", "for MULLER"},
        {"M\xc3\xbcller^Eva", "1", "for Mueller"},
        {"MUELLER^EVA", "1", "f\xc3\xbcr M\xc3\xbcller"},
        {"M\xc3\xbcller^Eva", "1", "Mu\xcc\x88ller"},
        {"Stra\xc3\x9f"
         "er^Eva",
         "1", "STRASSER"},
        {"\xc5\x81ukasz^Eva", "1", "lukasz"},
        {"Nguy\xe1\xbb\x85n^Eva", "1", "NGUYEN"},
        {"\xd0\x98\xd0\xb2\xd0\xb0\xd0\xbd\xd0\xbe\xd0\xb2^Eva", "1",
         "\xd0\x98\xd0\x92\xd0\x90\xd0\x9d\xd0\x9e\xd0\x92"},
        {"Schmidt^Eva", "1",
         "\xef\xbc\xb3\xef\xbd\x83\xef\xbd\x88\xef\xbd\x8d\xef\xbd\x89"
         "\xef\xbd\x84\xef\xbd\x94"},
        {"Doe^Jane", "1", "JANEDOE"},
        {"Doe^Jane", "1", "xdoejane7"},
        {"Doe^Jane", "12-34-56", "123456"},
        {"Doe^Jane", "12345678", "12 34 56 78"},
        {"Doe^Jane", "1", "*1961-07-03"},
        {"Doe^Jane", "1", "03.07.1961"},
        {"Doe^Jane", "1", "07/03/1961"},
        {"Doe^Jane", "1", "1.2.3.4.55.666"},
    };
    static const struct {
        const char *name, *id, *model;
    } stays[] = {
        {"M\xc3\xbcller^Eva", "1", "Muellerian 5"},
        {"M\xc3\xbcller^Eva", "1", "F\xc3\xbcller"},
        {"Doe^Jane", "1", "Janus D.O.E. 3"},
        {"Doe^Jane", "12-34-56", "v12.345"},
        {"Doe^Jane", "1", "03.07.1962"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(gone); i++)
        assert_model(gone[i].name, gone[i].id, gone[i].model, "ANONYMIZED");
    for (size_t i = 0; i < COUNT(stays); i++)
        assert_model(stays[i].name, stays[i].id, stays[i].model, stays[i].model);
}

/* Whoever is in the sequences before the patient does not use up the room for traces. */
static void test_traces_of_many(void **state)
{
    struct trip t = {0};
    char name[32];

    (void)state;
    make_meta(&t.m, EXPLICIT);
    make_uids(&t.m);
    make_text(&t.m, 0x00081090, "LO", "for Novak");
    make_header(&t.m, 0x00081115, "SQ", UNDEFINED_LENGTH);
    for (int i = 0; i < 600; i++) {
        make_header(&t.m, ITEM_TAG, "", UNDEFINED_LENGTH);
        snprintf(name, sizeof(name), "Somebody%04d^Else", i);
        make_text(&t.m, 0x00081050, "PN", name);
        make_header(&t.m, ITEM_END_TAG, "", 0);
    }
    make_header(&t.m, SEQUENCE_END_TAG, "", 0);
    make_text(&t.m, 0x00100010, "PN", "Novak^Eva");
    make_text(&t.m, 0x00100020, "LO", "1");
    run(&t);
    assert_value(t.ds, 0x00081090, "ANONYMIZED");
    assert_gone(&t, "novak");
    end(&t);
}

/* An ICC profile has text of two bytes a character. */
static void test_traces_in_profiles(void **state)
{
    static const char *const texts[] = {"Novak", "N\0o\0v\0a\0k"};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        static char profile[100000];
        struct trip t;

        memset(profile, 0, sizeof(profile));
        memcpy(profile + sizeof(profile) - 20, texts[i], i ? 9 : 5);
        begin(&t);
        make_text(&t.m, 0x00100010, "PN", "Novak^Eva");
        make_text(&t.m, 0x00100020, "LO", "1");
        make_element(&t.m, 0x00282000, "OB", profile, sizeof(profile));
        run(&t);
        assert_value(t.ds, 0x00100010, "");
        assert_true(t.out_len < sizeof(profile));
        end(&t);
    }
}

/* Who is named somewhere in the object is not named in what stays. */
static void test_traces(void **state)
{
    struct trip t;

    (void)state;
    begin(&t);
    make_text(&t.m, 0x00080005, "CS", "ISO_IR 192");
    t.m.buf.len = 0;
    make_meta(&t.m, EXPLICIT);
    make_text(&t.m, 0x00080005, "CS", "ISO_IR 192");
    make_text(&t.m, 0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL\\NOVAK");
    make_uids(&t.m);
    make_text(&t.m, 0x00080020, "DA", "20040119");
    make_text(&t.m, 0x00080050, "SH", "ACC98765");
    make_text(&t.m, 0x00080070, "LO", "Made for M\xc3\xbcller");
    make_text(&t.m, 0x00080080, "LO", "Saint Elsewhere");
    make_text(&t.m, 0x00080090, "PN", "Axial^Primary");
    make_text(&t.m, 0x00081090, "LO", "NovakScan 5");
    make_text(&t.m, 0x00100010, "PN", "M\xc3\xbcller-Novak^Li=\xe5\xb1\xb1\xe7\x94\xb0");
    make_text(&t.m, 0x00100020, "LO", "123456");
    make_text(&t.m, 0x00102110, "LO", "none");
    open_item(&t, 0x00102202);
    make_text(&t.m, 0x00080104, "LO", "for Novak");
    close_item(&t);
    make_text(&t.m, 0x00180015, "CS", "ELBOW");
    make_text(&t.m, 0x00181018, "LO", "at SAINT ELSEWHERE");
    make_text(&t.m, 0x00181020, "LO", "v5\\made 20040119\\ok");
    make_text(&t.m, 0x00181210, "SH", "xACC98765y");
    make_text(&t.m, 0x00181250, "SH", "li coil");
    make_text(&t.m, 0x00200011, "IS", "123456");
    make_text(&t.m, 0x00200013, "IS", "1234567");
    make_text(&t.m, 0x00201040, "LO", "\xe5\xb1\xb1\xe7\x94\xb0");
    make_text(&t.m, 0x00281050, "DS", "0.123456");
    make_text(&t.m, 0x00281051, "DS", "20040119072730");
    make_element(&t.m, 0x00283006, "OW", "..Novak.", 8);
    run(&t);
    assert_value(t.ds, 0x00080008, "ORIGINAL\\PRIMARY\\AXIAL\\ANONYMIZED");
    assert_value(t.ds, 0x00080070, "ANONYMIZED");
    assert_value(t.ds, 0x00081090, "NovakScan 5"); /* another word */
    assert_value(t.ds, 0x00180015, "ELBOW");
    assert_value(t.ds, 0x00181018, "ANONYMIZED");
    assert_value(t.ds, 0x00181020, "ANONYMIZED");
    assert_value(t.ds, 0x00181210, "ANONYMIZED");
    assert_value(t.ds, 0x00181250, "li coil");
    assert_value(t.ds, 0x00200011, "");
    assert_value(t.ds, 0x00200013, "1234567");
    assert_value(t.ds, 0x00281050, "0.123456");
    assert_value(t.ds, 0x00281051, "");
    assert_gone(&t, "98765");
    assert_gone(&t, "20040119");
    assert_gone(&t, "m\xc3\xbcller");
    assert_gone(&t, "\xe5\xb1\xb1");
    assert_gone(&t, "..novak.");
    assert_gone(&t, "elsewhere");
    end(&t);
}

/* A character set that nobody knows, or a wrong one, hides nothing. */
static void test_character_sets(void **state)
{
    struct trip t;

    (void)state;
    for (int i = 0; i < 3; i++) {
        static const char *const sets[] = {"ISO_IR 999", "^nonsense", "ISO_IR 192"};

        begin(&t);
        t.m.buf.len = 0;
        make_meta(&t.m, EXPLICIT);
        make_text(&t.m, 0x00080005, "CS", sets[i]);
        make_uids(&t.m);
        make_text(&t.m, 0x00080070, "LO", "Acme \xfc\xfe\xff");
        make_text(&t.m, 0x00081090, "LO", "Plain");
        make_text(&t.m, 0x00100010, "PN", "M\xfcllerin^Ida");
        make_text(&t.m, 0x00181020, "LO", "M\xfcllerin");
        make_text(&t.m, 0x00181250, "SH", "Ida");
        run(&t);
        assert_value(t.ds, 0x00080070, "ANONYMIZED");
        assert_value(t.ds, 0x00081090, "Plain");
        assert_value(t.ds, 0x00181250, "ANONYMIZED");
        assert_value(t.ds, 0x00080005, i < 2 ? NULL : sets[i]);
        assert_gone(&t, "llerin");
        end(&t);
    }
}

/* A word in the form of a code string, where the standard has a list of them. */
static void test_terms(void **state)
{
    struct sendit_dataset *item;
    struct trip t;

    (void)state;
    begin(&t);
    t.m.buf.len = 0;
    make_meta(&t.m, EXPLICIT);
    make_text(&t.m, 0x00080005, "CS", "ISO 2022 IR 6\\GONER");
    make_text(&t.m, 0x00080008, "CS", "DERIVED\\Goner99\\M_FFE\\\\GONER\\LI\\NORM\\^GONER\\M^SE");
    make_uids(&t.m);
    make_text(&t.m, 0x00080060, "CS", "GONER");
    make_text(&t.m, 0x00080061, "CS", "MR\\Goner\\CT");
    make_text(&t.m, 0x00089007, "CS", "ORIGINAL\\PRIMARY\\GONER\\NONE");
    make_text(&t.m, 0x00100010, "PN", "Doe^Norm^Ffe");
    make_text(&t.m, 0x00100040, "CS", "GONER");
    make_text(&t.m, 0x00280004, "CS", "GONER");
    open_item(&t, 0x00400275);
    make_text(&t.m, 0x00080060, "CS", "~goner");
    close_item(&t);
    run(&t);
    assert_gone(&t, "goner");
    assert_value(t.ds, 0x00080005, NULL);
    assert_value(
        t.ds, 0x00080008,
        "DERIVED\\ANONYMIZED\\ANONYMIZED\\\\ANONYMIZED\\LI\\ANONYMIZED\\ANONYMIZED\\ANONYMIZED");
    assert_value(t.ds, 0x00080060, "OT");
    assert_value(t.ds, 0x00080061, "MR\\OT\\CT");
    assert_value(t.ds, 0x00089007, "ORIGINAL\\PRIMARY\\ANONYMIZED\\NONE");
    assert_value(t.ds, 0x00100040, "");
    assert_value(t.ds, 0x00280004, "ANONYMIZED");
    item = dicom_nested(t.ds, 0x00400275, 0);
    if (item)
        assert_value(item, 0x00080060, "OT");
    end(&t);
}

/*
 * Rules that no trace stands behind: what is planted here names nobody, so that only the rule takes
 * it away.
 */
static void test_rules_alone(void **state)
{
    static const uint32_t gone[] = {0x00090010, 0x00091001, 0x00091002, 0x00290010, 0x00291008,
                                    0x00041130, 0x00041500, 0x00081110, 0x54000100};
    struct sendit_dataset *item;
    struct trip t;

    (void)state;
    begin(&t);
    t.m.buf.len = 0;
    make_meta(&t.m, EXPLICIT);
    make_text(&t.m, 0x00041130, "CS", "FILESET");
    make_text(&t.m, 0x00041500, "CS", "IMAGES\\IM0001");
    make_uids(&t.m);
    make_text(&t.m, 0x00090010, "LO", "GEMS_IDEN_01"); /* which DCMTK's dictionary knows */
    make_text(&t.m, 0x00091001, "LO", "GE_GENESIS_FF");
    make_text(&t.m, 0x00091002, "SH", "CT01");
    make_text(&t.m, 0x00290010, "LO", "SIEMENS CSA HEADER");
    make_text(&t.m, 0x00291008, "CS", "IMAGE NUM 4");
    run(&t);
    for (size_t i = 0; i < COUNT(gone); i++)
        assert_value(t.ds, gone[i], NULL);
    end(&t);
    /* private tags go twice: by their group, and since no dictionary entry is used for them */
    for (uint32_t group = 0x0009; group < 0x0100; group += 2)
        for (uint32_t element = 0; element < 0x1100; element++)
            assert_null(dicom_vr(group << 16 | element));

    begin(&t);
    open_item(&t, 0x00081110);
    make_text(&t.m, 0x00081150, "UI", CT_CLASS);
    make_text(&t.m, 0x00081155, "UI", "1.2.3.1");
    close_item(&t);
    open_item(&t, 0x00081140);
    make_text(&t.m, 0x00041500, "CS", "IMAGES\\IM0001");
    make_text(&t.m, 0x00081155, "UI", "1.2.3.5");
    make_text(&t.m, 0x00090010, "LO", "GEMS_IDEN_01");
    make_text(&t.m, 0x00091002, "SH", "CT01");
    make_element(&t.m, 0x7fe00010, "OW", "\1\2\3\4", 4);
    close_item(&t);
    run(&t);
    item = dicom_nested(t.ds, 0x00081140, 0);
    assert_value(item, 0x00081155, "2.25.991235");
    assert_value(item, 0x00041500, NULL);
    assert_value(item, 0x00090010, NULL);
    assert_value(item, 0x00091002, NULL);
    assert_int_equal(place_of(&t, "\1\2\3\4"), -1);
    assert_null(dicom_nested(t.ds, 0x00081110, 0));
    if (memmem(t.out, t.out_len, "\x08\x00\x10\x11", 4))
        fail_msg("(0008,1110) is there, if empty");
    end(&t);
}

/* An item about the patient gets the pseudonym, one about another does not. */
static void test_patient_of_an_item(void **state)
{
    static const struct {
        const char *id, *becomes;
    } rows[] = {{"MRN-4711", NEW_ID}, {"MRN-4712", "ANONYMIZED"}, {"MRN-47", "ANONYMIZED"}};
    struct trip t;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        begin(&t);
        open_item(&t, 0x00081140);
        make_text(&t.m, 0x00100020, "LO", rows[i].id);
        close_item(&t);
        make_text(&t.m, 0x00100020, "LO", "MRN-4711");
        run(&t);
        assert_value(dicom_nested(t.ds, 0x00081140, 0), 0x00100020, rows[i].becomes);
        assert_value(t.ds, 0x00100020, NEW_ID);
        assert_gone(&t, "MRN-47");
        end(&t);
    }
}

/* Free text that the table does not list, at the top level, outside of any tree. */
static void test_unlisted_text(void **state)
{
    static const struct {
        uint32_t tag;
        const char *vr;
    } rows[] = {{0x00080108, "LT"}, {0x00160003, "UT"}, {0x00281351, "ST"}};
    struct trip t;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *vr = dicom_vr(rows[i].tag);

        if (!vr || strcmp(vr, rows[i].vr) != 0)
            fail_msg("(%08X) is %s", rows[i].tag, vr ? vr : "unknown");
        begin(&t);
        make_text(&t.m, rows[i].tag, vr, "seen by somebody");
        run(&t);
        assert_value(t.ds, rows[i].tag, "ANONYMIZED");
        end(&t);
    }
}

static void test_dates_and_ages(void **state)
{
    struct trip t;

    (void)state;
    begin(&t);
    make_text(&t.m, 0x00080020, "DA", "20040301");
    make_text(&t.m, 0x00080021, "DA", "2004.03.01");
    make_text(&t.m, 0x00080022, "DA", "00010101");
    make_text(&t.m, 0x0008002a, "DT", "20040301072730.5+0100");
    make_text(&t.m, 0x00080030, "TM", "072730");
    make_text(&t.m, 0x00080201, "SH", "+0100");
    make_text(&t.m, 0x00100030, "DA", "19301224");
    make_text(&t.m, 0x00101010, "AS", "1100M");
    open_item(&t, 0x00540016);
    make_text(&t.m, 0x00181078, "DT", "20040301");
    close_item(&t);
    run(&t);
    assert_value(t.ds, 0x00080020, "20040229");
    assert_value(t.ds, 0x00080021, "20040229");
    assert_value(t.ds, 0x00080022, "");
    assert_value(t.ds, 0x0008002a, "20040229072730.5+0100");
    assert_value(t.ds, 0x00080030, "072730");
    assert_value(t.ds, 0x00080201, NULL);
    assert_value(t.ds, 0x00100030, "");
    assert_value(t.ds, 0x00101010, "089Y");
    assert_value(dicom_nested(t.ds, 0x00540016, 0), 0x00181078, "20040229");
    assert_int_equal(t.report.lost_dates, 1);
    assert_int_equal(t.report.dates, 4);
    assert_gone(&t, "193012");
    assert_gone(&t, "200403");
    end(&t);
}

/* The Basic Profile alone takes dates and what a patient is like. */
static void test_basic(void **state)
{
    struct trip t;

    (void)state;
    begin(&t);
    make_text(&t.m, 0x00080020, "DA", "20040301");
    make_text(&t.m, 0x00080023, "DA", "20040301");
    make_text(&t.m, 0x00080030, "TM", "072731");
    make_text(&t.m, 0x00080033, "TM", "072731");
    make_text(&t.m, 0x00100040, "CS", "F");
    make_text(&t.m, 0x00101010, "AS", "045Y");
    make_text(&t.m, 0x00101030, "DS", "71.25");
    make_text(&t.m, 0x00143076, "DA", "20040301"); /* not in the table */
    make_text(&t.m, 0x00143077, "TM", "072731");
    make_text(&t.m, 0x00180050, "DS", "2.5");
    run_with(&t, basic_plan);
    assert_value(t.ds, 0x00080020, "");
    assert_value(t.ds, 0x00080023, "19000101");
    assert_value(t.ds, 0x00080030, "");
    assert_value(t.ds, 0x00080033, "000000");
    assert_value(t.ds, 0x00100040, "");
    assert_value(t.ds, 0x00101010, NULL);
    assert_value(t.ds, 0x00101030, NULL);
    assert_value(t.ds, 0x00143076, NULL);
    assert_value(t.ds, 0x00143077, NULL);
    assert_value(t.ds, 0x00180050, "2.5");
    assert_value(t.ds, 0x00280303, "REMOVED");
    assert_gone(&t, "200403");
    assert_gone(&t, "072731");
    assert_gone(&t, "71.25");
    end(&t);
}

/* What an image is made of stays, value for value. */
static void test_nothing_else_is_lost(void **state)
{
    static const struct {
        uint32_t tag;
        const char *vr, *value;
    } kept[] = {
        {0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL"},
        {0x00080016, "UI", CT_CLASS},
        {0x00080060, "CS", "CT"},
        {0x00080070, "LO", "Acme"},
        {0x00100040, "CS", "O"},
        {0x00101010, "AS", "045Y"},
        {0x00101020, "DS", "1.75"},
        {0x00101030, "DS", "70"},
        {0x00180015, "CS", "CHEST"},
        {0x00180050, "DS", "2.5"},
        {0x00180060, "DS", "120"},
        {0x00181020, "LO", "syngo 5"},
        {0x00181210, "SH", "B30f"},
        {0x00185100, "CS", "HFS"},
        {0x00200011, "IS", "3"},
        {0x00200013, "IS", "17"},
        {0x00200032, "DS", "-1\\2.5\\3e1"},
        {0x00200037, "DS", "1\\0\\0\\0\\1\\0"},
        {0x00201041, "DS", "-7"},
        {0x00280004, "CS", "MONOCHROME2"},
        {0x00280030, "DS", "0.5\\0.5"},
        {0x00281050, "DS", "40"},
        {0x00281052, "DS", "-1024"},
        {0x00281053, "DS", "1"},
        {0x00281054, "LO", "HU"},
    };
    struct trip t;

    (void)state;
    for (int implicit = 0; implicit < 2; implicit++) {
        t = (struct trip){0};
        make_meta(&t.m, implicit ? IMPLICIT : EXPLICIT);
        for (size_t i = 0; i < COUNT(kept); i++)
            make_text(&t.m, kept[i].tag, kept[i].vr, kept[i].value);
        make_element(&t.m, 0x00283006, "OW", "\1\0\2\0", 4);
        make_element(&t.m, 0x7fe00010, "OW", "\1\2\3\4\5\6", 6);
        run(&t);
        for (size_t i = 0; i < COUNT(kept); i++)
            assert_value(t.ds, kept[i].tag, kept[i].value);
        assert_int_equal(t.report.removed + t.report.emptied + t.report.dates, 0);
        assert_true(place_of(&t, "\5\6") > 0);
        end(&t);
    }
}

/* Attributes that DCMTK's dictionary lacks come as UN where the VR is implicit. */
static void test_unknown_but_listed(void **state)
{
    struct trip t;

    (void)state;
    begin_as(&t, IMPLICIT);
    t.m.buf.len = 0;
    make_meta(&t.m, IMPLICIT);
    make_text(&t.m, 0x00080017, "UI", "1.2.3.9");
    make_text(&t.m, 0x00080018, "UI", "1.2.3.4");
    make_text(&t.m, 0x00081301, "LO", "Goner");
    make_text(&t.m, 0x00100011, "UC", "Goner");
    make_text(&t.m, 0x00102161, "SQ", "Goner");
    make_text(&t.m, 0x00102162, "UC", "Goner");
    run(&t);
    assert_gone(&t, "goner");
    assert_gone(&t, "1.2.3.9");
    assert_true(place_of(&t, "2.25.991239") > 0);
    end(&t);
}

static sendit_result apply_failing(struct trip *t, sendit_result how)
{
    const struct sendit_var vars[] = {{"entity_id", NEW_ID}, {"jitter", "-1"}};
    const struct deid_keyed failing = {.uid = map_uid, .uuid = make_uuid, .ctx = &how};

    dicom_begin(t->object, true);
    return deid_apply(plan, t->ds, vars, COUNT(vars), &failing, &t->report, &t->why);
}

static void test_refused(void **state)
{
    static const char *const jitters[] = {"", "one", "-1.5", "-1 ", "99999999999", "366001"};
    static const struct sendit_var no_id[] = {{"jitter", "-1"}};
    struct trip t;

    (void)state;
    begin(&t);
    make_text(&t.m, 0x00100010, "PN", "Doe^Jane");
    open_file(&t);
    for (size_t i = 0; i < COUNT(jitters); i++) {
        assert_int_equal(apply_with(&t, plan, jitters[i]), SENDIT_EINVAL);
        assert_string_equal(t.why.code, "deid.vars");
    }
    assert_int_equal(deid_apply(plan, t.ds, no_id, 1, &keyed, &t.report, &t.why), SENDIT_EINVAL);
    assert_int_equal(apply_failing(&t, SENDIT_EIO), SENDIT_EIO);
    assert_string_equal(t.why.code, "deid.uid");
    assert_int_equal(apply_failing(&t, SENDIT_EINVAL), SENDIT_ECORRUPT);
    assert_int_equal(t.report.removed + t.report.uids, 0);
    /* nothing of it stands once the caller has taken it back */
    assert_int_equal(dicom_end(t.object, false), 0);
    t.ds = dicom_dataset(t.object);
    assert_value(t.ds, 0x00100010, "Doe^Jane");
    assert_value(t.ds, 0x00120062, NULL);
    /* without permission to edit */
    dicom_begin(t.object, false);
    assert_int_not_equal(
        deid_apply(plan, t.ds, (const struct sendit_var[]){{"entity_id", NEW_ID}, {"jitter", "-1"}},
                   2, &keyed, &t.report, &t.why),
        SENDIT_OK);
    end(&t);
    begin(&t);
    make_text(&t.m, 0x0020000d, "UI", "no uid");
    open_file(&t);
    assert_int_equal(apply_with(&t, plan, "-1"), SENDIT_ECORRUPT);
    assert_string_equal(t.why.code, "deid.uid");
    assert_null(strstr(t.why.text, "no uid"));
    end(&t);
}

/* An element of any tag that the dictionary knows, with the name of the patient in it, in the way
 * that its VR allows, or does not. */
static void plant(struct trip *t, uint32_t tag, const char *vr)
{
    uint16_t v = value_vr(vr);

    if (value_class(v) == VALUE_SEQUENCE) {
        open_item(t, tag);
        make_text(&t->m, 0x00080070, "LO", "by " TOKEN);
        make_text(&t->m, 0x0040a160, "UT", TOKEN);
        close_item(t);
    } else if (v == value_vr("UI")) {
        make_text(&t->m, tag, vr, "1.2.3.555.0123");
    } else if (v == value_vr("DA")) {
        make_text(&t->m, tag, vr, "20040119");
    } else if (v == value_vr("DT")) {
        make_text(&t->m, tag, vr, "20040119072730");
    } else if (v == value_vr("DS") || v == value_vr("IS")) {
        make_text(&t->m, tag, vr, "98765432");
    } else if (v == value_vr("AS") || v == value_vr("TM")) {
        make_text(&t->m, tag, vr, "ZZYZ");
    } else if (value_class(v) == VALUE_TEXT || value_class(v) == VALUE_STRING) {
        make_text(&t->m, tag, vr, TOKEN);
    } else {
        make_element(&t->m, tag, vr, TOKEN TOKEN "      ", 24);
    }
}

static bool is_planted(uint32_t tag)
{
    return tag >> 16 != 0x0002 && tag >> 16 != 0xfffe && (tag & 0xffff) && tag != 0x00100010 &&
           tag != 0x00100020 && tag != 0x00080020 && tag >> 16 != 0x0000 && tag >> 16 != 0x7fe0 &&
           tag != 0x00080016 && tag != 0x00080018 && tag != 0x0020000d && tag != 0x0020000e &&
           tag != 0x00200052; /* else the UIDs of classes are the one of the image */
}

/* All groups that the dictionary has. */
static size_t plant_all(struct trip *t, size_t from_group, size_t to_group)
{
    size_t n = 0;

    for (uint32_t group = (uint32_t)from_group; group < to_group; group += 2)
        for (uint32_t element = 1; element < 0xffff; element++) {
            uint32_t tag = group << 16 | element;
            const char *vr = dicom_vr(tag);

            if (tag == 0x00080018)
                make_text(&t->m, tag, "UI", "1.2.3.4");
            else if (tag == 0x00080020)
                make_text(&t->m, tag, "DA", "20040119");
            else if (tag == 0x00100010)
                make_text(&t->m, tag, "PN", TOKEN "^Jane");
            else if (tag == 0x00100020)
                make_text(&t->m, tag, "LO", "98765432");
            else if (vr && is_planted(tag) && ++n)
                plant(t, tag, vr);
        }
    return n;
}

static void test_every_attribute(void **state)
{
    static const char *const secrets[] = {TOKEN, "20040119", "98765432"};
    struct trip t;
    size_t n;

    (void)state;
    t = (struct trip){0};
    make_meta(&t.m, EXPLICIT);
    n = plant_all(&t, 0x0004, 0x0080) + plant_all(&t, 0x0080, 0x0102) +
        plant_all(&t, 0x1000, 0x1012) + plant_all(&t, 0x2000, 0x2202) +
        plant_all(&t, 0x3000, 0x3012) + plant_all(&t, 0x4000, 0x4012) +
        plant_all(&t, 0x5000, 0x5002) + plant_all(&t, 0x5200, 0x5602) +
        plant_all(&t, 0x6000, 0x6002) + plant_all(&t, 0x7f00, 0x7f02);
    assert_true(n > 4000);
    run(&t);
    for (size_t i = 0; i < COUNT(secrets); i++)
        assert_gone(&t, secrets[i]);
    /* UIDs of classes, transfer syntaxes and coding schemes are no instance's */
    n = 0;
    for (char *at = t.out; (at = memmem(at, t.out_len - (size_t)(at - t.out), "1.2.3.555", 9));
         at++)
        n++;
    assert_in_range(n, 9, 14);
    end(&t);
}

static int set_up(void **state)
{
    static const char *const profiles[] = {"basic", "retain-patient-characteristics",
                                           "retain-modified-dates", NULL};
    static const char *const only_basic[] = {"basic", NULL};
    const struct dicom_limits limits = {.max_inflate = 1u << 20};
    struct err err = {0};

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    dicom = dicom_new(&limits, folder, &err);
    if (!dicom || deid_compile(profiles, NULL, FILTERS, &plan, &err) ||
        deid_compile(only_basic, NULL, FILTERS, &basic_plan, &err)) {
        print_message("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    deid_free(plan);
    deid_free(basic_plan);
    dicom_free(dicom);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_every_object_gets),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_after_a_tree),
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_traces),
        cmocka_unit_test(test_traces_in_other_letters),
        cmocka_unit_test(test_traces_of_many),
        cmocka_unit_test(test_traces_in_profiles),
        cmocka_unit_test(test_character_sets),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_rules_alone),
        cmocka_unit_test(test_patient_of_an_item),
        cmocka_unit_test(test_unlisted_text),
        cmocka_unit_test(test_dates_and_ages),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_nothing_else_is_lost),
        cmocka_unit_test(test_unknown_but_listed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_attribute),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
