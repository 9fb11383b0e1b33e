#!/usr/bin/env python3
"""Measures what background clients do to one who waits for an answer, with facetd and with llama.cpp's server.

    interference.py [--facet BIN_FOLDER] [--peer BIN_FOLDER] [--model FILE] [--requests 300] [--peer-requests N] [--phases 5] [--every 3]
                    [--clients 8] [--window 60] [--threads 2] [--check-background N] [--json FILE] [--busy] [--quick]

A daemon with the model serves two kinds of client: one asks with prompts of 64 tokens for 32 (interactive) every so many seconds, the others
without pause with prompts of 2,000 tokens for 256 (background). Phases alone and under load take turns, so that a machine that slows down meets
both alike. Shown are the time to the first token and the interval between tokens of the one who waits (median, 95th percentile,
worst; milliseconds), and the background's tokens per second, alone and beside it; then for each of the bounds that are wanted whether it was
met. A window must be longer than an answer of the background takes, some 20 s with a small model, two minutes with a large one. With --peer the same
for llama-server, which may be asked fewer times. --busy runs an endless loop per core besides, in all phases. --quick: 20 requests in one phase.

stderr has each phase's figures once it has ended, --json FILE those of all phases so far, so that a run that is broken off leaves what it had.

Then a daemon with few places is asked the same while requests are parked, evicted, cancelled and read out of the prefix cache; the run fails
if one of these did not happen. Every interactive answer must have the tokens that the same request gave alone. So must the background's: at the end
they are asked for again on a daemon that does nothing else, and one that was cut short must be the beginning of what comes. --check-background
says how many of each daemon; without it all of the second one's and 16 of the first one's. Exit code 1 if one has other tokens.
Timing decides nothing.
"""
import argparse
import json
import math
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bounds import Bound, quantiles
from servers import Answer, Facet, Loops, Peer, ServerError, default_facet, default_model, ids, wait_until_ready

PROMPT, ANSWER = 64, 32
LONG_PROMPT, LONG_ANSWER = 2000, 256


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facetd and facet")
    parser.add_argument("--peer", type=Path, help="the folder of llama-server")
    parser.add_argument("--model", type=Path, default=default_model())
    parser.add_argument("--requests", type=int, default=300, help="interactive ones, in each of the two kinds of phase")
    parser.add_argument("--peer-requests", type=int, help="of llama-server; as --requests if left out")
    parser.add_argument("--phases", type=int, default=5, help="of each kind")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=float, default=3.0, help="seconds from one interactive request to the next; alone there is a pause of a quarter")
    parser.add_argument("--window", type=float, default=60.0, help="seconds in which the background is counted alone, per phase")
    parser.add_argument("--check-background", type=int, metavar="N", help="answers of the background to ask for again, of each daemon")
    parser.add_argument("--json", type=Path, help="the file to write the figures to")
    parser.add_argument("--busy", action="store_true", help="an endless loop per core besides")
    parser.add_argument("--quick", action="store_true", help="20 requests in one phase")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.phases = 20, 1
    if options.peer_requests is None:
        options.peer_requests = options.requests
    if min(options.requests, options.peer_requests, options.phases, options.clients) < 1 or (options.check_background or 0) < 0:
        parser.error("requests, phases and clients are at least 1, answers to ask for again at least 0")
    return options


@dataclass(frozen=True)
class Recorded:
    """What a background client was answered, whole or cut short."""
    prompt: int  # tokens
    seed: int
    tokens: list[int]


