/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's place: whose folder, which modes, who else, what is in the file already; kills, full
 * and read-only disks.
 */
#include "ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int open_it(struct fixture *f)
{
    return ledger_open(f->state, &f->ledger, &f->err);
}

static const char *in_state(const struct fixture *f, const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", f->state, name);
    return path;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* Some rows, committed, and closed. */
static void make_ledger(struct fixture *f)
{
    struct ledger_batch batch;

    ok(f, open_it(f));
    for (int i = 0; i < 20; i++) {
        char key[32];

        snprintf(key, sizeof(key), "/in/%d", i);
        claim_new(f, key, 8, &batch);
        ledger_batch_fini(&batch);
    }
    ok(f, ledger_commit(f->ledger, &f->err));
    ledger_close(f->ledger);
    f->ledger = NULL;
}

/* ---- folder and files ---- */

static const char *const names[] = {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.lock"};

static void all_is_private(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    mode_t old = umask(0);

    ok(f, open_it(f));
    claim_new(f, "/in", 2, &batch);
    ok(f, ledger_commit(f->ledger, &f->err));
    ledger_batch_fini(&batch);
    assert_int_equal(mode_of(f->state), 0700);
    for (int i = 0; i < 4; i++)
        assert_int_equal(mode_of(in_state(f, names[i])), 0600);
    /* A copy that was put back with a wide mode is made private again. */
    ledger_close(f->ledger);
    assert_int_equal(chmod(f->db, 0644), 0);
    ok(f, open_it(f));
    for (int i = 0; i < 4; i++)
        assert_int_equal(mode_of(in_state(f, names[i])), 0600);
    assert_int_equal(strlen(ledger_uuid(f->ledger)), 32);
    umask(old);
}

static void a_folder_that_others_can_enter_is_refused(void **state)
{
    struct fixture *f = *state;
    static const mode_t modes[] = {0755, 0710, 0701, 0770, 0707};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (i == 0)
            assert_int_equal(mkdir(f->state, 0700), 0);
        assert_int_equal(chmod(f->state, modes[i]), 0);
        refused(f, open_it(f), ERR_REFUSED, "chmod 700");
        refused(f, ledger_open_read(f->state, &f->ledger, &f->err), ERR_REFUSED, "chmod 700");
    }
    assert_int_equal(access(in_state(f, "ledger.lock"), F_OK), -1); /* nothing was made in it */
    assert_int_equal(chmod(f->state, 0700), 0);
    ok(f, open_it(f));
}

static void a_folder_of_another_user_is_refused(void **state)
{
    struct fixture *f = *state;

    if (geteuid()) {
        print_message("skipped: only root can make a folder of another user\n");
        skip();
    }
    assert_int_equal(mkdir(f->state, 0700), 0);
    assert_int_equal(chown(f->state, 65534, 65534), 0);
    refused(f, open_it(f), ERR_REFUSED, "another user");
    refused(f, ledger_open_read(f->state, &f->ledger, &f->err), ERR_REFUSED, "another user");
    assert_int_equal(chown(f->state, 0, 0), 0);
    /* And ours, for somebody else. */
    make_ledger(f);
    assert_int_equal(chmod(f->folder, 0755), 0);
    assert_int_equal(seteuid(65534), 0);
    refused(f, open_it(f), ERR_PLACE, "cannot be opened");
    refused(f, ledger_open_read(f->state, &f->ledger, &f->err), ERR_PLACE, "cannot be opened");
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chown(f->db, 65534, 65534), 0);
    refused(f, open_it(f), ERR_REFUSED, "plain file of yours");
}

