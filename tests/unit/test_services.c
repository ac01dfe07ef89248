/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of services.h: what they do, what they refuse, and for how long what they give lives.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "fake_link.h"
#include "make_dicom.h"
#include "services/host.h"

static const struct sendit_option options[] = {
    {"name", SENDIT_OPT_STRING, 0, NULL, NULL, "A name."},
    {"left_out", SENDIT_OPT_STRING, 0, NULL, NULL, "Left out."},
    {"count", SENDIT_OPT_INTEGER, 0, "7", NULL, "A number."},
    {"words", SENDIT_OPT_STRING, SENDIT_OPT_MANY, NULL, NULL, "Words."},
    {"env_key", SENDIT_OPT_SECRET, 0, NULL, NULL, "A secret."},
    {"file_key", SENDIT_OPT_SECRET, 0, NULL, NULL, "A secret."},
    {"no_key", SENDIT_OPT_SECRET, 0, NULL, NULL, "A secret."},
    {"shape", SENDIT_OPT_JSON, 0, NULL, NULL, "Any."},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static char *words[] = {(char *)"one", (char *)"two", NULL};

struct fixture {
    char folder[64], secret[128];
    struct fake_link link;
    struct sendit_plugin plugin;
    struct plan_value values[N_OPTIONS];
    struct plan_stage stage;
    struct host_env env;
    struct host host;
    const struct sendit_host *h; /* the handle */
    struct identity_key key;
    struct dicom *dicom;
    struct dicom_object *object;
};

#define ALL_FLAGS (SENDIT_READS | SENDIT_MUTATES | SENDIT_IDENTIFIERS | SENDIT_SECRETS)

static void write_dicom(const char *path, const char *patient_id)
{
    struct maker maker = {0};

    make_meta(&maker, EXPLICIT);
    make_identity(&maker);
    if (patient_id) {
        make_text(&maker, 0x00100020, "LO", patient_id);
        make_text(&maker, 0x00100021, "LO", "HOSP");
    }
    make_text(&maker, 0x0020000d, "UI", "1.2.3");
    assert_false(maker.buf.failed);
    assert_int_equal(file_replace(path, maker.buf.data, maker.buf.len, 0600), 0);
    buf_fini(&maker.buf);
}

static void open_item(struct fixture *f, const char *patient_id)
{
    struct dicom_refusal refusal;
    char path[128];
    struct stat st;

    dicom_close(f->object);
    snprintf(path, sizeof(path), "%s/image", f->folder);
    write_dicom(path, patient_id);
    assert_int_equal(dicom_open(f->dicom, path, &f->object, &st, &refusal), 0);
    unlink(path);
    dicom_begin(f->object, true);
    f->env.object = f->object;
    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
}

static void set_flags(struct fixture *f, uint32_t flags)
{
    f->plugin.flags = flags;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dicom_limits limits = {.max_inflate = 1 << 20};
    struct err err = {0};

    assert_non_null(f);
    log_init(LOG_OFF);
    strcpy(f->folder, "/tmp/test_services.XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->secret, sizeof(f->secret), "file:%s/secret", f->folder);
    fake_link_init(&f->link);
    f->plugin = (struct sendit_plugin){.flags = ALL_FLAGS,
                                       .n_options = N_OPTIONS,
                                       .options = options,
                                       .name = "mine",
                                       .version = "1.0.0"};
    for (size_t i = 0; i < N_OPTIONS; i++)
        f->values[i].option = &options[i];
    f->values[0].text = (char *)"Anna";
    f->values[0].json = (char *)"\"Anna\"";
    f->values[2].text = (char *)"7";
    f->values[2].number = 7;
    f->values[3].list = words;
    f->values[3].json = (char *)"[\"one\",\"two\"]";
    f->values[4].text = (char *)"env:TEST_SERVICES_SECRET";
    f->values[4].given = true;
    f->values[4].json = (char *)"\"env:TEST_SERVICES_SECRET\"";
    f->values[5].text = f->secret;
    f->values[7].text = f->values[7].json = (char *)"{\"a\":1}";
    f->stage = (struct plan_stage){.id = (char *)"mine1",
                                   .use = (char *)"mine",
                                   .enabled = true,
                                   .plugin = &f->plugin,
                                   .values = f->values};
    memset(f->key.bytes, 7, 32);
    f->key.len = 32;
    f->dicom = dicom_new(&limits, f->folder, &err);
    assert_non_null(f->dicom);
    f->env = (struct host_env){.link = &f->link.table,
                               .dicom = f->dicom,
                               .key = &f->key,
                               .filters = SENDIT_SOURCE_DIR "/filters",
                               .scratch = f->folder,
                               .batch = "batch1",
                               .batch_open = true};
    host_init(&f->host, &f->env, &f->stage);
    f->h = &f->host.host;
    host_enter(&f->host);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    host_leave(&f->host);
    host_end_batch(&f->host);
    host_fini(&f->host);
    host_facts_clear(&f->env);
    dicom_close(f->object);
    dicom_free(f->dicom);
    fake_link_fini(&f->link);
    unlink(f->secret + 5);
    assert_int_equal(rmdir(f->folder), 0); /* nothing is left behind */
    free(f);
    return 0;
}

/* The call was misuse, and said so; the mark is taken away for the next. */
static void assert_misuse(struct fixture *f, sendit_result result)
{
    assert_int_equal(result, SENDIT_EINVAL);
    assert_true(f->host.bug);
    assert_non_null(strstr(f->link.last_message, "|mine1|3|host.misuse|The stage"));
    atomic_store(&f->host.bug, false);
    f->link.last_message[0] = '\0';
}

/* It failed, and that is no bug of the stage. */
static void assert_fails(struct fixture *f, sendit_result result, sendit_result expected)
{
    assert_int_equal(result, expected);
    assert_false(f->host.bug);
}

static const char filled[301] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/* Items that came before. */
static void know(struct fixture *f)
{
    static const char *const ids[] = {"item2", "item3", "item9", NULL};

    for (size_t i = 0; i < 4; i++)
        assert_int_equal(host_item(&f->env, ids[i]), SENDIT_OK);
}

/* ---- the host itself ---- */

static void gives_what_is_declared(void **state)
{
    struct fixture *f = *state;

    assert_ptr_equal(SENDIT_SERVICE(f->h, config), &host_config);
    assert_ptr_equal(SENDIT_SERVICE(f->h, dicom), &host_dicom);
    assert_ptr_equal(SENDIT_SERVICE(f->h, deid), &host_deid);
    assert_ptr_equal(SENDIT_SERVICE(f->h, ids), &host_ids);
    assert_ptr_equal(SENDIT_SERVICE(f->h, files), &host_files);
    assert_ptr_equal(SENDIT_SERVICE(f->h, spool), &host_spool);
    assert_ptr_equal(SENDIT_SERVICE(f->h, facts), &host_facts);
    assert_ptr_equal(SENDIT_SERVICE(f->h, store), &host_store);
    assert_ptr_equal(SENDIT_SERVICE(f->h, secrets), &host_secrets);
    assert_ptr_equal(SENDIT_SERVICE(f->h, metrics), &host_metrics);
    set_flags(f, 0);
    assert_non_null(SENDIT_SERVICE(f->h, config));
    assert_non_null(SENDIT_SERVICE(f->h, spool));
    assert_non_null(SENDIT_SERVICE(f->h, facts));
    assert_non_null(SENDIT_SERVICE(f->h, store));
    assert_non_null(SENDIT_SERVICE(f->h, metrics));
    assert_null(SENDIT_SERVICE(f->h, dicom));
    assert_null(SENDIT_SERVICE(f->h, deid));
    assert_null(SENDIT_SERVICE(f->h, ids));
    assert_null(SENDIT_SERVICE(f->h, files));
    assert_null(SENDIT_SERVICE(f->h, secrets));
    set_flags(f, SENDIT_READS);
    assert_non_null(SENDIT_SERVICE(f->h, dicom));
    assert_null(SENDIT_SERVICE(f->h, ids));
    assert_null(SENDIT_SERVICE(f->h, secrets));
    assert_null(f->h->service(f->h, "sendit.config/2", 1));
    assert_null(f->h->service(f->h, "", 1));
    assert_null(f->h->service(f->h, NULL, 1));
    assert_null(f->h->service(NULL, "sendit.config/1", 1));
    assert_null(f->h->service(f->h, "sendit.config/1", sizeof(struct sendit_config) + 1));
}

static void logs_and_tells_the_time(void **state)
{
    struct fixture *f = *state;

    f->link.clock = 42;
    assert_int_equal(f->h->now_ms(f->h), 42);
    assert_int_equal(f->h->canceled(f->h), 0);
    f->link.stop = 1;
    assert_int_equal(f->h->canceled(f->h), 1);
    f->h->log(f->h, SENDIT_INFO, "not.kept", "Below a warning.");
    assert_int_equal(f->link.messages, 0);
    f->h->log(f->h, SENDIT_WARN, "mine.slow", "It is slow.");
    assert_string_equal(f->link.last_message, "|mine1|2|mine.slow|It is slow.");
    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
    f->h->log(f->h, 99, NULL, NULL);
    assert_string_equal(f->link.last_message, "item1|mine1|3|stage.said|");
    f->h->log(NULL, SENDIT_WARN, "x", "y");
    assert_int_equal(f->h->canceled(NULL), 0);
    f->env.link = NULL;
    assert_true(f->h->now_ms(f->h) > 1600000000000);
    assert_int_equal(f->h->canceled(f->h), 0);
    f->h->log(f->h, SENDIT_ERROR, "x", "y");
    f->env.link = &f->link.table;
}

static void holds(void **state)
{
    struct fixture *f = *state;

    know(f);
    assert_int_equal(f->h->hold(f->h, "item9", SENDIT_QUARANTINE, "mine.late", "It was too late."),
                     SENDIT_OK);
    assert_string_equal(f->link.last_hold, "item9|3|mine1|mine.late|It was too late.");
    assert_int_equal(f->h->hold(f->h, "item9", SENDIT_RETRY, "host.fake", NULL), SENDIT_OK);
    assert_string_equal(f->link.last_hold, "item9|4|mine1|mine.unknown|");
    assert_int_equal(f->h->hold(f->h, "item9", SENDIT_RETRY, filled, filled), SENDIT_OK);
    assert_true(strlen(f->link.last_hold) < 300);
    f->link.last_hold[0] = '\0';
    assert_misuse(f, f->h->hold(f->h, "item9", SENDIT_PASS, "a", "b"));
    assert_misuse(f, f->h->hold(f->h, "item9", SENDIT_FAIL, "a", "b"));
    assert_misuse(f, f->h->hold(f->h, NULL, SENDIT_RETRY, "a", "b"));
    assert_misuse(f, f->h->hold(f->h, "", SENDIT_RETRY, "a", "b"));
    assert_misuse(f, f->h->hold(f->h, filled, SENDIT_RETRY, "a", "b"));
    assert_misuse(f, f->h->hold(f->h, "item8", SENDIT_RETRY, "a", "b")); /* nobody saw it */
    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
    assert_misuse(f, f->h->hold(f->h, "item1", SENDIT_RETRY, "a", "b"));
    f->env.batch_open = false;
    assert_misuse(f, f->h->hold(f->h, "item9", SENDIT_RETRY, "a", "b"));
    f->env.batch_open = true;
    assert_string_equal(f->link.last_hold, "");
    f->link.fail = SENDIT_EIO;
    assert_fails(f, f->h->hold(f->h, "item9", SENDIT_RETRY, "a", "b"), SENDIT_EIO);
    assert_int_equal(f->h->hold(NULL, "item9", SENDIT_RETRY, "a", "b"), SENDIT_EINVAL);
}

/* ---- outside a callback ---- */

/* Each function that is not [any]; `expected` is what they answer, or more of it. */
static void call_all(struct fixture *f, const struct sendit_host *h)
{
    const struct sendit_deid_plan *plan;
    const void *value;
    const char *text;
    uint64_t revision;
    int64_t since;
    int32_t n;
    size_t length;
    int fd;

    assert_int_equal(h ? h->hold(h, "item9", SENDIT_RETRY, "a", "b") : SENDIT_EINVAL,
                     SENDIT_EINVAL);
    assert_int_equal(host_deid.compile(h, NULL, NULL, &plan, NULL), SENDIT_EINVAL);
    assert_int_equal(host_ids.pseudonym(h, "patient", "a", &text), SENDIT_EINVAL);
    assert_int_equal(host_ids.uid(h, "1.2", &text), SENDIT_EINVAL);
    assert_int_equal(host_ids.days(h, "a", &n), SENDIT_EINVAL);
    assert_int_equal(host_ids.lookup(h, "patient", "a", &text, &since), SENDIT_EINVAL);
    assert_int_equal(host_ids.assign(h, "patient", "a", "b", &text), SENDIT_EINVAL);
    host_files.drop(h, NULL);
    assert_int_equal(host_spool.open(h, "pack", &fd), SENDIT_EINVAL);
    assert_int_equal(host_facts.put(h, NULL, "a", "b"), SENDIT_EINVAL);
    assert_int_equal(host_facts.get(h, NULL, "a", &text), SENDIT_EINVAL);
    assert_int_equal(host_store.get(h, "a", &value, &length, &revision), SENDIT_EINVAL);
    assert_int_equal(host_store.put(h, "a", "b", 1, 0), SENDIT_EINVAL);
    assert_int_equal(host_store.next(h, "", &text), SENDIT_EINVAL);
    assert_int_equal(host_store.lock(h, "a"), SENDIT_EINVAL);
    assert_int_equal(host_store.append(h, "a", "{}"), SENDIT_EINVAL);
    assert_int_equal(host_secrets.get(h, "env_key", &text), SENDIT_EINVAL);
    assert_int_equal(host_secrets.put(h, "file_key", "a"), SENDIT_EINVAL);
    assert_int_equal(f->link.asked + f->link.noted + f->link.locks, 0);
    assert_int_equal(f->link.facts.n + f->link.store.n, 0);
}

static void refuses_outside_a_callback(void **state)
{
    struct fixture *f = *state;

    host_leave(&f->host);
    call_all(f, f->h);
    assert_false(f->host.bug);
    assert_int_equal(f->link.messages, 1); /* said once */
    host_enter(&f->host);
    assert_true(f->host.bug); /* the next answer pays for it */
    host_leave(&f->host);
    host_enter(&f->host);
    assert_false(f->host.bug);
}

static void refuses_without_a_host(void **state)
{
    call_all(*state, NULL);
}

static void *on_another_thread(void *ctx)
{
    struct fixture *f = ctx;

    call_all(f, f->h);
    assert_string_equal(host_config.text(f->h, "name"), "Anna");
    host_metrics.add(f->h, "seen", 1);
    f->h->log(f->h, SENDIT_WARN, "mine.thread", "From a thread.");
    return NULL;
}

static void refuses_other_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
    assert_int_equal(pthread_create(&thread, NULL, on_another_thread, f), 0);
    pthread_join(thread, NULL);
    assert_true(f->host.bug);
    assert_string_equal(f->link.last_message, "|mine1|2|mine.thread|From a thread.");
    assert_string_equal(map_get(&f->link.counters, "mine1/seen"), "1");
}

static int32_t keep_going(void *ctx, struct sendit_dataset *parent,
                          const struct sendit_element *element)
{
    (void)ctx, (void)parent, (void)element;
    return SENDIT_KEEP;
}

/* Nothing tells a data set who calls: outside a callback, and on any other thread, it is refused.
 */
static void refuse_data_set(struct fixture *f)
{
    struct sendit_dataset *ds = dicom_dataset(f->object), *item = NULL;
    const struct sendit_box box = {0, 0, 1, 1};
    const struct sendit_frame *frame;
    const struct sendit_file *file;
    const char *text;
    const void *value;
    size_t length;
    uint32_t tag, frames;

    assert_int_equal(host_pixels.count(ds, &frames), SENDIT_EINVAL);
    assert_int_equal(host_pixels.frame(ds, 0, &frame), SENDIT_EINVAL);
    assert_int_equal(host_pixels.blank(ds, 0, &box), SENDIT_EINVAL);
    assert_int_equal(host_dicom.get(ds, 0x00100020, &text), SENDIT_EINVAL);
    assert_int_equal(host_dicom.bytes(ds, 0x00100020, &value, &length), SENDIT_EINVAL);
    assert_int_equal(host_dicom.locate(ds, 0x00091001, "ACME", &tag), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put(ds, 0x00100020, "x"), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put_as(ds, 0x00100020, NULL, "LO", "x", 1), SENDIT_EINVAL);
    assert_int_equal(host_dicom.erase(ds, 0x00100020), SENDIT_EINVAL);
    assert_int_equal(host_dicom.append(ds, 0x00081140, &item), SENDIT_EINVAL);
    assert_int_equal(host_dicom.walk(ds, keep_going, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.json(ds, &text), SENDIT_EINVAL);
    assert_null(host_dicom.nested(ds, 0x00081140, 0));
    assert_null(host_dicom.native(ds, "any build"));
    assert_int_equal(host_files.view(ds, &file), SENDIT_EINVAL);
    assert_int_equal(host_files.keep(ds, &file), SENDIT_EINVAL);
    assert_int_equal(host_ids.patient(ds, &text), SENDIT_EINVAL);
}

static void *refuse_on_another_thread(void *ctx)
{
    refuse_data_set(ctx);
    return NULL;
}

static void a_data_set_is_for_its_callback(void **state)
{
    struct fixture *f = *state;
    const char *text;
    pthread_t thread;

    open_item(f, "P-1");
    assert_int_equal(host_dicom.get(dicom_dataset(f->object), 0x00100020, &text), SENDIT_OK);
    assert_int_equal(pthread_create(&thread, NULL, refuse_on_another_thread, f), 0);
    pthread_join(thread, NULL);
    host_leave(&f->host);
    refuse_data_set(f);
    assert_false(dicom_edited(f->object));
    host_enter(&f->host);
    assert_int_equal(host_dicom.get(dicom_dataset(f->object), 0x00100020, &text), SENDIT_OK);
    assert_string_equal(text, "P-1");
}

/* An element that is not what the dictionary says is the image's fault: its result costs the image.
 * One that is, and is asked for in the wrong form, is the stage's. */
static void odd_elements_are_the_images_fault(void **state)
{
    struct fixture *f = *state;
    struct sendit_dataset *ds, *item;
    const char *text;
    const void *value;
    size_t length;

    open_item(f, "P-1");
    ds = dicom_dataset(f->object);
    assert_int_equal(host_dicom.put_as(ds, 0x00080060, NULL, "OB", "CT", 2), SENDIT_OK);
    assert_int_equal(host_dicom.put_as(ds, 0x00081030, NULL, "SQ", NULL, 0), SENDIT_OK);
    assert_int_equal(host_dicom.put_as(ds, 0x00081140, NULL, "LO", "x", 1), SENDIT_OK);
    assert_int_equal(host_dicom.put_as(ds, 0x00090001, "ACME", "UN", "x", 1), SENDIT_OK);
    assert_int_equal(host_dicom.put_as(ds, 0x00420011, NULL, "OB", "%PDF", 4), SENDIT_OK);
    assert_int_equal(host_dicom.append(ds, 0x00081115, &item), SENDIT_OK);
    assert_int_equal(host_dicom.get(ds, 0x00080060, &text), SENDIT_ECORRUPT);
    assert_int_equal(host_dicom.get(ds, 0x00081030, &text), SENDIT_ECORRUPT);
    assert_int_equal(host_dicom.bytes(ds, 0x00081030, &value, &length), SENDIT_ECORRUPT);
    assert_int_equal(host_dicom.append(ds, 0x00081140, &item), SENDIT_ECORRUPT);
    assert_int_equal(host_dicom.get(ds, 0x00091001, &text), SENDIT_ECORRUPT);
    assert_int_equal(host_dicom.get(ds, 0x00420011, &text), SENDIT_EINVAL);
    assert_int_equal(host_dicom.get(ds, 0x00081115, &text), SENDIT_EINVAL);
    assert_int_equal(host_dicom.bytes(ds, 0x00081115, &value, &length), SENDIT_EINVAL);
    assert_int_equal(host_dicom.append(ds, 0x00080060, &item), SENDIT_EINVAL);
}

/* All originals of the item in hand, "TAG VALUE;" each. */
static void originals_of(struct fixture *f, char *ret_text, size_t size)
{
    struct sendit_dataset *ds = dicom_dataset(f->object);
    const char *value;
    sendit_result r;
    uint32_t tag;
    size_t n = 0;

    for (size_t i = 0; (r = host_originals.value(ds, i, &tag, &value)) != SENDIT_EABSENT; i++)
        n += (size_t)snprintf(ret_text + n, n < size ? size - n : 0, "%08x %s;",
                              r == SENDIT_OK ? tag : 0, r == SENDIT_OK ? value : "?");
    ret_text[n] = '\0';
}

static void originals_are_from_before_any_edit(void **state)
{
    static const char expected[] =
        "00080018 1.2.3.4;00100020 P-1;00000000 ?;00101001 Doe^Jane;00101001 Roe^J;"
        "00102155 a\\b;0020000d 1.2.3;";
    struct fixture *f = *state;
    struct plan plan = {.stages = &f->stage, .n_stages = 1};
    struct sendit_dataset *ds;
    char text[1000];
    const char *value;
    uint32_t tag;

    assert_null(SENDIT_SERVICE(f->h, originals));
    set_flags(f, ALL_FLAGS | SENDIT_ORIGINALS);
    assert_ptr_equal(SENDIT_SERVICE(f->h, originals), &host_originals);
    f->env.plan = &plan;
    open_item(f, "P-1");
    ds = dicom_dataset(f->object);
    assert_int_equal(host_dicom.put(ds, 0x00101001, "Doe^Jane\\Roe^J"), SENDIT_OK);
    assert_int_equal(host_dicom.put(ds, 0x00102155, "a\\b"), SENDIT_OK);
    assert_int_equal(host_dicom.put(ds, 0x00081030, "no identifier"), SENDIT_OK);
    assert_int_equal(host_dicom.put_as(ds, 0x00100030, NULL, "UN", "\xff", 1), SENDIT_OK);
    assert_int_equal(dicom_end(f->object, true), 0);
    assert_int_equal(host_originals_take(&f->env, f->object), SENDIT_OK);
    dicom_begin(f->object, true);
    originals_of(f, text, sizeof(text));
    assert_string_equal(text, expected);
    assert_int_equal(host_dicom.erase(ds, 0x00100020), SENDIT_OK);
    originals_of(f, text, sizeof(text));
    assert_string_equal(text, expected);
    assert_int_equal(host_originals.value(ds, 0, &tag, NULL), SENDIT_EINVAL);
    assert_int_equal(host_originals.value(NULL, 0, &tag, &value), SENDIT_EINVAL);
    host_leave(&f->host);
    assert_int_equal(host_originals.value(ds, 0, &tag, &value), SENDIT_EINVAL);
    host_enter(&f->host);
    host_originals_clear(&f->env);
    assert_int_equal(host_originals.value(ds, 0, &tag, &value), SENDIT_EABSENT);
}

/* Nobody pays for what nobody may see. */
static void originals_are_taken_if_a_stage_declares_them(void **state)
{
    struct fixture *f = *state;
    struct plan plan = {.stages = &f->stage, .n_stages = 1};

    f->env.plan = &plan;
    open_item(f, "P-1");
    assert_int_equal(dicom_end(f->object, true), 0);
    assert_int_equal(host_originals_take(&f->env, f->object), SENDIT_OK);
    assert_int_equal(f->env.n_originals, 0);
    set_flags(f, ALL_FLAGS | SENDIT_ORIGINALS);
    f->stage.enabled = false;
    assert_int_equal(host_originals_take(&f->env, f->object), SENDIT_OK);
    assert_int_equal(f->env.n_originals, 0);
    dicom_begin(f->object, true);
}

static void a_flood_of_lines_is_cut(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < HOST_MAX_LINES + 234; i++)
        f->h->log(f->h, SENDIT_WARN, "mine.line", "One of many.");
    assert_int_equal(f->link.messages, HOST_MAX_LINES);
    host_end_batch(&f->host);
    assert_int_equal(f->link.messages, HOST_MAX_LINES + 1);
    assert_string_equal(f->link.last_message,
                        "|mine1|2|log.cut|234 more lines of this stage were cut.");
    f->h->log(f->h, SENDIT_WARN, "mine.line", "In the next batch."); /* there is room again */
    assert_int_equal(f->link.messages, HOST_MAX_LINES + 2);
    host_end_batch(&f->host);
    assert_int_equal(f->link.messages, HOST_MAX_LINES + 2);
    for (unsigned i = 0; i < 2 * HOST_MAX_LINES; i++) /* what nobody is shown does not count */
        f->h->log(f->h, SENDIT_INFO, "mine.line", "One of many.");
    f->h->log(f->h, SENDIT_WARN, "mine.line", "And one that is.");
    assert_int_equal(f->link.messages, HOST_MAX_LINES + 3);
}

/* ---- config ---- */

static void config_shows_values(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(host_config.text(f->h, "name"), "Anna");
    assert_null(host_config.text(f->h, "left_out"));
    assert_string_equal(host_config.text(f->h, "count"), "7");
    assert_int_equal(host_config.number(f->h, "count"), 7);
    assert_string_equal(host_config.list(f->h, "words")[1], "two");
    assert_null(host_config.list(f->h, "words")[2]);
    assert_string_equal(host_config.json(f->h, "words"), "[\"one\",\"two\"]");
    assert_string_equal(host_config.json(f->h, "shape"), "{\"a\":1}");
    assert_null(host_config.json(f->h, "left_out"));
    assert_null(host_config.text(f->h, "env_key")); /* a SECRET is for table secrets */
    assert_null(host_config.json(f->h, "env_key"));
    assert_false(f->host.bug);
    host_leave(&f->host); /* [any] */
    assert_string_equal(host_config.text(f->h, "name"), "Anna");
    assert_false(f->host.bug_outside);
}

static void config_refuses_the_wrong_form(void **state)
{
    struct fixture *f = *state;

    assert_null(host_config.text(f->h, "nmae"));
    assert_misuse(f, SENDIT_EINVAL);
    assert_null(host_config.text(f->h, NULL));
    assert_misuse(f, SENDIT_EINVAL);
    assert_null(host_config.text(f->h, "words"));
    assert_misuse(f, SENDIT_EINVAL);
    assert_int_equal(host_config.number(f->h, "name"), 0);
    assert_misuse(f, SENDIT_EINVAL);
    assert_int_equal(host_config.number(f->h, "words"), 0);
    assert_misuse(f, SENDIT_EINVAL);
    assert_null(host_config.list(f->h, "name")[0]);
    assert_misuse(f, SENDIT_EINVAL);
    assert_null(host_config.list(f->h, "nmae")[0]);
    assert_misuse(f, SENDIT_EINVAL);
    assert_null(host_config.json(f->h, "nmae"));
    assert_misuse(f, SENDIT_EINVAL);
    assert_null(host_config.text(NULL, "name"));
    assert_int_equal(host_config.number(NULL, "count"), 0);
    assert_null(host_config.list(NULL, "words")[0]);
    assert_null(host_config.json(NULL, "name"));
}

/* ---- data sets ---- */

static int32_t keep_visitor(void *ctx, struct sendit_dataset *parent,
                            const struct sendit_element *element)
{
    (void)ctx, (void)parent, (void)element;
    return SENDIT_KEEP;
}

static void dicom_refuses_nothing_at_all(void **state)
{
    struct fixture *f = *state;
    struct sendit_dataset *ds, *item;
    const struct sendit_file *file;
    const char *text;
    const void *bytes;
    size_t length;
    uint32_t tag;

    open_item(f, "P1");
    ds = dicom_dataset(f->object);
    assert_int_equal(host_dicom.tag("PatientID", &tag), SENDIT_OK);
    assert_int_equal(tag, 0x00100020);
    assert_int_equal(host_dicom.tag(NULL, &tag), SENDIT_EINVAL);
    assert_int_equal(host_dicom.tag("PatientID", NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.keyword(0x00100020, &text), SENDIT_OK);
    assert_string_equal(text, "PatientID");
    assert_int_equal(host_dicom.keyword(0x00140001, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.keyword(0x00091001, &text), SENDIT_EABSENT);
    assert_int_equal(host_dicom.keyword(0x00100021 + 0x8000, &text), SENDIT_EABSENT);
    assert_int_equal(host_dicom.locate(NULL, 0x00091001, "A", &tag), SENDIT_EINVAL);
    assert_int_equal(host_dicom.locate(ds, 0x00091001, NULL, &tag), SENDIT_EINVAL);
    assert_int_equal(host_dicom.locate(ds, 0x00091001, "A", NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.get(NULL, tag, &text), SENDIT_EINVAL);
    assert_int_equal(host_dicom.get(ds, tag, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.get(ds, 0x00100020, &text), SENDIT_OK);
    assert_string_equal(text, "P1");
    assert_int_equal(host_dicom.bytes(NULL, tag, &bytes, &length), SENDIT_EINVAL);
    assert_int_equal(host_dicom.bytes(ds, tag, NULL, &length), SENDIT_EINVAL);
    assert_int_equal(host_dicom.bytes(ds, tag, &bytes, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put(NULL, tag, "x"), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put(ds, tag, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put_as(NULL, tag, NULL, "LO", "x", 1), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put_as(ds, tag, NULL, NULL, "x", 1), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put_as(ds, tag, NULL, "LO", NULL, 1), SENDIT_EINVAL);
    assert_int_equal(host_dicom.put_as(ds, 0x00100020, NULL, "LO", NULL, 0), SENDIT_OK);
    assert_int_equal(host_dicom.erase(NULL, tag), SENDIT_EINVAL);
    assert_null(host_dicom.nested(NULL, 0x00081140, 0));
    assert_int_equal(host_dicom.append(NULL, 0x00081140, &item), SENDIT_EINVAL);
    assert_int_equal(host_dicom.append(ds, 0x00081140, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.walk(NULL, keep_visitor, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.walk(ds, NULL, NULL), SENDIT_EINVAL);
    assert_int_equal(host_dicom.walk(ds, keep_visitor, NULL), SENDIT_OK);
    assert_int_equal(host_dicom.json(NULL, &text), SENDIT_EINVAL);
    assert_int_equal(host_dicom.json(ds, NULL), SENDIT_EINVAL);
    assert_null(host_dicom.native(ds, "any"));
    assert_int_equal(host_files.view(NULL, &file), SENDIT_EINVAL);
    assert_int_equal(host_files.view(ds, NULL), SENDIT_EINVAL);
    assert_int_equal(host_files.keep(NULL, &file), SENDIT_EINVAL);
    assert_int_equal(host_files.keep(ds, NULL), SENDIT_EINVAL);
    assert_int_equal(host_files.view(ds, &file), SENDIT_OK);
    host_files.drop(f->h, NULL);
    assert_int_equal(host_files.keep(ds, &file), SENDIT_OK);
    assert_true(file->total > 132);
    host_files.drop(f->h, file);
    assert_false(f->host.bug);
    host_files.drop(f->h, file); /* twice */
    assert_misuse(f, SENDIT_EINVAL);
    assert_int_equal(host_files.view(ds, &file), SENDIT_OK);
    host_files.drop(f->h, file); /* a view is not kept */
    assert_misuse(f, SENDIT_EINVAL);
    dicom_end(f->object, false);
}

/* ---- deid ---- */

static void deid_compiles_once(void **state)
{
    struct fixture *f = *state;
    const char *const basic[] = {"basic", NULL}, *const none[] = {"none-such", NULL};
    const struct sendit_deid_plan *plan = NULL, *again = NULL, *untouched = NULL;
    const char *many[66];
    struct sendit_why why = {0};

    assert_int_equal(host_deid.compile(f->h, basic, NULL, &plan, &why), SENDIT_OK);
    assert_int_equal(host_deid.compile(f->h, basic, NULL, &again, NULL), SENDIT_OK);
    assert_ptr_equal(plan, again);
    assert_int_equal(strlen(host_deid.digest(plan)), 64);
    assert_null(host_deid.digest(NULL));
    assert_fails(f, host_deid.compile(f->h, none, NULL, &untouched, &why), SENDIT_EINVAL);
    assert_null(untouched);
    assert_non_null(strstr(why.text, "none-such"));
    assert_string_equal(why.code, "deid.compile");
    assert_fails(f, host_deid.compile(f->h, none, NULL, &untouched, NULL), SENDIT_EINVAL);
    assert_misuse(f, host_deid.compile(f->h, basic, NULL, NULL, &why));
    for (size_t i = 0; i < 65; i++)
        many[i] = "basic";
    many[65] = NULL;
    assert_fails(f, host_deid.compile(f->h, many, NULL, &untouched, &why), SENDIT_EINVAL);
    assert_misuse(f, host_deid.filter(plan, NULL, NULL, NULL));
    assert_int_equal(host_deid.filter(NULL, NULL, NULL, NULL), SENDIT_EINVAL);
}

static void deid_applies_in_hand_only(void **state)
{
    struct fixture *f = *state;
    const char *const basic[] = {"basic", NULL};
    const struct sendit_var vars[] = {{"entity_id", "e1"}, {"jitter", "-10"}};
    const struct sendit_var bad[] = {{"entity_id", NULL}};
    const struct sendit_deid_plan *plan;
    const struct sendit_report *report = NULL;
    struct sendit_dataset *ds, *item;
    struct sendit_why why = {0};
    const char *uid;

    assert_int_equal(host_deid.compile(f->h, basic, NULL, &plan, &why), SENDIT_OK);
    open_item(f, "P1");
    ds = dicom_dataset(f->object);
    assert_misuse(f, host_deid.apply(plan, NULL, vars, 2, &report, &why));
    assert_misuse(f, host_deid.apply(plan, ds, NULL, 2, &report, &why));
    assert_misuse(f, host_deid.apply(plan, ds, bad, 1, &report, &why));
    assert_misuse(f, host_deid.apply(plan, ds, vars, SIZE_MAX, &report, &why));
    assert_misuse(f, host_deid.apply(plan, ds, vars, 2, NULL, &why));
    assert_int_equal(host_deid.apply(NULL, ds, vars, 2, &report, &why), SENDIT_EINVAL);
    assert_int_equal(host_dicom.append(ds, 0x00081140, &item), SENDIT_OK);
    assert_misuse(f, host_deid.apply(plan, item, vars, 2, &report, &why));
    set_flags(f, SENDIT_READS);
    assert_int_equal(host_deid.apply(plan, ds, vars, 2, &report, &why), SENDIT_EDENIED);
    assert_true(f->host.bug);
    atomic_store(&f->host.bug, false);
    set_flags(f, ALL_FLAGS);
    f->env.key = NULL;
    assert_fails(f, host_deid.apply(plan, ds, vars, 2, &report, &why), SENDIT_EDENIED);
    assert_true(why.code[0]);
    assert_null(report);
    f->env.key = &f->key;
    assert_int_equal(host_deid.apply(plan, ds, vars, 2, &report, NULL), SENDIT_OK);
    assert_true(report->uids > 0);
    assert_int_equal(host_dicom.get(ds, 0x00080018, &uid), SENDIT_OK);
    assert_string_equal(uid, map_get(&f->link.walk, "uid/1.2.3.4"));
    host_leave(&f->host);
    assert_int_equal(host_deid.apply(plan, ds, vars, 2, &report, &why), SENDIT_EINVAL);
    assert_true(f->host.bug_outside);
    host_enter(&f->host);
    dicom_end(f->object, false);
}

/* ---- ids ---- */

static void ids_know_the_patient(void **state)
{
    struct fixture *f = *state;
    const char *who = NULL;

    open_item(f, " Ab-1 ");
    assert_int_equal(host_ids.patient(dicom_dataset(f->object), &who), SENDIT_OK);
    assert_string_equal(who, "hosp\\ab1");
    assert_int_equal(host_ids.patient(NULL, &who), SENDIT_EINVAL);
    assert_int_equal(host_ids.patient(dicom_dataset(f->object), NULL), SENDIT_EINVAL);
    open_item(f, NULL);
    assert_int_equal(host_ids.patient(dicom_dataset(f->object), &who), SENDIT_EABSENT);
    open_item(f, " - ");
    assert_int_equal(host_ids.patient(dicom_dataset(f->object), &who), SENDIT_EABSENT);
}

static void ids_are_keyed_and_kept(void **state)
{
    struct fixture *f = *state;
    const char *p = NULL, *q = NULL, *stands;
    int64_t since = 0;
    int32_t days = 0, same = 0;

    assert_int_equal(host_ids.pseudonym(f->h, "patient", "a\\b", &p), SENDIT_OK);
    assert_int_equal(strlen(p), 16);
    assert_string_equal(map_get(&f->link.walk, "patient/a\\b"), p);
    assert_int_equal(f->link.asked, 1);
    assert_int_equal(host_ids.pseudonym(f->h, "patient", "a\\b", &q), SENDIT_OK);
    assert_string_equal(p, q);
    assert_int_equal(f->link.asked, 1); /* once in a batch */
    assert_int_equal(host_ids.pseudonym(f->h, "study", "a\\b", &q), SENDIT_OK);
    assert_string_not_equal(p, q);
    assert_int_equal(host_ids.lookup(f->h, "patient", "a\\b", &stands, &since), SENDIT_OK);
    assert_string_equal(stands, p);
    assert_int_equal(since, 1234);
    assert_int_equal(host_ids.days(f->h, "a\\b", &days), SENDIT_OK);
    assert_int_equal(host_ids.days(f->h, "a\\b", &same), SENDIT_OK);
    assert_in_range(-days, 1, 3650);
    assert_int_equal(days, same);
    host_end_batch(&f->host);
    assert_int_equal(host_ids.pseudonym(f->h, "patient", "a\\b", &q), SENDIT_OK);
    assert_int_equal(f->link.asked, 3);
}

static void ids_map_uids(void **state)
{
    struct fixture *f = *state;
    const char *uid = NULL, *same = NULL;
    char text[32];

    assert_int_equal(host_ids.uid(f->h, "1.2.3", &uid), SENDIT_OK);
    assert_memory_equal(uid, "2.25.", 5);
    assert_string_equal(map_get(&f->link.walk, "uid/1.2.3"), uid);
    assert_int_equal(host_ids.uid(f->h, "1.2.3", &same), SENDIT_OK);
    assert_string_equal(uid, same);
    assert_int_equal(f->link.noted, 1);
    assert_int_equal(f->link.asked, 0);
    assert_int_equal(host_ids.uid(f->h, "1.2.840.10008.1.2.1", &same), SENDIT_OK);
    assert_string_equal(same, "1.2.840.10008.1.2.1");
    assert_int_equal(f->link.noted, 1); /* no secret, no row */
    assert_fails(f, host_ids.uid(f->h, "no uid", &same), SENDIT_ECORRUPT);
    for (unsigned i = 0; i < 2 * HOST_MAX_CACHED; i++) {
        snprintf(text, sizeof(text), "1.9.%u", i);
        assert_int_equal(host_uid(&f->host, text, &same), SENDIT_OK);
        if (i % 1000 == 0)
            assert_string_equal(same, map_get(&f->link.walk, fake_key("uid", text)));
    }
    assert_true(f->env.uids.n <= HOST_MAX_CACHED); /* bounded */
    assert_string_equal(uid, map_get(&f->link.walk, "uid/1.2.3"));
    host_leave(&f->host);
    assert_int_equal(f->env.uids.n, 0);
    host_enter(&f->host);
    f->link.fail = SENDIT_EIO;
    assert_fails(f, host_ids.uid(f->h, "1.2.4", &same), SENDIT_EIO);
    f->link.fail = SENDIT_OK;
    f->link.noted = 0;
    assert_int_equal(host_ids.uid(f->h, "1.2.4", &same), SENDIT_OK);
    assert_int_equal(f->link.noted, 1); /* what could not be told is told again */
}

static void ids_are_assigned_once(void **state)
{
    struct fixture *f = *state;
    const char *p = NULL;
    int64_t since;

    assert_fails(f, host_ids.lookup(f->h, "patient", "a", &p, &since), SENDIT_EABSENT);
    assert_int_equal(host_ids.assign(f->h, "patient", "a", "SU1", &p), SENDIT_OK);
    assert_string_equal(p, "SU1");
    assert_int_equal(host_ids.assign(f->h, "patient", "a", "SU2", &p), SENDIT_OK);
    assert_string_equal(p, "SU1");
    assert_fails(f, host_ids.assign(f->h, "patient", "b", "SU1", &p), SENDIT_ECONFLICT);
    f->link.fail = SENDIT_EIO;
    assert_fails(f, host_ids.assign(f->h, "patient", "c", "SU3", &p), SENDIT_EIO);
    assert_fails(f, host_ids.lookup(f->h, "patient", "a", &p, &since), SENDIT_EIO);
}

/* A pseudonym that stands for somebody else already must not be given to a second patient. */
static void ids_never_merge_two(void **state)
{
    struct fixture *f = *state;
    const char *p = NULL, *unset = NULL;

    assert_int_equal(host_ids.pseudonym(f->h, "patient", "a", &p), SENDIT_OK);
    map_clear(&f->link.walk);
    host_end_batch(&f->host);
    assert_int_equal(map_put(&f->link.walk, "patient/b", p), 0);
    assert_fails(f, host_ids.pseudonym(f->h, "patient", "a", &unset), SENDIT_ECONFLICT);
    assert_null(unset);
}

static void ids_refuse(void **state)
{
    struct fixture *f = *state;
    char too_long[HOST_MAX_ORIGINAL + 2];
    const char *p;
    int64_t since;
    int32_t days;

    memset(too_long, '1', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    assert_misuse(f, host_ids.pseudonym(f->h, NULL, "a", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "", "a", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "Patient Name", "a", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "pat\nient", "a", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, filled, "a", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "uid", "a", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "patient", NULL, &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "patient", "", &p));
    assert_misuse(f, host_ids.pseudonym(f->h, "patient", "a", NULL));
    assert_fails(f, host_ids.pseudonym(f->h, "patient", too_long, &p), SENDIT_ECORRUPT);
    assert_misuse(f, host_ids.uid(f->h, NULL, &p));
    assert_misuse(f, host_ids.uid(f->h, "", &p));
    assert_misuse(f, host_ids.uid(f->h, "1.2", NULL));
    assert_fails(f, host_ids.uid(f->h, too_long, &p), SENDIT_ECORRUPT);
    assert_misuse(f, host_ids.days(f->h, NULL, &days));
    assert_misuse(f, host_ids.days(f->h, "a", NULL));
    assert_misuse(f, host_ids.lookup(f->h, NULL, "a", &p, &since));
    assert_misuse(f, host_ids.lookup(f->h, "patient", NULL, &p, &since));
    assert_misuse(f, host_ids.lookup(f->h, "patient", "a", NULL, &since));
    assert_misuse(f, host_ids.lookup(f->h, "patient", "a", &p, NULL));
    assert_misuse(f, host_ids.assign(f->h, "patient", "a", NULL, &p));
    assert_misuse(f, host_ids.assign(f->h, "patient", "a", "", &p));
    assert_misuse(f, host_ids.assign(f->h, "patient", NULL, "b", &p));
    assert_misuse(f, host_ids.assign(f->h, NULL, "a", "b", &p));
    assert_misuse(f, host_ids.assign(f->h, "patient", "a", "b", NULL));
    assert_misuse(f, host_ids.assign(f->h, "uid", "1.2", "2.25.1", &p));
    assert_fails(f, host_ids.assign(f->h, "patient", "a", too_long, &p), SENDIT_ECORRUPT);
    assert_int_equal(f->link.walk.n, 0);
    f->env.key = NULL;
    assert_fails(f, host_ids.pseudonym(f->h, "patient", "a", &p), SENDIT_EDENIED);
    assert_fails(f, host_ids.uid(f->h, "1.2", &p), SENDIT_EDENIED);
    assert_fails(f, host_ids.days(f->h, "a", &days), SENDIT_EDENIED);
}

/* ---- facts ---- */

static void facts_wait_for_the_pass(void **state)
{
    struct fixture *f = *state;
    const char *value = NULL;

    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
    assert_int_equal(host_facts.put(f->h, "item1", "ids.entity", "e1"), SENDIT_OK);
    assert_int_equal(f->link.facts.n, 0);
    assert_int_equal(host_facts.get(f->h, "item1", "ids.entity", &value), SENDIT_OK);
    assert_string_equal(value, "e1");
    assert_int_equal(host_facts_settle(&f->env, false), SENDIT_OK); /* not PASS */
    assert_fails(f, host_facts.get(f->h, "item1", "ids.entity", &value), SENDIT_EABSENT);
    assert_int_equal(f->link.facts.n, 0);
    assert_int_equal(host_facts.put(f->h, "item1", "ids.entity", "e1"), SENDIT_OK);
    assert_int_equal(host_facts.put(f->h, "item1", "ids.entity", "e2"), SENDIT_OK);
    assert_int_equal(host_facts.put(f->h, "item1", "ids.item", ""), SENDIT_OK);
    assert_int_equal(host_facts_settle(&f->env, true), SENDIT_OK);
    assert_string_equal(map_get(&f->link.facts, "item1/ids.entity"), "e2");
    assert_string_equal(map_get(&f->link.facts, "item1/ids.item"), "");
    assert_int_equal(host_facts.get(f->h, "item1", "ids.entity", &value), SENDIT_OK);
    assert_string_equal(value, "e2");
    f->link.fail = SENDIT_EIO;
    assert_int_equal(host_facts.put(f->h, "item1", "ids.entity", "e3"), SENDIT_OK);
    assert_int_equal(host_facts_settle(&f->env, true), SENDIT_EIO);
    assert_int_equal(f->env.pending.n, 0);
}

static void facts_of_others_go_at_once(void **state)
{
    struct fixture *f = *state;
    const char *value = NULL;

    know(f);
    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
    assert_int_equal(host_facts.put(f->h, "item2", "store.object", "o"), SENDIT_OK);
    assert_int_equal(host_facts.put(f->h, NULL, "store.object", "archive"), SENDIT_OK);
    assert_string_equal(map_get(&f->link.facts, "item2/store.object"), "o");
    assert_string_equal(map_get(&f->link.facts, "/store.object"), "archive");
    assert_int_equal(host_facts.get(f->h, NULL, "store.object", &value), SENDIT_OK);
    assert_string_equal(value, "archive");
    assert_int_equal(host_facts.get(f->h, "item2", "store.object", &value), SENDIT_OK);
    assert_fails(f, host_facts.get(f->h, "item3", "store.object", &value), SENDIT_EABSENT);
    assert_int_equal(host_facts_load(&f->env, "item3", "store.object", "before"), SENDIT_OK);
    assert_int_equal(host_facts.get(f->h, "item3", "store.object", &value), SENDIT_OK);
    assert_string_equal(value, "before");
    host_facts_clear(&f->env);
    assert_fails(f, host_facts.get(f->h, NULL, "store.object", &value), SENDIT_EABSENT);
    f->link.fail = SENDIT_EIO;
    assert_fails(f, host_facts.put(f->h, NULL, "a", "b"), SENDIT_EIO);
}

static void facts_of_held_items_are_hidden(void **state)
{
    struct fixture *f = *state;
    const char *value = NULL;

    know(f);
    assert_int_equal(host_facts.put(f->h, "item2", "a", "b"), SENDIT_OK);
    assert_int_equal(host_facts.put(f->h, "item3", "a", "b"), SENDIT_OK);
    assert_int_equal(f->h->hold(f->h, "item2", SENDIT_QUARANTINE, "mine.late", ""), SENDIT_OK);
    assert_fails(f, host_facts.get(f->h, "item2", "a", &value), SENDIT_EABSENT);
    assert_int_equal(host_facts.get(f->h, "item3", "a", &value), SENDIT_OK);
    assert_int_equal(host_facts_hold(&f->env, "item3"), SENDIT_OK);
    assert_fails(f, host_facts.get(f->h, "item3", "a", &value), SENDIT_EABSENT);
}

static void facts_refuse(void **state)
{
    struct fixture *f = *state;
    char too_long[HOST_MAX_FACT + 2], key[32];
    const char *value;

    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    assert_misuse(f, host_facts.put(f->h, NULL, NULL, "b"));
    assert_misuse(f, host_facts.put(f->h, NULL, "", "b"));
    assert_misuse(f, host_facts.put(f->h, NULL, "A key", "b"));
    assert_misuse(f, host_facts.put(f->h, NULL, filled, "b"));
    assert_misuse(f, host_facts.put(f->h, NULL, "a", NULL));
    assert_misuse(f, host_facts.put(f->h, "", "a", "b"));
    assert_misuse(f, host_facts.put(f->h, filled, "a", "b"));
    assert_misuse(f, host_facts.put(f->h, "item8", "a", "b")); /* nobody saw it */
    assert_misuse(f, host_facts.put(f->h, NULL, "a", too_long));
    too_long[HOST_MAX_FACT] = '\0';
    assert_int_equal(host_facts.put(f->h, NULL, "a", too_long), SENDIT_OK);
    assert_misuse(f, host_facts.get(f->h, NULL, NULL, &value));
    assert_misuse(f, host_facts.get(f->h, NULL, "a", NULL));
    assert_fails(f, host_facts.get(f->h, "", "a", &value), SENDIT_EABSENT);
    assert_fails(f, host_facts.get(f->h, "item8", "a", &value), SENDIT_EABSENT);
    assert_int_equal(host_item(&f->env, "item1"), SENDIT_OK);
    for (int i = 0; i < HOST_MAX_FACTS; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(host_facts.put(f->h, "item1", key, "v"), SENDIT_OK);
    }
    assert_fails(f, host_facts.put(f->h, "item1", "one-more", "v"), SENDIT_ENOMEM);
    assert_int_equal(host_facts.put(f->h, "item1", "k0", "w"), SENDIT_OK);
    f->env.batch_open = false; /* open() has no batch */
    assert_misuse(f, host_facts.put(f->h, NULL, "a", "b"));
    assert_misuse(f, host_facts.get(f->h, NULL, "a", &value));
}

/* ---- store ---- */

static void store_keeps(void **state)
{
    struct fixture *f = *state;
    const void *value = NULL, *other = NULL;
    const char *next = NULL;
    uint64_t revision = 0;
    size_t length = 0;

    assert_fails(f, host_store.get(f->h, "a", &value, &length, &revision), SENDIT_EABSENT);
    assert_int_equal(host_store.put(f->h, "a", "one", 3, 0), SENDIT_OK);
    assert_int_equal(host_store.put(f->h, "b", "two", 3, 0), SENDIT_OK);
    assert_fails(f, host_store.put(f->h, "a", "two", 3, 0), SENDIT_ECONFLICT);
    assert_int_equal(host_store.get(f->h, "a", &value, &length, &revision), SENDIT_OK);
    assert_int_equal(host_store.get(f->h, "b", &other, &length, &revision), SENDIT_OK);
    assert_string_equal(value, "one"); /* lives beyond the next call */
    assert_int_equal(length, 3);
    assert_int_equal(revision, 1);
    assert_non_null(map_get(&f->link.store, "mine1/a")); /* of this entry alone */
    assert_int_equal(host_store.put(f->h, "a", NULL, 77, 1), SENDIT_OK);
    assert_int_equal(host_store.next(f->h, "", &next), SENDIT_OK);
    assert_string_equal(next, "only");
    assert_fails(f, host_store.next(f->h, "only", &next), SENDIT_EABSENT);
    assert_int_equal(host_store.append(f->h, "key.rotated", "{\"n\":1}"), SENDIT_OK);
    assert_string_equal(f->link.last_audit, "mine1 key.rotated {\"n\":1}");
    f->link.fail = SENDIT_EIO;
    assert_fails(f, host_store.get(f->h, "a", &value, &length, &revision), SENDIT_EIO);
    assert_fails(f, host_store.put(f->h, "a", "x", 1, 0), SENDIT_EIO);
    assert_fails(f, host_store.next(f->h, "", &next), SENDIT_EIO);
    assert_fails(f, host_store.lock(f->h, "a"), SENDIT_EIO);
    assert_fails(f, host_store.append(f->h, "a", "{}"), SENDIT_EIO);
}

static void store_locks_until_the_callback_returns(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(host_store.lock(f->h, "a"), SENDIT_OK);
    assert_string_equal(f->link.lock, "mine1/a");
    assert_misuse(f, host_store.lock(f->h, "a"));
    assert_misuse(f, host_store.lock(f->h, "b"));
    assert_int_equal(f->link.locks, 1);
    host_leave(&f->host);
    assert_int_equal(f->link.unlocks, 1);
    assert_string_equal(f->link.lock, "");
    host_enter(&f->host);
    assert_int_equal(host_store.lock(f->h, "b"), SENDIT_OK);
    host_leave(&f->host);
    host_enter(&f->host);
    host_leave(&f->host);
    assert_int_equal(f->link.unlocks, 2); /* none that it did not have */
    host_enter(&f->host);
}

static void store_refuses(void **state)
{
    struct fixture *f = *state;
    const void *value;
    const char *next;
    uint64_t revision;
    size_t length;
    char *big = malloc(HOST_MAX_VALUE + 2);

    assert_non_null(big);
    memset(big, '1', HOST_MAX_VALUE + 1);
    big[HOST_MAX_VALUE + 1] = '\0';
    assert_misuse(f, host_store.get(f->h, NULL, &value, &length, &revision));
    assert_misuse(f, host_store.get(f->h, "", &value, &length, &revision));
    assert_misuse(f, host_store.get(f->h, filled, &value, &length, &revision));
    assert_misuse(f, host_store.get(f->h, "a", NULL, &length, &revision));
    assert_misuse(f, host_store.get(f->h, "a", &value, NULL, &revision));
    assert_misuse(f, host_store.get(f->h, "a", &value, &length, NULL));
    assert_misuse(f, host_store.put(f->h, NULL, "x", 1, 0));
    assert_misuse(f, host_store.put(f->h, "", "x", 1, 0));
    assert_misuse(f, host_store.put(f->h, filled, "x", 1, 0));
    assert_misuse(f, host_store.put(f->h, "a", big, HOST_MAX_VALUE + 1, 0));
    assert_misuse(f, host_store.next(f->h, NULL, &next));
    assert_misuse(f, host_store.next(f->h, filled, &next));
    assert_misuse(f, host_store.next(f->h, "", NULL));
    assert_misuse(f, host_store.lock(f->h, NULL));
    assert_misuse(f, host_store.lock(f->h, ""));
    assert_misuse(f, host_store.lock(f->h, filled));
    assert_misuse(f, host_store.append(f->h, NULL, "{}"));
    assert_misuse(f, host_store.append(f->h, "An event", "{}"));
    assert_misuse(f, host_store.append(f->h, "a", NULL));
    assert_misuse(f, host_store.append(f->h, "a", "no json"));
    assert_misuse(f, host_store.append(f->h, "a", big));
    assert_int_equal(f->link.store.n + f->link.locks, 0);
    assert_int_equal(f->link.last_audit[0], 0);
    free(big);
}

/* ---- settle, compare ---- */

static void settle_tells(void **state)
{
    struct fixture *f = *state;
    struct sendit_settle settle = host_settle_table(&f->host, true);

    assert_int_equal(settle.last, 1);
    assert_int_equal(settle.batch(&settle, "b7", SENDIT_PASS, "not.shown", "nor this"), SENDIT_OK);
    assert_string_equal(f->link.last_told, "mine1|b7|1||");
    assert_int_equal(settle.batch(&settle, "b7", SENDIT_FAIL, "mine.lost", "Lost."), SENDIT_OK);
    assert_string_equal(f->link.last_told, "mine1|b7|0|mine.lost|Lost.");
    /* A code that is none, or the host's own, is not believed. */
    assert_int_equal(settle.batch(&settle, "b7", SENDIT_FAIL, NULL, NULL), SENDIT_OK);
    assert_string_equal(f->link.last_told, "mine1|b7|0|mine.unknown|");
    assert_int_equal(settle.batch(&settle, "b7", SENDIT_FAIL, "host.settle", "x"), SENDIT_OK);
    assert_string_equal(f->link.last_told, "mine1|b7|0|mine.unknown|x");
    f->link.fail = SENDIT_EIO;
    assert_fails(f, settle.batch(&settle, "b7", SENDIT_PASS, "", ""), SENDIT_EIO);
}

static void settle_refuses(void **state)
{
    struct fixture *f = *state;
    struct sendit_settle settle = host_settle_table(&f->host, false);
    struct sendit_compare compare = host_compare_table(&f->host);

    assert_int_equal(settle.last, 0);
    assert_misuse(f, settle.batch(&settle, NULL, SENDIT_PASS, "", ""));
    assert_misuse(f, settle.batch(&settle, "", SENDIT_PASS, "", ""));
    assert_misuse(f, settle.batch(&settle, filled, SENDIT_PASS, "", ""));
    assert_misuse(f, settle.batch(&settle, "b7", SENDIT_RETRY, "", ""));
    assert_misuse(f, settle.batch(&settle, "b7", SENDIT_LATER, "", ""));
    assert_misuse(f, settle.batch(&settle, "b7", 77, "", ""));
    assert_int_equal(settle.batch(NULL, "b7", SENDIT_PASS, "", ""), SENDIT_EINVAL);
    assert_misuse(f, compare.differs(&compare, "mine.gone", NULL, "Gone."));
    assert_misuse(f, compare.differs(&compare, "mine.gone", "", "Gone."));
    assert_misuse(f, compare.counted(&compare, NULL, 1));
    assert_misuse(f, compare.counted(&compare, "two words", 1));
    assert_string_equal(f->link.last_told, "");
    /* Kept beyond its callback it is good for nothing. */
    host_leave(&f->host);
    host_enter(&f->host);
    assert_misuse(f, settle.batch(&settle, "b7", SENDIT_PASS, "", ""));
    assert_misuse(f, compare.differs(&compare, "mine.gone", "x", "Gone."));
    assert_misuse(f, compare.counted(&compare, "objects", 1));
    assert_string_equal(f->link.last_told, "");
}

static void compare_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct sendit_compare compare = host_compare_table(&f->host);
    const char *made;

    f->env.comparing = true;
    assert_int_equal(compare.differs(&compare, "mine.gone", "gs://b/o", "Gone."), SENDIT_OK);
    assert_string_equal(f->link.last_told, "mine1|mine.gone|gs://b/o|Gone.");
    assert_int_equal(compare.counted(&compare, "objects", UINT64_MAX), SENDIT_OK);
    assert_string_equal(f->link.last_told, "mine1|objects|18446744073709551615");
    assert_fails(f, host_store.put(f->h, "a", "one", 3, 0), SENDIT_EDENIED);
    assert_fails(f, host_store.put(f->h, "a", NULL, 0, 0), SENDIT_EDENIED);
    assert_fails(f, host_store.append(f->h, "a.b", "{}"), SENDIT_EDENIED);
    assert_fails(f, host_ids.assign(f->h, "patient", "Anna", "P1", &made), SENDIT_EDENIED);
    /* What is keyed is made, and not kept. */
    assert_int_equal(host_ids.pseudonym(f->h, "patient", "Anna", &made), SENDIT_OK);
    assert_int_equal(host_ids.uid(f->h, "1.2.3", &made), SENDIT_OK);
    assert_int_equal(f->link.store.n + f->link.walk.n + f->link.noted, 0);
    assert_string_equal(f->link.last_audit, "");
}

/* ---- secrets ---- */

static void write_secret(struct fixture *f, const void *data, size_t length, mode_t mode)
{
    unlink(f->secret + 5);
    assert_int_equal(file_replace(f->secret + 5, data, length, mode), 0);
}

static void secrets_are_read(void **state)
{
    struct fixture *f = *state;
    const char *value = NULL;

    assert_fails(f, host_secrets.get(f->h, "no_key", &value), SENDIT_EABSENT);
    unsetenv("TEST_SERVICES_SECRET");
    assert_fails(f, host_secrets.get(f->h, "env_key", &value), SENDIT_EIO);
    setenv("TEST_SERVICES_SECRET", "hush", 1);
    assert_int_equal(host_secrets.get(f->h, "env_key", &value), SENDIT_OK);
    assert_string_equal(value, "hush");
    write_secret(f, "user:word\n", 10, 0600);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "user:word");
    write_secret(f, "a\n\n", 3, 0400); /* one line end goes, no more */
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "a\n");
    write_secret(f, "a\r\n", 3, 0600);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "a");
    write_secret(f, "", 0, 0600);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "");
    unsetenv("TEST_SERVICES_SECRET");
}

/* A path that the environment has; as a default that is not set it is as if left out. */
static void secrets_are_where_the_environment_says(void **state)
{
    struct fixture *f = *state;
    struct plan_value *other = &f->values[5];
    char *before = other->text;
    const char *value;

    write_secret(f, "hush", 4, 0600);
    assert_string_equal(other->option->name, "file_key");
    other->text = (char *)"file:$TEST_SERVICES_PATH";
    unsetenv("TEST_SERVICES_PATH");
    other->given = false;
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EABSENT);
    assert_fails(f, host_secrets.put(f->h, "file_key", "new"), SENDIT_EABSENT);
    assert_int_equal(atomic_load(&f->host.said), 0);
    other->given = true;
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EIO);
    assert_int_equal(atomic_load(&f->host.said), 1); /* and it was said */
    setenv("TEST_SERVICES_PATH", f->secret + 5, 1);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "hush");
    assert_int_equal(host_secrets.put(f->h, "file_key", "new"), SENDIT_OK);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "new");
    unsetenv("TEST_SERVICES_PATH");
    other->text = before;
}

/* The first place of a default that counts; what counts and cannot be used is an error. */
static void a_default_secret_is_in_the_first_place_that_counts(void **state)
{
    struct fixture *f = *state;
    struct plan_value *other = &f->values[5];
    char *before = other->text, text[256], blank[128];
    const char *value;

    write_secret(f, "hush", 4, 0600);
    other->given = false;
    other->text = (char *)"file:$SERVICES_A  file:$SERVICES_B/secret file:$SERVICES_C/./secret";
    unsetenv("SERVICES_A");
    unsetenv("SERVICES_B");
    unsetenv("SERVICES_C");
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EABSENT);
    assert_fails(f, host_secrets.put(f->h, "file_key", "new"), SENDIT_EABSENT);
    setenv("SERVICES_B", "", 1);
    setenv("SERVICES_C", "/nowhere", 1);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EABSENT);
    setenv("SERVICES_B", f->secret + 5, 1); /* below a file there is nothing */
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EABSENT);
    assert_int_equal(atomic_load(&f->host.said), 0);
    setenv("SERVICES_C", f->folder, 1);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "hush");
    assert_int_equal(host_secrets.put(f->h, "file_key", "new"), SENDIT_OK);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "new");
    /* the first goes before it, also where it cannot be read */
    setenv("SERVICES_A", "/nowhere/secret", 1);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EIO);
    setenv("SERVICES_A", "", 1);
    /* and so does one below a variable that is there and open to others, or no file */
    setenv("SERVICES_B", f->folder, 1);
    setenv("SERVICES_C", "/nowhere", 1);
    write_secret(f, "hush", 4, 0644);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EDENIED);
    unlink(f->secret + 5);
    assert_int_equal(symlink("/nowhere", f->secret + 5), 0);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EDENIED);
    unlink(f->secret + 5);
    /* one that is given must be there */
    other->given = true;
    other->text = text;
    snprintf(text, sizeof(text), "file:$SERVICES_B/secret");
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EIO);
    write_secret(f, "hush", 4, 0600);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    unsetenv("SERVICES_B");
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EIO);
    /* a variable itself */
    other->given = false;
    other->text = (char *)"env:SERVICES_B env:SERVICES_C";
    setenv("SERVICES_C", "third", 1);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "third");
    unsetenv("SERVICES_C");
    /* a file of the pipeline's folder, which has blanks in its name */
    snprintf(blank, sizeof(blank), "%s/of my  own", f->folder);
    assert_int_equal(mkdir(blank, 0700), 0);
    snprintf(text, sizeof(text), "%s/key", blank);
    assert_int_equal(file_replace(text, "hush", 4, 0600), 0);
    snprintf(text, sizeof(text), "file:$SERVICES_A/x  file:%s/key env:SERVICES_C ", blank);
    unsetenv("SERVICES_A");
    other->text = text;
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "hush");
    snprintf(text, sizeof(text), "%s/key", blank);
    assert_int_equal(unlink(text), 0);
    assert_int_equal(rmdir(blank), 0);
    other->text = before;
}

