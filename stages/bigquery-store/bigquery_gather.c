/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_gather.h"
#include "bigquery_journal.h"
#include "bigquery_row.h"
#include "bigquery_study.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPOOL "rows"
#define MAX_NAMES ((size_t)900000) /* bytes of the names of a part */
#define KNOWN 32                   /* digits of the digest of a name */

/* The parts of a table that a finish() makes. */
struct heap {
    enum table table;
    struct pack pack;
    char *names;
    size_t n_names, room;
};
struct known { /* names of rows that earlier rounds of the batch have, sorted */
    unsigned char (*digests)[KNOWN];
    size_t n;
};
struct gather {
    struct sendit_stage_state *self;
    const struct sendit_batch *batch;
    struct round round;
    struct heap heaps[TABLES];
    struct studies studies;
    /* Images that have rows; those whose rows were refused; those that have rows and of which that
     * in table dicom was refused; rows of table dicom. */
    struct known known, refused, rowless, studies_known;
    bool waits; /* an earlier round does */
    uint32_t next;
    int64_t now_ms;
    sendit_result error; /* of the store, behind a -1 */
};

static sendit_verdict no_memory(struct sendit_why *why)
{
    return sendit_because(why, SENDIT_RETRY, "bigquery.memory", "There is no memory.");
}

static sendit_verdict no_ledger(sendit_result r, struct sendit_why *why)
{
    if (r == SENDIT_ENOMEM)
        return no_memory(why);
    if (r == SENDIT_ESTOPPED)
        return sendit_because(why, SENDIT_FAIL, "bigquery.object",
                              "What the store before says of an image (store.object and "
                              "store.generation) is no object of Cloud Storage.");
    return sendit_because(why,
                          r == SENDIT_EIO || r == SENDIT_ECANCELED || r == SENDIT_ECONFLICT
                              ? SENDIT_RETRY
                              : SENDIT_FAIL,
                          "bigquery.ledger", "Rows cannot be put into the ledger, or read there.");
}

static sendit_verdict no_spool(struct sendit_why *why)
{
    return sendit_because(why, SENDIT_FAIL, "bigquery.no_room",
                          "The rows of the batch cannot be written into the state folder: make "
                          "room there and run again.");
}

/* NULL without it. */
static sendit_result fact(const struct sendit_stage_state *self, const char *item, const char *key,
                          const char **ret_value)
{
    sendit_result r = self->facts->get(self->host, item, key, ret_value);

    if (r != SENDIT_EABSENT)
        return r;
    *ret_value = NULL;
    return SENDIT_OK;
}

/* ---- while images pass ---- */

/* While rounds of an earlier attempt wait, another worker may find them loaded and tell that the
 * batch is done.  It must not before those of this attempt stand: see announce() in
 * bigquery_load.c. */
static sendit_result open_batch(const struct sendit_stage_state *self, const char *batch)
{
    char key[JOURNAL_KEY];
    sendit_result r = journal_waits(self, batch);

    if (r != SENDIT_OK)
        return r == SENDIT_EABSENT ? SENDIT_OK : r;
    journal_key(key, "open", batch);
    r = journal_put(self, key, json_object(), 0);
    return r == SENDIT_ECONFLICT ? SENDIT_OK : r; /* by an attempt that was cut short */
}

static sendit_result close_batch(const struct sendit_stage_state *self, const char *batch)
{
    char key[JOURNAL_KEY];

    journal_key(key, "open", batch);
    return journal_delete(self, key);
}

sendit_verdict gather_begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    sendit_result r = open_batch(self, batch->id);
    int fd, copy;

    if (r != SENDIT_OK)
        return no_ledger(r, why);
    r = self->spool->open(self->host, SPOOL, &fd);
    copy = r == SENDIT_OK ? dup(fd) : -1;
    self->rows = copy >= 0 ? fdopen(copy, "w+") : NULL;
    if (!self->rows) {
        if (copy >= 0)
            close(copy);
        return no_spool(why);
    }
    self->last_at = 0;
    self->last_item[0] = '\0';
    self->n_rows = 0;
    return SENDIT_PASS;
}

