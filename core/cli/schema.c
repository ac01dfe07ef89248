/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/stage_words.h"
#include "load/option.h"
#include "plan/plan.h"

#define DRAFT "http://json-schema.org/draft-07/schema#" /* what editors know best */
#define LABEL "[a-z][a-z0-9_-]*(\\.[a-z0-9_-]+)+"

/* ---- one option ---- */

static json_t *choices(const char *limit)
{
    json_t *all = json_array();

    for (const char *at = limit; at && *at;) {
        size_t n = strcspn(at, "|");

        json_array_append_new(all, json_stringn(at, n));
        at += n + (at[n] == '|');
    }
    return json_pack("{s:o}", "enum", all);
}

/* "LOW..HIGH", of which either may be left out. */
static json_t *integer(const char *limit)
{
    json_t *schema = json_pack("{s:s}", "type", "integer");
    const char *dots = limit ? strstr(limit, "..") : NULL;

    if (dots && dots != limit)
        json_object_set_new(schema, "minimum", json_integer(strtoll(limit, NULL, 10)));
    if (dots && dots[2])
        json_object_set_new(schema, "maximum", json_integer(strtoll(dots + 2, NULL, 10)));
    return schema;
}

static json_t *pattern(const char *text)
{
    return json_pack("{s:s, s:s}", "type", "string", "pattern", text);
}

static json_t *value_of(const struct sendit_option *option)
{
    switch (option->type) {
    case SENDIT_OPT_INTEGER:
        return integer(option->limit);
    case SENDIT_OPT_BOOLEAN:
        return json_pack("{s:s}", "type", "boolean");
    case SENDIT_OPT_CHOICE:
        return choices(option->limit);
    case SENDIT_OPT_DURATION:
        return pattern("^[0-9]+(ms|s|m|h|d)$");
    case SENDIT_OPT_SIZE:
        return pattern("^[0-9]+(B|KiB|MiB|GiB)$");
    case SENDIT_OPT_SECRET:
        return pattern("^(env|file):.+$");
    case SENDIT_OPT_URL:
        if (option->flags & SENDIT_OPT_TEST)
            return pattern(
                "^https?://(127\\.[0-9.]+|\\[::1\\]|[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt])"
                "([:/?#]|$)");
        return pattern("^https?://[^/?#:@]");
    case SENDIT_OPT_PATH:
        return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
    case SENDIT_OPT_JSON:
        return json_object();
    default:
        return json_pack("{s:s}", "type", "string");
    }
}

/* "What it is. Default: 5m. Limit: 1s..7d.", which editors show. */
static json_t *describe(const struct sendit_option *option)
{
    bool url = option->type == SENDIT_OPT_URL;
    const char *note = option->flags & SENDIT_OPT_REQUIRED ? " Required."
                       : option->flags & SENDIT_OPT_TEST
                           ? " For tests: needs \"emulator\" under \"allow\"."
                           : "";

    return json_sprintf("%s%s%s%s%s%s%s%s", option->help ? option->help : "", note,
                        option->default_value ? " Default: " : "",
                        option->default_value ? option->default_value : "",
                        option->default_value ? "." : "",
                        !option->limit ? ""
                        : url          ? " Variable: "
                                       : " Limit: ",
                        option->limit ? option->limit : "", option->limit ? "." : "");
}

/* As it would stand in the file, so that an editor can write it. */
static json_t *default_of(const struct sendit_option *option)
{
    const char *text = option->default_value;

    if (option->flags & SENDIT_OPT_MANY)
        return words_json(text);
    switch (option->type) {
    case SENDIT_OPT_INTEGER:
        return json_integer(strtoll(text, NULL, 10));
    case SENDIT_OPT_BOOLEAN:
        return json_boolean(!strcmp(text, "true"));
    case SENDIT_OPT_JSON:
        return json_loads(text, JSON_DECODE_ANY, NULL);
    default:
        return json_string(text);
    }
}

static json_t *option_of(const struct sendit_option *option)
{
    json_t *schema = value_of(option);

    if (option->flags & SENDIT_OPT_MANY)
        schema = json_pack("{s:s, s:o}", "type", "array", "items", schema);
    if (schema)
        json_object_set_new(schema, "description", describe(option));
    if (schema && option->default_value)
        json_object_set_new(schema, "default", default_of(option));
    return schema;
}

static json_t *options_of(const struct sendit_option *options, size_t n, bool *failed)
{
    json_t *properties = json_object();

    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(properties, options[i].name, option_of(&options[i])))
            *failed = true;
    return json_pack("{s:s, s:b, s:o}", "type", "object", "additionalProperties", 0, "properties",
                     properties);
}

/* ---- the whole ---- */

static json_t *labels(const char *what)
{
    return json_pack("{s:s, s:o, s:s}", "type", "array", "items", pattern("^" LABEL "$"),
                     "description", what);
}

/* What holds for an entry that is not switched off. */
static json_t *if_enabled(json_t *what)
{
    return json_pack("{s:{s:[s], s:{s:{s:b}}}, s:b, s:o}", "if", "required", "enabled",
                     "properties", "enabled", "const", 0, "then", 1, "else", what);
}

