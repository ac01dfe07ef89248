/* SPDX-License-Identifier: Apache-2.0 */
/*
 * letters.h - letters of UTF-8 made alike, for comparing, by code of ours: a locale would make the
 * answer depend on the machine.
 */
#ifndef SENDIT_DEID_LETTERS_H
#define SENDIT_DEID_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The small letter of a code point in ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic;
 * full-width forms become ASCII. */
uint32_t letters_small(uint32_t c);
/* The character that begins `left` bytes, which are not none, and how many it has: up to three
 * bytes of UTF-8; what is no such character is taken byte by byte. */
size_t letters_next(const char *text, size_t left, uint32_t *ret_c);
void letters_add(struct buf *out, uint32_t c);

/*
 * Append text in small letters without accents: "MÜLLER" and "Müller" become "muller", with
 * `german` "mueller", as many write it.  Bytes that are no UTF-8 stay.
 */
void letters_plain(const char *text, size_t len, bool german, struct buf *out);

#endif
