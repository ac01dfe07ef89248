/* SPDX-License-Identifier: Apache-2.0 */
#include "gcs_crc32c.h"

#include <isa-l/crc.h>
#include <string.h>

#define CRC32C_BLOCK (1u << 30) /* ISA-L counts in an int */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

uint32_t crc32c_add(uint32_t crc, const void *data, size_t length)
{
    const unsigned char *at = data;

    while (length) {
        size_t n = length < CRC32C_BLOCK ? length : CRC32C_BLOCK;

        /* it takes what it only reads without const */
        crc = ~crc32_iscsi((unsigned char *)(uintptr_t)at, (int)n, ~crc);
        at += n;
        length -= n;
    }
    return crc;
}

void crc32c_text(uint32_t crc, char ret_text[CRC32C_TEXT])
{
    uint64_t bits = (uint64_t)crc << 4; /* 36 bits are six digits */

    for (int i = 5; i >= 0; i--, bits >>= 6)
        ret_text[i] = digits[bits & 63];
    memcpy(ret_text + 6, "==", 3);
}

int crc32c_parse(const char *text, uint32_t *ret_crc)
{
    uint64_t bits = 0;

    if (!text || strlen(text) != 8 || strcmp(text + 6, "==") != 0)
        return -1;
    for (int i = 0; i < 6; i++) {
        const char *digit = strchr(digits, text[i]);

        if (!digit)
            return -1;
        bits = bits << 6 | (uint64_t)(digit - digits);
    }
    if (bits & 15)
        return -1;
    *ret_crc = (uint32_t)(bits >> 4);
    return 0;
}
