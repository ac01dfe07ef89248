/* SPDX-License-Identifier: Apache-2.0 */
#include "../../stages/common/name_template.c"
#include "../../stages/gcs-store/gcs_crc32c.c"
#include "../../stages/gcs-store/gcs_journal.c"
#include "../../stages/gcs-store/gcs_name.c"
#define head gzip_head
#include "../../stages/gcs-store/gcs_pack.c"
#undef head

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>

#include "fake_host.h"

static struct sendit_why why;
static struct sendit_stage_state self;

/* ---- a store ---- */

#define MAX_KEPT 16

static struct kept {
    char key[256];
    void *value;
    size_t length;
    uint64_t revision;
} kept[MAX_KEPT];
static size_t n_kept, n_audit;

static struct kept *find_kept(const char *key)
{
    for (size_t i = 0; i < n_kept; i++)
        if (!strcmp(kept[i].key, key))
            return &kept[i];
    return NULL;
}

static sendit_result kept_get(const struct sendit_host *host, const char *key,
                              const void **ret_value, size_t *ret_length, uint64_t *ret_revision)
{
    const struct kept *found = find_kept(key);

    (void)host;
    if (!found || !found->value)
        return SENDIT_EABSENT;
    *ret_value = found->value;
    *ret_length = found->length;
    *ret_revision = found->revision;
    return SENDIT_OK;
}

static sendit_result kept_put(const struct sendit_host *host, const char *key, const void *value,
                              size_t length, uint64_t expected)
{
    struct kept *found = find_kept(key);

    (void)host;
    if (!found) {
        assert_true(n_kept < MAX_KEPT);
        found = &kept[n_kept++];
        snprintf(found->key, sizeof(found->key), "%s", key);
    }
    if ((found->value ? found->revision : 0) != expected)
        return SENDIT_ECONFLICT;
    free(found->value);
    found->value = NULL;
    if (value) {
        found->value = malloc(length + 1);
        assert_non_null(found->value);
        memcpy(found->value, value, length);
    }
    found->length = length;
    found->revision++;
    return SENDIT_OK;
}

static sendit_result kept_next(const struct sendit_host *host, const char *key,
                               const char **ret_key)
{
    const char *next = NULL;

    (void)host;
    for (size_t i = 0; i < n_kept; i++)
        if (kept[i].value && strcmp(kept[i].key, key) > 0 &&
            (!next || strcmp(kept[i].key, next) < 0))
            next = kept[i].key;
    *ret_key = next;
    return next ? SENDIT_OK : SENDIT_EABSENT;
}

static sendit_result kept_append(const struct sendit_host *host, const char *event,
                                 const char *json)
{
    (void)host, (void)event;
    assert_non_null(json);
    n_audit++;
    return SENDIT_OK;
}

static const struct sendit_store store = {
    .get = kept_get, .put = kept_put, .next = kept_next, .append = kept_append};

static int never(const struct sendit_host *host)
{
    (void)host;
    return 0;
}

static struct sendit_host host;

static int set_up(void **state)
{
    (void)state;
    fake_reset();
    memset(&why, 0, sizeof(why));
    memset(&self, 0, sizeof(self));
    host = fake_host;
    host.canceled = never;
    self.host = &host;
    self.store = &store;
    self.bucket = "radiology";
    snprintf(self.batch, sizeof(self.batch), "b1");
    n_audit = 0;
    fake_option("bucket")->text = "radiology";
    fake_option("collection")->text = "irb12345";
    fake_option("archive_name")->text = "C/{COLLECTION}/{entity}/{entity}_{date}_{item}.tar.gz";
    fake_option("member_name")->text = "{accession}_{series}_{instance}.dcm";
    fake_option("instance_name")->text = "C/{collection}/{instance}";
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    while (n_kept)
        free(kept[--n_kept].value);
    memset(kept, 0, sizeof(kept));
    free(self.list);
    return 0;
}

/* because_of_pack() is in gcs_store.c, which is not here. */
sendit_verdict because_of_pack(const struct sendit_stage_state *state, enum pack_result result,
                               struct sendit_why *reason)
{
    (void)state, (void)result;
    return sendit_because(reason, SENDIT_RETRY, "gcs.busy", "no");
}

