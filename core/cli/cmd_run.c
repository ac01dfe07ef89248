/* SPDX-License-Identifier: Apache-2.0 */
/* sendit run: import, process, say what became of everything. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "run/run.h"

struct progress {
    const struct cli *cli;
    bool bar; /* stderr is a terminal: one line that is written over */
    bool drawn;
    struct timespec began;
    unsigned long long looked;
};

/* ---- while it runs ---- */

static void wipe_bar(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}

static double seconds_since(const struct timespec *began)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

static void draw_bar(struct progress *progress, unsigned long long n, unsigned long long total)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1], done[32], all[32];
    double seconds = seconds_since(&progress->began);
    double rate = seconds > 0 ? (double)n / seconds : 0;
    size_t filled = total ? (size_t)(n >= total ? WIDTH : n * WIDTH / total) : 0;
    long left = rate > 0 && total > n ? (long)((double)(total - n) / rate + 0.5) : 0;

    memset(bar, ' ', WIDTH);
    memset(bar, '#', filled);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r\033[K[%s] %s of %s images, %.0f/s, %ld:%02ld:%02ld left", bar,
            cli_number(n, done), cli_number(total, all), rate, left / 3600, left / 60 % 60,
            left % 60);
    progress->drawn = true;
}

static void show_looking(struct progress *progress, unsigned long long n)
{
    char number[32];

    if (!progress->bar || n < progress->looked + 1000)
        return;
    progress->looked = n;
    fprintf(stderr, "\r\033[Klooking for files: %s", cli_number(n, number));
    progress->drawn = true;
}

static void show_batch(struct progress *progress, const struct ledger_batch *batch)
{
    const struct ledger_counts *n = &batch->counts;
    const struct log_who who = {NULL, batch->id, NULL};
    const char *state = ledger_batch_word((enum ledger_batch_state)batch->state);
    char waiting[48] = "";

    log_event(LOG_INFO, &who, batch->state == BATCH_HELD ? "batch.held" : "batch.closed",
              "%s: found %llu", state, (unsigned long long)n->found);
    if (progress->cli->json || progress->cli->verbose < 0 ||
        (progress->bar && batch->state != BATCH_ERROR))
        return;
    wipe_bar(progress);
    if (n->waiting)
        snprintf(waiting, sizeof(waiting), " + waiting %llu", (unsigned long long)n->waiting);
    printf(
        "batch %-6s %-5s  found %llu = %s %llu + quarantined %llu + failed %llu + ignored %llu%s\n",
        batch->id, state, (unsigned long long)n->found, n->checked ? "checked" : "stored",
        (unsigned long long)(n->stored + n->checked), (unsigned long long)n->quarantined,
        (unsigned long long)n->failed, (unsigned long long)n->ignored, waiting);
    fflush(stdout);
}

static void show(void *ctx, const struct run_event *event)
{
    struct progress *progress = ctx;

    switch (event->type) {
    case RUN_LOOKING:
        show_looking(progress, event->n);
        break;
    case RUN_PROGRESS:
        if (progress->bar)
            draw_bar(progress, event->n, event->total);
        break;
    case RUN_BATCH:
        show_batch(progress, event->batch);
        break;
    case RUN_KEY_MADE:
        if (!progress->cli->json)
            printf("A site key was made: %s, fingerprint %s.\n"
                   "Keep a copy of it apart from this machine: without it the pseudonyms of later "
                   "images differ.\n\n",
                   event->path, event->text);
        break;
    case RUN_WAITING: /* the log says so */
    case RUN_GOES_ON:
    case RUN_ENDED:
        wipe_bar(progress);
        break;
    }
}

/* ---- the summary ---- */

static int print_reason(void *ctx, int state, const char *stage, const char *code, uint64_t n)
{
    char number[32];

    (void)ctx;
    printf("  %-11s %8s  %-18s %s\n", ledger_item_word((enum ledger_item_state)state),
           cli_number(n, number), stage && *stage ? stage : "-", code);
    return 0;
}

