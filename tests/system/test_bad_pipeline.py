# SPDX-License-Identifier: Apache-2.0
"""A pipeline, a key or a state that is not right: exit status 3, one sentence, nothing touched."""
import base64
import json
import os
import shutil
import signal
import sqlite3
import time
import unittest

import sendit

GOOD = ('{"state": "state", "stages": [{"use": "importer", "config": {"folders": ["data"]}}, '
        '{"use": "pixel-check"}, {"use": "deid-filter"}, {"use": "local-anonymizer"}, '
        '{"use": "file-store", "config": {"folder": "clean"}}]}')


class Pipeline(sendit.Case):
    def setUp(self):
        super().setUp()
        self.site.add_images(1)

    def refuse(self, text, *words, place=r"pipeline\.json:\d+:\d+: ", expect=3):
        self.site.write_pipeline(text=text)
        result = self.run_sendit("run", expect=expect)
        self.assert_one_sentence(result, *words)
        self.assertRegex(result.err, place)
        self.assert_nothing_out()

    def change(self, old, new):
        self.assertIn(old, GOOD)
        return GOOD.replace(old, new)

    def test_the_good_one_is_good(self):
        self.site.write_pipeline(text=GOOD)
        self.assert_counts(self.run_json(), stored=1)

    def test_broken_json(self):
        self.refuse(GOOD[:-1])
        self.refuse("{\"stages\": [\n  {\"use\": }\n]}", place=r"pipeline\.json:2:\d+: ")
        self.refuse("")
        self.refuse("[]")
        self.refuse("nonsense")
        self.refuse(GOOD + "}")

    def test_every_prefix_is_refused(self):
        for n in range(0, len(GOOD), 7):
            self.site.write_pipeline(text=GOOD[:n])
            result = self.run_sendit("check", expect=3)
            self.assertIn("pipeline.json:", result.err)

    def test_wrong_types(self):
        self.refuse(self.change('"state": "state"', '"state": 7'), "state")
        self.refuse(self.change('"folders": ["data"]', '"folders": "data"'), "folders")
        self.refuse(self.change('"folders": ["data"]', '"folders": [1]'), "folders")
        self.refuse(self.change('"folder": "clean"', '"folder": true'), "folder")
        self.refuse(self.change('{"use": "pixel-check"}', '"pixel-check"'), "stages[1]")
        self.refuse(self.change('{"use": "pixel-check"}', '{"use": 1}'), "use")
        self.refuse(self.change('{"use": "pixel-check"}', '{"use": "pixel-check", "config": []}'),
                    "config")
        self.refuse(self.change('{"use": "pixel-check"}', '{"use": "pixel-check", "enabled": 1}'),
                    "enabled")
        self.refuse('{"stages": {}}', "stages")

    def test_duplicate_keys(self):
        self.refuse(self.change('"state": "state"', '"state": "state", "state": "other"'), "state")
        self.refuse(self.change('"folder": "clean"', '"folder": "clean", "folder": "out"'),
                    "folder")

    def test_unknown_keys_say_what_was_meant(self):
        self.refuse(self.change('"folders": ["data"]', '"folder": ["data"]'), "folders")
        self.refuse(self.change('"state"', '"sate"'), "state")
        self.refuse(self.change('{"use": "pixel-check"}',
                                '{"use": "pixel-check", "config": {"on_burnt_in": "pass"}}'),
                    "on_burned_in")

    def test_values_out_of_range(self):
        self.refuse(self.change('{"use": "pixel-check"}',
                                '{"use": "pixel-check", "config": {"on_burned_in": "ignore"}}'),
                    "on_burned_in")
        self.refuse(self.change('"stages"', '"run": {"stage_timeout": "never"}, "stages"'),
                    "stage_timeout")

    def test_unknown_stage(self):
        self.refuse(self.change('"pixel-check"', '"pixel-chek"'), "pixel-chek", "pixel-check")
        self.refuse(self.change('"pixel-check"', '"no-such-stage-at-all"'), "no-such-stage-at-all")

    def test_a_path_is_no_stage(self):
        for path in ("../../evil", "/tmp/evil", "./pixel-check", "pixel-check.so"):
            with self.subTest(path):
                self.refuse(self.change('"pixel-check"', '"%s"' % path))

    def test_two_entries_of_one_name_need_ids(self):
        self.refuse(self.change('{"use": "pixel-check"}',
                                '{"use": "pixel-check"}, {"use": "pixel-check"}'), "id")

    def test_required_option_lacks(self):
        self.refuse(self.change(', "config": {"folder": "clean"}', ''), "folder")

    def test_profile_that_is_not_there_yet(self):
        for profile in ('["basic", "clean-pixel-data"]', '["no-such-profile"]'):
            with self.subTest(profile):
                self.refuse(self.change(
                    '{"use": "local-anonymizer"}',
                    '{"use": "local-anonymizer", "config": {"profile": %s}}' % profile))

    def test_store_inside_the_input_or_input_inside_the_store(self):
        for folder in ("data", "data/clean", "data/../data/clean", "."):
            with self.subTest(folder):
                self.refuse(self.change('"folder": "clean"', '"folder": "%s"' % folder),
                            "stages[4].config.folder: images would go to a folder that")
                self.assertEqual(os.listdir(self.site.data), ["study1"])

    def test_nul_bom_depth_numbers(self):
        self.refuse(GOOD.encode().replace(b'"clean"', b'"cl\\u0000ean"'))
        self.refuse(GOOD.encode().replace(b'"clean"', b'"cl\x00ean"'))
        self.refuse(b"\xef\xbb\xbf" + GOOD.encode())
        self.refuse(GOOD.encode().replace(b'"clean"', b'"\xff\xfe"'))
        self.refuse(self.change('"state": "state"', '"state": 1e400'))
        self.refuse(self.change('"state": "state"', '"state": %s%s' % ("[" * 33, "]" * 33)))
        self.refuse(self.change('"state": "state"', '"state": %s' % ("[" * 10000)))

    def test_no_pipeline_at_all(self):
        os.unlink(self.site.path("pipeline.json"))
        result = self.site.sendit("run")
        self.assert_sound(result)
        self.assertIn(result.status, (2, 3))
        self.assert_one_sentence(result, "pipeline.json")

    def test_pipeline_that_is_named_and_not_there(self):
        result = self.run_sendit("run", "-p", "nowhere.json", expect=3)
        self.assert_one_sentence(result, "nowhere.json")

    def test_pipeline_that_is_a_folder_or_a_fifo(self):
        os.mkdir(self.site.path("folder.json"))
        os.mkfifo(self.site.path("fifo.json"))
        for name in ("folder.json", "fifo.json", "/dev/zero"):
            with self.subTest(name):
                self.run_sendit("run", "-p", name, expect=3, limit=60)


