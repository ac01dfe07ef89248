/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of the commands; the texts are in page.c, the options in options.c. */
#include "cli/cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <zlib.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/options.h"
#include "cli/page.h"
#include "cli/table.h"
#include "dicom/dicom.h"
#include "ledger/ledger.h"
#include "base/near.h"
#include "plan/json_doc.h"
#include "run/run.h"

#define SYSTEM_PIPELINE "/etc/sendit/pipeline.json"

const struct cli_command *const cli_commands[] = {
    &cli_run,         &cli_plan,   &cli_check,     &cli_stages, &cli_new_stage, &cli_test_stage,
    &cli_test_recipe, &cli_lint,   &cli_diff,      &cli_status, &cli_log,       &cli_quarantine,
    &cli_retry,       &cli_resume, &cli_reconcile, NULL,
};

/* ---- errors ---- */

int cli_answer(json_t *answer)
{
    if (!answer) {
        fputs("sendit: no memory\n", stderr);
        return ERR_PLACE;
    }
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(answer);
    return 0;
}

int cli_append(json_t *array, json_t *element, bool *failed)
{
    if (json_array_append_new(array, element))
        *failed = true;
    return *failed;
}

json_t *cli_json_text(const char *text)
{
    json_t *value = text ? json_string(text) : json_null();
    char *safe;

    if (value)
        return value;
    safe = table_safe(text);
    value = safe ? json_string(safe) : NULL;
    free(safe);
    return value;
}

int cli_error(const struct cli *cli, const struct err *err)
{
    int status = err->code ? err->code : ERR_REFUSED;

    fflush(stdout);
    if (cli->json) {
        cli_answer(json_pack("{s:o, s:i}", "error", cli_json_text(err->text), "status", status));
    } else { /* it may have a word of pipeline.json or of the command line in it */
        fputs("sendit: ", stderr);
        table_print_safe(err->text, stderr);
        putc('\n', stderr);
    }
    return status;
}

static int usage_error(const struct cli *cli, const char *text)
{
    struct err err = {.code = ERR_USAGE};

    snprintf(err.text, sizeof(err.text), "%s", text);
    cli_error(cli, &err);
    if (!cli->json)
        fprintf(stderr, "see sendit %s%s--help\n", cli->command ? cli->command->name : "",
                cli->command ? " " : "");
    return ERR_USAGE;
}

int cli_usage(const struct cli *cli, const char *text, ...)
{
    char sentence[1000];
    va_list ap;

    va_start(ap, text);
    vsnprintf(sentence, sizeof(sentence), text, ap);
    va_end(ap);
    return usage_error(cli, sentence);
}

/* ---- where things are ---- */

int cli_pipeline(const struct cli *cli, const char **ret_path, struct err *err)
{
    static const char *const places[] = {"pipeline.json", SYSTEM_PIPELINE};

    if (cli->pipeline) {
        *ret_path = cli->pipeline;
        return 0;
    }
    /* One that is there and cannot be read is an error of plan_build(), not a reason to go on. */
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct stat st;

        if (!lstat(places[i], &st)) {
            *ret_path = places[i];
            return 0;
        }
    }
    return err_set(err, ERR_REFUSED,
                   "there is no pipeline.json in this folder and no " SYSTEM_PIPELINE
                   "; name one with -p FILE");
}

/* The member "state" of pipeline.json, "state" without; the caller frees it. */
static int read_state(const char *path, char **ret_text, struct err *err)
{
    struct json_doc doc = {0};
    struct json_node *node;
    char *text = NULL;
    size_t len;
    int result = -1;

    if (file_read(path, PLAN_MAX_FILE, &text, &len))
        return err_set(err, ERR_REFUSED, "%s: it cannot be read: %s", path, strerror(errno));
    if (json_doc_parse(&doc, path, text, len, PLAN_MAX_NEST, err))
        goto out;
    node = json_doc_get(doc.root, "state");
    if (node && (!json_is_string(node->value) || !*json_string_value(node->value))) {
        json_doc_error(&doc, node, err, "the name of a folder was expected");
        goto out;
    }
    *ret_text = strdup(node ? json_string_value(node->value) : "state");
    result = *ret_text ? 0 : err_set(err, ERR_PLACE, "no memory");
out:
    json_doc_fini(&doc);
    free(text);
    return result;
}

int cli_state(const struct cli *cli, char **ret_state, struct err *err)
{
    const char *path = NULL;
    char *cwd = NULL, *folder = NULL, *named = NULL, *slash;
    int result = -1;

    if (!cli->state && cli_pipeline(cli, &path, err))
        return -1;
    cwd = getcwd(NULL, 0);
    if (!cwd)
        return err_set(err, ERR_PLACE, "the current folder cannot be read");
    if (cli->state) {
        *ret_state = file_join(cwd, cli->state);
        result = *ret_state ? 0 : err_set(err, ERR_PLACE, "no memory");
        goto out;
    }
    if (read_state(path, &named, err))
        goto out;
    folder = file_join(cwd, path);
    slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) {
        slash[slash == folder] = '\0';
        *ret_state = file_join(folder, named);
    }
    result = slash && *ret_state ? 0 : err_set(err, ERR_PLACE, "no memory");
