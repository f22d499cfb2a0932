"""Names of schemes: `namespace/name[key=value,word,...]`, read and written in one way only.

A family is a scheme with knobs. Its canonical name spells the knobs that say what is stored and
those that differ from their defaults; `Scheme.parameters` holds every knob with its value.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from refquant.driver import Scheme
from refquant.errors import UsageError

__all__ = ["Family", "Knob", "read_name"]

_NAME = re.compile(r"^(?P<base>[a-z0-9_]+(?:/[a-z0-9_.-]+)?)(?:\[(?P<knobs>[^\[\]]*)\])?$")


@dataclass(frozen=True, slots=True)
class Knob:
    """One choice of a family: its values in words, or a range of integers.

    A word of `values` may stand alone in a name (`sym` for `symmetry=sym`) where `bare` is true.
    """

    name: str
    meaning: str
    values: tuple[str, ...] | range
    default: str | int
    bare: bool = False

    def read(self, text: str, scheme: str) -> str | int:
        """The value that `text` spells; `UsageError` naming the values that exist."""
        if isinstance(self.values, range):
            if text.isdecimal() and int(text) in self.values:
                return int(text)
            allowed = f"{self.values.start} to {self.values.stop - 1}"
        else:
            if text in self.values:
                return text
            allowed = ", ".join(self.values)
        raise UsageError(f"scheme {scheme}: {self.name}={text} is not one of {allowed}")


@dataclass(frozen=True, slots=True)
class Family:
    """Schemes that differ in knobs only; `build` turns a value for every knob into a scheme."""

    name: str
    title: str
    knobs: tuple[Knob, ...]
    build: Callable[[Mapping[str, str | int]], Scheme]

    def scheme(self, knobs: str) -> Scheme:
        """The member that `knobs`, the text between the brackets, names."""
        values: dict[str, str | int] = {}
        for item in filter(None, (part.strip() for part in knobs.split(","))):
            key, _, text = item.partition("=")
            knob = self._knob(key, text)
            if knob.name in values:
                raise UsageError(f"scheme {self.name}: {knob.name} is given twice")
            values[knob.name] = knob.read(text or key, self.name)
        defaults = {knob.name: knob.default for knob in self.knobs}
        # The size of a share says that weights are shared in groups or blocks of that size.
        for share in {"group", "block"} & values.keys() & defaults.keys():
            values.setdefault("granularity", share)
        return self.build(defaults | values)

    def _knob(self, key: str, text: str) -> Knob:
        for knob in self.knobs:
            if text and knob.name == key:
                return knob
            if not text and knob.bare and not isinstance(knob.values, range) and key in knob.values:
                return knob
        known = ", ".join(
            "|".join(knob.values) if knob.bare and not isinstance(knob.values, range) else knob.name
            for knob in self.knobs
        )
        raise UsageError(f"scheme {self.name}: unknown knob {key!r}; it has {known}")


def read_name(text: str) -> tuple[str, str]:
    """The name before the brackets and the text between them."""
    found = _NAME.match(text.strip().lower())
    if not found:
        raise UsageError(f"{text!r} is no scheme name; expected namespace/name[knob=value,...]")
    return found["base"], found["knobs"] or ""
