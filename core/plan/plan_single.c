/* SPDX-License-Identifier: Apache-2.0 */
/* plan_single.c - a plan of one stage, for its own tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/builder.h"

/* A required option is missed by name, at the place of the object that lacks it. */
static int read_options(struct builder *b, struct plan_stage *stage)
{
    const struct sendit_plugin *plugin = stage->plugin;
    char what[SENDIT_ID_SIZE + 16];
    const struct option_scope scope = {.id = stage->id,
                                       .what = what,
                                       .config = b->doc.root,
                                       .place = b->doc.root,
                                       .options = plugin->options,
                                       .n_options = plugin->n_options,
                                       .enabled = true};

    snprintf(what, sizeof(what), "stage \"%s\"", stage->id);
    stage->values = calloc(plugin->n_options + 1u, sizeof(*stage->values));
    return stage->values ? builder_values(b, &scope, stage->values) : builder_no_memory(b);
}

static int fill_stage(struct builder *b, struct plan_stage *stage, const struct stage_file *file)
{
    struct plan *plan = b->plan;
    const struct sendit_plugin *plugin = file->plugin;
    uint64_t none;

    stage->file = file;
    stage->plugin = plugin;
    stage->enabled = true;
    stage->line = stage->col = 1;
    stage->id = strdup(plugin->name);
    stage->use = strdup(plugin->name);
    stage->allow = calloc(1, sizeof(*stage->allow));
    if (!stage->id || !stage->use || !stage->allow)
        return builder_no_memory(b);
    stage->egress = (plugin->flags & SENDIT_EGRESS) ||
                    ((plugin->flags & SENDIT_NETWORK) && !(plugin->flags & SENDIT_SENDS_PHI));
    if (plan_labels(plan, NULL, &none) || plan_labels(plan, plugin->needs, &stage->needs) ||
        plan_labels(plan, plugin->grants, &stage->grants) ||
        plan_labels(plan, plugin->grants_at_finish, &stage->grants_at_finish))
        return err_set(b->err, ERR_REFUSED, "%s: it names more than %d labels", file->path,
                       PLAN_MAX_LABELS);
    return read_options(b, stage);
}

int plan_single(const struct plan_single *single, struct plan **ret_plan, struct err *err)
{
    static const char nothing[] = "{}";
    const struct plan_request request = {.path = single->path};
    struct builder b = {.request = &request, .err = err};
    const char *text = single->text ? single->text : nothing;
    size_t len = single->text ? single->text_len : strlen(nothing);
    int result = -1;

    b.plan = calloc(1, sizeof(*b.plan));
    if (!b.plan)
        return builder_no_memory(&b);
    b.plan->path = strdup(single->path);
    b.plan->folder = strdup(single->folder);
    b.plan->state = strdup(single->folder);
    b.plan->stages = calloc(1, sizeof(*b.plan->stages));
    if (!b.plan->path || !b.plan->folder || !b.plan->state || !b.plan->stages) {
        builder_no_memory(&b);
    } else if (!json_doc_parse(&b.doc, single->path, text, len, PLAN_MAX_NEST, err)) {
        b.plan->n_stages = 1;
        result = fill_stage(&b, &b.plan->stages[0], single->file);
        json_doc_fini(&b.doc);
    }
    if (result)
        plan_free(b.plan);
    else
        *ret_plan = b.plan;
    return result;
}
