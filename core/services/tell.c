/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tell.c - what settle() and compare() are handed: tables by which they tell what they found.
 */
#include "services/table.h"

#include <stdio.h>
#include <string.h>

#define MAX_SUBJECT 1024 /* bytes of what is named, as an object of a bucket is */

static sendit_result bad_call(struct host *host, const char *name)
{
    return table_misuse(host, "The stage told what cannot be in settle() or compare()", name);
}

/* A code that is a word and not one of the host's, a text that is cut. */
static void take_reason(const struct host *host, const char *code, const char *text,
                        struct sendit_why *ret_why)
{
    memset(ret_why, 0, sizeof(*ret_why));
    if (code && table_is_word(code) && strncmp(code, "host.", 5) != 0)
        snprintf(ret_why->code, sizeof(ret_why->code), "%s", code);
    else
        snprintf(ret_why->code, sizeof(ret_why->code), "%.22s.unknown", host->stage->plugin->name);
    snprintf(ret_why->text, sizeof(ret_why->text), "%s", text ? text : "");
}

static sendit_result settled(const struct sendit_settle *table, const char *batch_id,
                             sendit_verdict verdict, const char *code, const char *text)
{
    struct host *host = table ? table_enter(table->priv) : NULL;
    const struct host_link *link;
    struct sendit_why why = {0};

    if (!host)
        return SENDIT_EINVAL;
    if (!host->settles || !batch_id || !*batch_id || strlen(batch_id) >= SENDIT_ID_SIZE ||
        (verdict != SENDIT_PASS && verdict != SENDIT_FAIL))
        return bad_call(host, "batch");
    if (verdict == SENDIT_FAIL)
        take_reason(host, code, text, &why);
    link = host->env->link;
    if (!link || !link->settled)
        return SENDIT_EIO;
    return link->settled(link->ctx, host->stage->id, batch_id, verdict, why.code, why.text);
}

static sendit_result differs(const struct sendit_compare *table, const char *code,
                             const char *subject, const char *text)
{
    struct host *host = table ? table_enter(table->priv) : NULL;
    char name[MAX_SUBJECT + 1];
    const struct host_link *link;
    struct sendit_why why;

    if (!host)
        return SENDIT_EINVAL;
    if (!host->compares || !subject || !*subject)
        return bad_call(host, "differs");
    take_reason(host, code, text, &why);
    snprintf(name, sizeof(name), "%s", subject);
    link = host->env->link;
    if (!link || !link->differs)
        return SENDIT_EIO;
    return link->differs(link->ctx, host->stage->id, why.code, name, why.text);
}

static sendit_result counted(const struct sendit_compare *table, const char *what, uint64_t n)
{
    struct host *host = table ? table_enter(table->priv) : NULL;
    const struct host_link *link;

    if (!host)
        return SENDIT_EINVAL;
    if (!host->compares || !what || !table_is_word(what))
        return bad_call(host, "counted");
    link = host->env->link;
    if (!link || !link->counted)
        return SENDIT_EIO;
    return link->counted(link->ctx, host->stage->id, what, n);
}

struct sendit_settle host_settle_table(struct host *host, bool last)
{
    host->settles = true;
    return (struct sendit_settle){.priv = &host->host, .last = last, .batch = settled};
}

struct sendit_compare host_compare_table(struct host *host)
{
    host->compares = true;
    return (struct sendit_compare){.priv = &host->host, .differs = differs, .counted = counted};
}
