# SPDX-License-Identifier: Apache-2.0
"""restful-anonymizer in a pipeline, before a strict identifier service over TLS."""
import datetime
import json
import os
import random
import signal
import sqlite3
import stat
import time
import unittest
import urllib.error
import urllib.request

import pydicom

import identifiers
import sendit

KILLS = 50 if sendit.LONG else 5
BATCHES = 200 if sendit.LONG else 20
WORKERS = 8 if sendit.LONG else 2
SEED = int(os.environ.get("SENDIT_TEST_SEED", random.randrange(1 << 30)))


def day(text):
    return datetime.datetime.strptime(text, "%Y%m%d").date()


class Asked(identifiers.Case):
    """The service answers."""

    def out(self, site=None):
        return [pydicom.dcmread(path) for path in sendit.images((site or self.site).clean)]

    def test_identities_of_the_service(self):
        service = self.use(self.start_service(), store={"template": "{entity}/{item}/{instance}.dcm"})
        self.add_studies(2, images=3)
        self.assert_counts(self.run_json(), stored=6)
        self.assert_well_asked(service, 2)
        images = self.out()
        self.assertEqual(len({ds.PatientID for ds in images}), 2)
        self.assertEqual(len({ds.SOPInstanceUID for ds in images}), 6)
        for path, ds in zip(sendit.images(self.site.clean), images):
            self.assertRegex(ds.PatientID, "^GL[0-9a-f]{12}$")
            self.assertRegex(ds.AccessionNumber, "^GL[0-9a-f]{12}$")
            self.assertTrue(ds.SOPInstanceUID.startswith("2.25."))
            self.assertEqual(os.path.relpath(path, self.site.clean).split("/")[:2],
                             [ds.PatientID, ds.AccessionNumber])
            self.assertTrue(1 <= (day("20210304") - day(ds.StudyDate)).days <= 365)
            self.assertEqual((ds.PatientBirthDate, ds.PatientIdentityRemoved), ("", "YES"))
        self.assertEqual({one["path"] for one in service.asked()},
                         {"/identifiers/api/v1/uid/irb12345"})

    def test_a_second_run_does_not_ask(self):
        service = self.use(self.start_service())
        self.add_studies(1)
        self.run_json()
        before = {(ds.PatientID, ds.AccessionNumber) for ds in self.out()}
        self.site.add(sendit.make_image(9, 1, patient="1100001", AccessionNumber="ACC00001"),
                      "later", "1")
        self.assert_counts(self.run_json(), stored=1)
        self.assertEqual({(ds.PatientID, ds.AccessionNumber) for ds in self.out()}, before)
        self.assert_well_asked(service, 1)

    def test_two_workers_ask_once(self):
        """Eight folders with images of one examination, four workers, a service that takes its
        time."""
        service = self.use(self.start_service("1- slow 500"), run={"workers": 4})
        for number in range(1, 9):
            self.site.add(sendit.make_image(number, 1, patient="1100001",
                                            AccessionNumber="ACC00001"), "part%d" % number, "1")
        self.assert_counts(self.run_json(), stored=8)
        self.assertEqual(len({ds.PatientID for ds in self.out()}), 1)
        self.assert_well_asked(service, 1)

    def test_a_wait_for_the_turn_is_no_hang(self):
        """Five workers wait for each other, the last for longer than stage_timeout."""
        service = self.use(self.start_service("1- slow 1500"),
                           run={"workers": 5, "stage_timeout": "5s"})
        self.add_studies(5, images=1)
        result = self.run_sendit("run", "--json")
        self.assert_counts(result.json, stored=5)
        self.assertNotIn("worker.died", result.err)
        self.assert_well_asked(service, 5)

    def test_it_asks_again_and_hears_the_same(self):
        service = self.use(self.start_service(), max_age="1s")
        self.add_studies(1)
        self.run_json()
        time.sleep(1.2)
        self.site.add(sendit.make_image(9, 1, patient="1100001", AccessionNumber="ACC00001"),
                      "later", "1")
        self.assert_counts(self.run_json(), stored=1)
        self.assert_well_asked(service, 2)

    def test_it_says_something_else_later(self):
        self.use(self.start_service(), max_age="1s")
        self.add_studies(1)
        self.run_json()
        time.sleep(1.2)
        self.use(self.start_service(salt="another"), max_age="1s")
        self.site.add(sendit.make_image(9, 1, patient="1100001", AccessionNumber="ACC00001"),
                      "later", "1")
        result = self.run_sendit("run", expect=1)
        self.assertIn("restful.changed", self.site.sendit("log").out, str(result))
        self.assertEqual(len(self.out()), 2)

    def test_two_patients_with_one_id(self):
        self.use(self.start_service("1- same-suid"), run={"workers": 1})
        self.add_studies(2, images=1)
        self.run_sendit("run", expect=1)
        self.assertIn("restful.twice", self.site.sendit("log").out)
        self.assertEqual(len(self.out()), 1)

    def test_custom_fields_and_other_attributes(self):
        service = self.use(self.start_service(), custom_fields=["PatientSex", "Modality"],
                           item_id="StudyID", item_source="Lab Result", entity_strip="")
        self.add_studies(1)
        self.assert_counts(self.run_json(), stored=2)
        self.assert_well_asked(service, 1)
        self.assertEqual(service.asked()[0]["asked"], {"patient": "11-00001", "item": "S1"})

    def test_no_value_is_told(self):
        service = self.use(self.start_service(script="1 status 503 1"),
                           credentials=None, token="env:CANARY_TOKEN")
        for number in (1, 2):
            self.site.add(sendit.make_image(number, patient="PIDCANARY7", name="Canarybird^A",
                                            AccessionNumber="ACCCANARY8"), "F", "IM%d" % number)
        env = dict(os.environ, CANARY_TOKEN="Zq-secretcanary-1")
        result = self.run_sendit("run", "-vv", env=env)
        told = result.out + result.err + self.site.sendit("log", "-vv").out + \
            self.site.sendit("status", "--json").out
        for one in service.asked():
            told += one["path"]
        self.assertNotIn("canary", told.casefold())
        for place, _, names in os.walk(self.site.clean):
            for name in names:
                with open(os.path.join(place, name), "rb") as file:
                    self.assertNotIn(b"canary", file.read().lower())
        ledger = sqlite3.connect(os.path.join(self.site.state, "ledger.db"))
        tables = [row[0] for row in ledger.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'crosswalk'")]
        held = repr([ledger.execute("SELECT * FROM %s" % table).fetchall() for table in tables])
        ledger.close()
        self.assertNotIn("canary", held.casefold())


class Faults(identifiers.Case):
    """Whatever it answers that is no answer: nothing out, a reason of its own, and retry helps."""

    FAULTS = [("html", "restful.html"), ("nan", "restful.json"), ("twice", "restful.json"),
              ("rubbish", "restful.too_large"), ("status 302", "restful.redirect"),
              ("status 404", "restful.status"), ("status 403", "restful.denied"),
              ("status 204", "restful.status"), ("no-results", "restful.results"),
              ("wrong-id", "restful.other"), ("wrong-item", "restful.other"),
              ("wrong-source", "restful.other"), ("fewer", "restful.items"),
              ("more", "restful.items"), ("jitter-text", "restful.jitter"),
              ("original", "restful.suid"), ("other-date", "restful.date")]

    def test_each(self):
        for fault, code in self.FAULTS:
            with self.subTest(fault):
                self.site = self.new_site()
                service = self.use(self.start_service("1- " + fault))
                self.add_studies(1)
                answer = self.run_json(expect=1)
                self.assertEqual((answer["stored"], answer["failed"]), (0, 2))
                self.assertIn(code, self.site.sendit("log").out)
                self.assert_nothing_out()
                self.assert_well_asked(service, 1)
                service.script("")
                batch = self.site.sendit("status", "--json").json["batches"][0]["batch"]
                self.run_sendit("retry", batch)
                self.assert_counts(self.run_json(), stored=2)

    def test_away_and_back(self):
        for fault in ("status 503 1", "status 429 1", "status 500", "reset", "cut", "slow 3000"):
            with self.subTest(fault):
                self.site = self.new_site()
                service = self.use(self.start_service("1-2 " + fault), timeout="1s")
                self.add_studies(1)
                self.assert_counts(self.run_json(), stored=2)
                # what was slow is noted when it is answered
                self.assertIn(len(service.asked()), (2, 3) if "slow" in fault else (3,))

    def test_a_date_to_come_back_at(self):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
        service = self.use(self.start_service(
            "1 status 503 " + at.strftime("%a, %d %b %Y %H:%M:%S GMT")))
        self.add_studies(1)
        self.assert_counts(self.run_json(), stored=2)
        first, second = (one["at_ms"] for one in service.asked())
        self.assertGreater(second - first, 2000)

    def test_away_for_too_long(self):
        service = self.use(self.start_service("1- status 503"), run={"retry_for": "3s", "workers": 2})
        self.add_studies(4)
        result = self.run_sendit("run", expect=75)
        self.assertIn("retry_for", result.err)
        self.assert_nothing_out()
        counts = self.site.counts()
        self.assertEqual((counts["failed"], counts["waiting"]), (2, 6))
        self.assertEqual(self.site.sendit("status", "--json").json["away"], None)
        self.assertLess(len(service.asked()), 15)
        service.script("")
        self.run_sendit("retry", self.site.sendit("status", "--json").json["batches"][0]["batch"])
        self.assert_counts(self.run_json(), stored=8)

    def test_while_it_is_away(self):
        """One asks for all; status says what is waited for, and since when."""
        service = self.use(self.start_service("1-8 status 503 1"), run={"workers": 3})
        self.add_studies(6)
        process = self.start_run()
        away, until = None, time.monotonic() + 20
        while not away and time.monotonic() < until:
            time.sleep(0.2)
            away = self.site.sendit("status", "--json").json.get("away")
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err.decode())
        self.assert_counts(json.loads(out), stored=12)
        self.assertEqual((away["stage"], away["code"]), ("restful-anonymizer", "restful.busy"))
        self.assert_well_asked(service)
        times = [one["at_ms"] for one in service.asked()]
        # what each of three workers has in hand finds out at any time; all others are a second apart
        close = [b - a for a, b in zip(times[:9], times[1:9]) if b - a < 900]
        self.assertLessEqual(len(close), 2, times)