/* A config with the options that are required. */
static json_t *needs_of(const struct sendit_plugin *plugin)
{
    json_t *names = json_array();

    for (uint32_t i = 0; i < plugin->n_options; i++)
        if (plugin->options[i].flags & SENDIT_OPT_REQUIRED)
            json_array_append_new(names, json_string(plugin->options[i].name));
    if (!json_array_size(names)) {
        json_decref(names);
        return json_true();
    }
    return if_enabled(json_pack("{s:[s], s:{s:{s:o}}}", "required", "config", "properties",
                                "config", "required", names));
}

/* With an option for tests, the consent. */
static json_t *tests_of(const struct sendit_plugin *plugin)
{
    json_t *any = json_array();

    for (uint32_t i = 0; i < plugin->n_options; i++)
        if (plugin->options[i].flags & SENDIT_OPT_TEST)
            json_array_append_new(any, json_pack("{s:[s]}", "required", plugin->options[i].name));
    if (!json_array_size(any)) {
        json_decref(any);
        return json_true();
    }
    return if_enabled(json_pack("{s:{s:[s], s:{s:{s:o}}}, s:{s:[s], s:{s:{s:{s:s}}}}}", "if",
                                "required", "config", "properties", "config", "anyOf", any, "then",
                                "required", "allow", "properties", "allow", "contains", "const",
                                "emulator"));
}

/* "allow": words of the flags that need consent, and labels. */
static json_t *consents(void)
{
    json_t *words = json_array();

    for (const struct flag_word *at = flag_words; at->flag; at++)
        if (plan_consent_word(at->flag))
            json_array_append_new(words, json_string(plan_consent_word(at->flag)));
    json_array_append_new(words, json_string("emulator"));
    return json_pack("{s:s, s:s, s:b, s:{s:[{s:o}, {s:s, s:s}]}}", "description",
                     "what the site consents to", "type", "array", "uniqueItems", 1, "items",
                     "anyOf", "enum", words, "type", "string", "pattern", "^grant:" LABEL "$");
}

/* The core's own entry has no options, and asks for nothing. */
static json_t *hold_case(void)
{
    return json_pack("{s:{s:{s:{s:s}}}, s:{s:s, s:{s:{s:{}, s:{}}, s:b}}}", "if", "properties",
                     "use", "const", PLAN_HOLD, "then", "description",
                     plan_hold_file.plugin->summary, "properties", "config", "properties", "not",
                     "allow", 0);
}

/* An entry; the options of "config" depend on "use". */
static json_t *entry_of(const struct stage_file *files, size_t n, bool *failed)
{
    json_t *names = json_array(), *cases = json_array();

    json_array_append_new(names, json_string(PLAN_HOLD));
    if (json_array_append_new(cases, hold_case()))
        failed[0] = true;
    for (size_t i = 0; i < n; i++) {
        const struct sendit_plugin *plugin = files[i].plugin;

        if (!plugin || files[i].hidden)
            continue;
        if (json_array_append_new(names, json_string(plugin->name)) ||
            json_array_append_new(cases,
                                  json_pack("{s:{s:{s:{s:s}}}, s:{s:s, s:{s:o}, s:[o, o]}}", "if",
                                            "properties", "use", "const", plugin->name, "then",
                                            "description", plugin->summary, "properties", "config",
                                            options_of(plugin->options, plugin->n_options, failed),
                                            "allOf", needs_of(plugin), tests_of(plugin))))
            *failed = true;
    }
    return json_pack("{s:s, s:[s], s:b, s:{s:{s:s, s:o}, s:{s:s, s:s}, s:{s:s}, s:o, s:{s:s, s:s}, "
                     "s:{s:s}}, s:o}",
                     "type", "object", "required", "use", "additionalProperties", 0, "properties",
                     "use", "description", "the name of the stage", "enum", names, "id", "type",
                     "string", "pattern", "^[a-z][a-z0-9-]*$", "enabled", "type", "boolean",
                     "allow", consents(), "because", "type", "string", "description",
                     "why its recipes keep what the profile would take", "config", "type", "object",
                     "allOf", cases);
}

json_t *schema_of_pipeline(const struct stage_file *files, size_t n)
{
    bool failed = false;
    json_t *entry = entry_of(files, n, &failed);
    json_t *run = options_of(plan_run_options, PLAN_N_RUN, &failed);
    json_t *policy = json_pack("{s:s, s:b, s:{s:o, s:{s:s, s:s}}}", "type", "object",
                               "additionalProperties", 0, "properties", "egress_needs",
                               labels("labels that an image must have to leave"), "because", "type",
                               "string", "description", "why the policy is lower than the default");
    json_t *schema = json_pack(
        "{s:s, s:s, s:s, s:[s], s:b, s:{s:{s:s}, s:{s:s}, s:{s:s}, s:o, s:o, s:{s:s, s:i, s:i, "
        "s:o}}}",
        "$schema", DRAFT, "title", "pipeline.json of sendit", "type", "object", "required",
        "stages", "additionalProperties", 0, "properties", "$schema", "type", "string", "state",
        "type", "string", "dry", "type", "boolean", "policy", policy, "run", run, "stages", "type",
        "array", "minItems", 1, "maxItems", PLAN_MAX_STAGES, "items", entry);

    if (!failed)
        return schema;
    json_decref(schema);
    return NULL;
}
