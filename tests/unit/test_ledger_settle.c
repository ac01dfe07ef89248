/* SPDX-License-Identifier: Apache-2.0 */
/* Batches that are through but for what stages settle later; ledgers of the version before. */
#include "ledger_fixture.h"
#include "ledger_schema_1.h"

/* ---- DONEPROCESSING ---- */

static int state_of(struct fixture *f, const char *id)
{
    struct ledger_batch batch;
    int state;

    ok(f, ledger_batch_get(f->ledger, id, &batch, &f->err));
    state = batch.state;
    ledger_batch_fini(&batch);
    return state;
}

/* A batch of n images that passed and wait for `stages`. */
static void through(struct fixture *f, const char *key, unsigned n, const char *const *stages,
                    size_t n_stages, struct ledger_batch *ret)
{
    claim_new(f, key, n, ret);
    for (unsigned i = 1; i <= n; i++)
        ok(f, pass(f, ret, i));
    for (size_t i = 0; i < n_stages; i++)
        ok(f, ledger_later(f->ledger, ret->id, stages[i], &f->err));
    ok(f, ledger_batch_processed(f->ledger, ret->id, &f->err));
}

static int tell(struct fixture *f, const char *batch, const char *stage, bool pass)
{
    return ledger_settled(f->ledger, batch, stage, pass, pass ? "" : "rows.lost",
                          pass ? "" : "The rows are lost.", &f->err);
}

static const char *const rows[] = {"rows"}, *const both[] = {"rows", "links"};

static void it_is_done_when_all_have_settled(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    int end = 0;

    through(f, "/in", 2, both, 2, &batch);
    assert_int_equal(state_of(f, "b1"), BATCH_DONEPROCESSING);
    assert_string_equal(ledger_batch_word(BATCH_DONEPROCESSING), "DONEPROCESSING");
    assert_int_equal(counts_of(f, "b1").waiting, 2);
    assert_int_equal(ledger_batch_settle(f->ledger, "b1", &end, &f->err), 1);
    ok(f, tell(f, "b1", "rows", true));
    assert_int_equal(tell(f, "b1", "rows", false), 1); /* it waits for that one no more */
    assert_int_equal(tell(f, "b1", "else", true), 1);
    assert_int_equal(ledger_batch_settle(f->ledger, "b1", &end, &f->err), 1);
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    ok(f, ledger_recover(f->ledger, &f->err)); /* it is not at work: it stays */
    assert_int_equal(state_of(f, "b1"), BATCH_DONEPROCESSING);
    ok(f, tell(f, "b1", "links", true));
    ok(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err));
    assert_int_equal(end, BATCH_DONE);
    assert_int_equal(counts_of(f, "b1").stored, 2);
    assert_int_equal(tell(f, "b1", "links", false), 1);
    assert_int_equal(tell(f, "b7", "links", true), 1);
    assert_int_equal(tell(f, "nonsense", "links", true), 1);
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT count(*) FROM settle"), 0);
    ledger_batch_fini(&batch);
}

static int see_reason(void *ctx, const struct ledger_item *item)
{
    char *text = ctx;

    snprintf(text, 200, "%s %s %s", item->stage, item->code, item->text);
    return 0;
}

static void one_that_fails_makes_it_an_error(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    char text[200] = "";
    int end = 0;

    through(f, "/in", 2, both, 2, &batch);
    ok(f, tell(f, "b1", "rows", false));
    /* The other one has still to do what it has begun. */
    assert_int_equal(ledger_batch_settle(f->ledger, "b1", &end, &f->err), 1);
    ok(f, tell(f, "b1", "links", true));
    ok(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err));
    assert_int_equal(end, BATCH_ERROR);
    assert_int_equal(counts_of(f, "b1").failed, 2);
    ok(f, ledger_items(f->ledger, "b1", ITEM_FAILED, see_reason, text, &f->err));
    assert_string_equal(text, "rows batch.stopped The rows are lost.");
    ledger_batch_fini(&batch);
}

