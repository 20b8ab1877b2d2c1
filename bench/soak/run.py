"""One run: everything is started, load goes on, and every few minutes it stops until all counts are those of idleness."""

import collections
import hashlib
import json
import os
import platform
import shutil
import subprocess
import threading
import time
from pathlib import Path

import mix
from instances import World
from process import descriptors, threads, usage
from vault import Vault
from workers import Disturbances, Gate, Ledger

# What nobody may hold any more when nobody is there.
GAUGES = (
    "vestibule_connections_active",
    "vestibule_http_requests_active",
    "vestibule_http_upgrades_active",
    "vestibule_outbound_connections_active",
    "vestibule_outbound_pool_idle",
    "vestibule_held_memory_bytes",
)


class Events:
    """What happens, one JSON object a line."""

    def __init__(self, path):
        self.file, self.lock = open(path, "w", encoding="utf-8"), threading.Lock()

    def write(self, event, **fields):
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields})
        with self.lock:
            self.file.write(line + "\n")
            self.file.flush()


def settled(metrics):
    """What of `metrics` says that somebody is still there, or that somebody was not counted out."""
    left = {name: value for name, value in metrics.items() if name.split("{")[0] in GAUGES and value}
    for what in ("vestibule_connections", "vestibule_outbound_connections"):
        sums = collections.Counter()
        for name, value in metrics.items():
            for kind in ("opened", "closed"):
                if name.startswith(f"{what}_{kind}_total"):
                    sums[kind] += value
        if sums["opened"] != sums["closed"]:
            left[what] = sums["opened"] - sums["closed"]
    return left


class Run:
    def __init__(self, options):
        self.options = options
        # Sockets are named by absolute paths.
        self.out = Path(options.out).resolve()
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True, mode=0o700)
        self.events = Events(self.out / "events.jsonl")
        self.program = Path(options.program).resolve()
        self.gate, self.disturbances = Gate(), Disturbances()
        self.world = World(self.program, self.out, options.first_port)
        self.ledger = Ledger(self.world, self.disturbances, self.events)
        self.idle, self.stop_sampling = {}, threading.Event()

    def whole(self):
        """The path of its record, once it is over."""
        self.describe()
        try:
            self.start()
            self.begun = time.time()
            threading.Thread(target=self.sample_all, daemon=True).start()
            self.quiet(first=True)
            end = self.begun + self.options.minutes * 60
            while time.time() < end:
                time.sleep(min(self.options.quiet_every * 60, max(0, end - time.time())))
                self.quiet()
            self.gate.end()
        finally:
            self.stop_sampling.set()
            self.finish()
        return self.out / "events.jsonl"

    def describe(self):
        version = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        self.events.write(
            "run",
            version=version.splitlines()[0],
            sha256=hashlib.sha256(self.program.read_bytes()).hexdigest(),
            seed=self.options.seed,
            minutes=self.options.minutes,
            pace=self.options.pace,
            cpus=os.cpu_count(),
            kernel=platform.release(),
            quiet_every=self.options.quiet_every,
        )

    def start(self):
        self.world.describe()
        vault = Vault(self.world.ports["vault"], self.world.credentials["vault"])
        for app in ("web", "back"):
            self.world.start_app(app)
        for instance in self.world.instances.values():
            instance.start()
        self.gate.close(0)
        self.workers = mix.workers(
            self.world, vault, self.disturbances, self.gate, self.ledger, self.options.seed, self.options.pace
        )
        for worker in self.workers:
            worker.start()

    def sample_all(self):
        while not self.stop_sampling.wait(5):
            self.sample("sample")

    def sample(self, event, **fields):
        found = {}
        for name, instance in self.world.instances.items():
            try:
                found[name] = usage(instance.process.pid) | {"start": instance.starts}
            except (OSError, IndexError, KeyError):
                # It is just being started again.
                continue
        own = os.times()
        with self.ledger.lock:
            done = sum(self.ledger.done.values())
            failed = sum(self.ledger.failed.values())
        self.events.write(
            event,
            instances=found,
            driver=round(own.user + own.system, 2),
            load=os.getloadavg()[0],
            done=done,
            failed=failed,
            **fields,
        )

    def quiet(self, first=False):
        """Nobody does anything, and soon every count has to be what it was the first time."""
        left = self.gate.close(40)
        if left:
            self.events.write("stuck", workers=[worker.kind for worker in left])
        began = time.time()
        # Connections that are kept for the next request go after 15 seconds.
        time.sleep(20)
        faults, waiting, counts = {}, set(self.world.instances), {}
        while waiting and time.time() < began + 60:
            for name in sorted(waiting):
                instance = self.world.instances[name]
                used = usage(instance.process.pid)
                counts[name] = {"descriptors": used["descriptors"], "threads": used["threads"]}
                try:
                    faults[name] = settled(instance.metrics())
                except Exception as error:
                    faults[name] = {"metrics": f"{type(error).__name__} {error}"}
                expected = self.idle.get(name)
                if not faults[name] and (counts[name] == expected or first and time.time() > began + 25):
                    self.idle.setdefault(name, counts[name])
                    waiting.discard(name)
                else:
                    faults[name]["counts"] = counts[name] | {"expected": expected}
            time.sleep(1)
        for name in waiting:
            pid = self.world.instances[name].process.pid
            self.events.write(
                "not idle", instance=name, faults=faults[name], descriptors=descriptors(pid), threads=threads(pid)
            )
        self.sample(
            "quiet",
            idle={name: counts[name] for name in counts},
            waited=round(time.time() - began, 1),
            restless=sorted(waiting),
        )
        self.write_counts()
        for name, app in self.world.apps.items():
            if not app.alive():
                self.events.write("app gone", app=name)
        self.gate.open()

    def write_counts(self):
        with self.ledger.lock:
            counts = {name: dict(getattr(self.ledger, name)) for name in ("done", "excused", "failed", "notes")}
        logs = {
            name: {
                "reasons": dict(instance.log.reasons),
                "warnings": dict(instance.log.warnings),
                "errors": instance.log.errors[-20:],
                "examples": dict(instance.log.examples),
            }
            for name, instance in self.world.instances.items()
        }
        self.events.write("counts", logs=logs, idle=self.idle, **counts)

    def finish(self):
        self.gate.end()
        statuses = self.world.stop_all()
        self.write_counts()
        self.events.write("end", statuses=statuses)
