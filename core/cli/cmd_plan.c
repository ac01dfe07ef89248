/* SPDX-License-Identifier: Apache-2.0 */
/* sendit plan: what will run, who may do what, and why nothing identified can leave. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/stage_words.h"
#include "cli/table.h"
#include "run/run.h"

#define OURS 5 /* labels of the core come first in every plan */

/* ---- the key ---- */

/* The site key as it is now.  `path` NULL: no enabled stage needs one. */
struct key_state {
    char *path; /* owned */
    bool exists;
    char fingerprint[IDENTITY_FINGERPRINT];
};

static int find_key(const struct plan *plan, struct key_state *ret_key, struct err *err)
{
    struct identity_key *key;
    bool may_be_made;
    int result;

    memset(ret_key, 0, sizeof(*ret_key));
    if (run_key_path(plan, &ret_key->path, &may_be_made, err))
        return -1;
    if (!ret_key->path || (may_be_made && access(ret_key->path, F_OK)))
        return 0;
    key = malloc(sizeof(*key));
    if (!key)
        return err_set(err, ERR_PLACE, "no memory");
    result = identity_load(ret_key->path, key, err);
    if (!result) {
        ret_key->exists = true;
        memcpy(ret_key->fingerprint, key->fingerprint, sizeof(ret_key->fingerprint));
    }
    identity_wipe(key);
    free(key);
    return result;
}

/* ---- the table ---- */

static void add_labels(struct buf *buf, const struct plan *plan, uint64_t mask, const char *note)
{
    for (size_t i = 0; i < plan->n_labels; i++)
        if (mask >> i & 1)
            buf_printf(buf, "%s%s%s", buf->len ? "\n" : "", plan->labels[i], note);
}

/* Labels now, and those at finish, a line each. */
static void add_label_cell(struct table *table, const struct plan *plan, uint64_t now,
                           uint64_t at_finish)
{
    struct buf buf = {0};

    buf_str(&buf, "");
    add_labels(&buf, plan, now, "");
    add_labels(&buf, plan, at_finish, " (end)");
    table->failed = table->failed || buf.failed;
    table_add(table, buf.data);
    buf_fini(&buf);
}

static void add_hold(struct table *table, const struct plan_stage *stage)
{
    table_addf(table, strcmp(stage->id, stage->use) ? "%s\n(hold)" : "%s", stage->id);
    table_add(table, NULL);
    table_add(table, NULL);
    table_add(table, "lets images rest\nuntil sendit resume");
    table_add(table, "sendit's own");
}

static void add_stage(struct table *table, const struct plan *plan, const struct plan_stage *stage,
                      size_t number)
{
    char *does = words_of_flags(stage->plugin->flags | (stage->egress ? SENDIT_EGRESS : 0u));

    table_addf(table, "%zu", number);
    if (stage->hold) {
        add_hold(table, stage);
        free(does);
        return;
    }
    if (strcmp(stage->id, stage->use))
        table_addf(table, "%s\n(%s %s)", stage->id, stage->use, stage->plugin->version);
    else
        table_addf(table, "%s %s", stage->id, stage->plugin->version);
    add_label_cell(table, plan, stage->needs, stage->needs_at_finish);
    add_label_cell(table, plan, stage->grants, stage->grants_at_finish);
    table->failed = table->failed || !does;
    table_add(table, does);
    table_addf(table, "%s\n%.*s", stage->file->ships ? "ships" : "SITE", WORDS_DIGEST,
               stage->file->digest);
    free(does);
}

static void print_stages(const struct plan *plan, FILE *out)
{
    static const char *const heads[] = {"", "stage", "needs", "grants", "does", "file", NULL};
    struct table table;
    size_t number = 0;

    table_init(&table, heads);
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled)
            add_stage(&table, plan, &plan->stages[i], ++number);
    table_print(&table, out);
    table_fini(&table);
}

/* ---- below the table ---- */

/* "  network   text": the title on the first line of its kind only. */
static void say(FILE *out, const char **title, const char *text)
{
    fprintf(out, "%-10s", *title);
    table_print_safe(text, out);
    putc('\n', out);
    *title = "";
}