/* ---- crc32c ---- */

/* By the polynomial, bit by bit. */
static uint32_t slow_crc32c(uint32_t crc, const unsigned char *data, size_t length)
{
    crc = ~crc;
    while (length--) {
        crc ^= *data++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void test_crc32c(void **state)
{
    static const char *const bad[] = {"",         "AAAAAA",   "AAAAAA=",   "AAAAAAA=", "AAAAA===",
                                      "AAAAAB==", "AAAA*A==", "AAAAAA== ", "=AAAAA=="};
    unsigned char data[4099];
    char text[CRC32C_TEXT];
    uint32_t crc;

    (void)state;
    assert_int_equal(crc32c_add(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c_add(0, "", 0), 0);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 7 + (i >> 5));
    for (size_t n = 0; n < sizeof(data); n += 97) {
        assert_int_equal(crc32c_add(0, data, n), slow_crc32c(0, data, n));
        assert_int_equal(crc32c_add(crc32c_add(0, data, n), data + n, sizeof(data) - n),
                         slow_crc32c(0, data, sizeof(data)));
    }
    crc32c_text(0xe3069283u, text);
    assert_string_equal(text, "4waSgw==");
    assert_int_equal(crc32c_parse(text, &crc), 0);
    assert_int_equal(crc, 0xe3069283u);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(crc32c_parse(bad[i], &crc), -1);
    assert_int_equal(crc32c_parse(NULL, &crc), -1);
}

/* ---- names ---- */

static sendit_verdict name_it(const struct fake_attribute *attributes, struct gcs_place *place)
{
    struct sendit_dataset ds = {.attributes = attributes};
    const struct sendit_item item = {.id = "i1", .ds = &ds};
    struct gcs_names names;

    memset(&why, 0, sizeof(why));
    assert_int_equal(gcs_names_init(&names, &host, &why), SENDIT_PASS);
    return gcs_name_archive(&names, &item, place, &why);
}

static void test_names(void **state)
{
    struct fake_attribute attributes[] = {{0x00100020u, "p1"},
                                          {0x00080020u, "20200102"},
                                          {0x00080050u, "a1"},
                                          {0x0020000Du, "1.2"},
                                          {0x0020000Eu, "1.3"},
                                          {0x00080018u, "1.4"},
                                          {0, NULL}};
    struct gcs_place place;
    char name[NAME_TEMPLATE_SIZE];

    (void)state;
    assert_int_equal(name_it(attributes, &place), SENDIT_PASS);
    assert_string_equal(place.base, "C/IRB12345/p1/p1_20200102_a1");
    assert_string_equal(place.member, "p1_20200102_a1/a1_1.3_1.4.dcm");
    assert_string_equal(place.study, "1.2");
    gcs_name_object(place.base, 1, name);
    assert_string_equal(name, "C/IRB12345/p1/p1_20200102_a1.tar.gz");
    gcs_name_object(place.base, 12, name);
    assert_string_equal(name, "C/IRB12345/p1/p1_20200102_a1-12.tar.gz");
    /* facts go before attributes, but for the accession number */
    fake_fact_put(&host, "i1", "ids.entity", "e1");
    fake_fact_put(&host, "i1", "ids.item", "x1");
    attributes[1].value = "";
    assert_int_equal(name_it(attributes, &place), SENDIT_PASS);
    assert_string_equal(place.base, "C/IRB12345/e1/e1_undated_x1");
    assert_string_equal(place.member, "e1_undated_x1/a1_1.3_1.4.dcm");
    attributes[2].value = "";
    assert_int_equal(name_it(attributes, &place), SENDIT_PASS);
    assert_string_equal(place.member, "e1_undated_x1/x1_1.3_1.4.dcm");
}

static void test_names_that_are_none(void **state)
{
    static const char *const values[] = {"../x", ".",        "..",  "a/b",     "a\nb",
                                         "a\rb", "Doe^Jane", "a b", "\xc3\xa4"};
    struct fake_attribute attributes[] = {{0x00100020u, "p1"},
                                          {0x00080020u, "20200102"},
                                          {0x00080050u, "a1"},
                                          {0x0020000Du, "1.2"},
                                          {0x0020000Eu, "1.3"},
                                          {0x00080018u, "1.4"},
                                          {0, NULL}};
    struct gcs_place place;

    (void)state;
    for (size_t which = 0; which < 6; which++)
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            const char *before = attributes[which].value;

            attributes[which].value = values[i];
            assert_int_equal(name_it(attributes, &place), SENDIT_QUARANTINE);
            assert_string_equal(why.code, "gcs.name");
            assert_null(strstr(why.text, values[i][1] ? values[i] : "\1"));
            attributes[which].value = before;
        }
    attributes[1].value = "2020-1-2";
    assert_int_equal(name_it(attributes, &place), SENDIT_QUARANTINE);
}

static void refused(const char *option, const char *value, const char *code)
{
    const char *before = fake_option(option)->text;
    struct gcs_names names;

    fake_option(option)->text = value;
    memset(&why, 0, sizeof(why));
    assert_int_equal(gcs_names_init(&names, &host, &why), SENDIT_FAIL);
    assert_string_equal(why.code, code);
    fake_option(option)->text = before;
}

static void test_options(void **state)
{
    static const char *const buckets[] = {
        "", "ab", "gs://x", "Radiology", "a b", "-abc", "abc-", "a..b", "a/b", "\xc3\xa4\xc3\xa4"};
    static const char *const archives[] = {"{item}.tar",
                                           "{item}/.tar.gz",
                                           "{entity}.tar.gz",
                                           "{item}{series}.tar.gz",
                                           "{item}{instance}.tar.gz",
                                           ".well-known/acme-challenge/{item}.tar.gz",
                                           "../{item}.tar.gz",
                                           "/{item}.tar.gz",
                                           "{item}\n.tar.gz",
                                           "{name}{item}.tar.gz",
                                           ".tar.gz"};

    (void)state;
    for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++)
        refused("bucket", buckets[i], "gcs.bucket");
    for (size_t i = 0; i < sizeof(archives) / sizeof(archives[0]); i++)
        refused("archive_name", archives[i], "gcs.template");
    refused("member_name", "{series}.dcm", "gcs.template");
    refused("instance_name", "{series}.dcm", "gcs.template");
    refused("collection", "IRB 1", "gcs.collection");
    refused("collection", "a/b", "gcs.collection");
    refused("collection", "..", "gcs.collection");
}

