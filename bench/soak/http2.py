"""As much of HTTP/2 (RFC 9113) as a client needs that sends any number of streams at a time and gives some up."""

import struct

from wire import Broken

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 1 << 20
CANCEL = 8

# Huffman codes of the digits (RFC 7541, appendix B).
DIGITS = {f"{digit:05b}": str(digit) for digit in range(3)} | {
    f"{22 + digit:06b}": str(digit) for digit in range(3, 10)
}
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def literal(name, value):
    """A field by RFC 7541, without an index and without Huffman."""
    name, value = name.encode(), value.encode()
    assert len(name) < 127 and len(value) < 127
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def status_of(block):
    """`:status`, which is the first field, from a block that uses no dynamic table."""
    while block[0] >> 5 == 1:
        block = block[1:]
    if block[0] & 0x80:
        return STATUSES[block[0] & 0x7F]
    length = block[1] & 0x7F
    text = block[2 : 2 + length]
    if not block[1] & 0x80:
        return int(text)
    bits, digits = "".join(f"{byte:08b}" for byte in text), ""
    while len(digits) < 3:
        size = 5 if bits[:5] in DIGITS else 6
        digits += DIGITS[bits[:size]]
        bits = bits[size:]
    return int(digits)


class Stream:
    """What has come of one request."""

    def __init__(self, window):
        self.status, self.body, self.done, self.error, self.window = None, 0, False, None, window


class Http2:
    """A connection that speaks HTTP/2."""

    def __init__(self, connection):
        self.connection, self.rest = connection, b""
        self.streams, self.next, self.window, self.initial = {}, 1, 65535, 65535
        self.goaway, self.settled = None, False
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, WINDOW)
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self._frame(SETTINGS, 0, 0, settings))
        while not self.settled:
            self.turn()

    @staticmethod
    def _frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def request(self, path, method="GET", body=b""):
        """Begins a stream, and sends its body as windows have room for it."""
        number, self.next = self.next, self.next + 2
        stream = self.streams[number] = Stream(self.initial)
        fields = [(":method", method), (":scheme", "https"), (":authority", "app"), (":path", path)]
        block = b"".join(literal(*field) for field in fields)
        flags = END_HEADERS | (0 if body else END_STREAM)
        self.connection.send(self._frame(HEADERS, flags, number, block))
        while body and not stream.done:
            room = min(len(body), 16384, self.window, stream.window)
            if room <= 0:
                self.turn()
                continue
            part, body = body[:room], body[room:]
            self.window -= room
            stream.window -= room
            self.connection.send(self._frame(DATA, 0 if body else END_STREAM, number, part))
        return number

    def cancel(self, number):
        self.connection.send(self._frame(RST_STREAM, 0, number, struct.pack(">I", CANCEL)))
        self.streams[number].done = True

    def ping(self):
        self.connection.send(self._frame(PING, 0, 0, b"vestibul"))

    def finish(self, number):
        """The status and the length of the body, once the stream is done."""
        stream = self.streams[number]
        while not stream.done:
            self.turn()
        if stream.error is not None:
            raise Broken(f"stream reset with code {stream.error}")
        del self.streams[number]
        return stream.status, stream.body

    def turn(self):
        """Takes one frame."""
        head = self._exactly(9)
        length, (kind, flags) = int.from_bytes(head[:3], "big"), head[3:5]
        number = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        payload = self._exactly(length)
        stream = self.streams.get(number)
        if kind == DATA:
            if length:
                update = struct.pack(">I", length)
                frames = self._frame(WINDOW_UPDATE, 0, 0, update)
                if stream and not stream.done and not flags & END_STREAM:
                    frames += self._frame(WINDOW_UPDATE, 0, number, update)
                self.connection.send(frames)
            if stream:
                stream.body += length
        elif kind == HEADERS and stream and stream.status is None:
            if not flags & END_HEADERS:
                raise Broken("a head in several frames")
            stream.status = status_of(payload)
        elif kind == RST_STREAM and stream:
            code = int.from_bytes(payload, "big")
            # What was answered before its body was read ends with NO_ERROR (RFC 9113, 8.1).
            stream.done, stream.error = True, None if code == 0 and stream.status else code
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self.connection.send(self._frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            if number == 0:
                self.window += int.from_bytes(payload, "big")
            elif stream:
                stream.window += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        if stream and kind in (DATA, HEADERS) and flags & END_STREAM:
            stream.done = True

    def _settings(self, payload):
        for at in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[at : at + 6])
            if name == 4:
                for stream in self.streams.values():
                    stream.window += value - self.initial
                self.initial = value
        self.settled = True
        self.connection.send(self._frame(SETTINGS, ACK, 0))

    def _exactly(self, length):
        while len(self.rest) < length:
            data = self.connection.receive()
            if not data:
                raise Broken("end of file in HTTP/2")
            self.rest += data
        part, self.rest = self.rest[:length], self.rest[length:]
        return part
