/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk over a data set, in which each element meets its rule.
 *
 * What has no rule, no entry in the dictionary, or a value that its VR cannot have, goes.  The
 * order of the questions is: may an element stand here at all; what does the table say; does the
 * value fit; does it name anybody.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deid/code_table.h"
#include "deid/codes.h"
#include "deid/rules.h"
#include "deid/terms.h"
#include "deid/traces.h"
#include "deid/value.h"
#include "dicom/charset.h"
#include "dicom/dicom.h"

#define MAX_DAYS 366000 /* of jitter, either way: a thousand years */
#define SHORTEST_IN_CODE_STRING 4
#define SCHEME_OF_OURS "99SENDIT"

enum {
    CHARACTER_SET = 0x00080005,
    IMAGE_TYPE = 0x00080008,
    SOP_INSTANCE_UID = 0x00080018,
    MODALITY = 0x00080060,
    MODALITIES_IN_STUDY = 0x00080061,
    CODE_VALUE = 0x00080100,
    CODE_SCHEME = 0x00080102,
    CODE_SCHEME_VERSION = 0x00080103,
    CODE_MEANING = 0x00080104,
    CODE_SCHEME_UID = 0x0008010c,
    FRAME_TYPE = 0x00089007,
    PATIENT_ID = 0x00100020,
    PATIENT_SEX = 0x00100040,
    IDENTITY_REMOVED = 0x00120062,
    METHOD = 0x00120063,
    METHOD_CODES = 0x00120064,
    STUDY_UID = 0x0020000d,
    SERIES_UID = 0x0020000e,
    PHOTOMETRIC = 0x00280004,
    TEMPORAL_MODIFIED = 0x00280303
};

/* One run of deid_apply(). */
struct run {
    const struct deid_plan *plan;
    const struct deid_keyed *keyed;
    struct sendit_report report;
    struct sendit_why *why;
    const char *entity;  /* the new PatientID */
    const char *patient; /* the old one, "" if it has none */
    int32_t days;
    sendit_result result; /* why the walk was stopped */
    struct traces traces;
    struct buf text;  /* a value in the making */
    const char *note; /* why the element in hand comes out otherwise than its rule says */
    bool in_tree;     /* inside a sequence that loses all text, which stands at tree_depth */
    uint32_t tree_depth;
};

/* The element in hand. */
struct at {
    struct sendit_dataset *parent;
    const struct sendit_element *e;
    uint16_t vr; /* as the dictionary has it, else as the file has it */
    char vr_name[4];
    bool known; /* the dictionary has it */
};

static const char does_not_fit[] = "its value does not fit its VR";
static const char names_somebody[] = "it names somebody";
static const char unknown[] = "no dictionary knows it";
static const char public_code[] = "the code is public";
static const char loses_text[] = "the sequence loses all text";

static int32_t stop(struct run *run, sendit_result result, const char *code, const char *text)
{
    run->result = result;
    sendit_because(run->why, SENDIT_QUARANTINE, code, "%s", text);
    return SENDIT_STOP;
}

static int32_t failed(struct run *run, sendit_result result)
{
    if (result == SENDIT_ENOMEM)
        return stop(run, result, "deid.memory", "there was no memory for an edit");
    return stop(run, result == SENDIT_EDENIED ? result : SENDIT_ECORRUPT, "deid.edit",
                "an attribute could not be given its new value");
}

static int32_t remove_it(struct run *run)
{
    run->report.removed++;
    return SENDIT_ERASE;
}

static int32_t empty_it(struct run *run, const struct at *at)
{
    if (at->e->value && !at->e->length)
        return SENDIT_KEEP;
    run->report.emptied++;
    return SENDIT_EMPTY;
}

/* The answer, and why it is that one. */
static int32_t noted(struct run *run, const char *note, int32_t answer)
{
    run->note = note;
    return answer;
}

static bool is_blank(const struct at *at)
{
    return at->e->value && !value_trim(at->e->value, at->e->length).len;
}

static int32_t put(struct run *run, const struct at *at, const void *value, size_t len)
{
    sendit_result result = dicom_put_as(at->parent, at->e->tag, NULL, at->vr_name, value, len);

    return result ? failed(run, result) : SENDIT_KEEP_WHOLE;
}

