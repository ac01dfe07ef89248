# SPDX-License-Identifier: Apache-2.0
"""tests/fakes/google_server for system tests: keys and credentials made by openssl, a fake to start,
kill and start again, what it was asked, and what it holds.

    class Mine(google.Case):                     # a site, certificates and a key for the class
        def test_x(self):
            fake = self.start_google(bucket="b")         # TLS; tls=False, anonymous=1, discard=1
            fake.fault("storage.resumable.put", "lose_reply", when="1")
            credentials = self.credentials(fake)         # "file:..." of a service_account
            ... config: endpoint=fake.origin, token_url=fake.token_url, ca_file=self.ca ...
            fake.objects("b")                            # {name: resource}; fake.read("b", name)
            fake.rows("irb", "instances")                # a dict for each row, of values
            fake.view_rows("irb", "instances_view")      # the same without doubles, as its query says
            fake.asked(op="storage.multipart")           # its log, a dict a request
            fake.kill(); fake.start()                    # what it acknowledged is still there
            self.assert_discovery(fake)                  # both directions, by the discovery documents

    class Read(google.ClientCase):               # the same, with Google's npm clients; skipped without npm
            self.client(fake, "objects", "b")            # resources, with "sha256" of the bytes it read
            self.client(fake, "rows", "irb", "instances")
            self.verify_jwt(fake, line["body"]["assertion"])    # jose: {"payload", "protectedHeader"}

The script is a JSON object, `fake.script`, written by fake.write() (fault() and set() do it):

    buckets        [{"name", and what buckets.get says: iamConfiguration, versioning, billing,
                   retentionPolicy {"retentionPeriod": "s"}, encryption, storageClass}]
    projects       those that userProject may name, and BigQuery has; not there: any
    roles          what the account has (roles/storage.objectCreator...); not there: all
    denied         permissions that are taken from it ("storage.objects.get")
    keys, disabled_keys          of Cloud KMS; no keys: any
    service_accounts, users, metadata    who is known; audiences: that a JWT may name, besides us
    token_seconds, token_real_seconds, token_uses   how long a token is said to be good, is, how often
    clock_offset   seconds that Google's clock is ahead
    delay_ms       for every request        page_size   of lists      seed   of "N%"
    session_seconds   that a resumable session lives
    job_polls      a load job is DONE when it was looked at so often (1; 0: at once), or
    job_ms         so long after it was sent (2000), whichever comes first
    loads_a_day    load jobs that a table takes (1500)      insert_id_seconds   of insertAll (60)
    faults         [{"on", "fault", "when", "path", ...}]: the first that fits and is due

`on` is a pattern for the operation (`op` in the log) or the method's id in the discovery document:
storage.buckets.get, storage.objects.{get,download,list,delete}, storage.{media,multipart},
storage.resumable.{start,put,query,cancel} (these five have the id storage.objects.insert),
oauth2.token, metadata.get, bigquery.multipart, bigquery.resumable.* (id bigquery.jobs.insert),
bigquery.jobs.get, bigquery.datasets.{get,insert}, bigquery.tables.{get,insert,patch,list,delete},
bigquery.tabledata.{insertAll,list}.
`when` counts the requests that `on` and `path` fit, from the last write() on: "3", "2-", "2-4",
"5%" of them.  `fault` may be a list, of which one is taken by chance.  Faults:

    status         no answer but this: status (503), reason, message, body (JSON), retry_after, early=1
                   (before the body is read); what was sent is not kept
    reset          the connection is reset before the body is read; with soft=1 it only ends, here and
                   wherever else one is reset
    cut_body       reset after `after` bytes of the body; a session keeps whole steps of 256 KiB
    status_after   status after `after` bytes of the body, which are kept
    stall_body     after `after` bytes nothing for `ms`, then a reset
    slow_read      `ms` for each piece of the body that is read
    delay          `ms` before it is carried out
    lose_reply     it is carried out, and reset in place of an answer
    stall          it is carried out, nothing for `ms`, then a reset
    slow_reply     `ms` for each byte of the answer's body
    cut_reply      the answer's body ends in the middle (after `keep` bytes), by a reset
    truncated      it is half the JSON, whole as HTTP has it
    html           HTML in place of an answer, with `status` (200)
    edit           carried out; members of the answer are those of `with` (a wrong crc32c)
    gone           a session: `status` 404 or 410 (the default), and it is gone
    keep           a session keeps only `bytes` of what it has, says 308
    no_range       as keep, and says 308 without Range (bytes: 0)
    expire_tokens  all tokens are bad from now on
    job_error      a load job that is sent ends with errorResult of `reason` and `message`
    insert_errors  insertAll: `rows` (indexes) are bad
    no_flavor      the metadata server's answer has no Metadata-Flavor

A rule for load jobs may have `polls`, whatever its fault ("" for none).  A view is checked, not
evaluated.  Google's own retry tests work, too: retry_scenarios() and fake.retry_test(), which gives the
value of the header x-retry-test-id; fake.retry_left() is empty when all were met.
"""
import collections
import http.client
import importlib.util
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import warnings

