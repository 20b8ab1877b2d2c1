"""Checks 2 and 6 where they look at the clock: both sides of each bound.

What will be wrong a while later, or right, has half a minute for its run.
"""

import time

from certificates import DAY, authority

# Seconds between a bound and a token whose distance from it shrinks, and one whose distance grows.
SOON, PAST = 30, 5


def add(world, table):
    claims(world, table)
    lifetimes(world, table)
    certificates(world, table)


def claims(world, table):
    for skew, options in ((60, ()), (0, ("--skew", "0s")), (300, ("--skew", "5m"))):
        now = int(time.time())
        for name, changed, reason in (
            ("exp is over", {"exp": now - skew - PAST}, "expired"),
            ("exp is not over", {"exp": now - skew + SOON}, None),
            ("nbf is reached", {"nbf": now + skew - PAST}, None),
            ("nbf is not reached", {"nbf": now + skew + SOON}, "not_yet_valid"),
            ("iat is reached", {"iat": now + skew - PAST}, None),
            ("iat is not reached", {"iat": now + skew + SOON}, "issued_in_future"),
        ):
            # What is not asked is long enough ago and ahead.
            sound = {"iat": now - 1000, "nbf": now - 1000, "exp": now + 1000}
            table.case(f"clock, skew {skew}: {name}", world.token(claims={**sound, **changed}), reason, *options)
    table.case("clock: exp of 1970", world.token(claims={"exp": 1, "iat": 0, "nbf": 0}), "expired")
    table.case("clock: nbf of 1970", world.token(claims={"nbf": 0}))
    table.case("clock: nbf of 2099", world.token(claims={"nbf": 4_070_908_800}), "not_yet_valid")


def lifetimes(world, table):
    now = int(time.time())
    for name, options, longest in (
        ("default", (), 3600),
        ("two hours", ("--max-ttl", "2h"), 7200),
        ("a minute", ("--max-ttl", "60s"), 60),
    ):
        for more, reason in ((0, None), (1, "too_long")):
            said = {"iat": now, "exp": now + longest + more}
            table.case(f"lifetime, {name}: {more} over", world.token(claims=said), reason, *options)
    # It began long before, or says it did.
    table.case(
        "lifetime: of the past counts as well", world.token(claims={"iat": now - 3000, "exp": now + 601}), "too_long"
    )
    leaf = world.below(ends=1200)
    issuing = authority("a CA for half an hour", world.keys["p256"], world.root, ends=1200)
    root = authority("a root for half an hour", world.keys["p256"], ends=1200)
    below, below_root = world.below(issuer=issuing), world.below(issuer=root)
    file = world.file("short-lived.pem", root.pem())
    for name, holder, ends, ca in (
        ("leaf", leaf, leaf.ends, None),
        ("issuing CA", below, issuing.ends, None),
        ("trusted CA", below_root, root.ends, file),
    ):
        for more, reason in ((0, None), (1, "outlives_certificate")):
            token = world.token(holder, claims={"exp": ends + more})
            table.case(f"lifetime: {more} s beyond the {name}", token, reason, ca=ca)


def certificates(world, table):
    def case(name, holder, reason=None, ca=None):
        now = int(time.time())
        # The token itself ends with the path, if not before.
        said = {"iat": now, "exp": max(now + 20, min(now + 600, holder.ends))}
        table.case(f"dates: {name}", world.token(holder, claims=said), reason, ca=ca)

    def below(begins=-10 * DAY, ends=DAY, **changes):
        issuing = authority("a CA with dates", world.keys["p256"], world.root, begins=begins, ends=ends)
        return world.below(issuer=issuing, **changes)

    def below_root(name, begins=-10 * DAY, ends=DAY, **changes):
        root = authority("a root with dates", world.keys["p256"], begins=begins, ends=ends)
        return world.below(issuer=root, **changes), world.file(name, root.pem())

    expired, early = "certificate_expired", "certificate_not_yet_valid"
    case("the leaf has just ended", world.below(ends=-PAST), expired)
    case("the leaf is about to end", world.below(ends=SOON))
    case("the leaf has just begun", world.below(begins=-PAST))
    case("the leaf is about to begin", world.below(begins=SOON), early)
    case("the issuing CA has just ended", below(ends=-PAST), expired)
    case("the issuing CA is about to begin", below(begins=SOON), early)
    case("the issuing CA had ended before the leaf began", below(ends=-2 * DAY), expired)
    case("the issuing CA begins once the leaf has ended", below(begins=2 * DAY, ends=3 * DAY), early)
    holder, ca = below_root("ended.pem", ends=-PAST)
    case("the trusted CA has just ended", holder, expired, ca)
    holder, ca = below_root("begins.pem", begins=SOON)
    case("the trusted CA is about to begin", holder, early, ca)
    holder, ca = below_root("long-ended.pem", ends=-2 * DAY)
    case("the trusted CA had ended before the leaf began", holder, expired, ca)
    # Nobody vouches for it, so its dates mean nothing.
    stranger = authority("instance-identity-ca", world.keys["p256"])
    case("a stranger's that has ended", world.below(issuer=stranger, ends=-DAY, begins=-2 * DAY), "untrusted")
