/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs-store: takes images to a bucket of Google Cloud Storage, one archive per study or one object
 * per instance, each exactly once.
 */
#include "gcs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KMS_KEY 512
#define MAX_PROJECT_ID 100
#define SPOOL "archive"
#define COPIES "copies"

static const struct sendit_option options[] = {
    {"bucket", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED, NULL, NULL,
     "The bucket; it has to be there."},
    {"collection", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED, NULL, NULL,
     "What the images are collected for, such as IRB12345."},
    {"project", SENDIT_OPT_STRING, SENDIT_OPT_REQUIRED, NULL, NULL, "The project of the bucket."},
    {"mode", SENDIT_OPT_CHOICE, 0, "archive", "archive|instance",
     "One archive per study, or one object per instance."},
    {"archive_name", SENDIT_OPT_STRING, 0,
     "Collection/{COLLECTION}/Entity/{entity}/{entity}_{date}_{item}.tar.gz", NULL,
     "The name of an archive."},
    {"member_name", SENDIT_OPT_STRING, 0, "{accession}_{series}_{instance}.dcm", NULL,
     "The name of an image in it, below a folder that is called as the archive."},
    {"instance_name", SENDIT_OPT_STRING, 0,
     "Collection/{COLLECTION}/Entity/{entity}/{entity}_{date}_{item}/"
     "{accession}_{series}_{instance}.dcm",
     NULL, "The name of the object of an instance."},
    {"storage_class", SENDIT_OPT_CHOICE, 0, NULL, "STANDARD|NEARLINE|COLDLINE|ARCHIVE",
     "The storage class of objects, if not the bucket's."},
    {"kms_key", SENDIT_OPT_STRING, 0, NULL, NULL,
     "The key that encrypts objects, if not the bucket's: "
     "projects/P/locations/L/keyRings/R/cryptoKeys/K."},
    {"metadata", SENDIT_OPT_JSON, 0, NULL, NULL,
     "Custom metadata of each object: an object of texts, none of them about an image."},
    {"predefined_acl", SENDIT_OPT_CHOICE, 0, NULL,
     "projectPrivate|private|bucketOwnerRead|bucketOwnerFullControl|authenticatedRead",
     "An ACL for each object, for buckets without uniform access."},
    {"dry_run", SENDIT_OPT_PATH, 0, NULL, NULL,
     "A folder: requests are written there, and nothing is sent."},
    GOOGLE_OPTIONS("https://storage.googleapis.com", "STORAGE_EMULATOR_HOST"),
};

/* ---- for both modes ---- */

sendit_verdict because_of_pack(const struct sendit_stage_state *self, enum pack_result result,
                               struct sendit_why *why)
{
    int error = errno;

    (void)self;
    switch (result) {
    case PACK_SOURCE:
        return sendit_because(why, SENDIT_QUARANTINE, "gcs.source",
                              "The original changed or went away while it was read.");
    case PACK_BROKEN:
        return sendit_because(why, SENDIT_FAIL, "gcs.spool",
                              "An archive is not what was packed: look at the memory and the disk "
                              "of the state folder.");
    case PACK_PLACE:
        if (error == ENOSPC || error == EDQUOT || error == EFBIG)
            return sendit_because(why, SENDIT_FAIL, "gcs.no_room",
                                  "There is no room in the state folder to pack an archive: make "
                                  "some and run again.");
        return sendit_because(why, SENDIT_FAIL, "gcs.place",
                              "An archive cannot be packed in the state folder: %s.",
                              strerror(error));
    default:
        return sendit_because(why, SENDIT_RETRY, "gcs.busy", "There is no memory.");
    }
}

sendit_result find_packed(struct sendit_stage_state *self, const char *item)
{
    const char *value;

    return self->facts->get(self->host, item, GCS_PACKED, &value);
}

