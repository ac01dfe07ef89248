/* SPDX-License-Identifier: Apache-2.0 */
/* The way of one image through two stages: what each answer costs, what it leaves, who is told.
 * Nobody hands images out here, so that the supervisor is told and never asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "make_dicom.h"
#include "run/worker.h"

#define PATIENT_NAME 0x00100010u

typedef sendit_verdict act_fn(const struct sendit_host *, const struct sendit_item *,
                              struct sendit_why *);

struct sendit_stage_state {
    const struct sendit_host *host;
    act_fn *act;
    unsigned calls;
    uint32_t attempt;
    char labels[100], once[SENDIT_ID_SIZE];
};

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    self->calls++;
    self->attempt = item->attempt;
    snprintf(self->labels, sizeof(self->labels), "%s", item->labels);
    snprintf(self->once, sizeof(self->once), "%s", item->once_key);
    return self->act(self->host, item, why);
}

struct fixture {
    char folder[64], file[80];
    struct run_page page;
    struct plan plan;
    struct plan_stage stages[2];
    struct sendit_plugin plugins[2];
    struct worker_stage running[2];
    struct sendit_stage_state states[2];
    struct worker worker;
    struct wire peer;
    struct work_item item;
    struct worker_end end;
};

static void write_image(struct fixture *f)
{
    struct maker maker = {0};
    struct stat st;

    make_meta(&maker, EXPLICIT);
    make_identity(&maker);
    make_text(&maker, PATIENT_NAME, "PN", "Before");
    assert_false(maker.buf.failed);
    assert_int_equal(file_replace(f->file, maker.buf.data, maker.buf.len, 0600), 0);
    buf_fini(&maker.buf);
    assert_int_equal(stat(f->file, &st), 0);
    f->item =
        (struct work_item){.id = "i1",
                           .path = f->file,
                           .dev = st.st_dev,
                           .ino = st.st_ino,
                           .size = (uint64_t)st.st_size,
                           .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
                           .attempt = 1};
}

static sendit_verdict passes(const struct sendit_host *host, const struct sendit_item *item,
                             struct sendit_why *why)
{
    (void)host, (void)item, (void)why;
    return SENDIT_PASS;
}

static void make_stage(struct fixture *f, size_t i, const char *id)
{
    f->plugins[i] = (struct sendit_plugin){.flags = SENDIT_READS | SENDIT_MUTATES,
                                           .name = "mine",
                                           .version = "1.0.0",
                                           .process = process};
    f->stages[i] =
        (struct plan_stage){.id = (char *)(uintptr_t)id, .enabled = true, .plugin = &f->plugins[i]};
    f->running[i] = (struct worker_stage){
        .plan = &f->stages[i], .index = (int32_t)i, .open = true, .in_batch = true};
    host_init(&f->running[i].host, &f->worker.env, &f->stages[i]);
    f->states[i] = (struct sendit_stage_state){.host = &f->running[i].host.host, .act = passes};
    f->running[i].self = &f->states[i];
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dicom_limits limits = {.max_inflate = 1 << 20};
    struct err err;
    int fds[2];

    assert_non_null(f);
    log_init(LOG_OFF);
    strcpy(f->folder, "/tmp/test_chain.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->file, sizeof(f->file), "%s/image", f->folder);
    write_image(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    wire_init(&f->worker.wire, fds[0], WIRE_ASKS);
    wire_init(&f->peer, fds[1], WIRE_ASKS);
    assert_int_equal(worker_note_socket(&f->worker), 0);
    link_init(&f->worker.link, &f->worker.wire, &f->page);
    f->worker.link.batch = "b1";
    f->plan.dry = true;
    f->plan.run[PLAN_RETRY_FOR].number = 3600000;
    f->worker.page = &f->page;
    f->worker.plan = &f->plan;
    f->worker.dicom = dicom_new(&limits, f->folder, &err);
    assert_non_null(f->worker.dicom);
    f->worker.env = (struct host_env){
        .plan = &f->plan, .link = &f->worker.link.table, .batch = "b1", .batch_open = true};
    strcpy(f->worker.uuid, "uuid");
    make_stage(f, 0, "first");
    make_stage(f, 1, "second");
    f->worker.stages = f->running;
    f->worker.n_stages = f->worker.n_hosts = 2;
    assert_int_equal(plan_labels(&f->plan, "deid.verified a.one b.two", &f->stages[1].needs), 0);
    f->stages[1].needs = 0;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < 2; i++)
        host_fini(&f->running[i].host);
    host_facts_clear(&f->worker.env);
    dicom_free(f->worker.dicom);
    link_fini(&f->worker.link);
    wire_fini(&f->worker.wire);
    wire_fini(&f->peer);
    for (size_t i = 0; i < f->plan.n_labels; i++)
        free(f->plan.labels[i]);
    unlink(f->file);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static enum worker_answer take(struct fixture *f)
{
    return chain_take(&f->worker, &f->item, &f->end);
}

/* The next that the supervisor was told is of that type. */
static struct wire_msg told(struct fixture *f, enum wire_type type)
{
    struct wire_msg msg;

