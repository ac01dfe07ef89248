# SPDX-License-Identifier: Apache-2.0
"""tests/fakes/identifier_service for system tests: certificates made by openssl, a service to start,
what it was asked."""
import json
import os
import shutil
import subprocess

import sendit

PROGRAM = os.path.join(os.path.dirname(sendit.program() or ""), "fakes", "identifier_service")
ALLOW = ["network", "sends-phi", "secrets"]
STUDY = "IRB12345"


def openssl(folder, *argv):
    subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True, timeout=60)


def make_certificate(folder, name, ca, subject="/CN=127.0.0.1", san="IP:127.0.0.1",
                     dates=("-days", "2")):
    """NAME.pem and NAME.key, signed by the CA of that name."""
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out",
            name + ".csr", "-subj", subject)
    with open(os.path.join(folder, name + ".ext"), "w") as file:
        file.write("subjectAltName=%s\n" % san)
    openssl(folder, "x509", "-req", "-in", name + ".csr", "-CA", ca + ".pem", "-CAkey", ca + ".key",
            "-CAcreateserial", "-out", name + ".pem", "-extfile", name + ".ext", *dates)


def make_expired(folder, name, ca):
    """A certificate that was good until 2001."""
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out",
            name + ".csr", "-subj", "/CN=127.0.0.1")
    with open(os.path.join(folder, "ca.cnf"), "w") as file:
        file.write("[ca]\ndefault_ca=c\n[c]\nnew_certs_dir=.\ndatabase=index\nserial=serial\n"
                   "default_md=sha256\npolicy=p\nunique_subject=no\nx509_extensions=e\n"
                   "[p]\nCN=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\n")
    open(os.path.join(folder, "index"), "w").close()
    with open(os.path.join(folder, "serial"), "w") as file:
        file.write("77\n")
    openssl(folder, "ca", "-batch", "-config", "ca.cnf", "-cert", ca + ".pem", "-keyfile",
            ca + ".key", "-in", name + ".csr", "-out", name + ".pem", "-startdate",
            "000101000000Z", "-enddate", "010101000000Z", "-notext")


def make_ca(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out",
            name + ".pem", "-days", "2", "-subj", "/CN=test " + name)


def make_certificates(folder):
    for name in ("ca", "other"):
        make_ca(folder, name)
    make_certificate(folder, "server", "ca")
    make_certificate(folder, "client", "ca", "/CN=sendit", "DNS:sendit")
    make_certificate(folder, "stranger", "other", "/CN=sendit", "DNS:sendit")
    make_certificate(folder, "elsewhere", "ca", "/CN=elsewhere.example", "DNS:elsewhere.example")
    make_expired(folder, "expired", "ca")
    return folder


class Service:
    """One that runs; `script` may be written anew at any time."""

    def __init__(self, folder, certs=None, cert="server", script="", **words):
        self.folder, self.certs = folder, certs
        self.log, self.path = os.path.join(folder, "log"), os.path.join(folder, "script")
        self.script(script)
        if certs:
            words.setdefault("cert", os.path.join(certs, cert + ".pem"))
            words.setdefault("key", os.path.join(certs, cert + ".key"))
        self.process = subprocess.Popen(
            [PROGRAM, self.log, self.path] + ["%s=%s" % item for item in words.items()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline().split()
        self.port = int(line[1])
        self.origin = "%s://127.0.0.1:%d" % ("https" if certs else "http", self.port)
        self.url = self.origin + "/identifiers/api/v1"

    def script(self, text):
        with open(self.path + ".new", "w") as file:
            file.write(text)
        os.rename(self.path + ".new", self.path)

    def asked(self):
        """All requests so far."""
        if not os.path.exists(self.log):
            return []
        with open(self.log) as file:
            return [json.loads(line) for line in file]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()


class Case(sendit.Case):
    """A site whose anonymizer asks a service of its own, with TLS."""

    @classmethod
    def setUpClass(cls):
        if not os.path.exists(PROGRAM):
            raise AssertionError("%s is not built: SENDIT_TESTS" % PROGRAM)
        cls.certs = make_certificates(sendit.tempfile.mkdtemp(prefix="sendit-certs-"))
        cls.addClassCleanup(shutil.rmtree, cls.certs, ignore_errors=True)

    def start_service(self, script="", certs=True, **words):
        service = Service(self.new_folder(), self.certs if certs else None, script=script, **words)
        self.addCleanup(service.stop)
        return service

    def stages(self, service, allow=ALLOW, store=None, **config):
        """The shipped pipeline with the service in place of the site key."""
        config = dict({"url": service.url, "study": STUDY,
                       "ca_file": os.path.join(self.certs, "ca.pem")}, **config)
        config = {key: value for key, value in config.items() if value is not None}
        stages = [stage for stage in self.site.stages() if stage["use"] != "local-anonymizer"]
        stages.insert(-1, {"use": "restful-anonymizer", "allow": allow, "config": config})
        if store:
            stages[-1]["config"].update(store)
        return stages

    def use(self, service, run=None, **config):
        members = {"run": dict({"retry_for": "30s"}, **(run or {}))}
        self.site.write_pipeline(self.stages(service, **config), **members)
        return service

    def tokens(self, service, name="site", generation=1, mode=0o600, **more):
        """The file of credentials; returns the value of the option."""
        path = self.site.path("tokens.json")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(dict({"accessToken": "%s-%d" % (name, generation),
                            "refreshToken": "%s-refresh-%d" % (name, generation),
                            "client_id": "sendit",
                            "token_uri": service.origin + "/token/api/v1/refresh"}, **more), file)
        os.chmod(path, mode)
        return "file:" + path

    def start_run(self):
        """A run that goes on; it ends with the test at the latest."""
        process = self.site.start("run", "--json")
        self.addCleanup(lambda: process.poll() is None and (process.kill(),
                                                            process.communicate()))
        return process

    def add_studies(self, n, images=2, first=1):
        for study in range(first, first + n):
            self.site.add_images(images, study=study, patient="11-%05d" % study,
                                 AccessionNumber="ACC%05d" % study)

    def assert_well_asked(self, service, times=None):
        """No request was one that the service would not take."""
        asked = service.asked()
        self.assertEqual([one for one in asked if one["status"] == 400 and not one["fault"]], [])
        if times is not None:
            self.assertEqual(len(asked), times, asked)
