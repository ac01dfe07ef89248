/* SPDX-License-Identifier: Apache-2.0 */
/* The site key and what comes of it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "deid/identity.h"

static char folder[] = "/tmp/sendit-identity-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text, size_t len, mode_t mode)
{
    const char *path = path_of(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

/* 32 bytes 0x00..0x1f */
#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static void load_fixed(struct identity_key *key)
{
    struct err err = {0};

    assert_int_equal(identity_load(write_file("fixed", KEY "\n", strlen(KEY) + 1, 0600), key, &err),
                     0);
}

static void test_make_and_load(void **state)
{
    struct identity_key made = {0}, loaded = {0}, other = {0};
    struct err err = {0};
    struct stat st;

    (void)state;
    umask(0);
    assert_int_equal(identity_make(path_of("made"), &made, &err), 0);
    assert_int_equal(made.len, 32);
    assert_int_equal(stat(path_of("made"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 45);
    assert_int_equal(identity_load(path_of("made"), &loaded, &err), 0);
    assert_memory_equal(&made, &loaded, sizeof(made));
    assert_int_equal(strlen(made.fingerprint), 19);
    assert_int_equal(identity_make(path_of("made"), &other, &err), -1);
    assert_int_equal(err.code, ERR_PLACE);
    assert_int_equal(other.len, 0);
    assert_int_equal(identity_load(path_of("made"), &loaded, &err), 0);
    assert_memory_equal(&made, &loaded, sizeof(made));
    assert_int_equal(identity_make(path_of("other"), &other, &err), 0);
    assert_string_not_equal(made.fingerprint, other.fingerprint);
    assert_int_equal(identity_make(path_of("no/folder"), &other, &err), -1);
    identity_wipe(&made);
    assert_int_equal(made.len, 0);
}

static void refuse(const char *text, size_t len)
{
    struct identity_key key = {0};
    struct err err = {0};

    assert_int_equal(identity_load(write_file("bad", text, len, 0600), &key, &err), -1);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_non_null(strstr(err.text, "base64 on one line"));
    assert_int_equal(key.len, 0);
    if (len > 8)
        assert_null(strstr(err.text, "AAECAw"));
}

static void test_refused_contents(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "secret\n",
        KEY "\n\n",
        KEY "\n" KEY "\n",
        " " KEY "\n",
        KEY " \n",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\n", /* 31 bytes */
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",  /* no padding */
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh===\n",
        "AAECAwQFBgcI=QoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "AAECAwQFBgcI-QoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "key=" KEY "\n",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1\n",
    };
    char *big = malloc(4097);

    (void)state;
    assert_non_null(big);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(bad[i], strlen(bad[i]));
    refuse(KEY "\0\n", strlen(KEY) + 2);
    memset(big, 'A', 4096);
    refuse(big, 4096);
    refuse(big, 1372); /* 1029 bytes */
    free(big);
}

static void test_refused_files(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0660, 0602, 0610, 0601};
    struct identity_key key = {0};
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(
            identity_load(write_file("open", KEY "\n", strlen(KEY) + 1, modes[i]), &key, &err), -1);
        assert_non_null(strstr(err.text, "chmod 600"));
    }
    assert_int_equal(identity_load(path_of("absent"), &key, &err), -1);
    assert_non_null(strstr(err.text, "no key file"));
    assert_int_equal(err.code, ERR_REFUSED);
    write_file("target", KEY "\n", strlen(KEY) + 1, 0600);
    assert_int_equal(symlink("target", path_of("link")), 0);
    assert_int_equal(identity_load(path_of("link"), &key, &err), -1);
    assert_non_null(strstr(err.text, "symbolic link"));
    assert_int_equal(identity_load(folder, &key, &err), -1);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_int_equal(identity_load(path_of("fifo"), &key, &err), -1);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(key.len, 0);
}

/* A longer key, without a line end or with that of another system, is fine. */
static void test_accepted(void **state)
{
    struct identity_key key = {0};
    struct err err = {0};

    (void)state;
    assert_int_equal(identity_load(write_file("a", KEY, strlen(KEY), 0600), &key, &err), 0);
    assert_int_equal(identity_load(write_file("a", KEY "\r\n", strlen(KEY) + 2, 0400), &key, &err),
                     0);
    assert_int_equal(key.len, 32);
    assert_int_equal(key.bytes[31], 0x1f);
}

/* Computed with Python's hmac: these may never change, or a site's pseudonyms would. */
static void test_vectors(void **state)
{
    struct identity_key key = {0};
    char pseudonym[IDENTITY_PSEUDONYM], uid[IDENTITY_UID];
    int32_t days = 0;

    (void)state;
    load_fixed(&key);
    assert_string_equal(key.fingerprint, "236c-618d-43f0-2c6a");
    assert_int_equal(identity_pseudonym(&key, "patient", "12345", pseudonym), 0);
    assert_string_equal(pseudonym, "5dad176286d13f52");
    assert_int_equal(identity_pseudonym(&key, "study", "12345", pseudonym), 0);
    assert_string_not_equal(pseudonym, "5dad176286d13f52");
    assert_int_equal(identity_uid(&key, "1.2.3.4", uid), 0);
    assert_string_equal(uid, "2.25.98026831802169911332955532559252760574");
    assert_int_equal(identity_days(&key, "12345", &days), 0);
    assert_int_equal(days, -1055);
}

