"""Our bytes and values against ggml's C functions, built without contraction of a * b + c."""

import numpy as np
import pytest

import refquant
from refquant.schemes.codebooks import CODEBOOKS
from tests.decisions import decisions
from tests.differential import golden_ggml
from tests.ggml_inputs import NOT_FINITE, records, weights
from tests.ggml_oracle import ask, half_places, oracle_of, package_of, type_of

pytestmark = pytest.mark.differential

FLOATS = ("float/f16", "float/bf16")
FIT = "ggml/iq4_nl[encoder=fit]"
SEARCHES = {f"ggml/{name}" for name in ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs")}


def blocks(name):
    """Super-blocks of each distribution: over 2**24 weights in all, 2**22 where C searches."""
    return 1400 if name in SEARCHES else 5120


def encoded(name, x, importance=None):
    (plane,) = refquant.quantize(x, name, importance=importance).planes.values()
    return plane.reshape(-1)


@pytest.mark.parametrize("name", golden_ggml.encodable())
def test_encoders_write_the_bytes_of_c(name, oracle, tmp_path, compared):
    kind, symbol = type_of(name)
    drawn = weights(blocks(name), finite=not refquant.scheme(name).non_finite)
    near = ("decisions", decisions(name, (1, 512, 256)).reshape(-1, 256))
    for title, x in [*drawn, near]:
        theirs = ask(oracle(oracle_of(name)), tmp_path, kind, x=x, symbol=symbol)
        ours = encoded(name, x)
        ways = ("chunk",) if name == "ggml/iq4_nl" else tuple(theirs)
        different = [int((ours != theirs[way]).sum()) for way in ways]
        compared(name, package_of(name), "encode", x.size, max(different))
        assert not any(different), (title, dict(zip(ways, different, strict=True)))


def test_the_single_fit_of_iq4_nl(oracle, tmp_path):
    """C leaves the codes of the block before in a block without weights; its scale is 0."""
    kind, symbol = type_of("ggml/iq4_nl")
    for title, x in weights(1400, finite=True):
        theirs = ask(oracle("ggml"), tmp_path, kind, x=x, symbol=symbol)["from_float"]
        empty = np.abs(x.reshape(-1, 32)).max(axis=1) < 1e-15
        ours, theirs = encoded(FIT, x).reshape(-1, 18), theirs.reshape(-1, 18)
        assert np.array_equal(ours[~empty], theirs[~empty]), title
        assert np.array_equal(ours[:, :2], theirs[:, :2]), title
        assert (ours[empty, 2:] == 0x88).all(), title


def test_scales_of_mxfp4_next_to_every_power_of_two(oracle, tmp_path):
    """The floor of log2 in binary32 steps up before the power is reached."""
    bits = np.concatenate([np.arange(0, 1 << 23, 1 << 16), np.arange(1, 255) << 23])
    around = np.unique(np.clip(bits[:, None] + np.arange(-128, 4), 0, 0x7F800000))
    powers = (1 << np.arange(23))[:, None] + np.arange(-64, 3)
    largest = np.concatenate([around, np.clip(powers, 0, None).reshape(-1)])
    x = np.zeros((len(largest), 32), np.float32)
    x[:, 0] = largest.astype(np.uint32).view(np.float32)
    x[:, 1] = -x[:, 0] / 2
    kind, symbol = type_of("ggml/mxfp4")
    theirs = ask(oracle("ggml"), tmp_path, kind, row=32, x=x, symbol=symbol)["reference"]
    assert np.array_equal(encoded("ggml/mxfp4", x), theirs)


def test_scales_of_nvfp4_for_all_short_numbers(oracle, tmp_path):
    """Six times each positive bfloat16 number, and the numbers next to it."""
    short = (np.arange(1 << 15, dtype=np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        near = [np.nextafter(short * np.float32(6), np.float32(end)) for end in (0, np.inf)]
        largest = np.concatenate([short * np.float32(6), *near, short[:512]])
    x = np.zeros((len(largest), 16), np.float32)
    x[:, 3], x[:, 4] = -largest, largest / np.float32(3)
    kind, symbol = type_of("ggml/nvfp4")
    theirs = ask(oracle("ggml"), tmp_path, kind, row=64, x=x, symbol=symbol)["reference"]
    assert np.array_equal(encoded("ggml/nvfp4", x.reshape(-1, 64)), theirs)


@pytest.mark.parametrize("name", golden_ggml.encodable(weighted=True))
def test_encoders_with_importance_write_the_bytes_of_c(name, oracle, tmp_path, compared):
    kind, _ = type_of(name)
    importance = golden_ggml.importance()
    for title, x in weights(1400, finite=True):
        theirs = ask(oracle("ggml"), tmp_path, kind, row=1024, x=x, importance=importance)
        ours = encoded(name, x.reshape(-1, 1024), importance)
        different = int((ours != theirs["chunk"]).sum())
        compared(f"{name} with importance", package_of(name), "encode", x.size, different)
        assert not different, title


@pytest.mark.parametrize("name", golden_ggml.encodable(weighted=True))
def test_importance_that_is_often_zero(name, oracle, tmp_path, compared):
    """Counts of scales leave their range then, and in some formats reach their neighbours."""
    kind, _ = type_of(name)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1500, 256)) * 10.0 ** rng.uniform(-6, 4, (1500, 1))
    x = (x + rng.choice([0, 0, 5, -5], (1500, 1))).astype(np.float32)
    x = np.concatenate([x, decisions(name, (1, 96, 256), 3).reshape(-1, 256)])
    for share in (0.02, 0.1, 0.5):
        importance = (rng.random(256) < share).astype(np.float32)
        theirs = ask(oracle(oracle_of(name)), tmp_path, kind, x=x, importance=importance)["chunk"]
        parts = {"blocks": (encoded(name, x, importance), theirs)}
        compared.encoded(f"{name} with importance", package_of(name), x.size, parts)


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_rounded_as_in_c(name, oracle, tmp_path, compared):
    """Payloads of NaN apart: C makes one NaN of all in binary16, we keep the bits that fit."""
    kind, _ = type_of(name)
    for title, x in weights(5120):
        theirs = ask(oracle("ggml"), tmp_path, kind, x=x)["from_float"].view(np.uint16)
        ours = encoded(name, x).view(np.uint16)
        nan = np.isnan(x).reshape(-1) & (name == "float/f16")
        compared.encoded(name, package_of(name), x.size, {title: (ours, theirs, nan)})
        assert np.array_equal(theirs[nan] & 0x7FFF, np.full(nan.sum(), 0x7E00)), title
        assert np.isnan(ours[nan].view(np.float16)).all(), title
        assert nan.any() == (title == NOT_FINITE and name == "float/f16")


@pytest.mark.parametrize("name", [*FLOATS, *golden_ggml.decodable(), *CODEBOOKS])
def test_decoders_give_the_values_of_c(name, oracle, tmp_path, compared):
    kind, symbol = type_of(name)
    scheme = refquant.scheme(name)
    ((plane, declared),) = scheme.planes.items()
    if name in FLOATS:
        data = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    else:
        data = records(1 << 16, declared.bytes, half_places(symbol))
    shape = (len(data), declared.block[-1])
    theirs = ask(oracle(oracle_of(name)), tmp_path, kind, bytes=data, symbol=symbol)
    ours = refquant.QuantizedTensor.from_planes(scheme, shape, {plane: data}).dequantize()
    compared.decoded(name, package_of(name), ours, theirs["values"])


@pytest.mark.parametrize("weighted", [False, True])
def test_golden_files_are_what_c_writes(weighted, oracle, tmp_path):
    for name in golden_ggml.encodable(weighted=weighted):
        written = golden_ggml.place(name, weighted=weighted).read_bytes()
        assert written == golden_ggml.golden(name, oracle, tmp_path, weighted=weighted), name
