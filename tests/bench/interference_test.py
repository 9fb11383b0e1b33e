#!/usr/bin/env python3
"""Tests what interference.py makes of answers: figures, bounds, and which answers are not what a server says when it is asked again."""
import contextlib
import io
import math
import sys
import unittest
from unittest import mock

import interference
from bounds import Bound, quantiles
from interference import Measured, Recorded
from servers import Answer, ids


def answer(start: float, first: float, interval: float, tokens: list[int]) -> Answer:
    times = [start + first + interval * n for n in range(len(tokens))]
    return Answer(start, tokens, times, None, times[-1], 0)


class Server:
    """Says of each prompt its last ids, so many as are wanted."""

    def __init__(self):
        self.asked = []

    def start(self, prompt, count, priority):
        self.asked.append((len(prompt), count))
        said = answer(0, 1, 1, prompt[-count:])
        return mock.Mock(wait=lambda: said)


def said(prompt: int, seed: int, whole: int, count: int) -> Recorded:
    return Recorded(prompt, seed, ids(prompt, seed)[-whole:][:count])


class Bounds(unittest.TestCase):
    def test_quantiles_of_few_and_of_many(self):
        self.assertEqual(quantiles([5]), [5, 5, 5])
        self.assertEqual(quantiles([2, 1]), [1.5, 2, 2])
        self.assertEqual(quantiles(range(20, 0, -1)), [10.5, 19, 20])
        self.assertEqual(quantiles(range(1, 301)), [150.5, 285, 300])

    def test_a_bound_is_met_up_to_its_limit(self):
        for value, least, verdict in ((1.3, False, "met"), (1.301, False, "missed"), (1.3, True, "met"), (1.299, True, "missed"),
                                      (None, True, "not measured"), (None, False, "not measured")):
            bound = Bound("b", value, 1.3, least)
            self.assertEqual(bound.verdict(), verdict)
            self.assertTrue(bound.line().endswith(verdict))
            self.assertEqual(bound.figures()["verdict"], verdict)

    def test_those_of_the_issue(self):
        measured = Measured()
        for seed in range(20):
            measured.alone[seed] = answer(seed, 0.1, 0.01, [1, 2, 3])
            measured.beside[seed] = answer(seed, 0.11 if seed else 0.9, 0.01 if seed else 0.02, [1, 2, 3])
        measured.rates_alone, measured.rates_beside, measured.shares = [100, 100], [70, 80], [0.2, 0.2]
        figures = measured.figures()
        self.assertEqual(figures["differing"], 0)
        bounds = interference.bounds(figures, {"first token": {"alone": [200, 200, 200]}})
        for bound, value in zip(bounds, (1.1, 1.1, 1, 1, 0.9375, 0.5), strict=True):
            self.assertAlmostEqual(bound.value, value, msg=bound.name)
            self.assertEqual(bound.verdict(), "met")
        measured.rates_beside = [70, 70]
        measured.beside |= {seed: answer(seed, 0.14, 0.017, [1, 2, 4]) for seed in range(1, 13)}
        figures = measured.figures()
        self.assertEqual(figures["differing"], 12)
        self.assertEqual([bound.verdict() for bound in interference.bounds(figures, None)], ["missed"] * 5)
        self.assertIn("12 of the interactive answers differ", interference.table("facet", figures))

    def test_a_window_without_an_answer_measures_no_background(self):
        measured = Measured({1: answer(0, 1, 1, [1, 2])}, {1: answer(0, 1, 1, [1, 2])}, [], [math.nan], [5], [0.5])
        figures = measured.figures()
        self.assertIsNone(figures["background"]["alone"])
        self.assertEqual(interference.bounds(figures, None)[-1].verdict(), "not measured")
        self.assertIn("not counted", interference.table("facet", figures))


class Again(unittest.TestCase):
    def test_answers_that_are_not_what_is_said_again_are_counted(self):
        whole, cut, other = said(40, 1, 8, 8), said(40, 1, 8, 3), said(40, 2, 5, 5)
        server = Server()
        self.assertEqual(interference.count_differing(server, [whole, cut, other], 2), 0)
        self.assertEqual(sorted(server.asked), [(40, 5), (40, 8)])  # a prompt once, for its longest answer
        wrong = [Recorded(40, 1, cut.tokens[:2] + [7]), Recorded(40, 2, other.tokens[:-1] + [7])]
        self.assertEqual(interference.count_differing(Server(), [whole, cut, other, *wrong], 2), 2)

    def test_a_sample_is_of_so_many_and_all_without_a_number(self):
        recorded = [said(40, seed, 4, 4) for seed in range(9)]
        self.assertEqual(interference.sample(recorded, None), recorded)
        some = interference.sample(recorded, 4)
        self.assertEqual(len({one.seed for one in some}), 4)
        self.assertEqual(len(interference.sample(recorded, 20)), 9)


class Arguments(unittest.TestCase):
    def test_numbers_that_measure_nothing_are_refused(self):
        for flags in (("--requests", "0"), ("--phases", "0"), ("--clients", "0"), ("--check-background", "-1"), ("--peer-requests", "0")):
            with mock.patch.object(sys, "argv", ["interference.py", *flags]), contextlib.redirect_stderr(io.StringIO()):
                self.assertRaises(SystemExit, interference.parse_arguments)


if __name__ == "__main__":
    unittest.main()
