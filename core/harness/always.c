/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/always.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "harness/feed.h"
#include "harness/make.h"
#include "harness/play.h"

#define ROUNDS 100
#define MORE                                                                                       \
    500            /* as many if memory seems to be lost: the allocator's own caches are full then \
                    */
#define WARM_UP 20 /* rounds in which memory may still be taken for good */
#define WINDOW 10  /* rounds in each of which a leak is seen */
#define LEAK 8     /* bytes of a round that are no chance any more */
#define DEEP 60    /* sequences in each other; the host lets 64 pass */
#define MAX_NTH 12 /* calls of one function that are made to fail one by one, and its last */
#define MAX_PRODUCES 100
#define MAX_FINDINGS 20

/* What a check stands on: the stage with the options and the input of a case, or with its defaults
 * and an image of ours. */
struct rig {
    const struct trial *trial;
    struct test_case tc;
    struct work work;
    char *config; /* text, or NULL */
    size_t config_len;
    const char *config_path;
    char *image; /* path of what is shown */
    struct buf *text;
    unsigned findings;
    bool no_options; /* nothing can be tried with those that there are */
};

/* What came of one course through all callbacks. */
struct course {
    sendit_verdict verdict; /* of the item or, without one, of the last callback */
    struct sendit_why why;
    char digest[DIGEST_HEX];
    uint64_t labels;
    json_t *facts;
    unsigned counts[SPY_N], tries;
    bool tampered;
};

/* ---- findings ---- */

__attribute__((format(printf, 2, 3))) static void find(struct rig *rig, const char *format, ...)
{
    char text[600];
    va_list ap;

    if (rig->findings++ >= MAX_FINDINGS)
        return;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    buf_printf(rig->text, "%s\n", text);
}

static int found(struct rig *rig)
{
    if (rig->findings > MAX_FINDINGS)
        buf_printf(rig->text, "and %u more\n", rig->findings - MAX_FINDINGS);
    return rig->findings ? -1 : 0;
}

/* Codes of the host itself say that the stage broke a rule. */
static bool is_sound(struct rig *rig, const char *callback, const struct sendit_why *why)
{
    if (strcmp(why->code, "host.misuse") && strcmp(why->code, "host.verdict") &&
        strcmp(why->code, "host.undeclared"))
        return true;
    find(rig, "%s(): %s: %s", callback, why->code, why->text);
    return false;
}

/* What the parent shows if this process dies. */
__attribute__((format(printf, 2, 3))) static void note(const struct rig *rig, const char *format,
                                                       ...)
{
    va_list ap;

    if (!rig->trial->progress)
        return;
    va_start(ap, format);
    vsnprintf(rig->trial->progress, TRIAL_PROGRESS, format, ap);
    va_end(ap);
}

/* ---- the rig ---- */

static int rig_config(struct rig *rig, struct err *err)
{
    const struct trial *trial = rig->trial;

    rig->config_path = trial->config ? "--config" : rig->tc.config.path;
    if (!trial->config && !rig->tc.config.text)
        return 0;
    rig->config_len = trial->config ? trial->config_len : rig->tc.config.len;
    rig->config = malloc(rig->config_len + 1);
    if (!rig->config)
        return err_set(err, ERR_PLACE, "no memory");
    memcpy(rig->config, trial->config ? trial->config : rig->tc.config.text, rig->config_len);
    rig->config[rig->config_len] = '\0';
    return 0;
}

static int rig_init(struct rig *rig, const struct trial *trial, struct buf *text)
{
    struct err err = {0};
    int result;

    *rig = (struct rig){.trial = trial, .text = text};
    result = (trial->sample && case_read(&rig->tc, trial->sample, &err)) ||
             work_init(&rig->work, trial->folder, trial->sample ? &rig->tc : NULL, &err) ||
             rig_config(rig, &err);
    if (!result) {
        rig->image = rig->work.n_items ? strdup(rig->work.items[0].path)
                                       : file_join(trial->folder, "sample.dcm");
        if (!rig->image || (!rig->work.n_items && make_image(rig->image, 0)))
            result = err_set(&err, ERR_PLACE, "%s cannot be written", trial->folder);
    }
    if (result)
        find(rig, "%s", err.text);
    return result ? -1 : 0;
}

