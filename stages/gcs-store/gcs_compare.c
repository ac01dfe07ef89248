/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_compare.c - what the journal says of objects, and what is in the bucket.
 *
 * The journal is read into 32 bytes an object; then the bucket is listed, a page at a time; then
 * the journal is read again for the names of those that were not in the list.
 */
#include "gcs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KNOWN (16u << 20) /* objects */
#define PAGE (4u << 20)       /* bytes of a page of the list */
#define MAX_TOKEN 1024

struct known {
    uint64_t name, generation; /* name: a hash */
    uint64_t size;
    uint32_t crc32c;
    bool seen;
};

struct comparing {
    struct sendit_stage_state *self;
    const struct sendit_compare *compare;
    struct known *known;
    size_t n, max;
    sendit_result r; /* of the host */
    uint64_t n_there;
    /* The page that was asked for. */
    char token[MAX_TOKEN];
    bool came, left; /* left: nobody waits for it any more, its end frees this */
    sendit_verdict verdict;
    struct sendit_why why;
};

/* ---- the journal ---- */

static int add_known(void *ctx, const char *name, const struct there *there)
{
    struct comparing *c = ctx;

    if (c->n == c->max) {
        size_t max = c->max ? 2 * c->max : 1024;
        struct known *longer =
            max <= MAX_KNOWN ? reallocarray(c->known, max, sizeof(*longer)) : NULL;

        if (!longer) {
            c->r = SENDIT_ENOMEM;
            return -1;
        }
        c->known = longer;
        c->max = max;
    }
    c->known[c->n++] = (struct known){.name = record_hash(name),
                                      .generation = there->generation,
                                      .size = there->size,
                                      .crc32c = there->crc32c};
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct known *x = a, *y = b;

    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    return x->generation < y->generation ? -1 : x->generation > y->generation;
}

/* Of one that was sent several times the last one counts: generations only grow. */
static void sort_known(struct comparing *c)
{
    size_t n = 0;

    if (c->n)
        qsort(c->known, c->n, sizeof(*c->known), by_name);
    for (size_t i = 0; i < c->n; i++)
        if (i + 1 == c->n || c->known[i].name != c->known[i + 1].name)
            c->known[n++] = c->known[i];
    c->n = n;
}

