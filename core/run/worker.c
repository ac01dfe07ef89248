/* SPDX-License-Identifier: Apache-2.0 */
#include "run/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/log.h"
#include "run/held.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- around callbacks ---- */

int64_t worker_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void worker_enter(struct worker *worker, struct worker_stage *stage, enum page_phase phase)
{
    atomic_store(&worker->page->stage, stage ? stage->index : -1);
    atomic_store(&worker->page->since_ms, worker_clock()); /* first: it is read last */
    atomic_store(&worker->page->phase, (uint32_t)phase);
    if (stage)
        host_enter(&stage->host);
}

/* A stage that closes what is not its own may have closed this: nothing could be told any more,
 * and what is opened next would be taken for it. */
static bool has_socket(const struct worker *worker)
{
    struct stat st;

    return !fstat(worker->wire.fd, &st) && st.st_dev == worker->socket_dev &&
           st.st_ino == worker->socket_ino;
}

int worker_note_socket(struct worker *worker)
{
    struct stat st;

    if (fstat(worker->wire.fd, &st))
        return -1;
    worker->socket_dev = st.st_dev;
    worker->socket_ino = st.st_ino;
    return 0;
}

void worker_leave(struct worker *worker, struct worker_stage *stage)
{
    if (stage && !has_socket(worker))
        _exit(WORKER_CUT_OFF); /* the page says which stage it was */
    if (stage) {
        host_leave(&stage->host);
        worker->is_full = worker->is_full || stage->host.forked;
    }
    atomic_store(&worker->page->since_ms, worker_clock());
    atomic_store(&worker->page->phase, PAGE_IDLE);
    atomic_store(&worker->page->stage, -1);
}

void worker_once(const struct worker *worker, const char *stage, const char *id,
                 char ret_key[SENDIT_ID_SIZE])
{
    char text[3 * SENDIT_ID_SIZE + 256], hex[DIGEST_HEX] = "";
    int n = snprintf(text, sizeof(text), "%s\n%s\n%s", worker->uuid, stage, id);

    ret_key[0] = '\0';
    if (n > 0 && (size_t)n < sizeof(text) && !digest_of(text, (size_t)n, hex))
        snprintf(ret_key, SENDIT_ID_SIZE, "%.32s", hex);
}

/* Others may need the same service: its batch goes back, so that all wait for one. */
static bool talks(const struct worker *worker, const char *id)
{
    for (size_t i = 0; i < worker->n_stages; i++)
        if (!strcmp(worker->stages[i].plan->id, id))
            return (worker->stages[i].plan->plugin->flags & SENDIT_NETWORK) != 0;
    return false;
}

enum worker_answer worker_pause(struct worker *worker, const char *stage,
                                const struct sendit_why *why, struct worker_end *ret_end)
{
    const struct timespec slice = {0, 50000000};
    int64_t now = worker_clock(), wait, until, left;
    uint32_t doublings = worker->retry_times < 6 ? worker->retry_times : 6;

    if (!worker->retry_since)
        worker->retry_since = now;
    ret_end->stage = stage;
    ret_end->why = *why;
    if (worker->env.batch && talks(worker, stage)) {
        ret_end->away = !atomic_load(&worker->page->stop);
        return WORKER_GIVE_UP;
    }
    left = worker->retry_since + worker->plan->run[PLAN_RETRY_FOR].number - now;
    if (left <= 0) {
        ret_end->timed_out = true;
        return WORKER_GIVE_UP;
    }
    worker->retry_times++;
    wait = why->retry_after_s ? (int64_t)why->retry_after_s * 1000 : 500ll << doublings;
    for (until = now + (wait < left ? wait : left); worker_clock() < until;) {
        if (atomic_load(&worker->page->stop))
            return WORKER_GIVE_UP;
        nanosleep(&slice, NULL);
        atomic_store(&worker->page->since_ms, worker_clock()); /* it waits: it does not hang */
    }
    return WORKER_WENT;
}

enum worker_answer worker_no_room(struct worker_end *ret_end)
{
    struct sendit_why *why = &ret_end->why;
    bool full = errno == ENOSPC || errno == EDQUOT;

