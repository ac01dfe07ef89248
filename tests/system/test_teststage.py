# SPDX-License-Identifier: Apache-2.0
"""sendit test-stage: cases that pass, that differ and that are broken, and stages that are bad."""
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

import sendit

KINDS = ("SOUND LEAKS LEAKS_FILES LEAKS_ITEMS CRASHES CRASHES_LATER EXITS INVENTS EDITS PASSES_ANYWAY "
         "CHANGES LEAVES_FILES SAYS SENDS STARTS MISUSES BAD_WORDS SETTLES FORGETS WAITS_ANYWAY "
         "UNSETTLED TELLS").split()
CHECKS = 12  # what every stage must stand
DUMP = """# A CT image of nobody.
(0008,0016) UI =CTImageStorage
(0008,0018) UI [1.2.826.0.1.3680043.8.498.1.1.1]
(0008,0060) CS [CT]
(0010,0010) PN [Doe^Jane]
"""
BURNED_IN = DUMP + "(0028,0301) CS [YES]\n"
PLUGINS = os.path.join(os.path.dirname(sendit.program() or ""), "plugins.d")
PIXEL_CHECK = os.path.join(PLUGINS, "pixel-check.so")
HAS_DUMP = shutil.which("dump2dcm")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if isinstance(text, str) else json.dumps(text))
    return path


