"""Where float32 may round inside any network written in torch, and how far that can reach.

`Marks` is a mode under which a float64 network runs. It lets every operation add a number of its
own that is zero; the derivative of a result with respect to these numbers, times how large the
rounding errors there can be, sums up to a bound of the result's float32 error, to first order:

    |float32(y) - y| <= u sum_r |dy / d r| c_r,    u = 2**-24.

c_r follows from the operation alone (Higham, Accuracy and Stability, chapter 3): one rounding of a
sum or product y has c = |y|; a sum of n products, in any order, n sum |x| |w|; a function whose
value is within so many units in the last place twice as many |y|. An operation without a rule here
is an error, so no rounding can be forgotten. Constants are binary32 as well: one rounding more.

Whoever computes angles in float32 is off by more than one rounding of their sines, and whoever
looks GELU up in a table for float16 by that type's roundings. Such marks are summed apart: `bounds`
gives a bound without them, one with angles in float32, and one with both.
"""

import torch
from torch.overrides import TorchFunctionMode

U = 2.0**-24
EXP = 8.0
# A float32 angle: the power's and the product's rounding, each a few units, and the position's.
ANGLE = 12.0
# What is not linear in the errors is smaller by the errors themselves, a factor below 2**-6.
BEYOND = 1 + 2.0**-6

# What moves numbers, picks among them or negates them.
EXACT = frozenset(
    {"__getitem__", "cat", "clamp", "contiguous", "dropout", "embedding", "expand", "expand_as"}
    | {"float", "neg", "ones_like", "reshape", "tensor", "to", "transpose", "type", "type_as"}
    | {"unsqueeze", "view", "where", "zeros_like"}
)


def _one(y, args, _kwargs):
    scalar = any(isinstance(value, float) for value in args)
    return y.abs() * (2 if scalar else 1)


def _dot(y, args, kwargs):
    x, w = args[0].detach(), args[1].detach()
    if kwargs.get("_transposed"):
        w = w.transpose(-1, -2)
    # Two more, because the scale of attention may be taken before the product as well as after.
    return (x.shape[-1] + 2) * (x.abs() @ w.abs())


def _linear(y, args, kwargs):
    reach = _dot(y, args, {"_transposed": True})
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    return reach if bias is None else reach + y.abs()


def _addmm(y, args, _kwargs):
    return _dot(y, args[1:], {}) + y.abs()


def _reduction(more):
    def reach(y, args, kwargs):
        x = args[0].detach()
        axis = args[1] if len(args) > 1 else kwargs.get("dim")
        keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
        if axis is None:
            return (x.numel() + more) * x.abs().mean() * (1 if more else x.numel())
        spread = x.abs().mean(axis, keepdim=keep) if more else x.abs().sum(axis, keepdim=keep)
        return (x.shape[axis] + more) * spread

    return reach


def _ulps(count):
    return lambda y, _args, _kwargs: count * y.abs()


def _softmax(y, args, _kwargs):
    x = args[0].detach()
    shift = torch.where(y > 0, (x - x.amax(-1, keepdim=True)).abs() + EXP, 0.0)
    return y * (shift + (y * shift).sum(-1, keepdim=True) + x.shape[-1] + 1)


def _layer_norm(y, args, kwargs):
    x, weight = args[0].detach(), (args[2] if len(args) > 2 else kwargs["weight"]).detach()
    bias = (args[3] if len(args) > 3 else kwargs["bias"]).detach()
    n = x.shape[-1]
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    moved = (n + 1) * x.abs().mean(-1, keepdim=True) + (x - mean).abs()
    spread = (n + 5) * (1 + mean**2 / variance)
    return weight.abs() / variance.sqrt() * moved + (y - bias).abs() * spread + y.abs()


def _gelu(y, args, _kwargs):
    return EXP * args[0].detach().abs() + y.abs()


RULES = {
    **dict.fromkeys(("add", "sub", "mul", "div", "div_", "index_add_"), _one),
    "matmul": _dot,
    "linear": _linear,
    "addmm": _addmm,
    "mean": _reduction(1),
    "sum": _reduction(0),
    "pow": _ulps(4),
    "rsqrt": _ulps(3),
    "tanh": _ulps(EXP),
    "sigmoid": _ulps(EXP + 2),
    "silu": _ulps(EXP + 2),
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
}


