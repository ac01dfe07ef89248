/* SPDX-License-Identifier: Apache-2.0 */
#include "run/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/log.h"
#include "run/held.h"

/* One try at one image. */
struct
try {
    struct worker *worker;
    const struct work_item *item;
    struct dicom_object *object;
    struct stat st; /* of the file as it was opened */
    uint64_t labels;
    char header_digest[DIGEST_HEX]; /* "" until the first stage that hands it out */
    uint64_t pixel_length;
    char uid[65];
    bool handed_out;            /* a stage that hands images out took it */
    bool changed;               /* the file is not the one that was queued */
    uint64_t owed, owed_at_end; /* what a stage that was passed over would have granted */
    uint64_t promised;          /* what it has once the stages that passed it have finished */
    struct rested {             /* what it had when it came to rest: for one that does not */
        char header_digest[DIGEST_HEX], uid[65]; /* go out again */
        uint64_t pixel_length;
    } rested;
};

/* Where a try stands. */
enum step {
    STEP_ON,
    STEP_ENDED,
    STEP_RETRY,
    STEP_AGAIN, /* the image has ended, and the batch is done again without it */
    STEP_STOP,
    STEP_LOST
};

#define TAG_SOP_INSTANCE 0x00080018u

/* ---- telling the supervisor ---- */

static enum step decide(struct try *try, enum ledger_item_state state, const char *stage,
                        const char *code, const char *text)
{
    struct wire *wire = &try->worker->wire;
    struct log_who who = {stage, try->worker->env.batch, try->item->id};
    char *labels;

    log_event(LOG_DEBUG, &who, code, "%s: %s", ledger_item_word(state), text);
    if (host_facts_hold(&try->worker->env, try->item->id) != SENDIT_OK)
        return STEP_LOST; /* no memory: the item is taken up again */
    labels = plan_label_text(try->worker->plan, try->labels);
    wire_begin(wire, WIRE_DECIDED);
    wire_put_str(wire, try->item->id);
    wire_put_i64(wire, state);
    wire_put_str(wire, stage);
    wire_put_str(wire, code);
    wire_put_str(wire, text);
    wire_put_str(wire, labels);
    free(labels);
    return wire_send(wire) ? STEP_LOST : STEP_ENDED;
}

static enum step pass(struct try *try)
{
    struct worker *worker = try->worker;
    struct wire *wire = &worker->wire;
    char *labels = plan_label_text(worker->plan, try->labels);
    struct log_who who = {NULL, worker->env.batch, try->item->id};

    if (!try->header_digest[0]) {
        memcpy(try->header_digest, try->rested.header_digest, sizeof(try->header_digest));
        memcpy(try->uid, try->rested.uid, sizeof(try->uid));
        try->pixel_length = try->rested.pixel_length;
    }
    if (!labels)
        return decide(try, ITEM_FAILED, "core", "host.memory", "There was no memory for it.");
    log_event(LOG_DEBUG, &who, "image.passed", "passed: every stage is through with it");
    wire_begin(wire, WIRE_PASSED);
    wire_put_str(wire, try->item->id);
    wire_put_str(wire, labels);
    wire_put_str(wire, try->header_digest);
    wire_put_u64(wire, try->pixel_length);
    wire_put_str(wire, try->uid);
    free(labels);
    return wire_send(wire) ? STEP_LOST : STEP_ENDED;
}

/* ---- which file ---- */

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static bool same_file(const struct stat *st, uint64_t dev, uint64_t ino, uint64_t size,
                      int64_t mtime)
{
    return st->st_dev == dev && st->st_ino == ino && (uint64_t)st->st_size == size &&
           mtime_ns(st) == mtime;
}

/* ---- at a hold entry ---- */

/* What comes with the held file: its digest, the labels that the image earned and, "-" for not yet,
 * what it was handed out as. */
static enum step tell_rest(struct try *try, const char *hold, const char *digest)
{
    struct wire *wire = &try->worker->wire;
    /* it counts once the stages before have finished, which keeps their promise */
    char *labels = plan_label_text(try->worker->plan, try->labels | try->promised), *text = NULL;
    char key[80];
    bool out = try->handed_out;
    enum step step = STEP_LOST;