__attribute__((format(printf, 3, 4))) static void sayf(FILE *out, const char **title,
                                                       const char *text, ...)
{
    char said[1500];
    va_list ap;

    va_start(ap, text);
    vsnprintf(said, sizeof(said), text, ap);
    va_end(ap);
    say(out, title, said);
}

/* "a", "a and b", "a, b and c". */
static char *list_labels(const struct plan *plan, uint64_t mask)
{
    struct buf buf = {0};
    size_t left = 0;

    buf_str(&buf, "");
    for (size_t i = 0; i < plan->n_labels; i++)
        left += mask >> i & 1;
    for (size_t i = 0; i < plan->n_labels; i++)
        if (mask >> i & 1) {
            buf_str(&buf, plan->labels[i]);
            left--;
            buf_str(&buf, left > 1 ? ", " : left == 1 ? " and " : "");
        }
    return buf_take(&buf);
}

static bool has_url(const struct plan_stage *stage)
{
    for (uint32_t i = 0; i < stage->plugin->n_options; i++)
        if (stage->plugin->options[i].type == SENDIT_OPT_URL && stage->values[i].text)
            return true;
    return false;
}

static void print_urls(const struct plan_stage *stage, FILE *out, const char **title)
{
    for (uint32_t i = 0; i < stage->plugin->n_options; i++)
        if (stage->plugin->options[i].type == SENDIT_OPT_URL && stage->values[i].text)
            sayf(out, title, "%s talks to %s", stage->id, stage->values[i].text);
}

static void print_network(const struct plan *plan, FILE *out)
{
    const char *title = "network";
    bool any = false;

    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        if (!stage->enabled || !(stage->plugin->flags & SENDIT_NETWORK))
            continue;
        any = true;
        if (has_url(stage))
            print_urls(stage, out, &title);
        else
            sayf(out, &title, "%s talks to the hosts that it knows", stage->id);
        if (stage->plugin->flags & SENDIT_SENDS_PHI)
            sayf(out, &title, "%s SENDS PATIENTS' DATA there, by design", stage->id);
    }
    if (!any)
        say(out, &title, "no stage talks to it");
}

/* How far an image is de-identified when it comes to rest. */
static void print_rests(const struct plan *plan, FILE *out)
{
    const char *title = "rests";
    uint64_t have = 0;

    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];
        char *labels;

        if (!stage->enabled)
            continue;
        if (!stage->hold) {
            have = plan_labels_after(stage, have, stage->plugin->flags & SENDIT_MUTATES);
            continue;
        }
        labels = list_labels(plan, have);
        sayf(out, &title, "images rest at %s with %s%s", stage->id,
             labels && *labels ? labels : "no label",
             (plan->egress_needs & ~have) ? ", IDENTIFIED perhaps: they lack what the policy asks"
                                          : "");
        free(labels);
    }
}

/* What is sent there does not come to where the stage's name says. */
static void print_diverted(const struct plan *plan, FILE *out)
{
    const char *title = "diverted";

    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        for (uint32_t j = 0; stage->enabled && j < stage->plugin->n_options; j++) {
            const struct plan_value *value = &stage->values[j];
            const char *usual = value->option->default_value;

            if (plan_is_diverted(value))
                sayf(out, &title, "%s: \"%s\" leads to %s%s%s%s%s, FOR A TEST", stage->id,
                     value->option->name, value->text ? value->text : value->list[0],
                     value->variable ? " by the variable " : "",
                     value->variable ? value->variable : "", usual ? ", not to " : "",
                     usual ? usual : "");
        }
    }
}

static void print_vouched(const struct plan *plan, FILE *out)
{
    const char *title = "vouched";

    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];
        uint64_t ours = (stage->grants | stage->grants_at_finish) & ((1u << OURS) - 1);
        char *labels;

        if (!stage->enabled || stage->file->ships || !ours)
            continue;
        labels = list_labels(plan, ours);
        sayf(out, &title, "the site vouches that %s, which does not ship with sendit, grants %s",
             stage->id, labels ? labels : "?");
        free(labels);
    }
    if (*title)
        say(out, &title, "every label of sendit's own comes from a stage that ships");
}

static void print_allowed(const struct plan *plan, FILE *out)
{
    const char *title = "allowed";

    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];
        struct buf buf = {0};

        for (char **word = stage->allow; stage->enabled && word && *word; word++)
            buf_printf(&buf, "%s%s", buf.len ? ", " : "", *word);
        if (buf.len && !buf.failed)
            sayf(out, &title, "%s: %s", stage->id, buf.data);
        buf_fini(&buf);
    }
}

