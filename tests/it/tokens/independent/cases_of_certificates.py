"""x5c of check 0, and checks 1 to 4: what the certificate is, who vouches for it, and whom it names."""

import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from certificates import (
    CLIENT,
    DAY,
    SERVER,
    Instance,
    authority,
    flipped,
    instance_certificate,
    new_guid,
    new_key,
    revocations,
)
from jws import ABSENT, b64, b64url, thumbprint


def add(world, table):
    texts_of_x5c(world, table)
    thumbprints(world, table)
    paths(world, table)
    limits_of_authorities(world, table)
    revoked(world, table)
    usages(world, table)
    identities(world, table)


def texts_of_x5c(world, table):
    """The holder's length is no multiple of three, so that padding is there to be wrong."""
    holder = world.below()
    while len(holder.der) % 3 != 1:
        holder = world.below(
            more=[
                (
                    x509.CertificatePolicies([
                        x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.1"), ["x" * (len(holder.der) % 7)])
                    ]),
                    False,
                )
            ]
        )
    leaf, issuing = holder.chain_der()
    text, other = b64(leaf), b64(issuing)
    loose = text[:-3] + "BCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[0] + "=="
    for name, x5c in {
        "absent": ABSENT,
        "null": None,
        "an object": {"0": text},
        "a string": text,
        "an empty list": [],
        "a number in it": [text, 1],
        "null in it": [text, None],
        "a list in it": [[text], other],
        "an empty string": ["", other],
        "an empty string behind": [text, ""],
        "base64url": [b64url(leaf), other],
        "base64url with padding": [text.replace("+", "-").replace("/", "_"), other],
        "no padding": [text.rstrip("="), other],
        "too little padding": [text[:-1], other],
        "too much padding": [text + "=", other],
        "bits that are not zero at the end": [loose, other],
        "a blank": [text[:64] + " " + text[64:], other],
        "line breaks": ["\r\n".join(text[at : at + 64] for at in range(0, len(text), 64)), other],
        "a blank before it": [" " + text, other],
        "a line break behind it": [text + "\n", other],
        "PEM": [holder.pem(), other],
        "a data URI": ["data:;base64," + text, other],
        "DER of something else": [b64(b"\x30\x00"), other],
        "no DER": [b64(b"certificate"), other],
        "cut short": [b64(leaf[:-1]), other],
        "a byte behind it": [b64(leaf + b"\0"), other],
        "two in one": [b64(leaf + issuing)],
        "a length of more bytes than DER has": [b64(leaf[:1] + b"\x83\x00" + leaf[2:]), other],
        "BER without a length": [b64(leaf[:1] + b"\x80" + leaf[4:] + b"\0\0"), other],
        "garbage behind": [text, b64(b"certificate")],
        "two in one behind": [text, b64(issuing + issuing)],
        "the key alone": [b64(public_key(holder)), other],
    }.items():
        table.case(f"x5c: {name}", world.token(holder, {"x5c": x5c}), "x5c")
    for count in (6, 7):
        deep = world.root
        for level in range(count - 1):
            deep = authority(f"level {level}", world.keys["p256"], deep)
        token = world.token(world.below(issuer=deep))
        table.case(f"x5c: {count} certificates", token, None if count == 6 else "x5c")
    itself = authority("a CA that signs tokens", world.keys["p256"], world.issuing)
    itself.instance = world.instance
    table.case("x5c: a CA in the first place", world.token(itself), "x5c")
    constraints = [(x509.BasicConstraints(True, None), True)]
    table.case("x5c: an instance that is a CA", world.token(world.below(more=constraints)), "x5c")
    constraints = [(x509.BasicConstraints(False, None), True)]
    table.case("x5c: an instance that says it is none", world.token(world.below(more=constraints)))
    table.case("x5c: with its root", world.token(holder, x5c=[leaf, issuing, world.root.der]))


def public_key(holder):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return holder.key.public_key().public_bytes(serialization.Encoding.DER, form)


