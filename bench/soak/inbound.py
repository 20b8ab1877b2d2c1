"""Clients of listeners that carry bytes: as an entrypoint, and in the place of Envoy."""

import hashlib
import ssl
import threading

from wire import Broken, Http1, Plain, Tls

# What a client hears that may not come in (docs/clients.md): by RFC 8446, and in the place of Envoy.
DENIED = {"TLSV1_ALERT_ACCESS_DENIED", "SSLV3_ALERT_BAD_CERTIFICATE"}


class Contexts:
    """The TLS settings of each client."""

    def __init__(self, world):
        self.world, self.made, self.lock = world, {}, threading.Lock()

    def of(self, client, alpn=None):
        with self.lock:
            if (client, alpn) not in self.made:
                self.made[client, alpn] = self.make(client, alpn)
            return self.made[client, alpn]

    def make(self, client, alpn):
        context = ssl.create_default_context(cafile=self.world.ca.ca)
        if client:
            own = self.world.credentials[client]
            context.load_cert_chain(own.cert, own.pem_key)
        if alpn:
            context.set_alpn_protocols([alpn])
        return context


def check_echo(answer, method, body):
    expected = f"{method} {len(body)} {hashlib.md5(body, usedforsecurity=False).hexdigest()}\n".encode()
    if answer != expected:
        raise Broken(f"{answer[:60]!r} in place of {expected!r}")


def some_bytes(random, most):
    return random.randbytes(random.choice([1, 100, 1000, most // 10, most]))


class Bytes:
    """What clients do at one listener whose app they speak to through TLS."""

    def __init__(self, world, contexts, gate, ledger, port, client="client"):
        self.world, self.contexts, self.gate, self.ledger = world, contexts, gate, ledger
        self.port, self.client, self.session = port, client, None

    def connect(self, client=None, session=None):
        return Tls(("127.0.0.1", self.port), self.contexts.of(client or self.client), session=session)

    def requests(self, random):
        """Some requests over one connection, with pauses."""
        with self.connect() as connection:
            http = Http1(connection)
            for _ in range(random.randint(1, 8)):
                body = some_bytes(random, 20000)
                fields, answer = http.ask("POST", "/", body=body)
                check_echo(answer, "POST", body)
                if fields.get("connection", "").lower() == "close" or not self.gate.pause(random.uniform(0, 0.2)):
                    return

    def churn(self, random):
        """A connection for one request, often with a resumed session, and an end of any kind."""
        connection = self.connect(session=self.session)
        try:
            Http1(connection).ask("GET", "/")
            self.session = connection.tls.session
            if connection.tls.session_reused:
                self.ledger.note("resumed sessions")
        except BaseException:
            self.session = None
            connection.reset()
            raise
        random.choice([connection.close, connection.cut, connection.reset])()

    def half_close(self, random):
        """Bytes and close_notify; all of it has to come back, and the app's last word behind it."""
        with self.connect() as connection:
            sent = some_bytes(random, 100000)
            connection.send(b"ECHO\n")
            connection.send(sent)
            connection.end_sending()
            back = b""
            while data := connection.receive():
                back += data
            if back != sent + b"END\n":
                raise Broken(f"{len(back)} bytes came back of {len(sent)}")

    def download(self, random):
        """Read to the end, read slowly, or left in the middle."""
        size = random.choice([50_000, 500_000, 2_000_000])
        connection = self.connect()
        try:
            http = Http1(connection)
            http.send("GET", f"/bytes/{size}")
            status, fields = http.head()
            if status != 200 or int(fields["content-length"]) != size:
                raise Broken(f"status {status}")
            how = random.choice(["whole", "slowly", "reset", "cut"])
            if how == "whole":
                http.exactly(size)
                connection.close()
            elif how == "slowly":
                for _ in range(15):
                    http.some()
                    if len(http.rest) >= size or not self.gate.pause(0.2):
                        break
                connection.reset()
            else:
                http.some()
                getattr(connection, how)()
        except BaseException:
            connection.reset()
            raise

    def upload_cut_off(self, random):
        """The app must never take it for a whole one, and nobody may be harmed."""
        connection = self.connect()
        connection.send(
            b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\n"
            + random.randbytes(random.choice([10, 200_000]))
        )
        random.choice([connection.close, connection.cut, connection.reset])()

    def long(self, random):
        """Silent through rotations and changes of rules, and as good as on its first day."""
        with self.connect() as connection:
            http = Http1(connection)
            while True:
                fields, _ = http.ask("GET", "/")
                if fields.get("connection", "").lower() == "close" or not self.gate.pause(random.uniform(5, 20)):
                    return
                if random.random() < 0.1:
                    return

    def stranger(self, random):
        """With a certificate that no rule names, or with none: an alert, whatever else is going on."""
        try:
            with self.connect("stranger") as connection:
                connection.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                connection.receive()
        except ssl.SSLError as error:
            if error.reason not in DENIED:
                raise
            return
        raise Broken("a stranger was let in")

    def nobody(self, random):
        context = self.contexts.of(None)
        try:
            with Tls(("127.0.0.1", self.port), context) as connection:
                connection.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                connection.receive()
        except ssl.SSLError as error:
            # OpenSSL 3.0 has no name of its own for alert 116 with TLS 1.3.
            if "CERTIFICATE_REQUIRED" not in (error.reason or "") and "HANDSHAKE_FAILURE" not in (error.reason or ""):
                raise
            return
        raise Broken("somebody without a certificate was let in")

    def guest(self, random):
        """Sometimes let in, sometimes not, and thrown out in the middle; never half."""
        try:
            with self.connect("guest") as connection:
                http = Http1(connection)
                for _ in range(20):
                    http.ask("GET", "/")
                    if not self.gate.pause(0.3):
                        break
            self.ledger.note("guests let in")
        except ssl.SSLError as error:
            if error.reason not in DENIED:
                raise
            self.ledger.note("guests denied")
        except (Broken, ConnectionError):
            if self.world.guest_admitted_throughout(20):
                raise
            self.ledger.note("guests thrown out")

    def garbage(self, random):
        hostile(random, self.port, self.gate, self.contexts.of(self.client))


def hostile(random, port, gate, context):
    """What no client should do; whatever comes of it is right, as long as nobody else notices."""
    connection = Plain(("127.0.0.1", port))
    try:
        how = random.choice(["nothing", "http", "noise", "part", "record", "stall", "early"])
        if how == "nothing":
            pass
        elif how == "http":
            connection.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
        elif how == "noise":
            connection.send(random.randbytes(random.randint(1, 2000)))
        else:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                pass
            hello = bytearray(outgoing.read())
            if how == "part":
                del hello[random.randint(1, len(hello) - 1) :]
            elif how == "record":
                for _ in range(3):
                    hello[random.randrange(5, len(hello))] ^= random.randint(1, 255)
            connection.send(hello)
            if how == "early":
                return
        # A stall is longer than the others, and shorter than the timeout of handshakes.
        if not gate.pause(random.uniform(2, 6) if how in ("stall", "part") else 0.05):
            return
        connection.socket.settimeout(0.2)
        try:
            while connection.receive():
                pass
        except (OSError, TimeoutError):
            pass
    except ConnectionError:
        pass
    finally:
        random.choice([connection.close, connection.reset])()
