/* SPDX-License-Identifier: Apache-2.0 */
/* hold-localizers: keeps scouts out of a collection.  An image passes if none of the values of its
 * Image Type (0008,0008) is one that the site names; it changes nothing. */
#include <sendit/stage.h>

#include <stdlib.h>
#include <string.h>

#define IMAGE_TYPE 0x00080008u

struct sendit_stage_state {
    const struct sendit_dicom *dicom;
    const char *const *types; /* the host's, until close() */
    int hold;                 /* else an image goes on without our label */
};

static const struct sendit_option options[] = {
    {"types", SENDIT_OPT_STRING, SENDIT_OPT_MANY, "LOCALIZER SCOUT", NULL,
     "Values of Image Type that are not wanted."},
    {"then", SENDIT_OPT_CHOICE, 0, "hold", "hold|skip",
     "What becomes of such an image: held for a human, or on without the label site.no_localizer."},
};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    struct sendit_stage_state *self = calloc(1, sizeof(*self));

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "localizer.memory", "There is no memory.");
    self->dicom = SENDIT_SERVICE(host, dicom);
    self->types = config->list(host, "types");
    self->hold = config->number(host, "then") == 0;
    *ret_self = self;
    return SENDIT_PASS;
}

/* Is `type` one of the values, which backslashes separate? */
static int has_value(const char *values, const char *type)
{
    for (size_t n; *values; values += n + (values[n] == '\\')) {
        n = strcspn(values, "\\");
        if (n == strlen(type) && !memcmp(values, type, n))
            return 1;
    }
    return 0;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    const char *values;
    sendit_result r = self->dicom->get(item->ds, IMAGE_TYPE, &values);

    if (r == SENDIT_EABSENT) /* a report has none */
        return SENDIT_PASS;
    if (r == SENDIT_ECORRUPT) /* bytes, or a character set that is not known */
        return sendit_because(why, SENDIT_QUARANTINE, "localizer.odd", "Its type is no text.");
    if (r != SENDIT_OK)
        return sendit_verdict_of(r);
    for (size_t i = 0; self->types[i]; i++)
        if (has_value(values, self->types[i]))
            return sendit_because(why, self->hold ? SENDIT_QUARANTINE : SENDIT_SKIP,
                                  "localizer.found", "It is a localizer.");
    return SENDIT_PASS;
}

static void stop(struct sendit_stage_state *self)
{
    free(self);
}

SENDIT_PLUGIN(.flags = SENDIT_READS, SENDIT_OPTIONS(options), .name = "hold-localizers",
              .version = "1.0.0", .summary = "Keeps localizers out of a collection.",
              .grants = "site.no_localizer", .open = start, .process = process, .close = stop);
