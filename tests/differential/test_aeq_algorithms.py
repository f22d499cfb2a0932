"""OCTAV, MSE and Hadamard rotation against ai-edge-quantizer.

The package adds in binary32 in an order that NumPy and the machine's BLAS choose, so its sums are
compared within the bound of any order, n * 2**-24 of the sum of magnitudes. Everything else has
the same bits: a clip's iteration starts from the package's own last one, and scales and codes
from the package's own clips, scales or rotated weights.
"""

import numpy as np
import pytest

import refquant
from refquant.calibrate import hadamard_size, rotated
from refquant.driver import grouped
from refquant.layout.layout import aligned
from refquant.schemes.aeq import mse, octav
from refquant.schemes.affine import Rule
from tests.aeq_oracle import ask, codes_and_parameters, setting_of
from tests.ggml_inputs import weights

pytestmark = pytest.mark.differential

SHARES = ("channel", "tensor", "block=32")
OCTAV = [f"aeq/int{bits}[{share},algorithm=octav]" for bits in (8, 4, 2) for share in SHARES]
MSE = [f"aeq/int{bits}[{share},algorithm=mse]" for bits in (8, 4) for share in SHARES[:2]]
ROTATED = [(name, limit) for name in (OCTAV[0], OCTAV[3], OCTAV[5]) for limit in (0, 64)]
WEIGHTS = {title: x.reshape(-1, 768) for title, x in weights(480, 7, finite=True)}
ULP = 2.0**-24


@pytest.fixture(scope="module")
def answers(oracle, tmp_path_factory):
    """Everything from one process of the package."""
    settings = [setting_of(name) for name in (*OCTAV, *MSE)]
    settings += [
        {**setting_of(name), "algorithm": "hadamard", "limit": limit} for name, limit in ROTATED
    ]
    x, folder = np.stack(list(WEIGHTS.values())), tmp_path_factory.mktemp("aeq")
    return dict(zip((*OCTAV, *MSE, *ROTATED), ask(oracle("aeq"), folder, settings, x), strict=True))


def groups_and_rule(name, x):
    """The groups of a tensor, and the rule that a scheme shares with its min-max sibling."""
    plain = refquant.scheme(name.replace("=octav", "=minmax").replace("=mse", "=minmax"))
    return grouped(x, aligned(plain.group, x.shape)), Rule(plain.encode.__self__.knobs)


@pytest.mark.parametrize("name", OCTAV)
def test_each_iteration_of_octav_is_within_the_bound_of_a_sum(name, answers):
    for number, x in enumerate(WEIGHTS.values()):
        groups, rule = groups_and_rule(name, x)
        last, stopped = np.ones(len(groups), np.float32), False
        for clip in answers[name]["clips"][number]:
            if stopped:
                assert np.array_equal(clip, last)
                continue
            with np.errstate(all="ignore"):
                ours = octav.next_clips(groups, last, int(rule["bits"]), one_group="tensor" in name)
                bound = (groups.shape[1] + 3) * ULP * clip.astype(np.float64) + 2.0**-149
                near = np.abs(ours.astype(np.float64) - clip) <= bound
                stopped = octav.settled(last, clip)
            assert ((ours == clip) | near).all()
            last = clip


@pytest.mark.parametrize("name", OCTAV)
def test_scales_and_codes_follow_the_clips_of_octav(name, answers, monkeypatch):
    for number, x in enumerate(WEIGHTS.values()):
        theirs = {key: found[number] for key, found in answers[name].items()}
        monkeypatch.setattr(octav, "clips", lambda *_, clips=theirs["clips"][-1], **__: clips)
        ours = codes_and_parameters(refquant.quantize(x, name))
        assert np.array_equal(ours["scale"].reshape(-1), theirs["scale"].reshape(-1))
        assert np.array_equal(ours["codes"], theirs["codes"])


@pytest.mark.parametrize("name", MSE)
def test_mse_scales_are_within_the_bound_of_a_sum(name, answers):
    for number, x in enumerate(WEIGHTS.values()):
        theirs = {key: found[number] for key, found in answers[name].items()}
        groups, rule = groups_and_rule(name, x)
        scale = theirs["scale"].reshape(-1)
        with np.errstate(all="ignore"):
            ours = mse.scales(groups, rule).astype(np.float64)
            root = ours / mse.MULTIPLES[int(rule["bits"])]
            squares = (groups.shape[1] + 3) * ULP * root**2 + 2.0**-148
            bound = ours / root * squares / root + 4 * ULP * ours + 2.0**-149
            assert ((ours == scale) | (np.abs(ours - scale) <= bound)).all()
            codes = rule.encode_with(groups, scale)["q"]
        assert np.array_equal(codes.reshape(x.shape), theirs["codes"])


@pytest.mark.parametrize(("name", "limit"), ROTATED)
def test_rotated_weights_are_within_the_bound_of_a_sum(name, limit, answers):
    for number, x in enumerate(WEIGHTS.values()):
        theirs = answers[name, limit]["rotated"][number].astype(np.float64)
        size = hadamard_size(x.shape[1], limit)
        magnitudes = np.abs(x.astype(np.float64)).reshape(-1, size).sum(axis=1, keepdims=True)
        with np.errstate(over="ignore"):
            ours = rotated(x, limit).astype(np.float64)
        # Each product may lose half of the smallest number there is.
        bound = (size + 3) * ULP / np.sqrt(size) * magnitudes + size * 2.0**-149
        assert (np.abs(ours - theirs).reshape(-1, size) <= bound).all()


@pytest.mark.parametrize("name", [*OCTAV, *MSE, *ROTATED])
def test_no_code_is_off_by_more_than_one(name, answers, compared):
    """Scales within 1 / (2 * qmax) of each other move no quotient by more than half a step."""
    for number, x in enumerate(WEIGHTS.values()):
        theirs = {key: found[number] for key, found in answers[name].items()}
        scheme = name[0] if name in ROTATED else name
        ours = codes_and_parameters(refquant.quantize(theirs.get("rotated", x), scheme))
        scale, expected = ours["scale"].reshape(-1), theirs["scale"].reshape(-1)
        with np.errstate(all="ignore"):
            near = np.abs(scale - expected) <= expected / np.float32(qmax_of(scheme) * 2)
        assert ((scale == expected) | near).all()
        off = np.abs(ours["codes"].astype(int) - theirs["codes"])
        assert off.max() <= 1
        moved = np.count_nonzero(off)
        compared(scheme, "ai-edge-quantizer 0.10.0", "encode", off.size, 0, moved)


def qmax_of(name):
    return (1 << (refquant.scheme(name).layout.fields["q"].element.bits - 1)) - 1
