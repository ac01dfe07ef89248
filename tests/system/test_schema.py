# SPDX-License-Identifier: Apache-2.0
"""`sendit stages --schema` before an independent judge: ajv, from npm.

What the schema refuses, sendit refuses, too; what is right passes both.  The judge is installed
anew for each run by `npm ci`; where npm is not there, or no registry in reach, this is skipped.
"""
import copy
import json
import os
import shutil
import subprocess
import unittest

import npm
import sendit

# (what is wrong, how it comes to be); a key None is taken away.
BAD = [
    ("a key at the top that nobody knows", lambda p: p.update(stage=[])),
    ("no stages", lambda p: p.pop("stages")),
    ("stages that are none", lambda p: p.update(stages=[])),
    ("stages as an object", lambda p: p.update(stages={"use": "importer"})),
    ("65 stages", lambda p: p.update(stages=p["stages"] * 13)),
    ("an entry without use", lambda p: p["stages"][1].pop("use")),
    ("a stage that is not there", lambda p: p["stages"][1].update(use="pixle-check")),
    ("an entry with an unknown key", lambda p: p["stages"][1].update(enable=True)),
    ("enabled as text", lambda p: p["stages"][1].update(enabled="yes")),
    ("an id with capitals", lambda p: p["stages"][1].update(id="Pixels")),
    ("a consent that is none", lambda p: p["stages"][1].update(allow=["everything"])),
    ("a consent to no label", lambda p: p["stages"][1].update(allow=["grant:label"])),
    ("a consent twice", lambda p: p["stages"][1].update(allow=["network", "network"])),
    ("allow as text", lambda p: p["stages"][1].update(allow="network")),
    ("config as a list", lambda p: p["stages"][1].update(config=[])),
    ("an option of another stage", lambda p: p["stages"][1].update(config={"folder": "clean"})),
    ("a word that is no choice", lambda p: p["stages"][1].update(config={"on_burned_in": "keep"})),
    ("no folder to write into", lambda p: p["stages"][4]["config"].pop("folder")),
    ("no config where one is needed", lambda p: p["stages"][4].pop("config")),
    ("an empty path", lambda p: p["stages"][4]["config"].update(folder="")),
    ("a list where one value is", lambda p: p["stages"][4]["config"].update(folder=["clean"])),
    ("one value where a list is", lambda p: p["stages"][0]["config"].update(folders="data")),
    ("a number among words", lambda p: p["stages"][0]["config"].update(folders=["data", 1])),
    ("a duration without a unit", lambda p: p.update(run={"stage_timeout": "90"})),
    ("a duration as a number", lambda p: p.update(run={"stage_timeout": 90})),
    ("a size in MB", lambda p: p.update(run={"worker_memory": "64MB"})),
    ("more workers than may be", lambda p: p.update(run={"workers": 257})),
    ("half a worker", lambda p: p.update(run={"workers": 1.5})),
    ("an option of the core that is none", lambda p: p.update(run={"worker": 2})),
    ("a policy that is a list", lambda p: p.update(policy=["deid.header"])),
    ("a label without a dot", lambda p: p["policy"].update(egress_needs=["header"])),
    ("a reason that is no text", lambda p: p["policy"].update(because=1)),
    ("state as a number", lambda p: p.update(state=1)),
]
GOOD = [
    ("as it ships", lambda p: None),
    ("with its schema", lambda p: p.update({"$schema": "pipeline.schema.json"})),
    ("an entry switched off that lacks what it needs",
     lambda p: p["stages"].append({"use": "file-store", "id": "other", "enabled": False})),
    ("a consent, an id, a policy with its reason", lambda p: (
        p["stages"][1].update(id="pixels", allow=["network", "grant:site.checked"]),
        p.update(policy={"egress_needs": ["ids.replaced"], "because": "a test"}))),
    ("options of the core", lambda p: p.update(
        run={"stage_timeout": "90s", "worker_memory": "128MiB", "workers": 2})),
    ("no config where none is needed", lambda p: p["stages"][1].pop("config")),
]


