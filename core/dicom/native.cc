/* SPDX-License-Identifier: Apache-2.0 */
/* DCMTK's own data set for stages that declared it, and a look at what they left of it. */
#include "dicom/object.h"

#include <cstring>

#include "sendit/sendit_dcmtk.hpp"

namespace
{
/* Of the top level, what the table dicom would not have put there; at any depth, too many
 * sequences in each other. */
bool is_sound(DcmItem *item, int depth)
{
    if (depth > DICOM_MAX_DEPTH)
        return false;
    for (DcmObject *o = item->nextInContainer(nullptr); o; o = item->nextInContainer(o)) {
        auto *sequence = dynamic_cast<DcmSequenceOfItems *>(o);

        if (depth == 0 && !can_be_put(tag_of(o)))
            return false;
        if (!sequence || !is_sequence(sequence))
            continue;
        for (unsigned long i = 0; i < sequence->card(); i++)
            if (!is_sound(sequence->getItem(i), depth + 1))
                return false;
    }
    return true;
}
} // namespace

void dicom_allow_native(struct dicom_object *object)
{
    object->may_native = true;
}

void *dicom_native(struct sendit_dataset *ds, const char *build)
{
    struct dicom_object *object = ds->object;
    DcmDataset *given = nullptr;
    sendit_result result;

    if (!object->may_native || object->broken || object->walks || ds->parent ||
        strcmp(build, SENDIT_DCMTK_BUILD) != 0)
        return nullptr;
    result = guarded([&]() -> sendit_result {
        if (!object->may_edit) {
            if (!object->copy)
                object->copy.reset(new DcmDataset(*object->dataset));
            given = object->copy.get();
            return SENDIT_OK;
        }
        sendit_result begun = begin_edit(object);

        if (begun)
            return begun;
        object->native = true;
        object->epoch++;
        object->structure++;
        object->shown = nullptr;
        given = object->dataset.get();
        return SENDIT_OK;
    });
    return result ? nullptr : given;
}

bool dicom_is_sound(const struct dicom_object *object)
{
    bool sound = false;

    if (!object->native)
        return true;
    if (guarded([&]() -> sendit_result {
            sound = is_sound(object->dataset.get(), 0);
            return SENDIT_OK;
        }))
        return false;
    return sound;
}
