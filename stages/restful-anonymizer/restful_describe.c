/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restful_describe.c - how the service is asked and what it answers, as data: a JSON template,
 * header templates, JSON Pointers (RFC 6901).  DASHER is what the defaults of the options say.
 *
 * In a template "{entity_id}" stands for the value; a member, an element or a header whose value
 * the image does not have is left out.
 */
#include "restful.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_TEMPLATE 16 /* levels */
#define MAX_POINTER 512
#define MAX_TEXT 4096 /* of one text with its values */

static const char *const var_names[N_VARS] = {
    [VAR_STUDY] = "study",
    [VAR_ENTITY_ID] = "entity_id",
    [VAR_ENTITY_SOURCE] = "entity_source",
    [VAR_ENTITY_TIME] = "entity_timestamp",
    [VAR_ITEM_ID] = "item_id",
    [VAR_ITEM_SOURCE] = "item_source",
    [VAR_ITEM_TIME] = "item_timestamp",
    [VAR_CUSTOM] = "custom_fields",
};

static const char *const pointer_names[N_POINTERS] = {
    [AT_ENTITY_ID] = "entity_id",
    [AT_ITEM_ID] = "item_id",
    [AT_JITTER] = "jitter",
    [AT_ITEM_JITTER] = "item_jitter",
    [AT_ENTITY_TIME] = "entity_timestamp",
    [AT_ITEM_TIME] = "item_timestamp",
    [AT_ASKED_ENTITY_ID] = "asked_entity_id",
    [AT_ASKED_ENTITY_SOURCE] = "asked_entity_source",
    [AT_ASKED_ITEM_ID] = "asked_item_id",
    [AT_ASKED_ITEM_SOURCE] = "asked_item_source",
    [AT_RESULTS] = "results",
    [AT_ITEMS] = "items",
};

static sendit_verdict refuse(struct sendit_why *why, const char *option, const char *text)
{
    return sendit_because(why, SENDIT_FAIL, "restful.options", "%s: %s", option, text);
}

/* ---- templates ---- */

/* The variable at `at`, which begins with a brace; N_VARS for none.  *ret_past is behind it. */
static enum var var_at(const char *at, const char **ret_past)
{
    for (int i = 0; i < N_VARS; i++) {
        size_t n = strlen(var_names[i]);

        if (!strncmp(at + 1, var_names[i], n) && at[n + 1] == '}') {
            *ret_past = at + n + 2;
            return (enum var)i;
        }
    }
    return N_VARS;
}

/* The value; NULL if the image has none. */
static const char *value_of(const struct service *service, const struct asked *asked, enum var var)
{
    const char *const values[N_VARS] = {
        [VAR_STUDY] = service->study,
        [VAR_ENTITY_ID] = asked ? asked->entity_id : "",
        [VAR_ENTITY_SOURCE] = service->entity_source,
        [VAR_ENTITY_TIME] = asked ? asked->entity_time : "",
        [VAR_ITEM_ID] = asked ? asked->item_id : "",
        [VAR_ITEM_SOURCE] = service->item_source,
        [VAR_ITEM_TIME] = asked ? asked->item_time : "",
        [VAR_CUSTOM] = "",
    };
    const char *value = values[var];

    return value && *value ? value : NULL;
}

/* 1; 0 if a value is absent; -1 if it does not fit. */
static int fill_text(const struct service *service, const struct asked *asked, const char *template,
                     char *to, size_t size)
{
    size_t n = 0;

    for (const char *at = template; *at;) {
        const char *past = at + 1, *value = NULL;
        enum var var = *at == '{' ? var_at(at, &past) : N_VARS;
        size_t length = 1;

        if (var != N_VARS) {
            value = value_of(service, asked, var);
            if (!value)
                return 0;
            length = strlen(value);
        }
        if (n + length >= size)
            return -1;
        memcpy(to + n, value ? value : at, length);
        n += length;
        at = past;
    }
    to[n] = '\0';
    return 1;
}

static json_t *fill(const struct service *service, const struct asked *asked,
                    const json_t *template, int *failed);

static json_t *fill_string(const struct service *service, const struct asked *asked,
                           const char *template, int *failed)
{
    char text[MAX_TEXT];
    int filled;

    if (!strcmp(template, "{custom_fields}"))
        return asked && asked->custom ? json_incref(asked->custom) : NULL;
    filled = fill_text(service, asked, template, text, sizeof(text));
    if (filled < 0)
        *failed = 1;
    return filled > 0 ? json_string(text) : NULL;
}

