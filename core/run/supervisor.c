/* SPDX-License-Identifier: Apache-2.0 */
#include "run/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "run/held.h"
#include "services/host.h"

#define COMMIT_ROWS 100
#define COMMIT_MS 50

int64_t supervisor_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t supervisor_boottime(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- errors and events ---- */

void supervisor_fatal(struct supervisor *sv, int code, const char *text, ...)
{
    va_list ap;

    if (sv->fatal)
        return;
    sv->fatal = true;
    sv->err->code = code;
    va_start(ap, text);
    vsnprintf(sv->err->text, sizeof(sv->err->text), text, ap);
    va_end(ap);
    pool_stop(sv);
}

void supervisor_broke(struct supervisor *sv)
{
    if (sv->fatal)
        return;
    sv->fatal = true;
    if (!sv->err->code)
        err_set(sv->err, ERR_PLACE, "the ledger cannot be written");
    pool_stop(sv);
}

void supervisor_commit(struct supervisor *sv)
{
    sv->pending_since = 0;
    if (ledger_commit(sv->ledger, sv->err))
        supervisor_broke(sv);
}

void supervisor_flush(struct supervisor *sv)
{
    sv->pending_since = 0;
    if (ledger_flush(sv->ledger, sv->err))
        supervisor_broke(sv);
}

void supervisor_event(struct supervisor *sv, const struct run_event *event)
{
    if (sv->options->event)
        sv->options->event(sv->options->ctx, event);
}

/* ---- setting up ---- */

/* The key is made once; when the state knows one and it is gone, nobody guesses. */
static int find_key(struct supervisor *sv)
{
    const struct plan *plan = sv->options->plan;
    struct run_event event = {.type = RUN_KEY_MADE};
    bool by_default;

    if (run_key_path(plan, &sv->key_path, &by_default, sv->err))
        return -1;
    if (!sv->key_path)
        return 0;
    if (by_default && access(sv->key_path, F_OK) && errno == ENOENT) {
        const char *known = ledger_known_key(sv->ledger);

        if (known[0])
            return err_set(sv->err, ERR_REFUSED,
                           "the site key %s is gone and this state was made with it (fingerprint "
                           "%s): put back your copy",
                           sv->key_path, known);
        if (identity_make(sv->key_path, &sv->key, sv->err))
            return -1;
        event.text = sv->key.fingerprint;
        event.path = sv->key_path;
        supervisor_event(sv, &event);
    } else if (identity_load(sv->key_path, &sv->key, sv->err)) {
        return -1;
    }
    return ledger_key(sv->ledger, sv->key.fingerprint, sv->err);
}

/* Scratch files of a run that died are of no use to anybody, once its pages are read. */
static int make_scratch(struct supervisor *sv)
{
    struct dirent *entry;
    DIR *dir = NULL;
    int fd = -1;

    sv->scratch = file_join(sv->options->plan->state, "scratch");
    /* What a link leads to is not ours to empty. */
    if (sv->scratch && (!mkdir(sv->scratch, 0700) || errno == EEXIST))
        fd = open(sv->scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !(dir = fdopendir(fd))) {
        if (fd >= 0)
            close(fd);
        return err_set(sv->err, ERR_PLACE, "the folder scratch in the state folder cannot be made");
    }
    pool_count_left(sv);
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    return 0;
}

/* Why the policy is lower, and why a stage keeps more, each behind its id.  NULL without reasons;
 * the caller frees it. */
static int write_reasons(const struct plan *plan, char **ret_text)
{
    struct buf buf = {0};

    *ret_text = NULL;
    if (plan->because)
        buf_str(&buf, plan->because);
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && plan->stages[i].because)
            buf_printf(&buf, "%s%s: %s", buf.len ? "; " : "", plan->stages[i].id,
                       plan->stages[i].because);
    if (!buf.len && !buf.failed)
        return 0;
    *ret_text = buf_take(&buf);
    return *ret_text ? 0 : -1;
}

static int begin_run(struct supervisor *sv)
{
    const struct plan *plan = sv->options->plan;
    char *reasons = NULL;
    struct ledger_run run = {.version = SENDIT_VERSION,
                             .pipeline_digest = plan->digest,
                             .key_fingerprint = sv->key.fingerprint};
    struct ledger_stage *stages = calloc(plan->n_stages, sizeof(*stages));
    char(*rules)[DIGEST_HEX] = calloc(plan->n_stages, sizeof(*rules));
    size_t n = 0;
    int result;

    if (!stages || !rules || write_reasons(plan, &reasons)) {
        free(stages);
        free(rules);
        return err_set(sv->err, ERR_PLACE, "no memory");
    }
    run.because = reasons;
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        if (!stage->enabled)
            continue;
        run_rules(plan, stage, sv->filters, rules[n]);
        stages[n] = (struct ledger_stage){.id = stage->id,
                                          .name = stage->plugin->name,
                                          .version = stage->plugin->version,
                                          .digest = stage->file->digest,
                                          .path = stage->file->path,
                                          .grants = stage->plugin->grants,
                                          .ships = stage->file->ships,
                                          .rules = rules[n]};
        n++;
    }
    result = ledger_run_begin(sv->ledger, &run, stages, n, sv->err);
    free(stages);
    free(rules);
    free(reasons);
    return result;
}

