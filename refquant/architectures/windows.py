"""Sliding windows as fields: how many positions a layer sees, and which layers see all of them."""

from collections.abc import Mapping, Sequence

from refquant.architectures.family import FieldSpec, FieldValue
from refquant.architectures.metadata import read_count
from refquant.errors import FormatError, UnsupportedError

__all__ = ["has_window", "window_fields", "window_from_gguf", "window_from_layer_types"]


def window_fields(arch: str) -> tuple[FieldSpec, ...]:
    """The fields of families in which some layers see only the latest positions."""
    return (
        FieldSpec(
            "window",
            "count",
            "how many positions a windowed layer sees, its own included",
            gguf=f"{arch}.attention.sliding_window",
            hugging_face="sliding_window",
            optional=True,
        ),
        FieldSpec(
            "window_period",
            "count",
            "every layer of this number sees all positions; none does if it is left out",
            hugging_face="layer_types",
            maximum=4096,
            optional=True,
        ),
    )


def has_window(fields: Mapping[str, FieldValue]) -> bool:
    """True unless a period stands without a window."""
    return "window" in fields or "window_period" not in fields


def window_from_gguf(
    metadata: Mapping[str, object], arch: str, *, period: int | None
) -> dict[str, FieldValue]:
    """The window, unless it is as long as the context and so hides nothing."""
    document, key = "GGUF metadata", f"{arch}.attention.sliding_window"
    if metadata.get(key) in (None, 0):
        return {}
    stated = metadata.get(f"{key}_pattern")
    if stated is not None:
        if isinstance(stated, Sequence) and not isinstance(stated, str):
            period = _period(stated, document)
        else:
            period = _stated(stated, key)
    context = read_count(metadata, f"{arch}.context_length", document)
    return _window(read_count(metadata, key, document), context, period)


def window_from_layer_types(
    config: Mapping[str, object], *, period: int | None, window: int | None = None
) -> dict[str, FieldValue]:
    """The window of a `config.json`; `period` and `window` are the class's own defaults."""
    document = "config.json"
    kinds = config.get("layer_types")
    if isinstance(kinds, Sequence) and not isinstance(kinds, str):
        period = _period([kind == "sliding_attention" for kind in kinds], document)
    if config.get("sliding_window", window) in (None, 0) or period == 1:
        return {}
    context = read_count(config, "max_position_embeddings", document)
    return _window(read_count(config, "sliding_window", document, default=window), context, period)


def _window(window: int, context: int, period: int | None) -> dict[str, FieldValue]:
    if window >= context:
        return {}
    return {"window": window, **({} if period is None else {"window_period": period})}


def _stated(value: object, key: str) -> int:
    if type(value) is not int or value < 1:
        raise FormatError("E_ARCH_METADATA", f"{key}_pattern is {value!r:.80}", where=key)
    return value


def _period(windowed: Sequence[object], document: str) -> int | None:
    """The period of the layers that see everything, from a flag for each layer."""
    full = [layer + 1 for layer, hidden in enumerate(windowed) if not hidden]
    if not full:
        return None
    expected = list(range(full[0], len(windowed) + 1, full[0]))
    if full != expected:
        raise UnsupportedError(
            f"reading {document}: the layers that see all positions are not every n-th one"
        )
    return full[0]
