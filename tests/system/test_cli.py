# SPDX-License-Identifier: Apache-2.0
"""The commands that show things: what they say, how they end, and whom they tell it."""
import os
import re
import subprocess
import unittest

import sendit

COMMANDS = ("run", "plan", "check", "stages", "new-stage", "test-stage", "test-recipe", "lint", "diff",
            "status", "log", "quarantine", "retry", "resume", "reconcile")
NAME = "WEIDENBACH^ROSA"


class Frame(sendit.Case):
    """Help, versions, mistakes on the command line."""

    def test_alone_it_names_its_commands(self):
        result = self.run_sendit(expect=2)
        self.assertEqual(result.out, "")
        for command in COMMANDS:
            self.assertRegex(result.err, r"(?m)^  %s  " % command)

    def test_every_command_is_tested_and_has_a_man_page(self):
        text = self.run_sendit("--help").out.split("Commands\n")[1].split("\n\n")[0]
        self.assertEqual(tuple(line.split()[0] for line in text.splitlines()), COMMANDS)
        with open(os.path.join(sendit.ROOT, "core", "install", "CMakeLists.txt")) as file:
            self.assertIn("foreach(command %s)" % " ".join(COMMANDS), file.read())

    def test_completion(self):
        script = self.run_sendit("--completion").out
        ask = "COMP_WORDS=(%s); COMP_CWORD=%d; _sendit; echo ${COMPREPLY[*]}"
        for words, wanted in (("sendit st", "stages status"), ("sendit quarantine sh", "show"),
                              ("sendit run --pl", "--plugins"), ("sendit help pl", "plan")):
            done = subprocess.run(["bash", "-c", script + ask % (words, len(words.split()) - 1)],
                                  stdout=subprocess.PIPE, check=True)
            self.assertEqual(done.stdout.decode().strip(), wanted)

    def test_help_of_each_command(self):
        for command in COMMANDS:
            text = self.run_sendit(command, "--help").out
            self.assertTrue(text.startswith("usage: sendit %s " % command), text)
            self.assertEqual(text, self.run_sendit("help", command).out)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 100, line)
                self.assertEqual(line, line.rstrip())

    def test_man_page_has_the_text_of_help(self):
        for command in COMMANDS:
            words = self.run_sendit(command, "--help").out.split("\n\n")[1].split()
            page = self.run_sendit(command, "--man").out.replace("\\-", "-").replace("\\&", "")
            page = page.replace("\\(dq", '"')
            page = re.sub(r"(?m)^\.(PP|nf|fi)$", "", page).split()
            text = " ".join(page)
            self.assertIn(" ".join(words), text, command)

    def test_version(self):
        text = self.run_sendit("--version").out
        self.assertRegex(text, r"^sendit \d+\.\d+\.\d+\nstage ABI \d+\.\d+\n")
        answer = self.run_sendit("--version", "--json").json
        self.assertEqual(text.split()[1], answer["version"])

    def test_mistakes(self):
        for args, words in ((["plann"], ["plann", 'did you mean "plan"?']),
                            (["run", "--workrs", "2"], ["--workrs", "--workers"]),
                            (["run", "--workers", "none"], ["--workers", "whole number"]),
                            (["plan", "--paths"], ["plan takes no --paths"]),
                            (["status", "extra"], ["extra"]),
                            (["quarantine", "lits"], ["lits", 'did you mean "list"?']),
                            (["quarantine", "show"], ["id of an image"])):
            result = self.run_sendit(*args, expect=2)
            for word in words:
                self.assertIn(word, result.err)
            self.assertRegex(result.err, r"^sendit: .*\nsee sendit .*--help\n$")
            self.assertEqual(result.out, "")

    def test_mistakes_as_json(self):
        result = self.run_sendit("plann", "--json", expect=2)
        self.assertEqual(result.json["status"], 2)
        self.assertIn("plann", result.json["error"])
        self.assertEqual(result.err, "")

    def test_log_level_of_the_environment(self):
        env = dict(os.environ, SENDIT_LOG="dbug")
        result = self.run_sendit("check", expect=2, env=env)
        self.assertIn('did you mean "debug"?', result.err)

    def test_no_pipeline(self):
        os.remove(self.site.path("pipeline.json"))
        if os.path.exists("/etc/sendit/pipeline.json"):
            self.skipTest("this machine has a pipeline of its own in /etc")
        for command in ("run", "plan", "check", "status", "log"):
            result = self.run_sendit(command, expect=3)
            self.assert_one_sentence(result, "no pipeline.json")

    def test_answer_that_cannot_be_written(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([sendit.program(), "plan"], cwd=self.site.folder, stdout=full,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn(b"could not be written", done.stderr)

    def test_reader_that_goes_away(self):
        self.site.add_images(3)
        read, write = os.pipe()
        os.close(read)
        for command in ("plan", "run", "status"):
            done = subprocess.run([sendit.program(), command], cwd=self.site.folder, stdout=write,
                                  stderr=subprocess.PIPE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
        os.close(write)
        self.assertEqual(len(sendit.images(self.site.clean)), 3)

    def test_closed_standard_files(self):
        """The first file that is opened must not become stdout."""
        self.site.add_images(2)
        done = subprocess.run(["sh", "-c", 'exec "$0" run <&- >&- 2>&-', sendit.program()],
                              cwd=self.site.folder, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(self.site.counts()["stored"], 2)


class Plan(sendit.Case):
    """sendit plan, check, stages."""

    def test_table(self):
        text = self.run_sendit("plan").out
        for word in ("importer", "pixel-check", "deid-filter", "local-anonymizer", "file-store",
                     "pixels.checked", "filters.passed", "ids.replaced", "deid.header",
                     "hands images out", "no stage talks to it",
                     "every label of sendit's own comes from a stage that ships"):
            self.assertIn(word, text)
        self.assertRegex(text, r"key +fingerprint [0-9a-f]{4}-")
        self.assertTrue(text.endswith("\nProved: no image reaches file-store without "
                                      "pixels.checked, filters.passed, ids.replaced and "
                                      "deid.header.\n"), text)
        for line in text.splitlines():
            self.assertEqual(line, line.rstrip())
        self.assertNotIn("\033", text)

    def test_plan_writes_nothing(self):
        os.remove(os.path.join(self.site.state, "site.key"))
        os.rmdir(self.site.state)
        text = self.run_sendit("plan").out
        self.assertIn("will be made at first use", text)
        self.assertFalse(os.path.exists(self.site.state))
        self.assertFalse(os.path.exists(self.site.clean))

    def test_key_that_is_refused(self):
        os.chmod(os.path.join(self.site.state, "site.key"), 0o644)
        self.assert_one_sentence(self.run_sendit("plan", expect=3), "site.key")

    def test_key_that_is_named_and_not_there(self):
        stages = self.site.stages()
        stages[sendit.at(stages, "local-anonymizer")]["config"] = {"key": "file:other.key"}
        self.site.write_pipeline(stages)
        self.assert_one_sentence(self.run_sendit("plan", expect=3), "other.key")

    def test_lowered_policy_is_said(self):
        stages = [entry for entry in self.site.stages() if entry["use"] != "pixel-check"]
        self.site.write_pipeline(stages, policy={
            "egress_needs": ["filters.passed", "ids.replaced", "deid.header"],
            "because": "phantoms only"})
        text = self.run_sendit("plan").out
        self.assertIn("LOWERED by the site: pixels.checked is not asked for", text)
        self.assertIn("because: phantoms only", text)
        self.assertIn("Proved, under the lowered policy:", text)

    def test_nothing_asked_is_nothing_proved(self):
        self.site.write_pipeline(policy={"egress_needs": [], "because": "phantoms only"})
        text = self.run_sendit("plan").out
        self.assertIn("NOTHING IS PROVED", text)
        self.assertNotIn("Proved", text)

    def test_dry(self):
        self.site.write_pipeline(self.site.stages()[:4], dry=True)
        self.assertIn("Proved: nothing leaves", self.run_sendit("plan").out)

    def test_json(self):
        answer = self.run_sendit("plan", "--json", "--set", "importer.recursive=false").json
        self.assertEqual([stage["id"] for stage in answer["stages"]],
                         ["importer", "pixel-check", "deid-filter", "local-anonymizer",
                          "file-store"])
        self.assertEqual(answer["stages"][0]["config"]["recursive"], False)
        self.assertEqual(answer["policy"]["egress_needs"],
                         ["pixels.checked", "filters.passed", "ids.replaced", "deid.header"])
        for stage in answer["stages"]:
            self.assertRegex(stage["digest"], r"^[0-9a-f]{64}$")
            self.assertTrue(stage["ships"])
        self.assertRegex(answer["key"]["fingerprint"], r"^[0-9a-f-]+$")

    def test_disabled_entry_is_off(self):
        stages = self.site.stages()
        stages.insert(2, {"use": "pixel-check", "id": "again", "enabled": False})
        self.site.write_pipeline(stages)
        self.assertRegex(self.run_sendit("plan").out, r"(?m)^off +again$")

    def test_site_stage_that_hides_one_of_ours(self):
        """A copy of pixel-check beside the pipeline is the site's, and needs consent."""
        own = os.path.join(os.path.dirname(sendit.program()), "plugins.d", "pixel-check.so")
        os.mkdir(self.site.path("plugins.d"))
        with open(own, "rb") as file, open(self.site.path("plugins.d", "pixel-check.so"),
                                           "wb") as copy:
            copy.write(file.read())
        self.assert_one_sentence(self.run_sendit("plan", expect=3), "grant:pixels.checked")
        stages = self.site.stages()
        stages[1]["allow"] = ["grant:pixels.checked"]
        self.site.write_pipeline(stages)
        text = self.run_sendit("plan").out
        self.assertIn("the site vouches that pixel-check, which does not ship with sendit, grants "
                      "pixels.checked", text)
        self.assertRegex(text, r"(?m)^hidden +pixel-check is the site's ")
        self.assertRegex(text, r"(?m)^allowed +pixel-check: grant:pixels.checked$")
        listed = self.run_sendit("stages").out
        self.assertIn("site's", listed)
        self.assertIn("ships, hidden", listed)

    def test_check(self):
        self.assertIn("pipeline.json is valid", self.run_sendit("check").out)
        self.assertEqual(self.run_sendit("check", "--json").json["valid"], True)
        result = self.run_sendit("check", "--set", "pixel-check.enabled=false", expect=3)
        self.assert_one_sentence(result, "pipeline.json:", "pixels.checked")

    def test_a_study_that_is_not_called_as_its_collection(self):
        if self.site.sendit("stages", "gcs-store").status:
            self.skipTest("there is no gcs-store")
        stages = self.site.stages()
        stages[3:] = [{"use": "restful-anonymizer", "allow": ["network", "sends-phi", "secrets"],
                       "config": {"url": "https://ids.example", "study": "irb2"}},
                      {"use": "gcs-store", "allow": ["network", "secrets"],
                       "config": {"bucket": "b-1", "collection": "IRB1", "project": "p-1"}}]
        self.site.write_pipeline(stages)
        answer = self.run_sendit("plan", "--json").json
        self.assertEqual(len(answer["warnings"]), 1)
        self.assertRegex(answer["warnings"][0], r"^pipeline\.json:7:\d+: .*irb2.*IRB1")
        self.assertRegex(self.run_sendit("plan").out, r"(?m)^warning .*irb2.*IRB1")
        stages[3]["config"]["study"] = "irb1"
        self.site.write_pipeline(stages)
        self.assertEqual(self.run_sendit("plan", "--json").json["warnings"], [])

    def test_stages(self):
        text = self.run_sendit("stages").out
        for name in ("importer", "pixel-check", "local-anonymizer", "file-store"):
            self.assertRegex(text, r"(?m)^%s +\d" % name)
            one = self.run_sendit("stages", name).out
            self.assertIn("ships with sendit", one)
        self.assertIn("(required)", self.run_sendit("stages", "file-store").out)
        core = self.run_sendit("stages", "run").out
        for option in ("stage_timeout", "retry_for", "max_inflate", "min_free", "worker_memory"):
            self.assertIn(option, core)
        result = self.run_sendit("stages", "pixle-check", expect=3)
        self.assert_one_sentence(result, 'did you mean "pixel-check"?')

    def test_schema(self):
        """It knows every option of every stage, with its type."""
        schema = self.run_sendit("stages", "--schema").json
        entry = schema["properties"]["stages"]["items"]
        options = {case["if"]["properties"]["use"]["const"]:
                   case["then"]["properties"]["config"]["properties"] for case in entry["allOf"]}
        options["run"] = schema["properties"]["run"]["properties"]
        self.assertEqual(sorted(options), sorted(entry["properties"]["use"]["enum"] + ["run"]))
        types = {"integer": "integer", "boolean": "boolean", "choice": None, "json": None}
        for name, shown in options.items():
            listed = self.run_sendit("stages", name, "--json").json["options"]
            self.assertEqual([option["name"] for option in listed], list(shown))
            for option in listed:
                one = shown[option["name"]]
                if option["list"]:
                    self.assertEqual(one["type"], "array")
                    one = one["items"]
                self.assertEqual(one.get("type"), types.get(option["type"], "string"))
                if option["type"] == "choice":
                    self.assertEqual(one["enum"], option["limit"].split("|"))
        self.assertFalse(schema["additionalProperties"] or entry["additionalProperties"])
        self.run_sendit("stages", "importer", "--schema", expect=2)
        self.run_sendit("plan", "--schema", expect=2)

    def test_stages_that_cannot_be_loaded_are_listed(self):
        os.mkdir(self.site.path("plugins.d"))
        with open(self.site.path("plugins.d", "broken.so"), "w") as file:
            file.write("no library")
        self.assertRegex(self.run_sendit("stages").out, r"(?m)^broken +- +REFUSED .*broken.so: ")
        answer = self.run_sendit("stages", "--json").json
        self.assertIn("broken.so", [entry for entry in answer if entry["refused"]][0]["refused"])
        names = [entry["name"] for entry in answer if not entry["refused"]]
        self.assertEqual(names, sorted(names))


class Ledger(sendit.Case):
    """sendit status, log, quarantine: after a run, and without one."""

    def setUp(self):
        super().setUp()
        self.secret = os.path.join(NAME, "R\xf6sa-1961")

    def fill(self):
        """One batch with two stored, one held and one ignored; names of files are PHI."""
        for number in (1, 2):
            self.site.add(sendit.make_image(number), self.secret, "IM%d" % number)
        self.site.add_bytes(b"no DICOM at all" * 20, self.secret, "IM3")
        self.site.add_bytes(b"", self.secret, "IM4")
        self.run_sendit("run")

    def answers(self, *more):
        """All that the three commands say, as text and as JSON."""
        text = ""
        for args in (["status"], ["log"], ["log", "b1"], ["quarantine", "list"],
                     ["quarantine", "list", "b1"], ["quarantine", "show", "b1-000003"]):
            for form in ([], ["--json"]):
                text += self.run_sendit(*args, *form, *more).out
        return text

    def test_before_the_first_run(self):
        for args in (["status"], ["log"], ["quarantine", "list"]):
            self.assertIn("nothing was run yet", self.run_sendit(*args).out)
            self.assertEqual(self.run_sendit(*args, "--json").json, {})

    def test_counts_add_up(self):
        self.fill()
        answer = self.run_sendit("status", "--json").json
        self.assert_adds_up(answer["totals"])
        self.assertEqual(answer["totals"]["found"], 4)
        self.assertEqual(len(answer["batches"]), 1)
        self.assertEqual(answer["batches"][0]["state"], "DONE")
        self.assert_adds_up(answer["batches"][0]["counts"])
        self.assert_reasons(answer, dicom__not_dicom=1, import__empty=1)
        lines = self.run_sendit("status").out.splitlines()
        self.assertRegex(lines[1], r"^b1 +DONE +4 +2 +1 +0 +1 +0 ")
        self.assertRegex(lines[2], r"^total +4 +2 +1 +0 +1 +0$")

    def test_quarantine(self):
        self.fill()
        self.assertRegex(self.run_sendit("quarantine", "list").out,
                         r"b1 +core +dicom.not_dicom +1\n\n1 image is held")
        listed = self.run_sendit("quarantine", "list", "b1", "--json").json
        self.assertEqual([(item["image"], item["code"]) for item in listed],
                         [("b1-000003", "dicom.not_dicom")])
        shown = self.run_sendit("quarantine", "show", "b1-000003").out
        self.assertRegex(shown, r"(?m)^reason +dicom.not_dicom$")

    def test_no_names_without_paths(self):
        self.fill()
        text = self.answers()
        for word in (NAME, "WEIDENBACH", "1961", "IM3", "sa-"):
            self.assertNotIn(word, text)

    def test_names_with_paths(self):
        self.fill()
        path = os.path.join(self.site.data, self.secret)
        self.assertIn(path, self.run_sendit("status", "--paths").out)
        self.assertIn(path + "/IM4", self.run_sendit("log", "b1", "--paths").out)
        self.assertIn(path + "/IM3", self.run_sendit("quarantine", "list", "b1", "--paths").out)
        shown = self.run_sendit("quarantine", "show", "b1-000003", "--paths", "--json").json
        self.assertEqual(shown[0]["path"], path + "/IM3")

    def test_names_that_a_terminal_would_obey(self):
        folder = os.fsencode(self.site.data) + b"/\033[31m\xff"
        os.mkdir(folder)
        with open(folder + b"/x\ny", "wb") as file:
            file.write(b"no DICOM at all" * 20)
        self.run_sendit("run")
        for args in (["status"], ["log", "b1"], ["quarantine", "list", "b1"],
                     ["quarantine", "show", "b1-000001"]):
            text = self.run_sendit(*args, "--paths").out
            self.assertIn("/\\x1b[31m\\xff", text)
            self.assertNotIn("\033", text)
            self.run_sendit(*args, "--paths", "--json").json

    def test_paths_are_for_the_owner(self):
        if not sendit.is_root():
            self.skipTest("only root can give a folder away")
        self.fill()
        os.chown(self.site.state, 65534, 65534)
        for args in (["status"], ["log", "b1"], ["quarantine", "list", "b1"]):
            result = self.run_sendit(*args, "--paths", expect=3)
            self.assertEqual(result.out, "")
            self.assert_one_sentence(result, "not")
            self.assertNotIn("WEIDENBACH", result.err)

    def test_what_is_not_there(self):
        self.fill()
        for args in (["log", "b9"], ["log", "../b1"], ["log", "b1-000001"],
                     ["quarantine", "list", "b9"], ["quarantine", "show", "b9-000001"],
                     ["quarantine", "show", "b1"], ["quarantine", "list", ""],
                     ["quarantine", "show", "b1-000003; drop table item"]):
            result = self.run_sendit(*args, expect=2)
            self.assert_one_sentence(result, "there is no")

    def test_log_of_a_batch_in_error(self):
        os.chmod(self.site.add(sendit.make_image(1), self.secret, "IM1"), 0)
        prefix = self.as_nobody() if sendit.is_root() else []
        self.run_sendit("run", expect=1, prefix=prefix)
        for args in (["log"], ["log", "b1"], ["status"]):
            self.assertNotIn("WEIDENBACH", self.run_sendit(*args, prefix=prefix).out)
        self.assertRegex(self.run_sendit("log", "b1", prefix=prefix).out,
                         r"b1-000001 +failed +core +import\.unreadable")
        self.assertRegex(self.run_sendit("status", prefix=prefix).out, r"ERROR: 1; why: sendit log")

    def test_why_a_batch_waits(self):
        """A place that cannot be used puts the batch back; status says what stands in its way."""
        self.site.add_images(2)
        self.site.add_bytes(b"", os.path.join("..", "clean"))
        self.run_sendit("run", expect=4)
        answer = self.run_sendit("status", "--json").json
        self.assertEqual(answer["totals"]["waiting"], 2)
        self.assertEqual([(one["batch"], one["stage"]) for one in answer["waits"]],
                         [("b1", "file-store")])
        text = self.run_sendit("status").out
        self.assertRegex(text, r"(?m)^waits +stage +reason$")
        self.assertRegex(text, r"(?m)^b1 +file-store +file\.place ")
        self.assertIn("QUEUE: 1; the next sendit run takes what waits.", text)

class Manual(unittest.TestCase):
    """The pages for operators name every reason code that an image can end with, and no other."""

    # Codes that end a run or are tried again, facts and events: none of them is an image's end.
    OTHERS = {"import.interrupted", "import.done_folder", "import.missing", "import.place",
              "import.output", "import.memory", "import.fact", "import.study", "file.busy",
              "file.kept", "file.replaced", "file.place", "file.template", "file.no_room",
              "batch.left", "batch.abandoned", "ids.item", "ids.entity", "ids.memory", "ids.fact",
              "ids.profile", "ids.recipes", "pixel.memory", "pixel.passed",
              "filter.none", "filter.recipe", "filter.memory", "filter.fact", "filter.whitelist",
              "deid.profile", "deid.header", "deid.because", "deid.identity",
              "ids.replaced", "deid.compile", "deid.apply", "deid.memory",
              "deid.edit", "dicom.starr", "restful.options", "restful.expired",
              "gcs.answer", "gcs.bucket", "gcs.busy", "gcs.canceled", "gcs.changed",
              "gcs.collection", "gcs.corrupt", "gcs.kms_key", "gcs.ledger",
              "gcs.metadata", "gcs.missing", "gcs.no_room", "gcs.number",
              "gcs.permission", "gcs.place", "gcs.prepared", "gcs.project", "gcs.replaced",
              "gcs.request", "gcs.spool", "gcs.stalled", "gcs.stored", "gcs.template",
              "gcs.unknown", "gcs.unsettled"}

    def test_reason_codes(self):
        pattern = r"((?:host|dicom|deid|filter|import|pixel|ids|restful|google|file|gcs|batch|hold)\.[a-z_]{2,})"
        with open(os.path.join(sendit.ROOT, "core", "manual", "reasons.md")) as file:
            page = set(re.findall("`" + pattern + "`", file.read()))
        source = set()
        for folder in ("core/run", "core/dicom", "core/deid", "core/services", "stages"):
            for place, _, names in os.walk(os.path.join(sendit.ROOT, folder)):
                for name in names:
                    if name.endswith((".c", ".cc")):
                        with open(os.path.join(place, name)) as file:
                            source |= set(re.findall('"' + pattern + '"', file.read()))
        self.assertEqual(page - source, set(), "on the page, but not in the source")
        self.assertEqual(source - page - self.OTHERS, set(), "in the source, but not on the page")

if __name__ == "__main__":
    unittest.main()
