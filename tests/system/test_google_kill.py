# SPDX-License-Identifier: Apache-2.0
"""gcs-store and bigquery-store together: exactly once, across crashes.

kill -9 of workers and supervisor at random instants (5, with --long 200; SENDIT_TEST_KILLS and
SENDIT_TEST_SEED set other numbers), while the fake Google cuts, stalls, fails and loses replies after
it has done what it was asked: at the end there is one object for each study, or each image, one row
for each study and each image, nothing is missing, nothing is there twice, and reconcile says so.
"""
import collections
import io
import json
import os
import random
import shutil
import sys
import tarfile
import unittest

import pydicom

import google
import sendit

KILLS = int(os.environ.get("SENDIT_TEST_KILLS", "200" if sendit.LONG else "5"))
SEED = int(os.environ.get("SENDIT_TEST_SEED", random.randrange(1 << 30)))
BUCKET, DATASET = "radiology", "IRB12345"
STUDIES, IMAGES = 6, 5
# What becomes of one request in so many; "after committing" is lose_reply, stall and truncated.
TROUBLE = [
    {"on": "storage.*", "when": "7%", "ms": 150, "after": 700,
     "fault": ["lose_reply", "reset", "cut_body", "stall", "status", "truncated"]},
    {"on": "bigquery.multipart", "when": "8%", "fault": "job_error", "reason": "backendError"},
    {"on": "bigquery.*", "when": "8%", "ms": 150, "after": 300,
     "fault": ["lose_reply", "reset", "cut_body", "stall", "status", "truncated", "cut_reply"]},
    {"on": "oauth2.token", "when": "5%", "fault": ["lose_reply", "status", "reset"]},
]


class Case(google.Case):
    """The shipped pipeline with both stores in place of file-store."""

    def stages(self, site, fake, **gcs):
        common = {"project": google.PROJECT, "endpoint": fake.origin, "token_url": fake.token_url,
                  "credentials": self.credentials(fake), "retry_delay": "5ms"}
        allow = ["network", "secrets", "emulator"]
        stages = site.stages()[:-1]
        stages.append({"use": "gcs-store", "allow": allow, "config": dict(
            common, bucket=BUCKET, collection=DATASET, **gcs)})
        stages.append({"use": "bigquery-store", "allow": allow, "config": dict(
            common, dataset=DATASET, poll="1ms", load_size="1KiB")})
        return stages

    def use(self, site, fake, mode="archive", **gcs):
        site.write_pipeline(self.stages(site, fake, mode=mode, **gcs),
                            run={"retry_for": "60s", "workers": 2})

    def fill(self, site):
        """Studies, one of which is held as a whole, and one image of another."""
        for study in range(1, STUDIES + 1):
            site.add_images(IMAGES, study, patient="K-%d" % study)
        site.add(sendit.make_image(90, 1, patient="K-1", BurnedInAnnotation="YES"), "study1", "B")
        for number in (1, 2):
            site.add(sendit.make_image(number, 50, patient="K-50", BurnedInAnnotation="YES"),
                     "study50", "B%d" % number)

    def stored(self, fake):
        """{SOP Instance UID: (gs:// name, generation, crc32c)}, read out of the objects."""
        found = {}
        for name, one in fake.objects(BUCKET).items():
            data = fake.read(BUCKET, name)
            if name.endswith(".tar.gz"):
                with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
                    images = [tar.extractfile(member).read() for member in tar]
            else:
                images = [data]
            for image in images:
                uid = pydicom.dcmread(io.BytesIO(image), stop_before_pixels=True).SOPInstanceUID
                self.assertNotIn(uid, found, "an image is in two objects")
                found[uid] = ("gs://%s/%s" % (BUCKET, name), one["generation"], one["crc32c"])
        return found

    def reconcile(self, site, expect=0):
        answer = self.run_sendit("reconcile", "--json", site=site, expect=expect).json
        return collections.Counter((one["stage"], one["code"]) for one in answer["differences"])

    def assert_exactly_once(self, site, fake, mode):
        objects, stored = fake.objects(BUCKET), self.stored(fake)
        self.assertEqual(len(stored), STUDIES * IMAGES)
        self.assertEqual(len(objects), STUDIES if mode == "archive" else STUDIES * IMAGES)
        rows, studies = fake.rows(DATASET, "instances"), fake.rows(DATASET, "dicom")
        self.assertEqual(sorted(row["SOPInstanceUID"] for row in rows), sorted(stored))
        for row in rows:
            self.assertEqual((row["object"], row["generation"], row["crc32c"]),
                             stored[row["SOPInstanceUID"]])
        self.assertEqual(len(studies), STUDIES)
        self.assertEqual({json.loads(row["DicomHeader"])["IMAGE_COUNT"] for row in studies},
                         {IMAGES})
        if mode == "archive":
            self.assertEqual({row["storage_metadataLink"] for row in studies},
                             {one["selfLink"] for one in objects.values()})
            self.assertEqual({row["storage_download"] for row in studies},
                             {one["mediaLink"] for one in objects.values()})
        self.assertEqual(fake.objects(BUCKET, versions=True).__len__(), len(objects))
        self.assertEqual(self.reconcile(site), {})


