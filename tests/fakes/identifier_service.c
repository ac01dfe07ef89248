/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identifier_service: a strict identifier service on loopback, over real sockets, with TLS if it is
 * given a certificate.  It prints "port N" and ends when its standard input does.
 *
 *     identifier_service LOG SCRIPT [NAME=VALUE]...
 *
 * LOG gets a JSON line for each request.  SCRIPT is read anew for each: lines "WHEN FAULT [WORD]",
 * where WHEN is a number of a request, "N-" from that one on, "A-B", or "N%" of all, by a fixed
 * sequence.  The faults are in answer_fault().
 *
 * cert=FILE key=FILE      TLS            priority=TEXT   of GnuTLS, for versions of TLS
 * client_ca=FILE          a certificate of ours is asked for
 * tokens=NAME             "Bearer NAME-1" is asked for; /token/... renews it with NAME-refresh-1
 * lifetime=N              each token is good for so many requests
 * basic=USER:PASSWORD, api_key=TEXT (X-Api-Key), salt=TEXT
 */
#include "fake_server.h"
#include "identifier_answer.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_BODY (4u << 20)
#define RUBBISH (10u << 20)
#define DASHER "/identifiers/api/v1/uid/"
#define RENEW "/token/api/v1/refresh"
#define FLAT "/lookup"

static struct {
    const char *log, *script, *tokens, *basic, *api_key, *salt;
    struct fake_tls tls;
    unsigned lifetime;
    pthread_mutex_t lock; /* guards the rest */
    unsigned requests, generation, used;
} service = {.salt = "", .generation = 1, .lock = PTHREAD_MUTEX_INITIALIZER};

/* One request. */
struct call {
    char *body;
    size_t length;
    unsigned number;
    char fault[32], word[64];
    const char *what; /* became of it, for the log */
    json_t *note;     /* what it asked, for the log */
};

/* ---- the script ---- */

static void find_fault(struct call *call)
{
    char *script = fake_read_file(service.script), *line, *left = script;

    while ((line = strsep(&left, "\n"))) {
        char when[32] = "", fault[32] = "", word[64] = "";

        if (sscanf(line, "%31s %31s %63[^\n]", when, fault, word) >= 2 &&
            fake_is_due(when, call->number, 0)) {
            memcpy(call->fault, fault, sizeof(fault));
            memcpy(call->word, word, sizeof(word));
            break;
        }
    }
    free(script);
}

/* ---- the log ---- */

