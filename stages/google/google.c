/* SPDX-License-Identifier: Apache-2.0 */
#include "google_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- addresses ---- */

int google_origin(const char *url, char ret_origin[MAX_ORIGIN])
{
    const char *host = url ? strstr(url, "://") : NULL;
    size_t n;

    if (!host)
        return 0;
    n = (size_t)(host + 3 - url) + strcspn(host + 3, "/?#");
    if (n >= MAX_ORIGIN || !strcspn(host + 3, "/?#"))
        return 0;
    memcpy(ret_origin, url, n);
    ret_origin[n] = '\0';
    return 1;
}

bool google_is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    char name[64];
    struct in_addr v4;
    size_t n;

    if (!host)
        return false;
    host += 3;
    if (!strncmp(host, "[::1]", 5))
        return true;
    n = strcspn(host, ":/?#");
    if (n >= sizeof(name))
        return false;
    memcpy(name, host, n);
    name[n] = '\0';
    return !strcasecmp(name, "localhost") ||
           (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

int64_t google_now_ms(const struct google *google)
{
    return google->host->now_ms(google->host);
}

/* A token goes to the service alone. */
bool google_is_ours(const struct google *google, const char *url)
{
    size_t n = strlen(google->endpoint);

    return strlen(url) < MAX_URL && !strncmp(url, google->endpoint, n) &&
           (url[n] == '/' || url[n] == '?');
}

uint64_t google_stored(const char *range)
{
    char *past = NULL;
    uint64_t last;

    if (!range)
        return 0;
    if (strncmp(range, "bytes=0-", 8) != 0 || range[8] < '0' || range[8] > '9')
        return UINT64_MAX;
    errno = 0;
    last = strtoull(range + 8, &past, 10);
    return errno || *past || last == UINT64_MAX ? UINT64_MAX : last + 1;
}

void google_url_escape(char *to, size_t size, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t used = 0;

    for (const char *at = text; *at; at++) {
        size_t need = strchr(plain, *at) ? 1 : 3;

        if (used + need >= size) {
            used = 0;
            break;
        }
        if (need == 1)
            to[used] = *at;
        else
            snprintf(to + used, size - used, "%%%02X", (unsigned char)*at);
        used += need;
    }
    if (size)
        to[used] = '\0';
}

/* ---- opening ---- */

static sendit_verdict refuse(struct sendit_why *why, const char *option, const char *text)
{
    return sendit_because(why, SENDIT_FAIL, "google.options", "%s: %s", option, text);
}

/* A project may stand in a header and in a path. */
static bool is_project(const char *text)
{
    static const char may[] = "abcdefghijklmnopqrstuvwxyz0123456789-.:";

    return text && *text && strlen(text) < MAX_PROJECT && !text[strspn(text, may)];
}

/* "Name: value" of what may be added; who the request is from is not for a test to say. */
static bool is_more_header(const char *header)
{
    size_t name = strcspn(header, ":");

    if (!name || !header[name] || strlen(header) > 1024)
        return false;
    for (const char *at = header; *at; at++)
        if ((unsigned char)*at < ' ' || (unsigned char)*at > 126 ||
            (at < header + name && *at == ' '))
            return false;
    return strncasecmp(header, "Authorization:", 14) && strncasecmp(header, "Host:", 5);
}

static sendit_verdict read_options(struct google *google, struct sendit_why *why)
{
    const struct sendit_config *config = google->config;
    const struct sendit_host *host = google->host;
    const char *user_project = config->text(host, "user_project");
    size_t n = 0;

    google->token_url = config->text(host, "token_url");
    google->metadata_url = config->text(host, "metadata_url");
    google->more_headers = config->list(host, "request_header");
    google->retry_delay_ms = config->number(host, "retry_delay");
    google->retry_deadline_ms = config->number(host, "retry_deadline");
    if (!google_origin(config->text(host, "endpoint"), google->endpoint))
        return refuse(why, "endpoint",
                      "an address such as https://storage.googleapis.com was expected.");
    if (!google_origin(google->metadata_url, google->metadata))
        return refuse(why, "metadata_url",
                      "an address such as http://169.254.169.254 was "
                      "expected.");
    if (!google->token_url)
        return refuse(why, "token_url", "the address of a token endpoint was expected.");
    for (; google->more_headers[n]; n++)
        if (n == MAX_HEADERS / 2 || !is_more_header(google->more_headers[n]))
            return refuse(why, "request_header",
                          "up to 16 texts \"Name: value\" were expected, none of them "
                          "Authorization or Host.");
    if (user_project && !is_project(user_project))
        return refuse(why, "user_project",
                      "the id of a project was expected, such as "
                      "\"my-project\".");
    if (!user_project)
        user_project = getenv("GOOGLE_CLOUD_QUOTA_PROJECT");
    if (is_project(user_project))
        snprintf(google->user_project, sizeof(google->user_project), "%s", user_project);
    return SENDIT_PASS;
}

static void take_project(struct google *google, const struct credentials *credentials)
{
    const char *names[] = {getenv("GOOGLE_CLOUD_PROJECT"), getenv("GCLOUD_PROJECT"),
                           credentials->project};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !google->project[0]; i++)
        if (is_project(names[i]))
            snprintf(google->project, sizeof(google->project), "%s", names[i]);
    if (!google->user_project[0] && is_project(credentials->quota_project))
        snprintf(google->user_project, sizeof(google->user_project), "%s",
                 credentials->quota_project);
}

