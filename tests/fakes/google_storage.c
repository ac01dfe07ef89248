/* SPDX-License-Identifier: Apache-2.0 */
/* Cloud Storage: buckets as the script has them, objects as they were uploaded. */
#include "google.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_NAME 1024
#define MAX_METADATA 8192
#define MAX_PAGE 1000
#define ORIGIN "https://storage.googleapis.com"
#define SELF "https://www.googleapis.com" /* whatever the address that was asked */

/* bucket: {name: [record...]}; a record is {"r": the resource, "file", "offset", "live"}.  The live
 * one, if there is one, is the last. */
static json_t *objects;

/* ---- buckets ---- */

static json_t *find_bucket(const char *name)
{
    json_t *one;
    size_t i;

    json_array_foreach(script_get("buckets"), i, one)
    {
        if (!strcmp(json_string_value(json_object_get(one, "name")), name))
            return one;
    }
    return NULL;
}

static int bucket_says(json_t *bucket, const char *group, const char *name)
{
    json_t *at = json_object_get(bucket, group);

    if (!strcmp(name, "uniform"))
        at = json_object_get(json_object_get(at, "uniformBucketLevelAccess"), "enabled");
    else
        at = json_object_get(at, name);
    return json_is_true(at);
}

/* Of a bucket whose requester pays, the project that does. */
static int wrong_payer(struct call *call, json_t *bucket, const json_t *query)
{
    const char *project = json_string_value(json_object_get(query, "userProject"));

    if (!project)
        project = call_header(call, "x-goog-user-project");
    if (!project) {
        if (call->admin || !bucket_says(bucket, "billing", "requesterPays"))
            return 0;
        refuse(call, 400, "required",
               "Bucket is a requester pays bucket but no user project provided.");
        return 1;
    }
    if (script_get("projects") && !script_lists("projects", project)) {
        refuse(call, 400, "invalid", "User project specified in the request is invalid.");
        return 1;
    }
    return !auth_may(call, "serviceusage.services.use", "the project");
}

/* NULL: refused. */
static json_t *open_bucket(struct call *call, const char *name, const json_t *query)
{
    json_t *bucket = find_bucket(name);

    if (!bucket)
        refuse(call, 404, "notFound", "The specified bucket does not exist.");
    else if (wrong_payer(call, bucket, query))
        bucket = NULL;
    return bucket;
}

/* What `fields` says of it; takes the value. */
static void answer_selected(struct call *call, const json_t *query, json_t *value)
{
    const char *fields = json_string_value(json_object_get(query, "fields"));
    json_t *picked = fields ? fields_select(value, fields) : json_incref(value);

    json_decref(value);
    if (picked)
        answer_json(call, 200, picked);
    else
        refuse(call, 400, "invalidParameter", "Invalid field selection %s", fields);
}

void bucket_get(struct call *call)
{
    json_t *bucket, *value;
    char time[40];

    if (!auth_scope(call, "devstorage.read_only devstorage.read_write devstorage.full_control") ||
        !auth_may(call, "storage.buckets.get", "the Google Cloud Storage bucket"))
        return;
    bucket = open_bucket(call, call->args[0], call->query);
    if (!bucket)
        return;
    time_text(time, 1700000000000000);
    value =
        json_pack("{s:s, s:O, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kind", "storage#bucket",
                  "id", json_object_get(bucket, "name"), "location", "US", "locationType",
                  "multi-region", "storageClass", "STANDARD", "timeCreated", time, "updated", time,
                  "metageneration", "1", "projectNumber", "123456789012", "etag", "CAE=");
    json_object_update(value, bucket);
    answer_selected(call, call->query, value);
}

/* Those of the permissions that the caller has; whoever has none is told so, too. */
void bucket_test_permissions(struct call *call)
{
    const json_t *asked = json_object_get(call->query, "permissions"), *one;
    json_t *has;
    size_t i;

    if (!auth_scope(call, "devstorage.read_only devstorage.read_write devstorage.full_control") ||
        !open_bucket(call, call->args[0], call->query))
        return;
    if (!json_array_size(asked)) {
        refuse(call, 400, "required", "Required parameter: permissions");
        return;
    }
    has = json_array();
    json_array_foreach(asked, i, one)
    {
        if (strncmp(json_string_value(one), "storage.", 8) != 0) {
            json_decref(has);
            refuse(call, 400, "invalidParameter", "Permission %s is not valid for this resource.",
                   json_string_value(one));
            return;
        }
        if (auth_has(call, json_string_value(one)))
            json_array_append_new(has, json_string(json_string_value(one)));
    }
    one = json_array_size(has) ? has : NULL; /* an empty list is left out, as Google does it */
    answer_json(
        call, 200,
        json_pack("{s:s, s:O*}", "kind", "storage#testIamPermissionsResponse", "permissions", one));
    json_decref(has);
}

