/* SPDX-License-Identifier: Apache-2.0 */
/* What `sendit test-stage` is made of: its memory, its faults, its canned answers, its cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "harness/canned.h"
#include "harness/case.h"
#include "harness/feed.h"
#include "harness/look.h"
#include "harness/make.h"
#include "harness/memory.h"
#include "harness/spy.h"
#include "harness/text.h"
#include "harness/work.h"

/* ---- text ---- */

static void check_diff(const char *expected, const char *found, const char *diff)
{
    struct buf buf = {0};

    text_diff(expected, found, &buf);
    assert_string_equal(buf.data ? buf.data : "", diff);
    buf_fini(&buf);
}

static void test_diff(void **state)
{
    (void)state;
    check_diff("a\nb", "a\nb", "");
    check_diff("", "a", "+ a\n");
    check_diff("a", "", "- a\n");
    check_diff("a\nb\nc", "a\nx\nc", "  a\n- b\n+ x\n  c\n");
    check_diff("a\nb", "b", "- a\n  b\n");
    /* three lines around a change, and a mark for what is left out */
    check_diff("1\n2\n3\n4\n5\n6\n7\n8\n9", "1\n2\n3\n4\n5\n6\n7\n8\nX",
               "  ...\n  6\n  7\n  8\n- 9\n+ X\n");
    check_diff("a\na\na", "a", "  a\n- a\n- a\n");
}

static void check_text(const void *data, size_t length, const char *shown)
{
    json_t *json = text_bytes(data, length);
    char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);

    assert_string_equal(text, shown);
    free(text);
    json_decref(json);
}

static void test_bytes(void **state)
{
    (void)state;
    check_text("", 0, "\"\"");
    check_text("plain\n", 6, "\"plain\\n\"");
    check_text("\0", 1,
               "{\"bytes\":1,\"sha256\":"
               "\"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d\"}");
    check_text("\xff", 1,
               "{\"bytes\":1,\"sha256\":"
               "\"a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89\"}");
}

static void test_order(void **state)
{
    static const char *const order[] = {"verdict", "code", NULL};
    json_t *json = json_loads("{\"z\":1,\"code\":2,\"a\":{\"y\":[{\"b\":1,\"verdict\":2}]},"
                              "\"verdict\":3}",
                              0, NULL);
    char *text = text_dump(json, order);

    (void)state;
    assert_string_equal(text, "{\n  \"verdict\": 3,\n  \"code\": 2,\n  \"a\": {\n    \"y\": [\n"
                              "      {\n        \"verdict\": 2,\n        \"b\": 1\n      }\n"
                              "    ]\n  },\n  \"z\": 1\n}");
    free(text);
    json_decref(json);
}

/* ---- faults ---- */

static void check_fault(const char *text, const char *sentence)
{
    struct spy_fault fault;
    struct err err = {0};

    assert_int_equal(spy_parse(text, &fault, &err), -1);
    if (!strstr(err.text, sentence))
        fail_msg("\"%s\": \"%s\" has no \"%s\"", text, err.text, sentence);
}

static void test_faults(void **state)
{
    struct spy_fault fault;
    struct err err;

    (void)state;
    assert_int_equal(spy_parse("facts.put: EIO on the 2nd call", &fault, &err), 0);
    assert_true(fault.calls == UINT64_C(1) << SPY_FACT_PUT);
    assert_int_equal(fault.nth, 2);
    assert_int_equal(fault.answer, SENDIT_EIO);
    assert_int_equal(spy_parse("http: ENOMEM", &fault, &err), 0);
    assert_true(fault.calls == (UINT64_C(1) << SPY_HTTP_SEND | UINT64_C(1) << SPY_HTTP_START |
                                UINT64_C(1) << SPY_HTTP_DRAIN));
    assert_int_equal(fault.nth, 0);
    assert_int_equal(spy_parse("dicom.put: ECORRUPT on the 101st call", &fault, &err), 0);
    assert_true(fault.calls == UINT64_C(1) << SPY_PUT);
    assert_int_equal(fault.nth, 101);
}

