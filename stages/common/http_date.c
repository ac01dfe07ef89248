/* SPDX-License-Identifier: Apache-2.0 */
#include "http_date.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of exactly `n` digits; -1 for anything else. */
static int number(const char *text, int n)
{
    int value = 0;

    for (int i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + text[i] - '0';
    }
    return value;
}

static int month_of(const char *text)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    for (int i = 0; i < 12; i++)
        if (!memcmp(text, names + 3 * i, 3))
            return i;
    return -1;
}

int http_date_read(const char *text, int64_t *ret_seconds)
{
    struct tm day = {0}, is;
    int hour, minute, second;

    if (strlen(text) != 29 || text[3] != ',' || text[4] != ' ' || text[7] != ' ' ||
        text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':' ||
        strcmp(text + 25, " GMT") != 0)
        return 0;
    day.tm_mday = number(text + 5, 2);
    day.tm_mon = month_of(text + 8);
    day.tm_year = number(text + 12, 4) - 1900;
    hour = number(text + 17, 2);
    minute = number(text + 20, 2);
    second = number(text + 23, 2);
    if (day.tm_mday < 1 || day.tm_mon < 0 || day.tm_year < -1899 || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 60)
        return 0;
    is = day;
    *ret_seconds = (int64_t)timegm(&is) + hour * 3600 + minute * 60 + second;
    return is.tm_mon == day.tm_mon; /* a 30th of February is another day */
}

int http_date_pause(const char *text, int64_t now_ms, uint32_t max, uint32_t *ret_seconds)
{
    size_t n = strspn(text, "0123456789");
    int64_t at, left;

    if (n && !text[n]) {
        unsigned long long seconds = n > 9 ? max : strtoull(text, NULL, 10);

        *ret_seconds = seconds < max ? (uint32_t)seconds : max;
        return 1;
    }
    if (!http_date_read(text, &at))
        return 0;
    left = at - now_ms / 1000;
    *ret_seconds = left < 0 ? 0 : left > max ? max : (uint32_t)left;
    return 1;
}