/* ---- objects ---- */

static json_t *versions_of(const char *bucket, const char *name)
{
    return json_object_get(json_object_get(objects, bucket), name);
}

static json_t *live_of(const char *bucket, const char *name)
{
    json_t *versions = versions_of(bucket, name);
    json_t *last = json_array_get(versions, json_array_size(versions) - 1);

    return json_is_true(json_object_get(last, "live")) ? last : NULL;
}

static const char *text_of(const json_t *record, const char *name)
{
    return json_string_value(json_object_get(json_object_get(record, "r"), name));
}

static void drop_bytes(json_t *record)
{
    const char *file = json_string_value(json_object_get(record, "file"));
    char path[4096];

    snprintf(path, sizeof(path), "%s/data/%s", google.folder, file ? file : "");
    if (file && *file)
        unlink(path);
}

/* The live one is none any more; whether it is kept. */
static void retire(const char *bucket, const char *name, int keep)
{
    json_t *versions = versions_of(bucket, name), *live = live_of(bucket, name);

    if (!live)
        return;
    if (keep) {
        json_object_set_new(live, "live", json_false());
        return;
    }
    drop_bytes(live);
    json_array_remove(versions, json_array_size(versions) - 1);
}

/* "object": a new one; "object_gone": it was deleted. */
void storage_replay(const char *what, json_t *value)
{
    const char *bucket = json_string_value(json_object_get(value, "bucket"));
    const char *name = json_string_value(json_object_get(value, "name"));
    int keep = json_is_true(json_object_get(value, "keep"));
    json_t *names, *versions;

    if (!objects)
        objects = json_object();
    names = json_object_get(objects, bucket);
    if (!names) {
        names = json_object();
        json_object_set_new(objects, bucket, names);
    }
    versions = json_object_get(names, name);
    if (!versions) {
        versions = json_array();
        json_object_set_new(names, name, versions);
    }
    retire(bucket, name, keep);
    if (!strcmp(what, "object"))
        json_array_append(versions, json_object_get(value, "record"));
}

static json_t *find_version(struct call *call, const char *bucket, const char *name)
{
    const char *generation = call_query(call, "generation");
    json_t *versions = versions_of(bucket, name), *one;
    size_t i;

    if (!generation)
        return live_of(bucket, name);
    json_array_foreach(versions, i, one)
    {
        if (!strcmp(text_of(one, "generation"), generation))
            return one;
    }
    return NULL;
}

/* ---- preconditions ---- */

static int is_number(const char *text)
{
    return *text && strlen(text) < 20 && !text[strspn(text, "0123456789")];
}

/* 0 for "not there", as Google has it. */
static int wrong_condition(struct call *call, const json_t *query, const json_t *live)
{
    static const struct {
        const char *name, *of;
        int equal;
    } all[] = {{"ifGenerationMatch", "generation", 1},
               {"ifGenerationNotMatch", "generation", 0},
               {"ifMetagenerationMatch", "metageneration", 1},
               {"ifMetagenerationNotMatch", "metageneration", 0}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const char *wanted = json_string_value(json_object_get(query, all[i].name));
        const char *is = live ? text_of(live, all[i].of) : "0";

        if (!wanted)
            continue;
        if (!is_number(wanted)) {
            refuse(call, 400, "invalidParameter", "Invalid value for %s", all[i].name);
            return 1;
        }
        if ((strcmp(is, wanted) == 0) != all[i].equal) {
            refuse(call, 412, "conditionNotMet",
                   "At least one of the pre-conditions you specified did not hold.");
            return 1;
        }
    }
    return 0;
}

/* ---- what an object may be ---- */

static int is_utf8(const char *text)
{
    json_t *value = json_string(text);

    json_decref(value);
    return value != NULL;
}

