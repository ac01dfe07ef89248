# SPDX-License-Identifier: Apache-2.0
"""`sendit diff`: each element before and after, and who did it; nothing written, nothing given away.

What it says must be what a run then does: stored files are read by pydicom, element by element, and
compared with it.
"""
import hashlib
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import unittest

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import malformed
import npm
import sendit

NAME, PATIENT, TEXT = "Canarybird^Tweety", "PIDCANARY77", "Text canary99"
WORDS = ("Canarybird", "Tweety", PATIENT, "canary99", "ACCCANARY88", "Zqcreator", "zqprivate")
MISBEHAVE = {"use": "misbehave"}
BYTES = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


def rich(number=1, **more):
    """An image with something of everything."""
    ds = sendit.make_image(number, patient=PATIENT, name=NAME, **dict(
        dict(AccessionNumber="ACCCANARY88", StudyDescription=TEXT, PatientComments=TEXT), **more))
    reference = Dataset()
    reference.ReferencedSOPClassUID = sendit.CT
    reference.ReferencedSOPInstanceUID = sendit.UID + "77.1"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121311", "DCM"
    purpose.CodeMeaning = "Localizer"
    reference.PurposeOfReferenceCodeSequence = Sequence([purpose])
    other = Dataset()
    other.ReferencedSOPInstanceUID, other.PatientName = sendit.UID + "77.2", NAME
    ds.ReferencedImageSequence = Sequence([reference, other])
    request = Dataset()
    request.AccessionNumber, request.RequestedProcedureDescription = "ACCCANARY88", TEXT
    ds.RequestAttributesSequence = Sequence([request])
    block = ds.private_block(0x0033, "Zqcreator", create=True)
    block.add_new(0x10, "LO", "zqprivate")
    block.add_new(0x11, "OB", b"\x01\x02zqprivate\x00")
    return ds


def flat(ds, before=""):
    """path -> element of pydicom, as diff writes paths."""
    found = {}
    for element in ds:
        path = "%s(%04X,%04X)" % (before, element.tag.group, element.tag.elem)
        found[path] = element
        if element.VR == "SQ":
            for i, item in enumerate(element.value):
                found.update(flat(item, "%s[%d]." % (path, i)))
    return found


def stored(path):
    """All elements of a file, those of its meta group, too."""
    ds = pydicom.dcmread(path, force=True)
    return dict(flat(ds.file_meta), **flat(ds))


def text_of(element):
    """The value as sendit shows it, or None for what has none to be compared."""
    value = element.value
    if element.VR in BYTES or element.VR == "SQ" or value is None:
        return None if element.VR in BYTES or element.VR == "SQ" else ""
    if element.VR == "AT":
        several = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
        return "\\".join("(%04x,%04x)" % (one >> 16, one & 0xffff) for one in several)
    several = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    if element.VR in ("DS", "IS"):
        several = [getattr(one, "original_string", one) for one in several]
    return "\\".join(map(str, several))


def plain(text):
    """Without what padding and ways of writing a number make of it."""
    parts = [part.strip(" \0") for part in text.split("\\")]
    numbers = []
    for part in parts:
        try:
            numbers.append("%.6g" % float(part))
        except ValueError:
            numbers.append(part)
    return "\\".join(numbers)


class Diff(sendit.Case):
    def diff(self, *args, expect=0, **more):
        return self.run_sendit("diff", "--json", *args, expect=expect, **more).json

    def one(self, *args, **more):
        files = self.diff(*args, **more)["files"]
        self.assertEqual(len(files), 1)
        return files[0]

    def add_rich(self, *names, **more):
        return self.site.add(rich(**more), *(names or ("s", "IM1")))

    @staticmethod
    def by_path(file):
        return {element["path"]: element for element in file["elements"]}

    @staticmethod
    def entry(stages, name):
        return next(entry for entry in stages if entry["use"] == name)

    def use(self, rules, because=None, **members):
        """A recipe on top of the profile."""
        with open(self.site.path("mine.recipe"), "w") as file:
            file.write("FORMAT dicom\n%header\n" + rules)
        stages = self.site.stages()
        anonymizer = self.entry(stages, "local-anonymizer")
        anonymizer["config"] = {"recipes": ["./mine.recipe"]}
        if because:
            anonymizer["because"] = because
        self.site.write_pipeline(stages=stages, **members)

    def everything_there(self):
        """The site, but for the pipeline's own folder being looked at later."""
        return {name: os.lstat(os.path.join(place, name)).st_mtime_ns
                for place, folders, files in os.walk(self.site.folder)
                for name in [os.path.join(place, n) for n in folders + files]}

    def assert_counts_add_up(self, file):
        counts = {"kept": 0, "changed": 0, "removed": 0, "added": 0}
        for element in file["elements"]:
            counts[element["fate"]] += 1
            there = {"kept": (True, True), "changed": (True, True), "removed": (True, False),
                     "added": (False, True)}[element["fate"]]
            self.assertEqual((element["before"] is not None, element["after"] is not None), there)
            self.assertTrue(element["by"] or element["fate"] == "kept", element["path"])
        self.assertEqual(counts, file["counts"])
        paths = [element["path"] for element in file["elements"]]
        self.assertEqual(len(paths), len(set(paths)))

    def assert_is_what_is_stored(self, file, path):
        """Every element of the stored file, as `diff --show-originals` said it would be."""
        told = {name: element for name, element in self.by_path(file).items() if element["after"]}
        written = stored(path)
        self.assertEqual(sorted(told), sorted(written))
        for name, element in written.items():
            after = told[name]["after"]
            if element.VR == "SQ":
                self.assertEqual(after.get("items"), len(element.value), name)
                continue
            text = text_of(element)
            if "value" in after and text is not None and "cut" not in after:
                self.assertEqual(plain(after["value"]), plain(text), name)
            self.assertEqual(told[name]["tag"], "%08X" % element.tag)
        return written


