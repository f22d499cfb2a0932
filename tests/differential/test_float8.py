"""8-bit floats against torch: every half, every tie and its neighbours, and what is beyond."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

import refquant
from refquant.schemes.small_floats import form_of
from tests.test_numerics import around_codes

pytestmark = pytest.mark.differential

WORKER = Path(__file__).parent / "workers" / "float8_worker.py"
OVERFLOW = {
    "f8_e4m3fn": "saturate",
    "f8_e5m2": "inf",
    "f8_e4m3fnuz": "nan",
    "f8_e5m2fnuz": "nan",
}


def test_torch(oracle, tmp_path):
    schemes = {n: refquant.scheme(f"float/{n}[overflow={o}]") for n, o in OVERFLOW.items()}
    forms = [form_of(scheme.layout.fields["w"].element) for scheme in schemes.values()]
    x = np.concatenate([around_codes(form) for form in forms]).reshape(1, -1)
    np.savez(tmp_path / "request.npz", x=x)
    command = [oracle("torchao"), WORKER, tmp_path / "request.npz", tmp_path / "answer.npz"]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(tmp_path / "answer.npz") as found:
        theirs = dict(found)
    for name, scheme in schemes.items():
        codes = refquant.quantize(x, scheme).planes["values"][..., 0]
        # torch's NaN in E5M2 has all bits set, ours and ml_dtypes' only the quiet one.
        known = ~np.isnan(x) if name == "f8_e5m2" else np.full(x.shape, True)
        assert np.array_equal(codes[known], theirs[name][known]), name