static void test_bad_faults(void **state)
{
    (void)state;
    check_fault("", "there is no call");
    check_fault("fact.put: EIO", "there is no call");
    check_fault("facts.pu: EIO", "there is no call");
    check_fault(": EIO", "there is no call");
    check_fault("facts.put", "expected an error behind");
    check_fault("facts.put:EIO", "expected an error behind");
    check_fault("facts.put: EPERM", "there is no error");
    check_fault("facts.put: OK", "there is no error");
    check_fault("facts.put: ", "there is no error");
    check_fault("facts.put: EIO on the second call", "nothing, or");
    check_fault("facts.put: EIO on the 0th call", "nothing, or");
    check_fault("facts.put: EIO on the 2xx call", "nothing, or");
    check_fault("facts.put: EIO on the 2nd calls", "nothing, or");
    check_fault("facts.put: EIO on the 2", "nothing, or");
    check_fault("facts.put: EIO on the 9999999th call", "nothing, or");
    check_fault("facts.put: EIO now", "nothing, or");
}

/* Each function has a name of its own, and what it may answer is an error. */
static void test_spied(void **state)
{
    char room[16];

    (void)state;
    for (int i = 0; i < SPY_N; i++) {
        assert_non_null(spy_about[i].name);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(spy_about[i].name, spy_about[j].name);
        for (int j = 0; j < SPY_MAX_ERRORS && spy_about[i].errors[j]; j++)
            assert_int_equal(spy_result(spy_about[i].errors[j], room)[0], 'E');
    }
    assert_string_equal(spy_result(-77, room), "-77");
}

/* ---- the memory ---- */

static void test_store(void **state)
{
    struct memory memory;
    const struct host_link *link = &memory.table;
    const void *value;
    const char *key;
    uint64_t revision = 0;
    size_t length;
    json_t *shown;

    (void)state;
    assert_int_equal(memory_init(&memory, 1000), 0);
    assert_int_equal(link->store_get(link->ctx, "s", "k", &value, &length, &revision),
                     SENDIT_EABSENT);
    assert_int_equal(link->store_put(link->ctx, "s", "k", "v", 1, 1), SENDIT_ECONFLICT);
    assert_int_equal(link->store_put(link->ctx, "s", "k", "v", 1, 0), SENDIT_OK);
    assert_int_equal(link->store_put(link->ctx, "s", "k", "w", 1, 0), SENDIT_ECONFLICT);
    assert_int_equal(link->store_get(link->ctx, "s", "k", &value, &length, &revision), SENDIT_OK);
    assert_int_equal(revision, 1);
    assert_memory_equal(value, "v", 2);
    assert_int_equal(memory_preset(&memory, "j", "first"), 0);
    assert_int_equal(link->store_next(link->ctx, "s", "", &key), SENDIT_OK);
    assert_string_equal(key, "j");
    assert_int_equal(link->store_next(link->ctx, "s", "j", &key), SENDIT_OK);
    assert_string_equal(key, "k");
    assert_int_equal(link->store_next(link->ctx, "s", "k", &key), SENDIT_EABSENT);
    assert_int_equal(link->store_put(link->ctx, "s", "k", NULL, 0, 1), SENDIT_OK);
    assert_int_equal(link->store_get(link->ctx, "s", "k", &value, &length, &revision),
                     SENDIT_EABSENT);
    shown = memory_store(&memory);
    assert_int_equal(json_object_size(shown), 1);
    json_decref(shown);
    memory_fini(&memory);
}

static void test_crosswalk(void **state)
{
    struct memory memory;
    const struct host_link *link = &memory.table;
    const char *stands;
    int64_t since;

    (void)state;
    assert_int_equal(memory_init(&memory, 1000), 0);
    assert_int_equal(link->crosswalk_get(link->ctx, "d", "o", &stands, &since), SENDIT_EABSENT);
    assert_int_equal(link->crosswalk_put(link->ctx, "d", "o", "p", &stands), SENDIT_OK);
    assert_string_equal(stands, "p");
    assert_int_equal(link->crosswalk_put(link->ctx, "d", "o", "q", &stands), SENDIT_OK);
    assert_string_equal(stands, "p");
    assert_int_equal(link->crosswalk_put(link->ctx, "d", "other", "p", &stands), SENDIT_ECONFLICT);
    assert_int_equal(link->crosswalk_put(link->ctx, "e", "other", "p", &stands), SENDIT_OK);
    assert_int_equal(link->crosswalk_get(link->ctx, "d", "o", &stands, &since), SENDIT_OK);
    assert_int_equal(since, 1000);
    memory_fini(&memory);
}