static void rig_fini(struct rig *rig)
{
    work_fini(&rig->work);
    case_fini(&rig->tc);
    free(rig->config);
    free(rig->image);
}

static int rig_play(struct rig *rig, struct play *play)
{
    const struct play_setup setup = {.file = rig->trial->file,
                                     .folder = rig->trial->folder,
                                     .filters = rig->trial->filters,
                                     .config_path = rig->config_path,
                                     .config = rig->config,
                                     .config_len = rig->config_len,
                                     .http = case_host(&rig->tc, "http"),
                                     .originals = case_host(&rig->tc, "originals"),
                                     .clock_ms = rig->tc.clock_ms};
    struct err err = {0};

    if (play_init(play, &setup, &err)) {
        rig->no_options = err.code == ERR_REFUSED && !play->plan;
        find(rig, "%s%s", err.text,
             rig->no_options && !rig->config
                 ? "; give it by --config FILE, or by a case that passes"
                 : "");
        return -1;
    }
    play->canned.reuse = true;
    if (!rig->work.before &&
        (work_plant(&rig->work, &rig->tc, play->dicom, &err) || work_remember(&rig->work))) {
        find(rig, "%s", err.text[0] ? err.text : "no memory");
        return -1;
    }
    return 0;
}

static bool has_items(const struct rig *rig)
{
    return rig->trial->file->plugin->process != NULL;
}

static struct play_item item_of(const struct rig *rig, const char *id, const char *path)
{
    const char *name = rig->work.n_items ? rig->work.items[0].name : "";

    return (struct play_item){.id = id,
                              .path = path,
                              .labels = json_string_value(case_of_item(&rig->tc, name, "labels")),
                              .facts = case_of_item(&rig->tc, name, "facts"),
                              .attempt = 1};
}

/* ---- one course ---- */

/* Does the answer say something about one value of the image, of which a stage may think what it
 * likes?  Any other says that the host could not do what it was asked. */
static bool is_about_value(enum spy_call call, sendit_result answer)
{
    bool reads = call == SPY_TAG || call == SPY_LOCATE || call == SPY_GET || call == SPY_BYTES ||
                 call == SPY_NESTED;

    return answer == SENDIT_EABSENT ||
           (reads && (answer == SENDIT_EINVAL || answer == SENDIT_ECORRUPT));
}

/* A stage that grants labels, edits or hands images out passes none where the host could not do
 * what it was asked; a source does not go on where the feed failed. */
static void judge_fault(struct rig *rig, struct play *play, const char *callback,
                        sendit_verdict verdict)
{
    const struct sendit_plugin *plugin = rig->trial->file->plugin;
    const struct spy *spy = &play->spy;
    bool fed = spy->failed_call >= SPY_FEED_OPEN;
    bool strict = verdict == SENDIT_LATER || (plugin->grants && *plugin->grants) ||
                  (plugin->grants_at_finish && *plugin->grants_at_finish) ||
                  (plugin->flags & (SENDIT_MUTATES | SENDIT_EGRESS));
    char room[16], word[16];

    if (spy->failed[0] && !is_about_value(spy->failed_call, spy->answer) && (strict || fed) &&
        (verdict == SENDIT_PASS || verdict == SENDIT_LATER || (fed && verdict == SENDIT_SKIP)))
        find(rig, "%s() answers %s although \"%s\" was answered with %s", callback,
             memory_verdict(verdict, word), spy->failed, spy_result(spy->answer, room));
    play->spy.failed[0] = '\0';
}

static sendit_verdict judged(struct rig *rig, struct play *play, const char *callback,
                             sendit_verdict verdict, const struct sendit_why *why)
{
    is_sound(rig, callback, why);
    judge_fault(rig, play, callback, verdict);
    return verdict;
}

