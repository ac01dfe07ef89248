/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - batches that are through every stage, but for what some do later. */
#include "ledger/db.h"

#include <stdio.h>

int ledger_later(struct ledger *ledger, const char *batch, const char *stage, struct err *err)
{
    int64_t id;

    if (!stage || !*stage)
        return db_misuse(err, "a batch that waits for nobody");
    if (id_batch(batch, &id, err))
        return -1;
    return db_write(ledger, SQL_LATER, DB_ARGS(db_int(id), db_text(stage)), err) < 0 ? -1 : 0;
}

static int count_unpassed(void *ctx, const struct ledger_item *item)
{
    (void)item;
    ++*(int *)ctx;
    return 0;
}

int ledger_batch_processed(struct ledger *ledger, const char *batch, struct err *err)
{
    int64_t id, changed;
    int left = 0;

    if (id_batch(batch, &id, err) ||
        ledger_items_after(ledger, batch, "", 1, count_unpassed, &left, err))
        return -1;
    if (left)
        return db_misuse(err, "a batch that is through and in which images are not");
    changed = db_write(ledger, SQL_PROCESSED, DB_ARGS(db_int(id)), err);
    if (!changed)
        return db_misuse(err, "a batch that is through and was not at work");
    return changed < 0 ? -1 : 0;
}

int ledger_settled(struct ledger *ledger, const char *batch, const char *stage, bool pass,
                   const char *code, const char *text, struct err *err)
{
    struct db_arg args[] = {db_int(0), db_text(stage), db_text(pass ? "PASS" : "FAIL"),
                            db_text(code), db_cut(text)};
    int64_t id, changed;

    if (id_parse_batch(batch, &id))
        return 1;
    args[0] = db_int(id);
    changed = db_write(ledger, SQL_SETTLED_EARLY, args, 5, err);
    if (!changed)
        changed = db_write(ledger, SQL_SETTLED_LATER, args, 5, err);
    return changed < 0 ? -1 : !changed;
}

/* The images of a batch that everybody has settled. */
static int end_items(struct ledger *ledger, const char *batch, int64_t id, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_SETTLE_FAILED, DB_ARGS(db_int(id)), err);
    char stage[SENDIT_ID_SIZE], text[LEDGER_MAX_TEXT + 1];
    int have = stmt ? db_step(ledger, stmt, err) : -1;

    if (have < 0)
        return -1;
    if (!have)
        return change_many(
            ledger, SQL_SETTLE_END,
            (struct db_arg[]){db_int(ID_FIRST(id)), db_int(ID_LAST(id)), db_int(db_now_ms())}, 3,
            err);
    snprintf(stage, sizeof(stage), "%s", db_column(stmt, 0));
    snprintf(text, sizeof(text), "%s", db_column(stmt, 1));
    db_end(stmt);
    return ledger_items_fail(ledger, batch, "batch.stopped", stage, text, err);
}

int ledger_batch_settle(struct ledger *ledger, const char *batch, int *ret_state, struct err *err)
{
    struct ledger_counts counts;
    int64_t id, left, changed;
    int have;

    if (id_batch(batch, &id, err))
        return -1;
    have = db_number(ledger, SQL_SETTLE_LEFT, DB_ARGS(db_int(id)), &left, err);
    if (have)
        return have < 0 ? -1 : db_misuse(err, "the end of a batch that is not through");
    if (left)
        return 1;
    if (end_items(ledger, batch, id, err) ||
        row_counts(ledger, SQL_COUNTS, DB_ARGS(db_int(id)), &counts, err))
        return -1;
    if (!counts.waiting)
        return ledger_batch_close(ledger, batch, false, ret_state, err);
    if (db_write(ledger, SQL_SETTLE_CLEAR, DB_ARGS(db_int(id)), err) < 0)
        return -1;
    changed = db_write(ledger, SQL_SETTLE_AGAIN, DB_ARGS(db_int(id)), err);
    *ret_state = BATCH_QUEUE;
    return changed < 0 ? -1 : 0;
}

int ledger_waits(struct ledger *ledger, ledger_waits_fn *each, void *ctx, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_WAITS, NULL, 0, err);
    char batch[SENDIT_ID_SIZE];
    int have = -1;

    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        id_of_batch(sqlite3_column_int64(stmt, 1), batch);
        if (each(ctx, db_column(stmt, 0), batch, (uint64_t)sqlite3_column_int64(stmt, 2))) {
            db_end(stmt);
            return 0;
        }
    }
    return have;
}

int ledger_waiting(struct ledger *ledger, bool run_only, uint64_t *ret_n, struct err *err)
{
    int64_t n;

    if (db_number(ledger, SQL_WAITING, DB_ARGS(run_only ? db_int(ledger->run) : db_optional(NULL)),
                  &n, err))
        return -1;
    *ret_n = (uint64_t)n;
    return 0;
}

int ledger_waits_next(struct ledger *ledger, const char *stage, const char *after,
                      char ret_batch[SENDIT_ID_SIZE], struct err *err)
{
    int64_t behind = 0, batch;
    int have;

    if (after && *after && id_batch(after, &behind, err))
        return -1;
    have = db_number(ledger, SQL_WAITS_NEXT, DB_ARGS(db_text(stage), db_int(behind)), &batch, err);
    if (!have)
        id_of_batch(batch, ret_batch);
    return have;
}