/* An element that is empty says nothing, and stays so. */
static int32_t put_dummy(struct run *run, const struct at *at)
{
    static const char zeros[8];
    const char *text = value_dummy(at->vr);
    size_t width = value_width(at->vr);
    int32_t answer;

    if (is_blank(at))
        return SENDIT_KEEP;
    if (text)
        answer = put(run, at, text, strlen(text));
    else
        answer = put(run, at, zeros, width > 1 ? width : 2);
    run->report.replaced++;
    return answer;
}

/* A nested PatientID is that of the patient, or of somebody whom the pseudonym does not name. */
static int32_t put_patient_id(struct run *run, const struct at *at)
{
    const char *here;

    if (at->e->depth == 0) {
        run->report.replaced++;
        return put(run, at, run->entity, strlen(run->entity));
    }
    if (dicom_get(at->parent, at->e->tag, &here) || !*here || strcmp(here, run->patient) != 0)
        return put_dummy(run, at);
    run->report.replaced++;
    return put(run, at, run->entity, strlen(run->entity));
}

/* Append the new UID for one of an element; ECORRUPT if it is no UID. */
static sendit_result map_uid(struct run *run, struct value_span one)
{
    char original[65];
    const char *mapped;
    sendit_result result;

    if (!value_is_uid(one))
        return SENDIT_ECORRUPT;
    memcpy(original, one.text, one.len);
    original[one.len] = '\0';
    result = run->keyed->uid(run->keyed->ctx, original, &mapped);
    if (result)
        return result == SENDIT_EINVAL ? SENDIT_ECORRUPT : result;
    if (strcmp(mapped, original) != 0)
        run->report.uids++;
    buf_str(&run->text, mapped);
    return run->text.failed ? SENDIT_ENOMEM : SENDIT_OK;
}

static int32_t put_uids(struct run *run, struct at *at)
{
    struct value_span rest = value_trim(at->e->value, at->e->length), one;
    uint32_t tag = at->e->tag;
    bool first = true;

    run->text.len = 0;
    if (!rest.len)
        return SENDIT_KEEP;
    while (value_next(&rest, &one)) {
        sendit_result result;

        if (!first)
            buf_add(&run->text, "\\", 1);
        first = false;
        result = one.len ? map_uid(run, one) : SENDIT_OK;
        if (result == SENDIT_ECORRUPT) {
            if (at->e->depth == 0 &&
                (tag == SOP_INSTANCE_UID || tag == STUDY_UID || tag == SERIES_UID))
                return stop(run, SENDIT_ECORRUPT, "deid.uid",
                            "the UID of its study, series or instance is no UID");
            return noted(run, "it is no UID", empty_it(run, at));
        }
        if (result)
            return stop(run, result, "deid.uid", "a UID could not be mapped");
    }
    memcpy(at->vr_name, "UI", 3);
    return put(run, at, run->text.data, run->text.len);
}

static int32_t move_dates(struct run *run, const struct at *at)
{
    if (is_blank(at))
        return SENDIT_KEEP;
    run->text.len = 0;
    if (!value_move(at->vr, at->e->value, at->e->length, run->days, &run->text)) {
        run->report.lost_dates++;
        return noted(run, "it is no date, or leaves the years 1 to 9999", empty_it(run, at));
    }
    run->report.dates++;
    return run->text.failed ? failed(run, SENDIT_ENOMEM)
                            : put(run, at, run->text.data, run->text.len);
}

static int32_t keep_age(struct run *run, const struct at *at)
{
    struct value_span age = value_trim(at->e->value, at->e->length);
    char shown[5];

    if (!age.len)
        return SENDIT_KEEP;
    if (!value_age(age, shown))
        return noted(run, "it is no age", empty_it(run, at));
    if (age.len == 4 && !memcmp(age.text, shown, 4))
        return SENDIT_KEEP;
    run->report.replaced++;
    return noted(run, "over 89 years it is 089Y", put(run, at, shown, 4));
}

