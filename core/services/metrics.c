/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - table metrics of services.h, [any].  The ledger has counters only: a sample of NAME
 * adds 1 to NAME.count and its value in millionths to NAME.sum_micro, of which a mean is made.
 */
#include "services/table.h"

#include <math.h>
#include <stdio.h>

#define MAX_SAMPLE 1e9 /* so that the sum of nine thousand of them fits into a counter */

static const struct host_link *find_link(struct host *host, const char *name)
{
    const struct host_link *link = host ? host->env->link : NULL;

    if (host && (!name || !table_is_word(name))) {
        table_misuse(host, "The stage named a metric that is no word", NULL);
        return NULL;
    }
    return link && link->metric ? link : NULL;
}

static void add(const struct sendit_host *handle, const char *name, int64_t delta)
{
    const struct host_link *link = find_link(table_host(handle), name);

    if (link)
        link->metric(link->ctx, handle->stage, name, delta);
}

static void observe(const struct sendit_host *handle, const char *name, double value)
{
    const struct host_link *link = find_link(table_host(handle), name);
    char counter[HOST_MAX_WORD + sizeof(".sum_micro")];

    if (!link || !isfinite(value) || fabs(value) > MAX_SAMPLE)
        return;
    snprintf(counter, sizeof(counter), "%s.count", name);
    link->metric(link->ctx, handle->stage, counter, 1);
    snprintf(counter, sizeof(counter), "%s.sum_micro", name);
    link->metric(link->ctx, handle->stage, counter, (int64_t)(value * 1e6));
}

const struct sendit_metrics host_metrics = {.add = add, .observe = observe};
