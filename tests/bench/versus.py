#!/usr/bin/env python3
"""Measures facet-model against llama.cpp's llama-bench on the same file, in pairs that take turns.

    versus.py --peer BIN_FOLDER [--facet BIN_FOLDER] [--model FILE] [--pairs 9 | --quick] [--threads 2] [--floor PROMPT,GENERATE]

Each pair runs both programs once, first one then the other, with the order changed from pair to pair, so that a machine that slows down
meets both alike. A pair during which others (other processes, or the host of a virtual machine) took more than --foreign of the
CPUs' time is dropped and run again, up to three times as many runs as --pairs in all. Shown are the medians of prompt and generation
tokens per second, and the median of the pairs' ratios (facet / peer) with the 95% interval of its bootstrap. --quick is 3 pairs of
short runs. Exit code 1 if a ratio is below --floor, 2 if no pair was undisturbed.
"""
import argparse
import json
import os
import random
import resource
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
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="3 pairs, 1 repetition, 32 tokens generated")
    parser.add_argument("--foreign", type=float, default=0.05, help="share of the CPUs that others may take")
    parser.add_argument("--repetitions", type=int, default=2, help="inside each run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--floor", help="least ratios of prompt and generation, as in 0.3,0.5")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.repetitions, options.generate = 3, 1, 32
    if options.pairs < 1 or options.prompt < 1 or options.generate < 1:
        parser.error("--pairs, --prompt and --generate must be at least 1")
    return options


def cpu_seconds() -> tuple[float, float]:
    """Of all CPUs since boot: taken by anyone (the host included), and in all."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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


def run_pair(o: argparse.Namespace, facet_first: bool) -> tuple:
    """The results of facet and of the peer, and the share of the CPUs' time that others took meanwhile."""
    (taken, total), own = cpu_seconds(), own_seconds()
    sides = {run_facet: None, run_peer: None}
    for measure in sides if facet_first else reversed(sides):
        sides[measure] = measure(o)
    (taken_after, total_after), own_after = cpu_seconds(), own_seconds()
    foreign = (taken_after - taken - (own_after - own)) / (total_after - total)
    return sides[run_facet], sides[run_peer], max(0.0, foreign)


def interval(ratios: list) -> tuple[float, float]:
    """Where 95% of the medians of samples of the ratios lie, drawn with replacement; the same for the same ratios."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[49], medians[-50]


def main() -> int:
    o = parse_arguments()
    pairs = []
    for attempt in range(3 * o.pairs):
        ours, theirs, foreign = run_pair(o, attempt % 2 == 0)
        disturbed = foreign > o.foreign
        if not disturbed:
            pairs.append((ours, theirs))
        print(f"pair {attempt + 1}: facet {ours[0]:8.1f} {ours[1]:7.1f}   peer {theirs[0]:8.1f} {theirs[1]:7.1f}   others {foreign:4.0%}" +
              ("  dropped" if disturbed else ""), flush=True)
        if len(pairs) == o.pairs:
            break
    if not pairs:
        print("no pair was undisturbed: the machine is too busy to measure on", file=sys.stderr)
        return 2
    floors = [float(part) for part in o.floor.split(",")] if o.floor else [0.0, 0.0]
    status = 0
    print(f"{'tokens/s':14} {'facet':>9} {'peer':>9} {'ratio':>7}   95% interval, {len(pairs)} pairs")
    for part, (name, floor) in enumerate(zip((f"prompt {o.prompt}", f"generate {o.generate}"), floors)):
        ratios = [ours[part] / theirs[part] for ours, theirs in pairs]
        ratio, (low, high) = statistics.median(ratios), interval(ratios)
        below = ratio < floor
        status = 1 if below else status
        print(f"{name:14} {statistics.median(p[0][part] for p in pairs):9.1f} {statistics.median(p[1][part] for p in pairs):9.1f} "
              f"{ratio:7.2f}   {low:.2f} to {high:.2f}" + (f"  below {floor}" if below else ""))
    return status


if __name__ == "__main__":
    sys.exit(main())
