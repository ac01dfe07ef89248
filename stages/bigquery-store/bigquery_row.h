/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_row.h - the row of an instance in table `instances`, from what the image is now, after
 * all edits.  It is made while the image is in hand and ended when its object is known.
 */
#ifndef SENDIT_BIGQUERY_ROW_H
#define SENDIT_BIGQUERY_ROW_H

#include <sendit/stage.h>

#include <stdbool.h>

#include <jansson.h>

#define ROW_MAX 10000000u    /* bytes of a row, its newline included */
#define ROW_OBJECT_MAX 4096u /* of these, what the object adds: see row_end() */
#define ROW_UID_SIZE 65u     /* of a UID, with its NUL */
#define ROW_URL_SIZE 4096u   /* of a link, with its NUL: a name of 1,024 bytes, escaped */

struct row_names { /* what earlier stages say of an image that does not say it itself; or NULL */
    const char *entity, *item;
};
struct row_object {   /* what gcs-store says of where it is */
    const char *name; /* gs://bucket/name */
    const char *generation, *crc32c;
};

/* The row without its end.  Elements that would make it larger than `max` are left out, the largest
 * first, and named in its column `dropped`.  PASS: *ret_row is the caller's to free, and
 * *ret_dropped says how many were left out.  QUARANTINE: it has no SOP Instance UID. */
sendit_verdict row_begin(const struct sendit_dicom *dicom, struct sendit_dataset *ds,
                         const struct row_names *names, size_t max, char **ret_row,
                         size_t *ret_dropped, struct sendit_why *why);
/* A whole line: what row_begin() made, where it is, in which batch, and since when.  The caller's
 * to free; NULL without memory, or for an object that cannot be one. */
char *row_end(const char *row, const struct row_object *object, const char *batch,
              int64_t ingested_ms, size_t *ret_length);

/* "20210304" as "2021-03-04"; false if it is no day. */
bool row_date(const char *text, char ret_date[11]);
/* "2026-01-01 00:00:00.000 UTC", as BigQuery reads it. */
void row_time(int64_t ms, char ret_time[40]);
/* JSON with each fraction as short as it can be: BigQuery may refuse one that it cannot keep digit
 * by digit, such as 0.10000000000000001.  In place. */
void row_shorten(char *json);

/* The key of the member of an object that has most bytes, NULL for an empty one. */
const char *row_largest(json_t *object);

/* "gs://bucket/name" in its parts; false if it is none. */
bool row_split(const char *object, char ret_bucket[256], const char **ret_name);
/* The links that Google gives an object: `selfLink` and `mediaLink`. */
bool row_links(const struct row_object *object, char self[ROW_URL_SIZE], char media[ROW_URL_SIZE]);
/* The link that lists the objects below a folder. */
bool row_list_link(const char *object, size_t name_length, char link[ROW_URL_SIZE]);

#endif
