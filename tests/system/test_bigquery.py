# SPDX-License-Identifier: Apache-2.0
"""bigquery-store before the fake BigQuery: rows, tables, jobs that fail, and what is told.

The stage `stored` of tests/system/stages stands in for gcs-store; test_google_kill.py has both.
"""
import collections
import json
import os
import sqlite3
import unittest

import google
import sendit

DATASET = "IRB12345"
DICOM = ["storage_download", "storage_metadataLink", "CodedAccessionNumberID", "CodedPatientID",
         "ContentType", "PatientSex", "PatientAge", "Modality", "StudyDescription", "DicomHeader"]
RETRIES = {"retry_delay": "10ms", "retry_deadline": "300ms", "poll": "1ms"}


class Case(google.Case):

    def setUp(self):
        super().setUp()
        self.fake = self.start_google()
        self.stored = {}
        self.write()

    def write(self, run=None, **config):
        """The shipped pipeline with `stored` and bigquery-store in place of file-store."""
        self.config = dict({"dataset": DATASET, "project": google.PROJECT,
                            "credentials": self.credentials(self.fake),
                            "endpoint": self.fake.origin, "token_url": self.fake.token_url,
                            "ca_file": self.ca}, **RETRIES)
        self.config.update(config)
        stages = self.site.stages()[:-1]
        stages.append({"use": "stored", "config": self.stored})
        stages.append({"use": "bigquery-store", "allow": ["network", "secrets", "emulator"],
                       "config": {name: value for name, value in self.config.items()
                                  if value is not None}})
        self.site.write_pipeline(stages, **({"run": run} if run else {}))

    def go(self, *args, expect=0, **more):
        """A run; self.err is what it said."""
        result = self.run_sendit("run", "--json", "--plugins", sendit.test_stages(), *args,
                                 expect=expect, **more)
        self.err = result.err.replace('\\"', '"') + result.json.get("error", "")
        self.assert_adds_up(result.json)
        return result.json

    def command(self, *args, expect=0):
        return self.run_sendit(*args, "--plugins", sendit.test_stages(), expect=expect)

    def rows(self, table="instances"):
        return self.fake.rows(DATASET, table)

    def states(self):
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as database:
            return [state for state, in database.execute("SELECT state FROM batch ORDER BY id")]

    def kept(self, prefix):
        """Keys of the stage's store."""
        with sqlite3.connect(os.path.join(self.site.state, "ledger.db")) as database:
            return [key for key, in database.execute(
                "SELECT key FROM store WHERE stage = 'bigquery-store' AND key LIKE ?",
                (prefix + "/%",))]

    def batches(self):
        return collections.Counter(batch["state"] for batch in self.site.sendit(
            "status", "--json").json["batches"])

    def assert_loaded(self, images, studies):
        """As many rows, none twice, nothing left in hand."""
        self.assert_loaded_at_all(images, studies)
        self.assert_discovery(self.fake)

    def assert_loaded_at_all(self, images, studies):
        instances, dicom = self.rows(), self.rows("dicom")
        self.assertEqual(len({row["SOPInstanceUID"] for row in instances}), images)
        self.assertEqual(len(instances), images)
        self.assertEqual(len({row["storage_metadataLink"] for row in dicom}), studies)
        self.assertEqual(len(dicom), studies)
        for prefix in ("wait", "data", "job", "open"):
            self.assertEqual(self.kept(prefix), [])
        self.assertEqual(set(self.batches()), {"DONE"})


