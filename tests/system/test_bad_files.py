# SPDX-License-Identifier: Apache-2.0
"""What vendors and accidents write: each file has one documented outcome, and no identifier gets out.

Every file carries TOKEN where an identifier may stand.  A case says what becomes of it: "stored", or
the reason code that it is held, failed or ignored under.
"""
import collections
import errno
import itertools
import os
import socket
import struct
import unittest

import pydicom
import sendit
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

TOKEN = b"ZQXJKV"  # in no keyword, UID or value of ours
SHORT = (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
         b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
MR = b"1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2"
UNDEFINED = 0xFFFFFFFF
NUMBERS = itertools.count(1)  # each image has an instance UID of its own


def pad(value, vr=b"LO"):
    return value + (b"\0" if vr in (b"UI", b"OB", b"UN") else b" ") if len(value) % 2 else value


def element(tag, vr, value, length=None, even=True):
    """One element in Explicit VR Little Endian."""
    value = pad(value, vr) if even else value
    n = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<H", n) if vr in SHORT else struct.pack("<HI", 0, n)) + value


def implicit(tag, value, length=None):
    value = pad(value)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF,
                       len(value) if length is None else length) + value


def part10(data, syntax=EXPLICIT, preamble=bytes(128), sop=MR, uid=b"1.2.3.4", more=b""):
    meta = (element(0x00020001, b"OB", b"\0\1") + element(0x00020002, b"UI", sop) +
            element(0x00020003, b"UI", uid) + element(0x00020010, b"UI", syntax) +
            element(0x00020012, b"UI", b"1.2.3") + more)
    return preamble + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta + data


def body(*extra, number=None, pixels=None, write=element, leave_out=(), **values):
    """The elements of a small MR image in order, with `extra` ones in their places."""
    number = next(NUMBERS) if number is None else number
    elements = {
        0x00080005: (b"CS", b"ISO_IR 100"), 0x00080008: (b"CS", b"ORIGINAL\\PRIMARY\\M"),
        0x00080016: (b"UI", MR), 0x00080018: (b"UI", b"1.2.3.4.%d" % number),
        0x00080020: (b"DA", b"20200102"), 0x00080030: (b"TM", b"101112"),
        0x00080050: (b"SH", TOKEN), 0x00080060: (b"CS", b"MR"), 0x00080070: (b"LO", b"Maker"),
        0x00080080: (b"LO", TOKEN + b" hospital"), 0x00080090: (b"PN", TOKEN + b"^Ref"),
        0x00100010: (b"PN", TOKEN + b"^Jane"), 0x00100020: (b"LO", b"P-" + TOKEN),
        0x00100030: (b"DA", b"19500607"), 0x00100040: (b"CS", b"F"), 0x00101010: (b"AS", b"070Y"),
        0x00102000: (b"LO", TOKEN), 0x00180050: (b"DS", b"1.5"),
        0x0020000D: (b"UI", b"1.2.3.4.50"), 0x0020000E: (b"UI", b"1.2.3.4.51"),
        0x00200010: (b"SH", TOKEN), 0x00200011: (b"IS", b"1"), 0x00200013: (b"IS", b"%d" % number),
        0x00280002: (b"US", struct.pack("<H", 1)), 0x00280004: (b"CS", b"MONOCHROME2"),
        0x00280010: (b"US", struct.pack("<H", 4)), 0x00280011: (b"US", struct.pack("<H", 4)),
        0x00280100: (b"US", struct.pack("<H", 16)), 0x00280101: (b"US", struct.pack("<H", 12)),
        0x00280102: (b"US", struct.pack("<H", 11)), 0x00280103: (b"US", struct.pack("<H", 0)),
        0x7FE00010: (b"OW", bytes(range(32)) if pixels is None else pixels)}
    for name, value in values.items():
        tag = int(name[1:], 16)
        elements[tag] = value if isinstance(value, tuple) else (elements[tag][0], value)
    for tag in leave_out:
        del elements[tag]
    parts = [(tag, write(tag, vr, value) if write is element else write(tag, value))
             for tag, (vr, value) in elements.items()]
    parts += [(tag, data) for tag, data in extra]
    parts.sort(key=lambda part: part[0])
    return b"".join(data for _, data in parts)


