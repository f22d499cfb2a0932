"""Casts binary32 to torch's E8M0, and its codes back: `e8m0_worker.py REQUEST.npz ANSWER.npz`."""

import sys

import numpy as np
import torch


def main():
    asked = dict(np.load(sys.argv[1]))
    x, codes = (torch.from_numpy(asked[part]) for part in ("x", "codes"))
    values = codes.view(torch.float8_e8m0fnu).to(torch.float32)
    found = x.to(torch.float8_e8m0fnu).view(torch.uint8)
    np.savez(sys.argv[2], codes=found.numpy(), values=values.numpy())


if __name__ == "__main__":
    main()
