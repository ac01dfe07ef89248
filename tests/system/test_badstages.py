# SPDX-License-Identifier: Apache-2.0
"""Stages that do what they must not (tests/badstages), in the real pipeline: refused at start,
contained to their image, or bounded; and the ledger is sound after each."""
import json
import os
import shutil
import signal
import sqlite3
import time
import unittest

import sendit

FIXTURES = os.path.join(os.path.dirname(sendit.program() or ""), "badstages")
# The fixtures are built without sanitizers; let a crash of theirs be what it is elsewhere.
ASAN = "handle_segv=0:handle_abort=0:handle_sigill=0:detect_leaks=0:allocator_may_return_null=1"
ENV = dict(os.environ, ASAN_OPTIONS=ASAN)


class BadStage(sendit.Case):
    """A site whose plugins.d has one fixture."""

    def setUp(self):
        super().setUp()
        if not os.path.isdir(FIXTURES):
            self.skipTest("tests/badstages was not built")
        self.plugins = self.site.path("plugins.d")
        os.mkdir(self.plugins)

    def install(self, fixture, name=None):
        shutil.copy(os.path.join(FIXTURES, fixture + ".so"),
                    os.path.join(self.plugins, (name or fixture) + ".so"))

    def entries(self, entry, at=1):
        entries = self.site.stages()
        entries.insert(at, entry)
        return entries

    def write(self, name, config=None, at=1, run=None, **entry):
        self.site.write_pipeline(self.entries(dict(use=name, config=config or {}, **entry), at),
                                 run=dict({"workers": 1}, **(run or {})))


class Refused(BadStage):
    """At start: exit status 3, one sentence, and nothing was touched."""

    def refuse(self, *words, line=None):
        self.site.add_images(1)
        for command in ("run", "check", "plan"):
            result = self.run_sendit(command, expect=3)
            self.assert_one_sentence(result, *words)
            if line:
                self.assertIn("pipeline.json:%d:" % line, result.err)
        self.assert_nothing_out()
        self.assertEqual(os.listdir(self.site.state), ["site.key"])

    def refuse_fixture(self, name, *words):
        self.install(name)
        self.write(name)
        self.refuse(os.path.join("plugins.d", name + ".so"), *words)

    def test_wrong_magic(self):
        self.refuse_fixture("wrong-magic", "magic is 0x12345678, expected 0x53444954")

    def test_older_abi(self):
        self.refuse_fixture("older-abi", "made for ABI 0.0, expected 1.0", "compile it")

    def test_newer_abi(self):
        self.refuse_fixture("newer-abi", "made for ABI 1.", "a newer sendit")

    def test_short_struct(self):
        self.refuse_fixture("short-struct", "descriptor has 64 bytes, expected ")

    def test_long_struct(self):
        self.refuse_fixture("long-struct", "descriptor has 4096 bytes, expected ")

    def test_unknown_flag(self):
        self.refuse_fixture("unknown-flag", "declares flags 0x80000000")

    def test_no_symbol(self):
        self.refuse_fixture("no-symbol", "exports no sendit_stage()")

    def test_no_callbacks(self):
        self.refuse_fixture("no-callbacks", "it has no open()")

    def test_no_process(self):
        self.refuse_fixture("no-process", "it has no process()")

    def test_option_table(self):
        self.refuse_fixture("wrong-option", "option 0, \"word\"")

    def test_another_name(self):
        self.refuse_fixture("wrong-name", "calls itself \"another\", expected \"wrong-name\"")

    def test_it_declines(self):
        self.refuse_fixture("declines", "declines ABI 1.")

    def test_label_of_ours_without_consent(self):
        self.install("grants-ours")
        self.write("grants-ours")
        self.refuse("deid.header", "grant:deid.header", line=6)

    def test_label_of_its_own(self):
        self.install("grants-own")
        self.write("grants-own")
        self.site.add_images(1)
        self.assert_counts(self.run_json(), stored=1)

    def test_label_of_ours_under_a_name_of_ours(self):
        """A site's stage is a site's stage, whatever it is called."""
        self.install("impostor", "pixel-check")
        self.refuse("pixels.checked", "grant:pixels.checked", line=5)

    def test_label_of_ours_with_consent(self):
        self.install("impostor", "pixel-check")
        entries = self.site.stages()
        entries[1]["allow"] = ["grant:pixels.checked"]
        self.site.write_pipeline(entries)
        self.site.add_images(1)
        self.assert_counts(self.run_json(), stored=1)
        self.assertIn("plugins.d/pixel-check.so", self.run_sendit("plan").out)

    def test_network_counts_as_egress(self):
        """It says nothing of EGRESS; it could send all the same."""
        self.install("talks")
        self.write("talks", allow=["network"])
        self.refuse("stage \"talks\" hands images out, but nothing before it grants", line=6)

    def test_network_behind_the_anonymizer(self):
        self.install("talks")
        self.write("talks", at=4, allow=["network"])
        self.site.add_images(1)
        self.assert_counts(self.run_json(), stored=1)

    def test_network_without_consent(self):
        self.install("talks")
        self.write("talks", at=4)
        self.refuse("\"network\"", line=9)

    def test_sends_phi_frees_with_consent_alone(self):
        self.install("sends-phi")
        self.write("sends-phi", allow=["network"])
        self.refuse("\"sends-phi\"", line=6)
        self.write("sends-phi", allow=["network", "sends-phi"])
        self.assert_counts(self.run_json(), stored=1)

    def test_native_without_consent(self):
        self.install("native")
        self.write("native")
        self.refuse("\"native\"", line=6)

    def test_every_one_is_listed_with_its_reason(self):
        names = [name for name in os.listdir(FIXTURES) if name.endswith(".so")]
        answer = self.run_sendit("stages", "--plugins", FIXTURES, "--json").json
        files = {os.path.basename(stage["file"]): stage for stage in answer}
        self.assertTrue(set(names) <= set(files), names)
        for name in ("wrong-magic", "older-abi", "newer-abi", "short-struct", "unknown-flag",
                     "no-symbol", "no-callbacks", "wrong-option", "missing-symbol"):
            self.assertIn(name + ".so: ", files[name + ".so"]["refused"])
        self.assertIsNone(files["sound.so"]["refused"])


