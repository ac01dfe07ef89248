/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and loading stages: folders and their order, what ships, and each way to be refused.
 *
 * The installation's own folder lies beside the program, so that the tests run as a copy of
 * themselves in a folder of their own, with plugins.d in it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "load/load.h"
#include "load/option.h"

#define BADSTAGES SENDIT_BUILD_DIR "/badstages"
#define MAX_STAGE (16u << 20)

struct place {
    char *own, *site, *other; /* folders of the installation, and two of a site */
    struct loader *loader;
};

static const char *root; /* where this copy of the program lies */

static void copy(const char *from, const char *folder, const char *name, mode_t mode)
{
    char path[PATH_MAX], *data;
    size_t n;

    assert_int_equal(file_read(from, MAX_STAGE, &data, &n), 0);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(file_replace(path, data, n, mode), 0);
    free(data);
}

/* Fixture `from` as NAME.so. */
static void put(const char *folder, const char *from, const char *name)
{
    char path[PATH_MAX], file[NAME_MAX];

    snprintf(path, sizeof(path), BADSTAGES "/%s.so", from);
    snprintf(file, sizeof(file), "%s.so", name);
    copy(path, folder, file, 0755);
}

static void empty_folder(const char *folder)
{
    char path[PATH_MAX];
    DIR *dir = opendir(folder);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)!remove(path);
    }
    if (dir)
        closedir(dir);
}

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));

    assert_non_null(place);
    place->own = file_join(root, "plugins.d");
    place->site = file_join(root, "site");
    place->other = file_join(root, "other");
    assert_int_equal(file_mkdirs(place->own, 0755), 0);
    assert_int_equal(file_mkdirs(place->site, 0755), 0);
    assert_int_equal(file_mkdirs(place->other, 0755), 0);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;

    loader_free(place->loader);
    empty_folder(place->own);
    empty_folder(place->site);
    empty_folder(place->other);
    free(place->own);
    free(place->site);
    free(place->other);
    free(place);
    return 0;
}

static struct loader *start(struct place *place)
{
    static const char *folders[2];
    struct err err = {0};

    folders[0] = place->site;
    folders[1] = place->other;
    place->loader = loader_new(folders, 2, &err);
    assert_non_null(place->loader);
    assert_string_equal(loader_own_folder(place->loader), place->own);
    return place->loader;
}

static const struct stage_file *find(struct place *place, const char *name)
{
    const struct stage_file *file = NULL;
    struct err err = {0};

    if (loader_find(place->loader ? place->loader : start(place), name, &file, &err))
        fail_msg("%s", err.text);
    return file;
}

/* The sentence without the folder. */
static const char *refusal(struct place *place, const char *name)
{
    static struct err err;
    const struct stage_file *file = NULL;
    size_t n = strlen(root);

    err = (struct err){0};
    assert_int_equal(loader_find(place->loader ? place->loader : start(place), name, &file, &err),
                     -1);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_null(file);
    return strncmp(err.text, root, n) ? err.text : err.text + n + 1;
}

/* ---- what is found ---- */

static void two_stages_are_two(void **state)
{
    struct place *place = *state;
    const struct stage_file *one, *two;

    put(place->own, "sound", "sound");
    put(place->own, "sound-two", "sound-two");
    one = find(place, "sound");
    two = find(place, "sound-two");
    assert_string_equal(one->plugin->name, "sound");
    assert_string_equal(two->plugin->name, "sound-two");
    assert_ptr_not_equal(one->plugin, two->plugin);
    assert_string_not_equal(one->digest, two->digest);
    assert_true(one->ships && two->ships);
    assert_null(one->hides);
    assert_ptr_equal(find(place, "sound"), one);
}

static void the_first_folder_wins(void **state)
{
    struct place *place = *state;
    const struct stage_file *file;
    char path[PATH_MAX];

    put(place->own, "sound", "sound");
    put(place->other, "sound", "sound");
    file = find(place, "sound");
    snprintf(path, sizeof(path), "%s/sound.so", place->other);
    assert_string_equal(file->path, path);
    assert_false(file->ships);
    snprintf(path, sizeof(path), "%s/sound.so", place->own);
    assert_string_equal(file->hides, path);
}

