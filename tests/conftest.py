"""What all tests share: paths, the environments of others' implementations, real checkpoints."""

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pytest

from refquant import library
from tests import comparison_table, comparisons
from tools import oracles

REPOSITORY = Path(__file__).resolve().parent.parent

# The folder of whoever runs the tests, before `own_cache_folder` puts another in its place.
PULLED = library.cached_path("smollm2-135m")

# A loaded machine is slow, not wrong: no example has a deadline.
hypothesis.settings.register_profile("refquant", deadline=None)
hypothesis.settings.load_profile("refquant")

# A shell starts what it puts into the background with interrupts ignored, and so would be every
# program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

cached_reason = cache(oracles.why_not)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], Path]:
    """`oracle("ggml")` is the interpreter of that environment; skips with the reason without it."""

    def find(name: str) -> Path:
        reason = cached_reason(name)
        if reason:
            pytest.skip(f"oracle {name}: {reason}")
        return oracles.python_of(name)

    return find


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as GGUF, Q4_1: what REFQUANT_SMOLLM2 names, or what was pulled."""
    path = Path(os.environ.get("REFQUANT_SMOLLM2", PULLED))
    if not path.exists():
        pytest.skip("SmolLM2: no file; `refquant pull smollm2-135m` fetches it")
    return path


@pytest.fixture(autouse=True)
def own_cache_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the cache folder of whoever runs it."""
    monkeypatch.setenv("REFQUANT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def compared(record_property: Callable[[str, object], None]) -> comparisons.Compared:
    """Compares with a package, and notes how much for the table of `make test-all`.

    `compared.decoded(scheme, "package 1.2", ours, theirs)`; see tests/comparisons.py.
    """
    return comparisons.Compared(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print who was compared with whom, or write it where REFQUANT_COMPARISONS says."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    rows = comparisons.rows_of(
        comparisons.Comparison(*value, test=report.nodeid.partition("::")[0])
        for report in reports
        for name, value in report.user_properties
        if name == comparisons.PROPERTY
    )
    place = os.environ.get("REFQUANT_COMPARISONS")
    if place:
        comparisons.write(Path(place), rows)
    elif rows:
        terminalreporter.section("compared with others")
        for line in comparison_table.report(rows):
            terminalreporter.line(line)
