/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/near.h"
#include "load/option.h"

#define MAX_ELEMENTS 65536

/* ---- --set ---- */

struct set {
    char stage[SENDIT_ID_SIZE], option[SENDIT_ID_SIZE];
    const char *value;
};

static bool split_set(const char *text, struct set *set)
{
    const char *dot = strchr(text, '.'), *equals = dot ? strchr(dot, '=') : NULL;

    if (!equals || dot == text || equals == dot + 1 || (size_t)(dot - text) >= sizeof(set->stage) ||
        (size_t)(equals - dot) > sizeof(set->option))
        return false;
    snprintf(set->stage, sizeof(set->stage), "%.*s", (int)(dot - text), text);
    snprintf(set->option, sizeof(set->option), "%.*s", (int)(equals - dot - 1), dot + 1);
    set->value = equals + 1;
    return true;
}

const char *builder_set(const struct builder *b, const char *stage, const char *option)
{
    const char *found = NULL;
    struct set set;

    for (size_t i = 0; i < b->request->n_sets; i++)
        if (split_set(b->request->sets[i], &set) && !strcmp(set.stage, stage) &&
            !strcmp(set.option, option))
            found = set.value;
    return found;
}

static int check_set_option(struct builder *b, const struct set *set,
                            const struct sendit_option *options, size_t n)
{
    struct near near;
    char hint[128];

    near_start(&near, set->option);
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(options[i].name, set->option))
            return 0;
        near_try(&near, options[i].name);
    }
    return err_set(b->err, ERR_USAGE, "--set %s.%s: \"%s\" has no option \"%s\"%s", set->stage,
                   set->option, set->stage, set->option, near_hint(&near, hint, sizeof(hint)));
}

static int check_set(struct builder *b, const struct set *set)
{
    const struct plan *plan = b->plan;
    struct near near;
    char hint[128];

    if (!strcmp(set->stage, "run"))
        return check_set_option(b, set, plan_run_options, PLAN_N_RUN);
    near_start(&near, set->stage);
    near_try(&near, "run");
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        near_try(&near, stage->id);
        if (strcmp(stage->id, set->stage))
            continue;
        if (!strcmp(set->option, "enabled") || !stage->plugin)
            return 0;
        return check_set_option(b, set, stage->plugin->options, stage->plugin->n_options);
    }
    return err_set(b->err, ERR_USAGE, "--set %s.%s: no entry is called \"%s\"%s", set->stage,
                   set->option, set->stage, near_hint(&near, hint, sizeof(hint)));
}

int builder_check_sets(struct builder *b)
{
    struct set set;

    for (size_t i = 0; i < b->request->n_sets; i++) {
        /* The value stays out of the message: it may be a secret. */
        if (!split_set(b->request->sets[i], &set))
            return err_set(b->err, ERR_USAGE, "--set takes STAGE.OPTION=VALUE");
        if (check_set(b, &set))
            return -1;
    }
    return 0;
}

/* ---- one value ---- */

static const char *expected(int32_t type)
{
    switch (type) {
    case SENDIT_OPT_INTEGER:
        return "a whole number";
    case SENDIT_OPT_BOOLEAN:
        return "true or false";
    case SENDIT_OPT_DURATION:
        return "a duration such as \"90s\"";
    case SENDIT_OPT_SIZE:
        return "a size such as \"8MiB\"";
    case SENDIT_OPT_PATH:
        return "a path";
    case SENDIT_OPT_URL:
        return "a URL";
    case SENDIT_OPT_SECRET:
        return "\"env:NAME\" or \"file:PATH\"";
    default:
        return "text";
    }
}

static char *dump(const json_t *value)
{
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
}

