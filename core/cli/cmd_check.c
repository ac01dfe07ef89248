/* SPDX-License-Identifier: Apache-2.0 */
/* sendit check: is pipeline.json valid, and do the stages agree with their options? */
#include "cli/cli.h"

#include "run/run.h"

static size_t enabled(const struct plan *plan)
{
    size_t n = 0;

    for (size_t i = 0; i < plan->n_stages; i++)
        n += plan->stages[i].enabled;
    return n;
}

static int run(const struct cli *cli)
{
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    struct err err = {0};
    int status = 0;

    if (cli_build(cli, NULL, 0, &loader, &plan, &err) || run_check(plan, cli->online, &err))
        status = cli_error(cli, &err);
    else if (cli->json)
        status = cli_answer(json_pack("{s:b, s:b, s:o, s:I}", "valid", 1, "online", cli->online,
                                      "pipeline", cli_json_text(plan->path), "stages",
                                      (json_int_t)enabled(plan)));
    else
        printf("%s is valid: %zu stages are enabled, in an order that the policy allows%s%s\n",
               plan->path, enabled(plan), plan->lowered ? ", which the site has lowered" : "",
               cli->online ? "; each service that a stage asks has answered" : "");
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_check = {
    .name = "check",
    .usage = "check [--online]",
    .summary = "say whether the pipeline is valid",
    .help =
        "Reads pipeline.json, loads its stages, and checks options, consents, labels and order\n"
        "as sendit run does before it touches a file; then each enabled stage judges its own\n"
        "options. Nothing is written and no service is asked.\n"
        "\n"
        "With --online a stage that needs a service asks it, with the least possible call: is it\n"
        "there, is its certificate good, does it take our credentials? Nothing of a patient is\n"
        "sent.\n"
        "\n"
        "The first error is shown with file, line and column, and the status is 3.",
    .examples = "sendit check\tthe pipeline of this folder\n"
                "sendit check --online\tand do the services answer?\n"
                "sendit check -p site.json --set file-store.folder=/mnt/clean\tanother one, with "
                "another place",
    .takes = CLI_ONLINE,
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