class Rows(Case):

    def test_rows_of_a_study(self):
        self.site.add(sendit.make_image(1, 1), "a", "1")
        self.site.add(sendit.make_image(2, 1, PatientAge="060Y"), "a", "2")
        self.assert_counts(self.go(), stored=2)
        self.assert_loaded(2, 1)
        row, = self.rows("dicom")
        self.assertEqual(list(row), DICOM)
        self.assertEqual(row["Modality"], "CT")
        self.assertEqual(row["PatientSex"], "F")
        self.assertIsNone(row["PatientAge"])  # two of them
        self.assertIsNone(row["StudyDescription"])
        self.assertEqual(row["ContentType"], "application/gzip")
        header = json.loads(row["DicomHeader"])
        self.assertEqual((header["IMAGE_COUNT"], header["NumberOfSeries"]), (2, 1))
        self.assertEqual(header["Series"]["1"]["Images"], 2)
        self.assertEqual(header["RemovedSeries"], [])
        self.assertEqual(header["PatientID"], row["CodedPatientID"])
        self.assertEqual(header["PatientSex"], "F")
        self.assertNotIn("PatientAge", header)
        self.assertNotIn("InstanceNumber", header)
        for one in self.rows():
            self.assertEqual(one["CodedPatientID"], row["CodedPatientID"])
            self.assertEqual(one["header"]["00100020"]["Value"], [row["CodedPatientID"]])
            self.assertEqual(one["header"]["00080018"]["Value"], [one["SOPInstanceUID"]])
            self.assertNotIn("Value", one["header"]["7FE00010"])
            self.assertRegex(one["StudyDate"], r"^\d{4}-\d\d-\d\d$")
            self.assertEqual((one["generation"], one["crc32c"], one["dropped"]),
                             ("1700000000000001", "AAAAAA==", []))
            name = one["object"].split("/", 3)[3].replace("/", "%2F")
            self.assertEqual(row["storage_metadataLink"],
                             "https://www.googleapis.com/storage/v1/b/radiology/o/" + name)
            self.assertEqual(
                row["storage_download"],
                "https://storage.googleapis.com/download/storage/v1/b/radiology/o/%s"
                "?generation=1700000000000001&alt=media" % name)

    def test_tables_as_they_are_made(self):
        self.site.add_images(1)
        self.write(location="EU", kms_key="projects/p/locations/eu/keyRings/r/cryptoKeys/k")
        self.go()
        dicom, instances = (self.fake.table(DATASET, name) for name in ("dicom", "instances"))
        self.assertEqual([(field["name"], field["type"], field["mode"])
                          for field in dicom["schema"]["fields"]],
                         [(name, "STRING", "NULLABLE") for name in DICOM])
        self.assertEqual(instances["timePartitioning"], {"type": "DAY", "field": "ingested"})
        self.assertEqual(len(instances["clustering"]["fields"]), 4)
        self.assertTrue(instances["encryptionConfiguration"]["kmsKeyName"])
        for table in ("dicom", "instances"):
            view = self.fake.table(DATASET, table + "_once")["view"]
            self.assertIn("`my-project.%s.%s`" % (DATASET, table), view["query"])
            self.assertIn("ROW_NUMBER()", view["query"])
            self.assertFalse(view["useLegacySql"])
        self.assertEqual({one["body"]["location"]
                          for one in self.fake.asked(op="bigquery.datasets.insert")}, {"EU"})
        self.assert_loaded(1, 1)

    def test_a_second_run_loads_nothing_again(self):
        self.site.add_images(2)
        self.go()
        self.go()
        self.assert_loaded(2, 1)
        self.assertEqual(len(self.fake.asked(op="bigquery.multipart")), 2)

    def test_images_that_come_later(self):
        self.site.add(sendit.make_image(1, 1), "a", "1")
        self.go()
        self.site.add(sendit.make_image(2, 1), "a", "2")
        self.stored["generation"] = "1700000000000002"
        self.write()
        self.go()
        self.assertEqual(len(self.rows()), 2)
        self.assertEqual(len(self.rows("dicom")), 2)
        self.command("reconcile")

    def test_rows_of_many_batches_are_one_load(self):
        for study in range(1, 7):
            self.site.add_images(2, study, patient="P-%d" % study)
        self.go("--workers", "2")
        self.assert_loaded(12, 6)
        self.assertEqual(len(self.fake.asked(op="bigquery.multipart")), 2)

    def test_what_is_not_stored_has_no_row(self):
        self.stored["hold"] = ["2"]
        self.write()
        self.site.add_images(3)
        answer = self.go()
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_loaded(2, 1)
        self.assertEqual(json.loads(self.rows("dicom")[0]["DicomHeader"])["IMAGE_COUNT"], 2)

    def test_a_study_of_which_nothing_is_stored(self):
        """No row, no job, EMPTY."""
        self.stored["hold"] = ["1", "2"]
        self.write()
        self.site.add_images(2)
        self.assert_counts(self.go(), quarantined=2)
        self.assertEqual(self.batches(), {"EMPTY": 1})
        self.assertEqual(self.fake.asked(part="bigquery"), [])

    def test_single_images(self):
        self.stored["single"] = True
        self.write()
        self.site.add_images(3)
        self.go()
        self.assertEqual(len({row["object"] for row in self.rows()}), 3)
        row, = self.rows("dicom")
        self.assertIsNone(row["storage_download"])
        self.assertRegex(row["storage_metadataLink"], r"/o\?prefix=C%2F2\.25\.\d+%2F$")
        self.assertEqual(row["ContentType"], "application/dicom")

    def test_a_row_over_10_mb(self):
        """Its largest element is left out, and nothing else is."""
        recipe = self.site.path("deid.keep")
        with open(recipe, "w") as file:
            file.write("FORMAT dicom\n%header\nKEEP TextValue\n")
        with open(self.site.path("pipeline.json")) as file:
            pipeline = json.load(file)
        pipeline["stages"][3].update(config={"recipes": [recipe]}, because="Only a test.")
        self.site.write_pipeline(pipeline["stages"])
        for number, size in ((1, 12 << 20), (2, 1 << 20)):
            self.site.add(sendit.make_image(number, TextValue="x" * size), "a", str(number))
        self.assert_counts(self.go(), stored=2)
        by_size = {bool(row["dropped"]): row for row in self.rows()}
        self.assertEqual(by_size[True]["dropped"], ["0040A160"])
        self.assertNotIn("0040A160", by_size[True]["header"])
        self.assertEqual(len(by_size[False]["header"]["0040A160"]["Value"][0]), 1 << 20)
        self.assertEqual(set(by_size[False]["header"]) - set(by_size[True]["header"]),
                         {"0040A160"})
        self.assertIn("bigquery.dropped", self.err)

    def test_no_value_of_a_patient_goes_there(self):
        self.site.add(sendit.make_image(1, 1, patient="PIDCANARY7", name="Canarybird^A",
                                        AccessionNumber="ACCCANARY8",
                                        StudyDescription="Canarybird"), "F", "IM1")
        self.go("-vv")
        with open(self.fake.log) as file:
            self.assertNotIn("canary", file.read().casefold())
        self.assertNotIn("canary", repr(self.rows() + self.rows("dicom")).casefold())
        self.assertNotIn("canary", self.err.casefold())