    assert_int_equal(wire_flush(&f->worker.wire), 0);
    assert_int_equal(wire_wait(&f->peer, &msg), 0);
    assert_int_equal(msg.type, type);
    return msg;
}

static void assert_nothing_told(struct fixture *f)
{
    struct wire_msg msg;

    wire_begin(&f->worker.wire, WIRE_SYNC); /* so that there is an end */
    assert_int_equal(wire_send(&f->worker.wire), 0);
    msg = told(f, WIRE_SYNC);
    assert_int_equal(msg.at == msg.end, 1);
}

static void assert_passed(struct fixture *f, const char *labels)
{
    struct wire_msg msg = told(f, WIRE_PASSED);

    assert_string_equal(wire_str(&msg), "i1");
    assert_string_equal(wire_str(&msg), labels);
    assert_nothing_told(f);
}

static void assert_decided(struct fixture *f, int state, const char *stage, const char *code)
{
    struct wire_msg msg = told(f, WIRE_DECIDED);

    assert_string_equal(wire_str(&msg), "i1");
    assert_int_equal(wire_i64(&msg), state);
    assert_string_equal(wire_str(&msg), stage);
    assert_string_equal(wire_str(&msg), code);
    assert_true(strlen(wire_str(&msg)) > 0 || !strcmp(code, "mine.unknown"));
    assert_false(msg.bad);
    assert_nothing_told(f);
}

/* ---- what a stage does ---- */

static sendit_verdict edit(const struct sendit_host *host, const struct sendit_item *item,
                           sendit_verdict verdict, struct sendit_why *why)
{
    const struct sendit_dicom *dicom = SENDIT_SERVICE(host, dicom);
    const struct sendit_facts *facts = SENDIT_SERVICE(host, facts);

    (void)dicom->put(item->ds, PATIENT_NAME, "After");
    (void)facts->put(host, item->id, "mine.fact", "new");
    return verdict == SENDIT_PASS ? verdict
                                  : sendit_because(why, verdict, "mine.reason", "It is like that.");
}

