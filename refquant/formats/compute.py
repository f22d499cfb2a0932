"""How a file wants its products computed: the extension `x-refquant.compute`.

Its `data` maps the name of a contract (`refquant.arithmetic.contracts`) to the tensors that are
multiplied under it, in order: their names, and under a static contract the scales and zero points
that were calibrated for each. Tensors that it does not name are decoded and multiplied as real
numbers. `precision` is the type of the model's own numbers, where that is not binary32. The weights
mean the same without all this, so it is not critical: who only decodes need not know it, who runs
the model obeys it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from refquant.arithmetic.contracts import ACTIVATIONS
from refquant.arithmetic.precision import PRECISIONS, Precision
from refquant.arithmetic.static import STATIC, StaticParameters, check_static
from refquant.errors import FormatError, SchemeError, UnsupportedError, UsageError

__all__ = [
    "COMPUTE_EXTENSION",
    "MatrixContract",
    "compute_contracts",
    "compute_extension",
    "compute_precision",
]

COMPUTE_EXTENSION: Final = "x-refquant.compute"

_WHERE: Final = f"$.ext.{COMPUTE_EXTENSION}.data"

_PRECISION: Final = "precision"

_SCALES: Final = ("input_scale", "output_scale")
_KEYS: Final = frozenset({"tensor", *_SCALES, "input_zero_point", "output_zero_point"})


@dataclass(frozen=True, slots=True)
class MatrixContract:
    """The contract of one matrix, and what was calibrated for it where the contract is static.

    Raises `UsageError` where a static contract has no parameters, or another has some, and
    `SchemeError` for parameters that are not the contract's.
    """

    name: str
    parameters: StaticParameters | None = None

    def __post_init__(self) -> None:
        if (self.name in STATIC) != (self.parameters is not None):
            needs = "needs calibrated scales" if self.name in STATIC else "takes no scales"
            raise UsageError(f"the compute contract {self.name} {needs}")
        if self.parameters is not None:
            check_static(self.name, self.parameters)


def compute_extension(
    contracts: Mapping[str, MatrixContract], precision: Precision = "float32"
) -> dict[str, object]:
    """The entry of `ext` for tensors' contracts; none where there is nothing to say."""
    if not contracts and precision == "float32":
        return {}
    data: dict[str, list[object]] = {}
    for tensor, own in sorted(contracts.items(), key=lambda item: (item[1].name, item[0])):
        stored = tensor if own.parameters is None else {"tensor": tensor, **asdict(own.parameters)}
        data.setdefault(own.name, []).append(stored)
    held = {} if precision == "float32" else {_PRECISION: precision}
    return {COMPUTE_EXTENSION: {"critical": False, "data": {**data, **held}}}


def compute_contracts(
    extensions: Mapping[str, object], tensors: Collection[str]
) -> dict[str, MatrixContract]:
    """The contract of each tensor that has one, by name.

    Raises FormatError for an entry of another form, or one that names a tensor twice or one that
    the file has not; UnsupportedError for a contract that this version does not know.
    """
    found: dict[str, MatrixContract] = {}
    for contract, entries in _data(extensions).items():
        if contract == _PRECISION:
            continue
        if contract not in ACTIVATIONS:
            raise UnsupportedError(
                f"the file asks for the compute contract {contract!r}, which this version lacks "
                f"({_WHERE}); it has {', '.join(ACTIVATIONS)}; --compute weight-only does without"
            )
        for where, name, own in _entries(entries, str(contract)):
            if name in found or name not in tensors:
                problem = "has two contracts" if name in found else "is not in the file"
                raise FormatError("E_REF", f"tensor {name!r} {problem}", where=where)
            found[name] = own
    return found


def compute_precision(extensions: Mapping[str, object]) -> Precision:
    """The type of the model's own numbers; FormatError for a word that is none."""
    found = _data(extensions).get(_PRECISION, "float32")
    for known in PRECISIONS:
        if found == known:
            return known
    raise FormatError(
        "E_SCHEMA_TYPE", f"expected one of {', '.join(PRECISIONS)}", where=f"{_WHERE}.{_PRECISION}"
    )


def _data(extensions: Mapping[str, object]) -> Mapping[str, object]:
    """What the extension holds; nothing where there is none."""
    entry = extensions.get(COMPUTE_EXTENSION)
    if entry is None:
        return {}
    data = entry.get("data") if isinstance(entry, Mapping) else None
    if not isinstance(data, Mapping):
        raise FormatError("E_SCHEMA_TYPE", "expected a map of contracts", where=_WHERE)
    return data


def _entries(entries: object, contract: str) -> Iterator[tuple[str, str, MatrixContract]]:
    """Where each entry of a contract stands, the tensor that it names, and what it says of it."""
    where = f"{_WHERE}.{contract}"
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise FormatError("E_SCHEMA_TYPE", "expected an array of names", where=where)
    for index, entry in enumerate(entries):
        place = f"{where}[{index}]"
        if contract in STATIC:
            yield place, *_calibrated(entry, contract, place)
        elif isinstance(entry, str):
            yield place, entry, MatrixContract(contract)
        else:
            raise FormatError("E_SCHEMA_TYPE", "a name is no string", where=place)


def _calibrated(entry: object, contract: str, where: str) -> tuple[str, MatrixContract]:
    """A tensor's name, and its contract with the parameters."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("tensor"), str):
        raise FormatError("E_SCHEMA_TYPE", "expected a map with the name of a tensor", where=where)
    if missing := _KEYS - set(entry):
        raise FormatError("E_SCHEMA_MISSING", f"key {min(missing)!r} is missing", where=where)
    if unknown := set(entry) - _KEYS:
        raise FormatError("E_SCHEMA_UNKNOWN", f"unknown key {min(unknown)!r}", where=where)
    values = {key: value for key, value in entry.items() if key != "tensor"}
    for key, value in values.items():
        kind = float if key in _SCALES else int
        if not isinstance(value, kind) or isinstance(value, bool):
            message = f"expected a{' float' if kind is float else 'n integer'}"
            raise FormatError("E_SCHEMA_TYPE", message, where=f"{where}.{key}")
    try:
        return entry["tensor"], MatrixContract(contract, StaticParameters(**values))
    except SchemeError as error:
        raise FormatError("E_SCHEMA_TYPE", str(error), where=where) from error
