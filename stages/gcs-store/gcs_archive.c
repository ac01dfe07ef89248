/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_archive.c - one archive per study: images are packed while they pass, archives are sealed
 * and sent when all are through.
 *
 * Which number an archive has is decided when its images are known.  An image that comes again was
 * not done before, or its batch is taken again: so a record with an image of ours is this archive's
 * own, of an earlier attempt, and one without any is an earlier part of the study.  An archive that
 * is stored is never replaced by one with less in it.
 */
#include "gcs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct member {
    struct pack_piece piece;
    uint64_t hash;             /* of the item's id */
    char *base, *study, *name; /* owned, all of `base` */
    char item[SENDIT_ID_SIZE];
};

/* Images that go into one archive. */
struct group {
    struct sendit_stage_state *self;
    struct member *members;
    size_t n;
    unsigned number; /* the first that it may have */
    struct record record;
    struct pack_archive archive;
    struct upload upload;
    bool left; /* nobody waits for the upload any more: its end frees this */
};

static void group_free(struct group *group)
{
    pack_archive_fini(&group->archive);
    record_fini(&group->record);
    free(group);
}

/* ---- while images pass ---- */

void archive_forget(struct sendit_stage_state *self)
{
    for (size_t i = 0; i < self->n_members; i++)
        free(self->members[i].base);
    free(self->members);
    self->members = NULL;
    self->n_members = self->max_members = 0;
}

static struct member *new_member(struct sendit_stage_state *self)
{
    if (self->n_members == self->max_members) {
        size_t n = self->max_members ? 2 * self->max_members : 256;
        struct member *longer = reallocarray(self->members, n, sizeof(*longer));

        if (!longer)
            return NULL;
        self->members = longer;
        self->max_members = n;
    }
    memset(&self->members[self->n_members], 0, sizeof(self->members[0]));
    return &self->members[self->n_members];
}

static int fill_member(struct member *member, const struct gcs_place *place, const char *item)
{
    size_t base = strlen(place->base) + 1, study = strlen(place->study) + 1;
    size_t name = strlen(place->member) + 1;

    member->base = malloc(base + study + name);
    if (!member->base)
        return -1;
    member->study = member->base + base;
    member->name = member->study + study;
    memcpy(member->base, place->base, base);
    memcpy(member->study, place->study, study);
    memcpy(member->name, place->member, name);
    snprintf(member->item, sizeof(member->item), "%s", item);
    member->hash = record_hash(item);
    return 0;
}

/* An image that comes again, after another stage asked for a retry, takes its place anew. */
static void forget_same(struct sendit_stage_state *self, const char *item)
{
    struct member *last = self->n_members ? &self->members[self->n_members - 1] : NULL;

    if (!last || strcmp(last->item, item))
        return;
    pack_take_back(self->pack, &last->piece);
    free(last->base);
    self->n_members--;
}

sendit_verdict archive_process(struct sendit_stage_state *self, const struct sendit_item *item,
                               struct sendit_why *why)
{
    const struct sendit_file *file;
    struct gcs_place place;
    struct member *member;
    enum pack_result result;
    sendit_verdict verdict = gcs_name_archive(&self->names, item, &place, why);
    sendit_result r;

    if (verdict != SENDIT_PASS)
        return verdict;
    r = self->files->view(item->ds, &file);
    if (r != SENDIT_OK)
        return sendit_because(
            why, r == SENDIT_ENOMEM || r == SENDIT_EIO ? SENDIT_RETRY : SENDIT_QUARANTINE,
            "gcs.view", "It cannot be written as a DICOM file.");
    forget_same(self, item->id);
    member = new_member(self);
    if (!member || fill_member(member, &place, item->id))
        return because_of_pack(self, PACK_MEMORY, why);
    result = pack_add(self->pack, file, place.member, &member->piece);
    if (result != PACK_OK) {
        free(member->base);
        return because_of_pack(self, result, why);
    }
    /* what is held later loses it, and stays out of the archive */
    r = self->facts->put(self->host, item->id, GCS_PACKED, place.member);
    if (r != SENDIT_OK) {
        free(member->base);
        return sendit_because(why, SENDIT_RETRY, "gcs.ledger", "Its place cannot be noted.");
    }
    self->n_members++;
    return SENDIT_PASS;
}

/* ---- groups ---- */

static int by_place(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->base, y->base);

    if (!order)
        order = strcmp(x->study, y->study);
    if (!order)
        order = strcmp(x->name, y->name);
    if (!order)
        order = x->piece.offset < y->piece.offset ? -1 : x->piece.offset > y->piece.offset;
    return order;
}

