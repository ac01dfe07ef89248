/* SPDX-License-Identifier: Apache-2.0 */
/* Text to UTF-8 and back: PS3.5 annexes H, I, J, K, and what is no text in a character set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dicom/charset.h"

static struct charset_table *table;

static int set_up(void **state)
{
    (void)state;
    table = charset_table_new();
    return table ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    charset_table_free(table);
    return 0;
}

static const struct charset *get(const char *specific)
{
    const struct charset *set = charset_get(table, specific, strlen(specific));

    assert_non_null(set);
    return set;
}

static void decodes(const char *specific, const char *text, enum charset_text kind,
                    const char *utf8)
{
    struct buf out = {0};
    int result = charset_decode(get(specific), text, strlen(text), kind, &out);

    if (!utf8) {
        if (!result)
            fail_msg("%s: taken as %s", specific, out.data);
        buf_fini(&out);
        return;
    }
    if (result)
        fail_msg("%s: %s was not decoded", specific, utf8);
    assert_string_equal(out.data ? out.data : "", utf8);
    assert_int_equal(out.len, strlen(utf8));
    buf_fini(&out);
}

/* To the bytes and back; NULL where the set has no such characters. */
static void encodes(const char *specific, const char *utf8, enum charset_text kind,
                    const char *bytes)
{
    struct buf out = {0};
    int result = charset_encode(get(specific), utf8, strlen(utf8), kind, &out);

    if (!bytes) {
        if (!result)
            fail_msg("%s: %s was encoded", specific, utf8);
        buf_fini(&out);
        return;
    }
    if (result)
        fail_msg("%s: %s was not encoded", specific, utf8);
    assert_string_equal(out.data ? out.data : "", bytes);
    decodes(specific, out.data ? out.data : "", kind, utf8);
    buf_fini(&out);
}

#define ESC "\x1b"
#define YAMADA_KANJI "\xe5\xb1\xb1\xe7\x94\xb0"
#define TARO_KANJI "\xe5\xa4\xaa\xe9\x83\x8e"
#define YAMADA_KANA "\xe3\x82\x84\xe3\x81\xbe\xe3\x81\xa0"
#define TARO_KANA "\xe3\x81\x9f\xe3\x82\x8d\xe3\x81\x86"

static void examples_of_the_standard(void **state)
{
    (void)state;
    /* H.3.1 */
    decodes("\\ISO 2022 IR 87",
            "Yamada^Tarou=" ESC "$B;3ED" ESC "(B^" ESC "$BB@O:" ESC "(B=" ESC "$B$d$^$@" ESC
            "(B^" ESC "$B$?$m$&" ESC "(B",
            CHARSET_NAME,
            "Yamada^Tarou=" YAMADA_KANJI "^" TARO_KANJI "=" YAMADA_KANA "^" TARO_KANA);
    /* H.3.2: half-width katakana at first, romaji by escape */
    decodes("ISO 2022 IR 13\\ISO 2022 IR 87",
            "\xd4\xcf\xc0\xde^\xc0\xdb\xb3=" ESC "$B;3ED" ESC "(J^" ESC "$BB@O:" ESC "(J=" ESC
            "$B$d$^$@" ESC "(J^" ESC "$B$?$m$&" ESC "(J",
            CHARSET_NAME,
            "\xef\xbe\x94\xef\xbe\x8f\xef\xbe\x80\xef\xbe\x9e^"
            "\xef\xbe\x80\xef\xbe\x9b\xef\xbd\xb3=" YAMADA_KANJI "^" TARO_KANJI "=" YAMADA_KANA
            "^" TARO_KANA);
    /* I.2 */
    decodes("\\ISO 2022 IR 149",
            "Hong^Gildong=" ESC "$)C\xfb\xf3^" ESC "$)C\xd1\xce\xd4\xd7=" ESC "$)C\xc8\xab^" ESC
            "$)C\xb1\xe6\xb5\xbf",
            CHARSET_NAME,
            "Hong^Gildong=\xe6\xb4\xaa^\xe5\x90\x89\xe6\xb4\x9e=\xed\x99\x8d^\xea\xb8\xb8\xeb\x8f"
            "\x99");
    /* J.1, J.3 */
    decodes("ISO_IR 192", "Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1", CHARSET_NAME,
            "Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1");
    decodes("GB18030", "Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", CHARSET_NAME,
            "Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe4\xb8\x9c");
    /* K.2 */
    decodes("\\ISO 2022 IR 58", "Zhang^XiaoDong=" ESC "$)A\xd5\xc5^" ESC "$)A\xd0\xa1\xb6\xab",
            CHARSET_NAME, "Zhang^XiaoDong=\xe5\xbc\xa0^\xe5\xb0\x8f\xe4\xb8\x9c");
}