static int is_name(const char *name)
{
    return *name && strlen(name) <= MAX_NAME && !strpbrk(name, "\r\n") && strcmp(name, ".") &&
           strcmp(name, "..") && strncmp(name, ".well-known/acme-challenge/", 27) && is_utf8(name);
}

static int is_one_of(const char *text, const char *const *words)
{
    while (*words && strcmp(*words, text))
        words++;
    return *words != NULL;
}

static int wrong_metadata(struct call *call, json_t *metadata)
{
    const char *key;
    json_t *value;
    size_t n = 0;

    if (metadata && !json_is_object(metadata)) {
        refuse(call, 400, "invalid", "Invalid value for metadata");
        return 1;
    }
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value) || !*key) {
            refuse(call, 400, "invalid", "Invalid value for metadata");
            return 1;
        }
        n += strlen(key) + json_string_length(value);
    }
    if (n > MAX_METADATA) {
        refuse(call, 400, "invalid", "The metadata are over 8 KiB.");
        return 1;
    }
    return 0;
}

/* Of projects/P/locations/L/keyRings/R/cryptoKeys/K. */
static int wrong_key(struct call *call, const char *key)
{
    char p[64], l[64], r[64], k[64], rest;

    if (!key)
        return 0;
    if (sscanf(key, "projects/%63[^/]/locations/%63[^/]/keyRings/%63[^/]/cryptoKeys/%63[^/]%c", p,
               l, r, k, &rest) != 4)
        refuse(call, 400, "invalid", "Malformed Cloud KMS crypto key: %s", key);
    else if (script_lists("disabled_keys", key))
        refuse(call, 400, "invalid",
               "The Cloud KMS key is not enabled, current state is: DISABLED.");
    else if (script_get("keys") && !script_lists("keys", key))
        refuse(call, 403, "forbidden",
               "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service "
               "account has been authorized to use this key.");
    return call->answer.status != 0;
}

static int wrong_acl(struct call *call, json_t *bucket, const json_t *query, json_t *resource)
{
    static const char *const words[] = {"authenticatedRead",
                                        "bucketOwnerFullControl",
                                        "bucketOwnerRead",
                                        "private",
                                        "projectPrivate",
                                        "publicRead",
                                        NULL};
    const char *acl = json_string_value(json_object_get(query, "predefinedAcl"));

    if (acl && !is_one_of(acl, words))
        refuse(call, 400, "invalid", "Invalid value for predefinedAcl: %s", acl);
    else if ((acl || json_object_get(resource, "acl")) &&
             bucket_says(bucket, "iamConfiguration", "uniform"))
        refuse(
            call, 400, "invalid",
            "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled. "
            "Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access");
    return call->answer.status != 0;
}

/* Members of the resource: known, and of the right kind. */
static int wrong_members(struct call *call, json_t *resource)
{
    static const char *const texts[] = {"name",
                                        "bucket",
                                        "contentType",
                                        "crc32c",
                                        "md5Hash",
                                        "storageClass",
                                        "cacheControl",
                                        "customTime",
                                        "kmsKeyName",
                                        "contentDisposition",
                                        "contentEncoding",
                                        "contentLanguage",
                                        NULL};
    static const char *const others[] = {
        "metadata", "acl", "temporaryHold", "eventBasedHold", "retention", "contexts", NULL};
    static const char *const classes[] = {"STANDARD",
                                          "NEARLINE",
                                          "COLDLINE",
                                          "ARCHIVE",
                                          "REGIONAL",
                                          "MULTI_REGIONAL",
                                          "DURABLE_REDUCED_AVAILABILITY",
                                          NULL};
    const char *key, *class = json_string_value(json_object_get(resource, "storageClass"));
    json_t *value;

    json_object_foreach(resource, key, value)
    {
        int text = is_one_of(key, texts);

        if ((!text && !is_one_of(key, others)) || (text && !json_is_string(value))) {
            refuse(call, 400, "invalid", "Invalid value for: %s", key);
            return 1;
        }
    }
    if (class && !is_one_of(class, classes)) {
        refuse(call, 400, "invalid", "Invalid storage class: %s", class);
        return 1;
    }
    return wrong_metadata(call, json_object_get(resource, "metadata"));
}

static const char *name_of(const json_t *query, const json_t *resource)
{
    const char *name = json_string_value(json_object_get(query, "name"));

    return name ? name : json_string_value(json_object_get(resource, "name"));
}

