/* SPDX-License-Identifier: Apache-2.0 */
/* Batches that rest at a hold entry, and where they go on. */
#include "ledger_fixture.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_open, teardown)

static void wrong(const struct fixture *f, int result)
{
    refused(f, result, ERR_BATCH, "");
}

static void see(struct fixture *f, const char *id, int state, const char *rests)
{
    struct ledger_batch batch;

    ok(f, ledger_batch_get(f->ledger, id, &batch, &f->err));
    assert_int_equal(batch.state, state);
    assert_string_equal(batch.rests, rests);
    ledger_batch_fini(&batch);
}

static uint64_t resting(struct fixture *f, const char *id, const char *hold)
{
    uint64_t n = 99;

    ok(f, ledger_resting(f->ledger, id, hold, &n, &f->err));
    return n;
}

static int count(void *ctx, const struct ledger_item *item)
{
    (void)item;
    ++*(int *)ctx;
    return 0;
}

/* Those that would be handed to a worker. */
static int in_hand(struct fixture *f, const char *id)
{
    int n = 0;

    ok(f, ledger_items_after(f->ledger, id, "", 99, count, &n, &f->err));
    return n;
}

/* A batch of 3, the last one quarantined, that rests at `review`. */
static void at_rest(struct fixture *f, struct ledger_batch *ret)
{
    claim_new(f, "/in", 3, ret);
    ok(f, pass(f, ret, 1));
    ok(f, pass(f, ret, 2));
    ok(f, decide(f, ret, 3, ITEM_QUARANTINED, "a.b"));
    ok(f, ledger_items_rest(f->ledger, ret->id, "review", &f->err));
    ok(f, ledger_batch_rest(f->ledger, ret->id, "review", &f->err));
}

static void claim(struct fixture *f)
{
    struct ledger_batch batch;

    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    ledger_batch_fini(&batch);
}

static void release_item(struct fixture *f, struct ledger_batch *batch, unsigned n)
{
    char id[SENDIT_ID_SIZE];
    struct ledger_decision decision = {
        .item = item_id(batch, n, id), .vouched = "", .because = "seen", .user = "me"};

    ok(f, ledger_decide(f->ledger, &decision, &f->err));
}

static void it_rests_until_resumed(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch, none;

    at_rest(f, &batch);
    see(f, "b1", BATCH_HELD, "review");
    assert_int_equal(counts_of(f, "b1").waiting, 2);
    assert_int_equal(resting(f, "b1", "review"), 2);
    assert_int_equal(resting(f, "b1", NULL), 2);
    assert_int_equal(resting(f, "b1", ""), 0);
    ok(f, ledger_commit(f->ledger, &f->err));
    reopen(f);
    ok(f, ledger_recover(f->ledger, &f->err)); /* it is not at work: it stays */
    see(f, "b1", BATCH_HELD, "review");
    assert_int_equal(ledger_claim(f->ledger, &none, &f->err), 1);
    ok(f, ledger_resume(f->ledger, "b1", &f->err));
    see(f, "b1", BATCH_QUEUE, "review");
    claim(f);
    assert_int_equal(in_hand(f, "b1"), 2);
    /* a run that dies, and a batch that is put back, leave it where it goes on */
    ok(f, ledger_recover(f->ledger, &f->err));
    see(f, "b1", BATCH_QUEUE, "review");
    claim(f);
    ok(f, pass(f, &batch, 1));
    ok(f, ledger_release(f->ledger, "b1", &f->err));
    see(f, "b1", BATCH_QUEUE, "review");
    claim(f);
    assert_int_equal(in_hand(f, "b1"), 2);
    ledger_batch_fini(&batch);
}

static void the_callers_mistakes(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    uint64_t n;

    claim_new(f, "/in", 1, &batch);
    wrong(f, ledger_resume(f->ledger, "b1", &f->err));
    wrong(f, ledger_items_rest(f->ledger, "b1", "", &f->err));
    wrong(f, ledger_items_rest(f->ledger, "b1", NULL, &f->err));
    wrong(f, ledger_batch_rest(f->ledger, "b1", "", &f->err));
    wrong(f, ledger_items_rest(f->ledger, "nonsense", "review", &f->err));
    wrong(f, ledger_resting(f->ledger, "nonsense", "", &n, &f->err));
    wrong(f, ledger_resume(f->ledger, "b9", &f->err));
    ok(f, pass(f, &batch, 1));
    ok(f, ledger_items_rest(f->ledger, "b1", "review", &f->err));
    ok(f, ledger_batch_rest(f->ledger, "b1", "review", &f->err));
    wrong(f, ledger_batch_rest(f->ledger, "b1", "review", &f->err)); /* not at work */
    ok(f, ledger_resume(f->ledger, "b1", &f->err));
    wrong(f, ledger_resume(f->ledger, "b1", &f->err));
    ledger_batch_fini(&batch);
}

