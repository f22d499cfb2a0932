"""How far a rounded result may be from the exact one, by counting its roundings.

An operation rounds by at most u of its result: 2**-24 in binary32, 2**-53 in binary64. Where n of
them follow each other and no difference cancels, the result errs by at most gamma(n) of its size,
gamma(n) = n u / (1 - n u), in any order and with or without fused multiply-add; of a sum that
cancels, the size is the sum of its terms' magnitudes (Higham, Accuracy and Stability, section 3.1).
A comparison of two such results counts the roundings of both. Functions of the C library, which
round to one of the two neighbours at worst, count as two.
"""

import numpy as np

SINGLE = 2.0**-24
DOUBLE = 2.0**-53


def gamma(roundings, unit=SINGLE):
    return roundings * unit / (1 - roundings * unit)


def assert_rounded(found, exact, roundings, unit=DOUBLE, *, size=None):
    """`found` is `exact` but for so many roundings of numbers as large as `size`."""
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    bound = gamma(roundings, unit) * np.abs(exact if size is None else size)
    assert found.shape == exact.shape
    assert np.all(np.abs(found - exact) <= bound), (found, exact, bound)
