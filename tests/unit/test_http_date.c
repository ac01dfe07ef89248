/* SPDX-License-Identifier: Apache-2.0 */
#include "../../stages/common/http_date.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void a_date_is_a_time_that_there_is(void **state)
{
    static const char *const bad[] = {"",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 30 Feb 2020 08:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:60:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:61 GMT",
                                      "Sun, 06 Nov 0000 08:49:37 GMT",
                                      "Sunday, 06-Nov-94 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 EST",
                                      "Sun, 06 Nov 1994 08:49:37 GMT "};
    int64_t at = 7;

    (void)state;
    assert_true(http_date_read("Sun, 06 Nov 1994 08:49:37 GMT", &at));
    assert_int_equal(at, 784111777);
    assert_true(http_date_read("Thu, 01 Jan 1970 00:00:00 GMT", &at));
    assert_int_equal(at, 0);
    assert_true(http_date_read("Thu, 29 Feb 2024 23:59:60 GMT", &at)); /* a leap second */
    assert_int_equal(at, 1709251200);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(http_date_read(bad[i], &at));
}

static void a_pause_is_seconds_or_a_date(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "1.5",
                                      "soon",
                                      "12 ",
                                      "Thu, 01 Jan 1970 00:02:00",
                                      "Thu, 01 anF 1970 00:02:00 GMT",
                                      "Thu, 32 Jan 1970 00:02:00 GMT",
                                      "Thu, 01 Jan 1970 0a:02:00 GMT"};
    uint32_t seconds = 7;

    (void)state;
    assert_true(http_date_pause("120", 0, 1000, &seconds));
    assert_int_equal(seconds, 120);
    assert_true(http_date_pause("99999999999999999999", 0, 1000, &seconds));
    assert_int_equal(seconds, 1000);
    assert_true(http_date_pause("Thu, 01 Jan 1970 00:02:00 GMT", 30000, 1000, &seconds));
    assert_int_equal(seconds, 90);
    assert_true(http_date_pause("Thu, 01 Jan 1970 00:02:00 GMT", 300000, 1000, &seconds));
    assert_int_equal(seconds, 0); /* it is over */
    assert_true(http_date_pause("Sun, 06 Nov 2094 08:49:37 GMT", 0, 1000, &seconds));
    assert_int_equal(seconds, 1000);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(http_date_pause(bad[i], 0, 1000, &seconds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_date_is_a_time_that_there_is),
        cmocka_unit_test(a_pause_is_seconds_or_a_date),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
