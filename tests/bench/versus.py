#!/usr/bin/env python3
"""Measures facet-model against llama.cpp's llama-bench on the same file, in pairs that take turns.

    versus.py --peer BIN_FOLDER [--facet BIN_FOLDER] [--model FILE] [--pairs 5] [--threads 2] [--floor PROMPT,GENERATE]

Each pair runs both programs once, first one then the other, with the order changed from pair to pair, so that a machine that slows down
meets both alike. Shown are the medians of prompt and generation tokens per second and the medians of the pairs' ratios (facet / peer).
The machine must be quiet. Exit code 1 if a ratio is below --floor.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    root = Path(__file__).resolve().parents[2]
    models = os.environ.get("FACET_TEST_MODEL_DIR") or os.path.expanduser("~/.cache/facet/models")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the folder of llama-bench")
    parser.add_argument("--facet", type=Path, default=root / "build/release/bin", help="the folder of facet-model")
    parser.add_argument("--model", type=Path, default=Path(models) / "gemma-3-270m-q4_k_m.gguf")
    parser.add_argument("--backend", default="onednn")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=2, help="inside each run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--floor", help="least ratios of prompt and generation, as in 0.3,0.5")
    options = parser.parse_args()
    if options.pairs < 1 or options.prompt < 1 or options.generate < 1:
        parser.error("--pairs, --prompt and --generate must be at least 1")
    return options


def run(command: list) -> str:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def sizes(o: argparse.Namespace) -> list:
    return ["-p", o.prompt, "-n", o.generate, "-d", o.depth, "-r", o.repetitions]


def run_peer(o: argparse.Namespace) -> tuple[float, float]:
    tests = json.loads(run([o.peer / "llama-bench", "-m", o.model, "-t", o.threads, "-o", "json", *sizes(o)]))
    prompt, = [test["avg_ts"] for test in tests if test["n_prompt"]]
    generate, = [test["avg_ts"] for test in tests if test["n_gen"]]
    return prompt, generate


def run_facet(o: argparse.Namespace) -> tuple[float, float]:
    command = [o.facet / "facet-model", "bench", o.model, "--backend", o.backend, "--threads", o.threads, "--json"]
    result = json.loads(run(command + sizes(o)))
    return result["prompt_tps"], result["generate_tps"]


def main() -> int:
    o = parse_arguments()
    facet, peer = [], []
    for pair in range(o.pairs):
        sides = [(run_facet, facet), (run_peer, peer)]
        for measure, results in sides if pair % 2 == 0 else reversed(sides):
            results.append(measure(o))
        print(f"pair {pair + 1}: facet {facet[-1][0]:8.1f} {facet[-1][1]:7.1f}   peer {peer[-1][0]:8.1f} {peer[-1][1]:7.1f}",
              flush=True)
    floors = [float(part) for part in o.floor.split(",")] if o.floor else [0.0, 0.0]
    status = 0
    print(f"{'tokens/s':14} {'facet':>9} {'peer':>9} {'ratio':>7}")
    for part, (name, floor) in enumerate(zip((f"prompt {o.prompt}", f"generate {o.generate}"), floors)):
        ours, theirs = [f[part] for f in facet], [p[part] for p in peer]
        ratio = statistics.median(f / p for f, p in zip(ours, theirs))
        below = ratio < floor
        status = 1 if below else status
        print(f"{name:14} {statistics.median(ours):9.1f} {statistics.median(theirs):9.1f} {ratio:7.2f}" +
              (f"  below {floor}" if below else ""))
    return status


if __name__ == "__main__":
    sys.exit(main())