static void test_prefix(void **state)
{
    struct gcs_names names;
    char prefix[NAME_TEMPLATE_SIZE];

    (void)state;
    assert_int_equal(gcs_names_init(&names, &host, &why), SENDIT_PASS);
    gcs_name_prefix(&names, names.archive, prefix);
    assert_string_equal(prefix, "C/IRB12345/");
    gcs_name_prefix(&names, names.instance, prefix);
    assert_string_equal(prefix, "C/irb12345/");
    gcs_name_prefix(&names, "{item}.tar.gz", prefix);
    assert_string_equal(prefix, "");
}

/* ---- packing ---- */

#define N_IMAGES 40

static int with_copies; /* as the tests take both ways */

static int spool_file(void)
{
    char path[] = "/tmp/test-gcs-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

/* An image of `length` bytes, half of them in a file. */
static enum pack_result add_image(struct pack *pack, const char *name, size_t length,
                                  struct pack_piece *ret_piece)
{
    unsigned char *data = malloc(length + 1);
    struct sendit_part parts[2];
    struct sendit_file file = {.parts = parts, .n_parts = 2, .total = length};
    enum pack_result result;
    int fd = spool_file();

    assert_non_null(data);
    for (size_t i = 0; i < length; i++)
        data[i] = (unsigned char)(i * i >> 9 ^ length ^ (i % 251));
    parts[0] = (struct sendit_part){.data = data, .length = length / 2, .fd = -1};
    parts[1] = (struct sendit_part){.fd = fd, .offset = 3, .length = length - length / 2};
    assert_int_equal(pwrite(fd, data + length / 2, parts[1].length, 3), parts[1].length);
    result = pack_add(pack, &file, name, ret_piece);
    close(fd);
    free(data);
    return result;
}

/* The bytes of an archive, as they would be sent. */
static unsigned char *bytes_of(const struct pack_archive *archive)
{
    unsigned char *all = malloc(archive->total + 1), *at = all;

    assert_non_null(all);
    for (uint32_t i = 0; i < archive->n_parts; i++) {
        const struct sendit_part *part = &archive->parts[i];

        if (part->data)
            memcpy(at, part->data, part->length);
        else
            assert_int_equal(pread(part->fd, at, part->length, (off_t)part->offset), part->length);
        at += part->length;
    }
    assert_int_equal(at - all, archive->total);
    return all;
}

/* What zlib, which did not make it, unpacks it to. */
static unsigned char *unzip(const unsigned char *bytes, size_t length, size_t plain)
{
    unsigned char *to = malloc(plain + 1);
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes,
                  .avail_in = (uInt)length,
                  .next_out = to,
                  .avail_out = (uInt)plain + 1};

    assert_non_null(to);
    assert_int_equal(inflateInit2(&z, 16 + MAX_WBITS), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, plain);
    assert_int_equal(z.avail_in, 0);
    inflateEnd(&z);
    return to;
}

