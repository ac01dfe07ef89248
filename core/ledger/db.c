/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

#define STATEMENT_TEXT(name, sql) sql,
static const char *const texts[] = {STATEMENTS(STATEMENT_TEXT)};
#undef STATEMENT_TEXT

int64_t db_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- errors ---- */

/* SQLite's own words name no value; its longer message could. */
int db_fail(const struct ledger *ledger, int rc, struct err *err)
{
    int os = ledger->db ? sqlite3_system_errno(ledger->db) : 0;
    int plain = rc & 0xff;

    if (plain == SQLITE_FULL || (plain == SQLITE_IOERR && (os == ENOSPC || os == EDQUOT)))
        return err_set(err, ERR_PLACE,
                       "there is no room for the ledger in the state folder %s: make room, then "
                       "run again",
                       ledger->state);
    switch (plain) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table is not what it should be */
    case SQLITE_SCHEMA:
        return err_set(err, ERR_REFUSED,
                       "%s/ledger.db is damaged or is no ledger of sendit (%s): put back a copy of "
                       "the state folder, or begin with an empty one",
                       ledger->state, sqlite3_errstr(rc));
    case SQLITE_NOMEM:
        return err_set(err, ERR_PLACE, "no memory for the ledger");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_PLACE, "another program holds %s/ledger.db: end it, then run again",
                       ledger->state);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
        return err_set(err, ERR_PLACE,
                       "%s/ledger.db cannot be opened or written: see that the folder and its disk "
                       "can be written, then run again",
                       ledger->state);
    case SQLITE_CONSTRAINT:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
        return err_set(err, ERR_BATCH, "the ledger refused a row that cannot be right (%s)",
                       sqlite3_errstr(rc));
    default:
        return err_set(err, ERR_PLACE,
                       "%s/ledger.db cannot be read or written (%s%s%s): check the disk, then run "
                       "again",
                       ledger->state, sqlite3_errstr(rc), os ? ", " : "", os ? strerror(os) : "");
    }
}

int db_misuse(struct err *err, const char *what)
{
    return err_set(err, ERR_BATCH, "the ledger was asked for what cannot be: %s", what);
}

int db_give_up(struct ledger *ledger, const struct err *err)
{
    if (ledger->lost)
        return -1;
    ledger->lost = true;
    ledger->why = *err;
    ledger->pending = 0;
    if (!sqlite3_get_autocommit(ledger->db))
        sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

/* ---- values ---- */

struct db_arg db_int(int64_t n)
{
    return (struct db_arg){.type = DB_INT, .n = n};
}

struct db_arg db_text(const char *text)
{
    return (struct db_arg){
        .type = DB_TEXT, .n = text ? (int64_t)strlen(text) : 0, .data = text ? text : ""};
}

struct db_arg db_optional(const char *text)
{
    return text ? db_text(text) : (struct db_arg){.type = DB_NULL};
}

struct db_arg db_path(const char *text)
{
    return text ? db_blob(text, strlen(text)) : (struct db_arg){.type = DB_NULL};
}

struct db_arg db_blob(const void *data, size_t len)
{
    return (struct db_arg){.type = DB_BLOB, .n = (int64_t)len, .data = len ? data : ""};
}

struct db_arg db_cut(const char *text)
{
    struct db_arg arg = db_text(text);
    const char *bytes = arg.data;

    if (arg.n <= LEDGER_MAX_TEXT)
        return arg;
    for (arg.n = LEDGER_MAX_TEXT; arg.n > 0 && (bytes[arg.n] & 0xc0) == 0x80; arg.n--)
        ;
    return arg;
}

struct db_arg db_run(const struct ledger *ledger)
{
    return ledger->run ? db_int(ledger->run) : (struct db_arg){.type = DB_NULL};
}

static int bind_one(sqlite3_stmt *stmt, int place, const struct db_arg *arg)
{
    sqlite3_uint64 len = (sqlite3_uint64)arg->n;

    switch (arg->type) {
    case DB_INT:
        return sqlite3_bind_int64(stmt, place, arg->n);
    case DB_TEXT:
        return sqlite3_bind_text64(stmt, place, arg->data, len, SQLITE_STATIC, SQLITE_UTF8);
    case DB_BLOB:
        return sqlite3_bind_blob64(stmt, place, arg->data, len, SQLITE_STATIC);
    case DB_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, place);
}

/* ---- statements ---- */

void db_end(sqlite3_stmt *stmt)
{
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
}

/* Prepared, bound and not in use: SQLITE_OK or why not. */
static int ready(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
                 sqlite3_stmt **ret_stmt)
{
    sqlite3_stmt **stmt = &ledger->statements[which];
    int rc = SQLITE_OK;

    if (!*stmt)
        rc =
            sqlite3_prepare_v3(ledger->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
    else if (sqlite3_stmt_busy(*stmt))
        return SQLITE_MISUSE;
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        rc = bind_one(*stmt, (int)i + 1, &args[i]);
    if (rc != SQLITE_OK && *stmt)
        db_end(*stmt);
    *ret_stmt = *stmt;
    return rc;
}

sqlite3_stmt *db_query(struct ledger *ledger, enum statement which, const struct db_arg *args,
                       size_t n, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = ready(ledger, which, args, n, &stmt);

    if (rc == SQLITE_OK)
        return stmt;
    db_fail(ledger, rc, err);
    return NULL;
}

int db_step(struct ledger *ledger, sqlite3_stmt *stmt, struct err *err)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        db_fail(ledger, rc, err);
    db_end(stmt);
    return rc == SQLITE_DONE ? 0 : -1;
}

int db_number(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
              int64_t *ret_number, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, which, args, n, err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;

    if (have != 1)
        return have ? -1 : 1;
    *ret_number = sqlite3_column_int64(stmt, 0);
    db_end(stmt);
    return 0;
}

const char *db_column(sqlite3_stmt *stmt, int column)
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);

    return text ? text : "";
}