class Schema(sendit.Case):
    @classmethod
    def setUpClass(cls):
        cls.judge = npm.install(cls, "schema")

    def setUp(self):
        super().setUp()
        with open(os.path.join(sendit.ROOT, "pipeline.json")) as file:
            self.shipped = json.load(file)

    def judged(self, pipelines):
        """What ajv says of each."""
        with open(self.site.path("schema.json"), "w") as file:
            file.write(self.run_sendit("stages", "--schema").out)
        names = []
        for i, pipeline in enumerate(pipelines):
            names.append(self.site.path("p%d.json" % i))
            with open(names[-1], "w") as file:
                json.dump(pipeline, file)
        done = subprocess.run(["node", "validate.js", self.site.path("schema.json")] + names,
                              cwd=self.judge, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        lines = done.stdout.decode().splitlines()
        self.assertEqual(len(lines), len(names))
        return list(zip(names, lines))

    def changed(self, cases):
        pipelines = []
        for _, change in cases:
            pipeline = copy.deepcopy(self.shipped)
            change(pipeline)
            pipelines.append(pipeline)
        return pipelines

    def test_good_ones(self):
        for (what, _), (name, said) in zip(GOOD, self.judged(self.changed(GOOD))):
            with self.subTest(what):
                self.assertEqual(said, "valid")
                self.run_sendit("plan", "-p", name)

    def test_bad_ones(self):
        for (what, _), (name, said) in zip(BAD, self.judged(self.changed(BAD))):
            with self.subTest(what):
                self.assertNotEqual(said, "valid")
                self.run_sendit("plan", "-p", name, expect=3)

    def test_options_for_tests_need_consent(self):
        """What the schema says of them is what sendit says."""
        elsewhere = os.path.join(sendit.test_stages(), "elsewhere.so")
        os.mkdir(self.site.path("plugins.d"))
        shutil.copy(elsewhere, self.site.path("plugins.d"))
        here, out = {"endpoint": "http://localhost:1"}, {"endpoint": "http://service.example"}
        cases = [
            (0, {"allow": ["network", "secrets"]}),
            (0, {"allow": ["network", "secrets", "emulator"], "config": here}),
            (0, {"enabled": False, "config": here}),
            (3, {"allow": ["network", "secrets"], "config": here}),
            (3, {"config": here}),
            (3, {"allow": ["network", "secrets"], "config": {"header": ["x: y"]}}),
            (3, {"allow": ["network", "secrets", "emulator"], "config": out}),
            (3, {"allow": ["network", "secrets", "emulator"],
                 "config": {"mirrors": ["http://127.0.0.1", "http://127.example"]}}),
        ]
        pipelines = []
        for _, entry in cases:
            pipelines.append(copy.deepcopy(self.shipped))
            pipelines[-1]["stages"].insert(4, dict(entry, use="elsewhere"))
        for (status, entry), (name, said) in zip(cases, self.judged(pipelines)):
            with self.subTest(entry):
                self.assertEqual(said == "valid", not status, said)
                self.run_sendit("plan", "-p", name, expect=status)

    def test_a_stage_of_the_site_is_in_it(self):
        """Its options are known at once, and those of nobody else."""
        sound = os.path.join(os.path.dirname(sendit.program()), "badstages", "sound.so")
        if not os.path.exists(sound):
            self.skipTest("no stages were built for tests")
        os.mkdir(self.site.path("plugins.d"))
        shutil.copy(sound, self.site.path("plugins.d"))
        with_it, without = copy.deepcopy(self.shipped), copy.deepcopy(self.shipped)
        with_it["stages"].insert(2, {"use": "sound"})
        without["stages"].insert(2, {"use": "sound", "config": {"no_such_option": 1}})
        (_, good), (_, bad) = self.judged([with_it, without])
        self.assertEqual(good, "valid")
        self.assertIn("config", bad)


if __name__ == "__main__":
    unittest.main()
