/* SPDX-License-Identifier: Apache-2.0 */
/* again.c - second visits: what people decide about images in quarantine, batches taken again. */
#include "ledger/db.h"

#include <string.h>

/* ---- decisions ---- */

/* It waits again; what an earlier try left of it would else be taken for this one's. */
static int put_back(struct ledger *ledger, int64_t item, bool from_held, struct err *err)
{
    return db_write(ledger, SQL_AGAIN, DB_ARGS(db_int(item), db_int(from_held)), err) < 0 ? -1 : 0;
}

int ledger_decide(struct ledger *ledger, const struct ledger_decision *decision, struct err *err)
{
    int64_t item, changed;

    if (id_item(decision->item, NULL, &item, err))
        return -1;
    if (!decision->because || !*decision->because || !decision->user || !*decision->user)
        return db_misuse(err, "a decision without a reason, or of nobody");
    if (decision->dropped && decision->vouched && *decision->vouched)
        return db_misuse(err, "a label for an image that is dropped");
    changed = db_write(
        ledger, SQL_DECISION,
        DB_ARGS(db_int(item), db_int(db_now_ms()), db_text(decision->dropped ? "drop" : "release"),
                db_text(decision->vouched), db_cut(decision->because), db_cut(decision->user)),
        err);
    if (!changed)
        return db_misuse(err, "a decision about an image that is not held, or was dropped");
    if (changed < 0)
        return -1;
    if (decision->dropped)
        return db_write(ledger, SQL_DROP, DB_ARGS(db_int(item)), err) < 0 ? -1 : 0;
    /* A batch that is at work stays what it is. */
    return put_back(ledger, item, true, err) ||
                   db_write(ledger, SQL_REOPEN_FOR, DB_ARGS(db_int(item >> 24), db_int(item)),
                            err) < 0
               ? -1
               : 0;
}

int ledger_decisions(struct ledger *ledger, const char *id, ledger_decision_fn *each, void *ctx,
                     struct err *err)
{
    char item[SENDIT_ID_SIZE];
    int64_t first, last, batch;
    sqlite3_stmt *stmt;
    int have = -1;

    if (!id_parse_batch(id, &batch)) {
        first = ID_FIRST(batch);
        last = ID_LAST(batch);
    } else if (id_item(id, NULL, &first, err)) {
        return -1;
    } else {
        last = first;
    }
    stmt = db_query(ledger, SQL_DECISIONS, DB_ARGS(db_int(first), db_int(last)), err);
    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        const struct ledger_decision decision = {.item = item,
                                                 .at_ms = sqlite3_column_int64(stmt, 1),
                                                 .dropped = !strcmp(db_column(stmt, 2), "drop"),
                                                 .applies = sqlite3_column_int(stmt, 3) != 0,
                                                 .stage = db_column(stmt, 4),
                                                 .code = db_column(stmt, 5),
                                                 .vouched = db_column(stmt, 6),
                                                 .because = db_column(stmt, 7),
                                                 .user = db_column(stmt, 8)};

        id_of_item(sqlite3_column_int64(stmt, 0), item);
        if (each(ctx, &decision)) {
            db_end(stmt);
            return 0;
        }
    }
    return have;
}

int ledger_dropped(struct ledger *ledger, const char *batch, uint64_t *ret_n, struct err *err)
{
    int64_t first = 0, last = INT64_MAX, n;

    if (batch) {
        if (id_batch(batch, &first, err))
            return -1;
        last = ID_LAST(first);
        first = ID_FIRST(first);
    }
    if (db_number(ledger, SQL_DROPPED, DB_ARGS(db_int(first), db_int(last)), &n, err))
        return -1;
    *ret_n = (uint64_t)n;
    return 0;
}

/* ---- a batch again ---- */

struct again {
    struct ledger *ledger;
    bool all, held; /* held: the batch rests */
    ledger_item_fn *stays;
    void *ctx;
    uint64_t n;
    struct err *err;
    bool broken; /* `err` is set */
};

