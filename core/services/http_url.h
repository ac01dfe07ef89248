/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_url.h - whom a stage may ask: the hosts of its URL options, and nobody else.
 */
#ifndef SENDIT_SERVICES_HTTP_URL_H
#define SENDIT_SERVICES_HTTP_URL_H

#include <curl/curl.h>

#include "services/host.h"

#define HTTP_MAX_URL 8192 /* bytes */

struct http_origin {
    char *scheme, *host, *port; /* curl's */
};

/* EINVAL if `text` is no URL, EDENIED if no URL option names its scheme, host and port, or if it is
 * http to where only https may go.  The caller frees both. */
sendit_result http_url_check(const struct plan_stage *stage, const char *text, CURLU **ret_url,
                             struct http_origin *ret_origin);
void http_origin_fini(struct http_origin *origin);
/* Loopback or the metadata server: without TLS if the site says so, and never by a proxy. */
bool http_is_direct(const char *host);

#endif
