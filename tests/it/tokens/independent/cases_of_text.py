"""Check 0, but for x5c: what the token's bytes are, before anybody is asked for."""

import base64
import json

from cryptography.hazmat.primitives import serialization

from jws import ABSENT, b64url, hs256, to_bytes

LIMIT = 16 * 1024
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def add(world, table):
    sound(world, table)
    size(world, table)
    parts(world, table)
    objects(world, table)
    private_keys(world, table)
    headers(world, table)
    algorithms(world, table)


def sound(world, table):
    for key in ("rsa2048", "rsa3072", "rsa4096", "p256", "p384", "ed25519"):
        table.case(f"sound, {key}", world.token(world.below(key=key)))
    table.case("sound, PS256", world.token(alg="PS256"))
    # What `token jwt` prints is a line.
    table.case("sound, with the end of its line", world.token() + "\n")


def of_size(world, size):
    """A sound token of exactly so many bytes."""
    holder = world.below()
    for filler in range(4):
        # Base64url has no text of 4n + 1 bytes: the header moves the claims to where one fits.
        header = {"x": "." * filler}
        without = len(world.token(holder, header, {"pad": ""}))
        for length in range(max(0, (size - without) * 3 // 4 - 4), (size - without) * 3 // 4 + 4):
            token = world.token(holder, header, {"pad": "." * length})
            if len(token) == size:
                return token
    raise AssertionError(size)


def size(world, table):
    table.case("16 KiB to the byte", of_size(world, LIMIT))
    table.case("a byte over 16 KiB", of_size(world, LIMIT + 1), "malformed")
    table.case("a megabyte", of_size(world, LIMIT) + "A" * 1_000_000, "malformed")


def parts(world, table):
    token = world.token()
    header, claims, signature = token.split(".")
    for name, text in {
        "nothing": "",
        "a point": ".",
        "two points": "..",
        "two parts": f"{header}.{claims}",
        "four parts": f"{token}.{signature}",
        "a point at the end": f"{token}.",
        "a point at the start": f".{token}",
        "five parts, as JWE has": f"{token}..",
        "no header": f".{claims}.{signature}",
        "no claims": f"{header}..{signature}",
        "the header again behind it": f"{token} {token}",
        "a line behind it": f"{token}\nmore\n",
        "NUL behind it": f"{token}\0",
        "Bearer before it": f"Bearer {token}",
        "quoted": f'"{token}"',
        "blanks between parts": f"{header}. {claims}.{signature}",
        "JSON serialization": json.dumps({
            "payload": claims,
            "signatures": [{"protected": header, "signature": signature}],
        }),
        "flattened JSON serialization": json.dumps({"payload": claims, "protected": header, "signature": signature}),
    }.items():
        table.case(f"parts: {name}", text, "malformed")
    for place in range(3):
        for name, change in {
            "padded": padded,
            "another alphabet": other_alphabet,
            "bits that are not zero at the end": loose_bits,
            "a letter that stands for no byte": lambda data: b64url(data + b"\0" * (-len(data) % 3)) + "A",
            "a line break": lambda data: b64url(data)[:8] + "\n" + b64url(data)[8:],
            "a percent escape": lambda data: "%" + b64url(data)[1:],
            "a letter beyond ASCII": lambda data: b64url(data)[:-1] + "\u00e9",
        }.items():
            table.case(
                f"base64url of {('header', 'claims', 'signature')[place]}: {name}",
                respelled(world, place, change),
                "malformed",
            )


def respelled(world, place, change):
    """A token with one part spelled otherwise, and of a length that makes the difference."""
    header, claims = {"x": "\u00ff\u00bf>>>???", "y": ""}, {"x": ">>>???~~~", "y": ""}
    for _ in range(300):
        parts = world.token(header=wide_header(world, header), claims=claims).split(".")
        data = base64.urlsafe_b64decode(parts[place] + "==")
        spelled = change(data)
        if spelled is not None and spelled != parts[place]:
            parts[place] = spelled
            return ".".join(parts)
        header["y"] += "x"
        claims["y"] += "x"
    raise AssertionError(place)


def wide_header(world, more):
    """A header as text that has the letters by which the alphabets differ."""
    return json.dumps({**world.header(world.holder, "RS256"), **more}, ensure_ascii=False)


def padded(data):
    return base64.urlsafe_b64encode(data).decode() if len(data) % 3 else None


def other_alphabet(data):
    text = base64.b64encode(data).rstrip(b"=").decode()
    return text if "+" in text or "/" in text else None


def loose_bits(data):
    if len(data) % 3 == 0:
        return None
    text = b64url(data)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + letters[letters.index(text[-1]) + 1]


def nested(depth, lists=False):
    """A value that has `depth` objects or arrays within each other."""
    value = 1
    for _ in range(depth):
        value = [value] if lists else {"a": value}
    return value


def objects(world, table):
    whole = {"header": to_bytes(world.header(world.holder, "RS256")), "claims": to_bytes(world.claims(world.holder))}
    for which, text in whole.items():

        def put(name, changed, reason="malformed", which=which):
            table.case(f"{which}: {name}", world.token(**{which: changed}), reason)

        for name, changed in {
            "a list": b"[" + text + b"]",
            "a string": b'"RS256"',
            "a number": b"1",
            "null": b"null",
            "not closed": text[:-1],
            "a blank alone": b" ",
            "not UTF-8": text[:-1] + b', "x": "\xff"}',
            "a byte order mark": b"\xef\xbb\xbf" + text,
            "UTF-16": text.decode().encode("utf-16-le"),
            "half a surrogate pair": text[:-1] + rb', "x": "\ud800"}',
            "NaN": text[:-1] + b', "x": NaN}',
            "a comment": text[:-1] + b"/**/}",
            "a comma at the end": text[:-1] + b",}",
            "a name without quotes": text[:-1] + b", x: 1}",
            "a control character": text[:-1] + b', "x": "\n"}',
            "a letter behind it": text + b"x",
            "an object behind it": text + b"{}",
            "NUL behind it": text + b"\0",
            "a comma behind it": text + b",",
            "a number with a zero in front": text[:-1] + b', "x": 01}',
            "a member twice": text[:-1] + b', "x": 1, "x": 1}',
            "a member twice, spelled otherwise": text[:-1] + rb', "xy": 1, "\u0078y": 2}',
            "a member twice in an object": text[:-1] + b', "x": {"a": 1, "a": 1}}',
            "a member twice in an object in a list": text[:-1] + b', "x": [[{"b": {"a": 1, "c": 2, "a": 1}}]]}',
            "an empty name twice": text[:-1] + b', "": 1, "": 2}',
        }.items():
            put(name, changed)
        for lists in (False, True):
            kind = "lists" if lists else "objects"
            # The outermost object is the first of them.
            for deep, reason in ((7, None), (8, "malformed"), (2000, "malformed")):
                more = json.dumps(nested(deep, lists)) if deep < 100 else "[" * deep + "]" * deep
                put(f"{deep + 1} deep, {kind}", text[:-1] + b', "x": ' + more.encode() + b"}", reason)
    table.case("header: alg twice", world.token(header=b'{"alg": "none", ' + whole["header"][1:]), "malformed")
    table.case("claims: aud twice", world.token(claims=b'{"aud": "other", ' + whole["claims"][1:]), "malformed")
    table.case("header: white space about it", world.token(header=b"{ \r\n\t" + whole["header"][1:]))


def private_keys(world, table):
    for name in PRIVATE:
        table.case(
            f"private key: {name} of jwk", world.token(header={"jwk": {"kty": "RSA", name: "AQAB"}}), "private_key"
        )
        table.case(f"private key: {name} at the top", world.token(header={name: "AQAB"}), "private_key")
    for name, header in {
        "as Comcast's client has it": {"JWK": {"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB", "p": "AQAB"}},
        "in a list": {"x": [1, [{"y": {"d": "AQAB"}}]]},
        "of no value": {"x": {"d": None}},
        "an empty one": {"x": {"d": ""}},
        "of primes": {"x": {"oth": [{"r": "AQAB"}]}},
    }.items():
        table.case(f"private key: {name}", world.token(header=header), "private_key")
    table.case("private key: such names among the claims are nobody's key", world.token(claims={"d": 1, "x": {"k": 2}}))
    table.case("private key: such a name as a value", world.token(header={"x": ["d", "k"], "D": 1}))


def headers(world, table):
    for name, value in {
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "enc": "A128GCM",
        "jku": "https://keys.example",
        "x5u": "https://keys.example",
        "jwk": {"kty": "oct"},
    }.items():
        table.case(f"header: {name}", world.token(header={name: value}), "header")
        table.case(f"header: {name} of null", world.token(header={name: None}), "header")
    table.case("header: crit of nothing", world.token(header={"crit": []}), "header")
    table.case("header: b64 that is true", world.token(header={"b64": True}), "header")
    for typ in ("at+jwt", "application/jwt", "JWE", "", "JWT ", "JOSE+JSON", 1, None, True, ["JWT"], {}):
        table.case(f"header: typ {typ!r}", world.token(header={"typ": typ}), "header")
    for typ in (ABSENT, "jwt", "Jwt", "JOSE", "jose"):
        table.case(f"header: typ {'absent' if typ is ABSENT else typ}", world.token(header={"typ": typ}))
    more = {
        "cty": "JWT",
        "x5t": "bm9uZQ",
        "CRIT": ["exp"],
        "Jku": "https://keys.example",
        "x": {"y": [1, None, 1.5, "z"]},
    }
    table.case("header: parameters that nobody knows", world.token(header=more))


def algorithms(world, table):
    token = world.token(header={"alg": "none"})
    table.case("algorithm: none with a signature", token, "algorithm")
    table.case("algorithm: none without one", token.rsplit(".", 1)[0] + ".", "algorithm")
    public = world.holder.key.public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    for name, encoding in {"PEM": serialization.Encoding.PEM, "DER": serialization.Encoding.DER}.items():
        secret = public.public_bytes(encoding, form)
        table.case(
            f"algorithm: HS256 with the public key in {name}",
            world.token(alg="HS256", sign=lambda data, s=secret: hs256(s, data)),
            "algorithm",
        )
    certificate = world.holder.pem().encode()
    table.case(
        "algorithm: HS256 with the certificate",
        world.token(alg="HS256", sign=lambda data: hs256(certificate, data)),
        "algorithm",
    )
    for alg in ("RS384", "RS512"):
        table.case(f"algorithm: {alg}", world.token(alg=alg), "algorithm")
    for alg in (
        "None",
        "NONE",
        "rs256",
        "RS256 ",
        "PS384",
        "PS512",
        "RSA-OAEP",
        "dir",
        "Ed25519",
        "ES256K",
        "",
        None,
        1,
        ["RS256"],
        ABSENT,
    ):
        name = "absent" if alg is ABSENT else repr(alg)
        table.case(f"algorithm: {name}", world.token(header={"alg": alg}), "algorithm")
    # The signature is right, and the name another key's.
    for key, names in {
        "rsa2048": "ES256 ES384 EdDSA",
        "p256": "RS256 PS256 ES384 EdDSA",
        "p384": "RS256 PS256 ES256 EdDSA",
        "p521": "ES256 ES384 ES512",
        "ed25519": "RS256 PS256 ES256 ES384",
        "ed448": "EdDSA",
    }.items():
        for alg in names.split():
            table.case(f"algorithm: {alg} of {key}", world.token(world.below(key=key), {"alg": alg}), "algorithm")
    for bits in (1024, 2040, 4104):
        table.case(f"algorithm: RSA of {bits} bits", world.token(world.below(key=f"rsa{bits}")), "algorithm")
