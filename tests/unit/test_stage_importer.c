/* SPDX-License-Identifier: Apache-2.0 */
#define SENDIT_ENTRY importer_entry
#include "../../stages/importer/importer.c"
#include "../../stages/importer/folder_heap.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <ftw.h>

#include "fake_host.h"

/* What was fed, one line each: "+ KEY", "  PATH CODE", "done HOW FOLDER", "-". */
static char told[8192], root[64];
static const char *folders[4];
static const char *const ignore_patterns[] = {".DS_Store", "*.log", NULL};

static sendit_result tell(const char *what, const char *path, const char *code)
{
    size_t n = strlen(told);

    if (path && !strncmp(path, root, strlen(root)))
        path += strlen(root);
    snprintf(told + n, sizeof(told) - n, "%s%s%s%s\n", what, path ? path : "", code ? " " : "",
             code ? code : "");
    return SENDIT_OK;
}

static sendit_result feed_open(const struct sendit_feed *feed, const char *key)
{
    (void)feed;
    return tell("+ ", key, NULL);
}

static sendit_result feed_add(const struct sendit_feed *feed, const char *path)
{
    (void)feed;
    return tell("  ", path, NULL);
}

static sendit_result feed_ignore(const struct sendit_feed *feed, const char *path, const char *code)
{
    (void)feed;
    return tell("  ", path, code);
}

static sendit_result feed_done(const struct sendit_feed *feed, int32_t how, const char *folder)
{
    (void)feed;
    return tell(how == SENDIT_MOVE ? "move " : "delete ", folder, NULL);
}

static sendit_result feed_close(const struct sendit_feed *feed)
{
    (void)feed;
    return tell("-", NULL, NULL);
}

static const struct sendit_feed feed = {.open_batch = feed_open,
                                        .add = feed_add,
                                        .ignore = feed_ignore,
                                        .when_done = feed_done,
                                        .close_batch = feed_close};

static char *below(const char *name)
{
    static char path[4][512];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s%s", root, name);
    return path[turn];
}

static void make_folder(const char *name)
{
    assert_int_equal(mkdir(below(name), 0700), 0);
}