class Tls(identifiers.Case):
    """Nothing is said to whom it does not know."""

    def refused(self, service, **config):
        self.site = self.new_site()
        self.use(service, run={"retry_for": "1s"}, **config)
        self.add_studies(1)
        result = self.run_sendit("run", expect=75)
        self.assertIn("http.failed", result.err)
        self.assert_nothing_out()
        self.assertEqual(service.asked(), [])
        self.assertEqual(self.run_sendit("check", "--online", expect=3).out, "")

    def test_certificates(self):
        for cert in ("elsewhere", "expired"):
            with self.subTest(cert):
                self.refused(self.start_service(cert=cert))
        with self.subTest("another authority"):
            self.refused(self.start_service(), ca_file=os.path.join(self.certs, "other.pem"))
        with self.subTest("the system's authorities"):
            self.refused(self.start_service(), ca_file=None)
        with self.subTest("TLS 1.1"):
            self.refused(self.start_service(priority="NORMAL:-VERS-ALL:+VERS-TLS1.1:%COMPAT"))

    def test_a_certificate_of_ours(self):
        service = self.start_service(client_ca=os.path.join(self.certs, "ca.pem"))
        path = self.site.path("client.pem")
        for name, status, stored in (("stranger", 1, 0), ("client", 0, 2)):
            self.site = self.new_site()
            path = self.site.path("client.pem")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                for part in (".pem", ".key"):
                    with open(os.path.join(self.certs, name + part)) as source:
                        file.write(source.read())
            self.use(service, client_cert="file:" + path)
            self.add_studies(1)
            answer = self.run_json(expect=status)
            self.assertEqual(answer["stored"], stored, name)


