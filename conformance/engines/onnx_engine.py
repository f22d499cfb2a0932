"""ONNX: `onnx_engine.py reference` is the reference evaluator, `runtime` is ONNX Runtime.

Decoding is DequantizeLinear, or MatMulNBits with an identity matrix (ONNX Runtime alone); encoding
with a scale chosen from the data is DynamicQuantizeLinear. Nibbles go in as the bytes of the
tensor, so unpacking is the engine's own.
"""

import sys
from importlib.metadata import version

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from protocol import Table, both, f32, serve, stored

SCHEMES = {
    f"onnx/{kind}[{share}]": (kind, share)
    for kind in ("int4", "uint4", "int8", "uint8", "int16")
    for share in ("sym,channel", "asym,block=16")
}


def run(engine, nodes, inputs, outputs, constants, feeds):
    """The outputs of a graph."""
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in group]
        for group in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "case", *values, constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if engine == "reference":
        return ReferenceEvaluator(model).run(None, feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def linear(engine, kind, share):
    element = getattr(TensorProto, kind.upper())
    blocked = "block" in share

    def decode(planes, shape):
        scale = f32(planes["scales"])
        scale = scale if blocked else scale.reshape(-1)
        parts = [
            helper.make_tensor("q", element, shape, planes["codes"].tobytes(), raw=True),
            numpy_helper.from_array(np.ascontiguousarray(scale), "s"),
        ]
        if "zero_points" in planes:
            zero = planes["zero_points"].tobytes()
            parts.append(helper.make_tensor("z", element, scale.shape, zero, raw=True))
        more = {"axis": 1, "block_size": 16} if blocked else {"axis": 0}
        node = helper.make_node("DequantizeLinear", [p.name for p in parts], ["y"], **more)
        return run(engine, [node], [], [("y", TensorProto.FLOAT, shape)], parts, {})[0]

    return decode


def matmul(bits, block):
    def decode(planes, shape):
        outputs, inputs = shape
        zeros = planes.get("zero_points")
        parts = [
            numpy_helper.from_array(planes["b"], "b"),
            numpy_helper.from_array(f32(planes["scales"]).copy(), "s"),
        ]
        if zeros is not None:
            parts.append(numpy_helper.from_array(zeros.reshape(outputs, -1), "z"))
        node = helper.make_node(
            "MatMulNBits", ["x", *(p.name for p in parts)], ["y"], domain="com.microsoft",
            K=inputs, N=outputs, bits=bits, block_size=block,
        )  # fmt: skip
        x = ("x", TensorProto.FLOAT, [inputs, inputs])
        y = ("y", TensorProto.FLOAT, [inputs, outputs])
        return run("runtime", [node], [x], [y], parts, {"x": np.eye(inputs, dtype="f4")})[0].T

    return decode


def dynamic(engine):
    def decode(planes, shape):
        scale = f32(planes["scales"]).reshape(())
        parts = [
            helper.make_tensor("q", TensorProto.UINT8, shape, planes["codes"].tobytes(), raw=True),
            numpy_helper.from_array(scale, "s"),
            numpy_helper.from_array(planes["zero_points"].reshape(()), "z"),
        ]
        node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
        return run(engine, [node], [], [("y", TensorProto.FLOAT, shape)], parts, {})[0]

    def encode(x, _):
        node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
        kinds = [("y", TensorProto.UINT8, x.shape)]
        kinds += [("s", TensorProto.FLOAT, []), ("z", TensorProto.UINT8, [])]
        feeds = {"x": x}
        y, s, z = run(engine, [node], [("x", TensorProto.FLOAT, x.shape)], kinds, [], feeds)
        return {"codes": y, "scales": stored(s), "zero_points": z}

    return decode, encode


def product(engine):
    def run_product(_, arrays):
        kinds = [
            TensorProto.UINT8 if arrays[k].dtype.kind == "u" else TensorProto.INT8 for k in "ab"
        ]
        a, b = arrays["a"], np.ascontiguousarray(arrays["b"].T)
        node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
        inputs = [("a", kinds[0], a.shape), ("b", kinds[1], b.shape)]
        outputs = [("y", TensorProto.INT32, (len(a), b.shape[1]))]
        return {"accumulators": run(engine, [node], inputs, outputs, [], {"a": a, "b": b})[0]}

    return run_product


def main() -> None:
    engine = sys.argv[1]
    kinds = ("s8s8", "u8s8", "u8u8")
    table: Table = {("integer_matmul", kind): product(engine) for kind in kinds}
    for scheme, settings in SCHEMES.items():
        both(table, scheme, linear(engine, *settings))
    both(table, "onnx/dynamic_uint8", *dynamic(engine))
    if engine == "runtime":
        for bits in (2, 4, 8):
            both(table, f"onnx/matmul{bits}bits[sym,block=32]", matmul(bits, 32))
            both(table, f"onnx/matmul{bits}bits[asym,block=16]", matmul(bits, 16))
        serve("onnxruntime", version("onnxruntime"), "C++", table)
    else:
        serve("onnx reference evaluator", version("onnx"), "Python", table)


if __name__ == "__main__":
    main()
