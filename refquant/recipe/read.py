"""Reading a recipe: every mistake is named with its place in the document and a suggestion."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from refquant.arithmetic.contracts import ACTIVATIONS
from refquant.errors import UnknownSchemeError, UsageError
from refquant.recipe.document import KEEP, Algorithm, Compute, Recipe, Rule
from refquant.recipe.roles import ROLES
from refquant.schemes import scheme as find_scheme

__all__ = ["check_recipe", "parse_recipe", "read_recipe", "recipe_from_data"]

OPTIONS: Final[Mapping[str, Mapping[str, type | tuple[type, ...]]]] = {
    "gptq": {
        "damping": (int, float),
        "block": int,
        "order": str,
        "scales": str,
        "inverse": str,
    },
    "percentile": {"percentile": (int, float)},
    "mse": {"steps": int},
    "hqq": {
        "norm": (int, float),
        "beta": (int, float),
        "kappa": (int, float),
        "rounds": int,
    },
    "awq": {"clip": bool},
    "smoothquant": {"alpha": (int, float)},
}
"""The options of each algorithm that has any."""

WORDS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("gptq", "order"): ("stored", "activation"),
    ("gptq", "scales"): ("running", "beforehand"),
    ("gptq", "inverse"): ("cholesky", "full"),
}
"""What options that are words may be."""

LARGEST: Final = 1 << 20
"""Bytes of a recipe; a longer file is something else."""

_CHOICES: Final = {
    "role": ROLES,
    "compute": get_args(Compute),
    "algorithm": get_args(Algorithm),
    "precision": ("float32", "float16", "bfloat16"),
    "rotation": ("hadamard",),
}


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML or JSON file.

    Raises `UsageError` with the place of the first mistake, such as `$.rules[2].match`.
    """
    if path.stat().st_size > LARGEST:
        raise UsageError(f"reading recipe {path}: more than {LARGEST} bytes; is it a recipe?")
    return parse_recipe(path.read_bytes(), str(path))


def parse_recipe(text: bytes | str, source: str) -> Recipe:
    """The recipe in a text: JSON if it begins with a brace, else TOML; `source` is for messages."""
    content = text if isinstance(text, str) else text.decode("utf-8", "replace")
    try:
        if content.lstrip().startswith("{"):
            data = msgspec.json.decode(content.encode())
        else:
            data = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise UsageError(f"reading recipe {source}: {error}") from error
    return recipe_from_data(data, source)


