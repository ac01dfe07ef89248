/* SPDX-License-Identifier: Apache-2.0 */
/* make_dicom.h - DICOM files byte by byte, for tests. */
#ifndef SENDIT_TESTS_MAKE_DICOM_H
#define SENDIT_TESTS_MAKE_DICOM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"

#define IMPLICIT "1.2.840.10008.1.2"
#define EXPLICIT "1.2.840.10008.1.2.1"
#define DEFLATED "1.2.840.10008.1.2.1.99"
#define BIG_ENDIAN_UID "1.2.840.10008.1.2.2"
#define JPEG_BASELINE "1.2.840.10008.1.2.4.50"
#define CT_CLASS "1.2.840.10008.5.1.4.1.1.2"
#define UNDEFINED_LENGTH 0xffffffffu
#define ITEM_TAG 0xfffee000u
#define ITEM_END_TAG 0xfffee00du
#define SEQUENCE_END_TAG 0xfffee0ddu

struct maker {
    struct buf buf;
    bool implicit, big;
};

static inline void make_u16(struct maker *m, unsigned value)
{
    const unsigned char bytes[2] = {(unsigned char)(m->big ? value >> 8 : value),
                                    (unsigned char)(m->big ? value : value >> 8)};

    buf_add(&m->buf, bytes, 2);
}

static inline void make_u32(struct maker *m, uint32_t value)
{
    make_u16(m, m->big ? value >> 16 : value & 0xffff);
    make_u16(m, m->big ? value & 0xffff : value >> 16);
}

/* Tag, VR and length; a tag of group FFFE has no VR. */
static inline void make_header(struct maker *m, uint32_t tag, const char *vr, uint32_t length)
{
    make_u16(m, tag >> 16);
    make_u16(m, tag & 0xffff);
    if (m->implicit || tag >> 16 == 0xfffe) {
        make_u32(m, length);
        return;
    }
    buf_add(&m->buf, vr, 2);
    if (strstr("OB OD OF OL OV OW SQ SV UC UN UR UT UV", vr)) {
        make_u16(m, 0);
        make_u32(m, length);
    } else {
        make_u16(m, length);
    }
}

static inline void make_element(struct maker *m, uint32_t tag, const char *vr, const void *value,
                                size_t length)
{
    make_header(m, tag, vr, (uint32_t)length);
    buf_add(&m->buf, value, length);
}

/* Text, padded to an even length. */
static inline void make_text(struct maker *m, uint32_t tag, const char *vr, const char *text)
{
    size_t n = strlen(text);

    make_header(m, tag, vr, (uint32_t)(n + (n & 1)));
    buf_add(&m->buf, text, n);
    if (n & 1)
        buf_add(&m->buf, strcmp(vr, "UI") ? " " : "", 1);
}

static inline void make_us(struct maker *m, uint32_t tag, unsigned value)
{
    make_header(m, tag, "US", 2);
    make_u16(m, value);
}

/* Preamble and meta group; what follows is in the syntax. */
static inline void make_meta(struct maker *m, const char *syntax)
{
    static const char preamble[128];
    struct maker meta = {0};

    make_element(&meta, 0x00020001, "OB", "\0\1", 2);
    make_text(&meta, 0x00020002, "UI", CT_CLASS);
    make_text(&meta, 0x00020003, "UI", "1.2.3.4");
    make_text(&meta, 0x00020010, "UI", syntax);
    make_text(&meta, 0x00020012, "UI", "1.2.3");
    m->implicit = m->big = false;
    buf_add(&m->buf, preamble, 128);
    buf_str(&m->buf, "DICM");
    make_header(m, 0x00020000, "UL", 4);
    make_u32(m, (uint32_t)meta.buf.len);
    buf_add(&m->buf, meta.buf.data, meta.buf.len);
    buf_fini(&meta.buf);
    m->implicit = !strcmp(syntax, IMPLICIT);
    m->big = !strcmp(syntax, BIG_ENDIAN_UID);
}

/* What every object has. */
static inline void make_identity(struct maker *m)
{
    make_text(m, 0x00080016, "UI", CT_CLASS);
    make_text(m, 0x00080018, "UI", "1.2.3.4");
    make_text(m, 0x00080060, "CS", "CT");
}

/* A sequence in a sequence ... `depth` of them, with undefined lengths or with true ones. */
static inline void make_nest(struct maker *m, uint32_t tag, const char *vr, size_t depth,
                             bool defined)
{
    const uint32_t head = m->implicit || !strcmp(vr, "") ? 8 : 12;

    for (size_t i = depth; i-- > 0;) {
        uint32_t inside = (uint32_t)i * (head + 8);

        make_header(m, tag, vr, defined ? inside + 8 : UNDEFINED_LENGTH);
        make_header(m, ITEM_TAG, "", defined ? inside : UNDEFINED_LENGTH);
    }
    for (size_t i = 0; i < depth && !defined; i++) {
        make_header(m, ITEM_END_TAG, "", 0);
        make_header(m, SEQUENCE_END_TAG, "", 0);
    }
}

/* What `data` is when deflated, appended to the file. */
static inline void make_deflated(struct maker *m, const void *data, size_t length)
{
    z_stream z = {0};
    size_t room;

    if (deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    room = deflateBound(&z, length);
    if (!buf_reserve(&m->buf, room))
        abort();
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)length;
    z.next_out = (Bytef *)m->buf.data + m->buf.len;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    m->buf.len += room - z.avail_out;
    deflateEnd(&z);
}

#endif