    snprintf(key, sizeof(key), "%s%s", WORKER_RESTED, hold);
    if (labels && asprintf(&text, "%s %s %llu %s %s", digest, out ? try->header_digest : "-",
                           (unsigned long long)try->pixel_length, out ? try->uid : "-", labels) < 0)
        text = NULL;
    if (text) {
        wire_begin(wire, WIRE_FACT);
        wire_put_str(wire, try->item->id);
        wire_put_str(wire, key);
        wire_put_str(wire, text);
        step = wire_send(wire) ? STEP_LOST : STEP_ON;
    }
    free(labels);
    free(text);
    return step == STEP_ON ? pass(try) : step;
}

/* The image as it is now, edits in, into the state folder. */
static enum step rest(struct try *try, const struct worker_stage *hold, struct worker_end *ret_end)
{
    struct worker *worker = try->worker;
    const char *id = hold->plan->id;
    const struct sendit_file *file;
    char digest[DIGEST_HEX];
    int result = 0;

    if (!try->header_digest[0] && try->handed_out) {
        memcpy(try->header_digest, try->rested.header_digest, sizeof(try->header_digest));
        memcpy(try->uid, try->rested.uid, sizeof(try->uid));
        try->pixel_length = try->rested.pixel_length;
    }
    if (dicom_view(dicom_dataset(try->object), &file) != SENDIT_OK)
        return decide(try, ITEM_QUARANTINED, "core", "dicom.write",
                      "The image cannot be written as a DICOM file.");
    worker_enter(worker, NULL, PAGE_ITEM);
    if (worker->held < 0)
        worker->held = held_folder(worker->plan->state, worker->env.batch, id);
    if (worker->held < 0 || held_write(worker->held, try->item->id, file, digest))
        result = errno ? errno : EIO;
    worker_leave(worker, NULL);
    if (!result)
        return tell_rest(try, id, digest);
    errno = result;
    if (errno == EBADMSG)
        return decide(try, ITEM_QUARANTINED, "core", "import.changed",
                      "The file changed while it was read.");
    *ret_end = (struct worker_end){.stage = id};
    (void)worker_no_room(ret_end);
    return STEP_STOP;
}

/* What tell_rest() told; -1 for anything else. */
static int read_rest(struct try *try, const char *digest)
{
    char header[DIGEST_HEX], uid[65], theirs[DIGEST_HEX];
    unsigned long long length;
    uint64_t labels;
    int n = 0;

    if (!try->item->rested ||
        sscanf(try->item->rested, "%64s %64s %llu %64s %n", theirs, header, &length, uid, &n) < 4 ||
        !n || strcmp(theirs, digest) ||
        plan_labels(try->worker->plan, try->item->rested + n, &labels))
        return -1;
    try->labels = labels;
    try->handed_out = strcmp(header, "-") != 0;
    if (try->handed_out) {
        memcpy(try->rested.header_digest, header, sizeof(header));
        memcpy(try->rested.uid, uid, sizeof(uid));
        try->rested.pixel_length = length;
    }
    return 0;
}

/* The held file in place of the original, which nobody asks for any more.  What is opened is the
 * file that has the digest, and what becomes of it from then on is seen at the end. */
static bool open_sound(struct try *try, const char *path)
{
    struct dicom_refusal refusal = {0};
    char digest[DIGEST_HEX];
    struct stat st;

    return !held_digest(path, digest, &st) && !read_rest(try, digest) &&
           !dicom_open(try->worker->dicom, path, &try->object, &try->st, &refusal) &&
           same_file(&try->st, st.st_dev, st.st_ino, (uint64_t)st.st_size, mtime_ns(&st));
}

static enum step open_held(struct try *try)
{
    struct worker *worker = try->worker;
    char *path =
        held_path(worker->plan->state, worker->env.batch, worker->behind->id, try->item->id);
    bool sound = path && open_sound(try, path);