static json_t *fill_object(const struct service *service, const struct asked *asked,
                           const json_t *template, int *failed)
{
    json_t *object = json_object(), *member, *filled;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t) template, key, member)
    {
        filled = fill(service, asked, member, failed);
        if (filled && json_object_set_new(object, key, filled))
            *failed = 1;
    }
    return object;
}

static json_t *fill_array(const struct service *service, const struct asked *asked,
                          const json_t *template, int *failed)
{
    json_t *array = json_array(), *filled;

    for (size_t i = 0; i < json_array_size(template); i++) {
        filled = fill(service, asked, json_array_get(template, i), failed);
        if (filled && json_array_append_new(array, filled))
            *failed = 1;
    }
    return array;
}

/* NULL for what is left out. */
static json_t *fill(const struct service *service, const struct asked *asked,
                    const json_t *template, int *failed)
{
    if (json_is_object(template))
        return fill_object(service, asked, template, failed);
    if (json_is_array(template))
        return fill_array(service, asked, template, failed);
    if (json_is_string(template))
        return fill_string(service, asked, json_string_value(template), failed);
    return json_incref((json_t *)(uintptr_t) template);
}

json_t *service_body(const struct service *service, const struct asked *asked)
{
    int failed = 0;
    json_t *body = fill(service, asked, service->request, &failed);

    if (!failed)
        return body;
    json_decref(body);
    return NULL;
}

int service_header(const struct service *service, const char *template, const struct asked *asked,
                   char ret_header[MAX_HEADER])
{
    return fill_text(service, asked, template, ret_header, MAX_HEADER);
}

/* Braces that name no variable are a slip. */
static int is_template(const char *text, int whole_may_be_custom)
{
    const char *past;

    if (whole_may_be_custom && !strcmp(text, "{custom_fields}"))
        return 1;
    for (const char *at = text; *at; at++) {
        enum var var = *at == '{' ? var_at(at, &past) : N_VARS;

        if (*at == '}' || (*at == '{' && (var == N_VARS || var == VAR_CUSTOM)))
            return 0;
        if (*at == '{')
            at = past - 1;
    }
    return 1;
}

static int are_templates(const json_t *value, int depth)
{
    const char *key;
    json_t *member;

    if (depth > MAX_TEMPLATE)
        return 0;
    if (json_is_string(value))
        return is_template(json_string_value(value), 1);
    json_object_foreach((json_t *)(uintptr_t)value, key,
                        member) if (!are_templates(member, depth + 1)) return 0;
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++)
        if (!are_templates(json_array_get(value, i), depth + 1))
            return 0;
    return 1;
}

static sendit_verdict read_request(struct service *service, const char *text,
                                   struct sendit_why *why)
{
    if (!text || !strcmp(text, "null"))
        return SENDIT_PASS;
    service->request = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(service->request))
        return refuse(why, "request",
                      "an object was expected, the body of the request; null for "
                      "one without.");
    if (!are_templates(service->request, 0))
        return refuse(why, "request",
                      "braces name no value that there is: {study}, {entity_id}, {entity_source}, "
                      "{entity_timestamp}, {item_id}, {item_source}, {item_timestamp}, "
                      "{custom_fields}.");
    if (!strcmp(service->method, "GET"))
        return refuse(why, "request", "GET has no body: write null, and the ids under headers.");
    return SENDIT_PASS;
}

/* Is it a name of `n` letters that the host, or this stage, does not write itself? */
static int is_header_name(const char *name, size_t n)
{
    static const char *const ours[] = {
        "Accept",  "Authorization", "Connection", "Content-Length",    "Content-Type",
        "Expect",  "Host",          "Keep-Alive", "Transfer-Encoding", "TE",
        "Trailer", "Upgrade"};

    if (!n || n > MAX_HEADER / 8 || !strncasecmp(name, "Proxy-", 6))
        return 0;
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strlen(ours[i]) == n && !strncasecmp(ours[i], name, n))
            return 0;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") >= n;
}

static int is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || (unsigned char)*text > 126)
            return 0;
    return 1;
}

static sendit_verdict read_headers(struct service *service, const char *const *headers,
                                   struct sendit_why *why)
{
    size_t n = 0;

    for (; headers[n]; n++) {
        const char *colon = strchr(headers[n], ':');

        if (n == MAX_HEADERS)
            return refuse(why, "headers", "there are more than 16.");
        if (!colon || !is_header_name(headers[n], (size_t)(colon - headers[n])) ||
            !is_plain(headers[n]))
            return refuse(why, "headers",
                          "\"Name: value\" was expected, with a name that is a site's to set.");
        if (!is_template(headers[n], 0))
            return refuse(why, "headers", "braces name no value that there is.");
    }
    service->headers = headers;
    return SENDIT_PASS;
}