static sendit_verdict init(struct google *google, const struct sendit_host *host, const char *scope,
                           struct sendit_why *why)
{
    google->host = host;
    google->scope = scope;
    google->config = SENDIT_SERVICE(host, config);
    google->http = SENDIT_SERVICE(host, http);
    google->secrets = SENDIT_SERVICE(host, secrets);
    google->metrics = SENDIT_SERVICE(host, metrics);
    return read_options(google, why);
}

sendit_verdict google_open(const struct sendit_host *host, const char *scope, struct google **ret,
                           struct sendit_why *why)
{
    struct google *google = calloc(1, sizeof(*google));
    struct credentials credentials = {0};
    sendit_verdict verdict;

    if (!google)
        return sendit_because(why, SENDIT_RETRY, "google.memory", "There is no memory.");
    verdict = init(google, host, scope, why);
    if (verdict == SENDIT_PASS)
        verdict = credentials_read(&credentials, google, why);
    if (verdict == SENDIT_PASS) {
        google->kind = credentials.kind;
        take_project(google, &credentials);
        *ret = google;
    } else {
        google_close(google);
    }
    credentials_fini(&credentials);
    return verdict;
}

void google_hurry(struct google *google)
{
    if (google->retry_deadline_ms > HURRY_MS)
        google->retry_deadline_ms = HURRY_MS;
}

const char *google_endpoint(const struct google *google)
{
    return google->endpoint;
}

/* ---- what is asked at the start ---- */

static sendit_verdict get_token(struct google *google, struct sendit_why *why)
{
    google_hurry(google);
    while (!token_ready(google)) {
        if (google->renewal.running && google->http->drain(google->host, 0) != SENDIT_OK)
            return sendit_because(why, SENDIT_RETRY, "google.canceled", "The host is stopping.");
        if (!google->renewal.running && google->renewal.end) {
            *why = google->renewal.why;
            return SENDIT_FAIL;
        }
    }
    return SENDIT_PASS;
}

sendit_verdict google_check(const struct sendit_host *host, int online, const char *scope,
                            struct sendit_why *why)
{
    struct google google = {0}, *opened = NULL;
    sendit_verdict verdict;

    if (!online)
        return init(&google, host, scope, why);
    verdict = google_open(host, scope, &opened, why);
    if (verdict == SENDIT_PASS)
        verdict = get_token(opened, why);
    google_close(opened);
    return verdict;
}

const char *google_project(struct google *google)
{
    static const char *const flavor[] = {"Metadata-Flavor: Google", NULL};
    char url[MAX_ORIGIN + 64], project[MAX_PROJECT];
    const struct sendit_http_response *response;
    const struct sendit_http_request request = {.size = sizeof(request),
                                                .timeout_ms = METADATA_TIMEOUT_MS,
                                                .method = "GET",
                                                .url = url,
                                                .headers = flavor};
    const char *says;

    if (google->project[0] || google->kind != KIND_METADATA || google->asked_project)
        return google->project[0] ? google->project : NULL;
    snprintf(url, sizeof(url), "%s/computeMetadata/v1/project/project-id", google->metadata);
    for (int i = 0; i < METADATA_TRIES; i++) {
        if (google->http->send(google->host, &request, &response) != SENDIT_OK)
            continue;
        says = google->http->header(response, "Metadata-Flavor");
        google->asked_project = true;
        if (response->status != 200 || !says || strcmp(says, "Google") != 0 ||
            response->length >= sizeof(project))
            return NULL;
        memcpy(project, response->body, response->length);
        project[response->length] = '\0';
        project[strcspn(project, "\r\n")] = '\0';
        if (!is_project(project))
            return NULL;
        memcpy(google->project, project, sizeof(google->project));
        return google->project;
    }
    google->asked_project = true;
    return NULL;
}

void google_close(struct google *google)
{
    if (!google)
        return;
    google_request_fini(google);
    token_fini(google);
    free(google);
}
