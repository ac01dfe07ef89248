# SPDX-License-Identifier: Apache-2.0
"""What system tests stand on: a site of its own for each test, sendit run in it, DICOM made.

The program is $SENDIT (tests/run sets it to the sanitizer build), else build-asan/sendit, else
build/sendit.  Every run is checked for what must never be there: a sanitizer's report, a crash.
"""
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import warnings

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONG = bool(os.environ.get("SENDIT_TEST_LONG"))
SHARED = os.path.join(os.path.dirname(ROOT), "shared")
REAL = os.path.join(SHARED, "dicom")
PYDICOM_FILES = os.path.join(os.path.dirname(pydicom.__file__), "data")
UID = "1.2.826.0.1.3680043.8.498.77."
CT = "1.2.840.10008.5.1.4.1.1.2"
KEY = "dGhpcyBpcyBhIHNpdGUga2V5IGZvciB0ZXN0cyBvbmx5ISE="

# What pydicom thinks of a broken file is not what is tested here.
warnings.filterwarnings("ignore", module="pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def program():
    """The sendit under test, or None."""
    names = [os.environ.get("SENDIT"), os.path.join(ROOT, "build-asan", "sendit"),
             os.path.join(ROOT, "build", "sendit")]
    return next((name for name in names if name and os.path.exists(name)), None)


def test_stages():
    """The folder of tests/system/stages, as the program's build made them."""
    return os.path.join(os.path.dirname(program() or ""), "teststages")


def children(pid):
    """The processes that `pid` has started, as /proc knows them."""
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def load_hospital():
    """tests/hospital as a module."""
    path = os.path.join(ROOT, "tests", "hospital")
    loader = importlib.machinery.SourceFileLoader("hospital", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("hospital", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


hospital = load_hospital()


# ---- making DICOM ----

def make_image(number=1, study=1, patient="P-1", name="Doe^Jane", size=8, **attributes):
    """A small CT image; keyword=None takes an attribute away."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CT
    uid = "%s%d.1.%d" % (UID, study, number)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    ds.file_meta.ImplementationClassUID = UID + "1"
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.PatientName, ds.PatientID = name, patient
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19610703", "F", "059Y"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "%s%d" % (UID, study), "%s%d.1" % (UID, study)
    ds.FrameOfReferenceUID = "%s%d.2" % (UID, study)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20210304"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101530"
    ds.Modality, ds.StudyID, ds.AccessionNumber = "CT", "S1", "A-1"
    ds.ReferringPhysicianName, ds.Manufacturer = "", "Synthetic"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, number, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImagePositionPatient = [0, 0, number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.KVP = [1, 1], 1, 120
    ds.PositionReferenceIndicator = ""
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes((number * 7 + i) & 3 if i % 2 else (number + i) & 255
                         for i in range(size * size * 2))
    ds["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def save(ds, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    ds.save_as(path, write_like_original=False)
    return path


# ---- looking ----

def tree(folder):
    """Every regular file below a folder: relative path -> SHA-256."""
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


def at(entries, use):
    """Where the entry of a stage stands among those of a pipeline."""
    return [entry["use"] for entry in entries].index(use)


def images(folder):
    """The paths of the images in a store's folder, in order."""
    return sorted(os.path.join(place, name) for place, _, files in os.walk(folder)
                  for name in files if name.endswith(".dcm"))


class Result:
    """What a run of sendit gave."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return "exit status %d\nstdout: %s\nstderr: %s" % (self.status, self.out[-3000:],
                                                           self.err[-3000:])


class Site:
    """A folder with data, clean, state and pipeline.json; the current folder of its runs."""

    def __init__(self, folder):
        self.folder, self.program = folder, program()
        self.data, self.clean = self.path("data"), self.path("clean")
        self.state = self.path("state")
        os.mkdir(self.data)
        self.write_pipeline()
        self.write_key()

    def path(self, *names):
        return os.path.join(self.folder, *names)

    # ---- set-up ----

    @staticmethod
    def stages():
        """The entries of the shipped pipeline, as a list that a test may change."""
        return [{"use": "importer", "config": {"folders": ["data"]}},
                {"use": "pixel-check"},
                {"use": "deid-filter"},
                {"use": "local-anonymizer"},
                {"use": "file-store", "config": {"folder": "clean"}}]

    def write_pipeline(self, stages=None, text=None, **members):
        if text is None:
            value = dict({"state": "state", "stages": self.stages() if stages is None else stages},
                         **members)
            # One entry a line, so that a test can name the line of an error.
            lines = ",\n    ".join(json.dumps(entry) for entry in value.pop("stages"))
            head = "".join(" %s: %s,\n" % (json.dumps(k), json.dumps(v)) for k, v in value.items())
            text = "{\n%s \"stages\": [\n    %s\n]}\n" % (head, lines)
        mode = "wb" if isinstance(text, bytes) else "w"
        with open(self.path("pipeline.json"), mode) as file:
            file.write(text)

    def write_key(self, key=KEY):
        """The same key in every site, so that outputs can be compared."""
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        os.chmod(self.state, 0o700)
        path = os.path.join(self.state, "site.key")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(key + "\n")
        os.chmod(path, 0o600)

    def add(self, ds, *names):
        return save(ds, os.path.join(self.data, *names))

    def add_bytes(self, data, *names):
        path = os.path.join(self.data, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def add_images(self, count, study=1, **attributes):
        for i in range(1, count + 1):
            self.add(make_image(i, study, **attributes), "study%d" % study, "IM%05d" % i)

    def add_hospital(self, **options):
        """A whole hospital in data; returns it, with `secrets` and `expect`."""
        os.rmdir(self.data)
        return hospital.Hospital(self.data, **options).write()

    # ---- running ----

    def start(self, *args, prefix=(), **popen):
        return subprocess.Popen(list(prefix) + [self.program] + list(args), cwd=self.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **popen)

    def sendit(self, *args, prefix=(), limit=300, **popen):
        process = self.start(*args, prefix=prefix, **popen)
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError("no end after %d s\n%s" % (limit, err.decode(errors="replace")))
        return Result(process.returncode, out.decode(errors="replace"),
                      err.decode(errors="replace"))

    def run_and_kill(self, moment, chance, *args, limit=200):
        """Start it, kill its supervisor or one of its workers after `moment` seconds, and wait until
        all of them are gone.  None if that was the supervisor, else what became of it."""
        # The leak sanitizer looks from a process of its own, which is no worker of ours to kill.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        process = self.start(*args, env=dict(os.environ, ASAN_OPTIONS=options))
        workers = []
        try:
            time.sleep(moment)
            workers = children(process.pid)
            victim = chance.choice(workers) if workers and chance.random() < 0.6 else process.pid
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass
            out, err = process.communicate(timeout=limit)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        until = time.monotonic() + 10
        while any(os.path.exists("/proc/%d" % pid) for pid in workers):
            if time.monotonic() > until:
                raise AssertionError("a worker outlived its supervisor")
            time.sleep(0.02)
        if victim == process.pid:
            return None
        return Result(process.returncode, out.decode(errors="replace"),
                      err.decode(errors="replace"))

    def counts(self):
        """The counts of all batches, by `sendit status --json`, summed by state of item."""
        total = {}
        batches = self.sendit("status", "--json").json["batches"]
        for batch in batches:
            counts = batch.get("counts", batch)
            for name in ("found", "stored", "checked", "quarantined", "failed", "ignored",
                         "waiting"):
                total[name] = total.get(name, 0) + counts.get(name, 0)
        return total


class Case(unittest.TestCase):
    """A test with a site of its own in self.site."""

    maxDiff = 4000

    def setUp(self):
        if not program():
            self.fail("there is no sendit: build it, or set SENDIT")
        self.folder = tempfile.mkdtemp(prefix="sendit-test-")
        self.addCleanup(self.remove)
        self.site = Site(self.new_folder())

    def remove(self):
        for place, _, _ in os.walk(self.folder):
            os.chmod(place, 0o700)
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_folder(self):
        return tempfile.mkdtemp(dir=self.folder)

    def new_site(self):
        return Site(self.new_folder())

    def as_nobody(self):
        """Give the site to user nobody; returns what makes a command run as that user.  The
        program is installed for it: the tree may lie where only its owner can look."""
        if not is_root() or not shutil.which("setpriv"):
            self.skipTest("only root can become another user")
        prefix = os.path.join(self.folder, "installed")
        subprocess.run(["cmake", "--install", os.path.dirname(self.site.program), "--prefix",
                        prefix], check=True, stdout=subprocess.DEVNULL)
        self.site.program = os.path.join(prefix, "bin", "sendit")
        os.chmod(self.folder, 0o755)
        subprocess.run(["chown", "-R", "65534:65534", self.site.folder], check=True)
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    # ---- asserting ----

    def assert_sound(self, result):
        """Whatever the answer: no sanitizer spoke, nothing crashed."""
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:", "Assertion",
                     "host.crashed"):
            self.assertNotIn(word, result.err, str(result))
        self.assertGreaterEqual(result.status, 0, str(result))

    def run_sendit(self, *args, expect=0, site=None, **more):
        """Run it and check the exit status."""
        result = (site or self.site).sendit(*args, **more)
        self.assert_sound(result)
        self.assertEqual(result.status, expect, str(result))
        return result

    def run_json(self, *args, expect=0, site=None, **more):
        """`sendit run --json`; the counts must add up."""
        answer = self.run_sendit("run", "--json", *args, expect=expect, site=site, **more).json
        self.assert_adds_up(answer)
        return answer

    def assert_adds_up(self, counts):
        self.assertEqual(counts["found"],
                         sum(counts.get(name, 0) for name in ("stored", "checked", "quarantined",
                                                              "failed", "ignored", "waiting")),
                         counts)

    def assert_counts(self, answer, **wanted):
        """Named counts as wanted, all others zero."""
        for name in ("stored", "checked", "quarantined", "failed", "ignored", "waiting"):
            self.assertEqual(answer.get(name, 0), wanted.get(name, 0), "%s: %s" % (name, answer))

    def assert_reasons(self, answer, **wanted):
        """How many images per reason code; dots in codes are written as two underscores."""
        found = {}
        for reason in answer["reasons"]:
            found[reason["code"]] = found.get(reason["code"], 0) + reason["images"]
        self.assertEqual(found, {code.replace("__", "."): n for code, n in wanted.items()})

    def assert_nothing_out(self, site=None):
        self.assertEqual(images((site or self.site).clean), [])

    def assert_one_sentence(self, result, *words):
        """One clear sentence on stderr, with these words in it."""
        lines = [line for line in result.err.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, str(result))
        for word in words:
            self.assertIn(word, lines[0])


def is_root():
    return os.geteuid() == 0


def owner_only(path):
    """Nobody but the owner may read, write or enter it."""
    return not stat.S_IMODE(os.lstat(path).st_mode) & 0o077