class Elements(Diff):
    def test_it_is_what_a_run_stores(self):
        path = self.add_rich()
        file = self.one("--show-originals", path)
        self.assertEqual(file["fate"], "stored")
        self.assertEqual(file["labels"], ["pixels.checked", "filters.passed", "ids.replaced",
                                          "deid.header"])
        self.assert_counts_add_up(file)
        self.run_sendit("run")
        found = sendit.images(self.site.clean)
        self.assertEqual(len(found), 1)
        self.assert_is_what_is_stored(file, found[0])
        original = stored(path)
        self.assertEqual(sorted(name for name, element in self.by_path(file).items()
                                if element["before"]), sorted(original))

    def test_each_kind_of_fate(self):
        elements = self.by_path(self.one("--show-originals", self.add_rich()))
        for path, fate, keyword in (
                ("(0008,0060)", "kept", "Modality"), ("(0010,0010)", "changed", "PatientName"),
                ("(0010,4000)", "removed", "PatientComments"),
                ("(0012,0062)", "added", "PatientIdentityRemoved"),
                ("(0002,0003)", "changed", "MediaStorageSOPInstanceUID"),
                ("(0033,0010)", "removed", None), ("(0033,1010)", "removed", None)):
            self.assertEqual(elements[path]["fate"], fate, path)
            self.assertEqual(elements[path]["keyword"], keyword)
        self.assertEqual(elements["(0010,0010)"]["before"]["value"], NAME)
        self.assertEqual(elements["(0010,0010)"]["after"], {"vr": "PN", "length": 0, "value": ""})
        self.assertIsNone(elements["(0010,4000)"]["after"])
        self.assertIsNone(elements["(0012,0062)"]["before"])

    def test_nested_ones(self):
        elements = self.by_path(self.one("--show-originals", self.add_rich()))
        reference = "(0008,1140)[%d].(0008,1155)"
        self.assertEqual(elements["(0008,1140)"]["before"], {"vr": "SQ", "items": 2})
        for i in (0, 1):
            self.assertEqual(elements[reference % i]["fate"], "changed")
            self.assertEqual(elements[reference % i]["depth"], 1)
            self.assertRegex(elements[reference % i]["after"]["value"], r"^2\.25\.")
        self.assertEqual(elements["(0008,1140)[1].(0010,0010)"]["after"]["value"], "")
        self.assertEqual(elements["(0008,1140)[0].(0040,A170)[0].(0008,0104)"]["depth"], 2)
        # (0040,0275) goes, and with it what is in it
        inner = elements["(0040,0275)[0].(0008,0050)"]
        self.assertEqual((elements["(0040,0275)"]["fate"], inner["fate"]), ("removed", "removed"))
        self.assertEqual(inner["by"][0]["of"], "(0040,0275)")

    def test_the_rows_are_there(self):
        """The line that is named is that of the tag."""
        file = self.one(self.add_rich())
        named = 0
        for element in file["elements"]:
            for by in element["by"]:
                if not by.get("file") or "of" in by:
                    continue
                named += 1
                with open(os.path.join(sendit.ROOT, "filters", by["file"])) as table:
                    line = table.read().splitlines()[by["line"] - 1]
                tag = element["tag"]
                self.assertTrue(line.startswith("(%s,%s)" % (tag[:4], tag[4:])) or
                                (int(tag[:4], 16) & 1 and line.startswith("(odd,xxxx)")),
                                (element["path"], by, line))
        self.assertGreater(named, 30)
        self.assertTrue(all(element["by"] for element in file["elements"]), file["elements"])

    def test_why_it_comes_out_otherwise_than_its_row_says(self):
        path = self.site.add(rich(PatientAge="095Y", StudyDate="no date",
                                  Manufacturer="Canarybird"), "s", "IM1")
        with open(path, "rb+") as file:
            data = file.read()
            at = data.index(b"\x18\0\x50\0DS") + 8
            file.seek(at)
            file.write(b"thick"[:data[at - 2]])
        elements = self.by_path(self.one(path))
        for where, words in (("(0010,1010)", "over 89"), ("(0008,0020)", "it is no date"),
                             ("(0018,0050)", "does not fit"), ("(0008,0070)", "names somebody")):
            self.assertIn(words, elements[where]["by"][-1]["note"], where)
            self.assertEqual(elements[where]["fate"], "changed", where)

    def test_lines_of_recipes(self):
        self.use("REPLACE PatientName ANON^X\n"            # 3
                 "REMOVE Manufacturer\n"                    # 4
                 "ADD ClinicalTrialProtocolID EX-1\n"       # 5
                 "JITTER StudyDate 1\n"                     # 6
                 'ADD (0035,"SITE",10) mine\n'              # 7
                 "KEEP StudyDescription\n"                  # 8
                 "BLANK Modality\n", because="a test")      # 9
        path = self.add_rich()
        file = self.one("--show-originals", path)
        elements = self.by_path(file)
        for where, line, rule, fate in (
                ("(0010,0010)", 3, "REPLACE PatientName", "changed"),
                ("(0008,0070)", 4, "REMOVE Manufacturer", "removed"),
                ("(0012,0020)", 5, "ADD ClinicalTrialProtocolID", "added"),
                ("(0008,0020)", 6, "JITTER StudyDate", "changed"),
                ("(0035,1010)", 7, 'ADD (0035,"SITE",10)', "added"),
                ("(0008,1030)", 8, "KEEP StudyDescription", "kept"),
                ("(0008,0060)", 9, "BLANK Modality", "changed")):
            by = elements[where]["by"][-1]
            self.assertEqual((by.get("line"), by["rule"], elements[where]["fate"]),
                             (line, rule, fate), where)
            self.assertEqual(by["file"], self.site.path("mine.recipe"))
        # the row of the profile stands before the line of the recipe
        self.assertEqual(elements["(0010,0010)"]["by"][0]["file"], "ps3.15-2026c.tsv")
        self.assertEqual(elements["(0010,0010)"]["after"]["value"], "ANON^X")
        self.run_sendit("run")
        self.assert_is_what_is_stored(file, sendit.images(self.site.clean)[0])

    def test_default_and_what_a_keep_spares(self):
        self.use("KEEP ReferencedImageSequence__ReferencedSOPClassUID\n"
                 "REMOVE ReferencedImageSequence\nDEFAULT REMOVE\nKEEP SOPClassUID\n"
                 "REPLACE SOPInstanceUID deid_func:pydicom_uuid\n", because="a test")
        path = self.add_rich()
        file = self.one("--show-originals", path)
        elements = self.by_path(file)
        self.assertEqual(elements["(0008,1140)"]["fate"], "kept")
        self.assertIn("KEEP", elements["(0008,1140)"]["by"][-1]["rule"])
        self.assertEqual(elements["(0008,1140)[0].(0008,1150)"]["fate"], "kept")
        self.assertEqual(elements["(0008,1140)[0].(0008,1155)"]["fate"], "removed")
        self.assertEqual(elements["(0008,0060)"]["by"][-1]["rule"], "DEFAULT")
        self.assertEqual(elements["(0008,0060)"]["by"][-1]["line"], 5)

    def test_pixel_data(self):
        path = self.add_rich()
        pixels = self.by_path(self.one(path))["(7FE0,0010)"]
        data = bytes(pydicom.dcmread(path).PixelData)
        self.assertEqual(pixels["before"], {"vr": "OW", "length": len(data),
                                            "sha256": hashlib.sha256(data).hexdigest()})
        self.assertEqual((pixels["after"], pixels["fate"]), (pixels["before"], "kept"))

    def test_long_values_are_cut(self):
        self.use("KEEP PatientComments\n", because="a test")
        path = self.site.add(sendit.make_image(PatientComments="\u00e4" * 5000,
                                               SpecificCharacterSet="ISO_IR 192"), "s", "IM1")
        before = self.by_path(self.one("--show-originals", path))["(0010,4000)"]["before"]
        self.assertEqual(before["length"], 10000)
        self.assertTrue(before["cut"])
        self.assertEqual(before["value"], "\u00e4" * 2048)

    def test_what_a_stage_of_the_site_edits(self):
        if not os.path.isdir(sendit.test_stages()):
            self.skipTest("no stages were built for tests")
        stages = self.site.stages()
        stages.insert(1, dict(MISBEHAVE, config={"does": "pass", "edit": True}))
        self.site.write_pipeline(stages=stages)
        path = self.add_rich()
        file = self.one("--plugins", sendit.test_stages(), "--show-originals", path)
        self.assertTrue(file["stages"][1]["edited"])
        edited = [element for element in file["elements"]
                  if any(by == {"stage": "misbehave"} for by in element["by"])]
        self.assertTrue(edited)
        self.run_sendit("run", "--plugins", sendit.test_stages())
        self.assert_is_what_is_stored(file, sendit.images(self.site.clean)[0])