static int add_reason(void *ctx, int state, const char *stage, const char *code, uint64_t n)
{
    return json_array_append_new(ctx, json_pack("{s:s, s:s, s:s, s:I}", "state",
                                                ledger_item_word((enum ledger_item_state)state),
                                                "stage", stage ? stage : "", "code", code, "images",
                                                (json_int_t)n));
}

static int print_wait(void *ctx, const char *stage, const char *batch, uint64_t n)
{
    char number[32];

    (void)ctx, (void)batch;
    printf(
        "DONEPROCESSING: %s %s for what stage \"%s\" does later; the next sendit run settles it.\n",
        cli_number(n, number), n == 1 ? "batch waits" : "batches wait", stage);
    return 0;
}

/* Batches that were, or are, through but for what stages do later. */
static void print_later(const struct run_summary *summary, struct ledger *ledger)
{
    struct err err;

    if (summary->settled)
        printf("settled: %llu %s of earlier runs\n", summary->settled,
               summary->settled == 1 ? "batch" : "batches");
    if (summary->later)
        ledger_waits(ledger, print_wait, NULL, &err);
}

static void print_summary(const struct run_summary *summary, struct ledger *ledger, bool dry)
{
    const struct ledger_counts *n = &summary->counts;
    unsigned long long through = n->stored + n->checked + n->quarantined;
    char found[32], passed[32], held[32], failed[32], ignored[32], waiting[32];
    struct err err;

    if (!n->found && summary->settled) {
        putchar('\n');
        print_later(summary, ledger);
        return;
    }
    if (!n->found) {
        puts(summary->known_batches ? "nothing to do: nothing is new in the folders"
                                    : "nothing to do: no file was found");
        print_later(summary, ledger);
        return;
    }
    printf("\nfound %s = %s %s + quarantined %s + failed %s + ignored %s + waiting %s\n",
           cli_number(n->found, found), dry ? "checked" : "stored",
           cli_number(dry ? n->checked : n->stored, passed), cli_number(n->quarantined, held),
           cli_number(n->failed, failed), cli_number(n->ignored, ignored),
           cli_number(n->waiting, waiting));
    ledger_reasons(ledger, NULL, true, print_reason, NULL, &err);
    printf("%llu %s in %.1f s", summary->batches, summary->batches == 1 ? "batch" : "batches",
           summary->seconds);
    if (summary->seconds > 0 && through)
        printf(", %.0f images/s", (double)through / summary->seconds);
    puts("");
    if (n->quarantined)
        puts("What is held: sendit quarantine list");
    if (n->failed)
        puts("What failed: sendit log");
    if (summary->resting)
        puts("What rests goes on with: sendit resume");
    if (n->waiting > summary->resting)
        puts("What waits is taken by the next sendit run.");
    print_later(summary, ledger);
}

static void print_json(const struct run_summary *summary, struct ledger *ledger, int status,
                       const struct err *err)
{
    const struct ledger_counts *n = &summary->counts;
    json_t *reasons = json_array(), *answer;
    struct err ignored;

    ledger_reasons(ledger, NULL, true, add_reason, reasons, &ignored);
    answer = json_pack(
        "{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:o}", "status",
        status, "found", (json_int_t)n->found, "stored", (json_int_t)n->stored, "checked",
        (json_int_t)n->checked, "quarantined", (json_int_t)n->quarantined, "failed",
        (json_int_t)n->failed, "ignored", (json_int_t)n->ignored, "waiting", (json_int_t)n->waiting,
        "resting", (json_int_t)summary->resting, "batches", (json_int_t)summary->batches,
        "known_batches", (json_int_t)summary->known_batches, "later", (json_int_t)summary->later,
        "settled", (json_int_t)summary->settled, "seconds", summary->seconds, "reasons", reasons);
    if (answer && err->text[0])
        json_object_set_new(answer, "error", json_string(err->text));
    if (answer)
        json_dumpf(answer, stdout, JSON_INDENT(2));
    puts("");
    json_decref(answer);
}

/* ---- the command ---- */

