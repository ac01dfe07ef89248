/* SPDX-License-Identifier: Apache-2.0 */
#include "base/digest.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

struct digest {
    EVP_MD_CTX *ctx;
};

static pthread_once_t fetched = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
}

/* EVP_sha256() alone has OpenSSL 3 look for it each time, which takes longer than a short text. */
static const EVP_MD *sha256_once(void)
{
    pthread_once(&fetched, fetch);
    return sha256 ? sha256 : EVP_sha256();
}

struct digest *digest_new(void)
{
    struct digest *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || EVP_DigestInit_ex(d->ctx, sha256_once(), NULL) != 1) {
        digest_free(d);
        return NULL;
    }
    return d;
}

int digest_add(struct digest *d, const void *data, size_t len)
{
    return EVP_DigestUpdate(d->ctx, data, len) == 1 ? 0 : -1;
}

int digest_hex(struct digest *d, char ret_hex[DIGEST_HEX])
{
    uint8_t bytes[DIGEST_SIZE];

    if (EVP_DigestFinal_ex(d->ctx, bytes, NULL) != 1)
        return -1;
    digest_to_hex(bytes, sizeof(bytes), ret_hex);
    return EVP_DigestInit_ex(d->ctx, sha256_once(), NULL) == 1 ? 0 : -1;
}

void digest_free(struct digest *d)
{
    if (d)
        EVP_MD_CTX_free(d->ctx);
    free(d);
}

int digest_of(const void *data, size_t len, char ret_hex[DIGEST_HEX])
{
    uint8_t bytes[DIGEST_SIZE];

    if (EVP_Digest(data, len, bytes, NULL, sha256_once(), NULL) != 1)
        return -1;
    digest_to_hex(bytes, sizeof(bytes), ret_hex);
    return 0;
}

int digest_of_fd(int fd, char ret_hex[DIGEST_HEX])
{
    struct digest *d = digest_new();
    char block[65536];
    off_t at = 0;
    ssize_t n = 0;
    int r = -1;

    if (!d)
        return -1;
    for (;;) {
        n = pread(fd, block, sizeof(block), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (digest_add(d, block, (size_t)n))
            goto out;
        at += n;
    }
    r = n < 0 ? -1 : digest_hex(d, ret_hex);
out:
    digest_free(d);
    return r;
}

int digest_hmac(const void *key, size_t key_len, const void *data, size_t len,
                uint8_t ret_mac[DIGEST_SIZE])
{
    unsigned int n = DIGEST_SIZE;

    if (key_len > 1u << 20)
        return -1;
    return HMAC(EVP_sha256(), key, (int)key_len, data, len, ret_mac, &n) ? 0 : -1;
}

void digest_to_hex(const uint8_t *bytes, size_t n, char *ret_hex)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        ret_hex[2 * i] = digits[bytes[i] >> 4];
        ret_hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret_hex[2 * n] = '\0';
}
