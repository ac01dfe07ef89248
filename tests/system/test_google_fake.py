# SPDX-License-Identifier: Apache-2.0
"""The fake Google itself: what Google refuses is refused, and what it acknowledged is there."""
import base64
import gzip
import hashlib
import http.client
import json
import os
import random
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

    def test_permissions(self):
        token = self.given(self.token())
        base = "/storage/v1/b/%s/iam/testPermissions?"
        both = "permissions=storage.objects.create&permissions=storage.objects.get"

        def ask(query=both, bucket="radiology"):
            return self.fake.ask("GET", base % bucket + query, token=token)

        def has(answer):
            self.assertEqual(answer.status, 200, answer)
            return json.loads(answer.body).get("permissions")

        self.assertEqual(has(ask()), ["storage.objects.create", "storage.objects.get"])
        self.fake.set(roles=["roles/storage.objectCreator"])
        self.assertEqual(has(ask()), ["storage.objects.create"])
        self.fake.set(roles=["roles/bigquery.jobUser"])
        self.assertIsNone(has(ask()))
        self.assertEqual(self.reason(ask(""), 400), "required")
        self.assertEqual(self.reason(ask("permissions=bigquery.jobs.create"), 400),
                         "invalidParameter")
        self.assertEqual(self.reason(ask(bucket="elsewhere"), 404), "notFound")

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
        for fields, found in (("items/name", {"items": [{"name": name} for name in (
                "a", "b/1", "b/2", "b/c/3", "z")]}), ("kind,none/x", {"kind": "storage#objects"}),
                              ("none(a,b/c),none/d", {})):
            self.assertEqual(self.fake.get("/storage/v1/b/radiology/o?fields=" + fields), found)
        for fields in ("kind,items(name,size)", "*", "items(*),kind"):
            self.assertIn("items", self.fake.get("/storage/v1/b/radiology/o?fields=" + fields))
        for bad in ("fields=items(name", "fields=", "fields=a(", "fields=a()", "fields=a,,b", "fields=a)",
                    "fields=a/", "fields=" + "a/" * 20 + "b", "pageToken=zz"):
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
        place = self.session(query="&ifGenerationMatch=0&fields=name,size")
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
        answer = self.finish(place, 2 * STEP)
        self.assertEqual(json.loads(answer.body), {"name": "one", "size": str(self.total)})
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

    def test_types(self):
        for resource, head, chunk, kind in (
                ({"contentType": "a/b"}, {}, "c/d", "a/b"), ({}, {"X_Upload_Content_Type": "a/b"},
                                                             "c/d", "a/b"),
                ({"contentType": "a/b"}, {"X_Upload_Content_Type": "a/b"}, "c/d", "a/b"),
                ({}, {}, "c/d", "c/d"), ({"contentType": "a/b"}, {"X_Upload_Content_Type": "c/d"},
                                         "c/d", None)):
            place = self.session(resource=resource, **head)
            answer = self.chunk(place, b"x", "0-0/1", **{"Content-Type": chunk})
            self.assertEqual(json.loads(answer.body).get("contentType"), kind)
            self.assertEqual(answer.status, 200 if kind else 400)

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

    def test_how_it_is_cut(self):
        for more, error in (({}, ConnectionResetError), ({"soft": 1}, http.client.RemoteDisconnected)):
            self.fake.set(faults=[dict({"on": "storage.*", "fault": "reset"}, **more)])
            with self.assertRaises(error) as said:
                self.fake.ask("GET", "/storage/v1/b/radiology", token=self.token, plain=True)
            self.assertIs(type(said.exception), error)

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
        name = self.fake.retry_test(["return-503-after-256K", "return-reset-connection",
                                     "return-408"])
        head = {"x-retry-test-id": name}
        place = self.session(x_retry_test_id=name)
        data, whole = b"r" * (2 * STEP), "0-%d/%d" % (2 * STEP - 1, 2 * STEP)
        self.assertEqual(self.chunk(place, data, whole, **head).status, 503)
        with self.assertRaises(CUT):
            self.chunk(place, b"", "*/*", **head)
        self.assertEqual(self.fake.retry_left(name), ["return-408"])
        self.assertEqual(self.chunk(place, b"", "*/*", **head).status, 408)
        self.assertEqual(self.chunk(place, b"", "*/*", **head).headers["range"], "bytes=0-262143")
        self.assertEqual(self.chunk(place, data[STEP:], "%d-%d/%d" % (
            STEP, 2 * STEP - 1, 2 * STEP), **head).status, 200)
        self.assertEqual(self.fake.retry_left(name), [])
        self.assertTrue(self.fake.get("/retry_test/" + name)["completed"])
        self.assertEqual(self.fake.ask("DELETE", "/retry_test/" + name).status, 200)
        self.assertEqual(self.fake.ask("GET", "/retry_test/" + name).status, 404)

    def test_retry_instructions_of_downloads(self):
        data = os.urandom(2 * STEP)
        self.fake.put("radiology", "one", data)
        name = self.fake.retry_test(["return-broken-stream", "return-broken-stream-after-256K"],
                                    "storage.objects.get")
        for _ in range(2):
            with self.assertRaises(CUT):
                self.fake.ask("GET", "/storage/v1/b/radiology/o/one?alt=media", token=self.token,
                              headers={"x-retry-test-id": name})
        self.assertEqual(self.fake.retry_left(name), [])
        self.assertEqual(self.fake.read("radiology", "one"), data)

    def test_every_instruction_of_google(self):
        scenarios = google.retry_scenarios()
        if scenarios is None:
            self.skipTest("no retry tests: %s is not there" % google.FACTS)
        self.assertGreater(len(scenarios), 10)
        for instruction in sorted({one for scenario in scenarios for one in scenario[1]}):
            with self.subTest(instruction):
                name = self.fake.retry_test([instruction])
                place = self.session(query="&ifGenerationMatch=0")
                size = 9 << 20
                try:
                    answer = self.chunk(place, b"g" * size, "0-%d/%d" % (size - 1, size),
                                        **{"x-retry-test-id": name})
                    self.assertEqual(str(answer.status), instruction.split("-")[1])
                except CUT:
                    self.assertEqual(instruction, "return-reset-connection")
                self.assertEqual(self.fake.retry_left(name), [])


