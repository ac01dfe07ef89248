/* SPDX-License-Identifier: Apache-2.0 */
/* Rows, tables and answers of bigquery-store. */
#include "bigquery_answer.h"
#include "bigquery_pack.h"
#include "bigquery_row.h"
#include "bigquery_schema.h"
#include "bigquery_study.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <zlib.h>

/* ---- a data set that is words in an array ---- */

struct sendit_dataset {
    const char *json;
    const char *(*get)(uint32_t tag);
    sendit_result fails; /* of json() */
};

static sendit_result fake_get(struct sendit_dataset *ds, uint32_t tag, const char **ret_value)
{
    const char *value = ds->get(tag);

    if (!value)
        return SENDIT_EABSENT;
    if (!strcmp(value, "?"))
        return SENDIT_ECORRUPT;
    if (!strcmp(value, "!"))
        return SENDIT_EIO;
    *ret_value = value;
    return SENDIT_OK;
}

static sendit_result fake_json(struct sendit_dataset *ds, const char **ret_json)
{
    if (ds->fails != SENDIT_OK)
        return ds->fails;
    *ret_json = ds->json;
    return SENDIT_OK;
}

static const struct sendit_dicom dicom = {.get = fake_get, .json = fake_json};
static const struct row_names nobody;
static struct sendit_why why;

static const char *usual(uint32_t tag)
{
    switch (tag) {
    case 0x00080016:
        return "1.2.840.10008.5.1.4.1.1.2";
    case 0x00080018:
        return "2.25.3";
    case 0x00080020:
        return "20210304";
    case 0x00080050:
        return "A1";
    case 0x00080060:
        return "CT";
    case 0x00100020:
        return "P1";
    case 0x0020000d:
        return "2.25.1";
    case 0x0020000e:
        return "2.25.2";
    default:
        return NULL;
    }
}

static const char *bare(uint32_t tag)
{
    return tag == 0x00080018 ? "2.25.3" : tag == 0x00080020 ? "20211304" : NULL;
}

static const char *odd(uint32_t tag)
{
    return tag == 0x00080018 ? "2.25.3" : "?";
}

static const char *nameless(uint32_t tag)
{
    return tag == 0x00080018 ? NULL : usual(tag);
}

static const char *broken(uint32_t tag)
{
    return tag == 0x00080060 ? "!" : usual(tag);
}

static json_t *row(const char *(*get)(uint32_t), const char *json, const struct row_names *names,
                   size_t max)
{
    struct sendit_dataset ds = {.json = json, .get = get};
    const struct row_object object = {"gs://b/Collection/X/a.tar.gz", "17", "AAAAAA=="};
    size_t dropped, length;
    char *begun, *line;
    json_t *value;

    assert_int_equal(row_begin(&dicom, &ds, names, max, &begun, &dropped, &why), SENDIT_PASS);
    line = row_end(begun, &object, "batch-1", 1609459200123, &length);
    assert_non_null(line);
    assert_int_equal(strlen(line), length);
    assert_true(length <= max);
    assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    value = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(value);
    assert_int_equal(json_array_size(json_object_get(value, "dropped")), dropped);
    free(line);
    free(begun);
    return value;
}

static void is_text(const json_t *object, const char *key, const char *wanted)
{
    const json_t *value = json_object_get(object, key);

    if (!wanted)
        assert_true(json_is_null(value));
    else if (!json_is_string(value))
        fail_msg("%s is no text", key);
    else
        assert_string_equal(json_string_value(value), wanted);
}