static void only_plain_files_are_taken(void **state)
{
    struct fixture *f = *state;
    char other[128];

    snprintf(other, sizeof(other), "%s/other", f->folder);
    write_file(other, "keep", 4);
    refused(f, ledger_open(other, &f->ledger, &f->err), ERR_REFUSED, "cannot be opened");
    assert_int_equal(mkdir(f->state, 0700), 0);
    for (int i = 0; i < 4; i++) {
        const char *path = in_state(f, names[i]);

        assert_int_equal(symlink(other, path), 0);
        refused(f, open_it(f), ERR_REFUSED, names[i]);
        assert_int_equal(unlink(path), 0);
        unlink(in_state(f, "ledger.lock"));
    }
    assert_int_equal(mkdir(f->db, 0700), 0);
    refused(f, open_it(f), ERR_REFUSED, "plain file");
    assert_int_equal(rmdir(f->db), 0);
    assert_int_equal(mkfifo(f->db, 0600), 0);
    refused(f, open_it(f), ERR_REFUSED, "plain file");
    assert_int_equal(unlink(f->db), 0);
    {
        char text[8] = "";
        int fd = open(other, O_RDONLY);

        assert_int_equal(read(fd, text, sizeof(text)), 4); /* nobody wrote through the links */
        close(fd);
    }
}