void gather_end(struct sendit_stage_state *self)
{
    if (self->rows)
        fclose(self->rows);
    self->rows = NULL;
}

/* An image that comes again, after a later stage asked for a retry, takes its place anew. */
static int write_row(struct sendit_stage_state *self, const char *item, const char *row)
{
    if (strcmp(self->last_item, item)) {
        self->last_at = ftello(self->rows);
        self->n_rows++;
    } else if (fseeko(self->rows, self->last_at, SEEK_SET) || fflush(self->rows) ||
               ftruncate(fileno(self->rows), self->last_at)) {
        return -1;
    }
    snprintf(self->last_item, sizeof(self->last_item), "%s", item);
    return self->last_at < 0 || fprintf(self->rows, "%s %zu\n", item, strlen(row)) < 0 ||
                   fputs(row, self->rows) < 0 || fputc('\n', self->rows) < 0
               ? -1
               : 0;
}

static void tell_dropped(const struct sendit_stage_state *self, const struct sendit_item *item,
                         size_t dropped)
{
    char text[160];

    snprintf(text, sizeof(text),
             "%zu elements of image %s are not in its row, which would be too large.", dropped,
             item->id);
    self->host->log(self->host, SENDIT_WARN, "bigquery.dropped", text);
    self->metrics->add(self->host, "dropped", (int64_t)dropped);
}

sendit_verdict gather_add(struct sendit_stage_state *self, const struct sendit_item *item,
                          struct sendit_why *why)
{
    struct row_names names = {0};
    size_t dropped;
    char *row;
    sendit_verdict verdict;
    sendit_result r = fact(self, item->id, "ids.entity", &names.entity);

    if (r == SENDIT_OK)
        r = fact(self, item->id, "ids.item", &names.item);
    if (r != SENDIT_OK)
        return no_ledger(r, why);
    verdict = row_begin(self->dicom, item->ds, &names, ROW_MAX, &row, &dropped, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    if (write_row(self, item->id, row))
        verdict = no_spool(why);
    else if (dropped)
        tell_dropped(self, item, dropped);
    free(row);
    return verdict;
}

/* ---- names that are known ---- */

static void digest_of(const char *name, size_t length, unsigned char ret_digest[KNOWN])
{
    char hex[JOURNAL_SHA];

    journal_hash(name, length, hex);
    memcpy(ret_digest, hex, KNOWN);
}

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, KNOWN);
}

static bool is_known(const struct known *known, const char *name)
{
    unsigned char digest[KNOWN];

    if (!known->n)
        return false;
    digest_of(name, strlen(name), digest);
    return bsearch(digest, known->digests, known->n, KNOWN, by_digest) != NULL;
}

static int know(struct known *known, const char *names, uint32_t rows)
{
    unsigned char(*more)[KNOWN] = realloc(known->digests, (known->n + rows + 1) * KNOWN);

    if (!more)
        return -1;
    known->digests = more;
    for (uint32_t i = 0; i < rows; i++) {
        size_t n = strcspn(names, "\n");

        digest_of(names, n, known->digests[known->n++]);
        names += n + (names[n] == '\n');
    }
    return 0;
}

static bool stands(const struct part *part)
{
    return part->state == PART_QUEUED || part->state == PART_LOADED;
}

/* Where the names of a part belong. */
static struct known *known_of(struct gather *gather, const struct part *part)
{
    if (part->table == TABLE_INSTANCES)
        return stands(part) ? &gather->known : &gather->refused;
    return stands(part) ? &gather->studies_known : NULL;
}

static bool lacks_studies(const struct round *round)
{
    for (size_t i = 0; i < round->n_parts; i++)
        if (round->parts[i].table == TABLE_DICOM && !stands(&round->parts[i]))
            return true;
    return false;
}

