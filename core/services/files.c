/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c - table files of services.h: virtual files of core/dicom.  A kept one that its stage
 * forgets is dropped when the batch ends, by dicom_drop_all().
 */
#include "services/table.h"

static sendit_result view(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    return table_may_use(ds) && ret_file ? dicom_view(ds, ret_file) : SENDIT_EINVAL;
}

static sendit_result keep(struct sendit_dataset *ds, const struct sendit_file **ret_file)
{
    return table_may_use(ds) && ret_file ? dicom_keep(ds, ret_file) : SENDIT_EINVAL;
}

static void drop(const struct sendit_host *handle, const struct sendit_file *kept)
{
    struct host *host = table_enter(handle);

    if (host && kept && !(host->env->dicom && dicom_drop(host->env->dicom, kept)))
        table_misuse(host, "The stage dropped a file that is not kept", NULL);
}

const struct sendit_files host_files = {.view = view, .keep = keep, .drop = drop};
