"""JWS in compact serialization (RFC 7515), by hand: what no library would sign can be signed as well."""

import base64
import hashlib
import hmac
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# Of P-256, so that s may be taken from it (SEC 2).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# A parameter or claim of this value is left out.
ABSENT = object()


def b64url(data):
    """RFC 7515, section 2: base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64(data):
    """RFC 7515, section 4.1.6: the base64 of x5c has padding and the other alphabet."""
    return base64.b64encode(data).decode()


def thumbprint(certificate_der):
    """The value of `x5t#S256`."""
    return b64url(hashlib.sha256(certificate_der).digest())


def to_bytes(value):
    """JSON of a dict without what is absent. Text and bytes are taken as they are, whatever they hold."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return json.dumps({name: member for name, member in value.items() if member is not ABSENT}).encode()


def pss(key, data, salt=32, mgf_hash=None):
    """RSASSA-PSS with SHA-256. RFC 7518, section 3.5, wants a salt as long as the digest."""
    scheme = padding.PSS(mgf=padding.MGF1(mgf_hash or hashes.SHA256()), salt_length=salt)
    return key.sign(data, scheme, hashes.SHA256())


def pkcs1(key, data, algorithm=None):
    return key.sign(data, padding.PKCS1v15(), algorithm or hashes.SHA256())


def ecdsa_der(key, data, algorithm):
    return key.sign(data, ec.ECDSA(algorithm))


def fixed(der, size):
    """r || s, each of `size` bytes (RFC 7518, section 3.4)."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def hs256(secret, data):
    return hmac.new(secret, data, hashlib.sha256).digest()


SIGNERS = {
    "RS256": pkcs1,
    "RS384": lambda key, data: pkcs1(key, data, hashes.SHA384()),
    "RS512": lambda key, data: pkcs1(key, data, hashes.SHA512()),
    "PS256": pss,
    "ES256": lambda key, data: fixed(ecdsa_der(key, data, hashes.SHA256()), 32),
    "ES384": lambda key, data: fixed(ecdsa_der(key, data, hashes.SHA384()), 48),
    "ES512": lambda key, data: fixed(ecdsa_der(key, data, hashes.SHA512()), 66),
    "EdDSA": lambda key, data: key.sign(data),
}


def compact(header, claims, sign):
    """A token; `sign` makes the signature's bytes of the signing input."""
    signed = b64url(to_bytes(header)) + "." + b64url(to_bytes(claims))
    return signed + "." + b64url(sign(signed.encode()))


def natural(key):
    """The algorithm that a key of this kind signs with by default."""
    name = type(key).__name__.lower()
    if "rsa" in name:
        return "RS256"
    if "ed25519" in name or "ed448" in name:
        return "EdDSA"
    return {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}[key.curve.name]


def signed_by(key):
    """What signs by `key` as such keys do by default."""
    return lambda data: SIGNERS[natural(key)](key, data)


def other_s(key, data):
    r, s = decode_dss_signature(ecdsa_der(key, data, hashes.SHA256()))
    return r.to_bytes(32, "big") + (ORDER - s).to_bytes(32, "big")
