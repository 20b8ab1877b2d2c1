"""HashiCorp's CF login, as a client sees it: vault-plugin-auth-cf v0.23.1, its checks in their order.

Its CAs are set by `POST /v1/auth/cf/config`, a role by `POST /v1/auth/cf/roles/NAME`, what the CF API knows by
`POST /cf-api`, and the only length of a salt that is taken by `POST /salt`.
"""

import base64
import binascii
import datetime
import ipaddress
import json
import re

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
    extension,
    is_authority,
    issued,
    serve,
    serves,
    units,
)

UTC = datetime.timezone.utc
PLAIN = "%Y-%m-%dT%H:%M:%SZ"
OLDEST, NEWEST = 300, 60
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class State:
    authorities = []
    roles = {}
    # The server takes a salt of any length. A test may want one of its own.
    salt = padding.PSS.AUTO
    # What the CF API answers: None is no answer.
    api = {"apps": None}


def listed(texts):
    """As Go's multierror prints them."""
    lines = "".join(f"\t* {text}\n" for text in texts)
    return f"{len(texts)} error{'s' if len(texts) > 1 else ''} occurred:\n{lines}\n"


def signing_instant(text):
    fraction = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", text)
    for form, candidate in ((PLAIN, fraction and fraction[1] + "Z"), ("%a %b %d %H:%M:%S UTC %Y", text)):
        try:
            return datetime.datetime.strptime(candidate or "", form).replace(tzinfo=UTC)
        except ValueError:
            pass
    raise Refusal(400, f"couldn't parse {text}")


def age(instant):
    now = datetime.datetime.now(UTC)
    seconds = (now - instant).total_seconds()
    said = f"signed at {instant} but received request at {now}"
    if seconds > OLDEST:
        raise Refusal(400, f"request is too old; {said}; allowable seconds old is {OLDEST}")
    if seconds < -NEWEST:
        raise Refusal(400, f"request is too far in the future; {said}; allowable seconds in the future is {NEWEST}")


def leaf_and_issuer(text):
    """Exactly one certificate of a CA and one that is none, in any order."""
    found = blocks(text)
    if len(found) > 2:
        raise Refusal(400, listed([f"expected 2 certs but received {text}"]))
    identities = [certificate for certificate in found if not is_authority(certificate)]
    authorities = [certificate for certificate in found if is_authority(certificate)]
    if not identities:
        raise Refusal(400, listed([f"no identity cert found in {text}"]))
    if not authorities:
        raise Refusal(400, listed(["no intermediate certificate found in "]))
    return identities[0], authorities[0]


def signature_bytes(text):
    parts = text.split(":")
    if len(parts) > 2:
        raise Refusal(400, "invalid signature format")
    if len(parts) == 2 and parts[0] != "v1":
        raise Refusal(400, f'invalid signature version "{parts[0]}"')
    # Without a version it is the old text, in base64url.
    encoded = parts[-1].encode()
    if len(parts) == 1:
        encoded = encoded.translate(bytes.maketrans(b"-_+/", b"+/!!"))
    for at, letter in enumerate(encoded.rstrip(b"=")):
        if letter not in ALPHABET:
            raise Refusal(400, f"illegal base64 data at input byte {at}")
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise Refusal(400, f"illegal base64 data at input byte {len(encoded)}") from None


def signer(certificates, signature, message):
    """The first whose key has made it."""
    faults = []
    for certificate in certificates:
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            faults.append(f"not an rsa public key, it's a {type(key).__name__}")
            continue
        scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=State.salt)
        try:
            key.verify(signature, message, scheme, hashes.SHA256())
            return certificate
        except InvalidSignature:
            faults.append("crypto/rsa: verification error")
    raise Refusal(400, listed(faults))


def verify(leaf, issuer):
    """Go's x509.Verify with the CA that came along as an intermediate."""
    now = datetime.datetime.now(UTC)
    for certificate in (leaf, issuer):
        begins, ends = dates(certificate)
        for wrong, word, bound in (
            (now.timestamp() > ends, "after", ends),
            (now.timestamp() < begins, "before", begins),
        ):
            if wrong:
                then = datetime.datetime.fromtimestamp(bound, UTC)
                text = f"current time {now.strftime(PLAIN)} is {word} {then.strftime(PLAIN)}"
                raise Refusal(400, f"x509: certificate has expired or is not yet valid: {text}")
    known = any(issuer == authority or issued(authority, issuer) for authority in State.authorities)
    if not (known and issued(issuer, leaf)) and not any(issued(authority, leaf) for authority in State.authorities):
        raise Refusal(400, f'{UNKNOWN_AUTHORITY} (possibly because of "crypto/rsa: verification error")')
    if not serves(leaf):
        raise Refusal(400, INCOMPATIBLE_USAGE)


