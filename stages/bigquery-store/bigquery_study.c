/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_study.h"

#include <stdlib.h>
#include <string.h>

#define TAG_SERIES_NUMBER "00200011"
#define TAG_SERIES_DESCRIPTION "0008103E"
#define MAX_VALUE ((size_t)16 << 10)       /* bytes of a value that is shared, as JSON */
#define MAX_HEADER ((size_t)(ROW_MAX / 4)) /* of DicomHeader; as a string it may double */

/* Not shared but gathered, as lists. */
static const char *const aggregates[] = {"BodyPartExamined", "Modality", "StudyDescription", NULL};
/* Columns besides storage, from the header. */
static const char *const columns[] = {"CodedAccessionNumberID",
                                      "CodedPatientID",
                                      "ContentType",
                                      "PatientSex",
                                      "PatientAge",
                                      "Modality",
                                      "StudyDescription",
                                      NULL};

int studies_init(struct studies *studies, study_keyword_fn *keyword)
{
    studies->keyword = keyword;
    studies->groups = json_object();
    studies->seen = json_object();
    return studies->groups && studies->seen ? 0 : -1;
}

void studies_fini(struct studies *studies)
{
    json_decref(studies->groups);
    json_decref(studies->seen);
    memset(studies, 0, sizeof(*studies));
}

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* The object at `key`, made if there is none; NULL without memory. */
static json_t *object_at(json_t *parent, const char *key)
{
    json_t *object = json_object_get(parent, key);

    if (!object && !json_object_set_new(parent, key, json_object()))
        object = json_object_get(parent, key);
    return object;
}

/* ---- values of a header ---- */

/* A value as a word, a number or, of several, a list; NULL for what has none: a sequence, bytes. */
static json_t *plain(const json_t *element)
{
    const json_t *values = json_object_get(element, "Value"), *value;
    json_t *list;
    size_t i;

    if (!json_array_size(values) || !strcmp(text_in(element, "vr"), "SQ"))
        return NULL;
    list = json_array();
    json_array_foreach(values, i, value)
    {
        if (json_is_object(value)) /* a name */
            value = json_object_get(value, "Alphabetic");
        if (!list || json_array_append(list, value ? (json_t *)value : json_null())) {
            json_decref(list);
            return NULL;
        }
    }
    if (json_array_size(list) == 1) {
        json_t *one = json_incref(json_array_get(list, 0));

        json_decref(list);
        return one;
    }
    return list;
}

/* The value of an element that has a keyword, new, or NULL; -1 if that cannot be told. */
static int element_of(const struct studies *studies, const char *tag, const json_t *element,
                      const char **ret_keyword, json_t **ret_value)
{
    uint32_t number = (uint32_t)strtoul(tag, NULL, 16);
    sendit_result r = studies->keyword(number, ret_keyword);
    json_t *value;

    *ret_value = NULL;
    if (r != SENDIT_OK)
        return r == SENDIT_EABSENT ? 0 : -1;
    value = plain(element);
    if (value && json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) <= MAX_VALUE)
        *ret_value = json_incref(value);
    json_decref(value);
    return 0;
}

