/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/json_doc.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

struct scan {
    const struct json_doc *doc;
    const unsigned char *at, *end;
    unsigned line, col, depth, max_nest;
    struct json_node *current; /* where an error is, for its path */
    struct err *err;
};

const char *json_doc_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

void json_doc_path(const struct json_node *node, char *path, size_t size)
{
    size_t len;

    path[0] = '\0';
    if (!node || !node->parent)
        return;
    json_doc_path(node->parent, path, size);
    len = strlen(path);
    if (node->key)
        snprintf(path + len, size - len, "%s%s", len ? "." : "", node->key);
    else
        snprintf(path + len, size - len, "[%zu]", node->index);
}

/* The path is cut, so that the sentence always finds room after it. */
static int place_error(const char *file, unsigned line, unsigned col, const struct json_node *node,
                       struct err *err, const char *text)
{
    char path[200];

    json_doc_path(node, path, sizeof(path));
    return err_set(err, ERR_REFUSED, "%s:%u:%u: %s%s%s", file, line, col, path, path[0] ? ": " : "",
                   text);
}

int json_doc_error(const struct json_doc *doc, const struct json_node *node, struct err *err,
                   const char *text, ...)
{
    char sentence[700];
    va_list ap;

    va_start(ap, text);
    vsnprintf(sentence, sizeof(sentence), text, ap);
    va_end(ap);
    return place_error(doc->file, node->line, node->col, node, err, sentence);
}

int json_doc_key_error(const struct json_doc *doc, const struct json_node *node, struct err *err,
                       const char *text, ...)
{
    char sentence[700];
    va_list ap;

    va_start(ap, text);
    vsnprintf(sentence, sizeof(sentence), text, ap);
    va_end(ap);
    return place_error(doc->file, node->key ? node->key_line : node->line,
                       node->key ? node->key_col : node->col, node, err, sentence);
}

static int fail(struct scan *s, const char *sentence)
{
    return place_error(s->doc->file, s->line, s->col, s->current, s->err, sentence);
}

static int no_memory(struct scan *s)
{
    return err_set(s->err, ERR_PLACE, "no memory");
}

static int peek(const struct scan *s)
{
    return s->at < s->end ? *s->at : -1;
}

static void step(struct scan *s)
{
    if (*s->at == '\n') {
        s->line++;
        s->col = 1;
    } else if ((*s->at & 0xC0) != 0x80) {
        s->col++;
    }
    s->at++;
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n'))
        step(s);
}