static void test_told(void **state)
{
    struct memory memory;
    const struct host_link *link = &memory.table;
    char room[16];

    (void)state;
    assert_int_equal(memory_init(&memory, 1000), 0);
    assert_int_equal(link->now_ms(link->ctx), 1000);
    assert_int_equal(link->now_ms(link->ctx), 1001);
    link->metric(link->ctx, "s", "n", 2);
    link->metric(link->ctx, "s", "n", 3);
    assert_int_equal(json_integer_value(json_object_get(memory.metrics, "n")), 5);
    memory_log(&memory, SENDIT_DEBUG, "not.told");
    memory_log(&memory, SENDIT_WARN, "was.told");
    memory_log(&memory, 99, NULL);
    assert_int_equal(json_array_size(memory.log), 2);
    assert_string_equal(json_string_value(json_array_get(memory.log, 0)), "warn was.told");
    assert_string_equal(json_string_value(json_array_get(memory.log, 1)), "error stage.said");
    assert_string_equal(memory_verdict(SENDIT_RETRY, room), "RETRY");
    assert_string_equal(memory_verdict(7, room), "7");
    assert_string_equal(memory_verdict(-1, room), "-1");
    memory_fini(&memory);
}

/* ---- the feed ---- */

static void test_feed(void **state)
{
    struct feed_book book;
    const struct sendit_feed *feed = &book.table;
    char *text;

    (void)state;
    assert_int_equal(feed_init(&book, "/work"), 0);
    assert_int_equal(feed->add(feed, "/work/a"), SENDIT_EINVAL);
    assert_int_equal(feed->close_batch(feed), SENDIT_EINVAL);
    assert_int_equal(feed->open_batch(feed, ""), SENDIT_EINVAL);
    assert_int_equal(feed->open_batch(feed, "/work/in"), SENDIT_OK);
    assert_int_equal(feed->open_batch(feed, "/work/in"), SENDIT_EINVAL);
    assert_int_equal(feed->add(feed, "relative"), SENDIT_EINVAL);
    assert_int_equal(feed->add(feed, "/work/in/b"), SENDIT_OK);
    assert_int_equal(feed->add(feed, "/work/in/a"), SENDIT_OK);
    assert_int_equal(feed->ignore(feed, "/elsewhere", NULL), SENDIT_OK);
    assert_int_equal(feed->when_done(feed, 7, NULL), SENDIT_EINVAL);
    assert_int_equal(feed->when_done(feed, SENDIT_MOVE, "done"), SENDIT_EINVAL);
    assert_int_equal(feed->when_done(feed, SENDIT_MOVE, "/work/done"), SENDIT_OK);
    assert_int_equal(feed->close_batch(feed), SENDIT_OK);
    assert_int_equal(feed->open_batch(feed, "forgotten"), SENDIT_OK);
    feed_forget(&book);
    text = json_dumps(book.batches, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "[{\"files\":[\"in/a\",\"in/b\"],\"ignored\":{\"/elsewhere\":"
                              "\"import.ignored\"},\"key\":\"in\",\"when_done\":\"move done\"}]");
    free(text);
    assert_false(book.failed);
    feed_fini(&book);
}

/* ---- cases ---- */

static char folder[] = "/tmp/sendit-harness-XXXXXX";

static void put(const char *name, const char *text)
{
    char path[200];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

static void drop(const char *name)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    unlink(path);
}

/* The sentence, without the folder. */
static void check_case(const char *file, const char *text, const char *sentence)
{
    struct test_case tc;
    struct err err = {0};
    const char *at;

    put(file, text);
    assert_int_equal(case_read(&tc, folder, &err), -1);
    at = strstr(err.text, file);
    if (!at || strncmp(at, sentence, strlen(sentence)))
        fail_msg("%s gives \"%s\"", text, err.text);
    case_fini(&tc);
    drop(file);
}

