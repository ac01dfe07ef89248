# SPDX-License-Identifier: Apache-2.0
"""Stages that finish later: batches in DONEPROCESSING, settle() that is killed, away, wrong; and
`sendit reconcile`.

The stage `rows` of tests/system/stages queues a row for each batch and writes it in settle().
"""
import os
import signal
import sqlite3
import time
import unittest

import sendit
from test_fire import wait_for


class Later(sendit.Case):
    """Studies 1, 2, ... of one image each; `rows` stands behind the store."""

    studies = 3

    def setUp(self):
        super().setUp()
        self.plugins = sendit.test_stages()
        for study in range(1, self.studies + 1):
            self.site.add_images(1, study)
        self.table, self.calls = self.site.path("table"), self.site.path("calls")
        os.mkdir(self.table)

    def write(self, use="rows", run=None, **config):
        stages = self.site.stages()
        stages.append({"use": use, "config": dict({"table": "table", "calls": "calls",
                                                   "count": "count"}, **config)})
        self.site.write_pipeline(stages, **({"run": run} if run else {}))

    def go(self, *args, expect=0, workers=1, sound=True):
        result = self.site.sendit("run", "--json", "--workers", str(workers), "--plugins",
                                  self.plugins, *args)
        if sound:
            self.assert_sound(result)
        self.assertEqual(result.status, expect, str(result))
        self.assert_adds_up(result.json)
        self.err = result.err.replace('\\"', '"') + result.json.get("error", "")
        return result.json

    def ask(self, sql):
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as database:
            return database.execute(sql).fetchall()

    def states(self):
        return [state for state, in self.ask("SELECT state FROM batch ORDER BY id")]

    def rows(self):
        return sorted(os.listdir(self.table))

    def called(self):
        try:
            with open(self.calls) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def status(self):
        return self.site.sendit("status", "--json").json

    def assert_done(self, n=None):
        n = n or self.studies
        self.assertEqual(self.states(), ["DONE"] * n)
        self.assertEqual(self.rows(), sorted("b%d" % (i + 1) for i in range(n)))
        self.assertEqual(self.ask("SELECT count(*) FROM settle"), [(0,)])
        self.assertEqual(self.ask("SELECT DISTINCT state FROM item"), [("stored",)])


class Settles(Later):
    def test_in_the_same_run(self):
        self.write()
        answer = self.go()
        self.assert_counts(answer, stored=3)
        self.assertEqual(answer["batches"], 3)
        self.assert_done()
        self.assertEqual(self.called(), "l")
        self.assertEqual(self.ask("SELECT stage, name, value FROM metric WHERE name = 'rows'"),
                         [("rows", "rows", 3)])

    def test_with_many_workers(self):
        self.write()
        self.go(workers=4)
        self.assert_done()

    def test_that_takes_several_calls(self):
        self.write(wait=3)
        self.go()
        self.assert_done()
        self.assertEqual(self.called(), "llll")

    def test_originals_go_when_the_row_is_there(self):
        self.write(does="retry", times=1, run={"retry_for": "30s"})
        stages = self.site.stages()
        stages[0]["config"]["when_done"] = "delete"
        stages.append({"use": "rows", "config": {"table": "table", "does": "fail", "times": 1,
                                                 "count": "count"}})
        self.site.write_pipeline(stages)
        answer = self.go(expect=1)
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)
        self.assert_counts(answer, waiting=3)
        self.assertEqual(len(sendit.images(self.site.clean)), 3)
        self.assertEqual(len(sendit.tree(self.site.data)), 3)
        self.go()
        self.assert_done()
        self.assertEqual(sendit.tree(self.site.data), {})

    def test_is_called_while_there_is_other_work(self):
        """Every few seconds, in between; not once for each batch."""
        self.write()
        stages = self.site.stages()
        slow = {"use": "misbehave", "config": {"does": "slow"}}
        stages[-1:-1] = [slow]
        stages.append({"use": "rows", "config": {"table": "table", "calls": "calls"}})
        self.site.write_pipeline(stages)
        for study in range(4, 7):
            self.site.add_images(1, study)
        self.go()
        self.assert_done(6)
        self.assertTrue(self.called().startswith("c"), self.called())
        self.assertLess(len(self.called()), 6, self.called())

    def test_text_says_what_waits(self):
        self.write(does="fail")
        result = self.site.sendit("run", "--workers", "1", "--plugins", self.plugins)
        self.assertEqual(result.status, 1, str(result))
        self.assertIn("waiting 3", result.out)
        self.assertIn("DONEPROCESSING", result.out)
        self.assertIn('stage "rows": The table takes no rows.', result.err)
        self.assertIn("stays DONEPROCESSING, and the next run tries again", result.err)
        result = self.site.sendit("status")
        self.assertIn("DONEPROCESSING: 3", result.out)
        self.assertIn('"rows"', result.out)
        answer = self.status()
        self.assertEqual([batch["state"] for batch in answer["batches"]], ["DONEPROCESSING"] * 3)
        self.assertEqual(answer["later"], [{"stage": "rows", "batches": 3}])


