#!/usr/bin/env python3
"""Tests what versus.py reckons, drops, reads and writes, on made-up numbers and programs: versus_test.py MACHINE_PROBE"""
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROBE = Path(sys.argv.pop(1)).resolve()
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import cases  # noqa: E402
import pairs  # noqa: E402
import report  # noqa: E402
import sides  # noqa: E402
import versus  # noqa: E402
from cases import Case  # noqa: E402
from pairs import Deadline, Disturbance, OutOfTime, Pair  # noqa: E402

QUIET = Disturbance(0.0, 0.0)
WORK = {"dense_bytes": 1000, "experts_bytes": 0, "expert_choices": 1, "experts_chosen": 1, "row_macs": 100, "selected_macs": 50,
        "cache_reads": [{"window": 0, "bytes_per_position": 2}, {"window": 16, "bytes_per_position": 3}]}
PEAK = {"threads": 2, "read_bytes_per_second": 1e6, "int8_operations_per_second": {"avx512vnni": 4e5, "avx2": 1e5}}


def pair(facet: float, peer: float, foreign: float = 0.0) -> Pair:
    return Pair([facet], [peer], Disturbance(foreign, 0.0))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Statistics(unittest.TestCase):
    def test_interval_of_equal_ratios_is_a_point(self):
        self.assertEqual(pairs.interval([1.5] * 9), (1.5, 1.5))
        self.assertEqual(pairs.interval([2.0]), (2.0, 2.0))

    def test_interval_is_the_same_for_the_same_ratios_and_holds_their_median(self):
        ratios = [1.0, 1.1, 0.9, 1.05, 1.2, 0.95, 1.0, 1.02, 0.98]
        low, high = pairs.interval(ratios)
        self.assertEqual((low, high), pairs.interval(ratios))
        self.assertLessEqual(low, 1.0)
        self.assertGreaterEqual(high, 1.0)
        self.assertGreaterEqual(low, 0.9)
        self.assertLessEqual(high, 1.2)
        self.assertLess(low, high)

    def test_one_wild_pair_of_nine_moves_neither_median_nor_interval_far(self):
        ratios = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01]
        low, high = pairs.interval([*ratios, 40.0])
        self.assertLessEqual(high, 1.02)
        self.assertGreaterEqual(low, 0.98)

    def test_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians(self):
        result = pairs.compare([pair(10, 10), pair(30, 15), pair(20, 20)], 0)
        self.assertEqual((result.facet, result.peer, result.ratio, result.pairs), (20, 15, 1.0, 3))


class Usage(unittest.TestCase):
    STAT = "cpu  {} 0 0 {} 100 0 0 {} 0 0\ncpu0 1 2 3\n"

    def test_foreign_is_what_others_took_and_stolen_is_part_of_it(self):
        before = pairs.parse_usage(self.STAT.format(1000, 5000, 10), 3.0, 100)
        after = pairs.parse_usage(self.STAT.format(1800, 5100, 110), 10.0, 100)
        # Of 10 seconds of all CPUs 8 were user's, 1 was stolen, 1 idle; 7 were our own.
        taken = pairs.disturbance(before, after)
        self.assertAlmostEqual(taken.foreign, 0.2)
        self.assertAlmostEqual(taken.stolen, 0.1)

    def test_rounding_of_ticks_is_no_negative_share(self):
        before = pairs.parse_usage(self.STAT.format(0, 0, 0), 0.0, 100)
        after = pairs.parse_usage(self.STAT.format(99, 1, 0), 1.0, 100)
        self.assertEqual(pairs.disturbance(before, after).foreign, 0.0)
        self.assertEqual(pairs.disturbance(before, before), QUIET)

    def test_now(self):
        usage = pairs.usage_now()
        self.assertGreater(usage.total, 0)
        self.assertGreaterEqual(usage.total, usage.taken)


