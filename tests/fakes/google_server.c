/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google_server: Google Cloud on loopback, over real sockets: Cloud Storage, BigQuery, the token
 * endpoint, the metadata server.  It is stricter than emulators are.  It prints "port N", and with
 * TLS "plain N" for a second port without it; it ends when its standard input does.
 *
 *     google_server FOLDER LOG SCRIPT [NAME=VALUE]...
 *
 * FOLDER keeps what was stored: it may be killed, and started again on it.  LOG gets a JSON line
 * for each request.  SCRIPT is a JSON object, read again when another file has its name; its
 * members are told in tests/system/google.py.
 *
 * cert=FILE key=FILE  TLS                  port=N plain=N   of its own choice else
 * admin=TOKEN         may do all, meets no fault, and is not logged
 * anonymous=1         no token is asked for
 * discard=1           the bytes of objects are not kept, nor is their MD5 told
 */
#include "fake_server.h"
#include "google_bigquery.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct google google = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define STORAGE "/storage/v1/b/*"
#define BIGQUERY "/bigquery/v2/projects/*"
#define TABLES BIGQUERY "/datasets/*/tables"
static const struct route routes[] = {
    {"GET", STORAGE, "storage", "storage.buckets.get", NULL, bucket_get},
    {"GET", STORAGE "/iam/testPermissions", "storage", "storage.buckets.testIamPermissions", NULL,
     bucket_test_permissions},
    {"GET", STORAGE "/o", "storage", "storage.objects.list", NULL, object_list},
    {"GET", STORAGE "/o/*", "storage", "storage.objects.get", object_begin, object_get},
    {"GET", "/download" STORAGE "/o/*", "storage", "storage.objects.get", object_begin, object_get},
    {"DELETE", STORAGE "/o/*", "storage", "storage.objects.delete", NULL, object_delete},
    {"POST", "/upload" STORAGE "/o", "storage", "storage.objects.insert", upload_begin,
     upload_answer},
    {"PUT", "/upload" STORAGE "/o", "storage", "storage.objects.insert", upload_begin,
     upload_answer},
    {"DELETE", "/upload" STORAGE "/o", "storage", "storage.objects.insert", upload_begin,
     upload_answer},
    {"POST", "/resumable/upload" STORAGE "/o", "storage", "storage.objects.insert", upload_begin,
     upload_answer},
    {"PUT", "/resumable/upload" STORAGE "/o", "storage", "storage.objects.insert", upload_begin,
     upload_answer},
    {"GET", BIGQUERY "/datasets/*", "bigquery", "bigquery.datasets.get", NULL, dataset_get},
    {"POST", BIGQUERY "/datasets", "bigquery", "bigquery.datasets.insert", NULL, dataset_insert},
    {"GET", TABLES, "bigquery", "bigquery.tables.list", NULL, table_list},
    {"POST", TABLES, "bigquery", "bigquery.tables.insert", NULL, table_insert},
    {"GET", TABLES "/*", "bigquery", "bigquery.tables.get", NULL, table_get},
    {"PATCH", TABLES "/*", "bigquery", "bigquery.tables.patch", NULL, table_patch},
    {"DELETE", TABLES "/*", "bigquery", "bigquery.tables.delete", NULL, table_delete},
    {"GET", TABLES "/*/data", "bigquery", "bigquery.tabledata.list", NULL, rows_list},
    {"POST", TABLES "/*/insertAll", "bigquery", "bigquery.tabledata.insertAll", NULL, rows_insert},
    {"GET", BIGQUERY "/jobs/*", "bigquery", "bigquery.jobs.get", NULL, job_get},
    {"POST", BIGQUERY "/jobs", "bigquery", "bigquery.jobs.insert", NULL, job_insert},
    {"POST", BIGQUERY "/queries", "bigquery", "bigquery.jobs.query", NULL, job_query},
    {"POST", "/upload" BIGQUERY "/jobs", "bigquery", "bigquery.jobs.insert", upload_begin,
     upload_answer},
    {"PUT", "/upload" BIGQUERY "/jobs", "bigquery", "bigquery.jobs.insert", upload_begin,
     upload_answer},
    {"DELETE", "/upload" BIGQUERY "/jobs", "bigquery", "bigquery.jobs.insert", upload_begin,
     upload_answer},
    {"POST", "/resumable/upload" BIGQUERY "/jobs", "bigquery", "bigquery.jobs.insert", upload_begin,
     upload_answer},
    {"PUT", "/resumable/upload" BIGQUERY "/jobs", "bigquery", "bigquery.jobs.insert", upload_begin,
     upload_answer},
    {"POST", "/token", "token", "oauth2.token", NULL, token_post},
    {"GET", "/computeMetadata/v1/**", "metadata", "metadata.get", NULL, metadata_get},
    {"GET", "/computeMetadata", "metadata", "metadata.get", NULL, metadata_get},
    {"GET", "/", "metadata", "metadata.get", NULL, metadata_get},
    {"POST", "/retry_test", "control", "retry_test.create", NULL, retry_create},
    {"GET", "/retry_test/*", "control", "retry_test.get", NULL, retry_get},
    {"DELETE", "/retry_test/*", "control", "retry_test.delete", NULL, retry_delete},
};

