/* SPDX-License-Identifier: Apache-2.0 */
/* items.c - batches and items at work: claims, verdicts, the end of a batch, who has a UID. */
#include "ledger/db.h"

#include <string.h>

#define CHANGE_AT_ONCE 1000

/* ---- batches ---- */

static int get_batch(struct ledger *ledger, int64_t id, struct ledger_batch *ret_batch,
                     struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_BATCH, DB_ARGS(db_int(id)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;
    int result;

    if (have != 1)
        return have ? -1 : 1;
    result = row_batch(ledger, stmt, ret_batch, err);
    db_end(stmt);
    return result;
}

int ledger_batch_get(struct ledger *ledger, const char *id, struct ledger_batch *ret_batch,
                     struct err *err)
{
    int64_t batch;

    return id_parse_batch(id, &batch) ? 1 : get_batch(ledger, batch, ret_batch, err);
}

int change_many(struct ledger *ledger, enum statement which, struct db_arg *args, size_t n,
                struct err *err)
{
    int64_t first = args[0].n, last;

    if (db_number(ledger, SQL_LAST_ITEM, args, 2, &last, err))
        return -1;
    for (; first <= last; first += CHANGE_AT_ONCE) {
        args[0] = db_int(first);
        args[1] = db_int(first + CHANGE_AT_ONCE - 1 < last ? first + CHANGE_AT_ONCE - 1 : last);
        if (db_write(ledger, which, args, n, err) < 0)
            return -1;
    }
    return 0;
}

static int unpass(struct ledger *ledger, int64_t first, int64_t last, struct err *err)
{
    struct db_arg args[] = {db_int(first), db_int(last)};

    return change_many(ledger, SQL_UNPASS, args, 2, err);
}

/* Back to QUEUE, or HELD if all that is left of it rests elsewhere.  What passed in a try that did
 * not finish would else be taken for done by the next one. */
static int requeue(struct ledger *ledger, int64_t batch, struct err *err)
{
    int64_t changed;

    if (unpass(ledger, ID_FIRST(batch), ID_LAST(batch), err) ||
        db_write(ledger, SQL_SETTLE_CLEAR, DB_ARGS(db_int(batch)), err) < 0)
        return -1;
    changed = db_write(ledger, SQL_RELEASE, DB_ARGS(db_int(batch)), err);
    if (!changed)
        return db_misuse(err, "a batch back in the queue that is not at work");
    return changed < 0 ? -1 : 0;
}

int ledger_recover(struct ledger *ledger, struct err *err)
{
    int64_t batch = 0;
    int have;

    while (!(have = db_number(ledger, SQL_PROCESSING, DB_ARGS(db_int(batch)), &batch, err)))
        if (requeue(ledger, batch, err))
            return -1;
    return have < 0 ? -1 : 0;
}

int ledger_release(struct ledger *ledger, const char *batch, struct err *err)
{
    int64_t id;

    return id_batch(batch, &id, err) ? -1 : requeue(ledger, id, err);
}

int ledger_claim(struct ledger *ledger, struct ledger_batch *ret_batch, struct err *err)
{
    int64_t id;
    int have = db_number(ledger, SQL_QUEUED, NULL, 0, &id, err);

    if (have)
        return have;
    if (db_write(ledger, SQL_CLAIM, DB_ARGS(db_int(id), db_int(db_now_ms()), db_run(ledger)), err) <
        0)
        return -1;
    return get_batch(ledger, id, ret_batch, err) ? -1 : 0;
}

int ledger_batch_close(struct ledger *ledger, const char *batch, bool stopped, int *ret_state,
                       struct err *err)
{
    enum ledger_batch_state state = BATCH_DONE;
    struct ledger_counts counts;
    int64_t id, changed;

    if (id_batch(batch, &id, err) ||
        row_counts(ledger, SQL_COUNTS, DB_ARGS(db_int(id)), &counts, err))
        return -1;
    if (counts.waiting)
        return db_misuse(err, "the end of a batch in which images wait");
    if (stopped || counts.failed)
        state = BATCH_ERROR;
    else if (!counts.stored && !counts.checked)
        state = BATCH_EMPTY;
    if (db_write(ledger, SQL_SETTLE_CLEAR, DB_ARGS(db_int(id)), err) < 0)
        return -1;
    changed =
        db_write(ledger, SQL_CLOSE,
                 DB_ARGS(db_int(id), db_text(ledger_batch_word(state)), db_int(db_now_ms())), err);
    if (!changed)
        return db_misuse(err, "the end of a batch that is not at work");
    if (changed < 0)
        return -1;
    *ret_state = (int)state;
    return 0;
}

int ledger_done_pending(struct ledger *ledger, int (*each)(void *ctx, const char *batch), void *ctx,
                        struct err *err)
{
    char id[SENDIT_ID_SIZE];
    int64_t batch = 0;
    int have;

    while (!(have = db_number(ledger, SQL_DUE, DB_ARGS(db_int(batch)), &batch, err))) {
        id_of_batch(batch, id);
        if (each(ctx, id))
            return 0;
    }
    return have < 0 ? -1 : 0;
}

int ledger_done_settled(struct ledger *ledger, const char *batch, struct err *err)
{
    int64_t id;

    if (id_batch(batch, &id, err))
        return -1;
    return db_write(ledger, SQL_SETTLED, DB_ARGS(db_int(id)), err) < 0 ? -1 : 0;
}

/* ---- items, one by one ---- */

static int show_items(struct ledger *ledger, sqlite3_stmt *stmt, ledger_item_fn *each, void *ctx,
                      struct err *err)
{
    struct item_row row;
    int have = -1;

    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        int result = row_item(ledger, stmt, &row, err);

        if (result || each(ctx, &row.item)) {
            db_end(stmt);
            return result;
        }
    }
    return have;
}