static void single_byte_sets(void **state)
{
    (void)state;
    decodes("", "Plain^Name", CHARSET_NAME, "Plain^Name");
    decodes("ISO_IR 100", "Buc^J\xe9r\xf4me", CHARSET_NAME, "Buc^J\xc3\xa9r\xc3\xb4me");
    decodes("ISO_IR 101",
            "W\xb3"
            "a",
            CHARSET_NAME,
            "W\xc5\x82"
            "a");
    decodes("ISO_IR 144", "\xbb", CHARSET_TEXT, "\xd0\x9b");
    decodes("ISO_IR 126", "\xc4", CHARSET_TEXT, "\xce\x94");
    decodes("ISO_IR 127", "\xe2", CHARSET_TEXT, "\xd9\x82");
    decodes("ISO_IR 138", "\xf9", CHARSET_TEXT, "\xd7\xa9");
    decodes("ISO_IR 166", "\xca", CHARSET_TEXT, "\xe0\xb8\xaa");
    decodes("ISO_IR 203", "\xa4", CHARSET_TEXT, "\xe2\x82\xac");
    decodes("ISO_IR 13", "\xd4\xcf", CHARSET_TEXT, "\xef\xbe\x94\xef\xbe\x8f");
    /* as sloppy writers spell it */
    decodes("ISO-IR 100", "\xe9", CHARSET_TEXT, "\xc3\xa9");
    decodes(" ISO_IR 100 ", "\xe9", CHARSET_TEXT, "\xc3\xa9");
    decodes("ISO IR 100", "\xe9", CHARSET_TEXT, "\xc3\xa9");
    decodes("ISO 2022 IR 100", "\xe9", CHARSET_TEXT, "\xc3\xa9");
}

/* Where text goes back to the set at its beginning: PS3.5 6.1.2.5.3. */
static void delimiters_reset(void **state)
{
    (void)state;
    decodes("\\ISO 2022 IR 144", "A" ESC "-L\xbb^B\xbb", CHARSET_NAME, NULL);
    decodes("\\ISO 2022 IR 144", "A" ESC "-L\xbb^B" ESC "-L\xbb", CHARSET_NAME,
            "A\xd0\x9b^B\xd0\x9b");
    decodes("\\ISO 2022 IR 144", "A" ESC "-L\xbb^B\xbb", CHARSET_VALUES, "A\xd0\x9b^B\xd0\x9b");
    decodes("\\ISO 2022 IR 144", "A" ESC "-L\xbb\\B\xbb", CHARSET_VALUES, NULL);
    decodes("\\ISO 2022 IR 144", "A" ESC "-L\xbb\\B\xbb", CHARSET_TEXT, "A\xd0\x9b\\B\xd0\x9b");
    decodes("\\ISO 2022 IR 144", "A" ESC "-L\xbb\nB\xbb", CHARSET_TEXT, NULL);
    decodes("ISO 2022 IR 100\\ISO 2022 IR 144", ESC "-L\xbb^\xe9", CHARSET_NAME,
            "\xd0\x9b^\xc3\xa9");
    /* a backslash as the second byte of a character is none */
    decodes("\\ISO 2022 IR 87", ESC "$B\x25\x5c" ESC "(B", CHARSET_VALUES, "\xe3\x83\x9c");
}

static void what_is_no_text(void **state)
{
    (void)state;
    decodes("", "caf\xe9", CHARSET_TEXT, NULL);                /* ASCII only */
    decodes("ISO_IR 192", "caf\xe9", CHARSET_TEXT, NULL);      /* no UTF-8 */
    decodes("ISO_IR 192", "\xc0\xaf", CHARSET_TEXT, NULL);     /* overlong */
    decodes("ISO_IR 192", "\xed\xa0\x80", CHARSET_TEXT, NULL); /* a surrogate */
    decodes("ISO_IR 192", "\xf4\x90\x80\x80", CHARSET_TEXT, NULL);
    decodes("ISO_IR 192", "\xe2\x82", CHARSET_TEXT, NULL);      /* cut */
    decodes("ISO_IR 100", "M\xc3\xbcller", CHARSET_TEXT, NULL); /* UTF-8 that says Latin-1 */
    decodes("ISO_IR 100", "\x80", CHARSET_TEXT, NULL);          /* a C1 control */
    decodes("ISO_IR 127", "\xa1", CHARSET_TEXT, NULL);          /* a hole in the set */
    decodes("ISO_IR 100", ESC "-L\xbb", CHARSET_TEXT, NULL);    /* no extensions declared */
    decodes("\\ISO 2022 IR 87", ESC "$B;", CHARSET_TEXT, NULL); /* half a character */
    decodes("\\ISO 2022 IR 87", ESC "$B;\xb3", CHARSET_TEXT, NULL);
    decodes("\\ISO 2022 IR 87", ESC, CHARSET_TEXT, NULL);
    decodes("\\ISO 2022 IR 87", ESC "$", CHARSET_TEXT, NULL);
    decodes("\\ISO 2022 IR 87", ESC "%G\xe9", CHARSET_TEXT, NULL); /* an escape of others */
    decodes("GB18030", "\x81", CHARSET_TEXT, NULL);
    decodes("GB18030", "\x81\x7f", CHARSET_TEXT, NULL);
}