/* 65 characters */
#define LONG_UID "1.2.3456789012345678901234567890123456789012345678901234567890123"

static void test_uids(void **state)
{
    static const char *const bad[] = {"",      " ",     "1.2.x",  "1 2",   "1.2\\3",
                                      "DOE^J", "1.2\n", "1.2.3 ", LONG_UID};
    static const char *const standard[] = {"1.2.840.10008.1.2", "1.2.840.10008.5.1.4.1.1.481.10",
                                           "1.2.840.10008.6.1.1234",
                                           "1.2.840.10008.5.1.4.1.1.77.1.5.1"};
    static const char *const posed[] = {"1.2.840.10008.5.1.4.1.1.2.20040309",
                                        "1.2.840.100081.1",
                                        "1.2.840.10008",
                                        "1.2.840.10008.",
                                        "1.2.840.10008..1",
                                        "1.2.840.10008.5.",
                                        "1.2.840.10008.12345",
                                        "1.2.840.10008.1961.7.3",
                                        "1.2.840.10008.6.1.12345",
                                        "1.2.840.10008.5.1.4.1.1.77.1.5.1.7"};
    struct identity_key key = {0};
    char uid[IDENTITY_UID];

    (void)state;
    load_fixed(&key);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(identity_uid(&key, bad[i], uid), -1);
    for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++) {
        assert_int_equal(identity_uid(&key, standard[i], uid), 0);
        assert_string_equal(uid, standard[i]);
    }
    for (size_t i = 0; i < sizeof(posed) / sizeof(posed[0]); i++) {
        assert_int_equal(identity_uid(&key, posed[i], uid), 0);
        assert_memory_equal(uid, "2.25.", 5);
    }
    for (int i = 0; i < 2000; i++) {
        char original[32];

        snprintf(original, sizeof(original), "1.2.%d", i);
        assert_int_equal(identity_uid(&key, original, uid), 0);
        assert_true(strlen(uid) <= 44 && uid[5] != '0');
        assert_int_equal(strspn(uid + 5, "0123456789"), strlen(uid + 5));
    }
}

static void test_days(void **state)
{
    struct identity_key key = {0};
    int32_t lowest = 0, highest = -IDENTITY_DAYS;

    (void)state;
    load_fixed(&key);
    for (int i = 0; i < 40000; i++) {
        char patient[32];
        int32_t days = 0, again = 0;

        snprintf(patient, sizeof(patient), "%d", i);
        assert_int_equal(identity_days(&key, patient, &days), 0);
        assert_int_equal(identity_days(&key, patient, &again), 0);
        assert_int_equal(days, again);
        assert_true(days <= -1 && days >= -IDENTITY_DAYS);
        lowest = days < lowest ? days : lowest;
        highest = days > highest ? days : highest;
    }
    assert_int_equal(highest, -1);
    assert_int_equal(lowest, -IDENTITY_DAYS);
}

static void test_patient(void **state)
{
    static const struct {
        const char *issuer, *id, *patient;
    } rows[] = {
        {NULL, "12345", "12345"},
        {"", " 123-45 ", "12345"},
        {" Hosp-A ", "Ab-1", "hospa\\ab1"},
        {"", "\t- a b -", "a b"},
        {"", "\xc3\x84\xc3\x96\xc3\x9c\xc3\x97", "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x97"},
        {"", "\xc4\x80\xc5\xbd\xc5\xb8\xc4\xb9", "\xc4\x81\xc5\xbe\xc3\xbf\xc4\xba"},
        {"", "\xce\x91\xce\xa3\xcf\x82\xce\x86", "\xce\xb1\xcf\x83\xcf\x83\xce\xac"},
        {"", "\xd0\x90\xd0\xaf\xd0\x81", "\xd0\xb0\xd1\x8f\xd1\x91"},
        {"", "\xef\xbc\xa1\xef\xbc\x8d\xef\xbc\x91", "a1"},
        {"", "\xe5\xb1\xb1", "\xe5\xb1\xb1"},
        {"", "\xf0\x9f\x98\x80\xff", "\xf0\x9f\x98\x80\xff"},
        {"A", "B\\C", "a\\b/c"},
        {"A", "", NULL},
        {"A", " -- ", NULL},
        {NULL, NULL, NULL},
        {"-", "7", "7"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *patient = (char *)1;

        assert_int_equal(identity_patient(rows[i].issuer, rows[i].id, &patient), 0);
        if (rows[i].patient)
            assert_string_equal(patient, rows[i].patient);
        else
            assert_null(patient);
        free(patient);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make_and_load), cmocka_unit_test(test_refused_contents),
        cmocka_unit_test(test_refused_files), cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_vectors),       cmocka_unit_test(test_uids),
        cmocka_unit_test(test_days),          cmocka_unit_test(test_patient),
    };
    char command[128];
    int r;

    if (!mkdtemp(folder))
        return 1;
    r = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) ? 1 : r;
}
