/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_journal.c - what is remembered of objects, in the stage's store.
 *
 * An archive has a record under "a.NAME.NUMBER", NAME being a hash of bucket and name: a line of
 * JSON, then its images as hashes of ids and CRC-32s of their tar entries, 12 bytes each.  It is
 * written before the first byte is sent, and again when the archive is there.  Single objects come
 * in lists under "i.BATCH.ATTEMPT.NUMBER", when they are there; each of them says itself whose it
 * is.  Nothing in here is more than new names, ids and digests.
 */
#include "gcs.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER_BYTES 12
#define MAX_LIST ((1u << 20) - 4096) /* a value of the store has up to 1 MiB */
#define MAX_LINE (GCS_MAX_NAME + PACK_CONTENT + SENDIT_ID_SIZE + 128)

static sendit_verdict no_ledger(sendit_result r, struct sendit_why *why)
{
    sendit_verdict verdict = sendit_verdict_of(r);

    return sendit_because(why, verdict == SENDIT_FAIL ? SENDIT_FAIL : SENDIT_RETRY, "gcs.ledger",
                          "What is known of its objects cannot be looked up or kept.");
}

/* ---- hashes ---- */

/* FNV-1a: ids are ours, nobody makes them collide. */
uint64_t record_hash(const char *item)
{
    uint64_t hash = 0xcbf29ce484222325u;

    while (*item)
        hash = (hash ^ (unsigned char)*item++) * 0x100000001b3u;
    return hash;
}

static int by_item(const void *a, const void *b)
{
    uint64_t x = ((const struct record_member *)a)->item;
    uint64_t y = ((const struct record_member *)b)->item;

    return x < y ? -1 : x > y;
}

void record_sort(struct record_member *members, size_t n)
{
    if (n)
        qsort(members, n, sizeof(*members), by_item);
}

const struct record_member *record_find(const struct record *record, uint64_t item)
{
    const struct record_member key = {.item = item};

    return record->n_members
               ? bsearch(&key, record->members, record->n_members, sizeof(key), by_item)
               : NULL;
}

static int make_key(const char *bucket, const char *base, unsigned number,
                    char ret_key[SENDIT_ID_SIZE])
{
    char text[256 + NAME_TEMPLATE_SIZE], hex[33];
    unsigned char sha[EVP_MAX_MD_SIZE];
    int n = snprintf(text, sizeof(text), "%s\n%s", bucket, base);

    if (n <= 0 || (size_t)n >= sizeof(text) ||
        !EVP_Digest(text, (size_t)n, sha, NULL, EVP_sha256(), NULL))
        return -1;
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * (ptrdiff_t)i, 3, "%02x", sha[i]);
    snprintf(ret_key, SENDIT_ID_SIZE, "a.%s.%04u", hex, number);
    return 0;
}

/* ---- texts ---- */

static uint64_t read_number(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));

    return n > 0 ? (uint64_t)n : 0;
}

static void read_text(const json_t *value, char *to, size_t size)
{
    const char *text = json_string_value(value);

    snprintf(to, size, "%s", text && strlen(text) < size ? text : "");
}

static int read_members(struct record *record, const unsigned char *at, size_t length)
{
    if (length % MEMBER_BYTES)
        return -1;
    record->n_members = length / MEMBER_BYTES;
    record->members = calloc(record->n_members + 1, sizeof(*record->members));
    if (!record->members)
        return -1;
    for (size_t i = 0; i < record->n_members; i++, at += MEMBER_BYTES) {
        memcpy(&record->members[i].item, at, 8);
        memcpy(&record->members[i].crc, at + 8, 4);
    }
    return 0;
}

static int parse(struct record *record, const void *value, size_t length)
{
    const char *line = memchr(value, '\n', length);
    const json_t *tried, *text;
    json_t *object;
    size_t i, n;

    if (!line)
        return -1;
    n = (size_t)(line - (const char *)value) + 1;
    object = json_loadb(value, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return -1;
    }
    read_text(json_object_get(object, "bucket"), record->bucket, sizeof(record->bucket));
    read_text(json_object_get(object, "object"), record->object, sizeof(record->object));
    record->stored = json_is_true(json_object_get(object, "stored"));
    record->there.generation = read_number(object, "generation");
    record->there.size = read_number(object, "size");
    record->there.crc32c = (uint32_t)read_number(object, "crc32c");
    read_text(json_object_get(object, "content"), record->there.content, PACK_CONTENT);
    tried = json_object_get(object, "tried");
    json_array_foreach(tried, i, text)
    {
        if (i < GCS_MAX_TRIED)
            read_text(text, record->tried[i], PACK_CONTENT);
    }
    json_decref(object);
    if (!record->object[0] || (record->stored && !record->there.generation))
        return -1;
    return read_members(record, (const unsigned char *)value + n, length - n);
}

