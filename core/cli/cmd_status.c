/* SPDX-License-Identifier: Apache-2.0 */
/* sendit status: the batches, their counts, and what waits. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/table.h"
#include "ledger/ledger.h"
#include "run/run.h"

#define SHOWN 40   /* batches in the table without -v */
#define WAITING 20 /* of those in QUEUE, how many are asked why */

struct view {
    const struct cli *cli;
    struct table table;
    json_t *array;
    uint64_t n, states[BATCH_ERROR + 1], skip; /* skip: finished ones that are not shown */
    bool dry;                                  /* images were checked, not stored */
    bool failed;                               /* no memory for the answer */
    bool broken;                               /* `err` is set */
    struct ledger *ledger;
    struct err *err;
    unsigned asked;    /* batches in QUEUE so far */
    int64_t closed_ms; /* when the batch in hand was closed last; what was said before is over */
};

static bool is_finished(const struct ledger_batch *batch)
{
    return batch->state == BATCH_DONE || batch->state == BATCH_EMPTY;
}

static int count_batch(void *ctx, const struct ledger_batch *batch)
{
    struct view *view = ctx;

    view->n++;
    if (batch->state > 0 && batch->state <= BATCH_ERROR)
        view->states[batch->state]++;
    return 0;
}

/* ---- the table ---- */

static void add_counts(struct view *view, const struct ledger_counts *n)
{
    struct table *table = &view->table;

    table_add_number(table, n->found);
    table_add_number(table, n->stored);
    if (view->dry)
        table_add_number(table, n->checked);
    table_add_number(table, n->quarantined);
    table_add_number(table, n->failed);
    table_add_number(table, n->ignored);
    table_add_number(table, n->waiting);
}

static int add_batch(void *ctx, const struct ledger_batch *batch)
{
    struct view *view = ctx;
    char time[32];

    if (is_finished(batch) && view->skip) {
        view->skip--;
        return 0;
    }
    table_add(&view->table, batch->id);
    if (batch->state == BATCH_HELD)
        table_addf(&view->table, "HELD at %s", batch->rests);
    else
        table_add(&view->table, ledger_batch_word((enum ledger_batch_state)batch->state));
    add_counts(view, &batch->counts);
    table_add(&view->table, cli_time(batch->finished_ms, time));
    if (view->cli->paths)
        table_add(&view->table, batch->key);
    return 0;
}

static size_t make_heads(const struct view *view, const char *heads[TABLE_MAX_COLUMNS + 1])
{
    size_t n = 0;

    heads[n++] = "batch";
    heads[n++] = "state";
    heads[n++] = ">found";
    heads[n++] = ">stored";
    if (view->dry)
        heads[n++] = ">checked";
    heads[n++] = ">quarantined";
    heads[n++] = ">failed";
    heads[n++] = ">ignored";
    heads[n++] = ">waiting";
    heads[n++] = "finished";
    if (view->cli->paths)
        heads[n++] = "folder";
    heads[n] = NULL;
    return n;
}

static int print_batches(struct view *view, struct ledger *ledger,
                         const struct ledger_counts *totals, struct err *err)
{
    const char *heads[TABLE_MAX_COLUMNS + 1];
    uint64_t finished = view->states[BATCH_DONE] + view->states[BATCH_EMPTY], left_out;
    size_t n_columns = make_heads(view, heads);
    char number[32];

    if (view->cli->verbose <= 0 && view->n > SHOWN)
        view->skip = view->n - SHOWN < finished ? view->n - SHOWN : finished;
    left_out = view->skip;
    table_init(&view->table, heads);
    if (ledger_batches(ledger, false, add_batch, view, err)) {
        table_fini(&view->table);
        return -1;
    }
    table_add(&view->table, "total");
    table_add_blank(&view->table);
    add_counts(view, totals);
    while (view->table.n_cells % n_columns && !view->table.failed)
        table_add_blank(&view->table);
    table_print(&view->table, stdout);
    table_fini(&view->table);
    if (left_out)
        printf("%s finished batches are not listed; all of them: sendit status -v\n",
               cli_number(left_out, number));
    return 0;
}