sendit_verdict tell_stored(struct sendit_stage_state *self, const char *item, const char *object,
                           const struct there *there, struct sendit_why *why)
{
    char name[GCS_MAX_NAME + 1], generation[GCS_GENERATION], crc[CRC32C_TEXT];
    sendit_result r;

    snprintf(name, sizeof(name), "gs://%s/%s", self->bucket, object);
    snprintf(generation, sizeof(generation), "%" PRIu64, there->generation);
    crc32c_text(there->crc32c, crc);
    r = self->facts->put(self->host, item, "store.object", name);
    if (r == SENDIT_OK)
        r = self->facts->put(self->host, item, "store.generation", generation);
    if (r == SENDIT_OK)
        r = self->facts->put(self->host, item, "store.crc32c", crc);
    if (r == SENDIT_OK)
        return SENDIT_PASS;
    return sendit_because(why, r == SENDIT_EINVAL ? SENDIT_FAIL : SENDIT_RETRY, "gcs.ledger",
                          "Where an image is stored cannot be noted.");
}

/* ---- options ---- */

static sendit_verdict wrong_metadata(struct sendit_why *why, const char *what)
{
    return sendit_because(why, SENDIT_FAIL, "gcs.metadata", "\"metadata\" %s.", what);
}

/* NULL for none; *ret is the caller's. */
static sendit_verdict read_metadata(const char *text, json_t **ret, struct sendit_why *why)
{
    json_t *object = text ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL) : NULL;
    size_t bytes = 2 * PACK_CONTENT + 2 * SENDIT_ID_SIZE; /* ours */
    const char *wrong = NULL, *key;
    const json_t *value;

    if (text && !json_is_object(object))
        wrong = "is no object, such as { \"study\": \"s1\" }";
    else if (text)
        json_object_foreach((json_t *)object, key, value)
        {
            if (!json_is_string(value))
                wrong = "has something else than texts";
            else if (!*key || !strncmp(key, "sendit-", 7))
                wrong = "has an empty name, or one that begins with sendit-, which is ours";
            bytes += strlen(key) + json_string_length(value);
        }
    if (!wrong && bytes > GCS_MAX_METADATA)
        wrong = "has more than the 8 KiB that Google takes";
    if (wrong) {
        json_decref(object);
        return wrong_metadata(why, wrong);
    }
    *ret = object;
    return SENDIT_PASS;
}

static int is_kms_key(const char *key)
{
    return !strncmp(key, "projects/", 9) && strstr(key, "/locations/") &&
           strstr(key, "/keyRings/") && strstr(key, "/cryptoKeys/") && strlen(key) <= MAX_KMS_KEY &&
           !strpbrk(key, " \t\r\n");
}

/* As Google has ids of projects, with a domain before them in old ones. */
static int is_project(const char *project)
{
    size_t n = strspn(project, "abcdefghijklmnopqrstuvwxyz0123456789-.:");

    return n && n <= MAX_PROJECT_ID && !project[n];
}

static sendit_verdict read_options(struct sendit_stage_state *self, const struct sendit_host *host,
                                   struct sendit_why *why)
{
    const struct sendit_config *config = SENDIT_SERVICE(host, config);
    sendit_verdict verdict = gcs_names_init(&self->names, host, why);

    if (verdict != SENDIT_PASS)
        return verdict;
    self->host = host;
    self->bucket = config->text(host, "bucket");
    self->project = config->text(host, "project");
    self->retry_delay_ms = config->number(host, "retry_delay");
    self->mode = (enum gcs_mode)config->number(host, "mode");
    self->storage_class = config->text(host, "storage_class");
    self->acl = config->text(host, "predefined_acl");
    self->kms_key = config->text(host, "kms_key");
    self->dry_run = config->text(host, "dry_run");
    if (!is_project(self->project))
        return sendit_because(why, SENDIT_FAIL, "gcs.project",
                              "\"project\" is no id of a project, such as \"my-project\".");
    if (self->kms_key && !is_kms_key(self->kms_key))
        return sendit_because(why, SENDIT_FAIL, "gcs.kms_key",
                              "\"kms_key\" is no name of a key: "
                              "projects/P/locations/L/keyRings/R/cryptoKeys/K.");
    return read_metadata(config->json(host, "metadata"), &self->metadata, why);
}

