/* SPDX-License-Identifier: Apache-2.0 */
/* sendit lint: what is odd about a recipe, as a compiler tells it. */
#include "cli/cli.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/near.h"
#include "cli/table.h"
#include "deid/lint.h"
#include "dicom/dicom.h"
#include "run/run.h"

#define MAX_INFLATE (256u << 20) /* as run.max_inflate has it without a pipeline */
#define SHOWN 120                /* characters of a long line, around the caret */

struct job {
    const struct cli *cli;
    struct lint_source *sources; /* owned, as are their texts and names */
    struct lint *lint;
    size_t files, unread; /* of the corpus */
    struct buf merged;
    char hex[DIGEST_HEX];
};

/* ---- reading ---- */

/* A file, or a word that names one of ours. */
static char *find_recipe(const char *given)
{
    struct stat st;
    char *filters, *name, *path = NULL;

    if (strchr(given, '/') || !stat(given, &st))
        return strdup(given);
    filters = run_filters_folder();
    name = malloc(strlen(given) + sizeof("deid."));
    if (filters && name) {
        snprintf(name, strlen(given) + sizeof("deid."), "deid.%s", given);
        path = file_join(filters, name);
    }
    free(filters);
    free(name);
    return path;
}

static int read_recipes(struct job *job, struct err *err)
{
    size_t n = (size_t)job->cli->n_args;

    job->sources = calloc(n, sizeof(*job->sources));
    if (!job->sources)
        return err_set(err, ERR_PLACE, "no memory");
    for (size_t i = 0; i < n; i++) {
        struct lint_source *source = &job->sources[i];
        char *text = NULL;

        source->file = find_recipe(job->cli->args[i]);
        if (!source->file)
            return err_set(err, ERR_PLACE, "no memory");
        for (size_t k = 0; k < i; k++)
            if (!strcmp(job->sources[k].file, source->file))
                return err_set(err, ERR_USAGE, "the recipe \"%s\" stands twice", source->file);
        if (file_read(source->file, RECIPE_MAX_BYTES, &text, &source->len))
            return errno == EFBIG
                       ? err_set(err, ERR_REFUSED, "%s: a recipe has up to %u bytes", source->file,
                                 RECIPE_MAX_BYTES)
                       : err_set(err, ERR_REFUSED, "the recipe \"%s\" cannot be read: %s",
                                 source->file, strerror(errno));
        source->text = text;
    }
    return 0;
}

/* ---- the corpus ---- */

static int look_at_file(struct job *job, struct dicom *dicom, const char *path, struct err *err)
{
    struct dicom_object *object;
    struct dicom_refusal refusal;
    struct stat st;
    int result;

    job->files++;
    if (dicom_open(dicom, path, &object, &st, &refusal)) {
        job->unread++;
        return 0;
    }
    result = lint_object(job->lint, dicom_dataset(object), err);
    dicom_close(object);
    return result;
}

