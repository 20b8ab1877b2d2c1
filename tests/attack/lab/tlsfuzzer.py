"""tlsfuzzer: its scripts for servers, each with the conversations that are known to go another way here, and why."""

import ast
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .proxy import Proxy
from .result import LEFT_OUT, Result

# Most of a script's time is waiting for a silent server.
AT_ONCE = 4


def conversations(output):
    """How many conversations went as the script expects, and the others with what came instead."""
    reasons, name = {}, None
    for line in output.splitlines():
        if found := re.match(r"^(.+?) ?\.\.\.$", line):
            name = found[1]
        elif name and (found := re.match(r"^(?:[\w.]*(?:Error|Exception|Alert)|timeout)\b:? ?(.*)$", line)):
            reasons[name] = found[1] or line
    summary = re.search(r"^FAILED:\n((?:\t.*\n?)+)", output, re.MULTILINE)
    listed = [ast.literal_eval(line.strip()) for line in summary[1].splitlines()] if summary else []
    passed = re.search(r"^PASS: +(\d+)", output, re.MULTILINE)
    return int(passed[1]) if passed else None, {name: reasons.get(name, "") for name in listed}


def _judge(run, script, output, status):
    """One result: what goes another way than the script wants has to be known, and has to go so still."""
    expected = run.get("otherwise", {})
    passed, wrong = conversations(output)
    details, met = [], set()
    if passed is None:
        details += [f"status {status}: {line}" for line in output.strip().splitlines()[-3:]]
    for name, reason in wrong.items():
        known = [pattern for pattern in expected if re.fullmatch(pattern, name)]
        met.update(known)
        if not known:
            details.append(f"{name}: {reason}")
    otherwise = len(wrong) - len(details)
    if not run.get("sampled"):
        details += [f"{pattern}: all of it goes as the script wants now; take it out" for pattern in expected if pattern not in met]
    what = f"{script}: {passed or 0} as it wants" + (f", {otherwise} otherwise" if otherwise else "")
    return Result.judged("tlsfuzzer", run["mode"], what, details)


def _run(tools, credentials, folder, proxy, run, script):
    arguments = list(run.get("args", []))
    if kind := run.get("client"):
        certificate, key = credentials.client(kind)
        arguments += ["-c", certificate, "-k", key]
    launcher = [Path(__file__).with_name("aead.py")] if run.get("aead") else []
    path = tools.tlsfuzzer / "scripts" / f"test-{script}.py"
    command = [tools.python, *launcher, path, "-h", "127.0.0.1", "-p", proxy.port, *arguments]
    try:
        ended = subprocess.run(list(map(str, command)), cwd=tools.tlsfuzzer, capture_output=True, text=True, timeout=900, check=False)
    except subprocess.TimeoutExpired:
        return Result.judged("tlsfuzzer", run["mode"], script, ["it did not end within 15 minutes"])
    output = ended.stdout + ended.stderr
    (folder / f"tlsfuzzer-{run['mode']}-{script}.log").write_text(output)
    return _judge(run, script, output, ended.returncode)


def attack(tools, binary, credentials, folder, expected, only=""):
    """Runs what `expected` lists, in its modes, and yields the results; only scripts with `only` in their name, if it is given."""
    runs = [(run, script) for run in expected["run"] for script in run["scripts"] if only in script]
    there = {path.name.removeprefix("test-").removesuffix(".py") for path in (tools.tlsfuzzer / "scripts").glob("test-*.py")}
    named = {script for run in expected["run"] for script in run["scripts"]} | set(expected["left-out"])
    if unnamed := sorted(there - named):
        yield Result.judged("tlsfuzzer", "-", "scripts that no expectation names", unnamed)
    yield from (Result("tlsfuzzer", "-", name, LEFT_OUT, [why]) for name, why in expected["left-out"].items() if not only)
    for mode in dict.fromkeys(run["mode"] for run, _ in runs):
        with Proxy(binary, credentials, mode, folder) as proxy, ThreadPoolExecutor(AT_ONCE) as pool:
            started = [pool.submit(_run, tools, credentials, folder, proxy, *one) for one in runs if one[0]["mode"] == mode]
            yield from (result.result() for result in started)
            yield Result.judged("tlsfuzzer", mode, "the proxy afterwards", proxy.unwell())
