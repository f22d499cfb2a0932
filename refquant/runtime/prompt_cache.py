"""The keys and values of a text in a file, so that another process need not compute them again.

The file is a `.rq` without an architecture: tensors `keys` and `values` [layers, heads, positions,
head_width], stored as the cache's type has them, and the extension `x-refquant.prompt-cache` with
the text's token ids and with what the positions depend on: the model's digest and how it computed.
A cache of another model, or of other options, is refused.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from refquant import mp1
from refquant.errors import FormatError, UsageError
from refquant.formats.checkpoint import Checkpoint
from refquant.formats.compute import COMPUTE_EXTENSION
from refquant.formats.rq import read, tensors_digest, write_checkpoint
from refquant.runtime.cache import Cache, CacheType, Store
from refquant.runtime.model import Model
from refquant.tensor import QuantizedTensor

__all__ = ["PROMPT_CACHE_EXTENSION", "check_target", "load_prompt_cache", "save_prompt_cache"]

PROMPT_CACHE_EXTENSION: Final = "x-refquant.prompt-cache"

_WHERE: Final = f"$.ext.{PROMPT_CACHE_EXTENSION}.data"

_SCHEMES: Final[Mapping[CacheType, str]] = {
    "float32": "float/f32",
    "float16": "float/f16",
    "int8": "tflite/int8[sym,channel]",
}
"""The scheme whose values are those that a store of the type reads."""

_WORDS: Final = {
    "model": "the model",
    "arithmetic": "--arith",
    "weights": "--weights",
    "precision": "--precision",
    "cache_type": "--cache-type",
}


def check_target(path: Path) -> None:
    """Refuse, before any work, to write over a file that is no prompt cache."""
    if path.is_file() and path.stat().st_size:
        try:
            is_cache = PROMPT_CACHE_EXTENSION in read(path, verify="trust").extensions
        except FormatError:
            is_cache = False
        if not is_cache:
            raise UsageError(f"{path} exists and is no prompt cache; choose another name")


def save_prompt_cache(path: Path, model: Model, cache: Cache, tokens: Sequence[int]) -> None:
    """Write the positions that a cache holds, of a text that begins with `tokens`.

    The file appears when it is whole, in the place of one that was there.
    """
    check_target(path)
    known = list(tokens[: cache.length])
    data = {"tokens": known, **_conditions(model)}
    tensors = {
        "keys": _tensor(cache.keys, cache.kind, cache.length),
        "values": _tensor(cache.values, cache.kind, cache.length),
    }
    extensions = {PROMPT_CACHE_EXTENSION: {"critical": False, "data": data}}
    write_checkpoint(path, Checkpoint(None, tensors, {}, None, {}, {}, extensions=extensions))


def load_prompt_cache(path: Path, model: Model, prompt: Sequence[int], capacity: int) -> Cache:
    """A cache of `capacity` positions with those of the file that `prompt` begins with.

    The prompt's last token is never among them: it has to be computed to go on. Raises UsageError
    for the cache of another model or of other options, FormatError for a damaged file or another.
    """
    checkpoint = read(path, verify="full")
    data = _data(checkpoint, path)
    tokens = _tokens(data, model)
    _check_conditions(data, model, path)
    cache = model.new_cache(capacity)
    shared = _shared(tokens, prompt[:-1])
    for name, store in (("keys", cache.keys), ("values", cache.values)):
        arrays = _arrays(checkpoint, name, cache, len(tokens))
        for part, place in store.arrays(shared).items():
            np.copyto(place, arrays[part][:, :, :shared])
    cache.advance(shared)
    return cache


def _conditions(model: Model) -> dict[str, str]:
    """What the numbers in a cache depend on, besides the text."""
    architecture = model.architecture
    identity = {
        "family": architecture.family,
        "fields": dict(architecture.fields),
        # Names of tensors are no keys of the profile, so aliases are pairs.
        "aliases": sorted([name, of] for name, of in model.checkpoint.aliases.items()),
        "compute": model.checkpoint.extensions.get(COMPUTE_EXTENSION, {}),
        "tensors": tensors_digest(model.checkpoint),
    }
    return {
        "model": sha256(mp1.encode(identity)).hexdigest(),
        "arithmetic": model.arithmetic_mode,
        # Exact arithmetic has the same bits however weights are held.
        "weights": "any" if model.arithmetic_mode == "exact" else model.weight_mode,
        "precision": model.precision,
        "cache_type": model.cache_type,
    }


def _tensor(store: Store, kind: CacheType, length: int) -> QuantizedTensor:
    """The first positions of a store as a tensor of the scheme that means the same."""
    arrays = {part: _bytes(array) for part, array in store.arrays(length).items()}
    planes = {"values": arrays["numbers"]}
    if kind == "int8":
        planes = {"codes": arrays["numbers"], "scales": arrays["scale"]}
    layers, heads, _, width = store.numbers.shape
    return QuantizedTensor.from_planes(_SCHEMES[kind], (layers, heads, length, width), planes)


def _bytes(array: NDArray[np.generic]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _data(checkpoint: Checkpoint, path: Path) -> Mapping[str, object]:
    entry = checkpoint.extensions.get(PROMPT_CACHE_EXTENSION)
    data = entry.get("data") if isinstance(entry, Mapping) else None
    if not isinstance(data, Mapping):
        raise FormatError(
            "E_SCHEMA_TYPE", f"{path} is a .rq file and no prompt cache", where=_WHERE
        )
    return data


def _tokens(data: Mapping[str, object], model: Model) -> list[int]:
    tokens = data.get("tokens")
    if not isinstance(tokens, list) or not 0 < len(tokens) <= model.context:
        raise FormatError(
            "E_SCHEMA_TYPE", f"expected 1 to {model.context} token ids", where=f"{_WHERE}.tokens"
        )
    for token in tokens:
        if type(token) is not int or not 0 <= token < model.vocabulary:
            raise FormatError(
                "E_SCHEMA_TYPE", f"{token!r} is no token id", where=f"{_WHERE}.tokens"
            )
    return tokens


def _check_conditions(data: Mapping[str, object], model: Model, path: Path) -> None:
    for key, own in _conditions(model).items():
        if data.get(key) == own:
            continue
        if key == "model":
            raise UsageError(
                f"{path} is the prompt cache of another model, or of another --compute"
            )
        found = str(data.get(key))[:40]
        raise UsageError(f"{path} was saved with {_WORDS[key]} {found!r}, and this run has {own!r}")


def _shared(tokens: Sequence[int], prompt: Sequence[int]) -> int:
    """How many of the first tokens are the same."""
    for place, (one, other) in enumerate(zip(tokens, prompt, strict=False)):
        if one != other:
            return place
    return min(len(tokens), len(prompt))


def _arrays(
    checkpoint: Checkpoint, name: str, cache: Cache, length: int
) -> dict[str, NDArray[np.generic]]:
    """What a tensor of the file holds, by the parts of a store."""
    layers, heads, _, width = cache.shape
    shape, kind = (layers, heads, length, width), cache.kind
    tensor = checkpoint.tensors.get(name)
    if tensor is None or tensor.shape != shape or tensor.scheme.name != _SCHEMES[kind]:
        found = "nothing" if tensor is None else f"{tensor.scheme.name} {list(tensor.shape)}"
        message = f"found {found}, expected {_SCHEMES[kind]} {list(shape)}"
        raise FormatError("E_SHAPE", message, where=name)
    if not np.isfinite(tensor.dequantize()).all():
        raise FormatError("E_NOT_FINITE", "expected finite keys and values", where=name)

    def array(plane: str, dtype: str, of: tuple[int, ...]) -> NDArray[np.generic]:
        flat = np.ascontiguousarray(tensor.planes[plane]).reshape(-1)
        return np.asarray(flat.view(np.dtype(dtype)).reshape(of))

    if kind == "int8":
        return {
            "numbers": array("codes", "i1", shape),
            "scale": array("scales", "<f4", shape[:3]),
        }
    return {"numbers": array("values", "<f4" if kind == "float32" else "<f2", shape)}
