"""All modes at once: an instance of the program for each, started as its page in docs/ says."""

import json
import signal
import sys
import time
from pathlib import Path

from credentials import Credentials, guid, replace
from process import Log, Process
from wire import Http1, Plain

HERE = Path(__file__).parent
FIXTURE = HERE.parents[1] / "tests/fixtures/diego/mtls-on_http2-on_ports-8080-9090/envoy_config/envoy.yaml"
SECRET = "resources:\n- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  name: {name}\n"


class Instance:
    """One instance, which may be stopped and started again."""

    def __init__(self, name, command, admin, environment=None):
        self.name, self.command, self.admin, self.environment = name, command, admin, environment or {}
        self.log, self.process, self.starts = Log(), None, 0

    def start(self):
        self.process = Process(self.command, self.environment, self.log)
        self.starts += 1
        self.wait_until_ready()

    def wait_until_ready(self, within=30):
        until = time.monotonic() + within
        while not self.ready():
            if not self.process.alive() or time.monotonic() > until:
                tail = "\n".join(line for _, line in list(self.log.lines)[-10:])
                raise RuntimeError(f"{self.name} is not ready:\n{' '.join(map(str, self.command))}\n{tail}")
            time.sleep(0.05)

    def ready(self):
        try:
            return self.get("/ready" if self.name == "envoy" else "/readyz")[0] == 200
        except (OSError, ValueError, RuntimeError):
            return False
        except Exception:
            return False

    def get(self, path, method="GET"):
        """Status and body of the admin listener's answer."""
        with Plain(("127.0.0.1", self.admin), timeout=5) as connection:
            http = Http1(connection)
            http.send(method, path, [("Connection", "close")], b"" if method == "POST" else None, host="localhost")
            status, _, body = http.response(method)
            return status, body

    def metrics(self):
        """Each series with its value."""
        series = {}
        for line in self.get("/metrics")[1].decode().splitlines():
            if line and line[0] != "#":
                name, _, value = line.rpartition(" ")
                series[name] = float(value)
        return series

    def stop(self):
        return self.process.stop(signal.SIGTERM, within=20)


