"""llama.cpp: the mixtures that its quantizer calls Q4_K_M and so on.

A mixture has a base type and exceptions: more bits for what hurts most, which are the output (or
the embedding where it is the output too), values, and the way down out of the network; often only
in the first and last eighth of the layers and in every third one between.

Source: llama.cpp as in llama-cpp-python 0.3.36, `src/llama-quant.cpp`, without its special cases
for Falcon, GLM and 70B models. Types that this package cannot encode (IQ1 to IQ3) are refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from refquant.errors import UsageError
from refquant.recipe import Recipe, Role, Rule
from refquant.upstream.facts import ModelFacts

__all__ = ["NAMES", "mixture", "tensor_type_rules"]

BASES: Final = {
    "F32": "f32",
    "F16": "f16",
    "BF16": "bf16",
    "Q1_0": "q1_0",
    "Q2_0": "q2_0",
    "Q4_0": "q4_0",
    "Q4_1": "q4_1",
    "Q5_0": "q5_0",
    "Q5_1": "q5_1",
    "Q8_0": "q8_0",
    "Q2_K": "q2_k",
    "Q2_K_S": "q2_k",
    "Q3_K_S": "q3_k",
    "Q3_K_M": "q3_k",
    "Q3_K_L": "q3_k",
    "Q4_K_S": "q4_k",
    "Q4_K_M": "q4_k",
    "Q5_K_S": "q5_k",
    "Q5_K_M": "q5_k",
    "Q6_K": "q6_k",
    "IQ4_NL": "iq4_nl",
    "IQ4_XS": "iq4_xs",
    "TQ1_0": "tq1_0",
    "TQ2_0": "tq2_0",
    "MXFP4_MOE": "q8_0",
}
"""The type of all matrices that no exception names."""

ALIASES: Final = {
    "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"
}  # fmt: skip

NAMES: Final = (*BASES, *ALIASES)
"""What `mixture` takes, in upper or lower case."""

DECODED_ONLY: Final = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS")
DECODED_ONLY_TOO: Final = ("IQ3_XS", "IQ3_S", "IQ3_M")

SMALLER: Final = {
    "iq4_xs": "iq4_nl",
    "q2_0": "q4_0",
    "q2_k": "q4_0",
    "q3_k": "q4_0",
    "tq1_0": "q4_0",
    "tq2_0": "q4_0",
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}
"""What takes the place of a type whose blocks do not divide a row; after that comes float16."""

NEVER: Final = r".*(norm\.weight|ffn_gate_inp\.weight|position_embd|token_types).*|.*bias"
VALUES: Final = r".*attn_(v|qkv|kv_b)\.weight"
KEYS: Final = r".*attn_k\.weight"
OUTPUTS: Final = r".*attn_output\.weight"
DOWN: Final = r".*ffn_down.*"

EIGHT: Final = 8
"""Experts of the models for which llama.cpp has exceptions of its own."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A mixture for a model, and whether importances of the inputs are known."""

    preset: str
    model: ModelFacts
    has_importance: bool


def mixture(name: str, model: ModelFacts, *, has_importance: bool = False) -> Recipe:
    """The recipe of one of `NAMES` for a model.

    Raises `UsageError` for a name that is unknown, or a type that can only be decoded.
    """
    upper = name.upper()
    preset = ALIASES.get(upper, upper)
    if preset not in BASES:
        known = upper in (*DECODED_ONLY, *DECODED_ONLY_TOO)
        why = "it can be decoded but not encoded" if known else "it is no mixture of llama.cpp"
        raise UsageError(f"{name}: {why}; there are {', '.join(NAMES)}")
    base = BASES[preset]
    if base in ("f32", "f16", "bf16"):
        return Recipe(rules=(Rule(scheme=f"float/{base}"),), name=preset)
    asked = Asked(preset, model, has_importance)
    rules = [Rule(scheme="keep", match=NEVER, why="never quantized"), *_ends(preset, model)]
    for match, exception in ((VALUES, _values), (KEYS, _keys), (OUTPUTS, _outputs), (DOWN, _down)):
        types = [exception(asked, layer) for layer in range(model.layers)]
        rules.extend(_by_layers(match, types))
    rules.extend(_experts(preset))
    rules.append(_rule(base))
    return Recipe(rules=tuple(rules), name=preset)


def tensor_type_rules(overrides: Iterable[str]) -> tuple[Rule, ...]:
    """Rules for `REGEX=TYPE`, which go before a mixture's; the expression may match anywhere."""
    rules = []
    for text in overrides:
        pattern, equals, kind = text.rpartition("=")
        if not equals or not pattern:
            raise UsageError(f"--tensor-type {text!r}: expected REGEX=TYPE, such as ffn_down=q6_k")
        rules.append(Rule(scheme=kind, match=f".*(?:{pattern}).*", why="as asked"))
    return tuple(rules)


