/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All fragments are read as one stream of pictures, since a picture may be cut at any byte.
 * Between pictures only padding may stand; in one, marker segments (ITU-T T.81 B.1.1, T.87,
 * T.800 A) and, behind the one that says so, entropy-coded bytes up to the next marker.
 */
#include "pixel_stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 65536u
#define SHOWN 256 /* bytes of a segment that are looked at closely; longer ones are unknown */
#define SHORTEST_TEXT 3
#define UID_SYNTAX "1.2.840.10008.1.2."

#define START_OF_SCAN 0xDA
#define END_OF_PICTURE 0xD9 /* of all of them */
#define START_OF_DATA 0x93  /* JPEG 2000 */
#define CODESTREAM_COMMENT 0x64

enum family { JPEG, JPEG_LS, JPEG_2000, RLE };

struct stream {
    int fd;
    uint64_t at, end;  /* what is not read yet */
    uint32_t left;     /* bytes of the fragment in hand */
    size_t n, i;       /* bytes in the block, and those that were taken */
    int begins, ended; /* the next byte is the first of a fragment; there is no more */
    int broken;        /* could not be read */
    enum family family;
    unsigned char block[BLOCK];
};

/* ---- bytes ---- */

/* At least `wanted` bytes in the block, if there are so many; how many there are. */
static size_t have(struct stream *s, size_t wanted)
{
    if (s->n - s->i >= wanted)
        return s->n - s->i;
    memmove(s->block, s->block + s->i, s->n - s->i);
    s->n -= s->i;
    s->i = 0;
    while (s->n < wanted && s->at < s->end) {
        size_t room = BLOCK - s->n;
        size_t n = s->end - s->at < room ? (size_t)(s->end - s->at) : room;
        ssize_t got = pread(s->fd, s->block + s->n, n, (off_t)s->at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            s->broken = 1;
            s->end = s->at;
            break;
        }
        s->n += (size_t)got;
        s->at += (uint64_t)got;
    }
    return s->n - s->i;
}

static uint32_t little(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Go to the next fragment that has bytes; 0 at the end. */
static int enter(struct stream *s)
{
    while (!s->left && !s->ended) {
        const unsigned char *head;

        if (have(s, 8) < 8) {
            s->broken = s->ended = 1;
            break;
        }
        head = s->block + s->i;
        s->i += 8;
        if (little(head) != 0xE000FFFEu)
            s->ended = 1;
        else
            s->left = little(head + 4);
        s->begins = 1;
    }
    return !s->ended;
}

/* The next byte, or -1. */
static int next(struct stream *s)
{
    if ((!s->left && !enter(s)) || !have(s, 1))
        return -1;
    s->left--;
    s->begins = 0;
    return s->block[s->i++];
}

/* Go behind the next 0xFF; 0 if there is none in the fragment in hand. */
static int find_marker(struct stream *s)
{
    while (s->left) {
        size_t n = have(s, 1);
        const unsigned char *hit;

        if (!n) {
            s->left = 0;
            break;
        }
        if (n > s->left)
            n = s->left;
        hit = memchr(s->block + s->i, 0xFF, n);
        if (hit)
            n = (size_t)(hit - (s->block + s->i)) + 1;
        s->i += n;
        s->left -= (uint32_t)n;
        s->begins = 0;
        if (hit)
            return 1;
    }
    return 0;
}

/* ---- segments ---- */

static int is_word(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0xC0;
}

/* A NUL between two letters is that of a character of two bytes. */
static int has_text(const unsigned char *data, size_t n)
{
    size_t run = 0;

    for (size_t i = 0; i < n && run < SHORTEST_TEXT; i++)
        if (data[i])
            run = is_word(data[i]) ? run + 1 : 0;
    return run >= SHORTEST_TEXT;
}

/* "2.3.0", "v7.3.3": no number of a patient, and no date. */
static int is_version(const unsigned char *data, size_t n)
{
    size_t digits = 0;

    for (size_t i = n && (*data == 'v' || *data == 'V'); i < n; i++) {
        int digit = data[i] >= '0' && data[i] <= '9';

        digits = digit ? digits + 1 : 0;
        if ((!digit && data[i] != '.') || digits > 3)
            return 0;
    }
    return n <= 12;
}

/* Numbers of a table, in a comment that tells how well a picture was compressed. */
static int is_numbers(const unsigned char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!data[i] || !strchr("0123456789.,+-e \n", data[i]))
            return 0;
    return 1;
}

static int is_binary(const unsigned char *data, size_t n)
{
    return n <= 32 && !has_text(data, n);
}

