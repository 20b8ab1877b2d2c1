"""Certificates as Cloud Foundry's instances have them, and such as no CA should make."""

import datetime
import ipaddress
import os
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jws import ABSENT

DAY = 86_400
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
USAGES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
    "encipher_only decipher_only"
).split()
# What Diego gives an instance, and a CA has.
INSTANCE_USAGE = ("digital_signature", "key_encipherment", "key_agreement")
CA_USAGE = ("key_cert_sign", "crl_sign")


def new_key(kind):
    """A key of `rsaBITS`, `p256`, `p384`, `p521`, `ed25519` or `ed448`."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def instant(seconds_from_now):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None, microsecond=0)
    return now + datetime.timedelta(seconds=seconds_from_now)


def dates(certificate):
    """notBefore and notAfter as Unix time. Old releases of `cryptography` have them without their zone."""
    new = hasattr(certificate, "not_valid_after_utc")
    utc = datetime.timezone.utc
    both = (
        [certificate.not_valid_before_utc, certificate.not_valid_after_utc]
        if new
        else [date.replace(tzinfo=utc) for date in (certificate.not_valid_before, certificate.not_valid_after)]
    )
    return [int(date.timestamp()) for date in both]


def key_usage(names):
    return x509.KeyUsage(**{usage: usage in names for usage in USAGES})


def new_guid():
    text = os.urandom(16).hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@dataclass
class Instance:
    """Who an instance of an app is."""

    org: str = field(default_factory=new_guid)
    space: str = field(default_factory=new_guid)
    app: str = field(default_factory=new_guid)
    # The last group is short in Diego's.
    guid: str = field(default_factory=lambda: new_guid()[:-8])

    def units(self):
        return [f"organization:{self.org}", f"space:{self.space}", f"app:{self.app}"]


@dataclass
class Holder:
    """A certificate, its key, and the certificates that are shown with it, its own first."""

    certificate: x509.Certificate
    key: object
    chain: list
    instance: Instance = None

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def ends(self):
        return dates(self.certificate)[1]

    def chain_der(self):
        return [certificate.public_bytes(serialization.Encoding.DER) for certificate in self.chain]

    def pem(self):
        return pem(self.certificate)

    def chain_pem(self):
        return "".join(pem(certificate) for certificate in self.chain)

    def key_pem(self):
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def digest_of(key):
    """What a signature by `key` hashes with: Ed25519 and Ed448 bring their own."""
    return None if isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()


def build(subject, key, issuer, extensions, begins, ends, signer=None):
    """A certificate that `issuer` (a Holder, or None for itself) signs, or `signer` does in its name."""
    signer = signer or (issuer.key if issuer else key)
    builder = (
        x509
        .CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(instant(begins))
        .not_valid_after(instant(ends))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, digest_of(signer))


def common_name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def authority(
    name,
    key,
    issuer=None,
    *,
    constraints=(True, None),
    usage=CA_USAGE,
    names=None,
    begins=-10 * DAY,
    ends=365 * DAY,
    signer=None,
):
    """A CA. `constraints` is what basicConstraints says, None for none; `names` are its name constraints."""
    extensions = [(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)]
    signed_by = (issuer.key if issuer else key).public_key()
    extensions.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by), False))
    if constraints:
        extensions.append((x509.BasicConstraints(*constraints), True))
    if usage:
        extensions.append((key_usage(usage), True))
    if names:
        extensions.append((names, True))
    certificate = build(common_name(name), key, issuer, extensions, begins, ends, signer)
    # A root is not shown: who is to trust it has it.
    return Holder(certificate, key, [certificate, *issuer.chain] if issuer else [])


def subject(units, name, separate=False):
    """One multi-valued RDN with the OUs, as Diego's, or several; then the CN."""
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    parts = [[unit] for unit in units] if separate else [units]
    if name is not None:
        parts.append([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.Name([x509.RelativeDistinguishedName(part) for part in parts if part])


def instance_certificate(
    issuer,
    key,
    instance=None,
    *,
    units=None,
    name=ABSENT,
    separate=False,
    alternative=None,
    usage=INSTANCE_USAGE,
    extended=(CLIENT, SERVER),
    more=(),
    begins=-3600,
    ends=DAY,
    signer=None,
):
    """A certificate of an instance. What is not given is as Diego has it; `name=None` is the retirement pair's."""
    instance = instance or Instance()
    name = instance.guid if name is ABSENT else name
    if alternative is None:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        alternative = [x509.DNSName(name or ""), address]
    extensions = list(more)
    if usage is not None:
        extensions.append((key_usage(usage), True))
    if extended is not None:
        extensions.append((x509.ExtendedKeyUsage(list(extended)), False))
    signed_by = issuer.key if issuer else key
    extensions.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), False))
    if alternative:
        extensions.append((x509.SubjectAlternativeName(alternative), False))
    whose = subject(instance.units() if units is None else units, name, separate)
    certificate = build(whose, key, issuer, extensions, begins, ends, signer)
    return Holder(certificate, key, [certificate, *(issuer.chain if issuer else [])], instance)


def revocations(issuer, serials, *, next_update=DAY):
    """A CRL in PEM."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(instant(-2 * DAY)).next_update(instant(next_update))
    builder = builder.add_extension(x509.CRLNumber(1), False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    builder = builder.add_extension(identifier, False)
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(instant(-DAY))
        builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(issuer.key, digest_of(issuer.key)).public_bytes(serialization.Encoding.PEM).decode()


def flipped(holder, which=0):
    """The same with one bit of a certificate's signature turned, which is its last bytes."""
    chain = holder.chain_der()
    chain[which] = chain[which][:-1] + bytes([chain[which][-1] ^ 1])
    return chain
