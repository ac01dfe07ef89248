/* SPDX-License-Identifier: Apache-2.0 */
#include "run/run.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "services/host.h"

static int find_stage(void *ctx, const char *name, const struct stage_file **ret_file,
                      struct err *err)
{
    return loader_find(ctx, name, ret_file, err);
}

/* `name` as from the current folder. */
static char *absolute(const char *name)
{
    char cwd[PATH_MAX];

    if (!getcwd(cwd, sizeof(cwd)))
        return NULL;
    return file_join(cwd, name);
}

/* plugins.d beside pipeline.json. */
static char *beside(const char *pipeline)
{
    char *path = absolute(pipeline), *slash = path ? strrchr(path, '/') : NULL, *folder = NULL;

    if (slash) {
        slash[slash == path] = '\0';
        folder = file_join(path, "plugins.d");
    }
    free(path);
    return folder;
}

struct loader *run_loader(const struct run_request *request, struct err *err)
{
    size_t n = request->n_plugins, i;
    char **folders = calloc(n + 1, sizeof(*folders));
    struct loader *loader = NULL;

    if (!folders) {
        err_set(err, ERR_PLACE, "no memory");
        return NULL;
    }
    for (i = 0; i < n; i++)
        folders[i] = absolute(request->plugins[i]);
    if (request->plan.path)
        folders[n++] = beside(request->plan.path);
    for (i = 0; i < n && folders[i]; i++)
        ;
    if (i == n)
        loader = loader_new((const char *const *)folders, n, err);
    else
        err_set(err, ERR_PLACE, "the current folder cannot be read");
    for (i = 0; i < n; i++)
        free(folders[i]);
    free(folders);
    return loader;
}

int run_build(const struct run_request *request, struct loader **ret_loader, struct plan **ret_plan,
              struct err *err)
{
    struct loader *loader = run_loader(request, err);

    if (!loader)
        return -1;
    if (plan_build(&request->plan, find_stage, loader, ret_plan, err)) {
        loader_free(loader);
        return -1;
    }
    *ret_loader = loader;
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && !strcmp(text + n - m, end);
}

bool run_is_place(const char *code)
{
    return ends_with(code, ".place") || ends_with(code, ".no_room") ||
           ends_with(code, ".missing") || ends_with(code, ".unreadable");
}

bool run_is_cores(const char *stage, const char *code)
{
    return !strcmp(stage, "core") || !strncmp(code, "host.", 5);
}

bool run_is_room(const char *code)
{
    return ends_with(code, ".no_room");
}

static int check_stage(const struct plan *plan, const struct plan_stage *stage, const char *filters,
                       int online, struct err *err)
{
    struct host_env env = {.plan = plan, .filters = filters};
    struct sendit_why why = {0};
    struct host host;
    sendit_verdict verdict;
    bool bug;

    host_init(&host, &env, stage);
    host_enter(&host);
    verdict = stage->plugin->check(&host.host, online, &why);
    bug = host.bug;
    host_leave(&host);
    host_fini(&host);
    if (verdict == SENDIT_PASS && !bug)
        return 0;
    why.code[sizeof(why.code) - 1] = why.text[sizeof(why.text) - 1] = '\0';
    return err_set(err, run_is_place(why.code) ? ERR_PLACE : ERR_REFUSED,
                   "%s:%u:%u: stage \"%s\": %s", plan->path, stage->line, stage->col, stage->id,
                   why.text[0] ? why.text : "its check() failed and did not say why");
}

int run_check(const struct plan *plan, int online, struct err *err)
{
    char *filters = run_filters_folder();
    int result = filters ? 0 : err_set(err, ERR_PLACE, "no memory");

    for (size_t i = 0; !result && i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];

        if (stage->enabled && stage->plugin->check)
            result = check_stage(plan, stage, filters, online, err);
    }
    free(filters);
    return result;
}

/* The list of an option, NULL if the stage has no such list. */
static const char *const *list_of(const struct plan_stage *stage, const char *name)
{
    const struct plan_value *value = plan_value(stage, name);

    return value ? (const char *const *)value->list : NULL;
}

/* What a stage compiles from its options; `look` is not called for what it has none of, or what is
 * refused. */
typedef void look_fn(void *ctx, const struct sendit_deid *deid,
                     const struct sendit_deid_plan *compiled);

