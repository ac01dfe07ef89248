/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_request.h - what a stage asks of the table http, looked at before curl sees any of it.  No
 * curl in here: services/http.c alone has it.
 */
#ifndef SENDIT_SERVICES_HTTP_REQUEST_H
#define SENDIT_SERVICES_HTTP_REQUEST_H

#include <sys/types.h>

#include "base/buf.h"
#include "services/table.h"

#define HTTP_MAX_HEADERS 64       /* of a request */
#define HTTP_MAX_HEADER 8192      /* bytes of one */
#define HTTP_MAX_PARTS 100000     /* of a body */
#define HTTP_MAX_METHOD 16        /* letters */
#define HTTP_MAX_BODY (1u << 20)  /* of an answer, if the request names no bound */
#define HTTP_MAX_HEAD (64u << 10) /* of the headers of an answer */
#define HTTP_MAX_IN_FLIGHT 128    /* of one stage; inside `done` twice as many */
#define HTTP_MAX_CONNECTIONS 64   /* of one worker; what is more waits its turn */
#define HTTP_TIMEOUT_MS 3600000u  /* of one request, at most and by default */
#define HTTP_CONNECT_MS 30000u    /* name, connection and TLS */
#define HTTP_STALL_S 60u          /* so long a request may be slower than ... */
#define HTTP_STALL_RATE 128u      /* ... bytes a second */

/* The bytes of a request, in order.  Its parts are copied, what they point to is not. */
struct http_body {
    struct sendit_part *parts; /* owned */
    uint32_t n, part;          /* part, within: the next byte */
    uint64_t within, total;
};

/* EINVAL for parts that no file could have. */
sendit_result http_body_init(struct http_body *body, const struct sendit_part *parts, uint32_t n);
/* Up to `size` next bytes; 0 at the end, -1 if a descriptor does not give what its part says. */
ssize_t http_body_read(struct http_body *body, void *to, size_t size);
void http_body_rewind(struct http_body *body);
void http_body_fini(struct http_body *body);

/* `given` in the size that this host knows, if method and headers are what may be sent; else it is
 * misuse, said so, and EINVAL. */
sendit_result http_request_copy(struct host *host, const struct sendit_http_request *given,
                                struct sendit_http_request *ret_request);
/* May the stage ask this URL?  http_url_check() without what curl made of it. */
sendit_result http_request_allowed(const struct plan_stage *stage, const char *url);
/* "Authorization: ..." from a SECRET; nothing is added if the site left it out.  Whoever gave
 * `out` wipes it. */
sendit_result http_request_auth(struct host *host, const char *option, struct buf *out);
/* The text of a PATH, NULL if it was left out. */
sendit_result http_request_path(struct host *host, const char *option, const char **ret_path);

#endif
