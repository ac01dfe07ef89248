# SPDX-License-Identifier: Apache-2.0
"""gcs-store before the fake Google: archives and single objects, whatever Google, the network and
the bucket do; each object once, nothing lost."""
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import time
import unittest

import pydicom

import google
import sendit

SESSION = "storage.resumable."
BIG = 1200  # rows and columns of noise: an archive of some of them needs a session


def archive_of(fake, name, bucket="radiology"):
    """{member: bytes} as Python's tarfile has it."""
    data = fake.read(bucket, name)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {one.name: tar.extractfile(one).read() for one in tar}


class Case(google.Case):
    def setUp(self):
        super().setUp()
        self.fake = self.start_google(tls=False)
        self.use()

    def entry(self, **config):
        fake = self.fake
        base = {"bucket": "radiology", "collection": "irb12345", "project": google.PROJECT,
                "endpoint": fake.origin, "token_url": fake.token_url,
                "metadata_url": fake.metadata_url, "credentials": self.credentials(fake),
                "retry_delay": "1ms", "retry_deadline": "5s"}
        base.update(config)
        return {"use": "gcs-store", "allow": ["network", "secrets", "emulator"],
                "config": {key: value for key, value in base.items() if value is not None}}

    def use(self, *more, site=None, **config):
        """The shipped pipeline with gcs-store in the place of file-store."""
        site = site or self.site
        stages = site.stages()
        stages[-1:] = [self.entry(**config)] + list(more)
        site.write_pipeline(stages, run={"retry_for": "2s", "workers": 1})

    def objects(self):
        return self.fake.objects("radiology")

    def add_noise(self, count, study=1, size=BIG):
        """Images that no compression makes small."""
        for i in range(1, count + 1):
            ds = sendit.make_image(i, study, size=size)
            ds.PixelData = os.urandom(len(ds.PixelData))
            self.site.add(ds, "study%d" % study, "IM%05d" % i)

    def stored(self, **wanted):
        answer = self.run_json()
        self.assert_counts(answer, **wanted)
        return answer

    def facts(self):
        """What the ledger's audit has of objects."""
        text = self.site.sendit("log", "--json").out
        return text


