"""HTTP/2: h2spec, which knows what RFC 9113 and RFC 7541 demand, and h2load, which asks much at once."""

import re
import subprocess
import xml.etree.ElementTree

from .proxy import Proxy
from .result import Result


def h2spec(proxy, tools, expected, folder):
    """All of its cases, the strict ones too."""
    out = folder / f"h2spec-{proxy.mode}.xml"
    secure = [] if proxy.mode == "http-plain" else ["--tls", "--insecure"]
    ended = subprocess.run([str(tools.h2spec), *secure, "--strict", "--host", "127.0.0.1", "--port", str(proxy.port),
                            "--timeout", "5", "--junit-report", str(out)], capture_output=True, text=True, check=False, timeout=1200)
    cases, failed = 0, []
    for case in xml.etree.ElementTree.parse(out).getroot().iter("testcase"):
        cases += 1
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('package')}: {case.get('classname')}")
    known = expected.get(proxy.mode, {})
    wrong = [name for name in failed if name not in known]
    wrong += [f"{name}: it passes now; take it out" for name in known if name not in failed]
    if not cases:
        wrong.append(ended.stdout[-500:] + ended.stderr[-500:])
    return Result.judged("h2spec", proxy.mode, f"{cases - len(failed)} of {cases} cases pass", wrong)


def h2load(proxy, arguments, requests):
    """Every request is answered with success."""
    scheme = "http" if proxy.mode == "http-plain" else "https"
    ended = subprocess.run(["h2load", "-n", str(requests), *arguments, f"{scheme}://127.0.0.1:{proxy.port}/"],
                           capture_output=True, text=True, check=False, timeout=600)
    found = re.search(r"requests: (\d+) total.*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", ended.stdout)
    good = found and found[2] == str(requests)
    what = f"h2load {' '.join(arguments)}: {found[2] if found else 0} of {requests} requests"
    return Result.judged("h2load", proxy.mode, what, [] if good else [ended.stdout[-500:] + ended.stderr[-500:]])


def attack(tools, binary, credentials, folder, expected):
    """Over TLS and in plaintext."""
    for mode in ("http", "http-plain"):
        with Proxy(binary, credentials, mode, folder) as proxy:
            yield h2spec(proxy, tools, expected, folder)
            yield h2load(proxy, ["-c", "50", "-m", "20"], 5000)
            yield h2load(proxy, ["-c", "50", "--h1"], 5000)
            yield Result.judged("HTTP/2", mode, "the proxy afterwards", proxy.unwell())