class Collect(unittest.TestCase):
    def test_disturbed_pairs_are_dropped_and_run_again_and_the_order_alternates(self):
        shares = iter([0.0, 0.2, 0.05, 0.051, 0.0])
        orders = []

        def run(job, facet_first):
            orders.append(facet_first)
            return pair(1, 1, next(shares))

        kept = pairs.collect(["a"], 3, 0.05, Deadline(None), run)
        self.assertEqual([p.disturbance.foreign for p in kept["a"]], [0.0, 0.05, 0.0])
        self.assertEqual(orders, [True, False, True, False, True])

    def test_runs_are_bounded_when_every_pair_is_disturbed(self):
        runs = []
        kept = pairs.collect(["a", "b"], 3, 0.05, Deadline(None), lambda job, _: runs.append(job) or pair(1, 1, float(job == "a")))
        self.assertEqual((len(kept["a"]), len(kept["b"])), (0, 3))
        self.assertEqual((runs.count("a"), runs.count("b")), (9, 3))

    def test_jobs_take_turns(self):
        runs = []
        pairs.collect(["a", "b"], 2, 0.05, Deadline(None), lambda job, _: runs.append(job) or pair(1, 1))
        self.assertEqual(runs, ["a", "b", "a", "b"])

    def test_no_run_begins_that_does_not_fit_before_the_deadline(self):
        clock, runs = Clock(), []
        lasts = {"slow": 40.0, "fast": 10.0}

        def run(job, _):
            runs.append(job)
            clock.now += lasts[job]
            return pair(1, 1)

        pairs.collect(["slow", "fast"], 9, 0.05, Deadline(75.0, clock), run, clock)
        self.assertEqual(runs, ["slow", "fast", "fast", "fast"])

    def test_a_pair_that_was_cut_off_does_not_count(self):
        def run(job, facet_first):
            if job == "a":
                raise OutOfTime
            return pair(1, 1)

        kept = pairs.collect(["a", "b"], 1, 0.05, Deadline(1e9), run)
        self.assertEqual((len(kept["a"]), len(kept["b"])), (0, 1))


class Limits(unittest.TestCase):
    def test_a_generation_reads_weights_and_the_middle_of_its_cache(self):
        row, = Case("long", generate=20, depth=100).rows()
        self.assertEqual(cases.step_bytes(WORK, row), 1000 + 2 * 110 + 3 * 16)
        self.assertEqual(cases.step_macs(WORK, row), 150)

    def test_several_sequences_read_weights_once_and_each_its_own_cache(self):
        row, = Case("batch", generate=20, sequences=8).rows()
        self.assertEqual(cases.step_bytes(WORK, row), 1000 + 8 * (2 * 10 + 3 * 10))
        self.assertEqual(cases.step_macs(WORK, row), 8 * 150)

    def test_of_experts_the_chosen_are_read(self):
        work = WORK | {"experts_bytes": 800, "expert_choices": 4, "experts_chosen": 1, "cache_reads": []}
        one, = Case("basic", generate=1).rows()
        two, = Case("batch", generate=1, sequences=2).rows()
        self.assertAlmostEqual(cases.step_bytes(work, one), 1000 + 200)
        self.assertAlmostEqual(cases.step_bytes(work, two), 1000 + 350)

    def test_the_longer_time_is_the_limit(self):
        prompt, generate = Case("basic", 512, 128).rows()
        # A prompt: 2 * (512 * 100 + 50) operations at 4e5 per second.
        most = cases.limit(WORK, prompt, PEAK, "")
        self.assertEqual(most.bound, "int8")
        self.assertAlmostEqual(most.tokens_per_second, 512 / (2 * 51250 / 4e5))
        fast = PEAK | {"int8_operations_per_second": {"avx512vnni": 1e9}}
        most = cases.limit(WORK, generate, fast, "")
        self.assertEqual(most.bound, "memory")
        self.assertAlmostEqual(most.tokens_per_second, 1e6 / (1000 + 2 * 64 + 3 * 16))

    def test_the_peak_is_that_of_the_instructions_in_use(self):
        self.assertEqual(cases.int8_peak(PEAK, ""), 4e5)
        self.assertEqual(cases.int8_peak(PEAK, "avx2"), 1e5)
        self.assertIsNone(cases.int8_peak(PEAK, "portable"))
        row, = Case("basic", 512).rows()
        self.assertEqual(cases.limit(WORK, row, PEAK, "portable").bound, "memory")

    def test_the_best_of_two_probes(self):
        other = {"threads": 2, "read_bytes_per_second": 2e6, "int8_operations_per_second": {"avx512vnni": 1e5, "avx2": 2e5}}
        best = sides.better_peak(PEAK, other)
        self.assertEqual(best["read_bytes_per_second"], 2e6)
        self.assertEqual(list(best["int8_operations_per_second"].items()), [("avx512vnni", 4e5), ("avx2", 2e5)])


