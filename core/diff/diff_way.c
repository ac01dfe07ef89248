/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/diff_way.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "diff/diff_json.h"
#include "diff/diff_tree.h"

#define BATCH_ID "diff"
#define TAG_SOP_INSTANCE 0x00080018u

static const char hands_out[] = "it hands images out";
static const char ended[] = "the image ended before it";
static const char talks[] = "it talks to the network";

/* One file. */
struct taking {
    struct diff_way *way;
    struct dicom_object *object;
    struct diff_tree tree;
    uint64_t labels;
    uint64_t guessed;   /* labels that a stage which was not called would have granted */
    bool handed_out;    /* a stage that hands images out would have it */
    bool looks;         /* the tree is what the object is */
    const char *unseen; /* a stage that edits, and was not called */
    const char *fate, *stage;
    struct sendit_why why;
    json_t *stages;
    bool failed; /* no memory */
};

static void set(struct taking *t, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        t->failed = true;
}

/* What stages say may be no UTF-8. */
static json_t *said(const char *text)
{
    json_t *json = json_string(text);

    return json ? json : json_string("(it cannot be shown)");
}

static json_t *labels_json(struct taking *t, uint64_t mask)
{
    const struct plan *plan = t->way->request->plan;
    json_t *array = json_array();

    for (size_t i = 0; i < plan->n_labels; i++)
        if (mask >> i & 1 && json_array_append_new(array, json_string(plan->labels[i])))
            t->failed = true;
    return array;
}

/* ---- callbacks ---- */

