/* SPDX-License-Identifier: Apache-2.0 */
/* A stage that does what it must not, as `how` says, on the image whose Instance Number is `on`
 * (0: on each).  Built with and without MUTATES, and as a stage that sleeps in close(). */
#include <sendit/stage.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FLAGS
#define FLAGS SENDIT_READS
#endif

#define INSTANCE_NUMBER 0x00200013u
#define PATIENT_NAME 0x00100010u

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_config *config;
    const struct sendit_facts *facts;
    struct sendit_dataset *ds; /* of the last image: a thread looks at it later */
    int64_t how, on;
};
typedef sendit_verdict how_fn(struct sendit_stage_state *, const struct sendit_item *,
                              struct sendit_why *);

static sendit_verdict pass(struct sendit_stage_state *self, const struct sendit_item *item,
                           struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return SENDIT_PASS;
}

static sendit_verdict unknown(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return 77;
}

static sendit_verdict crash(struct sendit_stage_state *self, const struct sendit_item *item,
                            struct sendit_why *why)
{
    volatile int *volatile nowhere = NULL;

    (void)self, (void)item, (void)why;
    *nowhere = 1;
    return SENDIT_PASS;
}

static sendit_verdict spin(struct sendit_stage_state *self, const struct sendit_item *item,
                           struct sendit_why *why)
{
    volatile unsigned turns = 0;

    (void)self, (void)item, (void)why;
    while (turns < 2)
        turns = !turns;
    return SENDIT_PASS;
}

static sendit_verdict leave(struct sendit_stage_state *self, const struct sendit_item *item,
                            struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    _exit(0);
}

/* exit() runs what others registered. */
static sendit_verdict leave_well(struct sendit_stage_state *self, const struct sendit_item *item,
                                 struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    exit(0);
}

static unsigned dive(const volatile char *above)
{
    volatile char room[65536];

    room[0] = above ? above[0] : 1;
    if (room[0] != 1)
        return 0;
    return dive(room) + (unsigned)room[0];
}

static sendit_verdict overflow(struct sendit_stage_state *self, const struct sendit_item *item,
                               struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return dive(NULL) ? SENDIT_PASS : SENDIT_SKIP;
}

static sendit_verdict close_all(struct sendit_stage_state *self, const struct sendit_item *item,
                                struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    return SENDIT_PASS;
}

/* What the host believes to be its socket is another file then. */
static sendit_verdict swap_all(struct sendit_stage_state *self, const struct sendit_item *item,
                               struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    for (int fd = 3; fd < 20; fd++)
        dup2(2, fd);
    return SENDIT_PASS;
}

static sendit_verdict twice(struct sendit_stage_state *self, const struct sendit_item *item,
                            struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return fork() < 0 ? SENDIT_FAIL : SENDIT_PASS;
}

/* The child keeps all that is open, and does not end. */
static sendit_verdict leave_child(struct sendit_stage_state *self, const struct sendit_item *item,
                                  struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    while (!fork())
        sleep(1000);
    return SENDIT_PASS;
}

static sendit_verdict edit(struct sendit_stage_state *self, const struct sendit_item *item,
                           struct sendit_why *why)
{
    (void)why;
    (void)self->dicom->put(item->ds, PATIENT_NAME, "Edited^By^Fixture");
    return SENDIT_PASS;
}

static int32_t erase_it(void *ctx, struct sendit_dataset *parent,
                        const struct sendit_element *element)
{
    (void)ctx, (void)parent, (void)element;
    return SENDIT_ERASE;
}

static sendit_verdict edit_all(struct sendit_stage_state *self, const struct sendit_item *item,
                               struct sendit_why *why)
{
    (void)self->dicom->put(item->ds, PATIENT_NAME, "Edited^By^Fixture");
    (void)self->dicom->put_as(item->ds, 0x00091001, "FIXTURE", "LO", "x", 1);
    (void)self->dicom->walk(item->ds, erase_it, NULL);
    return crash(self, item, why);
}

static sendit_verdict again(struct sendit_stage_state *self, const struct sendit_item *item,
                            struct sendit_why *why)
{
    (void)self, (void)item;
    return sendit_because(why, SENDIT_RETRY, "misbehave.away", "It is away, for ever.");
}

