# SPDX-License-Identifier: Apache-2.0
"""stages/google against the fake: credentials, tokens, and when a request is sent again.  The
scenarios of Google's own retry tests that touch what we do are read from retry_tests.json, where
that is at hand."""
import json
import os
import sys
import unittest
import time

import google
import sendit

SCENARIOS = os.path.join(google.FACTS, "retry_tests.json")
UPLOAD = "/upload/storage/v1/b/radiology/o?uploadType=multipart"
BOUNDARY = "Content-Type: multipart/related; boundary=xyz"
FAST = {"retry_delay": "1ms", "retry_deadline": "5s"}


def body(name="one"):
    return ("--xyz\r\nContent-Type: application/json\r\n\r\n" + json.dumps({"name": name}) +
            "\r\n--xyz\r\nContent-Type: text/plain\r\n\r\nbytes\r\n--xyz--\r\n")


def insert(precondition=True, **more):
    """objects.insert, as gcs-store sends small ones."""
    path = UPLOAD + ("&ifGenerationMatch=0" if precondition else "")
    return dict({"method": "POST", "path": path, "headers": [BOUNDARY], "body": body(),
                 "idempotent": precondition}, **more)


def get(path="/storage/v1/b/radiology", **more):
    return dict({"method": "GET", "path": path, "idempotent": True}, **more)


class Answer:
    """A line that google-try logged."""

    def __init__(self, text):
        words = text.split(" ", 6)
        self.end, self.status, self.again = words[0], int(words[1]), words[2] == "again"
        self.verdict, self.code, self.pause, self.text = words[3], words[4], int(words[5]), words[6]


class Case(google.Case):
    anonymous = False

    def setUp(self):
        super().setUp()
        self.fake = self.start_google(tls=not self.anonymous,
                                      **({"anonymous": 1} if self.anonymous else {}))
        self.known = None if self.anonymous else self.credentials(self.fake)
        self.environment = {"PATH": os.environ["PATH"], "HOME": self.site.folder}

    def config(self):
        config = dict(FAST, endpoint=self.fake.origin, token_url=self.fake.token_url)
        if not self.anonymous:
            config.update(ca_file=self.ca, credentials=self.known)
        return config

    def check(self, *asks, expect=0, **config):
        """`sendit check --online` with these requests; a config of None takes one away."""
        config = {name: value for name, value in dict(self.config(), **config).items()
                  if value is not None}
        stages = sendit.Site.stages()
        stages.append({"use": "google-try", "allow": ["network", "secrets", "emulator"],
                       "config": dict(config, ask=list(asks))})
        self.site.write_pipeline(stages)
        result = self.run_sendit("check", "-v", "-v", "--online", "--plugins", sendit.test_stages(),
                                 expect=expect, env=self.environment)
        for secret in ("PRIVATE KEY", "ya29.", "1//refresh", "d-FL95Q19q7MQmFpd7hHD0Ty", "eyJ"):
            self.assertNotIn(secret, result.err + result.out)
        return result

    def ask(self, *asks, **config):
        """The answers."""
        result = self.check(*asks, **config)
        return [Answer(line["text"]) for line in map(json.loads, result.err.splitlines())
                if line["event"] == "try.answer"]

    def sent(self, op):
        return len(self.fake.asked(op=op))