static void secrets_are_replaced(void **state)
{
    struct fixture *f = *state;
    const char *value;
    struct stat st;

    assert_int_equal(host_secrets.put(f->h, "file_key", "new"), SENDIT_OK);
    assert_int_equal(stat(f->secret + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    assert_string_equal(value, "new");
    assert_fails(f, host_secrets.put(f->h, "env_key", "new"), SENDIT_EDENIED);
    assert_fails(f, host_secrets.put(f->h, "no_key", "new"), SENDIT_EABSENT);
    assert_misuse(f, host_secrets.put(f->h, "file_key", NULL));
    assert_misuse(f, host_secrets.put(f->h, "name", "x"));
    assert_misuse(f, host_secrets.put(f->h, NULL, "x"));
    unlink(f->secret + 5);
    assert_int_equal(symlink("/etc/hostname", f->secret + 5), 0);
    assert_fails(f, host_secrets.put(f->h, "file_key", "x"), SENDIT_EDENIED);
}

static void secrets_refuse(void **state)
{
    struct fixture *f = *state;
    char *big = malloc(HOST_MAX_SECRET + 2), other[100];
    const char *value = NULL;

    assert_non_null(big);
    memset(big, 's', HOST_MAX_SECRET + 1);
    big[HOST_MAX_SECRET + 1] = '\0';
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EIO); /* not there */
    write_secret(f, "s3cret", 6, 0640);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EDENIED);
    assert_non_null(strstr(f->link.last_message, "chmod 600"));
    assert_null(strstr(f->link.last_message, "s3cret"));
    write_secret(f, "s3cret", 6, 0604);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EDENIED);
    write_secret(f, "s\0t", 3, 0600);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_ECORRUPT);
    write_secret(f, big, HOST_MAX_SECRET, 0600);
    assert_int_equal(host_secrets.get(f->h, "file_key", &value), SENDIT_OK);
    value = NULL;
    write_secret(f, big, HOST_MAX_SECRET + 1, 0600);
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_ECORRUPT);
    snprintf(other, sizeof(other), "%s/other", f->folder);
    assert_int_equal(file_replace(other, "hush", 4, 0600), 0);
    unlink(f->secret + 5);
    assert_int_equal(symlink(other, f->secret + 5), 0); /* to one that would do */
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EDENIED);
    unlink(other);
    unlink(f->secret + 5);
    assert_int_equal(mkfifo(f->secret + 5, 0600), 0); /* and does not hang on it */
    assert_fails(f, host_secrets.get(f->h, "file_key", &value), SENDIT_EDENIED);
    unlink(f->secret + 5);
    setenv("TEST_SERVICES_SECRET", big, 1);
    assert_fails(f, host_secrets.get(f->h, "env_key", &value), SENDIT_ECORRUPT);
    unsetenv("TEST_SERVICES_SECRET");
    assert_misuse(f, host_secrets.put(f->h, "file_key", big));
    assert_misuse(f, host_secrets.get(f->h, "name", &value));
    assert_misuse(f, host_secrets.get(f->h, "nmae", &value));
    assert_misuse(f, host_secrets.get(f->h, NULL, &value));
    assert_misuse(f, host_secrets.get(f->h, "env_key", NULL));
    assert_null(value);
    free(big);
}

