/* SPDX-License-Identifier: Apache-2.0 */
#include "plan/builder.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/near.h"
#include "load/option.h"

static const char *const ours[] = {"pixels.checked", "filters.passed", "ids.replaced",
                                   "deid.header", "deid.verified"};
const char *const plan_default_policy[] = {"pixels.checked", "filters.passed", "ids.replaced",
                                           "deid.header", NULL};

/* Who ships and grants what, for the hint when nobody in the file does. */
static const struct {
    const char *label, *stage;
} granters[] = {
    {"pixels.checked", "pixel-check"},
    {"filters.passed", "deid-filter"},
    {"ids.replaced", "local-anonymizer"},
    {"deid.header", "local-anonymizer"},
};

static const struct consent {
    uint32_t flag;
    const char *word, *does;
} consents[] = {
    {SENDIT_NETWORK, "network", "talks to the network"},
    {SENDIT_SENDS_PHI, "sends-phi", "sends identified values out"},
    {SENDIT_SECRETS, "secrets", "sees the values behind its secrets"},
    {SENDIT_ORIGINALS, "originals", "sees identifying values from before any edit"},
    {SENDIT_REIDENTIFIES, "reidentifies", "makes images identified again"},
    {SENDIT_NATIVE, "native", "goes past the host's checks with its own C++"},
};
#define N_CONSENTS (sizeof(consents) / sizeof(consents[0]))

const char *plan_consent_word(uint32_t flag)
{
    for (size_t i = 0; i < N_CONSENTS; i++)
        if (consents[i].flag == flag)
            return consents[i].word;
    return NULL;
}

/* ---- labels ---- */

static bool is_label(const char *word, size_t n)
{
    bool dot = false;

    if (!n || n >= SENDIT_ID_SIZE || !islower((unsigned char)word[0]))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool here = word[i] == '.';

        if (here && (i + 1 == n || word[i + 1] == '.'))
            return false;
        if (!here && !islower((unsigned char)word[i]) && !isdigit((unsigned char)word[i]) &&
            word[i] != '_' && word[i] != '-')
            return false;
        dot = dot || here;
    }
    return dot;
}

static int add_label(struct plan *plan, const char *word, size_t n, uint64_t *mask)
{
    size_t i;

    for (i = 0; i < plan->n_labels; i++)
        if (strlen(plan->labels[i]) == n && !memcmp(plan->labels[i], word, n))
            break;
    if (i == PLAN_MAX_LABELS)
        return -1;
    if (i == plan->n_labels) {
        plan->labels[i] = strndup(word, n);
        if (!plan->labels[i])
            return -1;
        plan->n_labels++;
    }
    *mask |= UINT64_C(1) << i;
    return 0;
}

int plan_labels(struct plan *plan, const char *words, uint64_t *ret_mask)
{
    const char *at = words, *word;
    uint64_t mask = 0;
    size_t n;

    /* The five of ours come first in every plan. */
    for (size_t i = plan->n_labels; i < sizeof(ours) / sizeof(ours[0]); i++) {
        uint64_t ignored = 0;

        if (add_label(plan, ours[i], strlen(ours[i]), &ignored))
            return -1;
    }
    while (words && (word = option_word(&at, &n)))
        if (add_label(plan, word, n, &mask))
            return -1;
    *ret_mask = mask;
    return 0;
}

char *plan_label_text(const struct plan *plan, uint64_t mask)
{
    struct buf buf = {0};

    buf_str(&buf, "");
    for (size_t i = 0; i < plan->n_labels; i++)
        if (mask >> i & 1) {
            if (buf.len)
                buf_str(&buf, " ");
            buf_str(&buf, plan->labels[i]);
        }
    return buf_take(&buf);
}

/* ---- policy ---- */

int builder_because(struct builder *b, struct json_node *node, char **ret_because)
{
    const char *text;

    if (!node)
        return 0;
    if (builder_text(b, node, &text))
        return -1;
    if (!text[strspn(text, " ")])
        return json_doc_error(&b->doc, node, b->err, "a reason was expected, this is blank");
    if (strlen(text) > 500)
        return json_doc_error(&b->doc, node, b->err, "a reason has at most 500 bytes");
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            return json_doc_error(&b->doc, node, b->err, "a reason is one line of text");
    *ret_because = strdup(text);
    return *ret_because ? 0 : builder_no_memory(b);
}