static void print_because(const struct plan *plan, FILE *out)
{
    const char *title = "because";

    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && plan->stages[i].because)
            sayf(out, &title, "%s: %s", plan->stages[i].id, plan->stages[i].because);
}

/* What a whitelist names passes, and nobody looks: the site shall see each LABEL of it. */
struct whitelist {
    FILE *out;
    const char *title, *stage;
};

static bool print_label(void *ctx, const struct sendit_match *label)
{
    struct whitelist *whitelist = ctx;

    sayf(whitelist->out, &whitelist->title, "%s lets pass what LABEL \"%s\" names",
         whitelist->stage, label->label);
    return true;
}

static void print_whitelists(const struct plan *plan, FILE *out)
{
    struct whitelist whitelist = {.out = out, .title = "whitelist"};
    char *filters = run_filters_folder();

    if (!filters)
        say(out, &whitelist.title, "no memory");
    for (size_t i = 0; filters && i < plan->n_stages; i++) {
        whitelist.stage = plan->stages[i].id;
        run_whitelist(plan, &plan->stages[i], filters, print_label, &whitelist);
    }
    free(filters);
}

struct warnings {
    FILE *out;
    const char *title;
};

static void print_warning(void *ctx, const char *sentence)
{
    struct warnings *warnings = ctx;

    say(warnings->out, &warnings->title, sentence);
}

static void print_warnings(const struct plan *plan, FILE *out)
{
    struct warnings warnings = {out, "warning"};

    plan_warn(plan, print_warning, &warnings);
}

static void print_hidden_and_off(const struct plan *plan, FILE *out)
{
    const char *title = "hidden";
    struct buf off = {0};

    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        if (stage->enabled && stage->file->hides)
            sayf(out, &title, "%s is the site's %s, not the one that ships", stage->id,
                 stage->file->path);
        if (!stage->enabled)
            buf_printf(&off, "%s%s", off.len ? ", " : "", stage->id);
    }
    title = "off";
    if (off.len && !off.failed)
        say(out, &title, off.data);
    buf_fini(&off);
}

static uint64_t default_policy(const struct plan *plan)
{
    uint64_t mask = 0;

    for (const char *const *label = plan_default_policy; *label; label++)
        for (size_t i = 0; i < plan->n_labels; i++)
            if (!strcmp(plan->labels[i], *label))
                mask |= UINT64_C(1) << i;
    return mask;
}

static void print_policy(const struct plan *plan, FILE *out)
{
    const char *title = "policy";
    char *needs = list_labels(plan, plan->egress_needs);
    char *lacks = list_labels(plan, default_policy(plan) & ~plan->egress_needs);

    if (plan->egress_needs)
        sayf(out, &title, "what leaves must have %s", needs ? needs : "?");
    else
        say(out, &title, "nothing is asked of what leaves");
    if (plan->lowered)
        sayf(out, &title, "LOWERED by the site: %s is not asked for", lacks ? lacks : "?");
    if (plan->because)
        sayf(out, &title, "because: %s", plan->because);
    free(needs);
    free(lacks);
}

static void print_places(const struct plan *plan, FILE *out)
{
    const char *title = "state";
    struct key_state key;
    struct err err;

    say(out, &title, plan->state);
    title = "key";
    if (find_key(plan, &key, &err))
        say(out, &title, err.text);
    else if (!key.path)
        say(out, &title, "no stage needs the site key");
    else if (key.exists)
        sayf(out, &title, "fingerprint %s", key.fingerprint);
    else
        say(out, &title, "will be made at first use");
    free(key.path);
}

/* ---- the sentence ---- */

/* "a", "a" and "b": the stages that hand images out. */
static char *list_stores(const struct plan *plan)
{
    struct buf buf = {0};

    buf_str(&buf, "");
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && plan->stages[i].egress)
            buf_printf(&buf, "%s%s", buf.len ? " or " : "", plan->stages[i].id);
    return buf_take(&buf);
}

