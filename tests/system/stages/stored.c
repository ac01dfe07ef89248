/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored: stands in for a store of objects.  It says that each image is in an object, one for each
 * study or one for each image, and puts it nowhere.
 */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 4096

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_facts *facts;
    const struct sendit_config *config;
    char items[MAX_ITEMS][SENDIT_ID_SIZE], objects[MAX_ITEMS][256];
    size_t n;
};

static const struct sendit_option options[] = {
    {"bucket", SENDIT_OPT_STRING, 0, "radiology", NULL, "The bucket."},
    {"single", SENDIT_OPT_BOOLEAN, 0, "false", NULL, "An object for each image."},
    {"generation", SENDIT_OPT_STRING, 0, "1700000000000001", NULL, "Of each object."},
    {"hold", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL,
     "Instance numbers of images that finish() holds."},
};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    (void)why;
    if (!self)
        return SENDIT_RETRY;
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->facts = SENDIT_SERVICE(host, facts);
    self->config = SENDIT_SERVICE(host, config);
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    (void)batch, (void)why;
    self->n = 0;
    return SENDIT_PASS;
}

static const char *text(struct sendit_stage_state *self, struct sendit_dataset *ds, uint32_t tag)
{
    const char *value;

    return self->dicom->get(ds, tag, &value) == SENDIT_OK ? value : "";
}

/* "" stands for one that is held. */
static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const char *const *held = self->config->list(self->host, "hold");
    const char *bucket = self->config->text(self->host, "bucket");
    char *object = self->objects[self->n];
    size_t i = 0;

    (void)why;
    if (self->n == MAX_ITEMS)
        return SENDIT_FAIL;
    snprintf(self->items[self->n++], SENDIT_ID_SIZE, "%s", item->id);
    if (self->config->number(self->host, "single"))
        snprintf(object, sizeof(self->objects[0]), "gs://%s/C/%.70s/%.70s.dcm", bucket,
                 text(self, item->ds, 0x0020000d), text(self, item->ds, 0x00080018));
    else
        snprintf(object, sizeof(self->objects[0]), "gs://%s/Collection/%.70s/%.70s.tar.gz", bucket,
                 text(self, item->ds, 0x00100020), text(self, item->ds, 0x0020000d));
    while (held[i] && strcmp(held[i], text(self, item->ds, 0x00200013)) != 0)
        i++;
    if (held[i])
        *object = '\0';
    return SENDIT_PASS;
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    const char *generation = self->config->text(self->host, "generation");
    sendit_result r = SENDIT_OK;

    (void)batch, (void)why;
    for (size_t i = 0; r == SENDIT_OK && i < self->n; i++) {
        const char *item = self->items[i];

        if (!self->objects[i][0]) {
            r = self->host->hold(self->host, item, SENDIT_QUARANTINE, "stored.held", "As told.");
            continue;
        }
        r = self->facts->put(self->host, item, "store.object", self->objects[i]);
        if (r == SENDIT_OK)
            r = self->facts->put(self->host, item, "store.generation", generation);
        if (r == SENDIT_OK)
            r = self->facts->put(self->host, item, "store.crc32c", "AAAAAA==");
    }
    return sendit_verdict_of(r);
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = STAGE_FLAGS, SENDIT_OPTIONS(options), .name = STAGE_NAME, .version = "0.1.0",
              .summary = "Says that images are in a bucket.", .grants_at_finish = "store.stored",
              .open = start, .begin = begin, .process = process, .finish = finish, .close = stop);
