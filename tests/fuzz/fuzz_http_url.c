/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_http_url.c - a URL, as a peer may send one to a stage.  Whatever it is, the request goes to
 * the host of a URL option or to nobody: the bytes themselves are looked at here, without a parser.
 */
#include <curl/curl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "services/http_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sendit_option option = {"url", SENDIT_OPT_URL, SENDIT_OPT_MANY,
                                            NULL,  NULL,           "The services."};
static char *urls[] = {(char *)"https://service.example/api/v1",
                       (char *)"https://other.example:8443", (char *)"http://127.0.0.1:8080/",
                       (char *)"http://plain.example/", NULL};

/* What a URL that is let through may begin with, in any case. */
static const char *const begins[] = {"https://service.example", "https://service.example:443",
                                     "https://other.example:8443"};

static int is_end(char c)
{
    return !c || c == '/' || c == '?' || c == '#';
}

/* 127.0.0.1 has other spellings; that it is that is curl's word, which also makes the request. */
static int is_known(const char *url, const struct http_origin *origin)
{
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        size_t n = strlen(begins[i]);

        /* leading zeros of a port, percent signs in a host: also curl's word */
        if (!strncasecmp(url, begins[i], n) && is_end(url[n]))
            return 1;
    }
    return (!strcasecmp(origin->scheme, "http") && !strcmp(origin->host, "127.0.0.1") &&
            !strcmp(origin->port, "8080")) ||
           strchr(url, '%') || strstr(url, ":0") || strstr(url, ":/");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan_value value = {.option = &option, .list = urls};
    struct sendit_plugin plugin = {.n_options = 1, .options = &option};
    struct plan_stage stage = {.plugin = &plugin, .values = &value};
    struct http_origin origin = {0};
    char *text = malloc(size + 1);
    CURLU *url = NULL;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (http_url_check(&stage, text, &url, &origin) == SENDIT_OK) {
        if (!is_known(text, &origin) || strcasestr(origin.host, "plain"))
            abort();
        http_origin_fini(&origin);
        curl_url_cleanup(url);
    }
    free(text);
    return 0;
}
