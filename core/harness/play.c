/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/file.h"
#include "harness/look.h"

#define MAX_INFLATE (256ull << 20)

static const char test_key[] = "sendit test-stage: no secret key"; /* 32 bytes */

static struct play *playing; /* for the log of the host, which hands no pointer of ours over */

/* ---- setting up ---- */

static void log_too(const struct sendit_host *handle, int32_t level, const char *event,
                    const char *text)
{
    memory_log(&playing->memory, level, event);
    playing->log(handle, level, event, text);
}

static char *scratch_of(const char *folder)
{
    char *path = file_join(folder, ".scratch");

    if (path && file_mkdirs(path, 0700)) {
        free(path);
        path = NULL;
    }
    return path;
}

void play_key(struct identity_key *key)
{
    key->len = sizeof(test_key) - 1;
    memcpy(key->bytes, test_key, key->len);
    snprintf(key->fingerprint, sizeof(key->fingerprint), "test");
}

int play_init(struct play *play, const struct play_setup *setup, struct err *err)
{
    const struct dicom_limits limits = {.max_inflate = MAX_INFLATE};
    const struct plan_single single = {.file = setup->file,
                                       .path = setup->config_path ? setup->config_path : "config",
                                       .text = setup->config,
                                       .text_len = setup->config_len,
                                       .folder = setup->folder};
    char *scratch;

    memset(play, 0, sizeof(*play));
    if (memory_init(&play->memory, setup->clock_ms))
        return err_set(err, ERR_PLACE, "no memory");
    if (plan_single(&single, &play->plan, err))
        return -1;
    play->stage = &play->plan->stages[0];
    scratch = scratch_of(setup->folder);
    if (!scratch)
        return err_set(err, ERR_PLACE, "%s cannot be written", setup->folder);
    play->env.scratch = scratch;
    play->dicom = dicom_new(&limits, scratch, err);
    if (!play->dicom)
        return -1;
    play_key(&play->key);
    play->env.plan = play->plan;
    play->env.link = &play->memory.table;
    play->env.key = play->stage->plugin->flags & SENDIT_IDENTIFIERS ? &play->key : NULL;
    play->env.dicom = play->dicom;
    play->env.filters = setup->filters;
    host_init(&play->host, &play->env, play->stage);
    play->has_host = true;
    playing = play;
    play->log = play->host.host.log;
    play->host.host.log = log_too;
    if (canned_init(&play->canned, &play->host, setup->http, setup->originals) ||
        spy_attach(&play->spy, &play->host, &play->canned))
        return err_set(err, ERR_PLACE, "no memory");
    return 0;
}

void play_fini(struct play *play)
{
    if (play->open)
        play_close(play);
    if (play->has_host)
        host_fini(&play->host);
    host_facts_clear(&play->env);
    spy_detach(&play->spy);
    canned_fini(&play->canned);
    dicom_free(play->dicom);
    plan_free(play->plan);
    free((char *)(uintptr_t)play->env.scratch);
    memory_fini(&play->memory);
    memset(play, 0, sizeof(*play));
    playing = NULL;
}

/* ---- callbacks without an item ---- */

static void enter(struct play *play, const char *name, const char *item, struct sendit_why *why)
{
    memset(why, 0, sizeof(*why));
    spy_callback(&play->spy, name, item);
    host_enter(&play->host);
}

static void leave(struct play *play)
{
    host_leave(&play->host);
    canned_leave(&play->canned);
}

sendit_verdict play_check(struct play *play, struct sendit_why *why)
{
    sendit_verdict verdict;

    memset(why, 0, sizeof(*why));
    if (!play->stage->plugin->check)
        return SENDIT_PASS;
    enter(play, "check", NULL, why);
    verdict = play->stage->plugin->check(&play->host.host, 0, why);
    leave(play);
    return host_judge(&play->host, verdict, why);
}

sendit_verdict play_open(struct play *play, struct sendit_why *why)
{
    sendit_verdict verdict;

    enter(play, "open", NULL, why);
    verdict = play->stage->plugin->open(&play->host.host, &play->self, why);
    leave(play);
    play->open = verdict == SENDIT_PASS;
    return host_judge(&play->host, verdict, why);
}

sendit_verdict play_produce(struct play *play, const struct sendit_feed *feed,
                            struct sendit_why *why)
{
    sendit_verdict verdict;

    enter(play, "produce", NULL, why);
    verdict = play->stage->plugin->produce(play->self, spy_feed(&play->spy, feed), why);
    leave(play);
    return host_judge(&play->host, verdict, why);
}