static void a_row_has_its_columns(void **state)
{
    json_t *value =
        row(usual, "{\"00080060\":{\"vr\":\"CS\",\"Value\":[\"CT\"]}}", &nobody, ROW_MAX);

    (void)state;
    is_text(value, "StudyInstanceUID", "2.25.1");
    is_text(value, "SeriesInstanceUID", "2.25.2");
    is_text(value, "SOPInstanceUID", "2.25.3");
    is_text(value, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2");
    is_text(value, "CodedPatientID", "P1");
    is_text(value, "CodedAccessionNumberID", "A1");
    is_text(value, "Modality", "CT");
    is_text(value, "StudyDate", "2021-03-04");
    is_text(value, "object", "gs://b/Collection/X/a.tar.gz");
    is_text(value, "generation", "17");
    is_text(value, "crc32c", "AAAAAA==");
    is_text(value, "batch", "batch-1");
    is_text(value, "ingested", "2021-01-01 00:00:00.123 UTC");
    assert_int_equal(json_object_size(value), 15); /* as many as the table has */
    is_text(json_object_get(json_object_get(value, "header"), "00080060"), "vr", "CS");
    json_decref(value);
}

static void what_an_image_lacks_is_null(void **state)
{
    const struct row_names names = {"E1", "I1"};
    json_t *value = row(bare, "{}", &nobody, ROW_MAX);

    (void)state;
    is_text(value, "StudyInstanceUID", NULL);
    is_text(value, "CodedPatientID", NULL);
    is_text(value, "Modality", NULL);
    is_text(value, "StudyDate", NULL); /* the 13th month */
    json_decref(value);
    value = row(bare, "{}", &names, ROW_MAX);
    is_text(value, "CodedPatientID", "E1");
    is_text(value, "CodedAccessionNumberID", "I1");
    json_decref(value);
    value = row(odd, "{}", &nobody, ROW_MAX); /* cannot be read as text */
    is_text(value, "Modality", NULL);
    json_decref(value);
}

static void an_image_without_a_row_is_held(void **state)
{
    struct sendit_dataset ds = {.json = "{}", .get = nameless};
    size_t dropped;
    char *begun;

    (void)state;
    assert_int_equal(row_begin(&dicom, &ds, &nobody, ROW_MAX, &begun, &dropped, &why),
                     SENDIT_QUARANTINE);
    assert_string_equal(why.code, "bigquery.no_uid");
    ds.get = usual;
    ds.fails = SENDIT_ECORRUPT;
    assert_int_equal(row_begin(&dicom, &ds, &nobody, ROW_MAX, &begun, &dropped, &why),
                     SENDIT_QUARANTINE);
    assert_string_equal(why.code, "bigquery.values");
    ds.fails = SENDIT_ENOMEM;
    assert_int_equal(row_begin(&dicom, &ds, &nobody, ROW_MAX, &begun, &dropped, &why),
                     SENDIT_RETRY);
    ds.fails = SENDIT_OK;
    ds.get = broken;
    assert_int_equal(row_begin(&dicom, &ds, &nobody, ROW_MAX, &begun, &dropped, &why),
                     SENDIT_RETRY);
}

static void an_object_that_is_none_ends_no_row(void **state)
{
    static const struct row_object bad[] = {{"b/a", "1", ""},
                                            {"gs://", "1", ""},
                                            {"gs://b", "1", ""},
                                            {"gs://b/", "1", ""},
                                            {"gs://B?/x", "1", ""},
                                            {"gs://b/x", "", ""},
                                            {"gs://b/x", "1x", ""},
                                            {"gs://b/x", "-1", ""},
                                            {"https://b/x", "1", ""},
                                            {"gs:///x", "1", ""},
                                            {"gs://b/x", "123456789012345678901", ""}};
    size_t length;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_null(row_end("{\"a\":1", &bad[i], "b", 0, &length));
}

/* A header of `n` elements, of which number i has i * step letters. */
static char *large_header(size_t n, size_t step)
{
    char *text = malloc(n * (n + 1) / 2 * step + n * 64 + 3), *to = text;

    assert_non_null(text);
    to += sprintf(to, "{");
    for (size_t i = 1; i <= n; i++) {
        to += sprintf(to, "%s\"0040%04zX\":{\"vr\":\"UT\",\"Value\":[\"", i > 1 ? "," : "", i);
        memset(to, 'a', i * step);
        to += i * step;
        to += sprintf(to, "\"]}");
    }
    sprintf(to, "}");
    return text;
}

static void a_row_is_never_too_large(void **state)
{
    char *header = large_header(6, 1 << 20); /* 21 MiB */
    json_t *value = row(usual, header, &nobody, ROW_MAX), *dropped;
    json_t *left = json_object_get(value, "header");

    (void)state;
    dropped = json_object_get(value, "dropped");
    assert_int_equal(json_array_size(dropped), 3); /* the largest, and no more than needed */
    assert_string_equal(json_string_value(json_array_get(dropped, 0)), "00400006");
    assert_string_equal(json_string_value(json_array_get(dropped, 1)), "00400005");
    assert_int_equal(json_object_size(left), 3);
    json_decref(value);
    free(header);
    header = large_header(300, 10);
    for (size_t max = 5500; max < 20000; max += 700)
        json_decref(row(usual, header, &nobody, max));
    free(header);
}

static void fractions_are_short(void **state)
{
    static const char *const pairs[][2] = {
        {"[0.10000000000000001]", "[0.1]"},
        {"[0.68359400000000001,-1.5,2]", "[0.683594,-1.5,2]"},
        {"[12345678901234567]", "[12345678901234567]"},
        {"[0.1234567890123456789]", "[0.12345678901234568]"},
        {"[1.7976931348623157e+308]", "[1.7976931348623157e+308]"},
        {"[5.0]", "[5]"},
        {"[\"0.10000000000000001\"]", "[\"0.10000000000000001\"]"},
        {"[\"a\\\"0.10000000000000001\",0.10000000000000001]",
         "[\"a\\\"0.10000000000000001\",0.1]"},
        {"{\"0.50000000000000011\":1.0}", "{\"0.50000000000000011\":1}"},
        {"[\"\\\\\",3.0]", "[\"\\\\\",3]"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char text[128];

        snprintf(text, sizeof(text), "%s", pairs[i][0]);
        row_shorten(text);
        assert_string_equal(text, pairs[i][1]);
    }
}

static void days_are_days(void **state)
{
    static const char *const bad[] = {"",         "2021",      "20210229", "20211301",
                                      "20210001", "20210100",  "20210431", "00000101",
                                      "2021-3-4", "202103041", " 2021034", "19000229"};
    char date[11];

    (void)state;
    assert_true(row_date("20000229", date));
    assert_string_equal(date, "2000-02-29");
    assert_true(row_date("99991231", date));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(row_date(bad[i], date));
}

static void links_are_those_of_google(void **state)
{
    const struct row_object object = {"gs://radiology/Collection/X/a b+\xc3\xa4.tar.gz", "17", ""};
    char self[ROW_URL_SIZE], media[ROW_URL_SIZE];

    (void)state;
    assert_true(row_links(&object, self, media));
    assert_string_equal(self, "https://www.googleapis.com/storage/v1/b/radiology/o/"
                              "Collection%2FX%2Fa%20b%2B%C3%A4.tar.gz");
    assert_string_equal(media, "https://storage.googleapis.com/download/storage/v1/b/radiology/o/"
                               "Collection%2FX%2Fa%20b%2B%C3%A4.tar.gz?generation=17&alt=media");
    assert_true(row_list_link(object.name, 13, self));
    assert_string_equal(self, "https://www.googleapis.com/storage/v1/b/radiology/o"
                              "?prefix=Collection%2FX%2F");
}

/* ---- studies ---- */

static sendit_result keyword_of(uint32_t tag, const char **ret_keyword)
{
    static const struct {
        uint32_t tag;
        const char *keyword;
    } words[] = {{0x00080060, "Modality"},
                 {0x00081030, "StudyDescription"},
                 {0x00100020, "PatientID"},
                 {0x00100040, "PatientSex"},
                 {0x00101010, "PatientAge"},
                 {0x00200011, "SeriesNumber"},
                 {0x00200013, "InstanceNumber"},
                 {0x0008103e, "SeriesDescription"},
                 {0x00080008, "ImageType"},
                 {0x00280030, "PixelSpacing"},
                 {0x00081140, "ReferencedImageSequence"}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].tag == tag) {
            *ret_keyword = words[i].keyword;
            return SENDIT_OK;
        }
    return SENDIT_EABSENT;
}

static json_t *image(int series, int instance, const char *modality, const char *age)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:{s:s, s:[s]}, s:{s:s, s:[i]}, s:{s:s, s:[i]}, "
        "s:{s:s, s:[s]}, s:{s:s, s:[s]}, s:{s:s, s:[f, f]}, s:{s:s, s:[{s:{s:s, s:[s]}}]}, "
        "s:{s:s}, s:{s:s, s:[s]}}}",
        "StudyInstanceUID", "2.25.1", "SeriesInstanceUID", "2.25.2", "SOPInstanceUID", "2.25.3",
        "CodedPatientID", "P1", "CodedAccessionNumberID", "A1", "header", "00080060", "vr", "CS",
        "Value", modality, "00200011", "vr", "IS", "Value", series, "00200013", "vr", "IS", "Value",
        instance, "00100040", "vr", "CS", "Value", "F", "00101010", "vr", "AS", "Value", age,
        "00280030", "vr", "DS", "Value", 0.1, 1.0, "00081140", "vr", "SQ", "Value", "00081150",
        "vr", "UI", "Value", "1.2", "00081030", "vr", "LO", "00091001", "vr", "LO", "Value",
        "private");
}

