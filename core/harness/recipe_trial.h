/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recipe_trial.h - one case of a recipe: a folder with
 *
 *   recipe                   what is tried, or config.json with {"recipes": ["dicom"]}
 *   in.dcm, in.dump or in/   the images
 *   config.json              {"recipes": [...], "profile": [...]}; without a profile the header
 *                            rules stand alone
 *   expect.json              verdict, code, facts and tags, as of a case of a stage
 *
 * The facts are deid.group, deid.label and deid.boxes of the LABEL that decides.
 */
#ifndef SENDIT_HARNESS_RECIPE_TRIAL_H
#define SENDIT_HARNESS_RECIPE_TRIAL_H

#include "harness/trial.h"

/* As trial_case(); of `trial` filters, folder and update count. */
int recipe_trial(const struct trial *trial, const char *case_folder, bool *ret_updated,
                 struct buf *ret_text);

#endif
