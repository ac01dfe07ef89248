/* SPDX-License-Identifier: Apache-2.0 */
/* keep.c - what services keep: facts, durable state, audit, crosswalk, metrics, messages. */
#include "ledger/db.h"

#include <stdlib.h>
#include <string.h>

/* ---- messages ---- */

static int add_message(struct ledger *ledger, const struct db_arg args[7], struct err *err)
{
    int64_t n = db_write(ledger, SQL_MESSAGE_AGAIN, args, 6, err);

    if (n < 0)
        return -1;
    if (n > 0)
        return 0;
    if (db_number(ledger, SQL_MESSAGE_COUNT, args, 1, &n, err))
        return -1;
    if (n > LEDGER_MAX_MESSAGES)
        return 0;
    if (n == LEDGER_MAX_MESSAGES) {
        const struct db_arg last[7] = {
            args[0],
            db_int(2),
            db_text("core"),
            db_text("log.more"),
            db_text("More different messages came than are kept; those after this are not."),
            args[5],
            db_int(ID_FIRST(args[0].n))};

        return db_write(ledger, SQL_MESSAGE_ADD, last, 7, err) < 0 ? -1 : 0;
    }
    return db_write(ledger, SQL_MESSAGE_ADD, args, 7, err) < 0 ? -1 : 0;
}

int ledger_message(struct ledger *ledger, const char *batch, const char *item, int level,
                   const char *stage, const char *code, const char *text, struct err *err)
{
    int64_t id;

    if (id_item_or_batch(item, batch, &id, err))
        return -1;
    return add_message(ledger,
                       (const struct db_arg[7]){db_int(id >> 24), db_int(level), db_text(stage),
                                                db_text(code), db_cut(text), db_int(db_now_ms()),
                                                db_int(id)},
                       err);
}

/* ---- facts ---- */

int ledger_fact_put(struct ledger *ledger, const char *batch, const char *item, const char *key,
                    const char *value, struct err *err)
{
    int64_t id;

    if (id_item_or_batch(item, batch, &id, err))
        return -1;
    return db_write(ledger, SQL_FACT_PUT, DB_ARGS(db_int(id), db_text(key), db_text(value)), err) <
                   0
               ? -1
               : 0;
}

int ledger_facts(struct ledger *ledger, const char *batch, const char *item, ledger_fact_fn *each,
                 void *ctx, struct err *err)
{
    sqlite3_stmt *stmt;
    int64_t id;
    int have = -1;

    if (id_item_or_batch(item, batch, &id, err))
        return -1;
    stmt = db_query(ledger, SQL_FACTS, DB_ARGS(db_int(id)), err);
    while (stmt && (have = db_step(ledger, stmt, err)) == 1)
        if (each(ctx, db_column(stmt, 0), db_column(stmt, 1))) {
            db_end(stmt);
            return 0;
        }
    return have;
}

/* ---- durable state of stages ---- */