/* ---- pointers ---- */

/* One step of a pointer, with ~0 and ~1; NULL if it is too long. */
static const char *next_token(const char *at, char ret_token[MAX_POINTER])
{
    size_t n = 0;

    for (; *at && *at != '/'; at++) {
        if (n + 1 >= MAX_POINTER)
            return NULL;
        ret_token[n++] = *at != '~' ? *at : at[1] == '1' ? '/' : '~';
        if (*at == '~')
            at++;
    }
    ret_token[n] = '\0';
    return at;
}

const json_t *service_at(const struct service *service, const json_t *answer, enum pointer which)
{
    const char *at = service->pointers[which];
    char token[MAX_POINTER];

    if (!at)
        return NULL;
    while (answer && *at == '/') {
        at = next_token(at + 1, token);
        if (!at)
            return NULL;
        if (json_is_array(answer)) {
            size_t n = strspn(token, "0123456789");

            answer = n && !token[n] && n < 6 && (n == 1 || token[0] != '0')
                         ? json_array_get(answer, strtoul(token, NULL, 10))
                         : NULL;
        } else {
            answer = json_object_get(answer, token);
        }
    }
    return answer;
}

/* "" or "/..."; a ~ is followed by 0 or 1. */
static int is_pointer(const char *text)
{
    if (!text || strlen(text) >= MAX_POINTER || (*text && *text != '/'))
        return 0;
    for (const char *at = text; *at; at++)
        if (*at == '~' && at[1] != '0' && at[1] != '1')
            return 0;
    return 1;
}

static sendit_verdict read_pointers(struct service *service, const char *text,
                                    struct sendit_why *why)
{
    const char *key;
    json_t *value;

    service->answer = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(service->answer))
        return refuse(why, "answer", "an object of JSON Pointers was expected.");
    json_object_foreach(service->answer, key, value)
    {
        int i = 0;

        while (i < N_POINTERS && strcmp(pointer_names[i], key) != 0)
            i++;
        if (i == N_POINTERS)
            return sendit_because(why, SENDIT_FAIL, "restful.options",
                                  "answer: nobody asks for \"%.40s\"; the README lists the names.",
                                  key);
        if (!is_pointer(json_string_value(value)))
            return sendit_because(why, SENDIT_FAIL, "restful.options",
                                  "answer.%s: a JSON Pointer such as \"/results/0/suid\" was "
                                  "expected.",
                                  pointer_names[i]);
        service->pointers[i] = json_string_value(value);
    }
    for (int i = AT_ENTITY_ID; i <= AT_JITTER; i++)
        if (!service->pointers[i])
            return sendit_because(why, SENDIT_FAIL, "restful.options",
                                  "answer: it must say where %s stands.", pointer_names[i]);
    return SENDIT_PASS;
}

/* ---- the rest of the options ---- */

