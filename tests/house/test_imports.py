"""What may be loaded when: answering --help must not wait for NumPy."""

import subprocess
import sys

import pytest

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
