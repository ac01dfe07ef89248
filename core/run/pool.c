/* SPDX-License-Identifier: Apache-2.0 */
#include "run/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

#define PAGE_PREFIX "page-"
#define END_MS 10000   /* between the end of its socket and that of a worker */
#define START_MS 60000 /* at least, for a worker to read its setup and load the stages */
#define SLEPT_MS 5000  /* the loop looks at its workers a few times a second */

/* ---- starting ---- */

/* In the child: nothing but the three standard streams, the socket and the page stay open. */
static void become_worker(int sock, int page, pid_t parent)
{
    char *const argv[] = {(char[]){"sendit"}, (char[]){RUN_WORKER_ARGUMENT}, NULL};
    sigset_t none;
    int null;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);  /* it died before we asked to be told */
    setpgid(0, 0); /* so that whatever its stages start can be ended with it */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || (sock = fcntl(sock, F_DUPFD, 10)) < 0 ||
        (page = fcntl(page, F_DUPFD, 10)) < 0 || dup2(sock, WORKER_SOCKET) < 0 ||
        dup2(page, WORKER_PAGE) < 0)
        _exit(1);
    close_range(WORKER_PAGE + 1, UINT_MAX, 0);
    /* Each image is some thousand small pieces of memory, gone together: let glibc keep them. */
    setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=4000", 0);
    execv("/proc/self/exe", argv);
    _exit(1);
}

static void put_list(struct wire *wire, const char *const *list, size_t n)
{
    wire_put_u64(wire, n);
    for (size_t i = 0; i < n; i++)
        wire_put_str(wire, list[i]);
}

static int send_setup(struct supervisor *sv, struct slot *slot)
{
    const struct run_request *request = sv->options->request;
    const struct plan *plan = sv->options->plan;
    struct wire *wire = &slot->wire;

    wire_begin(wire, WIRE_SETUP);
    wire_put_i64(wire, slot->compares ? WIRE_COMPARES : slot->source ? WIRE_FEEDS : WIRE_WORKS);
    wire_put_u64(wire, (uint64_t)log_threshold());
    wire_put_str(wire, plan->path);
    wire_put_bytes(wire, plan->text, plan->text_len);
    wire_put_str(wire, request->plan.state);
    put_list(wire, request->plan.sets, request->plan.n_sets);
    put_list(wire, request->plan.folders, request->plan.n_folders);
    put_list(wire, request->plugins, request->n_plugins);
    wire_put_str(wire, plan->digest);
    wire_put_str(wire, sv->key_path);
    wire_put_str(wire, sv->key.fingerprint);
    wire_put_str(wire, ledger_uuid(sv->ledger));
    wire_put_str(wire, sv->scratch);
    wire_put_str(wire, sv->filters);
    return wire_send(wire);
}

static void free_slot(struct slot *slot)
{
    wire_fini(&slot->wire);
    if (slot->pidfd >= 0)
        close(slot->pidfd);
    if (slot->page)
        munmap(slot->page, sizeof(*slot->page));
    if (slot->page_path)
        unlink(slot->page_path);
    free(slot->page_path);
    if (slot->has_batch)
        ledger_batch_fini(&slot->batch);
    free(slot);
}

/* A file, not memory alone: when the supervisor dies, too, the next one finds what was in hand. */
static struct run_page *make_page(const struct supervisor *sv, char **ret_path, int *ret_fd)
{
    char *path = file_join(sv->scratch, PAGE_PREFIX "XXXXXX");
    struct run_page *page = MAP_FAILED;

    *ret_path = path;
    *ret_fd = path ? mkostemp(path, O_CLOEXEC) : -1;
    /* With its blocks: on a full disk a write into a hole would be a crash. */
    if (*ret_fd >= 0 && !(errno = posix_fallocate(*ret_fd, 0, sizeof(*page))))
        page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
    if (page == MAP_FAILED)
        return NULL;
    atomic_store(&page->stage, -1);
    return page;
}

struct slot *pool_spawn(struct supervisor *sv, enum wire_role role)
{
    struct slot *slot = calloc(1, sizeof(*slot));
    int pair[2] = {-1, -1}, page = -1;
    pid_t parent = getpid();