static void go_item(struct rig *rig, struct play *play, const struct play_item *item,
                    struct course *course)
{
    struct play_answer answer;

    if (play_item(play, item, &answer)) {
        find(rig, "there is no memory");
        return;
    }
    course->verdict = judged(rig, play, "process", answer.verdict, &answer.why);
    course->why = answer.why;
    course->labels = answer.labels;
    course->tampered = answer.tampered;
    course->tries = answer.tries;
    memcpy(course->digest, answer.digest, sizeof(course->digest));
    course->facts = json_deep_copy(json_object_get(play->memory.facts, item->id));
}

/* The batch waits: the stage tells of it, at the last call and once more after a RETRY, or has not
 * passed. */
static void go_settle(struct rig *rig, struct play *play)
{
    const struct spy *spy = &play->spy;
    /* A store that answers EABSENT says that there is no such row: it is believed. */
    bool lied = spy->n_faults && spy->faults[0].answer == SENDIT_EABSENT;
    struct sendit_why why;
    sendit_verdict verdict = play_settle(play, false, &why);

    is_sound(rig, "settle", &why);
    for (int i = 0; i < 2 && verdict != SENDIT_FAIL; i++) {
        verdict = play_settle(play, true, &why);
        is_sound(rig, "settle", &why);
        if (verdict == SENDIT_PASS)
            break;
    }
    if (verdict == SENDIT_PASS && !lied && !json_object_get(play->memory.settled, PLAY_BATCH))
        find(rig, "settle() passes when it is asked for the last time, and told nothing of a batch "
                  "whose finish() said LATER");
    json_object_clear(play->memory.settled);
    play->spy.failed[0] = '\0';
}

static void go_batch(struct rig *rig, struct play *play, const struct play_item *item,
                     struct course *course)
{
    struct sendit_why why;
    sendit_verdict verdict = judged(rig, play, "begin", play_begin(play, 1, 1, &why), &why);

    course->verdict = verdict;
    if (verdict != SENDIT_PASS)
        return;
    go_item(rig, play, item, course);
    if (course->verdict != SENDIT_FAIL && course->verdict != SENDIT_RETRY) {
        verdict = play_finish(play, &why);
        judged(rig, play, "finish", verdict, &why);
        if (verdict == SENDIT_RETRY)
            verdict = judged(rig, play, "finish", play_finish(play, &why), &why);
        if (verdict == SENDIT_LATER)
            go_settle(rig, play);
        if (verdict == SENDIT_PASS || verdict == SENDIT_LATER)
            return;
    }
    judged(rig, play, "abandon", SENDIT_RETRY, &why);
    verdict = play_abandon(play, &why);
    is_sound(rig, "abandon", &why);
}

static void go_produce(struct rig *rig, struct play *play, struct course *course)
{
    struct feed_book book;

    if (feed_init(&book, rig->trial->folder)) {
        find(rig, "there is no memory");
        return;
    }
    course->verdict = SENDIT_PASS;
    for (int i = 0; course->verdict == SENDIT_PASS && i < MAX_PRODUCES; i++) {
        course->verdict = play_produce(play, &book.table, &course->why);
        feed_forget(&book);
        judged(rig, play, "produce", course->verdict, &course->why);
    }
    feed_fini(&book);
}

static bool is_source(const struct rig *rig)
{
    return rig->trial->file->plugin->flags & SENDIT_SOURCE;
}

/* Through all callbacks, once; with a fault, if there is one.  The caller drops course->facts. */
static void go(struct rig *rig, const struct spy_fault *fault, const struct play_item *item,
               struct course *ret_course)
{
    struct play play;
    struct sendit_why why;