import identifiers
import npm
import sendit

PROGRAM = os.path.join(os.path.dirname(sendit.program() or ""), "fakes", "google_server")
FACTS = os.path.join(sendit.ROOT, "..", "shared", "facts", "gcp")
VALIDATOR = os.path.join(sendit.ROOT, "..", "shared", "tools", "validate_discovery.py")
ADMIN = "tests-read-all"
PROJECT = "my-project"
EMAIL = "sendit@my-project.iam.gserviceaccount.com"
KEY_ID = "0123456789abcdef0123456789abcdef01234567"
VIEW = re.compile(r"SELECT \* FROM `([^.`]+)\.([^.`]+)\.([^.`]+)` WHERE TRUE QUALIFY ROW_NUMBER\(\) "
                  r"OVER \(PARTITION BY ([\w, ]+?)(?: ORDER BY (\w+)( DESC)?)?\) = 1")
Answer = collections.namedtuple("Answer", "status headers body")


def make_key(folder, name="account"):
    """NAME.key (PKCS#8) and NAME.pub."""
    identifiers.openssl(folder, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                        "-out", name + ".key")
    identifiers.openssl(folder, "pkey", "-in", name + ".key", "-pubout", "-out", name + ".pub")


def read(path):
    with open(path) as file:
        return file.read()


def write_secret(path, value, mode=0o600):
    """A JSON file that only its owner may read; returns its path."""
    if os.path.exists(path):
        os.unlink(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value if isinstance(value, str) else json.dumps(value))
    os.chmod(path, mode)
    return path


