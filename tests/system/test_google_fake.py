# SPDX-License-Identifier: Apache-2.0
"""The fake Google itself: what Google refuses is refused, and what it acknowledged is there."""
import base64
import hashlib
import http.client
import json
import os
import socket
import struct
import subprocess
import time
import unittest
import urllib.parse

import google

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
UPLOAD = "/upload/storage/v1/b/radiology/o"
STEP = 262144
CUT = (OSError, http.client.HTTPException)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(key, claims, **head):
    head = dict({"alg": "RS256", "typ": "JWT", "kid": google.KEY_ID}, **head)
    text = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(),
                               check=True, capture_output=True).stdout
    return text + "." + base64url(signature)


def crc32c(data):
    """Bit by bit, by the polynomial: nothing of the fake's is in it."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return base64.b64encode(struct.pack(">I", crc ^ 0xffffffff)).decode()


class Case(google.Case):
    def setUp(self):
        super().setUp()
        self.fake = self.start_google()

    def reason(self, answer, status):
        self.assertEqual(answer.status, status, answer)
        error = json.loads(answer.body)["error"]
        self.assertEqual(error["code"], status)
        return error["errors"][0]["reason"]

    def multipart(self, resource, data=b"bytes", query="", headers=None, part="text/plain", **ask):
        head = json.dumps(resource).encode() if isinstance(resource, dict) else resource
        body = (b"--b0\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n" + head +
                b"\r\n--b0\r\nContent-Type: " + part.encode() + b"\r\n\r\n" + data + b"\r\n--b0--")
        return self.fake.ask("POST", UPLOAD + "?uploadType=multipart" + query, body, dict(
            {"Content-Type": "multipart/related; boundary=b0"}, **headers or {}), **ask)

    def session(self, name="one", resource=None, query="", **headers):
        answer = self.fake.ask("POST", UPLOAD + "?uploadType=resumable&name=" + name + query,
                               resource or {}, {key.replace("_", "-"): value
                                                for key, value in headers.items()})
        self.assertEqual(answer.status, 200, answer)
        return answer.headers["location"][len(self.fake.origin):]

    def chunk(self, place, data, said, method="PUT", **headers):
        return self.fake.ask(method, place, data, dict({"Content-Range": "bytes " + said},
                                                       **headers), token=None)


class Tokens(Case):
    def token(self, claims=None, key="account", **head):
        now = int(time.time())
        claims = dict({"iss": google.EMAIL, "scope": SCOPE, "aud": self.fake.token_url, "iat": now,
                       "exp": now + 3600}, **claims or {})
        text = jwt(os.path.join(self.certs, key + ".key"), claims, **head)
        return self.post({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                          "assertion": text})

    def post(self, form, content_type="application/x-www-form-urlencoded"):
        return self.fake.ask("POST", "/token", urllib.parse.urlencode(form),
                             {"Content-Type": content_type}, token=None)

    def given(self, answer):
        self.assertEqual(answer.status, 200, answer)
        return json.loads(answer.body)["access_token"]

    def refused(self, answer, error="invalid_grant", status=400):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(json.loads(answer.body)["error"], error)

    def test_service_account(self):
        self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology",
                                       token=self.given(self.token())).status, 200)

    def test_what_a_jwt_may_not_be(self):
        now = int(time.time())
        for claims in ({"iss": "somebody@else"}, {"aud": "https://oauth2.googleapis.com/token"},
                       {"exp": now + 3700}, {"exp": now - 1}, {"iat": now + 600, "exp": now + 900},
                       {"iat": now - 7200, "exp": now - 3600}, {"iat": str(now)}, {"scope": ""}):
            with self.subTest(claims):
                self.refused(self.token(claims))
        self.refused(self.token({"scope": "everything"}), "invalid_scope")
        for head in ({"alg": "none"}, {"alg": "HS256"}, {"kid": "other"}, {"typ": "at+jwt"}):
            with self.subTest(head):
                self.refused(self.token(**head))
        self.refused(self.token(key="stranger"))
        for text in ("", "a", "a.b", "..", "e30.e30.", "!.!.!", "e30.e30.AAAA.BBBB"):
            with self.subTest(text):
                self.refused(self.post({
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": text}))

    def test_a_clock_that_is_wrong(self):
        self.fake.set(clock_offset=3700)
        self.refused(self.token())
        self.fake.set(clock_offset=-3700)
        self.refused(self.token())

    def test_refresh(self):
        user = self.fake.script["users"][0]
        form = dict(user, grant_type="refresh_token")
        self.given(self.post(form))
        self.refused(self.post(dict(form, refresh_token="1//old")))
        self.refused(self.post(dict(form, client_secret="other")), "invalid_client", 401)
        self.refused(self.post(dict(form, client_id="other")), "invalid_client", 401)
        self.refused(self.post(dict(form, grant_type="password")), "unsupported_grant_type")
        self.refused(self.post(form, "application/json"), "invalid_request")
        self.refused(self.post({}), "invalid_request")

    def test_tokens_end(self):
        self.fake.set(token_real_seconds=1)
        token = self.given(self.token())
        path = "/storage/v1/b/radiology"
        self.assertEqual(self.fake.ask("GET", path, token=token).status, 200)
        time.sleep(2)
        self.assertEqual(self.reason(self.fake.ask("GET", path, token=token), 401), "authError")
        self.fake.set(token_real_seconds=None, token_uses=2)
        token = self.given(self.token())
        self.assertEqual([self.fake.ask("GET", path, token=token).status for _ in range(3)],
                         [200, 200, 401])
        self.fake.set(token_uses=None)
        token = self.given(self.token())
        self.fake.fault("storage.*", "expire_tokens", when="1")
        self.assertEqual([self.fake.ask("GET", path, token=token).status for _ in range(2)],
                         [401, 401])

    def test_tokens_outlive_a_kill(self):
        token = self.given(self.token())
        self.fake.restart()
        self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology", token=token).status, 200)

    def test_scopes(self):
        path = "/storage/v1/b/radiology"
        read = self.given(self.token({"scope": SCOPE.replace("read_write", "read_only")}))
        other = self.given(self.token({"scope": "https://www.googleapis.com/auth/bigquery"}))
        self.assertEqual(self.fake.ask("GET", path, token=read).status, 200)
        self.assertEqual(self.reason(self.fake.ask("GET", path, token=other), 403),
                         "insufficientPermissions")
        self.assertEqual(self.reason(self.multipart({"name": "x"}, token=read), 403),
                         "insufficientPermissions")

    def test_no_token(self):
        for token in (None, "ya29.never", ""):
            answer = self.fake.ask("GET", "/storage/v1/b/radiology", token=token)
            self.assertIn(self.reason(answer, 401), ("required", "authError"))
            self.assertIn("www-authenticate", answer.headers)
        answer = self.fake.ask("GET", "/storage/v1/b/radiology", token=None,
                               headers={"Authorization": "Basic " + google.ADMIN})
        self.assertEqual(answer.status, 401)

    def test_roles(self):
        token = self.given(self.token())
        self.fake.set(roles=["roles/storage.objectCreator"])
        self.assertEqual(self.multipart({"name": "x"}, token=token).status, 200)
        # Creating is not replacing, nor reading.
        answer = self.multipart({"name": "x"}, token=token)
        self.assertEqual(self.reason(answer, 403), "forbidden")
        self.assertIn(b"storage.objects.delete", answer.body)
        for path in ("", "/o", "/o/x"):
            self.assertEqual(self.reason(self.fake.ask("GET", "/storage/v1/b/radiology" + path,
                                                       token=token), 403), "forbidden")
        self.fake.set(roles=None, denied=["storage.objects.create"])
        self.assertEqual(self.reason(self.multipart({"name": "y"}, token=token), 403), "forbidden")

    def test_metadata_server(self):
        base = "/computeMetadata/v1/instance/service-accounts/default/"
        flavor = {"Metadata-Flavor": "Google"}

        def ask(path, headers=flavor):
            return self.fake.ask("GET", path, headers=headers, token=None, plain=True)

        self.assertEqual(ask(base + "token").status, 404)
        self.fake.set(metadata={"project": "my-project", "email": google.EMAIL})
        answer = ask(base + "token?scopes=" + urllib.parse.quote(SCOPE))
        token = self.given(answer)
        self.assertEqual(answer.headers["metadata-flavor"], "Google")
        self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology", token=token).status, 200)
        self.assertEqual(ask("/computeMetadata/v1/project/project-id").body, b"my-project")
        self.assertEqual(ask(base + "token", {}).status, 403)
        self.assertEqual(ask(base + "token", {"Metadata-Flavor": "google"}).status, 403)
        self.assertEqual(ask(base + "token", dict(flavor, **{"X-Forwarded-For": "::1"})).status, 403)
        self.assertEqual(ask("/", {}).status, 200)
        self.fake.fault("metadata.*", "no_flavor")
        self.assertNotIn("metadata-flavor", ask(base + "token").headers)
        self.fake.set(metadata={"project": "my-project"})
        self.assertEqual(ask(base + "token").status, 404)


class Objects(Case):
    def test_multipart(self):
        data = os.urandom(70000)
        crc, md5 = crc32c(data), base64.b64encode(hashlib.md5(data).digest()).decode()
        metadata = {"sendit-content": "é\u4e2d", "Case": "Kept", "empty": ""}
        answer = self.multipart({"name": "a/b", "crc32c": crc, "md5Hash": md5, "metadata": metadata,
                                 "contentType": "text/plain"}, data, "&ifGenerationMatch=0")
        self.assertEqual(answer.status, 200, answer)
        found = self.fake.objects()["a/b"]
        self.assertEqual(found, json.loads(answer.body))
        self.assertEqual([found[name] for name in ("crc32c", "md5Hash", "size", "metadata")],
                         [crc, md5, "70000", metadata])
        self.assertEqual(self.fake.read("radiology", "a/b"), data)
        self.assertEqual(crc32c(b"123456789"), base64.b64encode(b"\xe3\x06\x92\x83").decode())

    def test_what_is_no_multipart(self):
        good = (b"--b0\r\nContent-Type: application/json\r\n\r\n{\"name\":\"x\"}\r\n--b0\r\n"
                b"Content-Type: text/plain\r\n\r\nbytes\r\n--b0--")
        head = {"Content-Type": "multipart/related; boundary=b0"}
        path = UPLOAD + "?uploadType=multipart"
        bad = [b"", good[:-2], good[:-6], good[2:], good + b"more", good.replace(b"\r\n", b"\n"),
               good.replace(b"application/json", b"text/plain"), good.replace(b"{", b"["),
               good.replace(b"\r\nContent-Type: text/plain", b""), good.replace(b"b0", b"b1"),
               good.replace(b"--b0--", b"--b0\r\nContent-Type: a/b\r\n\r\nmore\r\n--b0--")]
        for body in bad:
            with self.subTest(body):
                self.assertEqual(self.fake.ask("POST", path, body, head).status, 400)
        for kind in ("multipart/mixed; boundary=b0", "multipart/related", "application/json",
                     "application/x-www-form-urlencoded"):
            with self.subTest(kind):
                answer = self.fake.ask("POST", path, good, {"Content-Type": kind})
                self.assertEqual(answer.status, 400)
        self.assertEqual(self.fake.ask("POST", UPLOAD, good, head).status, 400)
        self.assertEqual(self.fake.objects(), {})
        self.assertEqual(self.fake.ask("POST", path, good, head).status, 200)

    def test_resources_that_are_refused(self):
        for resource in ({}, {"name": ""}, {"name": "x", "crc32c": "AAAAAA=="},
                         {"name": "x", "md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg=="},
                         {"name": "x", "metadata": {"a": 1}}, {"name": "x", "metadata": ["a"]},
                         {"name": "x", "metadata": {"a": "b" * 8193}}, {"name": "x", "nonsense": 1},
                         {"name": "x", "size": "5"}, {"name": "x", "storageClass": "COLD"},
                         {"name": "x", "contentType": "image/png"}, {"name": 1},
                         {"name": "x", "bucket": "other"}, {"name": "x", "kmsKeyName": "key"},
                         {"name": "x", "acl": []}):
            with self.subTest(resource):
                self.assertEqual(self.multipart(resource).status, 400)
        self.assertEqual(self.fake.objects(), {})

    def test_queries_that_are_refused(self):
        for query in ("ifGenerationMatch=none", "ifGenerationMatch=-1", "predefinedAcl=private",
                      "predefinedAcl=nobody", "kmsKeyName=projects/p", "name=y", "%zz=1", "a=1&a=2",
                      "userProject=others", "fields=)"):
            with self.subTest(query):
                self.assertEqual(self.multipart({"name": "x"}, query="&" + query).status, 400)

    def test_names(self):
        for name in (".", "..", "a\rb", "a\nb", ".well-known/acme-challenge/x", "n" * 1025,
                     "é" * 513):
            with self.subTest(name):
                self.assertEqual(self.multipart({"name": name}).status, 400)
        for name in ("n" * 1024, "é" * 512, "a b+c%d?e#f&g=h", "..x", "/", "a//b", "\t"):
            with self.subTest(name):
                self.assertEqual(self.multipart({"name": name}).status, 200)
                self.assertEqual(self.fake.read("radiology", name), b"bytes")
        self.assertEqual(len(self.fake.objects()), 7)
        answer = self.fake.ask("POST", UPLOAD + "?uploadType=media&name=%FF%FE", b"x")
        self.assertEqual(answer.status, 400)

    def test_hash_in_a_header(self):
        good = crc32c(b"bytes")
        for value, status in (("crc32c=" + good, 200), ("crc32c=AAAAAA==", 400), ("what", 400),
                              ("crc32c=%s,md5=AAAAAAAAAAAAAAAAAAAAAA==" % good, 400)):
            with self.subTest(value):
                self.assertEqual(self.multipart({"name": "x"}, headers={
                    "X-Goog-Hash": value}).status, status)

    def test_conditions(self):
        first = json.loads(self.multipart({"name": "x"}, query="&ifGenerationMatch=0").body)
        answer = self.multipart({"name": "x"}, query="&ifGenerationMatch=0")
        self.assertEqual(self.reason(answer, 412), "conditionNotMet")
        again = json.loads(self.multipart(
            {"name": "x"}, query="&ifGenerationMatch=" + first["generation"]).body)
        self.assertGreater(int(again["generation"]), int(first["generation"]))
        self.assertEqual(len(self.fake.objects(versions=True)), 1)
        path = "/storage/v1/b/radiology/o/x"
        for query, status in (("generation=%s" % first["generation"], 404),
                              ("generation=%s" % again["generation"], 200),
                              ("ifGenerationNotMatch=" + again["generation"], 412),
                              ("ifMetagenerationMatch=2", 412)):
            with self.subTest(query):
                self.assertEqual(self.fake.ask("GET", path + "?" + query).status, status)
        answer = self.fake.ask("DELETE", path + "?ifGenerationMatch=" + first["generation"])
        self.assertEqual(answer.status, 412)
        answer = self.fake.ask("DELETE", path + "?ifGenerationMatch=%s&generation=%s" % (
            again["generation"], again["generation"]))
        self.assertEqual(answer.status, 204)
        self.assertEqual(self.fake.ask("GET", path).status, 404)
        self.assertEqual(self.fake.ask("DELETE", path).status, 404)

    def test_buckets(self):
        key = "projects/p/locations/us/keyRings/r/cryptoKeys/k"
        self.fake.set(buckets=[
            {"name": "fine", "storageClass": "NEARLINE", "encryption": {"defaultKmsKeyName": key}},
            self.fake.bucket("versioned", versioning={"enabled": True}),
            self.fake.bucket("kept", retentionPolicy={"retentionPeriod": "3600"}),
            self.fake.bucket("payer", billing={"requesterPays": True})])
        fine = self.fake.put("fine", "x", b"1")
        self.assertEqual([fine["storageClass"], fine["kmsKeyName"]],
                         ["NEARLINE", key + "/cryptoKeyVersions/1"])
        self.fake.put("versioned", "x", b"1")
        self.fake.put("versioned", "x", b"2")
        self.assertEqual(len(self.fake.objects("versioned", versions=True)), 2)
        self.assertEqual(self.fake.read("versioned", "x"), b"2")
        self.fake.put("kept", "x", b"1")
        for method, path in (("DELETE", "/storage/v1/b/kept/o/x"),
                             ("POST", "/upload/storage/v1/b/kept/o?uploadType=media&name=x")):
            answer = self.fake.ask(method, path, b"2" if method == "POST" else None)
            self.assertEqual(self.reason(answer, 403), "retentionPolicyNotMet")
        self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology").status, 404)
        self.assertEqual(self.multipart({"name": "x"}).status, 404)
        self.fake.set(keys=[], disabled_keys=[key])
        for path, status in ((key, 400), (key + "2", 403), ("other", 400)):
            answer = self.fake.ask("POST", "/upload/storage/v1/b/fine/o?uploadType=media&name=y"
                                   "&kmsKeyName=" + path, b"x")
            self.assertEqual(answer.status, status)
        for query, status in (("", 400), ("&userProject=my-project", 200),
                              ("&userProject=others", 400)):
            self.fake.set(anonymous=None)
            answer = self.fake.ask("POST", "/upload/storage/v1/b/payer/o?uploadType=media&name=x" +
                                   query, b"x", token=self.user())
            self.assertEqual(answer.status, status, answer)

    def user(self):
        form = dict(self.fake.script["users"][0], grant_type="refresh_token")
        answer = self.fake.ask("POST", "/token", urllib.parse.urlencode(form), {
            "Content-Type": "application/x-www-form-urlencoded"}, token=None)
        return json.loads(answer.body)["access_token"]

    def test_lists(self):
        for name in ("a", "b/1", "b/2", "b/c/3", "z"):
            self.fake.put("radiology", name, b"1")
        self.fake.set(page_size=2)
        self.assertEqual(list(self.fake.objects()), ["a", "b/1", "b/2", "b/c/3", "z"])
        self.assertEqual(list(self.fake.objects(prefix="b/")), ["b/1", "b/2", "b/c/3"])
        self.fake.set(page_size=None)
        page = self.fake.get("/storage/v1/b/radiology/o?delimiter=/&fields=items(name),prefixes")
        self.assertEqual(page, {"items": [{"name": "a"}, {"name": "z"}], "prefixes": ["b/"]})
        for fields in ("items/name", "kind,items(name,size)", "*"):
            self.assertIn("items", self.fake.get("/storage/v1/b/radiology/o?fields=" + fields))
        for bad in ("fields=items(name", "fields=", "fields=a(", "pageToken=zz"):
            self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology/o?" + bad).status, 400)

    def test_reading_a_part(self):
        self.fake.put("radiology", "x", b"0123456789")
        path = "/storage/v1/b/radiology/o/x?alt=media"
        answer = self.fake.ask("GET", path, headers={"Range": "bytes=2-4"})
        self.assertEqual([answer.status, answer.body], [206, b"234"])
        self.assertEqual(self.fake.ask("GET", path, headers={"Range": "bytes=10-"}).status, 416)


class Resumable(Case):
    data = os.urandom(3 * STEP + 1000)
    total = len(data)

    def finish(self, place, first=0):
        return self.chunk(place, self.data[first:], "%d-%d/%d" % (first, self.total - 1,
                                                                  self.total))

    def status(self, place, total="*"):
        answer = self.chunk(place, b"", "*/%s" % total)
        return answer.status, answer.headers.get("range")

    def test_in_one(self):
        place = self.session(X_Upload_Content_Length=str(self.total))
        answer = self.finish(place)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(self.fake.read("radiology", "one"), self.data)
        # Done is done, however often it is asked.
        self.assertEqual(self.status(place)[0], 200)
        self.assertEqual(self.finish(place).status, 200)
        self.assertEqual(len(self.fake.objects(versions=True)), 1)

    def test_without_a_range(self):
        place = self.session()
        self.assertEqual(self.fake.ask("PUT", place, self.data, token=None).status, 200)

    def test_in_chunks(self):
        place = self.session(query="&ifGenerationMatch=0")
        self.assertEqual(self.status(place), (308, None))
        answer = self.chunk(place, self.data[:STEP], "0-%d/*" % (STEP - 1))
        self.assertEqual([answer.status, answer.headers["range"]], [308, "bytes=0-262143"])
        # Asking changes nothing.
        for _ in range(3):
            self.assertEqual(self.status(place, self.total), (308, "bytes=0-262143"))
        self.assertEqual(self.fake.objects(), {})
        # What is there already is passed over.
        answer = self.chunk(place, self.data[:2 * STEP], "0-%d/%d" % (2 * STEP - 1, self.total))
        self.assertEqual(answer.headers["range"], "bytes=0-524287")
        self.assertEqual(self.finish(place, 2 * STEP).status, 200)
        self.assertEqual(self.fake.read("radiology", "one"), self.data)

    def test_chunks_that_are_refused(self):
        place = self.session(X_Upload_Content_Length=str(self.total))
        self.chunk(place, self.data[:STEP], "0-%d/%d" % (STEP - 1, self.total))
        half = self.data[:1000]
        for body, said in ((half, "262144-263143/%d" % self.total), (half, "262144-263143/*"),
                           (half, "524288-525287/%d" % self.total), (half, "262144-263144/263145"),
                           (self.data, "0-%d/%d" % (self.total - 1, self.total + 1)),
                           (half, "0-1/1"), (half, "9-1/*"), (half, "-1-2/*"), (half, "0-999"),
                           (half, "a-b/c"), (half, "0-999/1000 "), (half, "")):
            with self.subTest(said):
                self.assertEqual(self.chunk(place, body, said).status, 400)
        self.assertEqual(self.status(place), (308, "bytes=0-262143"))
        self.assertEqual(self.finish(place, STEP).status, 200)

    def test_wrong_hash(self):
        for resource, headers in (({"crc32c": "AAAAAA=="}, {}),
                                  ({"md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {}),
                                  ({}, {"X-Goog-Hash": "crc32c=AAAAAA=="})):
            place = self.session(resource=resource)
            answer = self.chunk(place, self.data, "0-%d/%d" % (self.total - 1, self.total),
                                **headers)
            self.assertEqual(answer.status, 400)
            self.assertEqual(self.status(place)[0], 410)
        self.assertEqual(self.fake.objects(), {})

    def test_condition_at_the_end(self):
        place = self.session(query="&ifGenerationMatch=0")
        self.fake.put("radiology", "one", b"another's")
        self.assertEqual(self.finish(place).status, 412)
        self.assertEqual(self.fake.read("radiology", "one"), b"another's")
        answer = self.fake.ask("POST", UPLOAD + "?uploadType=resumable&name=one"
                               "&ifGenerationMatch=0", {})
        self.assertEqual(answer.status, 412)

    def test_sessions_end(self):
        place = self.session()
        self.assertEqual(self.fake.ask("DELETE", place, token=None).status, 499)
        self.assertEqual(self.status(place)[0], 410)
        self.assertEqual(self.fake.ask("DELETE", place, token=None).status, 404)
        self.assertEqual(self.status(place[:-3])[0], 404)
        place = self.session()
        self.fake.set(session_seconds=-1)
        self.assertEqual(self.finish(place).status, 410)
        self.fake.set(session_seconds=None)
        for status in (404, 410):
            place = self.session()
            self.fake.set(faults=[{"on": "storage.resumable.put", "fault": "gone",
                                   "status": status}])
            self.assertEqual(self.finish(place).status, status)
            self.fake.heal()
            self.assertEqual(self.status(place)[0], 410)

    def test_an_empty_object(self):
        place = self.session()
        self.assertEqual(self.chunk(place, b"", "*/0").status, 200)
        self.assertEqual(self.fake.objects()["one"]["size"], "0")
        self.assertEqual(self.fake.read("radiology", "one"), b"")

    def test_a_kill_in_the_middle(self):
        place = self.session()
        self.chunk(place, self.data[:STEP], "0-%d/*" % (STEP - 1))
        self.fake.restart()
        self.assertEqual(self.status(place), (308, "bytes=0-262143"))
        self.assertEqual(self.finish(place, STEP).status, 200)
        self.fake.restart()
        self.assertEqual(self.status(place)[0], 200)
        self.assertEqual(self.fake.read("radiology", "one"), self.data)
        self.assertEqual(self.fake.objects()["one"]["crc32c"],
                         self.fake.put("radiology", "two", self.data)["crc32c"])

    def test_a_connection_that_is_cut(self):
        place = self.session()
        with socket.create_connection(("127.0.0.1", self.fake.plain)) as link:
            link.sendall(("PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Range: "
                          "bytes 0-%d/%d\r\n\r\n" % (place, self.total, self.total - 1,
                                                     self.total)).encode() +
                         self.data[:STEP + 5000])
            time.sleep(0.3)
        self.assertEqual(self.status(place), (308, "bytes=0-262143"))
        self.assertEqual(self.finish(place, STEP).status, 200)
        self.assertEqual(self.fake.read("radiology", "one"), self.data)


class Faults(Case):
    """Asked as a user, since the tests' own token meets none."""

    def setUp(self):
        super().setUp()
        form = dict(self.fake.script["users"][0], grant_type="refresh_token")
        answer = self.fake.ask("POST", "/token", urllib.parse.urlencode(form), {
            "Content-Type": "application/x-www-form-urlencoded"}, token=None)
        self.token = json.loads(answer.body)["access_token"]

    def upload(self, name="x"):
        return self.multipart({"name": name}, b"b" * 20000, token=self.token)

    def cut(self):
        with self.assertRaises(CUT):
            self.upload()

    def test_by_number(self):
        self.fake.fault("storage.multipart", "status", when="2-3", status=429, retry_after=7)
        answers = [self.upload() for _ in range(4)]
        self.assertEqual([answer.status for answer in answers], [200, 429, 429, 200])
        self.assertEqual(answers[1].headers["retry-after"], "7")
        self.assertEqual(self.reason(answers[1], 429), "rateLimitExceeded")
        self.assertEqual([line["fault"] for line in self.fake.asked(op="storage.multipart")],
                         [None, "status", "status", None])

    def test_before_and_after(self):
        for fault, stored in (("reset", 0), ("cut_body", 0), ("lose_reply", 1), ("stall", 1),
                              ("cut_reply", 1), ("stall_body", 0)):
            with self.subTest(fault):
                self.fake.set(faults=[{"on": "storage.objects.insert", "fault": fault, "ms": 50}])
                self.cut()
                self.assertEqual(len(self.fake.objects()), stored)
                self.fake.delete("radiology", "x")

    def test_answers_that_are_none(self):
        self.fake.fault("*", "html")
        answer = self.upload()
        self.assertEqual([answer.status, answer.headers["content-type"][:9]], [200, "text/html"])
        self.assertEqual(self.fake.objects(), {})
        self.fake.set(faults=[{"on": "*", "fault": "truncated"}])
        answer = self.upload()
        self.assertEqual(answer.status, 200)
        self.assertRaises(ValueError, json.loads, answer.body)
        self.assertEqual(len(self.fake.objects()), 1)
        self.fake.set(faults=[{"on": "*", "fault": "edit", "with": {"crc32c": "AAAAAA=="}}])
        self.assertEqual(json.loads(self.upload().body)["crc32c"], "AAAAAA==")
        self.assertNotEqual(self.fake.objects()["x"]["crc32c"], "AAAAAA==")

    def test_that_take_time(self):
        for fault, more in (("delay", {}), ("slow_reply", {"ms": 1}), ("slow_read", {})):
            with self.subTest(fault):
                self.fake.set(faults=[dict({"on": "*", "fault": fault, "ms": 300}, **more)])
                began = time.monotonic()
                self.assertEqual(self.upload().status, 200)
                self.assertGreater(time.monotonic() - began, 0.25)
        self.fake.set(faults=[], delay_ms=300)
        began = time.monotonic()
        self.upload()
        self.assertGreater(time.monotonic() - began, 0.25)

    def test_of_sessions(self):
        data = b"s" * (3 * STEP)
        whole = "0-%d/%d" % (len(data) - 1, len(data))
        for fault, more, status, kept in (
                ("keep", {"bytes": STEP}, 308, "bytes=0-262143"), ("keep", {}, 308, None),
                ("no_range", {}, 308, None), ("status", {}, 503, None),
                ("status_after", {"after": STEP}, 503, "bytes=0-262143"),
                ("cut_body", {"after": 2 * STEP + 99}, None, "bytes=0-524287")):
            with self.subTest(fault):
                place = self.session()
                self.fake.set(faults=[dict({"on": "storage.resumable.put", "fault": fault}, **more)])
                if status:
                    self.assertEqual(self.chunk(place, data, whole).status, status)
                else:
                    with self.assertRaises(CUT):
                        self.chunk(place, data, whole)
                answer = self.chunk(place, b"", "*/%d" % len(data))
                self.assertEqual([answer.status, answer.headers.get("range")], [308, kept])

    def test_by_chance(self):
        def statuses(seed):
            self.fake.set(seed=seed, faults=[{"on": "*", "when": "30%", "fault": [
                "status", "lose_reply"]}])
            said = []
            for _ in range(40):
                try:
                    said.append(self.upload().status)
                except CUT:
                    said.append(0)
            return said

        one = statuses(1)
        self.assertEqual(one, statuses(1))
        self.assertNotEqual(one, statuses(2))
        self.assertEqual(set(one), {0, 200, 503})

    def test_retry_instructions(self):
        answer = self.fake.ask("POST", "/retry_test", {"instructions": {
            "storage.objects.insert": ["return-503-after-256K", "return-reset-connection",
                                       "return-408"],
            "storage.objects.get": ["return-broken-stream"]}}, token=None)
        name = json.loads(answer.body)["id"]
        head = {"x-retry-test-id": name}
        place = self.session(x_retry_test_id=name)
        data, whole = b"r" * (2 * STEP), "0-%d/%d" % (2 * STEP - 1, 2 * STEP)
        self.assertEqual(self.chunk(place, data, whole, **head).status, 503)
        with self.assertRaises(CUT):
            self.chunk(place, b"", "*/*", **head)
        self.assertEqual(self.chunk(place, b"", "*/*", **head).status, 408)
        self.assertEqual(self.chunk(place, b"", "*/*", **head).headers["range"], "bytes=0-262143")
        self.assertEqual(self.chunk(place, data[STEP:], "%d-%d/%d" % (
            STEP, 2 * STEP - 1, 2 * STEP), **head).status, 200)
        self.assertFalse(json.loads(self.fake.ask("GET", "/retry_test/" + name).body)["completed"])
        with self.assertRaises(CUT):
            self.fake.ask("GET", "/storage/v1/b/radiology/o/one?alt=media", headers=head,
                          token=self.token)
        self.assertTrue(json.loads(self.fake.ask("GET", "/retry_test/" + name).body)["completed"])
        self.assertEqual(self.fake.ask("DELETE", "/retry_test/" + name).status, 200)
        self.assertEqual(self.fake.ask("GET", "/retry_test/" + name).status, 404)


if __name__ == "__main__":
    unittest.main()