static void what_was_never_handed_out_is_checked(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct ledger_item item = {.labels = "", .header_digest = "", .uid = ""};
    char id[SENDIT_ID_SIZE];
    int end = 0;

    claim_new(f, "/in", 2, &batch);
    item.id = item_id(&batch, 1, id);
    item.batch = batch.id;
    ok(f, ledger_item_passed(f->ledger, &item, &f->err));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "a.b"));
    ok(f, ledger_later(f->ledger, "b1", "rows", &f->err));
    ok(f, ledger_batch_processed(f->ledger, "b1", &f->err));
    ok(f, tell(f, "b1", "rows", true));
    ok(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err));
    assert_int_equal(end, BATCH_DONE);
    assert_int_equal(counts_of(f, "b1").checked, 1);
    assert_int_equal(counts_of(f, "b1").quarantined, 1);
    ledger_batch_fini(&batch);
}

static void a_word_that_comes_early_is_kept(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    int end = 0;

    claim_new(f, "/in", 1, &batch);
    ok(f, pass(f, &batch, 1));
    ok(f, tell(f, "b1", "rows", true)); /* by another worker: its finish() is under way */
    ok(f, ledger_later(f->ledger, "b1", "rows", &f->err));
    ok(f, ledger_later(f->ledger, "b1", "rows", &f->err));
    ok(f, ledger_batch_processed(f->ledger, "b1", &f->err));
    ok(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err));
    assert_int_equal(end, BATCH_DONE);
    ledger_batch_fini(&batch);
}

static void a_new_attempt_waits_anew(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    int end = 0;

    claim_new(f, "/in", 1, &batch);
    ok(f, tell(f, "b1", "rows", true));
    ok(f, ledger_later(f->ledger, "b1", "links", &f->err));
    ok(f, ledger_release(f->ledger, "b1", &f->err)); /* another stage did not finish */
    ledger_batch_fini(&batch);
    assert_int_equal(tell(f, "b1", "links", true), 1);
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    ok(f, pass(f, &batch, 1));
    ok(f, ledger_later(f->ledger, "b1", "rows", &f->err));
    ok(f, ledger_batch_processed(f->ledger, "b1", &f->err));
    assert_int_equal(ledger_batch_settle(f->ledger, "b1", &end, &f->err), 1);
    ok(f, tell(f, "b1", "rows", true));
    ok(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err));
    /* A batch that is stopped waits for nobody either. */
    ledger_batch_fini(&batch);
    claim_new(f, "/other", 1, &batch);
    ok(f, ledger_later(f->ledger, "b2", "rows", &f->err));
    ok(f, ledger_items_fail(f->ledger, "b2", "batch.stopped", "x", "y", &f->err));
    ok(f, ledger_batch_close(f->ledger, "b2", true, &end, &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT count(*) FROM settle"), 0);
    ledger_batch_fini(&batch);
}

static void a_mistake_of_the_caller_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    int end = 0;

    claim_new(f, "/in", 2, &batch);
    ok(f, pass(f, &batch, 1));
    refused(f, ledger_batch_processed(f->ledger, "b1", &f->err), ERR_BATCH, "images are not");
    refused(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err), ERR_BATCH, "not through");
    refused(f, ledger_batch_settle(f->ledger, "b9", &end, &f->err), ERR_BATCH, "not through");
    refused(f, ledger_later(f->ledger, "b1", "", &f->err), ERR_BATCH, "waits for nobody");
    refused(f, ledger_later(f->ledger, "x", "rows", &f->err), ERR_BATCH, "id");
    assert_int_equal(state_of(f, "b1"), BATCH_PROCESSING);
    ok(f, pass(f, &batch, 2));
    ok(f, ledger_batch_processed(f->ledger, "b1", &f->err));
    refused(f, ledger_batch_processed(f->ledger, "b1", &f->err), ERR_BATCH, "not at work");
    refused(f, ledger_release(f->ledger, "b1", &f->err), ERR_BATCH, "not at work");
    ledger_batch_fini(&batch);
}

