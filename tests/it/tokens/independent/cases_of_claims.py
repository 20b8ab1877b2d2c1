"""Checks 6 and 7: what the claims say, whatever the time is; and the order of all checks."""

import json

from cryptography.hazmat.primitives import hashes

from certificates import DAY, Instance, authority
from jws import ABSENT, other_s, thumbprint

GUIDS = ("org_guid", "space_guid", "app_guid", "cf_instance_guid")


def add(world, table):
    numbers(world, table)
    audiences(world, table)
    subjects(world, table)
    bound(world, table)
    replays(world, table)
    order(world, table)


def numbers(world, table):
    for claim, reason in {"exp": "expired", "nbf": "not_yet_valid", "iat": "issued_in_future"}.items():
        table.case(f"{claim}: absent", world.token(claims={claim: ABSENT}), reason)
        sound = world.claims(world.holder)[claim]
        for name, value in {
            "null": None,
            "text": str(sound),
            "a fraction": float(sound),
            "half a second": sound + 0.5,
            "true": True,
            "a list": [sound],
            "an object": {},
            "empty": "",
        }.items():
            table.case(f"{claim}: {name}", world.token(claims={claim: value}), reason)
        for spelled in ("1e9", "1E9", f"{sound}.0", f"{sound}e0"):
            said = world.claims(world.holder)
            text = json.dumps(said).replace(f'"{claim}": {said[claim]}', f'"{claim}": {spelled}')
            table.case(f"{claim}: spelled {spelled[-4:]}", world.token(claims=text), reason)


def audiences(world, table):
    mine = world.audience
    for name, aud in {
        "absent": ABSENT,
        "null": None,
        "empty": "",
        "another": "https://other.example",
        "longer": mine + "/",
        "shorter": mine[:-1],
        "capitals": mine.upper(),
        "a blank behind it": mine + " ",
        "an empty list": [],
        "a list of others": ["a", "b"],
        "a list in a list": [[mine]],
        "a number": 1,
        "an object": {mine: mine},
        "two in one": f"{mine} {mine}",
        "a list that is not of strings": [mine, 1],
        "a star": "*",
        "a list with null": [None, mine],
    }.items():
        table.case(f"audience: {name}", world.token(claims={"aud": aud}), "audience")
    table.case("audience: one of a list", world.token(claims={"aud": ["a", mine, "b"]}))
    table.case("audience: alone in a list", world.token(claims={"aud": [mine]}))
    table.case(
        "audience: the second that is taken", world.token(claims={"aud": "second"}), None, "--audience", "second"
    )
    table.case(
        "audience: none of two that are taken", world.token(claims={"aud": "third"}), "audience", "--audience", "second"
    )
    table.case("audience: beyond ASCII", world.token(claims={"aud": "b\u00fccher"}), audience="b\u00fccher")
    table.case(
        "audience: composed otherwise", world.token(claims={"aud": "bu\u0308cher"}), "audience", audience="b\u00fccher"
    )


def subjects(world, table):
    me, other = world.instance, Instance()
    for name, claims in {
        "sub absent": {"sub": ABSENT},
        "sub null": {"sub": None},
        "sub empty": {"sub": ""},
        "sub a number": {"sub": 1},
        "sub a list": {"sub": [f"cf:app:{me.app}"]},
        "sub of another app": {"sub": f"cf:app:{other.app}"},
        "sub of its space": {"sub": f"cf:space:{me.space}"},
        "sub the bare GUID": {"sub": me.app},
        "sub in capitals": {"sub": f"cf:app:{me.app.upper()}"},
        "sub with more behind it": {"sub": f"cf:app:{me.app}/x"},
        "sub of the instance": {"sub": f"cf:instance:{me.guid}"},
        "iss another": {"iss": "https://issuer.example"},
        "iss another app": {"iss": f"cf:app:{other.app}"},
        "iss null": {"iss": None},
        "iss empty": {"iss": ""},
        "iss a list": {"iss": [f"cf:app:{me.app}"]},
    }.items():
        table.case(f"subject: {name}", world.token(claims=claims), "subject_mismatch")
    for claim in GUIDS:
        table.case(f"subject: {claim} of another", world.token(claims={claim: other.org}), "subject_mismatch")
        table.case(f"subject: {claim} null", world.token(claims={claim: None}), "subject_mismatch")
        table.case(
            f"subject: {claim} in a list",
            world.token(claims={claim: [world.claims(world.holder)[claim]]}),
            "subject_mismatch",
        )
        table.case(f"subject: no {claim}", world.token(claims={claim: ABSENT}))
    table.case("subject: no iss", world.token(claims={"iss": ABSENT}))
    issued = {"iss": "https://issuer.example"}
    table.case("subject: an iss that is taken", world.token(claims=issued), None, "--issuer", issued["iss"])
    table.case(
        "subject: an iss beside the one that is taken",
        world.token(claims={"iss": "https://other.example"}),
        "subject_mismatch",
        "--issuer",
        issued["iss"],
    )
    table.case("subject: iss is sub, though another is taken", world.token(), None, "--issuer", issued["iss"])


