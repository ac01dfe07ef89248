/* SPDX-License-Identifier: Apache-2.0 */
/* sendit quarantine: what is held for a human, and why. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "cli/table.h"
#include "ledger/ledger.h"
#include "base/near.h"

struct view {
    const struct cli *cli;
    struct ledger *ledger;
    const char *batch; /* in hand */
    struct table table;
    json_t *array;
    unsigned long long n;       /* images */
    uint64_t dropped;           /* of them */
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
    if (view->broken || ledger_dropped(view->ledger, NULL, &view->dropped, view->err))
        result = -1;
    if (!result && !view->cli->json && !view->n)
        puts("nothing is held");
    else if (!result && !view->cli->json) {
        table_print(&view->table, stdout);
        printf("\n%s %s held", cli_number(view->n, number),
               view->n == 1 ? "image is" : "images are");
        if (view->dropped)
            printf(", of which %s dropped", cli_number(view->dropped, number));
        puts(". More: sendit quarantine list BATCH");
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
                          json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:o*}", "image", item->id,
                                    "batch", item->batch, "stage", text_of(item->stage), "code",
                                    text_of(item->code), "text", text_of(item->text), "dropped",
                                    item->dropped, "path",
                                    view->cli->paths ? cli_json_text(item->path) : NULL),
                          &view->failed);
    table_add(&view->table, item->id);
    table_add(&view->table, item->stage);
    table_add(&view->table, item->code);
    table_addf(&view->table, "%s%s", item->dropped ? "DROPPED: " : "", text_of(item->text));
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

static int print_decision(void *ctx, const struct ledger_decision *decision)
{
    char time[32];

    (void)ctx;
    printf("%-10s%s by ", decision->dropped ? "dropped" : "released",
           cli_time(decision->at_ms, time));
    table_print_safe(decision->user, stdout);
    printf(" (%s, %s)%s%s%s\n", decision->stage, decision->code,
           *decision->vouched ? ", who vouched for " : "", decision->vouched,
           decision->applies ? "" : "; the file changed since, and this does not hold any more");
    print_field("because", decision->because);
    return 0;
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
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:o, s:o*}", "image",
                      item->id, "batch", item->batch, "state", state, "stage", text_of(item->stage),
                      "code", text_of(item->code), "text", text_of(item->text), "labels",
                      text_of(item->labels), "dropped", item->dropped, "size",
                      (json_int_t)item->size, "tries", (json_int_t)item->attempt, "decided_ms",
                      (json_int_t)item->decided_ms, "decisions",
                      cli_decisions(view->ledger, item->id, view->err), "path",
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
    view->broken = ledger_decisions(view->ledger, item->id, print_decision, view, view->err) != 0;
    return 0;
}

static int show_items(struct view *view)
{
    for (int i = 1; i < view->cli->n_args; i++) {
        view->found = false;
        if (i > 1 && !view->cli->json)
            putchar('\n');
        if (ledger_item_get(view->ledger, view->cli->args[i], show_item, view, view->err) < 0 ||
            view->broken)
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
    bool show = !strcmp(cli->args[0], "show"), drop = !strcmp(cli->args[0], "drop");
    int found, status = 0;

    if (drop || !strcmp(cli->args[0], "release"))
        return cli_decide(cli, drop);
    if (!show && strcmp(cli->args[0], "list")) {
        struct near near;
        char hint[128];

        near_start(&near, cli->args[0]);
        near_try(&near, "list");
        near_try(&near, "show");
        near_try(&near, "release");
        near_try(&near, "drop");
        return cli_usage(cli, "quarantine takes list, show, release or drop, not \"%.60s\"%s",
                         cli->args[0], near_hint(&near, hint, sizeof(hint)));
    }
    if (cli->because || cli->n_vouches)
        return cli_usage(cli, "quarantine %s takes no --%s: it decides nothing", cli->args[0],
                         cli->because ? "because" : "vouch");
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
    .usage = "quarantine list [BATCH...] | show|release|drop IMAGE...",
    .summary = "show what is held for a human, and decide about it",
    .help =
        "An image that a stage would not pass is held: its original stays where it is, and no\n"
        "later stage has seen it.\n"
        "\n"
        "  list           how many are held in each batch, by which stage and why\n"
        "  list BATCH     the images of a batch that are held\n"
        "  show IMAGE     one of them: stage, reason, the labels that it had earned, and what\n"
        "                 was decided about it\n"
        "  release IMAGE  take it again, past the stage that held it; needs --because\n"
        "  drop IMAGE     leave it in quarantine for good; needs --because\n"
        "\n"
        "A released image goes through all stages anew but for the one that held it, and so does\n"
        "not have the labels of that stage: where the policy or a later stage asks for one, it is\n"
        "held again. With --vouch you answer for a label in place of the stage. Nobody can vouch\n"
        "for ids.replaced, deid.header and deid.verified: what an anonymizer held does not reach "
        "a\n"
        "store past it. What sendit itself held (stage core, or a code host.*) gets one more try;\n"
        "what was held for want of a label (host.label) can be given it by --vouch. Another stage\n"
        "may hold the image again; released again, it passes over both. If the file changes, no\n"
        "decision about it holds any more.\n"
        "\n"
        "The ledger keeps who decided, when and why: show and sendit log show it.\n"
        "\n"
        "Batches and images are named by ids that are safe to show. With --paths the originals\n"
        "are named, too: names of files may identify patients.",
    .examples = "sendit quarantine list\tall of it, counted\n"
                "sendit quarantine list b3 --paths\tthe originals of one batch\n"
                "sendit quarantine show b3-000001\tone image\n"
                "sendit quarantine release b3-000001 --vouch pixels.checked --because 'I looked at "
                "it'\tno text in its pixels\n"
                "sendit quarantine drop b3-000002 --because 'a photograph of a form'\tit goes "
                "nowhere",
    .takes = CLI_PATHS | CLI_BECAUSE | CLI_VOUCH,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
