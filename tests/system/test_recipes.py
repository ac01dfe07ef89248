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
