# SPDX-License-Identifier: Apache-2.0
"""sendit lint on the command line: what it prints, its statuses, a corpus, several recipes as one."""
import hashlib
import json
import os
import pty
import random
import re
import subprocess
import unittest

import sendit

HEADER = "FORMAT dicom\n%header\n"


class Lint(sendit.Case):

    def recipe(self, text, name="mine"):
        with open(self.site.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return "./" + name

    def test_a_finding_as_a_compiler_writes_it(self):
        name = self.recipe(HEADER + "KEEP StudyDescription # ü\nREMOVE\tStudyDescription\n")
        result = self.run_sendit("lint", name, "--ignore", "keeps", "--ignore", "leaves", expect=1)
        self.assertEqual(result.out,
                         "./mine:4:1: dead-rule: this REMOVE of StudyDescription does nothing: line "
                         "3 keeps it, and KEEP comes before all but ADD\n"
                         "     4 | REMOVE StudyDescription\n"
                         "       | ^~~~~~\n"
                         "       = write: one of the two\n"
                         "1 finding\n")
        self.assertEqual(result.err, "")

    def test_columns_count_characters(self):
        name = self.recipe("FORMAT dicom\n%filter greylist\nLABEL Münster\n"
                           "contains StudyID ä # ß\n")
        lines = self.run_sendit("lint", name, expect=1).out.splitlines()
        self.assertTrue(lines[0].startswith("./mine:4:20: deid-comment: "), lines)
        self.assertEqual(lines[1].index("#"), lines[2].index("^"))

    def test_a_long_line_is_cut(self):
        name = self.recipe(HEADER + "REMOVE StudyID contains:" + "x" * 3000 + " # y\n"
                           "ADD PatientID " + "y" * 3000 + "#\n")
        out = self.run_sendit("lint", name, expect=1).out
        self.assertIn("xxx...", out)
        self.assertIn("...yyy", out)
        self.assertLess(max(map(len, out.splitlines())), 500)

    def test_nothing_to_say(self):
        name = self.recipe("FORMAT dicom\n%filter greylist\nLABEL a\n  equals Modality CT\n")
        self.assertEqual(self.run_sendit("lint", name).out, "0 findings\n")
        self.assertEqual(self.run_sendit("lint", name, "--json").json["findings"], [])

    def test_json(self):
        name = self.recipe(HEADER + "REMOVE jitter\n")
        answer = self.run_sendit("lint", name, "--json", "--ignore", "leaves", expect=1).json
        self.assertEqual(answer["recipes"], ["./mine"])
        self.assertRegex(answer["sha256"], "^[0-9a-f]{64}$")
        self.assertFalse(answer["cut"])
        one, = answer["findings"]
        self.assertEqual((one["file"], one["line"], one["column"], one["code"], one["source"]),
                         ("./mine", 3, 8, "variable-field", "REMOVE jitter"))
        self.assertTrue(one["text"] and one["instead"])

    def test_refused(self):
        name = self.recipe(HEADER + "REMOVE PatientNmae\n")
        result = self.run_sendit("lint", name, expect=3)
        self.assertEqual(result.err.splitlines(),
                         ["sendit: ./mine:3:8: no attribute is called PatientNmae; did you mean "
                          "\"PatientName\"?",
                          "     3 | REMOVE PatientNmae",
                          "       |        ^~~~~~~~~~~"])
        self.assertEqual(result.out, "")
        answer = self.run_sendit("lint", name, "--json", expect=3).json
        self.assertEqual(answer["status"], 3)
        self.run_sendit("lint", self.recipe("", "empty"), expect=3)
        self.run_sendit("lint", "./nowhere", expect=3)
        self.run_sendit("lint", ".", expect=3)
        self.run_sendit("lint", "nonesuch", expect=3)

    def test_wrong_command_lines(self):
        name = self.recipe(HEADER + "REMOVE StudyID\n")
        for words in ([], [name, name], [name, "--ignore", "dead-rules"],
                      [name, "--profile"], [name, "--gdb"]):
            with self.subTest(words=words):
                self.run_sendit("lint", *words, expect=2)
        result = self.run_sendit("lint", name, "--ignore", "dead-rules", expect=2)
        self.assertIn('did you mean "dead-rule"?', result.err)
        self.run_sendit("lint", name, "--profile", "nonsense", expect=3)
        self.run_sendit("lint", name, "--corpus", "./nowhere", expect=4)

    def test_recipes_that_ship_by_their_word(self):
        for word in ("dicom", "dicom.xray.chest", "dicom.ct-mr-axial",
                     "dicom.clinical-trial-example", "dicom.starr"):
            with self.subTest(word=word):
                self.assertIn("deid." + word + ":", self.run_sendit("lint", word, expect=1).out)

    def test_profile(self):
        name = self.recipe(HEADER + "KEEP PatientSex\nREMOVE PatientName\n")
        codes = [one["code"] for one in self.run_sendit("lint", name, "--json",
                                                        expect=1).json["findings"]]
        self.assertEqual(codes, ["keeps", "leaves"])
        findings = self.run_sendit("lint", name, "--json", "--profile",
                                   "retain-patient-characteristics", expect=1).json["findings"]
        self.assertEqual({one["code"] for one in findings}, {"leaves"})
        texts = "\n".join(one["text"] for one in findings)
        self.assertIn("(0010,0020) PatientID,", texts)
        self.assertNotIn(" PatientName,", texts)
        self.assertNotIn(" PatientSex,", texts)

    def test_corpus(self):
        name = self.recipe(HEADER + "REMOVE startswith:Patient\n")
        image = sendit.make_image(InstitutionName="Secret Hospital")
        image.add_new(0x00090010, "LO", "SECRETMAKER")
        image.add_new(0x00091001, "LO", "secret value")
        sendit.save(image, self.site.path("data", "secretfolder", "secretfile.dcm"))
        self.site.add_bytes(b"no DICOM", os.path.join("secretfolder", "x"))
        result = self.run_sendit("lint", name, "--corpus", "data", expect=1)
        self.assertIn("(0008,0080) InstitutionName, which is in 1 of the files", result.out)
        self.assertIn("(0009,xx01)", result.out)
        self.assertNotIn("PatientID,", result.out)
        self.assertNotRegex(result.out + result.err, "(?i)secret")
        self.assertIn("2 files were looked at, 1 could not be read", result.out)
        answer = self.run_sendit("lint", name, "--corpus", "data", "--json", expect=1).json
        self.assertEqual(answer["corpus"], {"files": 2, "unread": 1})
        everything = self.recipe(HEADER + "DEFAULT REMOVE\n", "all")
        self.assertNotIn("untouched", self.run_sendit("lint", everything, "--corpus", "data",
                                                      expect=1).out)

    def test_print(self):
        one = self.recipe("FORMAT dicom\n%filter graylist\nLABEL a\n  present StudyID\n"
                          "%header\nREMOVE StudyID\n", "one")
        two = self.recipe("FORMAT dicom\n# a comment\n%header\nBLANK StudyDate # another\n"
                          "%filter greylist\nLABEL b\n  present StudyDate\n", "two")
        out = self.run_sendit("lint", "--print", one, two).out
        first, rest = out.split("\n", 1)
        self.assertEqual(first.split()[-1], hashlib.sha256(rest.encode()).hexdigest())
        self.assertEqual(rest, "FORMAT dicom\n\n%filter greylist\nLABEL a\n  present StudyID\n"
                               "LABEL b\n  present StudyDate\n\n"
                               "%header\nREMOVE StudyID\nBLANK StudyDate\n")
        merged = self.recipe(out, "merged")
        self.assertEqual(self.run_sendit("lint", "--print", merged).out, out)
        other = self.recipe("FORMAT dicom\n%header\nBLANK StudyDate\n%filter greylist\n"
                            "\nLABEL b\npresent StudyDate # again\n", "other")
        self.assertEqual(self.run_sendit("lint", "--print", one, other).out, out)
        self.assertNotEqual(self.run_sendit("lint", "--print", two, one).out, out)
        answer = self.run_sendit("lint", "--print", "--json", one, two, expect=1).json
        self.assertEqual(answer["recipe"], rest)
        self.assertEqual(answer["sha256"], first.split()[-1])

    def test_colours_on_a_terminal_only(self):
        name = self.recipe(HEADER + "REMOVE jitter\n")
        self.assertNotIn("\033", self.run_sendit("lint", name, expect=1).out)
        for no_color, coloured in (("", True), ("1", False)):
            parent, child = pty.openpty()
            env = dict(os.environ, TERM="xterm", NO_COLOR=no_color)
            done = subprocess.run([self.site.program, "lint", name], stdout=child,
                                  cwd=self.site.folder, env=env, timeout=60)
            os.close(child)
            text = os.read(parent, 1 << 16).decode()
            os.close(parent)
            self.assertEqual(done.returncode, 1)
            self.assertEqual("\033[33m" in text, coloured)

    def test_escapes_are_made_visible(self):
        os.mkdir(self.site.path("a\033[31m"))
        name = self.recipe(HEADER + "REMOVE jitter\n", "a\033[31m/mine")
        self.assertNotIn("\033", self.run_sendit("lint", name, expect=1).out)
        self.recipe("nonsense", "a\033[31m/mine")
        self.assertNotIn("\033", self.run_sendit("lint", name, expect=3).err)

    def test_readme_shows_it_as_it_is(self):
        with open(os.path.join(sendit.ROOT, "filters", "README.md"), encoding="utf-8") as file:
            shown = re.search(r"\$ sendit lint (\S+)\n(.*?)```", file.read(), re.S)
        name = self.recipe("FORMAT dicom\n\n# a\n# b\n# c\n\n%header\nKEEP PatientID\n"
                           "REMOVE PatientID\n", os.path.basename(shown.group(1)))
        self.assertEqual(self.run_sendit("lint", name, "--ignore", "keeps", "--ignore", "leaves",
                                         expect=1).out, shown.group(2))


class Truth(sendit.Case):
    """What is said of LABELs that are made by chance is so of images that are."""

    VALUES = {"Modality": ["CT", "MR", "ct", "C"], "StudyID": ["1", "12", "^1", "2$"],
              "ImageType": ["AXIAL", "DERIVED", "AXIAL|SAVE", "SAVE", "ORIGINAL\\PRIMARY"],
              "Manufacturer": ["GE", "GE MEDICAL", "ge|siemens", "SIEMENS", ".*"],
              "Rows": ["512", "512.0", "256"]}
    GIVEN = {"Modality": [None, "", "CT", "MR", "US"], "StudyID": [None, "", "1", "12", "2"],
             "ImageType": [None, "", ["AXIAL"], ["DERIVED", "SAVE"], ["ORIGINAL", "PRIMARY"],
                           ["ORIGINAL", "PRIMARY", "AXIAL"]],
             "Manufacturer": [None, "", "GE", "GE MEDICAL", "Siemens", "X"], "Rows": [512, 256, 8]}
    OPS = ("contains", "notcontains", "equals", "notequals", "matches", "missing", "present",
           "empty")
    PAIRS, IMAGES = (400, 60) if sendit.LONG else (40, 30)

    def make_test(self):
        field, op = self.chance.choice(sorted(self.VALUES)), self.chance.choice(self.OPS)
        value = self.chance.choice(self.VALUES[field])
        if "\\" in value:  # no pattern
            op = "equals"
        return " ".join([op, field] + [value] * (op not in ("missing", "present", "empty")))

    def make_label(self, name):
        text = "LABEL %s\n" % name
        for _ in range(self.chance.choice((1, 2, 2, 3))):
            text += self.chance.choice(("", "+ ", "|| ", "+ ")) + self.make_test()
            for _ in range(self.chance.choice((0, 0, 1, 2))):
                text += self.chance.choice((" + ", " || ")) + self.make_test()
            text += "\n"
        return text

    def test_dead_always_and_shadowed(self):
        self.chance = random.Random(int(os.environ.get("SENDIT_TEST_SEED", "7")))
        head, said = "FORMAT dicom\n%filter greylist\n", 0
        for i in range(self.IMAGES):
            given = {key: self.chance.choice(self.GIVEN[key]) for key in sorted(self.GIVEN)}
            sendit.save(sendit.make_image(i + 1, **given), self.site.path("in", "%02d.dcm" % i))
        pairs = [[self.make_label("first"), self.make_label("second")] for _ in range(self.PAIRS)]
        for i, pair in enumerate(pairs):
            for name, text in zip("ab", pair):
                folder = self.site.path("cases", "%03d%s" % (i, name))
                os.makedirs(folder)
                os.symlink(self.site.path("in"), os.path.join(folder, "in"))
                with open(os.path.join(folder, "recipe"), "w") as file:
                    file.write(head + text)
        self.run_sendit("test-recipe", "cases", "--update")
        for i, pair in enumerate(pairs):
            holds = []
            for name in "ab":
                with open(self.site.path("cases", "%03d%s" % (i, name), "expect.json")) as file:
                    items = json.load(file)["items"]
                holds.append([items[key]["verdict"] == "QUARANTINE" for key in sorted(items)])
            with open(self.site.path("mine"), "w") as file:
                file.write(head + "".join(pair))
            result = self.site.sendit("lint", "./mine", "--json")
            self.assertIn(result.status, (0, 1), str(result))
            for one in result.json["findings"]:
                of = holds[0 if "LABEL first" in one["text"].split(":")[0] else 1]
                said += one["code"] in ("dead-label", "always-label", "shadowed-label")
                if one["code"] == "dead-label":
                    self.assertFalse(any(of), pair)
                elif one["code"] == "always-label":
                    self.assertTrue(all(of), pair)
                elif one["code"] == "shadowed-label":
                    self.assertFalse(any(b and not a for a, b in zip(*holds)), pair)
        self.assertTrue(said)


class Idle(sendit.Case):
    """A rule that is said to do nothing is left out, and nothing changes."""

    FIELDS = ("StudyDate", "StudyID", "RequestAttributesSequence__StudyDate",
              "RequestAttributesSequence__StudyID", "RequestAttributesSequence", "contains:Study",
              "endswith:Date", "endswith:ID", "ALL", "fields:d", "values:v", "select:VR:DA",
              "select:group:0020", "except:Study", '(0009,"MINE",01)', "PatientName",
              "(0040,0275)__0__(0020,0010)")
    DATES = ("StudyDate", "select:VR:DA", "endswith:Date", "RequestAttributesSequence__StudyDate")
    GROUPS = "%fields d\nFIELD StudyDate\nFIELD RequestAttributesSequence__StudyDate\n" \
             "%values v\nFIELD StudyID\n"
    RECIPES = 1000 if sendit.LONG else 80

    def make_rule(self):
        chance = self.chance
        verb = chance.choice(("ADD", "BLANK", "BLANK", "JITTER", "KEEP", "KEEP", "REMOVE",
                              "REMOVE", "REPLACE"))
        if verb == "ADD":
            return chance.choice(("ADD StudyDate 20200101", "ADD StudyID A", "ADD StudyID B",
                                  "ADD PatientName C", "ADD AccessionNumber D"))
        if verb == "REPLACE":
            return "REPLACE %s %s" % (chance.choice(self.DATES + ("StudyID", "fields:d")),
                                      chance.choice(("20200101", "20210101")))
        if verb == "JITTER":
            return "JITTER %s 3" % chance.choice(self.DATES + ("fields:d",))
        rule = "%s %s" % (verb, chance.choice(self.FIELDS))
        if verb != "KEEP" and chance.random() < 0.25:
            rule += " " + chance.choice(("contains:2", "equals:S1", "values:v"))
        return rule

    def add_images(self):
        for i in range(6):
            image, item = sendit.make_image(i + 1), sendit.Dataset()
            item.StudyDate, item.StudyID, item.RequestedProcedureID = "20210304", "S1", "2"
            if i % 3:
                image.RequestAttributesSequence = [item]
            if i % 2:
                del image.StudyID
            if i == 5:
                image.StudyDate = ""
            image.private_block(9, "MINE", create=True).add_new(1, "LO", "mine")
            sendit.save(image, self.site.path("in", "%d.dcm" % i))

    def write(self, name, rules):
        os.makedirs(self.site.path("cases", name))
        os.symlink(self.site.path("in"), self.site.path("cases", name, "in"))
        with open(self.site.path("cases", name, "recipe"), "w") as file:
            file.write("FORMAT dicom\n%header\n" + "\n".join(rules) + "\n" + self.GROUPS)

    def found(self, name):
        with open(self.site.path("cases", name, "expect.json")) as file:
            return json.load(file)["items"]

    def test_dead_rules(self):
        self.chance = random.Random(int(os.environ.get("SENDIT_TEST_SEED", "7")))
        self.add_images()
        said = []
        for i in range(self.RECIPES):
            rules = [self.make_rule() for _ in range(self.chance.choice((2, 2, 3, 4)))]
            with open(self.site.path("mine"), "w") as file:
                file.write("FORMAT dicom\n%header\n" + "\n".join(rules) + "\n" + self.GROUPS)
            result = self.site.sendit("lint", "./mine", "--json")
            self.assertIn(result.status, (0, 1), str(result))
            said += [(rules, one["line"] - 3, one["text"]) for one in result.json["findings"]
                     if one["code"] in ("dead-rule", "inside-removed")]
        self.assertTrue(said)
        for i, (rules, line, _) in enumerate(said):
            self.write("%04d-with" % i, rules + ["KEEP Modality"])
            self.write("%04d-without" % i, rules[:line] + rules[line + 1:] + ["KEEP Modality"])
        self.run_sendit("test-recipe", "cases", "--update")
        for i, (rules, line, text) in enumerate(said):
            there, gone = self.found("%04d-with" % i), self.found("%04d-without" % i)
            for name in there:
                if there[name]["verdict"] != gone[name]["verdict"] and "is lost" in text:
                    continue  # what is lost may still hold an image that it cannot be done to
                self.assertEqual(there[name], gone[name], (rules, text))


if __name__ == "__main__":
    unittest.main()
