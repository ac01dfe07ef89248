# SPDX-License-Identifier: Apache-2.0
"""sendit new-stage: what it writes, what it refuses, and that it never overwrites.  That what it
writes builds against an installed sendit is test_install's."""
import os
import shutil
import subprocess
import unittest

import sendit


class NewStage(sendit.Case):
    def setUp(self):
        super().setUp()
        os.unlink(self.site.path("pipeline.json"))  # it needs none

    def files(self, *names):
        return sorted(sendit.tree(self.site.path(*names)))

    def refuse(self, args, status, *words):
        before = sendit.tree(self.site.folder)
        result = self.run_sendit("new-stage", *args, expect=status)
        for word in words:
            self.assertIn(word, result.err)
        self.assertEqual(sendit.tree(self.site.folder), before)

    def build(self, folder, *options):
        for argv in (["cmake", "-S", folder, "-B", "out", "-G", "Ninja", *options],
                     ["cmake", "--build", "out"]):
            done = subprocess.run(argv, cwd=self.site.folder, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            self.assertEqual(done.returncode, 0, done.stdout.decode())
            self.assertNotIn("warning", done.stdout.decode())

    def test_what_it_writes(self):
        result = self.run_sendit("new-stage", "keep-axial")
        files = self.files("keep-axial")
        for name in ("CMakeLists.txt", "README.md", "keep_axial.c", "cases/held/in.dump",
                     "cases/held/expect.json", "cases/unknown-option/config.json"):
            self.assertIn(name, files)
        for name in files:
            self.assertIn("  %s\n" % name, result.out)
            with open(self.site.path("keep-axial", name)) as file:
                text = file.read()
            self.assertNotRegex(text + name, "my[-_]stage", name)
        self.assertIn("keep-axial", text)

    def test_it_builds_against_a_build_folder(self):
        """What it says is to be typed is typed."""
        out = self.run_sendit("new-stage", "keep-axial").out
        option = [word for word in out.split() if word.startswith("-Dsendit_DIR=")]
        self.build("keep-axial", *option)
        text = self.run_sendit("stages", "--plugins", "out/plugins.d", "keep-axial").out
        self.assertIn("the site's", text)

    def test_its_cases_pass(self):
        out = self.run_sendit("new-stage", "keep-axial").out
        self.build("keep-axial", "-Dsendit_DIR=" + os.path.dirname(self.site.program))
        self.assertIn("\n  sendit test-stage keep-axial/build/plugins.d/keep-axial.so "
                      "keep-axial/cases\n", out)
        result = self.run_sendit("test-stage", "out/plugins.d/keep-axial.so", "keep-axial/cases")
        for case in os.listdir(self.site.path("keep-axial", "cases")):
            self.assertRegex(result.out, r"(?m)^ok \d+ - %s$" % case)

    def test_a_case_of_it_can_fail(self):
        self.run_sendit("new-stage", "keep-axial")
        path = self.site.path("keep-axial", "cases", "held", "in.dump")
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace("[OT]", "[CT]"))
        self.build("keep-axial", "-Dsendit_DIR=" + os.path.dirname(self.site.program))
        result = self.run_sendit("test-stage", "out/plugins.d/keep-axial.so", "keep-axial/cases",
                                 expect=1)
        self.assertRegex(result.out, r"(?m)^not ok \d+ - held$")

    def test_it_runs_in_a_pipeline(self):
        self.run_sendit("new-stage", "no-ot", "src")
        self.build("src", "-Dsendit_DIR=" + os.path.dirname(self.site.program))
        self.site.write_pipeline([self.site.stages()[0], {"use": "no-ot"}] +
                                 self.site.stages()[1:])
        os.mkdir(self.site.path("plugins.d"))
        shutil.copy(self.site.path("out", "plugins.d", "no-ot.so"), self.site.path("plugins.d"))
        self.site.add_images(2)
        self.site.add(sendit.make_image(3, Modality="OT"), "study1", "ot")
        self.site.add(sendit.make_image(4, Modality=None), "study1", "none")
        answer = self.run_json()
        self.assert_counts(answer, stored=2, quarantined=2)
        self.assertEqual({reason["code"] for reason in answer["reasons"]},
                         {"no-ot.held", "no-ot.absent"})

    def test_folder_of_another_name(self):
        os.mkdir(self.site.path("src"))
        answer = self.run_sendit("new-stage", "--json", "x1", "src/first/").json
        self.assertEqual((answer["name"], answer["folder"]), ("x1", "src/first"))
        self.assertEqual(sorted(answer["files"]), self.files("src", "first"))
        self.assertIn("x1.c", answer["files"])

    def test_below_the_stages_of_the_sources(self):
        os.mkdir(self.site.path("stages"))
        with open(self.site.path("stages", "SenditStage.cmake"), "w"):
            pass
        self.run_sendit("new-stage", "keep-axial", "stages/keep-axial")
        with open(self.site.path("stages", "keep-axial", "CMakeLists.txt")) as file:
            text = file.read()
        self.assertIn("include(../SenditStage.cmake)", text)
        self.assertNotIn("find_package", text)

    def test_it_never_overwrites(self):
        self.run_sendit("new-stage", "keep-axial")
        self.refuse(["keep-axial"], 3, "keep-axial is there already")
        os.mkdir(self.site.path("empty"))
        self.refuse(["other", "empty"], 3, "empty is there already")
        with open(self.site.path("file"), "w"):
            pass
        self.refuse(["other", "file"], 3, "file is there already")
        os.symlink("empty", self.site.path("link"))
        self.refuse(["other", "link"], 3, "link is there already")

    def test_names(self):
        for name in ("", "Axial", "1axial", "-axial", "ax_ial", "ax.ial", "../axial", "ax/ial",
                     "axi al", "\u00e4", "a" * 23, "a" * 1000):
            args = ["--", name] if name.startswith("-") else [name]
            self.refuse(args, 2, "[a-z][a-z0-9-]*" if "--" not in args else "sendit")
        self.run_sendit("new-stage", "a" * 22)

    def test_names_of_ours(self):
        for name in ("run", "hold", "core"):
            self.refuse([name], 2, "sendit's own")
        for name in ("pixel-check", "importer", "local-anonymizer", "file-store"):
            self.refuse([name, "x"], 2, "ships")

    def test_places(self):
        self.refuse(["x", "no/such/folder"], 4, "no/such/folder cannot be made")
        self.refuse(["x", ""], 2, "folder is empty")
        self.refuse([], 2, "new-stage needs more")
        self.refuse(["x", "y", "z"], 2)

    def test_nothing_is_left_of_what_fails(self):
        """A disk that is full in the midst of it."""
        place = self.site.path("small")
        os.mkdir(place)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", place],
                          stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no tmpfs may be mounted")
        try:
            result = self.run_sendit("new-stage", "keep-axial", "small/x", expect=4)
            self.assert_one_sentence(result, "small/x", "No space left")
            self.assertEqual(os.listdir(place), [])
        finally:
            subprocess.run(["umount", place], check=True)


if __name__ == "__main__":
    unittest.main()
