# SPDX-License-Identifier: Apache-2.0
"""The canary: no value of an image in a log, an error, a reason, a ledger, a file name.

Strings that stand nowhere else are put into every kind of element, also into those that make
trouble, and into the names of files and folders.  What sendit then says and writes, in good runs,
in bad ones and in crashes, has none of them.
"""
import base64
import gzip
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import unittest

import pydicom
from pydicom.datadict import DicomDictionary

import google
import identifiers
import malformed
import sendit

# In values (TEXT fits no code string, WORD fits each VR that is text); none may be in anything that
# sendit says or writes, the crosswalk apart.
NAME, PATIENT, ACCESSION = "Canarybird", "PIDCANARY77", "ACCCANARY88"
TEXT, TERM, UID = "Text~canary99", "Textcanary99", "1.2.826.0.1.3680043.8.498.424242.1"
WORD, NUMBER, DATE = "Zqcanaryx", "47114711", "19471113"
VALUES = (NAME, PATIENT, ACCESSION, TEXT, TERM, UID, WORD, NUMBER, DATE)
# In names of files and folders; only the ledger knows them, in these columns.
FOLDER, FILE = "FOLDERCANARY", "FILECANARY"
# With these an object is held: it was scanned or grabbed, or is a document.
HELD = {0x00080064, 0x00420011} | set(range(0x00181010, 0x00181020))
PATHS = {("batch", "key"), ("batch", "done_folder"), ("item", "path"), ("feed", "path")}

FIXTURES = os.path.join(os.path.dirname(sendit.program() or ""), "badstages")
# The fixtures crash on purpose; a sanitizer would print what lies about.
NO_REPORT = dict(os.environ, ASAN_OPTIONS="handle_segv=0:handle_abort=0:handle_sigill=0:"
                                          "detect_leaks=0:allocator_may_return_null=1")


def canary(number, **more):
    attributes = dict(PatientName=NAME + "^Tweety", PatientID=PATIENT, AccessionNumber=ACCESSION,
                      PatientBirthDate=DATE, StudyDescription=TEXT, PatientComments=TEXT,
                      StudyInstanceUID=UID, FrameOfReferenceUID=UID + ".7")
    attributes.update(more)
    return sendit.make_image(number, **attributes)


def planted(vr):
    """A value with a canary in it that the VR can have, or cannot."""
    if vr in ("DA", "DT", "AS", "TM"):
        return (DATE if vr in ("DA", "DT") else WORD).encode()
    if vr in ("IS", "DS"):
        return NUMBER.encode()
    if vr == "UI":
        return (UID + ".99").encode()
    if vr == "SQ":
        return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + malformed.element(
            0x0010, 0x0010, b"PN", WORD.encode()) + malformed.element(
            0x0040, 0xa160, b"UT", WORD.encode()) + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return (WORD + " by " + WORD).encode().ljust(24) if vr in ("LT", "ST", "UT", "UC") else \
        WORD.encode() if vr in ("AE", "CS", "LO", "PN", "SH", "UR") else WORD.encode().ljust(24)


def everything(instance, without=()):
    """An object that has every attribute of pydicom's dictionary, each with a canary, and private
    ones."""
    own = {0x00080016: malformed.CT, 0x00080018: instance, 0x00080060: b"CT",
           0x00100010: WORD.encode() + b"^Li", 0x00100020: NUMBER.encode(),
           0x0020000d: UID.encode() + b".5", 0x0020000e: UID.encode() + b".6"}
    tail = malformed.tail()
    image, pixels = tail.index(b"\x28\0\2\0"), tail.index(b"\xe0\x7f")
    groups = {0x0009: malformed.element(9, 0x10, b"LO", WORD.encode()) +
              malformed.element(9, 0x1001, b"UN", WORD.encode()) +
              malformed.element(9, 0x1002, b"PN", WORD.encode() + b"^Li"),
              0x0028: tail[image:pixels], 0x7fe0: tail[pixels:]}
    for tag in sorted(DicomDictionary):
        group, number, vr = tag >> 16, tag & 0xffff, DicomDictionary[tag][0]
        if group in (0x0000, 0x0002, 0x0028, 0x7fe0) or group > 0xff00 or not number or \
                tag in without:
            continue
        vr = vr.split(" or ")[0]
        # UIDs of classes, syntaxes and schemes stay: they are no instance's (filters/README.md)
        kind = vr == "UI" and re.search("Class|Syntax|Scheme UID|Context UID|Resource UID",
                                        DicomDictionary[tag][2])
        groups[group] = groups.get(group, b"") + malformed.element(
            group, number, vr.encode(), own.get(tag) or (malformed.CT if kind else planted(vr)))
    return malformed.part10(b"".join(groups[group] for group in sorted(groups)))


