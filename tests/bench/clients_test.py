#!/usr/bin/env python3
"""Tests what bench_clients says to lines that it cannot use, and to a daemon that is not there: clients_test.py BENCH_CLIENTS"""
import json
import os
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)
GOOD = {"id": 1, "app": "a", "priority": "standard", "prompt": [2], "tokens": 1}


def run(text: str) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM], input=text, capture_output=True, text=True, env=os.environ | {"FACET_SOCKET": "/nowhere/socket"})


class Lines(unittest.TestCase):
    def test_a_line_that_is_no_request_ends_the_program_and_is_named(self):
        for line, why in (("{", "parse error"), ("[]", "cannot use at()"), ("{}", "'id' not found"), ('{"cancel": 1}', "cancel is no number up to 0"),
                          (GOOD | {"id": 0}, "id is not above 0"), (GOOD | {"id": -1}, "id is no number"),
                          (GOOD | {"priority": "soon"}, "no priority soon"), (GOOD | {"prompt": 2}, "prompt is no list"),
                          (GOOD | {"prompt": [1.5]}, "an id of prompt is no number"), (GOOD | {"prompt": [1 << 32]}, "an id of prompt is no number"),
                          (GOOD | {"tokens": 1 << 21}, "tokens is no number up to 1048576"), (GOOD | {"tokens": "1"}, "tokens is no number"),
                          (GOOD | {"cancel_after": -1}, "cancel_after is no number"), (GOOD | {"app": 1}, "must be string"),
                          ("1" * (17 << 20), "longer than")):
            done = run(line if isinstance(line, str) else json.dumps(line) + "\n")
            self.assertEqual(done.returncode, 1, line)
            self.assertIn("bench_clients: line ", done.stderr)
            self.assertIn(why, done.stderr)

    def test_ids_grow(self):
        done = run(json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "\n")
        self.assertIn("line 2: id is not above 1", done.stderr)

    def test_without_a_daemon_each_request_gets_the_error(self):
        done = run(json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"id": 2}) + "\n" + '{"cancel": 2}\n')
        self.assertEqual(done.returncode, 0, done.stderr)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([answer["id"] for answer in answers], [1, 2])
        self.assertTrue(all("/nowhere/socket" in answer["error"] for answer in answers), answers)


if __name__ == "__main__":
    unittest.main()
