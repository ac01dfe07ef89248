/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of the stage ABI, whatever the compiler; the types are tests/abi's.  All of it is
 * asserted when this is compiled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sendit/stage.h"

#if UINTPTR_MAX == UINT64_MAX
#define SIZE(name, size) _Static_assert(sizeof(struct name) == (size), #name " has another size");
#define AT(name, member, offset)                                                                   \
    _Static_assert(offsetof(struct name, member) == (offset), #name "." #member " has moved");
#define VALUE(name, value) _Static_assert((name) == (value), #name " has another value");
#include "../abi/layout.inc"
#endif

/* What a stage may rely on beyond the numbers. */
static void zero_is_failure(void **state)
{
    (void)state;
    assert_int_equal(SENDIT_FAIL, 0);
    assert_int_equal(SENDIT_STOP, 0);
    assert_int_equal(SENDIT_OK, 0); /* of a result, not of a verdict */
    assert_true(sizeof(sendit_verdict) == 4 && sizeof(sendit_result) == 4);
}

static void results_become_verdicts_that_fail_closed(void **state)
{
    (void)state;
    assert_int_equal(sendit_verdict_of(SENDIT_OK), SENDIT_PASS);
    for (sendit_result r = -100; r < 100; r++)
        if (r != SENDIT_OK)
            assert_int_not_equal(sendit_verdict_of(r), SENDIT_PASS);
    assert_int_equal(sendit_verdict_of(SENDIT_EABSENT), SENDIT_QUARANTINE);
    assert_int_equal(sendit_verdict_of(SENDIT_EINVAL), SENDIT_FAIL);
    assert_int_equal(sendit_verdict_of(SENDIT_EDENIED), SENDIT_FAIL);
    assert_int_equal(sendit_verdict_of(SENDIT_EIO), SENDIT_RETRY);
    assert_int_equal(sendit_verdict_of(-77), SENDIT_QUARANTINE);
}

static void a_long_reason_is_cut(void **state)
{
    struct sendit_why why;
    char text[400];

    (void)state;
    memset(&why, 'x', sizeof(why));
    memset(text, 'y', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(sendit_because(&why, SENDIT_RETRY, text, "%s", text), SENDIT_RETRY);
    assert_int_equal(strlen(why.code), sizeof(why.code) - 1);
    assert_int_equal(strlen(why.text), sizeof(why.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_is_failure),
        cmocka_unit_test(results_become_verdicts_that_fail_closed),
        cmocka_unit_test(a_long_reason_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
