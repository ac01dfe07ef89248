# SPDX-License-Identifier: Apache-2.0
"""Recipes: those that ship, filters, whitelists, and rules on top of the profile."""
import os
import re
import shutil
import sqlite3
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


class Meaning(unittest.TestCase):
    """Each point of the table in filters/README.md has the tests that it names."""

    def test_they_are_there(self):
        with open(os.path.join(sendit.ROOT, "filters", "README.md"), encoding="utf-8") as file:
            table = file.read().split("<!-- meaning -->\n")[1].split("\n\n")[0]
        rows = table.splitlines()[2:]
        self.assertGreaterEqual(len(rows), 13)
        for row in rows:
            names = re.findall(r"`(\w+)\.(\w+)`", row.rsplit("|", 2)[1])
            self.assertTrue(names, row)
            for program, name in names:
                text = ""
                for path in ("unit/%s.c", "system/%s.py"):
                    path = os.path.join(sendit.ROOT, "tests", path % program)
                    if os.path.exists(path):
                        with open(path, encoding="utf-8") as file:
                            text += file.read()
                self.assertRegex(text, r"(?:static void|def) %s\(" % name, program)


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


F = "FORMAT dicom\n"
G = F + "%filter greylist\nLABEL A\n"


class Filters(sendit.Case):
    """Recipes of deid-filter; those that are wrong are in test_bad_recipes.py."""

    def write(self, text, name="mine"):
        with open(self.site.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def use(self, *texts, **config):
        names = ["mine%d" % i for i in range(len(texts))]
        for name, text in zip(names, texts):
            self.write(text, name)
        stages = self.site.stages()
        stages[sendit.at(stages, "deid-filter")]["config"] = dict(
            config, recipes=["./" + name for name in names])
        self.site.write_pipeline(stages)

    def held(self):
        """One image: stage and code, or nothing."""
        shutil.rmtree(self.site.state)
        self.site.write_key()
        self.run_sendit("run")
        return [(one["stage"], one["code"], one["text"]) for one in
                self.run_sendit("quarantine", "list", "b1", "--json").json]

    def test_groups_of_one_name_go_on(self):
        """Of two files, and of one file twice."""
        self.site.add_images(1)
        self.use(F + "%filter greylist\nLABEL none\n  equals Modality XX\n",
                 F + "%filter graylist\nLABEL ct\n  equals Modality CT\n")
        self.assertEqual(self.held()[0][:2], ("deid-filter", "filter.greylist"))
        stages = self.site.stages()
        stages[sendit.at(stages, "deid-filter")]["config"] = {"recipes": ["./mine0", "./mine0"]}
        self.site.write_pipeline(stages)
        self.assertEqual(self.held(), [])

    def test_many_boxes_are_a_message(self):
        self.site.add(sendit.make_image(1, size=64), "a", "1")
        self.use(G + "".join("ctpcoordinates %d,0,1,1\n" % i for i in range(0, 64, 2)))
        self.assertIn(" and more.", self.held()[0][2])
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as ledger:
            said = ledger.execute("SELECT text FROM message WHERE code = 'filter.boxes'")
            self.assertIn(" ".join("%d,0,1,1" % i for i in range(0, 64, 2)), said.fetchone()[0])


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

    def test_the_meta_group_follows(self):
        self.use("REPLACE SOPInstanceUID 2.25.77\n")
        ds = self.image()
        self.assertEqual(ds.SOPInstanceUID, "2.25.77")
        self.assertEqual(ds.file_meta.MediaStorageSOPInstanceUID, "2.25.77")

    def test_references_resolve(self):
        """At any depth, one new UID for each old one."""
        self.use("REPLACE contains:InstanceUID deid_func:pydicom_uuid\n")
        about = sendit.make_image(1)
        item, inner = pydicom.Dataset(), pydicom.Dataset()
        for one in (item, inner):
            one.ReferencedSOPClassUID = sendit.CT
            one.ReferencedSOPInstanceUID = about.SOPInstanceUID
        item.ReferencedImageSequence = pydicom.Sequence([inner])
        about.SourceImageSequence = pydicom.Sequence([item])
        self.site.add(about, "a", "1")
        self.run_sendit("run")
        ds = pydicom.dcmread(sendit.images(self.site.clean)[0])
        one = ds.SourceImageSequence[0]
        self.assertEqual(one.ReferencedSOPInstanceUID, ds.SOPInstanceUID)
        self.assertEqual(one.ReferencedImageSequence[0].ReferencedSOPInstanceUID,
                         ds.SOPInstanceUID)
        self.assertNotEqual(ds.SOPInstanceUID, about.SOPInstanceUID)

    def test_what_is_generated_comes_from_the_key(self):
        """The same input, recipe and key give the same bytes; another key gives others."""
        found = []
        for key in (sendit.KEY, sendit.KEY, "YW5vdGhlciBzaXRlIGtleSBmb3IgdGVzdHMgb25seSE="):
            self.site = self.new_site()
            self.site.write_key(key)
            self.use("ADD PatientComments deid_func:basic_uuid\n"
                     "REPLACE StudyDate deid_func:jitter\n"
                     "ADD DeviceUID deid_func:pydicom_uuid\n")
            self.image()
            found.append(sorted(sendit.tree(self.site.clean).items()))
        self.assertEqual(found[0], found[1])
        self.assertFalse(set(dict(found[0]).values()) & set(dict(found[2]).values()))

    def test_keep_needs_a_reason(self):
        self.use("REMOVE Manufacturer\nKEEP StudyDescription\n")
        self.refuse("mine:4", "because")
        self.use("KEEP StudyDescription\n", because="the trial reads it")
        self.assertIn("because   local-anonymizer: the trial reads it", self.run_sendit("plan").out)
        self.assertEqual(self.image().StudyDescription, "Chest for the trial")
        self.assertIn("the trial reads it", self.run_sendit("run").err)

    def rows(self, sql):
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as ledger:
            return ledger.execute(sql).fetchall()

    def test_the_reason_is_kept(self):
        """Said at each start, in the plan, and in the ledger with the run."""
        self.use("KEEP StudyDescription\n", because="the trial reads it")
        self.image()
        self.run_sendit("run")
        self.assertEqual(self.rows("SELECT because FROM run"),
                         2 * [("local-anonymizer: the trial reads it",)])
        stages = {one["id"]: one for one in self.run_sendit("plan", "--json").json["stages"]}
        self.assertEqual(stages["local-anonymizer"]["because"], "the trial reads it")

    def test_a_reason_that_is_none(self):
        for because in ("", "  "):
            self.use("KEEP StudyDescription\n")
            self.refuse("because")
            stages = self.site.stages()
            entry = stages[sendit.at(stages, "local-anonymizer")]
            entry.update(config={"recipes": ["./mine"]}, because=because)
            self.site.write_pipeline(stages)
            self.refuse("because")

    # Of PatientID, names, UIDs of instances, and sequences, in which any of them may stand.
    IDENTITIES = ("KEEP PatientID\n", "KEEP (0010,0020)\n", "KEEP PatientName\n",
                  "KEEP OperatorsName\n", "KEEP select:VR:PN\n", "KEEP SOPInstanceUID\n",
                  "KEEP StudyInstanceUID\n", "KEEP contains:UID\n", "KEEP ALL\n",
                  "KEEP except:StudyDate\n", "KEEP RequestAttributesSequence\n",
                  "KEEP ReferencedStudySequence__0__PatientID\n", "KEEP select:group:0010\n",
                  "KEEP fields:f\n%fields f\nFIELD PatientID\n",
                  "KEEP values:v\n%values v\nFIELD PatientID\n")

    def test_keep_of_an_identity_costs_the_labels(self):
        for rules in self.IDENTITIES:
            with self.subTest(rules):
                self.use(rules, because="we must")
                self.refuse("mine:3", "ids.replaced and deid.header", "file-store")

    def test_keep_of_an_identity_without_a_reason(self):
        for rules in self.IDENTITIES:
            with self.subTest(rules):
                self.use(rules)
                self.refuse("mine:3", "because")

    def test_keep_of_an_identity_under_a_lowered_policy(self):
        """It goes out, by the word of the site; the labels are lost all the same."""
        self.use("KEEP PatientID\n", because="a registry with consent", policy={
            "egress_needs": ["pixels.checked", "filters.passed"], "because": "the registry"})
        self.assertEqual(self.image().PatientID, "P-1")
        self.assertEqual(self.rows("SELECT labels FROM item"),
                         [("pixels.checked filters.passed",)])
        # Who asks for one of them is refused it.
        self.use("KEEP PatientID\n", because="a registry with consent", policy={
            "egress_needs": ["pixels.checked", "filters.passed", "deid.header"],
            "because": "the registry"})
        self.refuse("ids.replaced and deid.header", "file-store")

    def test_keep_of_what_is_no_identity_costs_nothing(self):
        self.use("KEEP StudyDate\nKEEP StudyDescription\nKEEP InstitutionName\n", because="dates")
        self.assertEqual(self.image().StudyDate, "20210304")
        self.assertEqual(self.rows("SELECT labels FROM item"),
                         [("pixels.checked filters.passed ids.replaced deid.header",)])

    def test_what_cannot_be_done_costs_the_element_if_the_site_says_so(self):
        for policy, wanted in (("blank", ""), ("remove", None)):
            self.site = self.new_site()
            self.use("JITTER Manufacturer 1\nREPLACE PatientSex UNKNOWN_TO_US_ALL\n")
            stages = self.site.stages()
            entry = stages[sendit.at(stages, "local-anonymizer")]
            entry["config"] = {"recipes": ["./mine"], "on_failure": policy}
            self.site.write_pipeline(stages)
            ds = self.image()
            self.assertEqual(ds.get("Manufacturer"), wanted)
            self.assertEqual(ds.get("PatientSex"), wanted)
        self.assertIn("on_failure", self.run_sendit(
            "plan", "--set", "local-anonymizer.on_failure=keep", expect=2).err)

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
