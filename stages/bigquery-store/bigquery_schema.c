/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_COLUMNS 10000 /* BigQuery's own limit */
#define MAX_NAME 300

struct column {
    const char *name, *type, *mode, *description;
};

static const struct column dicom_columns[] = {
    {"storage_download", "STRING", "NULLABLE", "Link to the archive."},
    {"storage_metadataLink", "STRING", "NULLABLE", "Link to the metadata of the archive."},
    {"CodedAccessionNumberID", "STRING", "NULLABLE", "New accession number."},
    {"CodedPatientID", "STRING", "NULLABLE", "New patient ID."},
    {"ContentType", "STRING", "NULLABLE", "What the object is."},
    {"PatientSex", "STRING", "NULLABLE", "If all images have the same."},
    {"PatientAge", "STRING", "NULLABLE", "If all images have the same."},
    {"Modality", "STRING", "NULLABLE", "Those of the study, with commas between."},
    {"StudyDescription", "STRING", "NULLABLE", "Those of the study, with commas between."},
    {"DicomHeader", "STRING", "NULLABLE", "JSON of what all images of the study share."},
};
static const struct column instances_columns[] = {
    {"StudyInstanceUID", "STRING", "NULLABLE", "New UID of the study."},
    {"SeriesInstanceUID", "STRING", "NULLABLE", "New UID of the series."},
    {"SOPInstanceUID", "STRING", "NULLABLE", "New UID of the image."},
    {"SOPClassUID", "STRING", "NULLABLE", "What the image is."},
    {"CodedPatientID", "STRING", "NULLABLE", "New patient ID."},
    {"CodedAccessionNumberID", "STRING", "NULLABLE", "New accession number."},
    {"Modality", "STRING", "NULLABLE", "Of its series."},
    {"StudyDate", "DATE", "NULLABLE", "Moved, as all dates of the patient."},
    {"object", "STRING", "NULLABLE", "gs:// name of the file, or of the archive with it."},
    {"generation", "INTEGER", "NULLABLE", "Generation of that object."},
    {"crc32c", "STRING", "NULLABLE", "CRC32C of that object, in base64."},
    {"header", "JSON", "NULLABLE", "De-identified header, DICOM JSON without bulk data."},
    {"dropped", "STRING", "REPEATED", "Elements left out of header, since the row was too large."},
    {"batch", "STRING", "NULLABLE", "Batch by which it came."},
    {"ingested", "TIMESTAMP", "NULLABLE", "When the row was made."},
};

/* Partitions by the day of ingestion: a load touches one, while the days of studies, moved by
 * years, would be more than the 10,000 that a table may have. */
#define PARTITION "ingested"

static const struct {
    const char *name, *view, *description, *once;
    const struct column *columns;
    size_t n;
} tables[TABLES] = {
    {"dicom", "dicom_once", "One row for each archive.",
     "storage_metadataLink, storage_download, DicomHeader", dicom_columns,
     sizeof(dicom_columns) / sizeof(dicom_columns[0])},
    {"instances", "instances_once", "One row for each image.",
     "SOPInstanceUID ORDER BY ingested DESC", instances_columns,
     sizeof(instances_columns) / sizeof(instances_columns[0])},
};

const char *schema_table(enum table table)
{
    return tables[table].name;
}

const char *schema_view(enum table table)
{
    return tables[table].view;
}

/* ---- bodies ---- */

static json_t *field_of(const struct column *column)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "name", column->name, "type", column->type, "mode",
                     column->mode, "description", column->description);
}

static json_t *fields_of(enum table table)
{
    json_t *fields = json_array();

    for (size_t i = 0; fields && i < tables[table].n; i++)
        if (json_array_append_new(fields, field_of(&tables[table].columns[i]))) {
            json_decref(fields);
            return NULL;
        }
    return fields;
}

static json_t *key_of(const struct schema_place *place)
{
    return place->kms_key ? json_pack("{s:s}", "kmsKeyName", place->kms_key) : NULL;
}

json_t *schema_dataset_body(const struct schema_place *place)
{
    return json_pack("{s:{s:s, s:s}, s:s*, s:o*}", "datasetReference", "projectId", place->project,
                     "datasetId", place->dataset, "location", place->location,
                     "defaultEncryptionConfiguration", key_of(place));
}