class Others(identifiers.Case):
    """Another service, by configuration alone."""

    FLAT = {"path": "/lookup?study={study}&format=flat", "method": "GET", "request": None,
            "headers": ["X-Patient: {entity_id}", "X-Exam: {item_id}"], "header": "X-Api-Key",
            "header_value": "env:IDS_KEY",
            "answer": {"entity_id": "/pseudonym", "item_id": "/code", "jitter": "/days",
                       "asked_entity_id": "/patient", "asked_item_id": "/exam"}}

    def flat(self, service, **config):
        self.site = self.new_site()
        stages = self.stages(service, **dict(self.FLAT, url=service.origin, **config))
        stages[-2]["config"]["request"] = None
        self.site.write_pipeline(stages, run={"retry_for": "5s"})
        self.add_studies(2)
        return dict(os.environ, IDS_KEY="Kq-1")

    def test_get_and_a_flat_answer(self):
        service = self.start_service(api_key="Kq-1")
        env = self.flat(service)
        self.assert_counts(self.run_json(env=env), stored=4)
        self.assert_well_asked(service, 2)
        self.assertEqual({one["path"] for one in service.asked()}, {"/lookup"})
        self.run_sendit("check", "--online", env=env)

    def test_another_key(self):
        env = self.flat(self.start_service(api_key="another"))
        self.run_json(env=env, expect=1)
        self.assertIn("restful.denied", self.site.sendit("log").out)
        self.assert_nothing_out()
        self.assertIn("status 401", self.run_sendit("check", "--online", env=env, expect=3).err)

    def test_an_answer_for_another(self):
        env = self.flat(self.start_service("1- wrong-id", api_key="Kq-1"))
        self.run_json(env=env, expect=1)
        self.assertIn("restful.other", self.site.sendit("log").out)
        self.assert_nothing_out()

    def test_user_and_password(self):
        for secret, status in (("us:Zq-pass", 0), ("us:another", 1)):
            self.site = self.new_site()
            self.use(self.start_service(basic="us:Zq-pass"), token="env:IDS_PASSWORD")
            self.add_studies(1)
            result = self.run_sendit("run", "-vv", expect=status,
                                     env=dict(os.environ, IDS_PASSWORD=secret))
            self.assertNotIn(secret[3:], result.out + result.err)