/* ---- second visits ---- */

static void a_release_takes_effect_when_it_has_settled(void **state)
{
    struct fixture *f = *state;
    struct ledger_decision decision = {
        .item = "b1-000002", .because = "seen", .user = "u", .vouched = ""};
    struct ledger_batch batch;
    uint64_t n;
    int end = 0;

    claim_new(f, "/in", 2, &batch);
    ok(f, pass(f, &batch, 1));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "a.b"));
    ok(f, ledger_later(f->ledger, "b1", "rows", &f->err));
    ok(f, ledger_batch_processed(f->ledger, "b1", &f->err));
    ledger_batch_fini(&batch);
    refused(f, ledger_again(f->ledger, "b1", true, NULL, NULL, &n, &f->err), ERR_BATCH,
            "not closed");
    ok(f, ledger_decide(f->ledger, &decision, &f->err));
    assert_int_equal(state_of(f, "b1"), BATCH_DONEPROCESSING);
    assert_int_equal(ledger_claim(f->ledger, &batch, &f->err), 1);
    ok(f, tell(f, "b1", "rows", true));
    ok(f, ledger_batch_settle(f->ledger, "b1", &end, &f->err));
    assert_int_equal(end, BATCH_QUEUE);
    assert_int_equal(counts_of(f, "b1").stored, 1);
    assert_int_equal(counts_of(f, "b1").waiting, 1);
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    ledger_batch_fini(&batch);
}

static void files_that_come_meanwhile_are_a_batch_of_their_own(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a", "b", "z"};
    struct ledger_batch batch;
    char id[SENDIT_ID_SIZE];

    through(f, "/in", 2, rows, 1, &batch);
    assert_int_equal(feed(f, "/in", names, 2, id), 1);
    ok(f, feed(f, "/in", names, 3, id));
    assert_string_equal(id, "b2");
    assert_int_equal(counts_of(f, "b2").found, 1);
    assert_int_equal(state_of(f, "b1"), BATCH_DONEPROCESSING);
    ledger_batch_fini(&batch);
}

static int never(void *ctx, const struct ledger_item *item)
{
    (void)item;
    ++*(int *)ctx;
    return 0;
}

static void its_images_stand_in_the_way_of_doubles(void **state)
{
    struct fixture *f = *state;
    struct ledger_item first = {.id = "b1-000001", .batch = "b1", .header_digest = "abc"};
    struct ledger_item second = {.id = "b2-000001", .batch = "b2", .header_digest = "abc"};
    struct ledger_batch batch;
    int n = 0;

    claim_new(f, "/in", 1, &batch);
    ok(f, ledger_instance(f->ledger, "2.25.1", &first, never, &n, &f->err));
    ok(f, pass(f, &batch, 1));
    ok(f, ledger_later(f->ledger, "b1", "rows", &f->err));
    ok(f, ledger_batch_processed(f->ledger, "b1", &f->err));
    ledger_batch_fini(&batch);
    claim_new(f, "/other", 1, &batch);
    assert_int_equal(ledger_instance(f->ledger, "2.25.1", &second, never, &n, &f->err), 1);
    assert_int_equal(n, 1);
    ledger_batch_fini(&batch);
}

/* ---- for whom ---- */

struct waits {
    size_t n;
    char text[8][100];
};

static int note_wait(void *ctx, const char *stage, const char *batch, uint64_t n)
{
    struct waits *waits = ctx;

    snprintf(waits->text[waits->n++], 100, "%s %s %llu", stage, batch, (unsigned long long)n);
    return 0;
}

