"""torchchat: the dictionary that its `--quantize` takes, inline or as a file.

Quantizers run in the order of the dictionary, and a layer that one of them has replaced is not seen
by the next: the first one wins, as in a recipe. Weights are cast to the model's precision first and
scales are stored in it. A shared embedding is an embedding here: quantizers of linear layers leave
it alone. Unknown keys are mistakes, which the origin only mentions.

Source: torchchat at its last commit (2025-08), `torchchat/utils/quantize.py`, and its documentation
of quantization, whose older names (`linear:8da4w`, `linear:gptq`, `linear:hqq`) are kept.
"""

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from refquant.errors import UsageError
from refquant.recipe import Recipe, Role, Rule, check_recipe
from refquant.recipe.read import suggestion

__all__ = ["QUANTIZERS", "torchchat_recipe"]

Options = Mapping[str, Any]
Precision = Literal["", "float32", "float16", "bfloat16"]

SOURCE: Final = "--quantize"

LINEAR: Final[tuple[Role, ...]] = ("attention", "feedforward", "head", "default")

PRECISIONS: Final[Mapping[str, Precision]] = {
    **dict.fromkeys(("fp32", "float32", "float"), "float32"),
    **dict.fromkeys(("fp16", "float16", "half"), "float16"),
    **dict.fromkeys(("bf16", "bfloat16", "fast", "fast16"), "bfloat16"),
}
"""The dtypes' names; `fast` is bfloat16 where the origin's answer depends on the device."""