static void a_release_takes_it_to_where_that_image_goes_on(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;

    at_rest(f, &batch);
    release_item(f, &batch, 3);
    see(f, "b1", BATCH_QUEUE, "");
    claim(f);
    assert_int_equal(in_hand(f, "b1"), 1); /* the others rest */
    /* Held again, and its worker killed: nobody said that the others should go on. */
    ok(f, decide(f, &batch, 3, ITEM_QUARANTINED, "a.b"));
    ok(f, ledger_release(f->ledger, "b1", &f->err));
    see(f, "b1", BATCH_HELD, "review");
    /* Of one that was resumed, too: all of it rests again. */
    ok(f, ledger_resume(f->ledger, "b1", &f->err));
    release_item(f, &batch, 3);
    see(f, "b1", BATCH_QUEUE, "");
    ledger_batch_fini(&batch);
}

static void one_held_behind_goes_on_behind(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    int end;

    at_rest(f, &batch);
    ok(f, ledger_resume(f->ledger, "b1", &f->err));
    claim(f);
    ok(f, pass(f, &batch, 1));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "c.d"));
    ok(f, ledger_items_settle(f->ledger, "b1", ITEM_STORED, &f->err));
    ok(f, ledger_batch_close(f->ledger, "b1", false, &end, &f->err));
    assert_int_equal(end, BATCH_DONE);
    release_item(f, &batch, 2);
    see(f, "b1", BATCH_QUEUE, "review");
    release_item(f, &batch, 3);
    see(f, "b1", BATCH_QUEUE, ""); /* what begins at the source comes first */
    ledger_batch_fini(&batch);
}

static void again_from_the_originals(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    uint64_t n;

    at_rest(f, &batch);
    ok(f, ledger_again(f->ledger, "b1", false, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 2);
    see(f, "b1", BATCH_QUEUE, "");
    assert_int_equal(resting(f, "b1", NULL), 0);
    wrong(f, ledger_again(f->ledger, "b1", false, NULL, NULL, &n, &f->err));
    ledger_batch_fini(&batch);
}

static void what_failed_behind_goes_on_behind(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    uint64_t n;
    int end;

    at_rest(f, &batch);
    ok(f, ledger_resume(f->ledger, "b1", &f->err));
    claim(f);
    ok(f, decide(f, &batch, 1, ITEM_FAILED, "hold.lost"));
    ok(f, ledger_items_fail(f->ledger, "b1", "batch.stopped", "late", "It did.", &f->err));
    ok(f, ledger_batch_close(f->ledger, "b1", true, &end, &f->err));
    assert_int_equal(end, BATCH_ERROR);
    ok(f, ledger_again(f->ledger, "b1", false, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 2);
    assert_int_equal(resting(f, "b1", "review"), 1); /* the other one has no file any more */
    see(f, "b1", BATCH_QUEUE, "");
    ledger_batch_fini(&batch);
}

/* One that rests was handed out, or will be: another of its UID is a double. */
static int no_holder(void *ctx, const struct ledger_item *item)
{
    snprintf(ctx, SENDIT_ID_SIZE, "%s", item->id);
    return 0;
}

static void its_instances_stand(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch, other;
    char first[SENDIT_ID_SIZE], second[SENDIT_ID_SIZE], found[SENDIT_ID_SIZE] = "";
    struct ledger_item item = {.header_digest = "d", .pixel_length = 1};

    claim_new(f, "/in", 1, &batch);
    item.id = item_id(&batch, 1, first);
    item.batch = batch.id;
    ok(f, ledger_instance(f->ledger, "1.2", &item, no_holder, found, &f->err));
    ok(f, pass(f, &batch, 1));
    ok(f, ledger_items_rest(f->ledger, "b1", "review", &f->err));
    ok(f, ledger_batch_rest(f->ledger, "b1", "review", &f->err));
    ok(f, ledger_resume(f->ledger, "b1", &f->err));
    claim(f); /* another attempt */
    ok(f, ledger_release(f->ledger, "b1", &f->err));
    claim(f);
    claim_new(f, "/other", 1, &other);
    item.id = item_id(&other, 1, second);
    item.batch = other.id;
    assert_int_equal(ledger_instance(f->ledger, "1.2", &item, no_holder, found, &f->err), 1);
    assert_string_equal(found, first);
    ledger_batch_fini(&batch);
    ledger_batch_fini(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_rests_until_resumed),
        TEST(the_callers_mistakes),
        TEST(a_release_takes_it_to_where_that_image_goes_on),
        TEST(one_held_behind_goes_on_behind),
        TEST(again_from_the_originals),
        TEST(what_failed_behind_goes_on_behind),
        TEST(its_instances_stand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
