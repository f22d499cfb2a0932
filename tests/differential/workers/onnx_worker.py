"""Runs ONNX's reference evaluator and ONNX Runtime: `onnx_worker.py REQUEST.npz ANSWER.npz`.

The request holds `kind`. For an integer type it holds weights `x` or codes `q`, `scale`, `zero`
(or none), `axis` and `block`; the answer holds codes and values by both, and the bytes of the code
tensor. For `matmul` the answer is a product with an identity matrix, for `dynamic` the outputs of
DynamicQuantizeLinear for each of the parts of 4 rows, for `quantized` the planes that ONNX Runtime
makes for MatMulNBits.
"""

import sys

import ml_dtypes
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import _pybind_state

NUMPY = {"int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4}


def model(nodes, inputs, outputs, constants, domain=""):
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in group]
        for group in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "compared", *values, constants)
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(found, feeds):
    session = onnxruntime.InferenceSession(
        found.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def decoded(q, scale, zero, kind, axis, block):
    """Values of given codes by both."""
    dtype = np.dtype(NUMPY.get(kind, kind))
    constants = [numpy_helper.from_array(q.astype(dtype), "q"), numpy_helper.from_array(scale, "s")]
    if zero is not None:
        constants.append(numpy_helper.from_array(zero.astype(dtype), "z"))
    more = {"axis": axis} | ({"block_size": block} if block else {})
    node = helper.make_node("DequantizeLinear", [c.name for c in constants], ["y"], **more)
    whole = model([node], [], [("y", TensorProto.FLOAT, q.shape)], constants)
    with np.errstate(all="ignore"):
        values = ReferenceEvaluator(whole).run(None, {})[0]
    return {"values": values, "runtime": run(whole, {})[0]}


def linear(x, scale, zero, kind, axis, block):
    """Codes by the reference; values by both; the bytes of the codes."""
    element = getattr(TensorProto, kind.upper())
    dtype = np.dtype(NUMPY.get(kind, kind))
    constants = [numpy_helper.from_array(scale, "s")]
    if zero is not None:
        constants.append(numpy_helper.from_array(zero.astype(dtype), "z"))
    names = ["s", "z"][: len(constants)]
    more = {"axis": axis} | ({"block_size": block} if block else {})
    more_q = more | {"output_dtype": element} if zero is None else more
    quantize = helper.make_node("QuantizeLinear", ["x", *names], ["q"], **more_q)
    dequantize = helper.make_node("DequantizeLinear", ["q", *names], ["y"], **more)
    whole = model(
        [quantize, dequantize],
        [("x", TensorProto.FLOAT, x.shape)],
        [("q", element, x.shape), ("y", TensorProto.FLOAT, x.shape)],
        constants,
    )
    codes, values = ReferenceEvaluator(whole).run(None, {"x": x})
    raw = numpy_helper.from_array(codes.astype(dtype)).raw_data
    del whole.graph.output[0]
    return {
        "codes": codes.astype(np.int32),
        "values": values,
        "runtime": run(whole, {"x": x})[0],
        "bytes": np.frombuffer(raw, np.uint8),
    }


def dynamic(x):
    """Codes, scale and zero point of every 4 rows, by both."""
    parts = np.split(x, len(x) // 4)
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    kinds = [("y", TensorProto.UINT8, parts[0].shape)]
    kinds += [("s", TensorProto.FLOAT, []), ("z", TensorProto.UINT8, [])]
    whole = model([node], [("x", TensorProto.FLOAT, parts[0].shape)], kinds, [])
    session = onnxruntime.InferenceSession(
        whole.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    reference = ReferenceEvaluator(whole)
    found = {key: [] for key in ("y", "s", "z", "reference_y", "reference_s", "reference_z")}
    for part in parts:
        both = [*session.run(None, {"x": part}), *reference.run(None, {"x": part})]
        for key, array in zip(found, both, strict=True):
            found[key].append(array)
    return {key: np.stack(arrays) for key, arrays in found.items()}


def matmul(asked):
    """The weights, as products with an identity matrix."""
    bits, block = int(asked["bits"]), int(asked["block"])
    planes = [asked[plane] for plane in ("b", "scales", "zero_points")]
    outputs, blocks, _ = planes[0].shape
    inputs = blocks * block
    constants = [
        numpy_helper.from_array(plane, key)
        for key, plane in zip(("b", "s", "z"), planes, strict=True)
        if plane.size
    ]
    node = helper.make_node(
        "MatMulNBits",
        ["x", *(c.name for c in constants)],
        ["y"],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=block,
    )
    whole = model(
        [node],
        [("x", TensorProto.FLOAT, [inputs, inputs])],
        [("y", TensorProto.FLOAT, [inputs, outputs])],
        constants,
        "com.microsoft",
    )
    return run(whole, {"x": np.eye(inputs, dtype=np.float32)})[0].T


def quantized(asked):
    """The planes that ONNX Runtime makes of f32[outputs, inputs]."""
    x, bits, block = asked["x"], int(asked["bits"]), int(asked["block"])
    outputs, inputs = x.shape
    blocks = inputs // block
    codes = np.zeros((outputs, blocks, block * bits // 8), np.uint8)
    scales = np.zeros(outputs * blocks, np.float32)
    zeros = np.zeros((outputs, blocks * bits // 8), np.uint8)
    quantize = getattr(_pybind_state, f"quantize_matmul_{bits}bits")
    turned, symmetric = np.ascontiguousarray(x.T), bool(asked["symmetric"])
    quantize(codes, turned, scales, zeros.reshape(-1), block, outputs, inputs, symmetric)
    return {"b": codes, "scales": scales, "zero_points": zeros}


def main():
    asked = dict(np.load(sys.argv[1]))
    kind = str(asked["kind"])
    if kind == "matmul":
        answer = {"values": matmul(asked)}
    elif kind == "quantized":
        answer = quantized(asked)
    elif kind == "dynamic":
        answer = dynamic(asked["x"])
    else:
        function, first = (linear, "x") if "x" in asked else (decoded, "q")
        given = asked[first], asked["scale"], asked.get("zero")
        answer = function(*given, kind, int(asked["axis"]), int(asked["block"]))
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
