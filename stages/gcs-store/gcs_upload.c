/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_upload.c - one object into the bucket, exactly once.
 *
 * Small ones go in one request, large ones in a session that goes on where Google says it stands.
 * No object takes the place of another unasked (ifGenerationMatch), so that every request may be
 * sent again.  Where an answer leaves open what is there, the object is looked at: what carries our
 * content in its metadata is ours, whoever sent it, and whatever became of the answer.
 *
 * Each step is a request whose answer names the next one; nothing here waits.
 */
#include "gcs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MAX_ROUNDS 4 /* uploads of one object, sessions included */
#define MAX_LOOKS 6
#define MAX_STALLS 8 /* tries of a session without a byte more */
#define MAX_HEADER 512
#define MAX_PAUSE_MS 64000
#define BOUNDARY "sendit-%.40s" /* of the content: nothing that it could have in itself */

static void insert(struct upload *upload);
static void look(struct upload *upload);
static void put_rest(struct upload *upload);
static void ask_session(struct upload *upload);

/* ---- ends ---- */

static void forget_request(struct upload *upload)
{
    free(upload->before);
    free(upload->after);
    free(upload->body);
    upload->before = upload->after = NULL;
    upload->body = NULL;
}

static void forget_session(struct upload *upload)
{
    if (upload->session)
        explicit_bzero(upload->session, strlen(upload->session));
    free(upload->session);
    upload->session = NULL;
    upload->sent = 0;
}

static void end(struct upload *upload, enum upload_end how)
{
    forget_request(upload);
    forget_session(upload);
    upload->end = how;
    upload->done(upload);
}

static void fail(struct upload *upload, sendit_verdict verdict, const char *code, const char *text)
{
    upload->verdict = sendit_because(&upload->why, verdict, code, "%s", text);
    end(upload, UPLOAD_FAILED);
}

static void no_memory(struct upload *upload)
{
    fail(upload, SENDIT_RETRY, "gcs.busy", "There is no memory for an upload.");
}

/* Google says what nobody expected. */
static void fail_answer(struct upload *upload, const struct google_answer *answer)
{
    char what[300];

    snprintf(what, sizeof(what), "the bucket \"%.222s\"", upload->self->bucket);
    upload->verdict = google_verdict(answer, what, GCS_ROLE, &upload->why);
    end(upload, UPLOAD_FAILED);
}

static void conflict(struct upload *upload, const char *code, const char *text)
{
    upload->verdict = sendit_because(&upload->why, SENDIT_QUARANTINE, code, "%s", text);
    end(upload, UPLOAD_CONFLICT);
}

static void stored(struct upload *upload)
{
    end(upload, UPLOAD_STORED);
}

/* ---- requests ---- */

int object_url(const struct sendit_stage_state *self, const char *name, char ret_url[GCS_MAX_URL])
{
    char escaped[3 * GCS_MAX_NAME + 1];
    int n;

    google_url_escape(escaped, sizeof(escaped), name);
    n = snprintf(ret_url, GCS_MAX_URL, "%s/storage/v1/b/%s/o/%s", google_endpoint(self->google),
                 self->bucket, escaped);
    return escaped[0] && n > 0 && n < GCS_MAX_URL;
}

int upload_url(const struct upload *upload, const char *kind, char ret_url[GCS_MAX_URL])
{
    const struct sendit_stage_state *self = upload->self;
    char escaped[3 * GCS_MAX_NAME + 1], key[768] = "", acl[64] = "";
    int n;

    google_url_escape(escaped, sizeof(escaped), upload->name);
    if (self->kms_key) {
        char text[700];

        google_url_escape(text, sizeof(text), self->kms_key);
        snprintf(key, sizeof(key), "&kmsKeyName=%s", text);
    }
    if (self->acl)
        snprintf(acl, sizeof(acl), "&predefinedAcl=%s", self->acl);
    n = snprintf(ret_url, GCS_MAX_URL,
                 "%s/upload/storage/v1/b/%s/o?uploadType=%s&name=%s&ifGenerationMatch=%" PRIu64
                 "%s%s",
                 self->google ? google_endpoint(self->google) : "https://storage.googleapis.com",
                 self->bucket, kind, escaped, upload->match, key, acl);
    return escaped[0] && n > 0 && n < GCS_MAX_URL;
}

