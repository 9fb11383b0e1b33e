#!/usr/bin/env python3
"""Measures generation after a long context, Facet beside llama.cpp, without reading all of it.

    long_context.py --peer BIN_FOLDER --model FILE [--facet BIN_FOLDER] [--depth 16384 65536] [--read 2048] [--rounds 2] [--threads 2]

Both read `--read` tokens and fill the rest of their cache with copies of what these left there: `facet-model bench --depth-read`, and for
llama.cpp a saved slot of its server whose cells are repeated. Speed does not depend on what is in a cache. Shown are tokens per second,
the median of rounds that took turns.

llama.cpp's file is that of `llama_state_seq_save_file` for a cache of one stream, its values not transposed (flash attention), with a second
cache for layers with a window; another file is refused.
"""
import argparse
import json
import statistics
import struct
import sys
import tempfile
import urllib.request
from pathlib import Path

import sides
from cases import Case
from servers import Peer, default_facet, ids, wait_until_ready

GENERATE = 16


class Cells:
    """One of the file's caches: the cells' positions, and rows of bytes per layer, keys first."""

    def __init__(self, reader: "Reader"):
        streams, count = reader.numbers("II")
        if streams != 1:
            sys.exit(f"the saved slot has {streams} streams")
        self.positions = []
        for _ in range(count):
            position, sequences, number = reader.numbers("iIi")
            if sequences != 1 or number != 0:
                sys.exit("a cell of the saved slot is not of one sequence")
            self.positions.append(position)
        transposed, layers = reader.numbers("II")
        if transposed:
            sys.exit("the saved slot's values are transposed")
        self.layers, self.rows = layers, []  # (type, bytes of a row, all rows)
        for _ in range(2 * layers):
            kind, size = reader.numbers("iQ")
            self.rows.append((kind, size, reader.take(size * count)))

    def stretched(self, count: int, first: int) -> bytes:
        """`count` cells from position `first` on, those that are there again and again."""
        out = [struct.pack("<II", 1, count)]
        out += [struct.pack("<iIi", position, 1, 0) for position in range(first, first + count)]
        out.append(struct.pack("<II", 0, self.layers))
        for kind, size, rows in self.rows:
            out.append(struct.pack("<iQ", kind, size))
            out.append((rows * (-(-count * size // len(rows))))[:count * size])
        return b"".join(out)


class Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            sys.exit("the saved slot ends early")
        return self.data[self.at - size:self.at]

    def numbers(self, form: str) -> tuple:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))


def stretch(source: Path, target: Path, tokens: list[int]):
    reader = Reader(source.read_bytes())
    magic, version, count = reader.numbers("4sII")
    reader.take(4 * count)
    whole, window = Cells(reader), Cells(reader)
    if reader.at != len(reader.data):
        sys.exit("the saved slot has more than two caches")
    kept = len(window.positions) + 8  # of a window that just covers what comes next the server thinks it is too short
    target.write_bytes(struct.pack("<4sII", magic, version, len(tokens)) + struct.pack(f"<{len(tokens)}i", *tokens) +
                       whole.stretched(len(tokens), 0) + window.stretched(kept, len(tokens) - kept))


def post(peer: Peer, path: str, body: dict) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{peer.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as answer:
        return json.load(answer)


class LongPeer:
    def __init__(self, options: argparse.Namespace):
        self.options, self.folder = options, tempfile.TemporaryDirectory(prefix="facet-bench-")
        self.tokens = ids(max(options.depth), 1)
        self.server = Peer(options.peer, options.model, options.threads, 1, max(options.depth) + 256, ("--slot-save-path", self.folder.name))
        wait_until_ready(self.server)
        read = self.tokens[:options.read]
        post(self.server, "/completion", {"prompt": read, "n_predict": 1, "cache_prompt": True})
        post(self.server, "/slots/0?action=save", {"filename": "read"})
        for depth in options.depth:
            stretch(Path(self.folder.name, "read"), Path(self.folder.name, str(depth)), self.tokens[:depth - 1])

    def measure(self, depth: int) -> float:
        post(self.server, "/slots/0?action=restore", {"filename": str(depth)})
        answer = post(self.server, "/completion", {"prompt": self.tokens[:depth], "n_predict": GENERATE + 1, "ignore_eos": True,
                                                   "cache_prompt": True})["timings"]
        if answer["prompt_n"] > 64:
            sys.exit(f"llama-server did not go on from the slot: it read {answer['prompt_n']} tokens")
        return answer["predicted_per_second"]

    def stop(self):
        self.server.stop()
        self.folder.cleanup()


def measure_facet(options: argparse.Namespace, depth: int) -> float:
    programs = sides.Sides(options.facet, options.peer, "onednn", options.threads)
    case = Case("long", generate=GENERATE, depth=depth)
    speed, = sides.parse_facet(sides.run([*sides.facet_command(programs, options.model, case), "--depth-read", options.read]), case)
    return speed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the folder of llama-server")
    parser.add_argument("--facet", type=Path, default=default_facet(), help="the folder of facet-model")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--depth", type=int, nargs="+", default=[16384, 65536])
    parser.add_argument("--read", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.read < 64 or min(options.depth) <= options.read or min(options.rounds, options.threads) < 1:
        parser.error("--read must be at least 64 and below --depth, --rounds and --threads at least 1")
    peer = LongPeer(options)
    try:
        for depth in options.depth:
            pairs = [(measure_facet(options, depth), peer.measure(depth)) for _ in range(options.rounds)]
            facet, other, ratio = (statistics.median(values) for values in (*zip(*pairs), [a / b for a, b in pairs]))
            print(f"after {depth} tokens: facet {facet:.2f} tokens/s, llama.cpp {other:.2f}, ratio {ratio:.2f}", flush=True)
    finally:
        peer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
