/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows: a store that finishes later.  finish() queues a row, in the store, and says LATER; settle()
 * writes it into the folder `table`, a file for each batch, and tells of the batch.  It does what
 * its options say besides.
 */
#include <sendit/stage.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum deed { SETTLES, RETRY, FAIL, SKIP, UNKNOWN, FORGET, LOSE, CRASH, HANG, KILL, NONSENSE, ONE };
enum compares { PASSES, COMPARE_RETRY, COMPARE_FAIL, COMPARE_CRASH, WRITES, COMPARE_HANG };

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_config *config;
    const struct sendit_store *store;
    const struct sendit_metrics *metrics;
    char item[SENDIT_ID_SIZE]; /* the last one */
};

static const struct sendit_option options[] = {
    {"table", SENDIT_OPT_PATH, SENDIT_OPT_REQUIRED, NULL, NULL, "The folder with a file a row."},
    {"does", SENDIT_OPT_CHOICE, 0, "settle",
     "settle|retry|fail|skip|unknown|forget|lose|crash|hang|kill|nonsense|one",
     "What settle() does; kill: between telling and noting it."},
    {"times", SENDIT_OPT_INTEGER, 0, "0", "0..", "How often, by the file `count`; 0: always."},
    {"count", SENDIT_OPT_PATH, 0, NULL, NULL, "Has a byte for each time that it was done."},
    {"calls", SENDIT_OPT_PATH, 0, NULL, NULL, "Has an l for each last call of settle(), else a c."},
    {"wait", SENDIT_OPT_INTEGER, 0, "0", "0..", "So many calls of settle() find a row in work."},
    {"finish_waits", SENDIT_OPT_BOOLEAN, 0, "false", NULL,
     "finish() returns when another worker has written the row."},
    {"holds", SENDIT_OPT_BOOLEAN, 0, "false", NULL,
     "finish() holds an item of the first attempt for another one."},
    {"compares", SENDIT_OPT_CHOICE, 0, "pass", "pass|retry|fail|crash|writes|hang",
     "What compare() does."},
};

static int add_byte(const struct sendit_stage_state *self, const char *option, char byte)
{
    const char *path = self->config->text(self->host, option);
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    struct stat st = {0};

    if (fd < 0)
        return 0;
    if (fstat(fd, &st) || write(fd, &byte, 1) != 1)
        st.st_size = 0;
    close(fd);
    return (int)st.st_size;
}

/* Is it still to be done?  Counts it. */
static int is_due(const struct sendit_stage_state *self)
{
    int64_t times = self->config->number(self->host, "times");

    return !times || add_byte(self, "count", '.') < times;
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "rows.memory", "There is no memory.");
    self->host = host;
    self->config = SENDIT_SERVICE(host, config);
    self->store = SENDIT_SERVICE(host, store);
    self->metrics = SENDIT_SERVICE(host, metrics);
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    (void)why;
    snprintf(self->item, sizeof(self->item), "%s", item->id);
    return SENDIT_PASS;
}

/* Another worker writes the row of a batch that is not through here. */
static void await_row(const struct sendit_stage_state *self, const char *batch)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", self->config->text(self->host, "table"), batch);
    for (int i = 0; i < 3000 && access(path, F_OK); i++)
        usleep(10000);
    usleep(300000); /* and tells of it */
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    const char *value;
    const void *got;
    uint64_t revision = 0;
    size_t length;
    sendit_result r = self->store->get(self->host, batch->id, &got, &length, &revision);

    value = got;
    if (r == SENDIT_OK && !strcmp(value, "done"))
        return SENDIT_PASS;
    if (r == SENDIT_EABSENT)
        r = self->store->put(self->host, batch->id, "queued", 6, 0);
    if (r == SENDIT_OK && self->config->number(self->host, "finish_waits"))
        await_row(self, batch->id);
    if (r == SENDIT_OK && batch->attempt == 1 && self->config->number(self->host, "holds"))
        r = self->host->hold(self->host, self->item, SENDIT_RETRY, "rows.again", "Once more.");
    if (r == SENDIT_OK)
        return SENDIT_LATER;
    return sendit_because(why, sendit_verdict_of(r), "rows.queue", "The row cannot be queued.");
}

/* The remote effect: once for a batch, however often it is tried. */
static int write_row(const struct sendit_stage_state *self, const char *batch)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", self->config->text(self->host, "table"), batch);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0 : -1;
    return close(fd);
}

static sendit_verdict settle_row(struct sendit_stage_state *self,
                                 const struct sendit_settle *settle, const char *batch,
                                 uint64_t revision, int64_t deed, struct sendit_why *why)
{
    sendit_verdict verdict = deed == LOSE ? SENDIT_FAIL : SENDIT_PASS;
    sendit_result r;

    if (write_row(self, batch))
        return sendit_because(why, SENDIT_FAIL, "rows.table", "The row cannot be written.");
    r = settle->batch(settle, batch, verdict, "rows.lost", "The row was lost.");
    if (r == SENDIT_OK && deed == KILL && is_due(self))
        kill(getpid(), SIGKILL);
    if (r == SENDIT_OK)
        r = self->store->put(self->host, batch, "done", 4, revision);
    self->metrics->add(self->host, "rows", 1);
    return sendit_verdict_of(r);
}

