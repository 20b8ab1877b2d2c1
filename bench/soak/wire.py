"""Connections of clients, each of which can end in every way that a client can: by close_notify, FIN alone or a reset."""

import re
import socket
import ssl
import struct

TIMEOUT = 20
CHUNK = 65536


class Broken(Exception):
    """The other side did not do what it has to."""


class Plain:
    """A connection without TLS."""

    def __init__(self, address, timeout=TIMEOUT):
        self.socket = dial(address, timeout)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """Some bytes; none at the end."""
        return self.socket.recv(CHUNK)

    def end_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        # No lingering: what is left is thrown away, and the other side told so.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close() if kind is None else self.reset()


class Tls(Plain):
    """A TLS session over buffers of its own, so that close_notify can be sent and what follows be read."""

    def __init__(self, address, context, name="127.0.0.1", session=None, timeout=TIMEOUT):
        super().__init__(address, timeout)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name, session=session)
        try:
            self._step(self.tls.do_handshake)
        except BaseException:
            self.socket.close()
            raise

    def _flush(self):
        if self.outgoing.pending:
            self.socket.sendall(self.outgoing.read())

    def _step(self, call, *arguments):
        while True:
            try:
                result = call(*arguments)
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError:
                self._flush()
                raise
            data = self.socket.recv(CHUNK)
            self.incoming.write(data) if data else self.incoming.write_eof()

    def send(self, data):
        self._step(self.tls.write, data)

    def receive(self):
        try:
            return self._step(self.tls.read, CHUNK)
        except ssl.SSLZeroReturnError:
            return b""

    def end_sending(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def close(self):
        try:
            self.end_sending()
        except (OSError, ssl.SSLError):
            pass
        self.socket.close()

    def cut(self):
        """FIN without close_notify."""
        self.socket.close()


def dial(address, timeout):
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(address)
    else:
        connection = socket.create_connection(address, timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Http1:
    """HTTP/1.1 over a connection, one request after another."""

    def __init__(self, connection):
        self.connection = connection
        self.rest = b""

    def send(self, method, target, headers=(), body=None, host="app"):
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
        if body is not None:
            head += f"Content-Length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.connection.send(head.encode() + b"\r\n" + (body or b""))

    def send_chunked(self, target, chunks, host="app"):
        self.connection.send(f"POST {target} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for chunk in chunks:
            self.connection.send(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        self.connection.send(b"0\r\n\r\n")

    def some(self):
        data = self.connection.receive()
        self.rest += data
        return data

    def line(self):
        while b"\n" not in self.rest:
            if not self.some():
                raise Broken("end of file in a head" if self.rest else "end of file in place of a response")
        line, self.rest = self.rest.split(b"\n", 1)
        return line.rstrip(b"\r").decode("latin-1")

    def exactly(self, length):
        parts, have = [self.rest], len(self.rest)
        while have < length:
            data = self.connection.receive()
            if not data:
                raise Broken(f"end of file after {have} of {length} bytes")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.rest = whole[length:]
        return whole[:length]

    def head(self):
        """Status and fields of a response, interim ones passed over."""
        while True:
            first = self.line()
            match = re.fullmatch(r"HTTP/1\.[01] (\d{3})( .*)?", first)
            if not match:
                raise Broken(f"no response: {first[:60]!r}")
            fields = {}
            while line := self.line():
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
            status = int(match[1])
            if status >= 200 or status == 101:
                return status, fields

    def response(self, method="GET"):
        status, fields = self.head()
        if method == "HEAD" or status in (204, 304):
            return status, fields, b""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.line().split(";")[0], 16):
                body += self.exactly(size)
                self.line()
            while self.line():
                pass
        elif "content-length" in fields:
            body = self.exactly(int(fields["content-length"]))
        else:
            while self.some():
                pass
            body, self.rest = self.rest, b""
        return status, fields, body

    def ask(self, method, target, headers=(), body=None, host="app", expect=200):
        self.send(method, target, headers, body, host)
        status, fields, answer = self.response(method)
        if expect is not None and status != expect:
            reason = fields.get("vestibule-reason") or fields.get("x-vestibule-reason") or answer[:80]
            raise Broken(f"status {status}, {reason}")
        return fields, answer


class WebSocket:
    """A WebSocket (RFC 6455) of a client, behind its handshake."""

    def __init__(self, http, target="/ws", host="app", headers=()):
        http.send(
            "GET",
            target,
            [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                *headers,
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
            host=host,
        )
        status, fields = http.head()
        if status != 101:
            raise Broken(f"status {status}, {fields.get('vestibule-reason', 'no upgrade')}")
        self.http = http

    def _frame(self, opcode, data):
        # A mask of zeros leaves the data as they are.
        if len(data) < 126:
            length = bytes([0x80 | len(data)])
        else:
            length = bytes([0x80 | 126]) + struct.pack(">H", len(data))
        self.http.connection.send(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + data)

    def receive(self):
        first, length = self.http.exactly(2)
        if length == 126:
            (length,) = struct.unpack(">H", self.http.exactly(2))
        return first & 15, self.http.exactly(length)

    def echo(self, data):
        self._frame(2, data)
        if self.receive() != (2, data):
            raise Broken("another message than was sent")

    def close(self):
        self._frame(8, struct.pack(">H", 1000))
        opcode, _ = self.receive()
        if opcode != 8:
            raise Broken(f"opcode {opcode} in place of a close frame")
