/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/recipe_trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "deid/deid.h"
#include "deid/identity.h"
#include "harness/look.h"
#include "harness/play.h"
#include "harness/shape.h"
#include "harness/text.h"

#define MAX_NAMES 64 /* of recipes, and of profiles */
#define MAX_INFLATE (64u << 20)
#define MAX_NEST 32

static const struct shape config_keys[] = {
    {"about", SHAPE_TEXT, NULL, NULL, false},
    {"recipes", SHAPE_TEXTS, NULL, NULL, false},
    {"profile", SHAPE_TEXTS, NULL, NULL, false},
    {0},
};

struct course {
    const struct trial *trial;
    struct test_case tc;
    struct work work;
    struct dicom *dicom;
    struct deid_plan *plan;
    struct identity_key key;
    char uid[IDENTITY_UID];
    json_t *results; /* by item */
    bool failed;     /* no memory */
};

static void set(struct course *c, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        c->failed = true;
}

/* ---- the recipe ---- */

/* Names of config.json; paths begin in the folder of the case.  The caller frees each of them. */
static int take_names(struct course *c, const char *key, bool are_paths, char **names,
                      struct err *err)
{
    const json_t *list = json_object_get(c->tc.config.doc.json, key), *one;
    size_t i;

    if (json_array_size(list) > MAX_NAMES)
        return err_set(err, ERR_REFUSED, "%s: there are more than %d %s", c->tc.config.path,
                       MAX_NAMES, key);
    json_array_foreach(list, i, one)
    {
        const char *name = json_string_value(one);

        names[i] = are_paths && strchr(name, '/') ? file_join(c->tc.folder, name) : strdup(name);
        if (!names[i])
            return err_set(err, ERR_PLACE, "no memory");
    }
    return 0;
}

/* Without a list it is the file "recipe". */
static int take_recipes(struct course *c, char **names, struct err *err)
{
    struct stat st;

    if (json_object_get(c->tc.config.doc.json, "recipes"))
        return take_names(c, "recipes", true, names, err);
    names[0] = file_join(c->tc.folder, "recipe");
    if (!names[0])
        return err_set(err, ERR_PLACE, "no memory");
    if (!stat(names[0], &st))
        return 0;
    return err_set(err, ERR_REFUSED,
                   "%s: it has no recipe: a file called recipe, or config.json with "
                   "{\"recipes\": [\"dicom\"]}",
                   c->tc.folder);
}

/* 1: the recipe was refused, which a case may expect. */
static int compile(struct course *c, struct err *err)
{
    char *recipes[MAX_NAMES + 1] = {NULL}, *profiles[MAX_NAMES + 1] = {NULL};
    struct case_file *config = &c->tc.config;
    int result = -1;

    if (config->text &&
        (json_doc_parse(&config->doc, config->path, config->text, config->len, MAX_NEST, err) ||
         shape_check(&config->doc, config->doc.root, config_keys, err)))
        return -1;
    if (!take_recipes(c, recipes, err) && !take_names(c, "profile", false, profiles, err))
        result = deid_compile((const char *const *)profiles, (const char *const *)recipes,
                              c->trial->filters, &c->plan, err)
                     ? 1
                     : 0;
    for (size_t i = 0; i < MAX_NAMES; i++) {
        free(recipes[i]);
        free(profiles[i]);
    }
    return result;
}

/* ---- keyed values, as local-anonymizer has them of the ids table ---- */

static sendit_result new_uid(void *ctx, const char *original, const char **ret_uid)
{
    struct course *c = ctx;

    if (identity_uid(&c->key, original, c->uid))
        return SENDIT_EINVAL;
    *ret_uid = c->uid;
    return SENDIT_OK;
}

static sendit_result new_uuid(void *ctx, const char *original, uint8_t ret_uuid[16])
{
    const struct course *c = ctx;

    return identity_uuid(&c->key, original, ret_uuid) ? SENDIT_ENOMEM : SENDIT_OK;
}

struct who {
    char entity[IDENTITY_PSEUDONYM], item[IDENTITY_PSEUDONYM], days[16];
};

static const char *value(struct sendit_dataset *ds, uint32_t tag)
{
    const char *text;

    return dicom_get(ds, tag, &text) == SENDIT_OK ? text : "";
}

/* -1 without memory.  An image without a patient or a study is of one that is called so. */
static int derive(const struct course *c, struct sendit_dataset *ds, struct who *who)
{
    const char *study = value(ds, 0x0020000d);
    char *patient = NULL;
    int32_t days;
    int bad = identity_patient(value(ds, 0x00100021), value(ds, 0x00100020), &patient);
    const char *name = patient ? patient : "nobody";

    bad = bad || identity_pseudonym(&c->key, "patient", name, who->entity) ||
          identity_pseudonym(&c->key, "study", *study ? study : "none", who->item) ||
          identity_days(&c->key, name, &days);
    if (!bad)
        snprintf(who->days, sizeof(who->days), "%d", (int)days);
    free(patient);
    return bad ? -1 : 0;
}

/* ---- one image ---- */

static json_t *boxes_json(const struct sendit_match *match)
{
    struct buf text = {0};
    json_t *json;

    for (uint32_t i = 0; i < match->n_boxes; i++)
        buf_printf(&text, "%s%u,%u,%u,%u", i ? " " : "", match->boxes[i].x, match->boxes[i].y,
                   match->boxes[i].width, match->boxes[i].height);
    json = text.failed ? NULL : json_string(text.data);
    buf_fini(&text);
    return json;
}

static void add_match(struct course *c, json_t *result, const struct sendit_match *match)
{
    json_t *facts = json_object();

    set(c, facts, "deid.group", text_json(match->group));
    set(c, facts, "deid.label", text_json(match->label));
    if (match->n_boxes)
        set(c, facts, "deid.boxes", boxes_json(match));
    set(c, result, "facts", facts);
}