static char *proof(const struct plan *plan)
{
    char *stores = list_stores(plan), *labels = list_labels(plan, plan->egress_needs);
    struct buf buf = {0};

    if (!stores || !labels)
        buf.failed = true;
    else if (!*stores)
        buf_str(&buf, "Proved: nothing leaves; images are only checked.");
    else if (!*labels)
        buf_printf(&buf, "NOTHING IS PROVED: the policy asks for no label of what reaches %s.",
                   stores);
    else
        buf_printf(&buf, "%s: no image reaches %s without %s.",
                   plan->lowered ? "Proved, under the lowered policy" : "Proved", stores, labels);
    free(stores);
    free(labels);
    return buf_take(&buf);
}

void cli_print_plan(const struct plan *plan, FILE *out)
{
    char *sentence = proof(plan);
    bool styled = out == stdout;

    print_stages(plan, out);
    putc('\n', out);
    print_network(plan, out);
    print_diverted(plan, out);
    print_rests(plan, out);
    print_vouched(plan, out);
    print_allowed(plan, out);
    print_because(plan, out);
    print_whitelists(plan, out);
    print_hidden_and_off(plan, out);
    print_policy(plan, out);
    print_places(plan, out);
    print_warnings(plan, out);
    fprintf(out, "\n%s%s%s\n", styled ? cli_style(plan->lowered ? CLI_YELLOW : CLI_GREEN) : "",
            sentence ? sentence : "no memory", styled ? cli_style(CLI_PLAIN) : "");
    free(sentence);
}

/* ---- as JSON ---- */

static json_t *labels_json(const struct plan *plan, uint64_t mask)
{
    char *text = plan_label_text(plan, mask);
    json_t *array = text ? words_json(text) : NULL;

    free(text);
    return array;
}

/* A value in the shape that pipeline.json has; a SECRET is its "env:NAME" or "file:PATH". */
static json_t *value_json(const struct plan_value *value)
{
    if (value->option->flags & SENDIT_OPT_MANY) {
        json_t *array = json_array();

        for (char **at = value->list; at && *at; at++)
            json_array_append_new(array, cli_json_text(*at));
        return array;
    }
    if (!value->text)
        return json_null();
    if (value->option->type == SENDIT_OPT_BOOLEAN)
        return json_boolean(value->number);
    if (value->option->type == SENDIT_OPT_INTEGER)
        return json_integer(value->number);
    if (value->option->type == SENDIT_OPT_JSON)
        return json_loads(value->json ? value->json : value->text, JSON_DECODE_ANY, NULL);
    return cli_json_text(value->text);
}

static json_t *values_json(const struct plan_value *values, size_t n)
{
    json_t *object = json_object();

    for (size_t i = 0; i < n; i++)
        json_object_set_new(object, values[i].option->name, value_json(&values[i]));
    return object;
}

static json_t *allow_json(char *const *allow)
{
    json_t *array = json_array();

    for (; allow && *allow; allow++)
        json_array_append_new(array, json_string(*allow));
    return array;
}

struct labels_json {
    json_t *array;
    bool failed;
};

static bool add_label(void *ctx, const struct sendit_match *label)
{
    struct labels_json *labels = ctx;

    return !cli_append(labels->array, cli_json_text(label->label), &labels->failed);
}

static json_t *whitelist_json(const struct plan *plan, const struct plan_stage *stage)
{
    char *filters = run_filters_folder();
    struct labels_json labels = {.array = filters ? json_array() : NULL};

    if (labels.array)
        run_whitelist(plan, stage, filters, add_label, &labels);
    free(filters);
    if (labels.failed) {
        json_decref(labels.array);
        return NULL;
    }
    return labels.array;
}

/* {"endpoint": {"to": "http://127.0.0.1:9023", "usually": "https://...", "variable": "..."}} */
static json_t *diverted_json(const struct plan_stage *stage)
{
    json_t *object = json_object();

    for (uint32_t i = 0; stage->enabled && i < stage->plugin->n_options; i++) {
        const struct plan_value *value = &stage->values[i];

        if (plan_is_diverted(value))
            json_object_set_new(object, value->option->name,
                                json_pack("{s:o, s:s?, s:s?}", "to", value_json(value), "usually",
                                          value->option->default_value, "variable",
                                          value->variable));
    }
    return object;
}

