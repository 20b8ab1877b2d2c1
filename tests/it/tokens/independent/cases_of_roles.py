"""Check 8: what an identity is granted, by a role that it asks for or by all grants that match it."""

from cryptography import x509

from certificates import DAY, Instance
from jws import ABSENT

ROLES = """
[[role]]
name = "reader"
allow = ["cf:app:{app}"]
policies = ["read", "list"]
max-ttl = "10m"

[[role]]
name = "of-the-space"
allow = ["cf:space:{space}", "cf:app:{other}"]
policies = ["space"]

[[role]]
name = "denied"
allow = ["cf:any"]
deny = ["cf:app:{app}"]
policies = ["admin"]

[[role]]
name = "others"
allow = ["cf:app:{other}"]
policies = ["admin"]

[[role]]
name = "bare"
allow = ["cf:any"]
policies = []

[[role]]
name = "uri"
allow = ["uri:spiffe://example.org/*"]
policies = ["mesh"]

[[role]]
name = "dns"
allow = ["dns:*.apps.internal", "dns:billing.example.org"]
policies = ["named"]

[[role]]
name = "cn"
allow = ["cn:billing"]
policies = ["named"]
"""

GRANTS = """
[[grant]]
allow = ["cf:app:{app}"]
policies = ["read", "list"]
max-ttl = "20m"

[[grant]]
allow = ["cf:org:{org}"]
policies = ["list", "org"]
max-ttl = "5m"

[[grant]]
allow = ["cf:any"]
deny = ["cf:space:{space}"]
policies = ["admin"]
max-ttl = "1m"

[[grant]]
allow = ["cf:app:{other}"]
policies = ["other"]
"""


def fill(text, me, other):
    return text.format(app=me.app, space=me.space, org=me.org, other=other.app)


def add(world, table):
    me, other, nobody = world.instance, Instance(), Instance()
    roles = "--roles", world.file("roles.toml", fill(ROLES, me, other))
    grants = "--roles", world.file("grants.toml", fill(ROLES + GRANTS, me, other))

    def case(name, reason, options, instance=me, **expected):
        token = world.token(world.below(instance=instance, ends=DAY))
        table.case(f"roles: {name}", token, reason, *options, **expected)

    def role(name):
        return *roles, "--role", name

    case(
        "the role that names the app",
        None,
        role("reader"),
        policies=["list", "read"],
        role="reader",
        ttl_seconds=[600, 600],
    )
    case(
        "the role that names the space",
        None,
        role("of-the-space"),
        policies=["space"],
        role="of-the-space",
        ttl_seconds=[DAY - 600, DAY],
    )
    case("the other app of that role", None, role("of-the-space"), other, policies=["space"], role="of-the-space")
    case("a role without policies", None, role("bare"), policies=[], role="bare")
    case("a role for others", "no_role", role("others"))
    case("a role that nobody knows", "no_role", role("unknown"))
    case("a role in other letters", "no_role", role("Reader"))
    case("a role with more behind its name", "no_role", role("reader "))
    case("deny beats allow", "no_role", role("denied"))
    case("who is not denied", None, role("denied"), other, policies=["admin"], role="denied")
    case("a role of an app that is nobody's", "no_role", role("reader"), nobody)
    case(
        "a role, where grants would match",
        None,
        (*grants, "--role", "reader"),
        policies=["list", "read"],
        role="reader",
        ttl_seconds=[600, 600],
    )
    case("a role for others, where grants would match", "no_role", (*grants, "--role", "others"))
    case(
        "all grants that match, and no other",
        None,
        grants,
        policies=["list", "org", "read"],
        role=None,
        ttl_seconds=[300, 300],
    )
    case("one grant alone", None, grants, nobody, policies=["admin"], role=None, ttl_seconds=[60, 60])
    case("no grant at all", None, roles, policies=[], role=None)
    case("no roles file", None, (), policies=[], role=None)
    short = world.token(world.below(ends=240))
    short_claims = {"exp": world.below(ends=200).ends}
    short = world.token(world.below(ends=240), claims=short_claims)
    table.case(
        "roles: no longer than the certificate",
        short,
        None,
        *role("reader"),
        policies=["list", "read"],
        role="reader",
        ttl_seconds=[1, 240],
    )
    # What a token asks for counts in Comcast's form alone.
    asking = world.token(claims={"Policies": ["admin"]})
    table.case(
        "roles: a standard token asks for nothing", asking, None, *grants, policies=["list", "org", "read"], role=None
    )
    others_names(world, table, roles)


def others_names(world, table, roles):
    """Names are those of certificates that are not Cloud Foundry's."""
    uri = "spiffe://example.org/billing"
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName("billing.example.org")]
    said = {"iss": uri, "sub": uri, **dict.fromkeys(("org_guid", "space_guid", "app_guid", "cf_instance_guid"), ABSENT)}
    for role, policies in {"uri": ["mesh"], "dns": ["named"], "cn": ["named"]}.items():
        token = world.token(world.below(units=[], name="billing", alternative=names), claims=said)
        table.case(
            f"roles: {role}, of a certificate that is not Cloud Foundry's",
            token,
            None,
            *roles,
            "--role",
            role,
            "--identity",
            "any",
            policies=policies,
            role=role,
        )
        ours = world.token(world.below(alternative=[*names, x509.DNSName("a.apps.internal")]))
        table.case(f"roles: {role}, of one that is", ours, "no_role", *roles, "--role", role, "--identity", "any")
    token = world.token(world.below(units=[], name="billing", alternative=names), claims=said)
    table.case("roles: cf:any is not for others", token, "no_role", *roles, "--role", "bare", "--identity", "any")
