# SPDX-License-Identifier: Apache-2.0
"""Independent judges of what came out: other people's programs, and a scan for what must be gone.

Each judge compares before and after, since real files start with errors of their own.
"""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

import pydicom
from pydicom.uid import UID


def lacking(*programs):
    """The first program that is not installed, or None."""
    return next((name for name in programs if not shutil.which(name)), None)


# ---- dciodvfy: is it valid DICOM? ----

def dciodvfy(path):
    """The errors of a file by attribute and message; printed values are cut."""
    done = subprocess.run(["dciodvfy", "-new", path], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    errors = set()
    for line in done.stdout.decode(errors="replace").splitlines():
        if line.startswith("Error"):
            line = re.sub(r"= <.*?>", "= <>", line)
            line = re.sub(r"<[^<>/][^<>]*>(?= -|$)", "<>", line)
            line = re.sub(r"\[\d+\]", "[]", line)
            errors.add(line)
    return errors


def new_errors(before, after):
    return sorted(dciodvfy(after) - dciodvfy(before))


# ---- gdcminfo: are the decoded pixels the same? ----

def pixel_md5(path):
    """MD5 of the decoded pixels; None where gdcm has no opinion."""
    done = subprocess.run(["gdcminfo", "--md5sum", path], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    match = re.search(r"md5sum: ([0-9a-f]{32})", done.stdout.decode(errors="replace"))
    return match.group(1) if match and done.returncode == 0 else None


def encoded_pixels(ds):
    """SHA-256 of the pixel bytes as they stand in the file; None without."""
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in ds:
            return hashlib.sha256(ds[keyword].value or b"").hexdigest()
    return None


# ---- dcm2niix: do series and geometry survive? ----

def volumes(folder):
    """The volumes that dcm2niix makes of a folder, as a sorted list of digests."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["dcm2niix", "-z", "n", "-b", "n", "-f", "s%s_%p", "-o", out, folder],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        digests = []
        for name in sorted(os.listdir(out)):
            with open(os.path.join(out, name), "rb") as file:
                data = bytearray(file.read())
            # descrip and aux_file are free text (echo time, comments), no geometry.
            data[148:252] = bytes(104)
            digests.append(hashlib.sha256(data).hexdigest())
        return sorted(digests)


# ---- pydicom: is an identifier left? ----

def walk(ds, depth=0):
    """Each element of a data set, at any depth, the file meta included."""
    if depth == 0 and getattr(ds, "file_meta", None) is not None:
        yield from walk(ds.file_meta, 1)
    for element in ds:
        yield element
        if element.VR == "SQ":
            for item in element.value or []:
                yield from walk(item, depth + 1)


def values(ds):
    """(element, text) for every value of every element; bytes as they would be read."""
    for element in walk(ds):
        if element.VR == "SQ":
            continue
        value = element.value
        several = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
        for one in several:
            if isinstance(one, bytes):
                yield element, one.decode("latin-1")
            elif one is not None:
                yield element, str(one)


def encodings(secret):
    """How a value may stand in raw bytes."""
    for codec in ("utf-8", "latin-1", "iso2022_jp", "shift_jis", "euc_jp", "euc_kr", "gb18030",
                  "utf-16-le", "utf-16-be"):
        try:
            yield secret.encode(codec)
        except UnicodeEncodeError:
            pass


def leaks(path, secrets):
    """Which of `secrets` are found in a file: at any depth, without regard to case, in file meta
    and preamble, and in the raw bytes before the pixels; never printed with their value's place
    alone, so that a failure can be read."""
    found = []
    ds = pydicom.dcmread(path, force=True)
    folded = [(secret, secret.casefold()) for secret in secrets]
    for element, text in values(ds):
        if element.tag == 0x7FE00010:
            continue
        text = text.casefold()
        found += ["%s %s: %s" % (element.tag, element.VR, secret)
                  for secret, fold in folded if fold in text]
    pixels = ds.get_item(0x7FE00010) if 0x7FE00010 in ds else None
    with open(path, "rb") as file:
        raw = file.read()
    if pixels is not None and isinstance(pixels.value, bytes):
        raw = raw.replace(pixels.value, b"")
    for secret in secrets:
        # Two or three bytes turn up in numbers by chance.
        found += ["raw bytes: %s" % secret for form in set(encodings(secret))
                  if len(form) >= 5 and form in raw]
    return found


NAME_VRS = ("PN",)


def identifying(ds):
    """What a real file tells about its patient: names, ids, numbers, addresses, its UIDs."""
    out = set()
    keywords = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "PatientAddress",
                "PatientTelephoneNumbers", "InstitutionName", "InstitutionAddress",
                "DeviceSerialNumber", "StationName", "AdmissionID", "IssuerOfPatientID",
                "PatientBirthName", "MedicalRecordLocator", "MilitaryRank")
    for element in walk(ds):
        if element.tag.group == 2:
            continue
        if element.VR in NAME_VRS:
            for one in element.value if isinstance(element.value, pydicom.multival.MultiValue) \
                    else [element.value]:
                out.update(part.strip() for part in re.split(r"[\^=]", str(one or "")))
        elif element.keyword in keywords:
            out.add(str(element.value or "").strip())
        elif element.VR == "UI" and element.keyword.endswith("UID") and \
                not element.keyword.endswith(("ClassUID", "SyntaxUID", "SchemeUID")):
            for one in element.value if isinstance(element.value, pydicom.multival.MultiValue) \
                    else [element.value]:
                if one and not str(one).startswith("1.2.840.10008.") and UID(one).is_valid:
                    out.add(str(one))
    # A short or a common word would be found by chance in any file.
    common = {"anonymous", "anonymized", "unknown", "none", "test", "patient", "name", "images",
              "image", "hospital", "research", "brain", "chest", "study", "series", "phantom",
              "perfusion", "stroke"}
    return {value for value in out if len(value) >= 5 and value.casefold() not in common and
            not re.fullmatch(r"[0.]+|(.)\1*|\d{,7}", value)}
