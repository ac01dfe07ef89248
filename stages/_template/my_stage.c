/* my-stage: holds images of the modalities that the site names.  Reads one attribute, changes
 * nothing.  <sendit/stage.h> is the manual: who owns what, when each callback comes. */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

/* One instance, in one worker process. */
struct sendit_stage_state {
    const struct sendit_dicom *dicom;
    const char *const *hold; /* the host's, until close() */
    uint32_t modality;
};

static const struct sendit_option options[] = {
    {.name = "hold",
     .type = SENDIT_OPT_STRING,
     .flags = SENDIT_OPT_MANY,
     .default_value = "OT",
     .help = "Modalities that a human shall look at."},
};

static sendit_verdict my_open(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                              struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "my-stage.memory", "There is no memory.");
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->hold = SENDIT_SERVICE(host, config)->list(host, "hold");
    if (self->dicom->tag("Modality", &self->modality) != SENDIT_OK) {
        free(self);
        return sendit_because(why, SENDIT_FAIL, "my-stage.tag", "The host knows no Modality.");
    }
    *ret_self = self;
    return SENDIT_PASS;
}

static sendit_verdict my_process(struct sendit_stage_state *self, const struct sendit_item *item,
                                 struct sendit_why *why)
{
    const char *modality;
    sendit_result r = self->dicom->get(item->ds, self->modality, &modality);

    if (r == SENDIT_EABSENT || (r == SENDIT_OK && !*modality))
        return sendit_because(why, SENDIT_QUARANTINE, "my-stage.absent", "It has no Modality.");
    if (r == SENDIT_ECORRUPT) /* bytes, or a character set that is not known */
        return sendit_because(why, SENDIT_QUARANTINE, "my-stage.odd", "Its Modality is no text.");
    if (r != SENDIT_OK)
        return sendit_verdict_of(r);
    for (size_t i = 0; self->hold[i]; i++)
        if (!strcmp(modality, self->hold[i]))
            return sendit_because(why, SENDIT_QUARANTINE, "my-stage.held",
                                  "The site holds images of this modality.");
    return SENDIT_PASS;
}

static void my_close(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS, SENDIT_OPTIONS(options), .name = "my-stage",
              .version = "0.1.0", .summary = "Holds images of some modalities.", .open = my_open,
              .process = my_process, .close = my_close);
