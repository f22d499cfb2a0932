"""The table of packs: what each is called and which generator makes it."""

from collections.abc import Callable, Iterable

from conformance.generators import codec_decode
from conformance.generators.catalogue import by_namespace
from conformance.generators.writer import PackWriter
from refquant.driver import Scheme

__all__ = ["PACKS", "made"]

Maker = Callable[[PackWriter], None]


def _each(function: Callable[[PackWriter, Scheme], None], schemes: Iterable[Scheme]) -> Maker:
    def make(writer: PackWriter) -> None:
        for scheme in schemes:
            function(writer, scheme)

    return make


def _codecs() -> dict[str, tuple[str, Maker]]:
    packs: dict[str, tuple[str, Maker]] = {}
    for space, schemes in by_namespace().items():
        plain = [scheme for scheme in schemes if not scheme.operators]
        packs |= {
            f"decode/{space}": (
                f"{space}: planes to values",
                _each(codec_decode.decoded, schemes),
            ),
            f"unpack/{space}": (
                f"{space}: planes to codes",
                _each(codec_decode.read_codes, plain),
            ),
            f"pack/{space}": (
                f"{space}: codes to planes",
                _each(codec_decode.written_codes, plain),
            ),
        }
    return packs


PACKS: dict[str, tuple[str, Maker]] = _codecs()
"""By name: a title, and what adds the cases."""


def made(name: str) -> PackWriter:
    """One pack, made anew."""
    title, make = PACKS[name]
    writer = PackWriter(name, title)
    make(writer)
    return writer
