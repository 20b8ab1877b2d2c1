"""The proxy, started as the pages for operators say, in each of its modes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from .app import App, free_port

# The options of each mode, the app behind it and the key of its pair. All are options that docs/ shows.
MODES = {
    "tcp": ([], "one-answer", "rsa-2048"),
    "echo": ([], "echo", "rsa-2048"),
    "p256": ([], "one-answer", "p-256"),
    "ed25519": ([], "one-answer", "ed25519"),
    "tls13": (["--tls-min", "1.3"], "one-answer", "rsa-2048"),
    "alpn": (["--alpn", "http/1.1"], "one-answer", "rsa-2048"),
    "request": (["--client-auth", "request", "--client-ca", "{ca}", "--allow", "any,anonymous"], "one-answer", "rsa-2048"),
    "mtls": (["--client-ca", "{ca}", "--allow", "any"], "one-answer", "rsa-2048"),
    "http": (["--mode", "http"], "http", "p-256"),
    "http-mtls": (["--mode", "http", "--client-ca", "{ca}", "--allow", "any"], "http", "p-256"),
    "http-plain": (["--mode", "http", "--tls", "off", "--allow", "any,anonymous"], "http", None),
}


class _AdminConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


class Proxy:
    """A running `vestibule proxy` in one of MODES, with its app. To be used by `with`, which ends it."""

    def __init__(self, binary, credentials, mode, folder, extra=()):
        self.mode = mode
        self.port = free_port()
        options, kind, key = MODES[mode]
        self._app = App(kind)
        self._admin = Path(folder) / f"{mode}.sock"
        pair = ["--cert", credentials.pair(key)[0], "--key", credentials.pair(key)[1]] if key else []
        options = [option.format(ca=credentials.client_ca) for option in options]
        command = [binary, "proxy", *pair, "--listen", f"127.0.0.1:{self.port}", "--app", f"{self._app.port}",
                   "--admin", f"unix:{self._admin}", "--access-log", "all", "--log-format", "json", *options, *extra]
        environment = {"PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, env=environment, text=True)
        self._entries, self._complaints = {}, []
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        waited = subprocess.run([binary, "wait", "--timeout", "30s", "--admin", f"unix:{self._admin}"],
                                capture_output=True, text=True, check=False)
        if waited.returncode != 0:
            self._process.kill()
            raise RuntimeError(f"mode {mode}: the proxy is not ready: {waited.stderr}{self._complaints}")
        # What a first connection opens for good is open then.
        self.connect_once()
        self._until_alone()
        self._descriptors = self.descriptors()

    def _follow(self):
        for line in self._process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                self._complaints.append(line.rstrip())
                continue
            if reason := entry.get("close_reason"):
                self._entries[reason] = self._entries.get(reason, 0) + 1
            if entry.get("level") == "error" or entry.get("close_reason") == "internal":
                self._complaints.append(line.rstrip())

    def connect_once(self):
        """Connects and closes without a byte, as a health check does."""
        socket.create_connection(("127.0.0.1", self.port), timeout=10).close()

    def descriptors(self):
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def memory(self):
        """What it holds now, in MiB (RSS)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def metric(self, name):
        """The sum of a metric's series."""
        connection = _AdminConnection(self._admin)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)", text, re.MULTILINE)
        return sum(map(float, values))

    def unwell(self):
        """What is wrong with it, once those who attacked it are gone: a list, empty if nothing is."""
        if self._process.poll() is not None:
            return [f"it ended with status {self._process.returncode}"]
        wrong = []
        if active := self._until_alone():
            wrong.append(f"{active:.0f} connections are there still")
        deadline = time.monotonic() + 10
        while (more := self.descriptors() - self._descriptors) > 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        if more > 0:
            wrong.append(f"{more} descriptors more than at the start")
        return wrong + self._complaints

    def _until_alone(self):
        """Waits for the end of all connections, and says how many there are still.

        Handshake timeouts and lingering closes of clients that have left take their time.
        """
        deadline = time.monotonic() + 30
        while (active := self.metric("vestibule_connections_active")) and time.monotonic() < deadline:
            time.sleep(0.1)
        return active

    def reasons(self):
        """How often connections closed for each reason."""
        return dict(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(timeout=5)
        self._process.stderr.close()
        self._app.close()
