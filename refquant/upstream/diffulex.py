"""DiffuLex Edge: its quantizers under their own names, for torch modules.

    from refquant.upstream.diffulex import INT8Quantizer, QuantizationConfig, QuantizationDtype

    result = INT8Quantizer().quantize(model, QuantizationConfig(dtype=QuantizationDtype.INT8))
    print(result.compression_ratio)

What differs from the origin, and why: `group_size` is a field of QuantizationConfig and is obeyed
(there it is documented and refused, and groups are always 32); every result states both ratios
(there some leave one out), as keys of `metrics` and as attributes; the given model is not changed.
`XNNPACKBackend.export` has no counterpart: it compiles for ExecuTorch, which is no matter of
weights. The tensors of `quantize` go into `.rq` with `refquant.formats.rq`.

Source: luozixin2/Diffulex, branch edge at 5069309, diffulex_edge/quant.
"""

import copy
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from refquant.convert_torch import from_state_dict, to_module
from refquant.errors import UsageError
from refquant.recipe.read import suggestion
from refquant.schemes import scheme as find_scheme

__all__ = [
    "FP16Quantizer",
    "INT4Quantizer",
    "INT8Quantizer",
    "QuantizationConfig",
    "QuantizationDtype",
    "QuantizationMode",
    "QuantizationResult",
    "get_model_compression_ratio",
    "is_fp16_available",
    "is_int4_available",
    "is_int8_available",
    "quantize_model",
]


Module = Any
"""A torch.nn.Module; only convert_torch imports torch."""


class QuantizationDtype(Enum):
    """What weights become."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


class QuantizationMode(Enum):
    """When activations are quantized; the weights are the same in all modes."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    WEIGHT_ONLY = "weight_only"
    QAT = "qat"


@dataclass(slots=True)
class QuantizationConfig:
    """What is quantized and how.

    `exclude_layers` are parts of layers' names, in any case; `preserve_precision_layers` parts of
    their classes' names. `group_size` is for INT4.
    """

    dtype: QuantizationDtype | str = QuantizationDtype.INT8
    mode: QuantizationMode | str = QuantizationMode.WEIGHT_ONLY
    exclude_layers: Sequence[str] = ("lm_head", "norm", "embedding")
    preserve_precision_layers: Sequence[str] = ("layernorm", "rmsnorm", "softmax")
    group_size: int = 32

    def __post_init__(self) -> None:
        self.dtype = _member(QuantizationDtype, self.dtype, "dtype")
        self.mode = _member(QuantizationMode, self.mode, "mode")
        if self.group_size not in (32, 64, 128, 256):
            raise UsageError(f"group_size is {self.group_size}, expected 32, 64, 128 or 256")


@dataclass(frozen=True, slots=True)
class QuantizationResult:
    """The quantized copy of a model, and what that saved."""

    model: Module
    metrics: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    success: bool = True
    fallback_used: bool = False

    @property
    def memory_reduction_pct(self) -> float:
        """How many percent of the bytes are gone."""
        return self.metrics["memory_reduction_pct"]

    @property
    def compression_ratio(self) -> float:
        """Bytes before over bytes after."""
        return self.metrics["compression_ratio"]


@dataclass(frozen=True, slots=True)
class _Quantizer:
    """Layers of some classes get a scheme; `scheme` may hold `{group}`."""

    scheme: str = ""
    classes: tuple[str, ...] = ("Linear",)
    dtype: QuantizationDtype = QuantizationDtype.INT8

    def quantize(
        self, model: Module, config: QuantizationConfig | None = None
    ) -> QuantizationResult:
        """A quantized copy of the model; layers that the scheme does not fit are warned of."""
        config = config or QuantizationConfig(dtype=self.dtype)
        if config.dtype != self.dtype:
            name = getattr(config.dtype, "name", config.dtype)
            raise UsageError(f"{type(self).__name__} was given a configuration for {name}")
        return _result(model, *self._quantized(model, config))

    def _quantized(self, model: Module, config: QuantizationConfig) -> tuple[Module, list[str]]:
        scheme = find_scheme(self.scheme.format(group=config.group_size))
        weights, warnings = {}, []
        for name, layer in _taken(model, config):
            if type(layer).__name__ not in self.classes:
                continue
            reason = scheme.why_not(tuple(layer.weight.shape))
            if reason:
                warnings.append(f"{name} stays as it is: {reason}")
            else:
                weights[f"{name}.weight"] = layer.weight
        tensors = from_state_dict(weights, scheme.name)
        return to_module(model, tensors, integers=True), warnings


