#!/usr/bin/env python3
"""Measures Facet beside llama.cpp on the same files, in pairs that take turns, and both beside what the machine can do.

    versus.py --peer BIN_FOLDER [--model FILE...] [--quick] [--write FILE | --no-write]

By default every model of the folder ~/.cache/facet/models (FACET_TEST_MODEL_DIR) is measured that facet-model can run by itself, which a
vocabulary or a drafter is not, and docs/performance.md is written if no row is missing. Where something is measured otherwise (--model, --pairs, FACET_ISA, or
--quick, which takes the smallest model), nothing is written unless --write says where.

A pair during which others took more than --foreign of the CPUs' time is dropped and run again, up to three times as many runs as --pairs
in all (pairs.py). The cases:

    basic   tokens per second of a prompt (--prompt) and of a generation (--generate), --depth tokens being in the cache
    batch   --sequences sequences generating at once
    long    generation after --long tokens
    busy    the same as basic while an endless loop runs beside; not among the default ones

Shown for each are medians, the median of the pairs' ratios (Facet / peer) with the 95% interval of its bootstrap, and the percentage of
the limit (cases.py) that both reach. Where basic and busy are both measured, a further table shows what part of its own quiet speed each side keeps beside the
loop. What is written stands between two marks of the file, with machine, commits and limits. --quick is basic and batch
in 3 pairs of short runs, and ends within 3 minutes with the pairs that it has; --minutes ends any measurement like that. Nine pairs of all default
cases take about an hour for a file of 3 GB on two cores, most of it for long. FACET_ISA forces an instruction set of Facet; then name a peer that was built
for the same.

Exit code 1 if a ratio of basic is below --floor, 2 if a row has no such pair.
"""
import argparse
import itertools
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import report
import sides
from cases import Case, Row, limit
from pairs import Deadline, Disturbance, Pair, collect, compare, disturbance, usage_now

ROOT = Path(__file__).resolve().parents[2]
PERFORMANCE = ROOT / "docs/performance.md"
# What must be as it is by default for a measurement to be that of docs/performance.md.
WHOLE = ("model", "backend", "cases", "pairs", "quick", "minutes", "foreign", "repetitions", "threads", "prompt", "generate", "depth", "sequences", "long")
QUICK_MINUTES = 2.75  # until no run goes on; what follows takes a few seconds


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the folder of llama-bench and llama-batched-bench")
    parser.add_argument("--facet", type=Path, default=ROOT / "build/release/bin", help="the folder of facet-model and machine_probe")
    parser.add_argument("--model", type=Path, nargs="+", action="extend", help="by default those of the models folder")
    parser.add_argument("--backend", default="onednn")
    parser.add_argument("--cases", help="by default basic,batch,long; basic,batch with --quick")
    parser.add_argument("--pairs", type=int, help="by default 9; 3 with --quick")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, help="after which no run goes on")
    writing = parser.add_mutually_exclusive_group()
    writing.add_argument("--write", type=Path, metavar="FILE", help="writes the tables there as Markdown")
    writing.add_argument("--no-write", action="store_true")
    parser.add_argument("--foreign", type=float, default=0.05, help="share of the CPUs that others may take")
    parser.add_argument("--repetitions", type=int, help="inside each run; by default 2, 1 with --quick and of long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, help="by default 128; 32 with --quick")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--long", type=int, default=16384)
    parser.add_argument("--floor", help="least ratios of prompt and generation, as in 0.3,0.5")
    o = parser.parse_args(arguments)
    if o.quick and o.minutes is None:
        o.minutes = QUICK_MINUTES
    if o.minutes is not None and o.minutes <= 0:
        parser.error("--minutes must be above 0")
    if not (o.write or o.no_write) and all(getattr(o, name) == parser.get_default(name) for name in WHOLE) and "FACET_ISA" not in os.environ:
        o.write = PERFORMANCE
    for name, quick, full in (("cases", "basic,batch", "basic,batch,long"), ("pairs", 3, 9), ("generate", 32, 128)):
        if getattr(o, name) is None:
            setattr(o, name, quick if o.quick else full)
    if min(o.pairs, o.prompt, o.generate, o.threads, o.long) < 1 or o.sequences < 2 or o.depth < 0:
        parser.error("--pairs, --prompt, --generate, --threads and --long must be at least 1, --sequences at least 2")
    try:
        o.cases = choose_cases(o)
        o.floor = [float(part) for part in o.floor.split(",")] if o.floor else [0.0, 0.0]
    except (KeyError, ValueError) as error:
        parser.error(f"--cases or --floor: {error}")
    if len(o.floor) != 2:
        parser.error("--floor takes two numbers")
    return o