static json_t *to_json(const struct record *record)
{
    json_t *tried = json_array();

    for (size_t i = 0; i < GCS_MAX_TRIED && record->tried[i][0]; i++)
        json_array_append_new(tried, json_string(record->tried[i]));
    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:s, s:o}", "bucket", record->bucket, "object",
                     record->object, "stored", (int)record->stored, "generation",
                     (json_int_t)record->there.generation, "size", (json_int_t)record->there.size,
                     "crc32c", (json_int_t)record->there.crc32c, "content", record->there.content,
                     "tried", tried);
}

/* The value of the store; the caller's. */
static unsigned char *to_value(const struct record *record, size_t *ret_length)
{
    json_t *object = to_json(record);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    unsigned char *value = text ? malloc(n + 1 + record->n_members * MEMBER_BYTES) : NULL,
                  *at = value;

    json_decref(object);
    if (value) {
        memcpy(at, text, n);
        at[n] = '\n';
        at += n + 1;
        for (size_t i = 0; i < record->n_members; i++, at += MEMBER_BYTES) {
            memcpy(at, &record->members[i].item, 8);
            memcpy(at + 8, &record->members[i].crc, 4);
        }
        *ret_length = (size_t)(at - value);
    }
    free(text);
    return value;
}

/* ---- records ---- */

void record_fini(struct record *record)
{
    free(record->members);
    record->members = NULL;
    record->n_members = 0;
}

static sendit_result read_key(struct sendit_stage_state *self, struct record *record)
{
    const void *value;
    size_t length;
    sendit_result r = self->store->get(self->host, record->key, &value, &length, &record->revision);

    if (r != SENDIT_OK)
        return r;
    return parse(record, value, length) ? SENDIT_ECORRUPT : SENDIT_OK;
}

sendit_verdict record_read(struct sendit_stage_state *self, const char *base, unsigned number,
                           struct record *ret, struct sendit_why *why)
{
    sendit_result r;

    memset(ret, 0, sizeof(*ret));
    if (make_key(self->bucket, base, number, ret->key))
        return no_ledger(SENDIT_ENOMEM, why);
    r = read_key(self, ret);
    if (r == SENDIT_OK)
        return SENDIT_PASS;
    if (r == SENDIT_EABSENT) {
        ret->revision = 0;
        return SENDIT_SKIP;
    }
    record_fini(ret);
    if (r == SENDIT_ECORRUPT)
        return sendit_because(why, SENDIT_FAIL, "gcs.ledger",
                              "What the ledger has of its archive cannot be read.");
    return no_ledger(r, why);
}

static sendit_verdict after_put(sendit_result r, struct sendit_why *why)
{
    if (r == SENDIT_OK)
        return SENDIT_PASS;
    return r == SENDIT_ECONFLICT ? SENDIT_SKIP : no_ledger(r, why);
}

static sendit_verdict audit(struct sendit_stage_state *self, const struct record *record,
                            struct sendit_why *why)
{
    char crc[CRC32C_TEXT], generation[GCS_GENERATION], *text;
    json_t *line;
    sendit_result r = SENDIT_ENOMEM;

    crc32c_text(record->there.crc32c, crc);
    snprintf(generation, sizeof(generation), "%" PRIu64, record->there.generation);
    if (record->stored)
        line = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "batch", self->batch, "bucket",
                         record->bucket, "object", record->object, "generation", generation,
                         "crc32c", crc, "size", (json_int_t)record->there.size, "images",
                         (json_int_t)record->n_members, "content", record->there.content);
    else
        line = json_pack("{s:s, s:s, s:s, s:I, s:s}", "batch", self->batch, "bucket",
                         record->bucket, "object", record->object, "images",
                         (json_int_t)record->n_members, "content", record->tried[0]);
    text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (text)
        r = self->store->append(self->host, record->stored ? "gcs.stored" : "gcs.prepared", text);
    free(text);
    json_decref(line);
    return r == SENDIT_OK ? SENDIT_PASS : no_ledger(r, why);
}

/* That of what was just written, for the next time. */
static sendit_verdict read_revision(struct sendit_stage_state *self, struct record *record,
                                    struct sendit_why *why)
{
    const void *value;
    size_t length;
    sendit_result r = self->store->get(self->host, record->key, &value, &length, &record->revision);

    return r == SENDIT_OK ? SENDIT_PASS : no_ledger(r, why);
}

sendit_verdict record_write(struct sendit_stage_state *self, struct record *record,
                            struct sendit_why *why)
{
    size_t length = 0;
    unsigned char *value = to_value(record, &length);
    sendit_verdict verdict;

    if (!value)
        return no_ledger(SENDIT_ENOMEM, why);
    verdict =
        after_put(self->store->put(self->host, record->key, value, length, record->revision), why);
    free(value);
    if (verdict != SENDIT_PASS)
        return verdict;
    verdict = read_revision(self, record, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    return audit(self, record, why);
}

sendit_verdict record_drop(struct sendit_stage_state *self, struct record *record,
                           struct sendit_why *why)
{
    sendit_verdict verdict =
        after_put(self->store->put(self->host, record->key, NULL, 0, record->revision), why);

