/* SPDX-License-Identifier: Apache-2.0 */
#define SENDIT_ENTRY file_store_entry
#include "../../stages/file-store/file_store.c"
#include "../../stages/file-store/store_bytes.c"
#include "../../stages/file-store/store_folder.c"
#include "../../stages/common/name_template.c"
#include "../../stages/file-store/store_name.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <ftw.h>

#include "fake_host.h"

#define TEMPLATE "{patient}/{study}/{series}/{instance}.dcm"
#define BIG (3u << 20)

static char root[64], out[96], source[96];
static struct sendit_why why;
static const char *patient;
static const struct sendit_batch batch = {.id = "b", .once_key = "k1"};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    int fd;

    (void)state;
    fake_reset();
    patient = "p1";
    memset(&why, 0, sizeof(why));
    snprintf(root, sizeof(root), "/tmp/test-file-store-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(out, sizeof(out), "%s/a/clean", root);
    snprintf(source, sizeof(source), "%s/original", root);
    fake_option("folder")->text = out;
    fake_option("template")->text = TEMPLATE;
    fd = open(source, O_RDWR | O_CREAT, 0600);
    for (unsigned i = 0; fd >= 0 && i < BIG; i += 4096) {
        char block[4096];

        memset(block, (int)(i >> 12), sizeof(block));
        if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
            return -1;
    }
    return close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct sendit_stage_state *opened(void)
{
    struct sendit_stage_state *self;

    memset(&why, 0, sizeof(why));
    assert_int_equal(start(&fake_host, &self, &why), SENDIT_PASS);
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    return self;
}

static sendit_verdict show(struct sendit_stage_state *self, const char *id, const char *instance,
                           const char *text)
{
    const struct fake_attribute attributes[] = {{0x00100020u, patient},
                                                {0x0020000Du, "1.2"},
                                                {0x0020000Eu, "1.3"},
                                                {0x00080018u, instance},
                                                {0, NULL}};
    struct sendit_dataset ds = {.attributes = attributes};
    const struct sendit_item item = {.id = id, .ds = &ds};
    struct sendit_part parts[3] = {{.data = text, .length = strlen(text)},
                                   {.offset = 4097, .length = BIG - 4097},
                                   {.data = "tail", .length = 4}};
    struct sendit_file file = {.parts = parts, .n_parts = 3};
    sendit_verdict verdict;

    parts[1].fd = open(source, O_RDONLY);
    assert_true(parts[1].fd >= 0);
    fake_file = &file;
    verdict = process(self, &item, &why);
    fake_file = NULL;
    close(parts[1].fd);
    return verdict;
}

static int n_files;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)st, (void)ftw;
    n_files += type == FTW_F;
    return 0;
}

/* Files in the output, staged ones too. */
static int files(void)
{
    n_files = 0;
    nftw(out, count_one, 16, FTW_PHYS);
    return n_files;
}

static int has_content(const char *name, const char *head)
{
    char path[256], *all = malloc(BIG + 64);
    size_t n = strlen(head), length;
    FILE *file;
    int same;

    snprintf(path, sizeof(path), "%s/p1/1.2/1.3/%s.dcm", out, name);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(all);
    length = fread(all, 1, BIG + 64, file);
    same = length == n + BIG - 4097 + 4 && !memcmp(all, head, n) && all[n] == 1 &&
           (unsigned char)all[length - 5] == (unsigned char)((BIG - 4096) >> 12) &&
           !memcmp(all + length - 4, "tail", 4);
    fclose(file);
    free(all);
    return same;
}