static sendit_verdict edits_and_passes(const struct sendit_host *host,
                                       const struct sendit_item *item, struct sendit_why *why)
{
    return edit(host, item, SENDIT_PASS, why);
}
static sendit_verdict edits_and_skips(const struct sendit_host *host,
                                      const struct sendit_item *item, struct sendit_why *why)
{
    return edit(host, item, SENDIT_SKIP, why);
}
static sendit_verdict edits_and_quarantines(const struct sendit_host *host,
                                            const struct sendit_item *item, struct sendit_why *why)
{
    return edit(host, item, SENDIT_QUARANTINE, why);
}
static sendit_verdict edits_and_fails(const struct sendit_host *host,
                                      const struct sendit_item *item, struct sendit_why *why)
{
    return edit(host, item, SENDIT_FAIL, why);
}
static sendit_verdict empties_the_uid(const struct sendit_host *host,
                                      const struct sendit_item *item, struct sendit_why *why)
{
    const struct sendit_dicom *dicom = SENDIT_SERVICE(host, dicom);

    (void)why;
    return dicom->put(item->ds, 0x00080018, "") ? SENDIT_FAIL : SENDIT_PASS;
}
static sendit_verdict has_no_room(const struct sendit_host *host, const struct sendit_item *item,
                                  struct sendit_why *why)
{
    (void)host, (void)item;
    return sendit_because(why, SENDIT_FAIL, "mine.no_room", "The disk is full.");
}
static sendit_verdict answers_zero(const struct sendit_host *host, const struct sendit_item *item,
                                   struct sendit_why *why)
{
    (void)host, (void)item, (void)why;
    return 0;
}
static sendit_verdict answers_nonsense(const struct sendit_host *host,
                                       const struct sendit_item *item, struct sendit_why *why)
{
    (void)edit(host, item, SENDIT_PASS, why);
    return 17;
}
static sendit_verdict answers_negative(const struct sendit_host *host,
                                       const struct sendit_item *item, struct sendit_why *why)
{
    (void)host, (void)item, (void)why;
    return -1;
}
static sendit_verdict gives_no_reason(const struct sendit_host *host,
                                      const struct sendit_item *item, struct sendit_why *why)
{
    (void)host, (void)item, (void)why;
    return SENDIT_QUARANTINE;
}
static sendit_verdict takes_the_hosts_code(const struct sendit_host *host,
                                           const struct sendit_item *item, struct sendit_why *why)
{
    (void)host, (void)item;
    memset(why, 'x', sizeof(*why)); /* no NUL anywhere */
    memcpy(why->code, "host.crashed", 12);
    return SENDIT_QUARANTINE;
}
static sendit_verdict misuses_the_host(const struct sendit_host *host,
                                       const struct sendit_item *item, struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);

    (void)item, (void)why;
    (void)config->text(host, "no_such_option");
    return SENDIT_PASS;
}
static sendit_verdict retries_once(const struct sendit_host *host, const struct sendit_item *item,
                                   struct sendit_why *why)
{
    return edit(host, item, item->attempt > 1 ? SENDIT_PASS : SENDIT_RETRY, why);
}

static char seen[100];
static sendit_verdict looks(const struct sendit_host *host, const struct sendit_item *item,
                            struct sendit_why *why)
{
    const struct sendit_dicom *dicom = SENDIT_SERVICE(host, dicom);
    const struct sendit_facts *facts = SENDIT_SERVICE(host, facts);
    const char *name = "", *fact = "none";

    (void)why;
    (void)dicom->get(item->ds, PATIENT_NAME, &name);
    (void)facts->get(host, item->id, "mine.fact", &fact);
    snprintf(seen, sizeof(seen), "%s %s", name, fact);
    return SENDIT_PASS;
}

/* ---- tests ---- */

static void pass_keeps_all(void **state)
{
    struct fixture *f = *state;
    struct wire_msg msg;

    f->states[0].act = edits_and_passes;
    f->states[1].act = looks;
    assert_int_equal(plan_labels(&f->plan, "a.one", &f->stages[0].grants), 0);
    f->stages[1].needs = f->stages[0].grants;
    assert_int_equal(take(f), WORKER_WENT);
    assert_string_equal(seen, "After new");
    assert_string_equal(f->states[1].labels, "a.one");
    assert_string_not_equal(f->states[0].once, f->states[1].once);
    msg = told(f, WIRE_FACT);
    assert_string_equal(wire_str(&msg), "i1");
    assert_string_equal(wire_str(&msg), "mine.fact");
    assert_string_equal(wire_str(&msg), "new");
    assert_passed(f, "a.one");
    assert_string_equal(f->page.item, "");
    assert_null(f->worker.env.item);
}

/* Neither edits nor labels: what it says of the item stays, such as boxes to blank. */
static void skip_keeps_facts_alone(void **state)
{
    struct fixture *f = *state;
    struct wire_msg msg;

    f->states[0].act = edits_and_skips;
    f->states[1].act = looks;
    assert_int_equal(plan_labels(&f->plan, "a.one", &f->stages[0].grants), 0);
    assert_int_equal(take(f), WORKER_WENT);
    assert_string_equal(seen, "Before new");
    msg = told(f, WIRE_FACT);
    assert_string_equal(wire_str(&msg), "i1");
    assert_passed(f, "");
}

static void a_lacking_label_quarantines(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = edits_and_skips;
    assert_int_equal(plan_labels(&f->plan, "a.one", &f->stages[0].grants), 0);
    f->stages[1].needs = f->stages[0].grants;
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[1].calls, 0);
    (void)told(f, WIRE_FACT);
    assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
}