/* Without rows. */
static int run_plain(struct ledger *ledger, enum statement which, struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, which, NULL, 0, err);

    return stmt ? db_step(ledger, stmt, err) : -1;
}

static int begin(struct ledger *ledger, struct err *err)
{
    if (ledger->reads)
        return db_misuse(err, "it is open to read");
    if (ledger->lost) {
        *err = ledger->why;
        return -1;
    }
    if (!sqlite3_get_autocommit(ledger->db))
        return 0;
    return run_plain(ledger, SQL_BEGIN, err) ? db_give_up(ledger, err) : 0;
}

int64_t db_write(struct ledger *ledger, enum statement which, const struct db_arg *args, size_t n,
                 struct err *err)
{
    sqlite3_stmt *stmt;
    int64_t changed;

    if (begin(ledger, err))
        return -1;
    stmt = db_query(ledger, which, args, n, err);
    if (!stmt || db_step(ledger, stmt, err))
        return db_give_up(ledger, err);
    changed = sqlite3_changes64(ledger->db);
    ledger->pending += (size_t)changed;
    return changed;
}

int ledger_flush(struct ledger *ledger, struct err *err)
{
    if (ledger->lost) {
        *err = ledger->why;
        return -1;
    }
    if (ledger->reads || sqlite3_get_autocommit(ledger->db))
        return 0;
    if (run_plain(ledger, SQL_COMMIT, err))
        return db_give_up(ledger, err);
    ledger->pending = 0;
    ledger->unsynced = true;
    return 0;
}

/* fdatasync of the log, which SQLite has written.  Its locks are on other files. */
static int sync_log(const struct ledger *ledger)
{
    char *path = file_join(ledger->state, "ledger.db-wal");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    int result = fd < 0 ? -1 : fdatasync(fd);

    if (fd >= 0)
        close(fd);
    free(path);
    return result;
}

int ledger_commit(struct ledger *ledger, struct err *err)
{
    if (ledger_flush(ledger, err))
        return -1;
    if (!ledger->unsynced)
        return 0;
    if (sync_log(ledger)) {
        err_set(err, ERR_PLACE, "the ledger in %s cannot be written to its disk: %s", ledger->state,
                strerror(errno));
        return db_give_up(ledger, err);
    }
    ledger->unsynced = false;
    return 0;
}

size_t ledger_pending(const struct ledger *ledger)
{
    return ledger->pending;
}
