"""Pairs of runs that take turns, and what they say.

pair      one run of each side, one right after the other, the order changed from pair to pair, so that a machine that slows down meets
          both alike.
foreign   the share of the CPUs' time during a pair that neither side took: other processes, or the host of a virtual machine (stolen).
job       one thing that is measured: pairs of it are collected until there are enough.
"""
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

ATTEMPTS = 3  # runs of a job for each pair that is wanted, at most


@dataclass(frozen=True)
class Usage:
    """Seconds of all CPUs since boot: taken by anyone (the host included), taken by the host, in all; and of this process's ended children."""
    taken: float
    stolen: float
    total: float
    own: float


def parse_usage(stat: str, own: float, ticks_per_second: int) -> Usage:
    """`stat`: the text of /proc/stat, whose first line is user, nice, system, idle, iowait, irq, softirq, steal in ticks."""
    ticks = [int(field) for field in stat.split("\n")[0].split()[1:9]]
    taken = sum(ticks) - ticks[3] - ticks[4]
    return Usage(taken / ticks_per_second, ticks[7] / ticks_per_second, sum(ticks) / ticks_per_second, own)


def usage_now() -> Usage:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return parse_usage(Path("/proc/stat").read_text(), children.ru_utime + children.ru_stime, os.sysconf("SC_CLK_TCK"))


@dataclass(frozen=True)
class Disturbance:
    """Shares of the CPUs' time: foreign in all, and the part of it that the host took."""
    foreign: float
    stolen: float


def disturbance(before: Usage, after: Usage) -> Disturbance:
    total = after.total - before.total
    if total <= 0:
        return Disturbance(0.0, 0.0)
    foreign = (after.taken - before.taken - (after.own - before.own)) / total
    return Disturbance(max(0.0, foreign), (after.stolen - before.stolen) / total)


@dataclass(frozen=True)
class Pair:
    """Tokens per second of each row of a case."""
    facet: Sequence[float]
    peer: Sequence[float]
    disturbance: Disturbance


class OutOfTime(Exception):
    """A pair was given up because the time was over."""


class Deadline:
    """`seconds` from now on; None for no end."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> float | None:
        return None if self._end is None else self._end - self._clock()

    def fits(self, seconds: float) -> bool:
        left = self.left()
        return left is None or (left > 0 and seconds <= left)


def collect(jobs: Sequence[Hashable], wanted: int, foreign: float, deadline: Deadline, run: Callable[[Hashable, bool], Pair],
            clock: Callable[[], float] = time.monotonic) -> dict:
    """For each job the pairs during which others took at most `foreign` of the CPUs, `wanted` of them unless the runs (ATTEMPTS times as many)
    or the time end before. Jobs take turns. run(job, facet_first) raises OutOfTime for a pair that the deadline cut off."""
    kept = {job: [] for job in jobs}
    longest = dict.fromkeys(jobs, 0.0)
    for attempt in range(ATTEMPTS * wanted):
        for job in jobs:
            if len(kept[job]) == wanted or not deadline.fits(longest[job]):
                continue
            start = clock()
            try:
                pair = run(job, attempt % 2 == 0)
            except OutOfTime:
                continue
            longest[job] = max(longest[job], clock() - start)
            if pair.disturbance.foreign <= foreign:
                kept[job].append(pair)
    return kept


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where 95% of the medians of samples of the ratios lie, drawn with replacement; the same for the same ratios."""
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[49], medians[-50]


@dataclass(frozen=True)
class Comparison:
    """Medians of tokens per second, the median of the pairs' ratios (facet / peer) and its interval."""
    facet: float
    peer: float
    ratio: float
    low: float
    high: float
    pairs: int


def compare(pairs: Sequence[Pair], row: int) -> Comparison:
    """`pairs`: at least one."""
    ratios = [pair.facet[row] / pair.peer[row] for pair in pairs]
    return Comparison(statistics.median(pair.facet[row] for pair in pairs), statistics.median(pair.peer[row] for pair in pairs),
                      statistics.median(ratios), *interval(ratios), len(pairs))