static sendit_verdict hold(struct sendit_stage_state *self, const struct member *member,
                           const char *code, const char *text, struct sendit_why *why)
{
    if (self->host->hold(self->host, member->item, SENDIT_QUARANTINE, code, text) == SENDIT_OK)
        return SENDIT_PASS;
    return sendit_because(why, SENDIT_RETRY, "gcs.ledger", "An image cannot be held.");
}

/* Members with something else in their place are out; the rest closes up. */
static void close_up(struct sendit_stage_state *self)
{
    size_t n = 0;

    for (size_t i = 0; i < self->n_members; i++)
        if (self->members[i].base)
            self->members[n++] = self->members[i];
    self->n_members = n;
}

static void take_out(struct member *member)
{
    free(member->base);
    member->base = NULL;
}

/* What a later stage held stays out. */
static sendit_verdict drop_held(struct sendit_stage_state *self, struct sendit_why *why)
{
    sendit_result r = SENDIT_OK;

    for (size_t i = 0; !self->dry_run && i < self->n_members; i++) {
        r = find_packed(self, self->members[i].item);
        if (r == SENDIT_EABSENT)
            take_out(&self->members[i]);
        else if (r != SENDIT_OK)
            return sendit_because(why, SENDIT_RETRY, "gcs.ledger",
                                  "Which images are held cannot be looked up.");
    }
    close_up(self);
    return SENDIT_PASS;
}

/* Two of one name in one archive: the one that came first is in it. */
static sendit_verdict hold_doubles(struct sendit_stage_state *self, struct sendit_why *why)
{
    sendit_verdict verdict = SENDIT_PASS;
    const struct member *kept = NULL;

    for (size_t i = 0; verdict == SENDIT_PASS && i < self->n_members; i++) {
        struct member *at = &self->members[i];

        if (!kept || strcmp(kept->base, at->base) || strcmp(kept->study, at->study) ||
            strcmp(kept->name, at->name)) {
            kept = at;
            continue;
        }
        verdict = hold(self, at, "gcs.member",
                       "Another image has its name in the archive already; see member_name.", why);
        take_out(at);
    }
    close_up(self);
    return verdict;
}

/* ---- which number ---- */

static bool has_tried(const struct record *record, const char *content)
{
    for (size_t i = 0; i < GCS_MAX_TRIED; i++)
        if (record->tried[i][0] && !strcmp(record->tried[i], content))
            return true;
    return false;
}

/* What an unfinished attempt of ours left there. */
static bool is_ours(const struct upload *upload, const struct there *there)
{
    const struct group *group = upload->ctx;

    return (group->record.stored && there->generation == group->record.there.generation) ||
           has_tried(&group->record, there->content);
}

static bool has_item(const struct group *group, uint64_t hash)
{
    for (size_t i = 0; i < group->n; i++)
        if (group->members[i].hash == hash)
            return true;
    return false;
}

static size_t count_common(const struct group *group, const struct record *record)
{
    size_t n = 0;

    for (size_t i = 0; i < group->n; i++)
        n += record_find(record, group->members[i].hash) != NULL;
    return n;
}

/* Is each image of the record here, too? */
static bool is_whole(const struct group *group, const struct record *record, size_t common)
{
    if (common < record->n_members)
        return false;
    for (size_t i = 0; i < record->n_members; i++)
        if (!has_item(group, record->members[i].item))
            return false;
    return true;
}

/* The archive is there with images that are not here: those that are here are in it, or are held.
 */
static sendit_verdict settle_part(struct group *group, const struct record *record,
                                  struct sendit_why *why)
{
    struct sendit_stage_state *self = group->self;
    sendit_verdict verdict = SENDIT_PASS;
    size_t n = 0;

    for (size_t i = 0; verdict == SENDIT_PASS && i < group->n; i++) {
        struct member *member = &group->members[i];
        const struct record_member *known = record_find(record, member->hash);

        if (!known) {
            if (n != i) {
                struct member moved = group->members[n];

                group->members[n] = *member;
                *member = moved;
            }
            n++;
        } else if (known->crc == member->piece.crc) {
            verdict = tell_stored(self, member->item, record->object, &record->there, why);
        } else {
            verdict = hold(self, member, "gcs.conflict",
                           "It is in an archive with other bytes already, beside images that are "
                           "not here; take them all again, or remove that archive.",
                           why);
        }
    }
    group->n = n; /* the rest is settled, behind them */
    return verdict;
}

static sendit_verdict compare_with(struct group *group, struct record *record, bool *ret_found,
                                   struct sendit_why *why)
{
    size_t common = count_common(group, record);
    sendit_verdict verdict = SENDIT_PASS;
    struct there there;