struct seen_rows {
    json_t *rows[8];
    char names[8][ROW_URL_SIZE + 32];
    size_t n;
};

static int keep(void *ctx, const struct study_row *row_)
{
    struct seen_rows *seen = ctx;

    assert_int_equal(row_->line[row_->length - 1], '\n');
    assert_true(row_->length <= ROW_MAX);
    assert_true(row_->fresh);
    seen->rows[seen->n] = json_loadb(row_->line, row_->length - 1, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(seen->rows[seen->n]);
    assert_int_equal(json_object_size(seen->rows[seen->n]), 10); /* the predecessor's */
    snprintf(seen->names[seen->n++], sizeof(seen->names[0]), "%s", row_->name);
    return 0;
}

static void add(struct studies *studies, json_t *row_, const char *object, const char *generation)
{
    const struct row_object at = {object, generation, "AAAAAA=="};

    assert_int_equal(studies_see(studies, row_), 0);
    if (object)
        assert_int_equal(studies_add(studies, row_, &at, true), 0);
    json_decref(row_);
}

static void an_archive_is_a_row(void **state)
{
    struct studies studies = {0};
    struct seen_rows seen = {0};
    json_t *header;

    (void)state;
    assert_int_equal(studies_init(&studies, keyword_of), 0);
    add(&studies, image(1, 1, "CT", "059Y"), "gs://b/C/a.tar.gz", "7");
    add(&studies, image(1, 2, "CT", "059Y"), "gs://b/C/a.tar.gz", "7");
    add(&studies, image(2, 3, "MR", "060Y"), "gs://b/C/a.tar.gz", "7");
    add(&studies, image(3, 4, "MR", "060Y"), NULL, NULL); /* not stored */
    assert_int_equal(studies_rows(&studies, keep, &seen), 0);
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.names[0],
                        "https://www.googleapis.com/storage/v1/b/b/o/C%2Fa.tar.gz 7");
    is_text(seen.rows[0], "storage_download",
            "https://storage.googleapis.com/download/storage/v1/b/b/o/C%2Fa.tar.gz?generation=7"
            "&alt=media");
    is_text(seen.rows[0], "storage_metadataLink",
            "https://www.googleapis.com/storage/v1/b/b/o/C%2Fa.tar.gz");
    is_text(seen.rows[0], "CodedPatientID", "P1");
    is_text(seen.rows[0], "CodedAccessionNumberID", "A1");
    is_text(seen.rows[0], "ContentType", "application/gzip");
    is_text(seen.rows[0], "PatientSex", "F");
    is_text(seen.rows[0], "PatientAge", NULL); /* two of them */
    is_text(seen.rows[0], "Modality", "CT,MR");
    is_text(seen.rows[0], "StudyDescription", NULL);
    header = json_loads(json_string_value(json_object_get(seen.rows[0], "DicomHeader")),
                        JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(header);
    assert_int_equal(json_integer_value(json_object_get(header, "IMAGE_COUNT")), 3);
    assert_int_equal(json_integer_value(json_object_get(header, "NumberOfSeries")), 2);
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(json_object_get(header, "Series"), "1"), "Images")),
                     2);
    assert_int_equal(json_array_size(json_object_get(header, "RemovedSeries")), 1);
    assert_int_equal(json_array_size(json_object_get(header, "Modality")), 2);
    assert_int_equal(json_array_size(json_object_get(header, "PixelSpacing")), 2);
    assert_null(json_object_get(header, "InstanceNumber")); /* not shared */
    assert_null(json_object_get(header, "PatientAge"));
    assert_null(json_object_get(header, "ReferencedImageSequence"));
    assert_null(strstr(json_string_value(json_object_get(seen.rows[0], "DicomHeader")), "private"));
    assert_non_null(
        strstr(json_string_value(json_object_get(seen.rows[0], "DicomHeader")), "[0.1,1]"));
    json_decref(header);
    json_decref(seen.rows[0]);
    studies_fini(&studies);
}

