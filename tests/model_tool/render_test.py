#!/usr/bin/env python3
"""Runs facet-model render as a process, with the real vocabulary of Gemma 4 and a tiny Gemma 3.

    render_test.py FACET_MODEL [unittest options]
"""
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

TOOL = Path(sys.argv.pop(1)).resolve()
DATA = Path(__file__).resolve().parents[1] / "golden" / "data"
MODELS = Path(os.environ.get("FACET_TEST_MODELS") or "build/models")
VOCABULARY = MODELS / "gemma4-vocab.gguf"


def render(lines, model=VOCABULARY):
    stdin = b"".join(line + b"\n" for line in lines)
    return subprocess.run([str(TOOL), "render", str(model), "--jsonl"], input=stdin, capture_output=True, timeout=120)


def answers(lines, model=VOCABULARY):
    done = render(lines, model)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


class Render(unittest.TestCase):
    def test_golden_chats(self):
        lines = (DATA / "chat.jsonl").read_bytes().splitlines()
        golden = [json.loads(line)["rendered"] for line in lines]
        answered = answers(lines)
        self.assertEqual([answer["text"] for answer in answered], golden)
        decode = subprocess.run([str(TOOL), "detokenize", str(VOCABULARY), "--jsonl"], capture_output=True, check=True, timeout=120,
                                input=b"".join(json.dumps({"ids": answer["ids"]}).encode() + b"\n" for answer in answered))
        self.assertEqual([json.loads(line)["text"] for line in decode.stdout.splitlines()], golden)
        for answer in answered:
            self.assertEqual(answer["ids"][:2], [2, 105])

    def test_a_wrong_line_is_answered_and_changes_nothing_for_the_next(self):
        good = b'{"messages":[{"role":"user","content":"Hello"}]}'
        deep = b'{"messages":[{"role":"user"}],"tools":[' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"]}"
        many = b'{"messages":[' + b",".join([b'{"role":"user"}'] * 100000) + b"]}"
        bad = {
            b"": "not JSON",
            b"[]": "no JSON object",
            b"{}": "messages is empty",
            b'{"messages":[{"role":"model"}]}': "messages[0].role",
            b'{"messages":[{"role":"user","content":"\xff"}]}': "messages[0].content",
            b'{"messages":[{"role":"us\xffer"}]}': "messages[0].role",
            b'{"messages":[{"role":"user"}],"tools":[{"function":{"name":"a{b"}}]}': "tools[0].function.name",
            deep: "is nested deeper than",
            many: "messages has 100000 elements",
            b"[" * 1000000: "is nested deeper than",
        }
        answered = answers([line for wrong in bad for line in (wrong, good)])
        self.assertEqual(len(answered), 2 * len(bad))
        for refused, why in zip(answered[::2], bad.values()):
            self.assertIn(why, refused["error"])
        for written in answered[1::2]:
            self.assertIn("Hello", written["text"])
            self.assertEqual(written, answered[1])

    def test_gemma3_has_no_tools(self):
        lines = [b'{"messages":[{"role":"user","content":"a"}]}', b'{"messages":[{"role":"user"}],"enable_thinking":true}']
        written, refused = answers(lines, MODELS / "gemma3.gguf")
        self.assertEqual(written["text"], "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n")
        self.assertIn("enable_thinking", refused["error"])

    def test_an_unknown_template_is_named_in_a_warning(self):
        self.assertEqual(render([]).stderr, b"")
        warning = render([], MODELS / "gemma3.gguf").stderr.decode()
        self.assertIn("gemma3.gguf", warning)
        self.assertIn("chat template", warning)


if __name__ == "__main__":
    unittest.main()