/* ---- small things ---- */

int64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t next_generation(void)
{
    int64_t now = now_us();

    google.generation = now > google.generation ? now : google.generation + 1;
    return google.generation;
}

void time_text(char to[40], int64_t us)
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm parts;
    char day[24];

    gmtime_r(&seconds, &parts);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(to, 40, "%s.%03dZ", day, (int)(us / 1000 % 1000));
}

static int hex(char c)
{
    return isdigit((unsigned char)c)            ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87
                                                : -1;
}

char *percent_decode(const char *text, size_t length, int plus)
{
    char *to = malloc(length + 1), *end = to;

    for (size_t i = 0; to && i < length; i++) {
        int value = (unsigned char)text[i];

        if (text[i] == '%') {
            int high = i + 2 < length ? hex(text[i + 1]) : -1;
            int low = i + 2 < length ? hex(text[i + 2]) : -1;

            value = high < 0 || low < 0 ? 0 : high * 16 + low;
            i += 2;
        } else if (plus && text[i] == '+') {
            value = ' ';
        }
        if (!value) {
            free(to);
            return NULL;
        }
        *end++ = (char)value;
    }
    if (to)
        *end = '\0';
    return to;
}

void percent_encode(char *to, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text && n + 4 < size; text++) {
        if (isalnum((unsigned char)*text) || strchr("-_.~", *text))
            to[n++] = *text;
        else
            n += (size_t)snprintf(to + n, size - n, "%%%02X", (unsigned char)*text);
    }
    to[n] = '\0';
}