def thumbprints(world, table):
    holder, other = world.below(), thumbprint(world.issuing.der)
    mark = thumbprint(holder.der)
    for name, header in {
        "x5t#S256 of another certificate": {"x5t#S256": other},
        "x5t#S256 in hex": {"x5t#S256": "ab" * 32},
        "x5t#S256 with padding": {"x5t#S256": mark + "="},
        "x5t#S256 in other letters": {"x5t#S256": mark.swapcase()},
        "an empty x5t#S256": {"x5t#S256": ""},
        "x5t#S256 that is a number": {"x5t#S256": 1},
        "x5t#S256 of null": {"x5t#S256": None},
        "kid of another certificate": {"kid": other},
        "a kid that might be a thumbprint": {"kid": "x" * 43},
    }.items():
        table.case(f"x5c: {name}", world.token(holder, header), "x5c")
    for name, header in {
        "neither kid nor x5t#S256": {"kid": ABSENT, "x5t#S256": ABSENT},
        "a kid of its own": {"kid": "instance-7"},
        "a kid of 42 letters": {"kid": "x" * 42},
        "a kid of 43 that is no base64url": {"kid": "x" * 42 + "."},
        "another x5t": {"x5t": "x" * 27},
    }.items():
        table.case(f"x5c: {name}", world.token(holder, header))


def paths(world, table):
    """Who vouches for whom."""
    root, issuing, holder = world.root, world.issuing, world.below()
    leaf = holder.der

    def case(name, holder=holder, x5c=None, reason="untrusted", ca=None):
        table.case(f"path: {name}", world.token(holder, x5c=x5c), reason, ca=ca)

    issuing_file = world.file("issuing.pem", issuing.pem())
    case("the issuing CA is trusted itself", reason=None, ca=issuing_file)
    case("the issuing CA is trusted, and the leaf comes alone", x5c=[leaf], reason=None, ca=issuing_file)
    case("both CAs are trusted", x5c=[leaf], reason=None, ca=world.file("both.pem", root.pem() + issuing.pem()))
    case("the leaf alone, under the root", x5c=[leaf])
    namesake_root = authority("instance-identity-root-ca", new_key("p256"))
    namesake = authority("instance-identity-ca", new_key("p256"), namesake_root)
    case("below a CA of the same name", holder=world.below(issuer=namesake))
    stranger = world.below(issuer=namesake)
    case("a stranger's leaf and the true CA", holder=stranger, x5c=[stranger.der, issuing.der])
    case(
        "the root that comes along is not trusted for that",
        holder=stranger,
        x5c=[*stranger.chain_der(), namesake_root.der],
    )
    case("the order is not that of the path", x5c=[leaf, root.der, issuing.der])
    case("a certificate between that issued nothing", x5c=[leaf, namesake.der, issuing.der])
    case("one behind it that issued nothing", x5c=[leaf, issuing.der, namesake.der])
    case("one behind it that issued nothing, where its CA is trusted itself", x5c=[leaf, namesake.der], ca=issuing_file)
    case("the leaf twice", x5c=[leaf, leaf, issuing.der])
    case("the issuing CA twice", x5c=[leaf, issuing.der, issuing.der])
    itself = instance_certificate(None, world.keys["p256"], world.instance)
    case("self-signed", holder=itself, x5c=[itself.der])
    case("a leaf whose signature is not right", holder=of(world, flipped(holder, 0)), x5c=flipped(holder, 0))
    case("a CA whose signature is not right", x5c=flipped(holder, 1))
    other_key = world.below(signer=new_key("p256"))
    case("a leaf that another key has signed", holder=other_key)
    by_instance = world.below(issuer=holder, key="p384", instance=Instance())
    case("an instance's certificate signs another's", holder=by_instance)


def of(world, chain):
    """The holder whose certificate is the first of `chain`."""
    holder = world.below()
    holder.certificate = x509.load_der_x509_certificate(chain[0])
    return holder