static bool is_taken(const struct again *again, const struct ledger_item *item)
{
    if (item->state == ITEM_FAILED)
        return true;
    if (item->state == ITEM_WAITING)
        return again->held && *item->rests;
    return again->all && !item->dropped &&
           (item->state == ITEM_STORED || item->state == ITEM_CHECKED ||
            item->state == ITEM_QUARANTINED);
}

static int take_again(void *ctx, const struct ledger_item *item)
{
    struct again *again = ctx;
    int64_t id;

    if (!is_taken(again, item) || (again->stays && again->stays(again->ctx, item)))
        return 0;
    again->n++;
    again->broken =
        id_item(item->id, NULL, &id, again->err) ||
        put_back(again->ledger, id, item->state == ITEM_FAILED && !again->held, again->err);
    return again->broken;
}

int ledger_again(struct ledger *ledger, const char *batch, bool all, ledger_item_fn *stays,
                 void *ctx, uint64_t *ret_n, struct err *err)
{
    struct again again = {.ledger = ledger, .all = all, .stays = stays, .ctx = ctx, .err = err};
    struct ledger_batch now;
    int64_t id, changed;
    bool closed;
    int have;

    if (id_batch(batch, &id, err))
        return -1;
    have = ledger_batch_get(ledger, batch, &now, err);
    if (have)
        return have < 0 ? -1 : db_misuse(err, "a batch that it does not have");
    closed = now.state == BATCH_DONE || now.state == BATCH_EMPTY || now.state == BATCH_ERROR;
    again.held = now.state == BATCH_HELD;
    ledger_batch_fini(&now);
    if (!closed && !again.held)
        return db_misuse(err, "a batch again that is not closed");
    if (ledger_items(ledger, batch, 0, take_again, &again, err) || again.broken)
        return -1;
    *ret_n = again.n;
    if (!again.n)
        return 0;
    changed = db_write(ledger, SQL_REOPEN, DB_ARGS(db_int(id)), err);
    return changed < 0 ? -1 : 0;
}

/* ---- the run that had it ---- */

static int show_run(struct ledger *ledger, int64_t run, ledger_run_fn *each, void *ctx,
                    struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_RUN, DB_ARGS(db_int(run)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;
    struct ledger_run row = {0};

    if (have != 1)
        return have ? -1 : 1;
    row.version = db_column(stmt, 0);
    row.pipeline_digest = db_column(stmt, 1);
    row.key_fingerprint = db_column(stmt, 2);
    row.because = db_column(stmt, 3);
    each(ctx, &row);
    db_end(stmt);
    return 0;
}

static int show_stages(struct ledger *ledger, int64_t run, ledger_stage_fn *each, void *ctx,
                       struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_RUN_STAGES, DB_ARGS(db_int(run)), err);
    int have = -1;

    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        const struct ledger_stage row = {.id = db_column(stmt, 0),
                                         .name = db_column(stmt, 1),
                                         .version = db_column(stmt, 2),
                                         .digest = db_column(stmt, 3),
                                         .path = db_column(stmt, 4),
                                         .grants = db_column(stmt, 5),
                                         .ships = sqlite3_column_int(stmt, 6) != 0,
                                         .rules = db_column(stmt, 7)};

        if (each(ctx, &row)) {
            db_end(stmt);
            return 0;
        }
    }
    return have;
}

int ledger_run_of(struct ledger *ledger, const char *batch, ledger_run_fn *run,
                  ledger_stage_fn *stage, void *ctx, struct err *err)
{
    int64_t id, of;
    int result;

    if (id_batch(batch, &id, err))
        return -1;
    result = db_number(ledger, SQL_RUN_OF, DB_ARGS(db_int(id)), &of, err);
    if (!result)
        result = show_run(ledger, of, run, ctx, err);
    return result || !stage ? result : show_stages(ledger, of, stage, ctx, err);
}
