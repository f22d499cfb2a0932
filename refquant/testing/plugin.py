"""The pytest plugin: `--refquant-scheme PATTERN` runs the cases of some schemes only.

pytest loads it wherever refquant is installed, so it imports nothing but pytest.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import pytest

__all__ = ["pytest_addoption", "pytest_collection_modifyitems"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("refquant", "cases of quantization schemes")
    group.addoption(
        "--refquant-scheme",
        action="append",
        default=[],
        metavar="PATTERN",
        help="run refquant's cases of matching schemes only, e.g. 'ggml/*' (repeatable)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the cases of other schemes; tests without cases stay."""
    patterns: Sequence[str] = config.getoption("--refquant-scheme")
    if not patterns:
        return
    dropped = [item for item in items if not _wanted(item, patterns)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if _wanted(item, patterns)]


def _wanted(item: pytest.Item, patterns: Sequence[str]) -> bool:
    call = getattr(item, "callspec", None)
    scheme = getattr(call.params.get("case"), "scheme", None) if call else None
    if scheme is None:
        return True
    return any(scheme.name == p or fnmatchcase(scheme.name, p) for p in patterns)
