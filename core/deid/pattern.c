/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/pattern.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    enum pattern_how how;
    bool plain;
    char *word; /* in small letters, if it is nothing but a word of ASCII; else NULL */
    size_t word_len;
};

static bool is_word_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ' ' ||
           c == ',' || c == '/';
}

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool consists_of_words(const char *text, size_t len, bool with_bars)
{
    for (size_t i = 0; i < len; i++)
        if (!is_word_letter(text[i]) && !(with_bars && text[i] == '|'))
            return false;
    return true;
}

/* Is there memory for all that matching needs? */
static bool prepare(struct pattern *pattern, const char *text, size_t len)
{
    pattern->data = pcre2_match_data_create(1, NULL);
    pattern->context = pcre2_match_context_create(NULL);
    if (!pattern->data || !pattern->context)
        return false;
    pcre2_set_match_limit(pattern->context, PATTERN_MATCH_LIMIT);
    pcre2_set_depth_limit(pattern->context, PATTERN_MATCH_LIMIT);
    pcre2_set_heap_limit(pattern->context, PATTERN_HEAP_KIB);
    pattern->plain = consists_of_words(text, len, true);
    if (!len || !consists_of_words(text, len, false))
        return true;
    pattern->word = malloc(len);
    if (!pattern->word)
        return false;
    for (size_t i = 0; i < len; i++)
        pattern->word[i] = small(text[i]);
    pattern->word_len = len;
    return true;
}

struct pattern *pattern_new(const char *text, size_t len, enum pattern_how how, char *why,
                            size_t size, size_t *ret_at)
{
    uint32_t options = PCRE2_UTF | PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C;
    struct pattern *pattern = calloc(1, sizeof(*pattern));
    int error;

    why[0] = '\0';
    *ret_at = 0;
    if (!pattern)
        return NULL;
    if (len > PATTERN_MAX) {
        snprintf(why, size, "it is longer than %d bytes", PATTERN_MAX);
        goto fail;
    }
    if (how == PATTERN_AT_START || how == PATTERN_WHOLE)
        options |= PCRE2_ANCHORED;
    if (how == PATTERN_AT_END || how == PATTERN_WHOLE)
        options |= PCRE2_ENDANCHORED;
    pattern->how = how;
    pattern->code = pcre2_compile((PCRE2_SPTR)text, len, options, &error, ret_at, NULL);
    if (!pattern->code) {
        if (error != PCRE2_ERROR_NOMEMORY)
            pcre2_get_error_message(error, (PCRE2_UCHAR *)why, size);
        goto fail;
    }
    if (prepare(pattern, text, len))
        return pattern;
fail:
    pattern_free(pattern);
    return NULL;
}

void pattern_free(struct pattern *pattern)
{
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    pcre2_match_data_free(pattern->data);
    pcre2_match_context_free(pattern->context);
    free(pattern->word);
    free(pattern);
}

static bool stands_at(const struct pattern *pattern, const char *text)
{
    for (size_t i = 0; i < pattern->word_len; i++)
        if (small(text[i]) != pattern->word[i])
            return false;
    return true;
}

/* A word needs no machine.  -1 where the text has letters beyond ASCII, which may be the same
 * without regard to case. */
static int match_word(const struct pattern *pattern, const char *text, size_t len)
{
    size_t n = pattern->word_len, from = 0, to;

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            return -1;
    if (n > len)
        return PATTERN_NO;
    to = len - n;
    if (pattern->how == PATTERN_AT_START)
        to = 0;
    else if (pattern->how == PATTERN_AT_END)
        from = to;
    else if (pattern->how == PATTERN_WHOLE && n != len)
        return PATTERN_NO;
    for (size_t i = from; i <= to; i++)
        if (stands_at(pattern, text + i))
            return PATTERN_YES;
    return PATTERN_NO;
}

int pattern_match(const struct pattern *pattern, const char *text, size_t len)
{
    int r;

    if (pattern->word) {
        r = match_word(pattern, text, len);
        if (r >= 0)
            return r;
    }
    r = pcre2_match(pattern->code, (PCRE2_SPTR)text, len, 0, 0, pattern->data, pattern->context);
    if (r >= 0)
        return PATTERN_YES;
    return r == PCRE2_ERROR_NOMATCH ? PATTERN_NO : PATTERN_LIMIT;
}

bool pattern_is_plain(const struct pattern *pattern)
{
    return pattern->plain;
}

void pattern_escape(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] && strchr("\\^$.[]|()?*+{}-#", text[i]))
            buf_add(out, "\\", 1);
        buf_add(out, text + i, 1);
    }
}
