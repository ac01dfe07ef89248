/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.c - what came of a case is one JSON object with the keys of expect.json.  What is usual (a
 * callback that passed, nothing logged) is left out of it; a few keys are compared only if
 * expect.json has them.
 */
#include "harness/trial.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "harness/feed.h"
#include "harness/play.h"
#include "harness/text.h"

#define MAX_PRODUCES 100
#define ANYTHING "*"

/* Compared only where expect.json names them: what changes with each new version of a stage. */
static const char *const optional[] = {"calls", "crosswalk", "text"};

struct course {
    const struct trial *trial;
    struct test_case tc;
    struct work work;
    struct play play;
    json_t *out;
    json_t *digests; /* item -> digest of its file */
    bool later;      /* finish() said so */
    bool failed;     /* no memory */
};

static void set(struct course *c, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        c->failed = true;
}

/* "RETRY file.busy" */
static json_t *told(sendit_verdict verdict, const struct sendit_why *why)
{
    char room[16];
    const char *word = memory_verdict(verdict, room);

    return verdict == SENDIT_PASS || verdict == SENDIT_SKIP || !why->code[0]
               ? json_string(word)
               : json_sprintf("%s %s", word, why->code);
}

/* ---- items ---- */

static json_t *answer_json(struct course *c, const struct play_answer *answer)
{
    json_t *object = json_object();
    char room[16], *labels;

    set(c, object, "verdict", json_string(memory_verdict(answer->verdict, room)));
    if (answer->why.code[0] && answer->verdict != SENDIT_PASS && answer->verdict != SENDIT_SKIP)
        set(c, object, "code", text_json(answer->why.code));
    if (answer->why.text[0] && answer->verdict != SENDIT_PASS && answer->verdict != SENDIT_SKIP)
        set(c, object, "text", text_json(answer->why.text));
    if (answer->tries > 1)
        set(c, object, "tries", json_integer(answer->tries));
    if (answer->verdict != SENDIT_PASS)
        return object;
    labels = plan_label_text(c->play.plan, answer->labels);
    if (!labels)
        c->failed = true;
    else if (*labels)
        set(c, object, "labels", text_json(labels));
    free(labels);
    if (json_object_size(answer->tags))
        set(c, object, "tags", json_incref(answer->tags));
    return object;
}

/* What the stage said of the item, with its PASS or later. */
static void add_facts(struct course *c, json_t *object, const char *item)
{
    json_t *facts = json_object_get(c->play.memory.facts, item);

    if (json_object_size(facts))
        set(c, object, *item ? "facts" : "batch_facts", json_incref(facts));
}

/* 0: on with the next; 1: the batch ends here. */
static int try_item(struct course *c, const struct work_item *item, json_t *results, uint32_t nth)
{
    const json_t *attempt = case_of_item(&c->tc, item->name, "attempt");
    const struct play_item shown = {
        .id = item->name,
        .path = item->path,
        .labels = json_string_value(case_of_item(&c->tc, item->name, "labels")),
        .facts = case_of_item(&c->tc, item->name, "facts"),
        .attempt = attempt ? (uint32_t)json_integer_value(attempt) : 1,
        .tries = c->tc.attempts,
        .look = true};
    struct play_answer answer;
    json_t *result;

    c->play.memory.canceled = nth == c->tc.cancel;
    if (play_item(&c->play, &shown, &answer)) {
        c->failed = true;
        return 1;
    }
    result = answer_json(c, &answer);
    set(c, results, item->name, result);
    if (answer.digest[0])
        set(c, c->digests, item->name, json_string(answer.digest));
    json_decref(answer.tags);
    return answer.verdict == SENDIT_FAIL || answer.verdict == SENDIT_RETRY ||
           c->play.memory.canceled;
}

/* One item stands at the top, several under "items". */
static void add_results(struct course *c, json_t *results)
{
    const char *key;
    json_t *only;

    json_object_foreach(results, key, only) add_facts(c, only, key);
    if (c->work.n_items != 1) {
        if (json_object_size(results))
            set(c, c->out, "items", json_incref(results));
        return;
    }
    json_object_foreach(results, key, only) if (json_object_update(c->out, only)) c->failed = true;
}

