/* SPDX-License-Identifier: Apache-2.0 */
/* sendit resume: batches that rest at a hold entry go on. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ledger/ledger.h"
#include "run/run.h"

struct resuming {
    const struct cli *cli;
    const struct plan *plan;
    struct ledger *ledger;
    json_t *answers;
    char **ids; /* of all that are HELD, if none is named */
    size_t n_ids;
    bool failed; /* no memory for the answer */
    struct err *err;
};

/* ---- which ---- */

static int note_held(void *ctx, const struct ledger_batch *batch)
{
    struct resuming *resuming = ctx;
    char **ids;

    if (batch->state != BATCH_HELD)
        return 0;
    ids = realloc(resuming->ids, (resuming->n_ids + 1) * sizeof(*ids));
    if (ids)
        resuming->ids = ids;
    if (!ids || !(ids[resuming->n_ids] = strdup(batch->id))) {
        resuming->failed = true;
        return 1;
    }
    resuming->n_ids++;
    return 0;
}

static int check_batch(struct resuming *resuming, const char *id, struct ledger_batch *ret_batch)
{
    int result = ledger_batch_get(resuming->ledger, id, ret_batch, resuming->err);

    if (result)
        return result < 0 ? -1
                          : err_set(resuming->err, ERR_USAGE, "there is no batch \"%.60s\"", id);
    if (ret_batch->state == BATCH_QUEUE && *ret_batch->rests)
        return err_set(resuming->err, ERR_USAGE,
                       "batch %s was resumed already: the next sendit run takes it on", id);
    if (ret_batch->state != BATCH_HELD)
        return err_set(resuming->err, ERR_USAGE, "batch %s is in %s: it does not rest", id,
                       ledger_batch_word((enum ledger_batch_state)ret_batch->state));
    if (!plan_hold(resuming->plan, ret_batch->rests))
        return err_set(resuming->err, ERR_REFUSED,
                       "batch %s rests at the hold entry \"%.63s\", which %s does not have: put it "
                       "back where it stood, or take the batch again from its originals with "
                       "sendit retry %s",
                       id, ret_batch->rests, resuming->plan->path, id);
    return 0;
}

/* ---- one batch ---- */

static int keep(struct resuming *resuming, const struct ledger_batch *batch, uint64_t n)
{
    char user[64], *text;
    json_t *object;
    int result;

    cli_user(user, sizeof(user));
    object = json_pack("{s:s, s:s, s:I, s:s}", "batch", batch->id, "hold", batch->rests, "images",
                       (json_int_t)n, "user", user);
    text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    result = text ? ledger_audit(resuming->ledger, "core", "batch.resumed", text, resuming->err)
                  : err_set(resuming->err, ERR_PLACE, "no memory");
    free(text);
    json_decref(object);
    return result
               ? result
               : ledger_message(resuming->ledger, batch->id, "", LOG_INFO, "core", "batch.resumed",
                                "Resumed by sendit resume: it waits for the next run.",
                                resuming->err);
}

static int resume_batch(struct resuming *resuming, const char *id)
{
    struct ledger_batch batch = {0};
    uint64_t n = 0;
    int result = check_batch(resuming, id, &batch);

    if (!result)
        result = ledger_resting(resuming->ledger, id, batch.rests, &n, resuming->err);
    if (!result)
        result = ledger_resume(resuming->ledger, id, resuming->err);
    if (!result)
        result = keep(resuming, &batch, n);
    if (!result && cli_append(resuming->answers,
                              json_pack("{s:s, s:s, s:I}", "batch", id, "hold", batch.rests,
                                        "images", (json_int_t)n),
                              &resuming->failed))
        result = err_set(resuming->err, ERR_PLACE, "no memory");
    ledger_batch_fini(&batch);
    return result;
}

/* ---- the answer ---- */

static void print_answers(const json_t *answers)
{
    size_t n = json_array_size(answers);
    char number[32];

    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(answers, i);
        unsigned long long images =
            (unsigned long long)json_integer_value(json_object_get(one, "images"));

        printf("batch %s: %s %s on behind \"%s\"\n",
               json_string_value(json_object_get(one, "batch")), cli_number(images, number),
               images == 1 ? "image goes" : "images go",
               json_string_value(json_object_get(one, "hold")));
    }
    puts(n ? "The next sendit run takes them on." : "no batch rests");
}

static int answer(struct resuming *resuming)
{
    const struct cli *cli = resuming->cli;

    if (!cli->n_args && ledger_batches(resuming->ledger, false, note_held, resuming, resuming->err))
        return -1;
    if (resuming->failed)
        return err_set(resuming->err, ERR_PLACE, "no memory");
    /* All of them or none. */
    for (int i = 0; i < cli->n_args; i++)
        if (resume_batch(resuming, cli->args[i]))
            return -1;
    for (size_t i = 0; i < resuming->n_ids; i++)
        if (resume_batch(resuming, resuming->ids[i]))
            return -1;
    if (ledger_commit(resuming->ledger, resuming->err))
        return -1;
    if (cli->json)
        return cli_answer(json_incref(resuming->answers)) ? -1 : 0;
    print_answers(resuming->answers);
    return 0;
}

/* ---- the command ---- */

static int run(const struct cli *cli)
{
    struct err err = {.code = ERR_PLACE, .text = "no memory"};
    struct resuming resuming = {.cli = cli, .answers = json_array(), .err = &err};
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    char *state = NULL;
    int status = 0, result = resuming.answers ? 0 : -1;

    if (!result)
        result = cli_build(cli, NULL, 0, &loader, &plan, &err);
    if (!result) /* what sendit run would refuse lets no batch go on */
        result = run_check(plan, 0, &err);
    resuming.plan = plan;
    if (!result)
        result = cli_ledger_write(cli, &state, &resuming.ledger, &err);
    if (!result)
        result = answer(&resuming);
    if (result < 0)
        status = cli_error(cli, &err);
    ledger_close(resuming.ledger);
    while (resuming.n_ids)
        free(resuming.ids[--resuming.n_ids]);
    free(resuming.ids);
    json_decref(resuming.answers);
    free(state);
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_resume = {
    .name = "resume",
    .usage = "resume [BATCH...]",
    .summary = "let batches go on that rest at a hold entry",
    .help =
        "At an entry { \"use\": \"hold\", \"id\": \"review\" } between two stages images come to "
        "rest:\n"
        "as they are there, with all edits, they are written into the state folder, and their\n"
        "batch is HELD. The stages behind it have seen nothing of them. This puts batches that\n"
        "rest back into the queue, those that are named or all; the next sendit run takes their\n"
        "images from the state folder through the stages behind the entry, with the labels that\n"
        "they earned. The originals are not asked for any more.\n"
        "\n"
        "A batch goes on behind the entry of the same id, also if the pipeline was edited or\n"
        "sendit upgraded meanwhile. Without such an entry it is refused, and stays as it is.\n"
        "An image that is released from quarantine comes to rest with the others of its batch;\n"
        "a batch that was resumed before that rests again. What rests is in the state folder\n"
        "until its batch is DONE.",
    .examples = "sendit status\twhat rests, and where\n"
                "sendit resume\tall that rests\n"
                "sendit resume b3 b4\ttwo batches\n"
                "sendit run\ttakes them on",
    .takes = 0,
    .min_args = 0,
    .max_args = -1,
    .run = run,
};
