/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stage for tests of `sendit test-stage`, built by them with -DTRIAL=... : sound as it is, and
 * wrong in one way for each other number.
 */
#define _GNU_SOURCE
#include <sendit/stage.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SOUND = 0,
    LEAKS,         /* memory, in open() */
    LEAKS_FILES,   /* descriptors, in open() */
    LEAKS_ITEMS,   /* memory, with each item */
    CRASHES,       /* in process() */
    CRASHES_LATER, /* where a call of the host fails */
    EXITS,         /* in process() */
    INVENTS,       /* a verdict */
    EDITS,         /* and does not declare it */
    PASSES_ANYWAY, /* whatever the host says */
    CHANGES,       /* its edits with the attempt */
    LEAVES_FILES,  /* in abandon() */
    SAYS,          /* on stderr and stdout, and holds the item */
    SENDS,         /* requests, and passes what is answered with 200 */
    STARTS,        /* the same, in flight until finish() */
    MISUSES,       /* a table that it does not declare */
    BAD_WORDS,     /* version and help */
    SETTLES,       /* a row for each batch, later: asks for it, and compares */
    FORGETS,       /* the row, in settle() */
    WAITS_ANYWAY,  /* says LATER whatever the host says */
    UNSETTLED,     /* says LATER and has no settle() */
    TELLS          /* of a batch that does not wait */
};
#ifndef TRIAL
#define TRIAL SOUND
#endif

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_facts *facts;
    const struct sendit_http *http;
    const struct sendit_store *store;
    int in_flight, failed;
};

static const struct sendit_option options[] = {
    {.name = "url",
     .type = SENDIT_OPT_URL,
     .default_value = "https://service.example/api",
     .help = TRIAL == BAD_WORDS ? "no sentence" : "Whom it asks."},
    {.name = "token", .type = SENDIT_OPT_SECRET, .help = "For the service."},
};

static void *lost[4096];
static unsigned n_lost;

static void lose(void)
{
    lost[n_lost++ % 4096] = malloc(64);
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "trial.memory", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->facts = SENDIT_SERVICE(host, facts);
    self->http = SENDIT_SERVICE(host, http);
    self->store = SENDIT_SERVICE(host, store);
    if (TRIAL == LEAKS)
        lose();
    if (TRIAL == LEAKS_FILES && open("/dev/null", O_RDONLY) < 0)
        abort();
    *ret_self = self;
    return SENDIT_PASS;
}

static void done(void *ctx, sendit_result result, const struct sendit_http_response *response)
{
    struct sendit_stage_state *self = ctx;

    self->in_flight--;
    self->failed |= result != SENDIT_OK || response->status != 200;
}

static sendit_verdict ask(struct sendit_stage_state *self, const struct sendit_item *item,
                          struct sendit_why *why)
{
    const struct sendit_part body = {.data = "hello", .length = 5};
    const char *const headers[] = {"Content-Type: text/plain", NULL};
    const struct sendit_http_request request = {.size = sizeof(request),
                                                .method = "POST",
                                                .url = "https://service.example/api/images",
                                                .headers = headers,
                                                .auth = "token",
                                                .body = &body,
                                                .n_body = 1};
    const struct sendit_http_response *response;
    const char *tag;
    sendit_result r;

    if (TRIAL == STARTS) {
        r = self->http->start(self->host, &request, done, self);
        self->in_flight += r == SENDIT_OK;
        return r == SENDIT_OK ? SENDIT_PASS
                              : sendit_because(why, sendit_verdict_of(r), "trial.start",
                                               "It could not be sent.");
    }
    r = self->http->send(self->host, &request, &response);
    if (r != SENDIT_OK)
        return sendit_because(why, sendit_verdict_of(r), "trial.send", "It could not be sent.");
    if (response->status != 200)
        return sendit_because(why, SENDIT_QUARANTINE, "trial.status", "The service answered %d.",
                              (int)response->status);
    tag = self->http->header(response, "etag");
    r = self->facts->put(self->host, item->id, "trial.etag", tag ? tag : "none");
    return r == SENDIT_OK
               ? SENDIT_PASS
               : sendit_because(why, sendit_verdict_of(r), "trial.fact", "It could not be noted.");
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    volatile int *nowhere = NULL;
    const char *known, *modality = NULL;
    char number[16];
    Dl_info from;
    sendit_result r = self->dicom->get(item->ds, 0x00080060, &modality);

