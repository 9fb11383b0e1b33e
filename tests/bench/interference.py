#!/usr/bin/env python3
"""Measures what background clients do to one who waits for an answer, with facetd and with llama.cpp's server.

    interference.py [--facet BIN_FOLDER] [--peer BIN_FOLDER] [--model FILE] [--requests 30 | --quick] [--clients 8] [--threads 2]
                    [--window 30]

A daemon with the model serves two kinds of client: one asks again and again with prompts of 64 tokens for 32 (interactive), the others
without pause with prompts of 2,000 tokens for 256 (background). Phases alone and under load take turns, so that a machine that slows down meets
both alike. Shown are the time to the first token and the interval between tokens of the one who waits (median, 95th percentile,
worst; milliseconds), and the background's tokens per second, alone and beside it. With --peer the same for llama-server. Every interactive
answer under load must have the tokens that the same request gave alone; exit code 1 if one has not. Timing decides nothing.
"""
import argparse
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROMPT, ANSWER = 64, 32
LONG_PROMPT, LONG_ANSWER = 2000, 256


def parse_arguments() -> argparse.Namespace:
    root = Path(__file__).resolve().parents[2]
    models = os.environ.get("FACET_TEST_MODEL_DIR") or os.path.expanduser("~/.cache/facet/models")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=root / "build/release/bin", help="the folder of facetd and facet")
    parser.add_argument("--peer", type=Path, help="the folder of llama-server")
    parser.add_argument("--model", type=Path, default=Path(models) / "gemma-3-270m-q4_k_m.gguf")
    parser.add_argument("--requests", type=int, default=30, help="interactive ones, in each of the two kinds of phase")
    parser.add_argument("--phases", type=int, default=3, help="of each kind")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between interactive requests")
    parser.add_argument("--window", type=float, default=30.0, help="seconds in which the background is counted alone, per phase")
    parser.add_argument("--quick", action="store_true", help="6 requests, 2 phases")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.phases = 6, 2
    return options


def ids(count: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [2] + [draw.randrange(1000, 100000) for _ in range(count - 1)]


class Facet:
    """facetd on a socket of its own; requests go through `facet complete`."""

    def __init__(self, options: argparse.Namespace):
        self.bin = options.facet
        self.folder = tempfile.TemporaryDirectory(prefix="facet-interference-")
        self.env = os.environ | {"FACET_SOCKET": self.folder.name + "/socket"}
        self.daemon = subprocess.Popen(
            [self.bin / "facetd", "--socket", self.env["FACET_SOCKET"], "--model", options.model, "--threads", str(options.threads)],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answer(self, prompt: list[int], count: int, priority: str):
        """Yields (token, seconds since the request) one by one."""
        command = [self.bin / "facet", "complete", "--ids", ",".join(map(str, prompt)), "-n", str(count), "--temperature", "0",
                   "--ignore-end", "--json", "--priority", priority]
        start = time.monotonic()
        with subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout:
                    event = json.loads(line)
                    if event["type"] == "token":
                        yield event["id"], time.monotonic() - start
            finally:
                process.kill()

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()
        self.folder.cleanup()


class Peer:
    """llama-server; requests go over HTTP."""

    def __init__(self, options: argparse.Namespace):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        slots = options.clients + 1
        self.daemon = subprocess.Popen(
            [options.peer / "llama-server", "-m", options.model, "-t", str(options.threads), "--parallel", str(slots), "-c",
             str(slots * 4096), "--port", str(self.port), "--no-webui"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answer(self, prompt: list[int], count: int, priority: str):
        del priority  # it knows none
        body = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True, "stream": True, "cache_prompt": False,
                "return_tokens": True}
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    for token in json.loads(line[6:]).get("tokens", []):
                        yield token, time.monotonic() - start
        finally:
            connection.close()

    def stop(self):
        self.daemon.terminate()
        self.daemon.wait()


def wait_until_ready(server):
    for _ in range(600):
        try:
            if list(server.answer(ids(8, 0), 1, "standard")):
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit("interference: the server does not answer")


class Background:
    """Clients without pause, until stopped; counts their tokens."""

    def __init__(self, server, clients: int, seed: int):
        self.server, self.running, self.tokens = server, True, 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(seed * 1000 + i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def work(self, seed: int):
        while self.running:
            seed += 100
            for _ in self.server.answer(ids(LONG_PROMPT, seed), LONG_ANSWER, "background"):
                with self.lock:
                    self.tokens += 1
                if not self.running:
                    return

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


def measure(name: str, server, options: argparse.Namespace) -> bool:
    wait_until_ready(server)
    results = {"alone": [], "loaded": []}
    rates = {"background alone": [], "background beside it": []}
    busy = 0.0
    for phase in range(options.phases):
        seeds = range(phase * 1000, phase * 1000 + options.requests // options.phases)
        for seed in seeds:
            results["alone"].append(ask(server, seed))
            time.sleep(options.pause / 4)
        background = Background(server, options.clients, phase + 1)
        while background.tokens < options.clients:  # until all of them are at work
            time.sleep(0.2)
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
    print(f"  tokens: {'the same alone and under load' if same else 'NOT the same alone and under load'}")
    return same


def main() -> int:
    options = parse_arguments()
    same = True
    for name, make in (("facet", Facet), ("llama-server", Peer if options.peer else None)):
        if make is None:
            continue
        server = make(options)
        try:
            good = measure(name, server, options)
            same = same and (good or name != "facet")
        finally:
            server.stop()
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