/* The labels that an item has once finish() passed. */
static void grant_at_finish(struct course *c, json_t *results)
{
    const char *granted = c->play.stage->plugin->grants_at_finish, *id;
    json_t *result;

    if (!granted || !*granted)
        return;
    json_object_foreach(results, id, result)
    {
        const char *labels = json_string_value(json_object_get(result, "labels"));

        if (!strcmp(json_string_value(json_object_get(result, "verdict")), "PASS") &&
            !json_object_get(c->play.memory.holds, id))
            set(c, result, "labels",
                json_sprintf("%s%s%s", labels ? labels : "", labels ? " " : "", granted));
    }
}

/* ---- a batch ---- */

static void load_batch_facts(struct course *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(
        (json_t *)(uintptr_t)case_host(&c->tc, "batch_facts"), key,
        value) if (host_facts_load(&c->play.env, "", key, json_string_value(value)) != SENDIT_OK)
        c->failed = true;
}

static void end_batch(struct course *c, bool stopped, json_t *results)
{
    struct sendit_why why;
    sendit_verdict verdict = SENDIT_FAIL;

    if (!stopped && !c->tc.abandon) {
        for (uint32_t i = 0; i < c->tc.attempts; i++) {
            verdict = play_finish(&c->play, &why);
            if (verdict != SENDIT_RETRY)
                break;
        }
        c->later = verdict == SENDIT_LATER;
        if (verdict != SENDIT_PASS)
            set(c, c->out, "finish", told(verdict, &why));
        if (verdict == SENDIT_PASS || c->later) {
            grant_at_finish(c, results);
            return;
        }
    }
    set(c, c->out, "abandon", told(play_abandon(&c->play, &why), &why));
}

static void try_batch(struct course *c)
{
    json_t *results = json_object();
    struct sendit_why why;
    sendit_verdict verdict;
    bool stopped = false;

    if (c->tc.attempt > 1 || case_host(&c->tc, "batch_facts"))
        load_batch_facts(c);
    verdict = play_begin(&c->play, c->tc.attempt, c->work.n_items, &why);
    if (verdict != SENDIT_PASS)
        set(c, c->out, "begin", told(verdict, &why));
    for (size_t i = 0; verdict == SENDIT_PASS && i < c->work.n_items && !stopped; i++)
        stopped = try_item(c, &c->work.items[i], results, (uint32_t)i + 1) != 0;
    if (verdict == SENDIT_PASS)
        end_batch(c, stopped, results);
    add_results(c, results);
    json_decref(results);
}

/* ---- between batches ---- */

/* What a stage forgets when it is asked for the last time is an error of the batch, as in a run. */
static void try_settle(struct course *c)
{
    struct sendit_why why = {0};
    sendit_verdict verdict = SENDIT_PASS;

    for (uint32_t i = 1; i <= c->tc.settle && verdict != SENDIT_FAIL; i++) {
        uint32_t tries = i < c->tc.settle ? 1 : c->tc.attempts;

        do
            verdict = play_settle(&c->play, i == c->tc.settle, &why);
        while (verdict == SENDIT_RETRY && --tries);
    }
    if (verdict != SENDIT_PASS)
        set(c, c->out, "settle", told(verdict, &why));
    else if (c->later && !json_object_get(c->play.memory.settled, PLAY_BATCH))
        set(c, c->play.memory.settled, PLAY_BATCH, json_string("FAIL host.settle"));
}

static void try_compare(struct course *c)
{
    struct sendit_why why;
    sendit_verdict verdict = play_compare(&c->play, &why);

    if (verdict != SENDIT_PASS)
        set(c, c->out, "compare", told(verdict, &why));
}

/* ---- a source ---- */

