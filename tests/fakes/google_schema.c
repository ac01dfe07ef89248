/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas of BigQuery, and whether a row is of one.  Stricter than Google: no value is converted.
 */
#include "google_bigquery.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 15

static const char *text_of(const json_t *value, const char *name)
{
    return json_string_value(json_object_get(value, name));
}

static const json_t *find(const json_t *fields, const char *name)
{
    json_t *one;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)fields, i, one)
    {
        const char *own = text_of(one, "name");

        if (own && name && !strcasecmp(own, name))
            return one;
    }
    return NULL;
}

const json_t *schema_find(const json_t *schema, const char *name)
{
    return find(json_object_get(schema, "fields"), name);
}

/* ---- schemas ---- */

static const char *one_spelling(const char *type)
{
    static const char *const same[][2] = {
        {"INT64", "INTEGER"}, {"FLOAT64", "FLOAT"}, {"BOOL", "BOOLEAN"}, {"STRUCT", "RECORD"}};
    static const char *const all[] = {"STRING",     "BYTES",   "INTEGER",   "FLOAT", "NUMERIC",
                                      "BIGNUMERIC", "BOOLEAN", "TIMESTAMP", "DATE",  "TIME",
                                      "DATETIME",   "RECORD",  "GEOGRAPHY", "JSON"};

    for (size_t i = 0; type && i < sizeof(same) / sizeof(same[0]); i++)
        if (!strcmp(type, same[i][0]))
            return same[i][1];
    for (size_t i = 0; type && i < sizeof(all) / sizeof(all[0]); i++)
        if (!strcmp(type, all[i]))
            return all[i];
    return NULL;
}

static int is_field_name(const char *name)
{
    return bigquery_is_id(name, 300, 0) && !isdigit((unsigned char)*name);
}

static int fields_are_wrong(json_t *fields, int depth, char text[512]);

static int field_is_wrong(json_t *field, int depth, char text[512])
{
    static const char known[] =
        " name type mode description fields maxLength precision scale policyTags "
        "defaultValueExpression collation roundingMode ";
    const char *name = text_of(field, "name"), *mode = text_of(field, "mode"), *key;
    const char *type = one_spelling(text_of(field, "type"));
    json_t *value;
    char word[80];

    json_object_foreach(field, key, value)
    {
        snprintf(word, sizeof(word), " %s ", key);
        if (strstr(known, word))
            continue;
        snprintf(text, 512, "Unknown name \"%.60s\" at 'table.schema.fields'", key);
        return 1;
    }
    if (!is_field_name(name))
        snprintf(text, 512,
                 "Invalid field name \"%.300s\". Fields must contain only letters, "
                 "numbers, and underscores, start with a letter or underscore, and be at "
                 "most 300 characters long.",
                 name ? name : "");
    else if (!type)
        snprintf(text, 512, "Field %.200s has no type that is known.", name);
    else if (mode && strcmp(mode, "NULLABLE") && strcmp(mode, "REQUIRED") &&
             strcmp(mode, "REPEATED"))
        snprintf(text, 512, "Field %.200s has a mode that is not known.", name);
    else if (!strcmp(type, "RECORD") != !!json_object_get(field, "fields"))
        snprintf(text, 512, "Field %.200s is of type RECORD if it has fields, and else is not.",
                 name);
    else
        text[0] = '\0';
    if (text[0])
        return 1;
    json_object_set_new(field, "type", json_string(type));
    return !strcmp(type, "RECORD") &&
           fields_are_wrong(json_object_get(field, "fields"), depth + 1, text);
}

static int fields_are_wrong(json_t *fields, int depth, char text[512])
{
    json_t *one;
    size_t i;

    if (!json_array_size(fields) || depth > MAX_DEPTH) {
        snprintf(text, 512, "The schema has no fields, or is too deep.");
        return 1;
    }
    json_array_foreach(fields, i, one)
    {
        if (field_is_wrong(one, depth, text))
            return 1;
        if (find(fields, text_of(one, "name")) != one) {
            snprintf(text, 512, "Duplicate field name: %.300s", text_of(one, "name"));
            return 1;
        }
    }
    return 0;
}

int schema_is_wrong(json_t *schema, char text[512])
{
    return fields_are_wrong(json_object_get(schema, "fields"), 1, text);
}

