/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's functions: feeding, working, what services keep, what commands read.
 * `test_ledger --bench [FILES]` prints what a row costs.
 */
#include "ledger_fixture.h"

#include <sys/resource.h>
#include <time.h>

/* ---- feeding ---- */

struct seen {
    size_t n;
    struct ledger_item item[8]; /* strings are not kept but for: */
    char id[8][SENDIT_ID_SIZE], path[8][256], code[8][64], digest[8][65], labels[8][64];
};

static int see(void *ctx, const struct ledger_item *item)
{
    struct seen *seen = ctx;

    assert_true(seen->n < 8);
    seen->item[seen->n] = *item;
    snprintf(seen->id[seen->n], SENDIT_ID_SIZE, "%s", item->id);
    snprintf(seen->path[seen->n], 256, "%s", item->path);
    snprintf(seen->code[seen->n], 64, "%s", item->code);
    snprintf(seen->digest[seen->n], 65, "%s", item->header_digest);
    snprintf(seen->labels[seen->n], 64, "%s", item->labels);
    seen->n++;
    return 0;
}

static struct seen items(struct fixture *f, const char *batch, int state)
{
    struct seen seen = {0};

    ok(f, ledger_items(f->ledger, batch, state, see, &seen, &f->err));
    return seen;
}

static void files_are_numbered_in_byte_order(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"b", "\xff\xfe", "B", "a\nb", "a", "\xc3\xa9", "a b"};
    static const char *const sorted[] = {"B", "a", "a\nb", "a b", "b", "\xc3\xa9", "\xff\xfe"};
    char batch[SENDIT_ID_SIZE], path[64];
    struct seen seen;

    ok(f, feed(f, "/in/\xff\n", names, 7, batch));
    assert_string_equal(batch, "b1");
    reopen(f); /* not committed: gone */
    assert_int_equal(ask(f, "SELECT count(*) FROM item"), 0);
    ok(f, feed(f, "/in/\xff\n", names, 7, batch));
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    seen = items(f, "b1", 0);
    assert_int_equal(seen.n, 7);
    for (size_t i = 0; i < 7; i++) {
        snprintf(path, sizeof(path), "/in/\xff\n/%s", sorted[i]);
        assert_string_equal(seen.path[i], path);
    }
    assert_string_equal(seen.id[6], "b1-000007");
    assert_int_equal(seen.item[0].state, ITEM_WAITING);
}

static void numbers_of_a_file_come_back(void **state)
{
    struct fixture *f = *state;
    const struct ledger_file file = {.path = "/x",
                                     .dev = UINT64_MAX,
                                     .ino = (1ULL << 63) + 5,
                                     .size = 1234567890123,
                                     .mtime_ns = -5};
    char batch[SENDIT_ID_SIZE];
    struct seen seen;

    ok(f, ledger_feed_open(f->ledger, "/", &f->err));
    ok(f, ledger_feed_add(f->ledger, &file, &f->err));
    ok(f, ledger_feed_add(f->ledger, &file, &f->err)); /* the same file is one file */
    ok(f, ledger_feed_close(f->ledger, batch, &f->err));
    seen = items(f, batch, ITEM_WAITING);
    assert_int_equal(seen.n, 1);
    assert_true(seen.item[0].dev == file.dev && seen.item[0].ino == file.ino &&
                seen.item[0].size == file.size && seen.item[0].mtime_ns == file.mtime_ns);
}

static void a_feed_has_one_shape(void **state)
{
    struct fixture *f = *state;
    const struct ledger_file file = {.path = "/x"}, none = {.path = ""};
    char batch[SENDIT_ID_SIZE];

    refused(f, ledger_feed_add(f->ledger, &file, &f->err), ERR_BATCH, "outside");
    refused(f, ledger_feed_close(f->ledger, batch, &f->err), ERR_BATCH, "not open");
    refused(f, ledger_feed_open(f->ledger, "", &f->err), ERR_BATCH, "without a key");
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    refused(f, ledger_feed_open(f->ledger, "/in", &f->err), ERR_BATCH, "inside");
    refused(f, ledger_feed_add(f->ledger, &none, &f->err), ERR_BATCH, "without a path");
    refused(f, ledger_feed_when_done(f->ledger, SENDIT_MOVE, NULL, &f->err), ERR_BATCH, "done");
    refused(f, ledger_feed_when_done(f->ledger, 3, NULL, &f->err), ERR_BATCH, "done");
    ok(f, ledger_feed_add(f->ledger, &file, &f->err));
    ledger_feed_forget(f->ledger);
    /* What was forgotten is not in the next one; a feed of nothing is no batch. */
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    assert_int_equal(ledger_feed_close(f->ledger, batch, &f->err), 1);
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT count(*) FROM batch"), 0);
}

static void add(struct fixture *f, const char *path, int64_t mtime, const char *ignored, bool bad)
{
    const struct ledger_file file = {
        .path = path, .size = 10, .mtime_ns = mtime, .ignored = ignored, .failed = bad};

    ok(f, ledger_feed_add(f->ledger, &file, &f->err));
}

/* Take what is in QUEUE through: all pass, those in `failing` fail. */
static int work(struct fixture *f, const char *failing)
{
    struct ledger_batch batch;
    int end;

    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    for (unsigned n = 1; n <= batch.counts.found; n++) {
        if (failing && strchr(failing, (char)('0' + n)))
            ok(f, decide(f, &batch, n, ITEM_FAILED, "import.unreadable"));
        else
            ok(f, pass(f, &batch, n));
    }
    ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
    ok(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err));
    ledger_batch_fini(&batch);
    return end;
}

