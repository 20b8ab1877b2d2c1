"""Two other stacks of TLS as clients: OpenSSL's s_client and GnuTLS's gnutls-cli, and what gnutls-cli-debug finds out by itself."""

import re
import subprocess

from .proxy import Proxy
from .result import Result

_REQUEST = "GET / HTTP/1.0\\r\\n\\r\\n"
_ANSWER = r"hello from the app"

# Where a row says nothing of clients' certificates it is tried without one. A row: mode, what it is, options, what is typed
# first, and what the output has to have.
_S_CLIENT = [
    ("tcp", "TLS 1.3", "-tls1_3", "", _ANSWER),
    ("tcp", "TLS 1.2", "-tls1_2", "", _ANSWER),
    ("tcp", "a key update that wants another one", "-tls1_3", "K\\n", r"KEYUPDATE[\s\S]*" + _ANSWER),
    ("tcp", "a key update", "-tls1_3", "k\\n", r"KEYUPDATE[\s\S]*" + _ANSWER),
    ("tcp", "renegotiation is declined", "-tls1_2", "R\\n", r"no renegotiation"),
    ("tcp", "TLS 1.1 is refused", "-tls1_1 -cipher DEFAULT@SECLEVEL=0", "", r"alert protocol version"),
    ("tcp", "a group that is not ours is refused", "-tls1_3 -groups X448", "", r"alert handshake failure"),
    ("tcp", "SHA-1 alone is refused", "-tls1_2 -cipher DEFAULT@SECLEVEL=0 -sigalgs RSA+SHA1", "", r"alert handshake failure"),
    ("tcp", "CBC alone is refused", "-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", "", r"alert handshake failure"),
    ("tcp", "RSA key exchange is refused", "-tls1_2 -cipher AES128-GCM-SHA256", "", r"alert handshake failure"),
    ("tcp", "a second ClientHello for another group", "-tls1_3 -groups P-521:P-256", "", _ANSWER),
    ("tcp", "small fragments", "-tls1_3 -max_send_frag 512", "", _ANSWER),
    ("tls13", "TLS 1.2 is refused", "-tls1_2", "", r"alert protocol version"),
    ("alpn", "ALPN", "-tls1_3 -alpn h2,http/1.1", "", r"ALPN protocol: http/1.1[\s\S]*" + _ANSWER),
    ("mtls", "no certificate, TLS 1.3", "-tls1_3", "", r"alert certificate required"),
    ("mtls", "no certificate, TLS 1.2", "-tls1_2", "", r"alert (handshake failure|certificate required)"),
    ("mtls", "a certificate with RSA", "-tls1_3 -cert {rsa} -key {rsa_key}", "", _ANSWER),
    ("mtls", "a certificate with P-256", "-tls1_3 -cert {p256} -key {p256_key}", "", _ANSWER),
    ("mtls", "a certificate with Ed25519", "-tls1_2 -cert {ed25519} -key {ed25519_key}", "", _ANSWER),
    ("mtls", "a certificate of another CA", "-tls1_3 -cert {other} -key {other_key}", "", r"alert unknown ca"),
]

# The same for gnutls-cli, by its priority strings.
_GNUTLS = [
    ("tcp", "TLS 1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.3", [], _ANSWER),
    ("tcp", "TLS 1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.2", [], _ANSWER),
    ("tcp", "resumed, TLS 1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.3", ["--resume"], r"This is a resumed session[\s\S]*" + _ANSWER),
    ("tcp", "TLS 1.1 is refused", "NORMAL:-VERS-ALL:+VERS-TLS1.1:%VERIFY_ALLOW_SIGN_WITH_SHA1", [], r"rotocol version"),
    ("tcp", "CBC alone is refused", "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC", [], r"Handshake failed"),
    ("mtls", "a certificate with P-256", "NORMAL", ["--x509certfile", "{p256}", "--x509keyfile", "{p256_key}"], _ANSWER),
    ("mtls", "no certificate", "NORMAL:-VERS-ALL:+VERS-TLS1.3", [], r"Certificate is required"),
]