/* ---- check ---- */

/* Which of what it needs the account may do; no more than that is asked, and nothing changed. */
static sendit_verdict judge_permissions(const struct sendit_stage_state *self, const json_t *answer,
                                        struct sendit_why *why)
{
    static const char *const needed[] = {"storage.objects.create", "storage.objects.get",
                                         "storage.objects.delete", "storage.objects.list"};
    const json_t *permissions = json_object_get(answer, "permissions"), *one;
    size_t i;

    if (!json_is_object(answer))
        return sendit_because(why, SENDIT_RETRY, "gcs.answer",
                              "What Google says of the bucket is no answer; is there a proxy "
                              "between?");
    for (size_t n = 0; n < sizeof(needed) / sizeof(needed[0]); n++) {
        bool found = false;

        json_array_foreach(permissions, i, one) found =
            found || (json_is_string(one) && !strcmp(json_string_value(one), needed[n]));
        if (!found)
            return sendit_because(why, SENDIT_FAIL, "gcs.permission",
                                  "The account lacks %s on the bucket \"%.63s\": give it " GCS_ROLE
                                  " there.",
                                  needed[n], self->bucket);
    }
    return SENDIT_PASS;
}

static sendit_verdict ask_bucket(struct sendit_stage_state *self, struct sendit_why *why)
{
    struct google_request request = {.method = "GET", .idempotent = true};
    struct google_answer answer;
    char url[GCS_MAX_URL], what[400];
    json_t *object;
    sendit_verdict verdict;

    snprintf(url, sizeof(url),
             "%s/storage/v1/b/%s/iam/testPermissions?permissions=storage.objects.create"
             "&permissions=storage.objects.get&permissions=storage.objects.delete"
             "&permissions=storage.objects.list",
             google_endpoint(self->google), self->bucket);
    request.url = url;
    if (google_send(self->google, &request, &answer) != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "gcs.busy", "The bucket cannot be asked for.");
    snprintf(what, sizeof(what), "the bucket \"%.63s\" in the project \"%.63s\"", self->bucket,
             self->project);
    if (answer.end != GOOGLE_ANSWERED || answer.status != 200)
        return google_verdict(&answer, what, GCS_ROLE, why);
    object = json_loadb(answer.body, answer.length, JSON_REJECT_DUPLICATES, NULL);
    verdict = judge_permissions(self, object, why);
    json_decref(object);
    return verdict;
}

static sendit_verdict check(const struct sendit_host *host, int online, struct sendit_why *why)
{
    struct sendit_stage_state self = {0};
    sendit_verdict verdict = read_options(&self, host, why);

    if (verdict == SENDIT_PASS && !self.dry_run)
        verdict = google_check(host, 0, GCS_SCOPE, why); /* a token is got below */
    if (verdict == SENDIT_PASS && online && !self.dry_run) {
        verdict = google_open(host, GCS_SCOPE, &self.google, why);
        if (verdict == SENDIT_PASS) {
            google_hurry(self.google);
            verdict = ask_bucket(&self, why);
        }
        google_close(self.google);
    }
    json_decref(self.metadata);
    return verdict;
}

/* ---- the other callbacks ---- */

static void stop(struct sendit_stage_state *self)
{
    archive_forget(self);
    google_close(self->google);
    pack_free(self->pack);
    json_decref(self->metadata);
    free(self->list);
    free(self);
}

static sendit_verdict init(struct sendit_stage_state *self, const struct sendit_host *host,
                           struct sendit_why *why)
{
    sendit_verdict verdict = read_options(self, host, why);