/* What programs that compress write of themselves: it is the same in every picture. */
static int is_signature(const unsigned char *data, size_t n)
{
    static const struct {
        const char *text;
        size_t length;
        int (*rest)(const unsigned char *, size_t);
    } known[] = {
        {"JFIF\0", 5, is_binary},
        {"LJIF\0", 5, is_binary},
        {"Adobe", 5, is_binary},
        {"SPIFF\0", 6, is_binary},
        {"mrfx", 4, is_binary},
        {"MITRA_DICOM_STANDARD", 20, is_version},
        {"LEAD Technologies Inc. ", 23, is_version},
        {"Kakadu-", 7, is_version},
        {"OpenJPH Ver ", 12, is_version},
        {"Creator: JasPer Version ", 24, is_version},
        {"Created by OpenJPEG version ", 28, is_version},
        {"Created by GDCM/OpenJPEG version ", 33, is_version},
        {"Kdu-Layer-Info: log_2{Delta-D(squared-error)/Delta-L(bytes)}, L(bytes)\n", 71,
         is_numbers},
        {"Kdu-Layer-Info: log_2{Delta-D(MSE)/[2^16*Delta-L(bytes)]}, L(bytes)\n", 68, is_numbers},
    };

    while (n && !data[n - 1])
        n--;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (n >= known[i].length && !memcmp(data, known[i].text, known[i].length))
            return known[i].rest(data + known[i].length, n - known[i].length);
    return 0;
}

/* A segment whose content the standard of the codec gives; text has no place in it. */
static int is_of_codec(const struct stream *s, int marker)
{
    if (s->family == JPEG_2000)
        return marker >= 0x50 && marker <= 0x90 && marker != CODESTREAM_COMMENT;
    if (marker >= 0xC0 && marker <= 0xDF)
        return 1;
    return s->family == JPEG_LS && (marker == 0xF7 || marker == 0xF8);
}

static enum pixel_stream look_at_segment(struct stream *s, int marker)
{
    int high = next(s), low = next(s);
    unsigned char data[SHOWN];
    size_t n = 0, from = 0;
    int length;

    if (high < 0 || low < 0)
        return PIXEL_STREAM_CLEAN; /* cut short: nothing is left that could be text */
    length = (high << 8 | low) - 2;
    if (length < 0)
        return PIXEL_STREAM_COMMENT;
    for (int i = 0; i < length; i++) {
        int c = next(s);

        if (c < 0)
            break;
        if (n < SHOWN)
            data[n++] = (unsigned char)c;
    }
    if (is_of_codec(s, marker))
        return PIXEL_STREAM_CLEAN;
    if (s->family == JPEG_2000 && marker == CODESTREAM_COMMENT && n >= 2)
        from = 2; /* which alphabet it is in */
    if (is_signature(data + from, n - from) || (length <= SHOWN && !has_text(data, n)))
        return PIXEL_STREAM_CLEAN;
    return PIXEL_STREAM_COMMENT;
}

/* ---- pictures ---- */

/* The second byte of the marker that begins a picture. */
static int start_of(const struct stream *s)
{
    return s->family == JPEG_2000 ? 0x4F : 0xD8;
}

/* Does a picture begin with the fragment?  One that was cut short has no end before it. */
static int begins_picture(struct stream *s)
{
    return s->begins && s->left >= 2 && have(s, 2) >= 2 && s->block[s->i] == 0xFF &&
           s->block[s->i + 1] == start_of(s);
}

/* Is a byte behind 0xFF part of the entropy-coded bytes? */
static int is_data(const struct stream *s, int c)
{
    switch (s->family) {
    case JPEG_LS:
        return c < 0x80 || (c >= 0xD0 && c <= 0xD7);
    case JPEG_2000:
        return c < 0x90 || c == 0x91 || c == 0x92; /* SOP and EPH stand among them */
    default:
        return c == 0 || (c >= 0xD0 && c <= 0xD7);
    }
}

/* The marker behind entropy-coded bytes; -1 at the end, 0 where another picture begins. */
static int skip_data(struct stream *s)
{
    for (;;) {
        int c;

        if (!s->left && !enter(s))
            return -1;
        if (begins_picture(s))
            return 0;
        if (!find_marker(s))
            continue;
        while ((c = next(s)) == 0xFF)
            ;
        if (c < 0 || !is_data(s, c))
            return c;
    }
}

/* From behind the marker that begins it to its end. */
static enum pixel_stream look_at_picture(struct stream *s)
{
    int marker = 0;

    while (marker >= 0) {
        enum pixel_stream found;

        if (begins_picture(s))
            return PIXEL_STREAM_CLEAN;
        if (!marker) {
            marker = next(s);
            if (marker >= 0 && marker != 0xFF)
                return PIXEL_STREAM_COMMENT;
            while (marker == 0xFF)
                marker = next(s);
        }
        if (marker == END_OF_PICTURE || marker < 0)
            return PIXEL_STREAM_CLEAN;
        if (s->family == JPEG_2000 && marker == START_OF_DATA) {
            marker = skip_data(s);
            continue;
        }
        found = look_at_segment(s, marker);
        if (found != PIXEL_STREAM_CLEAN)
            return found;
        marker = s->family != JPEG_2000 && marker == START_OF_SCAN ? skip_data(s) : 0;
    }
    return PIXEL_STREAM_CLEAN;
}

