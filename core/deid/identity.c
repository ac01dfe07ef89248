/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "deid/letters.h"

#define BASE64_MAX (IDENTITY_KEY_MAX / 3 * 4 + 4)
#define FILE_MAX (BASE64_MAX + 2) /* and a line end */
#define UID_MAX 64
#define STANDARD_ROOT "1.2.840.10008."
#define STANDARD_DIGITS 3 /* between dots; PS3.6 has no more, */
#define STANDARD_ARCS 9   /* nor more numbers behind its root */

/* HMAC of the parts, each with its NUL but the last. */
static int sign(const struct identity_key *key, const char *purpose, const char *domain,
                const char *original, uint8_t ret_mac[DIGEST_SIZE])
{
    struct buf text = {0};
    int r = -1;

    buf_add(&text, purpose, strlen(purpose) + 1);
    if (domain)
        buf_add(&text, domain, strlen(domain) + 1);
    buf_str(&text, original);
    if (!text.failed)
        r = digest_hmac(key->bytes, key->len, text.data, text.len, ret_mac);
    if (text.data)
        OPENSSL_cleanse(text.data, text.len);
    buf_fini(&text);
    return r;
}

static int make_fingerprint(struct identity_key *key)
{
    uint8_t mac[DIGEST_SIZE];
    char hex[17];

    if (sign(key, "sendit.fingerprint", NULL, "", mac))
        return -1;
    digest_to_hex(mac, 8, hex);
    for (size_t i = 0; i < 4; i++) {
        memcpy(key->fingerprint + 5 * i, hex + 4 * i, 4);
        key->fingerprint[5 * i + 4] = i < 3 ? '-' : '\0';
    }
    return 0;
}

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
}

/* One line of base64 and nothing else; OpenSSL's decoder alone would forgive more. */
static int decode(const char *text, size_t len, struct identity_key *key)
{
    uint8_t bytes[FILE_MAX];
    size_t pad = 0, n;
    int decoded;

    if (len && text[len - 1] == '\n')
        len--;
    if (len && text[len - 1] == '\r')
        len--;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    if (!len || len % 4 || len > BASE64_MAX)
        return -1;
    for (size_t i = 0; i < len - pad; i++)
        if (!is_base64(text[i]))
            return -1;
    decoded = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len);
    if (decoded < 0)
        return -1;
    n = (size_t)decoded - pad;
    if (n < IDENTITY_KEY_MIN || n > IDENTITY_KEY_MAX) {
        OPENSSL_cleanse(bytes, sizeof(bytes));
        return -1;
    }
    memcpy(key->bytes, bytes, n);
    key->len = n;
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0;
}

/* Bytes of the file, up to `size`; -1 with errno. */
static ssize_t read_up_to(int fd, char *data, size_t size)
{
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (!n)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static int load_from(int fd, const char *path, struct identity_key *key, struct err *err)
{
    char text[FILE_MAX + 1]; /* one more than may be there */
    struct stat st;
    ssize_t n;
    int r;

    if (fstat(fd, &st))
        return err_set(err, ERR_REFUSED, "the key file \"%s\" cannot be read: %s", path,
                       strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_REFUSED, "the key file \"%s\" is not a regular file", path);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(err, ERR_REFUSED,
                       "others can use the key file \"%s\"; make it yours alone with chmod 600",
                       path);
    n = read_up_to(fd, text, sizeof(text));
    if (n < 0)
        return err_set(err, ERR_REFUSED, "the key file \"%s\" cannot be read: %s", path,
                       strerror(errno));
    r = (size_t)n > FILE_MAX ? -1 : decode(text, (size_t)n, key);
    OPENSSL_cleanse(text, sizeof(text));
    if (r)
        return err_set(err, ERR_REFUSED,
                       "the key file \"%s\" does not hold %d to %d bytes in base64 on one line; "
                       "restore it from its copy",
                       path, IDENTITY_KEY_MIN, IDENTITY_KEY_MAX);
    if (make_fingerprint(key))
        return err_set(err, ERR_REFUSED, "the key of \"%s\" cannot be used: OpenSSL failed", path);
    return 0;
}

int identity_load(const char *path, struct identity_key *ret_key, struct err *err)
{
    struct identity_key key = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    int r;

    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_REFUSED, "there is no key file \"%s\"", path);
    if (fd < 0 && errno == ELOOP)
        return err_set(err, ERR_REFUSED,
                       "the key file \"%s\" is a symbolic link; name the file itself", path);
    if (fd < 0)
        return err_set(err, ERR_REFUSED, "the key file \"%s\" cannot be read: %s", path,
                       strerror(errno));
    r = load_from(fd, path, &key, err);
    close(fd);
    if (!r)
        *ret_key = key;
    identity_wipe(&key);
    return r;
}

static int sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder;
    int r = -1;

    folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (folder)
        r = file_sync_folder(folder);
    free(folder);
    return r;
}

/* Write it where no file is; what could not be finished is removed again. */
static int write_key(const char *path, const char *line, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r, saved;

    if (fd < 0)
        return -1;
    r = fchmod(fd, 0600) || file_write_all(fd, line, len) || fsync(fd) || sync_parent(path) ? -1
                                                                                            : 0;
    saved = errno;
    close(fd);
    if (r)
        unlink(path);
    errno = saved;
    return r;
}

