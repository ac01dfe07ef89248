/* SPDX-License-Identifier: Apache-2.0 */
/* Second visits in the ledger: what people decide about images that are held, batches again. */
#include "ledger_fixture.h"

/* A batch of five: 1 stored, 2 and 3 held, 4 failed if `fails`, else stored, 5 ignored. */
static void close_one(struct fixture *f, const char *key, bool fails)
{
    struct ledger_batch batch;
    int end;

    claim_new(f, key, 5, &batch);
    ok(f, pass(f, &batch, 1));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "pixel.burned_in"));
    ok(f, decide(f, &batch, 3, ITEM_QUARANTINED, "dicom.truncated"));
    if (fails)
        ok(f, decide(f, &batch, 4, ITEM_FAILED, "import.io"));
    else
        ok(f, pass(f, &batch, 4));
    ok(f, decide(f, &batch, 5, ITEM_IGNORED, "import.empty"));
    ok(f, ledger_items_settle(f->ledger, batch.id, ITEM_STORED, &f->err));
    ok(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err));
    assert_int_equal(end, fails ? BATCH_ERROR : BATCH_DONE);
    ledger_batch_fini(&batch);
}

static int state_of(struct fixture *f, const char *batch)
{
    struct ledger_batch now;
    int state;

    ok(f, ledger_batch_get(f->ledger, batch, &now, &f->err));
    state = now.state;
    ledger_batch_fini(&now);
    return state;
}

static int say(struct fixture *f, const char *item, bool dropped, const char *vouched)
{
    const struct ledger_decision decision = {.item = item,
                                             .dropped = dropped,
                                             .vouched = vouched,
                                             .because = "I looked at it.",
                                             .user = "wei"};

    return ledger_decide(f->ledger, &decision, &f->err);
}

struct seen {
    size_t n;
    char text[8][200];
};

static int see(void *ctx, const struct ledger_decision *decision)
{
    struct seen *seen = ctx;

    assert_true(seen->n < 8);
    assert_true(decision->at_ms > 0);
    snprintf(seen->text[seen->n++], 200, "%s %s %s %s %s '%s' %s %s", decision->item,
             decision->dropped ? "dropped" : "released", decision->applies ? "applies" : "outdated",
             decision->stage, decision->code, decision->vouched, decision->because, decision->user);
    return 0;
}

static struct seen decisions(struct fixture *f, const char *id)
{
    struct seen seen = {0};

    ok(f, ledger_decisions(f->ledger, id, see, &seen, &f->err));
    return seen;
}

/* ---- decisions ---- */

static void one_that_is_released_waits_again(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct seen seen;

    close_one(f, "/in", false);
    ok(f, say(f, "b1-000002", false, "pixels.checked"));
    assert_int_equal(state_of(f, "b1"), BATCH_QUEUE);
    assert_int_equal(counts_of(f, "b1").waiting, 1);
    assert_int_equal(counts_of(f, "b1").quarantined, 1);
    assert_int_equal(counts_of(f, "b1").stored, 2);
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT stage = '' AND code = '' AND text = '' AND labels = ''"
                            " AND kills = 0 AND decided_ms = 0 FROM item WHERE id % 16777216 = 2"),
                     1);
    seen = decisions(f, "b1");
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.text[0], "b1-000002 released applies core pixel.burned_in "
                                      "'pixels.checked' I looked at it. wei");
    assert_int_equal(decisions(f, "b1-000002").n, 1);
    assert_int_equal(decisions(f, "b1-000003").n, 0);
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    assert_int_equal(batch.attempt, 2);
    ledger_batch_fini(&batch);
}

/* Held again, and released again: both are kept, in the order of time. */
static void decisions_add_up(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    struct seen seen;
    int end;

    close_one(f, "/in", false);
    ok(f, say(f, "b1-000002", false, NULL));
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    ok(f, decide(f, &batch, 2, ITEM_QUARANTINED, "host.label"));
    ok(f, ledger_batch_close(f->ledger, batch.id, false, &end, &f->err));
    ledger_batch_fini(&batch);
    ok(f, say(f, "b1-000002", false, "a.b c.d"));
    seen = decisions(f, "b1-000002");
    assert_int_equal(seen.n, 2);
    assert_non_null(strstr(seen.text[0], "core pixel.burned_in ''"));
    assert_non_null(strstr(seen.text[1], "core host.label 'a.b c.d'"));
}