    snprintf(why->code, sizeof(why->code), full ? "hold.no_room" : "hold.place");
    snprintf(why->text, sizeof(why->text), "%s",
             full ? "There is no room for images that rest in the state folder."
                  : "Images that are to rest cannot be written into the state folder.");
    return WORKER_STOP;
}

static void settled(struct worker *worker)
{
    worker->retry_since = 0;
    worker->retry_times = 0;
}

/* ---- opening ---- */

sendit_verdict worker_try_open(struct worker *worker, struct worker_stage *stage,
                               struct sendit_why *ret_why)
{
    sendit_verdict verdict;

    if (stage->open)
        return SENDIT_PASS;
    worker_enter(worker, stage, PAGE_OPEN);
    verdict = stage->plan->plugin->open(&stage->host.host, &stage->self, ret_why);
    worker_leave(worker, stage);
    stage->open = verdict == SENDIT_PASS;
    return host_judge(&stage->host, verdict, ret_why);
}

enum worker_answer worker_open(struct worker *worker, struct worker_stage *stage,
                               struct worker_end *ret_end)
{
    while (!stage->open) {
        struct sendit_why why = {0};
        sendit_verdict verdict = worker_try_open(worker, stage, &why);
        enum worker_answer answer;

        if (verdict == SENDIT_PASS)
            break;
        if (verdict != SENDIT_RETRY) {
            *ret_end = (struct worker_end){.stage = stage->plan->id, .why = why};
            return WORKER_STOP;
        }
        answer = worker_pause(worker, stage->plan->id, &why, ret_end);
        if (answer != WORKER_WENT)
            return answer;
    }
    settled(worker);
    return WORKER_WENT;
}

static void close_stages(struct worker *worker)
{
    for (size_t i = worker->n_stages; i-- > 0;) {
        struct worker_stage *stage = &worker->stages[i];

        if (!stage->open)
            continue;
        host_end_batch(&stage->host);                     /* what produce() left in flight */
        atomic_store(&worker->page->stage, stage->index); /* should it not come back */
        stage->plan->plugin->close(stage->self);
        atomic_store(&worker->page->stage, -1);
        stage->open = false;
    }
}

/* ---- a batch ---- */

typedef enum worker_answer batch_call_fn(struct worker *, struct worker_stage *,
                                         const struct sendit_batch *, struct worker_end *);

/* begin(), finish() or abandon() of a stage; one that it left out passes. */
static sendit_verdict call_batch(struct worker *worker, struct worker_stage *stage,
                                 enum page_phase phase, sendit_batch_fn *call,
                                 const struct sendit_batch *batch, struct sendit_why *why)
{
    char once[SENDIT_ID_SIZE];
    struct sendit_batch own = *batch;
    sendit_verdict verdict;

    if (!call)
        return SENDIT_PASS;
    worker_once(worker, stage->plan->id, batch->id, once);
    own.once_key = once;
    worker_enter(worker, stage, phase);
    verdict = call(stage->self, &own, why);
    if (phase == PAGE_FINISH)
        host_cancel(&stage->host);
    worker_leave(worker, stage);
    return call == stage->plan->plugin->finish ? host_judge_finish(&stage->host, verdict, why)
                                               : host_judge(&stage->host, verdict, why);
}

static enum worker_answer begin_stage(struct worker *worker, struct worker_stage *stage,
                                      const struct sendit_batch *batch, struct worker_end *ret_end)
{
    for (;;) {
        struct sendit_why why = {0};
        sendit_verdict verdict =
            call_batch(worker, stage, PAGE_BEGIN, stage->plan->plugin->begin, batch, &why);
        enum worker_answer answer;

        stage->in_batch = verdict == SENDIT_PASS;
        if (verdict == SENDIT_PASS || verdict == SENDIT_SKIP)
            break;
        if (verdict != SENDIT_RETRY) {
            *ret_end = (struct worker_end){.stage = stage->plan->id, .why = why};
            return WORKER_STOP;
        }
        answer = worker_pause(worker, stage->plan->id, &why, ret_end);
        if (answer != WORKER_WENT)
            return answer;
    }
    settled(worker);
    return WORKER_WENT;
}

