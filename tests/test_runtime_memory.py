"""What a model holds in memory is its weights as they are held, and little more."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refquant.formats import open_checkpoint
from refquant.library import locate
from refquant.runtime.memory import forget_file_pages, return_freed_memory

STATUS = Path("/proc/self/status")


def test_forgotten_pages_are_read_again():
    tensors = open_checkpoint(locate("demo")).tensors
    for tensor in tensors.values():
        before = tensor.dequantize()
        forget_file_pages(tensor)
        return_freed_memory()
        assert np.array_equal(tensor.dequantize(), before)


@pytest.mark.skipif(not STATUS.exists(), reason="no /proc")
def test_a_file_is_not_held_beside_its_weights(tmp_path):
    """Of a model of 40 MB, held as bytes, neither the file nor copies stay."""
    program = """
import sys
from refquant.formats import open_checkpoint
from refquant.formats.rq import write_checkpoint
from refquant.runtime import load_model
from refquant.runtime.held import held
from tests.runtime_models import random_checkpoint

def now():
    lines = open("/proc/self/status").read().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return 1024 * sum(map(int, found.values()))

if sys.argv[2] == "write":
    sizes = {"width": 256, "heads": 8, "head_width": 32, "feedforward_width": 1024}
    made = random_checkpoint("ggml/q8_0", vocabulary=32768, layers=4, **sizes)
    write_checkpoint(sys.argv[1], made)
else:
    load_model(random_checkpoint("ggml/q8_0", width=32, head_width=8, feedforward_width=64), "u8")
    before = now()
    model = load_model(open_checkpoint(sys.argv[1]), "u8")
    print(now() - before, held(model).nbytes)
"""
    path = tmp_path / "model.rq"
    subprocess.run([sys.executable, "-c", program, path, "write"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", program, path, "run"], check=True, capture_output=True, text=True
    )
    grown, weights = map(int, done.stdout.split())
    assert weights > 10e6
    assert grown <= 1.3 * weights
