# SPDX-License-Identifier: Apache-2.0
"""Bad input: each ends with the documented exit status, one clear sentence, nothing out, nothing
lost."""
import os
import shutil
import struct
import subprocess
import unittest

import malformed
import sendit


class Files(sendit.Case):
    """One bad file beside one good one: the good one is stored, the bad one is held."""

    def check_held(self, data, code, name="BAD"):
        site = self.new_site()
        site.add(sendit.make_image(1), "study1", "GOOD")
        site.add_bytes(data, "study1", name)
        answer = self.run_json(site=site)
        self.assert_counts(answer, stored=1, quarantined=1)
        self.assert_reasons(answer, **{code.replace(".", "__"): 1})
        self.assertEqual(len(sendit.images(site.clean)), 1)

    def test_the_base_of_these_is_good(self):
        self.site.add_bytes(malformed.good(), "study1", "GOOD")
        self.assert_counts(self.run_json(), stored=1)

    def test_no_dicom(self):
        for data in (b"Dear colleague,\n", b"%PDF-1.4 ...", b"\x89PNG\r\n\x1a\n" + bytes(100),
                     bytes(5000), b"\xff" * 5000, b"DICM", bytes(128) + b"DICM"):
            with self.subTest(data[:12]):
                site = self.new_site()
                site.add_bytes(data, "study1", "BAD")
                answer = self.run_json(site=site)
                self.assert_counts(answer, quarantined=1)

    def test_no_dicom_has_its_reason(self):
        self.check_held(b"Dear colleague,\n" * 30, "dicom.not_dicom")

    def test_folder_without_any_dicom(self):
        for i in range(3):
            self.site.add_bytes(b"text %d" % i, "study1", "T%d" % i)
        answer = self.run_json()
        self.assert_counts(answer, quarantined=3)
        self.assert_reasons(answer, dicom__not_dicom=3)

    def test_truncated(self):
        whole = malformed.good()
        for left in (len(whole) - 1, len(whole) - 60, len(whole) // 2 + 40, 300, 200):
            with self.subTest(left):
                self.check_held(whole[:left], "dicom.truncated")

    def test_truncated_anywhere(self):
        """At each offset: stored only if what is left is whole, and never a crash."""
        whole = malformed.good()
        step = 1 if sendit.LONG else 5
        for left in range(1, len(whole), step):
            self.site.add_bytes(whole[:left], "study%04d" % left, "CUT")
        answer = self.run_json()
        self.assertEqual(answer["failed"] + answer["waiting"], 0)
        for path in sendit.images(self.site.clean):
            self.assertNotIn(b"Doe^Jane", open(path, "rb").read())

    def test_unknown_transfer_syntax(self):
        for syntax in (b"1.2.3.4.5", b"1.2.840.10008.1.2.99", b"", b"nonsense", b"1" * 64):
            with self.subTest(syntax):
                self.check_held(malformed.part10(malformed.head() + malformed.tail(), syntax),
                                "dicom.transfer_syntax")

    def test_deflated_is_read(self):
        self.site.add_bytes(malformed.deflated(malformed.head() + malformed.tail()),
                            "study1", "GOOD")
        self.assert_counts(self.run_json(), stored=1)

    def test_deflate_bomb(self):
        self.check_held(malformed.bomb(300), "dicom.inflate")

    def test_deflate_bomb_by_the_bound_that_is_set(self):
        self.site.add_bytes(malformed.bomb(8), "study1", "BOMB")
        answer = self.run_json("--set", "run.max_inflate=4MiB")
        self.assert_reasons(answer, dicom__inflate=1)

    def test_deflated_garbage(self):
        site = self.new_site()
        site.add_bytes(malformed.part10(b"\xff" * 500, malformed.DEFLATED), "study1", "BAD")
        self.assert_counts(self.run_json(site=site), quarantined=1)

    def test_nesting(self):
        for depth in (65, 1000, 10000):
            for defined in (False, True):
                with self.subTest(depth=depth, defined=defined):
                    self.check_held(malformed.with_nested(malformed.nested(depth, defined)),
                                    "dicom.too_deep")

    def test_nesting_that_is_allowed(self):
        for depth in (1, 63, 64):
            for defined in (False, True):
                with self.subTest(depth=depth, defined=defined):
                    site = self.new_site()
                    site.add_bytes(malformed.with_nested(malformed.nested(depth, defined)),
                                   "study1", "DEEP")
                    self.assert_counts(self.run_json(site=site), stored=1)

    def test_nesting_in_unknown_and_private(self):
        for vr, group in ((b"UN", 0x0040), (b"SQ", 0x0041), (b"UN", 0x0041)):
            with self.subTest(vr=vr, group=group):
                data = malformed.with_nested(malformed.nested(10000, vr=vr, group=group,
                                                              number=0x1001))
                site = self.new_site()
                site.add_bytes(data, "study1", "DEEP")
                answer = self.run_json(site=site)
                self.assert_counts(answer, quarantined=1)

    def test_lengths_that_lie(self):
        body = malformed.head()
        for length in (0xfffffffe, 0x7fffffff, 100000):
            for vr in (b"OB", b"UT", b"UN", b"SQ"):
                with self.subTest(length=length, vr=vr):
                    lie = struct.pack("<HH2sHI", 0x11, 0x1001, vr, 0, length)
                    site = self.new_site()
                    site.add_bytes(malformed.part10(body + lie + b"abcd"), "study1", "LIE")
                    self.assert_counts(self.run_json(site=site), quarantined=1)

    def test_private_sop_class(self):
        self.site.add(sendit.make_image(1, SOPClassUID="1.3.12.2.1107.5.9.1"), "study1", "IM1")
        answer = self.run_json()
        self.assert_counts(answer, quarantined=1)

    def test_hundred_thousand_elements(self):
        many = b"".join(malformed.element(0x0011 + 2 * (i // 60000), i % 60000 + 0x1000, b"SH",
                                          b"abcd") for i in range(100000))
        data = malformed.part10(malformed.head() + many + malformed.tail())
        self.site.add_bytes(data, "study1", "MANY")
        answer = self.run_json()
        self.assertEqual(answer["failed"] + answer["waiting"], 0)


class Places(sendit.Case):
    NO_WAIT = ("--set", "run.min_free=0B", "--set", "run.retry_for=1s")

    def test_missing_folder(self):
        os.rmdir(self.site.data)
        result = self.run_sendit("run", expect=4)
        self.assert_one_sentence(result, "data")
        self.assert_nothing_out()

    def test_missing_folder_on_the_command_line(self):
        self.site.add_images(1)
        result = self.run_sendit("run", "nowhere/at/all", expect=4)
        self.assert_one_sentence(result, "nowhere/at/all")
        self.assert_nothing_out()

    def test_file_in_place_of_a_folder(self):
        self.site.add_images(1)
        result = self.site.sendit("run", "data/study1/IM00001")
        self.assert_sound(result)
        self.assertNotEqual(result.status, 0)
        self.assert_one_sentence(result, "data/study1/IM00001")

    def test_unreadable_file(self):
        self.site.add_images(2)
        nobody = self.as_nobody()
        path = os.path.join(self.site.data, "study1", "IM00002")
        os.chown(path, 0, 0)
        os.chmod(path, 0o600)
        answer = self.run_json(prefix=nobody, expect=1)
        self.assert_counts(answer, stored=1, failed=1)
        self.assert_reasons(answer, import__unreadable=1)
        # Made readable, it is taken by the next run.
        os.chown(path, 65534, 65534)
        self.assertEqual(self.run_json(prefix=nobody)["stored"], 1)

    def test_error_with_move_marks_a_folder(self):
        """NAME.err, but for a folder that was named, and one with batches inside it."""
        bad = []
        for place in ((), ("leaf",), ("whole",)):
            self.site.add(sendit.make_image(len(bad) + 1), *place, "IM1")
            bad.append(os.path.join(self.site.data, *place, "BAD"))
            with open(bad[-1], "w"):
                pass
        self.site.add(sendit.make_image(9), "whole", "inside", "IM1")
        nobody = self.as_nobody()
        for path in bad:
            os.chown(path, 0, 0)
            os.chmod(path, 0o600)
        move = ["--set", "importer.when_done=move", "--set", "importer.done_folder=done"]
        self.assert_counts(self.run_json(*move, prefix=nobody, expect=1), stored=4, failed=3)
        self.assertEqual(sorted(os.listdir(self.site.data)), ["BAD", "IM1", "leaf.err", "whole"])
        self.assertEqual(sorted(os.listdir(os.path.join(self.site.data, "whole"))), ["BAD", "IM1"])
        self.assertEqual(list(sendit.tree(self.site.path("done"))), ["data/whole/inside/IM1"])
        # What is marked is left alone.
        answer = self.run_json(*move, prefix=nobody, expect=1)
        self.assert_counts(answer, failed=2)

    def test_named_folder_stays_when_it_is_empty(self):
        self.site.add(sendit.make_image(1), "IM1")
        self.site.add(sendit.make_image(2), "a", "IM1")
        self.assert_counts(self.run_json("--set", "importer.when_done=delete"), stored=2)
        self.assertEqual(os.listdir(self.site.data), [])
        self.assertIn("nothing to do", self.run_sendit("run").out)

    def test_unreadable_subfolder(self):
        self.site.add_images(1)
        self.site.add_images(1, study=2)
        nobody = self.as_nobody()
        os.chown(os.path.join(self.site.data, "study2"), 0, 0)
        os.chmod(os.path.join(self.site.data, "study2"), 0o700)
        result = self.site.sendit("run", "--json", prefix=nobody)
        self.assert_sound(result)
        self.assertNotEqual(result.status, 0, "an unreadable folder was passed over in silence")
        os.chmod(os.path.join(self.site.data, "study2"), 0o755)

    def test_read_only_output(self):
        self.site.add_images(2)
        os.mkdir(self.site.clean)
        nobody = self.as_nobody()
        os.chown(self.site.clean, 0, 0)
        os.chmod(self.site.clean, 0o755)
        result = self.run_sendit("run", prefix=nobody, expect=4)
        self.assert_one_sentence(result, "clean", "cannot be written")
        self.assertEqual(os.listdir(self.site.clean), [])
        # Nothing is lost: with the place mended, the images are stored.
        os.chown(self.site.clean, 65534, 65534)
        self.run_json(prefix=nobody)
        self.assertEqual(len(sendit.images(self.site.clean)), 2)

    def test_output_that_is_a_file(self):
        self.site.add_images(1)
        with open(self.site.clean, "w") as file:
            file.write("not a folder")
        result = self.site.sendit("run")
        self.assert_sound(result)
        self.assertIn(result.status, (3, 4))
        self.assertIn("clean", result.err)

    def mount(self, folder, size):
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=%d" % size, "none",
                               folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False)
        if done.returncode:
            self.skipTest("no tmpfs may be mounted here")
        self.addCleanup(subprocess.run, ["umount", folder], check=True)

    def test_full_output(self):
        self.site.add_images(20, size=128)
        self.mount(self.site.clean, 200 * 1024)
        result = self.run_sendit("run", "-q", *self.NO_WAIT, expect=4)
        self.assert_one_sentence(result, "file-store", "no room")
        # No partial file: what is there is whole.
        for path in sendit.images(self.site.clean):
            self.assertGreaterEqual(os.path.getsize(path), 128 * 128 * 2)
        self.assertEqual(self.site.counts()["failed"], 0)
        subprocess.run(["mount", "-o", "remount,size=20M", self.site.clean], check=True)
        self.run_json(*self.NO_WAIT)
        self.assertEqual(len(sendit.images(self.site.clean)), 20)
        self.assertEqual(self.site.counts()["stored"], 20)

    def test_full_state(self):
        self.site.add_images(5)
        shutil.rmtree(self.site.state)
        self.mount(self.site.state, 64 * 1024)
        self.site.write_key()
        result = self.run_sendit("run", *self.NO_WAIT, expect=4)
        self.assert_one_sentence(result)
        self.assert_nothing_out()

    def test_min_free(self):
        self.site.add_images(2)
        with open(self.site.path("room"), "w"):
            pass
        free = os.statvfs(self.site.folder)
        more = free.f_bavail * free.f_frsize * 4 // (1 << 30) + 1
        result = self.run_sendit("run", "--set", "run.min_free=%dGiB" % more,
                                 "--set", "run.retry_for=1s", expect=4)
        said = result.err.splitlines()
        self.assertEqual(len(said), 2, str(result))
        self.assertIn("run.min_free", said[0])
        self.assertIn("make room", said[1])
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 2)