static void it_is_known_who_is_waited_for(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"/1", "/2", "/3"};
    struct waits waits = {0};
    struct ledger_batch batch;
    char id[SENDIT_ID_SIZE];

    ok(f, ledger_waits(f->ledger, note_wait, &waits, &f->err));
    assert_int_equal(waits.n, 0);
    for (size_t i = 0; i < 3; i++) {
        through(f, keys[i], 1, both, i == 1 ? 2 : 1, &batch);
        ledger_batch_fini(&batch);
    }
    claim_new(f, "/4", 1, &batch);
    ok(f, ledger_later(f->ledger, "b4", "rows", &f->err)); /* at work: it does not wait yet */
    ledger_batch_fini(&batch);
    ok(f, tell(f, "b1", "rows", true));
    ok(f, ledger_waits(f->ledger, note_wait, &waits, &f->err));
    assert_int_equal(waits.n, 2);
    assert_string_equal(waits.text[0], "links b2 1");
    assert_string_equal(waits.text[1], "rows b2 2");
    ok(f, ledger_waits_next(f->ledger, "rows", "", id, &f->err));
    assert_string_equal(id, "b2");
    ok(f, ledger_waits_next(f->ledger, "rows", id, id, &f->err));
    assert_string_equal(id, "b3");
    assert_int_equal(ledger_waits_next(f->ledger, "rows", id, id, &f->err), 1);
    assert_int_equal(ledger_waits_next(f->ledger, "else", "", id, &f->err), 1);
}

/* ---- ledgers of version 1 ---- */

static const char rows_1[] =
    "PRAGMA application_id = 0x53444954; PRAGMA user_version = 1;"
    "INSERT INTO meta VALUES ('uuid', '0123456789abcdef0123456789abcdef'), ('revision', '7'),"
    " ('key_fingerprint', 'f');"
    "INSERT INTO run VALUES (1, 10, 20, 0, '0.1', 'd', 'f', 'because');"
    "INSERT INTO run_stage VALUES (1, 0, 'a', 'a', '1.0.0', 'd', '/a.so', 'x.y', 1, '');"
    "INSERT INTO batch VALUES"
    " (1, CAST('/in/1' AS BLOB), NULL, 'DONE', 2, 1, CAST('/done' AS BLOB), 1, 1, 2, 3, 4, 1),"
    " (2, CAST('/in/2' AS BLOB), NULL, 'QUEUE', 0, 0, NULL, 0, 1, 0, 0, 9, 1),"
    " (5, CAST('/in/1' AS BLOB), 1, 'PROCESSING', 1, 0, NULL, 0, 1, 2, 0, 9, 1),"
    " (6, CAST('/in/6' AS BLOB), NULL, 'EMPTY', 1, 0, NULL, 0, 1, 2, 3, 9, 1),"
    " (7, CAST('/in/7' AS BLOB), NULL, 'ERROR', 1, 0, NULL, 0, 1, 2, 3, 9, NULL);"
    "INSERT INTO item (id, path, dev, ino, size, mtime_ns, state, passed, stage, code, uid) VALUES"
    " (16777217, CAST('/in/1/a' AS BLOB), 1, 2, 3, 4, 'stored', 0, '', '', '2.25.1'),"
    " (33554433, CAST('/in/2/a' AS BLOB), 1, 2, 3, 4, 'waiting', 0, '', '', ''),"
    " (83886081, CAST('/in/1/b' AS BLOB), 1, 2, 3, 4, 'waiting', 1, '', '', '2.25.2'),"
    " (100663297, CAST('/in/6/a' AS BLOB), 1, 2, 3, 4, 'quarantined', 0, 'core', 'dicom.write', "
    "''),"
    " (117440513, CAST('/in/7/a' AS BLOB), 1, 2, 3, 4, 'failed', 0, 'core', 'batch.stopped', '');"
    "INSERT INTO instance VALUES ('2.25.1', 16777217, 2, 'abc', 7);"
    "INSERT INTO release VALUES"
    " (1, 100663297, 5, 'release', 'core', 'dicom.write', 1, '', 'b', 'u');"
    "INSERT INTO message VALUES (1, 7, 3, 'core', 'x.y', 'text', 117440512, 2, 9);"
    "INSERT INTO fact VALUES (16777217, 'store.object', 'gs://b/o');"
    "INSERT INTO store VALUES ('a', 'k', x'00ff', 7);"
    "INSERT INTO crosswalk VALUES ('patient', 'original', 'pseudonym', 3);"
    "INSERT INTO metric VALUES (1, 'a', 'images', 5);"
    "INSERT INTO audit VALUES (1, 1, 1, 'a', 'x.y', '{}');";

