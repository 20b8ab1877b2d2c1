"""Who does what, and how often: the mix of one run."""

from disturb import Disturb
from http_mode import HttpMode
from inbound import Bytes, Contexts
from others import Admin, Identity, Secrets
from outbound import ForwardProxy, Outbound
from workers import Worker


def workers(world, vault, disturbances, gate, ledger, seed, pace):
    """All of them, not started yet. `pace` makes all of it slower or faster."""
    contexts, made = Contexts(world), []

    def add(kind, operation, every, *subjects):
        made.append(Worker(kind, operation, every / pace, subjects, gate, ledger, seed))

    for name in ("entrypoint", "passing"):
        clients = Bytes(world, contexts, gate, ledger, world.ports[name])
        slow = 1 if name == "entrypoint" else 3
        add(f"{name}: requests", clients.requests, 1 * slow, name)
        add(f"{name}: churn", clients.churn, 0.4 * slow, name)
        add(f"{name}: half-close", clients.half_close, 2 * slow, name)
        add(f"{name}: download", clients.download, 4 * slow, name)
        add(f"{name}: upload cut off", clients.upload_cut_off, 4 * slow, name)
        add(f"{name}: long", clients.long, 2 * slow, name)
        add(f"{name}: stranger", clients.stranger, 2 * slow, name)
        add(f"{name}: nobody", clients.nobody, 4 * slow, name)
        add(f"{name}: guest", clients.guest, 2 * slow, name)
        add(f"{name}: garbage", clients.garbage, 2 * slow, name)

    for port in (61001, 61002, 61443):
        clients = Bytes(world, contexts, gate, ledger, world.ports[f"envoy {port}"])
        add(f"envoy {port}: requests", clients.requests, 3, "envoy", "app web")
        add(f"envoy {port}: churn", clients.churn, 2, "envoy", "app web")
        add(f"envoy {port}: half-close", clients.half_close, 5, "envoy", "app web")
        add(f"envoy {port}: download", clients.download, 10, "envoy", "app web")
        add(f"envoy {port}: garbage", clients.garbage, 5, "envoy", "app web")
        add(f"envoy {port}: long", clients.long, 5, "envoy", "app web")

    http = HttpMode(world, contexts, gate, ledger, world.ports["http"])
    plain = HttpMode(world, None, gate, ledger, world.ports["plain"])
    for name, clients, slow in (("http", http, 1), ("plain", plain, 2)):
        add(f"{name}: requests", clients.requests, 1 * slow, name, "app web")
        add(f"{name}: web socket", clients.web_socket, 2 * slow, name, "app web")
        add(f"{name}: download", clients.download, 4 * slow, name, "app web")
        add(f"{name}: upload cut off", clients.upload_cut_off, 3 * slow, name, "app web")
        add(f"{name}: refused", clients.refused, 1 * slow, name, "app web")
        add(f"{name}: cut by the app", clients.cut_by_the_app, 5 * slow, name, "app web")
    add("http: streams", http.streams, 1, "http", "app web")
    add("http: streams cut off", http.streams_cut_off, 3, "http", "app web")
    add("http: guest", http.guest, 4, "http", "app web")
    add("http: garbage", http.garbage, 3, "http", "app web")

    for protocol in ("tcp", "http1"):
        app = Outbound(world, gate, ledger, world.ports[f"outbound-{protocol}"], f"outbound {protocol}")
        # A backend that drains is none of their business: there is another one.
        add(f"outbound {protocol}: requests", app.requests, 1, "outbound", "app back")
        add(f"outbound {protocol}: download", app.download, 4, "outbound", "app back")
        add(f"outbound {protocol}: broken off", app.broken_off, 2, "outbound", "app back")
    add(
        "outbound tcp: half-close",
        Outbound(world, gate, ledger, world.ports["outbound-tcp"], "outbound tcp").half_close,
        2,
        "outbound",
        "app back",
    )
    add(
        "outbound http1: not HTTP",
        Outbound(world, gate, ledger, world.ports["outbound-http1"], "outbound http1").not_http,
        5,
        "outbound",
    )

    forward = ForwardProxy(world, gate, ledger)
    add("forward: absolute", forward.absolute, 1.5, "forward", "app back", "backend-b")
    add("forward: tunnel", forward.tunnel, 2, "forward", "app back", "backend-b")
    add("forward: refused", forward.refused, 3, "forward")
    add("forward: broken off", forward.broken_off, 3, "forward", "app back", "backend-b")

    identity = Identity(world, ledger)
    add("identity: tokens", identity.tokens, 0.7, "identity")
    add("identity: verify", identity.verify, 3, "identity")
    add("identity: refused", identity.refused, 3, "identity")
    add("identity: broken off", identity.broken_off, 3, "identity")
    add("identity: files", identity.read, 1, "identity")
    add("secrets: file", Secrets(world, vault).read, 3, "secrets")

    for name, instance in world.instances.items():
        add(f"admin {name}: scrape", Admin(world, instance).scrape, 10, name, "app web", "app back")
    add("admin http: broken off", Admin(world, world.instances["http"]).broken_off, 5, "http")

    disturb = Disturb(world, vault, disturbances, gate, ledger)
    add("rotation", disturb.rotate, 1.5, "passing", "backend-b")
    add("broken pair", disturb.break_pair, 40, "passing", "backend-b")
    add("policy", disturb.change_policy, 12)
    add("reload", disturb.reload, 20, "passing", "backend-b")
    add("log level", disturb.log_level, 30, "passing", "backend-b")
    add("restart of an app", disturb.restart_app, 45)
    add("restart of an instance", disturb.restart_instance, 45)
    add("leases refused", disturb.refuse_leases, 60)
    return made
