"""Where `refquant quantize` reads from: whatever opens as a model, and files of weights alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from refquant.formats import Checkpoint

__all__ = ["open_source"]

TORCH: Final = (".pt", ".pth")
NAMES: Final = {"float/f32": "F32", "float/f16": "F16", "float/bf16": "BF16"}


def open_source(path: Path) -> "Checkpoint":
    """The model at `path`; of a single `.pt` or `.safetensors` file, with the texts beside it.

    Without a `config.json` there the tensors keep their names and no architecture is known.
    """
    from refquant.formats import open_checkpoint
    from refquant.formats.hugging_face import checkpoint_beside
    from refquant.formats.safetensors import StoredTensor, read_safetensors

    if path.suffix == ".safetensors" and path.is_file():
        return checkpoint_beside(path.parent, read_safetensors(path).tensors)
    if path.suffix not in TORCH or not path.is_file():
        return open_checkpoint(path)
    from refquant.convert_torch import from_state_dict, read_state_dict

    tensors = from_state_dict(read_state_dict(path), {})
    stored = {
        name: StoredTensor(
            name,
            NAMES[one.scheme.name],
            one.shape,
            0,
            np.asarray(one.planes["values"]).reshape(-1),
        )
        for name, one in tensors.items()
    }
    return checkpoint_beside(path.parent, stored)