    memset(ret_course, 0, sizeof(*ret_course));
    if (!rig_play(rig, &play)) {
        if (fault) {
            play.spy.faults[0] = *fault;
            play.spy.n_faults = 1;
        }
        ret_course->verdict = judged(rig, &play, "open", play_open(&play, &why), &why);
        if (ret_course->verdict == SENDIT_PASS && item)
            go_batch(rig, &play, item, ret_course);
        else if (ret_course->verdict == SENDIT_PASS)
            go_produce(rig, &play, ret_course);
        else
            ret_course->why = why;
        memcpy(ret_course->counts, play.spy.counts, sizeof(ret_course->counts));
    }
    play_fini(&play);
}

static void course_fini(struct course *course)
{
    json_decref(course->facts);
}

/* ---- the checks ---- */

static bool is_semver(const char *version)
{
    int parts = 0;

    for (const char *at = version; parts < 3; parts++) {
        if (!isdigit((unsigned char)*at))
            return false;
        at += strspn(at, "0123456789");
        if (parts == 2)
            return !*at || *at == '-' || *at == '+';
        if (*at++ != '.')
            return false;
    }
    return false;
}

/* What loader_check() lets pass, and people would miss. */
static int check_descriptor(struct rig *rig)
{
    const struct sendit_plugin *plugin = rig->trial->file->plugin;

    if (rig->trial->file->warning)
        find(rig, "%s", rig->trial->file->warning);
    if (!is_semver(plugin->version))
        find(rig, "its version is \"%s\", expected three numbers: \"1.0.0\"", plugin->version);
    if (strlen(plugin->summary) > 100)
        find(rig, "its summary has more than 100 bytes: keep to one short line");
    for (uint32_t i = 0; i < plugin->n_options; i++) {
        const char *help = plugin->options[i].help;
        size_t n = help ? strlen(help) : 0;

        if (!n || help[n - 1] != '.')
            find(rig, "the help of option \"%s\" is no sentence", plugin->options[i].name);
    }
    if ((plugin->flags & SENDIT_MUTATES) && !plugin->process)
        find(rig, "it declares MUTATES and has no process()");
    if (plugin->grants && *plugin->grants && !plugin->process)
        find(rig, "it grants labels and has no process()");
    if (plugin->finish && !plugin->begin && !plugin->process)
        find(rig, "it has a finish() and neither begin() nor process()");
    return found(rig);
}

static int check_defaults(struct rig *rig)
{
    struct sendit_why why = {0};
    struct play play;

    if (!rig_play(rig, &play)) {
        sendit_verdict verdict = play_check(&play, &why);
        const char *callback = "check";

        if (verdict == SENDIT_PASS) {
            callback = "open";
            verdict = play_open(&play, &why);
        }
        if (verdict != SENDIT_PASS)
            find(rig, "%s() does not pass: %s: %s", callback, why.code, why.text);
    }
    play_fini(&play);
    return found(rig);
}

/* Of a sanitizer's allocator, if there is one in this program. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t memory_in_use(void)
{
    struct mallinfo2 info;

    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static size_t descriptors_in_use(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* Once through, in one instance; what the spy has written down goes. */
static bool one_round(struct rig *rig, struct play *play, const struct play_item *item)
{
    struct course course = {0};
    struct sendit_why why;
    sendit_verdict verdict = play_open(play, &why);

    if (verdict != SENDIT_PASS)
        find(rig, "open() does not pass: %s: %s", why.code, why.text);
    if (verdict == SENDIT_PASS && item)
        go_batch(rig, play, item, &course);
    if (verdict == SENDIT_PASS)
        play_close(play);
    course_fini(&course);
    json_array_clear(play->spy.calls);
    json_array_clear(play->memory.log);
    json_array_clear(play->memory.audit);
    json_array_clear(play->canned.requests);
    return !rig->findings;
}

/* Caches and the allocator's own take memory now and then, a leak takes some in every window, for
 * ever. */