class Tokens(identifiers.Case):
    """The file of credentials."""

    def file(self):
        with open(self.site.path("tokens.json")) as file:
            return json.load(file)

    def test_renewed_once_by_many(self):
        """Eight batches, four workers, a token that is good for two requests."""
        service = self.start_service(tokens="site", lifetime=2)
        self.use(service, run={"workers": 4}, credentials=self.tokens(service, note="kept"))
        self.add_studies(8)
        self.assert_counts(self.run_json(), stored=16)
        self.assert_well_asked(service)
        renewed = [one for one in service.asked() if "/token/" in one["path"]]
        self.assertEqual([one["status"] for one in renewed], [200] * 3)
        self.assertEqual(len([one for one in service.asked() if one["status"] == 401]), 3)
        self.assertEqual((self.file()["accessToken"], self.file()["refreshToken"],
                          self.file()["note"]), ("site-4", "site-refresh-4", "kept"))
        self.assertEqual(stat.S_IMODE(os.stat(self.site.path("tokens.json")).st_mode), 0o600)

    def test_of_the_environment(self):
        service = self.start_service(tokens="site")
        path = self.tokens(service)[len("file:"):]
        self.use(service)
        self.add_studies(1)
        self.assert_counts(self.run_json(env=dict(os.environ, STANFORD_CLIENT_SECRETS=path)),
                           stored=2)

    def test_that_others_can_read(self):
        service = self.start_service(tokens="site")
        self.use(service, credentials=self.tokens(service, mode=0o644))
        self.add_studies(1)
        result = self.run_sendit("run", expect=1)
        self.assertIn("chmod 600", result.err)
        self.assertEqual(service.asked(), [])
        self.assert_nothing_out()

    def test_a_renewal_that_is_refused(self):
        """Asked once, then waited for other tokens; these are taken without another start."""
        service = self.start_service(tokens="site")
        self.use(service, run={"workers": 3}, credentials=self.tokens(service, name="old"))
        self.add_studies(5)
        process = self.start_run()
        time.sleep(4)
        asked = service.asked()
        self.assertEqual([one["status"] for one in asked], [401, 400])
        status = self.site.sendit("status").out
        self.assertIn("put new ones into the file", status)
        self.tokens(service)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err.decode())
        self.assert_counts(json.loads(out), stored=10)
        self.assertEqual(err.decode().count('"event":"restful.refresh"'), 1, err.decode())

    def test_tokens_at_a_host_that_nobody_named(self):
        service = self.start_service(tokens="site", lifetime=1)
        other = self.start_service(tokens="site")
        self.use(service, credentials=self.tokens(other))
        self.add_studies(2)
        self.run_sendit("run", expect=1)
        self.assertIn("restful.request", self.site.sendit("log").out)
        self.assertEqual(other.asked(), [])