static void a_second_archive_is_a_second_row(void **state)
{
    struct studies studies = {0};
    struct seen_rows seen = {0};

    (void)state;
    assert_int_equal(studies_init(&studies, keyword_of), 0);
    add(&studies, image(1, 1, "CT", "059Y"), "gs://b/C/a.tar.gz", "7");
    add(&studies, image(1, 2, "CT", "059Y"), "gs://b/C/a-2.tar.gz", "8");
    assert_int_equal(studies_rows(&studies, keep, &seen), 0);
    assert_int_equal(seen.n, 2);
    is_text(seen.rows[0], "PatientAge", "059Y");
    for (size_t i = 0; i < seen.n; i++)
        json_decref(seen.rows[i]);
    studies_fini(&studies);
}

static void single_images_share_a_row(void **state)
{
    struct studies studies = {0};
    struct seen_rows seen = {0};

    (void)state;
    assert_int_equal(studies_init(&studies, keyword_of), 0);
    add(&studies, image(1, 1, "CT", "059Y"), "gs://b/C/P1/S1/1.dcm", "7");
    add(&studies, image(1, 2, "CT", "059Y"), "gs://b/C/P1/S2/2.dcm", "8");
    add(&studies, image(1, 2, "CT", "059Y"), "gs://b/C/P1/S22/3.dcm", "9");
    assert_int_equal(studies_rows(&studies, keep, &seen), 0);
    assert_int_equal(seen.n, 1);
    is_text(seen.rows[0], "storage_download", NULL);
    is_text(seen.rows[0], "storage_metadataLink",
            "https://www.googleapis.com/storage/v1/b/b/o?prefix=C%2FP1%2F");
    is_text(seen.rows[0], "ContentType", "application/dicom");
    json_decref(seen.rows[0]);
    studies_fini(&studies);
}

