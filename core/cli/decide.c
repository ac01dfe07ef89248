/* SPDX-License-Identifier: Apache-2.0 */
/* sendit quarantine release and drop: what a person decides about images that are held. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "cli/table.h"
#include "ledger/ledger.h"
#include "base/near.h"
#include "run/run.h"

#define MAX_BECAUSE 500 /* bytes */

struct deciding {
    const struct cli *cli;
    bool drop;
    char user[64];
    char *vouched; /* the labels, separated by blanks, each once; or NULL */
    struct ledger *ledger;
    struct plan *plan; /* only if there is something to vouch for */
    json_t *answers;
    struct err *err;
};

/* An image as it is held. */
struct held {
    bool found, dropped;
    int state;
    char batch[SENDIT_ID_SIZE];
    char *stage, *code, *labels;
};

/* ---- what was decided ---- */

struct gathered {
    json_t *array;
    bool failed;
};

static int add_decision(void *ctx, const struct ledger_decision *decision)
{
    struct gathered *gathered = ctx;

    return cli_append(
        gathered->array,
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:b}", "image", decision->item,
                  "decision", decision->dropped ? "dropped" : "released", "time_ms",
                  (json_int_t)decision->at_ms, "stage", decision->stage, "code", decision->code,
                  "vouched", decision->vouched, "because", decision->because, "user",
                  decision->user, "applies", decision->applies),
        &gathered->failed);
}

json_t *cli_decisions(struct ledger *ledger, const char *id, struct err *err)
{
    struct gathered gathered = {.array = json_array()};

    if (gathered.array && !ledger_decisions(ledger, id, add_decision, &gathered, err) &&
        !gathered.failed)
        return gathered.array;
    json_decref(gathered.array);
    return NULL;
}

/* ---- the command line ---- */

/* A sentence that can be kept and shown: UTF-8 with something in it, no control characters. */
static bool is_sentence(const char *text)
{
    json_t *utf8 = json_string(text);
    bool good = utf8 && strlen(text) <= MAX_BECAUSE, blank = true;

    json_decref(utf8);
    for (const char *p = text; *p; p++) {
        good = good && !iscntrl((unsigned char)*p);
        blank = blank && isspace((unsigned char)*p);
    }
    return good && !blank;
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = words; *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");

        if (len == n && !strncmp(at, word, n))
            return true;
        at += len;
    }
    return false;
}

static int take_vouches(struct deciding *deciding)
{
    const struct cli *cli = deciding->cli;
    struct buf buf = {0};

    buf_str(&buf, "");
    for (size_t i = 0; i < cli->n_vouches && !buf.failed; i++) {
        const char *label = cli->vouches[i];

        if (label[strcspn(label, " ")]) {
            buf_fini(&buf);
            return cli_usage(cli, "--vouch takes one label; several stand each behind a --vouch");
        }
        if (has_word(RUN_FROM_STAGES, label)) {
            buf_fini(&buf);
            return cli_usage(cli,
                             "%s comes from stages alone: nobody can vouch for it; mend what held "
                             "the image, then retry",
                             label);
        }
        if (!has_word(buf.data, label))
            buf_printf(&buf, "%s%s", buf.len ? " " : "", label);
    }
    deciding->vouched = buf_take(&buf);
    return deciding->vouched ? 0 : err_set(deciding->err, ERR_PLACE, "no memory");
}

/* 0, ERR_USAGE after it was said, or -1. */
static int check_line(struct deciding *deciding)
{
    const struct cli *cli = deciding->cli;
    const char *verb = cli->args[0];

    if (cli->n_args < 2)
        return cli_usage(cli,
                         "quarantine %s needs the id of an image; quarantine list BATCH has "
                         "them",
                         verb);
    if (!cli->because)
        return cli_usage(cli, "quarantine %s needs --because TEXT: the ledger keeps why", verb);
    if (!is_sentence(cli->because))
        return cli_usage(cli,
                         "--because takes a sentence of up to %d bytes, in UTF-8 and on one line",
                         MAX_BECAUSE);
    if (deciding->drop && cli->n_vouches)
        return cli_usage(cli, "quarantine drop takes no --vouch: what is dropped goes nowhere");
    return take_vouches(deciding);
}

/* ---- one image ---- */

static int note_held(void *ctx, const struct ledger_item *item)
{
    struct held *held = ctx;

    held->found = true;
    held->dropped = item->dropped;
    held->state = item->state;
    snprintf(held->batch, sizeof(held->batch), "%s", item->batch);
    held->stage = strdup(item->stage);
    held->code = strdup(item->code);
    held->labels = strdup(item->labels);
    return 0;
}