/* Run statements on the file from outside. */
static void change(const struct fixture *f, const char *sql)
{
    char *said = NULL;
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &said) != SQLITE_OK)
        fail_msg("%s", said);
    sqlite3_close(db);
}

static void make_1(struct fixture *f)
{
    char command[300];

    snprintf(command, sizeof(command), "mkdir -m 700 '%s' && install -m 600 /dev/null '%s'",
             f->state, f->db);
    assert_int_equal(system(command), 0);
    change(f, "PRAGMA journal_mode = WAL");
    for (size_t i = 0; i < sizeof(schema_1_sql) / sizeof(schema_1_sql[0]); i++)
        change(f, schema_1_sql[i]);
    change(f, rows_1);
}

/* The rows of version 1, each as one text, of all tables and columns that it has. */
static int64_t print_of(const struct fixture *f)
{
    return ask(f, "WITH t AS ("
                  "SELECT 'b' || quote(id) || quote(key) || quote(continues) || quote(state) ||"
                  " quote(attempt) || quote(when_done) || quote(done_folder) || quote(done_due) ||"
                  " quote(queued_ms) || quote(started_ms) || quote(finished_ms) || quote(bytes) ||"
                  " quote(run) AS x FROM batch"
                  " UNION ALL SELECT 'i' || id || quote(path) || state || passed || attempt ||"
                  " stage || code || uid FROM item"
                  " UNION ALL SELECT 't' || batch || state || stage || code || n FROM tally)"
                  " SELECT sum(length(x) * 1000 + unicode(substr(x, 9)) + unicode(substr(x, -1)))"
                  " FROM t");
}

