/* SPDX-License-Identifier: Apache-2.0 */
/*
 * room.c - is there room for another batch: under the ledger, and where stages hand images to?
 *
 * A batch that does not fit costs its whole work, so that none is claimed before `min_free` is
 * there again.  The run waits for that up to `retry_for`, then ends with ERR_PLACE.
 */
#include "run/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/log.h"

#define LOOK_EACH_MS 1000
#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 30000

/* Free bytes where `path` is or, as long as it is not made, where the folder above it is. */
static int free_bytes(const char *path, uint64_t *ret_free)
{
    char above[4096];
    struct statvfs fs;
    size_t n = strlen(path);

    if (n >= sizeof(above))
        return -1;
    memcpy(above, path, n + 1);
    while (statvfs(above, &fs)) {
        char *slash = strrchr(above, '/');

        if (errno != ENOENT || !slash || slash == above)
            return -1;
        *slash = '\0';
    }
    *ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

/* A sentence about the first place with too little room; false if each has enough. */
static bool is_short(const struct plan *plan, char *text, size_t size)
{
    uint64_t need = (uint64_t)plan->run[PLAN_MIN_FREE].number, have;

    if (!free_bytes(plan->state, &have) && have < need) {
        snprintf(text, size,
                 "the state folder has %llu MiB free and run.min_free asks for %llu MiB: make "
                 "room, or lower it",
                 (unsigned long long)(have >> 20), (unsigned long long)(need >> 20));
        return true;
    }
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        for (uint32_t k = 0; stage->enabled && stage->egress && k < stage->plugin->n_options; k++) {
            const struct plan_value *value = &stage->values[k];

            if (value->option->type != SENDIT_OPT_PATH || !value->text ||
                free_bytes(value->text, &have) || have >= need)
                continue;
            snprintf(text, size,
                     "%s of stage \"%s\" has %llu MiB free and run.min_free asks for %llu MiB: "
                     "make room, or lower it",
                     value->option->name, stage->id, (unsigned long long)(have >> 20),
                     (unsigned long long)(need >> 20));
            return true;
        }
    }
    return false;
}

static void begin_waiting(struct supervisor *sv, const char *text)
{
    const struct run_event event = {.type = RUN_WAITING, .text = text};

    if (sv->room.full)
        return;
    sv->room.full = true;
    sv->room.since = supervisor_clock();
    supervisor_event(sv, &event);
    log_event(LOG_WARN, NULL, "room.missing", "No batch is begun: %s.", text);
}

static void end_waiting(struct supervisor *sv)
{
    const struct run_event event = {.type = RUN_GOES_ON};

    if (!sv->room.full)
        return;
    sv->room.full = false;
    sv->room.pause = 0;
    supervisor_event(sv, &event);
    log_event(LOG_WARN, NULL, "room.found", "There is room again: batches are begun.");
}

bool room_is_there(struct supervisor *sv)
{
    struct room *room = &sv->room;
    int64_t now = supervisor_clock();
    char text[400];

    if (now < room->check_at)
        return !room->full;
    room->check_at = now + LOOK_EACH_MS;
    if (is_short(sv->options->plan, text, sizeof(text)))
        begin_waiting(sv, text);
    else if (!room->pause)
        end_waiting(sv);
    else
        return true; /* one more try will tell: room_was_enough(), or missing again */
    if (room->full && now - room->since >= sv->options->plan->run[PLAN_RETRY_FOR].number)
        supervisor_fatal(sv, ERR_PLACE,
                         "there was no room for longer than retry_for; what is left "
                         "is in QUEUE: make room and run again");
    return !room->full;
}

void room_was_missing(struct supervisor *sv, const char *stage)
{
    struct room *room = &sv->room;
    int64_t now = supervisor_clock();
    char text[200];

    snprintf(text, sizeof(text), "stage \"%s\" found no room where it writes: make room", stage);
    begin_waiting(sv, text);
    if (now - room->since >= sv->options->plan->run[PLAN_RETRY_FOR].number)
        supervisor_fatal(sv, ERR_PLACE,
                         "stage \"%s\" found no room for longer than retry_for; what is left is "
                         "in QUEUE: make room and run again",
                         stage);
    room->pause = room->pause ? room->pause * 2 : FIRST_PAUSE_MS;
    if (room->pause > LONGEST_PAUSE_MS)
        room->pause = LONGEST_PAUSE_MS;
    room->check_at = now + room->pause;
}

void room_was_enough(struct supervisor *sv)
{
    if (sv->room.pause)
        end_waiting(sv);
}