def _rule(
    kind: str, *, match: str = "", role: Role | tuple[()] = (), layers: str = "", why: str = ""
) -> Rule:
    smaller = [f"ggml/{SMALLER[kind]}"] if kind in SMALLER else []
    return Rule(
        scheme=f"ggml/{kind}",
        role=role,
        layers=layers,
        match=match,
        fallback=(*smaller, "float/f16"),
        why=why,
    )


def _ends(preset: str, model: ModelFacts) -> list[Rule]:
    """The output matrix, and the embedding, which is the output too in a tied model."""
    kept = preset in ("Q8_0", "MXFP4_MOE")
    output = "q8_0" if kept else "q6_k"
    embedding = "q4_k" if preset in ("TQ1_0", "TQ2_0", "Q2_0") else BASES[preset]
    return [
        _rule(output, role="head", why="output"),
        _rule(output, role="embedding", why="embedding and output")
        if model.is_tied
        else _rule(embedding, role="embedding", why="embedding"),
    ]


def _by_layers(match: str, types: list[str]) -> list[Rule]:
    """One rule for each type among the layers; an empty type is no exception."""
    found = []
    for kind in sorted(set(types) - {""}):
        chosen = [layer for layer, one in enumerate(types) if one == kind]
        layers = "" if len(chosen) == len(types) else _ranges(chosen)
        found.append(_rule(kind, match=match, layers=layers))
    return found


def _ranges(layers: list[int]) -> str:
    """Numbers as `0-2,5`."""
    parts = []
    for _, run in groupby(enumerate(layers), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        end = f"-{numbers[-1]}" if len(numbers) > 1 else ""
        parts.append(f"{numbers[0]}{end}")
    return ",".join(parts)


def _gets_more(layer: int, model: ModelFacts) -> bool:
    count = model.layers
    return layer < count // 8 or layer >= 7 * count // 8 or (layer - count // 8) % 3 == 2


def _values(asked: Asked, layer: int) -> str:
    """Values are small where heads share them, and errors in them are not averaged away."""
    shared = asked.model.queries_per_key >= 4
    if asked.model.experts == EIGHT:
        return "q8_0"
    by_preset = {
        "Q2_K": "q4_k" if shared else "q3_k",
        "Q2_K_S": "q4_k" if shared else "",
        "Q3_K_M": "q5_k" if layer < 2 else "q4_k",
        "Q3_K_L": "q5_k",
        "IQ4_NL": "q5_k" if shared else "",
        "IQ4_XS": "q5_k" if shared else "",
        "Q4_K_M": "q6_k" if _gets_more(layer, asked.model) else "",
        "Q5_K_M": "q6_k" if _gets_more(layer, asked.model) else "",
        "Q4_K_S": "q5_k" if layer < 4 else "",
    }
    return by_preset.get(asked.preset, "")


def _keys(asked: Asked, _layer: int) -> str:
    return "q8_0" if asked.model.experts == EIGHT else ""


def _outputs(asked: Asked, _layer: int) -> str:
    if asked.model.experts == EIGHT:
        raised = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ4_XS")
        return "q5_k" if asked.preset in raised else ""
    return {"Q2_K": "q3_k", "Q3_K_M": "q4_k", "Q3_K_L": "q5_k"}.get(asked.preset, "")


def _down(asked: Asked, layer: int) -> str:
    """The first layers' way down has outliers that spoil a block."""
    early = layer < asked.model.layers // 8
    by_preset = {
        "Q2_K": "q3_k",
        "Q2_K_S": "q4_k" if early else "",
        "Q3_K_M": "q5_k" if layer < asked.model.layers // 16 else "q4_k",
        "Q3_K_L": "q5_k",
        "Q4_K_M": "q6_k" if _gets_more(layer, asked.model) else "",
        "Q5_K_M": "q6_k" if _gets_more(layer, asked.model) else "",
        "Q4_K_S": "q5_k" if early else "",
        "IQ4_NL": "q5_k" if early and not asked.has_importance else "",
        "IQ4_XS": "q5_k" if early and not asked.has_importance else "",
        "Q4_0": "q4_1" if early and asked.has_importance else "",
        "Q5_0": "q5_1" if early and asked.has_importance else "",
    }
    return by_preset.get(asked.preset, "")


def _experts(preset: str) -> list[Rule]:
    """Of MXFP4_MOE only the experts' matrices are MXFP4; all others are Q8_0."""
    if preset != "MXFP4_MOE":
        return []
    return [_rule("mxfp4", match=r".*ffn_(up|gate|down)_exps\.weight", why="experts")]
