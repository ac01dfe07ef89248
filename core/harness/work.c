/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/work.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "harness/look.h"
#include "harness/text.h"

#define MAX_NAME (SENDIT_ID_SIZE - 1)
#define MAX_SHOWN 4096                       /* bytes of a text file that is shown as it is */
#define MAX_INPUT_BYTES ((size_t)1024 << 20) /* of an input that is copied */

/* ---- the folder ---- */

char *work_folder(void)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/sendit-case.XXXXXX", base && *base ? base : "/tmp") >=
        (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    /* As the kernel calls it, since that is what a stage may compare. */
    return mkdtemp(path) ? realpath(path, NULL) : NULL;
}

static FTS *open_tree(char *path)
{
    char *paths[] = {path, NULL};

    return fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
}

/* What a case could close to itself is opened again, so that nothing is left. */
void work_remove(const char *path)
{
    char *copy = strdup(path);
    FTS *tree = copy ? open_tree(copy) : NULL;
    FTSENT *entry;

    while (tree && (entry = fts_read(tree))) {
        if (entry->fts_info == FTS_D)
            chmod(entry->fts_accpath, 0700);
        else if (entry->fts_info == FTS_DP || entry->fts_info == FTS_DNR)
            rmdir(entry->fts_accpath);
        else
            unlink(entry->fts_accpath);
    }
    if (tree)
        fts_close(tree);
    free(copy);
}

/* ---- items ---- */

static bool is_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
            return false;
    return n && n <= MAX_NAME && name[0] != '.';
}

int work_add(struct work *work, const char *name, const char *relative, struct err *err)
{
    struct work_item *items;
    size_t n = work->n_items;

    if (n == CASE_MAX_ITEMS)
        return err_set(err, ERR_REFUSED, "there are more than %d items", CASE_MAX_ITEMS);
    items = realloc(work->items, (n + 1) * sizeof(*items));
    if (!items)
        return err_set(err, ERR_PLACE, "no memory");
    work->items = items;
    items[n].name = strdup(name);
    items[n].path = file_join(work->path, relative);
    work->n_items++;
    return items[n].name && items[n].path ? 0 : err_set(err, ERR_PLACE, "no memory");
}

static int copy_file(const char *from, const char *to, struct err *err)
{
    char *data;
    size_t n;
    int fd, bad;

    if (file_read(from, MAX_INPUT_BYTES, &data, &n))
        return err_set(err, ERR_REFUSED, "%s: it cannot be read: %s", from, strerror(errno));
    fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bad = fd < 0 || file_write_all(fd, data, n);
    if (fd >= 0)
        close(fd);
    free(data);
    return bad ? err_set(err, ERR_PLACE, "%s: %s", to, strerror(errno)) : 0;
}

/* dump2dcm ends with 0 in any case; whether it wrote the file says whether it could. */
static int convert_dump(const char *from, const char *to, struct err *err)
{
    char *argv[] = {(char[]){"dump2dcm"}, (char[]){"-ll"}, (char[]){"error"},
                    strdup(from),         strdup(to),      NULL};
    pid_t pid;
    int status = -1, result = 0;

    if (!argv[3] || !argv[4])
        result = err_set(err, ERR_PLACE, "no memory");
    else if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
        result = err_set(err, ERR_REFUSED,
                         "%s: to read it, dump2dcm is needed: install the package dcmtk", from);
    else if (waitpid(pid, &status, 0) < 0 || status || access(to, F_OK))
        result = err_set(err, ERR_REFUSED, "%s: dump2dcm cannot read it", from);
    free(argv[3]);
    free(argv[4]);
    return result;
}

static int bring(struct work *work, const char *from, const char *file, struct err *err)
{
    const char *dot = strrchr(file, '.');
    size_t n = dot ? (size_t)(dot - file) : strlen(file);
    char name[MAX_NAME + 1], relative[MAX_NAME + 16];
    char *to;
    int result;

    if (!is_name(file, n))
        return err_set(err, ERR_REFUSED,
                       "%s: its name without the ending needs up to %d of [A-Za-z0-9._-]", from,
                       MAX_NAME);
    snprintf(name, sizeof(name), "%.*s", (int)n, file);
    snprintf(relative, sizeof(relative), "in/%s.dcm", name);
    for (size_t i = 0; i < work->n_items; i++)
        if (!strcmp(work->items[i].name, name))
            return err_set(err, ERR_REFUSED, "%s: there are two inputs of this name", from);
    to = file_join(work->path, relative);
    if (!to)
        return err_set(err, ERR_PLACE, "no memory");
    result = dot && !strcmp(dot, ".dump") ? convert_dump(from, to, err) : copy_file(from, to, err);
    free(to);
    return result ? -1 : work_add(work, name, relative, err);
}

