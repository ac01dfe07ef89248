# SPDX-License-Identifier: Apache-2.0
"""A folder of tests/ that has a package-lock.json, installed anew by `npm ci`; where npm is not there, or
no registry in reach, the tests that need it are skipped."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import sendit

# What npm says where it has no way out.
OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|"
                     r"ENETUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT|E40[37]|E50[234]|"
                     r"[Nn]etwork|only-if-cached")


def install(case, name):
    """For setUpClass() of `case`: a copy of tests/NAME with its node_modules, removed at the end."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise unittest.SkipTest("npm is not installed")
    source = os.path.join(sendit.ROOT, "tests", name)
    folder = tempfile.mkdtemp(prefix="sendit-%s-" % name)
    case.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
    for entry in os.listdir(source):
        if entry != "node_modules":
            shutil.copy(os.path.join(source, entry), folder)
    try:
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
             "--fetch-retries=0", "--fetch-timeout=20000"], cwd=folder, timeout=120,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False)
    except subprocess.TimeoutExpired:
        raise unittest.SkipTest("npm reaches no registry: no answer in two minutes")
    if done.returncode:
        said = done.stdout.decode(errors="replace")
        if OFFLINE.search(said):
            raise unittest.SkipTest("npm reaches no registry")
        raise AssertionError("npm ci: " + said)
    return folder