class Together(Case):

    def setUp(self):
        super().setUp()
        self.fake = self.start_google(tls=False)
        self.fill(self.site)

    def run_all(self, mode="archive", **gcs):
        self.use(self.site, self.fake, mode, **gcs)
        self.assert_counts(self.run_json(), stored=STUDIES * IMAGES, quarantined=3)

    def test_both_modes(self):
        for mode in ("archive", "instance"):
            with self.subTest(mode):
                self.site, self.fake = self.new_site(), self.start_google(tls=False)
                self.fill(self.site)
                self.run_all(mode)
                self.assert_exactly_once(self.site, self.fake, mode)
                self.assert_discovery(self.fake)
                states = collections.Counter(batch["state"] for batch in self.site.sendit(
                    "status", "--json").json["batches"])
                self.assertEqual(states, {"DONE": STUDIES, "EMPTY": 1})

    def test_a_row_only_after_its_object(self):
        """While the bucket refuses, nothing is known of a table."""
        self.use(self.site, self.fake)
        self.fake.set(denied=["storage.objects.create"])
        self.run_sendit("run", expect=1)
        self.assertEqual(self.fake.asked(part="bigquery"), [])
        self.fake.set(denied=None)
        for batch in self.site.sendit("status", "--json").json["batches"]:
            if batch["state"] == "ERROR":
                self.run_sendit("retry", batch["batch"])
        self.run_json()
        self.assert_exactly_once(self.site, self.fake, "archive")

    def test_a_dry_run_gives_no_rows(self):
        """Nor does bigquery-store count as stored what the store before has not taken."""
        self.use(self.site, self.fake, dry_run="requests")
        answer = self.run_json()
        self.assertEqual(answer["stored"], 0)
        self.assertEqual([reason["images"] for reason in answer["reasons"]
                          if reason["code"] == "host.label"], [STUDIES * IMAGES])
        self.assertEqual(self.fake.asked(part="bigquery"), [])
        self.assertEqual(self.fake.objects(BUCKET), {})
        self.use(self.site, self.fake)
        for batch in self.site.sendit("status", "--json").json["batches"]:
            self.run_sendit("retry", batch["batch"])
        self.run_json()
        self.assert_exactly_once(self.site, self.fake, "archive")

    def test_more_of_a_study(self):
        """A second archive is a second row; nothing of the first is touched."""
        self.run_all()
        first = self.fake.objects(BUCKET)
        self.site.add(sendit.make_image(70, 1, patient="K-1"), "study1", "LATER")
        self.assert_counts(self.run_json(), stored=1)
        objects = self.fake.objects(BUCKET)
        self.assertEqual({name: objects[name] for name in first}, first)
        self.assertEqual(len(objects), len(first) + 1)
        self.assertEqual(len(self.stored(self.fake)), STUDIES * IMAGES + 1)
        self.assertEqual(len(self.fake.rows(DATASET, "dicom")), STUDIES + 1)
        self.assertEqual(len(self.fake.view_rows(DATASET, "dicom_once")), STUDIES + 1)
        self.assertEqual(self.reconcile(self.site), {})

    def test_reconcile_says_what_differs(self):
        self.run_all()
        rows = self.fake.rows(DATASET, "instances")
        fields = self.fake.table(DATASET, "instances")["schema"]["fields"]
        before = {name: one["generation"] for name, one in self.fake.objects(BUCKET).items()}
        # A row that was doubled, which the view shows once.
        self.insert("instances", rows[:1])
        self.assertEqual(self.reconcile(self.site, 1), {("bigquery-store", "bigquery.twice"): 1})
        self.assertEqual(len(self.fake.view_rows(DATASET, "instances_once")), len(rows))
        # One that was taken away.
        self.fake.drop_table(DATASET, "instances")
        self.fake.make_table(DATASET, "instances", fields)
        self.insert("instances", rows[1:])
        self.assertEqual(self.reconcile(self.site, 1), {("bigquery-store", "bigquery.missing"): 1})
        self.insert("instances", rows[:1])
        self.assertEqual(self.reconcile(self.site), {})
        # An object that was taken away, and one that is nobody's.
        name = sorted(before)[0]
        data = self.fake.read(BUCKET, name)
        self.assertEqual(self.fake.delete(BUCKET, name) // 100, 2)
        found = self.reconcile(self.site, 1)
        self.assertEqual({stage for stage, _ in found}, {"gcs-store"})
        self.fake.put(BUCKET, name.replace(".tar.gz", "-copy.tar.gz"), data)
        self.assertGreaterEqual(sum(self.reconcile(self.site, 1).values()), 2)
        after = {name: one["generation"] for name, one in self.fake.objects(BUCKET).items()}
        self.assertEqual(len(after), len(before))  # it mends nothing by itself
        self.assertEqual(len(self.fake.rows(DATASET, "instances")), len(rows))

    def insert(self, table, rows):
        answer = self.fake.post(
            "/bigquery/v2/projects/%s/datasets/%s/tables/%s/insertAll" % (
                google.PROJECT, DATASET, table),
            {"rows": [{"json": dict(row, header=json.dumps(row["header"]),
                                    ingested="2026-01-01 00:00:00 UTC")} for row in rows]})
        self.assertNotIn("insertErrors", answer)


class Kill(Case):

    RUN = ("run", "--json", "--workers", "2")

    def finish(self, site, fake):
        """Without trouble, until nothing waits."""
        fake.heal()
        for _ in range(4):
            result = site.sendit(*self.RUN)
            self.assert_sound(result)
            self.assertEqual(result.status, 0, str(result))
            if not site.counts()["waiting"]:
                break
        self.assertEqual(site.counts()["stored"], STUDIES * IMAGES)
        self.assertEqual(site.counts()["quarantined"], 3)

    def new_round(self, chance, seed):
        site, mode = self.new_site(), chance.choice(("archive", "archive", "instance"))
        fake = self.start_google(tls=False)
        fake.set(seed=seed, faults=TROUBLE, job_polls=2)
        self.fill(site)
        self.use(site, fake, mode)
        return site, fake, mode

    def test_kill_at_random_instants(self):
        print("SENDIT_TEST_SEED=%d" % SEED, file=sys.stderr)
        chance, done, seconds = random.Random(SEED), 0, 1.5
        while done < KILLS:
            site, fake, mode = self.new_round(chance, SEED + done)
            for _ in range(min(chance.randint(1, 4), KILLS - done)):
                # Over all of a run, and somewhat beyond.
                moment = seconds * chance.uniform(0.02, 1.2)
                with self.subTest(kill=done, seed=SEED, moment="%.4f" % moment):
                    site.run_and_kill(moment, chance, *self.RUN)
                done += 1
            with self.subTest(kills=done, seed=SEED, mode=mode):
                self.finish(site, fake)
                self.assert_exactly_once(site, fake, mode)
            fake.stop()
            shutil.rmtree(site.folder)
            shutil.rmtree(fake.data)

    def test_trouble_alone(self):
        """What the fake does to a run that nobody kills."""
        chance = random.Random(SEED)
        for mode in ("archive", "instance"):
            with self.subTest(mode, seed=SEED):
                site, fake, _ = self.new_round(chance, SEED)
                self.use(site, fake, mode)
                self.run_json(site=site)
                self.finish(site, fake)
                self.assert_exactly_once(site, fake, mode)


if __name__ == "__main__":
    unittest.main()