static json_t *stage_json(const struct plan *plan, const struct plan_stage *stage)
{
    const struct stage_file *file = stage->file;
    json_t *object = json_pack("{s:s, s:s, s:b, s:o, s:s?}", "id", stage->id, "use", stage->use,
                               "enabled", (int)stage->enabled, "allow", allow_json(stage->allow),
                               "because", stage->because);
    json_t *more;

    if (!object || !file)
        return object;
    more = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:o, s:s, s:o, s:o, s:o, s:o}", "version",
        stage->plugin->version, "summary", stage->plugin->summary, "flags",
        words_flags_json(stage->plugin->flags), "needs", labels_json(plan, stage->needs),
        "needs_at_finish", labels_json(plan, stage->needs_at_finish), "grants",
        labels_json(plan, stage->grants), "grants_at_finish",
        labels_json(plan, stage->grants_at_finish), "egress", (int)stage->egress, "ships",
        (int)file->ships, "file", cli_json_text(file->path), "digest", file->digest, "hides",
        cli_json_text(file->hides), "config", values_json(stage->values, stage->plugin->n_options),
        "whitelist", whitelist_json(plan, stage), "diverted", diverted_json(stage));
    if (!more || json_object_update(object, more)) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return object;
}

static void add_warning(void *ctx, const char *sentence)
{
    json_array_append_new(ctx, cli_json_text(sentence));
}

static json_t *plan_json(const struct plan *plan, const struct key_state *key)
{
    json_t *stages = json_array(), *warnings = json_array(), *answer;
    char *sentence = proof(plan);
    bool failed = false;

    plan_warn(plan, add_warning, warnings);

    for (size_t i = 0; i < plan->n_stages; i++)
        cli_append(stages, stage_json(plan, &plan->stages[i]), &failed);
    answer = json_pack(
        "{s:o, s:s, s:o, s:b, s:{s:o, s:b, s:s?}, s:{s:o, s:s?}, s:O, s:o, s:o, s:s}", "pipeline",
        cli_json_text(plan->path), "digest", plan->digest, "state", cli_json_text(plan->state),
        "dry", (int)plan->dry, "policy", "egress_needs", labels_json(plan, plan->egress_needs),
        "lowered", (int)plan->lowered, "because", plan->because, "key", "file",
        cli_json_text(key->path), "fingerprint", key->exists ? key->fingerprint : NULL, "stages",
        stages, "run", values_json(plan->run, PLAN_N_RUN), "warnings", warnings, "proof", sentence);
    json_decref(stages);
    free(sentence);
    if (failed) {
        json_decref(answer);
        answer = NULL;
    }
    return answer;
}

/* ---- the command ---- */

static int run(const struct cli *cli)
{
    struct key_state key = {0};
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    struct err err = {0};
    int status = 0;

    if (cli_build(cli, NULL, 0, &loader, &plan, &err) || run_check(plan, 0, &err) ||
        find_key(plan, &key, &err))
        status = cli_error(cli, &err);
    else if (cli->json)
        status = cli_answer(plan_json(plan, &key));
    else
        cli_print_plan(plan, stdout);
    free(key.path);
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_plan = {
    .name = "plan",
    .usage = "plan",
    .summary = "show what will run, who may do what, and the proof",
    .help =
        "Shows the enabled stages in their order, and for each: the labels that an image must\n"
        "have, the labels that it earns, what the stage does, whether its file ships with sendit\n"
        "or is the site's, and the first digits of the file's SHA-256 (all of them with --json).\n"
        "\"(end)\" marks a label that is asked for or earned when the batch ends.\n"
        "\n"
        "Below: who talks to the network, which of them another server than the service answers,\n"
        "for a test (\"allow\": [\"emulator\"]), which of the site's stages grant a label of "
        "sendit's\n"
        "own, what the site has allowed, which LABELs of a whitelist let images pass unseen, "
        "which\n"
        "of its stages hide one that ships, what the policy asks of images that leave, and the\n"
        "fingerprint of the site key, and what is odd though it may be meant. The last line is "
        "what\n"
        "was proved about every image. Nothing is written.",
    .examples = "sendit plan\tthe pipeline of this folder\n"
                "sendit plan --json\tall of it, with whole digests and the value of each option\n"
                "sendit plan --set pixel-check.enabled=false\twhat if?",
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