static void a_release_leaves_a_batch_at_work_alone(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;

    claim_new(f, "/in", 2, &batch);
    ok(f, decide(f, &batch, 1, ITEM_QUARANTINED, "pixel.burned_in"));
    ok(f, say(f, "b1-000001", false, NULL));
    assert_int_equal(state_of(f, "b1"), BATCH_PROCESSING);
    ok(f, decide(f, &batch, 1, ITEM_QUARANTINED, "pixel.burned_in"));
    ok(f, ledger_release(f->ledger, "b1", &f->err));
    ok(f, say(f, "b1-000001", false, NULL));
    assert_int_equal(state_of(f, "b1"), BATCH_QUEUE);
    assert_int_equal(counts_of(f, "b1").waiting, 2);
    ledger_batch_fini(&batch);
}

static void one_that_is_dropped_stays(void **state)
{
    struct fixture *f = *state;
    uint64_t n;

    close_one(f, "/in", false);
    ok(f, say(f, "b1-000002", true, ""));
    assert_int_equal(state_of(f, "b1"), BATCH_DONE);
    assert_int_equal(counts_of(f, "b1").quarantined, 2);
    ok(f, ledger_dropped(f->ledger, "b1", &n, &f->err));
    assert_int_equal(n, 1);
    ok(f, ledger_dropped(f->ledger, NULL, &n, &f->err));
    assert_int_equal(n, 1);
    ok(f, ledger_dropped(f->ledger, "b2", &n, &f->err));
    assert_int_equal(n, 0);
    refused(f, say(f, "b1-000002", false, NULL), ERR_BATCH, "not held, or was dropped");
    refused(f, say(f, "b1-000002", true, NULL), ERR_BATCH, "not held, or was dropped");
    ok(f, ledger_again(f->ledger, "b1", true, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 3); /* two stored, one held */
    assert_int_equal(counts_of(f, "b1").quarantined, 1);
}

static void what_is_no_decision_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct ledger_decision nobody = {.item = "b1-000002", .because = "x", .user = ""},
                                 no_reason = {.item = "b1-000002", .because = "", .user = "wei"};
    struct seen seen = {0};
    uint64_t n;

    close_one(f, "/in", true);
    refused(f, say(f, "b1-000001", false, NULL), ERR_BATCH, "not held"); /* stored */
    refused(f, say(f, "b1-000004", false, NULL), ERR_BATCH, "not held"); /* failed */
    refused(f, say(f, "b1-000005", true, NULL), ERR_BATCH, "not held");  /* ignored */
    refused(f, say(f, "b1-000009", false, NULL), ERR_BATCH, "not held"); /* not there */
    refused(f, say(f, "b1", false, NULL), ERR_BATCH, "none of an image");
    refused(f, say(f, "", false, NULL), ERR_BATCH, "none of an image");
    refused(f, say(f, "b1-000002", true, "a.b"), ERR_BATCH, "dropped");
    refused(f, ledger_decide(f->ledger, &nobody, &f->err), ERR_BATCH, "nobody");
    refused(f, ledger_decide(f->ledger, &no_reason, &f->err), ERR_BATCH, "reason");
    refused(f, ledger_decisions(f->ledger, "x1", see, &seen, &f->err), ERR_BATCH, "none of");
    refused(f, ledger_dropped(f->ledger, "b1-000001", &n, &f->err), ERR_BATCH, "none of");
    assert_int_equal(decisions(f, "b1").n, 0);
    assert_int_equal(state_of(f, "b1"), BATCH_ERROR);
    assert_int_equal(counts_of(f, "b1").waiting, 0);
}

