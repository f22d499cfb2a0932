"""A kernel author's test of ten lines finds five well-known mistakes and names each.

The tests are those of docs/testing-a-kernel.md, run by pytest as their authors would run them; the
kernels are in tests/data/kernels. Right kernels pass, so that it is the mistake that is found.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parent / "data" / "kernels"
TEST = """\
from kernels import {kernel}
from refquant.testing import assert_bits_equal, cases


@cases("{scheme}")
def test_kernel(case):
    if case.x is None:
        assert_bits_equal({kernel}(case.planes, case.shape), case)
"""
MISTAKES = {
    "q4_0": ("ggml/q4_0", "probable mistake: nibbles swapped"),
    "gptq": ("gptq/int4[v=1]", "probable mistake: zero point off by one"),
    "nvfp4": ("mx/nvfp4", "probable mistake: reciprocal scale: 1/g"),
    "uint8": ("onnx/uint8[asym,block=32]", "probable mistake: q is unsigned but read as signed"),
    "q4_1": ("ggml/q4_1", "probable mistake: header skipped wrongly: q is read 2 bytes too early"),
}


def test_the_page_shows_this_test_and_these_names(repository):
    page = (repository / "docs" / "testing-a-kernel.md").read_text("utf-8")
    shown = TEST.format(kernel="dequantize", scheme="gptq/int4[v=1]")
    assert shown.replace("from kernels", "from my_kernels") in page
    for scheme, words in MISTAKES.values():
        assert f"| `{scheme}` |" in page
        assert f"| {words.removeprefix('probable mistake: ')} |" in page


def run(folder, **environment):
    """The output of pytest for each kernel's test, all in one process."""
    for kernel, (scheme, _) in MISTAKES.items():
        (folder / f"test_{kernel}.py").write_text(TEST.format(kernel=kernel, scheme=scheme))
    (folder / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join([str(KERNELS), str(KERNELS.parent.parent.parent)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    settings = {**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": "", **environment}
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, check=False
    )


def test_each_test_has_at_most_ten_lines():
    assert len(TEST.splitlines()) <= 10


def test_right_kernels_pass(tmp_path):
    found = run(tmp_path)
    assert found.returncode == 0, found.stdout[-3000:]


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    found = run(tmp_path_factory.mktemp("mistakes"), MISTAKES="1")
    assert found.returncode == 1
    return found.stdout


@pytest.mark.parametrize("kernel", MISTAKES)
def test_the_mistake_is_found_and_named(kernel, failures):
    scheme, words = MISTAKES[kernel]
    parts = failures.split("\n____")
    about = [part for part in parts if f"test_{kernel}.py" in part]
    assert about, f"{scheme}: no test fails"
    assert any(words in part for part in about), about[0][-3000:]
