# SPDX-License-Identifier: Apache-2.0
"""Second visits by hand: images that are released or dropped, batches that are taken again."""
import fcntl
import json
import os
import pwd
import re
import shutil
import sqlite3
import unittest

import pydicom
import sendit

WHY = "no text in its pixels: looked at it on a screen"
PERHAPS = "UNKNOWN"  # as Burned In Annotation: pixel-check holds what is no NO, deid.dicom a YES


class Visits(sendit.Case):
    def release(self, *args, expect=0, because=WHY):
        reason = [] if because is None else ["--because", because]
        return self.run_sendit("quarantine", "release", *args, *reason, expect=expect)

    def drop(self, *args, expect=0, because=WHY):
        reason = [] if because is None else ["--because", because]
        return self.run_sendit("quarantine", "drop", *args, *reason, expect=expect)

    def held(self, batch="b1"):
        """The images in quarantine: id -> (stage, code)."""
        return {item["image"]: (item["stage"], item["code"]) for item in
                self.run_sendit("quarantine", "list", batch, "--json").json}

    def show(self, image):
        return self.run_sendit("quarantine", "show", image, "--json").json[0]

    def rows(self, sql):
        database = sqlite3.connect(os.path.join(self.site.state, "ledger.db"))
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def refuse(self, result, *words):
        """One sentence, and nothing changed: no decision, nothing waits."""
        self.assertEqual(result.status, 2, str(result))
        for word in words:
            self.assertIn(word, result.err)
        self.assertEqual(result.out, "")

    def assert_unchanged(self):
        self.assertEqual(self.rows("SELECT count(*) FROM release"), [(0,)])
        self.assertEqual(self.rows("SELECT count(*) FROM item WHERE state = 'waiting'"), [(0,)])