class Tables(Case):
    """What is there before."""

    def fields(self, table):
        self.site.add_images(1)
        self.go()
        fields = self.fake.table(DATASET, table)["schema"]["fields"]
        self.fake.drop_table(DATASET, table)
        self.site.add(sendit.make_image(7, 7), "later", "1")
        return fields

    def refused(self, table, fields, code, *words):
        self.fake.make_table(DATASET, table, fields)
        self.go(expect=1)
        for word in (code,) + words:
            self.assertIn(word, self.err)
        self.assertIn("DONEPROCESSING", self.batches())
        self.assertEqual(self.command("check", "--online", expect=3).status, 3)
        return self.err

    def test_a_missing_column_is_added(self):
        fields = self.fields("instances")
        self.fake.make_table(DATASET, "instances", fields[:-2] + [
            {"name": "note", "type": "STRING", "description": "ours"}])
        self.go("-v")
        after = self.fake.table(DATASET, "instances")["schema"]["fields"]
        self.assertEqual([field["name"] for field in after[-3:]], ["note", "batch", "ingested"])
        self.assertEqual(after[-3]["description"], "ours")
        self.assertEqual(len(self.rows()), 1)
        self.assertIn("bigquery.column_added", self.err)

    def test_a_renamed_column(self):
        fields = self.fields("dicom")
        fields[7] = dict(fields[7], name="modality_of_it")
        self.refused("dicom", fields, "bigquery.renamed", '"Modality"', '"modality_of_it"')
        self.fake.drop_table(DATASET, "dicom")
        self.go()  # nothing was lost
        self.assertEqual(len(self.rows()), 2)

    def test_a_retyped_column(self):
        fields = self.fields("instances")
        fields[11] = dict(fields[11], type="STRING")
        self.refused("instances", fields, "bigquery.type", '"header"', "JSON")

    def test_a_required_column_of_ours(self):
        fields = self.fields("dicom")
        fields[3] = dict(fields[3], mode="REQUIRED")
        self.refused("dicom", fields, "bigquery.mode", '"CodedPatientID"')

    def test_a_required_column_of_theirs(self):
        fields = self.fields("dicom")
        self.refused("dicom", fields + [{"name": "site", "type": "STRING", "mode": "REQUIRED"}],
                     "bigquery.required", '"site"')

    def test_a_view_in_its_place(self):
        self.fields("dicom")
        self.fake.post("/bigquery/v2/projects/my-project/datasets/%s/tables" % DATASET, {
            "tableReference": {"projectId": google.PROJECT, "datasetId": DATASET,
                               "tableId": "dicom"},
            "view": {"query": "SELECT 1", "useLegacySql": False}})
        self.go(expect=1)
        self.assertIn("bigquery.table", self.err)

    def test_a_dataset_elsewhere(self):
        self.fake.make_dataset(DATASET, "EU")
        self.write(location="US")
        self.site.add_images(1)
        self.go(expect=1)
        self.assertIn("bigquery.location", self.err)
        self.write(location="eu")
        self.go()
        self.assert_loaded(1, 1)

    def test_a_dataset_in_a_region(self):
        """Its jobs are not found without their location."""
        self.fake.make_dataset(DATASET, "europe-west3")
        self.fake.set(job_polls=3)
        self.site.add_images(1)
        self.go()
        self.assert_loaded(1, 1)

    def test_tables_that_go_away(self):
        self.site.add_images(1)
        self.go()
        self.fake.drop_table(DATASET, "dicom")
        self.site.add(sendit.make_image(7, 7), "later", "1")
        self.go()
        self.assertEqual((len(self.rows()), len(self.rows("dicom"))), (2, 1))


