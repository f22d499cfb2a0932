"""The table of packs: what each is called and which generator makes it."""

from collections.abc import Callable, Iterable
from functools import partial

from conformance.generators import (
    arithmetic,
    codec_decode,
    codec_encode,
    files,
    free,
    layers,
    models,
    safetensors_files,
    stored,
    tables,
)
from conformance.generators.catalogue import by_namespace, stored_by_namespace
from conformance.generators.writer import PackWriter
from refquant.conformance.packs import Pack
from refquant.driver import Scheme

__all__ = ["PACKS", "made"]

Maker = Callable[[PackWriter], None]


def _each(function: Callable[[PackWriter, Scheme], None], schemes: Iterable[Scheme]) -> Maker:
    def make(writer: PackWriter) -> None:
        for scheme in schemes:
            function(writer, scheme)

    return make


CODECS: dict[str, tuple[str, Callable[[PackWriter, Scheme], None]]] = {
    "decode": ("planes to values", codec_decode.decoded),
    "bytes": ("planes to values: any bytes, other axes", codec_decode.decoded_bytes),
    "unpack": ("planes to codes", codec_decode.read_codes),
    "pack": ("codes to planes", codec_decode.written_codes),
    "encode": ("weights to planes, one trouble at a time", codec_encode.encoded),
    "mixed": ("weights to planes, all troubles at once", codec_encode.mixed),
    "linear": ("products with activations", arithmetic.linear),
}


STORED: dict[str, Callable[[PackWriter, Scheme], None]] = {
    "decode": stored.decoded,
    "bytes": stored.decoded_bytes,
    "encode": stored.encoded,
    "mixed": stored.mixed,
}
"""The same for schemes whose planes no layout alone describes."""


def _codecs() -> dict[str, tuple[str, Maker]]:
    others = stored_by_namespace()
    return {
        f"{kind}/{space}": (
            f"{space}: {title}",
            _both(
                _each(function, schemes),
                _each(STORED[kind], others.get(space, ())) if kind in STORED else _nothing,
            ),
        )
        for kind, (title, function) in CODECS.items()
        for space, schemes in by_namespace().items()
    }


def _both(first: Maker, second: Maker) -> Maker:
    def make(writer: PackWriter) -> None:
        first(writer)
        second(writer)

    return make


def _nothing(_: PackWriter) -> None:
    """No cases."""


PACKS: dict[str, tuple[str, Maker]] = {
    **_codecs(),
    **{
        f"integer/{name}-{seed}": (f"{title}, group {seed}", partial(function, seed=seed))
        for name, title, function in (
            ("rows", "activations to codes", arithmetic.quantized_rows),
            ("matmul", "codes to accumulators", arithmetic.integer_products),
            ("requantize", "accumulators to codes", arithmetic.requantized),
            ("layer", "whole layers with calibrated scales", layers.static_layers),
            ("quantize", "numbers to codes by any division", free.quotients),
            ("function", "functions of any mathematical library", free.functions),
        )
        for seed in (1, 2)
    },
    **{f"container/valid-{k}": ("files that are valid", files.valid(k)) for k in (0, 1)},
    **{
        f"container/refused-{stage.lower()}": (f"files refused in {stage}", files.refused(stage))
        for stage in files.STAGES
    },
    **{f"table/{k}": ("whole tables, by their digests", tables.tables(k)) for k in (0, 1)},
    **safetensors_files.PACKS,
    **models.PACKS,
}
"""By name: a title, and what adds the cases."""


def made(name: str) -> Pack:
    """One pack, made anew."""
    title, make = PACKS[name]
    writer = PackWriter(name, title)
    make(writer)
    return writer.made()
