"""Threads that do one thing again and again, a gate that stops them all, and what is known of their failures."""

import collections
import random
import ssl
import threading
import time
import traceback


class Gate:
    """Closed, nobody begins anything new, and whoever holds something lets go of it."""

    def __init__(self):
        self.condition, self.is_open, self.inside, self.ended = threading.Condition(), True, set(), False

    def enter(self, who):
        """Whether there is anything to be done; it waits while the gate is closed."""
        with self.condition:
            self.condition.wait_for(lambda: self.is_open or self.ended)
            if not self.ended:
                self.inside.add(who)
            return not self.ended

    def leave(self, who):
        with self.condition:
            self.inside.discard(who)
            self.condition.notify_all()

    def close(self, within):
        """Waits until nobody is inside any more, and says who still is."""
        with self.condition:
            self.is_open = False
            self.condition.notify_all()
            self.condition.wait_for(lambda: not self.inside, within)
            return set(self.inside)

    def open(self):
        with self.condition:
            self.is_open = True
            self.condition.notify_all()

    def end(self):
        with self.condition:
            self.ended = True
            self.condition.notify_all()

    def pause(self, seconds):
        """Waits, but not while others wait for the gate to be closed. Whether it is still open."""
        with self.condition:
            self.condition.wait_for(lambda: not self.is_open or self.ended, seconds)
            return self.is_open and not self.ended


class Disturbances:
    """What is out of order on purpose, and when it was: whoever meets it may fail."""

    def __init__(self):
        self.windows, self.lock = collections.defaultdict(list), threading.Lock()

    def begin(self, subject):
        window = [time.time(), None]
        with self.lock:
            self.windows[subject].append(window)
            del self.windows[subject][:-50]
        return window

    def end(self, window, grace=0.5):
        window[1] = time.time() + grace

    def met(self, subjects, start, end):
        """The subject that was disturbed between these times; `None`: none was."""
        with self.lock:
            for subject in subjects:
                for began, over in self.windows[subject]:
                    if began <= end and (over is None or over >= start):
                        return subject
        return None


class Ledger:
    """What was done and what came of it."""

    def __init__(self, world, disturbances, events):
        self.world, self.disturbances, self.events = world, disturbances, events
        self.lock, self.done = threading.Lock(), collections.Counter()
        self.excused, self.failed = collections.Counter(), collections.Counter()
        self.notes = collections.Counter()

    def note(self, what):
        """Something that is no failure and yet worth a count."""
        with self.lock:
            self.notes[what] += 1

    def succeeded(self, kind):
        with self.lock:
            self.done[kind] += 1

    def failed_by(self, kind, subjects, start, error):
        end = time.time()
        reason = reason_of(error)
        subject = self.disturbances.met(subjects, start, end)
        with self.lock:
            if subject:
                self.excused[f"{kind}: {reason} ({subject})"] += 1
                return
            self.failed[f"{kind}: {reason}"] += 1
            total = sum(self.failed.values())
        context = {}
        if total <= 200:
            # The access log entry comes a moment after what the client saw.
            time.sleep(0.5)
            for name in subjects:
                if instance := self.world.instances.get(name):
                    context[name] = instance.log.between(start - 0.5, time.time())[-60:]
        self.events.write(
            "failure",
            kind=kind,
            reason=reason,
            started=start,
            took=round(end - start, 3),
            trace=trace_of(error),
            log=context,
        )


def reason_of(error):
    if isinstance(error, ssl.SSLError):
        return f"{type(error).__name__} {error.reason}"
    return f"{type(error).__name__} {str(error)[:120]}"


def trace_of(error):
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.name}:{frame.lineno}" for frame in frames][-6:]


class Worker(threading.Thread):
    """Calls `operation(random)` about every `every` seconds, at times that chance decides."""

    def __init__(self, kind, operation, every, subjects, gate, ledger, seed):
        super().__init__(name=kind, daemon=True)
        self.kind, self.operation, self.every, self.subjects = kind, operation, every, subjects
        self.gate, self.ledger, self.random = gate, ledger, random.Random(f"{seed} {kind}")

    def run(self):
        self.gate.pause(self.random.uniform(0, self.every))
        while self.gate.enter(self):
            start = time.time()
            try:
                self.operation(self.random)
                self.ledger.succeeded(self.kind)
            except Exception as error:
                self.ledger.failed_by(self.kind, self.subjects, start, error)
            finally:
                self.gate.leave(self)
            self.gate.pause(min(self.random.expovariate(1 / self.every), 4 * self.every))
