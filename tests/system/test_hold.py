# SPDX-License-Identifier: Apache-2.0
"""Batches rest at a hold entry, in the state folder, until somebody lets them go on."""
import json
import os
import random
import shutil
import stat
import subprocess
import time
import unittest

import google
import sendit
import test_gcs

KILLS = int(os.environ.get("SENDIT_TEST_KILLS", "100" if sendit.LONG else "6"))
SEED = int(os.environ.get("SENDIT_TEST_SEED", "1"))


def flip_last(path):
    """Another last byte, far behind the header, and the same times."""
    was = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


class Resting(sendit.Case):
    def setUp(self):
        super().setUp()
        if not os.path.isdir(sendit.test_stages()):
            self.skipTest("%s is not built: SENDIT_TESTS" % sendit.test_stages())

    # ---- pipelines ----

    @staticmethod
    def deed(name, **config):
        return {"use": "misbehave", "id": name, "config": config}

    def write(self, before=(), after=(), hold=True, site=None, **members):
        """The shipped pipeline, a hold before its store, and stages on either side."""
        site = site or self.site
        stages = site.stages()
        entries = list(before) + [{"use": "hold", "id": "review"}] * hold + list(after)
        stages[-1:-1] = entries
        site.write_pipeline(stages, **members)

    def read(self):
        with open(self.site.path("pipeline.json")) as file:
            return json.load(file)["stages"]

    def ask(self, *args, expect=0, site=None, **more):
        return self.run_sendit(*args, "--plugins", sendit.test_stages(), expect=expect, site=site,
                               **more)

    def go(self, *args, expect=0, site=None):
        answer = self.ask("run", "--json", *args, expect=expect, site=site).json
        self.assert_adds_up(answer)
        return answer

    def resume(self, *args, site=None):
        return self.ask("resume", "--json", *args, site=site).json

    def batches(self, site=None):
        """State and, of one that is HELD, where it rests."""
        found = (site or self.site).sendit("status", "--json").json["batches"]
        return [" ".join(filter(None, (b["state"], b["rests"]))) for b in found]

    def held(self, site=None):
        folder = os.path.join((site or self.site).state, "held")
        return sorted(sendit.tree(folder)) if os.path.isdir(folder) else []

    def without_hold(self, fill, **stages):
        """What another site has that never let anything rest."""
        site = self.new_site()
        fill(site)
        self.write(hold=False, site=site, **stages)
        self.go(site=site)
        return sendit.tree(site.clean), site.counts()


