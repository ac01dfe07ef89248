# SPDX-License-Identifier: Apache-2.0
"""A folder goes in, a clean one comes out, and the counts add up."""
import json
import os
import socket
import unittest

import pydicom
import sendit


class Hospital(sendit.Case):
    """The synthetic hospital through the shipped stages."""

    def setUp(self):
        super().setUp()
        self.hospital = self.site.add_hospital()

    def test_each_file_is_accounted_for(self):
        before = sendit.tree(self.site.data)
        answer = self.run_json()
        self.assert_counts(answer, **self.hospital.expect)
        self.assertEqual(answer["found"], len(before))
        self.assertEqual(len(sendit.images(self.site.clean)), answer["stored"])
        self.assertEqual(before, sendit.tree(self.site.data), "originals changed")
        self.assert_reasons(answer, dicom__truncated=1, dicom__not_dicom=1, dicom__dicomdir=1,
                            pixel__burned_in=1, pixel__secondary=1)
        self.assertEqual(self.site.counts(), {key: answer.get(key, 0) for key in (
            "found", "stored", "checked", "quarantined", "failed", "ignored", "waiting")})

    def test_second_run_has_nothing_to_do(self):
        self.run_json()
        before = sendit.tree(self.site.clean)
        stamps = {path: os.stat(path).st_mtime_ns for path in sendit.images(self.site.clean)}
        result = self.run_sendit("run")
        self.assertIn("nothing to do", result.out)
        self.assertEqual(before, sendit.tree(self.site.clean))
        self.assertEqual(stamps, {path: os.stat(path).st_mtime_ns
                                  for path in sendit.images(self.site.clean)})
        answer = self.run_json()
        self.assert_counts(answer)

    def test_one_worker_and_four_give_the_same(self):
        self.run_json("--workers", "1")
        one = sendit.tree(self.site.clean)
        counts = self.site.counts()
        for workers in ("2", "4"):
            other = self.new_site()
            other.add_hospital()
            self.run_json("--workers", workers, site=other)
            self.assertEqual(one, sendit.tree(other.clean))
            self.assertEqual(counts, other.counts())

    def test_the_summary_adds_up(self):
        result = self.run_sendit("run")
        expect = self.hospital.expect
        self.assertIn("found %d = stored %d + quarantined %d + failed %d + ignored %d + waiting 0"
                      % (sum(expect.values()), expect["stored"], expect["quarantined"],
                         expect["failed"], expect["ignored"]), result.out)

    def test_nothing_but_images_is_left_in_clean(self):
        self.run_json()
        files = [os.path.join(place, name) for place, _, names in os.walk(self.site.clean)
                 for name in names]
        self.assertEqual(sorted(files), sendit.images(self.site.clean))

    def test_where_an_image_lands(self):
        """PSEUDONYM/STUDY/SERIES/INSTANCE.dcm, of new values."""
        self.run_json()
        for path in sendit.images(self.site.clean):
            ds = pydicom.dcmread(path)
            self.assertEqual(os.path.relpath(path, self.site.clean), os.path.join(
                ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID,
                ds.SOPInstanceUID + ".dcm"))

    def test_commands_that_look_do_not_fail(self):
        self.run_json()
        batches = self.run_sendit("status", "--json").json["batches"]
        for args in (["status"], ["log"], ["quarantine", "list"],
                     ["log", batches[0]["batch"]], ["stages"], ["stages", "file-store"],
                     ["stages", "run"], ["plan"], ["check"]):
            with self.subTest(" ".join(args)):
                self.assertTrue(self.run_sendit(*args).out or args == ["check"])
                json.loads(self.run_sendit(*args, "--json").out)


