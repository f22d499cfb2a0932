"""Google AI Edge: recipes for generative models, by the names of litert-torch (ai-edge-torch).

`NAMES` holds what its converter takes for `--quantize`. In Python the classes and functions have
their origin's names, so that code needs another import line and nothing else:

    from refquant.upstream.ai_edge import quant_recipes
    recipe = quant_recipes.full_int8_dynamic_recipe().to_recipe()

Source: litert-torch 0.10.0, `generative/quantize`; names that it dropped, and one that only ever
stood in its documentation (`create_layer_quant_int4_block`), are kept. Dynamic layers take the
activations' contract of XNNPACK, the default delegate of the runtime that executes these files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Final

from refquant.errors import UsageError
from refquant.recipe import Recipe, Rule
from refquant.recipe.roles import Role

__all__ = [
    "NAMES",
    "SUPPORTED",
    "Algorithm",
    "Dtype",
    "GenerativeQuantRecipe",
    "Granularity",
    "LayerQuantRecipe",
    "Mode",
    "QuantConfig",
    "create_layer_quant_dynamic",
    "create_layer_quant_fp16",
    "create_layer_quant_int4_block",
    "create_layer_quant_int8_dynamic",
    "create_layer_quant_int8_weight_only",
    "create_layer_quant_weight_only",
    "full_dynamic_recipe",
    "full_fp16_recipe",
    "full_int8_dynamic_recipe",
    "full_int8_weight_only_recipe",
    "full_weight_only_recipe",
    "quant_config",
    "quant_recipe",
    "quant_recipe_utils",
    "quant_recipes",
]

ACTIVATION: Final = "xnnpack_asymmetric"


class Dtype(Enum):
    """Types of tensors."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


class Algorithm(Enum):
    """How numbers are chosen."""

    MIN_MAX = "min_max"
    FLOAT_CAST = "float_cast"


class Mode(Enum):
    """How layers compute: with integers and activations quantized on the way, or with floats."""

    DYNAMIC_RANGE = "dynamic_range"
    WEIGHT_ONLY = "weight_only"


class Granularity(Enum):
    """Which weights share a scale."""

    NONE = "none"
    CHANNELWISE = "channelwise"
    BLOCKWISE_32 = "blockwise_32"
    BLOCKWISE_64 = "blockwise_64"
    BLOCKWISE_128 = "blockwise_128"
    BLOCKWISE_256 = "blockwise_256"


@dataclass(frozen=True, slots=True)
class LayerQuantRecipe:
    """How one kind of layer is quantized; `verify` raises where the runtime has no such kernel."""

    activation_dtype: Dtype
    weight_dtype: Dtype
    mode: Mode
    algorithm: Algorithm
    granularity: Granularity

    def verify(self) -> None:
        """Raise `UsageError` (a ValueError) for a combination outside of `SUPPORTED`."""
        if self not in SUPPORTED:
            raise UsageError(
                f"AI Edge has no layer with weights {self.weight_dtype.name}, {self.mode.name}, "
                f"{self.algorithm.name}, {self.granularity.name} and activations "
                f"{self.activation_dtype.name}; it has INT8 CHANNELWISE (both modes), FP16 "
                "FLOAT_CAST, and INT4 BLOCKWISE_32 to _256 (DYNAMIC_RANGE)"
            )

    def rule(self, role: Role | tuple[Role, ...] = (), layers: str = "") -> Rule:
        """The same as a rule for some tensors."""
        self.verify()
        is_dynamic = self.mode is Mode.DYNAMIC_RANGE
        return Rule(
            scheme=self.scheme,
            role=role,
            layers=layers,
            compute="dynamic" if is_dynamic else "weight-only",
            activation=ACTIVATION if is_dynamic else "",
        )

    @property
    def scheme(self) -> str:
        """The scheme of the weights."""
        if self.algorithm is Algorithm.FLOAT_CAST:
            return "aeq/fp16"
        width = self.weight_dtype.value
        block = self.granularity.value.partition("_")[2]
        return f"aeq/{width}[sym,block={block}]" if block else f"aeq/{width}[sym,channel]"


