# SPDX-License-Identifier: Apache-2.0
"""The canary: no value of an image in a log, an error, a reason, a ledger, a file name.

Strings that stand nowhere else are put into every kind of element, also into those that make
trouble, and into the names of files and folders.
"""
import os
import sqlite3
import unittest

import sendit

# In values (TEXT fits no code string); none may be in anything that sendit says or writes, the crosswalk apart.
NAME, PATIENT, ACCESSION = "Canarybird", "PIDCANARY77", "ACCCANARY88"
TEXT, UID = "Text~canary99", "1.2.826.0.1.3680043.8.498.424242.1"
VALUES = (NAME, PATIENT, ACCESSION, TEXT, UID, "19471113")
# In names of files and folders; only the ledger knows them.
FOLDER, FILE = "FOLDERCANARY", "FILECANARY"


def canary(number, **more):
    attributes = dict(PatientName=NAME + "^Tweety", PatientID=PATIENT, AccessionNumber=ACCESSION,
                      PatientBirthDate="19471113", StudyDescription=TEXT, PatientComments=TEXT,
                      StudyInstanceUID=UID, FrameOfReferenceUID=UID + ".7")
    attributes.update(more)
    return sendit.make_image(number, **attributes)


class Canary(sendit.Case):
    def setUp(self):
        super().setUp()
        add = lambda ds, name: self.site.add(ds, FOLDER + "1", FILE + name)
        add(canary(1), "GOOD")
        add(canary(2, BurnedInAnnotation="YES " + TEXT), "BURNED")
        add(canary(3, PatientID=None), "NOBODY")
        add(canary(4, StudyInstanceUID=None), "NOSTUDY")
        add(canary(5, PatientID=PATIENT + "-2"), "OTHERPATIENT")
        add(canary(6, StudyDate=TEXT), "BADDATE")
        add(canary(7, PatientAge=TEXT), "BADAGE")
        add(canary(8, SOPClassUID=UID + ".9"), "PRIVATECLASS")
        add(canary(9, ImageType=[TEXT, TEXT]), "TYPE")
        add(canary(10, Modality=TEXT), "MODALITY")
        add(canary(11, SpecificCharacterSet=TEXT), "CHARSET")
        add(canary(12, SeriesInstanceUID=TEXT), "BADUID")
        add(canary(13, SOPInstanceUID=UID + ".13" + ".1" * 40), "LONGUID")
        add(canary(1, RescaleSlope=3), "CONFLICT")
        path = add(canary(14), "CUT")
        os.truncate(path, os.path.getsize(path) - 40)
        self.site.add_bytes(("Dear %s %s" % (NAME, TEXT)).encode() * 30, FOLDER + "2", FILE + "TXT")
        self.site.add_bytes(b"", FOLDER + "2", FILE + "EMPTY")

    def look(self, what, text, words):
        for word in words:
            self.assertNotIn(word.casefold(), text.casefold(), "%s tells %s" % (what, word))

    def test_nothing_is_said(self):
        batches = None
        for args in (["run", "-vv"], ["run", "-vv"], ["run", "--json", "-vv"], ["plan"],
                     ["status"], ["status", "--json"], ["log", "-vv"], ["log", "--json"],
                     ["quarantine", "list"], ["quarantine", "list", "--json"]):
            result = self.run_sendit(*args)
            self.look(" ".join(args), result.out + result.err, VALUES + (FOLDER, FILE))
            if args == ["status", "--json"]:
                batches = [batch["batch"] for batch in result.json["batches"]]
        self.assertTrue(batches)
        for batch in batches:
            for args in (["log", batch], ["quarantine", "list", batch],
                         ["quarantine", "show", batch]):
                result = self.site.sendit(*args)
                self.assert_sound(result)
                self.look(" ".join(args), result.out + result.err, VALUES + (FOLDER, FILE))

    def test_names_with_paths_only(self):
        """--paths shows names of files to the owner, on stdout, and never a value of an image."""
        self.run_sendit("run")
        shown = ""
        for batch in [batch["batch"] for batch in self.run_sendit("status", "--json").json["batches"]]:
            result = self.run_sendit("log", batch, "--paths")
            self.look("log --paths", result.out + result.err, VALUES)
            self.look("log --paths, stderr", result.err, (FOLDER, FILE))
            shown += result.out
        self.assertIn(FILE, shown)

    def test_file_names(self):
        self.run_sendit("run")
        for folder in (self.site.clean, self.site.state):
            for place, folders, files in os.walk(folder):
                for name in folders + files:
                    self.look("a name in " + folder, name, VALUES + (FOLDER, FILE))

    def test_files_that_come_out(self):
        self.run_sendit("run")
        self.assertTrue(sendit.images(self.site.clean))
        for path in sendit.images(self.site.clean):
            with open(path, "rb") as file:
                raw = file.read().decode("latin-1")
            self.look("an image in clean", raw, VALUES + (FOLDER, FILE))

    def test_ledger(self):
        """Values stand in the crosswalk's table alone, paths in columns that are for them."""
        self.run_sendit("run")
        looked = 0
        for place, _, files in os.walk(self.site.state):
            for name in files:
                path = os.path.join(place, name)
                with open(path, "rb") as file:
                    if file.read(15) == b"SQLite format 3":
                        looked += self.look_into(path)
                    elif not name.endswith(("-wal", "-shm")):
                        file.seek(0)
                        self.look(name, file.read().decode("latin-1"), VALUES + (FOLDER, FILE))
        self.assertGreater(looked, 10)

    def look_into(self, path):
        looked = 0
        database = sqlite3.connect(path)
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        tables = [row[0] for row in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if table == "crosswalk":
                continue
            for row in database.execute('SELECT * FROM "%s"' % table):
                for value in row:
                    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    self.look("table %s" % table, text, VALUES)
                    looked += 1
        database.close()
        return looked

    def test_errors_name_no_path_that_was_found(self):
        """A folder that cannot be read, below the one that the user wrote."""
        os.makedirs(os.path.join(self.site.data, FOLDER + "3"))
        os.chmod(os.path.join(self.site.data, FOLDER + "3"), 0)
        result = self.site.sendit("run", "-vv")
        self.assert_sound(result)
        self.look("an error", result.out + result.err, VALUES + (FOLDER, FILE))

    def test_command_line_of_workers(self):
        """Arguments of processes can be read by everybody on the machine."""
        process = self.site.start("run", "--workers", "2")
        seen = ""
        while process.poll() is None:
            for pid in [process.pid] + self.children(process.pid):
                try:
                    with open("/proc/%d/cmdline" % pid) as file:
                        seen += file.read()
                except OSError:
                    pass
        process.communicate()
        self.look("a command line", seen, VALUES + (FOLDER, FILE, sendit.KEY[:10]))

    @staticmethod
    def children(pid):
        try:
            with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
                return [int(word) for word in file.read().split()]
        except OSError:
            return []


if __name__ == "__main__":
    unittest.main()
