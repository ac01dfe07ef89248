/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/diff_files.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "diff/diff.h"

void diff_files_fini(struct diff_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        free(files->files[i].path);
    free(files->files);
    *files = (struct diff_files){0};
}

static int add(struct diff_files *files, const char *path, const char *name, bool found,
               struct err *err)
{
    if (files->n == DIFF_MAX_FILES)
        return err_set(err, ERR_USAGE, "there are more than %d files", DIFF_MAX_FILES);
    if (files->n == files->cap) {
        size_t cap = files->cap ? 2 * files->cap : 16;
        struct diff_file *more = realloc(files->files, cap * sizeof(*more));

        if (!more)
            return err_set(err, ERR_PLACE, "no memory");
        files->files = more;
        files->cap = cap;
    }
    files->files[files->n] = (struct diff_file){.path = strdup(path), .name = name, .found = found};
    return files->files[files->n++].path ? 0 : err_set(err, ERR_PLACE, "no memory");
}

static int add_folder(struct diff_files *files, char *path, const char *name, struct err *err)
{
    char *paths[] = {path, NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    int result = tree ? 0 : err_set(err, ERR_PLACE, "%s: %s", name, strerror(errno));
    FTSENT *entry;

    while (!result && (errno = 0, entry = fts_read(tree)) != NULL) {
        if (entry->fts_info == FTS_F)
            result = add(files, entry->fts_path, name, true, err);
        else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR ||
                 entry->fts_info == FTS_NS)
            result = err_set(err, ERR_PLACE, "%s: a folder or file in it cannot be read: %s", name,
                             strerror(entry->fts_errno));
    }
    if (!result && errno)
        result = err_set(err, ERR_PLACE, "%s: %s", name, strerror(errno));
    if (tree)
        fts_close(tree);
    return result;
}

static int add_name(struct diff_files *files, const char *cwd, const char *name, struct err *err)
{
    char *path = file_join(cwd, name);
    struct stat st;
    int result;

    if (!path)
        return err_set(err, ERR_PLACE, "no memory");
    if (stat(path, &st))
        result = err_set(err, ERR_PLACE, "%s: %s", name, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        result = add_folder(files, path, name, err);
    else
        result = add(files, path, name, false, err);
    free(path);
    return result;
}

static size_t folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (size_t)(slash - path) : 0;
}

static int compare_folders(const struct diff_file *a, const struct diff_file *b)
{
    size_t n = folder_of(a->path), m = folder_of(b->path);
    int order = memcmp(a->path, b->path, n < m ? n : m);

    return order ? order : (n > m) - (n < m);
}

static int compare(const void *a, const void *b)
{
    const struct diff_file *x = a, *y = b;
    int order = compare_folders(x, y);

    return order ? order : strcmp(x->path, y->path);
}

/* Each once, by the user's own word for it where there is one. */
static void unite(struct diff_files *files)
{
    size_t n = 0;

    for (size_t i = 0; i < files->n; i++) {
        struct diff_file *file = &files->files[i];

        if (n && !strcmp(files->files[n - 1].path, file->path)) {
            if (files->files[n - 1].found && !file->found) {
                files->files[n - 1].found = false;
                files->files[n - 1].name = file->name;
            }
            free(file->path);
            continue;
        }
        files->files[n++] = *file;
    }
    files->n = n;
}

static void number(struct diff_files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        struct diff_file *file = &files->files[i];
        const struct diff_file *before = i ? file - 1 : NULL;

        file->batch = before ? before->batch + (compare_folders(before, file) != 0) : 0;
        file->number = 1;
        for (size_t k = i; file->found && k-- > 0;)
            if (files->files[k].found && files->files[k].name == file->name) {
                file->number = files->files[k].number + 1;
                break;
            }
    }
}

int diff_files_find(struct diff_files *files, const char *const *names, size_t n, struct err *err)
{
    char *cwd = realpath(".", NULL);
    int result = cwd ? 0 : err_set(err, ERR_PLACE, "the current folder cannot be read");

    *files = (struct diff_files){0};
    for (size_t i = 0; !result && i < n; i++)
        result = add_name(files, cwd, names[i], err);
    free(cwd);
    if (result)
        return -1;
    if (files->n)
        qsort(files->files, files->n, sizeof(*files->files), compare);
    unite(files);
    number(files);
    return 0;
}
