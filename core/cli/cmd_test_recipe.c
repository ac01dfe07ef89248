/* SPDX-License-Identifier: Apache-2.0 */
/* sendit test-recipe: cases of recipes, in TAP or JSON. */
#include "cli/cli.h"

#include <stdlib.h>

#include "cli/tap.h"
#include "harness/harness.h"
#include "run/run.h"

static int run(const struct cli *cli)
{
    struct harness_request request = {.cases = (const char *const *)cli->args,
                                      .n_cases = (size_t)cli->n_args,
                                      .update = cli->update};
    struct err err = {.code = ERR_PLACE, .text = "no memory"};
    struct harness_summary summary;
    char *filters = run_filters_folder();
    struct tap tap;
    int status;

    tap_init(&tap, cli);
    request.filters = filters;
    if (!filters || harness_run(&request, tap_planned, tap_told, &tap, &summary, &err))
        status = cli_error(cli, &err);
    else
        status = tap_finish(&tap, &summary);
    tap_fini(&tap);
    free(filters);
    return status;
}

const struct cli_command cli_test_recipe = {
    .name = "test-recipe",
    .usage = "test-recipe CASE...",
    .summary = "run the cases of recipes",
    .help =
        "Takes images through a recipe and compares what comes of them with what a case says, so\n"
        "that a site can keep tests beside its recipes. CASE is a folder with a case, or one that\n"
        "holds such folders. No pipeline, ledger or key is needed, and nothing is written.\n"
        "\n"
        "A case is a folder of up to four files:\n"
        "  recipe                   what is tried\n"
        "  in.dcm, in.dump or in/   the images; a dump is what dcmdump prints\n"
        "  config.json              in place of recipe, or beside it\n"
        "  expect.json              what must come of it\n"
        "\n"
        "Keys of config.json:\n"
        "  about                    a sentence for who reads it\n"
        "  recipes                  as of a stage: [\"dicom\", \"../../deid.site\"]; paths begin "
        "in\n"
        "                           the folder of the case\n"
        "  profile                  as of local-anonymizer; without one the header rules stand\n"
        "                           alone\n"
        "\n"
        "Keys of expect.json:\n"
        "  about                    a sentence for who reads it\n"
        "  refused                  what is wrong with the recipe\n"
        "  verdict, code            PASS, or QUARANTINE with its reason\n"
        "  facts                    deid.group, deid.label and deid.boxes of the LABEL that "
        "decides\n"
        "  tags                     what has another value after PASS; null is a tag that is gone\n"
        "  items                    all these by item, if there is not just one\n"
        "  text                     of the reason; compared only if it stands there\n"
        "  \"*\"                      any text or, as a key, any other members\n"
        "\n"
        "An image that the filters hold meets no header rule. Variables and UIDs come from a key\n"
        "that is the same for ever. The answer is in TAP version 13, what differs as a diff: \"-\" "
        "was\n"
        "expected, \"+\" came.\n"
        "\n"
        "The status is 0 if all passed and 1 if one did not.",
    .examples = "sendit test-recipe cases\tall cases of a folder\n"
                "sendit test-recipe cases/dose --update\twrite what was found into its expect.json",
    .takes = CLI_UPDATE,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
