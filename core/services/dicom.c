/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dicom.c - table dicom of services.h: core/dicom, which trusts its caller, behind a look at the
 * pointers of a stage.  Whether the stage may edit, and have DCMTK's object, is
 * set at dicom_begin() and dicom_allow_native().
 */
#include "services/table.h"

#include <string.h>

#define GROUP_PIXELS 0x7fe0u

/* core/dicom answers EINVAL for what an element is not.  Where the dictionary has it so, the stage
 * should have known; where it does not, the image is odd. */
static sendit_result judge(sendit_result r, bool stage_should_know)
{
    return r == SENDIT_EINVAL && !stage_should_know ? SENDIT_ECORRUPT : r;
}

static bool is_sequence(uint32_t at)
{
    const char *vr = dicom_vr(at);

    return vr && !strcmp(vr, "SQ");
}

/* Pixel data counts: it is never a value. */
static bool has_no_text(uint32_t at)
{
    const char *vr = dicom_vr(at);

    return vr && (vr[0] == 'O' || !strcmp(vr, "SQ") || !strcmp(vr, "UN"));
}

static sendit_result tag(const char *keyword, uint32_t *ret_tag)
{
    return keyword && ret_tag ? dicom_tag(keyword, ret_tag) : SENDIT_EINVAL;
}

static sendit_result locate(struct sendit_dataset *ds, uint32_t at, const char *creator,
                            uint32_t *ret_tag)
{
    return table_may_use(ds) && creator && ret_tag ? dicom_locate(ds, at, creator, ret_tag)
                                                   : SENDIT_EINVAL;
}

static sendit_result get(struct sendit_dataset *ds, uint32_t at, const char **ret_value)
{
    return table_may_use(ds) && ret_value ? judge(dicom_get(ds, at, ret_value), has_no_text(at))
                                          : SENDIT_EINVAL;
}

static sendit_result bytes(struct sendit_dataset *ds, uint32_t at, const void **ret_value,
                           size_t *ret_length)
{
    return table_may_use(ds) && ret_value && ret_length
               ? judge(dicom_bytes(ds, at, ret_value, ret_length),
                       is_sequence(at) || at >> 16 == GROUP_PIXELS)
               : SENDIT_EINVAL;
}

static sendit_result put(struct sendit_dataset *ds, uint32_t at, const char *value)
{
    return table_may_use(ds) && value ? dicom_put(ds, at, value) : SENDIT_EINVAL;
}

static sendit_result put_as(struct sendit_dataset *ds, uint32_t at, const char *creator,
                            const char *vr, const void *value, size_t length)
{
    return table_may_use(ds) && vr && (value || !length)
               ? dicom_put_as(ds, at, creator, vr, value ? value : "", length)
               : SENDIT_EINVAL;
}

static sendit_result erase(struct sendit_dataset *ds, uint32_t at)
{
    return table_may_use(ds) ? dicom_erase(ds, at) : SENDIT_EINVAL;
}

static struct sendit_dataset *nested(struct sendit_dataset *ds, uint32_t at, size_t index)
{
    return table_may_use(ds) ? dicom_nested(ds, at, index) : NULL;
}

static sendit_result append(struct sendit_dataset *ds, uint32_t at,
                            struct sendit_dataset **ret_item)
{
    return table_may_use(ds) && ret_item ? judge(dicom_append(ds, at, ret_item), !is_sequence(at))
                                         : SENDIT_EINVAL;
}

static sendit_result walk(struct sendit_dataset *ds, sendit_visit_fn *visit, void *ctx)
{
    return table_may_use(ds) && visit ? dicom_walk(ds, visit, ctx) : SENDIT_EINVAL;
}

static sendit_result json(struct sendit_dataset *ds, const char **ret_json)
{
    return table_may_use(ds) && ret_json ? dicom_json(ds, ret_json) : SENDIT_EINVAL;
}

static void *native(struct sendit_dataset *ds, const char *build)
{
    return table_may_use(ds) && build ? dicom_native(ds, build) : NULL;
}

static sendit_result keyword(uint32_t at, const char **ret_keyword)
{
    const char *name = at >> 16 & 1 ? NULL : dicom_keyword(at);

    if (!ret_keyword)
        return SENDIT_EINVAL;
    if (!name || !*name)
        return SENDIT_EABSENT;
    *ret_keyword = name;
    return SENDIT_OK;
}

const struct sendit_dicom host_dicom = {
    .tag = tag,
    .locate = locate,
    .get = get,
    .bytes = bytes,
    .put = put,
    .put_as = put_as,
    .erase = erase,
    .nested = nested,
    .append = append,
    .walk = walk,
    .json = json,
    .native = native,
    .keyword = keyword,
};
