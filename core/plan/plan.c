/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/near.h"
#include "plan/builder.h"

const struct sendit_option plan_run_options[] = {
    [PLAN_STAGE_TIMEOUT] = {"stage_timeout", SENDIT_OPT_DURATION, 0, "5m", "1s..7d",
                            "How long a stage may work on one image before it counts as hung."},
    [PLAN_RETRY_FOR] = {"retry_for", SENDIT_OPT_DURATION, 0, "1h", "0s..365d",
                        "How long a stage that answers RETRY is tried again."},
    [PLAN_WORKER_MEMORY] = {"worker_memory", SENDIT_OPT_SIZE, 0, "1GiB", "64MiB..1024GiB",
                            "Memory that one worker may have."},
    [PLAN_MIN_FREE] = {"min_free", SENDIT_OPT_SIZE, 0, "1GiB", "0B..",
                       "Room that stays free where the state folder is."},
    [PLAN_MAX_INFLATE] = {"max_inflate", SENDIT_OPT_SIZE, 0, "256MiB", "1MiB..2GiB",
                          "What a deflated image may grow to before it is quarantined."},
    [PLAN_WORKERS] = {"workers", SENDIT_OPT_INTEGER, 0, "0", "0..256",
                      "Worker processes; 0 is one for each core."},
    [PLAN_N_RUN] = {0},
};

int builder_no_memory(struct builder *b)
{
    return err_set(b->err, ERR_PLACE, "no memory");
}

int builder_text(struct builder *b, struct json_node *node, const char **ret_text)
{
    if (!json_is_string(node->value))
        return json_doc_error(&b->doc, node, b->err, "text was expected, this is %s",
                              json_doc_kind(node->value));
    *ret_text = json_string_value(node->value);
    return **ret_text ? 0 : json_doc_error(&b->doc, node, b->err, "this is empty");
}

int builder_refuse_unknown(struct builder *b, struct json_node *object, const char *const *known)
{
    for (struct json_node *child = object->first; child; child = child->next) {
        const char *const *at = known;
        struct near near;
        char hint[128];

        near_start(&near, child->key);
        while (*at && strcmp(*at, child->key))
            near_try(&near, *at++);
        if (!*at)
            return json_doc_key_error(&b->doc, child, b->err, "there is no such key%s",
                                      near_hint(&near, hint, sizeof(hint)));
    }
    return 0;
}

static int read_boolean(struct builder *b, const struct json_node *node, bool *ret_value)
{
    if (node && !json_is_boolean(node->value))
        return json_doc_error(&b->doc, node, b->err, "true or false was expected, this is %s",
                              json_doc_kind(node->value));
    if (node)
        *ret_value = json_is_true(node->value);
    return 0;
}

/* ---- the file ---- */

static int read_text(struct builder *b)
{
    const struct plan_request *request = b->request;
    struct plan *plan = b->plan;

    if (request->text) {
        if (request->text_len > PLAN_MAX_FILE)
            return err_set(b->err, ERR_REFUSED, "%s: it has more than %u bytes", plan->path,
                           PLAN_MAX_FILE);
        plan->text = malloc(request->text_len + 1);
        if (!plan->text)
            return builder_no_memory(b);
        memcpy(plan->text, request->text, request->text_len);
        plan->text[request->text_len] = '\0';
        plan->text_len = request->text_len;
        return 0;
    }
    if (!file_read(plan->path, PLAN_MAX_FILE, &plan->text, &plan->text_len))
        return 0;
    if (errno == EFBIG)
        return err_set(b->err, ERR_REFUSED, "%s: it has more than %u bytes", plan->path,
                       PLAN_MAX_FILE);
    return err_set(b->err, ERR_REFUSED, "%s: it cannot be read: %s", plan->path, strerror(errno));
}

static int find_places(struct builder *b)
{
    struct plan *plan = b->plan;
    char *slash;

    b->cwd = getcwd(NULL, 0);
    if (!b->cwd)
        return err_set(b->err, ERR_PLACE, "the current folder cannot be read");
    plan->path = strdup(b->request->path);
    plan->folder = file_join(b->cwd, b->request->path);
    slash = plan->folder ? strrchr(plan->folder, '/') : NULL;
    if (!plan->path || !slash)
        return builder_no_memory(b);
    slash[slash == plan->folder] = '\0';
    return 0;
}

