# SPDX-License-Identifier: Apache-2.0
"""Stages that crash, hang, lie and eat memory, workers that are killed and stopped: each costs what
stage.h says, and no more.

The stages come from tests/system/stages, which the build puts into teststages.
"""
import os
import signal
import subprocess
import time
import unittest

import pydicom
import sendit

SHORT = ("--set", "run.stage_timeout=2s")
KILLS = 5    # of one image in a row: SUPERVISOR_MAX_KILLS
FAULTS = 10  # of one stage in a row: SUPERVISOR_MAX_FAULTS


def wait_for(what, seconds=60):
    """Until what() is true; what it answered."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come within %d s" % seconds)


class Fire(sendit.Case):
    """Images 1, 2, ... of one study; `misbehave` stands between anonymizer and store."""

    images = 3

    def setUp(self):
        super().setUp()
        self.plugins = sendit.test_stages()
        if not os.path.isdir(self.plugins):
            self.skipTest("%s is not built: SENDIT_TESTS" % self.plugins)
        self.site.add_images(self.images)
        self.count = self.site.path("count")

    def stages(self, *configs, use="misbehave"):
        """The shipped pipeline with one stage for each config."""
        stages = self.site.stages()
        stages[-1:-1] = [{"use": use, "id": "%s%d" % (use, i) if i else use, "config": config}
                       for i, config in enumerate(configs)]
        return stages

    def run_with(self, *configs, args=(), expect=0, workers=1, use="misbehave", site=None):
        """Run with the stages of these configs; the answer of --json, and stderr."""
        site = site or self.site
        site.write_pipeline(self.stages(*configs, use=use))
        result = site.sendit("run", "--json", "--workers", str(workers), "--plugins", self.plugins,
                             *args)
        for word in ("Sanitizer", "runtime error:", "Assertion"):
            self.assertNotIn(word, result.err, str(result))
        self.assertEqual(result.status, expect, str(result))
        self.assert_adds_up(result.json)
        self.err = result.err + result.json.get("error", "")
        return result.json

    def start_with(self, *configs, args=(), **popen):
        self.site.write_pipeline(self.stages(*configs))
        process = self.site.start("run", "--json", "--workers", "1", "--plugins", self.plugins,
                                  *args, **popen)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def times(self):
        """How often it was done."""
        return os.path.getsize(self.count) if os.path.exists(self.count) else 0

    def check_all_stored(self):
        """A run without the misbehaving stage stores whatever is left."""
        self.run_with()
        self.assertEqual(self.site.counts()["stored"], self.images)


class Timeouts(Fire):
    def test_image(self):
        answer = self.run_with({"does": "hang", "on": ["2"], "count": "count"}, args=SHORT)
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, host__timeout=1)
        self.assertEqual(self.times(), 2)

    def test_once_is_no_harm(self):
        answer = self.run_with({"does": "hang", "on": ["2"], "count": "count", "times": 1},
                               args=SHORT)
        self.assert_counts(answer, stored=3)

    def test_of_a_batch(self):
        for at in ("open", "begin", "finish"):
            with self.subTest(at):
                answer = self.run_with({"does": "hang", "at": at}, args=SHORT, expect=1)
                self.assert_counts(answer, failed=3)
                self.assert_reasons(answer, batch__stopped=3)
                self.assert_nothing_out()
        self.check_all_stored()

    def test_of_a_batch_once(self):
        for at in ("open", "begin", "finish"):
            with self.subTest(at):
                site = self.new_site()
                site.add_images(self.images)
                answer = self.run_with({"does": "hang", "at": at, "count": "count", "times": 1},
                                       args=SHORT, site=site)
                self.assert_counts(answer, stored=3)

    def test_abandon(self):
        answer = self.run_with({"does": "hang", "at": "abandon"}, {"does": "fail", "on": ["2"]},
                               args=SHORT, expect=1)
        self.assertEqual(answer["failed"], 3)
        self.assert_nothing_out()
        self.check_all_stored()

    def test_source(self):
        self.site.write_pipeline([{"use": "bad-source", "config": {
            "at": "produce", "does": "hang", "folder": "data/study1"}}] + self.site.stages()[1:])
        result = self.site.sendit("run", "--plugins", self.plugins, *SHORT)
        self.assertEqual(result.status, 1, str(result))
        self.assert_one_sentence(result, "source", "stage_timeout")
        self.check_all_stored()

    def test_source_that_crashes(self):
        self.site.write_pipeline([{"use": "bad-source", "config": {
            "at": "produce", "does": "crash", "folder": "data/study1"}}] + self.site.stages()[1:])
        result = self.site.sendit("run", "--plugins", self.plugins)
        self.assertEqual(result.status, 1, str(result))
        self.assert_one_sentence(result, "source", "ended before it had fed everything")
        self.check_all_stored()


class Closing(Fire):
    """close() that does not come back, or takes its process down: what is stored is stored, and the
    worker has ten seconds."""

    images = 5

    def timed(self, *configs, **more):
        began = time.monotonic()
        self.assert_counts(self.run_with(*configs, **more), stored=5)
        self.assertLess(time.monotonic() - began, 60)

    def test_at_the_end(self):
        self.timed({"at": "close", "does": "hang"})
        self.assertIn("worker.hung", self.err)

    def test_of_a_worker_that_is_replaced(self):
        """There is one worker alone: without an end of it nothing would go on."""
        self.timed({"does": "bloat", "on": ["2"]},
                   {"at": "close", "does": "hang", "count": "count", "times": 1},
                   args=("--set", "run.worker_memory=256MiB"))
        self.assertRegex(self.err, r'"stage": ?"misbehave1".*"worker.hung"')

    def test_of_a_source(self):
        self.site.write_pipeline([{"use": "bad-source", "config": {
            "at": "close", "does": "hang", "folder": "data/study1"}}] + self.site.stages()[1:])
        result = self.site.sendit("run", "--json", "--plugins", self.plugins, limit=60)
        self.assertEqual(result.status, 0, str(result))
        self.assert_counts(result.json, stored=5)

    def test_crash(self):
        self.timed({"does": "bloat", "on": ["2"]}, {"at": "close", "does": "crash"},
                   args=("--set", "run.worker_memory=256MiB"))


class Memory(Fire):
    images = 5

    def test_replaced_after_its_image(self):
        """The batch goes on with another worker, and nobody is to blame."""
        answer = self.run_with({"does": "bloat", "on": ["2"]}, {"at": "open", "count": "count"},
                               args=("--set", "run.worker_memory=256MiB"))
        self.assert_counts(answer, stored=5)
        self.assertEqual(self.times(), 2)

    def test_each_image(self):
        answer = self.run_with({"does": "bloat"}, {"at": "open", "count": "count"},
                               args=("--set", "run.worker_memory=256MiB"))
        self.assert_counts(answer, stored=5)
        self.assertEqual(self.times(), 5)

    def test_two_workers(self):
        self.site.add_images(5, study=2)
        answer = self.run_with({"does": "bloat", "on": ["1", "4"]}, workers=2,
                               args=("--set", "run.worker_memory=256MiB"))
        self.assert_counts(answer, stored=10)


class Crashes(Fire):
    images = 12

    def test_on_one_image(self):
        for deed in ("crash", "leave"):
            with self.subTest(deed):
                site = self.new_site()
                site.add_images(3)
                count = site.path("count")
                answer = self.run_with({"does": deed, "on": ["2"], "count": count}, site=site)
                self.assert_counts(answer, stored=2, quarantined=1)
                self.assert_reasons(answer, host__crashed=1)
                self.assertEqual(os.path.getsize(count), 2)

    def test_once_is_no_harm(self):
        for workers in (1, 2):
            for at in ("open", "begin", "process", "finish"):
                with self.subTest(at, workers=workers):
                    site = self.new_site()
                    site.add_images(3)
                    site.add_images(3, study=2)
                    answer = self.run_with({"does": "crash", "at": at, "times": 1,
                                            "count": "count"}, site=site, workers=workers)
                    self.assert_counts(answer, stored=6)

    def test_ten_in_a_row_stop_the_run(self):
        answer = self.run_with({"does": "crash", "count": "count"}, expect=1)
        self.assertEqual(self.times(), FAULTS)
        self.assert_counts(answer, quarantined=FAULTS // 2, waiting=12 - FAULTS // 2)
        self.assertIn("stage \"misbehave\" crashed (Aborted), for the 10th time in a row: the run "
                      "stops", self.err)
        self.assert_nothing_out()
        self.run_with()
        self.assert_counts(self.site.counts(), stored=7, quarantined=5)

    def test_ten_batches_that_cannot_begin(self):
        for study in range(2, 8):
            self.site.add_images(1, study=study)
        answer = self.run_with({"does": "crash", "at": "begin", "count": "count"}, expect=1)
        self.assertEqual(self.times(), FAULTS)
        self.assertEqual(answer["stored"], 0)
        self.assertIn("misbehave", self.err)
        self.run_with()
        self.assertEqual(self.site.counts()["stored"], 18)

    def test_not_in_a_row(self):
        odd = [str(number) for number in range(1, 12, 2)]
        answer = self.run_with({"does": "crash", "on": odd, "count": "count"})
        self.assertEqual(self.times(), 12)
        self.assert_counts(answer, stored=6, quarantined=6)
        self.assert_reasons(answer, host__crashed=6)

    def test_not_in_a_row_with_images_that_are_held(self):
        """Between the crashes it answers, although no image goes all the way."""
        odd = [str(number) for number in range(1, 12, 2)]
        answer = self.run_with({"does": "crash", "on": odd, "count": "count"},
                               {"does": "quarantine"})
        self.assertEqual(self.times(), 12)
        self.assert_counts(answer, quarantined=12)
        self.assert_reasons(answer, host__crashed=6, test__held=6)


class Kills(Fire):
    def test_five_on_one_image(self):
        answer = self.run_with({"does": "kill", "on": ["2"], "count": "count"})
        self.assertEqual(self.times(), KILLS)
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, host__killed=1)

    def test_four_are_no_harm(self):
        answer = self.run_with({"does": "kill", "on": ["2"], "count": "count", "times": KILLS - 1})
        self.assertEqual(self.times(), KILLS - 1)
        self.assert_counts(answer, stored=3)

    def test_never_towards_the_ten(self):
        answer = self.run_with({"does": "kill", "count": "count"})
        self.assertEqual(self.times(), 3 * KILLS)
        self.assert_counts(answer, quarantined=3)
        self.assert_reasons(answer, host__killed=3)

    def test_the_supervisors_death_counts(self):
        """Of its own run, and of others: three workers, then twice the supervisor."""
        process = self.start_with({"does": "hang", "on": ["2"], "count": "count"})
        for n in range(1, KILLS + 1):
            wait_for(lambda n=n: self.times() == n)
            workers = wait_for(lambda: sendit.children(process.pid))
            if n <= 3:
                os.kill(workers[0], signal.SIGKILL)
                continue
            process.kill()
            process.wait()
            wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in workers))
            if n < KILLS:
                process = self.start_with({"does": "hang", "on": ["2"], "count": "count"})
        answer = self.run_with({"does": "hang", "on": ["2"], "count": "count"})
        self.assertEqual(self.times(), KILLS)
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, host__killed=1)
        self.assertEqual(os.listdir(os.path.join(self.site.state, "scratch")), [])

    def test_stopped_in_a_callback(self):
        answer = self.run_with({"does": "stop", "on": ["2"], "count": "count", "times": 1},
                               args=SHORT)
        self.assert_counts(answer, stored=3)
        answer = self.run_with({"does": "stop", "on": ["2"]}, args=SHORT, site=self.filled())
        self.assert_reasons(answer, host__timeout=1)

    def filled(self):
        site = self.new_site()
        site.add_images(self.images)
        return site

    def test_stopped_between_callbacks(self):
        """It waits for an answer, and does not take it: another worker does its work."""
        process = self.start_with({"does": "slow", "on": ["2"], "count": "count"}, args=SHORT)
        wait_for(self.times)
        worker = sendit.children(process.pid)[0]
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3)  # the callback ends, and nobody answers what the worker asks
        os.kill(worker, signal.SIGSTOP)
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out.decode() + err.decode())
        self.assertFalse(os.path.exists("/proc/%d" % worker))
        self.assert_counts(self.site.counts(), stored=3)

    def test_a_sleep_is_nobodys_fault(self):
        """Ctrl-Z, or a machine that was suspended, in the midst of a callback."""
        process = self.start_with({"does": "slow", "on": ["2"], "count": "count"}, args=SHORT)
        wait_for(self.times)
        worker = sendit.children(process.pid)[0]
        for pid in (process.pid, worker):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(6)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.7)
        os.kill(worker, signal.SIGCONT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out.decode() + err.decode())
        self.assertEqual(self.times(), 1)
        self.assert_counts(self.site.counts(), stored=3)


class Answers(Fire):
    def test_unknown_verdict(self):
        answer = self.run_with({"does": "unknown", "on": ["2"]})
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, host__verdict=1)

    def test_unknown_verdict_without_an_image(self):
        for at in ("open", "begin", "finish"):
            with self.subTest(at):
                answer = self.run_with({"does": "unknown", "at": at}, expect=1)
                self.assert_counts(answer, failed=3)
                self.assertIn("host.verdict", self.err)
        self.assert_nothing_out()
        self.check_all_stored()

    def test_undeclared_edit(self):
        answer = self.run_with({"edit": True, "on": ["2"]}, use="meddle")
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, host__undeclared=1)

    def test_edits_count_only_with_pass(self):
        """Whatever else a stage answers, the output is that of a run without it."""
        reference = self.new_site()
        reference.add_images(self.images)
        self.run_with(site=reference)
        wanted = sendit.tree(reference.clean)
        for deed in ("pass", "skip", "retry", "crash", "leave", "kill", "hang"):
            with self.subTest(deed):
                site = self.new_site()
                site.add_images(self.images)
                self.run_with({"does": deed, "edit": True, "count": "count", "on": ["2"],
                               "times": 1}, args=SHORT, site=site)
                self.assertEqual(os.path.getsize(site.path("count")), 1)
                if deed == "pass":
                    self.assertNotEqual(sendit.tree(site.clean), wanted)
                    edited = [pydicom.dcmread(path) for path in sendit.images(site.clean)]
                    self.assertEqual([ds.KVP for ds in edited].count(77), 1)
                    self.assertEqual(sum("ReferencedImageSequence" in ds for ds in edited), 1)
                    self.assertEqual(sum("InstanceNumber" in ds for ds in edited), 2)
                else:
                    self.assertEqual(sendit.tree(site.clean), wanted)

    def test_edits_and_quarantine(self):
        """A later stage never sees it, and the original is as it was."""
        before = sendit.tree(self.site.data)
        answer = self.run_with({"does": "quarantine", "edit": True, "on": ["2"]},
                               {"does": "pass", "on": ["2", ""], "count": "count"})
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assertEqual(self.times(), 0)
        self.assertEqual(sendit.tree(self.site.data), before)

    def test_retry_has_an_end(self):
        self.site.add_images(2, study=2)
        answer = self.run_with({"does": "retry", "on": ["3"], "count": "count"}, expect=75,
                               args=("--set", "run.retry_for=3s"))
        self.assert_counts(answer, failed=3, waiting=2)
        self.assert_reasons(answer, batch__retry=3)
        self.assertIn("stage \"misbehave\" asked to try again for longer than retry_for", self.err)
        self.assertIn(self.times(), range(3, 6))  # at 0, 0.5, 1.5, 3.5 seconds
        self.assertEqual([batch["state"] for batch in
                          self.site.sendit("status", "--json").json["batches"]],
                         ["ERROR", "QUEUE"])
        self.assert_nothing_out()
        self.assert_counts(self.run_with(), stored=5)

    def test_retry_of_a_batch(self):
        for at in ("open", "begin", "finish"):
            with self.subTest(at):
                answer = self.run_with({"does": "retry", "at": at}, expect=75,
                                       args=("--set", "run.retry_for=1s"))
                self.assert_counts(answer, failed=3)
        self.check_all_stored()

    def test_retry_that_helps(self):
        answer = self.run_with({"does": "retry", "count": "count", "times": 2})
        self.assert_counts(answer, stored=3)
        self.assertEqual(self.times(), 2)

    def test_fail(self):
        answer = self.run_with({"does": "fail", "on": ["2"]}, expect=1)
        self.assert_counts(answer, failed=3)
        self.assert_reasons(answer, test__failed=1, batch__stopped=2)
        self.assert_nothing_out()
        self.check_all_stored()


class Rooms(Fire):
    """Disks that are full, and are not any more while the run waits."""

    images = 20
    ENOUGH = ("--set", "run.min_free=0B")

    def setUp(self):
        super().setUp()
        for number in range(1, self.images + 1):
            self.site.add(sendit.make_image(number, size=128), "study1", "IM%05d" % number)

    def mount(self, folder, size):
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=%d" % size, "none",
                               folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False)
        if done.returncode:
            self.skipTest("no tmpfs may be mounted here")
        self.addCleanup(subprocess.run, ["umount", folder], check=True)

    def ballast(self, folder, left):
        """Fill the file system of a folder up, but for `left` bytes."""
        path = os.path.join(folder, "ballast")
        room = os.statvfs(folder)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)
        return path

    def until_it_waits(self, process):
        """Read stderr until the run says that it waits."""
        said = b""
        while b"room.missing" not in said:
            line = process.stderr.readline()
            self.assertTrue(line, said)
            said += line
        return said.decode()

    def go_on(self, folder, left, *args):
        ballast = self.ballast(folder, left)
        process = self.start_with(args=("--set", "run.retry_for=100s") + args)
        said = self.until_it_waits(process)
        time.sleep(1.5)
        self.assertIsNone(process.poll())
        os.unlink(ballast)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, out.decode() + err.decode())
        self.assertIn("room.found", err.decode())
        self.assert_counts(self.site.counts(), stored=self.images)
        self.assertEqual(len(sendit.images(self.site.clean)), self.images)
        return said

    def test_output_has_too_little(self):
        self.mount(self.site.clean, 16 << 20)
        said = self.go_on(self.site.clean, 3 << 20, "--set", "run.min_free=4MiB")
        self.assertIn("folder of stage \\\"file-store\\\" has 3 MiB free", said)

    def test_output_is_full(self):
        self.mount(self.site.clean, 4 << 20)
        said = self.go_on(self.site.clean, 100 << 10, *self.ENOUGH)
        self.assertIn("stage \\\"file-store\\\" found no room", said)

    def test_state_has_too_little(self):
        self.mount(self.site.state, 16 << 20)
        self.site.write_key()
        said = self.go_on(self.site.state, 3 << 20, "--set", "run.min_free=4MiB")
        self.assertIn("the state folder has ", said)

    def test_no_room_comes(self):
        self.mount(self.site.clean, 16 << 20)
        self.ballast(self.site.clean, 100 << 10)
        for args, word in ((self.ENOUGH, "file-store"),
                           (("--set", "run.min_free=4MiB"), "retry_for")):
            with self.subTest(args[1]):
                self.run_with(args=args + ("--set", "run.retry_for=2s"), expect=4)
                self.assert_counts(self.site.counts(), waiting=self.images)
                self.assertIn(word, self.err)
        self.assert_nothing_out()

    def test_ledger_is_full(self):
        """Whatever cannot be written down has not happened; the next run does it."""
        self.mount(self.site.state, 16 << 20)
        self.site.write_key()
        self.run_with(args=self.ENOUGH)  # the ledger is made
        for study in (2, 3):
            self.site.add_images(300, study=study, patient="P-%d" % study)
        # A page at a time: there may be room for the ledger, and none for what workers share.
        for left in list(range(0, 96 << 10, 4 << 10)) + [256 << 10]:
            with self.subTest(left):
                ballast = self.ballast(self.site.state, left)
                self.site.write_pipeline()
                result = self.site.sendit("run", *self.ENOUGH, "--set", "run.retry_for=1s")
                self.assert_sound(result)
                self.assertIn(result.status, (0, 4), str(result))
                self.assertNotIn("Bus error", result.err)
                os.unlink(ballast)
        self.run_with(args=self.ENOUGH)
        self.assert_counts(self.site.counts(), stored=self.images + 600)
        self.assertEqual(len(sendit.images(self.site.clean)), self.images + 600)


if __name__ == "__main__":
    unittest.main()