static void a_known_folder_is_not_taken_again(void **state)
{
    struct fixture *f = *state;
    char batch[SENDIT_ID_SIZE];
    struct ledger_batch got;
    struct seen seen;

    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/a", 1, NULL, false);
    add(f, "/in/b", 1, NULL, false);
    add(f, "/in/c", 0, "import.vanished", true);
    add(f, "/in/x", 1, "import.ignored", false);
    ok(f, ledger_feed_close(f->ledger, batch, &f->err));
    /* Still in QUEUE: it stands, whatever is new. */
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/new", 1, NULL, false);
    assert_int_equal(ledger_feed_close(f->ledger, batch, &f->err), 1);
    assert_int_equal(work(f, "2"), BATCH_ERROR);
    /* Both that failed are taken again; a and x are known. */
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/a", 1, NULL, false);
    add(f, "/in/b", 1, NULL, false);
    add(f, "/in/c", 1, NULL, false);
    add(f, "/in/x", 1, "import.ignored", false);
    ok(f, ledger_feed_close(f->ledger, batch, &f->err));
    assert_string_equal(batch, "b2");
    seen = items(f, "b2", 0);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.path[0], "/in/b");
    assert_string_equal(seen.path[1], "/in/c");
    assert_int_equal(work(f, NULL), BATCH_DONE);
    /* Nothing new, and what is ignored makes no batch alone. */
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/a", 1, NULL, false);
    add(f, "/in/b", 1, NULL, false);
    add(f, "/in/y", 1, "import.ignored", false);
    assert_int_equal(ledger_feed_close(f->ledger, batch, &f->err), 1);
    /* A changed one and a new one; the third batch continues the first. */
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/b", 2, NULL, false);
    add(f, "/in/d", 1, NULL, false);
    add(f, "/in/a", 1, NULL, false);
    add(f, "/in/y", 1, "import.ignored", false);
    ok(f, ledger_feed_close(f->ledger, batch, &f->err));
    ok(f, ledger_batch_get(f->ledger, batch, &got, &f->err));
    assert_string_equal(got.id, "b3");
    assert_string_equal(got.continues, "b1");
    assert_int_equal(got.counts.found, 3);
    assert_int_equal(got.counts.ignored, 1);
    assert_int_equal(got.bytes, 30);
    ledger_batch_fini(&got);
}

static void ignored_files_alone_make_an_empty_batch_once(void **state)
{
    struct fixture *f = *state;
    char batch[SENDIT_ID_SIZE];

    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/x", 1, "import.ignored", false);
    ok(f, ledger_feed_close(f->ledger, batch, &f->err));
    assert_int_equal(counts_of(f, batch).ignored, 1);
    {
        struct ledger_batch got;
        int end;

        ok(f, ledger_claim(f->ledger, &got, &f->err));
        ok(f, ledger_batch_close(f->ledger, batch, false, &end, &f->err));
        assert_int_equal(end, BATCH_EMPTY);
        ledger_batch_fini(&got);
    }
    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    add(f, "/in/x", 2, "import.ignored", false);
    assert_int_equal(ledger_feed_close(f->ledger, batch, &f->err), 1);
}

/* ---- working ---- */

static void batches_are_claimed_in_byte_order_of_keys(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"/in/b", "/in/\xff", "/in/B", "/in/a"};
    static const char *const order[] = {"/in/B", "/in/a", "/in/b", "/in/\xff"};
    static const char *const one[] = {"x"};
    char id[SENDIT_ID_SIZE];
    struct ledger_batch batch;

    for (int i = 0; i < 4; i++)
        ok(f, feed(f, keys[i], one, 1, id));
    for (int i = 0; i < 4; i++) {
        ok(f, ledger_claim(f->ledger, &batch, &f->err));
        assert_string_equal(batch.key, order[i]);
        assert_int_equal(batch.state, BATCH_PROCESSING);
        assert_int_equal(batch.attempt, 1);
        assert_int_equal(batch.counts.waiting, 1);
        assert_true(batch.queued_ms > 0 && batch.started_ms >= batch.queued_ms);
        assert_null(batch.continues);
        ledger_batch_fini(&batch);
    }
    assert_int_equal(ledger_claim(f->ledger, &batch, &f->err), 1);
    ok(f, ledger_release(f->ledger, "b2", &f->err));
    refused(f, ledger_release(f->ledger, "b2", &f->err), ERR_BATCH, "not at work");
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    assert_string_equal(batch.id, "b2");
    assert_int_equal(batch.attempt, 2);
    ledger_batch_fini(&batch);
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f); /* died: all four are in QUEUE again */
    assert_int_equal(ledger_claim(f->ledger, &batch, &f->err), 1);
    ok(f, ledger_recover(f->ledger, &f->err));
    for (int i = 0; i < 4; i++) {
        ok(f, ledger_claim(f->ledger, &batch, &f->err));
        ledger_batch_fini(&batch);
    }
}

static void what_passed_waits_for_its_batch(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct seen seen;
    char id[SENDIT_ID_SIZE];

    claim_new(f, "/in", 3, &batch);
    ok(f, pass(f, &batch, 1));
    assert_int_equal(counts_of(f, batch.id).waiting, 3);
    seen = items(f, batch.id, ITEM_WAITING);
    assert_string_equal(seen.digest[0], "abc");
    assert_int_equal(seen.item[0].pixel_length, 7);
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    ok(f, ledger_recover(f->ledger, &f->err)); /* the try is void */
    seen = items(f, batch.id, ITEM_WAITING);
    assert_int_equal(seen.n, 3);
    assert_string_equal(seen.digest[0], "");
    ledger_batch_fini(&batch);
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    ok(f, pass(f, &batch, 1));
    ok(f, pass(f, &batch, 2));
    ok(f, pass(f, &batch, 3));
    ok(f, ledger_items_unpass(f->ledger, batch.id, item_id(&batch, 2, id), &f->err));
    ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
    assert_int_equal(counts_of(f, batch.id).stored, 2);
    assert_int_equal(counts_of(f, batch.id).waiting, 1);
    /* Nothing that passed before a release counts as passed after it. */
    ok(f, pass(f, &batch, 2));
    ok(f, ledger_release(f->ledger, batch.id, &f->err));
    ledger_batch_fini(&batch);
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
    assert_int_equal(counts_of(f, batch.id).waiting, 1);
    seen = items(f, batch.id, ITEM_STORED);
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.labels[0], "deid.header@local-anonymizer");
    assert_true(seen.item[0].decided_ms > 0);
    refused(f, ledger_items_settle(f->ledger, batch.id, ITEM_QUARANTINED, &f->err), ERR_BATCH,
            "neither");
    ledger_batch_fini(&batch);
}

