# SPDX-License-Identifier: Apache-2.0
"""The hospital's output before independent judges: nothing identified left, nothing else lost."""
import datetime
import os
import unittest

import judges
import pydicom
import sendit

KEPT = ("PatientSex", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient",
        "ImageOrientationPatient", "SliceThickness", "SliceLocation", "RescaleIntercept",
        "RescaleSlope", "RescaleType", "KVP", "RepetitionTime", "EchoTime",
        "MagneticFieldStrength", "Modality", "SOPClassUID", "BitsStored", "PixelRepresentation",
        "NumberOfFrames", "FrameTime", "ImageType", "InstanceNumber", "SeriesNumber",
        "PatientPosition", "SequenceOfUltrasoundRegions", "PhotometricInterpretation")
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


def day(text):
    return datetime.datetime.strptime(text, "%Y%m%d").date()


class Judges(sendit.Case):
    def setUp(self):
        super().setUp()
        self.hospital = self.site.add_hospital(size=32)
        self.run_json()
        self.pairs = self.pair()

    def pair(self):
        """(before, after) for each stored image, told by what stays: class, pixels, numbers."""
        def mark(path):
            ds = pydicom.dcmread(path)
            return (str(ds.SOPClassUID), str(ds.get("InstanceNumber")),
                    judges.encoded_pixels(ds) or "none")
        after = {mark(path): path for path in sendit.images(self.site.clean)}
        before = {}
        for place, _, files in os.walk(self.site.data):
            for name in files:
                path = os.path.join(place, name)
                try:
                    before[mark(path)] = path
                except (pydicom.errors.InvalidDicomError, AttributeError, EOFError):
                    pass
        pairs = [(before[key], path) for key, path in sorted(after.items())]
        self.assertEqual(len(pairs), self.hospital.expect["stored"])
        return pairs

    def need(self, *programs):
        gone = judges.lacking(*programs)
        if gone:
            self.skipTest("%s is not installed" % gone)

    def test_no_seeded_identifier_is_left(self):
        secrets = self.hospital.identifiers()
        self.assertGreater(len(secrets), 100)
        # The judge itself: it finds what is in the originals.
        self.assertTrue(judges.leaks(self.pairs[0][0], secrets))
        for _, after in self.pairs:
            self.assertEqual(judges.leaks(after, secrets), [])
            relative = os.path.relpath(after, self.site.clean)
            self.assertEqual([s for s in secrets if s.casefold() in relative.casefold()], [])

    def test_file_meta_and_preamble_are_new(self):
        for before, after in self.pairs:
            with open(after, "rb") as file:
                self.assertEqual(file.read(132), bytes(128) + b"DICM")
            old, new = pydicom.dcmread(before), pydicom.dcmread(after)
            self.assertEqual(old.file_meta.TransferSyntaxUID, new.file_meta.TransferSyntaxUID)
            self.assertNotEqual(old.file_meta.ImplementationClassUID,
                                new.file_meta.ImplementationClassUID)
            self.assertEqual(new.file_meta.MediaStorageSOPInstanceUID, new.SOPInstanceUID)
            self.assertLessEqual({element.tag.element for element in new.file_meta},
                                 {0x0, 0x1, 0x2, 0x3, 0x10, 0x12, 0x13})

    def test_dciodvfy_finds_no_new_error(self):
        self.need("dciodvfy")
        for before, after in self.pairs:
            self.assertEqual(judges.new_errors(before, after), [], after)

    def test_pixels_are_the_same_decoded(self):
        self.need("gdcminfo")
        judged = 0
        for before, after in self.pairs:
            old, new = judges.pixel_md5(before), judges.pixel_md5(after)
            if old is not None:
                self.assertEqual(old, new)
                judged += 1
        self.assertGreater(judged, 30)

    def test_pixels_are_the_same_encoded(self):
        for before, after in self.pairs:
            self.assertEqual(judges.encoded_pixels(pydicom.dcmread(before)),
                             judges.encoded_pixels(pydicom.dcmread(after)))

    def test_dcm2niix_makes_the_same_volumes(self):
        self.need("dcm2niix")
        for place, _, files in os.walk(self.site.clean):
            if len(files) < 2:
                continue
            before = os.path.dirname({b for b, a in self.pairs if os.path.dirname(a) == place}.pop())
            # The same files under the same order: the truncated one has no counterpart.
            only = os.path.join(self.new_folder(), "series")
            os.mkdir(only)
            for old, new in self.pairs:
                if os.path.dirname(new) == place:
                    os.link(old, os.path.join(only, os.path.basename(old)))
            self.assertTrue(judges.volumes(place), before)
            self.assertEqual(judges.volumes(only), judges.volumes(place), before)

    def test_what_is_not_identifying_stays(self):
        for before, after in self.pairs:
            old, new = pydicom.dcmread(before), pydicom.dcmread(after)
            for keyword in KEPT:
                if keyword in old:
                    self.assertIn(keyword, new, after)
                    self.assertEqual(str(old[keyword].value), str(new[keyword].value), keyword)

    def test_age_over_89_is_089(self):
        ages = {old.PatientAge: pydicom.dcmread(after).PatientAge for before, after in self.pairs
                for old in [pydicom.dcmread(before, stop_before_pixels=True)]}
        self.assertEqual(ages, {"067Y": "067Y", "093Y": "089Y", "059Y": "059Y", "041Y": "041Y"})

    def test_dates_of_a_patient_move_by_one_number_of_days(self):
        shifts = {}
        for before, after in self.pairs:
            old, new = pydicom.dcmread(before), pydicom.dcmread(after)
            for keyword in DATES:
                if keyword in old and old[keyword].value:
                    moved = (day(new[keyword].value) - day(old[keyword].value)).days
                    shifts.setdefault(old.PatientID, set()).add(moved)
            self.assertEqual(old.StudyTime, new.StudyTime)
        self.assertEqual(len(shifts), 4)
        for days in shifts.values():
            self.assertEqual(len(days), 1, shifts)
            self.assertTrue(-3650 <= min(days) <= -1, shifts)
        self.assertGreater(len(set.union(*shifts.values())), 1, "one shift for everybody")

    def test_uids_map_one_to_one_and_references_resolve(self):
        forward, back = {}, {}
        for before, after in self.pairs:
            old, new = pydicom.dcmread(before), pydicom.dcmread(after)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
                            "FrameOfReferenceUID"):
                if keyword in old:
                    a, b = old[keyword].value, new[keyword].value
                    self.assertTrue(b.startswith("2.25."), b)
                    self.assertTrue(b.is_valid and len(b) <= 64, b)
                    self.assertEqual(forward.setdefault(a, b), b)
                    self.assertEqual(back.setdefault(b, a), a)
        report = next((pydicom.dcmread(b), pydicom.dcmread(a)) for b, a in self.pairs
                      if a and pydicom.dcmread(a, stop_before_pixels=True).Modality == "SR")
        references = [[element.value for element in judges.walk(ds)
                       if element.keyword == "ReferencedSOPInstanceUID"] for ds in report]
        self.assertEqual([forward[uid] for uid in references[0]], references[1])
        self.assertEqual(len(references[0]), 2)

    def test_patients_map_one_to_one(self):
        pairs = {(pydicom.dcmread(b, stop_before_pixels=True).PatientID,
                  pydicom.dcmread(a, stop_before_pixels=True).PatientID) for b, a in self.pairs}
        self.assertEqual((len(pairs), len({a for a, _ in pairs}), len({b for _, b in pairs})),
                         (4, 4, 4))

    def test_it_says_that_it_is_deidentified(self):
        for _, after in self.pairs:
            ds = pydicom.dcmread(after)
            self.assertEqual(ds.PatientIdentityRemoved, "YES")
            self.assertTrue(ds.DeidentificationMethod)
            codes = {(item.CodeValue, item.CodingSchemeDesignator)
                     for item in ds.DeidentificationMethodCodeSequence}
            self.assertEqual(codes, {("113100", "DCM"), ("113107", "DCM"), ("113108", "DCM")})
            self.assertEqual(ds.LongitudinalTemporalInformationModified, "MODIFIED")

    def test_no_private_element_and_no_trailing_padding(self):
        for _, after in self.pairs:
            for element in judges.walk(pydicom.dcmread(after)):
                self.assertFalse(element.tag.is_private, element.tag)
                self.assertNotEqual(element.tag, 0xFFFCFFFC)
                self.assertNotEqual(element.tag.group & 0xFF00, 0x6000)


if __name__ == "__main__":
    unittest.main()