def forms(word):
    """The word and what it looks like in hex and in base64, at each of its three offsets."""
    data = word.casefold().encode()
    yield word.casefold()
    yield data.hex()
    for offset in range(3):
        yield base64.b64encode(b"\0" * offset + word.encode())[offset + 1 if offset else 0:
                                                               -4].decode().casefold()


FORMS = {word: list(forms(word)) for word in VALUES + (FOLDER, FILE)}


class Canary(sendit.Case):
    def setUp(self):
        super().setUp()
        self.add_images()
        self.add_files()
        self.site.write_pipeline(self.entries())

    def entries(self):
        """Every stage that ships."""
        entries = self.site.stages()
        entries[sendit.at(entries, "deid-filter")]["config"] = {"on_greylist": "pass"}
        return entries

    def add_images(self):
        add = lambda ds, name: self.site.add(ds, FOLDER + "1", FILE + name)
        add(canary(1), "GOOD")
        add(canary(2, BurnedInAnnotation="YES " + TEXT), "BURNED")
        add(canary(3, PatientID=None), "NOBODY")
        add(canary(4, StudyInstanceUID=None), "NOSTUDY")
        add(canary(5, PatientID=PATIENT + "-2"), "OTHERPATIENT")
        add(canary(6, StudyDate=TEXT), "BADDATE")
        add(canary(7, PatientAge=TEXT), "BADAGE")
        add(canary(8, SOPClassUID=UID + ".9"), "PRIVATECLASS")
        add(canary(9, ImageType=[TEXT, TERM, TEXT, TERM]), "TYPE")
        add(canary(10, Modality=TEXT), "MODALITY")
        add(canary(11, SpecificCharacterSet=TEXT), "CHARSET")
        add(canary(12, SeriesInstanceUID=TEXT), "BADUID")
        add(canary(13, SOPInstanceUID=UID + ".13" + ".1" * 40), "LONGUID")
        add(canary(15, Modality=TERM, SpecificCharacterSet=TERM), "TERMS")
        add(canary(16, SpecificCharacterSet=["ISO 2022 IR 6", TERM]), "CHARSETS")
        add(canary(17, PhotometricInterpretation=TERM), "PHOTOMETRIC")
        add(canary(1, RescaleSlope=3), "CONFLICT")
        path = add(canary(14), "CUT")
        os.truncate(path, os.path.getsize(path) - 40)

    def add_files(self):
        add = lambda data, name: self.site.add_bytes(data, FOLDER + "2", FILE + name)
        add(("Dear %s %s" % (NAME, TEXT)).encode() * 30, "TXT")
        add(b"", "EMPTY")
        add(everything(UID.encode() + b".21"), "ALL")
        add(everything(UID.encode() + b".22", HELD), "MOST")
        good = malformed.good(name=WORD.encode() + b"^Li", patient=NUMBER.encode(),
                              instance=UID.encode() + b".31")
        add(good.replace(malformed.EXPLICIT, UID.encode()[:len(malformed.EXPLICIT)]), "SYNTAX")
        add(good[:good.index(WORD.encode()) + 4], "CUTINNAME")
        add(good[:132] + b"\x08\x00\x20\x00DA\x08\x00" + DATE.encode() + good[132:], "ORDER")
        add(good.replace(b"LO\x08\x00" + NUMBER.encode(), b"LO\xf0\xff" + NUMBER.encode()), "LONG")
        add(good.replace(b"PN\x0c\x00", b"P\x01\x0c\x00"), "VR")
        add(good[132:], "NOPREAMBLE")
        add(malformed.with_nested(malformed.nested(80, inner=malformed.element(
            0x0010, 0x0010, b"PN", WORD.encode()))), "DEEP")
        add(malformed.part10(WORD.encode() * 20, malformed.DEFLATED), "DEFLATED")
        add(malformed.part10(malformed.element(2, 0x10, b"UI", UID.encode()) + malformed.head(
            name=WORD.encode() + b"^Li") + malformed.tail()), "METAINSIDE")
        os.mkfifo(os.path.join(self.site.data, FOLDER + "2", FILE + "FIFO"))
        os.symlink(FILE + "ALL", os.path.join(self.site.data, FOLDER + "2", FILE + "LINK"))

    def look(self, what, text, words=VALUES + (FOLDER, FILE)):
        text = text.casefold()
        for word in words:
            for form in FORMS[word]:
                if form in text:
                    at = text.index(form)
                    self.fail("%s tells %s: %r" % (what, word, text[max(0, at - 80):at + 80]))

    def see(self, *args, words=VALUES + (FOLDER, FILE), sound=True, **more):
        """Run sendit; what it says has no canary."""
        result = self.site.sendit(*args, **more)
        if sound:
            self.assert_sound(result)
        self.look(" ".join(args), result.out + result.err, words)
        return result

    def batches(self):
        return [one["batch"] for one in self.site.sendit("status", "--json").json["batches"]]

    def held(self):
        """The ids of all images that the ledger has in quarantine."""
        found = set()
        for batch in self.batches():
            found.update(re.findall(r"b\d+-\d{6}", self.site.sendit("quarantine", "list",
                                                                    batch).out))
        return sorted(found)

    # ---- what is said ----

    def test_nothing_is_said(self):
        self.assertGreater(self.see("run", "-vv").err.count("\n"), 20)
        for args in (["run", "-vv"], ["run", "--json", "-vv"], ["plan"], ["plan", "--json"],
                     ["check"], ["stages"], ["status"], ["status", "--json"], ["status", "-vv"],
                     ["log", "-vv"], ["log", "--json"], ["quarantine", "list"],
                     ["quarantine", "list", "--json"]):
            self.see(*args)
        self.assertTrue(self.batches())
        for batch in self.batches():
            for args in (["log", batch], ["log", batch, "--json"], ["status", batch],
                         ["quarantine", "list", batch], ["quarantine", "list", batch, "--json"],
                         ["quarantine", "show", batch]):
                self.see(*args)
        self.assertGreater(len(self.held()), 8)
        for image in self.held():
            self.see("quarantine", "show", image)
            self.see("quarantine", "show", image, "--json")

    def test_nothing_is_said_of_a_file_that_is_looked_at(self):
        """diff masks what is identifying; its user gave the name of the file, none of ours."""
        seen = 0
        for place, _, names in os.walk(self.site.data):
            for name in names:
                path = os.path.join(place, name)
                if not os.path.isfile(path) or os.path.islink(path):
                    continue
                shutil.copy(path, self.site.path("one"))
                for form in ([], ["--json"], ["--html", "-o", "page"]):
                    seen += self.see("diff", *form, "one").status == 0
                if os.path.exists(self.site.path("page")):
                    with open(self.site.path("page"), encoding="utf-8") as file:
                        self.look("diff --html", file.read())
                    os.remove(self.site.path("page"))
        self.assertGreater(seen, 60)
        for form in ([], ["--json"]):
            self.see("lint", "dicom", "--corpus", "data", *form)

    def test_every_command_is_looked_at(self):
        """A new one must be thought of: here, or as one that sees no image."""
        looked = {"run", "plan", "check", "stages", "status", "log", "quarantine", "retry", "diff",
                  "lint", "resume", "reconcile"}
        blind = {"new-stage", "test-stage", "test-recipe"}  # they open no ledger
        commands = re.search(r"^Commands\n(.*?)\n\n", self.site.sendit("--help").out,
                             re.M | re.S).group(1)
        names = set(re.findall(r"^  ([a-z-]+) ", commands, re.M))
        self.assertEqual(names - looked - blind, set())

    def test_every_shipped_stage_is_in_it(self):
        ships = {entry["name"] for entry in self.run_sendit("stages", "--json").json
                 if entry["ships"]}
        used = {entry["use"] for entry in self.entries()}
        # in place of another: test_identities_of_a_service, StoresOfGoogle
        self.assertEqual(ships - used, {"restful-anonymizer", "gcs-store", "bigquery-store"})

    def test_identities_of_a_service(self):
        """It is told who they are; nobody else is, nor does a URL say it."""
        service = identifiers.Service(self.new_folder())
        self.addCleanup(service.stop)
        entries = self.entries()
        entries[sendit.at(entries, "local-anonymizer")] = {
            "use": "restful-anonymizer", "allow": identifiers.ALLOW,
            "config": {"url": service.url, "study": identifiers.STUDY,
                       "custom_fields": ["PatientSex", "StudyDescription"]}}
        self.site.write_pipeline(entries)
        self.see("run", "-vv")
        for args in (["run", "-vv"], ["status", "--json"], ["log", "-vv"], ["log", "--json"],
                     ["quarantine", "list", "--json"]):
            self.see(*args)
        told = [one for one in service.asked() if one["asked"]["patient"]]
        self.assertTrue(told)
        self.look("a URL", repr([one["path"] for one in told]))
        self.assertTrue(sendit.images(self.site.clean))
        for path in sendit.images(self.site.clean):
            with open(path, "rb") as file:
                self.look("an image in clean", file.read().decode("latin-1"))
        self.look_into_state()

    def test_levels_of_the_log(self):
        for level in ("debug", "info", "warn", "error", "off"):
            site = self.new_site()
            site.write_pipeline(self.entries())
            shutil.rmtree(site.data)
            shutil.copytree(self.site.data, site.data, symlinks=True,
                            ignore=shutil.ignore_patterns("*FIFO", "*LINK"))
            result = site.sendit("run", env=dict(os.environ, SENDIT_LOG=level))
            self.assert_sound(result)
            self.look("a log at " + level, result.out + result.err)

    def test_terminal(self):
        """A progress bar and coloured lines."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen([self.site.program, "run", "-vv"], cwd=self.site.folder,
                                   stdin=theirs, stdout=theirs, stderr=theirs,
                                   env=dict(os.environ, TERM="xterm", COLUMNS="120"))
        os.close(theirs)
        said = b""
        while True:
            ready, _, _ = select.select([ours], [], [], 60)
            try:
                data = os.read(ours, 65536) if ready else b""
            except OSError: # the other end is closed
                break
            if not data:
                break
            said += data
        os.close(ours)
        self.assertEqual(process.wait(60), 0, said.decode(errors="replace")[-2000:])
        self.assertGreater(len(said), 200)
        self.look("a terminal", said.decode("latin-1"))

    def test_what_rests(self):
        """Held files are what would have been stored; who lets them go on says no more."""
        entries = self.entries()
        entries[-1:-1] = [{"use": "hold", "id": "review"}]
        self.site.write_pipeline(entries)
        self.see("run", "-vv")
        self.assertTrue(sendit.images(os.path.join(self.site.state, "held")))
        self.look_into_state()
        for place, folders, files in os.walk(self.site.state):
            for name in folders + files:
                self.look("a name in the state folder", name)
        for args in (["status"], ["status", "--json"], ["plan"], ["resume", "b9"],
                     ["resume", "--json"], ["resume"], ["run", "-vv"], ["log", "b1"]):
            self.see(*args)
        self.assertTrue(sendit.images(self.site.clean))
        self.look_into_state()

    def test_names_with_paths_only(self):
        """--paths shows names of files to the owner, on stdout, and never a value of an image."""
        self.run_sendit("run")
        shown = ""
        for args in [["log", batch] for batch in self.batches()] + [["status"]] + [
                ["quarantine", "list", batch] for batch in self.batches()] + [
                ["quarantine", "show", image] for image in self.held()]:
            result = self.see(*args, "--paths", words=VALUES)
            self.look("%s --paths, stderr" % args[0], result.err)
            shown += result.out
        self.assertIn(FILE, shown)

    # ---- what is written ----

    def test_file_names(self):
        self.run_sendit("run")
        for folder in (self.site.clean, self.site.state):
            for place, folders, files in os.walk(folder):
                for name in folders + files:
                    self.look("a name in " + folder, name)

    def test_files_that_come_out(self):
        self.run_sendit("run")
        self.assertTrue(sendit.images(self.site.clean))
        for path in sendit.images(self.site.clean):
            with open(path, "rb") as file:
                raw = file.read().decode("latin-1")
            self.look("an image in clean", raw)

    def test_terms_that_come_out(self):
        """Where the standard lists what may stand, nothing else does; what it lists stays."""
        self.site.add(canary(19, ImageType=["ORIGINAL", "PRIMARY", "M_FFE"]), FOLDER + "1", "TYPE2")
        self.run_sendit("run")
        seen = set()
        for path in sendit.images(self.site.clean):
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            seen.add((ds.Modality, "\\".join(ds.get("ImageType", [])),
                      str(ds.get("SpecificCharacterSet"))))
        self.assertIn(("CT", "ORIGINAL\\PRIMARY\\M_FFE", "None"), seen)
        self.assertIn(("OT", "ORIGINAL\\PRIMARY\\AXIAL", "None"), seen)
        self.assertIn(("CT", "\\".join(["ANONYMIZED"] * 4), "None"), seen)

    def test_ledger(self):
        """Values stand in the crosswalk's table alone, paths in columns that are for them."""
        self.run_sendit("run")
        self.look_into_state()

    def look_into_state(self):
        looked = 0
        for place, _, files in os.walk(self.site.state):
            for name in files:
                path = os.path.join(place, name)
                if not os.path.exists(path): # a log that went when the ledger was looked at
                    continue
                with open(path, "rb") as file:
                    if file.read(15) == b"SQLite format 3":
                        looked += self.look_into(path)
                    elif not name.endswith(("-wal", "-shm")):
                        file.seek(0)
                        self.look(name, file.read().decode("latin-1"))
        self.assertGreater(looked, 10)

    def look_into(self, path):
        looked = 0
        database = sqlite3.connect(path)
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        tables = {row[0] for row in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")}
        self.assertTrue(tables >= {"audit", "batch", "crosswalk", "fact", "item", "message",
                                   "metric", "release", "run", "run_stage", "store", "tally"})
        for table in sorted(tables - {"crosswalk"}):
            columns = [row[1] for row in database.execute('PRAGMA table_info("%s")' % table)]
            for row in database.execute('SELECT * FROM "%s"' % table):
                for column, value in zip(columns, row):
                    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    paths = () if (table, column) in PATHS else (FOLDER, FILE)
                    self.look("%s.%s" % (table, column), text, VALUES + paths)
                    looked += 1
        database.close()
        return looked

    # ---- what goes wrong ----

    def test_errors_name_no_path_that_was_found(self):
        """Folders and files that cannot be read, below the one that the user wrote."""
        os.makedirs(os.path.join(self.site.data, FOLDER + "3"))
        os.chmod(os.path.join(self.site.data, FOLDER + "3"), 0)
        os.chmod(os.path.join(self.site.data, FOLDER + "1", FILE + "GOOD"), 0)
        self.see("run", "-vv")

    def test_errors_of_somebody_else(self):
        os.makedirs(os.path.join(self.site.data, FOLDER + "3"))
        prefix = self.as_nobody()
        os.chmod(os.path.join(self.site.data, FOLDER + "3"), 0)
        os.chmod(os.path.join(self.site.data, FOLDER + "1", FILE + "GOOD"), 0)
        result = self.see("run", "-vv", prefix=prefix)
        self.assertIn("import.", result.err + self.see("log", prefix=prefix).out)

    def test_nowhere_to_write(self):
        with open(self.site.clean, "w") as file:
            file.write("no folder")
        self.assertNotEqual(self.see("run", "-vv").status, 0)
        self.see("log")
        self.look_into_state()

    def test_outputs_that_are_in_the_way(self):
        """Somebody has changed what is stored, then the images come again in another folder."""
        self.run_sendit("run")
        for path in sendit.images(self.site.clean):
            with open(path, "ab") as file:
                file.write(b"more")
        shutil.rmtree(self.site.state)
        self.site.write_key()
        self.see("run", "-vv")
        self.look_into_state()

    def test_moved_when_done(self):
        entries = self.entries()
        entries[0]["config"].update(when_done="move", done_folder="done")
        self.site.write_pipeline(entries)
        self.see("run", "-vv")
        self.look_into_state()

    def test_stages_that_fail(self):
        """What the core says of a crash, a hang, an undeclared edit, a lie."""
        if not os.path.exists(os.path.join(FIXTURES, "misbehaves.so")):
            self.skipTest("tests/badstages was not built")
        os.mkdir(self.site.path("plugins.d"))
        shutil.copy(os.path.join(FIXTURES, "misbehaves.so"), self.site.path("plugins.d"))
        shutil.rmtree(os.path.join(self.site.data, FOLDER + "2"))
        for how in ("unknown", "crash", "spin", "leave", "overflow", "edit", "again", "flood"):
            entries = self.entries()
            entries.insert(1, {"use": "misbehaves", "config": {"how": how, "on": 1}})
            self.site.write_pipeline(entries, run={"stage_timeout": "1s", "retry_for": "1s"})
            shutil.rmtree(self.site.state)
            self.site.write_key()
            with self.subTest(how):
                self.see("run", "-vv", sound=False, env=NO_REPORT)
                held = self.see("quarantine", "list").out + self.see("log").out
                if how not in ("again", "flood"):
                    self.assertIn("host.", held)
                self.assertNotEqual(self.batches(), [])
                for image in self.held():
                    self.see("quarantine", "show", image)
                self.look_into_state()

    def test_no_core_is_dumped(self):
        """The memory of a worker is the image."""
        process = self.site.start("run", "--set", "run.workers=2")
        limits = set()
        while process.poll() is None:
            for pid in sendit.children(process.pid):
                try:
                    with open("/proc/%d/limits" % pid) as file, \
                            open("/proc/%d/cmdline" % pid) as name:
                        # between fork and exec it is not a worker yet
                        if name.read().count("\0") > 1:
                            limits.update(re.findall(r"Max core file size +(\d+)", file.read()))
                except OSError:
                    pass
        process.communicate()
        self.assertEqual(limits, {"0"})

    def test_command_line_of_workers(self):
        """Arguments of processes can be read by everybody on the machine."""
        process = self.site.start("run", "--workers", "2")
        seen = ""
        while process.poll() is None:
            for pid in [process.pid] + sendit.children(process.pid):
                try:
                    with open("/proc/%d/cmdline" % pid) as file:
                        seen += file.read()
                except OSError:
                    pass
        process.communicate()
        self.assertTrue(seen)
        self.look("a command line", seen)
        self.assertNotIn(sendit.KEY[:10], seen)



class StoresOfGoogle(google.Case):
    """Objects, their names, rows, requests and what the ledger keeps of them."""

    entries, add_images, add_files = Canary.entries, Canary.add_images, Canary.add_files
    look, see, batches = Canary.look, Canary.see, Canary.batches
    look_into_state, look_into = Canary.look_into_state, Canary.look_into

    def setUp(self):
        super().setUp()
        self.add_images()
        self.add_files()
        self.fake = fake = self.start_google(tls=False)
        both = {"project": google.PROJECT, "endpoint": fake.origin, "token_url": fake.token_url,
                "metadata_url": fake.metadata_url, "credentials": self.credentials(fake),
                "retry_delay": "1ms", "retry_deadline": "2s"}
        allow = ["network", "secrets", "emulator"]
        entries = self.entries()
        entries[-1:] = [
            {"use": "gcs-store", "allow": allow,
             "config": dict(both, bucket="radiology", collection="IRB12345")},
            {"use": "bigquery-store", "allow": allow,
             "config": dict(both, dataset="IRB12345", poll="1ms")}]
        self.site.write_pipeline(entries)

    def test_nothing_is_told(self):
        self.see("run", "-vv")
        for args in (["run", "-vv"], ["status", "--json"], ["log", "b1", "--json"], ["reconcile"],
                     ["reconcile", "--json"], ["check", "--online"], ["plan", "--json"]):
            self.see(*args)
        objects = self.fake.objects("radiology")
        self.assertTrue(objects)
        for name, resource in objects.items():
            self.look("an object", name + repr(resource))
            data = self.fake.read("radiology", name)
            self.look("the content of an object", gzip.decompress(data).decode("latin-1"))
        for table in ("dicom", "instances"):
            rows = self.fake.rows("IRB12345", table)
            self.assertTrue(rows)
            self.look("rows of " + table, repr(rows))
        with open(self.fake.log) as file:
            self.look("requests", file.read())
        self.look_into_state()

    def test_nothing_is_told_when_google_refuses(self):
        self.fake.fault("storage.multipart", "status", status=400, reason="invalid")
        self.assertNotEqual(self.see("run", "-vv").status, 0)
        self.see("log")
        self.see("log", "b1", "--json")
        self.look_into_state()


if __name__ == "__main__":
    unittest.main()