    free(path);
    if (sound)
        return STEP_ON;
    try->labels = 0;
    return decide(try, ITEM_FAILED, "core", "hold.lost",
                  "Its file in the state folder is gone or is not the one that came to rest: take "
                  "its batch again from the originals with sendit retry.");
}

/* ---- duplicates ---- */

/* The file of the image that was first, as it was when it was read. */
struct original {
    const char *path;
    uint64_t dev, ino, size;
    int64_t mtime_ns;
};

/* What is written of the object: the digest of its header bytes, and where its pixels are. */
static int digest_view(struct dicom_object *object, char ret_digest[DIGEST_HEX],
                       struct sendit_part *ret_pixels)
{
    const struct sendit_file *file;
    struct digest *digest = NULL;
    int result = -1;

    *ret_pixels = (struct sendit_part){.fd = -1};
    if (dicom_view(dicom_dataset(object), &file) != SENDIT_OK)
        return -1;
    digest = digest_new();
    if (!digest)
        return -1;
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (!part->data)
            *ret_pixels = *part;
        else if (digest_add(digest, part->data, (size_t)part->length))
            goto out;
    }
    result = digest_hex(digest, ret_digest);
out:
    digest_free(digest);
    return result;
}

static bool equal_ranges(const struct sendit_part *a, const struct sendit_part *b)
{
    static const uint64_t block = 65536;
    char x[65536], y[65536];

    if (a->length != b->length)
        return false;
    for (uint64_t at = 0; at < a->length; at += block) {
        size_t n = (size_t)(a->length - at < block ? a->length - at : block);

        if (pread(a->fd, x, n, (off_t)(a->offset + at)) != (ssize_t)n ||
            pread(b->fd, y, n, (off_t)(b->offset + at)) != (ssize_t)n || memcmp(x, y, n))
            return false;
    }
    return true;
}

/*
 * Do both originals have the same bytes of pixel data?  One that cannot be read has not, nor has
 * one that is not what it was when it was handed out: this very file may have taken its place.
 */
static bool same_pixels(struct try *try, const struct original *file,
                        const struct sendit_part *pixels)
{
    struct dicom_refusal refusal;
    struct dicom_object *other = NULL;
    struct sendit_part theirs;
    char digest[DIGEST_HEX];
    struct stat st;
    bool same = false;

    if (dicom_open(try->worker->dicom, file->path, &other, &st, &refusal))
        return false;
    if (same_file(&st, file->dev, file->ino, file->size, file->mtime_ns) &&
        !digest_view(other, digest, &theirs))
        same = equal_ranges(pixels, &theirs);
    dicom_close(other);
    return same;
}

/*
 * Before an image is handed out: is there another with its new UID?  The same again is ignored,
 * another content under that UID is held.  The supervisor knows who was first.
 */
static enum step check_instance(struct try *try)
{
    struct wire *wire = &try->worker->wire;
    struct sendit_part pixels;
    struct wire_msg answer;
    struct original first;
    const char *uid, *digest;
    uint64_t length;
    int64_t result;
    bool same;

    if (dicom_get(dicom_dataset(try->object), TAG_SOP_INSTANCE, &uid) != SENDIT_OK || !*uid ||
        strlen(uid) >= sizeof(try->uid) || digest_view(try->object, try->header_digest, &pixels))
        return decide(try, ITEM_QUARANTINED, "core", "dicom.write",
                      "The image cannot be written as a DICOM file.");
    memcpy(try->uid, uid, strlen(uid) + 1);
    try->pixel_length = pixels.length;
    wire_begin(wire, WIRE_INSTANCE);
    wire_put_str(wire, try->item->id);
    wire_put_str(wire, try->uid);
    wire_put_str(wire, try->header_digest);
    wire_put_u64(wire, try->pixel_length);
    if (!try->worker->asks) /* one that has a double makes its batch be done again, asking */
        return wire_send(wire) ? STEP_LOST : STEP_ON;
    if (link_ask(wire, &answer, &result) || result < 0)
        return STEP_LOST;
    if (result == 0)
        return STEP_ON;
    first.path = wire_str(&answer);
    digest = wire_str(&answer);
    length = wire_u64(&answer);
    first.dev = wire_u64(&answer);
    first.ino = wire_u64(&answer);
    first.size = wire_u64(&answer);
    first.mtime_ns = wire_i64(&answer);
    if (answer.bad)
        return STEP_LOST;
    same = !strcmp(digest, try->header_digest) && length == try->pixel_length &&
           (!length || same_pixels(try, &first, &pixels));
    return same ? decide(try, ITEM_IGNORED, "core", "import.duplicate",
                         "The same image was there before.")
                : decide(try, ITEM_QUARANTINED, "core", "import.conflict",
                         "An image with the same SOP Instance UID was there before, and "
                         "nothing proves that this is the same.");
}

