# SPDX-License-Identifier: Apache-2.0
"""What the DICOM face sees and writes, judged by pydicom (and the pixels by gdcminfo).

show_dicom, a program of the unit tests, prints every element that a walk shows, and writes the
file as a store would.
"""
import glob
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import pydicom
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS
from pydicom.dataelem import RawDataElement

import sendit

SHOW = os.path.join(os.path.dirname(sendit.program() or ""), "tests", "unit", "show_dicom")
CHARSETS = [os.path.join(sendit.PYDICOM_FILES, "charset_files"),
            os.path.join(sendit.REAL, "charset")]
TEXT = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
ONE_VALUE = {"LT", "ST", "UT"}
PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}


def show(path, out=None):
    """A list of elements by path of tags and items, or the reason of the refusal."""
    done = subprocess.run([SHOW, path] + ([out] if out else []), capture_output=True, timeout=300)
    if done.returncode:
        raise AssertionError(done.stderr.decode(errors="replace")[-2000:])
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    if lines and isinstance(lines[0], dict):
        return lines[0]["refused"]
    return {tuple(line[0]): dict(zip(("vr", "length", "creator", "text", "hex"), line[1:]))
            for line in lines}


def elements(dataset, path=(), encodings=("iso8859",)):
    """The same by pydicom: path, data set, raw or whole element, its encodings."""
    if 0x00080005 in dataset:
        encodings = dataset._character_set
    for tag in dataset.keys():
        yield path + (int(tag),), dataset, dataset.get_item(tag), encodings
        if dataset[tag].VR == "SQ":
            for number, item in enumerate(dataset[tag].value or []):
                yield from elements(item, path + (int(tag), number), encodings)


def text_of(raw, vr, encodings):
    """UTF-8 as dicom_get() promises it: decoded, each value trimmed."""
    delimiters = PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS
    value = raw.rstrip(b"\0")
    parts = [value] if vr in ONE_VALUE else None
    if vr == "PN":
        groups = value.split(b"\\")
        return "\\".join("=".join(decode_bytes(group, encodings, delimiters).rstrip(" ")
                                  for group in name.split(b"=")).rstrip("=")
                         for name in groups)
    text = decode_bytes(parts[0] if parts else value, encodings, delimiters)
    return text.rstrip(" ") if parts else "\\".join(one.rstrip(" ") for one in text.split("\\"))


@unittest.skipUnless(os.path.exists(SHOW), "show_dicom is not built")
class Charsets(unittest.TestCase):
    def judge(self, path):
        seen = show(path)
        self.assertIsInstance(seen, dict, seen)
        n = 0
        for where, dataset, raw, encodings in elements(pydicom.dcmread(path)):
            vr = dataset[where[-1]].VR
            if vr not in TEXT or not isinstance(raw, RawDataElement) and raw.VR == "SQ":
                continue
            self.assertIn(where, seen)
            if where[-1] >> 16 & 1 and seen[where]["vr"] == "UN":
                continue  # pydicom has another dictionary of private elements
            encodings = [encodings] if isinstance(encodings, str) else list(encodings)
            if isinstance(raw, RawDataElement):
                expected = text_of(raw.value or b"", vr, encodings)
                self.assertEqual(seen[where]["text"], expected, "%s %s" % (path, where))
                n += not expected.isascii()
        return n

    def test_charsets(self):
        for folder in CHARSETS:
            files = sorted(glob.glob(folder + "/*.dcm"))
            if not files:
                print("skipped: %s is not here" % folder)
                continue
            self.assertEqual(len(files), 17)
            for path in files:
                with self.subTest(os.path.basename(path)):
                    beyond = self.judge(path)
                    self.assertGreater(beyond, 0)


def real_files():
    for folder in (sendit.PYDICOM_FILES, sendit.REAL):
        for path in sorted(glob.glob(folder + "/**/*", recursive=True)):
            if os.path.isfile(path):
                yield path


@unittest.skipUnless(os.path.exists(SHOW), "show_dicom is not built")
class Oracle(unittest.TestCase):
    """Every real file: the same elements as pydicom sees, and a fresh file that has them all."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def raws(self, path):
        found = {}
        for where, _, raw, _ in elements(pydicom.dcmread(path, force=True)):
            if where[-1] & 0xFFFF == 0 or where[-1] == 0xFFFCFFFC:
                continue
            value = raw.value
            found[where] = value if isinstance(value, bytes) else None
        return found

    def judge(self, path):
        out = os.path.join(self.folder, "out.dcm")
        seen = show(path, out)
        if isinstance(seen, str):
            return seen
        before, after = self.raws(path), self.raws(out)
        self.assertEqual(sorted(before), sorted(after))
        self.assertEqual(sorted(before), sorted(seen))
        for where, value in before.items():
            if value is not None and after[where] is not None:
                self.assertIn(after[where], (value, value + b"\0", value + b" "), where)
            if value is not None and seen[where]["hex"] is not None:
                self.assertEqual(seen[where]["length"], len(value))
        with open(out, "rb") as file:
            head = file.read(132)
        self.assertEqual(head, bytes(128) + b"DICM")
        if sendit.LONG and shutil.which("gdcminfo"):
            self.assertEqual(self.pixels(path), self.pixels(out))
        return ""

    def pixels(self, path):
        """What gdcminfo makes of them, decoded; "" where it cannot."""
        done = subprocess.run(["gdcminfo", "--md5sum", path], capture_output=True, timeout=120)
        lines = done.stdout.decode(errors="replace").splitlines()
        return next((line for line in lines if line.startswith("md5sum:")), "")

    def test_real_files(self):
        reasons, taken = {}, 0
        for path in real_files():
            with self.subTest(path):
                reason = self.judge(path)
                taken += not reason
                if reason:
                    reasons.setdefault(reason, []).append(os.path.basename(path))
        self.assertGreater(taken, 100)
        self.assertLessEqual(set(reasons), {"dicom.not_dicom", "dicom.corrupt", "dicom.truncated",
                                            "dicom.dicomdir", "dicom.transfer_syntax"})


if __name__ == "__main__":
    unittest.main()