out:
    free(named);
    free(folder);
    free(cwd);
    return result;
}

int cli_ledger(const struct cli *cli, char **ret_state, struct ledger **ret_ledger, struct err *err)
{
    int result;

    if (cli_state(cli, ret_state, err))
        return -1;
    result = ledger_open_read(*ret_state, ret_ledger, err);
    if (result != 1)
        return result;
    if (cli->json)
        return cli_answer(json_object()) ? -1 : 1;
    printf("nothing was run yet: there is no ledger in %s\n", *ret_state);
    return 1;
}

int cli_ledger_write(const struct cli *cli, char **ret_state, struct ledger **ret_ledger,
                     struct err *err)
{
    struct ledger *there = NULL;
    int result = cli_ledger(cli, ret_state, &there, err);

    if (result) /* one that is not there is not made */
        return result;
    ledger_close(there);
    return ledger_open(*ret_state, ret_ledger, err);
}

void cli_user(char *text, size_t size)
{
    const struct passwd *user = getpwuid(getuid());

    if (user && user->pw_name && *user->pw_name)
        snprintf(text, size, "%s", user->pw_name);
    else
        snprintf(text, size, "uid %lu", (unsigned long)getuid());
}

int cli_build(const struct cli *cli, const char *const *folders, size_t n_folders,
              struct loader **ret_loader, struct plan **ret_plan, struct err *err)
{
    struct run_request request = {.plugins = cli->plugins, .n_plugins = cli->n_plugins};

    request.plan = (struct plan_request){.sets = cli->sets,
                                         .n_sets = cli->n_sets,
                                         .folders = folders,
                                         .n_folders = n_folders,
                                         .state = cli->state};
    if (cli_pipeline(cli, &request.plan.path, err))
        return -1;
    return run_build(&request, ret_loader, ret_plan, err);
}

/* ---- the start ---- */

static int show_versions(const struct cli *cli)
{
    const char *const libraries[][2] = {
        {"DCMTK", dicom_library()},
        {"SQLite", ledger_library()},
        {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
        {"jansson", jansson_version_str()},
        {"zlib", zlibVersion()},
    };
    size_t n = sizeof(libraries) / sizeof(libraries[0]);
    json_t *object;
    char abi[16];

    snprintf(abi, sizeof(abi), "%u.%u", SENDIT_ABI_MAJOR, SENDIT_ABI_MINOR);
    if (!cli->json) {
        printf("sendit %s\nstage ABI %s\n", SENDIT_VERSION, abi);
        for (size_t i = 0; i < n; i++)
            printf("%s %s%s", libraries[i][0], libraries[i][1], i + 1 < n ? ", " : "\n");
        return 0;
    }
    object = json_object();
    for (size_t i = 0; i < n; i++)
        json_object_set_new(object, libraries[i][0], json_string(libraries[i][1]));
    return cli_answer(
        json_pack("{s:s, s:s, s:o}", "version", SENDIT_VERSION, "abi", abi, "libraries", object));
}

/* SENDIT_LOG, unless -v or -q say something. */
static int set_log_level(const struct cli_line *line)
{
    static const char *const words[] = {"debug", "info", "warn", "error", "off", NULL};
    const char *named = getenv("SENDIT_LOG");
    int level = LOG_WARN - line->cli.verbose;
    struct near near;
    char hint[128];

    if (!line->loud && named && *named) {
        near_start(&near, named);
        for (level = 0; words[level] && strcmp(words[level], named); level++)
            near_try(&near, words[level]);
        if (!words[level])
            return cli_usage(&line->cli,
                             "SENDIT_LOG takes debug, info, warn, error or off, not \"%.40s\"%s",
                             named, near_hint(&near, hint, sizeof(hint)));
    }
    log_init((enum log_level)(level < LOG_DEBUG ? LOG_DEBUG : level > LOG_OFF ? LOG_OFF : level));
    return 0;
}

static int answer(const struct cli_line *line)
{
    switch (line->ask) {
    case CLI_ASK_HELP:
        page_help(line->cli.command, stdout);
        return 0;
    case CLI_ASK_MAN:
        page_man(line->cli.command, stdout);
        return 0;
    case CLI_ASK_COMPLETION:
        page_completion(stdout);
        return 0;
    case CLI_ASK_VERSION:
        return show_versions(&line->cli);
    case CLI_ASK_RUN:
        break;
    }
    return set_log_level(line) ? ERR_USAGE : line->cli.command->run(&line->cli);
}

int cli_main(int argc, char **argv)
{
    struct cli_line line;
    struct err err = {0};
    int status;

    if (argc <= 1) {
        page_short(stderr);
        return ERR_USAGE;
    }
    if (!options_parse(argc, argv, &line, &err))
        status = answer(&line);
    else if (err.code == ERR_USAGE)
        status = usage_error(&line.cli, err.text);
    else
        status = cli_error(&line.cli, &err);
    options_fini(&line);
    return status;
}