def _layer(dtype: Dtype, mode: Mode, granularity: Granularity) -> LayerQuantRecipe:
    cast = dtype is Dtype.FP16
    algorithm = Algorithm.FLOAT_CAST if cast else Algorithm.MIN_MAX
    return LayerQuantRecipe(Dtype.FP32, dtype, mode, algorithm, granularity)


def create_layer_quant_dynamic(
    weight_dtype: Dtype = Dtype.INT8, granularity: Granularity = Granularity.CHANNELWISE
) -> LayerQuantRecipe:
    """Integer weights, activations quantized to int8 token by token."""
    return _layer(weight_dtype, Mode.DYNAMIC_RANGE, granularity)


def create_layer_quant_weight_only(
    weight_dtype: Dtype = Dtype.INT8, granularity: Granularity = Granularity.CHANNELWISE
) -> LayerQuantRecipe:
    """Integer weights that are decoded before they are multiplied."""
    return _layer(weight_dtype, Mode.WEIGHT_ONLY, granularity)


def create_layer_quant_fp16() -> LayerQuantRecipe:
    """Weights cast to float16."""
    return _layer(Dtype.FP16, Mode.WEIGHT_ONLY, Granularity.NONE)


def create_layer_quant_int8_dynamic() -> LayerQuantRecipe:
    """The older name of `create_layer_quant_dynamic()`."""
    return create_layer_quant_dynamic()


def create_layer_quant_int8_weight_only() -> LayerQuantRecipe:
    """The older name of `create_layer_quant_weight_only()`."""
    return create_layer_quant_weight_only()


def create_layer_quant_int4_block(block_size: int) -> LayerQuantRecipe:
    """Four bits in blocks, computed dynamically: 32, 64, 128 or 256 weights share a scale."""
    name = f"BLOCKWISE_{block_size}"
    if name not in Granularity.__members__:
        raise UsageError(f"blocks of {block_size} weights: expected 32, 64, 128 or 256")
    return create_layer_quant_dynamic(Dtype.INT4, Granularity[name])


SUPPORTED: Final = (
    create_layer_quant_dynamic(),
    create_layer_quant_weight_only(),
    create_layer_quant_fp16(),
    *(create_layer_quant_int4_block(size) for size in (32, 64, 128, 256)),
)
"""What the runtime executes, in the origin's order."""


@dataclass(frozen=True, slots=True)
class GenerativeQuantRecipe:
    """Layers of a model by what they do; one recipe, or a dictionary from the layer's index."""

    default: LayerQuantRecipe | None = None
    embedding: LayerQuantRecipe | None = None
    attention: LayerQuantRecipe | Mapping[int, LayerQuantRecipe] | None = None
    feedforward: LayerQuantRecipe | Mapping[int, LayerQuantRecipe] | None = None

    def verify(self) -> None:
        """Raise `UsageError` where a layer cannot be executed, or nothing is quantized at all."""
        self.to_recipe()

    def to_recipe(self) -> Recipe:
        """The origin applies `default` first and lets later ones win; here the first one wins."""
        rules = [
            *_by_layer(self.feedforward, "feedforward"),
            *_by_layer(self.attention, "attention"),
        ]
        if self.embedding is not None:
            rules.append(self.embedding.rule("embedding"))
        if self.default is not None:
            rules.append(self.default.rule())
        if not rules:
            raise UsageError("a GenerativeQuantRecipe without any layer's recipe quantizes nothing")
        return Recipe(rules=tuple(rules), name="ai-edge")


