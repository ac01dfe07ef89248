/* SPDX-License-Identifier: Apache-2.0 */
/* sendit diff: what would become of files, element by element, writing nothing. */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli/diff_show.h"
#include "cli/out_file.h"
#include "diff/diff.h"
#include "run/run.h"

/* The site key, as a run would find it. */
struct diff_key {
    struct identity_key key;
    bool needed, makeshift;
};

struct answer {
    const struct diff_shape *shape;
    struct diff_about about;
    struct diff_sum sum;
    FILE *out;
    struct err *err;
    size_t elements; /* of the file in hand */
    bool broken;     /* it could not be written */
    bool begun;
};

/* One in memory, where a run would make one. */
static int make_key(struct diff_key *key, struct err *err)
{
    key->makeshift = true;
    key->key.len = IDENTITY_KEY_MIN;
    return getrandom(key->key.bytes, key->key.len, 0) == (ssize_t)key->key.len
               ? 0
               : err_set(err, ERR_PLACE, "the system gives no random bytes: %s", strerror(errno));
}

static int find_key(const struct plan *plan, struct diff_key *key, struct err *err)
{
    char *path;
    bool may_be_made;
    int result;

    if (run_key_path(plan, &path, &may_be_made, err))
        return -1;
    key->needed = path != NULL;
    if (!path)
        return 0;
    if (may_be_made && access(path, F_OK))
        result = make_key(key, err);
    else
        result = identity_load(path, &key->key, err);
    free(path);
    return result;
}

/* ---- the answer ---- */

static json_int_t count(const json_t *file, const char *fate)
{
    return json_integer_value(json_object_get(json_object_get(file, "counts"), fate));
}

static void sum_up(struct diff_sum *sum, const json_t *file)
{
    const char *fate = diff_word(file, "fate");

    sum->files++;
    sum->passed += !strcmp(fate, "stored") || !strcmp(fate, "checked");
    sum->quarantined += !strcmp(fate, "quarantined");
    sum->failed += !strcmp(fate, "failed");
    sum->ignored += !strcmp(fate, "ignored");
    sum->retry += !strcmp(fate, "retry");
    sum->kept += count(file, "kept");
    sum->changed += count(file, "changed");
    sum->removed += count(file, "removed");
    sum->added += count(file, "added");
}

static void begin(struct answer *answer)
{
    if (!answer->begun)
        answer->shape->begin(&answer->about, answer->out);
    answer->begun = true;
}

/* Has whoever read the answer gone away?  errno is of no use: other calls came after the write. */
static bool is_unread(FILE *out)
{
    struct pollfd fd = {.fd = fileno(out), .events = POLLOUT};

    return poll(&fd, 1, 0) > 0 && fd.revents & (POLLERR | POLLHUP);
}

static int look_for_errors(struct answer *answer)
{
    if (!ferror(answer->out))
        return 0;
    answer->broken = true;
    return err_set(answer->err, ERR_PLACE, "the answer could not be written; is there room?");
}

static int told_file(void *ctx, const json_t *file)
{
    struct answer *answer = ctx;

    begin(answer);
    answer->elements = 0;
    answer->shape->file(file, answer->sum.files, answer->out);
    sum_up(&answer->sum, file);
    return look_for_errors(answer);
}

static int told_element(void *ctx, const json_t *element)
{
    struct answer *answer = ctx;

    answer->shape->element(element, answer->elements++, answer->out);
    return look_for_errors(answer);
}

static int told_end(void *ctx)
{
    struct answer *answer = ctx;

    answer->shape->file_end(answer->elements, answer->out);
    return look_for_errors(answer);
}

/* What ended it before the first file stands alone. */
static int finish(const struct cli *cli, struct answer *answer, struct out_file *out, bool failed,
                  struct err *err)
{
    bool alone = failed && !answer->begun;

    if (answer->broken) {
        bool unread = is_unread(answer->out);

        clearerr(answer->out);
        return unread ? 0 : cli_error(cli, err);
    }
    if (!alone) {
        begin(answer);
        answer->shape->end(&answer->sum, failed ? err : NULL, answer->out);
    }
    if (!alone && !failed && out_file_commit(out, err))
        return cli_error(cli, err);
    if (failed && !alone && cli->json && !cli->output)
        return err->code; /* it is in the answer */
    if (failed)
        return cli_error(cli, err);
    if (answer->sum.failed)
        return ERR_BATCH;
    return answer->sum.retry ? ERR_AWAY : 0;
}

