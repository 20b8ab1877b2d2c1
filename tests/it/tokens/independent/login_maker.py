"""Makes login bodies for HashiCorp's CF method, sound and not, with the server's answer to each.

    login_maker.py FOLDER

Writes CAs, pairs and `logins.jsonl` into FOLDER.
A line has `name`, `body`, `status` and `text`, a part of the answer; what is to be posted before it is `set`, from path
to document.
Where a pair is what is wrong it has its files as `cert` and `key` too, and `ours`, a part of what
`vestibule token vault-cf` says of it instead of a body.
"""

import datetime
import ipaddress
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certificates import CLIENT, DAY, SERVER, Instance, authority, instance_certificate, new_guid, new_key
from jws import b64, ecdsa_der, pkcs1, pss

UTC = datetime.timezone.utc
ROLE = "billing"
MISMATCH = "crypto/rsa: verification error"
TWICE = f"2 errors occurred:\n\t* {MISMATCH}\n\t* {MISMATCH}\n\n"
ADDRESS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def at(seconds=0):
    return (datetime.datetime.now(UTC) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def body(holder, role=ROLE, *, text=None, when=None, sign=pss, signed=None, prefix="v1:", **changes):
    """What a client sends. `signed` is what is signed where that is not what is sent."""
    text = holder.chain_pem() if text is None else text
    when = when or at()
    message = signed or when + text + role
    request = {
        "role": role,
        "cf_instance_cert": text,
        "signing_time": when,
        "signature": prefix + b64(sign(holder.key, message.encode())),
    }
    return json.dumps({name: value for name, value in {**request, **changes}.items() if value is not None})


class Logins:
    """The lines."""

    def __init__(self, folder):
        self.folder, self.lines = folder, []
        self.keys = {kind: new_key(kind) for kind in ("rsa2048", "p256", "ed25519")}
        self.root = authority("instance-identity-root-ca", new_key("rsa2048"))
        self.issuing = authority("instance-identity-ca", new_key("rsa2048"), self.root)
        self.instance = Instance()

    def below(self, key="rsa2048", **changes):
        return instance_certificate(self.issuing, self.keys[key], self.instance, **changes)

    def add(self, name, body, status, text="", **more):
        self.lines.append({"name": name, "body": body, "status": status, "text": text, **more})

    def pair(self, name, holder, status, text, ours, chain=None, sign=pss):
        """A pair with which a login is refused, there and here."""
        stem = self.folder / name.replace(" ", "-")
        cert, key = f"{stem}.crt", f"{stem}.key"
        shown = holder.chain_pem() if chain is None else chain
        pathlib.Path(cert).write_text(shown)
        pathlib.Path(key).write_text(holder.key_pem())
        self.add(name, body(holder, text=shown, sign=sign), status, text, cert=cert, key=key, ours=ours)


def unconfigured(logins):
    """Row 6."""
    role = "/v1/auth/cf/roles/"
    bounds = {
        role + "Billing": {},
        role + "elsewhere": {"token_bound_cidrs": ["10.0.0.0/8"]},
        role + "anywhere": {"disable_ip_matching": True},
        role + "app": {"bound_application_ids": [logins.instance.app]},
    }
    logins.add("no CA", body(logins.below()), 500, "no CA is configured for verifying client certificates", set=bounds)


def platform(logins):
    """Rows 13 and 16: what the CF API knows."""

    def set_api(document):
        return {"/cf-api": document}

    holder, app = logins.below(), logins.instance.app
    logins.add(
        "an app that is not known", body(holder), 400, "app doesn't have any live instances", set=set_api({"apps": []})
    )
    logins.add("an app that is known", body(holder), 200, set=set_api({"apps": [app]}))
    logins.add("no CF API", body(holder), 500, "Could not get api /v2/info: ", set=set_api(None))


def requests(logins):
    """Rows 1 to 5: what is sent, before anybody looks at certificates."""
    holder, add = logins.below(), logins.add
    sound, config = body(holder), {"/v1/auth/cf/config": {"identity_ca_certificates": logins.root.pem()}}
    add("sound", sound, 200, "hvs.", set=config)
    add("the same body once more", sound, 200, "hvs.")
    add("no JSON", "role=billing", 400, "'role-name' is required")
    add("no role", body(holder, role=""), 400, "'role-name' is required")
    add("a role that nobody knows", body(holder, role="unknown"), 500, "no matching role")
    add("a role in other letters", body(holder, role="Billing"), 500, "no matching role")
    add("a role for other addresses", body(holder, role="elsewhere"), 403, "permission denied")
    for field in ("signature", "cf_instance_cert", "signing_time"):
        add(f"no {field}", body(holder, **{field: None}), 400, f"'{field}' is required")
    for when in ("1700000000", "2026-01-02T15:04:05+00:00", "2026-01-02 15:04:05"):
        add(f"time {when}", body(holder, when=when), 400, f"couldn't parse {when}")
    plain = at()
    text = holder.chain_pem()
    add(
        "a time with a fraction, and the plain one signed",
        body(holder, when=plain[:-1] + ".5Z", signed=plain + text + ROLE),
        200,
    )
    add("a time with a fraction, and that signed", body(holder, when=plain[:-1] + ".5Z"), 400, TWICE)
    words = datetime.datetime.strptime(plain, "%Y-%m-%dT%H:%M:%SZ").strftime("%a %b %e %H:%M:%S UTC %Y")
    add("a time in words, and the plain one signed", body(holder, when=words, signed=plain + text + ROLE), 200)
    add("too old", body(holder, when=at(-310)), 400, "request is too old; signed at ")
    add("old, and not too old", body(holder, when=at(-200)), 200)
    add("too far ahead", body(holder, when=at(120)), 400, "request is too far in the future; signed at ")
    add("ahead, and not too far", body(holder, when=at(40)), 200)


def texts(logins):
    """Rows 8 to 10: the certificates' text, and the signature over it."""
    holder, other, add = logins.below(), logins.below(), logins.add
    leaf, issuing, root = holder.pem(), logins.issuing.pem(), logins.root.pem()
    alone = "no intermediate certificate found in "
    add("three certificates", body(holder, text=leaf + issuing + root), 400, "expected 2 certs but received ")
    add("the leaf twice", body(holder, text=leaf + leaf), 400, alone)
    add("the CA twice", body(holder, text=issuing + issuing), 400, "no identity cert found in ")
    add("no certificate", body(holder, text="garbage"), 400, "no identity cert found in garbage")
    add("the CA first", body(holder, text=issuing + leaf), 200)
    add("text around the blocks", body(holder, text="# leaf\n" + leaf + "\n\n# CA\n" + issuing), 200)
    add("CRLF", body(holder, text=(leaf + issuing).replace("\n", "\r\n")), 200)
    add("version 2", body(holder, prefix="v2:"), 400, 'invalid signature version "v2"')
    add("two colons", body(holder, prefix="v1:v1:"), 400, "invalid signature format")
    sent = json.loads(body(holder))
    url = sent["signature"].replace("+", "-").replace("/", "_")
    add(
        "the other alphabet",
        json.dumps({**sent, "signature": "v1:-" + url[4:]}),
        400,
        "illegal base64 data at input byte 0",
    )
    add("the other alphabet, and no version", json.dumps({**sent, "signature": url[3:]}), 200)
    add("another role signed", body(holder, signed=at() + leaf + issuing + "other"), 400, TWICE)
    add("another time signed", body(holder, signed=at(-1) + leaf + issuing + ROLE), 400, TWICE)
    add("another text signed", body(holder, signed=at() + leaf + issuing + "\n" + ROLE), 400, TWICE)
    add("torn: another key's", body(logins.below(), sign=lambda _, data: pss(new_key("rsa2048"), data)), 400, TWICE)
    add("MGF1 of SHA-1", body(holder, sign=lambda key, data: pss(key, data, mgf_hash=hashes.SHA1())), 400, TWICE)
    add("PKCS #1 v1.5", body(holder, sign=pkcs1), 400, TWICE)
    for salt in (0, 32, 222):
        add(f"a salt of {salt}", body(holder, sign=lambda key, data, salt=salt: pss(key, data, salt)), 200)
    by_issuing = body(other, sign=lambda _, data: pss(logins.issuing.key, data))
    add("signed by the CA", by_issuing, 400, "signature not generated by identity cert")


def roles(logins):
    """Rows 14 and 15: the role's bounds."""
    me, holder, add = logins.instance, logins.below(), logins.add
    elsewhere = logins.below(alternative=[x509.IPAddress(ipaddress.ip_address("10.1.2.3"))])
    add("from another address", body(elsewhere), 400, "no matching IP address")
    add("from another address, where that does not matter", body(elsewhere, role="anywhere"), 200)
    add("of the app", body(holder, role="app"), 200)
    other = body(instance_certificate(logins.issuing, logins.keys["rsa2048"]), role="app")
    add("of another app", other, 400, f" doesn't match role constraints of [{me.app}]")


def pairs(logins):
    """Rows 8, 9, 11 and 12: a pair with which nobody could log in."""
    org, space, app = logins.instance.units()
    holder, add = logins.below(), logins.pair
    no_rsa, dates = "not an rsa public key, it's a ", "x509: certificate has expired or is not yet valid: "
    add("EC key", logins.below("p256"), 400, no_rsa, "takes RSA keys", sign=ecdsa_signature)
    add("Ed25519 key", logins.below("ed25519"), 400, no_rsa, "takes RSA keys", sign=lambda key, data: key.sign(data))
    alone, no_issuer = "no intermediate certificate found in ", "the CA that issued ours is not in the file"
    add("leaf alone", holder, 400, alone, no_issuer, chain=holder.pem())
    stranger = authority("instance-identity-ca", new_key("rsa2048"))
    foreign = instance_certificate(stranger, logins.keys["rsa2048"], logins.instance)
    chain = foreign.pem() + logins.issuing.pem()
    add("another CA beside it", foreign, 400, "x509: certificate signed by unknown authority", no_issuer, chain=chain)
    one_address, several = "exactly one IP address", [ADDRESS, x509.IPAddress(ipaddress.ip_address("10.1.2.3"))]
    none, two = ("valid CF certs have one IP address, but this has " + end for end in ("[]", "["))
    usage = "x509: certificate specifies an incompatible key usage"
    for name, changes, status, text, ours in (
        ("expired", {"begins": -2 * DAY, "ends": -60}, 400, dates, "has expired"),
        ("not yet valid", {"begins": 3600}, 400, dates, "is not valid yet"),
        ("EKU clientAuth alone", {"extended": (CLIENT,)}, 400, usage, "wants serverAuth"),
        ("no address", {"alternative": [x509.DNSName("a")]}, 500, none, one_address),
        ("no SAN", {"alternative": []}, 500, none, one_address),
        ("two addresses", {"alternative": several}, 500, two, one_address),
        ("no CN", {"name": None}, 500, "no instance ID on given certificate", "no CN"),
        (
            "the same app twice",
            {"units": [org, space, app, app]},
            500,
            "expected 1 app but received 2",
            "the app exactly",
        ),
    ):
        add(name, logins.below(separate="units" in changes, **changes), status, text, ours)
    for word, kind in (("app", "app"), ("space", "space"), ("org", "organization")):
        ours, others = f"the {kind} exactly once", [unit for unit in (org, space, app) if not unit.startswith(kind)]
        add(f"no {word}", logins.below(units=others), 500, f"no {word} ID on given certificate", ours)
        several = logins.below(units=[org, space, app, f"{kind}:{new_guid()}"], separate=True)
        add(f"two values of {word}", several, 500, f"expected 1 {word} but received 2", ours)


def ecdsa_signature(key, data):
    return ecdsa_der(key, data, hashes.SHA256())


def accepted(logins):
    """What goes on at rows 11 and 12."""
    holder = logins.below
    for name, changes in {
        "EKU serverAuth alone": {"extended": (SERVER,)},
        "no EKU": {"extended": None},
        "no keyUsage": {"usage": None},
        "keyUsage without digitalSignature": {"usage": ("key_encipherment",)},
        "three RDNs": {"separate": True},
    }.items():
        logins.add(name, body(holder(**changes)), 200)


def main():
    logins = Logins(pathlib.Path(sys.argv[1]))
    for make in (unconfigured, requests, texts, roles, pairs, accepted, platform):
        make(logins)
    folder, sound = logins.folder, logins.below()
    for name, text in {
        "root.pem": logins.root.pem(),
        "issuing.pem": logins.issuing.pem(),
        "sound.crt": sound.chain_pem(),
        "sound.key": sound.key_pem(),
    }.items():
        (folder / name).write_text(text)
    (folder / "logins.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logins.lines))


if __name__ == "__main__":
    main()