static void test_bad_cases(void **state)
{
    (void)state;
    check_case("host.json", "{ \"lables\": \"\" }",
               "host.json:1:3: lables: there is no such key; did you mean \"labels\"?");
    check_case("host.json", "{\n  \"labels\": 1 }",
               "host.json:2:13: labels: text was expected, this is");
    check_case("host.json", "[]", "host.json:1:1: an object was expected");
    check_case("host.json", "{", "host.json:1:2: ");
    check_case("host.json", "{ \"faults\": [\"x: EIO\"] }",
               "host.json:1:14: faults[0]: there is no call \"x\"");
    check_case("host.json", "{ \"faults\": \"http: EIO\" }",
               "host.json:1:13: faults: an array of text was expected");
    check_case("host.json", "{ \"facts\": { \"a\": 1 } }",
               "host.json:1:19: facts.a: text was expected");
    check_case("host.json", "{ \"clock\": \"noon\" }", "host.json:1:12: clock: a time such as");
    check_case("host.json", "{ \"cancel\": 0 }", "host.json:1:13: cancel: a number from 1 to 1000");
    check_case("host.json", "{ \"attempts\": -1 }",
               "host.json:1:15: attempts: a whole number was expected");
    check_case("host.json", "{ \"attempts\": 101 }",
               "host.json:1:15: attempts: a number from 1 to 100 was expected");
    check_case("host.json", "{ \"end\": \"stop\" }",
               "host.json:1:10: end: one of finish|abandon was expected");
    check_case("host.json", "{ \"items\": { \"a\": { \"fact\": {} } } }",
               "host.json:1:21: items.a.fact: there is no such key; did you mean \"facts\"?");
    check_case("host.json", "{ \"tree\": { \"a\": \"text\" } }",
               "host.json:1:18: tree.a: an object was expected");
    check_case("host.json",
               "{ \"http\": [{ \"request\": { \"method\": \"GET\" }, \"answer\": {} }] }",
               "host.json:1:25: http[0].request: \"url\" is missing here");
    check_case("host.json", "{ \"crosswalk\": { \"patient\": { \"a\": 1 } } }",
               "host.json:1:36: crosswalk.patient.a: text was expected");
    check_case("expect.json", "{ \"verdict\": \"PASSED\" }",
               "expect.json:1:14: verdict: one of FAIL|PASS|SKIP|QUARANTINE|RETRY was expected");
    check_case("expect.json", "{ \"items\": { \"a\": { } } }",
               "expect.json:1:19: items.a: \"verdict\" is missing here");
    check_case("expect.json", "{ \"metrics\": { \"a\": \"1\" } }",
               "expect.json:1:21: metrics.a: a whole number was expected");
    check_case("expect.json", "{ \"verdict\": \"PASS\", \"verdict\": \"FAIL\" }", "expect.json:1:");
    check_case("expect.json", "{ \"verdit\": \"PASS\" }",
               "expect.json:1:3: verdit: there is no such key; did you mean \"verdict\"?");
}

static void test_case_inputs(void **state)
{
    struct test_case tc;
    struct err err = {0};

    (void)state;
    put("in.dcm", "x");
    put("in.dump", "x");
    assert_int_equal(case_read(&tc, folder, &err), -1);
    assert_non_null(strstr(err.text, "more than one of in.dcm, in.dump and in/"));
    case_fini(&tc);
    drop("in.dcm");
    put("host.json", "{ \"clock\": \"2026-11-24T10:15:00Z\", \"end\": \"abandon\" }");
    assert_int_equal(case_read(&tc, folder, &err), 0);
    assert_int_equal(tc.input, CASE_DUMP);
    assert_true(tc.clock_ms == INT64_C(1795515300000));
    assert_true(tc.abandon);
    assert_string_equal(tc.name, strrchr(folder, '/') + 1);
    case_fini(&tc);
    drop("in.dump");
    drop("host.json");
    assert_false(case_is_one(folder));
    assert_int_equal(case_read(&tc, "/nowhere", &err), -1);
    case_fini(&tc);
}

/* ---- the folder of a trial ---- */

static void check_tree(const char *host, bool sound)
{
    struct test_case tc;
    struct err err = {0};
    struct work work;
    char *path = work_folder();

    put("host.json", host);
    assert_non_null(path);
    assert_int_equal(case_read(&tc, folder, &err), 0);
    assert_int_equal(work_init(&work, path, &tc, &err), 0);
    assert_int_equal(work_plant(&work, &tc, NULL, &err), sound ? 0 : -1);
    work_fini(&work);
    case_fini(&tc);
    work_remove(path);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    drop("host.json");
}