/* Each row that is queued, but for those that other calls are still to find in work. */
static sendit_verdict settle_rows(struct sendit_stage_state *self,
                                  const struct sendit_settle *settle, int64_t deed,
                                  struct sendit_why *why)
{
    const char *key = "";
    sendit_result r;

    while ((r = self->store->next(self->host, key, &key)) == SENDIT_OK) {
        uint64_t revision;
        const void *value;
        size_t length;
        sendit_verdict verdict;

        r = self->store->get(self->host, key, &value, &length, &revision);
        if (r != SENDIT_OK)
            break;
        if (!strcmp(value, "done"))
            continue;
        verdict = settle_row(self, settle, key, revision, deed, why);
        if (verdict != SENDIT_PASS)
            return verdict;
        if (deed == ONE) {
            why->retry_after_s = 1;
            return sendit_because(why, SENDIT_RETRY, "rows.work", "There may be more.");
        }
    }
    return r == SENDIT_EABSENT ? SENDIT_PASS : sendit_verdict_of(r);
}

static sendit_verdict misbehave(const struct sendit_settle *settle, int64_t deed,
                                struct sendit_why *why)
{
    switch (deed) {
    case RETRY:
        return sendit_because(why, SENDIT_RETRY, "rows.away", "The table is away.");
    case FAIL:
        return sendit_because(why, SENDIT_FAIL, "rows.denied", "The table takes no rows.");
    case SKIP:
        return SENDIT_SKIP;
    case UNKNOWN:
        return 77;
    case CRASH:
        abort();
    case HANG:
        for (;;)
            pause();
    case NONSENSE:
        (void)settle->batch(settle, "b1", SENDIT_QUARANTINE, "", "");
        return SENDIT_PASS;
    default: /* FORGET */
        return SENDIT_PASS;
    }
}

__attribute__((unused)) static sendit_verdict
settle(struct sendit_stage_state *self, const struct sendit_settle *settle, struct sendit_why *why)
{
    int64_t deed = self->config->number(self->host, "does");
    int64_t wait = self->config->number(self->host, "wait");
    int calls = add_byte(self, "calls", settle->last ? 'l' : 'c');

    if (calls < wait)
        return settle->last ? sendit_because(why, SENDIT_RETRY, "rows.work", "It is in work.")
                            : SENDIT_PASS;
    if (deed != SETTLES && deed != LOSE && deed != KILL && deed != ONE && is_due(self))
        return misbehave(settle, deed, why);
    return settle_rows(self, settle, deed, why);
}

/* A row for each batch that is done, and no other. */
static sendit_verdict compare_rows(struct sendit_stage_state *self,
                                   const struct sendit_compare *compare)
{
    const char *folder = self->config->text(self->host, "table"), *key = "";
    char path[4096];
    uint64_t rows = 0;
    sendit_result r;

    while ((r = self->store->next(self->host, key, &key)) == SENDIT_OK) {
        rows++;
        snprintf(path, sizeof(path), "%s/%s", folder, key);
        if (access(path, F_OK))
            (void)compare->differs(compare, "rows.missing", key, "The table has no such row.");
    }
    (void)compare->counted(compare, "rows", rows);
    (void)compare->counted(compare, "rows", 0);
    return r == SENDIT_EABSENT ? SENDIT_PASS : sendit_verdict_of(r);
}

static sendit_verdict compare(struct sendit_stage_state *self, const struct sendit_compare *compare,
                              struct sendit_why *why)
{
    switch (self->config->number(self->host, "compares")) {
    case COMPARE_RETRY:
        return sendit_because(why, SENDIT_RETRY, "rows.away", "The table is away.");
    case COMPARE_FAIL:
        return sendit_because(why, SENDIT_FAIL, "rows.denied", "The table may not be read.");
    case COMPARE_CRASH:
        abort();
    case COMPARE_HANG:
        for (;;)
            pause();
    case WRITES:
        if (self->store->put(self->host, "b1", "x", 1, 0) != SENDIT_EDENIED ||
            self->store->append(self->host, "rows.compared", "{}") != SENDIT_EDENIED)
            return sendit_because(why, SENDIT_FAIL, "rows.wrote", "It could write.");
        self->metrics->add(self->host, "rows", 1);
        self->host->log(self->host, SENDIT_WARN, "rows.seen", "A line.");
        break;
    default:
        break;
    }
    return compare_rows(self, compare);
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

#ifdef STAGE_FORGETS
#define SETTLE NULL
#else
#define SETTLE settle
#endif
SENDIT_PLUGIN(.flags = 0, SENDIT_OPTIONS(options), .name = STAGE_NAME, .version = "1.0.0",
              .summary = "rows of a table, written later", .open = start, .process = process,
              .finish = finish, .settle = SETTLE, .compare = compare, .close = stop);