static int wrong_name(struct call *call, const char *bucket, const json_t *query, json_t *resource)
{
    const char *name = name_of(query, resource);
    const char *own = json_string_value(json_object_get(resource, "name"));
    const char *home = json_string_value(json_object_get(resource, "bucket"));

    if (!name)
        refuse(call, 400, "required", "Required object name.");
    else if (!is_name(name))
        refuse(call, 400, "invalid",
               "The specified object name is not valid: it has %zu bytes of at most %d, or what no "
               "name may have.",
               strlen(name), MAX_NAME);
    else if ((own && strcmp(own, name)) || (home && strcmp(home, bucket)))
        refuse(call, 400, "invalid", "Value in the resource differs from that of the request.");
    return call->answer.status != 0;
}

static int is_held(struct call *call, json_t *bucket, const json_t *live)
{
    json_t *policy = json_object_get(bucket, "retentionPolicy"), *r = json_object_get(live, "r");
    const char *period = json_string_value(json_object_get(policy, "retentionPeriod"));
    int64_t stored = strtoll(text_of(live, "generation"), NULL, 10);

    if (json_is_true(json_object_get(r, "temporaryHold")) ||
        json_is_true(json_object_get(r, "eventBasedHold")))
        refuse(call, 403, "forbidden",
               "Object is under active hold and cannot be deleted or "
               "overwritten.");
    else if (period && now_us() < stored + strtoll(period, NULL, 10) * 1000000)
        refuse(call, 403, "retentionPolicyNotMet",
               "Object is subject to bucket's retention policy or object retention and cannot be "
               "deleted or overwritten until it has passed.");
    return call->answer.status != 0;
}

int storage_starts(struct call *call, const char *name, const json_t *query, json_t *resource)
{
    json_t *bucket, *live;
    const char *key = json_string_value(json_object_get(query, "kmsKeyName"));

    if (!auth_scope(call, "devstorage.read_write devstorage.full_control") ||
        !auth_may(call, "storage.objects.create", "the Google Cloud Storage object"))
        return -1;
    bucket = open_bucket(call, name, query);
    if (!bucket || wrong_name(call, name, query, resource) || wrong_members(call, resource) ||
        wrong_acl(call, bucket, query, resource) ||
        wrong_key(call, key ? key : json_string_value(json_object_get(resource, "kmsKeyName"))))
        return -1;
    live = live_of(name, name_of(query, resource));
    if (wrong_condition(call, query, live))
        return -1;
    if (live && (!auth_may(call, "storage.objects.delete", "the Google Cloud Storage object") ||
                 is_held(call, bucket, live)))
        return -1;
    return 0;
}

/* ---- the bytes ---- */

static void crc_text(char to[16], uint32_t crc)
{
    const unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                                    (unsigned char)(crc >> 8), (unsigned char)crc};

    EVP_EncodeBlock((unsigned char *)to, bytes, 4);
}

static int wrong_hash(struct call *call, const char *what, const char *said, const char *is)
{
    if (!said || !*is || !strcmp(said, is))
        return 0;
    refuse(call, 400, "invalid", "Provided %s \"%s\" doesn't match calculated %s \"%s\".", what,
           said, what, is);
    return 1;
}

/* Of "crc32c=..., md5=..." */
static int wrong_header_hash(struct call *call, const char *crc, const char *md5)
{
    const char *text = call_header(call, "x-goog-hash");
    char name[16], value[64];
    int n = 0;

    while (text && *text) {
        if (sscanf(text, " %15[a-z0-9]=%63[A-Za-z0-9+/=]%n", name, value, &n) != 2) {
            refuse(call, 400, "invalid", "Invalid x-goog-hash header.");
            return 1;
        }
        if (wrong_hash(call, name, value, !strcmp(name, "md5") ? md5 : crc))
            return 1;
        text += n;
        text += *text == ',';
    }
    return 0;
}

static void put_times(json_t *resource)
{
    static const char *const names[] = {"timeCreated", "updated", "timeStorageClassUpdated",
                                        "timeFinalized"};
    char time[40];

    time_text(time, now_us());
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        json_object_set_new(resource, names[i], json_string(time));
}