static int print_reason(void *ctx, int state, const char *stage, const char *code, uint64_t n)
{
    struct view *view = ctx;

    table_add(&view->table, ledger_item_word((enum ledger_item_state)state));
    table_add_number(&view->table, n);
    table_add(&view->table, stage);
    table_add(&view->table, code);
    return 0;
}

static int print_reasons(struct view *view, struct ledger *ledger, struct err *err)
{
    static const char *const heads[] = {"", ">images", "stage", "reason", NULL};
    int result;

    table_init(&view->table, heads);
    result = ledger_reasons(ledger, NULL, false, print_reason, view, err);
    if (!result && view->table.n_cells) {
        putchar('\n');
        table_print(&view->table, stdout);
    }
    table_fini(&view->table);
    return result;
}

/* ---- why does it wait? ---- */

/* Somebody put it back: no warning, but why it waits. */
static bool is_put_back(const struct ledger_message *message)
{
    return !strcmp(message->code, "batch.retried") || !strcmp(message->code, "batch.resumed") ||
           !strcmp(message->code, "quarantine.released");
}

static int add_message(void *ctx, const struct ledger_message *message)
{
    struct view *view = ctx;

    if ((message->level < LOG_WARN && !is_put_back(message)) || message->at_ms < view->closed_ms)
        return 0;
    if (view->cli->json)
        return cli_append(view->array,
                          json_pack("{s:s, s:s, s:s, s:s}", "batch", message->batch, "stage",
                                    message->stage ? message->stage : "", "code", message->code,
                                    "text", message->text),
                          &view->failed);
    table_add(&view->table, message->batch);
    table_add(&view->table, message->stage);
    table_add(&view->table, message->code);
    table_add(&view->table, message->text);
    return 0;
}

/* One that was put back says what stood in its way. */
static int ask_batch(void *ctx, const struct ledger_batch *batch)
{
    struct view *view = ctx;

    if (batch->state != BATCH_QUEUE || !batch->attempt)
        return 0;
    view->closed_ms = batch->finished_ms;
    view->broken = ledger_messages(view->ledger, batch->id, add_message, view, view->err) != 0;
    return view->broken || view->failed || ++view->asked == WAITING;
}

static int ask_why(struct view *view, struct ledger *ledger, struct err *err)
{
    view->ledger = ledger;
    view->err = err;
    if (ledger_batches(ledger, false, ask_batch, view, err))
        return -1;
    return view->broken ? -1 : 0;
}

static int print_why(struct view *view, struct ledger *ledger, struct err *err)
{
    static const char *const heads[] = {"waits", "stage", "reason", "", NULL};
    int result;

    table_init(&view->table, heads);
    result = ask_why(view, ledger, err);
    if (!result && view->table.n_cells) {
        putchar('\n');
        table_print(&view->table, stdout);
    }
    table_fini(&view->table);
    return result;
}

/* A service that does not answer holds up all that is in QUEUE. */
static int print_away(struct ledger *ledger, struct err *err)
{
    char since[32], until[32];
    struct run_away away;
    int result = run_away(ledger, &away, err);

    if (!result)
        printf("\nwaits for what \"%s\" asks, since %s: %s (%s); no try before %s\n", away.stage,
               cli_time(away.since_ms, since), away.text, away.code,
               cli_time(away.until_ms, until));
    return result < 0 ? -1 : 0;
}

static int add_away(struct ledger *ledger, json_t **ret_away, struct err *err)
{
    struct run_away away;
    int result = run_away(ledger, &away, err);

    if (result < 0)
        return -1;
    *ret_away = result
                    ? json_null()
                    : json_pack("{s:s, s:s, s:s, s:I, s:I}", "stage", away.stage, "code", away.code,
                                "text", away.text, "since_ms", (json_int_t)away.since_ms,
                                "until_ms", (json_int_t)away.until_ms);
    return 0;
}

