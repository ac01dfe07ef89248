/* SPDX-License-Identifier: Apache-2.0 */
/* plan_emulator.c - the consent "emulator": a stage that asks another server, for tests. */
#include "plan/builder.h"

#include <string.h>
#include <strings.h>

#include "load/option.h"

/* In any spelling that a resolver might take for this machine: consent is asked for once too often
 * rather than not at all. */
static bool may_be_loopback(const char *url)
{
    const char *at = strstr(url, "://");
    size_t n;

    if (!at)
        return false;
    at += 3;
    if (!strncmp(at, "[::1]", 5) || !strncmp(at, "127.", 4))
        return true;
    n = strcspn(at, ":/?#");
    return n == 9 && !strncasecmp(at, "localhost", 9);
}

/* A service with an address of its own: one that the site says is on this machine is another. */
static bool is_elsewhere(const struct sendit_option *option)
{
    return option->type == SENDIT_OPT_URL && option->default_value &&
           !may_be_loopback(option->default_value);
}

bool plan_is_diverted(const struct plan_value *value)
{
    if (value->option->type != SENDIT_OPT_URL)
        return false;
    if ((value->option->flags & SENDIT_OPT_TEST) && (value->given || value->variable))
        return value->text || (value->list && *value->list);
    if (!is_elsewhere(value->option))
        return false;
    if (value->text && may_be_loopback(value->text))
        return true;
    for (char **text = value->list; text && *text; text++)
        if (may_be_loopback(*text))
            return true;
    return false;
}

static bool leads_out(const struct plan_value *value)
{
    if (value->option->type != SENDIT_OPT_URL || !value->given)
        return false;
    if (value->text && !option_is_loopback(value->text))
        return true;
    for (char **text = value->list; text && *text; text++)
        if (!option_is_loopback(*text))
            return true;
    return false;
}

/* Where the value stands, or the entry for one of the command line. */
static int value_error(struct builder *b, size_t i, const struct plan_value *value,
                       const char *problem)
{
    struct json_node *config = json_doc_get(b->entries[i], "config");
    const struct json_node *place = config ? json_doc_get(config, value->option->name) : NULL;

    return json_doc_error(&b->doc, place ? place : builder_allow_place(b, i), b->err,
                          "\"%s\" of stage \"%s\" %s", value->option->name, b->plan->stages[i].id,
                          problem);
}

static int check_value(struct builder *b, size_t i, const struct plan_value *value, bool allowed)
{
    bool test = value->option->flags & SENDIT_OPT_TEST;

    if (!allowed && test && value->given)
        return value_error(b, i, value,
                           "is for tests against another server; if this is one, add \"emulator\" "
                           "to its \"allow\", else drop it");
    if (!allowed && plan_is_diverted(value))
        return json_doc_error(&b->doc, builder_allow_place(b, i), b->err,
                              "\"%s\" of stage \"%s\" leads to this machine, not to the "
                              "service; if that is for a test, add \"emulator\" to its "
                              "\"allow\"",
                              value->option->name, b->plan->stages[i].id);
    if (test && leads_out(value))
        return value_error(b, i, value,
                           "is for tests and leads to this machine only; name localhost, "
                           "127.0.0.1 or [::1], or drop it for the service itself");
    return 0;
}

static const struct json_node *consent_place(struct builder *b, size_t i)
{
    const struct json_node *allow = builder_allow_place(b, i), *word;

    for (word = allow->first; word; word = word->next)
        if (json_is_string(word->value) && !strcmp(json_string_value(word->value), "emulator"))
            return word;
    return allow;
}

int builder_emulator(struct builder *b, size_t i)
{
    const struct plan_stage *stage = &b->plan->stages[i];
    bool allowed = builder_allows(stage, "emulator"), use = false;

    for (uint32_t j = 0; j < stage->plugin->n_options; j++) {
        const struct sendit_option *option = &stage->plugin->options[j];

        use = use || (option->flags & SENDIT_OPT_TEST) || is_elsewhere(option);
        if (check_value(b, i, &stage->values[j], allowed))
            return -1;
    }
    if (!allowed || use)
        return 0;
    return json_doc_error(&b->doc, consent_place(b, i), b->err,
                          "stage \"%s\" has no option that leads to another server; drop "
                          "\"emulator\"",
                          stage->id);
}