class Output(sendit.Case):
    def test_closed_pipe_is_no_crash(self):
        self.site.add_images(3)
        read, write = os.pipe()
        os.close(read)
        process = subprocess.Popen([sendit.program(), "run"], cwd=self.site.folder, stdout=write,
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(write)
        _, err = process.communicate(timeout=120)
        self.assertGreaterEqual(process.returncode, -13, err.decode())
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 3)

    def test_closed_standard_descriptors(self):
        """No file of ours lands on a descriptor that the program prints to."""
        self.site.add_images(3)
        subprocess.run(["sh", "-c", "exec \"$0\" run 0<&- 1>&- 2>&-", sendit.program()],
                       cwd=self.site.folder, check=False, timeout=120)
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 3)

    def test_umask_does_not_matter_for_the_state(self):
        shutil.rmtree(self.site.state)
        self.site.add_images(1)
        subprocess.run(["sh", "-c", "umask 0; exec \"$0\" run", sendit.program()],
                       cwd=self.site.folder, check=True, timeout=120, stdout=subprocess.DEVNULL)
        self.assertTrue(sendit.owner_only(self.site.state))
        for place, folders, files in os.walk(self.site.state):
            for name in folders + files:
                self.assertTrue(sendit.owner_only(os.path.join(place, name)), name)


if __name__ == "__main__":
    unittest.main()