class NextRun(Later):
    """What an earlier run left is settled by the next one."""

    def setUp(self):
        super().setUp()
        self.write(does="fail")
        self.go(expect=1)
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)

    def test_without_a_new_file(self):
        self.write()
        result = self.site.sendit("run", "--workers", "1", "--plugins", self.plugins)
        self.assertEqual(result.status, 0, str(result))
        self.assert_done()
        self.assertIn("settled: 3 batches of earlier runs", result.out)

    def test_as_json(self):
        self.write()
        answer = self.go()
        self.assert_counts(answer)
        self.assertEqual((answer["batches"], answer["settled"]), (3, 3))

    def test_the_run_that_made_it_is_known(self):
        self.write()
        self.go()
        self.assertEqual(self.ask("SELECT DISTINCT batch.run, item.run FROM batch JOIN item"),
                         [(1, 1)])

    def test_a_row_that_is_written_while_its_batch_finishes(self):
        """What is told of a batch before its finish() has answered is not lost."""
        self.site.add_images(1, 4)
        self.write(finish_waits=True)
        self.go(workers=2)
        self.assert_done(4)
        self.assertIn("c", self.called())

    def test_with_new_files_of_the_same_folder(self):
        self.site.add(sendit.make_image(2, 1), "study1", "IM00002")
        self.write()
        answer = self.go()
        self.assert_counts(answer, stored=1)
        self.assert_done(4)
        self.assertEqual(self.ask("SELECT continues FROM batch WHERE id = 4"), [(1,)])

    def test_the_same_image_again_is_a_duplicate(self):
        self.site.add(sendit.make_image(1, 1), "again", "IM00001")
        answer = self.go(expect=1)
        self.assert_counts(answer, ignored=1)

    def assert_they_stay(self, word):
        self.go()
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)
        self.assertIn("settle.stage", self.err)
        self.assertIn('3 batches wait for stage "rows"', self.err)
        self.assertIn(word, self.err)
        self.assertEqual(self.rows(), [])

    def test_without_the_stage(self):
        self.site.write_pipeline(self.site.stages())
        self.assert_they_stay("enable it as it was and run again")
        self.assertEqual(self.status()["later"], [{"stage": "rows", "batches": 3}])
        self.write()
        self.go()
        self.assert_done()

    def test_with_the_stage_disabled(self):
        stages = self.site.stages()
        stages.append({"use": "rows", "enabled": False, "config": {"table": "table"}})
        self.site.write_pipeline(stages)
        self.assert_they_stay("not enabled")

    def test_with_a_stage_of_that_id_that_settles_nothing(self):
        stages = self.site.stages()
        stages[-1:-1] = [{"use": "misbehave", "id": "rows"}]
        self.site.write_pipeline(stages)
        self.assert_they_stay("settles nothing")

    def test_retry_is_refused(self):
        result = self.run_sendit("retry", "b1", "--plugins", self.plugins, expect=2)
        self.assert_one_sentence(result, "b1 is in DONEPROCESSING", "settles what is left")

    def test_log(self):
        result = self.run_sendit("log", "b1")
        self.assertIn("waiting", result.out)


class Release(Later):
    studies = 1

    def test_takes_effect_when_the_batch_has_settled(self):
        self.site.add(sendit.make_image(2, 1, BurnedInAnnotation="YES"), "study1", "IM00002")
        self.write(does="fail")
        answer = self.go(expect=1)
        self.assert_counts(answer, waiting=1, quarantined=1)
        self.run_sendit("quarantine", "release", "b1-000002", "--because", "It was looked at.",
                        "--plugins", self.plugins)
        self.assertEqual(self.states(), ["DONEPROCESSING"])
        self.write()
        answer = self.go()
        self.assertEqual(self.states(), ["DONE"])
        self.assertEqual(self.rows(), ["b1"])
        # It lacks the label of the stage that it was not shown to.
        self.assertEqual(self.ask("SELECT state FROM item ORDER BY id"),
                         [("stored",), ("quarantined",)])


class Again(Later):
    """A batch whose row is told of in an attempt that did not finish."""
    studies = 1

    def test_another_stage_asks_for_one_more_attempt(self):
        self.write()
        stages = self.site.stages()
        stages.append({"use": "rows", "config": {"table": "table", "calls": "calls"}})
        stages.append({"use": "misbehave", "config": {"at": "finish", "does": "crash", "times": 1,
                                                      "count": "count"}})
        self.site.write_pipeline(stages)
        self.go(sound=False)
        self.assert_done()

    def test_an_item_that_is_held_for_another_attempt(self):
        """All of the batch comes again: its row is of all its images."""
        self.site.add(sendit.make_image(2, 1), "study1", "IM00002")
        self.write(holds=True)
        self.go()
        self.assert_done()
        self.assertEqual(self.ask("SELECT attempt FROM batch"), [(2,)])
        self.assertEqual(self.ask("SELECT count(*) FROM item"), [(2,)])