static void a_ledger_of_version_1_is_taken_over(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct ledger *fresh;
    int64_t print;
    char other[80], sql[1200];
    uint64_t n;
    int end;

    make_1(f);
    print = print_of(f);
    ok(f, ledger_open(f->state, &f->ledger, &f->err));
    assert_int_equal(ask(f, "PRAGMA user_version"), 2);
    assert_true(print == print_of(f));
    assert_int_equal(ask(f, "SELECT count(*) FROM batch WHERE rests = ''"), 5);
    assert_int_equal(ask(f, "SELECT count(*) FROM item WHERE rests = ''"), 5);
    assert_int_equal(ask(f, "SELECT count(*) FROM settle"), 0);
    assert_string_equal(ledger_uuid(f->ledger), "0123456789abcdef0123456789abcdef");
    assert_string_equal(ledger_known_key(f->ledger), "f");
    /* Every table, column, index and trigger is as in a ledger that is new. */
    snprintf(other, sizeof(other), "%.60s/o", f->folder);
    ok(f, ledger_open(other, &fresh, &f->err));
    ledger_close(fresh);
    snprintf(sql, sizeof(sql), "ATTACH '%s/ledger.db' AS other", other);
    {
        static const char *const sides[] = {"main", "other"};
        sqlite3 *db = NULL;
        sqlite3_stmt *stmt = NULL;

        assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        for (int i = 0; i < 2; i++) {
            const char *a = sides[i], *b = sides[!i];

            snprintf(sql, sizeof(sql),
                     "SELECT count(*) FROM ("
                     "SELECT s.type, s.name, CASE s.type WHEN 'table' THEN '' ELSE s.sql END,"
                     " c.cid, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk"
                     " FROM %s.sqlite_schema s LEFT JOIN pragma_table_info(s.name, '%s') c"
                     " EXCEPT "
                     "SELECT s.type, s.name, CASE s.type WHEN 'table' THEN '' ELSE s.sql END,"
                     " c.cid, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk"
                     " FROM %s.sqlite_schema s LEFT JOIN pragma_table_info(s.name, '%s') c)",
                     a, a, b, b);
            assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
            assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
            assert_int_equal(sqlite3_column_int(stmt, 0), 0);
            sqlite3_finalize(stmt);
        }
        sqlite3_close(db);
    }
    /* And it works. */
    ok(f, ledger_recover(f->ledger, &f->err));
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    assert_string_equal(batch.id, "b5"); /* "/in/1" comes before "/in/2" */
    ok(f, pass(f, &batch, 1));
    ok(f, ledger_later(f->ledger, "b5", "rows", &f->err));
    ok(f, ledger_batch_processed(f->ledger, "b5", &f->err));
    ok(f, tell(f, "b5", "rows", true));
    ok(f, ledger_batch_settle(f->ledger, "b5", &end, &f->err));
    ledger_batch_fini(&batch);
    ok(f, ledger_again(f->ledger, "b7", false, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 1);
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    assert_int_equal(state_of(f, "b5"), BATCH_DONE);
}

static void a_take_over_that_fails_leaves_version_1(void **state)
{
    struct fixture *f = *state;
    int64_t print;

    make_1(f);
    print = print_of(f);
    change(f, "CREATE TABLE settle (x)"); /* is in the way of its last steps */
    refused(f, ledger_open(f->state, &f->ledger, &f->err), ERR_REFUSED, "damaged");
    f->ledger = NULL;
    assert_int_equal(ask(f, "PRAGMA user_version"), 1);
    assert_int_equal(ask(f, "SELECT count(*) FROM sqlite_schema WHERE name = 'batch_1'"), 0);
    assert_true(print == print_of(f));
    change(f, "DROP TABLE settle");
    ok(f, ledger_open(f->state, &f->ledger, &f->err));
    assert_true(print == print_of(f));
}

static int count_batch(void *ctx, const struct ledger_batch *batch)
{
    *(uint64_t *)ctx += batch->counts.found;
    return 0;
}

static void a_ledger_of_version_1_can_be_read(void **state)
{
    struct fixture *f = *state;
    struct waits waits = {0};
    struct ledger *reader;
    struct ledger_counts totals;
    struct ledger_batch batch;
    uint64_t n = 0;
    int items = 0;

    make_1(f);
    assert_int_equal(ledger_open_read(f->state, &reader, &f->err), 0);
    ok(f, ledger_batches(reader, false, count_batch, &n, &f->err));
    assert_int_equal(n, 5);
    ok(f, ledger_totals(reader, false, &totals, &f->err));
    assert_int_equal(totals.found, 5);
    ok(f, ledger_items(reader, "b1", 0, never, &items, &f->err));
    assert_int_equal(items, 1);
    ok(f, ledger_batch_get(reader, "b7", &batch, &f->err));
    assert_int_equal(batch.state, BATCH_ERROR);
    ledger_batch_fini(&batch);
    ok(f, ledger_waits(reader, note_wait, &waits, &f->err));
    assert_int_equal(waits.n, 0);
    ledger_close(reader);
    assert_int_equal(ask(f, "PRAGMA user_version"), 1); /* nothing was written */
}

#define settle_test(name) cmocka_unit_test_setup_teardown(name, setup_open, teardown)
#define file_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        settle_test(it_is_done_when_all_have_settled),
        settle_test(one_that_fails_makes_it_an_error),
        settle_test(what_was_never_handed_out_is_checked),
        settle_test(a_word_that_comes_early_is_kept),
        settle_test(a_new_attempt_waits_anew),
        settle_test(a_mistake_of_the_caller_changes_nothing),
        settle_test(a_release_takes_effect_when_it_has_settled),
        settle_test(files_that_come_meanwhile_are_a_batch_of_their_own),
        settle_test(its_images_stand_in_the_way_of_doubles),
        settle_test(it_is_known_who_is_waited_for),
        file_test(a_ledger_of_version_1_is_taken_over),
        file_test(a_take_over_that_fails_leaves_version_1),
        file_test(a_ledger_of_version_1_can_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
