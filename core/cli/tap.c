/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/tap.h"

#include <stdlib.h>
#include <string.h>

#include "cli/table.h"

void tap_init(struct tap *tap, const struct cli *cli)
{
    *tap = (struct tap){.cli = cli, .results = json_array()};
    tap->failed = !tap->results;
}

void tap_fini(struct tap *tap)
{
    json_decref(tap->results);
    json_decref(tap->stage);
}

/* Each line as a comment; what a terminal would obey is made visible. */
static void print_comment(const char *text, const char *before)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        char *line = strndup(text, n);

        printf("# %s", before);
        if (line)
            table_print_safe(line, stdout);
        putchar('\n');
        free(line);
        text += n + (text[n] == '\n');
    }
}

void tap_planned(void *ctx, const char *stage, const char *version, size_t n)
{
    struct tap *tap = ctx;

    if (stage)
        tap->stage = json_pack("{s:s, s:s}", "name", stage, "version", version);
    if (tap->cli->json)
        return;
    printf("TAP version 13\n1..%zu\n", n);
    if (stage)
        printf("# %s %s\n", stage, version);
}

static void print_result(const struct tap *tap, const struct harness_result *result)
{
    printf("%sok %zu - %s", result->passed ? "" : "not ", tap->number, result->name);
    if (result->skipped)
        printf(" # SKIP %s", result->skipped);
    if (result->updated)
        printf(" # expect.json was written");
    putchar('\n');
    print_comment(result->text, "");
    if (!result->passed && result->output[0]) {
        puts("# what it said:");
        print_comment(result->output, "| ");
    }
    fflush(stdout);
}

void tap_told(void *ctx, const struct harness_result *result)
{
    struct tap *tap = ctx;
    json_t *object;

    tap->number++;
    if (!tap->cli->json) {
        print_result(tap, result);
        return;
    }
    object = json_pack("{s:o, s:b, s:b, s:o, s:o, s:o}", "name", cli_json_text(result->name),
                       "passed", result->passed, "updated", result->updated, "skipped",
                       cli_json_text(result->skipped), "text", cli_json_text(result->text),
                       "output", cli_json_text(result->passed ? "" : result->output));
    cli_append(tap->results, object, &tap->failed);
}

int tap_finish(struct tap *tap, const struct harness_summary *summary)
{
    int status = summary->failed ? ERR_BATCH : 0;
    json_t *answer;

    if (!tap->cli->json) {
        printf("# %zu passed, %zu failed, %zu skipped", summary->passed, summary->failed,
               summary->skipped);
        printf(summary->updated ? ", %zu written\n" : "\n", summary->updated);
        return status;
    }
    answer = json_pack("{s:O, s:I, s:I, s:I}", "results", tap->results, "passed",
                       (json_int_t)summary->passed, "failed", (json_int_t)summary->failed,
                       "skipped", (json_int_t)summary->skipped);
    if (tap->failed || (tap->stage && json_object_set(answer, "stage", tap->stage))) {
        json_decref(answer);
        answer = NULL;
    }
    return cli_answer(answer) ? ERR_PLACE : status;
}