static void an_edit_takes_verified_away(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(plan_labels(&f->plan, "deid.verified", &f->stages[0].grants), 0);
    f->states[1].act = edits_and_passes;
    assert_int_equal(take(f), WORKER_WENT);
    assert_string_equal(f->states[1].labels, "deid.verified");
    (void)told(f, WIRE_FACT);
    assert_passed(f, "");
}

/* Nothing is stored by a name that is none, and it ends no run. */
static void no_instance_uid_is_held(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = empties_the_uid;
    f->stages[1].egress = true;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "core", "dicom.write");
}

static void quarantine_ends_it(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = edits_and_quarantines;
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[1].calls, 0);
    assert_decided(f, ITEM_QUARANTINED, "first", "mine.reason");
    assert_string_equal(map_get(&f->worker.env.items, "i1"), "held");
    assert_int_equal(f->worker.env.facts.n, 0);
}

static void fail_stops_the_batch(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = edits_and_fails;
    assert_int_equal(take(f), WORKER_STOP);
    assert_string_equal(f->end.stage, "first");
    assert_string_equal(f->end.why.code, "mine.reason");
    assert_decided(f, ITEM_FAILED, "first", "mine.reason");
}

/* A full disk stops the batch, but the image waits for the next run. */
static void a_full_disk_is_nobodys_fault(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = has_no_room;
    assert_int_equal(take(f), WORKER_STOP);
    assert_string_equal(f->end.why.code, "mine.no_room");
    assert_nothing_told(f);
}

static void zero_is_failure(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = answers_zero;
    assert_int_equal(take(f), WORKER_STOP);
    assert_decided(f, ITEM_FAILED, "first", "mine.unknown");
}

static void an_unknown_verdict_never_passes(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = answers_nonsense;
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[1].calls, 0);
    assert_decided(f, ITEM_QUARANTINED, "first", "host.verdict");
    f->states[0].act = answers_negative;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "first", "host.verdict");
}

static void a_reason_is_never_missing(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = gives_no_reason;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "first", "mine.unknown");
    f->states[0].act = takes_the_hosts_code;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "first", "mine.unknown");
}

static void an_undeclared_edit_quarantines(void **state)
{
    struct fixture *f = *state;

    f->plugins[0].flags = SENDIT_READS;
    f->states[0].act = edits_and_passes;
    f->states[1].act = looks;
    strcpy(seen, "");
    assert_int_equal(take(f), WORKER_WENT);
    assert_string_equal(seen, "");
    assert_decided(f, ITEM_QUARANTINED, "first", "host.undeclared");
}

static sendit_verdict forks(const struct sendit_host *host, const struct sendit_item *item,
                            struct sendit_why *why)
{
    (void)host, (void)item, (void)why;
    return fork() < 0 ? SENDIT_FAIL : SENDIT_PASS;
}

/* The second return is none: the child ends in the host before it says anything. */
static void a_stage_that_forks_costs_the_image(void **state)
{
    struct fixture *f = *state;
    int status;

    f->states[0].act = forks;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "first", "host.forked");
    assert_int_equal(f->states[1].calls, 0);
    assert_true(f->worker.is_full); /* so that this process takes no more */
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void misuse_stops_the_batch(void **state)
{
    struct fixture *f = *state;

    f->states[0].act = misuses_the_host;
    assert_int_equal(take(f), WORKER_STOP);
    assert_string_equal(f->end.why.code, "host.misuse");
    (void)told(f, WIRE_MESSAGE);
    assert_decided(f, ITEM_FAILED, "first", "host.misuse");
    f->states[0].act = passes; /* and the next image is not blamed for it */
    assert_int_equal(take(f), WORKER_WENT);
    assert_passed(f, "");
}

static void retry_begins_anew(void **state)
{
    struct fixture *f = *state;

    f->item.attempt = 1;
    f->states[1].act = retries_once;
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[0].calls, 2);
    assert_int_equal(f->states[1].calls, 2);
    assert_int_equal(f->states[1].attempt, 2);
    (void)told(f, WIRE_FACT);
    assert_passed(f, "");
    assert_int_equal(f->worker.retry_times, 0);
}

static void a_stop_ends_a_retry(void **state)
{
    struct fixture *f = *state;

    f->item.attempt = 0;
    f->states[0].act = retries_once;
    atomic_store(&f->page.stop, 1);
    assert_int_equal(take(f), WORKER_GIVE_UP);
    assert_false(f->end.timed_out);
    assert_nothing_told(f); /* it waits for the next run */
}

