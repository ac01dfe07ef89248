/* SPDX-License-Identifier: Apache-2.0 */
#include "restful_date.h"

#include <stdio.h>
#include <string.h>

#define FIRST_DAY (-719162) /* 0001-01-01 */
#define LAST_DAY 2932896    /* 9999-12-31 */

static int is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year));
}

static int32_t days_before(int year)
{
    int n = year - 1;

    return FIRST_DAY + n * 365 + n / 4 - n / 100 + n / 400;
}

static int to_day(int year, int month, int day, int32_t *ret_day)
{
    int32_t n;

    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > days_of(year, month))
        return 0;
    n = days_before(year) + day - 1;
    for (int i = 1; i < month; i++)
        n += days_of(year, i);
    *ret_day = n;
    return 1;
}

static int from_day(int32_t day, int *ret_year, int *ret_month, int *ret_day)
{
    int year = (int)((day - FIRST_DAY) / 366) + 1, month = 1;
    int32_t left;

    if (day < FIRST_DAY || day > LAST_DAY)
        return 0;
    while (year < 9999 && days_before(year + 1) <= day)
        year++;
    left = day - days_before(year);
    while (left >= days_of(year, month))
        left -= days_of(year, month++);
    *ret_year = year;
    *ret_month = month;
    *ret_day = (int)left + 1;
    return 1;
}

/* `n` digits; -1 for anything else. */
static int number(const char *text, int n)
{
    int value = 0;

    for (int i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

int date_read(const char *text, int32_t *ret_day)
{
    return strlen(text) == 8 &&
           to_day(number(text, 4), number(text + 4, 2), number(text + 6, 2), ret_day);
}

int date_write(int32_t day, char ret_text[DATE_SIZE])
{
    int y, m, d;

    return from_day(day, &y, &m, &d) &&
           snprintf(ret_text, DATE_SIZE, "%04d%02d%02d", y, m, d) == DATE_SIZE - 1;
}

int date_write_time(int32_t day, char ret_text[TIME_SIZE])
{
    int y, m, d;

    return from_day(day, &y, &m, &d) &&
           snprintf(ret_text, TIME_SIZE, "%04d-%02d-%02dT00:00:00Z", y, m, d) == TIME_SIZE - 1;
}

/* Minutes of "Z", "-0800", "+05:30". */
static int read_offset(const char *text, int *ret_minutes)
{
    int hours, minutes;

    if (!strcmp(text, "Z")) {
        *ret_minutes = 0;
        return 1;
    }
    if (text[0] != '+' && text[0] != '-')
        return 0;
    hours = number(text + 1, 2);
    if (hours < 0)
        return 0;
    minutes = number(text + 3 + (text[3] == ':'), 2);
    if (hours > 14 || minutes < 0 || minutes > 59 || text[5 + (text[3] == ':')])
        return 0;
    *ret_minutes = (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
    return 1;
}

int date_read_time(const char *text, int32_t *ret_named, int32_t *ret_utc)
{
    int hour, minute, second, offset, at;
    size_t n = strnlen(text, 64);
    int32_t day;

    if (n < 20 || n == 64 || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
        text[13] != ':' || text[16] != ':')
        return 0;
    hour = number(text + 11, 2);
    minute = number(text + 14, 2);
    second = number(text + 17, 2);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
        !to_day(number(text, 4), number(text + 5, 2), number(text + 8, 2), &day))
        return 0;
    text += 19;
    if (*text == '.') {
        text++;
        if (!strspn(text, "0123456789"))
            return 0;
        text += strspn(text, "0123456789");
    }
    if (!read_offset(text, &offset))
        return 0;
    at = hour * 60 + minute - offset;
    *ret_named = day;
    *ret_utc = day + (at < 0 ? -1 : at >= 24 * 60 ? 1 : 0);
    return 1;
}