    if (TRIAL == CRASHES)
        *nowhere = 1;
    if (TRIAL == CRASHES_LATER)
        return strlen(modality) ? SENDIT_PASS : SENDIT_SKIP;
    if (TRIAL == EXITS)
        exit(0);
    if (TRIAL == INVENTS)
        return 99;
    if (TRIAL == LEAKS_ITEMS)
        lose();
    if (TRIAL == MISUSES)
        (void)self->facts->put(self->host, "somebody else", "a.fact", "");
    if (TRIAL == SAYS) {
        fputs("this was said on stderr\n", stderr);
        puts("and this on stdout");
        if (dladdr(options, &from))
            fprintf(stderr, "loaded from %s\n", from.dli_fname);
        return sendit_because(why, SENDIT_QUARANTINE, "trial.said", "It was said.");
    }
    if (r != SENDIT_OK && r != SENDIT_EABSENT)
        return sendit_because(why, sendit_verdict_of(r), "trial.get", "It cannot be read.");
    if (TRIAL == EDITS)
        (void)self->dicom->put(item->ds, 0x00081030, "edited");
    if (TRIAL == CHANGES) {
        snprintf(number, sizeof(number), "%u", (unsigned)item->attempt);
        r = self->dicom->put(item->ds, 0x00081030, number);
        return r == SENDIT_OK ? SENDIT_PASS : sendit_verdict_of(r);
    }
    r = self->facts->get(self->host, item->id, "trial.known", &known);
    if (r != SENDIT_OK && r != SENDIT_EABSENT && TRIAL != PASSES_ANYWAY)
        return sendit_because(why, sendit_verdict_of(r), "trial.fact", "It cannot be looked up.");
    if (TRIAL == SENDS || TRIAL == STARTS)
        return ask(self, item, why);
    return SENDIT_PASS;
}

/* The row is queued; what is done already is not. */
static sendit_verdict queue(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    const void *value;
    uint64_t revision;
    size_t length;
    sendit_result r = self->store->get(self->host, batch->id, &value, &length, &revision);

    if (r == SENDIT_OK && !strcmp(value, "done"))
        return SENDIT_PASS;
    if (r == SENDIT_EABSENT)
        r = self->store->put(self->host, batch->id, "queued", 6, 0);
    if (r == SENDIT_OK || TRIAL == WAITS_ANYWAY)
        return SENDIT_LATER;
    return sendit_because(why, r == SENDIT_ECONFLICT ? SENDIT_RETRY : sendit_verdict_of(r),
                          "trial.queue", "The row cannot be queued.");
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    sendit_result r = self->http ? self->http->drain(self->host, 0) : SENDIT_OK;

    if (r != SENDIT_OK)
        return sendit_because(why, sendit_verdict_of(r), "trial.drain", "It was cut off.");
    if (TRIAL >= SETTLES && TRIAL <= UNSETTLED)
        return queue(self, batch, why);
    if (!self->failed)
        return SENDIT_PASS;
    self->failed = 0;
    return sendit_because(why, SENDIT_FAIL, "trial.failed", "The service refused an image.");
}

static sendit_verdict abandon(struct sendit_stage_state *self, const struct sendit_batch *batch,
                              struct sendit_why *why)
{
    int fd = TRIAL == LEAVES_FILES ? open("left", O_WRONLY | O_CREAT, 0600) : -1;

    (void)batch, (void)why;
    if (fd >= 0)
        close(fd);
    if (self->http)
        (void)self->http->drain(self->host, 0);
    return SENDIT_PASS;
}

