"""What is wanted of what a benchmark measures. A bound that is missed is shown and fails no run: timing decides nothing."""
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Bound:
    name: str
    value: float | None  # None: the run was too short to say
    limit: float
    least: bool = False  # the limit is the least that is wanted, not the most

    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if (self.value >= self.limit if self.least else self.value <= self.limit) else "missed"

    def line(self) -> str:
        value = "" if self.value is None else f"{self.value:.3f}, "
        return f"  {self.name}: {value}wanted at {'least' if self.least else 'most'} {self.limit:g}: {self.verdict()}"

    def figures(self) -> dict:
        return asdict(self) | {"verdict": self.verdict()}


def quantiles(values: Sequence[float]) -> list[float]:
    """Median, 95th percentile (the least value that 95% of all do not exceed), worst."""
    values = sorted(values)
    return [statistics.median(values), values[-(-95 * len(values) // 100) - 1], values[-1]]