/* Where only known terms stand: is it one, and what stands for any other? */
struct terms {
    uint32_t tag;
    bool (*is_one)(const char *text, size_t len);
    const char *other;
};

static const struct terms *terms_of(uint32_t tag)
{
    static const struct terms all[] = {{IMAGE_TYPE, terms_is_image_type, "ANONYMIZED"},
                                       {MODALITY, terms_is_modality, "OT"},
                                       {MODALITIES_IN_STUDY, terms_is_modality, "OT"},
                                       {FRAME_TYPE, terms_is_image_type, "ANONYMIZED"},
                                       {PATIENT_SEX, terms_is_sex, ""}, /* Type 2 */
                                       {PHOTOMETRIC, terms_is_photometric, "ANONYMIZED"}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].tag == tag)
            return &all[i];
    return NULL;
}

/* Of several code strings only those go that name somebody, or could: the others may be of
 * Type 1. */
static int32_t keep_codes(struct run *run, const struct at *at)
{
    struct value_span rest = value_trim(at->e->value, at->e->length), one;
    const struct terms *terms = terms_of(at->e->tag);
    const char *other = terms ? terms->other : value_dummy(VALUE_VR('C', 'S'));
    /* an image type may be any short word */
    size_t shortest = terms && terms->is_one == terms_is_image_type ? 0 : SHORTEST_IN_CODE_STRING;
    bool first = true, changed = false;

    run->text.len = 0;
    while (value_next(&rest, &one)) {
        bool stays = !terms || !one.len || terms->is_one(one.text, one.len);

        if (stays && !terms_is_common(one.text, one.len))
            stays = !traces_in_text(&run->traces, one.text, one.len, shortest);
        if (!first)
            buf_add(&run->text, "\\", 1);
        first = false;
        if (stays)
            buf_add(&run->text, one.text, one.len);
        else
            buf_str(&run->text, other);
        changed = changed || !stays;
    }
    if (run->text.failed)
        return failed(run, SENDIT_ENOMEM);
    if (!changed)
        return SENDIT_KEEP;
    run->report.replaced++;
    return noted(run, "a value of it is no known term, or names somebody",
                 put(run, at, run->text.data, run->text.len));
}

/* AS, CS, DA, DS, IS, TM, UI: what does not look like one is something else. */
static int32_t keep_string(struct run *run, const struct at *at)
{
    struct value_span rest = value_trim(at->e->value, at->e->length), one;

    if (at->vr == VALUE_VR('A', 'S'))
        return keep_age(run, at);
    if (at->e->tag == CHARACTER_SET)
        return charset_is_known(rest.text, rest.len)
                   ? SENDIT_KEEP
                   : noted(run, "the character set is not known", remove_it(run));
    if (!terms_of(at->e->tag) && !value_fits(at->vr, at->e->value, at->e->length))
        return noted(run, does_not_fit, empty_it(run, at));
    if (at->vr == VALUE_VR('C', 'S'))
        return keep_codes(run, at);
    if (at->vr != VALUE_VR('T', 'M')) /* DS, IS, and a UID of a class */
        while (value_next(&rest, &one))
            if (traces_in_number(&run->traces, one.text, one.len))
                return noted(run, names_somebody, empty_it(run, at));
    return SENDIT_KEEP;
}

static bool needs_decoding(struct value_span value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.text[i] >= 0x80 || value.text[i] == 0x1b)
            return true;
    return false;
}

/* Text that the table leaves: it must be readable, and name nobody whom the object names. */
static int32_t keep_text(struct run *run, const struct at *at)
{
    struct value_span value = value_trim(at->e->value, at->e->length);

    if (!value.len)
        return SENDIT_KEEP;
    if (!value_fits(at->vr, at->e->value, at->e->length))
        return noted(run, does_not_fit, put_dummy(run, at));
    if (needs_decoding(value)) {
        const char *text;
        sendit_result result = dicom_get(at->parent, at->e->tag, &text);

        if (result == SENDIT_ENOMEM)
            return failed(run, result);
        if (result)
            return noted(run, "it cannot be read in its character set", put_dummy(run, at));
        value = (struct value_span){text, strlen(text)};
    }
    if (traces_in_text(&run->traces, value.text, value.len, 0) ||
        traces_look_like_a_name(value.text, value.len))
        return noted(run, names_somebody, put_dummy(run, at));
    return SENDIT_KEEP;
}

