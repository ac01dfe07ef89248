/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restful.h - inside restful-anonymizer: the service as the site describes it, what an image asks,
 * what is answered, what is kept.
 *
 * Originals are in `struct asked` alone, and in the request that is made of it; nothing of either
 * is logged.  One thread; all of it is called inside a callback.  A function that can fail fills
 * `why`.
 */
#ifndef SENDIT_RESTFUL_H
#define SENDIT_RESTFUL_H

#include <sendit/stage.h>

#include <jansson.h>
#include <regex.h>

#include "anonymizer.h"
#include "restful_date.h"

#define MAX_ID 129    /* an original id, with its NUL */
#define MAX_STUDY 41  /* the name of a study, with its NUL */
#define MAX_SOURCE 65 /* what an id is one of, with its NUL */
#define MAX_TIMES 8   /* attributes that may have the time of a patient or study */
#define MAX_FIELDS 16 /* custom fields */
#define MAX_HEADERS 16
#define MAX_HEADER 4096
#define MAX_URL 1024
#define MAX_RETRY_AFTER 86400 /* seconds */

/* What a template may ask for, in the order of `var_names`. */
enum var {
    VAR_STUDY,
    VAR_ENTITY_ID,
    VAR_ENTITY_SOURCE,
    VAR_ENTITY_TIME,
    VAR_ITEM_ID,
    VAR_ITEM_SOURCE,
    VAR_ITEM_TIME,
    VAR_CUSTOM, /* an array, not a text */
    N_VARS
};

/* Where in an answer something stands, in the order of `pointer_names`. */
enum pointer {
    AT_ENTITY_ID,
    AT_ITEM_ID,
    AT_JITTER,
    AT_ITEM_JITTER,
    AT_ENTITY_TIME,
    AT_ITEM_TIME,
    AT_ASKED_ENTITY_ID,
    AT_ASKED_ENTITY_SOURCE,
    AT_ASKED_ITEM_ID,
    AT_ASKED_ITEM_SOURCE,
    AT_RESULTS, /* arrays of exactly one */
    AT_ITEMS,
    N_POINTERS
};

/* What one image asks: original values. */
struct asked {
    char entity_id[MAX_ID], item_id[MAX_ID];
    char entity_time[TIME_SIZE], item_time[TIME_SIZE]; /* "" for none */
    int32_t entity_day, item_day;
    json_t *custom; /* owned; NULL for none */
};

/* What the service gave, checked. */
struct given {
    char entity_id[ANONYMIZER_ID], item_id[ANONYMIZER_ID];
    int32_t jitter;
    char entity_date[DATE_SIZE], item_date[DATE_SIZE]; /* moved; "" for none */
};

/* The service: from the options, once in a worker. */
struct service {
    char url[MAX_URL], study[MAX_STUDY];
    const char *method;
    json_t *request;                  /* template of the body, NULL without one */
    json_t *answer;                   /* owns what the pointers point into */
    const char *pointers[N_POINTERS]; /* NULL for what the service does not say */
    const char *const *headers;       /* templates */
    const char *header;               /* name of the header from a secret, or NULL */
    const char *entity_source, *item_source;
    uint32_t entity_tag, item_tag;
    uint32_t entity_times[MAX_TIMES + 1], item_times[MAX_TIMES + 1]; /* ended by 0 */
    uint32_t fields[MAX_FIELDS + 1];
    const char *field_names[MAX_FIELDS];
    const char *strip; /* characters that are taken out of a patient's id */
    regex_t pattern;   /* of an id that may be asked */
    int has_pattern;
    int32_t max_jitter;
    int64_t max_age_ms; /* 0: for ever */
    uint32_t timeout_ms;
};

struct sendit_stage_state {
    struct anonymizer common;
    const struct sendit_host *host;
    const struct sendit_ids *ids;
    const struct sendit_store *store;
    const struct sendit_secrets *secrets;
    const struct sendit_http *http;
    struct service service;
    struct asked asked; /* the pair that came last in this batch, and what it was given */
    struct given given;
};

/* ---- restful_describe.c ---- */

/* FAIL with what is wrong with the description; service_fini() in any case. */
sendit_verdict service_init(struct service *service, const struct sendit_host *host,
                            struct sendit_why *why);
void service_fini(struct service *service);
/* A template with the values of `asked`, NULL for a call without a patient.  What has no value is
 * left out.  NULL without memory. */
json_t *service_body(const struct service *service, const struct asked *asked);
/* One header of the list: 1, 0 if a value of it is absent, -1 if it is too long. */
int service_header(const struct service *service, const char *template, const struct asked *asked,
                   char ret_header[MAX_HEADER]);
/* What stands at a pointer; NULL for nothing, and without the pointer. */
const json_t *service_at(const struct service *service, const json_t *answer, enum pointer which);

/* ---- restful_image.c ---- */

/* What to ask about an image; asked_fini() in any case. */
sendit_verdict asked_init(struct asked *asked, const struct sendit_stage_state *self,
                          struct sendit_dataset *ds, struct sendit_why *why);
void asked_fini(struct asked *asked);

/* ---- restful_ask.c ---- */

/* Ask, and renew the tokens once if they have expired; the caller has the lock.  *ret_answer is the
 * caller's. */
sendit_verdict ask_service(struct sendit_stage_state *self, const struct asked *asked,
                           json_t **ret_answer, struct sendit_why *why);
/* The least possible call: no patient, nothing renewed. */
sendit_verdict ask_nothing(struct sendit_stage_state *self, struct sendit_why *why);

/* ---- restful_answer.c ---- */

sendit_verdict answer_read(const struct service *service, const struct asked *asked,
                           const json_t *answer, struct given *ret_given, struct sendit_why *why);

/* ---- restful_keep.c ---- */

/* PASS with what is kept for the pair; SKIP if it has to be asked for. */
sendit_verdict kept_find(const struct sendit_stage_state *self, const struct asked *asked,
                         struct given *ret_given, struct sendit_why *why);
/* First writer wins: PASS if what is given is what stands. */
sendit_verdict kept_put(const struct sendit_stage_state *self, const struct asked *asked,
                        const struct given *given, struct sendit_why *why);

#endif
