/* SPDX-License-Identifier: Apache-2.0 */
#include "store_name.h"

#include <limits.h>

/* What a template may name: an attribute, or a fact that a stage left. */
static const struct {
    const char *fact;
    uint32_t tag;
} sources[] = {
    {NULL, 0x00100020u}, {NULL, 0x0020000Du}, {NULL, 0x0020000Eu},
    {NULL, 0x00080018u}, {"ids.entity", 0},   {"ids.item", 0},
};
static const char *const names_of_sources[] = {"patient", "study", "series", "instance",
                                               "entity",  "item",  NULL};
static const struct name_words words = {
    .words = names_of_sources,
    .unknown = "between { and } may stand patient, study, series, instance, entity, item",
    .max_words = STORE_NAME_MAX_PLACEHOLDERS,
    .max_part = NAME_MAX};

struct named {
    const struct store_names *names;
    const struct sendit_item *item;
};

const char *store_name_judge(const char *template)
{
    const char *wrong = name_template_judge(&words, template);

    if (wrong)
        return wrong;
    return name_template_has(template, "instance")
               ? NULL
               : "without {instance} images would have one name";
}

static sendit_verdict value_of(void *ctx, size_t which, const char **ret_value,
                               struct sendit_why *why)
{
    const struct named *named = ctx;
    const struct store_names *names = named->names;
    sendit_result r =
        sources[which].fact
            ? names->facts->get(names->host, named->item->id, sources[which].fact, ret_value)
            : names->dicom->get(named->item->ds, sources[which].tag, ret_value);

    if (r == SENDIT_ENOMEM || r == SENDIT_EIO || r == SENDIT_ECANCELED)
        return sendit_because(why, SENDIT_RETRY, "file.busy", "Its name could not be made.");
    if (r != SENDIT_OK || !name_template_is_value(*ret_value))
        return sendit_because(why, SENDIT_QUARANTINE, "file.name",
                              "Its {%s} is missing, or is no UID and no pseudonym.",
                              names_of_sources[which]);
    return SENDIT_PASS;
}

sendit_verdict store_name_make(const struct store_names *names, const struct sendit_item *item,
                               char ret_path[STORE_NAME_SIZE], struct sendit_why *why)
{
    struct named named = {names, item};

    return name_template_fill(&words, names->template, value_of, &named, ret_path, why);
}
