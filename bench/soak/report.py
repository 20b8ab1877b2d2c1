"""The record of a run as it stands in docs/soak.md: between two marks, and the plot beside the other images."""

import collections
import datetime
from pathlib import Path

from plot import plot
from verdict import BOUND, WARM_UP

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"


def write(record, page):
    """Replaces what stands between the marks of `page`, and the image."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    behind = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{body(record)}\n{END}{behind}", encoding="utf-8")
    when = f"{day(record)}, {record.hours:.1f} hours"
    (page.parent / "images/soak.svg").write_text(
        plot(record, f"Anonymous memory in MiB: the line under load, dots while nobody was there. {when}."),
        encoding="utf-8",
    )


def day(record):
    return datetime.datetime.fromtimestamp(record.run["time"], datetime.timezone.utc).strftime("%Y-%m-%d")


def body(record):
    counts, run = record.counts, record.run
    done, excused, failed = (sum(counts[name].values()) for name in ("done", "excused", "failed"))
    seconds = record.hours * 3600
    lines = [
        f"{day(record)}, {record.hours:.2f} hours, {record.quiets} times quiet; {run['version']} "
        f"(SHA-256 `{run['sha256'][:16]}`), Linux {run['kernel']}, {run['cpus']} CPUs.",
        f"All instances together took {100 * record.cpu() / seconds:.1f} % of a CPU, "
        f"the driver {100 * record.driver[-1] / seconds:.1f} %; "
        f"others used the machine too (load {min(record.loads):.1f} to {max(record.loads):.1f}).",
        "",
        verdict(record),
        "",
        f"{number(done)} things were done as they should be, {number(excused)} met something that was out of order "
        f"on purpose, and {number(failed)} failed beyond that.",
        "",
        "| instance | starts | idle memory, MiB: first, last | more in an hour, MiB | under load, MiB: at most "
        "| descriptors: idle, at most | threads: idle, at most |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [row(name, course) for name, course in record.courses.items()]
    lines += [
        "",
        f"Memory is anonymous memory while nobody was there, from {WARM_UP // 60} minutes on; "
        f"*more in an hour* is the slope of a line through it, with its 95 % interval ({BOUND} is the bound).",
        "",
        "![Anonymous memory of each instance over the run](images/soak.svg)",
        "",
    ]
    lines += table("What was done", grouped(counts["done"]))
    lines += table("What else was counted", counts["notes"])
    lines += table("What met something that was out of order on purpose, and what it saw", excuses(counts["excused"]))
    return "\n".join(lines).rstrip()


def row(name, course):
    steady = [value for hours, value in course.quiet if hours * 3600 >= WARM_UP] or [value for _, value in course.quiet]
    steep, width = course.trend()
    trend = f"{steep:+.2f} ± {width:.2f}" if course.is_steady else ""
    idle, most = course.idle[-1], course.most
    return (
        f"| `{name}` | {course.starts} | {steady[0]:.2f}, {steady[-1]:.2f} | {trend} | {most['anonymous'] / 1024:.1f} "
        f"| {idle['descriptors']}, {most['descriptors']} | {idle['threads']}, {most['threads']} |"
    )


def table(title, counts):
    rows = [f"| {what} | {number(count)} |" for what, count in sorted(counts.items())]
    return ["<details>", f"<summary>{title}</summary>", "", "| | times |", "|---|---:|", *rows, "", "</details>", ""]


def grouped(done):
    """The ports of one instance together, and all scrapes."""
    groups = collections.Counter()
    for kind, count in done.items():
        whose, _, what = kind.partition(": ")
        whose = "admin listeners" if whose.startswith("admin") else whose.partition(" 6")[0]
        groups[f"{whose}: {what}" if what else whose] += count
    return groups


def excuses(excused):
    """What clients saw, whichever they were."""
    groups = collections.Counter()
    for kind, count in excused.items():
        groups[kind.split(": ", 2)[-1].replace("Broken ", "")] += count
    return groups


def verdict(record):
    wrong = record.judge()
    if not wrong:
        return "**Verdict: flat.** Nothing grew, nothing stayed behind, and nothing failed that was not meant to."
    return "**Verdict: not as it should be.**\n\n" + "\n".join(f"- {line}" for line in wrong)


def number(count):
    return f"{count:,}"


def main(record, page, brief):
    """The exit status, after what is wrong."""
    if page:
        write(record, Path(page))
    wrong = record.judge(brief)
    print("\n".join(wrong) or f"{record.hours:.2f} hours: nothing grew, stayed behind or failed")
    return 1 if wrong else 0
