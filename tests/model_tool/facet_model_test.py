#!/usr/bin/env python3
"""Runs facet-model as a process: what it prints, what it refuses, and its exit codes.

    facet_model_test.py FACET_MODEL [unittest options]

Reads the tiny models ($FACET_TEST_MODELS) and the golden tokens. Backend: reference.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOL = Path(sys.argv.pop(1)).resolve()
DATA = Path(__file__).resolve().parents[1] / "golden" / "data"
MODELS = Path(os.environ.get("FACET_TEST_MODELS") or "build/models")
TINY = MODELS / "gemma3.gguf"
DRAFTING = (MODELS / "dense31b.gguf", MODELS / "mtp-dense31b-drafter.gguf")
VOCABULARY = 1024
REFERENCE = ("--backend", "reference")


def run(*arguments, stdin=b""):
    return subprocess.run([str(TOOL), *map(str, arguments)], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def answers(command, lines, model=TINY):
    """One answer per line, decoded. A line is bytes, or an object."""
    stdin = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    done = run(command, model, "--jsonl", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


class Tokens(unittest.TestCase):
    def golden(self):
        """The lines that are text and not open to dispute, with their text."""
        usable = []
        for line in (DATA / "tokenizer_tiny.jsonl").read_text().splitlines()[1:]:
            case = json.loads(line)
            try:
                case["text"] = bytes.fromhex(case["hex"]).decode()
            except UnicodeDecodeError:
                continue
            if "\u2581" not in case["text"] and "ids" in case["gemma3"]:
                usable.append(case)
        self.assertGreater(len(usable), 100)
        return usable

    def test_golden_ids_and_the_way_back(self):
        golden = self.golden()
        for special, name in ((False, "ids"), (True, "ids_special")):
            for form in ("hex", "text"):
                ids = answers("tokenize", [{form: line[form], "special": special} for line in golden])
                self.assertEqual(ids, [{"ids": line["gemma3"][name]} for line in golden])
            back = answers("detokenize", ids)
            self.assertEqual([line["text"] for line in back], [line["text"] for line in golden])
            self.assertEqual([line["hex"] for line in back], [line["hex"] for line in golden])

    def test_bos_and_control_tokens(self):
        plain, bos = answers("tokenize", [{"text": "a"}, {"text": "a", "bos": True}])
        self.assertEqual(bos["ids"], [2] + plain["ids"])
        shown, hidden = answers("detokenize", [bos, {**bos, "special": False}])
        self.assertEqual((shown["text"], hidden["text"]), ("<bos>a", "a"))

    def test_bytes_that_are_no_text(self):
        ids, = answers("tokenize", [{"hex": "ff61FE"}])
        self.assertEqual(answers("detokenize", [ids]), [{"hex": "ff61fe", "text": None}])

    def test_wrong_lines_are_answered_and_the_next_is_right(self):
        wrong = [b"", b"{", b"[1]", b"null", b"\xff", b'{"text":1}', b'{"hex":"abc"}', b'{"hex":"zz"}', b"{}", b'{"text":"a","special":1}',
                 b'{"text":"a"', b"[" * 100000, b'{"text":' + b"[" * 1000 + b"]" * 1000 + b"}", b'{"text":"\\ud800"}',
                 b'{"text":"' + b"a" * ((4 << 20) + 1) + b'"}', b'{"text":"' + b"a" * (33 << 20) + b'"}']
        lines = answers("tokenize", [part for line in wrong for part in (line, {"text": "a"})])
        self.assertEqual(len(lines), 2 * len(wrong))
        for line, bad, good in zip(wrong, lines[::2], lines[1::2]):
            with self.subTest(line=line[:40]):
                self.assertEqual(list(bad), ["error"])
                self.assertTrue(bad["error"])
                self.assertIn("ids", good)

    def test_wrong_ids_are_answered(self):
        wrong = [{}, {"ids": 1}, {"ids": ["a"]}, {"ids": [VOCABULARY]}, {"ids": [-1]}, {"ids": [1.5]}, {"ids": [2**31]}, {"ids": [2**70]},
                 {"ids": [1], "special": "yes"}, {"ids": [0] * ((1 << 20) + 1)}]
        lines = answers("detokenize", [part for line in wrong for part in (line, {"ids": []})])
        for line, bad, good in zip(wrong, lines[::2], lines[1::2]):
            with self.subTest(line=str(line)[:40]):
                self.assertEqual(list(bad), ["error"])
                self.assertEqual(good, {"hex": "", "text": ""})

    def test_a_vocabulary_without_a_model(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vocabulary.gguf"
            tiny = TINY.read_bytes()
            path.write_bytes(tiny[:8] + struct.pack("<Q", 0) + tiny[16:])  # the number of tensors
            lines = [{"text": "a quick test"}]
            ids = answers("tokenize", lines, path)
            self.assertEqual(ids, answers("tokenize", lines))
            self.assertEqual(answers("detokenize", ids, path)[0]["text"], "a quick test")
            report = json.loads(run("inspect", path, "--json").stdout)
            self.assertEqual((report["tensors"], report["tokenizer"]["tokens"]), (0, VOCABULARY))
            self.assertNotIn("model", report)

    def test_the_real_gemma4_vocabulary(self):
        lines = [{"text": "Hello world"}, {"text": "<|turn>user\n", "special": True, "bos": True}, {"hex": "ff"}]
        path = MODELS / "gemma4-vocab.gguf"
        ids = answers("tokenize", lines, path)
        self.assertEqual([line["ids"] for line in ids], [[9259, 1902], [2, 105, 2364, 107], [493]])
        self.assertEqual([line["hex"] for line in answers("detokenize", ids, path)],
                         [b"Hello world".hex(), b"<bos><|turn>user\n".hex(), "ff"])

    def test_a_last_line_without_an_end(self):
        done = run("tokenize", TINY, "--jsonl", stdin=b'{"text":"a"}')
        self.assertIn("ids", json.loads(done.stdout))


class Computing(unittest.TestCase):
    IDS = "2,538,776,955,125,268,72"

    def logits(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "logits"
            done = run("logits", TINY, *REFERENCE, "--cache", "f32", *arguments, "--out", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            return out.read_bytes()

    def test_logits_are_the_golden_ones(self):
        golden = json.loads((DATA / "gemma3.json").read_text())["prompts"][1]
        offset = golden["arrays"]["llama_f32gelu"]["offset"]
        known = struct.unpack_from(f"<{7 * VOCABULARY}f", (DATA / "gemma3.bin").read_bytes(), 4 * offset)
        self.assertEqual(self.IDS, ",".join(map(str, golden["ids"])))
        ours = struct.unpack(f"<{7 * VOCABULARY}f", self.logits("--ids", self.IDS))
        self.assertLess(max(abs(x - y) for x, y in zip(ours, known)), 2e-3)

    def test_several_prompts_follow_each_other(self):
        first, second = self.logits("--ids", self.IDS), self.logits("--ids", "701")
        self.assertEqual(len(second), 4 * VOCABULARY)
        for chunk in ([], ["--chunk", 1], ["--chunk", 3], ["--threads", 2]):
            self.assertEqual(self.logits("--ids", self.IDS, "--ids", "701", *chunk), first + second)

    def test_generate(self):
        done = run("generate", TINY, *REFERENCE, "--ids", self.IDS, "-n", 5)
        self.assertEqual(done.stdout, b"908 908 908 908 908\n")

    def test_generate_leaves_out_what_the_file_suppresses(self):
        key, tiny = b"tokenizer.ggml.suppress_tokens", TINY.read_bytes()
        # 64 bytes, so that the tensors stay aligned: an array of five 16-bit integers.
        entry = struct.pack("<Q", len(key)) + key + struct.pack("<IIQ5h", 9, 3, 5, *[908] * 5)
        entries, = struct.unpack_from("<Q", tiny, 16)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "suppressing.gguf"
            path.write_bytes(tiny[:16] + struct.pack("<Q", entries + 1) + entry + tiny[24:])
            done = run("generate", path, *REFERENCE, "--ids", self.IDS, "-n", 5)
            self.assertEqual(len(done.stdout.split()), 5, done.stderr)
            self.assertNotIn(b"908", done.stdout)
            out = Path(folder) / "logits"
            self.assertEqual(run("logits", path, *REFERENCE, "--cache", "f32", "--ids", self.IDS, "--out", out).returncode, 0)
            self.assertEqual(out.read_bytes(), self.logits("--ids", self.IDS))

    def test_generate_goes_on_behind_an_end_token(self):
        done = run("generate", TINY, *REFERENCE, "--ids", 44, "-n", 3)
        self.assertEqual(done.stdout, b"1 823 880\n")

    def test_drafts_are_the_golden_ones(self):
        golden, floats = json.loads((DATA / "mtp-dense31b.json").read_text()), (DATA / "mtp-dense31b.bin").read_bytes()
        width = golden["n_vocab"]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "drafts"
            for prompt in golden["prompts"]:
                ids, steps = ",".join(map(str, prompt["ids"])), prompt["steps"]
                done = run("draft", *DRAFTING, *REFERENCE, "--cache", "f32", "--ids", ids, "-n", len(steps), "--out", out)
                self.assertEqual((done.returncode, done.stdout), (0, b""), done.stderr)
                self.assertEqual(out.stat().st_size, 4 * width * len(steps))
                ours = struct.unpack(f"<{width * len(steps)}f", out.read_bytes())
                known = [x for step in steps for x in struct.unpack_from(f"<{width}f", floats, 4 * step["logits"])]
                self.assertLess(max(abs(x - y) for x, y in zip(ours, known)), 2e-3)

    def test_a_long_prompt_beyond_a_chunk(self):
        ids = ",".join(str(3 + i % 1000) for i in range(600))
        done = run("generate", TINY, *REFERENCE, "--ids", ids, "-n", 3)
        last = self.logits("--ids", ids, "--chunk", 100)[-4 * VOCABULARY:]
        row = struct.unpack(f"<{VOCABULARY}f", last)
        self.assertEqual(int(done.stdout.split()[0]), row.index(max(row)))

    def test_perplexity(self):
        done = run("perplexity", TINY, *REFERENCE, "--text", DATA / "real" / "alice.txt", "--ctx", 64)
        self.assertRegex(done.stdout.decode(), r"\APPL = [0-9]+\.[0-9]{4}\n\Z")

    def test_bench(self):
        whole = json.loads(run("bench", TINY, *REFERENCE, "-p", 8, "-n", 4, "-b", 3, "-d", 40, "-r", 2, "--json").stdout)
        self.assertGreater(whole["prompt_tps"], 0)
        self.assertGreater(whole["generate_tps"], 0)
        self.assertEqual(whole["rows"], 512)
        for rows in (1, 3, 8, 65536):
            steps = json.loads(run("bench", TINY, *REFERENCE, "-p", 8, "-n", 0, "-d", 5, "--rows", rows, "-r", 1, "--json").stdout)
            self.assertEqual(steps["rows"], rows)
            self.assertGreater(steps["prompt_tps"], 0)
        long = json.loads(run("bench", TINY, *REFERENCE, "-p", 1, "-n", 4, "-d", 300, "--depth-read", 64, "-r", 1, "--json").stdout)
        self.assertEqual(long["depth"], 300)
        part = json.loads(run("bench", TINY, *REFERENCE, "-p", 0, "-n", 4, "-r", 1, "--json").stdout)
        self.assertNotIn("prompt_tps", part)
        self.assertIn(b"prompt_tps", run("bench", TINY, *REFERENCE, "-p", 8, "-n", 0, "-r", 1).stdout)

    def test_inspect(self):
        report = json.loads(run("inspect", TINY, *REFERENCE, "--ctx", 100, "--cache", "f32", "--json", "--program").stdout)
        self.assertEqual(report["model"]["family"], "gemma3")
        self.assertEqual(len(report["layers"]), 8)
        self.assertEqual(report["types"], [{"type": "F32", "tensors": 106, "bytes": report["weights_bytes"]}])
        self.assertEqual(report["tokenizer"]["tokens"], VOCABULARY)
        self.assertEqual(report["memory"]["cache_context"], 100)
        # 8 layers of 2 pages of 64 positions, keys and values of 1 head of 32 floats.
        self.assertEqual(report["memory"]["cache_bytes"], 8 * 2 * 64 * 2 * 32 * 4)
        self.assertEqual(report["memory"]["cache_type"], "f32")
        self.assertGreater(report["memory"]["scratch_bytes"], 0)
        self.assertIn("matmul", report["program"])
        self.assertIn(b"sliding", run("inspect", TINY, *REFERENCE).stdout)

    def test_only_layers_with_a_cache_of_their_own_count_and_only_global_ones_grow(self):
        # Layers that fill a cache, KV heads and head size, of each kind. Of e2b's 15 layers the last 5 share.
        for model, sliding, full in (("e2b", (8, 1, 16), (2, 1, 32)), ("moe26b", (5, 2, 16), (1, 1, 32))):
            with self.subTest(model):
                short, some, long = (json.loads(run("inspect", MODELS / f"{model}.gguf", *REFERENCE, "--ctx", positions, "--cache", "f32", "--json").stdout)
                                     ["memory"]["cache_bytes"] for positions in (100, 1000, 8000))
                # Keys and values of a page of 64 positions, all layers of a kind.
                sliding_page, full_page = (64 * 2 * 4 * layers * heads * size for layers, heads, size in (sliding, full))
                self.assertEqual(short, 2 * sliding_page + 2 * full_page)
                self.assertEqual(long - some, (125 - 16) * full_page)

    def test_inspect_of_a_cache_in_blocks(self):
        for backend in ("reference", "onednn"):
            report = json.loads(run("inspect", TINY, "--backend", backend, "--ctx", 100, "--cache", "q8_0", "--json").stdout)
            self.assertEqual(report["memory"]["cache_type"], "q8_0")
            # A head is one block: 32 bytes and a scale of 2.
            self.assertEqual(report["memory"]["cache_bytes"], 8 * 2 * 64 * 2 * (32 + 2))
            self.assertEqual(sum(group["bytes"] for group in report["memory"]["cache_groups"]), report["memory"]["cache_bytes"])
            self.assertEqual(sum(reads["bytes_per_position"] for reads in report["work"]["cache_reads"]), 8 * 2 * (32 + 2))


class Refusals(unittest.TestCase):
    def test_verify(self):
        model = MODELS / "gemma3-q4_0.gguf"
        with tempfile.TemporaryDirectory() as folder:
            verify = ("inspect", model, "--backend", "onednn", "--packed-weights", folder, "--verify", "--json")
            self.refused(*verify, names=[folder, "no packed copy"])
            self.assertEqual(run("bench", model, "--backend", "onednn", "--packed-weights", folder, "-p", 1, "-n", 0, "-r", 1).returncode, 0)
            copy, = Path(folder).iterdir()
            self.assertEqual(json.loads(run(*verify).stdout)["packed_weights_verified"], str(copy))
            data = bytearray(copy.read_bytes())
            data[len(data) // 2] ^= 1
            copy.write_bytes(data)
            self.refused(*verify, names=[copy, "damaged"])
        self.refused("inspect", model, "--backend", "onednn", "--packed-weights", "none", "--verify", names=["--packed-weights"])
        self.refused("inspect", model, *REFERENCE, "--verify", names=["reference", "packs no weights"])
        self.refused("inspect", MODELS / "gemma4-vocab.gguf", "--verify", names=["gemma4-vocab.gguf", "no weights"])

    def refused(self, *arguments, code=1, names=(), stdin=b""):
        done = run(*arguments, stdin=stdin)
        with self.subTest(arguments=[str(a)[:60] for a in arguments]):
            self.assertEqual(done.returncode, code, done.stderr)
            for name in names:
                self.assertIn(str(name), done.stderr.decode())
            if code == 1:
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertEqual(done.stdout, b"")

    def test_usage(self):
        for arguments in ([], ["nonsense"], ["inspect"], ["logits", TINY, "--ids", "1"], ["logits", TINY, "--out", "x"],
                          ["generate", TINY, "--ids", "1"], ["generate", TINY, "--ids", "1", "-n", "0"], ["generate", TINY, "--ids", "1", "-n", "-3"],
                          ["generate", TINY, "--ids", "1", "-n", "x"], ["bench", TINY, "--cache", "q8"], ["bench", TINY, "--threads", "5000"], ["bench", TINY, "--depth-read", "63"],
                          ["bench", TINY, "--rows", "0"], ["bench", TINY, "--rows", "65537"], ["bench", TINY, "--rows", "x"],
                          ["draft", TINY, "--ids", "1", "-n", "1", "--out", "x"], ["draft", *DRAFTING, "-n", "1", "--out", "x"],
                          ["draft", *DRAFTING, "--ids", "1", "--out", "x"], ["draft", *DRAFTING, "--ids", "1", "-n", "1"],
                          ["draft", *DRAFTING, "--ids", "1", "-n", "0", "--out", "x"], ["draft", *DRAFTING, "--ids", "1", "-n", "x", "--out", "x"],
                          ["tokenize", TINY], ["perplexity", TINY, "--text", "x", "--ctx", "99999999999"], ["inspect", TINY, "--what"]):
            self.refused(*arguments, code=2)
        self.assertEqual(run("--help").returncode, 0)

    def test_cache_types(self):
        for name in ("q8", "Q8_0", "q4_0", "8"):
            self.refused("inspect", TINY, f"--cache={name}", code=2, names=["--cache", name, "f32, f16, q8_0"])

    def test_ids(self):
        for ids in (",", "1,", "1,,2", "a", "1 2", "99999999999", "1.5"):
            self.refused("generate", TINY, *REFERENCE, f"--ids={ids}", "-n", 1, names=["--ids"])
        for ids in ("1024", "-1", "2,5000"):
            self.refused("generate", TINY, *REFERENCE, f"--ids={ids}", "-n", 1, names=["is no token"])

    def test_more_than_the_context(self):
        self.refused("generate", TINY, *REFERENCE, "--ids", "1", "-n", 100000, names=["8192"])
        self.refused("bench", TINY, *REFERENCE, "-d", 8192, "-p", 1, names=["8192"])
        self.refused("bench", TINY, *REFERENCE, "-d", 8192, "--depth-read", 64, "-p", 1, names=["8192"])
        self.refused("perplexity", TINY, *REFERENCE, "--text", DATA / "real" / "alice.txt", "--ctx", 8000, names=["alice.txt", "8000"])

    def test_draft(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "drafts"

            def refused(files, ids, names, to=out):
                self.refused("draft", *files, *REFERENCE, f"--ids={ids}", "-n", 1, "--out", to, names=names)
                self.assertFalse(out.exists())

            target, drafter = DRAFTING
            for ids in (",", "1,", "a", "1 2", "99999999999"):
                refused(DRAFTING, ids, ["--ids"])
            for ids in ("1024", "-1"):
                refused(DRAFTING, ids, ["is no token"])
            refused(DRAFTING, ",".join(["1"] * 8193), ["8192"])
            refused((target, target), "1", [target, "gemma4-assistant"])
            refused((drafter, target), "1", [drafter, "gemma4-assistant"])
            refused((TINY, drafter), "1", [drafter, "gemma3"])
            refused((target, Path(folder) / "missing.gguf"), "1", ["missing.gguf"])
            refused(DRAFTING, "1", ["/nonexistent/x"], "/nonexistent/x")
            refused(DRAFTING, "1", ["/dev/full"], "/dev/full")

    def test_backends(self):
        self.refused("generate", TINY, "--backend", "nonsense", "--ids", "1", "-n", 1, names=["nonsense"])
        self.refused("generate", TINY, "--backend", "../reference", "--ids", "1", "-n", 1, names=["../reference"])

    def test_bench_of_nothing(self):
        self.refused("bench", TINY, *REFERENCE, "-p", 0, "-n", 0, names=["nothing"])

    def test_files(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tiny = TINY.read_bytes()
            files = {"empty.gguf": b"", "text.gguf": b"This is no model.\n" * 10, "short.gguf": tiny[:20], "half.gguf": tiny[:len(tiny) // 2],
                     "magic.gguf": b"GGML" + tiny[4:], "version.gguf": tiny[:4] + struct.pack("<I", 99) + tiny[8:],
                     "tensors.gguf": tiny[:8] + struct.pack("<Q", 2**60) + tiny[16:], "keys.gguf": tiny[:16] + struct.pack("<Q", 2**60) + tiny[24:]}
            for name, data in files.items():
                (folder / name).write_bytes(data)
            for path in [folder / name for name in files] + [folder, folder / "missing.gguf"]:
                for command in (["inspect", path], ["tokenize", path, "--jsonl"], ["generate", path, "--ids", "1", "-n", "1"]):
                    if command[0] == "tokenize" and path.name == "half.gguf":
                        continue  # the next test's
                    self.refused(*command, names=[path])

    def test_out_that_cannot_be_written(self):
        self.refused("logits", TINY, *REFERENCE, "--ids", "1", "--out", "/nonexistent/x", names=["/nonexistent/x"])
        self.refused("logits", TINY, *REFERENCE, "--ids", "1", "--out", "/dev/full", names=["/dev/full"])


if __name__ == "__main__":
    unittest.main()
