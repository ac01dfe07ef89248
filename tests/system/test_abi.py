# SPDX-License-Identifier: Apache-2.0
"""A stage that was made for ABI 1.0, with the headers of then (tests/abi/1.0), in this sendit: what
core/manual/abi.md promises to whoever compiled one."""
import json
import os
import subprocess
import unittest

import pydicom
import sendit

BUILT = os.path.join(os.path.dirname(sendit.program() or ""), "abi")
FIRST = os.path.join(sendit.ROOT, "tests", "abi", "1.0")


@unittest.skipUnless(os.path.exists(os.path.join(BUILT, "one-zero.so")), "tests/abi was not built")
class OneZero(sendit.Case):
    def write(self, **config):
        entries = self.site.stages()
        entries.insert(-1, {"use": "one-zero", "config": config})
        self.site.write_pipeline(entries)

    def test_its_cases_pass(self):
        done = subprocess.run([sendit.program(), "test-stage", os.path.join(BUILT, "one-zero.so"),
                               os.path.join(FIRST, "cases")], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        output = done.stdout.decode()
        self.assertEqual(done.returncode, 0, output)
        names = sorted(os.listdir(os.path.join(FIRST, "cases")))
        self.assertEqual([line.rpartition(" - ")[2] for line in output.splitlines()
                          if line.startswith("ok")][-len(names):], names)

    def test_it_runs_in_a_pipeline(self):
        self.site.add_images(3)
        self.write(comment="made for 1.0")
        result = self.run_sendit("run", "--plugins", BUILT)
        self.assertIn("stored 3", result.out)
        stored = [os.path.join(place, name) for place, _, names in os.walk(self.site.clean)
                  for name in names]
        self.assertEqual([pydicom.dcmread(path).ImageComments for path in stored],
                         ["made for 1.0"] * 3)
        result = self.run_sendit("status", "--json")
        self.assertEqual([batch["state"] for batch in json.loads(result.out)["batches"]], ["DONE"])
        result = self.run_sendit("reconcile", "--plugins", BUILT)
        self.assertIn("one-zero compared 1 notes", result.out)

    def test_its_options_are_known(self):
        self.site.add_images(1)
        self.write(coment="x")
        result = self.run_sendit("run", "--plugins", BUILT, expect=3)
        self.assertIn("comment", result.err)
        self.write(leave_out=["CT"], hold_above="1B")
        result = self.run_sendit("run", "--plugins", BUILT)
        self.assertIn("stored 1", result.out)  # left out: not looked at
        self.write(hold_above="1B")
        self.site.add_images(1, study=2)
        result = self.run_sendit("run", "--plugins", BUILT)
        self.assertIn("one-zero.large", result.out)


if __name__ == "__main__":
    unittest.main()
