"""The form of Comcast's plugin, as we judge it and as that plugin does.

`there` is the plugin's answer: its status and a part of its text, which is empty with 200.
"""

import time

from certificates import CLIENT, DAY, SERVER, Instance, new_key
from jws import ABSENT, b64, b64url, hs256, pkcs1

FORM = "--form", "comcast"

ROLES = """
[[grant]]
allow = ["cf:org:{org}"]
policies = ["read", "list"]
"""

PANIC = 500, "rpc error: code = Unavailable desc = error reading from server: EOF"
CRYPTO = 400, "square/go-jose: error in cryptographic primitive"
USAGE = 400, "Invalid cert key usage"
UNITS = 400, "missing CF cert organizational units"
FINE = 200, ""


def add(world, table):
    # Its CA is the one of the leaf, as the plugin wants it.
    ca = world.file("comcast-ca.pem", world.issuing.pem())
    roles = "--roles", world.file("comcast-roles.toml", ROLES.format(org=world.instance.org))

    def case(name, token, reason, there, *options, **expected):
        table.case(
            f"comcast: {name}",
            token,
            reason,
            *FORM,
            *roles,
            *options,
            ca=expected.pop("ca", ca),
            there=there,
            **expected,
        )

    case("sound", world.comcast(), None, FINE, policies=["read"])
    case("sound, PS256", world.comcast(alg="PS256"), None, FINE, policies=["read"])
    case("x5c of the leaf alone", world.comcast(jwk={"x5c": [b64(world.holder.der)]}), None, FINE)
    only = {name: ABSENT for name in ("kty", "kid", "alg", "n", "e")}
    case("x5c and nothing else in it", world.comcast(jwk=only), None, FINE)
    keys(world, case)
    claims(world, case)
    certificates(world, case)
    policies(world, case)


def keys(world, case):
    holder = world.holder
    numbers = holder.key.private_numbers()
    private = {"d": "AQAB", "p": b64url(numbers.p.to_bytes(128, "big"))}
    case("its private key comes along", world.comcast(jwk=private), "private_key", FINE)
    token = world.comcast()
    case("a byte too many", token + "A", "signature", CRYPTO)
    case("a bit of its signature turned", turned(token), "signature", CRYPTO)
    case(
        "another key has signed it",
        world.comcast(sign=lambda data: pkcs1(new_key("rsa2048"), data)),
        "signature",
        CRYPTO,
    )
    secret = holder.pem().encode()
    case("HS256", world.comcast(header={"alg": "HS256"}, sign=lambda data: hs256(secret, data)), "algorithm", CRYPTO)
    case("none", world.comcast(header={"alg": "none"}).rsplit(".", 1)[0] + ".", "algorithm", CRYPTO)
    case("crit", world.comcast(header={"crit": ["x"]}), "header", CRYPTO)
    url = b64url(holder.der)
    case(
        "x5c in base64url",
        world.comcast(jwk={"x5c": [url]}),
        "x5c",
        (400, "Invalid certificate data or incorrect format"),
    )
    text = b64(holder.der)
    case("white space in x5c", world.comcast(jwk={"x5c": [text[:9] + "\n " + text[9:]]}), "x5c", FINE)
    case("garbage behind the leaf", world.comcast(jwk={"x5c": [text, "garbage"]}), "x5c", FINE)
    case(
        "another certificate behind the leaf",
        world.comcast(jwk={"x5c": [text, b64(world.below().der)]}),
        "untrusted",
        FINE,
    )
    standard = world.token(claims={"Policies": ["read"]})
    # It dies of these.
    case("no JWK", world.comcast(header={"JWK": ABSENT}), "x5c", PANIC)
    case("a token of the standard form", standard, "x5c", PANIC)
    case("JWK without x5c", world.comcast(jwk={"x5c": ABSENT}), "x5c", PANIC)
    case("JWK with an empty x5c", world.comcast(jwk={"x5c": []}), "x5c", PANIC)
    case("JWK with a number for x5c", world.comcast(jwk={"x5c": 1}), "x5c", PANIC)
    case("JWK that is a number", world.comcast(header={"JWK": 1}), "x5c", PANIC)


