#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The pages for those who switch and for Google Cloud: each setting of the predecessor stands there,
and each line of pipeline.json that they show is one that sendit takes."""
import copy
import json
import os
import re
import subprocess
import tempfile
import unittest

import sendit

MANUAL = os.path.join(sendit.ROOT, "core", "manual")

# Of its settings/config.py and secrets.py, and what its documents and old templates name besides.
SETTINGS = """
    ANONYMIZE_RESTFUL ANONYMIZE_PIXELS DEIDENTIFY_RESTFUL DEIDENTIFY_PIXELS STUDY_DEID ENTITY_ID
    ITEM_ID CUSTOM_ENTITY_ID SOM_STUDY DATA_BASE DATA_SUBFOLDER DATA_INPUT_FOLDERS
    DATA_INPUT_SUBFOLDERS SEND_TO_GOOGLE GOOGLE_CLOUD_STORAGE GOOGLE_STORAGE_COLLECTION
    GOOGLE_PROJECT_NAME GOOGLE_PROJECT_ID_HEADER GOOGLE_APPLICATION_CREDENTIALS
    STANFORD_APPLICATION_CREDENTIALS STANFORD_CLIENT_SECRETS SEND_TO_ORTHANC ORTHANC_IPADDRESS
    ORTHANC_PORT LOCKDOWN_PASSWORDS LOCKDOWN_ENABLED SECRET_KEY DEBUG MEDIA_ROOT
    SENDIT_MESSAGELEVEL SENDIT_COLORIZE
    start_watcher stop_watcher start_queue upload_finished batch_logs export_metrics show_times
    summary_metrics""".split()


def merge(pipeline, line):
    """The pipeline with one line of the table in it."""
    pipeline = copy.deepcopy(pipeline)
    if "use" not in line:
        pipeline.update(line)
        return pipeline
    stages = pipeline["stages"]
    place = [i for i, entry in enumerate(stages) if entry["use"] == line["use"]]
    if not place and line["use"] == "local-anonymizer":
        place = [i for i, entry in enumerate(stages) if entry["use"] == "restful-anonymizer"]
        stages[place[0]] = line
        return pipeline
    entry = stages[place[0]]
    config = dict(entry.get("config", {}), **line.get("config", {}))
    entry.update(line)
    if config:
        entry["config"] = config
    if entry.get("enabled") is False:  # what needs it is off as well
        stages[place[0] + 1]["enabled"] = False
        stages.append({"use": "file-store", "config": {"folder": "clean"}})
    return pipeline


def read(page):
    with open(os.path.join(MANUAL, page), encoding="utf-8") as file:
        return file.read()


def block(text, name):
    """The JSON behind <!-- NAME -->."""
    return json.loads(text.split("<!-- %s -->\n```json\n" % name)[1].split("```\n")[0])


class Case(unittest.TestCase):
    def plan(self, pipeline, shown):
        with tempfile.TemporaryDirectory() as folder:
            pipeline = dict(pipeline, state=os.path.join(folder, "state"))
            with open(os.path.join(folder, "pipeline.json"), "w", encoding="utf-8") as file:
                json.dump(pipeline, file)
            done = subprocess.run([sendit.program(), "plan"], cwd=folder, timeout=60, check=False,
                                  env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 0, "%s\n%s" % (shown, done.stderr.decode()))


class Cloud(Case):
    def test_entries(self):
        text = read("google-cloud.md")
        stages = sendit.Site.stages()[:-1]
        self.plan({"stages": stages + block(text, "entries")}, "entries")
        self.plan({"stages": stages + [block(text, "hold")] + block(text, "entries")}, "hold")


class Switch(Case):
    @classmethod
    def setUpClass(cls):
        cls.text = read("from-sendit-python.md")
        cls.pipeline = block(cls.text, "pipeline")
        table = cls.text.split("<!-- settings -->\n")[1].split("\n\n")[0]
        cls.rows = [[cell.strip() for cell in row.split("|")[1:-1]]
                    for row in table.splitlines()[2:]]

    def test_settings_stand_there(self):
        for name in SETTINGS:
            self.assertRegex(self.text, r"`[^`]*\b%s\b[^`]*`" % name)

    def test_pipeline(self):
        self.plan(self.pipeline, "the whole file")

    def test_lines(self):
        lines = 0
        for setting, line, _ in self.rows:
            if not line:
                continue
            match = re.fullmatch(r"`(\{.*\})`", line)
            self.assertTrue(match, "%s: %s" % (setting, line))
            with self.subTest(setting):
                self.plan(merge(self.pipeline, json.loads(match.group(1))), match.group(1))
            lines += 1
        self.assertGreater(lines, 20)

    def test_hold(self):
        pipeline = copy.deepcopy(self.pipeline)
        at = [entry["use"] for entry in pipeline["stages"]].index("gcs-store")
        pipeline["stages"].insert(at, block(self.text, "entry before gcs-store"))
        self.plan(pipeline, "hold")

    def test_a_wrong_line_is_seen(self):
        """The plan says no to what is no option: the tests above can fail."""
        line = {"use": "importer", "config": {"folder": "/data"}}
        with self.assertRaises(AssertionError):
            self.plan(merge(self.pipeline, line), "wrong")


if __name__ == "__main__":
    unittest.main()