static int read_state(struct builder *b, struct json_node *node)
{
    const char *text = "state";

    if (node && builder_text(b, node, &text))
        return -1;
    if (b->request->state && !*b->request->state)
        return err_set(b->err, ERR_USAGE, "--state takes a folder");
    b->plan->state =
        b->request->state ? file_join(b->cwd, b->request->state) : file_join(b->plan->folder, text);
    return b->plan->state ? 0 : builder_no_memory(b);
}

/* ---- entries ---- */

static bool is_id(const char *text)
{
    size_t n = strlen(text);

    if (!n || n >= SENDIT_ID_SIZE || !islower((unsigned char)text[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) && text[i] != '-')
            return false;
    return true;
}

static int read_id(struct builder *b, struct plan_stage *stage, struct json_node *entry,
                   struct json_node *use)
{
    struct json_node *node = json_doc_get(entry, "id");
    const struct plan *plan = b->plan;
    const char *id = stage->use;

    if (node && builder_text(b, node, &id))
        return -1;
    if (!is_id(id))
        return json_doc_error(&b->doc, node ? node : use, b->err,
                              "a name of [a-z][a-z0-9-]* was expected");
    if (!strcmp(id, "run"))
        return json_doc_error(&b->doc, node ? node : use, b->err,
                              "\"run\" is the core's own name; give the entry another \"id\"");
    for (size_t i = 0; i < plan->n_stages; i++)
        if (!strcmp(plan->stages[i].id, id))
            return json_doc_error(&b->doc, node ? node : use, b->err,
                                  "two entries are called \"%s\", the first on line %u; give each "
                                  "an \"id\" of its own",
                                  id, plan->stages[i].line);
    stage->id = strdup(id);
    return stage->id ? 0 : builder_no_memory(b);
}

static int read_enabled(struct builder *b, struct plan_stage *stage, const struct json_node *node)
{
    const char *set;

    stage->enabled = true;
    if (read_boolean(b, node, &stage->enabled))
        return -1;
    set = builder_set(b, stage->id, "enabled");
    if (!set)
        return 0;
    if (strcmp(set, "true") && strcmp(set, "false"))
        return err_set(b->err, ERR_USAGE, "--set %s.enabled: true or false was expected",
                       stage->id);
    stage->enabled = !strcmp(set, "true");
    return 0;
}

static int find_plugin(struct builder *b, struct plan_stage *stage, const struct json_node *use)
{
    struct err why;
    char text[sizeof(why.text)];

    stage->hold = !strcmp(stage->use, PLAN_HOLD);
    if (stage->hold) {
        stage->file = &plan_hold_file;
        stage->plugin = stage->file->plugin;
        return 0;
    }
    if (!b->find(b->find_ctx, stage->use, &stage->file, &why)) {
        stage->plugin = stage->file->plugin;
        return 0;
    }
    stage->file = NULL;
    if (!stage->enabled)
        return 0;
    snprintf(text, sizeof(text), "%s", why.text);
    json_doc_error(&b->doc, use, b->err, "%s", text);
    b->err->code = why.code;
    return -1;
}

static int note_labels(struct builder *b, struct plan_stage *stage, const struct json_node *entry)
{
    const struct sendit_plugin *plugin = stage->plugin;

    if (plan_labels(b->plan, plugin->needs, &stage->needs) ||
        plan_labels(b->plan, plugin->grants, &stage->grants) ||
        plan_labels(b->plan, plugin->grants_at_finish, &stage->grants_at_finish))
        return json_doc_error(&b->doc, entry, b->err, "there are more than %d labels",
                              PLAN_MAX_LABELS);
    stage->egress = (plugin->flags & SENDIT_EGRESS) ||
                    ((plugin->flags & SENDIT_NETWORK) && !(plugin->flags & SENDIT_SENDS_PHI));
    return 0;
}

static bool takes_folders(const struct sendit_plugin *plugin)
{
    for (uint32_t i = 0; i < plugin->n_options; i++)
        if (!strcmp(plugin->options[i].name, "folders"))
            return plugin->options[i].type == SENDIT_OPT_PATH &&
                   (plugin->options[i].flags & SENDIT_OPT_MANY);
    return false;
}

static int read_config(struct builder *b, struct plan_stage *stage, struct json_node *entry)
{
    const struct sendit_plugin *plugin = stage->plugin;
    char what[SENDIT_ID_SIZE + 16];
    struct option_scope scope = {.id = stage->id,
                                 .what = what,
                                 .config = json_doc_get(entry, "config"),
                                 .place = entry,
                                 .options = plugin->options,
                                 .n_options = plugin->n_options,
                                 .enabled = stage->enabled};

    scope.emulator = stage->enabled && builder_allows(stage, "emulator");
    snprintf(what, sizeof(what), "stage \"%s\"", stage->id);
    if (stage->enabled && (plugin->flags & SENDIT_SOURCE) && b->request->n_folders) {
        if (!takes_folders(plugin))
            return err_set(b->err, ERR_USAGE,
                           "the source \"%s\" has no option \"folders\", so FOLDER cannot be given",
                           stage->id);
        scope.source = true;
    }
    if (scope.config && scope.config->first)
        scope.place = scope.config;
    stage->values = calloc(plugin->n_options + 1u, sizeof(*stage->values));
    if (!stage->values)
        return builder_no_memory(b);
    return builder_values(b, &scope, stage->values);
}

static int read_entry(struct builder *b, struct json_node *entry, struct plan_stage *stage)
{
    static const char *const known[] = {"use", "id", "enabled", "allow", "because", "config", NULL};
    static const char *const of_hold[] = {"use", "id", "enabled", "because", NULL};
    struct json_node *use;
    const char *name;

    stage->line = entry->line;
    stage->col = entry->col;
    if (!json_is_object(entry->value))
        return json_doc_error(&b->doc, entry, b->err, "an object was expected, this is %s",
                              json_doc_kind(entry->value));
    if (builder_refuse_unknown(b, entry, known))
        return -1;
    use = json_doc_get(entry, "use");
    if (!use)
        return json_doc_error(&b->doc, entry, b->err,
                              "an entry names its stage: \"use\": \"importer\"");
    if (builder_text(b, use, &name))
        return -1;
    if (!is_id(name))
        return json_doc_error(&b->doc, use, b->err,
                              "a stage is called by its name, [a-z][a-z0-9-]*, never by a path");
    if (!strcmp(name, PLAN_HOLD) && builder_refuse_unknown(b, entry, of_hold))
        return -1;
    stage->use = strdup(name);
    if (!stage->use)
        return builder_no_memory(b);
    if (read_id(b, stage, entry, use) || read_enabled(b, stage, json_doc_get(entry, "enabled")) ||
        builder_allow(b, stage, json_doc_get(entry, "allow")) ||
        builder_because(b, json_doc_get(entry, "because"), &stage->because) ||
        find_plugin(b, stage, use))
        return -1;
    return stage->plugin ? note_labels(b, stage, entry) : 0;
}

static int read_stages(struct builder *b, struct json_node *node)
{
    struct plan *plan = b->plan;
    size_t n;

    if (!node)
        return json_doc_error(&b->doc, b->doc.root, b->err,
                              "a pipeline has \"stages\", an array of entries");
    if (!json_is_array(node->value))
        return json_doc_error(&b->doc, node, b->err, "an array of entries was expected, this is %s",
                              json_doc_kind(node->value));
    n = json_array_size(node->value);
    if (!n || n > PLAN_MAX_STAGES)
        return json_doc_error(&b->doc, node, b->err, "1 to %d entries were expected, here are %zu",
                              PLAN_MAX_STAGES, n);
    plan->stages = calloc(n, sizeof(*plan->stages));
    if (!plan->stages)
        return builder_no_memory(b);
    for (struct json_node *entry = node->first; entry; entry = entry->next) {
        struct plan_stage *stage = &plan->stages[plan->n_stages];
        int bad = read_entry(b, entry, stage);

        b->entries[plan->n_stages++] = entry;
        if (bad)
            return -1;
    }
    if (builder_check_sets(b))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (plan->stages[i].plugin && read_config(b, &plan->stages[i], b->entries[i]))
            return -1;
    return 0;
}

static int read_run(struct builder *b, struct json_node *node)
{
    struct option_scope scope = {.id = "run",
                                 .what = "\"run\"",
                                 .config = node,
                                 .place = node ? node : b->doc.root,
                                 .options = plan_run_options,
                                 .n_options = PLAN_N_RUN,
                                 .enabled = true};

    return builder_values(b, &scope, b->plan->run);
}

static int read_root(struct builder *b)
{
    static const char *const known[] = {"$schema", "state", "policy", "dry", "run", "stages", NULL};
    struct json_node *root = b->doc.root, *schema;
    const char *ignored;
    uint64_t none;

    if (!json_is_object(root->value))
        return json_doc_error(&b->doc, root, b->err, "an object was expected, this is %s",
                              json_doc_kind(root->value));
    if (plan_labels(b->plan, NULL, &none))
        return builder_no_memory(b);
    if (builder_refuse_unknown(b, root, known))
        return -1;
    schema = json_doc_get(root, "$schema"); /* for editors */
    if (schema && builder_text(b, schema, &ignored))
        return -1;
    if (read_state(b, json_doc_get(root, "state")) ||
        read_boolean(b, json_doc_get(root, "dry"), &b->plan->dry) ||
        builder_policy(b, json_doc_get(root, "policy")) ||
        read_stages(b, json_doc_get(root, "stages")) || read_run(b, json_doc_get(root, "run")))
        return -1;
    return builder_prove(b);
}

/* ---- the whole ---- */

/* Each part ends with a NUL, so that no two sets of parts read the same. */
static void add_part(struct buf *buf, const char *text)
{
    buf_add(buf, text ? text : "", text ? strlen(text) + 1 : 1);
}

/* Where it leads is part of the plan: a worker with another environment has another plan. */
static void add_variables(struct buf *buf, const struct plan_stage *stage)
{
    for (uint32_t i = 0; stage->plugin && i < stage->plugin->n_options; i++)
        if (stage->values[i].variable)
            add_part(buf, stage->values[i].text);
}

static int make_digest(struct builder *b)
{
    const struct plan_request *request = b->request;
    struct plan *plan = b->plan;
    struct buf buf = {0};
    int bad;

    buf_add(&buf, plan->text, plan->text_len);
    buf_add(&buf, "", 1);
    add_part(&buf, plan->state);
    buf_printf(&buf, "%zu sets", request->n_sets);
    for (size_t i = 0; i < request->n_sets; i++)
        add_part(&buf, request->sets[i]);
    buf_printf(&buf, "%zu folders", request->n_folders);
    for (size_t i = 0; i < request->n_folders; i++)
        add_part(&buf, request->folders[i]);
    for (size_t i = 0; i < plan->n_stages; i++) {
        add_part(&buf, plan->stages[i].id);
        add_part(&buf, plan->stages[i].file ? plan->stages[i].file->digest : NULL);
        add_variables(&buf, &plan->stages[i]);
    }
    bad = buf.failed || digest_of(buf.data, buf.len, plan->digest);
    buf_fini(&buf);
    return bad ? err_set(b->err, ERR_PLACE, "no memory") : 0;
}

int plan_build(const struct plan_request *request, plan_find_fn *find, void *ctx,
               struct plan **ret_plan, struct err *err)
{
    struct builder b = {.request = request, .find = find, .find_ctx = ctx, .err = err};
    int result = -1;

    b.plan = calloc(1, sizeof(*b.plan));
    if (!b.plan)
        return builder_no_memory(&b);
    if (!find_places(&b) && !read_text(&b) &&
        !json_doc_parse(&b.doc, b.plan->path, b.plan->text, b.plan->text_len, PLAN_MAX_NEST, err)) {
        result = read_root(&b) ? -1 : make_digest(&b);
        json_doc_fini(&b.doc);
    }
    free(b.cwd);
    if (result)
        plan_free(b.plan);
    else
        *ret_plan = b.plan;
    return result;
}

static void free_stage(struct plan_stage *stage)
{
    if (stage->plugin)
        builder_free_values(stage->values, stage->plugin->n_options);
    free(stage->values);
    for (char **at = stage->allow; at && *at; at++)
        free(*at);
    free(stage->allow);
    free(stage->because);
    free(stage->id);
    free(stage->use);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->n_stages; i++)
        free_stage(&plan->stages[i]);
    free(plan->stages);
    builder_free_values(plan->run, PLAN_N_RUN);
    for (size_t i = 0; i < plan->n_labels; i++)
        free(plan->labels[i]);
    free(plan->because);
    free(plan->state);
    free(plan->text);
    free(plan->folder);
    free(plan->path);
    free(plan);
}

const struct plan_value *plan_value(const struct plan_stage *stage, const char *name)
{
    for (uint32_t i = 0; stage->plugin && stage->values && i < stage->plugin->n_options; i++)
        if (!strcmp(stage->plugin->options[i].name, name))
            return &stage->values[i];
    return NULL;
}

const struct plan_stage *plan_source(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && (plan->stages[i].plugin->flags & SENDIT_SOURCE))
            return &plan->stages[i];
    return NULL;
}
