/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/letters.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

uint32_t letters_small(uint32_t c)
{
    if (c >= 0xff01 && c <= 0xff5e) /* full-width forms */
        c -= 0xfee0;
    if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7))
        return c + 32;
    if (c == 0x178)
        return 0xff;
    if ((c >= 0x100 && c <= 0x137 && c != 0x130 && c != 0x131) || (c >= 0x14a && c <= 0x177))
        return c | 1;
    if (c == 0x130 || c == 0x131) /* Turkish letters i */
        return 'i';
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
        return c + (c & 1);
    if (c == 0x386)
        return 0x3ac;
    if (c >= 0x388 && c <= 0x38a)
        return c + 37;
    if (c == 0x38c)
        return 0x3cc;
    if (c == 0x38e || c == 0x38f)
        return c + 63;
    if (c >= 0x391 && c <= 0x3ab && c != 0x3a2)
        return c + 32;
    if (c == 0x3c2) /* final sigma */
        return 0x3c3;
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if (c >= 0x410 && c <= 0x42f)
        return c + 32;
    if ((c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f))
        return c | 1;
    return c;
}

size_t letters_next(const char *text, size_t left, uint32_t *ret_c)
{
    const unsigned char *p = (const unsigned char *)text;

    if (left > 1 && p[0] >= 0xc2 && p[0] < 0xe0 && (p[1] & 0xc0) == 0x80) {
        *ret_c = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
        return 2;
    }
    if (left > 2 && p[0] >= 0xe0 && p[0] < 0xf0 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80) {
        *ret_c = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        return 3;
    }
    *ret_c = p[0];
    return 1;
}

void letters_add(struct buf *out, uint32_t c)
{
    char utf8[3];

    if (c < 0x80) {
        utf8[0] = (char)c;
        buf_add(out, utf8, 1);
    } else if (c < 0x800) {
        utf8[0] = (char)(0xc0 | c >> 6);
        utf8[1] = (char)(0x80 | (c & 0x3f));
        buf_add(out, utf8, 2);
    } else {
        utf8[0] = (char)(0xe0 | c >> 12);
        utf8[1] = (char)(0x80 | (c >> 6 & 0x3f));
        utf8[2] = (char)(0x80 | (c & 0x3f));
        buf_add(out, utf8, 3);
    }
}

/* Small letters with an accent, and the one without. */
static const struct {
    uint32_t from, to, plain;
} accents[] = {
    {0xe0, 0xe5, 'a'},     {0xe7, 0xe7, 'c'},     {0xe8, 0xeb, 'e'},     {0xec, 0xef, 'i'},
    {0xf0, 0xf0, 'd'},     {0xf1, 0xf1, 'n'},     {0xf2, 0xf6, 'o'},     {0xf8, 0xf8, 'o'},
    {0xf9, 0xfc, 'u'},     {0xfd, 0xfd, 'y'},     {0xff, 0xff, 'y'},     {0x100, 0x105, 'a'},
    {0x106, 0x10d, 'c'},   {0x10e, 0x111, 'd'},   {0x112, 0x11b, 'e'},   {0x11c, 0x123, 'g'},
    {0x124, 0x127, 'h'},   {0x128, 0x131, 'i'},   {0x134, 0x135, 'j'},   {0x136, 0x138, 'k'},
    {0x139, 0x142, 'l'},   {0x143, 0x14b, 'n'},   {0x14c, 0x151, 'o'},   {0x154, 0x159, 'r'},
    {0x15a, 0x161, 's'},   {0x162, 0x167, 't'},   {0x168, 0x173, 'u'},   {0x174, 0x175, 'w'},
    {0x176, 0x178, 'y'},   {0x179, 0x17e, 'z'},   {0x17f, 0x17f, 's'},   {0x1a0, 0x1a1, 'o'},
    {0x1af, 0x1b0, 'u'},   {0x218, 0x219, 's'},   {0x21a, 0x21b, 't'},   {0x3ac, 0x3ac, 0x3b1},
    {0x3ad, 0x3ad, 0x3b5}, {0x3ae, 0x3ae, 0x3b7}, {0x3af, 0x3af, 0x3b9}, {0x3ca, 0x3ca, 0x3b9},
    {0x3cb, 0x3cb, 0x3c5}, {0x3cc, 0x3cc, 0x3bf}, {0x3cd, 0x3cd, 0x3c5}, {0x3ce, 0x3ce, 0x3c9},
    {0x451, 0x451, 0x435}, {0x1ea0, 0x1eb7, 'a'}, {0x1eb8, 0x1ec7, 'e'}, {0x1ec8, 0x1ecb, 'i'},
    {0x1ecc, 0x1ee3, 'o'}, {0x1ee4, 0x1ef1, 'u'}, {0x1ef2, 0x1ef9, 'y'},
};

/* Letters that are written as two; the latter ones only where German is. */
static const struct {
    uint32_t c;
    const char *two;
} pairs[] = {{0xdf, "ss"}, {0xe6, "ae"}, {0xfe, "th"}, {0x133, "ij"}, {0x153, "oe"}, {0x1e9e, "ss"},
             {0xe4, "ae"}, {0xf6, "oe"}, {0xfc, "ue"}, {0xe5, "aa"},  {0xf8, "oe"}};
#define N_ALWAYS 6

static void add_plain(uint32_t c, bool german, struct buf *out)
{
    if (c >= 0x300 && c <= 0x36f) /* an accent that stands alone, behind its letter */
        return;
    for (size_t i = 0; i < (german ? COUNT(pairs) : N_ALWAYS); i++)
        if (pairs[i].c == c) {
            buf_str(out, pairs[i].two);
            return;
        }
    for (size_t i = 0; i < COUNT(accents); i++)
        if (c >= accents[i].from && c <= accents[i].to) {
            letters_add(out, accents[i].plain);
            return;
        }
    letters_add(out, c);
}

/* ASCII has no accents; most texts are nothing else. */
static size_t add_ascii(const char *text, size_t len, struct buf *out)
{
    size_t n = 0;

    if (!buf_reserve(out, len))
        return 0;
    for (; n < len && (unsigned char)text[n] < 0x80; n++) {
        char c = text[n];

        out->data[out->len++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    out->data[out->len] = '\0';
    return n;
}

void letters_plain(const char *text, size_t len, bool german, struct buf *out)
{
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c;

        n = add_ascii(text + i, len - i, out);
        if (n)
            continue;
        n = letters_next(text + i, len - i, &c);
        if (n == 1 && c >= 0x80)
            buf_add(out, text + i, 1);
        else
            add_plain(letters_small(c), german, out);
    }
}
