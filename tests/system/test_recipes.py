# SPDX-License-Identifier: Apache-2.0
"""Recipes that ship."""
import os
import subprocess
import unittest

import pydicom

import sendit


class Shipped(unittest.TestCase):
    """What stands in filters/ is what its tables say."""

    def test_deid_dicom_is_made_of_its_tables(self):
        script = os.path.join(sendit.ROOT, "filters", "make-deid-dicom")
        done = subprocess.run([script, "--check"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)


class Whitelists(sendit.Case):
    """What a whitelist names passes unseen: the plan says so, each LABEL in a line."""

    RECIPE = ("FORMAT dicom\n%%filter %s\nLABEL Clean as we know\n  equals Modality CT\n"
              "LABEL And these\n  equals Modality MR\n%%filter blacklist\n"
              "LABEL Not these\n  equals Modality US\n")

    def use(self, kind):
        stages = self.site.stages()
        stages[sendit.at(stages, "deid-filter")]["config"] = {"recipes": ["dicom", "./mine"]}
        self.site.write_pipeline(stages)
        with open(self.site.path("mine"), "w") as file:
            file.write(self.RECIPE % kind)

    def test_each_label_is_a_line(self):
        self.use("whitelist")
        for command in (["plan"], ["run"]):
            said = self.run_sendit(*command).out
            self.assertRegex(said, "(?m)^whitelist deid-filter lets pass what LABEL \"Clean as we "
                                   "know\" names\n +deid-filter lets pass what LABEL \"And")
            self.assertNotIn("Not these", said)
        stages = {one["id"]: one for one in self.run_sendit("plan", "--json").json["stages"]}
        self.assertEqual(len(stages["deid-filter"]["whitelist"]), 2)
        self.assertEqual(stages["deid-filter"]["whitelist"][0], "Clean as we know")
        self.assertEqual(stages["local-anonymizer"]["whitelist"], [])

    def test_others_are_not(self):
        for kind in ("blacklist", "greylist", "graylist", "another"):
            self.use(kind)
            self.assertNotIn("whitelist", self.run_sendit("plan").out)

    def test_a_disabled_filter_lets_nothing_pass(self):
        self.use("whitelist")
        result = self.run_sendit("plan", "--set", "deid-filter.enabled=false", expect=3)
        self.assertNotIn("whitelist", result.out)

    def test_who_edits_asks_no_filter(self):
        stages = self.site.stages()
        self.use("whitelist")
        stages[sendit.at(stages, "local-anonymizer")]["config"] = {"recipes": ["./mine"]}
        self.site.write_pipeline(stages)
        self.assertNotIn("whitelist", self.run_sendit("plan").out)

    def test_those_that_ship_have_none(self):
        stages = self.site.stages()
        shipped = sorted(name[len("deid."):] for name in
                         os.listdir(os.path.join(sendit.ROOT, "filters"))
                         if name.startswith("deid."))
        self.assertGreaterEqual(len(shipped), 4)
        stages[sendit.at(stages, "deid-filter")]["config"] = {"recipes": shipped}
        self.site.write_pipeline(stages)
        self.assertNotIn("whitelist", self.run_sendit("plan").out)
        for stage in self.run_sendit("plan", "--json").json["stages"]:
            self.assertEqual(stage["whitelist"], [])


class OnTopOfTheProfile(sendit.Case):
    """Recipes of local-anonymizer."""

    def use(self, rules, because=None, policy=None):
        with open(self.site.path("mine"), "w") as file:
            file.write("FORMAT dicom\n%header\n" + rules)
        stages = self.site.stages()
        entry = next(one for one in stages if one["use"] == "local-anonymizer")
        entry.setdefault("config", {})["recipes"] = ["./mine"]
        if because:
            entry["because"] = because
        self.site.write_pipeline(stages=stages, **({"policy": policy} if policy else {}))

    def refuse(self, *words):
        for command in ("run", "check", "plan"):
            result = self.run_sendit(command, expect=3)
            for word in words:
                self.assertIn(word, result.err)

    def image(self):
        """The one that was stored."""
        sendit.save(sendit.make_image(StudyDescription="Chest for the trial"),
                    self.site.path("data", "b", "1.dcm"))
        self.run_sendit("run")
        found = sendit.images(self.site.path("clean"))
        self.assertEqual(len(found), 1)
        return pydicom.dcmread(found[0])

    def test_rules_come_after_the_profile(self):
        self.use("ADD ClinicalTrialProtocolID EX-1\nADD AccessionNumber var:item_id\n"
                 "REMOVE Manufacturer\nREPLACE PatientName ANON^X\n")
        ds = self.image()
        self.assertEqual(ds.ClinicalTrialProtocolID, "EX-1")
        self.assertRegex(ds.AccessionNumber, "^[0-9a-f]{16}$")
        self.assertEqual(str(ds.PatientName), "ANON^X")
        self.assertNotIn("Manufacturer", ds)
        self.assertEqual(ds.PatientIdentityRemoved, "YES")

    def test_keep_needs_a_reason(self):
        self.use("REMOVE Manufacturer\nKEEP StudyDescription\n")
        self.refuse("mine:4", "because")
        self.use("KEEP StudyDescription\n", because="the trial reads it")
        self.assertIn("because   local-anonymizer: the trial reads it", self.run_sendit("plan").out)
        self.assertEqual(self.image().StudyDescription, "Chest for the trial")
        self.assertIn("the trial reads it", self.run_sendit("run").err)

    def test_keep_of_an_identity_costs_the_labels(self):
        self.use("KEEP PatientID\n", because="we must")
        self.refuse("mine:3", "ids.replaced and deid.header", "file-store")

    def test_mistakes_stop_the_start(self):
        for rules, words in (("REMOVE PatientNmae\n", ["mine:3:8", 'did you mean "PatientName"?']),
                             ("REMVOE PatientName\n", ["mine:3:1", 'did you mean "REMOVE"?']),
                             ("ADD StudyDate var:item_timestamp\n", ["var:item_timestamp"])):
            with self.subTest(rules=rules):
                self.use(rules)
                self.refuse(*words)

    def test_what_cannot_be_done_is_held(self):
        self.use("JITTER Manufacturer 1\n")
        sendit.save(sendit.make_image(),
                    self.site.path("data", "b", "1.dcm"))
        self.run_sendit("run")
        self.assertEqual(sendit.images(self.site.path("clean")), [])
        self.assertIn("deid.recipe", self.run_sendit("quarantine", "list").out)


if __name__ == "__main__":
    unittest.main()