static int check_rounds(struct rig *rig, const struct play_item *item)
{
    size_t memory = 0, descriptors = 0, least = SIZE_MAX;
    int rounds = ROUNDS;
    struct play play;

    if (!rig_play(rig, &play)) {
        for (int i = 1; i <= rounds && one_round(rig, &play, item); i++) {
            size_t now = i >= WARM_UP && i % WINDOW == 0 ? memory_in_use() : 0;

            if (i > WARM_UP && now && (now < memory || now - memory < least))
                least = now < memory ? 0 : now - memory;
            memory = now ? now : memory;
            rounds = least >= LEAK * WINDOW ? MORE : ROUNDS;
            if (i == WARM_UP)
                descriptors = descriptors_in_use();
        }
        if (!rig->findings && least >= LEAK * WINDOW)
            find(rig, "memory is lost: %zu bytes or more in each %d rounds", least, WINDOW);
        if (!rig->findings && descriptors_in_use() > descriptors)
            find(rig, "descriptors are left open: %zu in %d rounds",
                 descriptors_in_use() - descriptors, ROUNDS - WARM_UP);
    }
    play_fini(&play);
    return found(rig);
}

static int check_open(struct rig *rig)
{
    return check_rounds(rig, NULL);
}

static int check_batches(struct rig *rig)
{
    const struct play_item item = item_of(rig, "item", rig->image);

    return check_rounds(rig, &item);
}

/* An item that no stage has reason to like: any verdict will do that stage.h knows. */
static int check_odd(struct rig *rig, int made, const char *path)
{
    const struct play_item item = item_of(rig, "odd", path);
    struct course course;

    if (made) {
        find(rig, "%s cannot be written: %s", path, strerror(errno));
        return found(rig);
    }
    go(rig, NULL, &item, &course);
    if (!strncmp(course.why.code, "dicom.", 6))
        find(rig, "the host does not show it: %s", course.why.code);
    course_fini(&course);
    return found(rig);
}

static int check_empty(struct rig *rig)
{
    return check_odd(rig, make_empty("empty.dcm"), "empty.dcm");
}

static int check_deep(struct rig *rig)
{
    return check_odd(rig, make_image("deep.dcm", DEEP), "deep.dcm");
}

static bool same(const struct course *a, const struct course *b)
{
    return a->verdict == b->verdict && a->labels == b->labels && !strcmp(a->digest, b->digest) &&
           (a->facts == b->facts || json_equal(a->facts, b->facts));
}

/* One function, one error, at its nth call. */
static void fail_once(struct rig *rig, const struct course *sound, enum spy_call call,
                      sendit_result answer, unsigned nth)
{
    const struct spy_fault fault = {.calls = UINT64_C(1) << call, .nth = nth, .answer = answer};
    struct play_item item = item_of(rig, "item", rig->image);
    unsigned before = rig->findings;
    struct course course;
    char room[16];

    item.tries = 2;
    note(rig, "call %u of %s was answered with %s", nth, spy_about[call].name,
         spy_result(answer, room));
    go(rig, &fault, &item, &course);
    if (rig->findings == before && course.tries > 1 && !same(&course, sound))
        find(rig,
             "call %u of %s was answered with %s; the item that was tried again differs from one "
             "that passed at once",
             nth, spy_about[call].name, spy_result(answer, room));
    course_fini(&course);
}

static void fail_all(struct rig *rig, const struct course *sound)
{
    for (int call = 0; call < SPY_N; call++)
        for (int i = 0; i < SPY_MAX_ERRORS && spy_about[call].errors[i]; i++)
            for (unsigned nth = 1; nth <= sound->counts[call]; nth++) {
                if (nth == MAX_NTH && sound->counts[call] > MAX_NTH)
                    nth = sound->counts[call];
                fail_once(rig, sound, (enum spy_call)call, spy_about[call].errors[i], nth);
            }
}

static int check_faults(struct rig *rig)
{
    const struct play_item item = item_of(rig, "item", rig->image);
    struct course sound;

    note(rig, "no call failed");
    go(rig, NULL, &item, &sound);
    if (!rig->findings)
        fail_all(rig, &sound);
    course_fini(&sound);
    return found(rig);
}

