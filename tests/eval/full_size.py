#!/usr/bin/env python3
"""Compares a model's logits with those of llama.cpp on the same file, and says whether they differ more than llama.cpp's own settings do.

    full_size.py --peer BIN_FOLDER --model FILE [--facet BIN_FOLDER] [--positions 64] [--threads 2]

Meant for files of full size, where no reference in float64 is at hand. One prompt of random tokens, the same in every run, goes through
three programs, one after the other, each with the same file and a cache in float16:

    ours         facet-model logits
    peer         llama.cpp, weights as the file has them
    repacked     llama.cpp, weights repacked for the CPU, which sums in another order

Shown are the mean and the largest Kullback-Leibler divergence in nats over the positions, and how often the most likely token is the same.
Exit code 1 if the mean of ours against the peer is above three times that of the peer against itself and above 1e-4.

The peer's folder holds a small driver of libllama that is called as `lltool logits MODEL PROMPTS OUT --mode batch --kv f16 --threads N`:
PROMPTS is a line of token ids; OUT gets int32 rows, int32 vocabulary, then float32 logits [rows, vocabulary], little endian; with LLTOOL_REPACK
in its environment it repacks. Needs numpy, as build/venv has it after scripts/test-models, and 800 bytes of memory and disk per position and
1000 tokens of the vocabulary.
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LEAST = 1e-4  # nats; a mean below is as good as equal
MOST_RATIO = 3
BOS = 2


def parse_arguments() -> argparse.Namespace:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the folder of lltool")
    parser.add_argument("--facet", type=Path, default=root / "build/release/bin", help="the folder of facet-model")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--backend", default="onednn")
    parser.add_argument("--positions", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def prompt(positions: int) -> list[int]:
    """The beginning of a text, then tokens of any kind but those of the first 1000, which steer."""
    draw = random.Random(1)
    return [BOS] + [draw.randrange(1000, 200_000) for _ in range(positions - 1)]


def run(command: list, **extra: str) -> None:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **extra})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def peer(o: argparse.Namespace, ids: list[int], folder: str, repack: bool) -> np.ndarray:
    prompts, out = Path(folder) / "prompts", Path(folder) / "peer"
    prompts.write_text(" ".join(map(str, ids)) + "\n")
    command = [o.peer / "lltool", "logits", o.model, prompts, out, "--mode", "batch", "--kv", "f16", "--threads", o.threads]
    run(command, **({"LLTOOL_REPACK": "1"} if repack else {}))
    data = out.read_bytes()
    rows, vocabulary = np.frombuffer(data, np.int32, 2)
    if rows != len(ids):
        sys.exit(f"lltool wrote {rows} rows, not {len(ids)}")
    return log_softmax(np.frombuffer(data, np.float32, rows * vocabulary, 8).reshape(rows, vocabulary))


def ours(o: argparse.Namespace, ids: list[int], folder: str) -> np.ndarray:
    out = Path(folder) / "ours"
    run([o.facet / "facet-model", "logits", o.model, "--backend", o.backend, "--threads", o.threads, "--ids", ",".join(map(str, ids)),
         "--out", out])
    return log_softmax(np.fromfile(out, np.float32).reshape(len(ids), -1))


def show(name: str, p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) per position."""
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    same = (p.argmax(axis=1) == q.argmax(axis=1)).mean()
    print(f"{name:22} mean {kl.mean():.3e}   largest {kl.max():.3e}   same first token {100 * same:.1f}%", flush=True)
    return float(kl.mean())


def main() -> int:
    o = parse_arguments()
    ids = prompt(o.positions)
    print(f"KL in nats over {len(ids)} positions of {o.model.name}")
    with tempfile.TemporaryDirectory() as folder:
        plain = peer(o, ids, folder, False)
        repacked = peer(o, ids, folder, True)
        own = show("peer, repacked or not", plain, repacked)
        del repacked
        mine = show("peer, ours", plain, ours(o, ids, folder))
    limit = max(MOST_RATIO * own, LEAST)
    print(f"ours is {'within' if mine <= limit else 'ABOVE'} {limit:.3e}")
    return 0 if mine <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
