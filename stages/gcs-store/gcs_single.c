/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_single.c - one object per instance, sent straight from the virtual file, many at once.
 *
 * An object says by its metadata which item of ours it was made of (`sendit-once`), so that what an
 * unfinished attempt left there is known for our own.  What fails late is held, or gives the batch
 * back: the next attempt finds what is there.
 */
#include "gcs.h"

#include <stdlib.h>
#include <string.h>

/* An object in flight. */
struct single {
    struct single *next, **at;
    struct sendit_stage_state *self;
    const struct sendit_file *file; /* kept */
    char item[SENDIT_ID_SIZE], name[NAME_TEMPLATE_SIZE];
    struct upload upload;
};

static void single_free(struct single *single)
{
    struct sendit_stage_state *self = single->self;

    *single->at = single->next;
    if (single->next)
        single->next->at = single->at;
    self->n_singles--;
    self->files->drop(self->host, single->file);
    free(single);
}

/* The first reason why the batch cannot go on is the one that counts. */
static void note_failure(struct sendit_stage_state *self, sendit_verdict verdict,
                         const struct sendit_why *why)
{
    if (self->failed != SENDIT_PASS)
        return;
    self->failed = verdict;
    self->failure = *why;
}

static sendit_verdict fail_again(const struct sendit_stage_state *self, struct sendit_why *why)
{
    *why = self->failure;
    return self->failed;
}

static bool is_ours(const struct upload *upload, const struct there *there)
{
    return there->once[0] && !strcmp(there->once, upload->once);
}

static void hold(struct sendit_stage_state *self, struct single *single)
{
    const struct sendit_why *said = &single->upload.why;
    struct sendit_why why = {0};

    if (single == self->in_hand) { /* process() says it itself */
        self->hand_verdict = SENDIT_QUARANTINE;
        self->hand_why = *said;
    } else if (self->host->hold(self->host, single->item, SENDIT_QUARANTINE, said->code,
                                said->text) != SENDIT_OK)
        note_failure(self,
                     sendit_because(&why, SENDIT_RETRY, "gcs.ledger", "An image cannot be held."),
                     &why);
}

static void keep(struct sendit_stage_state *self, struct single *single)
{
    const struct there *there = &single->upload.there;
    struct sendit_why why = {0};
    sendit_verdict verdict = tell_stored(self, single->item, single->name, there, &why);

    if (verdict == SENDIT_PASS)
        verdict = journal_add(self, single->name, there, &why);
    if (verdict != SENDIT_PASS)
        note_failure(self, verdict, &why);
    self->n_objects++;
    self->n_bytes += (int64_t)single->upload.total;
}

static void sent(struct upload *upload)
{
    struct single *single = upload->ctx;
    struct sendit_stage_state *self = single->self;

    if (upload->end == UPLOAD_STORED)
        keep(self, single);
    else if (upload->end == UPLOAD_CONFLICT)
        hold(self, single);
    else
        note_failure(self, upload->verdict, &upload->why);
    single_free(single);
}

static sendit_verdict new_single(struct sendit_stage_state *self, const struct sendit_item *item,
                                 struct single **ret_single, struct sendit_why *why)
{
    struct single *single = calloc(1, sizeof(*single));
    sendit_result r;

    if (!single)
        return because_of_pack(self, PACK_MEMORY, why);
    r = self->files->keep(item->ds, &single->file);
    if (r != SENDIT_OK) {
        free(single);
        return sendit_because(
            why, r == SENDIT_ENOMEM || r == SENDIT_EIO ? SENDIT_RETRY : SENDIT_QUARANTINE,
            "gcs.view", "It cannot be written as a DICOM file.");
    }
    single->self = self;
    snprintf(single->item, sizeof(single->item), "%s", item->id);
    single->next = self->singles;
    single->at = &self->singles;
    if (single->next)
        single->next->at = &single->next;
    self->singles = single;
    self->n_singles++;
    *ret_single = single;
    return SENDIT_PASS;
}

/* Room for one more, and none of this very item, which may come again. */
static sendit_verdict make_room(struct sendit_stage_state *self, const char *item,
                                struct sendit_why *why)
{
    sendit_result r = SENDIT_OK;
    bool again = false;

    for (const struct single *at = self->singles; at; at = at->next)
        again = again || !strcmp(at->item, item);
    if (again || self->n_singles >= GCS_MAX_UPLOADS)
        r = self->http->drain(self->host, again ? 0 : GCS_MAX_UPLOADS - 1);
    if (self->failed != SENDIT_PASS)
        return fail_again(self, why);
    if (r != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "gcs.canceled",
                              "An upload was ended before its time.");
    return SENDIT_PASS;
}

static void fill(struct single *single, const struct sendit_item *item)
{
    single->upload.self = single->self;
    single->upload.name = single->name;
    single->upload.type = GCS_TYPE_INSTANCE;
    single->upload.parts = single->file->parts;
    single->upload.n_parts = single->file->n_parts;
    single->upload.total = single->file->total;
    single->upload.may_replace = is_ours;
    single->upload.done = sent;
    single->upload.ctx = single;
    snprintf(single->upload.once, sizeof(single->upload.once), "%s", item->once_key);
}

sendit_verdict single_process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    char name[NAME_TEMPLATE_SIZE];
    struct single *single = NULL;
    enum pack_result result;
    sendit_verdict verdict = gcs_name_instance(&self->names, item, name, why);

    if (verdict == SENDIT_PASS)
        verdict = make_room(self, item->id, why);
    if (verdict == SENDIT_PASS)
        verdict = new_single(self, item, &single, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    memcpy(single->name, name, sizeof(name));
    fill(single, item);
    result = pack_digest(self->pack, single->file, single->upload.content, &single->upload.crc32c);
    if (result != PACK_OK) {
        single_free(single);
        return because_of_pack(self, result, why);
    }
    if (self->dry_run) {
        verdict = dry_write(&single->upload, why);
        single_free(single);
        return verdict;
    }
    self->in_hand = single;
    self->hand_verdict = SENDIT_PASS;
    upload_start(&single->upload);
    self->in_hand = NULL;
    if (self->hand_verdict != SENDIT_PASS)
        *why = self->hand_why;
    return self->hand_verdict;
}

sendit_verdict single_finish(struct sendit_stage_state *self, struct sendit_why *why)
{
    sendit_result r = SENDIT_OK;

    while (r == SENDIT_OK && self->singles)
        r = self->http->drain(self->host, 0);
    if (self->failed != SENDIT_PASS)
        return fail_again(self, why);
    if (r != SENDIT_OK || self->singles)
        return sendit_because(why, SENDIT_RETRY, "gcs.canceled",
                              "An upload was ended before its time.");
    return journal_flush(self, why);
}

void single_forget(struct sendit_stage_state *self)
{
    self->list_length = 0;
    self->n_chunks = 0;
}
