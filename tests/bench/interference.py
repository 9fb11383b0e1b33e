#!/usr/bin/env python3
"""Measures what background clients do to one who waits for an answer, with facetd and with llama.cpp's server.

    interference.py [--facet BIN_FOLDER] [--peer BIN_FOLDER] [--model FILE] [--requests 30 | --quick] [--clients 8] [--threads 2]
                    [--window 30] [--busy]

A daemon with the model serves two kinds of client: one asks again and again with prompts of 64 tokens for 32 (interactive), the others
without pause with prompts of 2,000 tokens for 256 (background). Phases alone and under load take turns, so that a machine that slows down meets
both alike. Shown are the time to the first token and the interval between tokens of the one who waits (median, 95th percentile,
worst; milliseconds), and the background's tokens per second, alone and beside it. With --peer the same for llama-server. --busy runs an
endless loop per core besides, in all phases.

Then a daemon with few places is asked the same while requests are parked, evicted, cancelled and read out of the prefix cache; the run fails
if one of these did not happen. Every interactive answer must have the tokens that the same request gave alone; exit code 1 if one has not.
Timing decides nothing.
"""
import argparse
import os
import random
import statistics
import sys
import threading
import time
from pathlib import Path

from servers import Facet, Loops, Peer, default_facet, default_model, ids, wait_until_ready

PROMPT, ANSWER = 64, 32
LONG_PROMPT, LONG_ANSWER = 2000, 256


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facetd and facet")
    parser.add_argument("--peer", type=Path, help="the folder of llama-server")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--requests", type=int, default=30, help="interactive ones, in each of the two kinds of phase")
    parser.add_argument("--phases", type=int, default=3, help="of each kind")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between interactive requests")
    parser.add_argument("--window", type=float, default=30.0, help="seconds in which the background is counted alone, per phase")
    parser.add_argument("--busy", action="store_true", help="an endless loop per core besides")
    parser.add_argument("--quick", action="store_true", help="6 requests, 2 phases")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.phases = 6, 2
    return options


class Background:
    """Clients without pause, until stopped; counts their tokens. `mixed`: some give up in mid-answer, some ask what was asked before."""

    def __init__(self, server, clients: int, seed: int, mixed: bool = False):
        self.server, self.running, self.mixed = server, True, mixed
        self.tokens, self.cancels = 0, 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(seed * 1000 + i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def work(self, seed: int):
        draw = random.Random(seed)
        while self.running:
            seed += 100 if not self.mixed or draw.random() < 0.7 else 0
            most = draw.randrange(1, 60) if self.mixed and draw.random() < 0.4 else LONG_ANSWER + 1
            answer = self.server.answer(ids(LONG_PROMPT, seed), LONG_ANSWER, "background")
            for count, _ in enumerate(answer, 1):
                with self.lock:
                    self.tokens += 1
                    self.cancels += count == most
                if not self.running or count == most:
                    break
            answer.close()

    def wait_until_at_work(self):
        while self.tokens < len(self.threads):
            time.sleep(0.2)

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()


def ask(server, seed: int) -> dict:
    tokens, times = zip(*server.answer(ids(PROMPT, seed), ANSWER, "interactive"))
    return {"tokens": tokens, "first": times[0], "intervals": [b - a for a, b in zip(times, times[1:])], "took": times[-1]}


def row(name: str, values: list[float]) -> str:
    values = sorted(1000 * v for v in values)
    return f"  {name:<28} {statistics.median(values):9.1f} {values[int(0.95 * (len(values) - 1))]:9.1f} {values[-1]:9.1f}"


def measure(name: str, server, options: argparse.Namespace) -> dict[int, tuple]:
    """Prints the table; returns the tokens of each seed, or nothing if they differ between alone and under load."""
    results = {"alone": [], "loaded": []}
    rates = {"background alone": [], "background beside it": []}
    busy = 0.0
    for phase in range(options.phases):
        seeds = range(phase * 1000, phase * 1000 + options.requests // options.phases)
        for seed in seeds:
            results["alone"].append(ask(server, seed) | {"seed": seed})
            time.sleep(options.pause / 4)
        background = Background(server, options.clients, phase + 1)
        background.wait_until_at_work()
        for kind in rates:
            before, start = background.tokens, time.monotonic()
            if kind == "background alone":
                time.sleep(options.window)
            else:
                for seed in seeds:
                    results["loaded"].append(ask(server, seed))
                    busy += results["loaded"][-1]["took"]
                    time.sleep(options.pause)
            rates[kind].append(((background.tokens - before), time.monotonic() - start))
        background.stop()
    same = all(a["tokens"] == b["tokens"] for a, b in zip(results["alone"], results["loaded"]))
    print(f"{name}: {len(results['alone'])} interactive requests alone, as many beside {options.clients} background clients")
    print(f"  {'milliseconds':<28} {'median':>9} {'95%':>9} {'worst':>9}")
    for kind, answers in results.items():
        print(row(f"first token, {kind}", [a["first"] for a in answers]))
        print(row(f"token interval, {kind}", [i for a in answers for i in a["intervals"]]))
    for kind, parts in rates.items():
        print(f"  {kind:<28} {sum(p[0] for p in parts) / sum(p[1] for p in parts):9.1f} tokens/s")
    share = busy / sum(p[1] for p in rates["background beside it"])
    print(f"  an interactive request ran in {100 * share:.0f}% of the time beside it")
    print(f"  tokens: {'the same alone and under load' if same else 'NOT the same alone and under load'}", flush=True)
    return {a["seed"]: a["tokens"] for a in results["alone"]} if same else {}


def disturb(tokens: dict[int, tuple], options: argparse.Namespace) -> bool:
    """The same requests on a daemon with few places, everything happening around them."""
    places = max(2, options.clients // 2)
    server = Facet(options.facet, options.model, options.threads, ("--max-sequences", str(places)))
    try:
        wait_until_ready(server)
        background = Background(server, options.clients, 77, mixed=True)
        background.wait_until_at_work()
        same = all(ask(server, seed)["tokens"] == expected for seed, expected in tokens.items())
        deadline = time.monotonic() + 120
        while not (background.cancels and server.status()["cached_tokens"]) and time.monotonic() < deadline:
            time.sleep(1)
        status = server.status()
        background.stop()
    finally:
        server.stop()
    happened = {kind: status[kind] for kind in ("parked", "evicted", "cached_tokens")} | {"cancelled": background.cancels}
    print(f"with {places} places: " + ", ".join(f"{kind} {count}" for kind, count in happened.items()))
    print(f"  tokens: {'the same as alone' if same else 'NOT the same as alone'}", flush=True)
    return same and all(happened.values())


def run(options: argparse.Namespace) -> int:
    server = Facet(options.facet, options.model, options.threads)
    try:
        wait_until_ready(server)
        tokens = measure("facet", server, options)
    finally:
        server.stop()
    if options.peer:
        peer = Peer(options.peer, options.model, options.threads, options.clients + 1)
        try:
            wait_until_ready(peer)
            measure("llama-server", peer, options)
        finally:
            peer.stop()
    return 0 if tokens and disturb(tokens, options) else 1


def main() -> int:
    options = parse_arguments()
    loops = Loops(os.cpu_count() if options.busy else 0)
    try:
        return run(options)
    finally:
        loops.stop()


if __name__ == "__main__":
    sys.exit(main())
