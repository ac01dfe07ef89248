/* SPDX-License-Identifier: Apache-2.0 */
/*
 * out_file.h - an answer that goes into a file: complete or not there, for its owner only, never in
 * place of another.
 */
#ifndef SENDIT_CLI_OUT_FILE_H
#define SENDIT_CLI_OUT_FILE_H

#include <stdio.h>

#include "base/err.h"

struct out_file {
    FILE *file;       /* to write into; stdout where no file was named */
    const char *path; /* borrowed; NULL: stdout */
    char *part;       /* owned: what it is called until it is whole; NULL if it has no name */
};

/* `path` NULL is stdout.  -1 with ERR_PLACE, as where there is a file of that name. */
int out_file_open(struct out_file *out, const char *path, struct err *err);
/* It gets its name if nothing has it now. */
int out_file_commit(struct out_file *out, struct err *err);
/* What was not committed is gone. */
void out_file_close(struct out_file *out);

#endif