char *upload_metadata(const struct upload *upload)
{
    const struct sendit_stage_state *self = upload->self;
    json_t *metadata = self->metadata ? json_deep_copy(self->metadata) : json_object(), *object;
    char crc[CRC32C_TEXT], *text;

    crc32c_text(upload->crc32c, crc);
    if (!metadata ||
        json_object_set_new(metadata, "sendit-content", json_string(upload->content)) ||
        (upload->once[0] &&
         json_object_set_new(metadata, "sendit-once", json_string(upload->once)))) {
        json_decref(metadata);
        return NULL;
    }
    object = json_pack("{s:s, s:s, s:s, s:o}", "name", upload->name, "contentType", upload->type,
                       "crc32c", crc, "metadata", metadata);
    if (object && self->storage_class &&
        json_object_set_new(object, "storageClass", json_string(self->storage_class))) {
        json_decref(object);
        return NULL;
    }
    text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static void send_request(struct upload *upload, const struct google_request *request,
                         google_done_fn *done)
{
    sendit_result r = google_start(upload->self->google, request, done, upload);

    if (r == SENDIT_EINVAL)
        fail(upload, SENDIT_FAIL, "gcs.request", "The request for an object cannot be made.");
    else if (r != SENDIT_OK)
        no_memory(upload);
}

static int is_ok(const struct google_answer *answer)
{
    return answer->end == GOOGLE_ANSWERED && (answer->status == 200 || answer->status == 201);
}

static int is_status(const struct google_answer *answer, int status)
{
    return answer->end == GOOGLE_ANSWERED && answer->status == status;
}

/* ---- what is there ---- */

static uint64_t number_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    char *past = NULL;
    uint64_t n;

    if (!text || !*text || strspn(text, "0123456789") != strlen(text))
        return UINT64_MAX;
    errno = 0;
    n = strtoull(text, &past, 10);
    return errno ? UINT64_MAX : n;
}

static void read_word(const json_t *metadata, const char *key, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(metadata, key));

    snprintf(to, size, "%s", text && strlen(text) < size ? text : "");
}

int there_read(struct there *ret, const json_t *object, const char *bucket, const char *name)
{
    const char *its_name = json_string_value(json_object_get(object, "name"));
    const char *its_bucket = json_string_value(json_object_get(object, "bucket"));
    const json_t *metadata = json_object_get(object, "metadata");

    memset(ret, 0, sizeof(*ret));
    ret->generation = number_of(object, "generation");
    ret->size = number_of(object, "size");
    read_word(metadata, "sendit-content", ret->content, sizeof(ret->content));
    read_word(metadata, "sendit-once", ret->once, sizeof(ret->once));
    if (!its_name || !its_bucket || (name && strcmp(its_name, name) != 0) ||
        strcmp(its_bucket, bucket) != 0 || !ret->generation || ret->generation == UINT64_MAX ||
        ret->size == UINT64_MAX ||
        crc32c_parse(json_string_value(json_object_get(object, "crc32c")), &ret->crc32c))
        return -1;
    return 0;
}

static int read_answer(struct there *ret, const struct upload *upload,
                       const struct google_answer *answer)
{
    json_t *object = json_loadb(answer->body, answer->length, JSON_REJECT_DUPLICATES, NULL);
    int result = there_read(ret, object, upload->self->bucket, upload->name);

    json_decref(object);
    return result;
}

/* Another object has the name. */
static void settle_other(struct upload *upload, const struct there *there)
{
    if (!upload->may_replace || !upload->may_replace(upload, there)) {
        conflict(upload, "gcs.conflict",
                 "An object with its name is there already, with other bytes.");
        return;
    }
    upload->match = there->generation;
    insert(upload);
}

static void on_look(void *ctx, const struct google_answer *answer)
{
    struct upload *upload = ctx;
    struct there there;

    if (is_status(answer, 404)) {
        upload->match = 0;
        insert(upload);
    } else if (!is_ok(answer)) {
        fail_answer(upload, answer);
    } else if (read_answer(&there, upload, answer)) {
        fail(upload, SENDIT_RETRY, "gcs.answer",
             "What Google says of an object is no description of it; is there a proxy between?");
    } else if (!strcmp(there.content, upload->content)) {
        upload->there = there;
        stored(upload);
    } else {
        settle_other(upload, &there);
    }
}

