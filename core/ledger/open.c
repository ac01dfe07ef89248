/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open.c - the state folder, the lock, the file, and what a run writes at its start and end.
 *
 * WAL with synchronous=NORMAL syncs nothing at a commit; ledger_commit() syncs the log itself, so
 * that what it answered for is there after a power cut, and ledger_flush() need not wait for a
 * disk.  In WAL mode readers and the one writer do not wait for each other.
 */
#include "ledger/db.h"
#include "ledger/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"

#define OLDEST_SQLITE 3037000 /* STRICT tables */
#define BUSY_MS 10000

static const char lock_name[] = "ledger.lock";
static const char *const file_names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm",
                                         "ledger.db-journal"};

/* ---- the folder ---- */

/* Its descriptor, or -1; *ret_absent says that it is not there. */
static int open_folder(const char *state, bool make, bool *ret_absent, struct err *err)
{
    struct stat st;
    int fd;

    *ret_absent = false;
    if (make && file_mkdirs(state, 0700))
        return err_set(err, ERR_PLACE, "the state folder %s cannot be made: %s", state,
                       strerror(errno));
    fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        *ret_absent = errno == ENOENT;
        return err_set(err, errno == ENOTDIR ? ERR_REFUSED : ERR_PLACE,
                       "the state folder %s cannot be opened: %s", state, strerror(errno));
    }
    if (fstat(fd, &st))
        err_set(err, ERR_PLACE, "the state folder %s cannot be read: %s", state, strerror(errno));
    else if (st.st_uid != geteuid())
        err_set(err, ERR_REFUSED,
                "the state folder %s belongs to another user: run as that user, or name a state "
                "folder of your own",
                state);
    else if (st.st_mode & 077)
        err_set(err, ERR_REFUSED,
                "the state folder %s can be entered by others (mode %03o) and will hold names of "
                "patients: chmod 700 it",
                state, (unsigned)st.st_mode & 0777);
    else
        return fd;
    close(fd);
    return -1;
}

/* Those that are there must be plain files of ours. */
static int check_files(const char *state, int folder, bool mend, struct err *err)
{
    for (size_t i = 0; i < sizeof(file_names) / sizeof(file_names[0]); i++) {
        struct stat st;

        if (fstatat(folder, file_names[i], &st, AT_SYMLINK_NOFOLLOW)) {
            if (errno == ENOENT)
                continue;
            return err_set(err, ERR_PLACE, "%s/%s cannot be read: %s", state, file_names[i],
                           strerror(errno));
        }
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
            return err_set(err, ERR_REFUSED, "%s/%s is not a plain file of yours: take it away",
                           state, file_names[i]);
        if (mend && (st.st_mode & 0777) != 0600 && fchmodat(folder, file_names[i], 0600, 0))
            return err_set(err, ERR_PLACE, "%s/%s cannot be made private: %s", state, file_names[i],
                           strerror(errno));
    }
    return 0;
}

/* Who has the lock, for the one who does not get it; 0 if that cannot be known. */
static long read_holder(int fd)
{
    char text[24];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    char *end;
    long pid;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    pid = strtol(text, &end, 10);
    return pid > 0 && *end == '\n' ? pid : 0;
}

static int take_lock(struct ledger *ledger, int folder, struct err *err)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

    ledger->lock = openat(folder, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ledger->lock < 0)
        return err_set(err, errno == ELOOP ? ERR_REFUSED : ERR_PLACE, "%s/%s cannot be opened: %s",
                       ledger->state, lock_name, strerror(errno));
    if (flock(ledger->lock, LOCK_EX | LOCK_NB)) {
        long pid = errno == EWOULDBLOCK ? read_holder(ledger->lock) : 0;

        if (errno != EWOULDBLOCK)
            return err_set(err, ERR_PLACE, "%s/%s cannot be locked: %s", ledger->state, lock_name,
                           strerror(errno));
        if (!pid)
            return err_set(err, ERR_REFUSED,
                           "another sendit works on the state folder %s: wait until it has ended",
                           ledger->state);
        return err_set(err, ERR_REFUSED,
                       "another sendit (process %ld) works on the state folder %s: wait until it "
                       "has ended",
                       pid, ledger->state);
    }
    if (ftruncate(ledger->lock, 0) || pwrite(ledger->lock, text, (size_t)n, 0) != n)
        return err_set(err, ERR_PLACE,
                       "%s/%s cannot be written (%s): make room in the state folder, then run "
                       "again",
                       ledger->state, lock_name, strerror(errno));
    return 0;
}