static void write_log(const struct call *call, const char *path, unsigned status)
{
    struct timespec now;
    json_t *line;

    clock_gettime(CLOCK_REALTIME, &now);
    line = json_pack("{s:i, s:I, s:s, s:i, s:s, s:s, s:O*}", "n", (int)call->number, "at_ms",
                     (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, "path", path, "status",
                     (int)status, "fault", call->fault, "what", call->what ? call->what : "",
                     "asked", call->note);
    fake_log(service.log, line);
    json_decref(line);
}

/* ---- answering ---- */

static enum MHD_Result reply(struct MHD_Connection *connection, struct call *call, const char *path,
                             unsigned status, const char *type, const char *text, size_t length)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    MHD_add_response_header(response, "Content-Type", type);
    if (status == 302)
        MHD_add_response_header(response, "Location", "/elsewhere");
    if ((status == 503 || status == 429) && call->word[0])
        MHD_add_response_header(response, "Retry-After", call->word);
    write_log(call, path, status);
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result reply_json(struct MHD_Connection *connection, struct call *call,
                                  const char *path, unsigned status, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    enum MHD_Result result = reply(connection, call, path, status, "application/json",
                                   text ? text : "", text ? strlen(text) : 0);

    free(text);
    json_decref(value);
    return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, struct call *call,
                              const char *path, unsigned status, const char *what)
{
    call->what = what;
    return reply_json(connection, call, path, status, json_pack("{s:s}", "message", what));
}

/* Half of it, then the connection ends. */
static ssize_t give_half(void *ctx, uint64_t at, char *to, size_t max)
{
    static const char half[] = "{\"results\":[{\"id\":\"";

    (void)ctx;
    if (at >= sizeof(half) - 1)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (max > sizeof(half) - 1 - at)
        max = (size_t)(sizeof(half) - 1 - at);
    memcpy(to, half + at, max);
    return (ssize_t)max;
}

static enum MHD_Result cut(struct MHD_Connection *connection, struct call *call, const char *path)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(1000, 512, give_half, NULL, NULL);
    enum MHD_Result result;

    MHD_add_response_header(response, "Content-Type", "application/json");
    write_log(call, path, 200);
    result = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result rubbish(struct MHD_Connection *connection, struct call *call,
                               const char *path)
{
    char *text = malloc(RUBBISH);
    enum MHD_Result result = MHD_NO;

    if (text) {
        memset(text, '[', RUBBISH);
        result = reply(connection, call, path, 200, "application/json", text, RUBBISH);
    }
    free(text);
    return result;
}

/* Faults of an answer that is otherwise right. */
static void spoil(json_t *answer, const char *fault)
{
    json_t *results = json_object_get(answer, "results"), *entity = json_array_get(results, 0);
    json_t *items = json_object_get(entity, "items"), *item = json_array_get(items, 0);

    if (!strcmp(fault, "wrong-id"))
        json_object_set_new(entity, "id", json_string("0000"));
    else if (!strcmp(fault, "wrong-item"))
        json_object_set_new(item, "id", json_string("0000"));
    else if (!strcmp(fault, "wrong-source"))
        json_object_set_new(entity, "id_source", json_string("GE PACS"));
    else if (!strcmp(fault, "fewer"))
        json_array_clear(items);
    else if (!strcmp(fault, "more"))
        json_array_append(items, item);
    else if (!strcmp(fault, "no-results"))
        json_object_del(answer, "results");
    else if (!strcmp(fault, "jitter-text"))
        json_object_set_new(entity, "jitter", json_string("5"));
    else if (!strcmp(fault, "other-suid"))
        json_object_set_new(entity, "suid", json_string("another"));
    else if (!strcmp(fault, "same-suid"))
        json_object_set_new(entity, "suid", json_string("everybody"));
    else if (!strcmp(fault, "original"))
        json_object_set(entity, "suid", json_object_get(entity, "id"));
    else if (!strcmp(fault, "other-date"))
        json_object_set_new(item, "jittered_timestamp", json_string("1999-01-01T00:00:00Z"));
}

/* A fault in place of an answer; -1 if it is none of these. */
static int answer_fault(struct MHD_Connection *connection, struct call *call, const char *path)
{
    static const char nan[] = "{\"results\":[{\"jitter\":NaN}]}";
    static const char twice[] = "{\"results\":[],\"results\":[]}";
    static const char html[] = "<html><title>Log in</title></html>";
    const char *fault = call->fault;
    unsigned status = 0;

    if (!strcmp(fault, "status") && sscanf(call->word, "%u", &status) == 1) {
        const char *blank = strchr(call->word, ' ');

        memmove(call->word, blank ? blank + 1 : "", blank ? strlen(blank) : 1);
        return (int)refuse(connection, call, path, status, "as it was told");
    }
    if (!strcmp(fault, "html"))
        return (int)reply(connection, call, path, 200, "text/html", html, sizeof(html) - 1);
    if (!strcmp(fault, "nan"))
        return (int)reply(connection, call, path, 200, "application/json", nan, sizeof(nan) - 1);
    if (!strcmp(fault, "twice"))
        return (int)reply(connection, call, path, 200, "application/json", twice,
                          sizeof(twice) - 1);
    if (!strcmp(fault, "rubbish"))
        return (int)rubbish(connection, call, path);
    if (!strcmp(fault, "cut"))
        return (int)cut(connection, call, path);
    if (!strcmp(fault, "reset")) {
        write_log(call, path, 0);
        return (int)MHD_NO;
    }
    if (!strcmp(fault, "slow")) { /* then answers */
        struct timespec pause = {0, 0};
        long ms = strtol(call->word, NULL, 10);

        pause.tv_sec = ms / 1000;
        pause.tv_nsec = ms % 1000 * 1000000;
        nanosleep(&pause, NULL);
    }
    return -1;
}

/* ---- who may ask ---- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* A token is good for `lifetime` requests. */
static int has_token(const char *authorization)
{
    char wanted[128];
    int good;

    pthread_mutex_lock(&service.lock);
    snprintf(wanted, sizeof(wanted), "Bearer %s-%u", service.tokens, service.generation);
    good = authorization && !strcmp(authorization, wanted) &&
           (!service.lifetime || service.used < service.lifetime);
    service.used += good != 0;
    pthread_mutex_unlock(&service.lock);
    return good;
}

static int has_password(struct MHD_Connection *connection)
{
    char *password = NULL, *user = MHD_basic_auth_get_username_password(connection, &password);
    char both[256];
    int good;

    snprintf(both, sizeof(both), "%s:%s", user ? user : "", password ? password : "");
    good = !strcmp(both, service.basic);
    MHD_free(user);
    MHD_free(password);
    return good;
}

static int has_certificate(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_session_t session = info ? (gnutls_session_t)info->tls_session : NULL;
    unsigned status = 1, n = 0;

    return session && gnutls_certificate_get_peers(session, &n) && n &&
           !gnutls_certificate_verify_peers2(session, &status) && !status;
}

static const char *who_is_it(struct MHD_Connection *connection)
{
    const char *authorization = header(connection, "Authorization");
    const char *key = header(connection, "X-Api-Key");

    if (service.tls.client_ca && !has_certificate(connection))
        return "no certificate of ours";
    if (service.basic && !has_password(connection))
        return "no password of ours";
    if (service.api_key && (!key || strcmp(key, service.api_key)))
        return "no key of ours";
    if (service.tokens && !has_token(authorization))
        return "the token has expired";
    return NULL;
}

/* ---- the ways ---- */

static int is_study(const char *text)
{
    return *text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-")];
}

static int count_query(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
    (void)kind, (void)key, (void)value;
    (*(int *)ctx)++;
    return MHD_YES;
}

static void note(struct call *call, const char *patient, const char *item)
{
    call->note = json_pack("{s:s?, s:s?}", "patient", patient, "item", item);
}

static enum MHD_Result ask_dasher(struct MHD_Connection *connection, struct call *call,
                                  const char *method, const char *path)
{
    const char *study = path + sizeof(DASHER) - 1, *type = header(connection, "Content-Type");
    const char *wrong = NULL;
    json_t *body =
        json_loadb(call->body ? call->body : "", call->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *entity = json_array_get(json_object_get(body, "identifiers"), 0), *answer = NULL;
    int n_query = 0;

    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, (MHD_KeyValueIterator)count_query,
                              &n_query);
    note(call, json_string_value(json_object_get(entity, "id")),
         json_string_value(
             json_object_get(json_array_get(json_object_get(entity, "items"), 0), "id")));
    if (strcmp(method, "POST"))
        wrong = "the method is not POST";
    else if (!is_study(study) || n_query)
        wrong = "the path is not that of a study";
    else if (!type || strcmp(type, "application/json"))
        wrong = "the content type is not application/json";
    else if (!header(connection, "Content-Length"))
        wrong = "there is no length";
    if (!wrong)
        answer = answer_dasher(study, service.salt, body, &wrong);
    json_decref(body);
    if (wrong)
        return refuse(connection, call, path, 400, wrong);
    spoil(answer, call->fault);
    return reply_json(connection, call, path, 200, answer);
}

static enum MHD_Result ask_flat(struct MHD_Connection *connection, struct call *call,
                                const char *method, const char *path)
{
    const char *study = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "study");
    const char *patient = header(connection, "X-Patient"), *exam = header(connection, "X-Exam");
    const char *wrong = NULL;
    json_t *answer;

    note(call, patient, exam);
    if (strcmp(method, "GET") || !study || !is_study(study) || call->length)
        return refuse(connection, call, path, 400, "it is not asked so");
    answer = answer_flat(study, service.salt, patient, exam, &wrong);
    if (!answer)
        return refuse(connection, call, path, 400, wrong);
    if (!strcmp(call->fault, "wrong-id"))
        json_object_set_new(answer, "patient", json_string("0000"));
    return reply_json(connection, call, path, 200, answer);
}

