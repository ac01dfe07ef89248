// SPDX-License-Identifier: Apache-2.0
// to-utf8: brings all text of an image to UTF-8, by DCMTK's own data set, which the site must allow
// ("native").  C++20; link to DCMTK as the host does.
#include <sendit/sendit_dcmtk.hpp>

#include <new>

struct sendit_stage_state {
    const sendit_dicom *dicom;
};

namespace
{

sendit_verdict start(const sendit_host *host, sendit_stage_state **ret_self,
                     sendit_why *why) noexcept
{
    auto *self = new (std::nothrow) sendit_stage_state{SENDIT_SERVICE(host, dicom)};

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "utf8.memory", "There is no memory.");
    *ret_self = self;
    return SENDIT_PASS;
}

sendit_verdict process(sendit_stage_state *self, const sendit_item *item, sendit_why *why) noexcept
try {
    DcmDataset *data = sendit_native(self->dicom, item->ds);

    if (!data)
        return sendit_because(why, SENDIT_FAIL, "utf8.native",
                              "It was built for another DCMTK or compiler than this sendit.");
    if (!data->containsExtendedCharacters(OFTrue))
        return SENDIT_SKIP; // ASCII is UTF-8
    if (data->convertToUTF8().bad())
        return sendit_because(why, SENDIT_QUARANTINE, "utf8.text",
                              "Its text is not in the character set that it names.");
    return SENDIT_PASS;
} catch (const std::bad_alloc &) {
    return sendit_because(why, SENDIT_RETRY, "utf8.memory", "There is no memory.");
} catch (...) {
    return sendit_because(why, SENDIT_QUARANTINE, "utf8.dcmtk", "DCMTK gave up on it.");
}

void stop(sendit_stage_state *self) noexcept
{
    delete self;
}

} // namespace

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_MUTATES | SENDIT_NATIVE, .name = "to-utf8",
              .version = "1.0.0", .summary = "Brings all text of an image to UTF-8.", .open = start,
              .process = process, .close = stop);
