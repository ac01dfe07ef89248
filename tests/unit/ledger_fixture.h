/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger_fixture.h - a state folder of its own for each test, and short words for what the tests of
 * the ledger do all the time.
 */
#ifndef TEST_LEDGER_FIXTURE_H
#define TEST_LEDGER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "ledger/ledger.h"

struct fixture {
    char folder[64];       /* removed with all in it */
    char state[96];        /* in it, not made yet */
    char db[128];          /* the file in the state folder */
    struct ledger *ledger; /* open to write after setup_open() */
    struct err err;
};

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    strcpy(f->folder, "/tmp/sendit-ledger-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->state, sizeof(f->state), "%s/state", f->folder);
    snprintf(f->db, sizeof(f->db), "%s/ledger.db", f->state);
    *state = f;
    return 0;
}

static inline void ok(const struct fixture *f, int result)
{
    if (result)
        fail_msg("%d: %s", result, f->err.text);
}

/* Refused with this code, in a sentence that has these words. */
static inline void refused(const struct fixture *f, int result, int code, const char *words)
{
    assert_int_equal(result, -1);
    if (f->err.code != code || !strstr(f->err.text, words))
        fail_msg("%d: %s", f->err.code, f->err.text);
}

static inline int setup_open(void **state)
{
    struct fixture *f;

    setup(state);
    f = *state;
    ok(f, ledger_open(f->state, &f->ledger, &f->err));
    return 0;
}

static inline void reopen(struct fixture *f)
{
    ledger_close(f->ledger);
    f->ledger = NULL;
    ok(f, ledger_open(f->state, &f->ledger, &f->err));
}

/* What one number in the file is, as SQLite sees it from outside. */
static inline int64_t ask(const struct fixture *f, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    int64_t n;

    assert_int_equal(sqlite3_open_v2(f->db, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

static inline void check_integrity(const struct fixture *f)
{
    assert_int_equal(ask(f, "SELECT count(*) FROM pragma_integrity_check"
                            " WHERE integrity_check <> 'ok'"),
                     0);
    /* Tally and items agree in both directions. */
    assert_int_equal(ask(f, "SELECT count(*) FROM (SELECT batch, state, stage, code, n FROM tally"
                            " WHERE n > 0 EXCEPT SELECT id >> 24, state, stage, code, count(*)"
                            " FROM item GROUP BY 1, 2, 3, 4)"),
                     0);
    assert_int_equal(ask(f, "SELECT count(*) FROM (SELECT id >> 24, state, stage, code, count(*)"
                            " FROM item GROUP BY 1, 2, 3, 4 EXCEPT"
                            " SELECT batch, state, stage, code, n FROM tally)"),
                     0);
}

/* Unless nothing was made in it, the file is whole after each test. */
static inline int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->ledger) {
        ledger_close(f->ledger);
        check_integrity(f);
    }
    snprintf(command, sizeof(command), "rm -rf -- '%s'", f->folder);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Feed files "KEY/NAME" of size 1 and mtime 1; the answer of close. */
static inline int feed(struct fixture *f, const char *key, const char *const *names, size_t n,
                       char batch[SENDIT_ID_SIZE])
{
    char path[256];

    ok(f, ledger_feed_open(f->ledger, key, &f->err));
    for (size_t i = 0; i < n; i++) {
        const struct ledger_file file = {
            .path = path, .dev = 1, .ino = i, .size = 1, .mtime_ns = 1};

        snprintf(path, sizeof(path), "%s/%s", key, names[i]);
        ok(f, ledger_feed_add(f->ledger, &file, &f->err));
    }
    return ledger_feed_close(f->ledger, batch, &f->err);
}

/* A batch of n images, in hand. */
static inline void claim_new(struct fixture *f, const char *key, size_t n, struct ledger_batch *ret)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    char batch[SENDIT_ID_SIZE];

    assert_true(n <= sizeof(names) / sizeof(names[0]));
    ok(f, feed(f, key, names, n, batch));
    ok(f, ledger_claim(f->ledger, ret, &f->err));
    assert_string_equal(ret->id, batch);
}

static inline const char *item_id(const struct ledger_batch *batch, unsigned n,
                                  char ret_id[SENDIT_ID_SIZE])
{
    snprintf(ret_id, SENDIT_ID_SIZE, "%.40s-%06u", batch->id, n);
    return ret_id;
}

static inline int decide(struct fixture *f, const struct ledger_batch *batch, unsigned n, int state,
                         const char *code)
{
    char id[SENDIT_ID_SIZE];
    const struct ledger_item item = {.id = item_id(batch, n, id),
                                     .batch = batch->id,
                                     .state = state,
                                     .stage = "core",
                                     .code = code,
                                     .text = "A sentence."};

    return ledger_item_decide(f->ledger, &item, &f->err);
}

static inline int pass(struct fixture *f, const struct ledger_batch *batch, unsigned n)
{
    char id[SENDIT_ID_SIZE];
    const struct ledger_item item = {.id = item_id(batch, n, id),
                                     .batch = batch->id,
                                     .labels = "deid.header@local-anonymizer",
                                     .header_digest = "abc",
                                     .pixel_length = 7,
                                     .uid = "2.25.1"};

    return ledger_item_passed(f->ledger, &item, &f->err);
}

static inline struct ledger_counts counts_of(struct fixture *f, const char *batch)
{
    struct ledger_batch now;
    struct ledger_counts counts;

    ok(f, ledger_batch_get(f->ledger, batch, &now, &f->err));
    counts = now.counts;
    ledger_batch_fini(&now);
    assert_int_equal(counts.found, counts.stored + counts.checked + counts.quarantined +
                                       counts.failed + counts.ignored + counts.waiting);
    return counts;
}

#endif