def item(data, undefined=False):
    if undefined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + data + \
            struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


def nested(depth, tag=0x00081140):
    """Sequences in each other, of undefined length."""
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, UNDEFINED) + \
        struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
    tail = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return head * depth + element(0x00081155, b"UI", b"1.2.3.9") + tail * depth


def many_elements(n):
    """Private elements in blocks, and an item of a sequence with the rest."""
    return b"".join(element(0x00090000 | 0x1000 + i % 0xE000, b"LO", TOKEN)
                    for i in range(n)) if n <= 0xE000 else \
        element(0x00081140, b"SQ", b"".join(
            item(element(0x00081155, b"UI", b"1.2.%d" % i)) for i in range(n)))


# name -> (bytes, what becomes of it)
CASES = {
    "plain": (part10(body()), "stored"),
    "zero bytes": (b"", "import.empty"),
    "no preamble": (part10(body())[128:], "dicom.not_dicom"),
    "no preamble, no DICM": (part10(body())[132:], "stored"),
    "meta group with names": (part10(body(), more=element(0x00020016, b"AE", TOKEN) +
                                     element(0x00020100, b"UI", b"1.2.3.4") +
                                     element(0x00020102, b"OB", TOKEN)), "stored"),
    "no meta group": (body(), "stored"),
    "no meta group, implicit": (body(write=implicit), "stored"),
    "no meta group, no SOP class": (body(leave_out=[0x00080016]), "dicom.not_dicom"),
    "begins like one, then text": (body()[:30] + TOKEN * 20, "dicom.corrupt"),
    "preamble with a name": (part10(body(), preamble=pad(TOKEN) + bytes(122)), "stored"),
    "longer than its file": (part10(body() + element(0x7FE10010, b"OB", TOKEN, length=5000)),
                             "dicom.truncated"),
    "cut in pixels": (part10(body())[:-7], "dicom.truncated"),
    "cut in a header": (part10(body())[:-200], "dicom.truncated"),
    "cut in the meta group": (part10(body())[:150], "dicom.truncated"),
    "odd length": (part10(body((0x00104000, element(0x00104000, b"LT", TOKEN + b"x", even=False)))),
                   "stored"),
    "odd length of a UID": (part10(body((0x00080014, element(0x00080014, b"UI", b"1.2.3",
                                                             even=False)))), "stored"),
    "text behind the end": (part10(body() + TOKEN * 3), "dicom.corrupt"),
    "zeros behind the end": (part10(body() + bytes(512)), "stored"),
    "group lengths": (part10(element(0x00080000, b"UL", TOKEN[:4]) + body()), "stored"),
    "retired attributes": (part10(body((0x00104000, element(0x00104000, b"LT", TOKEN)),
                                       (0x00204000, element(0x00204000, b"LT", TOKEN)))), "stored"),
    "overlay and curve": (part10(body(
        (0x50003000, element(0x50003000, b"OW", TOKEN)),
        (0x60000022, element(0x60000022, b"LO", TOKEN)),
        (0x60003000, element(0x60003000, b"OW", TOKEN)))), "stored"),
    "unknown attribute": (part10(body((0x00080991, element(0x00080991, b"LO", TOKEN)))), "stored"),
    "private without a creator": (part10(body((0x00091001, element(0x00091001, b"LO", TOKEN)))),
                                  "stored"),
    "a value of 70,000 bytes": (part10(body((0x00104000, element(0x00104000, b"UT",
                                                                 TOKEN * 12000)))), "stored"),
    "a name of 65,000 bytes": (part10(body(x00100010=TOKEN * 10000)), "stored"),
    "a name with a NUL": (part10(body(x00100010=TOKEN + b"\0" + TOKEN)), "stored"),
    "a patient id with a NUL": (part10(body(x00100020=TOKEN + b"\0" + TOKEN)), "ids.bad_patient"),
    "several patient ids": (part10(body(x00100020=TOKEN + b"\\" + TOKEN)), "stored"),
    "duplicate tag": (part10(body((0x00100010, element(0x00100010, b"PN", TOKEN + b"^Two")))), "dicom.corrupt"),
    "tags out of order": (part10(element(0x00200010, b"SH", TOKEN) + body()), "dicom.corrupt"),
    "pixel data in a sequence only": (part10(body(
        (0x00081140, element(0x00081140, b"SQ", item(element(0x7FE00010, b"OW", TOKEN * 4)))),
        leave_out=[0x7FE00010])), "pixel.nested"),
    "pixel data in an icon only": (part10(body(
        (0x00880200, element(0x00880200, b"SQ", item(element(0x7FE00010, b"OW", TOKEN * 4)))),
        leave_out=[0x7FE00010, 0x00280010])), "stored"),
    "pixel data in an icon, too": (part10(body(
        (0x00880200, element(0x00880200, b"SQ", item(element(0x7FE00010, b"OW", TOKEN * 4)))))),
        "stored"),
    "float pixel data": (part10(body(
        (0x7FE00008, element(0x7FE00008, b"OF", struct.pack("<16f", *range(16)))),
        leave_out=[0x7FE00010], x00280100=struct.pack("<H", 32))), "stored"),
    "double float pixel data": (part10(body(
        (0x7FE00009, element(0x7FE00009, b"OD", struct.pack("<16d", *range(16)))),
        leave_out=[0x7FE00010], x00280100=struct.pack("<H", 64))), "stored"),
    "two kinds of pixel data": (part10(body(
        (0x7FE00008, element(0x7FE00008, b"OF", struct.pack("<16f", *range(16)))))),
        "dicom.corrupt"),
    "pixel data and no rows": (part10(body(leave_out=[0x00280010])), "pixel.length"),
    "private group above 7FE0": (part10(body(
        (0x7FE10010, element(0x7FE10010, b"LO", TOKEN)),
        (0x7FE11001, element(0x7FE11001, b"LO", TOKEN)))), "stored"),
    "pixel data too short": (part10(body(pixels=bytes(10))), "pixel.length"),
    "pixel data too long": (part10(body(pixels=bytes(40) + TOKEN * 10)), "pixel.length"),
    "no pixel data at all": (part10(body(leave_out=[0x7FE00010])), "pixel.length"),
    "UID of 70 characters": (part10(body(x00080018=b"1.2." + b"3" * 66)), "deid.uid"),
    "UID with letters": (part10(body(x00080018=TOKEN)), "deid.uid"),
    "study UID of 70 characters": (part10(body(x0020000D=b"1.2." + b"3" * 66)), "deid.uid"),
    "study UID with letters": (part10(body(x0020000D=TOKEN)), "deid.uid"),
    "SOP class with letters": (part10(body(x00080016=TOKEN)), "pixel.private_sop_class"),
    "UID with leading zeros": (part10(body(x0020000D=b"1.02.003")), "stored"),
    "no instance UID": (part10(body(leave_out=[0x00080018])), "ids.no_instance"),
    "no study UID": (part10(body(leave_out=[0x0020000D])), "ids.no_study"),
    "no series UID": (part10(body(leave_out=[0x0020000E])), "ids.no_series"),
    "no patient id": (part10(body(leave_out=[0x00100020])), "ids.no_patient"),
    "patient id of blanks": (part10(body(x00100020=b"    ")), "ids.no_patient"),
    "date of year 0000": (part10(body(x00080020=b"00000101")), "stored"),
    "date of year 9999": (part10(body(x00080020=b"99991231")), "stored"),
    "29 February": (part10(body(x00080020=b"20000229")), "stored"),
    "no such day": (part10(body(x00080020=b"20210230")), "stored"),
    "a name as a date": (part10(body(x00080020=TOKEN + b"ab")), "stored"),
    "character set unknown": (part10(body(x00080005=b"ISO_IR 999")), "stored"),
    "character set wrong": (part10(body(x00080005=b"ISO_IR 192",
                                        x00100010=TOKEN + b"^\xff\xfe\xc3")), "stored"),
    "patient id not in its character set": (part10(body(x00080005=b"ISO_IR 192",
                                                        x00100020=TOKEN + b"\xff\xfe")), "ids.bad_patient"),
    "character set in an item": (part10(body((0x00081140, element(0x00081140, b"SQ", item(
        element(0x00080005, b"CS", b"ISO_IR 192") +
        element(0x00080050, b"SH", TOKEN + "ü".encode())))))), "stored"),
    "100,000 items": (part10(body((0x00081140, many_elements(100000)))), "stored"),
    "50,000 private elements": (part10(body((0x00090010, element(0x00090010, b"LO", b"MAKER") +
                                             many_elements(50000)))), "stored"),
    "AT with text": (part10(body((0x00280009, element(0x00280009, b"AT", TOKEN + b"ab")))),
                     "stored"),
    "OB with text": (part10(body((0x00080071, element(0x00080071, b"OB", TOKEN)))), "stored"),
    "FL with text": (part10(body((0x00189073, element(0x00189073, b"FL", TOKEN[:4])))), "stored"),
    "FD with text": (part10(body((0x00189073, element(0x00189073, b"FD", TOKEN + b"ab")))), "stored"),
    "US with text": (part10(body(x00280103=TOKEN)), "stored"),
    "SQ where text should be": (part10(body(x00100010=(b"SQ", item(
        element(0x00080050, b"SH", TOKEN))))), "stored"),
    "text where SQ should be": (part10(body((0x00081140, element(0x00081140, b"LO", TOKEN)))),
                                "stored"),
    "unknown VR": (part10(body((0x00100011, element(0x00100011, b"ZZ", TOKEN)))), "dicom.corrupt"),
    "DS that is a name": (part10(body(x00180050=TOKEN)), "stored"),
    "IS that is a name": (part10(body(x00200013=TOKEN)), "stored"),
    "CS that is a name": (part10(body(x00100040=TOKEN)), "stored"),
    "US of three bytes": (part10(body(x00280103=TOKEN[:3])), "stored"),
    "AS that is a name": (part10(body(x00101010=TOKEN[:4])), "stored"),
    "TM that is a name": (part10(body(x00080030=TOKEN)), "stored"),
    "name as UN": (part10(body(
        x00100010=(b"UN", TOKEN + b"^Jane"))), "stored"),
    "sequence as UN": (part10(body((0x00081140, struct.pack(
        "<HH2sHI", 0x0008, 0x1140, b"UN", 0, UNDEFINED) + item(implicit(0x00100010, TOKEN), True) +
        struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)))), "stored"),
    "group 0004": (part10(body((0x00041130, element(0x00041130, b"CS", TOKEN)))), "stored"),
    "group 0000": (part10(element(0x00001000, b"UI", b"1.2.3.77") + body()), "dicom.corrupt"),
    "trailing padding": (part10(body() + element(0xFFFCFFFC, b"OB", TOKEN)), "stored"),
    "nested 60": (part10(body((0x00081140, nested(60)))), "stored"),
    "nested 65": (part10(body((0x00081140, nested(65)))), "dicom.too_deep"),
    "nested 10,000": (part10(body((0x00081140, nested(10000)))), "dicom.too_deep"),
    "unknown transfer syntax": (part10(body(), syntax=b"1.2.840.10008.1.2.99"),
                                "dicom.transfer_syntax"),
    "transfer syntax of text": (part10(body(), syntax=TOKEN), "dicom.transfer_syntax"),
    "implicit that says explicit": (part10(body(write=implicit)), "dicom.corrupt"),
    "explicit that says implicit": (part10(body(), syntax=IMPLICIT), "dicom.truncated"),
}


