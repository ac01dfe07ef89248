/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/make.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

#define CT_CLASS "1.2.840.10008.5.1.4.1.1.2"
#define EXPLICIT "1.2.840.10008.1.2.1"
#define UNDEFINED UINT32_MAX

/* Explicit VR Little Endian. */
static void add_u16(struct buf *buf, unsigned value)
{
    const unsigned char bytes[2] = {(unsigned char)value, (unsigned char)(value >> 8)};

    buf_add(buf, bytes, 2);
}

static void add_u32(struct buf *buf, uint32_t value)
{
    add_u16(buf, value & 0xffff);
    add_u16(buf, value >> 16);
}

static void add_head(struct buf *buf, uint32_t tag, const char *vr, uint32_t length)
{
    add_u16(buf, tag >> 16);
    add_u16(buf, tag & 0xffff);
    if (!vr) { /* an item or a delimiter */
        add_u32(buf, length);
        return;
    }
    buf_add(buf, vr, 2);
    if (strstr("OB OW SQ UN UT", vr)) {
        add_u16(buf, 0);
        add_u32(buf, length);
    } else {
        add_u16(buf, length);
    }
}

static void add_text(struct buf *buf, uint32_t tag, const char *vr, const char *text)
{
    size_t n = strlen(text);

    add_head(buf, tag, vr, (uint32_t)(n + (n & 1)));
    buf_add(buf, text, n);
    if (n & 1)
        buf_add(buf, strcmp(vr, "UI") ? " " : "", 1);
}

static void add_us(struct buf *buf, uint32_t tag, unsigned value)
{
    add_head(buf, tag, "US", 2);
    add_u16(buf, value);
}

static void add_meta(struct buf *buf)
{
    static const char preamble[128];
    struct buf meta = {0};

    add_head(&meta, 0x00020001, "OB", 2);
    buf_add(&meta, "\0\1", 2);
    add_text(&meta, 0x00020002, "UI", CT_CLASS);
    add_text(&meta, 0x00020003, "UI", "1.2.826.0.1.3680043.8.498.1");
    add_text(&meta, 0x00020010, "UI", EXPLICIT);
    add_text(&meta, 0x00020012, "UI", "1.2.826.0.1.3680043.8.498.2");
    buf_add(buf, preamble, sizeof(preamble));
    buf_str(buf, "DICM");
    add_head(buf, 0x00020000, "UL", 4);
    add_u32(buf, (uint32_t)meta.len);
    buf_add(buf, meta.data, meta.len);
    buf->failed = buf->failed || meta.failed;
    buf_fini(&meta);
}

/* Of the same sequence, each in the only item of the one outside it. */
static void add_nest(struct buf *buf, uint32_t tag, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++) {
        add_head(buf, tag, "SQ", UNDEFINED);
        add_head(buf, 0xfffee000, NULL, UNDEFINED);
    }
    add_text(buf, 0x00080100, "SH", "DEEP");
    for (unsigned i = 0; i < depth; i++) {
        add_head(buf, 0xfffee00d, NULL, 0);
        add_head(buf, 0xfffee0dd, NULL, 0);
    }
}

static void add_image(struct buf *buf, unsigned depth)
{
    static const char pixels[32];

    add_text(buf, 0x00080005, "CS", "ISO_IR 192");
    add_text(buf, 0x00080008, "CS", "ORIGINAL\\PRIMARY\\AXIAL");
    add_text(buf, 0x00080016, "UI", CT_CLASS);
    add_text(buf, 0x00080018, "UI", "1.2.826.0.1.3680043.8.498.1");
    add_text(buf, 0x00080020, "DA", "20210304");
    add_text(buf, 0x00080030, "TM", "101530");
    add_text(buf, 0x00080050, "SH", "A-1");
    add_text(buf, 0x00080060, "CS", "CT");
    add_text(buf, 0x00081030, "LO", "Chest");
    add_text(buf, 0x00100010, "PN", "Sample^Sam");
    add_text(buf, 0x00100020, "LO", "P-1");
    add_text(buf, 0x00100030, "DA", "19610703");
    add_text(buf, 0x00100040, "CS", "O");
    add_text(buf, 0x0020000d, "UI", "1.2.826.0.1.3680043.8.498.3");
    add_text(buf, 0x0020000e, "UI", "1.2.826.0.1.3680043.8.498.4");
    add_text(buf, 0x00200013, "IS", "1");
    add_us(buf, 0x00280002, 1);
    add_text(buf, 0x00280004, "CS", "MONOCHROME2");
    add_us(buf, 0x00280010, 4);
    add_us(buf, 0x00280011, 4);
    add_us(buf, 0x00280100, 16);
    add_us(buf, 0x00280101, 12);
    add_us(buf, 0x00280102, 11);
    add_us(buf, 0x00280103, 0);
    add_text(buf, 0x00280301, "CS", "NO");
    if (depth)
        add_nest(buf, 0x0040a730, depth);
    add_head(buf, 0x7fe00010, "OW", sizeof(pixels));
    buf_add(buf, pixels, sizeof(pixels));
}

/* Takes the bytes. */
static int write_file(const char *path, struct buf *buf)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), bad = -1;

    errno = buf->failed ? ENOMEM : errno;
    if (fd >= 0 && !buf->failed)
        bad = file_write_all(fd, buf->data, buf->len);
    if (fd >= 0 && close(fd))
        bad = -1;
    buf_fini(buf);
    return bad;
}

int make_image(const char *path, unsigned depth)
{
    struct buf buf = {0};

    add_meta(&buf);
    add_image(&buf, depth);
    return write_file(path, &buf);
}

int make_empty(const char *path)
{
    struct buf buf = {0};

    add_meta(&buf);
    add_text(&buf, 0x00080016, "UI", CT_CLASS);
    return write_file(path, &buf);
}