class Hold(Resting):
    # ---- the way of a batch ----

    def test_rest_and_go_on(self):
        def fill(site):
            site.add_images(3)
            site.add_images(2, study=2, size=64)
            site.add(sendit.make_image(9, 2, BurnedInAnnotation="YES"), "study2", "BURNED")
            site.add_bytes(b"no image", "study2", "NOTE")

        clean, counts = self.without_hold(fill)
        fill(self.site)
        self.write()
        answer = self.go()
        self.assertEqual((answer["stored"], answer["waiting"], answer["resting"]), (0, 5, 5))
        self.assertEqual(self.batches(), ["HELD review", "HELD review"])
        self.assert_nothing_out()
        self.assertEqual(len(self.held()), 5)
        self.assertEqual(self.go()["found"], 0)  # it rests, however often one runs
        self.assertEqual(self.batches(), ["HELD review", "HELD review"])
        self.assertEqual(self.resume(), [{"batch": "b1", "hold": "review", "images": 3},
                                         {"batch": "b2", "hold": "review", "images": 2}])
        self.assert_nothing_out()
        self.assertEqual(self.batches(), ["QUEUE", "QUEUE"])
        self.assertEqual(self.go()["waiting"], 0)
        self.assertEqual(self.batches(), ["DONE", "DONE"])
        self.assertEqual(sendit.tree(self.site.clean), clean)
        self.assertEqual(self.site.counts(), counts)
        self.assertEqual(self.held(), [])

    def test_what_rests_is_de_identified_and_for_its_owner_alone(self):
        self.site.add_images(2, patient="SECRET-1", name="Secretname^Anna")
        self.write()
        old = os.umask(0)
        try:
            self.go()
        finally:
            os.umask(old)
        for place, folders, files in os.walk(os.path.join(self.site.state, "held")):
            self.assertEqual(stat.S_IMODE(os.stat(place).st_mode), 0o700, place)
            for name in files:
                path = os.path.join(place, name)
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600, path)
                with open(path, "rb") as file:
                    data = file.read()
                self.assertNotIn(b"SECRET-1", data)
                self.assertNotIn(b"Secretname", data)
        out = self.ask("status").out + self.ask("log").out + self.ask("plan").out
        self.assertIn("HELD at review", out)
        self.assertNotIn("Secret", out)

    def test_some_go_on(self):
        for study in (1, 2, 3):
            self.site.add_images(1, study=study)
        self.write()
        self.go()
        self.resume("b2")
        self.assertEqual(self.go()["stored"], 1)
        self.assertEqual(self.batches(), ["HELD review", "DONE", "HELD review"])
        self.assertEqual(len(self.held()), 2)
        self.resume()
        self.go()
        self.assertEqual(self.batches(), ["DONE"] * 3)

    def test_two_holds(self):
        def fill(site):
            site.add_images(3)

        clean, counts = self.without_hold(fill)
        fill(self.site)
        self.write(after=[self.deed("between"), {"use": "hold", "id": "second"}])
        self.go()
        self.assertEqual(self.batches(), ["HELD review"])
        self.resume()
        self.go()
        self.assertEqual(self.batches(), ["HELD second"])
        self.assertTrue(all("b1/second/" in path for path in self.held()), self.held())
        self.assertEqual(len(self.held()), 3)
        self.assert_nothing_out()
        self.assertEqual(self.resume()[0]["hold"], "second")
        self.go()
        self.assertEqual(self.batches(), ["DONE"])
        self.assertEqual((sendit.tree(self.site.clean), self.site.counts()), (clean, counts))

    def test_stages_before_it_finish_and_those_behind_begin_later(self):
        self.site.add_images(2)
        marks = {name: self.site.path(name) for name in ("before", "begun")}
        self.write(before=[self.deed("before", at="finish", count=marks["before"])],
                   after=[self.deed("behind", at="begin", count=marks["begun"])])
        self.go()
        self.assertTrue(os.path.exists(marks["before"]))
        self.assertFalse(os.path.exists(marks["begun"]))
        self.resume()
        self.go()
        self.assertEqual(os.path.getsize(marks["before"]), 1)  # not again
        self.assertEqual(os.path.getsize(marks["begun"]), 1)

    def test_edits_on_either_side(self):
        def fill(site):
            site.add_images(3, size=64)

        sides = {"before": [self.deed("early", edit=True, on=["1"])],
                 "after": [self.deed("late", edit=True, on=["2"])]}
        clean, _ = self.without_hold(fill, **sides)
        fill(self.site)
        self.write(**sides)
        self.go()
        self.resume()
        self.go()
        self.assertEqual(sendit.tree(self.site.clean), clean)

    def test_nothing_comes_to_rest(self):
        self.site.add_images(2)
        self.write(before=[self.deed("no", does="quarantine")])
        self.assertEqual(self.go()["quarantined"], 2)
        self.assertEqual(self.batches(), ["EMPTY"])
        self.assertEqual(self.held(), [])

    def test_handed_out_before_it_rests(self):
        """A store before the hold has its images; behind it no other need take them."""
        self.site.add_images(2)
        stages = self.site.stages() + [{"use": "hold"}, self.deed("behind")]
        self.site.write_pipeline(stages)
        self.go()
        self.assertEqual(len(sendit.images(self.site.clean)), 2)
        self.assertEqual(self.batches(), ["HELD hold"])
        self.resume()
        self.assertEqual(self.go()["stored"], 2)
        self.assertEqual(self.batches(), ["DONE"])

    def test_a_hold_before_the_anonymizer(self):
        """It may stand there; the plan says what rests, and nothing leaves that was not made safe."""
        def fill(site):
            site.add_images(2)

        clean, _ = self.without_hold(fill)
        fill(self.site)
        stages = self.site.stages()
        stages[1:1] = [{"use": "hold"}]
        self.site.write_pipeline(stages)
        self.assertIn("IDENTIFIED", self.ask("plan").out)
        self.go()
        self.assertEqual(self.batches(), ["HELD hold"])
        self.resume()
        self.go()
        self.assertEqual(sendit.tree(self.site.clean), clean)

    # ---- originals ----

    def test_originals_that_change_or_vanish_meanwhile(self):
        def fill(site):
            site.add_images(3)

        clean, _ = self.without_hold(fill)
        fill(self.site)
        self.write()
        self.go()
        paths = [os.path.join(self.site.data, "study1", name)
                 for name in sorted(os.listdir(os.path.join(self.site.data, "study1")))]
        os.unlink(paths[0])
        with open(paths[1], "wb") as file:
            file.write(b"something else")
        shutil.copy(paths[2], paths[2] + "2")
        os.rename(paths[2] + "2", paths[2])
        self.resume("b1")
        self.go("--set", "importer.enabled=true")
        self.assertEqual(self.batches()[0], "DONE")
        self.assertEqual(sendit.tree(self.site.clean), clean)

    def test_originals_are_moved_when_their_batch_is_done(self):
        self.site.add_images(2)
        self.write()
        move = ("--set", "importer.when_done=move", "--set", "importer.done_folder=done")
        self.go(*move)
        self.assertEqual(len(sendit.tree(self.site.data)), 2)
        self.resume()
        self.go(*move)
        self.assertEqual(len(sendit.tree(self.site.data)), 0)
        self.assertEqual(len(sendit.tree(self.site.path("done"))), 2)

    # ---- what is settled later ----

    def with_rows(self, site=None, **config):
        """The stage `rows` behind the store writes its row when it settles."""
        site = site or self.site
        os.makedirs(site.path("table"), exist_ok=True)
        stages = site.stages()
        stages[-1:-1] = [{"use": "hold"}]
        stages.append({"use": "rows", "config": dict({"table": "table", "count": "count"},
                                                     **config)})
        site.write_pipeline(stages)

    def test_a_stage_behind_it_settles_later(self):
        self.site.add_images(2)
        self.site.add_images(1, study=2)
        self.with_rows()
        self.go()
        self.assertEqual(self.batches(), ["HELD hold"] * 2)
        self.assertEqual(os.listdir(self.site.path("table")), [])
        self.resume()
        self.assertEqual(self.go()["stored"], 3)
        self.assertEqual(sorted(os.listdir(self.site.path("table"))), ["b1", "b2"])
        self.assertEqual(self.held(), [])

    def test_held_files_stay_until_all_is_settled(self):
        self.site.add_images(2)
        self.with_rows(does="fail", times=1)
        self.go()
        self.resume()
        self.go(expect=1)
        self.assertEqual(self.batches(), ["DONEPROCESSING"])
        self.assertEqual(len(self.held()), 2)
        self.go()
        self.assertEqual(self.site.counts()["stored"], 2)
        self.assertEqual(self.batches(), ["DONE"])
        self.assertEqual(self.held(), [])

    def test_one_released_while_the_others_are_settled(self):
        """It comes to rest alone: what is settled is not done again."""
        self.site.add_images(3)
        self.with_rows(does="fail", times=1)
        stages = self.read()
        stages[4:4] = [self.deed("picky", does="quarantine", on=["2"])]
        self.site.write_pipeline(stages)
        self.go()
        self.resume()
        self.go(expect=1)
        self.assertEqual(self.batches(), ["DONEPROCESSING"])
        self.ask("quarantine", "release", self.image("test.held"), "--because", "seen")
        self.go()
        self.assertEqual(self.batches(), ["HELD hold"])
        self.assertEqual(len(sendit.images(self.site.clean)), 2)
        self.assertEqual(len(self.held()), 1)
        self.resume()
        self.assertEqual(self.go()["stored"], 3)
        self.assertEqual(self.batches(), ["DONE"])

    def test_a_stage_before_it_that_settles_later_is_refused(self):
        self.site.add_images(1)
        self.with_rows()
        stages = self.read()
        self.refuse(stages + [{"use": "hold", "id": "late"}, self.deed("behind")], "rows",
                    'move it behind "late"')

    # ---- what people decide ----

    def image(self, code):
        for image in self.ask("quarantine", "list", "b1", "--json").json:
            if image["code"] == code:
                return image["image"]
        self.fail("nothing is held as " + code)

    def test_an_image_that_is_released_rests_with_the_others(self):
        self.site.add_images(3)
        self.write(before=[self.deed("picky", does="quarantine", on=["2"])])
        self.go()
        self.assertEqual(len(self.held()), 2)
        self.ask("quarantine", "release", self.image("test.held"), "--because", "seen")
        self.assertEqual(self.batches(), ["QUEUE"])
        self.go()
        self.assertEqual(self.batches(), ["HELD review"])
        self.assertEqual(len(self.held()), 3)
        self.assert_nothing_out()
        self.resume()
        self.assertEqual(self.go()["stored"], 3)
        self.assertEqual(self.batches(), ["DONE"])

    def test_one_released_after_the_others_were_resumed_makes_them_rest_again(self):
        self.site.add_images(3)
        self.write(before=[self.deed("picky", does="quarantine", on=["2"])])
        self.go()
        self.resume()
        self.ask("quarantine", "release", self.image("test.held"), "--because", "seen")
        self.go()
        self.assertEqual(self.batches(), ["HELD review"])
        self.assert_nothing_out()
        self.assertEqual(len(self.held()), 3)
        self.resume()
        self.assertEqual(self.go()["stored"], 3)

    def test_one_held_behind_it_goes_on_from_its_held_file(self):
        self.site.add_images(3)
        self.write(after=[self.deed("picky", does="quarantine", on=["2"])])
        self.go()
        self.resume()
        answer = self.go()
        self.assertEqual((answer["stored"], answer["quarantined"]), (2, 1))
        self.assertEqual(self.batches(), ["DONE"])
        self.assertEqual(len(self.held()), 1)  # its only copy that is safe
        shutil.rmtree(self.site.data)
        os.mkdir(self.site.data)
        self.ask("quarantine", "release", self.image("test.held"), "--because", "seen")
        self.assertEqual(self.go()["stored"], 3)
        self.assertEqual(self.batches(), ["DONE"])
        self.assertEqual(self.held(), [])

    def test_one_that_is_dropped_leaves_no_file(self):
        self.site.add_images(2)
        self.write(after=[self.deed("picky", does="quarantine", on=["2"])])
        self.go()
        self.resume()
        self.go()
        self.ask("quarantine", "drop", self.image("test.held"), "--because", "no")
        self.go()
        self.assertEqual(self.held(), [])

    def test_what_was_taken_past_an_anonymizer_does_not_rest(self):
        """Behind the hold nobody would know what is owed, whatever the policy asks."""
        self.site.add_images(2)
        stages = self.site.stages()
        stages[3] = {"use": "talks", "id": "talks", "allow": ["network", "sends-phi",
                                                              "grant:ids.replaced",
                                                              "grant:deid.header"],
                     "config": {"does": "quarantine", "on": ["2"]}}
        stages[-1:-1] = [{"use": "hold"}]
        self.site.write_pipeline(stages, policy={"egress_needs": [], "because": "a test"})
        self.go()
        self.assertEqual(len(self.held()), 1)
        self.ask("quarantine", "release", self.image("test.held"), "--because", "seen")
        self.assert_reasons(self.go(), host__label=1)
        self.assertEqual(len(self.held()), 1)
        self.assertEqual(self.batches(), ["HELD hold"])

    # ---- again ----

    def test_retry_takes_it_from_the_originals(self):
        self.site.add_images(3)
        self.write()
        self.go()
        answer = self.ask("retry", "b1", "--json").json
        self.assertEqual(answer[0]["images"], 3)
        self.assertEqual(self.batches(), ["QUEUE"])
        self.assertEqual(self.held(), [])
        self.go()
        self.assertEqual(self.batches(), ["HELD review"])
        self.assertEqual(len(self.held()), 3)

    def test_retry_leaves_what_has_no_original(self):
        self.site.add_images(3)
        self.write()
        self.go()
        os.unlink(os.path.join(self.site.data, "study1", "IM00002"))
        answer = self.ask("retry", "b1", "--json").json
        self.assertEqual((answer[0]["images"], answer[0]["originals_gone"]), (2, 1))
        self.assertEqual(len(self.held()), 1)
        self.go()
        self.assertEqual(self.batches(), ["HELD review"])
        self.assertEqual(len(self.held()), 3)
        self.resume()
        self.assertEqual(self.go()["stored"], 3)

    def test_what_failed_behind_it_goes_on_behind_it(self):
        self.site.add_images(3)
        self.write(after=[self.deed("fails", at="finish", does="fail", times=1, count="count")])
        self.go()
        self.resume()
        self.go(expect=1)
        self.assertEqual(self.batches(), ["ERROR"])
        self.assertEqual(len(self.held()), 3)
        self.assert_nothing_out()
        shutil.rmtree(self.site.data)
        os.mkdir(self.site.data)
        self.assertEqual(self.ask("retry", "b1", "--json").json[0]["images"], 3)
        self.assertEqual(self.go()["stored"], 3)
        self.assertEqual(self.held(), [])

    # ---- upgrades ----

    def test_the_pipeline_is_edited_meanwhile(self):
        self.site.add_images(2)
        self.write(before=[self.deed("early")])
        self.go()
        # Another policy, another order before it, a stage more behind it.
        self.write(after=[self.deed("late", edit=True, on=["1"])],
                   run={"stage_timeout": "1m"})
        self.resume()
        self.assertEqual(self.go()["stored"], 2)
        self.assertEqual(self.batches(), ["DONE"])

    def test_the_entry_is_switched_off_meanwhile(self):
        """It still says where to go on; what comes later does not rest."""
        self.site.add_images(2)
        self.write()
        self.go()
        self.resume()
        self.site.add_images(1, study=2)
        self.assertEqual(self.go("--set", "review.enabled=false")["stored"], 3)

    def test_the_entry_is_gone(self):
        self.site.add_images(2)
        self.write()
        self.go()
        self.write(hold=False)
        for args in (["resume"], ["resume", "b1"]):
            result = self.ask(*args, expect=3)
            self.assert_one_sentence(result, "b1", '"review"', "put it back", "sendit retry b1")
        self.assertEqual(self.batches(), ["HELD review"])
        self.assertEqual(len(self.held()), 2)
        self.write()
        self.resume()
        self.write(hold=False)
        self.site.add_images(1, study=2)
        answer = self.go(expect=1)  # the other batch is not in its way
        self.assertEqual((answer["stored"], answer["waiting"]), (1, 2))
        self.assertEqual(self.batches(), ["HELD review", "DONE"])
        self.assertEqual(len(self.held()), 2)
        self.assertIn("hold.gone", self.ask("log", "b1").out)
        self.write()
        self.resume()
        self.assertEqual(self.go()["stored"], 2)

    def test_the_policy_asks_for_more_meanwhile(self):
        self.site.add_images(1)
        self.write(policy={"egress_needs": [], "because": "a test"})
        stages = self.site.stages()
        del stages[3]
        stages[-1:-1] = [{"use": "hold"}]
        self.site.write_pipeline(stages, policy={"egress_needs": [], "because": "a test"})
        self.go()
        stages[3:3] = [{"use": "local-anonymizer"}]
        self.site.write_pipeline(stages)
        self.resume()
        answer = self.go()
        self.assert_reasons(answer, host__label=1)
        self.assert_nothing_out()

    # ---- bad input ----

    def test_refused_on_the_command_line(self):
        self.site.add_images(1)
        self.write()
        result = self.ask("resume")
        self.assertIn("nothing was run yet", result.out)
        self.go()
        for args, words in ((["b7"], ['no batch "b7"']), (["nonsense"], ['no batch "nonsense"']),
                            (["b1", "b7"], ['no batch "b7"'])):
            self.assert_one_sentence(self.ask("resume", *args, expect=2), *words)
            self.assertEqual(self.batches(), ["HELD review"])  # all of them or none
        self.assert_one_sentence(self.ask("resume", "b1", "b1", expect=2), "already")
        self.assertEqual(self.batches(), ["HELD review"])
        self.resume("b1")
        self.assert_one_sentence(self.ask("resume", "b1", expect=2), "was resumed already")
        self.go()
        self.assert_one_sentence(self.ask("resume", "b1", expect=2), "DONE", "does not rest")
        self.assertEqual(self.resume(), [])
        self.assertIn("no batch rests", self.ask("resume").out)

    def test_while_a_run_is_at_work(self):
        self.site.add_images(1)
        self.write()
        self.go()
        self.write(after=[self.deed("slow", does="slow")])
        self.resume()
        process = self.site.start("run", "-q", "--plugins", sendit.test_stages())
        try:
            time.sleep(0.7)
            self.assert_one_sentence(self.ask("resume", expect=3), str(process.pid))
        finally:
            process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)

    def refuse(self, stages, *words, **members):
        self.site.write_pipeline(stages, **members)
        for command in ("plan", "run", "resume"):
            result = self.ask(command, expect=3)
            self.assert_one_sentence(result, *words)
            self.assertRegex(result.err, r"pipeline\.json:\d+:\d+: ")

    def test_entries_that_are_refused(self):
        self.site.add_images(1)
        hold = {"use": "hold"}
        at = self.site.stages
        self.refuse([hold] + at(), "importer", "move it before")
        self.refuse(at() + [hold], "hold", "no enabled stage behind it")
        self.refuse(at() + [hold, {"use": "hold", "id": "other"}], "no enabled stage behind it")
        self.refuse(at()[:4] + [hold, hold] + at()[4:], 'two entries are called "hold"')
        self.refuse(at()[:4] + [dict(hold, id="Review")] + at()[4:], "[a-z]")
        self.refuse(at()[:4] + [dict(hold, config={})] + at()[4:], "config", "no such key")
        self.refuse(at()[:4] + [dict(hold, allow=["network"])] + at()[4:], "allow")
        self.refuse(at()[:4] + [dict(hold, because=1)] + at()[4:], "because")
        self.refuse(at()[:4] + [dict(hold, enabled="no")] + at()[4:], "enabled")
        self.refuse(at()[:4] + [hold, {"use": "verify", "allow": [
            "originals", "grant:deid.verified"]}] + at()[4:],
                    "verify", "before any edit", 'move it before "hold"')
        self.refuse(at()[:3] + [hold] + at()[4:], "file-store", "deid.header")  # proved as ever
        self.refuse(at()[:4] + [hold, self.deed("checks")], "dry", dry=True)

    def test_a_file_in_the_state_folder_that_is_not_what_it_was(self):
        spoils = {
            "gone": os.unlink,
            "empty": lambda path: open(path, "wb").close(),
            "cut": lambda path: os.truncate(path, os.path.getsize(path) - 1),
            "another pixel": flip_last,
            "another": lambda path: sendit.save(sendit.make_image(7, 7, patient="OTHER"), path),
            "a link": lambda path: (os.rename(path, path + "x"), os.symlink(path + "x", path)),
            "a folder": lambda path: (os.unlink(path), os.mkdir(path)),
            "a pipe": lambda path: (os.unlink(path), os.mkfifo(path)),
        }
        for what, spoil in spoils.items():
            with self.subTest(what):
                site = self.new_site()
                site.add_images(3, size=256)
                self.write(site=site)
                self.go(site=site)
                spoil(os.path.join(site.state, "held", self.held(site)[1]))
                self.resume(site=site)
                answer = self.go(expect=1, site=site)
                self.assertEqual((answer["stored"], answer["failed"]), (2, 1))
                self.assert_reasons(answer, hold__lost=1)
                self.assertEqual(len(sendit.images(site.clean)), 2)
                # From its original it is made again, and rests again.
                self.ask("retry", "b1", site=site)
                self.go(site=site)
                self.assertEqual(self.batches(site), ["HELD review"])
                self.resume(site=site)
                self.assertEqual(self.go(site=site)["stored"], 3)

    def test_no_room_for_what_rests(self):
        """The batch waits for room, and nothing of it is lost."""
        for i in range(1, 9):
            self.site.add(sendit.make_image(i, 1, size=256), "study1", "IM%05d" % i)
        os.rename(os.path.join(self.site.state, "site.key"), self.site.path("site.key"))
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=700k", "none",
                               self.site.state], stderr=subprocess.DEVNULL, check=False)
        if done.returncode:
            self.skipTest("no tmpfs may be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.site.state], check=False)
        shutil.copy(self.site.path("site.key"), self.site.state)
        run = {"min_free": "0B", "retry_for": "0s"}
        self.write(run=run)
        result = self.ask("run", expect=4)
        self.assertIn("room", result.err)
        self.assertEqual(self.batches(), ["QUEUE"])
        self.assertEqual(self.site.counts()["waiting"], 8)
        subprocess.run(["mount", "-o", "remount,size=8m", self.site.state], check=True)
        self.assertEqual(self.go()["resting"], 8)
        self.resume()
        self.assertEqual(self.go()["stored"], 8)

    def test_a_state_folder_with_a_link_in_it(self):
        self.site.add_images(1)
        self.write()
        elsewhere = self.new_folder()
        os.symlink(elsewhere, os.path.join(self.site.state, "held"))
        result = self.ask("run", expect=4)
        self.assertIn("cannot be written into the state folder", result.err)
        self.assertIn("hold.place", self.ask("log", "b1").out)
        self.assertEqual(os.listdir(elsewhere), [])
        os.unlink(os.path.join(self.site.state, "held"))
        self.go()
        self.assertEqual(self.batches(), ["HELD review"])

    def test_ledger_and_schema_know_it(self):
        schema = self.ask("stages", "--schema").json
        self.assertIn('"hold"', json.dumps(schema))
        self.site.add_images(1)
        self.write()
        plan = self.ask("plan", "--json").json
        entry = plan["stages"][4]
        self.assertEqual((entry["id"], entry["use"]), ("review", "hold"))
        path = os.path.join(self.site.data, "study1", "IM00001")
        self.ask("diff", path)

    def test_duplicates_in_two_batches_that_rest(self):
        self.site.add(sendit.make_image(1, 1), "a", "IM1")
        self.site.add(sendit.make_image(1, 1), "b", "IM1")
        self.write()
        self.go()
        self.assertEqual(len(self.held()), 2)
        self.resume()
        answer = self.go()
        self.assertEqual((answer["stored"], answer["ignored"]), (1, 1))
        self.assert_reasons(answer, import__duplicate=1)
        self.assertEqual(self.held(), [])


class HoldKill(Resting):
    """kill -9 while images come to rest, and while they go on."""

    def fill(self, site):
        for study in range(1, 5):
            site.add_images(25, study=study, size=64)
            site.add(sendit.make_image(90, study, BurnedInAnnotation="YES"), "study%d" % study, "B")

    def kill_once(self, site, chance, seconds):
        site.run_and_kill(seconds * chance.uniform(0.1, 1), chance, "run", "--json", "--workers", "2",
                          "--plugins", sendit.test_stages())

    def run_out(self, site):
        for _ in range(3):
            self.go(site=site)
            if "QUEUE" not in self.batches(site):
                break

    def test_kills(self):
        chance = random.Random(SEED)
        clean, counts = self.without_hold(self.fill, before=[self.deed("e", edit=True, on=["3"])],
                                          after=[self.deed("l", edit=True, on=["5"])])
        sides = {"before": [self.deed("e", edit=True, on=["3"])],
                 "after": [self.deed("l", edit=True, on=["5"])]}
        site = self.new_site()
        self.fill(site)
        self.write(site=site, **sides)
        began = time.monotonic()
        self.go(site=site)
        seconds = time.monotonic() - began
        for kill in range(KILLS):
            with self.subTest(kill=kill, seed=SEED):
                site = self.new_site()
                self.fill(site)
                self.write(site=site, **sides)
                self.kill_once(site, chance, seconds)
                self.run_out(site)
                self.assertEqual(self.batches(site), ["HELD review"] * 4)
                self.assertEqual(len(self.held(site)), 100)
                self.assertFalse([path for path in self.held(site) if not path.endswith(".dcm")])
                self.assertEqual(sendit.images(site.clean), [])
                self.resume(site=site)
                self.kill_once(site, chance, seconds)
                self.run_out(site)
                self.assertEqual(sendit.tree(site.clean), clean)
                self.assertEqual(site.counts(), counts)
                self.assertEqual(self.held(site), [])
                shutil.rmtree(site.folder)



class BeforeGoogle(test_gcs.Case):
    """De-identify today, send tomorrow: a hold before gcs-store."""

    def rest_before(self, *more):
        stages = self.site.stages()
        stages[-1:] = [{"use": "hold", "id": "review"}, self.entry()] + list(more)
        self.site.write_pipeline(stages, run={"retry_for": "2s"})

    def fill(self, site):
        site.add_images(3)
        site.add_images(2, study=2)
        site.add(sendit.make_image(9, 2, BurnedInAnnotation="YES"), "study2", "BURNED")

    def test_what_was_held_is_what_would_have_been_sent(self):
        self.fill(self.site)
        self.stored(stored=5, quarantined=1)
        wanted = {name: resource["metadata"] for name, resource in self.objects().items()}
        self.assertEqual(len(wanted), 2)
        other = self.new_site()
        self.fill(other)
        self.site, self.fake = other, self.start_google(tls=False)
        self.rest_before()
        self.assert_counts(self.run_json(), waiting=5, quarantined=1)
        self.assertEqual(self.objects(), {})
        self.run_sendit("resume", "b2")
        self.assert_counts(self.run_json(), stored=2, quarantined=1)
        self.assertEqual(len(self.objects()), 1)
        shutil.rmtree(self.site.data)
        os.mkdir(self.site.data)
        self.run_sendit("resume")
        self.assert_counts(self.run_json(), stored=3)
        self.assertEqual({name: resource["metadata"] for name, resource in self.objects().items()},
                         wanted)
        self.assert_discovery(self.fake)

    def test_google_need_not_answer_before(self):
        self.site.add_images(2)
        self.rest_before()
        self.fake.stop()
        self.assert_counts(self.run_json(), waiting=2)  # nobody asks it
        self.assertEqual(self.run_sendit("status", "--json").json["batches"][0]["state"], "HELD")

    def test_one_released_while_it_rests_is_in_the_same_archive(self):
        self.fill(self.site)
        self.rest_before()
        self.run_json()
        for label in ("pixels.checked", "filters.passed"):
            (image,) = self.run_sendit("quarantine", "list", "b2", "--json").json
            self.run_sendit("quarantine", "release", image["image"], "--because", "seen",
                            "--vouch", label)
            self.run_json()
        self.run_sendit("resume")
        self.assert_counts(self.run_json(), stored=6)
        self.assertEqual(sorted(len(test_gcs.archive_of(self.fake, name))
                                for name in self.objects()), [3, 3])

    def rows_of(self, table):
        return sorted(json.dumps(row, sort_keys=True, default=str)
                      for row in self.fake.rows("IRB12345", table))

    def table_entry(self):
        fake = self.fake
        return {"use": "bigquery-store", "allow": ["network", "secrets", "emulator"],
                "config": {"dataset": "IRB12345", "project": google.PROJECT,
                           "endpoint": fake.origin, "token_url": fake.token_url,
                           "metadata_url": fake.metadata_url, "poll": "1ms",
                           "credentials": self.credentials(fake), "retry_delay": "1ms"}}

    def test_between_the_stores(self):
        """Rows are written when it goes on, of objects that are there since it came to rest."""
        self.fill(self.site)
        stages = self.site.stages()
        stages[-1:] = [self.entry(), {"use": "hold"}, self.table_entry()]
        self.site.write_pipeline(stages, run={"retry_for": "2s"})
        self.assert_counts(self.run_json(), waiting=5, quarantined=1)
        names = sorted(self.objects())
        self.assertEqual(len(names), 2)
        self.assertEqual(self.fake.asked(op="bigquery.multipart"), [])
        self.run_sendit("resume")
        self.run_json()
        self.assert_counts(self.site.counts(), stored=5, quarantined=1)
        self.assertEqual(sorted(self.objects()), names)
        self.assertEqual((len(self.rows_of("dicom")), len(self.rows_of("instances"))), (2, 5))
        for name in names:
            self.assertTrue(any(name in row for row in self.rows_of("instances")), name)

    def test_before_both(self):
        self.fill(self.site)
        self.rest_before(self.table_entry())
        self.run_json()
        self.run_sendit("resume")
        self.run_json()
        self.assert_counts(self.site.counts(), stored=5, quarantined=1)
        self.assertEqual((len(self.rows_of("dicom")), len(self.rows_of("instances"))), (2, 5))
        self.run_sendit("reconcile")


if __name__ == "__main__":
    unittest.main()
