# SPDX-License-Identifier: Apache-2.0
"""Recipes that ship."""
import os
import subprocess
import unittest

import sendit


class Shipped(unittest.TestCase):
    """What stands in filters/ is what its tables say."""

    def test_deid_dicom_is_made_of_its_tables(self):
        script = os.path.join(sendit.ROOT, "filters", "make-deid-dicom")
        done = subprocess.run([script, "--check"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
