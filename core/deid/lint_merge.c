/* SPDX-License-Identifier: Apache-2.0 */
/* Several recipes as one: sections of one name go on where the first of them ended. */
#include <strings.h>

#include "deid/lint_parts.h"

/* Where the lines of a section are. */
struct section_name {
    struct word word, name; /* "%filter", "greylist" */
};

static struct word section_of(struct word line, struct section_name *section)
{
    struct word word = lint_token(line, 0);

    if (word.len && *word.at == '%')
        *section = (struct section_name){word, lint_rest(line, 1)};
    return word;
}

static struct word canonical(struct word name)
{
    return parse_is(name, "graylist") ? (struct word){"greylist", 8} : name;
}

static bool is_word(struct word a, struct word b)
{
    return a.len == b.len && !strncasecmp(a.at, b.at, a.len);
}

/* The lines of the section, of all recipes, from the place on where it begins for the first time.
 */
static void add_lines(const struct lint *lint, const struct section_name *wanted, size_t from,
                      struct buf *text)
{
    for (size_t i = from; i < lint->n_sources; i++) {
        struct section_name section = {0};

        for (unsigned n = 1; n <= lint->lines[i].n; n++) {
            struct recipe_place place = {.file = lint->sources[i].file, .line = n, .col = 1};
            struct word rest = lint_rest(lint_word(lint, &place), 0);
            struct word word = section_of(lint_word(lint, &place), &section);

            if (!word.len || *word.at == '%' || !is_word(section.word, wanted->word) ||
                !is_word(canonical(section.name), canonical(wanted->name)))
                continue;
            buf_printf(text, "%s%.*s\n",
                       parse_is(wanted->word, "%filter") && !parse_is(word, "LABEL") ? "  " : "",
                       (int)rest.len, rest.at);
        }
    }
}

/* Is there a section of that name before this line? */
static bool is_first(const struct lint *lint, const struct section_name *wanted, size_t source,
                     unsigned line)
{
    for (size_t i = 0; i <= source; i++)
        for (unsigned n = 1; n <= lint->lines[i].n && (i < source || n < line); n++) {
            struct recipe_place place = {.file = lint->sources[i].file, .line = n, .col = 1};
            struct section_name section = {0};

            section_of(lint_word(lint, &place), &section);
            if (section.word.len && is_word(section.word, wanted->word) &&
                is_word(canonical(section.name), canonical(wanted->name)))
                return false;
        }
    return true;
}

int lint_merged(const struct lint *lint, struct buf *ret_text)
{
    buf_str(ret_text, "FORMAT dicom\n");
    for (size_t i = 0; i < lint->n_sources; i++)
        for (unsigned n = 1; n <= lint->lines[i].n; n++) {
            struct recipe_place place = {.file = lint->sources[i].file, .line = n, .col = 1};
            struct section_name section = {0};
            struct word name;

            section_of(lint_word(lint, &place), &section);
            if (!section.word.len || !is_first(lint, &section, i, n))
                continue;
            name = canonical(section.name);
            buf_printf(ret_text, "\n%.*s%s%.*s\n", (int)section.word.len, section.word.at,
                       name.len ? " " : "", (int)name.len, name.at);
            add_lines(lint, &section, i, ret_text);
        }
    return ret_text->failed ? -1 : 0;
}