void play_close(struct play *play)
{
    spy_callback(&play->spy, "close", NULL);
    play->stage->plugin->close(play->self);
    play->self = NULL;
    play->open = false;
}

/* 32 hex digits, the same for the same stage and id. */
static void make_once(const struct play *play, const char *id, char ret_key[SENDIT_ID_SIZE])
{
    char text[2 * SENDIT_ID_SIZE + 32], hex[DIGEST_HEX] = "";
    int n = snprintf(text, sizeof(text), "test-stage\n%s\n%s", play->stage->id, id);

    ret_key[0] = '\0';
    if (n > 0 && (size_t)n < sizeof(text) && !digest_of(text, (size_t)n, hex))
        snprintf(ret_key, SENDIT_ID_SIZE, "%.32s", hex);
}

static sendit_verdict call_batch(struct play *play, const char *name, sendit_batch_fn *call,
                                 struct sendit_why *why)
{
    bool last = call != play->stage->plugin->begin;
    sendit_verdict verdict;

    memset(why, 0, sizeof(*why));
    if (!call)
        return SENDIT_PASS;
    enter(play, name, NULL, why);
    verdict = call(play->self, &play->batch, why);
    if (last && verdict != SENDIT_RETRY)
        canned_cancel(&play->canned);
    leave(play);
    return call == play->stage->plugin->finish ? host_judge_finish(&play->host, verdict, why)
                                               : host_judge(&play->host, verdict, why);
}

sendit_verdict play_begin(struct play *play, uint32_t attempt, uint64_t n_items,
                          struct sendit_why *why)
{
    sendit_verdict verdict;

    make_once(play, PLAY_BATCH, play->batch_once);
    play->batch = (struct sendit_batch){.attempt = attempt ? attempt : 1,
                                        .id = PLAY_BATCH,
                                        .once_key = play->batch_once,
                                        .n_items = n_items};
    play->env.batch = PLAY_BATCH;
    play->env.batch_open = true;
    verdict = call_batch(play, "begin", play->stage->plugin->begin, why);
    play->in_batch = verdict == SENDIT_PASS;
    return verdict;
}

static void end_batch(struct play *play)
{
    play->in_batch = false;
    play->env.batch_open = false;
    host_end_batch(&play->host);
    host_facts_clear(&play->env);
    dicom_drop_all(play->dicom);
    play->env.batch = NULL;
}

sendit_verdict play_finish(struct play *play, struct sendit_why *why)
{
    sendit_verdict verdict = call_batch(play, "finish", play->stage->plugin->finish, why);

    if (verdict == SENDIT_PASS || verdict == SENDIT_LATER)
        end_batch(play);
    return verdict;
}

/* settle() or compare() has answered. */
static sendit_verdict end_between(struct play *play, sendit_verdict verdict, struct sendit_why *why)
{
    canned_cancel(&play->canned);
    leave(play);
    verdict = host_judge_settle(&play->host, verdict, why);
    host_end_batch(&play->host);
    return verdict;
}

sendit_verdict play_settle(struct play *play, bool last, struct sendit_why *why)
{
    struct sendit_settle table;

    memset(why, 0, sizeof(*why));
    if (!play->stage->plugin->settle)
        return SENDIT_PASS;
    enter(play, "settle", last ? "last" : NULL, why);
    table = host_settle_table(&play->host, last);
    return end_between(
        play, play->stage->plugin->settle(play->self, spy_settle(&play->spy, &table), why), why);
}

sendit_verdict play_compare(struct play *play, struct sendit_why *why)
{
    struct sendit_compare table;
    sendit_verdict verdict;

    memset(why, 0, sizeof(*why));
    if (!play->stage->plugin->compare)
        return SENDIT_PASS;
    play->env.comparing = true;
    enter(play, "compare", NULL, why);
    table = host_compare_table(&play->host);
    verdict = play->stage->plugin->compare(play->self, spy_compare(&play->spy, &table), why);
    verdict = end_between(play, verdict, why);
    play->env.comparing = false;
    return verdict;
}

sendit_verdict play_abandon(struct play *play, struct sendit_why *why)
{
    sendit_verdict verdict;

    play->env.abandoning = true;
    verdict = call_batch(play, "abandon", play->stage->plugin->abandon, why);
    play->env.abandoning = false;
    end_batch(play);
    return verdict;
}

/* ---- an item ---- */

/* One that the host refuses before any stage sees it. */
static int refused(const struct dicom_refusal *refusal, struct play_answer *answer)
{
    answer->verdict = refusal->what == DICOM_QUARANTINED ? SENDIT_QUARANTINE
                      : refusal->what == DICOM_IGNORED   ? SENDIT_SKIP
                                                         : SENDIT_FAIL;
    (void)sendit_because(&answer->why, answer->verdict, refusal->code, "%s", refusal->text);
    return 0;
}

