"""How a file wants its products computed: the extension `x-refquant.compute`.

Its `data` maps the name of a contract (`refquant.arithmetic.contracts`) to the names of the tensors
that are multiplied under it, in order. Tensors that it does not name are decoded and multiplied as
real numbers. The weights mean the same without it, so it is not critical: who only decodes need not
know it, who runs the model obeys it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from refquant.arithmetic.contracts import ACTIVATIONS
from refquant.errors import FormatError, UnsupportedError

__all__ = ["COMPUTE_EXTENSION", "compute_contracts", "compute_extension"]

COMPUTE_EXTENSION: Final = "x-refquant.compute"

_WHERE: Final = f"$.ext.{COMPUTE_EXTENSION}.data"


def compute_extension(contracts: Mapping[str, str]) -> dict[str, object]:
    """The entry of `ext` for a map from tensors to contracts; nothing where the map is empty."""
    if not contracts:
        return {}
    data = {
        contract: sorted(name for name, own in contracts.items() if own == contract)
        for contract in sorted(set(contracts.values()))
    }
    return {COMPUTE_EXTENSION: {"critical": False, "data": data}}


def compute_contracts(extensions: Mapping[str, object], tensors: Collection[str]) -> dict[str, str]:
    """The contract of each tensor that has one, by name.

    Raises FormatError for an entry of another form, or one that names a tensor twice or one that
    the file has not; UnsupportedError for a contract that this version does not know.
    """
    entry = extensions.get(COMPUTE_EXTENSION)
    if entry is None:
        return {}
    data = entry.get("data") if isinstance(entry, Mapping) else None
    if not isinstance(data, Mapping):
        raise FormatError("E_SCHEMA_TYPE", "expected a map of contracts", where=_WHERE)
    found: dict[str, str] = {}
    for contract, names in data.items():
        if contract not in ACTIVATIONS:
            raise UnsupportedError(
                f"the file asks for the compute contract {contract!r}, which this version lacks "
                f"({_WHERE}); it has {', '.join(ACTIVATIONS)}; --compute weight-only does without"
            )
        for name in _names(names, str(contract)):
            if name in found or name not in tensors:
                problem = "has two contracts" if name in found else "is not in the file"
                raise FormatError(
                    "E_REF", f"tensor {name!r} {problem}", where=f"{_WHERE}.{contract}"
                )
            found[name] = str(contract)
    return found


def _names(names: object, contract: str) -> Sequence[str]:
    if not isinstance(names, Sequence) or isinstance(names, str | bytes):
        raise FormatError(
            "E_SCHEMA_TYPE", "expected an array of names", where=f"{_WHERE}.{contract}"
        )
    if not all(isinstance(name, str) for name in names):
        raise FormatError("E_SCHEMA_TYPE", "a name is no string", where=f"{_WHERE}.{contract}")
    return [str(name) for name in names]
