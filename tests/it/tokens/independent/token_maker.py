"""Makes tokens, sound and not, and says of each what a verifier has to say of it.

    token_maker.py FOLDER GROUP

Writes CAs, CRLs, roles and `table.jsonl` with the cases of a group into FOLDER.
A line of the table is a run of `vestibule token verify`: `name`, `token` (its stdin, to the byte), `options`, `reason`
(null: permit), `check`, and for a permit `policies`, `role` and `ttl_seconds` (least and most) where they matter.
`there` is what Comcast's plugin answers.
The lines are to be run in their order, as a token that is shown twice stands in two, and soon: see `cases_of_clock.py`.

Nothing here is taken from the program. Each token is sound in everything that is checked before what is wrong with it.
"""

import json
import os
import pathlib
import sys
import time

import cases_of_certificates
import cases_of_claims
import cases_of_clock
import cases_of_comcast
import cases_of_roles
import cases_of_signatures
import cases_of_text
from certificates import Instance, authority, instance_certificate, new_key
from jws import ABSENT, SIGNERS, b64, b64url, compact, natural, thumbprint

AUDIENCE = "https://billing.example"

# Which check has which reasons.
REASONS = {
    0: "malformed private_key header algorithm x5c",
    1: "untrusted revoked",
    2: "certificate_expired certificate_not_yet_valid",
    3: "key_usage",
    4: "identity_missing identity_malformed retired",
    5: "signature",
    6: "expired not_yet_valid issued_in_future too_long outlives_certificate audience subject_mismatch not_bound",
    7: "replayed replay_cache_full",
    8: "no_role policy_not_granted",
}
CHECKS = {reason: check for check, reasons in REASONS.items() for reason in reasons.split()}


class Keys(dict):
    """One key of each kind, made when it is first asked for."""

    def __missing__(self, kind):
        self[kind] = new_key(kind)
        return self[kind]


class World:
    """A CA as Cloud Foundry has it, an instance below it, and the files of both."""

    audience = AUDIENCE

    def __init__(self, folder):
        self.folder = folder
        self.keys = Keys()
        # CAs have keys of their own kind, as that is short.
        self.root = authority("instance-identity-root-ca", new_key("p256"))
        self.issuing = authority("instance-identity-ca", new_key("p256"), self.root)
        self.instance = Instance()
        self.holder = instance_certificate(self.issuing, self.keys["rsa2048"], self.instance)
        self.ca = self.file("root.pem", self.root.pem())

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def below(self, *, key="p256", issuer=None, instance=None, **changes):
        """A holder below the issuing CA; what is not changed is as Diego has it."""
        return instance_certificate(issuer or self.issuing, self.keys[key], instance or self.instance, **changes)

    def header(self, holder, alg, x5c=None):
        mark = thumbprint(holder.der)
        x5c = holder.chain_der() if x5c is None else x5c
        return {"alg": alg, "typ": "JWT", "x5t#S256": mark, "kid": mark, "x5c": [b64(der) for der in x5c]}

    def claims(self, holder, now=None):
        now = int(time.time()) if now is None else now
        who = holder.instance
        return {
            "iss": f"cf:app:{who.app}",
            "sub": f"cf:app:{who.app}",
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now - 30,
            "exp": now + 1800,
            "jti": new_jti(),
            "org_guid": who.org,
            "space_guid": who.space,
            "app_guid": who.app,
            "cf_instance_guid": who.guid,
        }

    def token(self, holder=None, header=None, claims=None, *, alg=None, sign=None, x5c=None, now=None):
        """A token of the standard form.

        `header` and `claims` change members, or are JSON text that takes their place.
        """
        holder = holder or self.holder
        alg = alg or natural(holder.key)
        sign = sign or (lambda data: SIGNERS[alg](holder.key, data))
        whole = header if isinstance(header, (str, bytes)) else {**self.header(holder, alg, x5c), **(header or {})}
        said = claims if isinstance(claims, (str, bytes)) else {**self.claims(holder, now), **(claims or {})}
        return compact(whole, said, sign)

    def comcast(self, holder=None, header=None, claims=None, *, jwk=None, alg="RS256", sign=None):
        """A token of Comcast's form. `jwk` changes members of the header's `JWK`."""
        holder = holder or self.holder
        numbers = holder.key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": "cf",
            "alg": alg,
            "n": number(numbers.n),
            "e": number(numbers.e),
            "x5c": [b64(der) for der in holder.chain_der()],
        }
        key = {name: value for name, value in {**key, **(jwk or {})}.items() if value is not ABSENT}
        whole = {"alg": alg, "typ": "JWT", "x5t#S256": thumbprint(holder.der), "JWK": key, **(header or {})}
        said = {**self.claims(holder), "nbf": int(time.time()) - 30, "Policies": ["read"], **(claims or {})}
        return compact(whole, said, sign or (lambda data: SIGNERS[alg](holder.key, data)))


def number(value):
    """RFC 7518, section 2: Base64urlUInt."""
    return b64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def new_jti():
    return b64url(os.urandom(16))


class Table:
    """The cases, in the order in which they are run."""

    def __init__(self, world):
        self.world = world
        self.lines = []
        self.names = set()

    def case(self, name, token, reason=None, *options, ca=None, audience=AUDIENCE, **expected):
        """`options` are beside those of the CA and the audience."""
        assert name not in self.names, name
        self.names.add(name)
        words = ["--ca", ca or self.world.ca, "--audience", audience, *options]
        check = None if reason is None else CHECKS[reason]
        self.lines.append({
            "name": name,
            "token": token,
            "options": words,
            "reason": reason,
            "check": check,
            **expected,
        })

    def write(self):
        with open(self.world.folder / "table.jsonl", "w", encoding="ascii") as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)


GROUPS = {
    "text": cases_of_text,
    "certificates": cases_of_certificates,
    "signatures": cases_of_signatures,
    "claims": cases_of_claims,
    "clock": cases_of_clock,
    "roles": cases_of_roles,
    "comcast": cases_of_comcast,
}


def main():
    folder, group = sys.argv[1:]
    world = World(pathlib.Path(folder))
    table = Table(world)
    GROUPS[group].add(world, table)
    table.write()


if __name__ == "__main__":
    main()
