/* SPDX-License-Identifier: Apache-2.0 */
/* Names of profiles and the tables of filters/ become one array of rules. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "deid/rules.h"
#include "deid/code_table.h"
#include "dicom/dicom.h"

#define PS315 PS315_TABLE
#define BEYOND BEYOND_TABLE

/* The columns of PS315, in the order of the file. */
enum { COLUMN_BASIC, COLUMN_PATIENT = 5, COLUMN_MODIFIED_DATES = 7 };
static const char *const ps315_columns[] = {
    "tag",     "basic",      "safe_private",   "uids",        "device",     "institution",
    "patient", "full_dates", "modified_dates", "descriptors", "structured", "graphics",
    NULL};
static const char *const beyond_columns[] = {"tag", "action", NULL};

static bool is_vr(const char *vr, const char *wanted)
{
    return vr && !strcmp(vr, wanted);
}

/* Sequences where the choice is not that of the others (filters/README.md says why). */
static enum action special_sequence(uint32_t tag)
{
    switch (tag) {
    case 0x00081111: /* ReferencedPerformedProcedureStepSequence */
        return ACT_KEEP;
    case 0x00080082: /* InstitutionCodeSequence */
    case 0x00081072: /* OperatorIdentificationSequence */
    case 0x00081110: /* ReferencedStudySequence */
        return ACT_REMOVE;
    case 0x00401101: /* PersonIdentificationCodeSequence */
        return ACT_ONE_CODE;
    default:
        return ACT_NONE;
    }
}

static enum action of_sequence(uint32_t tag, uint8_t basic)
{
    enum action special = special_sequence(tag);

    if (special != ACT_NONE)
        return special;
    if (basic & (CODE_U | CODE_K))
        return ACT_KEEP;
    if (basic & CODE_D)
        return ACT_TREE;
    return basic & CODE_Z ? ACT_EMPTY : ACT_REMOVE;
}

/* A value takes D where D is offered, else Z: an attribute of Type 1 may not be empty. */
static enum action of_value(uint8_t basic, const char *vr)
{
    if (basic & CODE_K)
        return ACT_KEEP;
    if (basic & CODE_U)
        return ACT_UID;
    if (basic & CODE_D)
        return is_vr(vr, "UI") ? ACT_UID : ACT_DUMMY;
    return basic & CODE_Z ? ACT_EMPTY : ACT_REMOVE;
}

/* C on text has no cleaner, and means what the Basic Profile says. */
static enum action choose(const struct code_row *row, unsigned options)
{
    const char *vr = dicom_vr(row->tag);

    if (row->tag == 0x00100020)
        return ACT_PATIENT_ID;
    if (options & OPTION_PATIENT && row->codes[COLUMN_PATIENT] & CODE_K)
        return ACT_KEEP;
    if (options & OPTION_MODIFIED_DATES && row->codes[COLUMN_MODIFIED_DATES] & CODE_C) {
        if (is_vr(vr, "DA") || is_vr(vr, "DT"))
            return ACT_MOVE;
        if (is_vr(vr, "TM")) /* days are whole */
            return ACT_KEEP;
    }
    if (is_vr(vr, "SQ"))
        return of_sequence(row->tag, row->codes[COLUMN_BASIC]);
    return of_value(row->codes[COLUMN_BASIC], vr);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = ((const struct rule *)a)->tag, right = ((const struct rule *)b)->tag;

    return left < right ? -1 : left > right;
}

/* A pattern's groups go whole, and deid_apply() knows them: it only has to be in the table. */
static bool is_pattern(uint32_t tag)
{
    return tag == CODE_TABLE_CURVES || tag == CODE_TABLE_OVERLAY_DATA ||
           tag == CODE_TABLE_OVERLAY_COMMENTS || tag == CODE_TABLE_PRIVATE;
}

static struct rule make_rule(const struct code_row *row, enum action action, bool beyond)
{
    return (struct rule){.tag = row->tag,
                         .action = (uint8_t)action,
                         .beyond = beyond,
                         .line = row->line > UINT16_MAX ? 0 : (uint16_t)row->line};
}

