/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - the frame of the commands: one table, one file per command, the common options.
 *
 * cli.c finds the command and parses its options from one table (options.c), page.c prints
 * `--help` and `--man` from the texts here, then run() is called.  A command prints its answer on
 * stdout, errors through cli_error() on stderr, and returns the exit status of house.md.
 */
#ifndef SENDIT_CLI_CLI_H
#define SENDIT_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#include "base/err.h"

struct cli {
    const char *pipeline; /* -p FILE as the user wrote it; NULL: cli_pipeline() looks for it */
    const char *state;    /* --state DIR, or NULL */
    const char **sets;    /* --set STAGE.OPTION=VALUE, in order */
    size_t n_sets;
    const char **plugins; /* --plugins DIR, in order */
    size_t n_plugins;
    int workers;          /* --workers N; 0: not given */
    bool json;            /* --json */
    bool schema;          /* --schema: of `sendit stages` */
    bool all;             /* --all: of `sendit retry` */
    bool online;          /* --online: of `sendit check` */
    const char *because;  /* --because TEXT, or NULL */
    const char **vouches; /* --vouch LABEL, in order */
    size_t n_vouches;
    /* Of `sendit test-stage`: --update, --gdb, --config FILE, and what --gdb starts. */
    bool update, gdb, in_process;
    const char *config;
    /* Of `sendit lint`: --profile NAME and --ignore CODE, in order; --corpus FOLDER; --print. */
    const char **profiles, **ignores;
    size_t n_profiles, n_ignores;
    const char *corpus;
    bool print;
    /* Of `sendit diff`: --show-originals, --html, --output FILE. */
    bool originals, html;
    const char *output;
    bool paths;  /* --paths: show names of files, to the owner of the state folder */
    int verbose; /* -v counts up, -q down */
    char **args; /* what is left, ended by NULL */
    int n_args;
    const struct cli_command *command;
};

/* Which of the optional options a command takes; the rest of `struct cli` is common to all. */
enum {
    CLI_PATHS = 1 << 0,
    CLI_WORKERS = 1 << 1,
    CLI_SCHEMA = 1 << 2,
    CLI_ALL = 1 << 3,
    CLI_BECAUSE = 1 << 4,
    CLI_VOUCH = 1 << 5,
    CLI_TEST = 1 << 6,
    CLI_LINT = 1 << 7,
    CLI_UPDATE = 1 << 8,
    CLI_DIFF = 1 << 9,
    CLI_ONLINE = 1 << 10
};

struct cli_command {
    const char *name;       /* "quarantine" */
    const char *usage;      /* "quarantine list|show [BATCH|IMAGE]..." */
    const char *summary;    /* one line, for `sendit --help` and NAME of the man page */
    const char *help;       /* DESCRIPTION: paragraphs of plain text, a blank line between them; a
                             * line that begins with two blanks is shown as it is */
    const char *examples;   /* lines "COMMAND<tab>what it does", or NULL */
    unsigned takes;         /* CLI_PATHS | ... */
    int min_args, max_args; /* -1: any number */
    int (*run)(const struct cli *cli);
};

/* One per file core/cli/NAME.c; all stand in cli_commands[], in the order of `sendit --help`. */
extern const struct cli_command cli_run, cli_plan, cli_check, cli_stages, cli_new_stage,
    cli_test_stage, cli_test_recipe, cli_lint, cli_diff, cli_status, cli_log, cli_quarantine,
    cli_retry, cli_resume, cli_reconcile;
extern const struct cli_command *const cli_commands[];

/* Parse and run: what main() returns. */
int cli_main(int argc, char **argv);

/* "sendit: SENTENCE" on stderr, or {"error": ..., "status": N} on stdout with --json; returns
 * err->code. */
int cli_error(const struct cli *cli, const struct err *err);
/* A mistake on the command line: the sentence and "see sendit COMMAND --help"; returns 2. */
__attribute__((format(printf, 2, 3))) int cli_usage(const struct cli *cli, const char *text, ...);

/* The pipeline.json to use: -p, else the current folder's, else /etc/sendit/pipeline.json. */
int cli_pipeline(const struct cli *cli, const char **ret_path, struct err *err);
/* The state folder without building the plan: --state, else "state" of pipeline.json, absolute;
 * the caller frees it. */
int cli_state(const struct cli *cli, char **ret_state, struct err *err);

struct ledger;
/* The ledger of that folder, to read; a folder that is not the user's own is refused, so whoever
 * gets an answer may see --paths.  1: there is none yet, and that was said.  Both are the caller's.
 */
int cli_ledger(const struct cli *cli, char **ret_state, struct ledger **ret_ledger,
               struct err *err);

/* The same, to write: the only writer of that folder, as `sendit run` is. */
int cli_ledger_write(const struct cli *cli, char **ret_state, struct ledger **ret_ledger,
                     struct err *err);
/* Who is at the keyboard, for what the ledger keeps of it: a name, or "uid N". */
void cli_user(char *text, size_t size);
/* What was decided about a batch or an image, as JSON; NULL if that failed. */
json_t *cli_decisions(struct ledger *ledger, const char *id, struct err *err);
/* `sendit quarantine release` and `drop`. */
int cli_decide(const struct cli *cli, bool drop);

struct loader;
struct plan;
/* Loader and plan for the pipeline of `cli`; both are the caller's to free, the plan first.
 * `folders` are those of `sendit run FOLDER...`. */
int cli_build(const struct cli *cli, const char *const *folders, size_t n_folders,
              struct loader **ret_loader, struct plan **ret_plan, struct err *err);

/* The table of `sendit plan`, as text. */
void cli_print_plan(const struct plan *plan, FILE *out);

/* Text for people: "1,234", "1.2 GB", "2026-11-24 10:15:02" (local time); `text` has 32 bytes. */
char *cli_number(unsigned long long n, char text[32]);
char *cli_bytes(unsigned long long n, char text[32]);
char *cli_time(long long ms, char text[32]);
/* Does stdout go to a terminal that a person looks at? */
bool cli_is_terminal(void);
/* The escape that begins a style, "" where colours are not wanted (no terminal, NO_COLOR). */
enum cli_style { CLI_PLAIN, CLI_BOLD, CLI_DIM, CLI_RED, CLI_YELLOW, CLI_GREEN };
const char *cli_style(enum cli_style style);
/* Print JSON as the answer and free it; 0, or ERR_PLACE without memory (NULL). */
int cli_answer(json_t *answer);
/* Take `element` into `array`; what lacks memory sets `failed` and returns 1, which ends a walk. */
int cli_append(json_t *array, json_t *element, bool *failed);
/* `text` as JSON; bytes that are no UTF-8, as names of files may have, are shown as \xNN.  NULL is
 * null. */
json_t *cli_json_text(const char *text);

#endif