FIELDS = [{"name": "id", "type": "STRING", "mode": "REQUIRED"},
          {"name": "n", "type": "INT64"}, {"name": "f", "type": "FLOAT"},
          {"name": "ok", "type": "BOOL"}, {"name": "day", "type": "DATE"},
          {"name": "at", "type": "TIMESTAMP"}, {"name": "header", "type": "JSON"},
          {"name": "tags", "type": "STRING", "mode": "REPEATED"},
          {"name": "one", "type": "RECORD", "fields": [{"name": "x", "type": "STRING"}]},
          {"name": "short", "type": "STRING", "maxLength": "3"}, {"name": "time", "type": "TIME"},
          {"name": "raw", "type": "BYTES"}]
BIGQUERY = "/bigquery/v2/projects/my-project"


class Tables(Case):
    def setUp(self):
        super().setUp()
        self.fake.make_dataset("irb")
        self.place = BIGQUERY + "/datasets/irb/tables"

    def bad(self, path, body, status=400, method="POST"):
        with self.subTest(body):
            self.assertEqual(self.fake.ask(method, path, body).status, status)

    def test_datasets(self):
        answer = self.fake.get(BIGQUERY + "/datasets/irb")
        self.assertEqual([answer["id"], answer["location"]], ["my-project:irb", "US"])
        path = BIGQUERY + "/datasets"
        for name in ("irb", ):
            self.bad(path, {"datasetReference": {"datasetId": name}}, 409)
        for name in ("", "a-b", "a b", "é", "n" * 1025):
            self.bad(path, {"datasetReference": {"datasetId": name}})
        self.bad(path, {"datasetReference": {"datasetId": "x", "projectId": "other"}})
        self.bad(path, {"datasetReference": {"datasetId": "x"}, "colour": "red"})
        self.bad(path, {})
        self.assertEqual(self.fake.ask("GET", path + "/none").status, 404)
        self.assertEqual(self.fake.ask("GET", path.replace("my-", "your-") + "/irb").status, 400)

    def table(self, fields=FIELDS, name="t", **more):
        return dict({"tableReference": {"projectId": "my-project", "datasetId": "irb",
                                        "tableId": name}, "schema": {"fields": fields}}, **more)

    def test_tables(self):
        made = self.fake.make_table("irb", "t", FIELDS, timePartitioning={
            "type": "DAY", "field": "day"}, clustering={"fields": ["id", "n"]})
        self.assertEqual(self.fake.table("irb", "t"), made)
        self.assertEqual(made["schema"]["fields"][1]["type"], "INTEGER")
        self.bad(self.place, self.table(), 409)
        self.assertIsNone(self.fake.table("irb", "none"))
        self.bad(self.place.replace("irb", "none"), self.table(), 404)
        self.fake.restart()
        self.assertEqual(self.fake.table("irb", "t"), made)
        self.assertEqual(len(self.fake.get(self.place)["tables"]), 1)

    def test_schemas_that_are_refused(self):
        for field in ({"name": "1a", "type": "STRING"}, {"name": "a-b", "type": "STRING"},
                      {"name": "a" * 301, "type": "STRING"}, {"name": "a", "type": "TEXT"},
                      {"name": "a"}, {"type": "STRING"}, {"name": "a", "type": "RECORD"},
                      {"name": "a", "type": "STRING", "fields": FIELDS},
                      {"name": "a", "type": "STRING", "mode": "MAYBE"},
                      {"name": "ID", "type": "STRING"},
                      {"name": "a", "type": "STRING", "size": 3}):
            self.bad(self.place, self.table(FIELDS + [field]))
        self.bad(self.place, self.table([]))
        for more in ({"timePartitioning": {"type": "DAY", "field": "id"}},
                     {"timePartitioning": {"type": "WEEK", "field": "day"}},
                     {"timePartitioning": {"type": "DAY", "field": "none"}},
                     {"clustering": {"fields": ["header"]}}, {"clustering": {"fields": []}},
                     {"clustering": {"fields": ["id", "n", "ok", "day", "at"]}}, {"numRows": "1"},
                     {"partitioning": "DAY"}):
            self.bad(self.place, self.table(**more))
        other = self.table()
        other["tableReference"]["datasetId"] = "other"
        self.bad(self.place, other)

    def test_views(self):
        self.fake.make_table("irb", "t", FIELDS)
        query = "SELECT * FROM `my-project.irb.%s`"
        view = {"query": query % "t", "useLegacySql": False}
        self.bad(self.place, self.table(name="v", view={"query": query % "t"}))
        self.bad(self.place, self.table(name="v", view=dict(view, query="")))
        self.bad(self.place, self.table(name="v", view=dict(view, query=query % "none")), 404)
        body = self.table(name="v", view=view)
        del body["schema"]
        self.fake.post(self.place, body)
        self.assertEqual(self.fake.table("irb", "v")["type"], "VIEW")
        self.assertRaises(AssertionError, self.fake.view_rows, "irb", "v")
        self.fake.post(self.place + "/t/insertAll", {"rows": [
            {"json": {"id": name, "n": n}} for name, n in (("a", 1), ("b", 1), ("a", 2))]})
        query = body["view"]["query"] + (" WHERE TRUE QUALIFY ROW_NUMBER() OVER (PARTITION BY "
                                         "id%s) = 1")
        for name, order, kept in (("one", "", ["1", "1"]), ("two", " ORDER BY n DESC", ["2", "1"])):
            self.fake.post(self.place, {"tableReference": dict(body["tableReference"], tableId=name),
                                        "view": dict(view, query=query % order)})
            self.assertEqual([row["n"] for row in self.fake.view_rows("irb", name)], kept)
        self.bad(self.place + "/v/insertAll", {"rows": [{"json": {"id": "1"}}]})

    def test_patches(self):
        self.fake.make_table("irb", "t", FIELDS)
        path = self.place + "/t"

        def patched(change):
            fields = json.loads(json.dumps(FIELDS))
            change(fields)
            return {"schema": {"fields": fields}}

        for change in (lambda f: f.pop(3), lambda f: f[1].update(type="STRING"),
                       lambda f: f[1].update(name="m"), lambda f: f[1].update(mode="REQUIRED"),
                       lambda f: f[1].update(mode="REPEATED"),
                       lambda f: f.append({"name": "z", "type": "STRING", "mode": "REQUIRED"}),
                       lambda f: f[8]["fields"][0].update(type="INTEGER")):
            self.bad(path, patched(change), method="PATCH")
        self.bad(path, {"clustering": {"fields": ["id"]}}, method="PATCH")
        self.assertEqual(self.fake.ask("PATCH", path, patched(len), {"If-Match": "old"}).status,
                         412)
        for change in (lambda f: f.append({"name": "z", "type": "STRING"}),
                       lambda f: f[0].update(mode="NULLABLE") or f.append(
                           {"name": "z", "type": "STRING"})):
            self.assertEqual(self.fake.ask("PATCH", path, patched(change)).status, 200)
        self.fake.restart()
        self.assertEqual(len(self.fake.table("irb", "t")["schema"]["fields"]), len(FIELDS) + 1)

    def test_rows_one_by_one(self):
        self.fake.make_table("irb", "t", FIELDS)
        path = self.place + "/t/insertAll"

        def insert(*rows, **more):
            return self.fake.post(path, dict({"rows": [{"json": row} for row in rows]}, **more))

        good = {"id": "1", "n": 5, "f": 1.5, "ok": True, "day": "2024-02-29", "header": "{\"a\":1}",
                "at": "2024-02-29T23:59:59.25Z", "tags": ["a", "b"], "one": {"x": "y"}}
        self.assertNotIn("insertErrors", insert(good))
        row = self.fake.rows("irb", "t")[0]
        self.assertEqual(row, {"id": "1", "n": "5", "f": "1.5", "ok": "true", "day": "2024-02-29",
                               "at": "1709251199.250000", "header": {"a": 1}, "tags": ["a", "b"],
                               "one": {"x": "y"}, "short": None, "time": None, "raw": None})
        page = self.fake.get(self.place + "/t/data?selectedFields=n,one.x")
        self.assertEqual(page["rows"], [{"f": [{"v": "5"}, {"v": {"f": [{"v": "y"}]}}]}])
        # One bad row stops them all, but with skipInvalidRows.
        errors = insert(good, {"id": "2", "n": "x"}, good)["insertErrors"]
        self.assertEqual([(one["index"], one["errors"][0]["reason"]) for one in errors],
                         [(0, "stopped"), (1, "invalid"), (2, "stopped")])
        self.assertEqual(len(self.fake.rows("irb", "t")), 1)
        errors = insert(good, {"n": 1}, good, skipInvalidRows=True)["insertErrors"]
        self.assertEqual([one["index"] for one in errors], [1])
        self.assertEqual(len(self.fake.rows("irb", "t")), 3)
        self.assertNotIn("insertErrors", insert({"id": "3", "colour": 1}, ignoreUnknownValues=True))
        self.fake.restart()
        self.assertEqual(len(self.fake.rows("irb", "t")), 4)
        for body in ({"rows": []}, {}, {"rows": [{"json": 1}]}, {"rows": [{"id": "1"}]},
                     {"rows": [{"json": good}], "colour": 1},
                     {"rows": [{"json": good, "insertId": "n" * 129}]},
                     {"rows": [{"json": good}], "traceId": "n" * 37}):
            self.bad(path, body)
        self.assertEqual(self.fake.ask("POST", path, {"rows": [{"json": {
            "id": "n" * (10 << 20)}}]}).status, 413)
        for _ in range(2):
            self.fake.post(path, {"rows": [{"json": good, "insertId": "same"}]})
        self.assertEqual(len(self.fake.rows("irb", "t")), 5)

    def test_rows_that_are_refused(self):
        self.fake.make_table("irb", "t", FIELDS)
        for row in ({"n": 1}, {"id": None}, {"id": 1}, {"id": ["1"]}, {"id": "1", "n": "x"},
                    {"id": "1", "n": 1.5}, {"id": "1", "f": "x"}, {"id": "1", "ok": "yes"},
                    {"id": "1", "day": "2023-02-29"}, {"id": "1", "day": "20230228"},
                    {"id": "1", "at": "yesterday"}, {"id": "1", "at": "2024-01-01T25:00:00Z"},
                    {"id": "1", "header": {"a": 1}}, {"id": "1", "header": "{"},
                    {"id": "1", "tags": "a"}, {"id": "1", "tags": [None]}, {"id": "1", "tags": [1]},
                    {"id": "1", "one": "x"}, {"id": "1", "one": {"y": "x"}}, {"id": "1", "x": 1},
                    {"ID": "1"}, {"id": "1", "short": "long"}, {"id": "1", "time": "24:00:00"},
                    {"id": "1", "raw": "a"}):
            with self.subTest(row):
                answer = self.fake.post(self.place + "/t/insertAll", {"rows": [{"json": row}]})
                self.assertEqual(answer["insertErrors"][0]["errors"][0]["reason"], "invalid")
        self.assertEqual(self.fake.rows("irb", "t"), [])


