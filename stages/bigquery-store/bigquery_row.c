/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_row.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAG_SOP_CLASS 0x00080016u
#define TAG_SOP_INSTANCE 0x00080018u
#define TAG_STUDY_DATE 0x00080020u
#define TAG_ACCESSION 0x00080050u
#define TAG_MODALITY 0x00080060u
#define TAG_PATIENT 0x00100020u
#define TAG_STUDY 0x0020000du
#define TAG_SERIES 0x0020000eu

/* ---- words of a row ---- */

bool row_date(const char *text, char ret_date[11])
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;

    if (strlen(text) != 8 || strspn(text, "0123456789") != 8 ||
        sscanf(text, "%4d%2d%2d", &year, &month, &day) != 3)
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1] ||
        (month == 2 && day == 29 && (year % 4 || (year % 100 == 0 && year % 400))))
        return false;
    snprintf(ret_date, 11, "%.4s-%.2s-%.2s", text, text + 4, text + 6);
    return true;
}

void row_time(int64_t ms, char ret_time[40])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    size_t n;

    gmtime_r(&seconds, &tm);
    n = strftime(ret_time, 40, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(ret_time + n, 40 - n, ".%03d UTC", (int)(ms % 1000));
}

/* The shortest text that reads as the same number. */
static size_t shorten_number(char *number, size_t length)
{
    char before[64], after[64];
    double value;

    if (length >= sizeof(before) || !memchr(number, '.', length))
        return length;
    memcpy(before, number, length);
    before[length] = '\0';
    value = strtod(before, NULL);
    for (int digits = 15; digits <= 17; digits++) { /* 15 are as short as the number allows */
        snprintf(after, sizeof(after), "%.*g", digits, value);
        if (strtod(after, NULL) == value)
            break;
    }
    if (strlen(after) >= length || !strspn(after, "-0123456789"))
        return length;
    memcpy(number, after, strlen(after));
    return strlen(after);
}

void row_shorten(char *json)
{
    char *to = json;

    for (const char *from = json; *from;) {
        size_t n = 1;

        if (*from == '"') {
            while (from[n] && from[n] != '"')
                n += from[n] == '\\' && from[n + 1] ? 2 : 1;
            n += from[n] == '"';
            memmove(to, from, n);
            to += n;
        } else if (*from == '-' || (*from >= '0' && *from <= '9')) {
            n = strspn(from, "-+.eE0123456789");
            memmove(to, from, n);
            to += shorten_number(to, n);
        } else {
            *to++ = *from;
        }
        from += n;
    }
    *to = '\0';
}

/* ---- links ---- */

bool row_split(const char *object, char ret_bucket[256], const char **ret_name)
{
    const char *bucket = object + 5, *slash;
    size_t n;

    if (strncmp(object, "gs://", 5))
        return false;
    slash = strchr(bucket, '/');
    n = slash ? (size_t)(slash - bucket) : 0;
    if (!n || n > 255 || !slash[1] || strlen(slash + 1) > 1024 ||
        strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-_.") < n)
        return false;
    memcpy(ret_bucket, bucket, n);
    ret_bucket[n] = '\0';
    *ret_name = slash + 1;
    return true;
}

/* As Google escapes a name in a link: all but letters, digits and "-._~", a slash too. */
static void escape(char *to, const char *name, size_t length)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];

        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", c)) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        }
    }
    *to = '\0';
}

bool row_links(const struct row_object *object, char self[ROW_URL_SIZE], char media[ROW_URL_SIZE])
{
    char bucket[256], escaped[3 * 1024 + 1];
    const char *name;

    if (!row_split(object->name, bucket, &name))
        return false;
    escape(escaped, name, strlen(name));
    snprintf(self, ROW_URL_SIZE, "https://www.googleapis.com/storage/v1/b/%s/o/%s", bucket,
             escaped);
    snprintf(media, ROW_URL_SIZE,
             "https://storage.googleapis.com/download/storage/v1/b/%s/o/%s?generation=%.20s"
             "&alt=media",
             bucket, escaped, object->generation);
    return true;
}

