"""LiteRT: `litert_engine.py builtin` has its optimized kernels, `reference` the plain ones.

Decoding is the operator DEQUANTIZE of a constant tensor, so unpacking is the engine's own. Scales
of tensors are chosen by converters, not by the engine, so it is not asked to encode.
"""

import sys
from importlib.metadata import version

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from protocol import Table, both, f32, serve

RESOLVERS = {
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}
SCHEMES = {
    "tflite/int8[sym,channel]": "INT8",
    "tflite/int8[asym,tensor]": "INT8",
    "tflite/uint8[tensor]": "UINT8",
    "tflite/int16": "INT16",
    "tflite/int4[channel]": "INT4",
    "tflite/uint4[tensor]": "UINT4",
    "tflite/int2[channel]": "INT2",
    "float/f16": "FLOAT16",
}


def tensor(name, shape, kind, buffer=0, quantization=None):
    made = schema.TensorT(shape=list(shape), type=kind, hasRank=True, buffer=buffer)
    made.name = name
    made.quantization = quantization or schema.QuantizationParametersT()
    return made


def model(shape, kind, codes, scale, zero):
    """A model of one operator: DEQUANTIZE of constant codes."""
    held = None
    if scale is not None:
        held = schema.QuantizationParametersT(scale=scale, zeroPoint=zero.astype(np.int64))
        held.quantizedDimension = 0
    tensors = [
        tensor("codes", shape, getattr(schema.TensorType, kind), 1, held),
        tensor("values", shape, schema.TensorType.FLOAT32),
    ]
    operator = schema.OperatorT(inputs=[0], outputs=[1])
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    graph = schema.SubGraphT(tensors=tensors, inputs=[], outputs=[1], operators=[operator])
    raw = np.ascontiguousarray(codes).reshape(-1).view(np.uint8)
    buffers = [schema.BufferT(), schema.BufferT(data=raw)]
    whole = schema.ModelT(version=3, subgraphs=[graph], buffers=buffers)
    code = schema.BuiltinOperator.DEQUANTIZE
    whole.operatorCodes = [
        schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=7)
    ]
    writer = flatbuffers.Builder(1 << 16)
    writer.Finish(whole.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def decoder(resolver, kind):
    def decode(planes, shape):
        scale = f32(planes["scales"]).reshape(-1) if "scales" in planes else None
        zero = np.zeros(0 if scale is None else scale.size, np.int64)
        if "zero_points" in planes:
            stored = planes["zero_points"].reshape(-1)
            zero = stored.view(np.int8) if kind == "INT8" else stored
        codes = planes["codes" if "codes" in planes else "values"]
        interpreter = Interpreter(
            model_content=model(shape, kind, codes, scale, zero),
            experimental_op_resolver_type=resolver,
            num_threads=1,
        )
        interpreter.allocate_tensors()
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return decode


def main() -> None:
    which = sys.argv[1]
    table: Table = {}
    for scheme, kind in SCHEMES.items():
        both(table, scheme, decoder(RESOLVERS[which], kind))
    serve(f"LiteRT {which}", version("ai-edge-litert"), "C++", table)


if __name__ == "__main__":
    main()