def claims(world, case):
    now = int(time.time())
    case("exp of 1970", world.comcast(claims={"exp": 1, "iat": ABSENT}), "expired", FINE)
    case("nbf of 2099", world.comcast(claims={"nbf": 4_070_908_800}), "not_yet_valid", FINE)
    case("no nbf", world.comcast(claims={"nbf": ABSENT}), "not_yet_valid", FINE)
    case("the audience of a bank", world.comcast(claims={"aud": "https://bank.example"}), "audience", FINE)
    case("no audience", world.comcast(claims={"aud": ABSENT}), None, FINE)
    case("iat to come", world.comcast(claims={"iat": now + 600}), "issued_in_future", FINE)
    case("no iat", world.comcast(claims={"iat": ABSENT}), None, FINE)
    case("sub of another", world.comcast(claims={"sub": f"cf:app:{Instance().app}"}), "subject_mismatch", FINE)
    case("no sub and no iss", world.comcast(claims={"sub": ABSENT, "iss": ABSENT}), None, FINE)
    bare = dict.fromkeys(
        ("exp", "iat", "aud", "sub", "iss", "jti", "org_guid", "space_guid", "app_guid", "cf_instance_guid"), ABSENT
    )
    case("no exp", world.comcast(claims={"exp": ABSENT}), "too_long", FINE)
    case("no exp, and a day may be asked for", world.comcast(claims={"exp": ABSENT}), None, FINE, "--max-ttl", "24h")
    case("nbf and policies alone", world.comcast(claims=bare), "too_long", FINE)
    case("nbf and policies alone, for a day", world.comcast(claims=bare), None, FINE, "--max-ttl", "24h")
    short = world.below(key="rsa2048", ends=1800)
    case("no exp, and a certificate of half an hour", world.comcast(short, claims={"exp": ABSENT}), None, FINE)
    token = world.comcast()
    once = "--replay-file", str(world.folder / "comcast.replays")
    case("once", token, None, FINE, *once)
    case("twice", token, "replayed", FINE, *once)
    case("no jti, where one use is asked for", world.comcast(claims={"jti": ABSENT}), "replayed", FINE, *once)


def certificates(world, case):
    me = world.instance
    org, space, app = me.units()

    def token(**changes):
        return world.comcast(world.below(key="rsa2048", **changes))

    usage = token(usage=("digital_signature", "key_encipherment"))
    case("no keyAgreement", usage, "key_usage", USAGE)
    case("keyAgreement without digitalSignature", token(usage=("key_encipherment", "key_agreement")), "key_usage", FINE)
    case("no keyUsage", token(usage=None), "key_usage", USAGE)
    case("EKU clientAuth alone", token(extended=(CLIENT,)), None, (500, "incompatible key usage"))
    case("EKU serverAuth alone", token(extended=(SERVER,)), "key_usage", FINE)
    case("two apps", token(units=[org, space, app, f"app:{Instance().app}"], separate=True), "identity_malformed", FINE)
    case("an app that is no GUID", token(units=[org, space, "app:billing"]), "identity_malformed", FINE)
    case("no app", token(units=[org, space]), "identity_missing", UNITS)
    case("an empty app", token(units=[org, space, "app:"]), "identity_malformed", UNITS)
    case("the retirement pair", token(name=None), "retired", FINE)
    case("expired", token(begins=-2 * DAY, ends=-60), "certificate_expired", (500, "x509: certificate has expired"))
    other = "x509: certificate signed by unknown authority"
    root = world.file("comcast-root.pem", world.root.pem())
    case("a root CA, and the chain in x5c", world.comcast(), None, (500, other), ca=root)
    case("a root CA, and another's leaf", token(issuer=world.root), None, FINE, ca=root)
    two = world.file("comcast-two.pem", world.root.pem() + world.issuing.pem())
    case("the CA is the second block", world.comcast(), None, (500, other), ca=two)


def policies(world, case):
    case("two policies", world.comcast(claims={"Policies": ["list", "read"]}), None, FINE, policies=["list", "read"])
    case(
        "a policy that is not granted",
        world.comcast(claims={"Policies": ["admin"]}),
        "policy_not_granted",
        (500, "JWT Policy Not Found"),
    )
    beside = world.comcast(claims={"Policies": ["read", "admin"]})
    case("a policy not granted beside one that is", beside, "policy_not_granted", FINE)
    case(
        "a policy in other letters",
        world.comcast(claims={"Policies": ["READ"]}),
        "policy_not_granted",
        (500, "JWT Policy Not Found"),
    )
    stranger = world.comcast(world.below(key="rsa2048", instance=Instance()))
    case(
        "an organization to which nothing is granted",
        stranger,
        "policy_not_granted",
        (400, "no policies mapped to org:"),
    )


def turned(token):
    """Its signature with a bit turned in the middle."""
    at = len(token) - 100
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
