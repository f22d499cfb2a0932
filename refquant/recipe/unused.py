"""Where a recipe may not do what its writer meant: rules without tensors, and fallbacks."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from refquant.recipe.assignment import Assignments
from refquant.recipe.document import Recipe, Rule
from refquant.recipe.read import suggestion
from refquant.recipe.roles import layer_of, role_of

__all__ = ["doubts"]

SHOWN: Final = 3
"""Tensors that a sentence names."""


def doubts(assignments: Assignments, recipe: Recipe, first: int | None = None) -> Iterator[str]:
    """A sentence for each rule that took no tensor, and for each whose scheme did not fit.

    Only the `first` rules are looked at where that is given: those that somebody wrote by hand.
    """
    for index in assignments.unused_rules(recipe):
        if first is None or index < first:
            reason = _why_unused(recipe, index, assignments)
            yield f"$.rules[{index}] ({recipe.rules[index].scheme}) took no tensor: {reason}"
    for index, rule in enumerate(recipe.rules[:first]):
        poor = [one for one in assignments if one.rule == index and "does not fit" in one.reason]
        if poor:
            given = ", ".join(sorted({one.target_scheme for one in poor}))
            what = "they get" if any(one.is_fallback for one in poor) else "they stay"
            whose = "name another as `fallback`" if rule.fallback is None else "its `fallback`"
            yield (
                f"$.rules[{index}].scheme: {poor[0].reason} ({poor[0].tensor}); so it is with "
                f"{len(poor)} of the rule's {_count(assignments, index)} tensors; {what} {given} "
                f"({whose})"
            )


def _count(assignments: Assignments, index: int) -> int:
    return sum(one.rule == index for one in assignments)


def _why_unused(recipe: Recipe, index: int, assignments: Assignments) -> str:
    """Which of a rule's conditions no tensor meets, or which rules came first."""
    rule = recipe.rules[index]
    names = [one.tensor for one in assignments]
    roles = [name for name in names if not rule.roles or role_of(name) in rule.roles]
    if not roles:
        there = sorted({role_of(name) for name in names})
        return f"no tensor has the role {' or '.join(rule.roles)}; there are {', '.join(there)}"
    if rule.match and not any(re.fullmatch(rule.match, name) for name in roles):
        return _no_match(rule, roles)
    found = [name for name in roles if not rule.match or re.fullmatch(rule.match, name)]
    if rule.layers and (reason := _no_layer(rule, found)):
        return reason
    takers = {one.rule for one in assignments if one.tensor in found}
    earlier = sorted(number for number in takers if number is not None and number < index)
    if earlier:
        listed = ", ".join(f"$.rules[{number}]" for number in earlier[:SHOWN])
        return f"earlier rules took all that it selects ({listed}); put it before them"
    return (
        "all that it selects are norms or have one axis; name the role norm, or match their names"
    )


def _no_match(rule: Rule, names: Sequence[str]) -> str:
    """The expression must match whole names, which is easily forgotten."""
    inside = [name for name in names if re.search(rule.match, name)]
    if inside:
        return (
            f"{rule.match!r} must match a whole name, such as {inside[0]}; "
            f"did you mean {f'.*{rule.match}.*'!r}?"
        )
    plain = re.sub(r"\\(.)|[.][*+]?|[*+?()\[\]^$|]", r"\1", rule.match)
    hint = suggestion(plain, names) or f"; names are such as {', '.join(names[:SHOWN])}"
    return f"no name matches {rule.match!r}{hint}"


def _no_layer(rule: Rule, names: Sequence[str]) -> str:
    """Why none of the tensors is in the rule's layers; empty if some are."""
    wanted = set()
    for part in rule.layers.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    there = {layer_of(name) for name in names} - {None}
    if wanted & there:
        return ""
    if not there:
        return "what it selects belongs to no layer; leave `layers` out"
    numbers = sorted(layer for layer in there if layer is not None)
    return f"no tensor is in layers {rule.layers}; they are {numbers[0]} to {numbers[-1]}"
