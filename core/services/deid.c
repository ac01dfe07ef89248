/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deid.c - table deid of services.h: core/deid, and whose plan it is.  A stage that compiles the
 * same lists again, as after a RETRY of open(), gets the same plan.
 */
#include "deid/deid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "services/table.h"

#define MAX_NAMES 64 /* of profiles, and of recipes */

/* What a stage holds: the functions that take it get no host. */
struct sendit_deid_plan {
    struct sendit_deid_plan *next;
    struct host *host;
    char *names; /* what was compiled */
    struct deid_plan *compiled;
};

static bool add_names(struct buf *names, const char *const *list)
{
    size_t n = 0;

    for (; list && list[n]; n++) {
        if (n == MAX_NAMES)
            return false;
        buf_str(names, list[n]);
        buf_str(names, "\n");
    }
    buf_str(names, "\n");
    return true;
}

static sendit_result because(struct sendit_why *why, sendit_result result, const char *text)
{
    (void)sendit_because(why, SENDIT_FAIL, "deid.compile", "%s", text);
    return result;
}

/* Paths become absolute: they are relative to the folder of pipeline.json.  NULL without memory;
 * free_paths() ends it. */
static char **make_paths(const struct host *host, const char *const *recipes)
{
    const char *folder = host->env->plan && host->env->plan->folder ? host->env->plan->folder : "";
    char **paths = calloc(MAX_NAMES + 1, sizeof(*paths));

    for (size_t i = 0; paths && recipes && recipes[i]; i++) {
        paths[i] = strchr(recipes[i], '/') ? file_join(folder, recipes[i]) : strdup(recipes[i]);
        if (!paths[i]) {
            while (i--)
                free(paths[i]);
            free(paths);
            return NULL;
        }
    }
    return paths;
}

static void free_paths(char **paths)
{
    for (size_t i = 0; paths && paths[i]; i++)
        free(paths[i]);
    free(paths);
}

/* Which of the labels that the stage grants it cannot earn with these recipes; an image never has
 * them then, and a plan in which a later stage needs one is refused before a file is touched. */
static sendit_result lose_labels(struct host *host, const char *where, struct sendit_why *why)
{
    const struct plan *plan = host->env->plan;
    bool behind = false;

    host->lost = plan ? 0 : UINT64_MAX;
    for (size_t i = 0; plan && i < plan->n_labels; i++)
        if (!strcmp(plan->labels[i], "ids.replaced") || !strcmp(plan->labels[i], "deid.header"))
            host->lost |= UINT64_C(1) << i;
    for (size_t i = 0; plan && i < plan->n_stages; i++) {
        const struct plan_stage *later = &plan->stages[i];
        bool needs = (later->needs | later->needs_at_finish) & host->stage->grants & host->lost;

        if (!behind || !later->enabled || !needs) {
            behind = behind || later == host->stage;
            continue;
        }
        (void)sendit_because(why, SENDIT_FAIL, "deid.identity",
                             "%.80s lets an identity through, so that images do not earn "
                             "ids.replaced and deid.header, which \"%.40s\" needs.",
                             where, later->id);
        return SENDIT_EINVAL;
    }
    return SENDIT_OK;
}

/* What brings back what a profile would take needs a reason of the site's. */
static sendit_result judge(struct host *host, const struct deid_plan *compiled,
                           struct sendit_why *why)
{
    char where[100];

    if (!(host->stage->plugin->flags & SENDIT_MUTATES) ||
        !deid_brings_back(compiled, where, sizeof(where)))
        return SENDIT_OK;
    if (!host->stage->because) {
        (void)sendit_because(why, SENDIT_FAIL, "deid.because",
                             "%.80s: KEEP brings back what the profile would take; write why, as "
                             "\"because\" in the entry \"%.40s\".",
                             where, host->stage->id);
        return SENDIT_EINVAL;
    }
    return deid_lets_identity_through(compiled) ? lose_labels(host, where, why) : SENDIT_OK;
}

/* The stage's option on_failure, if it has one. */
static sendit_result set_policy(const struct host *host, struct deid_plan *compiled,
                                struct sendit_why *why)
{
    const struct plan_value *value = plan_value(host->stage, "on_failure");

    if (!value || !value->text || deid_on_failure(compiled, value->text))
        return SENDIT_OK;
    return because(why, SENDIT_EINVAL,
                   "the option on_failure of a stage that edits by recipes is quarantine, blank or "
                   "remove");
}

/* `names` is taken. */
static sendit_result compile_new(struct host *host, char *names, const char *const *profiles,
                                 const char *const *recipes,
                                 const struct sendit_deid_plan **ret_plan, struct sendit_why *why)
{
    static const char *const none[] = {NULL};
    struct sendit_deid_plan *plan = calloc(1, sizeof(*plan));
    char **paths = make_paths(host, recipes);
    struct err err = {0};
    sendit_result r = SENDIT_ENOMEM;

    if (!plan || !paths)
        goto fail;
    plan->host = host;
    plan->names = names;
    if (deid_compile(profiles ? profiles : none, (const char *const *)paths, host->env->filters,
                     &plan->compiled, &err)) {
        r = because(why, err.code == ERR_PLACE ? SENDIT_EIO : SENDIT_EINVAL, err.text);
        goto fail;
    }
    r = set_policy(host, plan->compiled, why);
    if (r == SENDIT_OK)
        r = judge(host, plan->compiled, why);
    if (r != SENDIT_OK) {
        deid_free(plan->compiled);
        goto fail;
    }
    free_paths(paths);
    plan->next = host->deid;
    host->deid = plan;
    *ret_plan = plan;
    return SENDIT_OK;
fail:
    free_paths(paths);
    free(names);
    free(plan);
    return r;
}

