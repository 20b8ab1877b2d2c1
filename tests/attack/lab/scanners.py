"""Scanners: testssl.sh, sslscan and sslyze. What they find has to be what `expected/scanners.toml` says, no more and no less."""

import json
import re
import subprocess
import xml.etree.ElementTree

from .proxy import Proxy
from .result import Result

# What sslyze is asked for: all that it can do without the Internet.
_SSLYZE = ["sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "compression", "early_data", "openssl_ccs", "fallback",
           "heartbleed", "robot", "reneg", "resum", "elliptic_curves", "ems"]


def _differences(what, found, expected):
    extra, missing = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
    return [f"{what}: {name} was found" for name in extra] + [f"{what}: {name} was not found" for name in missing]


def _expected_names(expected, mode):
    key = "ecdsa" if mode in expected["ecdsa_modes"] else "rsa"
    only13 = mode in expected["tls13_modes"]
    versions = ["1.3"] if only13 else ["1.2", "1.3"]
    suites = expected["suites"]["tls13"] + ([] if only13 else expected["suites"][key])
    return versions, suites


def sslscan(proxy, expected, folder):
    """Versions, suites and groups by sslscan, renegotiation, compression and Heartbleed."""
    out = folder / f"sslscan-{proxy.mode}.xml"
    subprocess.run(["sslscan", "--no-colour", f"--xml={out}", f"127.0.0.1:{proxy.port}"], capture_output=True, check=False,
                   timeout=600)
    test = xml.etree.ElementTree.parse(out).getroot().find("ssltest")
    versions, suites = _expected_names(expected, proxy.mode)
    by_id = {suite["id"].lower(): suite["name"] for suite in expected["suite"]}
    wrong = _differences("version", [entry.get("version") for entry in test.findall("protocol") if entry.get("enabled") == "1"],
                         versions)
    found = [by_id.get(entry.get("id").lower(), entry.get("cipher")) for entry in test.findall("cipher")]
    wrong += _differences("suite", found, suites)
    groups = [entry.get("name").split()[0] for entry in test.findall("group")]
    wrong += _differences("group", groups, expected["groups"]["sslscan"])
    for entry in test.findall("heartbleed"):
        wrong += ["Heartbleed"] if entry.get("vulnerable") != "0" else []
    for entry in test.findall("renegotiation"):
        wrong += ["renegotiation"] if entry.get("supported") != "0" and entry.get("secure") == "0" else []
    for entry in test.findall("compression"):
        wrong += ["compression"] if entry.get("supported") != "0" else []
    return Result.judged("sslscan", proxy.mode, f"{len(found)} suites, {len(set(groups))} groups", wrong)


def sslyze(proxy, tools, client, expected, folder):
    """The same by sslyze, and the attacks that it knows."""
    out = folder / f"sslyze-{proxy.mode}.json"
    certificate, key = client
    shown = ["--cert", certificate, "--key", key] if "mtls" in proxy.mode else []
    command = [tools.bin / "sslyze", *shown, *(f"--{what}" for what in _SSLYZE), "--mozilla_config", "disable", f"--json_out={out}",
               f"127.0.0.1:{proxy.port}"]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=600)
    scans = json.loads(out.read_text())["server_scan_results"]
    if not scans or not scans[0]["scan_result"]:
        return Result.judged("sslyze", proxy.mode, "no result", [ended.stdout[-500:]])
    found = {name: scan["result"] for name, scan in scans[0]["scan_result"].items() if scan["status"] == "COMPLETED"}
    wrong = [f"{name}: {scan['error_reason']}" for name, scan in scans[0]["scan_result"].items() if scan["status"] == "ERROR"]
    versions, suites = _expected_names(expected, proxy.mode)
    accepted = {name: [it["cipher_suite"]["name"] for it in result["accepted_cipher_suites"]]
                for name, result in found.items() if name.endswith("_cipher_suites")}
    spoken = [name.removesuffix("_cipher_suites").removeprefix("tls_").replace("_", ".") for name, them in accepted.items() if them]
    wrong += _differences("version", spoken, versions)
    wrong += _differences("suite", sum(accepted.values(), []), suites)
    if curves := (found.get("elliptic_curves") or {}).get("supported_curves"):
        wrong += _differences("group", [curve["name"] for curve in curves], expected["groups"]["sslyze"])
    for scan, answers in expected["sslyze"].items():
        if scan not in found and proxy.mode not in expected["tls13_modes"]:
            wrong.append(f"{scan}: was not asked for")
        for name, value in answers.items():
            if scan in found and found[scan][name] not in (value if isinstance(value, list) else [value]):
                wrong.append(f"{scan}: {name} is {found[scan][name]}")
    return Result.judged("sslyze", proxy.mode, f"{len(found)} scans, {sum(map(len, accepted.values()))} suites", wrong)


def testssl(proxy, expected, folder):
    """Everything that testssl.sh looks for; each finding above INFO has to be expected."""
    out = folder / f"testssl-{proxy.mode}.json"
    out.unlink(missing_ok=True)
    subprocess.run(["testssl", "--quiet", "--warnings", "off", "--color", "0", "--jsonfile", str(out),
                    f"127.0.0.1:{proxy.port}"], capture_output=True, check=False, timeout=1200)
    entries = json.loads(out.read_text())
    wrong, met = [], set()
    for entry in entries:
        known = expected["testssl"].get(entry["id"])
        if entry["severity"] in ("OK", "INFO"):
            continue
        met.add(entry["id"])
        if known is None:
            wrong.append(f"{entry['severity']} {entry['id']}: {entry['finding']}")
    by_id = {entry["id"]: entry for entry in entries}
    for name, pattern in expected["testssl-says"].items():
        if name not in by_id and proxy.mode in expected["tls13_modes"]:
            # Without TLS 1.2 it does not ask for some.
            continue
        finding = by_id.get(name, {}).get("finding", "nothing")
        if not re.search(pattern, finding):
            wrong.append(f"{name}: {finding}, and not {pattern}")
    return Result.judged("testssl.sh", proxy.mode, f"{len(entries)} findings, {len(met)} of them expected above INFO", wrong)


def attack(tools, binary, credentials, folder, expected):
    """All three in the modes that `expected` lists."""
    for mode, names in expected["runs"].items():
        with Proxy(binary, credentials, mode, folder) as proxy:
            if "sslscan" in names:
                yield sslscan(proxy, expected, folder)
            if "sslyze" in names:
                yield sslyze(proxy, tools, credentials.client("p256"), expected, folder)
            if "testssl" in names:
                yield testssl(proxy, expected, folder)
            yield Result.judged("scanners", mode, "the proxy afterwards", proxy.unwell())