class World:
    """Instances, apps, credentials and ports of one run."""

    def __init__(self, program, root, first_port):
        self.program, self.root, self.port = program, root, first_port
        self.instances, self.apps, self.credentials, self.ports = {}, {}, {}, {}
        self.ca = self.own("ca")
        for client in ("client", "guest", "stranger"):
            self.own(client)
        for port in ("web", "web-plain", "web-envoy", "back"):
            self.take(port)
        self.policies = {"entrypoint": root / "entrypoint.toml", "http": root / "routes.toml"}
        self.guest_since = None
        self.write_policies(guest=True)
        self.web_command = [
            sys.executable,
            HERE / "app.py",
            *(self.ports[name] for name in ("web", "web-plain", "web-envoy")),
        ]
        self.back_command = [sys.executable, HERE / "app.py", self.ports["back"]]

    def own(self, name, app=None, key="p-256"):
        self.credentials[name] = Credentials(self.program, self.root, name, app, key)
        return self.credentials[name]

    def take(self, name):
        """A port of our own; below those that the kernel gives to clients."""
        self.port += 1
        self.ports[name] = self.port
        return self.port

    def write_policies(self, guest):
        """Whether the guest may come in is what changes."""
        self.guest_since = time.monotonic() if guest else None
        allowed = [f"cf:app:{guid(name)}" for name in (["client", "guest"] if guest else ["client"])]
        replace(self.policies["entrypoint"], f"allow = {json.dumps(allowed)}\n")
        routes = f'[[route]]\npath = "/"\nallow = ["any", "anonymous"]\n\n[[route]]\npath = "/guest"\nallow = {json.dumps(allowed)}\n'
        replace(self.policies["http"], routes)

    def guest_admitted_throughout(self, seconds):
        """Whether the rules have had the guest in them for so long."""
        return self.guest_since is not None and time.monotonic() - self.guest_since > seconds

    def add(self, name, command, *options, app=(), pair=True, environment=None, key="p-256", of=None):
        admin = self.take(name + " admin")
        arguments = [self.program, command, "--admin", f"127.0.0.1:{admin}", "--admin-actions", "drain,reload,loglevel"]
        arguments += ["--log-format", "json", "--access-log", "all"]
        if pair:
            own = self.own(name, of, key)
            arguments += ["--cert", own.cert, "--key", own.pem_key]
        arguments += options
        if app:
            arguments += ["--", sys.executable, HERE / "app.py", *app]
        self.instances[name] = Instance(name, arguments, admin, environment)

    def listen(self, name):
        return ["--listen", f"127.0.0.1:{self.take(name)}"]

    def describe(self):
        """Every instance there is."""
        clients = ["--client-ca", self.ca.ca]
        for name in ("entrypoint", "passing"):
            app = self.take(name + " app")
            self.add(
                name,
                "run",
                *self.listen(name),
                "--app",
                app,
                *clients,
                "--policy",
                self.policies["entrypoint"],
                "--proxy-protocol",
                "v2",
                "--memory-limit",
                "128M",
                app=["--proxy-protocol", app],
            )
        self.add(
            "http",
            "proxy",
            *self.listen("http"),
            "--app",
            self.ports["web"],
            "--mode",
            "http",
            "--client-auth",
            "request",
            *clients,
            "--policy",
            self.policies["http"],
            "--caller-headers",
            "--threads",
            "2",
            "--memory-limit",
            "128M",
            key="rsa-2048",
        )
        self.add(
            "plain",
            "proxy",
            *self.listen("plain"),
            "--app",
            self.ports["web-plain"],
            "--tls",
            "off",
            "--mode",
            "http",
            "--router-xfcc",
            "sanitize-set",
            "--allow",
            "any,anonymous",
            pair=False,
        )
        callers = ["--allow-app", guid("outbound"), "--allow-app", guid("forward")]
        for name in ("backend-a", "backend-b"):
            self.add(name, "proxy", *self.listen(name), "--app", self.ports["back"], *clients, *callers, of="backend")
        self.add("outbound", "proxy", *self.listen("outbound"), "--app-ready", "off", "--config", self.outbound_file())
        self.add(
            "forward",
            "proxy",
            *self.listen("forward"),
            "--app-ready",
            "off",
            "--forward-proxy",
            self.take("forward-proxy"),
            "--forward-proxy-to",
            ",".join(f"localhost:{self.ports[name]}=cf:app:{guid('backend')}" for name in ("backend-a", "backend-b")),
            "--outbound-server-name",
            "off",
            "--forward-proxy-allow-address",
            "127.0.0.0/8,::1/128",
        )
        self.describe_identity()
        self.describe_secrets()
        self.describe_envoy()

    def outbound_file(self):
        to = json.dumps([f"127.0.0.1:{self.ports[name]}" for name in ("backend-a", "backend-b")])
        path = self.root / "outbound.toml"
        path.write_text(
            "".join(
                f'[[outbound]]\nlisten = "127.0.0.1:{self.take(f"outbound-{protocol}")}"\nto = {to}\n'
                f'expect = "cf:app:{guid("backend")}"\nprotocol = "{protocol}"\n'
                for protocol in ("tcp", "http1")
            )
        )
        return path

    def describe_identity(self):
        self.files = self.root / "files"
        self.files.mkdir(mode=0o700)
        app = self.take("identity app")
        self.add(
            "identity",
            "run",
            *self.listen("identity"),
            "--app",
            app,
            "--identity-listen",
            f"unix:{self.files / 'identity.sock'}",
            "--identity-audience",
            "vault,billing",
            "--identity-ttl",
            "30s",
            "--identity-rate",
            "5/s",
            "--token-ca",
            self.ca.ca,
            "--identity-file",
            f"billing={self.files / 'billing.jwt'}",
            "--credential-file",
            f"pem={self.files / 'pair.pem'}",
            "--on-rotation",
            "signal:HUP",
            app=[app],
        )

    def describe_secrets(self):
        app = self.take("secrets app")
        (self.root / "file-secret").write_text("of a file\n")
        environment = {
            "KV_PASSWORD": "vault:secret/data/app#password",
            "LEASED": "vault:database/creds/app#password?file",
            "FROM_FILE": f"file:{self.root / 'file-secret'}",
        }
        self.own("vault")
        self.add(
            "secrets",
            "run",
            *self.listen("secrets"),
            "--app",
            app,
            "--resolve",
            "vault,file",
            "--secret-signal",
            "HUP",
            "--vault-addr",
            f"https://127.0.0.1:{self.take('vault')}",
            "--vault-method",
            "cert",
            "--vault-role",
            "soak",
            "--vault-ca",
            self.ca.ca,
            environment=environment,
            app=["--file", "$LEASED", app],
        )

    def describe_envoy(self):
        self.diego = self.root / "envoy_config"
        self.diego.mkdir()
        for name in ("envoy-id", "envoy-c2c"):
            self.own(name, "envoy", "rsa-2048")
        self.write_sds("id"), self.write_sds("c2c")
        self.write_validation()
        ports = {port: self.take(f"envoy {port}") for port in (61001, 61002, 61443, 61003)}
        ports[8080] = ports[9090] = self.ports["web-envoy"]
        text = FIXTURE.read_text().replace("/etc/cf-assets/envoy_config", str(self.diego))
        text = text.replace("10.255.117.107", "127.0.0.1").replace("address: 0.0.0.0", "address: 127.0.0.1")
        for was, port in ports.items():
            text = text.replace(f"port_value: {was}\n", f"port_value: {port}\n")
        (self.diego / "envoy.yaml").write_text(text)
        command = [
            self.program,
            "envoy",
            "-c",
            self.diego / "envoy.yaml",
            "--drain-time-s",
            "900",
            "--log-level",
            "info",
        ]
        environment = {"VESTIBULE_LOG_FORMAT": "json", "VESTIBULE_ACCESS_LOG": "all"}
        self.instances["envoy"] = Instance("envoy", command, ports[61003], environment)

    def write_sds(self, which):
        own = self.credentials[f"envoy-{which}"]
        block = {
            name: "".join(f"        {line}\n" for line in path.read_text().splitlines())
            for name, path in (("chain", own.cert), ("key", own.pem_key))
        }
        replace(
            self.diego / f"sds-{which}-cert-and-key.yaml",
            SECRET.format(name=f"{which}-cert-and-key")
            + f"  tls_certificate:\n    certificate_chain:\n      inline_string: |\n{block['chain']}    private_key:\n      inline_string: |\n{block['key']}",
        )

    def write_validation(self):
        roots = "".join(f"        {line}\n" for line in self.ca.ca.read_text().splitlines())
        replace(
            self.diego / "sds-id-validation-context.yaml",
            SECRET.format(name="id-validation-context")
            + f"  validation_context:\n    trusted_ca:\n      inline_string: |\n{roots}",
        )

    def start_app(self, name):
        """`web` and `back` stand beside the proxy."""
        self.apps[name] = Process(self.web_command if name == "web" else self.back_command)
        ports = ("web", "web-plain", "web-envoy") if name == "web" else ("back",)
        until = time.monotonic() + 20
        for port in ports:
            while True:
                try:
                    Plain(("127.0.0.1", self.ports[port])).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.05)

    def stop_all(self):
        statuses = {
            name: instance.stop()
            for name, instance in self.instances.items()
            if instance.process and instance.process.alive()
        }
        for app in self.apps.values():
            app.stop(within=10)
        return statuses
