"""AI Edge Quantizer: its recipes as lists of rules in JSON, and the ones that it names.

An entry has a regular expression for the names of an operation's outputs, an operation, an
algorithm and its configuration; the last entry that applies to an operation wins, so the order is
turned round here. Our names are those of tensors, and an operation stands for the roles whose
matrices it multiplies. Rotations (HADAMARD_ROTATION) need a runtime that rotates activations, which
this one does not do for models, so they are refused, as are OSCAR and weight recovery.

Source: ai-edge-quantizer 0.10.0, `recipe.py`, `recipes/*.json`, `qtyping.py`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from refquant.errors import UnsupportedError, UsageError
from refquant.recipe import Recipe, Role, Rule, check_recipe
from refquant.recipe.read import suggestion

__all__ = ["NAMES", "quantizer_recipe", "read_quantizer_recipe"]

Entry = Mapping[str, Any]
Computation = tuple[Literal["weight-only", "dynamic", "static"], str]

OPERATIONS: Final[Mapping[str, tuple[Role, ...]]] = {
    "*": (),
    "FULLY_CONNECTED": ("attention", "feedforward", "head", "default"),
    "EMBEDDING_LOOKUP": ("embedding",),
}
"""Operations of language models; others multiply no weights here."""

KEYS: Final = ("regex", "operation", "algorithm_key", "op_config")
ALGORITHMS: Final = {
    "min_max_uniform_quantize": "",
    "OCTAV": ",algorithm=octav",
    "MSE": ",algorithm=mse",
    "GPTQ": "",
}
UNSUPPORTED: Final = {
    "HADAMARD_ROTATION": "the runtime does not rotate activations",
    "DECOMPOSED_HADAMARD_ROTATION": "the runtime does not rotate activations",
    "OSCAR": "it inserts a multiplication before the layer",
    "dequantized_weight_recovery": "it recovers scales of weights that were quantized before",
}


def read_quantizer_recipe(path: Path) -> Recipe:
    """The recipe in a JSON file."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"reading recipe {path}: {error}") from error
    return quantizer_recipe(data, str(path))


def quantizer_recipe(entries: Sequence[Entry], source: str = "AI Edge recipe") -> Recipe:
    """The recipe of a list of entries.

    Raises `UsageError` for what the origin does not know either, `UnsupportedError` for what has
    no counterpart here; both say where.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise UsageError(f"reading recipe {source}: expected a list of entries")
    rules: list[Rule] = []
    for index, entry in enumerate(entries):
        rules[:0] = _rules(entry, f"reading recipe {source}: $[{index}]")
    recipe = Recipe(rules=tuple(rules), name="ai-edge-quantizer")
    check_recipe(recipe, source)
    return recipe


def _rules(entry: Entry, where: str) -> list[Rule]:
    """One rule, or none for an operation that multiplies no weights of ours."""
    for key in entry:
        if key not in KEYS:
            raise UsageError(f"{where}: unknown key {key!r}{suggestion(key, KEYS)}")
    operation = str(entry.get("operation", "*"))
    if operation not in OPERATIONS:
        return []
    algorithm = str(entry.get("algorithm_key", "min_max_uniform_quantize"))
    if algorithm in UNSUPPORTED:
        raise UnsupportedError(f"{where}.algorithm_key: {algorithm}: {UNSUPPORTED[algorithm]}")
    common: dict[str, Any] = {
        "role": OPERATIONS[operation],
        "match": _anywhere(str(entry.get("regex", ".*")), where),
    }
    if algorithm == "no_quantize":
        return [Rule(scheme="keep", **common)]
    return [_quantizing(algorithm, entry.get("op_config", {}), common, where)]


def _anywhere(pattern: str, where: str) -> str:
    """The origin searches in a name; ours must match whole."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{where}.regex: {pattern!r} is no regular expression: {error}") from error
    return "" if pattern in ("", ".*") else f".*(?:{pattern}).*"