static sendit_result ask_row(struct sendit_stage_state *self, const char *method, int *ret_status)
{
    const struct sendit_http_request request = {.size = sizeof(request),
                                                .method = method,
                                                .url = "https://service.example/api/rows",
                                                .auth = "token"};
    const struct sendit_http_response *response;
    sendit_result r = SENDIT_OK;

    *ret_status = 200;
    if (!self->http)
        return r;
    r = self->http->send(self->host, &request, &response);
    if (r == SENDIT_OK)
        *ret_status = response->status;
    return r;
}

static sendit_verdict settle_row(struct sendit_stage_state *self,
                                 const struct sendit_settle *settle, const char *batch,
                                 uint64_t revision, struct sendit_why *why)
{
    int status;
    sendit_result r = ask_row(self, "POST", &status);

    if (r == SENDIT_OK && status == 202)
        return settle->last ? sendit_because(why, SENDIT_RETRY, "trial.work", "The row is in work.")
                            : SENDIT_PASS;
    if (r == SENDIT_OK)
        r = settle->batch(settle, batch, status == 200 ? SENDIT_PASS : SENDIT_FAIL, "trial.lost",
                          "The row is lost.");
    if (r == SENDIT_OK)
        r = self->store->put(self->host, batch, "done", 4, revision);
    return r == SENDIT_OK ? SENDIT_PASS
                          : sendit_because(why, SENDIT_RETRY, "trial.away", "It is away.");
}

static sendit_verdict settle(struct sendit_stage_state *self, const struct sendit_settle *settle,
                             struct sendit_why *why)
{
    const char *key = "";
    sendit_verdict verdict = SENDIT_PASS;
    sendit_result r = SENDIT_OK;

    if (TRIAL == TELLS)
        (void)settle->batch(settle, "another", SENDIT_PASS, "", "");
    if (TRIAL == FORGETS)
        return SENDIT_PASS;
    while (verdict == SENDIT_PASS && (r = self->store->next(self->host, key, &key)) == SENDIT_OK) {
        const void *value;
        uint64_t revision;
        size_t length;

        r = self->store->get(self->host, key, &value, &length, &revision);
        if (r != SENDIT_OK)
            break;
        if (strcmp(value, "done") != 0)
            verdict = settle_row(self, settle, key, revision, why);
    }
    if (verdict == SENDIT_PASS && r != SENDIT_EABSENT)
        return sendit_because(why, SENDIT_RETRY, "trial.store", "Rows cannot be looked up.");
    return verdict;
}

static sendit_verdict compare(struct sendit_stage_state *self, const struct sendit_compare *compare,
                              struct sendit_why *why)
{
    const char *key = "";
    sendit_result r;
    int status;

    while ((r = self->store->next(self->host, key, &key)) == SENDIT_OK) {
        if (ask_row(self, "GET", &status) != SENDIT_OK)
            return sendit_because(why, SENDIT_RETRY, "trial.away", "It is away.");
        if (status == 404)
            (void)compare->differs(compare, "trial.missing", key, "There is no such row.");
        (void)compare->counted(compare, "rows", 1);
    }
    (void)self->store->put(self->host, "compared", "x", 1, 0); /* which is denied */
    return r == SENDIT_EABSENT ? SENDIT_PASS : sendit_verdict_of(r);
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | (TRIAL == CHANGES ? SENDIT_MUTATES : 0) |
                       (TRIAL == SENDS || TRIAL == STARTS || TRIAL == SETTLES
                            ? SENDIT_NETWORK | SENDIT_SECRETS
                            : 0),
              SENDIT_OPTIONS(options), .name = "trial",
              .version = TRIAL == BAD_WORDS ? "1" : "1.0.0", .summary = "A fixture of the tests.",
              .grants = "trial.done", .open = start, .process = process, .finish = finish,
              .abandon = abandon, .settle = TRIAL >= SETTLES && TRIAL != UNSETTLED ? settle : NULL,
              .compare = TRIAL >= SETTLES ? compare : NULL, .close = stop);
