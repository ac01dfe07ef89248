/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - ids, the words of states, and rows as structs. */
#include "ledger/db.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ids ---- */

void id_of_batch(int64_t batch, char ret_id[SENDIT_ID_SIZE])
{
    snprintf(ret_id, SENDIT_ID_SIZE, "b%" PRId64, batch);
}

void id_of_item(int64_t item, char ret_id[SENDIT_ID_SIZE])
{
    snprintf(ret_id, SENDIT_ID_SIZE, "b%" PRId64 "-%06" PRId64, item >> 24,
             item & LEDGER_MAX_ITEMS);
}

/* Decimal digits, from 1 to `max`; NULL for anything else. */
static const char *parse_number(const char *text, int64_t max, int64_t *ret_number)
{
    int64_t n = 0;

    if (*text < '0' || *text > '9')
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        n = n * 10 + (*text - '0');
        if (n > max)
            return NULL;
    }
    *ret_number = n;
    return n ? text : NULL;
}

static const char *parse_batch(const char *id, int64_t *ret_batch)
{
    return id && *id == 'b' ? parse_number(id + 1, INT64_MAX >> 25, ret_batch) : NULL;
}

int id_parse_batch(const char *id, int64_t *ret_batch)
{
    const char *end = parse_batch(id, ret_batch);

    return end && !*end ? 0 : -1;
}

int id_parse_item(const char *id, int64_t *ret_item)
{
    int64_t batch, n;
    const char *at = parse_batch(id, &batch);

    at = at && *at == '-' ? parse_number(at + 1, LEDGER_MAX_ITEMS, &n) : NULL;
    if (!at || *at)
        return -1;
    *ret_item = ID_FIRST(batch) + n;
    return 0;
}

int id_batch(const char *id, int64_t *ret_batch, struct err *err)
{
    return id_parse_batch(id, ret_batch) ? db_misuse(err, "an id that is none of a batch") : 0;
}

int id_item(const char *id, const char *batch, int64_t *ret_item, struct err *err)
{
    int64_t of;

    if (id_parse_item(id, ret_item))
        return db_misuse(err, "an id that is none of an image");
    if (!batch)
        return 0;
    if (id_batch(batch, &of, err))
        return -1;
    return *ret_item >> 24 == of ? 0 : db_misuse(err, "an image of another batch");
}

int id_item_or_batch(const char *item, const char *batch, int64_t *ret_item, struct err *err)
{
    int64_t of;

    if (item && *item)
        return id_item(item, batch, ret_item, err);
    if (id_batch(batch, &of, err))
        return -1;
    *ret_item = ID_FIRST(of);
    return 0;
}

/* ---- words ---- */

static const char *const batch_words[] = {"",     "QUEUE", "PROCESSING", "DONEPROCESSING",
                                          "HELD", "DONE",  "EMPTY",      "ERROR"};
static const char *const item_words[] = {"",       "waiting", "stored", "checked", "quarantined",
                                         "failed", "ignored"};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static int find_word(const char *const *words, int n, const char *word)
{
    for (int i = 1; i < n; i++)
        if (!strcmp(words[i], word))
            return i;
    return 0;
}

const char *ledger_batch_word(enum ledger_batch_state state)
{
    return (int)state > 0 && (int)state < COUNT(batch_words) ? batch_words[state] : "";
}

const char *ledger_item_word(enum ledger_item_state state)
{
    return (int)state > 0 && (int)state < COUNT(item_words) ? item_words[state] : "";
}

int state_of_batch(const char *word)
{
    return find_word(batch_words, COUNT(batch_words), word);
}

int state_of_item(const char *word)
{
    return find_word(item_words, COUNT(item_words), word);
}

/* ---- rows ---- */

