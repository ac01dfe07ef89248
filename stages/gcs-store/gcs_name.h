/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_name.h - names of objects and of members of archives: templates and new values.
 */
#ifndef SENDIT_GCS_NAME_H
#define SENDIT_GCS_NAME_H

#include "name_template.h"

#define GCS_MAX_NAME 1024 /* bytes of a name, as Google has it, and here with gs://BUCKET/ */
#define GCS_SUFFIX ".tar.gz"
#define GCS_MAX_MEMBER (2 * NAME_TEMPLATE_SIZE)
#define GCS_UNDATED "undated" /* in place of a date that an image has not */

struct gcs_names {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_facts *facts;
    const char *bucket;
    const char *archive, *member, *instance; /* templates */
    char collection[NAME_TEMPLATE_MAX_VALUE + 1], upper[NAME_TEMPLATE_MAX_VALUE + 1];
};

/* Of one image in an archive. */
struct gcs_place {
    char base[NAME_TEMPLATE_SIZE]; /* of the archive, without number and suffix */
    char member[GCS_MAX_MEMBER];
    char study[NAME_TEMPLATE_MAX_VALUE + 1];
};

/* FAIL with what is wrong with the options; `names` is filled. */
sendit_verdict gcs_names_init(struct gcs_names *names, const struct sendit_host *host,
                              struct sendit_why *why);
sendit_verdict gcs_name_archive(const struct gcs_names *names, const struct sendit_item *item,
                                struct gcs_place *ret_place, struct sendit_why *why);
sendit_verdict gcs_name_instance(const struct gcs_names *names, const struct sendit_item *item,
                                 char ret_name[NAME_TEMPLATE_SIZE], struct sendit_why *why);
/* The name of an archive, `number` from 1. */
void gcs_name_object(const char *base, unsigned number, char ret_name[NAME_TEMPLATE_SIZE]);
/* What all names of this collection begin with. */
void gcs_name_prefix(const struct gcs_names *names, const char *template,
                     char ret_prefix[NAME_TEMPLATE_SIZE]);

#endif