static int read_needs(struct builder *b, struct json_node *node)
{
    if (!json_is_array(node->value))
        return json_doc_error(&b->doc, node, b->err, "an array of labels was expected, this is %s",
                              json_doc_kind(node->value));
    b->plan->egress_needs = 0;
    for (struct json_node *child = node->first; child; child = child->next) {
        const char *word;
        uint64_t mask, known = PLAN_OURS;
        struct near near;
        char hint[128];

        if (builder_text(b, child, &word))
            return -1;
        if (!is_label(word, strlen(word))) {
            near_start(&near, word);
            for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
                near_try(&near, ours[i]);
            return json_doc_error(&b->doc, child, b->err,
                                  "a label such as \"deid.header\" was expected%s",
                                  near_hint(&near, hint, sizeof(hint)));
        }
        if (plan_labels(b->plan, word, &mask))
            return json_doc_error(&b->doc, child, b->err, "there are too many labels");
        if (b->plan->egress_needs & mask)
            return json_doc_error(&b->doc, child, b->err, "this label stands here twice");
        /* A label that is nearly one of ours is a slip that would stop every run. */
        near_start(&near, word);
        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
            near_try(&near, ours[i]);
        if (!(mask & known) && near.best)
            return json_doc_error(&b->doc, child, b->err, "no stage of ours knows this label%s",
                                  near_hint(&near, hint, sizeof(hint)));
        b->plan->egress_needs |= mask;
    }
    return 0;
}

static int default_needs(struct builder *b, uint64_t *ret_mask)
{
    uint64_t mask;

    *ret_mask = 0;
    for (const char *const *label = plan_default_policy; *label; label++) {
        if (plan_labels(b->plan, *label, &mask))
            return builder_no_memory(b);
        *ret_mask |= mask;
    }
    return 0;
}

int builder_policy(struct builder *b, struct json_node *policy)
{
    static const char *const known[] = {"egress_needs", "because", NULL};
    struct plan *plan = b->plan;
    struct json_node *needs;
    uint64_t least;
    char *missing;

    if (default_needs(b, &least))
        return -1;
    plan->egress_needs = least;
    if (!policy)
        return 0;
    if (!json_is_object(policy->value))
        return json_doc_error(&b->doc, policy, b->err, "an object was expected, this is %s",
                              json_doc_kind(policy->value));
    needs = json_doc_get(policy, "egress_needs");
    if (builder_because(b, json_doc_get(policy, "because"), &plan->because) ||
        builder_refuse_unknown(b, policy, known) || (needs && read_needs(b, needs)))
        return -1;
    plan->lowered = (least & ~plan->egress_needs) != 0;
    if (!plan->lowered || plan->because)
        return 0;
    missing = plan_label_text(plan, least & ~plan->egress_needs);
    json_doc_error(&b->doc, needs, b->err,
                   "the policy lacks %s, which the core asks for; write why under policy.because",
                   missing ? missing : "a label");
    free(missing);
    return -1;
}

/* ---- consent ---- */

bool builder_allows(const struct plan_stage *stage, const char *word)
{
    for (char **at = stage->allow; at && *at; at++)
        if (!strcmp(*at, word))
            return true;
    return false;
}

static int check_word(struct builder *b, const struct json_node *node, const char *word)
{
    struct near near;
    char hint[128];

    if (!strncmp(word, "grant:", 6)) {
        if (is_label(word + 6, strlen(word + 6)))
            return 0;
        return json_doc_error(&b->doc, node, b->err,
                              "after grant: comes a label such as \"deid.header\"");
    }
    near_start(&near, word);
    near_try(&near, "emulator");
    for (size_t i = 0; i < N_CONSENTS; i++) {
        near_try(&near, consents[i].word);
        if (!strcmp(consents[i].word, word))
            return 0;
    }
    if (!strcmp(word, "emulator"))
        return 0;
    return json_doc_error(&b->doc, node, b->err, "there is no such consent%s",
                          near_hint(&near, hint, sizeof(hint)));
}

int builder_allow(struct builder *b, struct plan_stage *stage, struct json_node *allow)
{
    size_t n = 0;

    if (allow && !json_is_array(allow->value))
        return json_doc_error(&b->doc, allow, b->err, "an array of words was expected, this is %s",
                              json_doc_kind(allow->value));
    stage->allow = calloc((allow ? json_array_size(allow->value) : 0) + 1, sizeof(*stage->allow));
    if (!stage->allow)
        return builder_no_memory(b);
    for (struct json_node *child = allow ? allow->first : NULL; child; child = child->next) {
        const char *word;

        if (builder_text(b, child, &word) || check_word(b, child, word))
            return -1;
        if (builder_allows(stage, word))
            return json_doc_error(&b->doc, child, b->err, "this consent stands here twice");
        stage->allow[n] = strdup(word);
        if (!stage->allow[n++])
            return builder_no_memory(b);
    }
    return 0;
}