/* A tag that is four letters is text in disguise; so is one that no dictionary knows. */
static bool is_plausible_tag(const void *bytes)
{
    uint16_t pair[2];
    const unsigned char *c = bytes;
    uint32_t tag;

    memcpy(pair, bytes, sizeof(pair));
    tag = (uint32_t)pair[0] << 16 | pair[1];
    if (!(tag >> 16 & 1))
        return dicom_vr(tag) != NULL;
    for (int i = 0; i < 4; i++)
        if (c[i] < 0x20 || c[i] > 0x7e)
            return true;
    return false;
}

static int32_t keep_numbers(struct run *run, const struct at *at)
{
    const char *bytes = at->e->value;

    if (!value_fits(at->vr, bytes, at->e->length))
        return noted(run, does_not_fit, empty_it(run, at));
    for (size_t i = 0; at->vr == VALUE_VR('A', 'T') && i < at->e->length; i += 4)
        if (!is_plausible_tag(bytes + i))
            return noted(run, "it names a tag that nobody knows", empty_it(run, at));
    if (traces_in_bytes(&run->traces, bytes, at->e->length))
        return noted(run, names_somebody, empty_it(run, at));
    return SENDIT_KEEP;
}

static int32_t keep_value(struct run *run, const struct at *at)
{
    switch (value_class(at->vr)) {
    case VALUE_TEXT:
        return keep_text(run, at);
    case VALUE_STRING:
        return keep_string(run, at);
    case VALUE_NUMBER:
    case VALUE_ARRAY:
    case VALUE_BYTES:
        return keep_numbers(run, at);
    case VALUE_SEQUENCE:
        return SENDIT_KEEP;
    default:
        return remove_it(run);
    }
}

/* What the table does not name. */
static int32_t judge(struct run *run, struct at *at)
{
    bool dates = run->plan->options & OPTION_MODIFIED_DATES;

    if (!at->known)
        return noted(run, unknown, remove_it(run));
    switch (at->vr) {
    case VALUE_VR('P', 'N'):
        return empty_it(run, at);
    case VALUE_VR('D', 'A'):
    case VALUE_VR('D', 'T'):
        return dates ? move_dates(run, at) : remove_it(run);
    case VALUE_VR('T', 'M'):
        return dates ? keep_string(run, at) : remove_it(run);
    case VALUE_VR('U', 'I'):
        return put_uids(run, at);
    case VALUE_VR('A', 'E'):
    case VALUE_VR('L', 'T'):
    case VALUE_VR('S', 'T'):
    case VALUE_VR('U', 'R'):
    case VALUE_VR('U', 'T'):
        return put_dummy(run, at);
    case VALUE_VR('O', 'B'):
    case VALUE_VR('O', 'W'):
        return remove_it(run);
    default:
        return keep_value(run, at);
    }
}

/* Is the code of this item one that a public scheme could have? */
static bool has_public_code(struct run *run, struct sendit_dataset *item, const char **ret_value)
{
    const char *scheme, *value;

    return !dicom_get(item, CODE_SCHEME, &scheme) && !dicom_get(item, CODE_VALUE, &value) &&
           codes_is_public(scheme, value) &&
           !traces_in_text(&run->traces, value, strlen(value), 0) && (*ret_value = value);
}

/* Text of a tree is a dummy, but for public codes; their meaning, which could say anything, is
 * their value. */