static void put_links(json_t *r, const char *bucket, const char *name, const char *generation)
{
    char escaped[3 * MAX_NAME + 1];

    percent_encode(escaped, sizeof(escaped), name);
    json_object_set_new(r, "id", json_sprintf("%s/%s/%s", bucket, name, generation));
    json_object_set_new(r, "selfLink", json_sprintf(SELF "/storage/v1/b/%s/o/%s", bucket, escaped));
    json_object_set_new(r, "mediaLink",
                        json_sprintf(ORIGIN
                                     "/download/storage/v1/b/%s/o/%s?generation=%s&alt=media",
                                     bucket, escaped, generation));
    json_object_set_new(r, "etag", json_sprintf("%s=", generation));
}

static json_t *make_resource(json_t *bucket, const char *name, const json_t *query,
                             const json_t *asked, const struct media *media, const char *crc,
                             const char *md5)
{
    const char *key = json_string_value(json_object_get(query, "kmsKeyName"));
    json_t *r = json_deep_copy(asked);
    const char *home = json_string_value(json_object_get(bucket, "name"));
    const char *class = json_string_value(json_object_get(bucket, "storageClass"));
    char generation[32];

    snprintf(generation, sizeof(generation), "%lld", (long long)next_generation());
    json_object_update_new(r, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:s*}", "kind",
                                        "storage#object", "name", name, "bucket", home,
                                        "generation", generation, "metageneration", "1", "size",
                                        json_sprintf("%llu", (unsigned long long)media->length),
                                        "crc32c", crc, "md5Hash", *md5 ? md5 : NULL));
    if (!json_object_get(r, "contentType") && media->type[0])
        json_object_set_new(r, "contentType", json_string(media->type));
    if (!json_object_get(r, "storageClass"))
        json_object_set_new(r, "storageClass", json_string(class ? class : "STANDARD"));
    if (!key)
        key = json_string_value(json_object_get(asked, "kmsKeyName"));
    if (!key)
        key = json_string_value(
            json_object_get(json_object_get(bucket, "encryption"), "defaultKmsKeyName"));
    if (key)
        json_object_set_new(r, "kmsKeyName", json_sprintf("%s/cryptoKeyVersions/1", key));
    json_object_del(r, "acl");
    put_times(r);
    put_links(r, home, name, generation);
    return r;
}

static int wrong_bytes(struct call *call, const json_t *asked, const struct media *media,
                       const char *crc, const char *md5)
{
    const char *type = json_string_value(json_object_get(asked, "contentType"));

    if (wrong_hash(call, "CRC32C", json_string_value(json_object_get(asked, "crc32c")), crc) ||
        wrong_hash(call, "MD5 hash", json_string_value(json_object_get(asked, "md5Hash")), md5) ||
        wrong_header_hash(call, crc, md5))
        return 1;
    if (type && media->type[0] && strcmp(type, media->type)) {
        refuse(call, 400, "invalid",
               "Content-Type specified in the upload (%s) does not match Content-Type specified in "
               "metadata (%s).",
               media->type, type);
        return 1;
    }
    return 0;
}

void storage_commit(struct call *call, const char *home, const json_t *query,
                    const json_t *resource, const struct media *media)
{
    json_t *bucket = find_bucket(home), *r, *live, *entry;
    const char *name = name_of(query, resource);
    char crc[16], md5[32] = "";

    crc_text(crc, media->crc32c);
    if (!google.discard)
        EVP_EncodeBlock((unsigned char *)md5, media->md5, 16);
    if (!bucket) {
        refuse(call, 404, "notFound", "The specified bucket does not exist.");
        return;
    }
    /* It may have come into being since the upload began. */
    live = live_of(home, name);
    if (wrong_bytes(call, resource, media, crc, md5) || wrong_condition(call, query, live) ||
        (live && is_held(call, bucket, live)))
        return;
    r = make_resource(bucket, name, query, resource, media, crc, md5);
    entry = json_pack("{s:s, s:s, s:b, s:O, s:{s:o, s:s, s:I, s:b}}", "bucket", home, "name", name,
                      "keep", bucket_says(bucket, "versioning", "enabled"), "generation",
                      json_object_get(r, "generation"), "record", "r", r, "file", media->file,
                      "offset", (json_int_t)media->offset, "live", 1);
    storage_replay("object", entry);
    /* With those that the upload began with. */
    answer_selected(call, query, json_deep_copy(r));
    journal_write("object", entry);
}

