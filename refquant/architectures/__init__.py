"""The model families that can run, one file each, as data.

To add a family: write `architectures/<family>.py`, add it to FAMILIES, and give it its row in
`runtime/families.py`. Several families have in common what `decoder_fields.py`,
`decoder_tensors.py`, `decoders.py`, `rotary_fields.py`, `rotary.py`, `windows.py`, `experts.py` and
`layer_norms.py` hold.
"""

from collections.abc import Mapping
from typing import Final

from refquant.architectures.bert import BERT
from refquant.architectures.check import check_tensors
from refquant.architectures.diffusion import DREAM, LLADA, SDAR
from refquant.architectures.family import (
    Architecture,
    Family,
    FieldSpec,
    FieldValue,
    ModelTensor,
    TensorSpec,
)
from refquant.architectures.gemma import GEMMA2, GEMMA3
from refquant.architectures.gpt2 import GPT2
from refquant.architectures.gpt_oss import GPT_OSS
from refquant.architectures.llama import LLAMA
from refquant.architectures.phi3 import PHI3
from refquant.architectures.qwen2 import QWEN2
from refquant.architectures.qwen3 import QWEN3
from refquant.architectures.qwen3_moe import QWEN3_MOE
from refquant.errors import UnsupportedError

__all__ = [
    "FAMILIES",
    "Architecture",
    "Family",
    "FieldSpec",
    "FieldValue",
    "ModelTensor",
    "TensorSpec",
    "check",
    "family_named",
    "family_of_gguf",
    "family_of_hugging_face",
]

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "qwen3_moe": QWEN3_MOE,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "gpt2": GPT2,
    "gpt_oss": GPT_OSS,
    "dream": DREAM,
    "llada": LLADA,
    "sdar": SDAR,
    "bert": BERT,
}


def family_named(name: str) -> Family:
    """The family that a `.rq` file names; UnsupportedError if this version does not know it."""
    if name not in FAMILIES:
        raise UnsupportedError(f"unknown model family {name!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def family_of_gguf(architecture: object) -> Family:
    """The family of a GGUF file, from its `general.architecture`."""
    for family in FAMILIES.values():
        if architecture in family.gguf_architectures:
            return family
    known = [name for family in FAMILIES.values() for name in family.gguf_architectures]
    raise UnsupportedError(
        f"the GGUF architecture {architecture!r} cannot run; known: {', '.join(known)}"
    )


def family_of_hugging_face(model_type: object) -> Family:
    """The family of a Hugging Face model, from `model_type` in its `config.json`."""
    for family in FAMILIES.values():
        if model_type in family.hugging_face_types:
            return family
    known = [name for family in FAMILIES.values() for name in family.hugging_face_types]
    raise UnsupportedError(
        f"the Hugging Face model type {model_type!r} cannot run; known: {', '.join(known)}"
    )


def check(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless the fields are complete and lawful and `shapes` are this model's tensors.

    FormatError E_ARCH_FIELD or E_ARCH_TENSOR says which; UnsupportedError names an unknown family
    or a feature that the family's runtime does not have.
    """
    family = family_named(architecture.family)
    family.check_fields(architecture.fields)
    check_tensors(family, architecture, shapes)
