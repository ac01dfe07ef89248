/* SPDX-License-Identifier: Apache-2.0 */
#include "load/load.h"

#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/near.h"
#include "load/option.h"
#include "load/shared_object.h"

#define MAX_OPTIONS 256
#define MAX_FILES 256
/* Bytes of both structs as they were in ABI 1.0. */
#define PLUGIN_SIZE_1_0 (offsetof(struct sendit_plugin, close) + sizeof(sendit_close_fn *))
#define OPTION_SIZE_1_0 (offsetof(struct sendit_option, help) + sizeof(const char *))

/* dlopen() tells objects apart by the name they were opened by, which is that of the descriptor: it
 * stays open as long as the object may be mapped, else the next file would get its number, and the
 * code of this one. */
struct mapping {
    void *handle; /* NULL: nothing is mapped */
    int fd;
    struct loader_copy *copy; /* of its descriptor */
};

struct loader {
    char **folders; /* the site's */
    size_t n_folders;
    char *own;
    bool by_name;
    struct stage_file **loaded; /* by loader_find() */
    char **names;               /* of those */
    struct mapping *mappings;   /* and theirs */
    size_t n_loaded;
    struct stage_file *list; /* by loader_list() */
    struct mapping *list_mappings;
    size_t n_list;
};

/* ---- is a descriptor sound? ---- */

bool loader_is_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;

    if (!n || n >= SENDIT_ID_SIZE || !islower((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) && name[i] != '-')
            return false;
    return true;
}

/* "pixels.checked": words of [a-z0-9_-] with at least one dot between them. */
static bool is_label(const char *word, size_t n)
{
    bool dot = false;

    if (n >= SENDIT_ID_SIZE || !islower((unsigned char)word[0]))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (word[i] == '.') {
            if (i + 1 == n || word[i + 1] == '.')
                return false;
            dot = true;
        } else if (!islower((unsigned char)word[i]) && !isdigit((unsigned char)word[i]) &&
                   word[i] != '_' && word[i] != '-') {
            return false;
        }
    }
    return dot;
}

/* `stages` says that a word without a dot is the name of a stage. */
static int check_words(const char *path, const char *member, const char *words, bool stages,
                       struct err *err)
{
    const char *at = words, *word;
    size_t n;

    if (!words)
        return 0;
    while ((word = option_word(&at, &n))) {
        char copy[SENDIT_ID_SIZE];

        if (is_label(word, n))
            continue;
        snprintf(copy, sizeof(copy), "%.*s", (int)(n < sizeof(copy) ? n : sizeof(copy) - 1), word);
        if (stages && n < sizeof(copy) && loader_is_name(copy))
            continue;
        return err_set(err, ERR_REFUSED, "%s: \"%s\" has \"%s\", expected %s such as %s", path,
                       member, copy, stages ? "a stage or a label" : "a label",
                       stages ? "\"file-store\" or \"deid.header\"" : "\"deid.header\"");
    }
    return 0;
}

static int check_options(const struct sendit_plugin *plugin, const char *path, struct err *err)
{
    if (plugin->n_options > MAX_OPTIONS)
        return err_set(err, ERR_REFUSED, "%s: it has %u options, expected %d at most", path,
                       (unsigned)plugin->n_options, MAX_OPTIONS);
    if (plugin->n_options && !plugin->options)
        return err_set(err, ERR_REFUSED, "%s: it has %u options, found no table", path,
                       (unsigned)plugin->n_options);
    for (uint32_t i = 0; i < plugin->n_options; i++) {
        const char *name = plugin->options[i].name;

        if (option_check(&plugin->options[i], err)) {
            char text[sizeof(err->text)];

            snprintf(text, sizeof(text), "%s", err->text);
            return err_set(err, err->code, "%s: option %u, \"%s\", %s", path, (unsigned)i,
                           name ? name : "", text);
        }
        for (uint32_t j = 0; j < i; j++)
            if (!strcmp(plugin->options[j].name, name))
                return err_set(err, ERR_REFUSED,
                               "%s: option \"%s\" stands twice in its table, expected once", path,
                               name);
    }
    return 0;
}

