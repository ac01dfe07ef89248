/* SPDX-License-Identifier: Apache-2.0 */
#include "services/http_url.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "services/http_request.h"

void http_origin_fini(struct http_origin *origin)
{
    curl_free(origin->scheme);
    curl_free(origin->host);
    curl_free(origin->port);
}

/* Parsed by curl itself, so that what is checked is what is asked. */
static sendit_result parse(const char *text, CURLU **ret_url, struct http_origin *ret_origin)
{
    const unsigned flags = CURLU_DISALLOW_USER | CURLU_PATH_AS_IS;
    struct http_origin origin = {0};
    CURLU *url = NULL;

    if (strnlen(text, HTTP_MAX_URL + 1) > HTTP_MAX_URL)
        return SENDIT_EINVAL;
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 127 || *at == '\\')
            return SENDIT_EINVAL;
    url = curl_url();
    if (!url)
        return SENDIT_ENOMEM;
    if (curl_url_set(url, CURLUPART_URL, text, flags) ||
        curl_url_get(url, CURLUPART_SCHEME, &origin.scheme, 0) ||
        curl_url_get(url, CURLUPART_HOST, &origin.host, 0) ||
        curl_url_get(url, CURLUPART_PORT, &origin.port, CURLU_DEFAULT_PORT) || !*origin.host) {
        http_origin_fini(&origin);
        curl_url_cleanup(url);
        return SENDIT_EINVAL;
    }
    *ret_url = url;
    *ret_origin = origin;
    return SENDIT_OK;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    if (!strcasecmp(host, "localhost") || !strcmp(host, "[::1]"))
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

static bool is_metadata(const char *host)
{
    return !strcmp(host, "169.254.169.254") || !strcasecmp(host, "metadata.google.internal");
}

/* Neither goes through a proxy, which would be somebody else's loopback. */
bool http_is_direct(const char *host)
{
    return is_loopback(host) || is_metadata(host);
}

static bool is_allowed_scheme(const struct http_origin *origin)
{
    return !strcasecmp(origin->scheme, "https") ||
           (!strcasecmp(origin->scheme, "http") && http_is_direct(origin->host));
}

/* Does this text name the origin?  Anything that cannot be parsed names none. */
static bool names(const char *text, const struct http_origin *origin)
{
    struct http_origin other = {0};
    CURLU *url = NULL;
    bool same;

    if (parse(text, &url, &other) != SENDIT_OK)
        return false;
    same = !strcasecmp(other.scheme, origin->scheme) && !strcasecmp(other.host, origin->host) &&
           !strcmp(other.port, origin->port);
    http_origin_fini(&other);
    curl_url_cleanup(url);
    return same;
}

/* A service elsewhere that the site says is on this machine, in whatever spelling: plan/ asks for
 * consent where it sees that. */
static bool is_diverted(const struct plan_stage *stage, const struct sendit_option *option,
                        const struct http_origin *origin)
{
    struct http_origin usual = {0};
    CURLU *url = NULL;
    bool local;

    if (!is_loopback(origin->host) || !option->default_value)
        return false;
    for (char **word = stage->allow; word && *word; word++)
        if (!strcmp(*word, "emulator"))
            return false;
    if (parse(option->default_value, &url, &usual) != SENDIT_OK)
        return true;
    local = is_loopback(usual.host);
    http_origin_fini(&usual);
    curl_url_cleanup(url);
    return !local;
}

static bool may_ask(const struct plan_stage *stage, const struct http_origin *origin)
{
    for (uint32_t i = 0; i < stage->plugin->n_options; i++) {
        const struct plan_value *value = &stage->values[i];

        if (value->option->type != SENDIT_OPT_URL || is_diverted(stage, value->option, origin))
            continue;
        if (value->text && names(value->text, origin))
            return true;
        for (char **text = value->list; text && *text; text++)
            if (names(*text, origin))
                return true;
    }
    return false;
}

sendit_result http_url_check(const struct plan_stage *stage, const char *text, CURLU **ret_url,
                             struct http_origin *ret_origin)
{
    struct http_origin origin = {0};
    CURLU *url = NULL;
    sendit_result r = parse(text, &url, &origin);

    if (r != SENDIT_OK)
        return r;
    if (!is_allowed_scheme(&origin) || !may_ask(stage, &origin)) {
        http_origin_fini(&origin);
        curl_url_cleanup(url);
        return SENDIT_EDENIED;
    }
    *ret_url = url;
    *ret_origin = origin;
    return SENDIT_OK;
}

sendit_result http_request_allowed(const struct plan_stage *stage, const char *url)
{
    struct http_origin origin;
    CURLU *parsed;
    sendit_result r = http_url_check(stage, url, &parsed, &origin);

    if (r != SENDIT_OK)
        return r;
    http_origin_fini(&origin);
    curl_url_cleanup(parsed);
    return SENDIT_OK;
}