static void an_end_is_an_end(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct seen seen;
    int end;

    claim_new(f, "/in", 3, &batch);
    refused(f, decide(f, &batch, 1, ITEM_WAITING, "x"), ERR_BATCH, "none");
    refused(f, decide(f, &batch, 1, 0, "x"), ERR_BATCH, "none");
    refused(f, decide(f, &batch, 1, 7, "x"), ERR_BATCH, "none");
    refused(f, decide(f, &batch, 4, ITEM_FAILED, "x"), ERR_BATCH, "does not have");
    refused(f, pass(f, &batch, 4), ERR_BATCH, "does not have");
    ok(f, decide(f, &batch, 1, ITEM_QUARANTINED, "dicom.truncated"));
    ok(f, decide(f, &batch, 1, ITEM_FAILED, "later"));
    ok(f, pass(f, &batch, 1));
    ok(f, pass(f, &batch, 2)); /* passed, then held by finish() */
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "store.conflict"));
    ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
    seen = items(f, batch.id, 0);
    assert_int_equal(seen.item[0].state, ITEM_QUARANTINED);
    assert_string_equal(seen.code[0], "dicom.truncated");
    assert_int_equal(seen.item[1].state, ITEM_QUARANTINED);
    refused(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err), ERR_BATCH, "wait");
    ok(f, ledger_items_fail(f->ledger, batch.id, "batch.stopped", "file-store", "It stopped.",
                            &f->err));
    assert_int_equal(counts_of(f, batch.id).failed, 1);
    ok(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err));
    assert_int_equal(end, BATCH_ERROR);
    refused(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err), ERR_BATCH,
            "not at work");
    ledger_batch_fini(&batch);
}

static void batches_end_by_their_counts(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int item, expected;
        bool stopped;
    } cases[] = {{ITEM_STORED, BATCH_DONE, false},       {ITEM_CHECKED, BATCH_DONE, false},
                 {ITEM_QUARANTINED, BATCH_EMPTY, false}, {ITEM_IGNORED, BATCH_EMPTY, false},
                 {ITEM_FAILED, BATCH_ERROR, false},      {ITEM_STORED, BATCH_ERROR, true}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ledger_batch batch;
        char key[16];
        int end;

        snprintf(key, sizeof(key), "/in/%zu", i);
        claim_new(f, key, 1, &batch);
        ok(f, decide(f, &batch, 1, cases[i].item, "x.y"));
        ok(f, ledger_batch_close(f->ledger, batch.id, cases[i].stopped, &end, &f->err));
        assert_int_equal(end, cases[i].expected);
        ledger_batch_fini(&batch);
    }
}

static void items_come_in_pages(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct seen seen = {0};
    char id[SENDIT_ID_SIZE];

    claim_new(f, "/in", 6, &batch);
    ok(f, decide(f, &batch, 2, ITEM_IGNORED, "x"));
    ok(f, pass(f, &batch, 4));
    ok(f, ledger_items_after(f->ledger, batch.id, "", 2, see, &seen, &f->err));
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.id[1], item_id(&batch, 3, id));
    ok(f, ledger_items_after(f->ledger, batch.id, seen.id[1], 9, see, &seen, &f->err));
    assert_int_equal(seen.n, 4);
    assert_string_equal(seen.id[2], item_id(&batch, 5, id));
    ok(f, ledger_items_after(f->ledger, batch.id, seen.id[3], 9, see, &seen, &f->err));
    assert_int_equal(seen.n, 4);
    ledger_batch_fini(&batch);
}

static void ids_are_checked(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",
                                      "b",
                                      "b0",
                                      "1",
                                      "b1x",
                                      "B1",
                                      "b-1",
                                      "b1-",
                                      "b1-0",
                                      "b1-1x",
                                      " b1",
                                      "b1-+1",
                                      "b99999999999999999999",
                                      "b1-16777216",
                                      "b1-000001-2"};
    struct ledger_batch batch, got;
    struct seen seen = {0};
    uint32_t attempt;

    claim_new(f, "/in", 1, &batch);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ledger_batch_get(f->ledger, bad[i], &got, &f->err), 1);
        assert_int_equal(ledger_item_get(f->ledger, bad[i], see, &seen, &f->err), 1);
        refused(f, ledger_item_tried(f->ledger, bad[i], &attempt, &f->err), ERR_BATCH, "none");
        refused(f, ledger_items(f->ledger, bad[i], 0, see, &seen, &f->err), ERR_BATCH, "none");
    }
    assert_int_equal(ledger_batch_get(f->ledger, "b2", &got, &f->err), 1);
    assert_int_equal(ledger_item_get(f->ledger, "b1-000002", see, &seen, &f->err), 1);
    refused(f, ledger_item_tried(f->ledger, "b1-000002", &attempt, &f->err), ERR_BATCH, "not have");
    refused(f, ledger_items_unpass(f->ledger, "b1", "b2-000001", &f->err), ERR_BATCH, "another");
    assert_int_equal(seen.n, 0);
    ok(f, ledger_item_get(f->ledger, "b1-1", see, &seen, &f->err));
    assert_string_equal(seen.id[0], "b1-000001");
    ok(f, ledger_item_tried(f->ledger, "b1-000001", &attempt, &f->err));
    ok(f, ledger_item_tried(f->ledger, "b1-000001", &attempt, &f->err));
    assert_int_equal(attempt, 2);
    ledger_batch_fini(&batch);
}

/* ---- instances ---- */

static int instance(struct fixture *f, const struct ledger_batch *batch, unsigned n,
                    const char *digest, struct seen *seen)
{
    char id[SENDIT_ID_SIZE];
    const struct ledger_item item = {.id = item_id(batch, n, id),
                                     .batch = batch->id,
                                     .header_digest = digest,
                                     .pixel_length = 9};

    return ledger_instance(f->ledger, "2.25.7", &item, see, seen, &f->err);
}