class Release(Visits):
    """One batch: two that pass, b1-000003 held by pixel-check."""

    def setUp(self):
        super().setUp()
        self.site.add_images(2)
        self.path = self.site.add(sendit.make_image(3, BurnedInAnnotation=PERHAPS), "study1",
                                  "IM00003")
        self.image = "b1-000003"

    def first(self):
        self.assert_counts(self.run_json(), stored=2, quarantined=1)
        self.assertEqual(self.held(), {self.image: ("pixel-check", "pixel.burned_in")})

    def test_without_the_label_the_policy_holds_it(self):
        self.first()
        answer = self.release(self.image).out
        self.assertIn("passes over pixel-check", answer)
        self.assertEqual(self.site.counts()["waiting"], 1)
        self.run_json()
        self.assertEqual(self.held(), {self.image: ("file-store", "host.label")})
        self.assertEqual(self.show(self.image)["labels"], "filters.passed ids.replaced deid.header")
        self.assertEqual(len(sendit.images(self.site.clean)), 2)

    def test_vouched_it_is_stored_as_if_it_had_passed(self):
        self.first()
        before = sendit.tree(self.site.clean)
        self.release(self.image, "--vouch", "pixels.checked")
        self.run_json()
        self.assertEqual(self.held(), {})
        self.assertEqual(self.site.counts()["stored"], 3)
        after = sendit.tree(self.site.clean)
        self.assertEqual({path: after[path] for path in before}, before)
        self.assertEqual(len(after), 3)
        for path in sendit.images(self.site.clean):
            ds = pydicom.dcmread(path)  # what later stages do was done
            self.assertNotEqual(ds.PatientID, "P-1")
            self.assertNotIn("Doe", str(ds.PatientName))

    def test_vouched_at_the_store_that_lacked_it(self):
        self.first()
        self.release(self.image)
        self.run_json()
        self.assertIn("one more try", self.release(self.image, "--vouch", "pixels.checked").out)
        self.run_json()
        self.assertEqual(self.held(), {})
        self.assertEqual([(one["stage"], one["code"], one["vouched"])
                          for one in self.show(self.image)["decisions"]],
                         [("pixel-check", "pixel.burned_in", ""),
                          ("file-store", "host.label", "pixels.checked")])

    def test_who_when_and_why_is_kept(self):
        self.first()
        self.release(self.image, "--vouch", "pixels.checked")
        user = pwd.getpwuid(os.getuid()).pw_name
        one = self.show(self.image)["decisions"][0]
        self.assertEqual([one[key] for key in ("decision", "stage", "code", "vouched", "because",
                                               "user", "applies")],
                         ["released", "pixel-check", "pixel.burned_in", "pixels.checked", WHY,
                          user, True])
        self.assertGreater(one["time_ms"], 1e12)
        logged = self.run_sendit("log", "b1", "--json").json["decisions"]
        self.assertEqual(logged, [one])
        for args in (["quarantine", "show", self.image], ["log", "b1"]):
            text = self.run_sendit(*args).out
            for word in (WHY, user, "released", "pixels.checked"):
                self.assertIn(word, text)
        audit = self.rows("SELECT event, json FROM audit WHERE stage = 'core'")
        self.assertEqual(audit[0][0], "quarantine.released")
        self.assertEqual(json.loads(audit[0][1]),
                         {"image": self.image, "stage": "pixel-check", "code": "pixel.burned_in",
                          "vouched": "pixels.checked", "because": WHY, "user": user})

    def test_status_says_what_waits_and_why(self):
        self.first()
        self.release(self.image)
        text = self.run_sendit("status").out
        self.assertRegex(text, r"(?m)^b1 +QUEUE +3 +2 +0 +0 +0 +1 ")
        self.assertRegex(text, r"(?m)^b1 +core +quarantine\.released +Released from quarantine")
        self.run_json()
        self.assertNotIn("quarantine.released", self.run_sendit("status").out)
        self.run_sendit("retry", "b1")  # what was said before the batch was closed is over
        self.assertEqual([one["code"] for one in self.run_sendit("status", "--json").json["waits"]],
                         ["batch.retried"])

    def test_json(self):
        self.first()
        answer = self.release(self.image, "--vouch", "pixels.checked", "--json").json
        self.assertEqual(answer, [{"image": self.image, "batch": "b1", "decision": "released",
                                   "stage": "pixel-check", "code": "pixel.burned_in",
                                   "vouched": "pixels.checked", "passes_over": True}])

    def test_past_the_anonymizer_there_is_no_way_out(self):
        """Even where the policy was lowered to nothing at all."""
        for policy in (None, {"egress_needs": [], "because": "phantoms only"}):
            with self.subTest(policy=policy):
                self.site = self.new_site()
                if policy:
                    self.site.write_pipeline(policy=policy)
                self.site.add(sendit.make_image(1, PatientID=None), "study1", "IM1")
                self.assert_counts(self.run_json(), quarantined=1)
                self.assertEqual(self.held(), {"b1-000001": ("local-anonymizer",
                                                             "ids.no_patient")})
                self.release("b1-000001")
                self.assert_counts(self.run_json(), quarantined=1)
                self.assertEqual(self.held(), {"b1-000001": ("file-store", "host.label")})
                self.assert_nothing_out()
                for label in ("ids.replaced", "deid.header"):
                    self.refuse(self.release("b1-000001", "--vouch", label, expect=2), label,
                                "stages alone")

    def test_what_the_core_held_gets_one_more_try(self):
        self.first()
        whole = self.site.path("whole")
        cut = self.site.add(sendit.make_image(4), "study1", "IM00004")
        shutil.copyfile(cut, whole)
        os.truncate(cut, os.path.getsize(cut) - 40)
        self.run_json()
        self.assertEqual(self.held("b2"), {"b2-000001": ("core", "dicom.truncated")})
        self.assertIn("one more try", self.release("b2-000001").out)
        self.run_json()
        self.assertEqual(self.held("b2"), {"b2-000001": ("core", "dicom.truncated")})
        shutil.copyfile(whole, cut)
        self.release("b2-000001")
        self.run_json()
        self.assertEqual(self.held("b2"), {})
        self.assertEqual(self.site.counts()["stored"], 3)

    def test_a_file_that_changed_is_not_what_was_looked_at(self):
        self.first()
        self.release(self.image, "--vouch", "pixels.checked")
        sendit.save(sendit.make_image(3, BurnedInAnnotation=PERHAPS, PatientComments="more"),
                    self.path)
        self.run_sendit("run", "data/none", expect=4)  # another visit, which takes nothing
        self.assertEqual(self.site.counts()["waiting"], 1)
        self.run_json()
        self.assertEqual(self.held(), {self.image: ("pixel-check", "pixel.burned_in")})
        self.assertFalse(self.show(self.image)["decisions"][0]["applies"])
        self.assertIn("does not hold any more", self.run_sendit("quarantine", "show",
                                                                self.image).out)
        # Nor later, when the file is the one that the ledger knows.
        self.run_sendit("retry", "b1")
        self.run_json()
        self.assertIn(self.image, self.held())
        self.assertEqual(len(sendit.images(self.site.clean)), 2)

    def test_a_file_that_is_gone(self):
        self.first()
        self.release(self.image)
        os.remove(self.path)
        self.run_sendit("run", expect=1)
        self.assertEqual(self.site.counts()["failed"], 1)

    def test_what_was_moved_away_does_not_trouble_a_release(self):
        self.site.write_pipeline([dict(self.site.stages()[0], config={
            "folders": ["data"], "when_done": "move", "done_folder": "done"})] +
            self.site.stages()[1:])
        self.first()
        self.assertTrue(os.path.exists(self.path))
        self.assertFalse(os.path.exists(os.path.join(self.site.data, "study1", "IM00001")))
        self.release(self.image, "--vouch", "pixels.checked")
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 3)
        self.assertEqual(len(os.listdir(self.site.path("done", "data", "study1"))), 3)

    def test_two_stages_are_passed_over_in_turn(self):
        """A stage behind the first holds it, too: both decisions hold from then on."""
        stages = self.site.stages()
        stages.insert(2, {"use": "pixel-check", "id": "again"})
        self.site.write_pipeline(stages)
        self.first()
        self.release(self.image, "--vouch", "pixels.checked")
        self.run_json()
        self.assertEqual(self.held(), {self.image: ("again", "pixel.burned_in")})
        self.release(self.image)
        self.run_json()
        self.assertEqual(self.held(), {})

    def test_burned_in_is_held_by_the_filter_too(self):
        """deid.dicom names what says YES: whoever looked at it vouches twice."""
        self.site.add(sendit.make_image(4, BurnedInAnnotation="YES"), "study1", "IM00004")
        self.run_json()
        self.release("b1-000004", "--vouch", "pixels.checked")
        self.run_json()
        self.assertEqual(self.held()["b1-000004"], ("deid-filter", "filter.blacklist"))
        self.assertIn("reject-burned-in-yes", self.show("b1-000004")["text"])
        self.release("b1-000004", "--vouch", "filters.passed")
        self.run_json()
        self.assertEqual(list(self.held()), [self.image])

    def test_several_at_once(self):
        self.site.add(sendit.make_image(4, BurnedInAnnotation=PERHAPS), "study1", "IM00004")
        self.run_json()
        self.release("b1-000003", "b1-000004", "--vouch", "pixels.checked")
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 4)

    def test_a_worker_that_is_killed_does_not_lose_it(self):
        """The decision is in the ledger, not in the run."""
        self.first()
        self.release(self.image, "--vouch", "pixels.checked")
        process = self.site.start("run")
        process.kill()
        process.communicate()
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 3)

    # ---- what is refused ----

    def test_images_that_cannot_be_released(self):
        self.first()
        for args, words in (((), ["needs the id of an image"]),
                            (("b1-000009",), ['no image "b1-000009"']),
                            (("b9-000001",), ['no image "b9-000001"']),
                            (("b1",), ['no image "b1"']),
                            (("",), ['no image ""']),
                            (("../../etc/passwd",), ["no image"]),
                            (("b1-000001; drop table item",), ["no image"]),
                            (("b1-000001",), ["not in quarantine: it is stored"]),
                            ((self.image, self.image), ["not in quarantine: it is waiting"]),
                            ((self.image, "b1-000009"), ['no image "b1-000009"'])):
            for command in (self.release, self.drop):
                if command == self.drop and len(args) == 2 and args[0] == args[1]:
                    words = ["was dropped"]
                with self.subTest(args=args, command=command.__name__):
                    self.refuse(command(*args, expect=2), *words)
                    self.assert_unchanged()

    def test_reasons_that_are_none(self):
        self.first()
        for because, words in ((None, ["needs --because"]), ("", ["--because"]),
                               ("  \t ", ["a sentence"]), ("two\nlines", ["on one line"]),
                               ("\033[31m", ["a sentence"]), (b"\xff\xfe", ["UTF-8"]),
                               ("x" * 501, ["500 bytes"])):
            for command in (self.release, self.drop):
                with self.subTest(because=because):
                    self.refuse(command(self.image, because=because, expect=2), *words)
        self.assert_unchanged()
        self.release(self.image, because="Größe geprüft: " + "x" * 480)

    def test_labels_that_nobody_can_vouch_for(self):
        self.first()
        for label, words in (("ids.replaced", ["stages alone"]), ("deid.header", ["stages alone"]),
                             ("deid.verified", ["stages alone"]),
                             ("pixels.checked ids.replaced", ["one label"]),
                             (" ids.replaced", ["one label"]),
                             ("filters.passed", ['does not grant "filters.passed"']),
                             ("pixels.checkd", ['did you mean "pixels.checked"?']),
                             ("no.such", ['does not grant "no.such"']), ("", ["--vouch"])):
            with self.subTest(label=label):
                self.refuse(self.release(self.image, "--vouch", label, expect=2), *words)
                self.refuse(self.release(self.image, "--vouch", "pixels.checked", "--vouch", label,
                                         expect=2), *words)
        self.assert_unchanged()

    def test_nobody_vouches_where_the_core_held(self):
        self.site.add_bytes(b"no DICOM at all" * 20, "study1", "IM00004")
        self.run_json()
        self.refuse(self.release("b1-000004", "--vouch", "pixels.checked", expect=2),
                    "one more try: no label")
        self.assert_unchanged()

    def test_nobody_vouches_in_place_of_a_stage_that_is_gone(self):
        self.first()
        stages = self.site.stages()
        stages[1]["id"] = "other"
        self.site.write_pipeline(stages)
        self.refuse(self.release(self.image, "--vouch", "pixels.checked", expect=2),
                    'stage "pixel-check"', "not enabled")
        self.assert_unchanged()
        self.release(self.image)
        self.run_json()
        self.assertEqual(self.held(), {self.image: ("other", "pixel.burned_in")})

    def test_a_pipeline_that_is_refused_vouches_for_nothing(self):
        self.first()
        self.site.write_pipeline(text="{")
        self.run_sendit("quarantine", "release", self.image, "--because", WHY, "--vouch",
                        "pixels.checked", expect=3)
        self.assert_unchanged()

    def test_options_that_do_not_belong(self):
        self.first()
        for args, words in ((["quarantine", "list", "--because", "x"], ["no --because"]),
                            (["quarantine", "show", self.image, "--vouch", "x"], ["no --vouch"]),
                            (["quarantine", "drop", self.image, "--because", "x", "--vouch",
                              "pixels.checked"], ["drop takes no --vouch"]),
                            (["quarantine", "release", self.image, "--all"], ["no --all"]),
                            (["run", "--because", "x"], ["no --because"]),
                            (["retry", "b1", "--vouch", "x"], ["no --vouch"]),
                            (["quarantine", "relase", self.image, "--because", "x"],
                             ['did you mean "release"?'])):
            with self.subTest(args=args):
                self.refuse(self.run_sendit(*args, expect=2), *words)
        self.assert_unchanged()

    def test_while_a_run_has_the_state(self):
        self.first()
        with open(os.path.join(self.site.state, "ledger.lock"), "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for args in (["quarantine", "release", self.image, "--because", WHY],
                         ["quarantine", "drop", self.image, "--because", WHY], ["retry", "b1"]):
                self.assert_one_sentence(self.run_sendit(*args, expect=3), "another sendit")
        self.assert_unchanged()

    def test_before_the_first_run(self):
        for args in (["quarantine", "release", self.image, "--because", WHY],
                     ["quarantine", "drop", self.image, "--because", WHY], ["retry", "b1"]):
            self.assertIn("nothing was run yet", self.run_sendit(*args).out)
            self.assertEqual(os.listdir(self.site.state), ["site.key"])

    def test_nothing_is_told(self):
        """Neither names of folders nor values, on no way out of these commands."""
        for number in (1, 2, 3):
            self.site.add(sendit.make_image(number, 7, name="Weidenbach^Rosa", patient="QX-77123",
                                            BurnedInAnnotation=PERHAPS), "WEIDENBACH", "R%d" % number)
        self.run_json()
        said = ""
        for form in ([], ["--json"]):
            for args, expect in ((["release", "b1-00000%d" % (1 + len(form)), "--because", WHY], 0),
                                 (["release", "b1-000009", "--because", WHY], 2),
                                 (["release", "b1-000003", "--because", WHY, "--vouch", "x"], 2)):
                result = self.run_sendit("quarantine", *args, *form, expect=expect)
                said += result.out + result.err
        self.drop("b1-000003")
        os.rename(os.path.join(self.site.data, "WEIDENBACH"), self.site.path("away"))
        self.run_sendit("run", "data/study1", expect=1)
        for args in (["retry", "b1"], ["log", "b1"], ["status"],
                     ["quarantine", "show", "b1-000001", "b1-000003"]):
            result = self.run_sendit(*args)
            said += result.out + result.err
        said += str(self.rows("SELECT * FROM audit")) + str(self.rows("SELECT * FROM release"))
        for word in ("weidenbach", "rosa", "77123", self.site.data):
            self.assertNotIn(word, said.lower())

    # ---- dropping ----

    def test_dropped_is_for_good(self):
        self.first()
        self.assertIn("for good", self.drop(self.image).out)
        self.assertTrue(self.show(self.image)["dropped"])
        self.assertIn("of which 1 dropped", self.run_sendit("quarantine", "list").out)
        self.assertIn("DROPPED", self.run_sendit("quarantine", "list", "b1").out)
        self.assertIn("dropped", self.run_sendit("log", "b1").out)
        self.assertEqual([one["decision"] for one in self.show(self.image)["decisions"]],
                         ["dropped"])
        self.assertEqual(self.site.counts()["quarantined"], 1)
        for command in (self.release, self.drop):
            self.refuse(command(self.image, expect=2), "was dropped")
        self.assertEqual(self.run_sendit("retry", "b1", "--all", "--json").json[0]["images"], 2)
        self.assert_counts(self.run_json(), stored=2, quarantined=1)
        self.assertTrue(os.path.exists(self.path))


