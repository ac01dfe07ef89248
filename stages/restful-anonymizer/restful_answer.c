/* SPDX-License-Identifier: Apache-2.0 */
/* restful_answer.c - is an answer what was asked for?  Nothing of it is used before all of it was
 * looked at, and no value of it is told. */
#include "restful.h"

#include <string.h>
#include <strings.h>

#define MAX_SUID 64

static sendit_verdict refuse(struct sendit_why *why, const char *code, const char *text)
{
    return sendit_because(why, SENDIT_FAIL, code, "%s", text);
}

/* Exactly one answer for the one question. */
static sendit_verdict check_count(const struct service *service, const json_t *answer,
                                  struct sendit_why *why)
{
    const json_t *results = service_at(service, answer, AT_RESULTS);
    const json_t *items = service_at(service, answer, AT_ITEMS);

    if (!json_is_object(answer) || (service->pointers[AT_RESULTS] && !json_is_array(results)))
        return refuse(why, "restful.results", "The answer of the service has no results.");
    if (results && json_array_size(results) != 1)
        return refuse(why, "restful.items",
                      "The service answered for more or fewer patients than it was asked for.");
    if (service->pointers[AT_ITEMS] && (!json_is_array(items) || json_array_size(items) != 1))
        return refuse(why, "restful.items",
                      "The service answered for more or fewer examinations than it was asked for.");
    return SENDIT_PASS;
}

/* Does it say the same that was asked?  A service that does not say it is believed. */
static int says(const struct service *service, const json_t *answer, enum pointer which,
                const char *asked)
{
    const json_t *value = service_at(service, answer, which);

    return !service->pointers[which] ||
           (json_is_string(value) && !strcmp(json_string_value(value), asked));
}

static sendit_verdict check_asked(const struct service *service, const struct asked *asked,
                                  const json_t *answer, struct sendit_why *why)
{
    if (says(service, answer, AT_ASKED_ENTITY_ID, asked->entity_id) &&
        says(service, answer, AT_ASKED_ITEM_ID, asked->item_id) &&
        says(service, answer, AT_ASKED_ENTITY_SOURCE, service->entity_source) &&
        says(service, answer, AT_ASKED_ITEM_SOURCE, service->item_source))
        return SENDIT_PASS;
    return refuse(why, "restful.other",
                  "The service answered for another patient, examination or source.");
}

/* A new id: a word that may stand in a file name, and none of the originals. */
static int read_suid(const struct service *service, const struct asked *asked, const json_t *answer,
                     enum pointer which, char ret_suid[ANONYMIZER_ID])
{
    const char *suid = json_string_value(service_at(service, answer, which));
    size_t n = suid ? strspn(suid, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_-")
                    : 0;

    if (!n || n > MAX_SUID || suid[n] || !strcasecmp(suid, asked->entity_id) ||
        !strcasecmp(suid, asked->item_id))
        return 0;
    memcpy(ret_suid, suid, n + 1);
    return 1;
}

static sendit_verdict read_suids(const struct service *service, const struct asked *asked,
                                 const json_t *answer, struct given *given, struct sendit_why *why)
{
    if (!read_suid(service, asked, answer, AT_ENTITY_ID, given->entity_id) ||
        !read_suid(service, asked, answer, AT_ITEM_ID, given->item_id))
        return refuse(why, "restful.suid",
                      "The service gave an id that is none: 1 to 64 letters, digits, - and _ were "
                      "expected, and not the original.");
    return SENDIT_PASS;
}

static sendit_verdict read_jitter(const struct service *service, const json_t *answer,
                                  struct given *given, struct sendit_why *why)
{
    const json_t *jitter = service_at(service, answer, AT_JITTER);
    const json_t *other = service_at(service, answer, AT_ITEM_JITTER);
    json_int_t days = json_integer_value(jitter);

    if (!json_is_integer(jitter) || days < -service->max_jitter || days > service->max_jitter)
        return refuse(why, "restful.jitter",
                      "The service gave a jitter that is no whole number of days within "
                      "max_jitter.");
    if (service->pointers[AT_ITEM_JITTER] &&
        (!json_is_integer(other) || json_integer_value(other) != days))
        return refuse(why, "restful.jitter",
                      "The service gave a jitter to the examination that is not the patient's.");
    given->jitter = (int32_t)days;
    return SENDIT_PASS;
}

/*
 * A time that agrees with the jitter, as the day that it names or as that day in UTC: services
 * write local times.  It must be there where one was asked for, and only there.
 */
static int read_time(const struct service *service, const json_t *answer, enum pointer which,
                     const char *asked, int32_t day, int32_t jitter, char ret_date[DATE_SIZE])
{
    const json_t *value = service_at(service, answer, which);
    int32_t named, utc;

    if (*asked && !date_write(day + jitter, ret_date))
        return 0;
    if (!service->pointers[which])
        return 1;
    if (!*asked)
        return !value || json_is_null(value) ||
               (json_is_string(value) && !json_string_length(value));
    return json_is_string(value) && date_read_time(json_string_value(value), &named, &utc) &&
           (named == day + jitter || utc == day + jitter);
}

sendit_verdict answer_read(const struct service *service, const struct asked *asked,
                           const json_t *answer, struct given *ret_given, struct sendit_why *why)
{
    struct given given = {0};
    sendit_verdict verdict = check_count(service, answer, why);

    if (verdict == SENDIT_PASS)
        verdict = check_asked(service, asked, answer, why);
    if (verdict == SENDIT_PASS)
        verdict = read_suids(service, asked, answer, &given, why);
    if (verdict == SENDIT_PASS)
        verdict = read_jitter(service, answer, &given, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (!read_time(service, answer, AT_ENTITY_TIME, asked->entity_time, asked->entity_day,
                   given.jitter, given.entity_date) ||
        !read_time(service, answer, AT_ITEM_TIME, asked->item_time, asked->item_day, given.jitter,
                   given.item_date))
        return refuse(why, "restful.date",
                      "The service gave a date that does not agree with its jitter, or none.");
    *ret_given = given;
    return SENDIT_PASS;
}