int row_item(struct ledger *ledger, sqlite3_stmt *stmt, struct item_row *row, struct err *err)
{
    struct ledger_item *item = &row->item;
    int64_t id = sqlite3_column_int64(stmt, 0);

    id_of_item(id, row->id);
    id_of_batch(id >> 24, row->batch);
    *item = (struct ledger_item){
        .id = row->id,
        .batch = row->batch,
        .path = db_column(stmt, 1),
        .dev = (uint64_t)sqlite3_column_int64(stmt, 2),
        .ino = (uint64_t)sqlite3_column_int64(stmt, 3),
        .size = (uint64_t)sqlite3_column_int64(stmt, 4),
        .mtime_ns = sqlite3_column_int64(stmt, 5),
        .state = state_of_item(db_column(stmt, 6)),
        .attempt = (uint32_t)sqlite3_column_int64(stmt, 7),
        .stage = db_column(stmt, 8),
        .code = db_column(stmt, 9),
        .text = db_column(stmt, 10),
        .labels = db_column(stmt, 11),
        .header_digest = db_column(stmt, 12),
        .pixel_length = (uint64_t)sqlite3_column_int64(stmt, 13),
        .uid = db_column(stmt, 14),
        .decided_ms = sqlite3_column_int64(stmt, 15),
        .dropped = sqlite3_column_int(stmt, 16) != 0,
        .rests = db_column(stmt, 17),
    };
    if (sqlite3_errcode(ledger->db) == SQLITE_NOMEM)
        return db_fail(ledger, SQLITE_NOMEM, err);
    return item->state && item->path[0] ? 0 : db_fail(ledger, SQLITE_CORRUPT, err);
}

/* An owned copy of a column that is not NULL. */
static int dup_column(sqlite3_stmt *stmt, int column, char **ret_text)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
        return 0;
    *ret_text = strdup(db_column(stmt, column));
    return *ret_text ? 0 : -1;
}

static int dup_batch_id(sqlite3_stmt *stmt, int column, char **ret_id)
{
    char id[SENDIT_ID_SIZE];

    if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
        return 0;
    id_of_batch(sqlite3_column_int64(stmt, column), id);
    *ret_id = strdup(id);
    return *ret_id ? 0 : -1;
}

static uint64_t *count_of(struct ledger_counts *counts, int state)
{
    switch (state) {
    case ITEM_WAITING:
        return &counts->waiting;
    case ITEM_STORED:
        return &counts->stored;
    case ITEM_CHECKED:
        return &counts->checked;
    case ITEM_QUARANTINED:
        return &counts->quarantined;
    case ITEM_FAILED:
        return &counts->failed;
    case ITEM_IGNORED:
        return &counts->ignored;
    default:
        return NULL;
    }
}

int row_counts(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
               struct ledger_counts *ret_counts, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, which, args, n, err);
    int have;

    memset(ret_counts, 0, sizeof(*ret_counts));
    if (!stmt)
        return -1;
    while ((have = db_step(ledger, stmt, err)) == 1) {
        uint64_t *count = count_of(ret_counts, state_of_item(db_column(stmt, 0)));
        uint64_t many = (uint64_t)sqlite3_column_int64(stmt, 1);

        if (!count) {
            db_end(stmt);
            return db_fail(ledger, SQLITE_CORRUPT, err);
        }
        *count += many;
        ret_counts->found += many;
    }
    return have;
}

int row_batch(struct ledger *ledger, sqlite3_stmt *stmt, struct ledger_batch *ret_batch,
              struct err *err)
{
    int64_t id = sqlite3_column_int64(stmt, 0);
    struct ledger_batch batch = {
        .state = state_of_batch(db_column(stmt, 3)),
        .attempt = (uint32_t)sqlite3_column_int64(stmt, 4),
        .when_done = sqlite3_column_int(stmt, 5),
        .queued_ms = sqlite3_column_int64(stmt, 7),
        .started_ms = sqlite3_column_int64(stmt, 8),
        .finished_ms = sqlite3_column_int64(stmt, 9),
        .bytes = (uint64_t)sqlite3_column_int64(stmt, 10),
    };

    id_of_batch(id, batch.id);
    if (dup_column(stmt, 1, &batch.key) || dup_batch_id(stmt, 2, &batch.continues) ||
        dup_column(stmt, 6, &batch.done_folder) || dup_column(stmt, 11, &batch.rests))
        db_fail(ledger, SQLITE_NOMEM, err);
    else if (!batch.state || !batch.key || !batch.rests)
        db_fail(ledger, SQLITE_CORRUPT, err);
    else if (!row_counts(ledger, SQL_COUNTS, DB_ARGS(db_int(id)), &batch.counts, err)) {
        *ret_batch = batch;
        return 0;
    }
    ledger_batch_fini(&batch);
    return -1;
}

void ledger_batch_fini(struct ledger_batch *batch)
{
    free(batch->key);
    free(batch->continues);
    free(batch->done_folder);
    free(batch->rests);
    memset(batch, 0, sizeof(*batch));
}
