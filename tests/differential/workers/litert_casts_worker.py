"""Runs QUANTIZE or DEQUANTIZE in LiteRT: `litert_casts_worker.py REQUEST.npz ANSWER.npz`.

The request holds `kind` (int8, uint8, int16, int4 or int2), `scale` and `zero` of the tensor or of
each row, and weights `x` to quantize, or `codes` with their `shape`, packed as they are stored.
The answer holds the codes or the values of the engine that `engine` names (builtin or reference).
"""

import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ENGINES = {
    "xnnpack": OpResolverType.BUILTIN,
    "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}


def tensor(shape, kind, buffer, quantization=None):
    made = schema.TensorT(shape=list(shape), type=kind, hasRank=True, buffer=buffer)
    made.name = "t"
    made.quantization = quantization or schema.QuantizationParametersT()
    return made


def model(shape, kind, scale, zero, codes):
    """The bytes of a model with one operator: QUANTIZE, or DEQUANTIZE of constant codes."""
    held = schema.QuantizationParametersT(
        scale=np.asarray(scale, np.float32), zeroPoint=np.asarray(zero, np.int64)
    )
    held.quantizedDimension = 0
    coded = getattr(schema.TensorType, kind.upper())
    real = schema.TensorType.FLOAT32
    quantize = codes is None
    buffers = [schema.BufferT()]
    if quantize:
        tensors = [tensor(shape, real, 0), tensor(shape, coded, 0, held)]
    else:
        buffers.append(schema.BufferT(data=codes.reshape(-1).view(np.uint8)))
        tensors = [tensor(shape, coded, 1, held), tensor(shape, real, 0)]
    graph = schema.SubGraphT(tensors=tensors, inputs=[0] if quantize else [], outputs=[1])
    graph.operators = [schema.OperatorT(inputs=[0], outputs=[1])]
    code = schema.BuiltinOperator.QUANTIZE if quantize else schema.BuiltinOperator.DEQUANTIZE
    graph.operators[0].builtinOptionsType = (
        schema.BuiltinOptions.QuantizeOptions
        if quantize
        else schema.BuiltinOptions.DequantizeOptions
    )
    graph.operators[0].builtinOptions = (
        schema.QuantizeOptionsT() if quantize else schema.DequantizeOptionsT()
    )
    whole = schema.ModelT(version=3, subgraphs=[graph], buffers=buffers)
    whole.operatorCodes = [
        schema.OperatorCodeT(
            deprecatedBuiltinCode=code, builtinCode=code, version=4 if quantize else 7
        )
    ]
    writer = flatbuffers.Builder(1 << 16)
    writer.Finish(whole.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def main():
    asked = dict(np.load(sys.argv[1]))
    x, codes = asked.get("x"), asked.get("codes")
    shape = x.shape if codes is None else asked["shape"].tolist()
    data = model(shape, str(asked["kind"]), asked["scale"], asked["zero"], codes)
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=ENGINES[str(asked["engine"])],
        num_threads=1,
    )
    interpreter.allocate_tensors()
    if x is not None:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.savez(sys.argv[2], found=found)


if __name__ == "__main__":
    main()
