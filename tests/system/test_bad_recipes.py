# SPDX-License-Identifier: Apache-2.0
"""Recipes that are not right: at load they stop the start, on an image they hold it."""
import os
import unittest

import sendit

F = "FORMAT dicom\n"
H = F + "%header\n"
L = F + "%filter greylist\nLABEL A\n"

# What is wrong -> the bytes, where and a part of the sentence.
REFUSED = {
    "unknown verb": (H + "REMVOE PatientName\n", ":3:1: ", 'did you mean "REMOVE"?'),
    "unknown section": (F + "%haeder\n", ":2:1: ", 'did you mean "%header"?'),
    "unknown group": (H + "REMOVE values:ids\n", ":3:8: ", "no %values ids"),
    "unknown function": (H + "REPLACE StudyID deid_func:basic_uid\n", ":3:27: ", "basic_uuid"),
    "a function of Python": (H + "REPLACE StudyID func:mine\n", ":3:17: ", "Python"),
    "unknown field": (H + "REMOVE PatientNmae\n", ":3:8: ", 'did you mean "PatientName"?'),
    "unknown field of a filter": (L + "contains Modlaity CT\n", ":4:10: ", "Modality"),
    "unknown test": (L + "contians Modality CT\n", ":4:1: ", "contains"),
    "unmatched quote": (H + "ADD StudyID \"a\n", ":3:13: ", "no match"),
    "byte order mark": ("\ufeff" + H + "REMOVE PatientName\n", ":1:1: ", "byte order mark"),
    "Latin-1": ((H + "ADD StudyID M\u00fcller\n").encode("latin-1"), ":3:14: ", "UTF-8"),
    "UTF-16": ((H + "REMOVE PatientName\n").encode("utf-16"), ":1:1: ", "UTF-8"),
    "NUL": (H + "REMOVE Patient\0Name\n", ":3:15: ", "control character"),
    "lines of an old Mac": (H.replace("\n", "\r") + "REMOVE PatientName\r", ":1:13: ", "control"),
    "100,000 lines": (H + "REMOVE PatientName\n" * 100000, ":20003:", "more than 20000"),
    "a line that is too long": (H + "REMOVE " + "x" * 9000 + "\n", ":3:1: ", "8192 bytes"),
    "too large": (F + "# " + "x" * 60 + "\n" + ("# " + "x" * 60 + "\n") * 80000, None, "bytes"),
    "negative coordinates": (L + "coordinates -1,0,5,5\n", ":4:13: ", "not negative"),
    "decimal coordinates": (L + "coordinates 0,0,5.5,5\n", ":4:13: ", "whole numbers"),
    "swapped coordinates": (L + "coordinates 5,5,0,0\n", ":4:13: ", "X2 must be above X1"),
    "from: without a sequence": (L + "coordinates from:Modality\n", ":4:18: ", "sequence"),
    "a pattern that is none": (L + "contains StudyID (\n", ":4:18: ", "this pattern is none"),
    "a condition that is none": (H + "REMOVE StudyID contains:[\n", ":3:25: ", "pattern"),
    "a pattern for names that takes for ever": (H + "REMOVE contains:(.+)+(.+)+(.+)+(.+)+[;!]\n", None,
                                                "too long"),
    "an empty recipe": ("", ":1:1: ", "FORMAT dicom"),
    "comments alone": ("# nothing\n", ":1:1: ", "FORMAT dicom"),
    "no rule": (H, ":2:1: ", "no rule"),
    "no FORMAT": ("%header\nREMOVE PatientName\n", ":1:1: ", "FORMAT dicom"),
    "FORMAT twice": (F + F + "%header\nREMOVE PatientName\n", ":2:1: ", "second time"),
    "FORMAT unknown": ("FORMAT nifti\n", ":1:8: ", "dicom"),
    "groups of one name": (F + "%values a\nFIELD StudyID\n%fields a\n", ":4:9: ", "already"),
    "a group of another": (F + "%values a\nFIELD values:b\n%values b\nFIELD StudyID\n", ":3:7: ",
                           "cannot be made"),
    "a group of itself": (F + "%fields a\nFIELD fields:a\n", ":3:7: ", "cannot be made"),
}


