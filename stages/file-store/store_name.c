/* SPDX-License-Identifier: Apache-2.0 */
#include "store_name.h"

#include <limits.h>
#include <string.h>

/* What a template may name: an attribute, or a fact that a stage left. */
static const struct {
    const char *name, *fact;
    uint32_t tag;
} placeholders[] = {
    {"patient", NULL, 0x00100020u},  {"study", NULL, 0x0020000Du}, {"series", NULL, 0x0020000Eu},
    {"instance", NULL, 0x00080018u}, {"entity", "ids.entity", 0},  {"item", "ids.item", 0},
};
#define N_PLACEHOLDERS (sizeof(placeholders) / sizeof(placeholders[0]))

static int is_name_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* UIDs and pseudonyms: nothing else becomes part of a path. */
static int is_value(const char *value)
{
    size_t n = 0;

    while (is_name_character(value[n]))
        n++;
    return n && n <= STORE_NAME_MAX_VALUE && !value[n] && value[0] != '.';
}

/* The placeholder that `at` begins with, N_PLACEHOLDERS for none; *ret_length with its braces. */
static size_t find_placeholder(const char *at, size_t *ret_length)
{
    for (size_t i = 0; i < N_PLACEHOLDERS; i++) {
        size_t n = strlen(placeholders[i].name);

        if (!strncmp(at + 1, placeholders[i].name, n) && at[n + 1] == '}') {
            *ret_length = n + 2;
            return i;
        }
    }
    return N_PLACEHOLDERS;
}

const char *store_name_judge(const char *template)
{
    size_t part = 0, longest = 0, n_placeholders = 0, length, which;
    int has_instance = 0;

    if (strlen(template) > STORE_NAME_MAX_TEMPLATE)
        return "it is too long";
    for (const char *at = template; *at; at += length) {
        length = 1;
        if (*at == '/') {
            if (!part || !at[1])
                return "a part of it is empty";
            part = 0;
            continue;
        }
        if (*at == '{') {
            which = find_placeholder(at, &length);
            if (which == N_PLACEHOLDERS)
                return "between { and } may stand patient, study, series, instance, entity, item";
            has_instance |= !strcmp(placeholders[which].name, "instance");
            n_placeholders++;
            part += STORE_NAME_MAX_VALUE;
        } else if (!is_name_character(*at)) {
            return "it may have letters, digits, \".\", \"_\", \"-\" and \"/\"";
        } else if (!part && *at == '.') {
            return "a part of it begins with \".\"";
        } else {
            part++;
        }
        longest = part > longest ? part : longest;
    }
    if (!has_instance)
        return "without {instance} images would have one name";
    if (n_placeholders > STORE_NAME_MAX_PLACEHOLDERS || longest > NAME_MAX)
        return "it names too much";
    return NULL;
}

sendit_verdict store_name_make(const struct store_names *names, const struct sendit_item *item,
                               char ret_path[STORE_NAME_SIZE], struct sendit_why *why)
{
    size_t n = 0, length;

    for (const char *at = names->template; *at; at += length) {
        const char *value;
        size_t which;
        sendit_result r;

        length = 1;
        if (*at != '{') {
            ret_path[n++] = *at;
            continue;
        }
        which = find_placeholder(at, &length);
        if (which == N_PLACEHOLDERS)
            return sendit_because(why, SENDIT_FAIL, "file.template",
                                  "Its template is no template.");
        r = placeholders[which].fact
                ? names->facts->get(names->host, item->id, placeholders[which].fact, &value)
                : names->dicom->get(item->ds, placeholders[which].tag, &value);
        if (r == SENDIT_ENOMEM || r == SENDIT_EIO || r == SENDIT_ECANCELED)
            return sendit_because(why, SENDIT_RETRY, "file.busy", "Its name could not be made.");
        if (r != SENDIT_OK || !is_value(value))
            return sendit_because(why, SENDIT_QUARANTINE, "file.name",
                                  "Its {%s} is missing, or is no UID and no pseudonym.",
                                  placeholders[which].name);
        n += (size_t)snprintf(ret_path + n, STORE_NAME_SIZE - n, "%s", value);
    }
    ret_path[n] = '\0';
    return SENDIT_PASS;
}
