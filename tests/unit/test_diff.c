/* SPDX-License-Identifier: Apache-2.0 */
/* Elements before and after, and whose work they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "diff/diff_files.h"
#include "diff/diff_json.h"
#include "diff/diff_tree.h"
#include "make_dicom.h"

#define NAME 0x00100010u
#define COMMENTS 0x00104000u
#define REFERENCED 0x00081140u
#define REFERENCED_UID 0x00081155u
#define PIXELS 0x7fe00010u

static char folder[] = "/tmp/sendit-diff-XXXXXX";
static struct dicom *dicom;
static struct plan_stage stages[] = {{.id = (char[]){"one"}}, {.id = (char[]){"two"}}};
static struct plan plan = {.stages = stages, .n_stages = 2};

struct trip {
    struct dicom_object *object;
    struct sendit_dataset *ds;
    struct diff_tree tree;
    json_t *file;
};

static void open_trip(struct trip *t)
{
    struct dicom_refusal refusal = {0};
    struct maker m = {0};
    char path[64];
    struct stat st;

    *t = (struct trip){.file = json_object()};
    make_meta(&m, EXPLICIT);
    make_header(&m, 0x00080000, "UL", 4);
    make_u32(&m, 100);
    make_identity(&m);
    make_header(&m, REFERENCED, "SQ", UNDEFINED_LENGTH);
    make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
    make_header(&m, 0x00080000, "UL", 4);
    make_u32(&m, 100);
    make_text(&m, REFERENCED_UID, "UI", "1.2.3.5");
    make_header(&m, ITEM_END_TAG, "", 0);
    make_header(&m, ITEM_TAG, "", UNDEFINED_LENGTH);
    make_text(&m, REFERENCED_UID, "UI", "1.2.3.6");
    make_header(&m, ITEM_END_TAG, "", 0);
    make_header(&m, SEQUENCE_END_TAG, "", 0);
    make_text(&m, NAME, "PN", "Doe^Jane");
    make_text(&m, COMMENTS, "LT", "a comment");
    make_text(&m, 0x00330010, "LO", "MAKER");
    make_text(&m, 0x00331010, "LO", "secret");
    make_element(&m, PIXELS, "OW", "\1\2\3\4", 4);
    make_element(&m, 0xfffcfffc, "OB", "\0\0", 2);
    assert_false(m.buf.failed);
    snprintf(path, sizeof(path), "%s/in.dcm", folder);
    assert_int_equal(file_replace(path, m.buf.data, m.buf.len, 0600), 0);
    buf_fini(&m.buf);
    if (dicom_open(dicom, path, &t->object, &st, &refusal))
        fail_msg("%s: %s", refusal.code, refusal.text);
    t->ds = dicom_dataset(t->object);
    dicom_begin(t->object, false);
    assert_int_equal(diff_tree_begin(&t->tree, t->ds), SENDIT_OK);
    assert_int_equal(dicom_end(t->object, true), 0);
}

static void close_trip(struct trip *t)
{
    diff_tree_fini(&t->tree);
    dicom_close(t->object);
    json_decref(t->file);
}

static void look(struct trip *t, size_t stage)
{
    assert_int_equal(dicom_end(t->object, true), 0);
    dicom_begin(t->object, false);
    assert_int_equal(diff_tree_look(&t->tree, t->ds, stage), SENDIT_OK);
    assert_int_equal(dicom_end(t->object, true), 0);
}

static int add_element(void *ctx, const json_t *one)
{
    return json_array_append(ctx, (json_t *)(uintptr_t)one);
}

static void show(struct trip *t, bool originals, bool made)
{
    const struct diff_shown shown = {.plan = &plan, .originals = originals, .made = made};

    json_t *elements = json_array();

    assert_int_equal(diff_json_each(&t->tree, &shown, add_element, elements), 0);
    json_object_set_new(t->file, "elements", elements);
    json_object_set_new(t->file, "counts", diff_json_counts(&t->tree));
}

static const json_t *element(const struct trip *t, const char *path)
{
    size_t i;
    json_t *one;

    json_array_foreach(
        json_object_get(t->file, "elements"), i,
        one) if (!strcmp(json_string_value(json_object_get(one, "path")), path)) return one;
    fail_msg("there is no %s", path);
    return NULL;
}

static void assert_fate(const struct trip *t, const char *path, const char *fate, const char *stage)
{
    const json_t *by = json_object_get(element(t, path), "by");

    assert_string_equal(json_string_value(json_object_get(element(t, path), "fate")), fate);
    if (!stage)
        assert_int_equal(json_array_size(by), 0);
    else
        assert_string_equal(json_string_value(json_object_get(
                                json_array_get(by, json_array_size(by) - 1), "stage")),
                            stage);
}

static const char *text(const struct trip *t, const char *path, const char *when)
{
    return json_string_value(json_object_get(json_object_get(element(t, path), when), "value"));
}

static void test_untouched(void **state)
{
    struct trip t;

    (void)state;
    open_trip(&t);
    show(&t, true, true);
    assert_fate(&t, "(0010,0010)", "kept", NULL);
    assert_string_equal(text(&t, "(0010,0010)", "before"), "Doe^Jane");
    assert_string_equal(text(&t, "(0010,0010)", "after"), "Doe^Jane");
    assert_string_equal(text(&t, "(0008,1140)[1].(0008,1155)", "before"), "1.2.3.6");
    assert_string_equal(text(&t, "(0002,0003)", "before"), "1.2.3.4");
    /* what nobody reads, and nobody writes */
    assert_fate(&t, "(0008,0000)", "removed", "core");
    assert_fate(&t, "(0008,1140)[0].(0008,0000)", "removed", "core");
    assert_fate(&t, "(FFFC,FFFC)", "removed", "core");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(t.file, "counts"), "removed")), 3);
    close_trip(&t);
}