class Check(identifiers.Case):
    """sendit check --online, and what the plan refuses."""

    def test_online(self):
        service = self.start_service(tokens="site", lifetime=2)
        self.use(service, credentials=self.tokens(service))
        self.assertIn("has answered", self.run_sendit("check", "--online").out)
        asked = service.asked()
        self.assertEqual([(one["status"], one["asked"]) for one in asked],
                         [(200, {"patient": None, "item": None})])
        self.assertTrue(self.run_sendit("check", "--online", "--json").json["online"])
        result = self.run_sendit("check", "--online")  # it has expired, which a run mends
        self.assertIn("restful.expired", result.err)
        self.assertEqual(len(service.asked()), 3)
        self.assertEqual(self.run_sendit("check").err, "")
        self.assertEqual(len(service.asked()), 3)

    def test_online_and_something_is_wrong(self):
        for script, words in (("1- html", "VPN"), ("1- status 404", "url, path and study"),
                              ("1- status 503", "status 503"), ("1- status 302", "elsewhere"),
                              ("1- reset", "no answer")):
            with self.subTest(script):
                self.use(self.start_service(script))
                self.assertIn(words, self.run_sendit("check", "--online", expect=3).err)
        self.use(self.start_service(basic="a:b"))
        self.assertIn("let us in", self.run_sendit("check", "--online", expect=3).err)

    def test_the_plan(self):
        service = self.start_service()
        both = self.stages(service)
        both.insert(-1, {"use": "local-anonymizer"})
        self.site.write_pipeline(both)
        words = ['stage "local-anonymizer" grants "ids.replaced", and so does '
                 '"restful-anonymizer" before it; disable one of them',
                 'stage "file-store" hands images out, but nothing before it grants '
                 '"deid.header"; enable "restful-anonymizer" before it, or write why not under '
                 'policy.because']
        self.assertIn(words[0], self.run_sendit("plan", expect=3).err)
        for stage in both[-3:-1]:
            stage["enabled"] = False
        self.site.write_pipeline(both)
        self.assertIn(words[1], self.run_sendit("run", expect=3).err)
        with open(os.path.join(sendit.ROOT, "stages", "restful-anonymizer", "README.md")) as file:
            page = file.read()
        for sentence in words:  # the page shows what is said
            self.assertIn("    " + sentence + "\n", page)
        for word in identifiers.ALLOW:
            self.use(service, allow=[one for one in identifiers.ALLOW if one != word])
            self.assertIn('add "%s" to its "allow"' % word, self.run_sendit("plan", expect=3).err)
        self.assertEqual(service.asked(), [])

    def test_the_fake_is_strict(self):
        """What it must refuse, or the tests above would be worth little."""
        service = self.start_service(certs=False)
        good = {"id": "1", "id_source": "Stanford MRN",
                "items": [{"id": "2", "id_source": "DCM Accession #"}]}

        def post(entity, path="/uid/irb1", kind="application/json", raw=None):
            data = raw or json.dumps({"identifiers": [entity]}).encode()
            request = urllib.request.Request(service.url + path, data, {"Content-Type": kind})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        self.assertEqual(post(good), 200)
        items = [dict(good["items"][0], id=str(i)) for i in range(1001)]
        self.assertEqual(post(dict(good, items=items[:1000])), 200)
        self.assertEqual(post(dict(good, items=items)), 400)
        for change in ({"items": []}, {"id": "a b"}, {"id": ""}, {"id_source": "ours"},
                       {"id_timestamp": "1999-01-01"}, {"id_timestamp": "1999-02-30T00:00:00Z"},
                       {"name": "Doe"}, {"custom_fields": []}, {"custom_fields": [{"key": "a"}]}):
            self.assertEqual(post(dict(good, **change)), 400, change)
        self.assertEqual(post(good, path="/uid/IRB1"), 400)
        self.assertEqual(post(good, path="/uid/irb1?patient=1"), 400)
        self.assertEqual(post(good, path="/other"), 404)
        self.assertEqual(post(good, kind="text/plain"), 400)
        self.assertEqual(post(good, raw=b'{"identifiers":[],"identifiers":[]}'), 400)


