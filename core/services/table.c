/* SPDX-License-Identifier: Apache-2.0 */
#include "services/table.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One piece of what lives until the callback returns. */
struct host_memory {
    struct host_memory *next;
    size_t length;
    bool secret;
    _Alignas(max_align_t) char data[];
};

struct host *table_host(const struct sendit_host *handle)
{
    return handle ? handle->priv : NULL;
}

struct host *table_enter(const struct sendit_host *handle)
{
    struct host *host = table_host(handle);

    if (host && atomic_load(&host->in_callback) && pthread_equal(host->thread, pthread_self()))
        return host;
    if (host)
        table_misuse(host, "The stage called the host outside a callback or its thread", NULL);
    return NULL;
}

sendit_result table_misuse(struct host *host, const char *text, const char *name)
{
    char said[200];

    if (atomic_load(&host->in_callback) ? atomic_exchange(&host->bug, true)
                                        : atomic_exchange(&host->bug_outside, true))
        return SENDIT_EINVAL; /* said already */
    if (name)
        snprintf(said, sizeof(said), "%s: \"%.64s\".", text, name);
    else
        snprintf(said, sizeof(said), "%s.", text);
    host->host.log(&host->host, SENDIT_ERROR, "host.misuse", said);
    return SENDIT_EINVAL;
}

void *table_copy(struct host *host, const void *data, size_t length, bool secret)
{
    struct host_memory *memory;

    if (length >= SIZE_MAX - sizeof(*memory))
        return NULL;
    memory = malloc(sizeof(*memory) + length + 1);
    if (!memory)
        return NULL;
    memory->next = host->memory;
    memory->length = length;
    memory->secret = secret;
    if (data && length)
        memcpy(memory->data, data, length);
    memory->data[data ? length : 0] = '\0';
    memory->data[length] = '\0';
    host->memory = memory;
    return memory->data;
}

sendit_result table_text(struct host *host, const char *text, const char **ret_text)
{
    const char *copy = table_copy(host, text, strlen(text), false);

    if (!copy)
        return SENDIT_ENOMEM;
    *ret_text = copy;
    return SENDIT_OK;
}

bool table_is_word(const char *word)
{
    size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n && n <= HOST_MAX_WORD && !word[n] && word[0] != '.';
}

void table_free_memory(struct host *host)
{
    struct host_memory *memory = host->memory;

    host->memory = NULL;
    while (memory) {
        struct host_memory *next = memory->next;

        if (memory->secret)
            explicit_bzero(memory->data, memory->length);
        free(memory);
        memory = next;
    }
}