static void enter(struct diff_way *way, struct diff_way_stage *stage)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    way->env.link = &stage->memory.table;
    atomic_store(&way->page->since, (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    atomic_store(&way->page->stage, stage->index);
    host_enter(&stage->host);
}

static void leave(struct diff_way *way, struct diff_way_stage *stage)
{
    host_leave(&stage->host);
    atomic_store(&way->page->stage, -1);
}

static int refused(const struct diff_way *way, const struct diff_way_stage *stage, int code,
                   const char *what, const struct sendit_why *why, struct err *err)
{
    return err_set(err, code, "%s:%u:%u: stage \"%s\": %s", way->request->plan->path,
                   stage->plan->line, stage->plan->col, stage->plan->id,
                   why->text[0] ? why->text : what);
}

/* A source is not asked for files: what it thinks of its folders is not judged. */
static int check(struct diff_way *way, struct diff_way_stage *stage, struct err *err)
{
    const struct sendit_plugin *plugin = stage->plan->plugin;
    struct sendit_why why = {0};
    sendit_verdict verdict;

    if (!plugin->check || plugin->flags & SENDIT_SOURCE)
        return 0;
    enter(way, stage);
    verdict = plugin->check(&stage->host.host, 0, &why);
    leave(way, stage);
    verdict = host_judge(&stage->host, verdict, &why);
    return verdict == SENDIT_PASS ? 0
                                  : refused(way, stage, ERR_REFUSED,
                                            "its check() failed and did not say why", &why, err);
}

static int open_stage(struct diff_way *way, struct diff_way_stage *stage, struct err *err)
{
    struct sendit_why why = {0};
    sendit_verdict verdict;

    enter(way, stage);
    verdict = stage->plan->plugin->open(&stage->host.host, &stage->self, &why);
    leave(way, stage);
    stage->open = verdict == SENDIT_PASS;
    verdict = host_judge(&stage->host, verdict, &why);
    if (verdict == SENDIT_PASS)
        return 0;
    return refused(way, stage, verdict == SENDIT_RETRY ? ERR_AWAY : ERR_BATCH,
                   "it could not be opened and did not say why", &why, err);
}

static sendit_verdict call_batch(struct diff_way *way, struct diff_way_stage *stage,
                                 sendit_batch_fn *call, struct sendit_why *why)
{
    sendit_verdict verdict;

    if (!call)
        return SENDIT_PASS;
    enter(way, stage);
    verdict = call(stage->self, &way->batch, why);
    if (call == stage->plan->plugin->abandon)
        host_cancel(&stage->host);
    leave(way, stage);
    if (call != stage->plan->plugin->finish)
        return host_judge(&stage->host, verdict, why);
    verdict = host_judge_finish(&stage->host, verdict, why);
    return verdict == SENDIT_LATER ? SENDIT_PASS
                                   : verdict; /* of what comes later nothing is shown */
}

/* ---- the process ---- */

static const char *why_left_out(const struct plan_stage *stage)
{
    if (stage->egress)
        return hands_out;
    return stage->plugin->flags & SENDIT_NETWORK ? talks : NULL;
}

/* All stages see the facts and the crosswalk of the first. */
static int share_memory(struct diff_way *way, struct diff_way_stage *stage)
{
    struct timespec now;
    struct memory *first = &way->stages[0].memory;

    clock_gettime(CLOCK_REALTIME, &now);
    stage->has_memory = true;
    if (memory_init(&stage->memory, (int64_t)now.tv_sec * 1000))
        return -1;
    if (&stage->memory == first)
        return 0;
    json_decref(stage->memory.crosswalk);
    stage->memory.crosswalk = json_incref(first->crosswalk);
    return 0;
}

static int add_stages(struct diff_way *way, struct err *err)
{
    const struct plan *plan = way->request->plan;

    way->stages = calloc(plan->n_stages + 1, sizeof(*way->stages));
    if (!way->stages)
        return err_set(err, ERR_PLACE, "no memory");
    for (size_t i = 0; i < plan->n_stages; i++) {
        struct diff_way_stage *stage = &way->stages[way->n_stages];

        if (!plan->stages[i].enabled)
            continue;
        stage->plan = &plan->stages[i];
        stage->index = (int)i;
        stage->left_out = why_left_out(stage->plan);
        way->n_stages++;
        if (share_memory(way, stage))
            return err_set(err, ERR_PLACE, "no memory");
        host_init(&stage->host, &way->env, stage->plan);
        stage->has_host = true;
        if (!stage->left_out && (check(way, stage, err) || open_stage(way, stage, err)))
            return -1;
    }
    return 0;
}

int diff_way_init(struct diff_way *way, const struct diff_request *request, struct diff_page *page,
                  const char *scratch, struct err *err)
{
    const struct plan *plan = request->plan;
    struct dicom_limits limits = {.max_inflate = (uint64_t)plan->run[PLAN_MAX_INFLATE].number};

    *way = (struct diff_way){.request = request, .page = page};
    way->dicom = dicom_new(&limits, scratch, err);
    if (!way->dicom)
        return -1;
    way->env = (struct host_env){.plan = plan,
                                 .key = request->key,
                                 .dicom = way->dicom,
                                 .filters = request->filters,
                                 .scratch = scratch};
    return add_stages(way, err);
}

void diff_way_fini(struct diff_way *way)
{
    for (size_t i = way->n_stages; i-- > 0;) {
        struct diff_way_stage *stage = &way->stages[i];

        if (stage->open) {
            host_end_batch(&stage->host);
            stage->plan->plugin->close(stage->self);
        }
        if (stage->has_host)
            host_fini(&stage->host);
    }
    host_facts_clear(&way->env);
    map_clear(&way->instances);
    for (size_t i = way->n_stages; i-- > 0;)
        if (way->stages[i].has_memory)
            memory_fini(&way->stages[i].memory);
    free(way->stages);
    dicom_free(way->dicom);
    *way = (struct diff_way){0};
}

/* ---- a batch ---- */

/* 32 hex digits, the same for the same stage and id. */
static void make_once(const char *stage, const char *id, char ret_key[SENDIT_ID_SIZE])
{
    char text[2 * SENDIT_ID_SIZE + 256], hex[DIGEST_HEX] = "";
    int n = snprintf(text, sizeof(text), "diff\n%s\n%s", stage, id);

    ret_key[0] = '\0';
    if (n > 0 && (size_t)n < sizeof(text) && !digest_of(text, (size_t)n, hex))
        snprintf(ret_key, SENDIT_ID_SIZE, "%.32s", hex);
}

int diff_way_begin(struct diff_way *way, size_t n, struct err *err)
{
    way->batch = (struct sendit_batch){
        .attempt = 1, .id = BATCH_ID, .once_key = way->once, .n_items = (uint64_t)n};
    way->env.batch = BATCH_ID;
    way->env.batch_open = true;
    for (size_t i = 0; i < way->n_stages; i++) {
        struct diff_way_stage *stage = &way->stages[i];
        struct sendit_why why = {0};
        sendit_verdict verdict;

        if (stage->left_out)
            continue;
        make_once(stage->plan->id, BATCH_ID, way->once);
        verdict = call_batch(way, stage, stage->plan->plugin->begin, &why);
        stage->in_batch = verdict == SENDIT_PASS;
        if (verdict != SENDIT_PASS && verdict != SENDIT_SKIP)
            return refused(way, stage, verdict == SENDIT_RETRY ? ERR_AWAY : ERR_BATCH,
                           "it could not begin and did not say why", &why, err);
    }
    return 0;
}

/* finish() is not called: it is there to write. */
void diff_way_end(struct diff_way *way)
{
    way->env.abandoning = true;
    for (size_t i = 0; i < way->n_stages; i++) {
        struct diff_way_stage *stage = &way->stages[i];
        struct sendit_why why = {0};

        if (stage->in_batch)
            (void)call_batch(way, stage, stage->plan->plugin->abandon, &why);
        stage->in_batch = false;
    }
    way->env.abandoning = way->env.batch_open = false;
    for (size_t i = 0; i < way->n_stages; i++) {
        if (way->stages[i].has_host)
            host_end_batch(&way->stages[i].host);
        json_object_clear(way->stages[i].memory.facts);
        json_object_clear(way->stages[i].memory.crosswalk);
        json_object_clear(way->stages[i].memory.holds);
        json_array_clear(way->stages[i].memory.audit);
    }
    host_facts_clear(&way->env);
    dicom_drop_all(way->dicom);
    way->env.batch = NULL;
}

/* ---- a file ---- */

static void end(struct taking *t, const char *fate, const char *stage, const char *code,
                const char *text)
{
    t->fate = fate;
    t->stage = stage;
    snprintf(t->why.code, sizeof(t->why.code), "%s", code);
    snprintf(t->why.text, sizeof(t->why.text), "%s", text);
}

static void end_as(struct taking *t, sendit_verdict verdict, const char *stage,
                   const struct sendit_why *why)
{
    end(t,
        verdict == SENDIT_QUARANTINE ? "quarantined"
        : verdict == SENDIT_RETRY    ? "retry"
                                     : "failed",
        stage, why->code, why->text);
}

static json_t *add_stage(struct taking *t, const struct diff_way_stage *stage)
{
    json_t *object = json_pack("{s:s}", "stage", stage->plan->id);

    if (json_array_append_new(t->stages, object))
        t->failed = true;
    return object;
}

static void add_answer(struct taking *t, json_t *object, sendit_verdict verdict,
                       const struct sendit_why *why, bool edited)
{
    char room[16];

    set(t, object, "verdict", json_string(memory_verdict(verdict, room)));
    set(t, object, "edited", json_boolean(edited && verdict == SENDIT_PASS));
    set(t, object, "labels", labels_json(t, t->labels));
    if (verdict == SENDIT_PASS || verdict == SENDIT_SKIP)
        return;
    set(t, object, "code", said(why->code));
    set(t, object, "text", said(why->text));
}

/* As run/chain.c calls it. */
static sendit_verdict call(struct taking *t, struct diff_way_stage *stage, const char *id,
                           struct sendit_why *why, bool *ret_edited)
{
    struct diff_way *way = t->way;
    const struct deid_watch watch = diff_tree_watch(&t->tree, (size_t)stage->index);
    char once[SENDIT_ID_SIZE], *labels = plan_label_text(way->request->plan, t->labels);
    struct sendit_item item = {
        .attempt = 1, .id = id, .once_key = once, .labels = labels, .ds = dicom_dataset(t->object)};
    sendit_verdict verdict;

    t->failed = t->failed || !labels;
    if (!labels)
        return SENDIT_FAIL;
    make_once(stage->plan->id, id, once);
    dicom_begin(t->object, (stage->plan->plugin->flags & SENDIT_MUTATES) != 0);
    if (stage->plan->plugin->flags & SENDIT_NATIVE)
        dicom_allow_native(t->object);
    way->env.watch = t->looks ? &watch : NULL;
    enter(way, stage);
    verdict = stage->plan->plugin->process(stage->self, &item, why);
    leave(way, stage);
    way->env.watch = NULL;
    *ret_edited = dicom_edited(t->object);
    verdict = host_judge_item(&stage->host, t->object, verdict, why);
    if (dicom_end(t->object, verdict == SENDIT_PASS) ||
        host_facts_settle(&way->env, verdict == SENDIT_PASS || verdict == SENDIT_SKIP) != SENDIT_OK)
        t->failed = true;
    free(labels);
    return verdict;
}

/* See what the stage made of it. */
static void look_again(struct taking *t, const struct diff_way_stage *stage)
{
    sendit_result r;

    dicom_begin(t->object, false);
    r = diff_tree_look(&t->tree, dicom_dataset(t->object), (size_t)stage->index);
    if (dicom_end(t->object, true))
        t->failed = true;
    t->failed = t->failed || r == SENDIT_ENOMEM;
    t->looks = t->looks && r == SENDIT_OK;
}

static void call_stage(struct taking *t, struct diff_way_stage *stage, const char *id)
{
    struct sendit_why why = {0};
    bool edited = false;
    sendit_verdict verdict = call(t, stage, id, &why, &edited);

    if (t->looks && verdict == SENDIT_PASS && edited)
        look_again(t, stage);
    else if (t->looks)
        diff_tree_forget(&t->tree, (size_t)stage->index);
    if (verdict == SENDIT_PASS)
        t->labels = plan_labels_after(stage->plan, t->labels, edited) & ~stage->host.lost;
    else if (verdict != SENDIT_SKIP)
        end_as(t, verdict, stage->plan->id, &why);
    if (t->fate && host_facts_hold(&t->way->env, id) != SENDIT_OK)
        t->failed = true;
    add_answer(t, add_stage(t, stage), verdict, &why, edited);
}

static void miss_label(struct taking *t, const struct diff_way_stage *stage, uint64_t missing)
{
    char *text = plan_label_text(t->way->request->plan, missing);
    struct sendit_why why = {0};

    (void)sendit_because(&why, SENDIT_QUARANTINE, "host.label",
                         "It has not earned \"%.150s\", which this stage needs.",
                         text ? text : "a label");
    free(text);
    end_as(t, SENDIT_QUARANTINE, stage->plan->id, &why);
    add_answer(t, add_stage(t, stage), SENDIT_QUARANTINE, &why, false);
}

/* "HEADER PIXELS", digests of what would be written; -1 if that cannot be read. */
static int digest_file(const struct taking *t, const struct sendit_file *file,
                       char ret_digests[2 * DIGEST_HEX])
{
    struct digest *digest = digest_new();
    char header[DIGEST_HEX], pixels[DIGEST_HEX] = "";
    int result = digest ? 0 : -1;

    snprintf(pixels, sizeof(pixels), "%s", t->looks ? diff_tree_pixels(&t->tree) : "");
    for (uint32_t i = 0; !result && i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (part->data)
            result = digest_add(digest, part->data, (size_t)part->length);
        else if (!pixels[0])
            result = diff_tree_digest(part, pixels);
    }
    if (!result && !digest_hex(digest, header))
        snprintf(ret_digests, 2 * DIGEST_HEX, "%s %s", header, pixels);
    else
        result = -1;
    digest_free(digest);
    return result;
}

/* As run/chain.c judges one with the new UID of another, among the files of this call. */
static void check_instance(struct taking *t, const struct sendit_file *file, const char *uid)
{
    struct map *instances = &t->way->instances;
    const char *first = map_get(instances, uid);
    char digests[2 * DIGEST_HEX];

    if (digest_file(t, file, digests) || (!first && map_put(instances, uid, digests)))
        t->failed = true;
    else if (first && !strcmp(first, digests))
        end(t, "ignored", "core", "import.duplicate", "The same image was there before.");
    else if (first)
        end(t, "quarantined", "core", "import.conflict",
            "An image with the same SOP Instance UID was there before, and nothing proves that "
            "this is the same.");
}

/* Can it be written under its new UID?  Its new meta group is looked at. */
static void look_at_file(struct taking *t)
{
    struct sendit_dataset *ds = dicom_dataset(t->object);
    const struct sendit_file *file = NULL;
    const char *uid;

    dicom_begin(t->object, false);
    if (dicom_get(ds, TAG_SOP_INSTANCE, &uid) != SENDIT_OK || !*uid || strlen(uid) > 64 ||
        dicom_view(ds, &file) != SENDIT_OK)
        end(t, "quarantined", "core", "dicom.write",
            "The image cannot be written as a DICOM file.");
    else
        check_instance(t, file, uid);
    if (!t->fate && t->looks && file->n_parts && file->parts[0].data)
        diff_tree_meta(&t->tree, file->parts[0].data, (size_t)file->parts[0].length);
    if (dicom_end(t->object, true))
        t->failed = true;
}

static void leave_out(struct taking *t, struct diff_way_stage *stage)
{
    if (stage->plan->egress && !t->handed_out) {
        look_at_file(t);
        if (t->fate) { /* sendit itself ended it */
            set(t, add_stage(t, stage), "not_called", json_string(ended));
            return;
        }
    }
    set(t, add_stage(t, stage), "not_called", json_string(stage->left_out));
    t->handed_out = t->handed_out || stage->plan->egress;
    if (stage->plan->plugin->flags & SENDIT_MUTATES)
        t->unseen = stage->plan->id;
    t->guessed |= stage->plan->grants & ~t->labels;
    t->labels |= stage->plan->grants;
}

static void pass_stage(struct taking *t, struct diff_way_stage *stage, const char *id)
{
    uint64_t missing = stage->plan->needs & ~t->labels;

    if (t->fate)
        set(t, add_stage(t, stage), "not_called", json_string(ended));
    else if (missing && (stage->left_out || stage->in_batch))
        miss_label(t, stage, missing);
    else if (stage->left_out)
        leave_out(t, stage);
    else if (!stage->in_batch)
        set(t, add_stage(t, stage), "not_called", json_string("the batch is not for it"));
    else if (stage->plan->plugin->process)
        call_stage(t, stage, id);
    else
        set(t, add_stage(t, stage), "not_called", json_string("it looks at no image"));
}

static uint64_t mask_of(struct plan *plan, const char *words)
{
    uint64_t mask = 0;

    return plan_labels(plan, words, &mask) ? UINT64_MAX : mask;
}

/* What stages made is shown of an image whose identities are gone, and not by a stage that nobody
 * called. */
static bool is_clean(const struct taking *t)
{
    uint64_t needed = mask_of(t->way->request->plan, "ids.replaced deid.header");

    return !(needed & ~(t->labels & ~t->guessed));
}

int diff_way_tell(FILE *out, char letter, json_t *json)
{
    int result = putc(letter, out) == EOF || (json && json_dumpf(json, out, JSON_COMPACT)) ||
                         putc('\n', out) == EOF
                     ? -1
                     : 0;

    json_decref(json);
    return result;
}

static int tell_element(void *ctx, const json_t *element)
{
    return diff_way_tell(ctx, DIFF_LINE_ELEMENT, json_incref((json_t *)(uintptr_t)element));
}

static void put_result(struct taking *t, FILE *out)
{
    json_t *result = json_object();
    const struct diff_shown shown = {.plan = t->way->request->plan,
                                     .originals = t->way->request->originals,
                                     .made = is_clean(t)};
    bool passed = !strcmp(t->fate, "stored") || !strcmp(t->fate, "checked");

    set(t, result, "fate", json_string(t->fate));
    if (!passed) {
        set(t, result, "stage", json_string(t->stage));
        set(t, result, "code", said(t->why.code));
        set(t, result, "text", said(t->why.text));
    }
    if (t->unseen)
        set(t, result, "unseen", json_string(t->unseen));
    set(t, result, "labels", labels_json(t, t->labels & ~t->guessed));
    set(t, result, "stages", json_incref(t->stages));
    if (t->object && t->tree.too_many)
        set(t, result, "elements_left_out", json_true());
    set(t, result, "counts", diff_json_counts(&t->tree));
    t->failed = t->failed || diff_way_tell(out, DIFF_LINE_FILE, result) ||
                diff_json_each(&t->tree, &shown, tell_element, out) ||
                diff_way_tell(out, DIFF_LINE_END, NULL) || fflush(out);
}

static void go(struct taking *t, const char *id)
{
    struct diff_way *way = t->way;
    sendit_result r;

    dicom_begin(t->object, false);
    r = diff_tree_begin(&t->tree, dicom_dataset(t->object));
    if (dicom_end(t->object, true) || r == SENDIT_ENOMEM)
        t->failed = true;
    t->looks = r == SENDIT_OK;
    way->env.object = t->object;
    for (size_t i = 0; i < way->n_stages && !t->failed; i++)
        pass_stage(t, &way->stages[i], id);
    way->env.object = NULL;
    if (t->fate)
        return;
    if (way->request->plan->dry || t->handed_out)
        end(t, way->request->plan->dry ? "checked" : "stored", "", "", "");
    else
        end(t, "quarantined", "core", "host.not_stored",
            "No store took it: each answered that the image is not for it.");
}

static void refuse(struct taking *t, const struct dicom_refusal *refusal)
{
    const char *fate = refusal->what == DICOM_QUARANTINED ? "quarantined"
                       : refusal->what == DICOM_IGNORED   ? "ignored"
                                                          : "failed";

    end(t, fate, "core", refusal->code, refusal->text);
    for (size_t i = 0; i < t->way->n_stages; i++)
        set(t, add_stage(t, &t->way->stages[i]), "not_called", json_string(ended));
}

int diff_way_take(struct diff_way *way, const char *path, size_t number, FILE *out)
{
    struct taking t = {.way = way, .stages = json_array()};
    struct dicom_refusal refusal = {0};
    char id[SENDIT_ID_SIZE];
    struct stat st;

    snprintf(id, sizeof(id), BATCH_ID "-%06zu", number);
    if (!t.stages || host_item(&way->env, id) != SENDIT_OK)
        t.failed = true;
    else if (dicom_open(way->dicom, path, &t.object, &st, &refusal))
        refuse(&t, &refusal);
    else if (host_originals_take(&way->env, t.object) != SENDIT_OK)
        t.failed = true;
    else
        go(&t, id);
    host_originals_clear(&way->env);
    (void)host_item(&way->env, NULL);
    if (!t.failed && t.fate)
        put_result(&t, out);
    diff_tree_fini(&t.tree);
    dicom_close(t.object);
    json_decref(t.stages);
    return t.failed || !t.fate ? -1 : 0;
}
