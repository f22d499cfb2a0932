"""Runs QUANTIZE, FULLY_CONNECTED, DEQUANTIZE in LiteRT: `litert_static_worker.py REQUEST ANSWER`.

The request, an npz, holds `x` (f32 rows), `codes` (i8 weights [n, k]) with `bits` and `scale`
(f32[n]), perhaps `bias` (i32, or i64 for int16), and `input` and `output` (scale and zero point
of each, as f64) with `kind`, int8 or int16. The answer holds the output of each engine of
`litert_worker.py`, as real numbers.
"""

import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from litert_worker import ENGINES, TYPES, Builder, per_tensor, run, weights

OPERATORS = ("QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE")
VERSIONS = {"QUANTIZE": 4, "FULLY_CONNECTED": 13, "DEQUANTIZE": 7}
OPTIONS = {
    "QUANTIZE": (schema.BuiltinOptions.QuantizeOptions, schema.QuantizeOptionsT),
    "FULLY_CONNECTED": (schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT),
    "DEQUANTIZE": (schema.BuiltinOptions.DequantizeOptions, schema.DequantizeOptionsT),
}


def operator(name, inputs, output):
    made = schema.OperatorT(inputs=inputs, outputs=[output], opcodeIndex=OPERATORS.index(name))
    made.builtinOptionsType, options = OPTIONS[name]
    made.builtinOptions = options()
    return made


def biases(builder, asked):
    bias = asked.get("bias")
    if bias is None:
        return -1
    scales = asked["scale"] * np.float32(asked["input"][0])
    held = schema.QuantizationParametersT(scale=scales, zeroPoint=np.zeros(len(scales), np.int64))
    return builder.tensor(bias.shape, TYPES[bias.dtype], bias.tobytes(), held)


def model(asked):
    """The bytes of a model with the three operators."""
    x, builder = asked["x"], Builder()
    kind, real = TYPES[np.dtype(str(asked["kind"]))], TYPES[np.dtype(np.float32)]
    width = (len(x), len(asked["codes"]))
    first = builder.tensor(x.shape, real)
    given = builder.tensor(x.shape, kind, quantization=per_tensor(asked["input"]))
    held, added = weights(builder, asked), biases(builder, asked)
    taken = builder.tensor(width, kind, quantization=per_tensor(asked["output"]))
    last = builder.tensor(width, real)
    graph = schema.SubGraphT(tensors=builder.tensors, inputs=[first], outputs=[last])
    graph.operators = [
        operator("QUANTIZE", [first], given),
        operator("FULLY_CONNECTED", [given, held, added], taken),
        operator("DEQUANTIZE", [taken], last),
    ]
    whole = schema.ModelT(version=3, subgraphs=[graph], buffers=builder.buffers)
    whole.operatorCodes = [
        schema.OperatorCodeT(
            deprecatedBuiltinCode=getattr(schema.BuiltinOperator, name),
            builtinCode=getattr(schema.BuiltinOperator, name),
            version=VERSIONS[name],
        )
        for name in OPERATORS
    ]
    writer = flatbuffers.Builder(1 << 16)
    writer.Finish(whole.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def main():
    asked = dict(np.load(sys.argv[1]))
    data, answer = model(asked), {}
    for engine in ENGINES:
        try:
            answer[engine] = run(data, engine, asked["x"])
        except (RuntimeError, ValueError) as error:
            answer[f"refused_{engine}"] = str(error)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
