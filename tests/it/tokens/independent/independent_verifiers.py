"""Verifies a token of the standard form by code that knows nothing of ours.

    independent_verifiers.py VERIFIER CA AUDIENCE < TOKEN

Prints JSON: `claims`, or `thumbprint`, or `path` of subjects; or `error`.
Ends with 0 where the verifier accepts, else with 1.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]
# What is in the header and the claims of the standard form, and nothing else.
HEADER = {"alg", "typ", "x5t#S256", "kid", "x5c"}
GUIDS = {"org_guid", "space_guid", "app_guid", "cf_instance_guid"}
CLAIMS = {"iss", "sub", "aud", "iat", "nbf", "exp", "jti"} | GUIDS


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Token:
    """The parts of it, not verified."""

    def __init__(self, text):
        self.text = text
        self.parts = text.split(".")
        self.header = json.loads(decode(self.parts[0]))
        self.chain = [
            x509.load_der_x509_certificate(base64.b64decode(der, validate=True)) for der in self.header["x5c"]
        ]

    def leaf_pem(self):
        return self.chain[0].public_bytes(serialization.Encoding.PEM)

    def public_key(self):
        return self.chain[0].public_key()


def pyjwt(token, _ca, audience):
    import jwt

    required = ["exp", "nbf", "iat", "aud", "iss", "sub", "jti"]
    return {
        "claims": jwt.decode(
            token.text, token.public_key(), algorithms=ALGORITHMS, audience=audience, options={"require": required}
        )
    }


def jwcrypto(token, _ca, audience):
    from jwcrypto import jwk, jwt

    key = jwk.JWK.from_pem(token.leaf_pem())
    verified = jwt.JWT(
        jwt=token.text,
        key=key,
        algs=ALGORITHMS,
        check_claims={"aud": audience, "exp": None, "nbf": None, "iat": None, "jti": None},
    )
    return {"claims": json.loads(verified.claims)}


def by_hand(token, _ca, audience):
    """RFC 7515, section 5.2, and RFC 7518, section 3."""
    header, payload, signature = token.parts
    message, key, value = f"{header}.{payload}".encode(), token.public_key(), decode(signature)
    alg = token.header["alg"]
    if alg == "RS256":
        key.verify(value, message, padding.PKCS1v15(), hashes.SHA256())
    elif alg == "PS256":
        key.verify(value, message, padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32), hashes.SHA256())
    elif alg == "EdDSA":
        key.verify(value, message)
    else:
        size, curve, digest = {
            "ES256": (32, "secp256r1", hashes.SHA256()),
            "ES384": (48, "secp384r1", hashes.SHA384()),
        }[alg]
        assert len(value) == 2 * size and key.curve.name == curve
        numbers = (int.from_bytes(half, "big") for half in (value[:size], value[size:]))
        key.verify(encode_dss_signature(*numbers), message, ec.ECDSA(digest))
    # The alphabet without padding, and nothing else, spelled as one would.
    assert all(base64.urlsafe_b64encode(decode(part)).rstrip(b"=").decode() == part for part in token.parts)
    claims, now = json.loads(decode(payload)), time.time()
    assert claims["aud"] == audience and claims["nbf"] <= now <= claims["exp"] and claims["iat"] <= now + 1, claims
    times = [claims[name] for name in ("iat", "nbf", "exp")]
    assert set(token.header) == HEADER and set(claims) == CLAIMS and all(type(time) is int for time in times)
    assert len(decode(claims["jti"])) == 16
    mark = base64.urlsafe_b64encode(token.chain[0].fingerprint(hashes.SHA256())).rstrip(b"=").decode()
    assert token.header["x5t#S256"] == token.header["kid"] == mark, token.header
    # The verifier has the root, or does not trust it.
    assert all(certificate.subject != certificate.issuer for certificate in token.chain)
    return {"claims": claims}


def thumbprint(token, _ca, _audience):
    """By OpenSSL's DER of the leaf."""
    der = subprocess.run(
        ["openssl", "x509", "-outform", "DER"], input=token.leaf_pem(), check=True, capture_output=True
    ).stdout
    return {"thumbprint": base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()}


def policy_builder(token, ca, _audience):
    """The path, by the Web PKI's rules as `cryptography` has them."""
    from cryptography.x509.verification import PolicyBuilder, Store

    store = Store(x509.load_pem_x509_certificates(pathlib.Path(ca).read_bytes()))
    verified = PolicyBuilder().store(store).build_client_verifier().verify(token.chain[0], token.chain[1:])
    return {"path": [certificate.subject.rfc4514_string() for certificate in verified.chain]}


def openssl(token, ca, _audience):
    """The path, for clients of TLS."""
    with tempfile.TemporaryDirectory() as folder:
        leaf, others = pathlib.Path(folder, "leaf.pem"), pathlib.Path(folder, "others.pem")
        leaf.write_bytes(token.leaf_pem())
        others.write_bytes(
            b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in token.chain[1:])
        )
        untrusted = ["-untrusted", str(others)] if token.chain[1:] else []
        command = [
            "openssl",
            "verify",
            "-purpose",
            "sslclient",
            "-show_chain",
            "-x509_strict",
            "-CAfile",
            ca,
            *untrusted,
            str(leaf),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    return {"path": [line for line in done.stdout.splitlines() if line.startswith("depth=")]}


VERIFIERS = {
    verifier.__name__: verifier for verifier in (pyjwt, jwcrypto, by_hand, thumbprint, policy_builder, openssl)
}


def main():
    verifier, ca, audience = sys.argv[1:]
    try:
        # As it came: a blank or a line break belongs to no token.
        result = VERIFIERS[verifier](Token(sys.stdin.read()), ca, audience)
    except Exception as error:  # Whatever it is, the verifier has not accepted.
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
    sys.exit("error" in result)


if __name__ == "__main__":
    main()