class Jobs(Case):
    def setUp(self):
        super().setUp()
        self.fake.make_dataset("irb")
        self.fake.make_table("irb", "t", FIELDS)
        self.fake.set(job_polls=1, job_ms=60000)

    def job(self, name=None, table="t", dataset="irb", **load):
        job = {"configuration": {"load": dict({
            "destinationTable": {"projectId": "my-project", "datasetId": dataset,
                                 "tableId": table},
            "sourceFormat": "NEWLINE_DELIMITED_JSON", "writeDisposition": "WRITE_APPEND",
            "createDisposition": "CREATE_NEVER"}, **load)}}
        if name:
            job["jobReference"] = {"projectId": "my-project", "jobId": name}
        return job

    def send(self, rows, job=None, token=google.ADMIN):
        data = rows if isinstance(rows, bytes) else "".join(
            json.dumps(row) + "\n" for row in rows).encode()
        body = (b"--b0\r\nContent-Type: application/json\r\n\r\n" +
                json.dumps(self.job() if job is None else job).encode() +
                b"\r\n--b0\r\nContent-Type: application/octet-stream\r\n\r\n" + data +
                b"\r\n--b0--\r\n")
        return self.fake.ask("POST", "/upload" + BIGQUERY + "/jobs?uploadType=multipart", body,
                             {"Content-Type": "multipart/related; boundary=b0"}, token=token)

    def look(self, name, query=""):
        return self.fake.get(BIGQUERY + "/jobs/" + name + query)

    def ends(self, rows, job=None):
        answer = self.send(rows, job)
        self.assertEqual(answer.status, 200, answer)
        name = json.loads(answer.body)["jobReference"]["jobId"]
        done = self.look(name)
        self.assertEqual(done["status"]["state"], "DONE")
        return done["status"].get("errorResult")

    def user(self):
        form = dict(self.fake.script["users"][0], grant_type="refresh_token")
        answer = self.fake.ask("POST", "/token", urllib.parse.urlencode(form), {
            "Content-Type": "application/x-www-form-urlencoded"}, token=None)
        return json.loads(answer.body)["access_token"]

    def test_once(self):
        self.fake.set(job_polls=3)
        answer = json.loads(self.send([{"id": "1", "header": {"a": [1, None]}}, {"id": "2"}],
                                      self.job("first")).body)
        self.assertEqual(answer["status"]["state"], "PENDING")
        self.assertEqual(answer["jobReference"], {"projectId": "my-project", "jobId": "first",
                                                  "location": "US"})
        self.assertEqual([self.look("first")["status"]["state"] for _ in range(2)],
                         ["RUNNING", "RUNNING"])
        self.assertEqual(self.fake.rows("irb", "t"), [])
        done = self.look("first")
        self.assertEqual(done["status"], {"state": "DONE"})
        self.assertEqual(done["statistics"]["load"]["outputRows"], "2")
        self.assertEqual([row["header"] for row in self.fake.rows("irb", "t")],
                         [{"a": [1, None]}, None])
        answer = self.send([{"id": "3"}], self.job("first"))
        self.assertEqual(self.reason(answer, 409), "duplicate")
        self.assertEqual(len(self.fake.rows("irb", "t")), 2)

    def test_a_kill(self):
        self.send([{"id": "1"}], self.job("first"))
        self.fake.restart()
        self.assertEqual(self.reason(self.send([{"id": "2"}], self.job("first")), 409),
                         "duplicate")
        self.assertEqual(self.look("first")["status"]["state"], "DONE")
        self.fake.restart()
        self.assertEqual([row["id"] for row in self.fake.rows("irb", "t")], ["1"])
        self.assertEqual(self.look("first")["status"]["state"], "DONE")

    def test_that_ends_unseen(self):
        self.fake.set(job_ms=100)
        self.send([{"id": "1"}])
        time.sleep(0.2)
        self.assertEqual(len(self.fake.rows("irb", "t")), 1)

    def test_gzip(self):
        data = gzip.compress(b'{"id":"1"}\n') + gzip.compress(b'{"id":"2"}\n' * 1000)
        self.assertIsNone(self.ends(data))
        self.assertEqual(len(self.fake.rows("irb", "t")), 1001)
        self.assertEqual(self.ends(data[:-9])["reason"], "invalid")
        self.assertEqual(self.ends(data + b"x")["reason"], "invalid")
        self.assertEqual(len(self.fake.rows("irb", "t")), 1001)

    def test_all_or_nothing(self):
        for bad in (b'{"id":"2"', b"[]", b'{"id":"2","id":"3"}', b'{"id":2}', b'{"id":"2","x":1}',
                    b'{"id":"2","header":"\xff"}', b'{"id":"2","tags":[null]}', b"null",
                    b'{"id":"2","header":"' + b"h" * (10 << 20) + b'"}'):
            with self.subTest(bad[:40]):
                self.assertEqual(self.ends(b'{"id":"1"}\n' + bad)["reason"], "invalid")
        self.assertEqual(self.fake.rows("irb", "t"), [])
        self.assertIsNone(self.ends(b'{"id":"1"}\r\n\n{"id":"2"}'))
        self.assertIsNone(self.ends(b'{"id":"1"}\n{}\n', self.job(maxBadRecords=1)))
        self.assertIsNone(self.ends(b'{"id":"1","x":1}', self.job(ignoreUnknownValues=True)))
        self.assertEqual(len(self.fake.rows("irb", "t")), 4)
        self.assertIsNone(self.ends(b""))

    def test_what_a_job_may_not_be(self):
        for job in (self.job(sourceFormat="CSV"), self.job(sourceUris=["gs://b/o"]),
                    self.job(writeDisposition="APPEND"), self.job(createDisposition="NEVER"),
                    self.job(maxBadRecords="1"), self.job(colour="red"), self.job("a b"),
                    self.job("n" * 1025), self.job("a.b"), self.job(schema={"fields": []}), {},
                    {"configuration": {"query": {}}}, {"configuration": {}},
                    self.job(destinationTable={}), self.job(table="a b")):
            with self.subTest(job):
                self.assertEqual(self.send([], job).status, 400)
        self.assertEqual(self.send([], self.job(dataset="none")).status, 404)
        # A table that is not there is a job that fails.
        self.assertEqual(self.ends([{"id": "1"}], self.job(table="none"))["reason"], "notFound")
        self.assertEqual(self.ends([{"id": "1"}], self.job(schema={"fields": [
            {"name": "id", "type": "INTEGER"}]}))["reason"], "invalid")
        self.assertIsNone(self.ends([{"id": "1"}], self.job(schema={"fields": FIELDS})))

    def test_places(self):
        self.fake.make_dataset("far", location="europe-west6")
        self.fake.make_table("far", "t", FIELDS)
        answer = json.loads(self.send([{"id": "1"}], self.job("one", dataset="far")).body)
        self.assertEqual(answer["jobReference"]["location"], "europe-west6")
        for query, status in (("", 404), ("?location=US", 404), ("?location=europe-west6", 200)):
            self.assertEqual(self.fake.ask("GET", BIGQUERY + "/jobs/one" + query).status, status)
        job = self.job("two", dataset="far")
        job["jobReference"]["location"] = "US"
        self.assertEqual(self.send([], job).status, 404)

    def test_quota(self):
        self.fake.set(loads_a_day=2)
        token = self.user()
        self.assertEqual([self.send([], token=token).status for _ in range(3)], [200, 200, 403])
        self.assertEqual(self.reason(self.send([], token=token), 403), "quotaExceeded")

    def test_faults(self):
        token = self.user()
        self.fake.fault("bigquery.multipart", "job_error", when="1", reason="backendError")
        self.assertEqual(self.send([{"id": "1"}], self.job("one"), token=token).status, 200)
        self.assertEqual(self.look("one")["status"]["errorResult"]["reason"], "backendError")
        self.fake.set(faults=[{"on": "bigquery.multipart", "fault": "lose_reply", "when": "1"}])
        with self.assertRaises(CUT):
            self.send([{"id": "2"}], self.job("two"), token=token)
        answer = self.send([{"id": "2"}], self.job("two"), token=token)
        self.assertEqual(self.reason(answer, 409), "duplicate")
        self.look("two")
        self.assertEqual([row["id"] for row in self.fake.rows("irb", "t")], ["2"])
        self.fake.set(faults=[{"on": "bigquery.*", "fault": "status", "status": 403,
                               "reason": "rateLimitExceeded"}])
        answer = self.send([], token=token)
        self.assertEqual(self.reason(answer, 403), "rateLimitExceeded")
        self.assertEqual(json.loads(answer.body)["error"]["errors"][0]["domain"], "usageLimits")

    def test_resumable(self):
        data = "".join('{"id":"%d"}\n' % i for i in range(60000)).encode()
        for path in ("/upload", "/resumable/upload"):
            answer = self.fake.ask("POST", path + BIGQUERY + "/jobs?uploadType=resumable",
                                   self.job("r" + path[1:2]), {
                                       "X-Upload-Content-Length": str(len(data))})
            place = answer.headers["location"][len(self.fake.origin):]
            self.assertEqual(self.chunk(place, data[:STEP], "0-%d/%d" % (
                STEP - 1, len(data))).status, 308)
            self.fake.restart()
            answer = self.chunk(place, data[STEP:], "%d-%d/%d" % (STEP, len(data) - 1, len(data)))
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(json.loads(answer.body)["jobReference"]["jobId"], "r" + path[1:2])
            self.look("r" + path[1:2])
        self.assertEqual(len(self.fake.rows("irb", "t")), 120000)
        answer = self.fake.ask("POST", "/upload" + BIGQUERY + "/jobs?uploadType=resumable",
                               self.job("ru"))
        self.assertEqual(answer.status, 409)


