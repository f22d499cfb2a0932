"""AWQ's words against AutoAWQ: any checkpoint decoded, codes packed, and its rule at every tie."""

import numpy as np
import pytest

import refquant
from tests.decisions import aimed, under_short_scales
from tests.tensor_parts import any_tensor, field_numbers
from tests.worker_process import answering

pytestmark = pytest.mark.differential

PACKAGE = "autoawq 0.2.9"
GROUPS = (32, 64, 128)
TYPES = {"qweight": "<i4", "qzeros": "<i4", "scales": "<f2"}


@pytest.fixture(scope="module")
def ask(oracle, tmp_path_factory):
    with answering(oracle("awq"), "awq_worker.py", tmp_path_factory.mktemp("awq")) as process:
        yield process


def stored(tensor):
    """Planes as the tensors of a checkpoint."""
    return {plane: tensor.planes[plane].view(kind)[..., 0] for plane, kind in TYPES.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_any_checkpoint_decodes_alike(group, ask, compared):
    tensor = any_tensor(f"awq/int4[group={group}]", (1024, 256))
    theirs = ask(**stored(tensor), group=group)["values"]
    compared.decoded(tensor.scheme.name, PACKAGE, tensor.dequantize(), theirs)


@pytest.mark.parametrize("group", GROUPS)
def test_codes_are_packed_alike(group, ask, compared):
    """Our codes and parameters of all weights, given as values; AutoAWQ finds the codes again."""
    name = f"awq/int4[group={group}]"
    x = aimed(name)
    # Its packer counts outputs in words of four for each 32, and fails where some are left.
    tensor = refquant.quantize(x[: len(x) // 32 * 32], name)
    scales, zeros = (field_numbers(tensor, field).astype(np.float32) for field in "sz")
    theirs = ask(x=tensor.dequantize(), scales=scales, zeros=zeros, group=group)
    parts = {plane: (mine, theirs[plane]) for plane, mine in stored(tensor).items()}
    compared.encoded(name, PACKAGE, np.prod(tensor.shape), parts)


@pytest.mark.parametrize("group", GROUPS)
def test_the_rule_is_autoawq_s(group, ask, compared):
    """Where ranges hold 0.0 and float16 holds the scale, its own choice of all three is ours."""
    name, x = f"awq/int4[group={group}]", under_short_scales(4, (2048, 1024), group)
    tensor, theirs = refquant.quantize(x, name), ask(x=x, group=group)
    parts = {plane: (mine, theirs[plane]) for plane, mine in stored(tensor).items()}
    compared.encoded(name, PACKAGE, x.size, parts)