    if (!common)
        return SENDIT_PASS;
    *ret_found = true;
    if (!record->stored || is_whole(group, record, common))
        return SENDIT_PASS;
    verdict = object_look(group->self, record->object, &there, why);
    if (verdict != SENDIT_PASS || there.generation != record->there.generation)
        return verdict == SENDIT_SKIP ? SENDIT_PASS : verdict; /* it went: ours takes its place */
    *ret_found = false;
    return settle_part(group, record, why);
}

/* The record that is this archive's, from an earlier attempt or a new one. */
static sendit_verdict choose_number(struct group *group, struct sendit_why *why)
{
    for (unsigned number = group->number; number <= GCS_MAX_NUMBER && group->n; number++) {
        struct record *record = &group->record;
        bool found = false;
        sendit_verdict verdict =
            record_read(group->self, group->members[0].base, number, record, why);

        if (verdict == SENDIT_SKIP) {
            gcs_name_object(group->members[0].base, number, record->object);
            snprintf(record->bucket, sizeof(record->bucket), "%s", group->self->bucket);
            return SENDIT_PASS;
        }
        if (verdict == SENDIT_PASS)
            verdict = compare_with(group, record, &found, why);
        if (verdict != SENDIT_PASS || found)
            return verdict;
        record_fini(record);
    }
    return group->n ? sendit_because(why, SENDIT_FAIL, "gcs.number",
                                     "A study has more than %d archives.", GCS_MAX_NUMBER)
                    : SENDIT_PASS;
}

/* Which images it has, and what of them. */
static int set_members(struct group *group)
{
    struct record *record = &group->record;

    record_fini(record);
    record->members = calloc(group->n, sizeof(*record->members));
    if (!record->members)
        return -1;
    record->n_members = group->n;
    for (size_t i = 0; i < group->n; i++)
        record->members[i] = (struct record_member){.item = group->members[i].hash,
                                                    .crc = group->members[i].piece.crc};
    record_sort(record->members, record->n_members);
    return 0;
}

/* Written before a byte is sent: what we may have left there, should we die.  Of one that is stored
 * the images stay those that are in it, until another has taken its place. */
static sendit_verdict prepare(struct group *group, struct sendit_why *why)
{
    struct record *record = &group->record;
    const char *content = group->archive.content;

    if (!has_tried(record, content)) {
        memmove(record->tried[1], record->tried[0], sizeof(record->tried) - PACK_CONTENT);
        memcpy(record->tried[0], content, PACK_CONTENT);
    }
    if (record->stored && !strcmp(record->there.content, content))
        return SENDIT_PASS;
    if (!record->stored && set_members(group))
        return because_of_pack(group->self, PACK_MEMORY, why);
    return record_write(group->self, record, why);
}

/* ---- one archive ---- */

static sendit_verdict seal(struct group *group, struct sendit_why *why)
{
    const struct pack_piece **pieces = calloc(group->n, sizeof(*pieces));
    enum pack_result result = PACK_MEMORY;

    for (size_t i = 0; pieces && i < group->n; i++)
        pieces[i] = &group->members[i].piece;
    if (pieces)
        result = pack_seal(group->self->pack, pieces, group->n, &group->archive);
    free(pieces);
    return result == PACK_OK ? SENDIT_PASS : because_of_pack(group->self, result, why);
}

/* drain() waits for it, as long as it may. */
static void sent(struct upload *upload)
{
    struct group *group = upload->ctx;

    if (group->left)
        group_free(group);
}

static sendit_verdict send_it(struct group *group, struct sendit_why *why)
{
    struct sendit_stage_state *self = group->self;
    struct upload *upload = &group->upload;
    sendit_result r;

    *upload = (struct upload){.self = self,
                              .name = group->record.object,
                              .type = GCS_TYPE_ARCHIVE,
                              .parts = group->archive.parts,
                              .n_parts = group->archive.n_parts,
                              .total = group->archive.total,
                              .crc32c = group->archive.crc32c,
                              .may_replace = is_ours,
                              .done = sent,
                              .ctx = group};
    memcpy(upload->content, group->archive.content, PACK_CONTENT);
    if (self->dry_run)
        return dry_write(upload, why);
    upload_start(upload);
    do
        r = upload->end ? SENDIT_OK : self->http->drain(self->host, 0);
    while (r == SENDIT_OK && !upload->end);
    group->left = !upload->end;
    if (group->left)
        return sendit_because(why, SENDIT_RETRY, "gcs.canceled",
                              "An upload was ended before its time.");
    *why = upload->why;
    return upload->end == UPLOAD_FAILED ? upload->verdict : SENDIT_PASS;
}