static void try_archives(void)
{
    struct pack *pack = pack_new();
    struct pack_piece pieces[N_IMAGES];
    const struct pack_piece *order[N_IMAGES];
    char content[PACK_CONTENT] = "";
    int fd = spool_file(), copies = with_copies ? spool_file() : -1;

    assert_non_null(pack);
    pack_begin(pack, fd, copies);
    for (size_t i = 0; i < N_IMAGES; i++) {
        char name[300];

        snprintf(name, sizeof(name), "base/%0*zu.dcm", i % 3 ? 20 : 180, i);
        assert_int_equal(add_image(pack, name, i * i * 997 % 300000, &pieces[i]), PACK_OK);
        order[N_IMAGES - 1 - i] = &pieces[i];
    }
    for (size_t n = 1; n <= N_IMAGES; n += 13) {
        struct pack_archive archive;
        unsigned char *bytes, *tar;
        unsigned char sha[EVP_MAX_MD_SIZE];

        assert_int_equal(pack_seal(pack, order, n, &archive), PACK_OK);
        bytes = bytes_of(&archive);
        tar = unzip(bytes, archive.total, archive.plain);
        assert_int_equal(archive.plain % 512, 0);
        assert_int_equal(crc32c_add(0, bytes, archive.total), archive.crc32c);
        assert_true(EVP_Digest(tar, archive.plain, sha, NULL, EVP_sha256(), NULL));
        for (size_t i = 0; i < 32; i++)
            snprintf(content + 2 * i, 3, "%02x", sha[i]);
        assert_string_equal(content, archive.content);
        free(tar);
        free(bytes);
        pack_archive_fini(&archive);
    }
    pack_free(pack);
    close(fd);
    if (copies >= 0)
        close(copies);
}