static int build(struct deid_plan *plan, const struct code_table *ps315,
                 const struct code_table *beyond, struct err *err)
{
    unsigned patterns = 0;

    plan->rules = calloc(ps315->n_rows + beyond->n_rows, sizeof(*plan->rules));
    if (!plan->rules)
        return err_set(err, ERR_PLACE, "no memory for the rules of PS3.15");
    for (size_t i = 0; i < ps315->n_rows; i++) {
        const struct code_row *row = &ps315->rows[i];

        if (is_pattern(row->tag)) {
            if (row->codes[COLUMN_BASIC] != CODE_X)
                return err_set(err, ERR_REFUSED, PS315 ": a pattern can only be removed");
            plan->patterns[patterns++] = make_rule(row, ACT_REMOVE, false);
            continue;
        }
        plan->rules[plan->n_rules++] = make_rule(row, choose(row, plan->options), false);
    }
    if (patterns != RULES_PATTERNS)
        return err_set(err, ERR_REFUSED, PS315 ": a pattern is missing; it has four");
    for (size_t i = 0; i < beyond->n_rows; i++) {
        uint32_t tag = beyond->rows[i].tag;
        uint8_t code = beyond->rows[i].codes[0];
        const char *vr = dicom_vr(tag);

        if (is_pattern(tag) || code & CODE_C || code & (code - 1))
            return err_set(err, ERR_REFUSED, BEYOND ": a row has one tag and one of X Z D U K");
        plan->rules[plan->n_rules++] = make_rule(
            &beyond->rows[i], is_vr(vr, "SQ") ? of_sequence(tag, code) : of_value(code, vr), true);
    }
    qsort(plan->rules, plan->n_rules, sizeof(*plan->rules), compare);
    for (size_t i = 1; i < plan->n_rules; i++)
        if (plan->rules[i].tag == plan->rules[i - 1].tag)
            return err_set(err, ERR_REFUSED, BEYOND ": (%04X,%04X) is in " PS315 " already",
                           plan->rules[i].tag >> 16, plan->rules[i].tag & 0xffff);
    return 0;
}

static int sum_up(const struct deid_plan *plan, const struct code_table *ps315,
                  const struct code_table *beyond, struct digest *digest)
{
    const uint8_t options = (uint8_t)plan->options;

    return digest_add(digest, &options, 1) || digest_add(digest, ps315->text, ps315->len + 1) ||
                   digest_add(digest, beyond->text, beyond->len + 1)
               ? -1
               : 0;
}

static int read_names(const char *const *profiles, unsigned *ret_options, struct err *err)
{
    static const struct {
        const char *name;
        unsigned option;
    } known[] = {{"basic", 0},
                 {"retain-patient-characteristics", OPTION_PATIENT},
                 {"retain-modified-dates", OPTION_MODIFIED_DATES}};
    const size_t n_known = sizeof(known) / sizeof(known[0]);
    bool basic = false;

    *ret_options = 0;
    for (size_t i = 0; profiles && profiles[i]; i++) {
        size_t k = 0;

        while (k < n_known && strcmp(profiles[i], known[k].name) != 0)
            k++;
        if (k == n_known)
            return err_set(err, ERR_REFUSED,
                           "the profile \"%.64s\" is not there yet; there are \"basic\", "
                           "\"retain-patient-characteristics\" and \"retain-modified-dates\"",
                           profiles[i]);
        basic = basic || k == 0;
        *ret_options |= known[k].option;
    }
    if (!basic)
        return err_set(err, ERR_REFUSED,
                       "\"basic\" must be among the profiles: the others only take from it");
    return 0;
}

static int load(const char *filters, const char *name, const char *const *columns,
                struct code_table *ret_table, struct err *err)
{
    char *path = file_join(filters, name);
    int r;

    if (!path)
        return err_set(err, ERR_PLACE, "no memory for the rules of PS3.15");
    r = code_table_load(path, columns, ret_table, err);
    free(path);
    return r;
}

int profile_build(struct deid_plan *plan, const char *const *profiles, const char *filters,
                  struct digest *digest, struct err *err)
{
    struct code_table ps315 = {0}, beyond = {0};
    int r = -1;

    if (read_names(profiles, &plan->options, err) ||
        load(filters, PS315, ps315_columns, &ps315, err) ||
        load(filters, BEYOND, beyond_columns, &beyond, err) || build(plan, &ps315, &beyond, err))
        goto out;
    plan->has_profile = true;
    r = sum_up(plan, &ps315, &beyond, digest);
    if (r)
        err_set(err, ERR_REFUSED, "the rules of PS3.15 have no digest: OpenSSL failed");
out:
    code_table_free(&ps315);
    code_table_free(&beyond);
    return r;
}

const struct rule *plan_rule(const struct deid_plan *plan, uint32_t tag)
{
    size_t from = 0, to = plan->n_rules;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (plan->rules[middle].tag == tag)
            return &plan->rules[middle];
        if (plan->rules[middle].tag < tag)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

enum action plan_action(const struct deid_plan *plan, uint32_t tag)
{
    const struct rule *rule = plan_rule(plan, tag);

    return rule ? (enum action)rule->action : ACT_JUDGE;
}