class Faults(Case):
    """Whatever is answered: rows wait or are told of, none is lost, none is there twice."""

    def setUp(self):
        super().setUp()
        for study in (1, 2, 3):
            self.site.add_images(2, study, patient="P-%d" % study)

    def test_gone_through(self):
        for fault in ({"fault": "lose_reply"}, {"fault": "status", "status": 503},
                      {"fault": "status", "status": 429, "reason": "rateLimitExceeded"},
                      {"fault": "status", "status": 403, "reason": "rateLimitExceeded"},
                      {"fault": "reset"}, {"fault": "cut_reply"}, {"fault": "truncated"},
                      {"fault": "html"}, {"fault": "expire_tokens"}):
            for on in ("bigquery.multipart", "bigquery.*"):
                with self.subTest(fault=fault, on=on):
                    self.site = self.new_site()
                    self.fake = self.start_google()
                    self.write()
                    self.site.add_images(2)
                    self.fake.fault(on, when="1", **fault)
                    self.go()
                    self.assert_loaded(2, 1)

    def test_jobs_that_fail_and_are_tried_again(self):
        for reason in ("backendError", "internalError", "jobRateLimitExceeded", "stopped"):
            with self.subTest(reason):
                self.site = self.new_site()
                self.fake = self.start_google()
                self.write()
                self.site.add_images(2)
                self.fake.fault("bigquery.multipart", "job_error", when="1", reason=reason)
                self.go()
                self.assert_loaded(2, 1)
                ids = [one["answer"]["jobReference"]["jobId"]
                       for one in self.fake.asked(op="bigquery.multipart")]
                self.assertEqual(sorted(name[-2:] for name in ids), ["-1", "-1", "-2"])
                self.assertRegex(ids[0], "^sendit-[0-9a-f]{40}-1$")

    def test_quota_parks(self):
        self.write(run={"retry_for": "1s"})
        self.fake.fault("bigquery.multipart", "status", status=403, reason="quotaExceeded")
        self.go(expect=75)
        self.assertIn("quotaExceeded", self.err)
        self.assertEqual(self.batches(), {"DONEPROCESSING": 3})
        self.assertLessEqual(len(self.fake.asked(op="bigquery.multipart")), 4)
        self.fake.heal()
        self.go()
        self.assert_loaded(6, 3)

    def test_loads_of_a_day(self):
        self.write(run={"retry_for": "1s"}, max_loads=1)
        self.go()
        self.site.add(sendit.make_image(9, 9), "later", "1")
        self.go(expect=75)
        self.assertIn("24 hours", self.err)
        self.write(max_loads=2)
        self.go()
        self.assert_loaded(7, 4)

    def test_rights_that_are_missing(self):
        for denied, role in (("bigquery.jobs.create", "roles/bigquery.jobUser"),
                             ("bigquery.tables.updateData", "roles/bigquery.dataEditor"),
                             ("bigquery.tables.create", "roles/bigquery.dataEditor"),
                             ("bigquery.datasets.create", "roles/bigquery.dataEditor"),
                             ("bigquery.tables.get", "roles/bigquery.dataEditor")):
            with self.subTest(denied):
                self.site = self.new_site()
                self.fake = self.start_google()
                self.write()
                self.site.add_images(2)
                self.fake.set(denied=[denied])
                self.go(expect=1)
                self.assertIn(role, self.err)
                self.assertEqual(self.batches(), {"DONEPROCESSING": 1})
                self.fake.set(denied=None)
                self.go()
                self.assert_loaded(2, 1)

    def test_a_login_that_ended(self):
        for user in ({"refresh_token": "another"}, {"client_secret": "another"}):
            self.write(credentials=self.credentials(
                self.fake, self.authorized_user(self.fake, **user), name=list(user)[0]))
            self.go(expect=1)
            self.assertIn("google.token", self.err)
        self.write()
        self.go()
        self.assert_loaded(6, 3)

    def test_another_project(self):
        self.write(project="other-project")
        self.go(expect=1)
        self.assertIn("DONEPROCESSING", self.batches())

    def test_rows_that_are_refused(self):
        """One batch is told of, with its column; the others are loaded."""
        self.go()
        fields = self.fake.table(DATASET, "instances")["schema"]["fields"]
        short = [dict(field, maxLength="2") if field["name"] == "Modality" else field
                 for field in fields]
        self.fake.drop_table(DATASET, "instances")
        self.fake.make_table(DATASET, "instances", short)
        for study, modality in ((4, "CT"), (5, "ECG"), (6, "CT")):
            self.site.add_images(2, study, patient="P-%d" % study, Modality=modality)
        self.go(expect=1)
        self.assertEqual(self.batches(), {"DONE": 5, "ERROR": 1})
        log = self.site.sendit("log").out
        self.assertIn("table instances, column Modality", log)
        self.assertNotIn("longer than its maximum", log + self.err)
        self.assertEqual(len(self.rows()), 4)
        self.assertTrue(self.kept("data"))  # nothing is dropped in silence
        self.fake.drop_table(DATASET, "instances")
        self.fake.make_table(DATASET, "instances", fields)
        failed, = [batch["batch"] for batch in self.site.sendit("status", "--json").json["batches"]
                   if batch["state"] == "ERROR"]
        self.command("retry", failed)
        self.go()
        self.assert_loaded_at_all(2, 6)

    def test_a_proxy_that_bounds_requests(self):
        self.fake.fault("bigquery.multipart", "status", status=413, when="1")
        self.go()
        self.assert_loaded(6, 3)
        self.fake.fault("bigquery.multipart", "status", status=413)
        self.site.add(sendit.make_image(9, 9), "later", "1")
        self.go(expect=1)
        self.assertIn("bigquery.too_large", self.err)
        self.fake.heal()
        self.go()
        self.assert_loaded(7, 4)

    def test_away_for_too_long(self):
        self.write(run={"retry_for": "1s"})
        self.fake.fault("bigquery.*", "status", status=503)
        self.go(expect=75)
        self.assertEqual(self.batches(), {"DONEPROCESSING": 3})
        self.fake.heal()
        self.go()
        self.assert_loaded(6, 3)

    def test_secrets_are_not_told(self):
        self.fake.fault("bigquery.multipart", "expire_tokens", when="1")
        self.go("-vv")
        account = self.service_account(self.fake)
        for secret in (account["private_key"][40:80], "Bearer ", "assertion="):
            self.assertNotIn(secret, self.err)