class Files(BadStage):
    """A file in plugins.d that is no stage: named, it stops the start with one sentence that says
    what to do; `sendit stages` shows the same."""

    def refuse(self, name, *words):
        self.write(name)
        self.site.add_images(1)
        for command in ("run", "check"):
            result = self.run_sendit(command, expect=3)
            self.assert_one_sentence(result, os.path.join("plugins.d", name + ".so"), *words)
            self.assertNotIn("/proc/", result.err)
        self.assert_nothing_out()
        self.assertEqual(os.listdir(self.site.state), ["site.key"])
        answer = self.run_sendit("stages", "--json").json
        refused = [stage["refused"] for stage in answer
                   if os.path.basename(stage["file"]) == name + ".so"]
        for word in words:
            self.assertIn(word, refused[0])
        self.assertIn(words[0], self.run_sendit("stages").out)

    def path(self, name):
        return os.path.join(self.plugins, name + ".so")

    def test_others_may_write_the_file(self):
        self.install("sound")
        os.chmod(self.path("sound"), 0o757)
        self.refuse("sound", "others may write to this file", "chmod go-w")

    def test_others_may_write_into_the_folder(self):
        self.install("sound")
        os.chmod(self.plugins, 0o777)
        self.write("sound")
        result = self.run_sendit("run", expect=3)
        self.assert_one_sentence(result, "plugins.d: others may write into this folder", "chmod")
        self.assertIn("others may write into", self.run_sendit("stages").out)

    def test_another_architecture(self):
        self.install("sound")
        with open(self.path("sound"), "r+b") as file:
            file.seek(18)
            file.write(b"\x16\x00")  # s390x
        self.refuse("sound", "it was built for s390x", "compile it for this machine")

    def test_unresolved_symbol(self):
        self.install("missing-symbol")
        self.refuse("missing-symbol", "undefined symbol: missing_everywhere", "link it to")

    def test_text_file(self):
        with open(self.path("text"), "w") as file:
            file.write("#!/bin/sh\n")
        self.refuse("text", "it is no shared object", "what the compiler made")

    def test_empty_file(self):
        with open(self.path("nothing"), "w"):
            pass
        self.refuse("nothing", "it is empty", "copy it again")

    def test_half_a_file(self):
        self.install("sound")
        os.truncate(self.path("sound"), os.path.getsize(self.path("sound")) // 3)
        self.refuse("sound", "it is cut short", "copy it again")

    def test_link_out_of_the_folder(self):
        os.symlink(os.path.join(FIXTURES, "sound.so"), self.path("sound"))
        self.refuse("sound", "it is a symbolic link", "put the file itself here")

    def test_folder(self):
        os.mkdir(self.path("folder"))
        self.refuse("folder", "it is a folder", "put the file itself here")

    def test_fifo(self):
        os.mkfifo(self.path("pipe"))
        self.refuse("pipe", "it is no regular file", "remove it")

    def test_more_symbols_than_one(self):
        """A warning, no refusal: it may still do its work."""
        self.install("two-symbols")
        for args in ((), ("two-symbols",)):
            self.assertRegex(self.run_sendit("stages", *args).out,
                             r"warning.* \"stray\"; compile it with -fvisibility=hidden")
        answer = self.run_sendit("stages", "two-symbols", "--json").json
        self.assertIn("stray", answer["warning"])
        self.assertEqual([stage["file"] for stage in self.run_sendit("stages", "--json").json
                          if stage["warning"] and stage["ships"]], [])


class HotSwap(BadStage):
    """A stage that is replaced on disk."""

    def digest(self):
        return self.run_sendit("stages", "sound", "--json").json["digest"]

    def used(self):
        """Versions and digests that the ledger names, run by run."""
        with sqlite3.connect(self.site.path("state", "ledger.db")) as ledger:
            return ledger.execute("SELECT run, version, digest FROM run_stage "
                                  "WHERE name = 'sound' ORDER BY run").fetchall()

    def test_a_newer_build_is_picked_up_at_the_next_start(self):
        self.install("sound")
        self.write("sound")
        self.site.add_images(1, study=1)
        self.assert_counts(self.run_json(), stored=1)
        old = self.digest()
        self.install("version-two", "sound")
        self.site.add_images(1, study=2)
        self.assert_counts(self.run_json(), stored=1)
        self.assertNotEqual(self.digest(), old)
        self.assertEqual([row[1:] for row in self.used()], [("1.0.0", old),
                                                            ("2.0.0", self.digest())])

    def swap_in_midst(self, replace, kill=False):
        """Replace the stage after the first image; returns (exit status, answer, versions that
        images met)."""
        self.install("stamps")
        # It comes after the anonymizer, and stamps its version into each image, slowly.
        self.write("stamps", at=4)
        self.site.add_images(30)
        process = self.site.start("run", "--json", env=ENV)
        while process.poll() is None and not sendit.tree(self.site.clean):
            time.sleep(0.005)
        replace(self.path("stamps"), os.path.join(FIXTURES, "stamps-two.so"))
        if kill:
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as children:
                for pid in children.read().split():
                    os.kill(int(pid), signal.SIGKILL)
        out, err = process.communicate(timeout=120)
        stamps = {sendit.pydicom.dcmread(path).SeriesDescription
                  for path in sendit.images(self.site.clean)}
        return process.returncode, json.loads(out), stamps, err.decode()

    def path(self, name):
        return os.path.join(self.plugins, name + ".so")

    @staticmethod
    def by_rename(path, new):
        shutil.copy(new, path + ".tmp")
        os.rename(path + ".tmp", path)

    @staticmethod
    def in_place(path, new):
        with open(new, "rb") as source, open(path, "wb") as target:
            target.write(source.read())

    def test_replaced_in_a_run(self):
        """The run goes on with the old bytes, also where the file was written over."""
        for replace in (self.by_rename, self.in_place):
            self.new_start()
            status, answer, stamps, err = self.swap_in_midst(replace)
            self.assertEqual(status, 0, err)
            self.assert_counts(answer, stored=30)
            self.assertEqual(stamps, {"version 1"})

    def test_replaced_in_a_run_that_starts_another_worker(self):
        """That worker would have other code: the run stops with a sentence, and the next one goes
        on where it was."""
        for replace in (self.by_rename, self.in_place):
            self.new_start()
            status, answer, stamps, err = self.swap_in_midst(replace, kill=True)
            self.assertEqual(status, 3, err)
            self.assertIn("changed while the run was under way", answer["error"])
            self.assertLessEqual(stamps, {"version 1"})
            self.assertEqual(self.run_json()["waiting"], 0)
            self.assertEqual(self.site.counts()["stored"], 30)

    def new_start(self):
        self.site = self.new_site()
        self.plugins = self.site.path("plugins.d")
        os.mkdir(self.plugins)


class Run(BadStage):
    """In a run."""

    def run_bad(self, fixture, how, *args, images=4, expect=0, at=1, run=None, on=2, limit=120):
        self.install(fixture)
        config = {} if how is None else {"how": how, "on": on}
        self.write(fixture, config, at=at, run=run, **(
            {"allow": ["native"]} if fixture.startswith("native") else {}))
        self.site.add_images(images)
        before = sendit.tree(self.site.data)
        began = time.monotonic()
        result = self.site.sendit("run", "--json", *args, env=ENV, limit=limit)
        self.seconds = time.monotonic() - began
        self.assertEqual(result.status, expect, str(result))
        self.assertEqual(before, sendit.tree(self.site.data))
        self.assert_ledger_is_sound()
        self.err = result.err
        answer = result.json
        if "found" in answer:
            self.assert_adds_up(answer)
        return answer

    def query(self, sql):
        with sqlite3.connect(self.site.path("state", "ledger.db")) as ledger:
            return ledger.execute(sql).fetchall()

    def assert_ledger_is_sound(self):
        self.assertEqual(self.query("PRAGMA integrity_check"), [("ok",)])
        self.assertEqual(self.query("PRAGMA foreign_key_check"), [])

    def contain(self, fixture, how, code, **more):
        """One image is held, with the code and the stage's name; the others arrive."""
        answer = self.run_bad(fixture, how, **more)
        self.assert_counts(answer, stored=3, quarantined=1)
        self.assertEqual([(reason["stage"], reason["code"]) for reason in answer["reasons"]],
                         [(fixture, code)])
        self.assertEqual(len(sendit.images(self.site.clean)), 3)
        self.assertEqual(os.listdir(self.site.path("state", "scratch"))
                         if os.path.isdir(self.site.path("state", "scratch")) else [], [])


class Contained(Run):
    def test_unknown_verdict(self):
        self.contain("misbehaves", "unknown", "host.verdict")

    def test_crash(self):
        self.contain("misbehaves", "crash", "host.crashed")

    def test_spin(self):
        self.contain("misbehaves", "spin", "host.timeout", run={"stage_timeout": "1s"})

    def test_exit(self):
        self.contain("misbehaves", "leave", "host.crashed")

    def test_exit_with_handlers(self):
        self.contain("misbehaves", "leave_well", "host.crashed")

    def test_exception(self):
        self.contain("throws", None, "host.crashed")

    def test_stack_overflow(self):
        self.contain("misbehaves", "overflow", "host.crashed")

    def test_closes_every_descriptor(self):
        self.contain("misbehaves", "close_all", "host.crashed")

    def test_other_files_in_place_of_ours(self):
        self.contain("misbehaves", "swap_all", "host.crashed")

    def test_forks_and_returns_twice(self):
        self.contain("misbehaves", "twice", "host.forked")

    def test_leaves_a_child(self):
        self.contain("misbehaves", "leave_child", "host.forked")
        self.assertLess(self.seconds, 30)

    def test_edits_undeclared(self):
        self.contain("misbehaves", "edit", "host.undeclared")

    def test_all_edits_then_a_crash(self):
        self.contain("misedits", "edit_all", "host.crashed")
        for path in sendit.images(self.site.clean):
            with open(path, "rb") as file:
                self.assertNotIn(b"Edited", file.read())

    def test_native_pixel_data(self):
        self.contain_native("pixels")

    def test_native_meta_group(self):
        self.contain_native("meta")

    def test_native_too_deep(self):
        self.contain_native("deep")

    def contain_native(self, how):
        answer = self.run_bad("native", None, run=None)
        self.assert_counts(answer, stored=4)
        site = self.site = self.new_site()
        self.plugins = site.path("plugins.d")
        os.mkdir(self.plugins)
        self.install("native")
        self.write("native", {"how": how}, allow=["native"])
        site.add_images(2)
        answer = self.site.sendit("run", "--json", env=ENV).json
        self.assert_counts(answer, quarantined=2)
        self.assertEqual({reason["code"] for reason in answer["reasons"]}, {"host.native"})


class Native(Run):
    """DCMTK's own object: what it gives, and to whom."""

    def descriptions(self):
        return {sendit.pydicom.dcmread(path).get("SeriesDescription")
                for path in sendit.images(self.site.clean)}

    def run_native(self, fixture, how):
        self.install(fixture)
        # Behind the anonymizer: before it, what is written would be cleaned away.
        self.write(fixture, {"how": how}, at=4, allow=["native"])
        self.site.add_images(3)
        return self.site.sendit("run", "--json", env=ENV).json

    def test_edits_count(self):
        self.assert_counts(self.run_native("native", "edit"), stored=3)
        self.assertEqual(self.descriptions(), {"BY DCMTK"})

    def test_who_may_not_edit_has_a_copy(self):
        self.assert_counts(self.run_native("native-looks", "edit"), stored=3)
        self.assertEqual(self.descriptions(), {None})

    def test_alone_it_has_the_same(self):
        """`sendit test-stage` gives it, too."""
        case = self.site.path("case")
        os.mkdir(case)
        with open(os.path.join(case, "in.dump"), "w") as file:
            file.write("(0008,0016) UI =CTImageStorage\n(0008,0018) UI [1.2.3]\n")
        for fixture, more in (("native", {"tags": {"SeriesDescription": "BY DCMTK"}}),
                              ("native-looks", {})):
            with open(os.path.join(case, "expect.json"), "w") as file:
                json.dump(dict({"verdict": "PASS"}, **more), file)
            result = self.site.sendit("test-stage", os.path.join(FIXTURES, fixture + ".so"), case,
                                      env=ENV)
            self.assertEqual(result.status, 0, str(result))

    def test_another_build_has_none(self):
        self.assert_reasons(self.run_native("native", "other_build"), native__none=3)

    def test_an_item_has_none(self):
        self.assert_reasons(self.run_native("native", "nested"), native__none=3)


class Bounded(Run):
    def test_retry_for_ever(self):
        answer = self.run_bad("misbehaves", "again", expect=75, run={"retry_for": "1s"})
        self.assertLess(self.seconds, 60)
        self.assertIn("misbehaves", json.dumps(answer))

    def test_thread_that_outlives_the_call(self):
        """The tables of the host refuse it, and it ends with the worker."""
        answer = self.run_bad("misbehaves", "start_thread", images=40)
        self.assert_counts(answer, stored=40)
        self.assertIn("thread.said", self.err)

    def test_thread_calls_what_is_not_for_it(self):
        answer = self.run_bad("misbehaves", "other_thread", expect=1)
        self.assertIn("host.misuse", json.dumps(answer))

    def test_leak(self):
        answer = self.run_bad("misbehaves", "leak", on=0, images=8,
                              run={"worker_memory": "256MiB"})
        self.assert_counts(answer, stored=8)

    def test_flood_of_log_lines(self):
        answer = self.run_bad("misbehaves", "flood")
        self.assert_counts(answer, stored=4)
        lines = self.err.splitlines()
        self.assertLess(len(lines), 1100)
        self.assertGreater(len(lines), 900)
        self.assertRegex(self.err, r"9\d{4} more lines")
        self.assertLess(self.query("SELECT count(*) FROM message")[0][0], 1100)

    def test_sleep_in_close(self):
        answer = self.run_bad("sleeps-in-close", None)
        self.assert_counts(answer, stored=4)
        self.assertLess(self.seconds, 30)


if __name__ == "__main__":
    unittest.main()
