/* SPDX-License-Identifier: Apache-2.0 */
/* sendit retry: take closed batches again, and say what differs from the run that closed them. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cli/table.h"
#include "ledger/ledger.h"
#include "run/held.h"
#include "run/run.h"

/* What would run now. */
struct now {
    const struct plan *plan;
    char *fingerprint; /* of the site key; "" without one */
    char *filters;     /* run_filters_folder() */
};

struct retrying {
    const struct cli *cli;
    struct ledger *ledger;
    struct now now;
    json_t *answers;
    json_t *differs;       /* of the batch in hand: {what, was, now} */
    bool failed;           /* no memory for the answer */
    uint64_t gone, stored; /* of the batch: originals that are not there, images stored */
    uint64_t position;     /* of the stage that is compared */
    struct err *err;
};

/* ---- what would run now ---- */

static int find_key(const struct plan *plan, struct now *now, struct err *err)
{
    struct identity_key key;
    char *path = NULL;
    bool by_default;
    struct stat st;

    if (run_key_path(plan, &path, &by_default, err))
        return -1;
    if (path && !(by_default && lstat(path, &st) && errno == ENOENT)) {
        if (identity_load(path, &key, err)) {
            free(path);
            return -1;
        }
        now->fingerprint = strdup(key.fingerprint);
        identity_wipe(&key);
    } else {
        now->fingerprint = strdup("");
    }
    free(path);
    return now->fingerprint ? 0 : err_set(err, ERR_PLACE, "no memory");
}

/* ---- what differs ---- */

static void add_difference(struct retrying *retrying, const char *what, const char *was,
                           const char *now)
{
    cli_append(retrying->differs,
               json_pack("{s:s, s:s, s:s}", "what", what, "was", was, "now", now),
               &retrying->failed);
}

static void compare(struct retrying *retrying, const char *what, const char *was, const char *now)
{
    if (strcmp(was, now) != 0)
        add_difference(retrying, what, *was ? was : "none", *now ? now : "none");
}

static const struct plan_stage *stage_at(const struct plan *plan, uint64_t position)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && !position--)
            return &plan->stages[i];
    return NULL;
}

/* "pixel-check 1.0.0 (51daefcef9c7)". */
static void name_stage(const char *id, const char *version, const char *digest, char text[200])
{
    snprintf(text, 200, "%.100s %.40s (%.12s)", id, version, digest);
}

static void compare_stages(struct retrying *retrying, const struct ledger_stage *was,
                           const struct plan_stage *now)
{
    char what[40], before[200] = "none", after[200] = "none";

    if (was && now && !strcmp(was->id, now->id) && !strcmp(was->digest, now->file->digest))
        return;
    snprintf(what, sizeof(what), "stage %llu", (unsigned long long)retrying->position);
    if (was)
        name_stage(was->id, was->version, was->digest, before);
    if (now)
        name_stage(now->id, now->plugin->version, now->file->digest, after);
    add_difference(retrying, what, before, after);
}

static int compare_run(void *ctx, const struct ledger_run *run)
{
    struct retrying *retrying = ctx;

    compare(retrying, "sendit", run->version, SENDIT_VERSION);
    compare(retrying, "pipeline and stages", run->pipeline_digest, retrying->now.plan->digest);
    compare(retrying, "site key", run->key_fingerprint, retrying->now.fingerprint);
    return 0;
}

static int compare_stage(void *ctx, const struct ledger_stage *was)
{
    struct retrying *retrying = ctx;
    const struct plan_stage *now = stage_at(retrying->now.plan, retrying->position++);
    char what[140], rules[DIGEST_HEX];

    compare_stages(retrying, was, now);
    if (now && !strcmp(was->id, now->id)) {
        run_rules(retrying->now.plan, now, retrying->now.filters, rules);
        snprintf(what, sizeof(what), "profile and recipes of %.100s", now->id);
        compare(retrying, what, was->rules, rules);
    }
    return retrying->failed;
}

static int find_differences(struct retrying *retrying, const char *batch)
{
    const struct plan_stage *more;

    retrying->position = 0;
    if (ledger_run_of(retrying->ledger, batch, compare_run, compare_stage, retrying,
                      retrying->err) < 0)
        return -1;
    while ((more = stage_at(retrying->now.plan, retrying->position++)))
        compare_stages(retrying, NULL, more);
    return 0;
}

/* ---- one batch ---- */

/* What is stored can be made again only from its original, which `when_done` may have moved. */
static int stays(void *ctx, const struct ledger_item *item)
{
    struct retrying *retrying = ctx;
    struct stat st;

    if (item->state == ITEM_FAILED)
        return 0;
    if (lstat(item->path, &st) && (errno == ENOENT || errno == ENOTDIR)) {
        retrying->gone++;
        return 1;
    }
    retrying->stored += item->state == ITEM_STORED;
    return 0;
}