static void the_first_has_the_uid(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch one, two;
    struct seen seen = {0};

    claim_new(f, "/in/1", 3, &one);
    claim_new(f, "/in/2", 2, &two);
    ok(f, instance(f, &one, 1, "aa", &seen));
    ok(f, instance(f, &one, 1, "bb", &seen)); /* itself, another try */
    assert_int_equal(instance(f, &one, 2, "cc", &seen), 1);
    assert_string_equal(seen.id[0], "b1-000001");
    assert_string_equal(seen.digest[0], "bb");
    assert_int_equal(seen.item[0].pixel_length, 9);
    assert_string_equal(seen.path[0], "/in/1/a");
    assert_int_equal(instance(f, &two, 1, "cc", &seen), 1);
    /* Held since: it does not stand in the way. */
    ok(f, decide(f, &one, 1, ITEM_QUARANTINED, "x"));
    ok(f, instance(f, &two, 1, "dd", &seen));
    assert_int_equal(instance(f, &one, 2, "cc", &seen), 1);
    /* A batch that is done again has noted nothing yet. */
    ok(f, ledger_release(f->ledger, two.id, &f->err));
    ok(f, instance(f, &one, 2, "ee", &seen));
    ledger_batch_fini(&two);
    ok(f, ledger_claim(f->ledger, &two, &f->err));
    assert_int_equal(instance(f, &two, 1, "ee", &seen), 1);
    /* Stored, it stands in the way for ever. */
    ok(f, pass(f, &one, 2));
    ok(f, ledger_items_settle(f->ledger, one.id, ITEM_STORED, &f->err));
    ok(f, ledger_release(f->ledger, one.id, &f->err));
    assert_int_equal(instance(f, &two, 2, "ff", &seen), 1);
    {
        const struct ledger_item item = {.id = "b2-000002", .batch = "b2", .header_digest = "ff"};

        ok(f, ledger_instance_take(f->ledger, "2.25.7", &item, &f->err));
    }
    assert_int_equal(instance(f, &two, 1, "ee", &seen), 1);
    assert_string_equal(seen.id[seen.n - 1], "b2-000002");
    ledger_batch_fini(&one);
    ledger_batch_fini(&two);
}

static void what_a_dead_run_noted_of_uids_is_void(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch one, two;
    struct seen seen = {0};

    claim_new(f, "/in/1", 2, &one);
    claim_new(f, "/in/2", 1, &two);
    ok(f, instance(f, &two, 1, "aa", &seen));
    ok(f, instance(f, &one, 2, "aa", &seen) == 1 ? 0 : -1);
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    ok(f, ledger_recover(f->ledger, &f->err));
    ledger_batch_fini(&one);
    ledger_batch_fini(&two);
    ok(f, ledger_claim(f->ledger, &one, &f->err));
    ok(f, ledger_claim(f->ledger, &two, &f->err));
    ok(f, instance(f, &one, 2, "aa", &seen));
    ok(f, instance(f, &one, 1, "aa", &seen) == 1 ? 0 : -1);
    assert_int_equal(instance(f, &two, 1, "aa", &seen), 1);
    ledger_batch_fini(&one);
    ledger_batch_fini(&two);
}

/* ---- when_done ---- */

struct pending {
    struct fixture *f;
    char ids[64];
};

static int settle_one(void *ctx, const char *batch)
{
    struct pending *pending = ctx;

    strcat(strcat(pending->ids, batch), " ");
    if (!strcmp(batch, "b1"))
        ok(pending->f, ledger_done_settled(pending->f->ledger, batch, &pending->f->err));
    ok(pending->f, ledger_commit(pending->f->ledger, &pending->f->err));
    return 0;
}

static void originals_are_due_until_settled(void **state)
{
    struct fixture *f = *state;
    struct pending pending = {.f = f};
    char batch[SENDIT_ID_SIZE];
    struct ledger_batch got;
    static const int how[] = {SENDIT_MOVE, SENDIT_LEAVE, SENDIT_DELETE};

    for (int i = 0; i < 3; i++) {
        char key[16];

        snprintf(key, sizeof(key), "/%d", i);
        ok(f, ledger_feed_open(f->ledger, key, &f->err));
        ok(f, ledger_feed_when_done(f->ledger, how[i], how[i] == SENDIT_MOVE ? "/done" : NULL,
                                    &f->err));
        add(f, "/a", 1, NULL, false);
        ok(f, ledger_feed_close(f->ledger, batch, &f->err));
    }
    ok(f, ledger_done_pending(f->ledger, settle_one, &pending, &f->err));
    assert_string_equal(pending.ids, ""); /* none is closed */
    for (int i = 0; i < 3; i++)
        work(f, NULL);
    ok(f, ledger_done_pending(f->ledger, settle_one, &pending, &f->err));
    assert_string_equal(pending.ids, "b1 b3 ");
    ok(f, ledger_done_pending(f->ledger, settle_one, &pending, &f->err));
    assert_string_equal(pending.ids, "b1 b3 b3 ");
    ok(f, ledger_batch_get(f->ledger, "b1", &got, &f->err));
    assert_string_equal(got.done_folder, "/done");
    assert_int_equal(got.when_done, SENDIT_MOVE);
    ledger_batch_fini(&got);
}

/* ---- what services keep ---- */

static int join_fact(void *ctx, const char *key, const char *value)
{
    strcat(strcat(strcat(ctx, key), "="), value);
    strcat(ctx, " ");
    return 0;
}

static void facts_belong_to_their_batch(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch one, two;
    char text[200] = "";

    claim_new(f, "/1", 2, &one);
    claim_new(f, "/2", 1, &two);
    ok(f, ledger_fact_put(f->ledger, "b1", "b1-000002", "k", "v2", &f->err));
    ok(f, ledger_fact_put(f->ledger, "b1", "", "k", "batch", &f->err));
    ok(f, ledger_fact_put(f->ledger, "b2", "", "k", "other", &f->err));
    ok(f, ledger_fact_put(f->ledger, "b1", "", "k", "again", &f->err));
    refused(f, ledger_fact_put(f->ledger, "b1", "b2-000001", "k", "v", &f->err), ERR_BATCH,
            "another");
    ok(f, ledger_facts(f->ledger, "b1", "", join_fact, text, &f->err));
    ok(f, ledger_facts(f->ledger, "b1", "b1-000001", join_fact, text, &f->err));
    ok(f, ledger_facts(f->ledger, "b1", "b1-000002", join_fact, text, &f->err));
    assert_string_equal(text, "k=again k=v2 ");
    refused(f, ledger_facts(f->ledger, "b1", "b2-000001", join_fact, text, &f->err), ERR_BATCH,
            "another");
    ledger_batch_fini(&one);
    ledger_batch_fini(&two);
}