class BadFiles(sendit.Case):
    """All cases in one run, each in a folder (and so a batch) of its own."""

    def outcomes(self):
        """Folder -> what became of its one file: "stored", the reason why it is held, else None."""
        found = {}
        for batch in self.site.sendit("status", "--json", "--paths").json["batches"]:
            codes = ["stored"] * batch["counts"]["stored"]
            if batch["counts"]["quarantined"]:
                held = self.site.sendit("quarantine", "list", batch["batch"], "--json").json
                codes += [image["code"] for image in held]
            self.assertLessEqual(len(codes), 1, codes)
            found[os.path.basename(batch["folder"])] = codes[0] if codes else None
        return found

    def leaks(self):
        """Images in clean with the token anywhere in their bytes."""
        found = []
        for path in sendit.images(self.site.clean):
            with open(path, "rb") as file:
                data = file.read()
            if TOKEN in data or TOKEN.decode().encode("utf-16-le") in data:
                found.append(path)
        return found

    def test_each_has_its_outcome(self):
        for i, (data, _) in enumerate(CASES.values()):
            self.site.add_bytes(data, "%02d" % i, "IM1")
        answer = self.run_json()
        self.assertEqual(answer["found"], len(CASES))
        self.assertEqual(answer["waiting"], 0)
        found = self.outcomes()
        for i, (name, (_, wanted)) in enumerate(CASES.items()):
            with self.subTest(name):
                self.assertEqual(found["%02d" % i], None if wanted == "import.empty" else wanted)
        reasons = collections.Counter(wanted for _, wanted in CASES.values() if wanted != "stored")
        self.assert_reasons(answer, **{code.replace(".", "__"): n for code, n in reasons.items()})
        self.assertEqual(self.leaks(), [])

    def test_no_outcome_shows_the_token(self):
        for i, (data, _) in enumerate(CASES.values()):
            self.site.add_bytes(data, "%02d" % i, "IM1")
        result = self.run_sendit("run", "-vv")
        self.assertNotIn(TOKEN.decode(), result.out + result.err)
        for args in (["log"], ["quarantine", "list"], ["status"]):
            shown = self.run_sendit(*args)
            self.assertNotIn(TOKEN.decode(), shown.out + shown.err)

    def test_what_is_stored_is_dicom(self):
        for i, (data, _) in enumerate(CASES.values()):
            self.site.add_bytes(data, "%02d" % i, "IM1")
        self.run_json()
        for path in sendit.images(self.site.clean):
            ds = pydicom.dcmread(path)
            self.assertEqual(ds.PatientIdentityRemoved, "YES")
            self.assertTrue(ds.SOPInstanceUID.startswith("2.25."))


