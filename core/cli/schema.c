/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/schema.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load/option.h"
#include "plan/plan.h"

#define DRAFT "http://json-schema.org/draft-07/schema#" /* what editors know best */

/* ---- one option ---- */

static json_t *choices(const char *limit)
{
    json_t *words = json_array();

    for (const char *at = limit; at && *at;) {
        size_t n = strcspn(at, "|");

        json_array_append_new(words, json_stringn(at, n));
        at += n + (at[n] == '|');
    }
    return json_pack("{s:o}", "enum", words);
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
    case SENDIT_OPT_JSON:
        return json_object();
    default:
        return json_pack("{s:s}", "type", "string");
    }
}

/* "What it is. Default: 5m. Limit: 1s..7d.", which editors show. */
static json_t *describe(const struct sendit_option *option)
{
    bool required = option->flags & SENDIT_OPT_REQUIRED;

    return json_sprintf("%s%s%s%s%s%s%s%s", option->help ? option->help : "",
                        required ? " Required." : "", option->default_value ? " Default: " : "",
                        option->default_value ? option->default_value : "",
                        option->default_value ? "." : "", option->limit ? " Limit: " : "",
                        option->limit ? option->limit : "", option->limit ? "." : "");
}

static json_t *option_of(const struct sendit_option *option)
{
    json_t *schema = value_of(option);

    if (option->flags & SENDIT_OPT_MANY)
        schema = json_pack("{s:s, s:o}", "type", "array", "items", schema);
    if (schema)
        json_object_set_new(schema, "description", describe(option));
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

static json_t *words(const char *what)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "array", "items", "type", "string",
                     "description", what);
}

/* An entry; the options of "config" depend on "use". */
static json_t *entry_of(const struct stage_file *files, size_t n, bool *failed)
{
    json_t *names = json_array(), *cases = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct sendit_plugin *plugin = files[i].plugin;

        if (!plugin || files[i].hidden)
            continue;
        if (json_array_append_new(names, json_string(plugin->name)) ||
            json_array_append_new(
                cases,
                json_pack("{s:{s:{s:{s:s}}}, s:{s:s, s:{s:o}}}", "if", "properties", "use", "const",
                          plugin->name, "then", "description", plugin->summary, "properties",
                          "config", options_of(plugin->options, plugin->n_options, failed))))
            *failed = true;
    }
    return json_pack(
        "{s:s, s:[s], s:b, s:{s:{s:s, s:o}, s:{s:s, s:s}, s:{s:s}, s:o, s:{s:s}}, s:o}", "type",
        "object", "required", "use", "additionalProperties", 0, "properties", "use", "description",
        "the name of the stage", "enum", names, "id", "type", "string", "pattern",
        "^[a-z][a-z0-9-]*$", "enabled", "type", "boolean", "allow",
        words("what the site consents to"), "config", "type", "object", "allOf", cases);
}

json_t *schema_of_pipeline(const struct stage_file *files, size_t n)
{
    bool failed = false;
    json_t *entry = entry_of(files, n, &failed);
    json_t *run = options_of(plan_run_options, PLAN_N_RUN, &failed);
    json_t *policy = json_pack("{s:s, s:b, s:{s:o, s:{s:s, s:s}}}", "type", "object",
                               "additionalProperties", 0, "properties", "egress_needs",
                               words("labels that an image must have to leave"), "because", "type",
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