/* Structs grow at the end alone: that of an older minor may be the shorter one. */
static bool has_size(const struct sendit_plugin *plugin, uint32_t size, size_t first, size_t now)
{
    return size == now || (plugin->abi < SENDIT_ABI && size >= first && size < now);
}

static int check_numbers(const struct sendit_plugin *plugin, const char *path, struct err *err)
{
    const uint32_t known = (SENDIT_NATIVE << 1) - 1;

    if (plugin->magic != SENDIT_MAGIC)
        return err_set(err, ERR_REFUSED, "%s: magic is 0x%08x, expected 0x%08x", path,
                       (unsigned)plugin->magic, SENDIT_MAGIC);
    if (plugin->abi >> 16 != SENDIT_ABI_MAJOR || plugin->abi > SENDIT_ABI)
        return err_set(err, ERR_REFUSED,
                       "%s: it was made for ABI %u.%u, expected %u.0 to %u.%u; %s", path,
                       (unsigned)plugin->abi >> 16, (unsigned)plugin->abi & 0xffff,
                       SENDIT_ABI_MAJOR, SENDIT_ABI_MAJOR, SENDIT_ABI_MINOR,
                       plugin->abi > SENDIT_ABI ? "it needs a newer sendit"
                                                : "compile it with the headers of this sendit");
    if (!has_size(plugin, plugin->size, PLUGIN_SIZE_1_0, sizeof(struct sendit_plugin)))
        return err_set(err, ERR_REFUSED, "%s: its descriptor has %u bytes, expected %zu", path,
                       (unsigned)plugin->size, sizeof(struct sendit_plugin));
    if (!has_size(plugin, plugin->option_size, OPTION_SIZE_1_0, sizeof(struct sendit_option)))
        return err_set(err, ERR_REFUSED, "%s: its options have %u bytes each, expected %zu", path,
                       (unsigned)plugin->option_size, sizeof(struct sendit_option));
    if (plugin->flags & ~known)
        return err_set(err, ERR_REFUSED, "%s: it declares flags 0x%x, expected none but 0x%x", path,
                       (unsigned)plugin->flags, (unsigned)known);
    return 0;
}

static int check_callbacks(const struct sendit_plugin *plugin, const char *path, struct err *err)
{
    bool source = plugin->flags & SENDIT_SOURCE;

    if (!plugin->open || !plugin->close)
        return err_set(err, ERR_REFUSED, "%s: it has no %s(), expected open() and close()", path,
                       plugin->open ? "close" : "open");
    if (source && !plugin->produce)
        return err_set(err, ERR_REFUSED, "%s: it declares SOURCE, expected a produce()", path);
    if (!source && plugin->produce)
        return err_set(err, ERR_REFUSED, "%s: it has a produce(), expected the flag SOURCE", path);
    if (!source && !plugin->process)
        return err_set(err, ERR_REFUSED, "%s: it has no process(), expected one", path);
    return 0;
}

static int check_rest(const struct sendit_plugin *plugin, const char *path, const char *name,
                      struct err *err)
{
    if (!plugin->name || strcmp(plugin->name, name))
        return err_set(err, ERR_REFUSED, "%s: it calls itself \"%.80s\", expected \"%s\"", path,
                       plugin->name ? plugin->name : "", name);
    if (!plugin->version || !isdigit((unsigned char)plugin->version[0]))
        return err_set(err, ERR_REFUSED,
                       "%s: its version is \"%.40s\", expected one like \"1.0.0\"", path,
                       plugin->version ? plugin->version : "");
    if (!plugin->summary || !plugin->summary[0] || strchr(plugin->summary, '\n'))
        return err_set(err, ERR_REFUSED, "%s: it has no summary, expected one line", path);
    if (check_callbacks(plugin, path, err) || check_options(plugin, path, err) ||
        check_words(path, "needs", plugin->needs, false, err) ||
        check_words(path, "grants", plugin->grants, false, err) ||
        check_words(path, "grants_at_finish", plugin->grants_at_finish, false, err) ||
        check_words(path, "after", plugin->after, true, err) ||
        check_words(path, "before", plugin->before, true, err))
        return -1;
    return 0;
}