class Away(Later):
    def test_until_retry_for(self):
        self.write(does="retry", run={"retry_for": "2s"})
        began = time.monotonic()
        answer = self.go(expect=75)
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertLess(time.monotonic() - began, 20)
        self.assertIn("for longer than retry_for: The table is away.", answer["error"])
        self.assertIn("settle.away", self.err)
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)
        self.assert_counts(answer, waiting=3)
        self.write()
        self.go()
        self.assert_done()

    def test_retry_for_is_the_time_in_which_nothing_comes_of_it(self):
        for study in range(4, 6):
            self.site.add_images(1, study)
        self.write(does="one", run={"retry_for": "2s"})
        self.go()
        self.assert_done(5)
        self.assertEqual(self.called(), "lllll")

    def test_it_comes_back(self):
        self.write(does="retry", times=2, run={"retry_for": "60s"})
        self.go()
        self.assert_done()
        self.assertEqual(self.called(), "lll")

    def test_a_signal_ends_the_wait(self):
        self.write(does="retry", run={"retry_for": "60s"})
        process = self.site.start("run", "--json", "--workers", "1", "--plugins", self.plugins)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        wait_for(lambda: "l" in self.called())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(30), 143)
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)


class Wrong(Later):
    """settle() and finish() that are not right."""

    def test_a_row_that_is_lost(self):
        self.write(does="lose")
        answer = self.go(expect=1)
        self.assertEqual(self.states(), ["ERROR"] * 3)
        self.assert_counts(answer, failed=3)
        self.assert_reasons(answer, batch__stopped=3)
        self.assertIn("The row was lost.", self.site.sendit("log", "b1").out)
        self.assertIn("rows.lost", self.site.sendit("log", "b1").out)
        # Again from the originals, which the store knows.
        self.write()
        self.run_sendit("retry", "b1", "b2", "b3", "--plugins", self.plugins)
        self.go()
        self.assertEqual(self.states(), ["DONE"] * 3)

    def test_a_stage_that_forgets(self):
        self.write(does="forget")
        answer = self.go(expect=1)
        self.assertEqual(self.states(), ["ERROR"] * 3)
        self.assert_counts(answer, failed=3)
        self.assertIn("host.settle", self.site.sendit("log", "b1").out)

    def test_later_without_settle(self):
        self.write(use="rows-unsettled")
        answer = self.go(expect=1)
        self.assertEqual(self.states(), ["ERROR"] * 3)
        self.assert_counts(answer, failed=3)
        self.assertIn("host.verdict", self.site.sendit("log", "b1").out)

    def test_verdicts_that_do_not_fit(self):
        for deed in ("skip", "unknown"):
            with self.subTest(deed):
                self.write(does=deed)
                answer = self.go(expect=1)
                self.assertIn("host.verdict", answer["error"])
                self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)

    def test_misuse(self):
        self.write(does="nonsense")
        answer = self.go(expect=1)
        self.assertIn("host.misuse", answer["error"])
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)

    def test_a_crash_is_tried_again(self):
        self.write(does="crash", times=1)
        self.go(sound=False)
        self.assert_done()

    def test_two_crashes_end_the_run(self):
        self.write(does="crash")
        answer = self.go(expect=1, sound=False)
        self.assertIn('stage "rows" crashed', answer["error"])
        self.assertIn("in settle(), 2 times in a row", answer["error"])
        self.assertEqual(self.states(), ["DONEPROCESSING"] * 3)
        self.write()
        self.go()
        self.assert_done()

    def test_a_hang(self):
        self.write(does="hang", times=1, run={"stage_timeout": "2s"})
        self.go(sound=False)
        self.assert_done()


