#!/usr/bin/env python3
"""Reads a token from stdin, and prints which app has made it for us.

    vestibule token jwt --audience billing | python3 receiver.py ca.crt billing

Needs cryptography 43 or newer and PyJWT 2.10 or newer.
Left out: CRLs, one use only (replay), roles, a longest life for tokens, and JSON in which a member is there twice.
A token that is bound to a certificate (cnf) is refused, since nobody tells this program who the caller is.
"""

import base64
import sys

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store


class Refused(Exception):
    """What is wrong with a token that the libraries let pass."""


def verify(token, cas, audience):
    """The app that has made `token` for `audience`, as its certificate says. Everything else is an exception."""
    if len(token) > 16384:
        raise Refused("it is too long")
    x5c = jwt.get_unverified_header(token).get("x5c")
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= 6:
        raise Refused("it carries no certificates")
    leaf, *above = [x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in x5c]

    # Signatures, dates and constraints of the whole path, and the leaf's extended key usage (clientAuth).
    PolicyBuilder().store(Store(cas)).build_client_verifier().verify(leaf, above)
    if not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
        raise Refused("its key is not for signatures")

    # From here on the certificate is believed, and the token is not.
    claims = jwt.decode(
        token,
        leaf.public_key(),
        algorithms=algorithms(leaf.public_key()),
        audience=audience,
        leeway=60,
        options={"require": ["exp", "nbf", "iat", "aud", "sub"]},
    )
    if not all(type(claims[name]) is int for name in ("exp", "nbf", "iat")):
        raise Refused("its times are no numbers")
    app = app_of(leaf)
    if claims["sub"] != f"cf:app:{app}":
        raise Refused("it speaks for another app than its certificate")
    if "cnf" in claims:
        raise Refused("it is bound to a certificate, and the caller's is not known here")
    return app


def algorithms(key):
    """The key says which algorithms count, and not the header (RFC 8725, section 3.1)."""
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096:
        return ["RS256", "PS256"]
    curves = {"secp256r1": ["ES256"], "secp384r1": ["ES384"]}
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in curves:
        return curves[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return ["EdDSA"]
    raise Refused("its key signs no tokens")


def app_of(leaf):
    """The GUID in OU=app:GUID. The CN is the instance's; without it the instance is about to stop."""
    units = [unit.value for unit in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    apps = [unit.removeprefix("app:") for unit in units if unit.startswith("app:")]
    if len(apps) != 1 or len(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)) != 1:
        raise Refused("its certificate does not name one app and one instance")
    return apps[0]


def main():
    try:
        path, audience = sys.argv[1:]
    except ValueError:
        sys.exit("usage: receiver.py CA_FILE AUDIENCE < TOKEN")
    with open(path, "rb") as file:
        cas = x509.load_pem_x509_certificates(file.read())
    try:
        app = verify(sys.stdin.read().strip(), cas, audience)
    except Exception as error:  # Whatever a stranger's token brings about is a refusal.
        sys.exit(f"refused: {error}")
    print(f"permit {app}")


if __name__ == "__main__":
    main()