    record->revision = 0;
    return verdict;
}

/* ---- single objects ---- */

sendit_verdict journal_flush(struct sendit_stage_state *self, struct sendit_why *why)
{
    char key[SENDIT_ID_SIZE + 32], text[SENDIT_ID_SIZE + 64];
    const void *value;
    size_t length, n = 0;
    uint64_t revision;
    sendit_result r;

    if (!self->list_length)
        return SENDIT_PASS;
    do { /* an attempt that died may have written some under its number, the same as ours */
        snprintf(key, sizeof(key), "i.%s.%04u.%05u", self->batch, self->attempt, self->n_chunks++);
        r = self->store->get(self->host, key, &value, &length, &revision);
    } while (r == SENDIT_OK);
    if (r == SENDIT_EABSENT)
        r = self->store->put(self->host, key, self->list, self->list_length, 0);
    for (size_t i = 0; i < self->list_length; i++)
        n += self->list[i] == '\n';
    snprintf(text, sizeof(text), "{\"batch\":\"%s\",\"objects\":%zu}", self->batch, n);
    if (r == SENDIT_OK)
        r = self->store->append(self->host, "gcs.stored", text);
    if (r != SENDIT_OK)
        return no_ledger(r, why);
    self->list_length = 0;
    return SENDIT_PASS;
}

sendit_verdict journal_add(struct sendit_stage_state *self, const char *name,
                           const struct there *there, struct sendit_why *why)
{
    int n;

    if (!self->list) {
        self->list = malloc(MAX_LIST);
        if (!self->list)
            return no_ledger(SENDIT_ENOMEM, why);
        self->list_length = 0;
    }
    if (self->list_length + MAX_LINE > MAX_LIST && journal_flush(self, why) != SENDIT_PASS)
        return why->code[0] ? SENDIT_RETRY : SENDIT_FAIL;
    n = snprintf(self->list + self->list_length, MAX_LINE,
                 "%s %s %" PRIu64 " %" PRIu32 " %" PRIu64 " %s\n", self->bucket, name,
                 there->generation, there->crc32c, there->size, there->content);
    if (n <= 0 || (size_t)n >= MAX_LINE)
        return no_ledger(SENDIT_EINVAL, why);
    self->list_length += (size_t)n;
    return SENDIT_PASS;
}

/* ---- all of it ---- */

static int take_line(struct sendit_stage_state *self, char *line, journal_take_fn *take, void *ctx)
{
    struct there there = {0};
    char *rest = line, *bucket = strsep(&rest, " "), *name = strsep(&rest, " ");
    char *generation = strsep(&rest, " "), *crc = strsep(&rest, " "), *size = strsep(&rest, " ");

    if (!rest || strlen(rest) >= PACK_CONTENT)
        return -1;
    if (strcmp(bucket, self->bucket))
        return 0;
    there.generation = strtoull(generation, NULL, 10);
    there.crc32c = (uint32_t)strtoul(crc, NULL, 10);
    there.size = strtoull(size, NULL, 10);
    memcpy(there.content, rest, strlen(rest) + 1);
    return take(ctx, name, &there);
}

static int take_list(struct sendit_stage_state *self, const char *key, journal_take_fn *take,
                     void *ctx)
{
    const void *value;
    uint64_t revision;
    size_t length;
    int result = 0;
    char *copy, *line, *rest;

    if (self->store->get(self->host, key, &value, &length, &revision) != SENDIT_OK)
        return -1;
    rest = copy = strndup(value, length);
    while (copy && !result && (line = strsep(&rest, "\n")))
        if (*line)
            result = take_line(self, line, take, ctx);
    free(copy);
    return copy ? result : -1;
}

static int take_record(struct sendit_stage_state *self, const char *key, journal_take_fn *take,
                       void *ctx)
{
    struct record record = {0};
    int result = -1;

    snprintf(record.key, sizeof(record.key), "%s", key);
    if (read_key(self, &record) == SENDIT_OK)
        result = record.stored && !strcmp(record.bucket, self->bucket)
                     ? take(ctx, record.object, &record.there)
                     : 0;
    record_fini(&record);
    return result;
}

sendit_result journal_each(struct sendit_stage_state *self, journal_take_fn *take, void *ctx)
{
    char at[256] = "";

    for (;;) {
        const char *key;
        sendit_result r = self->store->next(self->host, at, &key);

        if (r != SENDIT_OK)
            return r == SENDIT_EABSENT ? SENDIT_OK : r;
        if (self->host->canceled(self->host))
            return SENDIT_ECANCELED;
        snprintf(at, sizeof(at), "%s", key);
        if ((!strncmp(at, "a.", 2) && take_record(self, at, take, ctx)) ||
            (!strncmp(at, "i.", 2) && take_list(self, at, take, ctx)))
            return SENDIT_ECORRUPT;
    }
}