static void look(struct upload *upload)
{
    struct google_request request = {.method = "GET", .idempotent = true};
    char url[GCS_MAX_URL];

    if (++upload->looks > MAX_LOOKS) {
        fail(upload, SENDIT_RETRY, "gcs.unsettled",
             "An object of its name comes and goes; somebody else may be writing there.");
        return;
    }
    if (!object_url(upload->self, upload->name, url)) {
        fail(upload, SENDIT_FAIL, "gcs.request", "The request for an object cannot be made.");
        return;
    }
    request.url = url;
    send_request(upload, &request, on_look);
}

/* ---- it is there: is it what was sent? ---- */

static void on_delete(void *ctx, const struct google_answer *answer)
{
    struct upload *upload = ctx;

    if (answer->end == GOOGLE_ANSWERED && (answer->status == 200 || answer->status == 204 ||
                                           answer->status == 404 || answer->status == 412)) {
        upload->match = 0;
        insert(upload);
    } else {
        fail_answer(upload, answer);
    }
}

/* What Google has under this generation is not what was sent: nobody may find it. */
static void delete_wrong(struct upload *upload, uint64_t generation)
{
    struct google_request request = {.method = "DELETE", .idempotent = true};
    char url[GCS_MAX_URL], full[GCS_MAX_URL + 96];

    upload->self->host->log(upload->self->host, SENDIT_WARN, "gcs.corrupt",
                            "An object is not there as it was sent: it is deleted and sent again.");
    if (!object_url(upload->self, upload->name, url)) {
        fail(upload, SENDIT_FAIL, "gcs.request", "The request for an object cannot be made.");
        return;
    }
    snprintf(full, sizeof(full), "%s?generation=%" PRIu64 "&ifGenerationMatch=%" PRIu64, url,
             generation, generation);
    request.url = full;
    send_request(upload, &request, on_delete);
}

static void take_object(struct upload *upload, const struct google_answer *answer)
{
    struct there there;

    if (read_answer(&there, upload, answer)) {
        look(upload); /* an answer of somebody else's, or half of one */
        return;
    }
    if (there.size != upload->total || there.crc32c != upload->crc32c) {
        delete_wrong(upload, there.generation);
        return;
    }
    memcpy(there.content, upload->content, sizeof(there.content));
    upload->there = there;
    stored(upload);
}

/* Statuses that end an upload of either kind. */
static void refuse(struct upload *upload, const struct google_answer *answer)
{
    if (is_status(answer, 412))
        look(upload);
    else if (is_status(answer, 403) && upload->match && !strstr(answer->reason, "xceeded"))
        conflict(upload, "gcs.retention",
                 "An earlier attempt left an object of its name with other bytes, and the bucket "
                 "does not let it be replaced: look at its retention and holds, and at the role.");
    else
        fail_answer(upload, answer);
}

/* ---- in one request ---- */

static void on_multipart(void *ctx, const struct google_answer *answer)
{
    struct upload *upload = ctx;

    forget_request(upload);
    if (is_ok(answer))
        take_object(upload, answer);
    else
        refuse(upload, answer);
}

static int make_multipart(struct upload *upload)
{
    char *metadata = upload_metadata(upload);

    if (!metadata ||
        asprintf(&upload->before,
                 "--" BOUNDARY "\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n"
                 "--" BOUNDARY "\r\nContent-Type: %s\r\n\r\n",
                 upload->content, metadata, upload->content, upload->type) < 0)
        upload->before = NULL;
    if (asprintf(&upload->after, "\r\n--" BOUNDARY "--\r\n", upload->content) < 0)
        upload->after = NULL;
    free(metadata);
    upload->body = calloc((size_t)upload->n_parts + 2, sizeof(*upload->body));
    if (!upload->before || !upload->after || !upload->body)
        return -1;
    upload->body[0] =
        (struct sendit_part){.data = upload->before, .length = strlen(upload->before), .fd = -1};
    memcpy(upload->body + 1, upload->parts, upload->n_parts * sizeof(*upload->body));
    upload->body[upload->n_parts + 1] =
        (struct sendit_part){.data = upload->after, .length = strlen(upload->after), .fd = -1};
    return 0;
}