static int32_t dummy_text(struct run *run, const struct at *at)
{
    const char *value;
    bool version = at->e->tag == CODE_SCHEME_VERSION;

    if (is_blank(at))
        return SENDIT_KEEP;
    if ((at->e->tag == CODE_VALUE || at->e->tag == CODE_SCHEME || at->e->tag == CODE_MEANING ||
         version) &&
        has_public_code(run, at->parent, &value)) {
        if (at->e->tag == CODE_MEANING) {
            run->report.replaced++;
            return noted(run, public_code, put(run, at, value, strlen(value)));
        }
        if (!version || value_fits(VALUE_VR('D', 'S'), at->e->value, at->e->length))
            return noted(run, public_code, SENDIT_KEEP);
    }
    if (at->e->tag == CODE_SCHEME) {
        run->report.replaced++;
        return noted(run, loses_text, put(run, at, SCHEME_OF_OURS, strlen(SCHEME_OF_OURS)));
    }
    return noted(run, loses_text, put_dummy(run, at));
}

/* One item with a code that says nothing, in place of all that were there. */
static int32_t put_one_code(struct run *run, const struct at *at)
{
    struct sendit_dataset *item = NULL;
    sendit_result result = dicom_erase(at->parent, at->e->tag);

    if (!result)
        result = dicom_append(at->parent, at->e->tag, &item);
    if (!result)
        result = dicom_put(item, CODE_VALUE, "ANONYMIZED");
    if (!result)
        result = dicom_put(item, CODE_SCHEME, SCHEME_OF_OURS);
    if (!result)
        result = dicom_put(item, CODE_MEANING, "ANONYMIZED");
    if (result)
        return failed(run, result);
    run->report.replaced++;
    return SENDIT_KEEP_WHOLE;
}

static int32_t act_on_sequence(struct run *run, struct at *at, enum action action)
{
    switch (action) {
    case ACT_REMOVE:
        return remove_it(run);
    case ACT_EMPTY:
        run->report.emptied++;
        return SENDIT_EMPTY;
    case ACT_ONE_CODE:
        return put_one_code(run, at);
    case ACT_TREE:
        if (!run->in_tree) {
            run->in_tree = true;
            run->tree_depth = at->e->depth;
        }
        return SENDIT_KEEP;
    case ACT_KEEP:
        return SENDIT_KEEP;
    case ACT_JUDGE:
        return at->known ? SENDIT_KEEP : noted(run, unknown, remove_it(run));
    default:
        return remove_it(run);
    }
}

static int32_t act(struct run *run, struct at *at, enum action action)
{
    bool stays = action == ACT_KEEP || action == ACT_JUDGE;
    const char *value;

    if (run->in_tree && stays && value_class(at->vr) == VALUE_TEXT && at->known)
        return dummy_text(run, at);
    if (run->in_tree && at->e->tag == CODE_SCHEME_UID && !has_public_code(run, at->parent, &value))
        return put_uids(run, at);
    switch (action) {
    case ACT_REMOVE:
        return remove_it(run);
    case ACT_EMPTY:
        return empty_it(run, at);
    case ACT_DUMMY:
        return value_class(at->vr) == VALUE_UNKNOWN && !at->known ? remove_it(run)
                                                                  : put_dummy(run, at);
    case ACT_UID:
        return put_uids(run, at);
    case ACT_MOVE:
        return move_dates(run, at);
    case ACT_PATIENT_ID:
        return put_patient_id(run, at);
    case ACT_KEEP:
        return keep_value(run, at);
    case ACT_JUDGE:
        return judge(run, at);
    default:
        return stop(run, SENDIT_ECORRUPT, "deid.rule", "an attribute has no rule");
    }
}

/* Groups and elements that go, whatever the table says: private ones, commands, DICOMDIR records,
 * curves, overlays, lengths of groups, and pixel data that is not that of the image. */
static bool has_no_place(uint32_t tag, uint32_t depth)
{
    uint32_t group = tag >> 16, element = tag & 0xffff;

    if (group & 1 || !element || group == 0x0000 || group == 0x0004)
        return true;
    if ((group >= 0x5000 && group <= 0x50ff) || (group >= 0x6000 && group <= 0x60ff) ||
        (group >= 0x7f00 && group != 0x7fe0 && group <= 0x7fff))
        return true;
    if (group == 0x7fe0)
        return depth > 0;
    if (group == 0x4010) /* of luggage and travellers */
        return true;
    return group == 0x0020 && element >= 0x3100 && element <= 0x31ff; /* SourceImageIDs */
}