uint64_t plan_labels_after(const struct plan_stage *stage, uint64_t labels, bool edited)
{
    if (edited)
        labels &= ~(UINT64_C(1) << PLAN_VERIFIED);
    labels |= stage->grants;
    if (stage->plugin->flags & SENDIT_REIDENTIFIES) /* what it grants of ours is lost, too */
        labels &= ~(uint64_t)PLAN_OURS;
    return labels;
}

const struct json_node *builder_allow_place(struct builder *b, size_t i)
{
    struct json_node *allow = json_doc_get(b->entries[i], "allow");

    return allow ? allow : b->entries[i];
}

static int check_consent(struct builder *b, size_t i)
{
    const struct plan_stage *stage = &b->plan->stages[i];
    uint64_t granted = (stage->grants | stage->grants_at_finish) & PLAN_OURS;

    for (size_t j = 0; j < N_CONSENTS; j++)
        if ((stage->plugin->flags & consents[j].flag) && !builder_allows(stage, consents[j].word))
            return json_doc_error(&b->doc, builder_allow_place(b, i), b->err,
                                  "stage \"%s\" %s; if it may, add \"%s\" to its \"allow\"",
                                  stage->id, consents[j].does, consents[j].word);
    if (builder_emulator(b, i))
        return -1;
    if (stage->file->ships)
        return 0;
    for (size_t j = 0; j < sizeof(ours) / sizeof(ours[0]); j++) {
        char word[80];

        snprintf(word, sizeof(word), "grant:%s", ours[j]);
        if ((granted >> j & 1) && !builder_allows(stage, word))
            return json_doc_error(&b->doc, builder_allow_place(b, i), b->err,
                                  "stage \"%s\" does not ship with sendit and grants \"%s\"; if "
                                  "you vouch for it, add \"%s\" to its \"allow\"",
                                  stage->id, ours[j], word);
    }
    return 0;
}

/* ---- order ---- */

static int entry_error(struct builder *b, const struct plan_stage *stage, const char *text)
{
    return err_set(b->err, ERR_REFUSED, "%s:%u:%u: %s", b->plan->path, stage->line, stage->col,
                   text);
}

static uint64_t all_grants(const struct plan_stage *stage)
{
    return stage->grants | stage->grants_at_finish;
}

/* What its PASS takes from an image. */
static uint64_t stage_takes(const struct plan_stage *stage)
{
    uint64_t lost = 0;

    if (stage->plugin->flags & SENDIT_MUTATES)
        lost |= UINT64_C(1) << PLAN_VERIFIED;
    if (stage->plugin->flags & SENDIT_REIDENTIFIES)
        lost |= PLAN_OURS;
    return lost;
}

static const char *label_of(const struct plan *plan, uint64_t bit)
{
    size_t i = 0;

    while (bit >>= 1)
        i++;
    return plan->labels[i];
}

/* What to do about stage `i`, which lacks `bit`: name who could grant it, `at_finish` if that does
 * for it, too. */
static void hint_granter(struct builder *b, size_t i, uint64_t bit, bool at_finish, char *text,
                         size_t size)
{
    const struct plan *plan = b->plan;
    const struct stage_file *file;
    struct err ignored;

    for (size_t j = 0; j < plan->n_stages; j++) {
        const struct plan_stage *stage = &plan->stages[j];
        uint64_t grants = at_finish ? all_grants(stage) : stage->grants;

        if (j > i && stage->enabled && (grants & bit)) {
            snprintf(text, size, "move \"%s\" before it", stage->id);
            return;
        }
    }
    for (size_t j = 0; j < plan->n_stages; j++) {
        const struct plan_stage *stage = &plan->stages[j];

        if (!stage->enabled && stage->plugin && (stage->grants & bit)) {
            snprintf(text, size,
                     j < i ? "enable \"%s\" before it"
                           : "enable \"%s\" and move it "
                             "before this one",
                     stage->id);
            return;
        }
    }
    for (size_t j = 0; j < sizeof(granters) / sizeof(granters[0]); j++)
        if (!strcmp(granters[j].label, label_of(plan, bit)) &&
            !b->find(b->find_ctx, granters[j].stage, &file, &ignored)) {
            snprintf(text, size, "add \"%s\" before it", granters[j].stage);
            return;
        }
    snprintf(text, size, "add a stage that does before it");
}

