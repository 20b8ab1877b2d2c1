"""Pairs of the proxy, by `vestibule issuer`, and a CA with clients of every kind of key, by openssl."""

import subprocess
from pathlib import Path

_EXTENSIONS = """\
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
"""

# How `openssl genpkey` is asked for each.
_KEYS = {
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "ed25519": ["-algorithm", "ED25519"],
}


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Credentials:
    """A folder with everything that the modes need.

    `pair(kind)` is the proxy's certificate and key; `client_ca`, `client(kind)` are those of clients.
    """

    def __init__(self, binary, folder):
        self._binary, self._folder = binary, Path(folder)
        extensions = self._folder / "extensions.cnf"
        extensions.write_text(_EXTENSIONS)
        self.client_ca, ca_key = self._folder / "client-ca.crt", self._folder / "client-ca.key"
        _openssl("genpkey", *_KEYS["p256"], "-out", ca_key)
        request = self._folder / "request"
        _openssl("req", "-new", "-key", ca_key, "-subj", "/CN=clients", "-out", request)
        _openssl("x509", "-req", "-in", request, "-signkey", ca_key, "-days", 2,
                 "-extfile", extensions, "-extensions", "ca", "-out", self.client_ca)
        for serial, (kind, arguments) in enumerate(_KEYS.items(), 2):
            certificate, key = self.client(kind)
            _openssl("genpkey", *arguments, "-out", key)
            _openssl("req", "-new", "-key", key, "-subj", f"/CN=client-{kind}", "-out", request)
            _openssl("x509", "-req", "-in", request, "-CA", self.client_ca, "-CAkey", ca_key, "-set_serial", serial,
                     "-days", 2, "-extfile", extensions, "-extensions", "client", "-out", certificate)

    def client(self, kind):
        """Certificate and key of the client with this kind of key."""
        return self._folder / f"client-{kind}.crt", self._folder / f"client-{kind}.key"

    def server_ca(self, kind):
        """Who vouches for `pair(kind)`."""
        self.pair(kind)
        return self._folder / kind / "ca.crt"

    def pair(self, kind):
        """Certificate and key of the proxy, as Diego writes them: `kind` as `vestibule issuer --key` has it."""
        folder = self._folder / kind
        if not folder.exists():
            subprocess.run([self._binary, "issuer", folder, "--once", "--key", kind], check=True, capture_output=True)
        return folder / "instance.crt", folder / "instance.key"