/* For whom batches in DONEPROCESSING wait. */
static int print_wait(void *ctx, const char *stage, const char *batch, uint64_t n)
{
    char number[32];

    (void)ctx, (void)batch;
    printf("  %s for what stage \"%s\" does later\n", cli_number(n, number), stage);
    return 0;
}

static int add_wait(void *ctx, const char *stage, const char *batch, uint64_t n)
{
    struct view *view = ctx;

    (void)batch;
    return cli_append(view->array,
                      json_pack("{s:s, s:I}", "stage", stage, "batches", (json_int_t)n),
                      &view->failed);
}

static void print_waiting(const struct view *view, struct ledger *ledger,
                          const struct ledger_counts *totals)
{
    const uint64_t *n = view->states;
    struct err ignored;
    char a[32];

    if (n[BATCH_QUEUE] || n[BATCH_PROCESSING] || n[BATCH_DONEPROCESSING] || n[BATCH_HELD] ||
        n[BATCH_ERROR] || totals->quarantined)
        putchar('\n');
    if (n[BATCH_QUEUE])
        printf("QUEUE: %s; the next sendit run takes what waits.\n", cli_number(n[BATCH_QUEUE], a));
    if (n[BATCH_PROCESSING])
        printf("PROCESSING: %s; a run is at work, or ended early: the next one goes on there.\n",
               cli_number(n[BATCH_PROCESSING], a));
    if (n[BATCH_DONEPROCESSING]) {
        printf(
            "DONEPROCESSING: %s; through every stage: the next sendit run settles what is left.\n",
            cli_number(n[BATCH_DONEPROCESSING], a));
        ledger_waits(ledger, print_wait, NULL, &ignored);
    }
    if (n[BATCH_HELD])
        printf("HELD: %s; what rests goes on with: sendit resume\n", cli_number(n[BATCH_HELD], a));
    if (n[BATCH_ERROR])
        printf("ERROR: %s; why: sendit log\n", cli_number(n[BATCH_ERROR], a));
    if (totals->quarantined)
        puts("What is held: sendit quarantine list");
}

/* ---- as JSON ---- */

static json_t *counts_json(const struct ledger_counts *n)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "found", (json_int_t)n->found, "stored",
                     (json_int_t)n->stored, "checked", (json_int_t)n->checked, "quarantined",
                     (json_int_t)n->quarantined, "failed", (json_int_t)n->failed, "ignored",
                     (json_int_t)n->ignored, "waiting", (json_int_t)n->waiting);
}

static int add_batch_json(void *ctx, const struct ledger_batch *batch)
{
    struct view *view = ctx;

    return cli_append(
        view->array,
        json_pack("{s:s, s:s, s:s?, s:s?, s:I, s:I, s:I, s:I, s:I, s:o, s:o*}", "batch", batch->id,
                  "state", ledger_batch_word((enum ledger_batch_state)batch->state), "rests",
                  batch->state == BATCH_HELD ? batch->rests : NULL, "continues", batch->continues,
                  "tries", (json_int_t)batch->attempt, "bytes", (json_int_t)batch->bytes,
                  "queued_ms", (json_int_t)batch->queued_ms, "started_ms",
                  (json_int_t)batch->started_ms, "finished_ms", (json_int_t)batch->finished_ms,
                  "counts", counts_json(&batch->counts), "folder",
                  view->cli->paths ? cli_json_text(batch->key) : NULL),
        &view->failed);
}

static int add_reason_json(void *ctx, int state, const char *stage, const char *code, uint64_t n)
{
    struct view *view = ctx;

    return cli_append(view->array,
                      json_pack("{s:s, s:s, s:s, s:I}", "state",
                                ledger_item_word((enum ledger_item_state)state), "stage",
                                stage ? stage : "", "code", code, "images", (json_int_t)n),
                      &view->failed);
}

