#!/usr/bin/env python3
"""Writes data/blocks.bin: random blocks of every quantised type, any bit pattern, and what PyPI gguf decodes them to.

    pip install -r tests/golden/requirements.txt
    python3 tests/plugins/make_blocks.py

A record per type, little-endian: uint32 type, elements, bytes; the blocks; float32 [elements].
"""

import pathlib
import struct

import gguf
import numpy as np

BLOCKS_OF_32 = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"]
BLOCKS_OF_256 = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"]


def record(name, rng):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 2048 // elements if elements > 1 else 2048
    blocks = rng.integers(0, 256, size=(count, size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        floats = gguf.quants.dequantize(blocks, kind).astype("<f4")
    assert floats.size == count * elements
    return struct.pack("<III", kind, floats.size, blocks.size) + blocks.tobytes() + floats.tobytes()


def main():
    rng = np.random.default_rng(20260725)
    names = ["F16", "BF16"] + BLOCKS_OF_32 + BLOCKS_OF_256
    data = b"".join(record(name, rng) for name in names)
    pathlib.Path(__file__).with_name("data").joinpath("blocks.bin").write_bytes(data)


if __name__ == "__main__":
    main()
