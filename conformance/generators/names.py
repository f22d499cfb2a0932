"""Names in packs: schemes as slugs, features of operations."""

import re

from refquant.driver import Scheme

__all__ = ["feature", "namespace", "slug"]


def slug(scheme: Scheme) -> str:
    """`int/affine[bits=4,sym]` as `int-affine-bits-4-sym`: letters, digits, `-`, `_` and `.`."""
    return re.sub(r"[^a-z0-9_.]+", "-", scheme.name.lower()).strip("-")


def namespace(scheme: Scheme) -> str:
    """The part of a scheme's name before the slash."""
    return scheme.name.partition("/")[0]


def feature(op: str, scheme: Scheme) -> str:
    """What an engine declares that does an operation for a scheme."""
    return f"{op}.{slug(scheme)}"
