/* SPDX-License-Identifier: Apache-2.0 */
/* sendit quarantine: what is held for a human, and why. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "cli/table.h"
#include "ledger/ledger.h"
#include "load/near.h"

struct view {
    const struct cli *cli;
    struct ledger *ledger;
    const char *batch; /* in hand */
    struct table table;
    json_t *array;
    unsigned long long n;       /* images */
    bool found, broken, failed; /* broken: `err` is set; failed: no memory for the answer */
    struct err *err;
};

static const char *text_of(const char *text)
{
    return text ? text : "";
}

/* ---- list: reasons of every batch ---- */

static int add_reason(void *ctx, int state, const char *stage, const char *code, uint64_t n)
{
    struct view *view = ctx;

    if (state != ITEM_QUARANTINED)
        return 0;
    view->n += n;
    if (view->cli->json)
        return cli_append(view->array,
                          json_pack("{s:s, s:s, s:s, s:I}", "batch", view->batch, "stage",
                                    text_of(stage), "code", code, "images", (json_int_t)n),
                          &view->failed);
    table_add(&view->table, view->batch);
    table_add(&view->table, stage);
    table_add(&view->table, code);
    table_add_number(&view->table, n);
    return 0;
}

static int add_batch(void *ctx, const struct ledger_batch *batch)
{
    struct view *view = ctx;

    if (!batch->counts.quarantined)
        return 0;
    view->batch = batch->id;
    view->broken = ledger_reasons(view->ledger, batch->id, false, add_reason, view, view->err) != 0;
    return view->broken || view->failed;
}

static int list_reasons(struct view *view)
{
    static const char *const heads[] = {"batch", "stage", "reason", ">images", NULL};
    char number[32];
    int result;

    table_init(&view->table, heads);
    result = ledger_batches(view->ledger, false, add_batch, view, view->err);
    if (view->broken)
        result = -1;
    if (!result && !view->cli->json && !view->n)
        puts("nothing is held");
    else if (!result && !view->cli->json) {
        table_print(&view->table, stdout);
        printf("\n%s %s held. More: sendit quarantine list BATCH\n", cli_number(view->n, number),
               view->n == 1 ? "image is" : "images are");
    }
    table_fini(&view->table);
    return result;
}

/* ---- list BATCH: its images ---- */

static int add_item(void *ctx, const struct ledger_item *item)
{
    struct view *view = ctx;

    view->n++;
    if (view->cli->json)
        return cli_append(view->array,
                          json_pack("{s:s, s:s, s:s, s:s, s:s, s:o*}", "image", item->id, "batch",
                                    item->batch, "stage", text_of(item->stage), "code",
                                    text_of(item->code), "text", text_of(item->text), "path",
                                    view->cli->paths ? cli_json_text(item->path) : NULL),
                          &view->failed);
    table_add(&view->table, item->id);
    table_add(&view->table, item->stage);
    table_add(&view->table, item->code);
    table_add(&view->table, item->text);
    if (view->cli->paths)
        table_add(&view->table, item->path);
    return 0;
}

static int list_items(struct view *view, const char *id)
{
    static const char *const heads[] = {"image", "stage", "reason", "", NULL};
    static const char *const with_paths[] = {"image", "stage", "reason", "", "path", NULL};
    struct ledger_batch batch = {0};
    int result = ledger_batch_get(view->ledger, id, &batch, view->err);

    if (result)
        return result < 0 ? -1 : err_set(view->err, ERR_USAGE, "there is no batch \"%.60s\"", id);
    ledger_batch_fini(&batch);
    table_init(&view->table, view->cli->paths ? with_paths : heads);
    result = ledger_items(view->ledger, id, ITEM_QUARANTINED, add_item, view, view->err);
    if (!result && !view->cli->json && !view->n)
        puts("nothing of this batch is held");
    else if (!result && !view->cli->json)
        table_print(&view->table, stdout);
    table_fini(&view->table);
    return result;
}

/* ---- show IMAGE ---- */

static void print_field(const char *title, const char *text)
{
    printf("%-10s", title);
    table_print_safe(text && *text ? text : "-", stdout);
    putchar('\n');
}

