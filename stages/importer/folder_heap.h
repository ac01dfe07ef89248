/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder_heap.h - folders that are still to be looked into, the least path first.
 *
 * What lies in a folder has a path behind its own, so that folders which are pushed while they are
 * popped come out in byte order of all paths, however deep, without recursion.
 */
#ifndef SENDIT_FOLDER_HEAP_H
#define SENDIT_FOLDER_HEAP_H

#include <sendit/stage.h>

#define FOLDER_HEAP_MAX (1u << 22)

struct folder {
    char *path;
    size_t root_length; /* of the folder that the site named, at the head of `path` */
    unsigned depth;     /* below that folder */
};

/* Zeroed, it is empty. */
struct folder_heap {
    struct folder *folders;
    size_t n, room;
};

/* Takes `path`, also on failure; ENOMEM if it is NULL. */
sendit_result folder_heap_push(struct folder_heap *heap, char *path, size_t root_length,
                               unsigned depth);
/* Of a heap that is not empty; the path is the caller's to free. */
struct folder folder_heap_pop(struct folder_heap *heap);
void folder_heap_fini(struct folder_heap *heap);

#endif
