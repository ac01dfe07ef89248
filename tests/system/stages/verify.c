/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify: holds an image that still has one of the values that it came with, and says how many it
 * came with.
 */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#define SHORTEST 5 /* less is found by chance */

struct sendit_stage_state {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_originals *originals;
    const struct sendit_facts *facts;
};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "verify.memory", "There is no memory.");
    self->host = host;
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->originals = SENDIT_SERVICE(host, originals);
    self->facts = SENDIT_SERVICE(host, facts);
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const char *json, *value;
    char number[24];
    uint32_t tag;
    size_t n = 0;
    sendit_result r = self->dicom->json(item->ds, &json);

    for (; r == SENDIT_OK; n++) {
        r = self->originals->value(item->ds, n, &tag, &value);
        if (r == SENDIT_OK && strlen(value) >= SHORTEST && strstr(json, value))
            return sendit_because(why, SENDIT_QUARANTINE, "verify.left",
                                  "The value of (%04X,%04X) is left.", (unsigned)(tag >> 16),
                                  (unsigned)(tag & 0xffff));
    }
    if (r != SENDIT_EABSENT)
        return sendit_verdict_of(r);
    snprintf(number, sizeof(number), "%zu", n - 1);
    return sendit_verdict_of(self->facts->put(self->host, item->id, "verify.values", number));
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = STAGE_FLAGS, .name = STAGE_NAME, .version = "1.0.0",
              .summary = "Looks for what an image came with.", .grants = "deid.verified",
              .open = start, .process = process, .close = stop);
