/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bigquery_pack.h - rows, compressed in parts.  A part is deflated by itself and ends on a byte, so
 * that any parts, one behind the other, make one gzip file, whose bytes are the same each time:
 * nothing is compressed anew, by another processor perhaps, when a load is tried again.
 */
#ifndef SENDIT_BIGQUERY_PACK_H
#define SENDIT_BIGQUERY_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACK_PART (4u << 20) /* bytes of rows after which a part ends */
#define PACK_ROWS 4096u      /* and how many rows it has at most */
#define PACK_HEAD 10u        /* of a gzip file */
#define PACK_TAIL 10u

struct pack {
    char *rows; /* of the part in hand */
    size_t length, room;
    uint32_t n_rows;
};
struct pack_sum { /* of one or more parts */
    uint32_t crc;
    uint64_t raw, bytes; /* of rows; compressed */
};

/* -1 without memory. */
int pack_add(struct pack *pack, const char *row, size_t length);
bool pack_is_full(const struct pack *pack);
/* End the part: *ret_data is the caller's to free. */
int pack_end(struct pack *pack, unsigned char **ret_data, struct pack_sum *ret_sum);
void pack_fini(struct pack *pack);

/* What stands before and behind the parts. */
void pack_sum_add(struct pack_sum *sum, const struct pack_sum *part);
void pack_head(unsigned char head[PACK_HEAD]);
void pack_tail(const struct pack_sum *sum, unsigned char tail[PACK_TAIL]);

#endif
