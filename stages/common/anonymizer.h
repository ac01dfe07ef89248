/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anonymizer.h - what both anonymizers do alike, wherever the new identity comes from: the profile
 * and its recipes, what an image must have, whose a study is, facts and counts.
 *
 * Embed `struct anonymizer` in the state of the stage.  One thread; everything here is called
 * inside a callback.
 */
#ifndef SENDIT_STAGES_ANONYMIZER_H
#define SENDIT_STAGES_ANONYMIZER_H

#include <sendit/stage.h>

#define ANONYMIZER_ID 65 /* room for a pseudonym, with its NUL */

#define ANONYMIZER_TAG_STUDY 0x0020000Du

enum { ANONYMIZER_N_COUNTS = 6 };

struct anonymizer {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_deid *deid;
    const struct sendit_facts *facts;
    const struct sendit_metrics *metrics;
    const struct sendit_deid_plan *plan;
    int64_t counts[ANONYMIZER_N_COUNTS]; /* of the batch in hand */
    char study[ANONYMIZER_ID];           /* the study that came last, and whose it is */
    char entity[ANONYMIZER_ID];
};

/* Who an image is now. */
struct anonymizer_identity {
    const char *entity, *item; /* new ids of patient and study */
    const char *study;         /* a pseudonym of its Study Instance UID, for the fact */
};

/* Compile the options `profile` and `recipes`.  A recipe may ask for the variables in `gives`,
 * ended by NULL, and for nothing else. */
sendit_verdict anonymizer_compile(const struct sendit_host *host, const char *const *gives,
                                  const struct sendit_deid_plan **ret_plan, struct sendit_why *why);
/* For open(). */
sendit_verdict anonymizer_init(struct anonymizer *self, const struct sendit_host *host,
                               const char *const *gives, struct sendit_why *why);
/* For begin() and finish(). */
sendit_verdict anonymizer_begin(struct anonymizer *self, struct sendit_why *why);
void anonymizer_finish(struct anonymizer *self);

/* What a result about one image costs: that image, unless a retry may help. */
sendit_verdict anonymizer_of_image(sendit_result r);
/* A result's text, kept in `ret_text`; ECORRUPT if it is too long. */
sendit_result anonymizer_keep(char ret_text[ANONYMIZER_ID], const char *text);
/* Has it the UIDs without which it cannot be told apart? */
sendit_verdict anonymizer_check_uids(const struct anonymizer *self, struct sendit_dataset *ds,
                                     struct sendit_why *why);
/* Is it of the patient that its study began with?  Then edit it and note who it is. */
sendit_verdict anonymizer_apply(struct anonymizer *self, const struct sendit_item *item,
                                const struct anonymizer_identity *who,
                                const struct sendit_var *vars, size_t n_vars,
                                struct sendit_why *why);

#endif
