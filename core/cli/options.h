/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the options of the command line: one table, from which they are parsed and shown.
 */
#ifndef SENDIT_CLI_OPTIONS_H
#define SENDIT_CLI_OPTIONS_H

#include "cli/cli.h"

enum cli_ask { CLI_ASK_RUN, CLI_ASK_HELP, CLI_ASK_MAN, CLI_ASK_VERSION, CLI_ASK_COMPLETION };

struct cli_option {
    char letter;       /* 0 without */
    const char *name;  /* "workers" */
    const char *value; /* "N", NULL for a switch */
    unsigned takes;    /* CLI_WORKERS: only for commands that take it; 0: for all */
    const char *help;  /* NULL: not shown */
};
extern const struct cli_option cli_options[]; /* ended by an entry without a name */

/* A command line that was understood. */
struct cli_line {
    struct cli cli; /* command NULL: none was named */
    enum cli_ask ask;
    bool loud;    /* -v or -q was given */
    char **words; /* what cli.args points into; owned */
};

/* 0, or -1 with ERR_USAGE; options may stand anywhere, "--" ends them.  options_fini() in both
 * cases. */
int options_parse(int argc, char **argv, struct cli_line *line, struct err *err);
void options_fini(struct cli_line *line);

#endif