/* Digits and words alike, as text; "" for what is neither. */
static void number_text(const json_t *value, char *to, size_t size)
{
    if (json_is_string(value))
        snprintf(to, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(to, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        *to = '\0';
}

/* ---- gathering ---- */

static bool is_aggregate(const char *keyword)
{
    for (size_t i = 0; aggregates[i]; i++)
        if (!strcmp(aggregates[i], keyword))
            return true;
    return false;
}

static int add_word(json_t *lists, const char *keyword, const json_t *value)
{
    json_t *list = json_object_get(lists, keyword), *word;
    size_t i;

    if (!list && json_object_set_new(lists, keyword, list = json_array()))
        return -1;
    json_array_foreach(list, i, word) if (json_equal(word, value)) return 0;
    return json_array_append(list, (json_t *)value);
}

/* Of the first image all; of each other one what is the same. */
static int share(const struct studies *studies, json_t *group, const json_t *header)
{
    bool first = !json_object_get(group, "shared");
    json_t *shared = object_at(group, "shared"), *lists = object_at(group, "lists");
    json_t *found = json_object(), *element;
    const char *tag, *keyword = NULL;
    int result = shared && lists && found ? 0 : -1;

    json_object_foreach((json_t *)header, tag, element)
    {
        json_t *value = NULL;

        if (!result)
            result = element_of(studies, tag, element, &keyword, &value);
        if (!value)
            continue;
        if (is_aggregate(keyword))
            result = add_word(lists, keyword, value);
        else if (first || json_equal(value, json_object_get(shared, keyword)))
            result = json_object_set(found, keyword, value);
        json_decref(value);
    }
    if (!result)
        result = json_object_set(group, "shared", found);
    json_decref(found);
    return result;
}

static void series_name(const json_t *row, char name[ROW_UID_SIZE])
{
    const json_t *header = json_object_get(row, "header");
    json_t *value = plain(json_object_get(header, TAG_SERIES_NUMBER));

    number_text(value, name, ROW_UID_SIZE);
    if (!*name)
        snprintf(name, ROW_UID_SIZE, "%s", text_in(row, "SeriesInstanceUID"));
    json_decref(value);
}

static int count_series(json_t *group, const json_t *row)
{
    json_t *all = object_at(group, "series"), *series, *value;
    char name[ROW_UID_SIZE];
    json_int_t images;

    series_name(row, name);
    series = all ? object_at(all, name) : NULL;
    if (!series)
        return -1;
    images = json_integer_value(json_object_get(series, "Images"));
    if (!images) {
        value = plain(json_object_get(json_object_get(row, "header"), TAG_SERIES_DESCRIPTION));
        if (json_object_set_new(series, "SeriesNumber", json_string(name)) ||
            (value && json_object_set(series, "SeriesDescription", value))) {
            json_decref(value);
            return -1;
        }
        json_decref(value);
    }
    return json_object_set_new(series, "Images", json_integer(images + 1));
}

int studies_see(struct studies *studies, const json_t *row)
{
    json_t *series = object_at(studies->seen, text_in(row, "StudyInstanceUID"));
    char name[ROW_UID_SIZE];

    series_name(row, name);
    return series ? json_object_set_new(series, name, json_true()) : -1;
}

/* An image by itself: see the head of the header file. */
static bool is_single(const char *object)
{
    size_t n = strlen(object);

    return n > 4 && !strcmp(object + n - 4, ".dcm");
}

/* How much of the object's name all images so far begin with, up to a slash. */
static size_t common(const char *a, const char *b, size_t length)
{
    size_t n = 0, slash = 0;

    for (; n < length && a[n] && a[n] == b[n]; n++)
        if (a[n] == '/')
            slash = n + 1;
    return slash;
}

static int place(json_t *group, const struct row_object *object)
{
    const char *first = text_in(group, "object"), *name;
    size_t length = (size_t)json_integer_value(json_object_get(group, "folder"));
    char bucket[256];

    if (!row_split(object->name, bucket, &name))
        return -1;
    if (!*first) {
        if (json_object_set_new(group, "object", json_string(object->name)) ||
            json_object_set_new(group, "generation", json_string(object->generation)))
            return -1;
        first = object->name;
        length = strlen(name);
    }
    length = common(first + (name - object->name), name, length);
    return json_object_set_new(group, "folder", json_integer((json_int_t)length));
}

int studies_add(struct studies *studies, const json_t *row, const struct row_object *object,
                bool fresh)
{
    const char *study = text_in(row, "StudyInstanceUID");
    char key[1400];
    json_t *group;
    json_int_t images;

    if (is_single(object->name))
        snprintf(key, sizeof(key), "%s", study);
    else
        snprintf(key, sizeof(key), "%s#%s", object->name, object->generation);
    group = object_at(studies->groups, key);
    if (!group || place(group, object) || count_series(group, row) ||
        share(studies, group, json_object_get(row, "header")))
        return -1;
    images = json_integer_value(json_object_get(group, "images"));
    if (fresh && json_object_set_new(group, "fresh", json_true()))
        return -1;
    if (!images &&
        (json_object_set_new(group, "study", json_string(study)) ||
         json_object_set(group, "CodedPatientID", json_object_get(row, "CodedPatientID")) ||
         json_object_set(group, "CodedAccessionNumberID",
                         json_object_get(row, "CodedAccessionNumberID"))))
        return -1;
    return json_object_set_new(group, "images", json_integer(images + 1));
}

/* ---- rows ---- */

/* A list of one is that one. */
static int set_list(json_t *header, const char *key, const json_t *list)
{
    const json_t *value = json_array_size(list) == 1 ? json_array_get(list, 0) : list;

    return json_object_set(header, key, (json_t *)value);
}

/* Series that came and of which nothing was stored. */
static json_t *removed_series(const struct studies *studies, const json_t *group)
{
    const json_t *stored = json_object_get(group, "series");
    json_t *seen = json_object_get(studies->seen, text_in(group, "study")), *value;
    json_t *removed = json_array();
    const char *name;

    json_object_foreach(seen, name, value) if (removed && !json_object_get(stored, name) &&
                                               json_array_append_new(removed, json_string(name)))
    {
        json_decref(removed);
        removed = NULL;
    }
    return removed;
}

static json_t *header_of(const struct studies *studies, const json_t *group)
{
    json_t *header = json_copy(json_object_get(group, "shared")), *more, *value;
    const json_t *series = json_object_get(group, "series");
    const char *key;
    int result = header ? 0 : -1;

    json_object_foreach(json_object_get(group, "lists"), key, value) if (!result) result =
        set_list(header, key, value);
    more = json_pack("{s:O, s:O, s:s, s:I, s:O, s:o, s:O}", "CodedPatientID",
                     json_object_get(group, "CodedPatientID"), "CodedAccessionNumberID",
                     json_object_get(group, "CodedAccessionNumberID"), "ContentType",
                     is_single(text_in(group, "object")) ? "application/dicom" : "application/gzip",
                     "NumberOfSeries", (json_int_t)json_object_size(series), "Series", series,
                     "RemovedSeries", removed_series(studies, group), "IMAGE_COUNT",
                     json_object_get(group, "images"));
    if (!result)
        result = more ? json_object_update(header, more) : -1;
    json_decref(more);
    if (!result)
        return header;
    json_decref(header);
    return NULL;
}

/* "CT,MR" of a list; a number as it is written; null for nothing. */
static json_t *joined(const json_t *value)
{
    const json_t *word;
    char text[1024] = "", one[256];
    size_t i, n = 0;

    if (json_is_string(value))
        return *json_string_value(value) ? json_string(json_string_value(value)) : json_null();
    if (json_is_number(value)) {
        (void)json_dumpb(value, one, sizeof(one) - 1, JSON_ENCODE_ANY);
        one[json_dumpb(value, NULL, 0, JSON_ENCODE_ANY)] = '\0';
        return json_string(one);
    }
    json_array_foreach(value, i, word)
    {
        number_text(word, one, sizeof(one));
        if (*one && n + strlen(one) + 2 < sizeof(text))
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? "," : "", one);
    }
    return n ? json_string(text) : json_null();
}

static int set_links(json_t *row, const json_t *group, char self[ROW_URL_SIZE])
{
    const struct row_object object = {.name = text_in(group, "object"),
                                      .generation = text_in(group, "generation")};
    char media[ROW_URL_SIZE] = "";
    bool ok =
        is_single(object.name)
            ? row_list_link(object.name,
                            (size_t)json_integer_value(json_object_get(group, "folder")), self)
            : row_links(&object, self, media);

    if (!ok)
        return -1;
    return json_object_set_new(row, "storage_download",
                               *media ? json_string(media) : json_null()) ||
                   json_object_set_new(row, "storage_metadataLink", json_string(self))
               ? -1
               : 0;
}

/* Left out of what is too much, the largest first. */
static int fit(json_t *header)
{
    while (json_dumpb(header, NULL, 0, JSON_COMPACT) > MAX_HEADER) {
        const char *key = row_largest(header);

        if (!key || json_object_del(header, key))
            return -1;
    }
    return 0;
}

static json_t *row_of(const struct studies *studies, const json_t *group, char self[ROW_URL_SIZE])
{
    json_t *row = json_object(), *header = header_of(studies, group);
    int result = row && header ? set_links(row, group, self) : -1;
    char *text = NULL;

    for (size_t i = 0; !result && columns[i]; i++)
        result = json_object_set_new(row, columns[i], joined(json_object_get(header, columns[i])));
    if (!result)
        result = fit(header);
    if (!result && (text = json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS))) {
        row_shorten(text);
        result = json_object_set_new(row, "DicomHeader", json_string(text));
    }
    free(text);
    json_decref(header);
    if (!result && json_object_get(row, "DicomHeader"))
        return row;
    json_decref(row);
    return NULL;
}

int studies_rows(const struct studies *studies, int (*each)(void *ctx, const struct study_row *),
                 void *ctx)
{
    char self[ROW_URL_SIZE], name[ROW_URL_SIZE + 32];
    const char *key;
    json_t *group;

    json_object_foreach(studies->groups, key, group)
    {
        json_t *row = row_of(studies, group, self);
        char *line = row ? json_dumps(row, JSON_COMPACT) : NULL;
        struct study_row made = {.line = line,
                                 .name = name,
                                 .length = line ? strlen(line) + 1 : 0,
                                 .single = is_single(text_in(group, "object")),
                                 .fresh = json_is_true(json_object_get(group, "fresh"))};
        int result = -1;

        json_decref(row);
        if (line) {
            line[made.length - 1] = '\n'; /* in place of its NUL */
            snprintf(name, sizeof(name), "%s %s", self,
                     made.single ? "-" : text_in(group, "generation"));
            result = each(ctx, &made);
        }
        free(line);
        if (result)
            return -1;
    }
    return 0;
}
