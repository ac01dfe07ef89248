# SPDX-License-Identifier: Apache-2.0
"""The checks that judge the code are judged themselves: each rule is broken once."""
import contextlib
import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Includes(unittest.TestCase):
    def check(self, name, text):
        """(exit status, output) of tests/check-includes on a tree of one file."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path))
            with open(path, "w") as file:
                file.write(text)
            done = subprocess.run([os.path.join(ROOT, "tests", "check-includes"), folder],
                                  stdout=subprocess.PIPE, check=False)
            return done.returncode, done.stdout.decode()

    def refuse(self, name, text, word):
        status, output = self.check(name, text)
        self.assertEqual(status, 1, output)
        self.assertIn("%s:1: " % name, output)
        self.assertIn(word, output)

    def accept(self, name, text):
        status, output = self.check(name, text)
        self.assertEqual(status, 0, output)

    def test_arrows(self):
        self.accept("core/plan/a.c", '#include "load/load.h"\n#include "base/err.h"\n')
        self.refuse("core/plan/a.c", '#include "dicom/dicom.h"\n', "arrows")
        self.refuse("core/deid/a.c", '#include "load/load.h"\n', "arrows")
        self.refuse("core/dicom/a.c", '#include "deid/deid.h"\n', "arrows")
        self.refuse("core/base/a.c", '#include "run/run.h"\n', "arrows")
        self.refuse("core/run/a.c", '#include "cli/cli.h"\n', "arrows")
        self.accept("core/cli/a.c", '#include "run/run.h"\n#include "ledger/ledger.h"\n')
        self.refuse("core/new/a.c", '#include "base/err.h"\n', "no room")
        self.refuse("core/run/a.c", '#include "wire.h"\n', "write the room")

    def test_libraries(self):
        self.refuse("core/run/a.c", "#include <dlfcn.h>\n", "core/load/")
        self.refuse("core/run/a.c", "#  include <sqlite3.h>\n", "core/ledger/")
        self.refuse("core/services/a.c", "#include <curl/curl.h>\n", "http*.c")
        self.refuse("core/dicom/a.cc", "#include <openjpeg.h>\n", "codec.cc")
        self.refuse("core/deid/a.cc", "#include <dcmtk/dcmdata/dctk.h>\n", "core/dicom/*.cc")
        self.refuse("core/dicom/a.c", "#include <dcmtk/dcmdata/dctk.h>\n", "core/dicom/*.cc")
        self.refuse("core/cli/a.c", "#include <microhttpd.h>\n", "core/monitor/")
        self.accept("core/dicom/a.cc", "#include <dcmtk/dcmdata/dctk.h>\n")
        self.accept("core/ledger/a.c", "#include <sqlite3.h>\n")

    def test_stages(self):
        self.accept("stages/x/x.c", "#include <sendit/stage.h>\n#include <string.h>\n")
        self.refuse("stages/x/x.c", '#include "base/err.h"\n', "a stage")
        self.refuse("stages/x/x.c", "#include <sendit/other.h>\n", "a stage")

    def test_banned(self):
        for call in ("strcpy(a, b)", "sprintf(a, b)", "gets(a)", "strtok(a, b)", "system(a)"):
            self.refuse("core/run/a.c", "int x(void) { return %s; }\n" % call, call.split("(")[0])
        self.accept("core/run/a.c", "/* strcpy(a, b) */ int x(void) { snprintf(a, 1, b); }\n")
        self.accept("core/run/a.c", 'const char *t = "gets(no)"; int file_system(int);\n')
        self.accept("core/run/a.c", "int x(struct s *s) { return s->system(1); }\n")


class Headers(unittest.TestCase):
    """tests/check-headers and tests/abi/update --check, on a copy with something changed."""

    @contextlib.contextmanager
    def changed(self, name="stage.h", old="", new=""):
        """A folder with headers and reference, `old` replaced by `new` in a header."""
        with tempfile.TemporaryDirectory() as folder:
            for part in ("core/include", "tests/abi"):
                shutil.copytree(os.path.join(ROOT, part), os.path.join(folder, part))
            path = os.path.join(folder, "core", "include", "sendit", name)
            with open(path) as file:
                text = file.read()
            self.assertEqual(text.count(old) if old else 1, 1, old)
            with open(path, "w") as file:
                file.write(text.replace(old, new) if old else text)
            yield folder

    def run_check(self, check, name="stage.h", old="", new=""):
        """(exit status, output) with `old` replaced by `new` in a header."""
        with self.changed(name, old, new) as folder:
            argv = ([os.path.join(folder, "tests", "abi", "update"), "--check"] if check == "abi"
                    else [os.path.join(ROOT, "tests", "check-headers"),
                          os.path.join(folder, "core", "include")])
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  check=False)
            if done.returncode == 77:
                self.skipTest(done.stdout.decode().strip())
            return done.returncode, done.stdout.decode()

    def break_abi(self, name, old, new, word):
        status, output = self.run_check("abi", name, old, new)
        self.assertEqual(status, 1, output)
        self.assertIn(word, output)
        self.assertIn("run tests/abi/update and say why", output)

    def test_abi_is_the_reference(self):
        self.assertEqual(self.run_check("abi"), (0, ""))

    def test_abi_changes_are_seen(self):
        self.break_abi("stage.h", "    SENDIT_RETRY = 4,", "    SENDIT_RETRY = 6,",
                       "VALUE(SENDIT_RETRY, 6)")
        self.break_abi("stage.h", "    uint32_t magic, abi, size", "    uint32_t abi, magic, size",
                       "AT(sendit_plugin, magic, 4)")
        self.break_abi("stage.h", "    char text[220]; ", "    char text[224]; ",
                       "SIZE(sendit_why, 260)")
        self.break_abi("stage.h", "    uint64_t n_items;", "    uint64_t n_items, more;",
                       "AT(sendit_batch, more, ")
        self.break_abi("services.h", "    sendit_result (*put)(struct sendit_dataset *, uint32_t "
                       "tag, const char *value);\n", "", "gone:  AT(sendit_dicom, put, ")
        self.break_abi("services.h", "struct sendit_box {", "struct sendit_new {\n    int x;\n};\n"
                       "struct sendit_box {", "ANCHOR(sendit_new)")

    def test_abi_types_are_seen(self):
        """No offset moves: abidiff alone sees these."""
        if not shutil.which("abidiff"):
            self.skipTest("abidiff is not installed")
        self.break_abi("services.h", "int32_t *ret_days)", "int64_t *ret_days)", "sendit_ids")
        self.break_abi("stage.h", "    int64_t (*now_ms)(", "    int32_t (*now_ms)(", "sendit_host")

    def test_it_only_grows_since_1_0(self):
        """With the reference written anew, as on purpose, 1.0 is compared with all the same."""
        def after_update(*change):
            with self.changed(*change) as folder:
                update = os.path.join(folder, "tests", "abi", "update")
                self.assertEqual(subprocess.run([update], check=False).returncode, 0)
                done = subprocess.run([update, "--check"], stdout=subprocess.PIPE, check=False)
                return done.returncode, done.stdout.decode()

        if self.run_check("abi")[0]:
            self.fail("the reference is not that of today")
        why = "    char text[220];         /* one sentence for the operator */\n"
        self.assertEqual(after_update("stage.h", "    uint64_t n_items;",
                                      "    uint64_t n_items; uint64_t more;"), (0, ""))
        self.assertEqual(after_update("stage.h", "    SENDIT_LATER = 5 ",
                                      "    SENDIT_NEVER = 6, SENDIT_LATER = 5 "), (0, ""))
        for name, old, new, word in (
                ("stage.h", why, "    uint32_t more;\n" + why, "AT(sendit_why, text) was "),
                ("stage.h", why, why + "    uint32_t more;\n", "SIZE(sendit_why) was 256, is 260"),
                ("stage.h", "    SENDIT_LATER = 5 ", "    SENDIT_LATER = 6 ",
                 "VALUE(SENDIT_LATER) was 5, is 6"),
                ("services.h", "struct sendit_box {", "struct sendit_box {\n    uint32_t z;\n",
                 "sendit_box"),
                ("services.h", "    uint32_t x, y, width, height;",
                 "    uint32_t x, y, width, height, z;", "SIZE(sendit_box) was 16, is 20"),
                ("services.h", "int32_t *ret_days)", "int64_t *ret_days)", "since 1.0: ")):
            status, output = after_update(name, old, new)
            self.assertEqual(status, 1, (new, output))
            self.assertIn(word, output)

    def test_1_0_stays_as_it_was(self):
        with self.changed() as folder:
            with open(os.path.join(folder, "tests/abi/1.0/sendit/stage.h"), "a") as file:
                file.write("\n")
            done = subprocess.run([os.path.join(folder, "tests", "abi", "update"), "--check"],
                                  stdout=subprocess.PIPE, check=False)
            if done.returncode == 77:
                self.skipTest(done.stdout.decode().strip())
            self.assertEqual(done.returncode, 1)
            self.assertIn("tests/abi/1.0/sendit/stage.h is no more what it was",
                          done.stdout.decode())

    def test_comments_are_no_abi(self):
        self.assertEqual(self.run_check("abi", "services.h", "Three structs", "Three small ones"),
                         (0, ""))

    def break_headers(self, name, old, new, word):
        status, output = self.run_check("headers", name, old, new)
        self.assertEqual(status, 1, output)
        self.assertIn(word, output)

    def test_headers_alone(self):
        self.break_headers("services.h", '#include "stage.h"\n', "", "sendit_result")

    def test_headers_in_every_standard(self):
        self.break_headers("stage.h", "    int32_t type;\n", "    int32_t type;\n    bool on;\n",
                           "bool")

    def test_examples(self):
        self.break_headers("services.h", "self->dicom->erase(item->ds, ", "self->dicom->drop(item, ",
                           "drop")
        self.break_headers("services.h", " * Example:\n *\n *     static sendit_verdict verify(",
                           " * As in:\n *\n *     static sendit_verdict verify(", "table originals")

    def test_exceptions(self):
        self.break_headers("stage.h", "#define SENDIT_NOTHROW noexcept", "#define SENDIT_NOTHROW",
                           "takes a callback that may throw")


class Hospital(unittest.TestCase):
    @staticmethod
    def read(folder):
        found = {}
        for place, _, files in os.walk(folder):
            for name in files:
                with open(os.path.join(place, name), "rb") as file:
                    found[os.path.relpath(file.name, folder)] = file.read()
        return found

    def test_same_seed_same_bytes(self):
        with tempfile.TemporaryDirectory() as folder:
            trees = []
            for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
                path = os.path.join(folder, name)
                subprocess.run([os.path.join(ROOT, "tests", "hospital"), path, "--seed", seed,
                                "--size", "16"], check=True)
                trees.append(self.read(path))
            self.assertEqual(trees[0], trees[1])
            self.assertEqual(set(trees[0]), set(trees[2]))
            self.assertNotEqual(trees[0], trees[2])

    def test_it_is_not_written_twice(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([os.path.join(ROOT, "tests", "hospital"), folder],
                                  stderr=subprocess.PIPE, check=False)
            self.assertEqual((done.returncode, os.listdir(folder)), (1, []))


if __name__ == "__main__":
    unittest.main()