static void a_second_writer_is_told_who_is_first(void **state)
{
    struct fixture *f = *state;
    struct ledger *second = NULL;
    char words[64];
    int status;
    pid_t pid;

    ok(f, open_it(f));
    snprintf(words, sizeof(words), "(process %ld)", (long)getpid());
    refused(f, ledger_open(f->state, &second, &f->err), ERR_REFUSED, words);
    pid = fork();
    if (pid == 0) {
        int result = ledger_open(f->state, &second, &f->err);

        _exit(result == -1 && f->err.code == ERR_REFUSED && strstr(f->err.text, words) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_null(second);
    /* The first one is not disturbed, and its end frees the place. */
    ok(f, ledger_audit(f->ledger, "s", "e", "{}", &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    /* A holder that has not said who it is. */
    write_file(in_state(f, "ledger.lock"), "x", 1);
    refused(f, ledger_open(f->state, &second, &f->err), ERR_REFUSED, "another sendit works");
}

/* ---- what is in the file ---- */

static void change(const struct fixture *f, const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    chmod(f->db, 0600);
}

static void both_refuse(struct fixture *f, const char *words)
{
    refused(f, open_it(f), ERR_REFUSED, words);
    refused(f, ledger_open_read(f->state, &f->ledger, &f->err), ERR_REFUSED, words);
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;

    make_ledger(f);
    change(f, "PRAGMA user_version = 3");
    both_refuse(f, "newer sendit (schema 3, this one knows 2)");
    change(f, "PRAGMA user_version = 0");
    both_refuse(f, "another program");
    change(f, "PRAGMA user_version = 2; PRAGMA application_id = 7");
    both_refuse(f, "another program");
    change(f, "PRAGMA application_id = 1396984148");
    ok(f, open_it(f));
    assert_int_equal(ask(f, "SELECT count(*) FROM batch"), 20);
}

static void a_database_of_others_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->state, 0700), 0);
    change(f, "CREATE TABLE t (x); INSERT INTO t VALUES (5)");
    both_refuse(f, "another program");
    assert_int_equal(ask(f, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_int_equal(ask(f, "SELECT x FROM t"), 5);
    assert_int_equal(ask(f, "SELECT journal_mode = 'delete' FROM pragma_journal_mode"), 1);
}

static void what_is_no_database_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char zeros[8192];
    struct stat st;

    assert_int_equal(mkdir(f->state, 0700), 0);
    write_file(f->db, "This is a text that somebody saved under a wrong name.\n", 55);
    both_refuse(f, "damaged");
    write_file(f->db, zeros, sizeof(zeros));
    both_refuse(f, "damaged");
    assert_int_equal(unlink(f->db), 0);
    make_ledger(f);
    assert_int_equal(stat(f->db, &st), 0);
    assert_int_equal(truncate(f->db, st.st_size / 2 / 4096 * 4096), 0);
    both_refuse(f, "damaged");
    assert_int_equal(truncate(f->db, 40), 0);
    both_refuse(f, "damaged");
    /* Nothing at all is what a kill before the first commit leaves. */
    assert_int_equal(truncate(f->db, 0), 0);
    assert_int_equal(ledger_open_read(f->state, &f->ledger, &f->err), 1);
    ok(f, open_it(f));
}

static int count_batch(void *ctx, const struct ledger_batch *batch)
{
    (void)batch;
    (*(int *)ctx)++;
    return 0;
}

static int count_item(void *ctx, const struct ledger_item *item)
{
    (void)item;
    (*(int *)ctx)++;
    return 0;
}

/* Read all, write a little: -1 or not, but no crash. */
static void use(struct fixture *f)
{
    struct ledger_counts counts;
    struct ledger_batch batch;
    char id[SENDIT_ID_SIZE];
    int n = 0;

    if (open_it(f)) {
        assert_true(f->err.code == ERR_REFUSED || f->err.code == ERR_PLACE);
        return;
    }
    (void)ledger_batches(f->ledger, false, count_batch, &n, &f->err);
    (void)ledger_totals(f->ledger, false, &counts, &f->err);
    for (int i = 1; i <= 20; i++) {
        snprintf(id, sizeof(id), "b%d", i);
        (void)ledger_items(f->ledger, id, 0, count_item, &n, &f->err);
    }
    if (!ledger_recover(f->ledger, &f->err) && !ledger_claim(f->ledger, &batch, &f->err)) {
        (void)decide(f, &batch, 1, ITEM_FAILED, "x");
        ledger_batch_fini(&batch);
    }
    (void)ledger_commit(f->ledger, &f->err);
    ledger_close(f->ledger);
    f->ledger = NULL;
}

static void damage_is_an_error_and_no_crash(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 1;
    struct stat st;
    char *whole;
    int fd;

    make_ledger(f);
    assert_int_equal(stat(f->db, &st), 0);
    whole = malloc((size_t)st.st_size);
    assert_non_null(whole);
    fd = open(f->db, O_RDONLY);
    assert_int_equal(read(fd, whole, (size_t)st.st_size), st.st_size);
    close(fd);
    for (int i = 0; i < 200; i++) {
        char *copy = malloc((size_t)st.st_size);

        assert_non_null(copy);
        memcpy(copy, whole, (size_t)st.st_size);
        for (int k = 0; k < 1 + i % 40; k++) {
            seed = seed * 1103515245u + 12345u;
            copy[(seed >> 4) % (size_t)st.st_size] = (char)(seed >> 20);
        }
        for (int k = 0; k < 3; k++)
            unlink(in_state(f, names[k]));
        write_file(f->db, copy, (size_t)st.st_size);
        free(copy);
        use(f);
    }
    free(whole);
}

/* ---- kills ---- */

static void what_was_committed_survives_a_kill(void **state)
{
    struct fixture *f = *state;
    struct ledger_counts counts;
    struct ledger_batch batch;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        ok(f, open_it(f));
        claim_new(f, "/in/1", 3, &batch);
        ok(f, decide(f, &batch, 1, ITEM_QUARANTINED, "x"));
        ok(f, ledger_commit(f->ledger, &f->err));
        assert_int_equal(ledger_pending(f->ledger), 0);
        ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "x"));
        assert_int_equal(ledger_pending(f->ledger), 1);
        ledger_batch_fini(&batch);
        claim_new(f, "/in/2", 3, &batch);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* A reader sees it before any writer has mended anything. */
    ok(f, ledger_open_read(f->state, &f->ledger, &f->err));
    counts = counts_of(f, "b1");
    assert_int_equal(counts.quarantined, 1);
    assert_int_equal(counts.waiting, 2);
    assert_int_equal(ledger_batch_get(f->ledger, "b2", &batch, &f->err), 1);
    ledger_close(f->ledger);
    ok(f, open_it(f)); /* the lock went with its holder */
    assert_int_equal(counts_of(f, "b1").quarantined, 1);
    ok(f, ledger_recover(f->ledger, &f->err));
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    assert_int_equal(batch.attempt, 2);
    ledger_batch_fini(&batch);
}