class Credentials(Case):
    """Each way to be known, and each that is none, as somebody at the terminal sees it."""

    def refused(self, *words, **config):
        before = len(self.fake.asked(part="storage"))
        result = self.check(expect=3, **config)
        last = [line for line in result.err.splitlines() if line][-1]
        for word in words:
            self.assertIn(word, last)
        self.assertEqual(len(self.fake.asked(part="storage")), before)

    def file(self, value, **more):
        return self.credentials(self.fake, value, name="other.json", **more)

    def test_service_account(self):
        answer, = self.ask(get())
        self.assertEqual((answer.end, answer.status), ("ANSWERED", 200))
        self.assertEqual(self.sent("oauth2.token"), 1)

    def test_user(self):
        answer, = self.ask(get(), credentials=self.file(self.authorized_user(self.fake)))
        self.assertEqual(answer.status, 200)

    def test_machine(self):
        self.fake.set(metadata={"project": google.PROJECT, "email": google.EMAIL})
        answer, = self.ask(get(), credentials=None, metadata_url=self.fake.metadata_url)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.sent("metadata.get"), 1)
        self.assertEqual(self.sent("oauth2.token"), 0)

    def test_variable(self):
        name = self.file(self.service_account(self.fake))[5:]
        self.environment["GOOGLE_APPLICATION_CREDENTIALS"] = name
        self.assertEqual(self.ask(get(), credentials=None)[0].status, 200)
        os.unlink(name)
        self.refused("cannot be read", credentials=None)

    def test_gcloud(self):
        place = os.path.join(self.site.folder, ".config", "gcloud")
        os.makedirs(place)
        google.write_secret(os.path.join(place, "application_default_credentials.json"),
                            self.authorized_user(self.fake))
        self.assertEqual(self.ask(get(), credentials=None)[0].status, 200)
        other = self.new_folder()
        self.environment["CLOUDSDK_CONFIG"] = other
        google.write_secret(os.path.join(other, "application_default_credentials.json"), "{")
        self.refused("no JSON object", credentials=None)

    def test_files_that_are_none(self):
        account = self.service_account(self.fake)
        for value, word in ((" ", "is empty"), ("{", "no JSON object"), ("[]", "no JSON object"),
                            ({"type": "service_account"}, "no client_email"),
                            (dict(account, private_key="x"), "no PEM key"),
                            (dict(account, token_uri="https://oauth2.googleapis.com/token"),
                             "token_url"),
                            ({"type": "external_account"}, "external_account"),
                            ({"type": "impersonated_service_account"}, "impersonation"),
                            ({"type": "authorized_user"}, "refresh_token"),
                            ({"web": {}}, "an application")):
            with self.subTest(word):
                self.refused(word, credentials=self.file(value))

    def test_files_that_are_not_ours_alone(self):
        for mode in (0o640, 0o604, 0o622):
            self.refused("chmod 600", credentials=self.file(self.service_account(self.fake),
                                                            mode=mode))
        name = self.file(self.service_account(self.fake))[5:]
        os.symlink(name, name + ".link")
        self.refused("chmod 600", credentials="file:" + name + ".link")
        self.refused("cannot be read", credentials="file:" + name + ".gone")
        self.refused("cannot be read", credentials="env:NO_SUCH_VARIABLE")
        self.refused("cannot be read", credentials="file:$NO_SUCH_VARIABLE")

    def test_another_key(self):
        self.refused("deleted", credentials=self.file(self.service_account(self.fake, "stranger")))
        self.refused("service account", credentials=self.file(
            self.service_account(self.fake, client_email="somebody@else")))
        self.refused("revoked", credentials=self.file(
            dict(self.authorized_user(self.fake), refresh_token="1//other")))
        self.refused("application", credentials=self.file(
            dict(self.authorized_user(self.fake), client_secret="other")))

    def test_clock(self):
        for offset in (3700, -3700):
            self.fake.set(clock_offset=offset)
            self.refused("clock of this machine", "set the clock right")

    def test_no_machine(self):
        """What answers there is something else, or nobody."""
        self.fake.set(metadata={"project": google.PROJECT, "email": google.EMAIL})
        self.fake.fault("metadata.get", "no_flavor")
        self.refused("not Google's metadata server", credentials=None,
                     metadata_url=self.fake.metadata_url)
        self.fake.heal()
        began = time.monotonic()
        self.refused("There are no credentials", credentials=None,
                     metadata_url="http://127.0.0.1:1")
        self.assertLess(time.monotonic() - began, 15)
        self.fake.heal()
        self.fake.fault("metadata.get", "status", status=503, when="1-2")
        self.assertEqual(self.ask(get(), credentials=None,
                                  metadata_url=self.fake.metadata_url)[0].status, 200)

    def test_token_endpoint_away(self):
        for fault, more in (("status", {"status": 500}), ("status", {"status": 429}),
                            ("reset", {}), ("html", {}), ("truncated", {}), ("cut_reply", {}),
                            ("lose_reply", {})):
            with self.subTest(fault):
                self.fake.heal()
                self.fake.fault("oauth2.token", fault, when="1-2", **more)
                before = self.sent("oauth2.token")
                self.assertEqual(self.ask(get())[0].status, 200)
                self.assertEqual(self.sent("oauth2.token") - before, 3)

    def test_token_endpoint_is_none(self):
        self.fake.fault("oauth2.token", "html")
        self.refused("a proxy or a portal", retry_deadline="50ms")

    def test_no_trust(self):
        self.refused("gave no answer", ca_file=os.path.join(self.certs, "other.pem"),
                     retry_deadline="0s")