class Background:
    """Clients without pause, until stopped. `mixed`: of shorter prompts, some give up in mid-answer, some ask what was asked before."""

    def __init__(self, server, clients: int, seed: int, mixed: bool = False):
        self.server, self.running, self.mixed = server, True, mixed
        self.prompt = LONG_PROMPT // 4 if mixed else LONG_PROMPT  # tokens
        self.answers = [[] for _ in range(clients)]  # of each client (seed, Answer), the oldest first
        self.requests = [None] * clients  # that run
        self.errors = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(client, seed * 1_000_000 + client)) for client in range(clients)]
        for thread in self.threads:
            thread.start()

    def work(self, client: int, seed: int):
        draw = random.Random(seed)
        count = LONG_ANSWER * (client + 1) // len(self.threads)  # the first time, so that they do not go on in step
        while True:
            some = {"cancel_after": draw.randrange(1, 60)} if self.mixed and draw.random() < 0.4 else {}
            with self.lock:
                if not self.running:
                    return
                self.requests[client] = self.server.start(ids(self.prompt, seed), count, "background", f"client {client}", **some)
            try:
                self.answers[client].append((seed, self.requests[client].wait()))
            except ServerError as error:
                self.errors.append(error)
                return
            count = LONG_ANSWER
            seed += 100 if not self.mixed or draw.random() < 0.7 else 0

    def check(self):
        if self.errors:
            raise self.errors[0]

    def wait_until_at_work(self):
        """Until each client has ended its first answer."""
        while not all(self.answers):
            self.check()
            time.sleep(0.1)

    def rate(self, begin: float, end: float) -> float:
        """Tokens per second; known when stopped. Each answer counts evenly from its request to its end, since its client reads all that time for
        tokens that come late; one that was stopped is thought to last as long as the whole ones that ended in that time."""
        answers = [answer for answers in self.answers for _, answer in answers]
        ended = [answer.finish - answer.start for answer in answers if begin <= answer.finish <= end and len(answer.tokens) == LONG_ANSWER]
        if not ended:
            return float("nan")
        tokens = 0.0
        for answer in answers:
            lasted = answer.finish - answer.start
            if len(answer.tokens) < LONG_ANSWER:
                lasted = max(statistics.mean(ended), lasted)
            tokens += LONG_ANSWER * max(0.0, min(end, answer.finish) - max(begin, answer.start)) / lasted
        return tokens / (end - begin)

    def tokens(self, begin: float, end: float) -> int:
        """In that time; known when stopped."""
        return sum(begin <= time <= end for answers in self.answers for _, answer in answers for time in answer.times)

    def recorded(self) -> list[Recorded]:
        return [Recorded(self.prompt, seed, answer.tokens) for answers in self.answers for seed, answer in answers if answer.tokens]

    def cancelled(self) -> int:
        return sum(answer.cancel is not None for answers in self.answers for _, answer in answers)

    def stop(self):
        with self.lock:
            self.running = False
            for request in self.requests:
                request.cancel()
        for thread in self.threads:
            thread.join()
        self.check()


def ask(server, seed: int) -> Answer:
    return server.start(ids(PROMPT, seed), ANSWER, "interactive").wait()


def progress(text: str):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def row(name: str, values: list[float]) -> str:
    return f"  {name:<28}" + "".join(f" {value:9.1f}" for value in values)


def milliseconds(values: Iterable[float]) -> list[float]:
    return [1000 * value for value in quantiles(list(values))]