/* ---- spool ---- */

static void spool_lives_as_long_as_the_batch(void **state)
{
    struct fixture *f = *state;
    int fd = -1, again = -1, other = -1;
    struct stat st;
    char name[32];

    assert_int_equal(host_spool.open(f->h, "pack.tar", &fd), SENDIT_OK);
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(host_spool.open(f->h, "other", &other), SENDIT_OK);
    host_leave(&f->host);
    host_enter(&f->host);
    assert_int_equal(host_spool.open(f->h, "pack.tar", &again), SENDIT_OK);
    assert_int_equal(fd, again);
    assert_int_not_equal(fd, other);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(st.st_nlink, 0); /* no name on disk, whatever happens */
    host_end_batch(&f->host);
    assert_int_equal(fcntl(other, F_GETFD), -1);
    assert_int_equal(host_spool.open(f->h, "pack.tar", &fd), SENDIT_OK);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    for (int i = 1; i < HOST_MAX_SPOOL; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(host_spool.open(f->h, name, &fd), SENDIT_OK);
    }
    assert_fails(f, host_spool.open(f->h, "one-more", &fd), SENDIT_ENOMEM);
}

static void spool_refuses(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {NULL,  "",   ".", "..",  ".hidden",
                                      "a/b", "/a", "A", "a b", "a\n"};
    int fd = -7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_misuse(f, host_spool.open(f->h, bad[i], &fd));
    assert_misuse(f, host_spool.open(f->h, filled, &fd));
    assert_misuse(f, host_spool.open(f->h, "a", NULL));
    f->env.batch_open = false;
    assert_misuse(f, host_spool.open(f->h, "a", &fd));
    f->env.batch_open = true;
    f->env.scratch = "/nonexistent";
    assert_fails(f, host_spool.open(f->h, "a", &fd), SENDIT_EIO);
    f->env.scratch = NULL;
    assert_fails(f, host_spool.open(f->h, "a", &fd), SENDIT_EIO);
    assert_int_equal(fd, -7);
}