/* What an older stage has not got is 0. */
static int copy_plugin(const struct sendit_plugin *plugin, const char *path,
                       struct loader_copy *copy, struct err *err)
{
    memcpy(&copy->plugin, plugin, plugin->size);
    if (!plugin->n_options || plugin->n_options > MAX_OPTIONS || !plugin->options)
        return 0;
    copy->options = calloc(plugin->n_options, sizeof(*copy->options));
    if (!copy->options)
        return err_set(err, ERR_PLACE, "%s: no memory", path);
    for (uint32_t i = 0; i < plugin->n_options; i++)
        memcpy(&copy->options[i], (const char *)plugin->options + (size_t)i * plugin->option_size,
               plugin->option_size);
    copy->plugin.options = copy->options;
    return 0;
}

void loader_copy_free(struct loader_copy *copy)
{
    if (copy)
        free(copy->options);
    free(copy);
}

int loader_check(const struct sendit_plugin *plugin, const char *path, const char *name,
                 struct loader_copy **ret_copy, struct err *err)
{
    struct loader_copy *copy;

    if (!plugin)
        return err_set(err, ERR_REFUSED, "%s: it declines ABI %u.%u, expected a descriptor", path,
                       SENDIT_ABI_MAJOR, SENDIT_ABI_MINOR);
    if (check_numbers(plugin, path, err))
        return -1;
    copy = calloc(1, sizeof(*copy));
    if (!copy)
        return err_set(err, ERR_PLACE, "%s: no memory", path);
    if (copy_plugin(plugin, path, copy, err) || check_rest(&copy->plugin, path, name, err)) {
        loader_copy_free(copy);
        return -1;
    }
    *ret_copy = copy;
    return 0;
}

/* ---- files ---- */

static void unmap(struct mapping *mapping)
{
    if (!mapping->handle)
        return;
    loader_copy_free(mapping->copy);
    mapping->copy = NULL;
    dlclose(mapping->handle);
    close(mapping->fd);
    mapping->handle = NULL;
}

/* Why dlopen() failed, without the name that it was told, and what helps. */
static int cannot_load(const char *path, const char *link, struct err *err)
{
    const char *why = dlerror(), *help = "";
    size_t skip = why && !strncmp(why, link, strlen(link)) ? strlen(link) : 0;

    if (skip && !strncmp(why + skip, ": ", 2))
        skip += 2;
    if (why && strstr(why, "undefined symbol"))
        help = "; link it to what has that, or leave its use out";
    else if (why && strstr(why, "cannot open shared object file"))
        help = "; install that library";
    return err_set(err, ERR_REFUSED, "%s: it cannot be loaded: %s%s", path,
                   why ? why + skip : "unknown", help);
}

/* With a handle, `mapping` owns the descriptor, also of a stage that is refused. */
static int map_file(int fd, const char *path, const char *name, bool by_name,
                    struct mapping *mapping, const struct sendit_plugin **ret_plugin,
                    struct err *err)
{
    char link[PATH_MAX];
    sendit_entry_fn *entry;
    void *symbol;

    if (by_name)
        snprintf(link, sizeof(link), "%s", path);
    else
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    mapping->handle = dlopen(link, RTLD_NOW | RTLD_LOCAL);
    if (!mapping->handle)
        return cannot_load(path, link, err);
    mapping->fd = fd;
    symbol = dlsym(mapping->handle, "sendit_stage");
    if (!symbol)
        return err_set(err, ERR_REFUSED,
                       "%s: it exports no sendit_stage(), expected it from SENDIT_PLUGIN()", path);
    /* ISO C has no cast from an object to a function. */
    memcpy(&entry, &symbol, sizeof(entry));
    if (loader_check(entry(SENDIT_ABI), path, name, &mapping->copy, err))
        return -1;
    *ret_plugin = &mapping->copy->plugin;
    return 0;
}

