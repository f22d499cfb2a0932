"""Runs ONNX's reference evaluator and ONNX Runtime: `onnx_worker.py REQUEST.npz ANSWER.npz`.

The request holds weights `x`, `names`, and for each name `<name>.scale`, `<name>.zero` (or none),
and a row of `settings` (type, axis, block). The answer holds codes and values by both, and the
bytes of the code tensor. For `matmul` names it holds products with an identity matrix, for
`dynamic` the outputs of DynamicQuantizeLinear for each of the parts of 4 rows.
"""

import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

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
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    kinds = [("y", TensorProto.UINT8, x.shape), ("s", TensorProto.FLOAT, []), ("z", 2, [])]
    whole = model([node], [("x", TensorProto.FLOAT, x.shape)], kinds, [])
    mine = dict(zip(("y", "s", "z"), run(whole, {"x": x}), strict=True))
    reference = ReferenceEvaluator(whole).run(None, {"x": x})
    return mine | {f"reference_{k}": v for k, v in zip("ysz", reference, strict=True)}


def matmul(asked, name, bits, block):
    """The weights, as products with an identity matrix."""
    planes = [asked[f"{name}.{plane}"] for plane in ("b", "scales", "zero_points")]
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


def main():
    asked = np.load(sys.argv[1])
    x, answer = asked["x"], {"version": onnx.__version__}
    for name, row in zip(asked["names"], asked["settings"], strict=True):
        kind, axis, block = str(row[0]), int(row[1]), int(row[2])
        if kind.startswith("matmul"):
            answer[f"{name}.values"] = matmul(asked, name, axis, block)
            continue
        zero = asked.get(f"{name}.zero", None)
        found = linear(x, asked[f"{name}.scale"], zero, kind, axis, block)
        answer |= {f"{name}.{key}": value for key, value in found.items()}
    parts = [dynamic(part) for part in np.split(x, len(x) // 4)]
    answer |= {f"dynamic.{key}": np.stack([part[key] for part in parts]) for key in parts[0]}
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