/* It is there, under our name, with our content. */
static sendit_verdict note_stored(struct group *group, struct sendit_why *why)
{
    struct sendit_stage_state *self = group->self;
    struct record *record = &group->record;
    sendit_verdict verdict = SENDIT_PASS;
    bool known = record->stored && record->there.generation == group->upload.there.generation;

    record->stored = true;
    record->there = group->upload.there;
    record->there.once[0] = '\0';
    if (!known && set_members(group))
        return because_of_pack(self, PACK_MEMORY, why);
    if (!known)
        verdict = record_write(self, record, why);
    for (size_t i = 0; verdict == SENDIT_PASS && i < group->n; i++)
        verdict = tell_stored(self, group->members[i].item, record->object, &record->there, why);
    self->n_objects++;
    self->n_bytes += (int64_t)group->archive.plain;
    return verdict;
}

/* Nothing of another's is touched: our images are held, and nothing is remembered of them. */
static sendit_verdict give_way(struct group *group, struct sendit_why *why)
{
    struct sendit_why said = group->upload.why;
    sendit_verdict verdict = SENDIT_PASS;

    for (size_t i = 0; verdict == SENDIT_PASS && i < group->n; i++)
        verdict = hold(group->self, &group->members[i], said.code, said.text, why);
    if (verdict == SENDIT_PASS && !group->record.stored)
        verdict = record_drop(group->self, &group->record, why);
    return verdict;
}

static sendit_verdict store_archive(struct group *group, struct sendit_why *why)
{
    sendit_verdict verdict;

    do { /* SKIP: another worker has taken that number meanwhile */
        verdict = choose_number(group, why);
        if (verdict == SENDIT_PASS && group->n && !group->archive.parts)
            verdict = seal(group, why);
        if (verdict == SENDIT_PASS && group->n && !group->self->dry_run)
            verdict = prepare(group, why);
        if (verdict == SENDIT_SKIP) {
            record_fini(&group->record);
            pack_archive_fini(&group->archive); /* others may be in it then */
        }
    } while (verdict == SENDIT_SKIP);
    if (verdict == SENDIT_PASS && group->n)
        verdict = send_it(group, why);
    if (verdict == SENDIT_PASS && group->upload.end == UPLOAD_STORED)
        verdict = note_stored(group, why);
    else if (verdict == SENDIT_PASS && group->upload.end == UPLOAD_CONFLICT)
        verdict = give_way(group, why);
    return verdict;
}

static sendit_verdict hold_what_is_too_many(struct group *group, struct sendit_why *why)
{
    sendit_verdict verdict = SENDIT_PASS;

    while (verdict == SENDIT_PASS && group->n > GCS_MAX_MEMBERS)
        verdict = hold(group->self, &group->members[--group->n], "gcs.too_many",
                       "Its study has more images than an archive may have; single objects (mode) "
                       "have no such bound.",
                       why);
    return verdict;
}

static sendit_verdict store_group(struct sendit_stage_state *self, size_t first, size_t n,
                                  unsigned number, struct sendit_why *why)
{
    struct group *group = calloc(1, sizeof(*group));
    sendit_verdict verdict;

    if (!group)
        return because_of_pack(self, PACK_MEMORY, why);
    group->self = self;
    group->members = &self->members[first];
    group->n = n;
    group->number = number;
    verdict = hold_what_is_too_many(group, why);
    if (verdict == SENDIT_PASS)
        verdict = store_archive(group, why);
    if (!group->left)
        group_free(group);
    return verdict;
}

sendit_verdict archive_finish(struct sendit_stage_state *self, struct sendit_why *why)
{
    sendit_verdict verdict = drop_held(self, why);
    size_t first = 0;
    unsigned number = 1; /* counted here only where nothing is remembered */

    if (verdict == SENDIT_PASS && self->n_members)
        qsort(self->members, self->n_members, sizeof(*self->members), by_place);
    if (verdict == SENDIT_PASS)
        verdict = hold_doubles(self, why);
    while (verdict == SENDIT_PASS && first < self->n_members) {
        const struct member *begin = &self->members[first];
        size_t n = 1;

        while (first + n < self->n_members && !strcmp(begin->base, begin[n].base) &&
               !strcmp(begin->study, begin[n].study))
            n++;
        number = self->dry_run && first && !strcmp(begin->base, begin[-1].base) ? number + 1 : 1;
        verdict = store_group(self, first, n, number, why);
        first += n;
    }
    return verdict;
}