class Assertions(Case, google.ClientCase):
    """What we sign, as jose reads it."""

    def test_jose(self):
        self.ask(get())
        line, = self.fake.asked(op="oauth2.token")
        said = self.verify_jwt(self.fake, line["body"]["assertion"])
        self.assertEqual(said["protectedHeader"],
                         {"alg": "RS256", "typ": "JWT", "kid": google.KEY_ID})
        claims = said["payload"]
        self.assertEqual(set(claims), {"iss", "scope", "aud", "iat", "exp"})
        self.assertEqual((claims["iss"], claims["aud"]), (google.EMAIL, self.fake.token_url))
        self.assertEqual(claims["scope"], "https://www.googleapis.com/auth/devstorage.read_write")
        self.assertEqual(claims["exp"] - claims["iat"], 3600)
        self.assertLess(abs(claims["iat"] - time.time()), 60)
        with self.assertRaises(AssertionError):
            self.verify_jwt(self.fake, line["body"]["assertion"], "stranger")


class Tokens(Case):
    def test_one_for_all(self):
        self.assertEqual({answer.status for answer in self.ask(get(times=100))}, {200})
        self.assertEqual(self.sent("oauth2.token"), 1)
        self.assertEqual(self.sent("storage.buckets.get"), 100)

    def test_ends_while_many_fly(self):
        """They end all at once: 401 for those in flight, one new token for all."""
        self.fake.set(token_uses=40)
        answers = self.ask(get(times=100))
        self.assertEqual([answer.status for answer in answers], [200] * 100)
        self.assertLessEqual(self.sent("oauth2.token"), 6)

    def test_refused_again(self):
        self.fake.fault("storage.buckets.get", "status", status=401)
        answer, = self.ask(get())
        self.assertEqual((answer.status, answer.code), (401, "google.denied"))
        self.assertEqual(self.sent("storage.buckets.get"), 2)
        self.assertEqual(self.sent("oauth2.token"), 2)

    def test_not_idempotent_is_sent_again_after_401_alone(self):
        self.fake.set(token_uses=1)
        answers = self.ask(get(), insert(False))
        self.assertEqual([answer.status for answer in answers], [200, 200])
        self.assertEqual(self.sent("storage.multipart"), 2)
        self.assertFalse(answers[1].again)

    def test_elsewhere(self):
        """A token is not sent to whoever an answer names."""
        answer, = self.ask(get("https://elsewhere.example/session"))
        self.assertEqual((answer.end, answer.code), ("REFUSED", "google.elsewhere"))