static void test_tree(void **state)
{
    (void)state;
    check_tree(
        "{ \"tree\": { \"a/b/c\": { \"text\": \"x\", \"mode\": \"0400\" }, \"d\": { \"folder\":"
        " true, \"mode\": \"0000\" }, \"e\": { \"link\": \"nowhere\" }, \"f\": { \"fifo\": true"
        " } } }",
        true);
    check_tree("{ \"tree\": { \"../a\": {} } }", false);
    check_tree("{ \"tree\": { \"a/../../b\": {} } }", false);
    check_tree("{ \"tree\": { \"/tmp/a\": {} } }", false);
    check_tree("{ \"tree\": { \".\": {} } }", false);
    check_tree("{ \"tree\": { \"a\": {}, \"a/b\": {} } }", false);
}

static void test_changes(void **state)
{
    struct work work;
    struct err err;
    char *path = work_folder(), *text, name[200];
    json_t *changes;

    (void)state;
    assert_int_equal(work_init(&work, path, NULL, &err), 0);
    for (const char *at = "abc"; *at; at++) {
        snprintf(name, sizeof(name), "%s/%c", path, *at);
        assert_int_equal(file_replace(name, "x", 1, 0600), 0);
    }
    assert_int_equal(work_remember(&work), 0);
    snprintf(name, sizeof(name), "%s/a", path);
    unlink(name);
    snprintf(name, sizeof(name), "%s/b", path);
    assert_int_equal(file_replace(name, "y", 1, 0600), 0);
    snprintf(name, sizeof(name), "%s/d", path);
    assert_int_equal(symlink("c", name), 0);
    changes = work_changes(&work);
    text = json_dumps(changes, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "{\"a\":null,\"b\":\"y\",\"d\":{\"link\":\"c\"}}");
    free(text);
    json_decref(changes);
    work_fini(&work);
    work_remove(path);
    free(path);
}

/* ---- what is made, and how it looks ---- */

static void test_made(void **state)
{
    const struct dicom_limits limits = {.max_inflate = 1 << 20};
    struct dicom_refusal refusal;
    struct dicom_object *object;
    struct err err;
    struct stat st;
    struct dicom *dicom = dicom_new(&limits, folder, &err);
    char path[200];
    json_t *look, *after;

    (void)state;
    assert_non_null(dicom);
    snprintf(path, sizeof(path), "%s/x.dcm", folder);
    assert_int_equal(make_image(path, 60), 0);
    assert_int_equal(dicom_open(dicom, path, &object, &st, &refusal), 0);
    look = look_at(object);
    assert_string_equal(json_string_value(json_object_get(look, "PatientName")), "Sample^Sam");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(look, "PixelData"), "bytes")), 32);
    dicom_begin(object, true);
    assert_int_equal(dicom_put(dicom_dataset(object), 0x00100010, "New"), SENDIT_OK);
    assert_int_equal(dicom_erase(dicom_dataset(object), 0x00100020), SENDIT_OK);
    after = look_at(object);
    json_decref(look_difference(look, look));
    json_t *changes = look_difference(look, after);
    char *text = json_dumps(changes, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, "{\"PatientID\":null,\"PatientName\":\"New\"}");
    free(text);
    json_decref(changes);
    json_decref(look);
    json_decref(after);
    dicom_close(object);
    assert_int_equal(make_empty(path), 0);
    assert_int_equal(dicom_open(dicom, path, &object, &st, &refusal), 0);
    dicom_close(object);
    assert_int_equal(make_image(path, 65), 0);
    assert_int_equal(dicom_open(dicom, path, &object, &st, &refusal), -1);
    assert_string_equal(refusal.code, "dicom.too_deep");
    dicom_free(dicom);
    unlink(path);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    work_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diff),       cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_order),      cmocka_unit_test(test_faults),
        cmocka_unit_test(test_bad_faults), cmocka_unit_test(test_spied),
        cmocka_unit_test(test_store),      cmocka_unit_test(test_crosswalk),
        cmocka_unit_test(test_told),       cmocka_unit_test(test_feed),
        cmocka_unit_test(test_bad_cases),  cmocka_unit_test(test_case_inputs),
        cmocka_unit_test(test_tree),       cmocka_unit_test(test_changes),
        cmocka_unit_test(test_made),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
