/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_table.h - the tables of filters/: lines of a tag and its action codes, separated by tabs.
 *
 * A line that begins with "#" is a comment; the first other one names the columns.  Rows are sorted
 * by tag.  Anything else refuses the file with its line: a row that is misread would let something
 * pass.
 */
#ifndef SENDIT_DEID_CODE_TABLE_H
#define SENDIT_DEID_CODE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CODE_TABLE_MAX_BYTES (1u << 20)
#define CODE_TABLE_MAX_ROWS 4096
#define CODE_TABLE_MAX_CODES 12 /* columns beside the tag */

/* What may become of an attribute; several bits where the table leaves a choice. */
enum {
    CODE_X = 1 << 0, /* remove */
    CODE_Z = 1 << 1, /* empty */
    CODE_D = 1 << 2, /* dummy */
    CODE_U = 1 << 3, /* new UID */
    CODE_K = 1 << 4, /* keep */
    CODE_C = 1 << 5  /* clean */
};

/* Rows that stand for many tags. */
#define CODE_TABLE_CURVES 0x50000000u           /* (50xx,xxxx) */
#define CODE_TABLE_OVERLAY_DATA 0x60003000u     /* (60xx,3000) */
#define CODE_TABLE_OVERLAY_COMMENTS 0x60004000u /* (60xx,4000) */
#define CODE_TABLE_PRIVATE 0xffffffffu          /* (odd,xxxx) */

struct code_row {
    uint32_t tag;
    unsigned line;                       /* of the file, from 1 */
    uint8_t codes[CODE_TABLE_MAX_CODES]; /* CODE_ bits by column, 0 for "-" */
};
struct code_table {
    struct code_row *rows; /* owned, sorted by tag */
    size_t n_rows;
    char *text; /* owned: the file as it was read */
    size_t len;
};

/* `columns` are the words that the line of names must have, "tag" first, NULL last.  -1 with
 * ERR_REFUSED; code_table_free() after success. */
int code_table_load(const char *path, const char *const *columns, struct code_table *ret_table,
                    struct err *err);
void code_table_free(struct code_table *table);

#endif
