"""Clients of HTTP mode: HTTP/1.1, HTTP/2, WebSockets, uploads, downloads, and all of them given up in the middle."""

import ssl

from http2 import Http2
from inbound import check_echo, hostile, some_bytes
from wire import Broken, Http1, Plain, Tls, WebSocket


class HttpMode:
    """What clients do at one listener that reads requests; without `contexts` there is no TLS."""

    def __init__(self, world, contexts, gate, ledger, port):
        self.world, self.contexts, self.gate, self.ledger, self.port = world, contexts, gate, ledger, port

    def connect(self, random, alpn=None):
        address = ("127.0.0.1", self.port)
        if self.contexts is None:
            return Plain(address)
        return Tls(address, self.contexts.of(random.choice(["client", None]), alpn))

    def requests(self, random):
        with self.connect(random) as connection:
            http = Http1(connection)
            for _ in range(random.randint(1, 8)):
                kind = random.choice(["get", "head", "post", "chunked", "expect", "stream"])
                if kind in ("get", "head"):
                    fields, _ = http.ask(kind.upper(), "/")
                elif kind == "stream":
                    fields, answer = http.ask("GET", "/stream/5")
                    if answer != b"tick\n" * 5:
                        raise Broken(f"{answer!r}")
                else:
                    body = some_bytes(random, 50000)
                    if kind == "chunked":
                        http.send_chunked("/", [body, body])
                        body += body
                        status, fields, answer = http.response()
                        if status != 200:
                            raise Broken(f"status {status}, {fields.get('vestibule-reason')}")
                    else:
                        fields, answer = http.ask(
                            "POST", "/", [("Expect", "100-continue")] if kind == "expect" else (), body
                        )
                    check_echo(answer, "POST", body)
                if fields.get("connection", "").lower() == "close" or not self.gate.pause(random.uniform(0, 0.2)):
                    return

    def streams(self, random):
        """HTTP/2: several streams at a time, some of which are given up."""
        with self.connect(random, "h2") as connection:
            http = Http2(connection)
            for _ in range(random.randint(1, 3)):
                size = random.choice([10, 40_000, 400_000])
                numbers = [http.request(f"/bytes/{size}") for _ in range(random.randint(1, 5))]
                given_up = numbers.pop() if random.random() < 0.3 else None
                if given_up:
                    http.cancel(given_up)
                for number in numbers:
                    if http.finish(number) != (200, size):
                        raise Broken("another answer than was asked for")
                body = some_bytes(random, 100_000)
                status, _ = http.finish(http.request("/", "POST", body))
                if status != 200:
                    raise Broken(f"status {status}")
                http.ping()
                if http.goaway is not None or not self.gate.pause(random.uniform(0, 0.3)):
                    break

    def streams_cut_off(self, random):
        """A connection with streams under way that ends at once."""
        connection = self.connect(random, "h2")
        try:
            http = Http2(connection)
            for _ in range(3):
                http.request("/bytes/2000000")
            for _ in range(random.randint(1, 8)):
                http.turn()
        finally:
            random.choice([connection.cut, connection.reset])()

    def web_socket(self, random):
        connection = self.connect(random)
        try:
            socket = WebSocket(Http1(connection))
            for _ in range(random.randint(1, 12)):
                socket.echo(some_bytes(random, 5000))
                if not self.gate.pause(random.uniform(0, 0.5)):
                    break
            if random.random() < 0.7:
                socket.close()
                connection.close()
            else:
                connection.reset()
        except BaseException:
            connection.reset()
            raise

    def download(self, random):
        connection = self.connect(random)
        try:
            http = Http1(connection)
            http.send("GET", "/bytes/2000000")
            status, _ = http.head()
            if status != 200:
                raise Broken(f"status {status}")
            how = random.choice(["whole", "slowly", "reset"])
            if how == "whole":
                http.exactly(2_000_000)
            elif how == "slowly":
                for _ in range(10):
                    http.some()
                    if not self.gate.pause(0.3):
                        break
        finally:
            connection.reset()

    def upload_cut_off(self, random):
        connection = self.connect(random)
        connection.send(
            b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\n"
            + random.randbytes(random.choice([10, 200_000]))
        )
        random.choice([connection.close, connection.reset])()

    def refused(self, random):
        """Heads that nobody should send, and paths that are not for everybody: an answer of ours, and never the app's."""
        heads = {
            b"GET / HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
            b"GET / HTTP/1.1\r\nHost: app\r\nHost: other\r\n\r\n": 400,
            b"GET /a/%2e%2e/b HTTP/1.1\r\nHost: app\r\n\r\n": 400,
            b"GET / HTTP/1.1\r\nX-Y : 1\r\nHost: app\r\n\r\n": 400,
            b"GET /guest HTTP/1.1\r\nHost: app\r\n\r\n": 401,
        }
        if self.contexts is None:
            # No routes there: a path is the app's own business.
            heads = {head: status for head, status in heads.items() if b"/guest" not in head and b"%2e" not in head}
        head, expected = random.choice(list(heads.items()))
        address = ("127.0.0.1", self.port)
        with Plain(address) if self.contexts is None else Tls(address, self.contexts.of(None)) as connection:
            connection.send(head)
            status, fields = Http1(connection).head()
            if status != expected or "vestibule-reason" not in fields:
                raise Broken(f"status {status} for {head[:50]!r}")

    def guest(self, random):
        """A route that is for the guest, now and then."""
        with Tls(("127.0.0.1", self.port), self.contexts.of("guest")) as connection:
            http = Http1(connection)
            for _ in range(5):
                http.send("GET", "/guest")
                status, _, _ = http.response()
                if status not in (200, 403):
                    raise Broken(f"status {status}")
                self.ledger.note(f"guest's route: {status}")
                if not self.gate.pause(0.5):
                    break

    def cut_by_the_app(self, random):
        """What the app breaks off must not look whole."""
        try:
            with self.connect(random) as connection:
                http = Http1(connection)
                http.send("GET", "/cut")
                status, fields = http.head()
                if status != 200:
                    raise ConnectionError(f"status {status}, {fields.get('vestibule-reason')}")
                try:
                    http.exactly(1000)
                except (Broken, ConnectionError, ssl.SSLError):
                    return
        except Broken:
            # The half may be cut off with its head.
            return
        raise RuntimeError("half an answer looked whole")

    def garbage(self, random):
        hostile(random, self.port, self.gate, self.contexts.of("client"))