# What gnutls-cli-debug has to say; the rest it may say as it likes.
_GNUTLS_DEBUG = {
    "for TLS 1.0 (RFC2246) support": "no",
    "for TLS 1.1 (RFC4346) support": "no",
    "for TLS 1.2 (RFC5246) support": "yes",
    "for TLS 1.3 (RFC8446) support": "yes",
    "for certificate chain order": "sorted",
    "for safe renegotiation (RFC5746) support": "yes",
    "for ext master secret (RFC7627) support": "yes",
    "for heartbeat (RFC6520) support": "no",
    "whether the server understands TLS closure alerts": "yes",
    "whether the server supports session resumption": "yes",
    "for anonymous authentication support": "no",
    "for RSA key exchange support": "no",
    "for ephemeral Diffie-Hellman support": "no",
    "for AES-CBC cipher (RFC3268) support": "no",
    "for ARCFOUR 128 cipher (RFC2246) support": "no",
    "for 3DES-CBC cipher (RFC2246) support": "no",
}


def _run(command, typed, pause=0.3):
    # What is typed goes in two parts, so that it comes in records of its own.
    script = f"printf '{typed}'; sleep {pause}; printf '{_REQUEST}'; sleep 2" if typed else f"printf '{_REQUEST}'; sleep 1"
    line = f"({script}) | timeout 20 \"$@\" 2>&1"
    ended = subprocess.run(["sh", "-c", line, "sh", *command], capture_output=True, text=True, errors="replace", check=False, timeout=60)
    return ended.stdout


def _said(pattern, output):
    return [] if re.search(pattern, output, re.IGNORECASE) else [f"{pattern} is not in what it says: …{output[-400:]!r}"]


def attack(binary, credentials, folder):
    """Each row of the tables above."""
    names = {}
    for kind in ("rsa", "p256", "ed25519"):
        names[kind], names[f"{kind}_key"] = map(str, credentials.client(kind))
    # Whom the CA of clients does not vouch for: the instance itself.
    names["other"], names["other_key"] = map(str, credentials.pair("p-384"))
    for mode in dict.fromkeys(row[0] for row in _S_CLIENT + _GNUTLS):
        with Proxy(binary, credentials, mode, folder) as proxy:
            ca = str(credentials.server_ca("rsa-2048"))
            for _, what, options, typed, pattern in (row for row in _S_CLIENT if row[0] == mode):
                options = [option.format(**names) for option in options.split()]
                quiet = [] if "-alpn" in options or typed else ["-quiet"]
                quiet += ["-no_ign_eof"] if quiet else []
                command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", "-CAfile", ca, *quiet, *options]
                yield Result.judged("s_client", mode, what, _said(pattern, _run(command, typed)))
            for _, what, priority, options, pattern in (row for row in _GNUTLS if row[0] == mode):
                options = [option.format(**names) for option in options]
                command = ["gnutls-cli", "--x509cafile", ca, "--priority", priority, *options, "-p", str(proxy.port), "127.0.0.1"]
                yield Result.judged("gnutls-cli", mode, what, _said(pattern, _run(command, "")))
            if mode == "tcp":
                ended = subprocess.run(["gnutls-cli-debug", "-p", str(proxy.port), "127.0.0.1"], capture_output=True, text=True,
                                       check=False, timeout=300)
                found = dict(re.findall(r"^ *(.+?)\.\.\. (.+)$", ended.stdout, re.MULTILINE))
                wrong = [f"{name}: {found.get(name)}, and not {said}" for name, said in _GNUTLS_DEBUG.items() if found.get(name) != said]
                yield Result.judged("gnutls-debug", mode, f"{len(found)} questions", wrong)
            yield Result.judged("clients", mode, "the proxy afterwards", proxy.unwell())