/* ---- metrics ---- */

static void metrics_are_counted(void **state)
{
    struct fixture *f = *state;

    host_metrics.add(f->h, "seen", 2);
    host_metrics.add(f->h, "seen", 3);
    assert_string_equal(map_get(&f->link.counters, "mine1/seen"), "5");
    host_metrics.observe(f->h, "seconds", 0.25);
    host_metrics.observe(f->h, "seconds", 1.5);
    assert_string_equal(map_get(&f->link.counters, "mine1/seconds.count"), "2");
    assert_string_equal(map_get(&f->link.counters, "mine1/seconds.sum_micro"), "1750000");
    host_metrics.observe(f->h, "seconds", 0.0 / 0.0);
    host_metrics.observe(f->h, "seconds", 1e300);
    assert_string_equal(map_get(&f->link.counters, "mine1/seconds.count"), "2");
    assert_false(f->host.bug);
    host_metrics.add(f->h, NULL, 1);
    assert_misuse(f, SENDIT_EINVAL);
    host_metrics.add(f->h, "Patient Name", 1);
    assert_misuse(f, SENDIT_EINVAL);
    host_metrics.observe(f->h, NULL, 1);
    assert_misuse(f, SENDIT_EINVAL);
    host_metrics.add(NULL, "seen", 1);
    host_metrics.observe(NULL, "seen", 1);
    host_leave(&f->host); /* [any] */
    host_metrics.add(f->h, "seen", 1);
    assert_string_equal(map_get(&f->link.counters, "mine1/seen"), "6");
}

