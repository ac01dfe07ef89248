/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secrets.c - table secrets of services.h: "env:NAME", "file:PATH", and "file:$NAME" or
 * "file:$NAME/PATH" for one that the environment has; as a default several places.  A value is in
 * memory from the call to the end of the callback, then wiped.  No text here has one in it.
 */
#include "services/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define FROM_ENV "env:"
#define FROM_FILE "file:"

/* Behind the prefix, or NULL. */
static const char *behind(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(text, prefix, n) ? NULL : text + n;
}

static sendit_result refuse(struct host *host, const char *option, const char *text,
                            sendit_result result)
{
    char said[200];

    snprintf(said, sizeof(said), "The secret of \"%.64s\" %s.", option, text);
    host->host.log(&host->host, SENDIT_ERROR, "secret.refused", said);
    return result;
}

static sendit_result read_all(int fd, char *to, size_t size, size_t *ret_length)
{
    size_t length = 0;

    while (length < size) {
        ssize_t n = read(fd, to + length, size - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return SENDIT_EIO;
        if (!n)
            break;
        length += (size_t)n;
    }
    *ret_length = length;
    return SENDIT_OK;
}

/* One line end goes; nothing else is touched. */
static void cut_newline(char *text, size_t *length)
{
    if (*length && text[*length - 1] == '\n')
        (*length)--;
    if (*length && text[*length - 1] == '\r')
        (*length)--;
    text[*length] = '\0';
}

static sendit_result read_file(struct host *host, const char *option, int fd,
                               const char **ret_value)
{
    struct stat st;
    size_t length;
    char *text;

    if (fstat(fd, &st))
        return SENDIT_EIO;
    if (!S_ISREG(st.st_mode))
        return refuse(host, option, "is in what is no regular file", SENDIT_EDENIED);
    if (st.st_mode & 077)
        return refuse(host, option,
                      "is in a file that others can use; make it yours alone with chmod 600",
                      SENDIT_EDENIED);
    text = table_copy(host, NULL, HOST_MAX_SECRET + 1, true);
    if (!text)
        return SENDIT_ENOMEM;
    if (read_all(fd, text, HOST_MAX_SECRET + 1, &length) != SENDIT_OK)
        return refuse(host, option, "cannot be read from its file", SENDIT_EIO);
    if (length > HOST_MAX_SECRET)
        return refuse(host, option, "is in a file of more than 64 KiB", SENDIT_ECORRUPT);
    cut_newline(text, &length);
    if (strlen(text) != length)
        return refuse(host, option, "is in a file with a NUL in it", SENDIT_ECORRUPT);
    *ret_value = text;
    return SENDIT_OK;
}

static sendit_result from_file(struct host *host, const char *option, const char *path,
                               const char **ret_value)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    sendit_result r;

    if (fd < 0 && errno == ELOOP)
        return refuse(host, option, "is named by a symbolic link; name the file itself",
                      SENDIT_EDENIED);
    if (fd < 0)
        return refuse(host, option, "is in a file that cannot be opened", SENDIT_EIO);
    r = read_file(host, option, fd, ret_value);
    close(fd);
    return r;
}

static sendit_result from_env(struct host *host, const char *option, const char *name,
                              const char **ret_value)
{
    const char *value = getenv(name), *copy;

    if (!value)
        return refuse(host, option, "is in an environment variable that is not set", SENDIT_EIO);
    if (strlen(value) > HOST_MAX_SECRET)
        return refuse(host, option, "is longer than 64 KiB", SENDIT_ECORRUPT);
    copy = table_copy(host, value, strlen(value), true);
    if (!copy)
        return SENDIT_ENOMEM;
    *ret_value = copy;
    return SENDIT_OK;
}

/* What a variable says and `n` bytes behind it; NULL where it is not set, or is empty. */
static sendit_result below(struct host *host, const char *name, size_t length, const char *rest,
                           size_t n, const char **ret_path)
{
    char *copy = table_copy(host, name, length, false), *path;
    const char *folder;

    *ret_path = NULL;
    if (!copy)
        return SENDIT_ENOMEM;
    folder = getenv(copy);
    if (!folder || !*folder)
        return SENDIT_OK;
    path = table_copy(host, NULL, strlen(folder) + n, false);
    if (!path)
        return SENDIT_ENOMEM;
    snprintf(path, strlen(folder) + n + 1, "%s%.*s", folder, (int)n, rest);
    *ret_path = path;
    return SENDIT_OK;
}

/* One place of `length` bytes: the variable of an "env:NAME" or the path of a file; both NULL where
 * the environment has none. */