/* A bit that changes in the spool file is seen before it is sent. */
static void try_a_broken_spool_is_seen(void)
{
    struct pack *pack = pack_new();
    struct pack_piece pieces[2];
    const struct pack_piece *order[] = {&pieces[0], &pieces[1]};
    struct pack_archive archive;
    int fd = spool_file(), copies = with_copies ? spool_file() : -1;

    assert_non_null(pack);
    pack_begin(pack, fd, copies);
    assert_int_equal(add_image(pack, "a/1", 100000, &pieces[0]), PACK_OK);
    assert_int_equal(add_image(pack, "a/2", 100000, &pieces[1]), PACK_OK);
    for (uint64_t at = 0; at < pieces[1].offset + pieces[1].length; at += 337) {
        unsigned char byte, changed;

        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        changed = byte ^ 0x10;
        assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
        assert_int_not_equal(pack_seal(pack, order, 2, &archive), PACK_OK);
        assert_null(archive.parts);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    assert_int_equal(ftruncate(fd, 1000), 0);
    assert_int_equal(pack_seal(pack, order, 2, &archive), PACK_PLACE);
    pack_free(pack);
    close(fd);
    if (copies >= 0)
        close(copies);
}

static void try_an_image_that_goes_away(void)
{
    struct pack *pack = pack_new();
    struct pack_piece pieces[3];
    const struct pack_piece *order[] = {&pieces[0], &pieces[1]};
    struct sendit_part part = {.fd = -1, .length = 70000};
    struct sendit_file file = {.parts = &part, .n_parts = 1, .total = 70000};
    struct pack_archive archive;
    unsigned char *bytes;
    int fd = spool_file(), source = spool_file(), copies = with_copies ? spool_file() : -1;

    assert_non_null(pack);
    pack_begin(pack, fd, copies);
    assert_int_equal(add_image(pack, "a/1", 5000, &pieces[0]), PACK_OK);
    part.fd = source;
    assert_int_equal(ftruncate(source, 60000), 0);
    assert_int_equal(pack_add(pack, &file, "a/2", &pieces[2]), PACK_SOURCE);
    /* what was written of it is written over */
    assert_int_equal(add_image(pack, "a/3", 5001, &pieces[1]), PACK_OK);
    assert_int_equal(pieces[1].offset, pieces[0].length);
    assert_int_equal(pack_seal(pack, order, 2, &archive), PACK_OK);
    assert_int_equal(archive.n_parts, 3);
    bytes = bytes_of(&archive);
    free(unzip(bytes, archive.total, archive.plain));
    free(bytes);
    pack_archive_fini(&archive);
    /* nor does one that is taken back */
    pack_take_back(pack, &pieces[1]);
    assert_int_equal(add_image(pack, "a/4", 10, &pieces[1]), PACK_OK);
    assert_int_equal(pieces[1].offset, pieces[0].length);
    pack_free(pack);
    close(fd);
    close(source);
    if (copies >= 0)
        close(copies);
}

static void test_a_full_disk(void **state)
{
    struct pack *pack = pack_new();
    struct pack_piece piece;
    int fd = open("/dev/full", O_RDWR);

    (void)state;
    if (fd < 0)
        skip();
    assert_non_null(pack);
    pack_begin(pack, fd, -1);
    assert_int_equal(add_image(pack, "a/1", 5000, &piece), PACK_PLACE);
    assert_int_equal(errno, ENOSPC);
    pack_free(pack);
    close(fd);
}

static void test_packing(void **state)
{
    (void)state;
    for (with_copies = 0; with_copies < 2; with_copies++) {
        try_archives();
        try_a_broken_spool_is_seen();
        try_an_image_that_goes_away();
    }
}

/* A file of copies that is full is left alone. */
static void test_no_room_for_copies(void **state)
{
    struct pack *pack = pack_new();
    struct pack_piece pieces[2];
    const struct pack_piece *order[] = {&pieces[1], &pieces[0]};
    struct pack_archive archive;
    unsigned char *bytes;
    int fd = spool_file(), full = open("/dev/full", O_RDWR);

    (void)state;
    if (full < 0)
        skip();
    assert_non_null(pack);
    pack_begin(pack, fd, full);
    assert_int_equal(add_image(pack, "a/1", 5000, &pieces[0]), PACK_OK);
    assert_false(pieces[0].has_copy);
    assert_int_equal(add_image(pack, "a/2", 6000, &pieces[1]), PACK_OK);
    assert_int_equal(pack_seal(pack, order, 2, &archive), PACK_OK);
    bytes = bytes_of(&archive);
    free(unzip(bytes, archive.total, archive.plain));
    free(bytes);
    pack_archive_fini(&archive);
    pack_free(pack);
    close(fd);
    close(full);
}

/* ---- the journal ---- */

static void fill(struct record *record, const char *object, size_t n)
{
    snprintf(record->bucket, sizeof(record->bucket), "radiology");
    snprintf(record->object, sizeof(record->object), "%s", object);
    record->members = calloc(n, sizeof(*record->members));
    assert_non_null(record->members);
    record->n_members = n;
    for (size_t i = 0; i < n; i++) {
        char id[32];

        snprintf(id, sizeof(id), "b1-%06zu", i);
        record->members[i] =
            (struct record_member){.item = record_hash(id), .crc = (uint32_t)(i * 77)};
    }
    record_sort(record->members, n);
}

static void test_records(void **state)
{
    struct record record, again;

    (void)state;
    assert_int_equal(record_read(&self, "base", 1, &record, &why), SENDIT_SKIP);
    fill(&record, "base.tar.gz", 1000);
    snprintf(record.tried[0], PACK_CONTENT, "%064d", 7);
    assert_int_equal(record_write(&self, &record, &why), SENDIT_PASS);
    assert_int_equal(n_audit, 1);
    assert_int_equal(record_read(&self, "base", 1, &again, &why), SENDIT_PASS);
    assert_int_equal(again.stored, 0);
    assert_string_equal(again.tried[0], record.tried[0]);
    assert_int_equal(again.n_members, 1000);
    assert_int_equal(record_find(&again, record_hash("b1-000013"))->crc, 13 * 77);
    assert_null(record_find(&again, record_hash("b2-000013")));
    record_fini(&again);
    /* somebody else's is not written over */
    assert_int_equal(record_read(&self, "base", 2, &again, &why), SENDIT_SKIP);
    memcpy(again.key, record.key, sizeof(again.key));
    snprintf(again.object, sizeof(again.object), "x");
    assert_int_equal(record_write(&self, &again, &why), SENDIT_SKIP);
    record.stored = true;
    record.there =
        (struct there){.generation = UINT64_C(1700000000000001), .size = 5, .crc32c = 0xfedcba98u};
    assert_int_equal(record_write(&self, &record, &why), SENDIT_PASS);
    record_fini(&record);
    assert_int_equal(record_read(&self, "base", 1, &again, &why), SENDIT_PASS);
    assert_true(again.stored);
    assert_true(again.there.generation == UINT64_C(1700000000000001));
    assert_int_equal(again.there.crc32c, 0xfedcba98u);
    assert_int_equal(record_drop(&self, &again, &why), SENDIT_PASS);
    record_fini(&again);
    assert_int_equal(record_read(&self, "base", 1, &again, &why), SENDIT_SKIP);
}

/* A bucket of another name counts for itself. */
static void test_buckets_are_apart(void **state)
{
    struct record record, other;

    (void)state;
    assert_int_equal(record_read(&self, "base", 1, &record, &why), SENDIT_SKIP);
    self.bucket = "another";
    assert_int_equal(record_read(&self, "base", 1, &other, &why), SENDIT_SKIP);
    assert_string_not_equal(record.key, other.key);
}

static void test_records_that_are_none(void **state)
{
    static const char *const values[] = {"",
                                         "\n",
                                         "[]\n",
                                         "{}\n",
                                         "{\"object\":\"a\"}",
                                         "{\"object\":\"a\"}\nabc",
                                         "{\"object\":\"a\",\"stored\":true}\n"};
    struct record record;

    (void)state;
    assert_int_equal(record_read(&self, "base", 1, &record, &why), SENDIT_SKIP);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct record read;
        const struct kept *found = find_kept(record.key);

        assert_int_equal(
            kept_put(&host, record.key, values[i], strlen(values[i]), found ? found->revision : 0),
            SENDIT_OK);
        assert_int_equal(record_read(&self, "base", 1, &read, &why), SENDIT_FAIL);
        assert_string_equal(why.code, "gcs.ledger");
    }
}

