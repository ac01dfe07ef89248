/* SPDX-License-Identifier: Apache-2.0 */
/* sendit stages: what stages there are, and what one of them can be told. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#include "cli/schema.h"
#include "cli/stage_words.h"
#include "cli/table.h"
#include "load/option.h"
#include "run/run.h"

#define JSON_SHOWN 32 /* of a default that is JSON */

/* ---- options ---- */

static const char *type_of(const struct sendit_option *option, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s", option_type_name(option->type),
             option->flags & SENDIT_OPT_MANY ? " list" : "",
             option->flags & SENDIT_OPT_TEST ? "\n(for tests)" : "");
    return text;
}

static void print_options(const struct sendit_option *options, size_t n)
{
    static const char *const heads[] = {"option", "type", "default", "limit", "", NULL};
    struct table table;
    char type[40];

    if (!n) {
        puts("It has no options.");
        return;
    }
    table_init(&table, heads);
    for (size_t i = 0; i < n; i++) {
        const struct sendit_option *option = &options[i];

        table_add(&table, option->name);
        table_add(&table, type_of(option, type, sizeof(type)));
        if (option->type == SENDIT_OPT_JSON && option->default_value) /* --json shows it */
            table_addf(&table, "%.*s%s", JSON_SHOWN, option->default_value,
                       strlen(option->default_value) > JSON_SHOWN ? "..." : "");
        else
            table_add(&table,
                      option->flags & SENDIT_OPT_REQUIRED ? "(required)" : option->default_value);
        table_add(&table, option->limit);
        table_add(&table, option->help);
    }
    table_print(&table, stdout);
    table_fini(&table);
}

static json_t *options_json(const struct sendit_option *options, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct sendit_option *option = &options[i];

        json_array_append_new(
            array, json_pack("{s:s, s:s, s:b, s:b, s:b, s:s?, s:s?, s:s?}", "name", option->name,
                             "type", option_type_name(option->type), "list",
                             (option->flags & SENDIT_OPT_MANY) != 0, "required",
                             (option->flags & SENDIT_OPT_REQUIRED) != 0, "test",
                             (option->flags & SENDIT_OPT_TEST) != 0, "default",
                             option->default_value, "limit", option->limit, "help", option->help));
    }
    return array;
}

/* ---- one stage ---- */

static json_t *stage_json(const struct stage_file *file)
{
    const struct sendit_plugin *plugin = file->plugin;
    json_t *object =
        json_pack("{s:o, s:s, s:b, s:b, s:o, s:o, s:o}", "file", cli_json_text(file->path),
                  "digest", file->digest, "ships", (int)file->ships, "hidden", (int)file->hidden,
                  "hides", cli_json_text(file->hides), "refused", cli_json_text(file->refused),
                  "warning", cli_json_text(file->warning));
    json_t *more;

    if (!object || !plugin)
        return object;
    more = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                     plugin->name, "version", plugin->version, "summary", plugin->summary, "flags",
                     words_flags_json(plugin->flags), "consent", words_consent_json(plugin->flags),
                     "needs", words_json(plugin->needs), "grants", words_json(plugin->grants),
                     "grants_at_finish", words_json(plugin->grants_at_finish), "after",
                     words_json(plugin->after), "before", words_json(plugin->before), "options",
                     options_json(plugin->options, plugin->n_options));
    if (!more || json_object_update(object, more)) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return object;
}

static void print_line(const char *title, const char *text)
{
    if (text && *text)
        printf("%-12s%s\n", title, text);
}

static void print_flags(uint32_t flags)
{
    const char *title = "does";

    for (const struct flag_word *at = flag_words; at->flag; at++) {
        const char *consent = plan_consent_word(at->flag);

        if (!(flags & at->flag))
            continue;
        printf("%-12s%s", title, at->does);
        if (consent)
            printf(", if the site writes \"allow\": [\"%s\"]", consent);
        putchar('\n');
        title = "";
    }
}

static void print_stage(const struct stage_file *file)
{
    const struct sendit_plugin *plugin = file->plugin;

    printf("%s%s%s %s - %s\n\n", cli_style(CLI_BOLD), plugin->name, cli_style(CLI_PLAIN),
           plugin->version, plugin->summary);
    print_flags(plugin->flags);
    print_line("needs", plugin->needs);
    print_line("grants", plugin->grants);
    print_line("at the end", plugin->grants_at_finish);
    print_line("after", plugin->after);
    print_line("before", plugin->before);
    printf("%-12s%s (%s)\n", "file", file->path, file->ships ? "ships with sendit" : "the site's");
    print_line("hides", file->hides);
    printf("%-12s%s\n", "SHA-256", file->digest);
    print_line("warning", file->warning);
    putchar('\n');
    print_options(plugin->options, plugin->n_options);
}

static int show_core(const struct cli *cli)
{
    if (cli->json)
        return cli_answer(json_pack("{s:s, s:s, s:o}", "name", "run", "summary",
                                    "the core's own options", "options",
                                    options_json(plan_run_options, PLAN_N_RUN)));
    printf("%srun%s - the core's own options, under \"run\" in pipeline.json\n\n",
           cli_style(CLI_BOLD), cli_style(CLI_PLAIN));
    print_options(plan_run_options, PLAN_N_RUN);
    return 0;
}

