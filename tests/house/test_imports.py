"""What may be loaded when: answering --help must not wait for NumPy."""

import ast
import subprocess
import sys

import pytest

from tests.house import sources

HEAVY = ("numpy", "tokenizers", "msgpack", "zstandard", "torch")

REPORT = """
import sys
sys.stdout = None
from refquant.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.exit("loaded: " + ", ".join(loaded) if loaded else 0)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments):
    script = REPORT.format(arguments=arguments, heavy=HEAVY)
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_importing_the_package_loads_nothing_heavy():
    script = f"import sys, refquant; sys.exit([n for n in {HEAVY!r} if n in sys.modules] or 0)"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, f"`import refquant` loads {answer.stderr}"


def test_the_suite_needs_no_tests():
    """`conformance/` makes and judges cases by itself: tests import it, and never the other way."""
    found = []
    for path in sources.python_files():
        if not sources.relative(path).startswith("conformance/"):
            continue
        for node in ast.walk(sources.tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [sources.relative(path) for name in names if name.split(".")[0] == "tests"]
    assert not found, "\n".join(found)


def test_scalar_oracles_share_nothing_with_what_they_judge():
    """`conformance/oracle/` is plain Python: it imports neither refquant nor NumPy.

    MPFR (gmpy2) may stand in where a power has no rational value; the package uses another library.
    """
    foreign = []
    for path in sources.python_files():
        if not sources.relative(path).startswith("conformance/oracle/"):
            continue
        for node in ast.walk(sources.tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.split(".")[0] for name in names}
            allowed = {*sys.stdlib_module_names, "conformance", "gmpy2"}
            foreign += [f"{sources.relative(path)}: {top}" for top in tops - allowed]
    assert not foreign, "\n".join(foreign)