/* As the stage itself will ask for it: paths of recipes mean the folder of pipeline.json. */
static void compile_rules(const struct plan *plan, const struct plan_stage *stage,
                          const char *filters, look_fn *look, void *ctx)
{
    const char *const *profiles = list_of(stage, "profile");
    const char *const *recipes = list_of(stage, "recipes");
    struct host_env env = {.plan = plan, .filters = filters};
    const struct sendit_deid_plan *compiled;
    const struct sendit_deid *deid;
    struct host host;

    if (!(profiles && profiles[0]) && !(recipes && recipes[0]))
        return;
    host_init(&host, &env, stage);
    host_enter(&host);
    deid = SENDIT_SERVICE(&host.host, deid);
    if (deid && !deid->compile(&host.host, profiles, recipes, &compiled, NULL))
        look(ctx, deid, compiled);
    host_leave(&host);
    host_fini(&host);
}

static void copy_digest(void *ctx, const struct sendit_deid *deid,
                        const struct sendit_deid_plan *compiled)
{
    char *digest = ctx;

    snprintf(digest, DIGEST_HEX, "%s", deid->digest(compiled));
}

void run_rules(const struct plan *plan, const struct plan_stage *stage, const char *filters,
               char ret_digest[DIGEST_HEX])
{
    ret_digest[0] = '\0';
    compile_rules(plan, stage, filters, copy_digest, ret_digest);
}

struct labels {
    run_label_fn *each;
    void *ctx;
};

static void walk_whitelist(void *ctx, const struct sendit_deid *deid,
                           const struct sendit_deid_plan *compiled)
{
    const struct labels *labels = ctx;
    const struct sendit_match *label;

    for (size_t i = 0; (label = deid->label(compiled, i)); i++)
        if (!label->flagged && !labels->each(labels->ctx, label))
            return;
}

void run_whitelist(const struct plan *plan, const struct plan_stage *stage, const char *filters,
                   run_label_fn *each, void *ctx)
{
    struct labels labels = {.each = each, .ctx = ctx};

    if (stage->enabled && !(stage->plugin->flags & SENDIT_MUTATES))
        compile_rules(plan, stage, filters, walk_whitelist, &labels);
}

int run_key_path(const struct plan *plan, char **ret_path, bool *ret_default, struct err *err)
{
    const char *named = NULL;
    bool needed = false;

    *ret_path = NULL;
    for (size_t i = 0; i < plan->n_stages; i++) {
        const struct plan_stage *stage = &plan->stages[i];
        const struct plan_value *key;

        if (!stage->enabled || !(stage->plugin->flags & SENDIT_IDENTIFIERS))
            continue;
        needed = true;
        key = plan_value(stage, "key");
        if (!key || !key->text)
            continue;
        if (strncmp(key->text, "file:", 5))
            return err_set(err, ERR_REFUSED,
                           "%s:%u:%u: stages[%zu].config.key: the site key is a file: write "
                           "\"file:PATH\"",
                           plan->path, key->line, key->col, i);
        if (named && strcmp(named, key->text + 5))
            return err_set(err, ERR_REFUSED,
                           "%s:%u:%u: stages[%zu].config.key: another stage names another key; "
                           "a pipeline has one",
                           plan->path, key->line, key->col, i);
        named = key->text + 5;
    }
    *ret_default = !named;
    if (!needed)
        return 0;
    *ret_path = named ? strdup(named) : file_join(plan->state, "site.key");
    return *ret_path ? 0 : err_set(err, ERR_PLACE, "no memory");
}

char *run_data_folder(const char *name, bool *ret_built)
{
    char exe[PATH_MAX], shared[64], *folder = NULL, *built = NULL;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    bool is_built;

    if (n <= 0)
        return NULL;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    built = file_join(exe, "plugins.d");
    is_built = built && !access(built, F_OK);
    snprintf(shared, sizeof(shared), "../share/sendit/%s", name);
    if (built)
        folder = is_built ? file_join(SENDIT_SOURCE_DIR, name) : file_join(exe, shared);
    if (ret_built)
        *ret_built = is_built;
    free(built);
    return folder;
}

char *run_filters_folder(void)
{
    return run_data_folder("filters", NULL);
}
