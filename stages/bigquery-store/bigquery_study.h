/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_study.h - rows of table `dicom`, as the predecessor had them: one for each archive, with
 * what its images share.
 *
 * Where gcs-store puts each image by itself there is no archive: then it is one row for each study
 * and batch, whose storage_metadataLink lists the images and whose storage_download is null.
 */
#ifndef SENDIT_BIGQUERY_STUDY_H
#define SENDIT_BIGQUERY_STUDY_H

#include "bigquery_row.h"

typedef sendit_result study_keyword_fn(uint32_t tag,
                                       const char **ret_keyword); /* of sendit_dicom */

struct studies {
    json_t *groups, *seen; /* by object or study; series of each study, stored or not */
    study_keyword_fn *keyword;
};

/* -1 without memory, here and below. */
int studies_init(struct studies *studies, study_keyword_fn *keyword);
void studies_fini(struct studies *studies);
/* An image that came, stored or not: `row` is what row_begin() made, read. */
int studies_see(struct studies *studies, const json_t *row);
/* One that is stored; `fresh`: no row was ever made of it. */
int studies_add(struct studies *studies, const json_t *row, const struct row_object *object,
                bool fresh);
/* The rows, one a line, and the name of each.  That of an archive is its alone; that of single
 * images is that of all rows of their study, and `fresh` says whether one of them is.  `each`
 * answers -1 to end it. */
struct study_row {
    const char *line, *name;
    size_t length;
    bool single, fresh;
};
int studies_rows(const struct studies *studies, int (*each)(void *ctx, const struct study_row *),
                 void *ctx);

#endif
