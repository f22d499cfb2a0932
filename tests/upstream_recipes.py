"""What people type elsewhere, one line for each name: options of `refquant quantize`."""

from refquant.upstream import ai_edge
from refquant.upstream.torchchat import QUANTIZERS

__all__ = ["OPTIONS", "TORCHCHAT"]

TORCHCHAT = {
    "embedding": '{"embedding": {"bitwidth": 4, "groupsize": 32}}',
    "embedding:wx": '{"embedding:wx": {"bitwidth": 2, "groupsize": 32}}',
    "linear:int8": '{"linear:int8": {"bitwidth": 8, "groupsize": 0}}',
    "linear:int4": '{"linear:int4": {"groupsize": 32}}',
    "linear:a8w4dq": '{"linear:a8w4dq": {"groupsize": 32}}',
    "linear:8da4w": '{"linear:8da4w": {"groupsize": 64}}',
    "linear:a8wxdq": '{"linear:a8wxdq": {"bitwidth": 3, "groupsize": 32}}',
    "linear:afpwx": '{"linear:afpwx": {"bitwidth": 5, "groupsize": 64}}',
    "linear:gptq": '{"linear:gptq": {"groupsize": 32}}',
    "linear:int4-gptq": '{"linear:int4-gptq": {"groupsize": 64}}',
    "linear:hqq": '{"linear:hqq": {"groupsize": 64}}',
    "precision": '{"linear:int8": {"groupsize": 32}, "precision": {"dtype": "bf16"}}',
    "executor": '{"embedding": {"bitwidth": 8}, "executor": {"accelerator": "cpu"}}',
}
"""For each key of torchchat's dictionary one that has it."""

assert set(TORCHCHAT) == set(QUANTIZERS), "a key of torchchat's is not tried"

OPTIONS = {
    **{name: ("--recipe", name) for name in ai_edge.NAMES},
    **{key: ("--quantize", text) for key, text in TORCHCHAT.items()},
    "min_max_q4_0_all": ("-c", "min_max_q4_0_all"),
}