class Google:
    """A fake that runs.  `folder` has its data, log and script."""

    def __init__(self, folder, certs=None, bucket="radiology", **words):
        self.folder, self.certs, self.words = folder, certs, dict(words, admin=ADMIN)
        self.data, self.log = os.path.join(folder, "google"), os.path.join(folder, "google.log")
        self.path = os.path.join(folder, "google.json")
        self.script = {"buckets": [self.bucket(bucket)], "projects": [PROJECT], "faults": []}
        if certs:
            self.words.setdefault("cert", os.path.join(certs, "server.pem"))
            self.words.setdefault("key", os.path.join(certs, "server.key"))
            self.script["service_accounts"] = [{
                "email": EMAIL, "key_id": KEY_ID,
                "public_key": read(os.path.join(certs, "account.pub"))}]
        self.script["users"] = [{"client_id": "client", "client_secret": "d-FL95Q19q7MQmFpd7hHD0Ty",
                                 "refresh_token": "1//refresh"}]
        self.port = self.plain = None
        self.process = None
        self.write()
        self.start()

    @staticmethod
    def bucket(name, **members):
        """With uniform access, as new ones have."""
        return dict({"name": name, "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": True}}}, **members)

    # ---- the process ----

    def start(self):
        """Again at the same port, if it had one."""
        words = dict(self.words)
        if self.port:
            words["port"] = self.port
        if self.plain and self.certs:
            words["plain"] = self.plain
        with open(self.log + ".err", "ab") as errors:
            self.process = subprocess.Popen(
                [PROGRAM, self.data, self.log, self.path] +
                ["%s=%s" % item for item in words.items()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        said = [self.process.stdout.readline().split() for _ in range(2 if "cert" in words else 1)]
        if [] in said:
            raise AssertionError("the fake does not start: " + read(self.log + ".err"))
        self.port = int(said[0][1])
        self.plain = int(said[-1][1])
        self.origin = "%s://127.0.0.1:%d" % ("https" if "cert" in words else "http", self.port)
        self.token_url = self.origin + "/token"
        self.metadata_url = "http://127.0.0.1:%d" % self.plain

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(timeout=20)
        self.process.stdout.close()
        said = read(self.log + ".err")
        if "ERROR:" in said or "runtime error" in said:
            raise AssertionError(said)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def restart(self):
        self.kill()
        self.process.stdout.close()
        self.start()

    # ---- its script ----

    def write(self):
        with open(self.path + ".new", "w") as file:
            json.dump(self.script, file)
        os.rename(self.path + ".new", self.path)

    def set(self, **members):
        """None takes a member away."""
        for name, value in members.items():
            if value is None:
                self.script.pop(name, None)
            else:
                self.script[name] = value
        self.write()

    def fault(self, on, fault, **more):
        self.script["faults"].append(dict({"on": on, "fault": fault}, **more))
        self.write()

    def heal(self):
        self.set(faults=[])

    # ---- asking it ----

    def ask(self, method, path, body=None, headers=None, token=ADMIN, plain=False):
        """One request, as it stands: no retries.  An Answer, or an OSError/HTTPException."""
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = "Bearer " + token
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if self.certs and not plain:
            context = ssl.create_default_context(cafile=os.path.join(self.certs, "ca.pem"))
            link = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
        else:
            link = http.client.HTTPConnection("127.0.0.1", self.plain, timeout=60)
        try:
            link.request(method, path, body, headers)
            got = link.getresponse()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()},
                          got.read())
        finally:
            link.close()

    def get(self, path):
        """The JSON of what must be there."""
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise AssertionError("%s: %d %r" % (path, answer.status, answer.body[:400]))
        return json.loads(answer.body)

    def objects(self, bucket="radiology", prefix="", versions=False):
        """{name: resource}, or with versions a list of all of them."""
        found, token = [], ""
        while True:
            page = self.get("/storage/v1/b/%s/o?prefix=%s%s%s" % (
                bucket, urllib.parse.quote(prefix, safe=""),
                "&versions=true" if versions else "", "&pageToken=" + token if token else ""))
            found += page.get("items", [])
            token = page.get("nextPageToken")
            if not token:
                return found if versions else {one["name"]: one for one in found}

    def read(self, bucket, name):
        """Its bytes."""
        answer = self.ask("GET", "/storage/v1/b/%s/o/%s?alt=media" % (
            bucket, urllib.parse.quote(name, safe="")))
        if answer.status != 200:
            raise AssertionError("%s: %d %r" % (name, answer.status, answer.body[:400]))
        return answer.body

    def put(self, bucket, name, data, resource=None, content_type="application/octet-stream"):
        """Stores an object as somebody else would; its resource."""
        head = json.dumps(dict(resource or {}, name=name)).encode()
        body = (b"--xyz\r\nContent-Type: application/json\r\n\r\n" + head +
                b"\r\n--xyz\r\nContent-Type: " + content_type.encode() + b"\r\n\r\n" + data +
                b"\r\n--xyz--\r\n")
        answer = self.ask("POST", "/upload/storage/v1/b/%s/o?uploadType=multipart" % bucket, body,
                          {"Content-Type": "multipart/related; boundary=xyz"})
        if answer.status != 200:
            raise AssertionError(answer)
        return json.loads(answer.body)

    def delete(self, bucket, name):
        return self.ask("DELETE", "/storage/v1/b/%s/o/%s" % (
            bucket, urllib.parse.quote(name, safe=""))).status

    # ---- BigQuery ----

    def table(self, dataset, table, project=PROJECT):
        """Its resource, or None."""
        answer = self.ask("GET", "/bigquery/v2/projects/%s/datasets/%s/tables/%s" % (
            project, dataset, table))
        return json.loads(answer.body) if answer.status == 200 else None

    def rows(self, dataset, table, project=PROJECT):
        """Values are texts as tabledata.list has them, but those of JSON columns, of RECORDs (dicts)
        and of repeated fields (lists); NULL is None."""
        fields = self.table(dataset, table, project)["schema"]["fields"]
        found, token = [], ""
        while True:
            page = self.get("/bigquery/v2/projects/%s/datasets/%s/tables/%s/data%s" % (
                project, dataset, table, "?pageToken=" + token if token else ""))
            found += [read_row(fields, row) for row in page.get("rows", [])]
            token = page.get("pageToken")
            if not token:
                return found

    def view_rows(self, dataset, view, project=PROJECT):
        """What a view that removes duplicates shows, which is the only kind that is evaluated here."""
        query = " ".join(self.table(dataset, view, project)["view"]["query"].split())
        found = VIEW.fullmatch(query)
        if not found:
            raise AssertionError("this view is not evaluated: " + query)
        project, dataset, table, keys, order, down = found.groups()
        rows = self.rows(dataset, table, project)
        if order:
            rows.sort(key=lambda row: row[order], reverse=bool(down))
        first = {}
        for row in rows:
            first.setdefault(tuple(json.dumps(row[key.strip()]) for key in keys.split(",")), row)
        return list(first.values())

    def make_dataset(self, dataset, location="US", project=PROJECT):
        return self.post("/bigquery/v2/projects/%s/datasets" % project, {
            "datasetReference": {"projectId": project, "datasetId": dataset},
            "location": location})

    def make_table(self, dataset, table, fields, project=PROJECT, **more):
        """`fields` as the schema has them, or {"name": "TYPE"}."""
        if isinstance(fields, dict):
            fields = [{"name": name, "type": kind} for name, kind in fields.items()]
        return self.post("/bigquery/v2/projects/%s/datasets/%s/tables" % (project, dataset), dict({
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
            "schema": {"fields": fields}}, **more))

    def drop_table(self, dataset, table, project=PROJECT):
        return self.ask("DELETE", "/bigquery/v2/projects/%s/datasets/%s/tables/%s" % (
            project, dataset, table)).status

    def post(self, path, body):
        answer = self.ask("POST", path, body)
        if answer.status != 200:
            raise AssertionError(answer)
        return json.loads(answer.body)

    # ---- what it was asked ----

    def asked(self, **same):
        """The log, but for what the tests asked themselves: dicts of n, at_ms, part, op, id, method,
        path, query, body, length, status, fault, what, answer, headers.  Those that have the
        members of `same`."""
        if not os.path.exists(self.log):
            return []
        with open(self.log) as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        return [line for line in lines if all(line[name] == same[name] for name in same)]

    # ---- Google's retry tests ----

    def retry_test(self, instructions, method="storage.objects.insert"):
        """Their id, for the header x-retry-test-id."""
        return self.post("/retry_test", {"instructions": {method: list(instructions)}})["id"]

    def retry_left(self, name):
        """The instructions that no request has met yet."""
        left = self.get("/retry_test/" + name)["instructions"]
        return [one for method in left for one in left[method]]

    # ---- the discovery documents ----

    def differences(self):
        """What is not as the discovery documents have it, in requests and answers; None where they
        are not at hand (assert_discovery() skips with a line, then)."""
        if not os.path.exists(VALIDATOR):
            return None
        said = ["%(method)s %(path)s: there is no such place" % line
                for line in self.asked(part="unknown")]
        documents = {"storage": "storage.v1.json", "bigquery": "bigquery.v2.json"}
        for part, name in documents.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                document, methods = validator().load(os.path.join(FACTS, name))
            for line in self.asked(part=part):
                said += check(document, methods, line)
        return said