class BadFolders(sendit.Case):
    """What is no regular file, and names that scripts stumble over."""

    def setUp(self):
        super().setUp()
        self.site.add_images(1)
        self.folder_of = os.path.join(self.site.data, "study1")

    def check(self, **reasons):
        answer = self.run_json()
        self.assertEqual(answer["stored"], 1)
        self.assert_reasons(answer, **reasons)

    def test_fifo(self):
        os.mkfifo(os.path.join(self.folder_of, "fifo"))
        self.check(import__not_regular=1)

    def test_socket(self):
        with socket.socket(socket.AF_UNIX) as listener:
            here = os.getcwd()
            os.chdir(self.folder_of)
            try:
                listener.bind("socket")
            finally:
                os.chdir(here)
            self.check(import__not_regular=1)

    def test_device(self):
        try:
            os.mknod(os.path.join(self.folder_of, "null"), 0o600 | 0o020000, os.makedev(1, 3))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                self.skipTest("devices cannot be made here")
            raise
        self.check(import__not_regular=1)

    def test_link_loop(self):
        os.symlink("b", os.path.join(self.folder_of, "a"))
        os.symlink("a", os.path.join(self.folder_of, "b"))
        os.symlink("..", os.path.join(self.folder_of, "up"))
        self.check(import__symlink=3)

    def test_folder_in_place_of_a_file(self):
        os.makedirs(os.path.join(self.folder_of, "IM2", "IM3"))
        self.check()

    def test_unreadable_subfolder(self):
        """The run says so, takes what it can read, and names no folder below what was named."""
        nobody = self.as_nobody()
        shut = os.path.join(self.folder_of, "shut")
        os.mkdir(shut)
        os.chmod(shut, 0)
        result = self.site.sendit("run", prefix=nobody)
        self.assert_sound(result)
        self.assertEqual(result.status, 1, str(result))
        self.assertIn("import.unreadable", result.out)
        self.assertNotIn("shut", result.out + result.err)
        self.assertEqual(len(sendit.images(self.site.clean)), 1)
        os.rmdir(shut)
        self.run_json(prefix=nobody)
        self.assertEqual(len(sendit.images(self.site.clean)), 1)

    def test_names(self):
        for name in (b"new\nline", b"\xff\xfe\xfd", b"x" * 255, b"-rf", b" ", b"a'b\"c", b"$(id)"):
            data = part10(body(number=len(name) + name[0] * 1000))
            with open(os.path.join(self.folder_of.encode(), name), "wb") as file:
                file.write(data)
        self.assert_counts(self.run_json(), stored=8)