static void a_sites_folder_under_another_name_ships_nothing_new(void **state)
{
    struct place *place = *state;

    put(place->own, "sound", "sound");
    assert_int_equal(rmdir(place->site), 0);
    assert_int_equal(symlink(place->own, place->site), 0);
    assert_true(find(place, "sound")->ships); /* it is the installation's folder itself */
    assert_int_equal(unlink(place->site), 0);
}

static void the_digest_is_that_of_the_file(void **state)
{
    struct place *place = *state;
    char hex[DIGEST_HEX], *data;
    size_t n;

    put(place->site, "sound", "sound");
    assert_int_equal(file_read(BADSTAGES "/sound.so", MAX_STAGE, &data, &n), 0);
    assert_int_equal(digest_of(data, n, hex), 0);
    free(data);
    assert_string_equal(find(place, "sound")->digest, hex);
}

static void the_list_shows_all_and_why_not(void **state)
{
    struct place *place = *state;
    const struct stage_file *files;
    struct err err = {0};
    size_t n;

    put(place->site, "sound", "sound");
    put(place->site, "sound", "Not_A_Name");
    put(place->other, "sound", "sound");
    put(place->other, "wrong-magic", "wrong-magic");
    put(place->own, "sound", "sound");
    put(place->own, "sound-two", "sound-two");
    assert_int_equal(loader_list(start(place), &files, &n, &err), 0);
    assert_int_equal(n, 6);
    assert_non_null(strstr(files[0].path, "/site/Not_A_Name.so"));
    assert_string_equal(files[0].refused, "its name is not [a-z][a-z0-9-]*");
    assert_non_null(files[1].plugin);
    assert_false(files[1].hidden);
    assert_non_null(files[1].hides);
    assert_true(files[2].hidden);
    assert_null(files[3].plugin);
    assert_non_null(strstr(files[3].refused, "magic is 0x12345678, expected 0x53444954"));
    assert_string_equal(files[4].plugin->name, "sound-two");
    assert_true(files[4].ships && !files[4].hidden);
    assert_true(files[5].ships && files[5].hidden);
    /* a second time is the same, and loading goes on beside it */
    assert_int_equal(loader_list(place->loader, &files, &n, &err), 0);
    assert_int_equal(n, 6);
    assert_string_equal(find(place, "sound-two")->plugin->name, "sound-two");
}

/* ---- what is not ---- */

static void a_stage_that_is_not_there(void **state)
{
    struct place *place = *state;
    const char *text;

    put(place->own, "sound-two", "sound-two");
    text = refusal(place, "sound-tow");
    assert_memory_equal(text, "there is no stage \"sound-tow\" in ", 33);
    assert_non_null(strstr(text, place->site));
    assert_non_null(strstr(text, place->own));
    assert_non_null(strstr(text, "; did you mean \"sound-two\"?"));
}

static void a_path_is_no_name(void **state)
{
    static const char *const names[] = {"../sound", "/tmp/sound", "sound.so", "",      "Sound",
                                        "-sound",   "so und",     ".",        "1sound"};
    struct place *place = *state;

    put(place->own, "sound", "sound");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_string_equal(refusal(place, names[i]),
                            "a stage is called by its name, [a-z][a-z0-9-]*, never by a path");
}

