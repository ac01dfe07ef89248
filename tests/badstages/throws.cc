/* SPDX-License-Identifier: Apache-2.0 */
// Lets an exception out of process() on the second image: below C++17 that compiles.
#include <sendit/stage.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

struct sendit_stage_state {
    const sendit_dicom *dicom;
};

namespace
{
sendit_verdict start(const sendit_host *host, sendit_stage_state **ret_self, sendit_why *)
{
    static sendit_stage_state self;

    self.dicom = SENDIT_SERVICE(host, dicom);
    *ret_self = &self;
    return SENDIT_PASS;
}

sendit_verdict process(sendit_stage_state *self, const sendit_item *item, sendit_why *)
{
    const char *number = "";

    if (self->dicom->get(item->ds, 0x00200013, &number) == SENDIT_OK && !strcmp(number, "2"))
        throw std::runtime_error("out of process()");
    return SENDIT_PASS;
}

void stop(sendit_stage_state *)
{
}

sendit_plugin make()
{
    sendit_plugin plugin = {};

    plugin.magic = SENDIT_MAGIC;
    plugin.abi = SENDIT_ABI;
    plugin.size = sizeof(sendit_plugin);
    plugin.option_size = sizeof(sendit_option);
    plugin.flags = SENDIT_READS;
    plugin.name = "throws";
    plugin.version = "1.0.0";
    plugin.summary = "A fixture of the tests.";
    plugin.open = start;
    plugin.process = process;
    plugin.close = stop;
    return plugin;
}
} // namespace

extern "C" __attribute__((visibility("default"))) const sendit_plugin *sendit_stage(uint32_t);
extern "C" const sendit_plugin *sendit_stage(uint32_t)
{
    static const sendit_plugin plugin = make();

    return &plugin;
}