/* Do the VR of the file and that of the dictionary mean the same kind of value? */
static bool is_kin(uint16_t file, uint16_t dictionary)
{
    enum value_class a = value_class(file), b = value_class(dictionary);

    if (a == b || file == VALUE_VR('U', 'N'))
        return true;
    if ((a == VALUE_TEXT || a == VALUE_STRING) && (b == VALUE_TEXT || b == VALUE_STRING))
        return true;
    return (a == VALUE_NUMBER || a == VALUE_BYTES || a == VALUE_ARRAY) &&
           (b == VALUE_NUMBER || b == VALUE_BYTES || b == VALUE_ARRAY);
}

/* Pixel data of the image: on disk, or parsed as fragments. */
static bool is_pixels(const struct sendit_element *e)
{
    return (e->tag == 0x7fe00010 || e->tag == 0x7fe00008 || e->tag == 0x7fe00009) && !e->depth;
}

/* What the element is, by the dictionary where it knows it; false if it is not what it says: a blob
 * where items should be, or items where a value should be. */
static bool identify(struct at *at)
{
    const char *known = dicom_vr(at->e->tag);
    uint16_t file = value_vr(at->e->vr);
    bool sequence = !at->e->value;

    at->known = known != NULL;
    at->vr = known ? value_vr(known) : file;
    memcpy(at->vr_name, known ? known : at->e->vr, 2);
    at->vr_name[2] = '\0';
    if (known && (!is_kin(file, at->vr) || sequence != (at->vr == VALUE_VR('S', 'Q'))))
        return false;
    /* numbers keep the width that the file gives them */
    if (value_class(at->vr) != VALUE_TEXT && value_class(at->vr) != VALUE_STRING &&
        file != VALUE_VR('U', 'N')) {
        at->vr = file;
        memcpy(at->vr_name, at->e->vr, sizeof(at->vr_name));
    }
    return true;
}

static int32_t meet(struct run *run, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct at at = {.parent = parent, .e = e};
    enum action action;

    if (run->in_tree && e->depth <= run->tree_depth)
        run->in_tree = false;
    if (has_no_place(e->tag, e->depth))
        return noted(run, "it has no place in an image that leaves", remove_it(run));
    if (is_pixels(e))
        return SENDIT_KEEP_WHOLE;
    action = plan_action(run->plan, e->tag);
    if (action == ACT_REMOVE)
        return remove_it(run);
    if (!identify(&at) && action != ACT_EMPTY)
        return noted(run, "its VR cannot hold what the dictionary says", remove_it(run));
    return e->value ? act(run, &at, action) : act_on_sequence(run, &at, action);
}

/* The row of a table that names the element, or a group of them; NULL without. */
static const struct rule *rule_of(const struct deid_plan *plan, uint32_t tag)
{
    uint32_t group = tag >> 16, pattern = 0;

    if (group & 1)
        pattern = CODE_TABLE_PRIVATE;
    else if (group >= 0x5000 && group <= 0x50ff)
        pattern = CODE_TABLE_CURVES;
    else if (group >= 0x6000 && group <= 0x60ff)
        pattern = 0x60000000u | (tag & 0xffff);
    for (size_t i = 0; pattern && i < RULES_PATTERNS; i++)
        if (plan->patterns[i].tag == pattern)
            return &plan->patterns[i];
    return plan_rule(plan, tag);
}

static void tell(struct run *run, struct sendit_dataset *parent, const struct sendit_element *e)
{
    static const char *const words[] = {
        [ACT_REMOVE] = "removes it",
        [ACT_EMPTY] = "empties it",
        [ACT_DUMMY] = "puts a dummy",
        [ACT_UID] = "puts a new UID",
        [ACT_MOVE] = "moves the date",
        [ACT_PATIENT_ID] = "puts the pseudonym",
        [ACT_KEEP] = "keeps it",
        [ACT_TREE] = "keeps it, and no text in it",
        [ACT_ONE_CODE] = "puts one code that says nothing",
        [ACT_JUDGE] = "no table names it: by its VR",
    };
    const struct rule *rule = rule_of(run->plan, e->tag);
    struct deid_step step = {.rule = words[rule ? rule->action : ACT_JUDGE], .note = run->note};

    if (rule && rule->line) {
        step.file = rule->beyond ? BEYOND_TABLE : PS315_TABLE;
        step.line = rule->line;
    }
    if (!rule && is_pixels(e))
        step.rule = "pixel data stays";
    else if (!rule && has_no_place(e->tag, e->depth))
        step.rule = words[ACT_REMOVE];
    if (rule && rule->action == ACT_REMOVE)
        step.note = NULL; /* the row says enough */
    run->note = NULL;
    run->keyed->watch->told(run->keyed->watch->ctx, parent, e, &step);
}