static sendit_verdict read_study(struct service *service, const char *study, struct sendit_why *why)
{
    size_t n = strspn(study, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    if (!n || n >= MAX_STUDY || study[n])
        return refuse(why, "study", "1 to 40 letters, digits, - and _ were expected.");
    for (size_t i = 0; i <= n; i++)
        service->study[i] = (char)tolower((unsigned char)study[i]);
    return SENDIT_PASS;
}

/* A URL is written into logs on its way: no value of a patient stands in it. */
static sendit_verdict read_url(struct service *service, const char *url, const char *path,
                               struct sendit_why *why)
{
    size_t n = strlen(url);
    char template[MAX_URL];
    const char *past;

    while (n && url[n - 1] == '/')
        n--;
    if ((size_t)snprintf(template, sizeof(template), "%.*s%s", (int)(n < MAX_URL ? n : MAX_URL),
                         url, path) >= sizeof(template))
        return refuse(why, "url", "it is too long.");
    for (const char *at = template; *at; at++)
        if ((*at == '{' || *at == '}') && (*at == '}' || var_at(at, &past) != VAR_STUDY))
            return refuse(why, "path",
                          "{study} alone may stand in a URL: it is written into logs on its way; "
                          "ids go into request or headers.");
        else if (*at == '{')
            at = past - 1;
    if (fill_text(service, NULL, template, service->url, sizeof(service->url)) != 1)
        return refuse(why, "url", "it is too long.");
    if (*path && *path != '/' && *path != '?')
        return refuse(why, "path", "it begins with / or ?.");
    return SENDIT_PASS;
}

static sendit_verdict read_tags(const struct sendit_dicom *dicom, const char *option,
                                const char *const *words, size_t max, uint32_t *ret_tags,
                                struct sendit_why *why)
{
    size_t n = 0;

    for (; words[n]; n++)
        if (n == max)
            return refuse(why, option, "there are too many.");
        else if (dicom->tag(words[n], &ret_tags[n]) != SENDIT_OK)
            return sendit_because(why, SENDIT_FAIL, "restful.options",
                                  "%s: DICOM knows no attribute \"%.60s\".", option, words[n]);
    ret_tags[n] = 0;
    return SENDIT_PASS;
}

static sendit_verdict read_attributes(struct service *service, const struct sendit_host *host,
                                      struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const struct sendit_dicom *dicom = SENDIT_SERVICE(host, dicom);
    const char *const *fields = config->list(host, "custom_fields");
    const char *const ids[] = {config->text(host, "entity_id"), config->text(host, "item_id"),
                               NULL};
    uint32_t tags[3];
    sendit_verdict verdict = read_tags(dicom, "entity_id, item_id", ids, 2, tags, why);

    if (verdict == SENDIT_PASS)
        verdict = read_tags(dicom, "entity_timestamp", config->list(host, "entity_timestamp"),
                            MAX_TIMES, service->entity_times, why);
    if (verdict == SENDIT_PASS)
        verdict = read_tags(dicom, "item_timestamp", config->list(host, "item_timestamp"),
                            MAX_TIMES, service->item_times, why);
    if (verdict == SENDIT_PASS)
        verdict = read_tags(dicom, "custom_fields", fields, MAX_FIELDS, service->fields, why);
    if (verdict != SENDIT_PASS)
        return verdict;
    service->entity_tag = tags[0];
    service->item_tag = tags[1];
    for (size_t i = 0; fields[i]; i++)
        service->field_names[i] = fields[i];
    return SENDIT_PASS;
}

static sendit_verdict read_words(struct service *service, const struct sendit_host *host,
                                 struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    const char *pattern = config->text(host, "id_pattern");

    service->entity_source = config->text(host, "entity_source");
    service->item_source = config->text(host, "item_source");
    if (strlen(service->entity_source) >= MAX_SOURCE || strlen(service->item_source) >= MAX_SOURCE)
        return refuse(why, "entity_source, item_source", "one of them has more than 64 bytes.");
    if (!is_plain(service->entity_source) || !is_plain(service->item_source))
        return refuse(why, "entity_source, item_source", "printable ASCII was expected.");
    service->strip = config->text(host, "entity_strip");
    service->has_pattern = !regcomp(&service->pattern, pattern, REG_EXTENDED | REG_NOSUB);
    if (!service->has_pattern)
        return refuse(why, "id_pattern", "it is no extended regular expression.");
    service->header = config->text(host, "header");
    if (service->header && !is_header_name(service->header, strlen(service->header)))
        return refuse(why, "header", "the name of a header that is a site's to set was expected.");
    return SENDIT_PASS;
}

sendit_verdict service_init(struct service *service, const struct sendit_host *host,
                            struct sendit_why *why)
{
    static const char *const methods[] = {"POST", "GET", "PUT"};
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    sendit_verdict verdict;

    memset(service, 0, sizeof(*service));
    service->method = methods[config->number(host, "method")];
    service->max_jitter = (int32_t)config->number(host, "max_jitter");
    service->max_age_ms = config->number(host, "max_age");
    service->timeout_ms = (uint32_t)config->number(host, "timeout");
    verdict = read_study(service, config->text(host, "study"), why);
    if (verdict == SENDIT_PASS)
        verdict = read_url(service, config->text(host, "url"), config->text(host, "path"), why);
    if (verdict == SENDIT_PASS)
        verdict = read_attributes(service, host, why);
    if (verdict == SENDIT_PASS)
        verdict = read_words(service, host, why);
    if (verdict == SENDIT_PASS)
        verdict = read_request(service, config->json(host, "request"), why);
    if (verdict == SENDIT_PASS)
        verdict = read_headers(service, config->list(host, "headers"), why);
    if (verdict == SENDIT_PASS)
        verdict = read_pointers(service, config->json(host, "answer"), why);
    return verdict;
}

void service_fini(struct service *service)
{
    json_decref(service->request);
    json_decref(service->answer);
    if (service->has_pattern)
        regfree(&service->pattern);
    memset(service, 0, sizeof(*service));
}