/* What another worker's settle() tells of the batch from here on is of this attempt. */
static int tell_finishing(struct worker *worker, const struct worker_stage *stage)
{
    if (!stage->plan->plugin->settle)
        return 0;
    wire_begin(&worker->wire, WIRE_FINISHING);
    wire_put_i64(&worker->wire, stage->index);
    return wire_send(&worker->wire);
}

static enum worker_answer finish_stage(struct worker *worker, struct worker_stage *stage,
                                       const struct sendit_batch *batch, struct worker_end *ret_end)
{
    while (stage->in_batch) {
        struct sendit_why why = {0};
        enum worker_answer answer;
        sendit_verdict verdict;

        if (tell_finishing(worker, stage))
            return WORKER_LOST;
        verdict = call_batch(worker, stage, PAGE_FINISH, stage->plan->plugin->finish, batch, &why);
        if (verdict == SENDIT_PASS || verdict == SENDIT_LATER) {
            stage->in_batch = false;
            stage->later = verdict == SENDIT_LATER;
            break;
        }
        if (verdict != SENDIT_RETRY) {
            *ret_end = (struct worker_end){.stage = stage->plan->id, .why = why};
            return WORKER_STOP;
        }
        answer = worker_pause(worker, stage->plan->id, &why, ret_end);
        if (answer != WORKER_WENT)
            return answer;
    }
    settled(worker);
    return WORKER_WENT;
}

static void abandon_stages(struct worker *worker, const struct sendit_batch *batch)
{
    worker->env.abandoning = true;
    for (size_t i = 0; i < worker->n_stages; i++) {
        struct worker_stage *stage = &worker->stages[i];
        struct log_who who = {stage->plan->id, batch->id, NULL};
        struct sendit_why why = {0};

        if (!stage->in_batch)
            continue;
        if (call_batch(worker, stage, PAGE_FINISH, stage->plan->plugin->abandon, batch, &why) !=
            SENDIT_PASS)
            log_event(LOG_WARN, &who, "batch.abandoned",
                      "The stage could not put down all that it had begun.");
        stage->in_batch = false;
    }
    worker->env.abandoning = false;
}

/* The fact that says how an item came to rest where the batch goes on. */
static bool is_rested(const struct worker *worker, const char *key)
{
    size_t n = strlen(WORKER_RESTED);

    return worker->behind && !strncmp(key, WORKER_RESTED, n) &&
           !strcmp(key + n, worker->behind->id);
}

/* What an earlier attempt noted of an item, or of the batch. */
static int load_facts(struct worker *worker, struct wire_msg *msg, const char *item,
                      char **ret_rested)
{
    uint64_t n = wire_u64(msg);

    for (uint64_t i = 0; i < n && !msg->bad; i++) {
        const char *key = wire_str(msg), *value = wire_str(msg);

        if (ret_rested && is_rested(worker, key) && !(*ret_rested = strdup(value)))
            return -1;
        if (host_facts_load(&worker->env, item, key, value) != SENDIT_OK)
            return -1;
    }
    return msg->bad ? -1 : 0;
}

static int read_releases(struct wire_msg *msg, struct work_item *item)
{
    uint64_t n = wire_u64(msg);

    if (!n)
        return msg->bad ? -1 : 0;
    if (n > WIRE_MAX_FRAME)
        return -1;
    item->releases = calloc((size_t)n, sizeof(*item->releases));
    if (!item->releases)
        return -1;
    while (item->n_releases < n && !msg->bad) {
        struct work_release *release = &item->releases[item->n_releases++];

        release->stage = strdup(wire_str(msg));
        release->passes_over = wire_u64(msg) == 1;
        release->vouched = strdup(wire_str(msg));
        if (!release->stage || !release->vouched)
            return -1;
    }
    return msg->bad ? -1 : 0;
}

static void item_fini(struct work_item *item)
{
    for (size_t i = 0; i < item->n_releases; i++) {
        free(item->releases[i].stage);
        free(item->releases[i].vouched);
    }
    free(item->releases);
    free(item->rested);
    free(item->path);
    memset(item, 0, sizeof(*item));
}