class Parsing(unittest.TestCase):
    BASIC = Case("basic", 512, 128)
    BATCH = Case("batch", generate=16, sequences=8, repetitions=2)

    def test_facet(self):
        self.assertEqual(sides.parse_facet('{"prompt_tps": 10, "generate_tps": 2.5}', self.BASIC), [10.0, 2.5])
        self.assertEqual(sides.parse_facet('{"generate_tps": 2.5}', self.BATCH), [2.5])

    def test_llama_bench_in_either_order(self):
        tests = [{"n_prompt": 0, "n_gen": 128, "avg_ts": 3.5}, {"n_prompt": 512, "n_gen": 0, "avg_ts": 70}]
        self.assertEqual(sides.parse_llama_bench(json.dumps(tests), self.BASIC), [70.0, 3.5])

    def test_batched_bench_takes_the_median_of_its_lines(self):
        text = "".join(f'main: x\n{{"pl": 8, "tg": 16, "speed_tg": {speed}}}\n\n' for speed in (20, 30))
        self.assertEqual(sides.parse_batched_bench(text, self.BATCH), [25.0])

    def test_what_cannot_be_read_is_said(self):
        good = {"n_prompt": 512, "n_gen": 0, "avg_ts": 70}
        wrong = [(sides.parse_facet, text) for text in ("", "{", "[]", "null", "{}", '{"prompt_tps": 1}', '{"prompt_tps": 1, "generate_tps": 0}',
                                                        '{"prompt_tps": "1", "generate_tps": 1}', '{"prompt_tps": NaN, "generate_tps": 1}',
                                                        '{"prompt_tps": true, "generate_tps": 1}')]
        wrong += [(sides.parse_llama_bench, json.dumps(tests)) for tests in ([], [good], [good, good], {}, 1, [1], [good, {"n_gen": 128, "n_prompt": 0}])]
        for parse, text in wrong:
            with self.subTest(parse=parse.__name__, text=text), self.assertRaises(sides.Unreadable):
                parse(text, self.BASIC)
        for text in ("", "{", '{"pl": 8}', '{"pl": 8, "tg": 16, "speed_tg": 20}', '{"pl": 4, "tg": 16, "speed_tg": 20}\n' * 2):
            with self.subTest(text=text), self.assertRaises(sides.Unreadable):
                sides.parse_batched_bench(text, self.BATCH)

    def test_machine(self):
        facts = report.machine("processor : 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2 avx512_vnni\n", "MemTotal:  2097152 kB\n")
        self.assertEqual((facts["CPU"], facts["instructions"], facts["memory"]), ("A CPU", "avx2 avx512_vnni", "2.0 GiB"))
        facts = report.machine("Features : asimd i8mm\n", "MemTotal:  1 kB\n")
        self.assertEqual(facts["instructions"], "asimd i8mm")


# Stands for each of the measured programs, by the name that it has.
PROGRAM = """#!{python}
import json, os, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
def value(flag):
    return int(arguments[arguments.index(flag) + 1])
if name == "facet-model" and arguments[0] == "inspect":
    if "drafter" in arguments[-1]:
        sys.exit("a drafter runs beside its model only")
    print(json.dumps({{}} if "vocab" in arguments[-1] else {{"work": {work!r}}}))
elif name == "facet-model":
    print(json.dumps({{"prompt_tps": 400.0, "generate_tps": 20.0 * value("-b")}}))
elif name == "llama-bench":
    rows = [("-p", "n_prompt", "n_gen", 100.0), ("-n", "n_gen", "n_prompt", 10.0)]
    print(json.dumps([{{"build_commit": "abc1234", one: value(flag), other: 0, "avg_ts": speed}} for flag, one, other, speed in rows if value(flag)]))
elif name == "llama-batched-bench":
    for part in arguments[arguments.index("-npl") + 1].split(","):
        print(json.dumps({{"pl": int(part), "tg": value("-ntg"), "speed_tg": 40.0}}))
elif name == "machine_probe":
    print(json.dumps({peak!r}))
"""