/* ---- one stage ---- */

static sendit_verdict call(struct try *try, struct worker_stage *stage, struct sendit_why *why,
                           bool *ret_edited)
{
    struct worker *worker = try->worker;
    char once[SENDIT_ID_SIZE], *labels = plan_label_text(worker->plan, try->labels);
    struct sendit_item item = {.attempt = try->item->attempt + worker->retry_times,
                               .id = try->item->id,
                               .once_key = once,
                               .labels = labels,
                               .ds = dicom_dataset(try->object)};
    sendit_verdict verdict;

    if (!labels) {
        snprintf(why->code, sizeof(why->code), "host.memory");
        return SENDIT_RETRY;
    }
    worker_once(worker, stage->plan->id, try->item->id, once);
    dicom_begin(try->object, (stage->plan->plugin->flags & SENDIT_MUTATES) != 0);
    if (stage->plan->plugin->flags & SENDIT_NATIVE)
        dicom_allow_native(try->object);
    worker_enter(worker, stage, PAGE_ITEM);
    verdict = stage->plan->plugin->process(stage->self, &item, why);
    worker_leave(worker, stage);
    *ret_edited = dicom_edited(try->object);
    verdict = host_judge_item(&stage->host, try->object, verdict, why);
    if (dicom_end(try->object, verdict == SENDIT_PASS) ||
        host_facts_settle(&worker->env, verdict == SENDIT_PASS || verdict == SENDIT_SKIP) !=
            SENDIT_OK) {
        snprintf(why->code, sizeof(why->code), "host.memory");
        verdict = SENDIT_RETRY;
    }
    free(labels);
    return verdict;
}

/* PASS: what the image has now. */
static void grant(struct try *try, const struct worker_stage *stage, bool edited)
{
    try->labels = plan_labels_after(stage->plan, try->labels, edited) & ~stage->host.lost;
    try->promised |= stage->plan->grants_at_finish;
    try->handed_out |= stage->plan->egress;
}

/* ---- what people decided ---- */

/* A list of labels as a mask; what cannot be one is `otherwise`. */
static uint64_t mask_of(struct try *try, const char *labels, uint64_t otherwise)
{
    uint64_t mask = 0;

    return plan_labels(try->worker->plan, labels, &mask) ? otherwise : mask;
}

/*
 * A person released the image at this stage.  What is vouched for counts from here on, if it is
 * what the stage would have granted or, where the core held the image, what the stage asks for.
 * true: the stage is passed over, and what it alone can grant is owed to whoever hands images out.
 * A release is for the file as it was: of one that changed since nothing is known.
 */
static bool obey_releases(struct try *try, const struct worker_stage *stage)
{
    const struct plan_stage *plan = stage->plan;
    uint64_t vouched;
    bool passed_over = false;

    for (size_t i = 0; i < try->item->n_releases && !try->changed; i++) {
        const struct work_release *release = &try->item->releases[i];

        if (strcmp(release->stage, plan->id))
            continue;
        passed_over |= release->passes_over;
        vouched = mask_of(try, release->vouched, 0) & ~mask_of(try, RUN_FROM_STAGES, UINT64_MAX);
        try->labels |= vouched & (release->passes_over ? plan->grants : plan->needs);
    }
    if (passed_over) {
        try->owed |= plan->grants & mask_of(try, "ids.replaced deid.header", UINT64_MAX);
        try->owed_at_end |= plan->grants_at_finish;
    }
    return passed_over;
}

