"""Five kernels in NumPy as their authors might write them, each with one mistake that can be set.

`MISTAKES` of the environment makes them wrong; without it they are right.
"""

import os

import ml_dtypes
import numpy as np

WRONG = "MISTAKES" in os.environ


def q4_0(planes, shape):
    blocks = planes["blocks"]
    scale = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    low, high = blocks[..., 2:] & 15, blocks[..., 2:] >> 4
    codes = np.concatenate([high, low] if WRONG else [low, high], axis=-1).astype(np.float32)
    return (scale * (codes - 8)).reshape(shape)


def gptq(planes, shape):
    rows, columns = shape
    lanes = 4 * np.arange(8, dtype=np.uint32)
    words = planes["qweight"].view("<u4")[..., 0]  # columns / 8, rows
    codes = (words[:, None, :] >> lanes[:, None] & 15).reshape(columns, rows)
    words = planes["qzeros"].view("<u4")[..., 0]  # groups, rows / 8
    zeros = (words[:, :, None] >> lanes & 15).reshape(-1, rows)
    scales = planes["scales"].view("<f2")[..., 0].astype(np.float32)
    group = columns // len(scales)
    zeros = np.repeat(zeros if WRONG else zeros + 1, group, axis=0)
    codes = codes.astype(np.float32) - zeros.astype(np.float32)
    return (np.repeat(scales, group, axis=0) * codes).T


def nvfp4(planes, shape):
    packed = planes["codes"][..., 0]
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(shape)
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    values = np.concatenate([values, -values])
    scales = planes["scales"][..., 0].view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    tensor_scale = planes["tensor_scale"].view("<f4")
    factor = 1 / tensor_scale if WRONG else tensor_scale
    return np.repeat(scales * factor.reshape(-1)[0], 16, axis=-1) * values[codes]


def uint8(planes, shape):
    codes = planes["codes"].reshape(shape)
    codes = codes.view(np.int8) if WRONG else codes
    group = shape[-1] // planes["scales"].shape[1]
    scales = np.repeat(planes["scales"].view("<f4")[..., 0], group, axis=-1)
    zeros = np.repeat(planes["zero_points"][..., 0], group, axis=-1)
    return (codes.astype(np.float32) - zeros) * scales


def q4_1(planes, shape):
    blocks = planes["blocks"]
    scale = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    least = blocks[..., 2:4].copy().view(np.float16).astype(np.float32)
    packed = blocks[..., 2:18] if WRONG else blocks[..., 4:]
    codes = np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32)
    return (codes * scale + least).reshape(shape)