/* SQLite gives its other files the mode of this one. */
static int make_file(const struct ledger *ledger, int folder, struct err *err)
{
    int fd = openat(folder, file_names[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int parent;

    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0 || fsync(folder)) {
        err_set(err, ERR_PLACE, "%s/ledger.db cannot be made: %s", ledger->state, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    close(fd);
    parent = openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent >= 0) { /* where it may be written, it may be read; else the folder is not new */
        (void)fsync(parent);
        close(parent);
    }
    return 0;
}

/* ---- the file ---- */

static int exec(struct ledger *ledger, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(ledger->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : db_fail(ledger, rc, err);
}

static int take_number(void *ctx, int n, char **values, char **names)
{
    (void)names;
    *(int64_t *)ctx = n && values[0] ? strtoll(values[0], NULL, 10) : 0;
    return 0;
}

static int ask_number(struct ledger *ledger, const char *sql, int64_t *ret_number, struct err *err)
{
    int rc;

    *ret_number = 0;
    rc = sqlite3_exec(ledger->db, sql, take_number, ret_number, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(ledger, rc, err);
}

static int open_database(struct ledger *ledger, struct err *err)
{
    int flags = ledger->reads ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    size_t n = strlen(ledger->state) + sizeof("/ledger.db");
    char *path = malloc(n);
    int rc;

    if (!path)
        return err_set(err, ERR_PLACE, "no memory for the ledger");
    snprintf(path, n, "%s/ledger.db", ledger->state);
    rc = sqlite3_open_v2(
        path, &ledger->db,
        flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
    free(path);
    if (rc != SQLITE_OK)
        return db_fail(ledger, rc, err);
    sqlite3_busy_timeout(ledger->db, BUSY_MS);
    sqlite3_limit(ledger->db, SQLITE_LIMIT_LENGTH, LEDGER_MAX_VALUE);
    sqlite3_db_config(ledger->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(ledger->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(ledger->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    /* No temporary file: it would have paths in a place that is not ours. */
    return exec(ledger,
                "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;"
                "PRAGMA trusted_schema = OFF; PRAGMA cache_size = -8192;",
                err);
}

/* What is in the file: 0 a ledger of *ret_version, which we know, 1 nothing yet, -1. */
static int look(struct ledger *ledger, int64_t *ret_version, struct err *err)
{
    int64_t application, version, tables;

    if (ask_number(ledger, "PRAGMA application_id", &application, err) ||
        ask_number(ledger, "PRAGMA user_version", &version, err) ||
        ask_number(ledger, "SELECT count(*) FROM sqlite_schema", &tables, err))
        return -1;
    if (!application && !version && !tables)
        return 1;
    if (application != SCHEMA_APPLICATION || version < 1)
        return err_set(err, ERR_REFUSED,
                       "%s/ledger.db is a database of another program: name another state folder",
                       ledger->state);
    if (version > SCHEMA_VERSION)
        return err_set(err, ERR_REFUSED,
                       "the state folder %s was written by a newer sendit (schema %" PRId64
                       ", this one knows %d): use that one",
                       ledger->state, version, SCHEMA_VERSION);
    *ret_version = version;
    return 0;
}

#define EXEC_ALL(ledger, list, err) exec_all(ledger, list, sizeof(list) / sizeof((list)[0]), err)
static int exec_all(struct ledger *ledger, const char *const *sql, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (exec(ledger, sql[i], err))
            return -1;
    return 0;
}

/* All of it or nothing: killed in here, the next one finds the version before, and what a failure
 * leaves open is rolled back by ledger_close(). */
static int migrate(struct ledger *ledger, int64_t version, struct err *err)
{
    char number[48];

    if (version == SCHEMA_VERSION)
        return 0;
    snprintf(number, sizeof(number), "PRAGMA user_version = %d", SCHEMA_VERSION);
    if (exec(ledger, "BEGIN IMMEDIATE", err) || EXEC_ALL(ledger, schema_to_2, err) ||
        exec(ledger, number, err))
        return -1;
    return ledger_commit(ledger, err);
}

static int fill_new(struct ledger *ledger, struct err *err)
{
    uint8_t random[16];
    char uuid[33], numbers[96];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return err_set(err, ERR_PLACE, "no random numbers for the ledger: %s", strerror(errno));
    digest_to_hex(random, sizeof(random), uuid);
    snprintf(numbers, sizeof(numbers), "PRAGMA application_id = %d; PRAGMA user_version = %d;",
             SCHEMA_APPLICATION, SCHEMA_VERSION);
    if (exec(ledger, "BEGIN IMMEDIATE", err) || EXEC_ALL(ledger, schema_sql, err) ||
        exec(ledger, numbers, err) ||
        db_write(ledger, SQL_META_PUT, DB_ARGS(db_text("uuid"), db_text(uuid)), err) < 0 ||
        db_write(ledger, SQL_META_PUT, DB_ARGS(db_text("revision"), db_text("0")), err) < 0)
        return -1;
    return ledger_commit(ledger, err);
}

static int meta(struct ledger *ledger, const char *key, char *ret_value, size_t size,
                struct err *err)
{
    sqlite3_stmt *stmt = db_query(ledger, SQL_META_GET, DB_ARGS(db_text(key)), err);
    int have = stmt ? db_step(ledger, stmt, err) : -1;

    ret_value[0] = '\0';
    if (have != 1)
        return have;
    snprintf(ret_value, size, "%s", db_column(stmt, 0));
    db_end(stmt);
    return 0;
}

static int load(struct ledger *ledger, struct err *err)
{
    if (meta(ledger, "uuid", ledger->uuid, sizeof(ledger->uuid), err) ||
        meta(ledger, "key_fingerprint", ledger->fingerprint, sizeof(ledger->fingerprint), err))
        return -1;
    if (strlen(ledger->uuid) != sizeof(ledger->uuid) - 1)
        return db_fail(ledger, SQLITE_CORRUPT, err);
    return 0;
}

static int set_wal(struct ledger *ledger, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(ledger->db, "PRAGMA journal_mode = WAL", -1, &stmt, NULL);
    bool wal = false;

    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        wal = !strcmp(db_column(stmt, 0), "wal");
        rc = SQLITE_OK;
    }
    sqlite3_finalize(stmt);
    if (rc != SQLITE_OK)
        return db_fail(ledger, rc, err);
    if (!wal)
        return err_set(err, ERR_PLACE,
                       "the file system of the state folder %s cannot hold a ledger: name a folder "
                       "on a local disk",
                       ledger->state);
    return exec(ledger, "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864;", err);
}

/* ---- opening ---- */

static struct ledger *new_ledger(const char *state, bool reads, struct err *err)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));

    if (ledger) {
        ledger->lock = -1;
        ledger->reads = reads;
        ledger->state = strdup(state);
    }
    if (!ledger || !ledger->state) {
        err_set(err, ERR_PLACE, "no memory for the ledger");
        free(ledger);
        return NULL;
    }
    return ledger;
}

static int open_to_write(struct ledger *ledger, int folder, struct err *err)
{
    int64_t version;
    int have;

    if (sqlite3_libversion_number() < OLDEST_SQLITE)
        return err_set(err, ERR_REFUSED, "this SQLite (%s) is too old: 3.37 or newer is needed",
                       sqlite3_libversion());
    if (take_lock(ledger, folder, err) || check_files(ledger->state, folder, true, err) ||
        make_file(ledger, folder, err) || open_database(ledger, err))
        return -1;
    have = look(ledger, &version, err); /* before we write into a file of somebody else */
    if (have < 0 || set_wal(ledger, err) ||
        (have == 1 ? fill_new(ledger, err) : migrate(ledger, version, err)))
        return -1;
    return load(ledger, err);
}

int ledger_open(const char *state, struct ledger **ret_ledger, struct err *err)
{
    struct ledger *ledger = new_ledger(state, false, err);
    int folder = -1, result = -1;
    bool absent;

    if (!ledger)
        return -1;
    folder = open_folder(state, true, &absent, err);
    if (folder >= 0)
        result = open_to_write(ledger, folder, err);
    if (folder >= 0)
        close(folder);
    if (result) {
        ledger_close(ledger);
        return -1;
    }
    *ret_ledger = ledger;
    return 0;
}

/* One view for all questions, so that what they answer adds up. */
static int open_to_read(struct ledger *ledger, int folder, struct err *err)
{
    struct stat st;
    int64_t version;
    int have;

    if (check_files(ledger->state, folder, false, err))
        return -1;
    if (fstatat(folder, file_names[0], &st, AT_SYMLINK_NOFOLLOW) || !st.st_size)
        return 1;
    if (open_database(ledger, err) || exec(ledger, "BEGIN", err))
        return -1;
    have = look(ledger, &version, err);
    if (have)
        return have;
    if (version == 1 && EXEC_ALL(ledger, schema_1_read, err))
        return -1;
    if (load(ledger, err) || db_number(ledger, SQL_LAST_RUN, NULL, 0, &ledger->run, err))
        return -1;
    return 0;
}

int ledger_open_read(const char *state, struct ledger **ret_ledger, struct err *err)
{
    struct ledger *ledger = new_ledger(state, true, err);
    int folder, result = -1;
    bool absent;

    if (!ledger)
        return -1;
    folder = open_folder(state, false, &absent, err);
    if (folder >= 0) {
        result = open_to_read(ledger, folder, err);
        close(folder);
    } else if (absent) {
        result = 1;
    }
    if (result)
        ledger_close(ledger);
    else
        *ret_ledger = ledger;
    return result;
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    ledger_feed_forget(ledger);
    for (size_t i = 0; i < N_STATEMENTS; i++)
        sqlite3_finalize(ledger->statements[i]);
    if (ledger->db && !sqlite3_get_autocommit(ledger->db))
        sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(ledger->db);
    if (ledger->lock >= 0)
        close(ledger->lock);
    free(ledger->state);
    free(ledger);
}

const char *ledger_library(void)
{
    return sqlite3_libversion();
}

const char *ledger_uuid(const struct ledger *ledger)
{
    return ledger->uuid;
}

/* ---- the key ---- */

int ledger_key(struct ledger *ledger, const char *fingerprint, struct err *err)
{
    if (!fingerprint || !*fingerprint || strlen(fingerprint) >= sizeof(ledger->fingerprint))
        return db_misuse(err, "a fingerprint that is none");
    if (ledger->fingerprint[0] && strcmp(ledger->fingerprint, fingerprint))
        return err_set(err, ERR_REFUSED,
                       "the site key is another one (fingerprint %s) than the one that this state "
                       "was made with (%s): put that key back, or name another state folder",
                       fingerprint, ledger->fingerprint);
    if (ledger->fingerprint[0])
        return 0;
    if (db_write(ledger, SQL_META_PUT, DB_ARGS(db_text("key_fingerprint"), db_text(fingerprint)),
                 err) < 0)
        return -1;
    snprintf(ledger->fingerprint, sizeof(ledger->fingerprint), "%s", fingerprint);
    return 0;
}

const char *ledger_known_key(struct ledger *ledger)
{
    return ledger->fingerprint;
}

/* ---- a run ---- */

int ledger_run_begin(struct ledger *ledger, const struct ledger_run *run,
                     const struct ledger_stage *stages, size_t n_stages, struct err *err)
{
    int64_t id;

    if (db_write(ledger, SQL_RUN_BEGIN,
                 DB_ARGS(db_int(db_now_ms()), db_text(run->version), db_text(run->pipeline_digest),
                         db_text(run->key_fingerprint), db_optional(run->because)),
                 err) < 0)
        return -1;
    id = sqlite3_last_insert_rowid(ledger->db);
    for (size_t i = 0; i < n_stages; i++) {
        const struct ledger_stage *stage = &stages[i];

        if (db_write(ledger, SQL_RUN_STAGE,
                     DB_ARGS(db_int(id), db_int((int64_t)i), db_text(stage->id),
                             db_text(stage->name), db_text(stage->version), db_text(stage->digest),
                             db_text(stage->path), db_text(stage->grants), db_int(stage->ships),
                             db_text(stage->rules)),
                     err) < 0)
            return -1;
    }
    ledger->run = id;
    return 0;
}

int ledger_run_end(struct ledger *ledger, int exit_status, struct err *err)
{
    if (!ledger->run)
        return 0;
    return db_write(ledger, SQL_RUN_END,
                    DB_ARGS(db_int(ledger->run), db_int(db_now_ms()), db_int(exit_status)), err) < 0
               ? -1
               : 0;
}