static int show_item(void *ctx, const struct ledger_item *item)
{
    struct view *view = ctx;
    const char *state = ledger_item_word((enum ledger_item_state)item->state);
    char text[32];

    view->found = true;
    if (view->cli->json)
        return cli_append(
            view->array,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o*}", "image", item->id,
                      "batch", item->batch, "state", state, "stage", text_of(item->stage), "code",
                      text_of(item->code), "text", text_of(item->text), "labels",
                      text_of(item->labels), "size", (json_int_t)item->size, "tries",
                      (json_int_t)item->attempt, "decided_ms", (json_int_t)item->decided_ms, "path",
                      view->cli->paths ? cli_json_text(item->path) : NULL),
            &view->failed);
    print_field("image", item->id);
    print_field("batch", item->batch);
    print_field("state", state);
    print_field("stage", item->stage);
    print_field("reason", item->code);
    print_field("", item->text);
    print_field("labels", item->labels);
    print_field("size", cli_bytes(item->size, text));
    print_field("since", cli_time(item->decided_ms, text));
    if (view->cli->paths)
        print_field("path", item->path);
    return 0;
}

static int show_items(struct view *view)
{
    for (int i = 1; i < view->cli->n_args; i++) {
        view->found = false;
        if (i > 1 && !view->cli->json)
            putchar('\n');
        if (ledger_item_get(view->ledger, view->cli->args[i], show_item, view, view->err) < 0)
            return -1;
        if (!view->found)
            return err_set(view->err, ERR_USAGE, "there is no image \"%.60s\"", view->cli->args[i]);
    }
    return 0;
}

/* ---- the command ---- */

static int answer(const struct cli *cli, struct ledger *ledger, struct err *err)
{
    struct view view = {.cli = cli, .ledger = ledger, .array = json_array(), .err = err};
    int result = 0;

    if (!strcmp(cli->args[0], "show"))
        result = show_items(&view);
    else if (cli->n_args == 1)
        result = list_reasons(&view);
    else
        for (int i = 1; i < cli->n_args && !result; i++)
            result = list_items(&view, cli->args[i]);
    if (!result && view.failed)
        result = err_set(err, ERR_PLACE, "no memory");
    if (result || !cli->json)
        json_decref(view.array);
    else if (cli_answer(view.array))
        result = err_set(err, ERR_PLACE, "no memory");
    return result;
}

static int run(const struct cli *cli)
{
    struct ledger *ledger = NULL;
    struct err err = {0};
    char *state = NULL;
    bool show = !strcmp(cli->args[0], "show");
    int found, status = 0;

    if (!show && strcmp(cli->args[0], "list")) {
        struct near near;
        char hint[128];

        near_start(&near, cli->args[0]);
        near_try(&near, "list");
        near_try(&near, "show");
        return cli_usage(cli, "quarantine takes list or show, not \"%.60s\"%s", cli->args[0],
                         near_hint(&near, hint, sizeof(hint)));
    }
    if (show && cli->n_args < 2)
        return cli_usage(cli, "quarantine show needs the id of an image; quarantine list BATCH "
                              "has them");
    found = cli_ledger(cli, &state, &ledger, &err);
    if (found < 0 || (!found && answer(cli, ledger, &err)))
        status = cli_error(cli, &err);
    ledger_close(ledger);
    free(state);
    return status;
}

const struct cli_command cli_quarantine = {
    .name = "quarantine",
    .usage = "quarantine list [BATCH...] | show IMAGE...",
    .summary = "show what is held for a human, and why",
    .help =
        "An image that a stage would not pass is held: its original stays where it is, and no\n"
        "later stage has seen it.\n"
        "\n"
        "  list           how many are held in each batch, by which stage and why\n"
        "  list BATCH     the images of a batch that are held\n"
        "  show IMAGE     one of them: stage, reason, and the labels that it had earned\n"
        "\n"
        "Batches and images are named by ids that are safe to show. With --paths the originals\n"
        "are named, too: names of files may identify patients.",
    .examples = "sendit quarantine list\tall of it, counted\n"
                "sendit quarantine list b3 --paths\tthe originals of one batch\n"
                "sendit quarantine show b3-000001\tone image",
    .takes = CLI_PATHS,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