static void try_produce(struct course *c)
{
    struct feed_book book;
    struct sendit_why why = {0};
    sendit_verdict verdict = SENDIT_PASS;

    if (feed_init(&book, c->work.path))
        c->failed = true;
    for (int i = 0; !c->failed && verdict == SENDIT_PASS && i < MAX_PRODUCES; i++) {
        c->play.memory.canceled = c->tc.cancel == (uint32_t)i + 1;
        verdict = play_produce(&c->play, &book.table, &why);
        feed_forget(&book);
    }
    set(c, c->out, "produce", told(verdict, &why));
    if (json_array_size(book.batches))
        set(c, c->out, "produced", json_incref(book.batches));
    c->failed = c->failed || book.failed;
    feed_fini(&book);
}

/* ---- the rest of what came of it ---- */

/* Bytes that are those of an item's file are called by its name. */
static void name_items(struct course *c, json_t *value)
{
    const char *sum = json_string_value(json_object_get(value, "sha256")), *key;
    json_t *inner;
    size_t i;

    if (sum) {
        json_object_foreach(c->digests, key, inner) if (!strcmp(json_string_value(inner), sum))
        {
            json_object_clear(value);
            set(c, value, "item", json_string(key));
            return;
        }
    }
    if (json_is_object(value))
        json_object_foreach(value, key, inner) name_items(c, inner);
    else
        json_array_foreach(value, i, inner) name_items(c, inner);
}

static bool is_empty(const json_t *value)
{
    return !json_object_size(value) && !json_array_size(value);
}

static void add_unless_empty(struct course *c, const char *key, json_t *value)
{
    if (!value)
        c->failed = true;
    else if (!is_empty(value))
        set(c, c->out, key, json_incref(value));
}

static json_t *preset_store(const struct course *c)
{
    const json_t *given = case_host(&c->tc, "store");

    return given ? json_incref((json_t *)(uintptr_t)given) : json_object();
}

static void add_rest(struct course *c)
{
    struct memory *memory = &c->play.memory;
    json_t *store = memory_store(memory), *preset = preset_store(c), *files;

    add_facts(c, c->out, "");
    add_unless_empty(c, "holds", memory->holds);
    add_unless_empty(c, "log", memory->log);
    add_unless_empty(c, "metrics", memory->metrics);
    add_unless_empty(c, "audit", memory->audit);
    add_unless_empty(c, "crosswalk", memory->crosswalk);
    add_unless_empty(c, "settled", memory->settled);
    add_unless_empty(c, "differences", memory->differences);
    add_unless_empty(c, "compared", memory->compared);
    if (!store || !json_equal(store, preset))
        add_unless_empty(c, "store", store);
    json_decref(store);
    json_decref(preset);
    files = work_changes(&c->work);
    if (files)
        name_items(c, files);
    add_unless_empty(c, "files", files);
    json_decref(files);
    name_items(c, c->play.canned.requests);
    add_unless_empty(c, "requests", c->play.canned.requests);
    add_unless_empty(c, "calls", c->play.spy.calls);
    c->failed = c->failed || memory->failed || c->play.spy.memory;
}

/* ---- from the start ---- */

static int preset(struct course *c, struct err *err)
{
    struct memory *memory = &c->play.memory;
    const json_t *crosswalk = case_host(&c->tc, "crosswalk");
    const char *key;
    json_t *value, *copy;

    json_object_foreach(
        (json_t *)(uintptr_t)case_host(&c->tc, "store"), key,
        value) if (memory_preset(memory, key,
                                 json_string_value(value))) return err_set(err, ERR_PLACE,
                                                                           "no memory");
    if (crosswalk) {
        copy = json_deep_copy(crosswalk);
        if (!copy)
            return err_set(err, ERR_PLACE, "no memory");
        json_decref(memory->crosswalk);
        memory->crosswalk = copy;
    }
    memcpy(c->play.spy.faults, c->tc.faults, sizeof(c->tc.faults));
    c->play.spy.n_faults = c->tc.n_faults;
    if (work_plant(&c->work, &c->tc, c->play.dicom, err))
        return -1;
    return work_remember(&c->work) ? err_set(err, ERR_PLACE, "no memory") : 0;
}

