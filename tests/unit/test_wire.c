/* SPDX-License-Identifier: Apache-2.0 */
/* The wire between supervisor and worker: frames in pieces, full sockets, nonsense. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/wire.h"

struct pair {
    struct wire a, b;
};

static int setup(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    int fds[2];

    assert_non_null(pair);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    wire_init(&pair->a, fds[0], WIRE_ANSWERS);
    wire_init(&pair->b, fds[1], WIRE_ASKS);
    *state = pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;

    wire_fini(&pair->a);
    wire_fini(&pair->b);
    free(pair);
    return 0;
}

static void fields_come_back(void **state)
{
    struct pair *pair = *state;
    const char bytes[] = {'a', '\0', 'b'};
    struct wire_msg msg;
    const void *data;
    size_t len;

    wire_begin(&pair->a, WIRE_BATCH);
    wire_put_u64(&pair->a, UINT64_MAX);
    wire_put_i64(&pair->a, -7);
    wire_put_str(&pair->a, "text");
    wire_put_str(&pair->a, NULL);
    wire_put_bytes(&pair->a, bytes, sizeof(bytes));
    assert_int_equal(wire_send(&pair->a), 0);
    assert_int_equal(wire_wait(&pair->b, &msg), 0);
    assert_int_equal(msg.type, WIRE_BATCH);
    assert_true(wire_u64(&msg) == UINT64_MAX);
    assert_int_equal(wire_i64(&msg), -7);
    assert_string_equal(wire_str(&msg), "text");
    assert_string_equal(wire_str(&msg), "");
    data = wire_bytes(&msg, &len);
    assert_int_equal(len, sizeof(bytes));
    assert_memory_equal(data, bytes, sizeof(bytes));
    assert_false(msg.bad);
    assert_int_equal(wire_u64(&msg), 0); /* past the end */
    assert_true(msg.bad);
    assert_string_equal(wire_str(&msg), "");
}

/* More than a socket holds is queued, and comes out in order. */
static void queues_what_does_not_fit(void **state)
{
    struct pair *pair = *state;
    enum { MANY = 2000 };
    char text[1000];
    struct wire_msg msg;
    int flushed = 1;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (uint64_t i = 0; i < MANY; i++) {
        wire_begin(&pair->a, WIRE_MESSAGE);
        wire_put_u64(&pair->a, i);
        wire_put_str(&pair->a, text);
        assert_int_equal(wire_send(&pair->a), 0);
    }
    assert_true(pair->a.out.len > 0); /* else this test tests nothing */
    for (uint64_t i = 0; i < MANY; i++) {
        while (!wire_next(&pair->b, &msg)) {
            if (flushed)
                flushed = wire_flush(&pair->a);
            assert_true(flushed >= 0);
            assert_int_equal(wire_fill(&pair->b), 1);
        }
        assert_true(wire_u64(&msg) == i);
        assert_string_equal(wire_str(&msg), text);
        assert_false(msg.bad);
    }
}

static void a_frame_in_single_bytes(void **state)
{
    struct pair *pair = *state;
    const uint32_t head[2] = {8, WIRE_READY};
    const uint64_t number = 42;
    char frame[16];
    struct wire_msg msg;

    memcpy(frame, head, 8);
    memcpy(frame + 8, &number, 8);
    for (size_t i = 0; i < sizeof(frame); i++) {
        assert_int_equal(wire_next(&pair->b, &msg), 0);
        assert_int_equal(write(pair->a.fd, frame + i, 1), 1);
        assert_int_equal(wire_fill(&pair->b), 1);
    }
    assert_int_equal(wire_next(&pair->b, &msg), 1);
    assert_true(wire_u64(&msg) == 42);
}

static void refuses_nonsense(void **state)
{
    struct pair *pair = *state;
    const uint32_t huge[2] = {WIRE_MAX_FRAME + 1, WIRE_READY};
    struct wire_msg msg;

    assert_int_equal(write(pair->a.fd, huge, sizeof(huge)), sizeof(huge));
    assert_int_equal(wire_wait(&pair->b, &msg), -1);
}

static void strings_that_lie(void **state)
{
    struct pair *pair = *state;
    struct wire_msg msg;

    wire_begin(&pair->a, WIRE_READY);
    wire_put_u64(&pair->a, 1000); /* a string longer than its frame */
    assert_int_equal(wire_send(&pair->a), 0);
    assert_int_equal(wire_wait(&pair->b, &msg), 0);
    assert_string_equal(wire_str(&msg), "");
    assert_true(msg.bad);
    wire_begin(&pair->a, WIRE_READY);
    wire_put_bytes(&pair->a, "a\0b", 3); /* no text */
    assert_int_equal(wire_send(&pair->a), 0);
    assert_int_equal(wire_wait(&pair->b, &msg), 0);
    assert_string_equal(wire_str(&msg), "");
    assert_true(msg.bad);
}

static void too_large_is_not_sent(void **state)
{
    struct pair *pair = *state;
    char *much = calloc(1, WIRE_MAX_FRAME + 1);
    struct wire_msg msg;

    assert_non_null(much);
    wire_begin(&pair->a, WIRE_READY);
    wire_put_bytes(&pair->a, much, WIRE_MAX_FRAME + 1);
    assert_int_equal(wire_send(&pair->a), -1);
    free(much);
    wire_begin(&pair->a, WIRE_READY); /* and spoils nothing */
    assert_int_equal(wire_send(&pair->a), 0);
    assert_int_equal(wire_wait(&pair->b, &msg), 0);
    assert_int_equal(msg.type, WIRE_READY);
}

static void the_end(void **state)
{
    struct pair *pair = *state;
    struct wire_msg msg;

    close(pair->a.fd);
    pair->a.fd = -1;
    assert_int_equal(wire_wait(&pair->b, &msg), -1);
    wire_begin(&pair->b, WIRE_READY);
    assert_int_equal(wire_send(&pair->b), 0); /* gathered */
    assert_int_equal(wire_flush(&pair->b), -1);
}

/* The asking end sends when it asks, or when much has gathered. */
static void tells_are_gathered(void **state)
{
    struct pair *pair = *state;
    struct wire_msg msg;
    unsigned n = 0;

    wire_begin(&pair->b, WIRE_FACT);
    wire_put_u64(&pair->b, 1);
    assert_int_equal(wire_send(&pair->b), 0);
    assert_int_equal(wire_fill(&pair->a), 0); /* nothing came */
    wire_begin(&pair->b, WIRE_FACT);
    wire_put_u64(&pair->b, 2);
    assert_int_equal(wire_send(&pair->b), 0);
    assert_int_equal(wire_flush(&pair->b), 0);
    assert_int_equal(wire_fill(&pair->a), 1);
    while (wire_next(&pair->a, &msg) == 1)
        assert_int_equal(wire_u64(&msg), ++n);
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fields_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(queues_what_does_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frame_in_single_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_that_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(too_large_is_not_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(tells_are_gathered, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
