"""What a record of a run says: whether anything grew, failed or stayed behind."""

import collections
import json
import math
from dataclasses import dataclass, field

WARM_UP = 10 * 60
# MiB of anonymous memory in an hour: what is surely more than this grows.
BOUND = 0.2
# What is known less well than this is not known.
COARSEST = 0.5
# Student's t, 97.5 %, by degrees of freedom.
T = [
    12.71,
    4.30,
    3.18,
    2.78,
    2.57,
    2.45,
    2.36,
    2.31,
    2.26,
    2.23,
    2.20,
    2.18,
    2.16,
    2.14,
    2.13,
    2.12,
    2.11,
    2.10,
    2.09,
    2.09,
]


def slope(points):
    """The slope of a line through `points` by least squares, and half the width of its 95 % interval."""
    count = len(points)
    if count < 3:
        return 0.0, math.inf
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    steep = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - steep * (x - mean_x)) ** 2 for x, y in points)
    t = T[count - 3] if count - 3 < len(T) else 2.0
    return steep, t * math.sqrt(rest / (count - 2) / spread)


@dataclass
class Course:
    """One instance through the run: (hours, MiB) under load and while it was quiet."""

    loaded: list = field(default_factory=list)
    quiet: list = field(default_factory=list)
    idle: list = field(default_factory=list)
    most: dict = field(default_factory=lambda: collections.Counter())
    starts: int = 1
    cpu: dict = field(default_factory=dict)

    @property
    def is_steady(self):
        return self.starts == 1

    def trend(self):
        return slope([point for point in self.quiet if point[0] * 3600 >= WARM_UP])


class Record:
    """A record, read."""

    def __init__(self, path):
        self.courses = collections.defaultdict(Course)
        self.failures, self.faults, self.counts, self.run, self.quiets, self.end = [], [], {}, {}, 0, None
        self.driver, self.loads = [], []
        with open(path, encoding="utf-8") as file:
            for line in file:
                self.take(json.loads(line))

    def take(self, event):
        kind = event["event"]
        if kind == "run":
            self.run = event
        elif kind in ("sample", "quiet"):
            self.sample(event, kind == "quiet")
        elif kind == "failure":
            self.failures.append(event)
        elif kind == "counts":
            self.counts = event
        elif kind == "end":
            self.end = event
            self.faults += [
                f"{name} has ended with status {status}" for name, status in event["statuses"].items() if status != 0
            ]
        elif kind == "stuck":
            self.faults.append("they did not let go: " + ", ".join(event["workers"]))
        elif kind == "not idle":
            self.faults.append(f"{event['instance']} was not idle: {event['faults']}")
        else:
            self.faults.append(f"{kind}: {event}")

    def sample(self, event, is_quiet):
        self.start = getattr(self, "start", event["time"])
        hours = (event["time"] - self.start) / 3600
        self.hours = hours
        self.quiets += is_quiet
        self.driver.append(event["driver"])
        self.loads.append(event["load"])
        for name, used in event["instances"].items():
            course = self.courses[name]
            course.starts = max(course.starts, used["start"])
            course.cpu[used["start"]] = used["cpu"]
            point = (hours, used["anonymous"] / 1024)
            if is_quiet:
                course.quiet.append(point)
                course.idle.append(event["idle"].get(name))
            else:
                course.loaded.append(point)
                for what in ("descriptors", "threads", "anonymous", "rss"):
                    course.most[what] = max(course.most[what], used[what])

    def cpu(self):
        """Seconds of all instances."""
        return sum(sum(course.cpu.values()) for course in self.courses.values())

    def judge(self, brief=False):
        """What is wrong, a line each; none if all is well. `brief`: whatever memory has done."""
        wrong = list(self.faults)
        if self.end is None:
            wrong.append("the run did not come to its end")
        for kind, count in sorted(self.counts.get("failed", {}).items()):
            wrong.append(f"failed {count} times: {kind}")
        for name, log in self.counts.get("logs", {}).items():
            wrong += [f"{name} has logged an error: {line[:300]}" for line in log["errors"]]
            wrong += [
                f"{name}: {count} ended as {reason}"
                for reason, count in log["reasons"].items()
                if reason.endswith("internal")
            ]
        for name, course in self.courses.items():
            if any(idle != course.idle[0] for idle in course.idle):
                wrong.append(f"{name} had other counts when it was quiet: {course.idle}")
            if course.is_steady and not brief:
                steep, width = course.trend()
                if steep - width > BOUND:
                    wrong.append(f"{name} grows by {steep:.2f} ± {width:.2f} MiB an hour")
                elif width > COARSEST:
                    wrong.append(
                        f"{name}: {steep:.2f} ± {width:.2f} MiB an hour is too little to know; let it run longer"
                    )
        return wrong