static void retry_for_ends_a_retry(void **state)
{
    struct fixture *f = *state;

    f->plan.run[PLAN_RETRY_FOR].number = 0;
    f->states[0].act = retries_once;
    f->item.attempt = 0;
    assert_int_equal(take(f), WORKER_GIVE_UP);
    assert_true(f->end.timed_out);
    assert_string_equal(f->end.why.code, "mine.reason");
    assert_nothing_told(f);
}

static sendit_verdict asks_for_an_hour(const struct sendit_host *host,
                                       const struct sendit_item *item, struct sendit_why *why)
{
    (void)host, (void)item;
    why->retry_after_s = 3600;
    return sendit_because(why, SENDIT_RETRY, "mine.reason", "In an hour.");
}

/* What the stage hints at does not go beyond what the site allows. */
static void a_long_pause_ends_with_retry_for(void **state)
{
    struct fixture *f = *state;
    int64_t began = worker_clock();

    f->plan.run[PLAN_RETRY_FOR].number = 100;
    f->states[0].act = asks_for_an_hour;
    assert_int_equal(take(f), WORKER_GIVE_UP);
    assert_true(f->end.timed_out);
    assert_in_range(worker_clock() - began, 100, 10000);
}

/* What was queued is another file than what is there: the ledger hears of it, and it is read. */
static void a_changed_file_is_read_anew(void **state)
{
    struct fixture *f = *state;
    struct work_item now = f->item;
    struct wire_msg msg;

    f->item.mtime_ns++;
    f->item.ino++;
    f->item.size += 7;
    assert_int_equal(take(f), WORKER_WENT);
    msg = told(f, WIRE_CHANGED);
    assert_string_equal(wire_str(&msg), "i1");
    assert_int_equal(wire_u64(&msg), now.dev);
    assert_int_equal(wire_u64(&msg), now.ino);
    assert_int_equal(wire_u64(&msg), now.size);
    assert_int_equal(wire_i64(&msg), now.mtime_ns);
    assert_passed(f, "");
    assert_int_equal(f->states[0].calls, 1);
}

static void a_file_that_vanished_fails(void **state)
{
    struct fixture *f = *state;

    unlink(f->file);
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_FAILED, "core", "import.vanished");
    assert_int_equal(f->states[0].calls, 0);
}

static const char *file_in_hand; /* that writes_into_the_file() writes into */

static sendit_verdict writes_into_the_file(const struct sendit_host *host,
                                           const struct sendit_item *item, struct sendit_why *why)
{
    FILE *file = fopen(file_in_hand, "r+");

    (void)host, (void)item, (void)why;
    assert_non_null(file);
    assert_int_equal(fputc('x', file), 'x');
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    assert_int_equal(fputc('x', file), 'x'); /* its size tells, whatever the clock does */
    assert_int_equal(fclose(file), 0);
    return SENDIT_PASS;
}

static void one_that_changes_while_it_is_read_is_held(void **state)
{
    struct fixture *f = *state;

    file_in_hand = f->file;
    f->states[1].act = writes_into_the_file;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "core", "import.changed");
}

/* A store has a part of it already: the batch is given up, to be done again without it. */
static void a_store_that_took_it_gives_it_up(void **state)
{
    struct fixture *f = *state;
    struct wire_msg msg;

    file_in_hand = f->file;
    f->states[1].act = writes_into_the_file;
    f->stages[1].egress = true;
    f->worker.asks = true;
    wire_begin(&f->peer, WIRE_ANSWER); /* to WIRE_INSTANCE: it is the first */
    wire_put_i64(&f->peer, 0);
    assert_int_equal(wire_send(&f->peer), 0);
    assert_int_equal(wire_flush(&f->peer), 0);
    assert_int_equal(take(f), WORKER_GIVE_UP);
    assert_false(f->end.timed_out);
    (void)told(f, WIRE_INSTANCE);
    msg = told(f, WIRE_DECIDED);
    assert_string_equal(wire_str(&msg), "i1");
    assert_int_equal(wire_i64(&msg), ITEM_QUARANTINED);
}

static void no_dicom_is_quarantined(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(file_replace(f->file, "no DICOM", 8, 0600), 0);
    assert_int_equal(stat(f->file, &st), 0);
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "core", "dicom.not_dicom");
}