static int bring_one(struct work *work, const char *folder, const char *file, struct err *err)
{
    char *from = file_join(folder, file);
    int result = from ? bring(work, from, file, err) : err_set(err, ERR_PLACE, "no memory");

    free(from);
    return result;
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int bring_folder(struct work *work, const char *folder, struct err *err)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_input, by_bytes), result = 0;

    if (n < 0)
        return err_set(err, ERR_REFUSED, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (!result)
            result = bring_one(work, folder, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    if (!result && !n)
        result = err_set(err, ERR_REFUSED, "%s: there is nothing in it", folder);
    return result;
}

static int bring_input(struct work *work, const struct test_case *tc, struct err *err)
{
    char *folder = file_join(work->path, "in"), *inputs;
    int result;

    if (tc->input == CASE_NO_INPUT) {
        free(folder);
        return 0;
    }
    result = folder && !mkdir(folder, 0700) ? 0 : err_set(err, ERR_PLACE, "%s", strerror(errno));
    free(folder);
    if (result)
        return -1;
    if (tc->input != CASE_FOLDER)
        return bring_one(work, tc->folder, tc->input == CASE_DCM ? "in.dcm" : "in.dump", err);
    inputs = file_join(tc->folder, "in");
    result = inputs ? bring_folder(work, inputs, err) : err_set(err, ERR_PLACE, "no memory");
    free(inputs);
    return result;
}

/* ---- the tree ---- */

/* A path that stays below the folder; the caller frees it. */
static char *below(const struct work *work, const char *relative)
{
    char *path = relative[0] == '/' ? NULL : file_join(work->path, relative);

    if (path && (!file_is_below(path, work->path) || !strcmp(path, work->path))) {
        free(path);
        return NULL;
    }
    return path;
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), bad;

    if (fd < 0)
        return -1;
    bad = file_write_all(fd, text, strlen(text));
    return close(fd) || bad ? -1 : 0;
}

static int make_parent(const char *path)
{
    char *copy = strdup(path), *slash = copy ? strrchr(copy, '/') : NULL;
    int result = -1;

    if (slash && slash != copy) {
        *slash = '\0';
        result = file_mkdirs(copy, 0700);
    }
    free(copy);
    return result;
}

static int make_entry(const char *path, const json_t *entry)
{
    const char *link = json_string_value(json_object_get(entry, "link"));
    const char *text = json_string_value(json_object_get(entry, "text"));
    const char *mode = json_string_value(json_object_get(entry, "mode"));
    int result;

    if (make_parent(path))
        return -1;
    if (json_is_true(json_object_get(entry, "folder")))
        result = file_mkdirs(path, 0700);
    else if (json_is_true(json_object_get(entry, "fifo")))
        result = mkfifo(path, 0600);
    else if (link)
        return symlink(link, path);
    else
        result = write_text(path, text ? text : "");
    return result || !mode ? result : chmod(path, (mode_t)strtoul(mode, NULL, 8) & 07777);
}

static int plant_item(const struct work *work, const char *path, const char *name,
                      struct dicom *dicom)
{
    const struct sendit_file *file;
    struct dicom_object *object = NULL;
    struct dicom_refusal refusal;
    struct stat st;
    int fd = -1, bad = -1;

    for (size_t i = 0; i < work->n_items && !object; i++)
        if (!strcmp(work->items[i].name, name) &&
            dicom_open(dicom, work->items[i].path, &object, &st, &refusal))
            return -1;
    if (!object || make_parent(path) || dicom_view(dicom_dataset(object), &file) != SENDIT_OK)
        goto out;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bad = fd < 0;
    for (uint32_t i = 0; !bad && i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];
        loff_t from = (loff_t)part->offset;

        if (part->data)
            bad = file_write_all(fd, part->data, (size_t)part->length);
        else
            bad = copy_file_range(part->fd, &from, fd, NULL, (size_t)part->length, 0) !=
                  (ssize_t)part->length;
    }
