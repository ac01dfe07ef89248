# SPDX-License-Identifier: Apache-2.0
"""The README tells the truth: its commands work, its plan is the real one, its links lead on."""
import glob
import os
import re
import shutil
import subprocess
import unittest

import sendit

README = os.path.join(sendit.ROOT, "README.md")


def read(path=README):
    with open(path, encoding="utf-8") as file:
        return file.read()


def shell_lines(text):
    """The lines of the ```sh blocks, without their comments."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines():
            line = re.sub(r"\s+#.*", "", line).strip()
            if line:
                yield line


class Readme(sendit.Case):
    def setUp(self):
        super().setUp()
        # The shipped pipeline where it would stand, with the README's names for what is in it.
        shutil.copy(os.path.join(sendit.ROOT, "pipeline.json"), self.site.folder)
        shutil.rmtree(self.site.state)
        os.mkdir(self.site.path("build"))
        os.symlink(sendit.program(), self.site.path("build", "sendit"))

    def test_it_opens_with_two_lines(self):
        lines = read().splitlines()
        self.assertTrue(lines[0].strip().startswith("tests/quickstart"))
        self.assertTrue(lines[1].strip().startswith("tests/run"))

    def test_commands(self):
        self.site.add_images(2)
        count = 0
        for path in [README] + glob.glob(os.path.join(sendit.ROOT, "stages", "*", "README.md")):
            if "_template" in path: # its commands are for a stage that new-stage has made
                continue
            for line in shell_lines(read(path)):
                if not re.match(r"(build/)?sendit ", line):
                    continue
                done = subprocess.run(["sh", "-c", line], cwd=self.site.folder, timeout=120,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      check=False, env=dict(os.environ, PATH="%s:%s" % (
                                          self.site.path("build"), os.environ["PATH"])))
                with self.subTest(line):
                    self.assertEqual(done.returncode, 0, done.stdout.decode())
                count += 1
        self.assertGreaterEqual(count, 6)

    def test_plan_is_the_real_one(self):
        """What differs from build to build (digests, the key, versions' files) is cut."""
        match = re.search(r"^<!-- plan -->\n```\n(.*?)^```", read(), re.M | re.S)
        self.assertTrue(match, "the README has no plan")
        # As it stands in a fresh clone: relative names, no key yet.
        result = self.run_sendit("plan")
        self.assertEqual(self.cut(match.group(1)), self.cut(result.out),
                         "tests/lib/plan-in-readme writes it anew")

    def cut(self, text):
        text = text.replace(self.site.folder, "/srv/export")
        text = re.sub(r"\b[0-9a-f]{8,64}\b", "DIGEST", text)
        return [line.rstrip() for line in text.strip("\n").splitlines()]

    def test_shipped_pipeline_needs_nothing(self):
        self.site.add_images(2)
        self.assert_counts(self.run_json(), stored=2)

    def test_links_lead_somewhere(self):
        pages = [README] + [path for pattern in ("*", "*/*", "*/*/*") for path in glob.glob(
            os.path.join(sendit.ROOT, pattern, "README.md")) if "/build" not in path]
        for page in pages:
            for link in re.findall(r"\]\(([^)#:]+)\)", read(page)):
                with self.subTest(page=os.path.relpath(page, sendit.ROOT), link=link):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(page), link)))

    def test_each_folder_has_a_readme(self):
        for folder in ("core", "stages", "filters", "plugins.d", "tests"):
            self.assertTrue(os.path.exists(os.path.join(sendit.ROOT, folder, "README.md")), folder)


class WalkThrough(sendit.Case):
    """stages/README.md, "A stage in fifteen minutes": its commands in their order, in one shell, as
    somebody with a fresh home would type them; its pieces of C are those of the example."""

    def setUp(self):
        super().setUp()
        text = read(os.path.join(sendit.ROOT, "stages", "README.md"))
        self.text = re.search(r"^## A stage in fifteen minutes\n(.*?)^## ", text + "\n## ",
                              re.M | re.S).group(1)

    def blocks(self, kind):
        return re.findall(r"^```%s\n(.*?)^```" % kind, self.text, re.M | re.S)

    def test_commands(self):
        home = self.new_folder()
        self.site.add_images(2)
        self.site.add(sendit.make_image(3, ImageType=["ORIGINAL", "PRIMARY", "SURVEY"]), "s", "3")
        subprocess.run(["cmake", "--install", os.path.dirname(sendit.program()), "--prefix",
                        os.path.join(home, "sendit")], check=True, stdout=subprocess.DEVNULL)
        os.unlink(self.site.path("pipeline.json"))
        blocks = self.blocks("sh")
        self.assertGreaterEqual(len(blocks), 5)
        done = subprocess.run(["sh", "-exc", "".join(blocks)], cwd=self.site.folder, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              env={"HOME": home, "PATH": "/usr/local/bin:/usr/bin:/bin",
                                   "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")})
        said = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, 0, said[-4000:])
        self.assertNotIn("not ok", said)
        self.assertRegex(said, r"(?m)^ok \d+ - survey")
        self.assertIn("localizer.found", said)
        self.assertEqual(len(sendit.images(self.site.clean)), 2)

    def test_pieces(self):
        with open(os.path.join(sendit.ROOT, "tests", "out-of-tree", "hold-localizers",
                               "hold_localizers.c")) as file:
            example = file.read()
        self.assertGreaterEqual(len(self.blocks("c")), 4)
        for piece in self.blocks("c"):
            self.assertIn(piece, example)

    def test_it_takes_fifteen_minutes(self):
        minutes = [int(n) for n in re.findall(r"\((\d+) minutes\)", self.text)]
        self.assertEqual(sum(minutes), 15)


if __name__ == "__main__":
    unittest.main()