int supervisor_signals(struct supervisor *sv, sigset_t *ret_old)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, ret_old);
    signal(SIGPIPE, SIG_IGN);
    sv->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return sv->signals < 0 ? err_set(sv->err, ERR_PLACE, "signals cannot be taken") : 0;
}

/* ---- giving out work ---- */

static void claimed(struct supervisor *sv, const char *key)
{
    for (size_t i = 0; i < sv->n_again; i++) {
        if (strcmp(sv->again[i], key))
            continue;
        free(sv->again[i]);
        sv->again[i] = sv->again[--sv->n_again];
        return;
    }
}

/* May a batch tell of the images that it hands out, and be done again if one is a double?  Not if a
 * stage has an effect that abandon() cannot take back. */
static bool must_ask(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        if (stage->enabled && stage->egress &&
            (stage->plugin->flags & SENDIT_NETWORK || !stage->plugin->finish ||
             !stage->plugin->abandon))
            return true;
    }
    return false;
}

static void send_batch(struct supervisor *sv, struct slot *slot)
{
    wire_begin(&slot->wire, WIRE_BATCH);
    wire_put_str(&slot->wire, slot->batch.id);
    wire_put_u64(&slot->wire, slot->batch.attempt);
    wire_put_u64(&slot->wire, slot->asks);
    wire_put_u64(&slot->wire, slot->batch.counts.waiting);
    wire_put_str(&slot->wire, slot->batch.rests);
    answer_facts(sv, slot, "");
    slot->heard = supervisor_boottime();
    if (wire_send(&slot->wire))
        log_event(LOG_DEBUG, NULL, "worker.lost", "A worker ended before it had its batch.");
}

static void give_batch(struct supervisor *sv, struct slot *slot)
{
    const struct trouble *trouble;
    int result = ledger_claim(sv->ledger, &slot->batch, sv->err);

    if (result < 0) {
        supervisor_broke(sv);
        return;
    }
    if (result == 1) {
        sv->queue_empty = true;
        return;
    }
    claimed(sv, slot->batch.key);
    slot->has_batch = true;
    slot->passed = 0;
    slot->finishing = 0;
    slot->stolen = false;
    slot->probes = sv->away.on;
    slot->last[0] = '\0';
    trouble = pool_trouble(sv, slot->batch.id, "");
    slot->asks = sv->always_asks || !trouble || trouble->has_doubles;
    if (!slot->batch.counts.waiting || !rest_is_over(sv, slot)) {
        if (!slot->batch.counts.waiting) /* ignored and failed files alone */
            answer_close_batch(sv, slot->batch.id, false);
        ledger_batch_fini(&slot->batch);
        slot->has_batch = false;
        return;
    }
    slot->state = SLOT_BUSY;
    supervisor_flush(sv);
    send_batch(sv, slot);
}

static bool stopping(const struct supervisor *sv)
{
    return sv->fatal || sv->signal;
}

/* Give idle workers batches, and start more workers while there is work for them. */
static void give_work(struct supervisor *sv)
{
    int active = 0, all = 0;

    if (!stopping(sv) && !sv->queue_empty && (!away_lets_one_begin(sv) || !room_is_there(sv)))
        return;
    for (struct slot *slot = sv->slots; slot && !stopping(sv); slot = slot->next)
        while (slot->state == SLOT_IDLE && !slot->leaving && !sv->queue_empty && !stopping(sv) &&
               away_lets_one_begin(sv))
            give_batch(sv, slot);
    for (struct slot *slot = sv->slots; slot; slot = slot->next) {
        active += slot->state != SLOT_PARKED;
        all++;
    }
    if (!stopping(sv) && !sv->queue_empty && active < sv->n_workers &&
        (all < sv->n_workers + SUPERVISOR_MAX_PARKED || !active))
        pool_spawn(sv, WIRE_WORKS);
}

/* ---- the loop ---- */