def known(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass
class Measured:
    """What a server did in some phases: answers by seed."""
    alone: dict[int, Answer] = field(default_factory=dict)
    beside: dict[int, Answer] = field(default_factory=dict)
    background: list[Recorded] = field(default_factory=list)
    rates_alone: list[float] = field(default_factory=list)  # of the background, of each phase
    rates_beside: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of the time in which an interactive request ran

    def add(self, other: "Measured"):
        self.alone |= other.alone
        self.beside |= other.beside
        for name in ("background", "rates_alone", "rates_beside", "shares"):
            getattr(self, name).extend(getattr(other, name))

    def differing(self) -> int:
        """Interactive answers that have other tokens beside the background than alone."""
        return sum(self.alone[seed].tokens != answer.tokens for seed, answer in self.beside.items())

    def figures(self) -> dict:
        kinds = {"alone": self.alone.values(), "beside": self.beside.values()}
        return {"requests": len(self.beside), "differing": self.differing(),
                "first token": {kind: milliseconds(a.first() for a in answers) for kind, answers in kinds.items()},
                "token interval": {kind: milliseconds(i for a in answers for i in a.intervals()) for kind, answers in kinds.items()},
                "background": {"alone": known(statistics.mean(self.rates_alone)), "beside": known(statistics.mean(self.rates_beside)),
                               "left": 1 - statistics.mean(self.shares)}}


def relative(times: dict) -> list[float]:
    return [beside / alone for alone, beside in zip(times["alone"], times["beside"])]


def part_of_what_is_left(background: dict) -> float | None:
    if background["alone"] is None or background["beside"] is None or background["left"] <= 0:
        return None
    return background["beside"] / background["alone"] / background["left"]


def table(name: str, figures: dict) -> str:
    lines = [f"{name}: {figures['requests']} interactive requests alone, as many beside the background's",
             f"  {'milliseconds':<28} {'median':>9} {'95%':>9} {'worst':>9}"]
    for kind in ("first token", "token interval"):
        times = figures[kind]
        lines += [row(f"{kind}, alone", times["alone"]), row(f"{kind}, beside them", times["beside"]),
                  f"  {'  relative to alone':<28}" + "".join(f" {value:9.2f}" for value in relative(times))]
    background, part = figures["background"], part_of_what_is_left(figures["background"])
    running = f"interactive requests ran in {100 * (1 - background['left']):.0f}% of the time"
    if part is None:
        lines.append(f"  background: {running}; no whole answer came in that time, so its tokens are not counted")
    else:
        lines.append(f"  background: {background['alone']:.1f} tokens/s alone, {background['beside']:.1f} beside interactive requests; "
                     f"{running}: {part:.2f} of what is left")
    lines.append(f"  tokens: {figures['differing'] or 'none'} of the interactive answers differ from those alone")
    return "\n".join(lines)


def bounds(figures: dict, peer: dict | None) -> list[Bound]:
    first, interval = relative(figures["first token"]), relative(figures["token interval"])
    wanted = [Bound("first token relative to alone, median", first[0], 1.15), Bound("first token relative to alone, 95%", first[1], 1.3),
              Bound("token interval relative to alone, median", interval[0], 1.3),
              Bound("token interval relative to alone, 95%", interval[1], 1.6),
              Bound("background's part of what is left", part_of_what_is_left(figures["background"]), 0.92, least=True)]
    if peer:
        slower = figures["first token"]["alone"][0] / peer["first token"]["alone"][0]
        wanted.append(Bound("first token alone relative to llama-server's alone, median", slower, 1))
    return wanted


def save(path: Path | None, report: dict):
    if path:
        path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")


def measure_phase(name: str, server, phase: int, requests: int, options: argparse.Namespace) -> Measured:
    measured = Measured()
    seeds = range(phase * 1000, phase * 1000 + requests)
    progress(f"{name}, phase {phase + 1} of {options.phases}: {requests} requests alone")
    for seed in seeds:
        measured.alone[seed] = ask(server, seed)
        time.sleep(options.every / 4)
    progress("the background starts")
    background = Background(server, options.clients, phase + 1)
    try:
        background.wait_until_at_work()
        progress(f"the background alone, {options.window:.0f} s")
        begin = time.monotonic()
        time.sleep(options.window)
        middle = time.monotonic()
        progress(f"{requests} requests beside it")
        for number, seed in enumerate(seeds, 1):
            measured.beside[seed] = ask(server, seed)
            time.sleep(max(0.0, middle + number * options.every - time.monotonic()))
        end = time.monotonic()
    finally:
        background.stop()
    measured.shares.append(sum(answer.finish - answer.start for answer in measured.beside.values()) / (end - middle))
    measured.rates_alone.append(background.rate(begin, middle))
    measured.rates_beside.append(background.rate(middle, end))
    measured.background = background.recorded()
    return measured


def measure(name: str, server, requests: int, report: dict, options: argparse.Namespace) -> Measured:
    """Prints the table, and has the figures of all phases so far in the report."""
    measured = Measured()
    for phase in range(options.phases):
        one = measure_phase(name, server, phase, max(1, requests // options.phases), options)
        progress(table(f"{name}, phase {phase + 1}", one.figures()))
        measured.add(one)
        report[name] = measured.figures()
        save(options.json, report)
    print(table(name, report[name]), flush=True)
    return measured


def disturb(alone: dict[int, Answer], report: dict, options: argparse.Namespace) -> list[Recorded]:
    """The same requests on a daemon with few places, everything happening around them. Returns what the background was answered."""
    places = max(2, options.clients // 2)
    progress(f"the same with {places} places and more going on")
    server = Facet(options.facet, options.model, options.threads, ("--max-sequences", str(places)))
    try:
        wait_until_ready(server)
        background = Background(server, options.clients, 77, mixed=True)
        try:
            background.wait_until_at_work()
            differing = sum(ask(server, seed).tokens != answer.tokens for seed, answer in alone.items())
            deadline = time.monotonic() + 600
            while not (background.cancelled() and server.status()["cached_tokens"]) and time.monotonic() < deadline:
                background.check()
                time.sleep(1)
            status = server.status()
            happened = {kind: status[kind] for kind in ("parked", "evicted", "cached_tokens")} | {"cancelled": background.cancelled()}
        finally:
            background.stop()
    finally:
        server.stop()
    print(f"with {places} places: " + ", ".join(f"{kind} {count}" for kind, count in happened.items()))
    print(f"  tokens: {differing or 'none'} of {len(alone)} interactive answers differ from those alone", flush=True)
    report["disturbed"] = {"places": places, "happened": happened, "differing": differing}
    save(options.json, report)
    return background.recorded()


def sample(recorded: list[Recorded], count: int | None) -> list[Recorded]:
    return recorded if count is None else random.Random(0).sample(recorded, min(count, len(recorded)))


def count_differing(server, recorded: list[Recorded], at_once: int) -> int:
    """Of recorded answers, those that are not what the server says now, or the beginning of it. Asks so many at once."""
    longest = {}  # of each prompt
    for answer in recorded:
        prompt = (answer.prompt, answer.seed)
        longest[prompt] = max(longest.get(prompt, 0), len(answer.tokens))
    with ThreadPoolExecutor(at_once) as pool:
        answers = pool.map(lambda prompt: server.start(ids(*prompt), longest[prompt], "standard").wait().tokens, longest)
        again = dict(zip(longest, answers))
    return sum(again[answer.prompt, answer.seed][:len(answer.tokens)] != answer.tokens for answer in recorded)


def check_background(measured: list[Recorded], disturbed: list[Recorded], report: dict, options: argparse.Namespace):
    some = 16 if options.check_background is None else options.check_background
    recorded = sample(measured, some) + sample(disturbed, options.check_background)
    progress(f"{len(recorded)} answers of the background again")
    server = Facet(options.facet, options.model, options.threads)
    try:
        wait_until_ready(server)
        differing = count_differing(server, recorded, options.clients)
    finally:
        server.stop()
    report["background again"] = {"answers": len(recorded), "tokens": sum(len(answer.tokens) for answer in recorded), "differing": differing}
    print(f"background: {differing or 'none'} of {len(recorded)} answers differ from those alone; "
          f"{len(measured)} and {len(disturbed)} were recorded", flush=True)


def run(options: argparse.Namespace) -> int:
    report = {"model": options.model.name, "clients": options.clients, "threads": options.threads}
    server = Facet(options.facet, options.model, options.threads)
    try:
        wait_until_ready(server)
        measured = measure("facet", server, options.requests, report, options)
    finally:
        server.stop()
    if options.peer:
        peer = Peer(options.peer, options.model, options.threads, options.clients + 1)
        try:
            wait_until_ready(peer)
            measure("llama-server", peer, options.peer_requests, report, options)
        finally:
            peer.stop()
    wanted = bounds(report["facet"], report.get("llama-server"))
    print("\n".join(["bounds of facet:"] + [bound.line() for bound in wanted]), flush=True)
    report["bounds"] = [bound.figures() for bound in wanted]
    disturbed = disturb(measured.alone, report, options)
    check_background(measured.background, disturbed, report, options)
    save(options.json, report)
    differing = [report[part]["differing"] for part in ("facet", "disturbed", "background again")]
    return 1 if any(differing) or not all(report["disturbed"]["happened"].values()) else 0


def main() -> int:
    options = parse_arguments()
    loops = Loops(os.cpu_count() if options.busy else 0)
    try:
        return run(options)
    finally:
        loops.stop()


if __name__ == "__main__":
    sys.exit(main())
