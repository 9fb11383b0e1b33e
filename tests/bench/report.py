"""The tables of a comparison: on a terminal, and as Markdown in docs/performance.md."""
import os
import platform
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cases import Limit, Row
from pairs import Comparison

ISA_FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_int8",
             "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2")
BEGIN, END = "<!-- begin of what versus.py wrote -->", "<!-- end of what versus.py wrote -->"
HEAD = f"""# Performance

Facet beside llama.cpp on the same files and the same machine, and both beside what the machine can do. `tests/bench/versus.py` wrote
what stands between the two marks of this file's source, and writes it anew; what stands outside stays.

{BEGIN}
{END}
"""
EXPLANATION = """- **Pairs.** Both programs run once, one after the other, the order changed from pair to pair. A pair during which others took more than {foreign:.0%}
  of the CPUs' time (stolen by the host of a virtual machine included) is dropped and run again. Shown are medians; a ratio is the median of
  the pairs' ratios, with the 95% interval of its bootstrap.
- **Limits.** `machine_probe` measures on the same number of threads how fast memory is read, and how many operations (two per multiply-accumulate)
  on integers of 8 bits the CPU does on registers. It runs before and after, the best counts.
- **Percent of the limit.** A step takes at least the longer of two times: to read its bytes, and to do its operations. Bytes are those of all
  matrices that a step reads, once for all its rows; of experts, those that are chosen; of a table by token, one row; and keys and values of
  every layer at the middle of the generation. Operations are those of matrices: not those of attention, norms, activations
  and sampling, nor is the time between two ops, so that 100% cannot be reached where these are what limits. It can be passed where memory does:
  `machine_probe` reads a buffer well beyond the last cache, and of weights that are about as large as that cache some still lie in it when the next step
  reads them. `facet-model inspect --json` shows the numbers (`work`).
- **llama.cpp** is measured by its own `llama-bench`, several sequences by `llama-batched-bench`, with the same number of threads and its defaults.
"""


@dataclass(frozen=True)
class Line:
    model: str
    row: Row
    comparison: Comparison
    limit: Limit


def first_value(text: str, key: str) -> str:
    """Of a file of "key : value" lines; empty if there is none."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def machine(cpuinfo: str, meminfo: str) -> dict[str, str]:
    flags = set((first_value(cpuinfo, "flags") or first_value(cpuinfo, "Features")).split())
    kib = int(first_value(meminfo, "MemTotal").split()[0])
    return {"CPU": first_value(cpuinfo, "model name") or platform.machine(),
            "CPUs that may be used": str(len(os.sched_getaffinity(0))),
            "instructions": " ".join(flag for flag in ISA_FLAGS if flag in flags) or "none of those that matter",
            "memory": f"{kib / (1 << 20):.1f} GiB",
            "system": f"Linux {platform.release().split('-')[0]}, {platform.machine()}"}


def this_machine() -> dict[str, str]:
    return machine(Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text())


def facet_commit(root: Path) -> str:
    """Of the source tree; "changed" if files differ from it."""
    def git(*arguments) -> str:
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + (", changed" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def speed(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def cells(line: Line) -> list[str]:
    result, most = line.comparison, line.limit.tokens_per_second
    return [line.row.title(), speed(result.facet), speed(result.peer), f"{result.ratio:.2f}", f"{result.low:.2f} to {result.high:.2f}",
            str(result.pairs), f"{speed(most)} ({line.limit.bound})", f"{result.facet / most:.0%}", f"{result.peer / most:.0%}"]


COLUMNS = ("tokens/s", "Facet", "llama.cpp", "ratio", "95% interval", "pairs", "limit", "Facet of it", "llama.cpp of it")


@dataclass(frozen=True)
class Kept:
    """What each side keeps of its own speed while another process is busy: its median then, divided by the one without."""
    row: Row
    facet: float
    peer: float


KEPT_COLUMNS = ("of its own quiet speed", "Facet", "llama.cpp")


def kept_when_busy(lines: Sequence[Line]) -> list[Kept]:
    """`lines` of one model; those of which there is also a quiet one."""
    quiet = {line.row: line.comparison for line in lines}
    kept = []
    for line in lines:
        if line.row.busy and (alone := quiet.get(replace(line.row, busy=False))):
            kept.append(Kept(line.row, line.comparison.facet / alone.facet, line.comparison.peer / alone.peer))
    return kept


def tables(lines: Sequence[Line]) -> list[list[Sequence[str]]]:
    """Of one model: each a list of rows, of which the first are the columns' names."""
    all_tables = [[COLUMNS, *map(cells, lines)]]
    if kept := kept_when_busy(lines):
        all_tables.append([KEPT_COLUMNS, *([part.row.title(), f"{part.facet:.2f}", f"{part.peer:.2f}"] for part in kept)])
    return all_tables


def models(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(line.model for line in lines))


def plain_tables(lines: Sequence[Line]) -> str:
    text = []
    for model in models(lines):
        text.append(model)
        for rows in tables([line for line in lines if line.model == model]):
            widths = [max(map(len, column)) for column in zip(*rows)]
            text += ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    return "\n".join(text) + "\n"


def tera(peak: Mapping) -> str:
    sets = peak["int8_operations_per_second"]
    return ", ".join(f"{name} {value / 1e12:.2f} Tops ({value / 1e12 / peak['threads']:.2f} per thread)" for name, value in sets.items()) or "unknown"


def markdown(lines: Sequence[Line], facts: Mapping[str, str], peak: Mapping, foreign: float) -> str:
    shown = {**facts, "memory is read with": f"{peak['read_bytes_per_second'] / 1e9:.1f} GB/s by {peak['threads']} threads",
             "int8 operations": tera(peak)}
    text = ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in shown.items()), ""]
    for model in models(lines):
        text += [f"## {model}", ""]
        for head, *rows in tables([line for line in lines if line.model == model]):
            text += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
            text += ["| " + " | ".join(row) + " |" for row in rows]
            text.append("")
    return "\n".join(text + ["## What is counted", "", EXPLANATION.format(foreign=foreign)])


def write(path: Path, text: str) -> None:
    """Puts the text between the marks of the file, whole or not at all; makes the file if there is none."""
    before = path.read_text() if path.exists() else HEAD
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(END) < before.index(BEGIN):
        raise ValueError(f"{path}: does not have the two marks, once each")
    after = before[:before.index(BEGIN) + len(BEGIN)] + "\n" + text + "\n" + before[before.index(END):]
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(after)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
