"""AI Edge's ways to choose a scale against the scalar oracle, and cases by hand."""

import numpy as np
import pytest

import refquant
from conformance.oracle import aeq as oracle
from refquant.errors import UsageError
from refquant.schemes.aeq import octav
from refquant.schemes.aeq.sums import folded_sum
from refquant.testing.inputs import adversarial_inputs
from tests.aeq_oracle import codes_and_parameters
from tests.scalar_groups import group_places

OCTAV = [
    f"aeq/int{bits}[{share},algorithm=octav]"
    for bits in (8, 4, 2)
    for share in ("channel", "tensor", "block=32")
]
MSE = [
    f"aeq/int{bits}[{share},algorithm=mse]" for bits in (8, 4) for share in ("channel", "tensor")
]


def oracle_scales(name, groups, bits, knobs):
    if name in OCTAV:
        return oracle.octav(groups, bits, knobs)
    return [oracle.mse(group, bits) for group in groups]


@pytest.mark.parametrize("name", [*OCTAV, *MSE])
def test_scales_and_codes_equal_the_scalar_oracle(name):
    scheme = refquant.scheme(name)
    bits, knobs = scheme.layout.fields["q"].element.bits, scheme.parameters
    for kind, x in adversarial_inputs(name, (4, 64)).items():
        found = codes_and_parameters(refquant.quantize(x, scheme))
        places = group_places(scheme, x.shape)
        groups = [[float(x[place]) for place in group] for group in places]
        scales = oracle_scales(name, groups, bits, knobs)
        for number, (group, scale) in enumerate(zip(groups, scales, strict=True)):
            stored, _, codes = oracle.chosen(group, bits, scale, knobs)
            form = "<f2" if knobs["granularity"] == "block" else "<f4"
            ours = found["scale"].reshape(-1)[number : number + 1].astype(form)
            assert int.from_bytes(ours.tobytes(), "little") == stored, (kind, number)
            assert [found["codes"][place] for place in places[number]] == codes, (kind, number)


def test_groups_of_octav_wait_for_each_other():
    x = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    # Steps below 1e-8 count as settled, so tiny weights alone stop far from their clip.
    x[1] *= np.float32(2.0**-26)
    together, alone = octav.clips(x, 2)[1], octav.clips(x[1:], 2)
    assert alone[0] != together
    steps = [alone]
    for _ in range(octav.ITERATIONS):
        steps.append(octav.next_clips(x[1:], steps[-1], 2))
    assert together in np.concatenate(steps)


def test_chunks_do_not_change_the_clips(monkeypatch):
    x = np.random.default_rng(2).standard_normal((40, 64)).astype(np.float32)
    expected = refquant.quantize(x, "aeq/int4[channel,algorithm=octav]")
    monkeypatch.setattr(octav, "SLICE_WEIGHTS", 64)
    monkeypatch.setattr("refquant.driver.chunks.CHUNK_WEIGHTS", 64)
    found = refquant.quantize(x, "aeq/int4[channel,algorithm=octav]")
    assert all((found.planes[name] == plane).all() for name, plane in expected.planes.items())


def test_a_channel_of_zeros_has_scale_zero():
    for algorithm in ("octav", "mse"):
        name = f"aeq/int8[channel,algorithm={algorithm}]"
        tensor = refquant.quantize(np.zeros((2, 32), np.float32), name)
        assert not any(plane.any() for plane in tensor.planes.values())


def test_a_clip_lets_the_lowest_code_appear():
    x = np.full((1, 64), 0.1, np.float32)
    x[0, 0] = -5
    codes = codes_and_parameters(refquant.quantize(x, "aeq/int2[channel,algorithm=octav]"))["codes"]
    assert codes.min() == -2


@pytest.mark.parametrize(
    "name",
    [
        "aeq/int8[asym,channel,algorithm=octav]",
        "aeq/int8[asym,channel,algorithm=mse]",
        "aeq/int4[block=32,algorithm=mse]",
        "aeq/int2[channel,algorithm=mse]",
    ],
)
def test_what_the_origin_refuses_has_no_name(name):
    with pytest.raises(UsageError, match="algorithm="):
        refquant.scheme(name)


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 8, 33])
def test_folded_sums_are_the_sums_in_their_order(columns):
    x = np.random.default_rng(3).standard_normal((5, columns)).astype(np.float32)
    ours = folded_sum(x)
    assert ours.tolist() == [oracle.folded([float(v) for v in row]) for row in x]