static int has_mode(const json_t *field, const char *mode)
{
    const char *own = text_of(field, "mode");

    return !strcmp(own ? own : "NULLABLE", mode);
}

static int change_is_wrong(const json_t *from, const json_t *to, char text[512])
{
    json_t *one;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)from, i, one)
    {
        const char *name = text_of(one, "name");
        const json_t *now = find(to, name);

        text[0] = '\0';
        if (!now || strcmp(text_of(now, "name"), name))
            snprintf(text, 512, "Field %.200s is missing in new schema", name);
        else if (strcmp(text_of(one, "type"), text_of(now, "type")))
            snprintf(text, 512, "Field %.200s has changed type from %s to %s", name,
                     text_of(one, "type"), text_of(now, "type"));
        else if (!(has_mode(one, "REQUIRED") && has_mode(now, "NULLABLE")) &&
                 !has_mode(one, text_of(now, "mode") ? text_of(now, "mode") : "NULLABLE"))
            snprintf(text, 512, "Field %.200s has changed mode", name);
        if (text[0] ||
            (json_object_get(one, "fields") &&
             change_is_wrong(json_object_get(one, "fields"), json_object_get(now, "fields"), text)))
            return 1;
    }
    json_array_foreach((json_t *)(uintptr_t)to, i, one)
    {
        if (!find(from, text_of(one, "name")) && has_mode(one, "REQUIRED")) {
            snprintf(text, 512, "Cannot add required fields to an existing schema. (field: %.200s)",
                     text_of(one, "name"));
            return 1;
        }
    }
    return 0;
}

int schema_change_is_wrong(const json_t *from, const json_t *to, char text[512])
{
    return change_is_wrong(json_object_get(from, "fields"), json_object_get(to, "fields"), text);
}

int schema_equal(const json_t *a, const json_t *b)
{
    char text[512];

    return !schema_change_is_wrong(a, b, text) && !schema_change_is_wrong(b, a, text);
}

/* ---- values ---- */

/* A pattern: '0' is a digit, everything else itself.  What is behind it, or NULL. */
static const char *after(const char *text, const char *pattern)
{
    for (; *pattern; pattern++, text++)
        if (*pattern == '0' ? !isdigit((unsigned char)*text) : *text != *pattern)
            return NULL;
    return text;
}

static const char *after_date(const char *text)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *end = after(text, "0000-00-00");
    int year, month, day;

    if (!end || sscanf(text, "%d-%d-%d", &year, &month, &day) != 3 || !year || month < 1 ||
        month > 12 || day < 1 || day > days[month - 1])
        return NULL;
    return month == 2 && day == 29 && (year % 4 || (year % 100 == 0 && year % 400)) ? NULL : end;
}

static const char *after_time(const char *text)
{
    const char *end = after(text, "00:00:00");
    int hour, minute, second;

    if (!end || sscanf(text, "%d:%d:%d", &hour, &minute, &second) != 3 || hour > 23 ||
        minute > 59 || second > 59)
        return NULL;
    if (*end != '.')
        return end;
    size_t n = strspn(++end, "0123456789");

    return n >= 1 && n <= 6 ? end + n : NULL;
}

static const char *after_both(const char *text)
{
    const char *end = after_date(text);

    return end && (*end == 'T' || *end == ' ') ? after_time(end + 1) : NULL;
}

static int is_timestamp(const char *text)
{
    const char *end = after_both(text);

    if (!end)
        return 0;
    if (!*end || !strcmp(end, "Z") || !strcmp(end, " UTC"))
        return 1;
    if (*end != '+' && *end != '-')
        return 0;
    end = after(end + 1, "00:00");
    return end && !*end;
}

static int ends(const char *at)
{
    return at && !*at;
}

static int is_base64(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

    return strlen(text) % 4 == 0 && strlen(text) - n <= 2 && !text[n + strspn(text + n, "=")];
}