def choose_cases(o: argparse.Namespace) -> list[Case]:
    often = o.repetitions or (1 if o.quick else 2)
    known = {case.name: case for case in (
        Case("basic", o.prompt, o.generate, 1, o.depth, often),
        Case("batch", 0, o.generate, o.sequences, 0, often),
        Case("long", 0, o.generate, 1, o.long, o.repetitions or 1),
        Case("busy", o.prompt, o.generate, 1, o.depth, often, True))}
    return [known[name] for name in dict.fromkeys(o.cases.split(","))]


@contextmanager
def neighbour(wanted: bool):
    """An endless loop, if it is wanted. Its time counts as this program's own."""
    if not wanted:
        yield
        return
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def describe(taken: Disturbance, limit_of_foreign: float) -> str:
    stolen = f", {taken.stolen:.0%} stolen" if taken.stolen >= 0.005 else ""
    return f"others {taken.foreign:.0%}{stolen}" + ("  dropped" if taken.foreign > limit_of_foreign else "")


def run_pair(o: argparse.Namespace, programs: sides.Sides, job: tuple[Path, Case], facet_first: bool, deadline: Deadline) -> Pair:
    model, case = job
    before = usage_now()
    speeds = {sides.run_facet: [], sides.run_peer: []}
    with neighbour(case.busy):
        for measure in speeds if facet_first else reversed(speeds):
            speeds[measure] = measure(programs, model, case, deadline)
    pair = Pair(speeds[sides.run_facet], speeds[sides.run_peer], disturbance(before, usage_now()))
    print(f"{model.name} {case.name}: facet {'  '.join(map(report.speed, pair.facet)):14}   peer {'  '.join(map(report.speed, pair.peer)):14}   " +
          describe(pair.disturbance, o.foreign), flush=True)
    return pair


def measure_all(o: argparse.Namespace, programs: sides.Sides, deadline: Deadline) -> dict:
    """The pairs of each (model, case)."""
    jobs = [(model, case) for model in o.model for case in o.cases]
    # Models one after the other: only one has to stay in the system's cache. Against a deadline all take turns, so that each gets some pairs.
    groups = [jobs] if o.minutes else [[job for job in jobs if job[0] == model] for model in dict.fromkeys(o.model)]
    kept = {}
    for group in groups:
        kept |= collect(group, o.pairs, o.foreign, deadline, lambda job, facet_first: run_pair(o, programs, job, facet_first, deadline))
    return kept


def models_of_folder(o: argparse.Namespace, programs: sides.Sides) -> list[Path]:
    folder = Path(os.environ.get("FACET_TEST_MODEL_DIR") or os.path.expanduser("~/.cache/facet/models"))
    models = list(itertools.islice(sides.find_models(programs, folder), 1 if o.quick else None))
    if not models:
        sys.exit(f"{folder}: holds no model that can be measured; scripts/fetch-model fetches one")
    return models


def below_floor(o: argparse.Namespace, lines: list[report.Line]) -> list[str]:
    basic: list[Row] = Case("basic", o.prompt, o.generate, 1, o.depth).rows()
    floors = dict(zip(basic, o.floor))
    return [f"{line.model}, {line.row.title()}: {line.comparison.ratio:.2f} is below {floors[line.row]}"
            for line in lines if line.comparison.ratio < floors.get(line.row, 0.0)]


def main() -> int:
    o = parse_arguments()
    isa = os.environ.get("FACET_ISA", "")
    programs = sides.Sides(o.facet, o.peer, o.backend, o.threads)
    deadline = Deadline(o.minutes * 60 if o.minutes else None)
    seconds = 0.5 if o.quick else 2.0
    peak = sides.probe(programs, seconds)
    o.model = o.model or models_of_folder(o, programs)
    work = {model: sides.inspect(programs, model) for model in o.model}
    commits = {"Facet": report.facet_commit(ROOT),
               "llama.cpp": sides.peer_commit(programs, o.model[0])}
    kept = measure_all(o, programs, deadline)
    peak = sides.better_peak(peak, sides.probe(programs, seconds))

    lines, missing = [], []
    for (model, case), pairs in kept.items():
        for index, row in enumerate(case.rows()):
            if pairs:
                lines.append(report.Line(model.stem, row, compare(pairs, index), limit(work[model], row, peak, isa)))
            else:
                missing.append(f"{model.stem}, {row.title()}: no pair was undisturbed and in time")
    print("\n" + report.plain_tables(lines) + f"memory {peak['read_bytes_per_second'] / 1e9:.1f} GB/s; int8 {report.tera(peak)}")
    if o.write and lines and not (missing and o.write == PERFORMANCE):
        facts = report.this_machine() | {"threads": str(o.threads)} | ({"FACET_ISA": isa} if isa else {}) | commits
        report.write(o.write, report.markdown(lines, facts, peak, o.foreign))
    below = below_floor(o, lines)
    for complaint in missing + below:
        print(complaint, file=sys.stderr)
    return 2 if missing else 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