int identity_make(const char *path, struct identity_key *ret_key, struct err *err)
{
    struct identity_key key = {.len = IDENTITY_KEY_MIN};
    char line[BASE64_MAX + 2];
    int n, r;

    if (RAND_priv_bytes(key.bytes, IDENTITY_KEY_MIN) != 1 || make_fingerprint(&key))
        return err_set(err, ERR_PLACE, "no key can be made: the random source failed");
    n = EVP_EncodeBlock((unsigned char *)line, key.bytes, IDENTITY_KEY_MIN);
    line[n++] = '\n';
    r = write_key(path, line, (size_t)n);
    if (r)
        err_set(err, ERR_PLACE, "the key file \"%s\" cannot be made: %s", path, strerror(errno));
    else
        *ret_key = key;
    OPENSSL_cleanse(line, sizeof(line));
    identity_wipe(&key);
    return r;
}

void identity_wipe(struct identity_key *key)
{
    OPENSSL_cleanse(key, sizeof(*key));
}

int identity_pseudonym(const struct identity_key *key, const char *domain, const char *original,
                       char ret_pseudonym[IDENTITY_PSEUDONYM])
{
    uint8_t mac[DIGEST_SIZE];

    if (sign(key, "sendit.pseudonym", domain, original, mac))
        return -1;
    digest_to_hex(mac, 8, ret_pseudonym);
    return 0;
}

bool identity_is_standard_uid(const char *uid)
{
    size_t root = strlen(STANDARD_ROOT), arcs = 0, most = STANDARD_DIGITS;
    const char *p = uid + root;

    if (strncmp(uid, STANDARD_ROOT, root) != 0)
        return false;
    if (!strncmp(p, "6.1.", 4)) /* the context groups of PS3.16 are many */
        most++;
    for (;;) {
        size_t digits = strspn(p, "0123456789");

        if (!digits || digits > most || ++arcs > STANDARD_ARCS)
            return false;
        p += digits;
        if (!*p)
            return true;
        if (*p++ != '.')
            return false;
    }
}

static bool is_uid(const char *text)
{
    size_t n = strspn(text, "0123456789.");

    return n && n <= UID_MAX && !text[n];
}

/* Sixteen bytes as one decimal number. */
void identity_decimal(const uint8_t bytes[IDENTITY_UUID], char ret_text[IDENTITY_DECIMAL])
{
    uint32_t limbs[4], parts[5]; /* of 32 bits; of nine digits */
    size_t n = 0;
    int used;

    for (size_t i = 0; i < 4; i++)
        limbs[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 |
                   (uint32_t)bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
    while (n < 5) {
        uint64_t rest = 0;

        for (size_t i = 0; i < 4; i++) {
            rest = rest << 32 | limbs[i];
            limbs[i] = (uint32_t)(rest / 1000000000);
            rest %= 1000000000;
        }
        parts[n++] = (uint32_t)rest;
        if (!(limbs[0] | limbs[1] | limbs[2] | limbs[3]))
            break;
    }
    used = snprintf(ret_text, 11, "%" PRIu32, parts[n - 1]);
    for (char *at = ret_text + used; --n; at += 9)
        snprintf(at, 10, "%09" PRIu32, parts[n - 1]);
}

/* A UUID of version 8 (RFC 9562). */
static void mark(uint8_t *uuid)
{
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

int identity_uid(const struct identity_key *key, const char *original, char ret_uid[IDENTITY_UID])
{
    uint8_t mac[DIGEST_SIZE];

    if (!is_uid(original))
        return -1;
    if (identity_is_standard_uid(original)) {
        memcpy(ret_uid, original, strlen(original) + 1);
        return 0;
    }
    if (sign(key, "sendit.uid", NULL, original, mac))
        return -1;
    mark(mac);
    memcpy(ret_uid, "2.25.", 5);
    identity_decimal(mac, ret_uid + 5);
    return 0;
}

int identity_uuid(const struct identity_key *key, const char *original,
                  uint8_t ret_uuid[IDENTITY_UUID])
{
    uint8_t mac[DIGEST_SIZE];

    if (sign(key, "sendit.uuid", NULL, original, mac))
        return -1;
    mark(mac);
    memcpy(ret_uuid, mac, IDENTITY_UUID);
    return 0;
}

int identity_days(const struct identity_key *key, const char *patient, int32_t *ret_days)
{
    uint8_t mac[DIGEST_SIZE];
    uint64_t n = 0;

    if (sign(key, "sendit.days", NULL, patient, mac))
        return -1;
    for (size_t i = 0; i < 8; i++)
        n = n << 8 | mac[i];
    *ret_days = -1 - (int32_t)(n % IDENTITY_DAYS);
    return 0;
}

/* Blanks at either end of what is left after the "-" went do not count either. */
static void add_normalized(struct buf *out, const char *text)
{
    size_t from = out->len;

    while (*text) {
        uint32_t c;
        size_t n = letters_next(text, strlen(text), &c);

        if (n == 1 && c >= 0x80) {
            buf_add(out, text, 1);
        } else {
            c = letters_small(c);
            if (c == '\\')
                c = '/';
            if (c == '\t' || c == '\r' || c == '\n' || c == 0x3000)
                c = ' ';
            if (c != '-' && !(c == ' ' && out->len == from))
                letters_add(out, c);
        }
        text += n;
    }
    if (out->failed || !out->data)
        return;
    while (out->len > from && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
}

int identity_patient(const char *issuer, const char *id, char **ret_patient)
{
    struct buf whole = {0};
    size_t id_at;

    add_normalized(&whole, issuer ? issuer : "");
    if (whole.len)
        buf_str(&whole, "\\");
    id_at = whole.len;
    add_normalized(&whole, id ? id : "");
    if (!whole.failed && whole.len == id_at) {
        buf_fini(&whole);
        *ret_patient = NULL;
        return 0;
    }
    *ret_patient = buf_take(&whole);
    return *ret_patient ? 0 : -1;
}