static void held_fini(struct held *held)
{
    free(held->stage);
    free(held->code);
    free(held->labels);
}

static int find_held(struct deciding *deciding, const char *image, struct held *ret_held)
{
    struct err *err = deciding->err;

    if (ledger_item_get(deciding->ledger, image, note_held, ret_held, err) < 0)
        return -1;
    if (!ret_held->found)
        return err_set(err, ERR_USAGE, "there is no image \"%.60s\"", image);
    if (!ret_held->stage || !ret_held->code || !ret_held->labels)
        return err_set(err, ERR_PLACE, "no memory");
    if (ret_held->dropped)
        return err_set(err, ERR_USAGE, "image %s was dropped: that is for good", image);
    if (ret_held->state != ITEM_QUARANTINED)
        return err_set(err, ERR_USAGE, "image %s is not in quarantine: it is %s", image,
                       ledger_item_word((enum ledger_item_state)ret_held->state));
    return 0;
}

static const struct plan_stage *stage_of(const struct plan *plan, const char *id)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && !strcmp(plan->stages[i].id, id))
            return &plan->stages[i];
    return NULL;
}

/* The first label of `mask` that is not in `allowed`, and the one of these that is meant. */
static int refuse_label(struct deciding *deciding, const struct held *held, const char *image,
                        uint64_t mask, uint64_t allowed)
{
    const struct plan *plan = deciding->plan;
    const char *label = "";
    struct near near;
    char hint[128];

    for (size_t i = plan->n_labels; i-- > 0;)
        if (mask & ~allowed & (UINT64_C(1) << i))
            label = plan->labels[i];
    near_start(&near, label);
    for (size_t i = 0; i < plan->n_labels; i++)
        if (allowed & (UINT64_C(1) << i))
            near_try(&near, plan->labels[i]);
    near_hint(&near, hint, sizeof(hint));
    if (run_is_cores(held->stage, held->code))
        return err_set(deciding->err, ERR_USAGE,
                       "stage \"%s\" did not hold image %s for want of \"%.60s\"%s", held->stage,
                       image, label, hint);
    return err_set(deciding->err, ERR_USAGE,
                   "stage \"%s\", which held image %s, does not grant \"%.60s\"%s", held->stage,
                   image, label, hint);
}

/* A person answers for what the stage would have granted or, where a stage was not reached for
 * want of a label, for that label. */
static int check_vouched(struct deciding *deciding, const struct held *held, const char *image)
{
    const struct plan_stage *stage;
    uint64_t mask, had, alone, allowed;

    if (!*deciding->vouched)
        return 0;
    stage = stage_of(deciding->plan, held->stage);
    if (run_is_cores(held->stage, held->code) && strcmp(held->code, "host.label"))
        return err_set(deciding->err, ERR_USAGE,
                       "image %s was held by sendit itself (%s) and gets one more try: no label "
                       "can be vouched for",
                       image, held->code);
    if (!stage)
        return err_set(deciding->err, ERR_USAGE,
                       "stage \"%s\", which held image %s, is not enabled in the pipeline: no "
                       "label can be vouched for in its place",
                       held->stage, image);
    if (plan_labels(deciding->plan, deciding->vouched, &mask) ||
        plan_labels(deciding->plan, held->labels, &had) ||
        plan_labels(deciding->plan, RUN_FROM_STAGES, &alone))
        return err_set(deciding->err, ERR_USAGE, "there are more labels than a pipeline can have");
    allowed =
        (run_is_cores(held->stage, held->code) ? stage->needs & ~had : stage->grants) & ~alone;
    return mask & ~allowed ? refuse_label(deciding, held, image, mask, allowed) : 0;
}

/* ---- keeping it ---- */

static int keep_audit(struct deciding *deciding, const struct held *held, const char *image)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "image", image, "stage",
                               held->stage, "code", held->code, "vouched", deciding->vouched,
                               "because", deciding->cli->because, "user", deciding->user);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    int result = text ? ledger_audit(deciding->ledger, "core",
                                     deciding->drop ? "quarantine.dropped" : "quarantine.released",
                                     text, deciding->err)
                      : err_set(deciding->err, ERR_PLACE, "no memory");

    free(text);
    json_decref(object);
    return result;
}