static void no_image_no_row(void **state)
{
    struct studies studies = {0};
    struct seen_rows seen = {0};

    (void)state;
    assert_int_equal(studies_init(&studies, keyword_of), 0);
    add(&studies, image(1, 1, "CT", "059Y"), NULL, NULL);
    assert_int_equal(studies_rows(&studies, keep, &seen), 0);
    assert_int_equal(seen.n, 0);
    studies_fini(&studies);
}

/* ---- tables ---- */

static const struct schema_place place = {.project = "p", .dataset = "D"};

static sendit_verdict compared(enum table table, json_t *answer, json_t **ret_patch)
{
    sendit_verdict verdict;

    memset(&why, 0, sizeof(why));
    *ret_patch = NULL;
    verdict = schema_compare(table, answer, ret_patch, &why);
    json_decref(answer);
    return verdict;
}

static json_t *fields_of(json_t *answer)
{
    return json_object_get(json_object_get(answer, "schema"), "fields");
}

static void our_own_tables_stand(void **state)
{
    json_t *patch;

    (void)state;
    for (int i = 0; i < TABLES; i++) {
        json_t *body = schema_table_body(&place, (enum table)i);

        assert_int_equal(json_array_size(fields_of(body)), i ? 15 : 10);
        assert_int_equal(compared((enum table)i, body, &patch), SENDIT_PASS);
        assert_null(patch);
    }
}

static void others_columns_do_not_matter(void **state)
{
    json_t *body = schema_table_body(&place, TABLE_DICOM), *patch;

    (void)state;
    json_array_append_new(fields_of(body),
                          json_pack("{s:s, s:s}", "name", "mine", "type", "BYTES"));
    json_array_insert_new(
        fields_of(body), 0,
        json_pack("{s:s, s:s, s:s}", "name", "first", "type", "FLOAT", "mode", "REPEATED"));
    json_object_set_new(json_array_get(fields_of(body), 3), "name",
                        json_string("codedaccessionnumberid"));
    assert_int_equal(compared(TABLE_DICOM, body, &patch), SENDIT_PASS);
}

static void a_missing_column_is_added(void **state)
{
    json_t *body = schema_table_body(&place, TABLE_INSTANCES), *patch, *fields;

    (void)state;
    json_array_remove(fields_of(body), 14); /* the last, and one before */
    json_array_remove(fields_of(body), 12);
    assert_int_equal(compared(TABLE_INSTANCES, body, &patch), SENDIT_SKIP);
    fields = fields_of(patch);
    assert_int_equal(json_array_size(fields), 15); /* those that are there, too: else they go */
    is_text(json_array_get(fields, 13), "name", "dropped");
    is_text(json_array_get(fields, 13), "mode", "REPEATED");
    is_text(json_array_get(fields, 14), "name", "ingested");
    json_decref(patch);
    body = json_pack("{s:s}", "kind", "bigquery#table"); /* without any schema */
    assert_int_equal(compared(TABLE_DICOM, body, &patch), SENDIT_SKIP);
    assert_int_equal(json_array_size(fields_of(patch)), 10);
    json_decref(patch);
}

