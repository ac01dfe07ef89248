# SPDX-License-Identifier: Apache-2.0
"""The order on disk, which kill -9 cannot show: the kernel keeps what was written, in whatever order
it was, as long as it has power.  strace shows what was asked of it, and when.

    staged file written - synced - renamed - folders synced - ledger synced - original moved
"""
import os
import re
import shutil
import subprocess
import unittest

import sendit

CALLS = ("openat,open,creat,write,pwrite64,writev,pwritev,copy_file_range,sendfile,ioctl,ftruncate,"
         "fallocate,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
         "mkdir,mkdirat")
LINE = re.compile(r"^(\d+) +(.*)$")
BEGUN = re.compile(r"^(\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
WHOLE = re.compile(r"^(\w+)\((.*)\) += (-?\d+).*$")
TEXT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")
PATH = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
WRITES = ("write", "pwrite64", "writev", "pwritev", "copy_file_range", "sendfile", "ioctl",
          "ftruncate", "fallocate")


class Call:
    """One system call that did not fail; `begun` and `ended` are lines of the log."""

    def __init__(self, name, args, begun, ended):
        self.name, self.args, self.begun, self.ended = name, args, begun, ended

    @property
    def paths(self):
        """Of its descriptors, in order."""
        return PATH.findall(self.args)

    @property
    def names(self):
        return TEXT.findall(self.args)


def parse(log):
    calls, begun = [], {}
    for number, line in enumerate(log):
        pid, text = LINE.match(line.rstrip("\n")).groups()
        half, rest, whole = BEGUN.match(text), RESUMED.match(text), WHOLE.match(text)
        if half:
            begun[pid] = (half.group(1), half.group(2), number)
            continue
        first = number
        if rest and pid in begun:
            name, args, first = begun.pop(pid)
            whole = WHOLE.match("%s(%s%s" % (name, args, rest.group(2)))
        if whole and int(whole.group(3)) >= 0:
            calls.append(Call(whole.group(1), whole.group(2), first, number))
    return calls


class Sync(sendit.Case):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("strace"):
            raise unittest.SkipTest("strace is not installed")
        if subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], check=False,
                          stderr=subprocess.DEVNULL).returncode:
            raise unittest.SkipTest("strace may not trace here")

    def trace(self, *args):
        """The calls of a run."""
        log = self.site.path("strace")
        # The leak sanitizer does not work under ptrace.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        self.run_sendit("run", "--workers", "1", *args,
                        prefix=["strace", "-f", "-y", "-s", "4096", "-e", "trace=" + CALLS,
                                "-o", log], env=dict(os.environ, ASAN_OPTIONS=options))
        with open(log, errors="replace") as file:
            return parse(file)

    def first(self, calls, after, what, names, path):
        """The first call by one of these names to a path, begun after a line; else it fails."""
        for call in calls:
            if call.begun > after and call.name in names and path in call.paths[:1]:
                return call
        self.fail("%s: nothing of %s for %s" % (what, names, os.path.basename(path)))

    def staged(self, calls):
        """(rename, path of the staged file, final path) for each image that is put in its place."""
        found = []
        for call in calls:
            if call.name in ("renameat2", "renameat", "linkat") and "/.sendit/" in call.paths[0]:
                found.append((call, os.path.join(call.paths[0], call.names[0]),
                              os.path.join(call.paths[1], call.names[1])))
        return found

    def check_stored(self, calls, n):
        """Each image is synced before its rename, and its folders after; returns the last line."""
        staged, last = self.staged(calls), 0
        self.assertEqual(len(staged), n)
        for rename, source, target in staged:
            writes = [call for call in calls if call.name in WRITES and source in call.paths]
            self.assertTrue(writes, "written under another name than it was staged")
            written = max(call.ended for call in writes)
            self.assertTrue([call for call in calls
                             if written < call.begun and call.ended < rename.begun and (
                                 call.name == "syncfs" and call.paths[0].startswith(self.site.clean)
                                 or call.name in ("fsync", "fdatasync") and
                                 call.paths[0] == source)],
                            "an image was renamed before it was synced")
            folder = os.path.dirname(target)
            while len(folder) >= len(self.site.clean):
                synced = self.first(calls, rename.ended, "a folder after the rename",
                                    ("fsync", "fdatasync", "syncfs"), folder)
                last = max(last, synced.ended)
                folder = os.path.dirname(folder)
        for call in calls:
            if call.name in ("openat", "open", "creat") and re.search(r"O_WRONLY|O_RDWR", call.args):
                self.assertFalse(call.names[0].endswith(".dcm"), "written under its final name")
        return last

    def wal(self):
        return os.path.join(self.site.state, "ledger.db-wal")

    def test_of_each_image(self):
        for study in (1, 2, 3):
            self.site.add_images(4, study=study)
        calls = self.trace()
        last = self.check_stored(calls, 12)
        self.first(calls, last, "the ledger after the folders", ("fdatasync", "fsync"), self.wal())

    def test_originals_are_moved_last(self):
        self.site.add_images(5)
        calls = self.trace("--set", "importer.when_done=move", "--set", "importer.done_folder=done")
        last = self.check_stored(calls, 5)
        ledger = self.first(calls, last, "the ledger after the folders", ("fdatasync", "fsync"),
                            self.wal())
        moves = [call for call in calls if call.name.startswith("rename") and
                 call.names[0].startswith(self.site.data)]
        self.assertEqual(len(moves), 5)
        for move in moves:
            self.assertGreater(move.begun, ledger.ended, "an original was moved too early")
        folder = os.path.dirname(moves[0].names[1])
        self.first(calls, max(move.ended for move in moves), "the folder of the originals",
                   ("fsync", "fdatasync"), folder)
        made = [call for call in calls if call.name == "mkdir" and call.names[0] == folder]
        self.assertEqual(len(made), 1)
        above = self.first(calls, made[0].ended, "the folder above it", ("fsync",),
                           os.path.dirname(folder))
        self.assertLess(above.ended, moves[0].begun)

    def test_the_ledger_knows_before_anything_is_handed_out(self):
        """What the batch has in hand is durable before the first image gets its name."""
        self.site.add_images(3)
        calls = self.trace()
        rename = self.staged(calls)[0][0]
        known = [call for call in calls if call.name == "fdatasync" and
                 call.paths[0] == self.wal() and call.ended < rename.begun]
        self.assertTrue(known)
        writes = [call for call in calls if call.name in WRITES and self.wal() in call.paths[:1] and
                  call.ended < rename.begun]
        self.assertGreater(known[-1].begun, writes[-1].ended, "the ledger was written, not synced")

    def test_the_key_is_durable_before_it_is_used(self):
        self.site.add_images(1)
        os.unlink(os.path.join(self.site.state, "site.key"))
        calls = self.trace()
        rename = self.staged(calls)[0][0]
        key = [call for call in calls if call.name in ("fsync", "fdatasync") and
               "site.key" in call.paths[0]]
        self.assertEqual(len(key), 1)
        folder = self.first(calls, key[0].ended, "the folder of the key", ("fsync",),
                            self.site.state)
        self.assertLess(folder.ended, rename.begun)


if __name__ == "__main__":
    unittest.main()
