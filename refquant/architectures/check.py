"""Whether a file holds exactly the tensors that its architecture says, in the right shapes."""

import re
from collections.abc import Iterable, Mapping

from refquant.architectures.family import Architecture, Family
from refquant.errors import FormatError, UnsupportedError

__all__ = ["check_tensors"]


def check_tensors(
    family: Family, architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise unless `shapes` (name to shape) are those of the model that `architecture` describes.

    FormatError E_ARCH_TENSOR names the tensor and the formula of its shape; a tensor that stands
    for a feature which the family's runtime does not have is an UnsupportedError.
    """
    _refuse_unsupported(family, shapes)
    expected = {tensor.name: tensor for tensor in family.model_tensors(architecture.fields)}
    for name, tensor in expected.items():
        wanted = f"{tensor.formula} = {list(tensor.shape)}"
        if name not in shapes:
            raise _error(f"the tensor is missing; family {family.name} needs it as {wanted}", name)
        if tuple(shapes[name]) != tensor.shape:
            raise _error(f"the shape is {list(shapes[name])}, expected {wanted}", name)
    if extra := sorted(set(shapes) - set(expected)):
        raise _error(
            f"no model of family {family.name} with these fields has this tensor", extra[0]
        )


def _refuse_unsupported(family: Family, names: Iterable[str]) -> None:
    generic = {name: re.sub(r"^blk\.[0-9]+\.", "blk.{layer}.", name) for name in names}
    for name, pattern in generic.items():
        if feature := family.unsupported_tensors.get(pattern):
            raise UnsupportedError(
                f"the tensor {name} stands for {feature}, "
                f"which the {family.name} runtime does not have"
            )


def _error(message: str, name: str) -> FormatError:
    return FormatError("E_ARCH_TENSOR", message, where=name)
