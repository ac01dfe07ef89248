# SPDX-License-Identifier: Apache-2.0
"""sendit test-recipe: cases that pass, that differ and that are broken; those that ship."""
import glob
import json
import os
import re
import shutil
import unittest

import sendit

DUMP = """(0008,0016) UI =CTImageStorage
(0008,0018) UI [1.2.826.0.1.3680043.8.498.1.1.1]
(0008,0060) CS [CT]
(0008,103e) LO [Dose Report]
(0010,0010) PN [Doe^Jane]
(0010,0020) LO [P-1]
(0020,000d) UI [1.2.826.0.1.3680043.8.498.1]
(0028,0010) US 512
(0028,0011) US 512
"""
RECIPE = """FORMAT dicom
%filter greylist
LABEL dose
  contains SeriesDescription dose
  coordinates 0,0,512,20
%header
REMOVE PatientName
ADD PatientID var:entity_id
REPLACE StudyInstanceUID deid_func:pydicom_uuid
"""
FILTERS = os.path.join(sendit.ROOT, "filters")
HELD = {"verdict": "QUARANTINE", "code": "filter.greylist",
        "facts": {"deid.boxes": "0,0,512,20", "deid.group": "greylist", "deid.label": "dose"}}


@unittest.skipUnless(shutil.which("dump2dcm"), "dump2dcm is not installed")
class TestRecipe(sendit.Case):

    def write(self, path, text):
        path = self.site.path(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))

    def case(self, name="one", recipe=RECIPE, dump=DUMP, config=None, expect=None):
        for file, text in (("recipe", recipe), ("in.dump", dump), ("config.json", config),
                           ("expect.json", expect)):
            if text is not None:
                self.write(os.path.join("cases", name, file), text)

    def told(self, *words, expect=0):
        return self.run_sendit("test-recipe", *words, expect=expect).out

    def found(self, name="one"):
        self.told("cases/" + name, "--update")
        with open(self.site.path("cases", name, "expect.json"), encoding="utf-8") as file:
            return json.load(file)

    def test_passes_and_differs(self):
        self.case(expect=HELD)
        self.assertRegex(self.told("cases"), r"(?s)^TAP version 13\n1\.\.1\nok 1 - one\n"
                                             r"# 1 passed, 0 failed, 0 skipped\n$")
        self.case(expect=dict(HELD, code="filter.blacklist"))
        out = self.told("cases", expect=1)
        self.assertIn("not ok 1 - one\n", out)
        self.assertIn('# -   "code": "filter.blacklist"', out)
        self.assertIn('# +   "code": "filter.greylist"', out)

    def test_json(self):
        self.case("bad", expect={"verdict": "PASS"})
        self.case("good", expect=HELD)
        answer = self.run_sendit("test-recipe", "cases", "--json", expect=1).json
        self.assertEqual((answer["passed"], answer["failed"], answer["skipped"]), (1, 1, 0))
        self.assertEqual([(one["name"], one["passed"]) for one in answer["results"]],
                         [("bad", False), ("good", True)])
        self.assertNotIn("stage", answer)

    def test_update_writes_what_was_found_and_keeps_about(self):
        self.case(expect={"about": "why it is here", "verdict": "PASS"})
        self.assertIn("expect.json was written", self.told("cases", "--update"))
        with open(self.site.path("cases", "one", "expect.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), dict(HELD, about="why it is here"))
        self.assertIn("1 passed, 0 failed", self.told("cases"))

    def test_header_rules_alone_and_behind_a_profile(self):
        self.case(dump=DUMP.replace("Dose Report", "Thorax"))
        alone = self.found()
        self.assertEqual(alone["verdict"], "PASS")
        self.assertEqual(sorted(alone["tags"]), ["PatientID", "PatientName", "StudyInstanceUID"])
        self.assertIsNone(alone["tags"]["PatientName"])
        self.assertRegex(alone["tags"]["PatientID"], "^[0-9a-f]{16}$")
        self.assertRegex(alone["tags"]["StudyInstanceUID"], r"^2\.25\.\d+$")
        self.case("two", dump=DUMP.replace("Dose Report", "Thorax"), config={"profile": ["basic"]})
        behind = self.found("two")["tags"]
        for key in ("PatientID", "PatientName"):
            self.assertEqual(behind[key], alone["tags"][key])
        self.assertEqual(behind["PatientIdentityRemoved"], "YES")

    def test_words_and_paths(self):
        self.write("mine", RECIPE)
        for names, label in ((["../../mine"], "dose"), (["dicom"], "reject-imagetype-none"),
                             (["dicom", "../../mine"], "reject-imagetype-none")):
            with self.subTest(names=names):
                self.case(recipe=None, config={"recipes": names})
                self.assertEqual(self.found()["facts"]["deid.label"], label)

    def test_several_images(self):
        self.write("cases/one/recipe", RECIPE)
        self.write("cases/one/in/a.dump", DUMP)
        self.write("cases/one/in/b.dump", DUMP.replace("Dose Report", "Thorax"))
        items = self.found()["items"]
        self.assertEqual({key: one["verdict"] for key, one in items.items()},
                         {"a": "QUARANTINE", "b": "PASS"})

    def test_whitelist(self):
        self.case(recipe="FORMAT dicom\n%filter whitelist\nLABEL fine\n  equals Modality CT\n"
                         "%filter blacklist\nLABEL all\n  present Modality\n")
        self.assertEqual(self.found(), {"verdict": "PASS", "facts": {"deid.group": "whitelist",
                                                                     "deid.label": "fine"}})

    def test_what_cannot_be_done_is_held(self):
        for rules, code in (("JITTER PatientName 1", "deid.recipe"),
                            ("ADD StudyID var:nothing", "deid.vars"),
                            ("REMOVE PatientName contains:(a+)+[bc]", None)):
            with self.subTest(rules=rules):
                self.case(recipe="FORMAT dicom\n%header\n" + rules + "\n")
                found = self.found()
                if code:
                    self.assertEqual((found["verdict"], found["code"]), ("QUARANTINE", code))

    def test_a_recipe_that_is_refused(self):
        self.case(recipe="FORMAT dicom\n%header\nREMOVE PatientNmae\n")
        self.assertEqual(self.found(), {"refused": "recipe:3:8: no attribute is called PatientNmae; "
                                                   "did you mean \"PatientName\"?"})
        self.case("two", recipe=None, config={"recipes": ["nonesuch"]},
                  expect={"refused": "*"})
        self.assertIn("\nok", self.told("cases/two"))

    def test_stars(self):
        self.case(dump=DUMP.replace("Dose Report", "Thorax"),
                  expect={"verdict": "PASS", "tags": {"PatientName": None, "*": "*"}})
        self.assertIn("1 passed", self.told("cases"))
        self.case(expect={"verdict": "PASS", "tags": {"PatientName": "*", "*": "*"}},
                  dump=DUMP.replace("Dose Report", "Thorax"))
        self.assertIn("not ok", self.told("cases", expect=1))

    def test_broken_cases(self):
        for given, says in ((dict(recipe=None), "it has no recipe"),
                            (dict(dump=None, expect=HELD), "none of in.dcm, in.dump and in/"),
                            (dict(config='{"recipe": []}'), "config.json:1:2"),
                            (dict(config='{"recipes": "dicom"}'), "config.json:1:13"),
                            (dict(config='{'), "config.json:"),
                            (dict(expect='{"verdict": "FINE"}'), "expect.json:1:13"),
                            (dict(expect='{"verdicts": "PASS"}'), "expect.json:1:"),
                            (dict(dump="nonsense\n"), None)):
            with self.subTest(given=given):
                shutil.rmtree(self.site.path("cases"), ignore_errors=True)
                self.case(**given)
                out = self.told("cases/one", "--update", expect=1)
                self.assertIn("not ok 1 - one", out)
                self.assertIn(says or "one", out)
        shutil.rmtree(self.site.path("cases"))
        self.case(expect=HELD)
        self.write("cases/one/host.json", {})
        self.assertIn("no host.json", self.told("cases", expect=1))

    def test_wrong_places(self):
        os.mkdir(self.site.path("empty"))
        self.run_sendit("test-recipe", expect=2)
        self.run_sendit("test-recipe", "nowhere", expect=3)
        self.run_sendit("test-recipe", "empty", expect=3)
        self.run_sendit("test-recipe", "empty", "--gdb", expect=2)

    def test_nothing_is_left(self):
        self.case(expect=HELD)
        before = sendit.tree(self.site.folder)
        self.told("cases")
        self.assertEqual(sendit.tree(self.site.folder), before)

    def test_readme(self):
        """The walk-through of filters/README.md is what happens."""
        with open(os.path.join(FILTERS, "README.md"), encoding="utf-8") as file:
            blocks = dict(re.findall(r"<!-- case: (\S+) -->\n```\w*\n(.*?)```", file.read(), re.S))
        expected = blocks.pop("cases/dose/expect.json")
        output = blocks.pop("output")
        for path, text in blocks.items():
            self.write(path, text)
        self.told("cases", "--update")
        with open(self.site.path("cases/dose/expect.json"), encoding="utf-8") as file:
            self.assertEqual(file.read(), expected)
        self.write("deid.site", blocks["deid.site"].replace("dose report|", ""))
        self.assertEqual("$ sendit test-recipe cases\n" + self.told("cases", expect=1), output)


class Shipped(unittest.TestCase):
    """Each recipe that ships has cases of both kinds, and each case says what it is about."""

    def test_each_recipe_catches_and_passes(self):
        verdicts = {}
        for folder in glob.glob(os.path.join(FILTERS, "cases", "*")):
            with open(os.path.join(folder, "config.json")) as file:
                recipe, = json.load(file)["recipes"]
            with open(os.path.join(folder, "expect.json")) as file:
                expect = json.load(file)
            self.assertTrue(expect["about"], folder)
            verdicts.setdefault(recipe, []).append((expect["verdict"], expect["about"]))
        self.assertEqual(sorted(verdicts), sorted(
            os.path.basename(path)[len("deid."):]
            for path in glob.glob(os.path.join(FILTERS, "deid.*"))))
        for recipe, all_of_it in verdicts.items():
            with self.subTest(recipe=recipe):
                kinds = [verdict for verdict, _ in all_of_it]
                self.assertGreaterEqual(kinds.count("PASS"), 2)
                with open(os.path.join(FILTERS, "deid." + recipe)) as file:
                    if "%filter" in file.read():  # header rules alone hold nothing
                        self.assertGreaterEqual(kinds.count("QUARANTINE"), 3)
                self.assertTrue(any(about.startswith("What it does not catch")
                                    for _, about in all_of_it))


THEIRS = os.path.join(sendit.SHARED, "recipes")


@unittest.skipUnless(os.path.isdir(THEIRS), "../shared/recipes is not beside the tree")
class Theirs(sendit.Case):
    """pydicom/deid's own recipes: the verdicts that our semantics give them."""

    # recipe, what the image is, group and LABEL (None: no LABEL holds)
    IMAGES = (
        ("deid.dicom", {}, None, None),
        ("deid.dicom", {"BurnedInAnnotation": "YES"}, "blacklist", "Burned In Annotation"),
        ("deid.dicom", {"BurnedInAnnotation": "NO"}, "whitelist", "Marked as Clean Catch All"),
        # the whitelist is asked first, whatever else is true of it
        ("deid.dicom", {"BurnedInAnnotation": "NO", "ImageType": ["DERIVED", "SECONDARY"]},
         "whitelist", "Marked as Clean Catch All"),
        ("deid.dicom", {"ManufacturerModelName": "Sensation 64"}, "whitelist",
         "CT Siemens Sensation 64 Catch-all"),
        ("deid.dicom", {"ImageType": ["DERIVED", "SECONDARY"]}, "blacklist",
         "Any Scanned Document or Secondary Save"),
        ("deid.dicom", {"Modality": "OT"}, "blacklist", "Any Scanned Document or Secondary Save"),
        ("deid.dicom", {"ImageType": ["ORIGINAL", "PRIMARY", "DEMOGRAPHICDATA"]}, "blacklist",
         "Any DEMOGRAPHICDATA, INVALID"),
        ("deid.dicom", {"ImageType": None}, "blacklist",
         "Stanford Blacklist Missing ImageType"),
        ("deid.dicom", {"ImageType": ""}, "blacklist", "Stanford Blacklist Missing ImageType"),
        ("deid.dicom", {"ImageType": ["DERIVED", "PRIMARY"]}, "blacklist",
         "Stanford Blacklist secondary or derived catchall"),
        ("deid.dicom", {"SeriesDescription": "Dose Report"}, "blacklist",
         "Stanford Blacklist Dose Report or External"),
        ("deid.dicom", {"SeriesDescription": "saved state"}, "blacklist", "Burned In Annotation"),
        ("deid.dicom", {"Manufacturer": "ADAC", "Modality": "NM", "Rows": 832, "Columns": 1024},
         "greylist", "ADAC"),
        ("deid.dicom", {"Manufacturer": None, "Modality": "US", "ImageType": ["DERIVED", "PRIMARY"]},
         "greylist", "Stanford Med Reconstruction"),
        ("deid.dicom.xray.chest", {}, None, None),
        ("deid.dicom.xray.chest", {"Modality": "DX", "StudyDescription": "CHEST"}, "whitelist",
         "Matt Lungren CHEST"),
        ("deid.dicom.xray.chest", {"Modality": "DX", "BodyPartExamined": "CHEST"}, "whitelist",
         "Matt Lungren CHEST"),
        ("deid.dicom.xray.chest", {"StudyDescription": "DX CHEST"}, "whitelist",
         "Matt Lungren CHEST"),
        ("deid.dicom.xray.chest", {"Modality": "DX"}, None, None),
        ("deid.dicom.xray.chest", {"StudyDescription": "CHEST"}, None, None),
        ("deid.dicom.xray.chest", {"Modality": "RF"}, "blacklist",
         "Matt Lungren Only Accept X-ray"),
        ("deid.dicom.xray.chest", {"Modality": "DX", "StudyDescription": "HAND"}, "blacklist",
         "Matt Lungren Filter Known notChest"),
        ("deid.dicom.xray.chest", {"Modality": "DX", "BodyPartExamined": "KNEE"}, "blacklist",
         "Matt Lungren Filter Known notChest"),
        ("deid.dicom.ultrasound", {}, "greylist", "Blank Image"),
        ("deid.dicom.ultrasound", {"BurnedInAnnotation": "NO"}, "whitelist",
         "Marked as Clean Catch All"),
    )

    def test_verdicts(self):
        for i, (recipe, attributes, _, _) in enumerate(self.IMAGES):
            folder = self.site.path("cases", "%02d" % i)
            sendit.save(sendit.make_image(**attributes), os.path.join(folder, "in.dcm"))
            with open(os.path.join(THEIRS, recipe), encoding="utf-8") as file:
                text = file.read().split("%header")[0]  # var:item_timestamp, which nobody gives
            with open(os.path.join(folder, "recipe"), "w", encoding="utf-8") as file:
                file.write(text)
        self.run_sendit("test-recipe", "cases", "--update")
        for i, (recipe, attributes, group, label) in enumerate(self.IMAGES):
            with self.subTest(recipe=recipe, attributes=attributes):
                with open(self.site.path("cases", "%02d" % i, "expect.json")) as file:
                    found = json.load(file)
                self.assertEqual(found.get("facts", {}).get("deid.label"), label, found)
                self.assertEqual(found.get("facts", {}).get("deid.group"), group)
                self.assertEqual(found["verdict"],
                                 "PASS" if group in (None, "whitelist") else "QUARANTINE")

    def test_a_run_refuses_what_nobody_gives(self):
        for recipe in ("deid.dicom", "deid.dicom.ultrasound"):
            stages = self.site.stages()
            entry = next(one for one in stages if one["use"] == "local-anonymizer")
            entry.setdefault("config", {})["recipes"] = [os.path.join(THEIRS, recipe)]
            self.site.write_pipeline(stages=stages)
            for command in ("run", "plan", "check"):
                self.assertIn("_timestamp", self.run_sendit(command, expect=3).err)

    def test_the_table_of_what_is_otherwise(self):
        """filters/README.md names each LABEL of which the linter says so, and no other."""
        with open(os.path.join(FILTERS, "README.md"), encoding="utf-8") as file:
            table = re.search(r"<!-- theirs -->(.*?)<!-- end -->", file.read(), re.S).group(1)
        told = {(recipe, label) for recipe, label
                in re.findall(r"^\| `(deid[\w.]+)` \| ([^|]+?) \|", table, re.M)}
        found = set()
        for recipe in sorted(os.listdir(THEIRS)):
            if not recipe.startswith("deid."):
                continue
            path = os.path.join(THEIRS, recipe)
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
            for one in self.run_sendit("lint", path, "--json", expect=1).json["findings"]:
                above = [line for line in lines[:one["line"]] if line[:1] == "%" or
                         line.startswith("LABEL")]
                if one["code"].startswith("deid-") and above[-1].startswith("LABEL"):
                    found.add((recipe, above[-1][len("LABEL "):].split(" #")[0].strip()))
        self.assertEqual(told, found)


if __name__ == "__main__":
    unittest.main()
