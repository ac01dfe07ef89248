/* SPDX-License-Identifier: Apache-2.0 */
/* sendit log: what was said about a batch. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/table.h"
#include "ledger/ledger.h"

/* One answer, as a table or as JSON. */
struct view {
    const struct cli *cli;
    struct ledger *ledger;
    struct table table;
    json_t *array;
    bool failed; /* no memory for the answer */
};

static const char *level_word(int level)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};

    return level >= LOG_DEBUG && level <= LOG_ERROR ? words[level] : "error";
}

static int add_message(void *ctx, const struct ledger_message *message)
{
    struct view *view = ctx;
    char time[32];

    if (view->cli->json)
        return cli_append(view->array,
                          json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "time_ms",
                                    (json_int_t)message->at_ms, "level", level_word(message->level),
                                    "batch", message->batch, "image",
                                    message->item ? message->item : "", "stage",
                                    message->stage ? message->stage : "", "code", message->code,
                                    "text", message->text, "times", (json_int_t)message->times),
                          &view->failed);
    table_add(&view->table, cli_time(message->at_ms, time));
    table_add(&view->table, level_word(message->level));
    table_add(&view->table, message->batch);
    table_add(&view->table, message->stage);
    table_add(&view->table, message->code);
    table_add_number(&view->table, message->times);
    table_add(&view->table, message->text);
    return 0;
}

static int show_messages(struct view *view, const char *batch, struct err *err)
{
    static const char *const heads[] = {"time",   "level",  "batch", "stage",
                                        "reason", ">times", "",      NULL};
    int result;

    table_init(&view->table, heads);
    result = ledger_messages(view->ledger, batch, add_message, view, err);
    if (!result && !view->cli->json && view->table.n_cells)
        table_print(&view->table, stdout);
    else if (!result && !view->cli->json)
        puts(batch ? "nothing was said about this batch"
                   : "no batch is in ERROR; for another one: sendit log BATCH");
    table_fini(&view->table);
    return result;
}

static int add_item(void *ctx, const struct ledger_item *item)
{
    struct view *view = ctx;
    const char *path = view->cli->paths ? item->path : NULL;

    if (item->state == ITEM_STORED || item->state == ITEM_CHECKED)
        return 0;
    if (view->cli->json)
        return cli_append(
            view->array,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:o*}", "image", item->id, "state",
                      ledger_item_word((enum ledger_item_state)item->state), "stage",
                      item->stage ? item->stage : "", "code", item->code ? item->code : "", "text",
                      item->text ? item->text : "", "path", path ? cli_json_text(path) : NULL),
            &view->failed);
    table_add(&view->table, item->id);
    table_add(&view->table, ledger_item_word((enum ledger_item_state)item->state));
    table_add(&view->table, item->stage);
    table_add(&view->table, item->code);
    if (view->cli->paths)
        table_add(&view->table, item->path);
    return 0;
}

static int show_items(struct view *view, const char *batch, struct err *err)
{
    static const char *const heads[] = {"image", "state", "stage", "reason", NULL, NULL};
    static const char *const with_paths[] = {"image", "state", "stage", "reason", "path", NULL};
    int result;

    table_init(&view->table, view->cli->paths ? with_paths : heads);
    result = ledger_items(view->ledger, batch, 0, add_item, view, err);
    if (!result && !view->cli->json && view->table.n_cells) {
        putchar('\n');
        table_print(&view->table, stdout);
    }
    table_fini(&view->table);
    return result;
}

static int add_decision(void *ctx, const struct ledger_decision *decision)
{
    struct view *view = ctx;
    char time[32];

    table_add(&view->table, cli_time(decision->at_ms, time));
    table_add(&view->table, decision->item);
    table_add(&view->table, decision->dropped   ? "dropped"
                            : decision->applies ? "released"
                                                : "released, the file changed since");
    table_add(&view->table, decision->stage);
    table_add(&view->table, decision->code);
    table_add(&view->table, decision->vouched);
    table_add(&view->table, decision->user);
    table_add(&view->table, decision->because);
    return 0;
}

static int show_decisions(struct view *view, const char *batch, struct err *err)
{
    static const char *const heads[] = {"decided", "image", "",        "stage", "reason",
                                        "vouched", "by",    "because", NULL};
    int result;

    table_init(&view->table, heads);
    result = ledger_decisions(view->ledger, batch, add_decision, view, err);
    if (!result && view->table.n_cells) {
        putchar('\n');
        table_print(&view->table, stdout);
    }
    table_fini(&view->table);
    return result;
}

/* 0, or -1 with the sentence if there is no such batch. */
static int find_batch(struct ledger *ledger, const char *id, struct err *err)
{
    struct ledger_batch batch = {0};
    int result = ledger_batch_get(ledger, id, &batch, err);

    if (!result)
        ledger_batch_fini(&batch);
    return result == 1 ? err_set(err, ERR_USAGE, "there is no batch \"%.60s\"", id) : result;
}

static int answer_json(struct ledger *ledger, const char *batch, json_t *messages, json_t *items,
                       struct err *err)
{
    json_t *decisions = batch ? cli_decisions(ledger, batch, err) : json_array();

    return cli_answer(json_pack("{s:O, s:O, s:o}", "messages", messages, "images", items,
                                "decisions", decisions));
}

static int show(const struct cli *cli, struct ledger *ledger, struct err *err)
{
    struct view view = {.cli = cli, .ledger = ledger};
    const char *batch = cli->n_args ? cli->args[0] : NULL;
    json_t *messages = json_array(), *items = json_array();
    int result = -1;

    if (batch && find_batch(ledger, batch, err))
        goto out;
    view.array = messages;
    if (show_messages(&view, batch, err))
        goto out;
    view.array = items;
    if (batch && show_items(&view, batch, err))
        goto out;
    if (batch && !cli->json && show_decisions(&view, batch, err))
        goto out;
    result = 0;
    if (view.failed || (cli->json && answer_json(ledger, batch, messages, items, err)))
        result = err_set(err, ERR_PLACE, "no memory");
out:
    json_decref(messages);
    json_decref(items);
    return result;
}

static int run(const struct cli *cli)
{
    struct ledger *ledger = NULL;
    struct err err = {0};
    char *state = NULL;
    int found = cli_ledger(cli, &state, &ledger, &err), status = 0;

    if (found < 0 || (!found && show(cli, ledger, &err)))
        status = cli_error(cli, &err);
    ledger_close(ledger);
    free(state);
    return status;
}

const struct cli_command cli_log = {
    .name = "log",
    .usage = "log [BATCH]",
    .summary = "show what was said about a batch",
    .help =
        "Shows the messages of BATCH, every file of it that was not stored, with the reason, and\n"
        "what people decided about those in quarantine: sendit quarantine release, drop.\n"
        "Without BATCH: the messages of all batches that are in ERROR. Equal messages are "
        "counted,\n"
        "not repeated.\n"
        "\n"
        "Batches and images are named by ids that are safe to show. With --paths the files are\n"
        "named, too: names of files may identify patients.",
    .examples = "sendit log\twhat went wrong\n"
                "sendit log b3\tone batch\n"
                "sendit log b3 --paths\tand where its files are",
    .takes = CLI_PATHS,
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
