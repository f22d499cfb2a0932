"""Writes tests/data/aeq and tests/data/torchao from the packages themselves.

    python -m tests.differential.golden_integers

`make test` reads these files where the packages are not.
"""

import tempfile
from pathlib import Path

import numpy as np

import refquant
from tests import aeq_oracle, torchao_oracle
from tests.ggml_inputs import weights
from tools.oracles import python_of

FOLDER = Path(__file__).parent.parent / "data"
COLUMNS = 128
SEED = 30

AEQ = (
    *(f"aeq/int{bits}[channel]" for bits in (8, 4, 2)),
    *(f"aeq/int{bits}[block={n}]" for bits, n in ((8, 32), (4, 32), (4, 128), (2, 64))),
    "aeq/int8[asym,channel]",
    "aeq/int4[asym,channel]",
)
TORCHAO = (
    *(
        f"torchao/int{bits}[{mapping},group=32]"
        for bits in range(1, 9)
        for mapping in ("sym", "no_clip", "asym")
    ),
    "torchao/int8[sym,channel]",
    "torchao/int4[asym,group=64,eps=eps]",
    "torchao/int4[sym,group=32,scale=bf16]",
    "torchao/8da4w[sym,group=32]",
    "torchao/int4_tinygemm[group=32]",
    "torchao/int4_tinygemm[group=32,weights=bf16]",
    "torchao/int4_tinygemm[group=64,scale=f32]",
    "torchchat/embedding[bits=8,group=32]",
    "torchchat/embedding[bits=4,group=32,scale=bf16]",
    "torchchat/int8[channel,scale=f16]",
)


def inputs():
    """Two rows of each distribution below each other."""
    return np.concatenate([x[:, :COLUMNS] for _, x in weights(2, SEED, finite=True)])


def golden_aeq(folder):
    """Codes, scales and zero points of AI Edge Quantizer, by `name key`."""
    settings = [aeq_oracle.setting_of(name) for name in AEQ]
    answers = aeq_oracle.ask(python_of("aeq"), folder, settings, inputs()[None])
    found = {"x": inputs()}
    for name, answer in zip(AEQ, answers, strict=True):
        for key in ("codes", "scale", "zero_point"):
            kept = answer[key][0].astype(np.float32 if key == "scale" else np.int8)
            found[f"{name} {key}"] = kept
    return found


def golden_torchao(folder):
    """The same of torchao and torch; codes of tinygemm are 0 to 15."""
    found = {"x": inputs()}
    with torchao_oracle.worker(python_of("torchao")) as process:
        for name in TORCHAO:
            answer = torchao_oracle.ask(process, folder, refquant.scheme(name), inputs())
            for key in ("codes", "scale", "zero_point"):
                kept = np.int8 if key == "codes" else np.float32
                found[f"{name} {key}"] = answer[key].astype(kept)
    return found


def main():
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, make in (("aeq", golden_aeq), ("torchao", golden_torchao)):
            (FOLDER / name).mkdir(parents=True, exist_ok=True)
            np.savez_compressed(FOLDER / name / "golden.npz", **make(Path(folder)))


if __name__ == "__main__":
    main()
