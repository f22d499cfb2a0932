"""Runs one fully connected layer in LiteRT: `litert_worker.py REQUEST.npz ANSWER.npz`.

The request holds `x` (f32, i8 or i16 rows), `codes` (i8 weights [n, k]), `bits` (8, 4 or 2) and
`scale` (f32[n], or f16[n, blocks] for weights in blocks); it may hold `bias`, `asymmetric` (the
flag `asymmetric_quantize_inputs`) and, where x holds codes, `input` and `output` (scale and zero
point of each). The answer holds the output of each engine: `xnnpack` (the default delegate),
`builtin` (optimized kernels) and `reference` (reference kernels); an engine that refuses the model
is missing, and its message stands in `refused_ENGINE`. `model` are the bytes that it ran; with
`version` (of the operator, 13 without) they can be those of an older release.
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
WEIGHTS = {8: schema.TensorType.INT8, 4: schema.TensorType.INT4, 2: schema.TensorType.INT2}
TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}


def packed(codes, bits):
    """Codes as LiteRT stores them: the first in the lowest bits."""
    if bits == 8:
        return codes.tobytes()
    fields = (codes.reshape(-1).view(np.uint8) & ((1 << bits) - 1)).reshape(-1, 8 // bits)
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    return np.bitwise_or.reduce(fields << shifts, axis=1).astype(np.uint8).tobytes()


class Builder:
    """Tensors and buffers of the one subgraph."""

    def __init__(self):
        self.buffers = [schema.BufferT()]
        self.tensors = []

    def tensor(self, shape, kind, data=None, quantization=None):
        made = schema.TensorT(shape=list(shape), type=kind, hasRank=True)
        made.name = f"t{len(self.tensors)}"
        made.quantization = quantization or schema.QuantizationParametersT()
        if data is not None:
            made.buffer = len(self.buffers)
            self.buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        self.tensors.append(made)
        return len(self.tensors) - 1


def per_tensor(pair):
    return schema.QuantizationParametersT(
        scale=np.asarray(pair[:1], np.float32), zeroPoint=np.asarray(pair[1:], np.int64)
    )


def weights(builder, asked):
    codes, bits, scale = asked["codes"], int(asked["bits"]), asked["scale"]
    quantization = schema.QuantizationParametersT(quantizedDimension=0)
    if scale.dtype == np.float16:
        made = schema.BlockwiseQuantizationT(zeroPoints=-1)
        made.blockSize = codes.shape[1] // scale.shape[1]
        made.scales = builder.tensor(scale.shape, TYPES[scale.dtype], scale.tobytes())
        quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        quantization.details = made
    else:
        quantization.scale = scale
        quantization.zeroPoint = np.zeros(len(scale), np.int64)
    return builder.tensor(codes.shape, WEIGHTS[bits], packed(codes, bits), quantization)


def model(asked):
    """The bytes of a model with one FULLY_CONNECTED."""
    x, codes, builder = asked["x"], asked["codes"], Builder()
    static = x.dtype != np.float32
    given = per_tensor(asked["input"]) if static else None
    taken = per_tensor(asked["output"]) if static else None
    inputs = [builder.tensor(x.shape, TYPES[x.dtype], quantization=given)]
    inputs.append(weights(builder, asked))
    bias = asked.get("bias")
    if bias is not None:
        held = None
        if static:
            scales = asked["scale"] * np.float32(asked["input"][0])
            zeros = np.zeros(len(scales), np.int64)
            held = schema.QuantizationParametersT(scale=scales, zeroPoint=zeros)
        inputs.append(builder.tensor(bias.shape, TYPES[bias.dtype], bias.tobytes(), held))
    else:
        inputs.append(-1)
    output = builder.tensor((len(x), len(codes)), TYPES[x.dtype], quantization=taken)
    operator = schema.OperatorT(inputs=inputs, outputs=[output])
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT(
        asymmetricQuantizeInputs=bool(asked.get("asymmetric", False))
    )
    graph = schema.SubGraphT(tensors=builder.tensors, inputs=[0], outputs=[output])
    graph.operators = [operator]
    code = schema.BuiltinOperator.FULLY_CONNECTED
    whole = schema.ModelT(version=3, subgraphs=[graph], buffers=builder.buffers)
    whole.operatorCodes = [
        schema.OperatorCodeT(
            deprecatedBuiltinCode=code, builtinCode=code, version=int(asked.get("version", 13))
        )
    ]
    writer = flatbuffers.Builder(1 << 16)
    writer.Finish(whole.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def run(data, engine, x):
    interpreter = Interpreter(
        model_content=data, experimental_op_resolver_type=ENGINES[engine], num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def main():
    asked = dict(np.load(sys.argv[1]))
    data = model(asked)
    answer = {"model": np.frombuffer(data, np.uint8)}
    for engine in ENGINES:
        try:
            answer[engine] = run(data, engine, asked["x"])
        except (RuntimeError, ValueError) as error:
            answer[f"refused_{engine}"] = str(error)
    np.savez(sys.argv[2], **answer)


if __name__ == "__main__":
    main()
