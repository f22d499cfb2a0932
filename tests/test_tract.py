"""tract's block formats: bytes that the engine gave, and the scalar oracle on every input."""

import numpy as np
import pytest

import refquant
from conformance.oracle import tract as oracle
from tests.group_oracle import check_cases
from tests.test_t2n import ROWS

GOLDEN = {
    "tract/q40": (
        "0038809191a2a2b3b3c4c4d5d5e6e6f7f7f8 00388f7f7f6e6e5d5d4c4c3b3b2a2a191908"
        "c01bc848d937d937ea26ea26fb15fb15fc04 e000809091a1a2b2b3c4c4d5d5e6e6f7f7f8"
        "53fb5a5a4a49493938382827271716160605 008088888888888888888888888888888888"
    ),
    "tract/q8_1": (
        "08a800c47f776f675f574f47403830282018100800f8f0e8e0d8d0c8c0b9b1a9a1999189"
        "08a800c4899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f777f"
    ),
    "tract/q2_0t": "00400000005455aaaaaa 0040aaaaaa5515000000 c0235555222222222222",
}
"""q40: bytes of tract 0.23.9; the others worked from its source, for tract cannot write them."""

ORACLES = {"tract/q40": oracle.q40, "tract/q8_1": oracle.q8_1, "tract/q2_0t": oracle.q2_0t}


@pytest.mark.parametrize("name", GOLDEN)
def test_recorded_bytes(name):
    wanted = bytes.fromhex(GOLDEN[name])
    blocks = refquant.quantize(ROWS, name).planes["blocks"]
    assert blocks.tobytes()[: len(wanted)] == wanted


@pytest.mark.parametrize("name", ORACLES)
def test_every_input_as_the_scalar_oracle(name):
    assert check_cases(refquant.scheme(name), ORACLES[name]) >= 112


def test_q40_bytes_are_those_of_ggml_but_where_no_reciprocal_exists():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((64, 256)).astype(np.float32)
    mine, ggml = (refquant.quantize(x, n).planes["blocks"] for n in ("tract/q40", "ggml/q4_0"))
    assert (mine == ggml).all()
    tiny = (x * np.float32(2.0**-70)) * np.float32(2.0**-70)
    mine, ggml = (refquant.quantize(tiny, n).planes["blocks"] for n in ("tract/q40", "ggml/q4_0"))
    assert (mine != ggml).any()
    assert (mine[..., :2] == ggml[..., :2]).all()


def test_q8_1_keeps_the_sign_of_the_extreme_and_sums_weights():
    x = np.zeros((1, 32), np.float32)
    x[0, :3] = 1, -254, 0.25
    tensor = refquant.quantize(x, "tract/q8_1")
    scale, total = tensor.planes["blocks"].ravel()[:4].view("<f2").tolist()
    assert (scale, total) == (-2, -252.75)
    codes = tensor.planes["blocks"].ravel()[4:].view(np.int8)
    assert codes[:3].tolist() == [-1, 127, 0]


def test_q2_0t_rounds_to_three_codes():
    x = np.full((1, 32), 2, np.float32)
    x[0, :4] = 1, -1, 0.75, -5.25
    blocks = refquant.quantize(x, "tract/q2_0t").planes["blocks"].ravel()
    assert blocks[:2].view("<f2").item() == 2
    assert blocks[2:].tolist() == [0b00010010, *7 * [0b10101010]]
