/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c - table files of services.h: virtual files of core/dicom.  A kept one that its stage
 * forgets is dropped when the batch ends, by dicom_drop_all().
 */
#include "services/host.h"

static void drop(const struct sendit_host *host, const struct sendit_file *kept)
{
    (void)host;
    dicom_drop(kept);
}

const struct sendit_files host_files = {.view = dicom_view, .keep = dicom_keep, .drop = drop};