def retry_scenarios(method="storage.objects.insert"):
    """Google's own (gcp/retry_tests.json) for a method, as (description, instructions, precondition,
    success, resumable); None where they are not at hand."""
    path = os.path.join(FACTS, "retry_tests.json")
    if not os.path.exists(path):
        return None
    return [(test["description"], case["instructions"], test["preconditionProvided"],
             test["expectSuccess"], "resumable" in one.get("group", ""))
            for test in json.loads(read(path))["retryTests"] for case in test["cases"]
            for one in test["methods"] if one["name"] == method]


def read_row(fields, row):
    return {field["name"]: read_value(field, cell["v"]) for field, cell in zip(fields, row["f"])}


def read_value(field, value):
    if value is None:
        return None
    if isinstance(value, list):
        return [read_value(field, one["v"]) for one in value]
    if field["type"] == "RECORD":
        return read_row(field["fields"], value)
    return json.loads(value) if field["type"] == "JSON" else value


def validator():
    if "validate_discovery" not in sys.modules:
        spec = importlib.util.spec_from_file_location("validate_discovery", VALIDATOR)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["validate_discovery"] = module
    return sys.modules["validate_discovery"]


def check(document, methods, line):
    """What is wrong with one line of the log."""
    path = line["path"]
    # The old name of the same place, which the document has for the start of a session only.
    method = "POST" if "upload_id" in line["query"] else line["method"]
    name, wrong = validator().check(document, methods, dict(line, path=path, method=method))
    method = next((m for (_, _, m) in methods if m["id"] == name), {})
    if line["status"] // 100 == 2 and line["answer"] and "response" in method and \
            not line["query"].get("fields") and line["fault"] != "edit":
        answer = []
        validator().chk(document, method["response"], line["answer"], "answer", answer)
        wrong = wrong + [text for text in answer if "output only" not in text]
    return ["%s %s: %s" % (line["method"], path, text) for text in wrong]


