/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.c - a worker in the role of the source: calls produce() until it has no more, and sends
 * what it feeds to the supervisor.
 */
#include "run/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct feed {
    struct worker *worker;
    bool open, broken;
};

static struct feed *feed_of(const struct sendit_feed *table)
{
    return table->priv;
}

static sendit_result told(struct feed *feed, int result)
{
    if (result)
        feed->broken = true;
    return result ? SENDIT_EIO : SENDIT_OK;
}

static sendit_result open_batch(const struct sendit_feed *table, const char *key)
{
    struct feed *feed = feed_of(table);

    if (!key || !*key || feed->open)
        return SENDIT_EINVAL;
    if (atomic_load(&feed->worker->page->stop))
        return SENDIT_ECANCELED;
    feed->open = true;
    wire_begin(&feed->worker->wire, WIRE_FEED_OPEN);
    wire_put_str(&feed->worker->wire, key);
    return told(feed, wire_send(&feed->worker->wire));
}

/* A file with what lstat says of it; `code` is why it is not processed, or NULL. */
static sendit_result send_file(const struct sendit_feed *table, const char *path, const char *code)
{
    struct feed *feed = feed_of(table);
    struct wire *wire = &feed->worker->wire;
    struct stat st = {0};
    bool failed = false;

    if (!path || path[0] != '/' || !feed->open)
        return SENDIT_EINVAL;
    if (atomic_load(&feed->worker->page->stop))
        return SENDIT_ECANCELED;
    if (lstat(path, &st)) {
        failed = !code;
        if (!code)
            code = errno == ENOENT || errno == ENOTDIR ? "import.vanished" : "import.unreadable";
    } else if (!code && file_is_below(path, feed->worker->plan->state)) {
        code = "import.own_state";
    }
    wire_begin(wire, WIRE_FEED_ADD);
    wire_put_str(wire, path);
    wire_put_u64(wire, st.st_dev);
    wire_put_u64(wire, st.st_ino);
    wire_put_u64(wire, (uint64_t)st.st_size);
    wire_put_i64(wire, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
    wire_put_str(wire, code);
    wire_put_u64(wire, failed);
    atomic_store(&feed->worker->page->since_ms, worker_clock()); /* it moves: it does not hang */
    return told(feed, wire_send(wire));
}

static sendit_result add(const struct sendit_feed *table, const char *path)
{
    return send_file(table, path, NULL);
}

static sendit_result ignore(const struct sendit_feed *table, const char *path, const char *code)
{
    return send_file(table, path, code && *code ? code : "import.ignored");
}

static sendit_result when_done(const struct sendit_feed *table, int32_t how, const char *folder)
{
    struct feed *feed = feed_of(table);

    if (!feed->open || how < SENDIT_LEAVE || how > SENDIT_DELETE ||
        (how == SENDIT_MOVE && (!folder || folder[0] != '/')))
        return SENDIT_EINVAL;
    wire_begin(&feed->worker->wire, WIRE_FEED_DONE);
    wire_put_i64(&feed->worker->wire, how);
    wire_put_str(&feed->worker->wire, folder);
    return told(feed, wire_send(&feed->worker->wire));
}

static sendit_result close_batch(const struct sendit_feed *table)
{
    struct feed *feed = feed_of(table);
    struct wire_msg answer;
    int64_t result;

    if (!feed->open)
        return SENDIT_EINVAL;
    feed->open = false;
    wire_begin(&feed->worker->wire, WIRE_FEED_CLOSE);
    return told(feed, link_ask(&feed->worker->wire, &answer, &result));
}

static struct worker_stage *source_stage(struct worker *worker)
{
    for (size_t i = 0; i < worker->n_stages; i++)
        if (worker->stages[i].plan->plugin->flags & SENDIT_SOURCE)
            return &worker->stages[i];
    return NULL;
}

static sendit_verdict produce(struct worker *worker, struct worker_stage *stage, struct feed *feed,
                              struct sendit_why *why)
{
    const struct sendit_feed table = {.priv = feed,
                                      .open_batch = open_batch,
                                      .add = add,
                                      .ignore = ignore,
                                      .when_done = when_done,
                                      .close_batch = close_batch};
    sendit_verdict verdict;

    worker_enter(worker, stage, PAGE_FEED);
    verdict = stage->plan->plugin->produce(stage->self, &table, why);
    worker_leave(worker, stage);
    if (feed->open) { /* not closed: forgotten */
        feed->open = false;
        wire_begin(&worker->wire, WIRE_FEED_FORGET);
        told(feed, wire_send(&worker->wire));
    }
    return host_judge(&stage->host, verdict, why);
}

static int tell_fed(struct worker *worker, sendit_verdict verdict, const struct worker_end *end)
{
    struct wire_msg answer;
    int64_t result;

    wire_begin(&worker->wire, WIRE_FED);
    wire_put_i64(&worker->wire, verdict);
    wire_put_str(&worker->wire, end->stage);
    wire_put_str(&worker->wire, end->why.code);
    wire_put_str(&worker->wire, end->why.text);
    return link_ask(&worker->wire, &answer, &result);
}

int source_run(struct worker *worker)
{
    struct worker_stage *stage = source_stage(worker);
    struct worker_end end = {0};
    struct feed feed = {.worker = worker};
    sendit_verdict verdict = SENDIT_FAIL;
    enum worker_answer answer = stage ? worker_open(worker, stage, &end) : WORKER_STOP;

    if (answer == WORKER_GIVE_UP)
        verdict = SENDIT_RETRY;
    while (answer == WORKER_WENT) {
        struct sendit_why why = {0};

        verdict = produce(worker, stage, &feed, &why);
        if (feed.broken)
            return -1;
        end = (struct worker_end){.stage = stage->plan->id, .why = why};
        if (verdict == SENDIT_RETRY)
            answer = worker_pause(worker, stage->plan->id, &why, &end);
        else if (verdict != SENDIT_PASS)
            break;
        if (atomic_load(&worker->page->stop))
            break;
    }
    return tell_fed(worker, verdict, &end);
}
