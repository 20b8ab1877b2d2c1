"""Comcast's plugin, as a client sees it: vault-plugin-auth-cloudfoundry, branch poc, 2019.

Its checks are in their order, and what is wrong with them is wrong here.
Its CA is set by `POST /v1/auth/cf/config`, and policies by `POST /v1/auth/cf/map/organizations/GUID` or
`.../spaces/GUID`.
"""

import base64
import binascii
import datetime
import json
import re
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from certificates import dates
from stand_in import (
    INCOMPATIBLE_USAGE,
    UNKNOWN_AUTHORITY,
    Refusal,
    blocks,
    decode,
    extension,
    issued,
    serve,
    serves,
    units,
)

# How long the process that died takes to come back.
AWAY = 0.3


class State:
    authority = None
    maps = {"organizations": {}, "spaces": {}}
    back = 0.0


def dies():
    """A panic: the process is gone, for everybody."""
    State.back = time.monotonic() + AWAY
    raise gone()


def gone():
    return Refusal(500, "rpc error: code = Unavailable desc = error reading from server: EOF")


def parse(token):
    parts = token.split(".")
    if len(parts) != 3:
        raise Refusal(400, "square/go-jose: compact JWS format must have three parts")
    try:
        header, claims, signature = (decode(part) for part in parts)
        return json.loads(header), json.loads(claims), signature, ".".join(parts[:2]).encode()
    except ValueError as error:
        raise Refusal(400, f"illegal base64 data or JSON: {error}") from None


def leaf_of(header):
    """x5c[0], without asking first whether it is there."""
    try:
        text = header["JWK"]["x5c"][0]
        text = "".join(text.split())
    except (KeyError, IndexError, TypeError, AttributeError):
        dies()
    try:
        return x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise Refusal(400, "Invalid certificate data or incorrect format") from None


def check_signature(header, leaf, signature, message):
    schemes = {
        "RS256": padding.PKCS1v15(),
        "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO),
    }
    scheme, key = schemes.get(header.get("alg")), leaf.public_key()
    if scheme is None or "crit" in header or not isinstance(key, rsa.RSAPublicKey):
        raise Refusal(400, "square/go-jose: error in cryptographic primitive")
    try:
        key.verify(signature, message, scheme, hashes.SHA256())
    except InvalidSignature:
        raise Refusal(400, "square/go-jose: error in cryptographic primitive") from None


def login(body):
    token = json.loads(body).get("jwt")
    if not token:
        raise Refusal(400, "missing jwt")
    header, claims, signature, message = parse(token)
    leaf = leaf_of(header)
    usage = extension(leaf, x509.KeyUsage)
    if usage is None or not usage.key_agreement:
        raise Refusal(400, "Invalid cert key usage")
    check_signature(header, leaf, signature, message)
    asked = claims.get("Policies")
    if not asked:
        raise Refusal(400, "No roles defined")
    # The last of each wins.
    org, space, app = ((units(leaf, kind) or [""])[-1] for kind in ("organization", "space", "app"))
    if not (org and space and app):
        raise Refusal(400, "missing CF cert organizational units")
    if not issued(State.authority, leaf):
        raise Refusal(500, UNKNOWN_AUTHORITY)
    if not serves(leaf):
        raise Refusal(500, INCOMPATIBLE_USAGE)
    begins, ends = dates(leaf)
    if not begins <= time.time() <= ends:
        now = datetime.datetime.now(datetime.timezone.utc)
        raise Refusal(500, f"x509: certificate has expired or is not yet valid: current time {now}")
    mapped = State.maps["organizations"].get(org, []) + State.maps["spaces"].get(space, [])
    if not mapped:
        raise Refusal(400, f"no policies mapped to org:{org} space:{space}")
    if not set(asked) & set(mapped):
        raise Refusal(500, "JWT Policy Not Found")
    # All that are mapped, whatever was asked for; and nobody has looked at exp, nbf or aud.
    return {
        "auth": {
            "client_token": "s.stand-in",
            "policies": mapped,
            "lease_duration": int(ends - time.time()),
            "renewable": True,
        }
    }


def answer(method, path, body, _address):
    if path == "/v1/auth/cf/login" and method != "GET":
        if time.monotonic() < State.back:
            raise gone()
        return login(body)
    if path == "/v1/auth/cf/config":
        # The first block alone.
        State.authority = blocks(json.loads(body)["ca"])[0]
        return {}
    where = re.fullmatch(r"/v1/auth/cf/map/(organizations|spaces)/([^/]+)", path)
    if not where:
        raise Refusal(404, "no handler for route")
    State.maps[where[1]][where[2]] = json.loads(body)["policies"]
    return {}


if __name__ == "__main__":
    serve(answer)
