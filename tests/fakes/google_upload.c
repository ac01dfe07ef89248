/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploads, to storage and to BigQuery: media, multipart/related, and resumable sessions.
 *
 * A session's bytes are those of a file, so that it goes on after a kill; of what a connection that
 * was cut has sent, whole steps of 256 KiB are kept.
 */
#include "google.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WEEK_S (7 * 24 * 3600)
#define BODY_PART (1u << 20) /* of the JSON before the bytes */

enum state { OPEN, DONE, DEAD };

struct session {
    char id[40], file[64];
    json_t *start; /* {"part", "target", "query", "resource", "type", "total", "created"} */
    int64_t total; /* -1: not known yet */
    enum state state;
    json_t *result;
    struct session *next;
    pthread_mutex_t lock; /* guards the rest, and is taken after google.lock */
    uint64_t have;
    int fd;
    unsigned epoch; /* of the connection that may append */
    struct digests digests;
    int discard; /* its bytes are not kept */
};

static struct session *sessions;

/* What "bytes A-B/N" says; -1: a star, or not there. */
struct range {
    int64_t from, to, total;
    int query;
};

/* ---- digests ---- */

void digests_start(struct digests *digests)
{
    digests->crc32c = 0xffffffffu;
    digests->md5 = google.discard ? NULL : EVP_MD_CTX_new();
    if (digests->md5 && EVP_DigestInit_ex(digests->md5, EVP_md5(), NULL) != 1)
        abort();
}

void digests_add(struct digests *digests, const void *data, size_t n)
{
    const unsigned char *at = data;

    if (digests->md5)
        EVP_DigestUpdate(digests->md5, data, n);
    while (n) {
        size_t part = n < INT_MAX ? n : INT_MAX;

        digests->crc32c = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)part, digests->crc32c);
        at += part;
        n -= part;
    }
}

void digests_end(struct digests *digests, struct media *media)
{
    unsigned n = 0;

    media->crc32c = ~digests->crc32c;
    if (digests->md5)
        EVP_DigestFinal_ex(digests->md5, media->md5, &n);
    EVP_MD_CTX_free(digests->md5);
    digests->md5 = NULL;
}

/* ---- sessions ---- */

static const char *data_path(char to[4096], const char *file)
{
    snprintf(to, 4096, "%s/data/%s", google.folder, file);
    return to;
}

static struct session *find_session(const char *id)
{
    struct session *session = sessions;

    while (session && id && strcmp(session->id, id))
        session = session->next;
    return id ? session : NULL;
}

/* Cuts it at n bytes, and counts them anew. */
static void session_cut(struct session *session, uint64_t n)
{
    char buffer[65536];
    ssize_t got;
    off_t at = 0;

    EVP_MD_CTX_free(session->digests.md5);
    digests_start(&session->digests);
    if (session->discard)
        n = 0;
    if (ftruncate(session->fd, (off_t)n))
        abort();
    while ((got = pread(session->fd, buffer, sizeof(buffer), at)) > 0) {
        digests_add(&session->digests, buffer, (size_t)got);
        at += got;
    }
    session->have = n;
}

/* Whole steps of what came, and never all of it while it is not finished. */
static void session_settle(struct session *session)
{
    uint64_t have = session->have;

    if (session->total > 0 && have >= (uint64_t)session->total)
        have = (uint64_t)session->total - 1;
    have -= have % GOOGLE_STEP;
    if (have != session->have)
        session_cut(session, have);
}

static struct session *session_new(const char *id, json_t *start)
{
    struct session *session = calloc(1, sizeof(*session));

    if (!session)
        abort();
    snprintf(session->id, sizeof(session->id), "%s", id);
    snprintf(session->file, sizeof(session->file), "session-%s", id);
    session->start = json_incref(start);
    session->discard =
        google.discard && !strcmp(json_string_value(json_object_get(start, "part")), "storage");
    session->total = json_integer_value(json_object_get(start, "total"));
    session->fd = -1;
    pthread_mutex_init(&session->lock, NULL);
    session->next = sessions;
    sessions = session;
    return session;
}

