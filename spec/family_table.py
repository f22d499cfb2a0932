"""Tokenizers and model families as lines of words, for readers in other languages.

`spec/arch/families.txt` holds the lines and `conformance/readers/c/families.h` the same ones as
strings of C. Chapter 8 says what each word means.
"""

from collections.abc import Iterator
from pathlib import Path

from refquant.architectures import FAMILIES, Family, FieldSpec, TensorSpec
from refquant.formats.rq.runnable import TOKENIZER_KINDS

__all__ = ["LAWS", "lines", "pages"]

SPEC = Path(__file__).resolve().parent
TEXT = SPEC / "arch" / "families.txt"
HEADER = SPEC.parent / "conformance" / "readers" / "c" / "families.h"

STRETCH = "rope_factor rope_original_context"
LAWS = {
    "heads must be a multiple of key_value_heads": ("multiple heads key_value_heads",),
    "width must be a multiple of heads": ("multiple width heads",),
    "head_width must be even, because elements rotate in pairs": ("even head_width",),
    "window_period stands beside a window": ("beside window_period window",),
    "1 <= experts_used <= experts, and all layers together have at most 65536 experts": (
        "beside experts experts_used",
        "beside experts_used experts",
        "most experts_used experts",
        "product 65536 layers experts",
    ),
    "mask_token must be an id of the vocabulary": ("below mask_token vocabulary",),
    "the fields of rope_scaling must be those that its value needs": (
        "when rope_scaling linear rope_factor",
        f"when rope_scaling llama3 {STRETCH} rope_low_frequency rope_high_frequency",
        f"when rope_scaling yarn {STRETCH} rope_beta_fast rope_beta_slow rope_truncated rope_size",
    ),
}
"""A family's rule, as its sentence -> the same in words that any reader can follow."""


def _field(field: FieldSpec) -> str:
    kind = field.kind + ("?" if getattr(field, "optional", False) else "")
    if field.kind == "count":
        return f"{kind} {field.name} {field.maximum}"
    return " ".join((kind, field.name, *field.choices))


def _tensor(tensor: TensorSpec) -> str:
    shape = ",".join(extent.replace(" ", "") for extent in tensor.shape)
    present = getattr(tensor, "present_if", "")
    words = ["tensor", tensor.name, shape]
    words += ["unless", tensor.absent_if] if tensor.absent_if else []
    words += ["if", present] if present else []
    return " ".join(words)


def _laws(family: Family) -> Iterator[str]:
    for sentence, _ in family.rules:
        if sentence not in LAWS:
            raise KeyError(f"spec/family_table.py: LAWS has no words for {sentence!r}")
        yield from (f"law {law}" for law in LAWS[sentence])


def lines() -> list[str]:
    """All kinds of tokenizers, then all families, one fact a line."""
    found = [f"tokenizer {kind}" for kind in TOKENIZER_KINDS]
    for name, family in FAMILIES.items():
        found += [f"family {name}", *map(_field, family.fields), *_laws(family)]
        found += map(_tensor, family.tensor_specs)
    return found


def pages() -> Iterator[tuple[Path, str]]:
    """Both files with the text they should have."""
    found = lines()
    yield TEXT, "".join(f"{line}\n" for line in found)
    strings = "".join(f'    "{line}",\n' for line in found)
    comment = (
        "/* Made by spec/family_table.py from refquant's families; see spec/08-documents.md. */"
    )
    yield HEADER, f"{comment}\nstatic const char *const FAMILIES[] = {{\n{strings}    0,\n}};\n"