static void the_store_compares_revisions(void **state)
{
    struct fixture *f = *state;
    uint64_t revision = 0, first;
    void *value = NULL;
    char *key = NULL;
    size_t length = 9;
    struct ledger *l = f->ledger;

    assert_int_equal(ledger_store_get(l, "s", "k", &value, &length, &revision, &f->err), 1);
    assert_int_equal(ledger_store_put(l, "s", "k", "a\0b", 3, 5, &f->err), 1);
    ok(f, ledger_store_put(l, "s", "k", "a\0b", 3, 0, &f->err));
    assert_int_equal(ledger_store_put(l, "s", "k", "x", 1, 0, &f->err), 1);
    ok(f, ledger_store_get(l, "s", "k", &value, &length, &first, &f->err));
    assert_int_equal(length, 3);
    assert_memory_equal(value, "a\0b", 4);
    free(value);
    assert_true(first > 0);
    assert_int_equal(ledger_store_get(l, "t", "k", &value, &length, &revision, &f->err), 1);
    ok(f, ledger_store_put(l, "s", "k", "", 0, first, &f->err));
    ok(f, ledger_store_get(l, "s", "k", &value, &length, &revision, &f->err));
    assert_int_equal(length, 0);
    free(value);
    assert_true(revision != first);
    /* Deleted and made again, it has no revision that it had before. */
    assert_int_equal(ledger_store_put(l, "s", "k", NULL, 0, first, &f->err), 1);
    ok(f, ledger_store_put(l, "s", "k", NULL, 0, revision, &f->err));
    ok(f, ledger_store_put(l, "s", "k", "n", 1, 0, &f->err));
    assert_int_equal(ledger_store_put(l, "s", "k", "x", 1, first, &f->err), 1);
    assert_int_equal(ledger_store_put(l, "s", "k", "x", 1, revision, &f->err), 1);
    /* Keys in byte order, of one stage alone. */
    ok(f, ledger_store_put(l, "s", "\xc3\xa9", "x", 1, 0, &f->err));
    ok(f, ledger_store_put(l, "s", "K", "x", 1, 0, &f->err));
    ok(f, ledger_store_put(l, "r", "z", "x", 1, 0, &f->err));
    {
        static const char *const order[] = {"K", "k", "\xc3\xa9"};
        char at[8] = "";

        for (int i = 0; i < 3; i++) {
            ok(f, ledger_store_next(l, "s", at, &key, &f->err));
            assert_string_equal(key, order[i]);
            strcpy(at, key);
            free(key);
        }
        assert_int_equal(ledger_store_next(l, "s", at, &key, &f->err), 1);
    }
}

static void the_crosswalk_keeps_the_first(void **state)
{
    struct fixture *f = *state;
    char *pseudonym = NULL;
    int64_t since = 0;
    struct ledger *l = f->ledger;

    assert_int_equal(ledger_crosswalk_get(l, "patient", "P1", &pseudonym, &since, &f->err), 1);
    ok(f, ledger_crosswalk_put(l, "patient", "P1", "X1", &pseudonym, &f->err));
    assert_string_equal(pseudonym, "X1");
    free(pseudonym);
    ok(f, ledger_crosswalk_put(l, "patient", "P1", "X2", &pseudonym, &f->err));
    assert_string_equal(pseudonym, "X1");
    free(pseudonym);
    assert_int_equal(ledger_crosswalk_put(l, "patient", "P2", "X1", &pseudonym, &f->err), 1);
    ok(f, ledger_crosswalk_put(l, "study", "P1", "X1", &pseudonym, &f->err));
    free(pseudonym);
    ok(f, ledger_crosswalk_get(l, "patient", "P1", &pseudonym, &since, &f->err));
    assert_string_equal(pseudonym, "X1");
    assert_true(since > 0);
    free(pseudonym);
}

/* What is keyed is told and not asked; of new UIDs nothing is compared. */
static void the_crosswalk_is_told(void **state)
{
    struct fixture *f = *state;
    struct ledger *l = f->ledger;
    char *pseudonym;
    int64_t since;

    ok(f, ledger_crosswalk_note(l, "uid", "1.2.3", "2.25.1", &f->err));
    ok(f, ledger_crosswalk_note(l, "uid", "1.2.3", "2.25.2", &f->err)); /* the first stands */
    ok(f, ledger_crosswalk_note(l, "uid", "1.2.4", "2.25.1", &f->err));
    ok(f, ledger_crosswalk_get(l, "uid", "1.2.3", &pseudonym, &since, &f->err));
    assert_string_equal(pseudonym, "2.25.1");
    free(pseudonym);
    ok(f, ledger_crosswalk_get(l, "uid", "1.2.4", &pseudonym, &since, &f->err));
    assert_string_equal(pseudonym, "2.25.1");
    free(pseudonym);
    ok(f, ledger_crosswalk_note(l, "patient", "P1", "X1", &f->err));
    ok(f, ledger_crosswalk_note(l, "patient", "P2", "X1", &f->err)); /* another's: left out */
    assert_int_equal(ledger_crosswalk_get(l, "patient", "P2", &pseudonym, &since, &f->err), 1);
}

