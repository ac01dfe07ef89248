/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restful_date.h - days and times as DICOM and identifier services write them.  A day is a
 * number, 0 being 1970-01-01; years 1 to 9999.  What cannot be read is 0, as all failure here.
 */
#ifndef SENDIT_RESTFUL_DATE_H
#define SENDIT_RESTFUL_DATE_H

#include <stdint.h>

#define DATE_SIZE 9  /* "20210304" */
#define TIME_SIZE 21 /* "2021-03-04T00:00:00Z" */

/* "20210304", a day that there is. */
int date_read(const char *text, int32_t *ret_day);
int date_write(int32_t day, char ret_text[DATE_SIZE]);
/* Its midnight, as services want it. */
int date_write_time(int32_t day, char ret_text[TIME_SIZE]);
/* "2021-03-04T16:00:00-0800", with Z or an offset with or without a colon, fractions allowed: the
 * day that it names, and the day that it is then in UTC. */
int date_read_time(const char *text, int32_t *ret_named, int32_t *ret_utc);

#endif
