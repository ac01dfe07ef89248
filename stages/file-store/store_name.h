/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_name.h - names of files, made of a template and new values.
 */
#ifndef SENDIT_STORE_NAME_H
#define SENDIT_STORE_NAME_H

#include "name_template.h"

#define STORE_NAME_MAX_TEMPLATE NAME_TEMPLATE_MAX
#define STORE_NAME_MAX_PLACEHOLDERS 8
#define STORE_NAME_MAX_VALUE NAME_TEMPLATE_MAX_VALUE
#define STORE_NAME_SIZE NAME_TEMPLATE_SIZE

struct store_names {
    const struct sendit_host *host;
    const struct sendit_dicom *dicom;
    const struct sendit_facts *facts;
    const char *template; /* one that store_name_judge() finds nothing wrong with */
};

/* What is wrong with a template, in a few words, or NULL. */
const char *store_name_judge(const char *template);
/* The path of an item below the folder of the store; anything but PASS says why. */
sendit_verdict store_name_make(const struct store_names *names, const struct sendit_item *item,
                               char ret_path[STORE_NAME_SIZE], struct sendit_why *why);

#endif
