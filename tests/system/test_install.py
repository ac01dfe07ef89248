# SPDX-License-Identifier: Apache-2.0
"""cmake --install: the installed sendit stands alone, and others can build against it."""
import os
import shutil
import subprocess
import unittest

import sendit

BUILD = os.path.join(sendit.ROOT, "build")
USES = """
#include <sendit/stage.h>
sendit_verdict use(const struct sendit_item *item);
sendit_verdict use(const struct sendit_item *item)
{
    return item->attempt == 1 ? SENDIT_PASS : SENDIT_FAIL;
}
"""


class Install(sendit.Case):
    def setUp(self):
        super().setUp()
        if not os.path.exists(os.path.join(BUILD, "sendit")):
            self.skipTest("build/sendit is not built (tests/run builds it)")
        # A copy of sources and build, which is taken away after the installation.
        self.prefix = os.path.join(self.folder, "prefix")
        done = subprocess.run(["cmake", "--install", BUILD, "--prefix", self.prefix],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout.decode())
        self.sendit = os.path.join(self.prefix, "bin", "sendit")

    def call(self, *argv, **more):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=300, check=False, **more)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def hidden(self, *args):
        """Run the installed sendit where neither source nor build can be seen."""
        if shutil.which("unshare") and sendit.is_root():
            empty = os.path.join(self.folder, "empty")
            os.makedirs(empty, exist_ok=True)
            if self.call("unshare", "-m", "mount", "--bind", empty, sendit.ROOT)[0] == 0:
                script = "mount --bind \"$1\" \"$2\"; cd \"$3\"; shift 3; exec \"$@\""
                return self.call("unshare", "-m", "sh", "-c", script, "sh", empty, sendit.ROOT,
                                 self.site.folder, self.sendit, *args)
        self.skipTest("the source tree cannot be hidden here: that takes root and namespaces")
        return None

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
        status, out, err = self.hidden("run")
        self.assertEqual(status, 0, out + err)
        self.assertEqual(len(sendit.images(self.site.clean)), 3)
        status, out, err = self.hidden("stages", "--json")
        self.assertEqual(status, 0, out + err)
        self.assertNotIn(sendit.ROOT + "/", out)

    def test_nothing_installed_names_the_build(self):
        for name in self.files():
            if name.endswith((".pc", ".cmake", ".1", ".h")):
                with open(os.path.join(self.prefix, name), errors="replace") as file:
                    self.assertNotIn(sendit.ROOT, file.read(), name)

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

    def test_man_pages(self):
        if not shutil.which("man"):
            self.skipTest("man is not installed")
        page = os.path.join(self.prefix, "share", "man", "man1", "sendit-run.1")
        status, out, err = self.call("man", "-l", "--warnings", page)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("sendit", out)


if __name__ == "__main__":
    unittest.main()