const char *call_header(const struct call *call, const char *name)
{
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

const char *call_query(const struct call *call, const char *name)
{
    return json_string_value(json_object_get(call->query, name));
}

char *call_origin(const struct call *call)
{
    const char *host = call_header(call, "Host");
    char *text = NULL;
    const union MHD_ConnectionInfo *tls =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    if (asprintf(&text, "%s://%s", tls && tls->tls_session ? "https" : "http", host ? host : "") <
        0)
        return NULL;
    return text;
}

json_t *script_get(const char *name)
{
    return json_object_get(google.script, name);
}

int64_t script_number(const char *name, int64_t otherwise)
{
    const json_t *value = script_get(name);

    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

int script_lists(const char *name, const char *text)
{
    json_t *list = script_get(name), *one;
    size_t i;

    json_array_foreach(list, i, one) if (json_is_string(one) &&
                                         !strcmp(json_string_value(one), text)) return 1;
    return 0;
}

/* ---- answers ---- */

void answer_json(struct call *call, unsigned status, json_t *value)
{
    json_decref(call->answer.json);
    call->answer.json = value;
    call->answer.status = status;
    snprintf(call->answer.type, sizeof(call->answer.type), "application/json; charset=UTF-8");
}

void answer_header(struct call *call, const char *name, const char *format, ...)
{
    struct answer *answer = &call->answer;
    va_list args;

    if (answer->n_headers == (int)(sizeof(answer->headers) / sizeof(answer->headers[0])))
        abort();
    snprintf(answer->headers[answer->n_headers].name, sizeof(answer->headers[0].name), "%s", name);
    va_start(args, format);
    vsnprintf(answer->headers[answer->n_headers].value, sizeof(answer->headers[0].value), format,
              args);
    va_end(args);
    answer->n_headers++;
}

static const char *status_word(unsigned status)
{
    return status == 400   ? "INVALID_ARGUMENT"
           : status == 401 ? "UNAUTHENTICATED"
           : status == 403 ? "PERMISSION_DENIED"
           : status == 404 ? "NOT_FOUND"
           : status == 409 ? "ALREADY_EXISTS"
           : status == 429 ? "RESOURCE_EXHAUSTED"
           : status == 503 ? "UNAVAILABLE"
                           : "INTERNAL";
}

void refuse(struct call *call, unsigned status, const char *reason, const char *format, ...)
{
    int limit = !strcmp(reason, "rateLimitExceeded") || !strcmp(reason, "userRateLimitExceeded") ||
                !strcmp(reason, "quotaExceeded");
    char message[2048];
    json_t *one, *error;
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    one = json_pack("{s:s, s:s, s:s}", "message", message, "domain",
                    limit ? "usageLimits" : "global", "reason", reason);
    if (status == 401 || status == 412)
        json_object_update_new(one, json_pack("{s:s, s:s}", "locationType", "header", "location",
                                              status == 401 ? "Authorization" : "If-Match"));
    error = json_pack("{s:i, s:s, s:[o]}", "code", (int)status, "message", message, "errors", one);
    if (call->route && !strcmp(call->route->part, "bigquery"))
        json_object_set_new(error, "status", json_string(status_word(status)));
    call->what = reason;
    call->answer.n_headers = 0;
    answer_json(call, status, json_pack("{s:o}", "error", error));
    if (status == 401)
        answer_header(call, "WWW-Authenticate", "Bearer realm=\"https://accounts.google.com/\"");
}

json_t *call_json(struct call *call)
{
    const char *type = call_header(call, "Content-Type");
    json_error_t error;

    if (!type || strncasecmp(type, "application/json", 16) || (type[16] && type[16] != ';')) {
        refuse(call, 400, "badRequest", "The content type is not application/json.");
        return NULL;
    }
    call->asked =
        json_loadb(call->body ? call->body : "", call->length, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(call->asked)) {
        refuse(call, 400, "parseError", "Parse Error: %s", error.text);
        return NULL;
    }
    return call->asked;
}

/* ---- the request ---- */

/* One parameter may come more than once: it is a list. */
static int add_query(json_t *query, const char *key, const char *value)
{
    json_t *list = json_object_get(query, key);

    if (strcmp(key, "permissions") != 0)
        return list ? -1 : json_object_set_new(query, key, json_string(value));
    if (!list && json_object_set_new(query, key, list = json_array()))
        return -1;
    return json_array_append_new(list, json_string(value));
}

static int read_query(struct call *call, const char *text)
{
    call->query = json_object();
    while (*text) {
        size_t length = strcspn(text, "&"), name = strcspn(text, "=&");
        char *key = percent_decode(text, name, 1);
        char *value =
            percent_decode(text + name + (name < length), length - name - (name < length), 1);
        int bad = !key || !value || add_query(call->query, key, value);

        free(key);
        free(value);
        if (bad)
            return -1;
        text += length + (text[length] == '&');
    }
    return 0;
}

/* Whether the path is of that pattern; what the stars are goes into the arguments. */
static int fits(struct call *call, const char *pattern)
{
    const char *path = call->path;
    int n = 0;

    while (*pattern) {
        if (!strcmp(pattern, "**"))
            return 1;
        if (*pattern != '*') {
            if (*pattern++ != *path++)
                return 0;
            continue;
        }
        size_t length = strcspn(path, "/");

        free(call->args[n]);
        call->args[n] = length ? percent_decode(path, length, 0) : NULL;
        if (!call->args[n++])
            return 0;
        path += length;
        pattern++;
    }
    return !*path;
}

static void find_route(struct call *call)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]) && !call->route; i++)
        if (!strcmp(call->method, routes[i].method) && fits(call, routes[i].pattern))
            call->route = &routes[i];
    if (call->route) {
        call->op = call->route->id;
        return;
    }
    call->op = "unknown";
    refuse(call, 404, "notFound", "Not Found");
}