static int check_feed(struct rig *rig)
{
    struct course sound;

    note(rig, "no call failed");
    go(rig, NULL, NULL, &sound);
    for (int call = 0; !rig->findings && call < SPY_N; call++)
        for (int i = 0; i < SPY_MAX_ERRORS && spy_about[call].errors[i]; i++)
            for (unsigned nth = 1; nth <= sound.counts[call] && nth <= MAX_NTH; nth++) {
                const struct spy_fault fault = {
                    .calls = UINT64_C(1) << call, .nth = nth, .answer = spy_about[call].errors[i]};
                struct course course;

                note(rig, "call %u of %s failed", nth, spy_about[call].name);
                go(rig, &fault, NULL, &course);
                course_fini(&course);
            }
    course_fini(&sound);
    return found(rig);
}

/* The first PASS does not count, as where a later stage answered RETRY. */
static void pass_twice(struct rig *rig, struct play *play, const struct course *sound)
{
    struct play_item item = item_of(rig, "item", rig->image);
    struct course first = {0}, second = {0};
    struct sendit_why why;

    if (play_open(play, &why) != SENDIT_PASS || play_begin(play, 1, 1, &why) != SENDIT_PASS)
        return;
    item.drop = true;
    go_item(rig, play, &item, &first);
    item.drop = false;
    item.attempt = 2;
    go_item(rig, play, &item, &second);
    if (!same(&second, sound))
        find(rig, "an item whose first PASS did not count comes out different the second time");
    (void)play_finish(play, &why);
    course_fini(&first);
    course_fini(&second);
}

static int check_again(struct rig *rig)
{
    const struct play_item item = item_of(rig, "item", rig->image);
    struct course sound;
    struct play play;

    go(rig, NULL, &item, &sound);
    if (!rig->findings && sound.verdict != SENDIT_PASS) {
        buf_str(rig->text, "the stage does not pass its item; give it a case that passes");
        course_fini(&sound);
        return 1;
    }
    if (!rig_play(rig, &play))
        pass_twice(rig, &play, &sound);
    play_fini(&play);
    course_fini(&sound);
    return found(rig);
}

/* The host stops during the second item: the third never comes, abandon() does. */
static void cancel(struct rig *rig, struct play *play)
{
    static const char *const ids[] = {"a", "b"};
    struct sendit_why why;
    json_t *left;

    if (play_open(play, &why) != SENDIT_PASS || play_begin(play, 1, 3, &why) != SENDIT_PASS)
        return;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        const struct play_item item = item_of(rig, ids[i], rig->image);
        struct course course = {0};

        play->memory.canceled = i == 1;
        go_item(rig, play, &item, &course);
        course_fini(&course);
    }
    (void)play_abandon(play, &why);
    is_sound(rig, "abandon", &why);
    play_close(play);
    left = work_changes(&rig->work);
    if (json_object_size(left))
        find(rig, "abandon() leaves a file behind: %s",
             json_object_iter_key(json_object_iter(left)));
    json_decref(left);
}

static int check_cancel(struct rig *rig)
{
    const struct play_item item = item_of(rig, "a", rig->image);
    struct course sound = {0}, after = {0};
    size_t descriptors;
    struct play play;

    if (!rig_play(rig, &play)) {
        descriptors = descriptors_in_use();
        cancel(rig, &play);
        if (!rig->findings && descriptors_in_use() > descriptors)
            find(rig, "%zu descriptors are left open", descriptors_in_use() - descriptors);
    }
    play_fini(&play);
    if (!rig->findings) {
        go(rig, NULL, &item, &after);
        go(rig, NULL, &item, &sound);
        if (!same(&after, &sound))
            find(rig, "the batch that began anew differs from one that went through at once");
    }
    course_fini(&sound);
    course_fini(&after);
    return found(rig);
}

