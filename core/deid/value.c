/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/value.h"

#include <ctype.h>
#include <string.h>

#define DIGITS "0123456789"
#define LONGEST_NUMBER 32 /* characters; DS has 16, and some that write it more */
#define LONGEST_INTEGER                                                                            \
    15 /* of them before the point: more can name somebody, and measure nothing */
#define LONGEST_UID 64
#define DAYS_OF_90_YEARS 32873 /* rounded up */

enum value_class value_class(uint16_t vr)
{
    switch (vr) {
    case VALUE_VR('A', 'E'):
    case VALUE_VR('L', 'O'):
    case VALUE_VR('L', 'T'):
    case VALUE_VR('P', 'N'):
    case VALUE_VR('S', 'H'):
    case VALUE_VR('S', 'T'):
    case VALUE_VR('U', 'C'):
    case VALUE_VR('U', 'R'):
    case VALUE_VR('U', 'T'):
        return VALUE_TEXT;
    case VALUE_VR('A', 'S'):
    case VALUE_VR('C', 'S'):
    case VALUE_VR('D', 'A'):
    case VALUE_VR('D', 'S'):
    case VALUE_VR('D', 'T'):
    case VALUE_VR('I', 'S'):
    case VALUE_VR('T', 'M'):
    case VALUE_VR('U', 'I'):
        return VALUE_STRING;
    case VALUE_VR('A', 'T'):
    case VALUE_VR('F', 'D'):
    case VALUE_VR('F', 'L'):
    case VALUE_VR('S', 'L'):
    case VALUE_VR('S', 'S'):
    case VALUE_VR('S', 'V'):
    case VALUE_VR('U', 'L'):
    case VALUE_VR('U', 'S'):
    case VALUE_VR('U', 'V'):
        return VALUE_NUMBER;
    case VALUE_VR('O', 'B'):
    case VALUE_VR('O', 'W'):
        return VALUE_BYTES;
    case VALUE_VR('O', 'D'):
    case VALUE_VR('O', 'F'):
    case VALUE_VR('O', 'L'):
    case VALUE_VR('O', 'V'):
        return VALUE_ARRAY;
    case VALUE_VR('S', 'Q'):
        return VALUE_SEQUENCE;
    default:
        return VALUE_UNKNOWN;
    }
}

size_t value_width(uint16_t vr)
{
    switch (vr) {
    case VALUE_VR('S', 'S'):
    case VALUE_VR('U', 'S'):
        return 2;
    case VALUE_VR('A', 'T'):
    case VALUE_VR('F', 'L'):
    case VALUE_VR('S', 'L'):
    case VALUE_VR('U', 'L'):
    case VALUE_VR('O', 'F'):
    case VALUE_VR('O', 'L'):
        return 4;
    case VALUE_VR('F', 'D'):
    case VALUE_VR('S', 'V'):
    case VALUE_VR('U', 'V'):
    case VALUE_VR('O', 'D'):
    case VALUE_VR('O', 'V'):
        return 8;
    default:
        return 1;
    }
}

struct value_span value_trim(const void *bytes, size_t len)
{
    struct value_span span = {bytes, len};

    while (span.len && (span.text[span.len - 1] == ' ' || !span.text[span.len - 1]))
        span.len--;
    while (span.len && *span.text == ' ') {
        span.text++;
        span.len--;
    }
    return span;
}