/* A JSON value as the text that option_parse() reads; the caller frees it. */
static int node_text(struct builder *b, const struct json_doc *doc, const struct json_node *node,
                     const struct sendit_option *option, char **ret_text)
{
    const json_t *value = node->value;

    *ret_text = NULL;
    if (option->type == SENDIT_OPT_JSON)
        *ret_text = dump(value);
    else if (option->type == SENDIT_OPT_INTEGER && json_is_integer(value))
        *ret_text = dump(value);
    else if (option->type == SENDIT_OPT_BOOLEAN && json_is_boolean(value))
        *ret_text = dump(value);
    else if (option->type != SENDIT_OPT_INTEGER && option->type != SENDIT_OPT_BOOLEAN &&
             json_is_string(value))
        *ret_text = strdup(json_string_value(value));
    else
        return json_doc_error(doc, node, b->err, "%s was expected, this is %s",
                              expected(option->type), json_doc_kind(value));
    return *ret_text ? 0 : builder_no_memory(b);
}

/* As JSON: numbers and truth as they are, all else as text. */
static json_t *result_json(const struct sendit_option *option, const struct option_result *result)
{
    switch (option->type) {
    case SENDIT_OPT_INTEGER:
        return json_integer(result->number);
    case SENDIT_OPT_BOOLEAN:
        return json_boolean(result->number);
    case SENDIT_OPT_JSON:
        return json_loads(result->text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    default:
        /* A folder of the command line need not be UTF-8; then there is no JSON of it. */
        return json_string(result->text);
    }
}

static int add_text(struct builder *b, struct plan_value *value, json_t *array, const char *text,
                    const char *folder)
{
    size_t n = 0;
    struct option_result result;
    char **list;

    while (value->list && value->list[n])
        n++;
    if (n >= MAX_ELEMENTS)
        return err_set(b->err, ERR_REFUSED, "an array has at most %d elements", MAX_ELEMENTS);
    if (option_parse(value->option, text, folder, &result, b->err)) {
        free(result.text);
        return -1;
    }
    list = realloc(value->list, (n + 2) * sizeof(*list));
    if (!list) {
        free(result.text);
        return builder_no_memory(b);
    }
    json_array_append_new(array, result_json(value->option, &result));
    list[n] = result.text;
    list[n + 1] = NULL;
    value->list = list;
    return 0;
}

/* `parse` is option_parse(), or option_parse_default(). */
typedef int parse_fn(const struct sendit_option *option, const char *text, const char *folder,
                     struct option_result *ret, struct err *err);

static int take_text(struct builder *b, struct plan_value *value, const char *text,
                     const char *folder, parse_fn *parse)
{
    struct option_result result = {0};
    json_t *json;

    if (parse(value->option, text, folder, &result, b->err)) {
        free(result.text);
        return -1;
    }
    json = result_json(value->option, &result);
    if (!json && value->option->type == SENDIT_OPT_JSON) {
        free(result.text);
        return err_set(b->err, ERR_REFUSED, "this is not JSON");
    }
    value->text = result.text;
    value->number = result.number;
    value->json = json ? dump(json) : NULL;
    json_decref(json);
    return 0;
}

static int set_text(struct builder *b, struct plan_value *value, const char *text,
                    const char *folder)
{
    return take_text(b, value, text, folder, option_parse);
}

/* An error of option_parse() has no place yet. */
static int at_node(struct builder *b, const struct json_doc *doc, const struct json_node *node)
{
    char text[sizeof(b->err->text)];

    if (b->err->code != ERR_REFUSED)
        return -1;
    snprintf(text, sizeof(text), "%s", b->err->text);
    return json_doc_error(doc, node, b->err, "%s", text);
}

/* The array of a MANY is made of the list as it was read. */
static int close_list(struct builder *b, struct plan_value *value, json_t *array)
{
    if (!value->list)
        value->list = calloc(1, sizeof(*value->list));
    if (value->list && array)
        value->json = dump(array);
    json_decref(array);
    return value->list ? 0 : builder_no_memory(b);
}

static int read_node(struct builder *b, const struct json_doc *doc, const struct json_node *node,
                     struct plan_value *value, const char *folder)
{
    json_t *array = NULL;
    char *text;
    int bad;

    if (!(value->option->flags & SENDIT_OPT_MANY)) {
        if (node_text(b, doc, node, value->option, &text))
            return -1;
        bad = set_text(b, value, text, folder) ? at_node(b, doc, node) : 0;
        free(text);
        return bad;
    }
    if (!json_is_array(node->value))
        return json_doc_error(doc, node, b->err, "an array was expected, this is %s%s",
                              json_doc_kind(node->value),
                              json_is_string(node->value) ? "; put it between [ and ]" : "");
    array = json_array();
    for (const struct json_node *child = node->first; child; child = child->next) {
        bad = node_text(b, doc, child, value->option, &text);
        if (!bad) {
            bad = add_text(b, value, array, text, folder) ? at_node(b, doc, child) : 0;
            free(text);
        }
        if (bad) {
            json_decref(array);
            return -1;
        }
    }
    return close_list(b, value, array);
}

/* Words of a list, separated by blanks or commas. */
static int read_words(struct builder *b, struct plan_value *value, const char *words, char by,
                      const char *folder)
{
    json_t *array = json_array();
    int bad = 0;

    while (!bad) {
        const char stop[2] = {by, '\0'};
        size_t n = strcspn(words, stop);
        char *word = strndup(words, n);

        if (!word)
            bad = builder_no_memory(b);
        else if (n || by == ',')
            bad = add_text(b, value, array, word, folder);
        free(word);
        if (!words[n])
            break;
        words += n + 1;
    }
    if (bad) {
        json_decref(array);
        return -1;
    }
    return close_list(b, value, array);
}

static int read_set(struct builder *b, struct plan_value *value, const char *id, const char *text)
{
    const struct sendit_option *option = value->option;
    char name[160];
    struct json_doc doc;
    int bad;

    snprintf(name, sizeof(name), "--set %s.%s", id, option->name);
    if ((option->flags & SENDIT_OPT_MANY) && text[0] == '[') {
        bad = json_doc_parse(&doc, name, text, strlen(text), PLAN_MAX_NEST, b->err);
        if (!bad) {
            bad = read_node(b, &doc, doc.root, value, b->cwd);
            json_doc_fini(&doc);
        }
        b->err->code = bad && b->err->code == ERR_REFUSED ? ERR_USAGE : b->err->code;
        return bad;
    }
    if (option->flags & SENDIT_OPT_MANY)
        bad = *text ? read_words(b, value, text, ',', b->cwd) : close_list(b, value, json_array());
    else
        bad = set_text(b, value, text, b->cwd);
    if (bad && b->err->code == ERR_REFUSED) {
        b->err->code = ERR_USAGE;
        err_prefix(b->err, "%s", name);
    }
    return bad ? -1 : 0;
}

static int read_folders(struct builder *b, struct plan_value *value)
{
    json_t *array = json_array();

    for (size_t i = 0; i < b->request->n_folders; i++)
        if (add_text(b, value, array, b->request->folders[i], b->cwd)) {
            json_decref(array);
            return b->err->code == ERR_REFUSED
                       ? (b->err->code = ERR_USAGE, err_prefix(b->err, "FOLDER"))
                       : -1;
        }
    return close_list(b, value, array);
}

/* Another server that the environment names, for one who may say so.  Set and empty is not set. */
static int read_variable(struct builder *b, const struct option_scope *scope,
                         struct plan_value *value)
{
    const struct sendit_option *option = value->option;
    const char *text = NULL;
    char *url = NULL;
    int bad;

    if (scope->emulator && option->type == SENDIT_OPT_URL && (option->flags & SENDIT_OPT_TEST) &&
        option->limit)
        text = getenv(option->limit);
    if (!text || !*text)
        return 0;
    bad = option_emulator(text, &url, b->err);
    if (!bad)
        bad = set_text(b, value, url, NULL);
    free(url);
    if (!bad) {
        value->variable = option->limit;
        return 0;
    }
    err_prefix(b->err, "the variable %s for \"%s\" of %s", option->limit, option->name,
               scope->what);
    return at_node(b, &b->doc, scope->place);
}

static int read_default(struct builder *b, const struct option_scope *scope,
                        struct plan_value *value)
{
    const struct sendit_option *option = value->option;
    int bad;

    if (option->flags & SENDIT_OPT_MANY)
        bad = read_words(b, value, option->default_value ? option->default_value : "", ' ',
                         b->plan->folder);
    else
        bad = option->default_value ? take_text(b, value, option->default_value, b->plan->folder,
                                                option_parse_default)
                                    : 0;
    if (!bad || b->err->code != ERR_REFUSED)
        return bad;
    err_prefix(b->err, "the default of \"%s\" of %s", option->name, scope->what);
    return at_node(b, &b->doc, scope->place);
}

/* ---- a table of them ---- */

static int read_value(struct builder *b, const struct option_scope *scope, struct plan_value *value)
{
    const struct sendit_option *option = value->option;
    struct json_node *node = json_doc_get(scope->config, option->name);
    const char *set = builder_set(b, scope->id, option->name);

    /* What stands in the file is checked, also where the command line overrides it. */
    value->given = true;
    if (node) {
        value->line = node->line;
        value->col = node->col;
        if (read_node(b, &b->doc, node, value, b->plan->folder))
            return -1;
    }
    if (set || (scope->source && b->request->n_folders && !strcmp(option->name, "folders"))) {
        struct plan_value old = *value;

        builder_free_values(&old, 1);
        *value = (struct plan_value){
            .option = option, .given = true, .line = value->line, .col = value->col};
        if (scope->source && b->request->n_folders && !strcmp(option->name, "folders"))
            return read_folders(b, value);
        return read_set(b, value, scope->id, set);
    }
    if (node)
        return 0;
    value->given = false;
    if ((option->flags & SENDIT_OPT_REQUIRED) && scope->enabled)
        return json_doc_error(&b->doc, scope->place, b->err, "%s needs the option \"%s\": %s",
                              scope->what, option->name, option->help);
    if (read_variable(b, scope, value))
        return -1;
    return value->variable ? 0 : read_default(b, scope, value);
}

static int refuse_unknown(struct builder *b, const struct option_scope *scope)
{
    struct json_node *child = scope->config ? scope->config->first : NULL;
    struct near near;
    char hint[128];

    while (child && child->used)
        child = child->next;
    if (!child)
        return 0;
    near_start(&near, child->key);
    for (size_t i = 0; i < scope->n_options; i++)
        near_try(&near, scope->options[i].name);
    return json_doc_key_error(&b->doc, child, b->err, "%s has no such option%s", scope->what,
                              near_hint(&near, hint, sizeof(hint)));
}

int builder_values(struct builder *b, const struct option_scope *scope, struct plan_value *values)
{
    if (scope->config && !json_is_object(scope->config->value))
        return json_doc_error(&b->doc, scope->config, b->err, "an object was expected, this is %s",
                              json_doc_kind(scope->config->value));
    /* A misspelt option is told before the one that is then missing. */
    for (size_t i = 0; i < scope->n_options; i++)
        json_doc_get(scope->config, scope->options[i].name);
    if (refuse_unknown(b, scope))
        return -1;
    for (size_t i = 0; i < scope->n_options; i++) {
        values[i].option = &scope->options[i];
        if (read_value(b, scope, &values[i]))
            return -1;
    }
    return 0;
}

void builder_free_values(struct plan_value *values, size_t n)
{
    for (size_t i = 0; values && i < n; i++) {
        free(values[i].text);
        free(values[i].json);
        for (char **at = values[i].list; at && *at; at++)
            free(*at);
        free(values[i].list);
    }
}
