#!/usr/bin/env python3
"""What `facet-model inspect --ctx` predicts is what a process then uses.

    memory_test.py FACET_MODEL [unittest options]

`bench` runs one sequence of as many positions and reports the private memory that the kernel counts for it. Reads the tiny models
($FACET_TEST_MODELS) and the real Gemma 3 270M ($FACET_TEST_MODEL_DIR).
"""
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

TOOL = Path(sys.argv.pop(1)).resolve()
TINY = Path(os.environ.get("FACET_TEST_MODELS") or "build/models") / "e2b.gguf"
REAL = Path(os.environ.get("FACET_TEST_MODEL_DIR") or Path.home() / ".cache/facet/models") / "gemma-3-270m-q4_k_m.gguf"
# A page of a library is private while no other process maps the library, so a few MiB come and go.
ROOM = 8 << 20


def report(command, model, *arguments):
    done = subprocess.run([str(TOOL), command, str(model), "--json", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def predicted(model, positions, *compute):
    return report("inspect", model, "--ctx", positions, *compute)["memory"]


def used(model, positions, *compute):
    return report("bench", model, "-p", 0, "-n", 1, "-d", positions - 1, "-r", 1, *compute)


class Memory(unittest.TestCase):
    def assert_close(self, prediction, truth, least):
        self.assertLess(abs(prediction - truth), max(0.05 * truth, least), f"predicted {prediction}, used {truth}")

    def test_a_tiny_model_on_every_backend(self):
        for backend in ("reference", "onednn"):
            with self.subTest(backend):
                compute = ("--backend", backend, "--threads", 2)
                self.assert_close(predicted(TINY, 200, *compute)["private_bytes"], used(TINY, 200, *compute)["private_bytes"], ROOM)

    def test_the_real_model_and_how_it_grows(self):
        compute = ("--backend", "onednn", "--threads", 2, "--cache", "f32")
        short, long = (predicted(REAL, n, *compute) for n in (2048, 8192))
        used_short, used_long = (used(REAL, n, *compute)["private_bytes"] for n in (2048, 8192))
        self.assert_close(short["private_bytes"], used_short, ROOM)
        self.assert_close(long["private_bytes"], used_long, ROOM)
        growth = long["private_bytes"] - short["private_bytes"]
        # Only the 3 global layers keep what the longer context adds: keys and values of one head of 256 floats.
        self.assertEqual(long["cache_bytes"] - short["cache_bytes"], 6144 * 3 * 2 * 256 * 4)
        self.assert_close(growth, used_long - used_short, ROOM)

    def test_a_cache_in_blocks(self):
        compute = ("--backend", "onednn", "--threads", 2, "--cache", "q8_0")
        short, long = (predicted(REAL, n, *compute) for n in (2048, 8192))
        self.assertEqual(long["cache_bytes"] - short["cache_bytes"], 6144 * 3 * 2 * 256 // 32 * 34)
        self.assert_close(short["private_bytes"], used(REAL, 2048, *compute)["private_bytes"], ROOM)

    def test_the_weights_stay_in_the_file(self):
        memory = predicted(REAL, 64)
        for copies, bytes_of_copy in (("none", 0), ("auto", memory["weights_packed_bytes"])):
            report = used(REAL, 64, "--packed-weights", copies)
            self.assert_resident(report, memory, bytes_of_copy)

    def assert_resident(self, report, memory, bytes_of_copy):
        self.assertLessEqual(report["weights_resident_bytes"], REAL.stat().st_size + bytes_of_copy + 4096)
        self.assertGreater(report["weights_resident_bytes"], memory["weights_mapped_bytes"] // 2)
        self.assertLess(report["private_bytes"], memory["weights_mapped_bytes"] // 2)


if __name__ == "__main__":
    unittest.main()
