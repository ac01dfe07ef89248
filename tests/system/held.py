#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/system/held.py: writes into tests/README.md which real files are held, and why.

test_real.py compares; what differs is looked at, then this is run.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import sendit

README = os.path.join(sendit.ROOT, "tests", "README.md")
SOURCES = {"pydicom": sendit.PYDICOM_FILES, "collection": sendit.REAL}


def held(site):
    """Reason -> names of images that a site holds, below data; what is no DICOM by its name
    (README, *.py, *.json) is left out."""
    found = {}
    for batch in site.sendit("status", "--json").json["batches"]:
        if not batch["counts"]["quarantined"]:
            continue
        for image in site.sendit("quarantine", "list", batch["batch"], "--json", "--paths").json:
            name = os.path.relpath(image["path"], site.data)
            if re.search(r"\.(py|pyc|json|txt|md|gz|dump|tsv)$|README$", name):
                continue
            found.setdefault(image["code"], []).append(name)
    return found


def short(names):
    """Folder by folder: "charset_files: chrArab, chrFren; palettes: fall"."""
    folders = {}
    for name in sorted(names):
        folder, name = os.path.split(name)
        folders.setdefault(folder, []).append("`%s`" % re.sub(r"\.dcm$", "", name))
    return "; ".join(("%s: " % folder if folder else "") + ", ".join(names)
                     for folder, names in folders.items())


def table(site):
    rows = ["| reason | files |", "| --- | --- |"]
    rows += ["| `%s` | %s |" % (code, short(names)) for code, names in sorted(held(site).items())]
    return "\n".join(rows)


def marks(name):
    return "<!-- held: %s -->\n" % name, "\n<!-- end -->"


def written(name):
    """The table as it stands in the README."""
    with open(README) as file:
        text = file.read()
    begin, end = marks(name)
    return text.split(begin)[1].split(end)[0]


def main():
    for name, source in SOURCES.items():
        if not os.path.isdir(source):
            print("%s is not there" % source)
            continue
        folder = tempfile.mkdtemp(prefix="sendit-held-")
        try:
            site = sendit.Site(folder)
            os.rmdir(site.data)
            shutil.copytree(source, site.data, symlinks=True)
            subprocess.run(["chmod", "-R", "u+w", site.data], check=True)
            site.sendit("run", "--json")
            with open(README) as file:
                text = file.read()
            begin, end = marks(name)
            before, rest = text.split(begin)
            after = rest.split(end, 1)[1]
            with open(README, "w") as file:
                file.write(before + begin + table(site) + end + after)
        finally:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