def identity(leaf):
    """Whom the certificate names: instance, app, org, space, address."""
    names = extension(leaf, x509.SubjectAlternativeName)
    addresses = names.get_values_for_type(x509.IPAddress) if names else []
    if len(addresses) != 1:
        raise Refusal(
            500, f"valid CF certs have one IP address, but this has {[str(address) for address in addresses]}"
        )
    found = {}
    for kind, word in (("app", "app"), ("space", "space"), ("organization", "org")):
        values = units(leaf, kind)
        if len(values) > 1:
            raise Refusal(500, f"expected 1 {word} but received {len(values)}")
        found[word] = values[0] if values else ""
    names = leaf.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
    found["instance"] = names[0].value if names else ""
    for word in ("instance", "org", "space", "app"):
        if not found[word]:
            raise Refusal(500, f"no {word} ID on given certificate")
    return found, addresses[0]


def login(body, address):
    try:
        request = json.loads(body)
    except ValueError:
        request = {}
    name = request.get("role") if isinstance(request, dict) else None
    if not name:
        raise Refusal(400, "'role-name' is required")
    role = State.roles.get(name)
    if role is None:
        raise Refusal(500, "no matching role")
    networks = [ipaddress.ip_network(network) for network in role.get("token_bound_cidrs", [])]
    if networks and not any(ipaddress.ip_address(address) in network for network in networks):
        raise Refusal(403, "permission denied")
    for field in ("signature", "cf_instance_cert", "signing_time"):
        if not request.get(field):
            raise Refusal(400, f"'{field}' is required")
    instant = signing_instant(request["signing_time"])
    if not State.authorities:
        raise Refusal(500, "no CA is configured for verifying client certificates")
    age(instant)
    leaf, issuer = leaf_and_issuer(request["cf_instance_cert"])
    # Whatever form the time came in, this one is signed.
    message = (instant.strftime(PLAIN) + request["cf_instance_cert"] + name).encode()
    if signer((leaf, issuer), signature_bytes(request["signature"]), message) is not leaf:
        raise Refusal(400, "signature not generated by identity cert")
    verify(leaf, issuer)
    found, own = identity(leaf)
    if State.api is None:
        raise Refusal(500, "Could not get api /v2/info: connection refused")
    if not role.get("disable_ip_matching") and own != ipaddress.ip_address(address):
        raise Refusal(400, "no matching IP address")
    for word, bound in (
        ("instance", "bound_instance_ids"),
        ("app", "bound_application_ids"),
        ("org", "bound_organization_ids"),
        ("space", "bound_space_ids"),
    ):
        if role.get(bound) and found[word] not in role[bound]:
            raise Refusal(400, f"{word} ID {found[word]} doesn't match role constraints of [{' '.join(role[bound])}]")
    if State.api["apps"] is not None and found["app"] not in State.api["apps"]:
        raise Refusal(400, "app doesn't have any live instances")
    alias = {
        "app_id": found["app"],
        "instance_id": found["instance"],
        "org_id": found["org"],
        "space_id": found["space"],
    }
    return {
        "auth": {
            "client_token": "hvs.stand-in",
            "accessor": "stand-in",
            "policies": ["default", *role.get("policies", [])],
            "lease_duration": 1800,
            "renewable": True,
            "metadata": alias,
        }
    }


def answer(method, path, body, address):
    if path == "/v1/auth/cf/login":
        if method == "GET":
            raise Refusal(405, "unsupported operation")
        return login(body, address)
    document = json.loads(body)
    if path == "/v1/auth/cf/config":
        State.authorities = blocks(document["identity_ca_certificates"])
    elif path == "/salt":
        State.salt = document
    elif path == "/cf-api":
        State.api = document
    elif path.startswith("/v1/auth/cf/roles/"):
        # Stored in lower case, and looked up as it was written.
        State.roles[path.rsplit("/", 1)[1].lower()] = document
    else:
        raise Refusal(404, "no handler for route")
    return {}


if __name__ == "__main__":
    serve(answer)