/* The stage before `i` that takes `bit` away from what comes by. */
static const struct plan_stage *find_taker(const struct plan *plan, size_t i, uint64_t bit)
{
    while (i-- > 0) {
        const struct plan_stage *stage = &plan->stages[i];

        if (stage->enabled && (stage_takes(stage) & bit))
            return stage;
    }
    return NULL;
}

/* One label of `missing`, as the sentence that the house has for it: the last, since who grants
 * "deid.header" tends to grant others. */
static int refuse_missing(struct builder *b, size_t i, uint64_t missing, uint64_t taken)
{
    const struct plan_stage *stage = &b->plan->stages[i], *taker;
    bool policy = stage->egress && (b->plan->egress_needs & missing);
    uint64_t pick = policy ? b->plan->egress_needs & missing : missing;
    uint64_t bit = UINT64_C(1) << 63;
    const char *does = policy ? "hands images out" : "needs a label", *label;
    char hint[200], text[700];

    while (!(pick & bit))
        bit >>= 1;
    label = label_of(b->plan, bit);
    taker = taken & bit ? find_taker(b->plan, i, bit) : NULL;
    if (taker) {
        snprintf(
            text, sizeof(text),
            "stage \"%s\" %s, but \"%s\" before it takes \"%s\" away; move \"%s\" behind it or "
            "disable it",
            stage->id, does, taker->id, label, taker->id);
        return entry_error(b, stage, text);
    }
    hint_granter(b, i, bit, !policy, hint, sizeof(hint));
    snprintf(text, sizeof(text), "stage \"%s\" %s, but nothing before it grants \"%s\"; %s%s",
             stage->id, does, label, hint, policy ? ", or write why not under policy.because" : "");
    return entry_error(b, stage, text);
}

static int prove_labels(struct builder *b)
{
    struct plan *plan = b->plan;
    uint64_t have = 0, later = 0, taken = 0;

    for (size_t i = 0; i < plan->n_stages; i++) {
        struct plan_stage *stage = &plan->stages[i];
        uint64_t lost;

        if (!stage->enabled)
            continue;
        stage->needs_at_finish = stage->needs & ~have & later;
        stage->needs &= ~stage->needs_at_finish;
        /* The policy is about images as they leave: a label that comes at finish comes too late. */
        if (stage->egress)
            stage->needs |= plan->egress_needs;
        if (stage->needs & ~have)
            return refuse_missing(b, i, stage->needs & ~have, taken);
        lost = stage_takes(stage);
        have = (have & ~lost) | stage->grants;
        later = (later & ~lost) | stage->grants_at_finish;
        if (stage->plugin->flags & SENDIT_REIDENTIFIES) { /* what it grants itself is lost, too */
            have &= ~lost;
            later &= ~lost;
        }
        taken = (taken | lost) & ~have;
    }
    return 0;
}

static bool is_called(struct builder *b, const struct plan_stage *stage, const char *word, size_t n)
{
    for (size_t i = 0; i < b->plan->n_labels; i++)
        if (memchr(word, '.', n) && strlen(b->plan->labels[i]) == n &&
            !memcmp(b->plan->labels[i], word, n))
            return all_grants(stage) >> i & 1;
    return strlen(stage->use) == n && !memcmp(stage->use, word, n);
}

/* `after`: those in `words` come earlier; else later. */
static int prove_words(struct builder *b, size_t i, const char *words, bool after)
{
    const struct plan *plan = b->plan;
    const char *at = words, *word;
    size_t n;

    while (words && (word = option_word(&at, &n)))
        for (size_t j = after ? i + 1 : 0; j < (after ? plan->n_stages : i); j++) {
            const char *id = plan->stages[i].id, *other = plan->stages[j].id;
            char text[300];

            if (!plan->stages[j].enabled || !is_called(b, &plan->stages[j], word, n))
                continue;
            if (after)
                snprintf(text, sizeof(text),
                         "stage \"%s\" must come after \"%s\"; move \"%s\" before it", id, other,
                         other);
            else
                snprintf(text, sizeof(text), "stage \"%s\" must come before \"%s\"; move it there",
                         id, other);
            return entry_error(b, &plan->stages[i], text);
        }
    return 0;
}

