# SPDX-License-Identifier: Apache-2.0
"""Real files: the project's collection beside the tree, if it is there, and pydicom's own files.

Each goes through without a crash, each is accounted for, and what comes out stands before the
judges.  All are copied first: originals are not ours to touch.
"""
import os
import shutil
import subprocess
import unittest

import held
import judges
import pydicom
import sendit


class Real:
    """Mixed into a Case that has `source`, a folder."""

    source = skip_for = None

    def setUp(self):
        if not os.path.isdir(self.source):
            self.skipTest(self.skip_for)
        super().setUp()
        os.rmdir(self.site.data)
        shutil.copytree(self.source, self.site.data, symlinks=True)
        subprocess.run(["chmod", "-R", "u+w", self.site.data], check=True)

    def files(self):
        return [os.path.join(place, name) for place, _, names in os.walk(self.site.data)
                for name in names]

    def test_each_is_accounted_for_and_judged(self):
        answer = self.run_json(limit=600)
        self.assertEqual(answer["found"], len(self.files()))
        self.assertEqual(answer["waiting"] + answer["failed"], 0, answer)
        self.assertEqual(answer["stored"], len(sendit.images(self.site.clean)))
        self.assertGreater(answer["stored"], self.at_least, answer)
        codes = {reason["code"] for reason in answer["reasons"]}
        self.assertFalse({code for code in codes if code.startswith("host.")}, answer["reasons"])
        pairs = self.pairs()
        self.judge_identifiers(pairs)
        self.judge_pixels(pairs)
        self.judge_validity(pairs)
        self.judge_second_run(answer)

    def test_what_is_held_is_written_down(self):
        self.run_json(limit=600)
        self.assertEqual(held.table(self.site).splitlines(), held.written(self.name).splitlines(),
                         "tests/system/held.py writes the table anew")

    def pairs(self):
        """(before, after) by the maps that go with the key: an original's new UID is found by
        class, pixels and acquisition values, so that no word of sendit's is taken for it."""
        def mark(path):
            ds = pydicom.dcmread(path, force=True)
            kept = [str(ds.get(word, "")) for word in (
                "SOPClassUID", "InstanceNumber", "SeriesNumber", "Rows", "Columns",
                "ImagePositionPatient", "Modality")]
            return tuple(kept) + (judges.encoded_pixels(ds),)
        before = {}
        for path in self.files():
            try:
                before.setdefault(mark(path), []).append(path)
            except Exception:  # pydicom has no opinion on a broken file
                continue
        pairs = []
        for path in sendit.images(self.site.clean):
            candidates = before.get(mark(path), [])
            if len(candidates) == 1:
                pairs.append((candidates[0], path))
        self.assertGreater(len(pairs), self.at_least * 6 // 10)
        return pairs

    def judge_identifiers(self, pairs):
        for before, after in pairs:
            secrets = judges.identifying(pydicom.dcmread(before, force=True))
            with self.subTest(os.path.relpath(before, self.site.data)):
                self.assertEqual(judges.leaks(after, secrets), [])
                self.assertFalse([element.tag for element in judges.walk(pydicom.dcmread(after))
                                  if element.tag.is_private])

    def judge_pixels(self, pairs):
        if judges.lacking("gdcminfo"):
            return
        for before, after in pairs:
            with self.subTest(os.path.relpath(before, self.site.data)):
                old = judges.pixel_md5(before)
                if old is not None:
                    self.assertEqual(old, judges.pixel_md5(after))
                self.assertEqual(judges.encoded_pixels(pydicom.dcmread(before, force=True)),
                                 judges.encoded_pixels(pydicom.dcmread(after)))

    def judge_validity(self, pairs):
        if judges.lacking("dciodvfy"):
            return
        for before, after in pairs:
            name = os.path.relpath(before, self.site.data)
            if os.path.basename(name) in self.odd:
                continue
            with self.subTest(name):
                self.assertEqual(judges.new_errors(before, after), [])

    def judge_second_run(self, answer):
        before = sendit.tree(self.site.clean)
        again = self.run_json(limit=600)
        self.assertEqual(again["stored"], 0, again)
        self.assertEqual(before, sendit.tree(self.site.clean))
        self.assertEqual(self.site.counts()["stored"], answer["stored"])


class Collection(Real, sendit.Case):
    name = "collection"
    source = sendit.REAL
    skip_for = "the collection of real files is not beside the tree (../shared/dicom)"
    at_least = 120
    # Dates that are "[NaN]" and go; a deflated file that dciodvfy does not inflate.
    odd = ("dcmjs_invalid-vr-length-test.dcm", "dicomParser_wave_dfl")


class PydicomFiles(Real, sendit.Case):
    name = "pydicom"
    source = sendit.PYDICOM_FILES
    skip_for = "Debian's python3-pydicom came without its test files"
    at_least = 40
    odd = ()


if __name__ == "__main__":
    unittest.main()