/* Somebody looked at a file: of another one under its name that says nothing. */
static void another_file_outdates_decisions(void **state)
{
    struct fixture *f = *state;
    const struct ledger_item now = {.id = "b1-000002", .batch = "b1", .size = 9, .mtime_ns = 9};

    close_one(f, "/in", false);
    ok(f, say(f, "b1-000002", false, "pixels.checked"));
    ok(f, say(f, "b1-000003", false, NULL));
    ok(f, ledger_item_changed(f->ledger, &now, &f->err));
    assert_non_null(strstr(decisions(f, "b1-000002").text[0], "released outdated"));
    assert_non_null(strstr(decisions(f, "b1-000003").text[0], "released applies"));
}

/* ---- a batch again ---- */

static void of_a_batch_in_error_what_failed_waits(void **state)
{
    struct fixture *f = *state;
    uint64_t n;

    close_one(f, "/in", true);
    ok(f, ledger_again(f->ledger, "b1", false, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 1);
    assert_int_equal(state_of(f, "b1"), BATCH_QUEUE);
    assert_int_equal(counts_of(f, "b1").waiting, 1);
    assert_int_equal(counts_of(f, "b1").failed, 0);
    assert_int_equal(counts_of(f, "b1").stored, 1);
}

static void all_is_all_but_ignored(void **state)
{
    struct fixture *f = *state;
    uint64_t n;

    close_one(f, "/in", true);
    ok(f, ledger_again(f->ledger, "b1", true, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 4);
    assert_int_equal(counts_of(f, "b1").waiting, 4);
    assert_int_equal(counts_of(f, "b1").ignored, 1);
    ok(f, ledger_commit(f->ledger, &f->err));
    assert_int_equal(ask(f, "SELECT count(*) FROM item WHERE passed OR uid <> ''"), 0);
}

static int second_stays(void *ctx, const struct ledger_item *item)
{
    (*(int *)ctx)++;
    return !strcmp(item->id, "b1-000002");
}

static void the_caller_keeps_some(void **state)
{
    struct fixture *f = *state;
    int asked = 0;
    uint64_t n;

    close_one(f, "/in", false);
    ok(f, ledger_again(f->ledger, "b1", true, second_stays, &asked, &n, &f->err));
    assert_int_equal(asked, 4);
    assert_int_equal(n, 3);
    assert_int_equal(counts_of(f, "b1").quarantined, 1);
}

static void a_batch_of_nothing_stays_closed(void **state)
{
    struct fixture *f = *state;
    uint64_t n = 7;

    close_one(f, "/in", false);
    ok(f, ledger_again(f->ledger, "b1", false, NULL, NULL, &n, &f->err));
    assert_int_equal(n, 0); /* nothing failed */
    assert_int_equal(state_of(f, "b1"), BATCH_DONE);
}

static void only_a_closed_batch_is_taken_again(void **state)
{
    struct fixture *f = *state;
    struct ledger_batch batch;
    uint64_t n;

    close_one(f, "/in", true);
    refused(f, ledger_again(f->ledger, "b2", true, NULL, NULL, &n, &f->err), ERR_BATCH, "not have");
    refused(f, ledger_again(f->ledger, "b1-000001", true, NULL, NULL, &n, &f->err), ERR_BATCH,
            "none of a batch");
    ok(f, ledger_again(f->ledger, "b1", true, NULL, NULL, &n, &f->err));
    refused(f, ledger_again(f->ledger, "b1", true, NULL, NULL, &n, &f->err), ERR_BATCH,
            "not closed");
    ok(f, ledger_claim(f->ledger, &batch, &f->err));
    refused(f, ledger_again(f->ledger, "b1", true, NULL, NULL, &n, &f->err), ERR_BATCH,
            "not closed");
    ledger_batch_fini(&batch);
}

/* Files that were to be moved wait for the new end of the batch. */
static void nothing_is_moved_before_the_new_end(void **state)
{
    struct fixture *f = *state;
    const struct ledger_file file = {.path = "/in/a", .size = 1, .mtime_ns = 1};
    char id[SENDIT_ID_SIZE];
    struct ledger_batch batch;
    uint64_t n;
    int end;

    ok(f, ledger_feed_open(f->ledger, "/in", &f->err));
    ok(f, ledger_feed_when_done(f->ledger, SENDIT_MOVE, "/done", &f->err));
    ok(f, ledger_feed_add(f->ledger, &file, &f->err));
    ok(f, ledger_feed_close(f->ledger, id, &f->err));
    for (int64_t due = 0; due < 2; due++) {
        ok(f, ledger_claim(f->ledger, &batch, &f->err));
        ok(f, pass(f, &batch, 1));
        ok(f, ledger_items_settle(f->ledger, id, ITEM_STORED, &f->err));
        ok(f, ledger_batch_close(f->ledger, id, false, &end, &f->err));
        ledger_batch_fini(&batch);
        ok(f, ledger_commit(f->ledger, &f->err));
        assert_int_equal(ask(f, "SELECT done_due FROM batch"), 1);
        ok(f, ledger_again(f->ledger, id, true, NULL, NULL, &n, &f->err));
        ok(f, ledger_commit(f->ledger, &f->err));
        assert_int_equal(ask(f, "SELECT done_due FROM batch"), 0);
    }
}

/* ---- the run that had it ---- */

struct then {
    char run[200], stages[400];
};

static int see_run(void *ctx, const struct ledger_run *run)
{
    struct then *then = ctx;

    snprintf(then->run, sizeof(then->run), "%s %s %s %s", run->version, run->pipeline_digest,
             run->key_fingerprint, run->because);
    return 0;
}

static int see_stage(void *ctx, const struct ledger_stage *stage)
{
    struct then *then = ctx;
    size_t n = strlen(then->stages);

    snprintf(then->stages + n, sizeof(then->stages) - n, "%s %s %s %s %s %s %d %s;", stage->id,
             stage->name, stage->version, stage->digest, stage->path, stage->grants, stage->ships,
             stage->rules);
    return 0;
}

static void begin(struct fixture *f, const char *digest)
{
    const struct ledger_run run = {
        .version = "1.2", .pipeline_digest = digest, .key_fingerprint = "key", .because = "so"};
    const struct ledger_stage stages[] = {{.id = "z",
                                           .name = "n",
                                           .version = "1",
                                           .digest = "d",
                                           .path = "p",
                                           .grants = "g",
                                           .rules = "r"},
                                          {.id = "a",
                                           .name = "m",
                                           .version = "2",
                                           .digest = "e",
                                           .path = "q",
                                           .grants = "",
                                           .ships = true}};

    ok(f, ledger_run_begin(f->ledger, &run, stages, 2, &f->err));
}

static void the_run_that_closed_it_is_known(void **state)
{
    struct fixture *f = *state;
    struct then then = {0};

    close_one(f, "/before", false);
    assert_int_equal(ledger_run_of(f->ledger, "b1", see_run, see_stage, &then, &f->err), 1);
    begin(f, "one");
    close_one(f, "/in", false);
    begin(f, "two");
    ok(f, ledger_run_of(f->ledger, "b2", see_run, see_stage, &then, &f->err));
    assert_string_equal(then.run, "1.2 one key so");
    assert_string_equal(then.stages, "z n 1 d p g 0 r;a m 2 e q  1 ;");
    assert_int_equal(ledger_run_of(f->ledger, "b9", see_run, see_stage, &then, &f->err), 1);
    refused(f, ledger_run_of(f->ledger, "9", see_run, see_stage, &then, &f->err), ERR_BATCH,
            "none of a batch");
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, setup_open, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(one_that_is_released_waits_again),
        EACH(decisions_add_up),
        EACH(a_release_leaves_a_batch_at_work_alone),
        EACH(one_that_is_dropped_stays),
        EACH(what_is_no_decision_changes_nothing),
        EACH(another_file_outdates_decisions),
        EACH(of_a_batch_in_error_what_failed_waits),
        EACH(all_is_all_but_ignored),
        EACH(the_caller_keeps_some),
        EACH(a_batch_of_nothing_stays_closed),
        EACH(only_a_closed_batch_is_taken_again),
        EACH(nothing_is_moved_before_the_new_end),
        EACH(the_run_that_closed_it_is_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
