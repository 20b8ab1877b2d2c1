"""Callers of the identity endpoint, readers of files for the app, and scrapers of the admin listeners."""

import json
import re
import time

from wire import Broken, Http1, Plain

JSON = ("Content-Type", "application/json")
ASKED = ("X-Identity-Request", "true")
TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")


class Identity:
    """What an app asks of the identity endpoint, and finds in its files."""

    def __init__(self, world, ledger):
        self.world, self.ledger, self.token = world, ledger, None

    def ask(self, method, target, headers, body=None):
        with Plain(str(self.world.files / "identity.sock")) as connection:
            http = Http1(connection)
            http.send(
                method, target, headers, json.dumps(body).encode() if body is not None else None, host="localhost"
            )
            status, _, answer = http.response()
            return status, json.loads(answer)

    def tokens(self, random):
        kind = random.choice(["identity", "post", "get", "fresh"])
        if kind == "identity":
            status, answer = self.ask("GET", "/identity", [ASKED])
        elif kind == "get":
            status, answer = self.ask("GET", "/token?audience=billing", [ASKED])
        else:
            status, answer = self.ask(
                "POST", "/token", [ASKED, JSON], {"audience": "billing", "fresh": kind == "fresh"}
            )
        if status == 429:
            self.ledger.note("tokens: over the rate")
        elif status != 200 or kind != "identity" and not TOKEN.fullmatch(answer["token"]):
            raise Broken(f"status {status}, {answer.get('error')}")
        elif kind != "identity":
            self.token = answer["token"]

    def verify(self, random):
        if self.token is None:
            return
        audience = random.choice(["billing", "payroll"])
        status, answer = self.ask("POST", "/verify", [ASKED, JSON], {"token": self.token, "audience": audience})
        if status != (200 if audience == "billing" else 403):
            raise Broken(f"status {status}, {answer.get('reason')}")

    def refused(self, random):
        headers, body, expected = random.choice(
            [
                ([JSON], {"audience": "billing"}, 412),
                ([JSON, ASKED, ("X-Forwarded-For", "1.2.3.4")], {"audience": "billing"}, 403),
                ([JSON, ASKED], {"audience": "payroll"}, 403),
                ([JSON, ASKED], {"audience": "billing", "ttl": "1s"}, 400),
                ([ASKED], {"audience": "billing"}, 415),
            ]
        )
        status, answer = self.ask("POST", "/token", headers, body)
        if status != expected:
            raise Broken(f"status {status} in place of {expected}, {answer.get('error')}")

    def broken_off(self, random):
        connection = Plain(str(self.world.files / "identity.sock"))
        connection.send(
            random.choice(
                [
                    b"",
                    b"GET /iden",
                    b"POST /token HTTP/1.1\r\nHost: localhost\r\nX-Identity-Request: true\r\nContent-Length: 50\r\n\r\n{",
                ]
            )
        )
        time.sleep(random.uniform(0, 0.3))
        connection.close()

    def read(self, random):
        """No reader ever finds half of a file, or none."""
        token = (self.world.files / "billing.jwt").read_text()
        if not TOKEN.fullmatch(token):
            raise Broken(f"no token in the file: {len(token)} bytes")
        pair = (self.world.files / "pair.pem").read_text()
        if (
            pair.count("BEGIN PRIVATE KEY") != 1
            or pair.count("BEGIN CERTIFICATE") != pair.count("END CERTIFICATE")
            or not pair.endswith("-----\n")
        ):
            raise Broken("half a pair")


class Secrets:
    """The file of a secret that has a lease."""

    def __init__(self, world, vault):
        self.world, self.vault = world, vault

    def read(self, random):
        """It is one whose lease is in force, at the latest soon after."""
        with Plain(("127.0.0.1", self.world.ports["secrets app"])) as connection:
            until = time.monotonic() + 8
            while True:
                _, value = Http1(connection).ask("GET", "/file")
                if value.decode() in self.vault.good():
                    return
                if time.monotonic() > until:
                    raise Broken("the file has a secret that is not in force")
                time.sleep(0.3)


class Admin:
    """Scrapers and probes, of all instances in turn."""

    def __init__(self, world, instance):
        self.world, self.instance = world, instance

    def scrape(self, random):
        path = random.choice(["/metrics", "/metrics", "/readyz?verbose", "/livez", "/status.json", "/"])
        if self.instance.name == "envoy":
            path = random.choice(["/metrics", "/ready", "/certs", "/status.json"])
        status, body = self.instance.get(path)
        if status != 200 or not body:
            raise Broken(f"status {status} for {path}")
        if path == "/status.json":
            json.loads(body)

    def broken_off(self, random):
        connection = Plain(("127.0.0.1", self.instance.admin))
        connection.send(random.choice([b"", b"GET /met", b"\x16\x03\x01"]))
        connection.reset()
