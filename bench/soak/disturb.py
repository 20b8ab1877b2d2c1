"""What goes on around the instances: rotations, broken files, other rules, signals, and the end of apps and of instances."""

import os
import signal
import threading
import time

from credentials import replace
from process import children
from wire import Broken

# Those that are drained and started again; all others stay, so that their memory has a long history.
PASSING = ["passing", "backend-b"]


class Disturb:
    """What is done to instances while clients are there."""

    def __init__(self, world, vault, disturbances, gate, ledger):
        self.world, self.vault, self.disturbances, self.gate, self.ledger = world, vault, disturbances, gate, ledger
        self.with_pair = [name for name in world.instances if name in world.credentials]
        self.locks = {name: threading.Lock() for name in [*world.instances, "policies"]}

    def rotate(self, random):
        """A new pair, which has to be in service at once."""
        name = random.choice([*self.with_pair, "envoy"])
        with self.locks[name]:
            before = self.generation(name)
            self.write_new(name, random)
            self.eventually(lambda: self.generation(name) > before, 3, f"{name} has not taken the new pair")
        self.ledger.note("rotations")

    def write_new(self, name, random):
        if name == "envoy":
            which = random.choice(["id", "c2c"])
            self.world.credentials[f"envoy-{which}"].rotate()
            self.world.write_sds(which)
        else:
            self.world.credentials[name].rotate()

    def generation(self, name):
        return self.world.instances[name].metrics()["vestibule_credential_generation"]

    def break_pair(self, random):
        """Files that cannot be used: the last good ones stay, which is for the clients to see, and the metrics say so."""
        name = random.choice([*self.with_pair, "envoy"])
        with self.locks[name]:
            if name == "envoy":
                path = self.world.diego / "sds-id-cert-and-key.yaml"
                path.write_text(path.read_text()[: random.randint(200, 1500)])
            else:
                self.world.credentials[name].inject(random.choice(["torn", "mismatch"]))
            usable = lambda: self.world.instances[name].metrics()['vestibule_files_usable{source="certificate"}']
            try:
                self.eventually(lambda: usable() == 0, 6, f"{name} calls a broken pair usable")
            finally:
                self.write_new(name, random) if name != "envoy" else self.world.write_sds("id")
            self.eventually(lambda: usable() == 1, 3, f"{name} does not take the good pair after a broken one")
        self.ledger.note("broken pairs")

    def change_policy(self, random):
        """The guest comes and goes; now and then the files are none, which changes nothing."""
        with self.locks["policies"]:
            if random.random() < 0.2:
                kept = {path: path.read_text() for path in self.world.policies.values()}
                for path in kept:
                    replace(path, random.choice(["allow = [", 'allow = ["cf:ap:1"]\n', 'permit = ["any"]\n']))
                self.gate.pause(4)
                for path, text in kept.items():
                    replace(path, text)
                self.ledger.note("broken policies")
            else:
                self.world.write_policies(guest=self.world.guest_since is None)
                self.ledger.note("changes of policies")

    def reload(self, random):
        instance = random.choice(list(self.world.instances.values()))
        with self.locks[instance.name]:
            if instance.name == "envoy" or random.random() < 0.5:
                instance.process.send(signal.SIGHUP)
            else:
                status, _ = instance.get("/reload", "POST")
                if status != 202:
                    raise Broken(f"status {status} for /reload")
        self.ledger.note("reloads")

    def log_level(self, random):
        instance = random.choice([instance for name, instance in self.world.instances.items() if name != "envoy"])
        with self.locks[instance.name]:
            for level in ("debug", "info"):
                status, _ = instance.get(f"/loglevel?level={level}", "POST")
                if status != 200:
                    raise Broken(f"status {status} for /loglevel")
                self.gate.pause(1)

    def restart_app(self, random):
        """An app dies or is stopped, is not there for a while, and comes back."""
        name = random.choice(["web", "back"])
        window = self.disturbances.begin(f"app {name}")
        try:
            self.world.apps[name].stop(random.choice([signal.SIGKILL, signal.SIGTERM]), within=8)
            self.gate.pause(random.uniform(0, 2))
            self.world.start_app(name)
            listeners = {"web": ["http", "plain", "envoy"], "back": ["backend-a", "backend-b"]}[name]
            for listener in listeners:
                self.eventually(
                    self.world.instances[listener].ready, 15, f"{listener} does not see that the app is back"
                )
        finally:
            self.disturbances.end(window)
        self.ledger.note("restarts of apps")

    def restart_instance(self, random):
        """An instance drains under load and is started again; or its app is killed, with which it ends as well."""
        instance = self.world.instances[random.choice(PASSING)]
        with self.locks[instance.name]:
            window = self.disturbances.begin(instance.name)
            try:
                expected = 0
                if instance.name == "passing" and random.random() < 0.4:
                    os.kill(children(instance.process.pid)[0], signal.SIGKILL)
                    status, expected = instance.process.wait(20), 128 + signal.SIGKILL
                else:
                    status = instance.stop()
                self.gate.pause(random.uniform(0, 2))
                instance.start()
            finally:
                self.disturbances.end(window)
            if status != expected:
                raise Broken(f"{instance.name} has ended with status {status}")
        self.ledger.note("restarts of instances")

    def refuse_leases(self, random):
        """Vault takes leases back, so that the secret has to be replaced."""
        self.vault.refusing = True
        self.gate.pause(12)
        self.vault.refusing = False

    def eventually(self, holds, within, otherwise):
        until = time.monotonic() + within
        while not holds():
            if time.monotonic() > until:
                raise Broken(otherwise)
            time.sleep(0.1)
