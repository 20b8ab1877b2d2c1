"""The app's side: outbound listeners, and the forward proxy."""

from inbound import check_echo, some_bytes
from wire import Broken, Http1, Plain


class Outbound:
    """What an app does at a plaintext listener that leads to others by mutual TLS."""

    def __init__(self, world, gate, ledger, port, kind):
        self.world, self.gate, self.ledger, self.port, self.kind = world, gate, ledger, port, kind

    def connect(self):
        return Plain(("127.0.0.1", self.port))

    def requests(self, random):
        """A client as all are: where a connection that was kept has ended, it asks once more on another."""
        connection = self.connect()
        try:
            http, used = Http1(connection), False
            for _ in range(random.randint(1, 8)):
                body = some_bytes(random, 20000)
                try:
                    fields, answer = http.ask("POST", "/", body=body)
                except (Broken, ConnectionError) as error:
                    if not used or http.rest or "status" in str(error):
                        raise
                    self.ledger.note(f"{self.kind}: a kept connection had ended")
                    connection.close()
                    connection = self.connect()
                    http = Http1(connection)
                    fields, answer = http.ask("POST", "/", body=body)
                check_echo(answer, "POST", body)
                used = True
                if fields.get("connection", "").lower() == "close" or not self.gate.pause(random.uniform(0, 0.3)):
                    break
            connection.close()
        except BaseException:
            connection.reset()
            raise

    def half_close(self, random):
        with self.connect() as connection:
            sent = some_bytes(random, 100000)
            connection.send(b"ECHO\n" + sent)
            connection.end_sending()
            back = b""
            while data := connection.receive():
                back += data
            if back != sent + b"END\n":
                raise Broken(f"{len(back)} bytes came back of {len(sent)}")

    def download(self, random):
        connection = self.connect()
        try:
            http = Http1(connection)
            http.send("GET", "/bytes/1000000")
            status, fields = http.head()
            if status != 200:
                raise Broken(f"status {status}, {fields.get('x-vestibule-reason')}")
            how = random.choice(["whole", "slowly", "reset"])
            if how == "whole":
                http.exactly(1_000_000)
            elif how == "slowly":
                for _ in range(8):
                    http.some()
                    if not self.gate.pause(0.2):
                        break
        finally:
            connection.reset()

    def broken_off(self, random):
        connection = self.connect()
        connection.send(
            random.choice([b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\nxyz"])
        )
        self.gate.pause(random.uniform(0, 0.3))
        random.choice([connection.close, connection.reset])()

    def not_http(self, random):
        """With HTTP, what is none is answered, and nobody is dialled for it."""
        with self.connect() as connection:
            connection.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(40))
            status, _ = Http1(connection).head()
            if status != 400:
                raise Broken(f"status {status}")


class ForwardProxy:
    """Requests that name their server, with its URL or by CONNECT."""

    def __init__(self, world, gate, ledger):
        self.world, self.gate, self.ledger = world, gate, ledger

    def connect(self):
        return Plain(("127.0.0.1", self.world.ports["forward-proxy"]))

    def server(self, random):
        return f"localhost:{self.world.ports[random.choice(['backend-a', 'backend-b'])]}"

    def absolute(self, random, server=None):
        server = server or self.server(random)
        with self.connect() as connection:
            http = Http1(connection)
            for _ in range(random.randint(1, 5)):
                body = some_bytes(random, 20000)
                fields, answer = http.ask("POST", f"http://{server}/", body=body, host=server)
                check_echo(answer, "POST", body)
                if fields.get("connection", "").lower() == "close" or not self.gate.pause(random.uniform(0, 0.3)):
                    return

    def tunnel(self, random, server=None):
        server = server or self.server(random)
        with self.connect() as connection:
            http = Http1(connection)
            http.send("CONNECT", server, host=server)
            status, fields = http.head()
            if status != 200:
                raise Broken(f"status {status}, {fields.get('x-vestibule-reason')}")
            for _ in range(random.randint(1, 4)):
                body = some_bytes(random, 20000)
                try:
                    fields, answer = http.ask("POST", "/", body=body, host=server)
                except (Broken, ConnectionError) as error:
                    if "status" in str(error):
                        raise
                    # Closed in a pause behind a rotation.
                    self.ledger.note("tunnel: had ended")
                    return
                check_echo(answer, "POST", body)
                if fields.get("connection", "").lower() == "close" or not self.gate.pause(random.uniform(0, 0.3)):
                    return

    def refused(self, random):
        target, expected = random.choice(
            [("http://other.example.com/", 403), ("/", 400), ("ftp://localhost/", 400), ("http://localhost:1/", 403)]
        )
        with self.connect() as connection:
            http = Http1(connection)
            http.send("GET", target, host="localhost")
            status, fields, _ = http.response()
            if status != expected or "x-vestibule-reason" not in fields:
                raise Broken(f"status {status} for {target}")

    def broken_off(self, random):
        connection = self.connect()
        server = self.server(random)
        head = random.choice(
            [
                f"CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n",
                f"GET http://{server}/bytes/1000000 HTTP/1.1\r\nHost: {server}\r\n\r\n",
                "GET http",
            ]
        )
        connection.send(head.encode())
        self.gate.pause(random.uniform(0, 0.3))
        random.choice([connection.close, connection.reset])()