static void refused(enum table table, json_t *body, const char *code, const char *word)
{
    json_t *patch;

    assert_int_equal(compared(table, body, &patch), SENDIT_FAIL);
    assert_null(patch);
    assert_string_equal(why.code, code);
    if (!strstr(why.text, word))
        fail_msg("%s is not in: %s", word, why.text);
}

static json_t *with(enum table table, size_t at, const char *key, const char *value)
{
    json_t *body = schema_table_body(&place, table);

    json_object_set_new(json_array_get(fields_of(body), at), key, json_string(value));
    return body;
}

static void other_tables_are_refused(void **state)
{
    json_t *body;

    (void)state;
    refused(TABLE_DICOM, with(TABLE_DICOM, 7, "name", "modality_of_study"), "bigquery.renamed",
            "\"Modality\"");
    refused(TABLE_DICOM, with(TABLE_DICOM, 7, "name", "modality_of_study"), "bigquery.renamed",
            "\"modality_of_study\"");
    refused(TABLE_DICOM, with(TABLE_DICOM, 9, "type", "JSON"), "bigquery.type", "\"DicomHeader\"");
    refused(TABLE_INSTANCES, with(TABLE_INSTANCES, 9, "type", "STRING"), "bigquery.type",
            "\"generation\"");
    refused(TABLE_INSTANCES, with(TABLE_INSTANCES, 7, "type", "../etc"), "bigquery.type",
            "another");
    refused(TABLE_INSTANCES, with(TABLE_INSTANCES, 12, "mode", "NULLABLE"), "bigquery.mode",
            "\"dropped\"");
    refused(TABLE_DICOM, with(TABLE_DICOM, 3, "mode", "REQUIRED"), "bigquery.mode",
            "\"CodedPatientID\"");
    body = schema_table_body(&place, TABLE_DICOM);
    json_array_append_new(fields_of(body), json_pack("{s:s, s:s, s:s}", "name", "site", "type",
                                                     "STRING", "mode", "REQUIRED"));
    refused(TABLE_DICOM, body, "bigquery.required", "\"site\"");
    body = schema_table_body(&place, TABLE_DICOM);
    json_object_set_new(body, "type", json_string("VIEW"));
    refused(TABLE_DICOM, body, "bigquery.table", "dicom");
    refused(TABLE_DICOM, json_pack("{s:{s:s}}", "schema", "fields", "none"), "bigquery.table",
            "dicom");
}

/* Where one of ours is missing at the end, one of the site's own may stand. */
static void a_column_of_a_later_version_is_added(void **state)
{
    json_t *body = schema_table_body(&place, TABLE_INSTANCES), *patch;

    (void)state;
    json_array_remove(fields_of(body), 14);
    json_array_append_new(fields_of(body), json_pack("{s:s, s:s, s:s}", "name", "seen", "type",
                                                     "TIMESTAMP", "description", "Our own."));
    assert_int_equal(compared(TABLE_INSTANCES, body, &patch), SENDIT_SKIP);
    assert_int_equal(json_array_size(fields_of(patch)), 16);
    json_decref(patch);
    refused(TABLE_INSTANCES, with(TABLE_INSTANCES, 14, "name", "loaded_at"), "bigquery.renamed",
            "\"ingested\"");
    body = with(TABLE_INSTANCES, 13, "name", "by");
    json_object_del(json_array_get(fields_of(body), 13), "description");
    refused(TABLE_INSTANCES, body, "bigquery.renamed", "\"batch\""); /* by its place */
}

static void a_type_of_two_names_is_one(void **state)
{
    json_t *patch;

    (void)state;
    assert_int_equal(compared(TABLE_INSTANCES, with(TABLE_INSTANCES, 9, "type", "INT64"), &patch),
                     SENDIT_PASS);
}

static void columns_are_found_in_sentences(void **state)
{
    (void)state;
    assert_string_equal(
        schema_column_in(TABLE_INSTANCES, "Invalid date: 'x' Field: StudyDate; Value: x"),
        "StudyDate");
    assert_string_equal(schema_column_in(TABLE_DICOM, "No such field: DicomHeader."),
                        "DicomHeader");
    assert_null(schema_column_in(TABLE_DICOM, "No such field: StudyDate."));
    assert_null(schema_column_in(TABLE_INSTANCES, "No such field: ModalityX"));
    assert_null(schema_column_in(TABLE_INSTANCES, ""));
}