static void the_audit_is_never_changed(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = NULL;

    ok(f, ledger_audit(f->ledger, "s", "object.deleted", "{}", &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(db, "DELETE FROM audit", NULL, NULL, NULL), SQLITE_OK);
    assert_int_not_equal(sqlite3_exec(db, "UPDATE audit SET json = ''", NULL, NULL, NULL),
                         SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(ask(f, "SELECT count(*) FROM audit WHERE json = '{}'"), 1);
}

static void metrics_add_up_and_stay_in_range(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;

    claim_new(f, "/1", 1, &batch);
    ok(f, ledger_metric(f->ledger, "b1", "s", "n", 3, &f->err));
    ok(f, ledger_metric(f->ledger, "b1", "s", "n", -5, &f->err));
    ok(f, ledger_metric(f->ledger, "b1", "s", "high", INT64_MAX, &f->err));
    ok(f, ledger_metric(f->ledger, "b1", "s", "high", INT64_MAX, &f->err));
    ok(f, ledger_metric(f->ledger, "b1", "s", "low", INT64_MIN, &f->err));
    ok(f, ledger_metric(f->ledger, "b1", "s", "low", INT64_MIN, &f->err));
    ok(f, ledger_metric(f->ledger, "b1", "s", "low", -1, &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT value FROM metric WHERE name = 'n'"), -2);
    assert_true(ask(f, "SELECT value FROM metric WHERE name = 'high'") == INT64_MAX);
    assert_true(ask(f, "SELECT value FROM metric WHERE name = 'low'") == INT64_MIN);
    ledger_batch_fini(&batch);
}

struct log {
    size_t n;
    uint64_t times;
    size_t text_len;
    char last[64], items[256];
};

static int see_message(void *ctx, const struct ledger_message *message)
{
    struct log *log = ctx;

    log->n++;
    log->times += message->times;
    log->text_len = strlen(message->text);
    snprintf(log->last, sizeof(log->last), "%s", message->code);
    if (log->n <= 4)
        strcat(strcat(log->items, message->item), ",");
    assert_true(message->at_ms > 0);
    return 0;
}

static void messages_are_counted_cut_and_bounded(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct log log = {0}, all = {0};
    char text[5000];
    int end;

    claim_new(f, "/1", 2, &batch);
    ok(f, ledger_message(f->ledger, "b1", "b1-000002", 2, "s", "c", "t", &f->err));
    ok(f, ledger_message(f->ledger, "b1", "b1-000001", 2, "s", "c", "t", &f->err));
    ok(f, ledger_message(f->ledger, "b1", "", 3, "s", "c", "t", &f->err));
    ok(f, ledger_messages(f->ledger, "b1", see_message, &log, &f->err));
    assert_int_equal(log.n, 2);
    assert_int_equal(log.times, 3);
    assert_string_equal(log.items, "b1-000002,,");
    text[0] = 'a'; /* so that the cut falls into a character */
    for (size_t i = 1; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof(text) - 1] = '\0';
    ok(f, ledger_message(f->ledger, "b1", "", 3, "s", "long", text, &f->err));
    ok(f, ledger_messages(f->ledger, "b1", see_message, &log, &f->err));
    assert_int_equal(log.text_len, 1999);
    for (int i = 0; i < 3000; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        ok(f, ledger_message(f->ledger, "b1", "", 1, "s", "flood", text, &f->err));
    }
    log = (struct log){0};
    ok(f, ledger_messages(f->ledger, "b1", see_message, &log, &f->err));
    assert_int_equal(log.n, 1001);
    assert_string_equal(log.last, "log.more");
    /* Without a batch: those in ERROR. */
    ok(f, ledger_messages(f->ledger, NULL, see_message, &all, &f->err));
    assert_int_equal(all.n, 0);
    ok(f, ledger_items_fail(f->ledger, "b1", "x", "s", "t", &f->err));
    ok(f, ledger_batch_close(f->ledger, "b1", true, &end, &f->err));
    ok(f, ledger_messages(f->ledger, NULL, see_message, &all, &f->err));
    assert_int_equal(all.n, 1001);
    ledger_batch_fini(&batch);
}

static void the_first_key_is_kept(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(ledger_known_key(f->ledger), "");
    refused(f, ledger_key(f->ledger, "", &f->err), ERR_BATCH, "fingerprint");
    ok(f, ledger_key(f->ledger, "aaaa", &f->err));
    ok(f, ledger_key(f->ledger, "aaaa", &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    assert_string_equal(ledger_known_key(f->ledger), "aaaa");
    refused(f, ledger_key(f->ledger, "bbbb", &f->err), ERR_REFUSED, "bbbb");
    assert_non_null(strstr(f->err.text, "aaaa"));
}

/* ---- runs and reading ---- */

static void begin_run(struct fixture *f)
{
    const struct ledger_run run = {
        .version = "0.1", .pipeline_digest = "d", .key_fingerprint = "k", .because = NULL};
    const struct ledger_stage stages[] = {{.id = "importer",
                                           .name = "importer",
                                           .version = "1",
                                           .digest = "x",
                                           .path = "/p",
                                           .grants = NULL,
                                           .ships = true},
                                          {.id = "file-store",
                                           .name = "file-store",
                                           .version = "1",
                                           .digest = "y",
                                           .path = "/q",
                                           .grants = "a b",
                                           .ships = true}};

    ok(f, ledger_run_begin(f->ledger, &run, stages, 2, &f->err));
}

static int count_batch(void *ctx, const struct ledger_batch *batch)
{
    strcat(strcat(ctx, batch->id), " ");
    return 0;
}

static int join_reason(void *ctx, int state, const char *stage, const char *code, uint64_t n)
{
    char *text = ctx;

    sprintf(text + strlen(text), "%s/%s/%s=%d ", ledger_item_word((enum ledger_item_state)state),
            stage, code, (int)n);
    return 0;
}

static void a_run_counts_what_it_touched(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct ledger_counts counts;
    char text[300] = "";
    int end;

    ok(f, ledger_run_end(f->ledger, 0, &f->err)); /* none has begun */
    begin_run(f);
    claim_new(f, "/1", 3, &batch);
    ok(f, decide(f, &batch, 1, ITEM_QUARANTINED, "a.b"));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "a.b"));
    ok(f, decide(f, &batch, 3, ITEM_IGNORED, "c.d"));
    ok(f, ledger_batch_close(f->ledger, "b1", false, &end, &f->err));
    ledger_batch_fini(&batch);
    ok(f, ledger_run_end(f->ledger, 0, &f->err));
    begin_run(f);
    claim_new(f, "/2", 2, &batch);
    ok(f, decide(f, &batch, 2, ITEM_FAILED, "e.f"));
    ok(f, ledger_batches(f->ledger, false, count_batch, text, &f->err));
    ok(f, ledger_batches(f->ledger, true, count_batch, text, &f->err));
    assert_string_equal(text, "b1 b2 b2 ");
    ok(f, ledger_totals(f->ledger, false, &counts, &f->err));
    assert_int_equal(counts.found, 5);
    assert_int_equal(counts.quarantined, 2);
    ok(f, ledger_totals(f->ledger, true, &counts, &f->err));
    assert_int_equal(counts.found, 2);
    assert_int_equal(counts.waiting, 1);
    text[0] = '\0';
    ok(f, ledger_reasons(f->ledger, NULL, true, join_reason, text, &f->err));
    assert_string_equal(text, "failed/core/e.f=1 ");
    ok(f, ledger_reasons(f->ledger, "b1", false, join_reason, text, &f->err));
    ok(f, ledger_reasons(f->ledger, "b1", true, join_reason, text, &f->err));
    assert_string_equal(text, "failed/core/e.f=1 ignored/core/c.d=1 quarantined/core/a.b=2 ");
    text[0] = '\0';
    ok(f, ledger_reasons(f->ledger, NULL, false, join_reason, text, &f->err));
    assert_string_equal(text, "failed/core/e.f=1 ignored/core/c.d=1 quarantined/core/a.b=2 ");
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT count(*) FROM run_stage"), 4);
    assert_int_equal(ask(f, "SELECT count(*) FROM item WHERE run = 1"), 3);
    ledger_batch_fini(&batch);
}

static int nest(void *ctx, const struct ledger_item *item)
{
    struct fixture *f = ctx;
    struct seen seen = {0};

    refused(f, ledger_items(f->ledger, item->batch, 0, see, &seen, &f->err), ERR_BATCH, "refused");
    ok(f, ledger_item_get(f->ledger, item->id, see, &seen, &f->err));
    return 1;
}

static void a_walk_does_not_nest_in_itself(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;

    claim_new(f, "/1", 3, &batch);
    ok(f, ledger_items(f->ledger, batch.id, 0, nest, f, &f->err));
    assert_int_equal(items(f, batch.id, 0).n, 3); /* the statement is free again */
    ledger_batch_fini(&batch);
}

/* ---- counts, whatever happens ---- */

static unsigned roll(unsigned *seed, unsigned n)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % n;
}

/* On one of the newest batches; *newest is the number of the last one. */
static void one_random_step(struct fixture *f, unsigned *seed, unsigned *newest)
{
    struct ledger_batch batch;
    char id[SENDIT_ID_SIZE], key[16];
    unsigned n = 1 + roll(seed, 8);
    int end;

    snprintf(id, sizeof(id), "b%u", *newest > 6 ? *newest - roll(seed, 6) : 1 + roll(seed, 6));
    snprintf(key, sizeof(key), "/in/%u", roll(seed, 60));
    if (ledger_batch_get(f->ledger, id, &batch, &f->err))
        memset(&batch, 0, sizeof(batch));
    switch (roll(seed, 11)) {
    case 0:
        ok(f, ledger_feed_open(f->ledger, key, &f->err));
        for (unsigned i = 0; i < n; i++) {
            char path[32];

            snprintf(path, sizeof(path), "%s/%u", key, roll(seed, 20));
            add(f, path, roll(seed, 3), roll(seed, 3) ? NULL : "import.ignored", !roll(seed, 40));
        }
        if (!roll(seed, 4)) {
            ledger_feed_forget(f->ledger);
        } else {
            int made = ledger_feed_close(f->ledger, id, &f->err);

            assert_true(made >= 0);
            if (made == 0)
                *newest = (unsigned)strtoul(id + 1, NULL, 10);
        }
        break;
    case 1:
        ledger_batch_fini(&batch);
        if (ledger_claim(f->ledger, &batch, &f->err))
            memset(&batch, 0, sizeof(batch));
        break;
    case 2:
    case 3:
        for (unsigned i = roll(seed, 2) ? n : 1; i <= n && i <= batch.counts.found; i++)
            ok(f, pass(f, &batch, i));
        break;
    case 4:
    case 5:
        if (n <= batch.counts.found && !roll(seed, 2))
            ok(f,
               decide(f, &batch, n, ITEM_CHECKED + (int)roll(seed, 4), roll(seed, 2) ? "a" : "b"));
        break;
    case 6:
        if (batch.id[0])
            ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
        break;
    case 7:
        if (batch.id[0])
            ok(f, ledger_items_unpass(f->ledger, batch.id, NULL, &f->err));
        break;
    case 8:
        if (batch.id[0] && !roll(seed, 4))
            ok(f, ledger_items_fail(f->ledger, batch.id, "c", "s", "t", &f->err));
        break;
    case 9:
        if (batch.state == BATCH_PROCESSING && !batch.counts.waiting)
            ok(f, ledger_batch_close(f->ledger, batch.id, roll(seed, 2), &end, &f->err));
        else if (batch.state == BATCH_PROCESSING && roll(seed, 2))
            ok(f, ledger_release(f->ledger, batch.id, &f->err));
        break;
    default:
        ok(f, ledger_commit(f->ledger, &f->err));
        if (!roll(seed, 4)) {
            reopen(f);
            ok(f, ledger_recover(f->ledger, &f->err));
        }
        break;
    }
    ledger_batch_fini(&batch);
}

static int add_counts(void *ctx, const struct ledger_batch *batch)
{
    const struct ledger_counts *n = &batch->counts;
    struct ledger_counts *sum = ctx;

    assert_int_equal(n->found,
                     n->stored + n->checked + n->quarantined + n->failed + n->ignored + n->waiting);
    sum->found += n->found;
    sum->waiting += n->waiting;
    if (batch->state == BATCH_DONE || batch->state == BATCH_EMPTY)
        assert_true(!n->waiting && !n->failed);
    return 0;
}

static void counts_add_up_whatever_happens(void **state)
{
    struct fixture *f = *state;
    unsigned seed = 20240611, newest = 0;

    for (int i = 0; i < 6000; i++) {
        struct ledger_counts sum = {0}, total;

        one_random_step(f, &seed, &newest);
        if (i % 50)
            continue;
        ok(f, ledger_batches(f->ledger, false, add_counts, &sum, &f->err));
        ok(f, ledger_totals(f->ledger, false, &total, &f->err));
        assert_int_equal(sum.found, total.found);
        assert_int_equal(sum.waiting, total.waiting);
        ok(f, ledger_commit(f->ledger, &f->err));
        check_integrity(f);
    }
    /* It has been everywhere. */
    assert_int_equal(ask(f, "SELECT count(*) FROM (SELECT DISTINCT state FROM item)"), 6);
    assert_true(ask(f, "SELECT count(*) FROM batch WHERE state = 'DONE'") > 0);
    assert_true(ask(f, "SELECT count(*) FROM batch WHERE state = 'ERROR'") > 0);
    assert_true(ask(f, "SELECT count(*) FROM batch WHERE attempt > 1") > 0);
    assert_true(newest > 30);
}

/* ---- what a row costs ---- */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void show_cost(const char *what, double since, unsigned n)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("%-28s %8.2f us a row  (peak %ld KiB)\n", what, (seconds() - since) * 1e6 / n,
           usage.ru_maxrss);
}

static int nothing(void *ctx, const struct ledger_item *item)
{
    snprintf(ctx, SENDIT_ID_SIZE, "%s", item->id);
    return 0;
}

static void bench_feed(struct fixture *f, unsigned n, bool again)
{
    char batch[SENDIT_ID_SIZE], path[200];
    double since = seconds();

    ok(f, ledger_feed_open(f->ledger, "/data/hospital/incoming/20240611/study", &f->err));
    for (unsigned i = 0; i < n; i++) {
        snprintf(path, sizeof(path),
                 "/data/hospital/incoming/20240611/study/series-%03u/1.2.840.113619.2.%u.dcm",
                 i % 97, i);
        add(f, path, i, NULL, false);
    }
    show_cost("feed: add", since, n);
    since = seconds();
    assert_int_equal(ledger_feed_close(f->ledger, batch, &f->err), again);
    ok(f, ledger_commit(f->ledger, &f->err));
    show_cost(again ? "feed: close, all known" : "feed: close", since, n);
}

static void bench_work(struct fixture *f, unsigned n)
{
    static const char digest[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct ledger_batch batch;
    char id[SENDIT_ID_SIZE] = "", uid[64];
    double since = seconds();
    int end;

    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    for (unsigned i = 0; i < n; i += 64)
        ok(f, ledger_items_after(f->ledger, batch.id, id, 64, nothing, id, &f->err));
    show_cost("items_after", since, n);
    since = seconds();
    for (unsigned i = 1; i <= n; i++) {
        const struct ledger_item item = {
            .id = item_id(&batch, i, id),
            .batch = batch.id,
            .uid = uid,
            .header_digest = digest,
            .pixel_length = 524288,
            .labels = "pixels.checked@pixel-check ids.replaced@local-anonymizer "
                      "deid.header@local-anonymizer"};

        snprintf(uid, sizeof(uid), "2.25.%u%029u", i * 2654435761u, i);
        ok(f, ledger_instance(f->ledger, uid, &item, nothing, id, &f->err));
        if (ledger_pending(f->ledger) >= 100)
            ok(f, ledger_commit(f->ledger, &f->err));
    }
    show_cost("instance, commit each 100", since, n);
    since = seconds();
    for (unsigned i = 1; i <= n; i++) {
        const struct ledger_item item = {
            .id = item_id(&batch, i, id),
            .batch = batch.id,
            .uid = uid,
            .header_digest = digest,
            .pixel_length = 524288,
            .labels = "pixels.checked@pixel-check ids.replaced@local-anonymizer "
                      "deid.header@local-anonymizer"};

        snprintf(uid, sizeof(uid), "2.25.%u%029u", i * 2654435761u, i);
        if (i % 10)
            ok(f, ledger_item_passed(f->ledger, &item, &f->err));
        else
            ok(f, decide(f, &batch, i, ITEM_QUARANTINED, "pixel-check.unknown"));
        if (ledger_pending(f->ledger) >= 100)
            ok(f, ledger_commit(f->ledger, &f->err));
    }
    show_cost("passed, commit each 100", since, n);
    since = seconds();
    ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
    ok(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err));
    ok(f, ledger_commit(f->ledger, &f->err));
    show_cost("settle, close", since, n);
    since = seconds();
    counts_of(f, batch.id);
    show_cost("batch_get", since, 1);
    ledger_batch_fini(&batch);
}

static int bench(unsigned n)
{
    void *state = NULL;

    setup_open(&state);
    printf("%u files\n", n);
    bench_feed(state, n, false);
    bench_work(state, n);
    bench_feed(state, n, true);
    return teardown(&state);
}

int main(int argc, char **argv)
{
#define ledger_test(test) cmocka_unit_test_setup_teardown(test, setup_open, teardown)
    const struct CMUnitTest tests[] = {
        ledger_test(files_are_numbered_in_byte_order),
        ledger_test(numbers_of_a_file_come_back),
        ledger_test(a_feed_has_one_shape),
        ledger_test(a_known_folder_is_not_taken_again),
        ledger_test(ignored_files_alone_make_an_empty_batch_once),
        ledger_test(batches_are_claimed_in_byte_order_of_keys),
        ledger_test(what_passed_waits_for_its_batch),
        ledger_test(an_end_is_an_end),
        ledger_test(batches_end_by_their_counts),
        ledger_test(items_come_in_pages),
        ledger_test(ids_are_checked),
        ledger_test(the_first_has_the_uid),
        ledger_test(what_a_dead_run_noted_of_uids_is_void),
        ledger_test(originals_are_due_until_settled),
        ledger_test(facts_belong_to_their_batch),
        ledger_test(the_store_compares_revisions),
        ledger_test(the_crosswalk_keeps_the_first),
        ledger_test(the_crosswalk_is_told),
        ledger_test(the_audit_is_never_changed),
        ledger_test(metrics_add_up_and_stay_in_range),
        ledger_test(messages_are_counted_cut_and_bounded),
        ledger_test(the_first_key_is_kept),
        ledger_test(a_run_counts_what_it_touched),
        ledger_test(a_walk_does_not_nest_in_itself),
        ledger_test(counts_add_up_whatever_happens),
    };

    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20000);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