class Folders(sendit.Case):
    def test_empty_folder(self):
        result = self.run_sendit("run")
        self.assertIn("nothing to do", result.out)
        self.assert_counts(self.run_json())

    def test_empty_subfolders(self):
        os.makedirs(os.path.join(self.site.data, "a", "b", "c"))
        self.assertIn("nothing to do", self.run_sendit("run").out)

    def test_folder_on_the_command_line(self):
        self.site.add_images(2, study=1)
        self.site.add_images(3, study=2)
        answer = self.run_json("data/study2")
        self.assert_counts(answer, stored=3)

    def test_each_folder_with_files_is_a_batch(self):
        self.site.add(sendit.make_image(1), "IM1")
        self.site.add(sendit.make_image(2), "a", "IM1")
        self.site.add(sendit.make_image(3), "a", "b", "IM1")
        answer = self.run_json()
        self.assert_counts(answer, stored=3)
        self.assertEqual(answer["batches"], 3)

    def test_not_recursive(self):
        self.site.add(sendit.make_image(1), "IM1")
        self.site.add(sendit.make_image(2), "a", "IM1")
        answer = self.run_json("--set", "importer.recursive=false")
        self.assert_counts(answer, stored=1)

    def test_new_files_in_a_folder_that_is_done(self):
        self.site.add_images(2)
        self.assert_counts(self.run_json(), stored=2)
        self.site.add(sendit.make_image(3), "study1", "IM00003")
        self.assert_counts(self.run_json(), stored=1)
        self.assertEqual(len(sendit.images(self.site.clean)), 3)

    def test_any_file_name(self):
        names = ["plain", "with blank", "-rf", "IM.JPG", "ümläut", "new\nline", "x" * 255,
                 "quote'\"", "$(touch pwned)", "%s%n", "trailing."]
        for i, name in enumerate(names):
            self.site.add(sendit.make_image(i + 1), "study1", name)
        path = sendit.save(sendit.make_image(50), os.path.join(self.site.data, "study1", "tmpname"))
        os.rename(path.encode(), os.path.join(self.site.data, "study1").encode() + b"/\xff\xfe")
        self.assert_counts(self.run_json(), stored=len(names) + 1)

    def test_temporary_names_are_left_alone(self):
        self.site.add(sendit.make_image(1), "study1", "IM1")
        self.site.add(sendit.make_image(2), "study1", "IM2.tmp")
        self.site.add(sendit.make_image(3), "study1", "IM3.part")
        self.site.add(sendit.make_image(4), "study2.tmp", "IM1")
        self.site.add(sendit.make_image(5), "study3.tmp42", "IM1")
        answer = self.run_json()
        self.assertEqual(answer["stored"], 1)
        self.assertEqual(answer["quarantined"] + answer["failed"] + answer["waiting"], 0)
        os.rename(os.path.join(self.site.data, "study2.tmp"),
                  os.path.join(self.site.data, "study2"))
        self.assertEqual(self.run_json()["stored"], 1)

    def test_what_is_ignored_has_its_reason(self):
        self.site.add(sendit.make_image(1), "study1", "IM1")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            self.site.add_bytes(b"x", "study1", name)
        self.site.add_bytes(b"", "study1", "EMPTY")
        os.mkfifo(os.path.join(self.site.data, "study1", "FIFO"))
        with socket.socket(socket.AF_UNIX) as sock:
            here = os.getcwd()
            os.chdir(os.path.join(self.site.data, "study1"))
            sock.bind("SOCKET")
            os.chdir(here)
        answer = self.run_json(limit=60)
        self.assert_counts(answer, stored=1, ignored=6)
        self.assert_reasons(answer, import__ignored=3, import__empty=1, import__not_regular=2)

    def test_symbolic_links(self):
        """None is followed out of the folder, or round in a loop."""
        outside = sendit.save(sendit.make_image(7), self.site.path("outside", "IM7"))
        self.site.add(sendit.make_image(1), "study1", "IM1")
        os.symlink(outside, os.path.join(self.site.data, "study1", "LINK"))
        os.symlink(self.site.path("outside"), os.path.join(self.site.data, "study1", "FOLDER"))
        os.symlink(self.site.data, os.path.join(self.site.data, "study1", "LOOP"))
        os.symlink("/dev/zero", os.path.join(self.site.data, "study1", "ZERO"))
        answer = self.run_json(limit=60)
        self.assertEqual(answer["stored"], 1)
        self.assertEqual(answer["found"], answer["stored"] + answer["ignored"])

    def test_the_same_image_twice(self):
        self.site.add(sendit.make_image(1), "study1", "A")
        self.site.add(sendit.make_image(1), "study1", "B")
        answer = self.run_json()
        self.assert_counts(answer, stored=1, ignored=1)
        self.assert_reasons(answer, import__duplicate=1)

    def test_another_image_under_the_same_uid(self):
        """The first by name wins, whatever the number of workers."""
        for workers in ("1", "4"):
            site = self.new_site()
            site.add(sendit.make_image(1), "study1", "A")
            site.add(sendit.make_image(1, RescaleIntercept=-5), "study1", "B")
            site.add(sendit.make_image(1, RescaleIntercept=-6), "study2", "A")
            answer = self.run_json("--workers", workers, site=site)
            self.assert_counts(answer, stored=1, quarantined=2)
            self.assert_reasons(answer, import__conflict=2)
            ds = pydicom.dcmread(sendit.images(site.clean)[0])
            self.assertEqual(ds.RescaleIntercept, 0)

    def test_when_done_move_and_delete(self):
        for how in ("move", "delete"):
            site = self.new_site()
            site.add_images(2)
            site.add_bytes(b"no image", "study1", "NOTE")
            args = ["--set", "importer.when_done=" + how]
            if how == "move":
                args += ["--set", "importer.done_folder=done"]
            self.assert_counts(self.run_json(*args, site=site), stored=2, quarantined=1)
            left = sorted(sendit.tree(site.data))
            self.assertEqual(left, ["study1/NOTE"], how)
            if how == "move":
                self.assertEqual(len(sendit.tree(site.path("done"))), 2)