/* 1: the options were refused, which a case may expect. */
static int set_up(struct course *c, struct err *err)
{
    const struct case_file *config = &c->tc.config;
    const struct play_setup setup = {.file = c->trial->file,
                                     .folder = c->work.path,
                                     .filters = c->trial->filters,
                                     .config_path = config->text ? config->path : "--config",
                                     .config = config->text ? config->text : c->trial->config,
                                     .config_len =
                                         config->text ? config->len : c->trial->config_len,
                                     .http = case_host(&c->tc, "http"),
                                     .originals = case_host(&c->tc, "originals"),
                                     .clock_ms = c->tc.clock_ms};

    if (play_init(&c->play, &setup, err))
        return err->code == ERR_REFUSED && config->text && !c->play.plan ? 1 : -1;
    return preset(c, err);
}

static void play_all(struct course *c)
{
    struct sendit_why why;
    sendit_verdict verdict = play_check(&c->play, &why);

    if (verdict != SENDIT_PASS) {
        set(c, c->out, "check", told(verdict, &why));
    } else {
        verdict = play_open(&c->play, &why);
        if (verdict != SENDIT_PASS)
            set(c, c->out, "open", told(verdict, &why));
    }
    if (verdict == SENDIT_PASS) {
        if ((c->play.stage->plugin->flags & SENDIT_SOURCE) && c->tc.input == CASE_NO_INPUT)
            try_produce(c);
        else
            try_batch(c);
        if (c->tc.settle)
            try_settle(c);
        if (c->tc.compare)
            try_compare(c);
        play_close(&c->play);
    }
    add_rest(c);
}

/* "config.json:3:5: sentence", without the folder, which is another everywhere. */
static const char *without_folder(const struct course *c, const char *text)
{
    size_t n = strlen(c->tc.folder);

    return strncmp(text, c->tc.folder, n) || text[n] != '/' ? text : text + n + 1;
}

/* ---- the comparison ---- */

/* What expect.json does not name is not compared, if it is optional. */
static void drop_optional(json_t *expected, json_t *found)
{
    const char *id;
    json_t *item;

    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
        if (!json_object_get(expected, optional[i]))
            json_object_del(found, optional[i]);
    json_object_foreach(
        json_object_get(found, "items"), id,
        item) if (!json_object_get(json_object_get(json_object_get(expected, "items"), id), "text"))
        json_object_del(item, "text");
}

static bool is_star(const json_t *value)
{
    return json_is_string(value) && !strcmp(json_string_value(value), ANYTHING);
}

/* As a person would tell it. */
static char *dump(const json_t *json)
{
    static const char *const order[] = {
        "about",    "refused", "check",       "open",   "produce", "produced", "begin",
        "verdict",  "code",    "text",        "tries",  "labels",  "facts",    "tags",
        "items",    "finish",  "abandon",     "settle", "settled", "compare",  "differences",
        "compared", "holds",   "batch_facts", "key",    "files",   NULL};

    return text_dump(json, order);
}

/* "*" stands for any text and, as a key, for any other members: found is made to read so, too. */
static void apply_stars(const json_t *expected, json_t *found)
{
    const char *key;
    json_t *value;
    void *next;
    size_t i;

    json_object_foreach_safe(found, next, key, value)
    {
        json_t *wanted = json_object_get(expected, key);

        if (!wanted && json_object_get(expected, ANYTHING))
            json_object_del(found, key);
        else if (wanted && is_star(wanted) && json_is_string(value))
            json_object_set(found, key, wanted);
        else
            apply_stars(wanted, value);
    }
    if (json_is_object(found) && json_object_get(expected, ANYTHING))
        json_object_set(found, ANYTHING, json_object_get(expected, ANYTHING));
    json_array_foreach(found, i, value) apply_stars(json_array_get(expected, i), value);
}

