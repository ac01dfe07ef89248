/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/near.h"

#define MAX_WORKERS 256

const struct cli_option cli_options[] = {
    {'p', "pipeline", "FILE", 0,
     "the pipeline; else pipeline.json here, else /etc/sendit/pipeline.json"},
    {0, "set", "STAGE.OPTION=VALUE", 0, "another value for an option; may stand several times"},
    {0, "state", "FOLDER", 0, "the state folder, in place of the one in the pipeline"},
    {0, "plugins", "FOLDER", 0, "look for stages here first; may stand several times"},
    {0, "workers", "N", CLI_WORKERS, "worker processes; else run.workers, else one for each core"},
    {0, "all", NULL, CLI_ALL, "all of the batch, also where only a part of it failed"},
    {0, "online", NULL, CLI_ONLINE, "ask the services, too, with the least possible call"},
    {0, "because", "TEXT", CLI_BECAUSE, "why, for release and drop; the ledger keeps it"},
    {0, "vouch", "LABEL", CLI_VOUCH,
     "answer for a label that the holding stage grants; may stand several times"},
    {0, "paths", NULL, CLI_PATHS, "show paths of originals, to the owner of the state folder"},
    {0, "schema", NULL, CLI_SCHEMA, "print the JSON Schema of pipeline.json, for editors"},
    {'o', "output", "FILE", CLI_DIFF,
     "write the answer there, for its owner only; a file that is there stays"},
    {0, "html", NULL, CLI_DIFF, "answer in one file of HTML"},
    {0, "show-originals", NULL, CLI_DIFF, "show values of the original: they name patients"},
    {0, "config", "FILE", CLI_TEST, "the options of what is tried without a case of its own"},
    {0, "update", NULL, CLI_UPDATE, "write what was found into expect.json"},
    {0, "gdb", NULL, CLI_TEST, "run one case in the debugger"},
    {0, "profile", "NAME", CLI_LINT,
     "ask about this profile of PS3.15, not just \"basic\"; may stand several times"},
    {0, "corpus", "FOLDER", CLI_LINT, "say which tags in these files no header rule means"},
    {0, "ignore", "CODE", CLI_LINT, "no findings of this code; may stand several times"},
    {0, "print", NULL, CLI_LINT, "print the recipes as one, and the hash of that"},
    {0, "in-process", NULL, CLI_TEST, NULL}, /* for --gdb */
    {0, "json", NULL, 0, "answer in JSON"},
    {'v', "verbose", NULL, 0, "more log lines on stderr; twice for a line per image"},
    {'q', "quiet", NULL, 0, "fewer; twice for none"},
    {'h', "help", NULL, 0, "show this and leave"},
    {0, "version", NULL, 0, "show versions and leave"},
    {0, "man", NULL, 0, NULL}, /* for the build */
    {0, "completion", NULL, 0, NULL},
    {0},
};

/* The state of one parse. */
struct parse {
    struct cli_line *line;
    char **argv;
    int argc, at;
    unsigned took; /* CLI_WORKERS | ...: what was given of those */
    struct err *err;
};

static int unknown(struct parse *parse, const char *name)
{
    struct near near;
    char hint[128];

    near_start(&near, name);
    for (const struct cli_option *option = cli_options; option->name; option++)
        if (option->help)
            near_try(&near, option->name);
    if (near.best) {
        snprintf(hint, sizeof(hint), "; did you mean --%s?", near.best);
        return err_set(parse->err, ERR_USAGE, "there is no option --%.60s%s", name, hint);
    }
    return err_set(parse->err, ERR_USAGE, "there is no option --%.60s", name);
}

static int read_workers(struct parse *parse, const char *value)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(value, &end, 10);
    if (errno || *end || n < 1 || n > MAX_WORKERS)
        return err_set(parse->err, ERR_USAGE, "--workers takes a whole number from 1 to %d",
                       MAX_WORKERS);
    parse->line->cli.workers = (int)n;
    return 0;
}