/* ---- parts ---- */

static void parts_are_one_gzip_file(void **state)
{
    struct pack pack = {0};
    struct pack_sum sum = {0};
    unsigned char file[200000], *to = file + PACK_HEAD;
    char raw[3 * 40000], back[sizeof(raw) + 16];
    z_stream stream = {0};
    size_t n = 0;

    (void)state;
    pack_head(file);
    for (int part = 0; part < 3; part++) {
        struct pack_sum one;
        unsigned char *data;

        for (int i = 0; i < 40; i++) {
            for (int j = 0; j < 1000; j++)
                raw[n + (size_t)j] = (char)(part == 1 ? rand() : 'a' + (i + j) % 5);
            assert_int_equal(pack_add(&pack, raw + n, 1000), 0);
            n += 1000;
        }
        assert_int_equal(pack.n_rows, 40);
        assert_int_equal(pack_end(&pack, &data, &one), 0);
        assert_int_equal(one.raw, 40000);
        pack_sum_add(&sum, &one);
        memcpy(to, data, one.bytes);
        to += one.bytes;
        free(data);
    }
    pack_tail(&sum, to);
    to += PACK_TAIL;
    assert_int_equal(inflateInit2(&stream, 31), Z_OK); /* gzip, with its sum and length */
    stream.next_in = file;
    stream.avail_in = (uInt)(to - file);
    stream.next_out = (Bytef *)back;
    stream.avail_out = sizeof(back);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, sizeof(raw));
    assert_memory_equal(back, raw, sizeof(raw));
    inflateEnd(&stream);
    pack_fini(&pack);
}

/* ---- answers ---- */

static enum answer_of_job job(const char *body, struct answer_job *ret)
{
    answer_read_job(body, strlen(body), TABLE_INSTANCES, "sendit-1-1", 7, ret);
    return ret->what;
}

#define JOB(status, more)                                                                          \
    "{\"jobReference\":{\"jobId\":\"sendit-1-1\",\"location\":\"EU\"},\"status\":{" status         \
    "}" more "}"
#define FAILED(reason)                                                                             \
    JOB("\"state\":\"DONE\",\"errorResult\":{\"reason\":\"" reason                                 \
        "\",\"message\":\"Field: StudyDate; Value: Doe^Jane\"}",                                   \
        "")

static void jobs_are_judged(void **state)
{
    struct answer_job says;

    (void)state;
    assert_int_equal(job(JOB("\"state\":\"PENDING\"", ""), &says), ANSWER_RUNS);
    assert_string_equal(says.location, "EU");
    assert_int_equal(job(JOB("\"state\":\"RUNNING\"", ""), &says), ANSWER_RUNS);
    assert_int_equal(job(JOB("\"state\":\"DONE\"", ""), &says), ANSWER_LOADED);
    assert_int_equal(
        job(JOB("\"state\":\"DONE\"", ",\"statistics\":{\"load\":{\"outputRows\":\"7\"}}"), &says),
        ANSWER_LOADED);
    assert_int_equal(
        job(JOB("\"state\":\"DONE\"", ",\"statistics\":{\"load\":{\"outputRows\":\"8\"}}"), &says),
        ANSWER_SHORT);
    /* errors without errorResult are warnings */
    assert_int_equal(
        job(JOB("\"state\":\"DONE\",\"errors\":[{\"reason\":\"invalid\"}]", ""), &says),
        ANSWER_LOADED);
    assert_int_equal(job(FAILED("invalid"), &says), ANSWER_ROWS);
    assert_string_equal(says.column, "StudyDate");
    assert_int_equal(job(FAILED("backendError"), &says), ANSWER_TRANSIENT);
    assert_int_equal(job(FAILED("quotaExceeded"), &says), ANSWER_QUOTA);
    assert_int_equal(job(FAILED("rateLimitExceeded"), &says), ANSWER_TRANSIENT);
    assert_int_equal(job(FAILED("notFound"), &says), ANSWER_NO_TABLE);
    assert_int_equal(job(FAILED("accessDenied"), &says), ANSWER_DENIED);
    assert_int_equal(job(FAILED("never heard of it"), &says), ANSWER_OTHER);
    assert_string_equal(says.reason, ""); /* no word */
}