static void insert_multipart(struct upload *upload)
{
    char url[GCS_MAX_URL], type[MAX_HEADER];
    const char *const headers[] = {type, NULL};
    struct google_request request = {
        .method = "POST", .url = url, .headers = headers, .idempotent = true};

    if (!upload_url(upload, "multipart", url)) {
        fail(upload, SENDIT_FAIL, "gcs.request", "The request for an object cannot be made.");
        return;
    }
    if (make_multipart(upload)) {
        no_memory(upload);
        return;
    }
    snprintf(type, sizeof(type), "Content-Type: multipart/related; boundary=" BOUNDARY,
             upload->content);
    request.body = upload->body;
    request.n_body = upload->n_parts + 2;
    send_request(upload, &request, on_multipart);
}

/* ---- in a session ---- */

/* It stands where Google says, never where we think. */
static void go_on(struct upload *upload, const char *range)
{
    uint64_t have = google_stored(range);

    if (have > upload->total) {
        insert(upload); /* no session that we know */
        return;
    }
    if (have > upload->sent)
        upload->stalls = 0;
    else if (++upload->stalls > MAX_STALLS) {
        fail(upload, SENDIT_RETRY, "gcs.stalled", "An upload does not get on.");
        return;
    }
    upload->sent = have;
    if (have == upload->total)
        ask_session(upload);
    else
        put_rest(upload);
}

static void on_session(struct upload *upload, const struct google_answer *answer)
{
    if (is_ok(answer)) {
        take_object(upload, answer);
    } else if (is_status(answer, 308)) {
        go_on(upload, answer->range);
    } else if (is_status(answer, 404) || is_status(answer, 410)) {
        insert(upload);
    } else {
        refuse(upload, answer);
    }
}

static void on_asked(void *ctx, const struct google_answer *answer)
{
    on_session(ctx, answer);
}

/* Before another try of a session that did not get on. */
static uint32_t pause_ms(const struct upload *upload)
{
    int64_t pause = upload->self->retry_delay_ms;
    uint32_t more = 0;

    if (upload->stalls < 2)
        return 0;
    for (unsigned i = 2; i < upload->stalls && pause < MAX_PAUSE_MS; i++)
        pause *= 2;
    if (getrandom(&more, sizeof(more), GRND_NONBLOCK) != sizeof(more))
        more = 0;
    pause += (int64_t)(more % (uint32_t)(upload->self->retry_delay_ms + 1));
    return (uint32_t)(pause < MAX_PAUSE_MS ? pause : MAX_PAUSE_MS);
}

static void ask_session(struct upload *upload)
{
    char range[MAX_HEADER];
    const char *const headers[] = {range, NULL};
    struct google_request request = {
        .method = "PUT", .url = upload->session, .headers = headers, .idempotent = true};

    request.delay_ms = pause_ms(upload);
    snprintf(range, sizeof(range), "Content-Range: bytes */%" PRIu64, upload->total);
    send_request(upload, &request, on_asked);
}

static int is_transient(const struct google_answer *answer)
{
    return answer->end == GOOGLE_AWAY ||
           (answer->end == GOOGLE_ANSWERED &&
            (answer->status == 408 || answer->status == 429 || answer->status >= 500));
}

static void on_put(void *ctx, const struct google_answer *answer)
{
    struct upload *upload = ctx;

    free(upload->body);
    upload->body = NULL;
    if (!is_transient(answer)) {
        on_session(upload, answer);
        return;
    }
    if (++upload->stalls > MAX_STALLS)
        fail_answer(upload, answer);
    else
        ask_session(upload);
}

/* The parts from byte `sent` on. */
static int make_rest(struct upload *upload, uint32_t *ret_n)
{
    uint64_t skip = upload->sent;
    uint32_t n = 0;

    upload->body = calloc(upload->n_parts, sizeof(*upload->body));
    if (!upload->body)
        return -1;
    for (uint32_t i = 0; i < upload->n_parts; i++) {
        struct sendit_part part = upload->parts[i];

        if (skip >= part.length) {
            skip -= part.length;
            continue;
        }
        if (part.data)
            part.data = (const char *)part.data + skip;
        else
            part.offset += skip;
        part.length -= skip;
        skip = 0;
        upload->body[n++] = part;
    }
    *ret_n = n;
    return 0;
}