static void a_real_pipeline_needs_a_store(void **state)
{
    struct fixture *f = *state;

    f->plan.dry = false;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "core", "host.not_stored");
}

/* ---- what people decided ---- */

static void release(struct fixture *f, struct work_release *one, const char *stage,
                    bool passes_over, const char *vouched)
{
    *one = (struct work_release){.stage = (char *)(uintptr_t)stage,
                                 .passes_over = passes_over,
                                 .vouched = (char *)(uintptr_t)vouched};
    f->item.releases = one;
    f->item.n_releases = 1;
}

static void grants(struct fixture *f, size_t i, const char *labels)
{
    assert_int_equal(plan_labels(&f->plan, labels, &f->stages[i].grants), 0);
}

static void needs(struct fixture *f, size_t i, const char *labels)
{
    assert_int_equal(plan_labels(&f->plan, labels, &f->stages[i].needs), 0);
}

/* As if it had answered SKIP: it is not called, nothing is granted, the rest is as ever. */
static void a_released_image_passes_over_its_stage(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "first", true, "");
    grants(f, 0, "a.one");
    grants(f, 1, "b.two");
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[0].calls, 0);
    assert_int_equal(f->states[1].calls, 1);
    assert_string_equal(f->states[1].labels, "");
    assert_passed(f, "b.two");
}

static void its_label_is_lacking_then(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "first", true, "");
    grants(f, 0, "a.one");
    needs(f, 1, "a.one");
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[1].calls, 0);
    assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
}

static void a_vouched_label_counts_in_its_place(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "first", true, "a.one");
    grants(f, 0, "a.one b.two");
    needs(f, 1, "a.one");
    assert_int_equal(take(f), WORKER_WENT);
    assert_string_equal(f->states[1].labels, "a.one");
    assert_passed(f, "a.one"); /* and not b.two, for which nobody vouched */
}

/* Whatever the ledger says: it is one more lock, not the only one. */
static void some_labels_nobody_vouches_for(void **state)
{
    static const char *const labels[] = {"ids.replaced", "deid.header", "deid.verified"};
    struct fixture *f = *state;
    struct work_release one;

    for (size_t i = 0; i < 3; i++) {
        release(f, &one, "first", true, labels[i]);
        grants(f, 0, labels[i]);
        needs(f, 1, labels[i]);
        assert_int_equal(take(f), WORKER_WENT);
        assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
        release(f, &one, "second", false, labels[i]);
        f->states[0].act = edits_and_skips;
        assert_int_equal(take(f), WORKER_WENT);
        (void)told(f, WIRE_FACT);
        assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
    }
    assert_int_equal(f->states[1].calls, 0);
}

static void a_label_of_another_stage_is_not_given(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "first", true, "a.one");
    grants(f, 0, "b.two"); /* the plan is another since */
    needs(f, 1, "a.one");
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
}

static void a_release_at_a_stage_that_is_gone_is_nothing(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "third", true, "a.one");
    needs(f, 1, "a.one");
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[0].calls, 1);
    assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
}

/* The core held it there for want of that label: the stage sees it, the label is given. */
static void what_the_core_held_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "second", false, "a.one b.two");
    needs(f, 1, "a.one");
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[1].calls, 1);
    assert_passed(f, "a.one"); /* b.two is not asked for */
}

static void two_releases_hold_both(void **state)
{
    struct fixture *f = *state;
    struct work_release two[2];

    release(f, &two[1], "second", true, "");
    release(f, &two[0], "first", true, "");
    f->item.n_releases = 2;
    assert_int_equal(take(f), WORKER_WENT);
    assert_int_equal(f->states[0].calls + f->states[1].calls, 0);
    assert_passed(f, "");
}

/* What somebody looked at is not what is there now. */
static void a_changed_file_is_not_released(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "first", true, "a.one");
    grants(f, 0, "a.one");
    f->states[0].act = gives_no_reason;
    f->item.mtime_ns++;
    assert_int_equal(take(f), WORKER_WENT);
    (void)told(f, WIRE_CHANGED);
    assert_int_equal(f->states[0].calls, 1);
    assert_decided(f, ITEM_QUARANTINED, "first", "mine.unknown");
}

