"""What both stand-ins are: a server on a free port of loopback that answers JSON as Vault does."""

import base64
import http.server
import json
import re
import sys
import threading

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding

UNKNOWN_AUTHORITY = "x509: certificate signed by unknown authority"
INCOMPATIBLE_USAGE = "x509: certificate specifies an incompatible key usage"
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


class Refusal(Exception):
    """An answer that is not 200."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


def blocks(text):
    """The certificates of a PEM text, whatever stands around them."""
    return [x509.load_pem_x509_certificate(block.encode()) for block in BLOCK.findall(text)]


def extension(certificate, kind):
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def is_authority(certificate):
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def serves(certificate):
    """Go's x509.Verify wants serverAuth where nothing else is asked for."""
    usage = extension(certificate, x509.ExtendedKeyUsage)
    any_usage = x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    return usage is None or x509.oid.ExtendedKeyUsageOID.SERVER_AUTH in usage or any_usage in usage


def issued(issuer, certificate):
    """Whether `issuer` has signed `certificate`, by name and key."""
    if issuer.subject != certificate.issuer:
        return False
    key, signed = issuer.public_key(), (certificate.signature, certificate.tbs_certificate_bytes)
    digest = certificate.signature_hash_algorithm
    try:
        if hasattr(key, "curve"):
            key.verify(*signed, ec.ECDSA(digest))
        elif digest is None:
            key.verify(*signed)
        else:
            key.verify(*signed, padding.PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return True


def units(certificate, kind):
    """The values of the OUs that begin with `kind:`, in their order."""
    names = certificate.subject.get_attributes_for_oid(x509.oid.NameOID.ORGANIZATIONAL_UNIT_NAME)
    return [name.value[len(kind) + 1 :] for name in names if name.value.startswith(kind + ":")]


def decode(text):
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def serve(answer):
    """Prints where it is, and answers until stdin ends.

    `answer(method, path, body, address)` gives what 200 carries, or raises a Refusal.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, document = 200, answer(self.command, self.path, body, self.client_address[0])
            except Refusal as refusal:
                status, document = refusal.status, {"errors": [refusal.text]}
            text = json.dumps(document).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = reply

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()
