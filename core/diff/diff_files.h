/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_files.h - which files are meant, in the order in which a run would take them.  For the files
 * of this folder only.
 */
#ifndef SENDIT_DIFF_DIFF_FILES_H
#define SENDIT_DIFF_DIFF_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct diff_file {
    char *path;       /* absolute */
    const char *name; /* what the user wrote that led to it */
    bool found;       /* below a folder: its own name is not the user's word */
    size_t number;    /* in that folder, from 1 */
    size_t batch;     /* files of one folder are one batch */
};
struct diff_files {
    struct diff_file *files;
    size_t n, cap;
};

/* Every regular file below a folder, no link followed; a file as it is.  In byte order of folders,
 * then of names, each once.  diff_files_fini() in both cases. */
int diff_files_find(struct diff_files *files, const char *const *names, size_t n, struct err *err);
void diff_files_fini(struct diff_files *files);

#endif