static void session_open(struct session *session)
{
    char path[4096];

    session->fd = open(data_path(path, session->file), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (session->fd < 0)
        abort();
    digests_start(&session->digests);
}

static void session_end(struct session *session, enum state state, json_t *result)
{
    session->state = state;
    json_decref(session->result);
    session->result = json_incref(result);
    journal_write("session_end", json_pack("{s:s, s:i, s:O*}", "id", session->id, "state",
                                           (int)state, "result", result));
    if (session->fd >= 0)
        close(session->fd);
    session->fd = -1;
    if (state == DEAD || session->discard) {
        char path[4096];

        unlink(data_path(path, session->file));
    }
}

void upload_replay(const char *what, const json_t *value)
{
    const char *id = json_string_value(json_object_get(value, "id"));
    struct session *session;

    if (!strcmp(what, "session")) {
        session_new(id, (json_t *)(uintptr_t)value);
        return;
    }
    session = find_session(id);
    if (!session)
        return;
    session->state = (enum state)json_integer_value(json_object_get(value, "state"));
    session->result = json_incref(json_object_get(value, "result"));
}

/* Those that were in hand at a kill. */
void upload_recover(void)
{
    struct stat now;

    for (struct session *session = sessions; session; session = session->next) {
        if (session->state != OPEN)
            continue;
        session_open(session);
        if (fstat(session->fd, &now))
            abort();
        session_cut(session, (uint64_t)now.st_size - (uint64_t)now.st_size % GOOGLE_STEP);
        session_settle(session);
    }
}

static int is_old(const struct session *session)
{
    int64_t created = json_integer_value(json_object_get(session->start, "created"));

    return now_us() / 1000000 - created > script_number("session_seconds", WEEK_S);
}

/* ---- the start of one ---- */

static int starts(struct call *call, json_t *resource)
{
    return strcmp(call->route->part, "storage")
               ? bigquery_starts(call, call->args[0], resource)
               : storage_starts(call, call->args[0], call->query, resource);
}

static void commit(struct call *call, const char *part, const char *target, const json_t *query,
                   const json_t *resource, const struct media *media)
{
    if (strcmp(part, "storage"))
        bigquery_commit(call, target, resource, media);
    else
        storage_commit(call, target, query, resource, media);
}

static int declared_length(struct call *call, int64_t *ret)
{
    const char *text = call_header(call, "X-Upload-Content-Length");
    char *end;

    *ret = -1;
    if (!text)
        return 0;
    *ret = strtoll(text, &end, 10);
    if (*text && !*end && *ret >= 0)
        return 0;
    refuse(call, 400, "invalid", "Invalid X-Upload-Content-Length.");
    return -1;
}

static void start_session(struct call *call)
{
    const char *type = call_header(call, "X-Upload-Content-Type");
    char *origin = call_origin(call), id[40], name[3072] = "";
    unsigned char bytes[18];
    int64_t total;
    json_t *resource, *start;

    if (call->length) {
        resource = call_json(call);
    } else {
        resource = call->asked = json_object();
    }
    if (!resource || declared_length(call, &total) || starts(call, resource))
        goto out;
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        abort();
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    start =
        json_pack("{s:s, s:s, s:s, s:O, s:O, s:s?, s:I, s:I}", "id", id, "part", call->route->part,
                  "target", call->args[0], "query", call->query, "resource", resource, "type", type,
                  "total", (json_int_t)total, "created", (json_int_t)(now_us() / 1000000));
    session_open(session_new(id, start));
    journal_write("session", start);
    if (call_query(call, "name")) {
        memcpy(name, "&name=", 7);
        percent_encode(name + 6, sizeof(name) - 6, call_query(call, "name"));
    }
    answer_json(call, 200, NULL);
    call->answer.type[0] = '\0';
    /* A name of 1,024 bytes is no part of it: the id is enough. */
    answer_header(call, "Location", "%s%s?uploadType=resumable%s&upload_id=%s", origin, call->path,
                  strlen(name) < 512 ? name : "", id);
    answer_header(call, "X-GUploader-UploadID", "%s", id);
out:
    free(origin);
}

/* ---- bytes for one ---- */

static const char *digits(const char *at, int64_t *ret)
{
    char *end;

    if (*at == '*') {
        *ret = -1;
        return at + 1;
    }
    if (*at < '0' || *at > '9')
        return NULL;
    errno = 0;
    *ret = strtoll(at, &end, 10);
    return errno ? NULL : end;
}

static int read_range(const char *text, struct range *range)
{
    const char *at = text;

    range->query = 0;
    if (strncmp(at, "bytes ", 6))
        return -1;
    at += 6;
    if (*at == '*') {
        range->query = 1;
        range->from = range->to = -1;
        at++;
    } else if (!(at = digits(at, &range->from)) || *at++ != '-' || !(at = digits(at, &range->to))) {
        return -1;
    }
    if (*at++ != '/' || !(at = digits(at, &range->total)) || *at)
        return -1;
    return range->to >= 0 &&
                   (range->to < range->from || (range->total >= 0 && range->to >= range->total))
               ? -1
               : 0;
}

/* What the chunk is must be known before its first byte is kept. */
static int wrong_chunk(struct call *call, struct session *session, const struct range *range)
{
    const char *length = call_header(call, "Content-Length");
    int64_t n = range->to - range->from + 1;

    if (range->total >= 0 && session->total >= 0 && range->total != session->total)
        refuse(call, 400, "invalid",
               "Invalid request. The total size %lld is not the %lld that was said before.",
               (long long)range->total, (long long)session->total);
    else if (range->from > (int64_t)session->have)
        refuse(call, 400, "invalid",
               "Invalid request. According to the Content-Range header, the upload offset is %lld "
               "byte(s), which exceeds already uploaded size of %llu byte(s).",
               (long long)range->from, (unsigned long long)session->have);
    else if (range->to >= 0 && length && strtoll(length, NULL, 10) != n)
        refuse(call, 400, "invalid",
               "Invalid request. The content length is not that of the Content-Range header.");
    else if (range->to >= 0 && range->to + 1 != range->total && n % GOOGLE_STEP)
        refuse(call, 400, "invalid",
               "Invalid request. The number of bytes uploaded is required to be a multiple of "
               "262144, except for the final request. The received request contained %lld bytes, "
               "which does not meet this requirement.",
               (long long)n);
    return call->answer.status != 0;
}

static void put_begin(struct call *call)
{
    const char *text = call_header(call, "Content-Range");
    struct session *session = find_session(call_query(call, "upload_id"));
    struct range range = {0, -1, -1, 0};

    call->op = "storage.resumable.put";
    if (!strcmp(call->route->part, "bigquery"))
        call->op = "bigquery.resumable.put";
    if (text && !strncmp(text, "bytes *", 7))
        call->op = strcmp(call->route->part, "bigquery") ? "storage.resumable.query"
                                                         : "bigquery.resumable.query";
    if (!session)
        refuse(call, 404, "notFound", "The upload session is not known.");
    else if (session->state == DEAD || is_old(session))
        refuse(call, 410, "gone", "The upload session is gone.");
    if (call->answer.status)
        return;
    call->session = session;
    call->sink = SINK_NONE;
    if (text && read_range(text, &range)) {
        refuse(call, 400, "invalid", "Failed to parse Content-Range header.");
        return;
    }
    if (session->state == DONE) {
        call->swallow = 1;
        return;
    }
    pthread_mutex_lock(&session->lock);
    session_settle(session);
    if (!text && call_header(call, "Content-Length"))
        range.total = strtoll(call_header(call, "Content-Length"), NULL, 10);
    if (!wrong_chunk(call, session, &range)) {
        call->epoch = ++session->epoch;
        call->skip = range.query ? 0 : session->have - (uint64_t)range.from;
        call->sink = range.query ? SINK_NONE : SINK_SESSION;
        if (range.total >= 0)
            session->total = range.total;
    }
    pthread_mutex_unlock(&session->lock);
}

int upload_append(struct call *call, const char *data, size_t n)
{
    struct session *session = call->session;
    size_t skip = call->skip < n ? (size_t)call->skip : n;
    int bad = 0;

    call->skip -= skip;
    data += skip;
    n -= skip;
    pthread_mutex_lock(&session->lock);
    /* Another connection has taken it over, or it has ended. */
    if (session->epoch != call->epoch || session->fd < 0)
        bad = -1;
    else if (!session->discard && pwrite(session->fd, data, n, (off_t)session->have) != (ssize_t)n)
        abort();
    if (!bad) {
        digests_add(&session->digests, data, n);
        session->have += n;
    }
    pthread_mutex_unlock(&session->lock);
    return bad;
}

void upload_forget(struct call *call)
{
    struct session *session = call->session;
    char path[4096];

    if (call->sink == SINK_SPOOL && call->body && call->answer.status / 100 != 2)
        unlink(data_path(path, call->body));
    if (!session || call->sink != SINK_SESSION || call->answer.status)
        return;
    pthread_mutex_lock(&session->lock);
    if (session->epoch == call->epoch && session->fd >= 0)
        session_settle(session);
    pthread_mutex_unlock(&session->lock);
}

static void go_on(struct call *call, const struct session *session)
{
    answer_json(call, 308, NULL);
    call->answer.type[0] = '\0';
    if (session->have && !fault_is(call, "no_range"))
        answer_header(call, "Range", "bytes=0-%llu", (unsigned long long)session->have - 1);
    answer_header(call, "X-GUploader-UploadID", "%s", session->id);
}

static void finish(struct call *call, struct session *session)
{
    const json_t *start = session->start;
    struct media media = {.length = session->have};
    const char *type = json_string_value(json_object_get(start, "type"));
    char path[4096];

    snprintf(media.file, sizeof(media.file), "%s", session->discard ? "" : session->file);
    media.path = session->discard ? NULL : data_path(path, session->file);
    /* The type of a chunk counts only where nobody said another. */
    if (!type && !json_object_get(json_object_get(start, "resource"), "contentType"))
        type = call_header(call, "Content-Type");
    snprintf(media.type, sizeof(media.type), "%s", type ? type : "");
    digests_end(&session->digests, &media);
    commit(call, json_string_value(json_object_get(start, "part")),
           json_string_value(json_object_get(start, "target")), json_object_get(start, "query"),
           json_object_get(start, "resource"), &media);
    session_end(session, call->answer.status < 300 ? DONE : DEAD, call->answer.json);
}

static void put_answer(struct call *call)
{
    struct session *session = call->session;
    unsigned gone = (unsigned)fault_number(call, "status", 410);
    int64_t have;

    if (session->state == DONE) {
        answer_json(call, 200, json_deep_copy(session->result));
        return;
    }
    pthread_mutex_lock(&session->lock);
    have = (int64_t)session->have;
    if (fault_is(call, "gone")) {
        session_end(session, DEAD, NULL);
        refuse(call, gone, gone == 404 ? "notFound" : "gone", "The upload session is gone.");
    } else if (fault_is(call, "keep") || fault_is(call, "no_range")) {
        int64_t n = fault_number(call, "bytes", 0);

        session_cut(session, (uint64_t)(n < have ? n : have));
        go_on(call, session);
    } else if (session->epoch != call->epoch || session->fd < 0) {
        refuse(call, 503, "backendError", "Another request goes on with this upload.");
    } else if (have == session->total) {
        finish(call, session);
    } else if (session->total >= 0 && have > session->total) {
        session_cut(session, 0);
        refuse(call, 400, "invalid", "There are more bytes than were said.");
    } else {
        session_settle(session);
        go_on(call, session);
    }
    pthread_mutex_unlock(&session->lock);
}

static void cancel(struct call *call)
{
    struct session *session = find_session(call_query(call, "upload_id"));

    if (!session || session->state != OPEN) {
        refuse(call, 404, "notFound", "The upload session is not known.");
        return;
    }
    pthread_mutex_lock(&session->lock);
    session_end(session, DEAD, NULL);
    pthread_mutex_unlock(&session->lock);
    refuse(call, 499, "clientClosedRequest", "Client Closed Request");
}

/* ---- in one request ---- */

static int boundary_of(const char *type, char to[80])
{
    const char *at;
    size_t length;

    if (!type || strncasecmp(type, "multipart/related", 17) ||
        !(at = strcasestr(type, "boundary=")))
        return -1;
    at += 9;
    length = *at == '"' ? strcspn(++at, "\"") : strcspn(at, "; \t");
    if (!length || length > 70)
        return -1;
    snprintf(to, 80, "\r\n--%.*s", (int)length, at);
    return 0;
}

/* The value of a part's Content-Type, and where its bytes begin. */
static const char *read_part_head(const char *at, const char *end, char type[128])
{
    static const char name[] = "content-type:";

    type[0] = '\0';
    for (;;) {
        const char *eol = memmem(at, (size_t)(end - at), "\r\n", 2);

        if (!eol)
            return NULL;
        if (eol == at)
            return at + 2;
        if ((size_t)(eol - at) > sizeof(name) && !strncasecmp(at, name, sizeof(name) - 1)) {
            at += sizeof(name) - 1;
            while (*at == ' ')
                at++;
            if (eol < at)
                return NULL;
            snprintf(type, 128, "%.*s", (int)(eol - at), at);
        }
        at = eol + 2;
    }
}

/* Two parts, JSON and bytes.  -1: it is not made so. */
static int split(struct call *call, const char *data, size_t length, const char *boundary,
                 struct media *media)
{
    size_t n = strlen(boundary);
    const char *end = data + length, *at, *stop;
    char type[128];

    if (length < n || memcmp(data, boundary + 2, n - 2) || memcmp(data + n - 2, "\r\n", 2))
        return -1;
    at = read_part_head(data + n, end, type);
    stop = at ? memmem(at, (size_t)(end - at), boundary, n) : NULL;
    if (!stop || strncasecmp(type, "application/json", 16) || stop - at > BODY_PART ||
        end - stop < (ptrdiff_t)n + 2 || memcmp(stop + n, "\r\n", 2))
        return -1;
    call->asked = json_loadb(at, (size_t)(stop - at), JSON_REJECT_DUPLICATES, NULL);
    at = read_part_head(stop + n + 2, end, media->type);
    stop = at ? memmem(at, (size_t)(end - at), boundary, n) : NULL;
    if (!json_is_object(call->asked) || !stop || !media->type[0] || end - stop < (ptrdiff_t)n + 2)
        return -1;
    media->offset = (uint64_t)(at - data);
    media->length = (uint64_t)(stop - at);
    stop += n;
    if (memcmp(stop, "--", 2))
        return -1;
    stop += 2;
    return stop == end || (end - stop == 2 && !memcmp(stop, "\r\n", 2)) ? 0 : -1;
}

/* Where the bytes of this request are kept. */
static int open_spool(struct call *call)
{
    char path[4096], file[64];

    if (google.discard && !strcmp(call->route->part, "storage")) {
        call->spool = memfd_create("upload", MFD_CLOEXEC);
        return call->spool < 0 ? -1 : 0;
    }
    snprintf(file, sizeof(file), "upload-%lld", (long long)next_generation());
    call->spool = open(data_path(path, file), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    call->body = strdup(file);
    return call->spool < 0 || !call->body ? -1 : 0;
}

static void whole_answer(struct call *call)
{
    const char *type = call_header(call, "Content-Type");
    struct media media = {.length = call->length};
    struct digests digests;
    char boundary[80], path[4096];
    void *data =
        call->length ? mmap(NULL, call->length, PROT_READ, MAP_SHARED, call->spool, 0) : NULL;

    if (data == MAP_FAILED)
        abort();
    snprintf(media.file, sizeof(media.file), "%s", call->body ? call->body : "");
    media.path = media.file[0] ? data_path(path, media.file) : NULL;
    snprintf(media.type, sizeof(media.type), "%s", type ? type : "");
    if (!strcmp(call_query(call, "uploadType"), "media"))
        call->asked = json_object();
    else if (!data || boundary_of(type, boundary) ||
             split(call, data, call->length, boundary, &media))
        refuse(call, 400, "badRequest", "Malformed multipart body.");
    if (!call->answer.status && !starts(call, call->asked)) {
        /* Others may go on meanwhile. */
        pthread_mutex_unlock(&google.lock);
        digests_start(&digests);
        digests_add(&digests, (char *)data + media.offset, media.length);
        digests_end(&digests, &media);
        pthread_mutex_lock(&google.lock);
        commit(call, call->route->part, call->args[0], call->query, call->asked, &media);
    }
    if (!strcmp(call_query(call, "uploadType"), "media")) {
        json_decref(call->asked); /* there was none */
        call->asked = NULL;
    }
    if (data)
        munmap(data, call->length);
}

/* ---- which it is ---- */

void upload_begin(struct call *call)
{
    const char *type = call_query(call, "uploadType");
    int storage = !strcmp(call->route->part, "storage");

    if (!strcmp(call->method, "PUT")) {
        put_begin(call);
        return;
    }
    if (!strcmp(call->method, "DELETE")) {
        call->op = storage ? "storage.resumable.cancel" : "bigquery.resumable.cancel";
        call->sink = SINK_NONE;
        return;
    }
    if (!type && !strncmp(call->path, "/resumable/", 11))
        type = "resumable";
    if (type && !strcmp(type, "resumable")) {
        call->op = storage ? "storage.resumable.start" : "bigquery.resumable.start";
    } else if (type && (!strcmp(type, "multipart") || (storage && !strcmp(type, "media")))) {
        call->op = !storage                 ? "bigquery.multipart"
                   : !strcmp(type, "media") ? "storage.media"
                                            : "storage.multipart";
        call->sink = SINK_SPOOL;
        if (open_spool(call))
            refuse(call, 500, "internalError", "There is no room.");
    } else {
        refuse(call, 400, "invalid", "Invalid value for uploadType.");
    }
}

void upload_answer(struct call *call)
{
    if (!strcmp(call->method, "PUT"))
        put_answer(call);
    else if (!strcmp(call->method, "DELETE"))
        cancel(call);
    else if (call->sink == SINK_SPOOL)
        whole_answer(call);
    else
        start_session(call);
}
