/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines where stderr is no terminal: JSON, one line whatever is said, one level and above. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"

static const struct log_who who = {"mine", "b1", "b1-000002"};

/* What one event writes; "" for nothing. */
static const char *line_of(enum log_level threshold, enum log_level level, const char *text)
{
    static char line[8192];
    int fds[2], old = dup(STDERR_FILENO);
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    assert_true(old >= 0 && dup2(fds[1], STDERR_FILENO) >= 0);
    log_init(threshold);
    log_event(level, &who, "mine.event", "%s", text);
    assert_true(dup2(old, STDERR_FILENO) >= 0);
    close(old);
    close(fds[1]);
    n = read(fds[0], line, sizeof(line) - 1);
    close(fds[0]);
    assert_true(n >= 0);
    line[n] = '\0';
    return line;
}

/* The text of a line as a reader of JSON has it. */
static void assert_text(const char *said, const char *wanted)
{
    const char *line = line_of(LOG_DEBUG, LOG_WARN, said);
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

    assert_non_null(object);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_string_equal(json_string_value(json_object_get(object, "text")), wanted);
    json_decref(object);
}

static void a_line_has_its_members(void **state)
{
    json_t *object = json_loads(line_of(LOG_INFO, LOG_ERROR, "It broke."), 0, NULL);
    static const char *const members[][2] = {{"level", "error"},      {"stage", "mine"},
                                             {"batch", "b1"},         {"image", "b1-000002"},
                                             {"event", "mine.event"}, {"text", "It broke."}};

    (void)state;
    assert_non_null(object);
    assert_int_equal(json_object_size(object), 7);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(json_string_value(json_object_get(object, members[i][0])),
                            members[i][1]);
    assert_int_equal(strlen(json_string_value(json_object_get(object, "time"))), 24);
    json_decref(object);
}

static void levels_below_are_not_said(void **state)
{
    (void)state;
    for (enum log_level threshold = LOG_DEBUG; threshold <= LOG_OFF; threshold++)
        for (enum log_level level = LOG_DEBUG; level <= LOG_ERROR; level++)
            assert_int_equal(*line_of(threshold, level, "x") != '\0', level >= threshold);
}

static void whatever_is_said_is_one_line_of_json(void **state)
{
    char longer[3000], cut[1200];

    (void)state;
    assert_text("a \"b\" \\c %s", "a \"b\" \\c %s");
    assert_text("a\nb\tc\rd", "a\nb\tc\rd");
    assert_text("\x1b[31mred\x07\x7f", "?[31mred??");
    assert_text("M\xc3\xbcnchen \xe2\x82\xac \xf0\x9f\x98\x80",
                "M\xc3\xbcnchen \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_text(
        "\xff \xc3( \xe2\x82 \xc0\xaf \xe0\x80\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xc2\x9b|\xc3",
        "? ?( ?? ?? ??? ??? ???? ??|?");
    memset(longer, 'x', sizeof(longer));
    memset(cut, 'x', sizeof(cut));
    longer[1198] = '\xc3'; /* of these two bytes the second is cut */
    longer[1199] = '\xbc';
    longer[sizeof(longer) - 1] = '\0';
    cut[1198] = '?';
    cut[1199] = '\0';
    assert_text(longer, cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_its_members),
        cmocka_unit_test(levels_below_are_not_said),
        cmocka_unit_test(whatever_is_said_is_one_line_of_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