static void descriptors_that_are_not_sound(void **state)
{
    static const struct {
        const char *name, *sentence;
    } cases[] = {
        {"wrong-magic", "magic is 0x12345678, expected 0x53444954"},
        {"older-abi",
         "it was made for ABI 0.0, expected 1.0 to 1.0; compile it with the headers of "
         "this sendit"},
        {"newer-abi", "it was made for ABI 1.1, expected 1.0 to 1.0; it needs a newer sendit"},
        {"short-struct", "its descriptor has 64 bytes, expected 176"},
        {"long-struct", "its descriptor has 4096 bytes, expected 176"},
        {"unknown-flag", "it declares flags 0x80000000, expected none but 0xfff"},
        {"wrong-name", "it calls itself \"another\", expected \"wrong-name\""},
        {"no-process", "it has no process(), expected one"},
        {"no-symbol", "it exports no sendit_stage(), expected it from SENDIT_PLUGIN()"},
        {"declines", "it declines ABI 1.0, expected a descriptor"},
        {"wrong-option", "option 0, \"word\", is of type 99, expected 1 to 10"},
        {"missing-symbol", "it cannot be loaded: undefined symbol: missing_everywhere; link it to "
                           "what has that, or leave its use out"},
    };
    struct place *place = *state;

    assert_int_equal(sizeof(struct sendit_plugin), 176);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char expected[300];

        put(place->site, cases[i].name, cases[i].name);
        snprintf(expected, sizeof(expected), "site/%s.so: %s", cases[i].name, cases[i].sentence);
        assert_string_equal(refusal(place, cases[i].name), expected);
    }
    put(place->site, "sound", "sound"); /* after all those, the next one is itself */
    assert_string_equal(find(place, "sound")->plugin->name, "sound");
}

static void a_refused_stage_does_not_let_a_later_folder_win(void **state)
{
    struct place *place = *state;

    put(place->site, "wrong-magic", "sound");
    put(place->own, "sound", "sound");
    assert_non_null(strstr(refusal(place, "sound"), "site/sound.so: magic is"));
}

static void files_that_are_no_stages(void **state)
{
    struct place *place = *state;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/text.so", place->site);
    assert_int_equal(file_replace(path, "no object\n", 10, 0644), 0);
    assert_string_equal(refusal(place, "text"),
                        "site/text.so: it is no shared object; put what the compiler made here, "
                        "not a source or a script");
    snprintf(path, sizeof(path), "%s/empty.so", place->site);
    assert_int_equal(file_replace(path, "", 0, 0644), 0);
    assert_string_equal(refusal(place, "empty"),
                        "site/empty.so: it is empty, expected a shared object; copy it again");
    snprintf(path, sizeof(path), "%s/folder.so", place->site);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_string_equal(refusal(place, "folder"),
                        "site/folder.so: it is a folder, expected a shared object; put the file "
                        "itself here");
    snprintf(path, sizeof(path), "%s/pipe.so", place->site);
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_string_equal(refusal(place, "pipe"), "site/pipe.so: it is no regular file, expected a "
                                                "shared object; remove it");
    snprintf(path, sizeof(path), "%s/link.so", place->site);
    assert_int_equal(symlink(BADSTAGES "/sound.so", path), 0);
    assert_string_equal(refusal(place, "link"), "site/link.so: it is a symbolic link, expected a "
                                                "file; put the file itself here");
    snprintf(path, sizeof(path), "%s/nowhere.so", place->site);
    assert_int_equal(symlink("nothing", path), 0);
    assert_non_null(strstr(refusal(place, "nowhere"), "it is a symbolic link"));
    snprintf(path, sizeof(path), "%s/large.so", place->site);
    assert_int_equal(file_replace(path, "x", 1, 0644), 0);
    assert_int_equal(truncate(path, (256 << 20) + 1), 0);
    assert_non_null(strstr(refusal(place, "large"), "it has more than 256 MiB, expected less"));
}

/* Fixture "sound" with two bytes of its header changed. */
static const char *refusal_of_changed(struct place *place, size_t at, unsigned char first,
                                      unsigned char second)
{
    char path[PATH_MAX], *data;
    size_t n;

    assert_int_equal(file_read(BADSTAGES "/sound.so", MAX_STAGE, &data, &n), 0);
    data[at] = (char)first;
    data[at + 1] = (char)second;
    snprintf(path, sizeof(path), "%s/sound.so", place->site);
    assert_int_equal(file_replace(path, data, n, 0755), 0);
    free(data);
    return refusal(place, "sound");
}

