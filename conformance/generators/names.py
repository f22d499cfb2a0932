"""Names in packs: schemes as slugs, features of operations."""

from refquant.conformance.packs import coded_feature
from refquant.driver import Scheme

__all__ = ["feature", "namespace", "slug"]


def slug(scheme: Scheme) -> str:
    """`int/affine[bits=4,sym]` as `int-affine-bits-4-sym`: letters, digits, `-`, `_` and `.`."""
    return feature("", scheme).removeprefix(".")


def namespace(scheme: Scheme) -> str:
    """The part of a scheme's name before the slash."""
    return scheme.name.partition("/")[0]


def feature(op: str, scheme: Scheme) -> str:
    """What an engine declares that does an operation for a scheme."""
    return coded_feature(op, scheme.name)
