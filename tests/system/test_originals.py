# SPDX-License-Identifier: Apache-2.0
"""What an image came with, for a stage that looks for what is left of it (tests/system/stages,
verify)."""
import os
import sqlite3
import unittest

import sendit


class Originals(sendit.Case):
    allow = ["originals", "grant:deid.verified"]

    def setUp(self):
        super().setUp()
        self.plugins = sendit.test_stages()
        if not os.path.isdir(self.plugins):
            self.skipTest("%s is not built: SENDIT_TESTS" % self.plugins)

    def run_with(self, at, **entry):
        entries = self.site.stages()
        entries.insert(at, dict({"use": "verify", "allow": self.allow}, **entry))
        self.site.write_pipeline(entries)
        return self.site.sendit("run", "--json", "--plugins", self.plugins)

    def behind(self):
        """Between the anonymizer and the store."""
        return [entry["use"] for entry in self.site.stages()].index("local-anonymizer") + 1

    def test_nothing_is_left(self):
        """The originals are those from before the first edit, of each image its own."""
        self.site.add_images(2, study=1)
        self.site.add_images(2, study=2)
        result = self.run_with(self.behind())
        self.assertEqual(result.status, 0, str(result))
        self.assert_counts(result.json, stored=4)
        with sqlite3.connect(self.site.path("state", "ledger.db")) as ledger:
            numbers = [int(row[0]) for row in ledger.execute(
                "SELECT value FROM fact WHERE key = 'verify.values'")]
        self.assertEqual(len(numbers), 4)
        self.assertGreaterEqual(min(numbers), 6)

    def test_what_is_left_is_found(self):
        """Before the anonymizer each image still has them."""
        self.site.add_images(2)
        result = self.run_with(1)
        self.assert_counts(result.json, quarantined=2)
        self.assert_reasons(result.json, verify__left=2)

    def test_a_value_that_cannot_be_read(self):
        """Who looks for what is left must not take it for none."""
        path = self.site.add(sendit.make_image(1, SpecificCharacterSet="ISO_IR 192",
                                               PatientName="Abcdefg"), "a", "1")
        with open(path, "rb") as file:
            data = file.read()
        with open(path, "wb") as file:
            file.write(data.replace(b"Abcdefg", b"Abc\xe9efg"))
        result = self.run_with(self.behind())
        self.assert_counts(result.json, quarantined=1)
        self.assert_reasons(result.json, verify__unknown=1)

    def test_the_site_must_allow_it(self):
        self.site.add_images(1)
        self.allow = ["grant:deid.verified"]
        result = self.run_with(self.behind())
        self.assertEqual(result.status, 3, str(result))
        self.assertIn("originals", result.err + result.out)
        self.assert_nothing_out()


if __name__ == "__main__":
    unittest.main()
