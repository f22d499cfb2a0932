"""Wrong variants of schemes that the evidence must tell from the right ones.

Each module `<namespace>.py` exports `MUTANTS`. A mutant is one change that somebody has shipped, or
could: tests/test_mutants.py fails where one survives.
"""

from collections.abc import Callable
from dataclasses import dataclass

from refquant.driver import Scheme

__all__ = ["Mutant"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong variant of the scheme called `scheme_name`.

    `id` is unique, `change` says in a few words what is wrong, and `build` makes the variant, as a
    rule by `dataclasses.replace` of the scheme's layout or encoder.
    """

    id: str
    scheme_name: str
    change: str
    build: Callable[[], Scheme]
