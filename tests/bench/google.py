# SPDX-License-Identifier: Apache-2.0
"""How fast gcs-store is, beside what people do by hand; for tests/bench/run --google.

The fake Google stands on the same processors and takes its share of them from all alike; it keeps
the metadata of objects and throws their bytes away.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import urllib.parse
import urllib.request

BUCKET = "radiology"
AT_ONCE = 64      # of curl, as gcs-store has it
DELAY_MS = 20
ONE_BY_ONE = 200  # images that are sent one at a time


class Fake:
    def __init__(self, build, folder, delay_ms=0):
        program = os.path.join(build, "fakes", "google_server")
        if not os.path.exists(program):
            sys.exit("%s is not there: build with -DSENDIT_TESTS=ON" % program)
        os.makedirs(folder)
        script = os.path.join(folder, "script.json")
        with open(script, "w") as file:
            json.dump({"buckets": [{"name": BUCKET, "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": True}}}], "delay_ms": delay_ms}, file)
        self.process = subprocess.Popen(
            [program, os.path.join(folder, "data"),
             os.path.join(folder, "log"), script, "anonymous=1", "discard=1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.origin = "http://127.0.0.1:%s" % self.process.stdout.readline().split()[1].decode()

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def url(self, name):
        return "%s/upload/storage/v1/b/%s/o?uploadType=media&name=%s" % (
            self.origin, BUCKET, urllib.parse.quote(name, safe=""))

    def stored(self):
        """How many objects there are."""
        n, token = 0, ""
        while True:
            with urllib.request.urlopen("%s/storage/v1/b/%s/o?maxResults=1000%s" % (
                    self.origin, BUCKET, "&pageToken=" + token if token else "")) as answer:
                page = json.load(answer)
            n += len(page.get("items", []))
            token = page.get("nextPageToken")
            if not token:
                return n


def pipeline(path, root, fake, **config):
    """The shipped one, gcs-store in the place of all stores."""
    with open(os.path.join(root, "pipeline.json")) as file:
        value = json.load(file)
    stages = [stage for stage in value["stages"] if not stage["use"].endswith("-store")]
    stages.append({"use": "gcs-store", "allow": ["network", "secrets", "emulator"],
                   "config": dict({"bucket": BUCKET, "collection": "BENCH", "project": "bench",
                                   "endpoint": fake.origin}, **config)})
    value["stages"] = [stage for stage in stages if stage.get("enabled", True)]
    with open(path, "w") as file:
        json.dump(value, file)


class Google:
    def __init__(self, bench, args, root, call):
        self.bench, self.args, self.root, self.call = bench, args, root, call
        self.n = 0

    def fake(self, delay_ms=0):
        self.n += 1
        return Fake(self.args.build, os.path.join(self.bench.work, "google%d" % self.n), delay_ms)

    def sendit(self, fake, source, workers, images, objects, **config):
        """Seconds, and MiB of the largest process."""
        path = os.path.join(self.bench.work, "google.json")
        pipeline(path, self.root, fake, **config)
        self.bench.clean()
        before = fake.stored()
        seconds, most = self.call(self.bench.sendit, "run", "-q", "-p", path, "--state",
                                  self.bench.state, "--workers", str(workers), source)
        if fake.stored() - before != objects:
            sys.exit("%d objects were stored, not %d" % (fake.stored() - before, objects))
        return seconds / images * 1e6, most

    def tar(self, fake, source, images):
        lines = ["set -o pipefail"]
        for name in sorted(os.listdir(source)):
            lines.append('tar -C "%s" -c "%s" | igzip -1 -c | curl -sSf -o /dev/null -X POST '
                         '-H "Content-Type: application/gzip" -T - "%s"' %
                         (source, name, fake.url("byhand%d/%s" % (self.n, name))))
        self.bench.clean()
        return self.call("bash", "-c", " && ".join(lines))[0] / images * 1e6

    def curl(self, fake, files, at_once):
        """The same files, with their new headers, by curl."""
        config = os.path.join(self.bench.work, "curl")
        with open(config, "w") as file:
            for i, path in enumerate(files):
                file.write('%surl = "%s"\nrequest = "POST"\nupload-file = "%s"\noutput = "/dev/null"\n'
                           'header = "Content-Type: application/dicom"\nsilent\nshow-error\nfail\n' %
                           ("next\n" if i else "", fake.url("curl/" + os.path.basename(path)), path))
        parallel = ["--parallel", "--parallel-max", str(at_once)] if at_once > 1 else []
        return self.call("curl", *parallel, "-K", config)[0] / len(files) * 1e6


def show(name, values, base=None):
    median = statistics.median(values)
    print("  %-28s %8.0f %18s %10s" % (
        name, median, "%.0f to %.0f" % (min(values), max(values)),
        "%.2f" % (statistics.median(base) / median) if base else "-"), flush=True)


def measure(bench, args, root, call, make_corpus, corpora):
    google = Google(bench, args, root, call)
    n = args.images or corpora["ct"][2]
    ct, mr = os.path.join(bench.work, "ct"), os.path.join(bench.work, "mr")
    repeat, memory = args.repeat, 0

    print("\nGoogle, CT, 512 x 512: %d images; us an image, and how many times by hand" % n)
    make_corpus(ct, "ct", corpora["ct"][1], n)
    archives = len(os.listdir(ct))
    fake = google.fake()
    hand, ours = [], {1: [], 2: []}
    for _ in range(repeat):
        hand.append(google.tar(fake, ct, n))
        for workers in (1, 2):
            fake.close()
            fake = google.fake()
            seconds, most = google.sendit(fake, ct, workers, n, archives)
            ours[workers].append(seconds)
            memory = max(memory, most)
    show("tar | igzip -1 | curl", hand)
    for workers in (1, 2):
        show("archives, workers: %d" % workers, ours[workers], hand)

    bench.clean()
    call(bench.sendit, "run", "-q", "-p", os.path.join(root, "pipeline.json"), "--state",
         bench.state, "--set", "file-store.folder=" + bench.out, ct)
    clean = os.path.join(bench.work, "clean")
    os.rename(bench.out, clean)
    files = sorted(os.path.join(place, name) for place, _, names in os.walk(clean)
                   for name in names if name.endswith(".dcm"))
    hand, ours = [], {1: [], 2: []}
    for _ in range(repeat):
        fake.close()
        fake = google.fake()
        hand.append(google.curl(fake, files, AT_ONCE))
        for workers in (1, 2):
            fake.close()
            fake = google.fake()
            seconds, most = google.sendit(fake, ct, workers, n, n, mode="instance")
            ours[workers].append(seconds)
            memory = max(memory, most)
    show("curl --parallel", hand)
    for workers in (1, 2):
        show("single objects, workers: %d" % workers, ours[workers], hand)
    shutil.rmtree(ct)
    fake.close()

    n = args.images or corpora["mr"][2]
    print("\nGoogle, %d ms away, MR, 128 x 128: %d images" % (DELAY_MS, n))
    make_corpus(mr, "mr", corpora["mr"][1], n)
    hand, ours = [], {1: [], 2: []}
    for _ in range(repeat):
        fake = google.fake(DELAY_MS)
        hand.append(google.curl(fake, files[:ONE_BY_ONE], 1))
        fake.close()
        for workers in (1, 2):
            fake = google.fake(DELAY_MS)
            seconds, most = google.sendit(fake, mr, workers, n, n, mode="instance")
            ours[workers].append(seconds)
            memory = max(memory, most)
            fake.close()
    show("one request at a time", hand)
    for workers in (1, 2):
        show("single objects, workers: %d" % workers, ours[workers], hand)
    shutil.rmtree(mr)
    shutil.rmtree(clean)
    print("  largest process: %.0f MiB" % memory)