class Whole(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.models = self.folder / "models"
        self.models.mkdir()
        for size, name in enumerate(("vocab", "small", "drafter", "large")):
            (self.models / f"{name}.gguf").write_bytes(bytes(size))
        (self.models / "notes.txt").write_text("no model")
        text = PROGRAM.format(python=sys.executable, work=WORK, peak=PEAK)
        for name in ("facet-model", "llama-bench", "llama-batched-bench", "machine_probe"):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(stat.S_IRWXU)

    def versus(self, *arguments):
        command = [sys.executable, FOLDER / "versus.py", "--peer", self.folder, "--facet", self.folder, "--pairs", "1", "--foreign", "1", *arguments]
        environment = {name: text for name, text in os.environ.items() if name != "FACET_ISA"} | {"FACET_TEST_MODEL_DIR": str(self.models)}
        return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment)

    def test_tables_of_two_models(self):
        table = self.folder / "performance.md"
        done = self.versus("--model", "one.gguf", "two.gguf", "--cases", "basic,batch,long,busy", "--write", table)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = table.read_text()
        for model in ("one", "two"):
            self.assertIn(f"\n## {model}\n", text)
        self.assertIn("| prompt 512 | 400 | 100 | 4.00 | 4.00 to 4.00 | 1 | 1998 (int8) | 20% | 5% |", text)
        self.assertIn("| generation 128, 8 sequences | 160 | 40.0 | 4.00 |", text)
        self.assertIn("| generation 128, after 16384 | 20.0 | 10.0 | 2.00 |", text)
        self.assertIn("| generation 128, one other busy process | 20.0 | 10.0 | 2.00 |", text)
        self.assertIn("| of its own quiet speed | Facet | llama.cpp |\n|---|---|---|\n| prompt 512, one other busy process | 1.00 | 1.00 |\n", text)
        self.assertIn("| llama.cpp | abc1234 |", text)
        self.assertIn("prompt 512", done.stdout)

    def test_by_default_all_models_of_the_folder_that_run_by_themselves(self):
        table = self.folder / "performance.md"
        done = self.versus("--write", table)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = table.read_text()
        self.assertIn("\n## small\n", text)
        self.assertIn("\n## large\n", text)
        self.assertEqual(text.count("\n## "), 3)  # and what is counted
        self.assertIn("vocab.gguf is left out: it computes nothing\n", done.stdout)
        self.assertIn("drafter.gguf is left out: a drafter runs beside its model only\n", done.stdout)
        self.assertNotIn("of its own quiet speed", text)

    def test_quick_takes_the_smallest_model_and_writes_nothing_unless_asked(self):
        before = sorted(self.folder.iterdir())
        done = self.versus("--quick")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("small.gguf basic", done.stdout)
        self.assertNotIn("large.gguf basic", done.stdout)
        self.assertEqual(sorted(self.folder.iterdir()), before)
        table = self.folder / "performance.md"
        self.assertEqual(self.versus("--quick", "--write", table).returncode, 0)
        self.assertIn("\n## small\n", table.read_text())

    def test_a_folder_without_a_model_that_can_be_measured(self):
        for name in ("small", "large"):
            (self.models / f"{name}.gguf").unlink()
        done = self.versus("--no-write")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{self.models}: holds no model", done.stderr)

    def test_what_is_written_by_default(self):
        whole = FOLDER.parents[1] / "docs/performance.md"
        table = Path("table.md")
        for flags, file in (((), whole), (("--no-write",), None), (("--quick",), None), (("--quick", "--write", "table.md"), table),
                            (("--pairs", "2"), None), (("--cases", "basic"), None), (("--minutes", "9"), None), (("--model", "one.gguf"), None), (("--model", "one.gguf", "--write", "table.md"), table), (("--write", "table.md"), table)):
            with self.subTest(flags=flags):
                self.assertEqual(versus.parse_arguments(["--peer", "bin", *flags]).write, file)

    def test_a_floor_that_is_not_reached(self):
        done = self.versus("--model", "one.gguf", "--cases", "basic", "--floor", "3.9,2.1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "one, generation 128: 2.00 is below 2.1\n")

    def test_rows_without_a_pair(self):
        done = self.versus("--model", "one.gguf", "--cases", "batch", "--foreign", "-1")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stderr, "one, generation 128, 8 sequences: no pair was undisturbed and in time\n")

    def test_minutes_end_it_in_the_middle_of_a_run(self):
        (self.folder / "llama-batched-bench").write_text("#!/bin/sh\nexec sleep 600\n")
        done = self.versus("--model", "one.gguf", "--cases", "batch,basic", "--minutes", "0.05", "--pairs", "1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("one, generation 128, 8 sequences: no pair", done.stderr)

    def test_a_program_that_fails_or_is_not_there_is_named(self):
        (self.folder / "llama-bench").write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
        done = self.versus("--model", "one.gguf")
        self.assertEqual(done.returncode, 1)
        self.assertIn("ended with 3\nno such model", done.stderr)
        (self.folder / "llama-bench").unlink()
        self.assertIn("llama-bench: there is no such program", self.versus("--model", "one.gguf").stderr)
        (self.folder / "machine_probe").unlink()
        self.assertIn("build the target machine_probe", self.versus("--model", "one.gguf").stderr)

    def test_flags_that_are_refused(self):
        for flags in (("--cases", "all"), ("--pairs", "0"), ("--floor", "1"), ("--floor", "a,b"), ("--sequences", "1"), ("--prompt", "0"), ("--minutes", "0"),
                      ("--write", "table.md", "--no-write")):
            with self.subTest(flags=flags):
                self.assertEqual(self.versus(*flags).returncode, 2)


class Busy(unittest.TestCase):
    @staticmethod
    def line(kind: str, facet: float, peer: float, busy: bool, depth: int = 0) -> report.Line:
        return report.Line("one", cases.Row(kind, 8, 1, depth, busy), pairs.compare([pair(facet, peer)], 0), cases.Limit(1e3, "memory"))

    def test_what_each_side_keeps_of_its_own_quiet_speed(self):
        lines = [self.line("generate", 20, 10, False), self.line("prompt", 400, 100, False), self.line("generate", 12, 3, True), self.line("prompt", 300, 90, True)]
        self.assertEqual([(part.row.kind, round(part.facet, 9), round(part.peer, 9)) for part in report.kept_when_busy(lines)],
                         [("generate", 0.6, 0.3), ("prompt", 0.75, 0.9)])
        self.assertIn("generation 8, one other busy process   0.60       0.30\n", report.plain_tables(lines))

    def test_without_the_same_row_in_quiet_there_is_nothing_to_say(self):
        self.assertEqual(report.kept_when_busy([self.line("generate", 20, 10, False, 5), self.line("generate", 12, 3, True)]), [])
        self.assertEqual(report.kept_when_busy([self.line("generate", 20, 10, False)]), [])


class Writing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "performance.md"

    def test_what_stands_outside_the_marks_stays(self):
        report.write(self.path, "first")
        self.path.write_text(self.path.read_text() + "\nby hand\n")
        report.write(self.path, "second")
        text = self.path.read_text()
        self.assertTrue(text.startswith("# Performance\n"))
        self.assertTrue(text.endswith("\nby hand\n"))
        self.assertIn(f"{report.BEGIN}\nsecond\n{report.END}", text)
        self.assertNotIn("first", text)
        self.assertEqual(list(self.path.parent.iterdir()), [self.path])

    def test_a_file_without_marks_is_left_alone(self):
        for text in ("", report.BEGIN, f"{report.END}\n{report.BEGIN}", 2 * (report.BEGIN + report.END)):
            self.path.write_text(text)
            with self.assertRaises(ValueError):
                report.write(self.path, "new")
            self.assertEqual(self.path.read_text(), text)


class Probe(unittest.TestCase):
    def run_probe(self, *arguments):
        return subprocess.run([PROBE, *arguments], capture_output=True, text=True, timeout=300)

    def test_prints_numbers_above_zero(self):
        for threads in ("1", "3"):
            done = self.run_probe("--threads", threads, "--seconds", "0", "--mib", "8")
            self.assertEqual(done.returncode, 0, done.stderr)
            peak = json.loads(done.stdout)
            self.assertEqual(peak["threads"], int(threads))
            self.assertGreater(peak["read_bytes_per_second"], 0)
            for operations in peak["int8_operations_per_second"].values():
                self.assertGreater(operations, 0)

    def test_refuses_what_is_out_of_range(self):
        for flags in (("--threads", "0"), ("--threads", "2000"), ("--seconds", "-1"), ("--mib", "1"), ("--mib", "x"), ("more",)):
            with self.subTest(flags=flags):
                self.assertNotEqual(self.run_probe(*flags).returncode, 0)


if __name__ == "__main__":
    unittest.main()