static int load_facts(struct play *play, const struct play_item *item)
{
    const char *key;
    json_t *value;

    json_object_foreach(
        (json_t *)(uintptr_t)item->facts, key,
        value) if (host_facts_load(&play->env, item->id, key, json_string_value(value)) !=
                   SENDIT_OK) return -1;
    return 0;
}

/* process() once; edits and facts are kept or dropped as a worker would. */
static int call_item(struct play *play, const struct play_item *item, struct dicom_object *object,
                     struct play_answer *answer)
{
    char once[SENDIT_ID_SIZE], *labels = plan_label_text(play->plan, answer->labels);
    struct sendit_item shown = {.attempt = (item->attempt ? item->attempt : 1) + answer->tries,
                                .id = item->id,
                                .once_key = once,
                                .labels = labels,
                                .ds = dicom_dataset(object)};
    bool keep;

    if (!labels)
        return -1;
    make_once(play, item->id, once);
    dicom_begin(object, (play->stage->plugin->flags & SENDIT_MUTATES) != 0);
    if (play->stage->plugin->flags & SENDIT_NATIVE)
        dicom_allow_native(object);
    enter(play, "process", item->id, &answer->why);
    answer->verdict = play->stage->plugin->process(play->self, &shown, &answer->why);
    leave(play);
    free(labels);
    answer->edited = dicom_edited(object);
    answer->tampered = dicom_tampered(object);
    answer->verdict = host_judge_item(&play->host, object, answer->verdict, &answer->why);
    answer->tries++;
    keep = answer->verdict == SENDIT_PASS && !item->drop;
    if (dicom_end(object, keep) ||
        host_facts_settle(&play->env, keep || answer->verdict == SENDIT_SKIP) != SENDIT_OK)
        return -1;
    return 0;
}

static int show(struct play *play, const struct play_item *item, struct dicom_object *object,
                struct play_answer *answer)
{
    json_t *before = item->look ? look_at(object) : NULL, *after = NULL;
    int bad = item->look && !before;

    answer->shown = true;
    do
        bad = bad || call_item(play, item, object, answer);
    while (!bad && answer->verdict == SENDIT_RETRY && answer->tries < item->tries);
    if (!bad && answer->verdict == SENDIT_PASS) {
        answer->labels = plan_labels_after(play->stage, answer->labels, answer->edited);
        if (look_digest(object, answer->digest))
            answer->digest[0] = '\0';
        after = item->look ? look_at(object) : NULL;
        answer->tags = after ? look_difference(before, after) : NULL;
        bad = item->look && !answer->tags;
    } else if (!bad && answer->verdict != SENDIT_SKIP && answer->verdict != SENDIT_RETRY) {
        bad = host_facts_hold(&play->env, item->id) != SENDIT_OK;
    }
    json_decref(before);
    json_decref(after);
    return bad ? -1 : 0;
}

/* What process() would have to have, and has not. */
static int lacks(struct play *play, uint64_t missing, struct play_answer *answer)
{
    char *text = plan_label_text(play->plan, missing);

    answer->verdict = SENDIT_QUARANTINE;
    (void)sendit_because(&answer->why, SENDIT_QUARANTINE, "host.label",
                         "It has not earned \"%.150s\", which this stage needs.", text ? text : "");
    free(text);
    return 0;
}

int play_item(struct play *play, const struct play_item *item, struct play_answer *ret_answer)
{
    struct dicom_refusal refusal = {0};
    struct dicom_object *object = NULL;
    struct stat st;
    int result;

    memset(ret_answer, 0, sizeof(*ret_answer));
    ret_answer->labels = play->stage->needs;
    if (item->labels && plan_labels(play->plan, item->labels, &ret_answer->labels))
        return -1;
    if (dicom_open(play->dicom, item->path, &object, &st, &refusal))
        return refused(&refusal, ret_answer);
    if (!play->stage->plugin->process) {
        ret_answer->verdict = SENDIT_PASS;
        dicom_close(object);
        return 0;
    }
    play->env.object = object;
    if (host_item(&play->env, item->id) != SENDIT_OK || load_facts(play, item))
        result = -1;
    else if (play->stage->needs & ~ret_answer->labels)
        result = lacks(play, play->stage->needs & ~ret_answer->labels, ret_answer);
    else
        result = show(play, item, object, ret_answer);
    (void)host_item(&play->env, NULL);
    play->env.object = NULL;
    dicom_close(object);
    return result;
}