    if (!slot)
        goto fail;
    wire_init(&slot->wire, -1, WIRE_ANSWERS);
    slot->pidfd = -1;
    slot->source = role == WIRE_FEEDS;
    slot->compares = role == WIRE_COMPARES;
    slot->heard = supervisor_boottime();
    slot->page = make_page(sv, &slot->page_path, &page);
    if (!slot->page || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        goto fail;
    slot->pid = fork();
    if (slot->pid == 0)
        become_worker(pair[1], page, parent);
    if (slot->pid < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK))
        goto fail;
    slot->wire.fd = pair[0];
    slot->pidfd = pidfd_open(slot->pid, 0);
    close(pair[1]);
    close(page);
    slot->next = sv->slots;
    sv->slots = slot;
    if (send_setup(sv, slot))
        log_event(LOG_DEBUG, NULL, "worker.lost", "A worker ended before it was set up.");
    return slot;
fail:
    if (pair[0] >= 0) {
        close(pair[0]);
        close(pair[1]);
    }
    if (page >= 0)
        close(page);
    if (slot)
        free_slot(slot);
    supervisor_fatal(sv, ERR_PLACE, "cannot start a worker: %s", strerror(errno));
    return NULL;
}

/* ---- stopping ---- */

void pool_stop(struct supervisor *sv)
{
    for (struct slot *slot = sv->slots; slot; slot = slot->next)
        atomic_store(&slot->page->stop, 1);
}

void pool_kill(struct supervisor *sv)
{
    for (struct slot *slot = sv->slots; slot; slot = slot->next)
        kill(slot->pid, SIGKILL);
}

