"""Schemes that decode another way: by another formula, or from other bits."""

from collections.abc import Callable
from dataclasses import replace

import refquant
from refquant.driver import Scheme
from refquant.layout import Element, Expression, Field, Layout, field

__all__ = ["with_codes", "with_fields", "with_value"]


def with_value(name: str, value: Expression) -> Callable[[], Scheme]:
    """Another formula."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        return replace(true, layout=replace(true.layout, value=value))

    return build


def with_fields(name: str, **fields: Field) -> Callable[[], Scheme]:
    """Some fields elsewhere in their planes."""

    def build() -> Scheme:
        true = refquant.scheme(name)
        layout = Layout(true.planes, {**true.layout.fields, **fields}, true.layout.value)
        return replace(true, layout=layout)

    return build


def with_codes(
    name: str, element: Element, *places: str, plane: str = "codes"
) -> Callable[[], Scheme]:
    """Codes of another kind, or in other bits."""
    return with_fields(name, q=field(plane, element, *places))
