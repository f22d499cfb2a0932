// ONNX Runtime Web: the package of that name under Node, its WebAssembly kernels on one thread.
//
// Models are written here as bytes of protocol buffers, so that nothing but the package is needed.
// REFQUANT_NODE_MODULES names the folder in which it is installed.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { serve, Unsupported } from "../kits/javascript/rq_adapter.mjs";

const modules = process.env.REFQUANT_NODE_MODULES;
const require = createRequire(resolve(modules ?? ".", "any.js"));
const ort = require("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";

const FLOAT = 1, UINT8 = 2, INT8 = 3, INT16 = 5, INT32 = 6, UINT4 = 21, INT4 = 22;
const KINDS = { int4: INT4, uint4: UINT4, int8: INT8, uint8: UINT8, int16: INT16 };

const varint = (n) => {
  const out = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n & 127) | 128);
  return [...out, n];
};
const joined = (parts) => Uint8Array.from(parts.flatMap((one) => Array.from(one)));
const number = (field, n) => [...varint(field * 8), ...varint(n)];
const bytes = (field, raw) => joined([varint(field * 8 + 2), varint(raw.length), raw]);
const text = (field, word) => bytes(field, new TextEncoder().encode(word));

const tensor = (name, kind, shape, raw) =>
  joined([...shape.map((n) => number(1, n)), number(2, kind), text(8, name), bytes(9, raw)]);
const value = (name, kind, shape) => {
  const sizes = joined(shape.map((n) => bytes(1, joined([number(1, n)]))));
  const type = joined([number(1, kind), bytes(2, sizes)]);
  return joined([text(1, name), bytes(2, bytes(1, type))]);
};
const attribute = ([name, n]) => joined([text(1, name), number(3, n), number(20, 2)]);
const node = (op, inputs, outputs, attributes, domain = "") =>
  joined([
    ...inputs.map((one) => text(1, one)),
    ...outputs.map((one) => text(2, one)),
    text(4, op),
    ...Object.entries(attributes).map((one) => bytes(5, attribute(one))),
    text(7, domain),
  ]);

async function run(graph, feeds) {
  const opsets = [["", 21], ["com.microsoft", 1]].map(([domain, n]) =>
    bytes(8, joined([text(1, domain), number(2, n)])));
  const body = joined([
    bytes(1, graph.node),
    text(2, "case"),
    ...graph.constants.map((one) => bytes(5, one)),
    ...graph.inputs.map((one) => bytes(11, one)),
    ...graph.outputs.map((one) => bytes(12, one)),
  ]);
  const model = joined([number(1, 10), bytes(7, body), ...opsets]);
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

function linear(kind, share) {
  const blocked = share.includes("block");
  return async ({ params, inputs }) => {
    const { shape } = params;
    const groups = blocked ? [shape[0], shape[1] / 16] : [shape[0]];
    const constants = [
      tensor("q", KINDS[kind], shape, inputs.codes),
      tensor("s", FLOAT, groups, inputs.scales),
    ];
    const names = ["q", "s"];
    if (inputs.zero_points) {
      constants.push(tensor("z", KINDS[kind], groups, inputs.zero_points));
      names.push("z");
    }
    const attributes = blocked ? { axis: 1, block_size: 16 } : { axis: 0 };
    const found = await run({
      node: node("DequantizeLinear", names, ["y"], attributes),
      constants, inputs: [], outputs: [value("y", FLOAT, shape)],
    }, {});
    return { values: found.y.data };
  };
}

function weightOnly(bits, block) {
  return async ({ params, inputs }) => {
    const [rows, columns] = params.shape;
    const groups = columns / block;
    const constants = [
      tensor("b", UINT8, [rows, groups, (block * bits) / 8], inputs.b),
      tensor("s", FLOAT, [rows, groups], inputs.scales),
    ];
    const names = ["x", "b", "s"];
    if (inputs.zero_points) {
      constants.push(tensor("z", UINT8, [rows, inputs.zero_points.length / rows], inputs.zero_points));
      names.push("z");
    }
    const identity = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++) identity[i * columns + i] = 1;
    const attributes = { K: columns, N: rows, bits, block_size: block };
    const found = await run({
      node: node("MatMulNBits", names, ["y"], attributes, "com.microsoft"),
      constants, inputs: [value("x", FLOAT, [columns, columns])],
      outputs: [value("y", FLOAT, [columns, rows])],
    }, { x: new ort.Tensor("float32", identity, [columns, columns]) });
    const values = new Float32Array(rows * columns);
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) values[i * columns + j] = found.y.data[j * rows + i];
    return { values };
  };
}