/* One option is there; `value` NULL for a switch. */
static int apply(struct parse *parse, const struct cli_option *option, const char *value)
{
    struct cli_line *line = parse->line;
    struct cli *cli = &line->cli;

    parse->took |= option->takes;
    if (value && !*value)
        return err_set(parse->err, ERR_USAGE, "--%s takes a %s, this is empty", option->name,
                       option->value);
    if (!strcmp(option->name, "pipeline"))
        cli->pipeline = value;
    else if (!strcmp(option->name, "set"))
        cli->sets[cli->n_sets++] = value;
    else if (!strcmp(option->name, "state"))
        cli->state = value;
    else if (!strcmp(option->name, "plugins"))
        cli->plugins[cli->n_plugins++] = value;
    else if (!strcmp(option->name, "workers"))
        return read_workers(parse, value);
    else if (!strcmp(option->name, "all"))
        cli->all = true;
    else if (!strcmp(option->name, "online"))
        cli->online = true;
    else if (!strcmp(option->name, "because"))
        cli->because = value;
    else if (!strcmp(option->name, "vouch"))
        cli->vouches[cli->n_vouches++] = value;
    else if (!strcmp(option->name, "paths"))
        cli->paths = true;
    else if (!strcmp(option->name, "output"))
        cli->output = value;
    else if (!strcmp(option->name, "html"))
        cli->html = true;
    else if (!strcmp(option->name, "show-originals"))
        cli->originals = true;
    else if (!strcmp(option->name, "config"))
        cli->config = value;
    else if (!strcmp(option->name, "profile"))
        cli->profiles[cli->n_profiles++] = value;
    else if (!strcmp(option->name, "corpus"))
        cli->corpus = value;
    else if (!strcmp(option->name, "ignore"))
        cli->ignores[cli->n_ignores++] = value;
    else if (!strcmp(option->name, "print"))
        cli->print = true;
    else if (!strcmp(option->name, "update"))
        cli->update = true;
    else if (!strcmp(option->name, "gdb"))
        cli->gdb = true;
    else if (!strcmp(option->name, "in-process"))
        cli->in_process = true;
    else if (!strcmp(option->name, "schema"))
        cli->schema = true;
    else if (!strcmp(option->name, "json"))
        cli->json = true;
    else if (!strcmp(option->name, "help"))
        line->ask = CLI_ASK_HELP;
    else if (!strcmp(option->name, "man"))
        line->ask = CLI_ASK_MAN;
    else if (!strcmp(option->name, "completion"))
        line->ask = CLI_ASK_COMPLETION;
    else if (!strcmp(option->name, "version"))
        line->ask = CLI_ASK_VERSION;
    else {
        cli->verbose += option->letter == 'v' ? 1 : -1;
        line->loud = true;
    }
    return 0;
}

/* The value in the same word, or the next word. */
static int take_value(struct parse *parse, const struct cli_option *option, const char *glued,
                      const char **ret_value)
{
    *ret_value = glued;
    if (!option->value && glued)
        return err_set(parse->err, ERR_USAGE, "--%s takes no value", option->name);
    if (!option->value || glued)
        return 0;
    if (parse->at + 1 >= parse->argc)
        return err_set(parse->err, ERR_USAGE, "--%s takes a value: %s", option->name,
                       option->value);
    *ret_value = parse->argv[++parse->at];
    return 0;
}

/* "--workers=4", "--workers 4". */
static int parse_long(struct parse *parse, const char *word)
{
    const char *equals = strchr(word, '='), *value;
    char name[64];

    snprintf(name, sizeof(name), "%.*s", (int)(equals ? equals - word : 63), word);
    for (const struct cli_option *option = cli_options; option->name; option++)
        if (!strcmp(option->name, name))
            return take_value(parse, option, equals ? equals + 1 : NULL, &value)
                       ? -1
                       : apply(parse, option, value);
    return unknown(parse, name);
}

/* "-vv", "-p FILE", "-pFILE". */
static int parse_letters(struct parse *parse, const char *letters)
{
    while (*letters) {
        const struct cli_option *option = cli_options;
        const char *value;

        while (option->name && option->letter != *letters)
            option++;
        if (!option->name)
            return err_set(parse->err, ERR_USAGE, "there is no option -%c",
                           *letters > ' ' && *letters < 127 ? *letters : '?');
        letters++;
        if (take_value(parse, option, option->value && *letters ? letters : NULL, &value) ||
            apply(parse, option, value))
            return -1;
        if (option->value)
            break;
    }
    return 0;
}

static const struct cli_command *find_command(const char *name)
{
    for (const struct cli_command *const *at = cli_commands; *at; at++)
        if (!strcmp((*at)->name, name))
            return *at;
    return NULL;
}