class Requests(Case):
    def test_once(self):
        """An answer that is lost after it was carried out: the second one finds it there."""
        self.fake.fault("storage.multipart", "lose_reply", when="1")
        answer, = self.ask(insert())
        self.assertEqual((answer.status, answer.again), (412, True))
        self.assertEqual(list(self.fake.objects()), ["one"])

    def test_faults_that_pass(self):
        for fault, more in (("reset", {}), ("cut_reply", {}), ("slow_reply", {"ms": 1}),
                            ("status", {"status": 503, "retry_after": 1}),
                            ("status", {"status": 429}), ("status", {"status": 408}),
                            ("status", {"status": 403, "reason": "rateLimitExceeded"})):
            with self.subTest("%s %s" % (fault, more)):
                self.fake.heal()
                self.fake.fault("storage.buckets.get", fault, when="1-2", **more)
                answer, = self.ask(get())
                self.assertEqual(answer.status, 200)

    def test_faults_that_stay(self):
        for status, reason, verdict, code in (
                (400, "invalid", "FAIL", "google.request"),
                (403, "forbidden", "FAIL", "google.denied"),
                (403, "quotaExceeded", "RETRY", "google.quota"),
                (404, "notFound", "FAIL", "google.not_found"),
                (412, "conditionNotMet", "FAIL", "google.conflict"),
                (413, "uploadTooLarge", "FAIL", "google.request")):
            with self.subTest(reason):
                self.fake.heal()
                self.fake.fault("storage.buckets.get", "status", status=status, reason=reason)
                before = self.sent("storage.buckets.get")
                answer, = self.ask(get())
                self.assertEqual((answer.status, answer.verdict, answer.code),
                                 (status, verdict, code))
                self.assertEqual(self.sent("storage.buckets.get") - before, 1)

    def test_html(self):
        self.fake.fault("storage.buckets.get", "html", status=403)
        answer, = self.ask(get())
        self.assertEqual((answer.verdict, answer.code), ("RETRY", "google.html"))

    def test_busy_for_too_long(self):
        self.fake.fault("storage.buckets.get", "status", status=503, retry_after=90)
        answer, = self.ask(get())
        self.assertEqual((answer.verdict, answer.code, answer.pause), ("RETRY", "google.busy", 90))
        self.assertEqual(self.sent("storage.buckets.get"), 1)

    def test_away(self):
        self.fake.kill()
        answer, = self.ask(get(), credentials=None, metadata_url=None, retry_deadline="100ms",
                           token_url=None)
        self.assertEqual((answer.end, answer.verdict, answer.code),
                         ("AWAY", "RETRY", "google.away"))
        self.fake.process.stdout.close()
        self.fake.start()

    def test_roles(self):
        self.fake.set(roles=["roles/bigquery.jobUser"])
        answer, = self.ask(insert())
        self.assertEqual((answer.status, answer.verdict), (403, "FAIL"))
        self.assertIn("roles/storage.objectUser", answer.text)