static int answer_json(struct view *view, struct ledger *ledger, const char *state,
                       const struct ledger_counts *totals, struct err *err)
{
    json_t *batches = json_array(), *reasons = json_array(), *waits = json_array(), *away = NULL;
    json_t *later = json_array();
    int result;

    view->array = batches;
    result = ledger_batches(ledger, false, add_batch_json, view, err);
    view->array = reasons;
    if (!result)
        result = ledger_reasons(ledger, NULL, false, add_reason_json, view, err);
    view->array = waits;
    if (!result)
        result = ask_why(view, ledger, err);
    view->array = later;
    if (!result)
        result = ledger_waits(ledger, add_wait, view, err);
    if (!result)
        result = add_away(ledger, &away, err);
    if (!result &&
        (view->failed ||
         cli_answer(json_pack("{s:o, s:o, s:O, s:O, s:O, s:O, s:O}", "state", cli_json_text(state),
                              "totals", counts_json(totals), "reasons", reasons, "away", away,
                              "waits", waits, "later", later, "batches", batches))))
        result = err_set(err, ERR_PLACE, "no memory");
    json_decref(away);
    json_decref(later);
    json_decref(batches);
    json_decref(reasons);
    json_decref(waits);
    return result;
}

/* ---- the command ---- */

static int answer(const struct cli *cli, struct ledger *ledger, const char *state, struct err *err)
{
    struct view view = {.cli = cli};
    struct ledger_counts totals;

    if (ledger_totals(ledger, false, &totals, err))
        return -1;
    if (cli->json)
        return answer_json(&view, ledger, state, &totals, err);
    view.dry = totals.checked != 0;
    if (ledger_batches(ledger, false, count_batch, &view, err))
        return -1;
    if (!view.n) {
        printf("there are no batches in %s\n", state);
        return 0;
    }
    if (print_batches(&view, ledger, &totals, err) || print_reasons(&view, ledger, err) ||
        print_why(&view, ledger, err) || print_away(ledger, err))
        return -1;
    print_waiting(&view, ledger, &totals);
    return 0;
}

static int run(const struct cli *cli)
{
    struct ledger *ledger = NULL;
    struct err err = {0};
    char *state = NULL;
    int found = cli_ledger(cli, &state, &ledger, &err), status = 0;

    if (found < 0 || (!found && answer(cli, ledger, state, &err)))
        status = cli_error(cli, &err);
    ledger_close(ledger);
    free(state);
    return status;
}

const struct cli_command cli_status = {
    .name = "status",
    .usage = "status",
    .summary = "show the batches, their counts and what waits",
    .help =
        "Shows the batches that the ledger knows, also while a run goes on. In each line, as in\n"
        "the total, found = stored + quarantined + failed + ignored + waiting. Below: why images\n"
        "were held, failed or ignored, and what waits; where a service does not answer, since "
        "when\n"
        "it is waited for, and when it is asked again.\n"
        "\n"
        "  QUEUE           waits for a run\n"
        "  PROCESSING      a worker has it\n"
        "  DONEPROCESSING  through every stage, of which some have something to do later, as a\n"
        "                  store whose rows wait for a job; the next run does it\n"
        "  HELD            it rests at a hold entry until sendit resume\n"
        "  DONE            every file ended, none failed\n"
        "  EMPTY           the same, and none was stored\n"
        "  ERROR           a file failed, or a stage stopped the batch\n"
        "\n"
        "Of many batches the unfinished ones and the latest are shown; -v shows all.",
    .examples = "sendit status\tthe state of the pipeline in this folder\n"
                "sendit status --json\tfor programs\n"
                "sendit status --paths\twith the folder of each batch",
    .takes = CLI_PATHS,
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
