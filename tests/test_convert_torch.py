"""The torch converter: its refusal without torch, and its bits where torch is."""

import subprocess
import sys
import sysconfig

import numpy as np
import pytest

import refquant
from refquant import convert_torch
from refquant.errors import UnsupportedError


def test_without_torch_the_refusal_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    tensor = refquant.quantize(np.zeros((1, 32), np.float32), "q4_0")
    with pytest.raises(UnsupportedError, match=r"refquant\[torch\]"):
        convert_torch.to_tensor(tensor)


def test_importing_it_does_not_import_torch():
    script = "import sys, refquant.convert_torch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.differential
def test_same_bits_as_through_numpy(oracle, repository):
    answer = subprocess.run(
        [oracle("torch"), repository / "tests" / "torch_conversion.py"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(repository)},
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("same bits") == 6
    for said in ("recipe: same bits", "modules back: same bits", "DiffuLex: the page's examples"):
        assert said in answer.stdout


@pytest.mark.differential
def test_what_torchao_quantized_keeps_its_codes(oracle, repository):
    answer = subprocess.run(
        [
            oracle("torchao"),
            repository / "tests" / "torchao_conversion.py",
            sysconfig.get_paths()["purelib"],
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(repository)},
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("same codes and scales") == 12