int ledger_items(struct ledger *ledger, const char *batch, int state, ledger_item_fn *each,
                 void *ctx, struct err *err)
{
    const char *word = state ? ledger_item_word((enum ledger_item_state)state) : NULL;
    int64_t id;

    if (id_batch(batch, &id, err))
        return -1;
    return show_items(
        ledger,
        db_query(ledger, SQL_ITEMS,
                 DB_ARGS(db_int(ID_FIRST(id)), db_int(ID_LAST(id)), db_optional(word)), err),
        each, ctx, err);
}

int ledger_items_after(struct ledger *ledger, const char *batch, const char *after, size_t max,
                       ledger_item_fn *each, void *ctx, struct err *err)
{
    int64_t id, behind;

    if (id_batch(batch, &id, err) || id_item_or_batch(after, batch, &behind, err))
        return -1;
    return show_items(
        ledger,
        db_query(ledger, SQL_ITEMS_AFTER,
                 DB_ARGS(db_int(behind), db_int(ID_LAST(id)), db_int((int64_t)(max & INT32_MAX))),
                 err),
        each, ctx, err);
}

static int one_item(struct ledger *ledger, int64_t id, struct item_row *ret_row,
                    sqlite3_stmt **ret_stmt, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_ITEM, DB_ARGS(db_int(id)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;

    if (have != 1)
        return have ? -1 : 1;
    if (row_item(ledger, stmt, ret_row, err)) {
        db_end(stmt);
        return -1;
    }
    *ret_stmt = stmt; /* the row lives as long as it is not ended */
    return 0;
}

int ledger_item_get(struct ledger *ledger, const char *id, ledger_item_fn *each, void *ctx,
                    struct err *err)
{
    struct item_row row;
    sqlite3_stmt *stmt;
    int64_t item;
    int result;

    if (id_parse_item(id, &item))
        return 1;
    result = one_item(ledger, item, &row, &stmt, err);
    if (result)
        return result;
    each(ctx, &row.item);
    db_end(stmt);
    return 0;
}

/* A write of one item changed nothing: it has ended, or is not there. */
static int must_exist(struct ledger *ledger, int64_t item, struct err *err)
{
    int64_t attempt;
    int have = db_number(ledger, SQL_ITEM_EXISTS, DB_ARGS(db_int(item)), &attempt, err);

    return have == 1 ? db_misuse(err, "an image that it does not have") : have;
}

int ledger_item_tried(struct ledger *ledger, const char *id, uint32_t *ret_attempt, struct err *err)
{
    int64_t item, attempt;

    if (id_item(id, NULL, &item, err) ||
        db_write(ledger, SQL_TRIED, DB_ARGS(db_int(item)), err) < 0)
        return -1;
    if (must_exist(ledger, item, err) ||
        db_number(ledger, SQL_ITEM_EXISTS, DB_ARGS(db_int(item)), &attempt, err))
        return -1;
    *ret_attempt = (uint32_t)attempt;
    return 0;
}

int ledger_item_killed(struct ledger *ledger, const char *id, uint32_t *ret_kills, struct err *err)
{
    int64_t item, kills;
    int have;

    if (id_item(id, NULL, &item, err) ||
        db_write(ledger, SQL_KILLED, DB_ARGS(db_int(item)), err) < 0)
        return -1;
    have = db_number(ledger, SQL_KILLS, DB_ARGS(db_int(item)), &kills, err);
    if (have)
        return have < 0 ? -1 : db_misuse(err, "an image that it does not have");
    *ret_kills = (uint32_t)kills;
    return 0;
}

int ledger_item_changed(struct ledger *ledger, const struct ledger_item *item, struct err *err)
{
    int64_t id, changed;

    if (id_item(item->id, item->batch, &id, err))
        return -1;
    changed = db_write(ledger, SQL_CHANGED,
                       DB_ARGS(db_int(id), db_int((int64_t)item->dev), db_int((int64_t)item->ino),
                               db_int((int64_t)item->size), db_int(item->mtime_ns)),
                       err);
    if (!changed)
        return must_exist(ledger, id, err);
    return changed < 0 || db_write(ledger, SQL_OUTDATE, DB_ARGS(db_int(id)), err) < 0 ? -1 : 0;
}

int ledger_item_decide(struct ledger *ledger, const struct ledger_item *item, struct err *err)
{
    const char *word = ledger_item_word((enum ledger_item_state)item->state);
    int64_t id, changed;

    if (!*word || item->state == ITEM_WAITING)
        return db_misuse(err, "an end of an image that is none");
    if (id_item(item->id, item->batch, &id, err))
        return -1;
    changed = db_write(ledger, SQL_DECIDE,
                       DB_ARGS(db_int(id), db_text(word), db_text(item->stage), db_text(item->code),
                               db_cut(item->text), db_text(item->labels),
                               db_text(item->header_digest), db_int((int64_t)item->pixel_length),
                               db_text(item->uid), db_int(db_now_ms()), db_run(ledger)),
                       err);
    if (!changed)
        return must_exist(ledger, id, err);
    return changed < 0 ? -1 : 0;
}

int ledger_item_passed(struct ledger *ledger, const struct ledger_item *item, struct err *err)
{
    int64_t id, changed;

    if (id_item(item->id, item->batch, &id, err))
        return -1;
    changed = db_write(ledger, SQL_PASSED,
                       DB_ARGS(db_int(id), db_text(item->labels), db_text(item->header_digest),
                               db_int((int64_t)item->pixel_length), db_text(item->uid)),
                       err);
    if (!changed)
        return must_exist(ledger, id, err);
    return changed < 0 ? -1 : 0;
}

/* ---- items of a batch ---- */

int ledger_items_settle(struct ledger *ledger, const char *batch, int state, struct err *err)
{
    struct db_arg args[] = {db_int(0), db_int(0),
                            db_text(ledger_item_word((enum ledger_item_state)state)),
                            db_int(db_now_ms()), db_run(ledger)};
    int64_t id;

    if (state != ITEM_STORED && state != ITEM_CHECKED)
        return db_misuse(err, "images that passed and were neither stored nor checked");
    if (id_batch(batch, &id, err))
        return -1;
    args[0] = db_int(ID_FIRST(id));
    args[1] = db_int(ID_LAST(id));
    return change_many(ledger, SQL_SETTLE, args, 5, err);
}

int ledger_items_unpass(struct ledger *ledger, const char *batch, const char *item, struct err *err)
{
    int64_t id;

    if (id_item_or_batch(item, batch, &id, err))
        return -1;
    return unpass(ledger, id, item && *item ? id : id + LEDGER_MAX_ITEMS, err);
}

int ledger_items_fail(struct ledger *ledger, const char *batch, const char *code, const char *stage,
                      const char *text, struct err *err)
{
    struct db_arg args[] = {db_int(0),    db_int(0),           db_text(stage), db_text(code),
                            db_cut(text), db_int(db_now_ms()), db_run(ledger)};
    int64_t id;

    if (id_batch(batch, &id, err))
        return -1;
    args[0] = db_int(ID_FIRST(id));
    args[1] = db_int(ID_LAST(id));
    return change_many(ledger, SQL_FAIL, args, 7, err);
}

/* ---- instances ---- */

static int put_instance(struct ledger *ledger, const char *uid, int64_t id,
                        const struct ledger_item *item, struct err *err)
{
    int64_t changed =
        db_write(ledger, SQL_INSTANCE_PUT,
                 DB_ARGS(db_text(uid), db_int(id), db_int(id >> 24), db_text(item->header_digest),
                         db_int((int64_t)item->pixel_length)),
                 err);

    if (!changed)
        return db_misuse(err, "a UID of an image that it does not have");
    return changed < 0 ? -1 : 0;
}

struct holder {
    int64_t item;
    uint64_t pixel_length;
    char header_digest[DIGEST_HEX];
    bool stands; /* in the way of others */
};

static int find_holder(struct ledger *ledger, const char *uid, struct holder *ret_holder,
                       struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_INSTANCE, DB_ARGS(db_text(uid)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;
    const char *digest;

    if (have != 1)
        return have ? -1 : 1;
    *ret_holder = (struct holder){.item = sqlite3_column_int64(stmt, 0),
                                  .pixel_length = (uint64_t)sqlite3_column_int64(stmt, 2),
                                  .stands = sqlite3_column_int(stmt, 3) != 0};
    digest = db_column(stmt, 1);
    memcpy(ret_holder->header_digest, digest,
           strnlen(digest, sizeof(ret_holder->header_digest) - 1));
    db_end(stmt);
    return 0;
}

static int show_holder(struct ledger *ledger, const struct holder *holder, ledger_item_fn *each,
                       void *ctx, struct err *err)
{
    struct item_row row;
    sqlite3_stmt *stmt;
    int result = one_item(ledger, holder->item, &row, &stmt, err);

    if (result)
        return result < 0 ? -1 : db_fail(ledger, SQLITE_CORRUPT, err);
    row.item.header_digest = holder->header_digest;
    row.item.pixel_length = holder->pixel_length;
    each(ctx, &row.item);
    db_end(stmt);
    return 1;
}

int ledger_instance(struct ledger *ledger, const char *uid, const struct ledger_item *item,
                    ledger_item_fn *each, void *ctx, struct err *err)
{
    struct holder holder;
    int64_t id;
    int have;

    if (!uid || !*uid)
        return db_misuse(err, "an image without a UID");
    if (id_item(item->id, item->batch, &id, err))
        return -1;
    have = find_holder(ledger, uid, &holder, err);
    if (have < 0)
        return -1;
    if (have == 0 && holder.stands && holder.item != id)
        return show_holder(ledger, &holder, each, ctx, err);
    return put_instance(ledger, uid, id, item, err);
}

int ledger_instance_take(struct ledger *ledger, const char *uid, const struct ledger_item *item,
                         struct err *err)
{
    int64_t id;

    if (!uid || !*uid)
        return db_misuse(err, "an image without a UID");
    if (id_item(item->id, item->batch, &id, err))
        return -1;
    return put_instance(ledger, uid, id, item, err);
}