/* ---- no ledger ---- */

/* As in check(): what has nowhere to go answers EIO. */
static void works_without_a_link(void **state)
{
    struct fixture *f = *state;
    const void *value;
    const char *text;
    uint64_t revision;
    int64_t since;
    size_t length;

    know(f);
    f->env.link = NULL;
    assert_fails(f, host_store.get(f->h, "a", &value, &length, &revision), SENDIT_EIO);
    assert_fails(f, host_store.put(f->h, "a", "b", 1, 0), SENDIT_EIO);
    assert_fails(f, host_store.next(f->h, "", &text), SENDIT_EIO);
    assert_fails(f, host_store.lock(f->h, "a"), SENDIT_EIO);
    assert_fails(f, host_store.append(f->h, "a", "{}"), SENDIT_EIO);
    assert_fails(f, host_facts.put(f->h, NULL, "a", "b"), SENDIT_EIO);
    assert_fails(f, host_ids.pseudonym(f->h, "patient", "a", &text), SENDIT_EIO);
    assert_fails(f, host_ids.uid(f->h, "1.2", &text), SENDIT_EIO);
    assert_fails(f, host_ids.lookup(f->h, "patient", "a", &text, &since), SENDIT_EIO);
    assert_fails(f, host_ids.assign(f->h, "patient", "a", "b", &text), SENDIT_EIO);
    assert_fails(f, f->h->hold(f->h, "item9", SENDIT_RETRY, "a", "b"), SENDIT_EIO);
    host_metrics.add(f->h, "seen", 1);
    assert_null(host_config.text(f->h, "nmae"));
    assert_true(f->host.bug);
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(gives_what_is_declared),
        EACH(logs_and_tells_the_time),
        EACH(holds),
        EACH(refuses_outside_a_callback),
        EACH(refuses_without_a_host),
        EACH(refuses_other_threads),
        EACH(a_data_set_is_for_its_callback),
        EACH(odd_elements_are_the_images_fault),
        EACH(originals_are_from_before_any_edit),
        EACH(originals_are_taken_if_a_stage_declares_them),
        EACH(a_flood_of_lines_is_cut),
        EACH(config_shows_values),
        EACH(config_refuses_the_wrong_form),
        EACH(dicom_refuses_nothing_at_all),
        EACH(deid_compiles_once),
        EACH(deid_applies_in_hand_only),
        EACH(ids_know_the_patient),
        EACH(ids_are_keyed_and_kept),
        EACH(ids_map_uids),
        EACH(ids_are_assigned_once),
        EACH(ids_never_merge_two),
        EACH(ids_refuse),
        EACH(facts_wait_for_the_pass),
        EACH(facts_of_others_go_at_once),
        EACH(facts_of_held_items_are_hidden),
        EACH(facts_refuse),
        EACH(store_keeps),
        EACH(store_locks_until_the_callback_returns),
        EACH(store_refuses),
        EACH(settle_tells),
        EACH(settle_refuses),
        EACH(compare_changes_nothing),
        EACH(secrets_are_read),
        EACH(secrets_are_where_the_environment_says),
        EACH(a_default_secret_is_in_the_first_place_that_counts),
        EACH(secrets_are_replaced),
        EACH(secrets_refuse),
        EACH(spool_lives_as_long_as_the_batch),
        EACH(spool_refuses),
        EACH(metrics_are_counted),
        EACH(works_without_a_link),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