/* Does it wait for us?  Then its silence is our own. */
static bool is_waiting(const struct slot *slot)
{
    return slot->state == SLOT_IDLE || slot->state == SLOT_PARKED || slot->question.waits ||
           slot->waits_for[0];
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Is there nothing left for it to do but to close its stages? */
static bool is_closing(const struct slot *slot)
{
    return slot->state == SLOT_CLOSING || (slot->state == SLOT_IDLE && slot->leaving);
}

/* What is durable stays so: a stage that does not come back from close() costs its worker alone. */
static void end_closing(struct supervisor *sv, struct slot *slot)
{
    int32_t index = atomic_load(&slot->page->stage);
    bool known = index >= 0 && (size_t)index < sv->options->plan->n_stages;
    struct log_who who = {.stage = known ? sv->options->plan->stages[index].id : NULL};

    kill(slot->pid, SIGKILL);
    if (!slot->timed_out)
        log_event(LOG_WARN, &who, "worker.hung",
                  "close() did not return within %d s: its worker was ended.",
                  SUPERVISOR_CLOSE_MS / 1000);
    slot->timed_out = true;
}

/*
 * A stage that hangs is at fault.  A worker that is silent outside of any callback was stopped by
 * somebody, and is dealt with as if that had killed it.  Time in which we did not run ourselves (a
 * machine that slept, Ctrl-Z) is nobody's.
 */
void pool_check_timeouts(struct supervisor *sv)
{
    int64_t limit = sv->options->plan->run[PLAN_STAGE_TIMEOUT].number;
    int64_t now = supervisor_boottime();

    if (now - sv->looked > SLEPT_MS)
        sv->woke = now;
    sv->looked = now;
    for (struct slot *slot = sv->slots; slot; slot = slot->next) {
        bool in_callback = atomic_load(&slot->page->phase) != PAGE_IDLE;
        int64_t since = later(atomic_load(&slot->page->since_ms), sv->woke);
        int64_t bound = slot->state == SLOT_STARTING ? later(limit, START_MS) : limit;

        if (is_closing(slot)) {
            if (now - later(slot->heard, sv->woke) >= SUPERVISOR_CLOSE_MS)
                end_closing(sv, slot);
            continue;
        }
        if (!in_callback)
            since = later(since, slot->heard);
        if (is_waiting(slot) || now - since < bound)
            continue;
        slot->timed_out = in_callback;
        kill(slot->pid, SIGKILL);
    }
}

/* ---- dying ---- */

struct trouble *pool_trouble(struct supervisor *sv, const char *batch, const char *item)
{
    struct trouble *trouble;

    for (trouble = sv->troubles; trouble; trouble = trouble->next)
        if (!strcmp(trouble->batch, batch) && !strcmp(trouble->item, item))
            return trouble;
    trouble = calloc(1, sizeof(*trouble));
    if (!trouble)
        return NULL;
    snprintf(trouble->batch, sizeof(trouble->batch), "%s", batch);
    snprintf(trouble->item, sizeof(trouble->item), "%s", item);
    trouble->next = sv->troubles;
    sv->troubles = trouble;
    return trouble;
}

int pool_unpass(struct supervisor *sv, struct slot *slot)
{
    sv->done -= slot->passed;
    slot->passed = 0;
    return ledger_items_unpass(sv->ledger, slot->batch.id, NULL, sv->err);
}

/* Later batches wait for it to end. */
static void note_again(struct supervisor *sv, struct slot *slot)
{
    char **again = realloc(sv->again, (sv->n_again + 1) * sizeof(*again));

    if (!again) {
        supervisor_fatal(sv, ERR_PLACE, "no memory");
        return;
    }
    sv->again = again;
    again[sv->n_again] = slot->batch.key;
    sv->n_again++;
    slot->batch.key = NULL;
}

void pool_release(struct supervisor *sv, struct slot *slot)
{
    struct ledger_batch now;

    if (pool_unpass(sv, slot) || ledger_release(sv->ledger, slot->batch.id, sv->err) ||
        ledger_batch_get(sv->ledger, slot->batch.id, &now, sv->err)) {
        supervisor_broke(sv);
    } else {
        if (now.state == BATCH_HELD) /* all that is left of it rests */
            rest_tell(sv, slot->batch.id);
        else
            note_again(sv, slot);
        ledger_batch_fini(&now);
    }
    ledger_batch_fini(&slot->batch);
    slot->has_batch = false;
    sv->queue_empty = false;
}

/* In words, what ended the worker. */
static void describe_death(const struct slot *slot, int status, char text[80])
{
    if (slot->timed_out)
        snprintf(text, 80, "did not answer within stage_timeout");
    else if (slot->hung_up || (WIFEXITED(status) && WEXITSTATUS(status) == WORKER_CUT_OFF))
        snprintf(text, 80, "closed descriptors that are not its own");
    else if (WIFSIGNALED(status))
        snprintf(text, 80, "crashed (%s)", strsignal(WTERMSIG(status)));
    else
        snprintf(text, 80, "ended its worker (exit status %d)", WEXITSTATUS(status));
}

/* The image or the batch that a worker died on has cost too much. */
static void condemn(struct supervisor *sv, struct slot *slot, const char *item, const char *stage,
                    const char *code, const char *how)
{
    char text[220];

    if (item[0]) {
        struct ledger_item verdict = {.id = item,
                                      .batch = slot->batch.id,
                                      .state = ITEM_QUARANTINED,
                                      .stage = stage,
                                      .code = code,
                                      .text = text};

        snprintf(text, sizeof(text), "%s %s on this image, each time it was tried.",
                 strcmp(stage, "core") ? "The stage" : "Its reader", how);
        if (ledger_item_decide(sv->ledger, &verdict, sv->err))
            supervisor_broke(sv);
        sv->done++;
        return;
    }
    snprintf(text, sizeof(text), "The stage %s, each time the batch was tried.", how);
    if (ledger_message(sv->ledger, slot->batch.id, "", LOG_ERROR, stage, code, text, sv->err) ||
        pool_unpass(sv, slot) ||
        ledger_items_fail(sv->ledger, slot->batch.id, "batch.stopped", stage, text, sv->err))
        supervisor_broke(sv);
}

static int find_batch(void *ctx, const struct ledger_item *item)
{
    snprintf(ctx, SENDIT_ID_SIZE, "%s", item->state == ITEM_WAITING ? item->batch : "");
    return 0;
}

/* The image that a worker had in hand and the batch that it waits in, both "" for none.  It may
 * have died while it wrote the id, or over the page: what is no image is none. */
static void item_in_hand(struct supervisor *sv, const struct run_page *page,
                         char ret_item[SENDIT_ID_SIZE], char ret_batch[SENDIT_ID_SIZE])
{
    memcpy(ret_item, page->item, SENDIT_ID_SIZE);
    ret_item[SENDIT_ID_SIZE - 1] = ret_batch[0] = '\0';
    if (ret_item[0] && ledger_item_get(sv->ledger, ret_item, find_batch, ret_batch, sv->err) < 0)
        supervisor_broke(sv);
    if (!ret_batch[0])
        ret_item[0] = '\0';
}

/* Was it killed, and not by us? */
static bool is_from_outside(const struct slot *slot, int status)
{
    return !slot->timed_out && !slot->hung_up && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* An image that was in hand when its worker was killed: how often in a row, by the ledger. */
static void count_kill(struct supervisor *sv, const char *batch, const char *item,
                       const char *stage)
{
    struct ledger_item verdict = {
        .id = item,
        .batch = batch,
        .state = ITEM_QUARANTINED,
        .stage = stage,
        .code = "host.killed",
        .text = "Its worker was killed from outside, each time it was tried."};
    uint32_t kills;

    if (ledger_item_killed(sv->ledger, item, &kills, sv->err) ||
        (kills >= SUPERVISOR_MAX_KILLS && ledger_item_decide(sv->ledger, &verdict, sv->err)))
        supervisor_broke(sv);
    else if (kills >= SUPERVISOR_MAX_KILLS)
        sv->done++;
}

/* A stage that takes down one worker after another does so to every image: stop, with its name. */
static void count_fault(struct supervisor *sv, int32_t index, const char *stage, const char *how)
{
    if (index < 0)
        return; /* DICOM that crashes the reader is no fault of a stage */
    if (sv->fault_stage != index)
        sv->faults = 0;
    sv->fault_stage = index;
    if (++sv->faults >= SUPERVISOR_MAX_FAULTS)
        supervisor_fatal(sv, ERR_BATCH,
                         "stage \"%s\" %s, for the %dth time in a row: the run stops, and what is "
                         "left is in QUEUE; mend the stage or disable it",
                         stage, how, SUPERVISOR_MAX_FAULTS);
}

static void blame(struct supervisor *sv, struct slot *slot, int status)
{
    const struct plan *plan = sv->options->plan;
    int32_t index = atomic_load(&slot->page->stage);
    bool known = index >= 0 && (size_t)index < plan->n_stages;
    const char *stage = known ? plan->stages[index].id : "core";
    bool outside = is_from_outside(slot, status);
    char item[SENDIT_ID_SIZE], batch[SENDIT_ID_SIZE], how[80];
    struct trouble *trouble;
    struct log_who who = {stage, slot->batch.id, item};
    uint32_t tries;

    item_in_hand(sv, slot->page, item, batch);
    if (strcmp(batch, slot->batch.id) != 0)
        item[0] = '\0';
    trouble = pool_trouble(sv, slot->batch.id, item);
    if (!trouble) {
        supervisor_fatal(sv, ERR_PLACE, "no memory");
        return;
    }
    describe_death(slot, status, how);
    log_event(LOG_WARN, &who, "worker.died", "A worker was lost: the stage %s.", how);
    if (item[0] && ledger_item_tried(sv->ledger, item, &tries, sv->err))
        supervisor_broke(sv);
    if (outside && item[0])
        count_kill(sv, slot->batch.id, item, stage);
    else if (outside && ++trouble->kills >= SUPERVISOR_MAX_KILLS)
        condemn(sv, slot, item, stage, "host.killed", "was killed from outside");
    else if (!outside && ++trouble->crashes >= 2)
        condemn(sv, slot, item, stage, slot->timed_out ? "host.timeout" : "host.crashed", how);
    if (!outside)
        count_fault(sv, known ? index : -1, stage, how);
}

/* One page: the image that was in hand counts a try, as if its worker had been killed. */
static void count_page(struct supervisor *sv, const struct run_page *page)
{
    char item[SENDIT_ID_SIZE], batch[SENDIT_ID_SIZE];
    uint32_t tries;

    item_in_hand(sv, page, item, batch);
    if (!item[0])
        return;
    if (ledger_item_tried(sv->ledger, item, &tries, sv->err))
        supervisor_broke(sv);
    else
        count_kill(sv, batch, item, "core");
}

void pool_count_left(struct supervisor *sv)
{
    struct dirent *entry;
    DIR *dir = opendir(sv->scratch);

    while (dir && (entry = readdir(dir))) {
        struct run_page page;
        int fd;

        if (strncmp(entry->d_name, PAGE_PREFIX, strlen(PAGE_PREFIX)))
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && pread(fd, &page, sizeof(page), 0) == (ssize_t)sizeof(page))
            count_page(sv, &page);
        if (fd >= 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
}

/* A worker that was in settle(), which is called again. */
static void bury_settling(struct supervisor *sv, struct slot *slot, int status)
{
    int32_t index = atomic_load(&slot->page->stage);
    const char *stage = sv->options->plan->stages[slot->settles].id;
    struct log_who who = {stage, NULL, NULL};
    bool outside = is_from_outside(slot, status);
    char how[80];

    if (sv->hurry || sv->fatal)
        return;
    describe_death(slot, status, how);
    log_event(LOG_WARN, &who, "worker.died", "A worker was lost: the stage %s.", how);
    if (!outside)
        count_fault(sv, index, stage, how);
    later_died(sv, slot, outside, how);
}

/* The only one of `sendit reconcile`: what is left is not compared. */
static void bury_comparing(struct supervisor *sv, struct slot *slot, int status)
{
    int32_t index = atomic_load(&slot->page->stage);
    bool known = index >= 0 && (size_t)index < sv->options->plan->n_stages;
    char how[80];

    describe_death(slot, status, how);
    if (!sv->signal && known)
        supervisor_fatal(sv, ERR_REFUSED, "stage \"%s\" %s while it compared",
                         sv->options->plan->stages[index].id, how);
    else if (!sv->signal)
        supervisor_fatal(sv, ERR_REFUSED, "the worker that compares was lost: it %s", how);
}

/* A worker that had no batch. */
static void bury_without_batch(struct supervisor *sv, struct slot *slot, int status)
{
    if (slot->source && !sv->fed && is_from_outside(slot, status) && !sv->signal && !sv->fatal &&
        ++sv->source_kills < SUPERVISOR_MAX_KILLS)
        sv->source_lost = true; /* what it fed stands, the rest is fed again */
    else if (slot->source && !sv->fed)
        supervisor_fatal(sv, ERR_BATCH,
                         "the source %s before it had fed everything; what it fed is in QUEUE",
                         slot->timed_out ? "hung for longer than stage_timeout" : "ended");
    else if (slot->state == SLOT_STARTING && ++sv->early_deaths >= 3)
        supervisor_fatal(sv, ERR_REFUSED, "workers end as soon as they are started");
}

/* Its batch goes on with another worker, unless nothing of it is left. */
static void put_back(struct supervisor *sv, struct slot *slot)
{
    struct ledger_batch now;

    if (pool_unpass(sv, slot) || ledger_batch_get(sv->ledger, slot->batch.id, &now, sv->err)) {
        supervisor_broke(sv);
        return;
    }
    if (now.counts.waiting) {
        pool_release(sv, slot);
    } else {
        answer_close_batch(sv, slot->batch.id, false);
        ledger_batch_fini(&slot->batch);
        slot->has_batch = false;
    }
    ledger_batch_fini(&now);
}

/*
 * Its exit status.  Its socket has ended, so it has, too, or will: unless a stage closed the socket
 * and goes on.  What its stages started and left is in its process group, whose number is taken as
 * long as it was not waited for.
 */
static int reap(struct slot *slot)
{
    const struct timespec slice = {0, 2000000};
    int64_t until = supervisor_clock() + END_MS;
    int status = 0;

    for (;;) {
        siginfo_t info = {0};

        if (waitid(P_PID, (id_t)slot->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
            break;
        if (!slot->hung_up && supervisor_clock() > until) {
            slot->hung_up = true;
            kill(slot->pid, SIGKILL);
        }
        nanosleep(&slice, NULL);
    }
    kill(-slot->pid, SIGKILL);
    while (waitpid(slot->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

void pool_bury(struct supervisor *sv, struct slot *slot)
{
    struct slot **at = &sv->slots;
    int status = reap(slot);

    while (*at != slot)
        at = &(*at)->next;
    *at = slot->next;
    if (slot->has_batch) {
        if (!sv->hurry && !sv->fatal)
            blame(sv, slot, status);
        put_back(sv, slot);
        supervisor_flush(sv);
    } else if (slot->state == SLOT_SETTLING) {
        bury_settling(sv, slot, status);
        supervisor_flush(sv);
    } else if (slot->state != SLOT_CLOSING && slot->compares) {
        bury_comparing(sv, slot, status);
    } else if (slot->state != SLOT_CLOSING) {
        bury_without_batch(sv, slot, status);
    }
    free_slot(slot);
}
