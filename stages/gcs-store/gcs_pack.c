/* SPDX-License-Identifier: Apache-2.0 */
#include "gcs_pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "gcs_crc32c.h"

#define BUFFER (1u << 20)
#define MEMBER_MODE 0644
#define TAR_END 1024 /* two empty blocks */

/* Of a gzip stream: no name, no time, no system. */
static const unsigned char head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff};

struct pack {
    int fd;
    uint64_t at; /* end of the spool file */
    int copies;  /* -1: there are no more */
    int copies_read;
    uint64_t copies_at;
    struct archive *tar;
    struct isal_zstream deflate;
    struct inflate_state inflate;
    unsigned char *level, *in, *out;
    EVP_MD_CTX *digest;
    /* The piece in hand. */
    struct pack_piece *piece;
    int error; /* errno of a write that failed */
};

/* ---- reading and writing ---- */

static int write_all(int fd, const unsigned char *data, size_t length, uint64_t at)
{
    while (length) {
        ssize_t n = pwrite(fd, data, length, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        data += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

static int read_all(int fd, void *data, size_t length, uint64_t at)
{
    char *to = data;

    while (length) {
        ssize_t n = pread(fd, to, length, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        to += n;
        at += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}

typedef enum pack_result take_fn(void *ctx, const unsigned char *data, size_t length);

/* Each byte of the image, a buffer at a time. */
static enum pack_result read_file(struct pack *pack, const struct sendit_file *file, take_fn *take,
                                  void *ctx)
{
    enum pack_result result = PACK_OK;

    for (uint32_t i = 0; result == PACK_OK && i < file->n_parts; i++) {
        const struct sendit_part *part = &file->parts[i];

        if (part->data) {
            result = take(ctx, part->data, (size_t)part->length);
            continue;
        }
        for (uint64_t done = 0; result == PACK_OK && done < part->length;) {
            uint64_t left = part->length - done;
            size_t n = left < BUFFER ? (size_t)left : BUFFER;

            if (read_all(part->fd, pack->in, n, part->offset + done))
                return PACK_SOURCE;
            result = take(ctx, pack->in, n);
            done += n;
        }
    }
    return result;
}

/* ---- packing ---- */

static void begin_deflate(struct pack *pack)
{
    isal_deflate_init(&pack->deflate);
    pack->deflate.level = 1;
    pack->deflate.level_buf = pack->level;
    pack->deflate.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    pack->deflate.gzip_flag = IGZIP_DEFLATE;
    pack->deflate.flush = NO_FLUSH;
    pack->deflate.end_of_stream = 0;
}

/* What there is to compress goes into the spool file. */
static int run_deflate(struct pack *pack)
{
    size_t n;

    do {
        pack->deflate.next_out = pack->out;
        pack->deflate.avail_out = BUFFER;
        if (isal_deflate(&pack->deflate) != COMP_OK) {
            pack->error = EINVAL;
            return -1;
        }
        n = BUFFER - pack->deflate.avail_out;
        if (write_all(pack->fd, pack->out, n, pack->at)) {
            pack->error = errno;
            return -1;
        }
        pack->at += n;
        if (pack->piece)
            pack->piece->crc32c = crc32c_add(pack->piece->crc32c, pack->out, n);
    } while (!pack->deflate.avail_out || pack->deflate.avail_in);
    return 0;
}

/* A copy is a short cut: where there is no room for it, there is none. */
static void copy(struct pack *pack, const void *data, size_t length)
{
    struct pack_piece *piece = pack->piece;

    if (!piece->has_copy)
        return;
    if (pack->copies_at + length <= PACK_MAX_COPIES &&
        !write_all(pack->copies, data, length, pack->copies_at)) {
        pack->copies_at += length;
        return;
    }
    piece->has_copy = false;
    if (!ftruncate(pack->copies, (off_t)piece->copy))
        pack->copies_at = piece->copy;
    pack->copies = -1;
}

static la_ssize_t take_tar(struct archive *tar, void *ctx, const void *data, size_t length)
{
    struct pack *pack = ctx;

    (void)tar;
    if (!pack->piece)
        return (la_ssize_t)length; /* an end that nobody wants */
    if (length > INT32_MAX)
        return -1;
    pack->piece->crc = crc32_gzip_refl(pack->piece->crc, data, length);
    pack->piece->plain += length;
    copy(pack, data, length);
    pack->deflate.next_in = (uint8_t *)(uintptr_t)data; /* read only */
    pack->deflate.avail_in = (uint32_t)length;
    return run_deflate(pack) ? -1 : (la_ssize_t)length;
}

/* Entries one after the other, and never an end: that is the archive's, not the tar's. */
static int open_tar(struct pack *pack)
{
    pack->tar = archive_write_new();
    if (!pack->tar || archive_write_set_format_pax_restricted(pack->tar) != ARCHIVE_OK ||
        archive_write_add_filter_none(pack->tar) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(pack->tar, 0) != ARCHIVE_OK ||
        archive_write_open(pack->tar, pack, NULL, take_tar, NULL) != ARCHIVE_OK)
        return -1;
    return 0;
}

static void close_tar(struct pack *pack)
{
    archive_write_free(pack->tar);
    pack->tar = NULL;
}

/* The same image gives the same entry, whoever packs it, and when. */
static int write_header(struct pack *pack, const char *member, uint64_t size)
{
    struct archive_entry *entry = archive_entry_new();
    int result;

    if (!entry)
        return -1;
    archive_entry_set_pathname(entry, member);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, MEMBER_MODE);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_uid(entry, 0);
    archive_entry_set_gid(entry, 0);
    archive_entry_set_size(entry, (la_int64_t)size);
    result = archive_write_header(pack->tar, entry);
    archive_entry_free(entry);
    return result == ARCHIVE_OK ? 0 : -1;
}

static enum pack_result write_data(void *ctx, const unsigned char *data, size_t length)
{
    struct pack *pack = ctx;

    while (length) {
        la_ssize_t n = archive_write_data(pack->tar, data, length);

        if (n <= 0)
            return pack->error ? PACK_PLACE : PACK_MEMORY;
        data += n;
        length -= (size_t)n;
    }
    return PACK_OK;
}

static enum pack_result add_entry(struct pack *pack, const struct sendit_file *file,
                                  const char *member)
{
    enum pack_result result;

    if (!pack->tar && open_tar(pack))
        return PACK_MEMORY;
    begin_deflate(pack);
    if (write_header(pack, member, file->total))
        return pack->error ? PACK_PLACE : PACK_MEMORY;
    result = read_file(pack, file, write_data, pack);
    if (result != PACK_OK)
        return result;
    if (archive_write_finish_entry(pack->tar) != ARCHIVE_OK)
        return pack->error ? PACK_PLACE : PACK_MEMORY;
    pack->deflate.flush = FULL_FLUSH;
    return run_deflate(pack) ? PACK_PLACE : PACK_OK;
}

enum pack_result pack_add(struct pack *pack, const struct sendit_file *file, const char *member,
                          struct pack_piece *ret_piece)
{
    struct pack_piece piece = {
        .offset = pack->at, .has_copy = pack->copies >= 0, .copy = pack->copies_at};
    enum pack_result result;

    pack->piece = &piece;
    pack->error = 0;
    result = add_entry(pack, file, member);
    pack->piece = NULL;
    if (result != PACK_OK) {
        close_tar(pack); /* it is in the middle of an entry */
        pack->at = piece.offset;
        pack->copies_at = piece.copy;
        errno = pack->error;
        return result;
    }
    piece.length = pack->at - piece.offset;
    *ret_piece = piece;
    return PACK_OK;
}

void pack_take_back(struct pack *pack, const struct pack_piece *piece)
{
    if (piece->offset + piece->length != pack->at)
        return;
    pack->at = piece->offset;
    pack->copies_at = piece->copy;
}

/* ---- sealing ---- */

/* What came out of a piece so far. */
struct unpacked {
    uint64_t plain;
    uint32_t crc;
};

static enum pack_result unpack(struct pack *pack, unsigned char *from, size_t length,
                               struct unpacked *so_far)
{
    pack->inflate.next_in = from;
    pack->inflate.avail_in = (uint32_t)length;
    do {
        size_t n;

        pack->inflate.next_out = pack->out;
        pack->inflate.avail_out = BUFFER;
        if (isal_inflate(&pack->inflate) != ISAL_DECOMP_OK)
            return PACK_BROKEN;
        n = BUFFER - pack->inflate.avail_out;
        so_far->plain += n;
        so_far->crc = crc32_gzip_refl(so_far->crc, pack->out, n);
        if (!EVP_DigestUpdate(pack->digest, pack->out, n))
            return PACK_MEMORY;
    } while (!pack->inflate.avail_out || pack->inflate.avail_in);
    return PACK_OK;
}

/* Its bytes of tar by unpacking them, and those of the spool file on the way. */
static enum pack_result unpack_piece(struct pack *pack, const struct pack_piece *piece,
                                     struct pack_archive *archive)
{
    struct unpacked so_far = {0};
    enum pack_result result = PACK_OK;

    isal_inflate_init(&pack->inflate);
    pack->inflate.crc_flag = ISAL_DEFLATE;
    for (uint64_t done = 0; result == PACK_OK && done < piece->length;) {
        uint64_t left = piece->length - done;
        size_t n = left < BUFFER ? (size_t)left : BUFFER;

        if (read_all(pack->fd, pack->in, n, piece->offset + done))
            return PACK_PLACE;
        archive->crc32c = crc32c_add(archive->crc32c, pack->in, n);
        result = unpack(pack, pack->in, n, &so_far);
        done += n;
    }
    if (result == PACK_OK && (so_far.plain != piece->plain || so_far.crc != piece->crc))
        return PACK_BROKEN;
    return result;
}

/* The same from the copy; the spool file has to be as it was written. */
static enum pack_result read_copy(struct pack *pack, const struct pack_piece *piece,
                                  struct pack_archive *archive)
{
    uint32_t crc = 0;

    for (uint64_t done = 0; done < piece->plain;) {
        uint64_t left = piece->plain - done;
        size_t n = left < BUFFER ? (size_t)left : BUFFER;

        if (read_all(pack->copies_read, pack->out, n, piece->copy + done))
            return PACK_PLACE;
        crc = crc32_gzip_refl(crc, pack->out, n);
        if (!EVP_DigestUpdate(pack->digest, pack->out, n))
            return PACK_MEMORY;
        done += n;
    }
    if (crc != piece->crc)
        return PACK_BROKEN;
    crc = 0;
    for (uint64_t done = 0; done < piece->length;) {
        uint64_t left = piece->length - done;
        size_t n = left < BUFFER ? (size_t)left : BUFFER;

        if (read_all(pack->fd, pack->in, n, piece->offset + done))
            return PACK_PLACE;
        crc = crc32c_add(crc, pack->in, n);
        archive->crc32c = crc32c_add(archive->crc32c, pack->in, n);
        done += n;
    }
    return crc == piece->crc32c ? PACK_OK : PACK_BROKEN;
}

static void put_le32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

/* The end of the tar as the last block, and what gzip has after it. */
static enum pack_result make_tail(struct pack *pack, struct pack_archive *archive, uint32_t crc,
                                  size_t *ret_length)
{
    static const unsigned char zeros[TAR_END];
    size_t n;

    begin_deflate(pack);
    pack->deflate.next_in = (uint8_t *)(uintptr_t)zeros;
    pack->deflate.avail_in = sizeof(zeros);
    pack->deflate.end_of_stream = 1;
    pack->deflate.next_out = archive->tail;
    pack->deflate.avail_out = PACK_TAIL - 8;
    if (isal_deflate(&pack->deflate) != COMP_OK || !pack->deflate.avail_out)
        return PACK_BROKEN;
    n = PACK_TAIL - 8 - pack->deflate.avail_out;
    if (!EVP_DigestUpdate(pack->digest, zeros, sizeof(zeros)))
        return PACK_MEMORY;
    crc = (uint32_t)crc32_combine(crc, crc32_gzip_refl(0, zeros, sizeof(zeros)), sizeof(zeros));
    archive->plain += sizeof(zeros);
    put_le32(archive->tail + n, crc);
    put_le32(archive->tail + n + 4, (uint32_t)archive->plain);
    *ret_length = n + 8;
    archive->crc32c = crc32c_add(archive->crc32c, archive->tail, *ret_length);
    return PACK_OK;
}

static void add_part(struct pack_archive *archive, const struct sendit_part *part)
{
    struct sendit_part *last = archive->n_parts ? &archive->parts[archive->n_parts - 1] : NULL;

    archive->total += part->length;
    if (last && !last->data && !part->data && last->offset + last->length == part->offset)
        last->length += part->length; /* they lie one behind the other */
    else
        archive->parts[archive->n_parts++] = *part;
}

static enum pack_result seal(struct pack *pack, const struct pack_piece *const *pieces, size_t n,
                             struct pack_archive *archive)
{
    unsigned char sha[EVP_MAX_MD_SIZE];
    enum pack_result result = PACK_OK;
    unsigned int size = 0;
    uint32_t crc = 0;
    size_t tail = 0;

    if (!EVP_DigestInit_ex(pack->digest, EVP_sha256(), NULL))
        return PACK_MEMORY;
    archive->crc32c = crc32c_add(0, head, sizeof(head));
    add_part(archive, &(struct sendit_part){.data = head, .length = sizeof(head), .fd = -1});
    for (size_t i = 0; result == PACK_OK && i < n; i++) {
        result = pieces[i]->has_copy ? read_copy(pack, pieces[i], archive)
                                     : unpack_piece(pack, pieces[i], archive);
        crc = (uint32_t)crc32_combine(crc, pieces[i]->crc, (z_off_t)pieces[i]->plain);
        archive->plain += pieces[i]->plain;
        add_part(archive, &(struct sendit_part){.offset = pieces[i]->offset,
                                                .length = pieces[i]->length,
                                                .fd = pack->fd});
    }
    if (result == PACK_OK)
        result = make_tail(pack, archive, crc, &tail);
    if (result != PACK_OK)
        return result;
    add_part(archive, &(struct sendit_part){.data = archive->tail, .length = tail, .fd = -1});
    if (!EVP_DigestFinal_ex(pack->digest, sha, &size) || size != 32)
        return PACK_MEMORY;
    for (size_t i = 0; i < size; i++)
        snprintf(archive->content + 2 * i, 3, "%02x", sha[i]);
    return PACK_OK;
}

enum pack_result pack_seal(struct pack *pack, const struct pack_piece *const *pieces, size_t n,
                           struct pack_archive *ret_archive)
{
    enum pack_result result;

    memset(ret_archive, 0, sizeof(*ret_archive));
    ret_archive->parts = calloc(n + 2, sizeof(*ret_archive->parts));
    if (!ret_archive->parts)
        return PACK_MEMORY;
    result = seal(pack, pieces, n, ret_archive);
    if (result != PACK_OK)
        pack_archive_fini(ret_archive);
    return result;
}

void pack_archive_fini(struct pack_archive *archive)
{
    free(archive->parts);
    archive->parts = NULL;
    archive->n_parts = 0;
}

/* ---- an image as it is ---- */

struct digesting {
    EVP_MD_CTX *digest;
    uint32_t crc32c;
};

static enum pack_result digest_data(void *ctx, const unsigned char *data, size_t length)
{
    struct digesting *digesting = ctx;

    digesting->crc32c = crc32c_add(digesting->crc32c, data, length);
    return EVP_DigestUpdate(digesting->digest, data, length) ? PACK_OK : PACK_MEMORY;
}

enum pack_result pack_digest(struct pack *pack, const struct sendit_file *file,
                             char ret_content[PACK_CONTENT], uint32_t *ret_crc32c)
{
    struct digesting digesting = {.digest = pack->digest};
    unsigned char sha[EVP_MAX_MD_SIZE];
    enum pack_result result;
    unsigned int size = 0;

    if (!EVP_DigestInit_ex(pack->digest, EVP_sha256(), NULL))
        return PACK_MEMORY;
    result = read_file(pack, file, digest_data, &digesting);
    if (result != PACK_OK)
        return result;
    if (!EVP_DigestFinal_ex(pack->digest, sha, &size) || size != 32)
        return PACK_MEMORY;
    for (size_t i = 0; i < size; i++)
        snprintf(ret_content + 2 * i, 3, "%02x", sha[i]);
    *ret_crc32c = digesting.crc32c;
    return PACK_OK;
}

/* ---- its life ---- */

struct pack *pack_new(void)
{
    struct pack *pack = calloc(1, sizeof(*pack));

    if (!pack)
        return NULL;
    pack->fd = -1;
    pack->level = malloc(ISAL_DEF_LVL1_DEFAULT);
    pack->in = malloc(BUFFER);
    pack->out = malloc(BUFFER);
    pack->digest = EVP_MD_CTX_new();
    if (!pack->level || !pack->in || !pack->out || !pack->digest) {
        pack_free(pack);
        return NULL;
    }
    return pack;
}

void pack_free(struct pack *pack)
{
    if (!pack)
        return;
    close_tar(pack);
    EVP_MD_CTX_free(pack->digest);
    free(pack->level);
    free(pack->in);
    free(pack->out);
    free(pack);
}

void pack_begin(struct pack *pack, int fd, int copies)
{
    pack->fd = fd;
    pack->copies = pack->copies_read = copies;
    pack->at = pack->copies_at = 0;
}
