"""What was found, as rows of a table."""

import dataclasses

GOOD, FINDING, LEFT_OUT = "as expected", "FINDING", "left out"


@dataclasses.dataclass
class Result:
    """One run of one tool.

    `details` has a line for each thing that is not as the expectation says, or why it was left out.
    """

    tool: str
    mode: str
    what: str
    status: str
    details: list = dataclasses.field(default_factory=list)

    @classmethod
    def judged(cls, tool, mode, what, wrong):
        """A finding if there is anything in `wrong`."""
        return cls(tool, mode, what, FINDING if wrong else GOOD, list(wrong))

    def __str__(self):
        head = f"{self.status:<12} {self.tool:<12} {self.mode:<10} {self.what}"
        return "\n".join([head, *(f"{'':<13}{line}" for line in self.details)])


def table(results):
    """The results by tool and mode, as a table of Markdown."""
    rows = {}
    for result in results:
        counts = rows.setdefault((result.tool, result.mode), {GOOD: 0, FINDING: 0, LEFT_OUT: 0})
        counts[result.status] += 1
    lines = [f"| tool | mode | {GOOD} | {FINDING} | {LEFT_OUT} |", "|---|---|---:|---:|---:|"]
    lines += [f"| {tool} | {mode} | {' | '.join(map(str, counts.values()))} |" for (tool, mode), counts in rows.items()]
    return "\n".join(lines)