/* The child says the number of each row after its commit; all those said are there afterwards. */
static void kill_a_writer(struct fixture *f, useconds_t after)
{
    int pipe_fds[2], status, last = -1, n;
    pid_t pid;

    assert_int_equal(pipe(pipe_fds), 0);
    pid = fork();
    if (pid == 0) {
        ok(f, open_it(f));
        for (n = 0;; n++) {
            char json[16];

            snprintf(json, sizeof(json), "%d", n);
            ok(f, ledger_audit(f->ledger, "s", "e", json, &f->err));
            ok(f, ledger_commit(f->ledger, &f->err));
            if (write(pipe_fds[1], &n, sizeof(n)) != sizeof(n))
                _exit(1);
        }
    }
    close(pipe_fds[1]);
    usleep(after);
    kill(pid, SIGKILL);
    while (read(pipe_fds[0], &n, sizeof(n)) == (ssize_t)sizeof(n))
        last = n;
    close(pipe_fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    ok(f, open_it(f));
    assert_true(ask(f, "SELECT coalesce(max(CAST(json AS INTEGER)), -1) FROM audit") >= last);
    check_integrity(f);
    ledger_close(f->ledger);
    f->ledger = NULL;
}

static void kills_at_any_moment_lose_nothing(void **state)
{
    for (useconds_t i = 0; i < 20; i++)
        kill_a_writer(*state, i * 900);
}

/* ---- readers ---- */

static void a_reader_finds_nothing_where_nothing_is(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ledger_open_read(f->state, &f->ledger, &f->err), 1);
    assert_int_equal(access(f->state, F_OK), -1); /* and makes nothing */
    assert_int_equal(mkdir(f->state, 0700), 0);
    assert_int_equal(ledger_open_read(f->state, &f->ledger, &f->err), 1);
    assert_int_equal(access(f->db, F_OK), -1);
    assert_null(f->ledger);
}

static void a_reader_reads_while_a_run_goes_on(void **state)
{
    struct fixture *f = *state;
    struct fixture reader = *f;
    struct ledger_batch batch;

    ok(f, open_it(f));
    claim_new(f, "/in/1", 3, &batch);
    ok(f, ledger_commit(f->ledger, &f->err));
    ok(f, decide(f, &batch, 1, ITEM_FAILED, "x")); /* not committed */
    ok(&reader, ledger_open_read(f->state, &reader.ledger, &reader.err));
    assert_int_equal(counts_of(&reader, "b1").waiting, 3);
    ok(f, ledger_commit(f->ledger, &f->err));              /* no reader holds up the writer */
    assert_int_equal(counts_of(&reader, "b1").waiting, 3); /* one moment for all its questions */
    refused(&reader, decide(&reader, &batch, 2, ITEM_FAILED, "x"), ERR_BATCH, "open to read");
    ok(&reader, ledger_commit(reader.ledger, &reader.err));
    ledger_close(reader.ledger);
    ok(&reader, ledger_open_read(f->state, &reader.ledger, &reader.err));
    assert_int_equal(counts_of(&reader, "b1").failed, 1);
    ledger_batch_fini(&batch);
    ledger_close(f->ledger); /* before the reader */
    f->ledger = NULL;
    assert_int_equal(counts_of(&reader, "b1").failed, 1);
    ledger_close(reader.ledger);
    /* After the run, too; what the reader makes is private. */
    ok(&reader, ledger_open_read(f->state, &reader.ledger, &reader.err));
    assert_int_equal(counts_of(&reader, "b1").failed, 1);
    for (int i = 0; i < 3; i++)
        if (!access(in_state(f, names[i]), F_OK))
            assert_int_equal(mode_of(in_state(f, names[i])), 0600);
    ledger_close(reader.ledger);
    ok(f, open_it(f));
}

/* ---- disks ---- */

/* A small file system on the state folder, which no other process sees. */
static void mount_small(struct fixture *f)
{
    assert_int_equal(mkdir(f->state, 0700), 0);
    if (geteuid() || unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", f->state, "tmpfs", 0, "size=600k,mode=0700")) {
        print_message("skipped: a file system cannot be mounted here (%s)\n", strerror(errno));
        skip();
    }
}

static void unmount(struct fixture *f)
{
    ledger_close(f->ledger);
    f->ledger = NULL;
    assert_int_equal(umount(f->state), 0);
}

