/* SPDX-License-Identifier: Apache-2.0 */
/* Files of images that rest: written whole or not at all, found again, taken away when due. */
#include "ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>

#include "base/file.h"
#include "run/held.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_open, teardown)

/* ---- pieces ---- */

/* A header in memory, then `length` bytes of a descriptor from the third on. */
static int write_it(struct fixture *f, const char *hold, const char *item, uint64_t length,
                    char digest[DIGEST_HEX])
{
    char path[200];
    struct sendit_part parts[2] = {{.data = "head", .length = 4}, {.length = length, .offset = 2}};
    const struct sendit_file file = {.parts = parts, .n_parts = 2};
    int folder = held_folder(f->state, "b1", hold), result, error;

    snprintf(path, sizeof(path), "%s/pixels", f->state);
    assert_int_equal(file_replace(path, "0123456789", 10, 0600), 0);
    parts[1].fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(folder >= 0 && parts[1].fd >= 0);
    result = held_write(folder, item, &file, digest);
    error = errno;
    close(parts[1].fd);
    close(folder);
    unlink(path);
    errno = error;
    return result;
}

static bool is_there(struct fixture *f, const char *hold, const char *item)
{
    char *path = held_path(f->state, "b1", hold, item);
    bool there = !access(path, F_OK);

    free(path);
    return there;
}

static void alive(void *ctx)
{
    ++*(int *)ctx;
}

/* ---- the tests ---- */

static void what_is_written_is_found_again(void **state)
{
    struct fixture *f = *state;
    char digest[DIGEST_HEX], found[DIGEST_HEX], *path, *data;
    struct stat st;
    size_t n;
    int calls = 0;
    mode_t old = umask(0);

    assert_int_equal(write_it(f, "review", "b1-000001", 5, digest), 0);
    umask(old);
    path = held_path(f->state, "b1", "review", "b1-000001");
    assert_int_equal(file_read(path, 100, &data, &n), 0);
    assert_string_equal(data, "head23456");
    free(data);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(held_digest(path, found, &st), 0);
    assert_string_equal(found, digest);
    assert_int_equal(held_sync(f->state, "b1", "review", alive, &calls), 0);
    assert_true(calls > 0);
    /* another size is another file, and so is another header */
    assert_int_equal(truncate(path, 8), 0);
    assert_int_equal(held_digest(path, found, &st), 0);
    assert_string_not_equal(found, digest);
    assert_int_equal(write_it(f, "review", "b1-000001", 5, digest), 0); /* in its place */
    assert_int_equal(held_digest(path, found, &st), 0);
    assert_string_equal(found, digest);
    *strrchr(path, '/') = '\0';
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    free(path);
}

static void what_cannot_be_written_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char digest[DIGEST_HEX];

    assert_int_equal(write_it(f, "review", "b1-000001", 9, digest), -1); /* 8 bytes are there */
    assert_int_equal(errno, EBADMSG);
    assert_false(is_there(f, "review", "b1-000001"));
}

static void links_and_odd_files_are_refused(void **state)
{
    struct fixture *f = *state;
    char digest[DIGEST_HEX], link[300], *path;
    struct stat st;

    assert_int_equal(write_it(f, "review", "b1-000001", 3, digest), 0);
    path = held_path(f->state, "b1", "review", "b1-000002");
    assert_int_equal(held_digest(path, digest, &st), -1);
    assert_int_equal(symlink("b1-000001.dcm", path), 0);
    assert_int_equal(held_digest(path, digest, &st), -1);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(held_digest(path, digest, &st), -1);
    unlink(path);
    free(path);
    snprintf(link, sizeof(link), "%s/held/b2", f->state);
    assert_int_equal(symlink("b1", link), 0);
    assert_int_equal(held_folder(f->state, "b2", "review"), -1);
    snprintf(link, sizeof(link), "%s/held/b1/other", f->state);
    assert_int_equal(symlink("review", link), 0);
    assert_int_equal(held_folder(f->state, "b1", "other"), -1);
}

static void what_nobody_needs_is_taken_away(void **state)
{
    struct fixture *f = *state;
    char digest[DIGEST_HEX], path[300], id[SENDIT_ID_SIZE];
    struct ledger_batch batch;

    claim_new(f, "/in", 5, &batch);
    for (unsigned i = 1; i <= 5; i++) {
        ok(f, pass(f, &batch, i));
        assert_int_equal(write_it(f, "review", item_id(&batch, i, id), 3, digest), 0);
        assert_int_equal(write_it(f, "earlier", id, 3, digest), 0);
    }
    ok(f, ledger_items_rest(f->ledger, "b1", "review", &f->err));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "a.b"));
    ok(f, decide(f, &batch, 3, ITEM_FAILED, "a.b"));
    ok(f, decide(f, &batch, 4, ITEM_STORED, ""));
    ok(f, decide(f, &batch, 5, ITEM_IGNORED, "a.b"));
    snprintf(path, sizeof(path), "%s/held/b1/review/b1-000001.part", f->state);
    assert_int_equal(file_replace(path, "", 0, 0600), 0);
    ok(f, held_clean(f->ledger, f->state, "b1", &f->err));
    assert_int_equal(access(path, F_OK), -1);
    assert_true(is_there(f, "review", "b1-000001"));  /* waits */
    assert_true(is_there(f, "review", "b1-000002"));  /* may be released */
    assert_true(is_there(f, "review", "b1-000003"));  /* may be taken again */
    assert_false(is_there(f, "review", "b1-000004")); /* stored */
    assert_false(is_there(f, "review", "b1-000005")); /* ignored */
    snprintf(path, sizeof(path), "%s/held/b1/earlier", f->state);
    assert_int_equal(access(path, F_OK), -1); /* where it rested before */
    /* of a batch that the ledger does not know, nothing is */
    snprintf(path, sizeof(path), "%s/held/b9/review", f->state);
    assert_int_equal(file_mkdirs(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/held/b9/review/b9-000001.dcm", f->state);
    assert_int_equal(file_replace(path, "x", 1, 0600), 0);
    ok(f, held_sweep(f->ledger, f->state, &f->err));
    assert_int_equal(access(path, F_OK), -1);
    assert_true(is_there(f, "review", "b1-000001"));
    ok(f, held_clean(f->ledger, f->state, "b7", &f->err)); /* nothing of it ever rested */
    ledger_batch_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_found_again),
        TEST(what_cannot_be_written_leaves_nothing),
        TEST(links_and_odd_files_are_refused),
        TEST(what_nobody_needs_is_taken_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