@dataclass(frozen=True, slots=True)
class INT8Quantizer(_Quantizer):
    """Rows of 8 bits: scale = largest magnitude / 127, in linear and embedding layers."""

    scheme: str = "diffulex/int8"
    classes: tuple[str, ...] = ("Linear", "Embedding")
    dtype: QuantizationDtype = QuantizationDtype.INT8


@dataclass(frozen=True, slots=True)
class INT4Quantizer(_Quantizer):
    """torchao's groups of 4 bits in linear layers, without torchao."""

    scheme: str = "torchao/int4_tinygemm[group={group}]"
    dtype: QuantizationDtype = QuantizationDtype.INT4


@dataclass(frozen=True, slots=True)
class FP16Quantizer(_Quantizer):
    """Everything in float16 but the excluded layers."""

    dtype: QuantizationDtype = QuantizationDtype.FP16

    def _quantized(self, model: Module, config: QuantizationConfig) -> tuple[Module, list[str]]:
        copied = copy.deepcopy(model)
        for _, layer in _taken(copied, config):
            if not list(layer.children()):
                layer.half()
        return copied, []


QUANTIZERS: Final[Mapping[QuantizationDtype | str, type[_Quantizer]]] = {
    QuantizationDtype.FP16: FP16Quantizer,
    QuantizationDtype.INT8: INT8Quantizer,
    QuantizationDtype.INT4: INT4Quantizer,
}


def quantize_model(
    model: Module, dtype: QuantizationDtype | str = "int8", mode: str = "weight_only"
) -> Module:
    """A copy of the model in FP16, INT8 or INT4, with the defaults of QuantizationConfig."""
    config = QuantizationConfig(dtype=dtype, mode=mode)
    if config.dtype not in QUANTIZERS:
        raise UsageError("dtype is 'fp32', which quantizes nothing; expected fp16, int8 or int4")
    return QUANTIZERS[config.dtype]().quantize(model, config).model


def get_model_compression_ratio(original: Module, quantized: Module) -> float:
    """Bytes of parameters and buffers before over those after."""
    return _nbytes(original) / _nbytes(quantized)


def is_fp16_available() -> bool:
    """True if torch is there, which is all that these quantizers need."""
    return importlib.util.find_spec("torch") is not None


def is_int8_available() -> bool:
    """True if torch is there."""
    return is_fp16_available()


def is_int4_available() -> bool:
    """True if torch is there; torchao and its kernels are not needed."""
    return is_fp16_available()


def _member(kind: type[Enum], value: Any, name: str) -> Any:
    """A member of an enumeration, by itself or by its value in any case."""
    if isinstance(value, kind):
        return value
    known = [str(one.value) for one in kind]
    if str(value).lower() not in known:
        hint = suggestion(str(value), known)
        raise UsageError(f"{name} is {value!r}{hint}, expected one of {', '.join(known)}")
    return kind(str(value).lower())


def _taken(model: Module, config: QuantizationConfig) -> Iterable[tuple[str, Any]]:
    """The layers that the configuration does not leave out, by name."""
    excluded = [part.lower() for part in config.exclude_layers]
    preserved = [part.lower() for part in config.preserve_precision_layers]
    for name, layer in model.named_modules():
        kind = type(layer).__name__.lower()
        if not any(part in name.lower() for part in excluded) and not any(
            part in kind for part in preserved
        ):
            yield name, layer


def _nbytes(model: Module) -> int:
    return sum(one.numel() * one.element_size() for one in (*model.parameters(), *model.buffers()))


def _result(model: Module, quantized: Module, warnings: Sequence[str]) -> QuantizationResult:
    before, after = _nbytes(model), _nbytes(quantized)
    metrics = {
        "original_bytes": float(before),
        "quantized_bytes": float(after),
        "memory_reduction_pct": (before - after) / before * 100,
        "compression_ratio": before / after,
    }
    return QuantizationResult(quantized, metrics, tuple(warnings))