class Verdicts(Diff):
    def test_stages_that_are_not_called(self):
        file = self.one(self.add_rich())
        self.assertEqual([stage["stage"] for stage in file["stages"]],
                         ["importer", "pixel-check", "deid-filter", "local-anonymizer",
                          "file-store"])
        self.assertEqual([stage.get("verdict") for stage in file["stages"]],
                         ["PASS", "PASS", "PASS", "PASS", None])
        self.assertIn("hands images out", file["stages"][4]["not_called"])
        self.assertEqual(file["stages"][1]["labels"], ["pixels.checked"])
        self.assertEqual([stage.get("edited") for stage in file["stages"]],
                         [False, False, False, True, None])

    def test_one_that_is_held(self):
        path = self.site.add(rich(BurnedInAnnotation="YES"), "s", "IM1")
        result = self.run_sendit("diff", "--json", path)
        file = result.json["files"][0]
        self.assertEqual((file["fate"], file["stage"], file["code"]),
                         ("quarantined", "pixel-check", "pixel.burned_in"))
        self.assertEqual(file["stages"][1]["code"], "pixel.burned_in")
        self.assertIn("not_called", file["stages"][2])
        self.assertEqual({element["fate"] for element in file["elements"]}, {"kept"})
        self.assertEqual(file["labels"], [])
        for word in WORDS:
            self.assertNotIn(word, result.out)

    def test_one_that_the_anonymizer_holds(self):
        path = self.site.add(rich(PatientBirthDate=""), "s", "IM1")
        ds = pydicom.dcmread(path)
        del ds.PatientID
        sendit.save(ds, path)
        file = self.one(path)
        self.assertEqual((file["fate"], file["code"]), ("quarantined", "ids.no_patient"))
        self.assertEqual({element["fate"] for element in file["elements"]}, {"kept"})

    def test_rules_of_a_stage_that_holds_it_did_nothing(self):
        """The walk came half way: what it did was taken back."""
        self.use("REPLACE AccessionNumber X\nJITTER Manufacturer 1\n")
        file = self.one(self.add_rich())
        self.assertEqual((file["fate"], file["code"]), ("quarantined", "deid.recipe"))
        self.assertEqual([element["by"] for element in file["elements"] if element["by"]], [])
        self.assertEqual({element["fate"] for element in file["elements"]}, {"kept"})

    def test_two_patients_in_one_study(self):
        """Files of a folder are one batch, in the order of their names."""
        a = self.site.add(rich(1), "s", "A")
        other = rich(2)
        other.PatientID = "ANOTHER"
        b = self.site.add(other, "s", "B")
        fates = [file["fate"] for file in self.diff(b, a)["files"]]
        self.assertEqual(fates, ["stored", "quarantined"])
        self.assertEqual(self.diff(b)["files"][0]["fate"], "stored")

    def test_doubles(self):
        """As a run has it: the first in order is stored, the same again ignored, another held."""
        self.add_rich("a", "1")
        self.add_rich("b", "1")
        self.add_rich("c", "1", PatientWeight="70")
        pixels = rich()
        pixels.PixelData = bytes(len(pixels.PixelData))
        self.site.add(pixels, "d", "1")
        answer = self.diff("data")
        self.assertEqual([file.get("code") for file in answer["files"]],
                         [None, "import.duplicate", "import.conflict", "import.conflict"])
        self.assertEqual(self.diff("data/b")["files"][0]["fate"], "stored")
        self.assert_reasons(self.run_json(), import__duplicate=1, import__conflict=2)

    def test_files_that_are_broken(self):
        whole = self.add_rich("s", "whole")
        with open(whole, "rb") as file:
            data = file.read()
        for name, text, fate, code in (
                ("none", b"hello", "quarantined", "dicom.not_dicom"),
                ("empty", b"", "ignored", "import.empty"),
                ("cut", data[:-40], "quarantined", "dicom.truncated"),
                ("deep", malformed.with_nested(malformed.nested(70)), "quarantined",
                 "dicom.too_deep")):
            file = self.one(self.site.add_bytes(text, "t", name))
            self.assertEqual(file["fate"], fate, name)
            self.assertEqual(file["elements"], [])
            self.assertEqual(file["code"], code)

    def test_several_files_and_a_folder(self):
        self.add_rich("s", "b", number=2)
        self.add_rich("s", "a", number=1)
        self.site.add_bytes(b"hello", "s", "c")
        answer = self.diff(self.site.data)
        self.assertEqual([file["fate"] for file in answer["files"]],
                         ["stored", "stored", "quarantined"])
        self.assertEqual([file["number"] for file in answer["files"]], [1, 2, 3])
        self.assertEqual({file["file"] for file in answer["files"]}, {self.site.data})
        self.assertEqual(answer["counts"]["files"], 3)
        self.assertEqual((answer["counts"]["passed"], answer["counts"]["quarantined"]), (2, 1))
        twice = self.diff(self.site.data, os.path.join(self.site.data, "s", "a"))
        self.assertEqual(len(twice["files"]), 3)

    def test_names_that_were_found_are_not_shown(self):
        self.add_rich("FOLDERCANARY", "FILECANARY")
        for args in ((), ("--json",), ("--html",)):
            out = self.run_sendit("diff", *args, "data").out
            self.assertNotIn("CANARY", out.replace("sha256", ""))
            self.assertIn("FILECANARY", self.run_sendit("diff", "--paths", *args, "data").out)
        self.assertIn("FILECANARY", self.run_sendit(
            "diff", os.path.join("data", "FOLDERCANARY", "FILECANARY")).out)

    def test_links_are_not_followed(self):
        path = self.add_rich()
        os.symlink(path, os.path.join(self.site.data, "link"))
        self.assertEqual(len(self.diff("data")["files"]), 1)
        self.assertEqual(self.one("data/link")["fate"], "ignored")

    def test_a_store_that_lacks_a_label(self):
        """An image that is passed because the site said so does not earn it."""
        stages = [entry for entry in self.site.stages() if entry["use"] != "deid-filter"]
        self.entry(stages, "pixel-check")["config"] = {"on_burned_in": "pass"}
        self.site.write_pipeline(stages=stages, policy={"because": "a test", "egress_needs": [
            "pixels.checked", "ids.replaced", "deid.header"]})
        file = self.one(self.site.add(rich(BurnedInAnnotation="YES"), "s", "IM1"))
        self.assertEqual((file["fate"], file["stage"], file["code"]),
                         ("quarantined", "file-store", "host.label"))
        self.assertIn("pixels.checked", file["text"])

    def test_without_an_anonymizer_new_values_stay_masked(self):
        self.site.write_pipeline(stages=[self.site.stages()[0], self.site.stages()[-1]],
                                 policy={"egress_needs": [], "because": "a test"})
        result = self.run_sendit("diff", "--json", self.add_rich())
        file = result.json["files"][0]
        self.assertEqual(file["fate"], "stored")
        for word in WORDS:
            self.assertNotIn(word, result.out)
        self.assertIsNone(result.json["key"]["fingerprint"])
        file = self.one("--show-originals", os.path.join("data", "s", "IM1"))
        self.run_sendit("run")
        self.assert_is_what_is_stored(file, sendit.images(self.site.clean)[0])

    def test_what_a_stage_makes_of_an_image_that_is_not_clean(self):
        if not os.path.isdir(sendit.test_stages()):
            self.skipTest("no stages were built for tests")
        stages = [self.site.stages()[0], dict(MISBEHAVE, config={"edit": True}),
                  self.site.stages()[-1]]
        self.site.write_pipeline(stages=stages, policy={"egress_needs": [], "because": "a test"})
        path = self.add_rich()
        file = self.one("--plugins", sendit.test_stages(), path)
        edited = [element for element in file["elements"]
                  if element["by"] == [{"stage": "misbehave"}]]
        self.assertTrue(edited)
        for element in edited:
            after = element["after"] or {"masked": True}
            self.assertTrue(after.get("masked") or "items" in after or not after["length"], element)

    def test_a_stage_that_talks_to_the_network(self):
        """It is not called, and what it would grant is taken for granted, not for earned."""
        if not os.path.isdir(sendit.test_stages()):
            self.skipTest("no stages were built for tests")
        stages = self.site.stages()
        anonymizer = stages.index(self.entry(stages, "local-anonymizer"))
        stages[anonymizer] = {"use": "talks", "config": {"does": "crash"}, "allow": [
            "network", "sends-phi", "grant:ids.replaced", "grant:deid.header"]}
        self.site.write_pipeline(stages=stages)
        file = self.one("--plugins", sendit.test_stages(), self.add_rich())
        self.assertEqual(file["fate"], "stored")
        self.assertIn("network", file["stages"][anonymizer]["not_called"])
        self.assertEqual(file["unseen"], "talks")
        said = self.run_sendit("diff", "--plugins", sendit.test_stages(), "data").out
        self.assertIn("would be stored if talks passes it; it was not called", said)
        self.assertEqual(file["labels"], ["pixels.checked", "filters.passed"])
        self.assertEqual({element["fate"] for element in file["elements"]
                          if not element["tag"].startswith("0002")}, {"kept"})

    def test_a_pipeline_that_only_checks(self):
        self.site.write_pipeline(stages=self.site.stages()[:2], dry=True)
        file = self.one(self.add_rich())
        self.assertEqual(file["fate"], "checked")


