/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.h - the folder that a case works in: made for it, looked at before and after, removed.
 *
 * Items lie in in/, what host.json says under "tree" and the files of "file:" secrets lie beside.
 * Relative paths of config.json begin here.
 */
#ifndef SENDIT_HARNESS_WORK_H
#define SENDIT_HARNESS_WORK_H

#include <jansson.h>
#include <stddef.h>

#include "dicom/dicom.h"
#include "harness/case.h"

struct work_item {
    char *name; /* of the input without its ending: the item's id */
    char *path; /* absolute */
};
struct work {
    char *path; /* absolute, not ours to remove */
    struct work_item *items;
    size_t n_items;
    json_t *before;
};

/* A new folder below $TMPDIR, 0700; NULL without one, errno being set.  The caller frees the
 * path. */
char *work_folder(void);
void work_remove(const char *path);

/* Fill the folder with what the case brings (NULL: nothing).  -1 with a sentence; work_fini() in
 * both cases. */
int work_init(struct work *work, const char *path, const struct test_case *tc, struct err *err);
/* What of "tree" is a copy of an item needs a reader of DICOM. */
int work_plant(struct work *work, const struct test_case *tc, struct dicom *dicom, struct err *err);
void work_fini(struct work *work);
/* Add one that was made otherwise, by its path in the folder. */
int work_add(struct work *work, const char *name, const char *relative, struct err *err);

/* Which files are there: a first call remembers, a second says what changed, as JSON by path;
 * NULL without memory. */
int work_remember(struct work *work);
json_t *work_changes(const struct work *work);

#endif