    if (verdict != SENDIT_PASS)
        return verdict;
    self->files = SENDIT_SERVICE(host, files);
    self->facts = SENDIT_SERVICE(host, facts);
    self->spool = SENDIT_SERVICE(host, spool);
    self->store = SENDIT_SERVICE(host, store);
    self->http = SENDIT_SERVICE(host, http);
    self->metrics = SENDIT_SERVICE(host, metrics);
    self->failed = SENDIT_PASS;
    self->pack = pack_new();
    if (!self->pack)
        return because_of_pack(self, PACK_MEMORY, why);
    return self->dry_run ? SENDIT_PASS : google_open(host, GCS_SCOPE, &self->google, why);
}

static sendit_verdict start(const struct sendit_host *host, struct sendit_stage_state **ret_self,
                            struct sendit_why *why)
{
    struct sendit_stage_state *self = calloc(1, sizeof(*self));
    sendit_verdict verdict;

    if (!self)
        return sendit_because(why, SENDIT_RETRY, "gcs.busy", "There is no memory.");
    verdict = init(self, host, why);
    if (verdict != SENDIT_PASS) {
        stop(self);
        return verdict;
    }
    *ret_self = self;
    return SENDIT_PASS;
}

static void forget(struct sendit_stage_state *self)
{
    archive_forget(self);
    single_forget(self);
    self->failed = SENDIT_PASS;
    self->n_objects = self->n_bytes = 0;
}

static sendit_verdict begin(struct sendit_stage_state *self, const struct sendit_batch *batch,
                            struct sendit_why *why)
{
    int fd, copies;

    forget(self);
    snprintf(self->batch, sizeof(self->batch), "%s", batch->id);
    self->attempt = batch->attempt;
    if (self->mode != MODE_ARCHIVE)
        return SENDIT_PASS;
    if (self->spool->open(self->host, SPOOL, &fd) != SENDIT_OK ||
        self->spool->open(self->host, COPIES, &copies) != SENDIT_OK)
        return sendit_because(why, SENDIT_RETRY, "gcs.busy",
                              "There is no file in the state folder to pack an archive in.");
    pack_begin(self->pack, fd, copies);
    return SENDIT_PASS;
}

static sendit_verdict process(struct sendit_stage_state *self, const struct sendit_item *item,
                              struct sendit_why *why)
{
    sendit_verdict verdict = self->mode == MODE_ARCHIVE ? archive_process(self, item, why)
                                                        : single_process(self, item, why);

    /* a request that nobody saw stores nothing */
    return verdict == SENDIT_PASS && self->dry_run ? SENDIT_SKIP : verdict;
}

static sendit_verdict finish(struct sendit_stage_state *self, const struct sendit_batch *batch,
                             struct sendit_why *why)
{
    sendit_verdict verdict =
        self->mode == MODE_ARCHIVE ? archive_finish(self, why) : single_finish(self, why);

    (void)batch;
    if (verdict != SENDIT_PASS)
        return verdict;
    if (self->n_objects) {
        self->metrics->add(self->host, "objects", self->n_objects);
        self->metrics->add(self->host, "bytes", self->n_bytes);
    }
    forget(self);
    return SENDIT_PASS;
}

static sendit_verdict abandon(struct sendit_stage_state *self, const struct sendit_batch *batch,
                              struct sendit_why *why)
{
    (void)batch, (void)why;
    if (self->http && self->singles)
        (void)self->http->drain(self->host, 0); /* cancelled; each tells its end */
    forget(self);
    return SENDIT_PASS;
}

static sendit_verdict compare(struct sendit_stage_state *self, const struct sendit_compare *compare,
                              struct sendit_why *why)
{
    return self->dry_run ? SENDIT_PASS : bucket_compare(self, compare, why);
}

SENDIT_PLUGIN(.flags = SENDIT_READS | SENDIT_EGRESS | SENDIT_NETWORK | SENDIT_SECRETS,
              SENDIT_OPTIONS(options), .name = "gcs-store", .version = "1.0.0",
              .summary = "Takes images to a bucket of Google Cloud Storage, exactly once.",
              .grants_at_finish = "store.stored", .check = check, .open = start, .begin = begin,
              .process = process, .finish = finish, .abandon = abandon, .compare = compare,
              .close = stop);