static void sets_that_are_unknown(void **state)
{
    static const char *const unknown[] = {"ISO_IR 999",
                                          "UTF-8",
                                          "latin1",
                                          "ISO_IR 192\\ISO 2022 IR 87",
                                          "ISO 2022 IR 87\\ISO_IR 192",
                                          "GB18030\\GBK",
                                          "ISO_IR 1000000000000000000000",
                                          "ISO_IR -7",
                                          "ISO_IR 100x",
                                          "ISO_IR"};
    static const char *const known[] = {"",
                                        "ISO_IR 100",
                                        "ISO-IR 100",
                                        "ISO_IR 192",
                                        "GB18030 ",
                                        "\\ISO 2022 IR 87",
                                        "ISO 2022 IR 6\\ISO 2022 IR 149"};
    char longest[300];

    (void)state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        decodes(unknown[i], "Plain", CHARSET_TEXT, "Plain"); /* ASCII is ASCII in all of them */
        decodes(unknown[i], "\xe9", CHARSET_TEXT, NULL);
        encodes(unknown[i], "\xc3\xa9", CHARSET_TEXT, NULL);
        assert_false(charset_is_known(unknown[i], strlen(unknown[i])));
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_true(charset_is_known(known[i], strlen(known[i])));
    assert_true(charset_is_known(NULL, 0));
    memset(longest, 'x', sizeof(longest));
    longest[299] = '\0';
    assert_false(charset_is_known(longest, 299));
    decodes(longest, "Plain", CHARSET_TEXT, "Plain");
    decodes(longest, "\xe9", CHARSET_TEXT, NULL);
    for (int i = 0; i < 200; i++) { /* more than are kept */
        snprintf(longest, sizeof(longest), "ISO_IR 100\\ISO 2022 IR %d", 1000 + i);
        decodes(longest, "Plain", CHARSET_TEXT, "Plain");
        decodes(longest, "\xe9", CHARSET_TEXT, NULL);
    }
    decodes("", "Plain", CHARSET_TEXT, "Plain");
}

static void text_is_encoded(void **state)
{
    (void)state;
    encodes("", "Plain", CHARSET_NAME, "Plain");
    encodes("ISO_IR 100", "J\xc3\xa9", CHARSET_NAME, "J\xe9");
    encodes("ISO_IR 192", YAMADA_KANJI, CHARSET_NAME, YAMADA_KANJI);
    encodes("GB18030", "\xe7\x8e\x8b", CHARSET_NAME, "\xcd\xf5");
    encodes("\\ISO 2022 IR 87", "A^" YAMADA_KANJI "^B", CHARSET_NAME, "A^" ESC "$B;3ED" ESC "(B^B");
    encodes("\\ISO 2022 IR 149", "\xed\x99\x8d^\xed\x99\x8d", CHARSET_NAME,
            ESC "$)C\xc8\xab^" ESC "$)C\xc8\xab");
    encodes("ISO 2022 IR 100\\ISO 2022 IR 144", "\xc3\xa9\xd0\x9b^\xc3\xa9", CHARSET_NAME,
            "\xe9" ESC "-L\xbb^\xe9");
    encodes("", "\xc3\xa9", CHARSET_TEXT, NULL);
    encodes("ISO_IR 100", "\xd0\x9b", CHARSET_TEXT, NULL);
    encodes("\\ISO 2022 IR 87", "\xc3\xa9", CHARSET_TEXT, NULL);
    encodes("ISO_IR 192", "\xff", CHARSET_TEXT, NULL);
    encodes("ISO_IR 192", "a" ESC "$B", CHARSET_TEXT, NULL); /* no escapes of one's own */
    encodes("ISO_IR 100", "a" ESC "$B", CHARSET_TEXT, NULL);
}

/* Any bytes: an answer, never a crash, and what is decoded is UTF-8 that comes back. */
static void any_bytes(void **state)
{
    static const char *const sets[] = {"",
                                       "ISO_IR 100",
                                       "ISO_IR 13",
                                       "ISO_IR 192",
                                       "GB18030",
                                       "GBK",
                                       "\\ISO 2022 IR 87\\ISO 2022 IR 159\\ISO 2022 IR 149",
                                       "ISO 2022 IR 13\\ISO 2022 IR 58"};
    static const char pieces[] = ESC ESC "$$()BCDAJI-LMT\\^=\n;3ED";
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct buf out = {0}, back = {0};
        char text[24];
        size_t n = (size_t)round % sizeof(text);
        const struct charset *set = get(sets[(size_t)round % 8]);

        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = seed >> 31 ? pieces[(seed >> 8) % (sizeof(pieces) - 1)] : (char)(seed >> 16);
        }
        if (!charset_decode(set, text, n, (enum charset_text)(round % 3), &out)) {
            assert_true(charset_is_utf8(out.data ? out.data : "", out.len));
            charset_encode(set, out.data ? out.data : "", out.len, CHARSET_NAME, &back);
        }
        buf_fini(&out);
        buf_fini(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_standard),
        cmocka_unit_test(single_byte_sets),
        cmocka_unit_test(delimiters_reset),
        cmocka_unit_test(what_is_no_text),
        cmocka_unit_test(sets_that_are_unknown),
        cmocka_unit_test(text_is_encoded),
        cmocka_unit_test(any_bytes),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