static int is_of_type(const char *type, const json_t *value, int streamed)
{
    const char *text = json_string_value(value);
    char *end = NULL;

    if (!strcmp(type, "JSON")) {
        json_t *inner = streamed && text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

        json_decref(inner);
        return !streamed || inner;
    }
    if (!strcmp(type, "INTEGER"))
        return json_is_integer(value) || (text && *text && (strtoll(text, &end, 10), !*end));
    if (!strcmp(type, "FLOAT") || !strcmp(type, "NUMERIC") || !strcmp(type, "BIGNUMERIC"))
        return json_is_number(value) || (text && *text && (strtod(text, &end) >= 0 || 1) && !*end);
    if (!strcmp(type, "BOOLEAN"))
        return json_is_boolean(value);
    if (!text)
        return 0;
    if (!strcmp(type, "TIMESTAMP"))
        return is_timestamp(text);
    if (!strcmp(type, "DATE"))
        return ends(after_date(text));
    if (!strcmp(type, "TIME"))
        return ends(after_time(text));
    if (!strcmp(type, "DATETIME"))
        return ends(after_both(text));
    return strcmp(type, "BYTES") || is_base64(text);
}

struct judge {
    json_t *errors;
    int streamed, ignore_unknown;
};

static void __attribute__((format(printf, 3, 4)))
complain(struct judge *judge, const char *where, const char *format, ...)
{
    char text[600];
    va_list args;

    if (json_array_size(judge->errors) >= 5)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_array_append_new(judge->errors, json_pack("{s:s, s:s, s:s}", "reason", "invalid",
                                                   "location", where, "message", text));
}

static void judge_row(struct judge *judge, const json_t *fields, const json_t *row,
                      const char *prefix);

static void judge_one(struct judge *judge, const json_t *field, const json_t *value,
                      const char *where)
{
    const char *type = text_of(field, "type"), *most = text_of(field, "maxLength");

    if (!strcmp(type, "RECORD")) {
        if (json_is_object(value))
            judge_row(judge, json_object_get(field, "fields"), value, where);
        else
            complain(judge, where, "This field: %s is a record.", where);
    } else if (!is_of_type(type, value, judge->streamed)) {
        complain(judge, where, "Could not convert value to the type of field %s.", where);
    } else if (most && json_is_string(value) &&
               json_string_length(value) > (size_t)strtoll(most, NULL, 10)) {
        complain(judge, where, "Field %s: the value is longer than its maximum length.", where);
    }
}

static void judge_field(struct judge *judge, const json_t *field, const json_t *value,
                        const char *where)
{
    json_t *one;
    size_t i;

    if (!value || (json_is_null(value) && strcmp(text_of(field, "type"), "JSON"))) {
        if (has_mode(field, "REQUIRED"))
            complain(judge, where, "Missing required field: %s.", where);
        else if (value && has_mode(field, "REPEATED"))
            complain(judge, where, "Only optional fields can be set to NULL. Field: %s", where);
        return;
    }
    if (!has_mode(field, "REPEATED")) {
        if (json_is_array(value) && strcmp(text_of(field, "type"), "JSON"))
            complain(judge, where, "Array specified for non-repeated field: %s.", where);
        else
            judge_one(judge, field, value, where);
        return;
    }
    if (!json_is_array(value))
        complain(judge, where, "Repeated field must be imported as a JSON array: %s.", where);
    json_array_foreach((json_t *)(uintptr_t)value, i, one) judge_one(judge, field, one, where);
}

static void judge_row(struct judge *judge, const json_t *fields, const json_t *row,
                      const char *prefix)
{
    char where[512];
    const char *key;
    json_t *value, *field;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)row, key, value)
    {
        snprintf(where, sizeof(where), "%s%s%s", prefix, *prefix ? "." : "", key);
        const json_t *known = find(fields, key);

        if (!judge->ignore_unknown && (!known || strcmp(text_of(known, "name"), key)))
            complain(judge, where, "No such field: %s.", where);
    }
    json_array_foreach((json_t *)(uintptr_t)fields, i, field)
    {
        snprintf(where, sizeof(where), "%s%s%s", prefix, *prefix ? "." : "",
                 text_of(field, "name"));
        judge_field(judge, field, json_object_get(row, text_of(field, "name")), where);
    }
}

json_t *schema_row_errors(const json_t *schema, const json_t *row, int streamed, int ignore_unknown)
{
    struct judge judge = {json_array(), streamed, ignore_unknown};

    if (json_is_object(row))
        judge_row(&judge, json_object_get(schema, "fields"), row, "");
    else
        complain(&judge, "", "The row is no JSON object.");
    if (json_array_size(judge.errors))
        return judge.errors;
    json_decref(judge.errors);
    return NULL;
}
