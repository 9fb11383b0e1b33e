"""What is measured, what it costs at least, and how far from that a result is.

case   one run of each side; it has one or two rows
row    a line of the table: tokens per second of a prompt or of a generation
work   what `facet-model inspect --json` says that a token reads and multiplies (daemon/model_tool/work.h)
peak   what machine_probe measured
"""
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    kind: str  # "prompt" or "generate"
    tokens: int  # of each sequence
    sequences: int
    depth: int  # tokens in the cache before
    busy: bool

    def title(self) -> str:
        title = f"prompt {self.tokens}" if self.kind == "prompt" else f"generation {self.tokens}"
        if self.sequences > 1:
            title += f", {self.sequences} sequences"
        if self.depth:
            title += f", after {self.depth}"
        return title + (", one other busy process" if self.busy else "")


@dataclass(frozen=True)
class Case:
    name: str
    prompt: int = 0  # tokens; 0: no such row
    generate: int = 0
    sequences: int = 1
    depth: int = 0
    repetitions: int = 1  # inside each run
    busy: bool = False  # an endless loop runs beside

    def rows(self) -> list[Row]:
        parts = (("prompt", self.prompt), ("generate", self.generate))
        return [Row(kind, tokens, self.sequences, self.depth, self.busy) for kind, tokens in parts if tokens]


@dataclass(frozen=True)
class Limit:
    """Tokens per second that the machine allows, and what it is that allows no more: "memory" or "int8"."""
    tokens_per_second: float
    bound: str


def step_bytes(work: Mapping, row: Row) -> float:
    """Of weights and of the cache that one step of a generation, or a whole prompt, reads at least. Each of several rows chooses its experts
    by itself: counted is the share of all experts that independent choices reach on average."""
    rows = row.sequences if row.kind == "generate" else row.tokens
    unread = (1 - work["experts_chosen"] / work["expert_choices"]) ** rows
    weights = work["dense_bytes"] + work["experts_bytes"] * (1 - unread)
    if row.kind == "prompt":
        return weights
    seen = row.depth + row.tokens / 2
    cache = sum(part["bytes_per_position"] * (min(seen, part["window"]) if part["window"] else seen) for part in work["cache_reads"])
    return weights + row.sequences * cache


def step_macs(work: Mapping, row: Row) -> int:
    """Multiply-accumulates of matrices in one step of a generation, or in a whole prompt, whose last token alone gets logits."""
    if row.kind == "prompt":
        return row.tokens * work["row_macs"] + work["selected_macs"]
    return row.sequences * (work["row_macs"] + work["selected_macs"])


def int8_peak(peak: Mapping, isa: str) -> float | None:
    """Of the instruction set that is forced (FACET_ISA), or of the best; None where there is none."""
    sets = peak["int8_operations_per_second"]
    return sets.get(isa) if isa else next(iter(sets.values()), None)


def limit(work: Mapping, row: Row, peak: Mapping, isa: str) -> Limit:
    tokens = row.sequences if row.kind == "generate" else row.tokens
    seconds = {"memory": step_bytes(work, row) / peak["read_bytes_per_second"]}
    operations = int8_peak(peak, isa)
    if operations:
        seconds["int8"] = 2 * step_macs(work, row) / operations
    bound = max(seconds, key=seconds.__getitem__)
    return Limit(tokens / seconds[bound], bound)