class Case(sendit.Case):
    """A site, and a fake Google of its own."""

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(PROGRAM):
            raise AssertionError("%s is not built: SENDIT_TESTS" % PROGRAM)
        cls.certs = tempfile.mkdtemp(prefix="sendit-google-")
        cls.addClassCleanup(shutil.rmtree, cls.certs, ignore_errors=True)
        for name in ("ca", "other"):
            identifiers.make_ca(cls.certs, name)
        identifiers.make_certificate(cls.certs, "server", "ca")
        make_key(cls.certs)
        make_key(cls.certs, "stranger")
        cls.ca = os.path.join(cls.certs, "ca.pem")

    def start_google(self, tls=True, **words):
        fake = Google(self.new_folder(), self.certs, **words) if tls else \
            self.start_plain(**words)
        self.addCleanup(fake.stop)
        return fake

    def start_plain(self, **words):
        fake = Google(self.new_folder(), None, **words)
        fake.script["service_accounts"] = [{
            "email": EMAIL, "key_id": KEY_ID,
            "public_key": read(os.path.join(self.certs, "account.pub"))}]
        fake.write()
        return fake

    def service_account(self, fake, key="account", **more):
        """What a key file says."""
        return dict({"type": "service_account", "project_id": PROJECT, "private_key_id": KEY_ID,
                     "private_key": read(os.path.join(self.certs, key + ".key")),
                     "client_email": EMAIL, "client_id": "1234567890",
                     "token_uri": fake.token_url}, **more)

    @staticmethod
    def authorized_user(fake, **more):
        user = fake.script["users"][0]
        return dict({"type": "authorized_user", "client_id": user["client_id"],
                     "client_secret": user["client_secret"],
                     "refresh_token": user["refresh_token"]}, **more)

    def credentials(self, fake, value=None, mode=0o600, name="credentials.json"):
        """A file of them; the value of the option."""
        path = os.path.join(fake.folder, name)
        return "file:" + write_secret(path, value or self.service_account(fake), mode)

    def assert_discovery(self, fake):
        said = fake.differences()
        if said is None:
            with self.subTest("discovery documents"):
                self.skipTest("no discovery documents: %s is not there" % VALIDATOR)
            return
        self.assertEqual(said, [])


class ClientCase(Case):
    """With Google's own clients and jose (tests/google)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.clients = npm.install(cls, "google")

    def node(self, script, *words, text=None, env=None, limit=120):
        """What a script prints, as JSON."""
        done = subprocess.run(["node", script, *words], cwd=self.clients, timeout=limit,
                              input=(text or "").encode(), capture_output=True, check=False,
                              env=dict(os.environ, NODE_EXTRA_CA_CERTS=self.ca, **env or {}))
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return json.loads(done.stdout)

    def client(self, fake, *words, env=None, limit=120):
        """By the token that may do all, unless there is an environment."""
        return self.node("client.js", fake.origin, PROJECT, *words, limit=limit,
                         env=env if env is not None else {"TOKEN": ADMIN})

    def verify_jwt(self, fake, assertion, key="account"):
        return self.node("verify.js", text=json.dumps({
            "assertion": assertion, "audience": fake.token_url,
            "public_key": read(os.path.join(self.certs, key + ".pub"))}))