class Asked(Case):
    """`sendit plan`, `check --online` and `reconcile`."""

    def test_refused_at_start(self):
        for config, word in (({"dataset": None}, "dataset"), ({"project": None}, "project"),
                             ({"dataset": "IRB 1"}, "dataset"), ({"project": "My"}, "project"),
                             ({"location": "E/U"}, "location"), ({"kms_key": "k"}, "kms_key"),
                             ({"load_every": "10s"}, "load_every"),
                             ({"max_loads": 1501}, "max_loads")):
            with self.subTest(word):
                self.write(**config)
                result = self.command("run", expect=3)
                self.assert_one_sentence(result, word)

    def test_it_needs_a_store_before_it(self):
        stages = json.load(open(self.site.path("pipeline.json")))["stages"]
        for order in ([*stages[:4], stages[5]], [*stages[:4], stages[5], stages[4]]):
            self.site.write_pipeline(order)
            result = self.command("plan", expect=3)
            self.assert_one_sentence(result, "store.stored", "bigquery-store")

    def test_check_online(self):
        self.command("check", "--online")
        self.assertEqual({one["method"] for one in self.fake.asked(part="bigquery")} - {"GET"},
                         {"POST"})
        self.assertEqual({one["op"] for one in self.fake.asked(part="bigquery", method="POST")},
                         {"bigquery.jobs.query"})
        self.fake.set(denied=["bigquery.jobs.create"])
        result = self.command("check", "--online", expect=3)
        self.assertIn("roles/bigquery.jobUser", result.out + result.err)
        self.fake.set(denied=["bigquery.datasets.get"])
        result = self.command("check", "--online", expect=3)
        self.assertIn("roles/bigquery.dataEditor", result.out + result.err)
        self.assert_discovery(self.fake)

    def reconcile(self, expect):
        result = self.command("reconcile", "--json", expect=expect)
        return collections.Counter(
            (one["code"], one["subject"]) for one in result.json["differences"])

    def test_reconcile(self):
        self.site.add_images(3)
        self.site.add_images(1, 2, patient="P-2")
        self.go()
        self.assertEqual(self.reconcile(0), {})
        rows, table = self.rows(), self.fake.table(DATASET, "instances")
        uids = sorted(row["SOPInstanceUID"] for row in rows)
        self.insert("instances", [row for row in rows if row["SOPInstanceUID"] == uids[0]])
        self.assertEqual(self.reconcile(1), {("bigquery.twice", uids[0]): 1})
        self.fake.drop_table(DATASET, "instances")
        self.fake.make_table(DATASET, "instances", table["schema"]["fields"])
        self.insert("instances", [row for row in rows if row["SOPInstanceUID"] != uids[1]])
        self.insert("instances", [{"SOPInstanceUID": "1.2.3", "object": "gs://b/x"},
                                  {"SOPInstanceUID": "Doe^Jane"}])
        found = self.reconcile(1)
        self.assertEqual(found[("bigquery.missing", uids[1])], 1)
        self.assertEqual(found[("bigquery.unknown", "1.2.3")], 1)
        self.assertEqual(sum(found.values()), 3)
        self.assertNotIn("Doe", repr(found))
        self.fake.drop_table(DATASET, "dicom")
        self.assertEqual(sum(self.reconcile(1).values()), 5)
        before = self.fake.asked(part="bigquery")
        self.assertEqual({one["method"] for one in before[-4:]}, {"GET"})

    def insert(self, table, rows):
        body = {"rows": [{"json": dict(row, header=json.dumps(row.get("header", {})),
                                       ingested="2026-01-01 00:00:00 UTC")} for row in rows]}
        answer = self.fake.post("/bigquery/v2/projects/my-project/datasets/%s/tables/%s/insertAll" %
                                (DATASET, table), body)
        self.assertNotIn("insertErrors", answer)

    def test_reconcile_in_pages(self):
        self.site.add_images(7)
        self.go()
        self.fake.set(page_size=2)
        self.assertEqual(self.reconcile(0), {})


