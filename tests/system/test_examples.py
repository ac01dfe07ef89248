# SPDX-License-Identifier: Apache-2.0
"""The examples of tests/out-of-tree, as a site would use them: taken from an installed sendit,
built against it in a folder of their own, tried alone, and run in a pipeline."""
import glob
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest

import pydicom

import sendit

EXAMPLES = sorted(os.path.basename(os.path.dirname(path)) for path in glob.glob(
    os.path.join(sendit.ROOT, "tests", "out-of-tree", "*", "CMakeLists.txt")))


def call(*argv, **more):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300, check=False, **more)
    return done.returncode, done.stdout.decode(errors="replace")


class Service(http.server.ThreadingHTTPServer):
    """Answers with the statuses that it is told, in turn; the last one stays."""

    daemon_threads = True

    def __init__(self, *statuses, headers=()):
        self.statuses, self.headers, self.seen, self.times = list(statuses), headers, [], []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return "http://127.0.0.1:%d/v1" % self.server_address[1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append((self.path, dict(self.headers), self.rfile.read(length)))
        self.server.times.append(time.monotonic())
        statuses = self.server.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        self.send_response(status)
        for name, value in self.server.headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Example(sendit.Case):
    """The examples, built once; a site whose plugins.d has the one that a class names."""

    name = None

    @classmethod
    def setUpClass(cls):
        if not sendit.program():
            raise AssertionError("there is no sendit: build it, or set SENDIT")
        cls.place = tempfile.mkdtemp(prefix="sendit-examples-")
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.prefix = os.path.join(cls.place, "prefix")
        status, out = call("cmake", "--install", os.path.dirname(sendit.program()), "--prefix",
                           cls.prefix)
        if status:
            raise AssertionError(out)
        cls.sources = os.path.join(cls.place, "examples")
        shutil.copytree(os.path.join(cls.prefix, "share", "sendit", "examples"), cls.sources)
        for name in [cls.name] if cls.name else EXAMPLES:
            cls.build(name)

    @classmethod
    def build(cls, name):
        folder = os.path.join(cls.sources, name)
        for argv in (["cmake", "-S", ".", "-B", "build", "-DCMAKE_PREFIX_PATH=" + cls.prefix,
                      "-DCMAKE_C_FLAGS=-Werror", "-DCMAKE_CXX_FLAGS=-Werror"],
                     ["cmake", "--build", "build"]):
            status, out = call(*argv, cwd=folder)
            if status:
                raise AssertionError("%s: %s" % (name, out[-3000:]))

    def setUp(self):
        super().setUp()
        self.site.program = os.path.join(self.prefix, "bin", "sendit")
        if self.name:
            self.install(self.name)

    def built(self, name):
        return os.path.join(self.sources, name, "build", "plugins.d", name + ".so")

    def install(self, name):
        os.makedirs(self.site.path("plugins.d"), exist_ok=True)
        shutil.copy(self.built(name), self.site.path("plugins.d"))

    def use(self, at, name=None, config=None, **entry):
        entries = self.site.stages()
        entries.insert(at, dict(use=name or self.name, config=config or {}, **entry))
        self.site.write_pipeline(entries, **self.more)

    more = {}

    def out(self):
        return [pydicom.dcmread(path) for path in sendit.images(self.site.clean)]


class Kit(Example):
    """What holds for each of them."""

    def test_there_are_those_that_readme_names(self):
        with open(os.path.join(self.sources, "README.md")) as file:
            text = file.read()
        self.assertGreaterEqual(len(EXAMPLES), 4)
        for name in EXAMPLES:
            self.assertIn("[%s](%s/README.md)" % (name, name), text)

    def test_their_cases(self):
        for name in EXAMPLES:
            with self.subTest(name):
                cases = os.path.join(self.sources, name, "cases")
                status, out = call(self.site.program, "test-stage", self.built(name), cases,
                                   cwd=self.site.folder)
                self.assertEqual(status, 0, out)
                self.assertGreaterEqual(len(os.listdir(cases)), 4)

    def test_they_are_seen_from_outside(self):
        consent = {"ask-consent": ["network"], "to-utf8": ["native"]}
        for name in EXAMPLES:
            with self.subTest(name):
                self.install(name)
                text = self.run_sendit("stages", name).out
                one = self.run_sendit("stages", name, "--json").json
                with open(os.path.join(self.sources, name, "README.md")) as file:
                    readme = file.read()
                for option in one["options"]:
                    self.assertIn("| `%s` |" % option["name"], readme)
                for label in one["grants"]:
                    self.assertIn("`%s`" % label, readme)
                self.assertFalse(one["ships"])
                self.assertEqual(one["consent"], consent.get(name, []))
                for word in one["consent"]:
                    self.assertIn('if the site writes "allow": ["%s"]' % word, text)

    def test_one_symbol_is_exported(self):
        for name in EXAMPLES:
            status, out = call("nm", "-D", "--defined-only", self.built(name))
            self.assertEqual(status, 0, out)
            self.assertEqual([line.split()[-1] for line in out.splitlines()], ["sendit_stage"])

    def test_the_first_is_short(self):
        with open(os.path.join(self.sources, "hold-localizers", "hold_localizers.c")) as file:
            self.assertLess(len(file.readlines()), 80)


class HoldLocalizers(Example):
    name = "hold-localizers"

    def add(self):
        self.site.add(sendit.make_image(1), "a", "1")
        self.site.add(sendit.make_image(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a", "2")
        self.site.add(sendit.make_image(3, ImageType=["ORIGINAL", "PRIMARY"]), "a", "3")

    def test_held(self):
        self.add()
        self.use(1)
        answer = self.run_json()
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, localizer__found=1)

    def test_skipped_without_its_label(self):
        """The policy of the site asks for the label, whoever edits the pipeline."""
        self.add()
        self.more = {"policy": {"egress_needs": ["pixels.checked", "filters.passed", "ids.replaced",
                                                 "deid.header", "site.no_localizer"]}}
        self.use(1, config={"then": "skip"})
        answer = self.run_json()
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assertEqual([ds.get("ImageType") for ds in self.out() if "LOCALIZER" in
                          (ds.get("ImageType") or [])], [])
        self.site.write_pipeline(self.site.stages(), **self.more)
        result = self.run_sendit("plan", expect=3)
        self.assertIn("site.no_localizer", result.err)


class BlackBox(Example):
    name = "black-box"
    config = {"models": ["Acme Sono 5"], "boxes": ["0,0,8,2", "6,6,9,9"]}

    def image(self, number=1, **more):
        return sendit.make_image(number, **dict({"ManufacturerModelName": "Acme Sono 5",
                                                 "BurnedInAnnotation": "YES"}, **more))

    def assert_drawn(self, original):
        """Black in the boxes, untouched outside, in each frame."""
        frames = original.pixel_array.copy().reshape(-1, 8, 8)
        frames[:, :2, :] = frames[:, 6:, 6:] = 0
        self.assertTrue((self.out()[0].pixel_array.reshape(-1, 8, 8) == frames).all())

    # A device that says YES, and is known: its LABEL hands it on with its boxes.
    SCREENS = ("FORMAT dicom\n%filter greylist\nLABEL Acme Sono 5\n"
               "  equals ManufacturerModelName Acme Sono 5\n  coordinates 0,0,8,2\n"
               "  coordinates 6,6,9,9\nLABEL Elsewhere\n  equals ManufacturerModelName Acme Sono 6\n"
               "%filter blacklist\nLABEL Not at all\n  contains Manufacturer Nobody\n")

    def scrub(self, config=None, on_greylist="pass", allow=("grant:filters.passed",), **more):
        """deid-filter, black-box and pixel-check, in this order."""
        with open(self.site.path("screens"), "w") as file:
            file.write(self.SCREENS)
        entries = self.site.stages()
        entry = entries.pop(sendit.at(entries, "deid-filter"))
        entry["config"] = {"recipes": ["./screens"], "on_greylist": on_greylist}
        entries[1:1] = [entry, {"use": self.name, "allow": list(allow), "config": config or {}}]
        self.site.write_pipeline(entries, **more)

    def facts(self):
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as ledger:
            return sorted(value for value, in ledger.execute(
                "SELECT value FROM fact WHERE key = 'deid.boxes'"))

    def held(self):
        one = self.run_sendit("quarantine", "show", "b1-000001", "--json").json[0]
        return one["stage"], one["code"], one["labels"]

    def test_it_earns_the_label(self):
        """Handed on by the filter, without its label, and with its boxes: they are the fact."""
        self.scrub()
        original = self.image()
        self.site.add(original, "a", "1")
        self.site.add(sendit.make_image(2), "a", "2")
        self.assert_counts(self.run_json(), stored=2)
        self.assertEqual(self.facts(), ["0,0,8,2 6,6,2,2"])
        scrubbed = [ds for ds in self.out() if ds.get("BurnedInAnnotation") == "NO"]
        self.assertEqual(len(scrubbed), 1)
        self.assertFalse(scrubbed[0].pixel_array[:2].any())
        self.assertFalse(scrubbed[0].pixel_array[6:, 6:].any())
        self.assertTrue((scrubbed[0].pixel_array[2:6] == original.pixel_array[2:6]).all())
        self.assertTrue((original.pixel_array[:2] != 0).any())

    def test_what_nobody_blanks_is_held(self):
        """A LABEL without coordinates: no box, no label, no way out."""
        self.scrub(config=self.config)
        self.site.add(self.image(1, ManufacturerModelName="Acme Sono 6", BurnedInAnnotation="NO"),
                      "a", "1")
        self.assert_counts(self.run_json(), quarantined=1)
        self.assertEqual(self.held(), ("file-store", "host.label",
                                       "pixels.checked ids.replaced deid.header"))
        self.assertEqual(self.facts(), [""])

    def test_a_blacklist_is_not_handed_on(self):
        self.scrub()
        self.site.add(self.image(1, Manufacturer="Nobody"), "a", "1")
        self.assert_counts(self.run_json(), quarantined=1)
        self.assertEqual(self.held(), ("deid-filter", "filter.blacklist", ""))

    def test_without_pass_the_filter_holds(self):
        self.scrub(on_greylist="quarantine")
        self.site.add(self.image(), "a", "1")
        self.assert_counts(self.run_json(), quarantined=1)
        held = self.run_sendit("quarantine", "list", "b1", "--json").json[0]
        self.assertEqual((held["stage"], held["code"]), ("deid-filter", "filter.greylist"))
        self.assertIn("0,0,8,2 6,6,2,2", held["text"])  # they are in the ledger all the same

    def test_without_it_nothing_is_passed(self):
        """The filter alone hands on what no store takes."""
        self.scrub()
        self.site.add(self.image(1, BurnedInAnnotation="NO"), "a", "1")
        answer = self.run_json("--set", "black-box.enabled=false")
        self.assert_counts(answer, quarantined=1)
        self.assert_reasons(answer, host__label=1)

    def test_the_site_must_vouch(self):
        self.scrub(allow=())
        self.assert_one_sentence(self.run_sendit("plan", expect=3),
                                 "does not ship with sendit and grants \"filters.passed\"",
                                 "grant:filters.passed")
        self.scrub()
        self.assertIn("the site vouches that black-box, which does not ship with sendit, grants "
                      "filters.passed", self.run_sendit("plan").out)

    def test_drawn(self):
        """By what the site knows of a model, where no LABEL names it."""
        self.SCREENS = "FORMAT dicom\n%filter blacklist\nLABEL None\n  equals Modality XX\n"
        self.scrub(config=self.config)
        original = self.image()
        self.site.add(original, "a", "1")
        self.site.add(self.image(2, ManufacturerModelName="Another"), "a", "2")
        self.site.add(sendit.make_image(3, BurnedInAnnotation="YES"), "a", "3")
        answer = self.run_json()
        self.assert_counts(answer, stored=1, quarantined=2)
        self.assert_reasons(answer, pixel__burned_in=2)
        self.assertEqual(self.out()[0].BurnedInAnnotation, "NO")
        self.assert_drawn(original)
        self.assertTrue((original.pixel_array[:2] != 0).any())

    def test_frames_that_were_compressed(self):
        self.scrub()
        original = self.image()
        pixels = original.PixelData
        original.NumberOfFrames, original.PixelData = 3, pixels + pixels[::-1] + pixels
        packed = pydicom.dcmread(self.site.add(original, "a", "1"))
        packed.compress(pydicom.uid.RLELossless)
        self.site.add(packed, "a", "1")
        self.assert_counts(self.run_json(), stored=1)
        self.assertEqual(self.out()[0].file_meta.TransferSyntaxUID,
                         pydicom.uid.ExplicitVRLittleEndian)
        self.assert_drawn(original)

    def test_frames_that_cannot_be_decoded(self):
        self.scrub()
        original = self.image()
        self.site.add(original, "a", "1")
        original.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
        original.PixelData = pydicom.encaps.encapsulate([b"no JPEG-LS at all"])
        original["PixelData"].VR = "OB"
        original["PixelData"].is_undefined_length = True
        self.site.add(original, "a", "1")
        answer = self.run_json()
        self.assert_counts(answer, quarantined=1)
        self.assert_reasons(answer, box__pixels=1)

    def test_options(self):
        for box in ("1,2,3", "1,2,0,4", "a", "1,2,3,4,5", "-1,2,3,4", "1,2,3,4 ", "123456,1,1,1"):
            self.scrub(config=dict(self.config, boxes=[box]))
            self.assert_one_sentence(self.run_sendit("plan", expect=3), "X,Y,WIDTH,HEIGHT")
        for name in self.config:
            self.scrub(config={name: self.config[name]})
            self.assert_one_sentence(self.run_sendit("plan", expect=3), "go together")

    def test_its_place(self):
        """Behind the filter, lest an image have the label before all recipes were asked; before
        pixel-check, which reads what it writes."""
        for at, word in ((1, "deid-filter"), (3, "pixel-check")):
            self.use(at, config=self.config, allow=["grant:filters.passed"])
            self.assert_one_sentence(self.run_sendit("plan", expect=3), word)


class ToUtf8(Example):
    name = "to-utf8"

    def test_text(self):
        self.use(1, allow=["native"])
        name = "M\xfcller Ger\xe4te"
        ds = sendit.make_image(1, SpecificCharacterSet="ISO_IR 100", Manufacturer=name)
        self.site.add(ds, "a", "1")
        self.site.add(sendit.make_image(2), "a", "2")
        self.assert_counts(self.run_json(), stored=2)
        seen = {ds.get("SpecificCharacterSet"): ds.Manufacturer for ds in self.out()}
        self.assertEqual(seen, {"ISO_IR 192": name, None: "Synthetic"})
        raw = b"".join(open(path, "rb").read() for path in sendit.images(self.site.clean))
        self.assertIn(name.encode("utf-8"), raw)

    def test_text_that_is_not_what_it_says(self):
        self.use(1, allow=["native"])
        ds = sendit.make_image(1, SpecificCharacterSet="ISO_IR 192")
        path = self.site.add(ds, "a", "1")
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(data.replace(b"Synthetic", b"Synth\xe9tic"))
        answer = self.run_json()
        self.assert_counts(answer, quarantined=1)
        self.assert_reasons(answer, utf8__text=1)

    def test_the_site_must_allow_it(self):
        self.use(1)
        self.assert_one_sentence(self.run_sendit("plan", expect=3), '"native"')


class AskConsent(Example):
    name = "ask-consent"

    def serve(self, *statuses, **more):
        service = Service(*statuses, **more)
        self.addCleanup(service.server_close)
        self.addCleanup(service.shutdown)
        self.more = {"run": {"retry_for": "10s", "workers": 1}}
        self.use(4, config={"url": service.url}, allow=["network"])
        return service

    def test_granted(self):
        """One question for each patient, and nothing of the image in it."""
        service = self.serve(204)
        for patient in (1, 2):
            for number in (1, 2):
                self.site.add(sendit.make_image(
                    number, study=patient, patient="PIDCANARY%d" % patient, name="Canarybird^A",
                    StudyDescription="Textcanary99", AccessionNumber="ACCCANARY88"),
                    "FOLDERCANARY%d" % patient, "FILECANARY%d" % number)
        self.assert_counts(self.run_json(), stored=4)
        self.assertEqual(sorted(path for path, _, _ in service.seen),
                         sorted({"/v1/" + ds.PatientID for ds in self.out()}))
        self.assertEqual(len(service.seen), 2)
        told = repr(service.seen).casefold()
        for word in ("canary", sendit.UID, "19610703", "20210304", sendit.KEY[:10].casefold(),
                     self.site.folder):
            self.assertNotIn(word, told)
        for _, headers, body in service.seen:
            self.assertEqual(body, b"")
            self.assertNotIn("Authorization", headers)

    def test_refused_and_unknown(self):
        for status, code in ((403, "consent__refused"), (404, "consent__unknown")):
            self.site = self.new_site()
            super().setUp()
            self.site.add_images(2)
            service = self.serve(status)
            answer = self.run_json()
            self.assert_counts(answer, quarantined=2)
            self.assert_reasons(answer, **{code: 2})
            self.assertEqual(len(service.seen), 1)

    def test_busy_for_a_while(self):
        service = self.serve(503, 429, 204, headers=[("Retry-After", "1")])
        self.site.add_images(2)
        self.assert_counts(self.run_json(), stored=2)
        self.assertEqual(len(service.seen), 3)

    def many(self, *statuses, workers=3, **more):
        for study in range(1, 7):
            self.site.add_images(1, study=study, patient="P-%d" % study)
        service = self.serve(*statuses, **more)
        self.more = {"run": {"retry_for": "30s", "workers": workers}}
        self.use(4, config={"url": service.url}, allow=["network"])
        return service

    def test_one_asks_while_it_is_away(self):
        """What each worker has in hand finds out; then one asks for all, and not before its time."""
        service = self.many(*[503] * 7, 204, headers=[("Retry-After", "1")])
        process = self.site.start("run", "--json")
        until, away = time.monotonic() + 20, None
        while not away and time.monotonic() < until:
            time.sleep(0.2)
            away = self.site.sendit("status", "--json").json.get("away")
        shown = self.site.sendit("status").out
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err.decode())
        self.assert_counts(json.loads(out), stored=6)
        self.assertEqual((away["stage"], away["code"]), ("ask-consent", "consent.busy"))
        self.assertGreaterEqual(away["until_ms"], away["since_ms"] + 900)
        self.assertIn('waits for what "ask-consent" asks, since 20', shown)
        times = service.times[:8]  # each of three workers finds out at any time
        self.assertLessEqual(len([a for a, b in zip(times, times[1:]) if b - a < 0.9]), 2, times)
        self.assertIn("service.away", err.decode())
        self.assertIn("service.back", err.decode())
        self.assertIsNone(self.site.sendit("status", "--json").json["away"])

    def test_the_next_run_knows(self):
        """The time before which nobody asks outlives the run."""
        service = self.many(503, headers=[("Retry-After", "4")], workers=1)
        process = self.site.start("run")
        until = time.monotonic() + 20
        while not service.times and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(0.5)
        process.terminate()
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 143)
        self.assertEqual(self.site.counts()["waiting"], 6)
        service.statuses[:] = [204]
        self.assert_counts(self.run_json(), stored=6)
        self.assertGreater(service.times[1] - service.times[0], 3.5)

    def test_away(self):
        self.site.add_images(2)
        service = self.serve(204)
        service.shutdown()
        service.server_close()
        self.more = {"run": {"retry_for": "1s", "workers": 1}}
        self.use(4, config={"url": service.url}, allow=["network"])
        self.run_sendit("run", expect=75)
        self.assert_nothing_out()
        service = self.serve(204)
        self.assert_counts(self.run_json(), stored=2)

    def test_a_token(self):
        service = self.serve(204)
        self.site.add_images(1)
        self.use(4, config={"url": service.url, "token": "env:CONSENT_TOKEN"}, allow=["network"])
        result = self.run_sendit("run", "-vv", env=dict(os.environ, CONSENT_TOKEN="Zq-secret-4711"))
        self.assertNotIn("Zq-secret-4711", result.out + result.err)
        self.assertEqual(service.seen[0][1].get("Authorization"), "Bearer Zq-secret-4711")

    def test_a_token_that_is_not_taken(self):
        self.serve(401)
        self.site.add_images(1)
        result = self.run_sendit("run", expect=1)
        self.assertIn("status 401; check url and token", result.out + result.err)
        self.assert_nothing_out()

    def test_its_place(self):
        """It counts as egress: before the anonymizer, and without consent, it is refused."""
        url = {"url": "https://consent.example/v1"}
        self.use(1, config=url, allow=["network"])
        self.assertIn("nothing before it grants", self.run_sendit("plan", expect=3).err)
        self.use(3, config=url)
        self.assertIn('"network"', self.run_sendit("plan", expect=3).err)


if __name__ == "__main__":
    unittest.main()