static void hold(struct course *c, json_t *result, const char *verdict, const char *code,
                 const char *text)
{
    set(c, result, "verdict", json_string(verdict));
    if (code && *code)
        set(c, result, "code", text_json(code));
    if (text && *text)
        set(c, result, "text", text_json(text));
}

/* Do the filters let it pass? */
static bool filter(struct course *c, struct dicom_object *object, json_t *result)
{
    const struct sendit_match *match;
    struct sendit_why why = {0};
    sendit_result r = deid_filter(c->plan, dicom_dataset(object), &match, &why);

    if (r == SENDIT_EABSENT)
        return true;
    if (r != SENDIT_OK) {
        hold(c, result, "QUARANTINE", why.code, why.text);
        return false;
    }
    add_match(c, result, match);
    if (!match->flagged)
        return true;
    hold(c, result, "QUARANTINE",
         strcmp(match->group, "blacklist") != 0 ? "filter.greylist" : "filter.blacklist", NULL);
    return false;
}

static void edit(struct course *c, struct dicom_object *object, json_t *result)
{
    const struct deid_keyed keyed = {.uid = new_uid, .uuid = new_uuid, .ctx = c};
    json_t *before = look_at(object), *after = NULL, *tags = NULL;
    struct sendit_report report;
    struct sendit_why why = {0};
    struct who who;
    sendit_result r;

    if (!before || derive(c, dicom_dataset(object), &who)) {
        c->failed = true;
        json_decref(before);
        return;
    }
    const struct sendit_var vars[] = {
        {"entity_id", who.entity}, {"item_id", who.item}, {"jitter", who.days}};
    dicom_begin(object, true);
    r = deid_apply(c->plan, dicom_dataset(object), vars, 3, &keyed, &report, &why);
    if (dicom_end(object, r == SENDIT_OK))
        c->failed = true;
    if (r == SENDIT_OK && !c->failed) {
        after = look_at(object);
        tags = after ? look_difference(before, after) : NULL;
        c->failed = !tags;
    }
    if (r != SENDIT_OK)
        hold(c, result, "QUARANTINE", why.code, why.text);
    else
        set(c, result, "verdict", json_string("PASS"));
    if (json_object_size(tags))
        set(c, result, "tags", json_incref(tags));
    json_decref(before);
    json_decref(after);
    json_decref(tags);
}

static void try_item(struct course *c, const struct work_item *item)
{
    struct dicom_refusal refusal;
    struct dicom_object *object;
    struct stat st;
    json_t *result = json_object();

    if (!result)
        c->failed = true;
    else if (dicom_open(c->dicom, item->path, &object, &st, &refusal))
        hold(c, result,
             refusal.what == DICOM_QUARANTINED ? "QUARANTINE"
             : refusal.what == DICOM_IGNORED   ? "SKIP"
                                               : "FAIL",
             refusal.code, refusal.text);
    else {
        if (filter(c, object, result))
            edit(c, object, result);
        dicom_close(object);
    }
    set(c, c->results, item->name, result);
}

/* ---- the case ---- */

/* "recipe:3:5: sentence", without the folder, which is another everywhere. */
static const char *without_folder(const struct course *c, const char *text)
{
    size_t n = strlen(c->tc.folder);

    return strncmp(text, c->tc.folder, n) != 0 || text[n] != '/' ? text : text + n + 1;
}

/* One item stands at the top, several under "items". */
static json_t *gather(struct course *c)
{
    json_t *only = c->work.n_items == 1 ? json_object_get(c->results, c->work.items[0].name) : NULL;

    return only ? json_incref(only) : json_pack("{s:O}", "items", c->results);
}

static int try_images(struct course *c, struct err *err)
{
    struct dicom_limits limits = {.max_inflate = MAX_INFLATE};

    play_key(&c->key);
    c->results = json_object();
    c->dicom = dicom_new(&limits, c->trial->folder, err);
    if (!c->dicom)
        return -1;
    if (!c->work.n_items)
        return err_set(err, ERR_REFUSED, "%s: it has none of in.dcm, in.dump and in/",
                       c->tc.folder);
    for (size_t i = 0; i < c->work.n_items; i++)
        try_item(c, &c->work.items[i]);
    return c->failed || !c->results ? err_set(err, ERR_PLACE, "there is no memory") : 0;
}

static int run(struct course *c, const char *case_folder, bool *ret_updated, struct buf *ret_text)
{
    struct err err = {0};
    json_t *out = NULL;
    int result = -1;

    if (!case_read(&c->tc, case_folder, &err) &&
        !work_init(&c->work, c->trial->folder, &c->tc, &err)) {
        if (c->tc.host.text)
            err_set(&err, ERR_REFUSED, "%s: a case of a recipe has no host.json", c->tc.folder);
        else
            result = compile(c, &err);
    }
    if (result == 1)
        out = json_pack("{s:o}", "refused", text_json(without_folder(c, err.text)));
    else if (!result && !try_images(c, &err))
        out = gather(c);
    if (!out) {
        buf_printf(ret_text, "%s\n", err.text[0] ? err.text : "there is no memory");
        return -1;
    }
    result = trial_compare(&c->tc, out, c->trial->update, ret_updated, ret_text);
    json_decref(out);
    return result;
}

int recipe_trial(const struct trial *trial, const char *case_folder, bool *ret_updated,
                 struct buf *ret_text)
{
    struct course c = {.trial = trial};
    int result;

    *ret_updated = false;
    result = run(&c, case_folder, ret_updated, ret_text);
    json_decref(c.results);
    deid_free(c.plan);
    dicom_free(c.dicom);
    work_fini(&c.work);
    case_fini(&c.tc);
    return result;
}