static sendit_result compile(const struct sendit_host *handle, const char *const *profiles,
                             const char *const *recipes, const struct sendit_deid_plan **ret_plan,
                             struct sendit_why *why)
{
    struct host *host = table_enter(handle);
    struct sendit_why unread = {0};
    struct buf buf = {0};
    char *names;

    if (!host)
        return SENDIT_EINVAL;
    if (!ret_plan)
        return table_misuse(host, "The stage called deid->compile() without a place for the plan",
                            NULL);
    if (!why)
        why = &unread;
    if (!add_names(&buf, profiles) || !add_names(&buf, recipes)) {
        buf_fini(&buf);
        return because(why, SENDIT_EINVAL, "there are more than 64 profiles or recipes");
    }
    names = buf_take(&buf);
    if (!names)
        return SENDIT_ENOMEM;
    for (const struct sendit_deid_plan *plan = host->deid; plan; plan = plan->next)
        if (!strcmp(plan->names, names)) {
            free(names);
            *ret_plan = plan;
            return SENDIT_OK;
        }
    return compile_new(host, names, profiles, recipes, ret_plan, why);
}

static const char *digest(const struct sendit_deid_plan *plan)
{
    return plan ? deid_digest(plan->compiled) : NULL;
}

/* May the stage have this data set edited or looked at?  Only the item in hand, and that whole. */
static bool is_in_hand(const struct host *host, const struct sendit_dataset *ds)
{
    return host->env->object && ds == dicom_dataset(host->env->object);
}

static sendit_result filter(const struct sendit_deid_plan *plan, struct sendit_dataset *ds,
                            const struct sendit_match **ret_match, struct sendit_why *why)
{
    struct host *host = plan ? table_enter(&plan->host->host) : NULL;
    const struct sendit_match *match;
    struct sendit_why unread = {0};
    struct sendit_match copy;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    if (!is_in_hand(host, ds) || !ret_match)
        return table_misuse(host, "The stage called deid->filter() with what it does not take",
                            NULL);
    r = deid_filter(plan->compiled, ds, &match, why ? why : &unread);
    if (r != SENDIT_OK)
        return r;
    copy = *match;
    if (copy.n_boxes) {
        copy.boxes = table_copy(host, match->boxes, match->n_boxes * sizeof(*match->boxes), false);
        if (!copy.boxes)
            return SENDIT_ENOMEM;
    }
    match = table_copy(host, &copy, sizeof(copy), false);
    if (!match)
        return SENDIT_ENOMEM;
    *ret_match = match;
    return SENDIT_OK;
}

static const char *variable(const struct sendit_deid_plan *plan, size_t index)
{
    return plan ? deid_variable(plan->compiled, index) : NULL;
}

static const struct sendit_match *label(const struct sendit_deid_plan *plan, size_t index)
{
    return plan ? deid_label(plan->compiled, index) : NULL;
}

static bool sound(const struct sendit_var *vars, size_t n_vars)
{
    if (n_vars > MAX_NAMES || (n_vars && !vars))
        return false;
    for (size_t i = 0; i < n_vars; i++)
        if (!vars[i].name || !vars[i].value)
            return false;
    return true;
}

static sendit_result apply(const struct sendit_deid_plan *plan, struct sendit_dataset *ds,
                           const struct sendit_var *vars, size_t n_vars,
                           const struct sendit_report **ret_report, struct sendit_why *why)
{
    struct host *host = plan ? table_enter(&plan->host->host) : NULL;
    struct sendit_report report = {0};
    struct deid_keyed keyed = {.uid = host_uid, .uuid = host_uuid, .ctx = host};
    struct sendit_why unread = {0};
    const void *copy;
    sendit_result r;

    if (!host)
        return SENDIT_EINVAL;
    keyed.watch = host->env->watch;
    if (!why)
        why = &unread;
    if (!(host->stage->plugin->flags & SENDIT_MUTATES)) {
        table_misuse(host, "The stage called deid->apply() and does not declare MUTATES", NULL);
        return SENDIT_EDENIED;
    }
    if (!is_in_hand(host, ds) || !ret_report || !sound(vars, n_vars))
        return table_misuse(host, "The stage called deid->apply() with what it does not take",
                            NULL);
    r = deid_apply(plan->compiled, ds, vars, n_vars, &keyed, &report, why);
    if (r != SENDIT_OK) {
        if (!why->code[0])
            snprintf(why->code, sizeof(why->code), "deid.apply");
        return r;
    }
    copy = table_copy(host, &report, sizeof(report), false);
    if (!copy)
        return SENDIT_ENOMEM;
    *ret_report = copy;
    return SENDIT_OK;
}

void deid_plans_free(struct host *host)
{
    while (host->deid) {
        struct sendit_deid_plan *plan = host->deid;

        host->deid = plan->next;
        deid_free(plan->compiled);
        free(plan->names);
        free(plan);
    }
}

const struct sendit_deid host_deid = {.compile = compile,
                                      .digest = digest,
                                      .filter = filter,
                                      .apply = apply,
                                      .variable = variable,
                                      .label = label};