/* The length of one well-formed UTF-8 sequence, 0 if it is none (RFC 3629, no surrogates). */
static size_t utf8_length(const unsigned char *at, size_t room)
{
    unsigned char a = at[0], low = 0x80, high = 0xBF;
    size_t n, i;

    if (a < 0x80)
        return 1;
    if (a < 0xC2 || a > 0xF4)
        return 0;
    n = a < 0xE0 ? 2 : a < 0xF0 ? 3 : 4;
    if (a == 0xE0)
        low = 0xA0;
    else if (a == 0xED)
        high = 0x9F;
    else if (a == 0xF0)
        low = 0x90;
    else if (a == 0xF4)
        high = 0x8F;
    if (room < n || at[1] < low || at[1] > high)
        return 0;
    for (i = 2; i < n; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

static bool hex4(const struct scan *s, const unsigned char *at, unsigned *ret_code)
{
    unsigned code = 0;

    if (s->end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        unsigned c = at[i], digit;

        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20) - 'a' + 10;
        else
            return false;
        code = code * 16 + digit;
    }
    *ret_code = code;
    return true;
}

static void step_n(struct scan *s, size_t n)
{
    while (n--)
        step(s);
}

/* At the backslash. */
static int scan_escape(struct scan *s)
{
    unsigned code, low;

    if (s->end - s->at < 2 || !strchr("\"\\/bfnrtu", s->at[1]) || !s->at[1])
        return fail(s, "after a backslash comes one of \" \\ / b f n r t u");
    if (s->at[1] != 'u') {
        step_n(s, 2);
        return 0;
    }
    if (!hex4(s, s->at + 2, &code))
        return fail(s, "after \\u come four hexadecimal digits");
    if (!code)
        return fail(s, "a NUL has no place here");
    if (code >= 0xDC00 && code <= 0xDFFF)
        return fail(s, "half a surrogate pair is no character");
    if (code >= 0xD800 && code <= 0xDBFF) {
        if (s->end - s->at < 12 || s->at[6] != '\\' || s->at[7] != 'u' ||
            !hex4(s, s->at + 8, &low) || low < 0xDC00 || low > 0xDFFF)
            return fail(s, "half a surrogate pair is no character");
        step_n(s, 6);
    }
    step_n(s, 6);
    return 0;
}

static int scan_string(struct scan *s)
{
    unsigned line = s->line, col = s->col;

    step(s);
    for (;;) {
        int c = peek(s);
        size_t n;

        if (c < 0) {
            s->line = line;
            s->col = col;
            return fail(s, "this text has no closing \"");
        }
        if (c == '"') {
            step(s);
            return 0;
        }
        if (!c)
            return fail(s, "a NUL has no place here");
        if (c < 0x20)
            return fail(s, c == '\n' ? "text ends on the line where it begins; write \\n"
                                     : "a control character must be written as \\u00XX");
        if (c == '\\') {
            if (scan_escape(s))
                return -1;
            continue;
        }
        n = utf8_length(s->at, (size_t)(s->end - s->at));
        if (!n)
            return fail(s, "this is not UTF-8");
        step_n(s, n);
    }
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool skip_digits(struct scan *s)
{
    if (!is_digit(peek(s)))
        return false;
    while (is_digit(peek(s)))
        step(s);
    return true;
}

static int scan_number(struct scan *s)
{
    const unsigned char *start = s->at;
    struct scan begin = *s;
    bool real = false, sound;
    char text[64];
    size_t n;

    if (peek(s) == '-')
        step(s);
    sound = peek(s) == '0' ? (step(s), !is_digit(peek(s))) : skip_digits(s);
    if (sound && peek(s) == '.') {
        real = true;
        step(s);
        sound = skip_digits(s);
    }
    if (sound && (peek(s) == 'e' || peek(s) == 'E')) {
        real = true;
        step(s);
        if (peek(s) == '+' || peek(s) == '-')
            step(s);
        sound = skip_digits(s);
    }
    if (!sound)
        return fail(&begin, "this is not a number as JSON writes it");
    n = (size_t)(s->at - start);
    if (n >= sizeof(text))
        return fail(&begin, "this number is too long");
    memcpy(text, start, n);
    text[n] = '\0';
    errno = 0;
    if (real ? !isfinite(strtod(text, NULL)) : (strtoll(text, NULL, 10), errno == ERANGE))
        return fail(&begin, "this number is too large");
    return 0;
}

static int scan_word(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t n = strlen(words[i]);

        if ((size_t)(s->end - s->at) >= n && !memcmp(s->at, words[i], n)) {
            step_n(s, n);
            return 0;
        }
    }
    if (s->at < s->end && !*s->at)
        return fail(s, "a NUL has no place here");
    if (s->at < s->end && !utf8_length(s->at, (size_t)(s->end - s->at)))
        return fail(s, "this is not UTF-8");
    if (peek(s) == '/' || peek(s) == '#')
        return fail(s, "JSON has no comments");
    if (peek(s) == '\'')
        return fail(s, "text stands between \" and \"");
    return fail(s, s->at < s->end ? "a value was expected here" : "the file ends too early");
}

static struct json_node *add_node(struct scan *s)
{
    struct json_node *node = calloc(1, sizeof(*node)), *parent = s->current;

    if (!node)
        return NULL;
    node->parent = parent;
    node->line = s->line;
    node->col = s->col;
    if (!parent)
        return node;
    if (parent->last) {
        node->index = parent->last->index + 1;
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    return node;
}

static int scan_value(struct scan *s);

static int take_key(struct scan *s, struct json_node *member, const unsigned char *start)
{
    json_t *key = json_loadb((const char *)start, (size_t)(s->at - start), JSON_DECODE_ANY, NULL);

    member->key = json_is_string(key) ? strdup(json_string_value(key)) : NULL;
    json_decref(key);
    return member->key ? 0 : no_memory(s);
}

static int scan_member(struct scan *s, struct json_node *object)
{
    const unsigned char *start = s->at;
    struct json_node *member, *other;

    if (peek(s) != '"')
        return fail(s, peek(s) == '}' ? "a comma after the last member is one too many"
                                      : "a name between \" and \" was expected here");
    member = add_node(s);
    if (!member)
        return no_memory(s);
    if (member->index >= JSON_DOC_MAX_MEMBERS)
        return fail(s, "an object has at most 1000 members");
    member->key_line = s->line;
    member->key_col = s->col;
    if (scan_string(s) || take_key(s, member, start))
        return -1;
    for (other = object->first; other != member; other = other->next)
        if (!strcmp(other->key, member->key))
            return json_doc_key_error(s->doc, member, s->err,
                                      "this name stands twice in one object; the first is on "
                                      "line %u",
                                      other->key_line);
    skip_blanks(s);
    s->current = member;
    if (peek(s) != ':')
        return fail(s, "a colon was expected here");
    step(s);
    skip_blanks(s);
    member->line = s->line;
    member->col = s->col;
    if (scan_value(s))
        return -1;
    s->current = object;
    return 0;
}

static int scan_element(struct scan *s, struct json_node *array)
{
    if (peek(s) == ']' && array->first)
        return fail(s, "a comma after the last element is one too many");
    s->current = add_node(s);
    if (!s->current) {
        s->current = array;
        return no_memory(s);
    }
    if (scan_value(s))
        return -1;
    s->current = array;
    return 0;
}

static int scan_container(struct scan *s, char close)
{
    struct json_node *node = s->current;

    if (++s->depth > s->max_nest)
        return fail(s, "this is nested too deeply");
    step(s);
    skip_blanks(s);
    if (peek(s) != close) {
        for (;;) {
            if (close == '}' ? scan_member(s, node) : scan_element(s, node))
                return -1;
            skip_blanks(s);
            if (peek(s) == close)
                break;
            if (peek(s) < 0)
                return fail(s, "the file ends too early");
            if (peek(s) != ',')
                return fail(s, close == '}' ? "a comma or } was expected here"
                                            : "a comma or ] was expected here");
            step(s);
            skip_blanks(s);
        }
    }
    step(s);
    s->depth--;
    return 0;
}

/* The node of the value is s->current. */
static int scan_value(struct scan *s)
{
    int c = peek(s);

    if (c == '{')
        return scan_container(s, '}');
    if (c == '[')
        return scan_container(s, ']');
    if (c == '"')
        return scan_string(s);
    if (c == '-' || is_digit(c))
        return scan_number(s);
    return scan_word(s);
}

static int scan_text(struct scan *s, struct json_doc *doc)
{
    if (s->end - s->at >= 3 && !memcmp(s->at, "\xEF\xBB\xBF", 3))
        return fail(s, "the file begins with a byte order mark; save it as UTF-8 without one");
    skip_blanks(s);
    doc->root = s->current = add_node(s);
    if (!doc->root)
        return no_memory(s);
    if (scan_value(s))
        return -1;
    skip_blanks(s);
    return s->at == s->end ? 0 : fail(s, "nothing may follow here");
}

static int attach(struct json_node *node, json_t *value)
{
    struct json_node *child;

    if (!value)
        return -1;
    node->value = value;
    for (child = node->first; child; child = child->next)
        if (attach(child, child->key ? json_object_get(value, child->key)
                                     : json_array_get(value, child->index)))
            return -1;
    return 0;
}

int json_doc_parse(struct json_doc *doc, const char *file, const char *text, size_t len,
                   unsigned max_nest, struct err *err)
{
    struct scan s = {.doc = doc,
                     .at = (const unsigned char *)text,
                     .end = (const unsigned char *)text + len,
                     .line = 1,
                     .col = 1,
                     .max_nest = max_nest,
                     .err = err};
    json_error_t why;

    memset(doc, 0, sizeof(*doc));
    doc->file = file;
    if (scan_text(&s, doc))
        goto fail;
    doc->json = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!doc->json) {
        err_set(err, ERR_REFUSED, "%s:%d:%d: this is not JSON", file, why.line, why.column);
        goto fail;
    }
    if (!attach(doc->root, doc->json))
        return 0;
    err_set(err, ERR_REFUSED, "%s:1:1: two readers do not agree on this JSON", file);
fail:
    json_doc_fini(doc);
    return -1;
}

static void free_node(struct json_node *node)
{
    while (node) {
        struct json_node *next = node->next;

        free_node(node->first);
        free(node->key);
        free(node);
        node = next;
    }
}

void json_doc_fini(struct json_doc *doc)
{
    free_node(doc->root);
    json_decref(doc->json);
    memset(doc, 0, sizeof(*doc));
}

struct json_node *json_doc_get(struct json_node *object, const char *key)
{
    struct json_node *child;

    for (child = object ? object->first : NULL; child; child = child->next)
        if (child->key && !strcmp(child->key, key)) {
            child->used = true;
            return child;
        }
    return NULL;
}
