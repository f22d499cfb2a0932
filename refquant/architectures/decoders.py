"""The fields that decoder families share, read out of GGUF files and `config.json`.

A decoder here is a stack of blocks, each attention and a gated network, with rotary positions and
RMS normalisation. A family's file says which of these parts its models have; `decoder_fields.py`
and `decoder_tensors.py` hold the parts.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from refquant.architectures.family import FieldSpec, FieldValue
from refquant.architectures.metadata import count_tokens, read_count, read_flag, read_number
from refquant.architectures.rotary import THETA, rope_from_gguf, rope_from_hugging_face
from refquant.errors import FormatError, UnsupportedError

__all__ = ["decoder_from_gguf", "decoder_from_hugging_face", "refuse", "refuse_hugging_face"]

# The default that Hugging Face's classes share for a key that a file may leave out.
DEFAULT_NORM_EPSILON: Final = 1e-6


def decoder_from_gguf(
    specs: Sequence[FieldSpec],
    metadata: Mapping[str, object],
    tensor_names: Collection[str],
    arch: str,
    *,
    rope_style: str = "halves",
    truncated: bool = True,
) -> dict[str, FieldValue]:
    """The fields that all decoders share, under the keys of `specs`, out of a GGUF file.

    The output matrix is absent if the embedding does that work as well, which no key says.
    """
    document = "GGUF metadata"
    gguf = {field.name: field.gguf for field in specs}
    heads = read_count(metadata, gguf["heads"], document)
    width = read_count(metadata, gguf["width"], document)
    head_width = _head_width(metadata, gguf["head_width"], document, width, heads)
    for key in (f"{arch}.attention.value_length", f"{arch}.rope.dimension_count"):
        if read_count(metadata, key, document, default=head_width) != head_width:
            raise refuse(document, arch, f"{key} other than the head width {head_width}")
    return {
        "layers": read_count(metadata, gguf["layers"], document),
        "width": width,
        "heads": heads,
        "key_value_heads": read_count(metadata, gguf["key_value_heads"], document, default=heads),
        "head_width": head_width,
        "feedforward_width": read_count(metadata, gguf["feedforward_width"], document),
        "vocabulary": read_count(
            metadata, gguf["vocabulary"], document, default=count_tokens(metadata)
        ),
        "context": read_count(metadata, gguf["context"], document),
        **rope_from_gguf(metadata, tensor_names, arch, truncated=truncated),
        "rope_style": rope_style,
        "norm_epsilon": read_number(metadata, gguf["norm_epsilon"], document),
        "tied_embeddings": "output.weight" not in tensor_names,
    }


def decoder_from_hugging_face(
    specs: Sequence[FieldSpec],
    config: Mapping[str, object],
    *,
    theta: float = THETA,
    tied: bool = False,
) -> dict[str, FieldValue]:
    """The same out of a `config.json`; `theta` and `tied` are the class's own defaults."""
    document = "config.json"
    spelled = {field.name: field.hugging_face for field in specs}
    heads = read_count(config, spelled["heads"], document)
    width = read_count(config, spelled["width"], document)
    key_value_heads = read_count(config, spelled["key_value_heads"], document, default=heads)
    return {
        "layers": read_count(config, spelled["layers"], document),
        "width": width,
        "heads": heads,
        "key_value_heads": key_value_heads,
        "head_width": _head_width(config, spelled["head_width"], document, width, heads),
        "feedforward_width": read_count(config, spelled["feedforward_width"], document),
        "vocabulary": read_count(config, spelled["vocabulary"], document),
        "context": read_count(config, spelled["context"], document),
        **rope_from_hugging_face(config, theta=theta),
        "rope_style": "halves",
        "norm_epsilon": read_number(
            config, spelled["norm_epsilon"], document, default=DEFAULT_NORM_EPSILON
        ),
        "tied_embeddings": read_flag(config, spelled["tied_embeddings"], document, default=tied),
    }


def _head_width(
    metadata: Mapping[str, object], key: str, document: str, width: int, heads: int
) -> int:
    """The stated head width; both formats mean width / heads if they leave it out."""
    if metadata.get(key) is None and width % heads:
        raise FormatError(
            "E_ARCH_METADATA",
            f"{key} is missing and the width {width} is not a multiple of {heads} heads",
            where=document,
        )
    return read_count(metadata, key, document, default=max(1, width // heads))


def refuse(document: str, family: str, feature: str) -> UnsupportedError:
    """The error for a feature that the family's runtime does not have."""
    return UnsupportedError(f"reading {document}: the {family} runtime has no {feature}")


def refuse_hugging_face(
    config: Mapping[str, object],
    family: str,
    flags: Collection[str] = (),
    activations: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Raise UnsupportedError for a flag that is set, or an activation that is not among these."""
    for key in flags:
        if read_flag(config, key, "config.json", default=False):
            raise refuse("config.json", family, key)
    for key, known in (activations or {}).items():
        found = config.get(key)
        if found is not None and found not in known:
            has = next(iter(known))
            raise refuse("config.json", family, f"activation {found!r} ({key}); it has {has}")
