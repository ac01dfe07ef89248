/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcs_crc32c.h - CRC32C (Castagnoli), by which Google Storage knows that bytes arrived.
 */
#ifndef SENDIT_GCS_CRC32C_H
#define SENDIT_GCS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#define CRC32C_TEXT 9 /* base64 of four bytes, with its NUL */

/* Go on from `crc`, 0 at first. */
uint32_t crc32c_add(uint32_t crc, const void *data, size_t length);
/* As Google writes it: base64 of the four bytes, the highest first. */
void crc32c_text(uint32_t crc, char ret_text[CRC32C_TEXT]);
/* 0 if that is one. */
int crc32c_parse(const char *text, uint32_t *ret_crc);

#endif
