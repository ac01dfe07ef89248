/* SPDX-License-Identifier: Apache-2.0 */
/*
 * misbehave: does what its options say, at the callback and for the images that they name.  All
 * else passes.
 */
#include <sendit/stage.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAG_INSTANCE_NUMBER 0x00200013u
#define TAG_BODY_PART 0x00180015u
#define TAG_KVP 0x00180060u
#define TAG_REFERENCED 0x00081140u
#define BLOAT_BYTES (300u << 20)

enum place { AT_OPEN, AT_PRODUCE, AT_BEGIN, AT_PROCESS, AT_FINISH, AT_ABANDON, AT_CLOSE };
enum deed {
    PASS,
    SKIP,
    QUARANTINE,
    RETRY,
    FAIL,
    UNKNOWN,
    CRASH,
    LEAVE,
    HANG,
    KILL,
    STOP,
    SLOW,
    BLOAT
};

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_config *config;
    const struct sendit_dicom *dicom;
    int64_t at, deed, times;
    int edit;
    unsigned fed;
    char *bloat;
};

static const struct sendit_option options[] = {
    {"at", SENDIT_OPT_CHOICE, 0, "process", "open|produce|begin|process|finish|abandon|close",
     "The callback that misbehaves."},
    {"does", SENDIT_OPT_CHOICE, 0, "pass",
     "pass|skip|quarantine|retry|fail|unknown|crash|leave|hang|kill|stop|slow|bloat",
     "What it does."},
    {"on", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL,
     "Instance Numbers of the images that it does it to; none: all."},
    {"times", SENDIT_OPT_INTEGER, 0, "0", "0..", "How often, by the file `count`; 0: always."},
    {"count", SENDIT_OPT_PATH, 0, NULL, NULL, "Has a byte for each time that it was done."},
    {"edit", SENDIT_OPT_BOOLEAN, 0, "false", NULL, "Edit those images first."},
    {"folder", SENDIT_OPT_PATH, 0, NULL, NULL, "What the source feeds, as one batch."},
};

/* Is it still to be done?  Counts it. */
static int is_due(const struct sendit_stage_state *self)
{
    const char *path = self->config->text(self->host, "count");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    struct stat st;
    int due;

    if (fd < 0)
        return 1;
    due = !self->times || (!fstat(fd, &st) && st.st_size < self->times);
    if (due && write(fd, ".", 1) != 1)
        due = 0;
    close(fd);
    return due;
}

static sendit_verdict bloat(struct sendit_stage_state *self)
{
    if (!self->bloat)
        self->bloat = malloc(BLOAT_BYTES);
    if (self->bloat)
        memset(self->bloat, 1, BLOAT_BYTES);
    return SENDIT_PASS;
}

/* A value that was there, one that was not, one that goes, and a sequence. */
static sendit_result edit(struct sendit_stage_state *self, struct sendit_dataset *ds)
{
    struct sendit_dataset *item;
    sendit_result r = self->dicom->put(ds, TAG_KVP, "77");

    if (r == SENDIT_OK)
        r = self->dicom->put(ds, TAG_BODY_PART, "EDITED");
    if (r == SENDIT_OK)
        r = self->dicom->append(ds, TAG_REFERENCED, &item);
    if (r == SENDIT_OK)
        r = self->dicom->put(item, 0x00081155u, "1.2.3");
    return r == SENDIT_OK ? self->dicom->erase(ds, TAG_INSTANCE_NUMBER) : r;
}