static int count_one(void *ctx, const char *name, const struct there *there)
{
    size_t *n = ctx;

    assert_non_null(name);
    assert_true(there->generation > 0);
    (*n)++;
    return 0;
}

static void test_lists(void **state)
{
    struct there there = {.generation = 3, .size = 4, .crc32c = 5};
    size_t n = 0;

    (void)state;
    memset(there.content, 'a', PACK_CONTENT - 1);
    self.attempt = 1;
    for (size_t i = 0; i < 20000; i++) {
        char name[64];

        snprintf(name, sizeof(name), "C/%zu.dcm", i);
        assert_int_equal(journal_add(&self, name, &there, &why), SENDIT_PASS);
    }
    assert_int_equal(journal_flush(&self, &why), SENDIT_PASS);
    assert_int_equal(journal_flush(&self, &why), SENDIT_PASS);
    assert_true(n_kept > 1);
    for (size_t i = 0; i < n_kept; i++)
        assert_true(kept[i].length <= 1u << 20);
    assert_int_equal(journal_each(&self, count_one, &n), SENDIT_OK);
    assert_int_equal(n, 20000);
    self.bucket = "another";
    n = 0;
    assert_int_equal(journal_each(&self, count_one, &n), SENDIT_OK);
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_crc32c, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_that_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_options, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prefix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_packing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_room_for_copies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_buckets_are_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_records_that_are_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