class Killed(Later):
    def test_between_telling_and_noting(self):
        """Told, and durable only with the put that never came: told again by the next call."""
        self.write(does="kill", times=2)
        self.go(sound=False)
        self.assert_done()
        self.assertEqual(self.called(), "lll")

    def test_from_outside_again_and_again(self):
        self.write(does="kill")
        answer = self.go(expect=1, sound=False)
        self.assertIn("was killed from outside in settle(), 5 times in a row", answer["error"])
        # Each told of one batch before it died.
        self.assertTrue(all(state in ("DONE", "DONEPROCESSING") for state in self.states()))

    def kill_at(self, moment, whom):
        process = self.site.start("run", "--json", "--workers", "2", "--plugins", self.plugins,
                                  start_new_session=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        time.sleep(moment)
        if process.poll() is None:
            for pid in (sendit.children(process.pid) if whom == "workers" else [process.pid]):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if whom == "supervisor":
            process.wait(30)
            return None
        return process.wait(60)

    def test_workers_and_supervisor_at_any_time(self):
        self.write(wait=1)
        for i in range(10 if not sendit.LONG else 100):
            for study in (10 + 2 * i, 11 + 2 * i):
                self.site.add_images(1, study)
            self.kill_at(0.02 * i, ("workers", "supervisor")[i % 2])
        self.go(sound=False)
        n = len(self.states())
        self.assert_done(n)
        self.assertEqual(len(sendit.images(self.site.clean)), n)


class Reconcile(Later):
    def setUp(self):
        super().setUp()
        self.write()
        self.go()

    def reconcile(self, *args, expect=0, sound=True):
        result = self.site.sendit("reconcile", "--plugins", self.plugins, *args)
        if sound:
            self.assert_sound(result)
        self.assertEqual(result.status, expect, str(result))
        return result

    def dump(self):
        """All that the ledger's tables have."""
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as database:
            return list(database.iterdump())

    def test_nothing_differs(self):
        before = self.dump()
        result = self.reconcile()
        self.assertEqual(result.out, "rows compared 3 rows\nnothing differs\n")
        self.assertEqual(result.err, "")
        self.assertEqual(self.dump(), before)
        self.assertEqual(self.reconcile("--json").json,
                         {"status": 0, "differences": [], "compared": {"rows": {"rows": 3}}})

    def test_differences(self):
        os.unlink(os.path.join(self.table, "b2"))
        before = self.dump()
        result = self.reconcile(expect=1)
        self.assertEqual(result.out, "rows  rows.missing  b2  The table has no such row.\n"
                                     "rows compared 3 rows\n1 difference; nothing was changed\n")
        answer = self.reconcile("--json", expect=1).json
        self.assertEqual(answer["differences"],
                         [{"stage": "rows", "code": "rows.missing", "subject": "b2",
                           "text": "The table has no such row."}])
        self.assertEqual(self.dump(), before)
        self.assertEqual(self.rows(), ["b1", "b3"])  # and mends nothing

    def test_a_stage_that_would_write_is_denied(self):
        self.write(compares="writes")
        before = self.dump()
        result = self.reconcile()
        self.assertIn("rows.seen", result.err)
        self.assertEqual(self.dump(), before)

    def test_a_service_that_is_away(self):
        self.write(compares="retry")
        result = self.reconcile(expect=75)
        self.assert_one_sentence(result, 'stage "rows" did not compare all: The table is away.')
        answer = self.reconcile("--json", expect=75).json
        self.assertIn("The table is away. (rows.away)", answer["error"])

    def test_a_stage_that_cannot(self):
        self.write(compares="fail")
        self.assert_one_sentence(self.reconcile(expect=3), "The table may not be read.",
                                 "rows.denied")

    def test_a_stage_that_crashes(self):
        self.write(compares="crash")
        before = self.dump()
        result = self.reconcile(expect=3, sound=False)
        self.assertIn('stage "rows" crashed', result.err)
        self.assertIn("while it compared", result.err)
        self.assertEqual(self.dump(), before)

    def test_a_stage_that_hangs(self):
        self.write(compares="hang", run={"stage_timeout": "2s"})
        result = self.reconcile(expect=3, sound=False)
        self.assertIn("did not answer within stage_timeout while it compared", result.err)

    def test_a_signal(self):
        self.write(compares="hang")
        process = self.site.start("reconcile", "--plugins", self.plugins)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        wait_for(lambda: sendit.children(process.pid))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)  # two that come together are one
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), 130)

    def test_without_a_stage_that_compares(self):
        self.site.write_pipeline(self.site.stages())
        self.assert_one_sentence(self.reconcile(expect=3), "no enabled stage can compare")

    def test_without_a_ledger(self):
        self.reconcile("--state", self.site.path("new"), expect=3)
        self.assertFalse(os.path.exists(self.site.path("new")))

    def test_while_a_run_is_under_way(self):
        self.site.add_images(1, 9)
        self.write(does="retry", run={"retry_for": "60s"})
        process = self.site.start("run", "--json", "--workers", "1", "--plugins", self.plugins)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        before = self.called()
        wait_for(lambda: self.called() != before)
        self.assert_one_sentence(self.reconcile(expect=3), "another sendit")

    def test_what_a_dead_run_left_is_the_next_ones(self):
        """Pages of its workers say which image was in hand: reconcile leaves them."""
        page = os.path.join(self.site.state, "scratch", "page-000000")
        with open(page, "wb") as file:
            file.write(b"x")
        self.reconcile()
        self.assertEqual(os.listdir(os.path.dirname(page)), ["page-000000"])


if __name__ == "__main__":
    unittest.main()