static enum MHD_Result renew(struct MHD_Connection *connection, struct call *call,
                             const char *method, const char *path)
{
    json_t *body =
        json_loadb(call->body ? call->body : "", call->length, JSON_REJECT_DUPLICATES, NULL);
    const char *token = json_string_value(json_object_get(body, "refreshToken"));
    const char *type = header(connection, "Content-Type");
    char wanted[128];
    json_t *answer = NULL;

    pthread_mutex_lock(&service.lock);
    snprintf(wanted, sizeof(wanted), "%s-refresh-%u", service.tokens ? service.tokens : "",
             service.generation);
    if (service.tokens && !strcmp(method, "POST") && type && !strcmp(type, "application/json") &&
        json_object_size(body) == 1 && token && !strcmp(token, wanted)) {
        service.generation++;
        service.used = 0;
        answer = json_pack(
            "{s:o, s:o}", "accessToken", json_sprintf("%s-%u", service.tokens, service.generation),
            "refreshToken", json_sprintf("%s-refresh-%u", service.tokens, service.generation));
    }
    pthread_mutex_unlock(&service.lock);
    json_decref(body);
    return answer ? reply_json(connection, call, path, 200, answer)
                  : refuse(connection, call, path, 400, "no token that could be renewed");
}

static enum MHD_Result answer(struct MHD_Connection *connection, struct call *call,
                              const char *method, const char *path)
{
    const char *stranger;
    int result;

    if (!strcmp(path, RENEW)) {
        if (service.tls.client_ca && !has_certificate(connection))
            return refuse(connection, call, path, 403, "no certificate of ours");
        return renew(connection, call, method, path);
    }
    pthread_mutex_lock(&service.lock);
    call->number = ++service.requests;
    pthread_mutex_unlock(&service.lock);
    find_fault(call);
    result = answer_fault(connection, call, path);
    if (result >= 0)
        return (enum MHD_Result)result;
    stranger = who_is_it(connection);
    if (stranger)
        return refuse(connection, call, path, 401, stranger);
    if (!strncmp(path, DASHER, sizeof(DASHER) - 1))
        return ask_dasher(connection, call, method, path);
    if (!strcmp(path, FLAT))
        return ask_flat(connection, call, method, path);
    return refuse(connection, call, path, 404, "there is no such place");
}