int ledger_store_get(struct ledger *ledger, const char *stage, const char *key, void **ret_value,
                     size_t *ret_length, uint64_t *ret_revision, struct err *err)
{
    sqlite3_stmt *stmt =
        db_query(ledger, SQL_STORE_GET, DB_ARGS(db_text(stage), db_text(key)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;
    size_t length;
    void *value;

    if (have != 1)
        return have ? -1 : 1;
    length = (size_t)sqlite3_column_bytes(stmt, 0);
    value = malloc(length + 1);
    if (!value) {
        db_end(stmt);
        return err_set(err, ERR_PLACE, "no memory for the ledger");
    }
    if (length)
        memcpy(value, sqlite3_column_blob(stmt, 0), length);
    ((char *)value)[length] = '\0';
    *ret_value = value;
    *ret_length = length;
    *ret_revision = (uint64_t)sqlite3_column_int64(stmt, 1);
    db_end(stmt);
    return 0;
}

/* 0 for absent. */
static int revision_of(struct ledger *ledger, const char *stage, const char *key,
                       uint64_t *ret_revision, struct err *err)
{
    sqlite3_stmt *stmt =
        db_query(ledger, SQL_STORE_GET, DB_ARGS(db_text(stage), db_text(key)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;

    *ret_revision = 0;
    if (have != 1)
        return have;
    *ret_revision = (uint64_t)sqlite3_column_int64(stmt, 1);
    db_end(stmt);
    return 0;
}

int ledger_store_put(struct ledger *ledger, const char *stage, const char *key, const void *value,
                     size_t length, uint64_t expected, struct err *err)
{
    const struct db_arg args[] = {db_text(stage), db_text(key), db_blob(value, length)};
    uint64_t revision;

    if (revision_of(ledger, stage, key, &revision, err))
        return -1;
    if (revision != expected)
        return 1;
    if (!value)
        return db_write(ledger, SQL_STORE_DELETE, args, 2, err) < 0 ? -1 : 0;
    if (db_write(ledger, SQL_STORE_REVISION, NULL, 0, err) < 0 ||
        db_write(ledger, SQL_STORE_PUT, args, 3, err) < 0)
        return -1;
    return 0;
}

/* An owned copy of the first column of the one row; 1 without a row. */
static int dup_first(struct ledger *ledger, sqlite3_stmt *stmt, char **ret_text,
                     int64_t *ret_number, struct err *err)
{
    int have = stmt ? db_step(ledger, stmt, err) : -1;

    if (have != 1)
        return have ? -1 : 1;
    *ret_text = strdup(db_column(stmt, 0));
    if (ret_number)
        *ret_number = sqlite3_column_int64(stmt, 1);
    db_end(stmt);
    return *ret_text ? 0 : err_set(err, ERR_PLACE, "no memory for the ledger");
}

int ledger_store_next(struct ledger *ledger, const char *stage, const char *key, char **ret_key,
                      struct err *err)
{
    return dup_first(ledger,
                     db_query(ledger, SQL_STORE_NEXT, DB_ARGS(db_text(stage), db_text(key)), err),
                     ret_key, NULL, err);
}

int ledger_audit(struct ledger *ledger, const char *stage, const char *event, const char *json,
                 struct err *err)
{
    return db_write(ledger, SQL_AUDIT,
                    DB_ARGS(db_int(db_now_ms()), db_run(ledger), db_text(stage), db_text(event),
                            db_text(json)),
                    err) < 0
               ? -1
               : 0;
}

/* ---- the crosswalk ---- */

int ledger_crosswalk_get(struct ledger *ledger, const char *domain, const char *original,
                         char **ret_pseudonym, int64_t *ret_since_ms, struct err *err)
{
    return dup_first(
        ledger,
        db_query(ledger, SQL_CROSSWALK_GET, DB_ARGS(db_text(domain), db_text(original)), err),
        ret_pseudonym, ret_since_ms, err);
}

int ledger_crosswalk_note(struct ledger *ledger, const char *domain, const char *original,
                          const char *pseudonym, struct err *err)
{
    return db_write(
               ledger, SQL_CROSSWALK_PUT,
               DB_ARGS(db_text(domain), db_text(original), db_text(pseudonym), db_int(db_now_ms())),
               err) < 0
               ? -1
               : 0;
}

int ledger_crosswalk_put(struct ledger *ledger, const char *domain, const char *original,
                         const char *proposed, char **ret_pseudonym, struct err *err)
{
    int64_t since;

    if (ledger_crosswalk_note(ledger, domain, original, proposed, err))
        return -1;
    return ledger_crosswalk_get(ledger, domain, original, ret_pseudonym, &since, err);
}

/* ---- metrics ---- */

int ledger_metric(struct ledger *ledger, const char *batch, const char *stage, const char *name,
                  int64_t delta, struct err *err)
{
    int64_t id = 0;

    if (*batch && id_batch(batch, &id, err))
        return -1;
    return db_write(ledger, SQL_METRIC,
                    DB_ARGS(db_int(id), db_text(stage), db_text(name), db_int(delta)), err) < 0
               ? -1
               : 0;
}
