/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.h - a table of strings by strings.
 *
 * Zero-initialized it is empty.  Keys and values are copied.  What map_get() returns lives until
 * that key is put again or the map is cleared.  Whoever fills it sets the bound.
 */
#ifndef SENDIT_BASE_MAP_H
#define SENDIT_BASE_MAP_H

#include <stddef.h>

struct map_entry;
struct map {
    struct map_entry **buckets; /* owned */
    size_t n_buckets, n;
};

/* NULL if it is not there. */
const char *map_get(const struct map *map, const char *key);
/* Insert or replace; -1 without memory, the map being as it was. */
int map_put(struct map *map, const char *key, const char *value);
/* Call `each` for all, in no order that anybody may rely on, until one does not return 0. */
int map_each(const struct map *map, int (*each)(void *ctx, const char *key, const char *value),
             void *ctx);
void map_clear(struct map *map);

#endif
