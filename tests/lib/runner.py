# SPDX-License-Identifier: Apache-2.0
"""Runs what tests/run has built, counts cases, says at the end what failed and what was skipped.

A case is a check, a cmocka test, a fuzz target or a test of tests/system.  tests/run calls this;
`--suite FILE` is how it runs one file of tests/system in a process of its own.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SYSTEM = os.path.join(ROOT, "tests", "system")
ASAN, FUZZ = os.path.join(ROOT, "build-asan"), os.path.join(ROOT, "build-fuzz")
FUZZ_SECONDS, FUZZ_LONG_SECONDS = 12, 1800
FUZZ_BYTES = 16384  # a seed has fewer
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class Case:
    """One result: how is "pass", "fail" or "skip"; text is the output or the reason."""

    def __init__(self, name, how, text="", seconds=0.0):
        self.name, self.how, self.text, self.seconds = name, how, text, seconds


def environment():
    # What calls us may have settings of its own; a test starts from the same place everywhere.
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("SENDIT", "ASAN_", "UBSAN_", "LSAN_"))}
    return dict(kept, SENDIT=os.path.join(ASAN, "sendit"), **SANITIZERS)


def call(argv, env, limit):
    """Returns (status, output); a program that hangs is a failure that says so."""
    try:
        done = subprocess.run(argv, env=env, cwd=ROOT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace") + "\nno end after %d s" % limit


# ---- checks ----

def check_includes(_):
    status, output = call([os.path.join(ROOT, "tests", "check-includes")], os.environ, 60)
    return [Case("check.includes", "fail" if status else "pass", output)]


def check_format(_):
    files = sorted(glob.glob(ROOT + "/core/**/*.[ch]", recursive=True) +
                   glob.glob(ROOT + "/core/dicom/*.cc") + glob.glob(ROOT + "/stages/*/*.c") +
                   glob.glob(ROOT + "/tests/**/*.[ch]", recursive=True) +
                   glob.glob(ROOT + "/tests/out-of-tree/*/*.cc"))
    if not shutil.which("clang-format"):
        return [Case("check.format", "skip", "clang-format is not installed")]
    status, output = call(["clang-format", "--dry-run", "-Werror"] + files, os.environ, 300)
    bad = sorted({line.split(":")[0].replace(ROOT + "/", "") for line in output.splitlines()
                  if ": error:" in line})
    text = "clang-format -i would change: " + ", ".join(bad) if bad else output
    return [Case("check.format", "fail" if status else "pass", text)]


def check_abi(_):
    status, output = call([os.path.join(ROOT, "tests", "abi", "update"), "--check"], os.environ,
                          300)
    if status == 77:
        return [Case("check.abi", "skip", output.strip())]
    return [Case("check.abi", "fail" if status else "pass", output)]


def check_headers(_):
    status, output = call([os.path.join(ROOT, "tests", "check-headers")], os.environ, 600)
    return [Case("check.headers", "fail" if status else "pass", output)]


# ---- unit tests ----

def unit_program(name):
    began = time.monotonic()
    status, output = call([os.path.join(ASAN, "tests", "unit", name)], environment(), 900)
    # cmocka has no place for a reason; a test says it in a line of its own.
    reasons = sorted(set(re.findall(r"^skip(?:ped|s)?\b.*$", output, re.M | re.I)))
    cases = []
    for how, case in re.findall(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] ([A-Za-z]\w*)$", output, re.M):
        how = {"OK": "pass", "FAILED": "fail", "SKIPPED": "skip"}[how]
        text = output if how == "fail" else "; ".join(reasons) or "the test says so"
        cases.append(Case("%s.%s" % (name, case), how, text))
    cases = list({case.name: case for case in cases}.values())
    if status and not any(case.how == "fail" for case in cases) or not cases:
        cases.append(Case(name, "fail", "exit status %d\n%s" % (status, output)))
    cases[-1].seconds = time.monotonic() - began
    return cases


def unit_names():
    return sorted(os.path.basename(path)[:-2]
                  for path in glob.glob(os.path.join(ROOT, "tests", "unit", "test_*.c")))


# ---- cases of the stages and the recipes ----

RECIPES = "filters"  # the folder that they are in

def stage_names():
    return sorted(os.path.basename(os.path.dirname(path))
                  for path in glob.glob(os.path.join(ROOT, "stages", "[!_]*", "cases")))


def stage_cases(name):
    """What `sendit test-stage` says about a stage that ships."""
    return tap_cases(name, "test-stage", os.path.join(ASAN, "plugins.d", name + ".so"),
                     os.path.join(ROOT, "stages", name, "cases"))


def recipe_cases(name):
    """What `sendit test-recipe` says about the recipes that ship."""
    return tap_cases(name, "test-recipe", os.path.join(ROOT, "filters", "cases"))


def tap_cases(name, *command):
    began = time.monotonic()
    status, output = call([os.path.join(ASAN, "sendit")] + list(command), environment(), 900)
    cases = []
    for part in re.split(r"^(?=ok |not ok )", output, flags=re.M)[1:]:
        how, case, skip = re.match(r"(ok|not ok) \d+ - ([^\n#]*?)(?: # SKIP ([^\n]*))?(?: #.*)?\n",
                                   part).groups()
        # A check that is for another kind of stage is no test that was left out.
        if skip is None:
            cases.append(Case("%s.%s" % (name, case), "pass" if how == "ok" else "fail", part))
    plan = re.search(r"^1\.\.(\d+)$", output, re.M)
    tried = len(re.findall(r"^(?:ok|not ok) ", output, re.M))
    bad = status not in (0, 1) or not plan or int(plan.group(1)) != tried
    if bad or status and not any(case.how == "fail" for case in cases):
        cases.append(Case(name, "fail", "exit status %d\n%s" % (status, output)))
    cases[-1].seconds = time.monotonic() - began
    return cases


# ---- fuzz targets ----

def fuzz_names():
    return sorted(os.path.basename(path)[:-2]
                  for path in glob.glob(os.path.join(ROOT, "tests", "fuzz", "fuzz_*.c")))


def fuzz_seeds(name, folder):
    """What a fuzzer starts from: found inputs of earlier runs, and what the generators write."""
    os.makedirs(folder, exist_ok=True)
    for path in glob.glob(os.path.join(ROOT, "tests", "fuzz", "cases", name, "*")):
        shutil.copy(path, folder)
    if "plan" in name:
        if os.path.exists(os.path.join(ROOT, "pipeline.json")):
            shutil.copy(os.path.join(ROOT, "pipeline.json"), folder)
        return
    if "recipe" in name:
        for path in glob.glob(os.path.join(ROOT, "filters", "deid.*")):
            shutil.copy(path, folder)
        return
    hospital = folder + ".hospital"
    if not os.path.exists(hospital):
        subprocess.run([os.path.join(ROOT, "tests", "hospital"), hospital, "--size", "4"],
                       check=True)
    for i, path in enumerate(sorted(glob.glob(hospital + "/**/*", recursive=True))):
        if os.path.isfile(path) and os.path.getsize(path) < FUZZ_BYTES:
            shutil.copy(path, os.path.join(folder, "hospital%03d" % i))
    sys.path.insert(0, SYSTEM)
    import test_bad_files  # what is wrong in files, each in its own way
    for i, (data, _) in enumerate(test_bad_files.CASES.values()):
        if len(data) < FUZZ_BYTES:
            with open(os.path.join(folder, "bad%03d" % i), "wb") as file:
                file.write(data)


def fuzz_target(name, seconds):
    folder = os.path.join(FUZZ, "corpus", name)
    program = os.path.join(FUZZ, "tests", "fuzz", name)
    if not os.path.exists(program):
        return [Case(name, "fail", "it was not built")]
    fuzz_seeds(name, folder)
    findings = os.path.join(FUZZ, "findings", name)
    os.makedirs(findings, exist_ok=True)
    began = time.monotonic()
    status, output = call([program, "-max_total_time=%d" % seconds, "-timeout=20",
                           "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1",
                           "-artifact_prefix=%s/" % findings, folder],
                          dict(os.environ, ASAN_OPTIONS="allocator_may_return_null=1"),
                          seconds + 300)
    runs = re.search(r"number_of_executed_units: (\d+)", output)
    text = output[-6000:] if status else "%s inputs" % (runs.group(1) if runs else "?")
    return [Case(name, "fail" if status else "pass", text, time.monotonic() - began)]


# ---- system tests ----

class Lines(unittest.TestResult):
    """Each result as one line of JSON on the descriptor of `out`."""

    def __init__(self, out):
        super().__init__()
        self.out, self.began = out, 0.0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def say(self, test, how, text=""):
        name = test.id() if hasattr(test, "id") else str(test)
        self.out.write(json.dumps([name, how, text, time.monotonic() - self.began]) + "\n")
        self.out.flush()

    def addSuccess(self, test):
        self.say(test, "pass")

    def addError(self, test, err):
        self.say(test, "fail", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSkip(self, test, reason):
        self.say(test, "skip", reason)

    def addSubTest(self, test, subtest, err):
        if err:
            self.say(subtest, "fail", self._exc_info_to_string(err, test))

    def addExpectedFailure(self, test, err):
        self.say(test, "fail", "a failure that was expected is no pass")

    def addUnexpectedSuccess(self, test):
        self.say(test, "fail", "a success was not expected")


def run_suite(name, out):
    sys.path.insert(0, SYSTEM)
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    suite.run(Lines(out))
    return 0


def system_file(name, long):
    env = environment()
    if long:
        env["SENDIT_TEST_LONG"] = "1"
    read, write = os.pipe()
    began = time.monotonic()
    program = subprocess.Popen([sys.executable, __file__, "--suite", name, "--out", str(write)],
                               env=env, cwd=ROOT, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               pass_fds=[write])
    os.close(write)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, os.fdopen(read) as lines:
        output = pool.submit(program.stdout.read)
        cases = [Case(*json.loads(line)) for line in lines]
        program.wait()
        text = output.result().decode(errors="replace")
    if program.returncode or not cases:
        cases.append(Case(name, "fail", "exit status %d\n%s" % (program.returncode, text),
                          time.monotonic() - began))
    return cases


def system_names():
    return sorted(os.path.basename(path)[:-3]
                  for path in glob.glob(os.path.join(SYSTEM, "test_*.py")))


# ---- all ----

CHECKS = {"includes": check_includes, "format": check_format, "abi": check_abi,
          "headers": check_headers}


def jobs_for(names, long):
    """A list of (function, arguments) for the names, all for none; None for an unknown one."""
    seconds = FUZZ_LONG_SECONDS if long else FUZZ_SECONDS
    jobs = []
    if not names:
        # The slowest first, so that two cores end together.
        jobs += [(system_file, (name, long)) for name in system_names()]
        jobs += [(fuzz_target, (name, seconds)) for name in fuzz_names()]
        jobs += [(unit_program, (name,)) for name in unit_names()]
        jobs += [(stage_cases, (name,)) for name in stage_names()]
        jobs += [(recipe_cases, (RECIPES,))]
        return jobs + [(check, (None,)) for check in CHECKS.values()]
    for name in names:
        # A unit and a system test may have one name: then both are meant.
        found = [(CHECKS[name], (None,))] if name in CHECKS else []
        found += [(unit_program, (name,))] if name in unit_names() else []
        found += [(fuzz_target, (name, seconds))] if name in fuzz_names() else []
        found += [(stage_cases, (name,))] if name in stage_names() else []
        found += [(recipe_cases, (name,))] if name == RECIPES else []
        found += [(system_file, (name, long))] if name.split(".")[0] in system_names() else []
        if not found:
            print("tests/run: there is no test %s; there are: %s" % (name, " ".join(
                list(CHECKS) + unit_names() + stage_names() + [RECIPES] + fuzz_names() + system_names())))
            return None
        jobs += found
    return jobs


def show(case):
    took = " (%.0f s)" % case.seconds if case.seconds >= 5 else ""
    if case.how == "pass":
        print("  ok    %s%s" % (case.name, took), flush=True)
    elif case.how == "skip":
        print("  skip  %s: %s" % (case.name, case.text), flush=True)
    else:
        print("  FAIL  %s%s\n%s" % (case.name, took, case.text), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--suite")
    parser.add_argument("--out", type=int)
    parser.add_argument("--failed-builds", default="")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    if args.suite:
        with os.fdopen(args.out, "w") as out:
            return run_suite(args.suite, out)
    jobs = jobs_for(args.names, args.long)
    if jobs is None:
        return 2
    began = time.monotonic()
    cases = [Case(name, "fail", "it does not build; see %s/build.log" % name)
             for name in args.failed_builds.split()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for job in concurrent.futures.as_completed([pool.submit(f, *a) for f, a in jobs]):
            for case in job.result():
                show(case)
                cases.append(case)
    by_how = {how: [case for case in cases if case.how == how] for how in ("pass", "fail", "skip")}
    if by_how["skip"]:
        print("\nSkipped, and why:")
        for case in by_how["skip"]:
            print("  %s: %s" % (case.name, case.text))
    if by_how["fail"]:
        print("\nFailed:")
        for case in by_how["fail"]:
            print("  %s" % case.name)
    print("\n%.0f s" % (time.monotonic() - began))
    print("%d passed, %d failed, %d skipped" % tuple(len(by_how[how])
                                                     for how in ("pass", "fail", "skip")))
    return 1 if by_how["fail"] or not by_how["pass"] else 0


if __name__ == "__main__":
    sys.exit(main())
