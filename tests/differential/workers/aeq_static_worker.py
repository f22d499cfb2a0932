"""AI Edge Quantizer's static layers: `aeq_static_worker.py REQUEST.npz ANSWER.npz`.

The request holds `kind` (int8 or int16), real `weights` [n, k], rows `x` that are also what the
layer is calibrated with, and perhaps a real `bias`; the package makes of them a static
FULLY_CONNECTED. The answer holds its `input` and `output` (scale and zero point of each), `met`,
the range of the output that it was calibrated with, the weights' `codes` and `scale`, the bias's
codes `added`, the codes `x_codes` that the package makes of x, and each engine's output codes. A
request with `ranges`, f32[r, 2], is answered by the parameters alone: `scale` and `zero_point`.
"""

import sys

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping, quantizer, recipe
from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as uniform
from litert_worker import ENGINES, TYPES, Builder, run

RECIPES = {"int8": recipe.static_wi8_ai8, "int16": recipe.static_wi8_ai16}
KINDS = {"int8": np.int8, "int16": np.int16}
REAL = TYPES[np.dtype(np.float32)]
SIGNATURE = "serving_default"


def real_model(x, weights, bias):
    """The bytes of a model of one FULLY_CONNECTED of real numbers."""
    builder = Builder()
    inputs = [builder.tensor(x.shape, REAL)]
    inputs.append(builder.tensor(weights.shape, REAL, weights.tobytes()))
    inputs.append(-1 if bias is None else builder.tensor(bias.shape, REAL, bias.tobytes()))
    output = builder.tensor((len(x), len(weights)), REAL)
    operator = schema.OperatorT(inputs=inputs, outputs=[output])
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT(tensors=builder.tensors, inputs=[0], outputs=[output])
    graph.operators = [operator]
    signature = schema.SignatureDefT(signatureKey=SIGNATURE, subgraphIndex=0)
    signature.inputs = [schema.TensorMapT(name="x", tensorIndex=0)]
    signature.outputs = [schema.TensorMapT(name="y", tensorIndex=output)]
    code = schema.BuiltinOperator.FULLY_CONNECTED
    whole = schema.ModelT(
        version=3, subgraphs=[graph], buffers=builder.buffers, signatureDefs=[signature]
    )
    whole.operatorCodes = [
        schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=13)
    ]
    writer = flatbuffers.Builder(1 << 16)
    writer.Finish(whole.Pack(writer), b"TFL3")
    return bytes(writer.Output())


def pair(tensor):
    found = tensor.quantization
    return np.array([found.scale[0], found.zeroPoint[0]], np.float64)


def layer(asked):
    kind = str(asked["kind"])
    x, bias = asked["x"], asked.get("bias")
    chosen = quantizer.Quantizer(bytearray(real_model(x, asked["weights"], bias)), RECIPES[kind]())
    ranges = chosen.calibrate({SIGNATURE: [{"x": x}]})
    data = bytes(chosen.quantize(ranges).quantized_model)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    tensors = model.subgraphs[0].tensors
    assert len(model.subgraphs[0].operators) == 1

    def stored(tensor, dtype):
        """Larger buffers stand behind the flatbuffer."""
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None:
            return np.frombuffer(bytes(buffer.data), dtype)
        return np.frombuffer(data[buffer.offset : buffer.offset + buffer.size], dtype)

    given, taken = pair(tensors[0]), pair(tensors[-1])
    held = qtyping.UniformQuantParams(
        num_bits=8 if kind == "int8" else 16,
        quantized_dimension=None,
        scale=np.float32(given[:1]).reshape(1, 1),
        zero_point=given[1:].astype(np.int64).reshape(1, 1),
        symmetric=kind == "int16",
    )
    answer = {
        "input": given,
        "output": taken,
        "met": np.array([ranges[tensors[-1].name.decode()][end].item() for end in ("min", "max")]),
        "codes": stored(tensors[1], np.int8).reshape(asked["weights"].shape),
        "scale": tensors[1].quantization.scale,
        "x_codes": uniform.uniform_quantize(x, held),
    }
    if bias is not None:
        answer["added"] = stored(tensors[2], np.int32 if kind == "int8" else np.int64)
    for engine in ENGINES:
        answer[engine] = run(data, engine, answer["x_codes"])
    return answer


def parameters(asked):
    """Of each range, as the package computes those of a tensor."""
    bits = 8 if str(asked["kind"]) == "int8" else 16
    zeros, scales = zip(
        *(
            uniform.tensor_zp_scale_from_min_max(
                low.reshape(1, 1),
                high.reshape(1, 1),
                bits,
                symmetric=bits == 16,
                granularity=qtyping.QuantGranularity.TENSORWISE,
            )
            for low, high in asked["ranges"]
        ),
        strict=True,
    )
    return {"scale": np.concatenate(scales)[:, 0], "zero_point": np.concatenate(zeros)[:, 0]}


def main():
    asked = dict(np.load(sys.argv[1]))
    np.savez(sys.argv[2], **(parameters(asked) if "ranges" in asked else layer(asked)))


if __name__ == "__main__":
    main()