bool value_next(struct value_span *rest, struct value_span *ret_one)
{
    const char *stop;
    size_t n;

    if (!rest->text)
        return false;
    stop = rest->len ? memchr(rest->text, '\\', rest->len) : NULL;
    n = stop ? (size_t)(stop - rest->text) : rest->len;
    *ret_one = value_trim(rest->text, n);
    rest->text = stop ? stop + 1 : NULL;
    rest->len = stop ? rest->len - n - 1 : 0;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* How many digits begin it. */
static size_t count_digits(struct value_span span)
{
    size_t n = 0;

    while (n < span.len && is_digit(span.text[n]))
        n++;
    return n;
}

static struct value_span skip(struct value_span span, size_t n)
{
    return (struct value_span){span.text + n, span.len - n};
}

static uint32_t number_of(const char *digits, size_t n)
{
    uint32_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value * 10 + (uint32_t)(digits[i] - '0');
    return value;
}

/* "-1.5E+3"; DS and IS alike, since files mix them. */
static bool is_number(struct value_span span)
{
    size_t n, fraction;

    if (span.len > LONGEST_NUMBER)
        return false;
    if (span.len && (*span.text == '+' || *span.text == '-'))
        span = skip(span, 1);
    n = count_digits(span);
    if (n > LONGEST_INTEGER)
        return false;
    span = skip(span, n);
    if (span.len && *span.text == '.') {
        span = skip(span, 1);
        fraction = count_digits(span);
        span = skip(span, fraction);
        n += fraction;
    }
    if (n && span.len && (*span.text == 'e' || *span.text == 'E')) {
        span = skip(span, 1);
        if (span.len && (*span.text == '+' || *span.text == '-'))
            span = skip(span, 1);
        n = count_digits(span);
        span = skip(span, n);
    }
    return n && !span.len;
}

bool value_is_uid(struct value_span uid)
{
    for (size_t i = 0; i < uid.len; i++)
        if (!is_digit(uid.text[i]) && uid.text[i] != '.')
            return false;
    return uid.len && uid.len <= LONGEST_UID;
}

/* Capitals, as the standard has them, and what makers write besides. */
static bool is_code_string(struct value_span span)
{
    for (size_t i = 0; i < span.len; i++) {
        char c = span.text[i];

        if (!is_digit(c) && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
            !(c && strchr(" _-./+()", c)))
            return false;
    }
    return span.len <= 16;
}

/* HH, HHMM, HHMMSS, HHMMSS.F, or the HH:MM:SS of ACR-NEMA. */
static bool is_time(struct value_span span)
{
    static const uint32_t limits[] = {23, 59, 60};
    size_t part = 0, fraction;

    while (part < 3 && count_digits(span) >= 2) {
        if (number_of(span.text, 2) > limits[part++])
            return false;
        span = skip(span, 2);
        if (part < 3 && span.len > 2 && *span.text == ':')
            span = skip(span, 1);
    }
    if (!part)
        return false;
    if (part == 3 && span.len && *span.text == '.') {
        span = skip(span, 1);
        fraction = count_digits(span);
        if (fraction > 6)
            return false;
        span = skip(span, fraction);
    }
    return !span.len;
}

bool value_age(struct value_span age, char ret_age[5])
{
    size_t n = count_digits(age);
    uint32_t number, days;
    char unit;

    if (!n || n > 6 || age.len != n + 1)
        return false;
    unit = (char)(age.text[n] & ~0x20);
    number = number_of(age.text, n);
    switch (unit) {
    case 'D':
        days = number;
        break;
    case 'W':
        days = number * 7;
        break;
    case 'M':
        days = number >= 90 * 12 ? DAYS_OF_90_YEARS : 0;
        break;
    case 'Y':
        days = number >= 90 ? DAYS_OF_90_YEARS : 0;
        break;
    default:
        return false;
    }
    if (days >= DAYS_OF_90_YEARS) {
        memcpy(ret_age, "089Y", 5);
        return true;
    }
    if (number > 999)
        return false;
    ret_age[0] = (char)('0' + number / 100);
    ret_age[1] = (char)('0' + number / 10 % 10);
    ret_age[2] = (char)('0' + number % 10);
    ret_age[3] = unit;
    ret_age[4] = '\0';
    return true;
}

/* Days since 0000-03-01 of the proleptic Gregorian calendar, and back. */
static int32_t to_days(int32_t year, int32_t month, int32_t day)
{
    int32_t y = month <= 2 ? year - 1 : year, m = (month + 9) % 12;

    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
}

static void from_days(int32_t days, int32_t ret_date[3])
{
    int32_t era = days / 146097, of_era = days % 146097;
    int32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int32_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int32_t m = (5 * of_year + 2) / 153;

    ret_date[2] = of_year - (153 * m + 2) / 5 + 1;
    ret_date[1] = m < 10 ? m + 3 : m - 9;
    ret_date[0] = era * 400 + year + (ret_date[1] <= 2);
}

static bool is_date(int32_t year, int32_t month, int32_t day)
{
    int32_t back[3];

    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31)
        return false;
    from_days(to_days(year, month, day), back);
    return back[0] == year && back[1] == month && back[2] == day;
}