static int warn_of_exports(struct stage_file *file, size_t more, const char *first, struct err *err)
{
    char text[300];

    if (!more)
        return 0;
    snprintf(text, sizeof(text),
             "it exports more than sendit_stage(): %zu symbol%s, such as \"%s\"; compile it with "
             "-fvisibility=hidden",
             more, more > 1 ? "s" : "", first);
    file->warning = strdup(text);
    return file->warning ? 0 : err_set(err, ERR_PLACE, "no memory");
}

/* Fill everything but `hidden` and `hides`; what goes wrong is in `err` and, as text, in
 * `refused`. */
static int load_file(struct stage_file *file, const char *path, const char *name, bool by_name,
                     struct mapping *mapping, struct err *err)
{
    char first[64];
    size_t more = 0;
    int fd = -1, result = -1;

    file->path = strdup(path);
    if (!file->path)
        err_set(err, ERR_PLACE, "no memory");
    else if (shared_object_read(path, name, &fd, err) ||
             shared_object_check(fd, path, &more, first, err))
        ;
    else if (digest_of_fd(fd, file->digest))
        err_set(err, ERR_REFUSED, "%s: it cannot be read", path);
    else if (!warn_of_exports(file, more, first, err))
        result = map_file(fd, path, name, by_name, mapping, &file->plugin, err);
    if (fd >= 0 && !mapping->handle)
        close(fd);
    if (result) {
        file->refused = strdup(err->text);
        free(file->warning);
        file->warning = NULL;
    }
    return result;
}

static void free_file(struct stage_file *file)
{
    free(file->path);
    free(file->hides);
    free(file->refused);
    free(file->warning);
}

/* ---- the loader ---- */