@unittest.skipUnless(sendit.program(), "sendit is not built")
@unittest.skipUnless(HAS_DUMP, "dump2dcm is not installed")
class TestStage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.mkdtemp(prefix="sendit-teststage-")
        cls.built = {}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.place)

    def stage(self, kind):
        """The fixture stage that is wrong in this way."""
        if kind not in self.built:
            folder = os.path.join(self.place, kind)
            os.mkdir(folder)
            self.built[kind] = os.path.join(folder, "trial.so")
            subprocess.run(["cc", "-shared", "-fPIC", "-fvisibility=hidden", "-g",
                            "-DTRIAL=%s" % kind,
                            "-I", os.path.join(sendit.ROOT, "core", "include"),
                            "-o", self.built[kind],
                            os.path.join(sendit.ROOT, "tests", "badstages", "trial.c")],
                           check=True, timeout=120)
        return self.built[kind]

    def case(self, name="one", dump=DUMP, config=None, host=None, expect=None, files=None):
        """A folder with a case; what is None is left out."""
        folder = os.path.join(tempfile.mkdtemp(dir=self.place), name)
        os.mkdir(folder)
        for file, text in (("in.dump", dump), ("config.json", config), ("host.json", host),
                           ("expect.json", expect)):
            if text is not None:
                write(os.path.join(folder, file), text)
        for file, text in (files or {}).items():
            write(os.path.join(folder, file), text)
        return folder

    def run_it(self, *args, status=0):
        env = dict(os.environ, TMPDIR=self.place)
        done = subprocess.run([sendit.program(), "test-stage", *args], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                              cwd=self.place, timeout=300)
        output = done.stdout.decode()
        self.assertEqual(done.returncode, status, output)
        left = [name for name in os.listdir(self.place) if name.startswith("sendit-case")]
        self.assertEqual(left, [], "folders of trials are left")
        return output

    def results(self, *args, status=0):
        """name -> result."""
        answer = json.loads(self.run_it(*args, "--json", status=status))
        results = {result["name"]: result for result in answer["results"]}
        counted = [sum(r["passed"] and r["skipped"] is None for r in results.values()),
                   sum(not r["passed"] for r in results.values()),
                   sum(r["skipped"] is not None for r in results.values())]
        self.assertEqual(counted, [answer["passed"], answer["failed"], answer["skipped"]])
        return results

    def failed(self, kind, *cases):
        """check -> text, of those that the fixture does not stand."""
        results = self.results(self.stage(kind), *cases, status=1)
        return {name: result["text"] for name, result in results.items() if not result["passed"]}

    # ---- the answer ----

    def test_tap(self):
        output = self.run_it(self.stage("SOUND"))
        lines = output.splitlines()
        self.assertEqual(lines[:3], ["TAP version 13", "1..%d" % CHECKS, "# trial 1.0.0"])
        numbers = [int(n) for n in re.findall(r"^ok (\d+) - ", output, re.M)]
        self.assertEqual(numbers, list(range(1, CHECKS + 1)))
        self.assertEqual(lines[-1], "# %d passed, 0 failed, 2 skipped" % (CHECKS - 2))
        self.assertIn("# SKIP the stage is no source", output)

    def test_shipped_by_name(self):
        self.assertIn("# pixel-check ", self.run_it("pixel-check"))

    def test_diff(self):
        case = self.case(dump=BURNED_IN, expect={"verdict": "PASS", "labels": "pixels.checked"})
        output = self.run_it(PIXEL_CHECK, case, status=1)
        self.assertIn("not ok %d - one\n" % (CHECKS + 1), output)
        for line in ('# -   "verdict": "PASS",', '# -   "labels": "pixels.checked"',
                     '# +   "verdict": "QUARANTINE",', '# +   "code": "pixel.burned_in",'):
            self.assertIn(line + "\n", output)

    def test_update(self):
        case = self.case(dump=BURNED_IN, expect={"about": "Held.", "verdict": "PASS",
                                                 "text": "?"})
        self.assertIn("1 written", self.run_it(PIXEL_CHECK, case, "--update"))
        with open(os.path.join(case, "expect.json"), encoding="utf-8") as file:
            written = json.load(file)
        self.assertEqual(written, {
            "about": "Held.", "verdict": "QUARANTINE", "code": "pixel.burned_in",
            "text": "Burned In Annotation does not say that its pixels are free of text.",
            "metrics": {"burned_in": 1}})
        self.assertNotIn("written", self.run_it(PIXEL_CHECK, case, "--update"))
        self.run_it(PIXEL_CHECK, case)

    def test_stars(self):
        expect = {"verdict": "QUARANTINE", "code": "*", "metrics": {"burned_in": 1}}
        case = self.case(dump=BURNED_IN, expect=expect)
        self.run_it(PIXEL_CHECK, case)
        self.run_it(PIXEL_CHECK, case, "--update")
        with open(os.path.join(case, "expect.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), expect)
        # It stands for text that is there, not for text that is not.
        case = self.case(expect={"verdict": "PASS", "code": "*", "labels": "pixels.checked"})
        self.run_it(PIXEL_CHECK, case, status=1)
        anonymizer = os.path.join(PLUGINS, "local-anonymizer.so")
        dump = DUMP + "(0010,0020) LO [P]\n(0020,000d) UI [1.2]\n(0020,000e) UI [1.3]\n"
        expect = {"verdict": "PASS", "labels": "*", "facts": {"*": "*"}, "batch_facts": {"*": "*"},
                  "tags": {"PatientName": "", "*": "*"}, "metrics": {"emptied": 1}}
        case = self.case(dump=dump, expect=expect)
        output = self.run_it(anonymizer, case, status=1)
        self.assertRegex(output, r"(?m)^# \+ .*\"uids\": 3")
        self.assertNotIn("PatientName", output.replace("...", ""))
        expect["tags"]["PatientName"] = "Doe^Jane"
        self.assertIn('# +     "PatientName": ""', self.run_it(
            anonymizer, self.case(dump=dump, expect=expect), status=1))

    def test_several_and_missing_expectation(self):
        case = self.case(dump=None, expect=None, files={"in/b.dump": BURNED_IN, "in/a.dump": DUMP})
        output = self.run_it(PIXEL_CHECK, case, status=1)
        self.assertIn("expect.json is missing; --update writes it", output)
        self.run_it(PIXEL_CHECK, case, "--update")
        with open(os.path.join(case, "expect.json"), encoding="utf-8") as file:
            items = json.load(file)["items"]
        self.assertEqual({name: item["verdict"] for name, item in items.items()},
                         {"a": "PASS", "b": "QUARANTINE"})

    def test_dcm(self):
        case = self.case(dump=None, expect={"verdict": "PASS", "labels": "pixels.checked"})
        sendit.save(sendit.make_image(), os.path.join(case, "in.dcm"))
        self.run_it(PIXEL_CHECK, case)
        write(os.path.join(case, "in.dcm"), "no DICOM at all")
        write(os.path.join(case, "expect.json"), {"verdict": "QUARANTINE",
                                                  "code": "dicom.not_dicom"})
        self.run_it(PIXEL_CHECK, case)

    # ---- what the stage finds ----

    def test_labels(self):
        # A label that the stage needs and the item has not: it is not shown.
        store = os.path.join(PLUGINS, "file-store.so")
        case = self.case(config={"folder": "clean", "template": "{entity}/{instance}.dcm"},
                         host={"facts": {"ids.entity": "p1"}, "labels": "pixels.checked"},
                         expect={"verdict": "PASS", "labels": "pixels.checked", "metrics": {
                             "bytes": 1}, "files": {"clean/p1/1.2.826.0.1.3680043.8.498.1.1.1.dcm":
                                                    {"item": "in"}}})
        output = self.run_it(store, case, status=1)
        self.assertEqual(re.findall(r"^# ([-+]) +(.*)$", output, re.M)[0], ("-", '"bytes": 1'))
        self.assertEqual(len(re.findall(r"^# [-+] ", output, re.M)), 2)

    def test_http(self):
        answer = {"request": {"method": "POST", "url": "https://service.example/api/images"},
                  "answer": {"status": 200, "headers": {"ETag": "e1"}, "body": {"a": 1}}}
        config = {"token": "env:TRIAL_TOKEN"}
        sent = {"method": "POST", "url": "https://service.example/api/images", "auth": "token",
                "headers": ["Content-Type: text/plain"], "body": "hello"}
        host = {"http": [answer], "secrets": {"env:TRIAL_TOKEN": "open sesame"}}
        expect = {"verdict": "PASS", "labels": "trial.done", "facts": {"trial.etag": "e1"},
                  "requests": [sent]}
        case = self.case(config=config, host=host, expect=expect)
        results = self.results(self.stage("SENDS"), case)
        self.assertEqual([r["text"] for r in results.values() if not r["passed"]], [])
        self.assertNotIn("sesame", json.dumps(results))
        # in flight until finish()
        del expect["facts"]
        self.run_it(self.stage("STARTS"), self.case(config=config, host=host, expect=expect))
        refused = dict(host, http=[dict(answer, answer={"status": 503})])
        self.run_it(self.stage("STARTS"), self.case(config=config, host=refused, expect=dict(
            expect, finish="FAIL trial.failed", abandon="PASS")))
        away = dict(host, http=[dict(answer, answer={"error": "EIO"})])
        self.run_it(self.stage("SENDS"), self.case(config=config, host=away, expect={
            "verdict": "RETRY", "code": "trial.send", "abandon": "PASS", "requests": [sent]}))

    SERVICE = "https://service.example/api/rows"

    def settles(self, *answers, host=None, **expect):
        """A batch whose row is settled by these answers: status, or an error."""
        http = [{"request": {"method": method, "url": self.SERVICE},
                 "answer": {"error": answer} if isinstance(answer, str) else {"status": answer}}
                for method, answer in answers]
        case = self.case(config={"token": "env:TRIAL_TOKEN"},
                         host=dict({"http": http, "secrets": {"env:TRIAL_TOKEN": "x"}},
                                   **(host or {})),
                         expect=dict({"verdict": "PASS", "labels": "trial.done",
                                      "finish": "LATER", "requests": "*"}, **expect))
        expect = os.path.join(case, "expect.json")
        with open(expect) as file:
            value = json.load(file)
        value["requests"] = [{"method": method, "url": self.SERVICE, "auth": "token"}
                             for method, _ in answers]
        if not answers:
            del value["requests"]
        write(expect, value)
        return case

    def test_settle(self):
        post = "POST"
        for case in (
                self.settles((post, 200), host={"settle": 1}, settled={"batch": "PASS"},
                             store={"batch": "done"}),
                self.settles((post, 202), (post, 202), (post, 200), host={"settle": 3},
                             settled={"batch": "PASS"}, store={"batch": "done"}),
                self.settles((post, 202), (post, 200), host={"settle": 1, "attempts": 2},
                             settled={"batch": "PASS"}, store={"batch": "done"}),
                self.settles((post, 202), host={"settle": 1}, settle="RETRY trial.work",
                             store={"batch": "queued"}),
                self.settles((post, 400), host={"settle": 1},
                             settled={"batch": "FAIL trial.lost"}, store={"batch": "done"}),
                self.settles((post, "EIO"), host={"settle": 1}, settle="RETRY trial.away",
                             store={"batch": "queued"}),
                self.settles((post, 200), host={
                    "settle": 1, "faults": ["store.put: EIO on the 2nd call"]},
                             settle="RETRY trial.away", settled={"batch": "PASS"},
                             store={"batch": "queued"}),
                self.settles(store={"batch": "queued"}),
                # what another batch left in the store is settled, too
                self.settles((post, 200), (post, 200),
                             host={"settle": 1, "store": {"b7": "queued"}},
                             settled={"b7": "PASS", "batch": "PASS"},
                             store={"b7": "done", "batch": "done"})):
            with self.subTest(case):
                results = self.results(self.stage("SETTLES"), case)
                self.assertEqual([r["text"] for r in results.values() if not r["passed"]], [])

    def test_settle_that_differs(self):
        case = self.settles(("POST", 400), host={"settle": 1}, settled={"batch": "PASS"},
                            store={"batch": "done"})
        text = self.failed("SETTLES", case)["one"]
        self.assertIn('-     "batch": "PASS"', text)
        self.assertIn('+     "batch": "FAIL trial.lost"', text)
        text = self.failed("FORGETS", self.case(host={"settle": 1}, expect={
            "verdict": "PASS", "labels": "trial.done", "finish": "LATER",
            "store": {"batch": "queued"}}))["one"]
        self.assertIn("FAIL host.settle", text)

    def test_compare(self):
        done = {"store": {"b1": "done", "b2": "done"}, "compare": True}
        more = {"finish": "LATER", "store": {"b1": "done", "b2": "done", "batch": "queued"}}
        get = "GET"
        for case in (
                self.settles((get, 200), (get, 404), (get, 200), host=done,
                             differences=["trial.missing b2"], compared={"rows": 3}, **more),
                self.settles((get, 200), (get, "EIO"), host=done, compare="RETRY trial.away",
                             compared={"rows": 1}, **more)):
            with self.subTest(case):
                results = self.results(self.stage("SETTLES"), case)
                self.assertEqual([r["text"] for r in results.values() if not r["passed"]], [])

    def test_keys_of_settle(self):
        for host, sentence in (({"settle": 0}, "a number from 1 to 100"),
                               ({"settle": True}, "a whole number was expected"),
                               ({"compare": 1}, "true or false was expected")):
            with self.subTest(sentence):
                text = self.failed("SETTLES", self.case(host=host, expect={}))["one"]
                self.assertIn(sentence, text)

    def test_http_that_does_not_fit(self):
        host = {"secrets": {"env:TRIAL_TOKEN": "x"}}
        config = {"token": "env:TRIAL_TOKEN"}
        text = self.failed("SENDS", self.case(config=config, host=host, expect={
            "verdict": "RETRY"}))["one"]
        self.assertIn("host.json has no answer for the request POST https://service.example", text)
        host["http"] = [{"request": {"method": "GET", "url": "https://service.example/"},
                         "answer": {"status": 200}}]
        text = self.failed("SOUND", self.case(host=host, expect={
            "verdict": "PASS", "labels": "trial.done"}))["one"]
        self.assertIn("nobody asked for http[0]", text)
        # a host that no option names
        config["url"] = "https://other.example/"
        self.run_it(self.stage("SENDS"), self.case(
            config=config, host={"secrets": {"env:TRIAL_TOKEN": "x"}},
            expect={"verdict": "FAIL", "code": "trial.send", "abandon": "PASS"}))

    def test_faults(self):
        fault = {"faults": ["facts.get: EIO on the 1st call"]}
        self.run_it(self.stage("SOUND"), self.case(host=fault, expect={
            "verdict": "RETRY", "code": "trial.fact", "abandon": "PASS"}))
        self.run_it(self.stage("SOUND"), self.case(host=dict(fault, attempts=2), expect={
            "verdict": "PASS", "tries": 2, "labels": "trial.done"}))
        never = {"faults": ["facts.get: EIO on the 2nd call", "store: EIO"]}
        text = self.failed("SOUND", self.case(host=never, expect={
            "verdict": "PASS", "labels": "trial.done"}))["one"]
        self.assertIn("the call of faults[0] in host.json was never made", text)
        self.assertIn("the call of faults[1] in host.json was never made", text)

    def test_calls_in_order(self):
        case = self.case(expect={"verdict": "PASS", "labels": "trial.done", "calls": [
            "check"]})
        self.run_it(self.stage("SOUND"), case, "--update")
        with open(os.path.join(case, "expect.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["calls"],
                             ["open", "begin", "process in", "finish", "close"][:1] +
                             ["process in", "finish", "close"])

    # ---- broken cases ----

    def test_broken(self):
        for files, sentence in (
                ({"host.json": '{ "lables": "" }'},
                 r'host\.json:1:3: lables: there is no such key; did you mean "labels"\?'),
                ({"host.json": '{\n"labels": "a.b",}'}, r"host\.json:2:\d+: "),
                ({"expect.json": '{ "verdict": "YES" }'}, r"expect\.json:1:14: verdict: one of"),
                ({"expect.json": "[]"}, r"expect\.json:1:1: an object was expected"),
                ({"config.json": '{ "strict": 1 }'},
                 r'"refused": "config\.json:1:13: strict: true or false was expected'),
                ({"config.json": "{"}, r'"refused": "config\.json:1:'),
                ({"in.dump": "(0010,0010) PN [x]\nno tag\n"}, r"in\.dump: dump2dcm cannot read it"),
                ({"in/a.dump": DUMP}, r"more than one of in\.dcm, in\.dump and in/"),
                ({"host.json": '{ "tree": { "../x": {} } }'}, r'tree: "\.\./x" cannot be made'),
                ({"host.json": '{ "secrets": { "TOKEN": "x" } }'},
                 r'secrets: "TOKEN" cannot be made; write "env:NAME"')):
            with self.subTest(sentence):
                case = self.case(expect={"verdict": "PASS", "labels": "pixels.checked"},
                                 files=files)
                output = self.run_it(PIXEL_CHECK, case, status=1)
                self.assertRegex(output, sentence)

    def test_what_dump2dcm_says_is_shown(self):
        case = self.case(dump="no tag\n", expect={"verdict": "PASS"})
        self.assertIn("# | E: ", self.run_it(PIXEL_CHECK, case, status=1))

    def test_no_dump2dcm(self):
        case = self.case(expect={"verdict": "PASS"})
        path, os.environ["PATH"] = os.environ["PATH"], self.place
        try:
            output = self.run_it(PIXEL_CHECK, case, status=1)
        finally:
            os.environ["PATH"] = path
        self.assertIn("dump2dcm is needed: install the package dcmtk", output)

    def test_command_line(self):
        case = self.case(expect={"verdict": "PASS"})
        text = write(os.path.join(self.place, "text.so"), "no stage")
        os.chmod(text, stat.S_IRUSR)
        for args, status, sentence in (
                ([], 2, "test-stage needs more"),
                (["nowhere.so"], 3, "nowhere.so: No such file"),
                (["no-such-stage"], 3, 'there is no stage "no-such-stage"'),
                ([text], 3, "text.so: it is no shared object"),
                ([PIXEL_CHECK, "nowhere"], 3, "nowhere: there is no such folder"),
                ([PIXEL_CHECK, os.path.dirname(text) + "/SOUND"], 3, "it is no case and has none"),
                ([PIXEL_CHECK, "--config", "nowhere.json"], 3, "nowhere.json: No such file"),
                ([PIXEL_CHECK, case, case, "--gdb"], 2, "--gdb takes a stage and one case")):
            with self.subTest(sentence):
                os.makedirs(os.path.join(self.place, "SOUND"), exist_ok=True)
                self.assertIn(sentence, self.run_it(*args, status=status))
        os.rmdir(os.path.join(self.place, "SOUND")) if not os.listdir(
            os.path.join(self.place, "SOUND")) else None

    def test_required_options(self):
        store = os.path.join(PLUGINS, "file-store.so")
        output = self.run_it(store, status=1)
        self.assertIn('needs the option "folder"', output)
        self.assertIn("--config FILE, or by a case that passes", output)
        self.assertIn("# 1 passed, 1 failed, 10 skipped", output)
        config = write(os.path.join(self.place, "options.json"), {"folder": "clean",
                                                                  "template": "{instance}.dcm"})
        self.assertIn("# 10 passed, 0 failed", self.run_it(store, "--config", config))

    # ---- bad stages ----

    def test_leaks(self):
        self.assertIn("memory is lost", self.failed("LEAKS")["open and close 100 times"])
        found = self.failed("LEAKS_FILES")
        self.assertIn("descriptors are left open", found["open and close 100 times"])
        found = self.failed("LEAKS_ITEMS") # a sanitizer finds more
        self.assertNotIn("open and close 100 times", found)
        self.assertIn("memory is lost", found["a batch 100 times"])

    def test_crash(self):
        found = self.failed("CRASHES", self.case(expect={"verdict": "PASS"}))
        self.assertIn("one", found)
        for name in ("one", "an empty data set", "a sequence 60 deep"):
            self.assertRegex(found[name], "crashed: signal 11|ended the process with status")
        self.assertNotIn("open and close 100 times", found)

    def test_crash_where_a_call_fails(self):
        found = self.failed("CRASHES_LATER")
        text = found["every call of the host fails in turn"]
        self.assertIn("before that call 1 of dicom.get was answered with EABSENT", text)

    def test_exit(self):
        found = self.failed("EXITS", self.case(expect={"verdict": "PASS"}))
        self.assertIn("the stage ended the process with status 0", found["one"])

    def test_unknown_verdict(self):
        found = self.failed("INVENTS", self.case(expect={"verdict": "PASS"}))
        self.assertIn('"code": "host.verdict"', found["one"])
        self.assertIn("process(): host.verdict", found["an empty data set"])

    def test_undeclared_edits(self):
        found = self.failed("EDITS")
        self.assertIn("host.undeclared", found["edits are declared"])

    def test_misuse(self):
        found = self.failed("MISUSES")
        self.assertIn("host.misuse", found["an empty data set"])

    def test_passes_although_a_call_failed(self):
        found = self.failed("PASSES_ANYWAY")
        self.assertEqual(list(found), ["every call of the host fails in turn"])
        text = found["every call of the host fails in turn"]
        for error in ("EIO", "ENOMEM"):
            self.assertIn('process() answers PASS although "facts.get in' .replace("in", "item") +
                          ' trial.known" was answered with %s' % error, text)
        self.assertNotIn("EABSENT", text)

    def test_a_batch_that_settle_forgets(self):
        found = self.failed("FORGETS")
        self.assertIn("told nothing of a batch whose finish() said LATER",
                      found["a batch 100 times"])
        self.assertNotIn("settle() and compare() of nothing", found)

    def test_later_although_a_call_failed(self):
        found = self.failed("WAITS_ANYWAY")
        self.assertEqual(list(found), ["every call of the host fails in turn"])
        self.assertIn('finish() answers LATER although "store.put batch" was answered with EIO',
                      found["every call of the host fails in turn"])

    def test_later_without_settle(self):
        found = self.failed("UNSETTLED", self.case(expect={"verdict": "PASS"}))
        self.assertIn('"finish": "FAIL host.verdict"', found["one"])
        self.assertIn("finish(): host.verdict", found["a batch 100 times"])

    def test_settle_of_nothing(self):
        found = self.failed("TELLS")
        self.assertIn("settle() tells of a batch where nothing waits",
                      found["settle() and compare() of nothing"])

    def test_other_bytes_the_second_time(self):
        found = self.failed("CHANGES")
        self.assertIn("comes out different the second time",
                      found["RETRY then PASS gives the same bytes"])
        self.assertIn("differs from one that passed at once",
                      found["every call of the host fails in turn"])

    def test_files_left(self):
        found = self.failed("LEAVES_FILES")
        self.assertIn("abandon() leaves a file behind: left", found["canceled in mid-batch"])

    def test_words(self):
        text = self.failed("BAD_WORDS")["descriptor is complete"]
        self.assertIn('its version is "1"', text)
        self.assertIn('the help of option "url" is no sentence', text)

    def test_what_it_says_is_shown_when_it_fails(self):
        held = {"verdict": "QUARANTINE", "code": "trial.said"}
        output = self.run_it(self.stage("SAYS"), self.case(expect=held))
        self.assertNotIn("this was said", output)
        output = self.run_it(self.stage("SAYS"), self.case(expect={"verdict": "PASS"}), status=1)
        self.assertIn("# | this was said on stderr\n", output)
        self.assertIn("# | and this on stdout\n", output)

    # ---- one case in the debugger ----

    def test_gdb(self):
        folder = os.path.join(self.place, "fake")
        os.makedirs(folder, exist_ok=True)
        gdb = write(os.path.join(folder, "gdb"), "#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        os.chmod(gdb, 0o755)
        case = self.case(dump=BURNED_IN, expect={"verdict": "PASS"})
        path, os.environ["PATH"] = os.environ["PATH"], "%s:%s" % (folder, os.environ["PATH"])
        try:
            argv = self.run_it(PIXEL_CHECK, case, "--gdb").splitlines()
        finally:
            os.environ["PATH"] = path
        self.assertEqual(argv, ["--args", os.path.realpath(sendit.program()), "test-stage",
                                "--in-process", PIXEL_CHECK, case])
        # What the debugger starts: this case, here, its output where it belongs.
        output = self.run_it("--in-process", PIXEL_CHECK, case, status=1)
        self.assertIn("1..1\n", output)
        self.assertIn('# +   "verdict": "QUARANTINE"', output)

    @unittest.skipUnless(shutil.which("gdb"), "gdb is not installed")
    def test_a_real_gdb(self):
        """It stops in the stage, and knows its lines."""
        case = self.case(expect={"verdict": "QUARANTINE", "code": "trial.said"})
        script = ("set confirm off\nset debuginfod enabled off\nset breakpoint pending on\n"
                  "break trial.c:process\nrun\nbacktrace 1\ndelete\ncontinue\nquit\n")
        process = subprocess.Popen(
            [sendit.program(), "test-stage", self.stage("SAYS"), case, "--gdb"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.place, start_new_session=True,
            env=dict(os.environ, TMPDIR=self.place, ASAN_OPTIONS="detect_leaks=0"))
        try:
            output = process.communicate(script.encode(), timeout=120)[0].decode()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) # what it debugs ends with it
            output = process.communicate()[0].decode()
        if "ptrace" in output:
            self.skipTest("nothing may be traced here")
        self.assertRegex(output, r"(?s)Breakpoint 1, process \(self=.*trial\.c:\d+")
        self.assertIn("\nok 1 - one\n", output)

    def test_in_process_is_loaded_by_name(self):
        output = self.run_it("--in-process", self.stage("SAYS"), self.case(expect={
            "verdict": "QUARANTINE", "code": "trial.said"}))
        self.assertIn("loaded from %s\n" % self.stage("SAYS"), output)
        output = self.run_it(self.stage("SAYS"), self.case(expect={"verdict": "PASS"}), status=1)
        self.assertIn("# | loaded from /proc/self/fd/", output)

    # ---- alone ----

    @unittest.skipUnless(shutil.which("ctest"), "ctest is not installed")
    def test_ctest_alone(self):
        build = os.path.join(self.place, "alone")
        env = dict(os.environ)
        for argv in (["cmake", "-S", os.path.join(sendit.ROOT, "stages", "pixel-check"), "-B",
                      build, "-DSENDIT_PROGRAM=" + sendit.program()],
                     ["cmake", "--build", build],
                     ["ctest", "--test-dir", build, "--output-on-failure"]):
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env=env, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout.decode())
        self.assertIn("100% tests passed, 0 tests failed out of 1", done.stdout.decode())


if __name__ == "__main__":
    unittest.main()
