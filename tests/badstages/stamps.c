/* SPDX-License-Identifier: Apache-2.0 */
/* Writes its version into each image, and takes its time: to be replaced in the midst of a run. Its
 * code is spread over pages that are not touched before the third image, so that a file written
 * over would show. */
#include <sendit/stage.h>

#include <unistd.h>

#define SERIES_DESCRIPTION 0x0008103eu
#define PAGES 64

struct sendit_stage_state {
    const struct sendit_dicom *dicom;
    unsigned images;
};

/* A read-only table of the file: page by page it is brought in from there. */
#define PAGE                                                                                       \
    {                                                                                              \
        "version " VERSION                                                                         \
    }
static const struct {
    _Alignas(4096) char text[4096];
} pages[PAGES] = {PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE,
                  PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE,
                  PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE,
                  PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE,
                  PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE, PAGE};

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    static struct sendit_stage_state self;

    (void)why;
    self.dicom = SENDIT_SERVICE(host, dicom);
    *ret_self = &self;
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    (void)why;
    usleep(30000);
    return sendit_verdict_of(
        self->dicom->put(item->ds, SERIES_DESCRIPTION, pages[self->images++ % PAGES].text));
}

static void stop(struct sendit_stage_state *self)
{
    (void)self;
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_MUTATES, .name = "stamps", .version = VERSION ".0.0",
              .summary = "A fixture of the tests.", .open = start, .process = process,
              .close = stop);
