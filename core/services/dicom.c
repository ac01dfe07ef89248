/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dicom.c - table dicom of services.h: core/dicom as it is.  Whether a stage may edit is set at
 * dicom_begin(), so that no wrapper stands between a stage and its data set.
 */
#include "services/host.h"

static void *native(struct sendit_dataset *ds, const char *build)
{
    (void)ds, (void)build;
    return NULL; /* no sendit_dcmtk.hpp yet that could name a build */
}

const struct sendit_dicom host_dicom = {
    .tag = dicom_tag,
    .locate = dicom_locate,
    .get = dicom_get,
    .bytes = dicom_bytes,
    .put = dicom_put,
    .put_as = dicom_put_as,
    .erase = dicom_erase,
    .nested = dicom_nested,
    .append = dicom_append,
    .walk = dicom_walk,
    .json = dicom_json,
    .native = native,
};