out:
    if (fd >= 0)
        close(fd);
    dicom_close(object);
    return bad ? -1 : 0;
}

int work_plant(struct work *work, const struct test_case *tc, struct dicom *dicom, struct err *err)
{
    const char *relative;
    json_t *entry;

    json_object_foreach((json_t *)(uintptr_t)case_host(tc, "tree"), relative, entry)
    {
        const char *item = json_string_value(json_object_get(entry, "item"));
        char *path = below(work, relative);
        int bad = !path || (item ? plant_item(work, path, item, dicom) : make_entry(path, entry));

        free(path);
        if (bad)
            return err_set(err, ERR_REFUSED, "%s: tree: \"%.200s\" cannot be made", tc->host.path,
                           relative);
    }
    return 0;
}

/* ---- secrets ---- */

static int make_secrets(const struct work *work, const struct test_case *tc, struct err *err)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)case_host(tc, "secrets"), name, value)
    {
        char *path = !strncmp(name, "file:", 5) ? below(work, name + 5) : NULL;
        int bad = -1;

        if (path)
            bad = make_parent(path) || write_text(path, json_string_value(value));
        else if (!strncmp(name, "env:", 4) && name[4] && !strchr(name, '='))
            bad = setenv(name + 4, json_string_value(value), 1);
        free(path);
        if (bad)
            return err_set(err, ERR_REFUSED,
                           "%s: secrets: \"%.200s\" cannot be made; write \"env:NAME\" or "
                           "\"file:PATH\", as in config.json",
                           tc->host.path, name);
    }
    return 0;
}

/* ---- what is there ---- */

static json_t *describe(const FTSENT *entry)
{
    char target[PATH_MAX], hex[DIGEST_HEX];
    ssize_t n;
    json_t *json = NULL;
    int fd;

    if (entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE) {
        n = readlink(entry->fts_accpath, target, sizeof(target) - 1);
        return n < 0 ? json_null() : json_pack("{s:s%}", "link", target, (size_t)n);
    }
    if (entry->fts_info != FTS_F)
        return json_string("no file");
    fd = open(entry->fts_accpath, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return json_string("cannot be read");
    if (entry->fts_statp->st_size <= MAX_SHOWN) {
        char text[MAX_SHOWN + 1];

        n = pread(fd, text, sizeof(text), 0);
        json = n < 0 ? json_string("cannot be read") : text_bytes(text, (size_t)n);
    } else if (!digest_of_fd(fd, hex)) {
        json =
            json_pack("{s:I, s:s}", "bytes", (json_int_t)entry->fts_statp->st_size, "sha256", hex);
    }
    close(fd);
    return json;
}

static json_t *look_around(const struct work *work)
{
    json_t *files = json_object();
    FTS *tree = open_tree(work->path);
    size_t skip = strlen(work->path) + 1;
    bool bad = !files || !tree;
    FTSENT *entry;

    while (!bad && (entry = fts_read(tree)))
        if (entry->fts_info != FTS_D && entry->fts_info != FTS_DP && strlen(entry->fts_path) > skip)
            bad = json_object_set_new(files, entry->fts_path + skip, describe(entry)) != 0;
    if (tree)
        fts_close(tree);
    if (bad) {
        json_decref(files);
        files = NULL;
    }
    return files;
}

int work_remember(struct work *work)
{
    json_decref(work->before);
    work->before = look_around(work);
    return work->before ? 0 : -1;
}

json_t *work_changes(const struct work *work)
{
    json_t *now = look_around(work), *changes;

    if (!now)
        return NULL;
    changes = look_difference(work->before, now);
    json_decref(now);
    return changes;
}

int work_init(struct work *work, const char *path, const struct test_case *tc, struct err *err)
{
    memset(work, 0, sizeof(*work));
    work->path = strdup(path);
    if (!work->path)
        return err_set(err, ERR_PLACE, "no memory");
    return tc ? bring_input(work, tc, err) || make_secrets(work, tc, err) : 0;
}

void work_fini(struct work *work)
{
    for (size_t i = 0; i < work->n_items; i++) {
        free(work->items[i].name);
        free(work->items[i].path);
    }
    free(work->items);
    free(work->path);
    json_decref(work->before);
    memset(work, 0, sizeof(*work));
}