static void make_file(const char *name)
{
    int fd = open(below(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    close(fd);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    fake_reset();
    told[0] = '\0';
    snprintf(root, sizeof(root), "/tmp/test-importer-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    folders[0] = root;
    folders[1] = NULL;
    fake_option("folders")->list = folders;
    fake_option("ignore")->list = ignore_patterns;
    fake_option("recursive")->number = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct sendit_stage_state *opened(void)
{
    struct sendit_stage_state *self;
    struct sendit_why why = {0};

    assert_int_equal(start(&fake_host, &self, &why), SENDIT_PASS);
    return self;
}

/* The files of a batch come as the folder has them: sort what is between + and -. */
static int by_line(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_files(void)
{
    char *lines[256], copy[sizeof(told)], *rest = copy, *line;
    size_t n = 0, first = 0;

    memcpy(copy, told, sizeof(told));
    while ((line = strsep(&rest, "\n")) && n < 256)
        lines[n++] = line;
    for (size_t i = 0; i < n; i++)
        if (lines[i][0] != ' ') {
            qsort(lines + first, i - first, sizeof(lines[0]), by_line);
            first = i + 1;
        }
    told[0] = '\0';
    for (size_t i = 0; i + 1 < n; i++)
        snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s\n", lines[i]);
}

static sendit_verdict run(struct sendit_why *why)
{
    struct sendit_stage_state *self = opened();
    sendit_verdict verdict;

    memset(why, 0, sizeof(*why));
    verdict = produce(self, &feed, why);
    if (verdict == SENDIT_PASS)
        assert_int_equal(produce(self, &feed, why), SENDIT_SKIP);
    stop(self);
    sort_files();
    return verdict;
}

static void test_temporary_names(void **state)
{
    static const char *const temporary[] = {"a.tmp",  "a.tmp17", "a.tmp.17", "tmp",
                                            "footmp", "a.part",  "part",     "a.tmp.dcm"};
    static const char *const final[] = {"a", "tmpfile", "a.tm", "part1", "partial", "a.TMP", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(temporary) / sizeof(temporary[0]); i++)
        assert_true(is_temporary(temporary[i]));
    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
        assert_false(is_temporary(final[i]));
}

static void test_empty_folder_is_no_batch(void **state)
{
    struct sendit_why why;

    (void)state;
    make_folder("/a");
    assert_int_equal(run(&why), SENDIT_SKIP);
    assert_string_equal(told, "");
}

static void test_batches_in_byte_order_of_paths(void **state)
{
    struct sendit_why why;

    (void)state;
    make_folder("/a");
    make_folder("/a/z");
    make_folder("/a-b");
    make_folder("/B");
    make_file("/a/1");
    make_file("/a/z/1");
    make_file("/a-b/1");
    make_file("/B/1");
    make_file("/0");
    assert_int_equal(run(&why), SENDIT_PASS);
    assert_string_equal(told, "+ \n  /0\n-\n"
                              "+ /B\n  /B/1\n-\n"
                              "+ /a\n  /a/1\n-\n"
                              "+ /a-b\n  /a-b/1\n-\n"
                              "+ /a/z\n  /a/z/1\n-\n");
}

static void test_heap_gives_byte_order(void **state)
{
    struct folder_heap heap = {0};
    char last[16] = "", path[16];
    unsigned seed = 1;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        seed = seed * 1103515245u + 12345u;
        snprintf(path, sizeof(path), "%u", seed >> 12);
        assert_int_equal(folder_heap_push(&heap, strdup(path), 0, 0), SENDIT_OK);
    }
    for (int i = 0; i < 900; i++) {
        struct folder least = folder_heap_pop(&heap);

        assert_true(strcmp(last, least.path) <= 0);
        snprintf(last, sizeof(last), "%s", least.path);
        free(least.path);
    }
    assert_int_equal(folder_heap_push(&heap, NULL, 0, 0), SENDIT_ENOMEM);
    assert_int_equal(heap.n, 100);
    folder_heap_fini(&heap);
}

static void test_what_is_left_out(void **state)
{
    struct sendit_why why;

    (void)state;
    make_folder("/s.tmp1");
    make_file("/s.tmp1/1");
    make_folder("/x.log");
    make_file("/x.log/1");
    make_folder("/out");
    make_folder("/out/.sendit");
    make_file("/out/1");
    make_file("/.DS_Store");
    make_file("/i.part");
    make_file("/-rf \x01\xff");
    assert_int_equal(mkfifo(below("/fifo"), 0600), 0);
    assert_int_equal(symlink("/etc/passwd", below("/leaves")), 0);
    assert_int_equal(symlink(".", below("/loop")), 0);
    assert_int_equal(run(&why), SENDIT_PASS);
    assert_string_equal(told, "+ \n"
                              "  /-rf \x01\xff\n"
                              "  /.DS_Store import.ignored\n"
                              "  /fifo import.not_regular\n"
                              "  /i.part import.temporary\n"
                              "  /leaves import.symlink\n"
                              "  /loop import.symlink\n"
                              "-\n");
    assert_int_equal(fake_n_logs, 2);
}

static void test_not_recursive(void **state)
{
    struct sendit_why why;

    (void)state;
    fake_option("recursive")->number = 0;
    make_folder("/a");
    make_file("/a/1");
    make_file("/1");
    assert_int_equal(run(&why), SENDIT_PASS);
    assert_string_equal(told, "+ \n  /1\n-\n");
}

static void test_folder_named_twice_and_inside(void **state)
{
    struct sendit_why why;

    (void)state;
    make_folder("/a");
    make_file("/a/1");
    folders[1] = strdup(below("/a"));
    folders[2] = root;
    folders[3] = NULL;
    assert_int_equal(run(&why), SENDIT_PASS);
    assert_string_equal(told, "+ /a\n  /a/1\n-\n");
    free((char *)folders[1]);
}

static void test_bad_roots(void **state)
{
    struct sendit_why why;

    (void)state;
    make_file("/file");
    folders[0] = root;
    folders[1] = below("/gone");
    folders[2] = NULL;
    assert_int_equal(run(&why), SENDIT_FAIL);
    assert_string_equal(why.code, "import.missing");
    assert_non_null(strstr(why.text, "/gone"));
    assert_string_equal(told, ""); /* nothing fed of the one that is there */
    folders[0] = below("/file");
    folders[1] = NULL;
    assert_int_equal(run(&why), SENDIT_FAIL);
    assert_string_equal(why.code, "import.place");
    make_folder("/.sendit");
    folders[0] = root;
    assert_int_equal(run(&why), SENDIT_FAIL);
    assert_string_equal(why.code, "import.place");
}

static void test_depth_is_bounded(void **state)
{
    char path[512] = "";
    struct sendit_why why;

    (void)state;
    for (int i = 0; i <= MAX_DEPTH + 1; i++) {
        strcat(path, "/d");
        make_folder(path);
    }
    strcat(path, "/file");
    make_file(path);
    assert_int_equal(run(&why), SENDIT_PASS);
    assert_non_null(strstr(told, "import.too_deep"));
    assert_null(strstr(told, "file"));
}

static void test_folder_that_becomes_a_link(void **state)
{
    struct folder folder = {.root_length = strlen(root), .depth = 1};

    (void)state;
    assert_int_equal(symlink("/etc", below("/link")), 0);
    folder.path = below("/link");
    assert_int_equal(open_folder(&folder), -1);
    folder.path = below("/link/ssl");
    assert_int_equal(open_folder(&folder), -1);
}

static void test_when_done(void **state)
{
    char *done = strdup(below("/done")), expected[512];
    struct sendit_why why = {0};

    (void)state;
    make_folder("/a");
    make_folder("/a/b");
    make_file("/1");
    make_file("/a/b/1");
    make_folder("/done");
    make_file("/done/1");
    make_folder("/a.err");
    make_file("/a.err/1");
    fake_option("when_done")->number = SENDIT_MOVE;
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_FAIL);
    fake_option("done_folder")->text = done;
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_PASS);
    assert_int_equal(run(&why), SENDIT_PASS);
    snprintf(expected, sizeof(expected),
             "+ \nmove /done\n  /1\n-\n+ /a/b\nmove /done/%s/a\n  /a/b/1\n-\n", root + 5);
    assert_string_equal(told, expected);
    fake_option("done_folder")->text = root;
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_FAIL);
    free(done);
}

static sendit_verdict show(struct sendit_stage_state *self, const char *uid, const char *date,
                           const char *id)
{
    struct fake_attribute attributes[4] = {{0, NULL}};
    struct sendit_dataset ds = {.attributes = attributes};
    const struct sendit_item item = {.id = "i", .ds = &ds};
    struct sendit_why why = {0};
    size_t n = 0;

    if (uid)
        attributes[n++] = (struct fake_attribute){TAG_STUDY_UID, uid};
    if (date)
        attributes[n++] = (struct fake_attribute){TAG_STUDY_DATE, date};
    if (id)
        attributes[n++] = (struct fake_attribute){TAG_STUDY_ID, id};
    return process(self, &item, &why);
}

static void test_mixed(void **state)
{
    const struct sendit_batch batch = {.id = "b", .once_key = "k"};
    struct sendit_stage_state *self;
    struct sendit_why why = {0};

    (void)state;
    fake_option("on_mixed")->number = 1;
    self = opened();
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(show(self, NULL, "20200101", "9"), SENDIT_PASS); /* sets nothing */
    assert_int_equal(show(self, "1.2", NULL, "7"), SENDIT_PASS);
    assert_int_equal(show(self, "1.2", "20200101", "7"), SENDIT_PASS);
    assert_int_equal(show(self, "1.2", "20200102", ""), SENDIT_PASS);
    assert_int_equal(show(self, "1.2", NULL, "8"), SENDIT_QUARANTINE);
    assert_int_equal(show(self, "1.3", NULL, "7"), SENDIT_QUARANTINE);
    assert_int_equal(show(self, "1.2", NULL, "7"), SENDIT_PASS);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_string_equal(fake_last_log, "import.mixed");
    /* The first stays first when the batch comes again. */
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(show(self, "1.3", NULL, "7"), SENDIT_QUARANTINE);
    stop(self);
    /* A fact is no original value. */
    for (size_t i = 0; i < fake_n_facts; i++)
        assert_null(strstr(fake_facts[i].value, "1.2"));
}

static void test_mixed_dates_and_warning(void **state)
{
    const struct sendit_batch batch = {.id = "b", .once_key = "k"};
    struct sendit_stage_state *self = opened();
    struct sendit_why why = {0};

    (void)state;
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(show(self, "1.2", "20200101", NULL), SENDIT_PASS);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(fake_n_logs, 0);
    assert_int_equal(show(self, "1.2", "20200102", NULL), SENDIT_PASS);
    assert_int_equal(self->n_mixed, 1);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(fake_n_logs, 1);
    stop(self);
}

static void test_series_are_counted_once(void **state)
{
    const struct sendit_batch batch = {.id = "b", .once_key = "k"};
    struct sendit_stage_state *self = opened();
    struct sendit_why why = {0};
    char uid[32];

    (void)state;
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    for (int i = 0; i < 600; i++) {
        const struct fake_attribute attributes[] = {
            {TAG_STUDY_UID, "1.2"}, {TAG_SERIES_UID, i % 5 ? uid : ""}, {0, NULL}};
        struct sendit_dataset ds = {.attributes = attributes};
        const struct sendit_item item = {.id = "i", .ds = &ds};

        snprintf(uid, sizeof(uid), "1.2.%d", i % 300);
        assert_int_equal(process(self, &item, &why), SENDIT_PASS);
    }
    assert_int_equal(self->n_series, 240);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_string_equal(fake_last_metric, "series");
    stop(self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_temporary_names),
        cmocka_unit_test_setup_teardown(test_empty_folder_is_no_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_batches_in_byte_order_of_paths, set_up, tear_down),
        cmocka_unit_test(test_heap_gives_byte_order),
        cmocka_unit_test_setup_teardown(test_what_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_recursive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_named_twice_and_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_roots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_depth_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_that_becomes_a_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_when_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mixed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mixed_dates_and_warning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_series_are_counted_once, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
