"""Hours of mixed load in every mode at once: do memory, descriptors and threads stay where they are?"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import report
from run import Run
from verdict import Record


def main():
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--program", help="the program that is to be tried")
    what.add_argument("--judge", metavar="EVENTS", help="say of an earlier run, by its events.jsonl, how it was")
    parser.add_argument("--write", metavar="PAGE", help="put the record into this page, docs/soak.md")
    parser.add_argument("--brief", action="store_true", help="do not judge memory, for which a short run says nothing")
    parser.add_argument("--minutes", type=float, default=120, help="for how long (120)")
    parser.add_argument("--quiet-every", type=float, default=3, metavar="MINUTES", help="how often all load stops (3)")
    parser.add_argument("--pace", type=float, default=1, help="how much faster than usual (1)")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (1)")
    parser.add_argument("--first-port", type=int, default=21000, help="ports from here on are free (21000)")
    parser.add_argument(
        "--out", default="target/soak", help="where the record of the run and all files go (target/soak)"
    )
    options = parser.parse_args()
    events = options.judge
    if not events:
        # Others are to be served first: what is measured here is not speed.
        os.nice(10)
        events = Run(options).whole()
    return report.main(Record(events), options.write, options.brief)


sys.exit(main())