bool row_list_link(const char *object, size_t name_length, char link[ROW_URL_SIZE])
{
    char bucket[256], escaped[3 * 1024 + 1];
    const char *name;

    if (!row_split(object, bucket, &name) || name_length > strlen(name))
        return false;
    escape(escaped, name, name_length);
    snprintf(link, ROW_URL_SIZE, "https://www.googleapis.com/storage/v1/b/%s/o?prefix=%s", bucket,
             escaped);
    return true;
}

/* ---- the row ---- */

/* The text of an attribute; "" if it has none that can be read as text. */
static sendit_result text_of(const struct sendit_dicom *dicom, struct sendit_dataset *ds,
                             uint32_t tag, const char **ret_text)
{
    sendit_result r = dicom->get(ds, tag, ret_text);

    if (r != SENDIT_EABSENT && r != SENDIT_ECORRUPT && r != SENDIT_EINVAL)
        return r;
    *ret_text = "";
    return SENDIT_OK;
}

/* An empty one is null; false without memory. */
static bool set_text(json_t *row, const char *key, const char *text)
{
    return !json_object_set_new(row, key, *text ? json_string(text) : json_null());
}

static const struct {
    const char *key;
    uint32_t tag;
} columns[] = {
    {"StudyInstanceUID", TAG_STUDY},      {"SeriesInstanceUID", TAG_SERIES},
    {"SOPInstanceUID", TAG_SOP_INSTANCE}, {"SOPClassUID", TAG_SOP_CLASS},
    {"CodedPatientID", TAG_PATIENT},      {"CodedAccessionNumberID", TAG_ACCESSION},
    {"Modality", TAG_MODALITY},
};

static sendit_result fixed_columns(const struct sendit_dicom *dicom, struct sendit_dataset *ds,
                                   const struct row_names *names, json_t *row)
{
    char date[11] = "";
    const char *text;
    sendit_result r;

    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        r = text_of(dicom, ds, columns[i].tag, &text);
        if (r != SENDIT_OK)
            return r;
        if (!*text && columns[i].tag == TAG_PATIENT && names->entity)
            text = names->entity;
        if (!*text && columns[i].tag == TAG_ACCESSION && names->item)
            text = names->item;
        if (!set_text(row, columns[i].key, text))
            return SENDIT_ENOMEM;
    }
    r = text_of(dicom, ds, TAG_STUDY_DATE, &text);
    if (r != SENDIT_OK)
        return r;
    return set_text(row, "StudyDate", row_date(text, date) ? date : "") ? SENDIT_OK : SENDIT_ENOMEM;
}