static void take_signals(struct supervisor *sv)
{
    struct signalfd_siginfo info;

    while (read(sv->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        sv->hurry = sv->signal != 0;
        if (!sv->signal)
            sv->signal = (int)info.ssi_signo;
        if (sv->hurry)
            pool_kill(sv);
        else
            pool_stop(sv);
    }
}

/* `ended`: the worker is no more, though another process may still have its socket. */
static void read_slot(struct supervisor *sv, struct slot *slot, bool ended)
{
    struct wire_msg msg;
    int filled, have;

    do {
        filled = wire_fill(&slot->wire);
        while ((have = wire_next(&slot->wire, &msg)) == 1)
            answer_message(sv, slot, &msg);
    } while (ended && filled > 0 && have >= 0);
    if (filled < 0 || have < 0 || ended)
        pool_bury(sv, slot);
}

void supervisor_turn(struct supervisor *sv, int timeout)
{
    enum { MANY = 1024 };
    struct pollfd fds[1 + 2 * MANY] = {{.fd = sv->signals, .events = POLLIN}};
    struct slot *slots[MANY], *slot;
    nfds_t n = 0;

    for (slot = sv->slots; slot && n < MANY; slot = slot->next) {
        slots[n] = slot;
        fds[1 + 2 * n] = (struct pollfd){
            .fd = slot->wire.fd, .events = (short)(POLLIN | (slot->wire.out.len ? POLLOUT : 0))};
        fds[2 + 2 * n++] = (struct pollfd){.fd = slot->pidfd, .events = POLLIN};
    }
    if (poll(fds, 1 + 2 * n, timeout) < 0 && errno != EINTR)
        supervisor_fatal(sv, ERR_PLACE, "poll: %s", strerror(errno));
    if (fds[0].revents)
        take_signals(sv);
    for (nfds_t i = 0; i < n; i++) {
        bool ended = (fds[2 + 2 * i].revents & POLLIN) != 0;

        if (fds[1 + 2 * i].revents & POLLOUT)
            (void)wire_flush(&slots[i]->wire);
        if (ended || (fds[1 + 2 * i].revents & (POLLIN | POLLHUP | POLLERR)))
            read_slot(sv, slots[i], ended);
    }
}

/* Gathered writes: a hundred rows or 50 ms, whichever comes first. */
static int commit_in_time(struct supervisor *sv)
{
    size_t rows = ledger_pending(sv->ledger);
    int64_t now = supervisor_clock();

    if (!rows) {
        sv->pending_since = 0;
        return 250;
    }
    if (!sv->pending_since)
        sv->pending_since = now;
    if (rows < COMMIT_ROWS && now - sv->pending_since < COMMIT_MS)
        return (int)(COMMIT_MS - (now - sv->pending_since));
    supervisor_flush(sv);
    return 250;
}

static void show_progress(struct supervisor *sv)
{
    struct run_event event = {.type = RUN_PROGRESS, .n = sv->done, .total = sv->total};
    int64_t now = supervisor_clock();

    if (now - sv->progress_at < 200)
        return;
    sv->progress_at = now;
    supervisor_event(sv, &event);
}

static bool is_feeding(const struct supervisor *sv)
{
    for (const struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->source)
            return true;
    return false;
}

/* Let the source feed everything there is, while the workers start.  Killed from outside it begins
 * again: batches that it closed stand and are known by then. */
static void feed(struct supervisor *sv)
{
    for (int i = 0; i < sv->n_workers && !sv->fatal; i++)
        pool_spawn(sv, WIRE_WORKS);
    do {
        sv->source_lost = false;
        sv->found = 0;
        if (!sv->fatal)
            pool_spawn(sv, WIRE_FEEDS);
        while (is_feeding(sv)) {
            later_step(sv, false);
            supervisor_turn(sv, commit_in_time(sv));
            pool_check_timeouts(sv);
            if (sv->hurry)
                pool_kill(sv);
        }
        ledger_feed_forget(sv->ledger);
    } while (sv->source_lost && !stopping(sv));
    sv->fed = true;
    supervisor_commit(sv);
}

static bool has_work(const struct supervisor *sv)
{
    for (const struct slot *slot = sv->slots; slot; slot = slot->next)
        if (slot->has_batch)
            return true;
    return !stopping(sv) && !sv->queue_empty;
}

static void work(struct supervisor *sv)
{
    while (has_work(sv)) {
        answer_waiting(sv);
        answer_parked(sv);     /* first: one that need not wait is no reason for another worker */
        later_step(sv, false); /* before an idle one has the next batch */
        give_work(sv);
        if (!has_work(sv))
            break;
        supervisor_turn(sv, commit_in_time(sv));
        pool_check_timeouts(sv);
        show_progress(sv);
    }
    supervisor_commit(sv);
}

/* No batch is left but those that wait for what stages do later. */
static void settle(struct supervisor *sv)
{
    while (later_is_left(sv)) {
        later_step(sv, true);
        if (!sv->slots && !stopping(sv))
            pool_spawn(sv, WIRE_WORKS);
        supervisor_turn(sv, commit_in_time(sv));
        pool_check_timeouts(sv);
    }
    supervisor_commit(sv);
}

/* No more work: workers close their stages and end. */
static void say_goodbye(struct supervisor *sv)
{
    for (struct slot *slot = sv->slots; slot; slot = slot->next) {
        slot->state = SLOT_CLOSING;
        slot->heard = supervisor_boottime();
        shutdown(slot->wire.fd, SHUT_WR);
    }
    while (sv->slots) {
        if (sv->hurry)
            pool_kill(sv);
        supervisor_turn(sv, 100);
        pool_check_timeouts(sv);
    }
}

/* ---- a run ---- */

static int add_waiting(void *ctx, const struct ledger_batch *batch)
{
    struct supervisor *sv = ctx;

    if (batch->state == BATCH_QUEUE)
        sv->total += batch->counts.waiting;
    return 0;
}

static int prepare(struct supervisor *sv)
{
    if (find_key(sv) || ledger_recover(sv->ledger, sv->err) || make_scratch(sv) || begin_run(sv) ||
        ledger_commit(sv->ledger, sv->err))
        return -1;
    away_load(sv);
    later_load(sv);
    done_left_over(sv);
    if (held_sweep(sv->ledger, sv->options->plan->state, sv->err))
        supervisor_broke(sv);
    return sv->fatal ? -1 : 0;
}

static void supervisor_fini(struct supervisor *sv)
{
    while (sv->troubles) {
        struct trouble *next = sv->troubles->next;

        free(sv->troubles);
        sv->troubles = next;
    }
    while (sv->n_again)
        free(sv->again[--sv->n_again]);
    free(sv->again);
    free(sv->key_path);
    free(sv->scratch);
    free(sv->filters);
    identity_wipe(&sv->key);
    if (sv->signals >= 0)
        close(sv->signals);
}

static int exit_status(const struct supervisor *sv)
{
    if (sv->fatal)
        return sv->err->code;
    if (sv->signal)
        return 128 + sv->signal;
    return sv->errors ? ERR_BATCH : 0;
}

static int add_resting(void *ctx, const struct ledger_batch *batch)
{
    struct run_summary *summary = ctx;

    if (batch->state == BATCH_HELD)
        summary->resting += batch->counts.waiting;
    return 0;
}

static void sum_up(struct supervisor *sv, struct run_summary *summary, int64_t began)
{
    uint64_t later = 0, own = 0;
    struct err ignored;

    summary->batches = sv->batches;
    summary->known_batches = sv->known;
    summary->signal = sv->signal;
    summary->seconds = (double)(supervisor_clock() - began) / 1000.0;
    if (ledger_totals(sv->ledger, true, &summary->counts, sv->fatal ? &ignored : sv->err) ||
        ledger_waiting(sv->ledger, false, &later, sv->fatal ? &ignored : sv->err) ||
        ledger_waiting(sv->ledger, true, &own, sv->fatal ? &ignored : sv->err) ||
        ledger_batches(sv->ledger, true, add_resting, summary, sv->fatal ? &ignored : sv->err))
        supervisor_broke(sv);
    summary->later = later;
    summary->settled = sv->left_later + own - later;
}

int run_pipeline(const struct run_options *options, struct ledger *ledger,
                 struct run_summary *ret_summary, struct err *err)
{
    const struct rlimit no_core = {0, 0};
    struct supervisor sv = {.options = options, .ledger = ledger, .err = err, .signals = -1};
    const struct run_event ended = {.type = RUN_ENDED};
    int64_t began = supervisor_clock();
    struct err ignored;
    sigset_t old;
    int status;

    memset(ret_summary, 0, sizeof(*ret_summary));
    sv.n_workers =
        options->workers ? options->workers : (int)options->plan->run[PLAN_WORKERS].number;
    if (sv.n_workers <= 0)
        sv.n_workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
    sv.always_asks = must_ask(options->plan);
    setrlimit(RLIMIT_CORE, &no_core);
    sv.filters = run_filters_folder();
    if (!sv.filters || supervisor_signals(&sv, &old) || prepare(&sv)) {
        sv.fatal = true;
    } else {
        feed(&sv);
        if (!stopping(&sv)) {
            if (ledger_batches(ledger, false, add_waiting, &sv, err))
                supervisor_broke(&sv);
            do { /* an image that was released while its batch waited is work again */
                work(&sv);
                settle(&sv);
            } while (!stopping(&sv) && !sv.queue_empty);
        }
        settle(&sv); /* one that was stopped is let out of settle() */
        say_goodbye(&sv);
        sum_up(&sv, ret_summary, began);
        status = exit_status(&sv);
        if (ledger_run_end(ledger, status, sv.fatal ? &ignored : err) ||
            ledger_commit(ledger, sv.fatal ? &ignored : err))
            supervisor_broke(&sv);
    }
    supervisor_event(&sv, &ended);
    status = exit_status(&sv);
    supervisor_fini(&sv);
    sigprocmask(SIG_SETMASK, &old, NULL);
    return status;
}
