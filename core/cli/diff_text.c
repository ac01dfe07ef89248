/* SPDX-License-Identifier: Apache-2.0 */
/* `sendit diff` for a terminal, and as JSON. */
#include "cli/diff_show.h"

#include <stdlib.h>
#include <string.h>

#include "cli/table.h"

#define NAME_COLUMN 46
#define VALUE_COLUMN 34

/* A style where `out` is the terminal. */
static const char *style(FILE *out, enum cli_style style)
{
    return out == stdout ? cli_style(style) : "";
}

static void print(FILE *out, char *text)
{
    table_print_safe(text ? text : "(no memory)", out);
    free(text);
}

/* Characters of UTF-8, not bytes. */
static int room_for(const char *text, int width)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n < width ? width - n : 0;
}

/* ---- as text ---- */

static void text_begin(const struct diff_about *about, FILE *out)
{
    const char *note;

    for (size_t i = 0; (note = diff_note(about, i)); i++)
        fprintf(out, "%s\n", note);
}

static void print_stage(const json_t *stage, size_t number, FILE *out)
{
    fprintf(out, "  %zu  %-20s ", number, diff_word(stage, "stage"));
    print(out, diff_verdict(stage));
    if (json_array_size(json_object_get(stage, "labels"))) {
        fputs("  ", out);
        print(out, diff_labels(json_object_get(stage, "labels")));
    }
    fputs("\n", out);
}

static void text_element(const json_t *element, size_t nth, FILE *out)
{
    static const struct {
        const char *fate, *mark;
        enum cli_style style;
    } all[] = {{"kept", "=", CLI_DIM},
               {"changed", "~", CLI_YELLOW},
               {"removed", "-", CLI_RED},
               {"added", "+", CLI_GREEN}};
    const char *fate = diff_word(element, "fate"), *name = diff_word(element, "keyword");
    const json_t *before = json_object_get(element, "before");
    const json_t *after = json_object_get(element, "after");
    int depth = (int)json_integer_value(json_object_get(element, "depth"));
    const char *tag = strrchr(diff_word(element, "path"), '(');
    size_t i = 0;
    char head[200], *from, *to;

    (void)nth;
    while (i < 3 && strcmp(all[i].fate, fate) != 0)
        i++;
    if (!*name)
        name = diff_word(element, "creator");
    snprintf(head, sizeof(head), "%*s%s %s %.80s", 2 * depth, "", all[i].mark, tag ? tag : "",
             name);
    fputs(style(out, all[i].style), out);
    fputs("  ", out);
    table_print_safe(head, out);
    fprintf(out, "%*s %-2s  ", room_for(head, NAME_COLUMN), "",
            diff_word(json_is_object(after) ? after : before, "vr"));
    from = diff_value(before);
    to = i ? diff_value(after) : NULL;
    if (from)
        table_print_safe(from, out);
    if (i)
        fputs(" -> ", out);
    if (to)
        table_print_safe(to, out);
    fprintf(out, "%*s  ", room_for(from ? from : "", VALUE_COLUMN - (to ? 4 + (int)strlen(to) : 0)),
            "");
    print(out, diff_rules(element));
    fprintf(out, "%s\n", style(out, CLI_PLAIN));
    free(from);
    free(to);
}

static void text_file(const json_t *file, size_t nth, FILE *out)
{
    const char *fate = diff_word(file, "fate");
    bool passed = !strcmp(fate, "stored") || !strcmp(fate, "checked");
    size_t i;
    json_t *entry;

    (void)nth;
    fprintf(out, "\n%s", style(out, CLI_BOLD));
    print(out, diff_name(file));
    fprintf(out, "%s  %s", style(out, CLI_PLAIN), style(out, passed ? CLI_GREEN : CLI_YELLOW));
    print(out, diff_fate(file));
    fprintf(out, "%s\n", style(out, CLI_PLAIN));
    json_array_foreach(json_object_get(file, "stages"), i, entry) print_stage(entry, i + 1, out);
    if (diff_ended(file))
        fputs("  Nothing of it leaves; the elements are as they were when it ended.\n", out);
    if (json_is_true(json_object_get(file, "elements_left_out")))
        fputs("  It has more elements than are shown.\n", out);
}

static void text_file_end(size_t elements, FILE *out)
{
    (void)elements;
    fflush(out);
}

static void text_end(const struct diff_sum *sum, const struct err *err, FILE *out)
{
    (void)err; /* is told on stderr */
    fprintf(
        out,
        "\n%zu %s: %zu would be handed out, %zu quarantined, %zu failed, %zu ignored, %zu tried "
        "again\n%lld elements kept, %lld changed, %lld removed, %lld added; nothing was "
        "written\n",
        sum->files, sum->files == 1 ? "file" : "files", sum->passed, sum->quarantined, sum->failed,
        sum->ignored, sum->retry, (long long)sum->kept, (long long)sum->changed,
        (long long)sum->removed, (long long)sum->added);
}

const struct diff_shape diff_text = {.begin = text_begin,
                                     .file = text_file,
                                     .element = text_element,
                                     .file_end = text_file_end,
                                     .end = text_end};

/* ---- as JSON ---- */

static void dump(json_t *json, size_t flags, FILE *out)
{
    if (!json || json_dumpf(json, out, flags))
        fputs("null", out);
    json_decref(json);
}

static void json_begin(const struct diff_about *about, FILE *out)
{
    fputs("{\n\"pipeline\": ", out);
    dump(cli_json_text(about->pipeline), JSON_ENCODE_ANY, out);
    fputs(",\n\"key\": ", out);
    dump(json_pack("{s:s?, s:b}", "fingerprint", about->fingerprint, "makeshift",
                   (int)about->makeshift),
         0, out);
    fprintf(out, ",\n\"originals\": %s,\n\"files\": [", about->originals ? "true" : "false");
}

/* The elements become one more member. */
static void json_file(const json_t *file, size_t nth, FILE *out)
{
    char *text = json_dumps(file, JSON_INDENT(1));
    size_t n = text ? strlen(text) : 0;

    if (n) /* its bracket is closed later */
        n--;
    while (n && text[n - 1] == '\n')
        n--;
    fputs(nth ? ",\n" : "\n", out);
    if (n)
        fwrite(text, 1, n, out);
    fputs(",\n \"elements\": [", out);
    free(text);
}

static void json_element(const json_t *element, size_t nth, FILE *out)
{
    fputs(nth ? ",\n  " : "\n  ", out);
    if (json_dumpf(element, out, 0))
        fputs("null", out);
}

static void json_file_end(size_t elements, FILE *out)
{
    (void)elements;
    fputs("]\n}", out);
}

static void json_end(const struct diff_sum *sum, const struct err *err, FILE *out)
{
    fputs("],\n\"counts\": ", out);
    dump(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "files",
                   (json_int_t)sum->files, "passed", (json_int_t)sum->passed, "quarantined",
                   (json_int_t)sum->quarantined, "failed", (json_int_t)sum->failed, "ignored",
                   (json_int_t)sum->ignored, "retry", (json_int_t)sum->retry, "kept", sum->kept,
                   "changed", sum->changed, "removed", sum->removed, "added", sum->added),
         0, out);
    if (err) {
        fputs(",\n\"error\": ", out);
        dump(cli_json_text(err->text), JSON_ENCODE_ANY, out);
        fprintf(out, ",\n\"status\": %d", err->code);
    }
    fputs("\n}\n", out);
}

const struct diff_shape diff_json = {.begin = json_begin,
                                     .file = json_file,
                                     .element = json_element,
                                     .file_end = json_file_end,
                                     .end = json_end};
