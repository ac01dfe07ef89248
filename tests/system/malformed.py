# SPDX-License-Identifier: Apache-2.0
"""Bytes that are no proper DICOM, made piece by piece: what pydicom would refuse to write."""
import struct
import zlib

EXPLICIT, IMPLICIT = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2"
DEFLATED, BIG = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2"
CT = b"1.2.840.10008.5.1.4.1.1.2"
LONG_VR = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN", b"UC", b"UR", b"OD", b"OL", b"OV",
           b"SV", b"UV")


def element(group, number, vr, value, length=None):
    """An element in Explicit VR Little Endian, padded."""
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB", b"UN") else b" "
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    head += struct.pack("<HI", 0, length) if vr in LONG_VR else struct.pack("<H", length)
    return head + value


def part10(body, syntax=EXPLICIT, preamble=bytes(128)):
    """A file with preamble, meta group and `body`."""
    meta = (element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", CT) +
            element(2, 3, b"UI", b"1.2.3.4") + element(2, 0x10, b"UI", syntax) +
            element(2, 0x12, b"UI", b"1.2.3.99"))
    return preamble + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body


def head(name=b"Doe^Jane", patient=b"P-1", instance=b"1.2.3.4"):
    """What comes before the patient's group and in it."""
    return (element(8, 8, b"CS", b"ORIGINAL\\PRIMARY\\AXIAL") + element(8, 0x16, b"UI", CT) + element(8, 0x18, b"UI", instance) +
            element(8, 0x20, b"DA", b"20210304") + element(8, 0x60, b"CS", b"CT") +
            element(0x10, 0x10, b"PN", name) + element(0x10, 0x20, b"LO", patient))


def tail(pixels=bytes(128)):
    """Study, series and an image of 8 x 8 pixels."""
    us = lambda number, value: element(0x28, number, b"US", struct.pack("<H", value))
    return (element(0x20, 0x0d, b"UI", b"1.2.3.5") + element(0x20, 0x0e, b"UI", b"1.2.3.6") +
            us(2, 1) + element(0x28, 4, b"CS", b"MONOCHROME2") + us(0x10, 8) + us(0x11, 8) +
            us(0x100, 16) + us(0x101, 12) + us(0x102, 11) + us(0x103, 0) +
            element(0x7fe0, 0x10, b"OW", pixels))


def good(**more):
    return part10(head(**more) + tail())


def nested(depth, defined=False, group=0x0040, number=0xa730, vr=b"SQ", inner=b""):
    """Sequences in sequences, of undefined or of defined length."""
    if not defined:
        begin = struct.pack("<HH2sHI", group, number, vr, 0, 0xffffffff) + \
            struct.pack("<HHI", 0xfffe, 0xe000, 0xffffffff)
        end = struct.pack("<HHI", 0xfffe, 0xe00d, 0) + struct.pack("<HHI", 0xfffe, 0xe0dd, 0)
        return begin * depth + inner + end * depth
    parts, length = [], len(inner)
    for _ in range(depth):
        parts.append(struct.pack("<HH2sHI", group, number, vr, 0, length + 8) +
                     struct.pack("<HHI", 0xfffe, 0xe000, length))
        length += 20
    return b"".join(reversed(parts)) + inner


def with_nested(sequence):
    body = head() + tail()
    at = body.index(struct.pack("<HH", 0x7fe0, 0x10))
    return part10(body[:at] + sequence + body[at:])


def deflated(body):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return part10(packer.compress(body) + packer.flush(), DEFLATED)


def bomb(megabytes):
    """A small file that inflates to `megabytes` of zero bytes in one private element."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = head() + struct.pack("<HH2sHI", 0x11, 0x10, b"LO", 0, 0)[:8] + \
        struct.pack("<HH2sHI", 0x11, 0x1001, b"OB", 0, megabytes << 20)
    data = [packer.compress(body)]
    data += [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    data += [packer.compress(tail()), packer.flush()]
    return part10(b"".join(data), DEFLATED)
