#!/usr/bin/env python3
"""Writes NAME.bin beside this file: three blocks of random bytes (scales finite), then the float32
numbers that the Python package `gguf` (0.19, quants.dequantize) makes of them, little endian."""
import os
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

F16_AT = {  # offsets of the f16 fields
    'Q4_0': [0], 'Q4_1': [0, 2], 'Q5_0': [0], 'Q5_1': [0, 2], 'Q8_0': [0], 'Q2_K': [80, 82],
    'Q3_K': [108], 'Q4_K': [0, 2], 'Q5_K': [0, 2], 'Q6_K': [208], 'IQ4_NL': [0], 'IQ4_XS': [0],
    'MXFP4': [],
}
here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(37)
for name, fields in F16_AT.items():
    _, size = GGML_QUANT_SIZES[T[name]]
    blocks = rng.integers(0, 256, size=(3, size), dtype=np.uint8)
    for at in fields:
        f16 = (rng.standard_normal(3) * 2.0 ** rng.integers(-20, 8, 3)).astype(np.float16)
        blocks[:, at:at + 2] = f16.view(np.uint8).reshape(3, 2)
    if name == 'MXFP4':
        blocks[:, 0] = [0, 1, 121]
    with open(os.path.join(here, name + '.bin'), 'wb') as f:
        f.write(blocks.tobytes())
        f.write(dequantize(blocks, T[name]).astype('<f4').tobytes())