static int check_edits(struct rig *rig)
{
    const char *const paths[] = {rig->image, "deep.dcm", "empty.dcm"};

    if (make_image(paths[1], 3) || make_empty(paths[2]))
        find(rig, "no file can be written: %s", strerror(errno));
    for (size_t i = 0; !rig->findings && i < sizeof(paths) / sizeof(paths[0]); i++) {
        const struct play_item item = item_of(rig, "item", paths[i]);
        struct course course;

        go(rig, NULL, &item, &course);
        if (course.tampered)
            find(rig, "it edits an item and does not declare MUTATES");
        course_fini(&course);
    }
    return found(rig);
}

/* Nothing waits, and the store is empty: settle() has nothing to do, compare() nothing to change.
 */
static void settle_nothing(struct rig *rig, struct play *play)
{
    struct sendit_why why;
    json_t *before, *after;

    if (play_open(play, &why) != SENDIT_PASS)
        return; /* another check tells it */
    for (int last = 0; last < 2; last++)
        if (play_settle(play, last, &why) != SENDIT_PASS)
            find(rig, "settle() does not pass where nothing waits: %s: %s", why.code, why.text);
    if (json_object_size(play->memory.settled))
        find(rig, "settle() tells of a batch where nothing waits");
    before = memory_store(&play->memory);
    json_array_clear(play->memory.audit);
    (void)play_compare(play, &why);
    is_sound(rig, "compare", &why);
    after = memory_store(&play->memory);
    if (!json_equal(before, after) || json_array_size(play->memory.audit))
        find(rig, "compare() changes something");
    json_decref(before);
    json_decref(after);
    play_close(play);
}

static int check_settle(struct rig *rig)
{
    const struct sendit_plugin *plugin = rig->trial->file->plugin;
    struct play play;

    if (!plugin->settle && !plugin->compare) {
        buf_str(rig->text, "the stage has neither settle() nor compare()");
        return 1;
    }
    if (!rig_play(rig, &play))
        settle_nothing(rig, &play);
    play_fini(&play);
    return found(rig);
}

/* ---- the table ---- */

enum { FOR_ALL, FOR_ITEMS, FOR_SOURCES };
static const struct {
    const char *name;
    int (*check)(struct rig *);
    int who;
} checks[] = {
    {"descriptor is complete", check_descriptor, FOR_ALL},
    {"options are accepted", check_defaults, FOR_ALL},
    {"open and close 100 times", check_open, FOR_ALL},
    {"a batch 100 times", check_batches, FOR_ITEMS},
    {"an empty data set", check_empty, FOR_ITEMS},
    {"a sequence 60 deep", check_deep, FOR_ITEMS},
    {"every call of the host fails in turn", check_faults, FOR_ITEMS},
    {"every call of a source fails in turn", check_feed, FOR_SOURCES},
    {"RETRY then PASS gives the same bytes", check_again, FOR_ITEMS},
    {"canceled in mid-batch", check_cancel, FOR_ITEMS},
    {"edits are declared", check_edits, FOR_ITEMS},
    {"settle() and compare() of nothing", check_settle, FOR_ALL},
};

size_t always_n(void)
{
    return sizeof(checks) / sizeof(checks[0]);
}

const char *always_name(size_t check)
{
    return checks[check].name;
}

int always_try(const struct trial *trial, size_t check, struct buf *ret_text)
{
    struct rig rig;
    int result = -1;

    if (!rig_init(&rig, trial, ret_text)) {
        if (checks[check].who == FOR_ITEMS && !has_items(&rig)) {
            buf_str(ret_text, "the stage has no process()");
            result = 1;
        } else if (checks[check].who == FOR_SOURCES && !is_source(&rig)) {
            buf_str(ret_text, "the stage is no source");
            result = 1;
        } else {
            result = checks[check].check(&rig);
        }
    }
    if (rig.no_options && checks[check].check != check_defaults) { /* which tells it */
        ret_text->len = 0;
        buf_str(ret_text, "its options are not accepted");
        result = 1;
    }
    rig_fini(&rig);
    return result;
}