static struct known *find_known(const struct comparing *c, const char *name)
{
    uint64_t hash = record_hash(name);
    size_t low = 0, high = c->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->known[middle].name == hash)
            return &c->known[middle];
        if (c->known[middle].name < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void differs(struct comparing *c, const char *code, const char *name, const char *text)
{
    sendit_result r = c->compare->differs(c->compare, code, name, text);

    if (c->r == SENDIT_OK)
        c->r = r;
}

static int tell_missing(void *ctx, const char *name, const struct there *there)
{
    struct comparing *c = ctx;
    struct known *known = find_known(c, name);

    if (known && !known->seen && known->generation == there->generation) {
        known->seen = true;
        differs(c, "gcs.missing", name, "It was stored, and is not in the bucket.");
    }
    return c->r == SENDIT_OK ? 0 : -1;
}

/* ---- the bucket ---- */

static void compare_object(struct comparing *c, const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    struct known *known = name ? find_known(c, name) : NULL;
    struct there there;

    if (!name)
        return;
    c->n_there++;
    if (!known) {
        differs(c, "gcs.unknown", name, "It is in the bucket, and the ledger does not know it.");
        return;
    }
    known->seen = true;
    if (there_read(&there, object, c->self->bucket, name))
        differs(c, "gcs.changed", name, "What Google says of it is no description of an object.");
    else if (there.size != known->size || there.crc32c != known->crc32c)
        differs(c, "gcs.changed", name, "It has other bytes than those that were stored.");
    else if (there.generation != known->generation)
        differs(c, "gcs.replaced", name,
                "It has the same bytes and another generation: somebody wrote it anew.");
}

static void take_page(struct comparing *c, const struct google_answer *answer)
{
    json_t *page = NULL;
    const json_t *item;
    const char *token;
    size_t i;
    char what[300];

    snprintf(what, sizeof(what), "the bucket \"%.222s\"", c->self->bucket);
    if (answer->end == GOOGLE_ANSWERED && answer->status == 200)
        page = json_loadb(answer->body, answer->length, JSON_REJECT_DUPLICATES, NULL);
    else
        c->verdict = google_verdict(answer, what, "roles/storage.objectViewer", &c->why);
    if (!json_is_object(page)) {
        if (c->verdict == SENDIT_PASS)
            c->verdict = sendit_because(&c->why, SENDIT_RETRY, "gcs.answer",
                                        "What Google lists is no list; is there a proxy between?");
        json_decref(page);
        return;
    }
    json_array_foreach(json_object_get(page, "items"), i, item) compare_object(c, item);
    token = json_string_value(json_object_get(page, "nextPageToken"));
    if (token && strlen(token) >= MAX_TOKEN)
        c->verdict = sendit_because(&c->why, SENDIT_FAIL, "gcs.answer",
                                    "Google's list goes on in a way that is not known.");
    snprintf(c->token, sizeof(c->token), "%s", token ? token : "");
    json_decref(page);
}

static void comparing_free(struct comparing *c)
{
    free(c->known);
    free(c);
}

static void on_page(void *ctx, const struct google_answer *answer)
{
    struct comparing *c = ctx;

    c->came = true;
    if (c->left)
        comparing_free(c);
    else
        take_page(c, answer);
}

static sendit_verdict ask_page(struct comparing *c, const char *prefix)
{
    struct google_request request = {.method = "GET", .max_body = PAGE, .idempotent = true};
    char url[2 * GCS_MAX_URL], escaped[3 * NAME_TEMPLATE_SIZE], token[3 * MAX_TOKEN + 1] = "";
    sendit_result r;
    bool asked;

    google_url_escape(escaped, sizeof(escaped), prefix);
    google_url_escape(token, sizeof(token), c->token);
    snprintf(
        url, sizeof(url),
        "%s/storage/v1/b/%s/o?prefix=%s&maxResults=1000&fields=nextPageToken,items(name,bucket,"
        "generation,size,crc32c)%s%s",
        google_endpoint(c->self->google), c->self->bucket, escaped,
        c->token[0] ? "&pageToken=" : "", token);
    request.url = url;
    c->came = false;
    r = google_start(c->self->google, &request, on_page, c);
    asked = r == SENDIT_OK;
    while (r == SENDIT_OK && !c->came)
        r = c->self->http->drain(c->self->host, 0);
    c->left = r != SENDIT_OK && !c->came && asked;
    if (r != SENDIT_OK)
        return sendit_because(&c->why, SENDIT_RETRY, "gcs.canceled",
                              "The list of objects was ended before its time.");
    return c->verdict;
}

static sendit_verdict list_bucket(struct comparing *c)
{
    char prefix[NAME_TEMPLATE_SIZE];
    sendit_verdict verdict;

    gcs_name_prefix(
        &c->self->names,
        c->self->mode == MODE_ARCHIVE ? c->self->names.archive : c->self->names.instance, prefix);
    do
        verdict = ask_page(c, prefix);
    while (verdict == SENDIT_PASS && c->token[0] && c->r == SENDIT_OK &&
           !c->self->host->canceled(c->self->host));
    return verdict;
}

static sendit_verdict compare_all(struct comparing *c)
{
    sendit_result r = journal_each(c->self, add_known, c);
    sendit_verdict verdict = SENDIT_PASS;

    sort_known(c);
    if (r == SENDIT_OK)
        verdict = list_bucket(c);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (r == SENDIT_OK && c->r == SENDIT_OK)
        r = journal_each(c->self, tell_missing, c);
    if (c->r != SENDIT_OK)
        r = c->r;
    if (r == SENDIT_OK)
        r = c->compare->counted(c->compare, "objects", c->n_there);
    if (r == SENDIT_ECORRUPT)
        return sendit_because(&c->why, SENDIT_FAIL, "gcs.ledger",
                              "What the ledger has of objects cannot be read.");
    return r == SENDIT_OK ? SENDIT_PASS
                          : sendit_because(&c->why, SENDIT_RETRY, "gcs.ledger",
                                           "What the ledger has of objects cannot be read now.");
}

sendit_verdict bucket_compare(struct sendit_stage_state *self, const struct sendit_compare *compare,
                              struct sendit_why *why)
{
    struct comparing *c = calloc(1, sizeof(*c));
    sendit_verdict verdict;

    if (!c)
        return because_of_pack(self, PACK_MEMORY, why);
    c->self = self;
    c->compare = compare;
    c->verdict = SENDIT_PASS;
    verdict = compare_all(c);
    *why = c->why;
    if (!c->left)
        comparing_free(c);
    return verdict;
}