static int unknown_command(struct parse *parse, const char *name)
{
    struct near near;
    char hint[128];

    near_start(&near, name);
    for (const struct cli_command *const *at = cli_commands; *at; at++)
        near_try(&near, (*at)->name);
    near_try(&near, "help");
    return err_set(parse->err, ERR_USAGE, "there is no command \"%.60s\"%s", name,
                   near_hint(&near, hint, sizeof(hint)));
}

/* The first word that is left is the command; `help COMMAND` is `COMMAND --help`. */
static int take_command(struct parse *parse)
{
    struct cli *cli = &parse->line->cli;

    if (cli->n_args && !strcmp(cli->args[0], "help")) {
        parse->line->ask = CLI_ASK_HELP;
        cli->args++;
        cli->n_args--;
    }
    if (!cli->n_args)
        return 0;
    cli->command = find_command(cli->args[0]);
    if (!cli->command)
        return unknown_command(parse, cli->args[0]);
    cli->args++;
    cli->n_args--;
    return 0;
}

static int check_command(struct parse *parse)
{
    const struct cli *cli = &parse->line->cli;
    const struct cli_command *command = cli->command;

    if (parse->line->ask != CLI_ASK_RUN)
        return 0;
    if (!command)
        return err_set(parse->err, ERR_USAGE, "a command is missing");
    for (const struct cli_option *option = cli_options; option->name; option++)
        if (option->takes & parse->took & ~command->takes)
            return err_set(parse->err, ERR_USAGE, "%s takes no --%s", command->name, option->name);
    if (cli->n_args < command->min_args)
        return err_set(parse->err, ERR_USAGE, "%s needs more: sendit %s", command->name,
                       command->usage);
    if (command->max_args >= 0 && cli->n_args > command->max_args)
        return err_set(parse->err, ERR_USAGE, "%s does not take \"%.60s\": sendit %s",
                       command->name, cli->args[command->max_args], command->usage);
    return 0;
}

/* After an error the rest still says how the answer is wanted. */
static void look_for_json(struct parse *parse)
{
    for (int i = 1; i < parse->argc && strcmp(parse->argv[i], "--"); i++)
        if (!strcmp(parse->argv[i], "--json"))
            parse->line->cli.json = true;
}

static int parse_words(struct parse *parse)
{
    struct cli *cli = &parse->line->cli;
    bool ended = false;

    for (parse->at = 1; parse->at < parse->argc; parse->at++) {
        char *word = parse->argv[parse->at];
        int bad = 0;

        if (ended || word[0] != '-' || !word[1])
            cli->args[cli->n_args++] = word;
        else if (!strcmp(word, "--"))
            ended = true;
        else if (word[1] == '-')
            bad = parse_long(parse, word + 2);
        else
            bad = parse_letters(parse, word + 1);
        if (bad)
            return -1;
    }
    return 0;
}

int options_parse(int argc, char **argv, struct cli_line *line, struct err *err)
{
    struct parse parse = {.line = line, .argc = argc, .argv = argv, .err = err};
    size_t n = (size_t)(argc > 0 ? argc : 0) + 1;
    struct cli *cli = &line->cli;

    memset(line, 0, sizeof(*line));
    /* No list is longer than the command line. */
    cli->sets = calloc(n, sizeof(*cli->sets));
    cli->plugins = calloc(n, sizeof(*cli->plugins));
    cli->vouches = calloc(n, sizeof(*cli->vouches));
    cli->profiles = calloc(n, sizeof(*cli->profiles));
    cli->ignores = calloc(n, sizeof(*cli->ignores));
    cli->args = line->words = calloc(n, sizeof(*cli->args));
    if (!cli->sets || !cli->plugins || !cli->vouches || !cli->profiles || !cli->ignores ||
        !cli->args)
        return err_set(err, ERR_PLACE, "no memory");
    if (!parse_words(&parse) && !take_command(&parse) && !check_command(&parse))
        return 0;
    look_for_json(&parse);
    return -1;
}

void options_fini(struct cli_line *line)
{
    free(line->cli.sets);
    free(line->cli.plugins);
    free(line->cli.vouches);
    free(line->cli.profiles);
    free(line->cli.ignores);
    free(line->words);
    memset(line, 0, sizeof(*line));
}
