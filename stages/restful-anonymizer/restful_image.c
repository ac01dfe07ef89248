/* SPDX-License-Identifier: Apache-2.0 */
/* restful_image.c - what an image asks: who it is of, which examination it is, and when that was.
 */
#include "restful.h"

#include <string.h>

/* What the service takes; never what would end a line or a text. */
static int is_id(const struct service *service, const char *id)
{
    for (const char *at = id; *at; at++)
        if ((unsigned char)*at < ' ' || (unsigned char)*at > 126)
            return 0;
    return *id && !regexec(&service->pattern, id, 0, NULL, 0);
}

/* Without the characters in `strip`; 0 if it is too long. */
static int copy_id(const char *from, const char *strip, char ret_id[MAX_ID])
{
    size_t n = 0;

    for (; *from; from++) {
        if (strchr(strip, *from))
            continue;
        if (n + 1 >= MAX_ID)
            return 0;
        ret_id[n++] = *from;
    }
    ret_id[n] = '\0';
    return 1;
}

static sendit_verdict read_id(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                              uint32_t tag, const char *strip, char ret_id[MAX_ID],
                              const char *what, struct sendit_why *why)
{
    const char *value;
    sendit_result r = self->common.dicom->get(ds, tag, &value);

    if (r == SENDIT_EABSENT || (r == SENDIT_OK && !*value))
        return sendit_because(why, SENDIT_QUARANTINE, "restful.no_id",
                              "It has no %s, by which the service could be asked.", what);
    if (r != SENDIT_OK)
        return sendit_because(why, anonymizer_of_image(r), "restful.bad_id",
                              "Its %s cannot be read.", what);
    if (!copy_id(value, strip, ret_id) || !is_id(&self->service, ret_id))
        return sendit_because(why, SENDIT_QUARANTINE, "restful.bad_id",
                              "Its %s is none that may be asked: see id_pattern.", what);
    return SENDIT_PASS;
}

/* The first attribute that has a day; 0 for none. */
static sendit_result read_day(const struct sendit_stage_state *self, struct sendit_dataset *ds,
                              const uint32_t *tags, int32_t *ret_day, int *ret_found)
{
    const char *value;

    *ret_found = 0;
    for (; *tags && !*ret_found; tags++) {
        sendit_result r = self->common.dicom->get(ds, *tags, &value);

        if (r == SENDIT_OK)
            *ret_found = date_read(value, ret_day);
        else if (r == SENDIT_ENOMEM || r == SENDIT_EIO || r == SENDIT_ECANCELED)
            return r;
    }
    return SENDIT_OK;
}

static sendit_result read_times(struct asked *asked, const struct sendit_stage_state *self,
                                struct sendit_dataset *ds)
{
    int found;
    sendit_result r = read_day(self, ds, self->service.entity_times, &asked->entity_day, &found);

    if (r == SENDIT_OK && found && !date_write_time(asked->entity_day, asked->entity_time))
        r = SENDIT_ECORRUPT;
    if (r == SENDIT_OK)
        r = read_day(self, ds, self->service.item_times, &asked->item_day, &found);
    if (r == SENDIT_OK && found && !date_write_time(asked->item_day, asked->item_time))
        r = SENDIT_ECORRUPT;
    return r;
}

static sendit_result read_fields(struct asked *asked, const struct sendit_stage_state *self,
                                 struct sendit_dataset *ds)
{
    const struct service *service = &self->service;

    for (size_t i = 0; service->fields[i]; i++) {
        const char *value;
        sendit_result r = self->common.dicom->get(ds, service->fields[i], &value);

        if (r == SENDIT_EABSENT || (r == SENDIT_OK && !*value))
            continue;
        if (r != SENDIT_OK)
            return r;
        if (!asked->custom)
            asked->custom = json_array();
        if (json_array_append_new(
                asked->custom,
                json_pack("{s:s, s:s}", "key", service->field_names[i], "value", value)))
            return SENDIT_ENOMEM;
    }
    return SENDIT_OK;
}

sendit_verdict asked_init(struct asked *asked, const struct sendit_stage_state *self,
                          struct sendit_dataset *ds, struct sendit_why *why)
{
    const struct service *service = &self->service;
    sendit_verdict verdict;
    sendit_result r;

    memset(asked, 0, sizeof(*asked));
    verdict = read_id(self, ds, service->entity_tag, service->strip, asked->entity_id,
                      "id of a patient", why);
    if (verdict == SENDIT_PASS)
        verdict =
            read_id(self, ds, service->item_tag, "", asked->item_id, "id of an examination", why);
    if (verdict != SENDIT_PASS)
        return verdict;
    r = read_times(asked, self, ds);
    if (r == SENDIT_OK)
        r = read_fields(asked, self, ds);
    if (r != SENDIT_OK)
        return sendit_because(why, anonymizer_of_image(r), "restful.values",
                              "What the service should be told cannot be read.");
    return SENDIT_PASS;
}

void asked_fini(struct asked *asked)
{
    json_decref(asked->custom);
    memset(asked, 0, sizeof(*asked));
}
