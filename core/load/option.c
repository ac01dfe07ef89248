/* SPDX-License-Identifier: Apache-2.0 */
#include "load/option.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/near.h"

static const char *const type_names[] = {
    [SENDIT_OPT_STRING] = "text",       [SENDIT_OPT_INTEGER] = "integer",
    [SENDIT_OPT_BOOLEAN] = "boolean",   [SENDIT_OPT_CHOICE] = "choice",
    [SENDIT_OPT_DURATION] = "duration", [SENDIT_OPT_SIZE] = "size",
    [SENDIT_OPT_PATH] = "path",         [SENDIT_OPT_URL] = "url",
    [SENDIT_OPT_SECRET] = "secret",     [SENDIT_OPT_JSON] = "json",
};

struct unit {
    const char *name;
    int64_t factor;
};
static const struct unit durations[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct unit sizes[] = {
    {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {NULL, 0}};

const char *option_type_name(int32_t type)
{
    return type >= SENDIT_OPT_STRING && type <= SENDIT_OPT_JSON ? type_names[type] : "unknown";
}

const char *option_word(const char **at, size_t *ret_len)
{
    const char *word = *at + strspn(*at, " ");

    *ret_len = strcspn(word, " ");
    *at = word + *ret_len;
    return *ret_len ? word : NULL;
}

/* A whole number of `len` bytes, with a unit if the type has units. */
static bool read_number(int32_t type, const char *text, size_t len, int64_t *ret_number)
{
    const struct unit *unit = type == SENDIT_OPT_DURATION ? durations
                              : type == SENDIT_OPT_SIZE   ? sizes
                                                          : NULL;
    char copy[40], *end;
    long long number;

    if (!len || len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (!isdigit((unsigned char)copy[copy[0] == '-' && !unit]))
        return false;
    errno = 0;
    number = strtoll(copy, &end, 10);
    if (errno)
        return false;
    if (!unit) {
        *ret_number = number;
        return !*end;
    }
    /* Nothing is nothing in every unit. */
    while (unit->name && strcmp(unit->name, end))
        unit++;
    if (!unit->name)
        return false;
    return !__builtin_mul_overflow(number, unit->factor, ret_number);
}

/* "LOW..HIGH", of which either may be left out. */
static bool read_limit(const struct sendit_option *option, int64_t *low, int64_t *high)
{
    const char *dots = option->limit ? strstr(option->limit, "..") : NULL;

    *low = INT64_MIN;
    *high = INT64_MAX;
    if (!option->limit)
        return true;
    if (!dots)
        return false;
    if (dots != option->limit &&
        !read_number(option->type, option->limit, (size_t)(dots - option->limit), low))
        return false;
    if (dots[2] && !read_number(option->type, dots + 2, strlen(dots + 2), high))
        return false;
    return *low <= *high;
}

static int parse_number(const struct sendit_option *option, const char *text,
                        struct option_result *ret, struct err *err)
{
    int64_t low, high;

    if (!read_number(option->type, text, strlen(text), &ret->number)) {
        if (option->type == SENDIT_OPT_INTEGER)
            return err_set(err, ERR_REFUSED, "a whole number was expected");
        return err_set(err, ERR_REFUSED, "%s was expected",
                       option->type == SENDIT_OPT_DURATION
                           ? "a duration such as \"90s\" (ms, s, m, h, d)"
                           : "a size such as \"8MiB\" (B, KiB, MiB, GiB)");
    }
    if (read_limit(option, &low, &high) && ret->number >= low && ret->number <= high)
        return 0;
    return err_set(err, ERR_REFUSED, "%s is outside %s", text, option->limit);
}

static int parse_choice(const struct sendit_option *option, const char *text,
                        struct option_result *ret, struct err *err)
{
    char copy[512], hint[128], *at = copy, *word;
    struct near near;

    snprintf(copy, sizeof(copy), "%s", option->limit ? option->limit : "");
    near_start(&near, text);
    for (ret->number = 0; (word = strsep(&at, "|")); ret->number++) {
        if (!strcmp(word, text))
            return 0;
        near_try(&near, word);
    }
    return err_set(err, ERR_REFUSED, "one of %s was expected%s", option->limit,
                   near_hint(&near, hint, sizeof(hint)));
}

static int parse_url(const char *text, struct err *err)
{
    size_t scheme = !strncmp(text, "https://", 8) ? 8 : !strncmp(text, "http://", 7) ? 7 : 0;
    const char *host = text + scheme;
    size_t n = strcspn(host, "/?#");

    if (!scheme || !n || host[0] == ':')
        return err_set(err, ERR_REFUSED,
                       "a URL such as \"https://host.example/path\" was expected");
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 127 || *at == '\\' || *at == '"')
            return err_set(err, ERR_REFUSED, "a URL has no blanks and no characters beyond ASCII");
    if (memchr(host, '@', n))
        return err_set(err, ERR_REFUSED,
                       "a URL has no user and no password; give them as a secret");
    return 0;
}

bool option_is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    char copy[16];
    struct in_addr v4;
    size_t n;

    if (!host)
        return false;
    host += 3;
    n = strcspn(host, "/?#");
    if (!strncmp(host, "[::1]", 5))
        return n == 5 || host[5] == ':';
    n = strcspn(host, ":/?#");
    if (n == 9 && !strncasecmp(host, "localhost", n))
        return true;
    if (n >= sizeof(copy))
        return false;
    memcpy(copy, host, n);
    copy[n] = '\0';
    return inet_pton(AF_INET, copy, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

/* "" or ":1" to ":65535", `n` bytes of it. */
static bool is_port(const char *text, size_t n)
{
    unsigned port = 0;

    if (!n)
        return true;
    if (text[0] != ':' || n < 2 || n > 6)
        return false;
    for (size_t i = 1; i < n; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port && port <= 65535;
}

int option_emulator(const char *text, char **ret_url, struct err *err)
{
    bool scheme = strstr(text, "://");
    struct buf url = {0};
    const char *host, *port;
    size_t n;

    if (strlen(text) > OPTION_MAX_TEXT)
        return err_set(err, ERR_REFUSED, "it has more than %d bytes", OPTION_MAX_TEXT);
    buf_printf(&url, "%s%s", scheme ? "" : "http://", text);
    if (url.failed) {
        buf_fini(&url);
        return err_set(err, ERR_PLACE, "no memory");
    }
    if (parse_url(url.data, err)) {
        buf_fini(&url);
        return err_set(err, ERR_REFUSED, "\"HOST:PORT\" or \"http://HOST:PORT\" was expected");
    }
    host = strstr(url.data, "://") + 3;
    n = strcspn(host, "/?#");
    port = host + strcspn(host, *host == '[' ? "]/?#" : ":/?#");
    if ((*host == '[' && *port++ != ']') || !is_port(port, (size_t)(host + n - port)))
        err_set(err, ERR_REFUSED, "\"HOST:PORT\" or \"http://HOST:PORT\" was expected");
    else if (!option_is_loopback(url.data))
        err_set(err, ERR_REFUSED, "an emulator is on this machine: localhost, 127.0.0.1 or [::1]");
    else if (!(*ret_url = strndup(url.data, (size_t)(host + n - url.data))))
        err_set(err, ERR_PLACE, "no memory");
    else {
        buf_fini(&url);
        return 0;
    }
    buf_fini(&url);
    return -1;
}

/* Of the environment; `n` bytes of it. */
static bool is_variable(const char *name, size_t n)
{
    if (!n || (!isalpha((unsigned char)*name) && *name != '_'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

/* The text itself never stands in a message: someone may have put the secret there. */
static int parse_secret(const char *text, const char *folder, struct option_result *ret,
                        struct err *err)
{
    if (!strncmp(text, "env:", 4) || !strncmp(text, "file:$", 6)) {
        const char *name = text + (text[0] == 'e' ? 4 : 6);
        size_t n = text[0] == 'e' ? strlen(name) : strcspn(name, "/");

        if (!is_variable(name, n))
            return err_set(err, ERR_REFUSED, "after env: and $ comes the name of a variable");
        if (name[n] && !name[n + 1])
            return err_set(err, ERR_REFUSED, "after the variable and / comes a path");
        return 0;
    }
    if (strncmp(text, "file:", 5) || !text[5])
        return err_set(err, ERR_REFUSED,
                       "a secret never stands here itself: write \"env:NAME\" or \"file:PATH\"");
    if (folder) {
        char *path = file_join(folder, text + 5);
        size_t size = path ? strlen(path) + 6 : 0;

        ret->text = path ? malloc(size) : NULL;
        if (ret->text)
            snprintf(ret->text, size, "file:%s", path);
        free(path);
        if (!ret->text)
            return err_set(err, ERR_PLACE, "no memory");
    }
    return 0;
}

static int parse_path(const char *text, const char *folder, struct option_result *ret,
                      struct err *err)
{
    if (!*text)
        return err_set(err, ERR_REFUSED, "a path was expected, this is empty");
    if (strlen(text) >= PATH_MAX)
        return err_set(err, ERR_REFUSED, "a path has fewer than %d bytes", PATH_MAX);
    if (!folder)
        return 0;
    ret->text = file_join(folder, text);
    return ret->text ? 0 : err_set(err, ERR_PLACE, "no memory");
}

int option_parse(const struct sendit_option *option, const char *text, const char *folder,
                 struct option_result *ret, struct err *err)
{
    int result = 0;

    memset(ret, 0, sizeof(*ret));
    if (option->type != SENDIT_OPT_JSON && strlen(text) > OPTION_MAX_TEXT)
        return err_set(err, ERR_REFUSED, "a value has at most %d bytes", OPTION_MAX_TEXT);
    switch (option->type) {
    case SENDIT_OPT_INTEGER:
    case SENDIT_OPT_DURATION:
    case SENDIT_OPT_SIZE:
        result = parse_number(option, text, ret, err);
        break;
    case SENDIT_OPT_BOOLEAN:
        ret->number = !strcmp(text, "true");
        if (!ret->number && strcmp(text, "false"))
            result = err_set(err, ERR_REFUSED, "true or false was expected");
        break;
    case SENDIT_OPT_CHOICE:
        result = parse_choice(option, text, ret, err);
        break;
    case SENDIT_OPT_PATH:
        result = parse_path(text, folder, ret, err);
        break;
    case SENDIT_OPT_URL:
        result = parse_url(text, err);
        break;
    case SENDIT_OPT_SECRET:
        result = parse_secret(text, folder, ret, err);
        break;
    case SENDIT_OPT_STRING:
    case SENDIT_OPT_JSON:
        break;
    default:
        return err_set(err, ERR_REFUSED, "type %d is unknown", (int)option->type);
    }
    if (!result && !ret->text && !(ret->text = strdup(text)))
        result = err_set(err, ERR_PLACE, "no memory");
    return result;
}

/* Each place as one of its own. */
static int parse_places(const struct sendit_option *option, const char *text, const char *folder,
                        struct option_result *ret, struct err *err)
{
    const char *at = text, *word;
    struct buf places = {0};
    size_t n;
    int result = 0;

    while (!result && (word = option_word(&at, &n))) {
        struct option_result place = {0};
        char *copy = strndup(word, n);

        result = copy ? option_parse(option, copy, folder, &place, err)
                      : err_set(err, ERR_PLACE, "no memory");
        free(copy);
        if (!result)
            buf_printf(&places, "%s%s", places.len ? " " : "", place.text);
        free(place.text);
    }
    if (!result && !places.len)
        result = err_set(err, ERR_REFUSED, "\"env:NAME\" or \"file:PATH\" was expected");
    if (!result && !(ret->text = buf_take(&places)))
        result = err_set(err, ERR_PLACE, "no memory");
    buf_fini(&places);
    return result;
}

int option_parse_default(const struct sendit_option *option, const char *text, const char *folder,
                         struct option_result *ret, struct err *err)
{
    if (option->type != SENDIT_OPT_SECRET)
        return option_parse(option, text, folder, ret, err);
    memset(ret, 0, sizeof(*ret));
    return parse_places(option, text, folder, ret, err);
}

static bool is_snake(const char *name)
{
    if (!name || !islower((unsigned char)name[0]) || strlen(name) > 63)
        return false;
    for (; *name; name++)
        if (!islower((unsigned char)*name) && !isdigit((unsigned char)*name) && *name != '_')
            return false;
    return true;
}

/* "a|b|c", none empty, none twice. */
static bool is_choice(const char *limit)
{
    const char *at = limit;

    if (!limit || strlen(limit) >= 512)
        return false;
    for (;;) {
        size_t n = strcspn(at, "|");

        if (!n)
            return false;
        for (const char *other = limit; other < at; other += strcspn(other, "|") + 1)
            if (strcspn(other, "|") == n && !strncmp(other, at, n))
                return false;
        if (!at[n])
            return true;
        at += n + 1;
    }
}

static int check_default(const struct sendit_option *option, struct err *err)
{
    const char *at = option->default_value, *word;
    struct option_result result;
    size_t n;

    if (!at)
        return 0;
    if (option->flags & SENDIT_OPT_REQUIRED)
        return err_set(err, ERR_REFUSED, "is required and has a default");
    if (option->type == SENDIT_OPT_JSON)
        return 0; /* judged where JSON is read */
    if (!(option->flags & SENDIT_OPT_MANY)) {
        if (option_parse_default(option, at, NULL, &result, err))
            return err_prefix(err, "has a default that is none");
        free(result.text);
        return 0;
    }
    while ((word = option_word(&at, &n))) {
        char *copy = strndup(word, n);
        int bad = copy ? option_parse(option, copy, NULL, &result, err)
                       : err_set(err, ERR_PLACE, "no memory");

        free(copy);
        if (bad)
            return err_prefix(err, "has a default that is none");
        free(result.text);
    }
    return 0;
}

/* Does the limit mean something for this type?  If not, `ret_expected` says what would. */
static bool is_limit(const struct sendit_option *option, const char **ret_expected)
{
    int64_t low, high;

    switch (option->type) {
    case SENDIT_OPT_CHOICE:
        *ret_expected = "words such as \"keep|move\"";
        return is_choice(option->limit);
    case SENDIT_OPT_INTEGER:
    case SENDIT_OPT_DURATION:
    case SENDIT_OPT_SIZE:
        *ret_expected = option->limit && strstr(option->limit, "..") ? "a range such as \"1..64\""
                                                                     : "none or a range";
        return read_limit(option, &low, &high);
    case SENDIT_OPT_URL:
        *ret_expected = "none or, of one for tests, the name of a variable";
        return !option->limit ||
               ((option->flags & SENDIT_OPT_TEST) && !(option->flags & SENDIT_OPT_MANY) &&
                is_variable(option->limit, strlen(option->limit)));
    default:
        *ret_expected = "none";
        return !option->limit;
    }
}

int option_check(const struct sendit_option *option, struct err *err)
{
    const uint32_t known = SENDIT_OPT_REQUIRED | SENDIT_OPT_MANY | SENDIT_OPT_TEST;
    const char *expected;

    if (!is_snake(option->name))
        return err_set(err, ERR_REFUSED, "has no name in snake_case");
    if (option->type < SENDIT_OPT_STRING || option->type > SENDIT_OPT_JSON)
        return err_set(err, ERR_REFUSED, "is of type %d, expected 1 to %d", (int)option->type,
                       SENDIT_OPT_JSON);
    if (option->flags & ~known)
        return err_set(err, ERR_REFUSED, "has flags 0x%x, expected none but 0x%x",
                       (unsigned)option->flags, (unsigned)known);
    if (option->type == SENDIT_OPT_JSON && (option->flags & SENDIT_OPT_MANY))
        return err_set(err, ERR_REFUSED, "is JSON and many, expected one of them");
    if ((option->flags & SENDIT_OPT_TEST) && (option->flags & SENDIT_OPT_REQUIRED))
        return err_set(err, ERR_REFUSED, "is required and for tests, expected one of them");
    if (!option->help || !option->help[0])
        return err_set(err, ERR_REFUSED, "has no line of help");
    if (!is_limit(option, &expected))
        return err_set(err, ERR_REFUSED, "has the limit \"%s\", expected %s",
                       option->limit ? option->limit : "", expected);
    return check_default(option, err);
}