/* What stages behind a hold entry ask for at their finish(). */
static uint64_t later_needs(const struct worker *worker, const struct plan_stage *hold)
{
    uint64_t needs = 0;

    for (size_t i = 0; i < worker->n_stages; i++)
        if (worker->stages[i].plan > hold)
            needs |= worker->stages[i].plan->needs_at_finish;
    return needs;
}

/* What the image must have here: whatever a lowered policy lets through, nobody hands out what a
 * person took past an anonymizer.  What is granted at finish only those will have that the stage
 * passed. */
static uint64_t needs_of(const struct try *try, const struct plan_stage *plan)
{
    if (plan->hold) /* nobody remembers behind it what is owed */
        return try->owed | (later_needs(try->worker, plan) & try->owed_at_end);
    return plan->needs | (plan->egress ? try->owed : 0) | (plan->needs_at_finish & ~try->promised);
}

static enum step missing_label(struct try *try, const struct worker_stage *stage)
{
    char *text = plan_label_text(try->worker->plan, needs_of(try, stage->plan) & ~try->labels);
    char sentence[200];
    enum step step;

    snprintf(sentence, sizeof(sentence), "It has not earned \"%s\", which this stage needs.",
             text ? text : "a label");
    step = decide(try, ITEM_QUARANTINED, stage->plan->id, "host.label", sentence);
    free(text);
    return step;
}

static enum step through_stage(struct try *try, struct worker_stage *stage,
                               struct worker_end *ret_end)
{
    struct sendit_why why = {0};
    bool edited = false;
    enum step step;

    if (obey_releases(try, stage))
        return STEP_ON;
    if (needs_of(try, stage->plan) & ~try->labels)
        return missing_label(try, stage);
    if (stage->plan->egress && !try->header_digest[0]) {
        step = check_instance(try);
        if (step != STEP_ON)
            return step;
    }
    if (!stage->plan->plugin->process) {
        grant(try, stage, false);
        return STEP_ON;
    }
    switch (call(try, stage, &why, &edited)) {
    case SENDIT_PASS:
        grant(try, stage, edited);
        return STEP_ON;
    case SENDIT_SKIP:
        return STEP_ON;
    case SENDIT_QUARANTINE:
        return decide(try, ITEM_QUARANTINED, stage->plan->id, why.code, why.text);
    case SENDIT_RETRY:
        *ret_end = (struct worker_end){.stage = stage->plan->id, .why = why};
        return STEP_RETRY;
    default: /* FAIL: the batch stops, and a full disk is no fault of this image */
        *ret_end = (struct worker_end){.stage = stage->plan->id, .why = why};
        if (!run_is_place(why.code) &&
            decide(try, ITEM_FAILED, stage->plan->id, why.code, why.text) == STEP_LOST)
            return STEP_LOST;
        return STEP_STOP;
    }
}

/* ---- one image ---- */

/* It changed between its queueing and now: what it is now is read, and the ledger told. */
static enum step note_change(struct try *try)
{
    struct wire *wire = &try->worker->wire;
    const struct stat *st = &try->st;

    try->changed = true;
    wire_begin(wire, WIRE_CHANGED);
    wire_put_str(wire, try->item->id);
    wire_put_u64(wire, st->st_dev);
    wire_put_u64(wire, st->st_ino);
    wire_put_u64(wire, (uint64_t)st->st_size);
    wire_put_i64(wire, mtime_ns(st));
    return wire_send(wire) ? STEP_LOST : STEP_ON;
}

static enum step open_object(struct try *try)
{
    const struct work_item *item = try->item;
    struct dicom_refusal refusal = {0};
    int state = ITEM_FAILED;