static int put_back_name(struct deciding *deciding, const char *id)
{
    struct ledger_batch batch;
    int result = ledger_batch_get(deciding->ledger, id, &batch, deciding->err);

    if (result)
        return -1;
    result = run_unmark(&batch, deciding->err);
    ledger_batch_fini(&batch);
    return result;
}

static int keep(struct deciding *deciding, const struct held *held, const char *image)
{
    const struct ledger_decision decision = {.item = image,
                                             .dropped = deciding->drop,
                                             .vouched = deciding->vouched,
                                             .because = deciding->cli->because,
                                             .user = deciding->user};

    if (ledger_decide(deciding->ledger, &decision, deciding->err) ||
        keep_audit(deciding, held, image) ||
        (!deciding->drop && put_back_name(deciding, held->batch)))
        return -1;
    return ledger_message(deciding->ledger, held->batch, image, LOG_INFO, "core",
                          deciding->drop ? "quarantine.dropped" : "quarantine.released",
                          deciding->drop ? "Dropped from quarantine, for good."
                                         : "Released from quarantine: it waits for the next run.",
                          deciding->err);
}

static int add_answer(struct deciding *deciding, const struct held *held, const char *image)
{
    bool cores = run_is_cores(held->stage, held->code), failed = false;

    if (cli_append(deciding->answers,
                   json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "image", image, "batch",
                             held->batch, "decision", deciding->drop ? "dropped" : "released",
                             "stage", held->stage, "code", held->code, "vouched", deciding->vouched,
                             "passes_over", !deciding->drop && !cores),
                   &failed))
        return err_set(deciding->err, ERR_PLACE, "no memory");
    return 0;
}

static const char *member(const json_t *answer, const char *name)
{
    return json_string_value(json_object_get(answer, name));
}

static void print_answers(const struct deciding *deciding)
{
    for (size_t i = 0; i < json_array_size(deciding->answers); i++) {
        const json_t *answer = json_array_get(deciding->answers, i);
        const char *image = member(answer, "image"), *vouched = deciding->vouched;

        if (deciding->drop)
            printf("%s is dropped: it stays in quarantine for good\n", image);
        else if (json_is_true(json_object_get(answer, "passes_over")))
            printf("%s waits again and passes over %s, %s%s\n", image, member(answer, "stage"),
                   *vouched ? "with " : "without a label of it", vouched);
        else
            printf("%s waits again and gets one more try%s%s\n", image, *vouched ? ", with " : "",
                   vouched);
    }
    if (!deciding->drop)
        puts("The next sendit run takes what waits.");
}

static int decide_one(struct deciding *deciding, const char *image)
{
    struct held held = {0};
    int result = find_held(deciding, image, &held);

    if (!result)
        result = check_vouched(deciding, &held, image);
    if (!result)
        result = keep(deciding, &held, image);
    if (!result)
        result = add_answer(deciding, &held, image);
    held_fini(&held);
    return result;
}

/* ---- the command ---- */

/* All of them or none. */
static int decide_all(struct deciding *deciding)
{
    const struct cli *cli = deciding->cli;

    for (int i = 1; i < cli->n_args; i++)
        if (decide_one(deciding, cli->args[i]))
            return -1;
    return ledger_commit(deciding->ledger, deciding->err);
}

static int answer(struct deciding *deciding)
{
    const struct cli *cli = deciding->cli;
    struct loader *loader = NULL;
    char *state = NULL;
    int result = 0;

    if (*deciding->vouched)
        result = cli_build(cli, NULL, 0, &loader, &deciding->plan, deciding->err);
    if (!result)
        result = cli_ledger_write(cli, &state, &deciding->ledger, deciding->err);
    if (!result)
        result = decide_all(deciding);
    if (!result && cli->json)
        result = cli_answer(json_incref(deciding->answers)) ? -1 : 0;
    else if (!result)
        print_answers(deciding);
    ledger_close(deciding->ledger);
    plan_free(deciding->plan);
    loader_free(loader);
    free(state);
    return result;
}

int cli_decide(const struct cli *cli, bool drop)
{
    struct err err = {.code = ERR_PLACE, .text = "no memory"};
    struct deciding deciding = {.cli = cli, .drop = drop, .err = &err, .answers = json_array()};
    int status = deciding.answers ? check_line(&deciding) : -1;

    cli_user(deciding.user, sizeof(deciding.user));
    if (status < 0 || (!status && answer(&deciding) < 0))
        status = cli_error(cli, &err);
    json_decref(deciding.answers);
    free(deciding.vouched);
    return status;
}