class Usage(sendit.Case):
    def test_usage(self):
        for args in (["rum"], ["run", "--no-such-option"], ["run", "--workers", "0"],
                     ["run", "--workers", "many"], ["run", "--set", "nonsense"],
                     ["run", "--set", "file-stor.folder=x"], ["run", "--set", "file-store.fold=x"],
                     ["run", "-p"], []):
            with self.subTest(" ".join(args)):
                result = self.run_sendit(*args, expect=2)
                self.assertTrue(result.err + result.out)

    def test_did_you_mean(self):
        self.assertIn("run", self.run_sendit("rum", expect=2).err)
        self.assertIn("file-store", self.run_sendit("run", "--set", "file-stor.folder=x",
                                                    expect=2).err)

    def test_help_and_version(self):
        for args in (["--help"], ["--version"], ["run", "--help"], ["plan", "--help"]):
            with self.subTest(" ".join(args)):
                self.assertTrue(self.run_sendit(*args).out)


class Key(sendit.Case):
    def setUp(self):
        super().setUp()
        self.site.add_images(1)
        self.key = os.path.join(self.site.state, "site.key")

    def refuse(self, *words):
        result = self.run_sendit("run", expect=3)
        self.assert_one_sentence(result, *words)
        self.assert_nothing_out()
        return result

    def test_key_readable_by_others(self):
        for mode in (0o640, 0o604, 0o644, 0o666):
            with self.subTest(oct(mode)):
                os.chmod(self.key, mode)
                self.refuse("key")

    def test_key_that_is_none(self):
        short = base64.b64encode(bytes(31)).decode()
        for text in ("", "\n", "secret\n", short + "\n", sendit.KEY[:-2] + "\n",
                     sendit.KEY + "\n" + sendit.KEY + "\n", "*" * 44 + "\n", "A" * 100000):
            with self.subTest(text[:20]):
                self.site.write_key()
                with open(self.key, "w") as file:
                    file.write(text)
                result = self.refuse("key")
                if len(text) > 8:
                    self.assertNotIn(text.strip()[:8], result.err)

    def test_key_that_is_a_link_or_a_folder(self):
        os.rename(self.key, self.site.path("elsewhere"))
        os.symlink(self.site.path("elsewhere"), self.key)
        self.refuse("key")
        os.unlink(self.key)
        os.mkdir(self.key)
        self.refuse("key")

    def test_another_key(self):
        self.assert_counts(self.run_json(), stored=1)
        self.site.add(sendit.make_image(2), "study1", "IM00002")
        before = sendit.tree(self.site.clean)
        self.site.write_key(base64.b64encode(b"another key, as long as it must be").decode())
        result = self.run_sendit("run", expect=3)
        self.assert_one_sentence(result, "fingerprint")
        self.assertEqual(before, sendit.tree(self.site.clean))

    def test_lost_key(self):
        """A state that knows a key must not quietly make a new one."""
        self.assert_counts(self.run_json(), stored=1)
        self.site.add(sendit.make_image(2), "study1", "IM00002")
        os.unlink(self.key)
        result = self.run_sendit("run", expect=3)
        self.assert_one_sentence(result, "key")
        self.assertEqual(len(sendit.images(self.site.clean)), 1)

    def test_key_made_at_first_use(self):
        shutil.rmtree(self.site.state)
        result = self.run_sendit("run")
        self.assertIn("fingerprint", result.out)
        self.assertTrue(sendit.owner_only(self.key))
        with open(self.key) as file:
            text = file.read()
        self.assertEqual(text.count("\n"), 1)
        self.assertGreaterEqual(len(base64.b64decode(text, validate=False)), 32)
        self.assertNotIn(text.strip(), result.out + result.err)

    def test_key_elsewhere(self):
        other = self.site.path("kept.key")
        os.rename(self.key, other)
        stages = self.site.stages()
        stages[sendit.at(stages, "local-anonymizer")]["config"] = {"key": "file:kept.key"}
        self.site.write_pipeline(stages)
        self.assert_counts(self.run_json(), stored=1)
        self.assertFalse(os.path.exists(self.key))

    def test_key_elsewhere_is_never_made(self):
        stages = self.site.stages()
        stages[sendit.at(stages, "local-anonymizer")]["config"] = {"key": "file:nowhere.key"}
        self.site.write_pipeline(stages)
        self.refuse("key")
        self.assertFalse(os.path.exists(self.site.path("nowhere.key")))

    def test_same_key_same_names_on_another_machine(self):
        self.run_json()
        other = self.new_site()
        other.add_images(1)
        self.run_json(site=other)
        self.assertEqual(sendit.tree(self.site.clean), sendit.tree(other.clean))

    def test_other_key_other_names(self):
        self.run_json()
        other = self.new_site()
        other.write_key(base64.b64encode(b"another key, as long as it must be").decode())
        other.add_images(1)
        self.run_json(site=other)
        self.assertFalse(set(sendit.tree(self.site.clean)) & set(sendit.tree(other.clean)))


