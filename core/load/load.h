/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - finds and loads stages; the only room that calls dlopen.
 *
 * Folders are searched in order, the first hit by name ("NAME.so") wins: each --plugins folder,
 * `plugins.d` beside pipeline.json, the installation's own (build/plugins.d or
 * lib/sendit/plugins.d, found from /proc/self/exe).  A stage ships when its file lies in the last.
 * A file is read once, into memory that nobody can change; what is hashed and what is loaded are
 * those bytes, whatever becomes of the file.
 */
#ifndef SENDIT_LOAD_LOAD_H
#define SENDIT_LOAD_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/err.h"
#include "sendit/stage.h"

struct stage_file {
    const struct sendit_plugin *plugin; /* NULL in a list entry that was refused */
    char *path;                         /* absolute */
    char digest[DIGEST_HEX];            /* SHA-256 of the file */
    bool ships;                         /* from the installation's own folder */
    bool hidden;                        /* in a list: another of that name comes first */
    char *hides;                        /* path of the shipped stage that this one hides, or NULL */
    char *refused;                      /* in a list: why it cannot be loaded, one sentence */
    char *warning;                      /* it can be loaded, but: one sentence, or NULL */
};

struct loader;

/* `folders` are the site's, in order, absolute, copied; the installation's own is added.  What was
 * loaded stays mapped until loader_free(). */
struct loader *loader_new(const char *const *folders, size_t n_folders, struct err *err);
void loader_free(struct loader *loader);
/* From now on a stage is loaded by the name of its file, as a debugger needs it to find the source:
 * whoever changes the file meanwhile changes the code.  For `sendit test-stage --gdb` alone. */
void loader_by_name(struct loader *loader);
/* The folder that holds what ships; never NULL. */
const char *loader_own_folder(const struct loader *loader);

/* Load by name; the same result for the same name.  It lives as long as the loader.  ERR_REFUSED
 * with one sentence: file, what was expected, what was found; or the folders that were searched. */
int loader_find(struct loader *loader, const char *name, const struct stage_file **ret_file,
                struct err *err);
/* Every file in every folder, in search order, loaded or with why not. */
int loader_list(struct loader *loader, const struct stage_file **ret_files, size_t *ret_n,
                struct err *err);

/* May a stage be called so: [a-z][a-z0-9-]*, shorter than SENDIT_ID_SIZE?  NULL is no name. */
bool loader_is_name(const char *name);
/* A descriptor as this host knows it: what a stage of an older minor has not got is 0. */
struct loader_copy {
    struct sendit_plugin plugin;
    struct sendit_option *options; /* those that it points to */
};
/* Is the descriptor sound?  Shared with tests.  0 or -1 with one sentence about `path`. */
int loader_check(const struct sendit_plugin *plugin, const char *path, const char *name,
                 struct loader_copy **ret_copy, struct err *err);
void loader_copy_free(struct loader_copy *copy); /* NULL is fine */

#endif