static json_t *reference(const struct schema_place *place, const char *name)
{
    return json_pack("{s:s, s:s, s:s}", "projectId", place->project, "datasetId", place->dataset,
                     "tableId", name);
}

json_t *schema_table_body(const struct schema_place *place, enum table table)
{
    json_t *body =
        json_pack("{s:o, s:s, s:{s:o}, s:o*}", "tableReference",
                  reference(place, tables[table].name), "description", tables[table].description,
                  "schema", "fields", fields_of(table), "encryptionConfiguration", key_of(place));
    json_t *more = NULL;

    if (!body || table != TABLE_INSTANCES)
        return body;
    more = json_pack("{s:{s:s, s:s}, s:{s:[s, s, s, s]}}", "timePartitioning", "type", "DAY",
                     "field", PARTITION, "clustering", "fields", "Modality", "StudyDate",
                     "CodedPatientID", "StudyInstanceUID");
    if (!more || json_object_update(body, more)) {
        json_decref(body);
        body = NULL;
    }
    json_decref(more);
    return body;
}

json_t *schema_view_body(const struct schema_place *place, enum table table)
{
    char query[2048]; /* names of projects and datasets are bounded by check() */

    snprintf(query, sizeof(query),
             "SELECT * FROM `%s.%s.%s` WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY %s) = 1",
             place->project, place->dataset, tables[table].name, tables[table].once);
    return json_pack("{s:o, s:s, s:{s:s, s:b}}", "tableReference",
                     reference(place, tables[table].view), "description",
                     "The table without rows that are there twice.", "view", "query", query,
                     "useLegacySql", 0);
}

/* ---- what is there ---- */

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* Names differ by more than the case of letters, in BigQuery as here. */
static const json_t *find_field(const json_t *fields, const char *name)
{
    size_t i;
    json_t *field;

    json_array_foreach(fields, i,
                       field) if (!strcasecmp(text_in(field, "name"), name)) return field;
    return NULL;
}

static const struct column *find_column(enum table table, const char *name)
{
    for (size_t i = 0; i < tables[table].n; i++)
        if (!strcasecmp(tables[table].columns[i].name, name))
            return &tables[table].columns[i];
    return NULL;
}

/* A type has two names. */
static const char *type_name(const char *type)
{
    return strcasecmp(type, "INT64") ? type : "INTEGER";
}

static bool is_word(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

    return n && n <= MAX_NAME && !text[n];
}

static sendit_verdict judge_field(enum table table, const struct column *column,
                                  const json_t *field, struct sendit_why *why)
{
    const char *type = text_in(field, "type"), *mode = text_in(field, "mode");

    if (strcasecmp(type_name(type), column->type))
        return sendit_because(why, SENDIT_FAIL, "bigquery.type",
                              "Column \"%s\" of table %s is %.20s and must be %s: give the table "
                              "another name, or the column its type.",
                              column->name, tables[table].name, is_word(type) ? type : "another",
                              column->type);
    if (!*mode)
        mode = "NULLABLE";
    if (strcasecmp(mode, column->mode))
        return sendit_because(why, SENDIT_FAIL, "bigquery.mode",
                              "Column \"%s\" of table %s is %.20s and must be %s.", column->name,
                              tables[table].name, is_word(mode) ? mode : "another", column->mode);
    return SENDIT_PASS;
}

/* Is this column of theirs ours, under another name?  One that was renamed keeps its description
 * and its place. */
static bool is_renamed(enum table table, size_t at, const json_t *fields, size_t i)
{
    const struct column *column = &tables[table].columns[at];
    const json_t *there = json_array_get(fields, i);

    if (find_column(table, text_in(there, "name")) ||
        strcasecmp(type_name(text_in(there, "type")), column->type))
        return false;
    return !strcmp(text_in(there, "description"), column->description) ||
           (i == at && at + 1 < tables[table].n &&
            !strcasecmp(text_in(json_array_get(fields, i + 1), "name"), column[1].name));
}

/* Its data would be hidden if ours were added anew. */
static sendit_verdict judge_missing(enum table table, size_t at, const json_t *fields,
                                    struct sendit_why *why)
{
    const char *column = tables[table].columns[at].name;