static void put_rest(struct upload *upload)
{
    char range[MAX_HEADER], type[MAX_HEADER];
    const char *const headers[] = {range, type, NULL};
    struct google_request request = {
        .method = "PUT", .url = upload->session, .headers = headers, .no_retry = true};

    if (make_rest(upload, &request.n_body)) {
        no_memory(upload);
        return;
    }
    request.body = upload->body;
    snprintf(range, sizeof(range), "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
             upload->sent, upload->total - 1, upload->total);
    snprintf(type, sizeof(type), "Content-Type: %s", upload->type);
    send_request(upload, &request, on_put);
}

static void on_begun(void *ctx, const struct google_answer *answer)
{
    struct upload *upload = ctx;

    forget_request(upload);
    if (!is_ok(answer)) {
        refuse(upload, answer);
        return;
    }
    if (!answer->location || !*answer->location) {
        fail(upload, SENDIT_RETRY, "gcs.answer",
             "Google began an upload and did not say where; is there a proxy between?");
        return;
    }
    upload->session = strdup(answer->location);
    upload->sent = 0;
    if (upload->session)
        put_rest(upload);
    else
        no_memory(upload);
}

static void begin_session(struct upload *upload)
{
    char url[GCS_MAX_URL], type[MAX_HEADER], length[MAX_HEADER];
    const char *const headers[] = {"Content-Type: application/json; charset=UTF-8", type, length,
                                   NULL};
    struct google_request request = {
        .method = "POST", .url = url, .headers = headers, .n_body = 1, .idempotent = true};

    if (!upload_url(upload, "resumable", url)) {
        fail(upload, SENDIT_FAIL, "gcs.request", "The request for an object cannot be made.");
        return;
    }
    upload->before = upload_metadata(upload);
    upload->body = calloc(1, sizeof(*upload->body));
    if (!upload->before || !upload->body) {
        no_memory(upload);
        return;
    }
    upload->body[0] =
        (struct sendit_part){.data = upload->before, .length = strlen(upload->before), .fd = -1};
    request.body = upload->body;
    snprintf(type, sizeof(type), "X-Upload-Content-Type: %s", upload->type);
    snprintf(length, sizeof(length), "X-Upload-Content-Length: %" PRIu64, upload->total);
    send_request(upload, &request, on_begun);
}

/* ---- one round ---- */

static void insert(struct upload *upload)
{
    forget_request(upload);
    forget_session(upload);
    if (++upload->rounds > MAX_ROUNDS) {
        fail(upload, SENDIT_RETRY, "gcs.unsettled",
             "An object was sent several times, and is not there as it was sent.");
        return;
    }
    if (upload->total <= GCS_MAX_MULTIPART)
        insert_multipart(upload);
    else
        begin_session(upload);
}

void upload_start(struct upload *upload)
{
    insert(upload);
}

/* ---- looking alone ---- */

sendit_verdict object_look(struct sendit_stage_state *self, const char *name, struct there *ret,
                           struct sendit_why *why)
{
    struct google_request request = {.method = "GET", .idempotent = true};
    struct google_answer answer;
    char url[GCS_MAX_URL], what[300];
    json_t *object;
    int wrong;

    if (!object_url(self, name, url))
        return sendit_because(why, SENDIT_FAIL, "gcs.request",
                              "The request for an object cannot be made.");
    request.url = url;
    if (google_send(self->google, &request, &answer) != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "gcs.busy", "An object cannot be looked at.");
    if (is_status(&answer, 404))
        return SENDIT_SKIP;
    snprintf(what, sizeof(what), "the bucket \"%.222s\"", self->bucket);
    if (!is_ok(&answer))
        return google_verdict(&answer, what, GCS_ROLE, why);
    object = json_loadb(answer.body, answer.length, JSON_REJECT_DUPLICATES, NULL);
    wrong = there_read(ret, object, self->bucket, name);
    json_decref(object);
    if (wrong)
        return sendit_because(why, SENDIT_RETRY, "gcs.answer",
                              "What Google says of an object is no description of it; is there a "
                              "proxy between?");
    return SENDIT_PASS;
}