class Load(identifiers.Case):
    """Many batches, three calls in ten failing, kills at random instants."""

    RUN = ("run", "--json", "--workers", str(WORKERS))
    FAULTS = "10% status 503\n18% reset\n26% cut\n30% status 429\n40% slow 100\n"

    def setUp(self):
        super().setUp()
        self.add_studies(BATCHES, images=3)

    def twin(self, service):
        site = self.new_site()
        os.rmdir(site.data)
        os.symlink(self.site.data, site.path("linked"))
        site.data = self.site.data
        stages = self.stages(service)
        stages[0]["config"]["folders"] = [self.site.data]
        site.write_pipeline(stages, run={"retry_for": "2m"})
        return site

    @staticmethod
    def crosswalk(site):
        ledger = sqlite3.connect(os.path.join(site.state, "ledger.db"))
        rows = sorted(ledger.execute("SELECT domain, original, pseudonym FROM crosswalk"))
        kept = {json_key: json.loads(value) for json_key, value in ledger.execute(
            "SELECT key, value FROM store WHERE stage = 'restful-anonymizer'")}
        ledger.close()
        return rows, kept

    def kill_one(self, site, chance, seconds):
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        process = site.start(*self.RUN, env=dict(os.environ, ASAN_OPTIONS=options))
        time.sleep(chance.uniform(0.1, seconds))
        workers = sendit.children(process.pid)
        victim = chance.choice(workers) if workers and chance.random() < 0.6 else process.pid
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            pass
        time.sleep(chance.uniform(0, 0.5))
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)

    def test_all_arrive(self):
        quiet = self.start_service()
        wanted = self.twin(quiet)
        began = time.monotonic()
        self.assert_counts(self.run_json("--workers", str(WORKERS), site=wanted), stored=3 * BATCHES)
        seconds = time.monotonic() - began
        self.assert_well_asked(quiet, BATCHES)
        service, chance = self.start_service(self.FAULTS), random.Random(SEED)
        site = self.twin(service)
        for _ in range(KILLS):
            self.kill_one(site, chance, seconds)
        result = site.sendit(*self.RUN, limit=900)
        self.assert_sound(result)
        self.assertEqual(result.status, 0, "seed %d: %s" % (SEED, result))
        self.assertEqual(sendit.tree(site.clean), sendit.tree(wanted.clean), SEED)
        self.assertEqual(site.counts(), wanted.counts(), SEED)
        rows, kept = self.crosswalk(site)
        self.assertEqual(rows, self.crosswalk(wanted)[0], SEED)
        self.assert_well_asked(service)
        self.assert_none_asked_again(service, rows, kept)

    def assert_none_asked_again(self, service, rows, kept):
        """After the moment that an answer was kept at, nobody asks for that pair."""
        items = {original: pseudonym for domain, original, pseudonym in rows
                 if domain.startswith("item.")}
        self.assertEqual(len(items), BATCHES)
        for one in service.asked():
            pair = "%s\n%s" % (one["asked"]["patient"], one["asked"]["item"]) if "asked" in one \
                else None
            if pair:
                record = kept["item.irb12345." + items[pair]]
                self.assertLessEqual(one["at_ms"], record["asked_ms"], SEED)


if __name__ == "__main__":
    unittest.main()