def recipe_from_data(data: Any, source: str) -> Recipe:
    """The recipe in plain data, checked."""
    try:
        recipe = msgspec.convert(data, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(_explained(str(error), data, source)) from error
    check_recipe(recipe, source)
    return recipe


def check_recipe(recipe: Recipe, source: str) -> None:
    """Raise `UsageError` where a rule cannot be meant: unknown names, contradicting options."""
    if not recipe.rules:
        raise UsageError(f"reading recipe {source}: $.rules is empty; expected at least one rule")
    _check_names(recipe.fallback, "$.fallback", source)
    for index, rule in enumerate(recipe.rules):
        _check_rule(rule, f"$.rules[{index}]", source)


def _check_rule(rule: Rule, where: str, source: str) -> None:
    _check_names((rule.scheme,), f"{where}.scheme", source)
    _check_names(rule.fallback or (), f"{where}.fallback", source)
    _check_pattern(rule.match, f"{where}.match", source)
    if not re.fullmatch(r"|\d+(-\d+)?(,\d+(-\d+)?)*", rule.layers.replace(" ", "")):
        raise _mistake(source, f"{where}.layers", f"{rule.layers!r} is no list such as 0-3,29")
    _check_layers(rule.layers, f"{where}.layers", source)
    if rule.minimum_weights < 0:
        raise _mistake(source, f"{where}.minimum_weights", "it is negative")
    _check_contract(rule, where, source)
    _check_options(rule, where, source)
    if rule.scheme == KEEP and (rule.algorithm != "rtn" or rule.options):
        raise _mistake(source, f"{where}.algorithm", "a rule that keeps tensors has no algorithm")


def _check_layers(layers: str, where: str, source: str) -> None:
    for part in filter(None, layers.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            hint = f"did you mean '{last}-{first}'?"
            raise _mistake(source, where, f"{part!r} runs backwards; {hint}")


def _check_contract(rule: Rule, where: str, source: str) -> None:
    if rule.compute == "weight-only":
        if rule.activation:
            message = "weight-only rules leave activations alone; say compute = 'dynamic' or leave"
            raise _mistake(source, f"{where}.activation", f"{message} it out")
        return
    allowed = [name for name, contract in ACTIVATIONS.items() if rule.compute in contract.compute]
    if rule.activation not in allowed:
        found = repr(rule.activation) if rule.activation else "nothing"
        expected = f"a {rule.compute} rule names one of {', '.join(allowed)}"
        hint = suggestion(rule.activation, allowed)
        raise _mistake(source, f"{where}.activation", f"{found} found; {expected}{hint}")


def _check_options(rule: Rule, where: str, source: str) -> None:
    known = OPTIONS.get(rule.algorithm, {})
    for name, value in rule.options.items():
        if name not in known:
            hint = suggestion(name, known) or f" (it has {', '.join(known) or 'none'})"
            message = f"{rule.algorithm} has no option {name!r}{hint}"
            raise _mistake(source, f"{where}.options", message)
        if not isinstance(value, known[name]) or isinstance(value, bool) != (known[name] is bool):
            raise _mistake(source, f"{where}.options.{name}", f"{value!r} is no such value")
        words = WORDS.get((rule.algorithm, name))
        if words is not None and value not in words:
            hint = suggestion(str(value), words)
            message = f"{value!r} is none of {', '.join(words)}{hint}"
            raise _mistake(source, f"{where}.options.{name}", message)


def _check_names(names: Iterable[str], where: str, source: str) -> None:
    for name in names:
        if name == KEEP:
            continue
        try:
            found = find_scheme(name)
        except UnknownSchemeError as error:
            raise _mistake(source, where, str(error)) from error
        except UsageError as error:
            raise _mistake(source, where, str(error)) from error
        if not found.can_encode:
            raise _mistake(source, where, f"{found.name} can be decoded but not encoded")


def _check_pattern(pattern: str, where: str, source: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        message = f"{pattern!r} is no regular expression: {error}"
        raise _mistake(source, where, message) from error


def _mistake(source: str, where: str, message: str) -> UsageError:
    return UsageError(f"reading recipe {source}: {where}: {message}")


def suggestion(found: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` if something known is close."""
    close = get_close_matches(found, list(known), 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _explained(message: str, data: Any, source: str) -> str:
    """The library's message with the place first, and what was probably meant."""
    text, _, place = message.partition(" - at ")
    where = place.strip("`") or "$"
    unknown = re.search(r"unknown field `(.*)`", text)
    if unknown:
        known = Rule.__struct_fields__ if ".rules" in where else Recipe.__struct_fields__
        text = f"unknown key {unknown.group(1)!r}{suggestion(unknown.group(1), known)}"
        return f"reading recipe {source}: {where}: {text} (known: {', '.join(known)})"
    if where == "$.recipe":
        text = f"version {_value_at(data, where)!r}, and this version of refquant reads 1"
    if "required field `rules`" in text:
        text += "; expected at least one rule, in TOML [[rules]]"
    if "required field `scheme`" in text:
        text += '; expected a scheme\'s name, such as scheme = "ggml/q4_0", or keep'
    key = re.sub(r"\[[^]]*\]$", "", where).rpartition(".")[2]
    if key in _CHOICES:
        found = _value_at(data, where)
        choices = _CHOICES[key]
        text = f"{found!r} is none of {', '.join(choices)}{suggestion(str(found), choices)}"
    return f"reading recipe {source}: {where}: {text}"


def _value_at(data: Any, where: str) -> Any:
    """The value at a place such as `$.rules[2].role`, or None where the place is not exact."""
    for name, index in re.findall(r"\.([a-z_]+)|\[(\d+)\]", where):
        try:
            data = data[name] if name else data[int(index)]
        except (KeyError, IndexError, TypeError):
            return None
    return data
