# SPDX-License-Identifier: Apache-2.0
"""cmake --install: the installed sendit stands alone, and others can build against it."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import sendit

USES = """
#include <sendit/stage.h>
sendit_verdict use(const struct sendit_item *item);
sendit_verdict use(const struct sendit_item *item)
{
    return item->attempt == 1 ? SENDIT_PASS : SENDIT_FAIL;
}
"""


class Install(sendit.Case):
    """Built from a copy of the sources; copy and build are gone when the tests begin."""

    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="sendit-install-")
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.prefix = os.path.join(cls.place, "prefix")
        cls.source = os.path.join(cls.place, "source")
        os.mkdir(cls.source)
        for name in sorted(os.listdir(sendit.ROOT)):
            # Neither builds nor what a run has left.
            if name.startswith(("build", ".git")) or name in ("data", "clean", "state", "tests"):
                continue
            path = os.path.join(sendit.ROOT, name)
            copy = shutil.copytree if os.path.isdir(path) else shutil.copy
            copy(path, os.path.join(cls.source, name))
        # of the tests only what is installed
        shutil.copytree(os.path.join(sendit.ROOT, "tests", "out-of-tree"),
                        os.path.join(cls.source, "tests", "out-of-tree"))
        build = os.path.join(cls.source, "build")
        cls.in_tree = os.path.join(cls.place, "in-tree")
        stage = os.path.join(cls.source, "stages", "mine")
        for argv in ([sendit.program(), "new-stage", "mine", stage],
                     ["cmake", "-S", stage, "-B", cls.in_tree, "-G", "Ninja"],
                     ["cmake", "--build", cls.in_tree],
                     ["cmake", "-S", cls.source, "-B", build, "-G", "Ninja", "-DSENDIT_TESTS=OFF",
                      "-DCMAKE_BUILD_TYPE=Debug"],
                     ["ninja", "-C", build],
                     ["cmake", "--install", build, "--prefix", cls.prefix]):
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  check=False)
            if done.returncode:
                raise AssertionError(done.stdout.decode()[-3000:])
        shutil.rmtree(cls.source)
        cls.sendit = os.path.join(cls.prefix, "bin", "sendit")

    def call(self, *argv, **more):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=300, check=False, **more)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def files(self):
        return sorted(sendit.tree(self.prefix))

    def test_what_is_installed(self):
        files = self.files()
        for wanted in ("bin/sendit", "include/sendit/stage.h", "include/sendit/services.h",
                       "share/man/man1/sendit.1", "share/man/man1/sendit-run.1"):
            self.assertTrue([name for name in files if name.startswith(wanted)],
                            "%s in %s" % (wanted, files))
        for wanted in ("sendit.pc", "senditConfig.cmake", "pixel-check.so", "importer.so",
                       "local-anonymizer.so", "file-store.so", "ps3.15-2026c.tsv"):
            self.assertTrue([name for name in files if os.path.basename(name).lower() ==
                             wanted.lower() or wanted == "senditConfig.cmake" and
                             name.lower().endswith("sendit-config.cmake")],
                            "%s in %s" % (wanted, files))

    def test_the_installed_sendit_works_alone(self):
        self.site.add_images(3)
        status, out, err = self.call(self.sendit, "run", cwd=self.site.folder)
        self.assertEqual(status, 0, out + err)
        self.assertEqual(len(sendit.images(self.site.clean)), 3)
        status, out, err = self.call(self.sendit, "stages", "--json", cwd=self.site.folder)
        self.assertEqual(status, 0, out + err)
        self.assertNotIn(self.source, out)
        self.assertIn(self.prefix, out)

    def test_the_prefix_may_move(self):
        self.site.add_images(3)
        moved = os.path.join(self.folder, "elsewhere")
        shutil.copytree(self.prefix, moved)
        os.rename(self.prefix, self.prefix + ".away")
        try:
            status, out, err = self.call(os.path.join(moved, "bin", "sendit"), "run",
                                         cwd=self.site.folder)
        finally:
            os.rename(self.prefix + ".away", self.prefix)
        self.assertEqual(status, 0, out + err)
        self.assertEqual(len(sendit.images(self.site.clean)), 3)

    def test_nothing_installed_names_the_build(self):
        for name in self.files():
            if name.endswith((".pc", ".cmake", ".1", ".h")):
                with open(os.path.join(self.prefix, name), errors="replace") as file:
                    self.assertNotIn(self.source, file.read(), name)

    def test_pkg_config(self):
        pc = [name for name in self.files() if name.endswith("sendit.pc")]
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(self.prefix, os.path.dirname(pc[0])))
        status, out, err = self.call("pkg-config", "--cflags", "sendit", env=env)
        self.assertEqual(status, 0, err)
        source = os.path.join(self.folder, "s.c")
        with open(source, "w") as file:
            file.write(USES)
        status, out, err = self.call("cc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only",
                                     source, *out.split())
        self.assertEqual(status, 0, err)

    def test_cmake_package(self):
        """A stage outside the tree: find_package(sendit), sendit_stage(), three lines."""
        project = os.path.join(self.folder, "project")
        shutil.copytree(os.path.join(sendit.ROOT, "stages", "pixel-check"), project)
        os.unlink(os.path.join(project, "CMakeLists.txt"))
        with open(os.path.join(project, "CMakeLists.txt"), "w") as file:
            file.write("cmake_minimum_required(VERSION 3.22)\nproject(out LANGUAGES C)\n"
                       "find_package(sendit REQUIRED)\nsendit_stage(pixel-check pixel_check.c)\n")
        build = os.path.join(self.folder, "out")
        status, out, err = self.call("cmake", "-S", project, "-B", build, "-G", "Ninja",
                                     "-DCMAKE_PREFIX_PATH=" + self.prefix)
        self.assertEqual(status, 0, out + err)
        status, out, err = self.call("ninja", "-C", build)
        self.assertEqual(status, 0, out + err)
        self.assertTrue([name for name in sendit.tree(build) if name.endswith("pixel-check.so")])

    def new_stage(self):
        """An empty folder with a new stage in it, written by the installed sendit."""
        folder = self.new_folder()
        status, out, err = self.call(self.sendit, "new-stage", "keep-axial", cwd=folder)
        self.assertEqual(status, 0, out + err)
        self.assertNotIn(self.source, out)
        return folder, out

    def judge(self, folder, plugins):
        status, out, err = self.call(self.sendit, "stages", "--plugins", plugins, "keep-axial",
                                     "--json", cwd=folder)
        self.assertEqual(status, 0, out + err)
        self.assertEqual(json.loads(out)["ships"], False)

    def test_new_stage_by_cmake(self):
        """Every command that new-stage names, as it stands."""
        folder, out = self.new_stage()
        commands = [line.split() for line in out.splitlines()
                    if line.startswith(("  cmake ", "  sendit "))]
        self.assertEqual(len(commands), 3, out)
        for argv in commands + [["ctest", "--test-dir", "keep-axial/build"]]:
            argv[0] = self.sendit if argv[0] == "sendit" else argv[0]
            status, out, err = self.call(*argv, cwd=folder)
            self.assertEqual(status, 0, out + err)
            self.assertNotIn("warning", out + err)
        self.judge(folder, "keep-axial/build/plugins.d")

    def test_new_stage_by_pkg_config(self):
        """The command of its README."""
        folder, _ = self.new_stage()
        place = os.path.join(folder, "keep-axial")
        with open(os.path.join(place, "README.md")) as file:
            command = [line for line in file if line.startswith("cc ")]
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(self.prefix, "lib", "pkgconfig"))
        status, out, err = self.call("sh", "-ec", command[0].replace("-Wall", "-Wall -Werror"),
                                     cwd=place, env=env)
        self.assertEqual(status, 0, out + err)
        self.judge(folder, "keep-axial")

    def test_examples(self):
        """Copied out of the prefix, built against it, used by it; their sources are gone."""
        examples = os.path.join(self.folder, "examples")
        shutil.copytree(os.path.join(self.prefix, "share", "sendit", "examples"), examples)
        names = sorted(name for name in os.listdir(examples) if name != "README.md")
        self.assertGreaterEqual(len(names), 3)
        for name in names:
            folder = os.path.join(examples, name)
            for argv in (["cmake", "-S", ".", "-B", "build", "-DCMAKE_PREFIX_PATH=" + self.prefix],
                         ["cmake", "--build", "build"],
                         [self.sendit, "stages", "--plugins", "build/plugins.d", name],
                         [self.sendit, "test-stage", "build/plugins.d/%s.so" % name, "cases"]):
                status, out, err = self.call(*argv, cwd=folder)
                self.assertEqual(status, 0, out + err)
                self.assertNotIn("warning", out + err)

    def test_cases_of_recipes(self):
        cases = os.path.join(self.prefix, "share", "sendit", "filters", "cases")
        status, out, err = self.call(self.sendit, "test-recipe", cases)
        self.assertEqual(status, 0, out + err)
        self.assertIn(" 0 failed", out)

    def test_new_stage_in_the_tree(self):
        """Built alone and with the whole, and then it ships."""
        self.assertIn("plugins.d/mine.so", sendit.tree(self.in_tree))
        status, out, err = self.call(self.sendit, "stages", "mine", "--json")
        self.assertEqual(status, 0, out + err)
        self.assertEqual(json.loads(out)["ships"], True)

    def test_man_pages(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        page = os.path.join(self.prefix, "share", "man", "man1", "sendit-run.1")
        status, out, err = self.call("man", "-l", "--warnings", page)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("sendit", out)


if __name__ == "__main__":
    unittest.main()
