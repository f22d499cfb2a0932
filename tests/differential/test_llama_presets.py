"""The mixtures that llama.cpp calls Q4_K_M and so on: the type of every tensor of SmolLM2.

Its rows of 576 weights are no multiple of 256, so most K-quants give way to others: what takes
their place is compared as well.
"""

import subprocess
from pathlib import Path

import pytest

from refquant.formats import open_checkpoint
from refquant.formats.gguf_file import read_gguf
from refquant.recipe import assign
from refquant.schemes import scheme
from refquant.upstream.facts import facts_of
from refquant.upstream.llama_cpp import mixture

pytestmark = pytest.mark.differential

WORKER = Path(__file__).resolve().parents[2] / "bench" / "peers" / "llama_cpp_requantize.py"

QUICK = ("Q4_0", "Q8_0", "Q4_K_M")
# Without Q2_K_S, which llama.cpp does not make without an importance matrix.
OTHERS = (
    *("Q4_1", "Q5_0", "Q5_1", "F16", "BF16", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L"),
    *("Q4_K_S", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4_MOE"),
)


@pytest.mark.parametrize(
    "preset", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_every_tensor_gets_llama_cpps_type(oracle, smollm2_gguf, tmp_path, preset):
    python = oracle("llama")
    target = tmp_path / "theirs.gguf"
    name = "ALL_F32" if preset == "F32" else f"MOSTLY_{preset}"
    subprocess.run([python, WORKER, smollm2_gguf, target, name], check=True, capture_output=True)
    stored = read_gguf(target).tensors
    theirs = {key: scheme(str(one.ggml_type.scheme)).name for key, one in stored.items()}
    checkpoint = open_checkpoint(smollm2_gguf)
    taken = assign(checkpoint, mixture(preset, facts_of(checkpoint)))
    ours = {one.tensor: one.target_scheme for one in taken}
    assert ours.keys() == theirs.keys()
    differing = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
    assert not differing