static void say_lowered(const struct plan *plan)
{
    if (plan->lowered)
        log_event(LOG_WARN, NULL, "policy.lowered",
                  "The policy asks for less than the core's default: %s", plan->because);
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct log_who who = {.stage = plan->stages[i].id};

        if (plan->stages[i].enabled && plan->stages[i].because && !plan->stages[i].hold)
            log_event(LOG_WARN, &who, "recipe.keeps",
                      "Its recipes keep what the profile would take: %s", plan->stages[i].because);
    }
}

static int run_plan(const struct cli *cli, const struct run_request *request,
                    const struct plan *plan, struct ledger *ledger)
{
    struct progress progress = {.cli = cli,
                                .bar = isatty(STDERR_FILENO) && !cli->json && cli->verbose >= 0};
    struct run_options options = {
        .request = request, .plan = plan, .workers = cli->workers, .event = show, .ctx = &progress};
    struct run_summary summary;
    struct err err = {0};
    int status;

    clock_gettime(CLOCK_MONOTONIC, &progress.began);
    status = run_pipeline(&options, ledger, &summary, &err);
    if (cli->json) {
        print_json(&summary, ledger, status, &err);
        return status;
    }
    if (summary.seconds > 0 && cli->verbose >= 0)
        print_summary(&summary, ledger, plan->dry);
    fflush(stdout);
    if (summary.signal)
        fprintf(stderr, "sendit: stopped by signal %d; the next run goes on there\n",
                summary.signal);
    if (err.text[0] && status && status < 128)
        cli_error(cli, &err);
    return status;
}

static int run(const struct cli *cli)
{
    struct run_request request = {.plugins = cli->plugins, .n_plugins = cli->n_plugins};
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    struct ledger *ledger = NULL;
    struct err err = {0};
    int status = ERR_REFUSED;

    request.plan = (struct plan_request){.sets = cli->sets,
                                         .n_sets = cli->n_sets,
                                         .folders = (const char *const *)cli->args,
                                         .n_folders = (size_t)cli->n_args,
                                         .state = cli->state};
    if (cli_pipeline(cli, &request.plan.path, &err) || run_build(&request, &loader, &plan, &err) ||
        run_check(plan, 0, &err))
        goto fail;
    say_lowered(plan);
    if (!cli->json && cli->verbose >= 0)
        cli_print_plan(plan, stdout);
    if (ledger_open(plan->state, &ledger, &err))
        goto fail;
    status = run_plan(cli, &request, plan, ledger);
    goto out;
fail:
    status = cli_error(cli, &err);
out:
    ledger_close(ledger);
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_run = {
    .name = "run",
    .usage = "run [FOLDER...]",
    .summary = "take images through the pipeline",
    .help =
        "Builds the plan from pipeline.json and proves it, before any file is touched. Then the\n"
        "source imports what it finds, or these folders in place of its own, each batch goes\n"
        "through the enabled stages in their order, and the counts are printed. They always add\n"
        "up: found = stored + quarantined + failed + ignored + waiting.\n"
        "\n"
        "A run can be stopped at any time. SIGINT and SIGTERM finish the image in hand and leave\n"
        "the rest in the queue; a second one ends at once. Whatever ends a run, the next one goes\n"
        "on where it was: no image is lost and none is stored twice.\n"
        "\n"
        "Files that were taken before and have not changed are not taken again. Originals stay as\n"
        "they are, unless the source has when_done.\n"
        "\n"
        "A stage may finish later, as a store does whose rows wait for a job: its batches are\n"
        "DONEPROCESSING until it has told of them, at the end of this run or, if its service is\n"
        "away for longer than run.retry_for, in the next one, with new files or without.\n"
        "\n"
        "Quarantined images are counted and shown; they are no error.",
    .examples = "sendit run\twhat pipeline.json says\n"
                "sendit run export/monday\tone folder and all below it\n"
                "sendit run --set file-store.folder=/mnt/clean --workers 8\tanother place, eight "
                "workers\n"
                "sendit run --json\tthe summary as JSON",
    .takes = CLI_WORKERS,
    .min_args = 0,
    .max_args = -1,
    .run = run,
};