/* The core's own entry has no file. */
static int show_hold(const struct cli *cli)
{
    const struct sendit_plugin *plugin = plan_hold_file.plugin;

    if (cli->json)
        return cli_answer(json_pack("{s:s, s:s, s:[]}", "name", plugin->name, "summary",
                                    plugin->summary, "options"));
    printf("%s%s%s - %s\n\n", cli_style(CLI_BOLD), plugin->name, cli_style(CLI_PLAIN),
           plugin->summary);
    print_options(NULL, 0);
    return 0;
}

static int show_one(const struct cli *cli, struct loader *loader)
{
    const struct stage_file *file;
    struct err err = {0};

    if (loader_find(loader, cli->args[0], &file, &err))
        return cli_error(cli, &err);
    if (cli->json)
        return cli_answer(stage_json(file));
    print_stage(file);
    return 0;
}

/* ---- all of them ---- */

static const char *standing(const struct stage_file *file)
{
    if (file->refused)
        return "REFUSED";
    if (file->hidden)
        return file->ships ? "ships, hidden" : "site's, hidden";
    return file->ships ? "ships" : "site's";
}

/* The file's name without its folder and ".so". */
static void name_of(const struct stage_file *file, char *name, size_t size)
{
    const char *slash = strrchr(file->path, '/'), *base = slash ? slash + 1 : file->path;
    size_t n = strlen(base);

    snprintf(name, size, "%.*s", (int)(n > 3 ? n - 3 : n), base);
}

static void print_list(const struct stage_file *files, size_t n)
{
    static const char *const heads[] = {"stage", "version", "from", "", NULL};
    struct table table;

    table_init(&table, heads);
    for (size_t i = 0; i < n; i++) {
        const struct sendit_plugin *plugin = files[i].plugin;
        char name[256];

        name_of(&files[i], name, sizeof(name));
        table_add(&table, name);
        table_add(&table, plugin ? plugin->version : NULL);
        table_add(&table, standing(&files[i]));
        table_add(&table, plugin ? plugin->summary : files[i].refused);
    }
    table_print(&table, stdout);
    table_fini(&table);
    for (size_t i = 0; i < n; i++)
        if (files[i].warning)
            printf("\nwarning: %s: %s\n", files[i].path, files[i].warning);
    puts("\nMore: sendit stages NAME; the core's own options: sendit stages run");
}

static int show_all(const struct cli *cli, struct loader *loader)
{
    const struct stage_file *files;
    struct err err = {0};
    bool failed = false;
    json_t *array;
    size_t n;

    if (loader_list(loader, &files, &n, &err))
        return cli_error(cli, &err);
    if (!cli->json && n)
        print_list(files, n);
    else if (!cli->json)
        printf("there are no stages in %s\n", loader_own_folder(loader));
    if (!cli->json)
        return 0;
    array = json_array();
    for (size_t i = 0; i < n; i++)
        cli_append(array, stage_json(&files[i]), &failed);
    if (failed) {
        json_decref(array);
        array = NULL;
    }
    return cli_answer(array);
}

static int show_schema(const struct cli *cli, struct loader *loader)
{
    const struct stage_file *files;
    struct err err = {0};
    size_t n;

    if (loader_list(loader, &files, &n, &err))
        return cli_error(cli, &err);
    return cli_answer(schema_of_pipeline(files, n));
}

static int run(const struct cli *cli)
{
    struct run_request request = {.plugins = cli->plugins, .n_plugins = cli->n_plugins};
    struct loader *loader;
    struct err err = {0}, no_pipeline;
    int status;

    if (cli->n_args && cli->schema)
        return cli_usage(cli, "--schema is about all stages: leave \"%.60s\" out", cli->args[0]);
    if (cli->n_args && !strcmp(cli->args[0], "run"))
        return show_core(cli);
    if (cli->n_args && !strcmp(cli->args[0], PLAN_HOLD))
        return show_hold(cli);
    /* A pipeline matters only for the plugins.d beside it. */
    if (cli_pipeline(cli, &request.plan.path, &no_pipeline))
        request.plan.path = NULL;
    loader = run_loader(&request, &err);
    if (!loader)
        return cli_error(cli, &err);
    if (cli->schema)
        status = show_schema(cli, loader);
    else
        status = cli->n_args ? show_one(cli, loader) : show_all(cli, loader);
    loader_free(loader);
    return status;
}

const struct cli_command cli_stages = {
    .name = "stages",
    .usage = "stages [NAME]",
    .summary = "list the stages, or show the options of one",
    .help =
        "Lists every stage in the folders that are searched, in this order: those of --plugins,\n"
        "plugins.d beside the pipeline, the installation's own. The first of a name is used;\n"
        "later ones are hidden, and listed all the same. One that cannot be loaded is listed with\n"
        "the reason.\n"
        "\n"
        "With NAME: what the stage does, the labels that it needs and grants, what the site has "
        "to\n"
        "allow, its file, and its options with type, default and limit. The name \"run\" shows "
        "the\n"
        "core's own options, \"hold\" its own entry.\n"
        "\n"
        "--schema prints a JSON Schema of pipeline.json with the options of every stage, by which\n"
        "an editor completes and checks it: name its file under \"$schema\".",
    .examples = "sendit stages\twhat there is\n"
                "sendit stages file-store\tone of them\n"
                "sendit stages run --json\tthe core's own options, for programs\n"
                "sendit stages --schema > pipeline.schema.json\tfor an editor",
    .takes = CLI_SCHEMA,
    .min_args = 0,
    .max_args = 1,
    .run = run,
};