class State(sendit.Case):
    def setUp(self):
        super().setUp()
        self.site.add_images(1)

    def database(self):
        """The ledger's file: the one that is SQLite."""
        for name in sorted(os.listdir(self.site.state)):
            path = os.path.join(self.site.state, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    if file.read(15) == b"SQLite format 3":
                        return path
        self.fail("there is no ledger in the state folder")

    def test_modes(self):
        self.run_json()
        self.assertTrue(sendit.owner_only(self.site.state))
        for place, folders, files in os.walk(self.site.state):
            for name in folders + files:
                self.assertTrue(sendit.owner_only(os.path.join(place, name)), name)

    def test_newer_state(self):
        self.run_json()
        with sqlite3.connect(self.database()) as database:
            database.execute("PRAGMA user_version = 9999")
        database.close()
        for args in (["run"], ["status"], ["log"], ["quarantine", "list"]):
            with self.subTest(args[0]):
                self.assert_one_sentence(self.run_sendit(*args, expect=3), "newer")

    def test_broken_state(self):
        self.run_json()
        with open(self.database(), "r+b") as file:
            file.write(b"this is no database " * 40)
        result = self.site.sendit("run")
        self.assert_sound(result)
        self.assertIn(result.status, (3, 4))
        self.assert_one_sentence(result)

    def test_state_that_others_can_enter(self):
        self.run_json()
        os.chmod(self.site.state, 0o755)
        self.assert_one_sentence(self.run_sendit("run", expect=3), "state")

    def test_state_that_is_a_file(self):
        shutil.rmtree(self.site.state)
        with open(self.site.state, "w"):
            pass
        result = self.site.sendit("run")
        self.assert_sound(result)
        self.assertIn(result.status, (3, 4))
        self.assert_one_sentence(result, "state")

    def test_state_of_somebody_else(self):
        if not sendit.is_root():
            self.skipTest("only root can give a folder to another user")
        self.run_json()
        os.chown(self.site.state, 65534, 65534)
        self.assert_one_sentence(self.run_sendit("run", expect=3), "state")

    def test_two_on_one_state(self):
        self.site.add_images(60, study=2, size=256)
        first = self.site.start("run", "--workers", "1")
        try:
            for _ in range(2000):
                try:
                    self.database()
                    if self.site.sendit("status", "--json").json["batches"]:
                        break
                except (AssertionError, ValueError, KeyError):
                    pass
                time.sleep(0.005)
            os.kill(first.pid, signal.SIGSTOP)
            result = self.run_sendit("run", expect=3)
            self.assert_one_sentence(result, str(first.pid))
            self.assertEqual(self.site.sendit("status").status, 0)
        finally:
            os.kill(first.pid, signal.SIGCONT)
            out, err = first.communicate(timeout=300)
        self.assertEqual(first.returncode, 0, out.decode() + err.decode())
        self.assertEqual(len(sendit.images(self.site.clean)), 61)

    def test_lock_does_not_outlive_its_holder(self):
        first = self.site.start("run")
        time.sleep(0.1)
        first.kill()
        first.communicate()
        self.assert_counts_of_all(stored=1)

    def assert_counts_of_all(self, **wanted):
        self.run_json()
        self.assert_counts(self.site.counts(), **wanted)

    def test_status_without_a_state(self):
        shutil.rmtree(self.site.state)
        for args in (["status"], ["log"], ["quarantine", "list"]):
            with self.subTest(args[0]):
                self.run_sendit(*args)
                self.assertFalse(os.path.exists(self.site.state))



class Elsewhere(sendit.Case):
    """A stage that tests lead to another server: only with consent, only to this machine."""

    VARIABLE = "ELSEWHERE_EMULATOR_HOST"

    def setUp(self):
        super().setUp()
        self.site.add_images(1)

    def write(self, config=None, emulator=False, **members):
        stages = self.site.stages()
        stages.insert(4, dict({"use": "elsewhere", "config": config or {}, "allow": [
            "network", "secrets"] + ["emulator"] * emulator}, **members))
        self.site.write_pipeline(stages)

    def ask(self, *args, expect=0, **variables):
        env = {name: value for name, value in os.environ.items()
               if not name.startswith("ELSEWHERE")}
        return self.run_sendit(*args, "--plugins", sendit.test_stages(), expect=expect,
                               env=dict(env, **variables))

    def refuse(self, *words, **variables):
        """By each command that reads the pipeline."""
        for command in ("plan", "check", "run"):
            result = self.ask(command, expect=3, **variables)
            self.assert_one_sentence(result, "elsewhere", *words)
            self.assertRegex(result.err, r"pipeline\.json:8:\d+: stages\[4\]")
        self.assert_nothing_out()

    def leads_to(self, url, **variables):
        """Where the workers ask."""
        result = self.ask("run", "--json", **variables)
        self.assert_adds_up(result.json)
        lines = [json.loads(line) for line in result.err.splitlines()]
        self.assertEqual({line["text"] for line in lines if line["event"] == "elsewhere.leads"},
                         {url})

    def test_an_option_without_consent(self):
        for config in ({"endpoint": "http://127.0.0.1:9"}, {"endpoint": "https://service.example"},
                       {"header": ["x: y"]}, {"header": []}, {"mirrors": ["http://localhost"]}):
            self.write(config)
            self.refuse("is for tests against another server", '"emulator"',
                        '"%s"' % list(config)[0])

    def test_an_option_of_the_command_line_without_consent(self):
        self.write()
        result = self.ask("plan", "--set", "elsewhere.endpoint=http://localhost:1", expect=3)
        self.assert_one_sentence(result, "is for tests against another server")

    def test_an_option_that_leads_out(self):
        for url in ("https://service.example", "http://127.0.0.1.example", "http://[::2]:9",
                    "http://0.0.0.0:1"):
            self.write({"endpoint": url}, emulator=True)
            self.refuse("leads to this machine only")
            self.write({"mirrors": ["http://localhost", url]}, emulator=True)
            self.refuse("leads to this machine only", '"mirrors"')

    def test_a_variable_of_no_known_form(self):
        self.write(emulator=True)
        for value in ("ftp://localhost:1", "localhost:port", "localhost:0", "me@localhost:1",
                      ":9023", "http://", "local host"):
            self.refuse(self.VARIABLE, "HOST:PORT", **{self.VARIABLE: value})

    def test_a_variable_that_leads_out(self):
        self.write(emulator=True)
        for value in ("service.example:443", "https://service.example", "10.0.0.1:9023"):
            self.refuse(self.VARIABLE, "on this machine", **{self.VARIABLE: value})

    def test_consent_without_use(self):
        stages = self.site.stages()
        stages[1]["allow"] = ["emulator"]
        self.site.write_pipeline(stages)
        result = self.ask("run", expect=3)
        self.assert_one_sentence(result, "pixel-check", 'drop "emulator"')
        self.assertRegex(result.err, r"pipeline\.json:5:\d+: stages\[1\]\.allow\[0\]: ")

    def test_a_variable_without_consent_is_nothing(self):
        self.write()
        for value in ("localhost:9023", "service.evil.example:1", "no form at all"):
            answer = self.ask("plan", "--json", **{self.VARIABLE: value}).json
            self.assertEqual(answer["stages"][4]["diverted"], {})
            self.assertEqual(answer["stages"][4]["config"]["endpoint"], "https://service.example")
        self.assertNotIn("FOR A TEST", self.ask("plan", **{self.VARIABLE: "localhost:1"}).out)
        self.leads_to("https://service.example", **{self.VARIABLE: "localhost:9023"})

    def test_the_plan_shows_where_it_leads(self):
        self.write(emulator=True)
        for value in ("127.0.0.1:9023", "http://127.0.0.1:9023", "http://127.0.0.1:9023/",
                      "http://127.0.0.1:9023/storage/v1"):
            answer = self.ask("plan", "--json", **{self.VARIABLE: value}).json
            self.assertEqual(answer["stages"][4]["diverted"], {"endpoint": {
                "to": "http://127.0.0.1:9023", "usually": "https://service.example",
                "variable": self.VARIABLE}})
        out = self.ask("plan", **{self.VARIABLE: "127.0.0.1:9023"}).out
        self.assertIn('diverted  elsewhere: "endpoint" leads to http://127.0.0.1:9023 by the '
                      "variable %s, not to https://service.example, FOR A TEST" % self.VARIABLE,
                      out)
        self.leads_to("http://127.0.0.1:9023", **{self.VARIABLE: "127.0.0.1:9023"})

    def test_an_option_goes_before_the_variable(self):
        self.write({"endpoint": "http://localhost:7"}, emulator=True)
        answer = self.ask("plan", "--json", **{self.VARIABLE: "localhost:9023"}).json
        self.assertEqual(answer["stages"][4]["diverted"], {"endpoint": {
            "to": "http://localhost:7", "usually": "https://service.example", "variable": None}})
        self.leads_to("http://localhost:7", **{self.VARIABLE: "localhost:9023"})

    def test_the_stage_shows_its_options_for_tests(self):
        shown = self.ask("stages", "elsewhere", "--json").json
        test = {option["name"]: option["test"] for option in shown["options"]}
        self.assertEqual(test, {"endpoint": True, "header": True, "mirrors": True,
                                "credentials": False})
        self.assertIn("(for tests)", self.ask("stages", "elsewhere").out)

    def test_credentials_in_the_first_place_that_counts(self):
        def found(expect=0, **variables):
            shutil.rmtree(self.site.state, ignore_errors=True)
            shutil.rmtree(self.site.clean, ignore_errors=True)
            self.site.write_key()
            lines = self.ask("run", expect=expect, **variables).err.splitlines()
            return {json.loads(line)["event"] for line in lines} & {
                "elsewhere.known", "elsewhere.nobody", "secret.refused"}

        self.write()
        home, missing = self.site.path("home"), self.site.path("missing")
        os.mkdir(home)
        secret = os.path.join(home, "credentials.json")
        self.assertEqual(found(), {"elsewhere.nobody"})
        self.assertEqual(found(ELSEWHERE_HOME=home), {"elsewhere.nobody"})
        self.assertEqual(found(ELSEWHERE_HOME=missing), {"elsewhere.nobody"})
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("{}")
        self.assertEqual(found(ELSEWHERE_HOME=home), {"elsewhere.known"})
        self.assertEqual(found(ELSEWHERE_HOME=missing, ELSEWHERE_CREDENTIALS=secret),
                         {"elsewhere.known"})
        # What counts and cannot be used is an error; the next place is not asked.
        self.assertEqual(found(1, ELSEWHERE_HOME=home, ELSEWHERE_CREDENTIALS=missing),
                         {"secret.refused"})
        self.assert_nothing_out()
        os.chmod(secret, 0o644)
        self.assertEqual(found(1, ELSEWHERE_HOME=home), {"secret.refused"})
        self.assert_nothing_out()


if __name__ == "__main__":
    unittest.main()