static void objects_of_other_machines(void **state)
{
    struct place *place = *state;
    const char *text;

    text = refusal_of_changed(place, 18, 0xf3, 0); /* e_machine: RISC-V */
    assert_non_null(strstr(text, "site/sound.so: it was built for riscv, 64 bits, expected "));
    assert_non_null(strstr(text, "; compile it for this machine"));
    text = refusal_of_changed(place, 18, 0x34, 0x12);
    assert_non_null(strstr(text, "built for machine 4660, "));
    text = refusal_of_changed(place, 4, 1, 1); /* EI_CLASS */
    assert_non_null(strstr(text, ", 32 bits, expected "));
    text = refusal_of_changed(place, 4, 2, 2); /* EI_DATA: big endian */
    assert_non_null(strstr(text, "it was built for "));
    text = refusal_of_changed(place, 16, 1, 0); /* e_type: an object file */
    assert_string_equal(text, "site/sound.so: it is an object file or a program, expected a shared "
                              "object; link it with -shared");
    text = refusal_of_changed(place, 16, 2, 0); /* a program */
    assert_non_null(strstr(text, "link it with -shared"));
    text = refusal_of_changed(place, 54, 1, 0); /* e_phentsize */
    assert_string_equal(text, "site/sound.so: it is cut short; copy it again");
}

/* At no length does it kill the program, as the loader of the system would. */
static void objects_that_are_cut_short(void **state)
{
    struct place *place = *state;
    char path[PATH_MAX], *data;
    size_t n;

    assert_int_equal(file_read(BADSTAGES "/sound.so", MAX_STAGE, &data, &n), 0);
    snprintf(path, sizeof(path), "%s/sound.so", place->site);
    for (size_t len = 1; len < n; len += len < 200 ? 1 : n / 50) {
        struct err err = {0};
        const struct stage_file *file;

        assert_int_equal(file_replace(path, data, len, 0755), 0);
        loader_free(place->loader);
        place->loader = NULL;
        if (len < 64)
            assert_non_null(strstr(refusal(place, "sound"), "it is no shared object"));
        else if (len < n / 3)
            assert_non_null(strstr(refusal(place, "sound"), "it is cut short; copy it again"));
        else /* the end of the file has what only debuggers read */
            (void)loader_find(start(place), "sound", &file, &err);
    }
    free(data);
}

static const struct stage_file *in_list(struct place *place, const char *name)
{
    const struct stage_file *files;
    struct err err;
    size_t n;

    if (!place->loader)
        start(place);
    assert_int_equal(loader_list(place->loader, &files, &n, &err), 0);
    for (size_t i = 0; i < n; i++)
        if (strstr(files[i].path, name))
            return &files[i];
    fail_msg("%s is not listed", name);
    return NULL;
}

static void exports_beside_the_one_are_a_warning(void **state)
{
    struct place *place = *state;

    put(place->site, "two-symbols", "two-symbols");
    put(place->site, "sound", "sound");
    put(place->site, "wrong-magic", "wrong-magic");
    assert_string_equal(find(place, "two-symbols")->warning,
                        "it exports more than sendit_stage(): 1 symbol, such as \"stray\"; compile "
                        "it with -fvisibility=hidden");
    assert_null(find(place, "sound")->warning);
    assert_non_null(in_list(place, "two-symbols.so")->warning);
    assert_null(in_list(place, "/sound.so")->warning);
    assert_null(in_list(place, "wrong-magic.so")->warning);
}

/* What is loaded stays what was hashed, also when its file is written over. */
static void a_file_that_is_overwritten_changes_nothing(void **state)
{
    struct place *place = *state;
    const struct stage_file *file;
    char path[PATH_MAX], digest[DIGEST_HEX];
    struct err err = {0};
    int fd;

    put(place->site, "sound", "sound");
    file = find(place, "sound");
    memcpy(digest, file->digest, sizeof(digest));
    snprintf(path, sizeof(path), "%s/sound.so", place->site);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    assert_string_equal(file->plugin->version, "1.0.0"); /* would be a SIGBUS, or zeros */
    assert_int_equal(loader_find(place->loader, "sound", &file, &err), 0);
    assert_string_equal(file->digest, digest);
}

