#!/usr/bin/env python3
"""Makes the tiny models that tests read, or checks that they are there.

    make_models.py [--check] FOLDER

Every model is NAME.gguf in FOLDER: one for each data/NAME.json that says how it was made (or holds it, where an independent
quantizer made it), Gemma 3 in every other type that gguf-py can write, and shapes and a mix of types that no file of data/ has. Beside each lie the logits
that exact arithmetic gives: NAME.logits.bin, float32 [rows, vocabulary] of all
positions of the prompts in NAME.logits.json, one after the other. A model whose hash is right is left alone, so a second call takes a
moment. --check makes nothing and exits 1 if something is missing or differs. Making needs the packages of requirements.txt; checking
needs nothing. data/gemma4-vocab.gguf.xz is unpacked there, too.
"""
import argparse
import hashlib
import json
import lzma
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Gemma 3 in types that no file of data/ covers: name -> (outtype, sha256).
OTHER_TYPES = {
    "gemma3-f16": ("f16", "c43d9a81764ac4d606f9eeb03944698758ccf3215976236e738d182b2ec89c83"),
    "gemma3-bf16": ("bf16", "9671472b0894eeb60571612ad45193991c063ab2082a19030571113868933bf4"),
    "gemma3-q8_0": ("q8_0", "2f89d90b8e56a8d9790e372021538e1b5098aa783f87dedb904ed9eeab9e8e82"),
    "gemma3-q4_0": ("q4_0", "a8fd10107230412d167f7f41fb755d5f1df4165dca7408253d7560683c923dd5"),
    "gemma3-q5_0": ("q5_0", "972f9b07b0f373f1d42fded25baedda27e79539b328d8ffa8d324ee42a3dede2"),
}

# The vocabulary and metadata of the real Gemma 4 26B-A4B, without tensors.
VOCABULARY = "gemma4-vocab.gguf"
VOCABULARY_SHA256 = "58b1ba0b57f3b4d7c468ba4ffd91ad85190346a3d7ad7e71d1cabaae8a14bb65"


DRAFTER = "assistant"  # the variant that has no logits of its own

# Shapes and mixes of types that no file of data/ covers: name -> (arguments, sha256).
OTHER_SHAPES = {
    "e4b-fused": ({"variant": "e4b", "seed": 1, "set": {"fused_qkv": True, "untied": True}},
                  "afed232ee5ae7aadc6ad42e856d09e93e39d6a75f0fa6287ad4c69ff78e7486e"),
    "e2b-fused": ({"variant": "e2b", "seed": 1, "set": {"fused_qkv": True}},
                  "14a855a79003bc3082f7d30eb569f085f49cc8a44d60a9abcbe90a541cb0ec30"),
    "dense31b-fused": ({"variant": "dense31b", "seed": 1, "set": {"fused_qkv": True}},
                       "84cb58f86552a3a1eadec90afdfb554eaf7757c3fed276a53224bd82f978b003"),
    "e2b-mixed": ({"variant": "e2b", "seed": 1, "outtype": "mixed"},
                  "21add994c97e9b7983d6e38f53ddaa65164df560e4122d8594292fd2c6e32f95"),
}


def wanted() -> dict[str, tuple[dict, str]]:
    """name -> (arguments of make_tiny_gemma.py, sha256 of the file)."""
    models = {}
    for path in sorted((HERE / "data").glob("*.json")):
        golden = json.loads(path.read_text())
        if golden.get("kind") == "mtp":
            models[path.stem + "-drafter"] = (golden["drafter"], golden["drafter_sha256"])
        else:
            models[golden["name"]] = (golden["make"], golden["gguf_sha256"])
    for name, (outtype, sha256) in OTHER_TYPES.items():
        models[name] = ({"variant": "gemma3", "seed": 1, "outtype": outtype}, sha256)
    return models | OTHER_SHAPES


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def make(name: str, arguments: dict, path: Path) -> None:
    if "kquant" in arguments:
        path.write_bytes((HERE / "data" / f"{name}.gguf").read_bytes())
        return
    command = [sys.executable, str(HERE / "gemma4" / "make_tiny_gemma.py"), "--out", str(path)]
    for key in ("variant", "seed", "outtype"):
        if key in arguments:
            command += [f"--{key}", str(arguments[key])]
    for key, value in arguments.get("set", {}).items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def unpack_vocabulary(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(lzma.decompress((HERE / "data" / f"{VOCABULARY}.xz").read_bytes()))
    part.replace(path)


def prompts_of(name: str) -> list[list[int]]:
    path = HERE / "data" / f"{name}.json"
    return [prompt["ids"] for prompt in json.loads(path.read_text())["prompts"]] if path.exists() else []


def logits_made_from(name: str, variant: str, sha256: str) -> dict:
    """What NAME.logits.json says if it belongs to the model, the prompts and the reference as they are now."""
    prompts = prompts_of(variant)
    prompts += [prompt for prompt in prompts_of(name) if prompt not in prompts]
    return {"model": sha256, "reference": sha256_of(HERE / "gemma4" / "gemma4_reference.py"), "prompts": prompts}


def has_logits(path: Path, variant: str, sha256: str) -> bool:
    if variant == DRAFTER:
        return True
    about, data = path.with_suffix(".logits.json"), path.with_suffix(".logits.bin")
    return about.is_file() and data.is_file() and json.loads(about.read_text()) == logits_made_from(path.stem, variant, sha256)


def make_logits(path: Path, variant: str, sha256: str) -> None:
    import numpy
    from gemma4.gemma4_reference import Model

    model, about = Model(str(path)), logits_made_from(path.stem, variant, sha256)
    rows = numpy.concatenate([model.logits(prompt) for prompt in about["prompts"]])
    path.with_suffix(".logits.bin").write_bytes(rows.astype("<f4").tobytes())
    path.with_suffix(".logits.json").write_text(json.dumps(about))  # last: it says that the other is there


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    status = 0
    if sha256_of(options.folder / VOCABULARY) != VOCABULARY_SHA256:
        if options.check:
            return 1
        unpack_vocabulary(options.folder / VOCABULARY)
    for name, (arguments, sha256) in wanted().items():
        path = options.folder / f"{name}.gguf"
        found = sha256_of(path) == sha256
        if found and has_logits(path, arguments["variant"], sha256):
            continue
        if options.check:
            return 1
        if not found:
            part = path.with_suffix(".part")
            make(name, arguments, part)
            if sha256_of(part) != sha256:
                print(f"make_models: {name}: sha256 is {sha256_of(part)}, expected {sha256}", file=sys.stderr)
                part.unlink()
                status = 1
                continue
            part.replace(path)
            print(f"make_models: {path}")
        if not has_logits(path, arguments["variant"], sha256):
            make_logits(path, arguments["variant"], sha256)
    return status


if __name__ == "__main__":
    sys.exit(main())