/* ---- the command ---- */

static int show(const struct cli *cli, struct plan *plan, const struct diff_key *key,
                struct err *err)
{
    struct answer answer = {
        .shape = cli->json   ? &diff_json
                 : cli->html ? &diff_html
                             : &diff_text,
        .about = {.pipeline = plan->path,
                  .version = SENDIT_VERSION,
                  .fingerprint = key->needed && !key->makeshift ? key->key.fingerprint : NULL,
                  .makeshift = key->makeshift,
                  .originals = cli->originals}};
    const struct diff_told told = {
        .file = told_file, .element = told_element, .end = told_end, .ctx = &answer};
    struct out_file out;
    struct diff_request request = {.plan = plan,
                                   .names = (const char *const *)cli->args,
                                   .n_names = (size_t)cli->n_args,
                                   .key = key->needed ? &key->key : NULL,
                                   .originals = cli->originals,
                                   .paths = cli->paths};
    char *filters = run_filters_folder();
    bool failed;
    int status;

    if (!filters || out_file_open(&out, cli->output, err)) {
        free(filters);
        return cli_error(cli, err);
    }
    answer.out = out.file;
    answer.err = err;
    request.filters = filters;
    failed = diff_run(&request, &told, err) != 0;
    status = finish(cli, &answer, &out, failed, err);
    out_file_close(&out);
    free(filters);
    return status;
}

static int run(const struct cli *cli)
{
    struct diff_key *key;
    struct loader *loader = NULL;
    struct plan *plan = NULL;
    struct err err = {.code = ERR_PLACE, .text = "no memory"};
    int status;

    if (cli->json && cli->html)
        return cli_usage(cli, "an answer is in JSON or in HTML: --json or --html");
    key = calloc(1, sizeof(*key));
    if (!key || cli_build(cli, NULL, 0, &loader, &plan, &err) || find_key(plan, key, &err))
        status = cli_error(cli, &err);
    else
        status = show(cli, plan, key, &err);
    if (key)
        identity_wipe(&key->key);
    free(key);
    plan_free(plan);
    loader_free(loader);
    return status;
}

const struct cli_command cli_diff = {
    .name = "diff",
    .usage = "diff FILE...",
    .summary = "show what would become of files, element by element",
    .help =
        "Takes each file through the stages of the pipeline and shows, for each element (those in\n"
        "sequences, private ones and those of the file meta group, too): is it kept, changed,\n"
        "removed or added, its value before and after, and the rule that did it, with file and\n"
        "line: a row of the table of PS3.15, or of a recipe. Above stand the verdicts of the\n"
        "stages, with reasons and labels. Of pixel data the length and a digest are shown.\n"
        "\n"
        "Nothing is written: no ledger, no state, no site key, no image. Stages that hand images\n"
        "out or talk to the network are not called; what they would grant is taken for granted,\n"
        "so that the stages behind them are seen. A stage finds nothing of what it had kept, and\n"
        "whether an image was there in an earlier run is not asked. finish() of stages is not\n"
        "called.\n"
        "\n"
        "FILE may be a folder: then all files below it are meant, in the order in which a run\n"
        "would take them; files of one folder are one batch. Their names are shown with --paths\n"
        "alone, as names of files are names of patients.\n"
        "\n"
        "Values of the original are masked, also where they stay as they are; --show-originals\n"
        "shows them. New values are shown of an image that earned ids.replaced and deid.header,\n"
        "as they are what leaves. They are made with the site key. Where no key was made yet, "
        "none\n"
        "is made: they come from one for this answer alone, which the answer says.\n"
        "\n"
        "An image that is held, or ends otherwise, is shown as it was then; nothing of it leaves.\n"
        "A stage that crashes or hangs costs the file, not the command.\n"
        "\n"
        "  =  kept    ~  changed    -  removed    +  added\n"
        "\n"
        "The status is 0 whatever is held, 1 if a file cannot be read or a stage failed on it, 75\n"
        "if a stage wants to be asked again later.",
    .examples =
        "sendit diff data/ct/IM00001\twhat would become of one image\n"
        "sendit diff --show-originals IM00001 | less\twith its values\n"
        "sendit diff --html -o review.html data\ta page to look at; its owner alone can read it\n"
        "sendit diff --json IM00001\tthe same for programs\n"
        "sendit diff --set local-anonymizer.recipes='[\"./site.recipe\"]' IM00001\twhat if?",
    .takes = CLI_DIFF | CLI_PATHS,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