def _by_layer(
    recipe: LayerQuantRecipe | Mapping[int, LayerQuantRecipe] | None, role: Role
) -> list[Rule]:
    if recipe is None:
        return []
    if isinstance(recipe, LayerQuantRecipe):
        return [recipe.rule(role)]
    # An index beyond the model is ignored by the origin; here the rule is reported as unused.
    return [one.rule(role, layers=str(index)) for index, one in sorted(recipe.items())]


@dataclass(frozen=True, slots=True)
class QuantConfig:
    """What a conversion takes; only recipes for generative models are known here."""

    generative_recipe: GenerativeQuantRecipe

    def to_recipe(self) -> Recipe:
        """The recipe of the model."""
        return self.generative_recipe.to_recipe()


def _full(layer: LayerQuantRecipe) -> QuantConfig:
    return QuantConfig(generative_recipe=GenerativeQuantRecipe(default=layer))


def full_dynamic_recipe(
    mcfg: object = None,
    weight_dtype: Dtype = Dtype.INT8,
    granularity: Granularity = Granularity.CHANNELWISE,
) -> QuantConfig:
    """Every layer dynamic; `mcfg`, the origin's model configuration, is not needed."""
    del mcfg
    return _full(create_layer_quant_dynamic(weight_dtype, granularity))


def full_weight_only_recipe(
    mcfg: object = None,
    weight_dtype: Dtype = Dtype.INT8,
    granularity: Granularity = Granularity.CHANNELWISE,
) -> QuantConfig:
    """Every layer weight-only; `mcfg`, the origin's model configuration, is not needed."""
    del mcfg
    return _full(create_layer_quant_weight_only(weight_dtype, granularity))


def full_fp16_recipe(mcfg: object = None) -> QuantConfig:
    """Every matrix cast to float16; `mcfg`, the origin's model configuration, is not needed."""
    del mcfg
    return _full(create_layer_quant_fp16())


def full_int8_dynamic_recipe(mcfg: object = None) -> QuantConfig:
    """The older name of `full_dynamic_recipe`."""
    return full_dynamic_recipe(mcfg)


def full_int8_weight_only_recipe(mcfg: object = None) -> QuantConfig:
    """The older name of `full_weight_only_recipe`."""
    return full_weight_only_recipe(mcfg)


NAMES: Final[Mapping[str, Callable[[], Recipe]]] = {
    "none": lambda: Recipe(rules=(Rule(scheme="keep"),), name="none"),
    "dynamic_int8": lambda: full_dynamic_recipe().to_recipe(),
    "weight_only_int8": lambda: full_weight_only_recipe().to_recipe(),
    "fp16": lambda: full_fp16_recipe().to_recipe(),
    "dynamic_int4_block32": lambda: _full(create_layer_quant_int4_block(32)).to_recipe(),
    "dynamic_int4_block128": lambda: _full(create_layer_quant_int4_block(128)).to_recipe(),
}
"""The values of the converter's `--quantize`."""

# The origin's modules, for code that names them.
quant_config = SimpleNamespace(QuantConfig=QuantConfig)
quant_recipe = SimpleNamespace(
    LayerQuantRecipe=LayerQuantRecipe, GenerativeQuantRecipe=GenerativeQuantRecipe
)
quant_recipes = SimpleNamespace(
    full_dynamic_recipe=full_dynamic_recipe,
    full_weight_only_recipe=full_weight_only_recipe,
    full_fp16_recipe=full_fp16_recipe,
    full_int8_dynamic_recipe=full_int8_dynamic_recipe,
    full_int8_weight_only_recipe=full_int8_weight_only_recipe,
)
quant_recipe_utils = SimpleNamespace(
    create_layer_quant_dynamic=create_layer_quant_dynamic,
    create_layer_quant_weight_only=create_layer_quant_weight_only,
    create_layer_quant_fp16=create_layer_quant_fp16,
    create_layer_quant_int8_dynamic=create_layer_quant_int8_dynamic,
    create_layer_quant_int8_weight_only=create_layer_quant_int8_weight_only,
    create_layer_quant_int4_block=create_layer_quant_int4_block,
)