    for (size_t i = 0; i < json_array_size(fields); i++) {
        const char *name = text_in(json_array_get(fields, i), "name");

        if (is_renamed(table, at, fields, i))
            return sendit_because(why, SENDIT_FAIL, "bigquery.renamed",
                                  "Column \"%s\" of table %s seems to be called \"%.60s\" now: "
                                  "call it \"%s\" again, or add a column of that name.",
                                  column, tables[table].name,
                                  is_word(name) ? name : "something else", column);
    }
    return SENDIT_PASS;
}

static sendit_verdict judge_theirs(enum table table, const json_t *fields, struct sendit_why *why)
{
    size_t i;
    json_t *field;

    json_array_foreach(fields, i, field)
    {
        const char *name = text_in(field, "name");

        if (find_column(table, name) || strcasecmp(text_in(field, "mode"), "REQUIRED"))
            continue;
        return sendit_because(why, SENDIT_FAIL, "bigquery.required",
                              "Column \"%.60s\" of table %s is REQUIRED, and sendit has nothing "
                              "for it: let it be NULLABLE.",
                              is_word(name) ? name : "?", tables[table].name);
    }
    return SENDIT_PASS;
}

static sendit_verdict no_table(enum table table, struct sendit_why *why)
{
    return sendit_because(why, SENDIT_FAIL, "bigquery.table",
                          "What is called %s in the dataset is no table that rows can be loaded "
                          "into: give it another name.",
                          tables[table].name);
}

sendit_verdict schema_compare(enum table table, const json_t *answer, json_t **ret_patch,
                              struct sendit_why *why)
{
    const json_t *fields = json_object_get(json_object_get(answer, "schema"), "fields");
    const char *type = text_in(answer, "type");
    sendit_verdict verdict = SENDIT_PASS;
    json_t *all;
    int added = 0;

    if ((*type && strcasecmp(type, "TABLE")) || (fields && !json_is_array(fields)) ||
        json_array_size(fields) > MAX_COLUMNS)
        return no_table(table, why);
    all = fields ? json_copy((json_t *)fields) : json_array();
    for (size_t i = 0; verdict == SENDIT_PASS && i < tables[table].n; i++) {
        const struct column *column = &tables[table].columns[i];
        const json_t *field = find_field(fields, column->name);

        if (field) {
            verdict = judge_field(table, column, field, why);
            continue;
        }
        verdict = judge_missing(table, i, fields, why);
        added++;
        if (!all || json_array_append_new(all, field_of(column)))
            verdict = sendit_because(why, SENDIT_RETRY, "bigquery.memory", "There is no memory.");
    }
    if (verdict == SENDIT_PASS)
        verdict = judge_theirs(table, fields, why);
    if (verdict == SENDIT_PASS && added) {
        *ret_patch = json_pack("{s:{s:O}}", "schema", "fields", all);
        verdict = *ret_patch
                      ? SENDIT_SKIP
                      : sendit_because(why, SENDIT_RETRY, "bigquery.memory", "There is no memory.");
    }
    json_decref(all);
    return verdict;
}

sendit_verdict schema_places(enum table table, const json_t *answer, const char *const *names,
                             size_t n, size_t *ret_places, struct sendit_why *why)
{
    const json_t *fields = json_object_get(json_object_get(answer, "schema"), "fields");
    size_t found = 0;

    for (size_t i = 0; i < json_array_size(fields); i++)
        for (size_t j = 0; j < n; j++)
            if (!strcasecmp(text_in(json_array_get(fields, i), "name"), names[j]) && found < n)
                ret_places[j] = found++;
    if (found == n)
        return SENDIT_PASS;
    return sendit_because(why, SENDIT_FAIL, "bigquery.table",
                          "Table %s lacks a column by which its rows are known: `sendit check "
                          "--online` says which.",
                          tables[table].name);
}

const char *schema_column_in(enum table table, const char *sentence)
{
    const char *found = NULL;
    size_t longest = 0;

    for (size_t i = 0; i < tables[table].n; i++) {
        const char *name = tables[table].columns[i].name, *at = strstr(sentence, name);
        size_t n = strlen(name);
        char end = at ? at[n] : 'x';

        if (at && n > longest && (end == '\0' || strchr(" ;:,.'\"`)\n", end))) {
            found = name;
            longest = n;
        }
    }
    return found;
}