/* Ask for the next items: how many came, -1 if the supervisor is gone. */
static int next_items(struct worker *worker, struct work_item *items, size_t max)
{
    struct wire_msg answer;
    int64_t n;

    wire_begin(&worker->wire, WIRE_ITEMS);
    if (link_ask(&worker->wire, &answer, &n) || n < 0 || (uint64_t)n > max)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        struct work_item *item = &items[i];

        memset(item, 0, sizeof(*item));
        snprintf(item->id, sizeof(item->id), "%s", wire_str(&answer));
        item->path = strdup(wire_str(&answer));
        item->dev = wire_u64(&answer);
        item->ino = wire_u64(&answer);
        item->size = wire_u64(&answer);
        item->mtime_ns = wire_i64(&answer);
        item->attempt = (uint32_t)wire_u64(&answer);
        if (!item->path || load_facts(worker, &answer, item->id, &item->rested) ||
            read_releases(&answer, item)) {
            while (i >= 0)
                item_fini(&items[i--]);
            return -1;
        }
    }
    return (int)n;
}

/* Is more memory in use than worker_memory allows?  What it did so far is finished first. */
static bool is_full(const struct worker *worker)
{
    int64_t limit = worker->plan->run[PLAN_WORKER_MEMORY].number;
    struct rusage peak;
    char text[64];
    long pages = 0;
    ssize_t n;

    if (!getrusage(RUSAGE_SELF, &peak) && (int64_t)peak.ru_maxrss * 1024 <= limit)
        return false; /* it never was, and that is cheaper to ask */
    n = worker->statm < 0 ? -1 : pread(worker->statm, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    if (sscanf(text, "%*s %ld", &pages) != 1)
        return false;
    return (int64_t)pages * sysconf(_SC_PAGESIZE) > limit;
}

static enum worker_answer take_items(struct worker *worker, struct worker_end *ret_end)
{
    enum { MANY = 64 };
    struct work_item items[MANY];
    enum worker_answer answer = WORKER_WENT;

    for (;;) {
        int n = next_items(worker, items, MANY);

        if (n < 0)
            return WORKER_LOST;
        for (int i = 0; i < n; i++) {
            if (answer == WORKER_WENT && !worker->is_full && !atomic_load(&worker->page->stop)) {
                answer = chain_take(worker, &items[i], ret_end);
                worker->is_full = worker->is_full || is_full(worker);
            }
            item_fini(&items[i]);
        }
        if (answer != WORKER_WENT || !n || worker->is_full || atomic_load(&worker->page->stop))
            return answer;
    }
}

/* All images are through, or as many as there was time for: may the stages finish? */
static enum worker_answer sync_batch(struct worker *worker, bool *ret_go)
{
    struct wire_msg answer;
    int64_t go;

    wire_begin(&worker->wire, WIRE_SYNC);
    if (link_ask(&worker->wire, &answer, &go))
        return WORKER_LOST;
    *ret_go = go == 1;
    return WORKER_WENT;
}

/* begin(), finish() and the like of the stages that the batch goes through now. */
static enum worker_answer each_stage(struct worker *worker, batch_call_fn *call,
                                     const struct sendit_batch *batch, struct worker_end *ret_end)
{
    enum worker_answer answer = WORKER_WENT;

    for (size_t i = 0; answer == WORKER_WENT && i < worker->n_stages; i++) {
        struct worker_stage *stage = &worker->stages[i];

        if (stage == worker->rest)
            break;
        if (!worker->behind || stage->plan > worker->behind)
            answer = call(worker, stage, batch, ret_end);
    }
    return answer;
}

/* A file is synced: the worker does not hang. */
static void is_alive(void *ctx)
{
    const struct worker *worker = ctx;

    atomic_store(&worker->page->since_ms, worker_clock());
}

/* What rests is durable before the supervisor is told that all is through. */
static enum worker_answer sync_held(struct worker *worker, const char *batch,
                                    struct worker_end *ret_end)
{
    if (!worker->rest || worker->held < 0)
        return WORKER_WENT;
    if (!held_sync(worker->plan->state, batch, worker->rest->plan->id, is_alive, worker))
        return WORKER_WENT;
    *ret_end = (struct worker_end){.stage = worker->rest->plan->id};
    (void)worker_no_room(ret_end);
    return WORKER_STOP;
}

static enum worker_answer open_stage(struct worker *worker, struct worker_stage *stage,
                                     const struct sendit_batch *batch, struct worker_end *ret_end)
{
    (void)batch;
    return worker_open(worker, stage, ret_end);
}

static enum worker_answer do_batch(struct worker *worker, const struct sendit_batch *batch,
                                   bool *ret_finished, struct worker_end *ret_end)
{
    enum worker_answer answer = each_stage(worker, open_stage, batch, ret_end);
    bool go = false;

    if (answer == WORKER_WENT)
        answer = each_stage(worker, begin_stage, batch, ret_end);
    if (answer == WORKER_WENT)
        answer = take_items(worker, ret_end);
    if (answer == WORKER_WENT)
        answer = sync_held(worker, batch->id, ret_end);
    if (answer == WORKER_WENT)
        answer = sync_batch(worker, &go);
    if (answer == WORKER_WENT && go) {
        answer = each_stage(worker, finish_stage, batch, ret_end);
        *ret_finished = answer == WORKER_WENT;
    }
    return answer;
}

/* The ids of stages that have something to settle later, behind their number. */
static void put_later(struct worker *worker)
{
    uint64_t n = 0;

    for (size_t i = 0; i < worker->n_stages; i++)
        n += worker->stages[i].later;
    wire_put_u64(&worker->wire, n);
    for (size_t i = 0; i < worker->n_stages; i++)
        if (worker->stages[i].later)
            wire_put_str(&worker->wire, worker->stages[i].plan->id);
}

/* Tell how the batch ended, and wait until that is durable. */
static int report(struct worker *worker, enum worker_answer answer, bool finished,
                  const struct worker_end *end)
{
    struct wire_msg reply;
    int64_t result;

    if (worker->is_full) {
        wire_begin(&worker->wire, WIRE_LEAVING);
        if (wire_send(&worker->wire))
            return -1;
    }
    if (finished) {
        wire_begin(&worker->wire, WIRE_FINISHED);
        put_later(worker);
    } else {
        wire_begin(&worker->wire, answer == WORKER_STOP ? WIRE_STOPPED : WIRE_GAVE_UP);
        wire_put_str(&worker->wire, end->stage);
        wire_put_str(&worker->wire, end->why.code);
        wire_put_str(&worker->wire, end->why.text);
        wire_put_u64(&worker->wire, end->timed_out);
        wire_put_u64(&worker->wire, end->away);
        wire_put_u64(&worker->wire, end->why.retry_after_s);
    }
    return link_ask(&worker->wire, &reply, &result);
}

/* Where the batch goes on, "" for the source, and how far. */
static int find_way(struct worker *worker, const char *rests)
{
    const struct plan_stage *next;

    worker->behind = *rests ? plan_hold(worker->plan, rests) : NULL;
    worker->rest = NULL;
    if (*rests && !worker->behind)
        return -1; /* the supervisor has looked */
    next = plan_next_hold(worker->plan, worker->behind);
    for (size_t i = 0; next && i < worker->n_stages; i++)
        if (worker->stages[i].plan == next)
            worker->rest = &worker->stages[i];
    return 0;
}

static int run_batch(struct worker *worker, struct wire_msg *msg)
{
    char id[SENDIT_ID_SIZE];
    struct sendit_batch batch = {.id = id};
    struct worker_end end = {0};
    enum worker_answer answer;
    bool finished = false;
    int result = 0;

    snprintf(id, sizeof(id), "%s", wire_str(msg));
    batch.attempt = (uint32_t)wire_u64(msg);
    worker->asks = wire_u64(msg) != 0;
    batch.n_items = wire_u64(msg);
    if (find_way(worker, wire_str(msg)))
        return -1;
    worker->env.batch = worker->link.batch = id;
    if (load_facts(worker, msg, "", NULL))
        return -1;
    worker->env.batch_open = true;
    answer = do_batch(worker, &batch, &finished, &end);
    if (answer == WORKER_LOST)
        return -1;
    if (!finished)
        abandon_stages(worker, &batch);
    worker->env.batch_open = false;
    for (size_t i = 0; i < worker->n_hosts; i++)
        host_end_batch(&worker->stages[i].host);
    result = report(worker, answer, finished, &end);
    for (size_t i = 0; i < worker->n_stages; i++)
        worker->stages[i].later = false;
    host_facts_clear(&worker->env);
    dicom_drop_all(worker->dicom);
    if (worker->held >= 0)
        close(worker->held);
    worker->held = -1;
    worker->env.batch = worker->link.batch = NULL;
    settled(worker);
    return result;
}

/* ---- setting up ---- */

/* Strings of the setup, which is gone when the next message comes. */
struct setup {
    struct run_request request;
    char *copy; /* the whole payload; strings point into it */
    const char **sets, **folders, **plugins;
    const char *digest, *key, *fingerprint, *scratch, *filters;
    int role; /* enum wire_role */
};

static const char **strings(struct wire_msg *msg, size_t *ret_n)
{
    uint64_t n = wire_u64(msg);
    const char **list;

    if (msg->bad || n > 65536)
        return NULL;
    list = calloc((size_t)n + 1, sizeof(*list));
    for (uint64_t i = 0; list && i < n; i++)
        list[i] = wire_str(msg);
    *ret_n = (size_t)n;
    return list;
}

static int read_setup(struct worker *worker, struct setup *setup)
{
    struct plan_request *plan = &setup->request.plan;
    struct wire_msg msg;
    size_t len;

    if (wire_wait(&worker->wire, &msg) || msg.type != WIRE_SETUP)
        return -1;
    len = (size_t)(msg.end - msg.at);
    setup->copy = malloc(len + 1);
    if (!setup->copy)
        return -1;
    memcpy(setup->copy, msg.at, len);
    msg.at = setup->copy;
    msg.end = setup->copy + len;
    setup->role = (int)wire_i64(&msg);
    log_init((enum log_level)wire_u64(&msg));
    plan->path = wire_str(&msg);
    plan->text = wire_bytes(&msg, &plan->text_len);
    plan->state = wire_str(&msg);
    setup->sets = strings(&msg, &plan->n_sets);
    setup->folders = strings(&msg, &plan->n_folders);
    setup->plugins = strings(&msg, &setup->request.n_plugins);
    setup->digest = wire_str(&msg);
    setup->key = wire_str(&msg);
    setup->fingerprint = wire_str(&msg);
    snprintf(worker->uuid, sizeof(worker->uuid), "%s", wire_str(&msg));
    setup->scratch = wire_str(&msg);
    setup->filters = wire_str(&msg);
    plan->sets = setup->sets;
    plan->folders = setup->folders;
    setup->request.plugins = setup->plugins;
    if (!plan->state[0])
        plan->state = NULL;
    return msg.bad || !setup->sets || !setup->folders || !setup->plugins ? -1 : 0;
}

static void setup_fini(struct setup *setup)
{
    free(setup->copy);
    free(setup->sets);
    free(setup->folders);
    free(setup->plugins);
}

static int build(struct worker *worker, const struct setup *setup, struct err *err)
{
    if (run_build(&setup->request, &worker->loader, &worker->plan, err))
        return -1;
    if (strcmp(worker->plan->digest, setup->digest))
        return err_set(err, ERR_REFUSED,
                       "a stage's file changed while the run was under way; run again, and "
                       "replace stages only between runs");
    if (setup->key[0]) {
        if (identity_load(setup->key, &worker->key, err))
            return -1;
        worker->has_key = true;
        if (strcmp(worker->key.fingerprint, setup->fingerprint))
            return err_set(err, ERR_REFUSED, "the site key changed while the run was under way");
    }
    return 0;
}

static int make_stages(struct worker *worker, const struct setup *setup, struct err *err)
{
    struct dicom_limits limits = {.max_inflate =
                                      (uint64_t)worker->plan->run[PLAN_MAX_INFLATE].number};

    worker->dicom = dicom_new(&limits, setup->scratch, err);
    worker->stages = calloc(worker->plan->n_stages, sizeof(*worker->stages));
    if (!worker->dicom || !worker->stages)
        return worker->dicom ? err_set(err, ERR_PLACE, "no memory") : -1;
    worker->env = (struct host_env){.plan = worker->plan,
                                    .link = &worker->link.table,
                                    .key = worker->has_key ? &worker->key : NULL,
                                    .dicom = worker->dicom,
                                    .filters = setup->filters,
                                    .scratch = setup->scratch};
    for (size_t i = 0; i < worker->plan->n_stages; i++) {
        struct worker_stage *stage = &worker->stages[worker->n_stages];

        if (!worker->plan->stages[i].enabled)
            continue;
        stage->plan = &worker->plan->stages[i];
        stage->index = (int32_t)i;
        worker->n_stages++;
        host_init(&stage->host, &worker->env, stage->plan);
        worker->n_hosts++;
    }
    return 0;
}

/* No core file, which would hold patients; a bound on memory, twice what it is replaced at;
 * signals are the supervisor's. */
static void confine(struct worker *worker)
{
    const struct rlimit none = {0, 0};
    rlim_t bytes = 2 * (rlim_t)worker->plan->run[PLAN_WORKER_MEMORY].number;

    worker->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    setrlimit(RLIMIT_CORE, &none);
    if (!SANITIZED) {
        const struct rlimit memory = {bytes, bytes};

        prctl(PR_SET_DUMPABLE, 0);
        if (bytes)
            setrlimit(RLIMIT_DATA, &memory);
    }
}

static void worker_fini(struct worker *worker)
{
    close_stages(worker);
    for (size_t i = 0; i < worker->n_hosts; i++)
        host_fini(&worker->stages[i].host);
    host_facts_clear(&worker->env);
    free(worker->stages);
    dicom_free(worker->dicom);
    plan_free(worker->plan);
    loader_free(worker->loader);
    identity_wipe(&worker->key);
    link_fini(&worker->link);
    wire_fini(&worker->wire);
    if (worker->statm >= 0)
        close(worker->statm);
}

static int tell_broken(struct worker *worker, const struct err *err)
{
    wire_begin(&worker->wire, WIRE_BROKEN);
    wire_put_i64(&worker->wire, err->code ? err->code : ERR_REFUSED);
    wire_put_str(&worker->wire, err->text);
    return wire_send(&worker->wire) || wire_flush(&worker->wire) ? -1 : 0;
}

/* One thing to do; -1 if the supervisor is gone or said what no supervisor of ours says. */
static int serve_one(struct worker *worker, struct wire_msg *msg)
{
    if (msg->type == WIRE_BATCH)
        return run_batch(worker, msg);
    return msg->type == WIRE_SETTLE ? between_settle(worker, msg) : -1;
}

static int serve(struct worker *worker, int role)
{
    struct wire_msg msg;

    wire_begin(&worker->wire, WIRE_READY);
    if (wire_send(&worker->wire) || wire_flush(&worker->wire))
        return -1;
    if (role == WIRE_FEEDS)
        return source_run(worker);
    if (role == WIRE_COMPARES)
        return between_compare(worker);
    while (!worker->is_full && !wire_wait(&worker->wire, &msg))
        if (serve_one(worker, &msg))
            return -1;
    return 0; /* the supervisor closed its end: no more work */
}

int run_worker(void)
{
    struct worker worker = {.statm = -1, .held = -1};
    struct setup setup = {0};
    struct err err = {0};
    int result = 1;

    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU, SIG_IGN); /* its process group is not that of the terminal */
    wire_init(&worker.wire, WORKER_SOCKET, WIRE_ASKS);
    worker.page =
        mmap(NULL, sizeof(struct run_page), PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_PAGE, 0);
    if (worker.page == MAP_FAILED || worker_note_socket(&worker)) {
        fprintf(stderr, "sendit: a worker is started by `sendit run` alone\n");
        return ERR_USAGE;
    }
    link_init(&worker.link, &worker.wire, worker.page);
    if (read_setup(&worker, &setup))
        goto out;
    if (build(&worker, &setup, &err) || make_stages(&worker, &setup, &err)) {
        tell_broken(&worker, &err);
        goto out;
    }
    confine(&worker);
    result = serve(&worker, setup.role) ? 1 : 0;
out:
    worker_fini(&worker);
    setup_fini(&setup);
    munmap(worker.page, sizeof(struct run_page));
    return result;
}