class Scenarios(Case):
    """retry_tests.json, without a token, as Google's own test bench has it."""

    anonymous = True
    CALLS = {
        "storage.objects.insert": insert,
        "storage.objects.get": lambda _: get("/storage/v1/b/radiology/o/there"),
        "storage.objects.list": lambda _: get("/storage/v1/b/radiology/o"),
        "storage.objects.delete": lambda precondition: {
            "method": "DELETE", "idempotent": precondition,
            "path": "/storage/v1/b/radiology/o/there" +
                    ("?ifGenerationMatch=%(generation)s" if precondition else "")},
        "storage.buckets.get": lambda _: get(),
        "storage.buckets.testIamPermissions": lambda _: get(
            "/storage/v1/b/radiology/iam/testPermissions?permissions=storage.objects.create"),
    }

    def setUp(self):
        super().setUp()
        if not os.path.exists(SCENARIOS):
            self.skipTest("%s is not there" % SCENARIOS)

    def play(self, scenario, method, instructions):
        there = self.fake.put("radiology", "there", b"bytes")
        test = self.fake.retry_test(instructions, method)
        call = self.CALLS[method](scenario["preconditionProvided"])
        call["path"] = call["path"].replace("%(generation)s", there["generation"])
        answer, = self.ask(call, request_header=["x-retry-test-id: " + test])
        where = "%d %s %s: %s" % (scenario["id"], method, instructions, answer.text)
        self.assertEqual(answer.status // 100 == 2, scenario["expectSuccess"], where)
        self.assertEqual(self.fake.retry_left(test), [], where)
        for name in self.fake.objects():
            self.fake.delete("radiology", name)

    def test_scenarios(self):
        with open(SCENARIOS) as file:
            scenarios = json.load(file)["retryTests"]
        played = 0
        for scenario in scenarios:
            for method in scenario["methods"]:
                if method["name"] not in self.CALLS or method.get("group"):
                    continue
                for case in scenario["cases"]:
                    with self.subTest("%d %s %s" % (scenario["id"], method["name"],
                                                    case["instructions"])):
                        self.play(scenario, method["name"], case["instructions"])
                        played += 1
        print("%d scenarios of Google's were played" % played, file=sys.stderr)
        self.assertGreaterEqual(played, 30)


def store(site, **config):
    """The shipped pipeline with gcs-store in the place of file-store."""
    stages = site.stages()
    config = dict(dict(FAST, bucket="radiology", collection="irb12345", project=google.PROJECT),
                  **config)
    stages[-1] = {"use": "gcs-store", "allow": ["network", "secrets", "emulator"],
                  "config": config}
    site.write_pipeline(stages, run={"retry_for": "0s", "workers": 1})


class Online(google.Case):
    """`sendit check --online` of gcs-store: the bucket, with the least possible call."""

    def setUp(self):
        super().setUp()
        self.fake = self.start_google()

    def check(self, *words, expect=3, **config):
        store(self.site, **dict({"endpoint": self.fake.origin, "token_url": self.fake.token_url,
                                 "ca_file": self.ca, "credentials": self.credentials(self.fake)},
                                **config))
        result = self.run_sendit("check", "--online", expect=expect,
                                 env={"PATH": os.environ["PATH"]})
        for word in words:
            self.assertIn(word, result.err)

    def test_all_is_well(self):
        self.check(expect=0)
        self.assertEqual([line["id"] for line in self.fake.asked(part="storage")],
                         ["storage.buckets.testIamPermissions"])
        self.assertEqual(len(self.fake.asked(op="oauth2.token")), 1)
        self.assertEqual(self.fake.objects(), {})

    def test_what_is_missing(self):
        self.check("is not there", bucket="elsewhere")
        self.fake.set(roles=["roles/storage.objectCreator"])
        self.check("roles/storage.objectUser", "storage.objects.get")
        self.fake.set(roles=["roles/bigquery.jobUser"])
        self.check("roles/storage.objectUser", "storage.objects.create")
        self.fake.set(roles=["roles/storage.objectUser"])
        self.check(expect=0)

    def test_away(self):
        """Nobody sits before it for ten minutes."""
        self.fake.fault("storage.buckets.testIamPermissions", "status", status=503)
        began = time.monotonic()
        self.check("Google is busy", retry_delay="1s", retry_deadline="10m")
        self.assertLess(time.monotonic() - began, 30)


class Uploads(google.Case):
    """The same scenarios, where they upload, by gcs-store itself."""

    def setUp(self):
        super().setUp()
        self.fake = self.start_google(tls=False, anonymous=1)
        if not google.retry_scenarios():
            self.skipTest("%s is not there" % SCENARIOS)

    def upload(self, instructions, success, large):
        """A study, as an archive of one request or of a session."""
        test, site = self.fake.retry_test(instructions), self.new_site()
        image = sendit.make_image(size=2300 if large else 8)
        image.PixelData = os.urandom(len(image.PixelData))
        site.add(image, "study1", "IM00001")
        store(site, endpoint=self.fake.origin, request_header=["x-retry-test-id: " + test])
        before = len(self.fake.asked(id="storage.objects.insert"))
        self.run_sendit("run", site=site, expect=0 if success else 1,
                        env={"PATH": os.environ["PATH"]})
        self.assertEqual(self.fake.retry_left(test), [])
        self.assertEqual(len(self.fake.objects()), 1 if success else 0)
        asked = self.fake.asked(id="storage.objects.insert")[before:]
        if not success:  # and it stopped there
            self.assertEqual(len(asked), len(instructions))
        self.assertEqual(any(line["op"].startswith("storage.resumable") for line in asked), large)
        for name in self.fake.objects():
            self.fake.delete("radiology", name)

    def test_scenarios(self):
        """But those without a precondition: there is always one."""
        played = 0
        for description, instructions, precondition, success, large in google.retry_scenarios():
            if not precondition and not instructions[0] in ("return-400", "return-401"):
                continue
            with self.subTest("%s %s" % (description, instructions)):
                self.upload(instructions, success, large)
                played += 1
        print("%d scenarios of Google's were played with gcs-store" % played, file=sys.stderr)
        self.assertGreaterEqual(played, 11)


if __name__ == "__main__":
    unittest.main()