/* ---- the log ---- */

static enum MHD_Result note_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    char lower[64];
    size_t i = 0;

    (void)kind;
    for (; name[i] && i < sizeof(lower) - 1; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    lower[i] = '\0';
    json_object_set_new(ctx, lower, json_string(value ? value : ""));
    return MHD_YES;
}

static void write_log(struct call *call)
{
    json_t *headers = json_object(), *line;

    if (call->admin || (call->route && !strcmp(call->route->part, "control")))
        goto out;
    MHD_get_connection_values(call->connection, MHD_HEADER_KIND, note_header, headers);
    line = json_pack(
        "{s:i, s:I, s:s, s:s, s:s?, s:s, s:s, s:O?, s:O?, s:I, s:i, s:s?, s:s?, s:O?, s:O}", "n",
        (int)call->number, "at_ms", (json_int_t)(now_us() / 1000), "part",
        call->route ? call->route->part : "unknown", "op", call->op, "id",
        call->route ? call->route->id : NULL, "method", call->method, "path", call->path, "query",
        call->query, "body", call->asked, "length", (json_int_t)call->length, "status",
        (int)call->answer.status, "fault", call->fault_name, "what", call->what, "answer",
        call->answer.json, "headers", headers);
    fake_log(google.log, line);
    json_decref(line);
out:
    json_decref(headers);
}

/* ---- sending ---- */

/* The other side sees a reset, not an end. */
static enum MHD_Result hang_up(struct call *call)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    if (info && !fault_number(call, "soft", 0))
        connect(info->connect_fd, &nobody, sizeof(nobody));
    if (!call->hung_up)
        write_log(call);
    call->hung_up = 1;
    return MHD_NO;
}

/* Text that comes slowly, or is cut. */
struct drip {
    char *text;
    size_t length, cut;
    int64_t ms;
};

static ssize_t give_drip(void *ctx, uint64_t at, char *to, size_t max)
{
    const struct drip *drip = ctx;

    if (at >= drip->cut)
        return at < drip->length ? MHD_CONTENT_READER_END_WITH_ERROR
                                 : MHD_CONTENT_READER_END_OF_STREAM;
    if (drip->ms) {
        wait_ms(drip->ms);
        max = 1;
    }
    if (max > drip->cut - at)
        max = (size_t)(drip->cut - at);
    memcpy(to, drip->text + at, max);
    return (ssize_t)max;
}

static void free_drip(void *ctx)
{
    struct drip *drip = ctx;

    free(drip->text);
    free(drip);
}

/* The bytes of an answer that is a part of a file, for one that is cut. */
static void read_part(struct answer *answer)
{
    FILE *file = fopen(answer->path, "r");

    answer->text = malloc(answer->length + 1);
    if (!file || !answer->text || fseeko(file, (off_t)answer->offset, SEEK_SET) ||
        fread(answer->text, 1, answer->length, file) != answer->length)
        abort();
    fclose(file);
    free(answer->path);
    answer->path = NULL;
}

static struct MHD_Response *make_drip(struct call *call)
{
    struct answer *answer = &call->answer;
    struct drip *drip = calloc(1, sizeof(*drip));
    int cut = fault_is(call, "cut_reply");

    if (answer->path)
        read_part(answer);
    drip->text = answer->text;
    drip->length = answer->length;
    drip->cut = cut ? (size_t)fault_number(call, "keep", (int64_t)drip->length / 2) : drip->length;
    if (drip->cut > drip->length)
        drip->cut = drip->length / 2;
    drip->ms = cut ? 0 : fault_number(call, "ms", 100);
    answer->text = NULL;
    return MHD_create_response_from_callback(drip->length, 4096, give_drip, drip, free_drip);
}

static struct MHD_Response *make_response(struct call *call)
{
    struct answer *answer = &call->answer;
    struct MHD_Response *response;

