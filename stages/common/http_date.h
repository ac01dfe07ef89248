/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_date.h - times as headers of HTTP have them.  What cannot be read is 0.
 */
#ifndef SENDIT_HTTP_DATE_H
#define SENDIT_HTTP_DATE_H

#include <stdint.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT", a time that there is, in seconds since 1970. */
int http_date_read(const char *text, int64_t *ret_seconds);
/* Retry-After: the seconds from `now_ms` on, from "120" or a date. */
int http_date_pause(const char *text, int64_t now_ms, uint32_t max, uint32_t *ret_seconds);

#endif
