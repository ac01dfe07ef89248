/* SPDX-License-Identifier: Apache-2.0 */
/* A plan from the names of profiles and recipes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "deid/rules.h"
#include "dicom/dicom.h"

/* Part of the digest: raise it when the same tables and recipes come to mean something else. */
#define ENGINE "sendit.deid 3"
#define RECIPE_PREFIX "deid."
#define LONGEST_WORD 64

/* A word is a file of ours; what has a "/" is a path. */
static char *path_of(const char *name, const char *filters, struct err *err)
{
    char file[sizeof(RECIPE_PREFIX) + LONGEST_WORD] = RECIPE_PREFIX, *path;
    size_t n = strlen(name);

    if (strchr(name, '/')) {
        path = strdup(name);
    } else {
        if (!n || n > LONGEST_WORD || *name == '.' ||
            strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") < n) {
            err_set(err, ERR_REFUSED,
                    "\"%.64s\" is no recipe: write the part behind \"deid.\" of a file in "
                    "filters/, or a path with a \"/\" in it",
                    name);
            return NULL;
        }
        memcpy(file + strlen(RECIPE_PREFIX), name, n + 1);
        path = file_join(filters, file);
    }
    if (!path)
        err_set(err, ERR_PLACE, "no memory for a recipe");
    return path;
}

static int add_recipe(struct deid_plan *plan, const char *path, struct digest *digest,
                      struct err *err)
{
    char *text = NULL;
    size_t len;
    int r;

    if (file_read(path, RECIPE_MAX_BYTES, &text, &len)) {
        if (errno == EFBIG)
            return err_set(err, ERR_REFUSED, "%s: a recipe has up to %u bytes", path,
                           RECIPE_MAX_BYTES);
        return err_set(err, ERR_REFUSED, "the recipe \"%s\" cannot be read: %s", path,
                       strerror(errno));
    }
    r = recipe_add(plan->recipe, plan->names, path, text, len, err);
    if (!r && digest_add(digest, text, len + 1))
        r = err_set(err, ERR_REFUSED, "the recipes have no digest: OpenSSL failed");
    free(text);
    return r;
}

static int add_recipes(struct deid_plan *plan, const char *const *recipes, const char *filters,
                       struct digest *digest, struct err *err)
{
    plan->names = names_new();
    plan->recipe = recipe_new();
    if (!plan->names || !plan->recipe)
        return err_set(err, ERR_PLACE, "no memory for the recipes");
    for (size_t i = 0; recipes[i]; i++) {
        char *path = path_of(recipes[i], filters, err);
        int r = path ? add_recipe(plan, path, digest, err) : -1;

        free(path);
        if (r)
            return -1;
    }
    if (recipe_finish(plan->recipe, err))
        return -1;
    if ((plan->recipe->n_actions || plan->recipe->otherwise) &&
        header_new(plan->recipe, plan->names, &plan->header, err))
        return -1;
    return filter_new(plan->recipe, &plan->filter, err);
}

int deid_compile(const char *const *profiles, const char *const *recipes, const char *filters,
                 struct deid_plan **ret_plan, struct err *err)
{
    bool has_recipes = recipes && recipes[0], has_profiles = profiles && profiles[0];
    struct digest *digest = NULL;
    struct deid_plan *plan;
    const char *vr = dicom_vr(0x00100020);

    if (!vr || strcmp(vr, "LO") != 0)
        return err_set(err, ERR_REFUSED, "DCMTK finds no data dictionary; install DCMTK anew");
    plan = calloc(1, sizeof(*plan));
    digest = digest_new();
    if (!plan || !digest) {
        err_set(err, ERR_PLACE, "no memory for the rules of PS3.15");
        goto fail;
    }
    if (digest_add(digest, ENGINE, sizeof(ENGINE))) {
        err_set(err, ERR_REFUSED, "the rules have no digest: OpenSSL failed");
        goto fail;
    }
    if ((has_profiles || !has_recipes) && profile_build(plan, profiles, filters, digest, err))
        goto fail;
    if (has_recipes && add_recipes(plan, recipes, filters, digest, err))
        goto fail;
    if (digest_hex(digest, plan->digest)) {
        err_set(err, ERR_REFUSED, "the rules have no digest: OpenSSL failed");
        goto fail;
    }
    if (plan->header)
        header_guard(plan->header, plan->has_profile && !deid_lets_identity_through(plan));
    digest_free(digest);
    *ret_plan = plan;
    return 0;
fail:
    digest_free(digest);
    deid_free(plan);
    return -1;
}

void deid_free(struct deid_plan *plan)
{
    if (!plan)
        return;
    header_free(plan->header);
    filter_free(plan->filter);
    recipe_free(plan->recipe);
    names_free(plan->names);
    free(plan->rules);
    free(plan);
}

bool deid_on_failure(struct deid_plan *plan, const char *word)
{
    static const struct {
        const char *word;
        enum recipe_verb verb;
    } words[] = {{"quarantine", 0}, {"blank", VERB_BLANK}, {"remove", VERB_REMOVE}};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strcmp(word, words[i].word)) {
            if (plan->header)
                header_on_failure(plan->header, words[i].verb);
            return true;
        }
    return false;
}

const char *deid_digest(const struct deid_plan *plan)
{
    return plan->digest;
}

const char *deid_variable(const struct deid_plan *plan, size_t index)
{
    return plan->recipe && index < plan->recipe->n_vars ? plan->recipe->vars[index] : NULL;
}

bool deid_brings_back(const struct deid_plan *plan, char *where, size_t size)
{
    for (size_t i = 0; plan->has_profile && plan->recipe && i < plan->recipe->n_actions; i++) {
        const struct recipe_action *action = &plan->recipe->actions[i];
        const char *file = strrchr(action->place.file, '/');

        if (action->verb != VERB_KEEP)
            continue;
        snprintf(where, size, "%s:%u", file ? file + 1 : action->place.file, action->place.line);
        return true;
    }
    return false;
}

static bool identifies(const void *ctx, const struct name *name)
{
    const struct deid_plan *plan = ctx;

    if (name->tag == 0x00100020 || !strcmp(name->vr, "PN") || !strcmp(name->vr, "SQ"))
        return true;
    return !strcmp(name->vr, "UI") && plan_action(plan, name->tag) != ACT_KEEP;
}

bool deid_lets_identity_through(const struct deid_plan *plan)
{
    return plan->has_profile && plan->header && header_keeps(plan->header, identifies, plan);
}

const struct sendit_match *deid_label(const struct deid_plan *plan, size_t index)
{
    return plan->filter ? filter_label(plan->filter, index) : NULL;
}

sendit_result deid_filter(const struct deid_plan *plan, struct sendit_dataset *ds,
                          const struct sendit_match **ret_match, struct sendit_why *why)
{
    return plan->filter ? filter_run(plan->filter, ds, ret_match, why) : SENDIT_EABSENT;
}