/* ---- microhttpd ---- */

static enum MHD_Result take(void *cls, struct MHD_Connection *connection, const char *path,
                            const char *method, const char *version, const char *data, size_t *size,
                            void **ctx)
{
    struct call *call = *ctx;

    (void)cls;
    if (strcmp(version, "HTTP/1.1"))
        return MHD_NO;
    if (!call) {
        *ctx = calloc(1, sizeof(*call));
        return *ctx ? MHD_YES : MHD_NO;
    }
    if (!*size)
        return answer(connection, call, method, path);
    if (*size > MAX_BODY - call->length)
        return MHD_NO;
    char *longer = realloc(call->body, call->length + *size);

    if (!longer)
        return MHD_NO;
    call->body = longer;
    memcpy(longer + call->length, data, *size);
    call->length += *size;
    *size = 0;
    return MHD_YES;
}

static void forget(void *cls, struct MHD_Connection *connection, void **ctx,
                   enum MHD_RequestTerminationCode code)
{
    struct call *call = *ctx;

    (void)cls, (void)connection, (void)code;
    if (!call)
        return;
    free(call->body);
    json_decref(call->note);
    free(call);
    *ctx = NULL;
}

static int read_words(int argc, char **argv)
{
    const char *lifetime = "0";
    const struct fake_word words[] = {{"cert", &service.tls.cert},
                                      {"key", &service.tls.key},
                                      {"priority", &service.tls.priority},
                                      {"client_ca", &service.tls.client_ca},
                                      {"tokens", &service.tokens},
                                      {"basic", &service.basic},
                                      {"api_key", &service.api_key},
                                      {"salt", &service.salt},
                                      {"lifetime", &lifetime}};

    if (argc < 3 || fake_read_words(argc, argv, 3, words, sizeof(words) / sizeof(words[0])))
        return -1;
    service.log = argv[1];
    service.script = argv[2];
    service.lifetime = (unsigned)strtoul(lifetime, NULL, 10);
    return 0;
}

int main(int argc, char **argv)
{
    const struct MHD_OptionItem options[] = {{MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)forget, NULL},
                                             {MHD_OPTION_END, 0, NULL}};
    unsigned port = 0;

    if (read_words(argc, argv)) {
        fprintf(stderr, "identifier_service LOG SCRIPT [NAME=VALUE]...\n");
        return 2;
    }
    if (!fake_start(&service.tls, 0, take, options, &port))
        return 1;
    printf("port %u\n", port);
    fflush(stdout);
    fake_wait();
}