/* Padding may stand behind a picture. */
static enum pixel_stream look_at_pictures(struct stream *s)
{
    for (;;) {
        enum pixel_stream found;
        int c = next(s), before = 0;

        while (c == 0 || c == 0xFF) {
            before = c;
            c = next(s);
        }
        if (c < 0)
            return PIXEL_STREAM_CLEAN;
        if (before != 0xFF || c != start_of(s))
            return PIXEL_STREAM_COMMENT;
        found = look_at_picture(s);
        if (found != PIXEL_STREAM_CLEAN)
            return found;
    }
}

/* Each fragment begins with the number of its segments and where they begin (PS3.5 G.5). */
static enum pixel_stream look_at_runs(struct stream *s)
{
    while (enter(s)) {
        const unsigned char *head = s->block + s->i;
        uint32_t n, last = 0;

        if (s->left < 64 || have(s, 64) < 64)
            return PIXEL_STREAM_COMMENT;
        head = s->block + s->i;
        n = little(head);
        for (uint32_t i = 1; i < 16; i++) {
            uint32_t offset = little(head + 4 * i);

            if (i > n ? offset != 0 : offset <= last || offset > s->left)
                return PIXEL_STREAM_COMMENT;
            last = offset;
        }
        if (n < 1 || n > 15 || little(head + 4) != 64)
            return PIXEL_STREAM_COMMENT;
        while (s->left) {
            size_t some = have(s, 1);

            if (!some)
                return PIXEL_STREAM_OPAQUE;
            some = some < s->left ? some : s->left;
            s->i += some;
            s->left -= (uint32_t)some;
        }
    }
    return PIXEL_STREAM_CLEAN;
}

/* The first item: nothing, or where each picture begins, in order. */
static enum pixel_stream look_at_offsets(struct stream *s)
{
    uint64_t end = s->end - s->at;
    uint32_t n, last = 0;

    if (have(s, 8) < 8 || little(s->block + s->i) != 0xE000FFFEu)
        return PIXEL_STREAM_OPAQUE;
    n = little(s->block + s->i + 4);
    s->i += 8;
    if (n % 4)
        return PIXEL_STREAM_COMMENT;
    for (uint32_t i = 0; i < n; i += 4) {
        uint32_t offset;

        if (have(s, 4) < 4)
            return PIXEL_STREAM_OPAQUE;
        offset = little(s->block + s->i);
        s->i += 4;
        if (i ? offset <= last || offset >= end : offset != 0)
            return PIXEL_STREAM_COMMENT;
        last = offset;
    }
    return PIXEL_STREAM_CLEAN;
}

/* 0 for what is none of the four. */
static int find_family(const char *syntax, enum family *ret_family)
{
    static const struct {
        const char *uid;
        enum family family;
    } known[] = {
        {"4.5", JPEG},       {"4.6", JPEG},        {"4.70", JPEG},       {"4.80", JPEG_LS},
        {"4.81", JPEG_LS},   {"4.90", JPEG_2000},  {"4.91", JPEG_2000},  {"4.92", JPEG_2000},
        {"4.93", JPEG_2000}, {"4.201", JPEG_2000}, {"4.202", JPEG_2000}, {"4.203", JPEG_2000},
        {"5", RLE},
    };
    const char *uid = syntax + sizeof(UID_SYNTAX) - 1;

    if (strncmp(syntax, UID_SYNTAX, sizeof(UID_SYNTAX) - 1))
        return 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        size_t n = strlen(known[i].uid);

        *ret_family = known[i].family;
        if (!strcmp(uid, known[i].uid) ||
            (n == 3 && strlen(uid) == 4 && !strncmp(uid, known[i].uid, n)))
            return 1; /* 4.50 to 4.66 are JPEG, all of them */
    }
    return 0;
}

enum pixel_stream pixel_stream_look(const char *syntax, const struct sendit_part *pixels)
{
    struct stream s = {
        .fd = pixels->fd, .at = pixels->offset, .end = pixels->offset + pixels->length};
    enum pixel_stream found;

    if (!find_family(syntax, &s.family))
        return PIXEL_STREAM_OPAQUE;
    found = look_at_offsets(&s);
    if (found == PIXEL_STREAM_CLEAN)
        found = s.family == RLE ? look_at_runs(&s) : look_at_pictures(&s);
    return s.broken ? PIXEL_STREAM_OPAQUE : found;
}
