"""Programs that are started, and what the kernel says of them."""

import collections
import os
import re
import signal
import subprocess
import threading
import time

CLOSED = re.compile(r'"message":"(connection closed|request completed)"')
REASON = re.compile(r'"(?:close_)?reason":"([^"]*)"')
LEVEL = re.compile(r'"level":"(warn|error)"')
MESSAGE = re.compile(r'"message":"([^"]*)"')


class Log:
    """What an instance has logged: the last lines as they are, all others as counts."""

    def __init__(self, keep=4000):
        self.lines = collections.deque(maxlen=keep)
        self.reasons, self.warnings, self.errors = collections.Counter(), collections.Counter(), []
        # The first line of each kind, for whoever asks what is behind a count.
        self.examples = {}

    def follow(self, stream):
        with stream:
            for line in stream:
                line = line.decode("utf-8", "replace").rstrip()
                self.lines.append((time.time(), line))
                if closed := CLOSED.search(line):
                    reason = REASON.search(line)
                    of = "request: " if closed[1].startswith("request") else ""
                    reason = of + (reason[1] if reason else "completed")
                    self.reasons[reason] += 1
                    self.examples.setdefault(reason, line)
                elif level := LEVEL.search(line):
                    message = MESSAGE.search(line)
                    message = message[1] if message else line[:80]
                    self.warnings[message] += 1
                    self.examples.setdefault(message, line)
                    if level[1] == "error":
                        self.errors.append(line)
                elif not line.startswith("{"):
                    # A panic is the only thing that is not said as JSON.
                    self.errors.append(line)

    def between(self, start, end):
        return [line for at, line in list(self.lines) if start <= at <= end]


class Process:
    """A child of ours, in a process group of its own."""

    def __init__(self, command, environment=None, log=None):
        self.log = log
        self.child = subprocess.Popen(
            [str(part) for part in command],
            env={"PATH": os.environ["PATH"], **(environment or {})},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE if log else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )
        if log:
            threading.Thread(target=log.follow, args=[self.child.stderr], daemon=True).start()

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def send(self, which):
        self.child.send_signal(which)

    def wait(self, within):
        """The status once it has ended by itself; `None`: it had to be killed."""
        try:
            return self.child.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def stop(self, which=signal.SIGTERM, within=15):
        """Sends a signal and waits for the end; KILL for the group where it does not come. The status; `None`: killed."""
        self.child.send_signal(which)
        return self.wait(within)

    def kill(self):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()


def usage(pid):
    """Memory in KiB, descriptors, threads and CPU seconds of a process."""
    memory = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("Rss", "Anonymous"):
                memory[name.lower()] = int(rest.split()[0])
    with open(f"/proc/{pid}/stat") as file:
        stat = file.read().rpartition(")")[2].split()
    return {
        "rss": memory["rss"],
        "anonymous": memory["anonymous"],
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(stat[17]),
        "cpu": (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"),
    }


def children(pid):
    """The processes that the main thread of `pid` has started and that have not ended."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def descriptors(pid):
    """What the descriptors of a process are, for whoever wonders why there are more."""
    found = collections.Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        found[re.sub(r":\[\d+\]", "", target)] += 1
    return dict(found)


def threads(pid):
    names = collections.Counter()
    for name in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{name}/comm") as file:
                names[file.read().strip()] += 1
        except OSError:
            continue
    return dict(names)
