/* SPDX-License-Identifier: Apache-2.0 */
// Takes DCMTK's own data set, and does with it what `how` says.  Built with and without MUTATES.
#include <sendit/sendit_dcmtk.hpp>

struct sendit_stage_state {
    const sendit_dicom *dicom;
    int64_t how;
};

namespace
{
enum { EDIT, PIXELS, META, DEEP, OTHER_BUILD, NESTED };

sendit_verdict start(const sendit_host *host, sendit_stage_state **ret_self, sendit_why *) noexcept
{
    static sendit_stage_state self;

    self.dicom = SENDIT_SERVICE(host, dicom);
    self.how = SENDIT_SERVICE(host, config)->number(host, "how");
    *ret_self = &self;
    return SENDIT_PASS;
}

void go_deep(DcmDataset *data)
{
    DcmItem *item = data;

    for (int i = 0; i < 70; i++) {
        DcmItem *inner = nullptr;

        item->findOrCreateSequenceItem(DcmTag(0x0040, 0xa730, EVR_SQ), inner);
        item = inner;
    }
}

sendit_verdict process(sendit_stage_state *self, const sendit_item *item, sendit_why *why) noexcept
{
    static const Uint8 bytes[2] = {1, 2};
    DcmDataset *data = sendit_native(self->dicom, item->ds);

    if (self->how == OTHER_BUILD)
        data = static_cast<DcmDataset *>(self->dicom->native(item->ds, "another compiler"));
    if (self->how == NESTED)
        data = sendit_native(self->dicom, self->dicom->nested(item->ds, 0x00081140, 0));
    if (!data)
        return sendit_because(why, SENDIT_QUARANTINE, "native.none", "There is no such object.");
    switch (self->how) {
    case PIXELS:
        data->putAndInsertUint8Array(DcmTag(0x7fe0, 0x0010, EVR_OB), bytes, 2);
        break;
    case META:
        data->putAndInsertString(DcmTag(0x0002, 0x0016, EVR_AE), "HERE");
        break;
    case DEEP:
        go_deep(data);
        break;
    default:
        data->putAndInsertString(DCM_SeriesDescription, "BY DCMTK");
        break;
    }
    return SENDIT_PASS;
}

void stop(sendit_stage_state *) noexcept
{
}

const sendit_option options[] = {
    {"how", SENDIT_OPT_CHOICE, 0, "edit", "edit|pixels|meta|deep|other_build|nested",
     "What it does."},
};
} // namespace

SENDIT_PLUGIN(.flags = FLAGS, SENDIT_OPTIONS(options), .name = STAGE_NAME, .version = "1.0.0",
              .summary = "A fixture of the tests.", .open = start, .process = process,
              .close = stop);
