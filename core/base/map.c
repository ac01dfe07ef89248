/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 64

struct map_entry {
    struct map_entry *next;
    uint64_t hash;
    const char *value; /* behind the key */
    char key[];
};

static uint64_t hash_of(const char *key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (; *key; key++)
        hash = (hash ^ (unsigned char)*key) * 1099511628211u;
    return hash;
}

/* Where the entry hangs, or would. */
static struct map_entry **find(const struct map *map, const char *key, uint64_t hash)
{
    struct map_entry **at = &map->buckets[hash & (map->n_buckets - 1)];

    while (*at && ((*at)->hash != hash || strcmp((*at)->key, key)))
        at = &(*at)->next;
    return at;
}

const char *map_get(const struct map *map, const char *key)
{
    struct map_entry *entry = map->n ? *find(map, key, hash_of(key)) : NULL;

    return entry ? entry->value : NULL;
}

static int grow(struct map *map)
{
    size_t n = map->n_buckets ? 2 * map->n_buckets : FIRST_BUCKETS;
    struct map_entry **buckets = calloc(n, sizeof(struct map_entry *));

    if (!buckets)
        return -1;
    for (size_t i = 0; i < map->n_buckets; i++)
        for (struct map_entry *entry = map->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & (n - 1)];
            buckets[entry->hash & (n - 1)] = entry;
        }
    free(map->buckets);
    map->buckets = buckets;
    map->n_buckets = n;
    return 0;
}

int map_put(struct map *map, const char *key, const char *value)
{
    size_t key_size = strlen(key) + 1, value_size = strlen(value) + 1;
    struct map_entry *entry, **at;

    if (map->n >= map->n_buckets && grow(map))
        return -1;
    entry = malloc(sizeof(*entry) + key_size + value_size);
    if (!entry)
        return -1;
    memcpy(entry->key, key, key_size);
    memcpy(entry->key + key_size, value, value_size);
    entry->value = entry->key + key_size;
    entry->hash = hash_of(key);
    at = find(map, key, entry->hash);
    entry->next = *at ? (*at)->next : NULL;
    map->n += !*at;
    free(*at);
    *at = entry;
    return 0;
}

int map_each(const struct map *map, int (*each)(void *ctx, const char *key, const char *value),
             void *ctx)
{
    for (size_t i = 0; i < map->n_buckets; i++)
        for (struct map_entry *entry = map->buckets[i]; entry; entry = entry->next) {
            int r = each(ctx, entry->key, entry->value);

            if (r)
                return r;
        }
    return 0;
}

void map_clear(struct map *map)
{
    for (size_t i = 0; i < map->n_buckets; i++)
        for (struct map_entry *entry = map->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            free(entry);
        }
    free(map->buckets);
    *map = (struct map){0};
}