static void test_templates(void **state)
{
    static const char *const good[] = {TEMPLATE, "{instance}", "a-b_c.d/{entity}-{item}.{instance}",
                                       "{patient}{instance}.dcm"};
    static const char *const bad[] = {
        "",
        "/{instance}",
        "{instance}/",
        "a//{instance}",
        "../{instance}",
        "a/../{instance}",
        "./{instance}",
        ".sendit/{instance}",
        "{instance",
        "{Instance}",
        "{name}/{instance}",
        "{patient}",
        "a b{instance}",
        "a\\{instance}",
        "{}{instance}",
        "}{instance}",
        "{instance}\n",
        "{patient}{patient}{patient}{patient}{instance}",
        ("{patient}/{patient}/{patient}/{patient}/{patient}/{patient}/"
         "{patient}/{patient}/{instance}")};
    char longest[STORE_NAME_MAX_TEMPLATE + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_null(store_name_judge(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_non_null(store_name_judge(bad[i]));
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_non_null(store_name_judge(longest));
    fake_option("template")->text = "{nobody}";
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "file.template");
    fake_option("template")->text = TEMPLATE;
    assert_int_equal(check(&fake_host, 0, &why), SENDIT_PASS);
}

static void test_values(void **state)
{
    static const char *const good[] = {"1.2.840", "0123456789abcdef", "a-b_c"};
    static const char *const bad[] = {"",         ".",    "..",  ".a",      "a/b",
                                      "Doe^Jane", "a\\b", "a b", "\xc3\xa4"};
    char longest[STORE_NAME_MAX_VALUE + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(name_template_is_value(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(name_template_is_value(bad[i]));
    memset(longest, '1', sizeof(longest) - 1);
    longest[STORE_NAME_MAX_VALUE + 1] = '\0';
    assert_false(name_template_is_value(longest));
    longest[STORE_NAME_MAX_VALUE] = '\0';
    assert_true(name_template_is_value(longest));
}

static void test_stores(void **state)
{
    struct sendit_stage_state *self = opened();

    (void)state;
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_PASS);
    assert_int_equal(show(self, "i2", "1.4.2", "HEAD2"), SENDIT_PASS);
    /* Another stage asked for a retry: the last one counts. */
    assert_int_equal(show(self, "i2", "1.4.2", "again"), SENDIT_PASS);
    assert_int_equal(show(self, "i3", "../1", "x"), SENDIT_QUARANTINE);
    assert_string_equal(why.code, "file.name");
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(files(), 2);
    assert_true(has_content("1.4.1", "head"));
    assert_true(has_content("1.4.2", "again"));
    assert_int_equal(fake_n_holds, 0);
    stop(self);
    /* The same again is a no-op. */
    self = opened();
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_PASS);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(files(), 2);
    assert_int_equal(fake_n_holds, 0);
    stop(self);
}

static void test_conflicts(void **state)
{
    static const char *const heads[] = {"head", "HEAD", "other length"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct sendit_stage_state *self = opened();

        assert_int_equal(show(self, "i1", "1.4.1", heads[i]), SENDIT_PASS);
        assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
        assert_int_equal(fake_n_holds, i);
        stop(self);
    }
    assert_string_equal(fake_held, "i1");
    assert_string_equal(fake_last_hold, "file.conflict");
    assert_true(has_content("1.4.1", "head"));
    for (int how = CONFLICT_KEEP; how >= CONFLICT_REPLACE; how--) {
        struct sendit_stage_state *self;

        fake_option("on_conflict")->number = how;
        self = opened();
        assert_int_equal(show(self, "i1", "1.4.1", "HEAD"), SENDIT_PASS);
        assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
        assert_true(has_content("1.4.1", how == CONFLICT_KEEP ? "head" : "HEAD"));
        stop(self);
    }
    assert_int_equal(fake_n_holds, 2);
    assert_int_equal(fake_n_logs, 2);
    assert_int_equal(files(), 1);
}

static void test_nothing_is_left_of_an_attempt(void **state)
{
    struct sendit_stage_state *self = opened(), *other;
    int held;

    (void)state;
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_PASS);
    assert_int_equal(files(), 2); /* staged, and the list */
    /* Another worker does not sweep what is locked, and cannot begin the same batch. */
    assert_int_equal(start(&fake_host, &other, &why), SENDIT_PASS);
    assert_int_equal(files(), 2);
    assert_int_equal(begin(other, &batch, &why), SENDIT_RETRY);
    assert_string_equal(why.code, "file.busy");
    assert_int_equal(abandon(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(files(), 0);
    /* As if killed: the folder stays, its lock does not. */
    assert_int_equal(begin(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_PASS);
    held = self->batch;
    close(held);
    self->batch = -1;
    assert_int_equal(files(), 2);
    stop(other);
    assert_int_equal(start(&fake_host, &other, &why), SENDIT_PASS);
    assert_int_equal(files(), 0);
    stop(other);
    fclose(self->list);
    self->list = NULL;
    stop(self);
}

static void test_finish_goes_on_after_retry(void **state)
{
    struct sendit_stage_state *self = opened();
    char path[256];

    (void)state;
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_PASS);
    patient = "p2";
    assert_int_equal(show(self, "i2", "1.4.2", "head"), SENDIT_PASS);
    /* The first is in its place when the second cannot be: a folder has become a file. */
    snprintf(path, sizeof(path), "%s/p2", out);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
    assert_int_equal(finish(self, &batch, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "file.place");
    assert_true(has_content("1.4.1", "head"));
    unlink(path);
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(files(), 2);
    assert_int_equal(fake_n_holds, 0);
    stop(self);
}

static void test_originals_in_the_output(void **state)
{
    struct sendit_stage_state *self;

    (void)state;
    fake_option("folder")->text = root;
    self = opened();
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_FAIL);
    assert_string_equal(why.code, "file.place");
    assert_int_equal(abandon(self, &batch, &why), SENDIT_PASS);
    stop(self);
}

static void test_original_that_shrinks(void **state)
{
    struct sendit_stage_state *self = opened();

    (void)state;
    assert_int_equal(truncate(source, BIG / 2), 0);
    assert_int_equal(show(self, "i1", "1.4.1", "head"), SENDIT_QUARANTINE);
    assert_string_equal(why.code, "file.source");
    assert_int_equal(files(), 1); /* the list */
    assert_int_equal(finish(self, &batch, &why), SENDIT_PASS);
    assert_int_equal(files(), 0);
    stop(self);
}

static void test_folder_that_is_a_file(void **state)
{
    struct sendit_stage_state *self;

    (void)state;
    fake_option("folder")->text = source;
    assert_int_equal(start(&fake_host, &self, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "file.place");
    assert_non_null(strstr(why.text, "original"));
    assert_int_equal(check(&fake_host, 1, &why), SENDIT_FAIL);
}

static void test_full_disk(void **state)
{
    struct sendit_stage_state self = {.folder = "clean"};

    (void)state;
    errno = ENOSPC;
    assert_int_equal(refuse(&self, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "file.no_room");
    errno = EROFS;
    assert_int_equal(refuse(&self, &why), SENDIT_FAIL);
    assert_string_equal(why.code, "file.place");
    errno = EMFILE;
    assert_int_equal(refuse(&self, &why), SENDIT_RETRY);
}

static void test_changed_folders_are_noted_once(void **state)
{
    struct sendit_stage_state *self = opened();
    char path[64];

    (void)state;
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < 50; i++) {
            snprintf(path, sizeof(path), "d%d/e/x", i % 7);
            assert_int_equal(make_folders(self, path), 0);
        }
    assert_int_equal(self->n_changed, 1 + 2 * 7);
    for (int i = 0; i < MAX_CHANGED; i++) {
        snprintf(path, sizeof(path), "m%d/x", i);
        assert_int_equal(make_folders(self, path), 0);
    }
    assert_true(self->n_changed <= MAX_CHANGED);
    assert_int_equal(sync_changed(self), 0);
    assert_int_equal(abandon(self, &batch, &why), SENDIT_PASS);
    stop(self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_templates, set_up, tear_down),
        cmocka_unit_test(test_values),
        cmocka_unit_test_setup_teardown(test_stores, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_conflicts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nothing_is_left_of_an_attempt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finish_goes_on_after_retry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_originals_in_the_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_original_that_shrinks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_that_is_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changed_folders_are_noted_once, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