static sendit_result know_round(struct gather *gather, const struct round *round)
{
    bool rowless = lacks_studies(round);

    if (round->number >= gather->next)
        gather->next = round->number + 1;
    for (uint32_t i = 0; i < round->n_parts; i++) {
        const struct part *part = &round->parts[i];
        struct known *known = known_of(gather, part);
        sendit_result r;
        char *names;
        int result;

        gather->waits |= part->state == PART_QUEUED;
        if (!known)
            continue;
        r = journal_read_names(gather->self, round, i, &names);
        if (r != SENDIT_OK)
            return r;
        result = know(known, names, part->rows);
        if (!result && rowless && known == &gather->known)
            result = know(&gather->rowless, names, part->rows);
        free(names);
        if (result)
            return SENDIT_ENOMEM;
    }
    return SENDIT_OK;
}

static void sort_known(struct known *known)
{
    if (known->n)
        qsort(known->digests, known->n, KNOWN, by_digest);
}

/* Parts that BigQuery refused are made anew from the images, which have come again. */
static sendit_result drop_failed(const struct sendit_stage_state *self, struct round *round)
{
    bool failed = false;

    for (size_t i = 0; i < round->n_parts; i++)
        if (round->parts[i].state == PART_FAILED) {
            round->parts[i].state = PART_DROPPED;
            failed = true;
        }
    if (!failed)
        return SENDIT_OK;
    round->told = false;
    return journal_write_round(self, round);
}

/* What earlier attempts at the batch, or earlier visits of its folder, have put down. */
static sendit_result look_back(struct gather *gather)
{
    sendit_result r = SENDIT_OK;

    for (int done = 0; done < 2 && r == SENDIT_OK; done++) {
        struct round *rounds = NULL;
        size_t n = 0;

        r = journal_rounds(gather->self, gather->batch->id, done, &rounds, &n);
        for (size_t i = 0; r == SENDIT_OK && i < n; i++) {
            r = done ? SENDIT_OK : drop_failed(gather->self, &rounds[i]);
            if (r == SENDIT_OK)
                r = know_round(gather, &rounds[i]);
        }
        journal_free_rounds(rounds, n);
    }
    sort_known(&gather->known);
    sort_known(&gather->refused);
    sort_known(&gather->rowless);
    sort_known(&gather->studies_known);
    return r;
}

/* ---- parts ---- */

static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a part in order, each with its newline. */
static char *sort_names(const struct heap *heap)
{
    char **lines = calloc(heap->pack.n_rows, sizeof(*lines)), *names = strdup(heap->names);
    char *sorted = malloc(heap->n_names + 1), *rest = names, *to = sorted;

    if (lines && names && sorted) {
        for (uint32_t i = 0; i < heap->pack.n_rows; i++)
            lines[i] = strsep(&rest, "\n");
        qsort(lines, heap->pack.n_rows, sizeof(*lines), by_line);
        for (uint32_t i = 0; i < heap->pack.n_rows; i++) {
            to = stpcpy(to, lines[i]);
            to = stpcpy(to, "\n");
        }
    } else {
        free(sorted);
        sorted = NULL;
    }
    free(lines);
    free(names);
    return sorted;
}

static int end_part(struct gather *gather, struct heap *heap)
{
    struct round *round = &gather->round;
    struct part *parts, *part;
    unsigned char *data = NULL;
    char *names;
    int result = -1;

    if (!heap->pack.n_rows)
        return 0;
    gather->error = SENDIT_ENOMEM;
    if (round->n_parts == JOURNAL_MAX_PARTS ||
        !(parts = realloc(round->parts, (round->n_parts + 1) * sizeof(*parts))))
        return -1;
    round->parts = parts;
    part = memset(&parts[round->n_parts], 0, sizeof(*part));
    part->table = heap->table;
    part->state = PART_QUEUED;
    part->rows = heap->pack.n_rows;
    journal_hash(heap->pack.rows, heap->pack.length, part->text);
    names = sort_names(heap);
    if (names && !pack_end(&heap->pack, &data, &part->sum)) {
        part->values = (uint32_t)((part->sum.bytes + JOURNAL_VALUE - 1) / JOURNAL_VALUE);
        journal_hash(data, (size_t)part->sum.bytes, part->sha);
        journal_hash(names, strlen(names), part->keys);
        gather->error = journal_put_part(gather->self, round, (uint32_t)round->n_parts, data, names,
                                         strlen(names));
        result = gather->error == SENDIT_OK ? 0 : -1;
    }
    free(data);
    free(names);
    round->n_parts++;
    heap->n_names = 0;
    return result;
}