/* What an element meets without recipes. */
static int32_t by_profile(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct run *run = ctx;
    int32_t answer = meet(run, parent, e);

    if (run->keyed->watch)
        tell(run, parent, e);
    return answer;
}

static int32_t visit(void *ctx, struct sendit_dataset *parent, const struct sendit_element *e)
{
    struct run *run = ctx;

    if (e->tag >> 16 == 0x0002)
        return stop(run, SENDIT_ECORRUPT, "deid.meta",
                    "an element of the meta group stands in the data set");
    return run->plan->header ? header_visit(run->plan->header, parent, e)
                             : by_profile(ctx, parent, e);
}

/* CID 7050 of PS3.16. */
static const struct {
    unsigned option; /* 0: always */
    const char *code, *meaning;
} methods[] = {{0, "113100", "Basic Application Confidentiality Profile"},
               {OPTION_MODIFIED_DATES, "113107",
                "Retain Longitudinal Temporal Information Modified Dates Option"},
               {OPTION_PATIENT, "113108", "Retain Patient Characteristics Option"}};

static sendit_result put_code(struct sendit_dataset *ds, uint32_t tag, const char *value,
                              const char *meaning)
{
    struct sendit_dataset *item;
    sendit_result result = dicom_append(ds, tag, &item);

    if (!result)
        result = dicom_put(item, CODE_VALUE, value);
    if (!result)
        result = dicom_put(item, CODE_SCHEME, "DCM");
    if (!result)
        result = dicom_put(item, CODE_MEANING, meaning);
    return result;
}

static void tell_signed(const struct run *run, uint32_t tag, const char *vr)
{
    const struct deid_watch *watch = run->keyed->watch;
    const struct deid_step step = {.rule = "the profile says what was done"};
    struct sendit_element e = {.tag = tag};

    memcpy(e.vr, vr, 2);
    if (watch)
        watch->told(watch->ctx, NULL, &e, &step);
}

/* Say in the data set what was done to it; the walk has taken away what others had said. */
static sendit_result sign(struct run *run, struct sendit_dataset *ds)
{
    bool dates = run->plan->options & OPTION_MODIFIED_DATES;
    bool given = run->plan->header && header_gave_id(run->plan->header);
    sendit_result result = given ? SENDIT_OK : dicom_put(ds, PATIENT_ID, run->entity);

    run->text.len = 0;
    buf_str(&run->text, "PS3.15 2026c");
    for (size_t i = 0; !result && i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (methods[i].option && !(run->plan->options & methods[i].option))
            continue;
        buf_printf(&run->text, "\\%s", methods[i].meaning);
        result = put_code(ds, METHOD_CODES, methods[i].code, methods[i].meaning);
    }
    if (!result && run->text.failed)
        result = SENDIT_ENOMEM;
    if (!result)
        result = dicom_put(ds, METHOD, run->text.data);
    if (!result)
        result = dicom_put(ds, IDENTITY_REMOVED, "YES");
    if (!result)
        result = dicom_put(ds, TEMPORAL_MODIFIED, dates ? "MODIFIED" : "REMOVED");
    tell_signed(run, IDENTITY_REMOVED, "CS");
    tell_signed(run, METHOD, "LO");
    tell_signed(run, METHOD_CODES, "SQ");
    tell_signed(run, TEMPORAL_MODIFIED, "CS");
    return result;
}