class Clients(Case, google.ClientCase):
    """@google-cloud/bigquery reads what was loaded."""

    def test_they_read_the_same_rows(self):
        self.site.add_images(3)
        self.site.add_images(2, 2, patient="P-2", PatientAge="060Y")
        self.go()
        for table in ("dicom", "instances"):
            with self.subTest(table):
                theirs = self.client(self.fake, "rows", DATASET, table)
                ours = self.rows(table)
                self.assertEqual(len(theirs), len(ours))
                key = "storage_download" if table == "dicom" else "SOPInstanceUID"
                theirs = {row[key]: row for row in theirs}
                for row in ours:
                    self.assert_same(theirs[row[key]], row)

    def assert_same(self, theirs, ours):
        """A client has types: days and times as {"value"}, numbers, JSON as it is or as text."""
        self.assertEqual(set(theirs), set(ours))
        for name, value in ours.items():
            other = theirs[name]
            if isinstance(other, dict) and set(other) == {"value"}:
                other = other["value"]
            if name == "ingested":
                self.assertRegex(other, r"^20\d\d-\d\d-\d\dT.*Z$")
            elif name == "header":
                self.assertEqual(json.loads(other) if isinstance(other, str) else other, value)
            else:
                self.assertEqual(str(other), str(value), name)


if __name__ == "__main__":
    unittest.main()