static sendit_verdict misbehave(struct sendit_stage_state *self, int64_t at,
                                struct sendit_dataset *ds, struct sendit_why *why)
{
    if (self->at != at || !is_due(self))
        return SENDIT_PASS;
    if (self->edit && ds)
        (void)edit(self, ds); /* what comes of it is the host's to say */
    switch (self->deed) {
    case SKIP:
        return SENDIT_SKIP;
    case QUARANTINE:
        return sendit_because(why, SENDIT_QUARANTINE, "test.held", "As it was told.");
    case RETRY:
        return sendit_because(why, SENDIT_RETRY, "test.away", "As it was told.");
    case FAIL:
        return sendit_because(why, SENDIT_FAIL, "test.failed", "As it was told.");
    case UNKNOWN:
        return 77;
    case CRASH:
        abort();
    case LEAVE:
        _exit(0);
    case HANG:
        for (;;)
            pause();
    case KILL:
        raise(SIGKILL);
        return SENDIT_PASS;
    case STOP:
        raise(SIGSTOP);
        return SENDIT_PASS;
    case SLOW:
        sleep(2);
        return SENDIT_PASS;
    case BLOAT:
        return bloat(self);
    default:
        return SENDIT_PASS;
    }
}

/* ---- callbacks ---- */

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "test.memory", "There is no memory.");
    self->host = host;
    self->config = SENDIT_SERVICE(host, config);
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->at = self->config->number(host, "at");
    self->deed = self->config->number(host, "does");
    self->times = self->config->number(host, "times");
    self->edit = self->config->number(host, "edit") != 0;
    verdict = misbehave(self, AT_OPEN, NULL, why);
    if (verdict != SENDIT_PASS)
        free(self);
    else
        *ret_self = self;
    return verdict;
}

__attribute__((unused)) static sendit_verdict
produce(struct sendit_stage_state *self, const struct sendit_feed *feed, struct sendit_why *why)
{
    const char *folder = self->config->text(self->host, "folder");
    char path[4096];
    struct dirent *entry;
    DIR *dir;

    if (self->fed++)
        return SENDIT_SKIP;
    dir = folder ? opendir(folder) : NULL;
    if (!dir || feed->open_batch(feed, folder) != SENDIT_OK)
        return SENDIT_FAIL;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            if (feed->add(feed, path) != SENDIT_OK)
                break;
        }
    closedir(dir);
    if (misbehave(self, AT_PRODUCE, NULL, why) != SENDIT_PASS)
        return SENDIT_FAIL;
    return feed->close_batch(feed) == SENDIT_OK ? SENDIT_PASS : SENDIT_FAIL;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    (void)batch;
    return misbehave(self, AT_BEGIN, NULL, why);
}

__attribute__((unused)) static sendit_verdict
process(struct sendit_stage_state *self, const struct sendit_item *item, struct sendit_why *why)
{
    const char *const *on = self->config->list(self->host, "on");
    const char *number = "";
    int meant = !*on;

    if (self->dicom->get(item->ds, TAG_INSTANCE_NUMBER, &number) != SENDIT_OK)
        number = "";
    for (; *on; on++)
        meant |= !strcmp(*on, number);
    if (!meant)
        return SENDIT_PASS;
    return misbehave(self, AT_PROCESS, item->ds, why);
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    (void)batch;
    return misbehave(self, AT_FINISH, NULL, why);
}

static sendit_verdict abandon(struct sendit_stage_state *self, const struct sendit_batch *batch,
                              struct sendit_why *why)
{
    (void)batch;
    return misbehave(self, AT_ABANDON, NULL, why);
}

static void stop(struct sendit_stage_state *self)
{
    struct sendit_why why;

    (void)misbehave(self, AT_CLOSE, NULL, &why);
    free(self->bloat);
    free(self);
}

#ifndef STAGE_GRANTS
#define STAGE_GRANTS NULL
#endif
#define IS_SOURCE ((STAGE_FLAGS)&SENDIT_SOURCE)

SENDIT_PLUGIN(.flags = STAGE_FLAGS, SENDIT_OPTIONS(options), .name = STAGE_NAME, .version = "1.0.0",
              .summary = "Misbehaves as it is told.", .grants = STAGE_GRANTS, .open = start,
              .produce = IS_SOURCE ? produce : NULL, .begin = IS_SOURCE ? NULL : begin,
              .process = IS_SOURCE ? NULL : process, .finish = IS_SOURCE ? NULL : finish,
              .abandon = IS_SOURCE ? NULL : abandon, .close = stop);