class Duplicates(sendit.Case):
    """The same instance twice: the first in byte order of names wins, then the one stored first."""

    def test_equal_in_one_batch(self):
        self.site.add(sendit.make_image(1), "s", "B")
        self.site.add(sendit.make_image(1), "s", "A")
        answer = self.run_json()
        self.assert_counts(answer, stored=1, ignored=1)
        self.assert_reasons(answer, import__duplicate=1)

    def test_different_in_one_batch(self):
        self.site.add(sendit.make_image(1, KVP="80"), "s", "B")
        self.site.add(sendit.make_image(1, KVP="120"), "s", "A")
        answer = self.run_json()
        self.assert_counts(answer, stored=1, quarantined=1)
        self.assert_reasons(answer, import__conflict=1)
        self.assertEqual(pydicom.dcmread(sendit.images(self.site.clean)[0]).KVP, 120)

    def test_different_pixels_only(self):
        other = bytearray(sendit.make_image(1).PixelData)
        other[5] ^= 1
        self.site.add(sendit.make_image(1), "s", "A")
        self.site.add(sendit.make_image(1, PixelData=bytes(other)), "s", "B")
        answer = self.run_json()
        self.assert_counts(answer, stored=1, quarantined=1)

    def test_between_batches(self):
        self.site.add(sendit.make_image(1), "a", "IM")
        self.site.add(sendit.make_image(1), "b", "IM")
        self.site.add(sendit.make_image(1, KVP="80"), "c", "IM")
        for workers in ("1", "3"):
            site = self.site if workers == "1" else self.new_site()
            if site is not self.site:
                os.rmdir(site.data)
                os.symlink(self.site.data, site.data)
            answer = self.run_json("--workers", workers, self.site.data, site=site)
            self.assert_counts(answer, stored=1, ignored=1, quarantined=1)
            self.assertEqual(pydicom.dcmread(sendit.images(site.clean)[0]).KVP, 120)

    def test_one_that_came_later(self):
        self.site.add(sendit.make_image(1), "s", "B")
        self.assert_counts(self.run_json(), stored=1)
        self.site.add(sendit.make_image(1, KVP="80"), "s", "A")
        self.assert_counts(self.run_json(), quarantined=1)
        self.site.add(sendit.make_image(1), "r", "A")
        self.assert_counts(self.run_json(), ignored=1)


