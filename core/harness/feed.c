/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/feed.h"

#include <string.h>

#include "harness/text.h"

static struct feed_book *book_of(const struct sendit_feed *feed)
{
    return feed->priv;
}

/* As the case sees it: from the folder that it works in. */
static json_t *shown(const struct feed_book *book, const char *path)
{
    size_t n = strlen(book->folder);

    if (!strncmp(path, book->folder, n) && path[n] == '/')
        path += n + 1;
    return text_json(path);
}

static sendit_result done(struct feed_book *book, int bad)
{
    book->failed = book->failed || bad;
    return bad ? SENDIT_ENOMEM : SENDIT_OK;
}

static sendit_result open_batch(const struct sendit_feed *feed, const char *key)
{
    struct feed_book *book = book_of(feed);

    if (!key || !*key || book->open)
        return SENDIT_EINVAL;
    book->open = json_pack("{s:o, s:[]}", "key", shown(book, key), "files");
    return done(book, !book->open);
}

static sendit_result add(const struct sendit_feed *feed, const char *path)
{
    struct feed_book *book = book_of(feed);

    if (!path || path[0] != '/' || !book->open)
        return SENDIT_EINVAL;
    return done(book,
                json_array_append_new(json_object_get(book->open, "files"), shown(book, path)));
}

static sendit_result ignore(const struct sendit_feed *feed, const char *path, const char *code)
{
    struct feed_book *book = book_of(feed);
    json_t *ignored, *name;
    int bad;

    if (!path || path[0] != '/' || !book->open)
        return SENDIT_EINVAL;
    ignored = json_object_get(book->open, "ignored");
    if (!ignored && !json_object_set_new(book->open, "ignored", json_object()))
        ignored = json_object_get(book->open, "ignored");
    name = shown(book, path);
    bad = json_is_string(name)
              ? json_object_set_new(ignored, json_string_value(name),
                                    json_string(code && *code ? code : "import.ignored"))
              : -1;
    json_decref(name);
    return done(book, bad);
}

static sendit_result when_done(const struct sendit_feed *feed, int32_t how, const char *folder)
{
    static const char *const words[] = {"leave", "move", "delete"};
    struct feed_book *book = book_of(feed);
    json_t *to, *text;

    if (!book->open || how < SENDIT_LEAVE || how > SENDIT_DELETE ||
        (how == SENDIT_MOVE && (!folder || folder[0] != '/')))
        return SENDIT_EINVAL;
    to = folder ? shown(book, folder) : NULL;
    text = json_sprintf("%s%s%s", words[how], to ? " " : "", to ? json_string_value(to) : "");
    json_decref(to);
    return done(book, json_object_set_new(book->open, "when_done", text));
}

static int by_name(const json_t *a, const json_t *b)
{
    return strcmp(json_string_value(a), json_string_value(b));
}

/* readdir() has no order of its own, and the ledger sorts; so do we. */
static int sort(json_t *texts)
{
    size_t n = json_array_size(texts);

    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0; j--) {
            json_t *a = json_array_get(texts, j - 1), *b = json_array_get(texts, j);

            if (!json_is_string(a) || !json_is_string(b) || by_name(a, b) <= 0)
                break;
            json_incref(a);
            json_incref(b);
            if (json_array_set_new(texts, j - 1, b) || json_array_set_new(texts, j, a))
                return -1;
        }
    return 0;
}

static sendit_result close_batch(const struct sendit_feed *feed)
{
    struct feed_book *book = book_of(feed);
    json_t *batch = book->open;

    if (!batch)
        return SENDIT_EINVAL;
    book->open = NULL;
    if (sort(json_object_get(batch, "files"))) {
        json_decref(batch);
        return done(book, -1);
    }
    return done(book, json_array_append_new(book->batches, batch));
}

void feed_forget(struct feed_book *book)
{
    json_decref(book->open);
    book->open = NULL;
}

int feed_init(struct feed_book *book, const char *folder)
{
    memset(book, 0, sizeof(*book));
    book->folder = folder;
    book->table = (struct sendit_feed){.priv = book,
                                       .open_batch = open_batch,
                                       .add = add,
                                       .ignore = ignore,
                                       .when_done = when_done,
                                       .close_batch = close_batch};
    book->batches = json_array();
    return book->batches ? 0 : -1;
}

void feed_fini(struct feed_book *book)
{
    json_decref(book->batches);
    json_decref(book->open);
    memset(book, 0, sizeof(*book));
}
