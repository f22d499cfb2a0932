"""OpenVINO on the CPU: its operation Convert, from short floats and to them."""

from importlib.metadata import version

import numpy as np
import openvino
from openvino import opset13 as graph
from protocol import Table, both, serve

TYPES = {
    "float/f16": "f16",
    "float/bf16": "bf16",
    "float/f8_e4m3fn[overflow=saturate]": "f8e4m3",
    "float/f8_e5m2[overflow=saturate]": "f8e5m2",
    "float/f8_e8m0[rounding=nearest]": "f8e8m0",
    "float/f4_e2m1fn": "f4e2m1",
}
CORE = openvino.Core()


def computed(node, *parameters):
    """The request of a graph that ends in a node, ready to be asked."""
    # Products may not be rounded to a shorter type on the way.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Model([node], list(parameters), "one")
    return CORE.compile_model(model, "CPU", precise).create_infer_request()


def decoder(kind):
    def decode(planes, shape):
        stored = openvino.Tensor(getattr(openvino.Type, kind), list(shape))
        stored.data.reshape(-1).view(np.uint8)[:] = planes["values"].reshape(-1)
        request = computed(graph.convert(graph.constant(stored), "f32"))
        request.infer()
        return request.get_output_tensor(0).data

    return decode


def encoder(kind):
    def encode(x, _):
        given = graph.parameter(list(x.shape), openvino.Type.f32)
        request = computed(graph.convert(given, kind), given)
        request.infer([np.ascontiguousarray(x)])
        stored = request.get_output_tensor(0).data
        return {"values": np.ascontiguousarray(stored).reshape(-1).view(np.uint8)}

    return encode


def main() -> None:
    table: Table = {}
    for name, kind in TYPES.items():
        # Zeros become 2**-127 in E8M0, which is another setting than those of the suite's cases.
        both(table, name, decoder(kind), None if kind == "f8e8m0" else encoder(kind))
    serve("OpenVINO", version("openvino"), "C++", table)


if __name__ == "__main__":
    main()