/* Its images are through: what is left is not done by taking them again. */
static int refuse_later(struct retrying *retrying, const char *id)
{
    return err_set(retrying->err, ERR_USAGE,
                   "batch %s is in DONEPROCESSING: the next sendit run settles what is left of it, "
                   "and it can be taken again then; for whom it waits: sendit status",
                   id);
}

static int check_batch(struct retrying *retrying, const char *id, struct ledger_batch *ret_batch)
{
    int result = ledger_batch_get(retrying->ledger, id, ret_batch, retrying->err);

    if (result)
        return result < 0 ? -1
                          : err_set(retrying->err, ERR_USAGE, "there is no batch \"%.60s\"", id);
    if (ret_batch->state == BATCH_QUEUE || ret_batch->state == BATCH_PROCESSING)
        return err_set(retrying->err, ERR_USAGE,
                       "batch %s is in %s: the next sendit run takes it as it is", id,
                       ledger_batch_word((enum ledger_batch_state)ret_batch->state));
    if (ret_batch->state == BATCH_DONEPROCESSING)
        return refuse_later(retrying, id);
    return 0;
}

static int keep(struct retrying *retrying, const char *id, uint64_t n)
{
    char user[64], *text;
    json_t *object;
    int result;

    cli_user(user, sizeof(user));
    object = json_pack("{s:s, s:I, s:b, s:s, s:O}", "batch", id, "images", (json_int_t)n, "all",
                       retrying->cli->all, "user", user, "differs", retrying->differs);
    text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    result = text ? ledger_audit(retrying->ledger, "core", "batch.retried", text, retrying->err)
                  : err_set(retrying->err, ERR_PLACE, "no memory");
    free(text);
    json_decref(object);
    return result ? result
                  : ledger_message(retrying->ledger, id, "", LOG_INFO, "core", "batch.retried",
                                   "Taken again by sendit retry: it waits for the next run.",
                                   retrying->err);
}

static int add_answer(struct retrying *retrying, const char *id, uint64_t n)
{
    cli_append(retrying->answers,
               json_pack("{s:s, s:I, s:I, s:I, s:O}", "batch", id, "images", (json_int_t)n,
                         "stored", (json_int_t)retrying->stored, "originals_gone",
                         (json_int_t)retrying->gone, "differs", retrying->differs),
               &retrying->failed);
    return retrying->failed ? err_set(retrying->err, ERR_PLACE, "no memory") : 0;
}

static int retry_batch(struct retrying *retrying, const char *id)
{
    struct ledger_batch batch = {0};
    uint64_t n = 0;
    int result = check_batch(retrying, id, &batch);
    bool all = retrying->cli->all || batch.state != BATCH_ERROR;

    retrying->gone = retrying->stored = 0;
    retrying->differs = json_array();
    if (!result && !retrying->differs)
        result = err_set(retrying->err, ERR_PLACE, "no memory");
    if (!result)
        result = run_unmark(&batch, retrying->err);
    if (!result)
        result = find_differences(retrying, id);
    if (!result)
        result = ledger_again(retrying->ledger, id, all, stays, retrying, &n, retrying->err);
    if (!result && n)
        result = keep(retrying, id, n);
    if (!result)
        result = add_answer(retrying, id, n);
    json_decref(retrying->differs);
    retrying->differs = NULL;
    ledger_batch_fini(&batch);
    return result;
}

/* ---- the answer ---- */

static unsigned long long number(const json_t *answer, const char *name)
{
    return (unsigned long long)json_integer_value(json_object_get(answer, name));
}

/* A digest is cut: the first digits tell one from another. */
static void add_value(struct table *table, const json_t *one, const char *name)
{
    const char *text = json_string_value(json_object_get(one, name));

    table_addf(table, "%.*s", strlen(text) == DIGEST_HEX - 1 ? 12 : 200, text);
}

static void print_differences(const json_t *differs)
{
    static const char *const heads[] = {"differs", "then", "now", NULL};
    struct table table;

    table_init(&table, heads);
    for (size_t i = 0; i < json_array_size(differs); i++) {
        const json_t *one = json_array_get(differs, i);

        table_add(&table, json_string_value(json_object_get(one, "what")));
        add_value(&table, one, "was");
        add_value(&table, one, "now");
    }
    table_print(&table, stdout);
    table_fini(&table);
}

