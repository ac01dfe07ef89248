/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recipes: whatever bytes they are, they load or are refused with a place, in bounded time; what
 * loads is applied to a data set, and every stop has a reason.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/make_dicom.h"
#include "base/file.h"
#include "deid/identity.h"
#include "deid/lint.h"
#include "deid/rules.h"
#include "dicom/dicom.h"

#define MAX_RECIPE 20000
#define MAX_ACTIONS 200 /* patterns meet all names of DICOM */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct names *names;
static struct dicom_object *object;
static struct identity_key key = {.len = IDENTITY_KEY_MIN};

static void make_item(struct maker *m)
{
    make_header(m, 0x00081110, "SQ", UNDEFINED_LENGTH);
    make_header(m, ITEM_TAG, "", UNDEFINED_LENGTH);
    make_text(m, 0x00081155, "UI", "1.2.3.5");
    make_text(m, 0x00100020, "LO", "7654321");
    make_header(m, ITEM_END_TAG, "", 0);
    make_header(m, SEQUENCE_END_TAG, "", 0);
}

static void set_up(void)
{
    const struct dicom_limits limits = {.max_inflate = 1u << 20};
    char folder[] = "/dev/shm/fuzz_recipe.XXXXXX", path[64];
    struct dicom_refusal refusal = {0};
    struct maker m = {0};
    struct dicom *dicom;
    struct err err = {0};
    struct stat st;

    names = names_new();
    if (!names || !mkdtemp(folder))
        abort();
    dicom = dicom_new(&limits, folder, &err);
    make_meta(&m, EXPLICIT);
    make_text(&m, 0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL");
    make_identity(&m);
    m.buf.len -= 10; /* Modality comes later */
    make_text(&m, 0x00080020, "DA", "20200101");
    make_text(&m, 0x00080060, "CS", "CT");
    make_item(&m);
    make_text(&m, 0x00090010, "LO", "MINE");
    make_text(&m, 0x00091001, "LO", "Doe private");
    make_text(&m, 0x00100010, "PN", "Doe^Jane");
    make_text(&m, 0x00100020, "LO", "7654321");
    make_us(&m, 0x00280010, 512);
    make_us(&m, 0x00280011, 512);
    snprintf(path, sizeof(path), "%s/file", folder);
    if (!dicom || file_replace(path, m.buf.data, m.buf.len, 0600) ||
        dicom_open(dicom, path, &object, &st, &refusal)) {
        fprintf(stderr, "%s %s\n", err.text, refusal.text);
        abort();
    }
    unlink(path);
    rmdir(folder);
    buf_fini(&m.buf);
}

static sendit_result map_uid(void *ctx, const char *original, const char **ret_uid)
{
    static char uid[IDENTITY_UID];

    (void)ctx;
    if (identity_uid(&key, original, uid))
        return SENDIT_EINVAL;
    *ret_uid = uid;
    return SENDIT_OK;
}

static sendit_result make_uuid(void *ctx, const char *original, uint8_t ret_uuid[16])
{
    (void)ctx;
    return identity_uuid(&key, original, ret_uuid) ? SENDIT_EINVAL : SENDIT_OK;
}

static void judge(sendit_result result, const struct sendit_why *why)
{
    if (result && result != SENDIT_EABSENT && (!why->code[0] || !why->text[0]))
        abort(); /* stopped without a word */
}

static void apply(const struct deid_plan *plan)
{
    static const struct deid_keyed keyed = {.uid = map_uid, .uuid = make_uuid};
    static const struct sendit_var vars[] = {{"entity_id", "e1"}, {"jitter", "-17"}};
    const struct sendit_match *match;
    struct sendit_report report;
    struct sendit_why why = {0};

    judge(deid_filter(plan, dicom_dataset(object), &match, &why), &why);
    why = (struct sendit_why){0};
    dicom_begin(object, true);
    judge(deid_apply(plan, dicom_dataset(object), vars, 2, &keyed, &report, &why), &why);
    if (dicom_end(object, false))
        abort();
}

/* The linter, and that what it prints of a recipe reads the same. */
static void look_at(const uint8_t *data, size_t size)
{
    const struct lint_source source = {.file = "fuzz", .text = (const char *)data, .len = size};
    struct lint_source again = {.file = "again"};
    struct lint *lint;
    struct err err = {0};
    struct buf text = {0}, twice = {0};

    if (lint_new(&source, 1, &lint, &err))
        return;
    if (lint_rules(lint, &err) || lint_end(lint, &err) || lint_merged(lint, &text))
        abort();
    for (size_t i = 0; i < lint_count(lint); i++)
        if (!lint_at(lint, i)->text[0] || !lint_at(lint, i)->instead[0] ||
            !lint_at(lint, i)->place.line)
            abort();
    lint_free(lint);
    again.text = text.data;
    again.len = text.len;
    if (lint_new(&again, 1, &lint, &err) || lint_merged(lint, &twice) || twice.len != text.len ||
        memcmp(twice.data, text.data, text.len) != 0)
        abort();
    lint_free(lint);
    buf_fini(&text);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct deid_plan plan = {0};
    struct err err = {0};
    char place[32];

    if (!names)
        set_up();
    if (size > MAX_RECIPE)
        return 0;
    plan.recipe = recipe_new();
    if (!plan.recipe)
        abort();
    if (recipe_add(plan.recipe, names, "fuzz", (const char *)data, size, &err) ||
        recipe_finish(plan.recipe, &err)) {
        unsigned line, col;

        if (err.code != ERR_REFUSED || sscanf(err.text, "fuzz:%u:%u: %31s", &line, &col, place) < 3)
            abort(); /* refused without a place */
    } else if (plan.recipe->n_actions < MAX_ACTIONS &&
               !header_new(plan.recipe, names, &plan.header, &err) &&
               !filter_new(plan.recipe, &plan.filter, &err)) {
        apply(&plan);
        look_at(data, size);
    }
    header_free(plan.header);
    filter_free(plan.filter);
    recipe_free(plan.recipe);
    return 0;
}