class Junk(Case):
    """Nothing that is sent brings it down; its build has sanitizers."""

    def requests(self):
        self.fake.make_dataset("irb")
        self.fake.make_table("irb", "t", FIELDS)
        self.fake.set(metadata={"project": "my-project", "email": google.EMAIL})
        head = "Host: x\r\nAuthorization: Bearer %s\r\nMetadata-Flavor: Google\r\n" % google.ADMIN
        multipart = ("--b0\r\nContent-Type: application/json\r\n\r\n%s\r\n--b0\r\nContent-Type: "
                     "a/b\r\n\r\n{\"id\":\"1\",\"at\":\"2024-01-01T01:02:03.5+01:00\"}\r\n--b0--")
        place = self.session(X_Upload_Content_Length="524288")
        bodies = [
            ("POST", UPLOAD + "?uploadType=multipart", "multipart/related; boundary=b0",
             multipart % '{"name":"x","metadata":{"a":"b"},"crc32c":"AAAAAA=="}'),
            ("POST", "/upload" + BIGQUERY + "/jobs?uploadType=multipart",
             "multipart/related; boundary=b0", multipart % json.dumps(Jobs.job(self))),
            ("POST", UPLOAD + "?uploadType=resumable&name=%C3%A9", "application/json", "{}"),
            ("PUT", place, "a/b\r\nContent-Range: bytes 0-262143/524288", "z" * STEP),
            ("PUT", place, "a/b\r\nContent-Range: bytes */*", ""),
            ("POST", BIGQUERY + "/datasets/irb/tables/t/insertAll", "application/json",
             '{"rows":[{"insertId":"1","json":{"id":"1","at":"2024-01-01 01:02:03-11:30"}}]}'),
            ("POST", BIGQUERY + "/datasets/irb/tables", "application/json",
             json.dumps(Tables.table(self))),
            ("PATCH", BIGQUERY + "/datasets/irb/tables/t", "application/json",
             json.dumps({"schema": {"fields": FIELDS}})),
            ("POST", "/retry_test", "application/json",
             '{"instructions":{"storage.objects.get":["return-503"]}}'),
            ("POST", "/token", "application/x-www-form-urlencoded",
             "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
             "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.AAAA")]
        for path in ("/storage/v1/b/radiology/o?fields=items(name,a/b),c&prefix=%61&pageToken=7a",
                     "/storage/v1/b/radiology/o/x?alt=media&generation=1",
                     "/computeMetadata/v1/instance/service-accounts/default/token?scopes=a,b",
                     BIGQUERY + "/datasets/irb/tables/t/data?selectedFields=one.x&maxResults=1",
                     BIGQUERY + "/jobs/x?location=US"):
            bodies.append(("GET", path, "a/b\r\nRange: bytes=1-2", ""))
        return [("%s %s HTTP/1.1\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            method, path, head, kind, len(body), body)).encode() for method, path, kind, body in bodies]

    @staticmethod
    def spoil(chance, data, all_of_them):
        way = chance.randrange(6)
        data = bytearray(data)
        if way == 0:
            return bytes(data[:chance.randrange(len(data))])
        if way == 1:
            other = chance.choice(all_of_them)
            return bytes(data[:chance.randrange(len(data))]) + other[chance.randrange(len(other)):]
        if way == 2:
            return chance.randbytes(chance.randrange(2000))
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(min(len(data), 1500))
            if way == 3:
                data[at] = chance.randrange(256)
            elif way == 4:
                data[at:at] = chance.choice([b"%", b"\0", b"{", b'"', b"\r\n", b"/", b"*", b"9" * 30,
                                             b"%2F", b"\xff", b"(" * 40, b"[" * 3000, b"--b0"])
            else:
                del data[at:at + chance.randrange(1, 20)]
        return bytes(data)

    def test_junk(self):
        chance = random.Random(8)
        whole = self.requests()
        for i in range(20000 if google.sendit.LONG else 4000):
            data = self.spoil(chance, chance.choice(whole), whole)
            try:
                with socket.create_connection(("127.0.0.1", self.fake.plain), timeout=30) as link:
                    link.sendall(data)
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(65536):
                        pass
            except OSError:
                pass  # it hung up
            if i % 100 == 0:
                self.assertIsNone(self.fake.process.poll(), i)
        self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology").status, 200)
        self.fake.restart()
        self.assertEqual(self.fake.ask("GET", "/storage/v1/b/radiology").status, 200)


class Clients(google.ClientCase):
    """Google's own clients find here what they find at Google, and we find what they stored."""

    def metadata(self, fake):
        """They ask the metadata server for tokens."""
        fake.set(metadata={"project": "my-project", "email": google.EMAIL})
        return {"GCE_METADATA_HOST": "127.0.0.1:%d" % fake.plain}

    def write(self, data):
        path = os.path.join(self.new_folder(), "file")
        with open(path, "wb") as file:
            file.write(data)
        return path

    def test_storage(self):
        fake = self.start_google()
        env = self.metadata(fake)
        data = os.urandom(3 * STEP + 5)
        stored = self.client(fake, "store", "radiology", "a/é b.tar.gz", self.write(data), "simple",
                             env=env)
        self.assertEqual(fake.objects()["a/é b.tar.gz"]["generation"], stored["generation"])
        fake.put("radiology", "z", b"zzz", {"metadata": {"Case": "é"}})
        found = self.client(fake, "objects", "radiology", env=env)
        self.assertEqual([one["sha256"] for one in found],
                         [hashlib.sha256(part).hexdigest() for part in (data, b"zzz")])
        self.assertEqual([one["metadata"] for one in found], [{"by": "client"}, {"Case": "é"}])
        self.assertEqual(self.client(fake, "objects", "radiology"), found)
        self.assert_discovery(fake)

    def test_resumable(self):
        # To an endpoint that is not Google's this client sends no token with a resumable upload.
        # With chunks it does not always end, also without a fault, though its object is there and the
        # last answer was read: what it stored is looked at each time, and it has to end once.
        ended = False
        for _ in range(6):
            fake = self.start_google(anonymous=1)
            fake.fault("storage.resumable.put", ["status", "reset", "lose_reply"], when="2-3")
            data = os.urandom(7 * STEP + 5)
            try:
                self.client(fake, "store", "radiology", "r", self.write(data), "resumable",
                            env=self.metadata(fake), limit=30)
                ended = True
            except subprocess.TimeoutExpired:
                pass
            self.assertEqual(fake.read("radiology", "r"), data)
            self.assertEqual(fake.objects()["r"]["metadata"], {"by": "client"})
            self.assertGreater(len(fake.asked(op="storage.resumable.put")), 4)
            self.assert_discovery(fake)
            if ended:
                break
        self.assertTrue(ended, "Google's client did not end once")

    def test_bigquery(self):
        fake = self.start_google()
        env = self.metadata(fake)
        fake.make_dataset("irb", location="europe-west6")
        fake.make_table("irb", "t", FIELDS)
        fake.set(job_polls=2)
        rows = [{"id": str(i), "n": i, "header": {"a": [i]}, "tags": ["x"]} for i in range(3)]
        path = self.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        job = self.client(fake, "load", "irb", "t", path, env=dict(env, JOB="one"))
        self.assertEqual(job["jobReference"]["location"], "europe-west6")
        path = self.write(json.dumps(dict(rows[0], id="9", header="{\"a\":9}")).encode())
        self.client(fake, "insert", "irb", "t", path, env=env)
        found = self.client(fake, "rows", "irb", "t", env=env)
        self.assertEqual([(row["id"], row["n"], json.loads(row["header"]), row["tags"])
                          for row in found],
                         [(str(i), i, {"a": [i]}, ["x"]) for i in range(3)] +
                         [("9", 0, {"a": 9}, ["x"])])
        self.assertEqual(self.client(fake, "rows", "irb", "t"), found)
        self.assert_discovery(fake)

    def test_jose(self):
        fake = self.start_google()
        now = int(time.time())
        claims = {"iss": google.EMAIL, "scope": SCOPE, "aud": fake.token_url, "iat": now,
                  "exp": now + 3600}
        text = jwt(os.path.join(self.certs, "account.key"), claims)
        self.assertEqual(self.verify_jwt(fake, text)["payload"], claims)
        with self.assertRaises(AssertionError):
            self.verify_jwt(fake, text, "stranger")
        with self.assertRaises(AssertionError):
            self.verify_jwt(fake, jwt(os.path.join(self.certs, "account.key"),
                                      dict(claims, aud="https://elsewhere")))


if __name__ == "__main__":
    unittest.main()
