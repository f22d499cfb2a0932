"""What transformers makes of gpt-oss's experts in MXFP4.

    python mxfp4_transformers.py FILE.npz ANSWER.npy

Runs in the environment of the `torch` oracle. FILE holds `codes` and `scales`, ANSWER becomes the
weights f32[experts, inputs, rows] as the class's forward pass reads them.
"""

import sys

import numpy as np
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


def main():
    """Read, convert, write."""
    given, answer = sys.argv[1:]
    with np.load(given) as file:
        codes, scales = (torch.from_numpy(file[name]) for name in ("codes", "scales"))
    np.save(answer, convert_moe_packed_tensors(codes, scales, dtype=torch.float32).numpy())


if __name__ == "__main__":
    main()
