"""Rows of activations that quantizers disagree on: ties, signs, magnitudes, constant rows."""

import numpy as np

__all__ = ["extreme_rows", "rows"]


def rows(width, seed=0):
    """f32[rows, width]: ordinary rows, ranges from 1e-30 to 1e30, ties at many zero points."""
    generator = np.random.default_rng(seed)
    unit = generator.normal(size=(60, width))
    spread = 10.0 ** generator.uniform(-30, 30, (200, 1))
    kinds = [
        unit,
        np.abs(unit[:20]),
        -np.abs(unit[20:40]),
        generator.normal(size=(200, width)) * spread,
        _ties_of_codes(width, generator),
        _ties_of_zero_points(width, generator),
        _ties_of_symmetric_codes(width, generator),
        np.zeros((1, width)),
        np.full((1, width), -0.0),
        np.full((1, width), 3.7),
        np.full((1, width), -3.7),
        np.eye(4, width),
        -np.eye(4, width),
    ]
    return np.concatenate(kinds).astype(np.float32)


def extreme_rows(width):
    """Rows whose range overflows, or is so small that its reciprocal does."""
    sides = np.array([1, -1, 0.5, 0, -0.25, 0.1, -0.0, 0.75])
    pattern = np.resize(sides, width)
    tiny = [1e-36, 4e-37, 3.7e-37, 2e-37, 1.2e-38, 3e-39, 1e-45]
    huge = [1e38, 1.7e38, 2e38, 3.4e38]
    kinds = [pattern * size for size in tiny + huge] + [abs(pattern) * 7e-37, abs(pattern) * 3.4e38]
    return np.stack(kinds).astype(np.float32)


def _ties_of_codes(width, generator):
    """Ranges of 255 steps of a power of two, with values at whole and half steps."""
    zero = generator.integers(-128, 128, (150, 1))
    low, high = -128.0 - zero, 127.0 - zero
    values = np.clip(generator.integers(-510, 511, (150, width)) / 2, low, high)
    values[:, :1], values[:, 1:2] = low, high
    return values * np.exp2(generator.integers(-20, 20, (150, 1)))


def _ties_of_zero_points(width, generator):
    """Ranges of 255 steps whose zero lies half way between two codes."""
    low = generator.integers(-255, 1, (100, 1)) / 2
    values = np.clip(generator.uniform(-130, 130, (100, width)), low, low + 255)
    values[:, :1], values[:, 1:2] = low, low + 255
    return values


def _ties_of_symmetric_codes(width, generator):
    """Largest magnitude 127, once or with both signs, with values at half steps."""
    values = generator.integers(-254, 255, (40, width)) / 2
    values[:, 0] = 127
    values[20:, 1] = -127
    return values
