/* SPDX-License-Identifier: Apache-2.0 */
/* google_jwt.c - a JSON Web Token, RS256 (RFC 7515, 7518), for OAuth 2.0 as RFC 7523 has it. */
#include "google_parts.h"

#include <stdlib.h>
#include <string.h>

/* Base64 with the letters of URLs and without padding, behind what `to` has. */
static void add_base64(char *to, size_t *used, const unsigned char *data, size_t length)
{
    char *at = to + *used;
    size_t n = (size_t)EVP_EncodeBlock((unsigned char *)at, data, (int)length);

    while (n && at[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++)
        at[i] = at[i] == '+' ? '-' : at[i] == '/' ? '_' : at[i];
    at[n] = '\0';
    *used += n;
}

static size_t room(size_t length)
{
    return 4 * ((length + 2) / 3) + 2;
}

static int sign(EVP_PKEY *key, const char *text, size_t length, unsigned char *to, size_t *size)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int done = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestSign(ctx, to, size, (const unsigned char *)text, length) == 1;

    EVP_MD_CTX_free(ctx);
    return done;
}

/* header and claims are taken. */
static char *join(EVP_PKEY *key, char *header, char *claims)
{
    size_t size = (size_t)EVP_PKEY_get_size(key), used = 0;
    unsigned char *signature = malloc(size);
    char *jwt = NULL;

    if (header && claims && signature)
        jwt = malloc(room(strlen(header)) + room(strlen(claims)) + room(size) + 2);
    if (jwt) {
        add_base64(jwt, &used, (const unsigned char *)header, strlen(header));
        jwt[used++] = '.';
        add_base64(jwt, &used, (const unsigned char *)claims, strlen(claims));
        if (sign(key, jwt, used, signature, &size)) {
            jwt[used++] = '.';
            add_base64(jwt, &used, signature, size);
        } else {
            free(jwt);
            jwt = NULL;
        }
    }
    free(signature);
    free(header);
    free(claims);
    return jwt;
}

char *jwt_make(const struct credentials *credentials, const char *scope, const char *audience,
               int64_t now_ms)
{
    const json_int_t now = now_ms / 1000;
    json_t *header =
        json_pack("{s:s, s:s, s:s*}", "alg", "RS256", "typ", "JWT", "kid", credentials->key_id);
    json_t *claims = json_pack("{s:s, s:s, s:s, s:I, s:I}", "iss", credentials->email, "scope",
                               scope, "aud", audience, "iat", now, "exp", now + ASSERTION_S);
    char *jwt = NULL;

    if (header && claims)
        jwt = join(credentials->key, json_dumps(header, JSON_COMPACT),
                   json_dumps(claims, JSON_COMPACT));
    json_decref(header);
    json_decref(claims);
    return jwt;
}