static int write_expectation(const struct test_case *tc, const char *found, bool *ret_updated,
                             struct buf *ret_text)
{
    struct buf text = {0};
    int bad;

    buf_str(&text, found);
    buf_str(&text, "\n");
    bad = text.failed || file_replace(tc->expect.path, text.data, text.len, 0644);
    buf_fini(&text);
    if (bad)
        buf_printf(ret_text, "%s: it cannot be written: %s\n", tc->expect.path, strerror(errno));
    else
        *ret_updated = true;
    return bad ? -1 : 0;
}

int trial_compare(const struct test_case *tc, json_t *out, bool update, bool *ret_updated,
                  struct buf *ret_text)
{
    const json_t *about = case_expect(tc, "about");
    char *expected, *found;
    int result = 0;

    drop_optional(tc->expect.doc.json, out);
    apply_stars(tc->expect.doc.json, out);
    if (about)
        result = json_object_set(out, "about", (json_t *)(uintptr_t)about);
    expected = tc->expect.doc.json ? dump(tc->expect.doc.json) : strdup("");
    found = dump(out);
    if (!expected || !found || result) {
        buf_str(ret_text, "there is no memory\n");
        result = -1;
    } else if (strcmp(expected, found) && update) {
        result = write_expectation(tc, found, ret_updated, ret_text);
    } else if (strcmp(expected, found)) {
        if (!*expected)
            buf_printf(ret_text, "%s is missing; --update writes it\n", tc->expect.path);
        text_diff(expected, found, ret_text);
        result = -1;
    }
    free(expected);
    free(found);
    return result;
}

static int compare(struct course *c, bool *ret_updated, struct buf *ret_text)
{
    if (!c->failed)
        return trial_compare(&c->tc, c->out, c->trial->update, ret_updated, ret_text);
    buf_str(ret_text, "there is no memory\n");
    return -1;
}

/* Steps that the case lets fail and that never came, answers that nobody asked for. */
static int check_used(const struct course *c, struct buf *ret_text)
{
    int result = 0;

    if (c->play.canned.missing[0]) {
        buf_printf(ret_text, "host.json has no answer for the request %s\n",
                   c->play.canned.missing);
        result = -1;
    }
    for (size_t i = 0; i < c->play.spy.n_faults; i++)
        if (c->play.spy.seen[i] < (c->play.spy.faults[i].nth ? c->play.spy.faults[i].nth : 1)) {
            buf_printf(ret_text, "the call of faults[%zu] in host.json was never made\n", i);
            result = -1;
        }
    for (size_t i = 0; i < c->play.canned.n; i++)
        if (!c->play.canned.taken[i]) {
            buf_printf(ret_text, "nobody asked for http[%zu] of host.json\n", i);
            result = -1;
        }
    return result;
}

static int run(struct course *c, const char *case_folder, bool *ret_updated, struct buf *ret_text)
{
    struct err err = {0};
    int result = -1;

    c->out = json_object();
    c->digests = json_object();
    if (!c->out || !c->digests) {
        buf_str(ret_text, "there is no memory\n");
        return -1;
    }
    if (!case_read(&c->tc, case_folder, &err) &&
        !work_init(&c->work, c->trial->folder, &c->tc, &err))
        result = set_up(c, &err);
    if (result < 0) {
        buf_printf(ret_text, "%s\n", err.text);
        return -1;
    }
    if (result) {
        set(c, c->out, "refused", text_json(without_folder(c, err.text)));
        return compare(c, ret_updated, ret_text);
    }
    play_all(c);
    result = compare(c, ret_updated, ret_text);
    return check_used(c, ret_text) ? -1 : result;
}

int trial_case(const struct trial *trial, const char *case_folder, bool *ret_updated,
               struct buf *ret_text)
{
    struct course c = {.trial = trial};
    int result;

    *ret_updated = false;
    result = run(&c, case_folder, ret_updated, ret_text);
    play_fini(&c.play);
    work_fini(&c.work);
    case_fini(&c.tc);
    json_decref(c.out);
    json_decref(c.digests);
    return result;
}