SHORT: Final = {"": "f32", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def torchchat_recipe(quantize: str | Mapping[str, Options]) -> Recipe:
    """The recipe of a dictionary, of its text (JSON, or as Python writes it), or of a file's name.

    Raises `UsageError` for unknown quantizers and options, with what was probably meant.
    """
    asked = quantize if isinstance(quantize, Mapping) else _parsed(quantize)
    precision = _precision(asked.get("precision", {}))
    rules: list[Rule] = []
    for name, options in asked.items():
        if name not in QUANTIZERS:
            known = ", ".join(QUANTIZERS)
            raise _mistake(f"unknown quantizer {name!r}{suggestion(name, QUANTIZERS)} ({known})")
        keys, build = QUANTIZERS[name]
        if not isinstance(options, Mapping):
            raise _mistake(f"{name!r}: expected a dictionary of options, found {options!r}")
        for key in options:
            if key not in keys:
                hint = f"unknown option {key!r}{suggestion(key, keys)}"
                raise _mistake(f"{name!r}: {hint} (known: {', '.join(keys)})")
        rules.extend(build(options, SHORT[precision]))
    recipe = Recipe(rules=tuple(rules), name="torchchat", precision=precision)
    if rules:
        check_recipe(recipe, SOURCE)
    return recipe


def _parsed(text: str) -> Mapping[str, Options]:
    """A dictionary in JSON, or in Python's spelling, which the origin's documentation uses."""
    path = Path(text)
    if not text.lstrip().startswith("{"):
        if not path.is_file():
            raise _mistake(f"{text!r} is neither a dictionary nor a file")
        text = path.read_text("utf-8")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise _mistake(f"neither JSON nor a Python dictionary: {error}") from error
    if not isinstance(found, dict):
        raise _mistake(f"expected a dictionary, found {found!r:.60}")
    return found


def _mistake(message: str) -> UsageError:
    return UsageError(f"reading {SOURCE}: {message}")


def _precision(options: Options) -> Precision:
    if not options:
        return ""
    dtype = str(options.get("dtype", ""))
    if dtype not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        hint = suggestion(dtype, PRECISIONS)
        raise _mistake(f"'precision': unknown dtype {dtype!r}{hint} (known: {known})")
    return PRECISIONS[dtype]


def _number(options: Options, key: str, default: int, allowed: range | tuple[int, ...]) -> int:
    value = options.get(key, default)
    # A whole row is written as 0, as -1, or as null, depending on the quantizer.
    value = 0 if value in (None, -1) else value
    if not isinstance(value, int) or isinstance(value, bool) or value not in (*allowed, 0):
        shown = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else f"{allowed}"
        raise _mistake(f"{key!r} is {value!r}; expected {shown}")
    return value


def _group(options: Options, default: int = 0) -> int:
    return _number(options, "groupsize", default, range(2, 65537))


def _share(group: int) -> str:
    return f"group={group}" if group else "channel"


def _embedding(options: Options, scale: str) -> list[Rule]:
    bits = _number(options, "bitwidth", 8, (4, 8))
    share = _share(_group(options))
    scheme = f"torchchat/embedding[bits={bits},{share},scale={scale}]"
    return [Rule(scheme=scheme, role="embedding")]


def _embedding_wx(options: Options, scale: str) -> list[Rule]:
    bits = _number(options, "bitwidth", 4, range(1, 9))
    mapping = "asym" if options.get("has_weight_zeros", True) else "sym"
    share = _share(_group(options))
    return [Rule(scheme=f"torchao/int{bits}[{mapping},{share},scale={scale}]", role="embedding")]


def _int8(options: Options, scale: str) -> list[Rule]:
    if _number(options, "bitwidth", 8, (8,)) != 8:
        raise _mistake("'linear:int8' has 8 bits")
    roles = _node_type(str(options.get("node_type", "*")))
    scheme = f"torchchat/int8[{_share(_group(options))},scale={scale}]"
    return [Rule(scheme=scheme, role=roles)]


def _node_type(text: str) -> tuple[Role, ...]:
    choices: Mapping[str, tuple[Role, ...]] = {
        "*": LINEAR,
        "output": ("head",),
        "!output": ("attention", "feedforward", "default"),
    }
    if text not in choices:
        raise _mistake(f"'linear:int8': node_type is {text!r}; expected *, output or !output")
    return choices[text]


def _int4(algorithm: Literal["rtn", "gptq"]) -> Callable[[Options, str], list[Rule]]:
    def build(options: Options, scale: str) -> list[Rule]:
        group = _number(options, "groupsize", 256, (32, 64, 128, 256)) or 256
        # The origin's kernels take bfloat16 scales unless the model is binary32.
        storage = "f32" if scale == "f32" else "bf16"
        scheme = f"torchao/int4_tinygemm[group={group},scale={storage}]"
        return [Rule(scheme=scheme, role=LINEAR, algorithm=algorithm)]

    return build


def _hqq(options: Options, scale: str) -> list[Rule]:
    group = _number(options, "groupsize", 64, (32, 64, 128, 256)) or 64
    return [Rule(scheme=f"torchao/hqq[bits=4,group={group},scale={scale}]", role=LINEAR)]


def _dynamic_int4(options: Options, scale: str) -> list[Rule]:
    group = _group(options, 256) or 256
    scheme = f"torchao/8da4w[group={group},scale={scale},eps=eps]"
    return [_dynamic(scheme)]


def _dynamic_intx(options: Options, _scale: str) -> list[Rule]:
    # The origin asks for a binary32 model here.
    bits = _number(options, "bitwidth", 4, range(1, 9))
    mapping = "asym" if options.get("has_weight_zeros", False) else "sym"
    return [_dynamic(f"torchao/int{bits}[{mapping},{_share(_group(options))}]")]


def _dynamic(scheme: str) -> Rule:
    return Rule(scheme=scheme, role=LINEAR, compute="dynamic", activation="torchao_per_token")


def _float_intx(options: Options, scale: str) -> list[Rule]:
    # The origin runs these on Apple's GPUs only, in the model's dtype.
    bits = _number(options, "bitwidth", 4, range(1, 8)) or 4
    group = _number(options, "groupsize", 128, (32, 64, 128, 256)) or 128
    return [Rule(scheme=f"torchao/afpwx[bits={bits},group={group},scale={scale}]", role=LINEAR)]


def _nothing(_options: Options, _scale: str) -> list[Rule]:
    return []


def _executor(options: Options, _scale: str) -> list[Rule]:
    device = str(options.get("accelerator", "cpu"))
    if device not in ("cpu", "fast"):
        raise _mistake(f"'executor': {device!r} is not here; this package computes on the CPU")
    return []


Build = Callable[[Options, str], list[Rule]]

QUANTIZERS: Final[Mapping[str, tuple[tuple[str, ...], Build]]] = {
    "embedding": (("bitwidth", "groupsize", "packed"), _embedding),
    "embedding:wx": (("bitwidth", "groupsize", "has_weight_zeros"), _embedding_wx),
    "linear:int8": (("bitwidth", "groupsize", "node_type"), _int8),
    "linear:int4": (("groupsize", "padding_allowed", "inner_k_tiles"), _int4("rtn")),
    "linear:a8w4dq": (("groupsize", "padding_allowed"), _dynamic_int4),
    "linear:8da4w": (("groupsize", "padding_allowed"), _dynamic_int4),
    "linear:a8wxdq": (("bitwidth", "groupsize", "has_weight_zeros"), _dynamic_intx),
    "linear:afpwx": (("bitwidth", "groupsize"), _float_intx),
    "linear:gptq": (("groupsize", "padding_allowed", "inner_k_tiles"), _int4("gptq")),
    "linear:int4-gptq": (("groupsize", "padding_allowed", "inner_k_tiles"), _int4("gptq")),
    "linear:hqq": (("groupsize", "padding_allowed", "inner_k_tiles"), _hqq),
    "precision": (("dtype",), _nothing),
    "executor": (("accelerator",), _executor),
}
"""Quantizers, the options that each knows, and what they come to."""