static int add_row(struct gather *gather, enum table table, const char *line, size_t length,
                   const char *name)
{
    struct heap *heap = &gather->heaps[table];
    size_t n = strlen(name);

    gather->error = SENDIT_ENOMEM;
    if (heap->n_names + n + 2 > heap->room) {
        size_t room = 2 * (heap->n_names + n) + 4096;
        char *names = realloc(heap->names, room);

        if (!names)
            return -1;
        heap->names = names;
        heap->room = room;
    }
    heap->n_names += (size_t)snprintf(heap->names + heap->n_names, n + 2, "%s\n", name);
    if (pack_add(&heap->pack, line, length))
        return -1;
    if (pack_is_full(&heap->pack) || heap->n_names > MAX_NAMES)
        return end_part(gather, heap);
    return 0;
}

/* Of images whose rows were refused, and are made anew, the row in dicom may stand all the same. */
static int add_study(void *ctx, const struct study_row *row)
{
    struct gather *gather = ctx;

    if (is_known(&gather->studies_known, row->name) && !(row->single && row->fresh))
        return 0;
    return add_row(gather, TABLE_DICOM, row->line, row->length, row->name);
}

/* ---- the images ---- */

/* What gcs-store says of an image; one that is not stored has no name, or no generation. */
static sendit_result find_object(const struct sendit_stage_state *self, const char *item,
                                 struct row_object *object)
{
    sendit_result r = fact(self, item, "store.object", &object->name);

    if (r == SENDIT_OK)
        r = fact(self, item, "store.generation", &object->generation);
    return r == SENDIT_OK ? fact(self, item, "store.crc32c", &object->crc32c) : r;
}

static json_t *read_row(const char *row, size_t length)
{
    char *whole = malloc(length + 2);
    json_t *json = NULL;

    if (whole) {
        memcpy(whole, row, length);
        whole[length] = '}';
        json = json_loadb(whole, length + 1, 0, NULL);
    }
    free(whole);
    return json;
}

static int add_image(struct gather *gather, const json_t *json, const char *row,
                     const struct row_object *object)
{
    const char *uid = json_string_value(json_object_get(json, "SOPInstanceUID"));
    char name[ROW_UID_SIZE + 24 + 1400], bucket[256];
    const char *path;
    bool known;
    size_t length;
    char *line;
    int result;

    gather->error = SENDIT_ESTOPPED;
    if (!row_split(object->name, bucket, &path) || !*object->generation ||
        strlen(object->generation) > 20 ||
        object->generation[strspn(object->generation, "0123456789")])
        return -1;
    gather->error = SENDIT_ENOMEM;
    if (!uid || strlen(uid) >= ROW_UID_SIZE || strpbrk(uid, " \n") || strlen(object->name) > 1300 ||
        strpbrk(object->name, "\r\n"))
        return -1;
    snprintf(name, sizeof(name), "%s %.20s %s", uid, object->generation, object->name);
    known = is_known(&gather->known, name);
    if (known && !is_known(&gather->rowless, name))
        return 0;
    if (studies_add(&gather->studies, json, object, !known && !is_known(&gather->refused, name)))
        return -1;
    if (known) /* the row that it has stands */
        return 0;
    line = row_end(row, object, gather->batch->id, gather->now_ms, &length);
    result = line ? add_row(gather, TABLE_INSTANCES, line, length, name) : -1;
    free(line);
    return result;
}

static int take_image(struct gather *gather, const char *item, const char *row, size_t length)
{
    struct row_object object = {0};
    json_t *json = read_row(row, length);
    int result = json ? studies_see(&gather->studies, json) : -1;

    gather->error = SENDIT_ENOMEM;
    if (!result) {
        sendit_result r = find_object(gather->self, item, &object);

        if (r != SENDIT_OK) {
            gather->error = r;
            result = -1;
        } else if (object.name && object.generation && object.crc32c) {
            result = add_image(gather, json, row, &object);
        }
    }
    json_decref(json);
    return result;
}

