# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random instants loses nothing, doubles nothing, leaves nothing behind.

Ten kills in `tests/run`, a thousand with --long; SENDIT_TEST_KILLS and SENDIT_TEST_SEED set other
numbers.  What a kill cannot show is a loss of power; for that, the order of syncs is what counts.
"""
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

import sendit

KILLS = int(os.environ.get("SENDIT_TEST_KILLS", "1000" if sendit.LONG else "10"))
SEED = int(os.environ.get("SENDIT_TEST_SEED", "1"))


def fill(site):
    """Several batches, with what is stored, held, ignored and broken in each run, and stages that
    edit, hold, leave out and ask to try again."""
    site.add_hospital()
    deeds = [{"does": "pass", "edit": True, "on": ["3", "4", "17", "30"]},
             {"does": "quarantine", "edit": True, "on": ["5"]},
             {"does": "skip", "edit": True, "on": ["8"]},
             {"does": "retry", "edit": True, "on": ["6"], "count": "count", "times": 2}]
    stages = site.stages()
    stages[-1:-1] = [{"use": "misbehave", "id": "misbehave%d" % i, "config": deed}
                   for i, deed in enumerate(deeds)]
    site.write_pipeline(stages)
    for study in range(11, 17):
        site.add_images(40, study=study, patient="K-%d" % study, size=64)
        site.add(sendit.make_image(90, study, patient="K-%d" % study, BurnedInAnnotation="YES"),
                 "study%d" % study, "BURNED")
        site.add_bytes(b"no image at all", "study%d" % study, "NOTE")


def twin(case, original):
    """Another site with the same files, by hard links: they are only read."""
    site = case.new_site()
    os.rmdir(site.data)
    shutil.copy(original.path("pipeline.json"), site.folder)
    subprocess.run(["cp", "-rl", original.data, site.data], check=True)
    return site


def left_behind(site):
    """Temporary files, in the output and in the state."""
    known = {"site.key"}
    clean = [path for path in sendit.tree(site.clean) if not path.endswith(".dcm")]
    state = [path for path in sendit.tree(site.state)
             if path not in known and ("tmp" in path or "scratch" in path or "spool" in path)]
    return clean + state


class Kill(sendit.Case):
    """Each run is disturbed twice: with originals that stay, and with originals that are moved
    when their batch is done, where what is not durable yet would be lost."""

    RUN = ("run", "--json", "--workers", "2", "--plugins", sendit.test_stages())
    MOVE = ("--set", "importer.when_done=move", "--set", "importer.done_folder=done")

    def setUp(self):
        super().setUp()
        if not os.path.isdir(sendit.test_stages()):
            self.skipTest("%s is not built: SENDIT_TESTS" % sendit.test_stages())
        fill(self.site)
        self.wanted = {}
        for how in ((), self.MOVE):
            site = twin(self, self.site)
            began = time.monotonic()
            self.run_json(*self.RUN[2:], *how, site=site)
            self.seconds = time.monotonic() - began
            self.wanted[how] = self.end_state(site)
        self.assertTrue(self.wanted[self.MOVE][3])
        self.assertEqual(self.wanted[()][1], sendit.tree(self.site.data))

    @staticmethod
    def end_state(site):
        """Output, originals, counts, what was moved, and why images were not stored."""
        reasons = site.sendit("status", "--json").json["reasons"]
        return (sendit.tree(site.clean), sendit.tree(site.data), site.counts(),
                sendit.tree(site.path("done")),
                sorted(tuple(sorted(reason.items())) for reason in reasons))

    def finish(self, site, how=()):
        """Run until nothing waits, then compare with the undisturbed run."""
        for _ in range(3):
            result = site.sendit(*self.RUN, *how)
            self.assert_sound(result)
            self.assertEqual(result.status, 0, str(result))
            if not site.counts()["waiting"]:
                break
        self.assertEqual(left_behind(site), [])
        for name, is_so, wanted in zip(("clean", "data", "counts", "done", "reasons"),
                                       self.end_state(site), self.wanted[how]):
            self.assertEqual(wanted, is_so, name)

    def kill_one(self, site, how, moment, chance):
        result = site.run_and_kill(moment, chance, *self.RUN, *how)
        if result:
            self.assertEqual(result.status, 0, str(result))

    def test_kill_at_random_instants(self):
        chance = random.Random(SEED)
        done = 0
        while done < KILLS:
            site, how = twin(self, self.site), chance.choice(((), self.MOVE))
            kills = chance.randint(1, 4)
            for _ in range(min(kills, KILLS - done)):
                # Most in the midst of the work, some while it starts.
                moment = self.seconds * chance.uniform(0 if chance.random() < 0.2 else 0.3, 1)
                with self.subTest(kill=done, seed=SEED, moment="%.4f" % moment):
                    self.kill_one(site, how, moment, chance)
                done += 1
            with self.subTest(kills=done, seed=SEED, moved=bool(how)):
                self.finish(site, how)
            shutil.rmtree(site.folder)

    def test_kill_the_source(self):
        """The worker that names the batches is replaced, too."""
        for wait in (0, 0.05, 0.1):
            with self.subTest(wait=wait):
                site = twin(self, self.site)
                process = site.start(*self.RUN)
                while process.poll() is None and not sendit.children(process.pid):
                    time.sleep(0.001)
                time.sleep(wait)
                for pid in sendit.children(process.pid)[:1]:
                    os.kill(pid, signal.SIGKILL)
                out, err = process.communicate(timeout=120)
                self.assertEqual(process.returncode, 0, out.decode() + err.decode())
                self.finish(site)

    def test_stop_by_signal_and_go_on(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with self.subTest(status):
                site = twin(self, self.site)
                process = site.start("run", "--json", "--workers", "1", *self.RUN[4:])
                time.sleep(self.seconds / 3)
                process.send_signal(number)
                out, err = process.communicate(timeout=120)
                self.assertIn(process.returncode, (status, 0), out.decode() + err.decode())
                if process.returncode:
                    self.assert_adds_up(site.counts())
                    self.assertEqual(site.counts()["failed"], 0)
                self.finish(site)


if __name__ == "__main__":
    unittest.main()
