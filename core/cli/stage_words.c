/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/stage_words.h"

#include "base/buf.h"
#include "load/option.h"
#include "plan/plan.h"

const struct flag_word flag_words[] = {
    {SENDIT_SOURCE, "source", "brings images in"},
    {SENDIT_READS, "reads", "reads"},
    {SENDIT_MUTATES, "edits", "edits"},
    {SENDIT_PIXELS, "pixels", "decodes pixels"},
    {SENDIT_IDENTIFIERS, "identifiers", "makes pseudonyms"},
    {SENDIT_EGRESS, "egress", "hands images out"},
    {SENDIT_NETWORK, "network", "network"},
    {SENDIT_SENDS_PHI, "sends-phi", "sends patients' data"},
    {SENDIT_SECRETS, "secrets", "sees secrets"},
    {SENDIT_ORIGINALS, "originals", "sees originals"},
    {SENDIT_REIDENTIFIES, "reidentifies", "identifies again"},
    {SENDIT_NATIVE, "native", "native C++"},
    {0, NULL, NULL},
};

char *words_of_flags(uint32_t flags)
{
    struct buf buf = {0};

    buf_str(&buf, "");
    for (const struct flag_word *at = flag_words; at->flag; at++)
        if (flags & at->flag) {
            if (buf.len)
                buf_str(&buf, "\n");
            buf_str(&buf, at->does);
        }
    return buf_take(&buf);
}

json_t *words_flags_json(uint32_t flags)
{
    json_t *array = json_array();

    for (const struct flag_word *at = flag_words; at->flag; at++)
        if (flags & at->flag)
            json_array_append_new(array, json_string(at->word));
    return array;
}

json_t *words_consent_json(uint32_t flags)
{
    json_t *array = json_array();

    for (const struct flag_word *at = flag_words; at->flag; at++)
        if (flags & at->flag && plan_consent_word(at->flag))
            json_array_append_new(array, json_string(plan_consent_word(at->flag)));
    return array;
}

json_t *words_json(const char *words)
{
    json_t *array = json_array();
    const char *word;
    size_t n;

    while (words && (word = option_word(&words, &n)))
        json_array_append_new(array, json_stringn(word, n));
    return array;
}
