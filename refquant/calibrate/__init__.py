"""How codes are chosen with more knowledge than the weights: of inputs, or by turning the weights.

Scales that an algorithm chooses from the weights alone belong to a scheme's contract and are knobs
of its name, as in `aeq/int4[block=32,algorithm=octav]`. What needs the layer's inputs (GPTQ), and
what changes the weights themselves, so that the runtime must undo it or do it to activations too
(rotations), stands here, and so do the ranges of activations that static contracts ask for.
"""

from refquant.calibrate.activations import RANGE_RULES, ActivationRange, RangeRule
from refquant.calibrate.awq import awq_scales
from refquant.calibrate.gptq import GptqOptions, gptq, layer_error
from refquant.calibrate.hadamard import hadamard_matrix, hadamard_size, rotated
from refquant.calibrate.levels import Levels, with_codes

__all__ = [
    "RANGE_RULES",
    "ActivationRange",
    "GptqOptions",
    "Levels",
    "RangeRule",
    "awq_scales",
    "gptq",
    "hadamard_matrix",
    "hadamard_size",
    "layer_error",
    "rotated",
    "with_codes",
]
