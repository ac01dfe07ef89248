/* SPDX-License-Identifier: Apache-2.0 */
/* read.c - what status, log and quarantine show. */
#include "ledger/db.h"

int ledger_batches(struct ledger *ledger, bool run_only, ledger_batch_fn *each, void *ctx,
                   struct err *err)
{
    sqlite3_stmt *stmt =
        run_only ? db_query(ledger, SQL_BATCHES_OF_RUN, DB_ARGS(db_int(ledger->run)), err)
                 : db_query(ledger, SQL_BATCHES, NULL, 0, err);
    int have = -1;

    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        struct ledger_batch batch = {0};
        int result = row_batch(ledger, stmt, &batch, err), stop = 1;

        if (!result)
            stop = each(ctx, &batch);
        ledger_batch_fini(&batch);
        if (stop) {
            db_end(stmt);
            return result;
        }
    }
    return have;
}

int ledger_totals(struct ledger *ledger, bool run_only, struct ledger_counts *ret_counts,
                  struct err *err)
{
    return run_only ? row_counts(ledger, SQL_TOTALS_OF_RUN, DB_ARGS(db_int(ledger->run)),
                                 ret_counts, err)
                    : row_counts(ledger, SQL_TOTALS, NULL, 0, ret_counts, err);
}

/* Those of one batch; 1: the callback wants no more. */
static int show_messages(struct ledger *ledger, int64_t batch, ledger_message_fn *each, void *ctx,
                         struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_MESSAGES, DB_ARGS(db_int(batch)), err);
    char of[SENDIT_ID_SIZE], item[SENDIT_ID_SIZE];
    int have = -1;

    id_of_batch(batch, of);
    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        int64_t id = sqlite3_column_int64(stmt, 0);
        struct ledger_message message = {.batch = of,
                                         .item = item,
                                         .level = sqlite3_column_int(stmt, 1),
                                         .stage = db_column(stmt, 2),
                                         .code = db_column(stmt, 3),
                                         .text = db_column(stmt, 4),
                                         .times = (uint64_t)sqlite3_column_int64(stmt, 5),
                                         .at_ms = sqlite3_column_int64(stmt, 6)};

        item[0] = '\0';
        if (id != ID_FIRST(batch))
            id_of_item(id, item);
        if (each(ctx, &message)) {
            db_end(stmt);
            return 1;
        }
    }
    return have;
}

int ledger_messages(struct ledger *ledger, const char *batch, ledger_message_fn *each, void *ctx,
                    struct err *err)
{
    int64_t id = 0;
    int have;

    if (batch)
        return id_batch(batch, &id, err) || show_messages(ledger, id, each, ctx, err) < 0 ? -1 : 0;
    while (!(have = db_number(ledger, SQL_NEXT_ERROR, DB_ARGS(db_int(id)), &id, err))) {
        have = show_messages(ledger, id, each, ctx, err);
        if (have)
            return have < 0 ? -1 : 0;
    }
    return have < 0 ? -1 : 0;
}

int ledger_reasons(struct ledger *ledger, const char *batch, bool run_only, ledger_reason_fn *each,
                   void *ctx, struct err *err)
{
    struct db_arg args[2] = {{.type = DB_NULL}, db_int(ledger->run)};
    sqlite3_stmt *stmt;
    int64_t id;
    int have = -1;

    if (batch && id_batch(batch, &id, err))
        return -1;
    if (batch)
        args[0] = db_int(id);
    stmt = run_only ? db_query(ledger, SQL_REASONS_OF_RUN, args, 2, err)
                    : db_query(ledger, SQL_REASONS, args, 1, err);
    while (stmt && (have = db_step(ledger, stmt, err)) == 1)
        if (each(ctx, state_of_item(db_column(stmt, 0)), db_column(stmt, 1), db_column(stmt, 2),
                 (uint64_t)sqlite3_column_int64(stmt, 3))) {
            db_end(stmt);
            return 0;
        }
    return have;
}
