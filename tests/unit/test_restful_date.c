/* SPDX-License-Identifier: Apache-2.0 */
#include "../../stages/restful-anonymizer/restful_date.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static int32_t day_of(const char *text)
{
    int32_t day = -1;

    assert_true(date_read(text, &day));
    return day;
}

static void days_are_counted(void **state)
{
    char text[DATE_SIZE];

    (void)state;
    assert_int_equal(day_of("19700101"), 0);
    assert_int_equal(day_of("19691231"), -1);
    assert_int_equal(day_of("20000301") - day_of("20000228"), 2);
    assert_int_equal(day_of("19000301") - day_of("19000228"), 1);
    assert_int_equal(day_of("00010101"), FIRST_DAY);
    assert_int_equal(day_of("99991231"), LAST_DAY);
    for (int32_t day = FIRST_DAY; day <= LAST_DAY; day++) { /* each there is, and back */
        assert_true(date_write(day, text));
        assert_int_equal(day_of(text), day);
    }
    assert_false(date_write(FIRST_DAY - 1, text));
    assert_false(date_write(LAST_DAY + 1, text));
}

static void other_days_are_none(void **state)
{
    static const char *const bad[] = {"",         "2021030",    "202103041", "20210229", "20211301",
                                      "20210001", "20210100",   "20210132",  "00000101", "2021-3-4",
                                      "2021030a", "2021.03.04", " 2021030"};
    int32_t day;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(date_read(bad[i], &day));
}

static void times_name_two_days(void **state)
{
    static const struct {
        const char *text;
        const char *named, *utc;
    } good[] = {
        {"2021-03-04T00:00:00Z", "20210304", "20210304"},
        {"2021-03-04T15:59:59-0800", "20210304", "20210304"},
        {"2021-03-04T16:00:00-0800", "20210304", "20210305"},
        {"2021-03-04T16:00:00-08:00", "20210304", "20210305"},
        {"2021-01-01T05:29:00+05:30", "20210101", "20201231"},
        {"2021-03-04T00:00:00.123456Z", "20210304", "20210304"},
    };
    static const char *const bad[] = {
        "",
        "20210304",
        "2021-03-04",
        "2021-03-04T00:00:00",
        "2021-03-04T24:00:00Z",
        "2021-03-04T00:60:00Z",
        "2021-02-29T00:00:00Z",
        "2021-03-04 00:00:00Z",
        "2021-03-04T00:00:00z",
        "2021-03-04T00:00:00.Z",
        "2021-03-04T00:00:00+1",
        "2021-03-04T00:00:00+1500",
        "2021-03-04T00:00:00+01:60",
        "2021-03-04T00:00:00+01000",
        "2021-03-04T00:00:00Z ",
        "2021-03-04T00:00:00.000000000000000000000000000000000000000000000000000000000000Z",
    };
    int32_t named, utc;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(date_read_time(good[i].text, &named, &utc));
        assert_int_equal(named, day_of(good[i].named));
        assert_int_equal(utc, day_of(good[i].utc));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(date_read_time(bad[i], &named, &utc));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_are_counted),
        cmocka_unit_test(other_days_are_none),
        cmocka_unit_test(times_name_two_days),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