class Ids(sendit.Case):
    def test_what_has_no_identity_is_held(self):
        self.site.add(sendit.make_image(1), "study1", "IM1")
        self.site.add(sendit.make_image(2, PatientID=None), "study2", "A")
        self.site.add(sendit.make_image(3, PatientID=""), "study3", "A")
        self.site.add(sendit.make_image(4, StudyInstanceUID=None), "study4", "A")
        self.site.add(sendit.make_image(5, SeriesInstanceUID=""), "study5", "A")
        self.site.add(sendit.make_image(6, SOPInstanceUID=None), "study6", "A")
        answer = self.run_json()
        self.assertEqual((answer["stored"], answer["quarantined"]), (1, 5), answer)

    def test_no_patient_by_study(self):
        self.site.add(sendit.make_image(1, PatientID=None), "study1", "A")
        self.assert_counts(self.run_json("--set", "local-anonymizer.no_patient=study"), stored=1)

    def test_patient_is_issuer_and_id_folded(self):
        ids = {}
        for i, (patient, issuer) in enumerate([("AB-12", None), (" ab12 ", None), ("Ab1-2", None),
                                               ("AB12", "OTHER"), ("AB13", None)]):
            self.site.add(sendit.make_image(i + 1, i + 1, patient=patient,
                                            **({"IssuerOfPatientID": issuer} if issuer else {})),
                          "study%d" % (i + 1), "IM1")
        self.assert_counts(self.run_json(), stored=5)
        for path in sendit.images(self.site.clean):
            ds = pydicom.dcmread(path)
            ids.setdefault(ds.PatientID, []).append(path)
        self.assertEqual(sorted(len(paths) for paths in ids.values()), [1, 1, 3])

    def test_two_patients_in_one_study(self):
        self.site.add(sendit.make_image(1, patient="P-1"), "study1", "A")
        self.site.add(sendit.make_image(2, patient="P-2"), "study1", "B")
        self.site.add(sendit.make_image(3, patient="P-1"), "study1", "C")
        answer = self.run_json()
        self.assert_counts(answer, stored=2, quarantined=1)

    def test_mixed_studies(self):
        for how, stored in (("warn", 2), ("quarantine", 1)):
            site = self.new_site()
            site.add(sendit.make_image(1, study=1), "study", "A")
            site.add(sendit.make_image(2, study=2), "study", "B")
            answer = self.run_json("--set", "importer.on_mixed=" + how, site=site)
            self.assert_counts(answer, stored=stored, quarantined=2 - stored)


if __name__ == "__main__":
    unittest.main()