    if (answer->json && !answer->text) {
        answer->text = json_dumps(answer->json, JSON_INDENT(1));
        answer->length = answer->text ? strlen(answer->text) : 0;
    }
    if (fault_is(call, "truncated") && answer->text)
        answer->length /= 2;
    if (fault_is(call, "cut_reply") || fault_is(call, "slow_reply"))
        return make_drip(call);
    if (answer->path) {
        int fd = open(answer->path, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? NULL
                      : MHD_create_response_from_fd_at_offset64(answer->length, fd, answer->offset);
    }
    response = MHD_create_response_from_buffer(answer->text ? answer->length : 0, answer->text,
                                               MHD_RESPMEM_MUST_COPY);
    return response;
}

static enum MHD_Result send_answer(struct call *call)
{
    struct answer *answer = &call->answer;
    struct MHD_Response *response;
    enum MHD_Result result;

    fault_spoils(call);
    if (fault_is(call, "stall"))
        wait_ms(fault_number(call, "ms", 1000));
    if (fault_is(call, "lose_reply") || fault_is(call, "stall"))
        return hang_up(call);
    write_log(call);
    response = make_response(call);
    if (!response)
        return MHD_NO;
    if (answer->type[0])
        MHD_add_response_header(response, "Content-Type", answer->type);
    for (int i = 0; i < answer->n_headers; i++)
        MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
    result = MHD_queue_response(call->connection, answer->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- microhttpd ---- */

static void *start_call(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct call *call = calloc(1, sizeof(*call));

    (void)cls;
    if (call) {
        call->connection = connection;
        call->uri = strdup(uri);
        call->spool = -1;
        call->after = -1;
    }
    return call;
}

static int is_admin(const struct call *call)
{
    const char *who = call_header(call, "Authorization");

    return google.admin && who && !strncmp(who, "Bearer ", 7) && !strcmp(who + 7, google.admin);
}

static enum MHD_Result begin_call(struct call *call, const char *method)
{
    size_t length = call->uri ? strcspn(call->uri, "?") : 0;

    call->begun = 1;
    call->method = method;
    call->path = call->uri ? strndup(call->uri, length) : NULL;
    if (!call->path)
        return MHD_NO;
    call->admin = is_admin(call);
    pthread_mutex_lock(&google.lock);
    fault_load();
    call->number = call->admin ? google.requests : ++google.requests;
    if (read_query(call, call->uri + length + (call->uri[length] == '?')))
        refuse(call, 400, "invalid", "The query is not one.");
    find_route(call);
    if (!call->answer.status && call->route->begin)
        call->route->begin(call);
    if (!call->admin)
        fault_find(call);
    pthread_mutex_unlock(&google.lock);
    /* A fault in place of an answer keeps nothing of what is sent. */
    if (call->answer.status ||
        (call->sink != SINK_MEMORY && (fault_is(call, "status") || fault_is(call, "html"))))
        call->swallow = 1;
    if (fault_is(call, "reset"))
        return hang_up(call);
    if (fault_is(call, "status") && fault_number(call, "early", 0) && fault_answers(call))
        return send_answer(call);
    return MHD_YES;
}

static int keep_in_memory(struct call *call, const char *data, size_t n)
{
    if (n > GOOGLE_MAX_JSON - call->length)
        return -1;
    if (call->length + n > call->room) {
        size_t room = (call->length + n) * 2;
        char *longer = realloc(call->body, room);

        if (!longer)
            return -1;
        call->body = longer;
        call->room = room;
    }
    memcpy(call->body + call->length, data, n);
    return 0;
}

static int keep(struct call *call, const char *data, size_t n)
{
    int bad = 0;

    if (call->swallow)
        return 0;
    if (call->sink == SINK_MEMORY)
        bad = keep_in_memory(call, data, n);
    else if (call->sink == SINK_SPOOL)
        bad = write(call->spool, data, n) != (ssize_t)n;
    else if (call->sink == SINK_SESSION)
        bad = upload_append(call, data, n);
    else if (n)
        refuse(call, 400, "badRequest", "There is a body, and none is expected.");
    return bad;
}

static enum MHD_Result feed_call(struct call *call, const char *data, size_t *size)
{
    size_t n = *size, taken = n;
    int due = call->after >= 0 && !call->swallow && call->length + n > (uint64_t)call->after;

    *size = 0;
    if (fault_is(call, "slow_read"))
        wait_ms(fault_number(call, "ms", 100));
    if (due)
        taken = (size_t)((uint64_t)call->after - call->length);
    if (keep(call, data, taken))
        return hang_up(call);
    call->length += n;
    if (due && fault_is(call, "stall_body"))
        wait_ms(fault_number(call, "ms", 1000));
    if (due && !fault_is(call, "status_after"))
        return hang_up(call);
    if (due)
        call->swallow = 1;
    return MHD_YES;
}

static enum MHD_Result end_call(struct call *call)
{
    pthread_mutex_lock(&google.lock);
    int64_t delay = call->admin ? 0 : script_number("delay_ms", 0);

    pthread_mutex_unlock(&google.lock);
    wait_ms(delay + (fault_is(call, "delay") ? fault_number(call, "ms", 1000) : 0));
    pthread_mutex_lock(&google.lock);
    if (!call->answer.status && !fault_answers(call))
        call->route->answer(call);
    pthread_mutex_unlock(&google.lock);
    return send_answer(call);
}

static enum MHD_Result take(void *cls, struct MHD_Connection *connection, const char *path,
                            const char *method, const char *version, const char *data, size_t *size,
                            void **ctx)
{
    struct call *call = *ctx;

    (void)cls, (void)path, (void)connection;
    if (!call || strcmp(version, "HTTP/1.1"))
        return MHD_NO;
    if (!call->begun)
        return begin_call(call, method);
    return *size ? feed_call(call, data, size) : end_call(call);
}

static void forget(void *cls, struct MHD_Connection *connection, void **ctx,
                   enum MHD_RequestTerminationCode code)
{
    struct call *call = *ctx;

    (void)cls, (void)connection, (void)code;
    if (!call)
        return;
    *ctx = NULL;
    upload_forget(call);
    pthread_mutex_lock(&google.lock);
    json_decref(call->query);
    json_decref(call->fault);
    json_decref(call->asked);
    json_decref(call->answer.json);
    pthread_mutex_unlock(&google.lock);
    for (int i = 0; i < GOOGLE_MAX_ARGS; i++)
        free(call->args[i]);
    if (call->spool >= 0)
        close(call->spool);
    free(call->answer.text);
    free(call->answer.path);
    free(call->body);
    free(call->path);
    free(call->uri);
    free(call);
}

int main(int argc, char **argv)
{
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)forget, NULL},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)start_call, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, 256 << 10, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, 4096, NULL},
        {MHD_OPTION_END, 0, NULL}};
    struct fake_tls tls = {0}, none = {0};
    const char *port = "0", *plain = "0", *anonymous = "0", *discard = "0";
    const struct fake_word words[] = {
        {"cert", &tls.cert},   {"key", &tls.key},           {"port", &port},
        {"plain", &plain},     {"admin", &google.admin},    {"anonymous", &anonymous},
        {"discard", &discard}, {"priority", &tls.priority},
    };
    unsigned n = 0;

    if (argc < 4 || fake_read_words(argc, argv, 4, words, sizeof(words) / sizeof(words[0]))) {
        fprintf(stderr, "google_server FOLDER LOG SCRIPT [NAME=VALUE]...\n");
        return 2;
    }
    google.folder = argv[1];
    google.log = argv[2];
    google.script_path = argv[3];
    google.anonymous = *anonymous == '1';
    google.discard = *discard == '1';
    fault_load();
    if (journal_open() || !fake_start(&tls, (unsigned)strtoul(port, NULL, 10), take, options, &n))
        return 1;
    printf("port %u\n", n);
    if (tls.cert) {
        if (!fake_start(&none, (unsigned)strtoul(plain, NULL, 10), take, options, &n))
            return 1;
        printf("plain %u\n", n);
    }
    fflush(stdout);
    fake_wait();
}