/* Also where the policy asks for nothing: past an anonymizer there is no way to a store. */
static void past_an_anonymizer_nothing_is_handed_out(void **state)
{
    static const char *const labels[] = {"ids.replaced", "deid.header", "a.one ids.replaced"};
    struct fixture *f = *state;
    struct work_release one;

    f->stages[1].egress = true;
    release(f, &one, "first", true, "a.one");
    for (size_t i = 0; i < 3; i++) {
        grants(f, 0, labels[i]);
        assert_int_equal(take(f), WORKER_WENT);
        assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
    }
    assert_int_equal(f->states[1].calls, 0);
}

static void past_others_the_policy_decides(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    f->stages[1].egress = true;
    release(f, &one, "first", true, "");
    grants(f, 0, "pixels.checked deid.verified a.one");
    wire_begin(&f->peer, WIRE_ANSWER); /* to WIRE_INSTANCE: it is the first */
    wire_put_i64(&f->peer, 0);
    assert_int_equal(wire_send(&f->peer), 0);
    assert_int_equal(wire_flush(&f->peer), 0);
    assert_int_equal(take(f), WORKER_WENT);
    (void)told(f, WIRE_INSTANCE);
    assert_passed(f, "");
    assert_int_equal(f->states[1].calls, 1);
}

/* A label that the stage grants when the batch ends is not granted for this image. */
static void what_is_granted_at_the_end_is_lacking_too(void **state)
{
    struct fixture *f = *state;
    struct work_release one;

    release(f, &one, "first", true, "");
    assert_int_equal(plan_labels(&f->plan, "a.one", &f->stages[0].grants_at_finish), 0);
    f->stages[1].needs_at_finish = f->stages[0].grants_at_finish;
    assert_int_equal(take(f), WORKER_WENT);
    assert_decided(f, ITEM_QUARANTINED, "second", "host.label");
    f->item.n_releases = 0;
    assert_int_equal(take(f), WORKER_WENT);
    assert_passed(f, "");
}

static void a_held_image_has_its_labels(void **state)
{
    struct fixture *f = *state;
    struct wire_msg msg;

    grants(f, 0, "a.one");
    f->states[1].act = gives_no_reason;
    assert_int_equal(take(f), WORKER_WENT);
    msg = told(f, WIRE_DECIDED);
    (void)wire_str(&msg), (void)wire_i64(&msg), (void)wire_str(&msg), (void)wire_str(&msg);
    assert_string_equal(wire_str(&msg), "");
    assert_string_equal(wire_str(&msg), "a.one");
    assert_false(msg.bad);
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(pass_keeps_all),
        EACH(skip_keeps_facts_alone),
        EACH(a_lacking_label_quarantines),
        EACH(an_edit_takes_verified_away),
        EACH(no_instance_uid_is_held),
        EACH(quarantine_ends_it),
        EACH(fail_stops_the_batch),
        EACH(a_full_disk_is_nobodys_fault),
        EACH(zero_is_failure),
        EACH(an_unknown_verdict_never_passes),
        EACH(a_reason_is_never_missing),
        EACH(an_undeclared_edit_quarantines),
        EACH(a_stage_that_forks_costs_the_image),
        EACH(misuse_stops_the_batch),
        EACH(retry_begins_anew),
        EACH(a_stop_ends_a_retry),
        EACH(retry_for_ends_a_retry),
        EACH(a_long_pause_ends_with_retry_for),
        EACH(a_changed_file_is_read_anew),
        EACH(a_file_that_vanished_fails),
        EACH(one_that_changes_while_it_is_read_is_held),
        EACH(a_store_that_took_it_gives_it_up),
        EACH(no_dicom_is_quarantined),
        EACH(a_real_pipeline_needs_a_store),
        EACH(a_released_image_passes_over_its_stage),
        EACH(its_label_is_lacking_then),
        EACH(a_vouched_label_counts_in_its_place),
        EACH(some_labels_nobody_vouches_for),
        EACH(a_label_of_another_stage_is_not_given),
        EACH(a_release_at_a_stage_that_is_gone_is_nothing),
        EACH(what_the_core_held_is_tried_again),
        EACH(two_releases_hold_both),
        EACH(a_changed_file_is_not_released),
        EACH(past_an_anonymizer_nothing_is_handed_out),
        EACH(past_others_the_policy_decides),
        EACH(what_is_granted_at_the_end_is_lacking_too),
        EACH(a_held_image_has_its_labels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
