"""Clients that take their time: slowhttptest against HTTP mode, and handshakes that never go on.

While they are there somebody else is served, and afterwards nothing of them is left.
"""

import re
import socket
import ssl
import subprocess
import threading
import time

from .proxy import Proxy
from .result import Result

# Shorter than by default, so that the test sees their end. In seconds.
_PATIENCE = 3
_OPTIONS = ["--http-head-timeout", f"{_PATIENCE}s", "--http-body-timeout", f"{_PATIENCE}s", "--h2-window-timeout", f"{_PATIENCE}s",
            "--idle-timeout", "20s", "--handshake-timeout", f"{_PATIENCE}s"]

_CLIENTS = 400

_KINDS = {
    "heads that never end (slowloris)": ["-H", "-i", "1"],
    "bodies that never end (R-U-Dead-Yet)": ["-B", "-i", "1"],
    "answers that nobody takes": ["-X", "-w", "1", "-y", "2", "-n", "5", "-z", "1", "-k", "3"],
    "ranges": ["-R"],
}


class _Neighbour(threading.Thread):
    """Somebody else, who asks again and again."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self._port, self._over = port, threading.Event()
        self.answers, self.failures = 0, []

    def run(self):
        context = ssl._create_unverified_context()
        while not self._over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=5) as plain:
                    with context.wrap_socket(plain) as client:
                        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        if client.recv(4096).startswith(b"HTTP/1.1 200"):
                            self.answers += 1
                        else:
                            self.failures.append("another answer than 200")
            except OSError as error:
                self.failures.append(str(error))
            self._over.wait(0.05)

    def end(self):
        self._over.set()
        self.join(timeout=10)


def _judged(proxy, neighbour, tool, what, wrong):
    neighbour.end()
    if neighbour.failures or not neighbour.answers:
        wrong.append(f"a neighbour got {neighbour.answers} answers, and failed {len(neighbour.failures)} times: {neighbour.failures[:2]}")
    return Result.judged(tool, proxy.mode, f"{what}: {neighbour.answers} answers for a neighbour, {proxy.memory():.0f} MiB",
                         wrong + proxy.unwell())


def _slowhttptest(proxy, what, options):
    neighbour = _Neighbour(proxy.port)
    neighbour.start()
    ended = subprocess.run(["slowhttptest", *options, "-c", str(_CLIENTS), "-r", "200", "-l", "20", "-p", "5",
                            "-u", f"https://127.0.0.1:{proxy.port}/"], capture_output=True, text=True, check=False, timeout=120)
    output = re.sub(r"\x1b\[[0-9;]*m", "", ended.stdout)
    states = re.findall(r"service available:\s+(\w+)", output)
    wrong = [] if states and set(states) == {"YES"} else [f"service available: {states}"]
    return _judged(proxy, neighbour, "slowhttptest", f"{_CLIENTS} {what}", wrong)


def _half_hellos(proxy):
    """The beginning of a ClientHello, one byte a second, and never the rest."""
    neighbour = _Neighbour(proxy.port)
    neighbour.start()
    clients = []
    for _ in range(_CLIENTS):
        client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        clients.append(client)
    begun, left = time.monotonic(), 0
    while clients and time.monotonic() - begun < 30:
        time.sleep(1)
        still = []
        for client in clients:
            try:
                client.sendall(b"\x00")
                client.settimeout(0.001)
                if client.recv(100):
                    still.append(client)
                    continue
                client.close()
            except TimeoutError:
                still.append(client)
            except OSError:
                client.close()
        clients = still
    left = len(clients)
    for client in clients:
        client.close()
    wrong = [f"{left} were still there after 30 seconds"] if left else []
    return _judged(proxy, neighbour, "slow", f"{_CLIENTS} handshakes that do not go on", wrong)


def attack(binary, credentials, folder):
    """All of them, in HTTP mode."""
    for what, options in _KINDS.items():
        with Proxy(binary, credentials, "http", folder, _OPTIONS) as proxy:
            yield _slowhttptest(proxy, what, options)
    with Proxy(binary, credentials, "http", folder, _OPTIONS) as proxy:
        yield _half_hellos(proxy)