class Faults(Diff):
    """Stages that crash, hang, lie."""

    def setUp(self):
        super().setUp()
        if not os.path.isdir(sendit.test_stages()):
            self.skipTest("no stages were built for tests")
        for i in (1, 2, 3):
            self.site.add(rich(i), "s", "IM%d" % i)

    def with_stage(self, expect, *args, **config):
        stages = self.site.stages()
        stages.insert(-1, dict(MISBEHAVE, config=config))
        self.site.write_pipeline(stages=stages)
        return self.run_sendit("diff", "--plugins", sendit.test_stages(), "--json", *args, "data",
                               expect=expect, env=dict(os.environ, ASAN_OPTIONS=(
                                   "handle_segv=0:handle_abort=0:detect_leaks=0")))

    def fates(self, result):
        return [(file["fate"], file.get("code", "")) for file in result.json["files"]]

    def test_a_crash_costs_the_file(self):
        result = self.with_stage(1, does="crash", on=["2"])
        self.assertEqual(self.fates(result), [("stored", ""), ("failed", "host.crashed"),
                                              ("stored", "")])
        self.assertEqual(result.json["files"][1]["stage"], "misbehave")
        self.assertEqual(self.fates(self.with_stage(1, does="kill")),
                         [("failed", "host.crashed")] * 3)
        self.assertEqual(self.fates(self.with_stage(1, does="leave", on=["3"]))[2],
                         ("failed", "host.crashed"))

    def test_a_hang_costs_the_file(self):
        result = self.with_stage(1, "--set", "run.stage_timeout=1s", does="hang", on=["1"])
        self.assertEqual(self.fates(result), [("failed", "host.timeout"), ("stored", ""),
                                              ("stored", "")])

    def test_other_answers(self):
        for does, fate, status in (("quarantine", "quarantined", 0), ("fail", "failed", 1),
                                   ("retry", "retry", 75), ("unknown", "quarantined", 0),
                                   ("skip", "stored", 0)):
            result = self.with_stage(status, does=does, on=["1"])
            self.assertEqual(result.json["files"][0]["fate"], fate, does)
            self.assertEqual(result.json["files"][1]["fate"], "stored", does)

    def test_one_that_cannot_be_opened(self):
        result = self.with_stage(1, at="open", does="crash")
        self.assertIn("crashed", result.json["error"])
        self.assertEqual(self.with_stage(75, at="open", does="retry").json["status"], 75)
        self.assertEqual(self.with_stage(1, at="begin", does="fail").json["status"], 1)

    def test_finish_is_not_called(self):
        result = self.with_stage(0, at="finish", does="crash")
        self.assertEqual(result.json["counts"]["passed"], 3)
        result = self.with_stage(0, at="abandon", does="crash")
        self.assertEqual(result.json["counts"]["passed"], 3)


