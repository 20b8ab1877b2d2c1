"""The app: HTTP/1.1, WebSocket and an echo of lines, in plaintext. `app.py [--proxy-protocol] [--file PATH] PORT...`

It stays with HUP, as an app does that is told of new certificates, and ends with TERM when what it does is done.
"""

import argparse
import asyncio
import base64
import hashlib
import os
import signal
import struct

BLOCK = bytes(range(256)) * 256
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class App:
    def __init__(self, options):
        self.options, self.clients = options, set()

    async def client(self, reader, writer):
        task = asyncio.current_task()
        self.clients.add(task)
        try:
            if self.options.proxy_protocol:
                await proxy_header(reader)
            while await self.request(reader, writer):
                pass
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.clients.discard(task)
            writer.close()

    async def request(self, reader, writer):
        line = await reader.readline()
        if line == b"ECHO\n":
            return await echo(reader, writer)
        if not line:
            return False
        method, target, _ = line.decode("latin-1").split(" ", 2)
        fields = {}
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        if "sec-websocket-key" in fields:
            return await web_socket(reader, writer, fields)
        if fields.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length, digest = await body(reader, fields)
        path = target.split("?")[0].split("/")
        if path[1] == "bytes":
            size = int(path[2])
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            while size > 0:
                writer.write(BLOCK[: min(size, len(BLOCK))])
                size -= len(BLOCK)
                await writer.drain()
            return True
        if path[1] == "stream":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(int(path[2])):
                writer.write(b"5\r\ntick\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(b"0\r\n\r\n")
            return True
        if path[1] == "cut":
            # Half of an answer, and a reset.
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await writer.drain()
            writer.transport.abort()
            return False
        text = f"{method} {length} {digest}\n".encode()
        if path[1] == "file":
            with open(self.options.file, "rb") as file:
                text = file.read()
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n".encode() + (b"" if method == "HEAD" else text)
        )
        await writer.drain()
        return fields.get("connection", "").lower() != "close"


async def proxy_header(reader):
    head = await reader.readexactly(16)
    if head[:12] != SIGNATURE:
        raise ValueError("no PROXY header")
    (length,) = struct.unpack(">H", head[14:16])
    await reader.readexactly(length)


async def body(reader, fields):
    length, digest = 0, hashlib.md5(usedforsecurity=False)
    if fields.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            digest.update(await reader.readexactly(size))
            await reader.readexactly(2)
            length += size
        while (await reader.readline()).strip():
            pass
    else:
        left = int(fields.get("content-length", 0))
        while left:
            data = await reader.read(min(left, 65536))
            if not data:
                raise EOFError
            digest.update(data)
            length += len(data)
            left -= len(data)
    return length, digest.hexdigest()


async def echo(reader, writer):
    """Everything back, and a word when the client has ended its sending."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"END\n")
    await writer.drain()
    return False


async def web_socket(reader, writer, fields):
    accept = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + GUID, usedforsecurity=False).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )
    while True:
        first, length = await reader.readexactly(2)
        masked, length = length & 0x80, length & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await reader.readexactly(2))
        mask = await reader.readexactly(4) if masked else b"\0\0\0\0"
        data = await reader.readexactly(length)
        if any(mask):
            data = bytes(byte ^ mask[at & 3] for at, byte in enumerate(data))
        head = bytes([first, len(data)]) if len(data) < 126 else bytes([first, 126]) + struct.pack(">H", len(data))
        writer.write(head + data)
        await writer.drain()
        if first & 15 == 8:
            return False


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxy-protocol", action="store_true")
    parser.add_argument("--file", help="what /file answers; a variable of the environment if it begins with $")
    parser.add_argument("ports", nargs="+", type=int)
    options = parser.parse_args()
    if options.file and options.file.startswith("$"):
        options.file = os.environ[options.file[1:]]
    app, stop = App(options), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    servers = [await asyncio.start_server(app.client, "127.0.0.1", port, backlog=512) for port in options.ports]
    await stop.wait()
    for server in servers:
        server.close()
    if app.clients:
        await asyncio.wait(app.clients, timeout=5)


if __name__ == "__main__":
    asyncio.run(main())
