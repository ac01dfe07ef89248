/* SPDX-License-Identifier: Apache-2.0 */
#include "folder_heap.h"

#include <stdlib.h>
#include <string.h>

static void swap(struct folder *a, struct folder *b)
{
    struct folder keep = *a;

    *a = *b;
    *b = keep;
}

static int make_room(struct folder_heap *heap)
{
    size_t room = heap->room ? 2 * heap->room : 64;
    struct folder *folders;

    if (heap->n < heap->room)
        return 0;
    if (room > FOLDER_HEAP_MAX)
        return -1;
    folders = realloc(heap->folders, room * sizeof(*folders));
    if (!folders)
        return -1;
    heap->folders = folders;
    heap->room = room;
    return 0;
}

sendit_result folder_heap_push(struct folder_heap *heap, char *path, size_t root_length,
                               unsigned depth)
{
    size_t at = heap->n;
    struct folder *folders;

    if (!path || make_room(heap)) {
        free(path);
        return SENDIT_ENOMEM;
    }
    folders = heap->folders;
    folders[at] = (struct folder){.path = path, .root_length = root_length, .depth = depth};
    heap->n++;
    for (; at && strcmp(folders[at].path, folders[(at - 1) / 2].path) < 0; at = (at - 1) / 2)
        swap(&folders[at], &folders[(at - 1) / 2]);
    return SENDIT_OK;
}

struct folder folder_heap_pop(struct folder_heap *heap)
{
    struct folder *folders = heap->folders, least = folders[0];
    size_t n = --heap->n, at = 0, child;

    folders[0] = folders[n];
    for (; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && strcmp(folders[child + 1].path, folders[child].path) < 0)
            child++;
        if (strcmp(folders[at].path, folders[child].path) <= 0)
            break;
        swap(&folders[at], &folders[child]);
    }
    return least;
}

void folder_heap_fini(struct folder_heap *heap)
{
    while (heap->n)
        free(heap->folders[--heap->n].path);
    free(heap->folders);
    *heap = (struct folder_heap){0};
}