class Nothing(Diff):
    """Nothing is written, and no patient is named."""

    def look(self):
        """Every file and folder of the site, with its time and bytes."""
        found = dict(sendit.tree(self.site.folder))
        for place, folders, files in os.walk(self.site.folder):
            for name in folders + files:
                st = os.lstat(os.path.join(place, name))
                found[os.path.join(place, name), "time"] = (st.st_mtime_ns, st.st_mode)
        return found

    def test_the_site_is_as_it_was(self):
        self.add_rich()
        self.site.add_bytes(b"hello", "s", "broken")
        before = self.look()
        for args in ((), ("--json",), ("--html",), ("--show-originals",)):
            self.run_sendit("diff", *args, "data")
        self.assertEqual(self.look(), before)
        self.assertFalse(os.path.exists(self.site.path("state", "ledger.db")))

    def test_no_key_and_no_state_are_made(self):
        shutil.rmtree(self.site.state)
        path = self.add_rich()
        before = self.look()
        first, second = self.diff(path), self.diff(path)
        self.assertEqual(self.look(), before)
        self.assertEqual(first["key"], {"fingerprint": None, "makeshift": True})
        pseudonym = lambda answer: self.by_path(answer["files"][0])["(0010,0020)"]["after"]["value"]
        self.assertNotEqual(pseudonym(first), pseudonym(second))
        self.assertIn("There is no site key yet", self.run_sendit("diff", path).out)
        self.assertIn("There is no site key yet", self.run_sendit("diff", "--html", path).out)

    def test_the_key_of_a_run(self):
        path = self.add_rich()
        answer = self.diff(path)
        self.assertFalse(answer["key"]["makeshift"])
        self.assertEqual(answer["key"]["fingerprint"],
                         self.run_sendit("plan", "--json").json["key"]["fingerprint"])
        self.assertNotIn("There is no site key", self.run_sendit("diff", path).out)

    def test_a_key_that_is_not_right(self):
        path = self.add_rich()
        os.chmod(self.site.path("state", "site.key"), 0o644)
        self.run_sendit("diff", path, expect=3)
        stages = self.site.stages()
        self.entry(stages, "local-anonymizer")["config"] = {"key": "file:none.key"}
        self.site.write_pipeline(stages=stages)
        self.assertIn("none.key", self.run_sendit("diff", path, expect=3).err)

    def test_what_the_kernel_was_asked(self):
        """By strace: nothing is opened to be written, made, renamed or sent, but for files without a
        name in memory."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        trace = self.site.path("trace")
        self.add_rich()
        inflated = malformed.deflated(malformed.head() + malformed.tail())
        self.site.add_bytes(inflated, "s", "deflated")
        result = self.site.sendit("diff", "data", prefix=[
            "strace", "-f", "-o", trace, "-e",
            "trace=open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,"
            "unlinkat,symlink,symlinkat,truncate,socket,connect,sendto,mknod,mknodat,chmod,fchmod"],
            env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
        if "PTRACE" in result.err:
            self.skipTest("strace may not trace here")
        self.assertEqual(result.status, 0, str(result))
        with open(trace) as file:
            lines = [line for line in file if re.search(r"^\d+ +\w+\(", line)]
        self.assertTrue(lines)
        for line in lines:
            if "O_TMPFILE" in line:
                self.assertRegex(line, r'"(/dev/shm|/tmp)"')
            elif re.search(r"\b(open|openat)\(", line):
                self.assertFalse(re.search("O_WRONLY|O_RDWR|O_CREAT", line) and
                                 "/dev/null" not in line and "= -1" not in line, line)
            else:
                self.fail(line)

    def test_no_canary_unless_asked(self):
        path = self.add_rich()
        for args in ((), ("--json",), ("--html",)):
            masked = self.run_sendit("diff", *args, path)
            for word in WORDS:
                self.assertNotIn(word, masked.out + masked.err)
            shown = self.run_sendit("diff", "--show-originals", *args, path).out
            for word in WORDS:
                self.assertIn(word, shown.replace("\\u0000", ""))

    def test_what_stays_is_masked_too(self):
        """A value that is as it was is one of the original, whoever gets to see it later."""
        path = self.add_rich()
        for element in self.one(path)["elements"]:
            if element["fate"] == "kept" and not element["tag"].startswith("7FE0"):
                for side in ("before", "after"):
                    value = element[side]
                    self.assertNotIn("sha256", value)
                    self.assertTrue("items" in value or "masked" in value or not value["length"],
                                    element)
        self.assertNotIn("Synthetic", self.run_sendit("diff", path).out)

    def test_no_canary_of_any_attribute(self):
        """Every attribute that there is, each with a word; images that pass, and one that is held."""
        import test_canary
        paths = [self.site.add_bytes(test_canary.everything(b"1.2.3.4", test_canary.HELD), "e", "1"),
                 self.site.add_bytes(test_canary.everything(b"1.2.3.5"), "e", "2")]
        for args in ((), ("--json",), ("--html",)):
            out = self.run_sendit("diff", *args, *paths).out
            for word in (test_canary.WORD, test_canary.NUMBER, test_canary.DATE, test_canary.UID):
                self.assertNotIn(word, out)
        answer = self.diff(*paths)
        self.assertEqual([file["fate"] for file in answer["files"]], ["stored", "quarantined"])
        for file in answer["files"]:
            self.assert_counts_add_up(file)
            self.assertGreater(len(file["elements"]), 3000)


class Outputs(Diff):
    def test_into_a_file(self):
        path = self.add_rich()
        for name, args in (("a.txt", ()), ("a.json", ("--json",)), ("a.html", ("--html",))):
            out = self.site.path(name)
            old = os.umask(0)
            try:
                result = self.run_sendit("diff", *args, "-o", out, path)
            finally:
                os.umask(old)
            self.assertEqual(result.out, "")
            self.assertEqual(stat.S_IMODE(os.lstat(out).st_mode), 0o600)
            with open(out) as file:
                text = file.read()
            self.assertEqual(text, self.run_sendit("diff", *args, path).out)
        self.assertFalse([name for name in os.listdir(self.site.folder) if "part" in name])

    def test_a_file_that_is_there_stays(self):
        path, out = self.add_rich(), self.site.path("there")
        with open(out, "w") as file:
            file.write("mine")
        self.assert_one_sentence(self.run_sendit("diff", "-o", out, path, expect=4), "there already")
        os.symlink("nowhere", self.site.path("link"))
        self.run_sendit("diff", "-o", self.site.path("link"), path, expect=4)
        self.run_sendit("diff", "-o", self.site.path("no", "folder"), path, expect=4)
        with open(out) as file:
            self.assertEqual(file.read(), "mine")
        self.assertFalse(os.path.exists(self.site.path("nowhere")))

    def test_what_is_refused(self):
        path = self.add_rich()
        self.run_sendit("diff", expect=2)
        self.run_sendit("diff", "--json", "--html", path, expect=2)
        self.assert_one_sentence(self.run_sendit("diff", "nowhere", path, expect=4), "nowhere")
        self.assertEqual(self.run_sendit("diff", "--json", "nowhere", expect=4).json["status"], 4)
        self.site.write_pipeline(stages=list(reversed(self.site.stages())))
        self.run_sendit("diff", path, expect=3)
        self.use("REMOVE PatientNmae\n")
        self.assertIn("mine.recipe:3", self.run_sendit("diff", path, expect=3).err)
        self.run_sendit("plan", "--html", expect=2)

    def test_one_that_cannot_be_read(self):
        if sendit.is_root():
            self.skipTest("root reads everything")
        path = self.add_rich()
        os.chmod(path, 0)
        self.assertEqual(self.one(path, expect=1)["code"], "import.unreadable")

    def test_as_text(self):
        out = self.run_sendit("diff", self.add_rich()).out
        for mark in "=~-+":
            self.assertRegex(out, r"(?m)^ +%s \([0-9A-F]{4}," % re.escape(mark))
        self.assertIn("would be stored", out)
        self.assertRegex(out, r"~ \(0010,0010\) PatientName +PN +18 bytes, masked -> \"\" +"
                              r"ps3\.15-2026c\.tsv:\d+ empties it")
        self.assertNotIn("\x1b", out)
        self.assertIn("nothing was written", out)

    def test_in_colours_on_a_terminal(self):
        path = self.add_rich()
        for env, coloured in ((dict(os.environ, TERM="xterm"), True),
                              (dict(os.environ, TERM="xterm", NO_COLOR="1"), False)):
            ours, theirs = pty.openpty()
            process = subprocess.Popen([self.site.program, "diff", path], cwd=self.site.folder,
                                       stdin=theirs, stdout=theirs, stderr=theirs, env=env)
            os.close(theirs)
            said = b""
            while True:
                try:
                    data = os.read(ours, 65536)
                except OSError:
                    break
                if not data:
                    break
                said += data
            os.close(ours)
            self.assertEqual(process.wait(60), 0)
            self.assertEqual(b"\x1b[" in said, coloured)

    def test_a_reader_that_goes_away(self):
        """As `| head` does: it ends at once, with 0; a full disk is an error."""
        for i in range(40):
            self.site.add(rich(i), "s", "IM%02d" % i)
        for args in ((), ("--json",), ("--html",)):
            process = self.site.start("diff", *args, "data")
            process.stdout.read(10)
            process.stdout.close()
            said = process.stderr.read().decode()
            process.stderr.close()
            self.assertEqual((process.wait(60), said), (0, ""))
            with open("/dev/full", "w") as full:
                done = subprocess.run([self.site.program, "diff", *args, "data"], stdout=full,
                                      stderr=subprocess.PIPE, cwd=self.site.folder, timeout=60)
            self.assertEqual(done.returncode, 4, done.stderr)

    def test_values_that_a_terminal_would_obey(self):
        path = self.site.add(rich(SpecificCharacterSet="ISO_IR 192", PatientComments=(
            "\u009b31mred\x07bell\x0a")), "s", "IM1")
        out = self.run_sendit("diff", "--show-originals", path).out
        self.assertNotIn("\x07", out)
        self.assertNotIn("\u009b", out)
        self.assertIn(r"\x9b31mred\x07bell", out)


HOSTILE = ("<script>document.title='owned';alert(1)</script>",
           "</td></table></main><img src=x onerror=alert(2)>",
           "<img src=\"http://127.0.0.1:1/x\">", "&lt;b&gt; &amp; \"quoted\" 'single'",
           "<style>body{display:none}</style>", "javascript:alert(3)", "<!-- <svg/onload=alert(4)>",
           "<meta http-equiv=refresh content=0;url=http://127.0.0.1:1/>",
           "\u202egnp.exe\u2066 \u200bhidden", "]]></section>")


class Html(Diff):
    def hostile(self):
        """An image with the worst in it, kept and changed, and in names."""
        self.use("KEEP select:VR:LT\nADD PatientComments '%s'\n" % HOSTILE[1].replace("'", ""),
                 because="a test")
        ds = rich(PatientComments=HOSTILE[0], AdditionalPatientHistory=HOSTILE[1],
                  SpecificCharacterSet="ISO_IR 192")
        items = []
        for text in HOSTILE:
            item = Dataset()
            item.TextValue = text
            items.append(item)
        ds.ContentSequence = Sequence(items)
        ds.private_block(0x0035, "<b>creator", create=True).add_new(0x10, "LO", HOSTILE[2])
        return self.site.add(ds, "s", "<img src=x onerror=alert(5)>.dcm")

    def test_it_is_alone_and_has_no_script(self):
        out = self.run_sendit("diff", "--html", "--show-originals", self.hostile()).out
        self.assertTrue(out.startswith("<!DOCTYPE html>"))
        self.assertIn("default-src 'none'", out)
        tags = set(re.findall(r"<(/?[a-z0-9!]+)", out))
        self.assertFalse(tags & {"script", "img", "svg", "link", "iframe", "object", "a", "base"})
        self.assertEqual(out.count("<style>"), 1)
        self.assertEqual(out.count("<meta"), 4)
        self.assertFalse(re.findall(r"<[^>]*\s(?:on\w+|src|href|style)\s*=", out))
        self.assertNotIn("\u202e", out)
        self.assertIn("\\u202E", out)
        self.assertIn("&lt;script&gt;document.title=&#39;owned&#39;", out)
        self.assertTrue(out.rstrip().endswith("</html>"))

    def test_values_are_masked_in_it(self):
        out = self.run_sendit("diff", "--html", self.hostile()).out
        self.assertNotIn("owned", out)
        self.assertIn("masked", out)


class Browser(Html):
    """The same file in Chromium, headless."""

    @classmethod
    def setUpClass(cls):
        cls.chromium = next(filter(None, map(shutil.which, (
            "chromium", "chromium-browser", "google-chrome"))), None)
        if not cls.chromium:
            raise unittest.SkipTest("chromium is not installed")
        cls.looker = npm.install(cls, "browser")

    def seen(self, *args):
        path = self.site.path("review.html")
        self.run_sendit("diff", "--html", "-o", path, *args)
        done = subprocess.run(["node", "look.js", self.chromium, path], cwd=self.looker,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(done.stdout)

    def test_filters(self):
        path = self.add_rich()
        counts = self.one(path)["counts"]
        seen = self.seen(path)
        self.assertEqual({name: seen["all"].count(name) for name in counts}, counts)
        for name, rows in seen["filters"].items():
            self.assertEqual({one: rows.count(one) for one in counts}, dict(counts, **{name: 0}))
        self.assertEqual(seen["again"], sum(counts.values()))
        self.assertEqual(len(seen["requests"]), 1)
        self.assertEqual((seen["errors"], seen["dialogs"]), ([], []))

    def test_hostile_values_are_text(self):
        path = self.hostile()
        elements = self.one("--show-originals", path)["elements"]
        seen = self.seen("--show-originals", path)
        self.assertEqual(seen["title"], "sendit diff")
        self.assertEqual((seen["requests"][1:], seen["errors"], seen["dialogs"]), ([], [], []))
        self.assertEqual(len(seen["all"]), len(elements))
        self.assertFalse({"SCRIPT", "IMG", "SVG", "IFRAME", "B"} & set(seen["elements"]))
        self.assertLessEqual(set(seen["attributes"]), {
            "charset", "checked", "class", "content", "for", "http-equiv", "id", "lang", "name",
            "type"})
        for text in HOSTILE:
            if text.isascii():
                self.assertIn('"%s"' % text, seen["cells"])
        self.assertIn('"\\u202Egnp.exe\\u2066 \\u200Bhidden"', seen["cells"])
        self.assertIn("<img src=x onerror=alert(5)>.dcm", seen["text"])


class Real(Diff):
    """The collection beside the tree: what diff says of each file is what a run makes of it."""

    def setUp(self):
        if not os.path.isdir(sendit.REAL):
            self.skipTest("../shared/dicom is not beside the tree")
        super().setUp()

    def test_all_of_them_under_a_recipe(self):
        """Every verb, on what is nested and private, too."""
        self.use("REMOVE contains:Comments\nBLANK select:VR:PN\nREPLACE StudyDescription X\n"
                 "REPLACE contains:InstanceUID deid_func:pydicom_uuid\nADD ClinicalTrialSiteID 7\n"
                 "JITTER ContentDate 3\nKEEP select:group:0018\nKEEP (0009,\"GEMS_IDEN_01\",01)\n"
                 "KEEP ReferencedImageSequence__ReferencedSOPClassUID\nADD (0041,\"SITE\",01) a\n"
                 "REMOVE ReferencedImageSequence\n%values names\nFIELD PatientName\n"
                 "SPLIT PatientID by=-\n%header\nREMOVE values:names\n", because="a test",
                 policy={"egress_needs": [], "because": "a test"})
        files = self.diff("--show-originals", "--paths", sendit.REAL, limit=600)["files"]
        for file in files:
            self.assert_counts_add_up(file)
        self.assert_reasons_are_those_of(self.run_json(sendit.REAL, limit=600), files)
        self.assertGreater(self.compare_stored(files), 50)

    def test_all_of_them(self):
        answer = self.diff("--show-originals", "--paths", sendit.REAL, limit=600)
        files = answer["files"]
        self.assertEqual(len(files), sum(len(names) for _, _, names in os.walk(sendit.REAL)))
        self.assertEqual(answer["counts"]["failed"] + answer["counts"]["retry"], 0)
        for file in files:
            self.assert_counts_add_up(file)
            if file["elements"]: # every one that pydicom finds, group lengths and padding too
                self.assertEqual(sorted(name for name, element in self.by_path(file).items()
                                        if element["before"]), sorted(stored(file["path"])))
        self.assert_reasons_are_those_of(self.run_json(sendit.REAL, limit=600), files)
        compared = self.compare_stored(files)
        self.assertGreater(compared, 50)

    def assert_reasons_are_those_of(self, answer, files):
        """What a run holds and ignores, diff said, code by code."""
        ran, told = {}, {}
        for reason in answer["reasons"]:
            key = (reason["state"], reason["code"])
            ran[key] = ran.get(key, 0) + reason["images"]
        for file in files:
            if file["fate"] != "stored":
                key = (file["fate"], file["code"])
                told[key] = told.get(key, 0) + 1
        self.assertEqual(told, ran)

    def compare_stored(self, files):
        """Each stored file has one of whom diff said so; of doubles the first one was stored."""
        told, compared = {}, 0
        for file in files:
            if file["fate"] == "stored":
                uid = self.by_path(file)["(0008,0018)"]["after"]["value"]
                told.setdefault(uid, file)
        written = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID: path
                   for path in sendit.images(self.site.clean)}
        self.assertEqual(sorted(told), sorted(written))
        for uid, path in written.items():
            with self.subTest(told[uid]["path"]):
                self.assert_is_what_is_stored(told[uid], path)
                compared += 1
        return compared


if __name__ == "__main__":
    unittest.main()