/* Calls whatever it can while the worker goes on, and after. */
static void *haunt(void *ctx)
{
    struct sendit_stage_state *self = ctx;
    const char *value;

    for (int i = 0;; i++) {
        if (i < 3)
            self->host->log(self->host, SENDIT_WARN, "thread.said", "The thread lives.");
        (void)self->host->canceled(self->host);
        (void)self->config->number(self->host, "on");
        if (self->dicom->get(self->ds, PATIENT_NAME, &value) != SENDIT_EINVAL ||
            self->dicom->put(self->ds, PATIENT_NAME, "Haunted") != SENDIT_EINVAL)
            abort();
        usleep(1000);
    }
    return NULL;
}

static sendit_verdict start_thread(struct sendit_stage_state *self, const struct sendit_item *item,
                                   struct sendit_why *why)
{
    pthread_t thread;

    (void)why;
    self->ds = item->ds;
    if (pthread_create(&thread, NULL, haunt, self))
        return SENDIT_FAIL;
    usleep(20000); /* so that it is at work while the callback is, too */
    return SENDIT_PASS;
}

static void *put_fact(void *ctx)
{
    struct sendit_stage_state *self = ctx;

    return self->facts->put(self->host, NULL, "thread.was", "here") == SENDIT_EINVAL ? self : NULL;
}

/* A function that is not [any], on a thread of its own. */
static sendit_verdict other_thread(struct sendit_stage_state *self, const struct sendit_item *item,
                                   struct sendit_why *why)
{
    pthread_t thread;
    void *refused = NULL;

    (void)item, (void)why;
    if (pthread_create(&thread, NULL, put_fact, self) || pthread_join(thread, &refused) || !refused)
        abort();
    return SENDIT_PASS;
}

static sendit_verdict leak(struct sendit_stage_state *self, const struct sendit_item *item,
                           struct sendit_why *why)
{
    enum { MUCH = 64 << 20 };
    volatile char *lost = malloc(MUCH);

    (void)self, (void)item, (void)why;
    for (size_t i = 0; lost && i < MUCH; i += 1024)
        lost[i] = 1;
    return SENDIT_PASS;
}

static sendit_verdict flood(struct sendit_stage_state *self, const struct sendit_item *item,
                            struct sendit_why *why)
{
    (void)item, (void)why;
    for (int i = 0; i < 100000; i++)
        self->host->log(self->host, SENDIT_WARN, "flood.line", "One of very many lines.");
    return SENDIT_PASS;
}

/* In the order of the limit below. */
static how_fn *const hows[] = {
    pass,  unknown,     crash, spin,     leave, leave_well,   overflow,     close_all, swap_all,
    twice, leave_child, edit,  edit_all, again, start_thread, other_thread, leak,      flood};
static const struct sendit_option options[] = {
    {.name = "how",
     .type = SENDIT_OPT_CHOICE,
     .default_value = "pass",
     .limit = "pass|unknown|crash|spin|leave|leave_well|overflow|close_all|swap_all|twice|"
              "leave_child|edit|edit_all|again|start_thread|other_thread|leak|flood",
     .help = "What it does."},
    {.name = "on",
     .type = SENDIT_OPT_INTEGER,
     .default_value = "2",
     .limit = "0..",
     .help = "To the image of this Instance Number; 0: to each."},
};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    static struct sendit_stage_state self; /* a thread may outlive close() */

    (void)why;
    self.host = host;
    self.dicom = SENDIT_SERVICE(host, dicom);
    self.config = SENDIT_SERVICE(host, config);
    self.facts = SENDIT_SERVICE(host, facts);
    self.how = self.config->number(host, "how");
    self.on = self.config->number(host, "on");
    *ret_self = &self;
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const char *number = "";

    if (self->on && (self->dicom->get(item->ds, INSTANCE_NUMBER, &number) != SENDIT_OK ||
                     strtoll(number, NULL, 10) != self->on))
        return SENDIT_PASS;
    return hows[self->how](self, item, why);
}

static void stop(struct sendit_stage_state *self)
{
    (void)self;
#ifdef SLEEP_IN_CLOSE
    for (;;)
        sleep(1000);
#endif
}

SENDIT_PLUGIN(.flags = FLAGS, SENDIT_OPTIONS(options), .name = STAGE_NAME, .version = "1.0.0",
              .summary = "A fixture of the tests.", .open = start, .process = process,
              .close = stop);