static void print_batch(const json_t *answer)
{
    const char *id = json_string_value(json_object_get(answer, "batch"));
    const json_t *differs = json_object_get(answer, "differs");
    unsigned long long n = number(answer, "images"), gone = number(answer, "originals_gone");
    char text[32];

    if (n)
        printf("batch %s: %s %s again\n", id, cli_number(n, text),
               n == 1 ? "image waits" : "images wait");
    else
        printf("batch %s: there is nothing that could be taken again\n", id);
    if (gone)
        printf("%s %s as %s: %s not there any more\n", cli_number(gone, text),
               gone == 1 ? "image stays" : "images stay", gone == 1 ? "it is" : "they are",
               gone == 1 ? "its original is" : "their originals are");
    if (n && json_array_size(differs))
        print_differences(differs);
    else if (n)
        puts("nothing differs from the run that closed it: the same will come of it");
}

/* A store that would hold an image because it has another content under that name. */
static const struct plan_stage *holding_store(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_value *value = plan->stages[i].enabled && plan->stages[i].egress
                                             ? plan_value(&plan->stages[i], "on_conflict")
                                             : NULL;

        if (value && value->text && strcmp(value->text, "replace") != 0)
            return &plan->stages[i];
    }
    return NULL;
}

static void print_answers(const struct retrying *retrying)
{
    const struct plan_stage *store = holding_store(retrying->now.plan);
    unsigned long long stored = 0, n = 0;

    for (size_t i = 0; i < json_array_size(retrying->answers); i++) {
        const json_t *answer = json_array_get(retrying->answers, i);

        print_batch(answer);
        stored += number(answer, "stored");
        n += number(answer, "images");
    }
    if (stored && store)
        printf("What is in a store already stays there unless its content is the same or is to be "
               "replaced:\n  sendit run --set %s.on_conflict=replace\n",
               store->id);
    if (n)
        puts("The next sendit run takes what waits.");
}

/* ---- the command ---- */

static int answer(struct retrying *retrying)
{
    const struct cli *cli = retrying->cli;

    /* All of them or none. */
    for (int i = 0; i < cli->n_args; i++)
        if (retry_batch(retrying, cli->args[i]))
            return -1;
    if (ledger_commit(retrying->ledger, retrying->err))
        return -1;
    for (int i = 0; i < cli->n_args; i++) /* what begins at its original again rests no more */
        if (held_clean(retrying->ledger, retrying->now.plan->state, cli->args[i], retrying->err))
            return -1;
    if (cli->json)
        return cli_answer(json_incref(retrying->answers)) ? -1 : 0;
    print_answers(retrying);
    return 0;
}

static int run(const struct cli *cli)
{
    struct err err = {.code = ERR_PLACE, .text = "no memory"};
    struct retrying retrying = {.cli = cli, .answers = json_array(), .err = &err};
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    char *state = NULL;
    int status = 0, result = retrying.answers ? 0 : -1;

    if (!result)
        result = cli_build(cli, NULL, 0, &loader, &plan, &err);
    if (!result) /* what sendit run would refuse takes no batch again */
        result = run_check(plan, 0, &err);
    retrying.now.plan = plan;
    if (!result)
        result = find_key(plan, &retrying.now, &err);
    if (!result && !(retrying.now.filters = run_filters_folder()))
        result = err_set(&err, ERR_PLACE, "no memory");
    if (!result)
        result = cli_ledger_write(cli, &state, &retrying.ledger, &err);
    if (!result)
        result = answer(&retrying);
    if (result < 0)
        status = cli_error(cli, &err);
    ledger_close(retrying.ledger);
    json_decref(retrying.answers);
    free(retrying.now.fingerprint);
    free(retrying.now.filters);
    free(state);
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_retry = {
    .name = "retry",
    .usage = "retry BATCH...",
    .summary = "take batches again that are closed",
    .help =
        "Another profile, recipe, key or stage never does old batches again by itself; this does.\n"
        "Of a batch in ERROR what failed is put back into the queue; of any other, or with --all,\n"
        "everything that was stored, checked, quarantined or failed. What was ignored or dropped\n"
        "stays as it is, and so does an image whose original is not there any more. The next\n"
        "sendit run takes what waits.\n"
        "\n"
        "Says what differs between the run that closed the batch and now: sendit, pipeline, site\n"
        "key, stages, profiles and recipes. An image that comes out as before is stored as it was. "
        "One that\n"
        "comes out otherwise meets its former self in the store, where on_conflict decides:\n"
        "file-store holds it, unless it may replace what is there:\n"
        "\n"
        "  sendit run --set file-store.on_conflict=replace\n"
        "\n"
        "A batch that rests at a hold entry is taken from its originals, too, as far as they are\n"
        "there; what failed behind one goes on behind it.\n"
        "\n"
        "Images that were released from quarantine keep what was decided about them.",
    .examples = "sendit retry b3\tone batch, after what failed was mended\n"
                "sendit retry b3 b4 --all\tall of two batches, under a new profile",
    .takes = CLI_ALL,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