static void what_others_may_change_is_refused(void **state)
{
    struct place *place = *state;
    char path[PATH_MAX];

    put(place->site, "sound", "sound");
    snprintf(path, sizeof(path), "%s/sound.so", place->site);
    assert_int_equal(chmod(path, 0757), 0);
    assert_string_equal(refusal(place, "sound"),
                        "site/sound.so: others may write to this file, and could change it; take "
                        "that away with chmod go-w");
    assert_int_equal(chmod(path, 0775), 0); /* the user's own group is the user */
    find(place, "sound");
    loader_free(place->loader);
    place->loader = NULL;
    if (!geteuid() && !chown(path, 0, 12345))
        assert_non_null(strstr(refusal(place, "sound"), "others may write to this file"));
    else
        print_message("skipped: only root can give a file to another group\n");
    put(place->site, "sound", "sound");
    assert_int_equal(chmod(place->site, 0777), 0);
    assert_string_equal(refusal(place, "sound"),
                        "site: others may write into this folder, and could change a stage; take "
                        "that away with chmod go-w");
    assert_int_equal(chmod(place->site, 0755), 0);
    find(place, "sound");
}

/* ---- descriptors, without a file ---- */

static sendit_verdict open_none(const struct sendit_host *host, struct sendit_stage_state **self,
                                struct sendit_why *why)
{
    (void)host, (void)self, (void)why;
    return SENDIT_FAIL;
}

static sendit_verdict produce_none(struct sendit_stage_state *self, const struct sendit_feed *feed,
                                   struct sendit_why *why)
{
    (void)self, (void)feed, (void)why;
    return SENDIT_FAIL;
}

static sendit_verdict process_none(struct sendit_stage_state *self, const struct sendit_item *item,
                                   struct sendit_why *why)
{
    (void)self, (void)item, (void)why;
    return SENDIT_FAIL;
}

static void close_none(struct sendit_stage_state *self)
{
    (void)self;
}

static struct sendit_plugin sound(void)
{
    struct sendit_plugin plugin = {.magic = SENDIT_MAGIC,
                                   .abi = SENDIT_ABI,
                                   .size = sizeof(plugin),
                                   .option_size = sizeof(struct sendit_option),
                                   .name = "sound",
                                   .version = "1.0.0",
                                   .summary = "A summary.",
                                   .open = open_none,
                                   .process = process_none,
                                   .close = close_none};

    return plugin;
}

static void check(const struct sendit_plugin *plugin, const char *sentence)
{
    struct loader_copy *copy = NULL;
    struct err err = {0};
    int result = loader_check(plugin, "x.so", "sound", &copy, &err);

    if (!sentence) {
        assert_string_equal(err.text, "");
        assert_int_equal(result, 0);
        loader_copy_free(copy);
        return;
    }
    assert_int_equal(result, -1);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_memory_equal(err.text, "x.so: ", 6);
    assert_string_equal(err.text + 6, sentence);
}

#define CHECK_WITH(change, sentence)                                                               \
    do {                                                                                           \
        struct sendit_plugin plugin = sound();                                                     \
        plugin.change;                                                                             \
        check(&plugin, sentence);                                                                  \
    } while (0)

static void every_member_is_checked(void **state)
{
    (void)state;
    check(NULL, "it declines ABI 1.0, expected a descriptor");
    CHECK_WITH(flags = SENDIT_READS, NULL);
    CHECK_WITH(option_size = 8, "its options have 8 bytes each, expected 40");
    CHECK_WITH(name = NULL, "it calls itself \"\", expected \"sound\"");
    CHECK_WITH(version = NULL, "its version is \"\", expected one like \"1.0.0\"");
    CHECK_WITH(version = "one", "its version is \"one\", expected one like \"1.0.0\"");
    CHECK_WITH(summary = NULL, "it has no summary, expected one line");
    CHECK_WITH(summary = "a\nb", "it has no summary, expected one line");
    CHECK_WITH(open = NULL, "it has no open(), expected open() and close()");
    CHECK_WITH(close = NULL, "it has no close(), expected open() and close()");
    CHECK_WITH(process = NULL, "it has no process(), expected one");
    CHECK_WITH(flags = SENDIT_SOURCE, "it declares SOURCE, expected a produce()");
    CHECK_WITH(produce = produce_none, "it has a produce(), expected the flag SOURCE");
    CHECK_WITH(n_options = 257, "it has 257 options, expected 256 at most");
    CHECK_WITH(n_options = 1, "it has 1 options, found no table");
    CHECK_WITH(needs = "deid.header site.seen", NULL);
    CHECK_WITH(needs = "header", "\"needs\" has \"header\", expected a label such as "
                                 "\"deid.header\"");
    CHECK_WITH(grants = "Deid.header", "\"grants\" has \"Deid.header\", expected a label such as "
                                       "\"deid.header\"");
    CHECK_WITH(grants = "deid..header", "\"grants\" has \"deid..header\", expected a label such "
                                        "as \"deid.header\"");
    CHECK_WITH(grants = "deid.", "\"grants\" has \"deid.\", expected a label such as "
                                 "\"deid.header\"");
    CHECK_WITH(grants_at_finish = "x", "\"grants_at_finish\" has \"x\", expected a label such as "
                                       "\"deid.header\"");
    CHECK_WITH(after = "importer deid.header", NULL);
    CHECK_WITH(after = "../x", "\"after\" has \"../x\", expected a stage or a label such as "
                               "\"file-store\" or \"deid.header\"");
    CHECK_WITH(before = "X", "\"before\" has \"X\", expected a stage or a label such as "
                             "\"file-store\" or \"deid.header\"");
}

