/* SPDX-License-Identifier: Apache-2.0 */
/* sendit test-stage: one stage, tried alone, in TAP or JSON. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/tap.h"
#include "harness/case.h"
#include "harness/harness.h"
#include "run/run.h"

/* ---- under a debugger ---- */

static int debug(const struct cli *cli)
{
    char *argv[] = {(char[]){"gdb"},
                    (char[]){"--args"},
                    (char[]){"/proc/self/exe"},
                    (char[]){"test-stage"},
                    (char[]){"--in-process"},
                    cli->args[0],
                    cli->args[1],
                    NULL};
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    struct err err = {0};

    if (cli->n_args != 2 || !case_is_one(cli->args[1]))
        return cli_usage(cli, "--gdb takes a stage and one case");
    if (n > 0) {
        path[n] = '\0';
        argv[2] = path;
    }
    execvp(argv[0], argv);
    err_set(&err, ERR_PLACE, "gdb cannot be started: %s; install the package gdb", strerror(errno));
    return cli_error(cli, &err);
}

/* ---- the command ---- */

/* A path, or the name of a stage in the folders that are searched; the caller frees it. */
static char *find_stage(const struct cli *cli, struct err *err)
{
    const struct run_request request = {.plugins = cli->plugins, .n_plugins = cli->n_plugins};
    const char *given = cli->args[0];
    const struct stage_file *file;
    struct loader *loader;
    char *path = NULL;

    if (strchr(given, '/') || strchr(given, '.'))
        return strdup(given);
    loader = run_loader(&request, err);
    if (loader && cli->in_process)
        loader_by_name(loader); /* for a debugger */
    if (loader && !loader_find(loader, given, &file, err))
        path = strdup(file->path);
    loader_free(loader);
    return path;
}

static int run(const struct cli *cli)
{
    struct tap tap;
    struct harness_summary summary;
    struct harness_request request = {.cases = (const char *const *)cli->args + 1,
                                      .n_cases = (size_t)cli->n_args - 1,
                                      .config = cli->config,
                                      .update = cli->update,
                                      .in_process = cli->in_process};
    struct err err = {.code = ERR_PLACE, .text = "no memory"};
    char *stage, *filters;
    int status;

    if (cli->gdb)
        return debug(cli);
    tap_init(&tap, cli);
    stage = find_stage(cli, &err);
    filters = run_filters_folder();
    request.stage = stage;
    request.filters = filters;
    if (!stage || !filters || harness_run(&request, tap_planned, tap_told, &tap, &summary, &err))
        status = cli_error(cli, &err);
    else
        status = tap_finish(&tap, &summary);
    free(stage);
    free(filters);
    tap_fini(&tap);
    return status;
}

const struct cli_command cli_test_stage = {
    .name = "test-stage",
    .usage = "test-stage STAGE.so [CASE...]",
    .summary = "try one stage alone, without a pipeline or a network",
    .help =
        "Loads one stage and tries it without a pipeline, a ledger or a network: first what every\n"
        "stage must stand (options, leaks, an empty data set, each call of the host failing in\n"
        "turn, a retry, a stop in mid-batch), then each case. CASE is a folder with a case, or "
        "one\n"
        "that holds such folders. STAGE.so may be the name of a stage that is found as in a\n"
        "pipeline.\n"
        "\n"
        "A case is a folder of up to four files:\n"
        "  in.dcm, in.dump or in/   what the stage is shown; a dump is what dcmdump prints\n"
        "  config.json              its options, as under \"config\" in pipeline.json\n"
        "  host.json                what it finds: labels, facts, answers of a service, faults\n"
        "  expect.json              what must come of it: verdict, code, labels, facts, tags\n"
        "\n"
        "A case without input asks a source to produce(), and gives others a batch of nothing.\n"
        "Items are called in, or as their file in in/. Paths begin in the folder of the trial.\n"
        "\n"
        "Keys of host.json:\n"
        "  about                    a sentence for who reads it\n"
        "  labels                   earned so far; left out, those that the stage needs\n"
        "  facts, batch_facts       what earlier stages said of each item, of the batch\n"
        "  items                    labels, facts and attempt of one item, by its name\n"
        "  attempt, attempts        at the batch; how often RETRY is tried, 1 without\n"
        "  cancel                   the item during which the host begins to stop, from 1\n"
        "  end                      \"abandon\" in place of finish()\n"
        "  settle                   call settle() so often after the batch, at last with `last`\n"
        "  compare                  true: call compare() then\n"
        "  clock                    \"2026-01-01T00:00:00Z\"\n"
        "  secrets                  { \"env:NAME\": VALUE, \"file:PATH\": VALUE }\n"
        "  store, crosswalk         { KEY: VALUE }, { DOMAIN: { ORIGINAL: PSEUDONYM } }\n"
        "  originals                { \"PatientName\": VALUE }\n"
        "  http                     [{ \"request\": { method, url }, \"answer\": { status, "
        "headers,\n"
        "                           body } or { error } }], each for one request\n"
        "  tree                     files by path: { text }, { item }, { link }, { folder: true "
        "},\n"
        "                           { fifo: true }, each with mode if need be\n"
        "  faults                   [\"facts.put: EIO on the 2nd call\", \"http: ENOMEM\"]\n"
        "\n"
        "Keys of expect.json; what is usual is left out:\n"
        "  about                    a sentence for who reads it\n"
        "  refused                  what is wrong with the options\n"
        "  check, open, begin, finish, abandon\n"
        "                           verdict and code of a callback that did not pass; LATER of\n"
        "                           finish()\n"
        "  settle, settled          of settle(), and what it told of batches, by id\n"
        "  compare, differences, compared\n"
        "                           of compare(): \"CODE SUBJECT\" each, and counts by word\n"
        "  produce, produced        of a source\n"
        "  verdict, code, tries     of process()\n"
        "  labels, facts, tags      what an item has after PASS; null is a tag that is gone\n"
        "  items                    all these by item, if there is not just one\n"
        "  batch_facts, holds, metrics, store, audit\n"
        "                           what the stage had kept\n"
        "  requests, files, log     what it sent, wrote and said\n"
        "  text, crosswalk, calls   compared only if they stand there\n"
        "  \"*\"                      any text or, as a key, any other members\n"
        "\n"
        "The answer is in TAP version 13, what differs as a diff: \"-\" was expected, \"+\" came.\n"
        "What the stage says is shown when it fails. Each trial has a process and a folder of its\n"
        "own.\n"
        "\n"
        "The status is 0 if all passed and 1 if one did not.",
    .examples = "sendit test-stage build/plugins.d/mine.so cases\ta stage and its cases\n"
                "sendit test-stage build/plugins.d/mine.so cases --update\twrite what was found "
                "into each expect.json\n"
                "sendit test-stage build/plugins.d/mine.so cases/empty --gdb\tone case in the "
                "debugger",
    .takes = CLI_TEST | CLI_UPDATE,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