class Retry(Visits):
    def change_profile(self):
        stages = self.site.stages()
        stages[sendit.at(stages, "local-anonymizer")]["config"] = {"profile": ["basic"]}
        self.site.write_pipeline(stages)

    def differs(self, *args):
        answer = self.run_sendit("retry", *args, "--json").json
        return [one["what"] for one in answer[0]["differs"]]

    def test_nothing_is_done_again_by_itself(self):
        self.site.add_images(2)
        self.run_json()
        before = sendit.tree(self.site.clean)
        self.change_profile()
        self.assert_counts(self.run_json())
        self.assertEqual(sendit.tree(self.site.clean), before)

    def test_nothing_differs_and_nothing_becomes_of_it(self):
        self.site.add_images(2)
        self.run_json()
        before = sendit.tree(self.site.clean)
        self.assertIn("nothing differs", self.run_sendit("retry", "b1").out)
        self.assert_counts(self.run_json(), stored=2)
        self.assertEqual(sendit.tree(self.site.clean), before)

    def test_another_profile_replaces_where_it_may(self):
        self.site.add_images(2)
        self.run_json()
        before = sendit.tree(self.site.clean)
        self.change_profile()
        result = self.run_sendit("retry", "b1")
        self.assertRegex(result.out, r"(?m)^profile and recipes of local-anonymizer +"
                                     r"[0-9a-f]{12} +[0-9a-f]{12}$")
        self.assertRegex(result.out, r"(?m)^pipeline and stages +[0-9a-f]{12} +[0-9a-f]{12}$")
        self.assertIn("sendit run --set file-store.on_conflict=replace", result.out)
        self.assert_counts(self.run_json("--set", "file-store.on_conflict=replace"), stored=2)
        after = sendit.tree(self.site.clean)
        self.assertEqual(set(after), set(before))
        self.assertFalse(set(after.values()) & set(before.values()))

    def test_another_profile_is_held_where_it_may_not(self):
        self.site.add_images(2)
        self.run_json()
        before = sendit.tree(self.site.clean)
        self.change_profile()
        self.run_sendit("retry", "b1")
        self.assert_counts(self.run_json(), quarantined=2)
        self.assertEqual(set(self.held().values()), {("file-store", "file.conflict")})
        self.assertEqual(sendit.tree(self.site.clean), before)

    def test_what_differs_is_named(self):
        self.site.add_images(1)
        self.run_json()
        self.assertEqual(self.differs("b1"), [])
        self.run_json()
        stages = self.site.stages()
        stages[1]["config"] = {"on_burned_in": "pass"}
        self.site.write_pipeline(stages)
        self.assertEqual(self.differs("b1"), ["pipeline and stages"])
        self.run_json()
        self.site.write_pipeline(stages[:1] + [dict(stages[1], id="mine")] + stages[2:] +
                                 [{"use": "file-store", "id": "more",
                                   "config": {"folder": "more"}}])
        answer = self.run_sendit("retry", "b1", "--json").json[0]["differs"]
        self.assertEqual([one["what"] for one in answer],
                         ["pipeline and stages", "stage 2", "stage 6"])
        self.assertRegex(answer[1]["was"], r"^pixel-check 1\.0\.0 \([0-9a-f]{12}\)$")
        self.assertRegex(answer[1]["now"], r"^mine 1\.0\.0 ")
        self.assertEqual(answer[2]["was"], "none")

    def test_a_recipe_that_was_written_anew(self):
        """pipeline.json is the same: what it names is not."""
        recipe = "FORMAT dicom\n\n%%filter blacklist\n\nLABEL no %s\n  contains Modality %s\n"
        stages = self.site.stages()
        stages[sendit.at(stages, "deid-filter")]["config"] = {"recipes": ["./mine"]}
        self.site.write_pipeline(stages)
        self.site.add_bytes((recipe % ("US", "US")).encode(), "..", "mine")
        self.site.add_images(2)
        self.assert_counts(self.run_json(), stored=2)
        self.site.add_bytes((recipe % ("CT", "CT")).encode(), "..", "mine")
        self.assertEqual(self.differs("b1"), ["profile and recipes of deid-filter"])
        self.assert_counts(self.run_json(), quarantined=2)
        self.release("b1-000001", "--vouch", "filters.passed")
        self.assert_counts(self.run_json(), stored=1, quarantined=1)
        self.refuse(self.release("b1-000002", "--vouch", "pixels.checked", expect=2),
                    'does not grant "pixels.checked"')

    def test_of_a_batch_in_error_only_what_failed(self):
        self.site.add_images(3)
        gone = os.path.join(self.site.data, "study1", "IM00002")
        self.site.add(sendit.make_image(9, BurnedInAnnotation=PERHAPS), "study1", "IM00009")
        self.break_file(gone)
        self.assertEqual(self.run_sendit("retry", "b1", "--json").json[0]["images"], 1)
        self.assertEqual(self.site.counts()["waiting"], 1)
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 3)
        self.assertEqual(self.run_sendit("status", "--json").json["batches"][0]["state"], "DONE")

    def break_file(self, path):
        """A run in which that file vanishes after it was queued, and is there again then."""
        stages = self.site.stages()
        stages[-1]["config"]["folder"] = "blocked"
        self.site.write_pipeline(stages)
        self.site.add_bytes(b"", "..", "blocked")
        self.run_sendit("run", expect=4)  # fed, and put back
        os.rename(path, self.site.path("aside"))
        self.site.write_pipeline()
        self.run_sendit("run", expect=1)
        os.rename(self.site.path("aside"), path)

    def test_of_a_batch_in_error_all(self):
        self.site.add_images(3)
        self.break_file(os.path.join(self.site.data, "study1", "IM00002"))
        self.assertEqual(self.run_sendit("retry", "b1", "--all", "--json").json[0]["images"], 3)
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 3)

    def test_a_folder_that_is_marked_gets_its_name_back(self):
        stages = self.site.stages()
        stages[0]["config"].update(when_done="move", done_folder="done")
        blocked = [dict(stage, config=dict(stage.get("config", {}))) for stage in stages]
        blocked[-1]["config"]["folder"] = "blocked"
        self.site.add_images(2)
        folder = os.path.join(self.site.data, "study1")
        self.site.add_bytes(b"", "..", "blocked")
        self.site.write_pipeline(blocked)
        self.run_sendit("run", expect=4)
        os.rename(os.path.join(folder, "IM00002"), self.site.path("aside"))
        self.site.write_pipeline(stages)
        self.run_sendit("run", expect=1)
        self.assertEqual(os.listdir(self.site.data), ["study1.err"])
        os.rename(self.site.path("aside"), os.path.join(folder + ".err", "IM00002"))
        self.run_sendit("retry", "b1", "--all")
        self.assertEqual(os.listdir(self.site.data), ["study1"])
        self.run_json()
        self.assertEqual(self.site.counts()["stored"], 2)
        self.assertEqual(len(os.listdir(self.site.path("done", "data", "study1"))), 2)

    def test_what_was_moved_away_stays_stored(self):
        stages = self.site.stages()
        stages[0]["config"].update(when_done="move", done_folder="done")
        self.site.write_pipeline(stages)
        self.site.add_images(2)
        self.run_json()
        result = self.run_sendit("retry", "b1")
        self.assertIn("2 images stay as they are", result.out)
        self.assertIn("nothing that could be taken again", result.out)
        self.assertEqual(self.site.counts()["stored"], 2)
        self.assertEqual(self.site.counts()["waiting"], 0)

    def test_released_images_stay_released(self):
        self.site.add(sendit.make_image(1, BurnedInAnnotation=PERHAPS), "study1", "IM1")
        self.run_json()
        self.release("b1-000001", "--vouch", "pixels.checked")
        self.run_json()
        self.run_sendit("retry", "b1")
        self.assert_counts(self.run_json(), stored=1)

    def test_batches_that_cannot_be_taken_again(self):
        self.site.add_images(1)
        self.run_json()
        for args, words in ((["b9"], ['no batch "b9"']), (["b1-000001"], ["no batch"]),
                            ([""], ["no batch"]), (["../b1"], ["no batch"]),
                            (["b1", "b9"], ['no batch "b9"']),
                            (["b1", "b1"], ["is in QUEUE"]), ([], ["retry needs more"])):
            with self.subTest(args=args):
                self.refuse(self.run_sendit("retry", *args, expect=2), *words)
                self.assert_unchanged()
        self.run_sendit("retry", "b1")
        self.refuse(self.run_sendit("retry", "b1", expect=2), "is in QUEUE")
        self.refuse(self.run_sendit("retry", "b1", "--all", expect=2), "is in QUEUE")

    def test_a_batch_that_a_dead_run_had_in_hand(self):
        self.site.add_images(1)
        self.run_json()
        database = sqlite3.connect(os.path.join(self.site.state, "ledger.db"))
        database.execute("UPDATE batch SET state = 'PROCESSING'")
        database.commit()
        database.close()
        self.refuse(self.run_sendit("retry", "b1", expect=2), "is in PROCESSING")

    def test_a_pipeline_that_is_refused(self):
        self.site.add_images(1)
        self.run_json()
        self.site.write_pipeline(self.site.stages()[:2])
        self.run_sendit("retry", "b1", expect=3)
        self.assert_unchanged()

    def test_a_profile_that_is_refused(self):
        self.site.add_images(1)
        self.run_json()
        result = self.run_sendit("retry", "b1", "--set", "local-anonymizer.profile=basics",
                                 expect=3)
        self.assert_one_sentence(result, 'stage "local-anonymizer"', "basics")
        self.assert_unchanged()

    def test_a_key_that_is_gone_or_open(self):
        self.site.add_images(1)
        self.run_json()
        os.chmod(os.path.join(self.site.state, "site.key"), 0o644)
        self.assert_one_sentence(self.run_sendit("retry", "b1", expect=3), "site.key")
        self.assert_unchanged()

    def test_it_is_in_the_audit(self):
        self.site.add_images(1)
        self.run_json()
        self.change_profile()
        self.run_sendit("retry", "b1")
        event, text = self.rows("SELECT event, json FROM audit WHERE event LIKE 'batch%'")[0]
        said = json.loads(text)
        self.assertEqual((event, said["batch"], said["images"]), ("batch.retried", "b1", 1))
        self.assertEqual(said["user"], pwd.getpwuid(os.getuid()).pw_name)
        self.assertEqual([one["what"] for one in said["differs"]],
                         ["pipeline and stages", "profile and recipes of local-anonymizer"])
        self.assertTrue(re.search("batch.retried", self.run_sendit("status").out))


if __name__ == "__main__":
    unittest.main()