static void what_is_no_job_is_odd(void **state)
{
    static const char *const bad[] = {
        "",
        "<html>",
        "[]",
        "null",
        "{}",
        "{\"jobReference\":{\"jobId\":\"another\"},\"status\":{\"state\":\"DONE\"}}",
        "{\"jobReference\":\"sendit-1-1\",\"status\":{\"state\":\"DONE\"}}",
        "{\"jobReference\":{\"jobId\":\"sendit-1-1\"},\"status\":\"DONE\"}",
        "{\"jobReference\":{\"jobId\":\"sendit-1-1\"},\"status\":{\"state\":\"Done\"}}",
        "{\"jobReference\":{\"jobId\":\"sendit-1-1\"},\"status\":{\"state\":[\"DONE\"]}}",
        "{\"jobReference\":{\"jobId\":\"sendit-1-1\"},\"status\":{\"state\":\"DONE\"}",
        ("{\"jobReference\":{\"jobId\":\"sendit-1-1\"},\"status\":{\"state\":\"DONE\"},"
         "\"status\":{\"state\":\"DONE\"}}")};
    struct answer_job says;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(job(bad[i], &says), ANSWER_ODD);
    /* an errorResult of an odd shape is no success */
    assert_int_equal(job(JOB("\"state\":\"DONE\",\"errorResult\":\"x\"", ""), &says), ANSWER_OTHER);
    assert_int_equal(job(JOB("\"state\":\"DONE\",\"errorResult\":{}", ""), &says), ANSWER_OTHER);
}

static int count(void *ctx, const char *const *values)
{
    int *n = ctx;

    *n += values[0] ? 1 : 100;
    return 0;
}

static void pages_are_read(void **state)
{
    static const char *const bad[] = {"",
                                      "<html>",
                                      "[]",
                                      "{\"rows\":{}}",
                                      "{\"rows\":[{}]}",
                                      "{\"rows\":[{\"f\":[{\"v\":\"a\"}]}]}",
                                      "{\"rows\":[{\"f\":[{\"v\":1},{\"v\":\"b\"}]}]}",
                                      "{\"rows\":[{\"f\":[{\"v\":\"a\"},{\"v\":\"b\"}]}"};
    static const char page[] =
        "{\"rows\":[{\"f\":[{\"v\":\"a\"},{\"v\":null}]}],\"pageToken\":\"t/=\"}";
    char token[1024];
    int n = 0;

    (void)state;
    for (size_t i = 1; i < sizeof(page) - 1; i++) /* cut anywhere */
        assert_int_equal(answer_read_page(page, i, 2, count, &n, token), -1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(answer_read_page(bad[i], strlen(bad[i]), 2, count, &n, token), -1);
    assert_int_equal(n, 0);
    assert_int_equal(answer_read_page("{\"totalRows\":\"0\"}", 17, 2, count, &n, token), 0);
    assert_string_equal(token, "");
    assert_int_equal(answer_read_page(page, sizeof(page) - 1, 2, count, &n, token), 0);
    assert_int_equal(n, 1);
    assert_string_equal(token, "t/=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_has_its_columns),
        cmocka_unit_test(what_an_image_lacks_is_null),
        cmocka_unit_test(an_image_without_a_row_is_held),
        cmocka_unit_test(an_object_that_is_none_ends_no_row),
        cmocka_unit_test(a_row_is_never_too_large),
        cmocka_unit_test(fractions_are_short),
        cmocka_unit_test(days_are_days),
        cmocka_unit_test(links_are_those_of_google),
        cmocka_unit_test(an_archive_is_a_row),
        cmocka_unit_test(a_second_archive_is_a_second_row),
        cmocka_unit_test(single_images_share_a_row),
        cmocka_unit_test(no_image_no_row),
        cmocka_unit_test(our_own_tables_stand),
        cmocka_unit_test(others_columns_do_not_matter),
        cmocka_unit_test(a_missing_column_is_added),
        cmocka_unit_test(other_tables_are_refused),
        cmocka_unit_test(a_column_of_a_later_version_is_added),
        cmocka_unit_test(a_type_of_two_names_is_one),
        cmocka_unit_test(columns_are_found_in_sentences),
        cmocka_unit_test(parts_are_one_gzip_file),
        cmocka_unit_test(jobs_are_judged),
        cmocka_unit_test(what_is_no_job_is_odd),
        cmocka_unit_test(pages_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