/* The first `digits` (4, 6 or 8) of YYYYMMDD, as precise as they were; what is missing counts as
 * the first month and day. */
static bool move_digits(const char *text, size_t digits, int32_t days, struct buf *out)
{
    int32_t year = (int32_t)number_of(text, 4);
    int32_t month = digits > 4 ? (int32_t)number_of(text + 4, 2) : 1;
    int32_t day = digits > 6 ? (int32_t)number_of(text + 6, 2) : 1;
    int32_t moved[3], at;
    char date[9];

    if (!is_date(year, month, day))
        return false;
    at = to_days(year, month, day);
    if (at + days < to_days(1, 1, 1) || at + days > to_days(9999, 12, 31))
        return false;
    from_days(at + days, moved);
    for (int i = 3, value = moved[0]; i >= 0; i--, value /= 10)
        date[i] = (char)('0' + value % 10);
    for (int i = 0; i < 2; i++) {
        date[4 + 2 * i] = (char)('0' + moved[1 + i] / 10);
        date[5 + 2 * i] = (char)('0' + moved[1 + i] % 10);
    }
    buf_add(out, date, digits);
    return true;
}

/* YYYYMMDD, or the YYYY.MM.DD of ACR-NEMA. */
static bool move_date(struct value_span span, int32_t days, struct buf *out)
{
    char digits[8];

    if (span.len == 10 && (span.text[4] == '.' || span.text[4] == '-') &&
        span.text[7] == span.text[4]) {
        memcpy(digits, span.text, 4);
        memcpy(digits + 4, span.text + 5, 2);
        memcpy(digits + 6, span.text + 8, 2);
        span = (struct value_span){digits, 8};
    }
    return span.len == 8 && count_digits(span) == 8 && move_digits(span.text, 8, days, out);
}

/* "&ZZXX" of a DT: hours and minutes from UTC. */
static bool is_offset(struct value_span span)
{
    return !span.len || (span.len == 5 && (*span.text == '+' || *span.text == '-') &&
                         count_digits(skip(span, 1)) == 4 && number_of(span.text + 1, 2) <= 14 &&
                         number_of(span.text + 3, 2) <= 59);
}

/* YYYY[MM[DD[HH[MM[SS[.F]]]]]][&ZZXX] */
static bool move_date_time(struct value_span span, int32_t days, struct buf *out)
{
    size_t n = count_digits(span), digits = n < 8 ? n : 8, time;
    struct value_span rest;

    if (n < 4 || n > 14 || n & 1)
        return false;
    time = n;
    if (n == 14 && span.len > 14 && span.text[14] == '.')
        time += 1 + count_digits(skip(span, 15));
    rest = skip(span, digits);
    if (time > digits && !is_time((struct value_span){rest.text, time - digits}))
        return false;
    if (!is_offset(skip(span, time)) || !move_digits(span.text, digits, days, out))
        return false;
    buf_add(out, rest.text, rest.len);
    return true;
}

/* A range, as in queries: both ends move. */
static bool move_range(struct value_span span, int32_t days, struct buf *out)
{
    const char *dash = memchr(span.text, '-', span.len);
    size_t before = dash ? (size_t)(dash - span.text) : 0;

    if (!dash || (before && before != 8) || (span.len - before - 1 && span.len - before - 1 != 8))
        return false;
    if (before && !move_date((struct value_span){span.text, before}, days, out))
        return false;
    buf_add(out, "-", 1);
    span = skip(span, before + 1);
    return span.len ? move_date(span, days, out) : before != 0;
}

