/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.c - from what a source names to a batch in QUEUE.
 *
 * The files go into the table `feed`, whose key sorts them by path, and from there into `item` one
 * by one: memory does not grow with the batch.  All of it is one transaction of a batch, or none.
 */
#include "ledger/db.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void ledger_feed_forget(struct ledger *ledger)
{
    free(ledger->feed.key);
    free(ledger->feed.folder);
    memset(&ledger->feed, 0, sizeof(ledger->feed));
}

int ledger_feed_open(struct ledger *ledger, const char *key, struct err *err)
{
    if (ledger->feed.open || !key || !*key)
        return db_misuse(err, "a feed inside a feed, or one without a key");
    if (db_write(ledger, SQL_FEED_CLEAR, NULL, 0, err) < 0)
        return -1;
    ledger->feed.key = strdup(key);
    if (!ledger->feed.key)
        return err_set(err, ERR_PLACE, "no memory for the ledger");
    ledger->feed.open = true;
    return 0;
}

int ledger_feed_add(struct ledger *ledger, const struct ledger_file *file, struct err *err)
{
    int state = file->failed ? ITEM_FAILED : file->ignored ? ITEM_IGNORED : ITEM_WAITING;
    const char *code = file->failed && !file->ignored ? "import.unreadable" : file->ignored;
    size_t pending = ledger->pending;
    int64_t added;

    if (!ledger->feed.open || !file->path || !*file->path)
        return db_misuse(err, "a file outside a feed, or one without a path");
    if (ledger->feed.n >= LEDGER_MAX_ITEMS)
        return err_set(err, ERR_REFUSED,
                       "a batch has more than %" PRId64 " files: split its folder",
                       LEDGER_MAX_ITEMS);
    added = db_write(
        ledger, SQL_FEED_ADD,
        DB_ARGS(db_path(file->path), db_int((int64_t)file->dev), db_int((int64_t)file->ino),
                db_int((int64_t)file->size), db_int(file->mtime_ns),
                db_text(ledger_item_word((enum ledger_item_state)state)), db_text(code)),
        err);
    if (added < 0)
        return -1;
    ledger->feed.n += added;
    ledger->pending = pending; /* nobody waits for it before the batch is closed */
    return 0;
}

int ledger_feed_when_done(struct ledger *ledger, int how, const char *folder, struct err *err)
{
    char *copy = folder ? strdup(folder) : NULL;

    if (folder && !copy)
        return err_set(err, ERR_PLACE, "no memory for the ledger");
    if (!ledger->feed.open || how < SENDIT_LEAVE || how > SENDIT_DELETE ||
        (how == SENDIT_MOVE && (!folder || !*folder))) {
        free(copy);
        return db_misuse(err, "what to do with originals that are done");
    }
    free(ledger->feed.folder);
    ledger->feed.folder = copy;
    ledger->feed.when_done = how;
    return 0;
}

/* ---- closing ---- */

/* Take away what an earlier batch of that key has and did not fail on. */
static int forget_known(struct ledger *ledger, int64_t batch, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_KNOWN_ITEMS,
                                  DB_ARGS(db_int(ID_FIRST(batch)), db_int(ID_LAST(batch))), err);
    int have = -1;

    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        const struct db_arg path =
            db_blob(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));

        if (db_write(ledger, SQL_FEED_KNOWN,
                     DB_ARGS(path, db_int(sqlite3_column_int64(stmt, 1)),
                             db_int(sqlite3_column_int64(stmt, 2))),
                     err) < 0) {
            db_end(stmt);
            return -1;
        }
    }
    return have;
}

/* The first batch of the key, 0 for none.  1: one of them is still in QUEUE. */
static int known_batches(struct ledger *ledger, int64_t *ret_first, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_KEY_BATCHES, DB_ARGS(db_path(ledger->feed.key)), err);
    int have = -1;

    *ret_first = 0;
    while (stmt && (have = db_step(ledger, stmt, err)) == 1) {
        int64_t id = sqlite3_column_int64(stmt, 0);
        bool queued = state_of_batch(db_column(stmt, 1)) == BATCH_QUEUE;

        if (!*ret_first)
            *ret_first = id;
        if (queued || forget_known(ledger, id, err)) {
            db_end(stmt);
            return queued ? 1 : -1;
        }
    }
    return have;
}

static int add_item(struct ledger *ledger, sqlite3_stmt *stmt, int64_t id, int64_t now,
                    struct err *err)
{
    const char *state = db_column(stmt, 5);
    bool waits = state_of_item(state) == ITEM_WAITING;
    const struct db_arg path =
        db_blob(sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));

    return db_write(ledger, SQL_ITEM_ADD,
                    DB_ARGS(db_int(id), path, db_int(sqlite3_column_int64(stmt, 1)),
                            db_int(sqlite3_column_int64(stmt, 2)),
                            db_int(sqlite3_column_int64(stmt, 3)),
                            db_int(sqlite3_column_int64(stmt, 4)), db_text(state),
                            db_text(db_column(stmt, 6)), db_int(waits ? 0 : now),
                            waits ? (struct db_arg){.type = DB_NULL} : db_run(ledger)),
                    err) < 0
               ? -1
               : 0;
}

static int add_items(struct ledger *ledger, int64_t batch, int64_t now, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_FEED_ALL, NULL, 0, err);
    int64_t id = ID_FIRST(batch);
    int have = -1;

    while (stmt && (have = db_step(ledger, stmt, err)) == 1)
        if (add_item(ledger, stmt, ++id, now, err)) {
            db_end(stmt);
            return -1;
        }
    return have;
}

static int make_batch(struct ledger *ledger, int64_t first, char ret_batch[SENDIT_ID_SIZE],
                      struct err *err)
{
    const struct feed *feed = &ledger->feed;
    int64_t now = db_now_ms(), bytes, batch;

    if (db_number(ledger, SQL_FEED_BYTES, NULL, 0, &bytes, err) ||
        db_write(ledger, SQL_BATCH_ADD,
                 DB_ARGS(db_path(feed->key),
                         first ? db_int(first) : (struct db_arg){.type = DB_NULL},
                         db_int(feed->when_done), db_path(feed->folder), db_int(now), db_int(bytes),
                         db_run(ledger)),
                 err) < 0)
        return -1;
    batch = sqlite3_last_insert_rowid(ledger->db);
    if (add_items(ledger, batch, now, err))
        return -1;
    id_of_batch(batch, ret_batch);
    return 0;
}

int ledger_feed_close(struct ledger *ledger, char ret_batch[SENDIT_ID_SIZE], struct err *err)
{
    int64_t first, worth;
    int result;

    if (!ledger->feed.open)
        return db_misuse(err, "the end of a feed that is not open");
    result = known_batches(ledger, &first, err);
    if (!result) /* ignored files alone make no second batch */
        result = db_number(ledger, SQL_FEED_WORTH, DB_ARGS(db_int(!first)), &worth, err);
    if (!result)
        result = make_batch(ledger, first, ret_batch, err);
    if (result >= 0 && db_write(ledger, SQL_FEED_CLEAR, NULL, 0, err) < 0)
        result = -1;
    ledger_feed_forget(ledger);
    return result < 0 ? db_give_up(ledger, err) : result;
}