class AtLoad(sendit.Case):
    """Neither stage starts; plan, check and run say the same, with file, line and column."""

    def write(self, text):
        with open(self.site.path("mine"), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode("utf-8"))

    def use(self, stage, recipes=("./mine",)):
        stages = self.site.stages()
        entry = next(one for one in stages if one["use"] == stage)
        entry.setdefault("config", {})["recipes"] = list(recipes)
        self.site.write_pipeline(stages=stages)

    def test_both_stages_refuse_it(self):
        self.site.add_images(1)
        for what, (text, where, says) in REFUSED.items():
            with self.subTest(what=what):
                self.write(text)
                for stage in ("deid-filter", "local-anonymizer"):
                    self.use(stage)
                    err = self.run_sendit("check", expect=3).err
                    self.assertIn(says, err)
                    if where:
                        self.assertIn("mine" + where, err)
                self.assertIn(says, self.run_sendit("lint", "./mine", expect=3).err)

    def test_no_file_is_touched(self):
        self.site.add_images(1)
        self.write(REFUSED["unknown field"][0])
        for stage in ("deid-filter", "local-anonymizer"):
            self.use(stage)
            before = sendit.tree(self.site.data)
            for command in ("plan", "run"):
                self.assertIn("PatientName", self.run_sendit(command, expect=3).err)
            self.assertEqual(sendit.tree(self.site.data), before)
            self.assertFalse(os.path.exists(self.site.clean))

    def test_places_that_are_no_recipe(self):
        os.mkdir(self.site.path("folder"))
        os.mkfifo(self.site.path("fifo"))
        for recipe in ("./nowhere", "./folder", "./fifo", "/dev/zero", "nonesuch", "../mine", "", "a b",
                       "DICOM"):
            with self.subTest(recipe=recipe):
                self.use("deid-filter", [recipe])
                self.run_sendit("check", expect=3)

    def test_as_windows_writes_it(self):
        self.write((L + "equals Modality CT\n").replace("\n", "\r\n"))
        self.use("deid-filter")
        self.site.add_images(1)
        self.run_sendit("run")
        self.assertEqual(self.site.counts()["quarantined"], 1)

    def test_recipes_that_name_each_other(self):
        """Groups of one are used by the other, whichever comes first; what is in neither is not."""
        with open(self.site.path("one"), "w") as file:
            file.write(H + "REMOVE values:b\n%values a\nFIELD StudyDescription\n")
        with open(self.site.path("two"), "w") as file:
            file.write(H + "REMOVE values:a\n%values b\nFIELD SeriesDescription\n")
        for recipes in (["./one", "./two"], ["./two", "./one"]):
            self.use("local-anonymizer", recipes)
            self.run_sendit("check")
        for recipes, says in ((["./one"], "no %values b"), (["./two"], "no %values a"),
                              (["./one", "./one"], "no %values b")):
            self.use("local-anonymizer", recipes)
            self.assertIn(says, self.run_sendit("check", expect=3).err)
        with open(self.site.path("two"), "w") as file:  # a recipe is no line of another one
            file.write(F + "./one\n")
        self.use("local-anonymizer", ["./two"])
        self.assertIn("two:2:1: ", self.run_sendit("check", expect=3).err)

    def test_variables_that_no_stage_gives(self):
        for name in ("nonsense", "item_timestamp", "entity_id_source", "Jitter"):
            self.write(H + "ADD StudyID var:%s\n" % name)
            self.use("local-anonymizer")
            for command in ("run", "plan", "check"):
                self.assertIn("var:" + name, self.run_sendit(command, expect=3).err)
            codes = [one["code"] for one in self.run_sendit("lint", "./mine", "--json",
                                                            expect=1).json["findings"]]
            self.assertIn("unknown-variable", codes)


# What is wrong -> stage, rules, attributes of the image, reason.
HELD = {
    "a pattern that backtracks": ("deid-filter", L + "contains StudyDescription (a+)+[bc]\n",
                                  {"StudyDescription": "a" * 60 + "!"}, "deid.text"),
    "a condition that backtracks": ("local-anonymizer", H + "REMOVE Manufacturer contains:(a+)+[bc]\n",
                                    {"Manufacturer": "a" * 60 + "!"}, "deid.pattern"),
    "from: without regions": ("deid-filter", L + "coordinates from:SequenceOfUltrasoundRegions\n",
                              {}, "deid.regions"),
    "a value that does not fit": ("local-anonymizer", H + "REPLACE StudyDate yesterday\n", {},
                                  "deid.recipe"),
    "JITTER of what is no date": ("local-anonymizer", H + "JITTER Manufacturer 1\n", {},
                                  "deid.recipe"),
    "a date that leaves the years": ("local-anonymizer", H + "ADD StudyDate 00990101\n"
                                     "JITTER StudyDate -366000\n", {},
                                     "deid.recipe"),
}


class OnAnImage(sendit.Case):

    def test_it_is_held_and_the_batch_goes_on(self):
        for what, (stage, text, attributes, code) in HELD.items():
            with self.subTest(what=what):
                site = self.new_site()
                with open(site.path("mine"), "w") as file:
                    file.write(text)
                stages = site.stages()
                entry = next(one for one in stages if one["use"] == stage)
                entry.setdefault("config", {})["recipes"] = ["./mine"]
                site.write_pipeline(stages=stages)
                site.add(sendit.make_image(1, **attributes), "b", "1.dcm")
                self.run_sendit("run", site=site)
                self.assertEqual(site.counts()["quarantined"], 1)
                self.assertEqual(sendit.images(site.clean), [])
                self.assertIn(code, self.run_sendit("quarantine", "list", site=site).out)

    def test_boxes_outside_of_the_image(self):
        """What lies outside of it is no box; the LABEL holds all the same."""
        with open(self.site.path("mine"), "w") as file:
            file.write(L + "equals Modality CT\ncoordinates 100,100,200,200\n"
                           "coordinates 4,4,1000,1000\n")
        stages = self.site.stages()
        stages[2]["config"] = {"recipes": ["./mine"]}
        self.site.write_pipeline(stages=stages)
        self.site.add_images(1)
        self.run_sendit("run")
        out = self.run_sendit("quarantine", "list").out
        self.assertIn("filter.greylist", out)
        shown = self.run_sendit("quarantine", "list", "b1", "--json").out
        self.assertIn("to blank: 4,4,4,4", shown)


if __name__ == "__main__":
    unittest.main()