def _quantizing(algorithm: str, config: Entry, common: dict[str, Any], where: str) -> Rule:
    compute, activation = _computation(config, where)
    learned: dict[str, Any] = {}
    if algorithm == "GPTQ":
        options = {"inverse": "full", "scales": "beforehand", "block": 64}
        learned = {"algorithm": "gptq", "options": options}
    return Rule(
        scheme=_scheme(algorithm, config.get("weight_tensor_config", {}), where),
        minimum_weights=int(config.get("min_weight_elements", 0)),
        compute=compute,
        activation=activation,
        **learned,
        **common,
    )


def _scheme(algorithm: str, weights: Entry, where: str) -> str:
    if algorithm == "float_casting":
        return "aeq/fp16"
    if algorithm not in ALGORITHMS:
        known = (*ALGORITHMS, "float_casting", "no_quantize", *UNSUPPORTED)
        hint = suggestion(algorithm, known)
        raise UsageError(f"{where}.algorithm_key: unknown {algorithm!r}{hint}")
    bits = weights.get("num_bits", 8)
    if bits not in (2, 4, 8):
        raise UsageError(f"{where}.op_config.weight_tensor_config.num_bits: {bits!r}, not 2, 4, 8")
    symmetry = "sym" if weights.get("symmetric", True) else "asym"
    granularity = str(weights.get("granularity", "CHANNELWISE"))
    block = granularity.partition("BLOCKWISE_")[2] or weights.get("block_size") or ""
    share = f"block={block}" if block else granularity.removesuffix("WISE").lower()
    return f"aeq/int{bits}[{symmetry},{share}{ALGORITHMS[algorithm]}]"


def _computation(config: Entry, where: str) -> Computation:
    precision = str(config.get("compute_precision", "INTEGER"))
    if precision not in ("INTEGER", "FLOAT"):
        raise UsageError(
            f"{where}.op_config.compute_precision: {precision!r}, not INTEGER or FLOAT"
        )
    activations = config.get("activation_tensor_config")
    if precision == "FLOAT":
        return "weight-only", ""
    if activations is None:
        return "dynamic", "xnnpack_asymmetric"
    return "static", "int16_static" if activations.get("num_bits", 8) == 16 else "int8_static"


def _entries(
    bits: int,
    granularity: str = "CHANNELWISE",
    *,
    precision: str = "INTEGER",
    minimum: int = 0,
    activations: int = 0,
) -> list[Entry]:
    weights = {"num_bits": bits, "symmetric": True, "granularity": granularity}
    config: dict[str, Any] = {
        "weight_tensor_config": weights,
        "compute_precision": precision,
        "min_weight_elements": minimum,
    }
    if activations:
        read = {"num_bits": activations, "symmetric": activations == 16}
        config["activation_tensor_config"] = read
    return [{"regex": ".*", "operation": "*", "op_config": config}]


def _named() -> dict[str, Callable[[], Recipe]]:
    """The recipes that the origin names; static ones ask for a text to find scales on."""
    entries: dict[str, list[Entry]] = {
        "dynamic_wi8_afp32": _entries(8),
        "dynamic_wi4_afp32": _entries(4),
        "weight_only_wi8_afp32": _entries(8, precision="FLOAT"),
        "weight_only_wi4_afp32": _entries(4, precision="FLOAT"),
        "dynamic_legacy_wi8_afp32": _entries(8, minimum=1024),
        "static_wi8_ai8": _entries(8, activations=8),
        "static_wi8_ai16": _entries(8, activations=16),
    }
    for bits in (8, 4, 2):
        entries[f"dynamic_wi{bits}c_afp32"] = _entries(bits)
        for block in (32, 64):
            entries[f"dynamic_wi{bits}b{block}_afp32"] = _entries(bits, f"BLOCKWISE_{block}")
    return {name: _maker(found, name) for name, found in entries.items()}


def _maker(entries: list[Entry], name: str) -> Callable[[], Recipe]:
    return lambda: quantizer_recipe(entries, name)


NAMES: Final[Mapping[str, Callable[[], Recipe]]] = _named()
"""The origin's names for recipes."""
