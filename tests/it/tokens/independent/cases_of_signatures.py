"""Check 5: the signature is by the key of x5c[0], over the bytes that came, and as its algorithm says."""

import base64
import json

from cryptography.hazmat.primitives import hashes

from certificates import new_key
from jws import SIGNERS, b64url, ecdsa_der, fixed, other_s, pkcs1, pss, signed_by, to_bytes


def add(world, table):
    rsa, p256, p384 = world.holder, world.below(key="p256"), world.below(key="p384")
    ed25519 = world.below(key="ed25519")

    def case(name, holder, alg, sign, reason="signature"):
        table.case(f"signature: {name}", world.token(holder, alg=alg, sign=sign), reason)

    for key in ("rsa2048", "p256", "p384", "ed25519"):
        holder, stranger = world.below(key=key), new_key(key)
        table.case(f"signature: another {key} key's", world.token(holder, sign=signed_by(stranger)), "signature")
    case("PS256 by a wider key", rsa, "PS256", lambda data: pss(world.keys["rsa3072"], data))
    case("by the issuing CA", p256, "ES256", signed_by(world.issuing.key))
    for salt in (0, 20, 31, 33, 222):
        case(f"PS256 with a salt of {salt}", rsa, "PS256", lambda data, salt=salt: pss(rsa.key, data, salt))
    case("PS256 with MGF1 of SHA-1", rsa, "PS256", lambda data: pss(rsa.key, data, mgf_hash=hashes.SHA1()))
    case("PS256 that is PKCS #1 v1.5", rsa, "PS256", lambda data: pkcs1(rsa.key, data))
    case("RS256 that is PSS", rsa, "RS256", lambda data: pss(rsa.key, data))
    for digest in (hashes.SHA1(), hashes.SHA384(), hashes.SHA512()):
        case(f"RS256 with {digest.name}", rsa, "RS256", lambda data, digest=digest: pkcs1(rsa.key, data, digest))
    case("RS256 with a zero in front", rsa, "RS256", lambda data: b"\0" + pkcs1(rsa.key, data))
    case("RS256 with a zero behind it", rsa, "RS256", lambda data: pkcs1(rsa.key, data) + b"\0")
    case("RS256 a byte short", rsa, "RS256", lambda data: pkcs1(rsa.key, data)[:-1])
    case("RS256 plus the modulus", rsa, "RS256", lambda data: plus_modulus(rsa.key, pkcs1(rsa.key, data)))
    for name, holder, alg, digest, size in (
        ("ES256", p256, "ES256", hashes.SHA256(), 32),
        ("ES384", p384, "ES384", hashes.SHA384(), 48),
    ):
        key = holder.key
        case(f"{name} in DER", holder, alg, lambda data, key=key, digest=digest: ecdsa_der(key, data, digest))
        case(f"{name} of zeros", holder, alg, lambda _, size=size: b"\0" * (2 * size))
        for wide, what in ((size + 1, "a byte wider each"), (66, "as wide as P-521's")):
            case(f"{name} {what}", holder, alg, lambda data, k=key, d=digest, w=wide: fixed(ecdsa_der(k, data, d), w))
        case(
            f"{name} a byte short",
            holder,
            alg,
            lambda data, k=key, d=digest, s=size: fixed(ecdsa_der(k, data, d), s)[:-1],
        )
        case(
            f"{name} with a short r",
            holder,
            alg,
            lambda data, k=key, d=digest, s=size: short(k, data, d, s, keep=True),
            None,
        )
        case(
            f"{name} without the zeros of r",
            holder,
            alg,
            lambda data, k=key, d=digest, s=size: short(k, data, d, s, keep=False),
        )
    case("ES256 with SHA-384", p256, "ES256", lambda data: fixed(ecdsa_der(p256.key, data, hashes.SHA384()), 32))
    case("ES384 with SHA-256", p384, "ES384", lambda data: fixed(ecdsa_der(p384.key, data, hashes.SHA256()), 48))
    # Both s are signatures; what a token is is its jti, not its bytes.
    case("ES256 with the other s", p256, "ES256", lambda data: other_s(p256.key, data), None)
    case("EdDSA of zeros", ed25519, "EdDSA", lambda _: b"\0" * 64)
    case("EdDSA over the digest", ed25519, "EdDSA", lambda data: ed25519.key.sign(digest_of(data)))
    for holder, alg in ((rsa, "RS256"), (rsa, "PS256"), (p256, "ES256"), (p384, "ES384"), (ed25519, "EdDSA")):
        case(f"{alg} of nothing", holder, alg, lambda _: b"")
        case(f"{alg} with a bit turned", holder, alg, lambda data, h=holder, a=alg: turned(h.key, a, data))
    other_bytes(world, table)


def digest_of(data):
    digest = hashes.Hash(hashes.SHA512())
    digest.update(data)
    return digest.finalize()


def plus_modulus(key, signature):
    """The same number modulo n, and one byte longer where it has to be (RFC 8017, section 8.2.2, step 2a)."""
    value = int.from_bytes(signature, "big") + key.public_key().public_numbers().n
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def short(key, data, digest, size, keep):
    """A signature whose r begins with a zero byte, which is kept or not."""
    while True:
        signature = fixed(ecdsa_der(key, data, digest), size)
        if signature[0] == 0:
            return signature if keep else signature.lstrip(b"\0")


def turned(key, alg, data):
    signature = bytearray(SIGNERS[alg](key, data))
    signature[len(signature) // 2] ^= 1
    return bytes(signature)


def other_bytes(world, table):
    """What was signed says the same as what came, in other bytes."""
    header, claims, signature = world.token().split(".")

    def decoded(text):
        return json.loads(base64.urlsafe_b64decode(text + "=="))

    compacted = b64url(json.dumps(decoded(claims), separators=(",", ":")).encode())
    table.case("signature: of the same claims with blanks", f"{header}.{compacted}.{signature}", "signature")
    sorted_header = b64url(json.dumps(decoded(header), sort_keys=True).encode())
    table.case("signature: of the same header in another order", f"{sorted_header}.{claims}.{signature}", "signature")
    other = world.token(claims={"aud": [world.audience]}).split(".")
    table.case("signature: another token's", f"{header}.{claims}.{other[2]}", "signature")
    table.case("signature: other claims", f"{header}.{other[1]}.{signature}", "signature")
    table.case(
        "signature: over the claims alone",
        world.token(sign=lambda data: pkcs1(world.holder.key, data.split(b".")[1])),
        "signature",
    )
    whole = b64url(to_bytes(world.header(world.holder, "RS256"))).encode()
    raw = to_bytes(world.claims(world.holder))
    # RFC 7797 without its `b64`.
    unencoded = pkcs1(world.holder.key, whole + b"." + raw)
    table.case(
        "signature: over claims that are not encoded",
        f"{whole.decode()}.{b64url(raw)}.{b64url(unencoded)}",
        "signature",
    )
