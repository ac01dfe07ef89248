/* SPDX-License-Identifier: Apache-2.0 */
/* plan_warn.c - what may be meant, and most often is not: the plan stands all the same. */
#include "plan/plan.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The text of an option of an enabled stage; NULL if it is another stage, or has no such text. */
static const char *text_of(const struct plan_stage *stage, const char *use, const char *option)
{
    const struct plan_value *value =
        stage->enabled && !strcmp(stage->use, use) ? plan_value(stage, option) : NULL;

    return value ? value->text : NULL;
}

static bool is_lower(const char *lower, const char *text)
{
    while (*lower && *lower == tolower((unsigned char)*text))
        lower++, text++;
    return !*lower && !*text;
}

/* The identifier service knows a study by the name of the collection, in lower case. */
static void warn_study(const struct plan *plan, const struct plan_stage *service, const char *study,
                       plan_warn_fn *each, void *ctx)
{
    const struct plan_value *value = plan_value(service, "study");
    char sentence[1000];

    for (size_t i = 0; i < plan->n_stages; i++) {
        const char *collection = text_of(&plan->stages[i], "gcs-store", "collection");

        if (!collection || is_lower(study, collection))
            continue;
        snprintf(
            sentence, sizeof(sentence),
            "%s:%u:%u: \"%s\" asks for identifiers of the study \"%.80s\", and \"%s\" stores "
            "into the collection \"%.80s\": a study is called as its collection, in lower case",
            plan->path, value->line ? value->line : service->line,
            value->line ? value->col : service->col, service->id, study, plan->stages[i].id,
            collection);
        each(ctx, sentence);
    }
}

void plan_warn(const struct plan *plan, plan_warn_fn *each, void *ctx)
{
    for (size_t i = 0; i < plan->n_stages; i++) {
        const char *study = text_of(&plan->stages[i], "restful-anonymizer", "study");

        if (study)
            warn_study(plan, &plan->stages[i], study, each, ctx);
    }
}