class Wide(TorchFunctionMode):
    """Computes in float64 whatever types are asked for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") == "float":
            function = torch.Tensor.double
        return function(*_wide(args), **_wide(kwargs or {}))


class Marks(Wide):
    """The same, and marks every rounding."""

    def __init__(self):
        super().__init__()
        self.places, self.reaches, self.angles, self.halves = [], [], [], []
        # How many roundings of one size a reach is the sum of.
        self.counts = []
        self.turning, self.angle = False, None

    def watch_angles(self, rotary):
        """Let a module that makes cosines and sines be marked by its results alone."""
        inner = rotary.forward

        def forward(*args, **kwargs):
            self.turning = True
            parts = inner(*args, **kwargs)
            self.turning = False
            # Rounded once, or twice where a size multiplies them.
            far = ANGLE * self.angle + EXP
            self.counts += [1] * len(parts)
            return tuple(self._add(part, 2 * torch.ones_like(part), angle=far) for part in parts)

        rotary.forward = forward

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", str(function))
        y = super().__torch_function__(function, types, args, kwargs)
        if self.turning and name == "cos":
            self.angle = args[0].abs()
        plain = not isinstance(y, torch.Tensor) or not y.is_floating_point()
        if plain or self.turning or name in EXACT:
            return y
        if name not in RULES:
            raise LookupError(f"no rule for rounding in {name}")
        reach = RULES[name](y.detach(), _wide(args), _wide(kwargs or {})).expand_as(y)
        # Rounding to float16 before and after; GELU is nowhere steeper than 1.13.
        x = args[0].detach() if name == "gelu" else None
        half = None if x is None else 2.0**13 * (1.13 * x.abs() + y.detach().abs()) + 1
        terms = {"matmul": 0, "linear": 0, "addmm": 1}.get(name)
        self.counts.append(1 if terms is None else args[terms].shape[-1])
        return self._add(y, reach, half=half, inplace=name == "index_add_")

    def _add(self, y, reach, *, angle=None, half=None, inplace=False):
        place = torch.zeros_like(y, requires_grad=True)
        self.places.append(place)
        self.reaches.append(reach)
        nothing = torch.zeros_like(reach)
        self.angles.append(nothing if angle is None else angle.expand_as(reach))
        self.halves.append(nothing if half is None else half)
        return y.add_(place) if inplace else y + place

    def _adjoints(self, flat):
        unit = torch.eye(len(flat), dtype=flat.dtype)
        found = torch.autograd.grad(
            flat, self.places, unit, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        for number, adjoint in enumerate(found):
            if adjoint is not None:
                yield number, adjoint.abs().reshape(len(flat), -1)

    def bounds(self, y):
        """For every element of `y` the three bounds, each larger than the one before."""
        flat = y.reshape(-1)
        sums = torch.zeros(3, len(flat), dtype=flat.dtype)
        for number, sizes in self._adjoints(flat):
            for row, marks in enumerate((self.reaches, self.angles, self.halves)):
                sums[row] += sizes @ marks[number].reshape(-1)
        return (U * BEYOND * sums.cumsum(0)).reshape(3, *y.shape).detach()

    def probable(self, y):
        """For every element a bound that holds with probability 1 - 2 exp(-18).

        By Hoeffding's inequality, if roundings are independent with mean zero (the model of Higham
        and Mary, 2019); for networks so deep that all worst cases at once say nothing.
        """
        flat = y.reshape(-1)
        square = torch.zeros(len(flat), dtype=flat.dtype)
        for number, sizes in self._adjoints(flat):
            square += sizes**2 @ self.reaches[number].reshape(-1) ** 2 / self.counts[number]
        return (6 * U * BEYOND * square.sqrt()).reshape(y.shape).detach()


def _wide(value):
    if value is torch.float32:
        return torch.float64
    if isinstance(value, (tuple, list)):
        return type(value)(_wide(one) for one in value)
    if isinstance(value, dict):
        return {key: _wide(one) for key, one in value.items()}
    return value