static void option(struct sendit_option option, const char *sentence)
{
    struct err err = {0};
    int result;

    option.name = option.name ? option.name : "x";
    option.help = option.help ? option.help : "Help.";
    result = option_check(&option, &err);

    assert_string_equal(err.text, sentence ? sentence : "");
    assert_int_equal(result, sentence ? -1 : 0);
}

#define OPTION(...) ((struct sendit_option){__VA_ARGS__})

static void option_tables_are_checked(void **state)
{
    (void)state;
    option(OPTION(.type = SENDIT_OPT_STRING), NULL);
    option(OPTION(.type = SENDIT_OPT_INTEGER, .limit = "1..", .default_value = "3"), NULL);
    option(OPTION(.type = SENDIT_OPT_CHOICE, .limit = "a|b", .default_value = "b"), NULL);
    option(OPTION(.type = SENDIT_OPT_STRING, .flags = SENDIT_OPT_MANY, .default_value = "a b"),
           NULL);
    option(OPTION(.type = SENDIT_OPT_STRING, .name = "notSnake"), "has no name in snake_case");
    option(OPTION(.type = SENDIT_OPT_STRING, .help = ""), "has no line of help");
    option(OPTION(.type = 0), "is of type 0, expected 1 to 10");
    option(OPTION(.type = 11), "is of type 11, expected 1 to 10");
    option(OPTION(.type = SENDIT_OPT_STRING, .flags = 8), "has flags 0x8, expected none but 0x7");
    option(OPTION(.type = SENDIT_OPT_STRING, .flags = SENDIT_OPT_TEST), NULL);
    option(OPTION(.type = SENDIT_OPT_URL, .flags = SENDIT_OPT_TEST, .limit = "A_HOST"), NULL);
    option(OPTION(.type = SENDIT_OPT_URL, .limit = "A_HOST"),
           "has the limit \"A_HOST\", expected none or, of one for tests, the name of a variable");
    option(OPTION(.type = SENDIT_OPT_URL, .flags = SENDIT_OPT_TEST, .limit = "A-HOST"),
           "has the limit \"A-HOST\", expected none or, of one for tests, the name of a variable");
    option(OPTION(.type = SENDIT_OPT_URL, .flags = SENDIT_OPT_TEST, .limit = ""),
           "has the limit \"\", expected none or, of one for tests, the name of a variable");
    option(OPTION(.type = SENDIT_OPT_URL, .flags = SENDIT_OPT_TEST | SENDIT_OPT_MANY, .limit = "A"),
           "has the limit \"A\", expected none or, of one for tests, the name of a variable");
    option(OPTION(.type = SENDIT_OPT_STRING, .flags = SENDIT_OPT_TEST, .limit = "A"),
           "has the limit \"A\", expected none");
    option(OPTION(.type = SENDIT_OPT_URL, .flags = SENDIT_OPT_TEST | SENDIT_OPT_REQUIRED),
           "is required and for tests, expected one of them");
    option(OPTION(.type = SENDIT_OPT_SECRET, .default_value = "file:$A file:$B/c file:d env:E"),
           NULL);
    option(OPTION(.type = SENDIT_OPT_SECRET, .default_value = "file:$A swordfish"),
           "has a default that is none: a secret never stands here itself: write \"env:NAME\" or "
           "\"file:PATH\"");
    option(OPTION(.type = SENDIT_OPT_SECRET, .default_value = "file:$A/"),
           "has a default that is none: after the variable and / comes a path");
    option(OPTION(.type = SENDIT_OPT_SECRET, .default_value = "file:$/a"),
           "has a default that is none: after env: and $ comes the name of a variable");
    option(OPTION(.type = SENDIT_OPT_SECRET, .default_value = " "),
           "has a default that is none: \"env:NAME\" or \"file:PATH\" was expected");
    option(OPTION(.type = SENDIT_OPT_JSON, .flags = SENDIT_OPT_MANY),
           "is JSON and many, expected one of them");
    option(OPTION(.type = SENDIT_OPT_STRING, .limit = "x"), "has the limit \"x\", expected none");
    option(OPTION(.type = SENDIT_OPT_INTEGER, .limit = "9..1"),
           "has the limit \"9..1\", expected a range such as \"1..64\"");
    option(OPTION(.type = SENDIT_OPT_CHOICE),
           "has the limit \"\", expected words such as \"keep|move\"");
    option(OPTION(.type = SENDIT_OPT_CHOICE, .limit = "a|a"),
           "has the limit \"a|a\", expected words such as \"keep|move\"");
    option(OPTION(.type = SENDIT_OPT_CHOICE, .limit = "a||b"),
           "has the limit \"a||b\", expected words such as \"keep|move\"");
    option(OPTION(.type = SENDIT_OPT_INTEGER, .limit = "1..4", .default_value = "5"),
           "has a default that is none: 5 is outside 1..4");
    option(OPTION(.type = SENDIT_OPT_STRING, .flags = SENDIT_OPT_REQUIRED, .default_value = "a"),
           "is required and has a default");
}

