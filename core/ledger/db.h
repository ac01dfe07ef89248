/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db.h - inside ledger/: the database handle, its statements, ids.
 *
 * A statement is prepared once and kept.  The first write after a commit begins a transaction.  A
 * write that fails rolls all of it back and sets `lost`: the caller believes in rows that are gone,
 * so nothing is written through this handle any more, and every later write gives that error.
 */
#ifndef SENDIT_LEDGER_DB_H
#define SENDIT_LEDGER_DB_H

#include <sqlite3.h>

#include "ledger/ledger.h"
#include "ledger/statements.h"

#define LEDGER_MAX_ITEMS ((INT64_C(1) << 24) - 1) /* of one batch */
#define LEDGER_MAX_VALUE (8 << 20)                /* bytes of a row or of one value in it */
#define LEDGER_MAX_TEXT 2000                      /* bytes of a message; the rest is cut */
#define LEDGER_MAX_MESSAGES 1000                  /* different ones of a batch */

struct feed {
    bool open;
    char *key; /* PHI, owned */
    int when_done;
    char *folder; /* PHI, owned */
    int64_t n;    /* files of it so far */
};

struct ledger {
    sqlite3 *db;
    char *state; /* the folder, as the user wrote it */
    int lock;    /* descriptor that holds the flock, -1 in a reader */
    bool reads;  /* opened to read */
    bool lost;   /* `why` is what the transaction broke off with */
    struct err why;
    size_t pending;
    bool unsynced; /* the log has commits that may still be in memory alone */
    int64_t run;   /* this one; in a reader the last one; 0 for none */
    char uuid[33];
    char fingerprint[128];
    struct feed feed;
    sqlite3_stmt *statements[N_STATEMENTS];
};

/* A value to bind; borrowed until the statement is reset. */
struct db_arg {
    enum { DB_INT, DB_TEXT, DB_BLOB, DB_NULL } type;
    int64_t n; /* or the length */
    const void *data;
};
struct db_arg db_int(int64_t n);
struct db_arg db_text(const char *text);     /* NULL goes as "" */
struct db_arg db_optional(const char *text); /* NULL goes as NULL */
struct db_arg db_path(const char *text);     /* as a BLOB; NULL goes as NULL */
struct db_arg db_blob(const void *data, size_t len);
struct db_arg db_cut(const char *text); /* of LEDGER_MAX_TEXT bytes at most, whole UTF-8 */
struct db_arg db_run(const struct ledger *ledger);

#define DB_ARGS(...)                                                                               \
    (const struct db_arg[]){__VA_ARGS__},                                                          \
        sizeof((const struct db_arg[]){__VA_ARGS__}) / sizeof(struct db_arg)

/* Fill `err` from what SQLite answered; -1. */
int db_fail(const struct ledger *ledger, int rc, struct err *err);
/* A caller's mistake; -1. */
int db_misuse(struct err *err, const char *what);

/* Run a statement that changes rows; their number, or -1. */
int64_t db_write(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
                 struct err *err);
/* Change the items from `first` to `last`, args[0] and args[1], in pieces: SQLite keeps what one
 * statement changed in memory until it has ended.  In items.c. */
int change_many(struct ledger *ledger, enum statement which, struct db_arg *args, size_t n,
                struct err *err);
/* Several changes belong together and one of them failed otherwise than in db_write(): -1. */
int db_give_up(struct ledger *ledger, const struct err *err);
/* A bound statement for db_step(), or NULL.  It must not be in use further up. */
sqlite3_stmt *db_query(struct ledger *ledger, enum statement which, const struct db_arg *args,
                       size_t n, struct err *err);
/* 1 a row, 0 the end, -1; the last two reset it. */
int db_step(struct ledger *ledger, sqlite3_stmt *stmt, struct err *err);
void db_end(sqlite3_stmt *stmt); /* before its end */
/* Of a query with one number: 0, or 1 without a row, or -1. */
int db_number(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
              int64_t *ret_number, struct err *err);
/* A column, "" for NULL. */
const char *db_column(sqlite3_stmt *stmt, int column);

int64_t db_now_ms(void);

/* ---- ids ---- */

void id_of_batch(int64_t batch, char ret_id[SENDIT_ID_SIZE]);
void id_of_item(int64_t item, char ret_id[SENDIT_ID_SIZE]);
/* -1 for what is no id. */
int id_parse_batch(const char *id, int64_t *ret_batch);
int id_parse_item(const char *id, int64_t *ret_item);
/* The same with `err`; `batch` NULL or the id that the item must belong to. */
int id_batch(const char *id, int64_t *ret_batch, struct err *err);
int id_item(const char *id, const char *batch, int64_t *ret_item, struct err *err);
/* "" is the batch itself. */
int id_item_or_batch(const char *item, const char *batch, int64_t *ret_item, struct err *err);

#define ID_FIRST(batch) ((batch) << 24)
#define ID_LAST(batch) (((batch) << 24) + LEDGER_MAX_ITEMS)

/* 0 for a word that is none. */
int state_of_batch(const char *word);
int state_of_item(const char *word);

/* All of one row of SQL_BATCH or SQL_ITEM and its like. */
struct item_row {
    struct ledger_item item;
    char id[SENDIT_ID_SIZE], batch[SENDIT_ID_SIZE];
};
int row_item(struct ledger *ledger, sqlite3_stmt *stmt, struct item_row *ret_row, struct err *err);
int row_batch(struct ledger *ledger, sqlite3_stmt *stmt, struct ledger_batch *ret_batch,
              struct err *err);
/* The rows of a query for states and numbers, added up. */
int row_counts(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
               struct ledger_counts *ret_counts, struct err *err);

#endif