static int look_at_corpus(struct job *job, struct err *err)
{
    char *folders[] = {(char *)(uintptr_t)job->cli->corpus, NULL};
    struct dicom_limits limits = {.max_inflate = MAX_INFLATE};
    struct dicom *dicom = dicom_new(&limits, "/tmp", err);
    FTS *fts = dicom ? fts_open(folders, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    FTSENT *entry;
    int result = 0;

    if (dicom && !fts)
        result = err_set(err, ERR_PLACE, "no memory");
    while (fts && !result && (entry = fts_read(fts))) {
        if (entry->fts_info == FTS_F)
            result = look_at_file(job, dicom, entry->fts_path, err);
        else if (!entry->fts_level && (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR))
            result = err_set(err, ERR_PLACE, "the folder \"%s\" cannot be read: %s",
                             job->cli->corpus, strerror(entry->fts_errno));
        else if (entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR)
            job->unread++;
    }
    if (fts)
        fts_close(fts);
    dicom_free(dicom);
    return dicom ? result : -1;
}

/* ---- the findings ---- */

static bool is_ignored(const struct cli *cli, enum lint_code code)
{
    for (size_t i = 0; i < cli->n_ignores; i++)
        if (!strcmp(cli->ignores[i], lint_code_name(code)))
            return true;
    return false;
}

static size_t characters(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* A part of a line as it is, but for tabs, under which a caret would stand wrong. */
static void print_part(const char *text, size_t len, FILE *out)
{
    char *copy = strndup(text, len);

    for (char *c = copy; copy && *c; c++)
        if (*c == '\t')
            *c = ' ';
    if (copy)
        table_print_safe(copy, out);
    free(copy);
}

/* The line with a caret under its column, and "~" under what is left of the word. */
static void print_line(const char *line, size_t len, unsigned number, unsigned col, FILE *out)
{
    size_t at = 0, from, to, word = 0;

    for (unsigned c = 1; at < len && c < col; c++)
        do
            at++;
        while (at < len && ((unsigned char)line[at] & 0xc0) == 0x80);
    from = at > SHOWN / 2 && len > SHOWN ? at - SHOWN / 2 : 0;
    while (from < at && ((unsigned char)line[from] & 0xc0) == 0x80)
        from++;
    to = len - from > SHOWN ? from + SHOWN : len;
    while (to < len && ((unsigned char)line[to] & 0xc0) == 0x80)
        to++;
    fprintf(out, "%6u | %s", number, from ? "..." : "");
    print_part(line + from, to - from, out);
    fprintf(out, "%s\n       | %*s", to < len ? "..." : "",
            (int)(characters(line + from, at - from) + (from ? 3 : 0)), "");
    while (at + word < to && line[at + word] != ' ' && line[at + word] != '\t')
        word++;
    word = characters(line + at, word);
    fprintf(out, "%s^", out == stdout ? cli_style(CLI_GREEN) : "");
    for (size_t i = 1; i < word; i++)
        putc('~', out);
    fprintf(out, "%s\n", out == stdout ? cli_style(CLI_PLAIN) : "");
}

static void print_finding(const struct job *job, const struct lint_finding *finding)
{
    const char *bold = cli_style(CLI_BOLD), *code = cli_style(CLI_YELLOW),
               *plain = cli_style(CLI_PLAIN), *line;
    size_t len;

    fputs(bold, stdout);
    table_print_safe(finding->place.file, stdout);
    if (finding->place.line)
        printf(":%u:%u", finding->place.line, finding->place.col);
    printf(":%s %s%s%s: ", plain, code, lint_code_name(finding->code), plain);
    table_print_safe(finding->text, stdout);
    putchar('\n');
    line = lint_line(job->lint, &finding->place, &len);
    if (line)
        print_line(line, len, finding->place.line, finding->place.col, stdout);
    printf("       = write: ");
    table_print_safe(finding->instead, stdout);
    putchar('\n');
}

static json_t *finding_json(const struct job *job, const struct lint_finding *finding)
{
    size_t len = 0;
    const char *line = lint_line(job->lint, &finding->place, &len);

    return json_pack(
        "{s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "file", cli_json_text(finding->place.file), "line",
        finding->place.line ? json_integer(finding->place.line) : json_null(), "column",
        finding->place.line ? json_integer(finding->place.col) : json_null(), "code",
        lint_code_name(finding->code), "text", cli_json_text(finding->text), "source",
        line ? json_stringn(line, len) : json_null(), "instead", cli_json_text(finding->instead));
}

static int answer_json(struct job *job, size_t shown)
{
    json_t *recipes = json_array(), *findings = json_array(), *answer;
    bool failed = !recipes || !findings;

    for (int i = 0; !failed && i < job->cli->n_args; i++)
        cli_append(recipes, cli_json_text(job->sources[i].file), &failed);
    for (size_t i = 0; !failed && i < lint_count(job->lint); i++)
        if (!is_ignored(job->cli, lint_at(job->lint, i)->code))
            cli_append(findings, finding_json(job, lint_at(job->lint, i)), &failed);
    answer = json_pack("{s:o, s:s, s:b, s:o}", "recipes", recipes, "sha256", job->hex, "cut",
                       lint_is_cut(job->lint), "findings", findings);
    if (answer && job->cli->print)
        failed = failed || json_object_set_new(answer, "recipe", cli_json_text(job->merged.data));
    if (answer && job->cli->corpus)
        failed =
            failed || json_object_set_new(answer, "corpus",
                                          json_pack("{s:I, s:I}", "files", (json_int_t)job->files,
                                                    "unread", (json_int_t)job->unread));
    if (failed) {
        json_decref(answer);
        answer = NULL;
    }
    return cli_answer(answer) ? ERR_PLACE : shown ? ERR_BATCH : 0;
}

static int answer(struct job *job)
{
    size_t shown = 0;

    for (size_t i = 0; i < lint_count(job->lint); i++)
        shown += !is_ignored(job->cli, lint_at(job->lint, i)->code);
    if (job->cli->json)
        return answer_json(job, shown);
    if (job->cli->print) {
        printf("# SHA-256 of what follows this line: %s\n%s", job->hex, job->merged.data);
        return 0;
    }
    for (size_t i = 0; i < lint_count(job->lint); i++)
        if (!is_ignored(job->cli, lint_at(job->lint, i)->code))
            print_finding(job, lint_at(job->lint, i));
    if (job->cli->corpus)
        printf("%zu files were looked at, %zu could not be read\n", job->files, job->unread);
    if (lint_is_cut(job->lint))
        puts("there is more; this is not all");
    printf("%zu finding%s\n", shown, shown == 1 ? "" : "s");
    return shown ? ERR_BATCH : 0;
}

/* ---- the command ---- */

/* A recipe that does not load: its line, too. */
static int refuse(const struct job *job, const struct err *err)
{
    int status = cli_error(job->cli, err);

    for (int i = 0; !job->cli->json && job->sources && i < job->cli->n_args; i++) {
        const struct lint_source *source = &job->sources[i];
        size_t n = source->file ? strlen(source->file) : 0;
        unsigned line, col;
        const char *at = source->text, *end;

        if (!at || strncmp(err->text, source->file, n) != 0 ||
            sscanf(err->text + n, ":%u:%u:", &line, &col) != 2)
            continue;
        for (unsigned k = 1; at && k < line; k++) {
            at = memchr(at, '\n', source->len - (size_t)(at - source->text));
            at = at ? at + 1 : NULL;
        }
        if (!at || at == source->text + source->len)
            break;
        end = memchr(at, '\n', source->len - (size_t)(at - source->text));
        print_line(at, (size_t)((end ? end : source->text + source->len) - at), line, col, stderr);
        break;
    }
    return status;
}

static int check_codes(const struct cli *cli)
{
    for (size_t i = 0; i < cli->n_ignores; i++) {
        struct near near;
        char hint[128];
        int code = 0;

        near_start(&near, cli->ignores[i]);
        for (code = 0; code < LINT_CODES; code++) {
            if (!strcmp(cli->ignores[i], lint_code_name((enum lint_code)code)))
                break;
            near_try(&near, lint_code_name((enum lint_code)code));
        }
        if (code == LINT_CODES)
            return cli_usage(cli, "lint has no code \"%.60s\"%s", cli->ignores[i],
                             near_hint(&near, hint, sizeof(hint)));
    }
    return 0;
}

/* "basic" is among the profiles, whatever else is. */
static int look_at_profile(struct job *job, struct err *err)
{
    const struct cli *cli = job->cli;
    const char **profiles = calloc(cli->n_profiles + 2, sizeof(*profiles));
    char *filters = run_filters_folder();
    int result = -1;

    if (!profiles || !filters) {
        err_set(err, ERR_PLACE, "no memory");
    } else {
        profiles[0] = "basic";
        for (size_t i = 0; i < cli->n_profiles; i++)
            profiles[i + 1] = cli->profiles[i];
        result = lint_profile(job->lint, cli->n_profiles ? profiles : NULL, filters, err);
    }
    free(profiles);
    free(filters);
    return result;
}

static int merge(struct job *job, struct err *err)
{
    struct digest *digest;
    int result;

    if (lint_merged(job->lint, &job->merged))
        return err_set(err, ERR_PLACE, "no memory");
    digest = digest_new();
    result = !digest || digest_add(digest, job->merged.data, job->merged.len) ||
             digest_hex(digest, job->hex);
    digest_free(digest);
    return result ? err_set(err, ERR_PLACE, "there is no digest: OpenSSL failed") : 0;
}

static int work(struct job *job, struct err *err)
{
    if (read_recipes(job, err) ||
        lint_new(job->sources, (size_t)job->cli->n_args, &job->lint, err) || merge(job, err))
        return -1;
    if (job->cli->print && !job->cli->json)
        return 0;
    if (lint_rules(job->lint, err) || look_at_profile(job, err) ||
        (job->cli->corpus && look_at_corpus(job, err)))
        return -1;
    return lint_end(job->lint, err);
}

static int run(const struct cli *cli)
{
    struct job job = {.cli = cli};
    struct err err = {0};
    int status = check_codes(cli);

    if (status)
        return status;
    status = work(&job, &err) ? refuse(&job, &err) : answer(&job);
    lint_free(job.lint);
    for (int i = 0; job.sources && i < cli->n_args; i++) {
        free((void *)(uintptr_t)job.sources[i].file);
        free((void *)(uintptr_t)job.sources[i].text);
    }
    free(job.sources);
    buf_fini(&job.merged);
    return status;
}

const struct cli_command cli_lint = {
    .name = "lint",
    .usage = "lint RECIPE...",
    .summary = "say what is odd about a recipe",
    .help =
        "Reads recipes as a stage does and says what in them has no effect, holds for more or "
        "less\n"
        "than it looks, or would be done otherwise by pydicom/deid 0.4.12. RECIPE is a file, or a\n"
        "word as under \"recipes\" in pipeline.json; several are read as one.\n"
        "\n"
        "Each finding has file, line and column, a code, a sentence, the line itself, and what to\n"
        "write instead. The codes are in filters/README.md; those that begin with \"deid-\" say "
        "where\n"
        "pydicom/deid differs.\n"
        "\n"
        "Header rules are held beside table E.1-1 of DICOM PS3.15 and its Basic Profile; with\n"
        "--profile beside that one, and each attribute is a finding. With --corpus, tags in these\n"
        "files that no header rule means are listed; nothing else of the files is shown.\n"
        "\n"
        "The status is 0 without findings, 1 with findings, and 3 if a recipe does not load.",
    .examples = "sendit lint ./deid.site\tone recipe\n"
                "sendit lint dicom ./deid.site\ttwo that a stage reads as one\n"
                "sendit lint --ignore deid-label --json ./deid.site\tfor a program, without "
                "findings of one code\n"
                "sendit lint --corpus export ./deid.site\tand what no rule means in these files\n"
                "sendit lint --print dicom ./deid.site\tboth as one recipe, with its hash",
    .takes = CLI_LINT,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