def bound(world, table):
    """`cnf` (RFC 8705, section 3.1) and the certificate of who has brought the token."""
    holder, other = world.below(), world.below()
    mine, others = (world.file(f"{name}.crt", who.pem()) for name, who in (("mine", holder), ("others", other)))
    cnf = {"cnf": {"x5t#S256": thumbprint(holder.der)}}

    def case(name, claims, reason, *options):
        table.case(f"bound: {name}", world.token(holder, claims=claims), reason, *options)

    case("to the caller", cnf, None, "--peer", mine)
    case("to the caller, as it has to be", cnf, None, "--peer", mine, "--require-bound")
    case("another has brought it", cnf, "not_bound", "--peer", others)
    case("it is not known who has brought it", cnf, "not_bound")
    case("it has to be, and is not", {}, "not_bound", "--require-bound", "--peer", mine)
    case("it has to be, and is not, and nobody is known", {}, "not_bound", "--require-bound")
    case("it has to be, and nobody is known", cnf, "not_bound", "--require-bound")
    case("it need not be", {}, None, "--peer", others)
    for name, value in {
        "null": None,
        "empty": {},
        "text": thumbprint(holder.der),
        "a list": [thumbprint(holder.der)],
        "by a key": {"jwk": {"kty": "EC"}},
        "by a key's thumbprint": {"jkt": thumbprint(holder.der)},
        "with padding": {"x5t#S256": thumbprint(holder.der) + "="},
        "in hex": {"x5t#S256": holder.certificate.fingerprint(hashes.SHA256()).hex()},
        "a number": {"x5t#S256": 1},
        "an empty thumbprint": {"x5t#S256": ""},
    }.items():
        case(f"cnf {name}", {"cnf": value}, "not_bound", "--peer", mine)


def replays(world, table):
    """Each file holds what was seen through it."""

    def file(name):
        return "--replay-file", str(world.folder / f"{name}.replays")

    token = world.token()
    table.case("replay: once", token, None, *file("a"))
    table.case("replay: twice", token, "replayed", *file("a"))
    table.case("replay: three times", token, "replayed", *file("a"))
    table.case("replay: through another file", token, None, *file("b"))
    table.case("replay: twice, where one use is not asked for", token)
    table.case("replay: another token of that instance", world.token(), None, *file("a"))
    same = {"jti": "the same"}
    holder, other = world.below(), world.below(key="p384")
    table.case("replay: a jti", world.token(holder, claims=same), None, *file("c"))
    table.case(
        "replay: that jti in another token",
        world.token(holder, claims={**same, "aud": [world.audience]}),
        "replayed",
        *file("c"),
    )
    table.case("replay: that jti of another instance", world.token(other, claims=same), None, *file("c"))
    for name, jti in {
        "no jti": ABSENT,
        "jti null": None,
        "jti a number": 1,
        "jti a list": ["a"],
        "jti empty": "",
    }.items():
        table.case(f"replay: {name}", world.token(claims={"jti": jti}), "replayed", *file("d"))
    table.case("replay: no jti, where one use is not asked for", world.token(claims={"jti": ABSENT}))
    # What was refused was not used.
    denied = world.token()
    table.case("replay: refused for its audience", denied, "audience", *file("e"), audience="other")
    table.case("replay: then sound", denied, None, *file("e"))
    table.case("replay: then a replay", denied, "replayed", *file("e"))
    # Both s of ECDSA are signatures, so the same token may come in other bytes.
    holder = world.below()
    claims = world.claims(holder)
    table.case("replay: a signature", world.token(holder, claims=claims), None, *file("f"))
    other = world.token(holder, claims=claims, sign=lambda data: other_s(holder.key, data))
    table.case("replay: its other signature", other, "replayed", *file("f"))


def order(world, table):
    """Wrong in one check and in all that come later: the first is told."""
    options = (
        "--replay-file",
        str(world.folder / "order.replays"),
        "--roles",
        world.file("nobody.toml", ""),
        "--role",
        "r",
    )
    foreign = authority("instance-identity-ca", world.keys["p256"])
    # Each of these is wrong besides what the ones before it say.
    certificate = [
        ("untrusted", {"issuer": foreign}),
        ("certificate_expired", {"begins": -2 * DAY, "ends": -60}),
        ("key_usage", {"usage": None}),
        ("identity_missing", {"units": [], "name": None}),
    ]
    claims = [
        ("expired", {"exp": 1}),
        ("not_yet_valid", {"nbf": 9_999_999_999}),
        ("issued_in_future", {"iat": 9_999_999_000}),
        ("audience", {"aud": "other"}),
        ("subject_mismatch", {"sub": "other"}),
        ("not_bound", {"cnf": {}}),
        ("replayed", {"jti": ABSENT}),
        ("no_role", {}),
    ]
    header = [("header", {"crit": ["x"]}), ("algorithm", {"alg": "none"}), ("x5c", {"x5t#S256": "x"})]
    all_of = lambda faults: {name: value for _, fault in faults for name, value in fault.items()}
    forged = lambda data: b"\0" * 64
    worst = world.below(**all_of(certificate))
    for at, (reason, _) in enumerate(header):
        table.case(
            f"order: {reason}", world.token(worst, all_of(header[at:]), all_of(claims), sign=forged), reason, *options
        )
    table.case(
        "order: private_key",
        world.token(worst, {**all_of(header), "d": "x"}, all_of(claims), sign=forged),
        "private_key",
        *options,
    )
    table.case(
        "order: malformed", world.token(worst, {**all_of(header), "d": "x"}, b"[]", sign=forged), "malformed", *options
    )
    for at, (reason, _) in enumerate(certificate):
        holder = world.below(**all_of(certificate[at:]))
        table.case(f"order: {reason}", world.token(holder, claims=all_of(claims), sign=forged), reason, *options)
    table.case(
        "order: signature", world.token(world.below(), claims=all_of(claims), sign=forged), "signature", *options
    )
    for at, (reason, _) in enumerate(claims):
        table.case(f"order: {reason}", world.token(world.below(), claims=all_of(claims[at:])), reason, *options)
