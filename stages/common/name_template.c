/* SPDX-License-Identifier: Apache-2.0 */
#include "name_template.h"

#include <string.h>

static int is_name_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

int name_template_is_value(const char *value)
{
    size_t n = 0;

    while (is_name_character(value[n]))
        n++;
    return n && n <= NAME_TEMPLATE_MAX_VALUE && !value[n] && value[0] != '.';
}

/* The word that `at`, a brace, begins; *ret_length with its braces.  -1 for none. */
static int find_word(const struct name_words *words, const char *at, size_t *ret_length)
{
    for (int i = 0; words->words[i]; i++) {
        size_t n = strlen(words->words[i]);

        if (!strncmp(at + 1, words->words[i], n) && at[n + 1] == '}') {
            *ret_length = n + 2;
            return i;
        }
    }
    return -1;
}

const char *name_template_judge(const struct name_words *words, const char *template)
{
    size_t part = 0, longest = 0, n_words = 0, length;

    if (!*template)
        return "it is empty";
    if (strlen(template) > NAME_TEMPLATE_MAX)
        return "it is too long";
    for (const char *at = template; *at; at += length) {
        length = 1;
        if (*at == '/') {
            if (!part || !at[1])
                return "a part of it is empty";
            part = 0;
            continue;
        }
        if (*at == '{') {
            if (find_word(words, at, &length) < 0)
                return words->unknown;
            n_words++;
            part += NAME_TEMPLATE_MAX_VALUE;
        } else if (!is_name_character(*at)) {
            return "it may have letters, digits, \".\", \"_\", \"-\" and \"/\"";
        } else if (!part && *at == '.') {
            return "a part of it begins with \".\"";
        } else {
            part++;
        }
        longest = part > longest ? part : longest;
    }
    return n_words > words->max_words || longest > words->max_part ? "it names too much" : NULL;
}

int name_template_has(const char *template, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = template; (at = strchr(at, '{')); at++)
        if (!strncmp(at + 1, word, n) && at[n + 1] == '}')
            return 1;
    return 0;
}

sendit_verdict name_template_fill(const struct name_words *words, const char *template,
                                  name_value_fn *value, void *ctx,
                                  char ret_name[NAME_TEMPLATE_SIZE], struct sendit_why *why)
{
    size_t n = 0, length;

    for (const char *at = template; *at; at += length) {
        sendit_verdict verdict;
        const char *text;
        int which;

        length = 1;
        if (*at != '{') {
            ret_name[n++] = *at;
            continue;
        }
        which = find_word(words, at, &length);
        if (which < 0)
            return sendit_because(why, SENDIT_FAIL, "", "Its template is no template.");
        verdict = value(ctx, (size_t)which, &text, why);
        if (verdict != SENDIT_PASS)
            return verdict;
        n += (size_t)snprintf(ret_name + n, NAME_TEMPLATE_SIZE - n, "%s", text);
    }
    ret_name[n] = '\0';
    return SENDIT_PASS;
}