static bool parse_days(const char *text, int32_t *ret_days)
{
    char *end;
    long days;

    errno = 0;
    days = strtol(text, &end, 10);
    if (errno || end == text || *end || days < -MAX_DAYS || days > MAX_DAYS)
        return false;
    *ret_days = (int32_t)days;
    return true;
}

static sendit_result read_vars(struct run *run, const struct sendit_var *vars, size_t n_vars)
{
    bool has_days = false;

    for (size_t i = 0; i < n_vars; i++) {
        if (!vars[i].name || !vars[i].value)
            continue;
        if (!strcmp(vars[i].name, "entity_id"))
            run->entity = vars[i].value;
        else if (!strcmp(vars[i].name, "jitter"))
            has_days = parse_days(vars[i].value, &run->days);
    }
    if (!run->entity || !*run->entity) {
        stop(run, SENDIT_EINVAL, "deid.vars", "var:entity_id, the new PatientID, is not given");
        return SENDIT_EINVAL;
    }
    if (!has_days && run->plan->options & OPTION_MODIFIED_DATES) {
        stop(run, SENDIT_EINVAL, "deid.vars", "var:jitter, whole days, is not given");
        return SENDIT_EINVAL;
    }
    return SENDIT_OK;
}

/* What the profile has to know before the first edit. */
static sendit_result look(struct run *run, struct sendit_dataset *ds)
{
    sendit_result result = traces_collect(&run->traces, ds);

    if (result)
        return result;
    result = dicom_get(ds, PATIENT_ID, &run->patient);
    if (result == SENDIT_ENOMEM)
        return result;
    if (result)
        run->patient = "";
    return SENDIT_OK;
}

static sendit_result walk(struct run *run, struct sendit_dataset *ds)
{
    struct header *header = run->plan->header;
    sendit_result result = dicom_walk(ds, visit, run);

    if (run->result)
        return run->result;
    return header && header_result(header) ? header_result(header) : result;
}

static bool has_text(struct sendit_dataset *ds, uint32_t tag)
{
    const char *text;

    return !dicom_get(ds, tag, &text) && value_trim(text, strlen(text)).len;
}

/* Rules of a recipe may take away what no file can do without. */
static sendit_result finish_recipes(struct run *run, struct sendit_dataset *ds)
{
    sendit_result result = header_end(run->plan->header);

    if (result || !run->plan->has_profile || (has_text(ds, 0x00080016) && has_text(ds, 0x00080018)))
        return result;
    stop(run, SENDIT_ECORRUPT, "deid.recipe",
         "the recipes leave it without a SOP Class UID or a SOP Instance UID");
    return run->result;
}

static sendit_result edit(struct run *run, struct sendit_dataset *ds, const struct sendit_var *vars,
                          size_t n_vars)
{
    struct header *header = run->plan->header;
    bool profile = run->plan->has_profile;
    const struct header_env env = {.ds = ds,
                                   .vars = vars,
                                   .n_vars = n_vars,
                                   .keyed = run->keyed,
                                   .report = &run->report,
                                   .why = run->why,
                                   .profile = profile ? by_profile : NULL,
                                   .ctx = run};
    sendit_result result = profile ? look(run, ds) : SENDIT_OK;

    if (!result && header)
        result = header_begin(header, &env);
    if (!result)
        result = walk(run, ds);
    if (!result && profile)
        result = sign(run, ds);
    return !result && header ? finish_recipes(run, ds) : result;
}

sendit_result deid_apply(const struct deid_plan *plan, struct sendit_dataset *ds,
                         const struct sendit_var *vars, size_t n_vars,
                         const struct deid_keyed *keyed, struct sendit_report *ret_report,
                         struct sendit_why *why)
{
    struct run run = {.plan = plan, .keyed = keyed, .why = why};
    sendit_result result = SENDIT_OK;

    if (plan->has_profile)
        result = read_vars(&run, vars, n_vars);
    if (!result && (plan->has_profile || plan->header))
        result = edit(&run, ds, vars, n_vars);
    if (result && !run.result && !(plan->header && header_result(plan->header)))
        failed(&run, result);
    else if (!result)
        *ret_report = run.report;
    traces_fini(&run.traces);
    buf_fini(&run.text);
    return result;
}