static void parse(int32_t type, const char *text, int64_t number, const char *canonical)
{
    struct option_result result;
    struct err err = {0};
    struct sendit_option o = OPTION(.type = type, .name = "x", .help = "Help.");

    o.limit = type == SENDIT_OPT_CHOICE ? "keep|move" : NULL;
    if (!canonical) {
        assert_int_equal(option_parse(&o, text, "/folder", &result, &err), -1);
        assert_null(strstr(err.text, "swordfish"));
    } else {
        if (option_parse(&o, text, "/folder", &result, &err))
            fail_msg("%s: %s", text, err.text);
        assert_int_equal(result.number, number);
        assert_string_equal(result.text, canonical);
    }
    free(result.text);
}

static void values_are_parsed(void **state)
{
    (void)state;
    parse(SENDIT_OPT_INTEGER, "-7", -7, "-7");
    parse(SENDIT_OPT_INTEGER, "9223372036854775807", INT64_MAX, "9223372036854775807");
    parse(SENDIT_OPT_DURATION, "90s", 90000, "90s");
    parse(SENDIT_OPT_DURATION, "2d", 172800000, "2d");
    parse(SENDIT_OPT_SIZE, "8MiB", 8 << 20, "8MiB");
    parse(SENDIT_OPT_BOOLEAN, "true", 1, "true");
    parse(SENDIT_OPT_CHOICE, "move", 1, "move");
    parse(SENDIT_OPT_PATH, "a/../b/./c", 0, "/folder/b/c");
    parse(SENDIT_OPT_PATH, "/abs//x", 0, "/abs/x");
    parse(SENDIT_OPT_URL, "https://host.example:8443/a?b", 0, "https://host.example:8443/a?b");
    parse(SENDIT_OPT_SECRET, "env:TOKEN_1", 0, "env:TOKEN_1");
    parse(SENDIT_OPT_SECRET, "file:t", 0, "file:/folder/t");
    parse(SENDIT_OPT_SECRET, "file:$TOKENS", 0, "file:$TOKENS");
    parse(SENDIT_OPT_SECRET, "file:$HOME/a b/c", 0, "file:$HOME/a b/c");
    static const struct {
        int32_t type;
        const char *text;
    } bad[] = {
        {SENDIT_OPT_INTEGER, ""},
        {SENDIT_OPT_INTEGER, "1.5"},
        {SENDIT_OPT_INTEGER, " 1"},
        {SENDIT_OPT_INTEGER, "+1"},
        {SENDIT_OPT_INTEGER, "0x10"},
        {SENDIT_OPT_INTEGER, "9223372036854775808"},
        {SENDIT_OPT_DURATION, "90"},
        {SENDIT_OPT_DURATION, "-1s"},
        {SENDIT_OPT_DURATION, "1 s"},
        {SENDIT_OPT_DURATION, "106751991168d"},
        {SENDIT_OPT_DURATION, "1w"},
        {SENDIT_OPT_SIZE, "8MB"},
        {SENDIT_OPT_SIZE, "8mib"},
        {SENDIT_OPT_SIZE, "9007199254740993GiB"},
        {SENDIT_OPT_BOOLEAN, "yes"},
        {SENDIT_OPT_BOOLEAN, "True"},
        {SENDIT_OPT_CHOICE, "keep|move"},
        {SENDIT_OPT_CHOICE, ""},
        {SENDIT_OPT_PATH, ""},
        {SENDIT_OPT_URL, "host.example"},
        {SENDIT_OPT_URL, "ftp://host/"},
        {SENDIT_OPT_URL, "https://"},
        {SENDIT_OPT_URL, "https:///path"},
        {SENDIT_OPT_URL, "https://me:swordfish@host/"},
        {SENDIT_OPT_URL, "https://a b/"},
        {SENDIT_OPT_URL, "https://h\xc3\xb6st/"},
        {SENDIT_OPT_SECRET, "swordfish"},
        {SENDIT_OPT_SECRET, "env:"},
        {SENDIT_OPT_SECRET, "env:sword-swordfish"},
        {SENDIT_OPT_SECRET, "file:"},
        {SENDIT_OPT_SECRET, "file:$"},
        {SENDIT_OPT_SECRET, "file:$a-b/swordfish"},
        {SENDIT_OPT_SECRET, "file:$a/"},
        {99, "x"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        parse(bad[i].type, bad[i].text, 0, NULL);
}

/* A copy of this program in a folder of its own; its exit status. */
static int run_elsewhere(void)
{
    char folder[] = "/tmp/test_load.XXXXXX", program[sizeof(folder) + 16], path[PATH_MAX];
    static const char *const parts[] = {"plugins.d", "site", "other"};
    int status = -1;
    pid_t child;
    char *data;
    size_t n;

    if (!mkdtemp(folder) || chmod(folder, 0755))
        return 1;
    snprintf(program, sizeof(program), "%s/test_load", folder);
    if (file_read("/proc/self/exe", 1u << 30, &data, &n) || file_replace(program, data, n, 0755))
        return 1;
    free(data);
    child = fork();
    if (child == 0) {
        execl(program, program, folder, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return 1;
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, parts[i]);
        empty_folder(path);
        (void)!rmdir(path);
    }
    unlink(program);
    (void)!rmdir(folder);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
#define PLACED(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        PLACED(two_stages_are_two),
        PLACED(the_first_folder_wins),
        PLACED(a_sites_folder_under_another_name_ships_nothing_new),
        PLACED(the_digest_is_that_of_the_file),
        PLACED(the_list_shows_all_and_why_not),
        PLACED(a_stage_that_is_not_there),
        PLACED(a_path_is_no_name),
        PLACED(descriptors_that_are_not_sound),
        PLACED(a_refused_stage_does_not_let_a_later_folder_win),
        PLACED(files_that_are_no_stages),
        PLACED(objects_of_other_machines),
        PLACED(objects_that_are_cut_short),
        PLACED(exports_beside_the_one_are_a_warning),
        PLACED(a_file_that_is_overwritten_changes_nothing),
        PLACED(what_others_may_change_is_refused),
        cmocka_unit_test(every_member_is_checked),
        cmocka_unit_test(option_tables_are_checked),
        cmocka_unit_test(values_are_parsed),
    };

    if (argc < 2)
        return run_elsewhere();
    root = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
