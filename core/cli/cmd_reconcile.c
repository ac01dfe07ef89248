/* SPDX-License-Identifier: Apache-2.0 */
/* sendit reconcile: what differs between the ledger and what is there. */
#include "cli/cli.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/table.h"
#include "ledger/ledger.h"
#include "run/run.h"

struct answer {
    const struct cli *cli;
    json_t *differences; /* with --json; else they are printed as they come */
    json_t *counts;      /* of a stage, of a word */
    unsigned long long n;
    bool failed; /* no memory for the answer */
};

static void differs(void *ctx, const char *stage, const char *code, const char *subject,
                    const char *text)
{
    struct answer *answer = ctx;
    char *safe, *said;

    answer->n++;
    if (answer->cli->json) {
        cli_append(answer->differences,
                   json_pack("{s:s, s:s, s:o, s:o}", "stage", stage, "code", code, "subject",
                             cli_json_text(subject), "text", cli_json_text(text)),
                   &answer->failed);
        return;
    }
    safe = table_safe(subject);
    said = table_safe(text);
    answer->failed = answer->failed || !safe || !said;
    printf("%s  %s  %s  %s\n", stage, code, safe ? safe : "", said ? said : "");
    free(safe);
    free(said);
}

static void counted(void *ctx, const char *stage, const char *what, unsigned long long n)
{
    struct answer *answer = ctx;
    json_t *of = json_object_get(answer->counts, stage);
    json_int_t sum;

    if (!of) {
        of = json_object();
        if (json_object_set_new(answer->counts, stage, of))
            answer->failed = true;
    }
    sum = json_integer_value(json_object_get(of, what));
    sum = n > (unsigned long long)(INT64_MAX - sum) ? INT64_MAX : sum + (json_int_t)n;
    if (json_object_set_new(of, what, json_integer(sum)))
        answer->failed = true;
}

static void print_counts(const struct answer *answer)
{
    const char *stage, *what;
    json_t *of, *n;
    char number[32];

    json_object_foreach(answer->counts, stage, of) json_object_foreach(of, what, n)
        printf("%s compared %s %s\n", stage,
               cli_number((unsigned long long)json_integer_value(n), number), what);
    if (answer->n)
        printf("%s %s; nothing was changed\n", cli_number(answer->n, number),
               answer->n == 1 ? "difference" : "differences");
}

static int print_json(struct answer *answer, int status, const struct err *err)
{
    json_t *object = json_pack("{s:i, s:O, s:O}", "status", status, "differences",
                               answer->differences, "compared", answer->counts);

    if (object && err->text[0])
        json_object_set_new(object, "error", json_string(err->text));
    return cli_answer(object) ? ERR_PLACE : status;
}

static int reconcile(const struct cli *cli, const struct run_request *request,
                     const struct plan *plan, struct ledger *ledger)
{
    struct answer answer = {.cli = cli, .differences = json_array(), .counts = json_object()};
    const struct run_compare compare = {
        .request = request, .plan = plan, .differs = differs, .counted = counted, .ctx = &answer};
    struct err err = {0};
    int status = run_reconcile(&compare, ledger, &err);

    if (answer.failed || !answer.differences || !answer.counts) {
        err_set(&err, ERR_PLACE, "no memory");
        status = cli_error(cli, &err);
    } else if (cli->json) {
        status = print_json(&answer, status, &err);
    } else {
        print_counts(&answer);
        if (!status)
            puts("nothing differs");
        fflush(stdout);
        if (err.text[0])
            cli_error(cli, &err);
    }
    json_decref(answer.differences);
    json_decref(answer.counts);
    return status;
}

/* A ledger that is not there is not made. */
static int open_ledger(const char *state, struct ledger **ret_ledger, struct err *err)
{
    struct ledger *there = NULL;
    int result = ledger_open_read(state, &there, err);

    if (result == 1)
        return err_set(err, ERR_REFUSED,
                       "there is no ledger in %s: nothing can be compared with it", state);
    ledger_close(there);
    return result ? -1 : ledger_open(state, ret_ledger, err);
}

static int run(const struct cli *cli)
{
    struct run_request request = {.plugins = cli->plugins, .n_plugins = cli->n_plugins};
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    struct ledger *ledger = NULL;
    struct err err = {0};
    int status;

    request.plan =
        (struct plan_request){.sets = cli->sets, .n_sets = cli->n_sets, .state = cli->state};
    if (cli_pipeline(cli, &request.plan.path, &err) || run_build(&request, &loader, &plan, &err) ||
        run_check(plan, 0, &err) || open_ledger(plan->state, &ledger, &err))
        status = cli_error(cli, &err);
    else
        status = reconcile(cli, &request, plan, ledger);
    ledger_close(ledger);
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_reconcile = {
    .name = "reconcile",
    .usage = "reconcile",
    .summary = "compare the ledger with what the stores have",
    .help =
        "Asks each enabled stage that can to compare what it keeps in the ledger with what is\n"
        "there: objects of a bucket, rows of a table. Each difference is a line: the stage, a\n"
        "reason code, the name of what differs, and a sentence. Then how many were compared.\n"
        "\n"
        "Nothing is changed, here or there, and nothing is mended. No run may be under way in the\n"
        "same state folder.\n"
        "\n"
        "The status is 0 if nothing differs and 1 if something does. If not all could be compared\n"
        "it says why: 75 if a service is away, 4 for a place, else 3, also if no enabled stage "
        "can\n"
        "compare or there is no ledger yet.",
    .examples = "sendit reconcile\tthe pipeline of this folder\n"
                "sendit reconcile --json\tfor programs",
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