static void test_edits(void **state)
{
    struct trip t;
    struct sendit_dataset *item;
    const struct sendit_file *file;

    (void)state;
    open_trip(&t);
    dicom_begin(t.object, true);
    item = dicom_nested(t.ds, REFERENCED, 1);
    assert_int_equal(dicom_put(t.ds, NAME, "Roe^R"), SENDIT_OK);
    assert_int_equal(dicom_put(item, REFERENCED_UID, "1.2.9"), SENDIT_OK);
    assert_int_equal(dicom_put(t.ds, 0x00080070, "a maker"), SENDIT_OK);
    look(&t, 0);
    dicom_begin(t.object, true);
    assert_int_equal(dicom_erase(t.ds, REFERENCED), SENDIT_OK);
    assert_int_equal(dicom_erase(t.ds, COMMENTS), SENDIT_OK);
    look(&t, 1);
    dicom_begin(t.object, false);
    assert_int_equal(dicom_view(t.ds, &file), SENDIT_OK);
    diff_tree_meta(&t.tree, file->parts[0].data, (size_t)file->parts[0].length);
    assert_int_equal(dicom_end(t.object, true), 0);
    show(&t, false, true);
    assert_fate(&t, "(0010,0010)", "changed", "one");
    assert_null(text(&t, "(0010,0010)", "before"));
    assert_string_equal(text(&t, "(0010,0010)", "after"), "Roe^R");
    assert_fate(&t, "(0008,0070)", "added", "one");
    assert_fate(&t, "(0008,1140)", "removed", "two");
    assert_fate(&t, "(0008,1140)[0].(0008,1155)", "removed", "two");
    assert_fate(&t, "(0008,1140)[1].(0008,1155)", "removed", "one"); /* and then with the whole */
    assert_fate(&t, "(0010,4000)", "removed", "two");
    assert_fate(&t, "(0002,0012)", "changed", "core");
    assert_fate(&t, "(7FE0,0010)", "kept", NULL);
    assert_null(json_object_get(element(&t, "(0033,1010)"), "creator"));
    assert_null(text(&t, "(0033,1010)", "after"));
    json_object_clear(t.file);
    show(&t, false, false); /* of one that is not clean nothing new is shown */
    assert_null(text(&t, "(0010,0010)", "after"));
    json_object_clear(t.file);
    show(&t, true, false);
    assert_string_equal(json_string_value(json_object_get(element(&t, "(0033,1010)"), "creator")),
                        "MAKER");
    close_trip(&t);
}

static void write_into(const struct diff_files *found, size_t i, const char *name, size_t batch)
{
    assert_true(i < found->n);
    assert_string_equal(strrchr(found->files[i].path, '/') + 1, name);
    assert_int_equal(found->files[i].batch, batch);
}

/* Folders in byte order, names in it, each once. */
static void test_files(void **state)
{
    static const char *const places[] = {"a", "a/y", "a/x", "a-b", "a-b/z"};
    struct diff_files found;
    struct err err = {0};
    char path[80], named[80];
    const char *names[] = {named, path, named};

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        snprintf(path, sizeof(path), "%s/files/%s", folder, places[i]);
        assert_int_equal(
            strchr(places[i], '/') ? file_replace(path, "x", 1, 0600) : file_mkdirs(path, 0700), 0);
    }
    snprintf(path, sizeof(path), "%s/files", folder);
    snprintf(named, sizeof(named), "%s/files/a/x", folder);
    assert_int_equal(diff_files_find(&found, names, 3, &err), 0);
    assert_int_equal(found.n, 3);
    write_into(&found, 0, "x", 0);
    write_into(&found, 1, "y", 0);
    write_into(&found, 2, "z", 1);
    assert_false(found.files[0].found);
    assert_true(found.files[1].found);
    assert_int_equal(found.files[2].number, 2);
    diff_files_fini(&found);
    snprintf(named, sizeof(named), "%s/nowhere", folder);
    assert_int_equal(diff_files_find(&found, names, 1, &err), -1);
    assert_int_equal(err.code, ERR_PLACE);
    diff_files_fini(&found);
}

static int set_up(void **state)
{
    const struct dicom_limits limits = {.max_inflate = 1 << 20};
    struct err err;

    (void)state;
    if (!mkdtemp(folder))
        return -1;
    dicom = dicom_new(&limits, folder, &err);
    return dicom ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];

    (void)state;
    dicom_free(dicom);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_untouched),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
