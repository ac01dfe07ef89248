/* SPDX-License-Identifier: Apache-2.0 */
/*
 * one-zero: a stage that was made for ABI 1.0, with the headers beside it.  It notes how many
 * images of a batch it saw, and what it calls them.  As it was then it is loaded by every
 * sendit 1.x.
 */
#include <sendit/stage.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_config *config;
    const struct sendit_dicom *dicom;
    const struct sendit_facts *facts;
    const struct sendit_store *store;
    const struct sendit_files *files;
    uint64_t n, bytes;
};

static const struct sendit_option options[] = {
    {"comment", SENDIT_OPT_STRING, 0, "seen", NULL, "What an image is called."},
    {"leave_out", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL, "Modalities to leave out."},
    {"hold_above", SENDIT_OPT_SIZE, 0, "1GiB", "1B..", "Hold what is larger."},
};

static sendit_verdict begin_stage(const struct sendit_host *host,
                                  struct sendit_stage_state **ret_self, struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "one-zero.memory", "There is no memory.");
    self->host = host;
    self->config = SENDIT_SERVICE(host, config);
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->facts = SENDIT_SERVICE(host, facts);
    self->store = SENDIT_SERVICE(host, store);
    self->files = SENDIT_SERVICE(host, files);
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin_batch(struct sendit_stage_state *self, const struct sendit_batch *batch,
                                  struct sendit_why *why)
{
    (void)batch, (void)why;
    self->n = self->bytes = 0;
    return SENDIT_PASS;
}

static sendit_verdict see(struct sendit_stage_state *self, const struct sendit_item *item,
                          struct sendit_why *why)
{
    const char *const *left_out = self->config->list(self->host, "leave_out");
    const struct sendit_file *file;
    const char *modality = "";
    sendit_result r = self->dicom->get(item->ds, 0x00080060, &modality);

    if (r != SENDIT_OK && r != SENDIT_EABSENT)
        return sendit_verdict_of(r);
    for (size_t i = 0; left_out[i]; i++)
        if (!strcmp(left_out[i], modality))
            return SENDIT_SKIP;
    r = self->files->view(item->ds, &file);
    if (r != SENDIT_OK)
        return sendit_verdict_of(r);
    if (file->total > (uint64_t)self->config->number(self->host, "hold_above"))
        return sendit_because(why, SENDIT_QUARANTINE, "one-zero.large", "It is too large.");
    self->n++;
    self->bytes += file->total;
    r = self->dicom->put(item->ds, 0x00204000, self->config->text(self->host, "comment"));
    if (r == SENDIT_OK)
        r = self->facts->put(self->host, item->id, "one-zero.seen", "yes");
    return sendit_verdict_of(r);
}

/* Without an image there is none to hold. */
static sendit_verdict verdict_without_item(sendit_result r)
{
    sendit_verdict verdict = sendit_verdict_of(r);

    return verdict == SENDIT_QUARANTINE ? SENDIT_FAIL : verdict;
}

static sendit_verdict end_batch(struct sendit_stage_state *self, const struct sendit_batch *batch,
                                struct sendit_why *why)
{
    const void *before;
    uint64_t revision = 0;
    size_t length;
    char text[64];
    sendit_result r = self->store->get(self->host, batch->id, &before, &length, &revision);

    (void)why;
    snprintf(text, sizeof(text), "%" PRIu64 " images", self->n);
    if (r == SENDIT_OK || r == SENDIT_EABSENT)
        r = self->store->put(self->host, batch->id, text, strlen(text), revision);
    return r == SENDIT_OK ? SENDIT_LATER : verdict_without_item(r);
}

/* Tell of all that is noted, and forget it. */
static sendit_verdict settle(struct sendit_stage_state *self, const struct sendit_settle *settle,
                             struct sendit_why *why)
{
    const char *next;
    char key[SENDIT_ID_SIZE];
    sendit_result r;

    (void)why;
    while ((r = self->store->next(self->host, "", &next)) == SENDIT_OK) {
        const void *value;
        uint64_t revision;
        size_t length;

        snprintf(key, sizeof(key), "%s", next);
        r = self->store->get(self->host, key, &value, &length, &revision);
        if (r == SENDIT_OK)
            r = settle->batch(settle, key, SENDIT_PASS, "", "");
        if (r == SENDIT_OK)
            r = self->store->put(self->host, key, NULL, 0, revision);
        if (r != SENDIT_OK)
            return verdict_without_item(r);
    }
    return r == SENDIT_EABSENT ? SENDIT_PASS : verdict_without_item(r);
}

static sendit_verdict compare(struct sendit_stage_state *self, const struct sendit_compare *compare,
                              struct sendit_why *why)
{
    const char *key;

    sendit_result r = self->store->next(self->host, "", &key);

    (void)why;
    if (r == SENDIT_OK)
        r = compare->differs(compare, "one-zero.left", key, "It was noted and not told of.");
    if (r == SENDIT_OK || r == SENDIT_EABSENT)
        r = compare->counted(compare, "notes", 1);
    return verdict_without_item(r);
}

static void end_stage(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_MUTATES, SENDIT_OPTIONS(options), .name = "one-zero",
              .version = "1.0.0", .summary = "Stands for the stages that were made for ABI 1.0.",
              .grants = "one-zero.seen", .open = begin_stage, .begin = begin_batch, .process = see,
              .finish = end_batch, .settle = settle, .compare = compare, .close = end_stage);
