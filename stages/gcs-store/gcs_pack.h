/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_pack.h - images as compressed pieces of a tar, and archives made of such pieces.
 *
 * Each image becomes a tar entry, and that a piece of a deflate stream that knows nothing of what
 * came before it and ends on a whole byte.  The pieces of a batch lie in one spool file in the
 * order of their coming; an archive is some of them in another order, with a head and an end.  No
 * image is on the heap: it goes through one buffer.
 */
#ifndef SENDIT_GCS_PACK_H
#define SENDIT_GCS_PACK_H

#include <stdbool.h>

#include <sendit/stage.h>

#define PACK_MAX_COPIES (4ull << 30) /* bytes of a batch */
#define PACK_CONTENT 65              /* SHA-256 in hex, with its NUL */
#define PACK_TAIL 64                 /* room for the end of an archive */

struct pack; /* buffers and machines; one for an instance */

struct pack_piece {
    uint64_t offset, length; /* in the spool file */
    uint64_t plain;          /* bytes of tar */
    uint32_t crc;            /* CRC-32 of those */
    uint32_t crc32c;         /* of what is in the spool file */
    bool has_copy;           /* those bytes lie in the file of copies, too */
    uint64_t copy;           /* and where */
};

/* An archive, ready to be sent. */
struct pack_archive {
    struct sendit_part *parts; /* owned; they point into this struct and the spool file */
    uint32_t n_parts;
    uint64_t total, plain; /* bytes of it, and of the tar */
    uint32_t crc32c;
    char content[PACK_CONTENT]; /* SHA-256 of the tar */
    unsigned char tail[PACK_TAIL];
};

enum pack_result {
    PACK_OK = 0,
    PACK_PLACE = -1,  /* the spool file cannot be written or read: errno */
    PACK_SOURCE = -2, /* the image cannot be read, or not to its end */
    PACK_MEMORY = -3,
    PACK_BROKEN = -4 /* what is in the spool file is not what was put there */
};

struct pack *pack_new(void); /* NULL without memory */
void pack_free(struct pack *pack);
/* A batch begins with an empty spool file, and another one for copies of what is packed: to read
 * them takes a third of the time that unpacking does.  -1 for none; when it is full, it is left
 * alone. */
void pack_begin(struct pack *pack, int fd, int copies);
/* The image as `member`, behind what is there. */
enum pack_result pack_add(struct pack *pack, const struct sendit_file *file, const char *member,
                          struct pack_piece *ret_piece);
/* Forget the piece that was added last. */
void pack_take_back(struct pack *pack, const struct pack_piece *piece);
/* Pieces in that order as an archive.  Each is read once, and is what was packed. */
enum pack_result pack_seal(struct pack *pack, const struct pack_piece *const *pieces, size_t n,
                           struct pack_archive *ret_archive);
void pack_archive_fini(struct pack_archive *archive);

/* SHA-256 and CRC32C of an image as it is; the buffer of `pack` is used. */
enum pack_result pack_digest(struct pack *pack, const struct sendit_file *file,
                             char ret_content[PACK_CONTENT], uint32_t *ret_crc32c);

#endif