class Changes(sendit.Case):
    """A file that is not what was queued."""

    def test_rewritten_after_it_was_stored(self):
        path = self.site.add(sendit.make_image(1), "s", "A")
        self.assert_counts(self.run_json(), stored=1)
        sendit.save(sendit.make_image(2), path)
        self.assert_counts(self.run_json(), stored=1)
        self.assertEqual(len(sendit.images(self.site.clean)), 2)

    def test_other_pixels_under_the_same_name(self):
        """The file cannot be compared with what it was before: nobody may call it the same."""
        other = bytearray(sendit.make_image(1).PixelData)
        other[5] ^= 1
        path = self.site.add(sendit.make_image(1), "s", "A")
        self.assert_counts(self.run_json(), stored=1)
        sendit.save(sendit.make_image(1, PixelData=bytes(other)), path)
        answer = self.run_json()
        self.assert_counts(answer, quarantined=1)
        self.assert_reasons(answer, import__conflict=1)

    def test_touched(self):
        path = self.site.add(sendit.make_image(1), "s", "A")
        self.assert_counts(self.run_json(), stored=1)
        os.utime(path, (1, 1))
        answer = self.run_json()
        self.assert_counts(answer, quarantined=1)  # what it was before, nobody can tell
        self.assert_reasons(answer, import__conflict=1)


if __name__ == "__main__":
    unittest.main()
