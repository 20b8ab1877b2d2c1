"""A stand-in for Vault: a login by certificate, a secret of KV 2 and one with a lease, all of which end soon."""

import http.server
import json
import secrets
import ssl
import threading
import time

TOKEN_LEASE = 20
SECRET_LEASE = 9


class Vault:
    """It listens on loopback, and shows the pair of `credentials`."""

    def __init__(self, port, credentials):
        self.tokens, self.leases, self.lock = {}, {}, threading.Lock()
        self.counts, self.refusing = {}, False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(credentials.cert, credentials.pem_key)
        context.load_verify_locations(credentials.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        handler = type("Handler", (Handler,), {"vault": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, token, body):
        """Status and document."""
        with self.lock:
            name = path.removeprefix("/v1/")
            self.counts[name] = self.counts.get(name, 0) + 1
            now = time.monotonic()
            if name == "auth/cert/login":
                token = "s." + secrets.token_hex(12)
                self.tokens[token] = now + TOKEN_LEASE
                return 200, {"auth": {"client_token": token, "lease_duration": TOKEN_LEASE, "renewable": True}}
            if self.tokens.get(token, 0) < now:
                return 403, {"errors": ["permission denied"]}
            if name == "auth/token/renew-self":
                self.tokens[token] = now + TOKEN_LEASE
                return 200, {"auth": {"client_token": token, "lease_duration": TOKEN_LEASE, "renewable": True}}
            if name == "auth/token/revoke-self":
                del self.tokens[token]
                for lease in [lease for lease, (holder, _) in self.leases.items() if holder == token]:
                    del self.leases[lease]
                return 204, None
            if name == "secret/data/app":
                return 200, {"data": {"data": {"password": "of KV"}, "metadata": {"version": 1}}}
            if name == "database/creds/app":
                lease, value = "database/creds/app/" + secrets.token_hex(8), secrets.token_hex(16)
                self.leases[lease] = (token, value)
                return 200, {
                    "lease_id": lease,
                    "lease_duration": SECRET_LEASE,
                    "renewable": True,
                    "data": {"password": value},
                }
            if name == "sys/leases/renew":
                lease = json.loads(body)["lease_id"]
                if self.refusing or lease not in self.leases:
                    self.leases.pop(lease, None)
                    return 400, {"errors": ["lease not found"]}
                return 200, {"lease_id": lease, "lease_duration": SECRET_LEASE, "renewable": True}
            return 404, {"errors": []}

    def good(self):
        """Values of leases that are in force."""
        with self.lock:
            return {value for _, value in self.leases.values()}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    vault = None

    def reply(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, document = self.vault.answer(self.path, self.headers.get("X-Vault-Token"), body)
        text = json.dumps(document).encode() if document is not None else b""
        self.send_response(status)
        if text:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = reply

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            pass