/* ---- reading ---- */

static int part_of(struct call *call, size_t size, uint64_t *from, size_t *n)
{
    const char *text = call_header(call, "Range");
    unsigned long long first = 0, last = 0;
    int got = text ? sscanf(text, "bytes=%llu-%llu", &first, &last) : 0;

    *from = 0;
    *n = size;
    if (got < 1)
        return 200;
    if (first >= size) {
        refuse(call, 416, "requestedRangeNotSatisfiable", "Request range not satisfiable");
        return 416;
    }
    if (got == 1 || last >= size)
        last = size - 1;
    *from = first;
    *n = (size_t)(last - first + 1);
    answer_header(call, "Content-Range", "bytes %llu-%llu/%zu", first, last, size);
    return 206;
}

static void answer_bytes(struct call *call, const json_t *record)
{
    const char *file = json_string_value(json_object_get(record, "file"));
    const char *type = text_of(record, "contentType"), *md5 = text_of(record, "md5Hash");
    size_t size = (size_t)strtoull(text_of(record, "size"), NULL, 10), n = 0;
    uint64_t from = 0;
    int status = part_of(call, size, &from, &n);
    char *path = NULL;

    if (status == 416)
        return;
    if (size && (!file || !*file)) {
        refuse(call, 500, "internalError", "The bytes were not kept.");
        return;
    }
    answer_header(call, "x-goog-hash", "crc32c=%s%s%s", text_of(record, "crc32c"),
                  md5 ? ",md5=" : "", md5 ? md5 : "");
    answer_header(call, "x-goog-generation", "%s", text_of(record, "generation"));
    answer_header(call, "x-goog-stored-content-length", "%zu", size);
    answer_header(call, "x-goog-stored-content-encoding", "%s",
                  text_of(record, "contentEncoding") ? text_of(record, "contentEncoding")
                                                     : "identity");
    call->answer.status = (unsigned)status;
    call->answer.length = n;
    snprintf(call->answer.type, sizeof(call->answer.type), "%s",
             type ? type : "application/octet-stream");
    if (size && asprintf(&path, "%s/data/%s", google.folder, file) > 0)
        call->answer.path = path;
    call->answer.offset = (uint64_t)json_integer_value(json_object_get(record, "offset")) + from;
}

void object_begin(struct call *call)
{
    const char *alt = call_query(call, "alt");

    if (alt && !strcmp(alt, "media"))
        call->op = "storage.objects.download";
}

void object_get(struct call *call)
{
    const char *alt = call_query(call, "alt");
    json_t *record;

    if (!auth_scope(call, "devstorage.read_only devstorage.read_write devstorage.full_control") ||
        !auth_may(call, "storage.objects.get", "the Google Cloud Storage object") ||
        !open_bucket(call, call->args[0], call->query))
        return;
    record = find_version(call, call->args[0], call->args[1]);
    if (!record) {
        refuse(call, 404, "notFound", "No such object: %s/%s", call->args[0], call->args[1]);
        return;
    }
    if (wrong_condition(call, call->query, record))
        return;
    if (alt && !strcmp(alt, "media"))
        answer_bytes(call, record);
    else
        answer_selected(call, call->query, json_deep_copy(json_object_get(record, "r")));
}

void object_delete(struct call *call)
{
    const char *home = call->args[0], *name = call->args[1];
    json_t *bucket, *record, *entry;
    int keep;

    if (!auth_scope(call, "devstorage.read_write devstorage.full_control") ||
        !auth_may(call, "storage.objects.delete", "the Google Cloud Storage object"))
        return;
    bucket = open_bucket(call, home, call->query);
    if (!bucket)
        return;
    record = find_version(call, home, name);
    if (!record || !json_is_true(json_object_get(record, "live"))) {
        refuse(call, 404, "notFound", "No such object: %s/%s", home, name);
        return;
    }
    if (wrong_condition(call, call->query, record) || is_held(call, bucket, record))
        return;
    keep = bucket_says(bucket, "versioning", "enabled") && !call_query(call, "generation");
    entry = json_pack("{s:s, s:s, s:b}", "bucket", home, "name", name, "keep", keep);
    storage_replay("object_gone", entry);
    journal_write("object_gone", entry);
    answer_json(call, 204, NULL);
    call->answer.type[0] = '\0';
}

