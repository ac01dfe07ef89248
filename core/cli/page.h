/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - `--help` and the man page, from the same text.
 */
#ifndef SENDIT_CLI_PAGE_H
#define SENDIT_CLI_PAGE_H

#include "cli/cli.h"

/* Of a command; NULL: of sendit itself. */
void page_help(const struct cli_command *command, FILE *out);
/* The same as troff for man(1). */
void page_man(const struct cli_command *command, FILE *out);
/* A script by which bash completes commands, options and files. */
void page_completion(FILE *out);
/* What `sendit` alone says: the commands, one line each. */
void page_short(FILE *out);

#endif