/* Each image in the spool file. */
static int take_all(struct gather *gather)
{
    FILE *rows = gather->self->rows;
    char item[SENDIT_ID_SIZE], *row = NULL;
    size_t length, room = 0;
    int result = 0;

    gather->error = SENDIT_EIO;
    if (fflush(rows) || fseeko(rows, 0, SEEK_SET))
        return -1;
    while (!result && fscanf(rows, "%63s %zu", item, &length) == 2) {
        result = -1;
        if (fgetc(rows) != '\n' || length > ROW_MAX)
            break;
        if (length + 1 > room) {
            char *more = realloc(row, length + 1);

            if (!more)
                break;
            row = more;
            room = length + 1;
        }
        if (fread(row, 1, length + 1, rows) != length + 1)
            break;
        row[length] = '\0';
        result = take_image(gather, item, row, length);
    }
    free(row);
    return result || ferror(rows) ? -1 : 0;
}

static int take_studies(struct gather *gather)
{
    return end_part(gather, &gather->heaps[TABLE_INSTANCES]) ||
                   studies_rows(&gather->studies, add_study, gather)
               ? -1
               : end_part(gather, &gather->heaps[TABLE_DICOM]);
}

/* ---- the batch ---- */

static sendit_result note_queued(const struct gather *gather)
{
    uint64_t rows[TABLES] = {0};
    char json[256];

    for (size_t i = 0; i < gather->round.n_parts; i++)
        rows[gather->round.parts[i].table] += gather->round.parts[i].rows;
    snprintf(json, sizeof(json),
             "{\"batch\":\"%s\",\"round\":%" PRIu32 ",\"dicom\":%" PRIu64 ",\"instances\":%" PRIu64
             "}",
             gather->batch->id, gather->round.number, rows[TABLE_DICOM], rows[TABLE_INSTANCES]);
    return gather->self->store->append(gather->self->host, "row.queued", json);
}

static sendit_result put_down(struct gather *gather)
{
    sendit_result r = note_queued(gather);

    return r == SENDIT_OK ? journal_write_round(gather->self, &gather->round) : r;
}

static sendit_verdict gather_rows(struct gather *gather, struct sendit_why *why)
{
    struct sendit_stage_state *self = gather->self;
    sendit_result r = look_back(gather);

    gather->round.number = gather->next;
    gather->round.at_ms = gather->now_ms;
    snprintf(gather->round.batch, sizeof(gather->round.batch), "%s", gather->batch->id);
    if (r == SENDIT_OK)
        r = journal_clear_round(self, gather->batch->id, gather->next);
    if (r != SENDIT_OK)
        return no_ledger(r, why);
    for (int i = 0; i < TABLES; i++)
        gather->heaps[i].table = (enum table)i;
    if (studies_init(&gather->studies, self->dicom->keyword))
        return no_memory(why);
    if (take_all(gather) || take_studies(gather))
        return no_ledger(gather->error, why);
    if (gather->round.n_parts) {
        r = put_down(gather);
        gather->waits = true;
    }
    if (r == SENDIT_OK)
        r = close_batch(self, gather->batch->id);
    if (r != SENDIT_OK)
        return no_ledger(r, why);
    return gather->waits ? SENDIT_LATER : SENDIT_PASS;
}

sendit_verdict gather_finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    struct gather gather = {
        .self = self, .batch = batch, .next = 1, .now_ms = self->host->now_ms(self->host)};
    sendit_verdict verdict = gather_rows(&gather, why);

    for (int i = 0; i < TABLES; i++) {
        pack_fini(&gather.heaps[i].pack);
        free(gather.heaps[i].names);
    }
    studies_fini(&gather.studies);
    free(gather.known.digests);
    free(gather.refused.digests);
    free(gather.rowless.digests);
    free(gather.studies_known.digests);
    free(gather.round.parts);
    return verdict;
}
