/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pixels.c - table pixels of services.h: core/dicom behind a look at the pointers of a stage.
 * Whether it may blank is set at dicom_begin().
 */
#include "services/table.h"

static sendit_result count(struct sendit_dataset *ds, uint32_t *ret_frames)
{
    return table_may_use(ds) && ret_frames ? dicom_frames(ds, ret_frames) : SENDIT_EINVAL;
}

static sendit_result frame(struct sendit_dataset *ds, uint32_t index,
                           const struct sendit_frame **ret_frame)
{
    return table_may_use(ds) && ret_frame ? dicom_frame(ds, index, ret_frame) : SENDIT_EINVAL;
}

static sendit_result blank(struct sendit_dataset *ds, uint32_t index, const struct sendit_box *box)
{
    return table_may_use(ds) && box ? dicom_blank(ds, index, box) : SENDIT_EINVAL;
}

const struct sendit_pixels host_pixels = {.count = count, .frame = frame, .blank = blank};
