"""Cases as parameters of a pytest function."""

import pytest

from refquant.driver import Scheme
from refquant.testing.case import cases_of

__all__ = ["cases"]


def cases(*patterns: str | Scheme, edge: bool = True) -> pytest.MarkDecorator:
    """A decorator that runs a test of one argument, `case`, for every case of some schemes.

    A pattern is a scheme's name or alias, a pattern such as `ggml/*`, or a scheme; without any,
    all schemes are meant. `edge=False` leaves one decode and one encode case a scheme. The
    plugin's option `--refquant-scheme` narrows the choice when the tests are run.
    """
    chosen = cases_of(*(patterns or ("*",)), edge=edge)
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in chosen])