class Archives(Case):
    def test_one_per_study(self):
        self.site.add_images(3)
        self.site.add_images(2, study=2)
        self.stored(stored=5)
        objects = self.objects()
        self.assertEqual(len(objects), 2)
        for name, resource in objects.items():
            self.assertRegex(name, r"^Collection/IRB12345/Entity/([0-9a-f]{16})/\1_\d{8}_"
                                   r"[0-9a-f]{16}\.tar\.gz$")
            self.assertEqual(resource["contentType"], "application/gzip")
            data = self.fake.read("radiology", name)
            self.assertEqual(resource["metadata"], {
                "sendit-content": hashlib.sha256(gzip.decompress(data)).hexdigest()})
            members = archive_of(self.fake, name)
            self.assertEqual(list(members), sorted(members))
            base = os.path.basename(name)[:-len(".tar.gz")]
            for member, content in members.items():
                ds = pydicom.dcmread(io.BytesIO(content))
                self.assertEqual(member, "%s/%s_%s_%s.dcm" % (
                    base, ds.AccessionNumber or base.split("_")[2], ds.SeriesInstanceUID,
                    ds.SOPInstanceUID))
                self.assertEqual(ds.PatientID, base.split("_")[0])
                self.assertEqual(ds.StudyDate, base.split("_")[1])
        self.assert_discovery(self.fake)

    def test_gnu_tar_reads_it_and_all_is_fixed(self):
        self.site.add_images(3)
        self.stored(stored=3)
        (name,) = self.objects()
        path = os.path.join(self.folder, "a.tar.gz")
        with open(path, "wb") as file:
            file.write(self.fake.read("radiology", name))
        subprocess.run(["gzip", "-t", path], check=True)
        out = subprocess.run(["tar", "--utc", "-tvzf", path], check=True, capture_output=True,
                             text=True)
        self.assertEqual(out.stderr, "")
        lines = out.stdout.splitlines()
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertRegex(line, r"^-rw-r--r-- 0/0 +\d+ 1970-01-01 00:00 ")

    def test_same_bytes_as_file_store_writes(self):
        self.site.add_images(3)
        self.stored(stored=3)
        other = self.new_site()
        for path in sorted(os.listdir(os.path.join(self.site.data, "study1"))):
            with open(os.path.join(self.site.data, "study1", path), "rb") as file:
                target = os.path.join(other.data, "study1", path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as copy:
                    copy.write(file.read())
        self.run_sendit("run", site=other)
        (name,) = self.objects()
        wanted = sorted(open(path, "rb").read() for path in sendit.images(other.clean))
        self.assertEqual(sorted(archive_of(self.fake, name).values()), wanted)

    def test_large_archives_go_by_session(self):
        self.add_noise(4)
        self.stored(stored=4)
        (name,) = self.objects()
        self.assertEqual(len(archive_of(self.fake, name)), 4)
        self.assertEqual([line["op"] for line in self.fake.asked(part="storage")],
                         [SESSION + "start", SESSION + "put"])
        self.assert_discovery(self.fake)

    def test_more_of_a_study_goes_beside_it(self):
        self.site.add_images(2)
        self.stored(stored=2)
        first = self.objects()
        self.site.add(sendit.make_image(3), "study1", "IM00003")
        self.stored(stored=1)
        objects = self.objects()
        (name,) = first
        second = name.replace(".tar.gz", "-2.tar.gz")
        self.assertEqual(sorted(objects), sorted([name, second]))
        self.assertEqual(objects[name], first[name])
        self.assertEqual(len(archive_of(self.fake, second)), 1)
        self.site.add(sendit.make_image(4), "study1", "IM00004")
        self.stored(stored=1)
        self.assertIn(name.replace(".tar.gz", "-3.tar.gz"), self.objects())

    def test_taken_again_is_the_same_archive(self):
        self.site.add_images(3)
        self.stored(stored=3)
        first = self.objects()
        self.run_sendit("retry", "b1")
        self.stored(stored=3)
        self.assertEqual(self.objects(), first)

    def test_taken_again_with_another_recipe_is_replaced(self):
        self.site.add_images(3)
        self.stored(stored=3)
        (name, first), = self.objects().items()
        self.run_sendit("retry", "b1")
        stages = self.site.stages()
        stages[-2]["config"] = {"profile": ["basic", "retain-modified-dates"]}
        stages[-1] = self.entry()
        self.site.write_pipeline(stages)
        self.stored(stored=3)
        (again, second), = self.objects().items()
        self.assertEqual(again, name)
        self.assertNotEqual(second["generation"], first["generation"])
        self.assertNotEqual(second["metadata"], first["metadata"])

    def test_taken_again_when_it_is_gone(self):
        self.site.add_images(3)
        self.stored(stored=3)
        (name,) = self.objects()
        self.fake.delete("radiology", name)
        self.run_sendit("retry", "b1")
        self.stored(stored=3)
        self.assertEqual(len(archive_of(self.fake, name)), 3)

    def test_a_part_of_an_archive_does_not_replace_it(self):
        self.site.add_images(3)
        self.stored(stored=3)
        first = self.objects()
        os.unlink(os.path.join(self.site.data, "study1", "IM00001"))
        self.run_sendit("retry", "b1")
        self.run_json()
        self.assertEqual(self.objects(), first)

    def test_a_part_with_other_bytes_is_held(self):
        """Beside images that are not here, what is in the archive is not what they are now."""
        self.site.add_images(3)
        self.stored(stored=3)
        first = self.objects()
        os.unlink(os.path.join(self.site.data, "study1", "IM00001"))
        self.run_sendit("retry", "b1")
        stages = self.site.stages()
        stages[-2]["config"] = {"profile": ["basic", "retain-modified-dates"]}
        stages[-1] = self.entry()
        self.site.write_pipeline(stages)
        answer = self.run_json()
        self.assertEqual((answer["quarantined"], answer["stored"]), (2, 1))  # 1: as it was
        self.assertIn("gcs.conflict", [reason["code"] for reason in answer["reasons"]])
        self.assertEqual(self.objects(), first)

    def test_what_is_held_later_stays_out(self):
        self.use({"use": "misbehave", "config": {"does": "quarantine", "on": ["2"]}})
        self.site.add_images(3)
        plugins = ("--plugins", sendit.test_stages())
        self.assert_counts(self.run_json(*plugins), stored=2, quarantined=1)
        (name, first), = self.objects().items()
        self.assertEqual(len(archive_of(self.fake, name)), 2)
        self.use()
        held = self.run_sendit("quarantine", "list", "b1", "--json", *plugins).json
        self.run_sendit("quarantine", "release", held[0]["image"], "--because", "seen", *plugins)
        self.stored(stored=3)
        second = name.replace(".tar.gz", "-2.tar.gz")
        self.assertEqual(sorted(self.objects()), sorted([name, second]))
        self.assertEqual(self.objects()[name], first)
        self.assertEqual(len(archive_of(self.fake, second)), 1)

    def test_the_same_study_in_two_folders(self):
        for i in range(1, 5):
            self.site.add(sendit.make_image(i), "part%d" % (i % 2), "IM%d" % i)
        self.stored(stored=4)
        names = sorted(self.objects())
        self.assertEqual(len(names), 2)
        self.assertEqual(names[0].replace(".tar.gz", "-2.tar.gz").replace("-2-2", "-2"),
                         names[0] if "-2." in names[0] else names[1])
        self.assertEqual(sum(len(archive_of(self.fake, name)) for name in names), 4)

    def test_nothing_left_of_a_study(self):
        for i in range(1, 4):
            self.site.add(sendit.make_image(i, BurnedInAnnotation="YES"), "study1", "IM%d" % i)
        answer = self.run_json()
        self.assert_counts(answer, quarantined=3)
        self.assertEqual(self.objects(), {})
        self.assertEqual(self.fake.asked(part="storage"), [])
        (batch,) = self.run_sendit("status", "--json").json["batches"]
        self.assertEqual(batch["state"], "EMPTY")

    def test_what_a_later_stage_holds_stays_out(self):
        def after(*numbers):
            return {"use": "misbehave", "config": {"does": "quarantine", "on": list(numbers)}}

        plugins = ("--plugins", sendit.test_stages())
        self.use(after("2"))
        self.site.add_images(3)
        answer = self.run_json(*plugins)
        self.assert_counts(answer, stored=2, quarantined=1)
        (name,) = self.objects()
        self.assertEqual(len(archive_of(self.fake, name)), 2)
        self.site.add_images(2, study=2)
        self.use(after("1", "2"))
        self.assert_counts(self.run_json(*plugins), quarantined=2)
        self.assertEqual(list(self.objects()), [name])

    def test_options_go_with_the_object(self):
        self.fake.set(buckets=[self.fake.bucket("radiology"),
                               {"name": "acl", "iamConfiguration": {
                                   "uniformBucketLevelAccess": {"enabled": False}}}])
        key = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"
        self.use(bucket="acl", storage_class="NEARLINE", kms_key=key, metadata={"study": "s1"},
                 predefined_acl="projectPrivate")
        self.site.add_images(1)
        self.stored(stored=1)
        (resource,) = self.fake.objects("acl").values()
        self.assertEqual(resource["storageClass"], "NEARLINE")
        self.assertTrue(resource["kmsKeyName"].startswith(key))
        self.assertEqual(resource["metadata"]["study"], "s1")
        self.assert_discovery(self.fake)

    def test_over_tls(self):
        fake = self.fake = self.start_google()
        self.use(ca_file=self.ca)
        self.site.add_images(2)
        self.stored(stored=2)
        self.assertEqual(len(fake.objects("radiology")), 1)


class Faults(Case):
    """An archive is there once, whatever happened on the way."""

    def once(self, count=3, expect_ops=None):
        self.stored(stored=count)
        (name, resource), = self.objects().items()
        self.assertEqual(len(archive_of(self.fake, name)), count)
        self.assertEqual(len(self.fake.objects("radiology", versions=True)), 1)
        if expect_ops:
            self.assertEqual([line["op"] for line in self.fake.asked(part="storage")], expect_ops)
        return resource

    def small(self):
        self.site.add_images(3)

    def large(self):
        self.add_noise(4)

    def test_reply_lost(self):
        self.small()
        self.fake.fault("storage.multipart", "lose_reply", when="1")
        self.once(expect_ops=["storage.multipart", "storage.multipart", "storage.objects.get"])

    def test_reply_cut(self):
        self.small()
        self.fake.fault("storage.multipart", "cut_reply", when="1", keep=20)
        self.once()

    def test_reply_truncated(self):
        self.small()
        self.fake.fault("storage.multipart", "truncated", when="1")
        self.once(expect_ops=["storage.multipart", "storage.objects.get"])

    def test_reply_is_html(self):
        self.small()
        self.fake.fault("storage.multipart", "html", when="1")
        self.once()

    def test_busy(self):
        self.small()
        self.fake.fault("storage.multipart", "status", when="1-3", status=503)
        self.once()

    def test_cut_body(self):
        self.small()
        self.fake.fault("storage.multipart", "cut_body", when="1", after=100)
        self.once()

    def test_wrong_checksum_in_the_reply(self):
        self.small()
        self.fake.fault("storage.multipart", "edit", when="1", **{"with": {"crc32c": "AAAAAA=="}})
        self.stored(stored=3)
        self.assertEqual(len(self.objects()), 1)
        self.assertEqual([line["op"] for line in self.fake.asked(part="storage")],
                         ["storage.multipart", "storage.objects.delete", "storage.multipart"])
        self.assert_discovery(self.fake)

    def test_wrong_size_in_the_reply(self):
        self.large()
        self.fake.fault(SESSION + "put", "edit", when="1", **{"with": {"size": "17"}})
        self.stored(stored=4)
        self.assertEqual(len(self.objects()), 1)

    def test_session_cut(self):
        self.large()
        self.fake.fault(SESSION + "put", "cut_body", when="1", after=3 << 20)
        self.once(4)
        asked = sorted(self.fake.asked(part="storage"), key=lambda line: line["n"])  # as they began
        self.assertEqual([line["op"] for line in asked],
                         [SESSION + "start", SESSION + "put", SESSION + "query", SESSION + "put"])
        (start,) = re.findall(r"bytes (\d+)-", asked[-1]["headers"]["content-range"])
        self.assertGreater(int(start), 0)

    def test_session_reply_lost(self):
        self.large()
        self.fake.fault(SESSION + "put", "lose_reply", when="1")
        self.once(4)

    def test_session_busy(self):
        self.large()
        self.fake.fault(SESSION + "put", "status", when="1-2", status=503)
        self.once(4)

    def test_session_busy_after_some(self):
        self.large()
        self.fake.fault(SESSION + "put", "status_after", when="1-2", status=503, after=256 << 10)
        self.once(4)

    def test_session_stalls(self):
        self.large()
        self.fake.fault(SESSION + "put", "stall_body", when="1", after=1 << 20, ms=300)
        self.once(4)

    def test_308_without_range(self):
        self.large()
        self.fake.fault(SESSION + "put", "no_range", when="1", bytes=0)
        self.once(4)

    def test_range_behind(self):
        self.large()
        self.fake.fault(SESSION + "put", "keep", when="1", bytes=512 << 10)
        self.once(4)

    def test_session_gone(self):
        for status in (404, 410):
            with self.subTest(status=status):
                self.fake.set(faults=[])
                self.add_noise(4, study=status)
                self.fake.fault(SESSION + "put", "gone", when="1", status=status)
                self.stored(stored=4)
                self.fake.heal()
        self.assertEqual(len(self.objects()), 2)

    def test_session_never_gets_on(self):
        self.large()
        self.fake.fault(SESSION + "put", "no_range", bytes=0)
        answer = self.run_sendit("run", "--json", expect=75)
        self.assertIn("An upload does not get on", answer.err)
        self.run_sendit("retry", "b1")
        self.fake.heal()
        self.once(4)

    def test_token_expires_in_mid_upload(self):
        self.large()
        self.fake.fault(SESSION + "start", "expire_tokens", when="1")
        self.once(4)

    def test_session_is_never_shown(self):
        self.large()
        self.fake.fault(SESSION + "put", "cut_body", when="1", after=3 << 20)
        result = self.run_sendit("run", "-v", "-v")
        said = result.out + result.err + self.run_sendit("log", "b1").out
        for line in self.fake.asked(part="storage"):
            if "upload_id" in line["query"]:
                self.assertNotIn(line["query"]["upload_id"], said)
        self.assertNotIn("upload_id", said)
        self.assertNotIn("ya29", said)

    def test_all_at_once(self):
        """By chance, with a seed: every fault at a third of the requests."""
        self.fake.set(seed=11)
        for op in ("storage.multipart", SESSION + "put"):
            self.fake.fault(op, ["lose_reply", "cut_reply", "truncated", "html", "reset"],
                            when="30%")
        for study in range(1, 6):
            self.site.add_images(2, study=study)
        self.add_noise(3, study=9)
        for _ in range(10):
            result = self.site.sendit("run", "--json")
            self.assert_sound(result)
            if result.status == 0:
                break
        self.assertEqual(result.status, 0, result)
        self.fake.heal()
        objects = self.objects()
        self.assertEqual(sorted(len(archive_of(self.fake, name)) for name in objects),
                         [2, 2, 2, 2, 2, 3])
        self.assertEqual(len(self.fake.objects("radiology", versions=True)), 6)


class Refused(Case):
    def stops(self, code, *words, status=1):
        """A batch in ERROR with one sentence; nothing is lost."""
        result = self.run_sendit("run", expect=status)
        said = result.out + result.err + self.run_sendit("log", "b1").out
        for word in (code,) + words:
            self.assertIn(word, said)
        return said

    def test_no_bucket(self):
        self.use(bucket="elsewhere")
        self.site.add_images(2)
        self.stops("google.not_found", "elsewhere")
        self.use()
        self.run_sendit("retry", "b1")
        self.stored(stored=2)

    def test_may_not_write(self):
        self.fake.set(roles=["roles/storage.objectViewer"])
        self.site.add_images(2)
        self.stops("google.denied", "roles/storage.objectUser")

    def test_quota(self):
        self.site.add_images(2)
        self.fake.fault("storage.multipart", "status", status=403, reason="quotaExceeded")
        self.stops("google.quota", status=75)
        self.fake.heal()
        self.stored(stored=2)

    def test_acl_on_a_uniform_bucket(self):
        self.use(predefined_acl="projectPrivate")
        self.site.add_images(2)
        self.stops("google.acl")

    def test_same_name_other_bytes(self):
        self.site.add_images(2)
        self.stored(stored=2)
        (name,) = self.objects()
        other = self.start_google(tls=False)
        other.put("radiology", name, b"somebody else's")
        self.fake, before = other, other.objects("radiology")
        site = self.new_site()
        self.use(site=site)
        for i in (1, 2):
            sendit.save(sendit.make_image(i), os.path.join(site.data, "study1", "IM%05d" % i))
        answer = self.run_json(site=site)
        self.assert_counts(answer, quarantined=2)
        self.assert_reasons(answer, gcs__conflict=2)
        self.assertEqual(other.objects("radiology"), before)
        self.assertEqual(other.read("radiology", name), b"somebody else's")

    def test_retention(self):
        """What an earlier attempt left may not be replaced: the images are held."""
        self.fake.set(buckets=[self.fake.bucket(
            "radiology", retentionPolicy={"retentionPeriod": "86400"})])
        self.site.add_images(2)
        self.stored(stored=2)
        before = self.objects()
        self.run_sendit("retry", "b1")
        stages = self.site.stages()
        stages[-2]["config"] = {"profile": ["basic", "retain-modified-dates"]}
        stages[-1] = self.entry()
        self.site.write_pipeline(stages)
        answer = self.run_json()
        self.assert_reasons(answer, gcs__retention=2)
        self.assertEqual(self.objects(), before)

    def test_what_was_not_replaced_is_not_taken_for_it(self):
        self.fake.set(buckets=[self.fake.bucket(
            "radiology", retentionPolicy={"retentionPeriod": "86400"})])
        self.site.add_images(3)
        self.stored(stored=3)
        before = self.objects()
        stages = self.site.stages()
        stages[-2]["config"] = {"profile": ["basic", "retain-modified-dates"]}
        stages[-1] = self.entry()
        self.site.write_pipeline(stages)
        self.run_sendit("retry", "b1")
        self.assert_reasons(self.run_json(), gcs__retention=3)
        os.unlink(os.path.join(self.site.data, "study1", "IM00001"))
        self.run_sendit("retry", "b1")
        answer = self.run_json()
        self.assertEqual(answer["stored"], 0)
        self.assertEqual(self.objects(), before)
        self.use()  # and with the first recipe they are there
        self.run_sendit("retry", "b1")
        self.assertEqual(self.run_json()["stored"], 2)
        self.assertEqual(self.objects(), before)

    def test_retention_does_not_hinder_what_is_new(self):
        self.fake.set(buckets=[self.fake.bucket(
            "radiology", retentionPolicy={"retentionPeriod": "86400"}, versioning={"enabled": True})])
        self.site.add_images(2)
        self.fake.fault("storage.multipart", "lose_reply", when="1")
        self.stored(stored=2)

    def test_plan(self):
        for option in ("bucket", "collection", "project"):
            with self.subTest(option):
                self.use(**{option: None})
                result = self.run_sendit("run", expect=3)
                self.assert_one_sentence(result, '"%s"' % option)
        self.use(bucket="x")
        self.assert_one_sentence(self.run_sendit("run", expect=3), "name of a bucket")
        for option in ("bucket", "collection", "project"):
            for value in ("", "two words"):
                with self.subTest(option, value=value):
                    self.use(**{option: value})
                    result = self.run_sendit("run", expect=3)
                    self.assert_one_sentence(result, option)

    def test_no_labels_no_upload(self):
        stages = self.site.stages()
        del stages[-2]
        stages[-1] = self.entry()
        self.site.write_pipeline(stages)
        self.site.add_images(1)
        result = self.run_sendit("run", expect=3)
        self.assertIn("gcs-store", result.err)
        self.assertEqual(self.fake.asked(), [])

    def test_disk_full(self):
        if not sendit.is_root():
            self.skipTest("no tmpfs may be mounted")
        self.site.write_pipeline([], state="small/state")
        os.makedirs(self.site.path("small"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", self.site.path("small")],
                       check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.site.path("small")])
        stages = self.site.stages()
        stages[-1] = self.entry()
        self.site.write_pipeline(stages, state="small/state", run={"min_free": "0B", "workers": 1, "retry_for": "1s"})
        self.add_noise(5)
        result = self.run_sendit("run", expect=4)
        self.assertIn("no room", result.err)
        self.assertEqual(self.objects(), {})
        subprocess.run(["mount", "-o", "remount,size=64m", self.site.path("small")], check=True)
        self.stored(stored=5)
        self.assertEqual(len(self.objects()), 1)


class Singles(Case):
    def setUp(self):
        super().setUp()
        self.use(mode="instance")

    def test_one_per_instance(self):
        self.site.add_images(30)
        self.stored(stored=30)
        objects = self.objects()
        self.assertEqual(len(objects), 30)
        for name, resource in objects.items():
            data = self.fake.read("radiology", name)
            ds = pydicom.dcmread(io.BytesIO(data))
            self.assertEqual(os.path.basename(name).split("_")[2], ds.SOPInstanceUID + ".dcm")
            self.assertEqual(resource["contentType"], "application/dicom")
            self.assertEqual(resource["metadata"]["sendit-content"],
                             hashlib.sha256(data).hexdigest())
        self.assert_discovery(self.fake)

    def test_large_ones_go_by_session(self):
        self.add_noise(3, size=2200)
        self.fake.fault(SESSION + "put", "cut_body", when="1", after=3 << 20)
        self.stored(stored=3)
        self.assertEqual(len(self.objects()), 3)
        self.assertEqual(self.fake.asked(op="storage.multipart"), [])

    def test_faults(self):
        self.fake.set(seed=5)
        self.fake.fault("storage.multipart", ["lose_reply", "cut_reply", "truncated", "reset"],
                        when="20%")
        self.fake.fault("storage.multipart", "status", status=503, when="10%")
        self.site.add_images(40)
        for _ in range(10):
            result = self.site.sendit("run", "--json")
            self.assert_sound(result)
            if result.status == 0:
                break
        self.assertEqual(result.status, 0, result)
        self.assertEqual(len(self.objects()), 40)
        self.assertEqual(len(self.fake.objects("radiology", versions=True)), 40)

    def test_one_that_fails_at_the_end(self):
        """Its image has passed already: the batch has not."""
        for status, reason, code, expect in ((403, "forbidden", "google.denied", 1),
                                             (503, "backendError", "google.busy", 75)):
            with self.subTest(status):
                self.site = self.new_site()
                self.use(mode="instance", retry_deadline="0s")
                self.fake.fault("storage.multipart", "status", status=status, reason=reason)
                self.site.add(sendit.make_image(1, status), "study", "IM1")
                answer = self.run_json(expect=expect)
                self.assertEqual(answer["stored"], 0)
                self.assertIn(code, self.run_sendit("log", "b1").out)
                self.fake.heal()
                before = len(self.objects())
                if expect == 1:
                    self.run_sendit("retry", "b1")
                self.stored(stored=1)
                self.assertEqual(len(self.objects()), before + 1)

    def test_same_name_other_bytes(self):
        self.site.add_images(5)
        self.stored(stored=5)
        names = sorted(self.objects())
        for name in names[:2]:
            self.fake.delete("radiology", name)
            self.fake.put("radiology", name, b"somebody else's")
        self.run_sendit("retry", "b1")
        answer = self.run_json()
        self.assert_counts(answer, stored=3, quarantined=2)
        self.assert_reasons(answer, gcs__conflict=2)
        self.assertEqual(self.fake.read("radiology", names[0]), b"somebody else's")

    def test_another_recipe_replaces_ours(self):
        self.site.add_images(5)
        self.stored(stored=5)
        before = self.objects()
        self.run_sendit("retry", "b1")
        stages = self.site.stages()
        stages[-2]["config"] = {"profile": ["basic", "retain-modified-dates"]}
        stages[-1] = self.entry(mode="instance")
        self.site.write_pipeline(stages)
        self.stored(stored=5)
        after = self.objects()
        self.assertEqual(sorted(before), sorted(after))
        for name in before:
            self.assertNotEqual(before[name]["generation"], after[name]["generation"])

    def test_refused(self):
        self.fake.set(denied=["storage.objects.create"])
        self.site.add_images(70)
        result = self.run_sendit("run", expect=1)
        self.assertIn("google.denied", result.out + result.err + self.run_sendit("log", "b1").out)
        self.assertEqual(self.objects(), {})


class DryRun(Case):
    def test_nothing_is_sent(self):
        self.use(dry_run="dry", credentials="file:/nowhere/key.json")
        self.site.add_images(2)
        answer = self.run_json()
        self.assert_reasons(answer, host__not_stored=2)
        self.assertEqual(self.fake.asked(), [])
        names = sorted(os.path.join(place, name) for place, _, files in os.walk(
            self.site.path("dry")) for name in files)
        self.assertEqual(len(names), 2)
        with open(names[1]) as file:
            request = json.load(file)
        with tarfile.open(names[0]) as tar:
            self.assertEqual(len(tar.getnames()), 2)
        self.assertEqual(request["size"], os.path.getsize(names[0]))
        with gzip.open(names[0]) as file:
            self.assertEqual(request["object"]["metadata"]["sendit-content"],
                             hashlib.sha256(file.read()).hexdigest())


class Reconcile(Case):
    def differences(self, expect):
        answer = self.run_sendit("reconcile", "--json", expect=expect)
        return answer, sorted(re.findall(r"gcs\.[a-z]+", answer.out))

    def test_nothing_differs(self):
        self.fake.set(page_size=2)
        for study in range(1, 6):
            self.site.add_images(2, study=study)
        self.stored(stored=10)
        answer, found = self.differences(0)
        self.assertEqual(found, [])
        self.assertIn("5", answer.out)

    def test_whatever_differs(self):
        for mode in ("archive", "instance"):
            with self.subTest(mode):
                self.site = self.new_site()
                self.fake = self.start_google(tls=False)
                self.use(mode=mode)
                for study in range(1, 5):
                    self.site.add_images(1, study=study)
                self.stored(stored=4)
                names = sorted(self.objects())
                self.fake.delete("radiology", names[0])
                data = self.fake.read("radiology", names[1])
                for name, content in ((names[1], data), (names[2], b"other bytes"),
                                      (names[3] + ".more", b"a stranger's")):
                    self.fake.delete("radiology", name)
                    self.fake.put("radiology", name, content)
                before = self.objects()
                _, found = self.differences(1)
                self.assertEqual(found, ["gcs.changed", "gcs.missing", "gcs.replaced",
                                         "gcs.unknown"])
                self.assertEqual(self.objects(), before)

    def test_bucket_away(self):
        self.site.add_images(1)
        self.stored(stored=1)
        self.fake.fault("storage.objects.list", "status", status=503)
        self.differences(75)
        self.fake.heal()
        self.fake.set(denied=["storage.objects.list"])
        self.differences(3)


class Clients(google.ClientCase, Case):
    def test_the_same_bytes_and_metadata(self):
        """Google's own client reads back what was stored; it checks the crc32c itself."""
        for mode, count in (("archive", 2), ("instance", 6)):
            with self.subTest(mode):
                self.site = self.new_site()
                self.fake = self.start_google()
                self.use(mode=mode, ca_file=self.ca, metadata={"study": "s1"})
                self.site.add_images(3)
                self.add_noise(3, study=2, size=2100)
                self.stored(stored=6)
                found = self.client(self.fake, "objects", "radiology")
                self.assertEqual(len(found), count)
                for one in found:
                    data = self.fake.read("radiology", one["name"])
                    self.assertEqual(one["sha256"], hashlib.sha256(data).hexdigest())
                    content = gzip.decompress(data) if mode == "archive" else data
                    self.assertEqual(one["metadata"]["sendit-content"],
                                     hashlib.sha256(content).hexdigest())
                    self.assertEqual(one["metadata"]["study"], "s1")


class Killed(Case):
    def kill_at(self, op, mode, fault="delay", **more):
        """kill -9 of everything while a request is under way."""
        self.use(mode=mode)
        self.fake.fault(op, fault, when="1", ms=60000, **more)
        process = self.site.start("run", start_new_session=True)
        self.wait_for_an_object()
        os.killpg(process.pid, 9)
        process.communicate()
        self.fake.restart()
        self.fake.heal()

    def wait_for_an_object(self):
        for _ in range(600):
            if self.objects():
                return
            time.sleep(0.05)
        self.fail("nothing was stored")

    def test_after_it_was_stored(self):
        """Killed before the reply: the next run finds it there."""
        for mode in ("archive", "instance"):
            with self.subTest(mode):
                self.site = self.new_site()
                self.fake = self.start_google(tls=False)
                self.site.add_images(3)
                self.kill_at("storage.multipart", mode, fault="stall")
                self.stored(stored=3)
                objects = self.objects()
                self.assertEqual(len(objects), 1 if mode == "archive" else 3)
                self.assertEqual(len(self.fake.objects("radiology", versions=True)), len(objects))


if __name__ == "__main__":
    unittest.main()
