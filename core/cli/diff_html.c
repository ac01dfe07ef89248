/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sendit diff` as one HTML file: no script, nothing from elsewhere.  Its policy forbids both, so
 * that a value that got through unescaped could do nothing.
 */
#include "cli/diff_show.h"

#include <stdlib.h>
#include <string.h>

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
    "<meta name=\"referrer\" content=\"no-referrer\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>sendit diff</title>\n"
    "<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{font:14px/1.4 system-ui,sans-serif;margin:1em 2em}\n"
    "table{border-collapse:collapse;margin:.5em 0}\n"
    "th,td{text-align:left;vertical-align:top;padding:1px 10px 1px 0}\n"
    "td.v{max-width:28em;overflow-wrap:anywhere}\n"
    "code,td.t,td.v{font-family:ui-monospace,monospace;font-size:13px}\n"
    ".note{font-weight:bold}\n"
    "label{margin-right:1.2em}\n"
    "tr.changed{background:#fc03}tr.removed{background:#f003}tr.added{background:#0a03}\n"
    "tr.kept{opacity:.75}\n";

static const char *const fates[] = {"changed", "removed", "added", "kept"};

static void put_escaped(const char *text, FILE *out)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            putc(*text, out);
        }
    }
}

static void put_text(const char *text, FILE *out)
{
    char *plain = diff_plain(text);

    put_escaped(plain ? plain : "(no memory)", out);
    free(plain);
}

static void put_words(char *words, FILE *out)
{
    put_text(words ? words : "(no memory)", out);
    free(words);
}

static void cell(const char *kind, char *words, FILE *out)
{
    fprintf(out, "<td class=\"%s\"><bdi>", kind);
    put_words(words, out);
    fputs("</bdi></td>", out);
}

static void html_begin(const struct diff_about *about, FILE *out)
{
    const char *note;

    fputs(head, out);
    for (size_t i = 0; i < sizeof(fates) / sizeof(fates[0]); i++)
        fprintf(out, "#f-%s:not(:checked)~main tr.%s{display:none}\n", fates[i], fates[i]);
    fputs("</style>\n</head>\n<body>\n<h1>What would become of it</h1>\n<p>Pipeline <code>", out);
    put_text(about->pipeline, out);
    fputs("</code>", out);
    if (about->fingerprint) {
        fputs(", site key <code>", out);
        put_text(about->fingerprint, out);
        fputs("</code>", out);
    }
    fprintf(out, ", sendit %s. Nothing was written.</p>\n", about->version);
    for (size_t i = 0; (note = diff_note(about, i)); i++) {
        fputs("<p class=\"note\">", out);
        put_text(note, out);
        fputs("</p>\n", out);
    }
    /* beside <main>, so that a rule of style alone can hide rows of it */
    for (size_t i = 0; i < sizeof(fates) / sizeof(fates[0]); i++)
        fprintf(out,
                "<input type=\"checkbox\" id=\"f-%s\" checked><label for=\"f-%s\"> %s</label>\n",
                fates[i], fates[i], fates[i]);
    fputs("<main>\n", out);
}

static void put_stages(const json_t *file, FILE *out)
{
    size_t i;
    json_t *stage;

    fputs(
        "<table class=\"stages\"><tr><th></th><th>stage</th><th>verdict</th><th>labels</th></tr>\n",
        out);
    json_array_foreach(json_object_get(file, "stages"), i, stage)
    {
        fprintf(out, "<tr><td>%zu</td><td>", i + 1);
        put_text(diff_word(stage, "stage"), out);
        fputs("</td>", out);
        cell("w", diff_verdict(stage), out);
        cell("w", diff_labels(json_object_get(stage, "labels")), out);
        fputs("</tr>\n", out);
    }
    fputs("</table>\n", out);
}

static void html_element(const json_t *element, size_t nth, FILE *out)
{
    const char *fate = diff_word(element, "fate"), *name = diff_word(element, "keyword");
    const json_t *before = json_object_get(element, "before");
    const json_t *after = json_object_get(element, "after");
    size_t i = 0;

    if (!nth)
        fputs("<table class=\"elements\"><tr><th></th><th>element</th><th>keyword</th><th>VR</th>"
              "<th>before</th><th>after</th><th>rule</th></tr>\n",
              out);
    while (i < 3 && strcmp(fates[i], fate) != 0)
        i++;
    fprintf(out, "<tr class=\"%s\"><td class=\"f\">%s</td><td class=\"t\">", fates[i], fates[i]);
    put_text(diff_word(element, "path"), out);
    fputs("</td><td><bdi>", out);
    put_text(*name ? name : diff_word(element, "creator"), out);
    fputs("</bdi></td><td>", out);
    put_text(diff_word(json_is_object(after) ? after : before, "vr"), out);
    fputs("</td>", out);
    cell("v", diff_value(before), out);
    cell("v", diff_value(after), out);
    cell("r", diff_rules(element), out);
    fputs("</tr>\n", out);
}

static void html_file(const json_t *file, size_t nth, FILE *out)
{
    fprintf(out, "<section id=\"file-%zu\">\n<h2><bdi>", nth + 1);
    put_words(diff_name(file), out);
    fputs("</bdi></h2>\n<p class=\"fate\"><bdi>", out);
    put_words(diff_fate(file), out);
    fputs("</bdi></p>\n", out);
    put_stages(file, out);
    if (diff_ended(file))
        fputs("<p>Nothing of it leaves; the elements are as they were when it ended.</p>\n", out);
    if (json_is_true(json_object_get(file, "elements_left_out")))
        fputs("<p>It has more elements than are shown.</p>\n", out);
}

static void html_file_end(size_t elements, FILE *out)
{
    if (elements)
        fputs("</table>\n", out);
    fputs("</section>\n", out);
}

static void html_end(const struct diff_sum *sum, const struct err *err, FILE *out)
{
    fprintf(out,
            "</main>\n<p class=\"sum\">%zu files: %zu would be handed out, %zu quarantined, %zu "
            "failed, %zu ignored, %zu tried again. %lld elements kept, %lld changed, %lld removed, "
            "%lld added.</p>\n",
            sum->files, sum->passed, sum->quarantined, sum->failed, sum->ignored, sum->retry,
            (long long)sum->kept, (long long)sum->changed, (long long)sum->removed,
            (long long)sum->added);
    if (err) {
        fputs("<p class=\"note\">It ended before its time: ", out);
        put_text(err->text, out);
        fputs("</p>\n", out);
    }
    fputs("</body>\n</html>\n", out);
}

const struct diff_shape diff_html = {.begin = html_begin,
                                     .file = html_file,
                                     .element = html_element,
                                     .file_end = html_file_end,
                                     .end = html_end};
