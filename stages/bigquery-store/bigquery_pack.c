/* SPDX-License-Identifier: Apache-2.0 */
#include "bigquery_pack.h"

#include <stdlib.h>
#include <string.h>

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <zlib.h>

#define STORED_BLOCK 65535u /* what does not shrink is stored in blocks of this size */
#define STORED_HEAD 5u

int pack_add(struct pack *pack, const char *row, size_t length)
{
    if (length > pack->room - pack->length) {
        size_t room = pack->room ? pack->room : 64 << 10;
        char *rows;

        while (room - pack->length < length)
            room *= 2;
        rows = realloc(pack->rows, room);
        if (!rows)
            return -1;
        pack->rows = rows;
        pack->room = room;
    }
    memcpy(pack->rows + pack->length, row, length);
    pack->length += length;
    pack->n_rows++;
    return 0;
}

bool pack_is_full(const struct pack *pack)
{
    return pack->length >= PACK_PART || pack->n_rows >= PACK_ROWS;
}

static int deflate_all(const struct pack *pack, unsigned char *to, size_t room, size_t *ret_length)
{
    struct isal_zstream *stream = malloc(sizeof(*stream));
    uint8_t *level = malloc(ISAL_DEF_LVL1_DEFAULT);
    int result = -1;

    if (stream && level) {
        isal_deflate_stateless_init(stream);
        stream->level = 1;
        stream->level_buf = level;
        stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
        stream->gzip_flag = IGZIP_DEFLATE;
        stream->flush = FULL_FLUSH;
        stream->end_of_stream = 0;
        stream->next_in = (uint8_t *)pack->rows;
        stream->avail_in = (uint32_t)pack->length;
        stream->next_out = to;
        stream->avail_out = (uint32_t)room;
        result = isal_deflate_stateless(stream) == COMP_OK && !stream->avail_in ? 0 : -1;
        *ret_length = stream->total_out;
    }
    free(level);
    free(stream);
    return result;
}

int pack_end(struct pack *pack, unsigned char **ret_data, struct pack_sum *ret_sum)
{
    size_t room = pack->length + (pack->length / STORED_BLOCK + 2) * STORED_HEAD + 64, length;
    unsigned char *data = malloc(room), *less;

    if (!data || deflate_all(pack, data, room, &length)) {
        free(data);
        return -1;
    }
    less = realloc(data, length);
    *ret_data = less ? less : data;
    ret_sum->crc = crc32_gzip_refl(0, (const unsigned char *)pack->rows, pack->length);
    ret_sum->raw = pack->length;
    ret_sum->bytes = length;
    pack->length = 0;
    pack->n_rows = 0;
    return 0;
}

void pack_fini(struct pack *pack)
{
    free(pack->rows);
    memset(pack, 0, sizeof(*pack));
}

void pack_sum_add(struct pack_sum *sum, const struct pack_sum *part)
{
    sum->crc = (uint32_t)crc32_combine(sum->crc, part->crc, (z_off_t)part->raw);
    sum->raw += part->raw;
    sum->bytes += part->bytes;
}

void pack_head(unsigned char head[PACK_HEAD])
{
    static const unsigned char bytes[PACK_HEAD] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff};

    memcpy(head, bytes, PACK_HEAD);
}

void pack_tail(const struct pack_sum *sum, unsigned char tail[PACK_TAIL])
{
    tail[0] = 3; /* an empty last block */
    tail[1] = 0;
    for (int i = 0; i < 4; i++) {
        tail[2 + i] = (unsigned char)(sum->crc >> (8 * i));
        tail[6 + i] = (unsigned char)(sum->raw >> (8 * i));
    }
}