    if (!dicom_open(try->worker->dicom, item->path, &try->object, &try->st, &refusal))
        return same_file(&try->st, item->dev, item->ino, item->size, item->mtime_ns)
                   ? STEP_ON
                   : note_change(try);
    if (refusal.what == DICOM_QUARANTINED)
        state = ITEM_QUARANTINED;
    else if (refusal.what == DICOM_IGNORED)
        state = ITEM_IGNORED;
    return decide(try, (enum ledger_item_state)state, "core", refusal.code, refusal.text);
}

/*
 * Somebody wrote into the file while it was read: header and pixels may be of two images.  A store
 * that has taken it already gives up the batch, which is done again without it.
 */
static enum step check_unchanged(struct try *try)
{
    const struct stat *st = &try->st;
    struct stat now;
    enum step step;

    if (!dicom_stat(try->object, &now) &&
        same_file(&now, st->st_dev, st->st_ino, (uint64_t)st->st_size,
                  (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec))
        return STEP_ON;
    step = decide(try, ITEM_QUARANTINED, "core", "import.changed",
                  "The file changed while it was read.");
    return step == STEP_ENDED && try->handed_out ? STEP_AGAIN : step;
}

static enum step come_to_rest(struct try *try, const struct worker_stage *hold,
                              struct worker_end *ret_end)
{
    enum step step;

    if (needs_of(try, hold->plan) & ~try->labels)
        return missing_label(try, hold);
    step = check_unchanged(try);
    return step == STEP_ON ? rest(try, hold, ret_end) : step;
}

static enum step come_through(struct try *try)
{
    enum step step = check_unchanged(try);

    if (step == STEP_ON && !try->handed_out && !try->worker->plan->dry)
        return decide(try, ITEM_QUARANTINED, "core", "host.not_stored",
                      "No store took it: each answered that the image is not for it.");
    return step == STEP_ON ? pass(try) : step;
}

static enum step one_try(struct try *try, struct worker_end *ret_end)
{
    struct worker *worker = try->worker;
    enum step step;

    worker_enter(worker, NULL, PAGE_ITEM);
    step = worker->behind ? open_held(try) : open_object(try);
    if (step == STEP_ON && host_originals_take(&worker->env, try->object) != SENDIT_OK)
        step = STEP_LOST; /* no memory: a new worker takes it up again */
    worker_leave(worker, NULL);
    worker->env.object = try->object;
    for (size_t i = 0; step == STEP_ON && i < worker->n_stages; i++)
        if (worker->stages[i].in_batch)
            step = through_stage(try, &worker->stages[i], ret_end);
    if (step == STEP_ON && worker->rest)
        step = come_to_rest(try, worker->rest, ret_end);
    else if (step == STEP_ON)
        step = come_through(try);
    worker->env.object = NULL;
    host_originals_clear(&worker->env);
    dicom_close(try->object);
    try->object = NULL;
    return step;
}

enum worker_answer chain_take(struct worker *worker, const struct work_item *item,
                              struct worker_end *ret_end)
{
    enum worker_answer answer = WORKER_WENT;
    enum step step;

    snprintf(worker->page->item, sizeof(worker->page->item), "%s", item->id);
    if (host_item(&worker->env, item->id) != SENDIT_OK)
        return WORKER_LOST; /* no memory: a new worker takes it up again */
    do {
        struct try try = {.worker = worker, .item = item};

        step = one_try(&try, ret_end);
        if (step == STEP_RETRY)
            answer = worker_pause(worker, ret_end->stage, &ret_end->why, ret_end);
    } while (step == STEP_RETRY && answer == WORKER_WENT);
    worker->page->item[0] = '\0';
    (void)host_item(&worker->env, NULL);
    if (step == STEP_ENDED || step == STEP_AGAIN) {
        worker->retry_since = 0;
        worker->retry_times = 0;
    }
    if (step == STEP_LOST)
        return WORKER_LOST;
    if (step == STEP_AGAIN) {
        *ret_end = (struct worker_end){.stage = "core"};
        return WORKER_GIVE_UP;
    }
    return step == STEP_STOP ? WORKER_STOP : answer;
}
