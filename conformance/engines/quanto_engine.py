"""optimum-quanto: weights of 8 bits with a scale for each channel."""

from importlib.metadata import version

import torch
from optimum.quanto import AbsmaxOptimizer, qtypes
from optimum.quanto.tensor.weights import WeightQBytesTensor, quantize_weight
from protocol import Table, both, f32, serve, stored


def main() -> None:
    table: Table = {}
    for name in ("qint8", "qfloat8_e4m3fn", "qfloat8_e4m3fnuz", "qfloat8_e5m2"):
        kind = qtypes[name]

        def decode(planes, shape, kind=kind):
            data = torch.from_numpy(planes["codes"]).reshape(shape).view(kind.dtype)
            scale = torch.from_numpy(f32(planes["scales"]).reshape(-1, 1).copy())
            size = torch.Size(shape)
            made = WeightQBytesTensor(kind, 0, size, (shape[1], 1), data.clone(), scale, None)
            return made.dequantize().numpy()

        def encode(x, _, kind=kind):
            weights = torch.from_numpy(x)
            scale = AbsmaxOptimizer()(weights, qtype=kind, axis=0)
            made = quantize_weight(weights, qtype=kind, axis=0, scale=scale, optimized=False)
            codes = made._data.contiguous().view(torch.uint8).numpy()
            return {"codes": codes, "scales": stored(made._scale.numpy())}

        both(table, f"quanto/{name}[channel]", decode, encode)
    serve("optimum-quanto", version("optimum-quanto"), "Python", table)


if __name__ == "__main__":
    main()