static size_t size_of(const json_t *value)
{
    return json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

const char *row_largest(json_t *object)
{
    const char *key, *found = NULL;
    size_t most = 0;
    json_t *value;

    json_object_foreach(object, key, value) if (!found || size_of(value) > most)
    {
        found = key;
        most = size_of(value);
    }
    return found;
}

/* Leave out the largest elements until the rest fits; the names of those go into `dropped`. */
static char *reduce(const char *text, size_t max, json_t *dropped)
{
    json_t *header = json_loads(text, 0, NULL);
    size_t left = header ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    bool ok = header != NULL;
    char *result = NULL;

    while (ok && left > max) {
        const char *key = row_largest(header);
        size_t size, name;

        if (!key)
            break;
        size = size_of(json_object_get(header, key));
        name = strlen(key) + 4; /* "KEY":VALUE, */
        ok = !json_array_append_new(dropped, json_string(key));
        (void)json_object_del(header, key);
        left -= size + name;
        max -= max < name ? max : name; /* that it was left out takes room, too */
    }
    if (ok)
        result = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    return result;
}

/* The de-identified header as text. */
static sendit_result header_text(const struct sendit_dicom *dicom, struct sendit_dataset *ds,
                                 size_t max, json_t *dropped, char **ret_text)
{
    const char *json;
    char *text;
    sendit_result r = dicom->json(ds, &json);

    if (r != SENDIT_OK)
        return r;
    text = strdup(json);
    if (text)
        row_shorten(text);
    if (text && strlen(text) > max) {
        char *less = reduce(text, max, dropped);

        free(text);
        text = less;
        if (text)
            row_shorten(text);
    }
    *ret_text = text;
    return text ? SENDIT_OK : SENDIT_ENOMEM;
}

/* {"StudyInstanceUID":..., "dropped":[...],"header":{...}   and no brace behind it. */
static char *join(json_t *fixed, const char *header)
{
    char *head = json_dumps(fixed, JSON_COMPACT), *row = NULL;
    size_t n = head ? strlen(head) + strlen(header) + sizeof(",\"header\":") : 0;

    if (n && (row = malloc(n)))
        snprintf(row, n, "%.*s,\"header\":%s", (int)strlen(head) - 1, head, header);
    free(head);
    return row;
}

static sendit_result make(const struct sendit_dicom *dicom, struct sendit_dataset *ds,
                          const struct row_names *names, size_t max, json_t *fixed, json_t *dropped,
                          char **ret_row)
{
    char *header = NULL;
    size_t room;
    sendit_result r = fixed_columns(dicom, ds, names, fixed);

    if (r != SENDIT_OK)
        return r;
    room = json_dumpb(fixed, NULL, 0, JSON_COMPACT) + ROW_OBJECT_MAX + 64;
    r = header_text(dicom, ds, max > room ? max - room : 0, dropped, &header);
    if (r == SENDIT_OK) {
        *ret_row = json_object_set(fixed, "dropped", dropped) ? NULL : join(fixed, header);
        r = *ret_row ? SENDIT_OK : SENDIT_ENOMEM;
    }
    free(header);
    return r;
}

static sendit_verdict judge(sendit_result r, const json_t *fixed, struct sendit_why *why)
{
    if (fixed && json_is_null(json_object_get(fixed, "SOPInstanceUID")))
        return sendit_because(why, SENDIT_QUARANTINE, "bigquery.no_uid",
                              "It has no SOP Instance UID, by which its row would be known.");
    if (r == SENDIT_OK)
        return SENDIT_PASS;
    if (r == SENDIT_ENOMEM)
        return sendit_because(why, SENDIT_RETRY, "bigquery.memory", "There is no memory.");
    return sendit_because(why, sendit_verdict_of(r), "bigquery.values",
                          "Its header cannot be written as JSON.");
}

sendit_verdict row_begin(const struct sendit_dicom *dicom, struct sendit_dataset *ds,
                         const struct row_names *names, size_t max, char **ret_row,
                         size_t *ret_dropped, struct sendit_why *why)
{
    json_t *fixed = json_object(), *dropped = json_array();
    char *row = NULL;
    sendit_result r =
        fixed && dropped ? make(dicom, ds, names, max, fixed, dropped, &row) : SENDIT_ENOMEM;
    sendit_verdict verdict = judge(r, fixed, why);

    if (verdict == SENDIT_PASS) {
        *ret_row = row;
        *ret_dropped = json_array_size(dropped);
    } else {
        free(row);
    }
    json_decref(fixed);
    json_decref(dropped);
    return verdict;
}

char *row_end(const char *row, const struct row_object *object, const char *batch,
              int64_t ingested_ms, size_t *ret_length)
{
    char bucket[256], time[40], *tail, *line = NULL;
    const char *name;
    json_t *end;
    size_t n = strlen(row), m;

    if (!row_split(object->name, bucket, &name) || strlen(object->generation) > 20 ||
        !*object->generation || object->generation[strspn(object->generation, "0123456789")])
        return NULL;
    row_time(ingested_ms, time);
    end = json_pack("{s:s, s:s, s:s, s:s, s:s}", "object", object->name, "generation",
                    object->generation, "crc32c", object->crc32c, "batch", batch, "ingested", time);
    tail = end ? json_dumps(end, JSON_COMPACT) : NULL;
    json_decref(end);
    m = tail ? strlen(tail) : 0;
    if (tail && (line = malloc(n + m + 2))) {
        memcpy(line, row, n);
        memcpy(line + n, tail, m); /* its brace becomes the comma */
        line[n] = ',';
        line[n + m] = '\n';
        line[n + m + 1] = '\0';
        *ret_length = n + m + 1;
    }
    free(tail);
    return line;
}