static void a_full_disk_is_said_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    int fd, result = 0;
    char text[1024];

    mount_small(f);
    ok(f, open_it(f));
    claim_new(f, "/in/1", 2, &batch);
    ok(f, ledger_commit(f->ledger, &f->err));
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while (!result) {
        for (int i = 0; i < 10 && !result; i++)
            result = ledger_audit(f->ledger, "s", "e", text, &f->err);
        if (!result)
            result = ledger_commit(f->ledger, &f->err);
    }
    refused(f, result, ERR_PLACE, "make room");
    /* What the caller believes is wrong now: nothing is written any more, also with room. */
    refused(f, decide(f, &batch, 1, ITEM_FAILED, "x"), ERR_PLACE, "make room");
    refused(f, ledger_commit(f->ledger, &f->err), ERR_PLACE, "make room");
    assert_int_equal(ledger_pending(f->ledger), 0);
    assert_int_equal(counts_of(f, "b1").waiting, 2);
    ledger_batch_fini(&batch);
    ledger_close(f->ledger);
    f->ledger = NULL;
    /* Full to the last byte, it cannot even be opened, and says why. */
    fd = open(in_state(f, "filler"), O_WRONLY | O_CREAT, 0600);
    while (write(fd, text, sizeof(text)) > 0 || write(fd, text, 1) > 0)
        ;
    close(fd);
    unlink(in_state(f, "ledger.lock"));
    if (open_it(f)) {
        assert_int_equal(f->err.code, ERR_PLACE);
        assert_non_null(strstr(f->err.text, "room"));
    }
    ledger_close(f->ledger);
    f->ledger = NULL;
    unmount(f); /* nothing keeps it busy */
}

static void a_full_disk_is_left_as_it_was(void **state)
{
    struct fixture *f = *state;
    int64_t committed = 0;
    char text[1024];
    int result = 0;

    mount_small(f);
    ok(f, open_it(f));
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while (!result) {
        result = ledger_audit(f->ledger, "s", "e", text, &f->err);
        if (!result)
            result = ledger_commit(f->ledger, &f->err);
        committed += !result;
    }
    ledger_close(f->ledger);
    f->ledger = NULL;
    assert_int_equal(mount("none", f->state, "tmpfs", MS_REMOUNT, "size=8m"), 0);
    ok(f, open_it(f));
    assert_int_equal(ask(f, "SELECT count(*) FROM audit"), committed);
    ok(f, ledger_audit(f->ledger, "s", "e", text, &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    check_integrity(f);
    unmount(f);
}

static void a_read_only_disk_is_said(void **state)
{
    struct fixture *f = *state;

    mount_small(f);
    make_ledger(f);
    assert_int_equal(mount("none", f->state, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    refused(f, open_it(f), ERR_PLACE, "Read-only");
    assert_int_equal(mount("none", f->state, "tmpfs", MS_REMOUNT, NULL), 0);
    ok(f, open_it(f));
    unmount(f);
}

static void a_folder_that_cannot_be_made_is_said(void **state)
{
    struct fixture *f = *state;

    refused(f, ledger_open("/proc/self/no/such", &f->ledger, &f->err), ERR_PLACE, "made");
    refused(f, ledger_open("", &f->ledger, &f->err), ERR_PLACE, "made");
}

int main(void)
{
#define place_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        place_test(all_is_private),
        place_test(a_folder_that_others_can_enter_is_refused),
        place_test(a_folder_of_another_user_is_refused),
        place_test(only_plain_files_are_taken),
        place_test(a_second_writer_is_told_who_is_first),
        place_test(a_newer_schema_is_refused),
        place_test(a_database_of_others_is_refused_and_left_alone),
        place_test(what_is_no_database_is_refused),
        place_test(damage_is_an_error_and_no_crash),
        place_test(what_was_committed_survives_a_kill),
        place_test(kills_at_any_moment_lose_nothing),
        place_test(a_reader_finds_nothing_where_nothing_is),
        place_test(a_reader_reads_while_a_run_goes_on),
        place_test(a_full_disk_is_said_and_loses_nothing),
        place_test(a_full_disk_is_left_as_it_was),
        place_test(a_read_only_disk_is_said),
        place_test(a_folder_that_cannot_be_made_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