async function dynamic({ op, params, inputs }) {
  if (op === "decode") {
    const found = await run({
      node: node("DequantizeLinear", ["q", "s", "z"], ["y"], {}),
      constants: [
        tensor("q", UINT8, params.shape, inputs.codes),
        tensor("s", FLOAT, [], inputs.scales),
        tensor("z", UINT8, [], inputs.zero_points),
      ],
      inputs: [], outputs: [value("y", FLOAT, params.shape)],
    }, {});
    return { values: found.y.data };
  }
  const count = inputs.x.length / 4;
  const x = new Float32Array(inputs.x.buffer, inputs.x.byteOffset, count);
  const found = await run({
    node: node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"], {}),
    constants: [], inputs: [value("x", FLOAT, [count])],
    outputs: [value("y", UINT8, [count]), value("s", FLOAT, []), value("z", UINT8, [])],
  }, { x: new ort.Tensor("float32", x, [count]) });
  return { codes: found.y.data, scales: found.s.data, zero_points: found.z.data };
}

async function product({ inputs, shapes }) {
  const [[m, k], [n]] = [shapes.a.shape, shapes.b.shape];
  const left = shapes.a.dtype === "u8" ? UINT8 : INT8;
  const turned = new Int8Array(k * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < k; j++) turned[j * n + i] = inputs.b[i * k + j];
  const feeds = {
    a: new ort.Tensor(left === UINT8 ? "uint8" : "int8",
      left === UINT8 ? inputs.a : new Int8Array(inputs.a.buffer), [m, k]),
    b: new ort.Tensor("int8", turned, [k, n]),
  };
  const found = await run({
    node: node("MatMulInteger", ["a", "b"], ["y"], {}),
    constants: [], inputs: [value("a", left, [m, k]), value("b", INT8, [k, n])],
    outputs: [value("y", INT32, [m, n])],
  }, feeds);
  return { accumulators: found.y.data };
}

const table = { "onnx/dynamic_uint8": dynamic };
const features = ["decode.onnx-dynamic_uint8", "encode.onnx-dynamic_uint8"];
for (const kind of Object.keys(KINDS))
  for (const share of ["sym,channel", "asym,block=16"]) {
    table[`onnx/${kind}[${share}]`] = linear(kind, share);
    features.push(`decode.onnx-${kind}-${share.replace(/[,=]/g, "-")}`);
  }
for (const bits of [2, 4, 8])
  for (const [share, block] of [["sym,block=32", 32], ["asym,block=16", 16]]) {
    table[`onnx/matmul${bits}bits[${share}]`] = weightOnly(bits, block);
    features.push(`decode.onnx-matmul${bits}bits-${share.replace(/[,=]/g, "-")}`);
  }
features.push("integer_matmul.s8s8", "integer_matmul.u8s8");

const manifest = join(require.resolve("onnxruntime-web"), "..", "..", "package.json");
const { version } = JSON.parse(readFileSync(manifest, "utf8"));
const engine = { name: "onnxruntime-web", version, language: "JavaScript and WebAssembly" };
await serve(engine, features, (task) => {
  if (task.op === "integer_matmul") return product(task);
  const found = table[task.params.scheme];
  if (!found || !["decode", "encode"].includes(task.op)) throw new Unsupported();
  return found(task);
});
