/* SPDX-License-Identifier: Apache-2.0 */
/*
 * look.h - a data set as flat JSON, so that two of them can be compared and read.
 */
#ifndef SENDIT_HARNESS_LOOK_H
#define SENDIT_HARNESS_LOOK_H

#include <jansson.h>

#include "base/digest.h"
#include "dicom/dicom.h"

/* "ReferencedImageSequence[0].ReferencedSOPInstanceUID" -> its value as text; what is no text is
 * { "bytes": N, "sha256": "..." }, pixel data too.  NULL without memory. */
json_t *look_at(struct dicom_object *object);
/* What is in `after` with another value than in `before`, and as null what is there no more. */
json_t *look_difference(const json_t *before, const json_t *after);
/* Of the file that a store would get: 0 or -1. */
int look_digest(struct dicom_object *object, char ret_hex[DIGEST_HEX]);

#endif