static sendit_result find_place(struct host *host, const char *text, size_t length,
                                const char **ret_variable, const char **ret_path)
{
    const char *copy = table_copy(host, text, length, false), *path;
    size_t n;

    *ret_variable = *ret_path = NULL;
    if (!copy)
        return SENDIT_ENOMEM;
    *ret_variable = behind(copy, FROM_ENV);
    path = behind(copy, FROM_FILE);
    if (!*ret_variable && !path)
        return SENDIT_EINVAL;
    if (!path || *path != '$') {
        *ret_path = path;
        return SENDIT_OK;
    }
    n = strcspn(++path, "/");
    return below(host, path, n, path + n, strlen(path + n), ret_path);
}

/* Of a default: does it say PATH below a variable, and nothing is there?  What is there and cannot
 * be read counts: the site put it there. */
static bool is_missing(const char *text, size_t length, const char *path)
{
    struct stat st;

    return length > 6 && !strncmp(text, FROM_FILE "$", 6) && memchr(text, '/', length) &&
           lstat(path, &st) && (errno == ENOENT || errno == ENOTDIR);
}

/* Of the first place in a list: a path may have blanks in it, those of the pipeline's folder. */
static size_t place_length(const char *text)
{
    size_t n = strcspn(text, " ");

    while (text[n]) {
        size_t blanks = strspn(text + n, " ");
        const char *next = text + n + blanks;

        if (!*next || behind(next, FROM_ENV) || behind(next, FROM_FILE))
            break;
        n += blanks + strcspn(next, " ");
    }
    return n;
}

/* The first place of a default that counts, if one does. */
static sendit_result find_default(struct host *host, const char *text, const char **ret_variable,
                                  const char **ret_path)
{
    for (const char *word = text + strspn(text, " "); *word;) {
        size_t n = place_length(word);
        sendit_result r = find_place(host, word, n, ret_variable, ret_path);

        if (r != SENDIT_OK)
            return r;
        if (*ret_variable && getenv(*ret_variable))
            return SENDIT_OK;
        if (*ret_path && !is_missing(word, n, *ret_path))
            return SENDIT_OK;
        *ret_variable = *ret_path = NULL;
        word += n;
        word += strspn(word, " ");
    }
    return SENDIT_OK;
}

/* The variable of an "env:NAME", or the path of a file; both NULL if it was left out, as is a
 * default of which no place counts. */
static sendit_result find(struct host *host, const char *option, const char **ret_variable,
                          const char **ret_path)
{
    const struct plan_value *value = option ? plan_value(host->stage, option) : NULL;
    sendit_result r;

    *ret_variable = *ret_path = NULL;
    if (!value || value->option->type != SENDIT_OPT_SECRET ||
        (value->option->flags & SENDIT_OPT_MANY))
        return table_misuse(host, "The stage asked for a secret that its table lacks", option);
    if (!value->text)
        return SENDIT_OK;
    if (!value->given)
        return find_default(host, value->text, ret_variable, ret_path);
    r = find_place(host, value->text, strlen(value->text), ret_variable, ret_path);
    if (r == SENDIT_OK && !*ret_variable && !*ret_path)
        return refuse(host, option, "is in a file that an environment variable should name",
                      SENDIT_EIO);
    return r;
}

sendit_result secrets_value(struct host *host, const char *option, const char **ret_value)
{
    const char *variable, *path;
    sendit_result r = find(host, option, &variable, &path);

    *ret_value = NULL;
    if (r == SENDIT_OK && variable)
        return from_env(host, option, variable, ret_value);
    return r == SENDIT_OK && path ? from_file(host, option, path, ret_value) : r;
}

static sendit_result get(const struct sendit_host *handle, const char *option,
                         const char **ret_value)
{
    struct host *host = table_enter(handle);
    const char *value = NULL;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!ret_value)
        return table_misuse(host, "The stage called secrets->get() without a place for it", option);
    if (!(host->stage->plugin->flags & SENDIT_SECRETS))
        return SENDIT_EDENIED;
    r = secrets_value(host, option, &value);
    if (r == SENDIT_OK && !value)
        return SENDIT_EABSENT;
    if (r == SENDIT_OK)
        *ret_value = value;
    return r;
}

static sendit_result put(const struct sendit_host *handle, const char *option, const char *value)
{
    struct host *host = table_enter(handle);
    const char *variable, *path;
    struct stat st;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!value || strlen(value) > HOST_MAX_SECRET)
        return table_misuse(host, "The stage called secrets->put() with what it does not take",
                            option);
    if (!(host->stage->plugin->flags & SENDIT_SECRETS))
        return SENDIT_EDENIED;
    r = find(host, option, &variable, &path);
    if (r != SENDIT_OK)
        return r;
    if (variable)
        return SENDIT_EDENIED;
    if (!path)
        return SENDIT_EABSENT;
    if (!lstat(path, &st) && !S_ISREG(st.st_mode))
        return refuse(host, option, "is in what is no regular file", SENDIT_EDENIED);
    if (file_replace(path, value, strlen(value), 0600))
        return refuse(host, option, "cannot be written into its file", SENDIT_EIO);
    return SENDIT_OK;
}

const struct sendit_secrets host_secrets = {.get = get, .put = put};