/* ---- listing ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in the order of their bytes, of the heap; the names themselves are not. */
static const char **sorted_names(json_t *names, size_t *ret_n)
{
    size_t n = json_object_size(names), i = 0;
    const char **list = calloc(n + 1, sizeof(*list)), *name;
    json_t *value;

    if (!list)
        abort();
    json_object_foreach(names, name, value) list[i++] = name;
    qsort(list, n, sizeof(*list), by_text);
    *ret_n = n;
    return list;
}

/* What is given for one name: its versions, or the prefix that it falls under. */
static void list_one(json_t *items, json_t *prefixes, const char *name, json_t *versions,
                     const char *prefix, const char *delimiter, int all)
{
    const char *rest = name + strlen(prefix);
    const char *cut = delimiter && *delimiter ? strstr(rest, delimiter) : NULL;
    json_t *one, *text;
    size_t i;

    if (cut && json_array_size(versions)) {
        text = json_stringn(name, (size_t)(cut - name) + strlen(delimiter));
        one = json_array_get(prefixes, json_array_size(prefixes) - 1);
        if (!one || !json_equal(one, text))
            json_array_append(prefixes, text);
        json_decref(text);
        return;
    }
    json_array_foreach(versions, i, one)
    {
        if (all || json_is_true(json_object_get(one, "live")))
            json_array_append_new(items, json_deep_copy(json_object_get(one, "r")));
    }
}

static size_t page_size(struct call *call)
{
    const char *text = call_query(call, "maxResults");
    int64_t most = script_number("page_size", MAX_PAGE);
    int64_t n = text ? strtoll(text, NULL, 10) : most;

    return (size_t)(n > 0 && n < most ? n : most);
}

/* The token is the last name, in hexadecimal. */
static char *read_token(const char *token)
{
    size_t n = strlen(token) / 2;
    char *name = calloc(1, n + 1);

    for (size_t i = 0; name && i < n; i++) {
        unsigned byte = 0;

        if (sscanf(token + 2 * i, "%2x", &byte) != 1) {
            free(name);
            return NULL;
        }
        name[i] = (char)byte;
    }
    return name;
}

static json_t *make_token(const char *name)
{
    char text[2 * MAX_NAME + 1];
    size_t n = strlen(name);

    for (size_t i = 0; i < n && i < MAX_NAME; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned char)name[i]);
    return json_string(text);
}

static json_t *make_list(struct call *call, const char *after)
{
    const char *prefix = call_query(call, "prefix"), *delimiter = call_query(call, "delimiter");
    const char *all = call_query(call, "versions");
    json_t *names = json_object_get(objects, call->args[0]);
    json_t *items = json_array(), *prefixes = json_array();
    json_t *list = json_pack("{s:s}", "kind", "storage#objects");
    size_t n, most = page_size(call);
    const char **sorted = sorted_names(names, &n), *last = NULL;

    if (!prefix)
        prefix = "";
    for (size_t i = 0; i < n; i++) {
        if (strncmp(sorted[i], prefix, strlen(prefix)) || strcmp(sorted[i], after) <= 0)
            continue;
        if (json_array_size(items) + json_array_size(prefixes) >= most) {
            json_object_set_new(list, "nextPageToken", make_token(last));
            break;
        }
        list_one(items, prefixes, sorted[i], json_object_get(names, sorted[i]), prefix, delimiter,
                 all && !strcmp(all, "true"));
        last = sorted[i];
    }
    if (json_array_size(items))
        json_object_set(list, "items", items);
    if (json_array_size(prefixes))
        json_object_set(list, "prefixes", prefixes);
    json_decref(items);
    json_decref(prefixes);
    free(sorted);
    return list;
}

void object_list(struct call *call)
{
    const char *token = call_query(call, "pageToken");
    char *after;

    if (!auth_scope(call, "devstorage.read_only devstorage.read_write devstorage.full_control") ||
        !auth_may(call, "storage.objects.list", "the Google Cloud Storage bucket") ||
        !open_bucket(call, call->args[0], call->query))
        return;
    after = token ? read_token(token) : strdup("");
    if (after)
        answer_selected(call, call->query, make_list(call, after));
    else
        refuse(call, 400, "invalid", "Invalid page token.");
    free(after);
}