/* build/plugins.d of a build folder, else lib/sendit/plugins.d of the prefix. */
static char *own_folder(void)
{
    char exe[PATH_MAX], path[PATH_MAX + 16], *slash;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    struct stat st;

    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    slash = strrchr(exe, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    snprintf(path, sizeof(path), "%s/plugins.d", exe);
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        return strdup(path);
    return file_join(exe, "../lib/sendit/plugins.d");
}

struct loader *loader_new(const char *const *folders, size_t n_folders, struct err *err)
{
    struct loader *loader = calloc(1, sizeof(*loader));

    if (loader)
        loader->own = own_folder();
    if (!loader || !loader->own) {
        free(loader);
        err_set(err, ERR_PLACE, "no memory, or /proc is not mounted");
        return NULL;
    }
    loader->folders = calloc(n_folders + 1, sizeof(*loader->folders));
    for (size_t i = 0; loader->folders && i < n_folders; i++) {
        loader->folders[i] = strdup(folders[i]);
        if (!loader->folders[i])
            break;
        loader->n_folders++;
    }
    if (!loader->folders || loader->n_folders < n_folders) {
        loader_free(loader);
        err_set(err, ERR_PLACE, "no memory");
        return NULL;
    }
    return loader;
}

static void free_list(struct loader *loader)
{
    for (size_t i = 0; i < loader->n_list; i++) {
        free_file(&loader->list[i]);
        unmap(&loader->list_mappings[i]);
    }
    free(loader->list);
    free(loader->list_mappings);
    loader->list = NULL;
    loader->list_mappings = NULL;
    loader->n_list = 0;
}

void loader_free(struct loader *loader)
{
    if (!loader)
        return;
    free_list(loader);
    for (size_t i = 0; i < loader->n_loaded; i++) {
        free_file(loader->loaded[i]);
        free(loader->loaded[i]);
        free(loader->names[i]);
        unmap(&loader->mappings[i]);
    }
    for (size_t i = 0; i < loader->n_folders; i++)
        free(loader->folders[i]);
    free(loader->folders);
    free(loader->loaded);
    free(loader->names);
    free(loader->mappings);
    free(loader->own);
    free(loader);
}

void loader_by_name(struct loader *loader)
{
    loader->by_name = true;
}

const char *loader_own_folder(const struct loader *loader)
{
    return loader->own;
}

static const char *folder_at(const struct loader *loader, size_t i)
{
    return i < loader->n_folders ? loader->folders[i] : loader->own;
}

static bool same_place(const char *a, const char *b)
{
    struct stat x, y;

    return !strcmp(a, b) ||
           (!stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* A site's folder that is the installation's own under another name is the installation's. */
static bool is_own(const struct loader *loader, const char *folder)
{
    return same_place(folder, loader->own);
}

static bool exists(const char *folder, const char *name, char *path, size_t size)
{
    struct stat st;
    int n = snprintf(path, size, "%s/%s.so", folder, name);

    return n > 0 && (size_t)n < size && !lstat(path, &st);
}

/* What is in the folders, for "did you mean". */
static void try_names(const struct loader *loader, struct near *near, char (*names)[SENDIT_ID_SIZE],
                      size_t max)
{
    size_t n_names = 0;

    for (size_t i = 0; i <= loader->n_folders; i++) {
        DIR *dir = opendir(folder_at(loader, i));
        struct dirent *entry;

        while (dir && n_names < max && (entry = readdir(dir))) {
            size_t n = strlen(entry->d_name);

            if (n < 4 || n - 3 >= SENDIT_ID_SIZE || strcmp(entry->d_name + n - 3, ".so"))
                continue;
            memcpy(names[n_names], entry->d_name, n - 3);
            names[n_names][n - 3] = '\0';
            near_try(near, names[n_names++]);
        }
        if (dir)
            closedir(dir);
    }
}

static int not_found(const struct loader *loader, const char *name, struct err *err)
{
    char names[128][SENDIT_ID_SIZE], hint[128], folders[600] = "";
    struct near near;

    near_start(&near, name);
    try_names(loader, &near, names, 128);
    for (size_t i = 0; i <= loader->n_folders; i++) {
        size_t n = strlen(folders);

        snprintf(folders + n, sizeof(folders) - n, "%s%s", n ? ", " : "", folder_at(loader, i));
    }
    return err_set(err, ERR_REFUSED, "there is no stage \"%s\" in %s%s", name, folders,
                   near_hint(&near, hint, sizeof(hint)));
}

static int note_hidden(const struct loader *loader, const char *name, struct stage_file *file,
                       struct err *err)
{
    char path[PATH_MAX];

    if (file->ships || !exists(loader->own, name, path, sizeof(path)))
        return 0;
    file->hides = strdup(path);
    return file->hides ? 0 : err_set(err, ERR_PLACE, "no memory");
}

static int remember(struct loader *loader, const char *name, struct stage_file *file,
                    const struct mapping *mapping, struct err *err)
{
    size_t n = loader->n_loaded + 1;
    void *files = realloc(loader->loaded, n * sizeof(*loader->loaded));
    void *names, *mappings;

    if (files)
        loader->loaded = files;
    names = realloc(loader->names, n * sizeof(*loader->names));
    if (names)
        loader->names = names;
    mappings = realloc(loader->mappings, n * sizeof(*loader->mappings));
    if (mappings)
        loader->mappings = mappings;
    if (!files || !names || !mappings || !(loader->names[n - 1] = strdup(name)))
        return err_set(err, ERR_PLACE, "no memory");
    loader->loaded[n - 1] = file;
    loader->mappings[n - 1] = *mapping;
    loader->n_loaded = n;
    return 0;
}

static int load_new(struct loader *loader, const char *folder, const char *path, const char *name,
                    const struct stage_file **ret_file, struct err *err)
{
    struct stage_file *file = calloc(1, sizeof(*file));
    struct mapping mapping = {0};

    if (!file)
        return err_set(err, ERR_PLACE, "no memory");
    file->ships = is_own(loader, folder);
    if (shared_object_check_folder(folder, err) ||
        load_file(file, path, name, loader->by_name, &mapping, err) ||
        note_hidden(loader, name, file, err) || remember(loader, name, file, &mapping, err)) {
        unmap(&mapping);
        free_file(file);
        free(file);
        return -1;
    }
    *ret_file = file;
    return 0;
}

int loader_find(struct loader *loader, const char *name, const struct stage_file **ret_file,
                struct err *err)
{
    char path[PATH_MAX];

    if (!loader_is_name(name))
        return err_set(err, ERR_REFUSED,
                       "a stage is called by its name, [a-z][a-z0-9-]*, never by a path");
    for (size_t i = 0; i < loader->n_loaded; i++)
        if (!strcmp(loader->names[i], name)) {
            *ret_file = loader->loaded[i];
            return 0;
        }
    for (size_t i = 0; i <= loader->n_folders; i++)
        if (exists(folder_at(loader, i), name, path, sizeof(path)))
            return load_new(loader, folder_at(loader, i), path, name, ret_file, err);
    return not_found(loader, name, err);
}

/* ---- the list ---- */

static int only_stages(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return n > 3 && !strcmp(entry->d_name + n - 3, ".so");
}

static int list_file(struct loader *loader, const char *folder, const char *file_name,
                     struct err *err)
{
    size_t n = strlen(file_name) - 3, i = loader->n_list;
    char name[NAME_MAX + 1], path[PATH_MAX];
    struct stage_file *files = realloc(loader->list, (i + 1) * sizeof(*files));
    struct mapping *mappings;
    struct err why;

    if (files)
        loader->list = files;
    mappings = realloc(loader->list_mappings, (i + 1) * sizeof(*mappings));
    if (mappings)
        loader->list_mappings = mappings;
    if (!files || !mappings)
        return err_set(err, ERR_PLACE, "no memory");
    memset(&files[i], 0, sizeof(files[i]));
    mappings[i] = (struct mapping){0};
    loader->n_list++;
    snprintf(name, sizeof(name), "%.*s", (int)n, file_name);
    if (snprintf(path, sizeof(path), "%s/%s", folder, file_name) >= (int)sizeof(path))
        return err_set(err, ERR_PLACE, "%s: the path is too long", folder);
    files[i].ships = is_own(loader, folder);
    for (size_t j = 0; j < i && !files[i].hidden; j++)
        files[i].hidden = files[j].path && !strcmp(strrchr(files[j].path, '/') + 1, file_name);
    if (!loader_is_name(name)) {
        files[i].path = strdup(path);
        files[i].refused = strdup("its name is not [a-z][a-z0-9-]*");
    } else if (!strcmp(name, "hold")) {
        files[i].path = strdup(path);
        files[i].refused = strdup("its name is the core's own; call it something else");
    } else if (shared_object_check_folder(folder, &why)) {
        files[i].path = strdup(path);
        files[i].refused = strdup(why.text);
    } else {
        load_file(&files[i], path, name, loader->by_name, &mappings[i], &why);
    }
    if (!files[i].path || (!files[i].plugin && !files[i].refused))
        return err_set(err, ERR_PLACE, "no memory");
    return files[i].hidden ? 0 : note_hidden(loader, name, &files[i], err);
}

int loader_list(struct loader *loader, const struct stage_file **ret_files, size_t *ret_n,
                struct err *err)
{
    int result = 0;

    free_list(loader);
    for (size_t i = 0; i <= loader->n_folders && !result; i++) {
        struct dirent **entries = NULL;
        bool known = false;
        int n;

        for (size_t j = 0; j < i; j++)
            known = known || same_place(folder_at(loader, j), folder_at(loader, i));
        n = known ? 0 : scandir(folder_at(loader, i), &entries, only_stages, alphasort);
        for (int j = 0; j < n; j++) {
            if (!result && loader->n_list < MAX_FILES)
                result = list_file(loader, folder_at(loader, i), entries[j]->d_name, err);
            free(entries[j]);
        }
        free(entries);
    }
    *ret_files = loader->list;
    *ret_n = loader->n_list;
    return result;
}