static int prove_source(struct builder *b)
{
    const struct plan_stage *first = NULL, *source = NULL;
    char text[300];

    for (size_t i = 0; i < b->plan->n_stages; i++) {
        const struct plan_stage *stage = &b->plan->stages[i];

        if (!stage->enabled)
            continue;
        if (!first)
            first = stage;
        if (!(stage->plugin->flags & SENDIT_SOURCE))
            continue;
        if (source)
            snprintf(text, sizeof(text),
                     "stage \"%s\" is a second source, after \"%s\"; disable one of them",
                     stage->id, source->id);
        else if (stage != first)
            snprintf(text, sizeof(text), "stage \"%s\" is the source; move it before \"%s\"",
                     stage->id, first->id);
        else {
            source = stage;
            continue;
        }
        return entry_error(b, stage, text);
    }
    if (source)
        return 0;
    return json_doc_error(&b->doc, json_doc_get(b->doc.root, "stages"), b->err,
                          "no enabled stage is a source; begin with \"importer\"");
}

static int prove_granters(struct builder *b)
{
    const uint64_t ids = UINT64_C(1) << PLAN_IDS;
    const struct plan_stage *first = NULL;
    char text[300];

    for (size_t i = 0; i < b->plan->n_stages; i++) {
        const struct plan_stage *stage = &b->plan->stages[i];

        if (!stage->enabled || !(all_grants(stage) & ids))
            continue;
        if (first) {
            snprintf(text, sizeof(text),
                     "stage \"%s\" grants \"ids.replaced\", and so does \"%s\" before it; disable "
                     "one of them",
                     stage->id, first->id);
            return entry_error(b, stage, text);
        }
        first = stage;
    }
    return 0;
}

static int prove_store(struct builder *b)
{
    const struct plan_stage *store = NULL;
    char text[300];

    for (size_t i = 0; i < b->plan->n_stages && !store; i++)
        if (b->plan->stages[i].enabled && b->plan->stages[i].egress)
            store = &b->plan->stages[i];
    if (store && b->plan->dry) {
        snprintf(text, sizeof(text),
                 "stage \"%s\" hands images out, but \"dry\" is true; disable it or drop \"dry\"",
                 store->id);
        return entry_error(b, store, text);
    }
    if (store || b->plan->dry)
        return 0;
    return json_doc_error(&b->doc, json_doc_get(b->doc.root, "stages"), b->err,
                          "no enabled stage hands images out; enable a store, or write "
                          "\"dry\": true to check images only");
}

/* Is a folder that store `i` writes to one of the source's, in one, or around one? */
static int meet_folders(struct builder *b, size_t i, const struct plan_value *value,
                        const struct plan_value *folders)
{
    const struct plan_stage *store = &b->plan->stages[i];

    for (char **folder = folders->list; folder && *folder; folder++) {
        bool inside = file_is_below(value->text, *folder);

        if (inside || file_is_below(*folder, value->text))
            return err_set(b->err, ERR_REFUSED,
                           "%s:%u:%u: stages[%zu].config.%s: images would go to a folder that %s "
                           "one of the source's; let them go to another",
                           b->plan->path, value->line ? value->line : store->line,
                           value->line ? value->col : store->col, i, value->option->name,
                           inside ? "is, or lies in," : "holds");
    }
    return 0;
}

/* What is handed out never becomes input, nor does it come to lie among originals. */
static int prove_folders(struct builder *b)
{
    const struct plan_value *folders = NULL;

    for (size_t i = 0; i < b->plan->n_stages; i++) {
        const struct plan_stage *stage = &b->plan->stages[i];

        if (!stage->enabled)
            continue;
        if (stage->plugin->flags & SENDIT_SOURCE)
            folders = plan_value(stage, "folders");
        /* A path of one that talks to the network is a certificate or the like. */
        if (!folders || !stage->egress || (stage->plugin->flags & SENDIT_NETWORK))
            continue;
        for (size_t j = 0; j < stage->plugin->n_options; j++) {
            const struct plan_value *value = &stage->values[j];

            if (value->option->type == SENDIT_OPT_PATH && value->text &&
                meet_folders(b, i, value, folders))
                return -1;
        }
    }
    return 0;
}

int builder_prove(struct builder *b)
{
    struct plan *plan = b->plan;

    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && check_consent(b, i))
            return -1;
    if (prove_source(b) || prove_granters(b) || builder_holds(b))
        return -1;
    if (prove_labels(b) || prove_store(b) || prove_folders(b))
        return -1;
    for (size_t i = 0; i < plan->n_stages; i++)
        if (plan->stages[i].enabled && (prove_words(b, i, plan->stages[i].plugin->after, true) ||
                                        prove_words(b, i, plan->stages[i].plugin->before, false)))
            return -1;
    return 0;
}
