/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - SHA-256 and HMAC-SHA-256, by OpenSSL, as bytes and as lower-case hex.
 *
 * All functions return 0, or -1 when OpenSSL or a read fails.  [any thread]
 */
#ifndef SENDIT_BASE_DIGEST_H
#define SENDIT_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_SIZE 32
#define DIGEST_HEX 65 /* with its NUL */

struct digest;                   /* one running SHA-256 */
struct digest *digest_new(void); /* NULL without memory; digest_free() ends it */
int digest_add(struct digest *, const void *data, size_t len);
/* Writes the hex form and starts anew. */
int digest_hex(struct digest *, char ret_hex[DIGEST_HEX]);
void digest_free(struct digest *);

/* Of one block of bytes. */
int digest_of(const void *data, size_t len, char ret_hex[DIGEST_HEX]);
/* Of a whole file, read from its start by pread. */
int digest_of_fd(int fd, char ret_hex[DIGEST_HEX]);
int digest_hmac(const void *key, size_t key_len, const void *data, size_t len,
                uint8_t ret_mac[DIGEST_SIZE]);
void digest_to_hex(const uint8_t *bytes, size_t n, char *ret_hex); /* 2 n + 1 bytes */

#endif
