"""The two sides of a comparison: facet-model bench, and llama.cpp's llama-bench and llama-batched-bench. How each is called for a case, and
how its answer is read."""
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import Case
from pairs import Deadline, OutOfTime

RUN_SECONDS = 4 * 3600  # at most, of one process
PEER_CONTEXT = 256  # llama.cpp rounds a sequence's context up to a multiple


class Unreadable(Exception):
    """A program's answer is not what it should be."""


@dataclass(frozen=True)
class Sides:
    facet: Path  # folder of facet-model and machine_probe
    peer: Path  # folder of llama-bench and llama-batched-bench
    backend: str
    threads: int


def facet_command(sides: Sides, model: Path, case: Case) -> list:
    return [sides.facet / "facet-model", "bench", model, "--backend", sides.backend, "--threads", sides.threads, "--json", "-p", case.prompt,
            "-n", case.generate, "-b", case.sequences, "-d", case.depth, "-r", case.repetitions]


def peer_command(sides: Sides, model: Path, case: Case) -> list:
    if case.sequences == 1:
        return [sides.peer / "llama-bench", "-m", model, "-t", sides.threads, "-o", "json", "-p", case.prompt, "-n", case.generate, "-d",
                case.depth, "-r", case.repetitions]
    own = (1 + case.generate + PEER_CONTEXT - 1) // PEER_CONTEXT * PEER_CONTEXT
    return [sides.peer / "llama-batched-bench", "-m", model, "-t", sides.threads, "-c", own * case.sequences, "-npp", 1, "-ntg", case.generate,
            "-npl", ",".join([str(case.sequences)] * case.repetitions), "--output-format", "jsonl"]


def positive(value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise Unreadable(f"{value!r} is no speed")
    return float(value)


def parse_facet(text: str, case: Case) -> list[float]:
    try:
        report = json.loads(text)
        return [positive(report[row.kind + "_tps"]) for row in case.rows()]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"facet-model: {error}") from error


def parse_llama_bench(text: str, case: Case) -> list[float]:
    try:
        tests = json.loads(text)
        speeds = []
        for row in case.rows():
            field = "n_prompt" if row.kind == "prompt" else "n_gen"
            speed, = [test["avg_ts"] for test in tests if test[field] == row.tokens]
            speeds.append(positive(speed))
        return speeds
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"llama-bench: {error}") from error


def parse_batched_bench(text: str, case: Case) -> list[float]:
    """The median of the repetitions, each a line of JSON among other lines."""
    try:
        tests = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        speeds = [positive(test["speed_tg"]) for test in tests if test["pl"] == case.sequences and test["tg"] == case.generate]
        if len(speeds) != case.repetitions:
            raise Unreadable(f"{len(speeds)} results of {case.repetitions}")
        return [statistics.median(speeds)]
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"llama-batched-bench: {error}") from error


def ended(command: Sequence, deadline: Deadline) -> subprocess.CompletedProcess:
    """The process once it has ended. Raises OutOfTime; a program that is not there ends this one."""
    left = deadline.left()
    seconds = RUN_SECONDS if left is None else max(left, 0.1)
    try:
        return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace", timeout=seconds)
    except FileNotFoundError:
        sys.exit(f"{command[0]}: there is no such program")
    except subprocess.TimeoutExpired as error:
        if left is None:
            sys.exit(f"{' '.join(map(str, command))}\ndid not end within {RUN_SECONDS} s")
        raise OutOfTime from error


def run(command: Sequence, deadline: Deadline = Deadline(None)) -> str:
    """What it prints. Raises OutOfTime; a program that fails ends this one with what it said."""
    done = ended(command, deadline)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout


def run_facet(sides: Sides, model: Path, case: Case, deadline: Deadline) -> list[float]:
    return parse_facet(run(facet_command(sides, model, case), deadline), case)


def run_peer(sides: Sides, model: Path, case: Case, deadline: Deadline) -> list[float]:
    answer = run(peer_command(sides, model, case), deadline)
    return parse_llama_bench(answer, case) if case.sequences == 1 else parse_batched_bench(answer, case)


def peer_commit(sides: Sides, model: Path) -> str:
    """Of the peer's build, which llama-bench names with each result."""
    case = Case("commit", generate=1)
    answer = run(peer_command(sides, model, case))
    parse_llama_bench(answer, case)
    return str(json.loads(answer)[0].get("build_commit", "unknown"))


def inspect_command(sides: Sides, model: Path) -> list:
    return [sides.facet / "facet-model", "inspect", "--json", "--backend", sides.backend, model]


def find_models(sides: Sides, folder: Path) -> Iterator[Path]:
    """The GGUF files of the folder that run by themselves, the smallest first, each looked at when it is asked for. Said are those that do not: a vocabulary, a drafter, a later
    part of a split model, or what facet-model does not know."""
    for model in sorted(folder.glob("*.gguf"), key=lambda path: (path.stat().st_size, path)):
        done = ended(inspect_command(sides, model), Deadline(None))
        if done.returncode < 0:
            sys.exit(f"{model.name}: facet-model inspect died: {done.stderr.strip()}")
        if done.returncode == 0 and "work" in read_inspect(done.stdout):
            yield model
        else:
            print(f"{model.name} is left out: {done.stderr.strip() or 'it computes nothing'}", flush=True)


def read_inspect(text: str) -> dict:
    try:
        report = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"facet-model inspect: {error}") from error
    if not isinstance(report, dict):
        raise Unreadable("facet-model inspect: is no object")
    return report


def inspect(sides: Sides, model: Path) -> dict:
    report = read_inspect(run(inspect_command(sides, model)))
    if "work" not in report:
        raise Unreadable(f"facet-model inspect: {model} computes nothing")
    return report["work"]


def probe(sides: Sides, seconds: float) -> dict:
    """What machine_probe prints."""
    program = sides.facet / "machine_probe"
    if not program.exists():
        sys.exit(f"{program}: there is no such program; build the target machine_probe")
    peak = json.loads(run([program, "--threads", sides.threads, "--seconds", seconds]))
    positive_peaks = [peak["read_bytes_per_second"], *peak["int8_operations_per_second"].values()]
    if not all(value > 0 for value in positive_peaks):
        raise Unreadable(f"machine_probe: {peak}")
    return peak


def better_peak(first: dict, second: dict) -> dict:
    """The best of two probes: what others take only lowers one."""
    sets = {name: max(value, second["int8_operations_per_second"].get(name, 0)) for name, value in first["int8_operations_per_second"].items()}
    return first | {"read_bytes_per_second": max(first["read_bytes_per_second"], second["read_bytes_per_second"]), "int8_operations_per_second": sets}