bool value_move(uint16_t vr, const void *bytes, size_t len, int32_t days, struct buf *out)
{
    struct value_span rest = value_trim(bytes, len), one;
    bool first = true;

    while (value_next(&rest, &one)) {
        bool moved;

        if (!first)
            buf_add(out, "\\", 1);
        first = false;
        if (!one.len)
            continue;
        if (vr == VALUE_VR('D', 'T'))
            moved = move_date_time(one, days, out);
        else if (one.len == 10 || !memchr(one.text, '-', one.len))
            moved = move_date(one, days, out);
        else
            moved = move_range(one, days, out);
        if (!moved)
            return false;
    }
    return true;
}

/* How long one value may be, and whether lines may break in it; longer ones are not what the
 * attribute is for. */
static bool is_text(uint16_t vr, const char *text, size_t len)
{
    bool long_text = vr == VALUE_VR('L', 'T') || vr == VALUE_VR('S', 'T') ||
                     vr == VALUE_VR('U', 'T') || vr == VALUE_VR('U', 'C');
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '\\')
            n = 0;
        else if (!long_text && ++n > 3 * 64) /* bytes of 64 characters, escapes among them */
            return false;
        if (c < 0x20 && c != 0x1b && !(long_text && c && strchr("\t\r\n\f", c)))
            return false;
    }
    return true;
}

/*
 * Words where numbers should be.  A few numbers look like letters by chance, floats (of which the
 * first byte is a letter from 8 up) sooner than others: shorter words are not seen.
 */
static bool is_word(uint16_t vr, const void *bytes, size_t len)
{
    struct value_span span = value_trim(bytes, len);
    bool letters = false;

    for (size_t i = 0; i < span.len; i++) {
        char c = span.text[i];

        if (!isalpha((unsigned char)c) && !is_digit(c) && (!c || !strchr(" ^=.,-", c)))
            return false;
        letters |= isalpha((unsigned char)c) != 0;
    }
    return letters && span.len >= (vr == VALUE_VR('F', 'L') ? 12 : 8);
}

bool value_fits(uint16_t vr, const void *bytes, size_t len)
{
    struct value_span rest, one;
    char age[5];
    struct buf ignored = {0};
    bool fits = true;

    if (value_class(vr) == VALUE_NUMBER)
        return len % value_width(vr) == 0 && !is_word(vr, bytes, len);
    if (value_class(vr) == VALUE_ARRAY)
        return len % value_width(vr) == 0;
    if (value_class(vr) == VALUE_BYTES)
        return true;
    rest = value_trim(bytes, len);
    if (value_class(vr) == VALUE_TEXT)
        return is_text(vr, rest.text, rest.len);
    while (fits && value_next(&rest, &one)) {
        if (!one.len)
            continue;
        if (vr == VALUE_VR('D', 'S') || vr == VALUE_VR('I', 'S'))
            fits = is_number(one);
        else if (vr == VALUE_VR('C', 'S'))
            fits = is_code_string(one);
        else if (vr == VALUE_VR('U', 'I'))
            fits = value_is_uid(one);
        else if (vr == VALUE_VR('T', 'M'))
            fits = is_time(one);
        else if (vr == VALUE_VR('A', 'S'))
            fits = value_age(one, age);
        else if (vr == VALUE_VR('D', 'A') || vr == VALUE_VR('D', 'T'))
            fits = value_move(vr, one.text, one.len, 0, &ignored);
        else
            fits = false;
    }
    buf_fini(&ignored);
    return fits;
}

const char *value_dummy(uint16_t vr)
{
    switch (vr) {
    case VALUE_VR('A', 'S'):
        return "000Y";
    case VALUE_VR('D', 'A'):
        return "19000101";
    case VALUE_VR('D', 'T'):
        return "19000101000000";
    case VALUE_VR('T', 'M'):
        return "000000";
    case VALUE_VR('D', 'S'):
    case VALUE_VR('I', 'S'):
        return "0";
    case VALUE_VR('U', 'R'):
        return "about:blank";
    case VALUE_VR('C', 'S'):
        return "ANONYMIZED";
    default:
        return value_class(vr) == VALUE_TEXT ? "ANONYMIZED" : NULL;
    }
}
