#!/usr/bin/env python3
"""Measures what other busy programs make of the order of requests: does an urgent one wait for background work that the system has put aside?

    inversion.py [--facet BIN_FOLDER] [--model FILE] [--requests 30] [--phases 3] [--clients 8] [--threads 2] [--nice 0,5,10] [--together]

An endless loop runs per core. One client asks again and again with prompts of 64 tokens for 32 (interactive), without and beside clients
who send prompts of 2,000 tokens for 256 without pause (background). Phases of both kinds take turns. Shown are the time to the first token
(median, 95th percentile, worst; milliseconds), what it is beside the background relative to without it, the background's tokens per second,
the share of the cores that the loops got beside it, and whether the bound on the first token was met.

--nice measures a daemon for each value of background-nice, in turns. The system counts nice values inside a session or control group only:
each loop has a session of its own as other programs have, or that of the daemon with --together. Timing decides nothing.
"""
import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from bounds import Bound
from interference import Background, ask, milliseconds, row
from servers import Facet, Loops, default_facet, default_model, wait_until_ready

WANTED = 2.5  # times the first token without the background, at most


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facetd and facet")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--requests", type=int, default=30, help="interactive ones, in each of the two kinds of phase")
    parser.add_argument("--phases", type=int, default=3, help="of each kind")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--nice", default="", help="values of background-nice, separated by commas; default: the daemon's own")
    parser.add_argument("--together", action="store_true", help="the loops are in the daemon's session")
    return parser.parse_args()


class Side:
    """A daemon with one value of background-nice, and what was measured of it."""

    def __init__(self, nice: str, options: argparse.Namespace):
        self.name = f"background-nice {nice}" if nice else "facet"
        self.options = options
        self.alone, self.loaded = [], []
        self.tokens = self.loops = self.time = 0.0
        self.server = Facet(options.facet, options.model, options.threads, ("--background-nice", nice) if nice else ())

    def phase(self, number: int, loops: Loops):
        seeds = range(number * 1000, number * 1000 + self.options.requests // self.options.phases)
        self.alone += [ask(self.server, seed).first() for seed in seeds]
        background = Background(self.server, self.options.clients, number + 1)
        while self.server.status()["running"] < self.options.clients:
            background.check()
            time.sleep(0.2)
        busy, start = loops.seconds(), time.monotonic()
        for seed in seeds:
            time.sleep(1)
            self.loaded.append(ask(self.server, seed).first())
        self.loops += loops.seconds() - busy
        end = time.monotonic()
        background.stop()
        self.tokens += background.tokens(start, end)
        self.time += end - start

    def show(self):
        median = statistics.median(self.loaded) / statistics.median(self.alone)
        print(f"{self.name}: {len(self.alone)} interactive requests without the background, as many beside {self.options.clients} clients")
        print(f"  {'milliseconds':<28} {'median':>9} {'95%':>9} {'worst':>9}")
        print(row("first token, without", milliseconds(self.alone)))
        print(row("first token, beside it", milliseconds(self.loaded)))
        print(Bound("first token relative to that without, median", median, WANTED).line())
        print(f"  background {self.tokens / self.time:.1f} tokens/s, loops {100 * self.loops / self.time / os.cpu_count():.0f}% of the cores",
              flush=True)


def main() -> int:
    options = parse_arguments()
    loops = Loops(os.cpu_count(), options.together)
    sides = []
    try:
        for nice in options.nice.split(","):
            sides.append(Side(nice, options))
            wait_until_ready(sides[-1].server)
        for number in range(options.phases):
            for side in sides:
                side.phase(number, loops)
        for side in sides:
            side.show()
    finally:
        loops.stop()
        for side in sides:
            side.server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