def limits_of_authorities(world, table):
    """What a CA may not vouch for."""

    def below(issuer, **changes):
        return world.token(world.below(issuer=issuer, **changes))

    def ca(issuer=None, name="a CA", **changes):
        return authority(name, world.keys["p256"], issuer or world.root, **changes)

    def named(trees):
        return x509.NameConstraints(permitted_subtrees=trees.get("permitted"), excluded_subtrees=trees.get("excluded"))

    table.case("CA: without basicConstraints", below(ca(constraints=None)), "untrusted")
    table.case("CA: CA:FALSE", below(ca(constraints=(False, None))), "untrusted")
    table.case("CA: keyUsage without keyCertSign", below(ca(usage=("digital_signature", "crl_sign"))), "untrusted")
    ending = ca(constraints=(True, 0))
    table.case("CA: pathLen 0 above the leaf", below(ending))
    table.case("CA: pathLen 0 above a CA", below(ca(ending, "another CA")), "untrusted")
    # RFC 5280, section 6.1.4 (l): one that a CA has issued to its own name does not count.
    table.case("CA: pathLen 0 above one of the same name", below(ca(ending)))
    two = ca(ca(constraints=(True, 1)), "another CA")
    table.case("CA: pathLen 1 above a CA", below(two))
    table.case("CA: pathLen 1 above two CAs", below(ca(two, "a third CA")), "untrusted")
    short = authority("a short root", new_key("p256"), constraints=(True, 0))
    file = world.file("short.pem", short.pem())
    table.case("CA: a trusted one with pathLen 0 above the leaf", below(short), ca=file)
    table.case("CA: a trusted one with pathLen 0 above a CA", below(ca(short)), "untrusted", ca=file)
    here, there = (x509.IPAddress(ipaddress.ip_network(net)) for net in ("127.0.0.0/8", "10.0.0.0/8"))
    names = [x509.DNSName("apps.internal"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    inside, outside = x509.DNSName("internal"), x509.DNSName("example.com")
    for name, trees, reason in (
        ("permitted", {"permitted": [inside, here]}, None),
        ("another is permitted", {"permitted": [outside, here]}, "untrusted"),
        ("another network is permitted", {"permitted": [inside, there]}, "untrusted"),
        ("excluded", {"excluded": [inside]}, "untrusted"),
        ("the network is excluded", {"excluded": [here]}, "untrusted"),
        ("another is excluded", {"excluded": [outside, there]}, None),
    ):
        table.case(f"CA: names, {name}", below(ca(names=named(trees)), alternative=names), reason)
    bound = authority("a root for example.com", new_key("p256"), names=named({"permitted": [outside]}))
    table.case(
        "CA: names that a trusted one does not permit",
        below(bound, alternative=names),
        "untrusted",
        ca=world.file("bound.pem", bound.pem()),
    )
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
    table.case(
        "path: a critical extension that nobody knows", below(world.issuing, more=[(unknown, True)]), "untrusted"
    )
    table.case("path: an extension that nobody knows", below(world.issuing, more=[(unknown, False)]))


def revoked(world, table):
    holder, other = world.below(), world.below()

    def crl(name, issuer, *serials, **changes):
        return "--crl", world.file(name, revocations(issuer, serials, **changes))

    mine, issuing = holder.certificate.serial_number, world.issuing.certificate.serial_number
    for name, options, reason in (
        ("the leaf", crl("leaf.crl", world.issuing, mine, 7), "revoked"),
        ("another leaf", crl("other.crl", world.issuing, 7, mine + 1), None),
        ("nobody", crl("nobody.crl", world.issuing), None),
        ("the issuing CA", crl("issuing.crl", world.root, issuing), "revoked"),
        ("the leaf, by a CRL that is past its time", crl("old.crl", world.issuing, mine, next_update=-DAY), "revoked"),
        ("the leaf's number, of another CA", crl("root.crl", world.root, mine), None),
    ):
        table.case(f"CRL: {name}", world.token(holder), reason, *options)
    both = world.file("issuers.pem", world.issuing.pem() + world.root.pem())
    table.case(
        "CRL: the leaf, of a CA that is trusted itself",
        world.token(holder),
        "revoked",
        *crl("listed.crl", world.issuing, mine),
        ca=both,
    )
    table.case(
        "CRL: two of them, the second names the leaf",
        world.token(holder),
        "revoked",
        *crl("a.crl", world.issuing, 7),
        *crl("b.crl", world.issuing, mine),
    )
    table.case("CRL: whoever is not named", world.token(other), None, *crl("c.crl", world.issuing, mine))


def usages(world, table):
    anyone = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    for name, changes, reason in (
        ("no keyUsage", {"usage": None}, "key_usage"),
        ("no digitalSignature", {"usage": ("key_encipherment", "key_agreement")}, "key_usage"),
        ("keyCertSign alone", {"usage": ("content_commitment",)}, "key_usage"),
        ("digitalSignature alone", {"usage": ("digital_signature",)}, None),
        ("EKU serverAuth alone", {"extended": (SERVER,)}, "key_usage"),
        ("EKU clientAuth alone", {"extended": (CLIENT,)}, None),
        ("EKU of code signing", {"extended": (ExtendedKeyUsageOID.CODE_SIGNING,)}, "key_usage"),
        ("EKU any", {"extended": (anyone,)}, "key_usage"),
        ("no EKU", {"extended": None}, None),
    ):
        table.case(f"key usage: {name}", world.token(world.below(**changes)), reason)


def identities(world, table):
    me = world.instance
    org, space, app = me.units()

    def case(name, reason, /, *options, **changes):
        table.case(f"identity: {name}", world.token(world.below(**changes)), reason, *options)

    for missing in ("organization", "space", "app"):
        units = [unit for unit in me.units() if not unit.startswith(missing)]
        case(f"no {missing}", "identity_missing", units=units)
        # Half an identity is none, whatever is let in beside Cloud Foundry's.
        case(f"no {missing}, where any is let in", "identity_missing", "--identity", "any", units=units)
        case(f"two of {missing}", "identity_malformed", units=[*me.units(), f"{missing}:{new_guid()}"], separate=True)
        case(f"{missing} that is no GUID", "identity_malformed", units=[*units, f"{missing}:billing"])
        case(f"an empty {missing}", "identity_malformed", units=[*units, f"{missing}:"])
    case("one of the three", "identity_missing", units=[app])
    case("an OU of another kind alone", "identity_missing", units=["billing"])
    case("no OU at all", "identity_missing", units=[])
    case("a GUID with a letter too many", "identity_malformed", units=[org, space, app + "0"])
    case("a GUID with a blank", "identity_malformed", units=[org, space, app + " "])
    case(
        "two of an app, where any is let in",
        "identity_malformed",
        "--identity",
        "any",
        units=[org, space, app, f"app:{new_guid()}"],
        separate=True,
    )
    case("the same app twice", None, units=[org, space, app, app], separate=True)
    case("OUs in an order of their own", None, units=[app, org, space], separate=True)
    case("an OU of another kind beside them", None, units=[*me.units(), "billing"])
    case("retired", "retired", name=None)
    case("retired, where any is let in", "retired", "--identity", "any", name=None)
    uri = x509.UniformResourceIdentifier("spiffe://example.org/billing")
    names = [uri, x509.UniformResourceIdentifier("spiffe://example.org/other"), x509.DNSName("billing.example.org")]
    holder = world.below(units=[], name="billing", alternative=names)
    for name, sub, options, reason in (
        ("a URI, where any is let in", uri.value, ("--identity", "any"), None),
        ("the second URI, where any is let in", "spiffe://example.org/other", ("--identity", "any"), None),
        ("a URI, where Cloud Foundry's alone are let in", uri.value, (), "identity_missing"),
        (
            "a URI that is not in the certificate",
            "spiffe://example.org/root",
            ("--identity", "any"),
            "subject_mismatch",
        ),
        ("a DNS name as the subject", "billing.example.org", ("--identity", "any"), "subject_mismatch"),
        ("an app as the subject of who is none", f"cf:app:{me.app}", ("--identity", "any"), "subject_mismatch"),
    ):
        said = {
            "iss": sub,
            "sub": sub,
            **dict.fromkeys(("org_guid", "space_guid", "app_guid", "cf_instance_guid"), ABSENT),
        }
        table.case(f"identity: {name}", world.token(holder, claims=said), reason, *options)
    table.case("identity: Cloud Foundry's, where any is let in", world.token(world.below()), None, "--identity", "any")
    table.case(
        "identity: a URI beside Cloud Foundry's is not the subject",
        world.token(world.below(alternative=names), claims={"iss": uri.value, "sub": uri.value}),
        "subject_mismatch",
        "--identity",
        "any",
    )
